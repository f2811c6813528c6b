//! openraft's own suite, and what it does not look at: fsync, crashes, and the order of answers.

use std::path::{Path, PathBuf};
use std::time::Duration;

use openraft::CommittedLeaderId;
use openraft::storage::{RaftLogStorageExt as _, RaftStateMachine as _};
use openraft::testing::{StoreBuilder, Suite};
use remit_common::net::env::deadline;
use remit_common::net::real::real;

use super::*;
use crate::raft::fault_disk::FaultDisk;
use crate::raft::snapshot::SnapshotStore;
use crate::raft::state_machine::Machine;
use crate::raft::testing::Counter;
use crate::raft::types::{EntryBytes, EntryPayload, Membership};

const MESH: MeshId = MeshId([7; 16]);
const VOTER: VoterId = VoterId(1);

fn path() -> PathBuf {
    Path::new("/log/raft.redb").to_owned()
}

fn env_on(disk: &FaultDisk) -> Env {
    Env { disk: Arc::new(disk.clone()), ..real() }
}

async fn open_with(disk: &FaultDisk, fatal: &Fatal) -> OpenLog {
    LogStore::open(&env_on(disk), &path(), MESH, VOTER, Fresh::Allowed, fatal.clone()).await.unwrap()
}

async fn try_open_as(disk: &FaultDisk, mesh: MeshId, voter: VoterId) -> Result<OpenLog, LogFault> {
    LogStore::open(&env_on(disk), &path(), mesh, voter, Fresh::Allowed, Fatal::new()).await
}

async fn open(disk: &FaultDisk) -> OpenLog {
    try_open_as(disk, MESH, VOTER).await.unwrap()
}

fn id(term: u64, index: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(term, VOTER.0), index)
}

fn entry(term: u64, index: u64) -> Entry {
    let payload = EntryPayload::Normal(EntryBytes(format!("entry {index}").into_bytes().into()));
    Entry { log_id: id(term, index), payload }
}

fn blank_at(index: u64) -> Entry {
    Entry { log_id: id(1, index), payload: EntryPayload::Blank }
}

async fn indices(store: &mut LogStore) -> Vec<u64> {
    store.try_get_log_entries(..).await.unwrap().iter().map(|entry| entry.log_id.index).collect()
}

struct Stores;

impl StoreBuilder<Types, LogStore, Machine> for Stores {
    async fn build(&self) -> Result<((), LogStore, Machine), StorageError> {
        let disk = FaultDisk::default();
        let env = env_on(&disk);
        let (snapshots, none) = SnapshotStore::open(Arc::clone(&env.disk), Path::new("/log/snapshot")).unwrap();
        let machine = Machine::restore(Box::new(Counter::default()), snapshots, none, &env, Fatal::new()).unwrap().0;
        Ok(((), open(&disk).await.store, machine))
    }
}

/// The suite of the Raft library, over the store as it runs.
#[test]
fn passes_the_suite_of_openraft() {
    Suite::test_all(Stores).unwrap();
}

/// C-1: a vote is on disk before `save_vote` returns. Nothing is closed: the power is cut.
#[tokio::test]
async fn a_vote_survives_a_power_cut() {
    let disk = FaultDisk::default();
    let mut log = open(&disk).await;
    for term in 1..=20 {
        let vote = Vote::new(term, VOTER.0);
        log.store.save_vote(&vote).await.unwrap();
        let after = open(&disk.after_power_cut(0, 0)).await;
        assert_eq!(after.opened.vote, Some(vote));
    }
}

/// C-1: the flush callback fires only when the entries are on disk, and in the order of the appends.
#[tokio::test]
async fn callbacks_fire_after_the_disk_has_the_entries_and_in_order() {
    let disk = FaultDisk::default();
    let mut log = open(&disk).await;
    for index in 1..=50 {
        log.store.blocking_append([entry(1, index)]).await.unwrap();
        let mut after = open(&disk.after_power_cut(0, 0)).await;
        assert_eq!(after.opened.last, Some(id(1, index)), "acknowledged, so durable");
        assert_eq!(indices(&mut after.store).await.len(), usize::try_from(index).unwrap());
    }
}

/// Appends that wait at the same time share a sync.
#[tokio::test]
async fn waiting_writes_share_one_sync() {
    let disk = FaultDisk::default();
    let log = open(&disk).await;
    let before = disk.syncs();
    let writes = (1..=40).map(|peer| {
        let control = log.control.clone();
        async move { control.remember(VoterId(peer), DiskId([1; 16])).await }
    });
    for written in futures::future::join_all(writes).await {
        written.unwrap();
    }
    // The first may go alone; the rest has gathered meanwhile. redb itself may sync more than once per commit.
    let syncs = disk.syncs() - before;
    assert!(syncs <= 10, "{syncs} syncs for 40 writes");
    assert_eq!(open(&disk.after_power_cut(0, 0)).await.opened.met.len(), 40);
}

/// What a torn write leaves is the last acknowledged state or the one being written, never something else.
#[tokio::test]
async fn a_torn_commit_leaves_the_state_before_or_after() {
    let disk = FaultDisk::default();
    let mut log = open(&disk).await;
    for index in 1..=5 {
        log.store.blocking_append([entry(1, index)]).await.unwrap();
    }
    // Everything of the next commit is written, nothing synced.
    let cut = disk.after_power_cut(0, 0);
    let mut cut_log = open(&cut).await;
    cut.fail_syncs();
    cut_log.store.blocking_append([entry(1, 6)]).await.unwrap_err();
    let unsynced = cut.unsynced();
    assert!(unsynced > 0, "the failed commit has written something");
    for kept in 0..=unsynced {
        for torn in [0, 1, 100, 511, 4095] {
            let mut after = open(&cut.after_power_cut(kept, torn)).await;
            let found = indices(&mut after.store).await;
            assert!(found == [1, 2, 3, 4, 5] || found == [1, 2, 3, 4, 5, 6], "{kept} {torn}: {found:?}");
        }
    }
}

/// C-3: a restarted voter is a follower, and the demotion is not written back.
#[tokio::test]
async fn our_own_committed_vote_is_read_back_uncommitted_and_stays_committed_on_disk() {
    let disk = FaultDisk::default();
    let ours = Vote::new_committed(3, VOTER.0);
    open(&disk).await.store.save_vote(&ours).await.unwrap();
    for _restart in 0..2 {
        let again = disk.after_power_cut(0, 0);
        let mut log = open(&again).await;
        assert_eq!(log.store.read_vote().await.unwrap(), Some(Vote::new(3, VOTER.0)));
        assert_eq!(log.opened.vote, Some(ours), "as saved");
    }
    // Somebody else's committed vote stays one: that leader may still be there.
    let theirs = Vote::new_committed(4, 2);
    let disk = disk.after_power_cut(0, 0);
    open(&disk).await.store.save_vote(&theirs).await.unwrap();
    assert_eq!(open(&disk.after_power_cut(0, 0)).await.store.read_vote().await.unwrap(), Some(theirs));
}

/// C-6: `committed` never points beyond the durable log.
#[tokio::test]
async fn committed_is_clamped_to_the_log() {
    let disk = FaultDisk::default();
    let mut log = open(&disk).await;
    log.store.blocking_append([entry(1, 1), entry(1, 2)]).await.unwrap();
    log.store.save_committed(Some(id(1, 9))).await.unwrap();
    log.store.blocking_append([entry(1, 3)]).await.unwrap();
    let mut after = open(&disk.after_power_cut(0, 0)).await;
    assert_eq!(after.store.read_committed().await.unwrap(), Some(id(1, 3)));
}

/// `committed` is a hint: it comes with the next write, and with closing.
#[tokio::test]
async fn committed_comes_along_with_the_next_write() {
    let disk = FaultDisk::default();
    let mut log = open(&disk).await;
    log.store.blocking_append([entry(1, 1), entry(1, 2)]).await.unwrap();
    let before = disk.syncs();
    log.store.save_committed(Some(id(1, 1))).await.unwrap();
    log.store.save_committed(Some(id(1, 2))).await.unwrap();
    log.control.close().await.unwrap();
    assert!(disk.syncs() > before);
    assert_eq!(open(&disk.after_power_cut(0, 0)).await.opened.committed, Some(id(1, 2)));
}

/// C-4: a disk belongs to one voter of one mesh.
#[tokio::test]
async fn a_foreign_disk_is_refused() {
    let disk = FaultDisk::default();
    let ours = open(&disk).await.opened.disk;
    assert_eq!(open(&disk.after_power_cut(0, 0)).await.opened.disk, ours, "the disk keeps its id");
    let copy = disk.after_power_cut(0, 0);
    let other_voter = try_open_as(&copy, MESH, VoterId(2)).await.err().unwrap();
    assert!(matches!(other_voter, LogFault::Foreign { voter: VOTER, .. }), "{other_voter}");
    let copy = disk.after_power_cut(0, 0);
    let other_mesh = try_open_as(&copy, MeshId([8; 16]), VOTER).await.err().unwrap();
    assert!(matches!(other_mesh, LogFault::Foreign { mesh: MESH, .. }), "{other_mesh}");
    assert_ne!(open(&FaultDisk::default()).await.opened.disk, ours, "an empty disk is another disk");
}

#[tokio::test]
async fn a_log_that_must_be_there_is_not_made_anew() {
    let disk = FaultDisk::default();
    let opened = LogStore::open(&env_on(&disk), &path(), MESH, VOTER, Fresh::Refused, Fatal::new()).await;
    assert!(matches!(opened.err().unwrap(), LogFault::Missing));
}

#[tokio::test]
async fn a_log_is_open_once() {
    let disk = FaultDisk::default();
    let first = open(&disk).await;
    assert!(try_open_as(&disk, MESH, VOTER).await.is_err());
    first.control.close().await.unwrap();
    drop(first.store);
    assert!(first.closed.await.is_err(), "resolves when the file is closed");
    open(&disk).await;
}

/// A failed fsync ends the voter: nothing is acknowledged afterwards, even if the disk recovers.
#[tokio::test]
async fn a_failed_fsync_is_fatal() {
    let disk = FaultDisk::default();
    let fatal = Fatal::new();
    let mut log = open_with(&disk, &fatal).await;
    log.store.blocking_append([entry(1, 1)]).await.unwrap();
    disk.fail_syncs();
    log.store.blocking_append([entry(1, 2)]).await.unwrap_err();
    log.store.save_vote(&Vote::new(2, VOTER.0)).await.unwrap_err();
    let reason = deadline(Duration::from_secs(10), fatal.raised()).await.unwrap();
    assert!(reason.contains("cannot be written") && reason.contains("input/output error"), "{reason}");
}

/// C-11: a failed fsync takes changes away that every reader sees. Whatever the next process acknowledges holds, over
/// a power cut, too.
#[tokio::test]
async fn what_follows_a_failed_fsync_is_durable() {
    for kept in 0..12 {
        let disk = FaultDisk::default();
        let mut log = open(&disk).await;
        log.store.blocking_append((1..=5).map(|index| entry(1, index))).await.unwrap();
        disk.forget_at_next_sync(kept);
        log.store.blocking_append([entry(1, 6)]).await.unwrap_err();
        drop((log.store, log.control));
        assert!(log.closed.await.is_err(), "the process ends");

        let mut again = open(&disk).await;
        let last = again.opened.last.unwrap().index;
        assert!(last == 5 || last == 6, "{last}");
        // What it shows may count as acknowledged already: the leader asks how far the log goes.
        let mut after = open(&disk.after_power_cut(0, 0)).await;
        assert_eq!(after.opened.last, again.opened.last, "{kept}");
        again.store.blocking_append([entry(2, last + 1)]).await.unwrap();
        after = open(&disk.after_power_cut(0, 0)).await;
        assert_eq!(indices(&mut after.store).await, (1..=last + 1).collect::<Vec<_>>(), "{kept}");
    }
}

#[tokio::test]
async fn a_full_disk_is_fatal_and_loses_nothing_acknowledged() {
    let disk = FaultDisk::default();
    let fatal = Fatal::new();
    let mut log = open_with(&disk, &fatal).await;
    disk.leave_room(256 * 1024);
    let mut acknowledged = 0;
    for index in 1..1_000 {
        match log.store.blocking_append([entry(1, index)]).await {
            Ok(()) => acknowledged = index,
            Err(_) => break,
        }
    }
    assert!(acknowledged > 0);
    let reason = deadline(Duration::from_secs(10), fatal.raised()).await.unwrap();
    assert!(reason.contains("no space left"), "{reason}");
    let mut after = open(&disk.after_power_cut(0, 0)).await;
    assert!(indices(&mut after.store).await.len() >= usize::try_from(acknowledged).unwrap());
}

/// A changed byte in an entry is found, not replicated.
#[tokio::test]
async fn a_damaged_entry_is_found() {
    let disk = FaultDisk::default();
    let mut log = open(&disk).await;
    let marked = EntryPayload::Normal(EntryBytes(b"find me in the file".as_slice().into()));
    log.store.blocking_append([Entry { log_id: id(1, 1), payload: marked }, entry(1, 2)]).await.unwrap();
    log.control.close().await.unwrap();
    drop(log);
    disk.damage(&path(), |bytes| {
        // Copy-on-write may have left an older page with it, too.
        let needle = b"find me";
        let places: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(needle)).collect();
        assert!(!places.is_empty());
        for place in places {
            bytes[place] ^= 1;
        }
    });
    let opened = try_open_as(&disk.after_power_cut(0, 0), MESH, VOTER).await;
    // Found when the file is opened (after a crash, by redb's own checksums) or when the entry is read.
    if let Ok(mut log) = opened {
        log.store.try_get_log_entries(..).await.unwrap_err();
    }
}

#[tokio::test]
async fn truncate_and_purge_hold_over_restarts() {
    let disk = FaultDisk::default();
    let mut log = open(&disk).await;
    log.store.blocking_append((1..=10).map(|index| entry(1, index))).await.unwrap();
    log.store.truncate(id(1, 7)).await.unwrap();
    assert_eq!(log.store.get_log_state().await.unwrap().last_log_id, Some(id(1, 6)));
    log.store.blocking_append([entry(2, 7)]).await.unwrap();
    log.store.purge(id(1, 3)).await.unwrap();
    assert_eq!(indices(&mut log.store).await, [4, 5, 6, 7]);
    let mut after = open(&disk.after_power_cut(0, 0)).await;
    assert_eq!(indices(&mut after.store).await, [4, 5, 6, 7]);
    assert_eq!((after.opened.purged, after.opened.last), (Some(id(1, 3)), Some(id(2, 7))));
    // A snapshot from far ahead replaces the whole log.
    after.store.purge(id(3, 100)).await.unwrap();
    let state = after.store.get_log_state().await.unwrap();
    assert_eq!((state.last_purged_log_id, state.last_log_id), (Some(id(3, 100)), Some(id(3, 100))));
    assert_eq!(indices(&mut after.store).await, [0u64; 0]);
}

/// Entries are served from memory and from disk alike, in replies of bounded size.
#[tokio::test]
async fn replies_are_bounded_and_have_no_gap() {
    let disk = FaultDisk::default();
    let mut log = open(&disk).await;
    let large =
        |index| Entry { log_id: id(1, index), payload: EntryPayload::Normal(EntryBytes(vec![0; 900 * 1024].into())) };
    // More than the memory keeps.
    for index in 1..=30 {
        log.store.blocking_append([large(index)]).await.unwrap();
    }
    let mut reader = log.store.get_log_reader().await;
    let mut next = 1;
    while next <= 30 {
        let reply = reader.limited_get_log_entries(next, 31).await.unwrap();
        assert!(!reply.is_empty() && reply.len() <= 2);
        for entry in reply {
            assert_eq!(entry.log_id.index, next);
            next += 1;
        }
    }
    assert_eq!(reader.try_get_log_entries(..).await.unwrap().len(), 30);
}

/// Once a follower has read past the purge, it must not be given entries that begin later.
#[tokio::test]
async fn a_reply_never_begins_later_than_asked() {
    let disk = FaultDisk::default();
    let mut log = open(&disk).await;
    log.store.blocking_append((1..=10).map(blank_at)).await.unwrap();
    log.store.purge(id(1, 5)).await.unwrap();
    assert_eq!(log.store.limited_get_log_entries(3, 11).await.unwrap().len(), 0);
    assert_eq!(log.store.limited_get_log_entries(6, 11).await.unwrap().len(), 5);
}

/// A log of 22 entries that waits for snapshots, and the state machine that stores them.
async fn waiting_log(disk: &FaultDisk, fatal: &Fatal) -> (OpenLog, Machine) {
    let env = env_on(disk);
    let (snapshots, none) = SnapshotStore::open(Arc::clone(&env.disk), Path::new("/log/snapshot")).unwrap();
    let mut log = open_with(disk, fatal).await;
    log.store = log.store.purging_behind(snapshots.covers());
    log.store.blocking_append((1..=22).map(|index| entry(1, index))).await.unwrap();
    let machine = Machine::restore(Box::new(Counter::default()), snapshots, none, &env, fatal.clone());
    (log, machine.unwrap().0)
}

/// A snapshot of 35 entries, as a leader sends it.
async fn snapshot_from_ahead() -> crate::raft::types::Snapshot {
    use openraft::RaftSnapshotBuilder as _;
    let mut leader = machine_on(&FaultDisk::default()).await;
    leader.apply((1..=35).map(|index| entry(1, index))).await.unwrap();
    leader.get_snapshot_builder().await.build_snapshot().await.unwrap()
}

/// C-8: Raft purges while an arriving snapshot is still on its way to the disk; the entries stay until it is there.
#[tokio::test]
async fn entries_stay_until_the_snapshot_that_replaces_them_is_on_disk() {
    let disk = FaultDisk::default();
    let (mut log, mut machine) = waiting_log(&disk, &Fatal::new()).await;
    let arriving = snapshot_from_ahead().await;
    let control = log.control.clone();
    {
        let mut purging = std::pin::pin!(log.store.purge(id(1, 35)));
        // What the writer is given after a purge is on disk after it.
        let later = std::pin::pin!(control.remember(VoterId(2), DiskId([1; 16])));
        let first = futures::future::select(purging.as_mut(), later).await;
        assert!(matches!(first, futures::future::Either::Right((Ok(()), _))), "purged without a snapshot");
        let mut cut = open(&disk.after_power_cut(0, 0)).await;
        assert_eq!(indices(&mut cut.store).await, (1..=22).collect::<Vec<_>>());

        machine.install_snapshot(&arriving.meta, arriving.snapshot).await.unwrap();
        purging.await.unwrap();
    }
    let after = disk.after_power_cut(0, 0);
    assert_eq!(open(&after).await.opened.purged, Some(id(1, 35)));
    assert_eq!(machine_on(&after).await.applied_state().await.unwrap().0, Some(id(1, 35)));
}

/// C-8: a snapshot that does not fit ends the voter, and leaves it a log to start from.
#[tokio::test]
async fn a_snapshot_that_cannot_be_stored_takes_no_entry_along() {
    let disk = FaultDisk::default();
    let fatal = Fatal::new();
    let (mut log, mut machine) = waiting_log(&disk, &fatal).await;
    let arriving = snapshot_from_ahead().await;
    disk.leave_room(0);
    let (purged, installed) =
        tokio::join!(log.store.purge(id(1, 35)), machine.install_snapshot(&arriving.meta, arriving.snapshot));
    assert!(purged.is_err() && installed.is_err());
    assert!(fatal.reason().unwrap().contains("no space left"));
    let mut after = open(&disk.after_power_cut(0, 0)).await;
    assert_eq!(indices(&mut after.store).await, (1..=22).collect::<Vec<_>>());
    assert_eq!(after.opened.purged, None);
}

async fn machine_on(disk: &FaultDisk) -> Machine {
    let env = env_on(disk);
    let (snapshots, found) = SnapshotStore::open(Arc::clone(&env.disk), Path::new("/log/snapshot")).unwrap();
    Machine::restore(Box::new(Counter::default()), snapshots, found, &env, Fatal::new()).unwrap().0
}

/// C-8: a snapshot is durable when its builder returns, and an older build never replaces a newer one.
#[tokio::test]
async fn an_older_snapshot_never_replaces_a_newer_one() {
    let disk = FaultDisk::default();
    let mut machine = machine_on(&disk).await;
    machine.apply((1..=3).map(|index| entry(1, index))).await.unwrap();
    let mut older = machine.get_snapshot_builder().await;
    machine.apply((4..=6).map(|index| entry(1, index))).await.unwrap();
    let mut newer = machine.get_snapshot_builder().await;

    use openraft::RaftSnapshotBuilder as _;
    newer.build_snapshot().await.unwrap();
    older.build_snapshot().await.unwrap();

    let mut after = machine_on(&disk.after_power_cut(0, 0)).await;
    assert_eq!(after.applied_state().await.unwrap().0, Some(id(1, 6)));
    let snapshot = after.get_current_snapshot().await.unwrap().unwrap();
    assert_eq!(snapshot.meta.last_log_id, Some(id(1, 6)));
}

#[tokio::test]
async fn an_installed_snapshot_survives_a_power_cut_and_an_old_one_changes_nothing() {
    use openraft::RaftSnapshotBuilder as _;
    let mut leader = machine_on(&FaultDisk::default()).await;
    let members = Membership::new(vec![[1, 2, 3].into()], ());
    leader.apply([Entry { log_id: id(1, 1), payload: EntryPayload::Membership(members) }]).await.unwrap();
    let early = leader.get_snapshot_builder().await.build_snapshot().await.unwrap();
    leader.apply((2..=9).map(|index| entry(1, index))).await.unwrap();
    let late = leader.get_snapshot_builder().await.build_snapshot().await.unwrap();

    let disk = FaultDisk::default();
    let mut follower = machine_on(&disk).await;
    follower.install_snapshot(&late.meta, late.snapshot).await.unwrap();
    follower.install_snapshot(&early.meta, early.snapshot).await.unwrap();
    for mut machine in [follower, machine_on(&disk.after_power_cut(0, 0)).await] {
        assert_eq!(machine.applied_state().await.unwrap(), leader.applied_state().await.unwrap());
        assert_eq!(machine.get_current_snapshot().await.unwrap().unwrap().meta, late.meta);
    }
}
