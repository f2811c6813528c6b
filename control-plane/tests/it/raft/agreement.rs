//! What is written stays written: elections, restarts, snapshots, large entries, minorities.

use std::time::Duration;

use remit_common::id::{LogIndex, VoterId};
use remit_common::net::env::deadline;
use remit_common::net::real::real;
use remit_control_plane::raft::{
    CALL_BYTES_MAX, CallError, ENTRY_BYTES_MAX, ProposeError, RaftRole, RaftTimings, ReadError, StartError,
};

use super::scene::{Mesh, PATIENCE, Version, Voter, leader, timings, write};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn voters_agree_lose_their_leader_and_take_it_back() {
    let mesh = Mesh::new(3, timings());
    let mut voters = mesh.start_all().await;
    let first = leader(&voters).await;
    let (index, answer) = first.node.propose(b"one".to_vec(), PATIENCE).await.unwrap();
    assert_eq!(answer, b"1", "the answer is the state machine's");
    for voter in &voters {
        voter.until_applied(index).await;
        assert_eq!(voter.journal(), [(index.0, b"one".to_vec())]);
    }
    let follower = voters.iter().find(|voter| voter.id != first.id).unwrap();
    follower.until("sees the leader", |status| status.leader == Some(first.id)).await;
    let refused = follower.node.propose(b"x".to_vec(), PATIENCE).await.unwrap_err();
    assert_eq!(refused, ProposeError::NotLeader { leader: Some(first.id) });
    let refused = follower.node.read_barrier(PATIENCE).await.unwrap_err();
    assert_eq!(refused, ReadError::NotLeader { leader: Some(first.id) });
    assert!(first.node.read_barrier(PATIENCE).await.unwrap() >= index);

    let (killed, term) = (first.id, first.node.status().term);
    let position = voters.iter().position(|voter| voter.id == killed).unwrap();
    voters.remove(position).kill();
    let index = write(&voters, b"two").await;
    assert!(leader(&voters).await.node.status().term > term);

    voters.push(mesh.restart(killed).await);
    // Long before QUIC would give up the connections to its former life.
    for voter in &voters[..2] {
        let reaching = async {
            while voter.node.call_peer(killed, b"back?".to_vec(), PATIENCE).await.is_err() {
                tokio::task::yield_now().await;
            }
        };
        deadline(Duration::from_secs(15), reaching).await.expect("the restarted voter is reached");
    }
    let index = write(&voters, b"three").await.max(index);
    let mut journals = Vec::new();
    for voter in &voters {
        voter.until_applied(index).await;
        journals.push(voter.journal());
    }
    let written: Vec<_> = journals[0].iter().map(|(_, entry)| entry.as_slice()).collect();
    assert_eq!(written, [b"one".as_slice(), b"two", b"three"]);
    assert!(journals.iter().all(|journal| *journal == journals[0]), "every voter has applied the same");
    let mut digests = std::collections::BTreeSet::new();
    for voter in &voters {
        digests.insert(voter.digest_at(index).await);
    }
    assert_eq!(digests.len(), 1, "and has the same digest of it, the restarted one as well");
    for voter in &voters {
        voter.node.shutdown().await;
        assert_eq!(voter.node.status().role, RaftRole::Stopped);
    }
}

/// A restarted voter never resumes its leadership: it follows until somebody is elected (C-3).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_mesh_restarts_with_what_it_acknowledged() {
    let mesh = Mesh::new(3, timings());
    let voters = mesh.start_all().await;
    let mut last = LogIndex(0);
    for number in 0..20 {
        last = write(&voters, format!("entry {number}").as_bytes()).await;
    }
    let before = leader(&voters).await;
    let (old_leader, old_term, journal) = (before.id, before.node.status().term, before.journal());
    voters.into_iter().for_each(Voter::kill);

    let alone = mesh.restart(old_leader).await;
    assert_ne!(alone.node.status().role, RaftRole::Leader, "nobody has elected it");
    let refused = alone.node.read_barrier(Duration::from_millis(200)).await;
    assert!(matches!(refused, Err(ReadError::NotLeader { .. } | ReadError::Isolated)), "{refused:?}");
    let mut voters = vec![alone];
    for id in mesh.addrs.keys().filter(|id| **id != old_leader) {
        voters.push(mesh.restart(*id).await);
    }
    assert!(leader(&voters).await.node.status().term > old_term);
    for voter in &voters {
        voter.until_applied(last).await;
        assert_eq!(voter.journal(), journal);
    }
}

/// A follower that is further behind than the log reaches back gets a snapshot.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_voter_that_is_far_behind_gets_a_snapshot() {
    let timings = RaftTimings { snapshot_every_entries: 20, keep_entries: 2, ..timings() };
    let mesh = Mesh::new(3, timings);
    let mut voters = mesh.start_all().await;
    write(&voters, b"first").await;
    let away = leader(&voters).await.id;
    let away = voters.iter().position(|voter| voter.id != away).unwrap();
    let away = voters.remove(away);
    let id = away.id;
    away.node.shutdown().await;
    drop(away);
    // Larger than a frame and than what is sent inline, so that snapshot and appends go in pieces.
    let mut last = LogIndex(0);
    for number in 0..60u8 {
        last = write(&voters, &vec![number; 20_000]).await;
    }
    for voter in &voters {
        voter.until("builds a snapshot", |status| status.snapshot.is_some_and(|at| at.0 > 30)).await;
    }
    let back = mesh.restart(id).await;
    back.until_applied(last).await;
    assert_eq!(back.journal(), leader(&voters).await.journal());
    assert!(back.node.status().snapshot.is_some(), "it caught up by a snapshot");
    assert_eq!(back.digest_at(last).await, leader(&voters).await.digest_at(last).await);
}

/// Its snapshot would take the place of the one that is there and of the log before it, at every start (C-8).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_that_a_voter_cannot_read_does_not_take_the_place_of_what_it_has() {
    let timings = RaftTimings { snapshot_every_entries: 20, keep_entries: 2, ..timings() };
    let mesh = Mesh::new(3, timings);
    let start = async |id: VoterId, version| {
        let starting = async {
            loop {
                match mesh.start_version(mesh.config(id), real(), version).await {
                    Ok(voter) => return voter,
                    Err(StartError::Storage(_) | StartError::Endpoint(_)) => tokio::task::yield_now().await,
                    Err(other) => panic!("{other}"),
                }
            }
        };
        deadline(PATIENCE, starting).await.expect("the voter starts")
    };
    let mut voters = Vec::new();
    for (id, version) in [(1, Version::Newer), (2, Version::Newer), (3, Version::This)] {
        voters.push(start(VoterId(id), version).await);
    }
    let first = write(&voters, b"acknowledged").await;
    let old = voters.pop().unwrap();
    old.until_applied(first).await;
    old.node.shutdown().await;
    drop(old);
    let mut last = first;
    for number in 0..60u8 {
        last = write(&voters, &[number; 20]).await;
    }
    for voter in &voters {
        voter.until("builds a snapshot", |status| status.snapshot.is_some_and(|at| at.0 > 30)).await;
    }
    let old = start(VoterId(3), Version::This).await;
    // It hears its leader between two snapshots, and does not stand for election again and again.
    old.until("is called", |status| status.leader.is_some()).await;
    // It would end within moments of a snapshot that it takes and cannot read.
    assert!(deadline(Duration::from_secs(5), old.node.fatal()).await.is_err(), "it goes on");
    assert!(old.journal().iter().any(|(index, _)| *index == first.0), "with what it has");
    old.node.shutdown().await;
    drop(old);
    // It starts again on the same disk, and the newer version reads what the others send.
    let new = start(VoterId(3), Version::Newer).await;
    new.until_applied(last).await;
    assert_eq!(new.journal(), leader(&voters).await.journal());
}

/// Few but large entries do not fill the disk either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_grows_by_bytes_is_compacted() {
    let timings = RaftTimings { snapshot_every_bytes: 100_000, ..timings() };
    let mesh = Mesh::new(1, timings);
    let mut voters = mesh.start_all().await;
    for number in 0..20u8 {
        write(&voters, &[number; 20_000]).await;
    }
    voters[0].until("builds a snapshot", |status| status.snapshot.is_some()).await;
    let voter = voters.remove(0);
    let journal = voter.journal();
    voter.kill();
    let voters = [mesh.restart(VoterId(1)).await];
    let index = write(&voters, b"more").await;
    assert_eq!(voters[0].journal(), [journal, vec![(index.0, b"more".to_vec())]].concat());
}

/// The largest entry there may be crosses although it takes many heartbeats, and deposes nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_largest_entry_is_committed() {
    let mesh = Mesh::new(3, timings());
    let voters = mesh.start_all().await;
    let leading = leader(&voters).await;
    let entry: Vec<u8> = (0u8..=255).cycle().take(ENTRY_BYTES_MAX).collect();
    let refused = leading.node.propose([entry.as_slice(), &[0]].concat(), PATIENCE).await.unwrap_err();
    assert!(matches!(refused, ProposeError::TooLarge { .. }));
    let index = write(&voters, &entry).await;
    for voter in &voters {
        voter.until_applied(index).await;
        assert!(voter.journal().iter().any(|(_, applied)| *applied == entry));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_majority_nothing_is_written_and_nothing_is_read() {
    let mesh = Mesh::new(5, timings());
    let mut voters = mesh.start_all().await;
    let index = write(&voters, b"kept").await;
    let leading = leader(&voters).await.id;
    // Two of five may go.
    let mut gone = Vec::new();
    for _ in 0..2 {
        let position = voters.iter().position(|voter| voter.id != leading).unwrap();
        let voter = voters.remove(position);
        gone.push(voter.id);
        voter.kill();
    }
    let index = write(&voters, b"kept too").await.max(index);
    // Three may not: two are left, and no number of answers from two is a majority of five.
    let position = voters.iter().position(|voter| voter.id != leading).unwrap();
    let voter = voters.remove(position);
    gone.push(voter.id);
    voter.kill();
    let left = voters.iter().find(|voter| voter.id == leading).unwrap();
    left.until("notices", |status| {
        status.role != RaftRole::Leader || status.since_majority.is_some_and(|since| since > timings().election_max)
    })
    .await;
    let refused = left.node.propose(b"never".to_vec(), Duration::from_secs(2)).await.unwrap_err();
    assert!(matches!(refused, ProposeError::Isolated | ProposeError::NotLeader { .. }), "{refused:?}");
    let refused = left.node.read_barrier(Duration::from_millis(500)).await.unwrap_err();
    assert!(matches!(refused, ReadError::Isolated | ReadError::NotLeader { .. }), "{refused:?}");
    // One comes back, and so does the mesh.
    voters.push(mesh.restart(gone[0]).await);
    let index = write(&voters, b"again").await.max(index);
    for voter in &voters {
        voter.until_applied(index).await;
        let entries: Vec<_> = voter.journal().into_iter().map(|(_, entry)| entry).collect();
        assert_eq!(entries, [b"kept".to_vec(), b"kept too".to_vec(), b"again".to_vec()]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn voters_call_each_other() {
    let mesh = Mesh::new(3, timings());
    let voters = mesh.start_all().await;
    let [one, two, _] = voters.as_slice() else { panic!("three voters") };
    let answer = one.node.call_peer(two.id, b"hello".to_vec(), PATIENCE).await.unwrap();
    assert_eq!(answer, b"1:hello", "the callee knows who calls");
    let large = vec![7; CALL_BYTES_MAX - 2];
    let answer = two.node.call_peer(one.id, large.clone(), PATIENCE).await.unwrap();
    assert_eq!(answer, [b"2:".as_slice(), &large].concat());

    let refused = one.node.call_peer(two.id, b"no".to_vec(), PATIENCE).await.unwrap_err();
    assert_eq!(refused, CallError::Refused("not today".to_owned()));
    let too_large = one.node.call_peer(two.id, vec![0; CALL_BYTES_MAX + 1], PATIENCE).await.unwrap_err();
    assert!(matches!(too_large, CallError::TooLarge { .. }));
    let late = one.node.call_peer(two.id, b"wait".to_vec(), Duration::from_millis(300)).await.unwrap_err();
    assert_eq!(late, CallError::NoAnswer(two.id));
    for nobody in [one.id, VoterId(77)] {
        let refused = one.node.call_peer(nobody, Vec::new(), PATIENCE).await.unwrap_err();
        assert_eq!(refused, CallError::NotAPeer(nobody));
    }
}
