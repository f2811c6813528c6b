//! Nothing is committed that a majority does not have.
//!
//! Raft libraries have had this wrong where five voters acknowledge unevenly: a counter that assumed sorted progress
//! took two answers for three (openraft before 0.9.25, its issue 1802). Here the real core leads four followers that
//! acknowledge exactly what the test says, in uneven steps, and may never be ahead of the third of five.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use openraft::error::{Fatal as RaftFatal, RPCError, RaftError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{Backoff, RPCOption};
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse};
use openraft::{OptionalSend, Raft, RaftNetwork, RaftNetworkFactory};
use remit_common::id::{MeshId, VoterId};
use remit_common::net::env::{Env, deadline};
use remit_common::net::real::real;

use super::fatal::Fatal;
use super::fault_disk::FaultDisk;
use super::log_store::{Fresh, LogStore};
use super::runtime::Host;
use super::snapshot::SnapshotStore;
use super::state_machine::Machine;
use super::testing::Counter;
use super::types::{Addresses, EntryBytes, Snapshot, Types, Vote};

const PATIENCE: Duration = Duration::from_secs(60);
const FOLLOWERS: [u64; 4] = [2, 3, 4, 5];

/// Up to which index each follower acknowledges.
type Limits = Arc<Mutex<BTreeMap<u64, u64>>>;

struct Followers(Limits);

struct Follower {
    id: u64,
    limits: Limits,
}

impl RaftNetworkFactory<Types> for Followers {
    type Network = Follower;

    async fn new_client(&mut self, id: u64, _node: &Addresses) -> Follower {
        Follower { id, limits: Arc::clone(&self.0) }
    }
}

impl RaftNetwork<Types> for Follower {
    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, RPCError<u64, Addresses, RaftError<u64>>> {
        let limit = self.limits.lock().unwrap()[&self.id];
        let Some(last) = request.entries.last() else { return Ok(AppendEntriesResponse::Success) };
        if last.log_id.index <= limit {
            return Ok(AppendEntriesResponse::Success);
        }
        match request.entries.iter().rfind(|entry| entry.log_id.index <= limit) {
            Some(taken) => Ok(AppendEntriesResponse::PartialSuccess(Some(taken.log_id))),
            None => Err(RPCError::Unreachable(Unreachable::new(&std::io::Error::other("takes no more")))),
        }
    }

    async fn vote(
        &mut self,
        request: VoteRequest<u64>,
        _option: RPCOption,
    ) -> Result<VoteResponse<u64>, RPCError<u64, Addresses, RaftError<u64>>> {
        Ok(VoteResponse::new(request.vote, None, true))
    }

    async fn full_snapshot(
        &mut self,
        _vote: Vote,
        _snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<u64>, StreamingError<Types, RaftFatal<u64>>> {
        Err(cancel.await.into())
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(Duration::from_millis(1)))
    }
}

async fn leader(limits: &Limits) -> Raft<Types> {
    let env = Env { disk: Arc::new(FaultDisk::default()), ..real() };
    let fatal = Fatal::new();
    let opening = LogStore::open(&env, Path::new("/raft"), MeshId([1; 16]), VoterId(1), Fresh::Allowed, fatal.clone());
    let log = opening.await.unwrap().store;
    let (snapshots, none) = SnapshotStore::open(Arc::clone(&env.disk), Path::new("/snapshot")).unwrap();
    let machine = Machine::restore(Box::new(Counter::default()), snapshots, none, &env, fatal).unwrap().0;
    let config = openraft::Config {
        heartbeat_interval: 20,
        election_timeout_min: 100,
        election_timeout_max: 200,
        ..openraft::Config::default()
    };
    let starting = Raft::new(1, Arc::new(config), Followers(Arc::clone(limits)), log, machine);
    let raft = Host::new(&env).enter(starting).await.unwrap();
    raft.initialize(std::collections::BTreeSet::from([1, 2, 3, 4, 5])).await.unwrap();
    raft.wait(Some(PATIENCE)).current_leader(1, "all followers vote for it").await.unwrap();
    raft
}

/// Sets the limits, waits until the leader has heard them all, and compares what it applied.
async fn check(raft: &Raft<Types>, limits: &Limits, step: [u64; 4], leaders_last: u64) {
    *limits.lock().unwrap() = FOLLOWERS.into_iter().zip(step).collect();
    let mut all = [leaders_last, step[0], step[1], step[2], step[3]];
    all.sort_unstable();
    let majority_has = all[2];
    let mut metrics = raft.metrics();
    let heard = metrics.wait_for(|metrics| {
        let applied = metrics.last_applied.map_or(0, |id| id.index);
        assert!(applied <= majority_has, "{applied} applied with {step:?}");
        let acknowledged = metrics.replication.as_ref().is_some_and(|replication| {
            FOLLOWERS.iter().zip(step).all(|(id, limit)| {
                let matched = replication.get(id).copied().flatten().map_or(0, |id| id.index);
                matched == limit.min(leaders_last)
            })
        });
        acknowledged && applied == majority_has
    });
    let heard = deadline(PATIENCE, heard).await.map(|heard| heard.is_ok());
    assert_eq!(heard, Ok(true), "{step:?}: {:?}", raft.metrics().borrow());
}

#[tokio::test]
async fn five_voters_commit_only_what_three_of_them_have() {
    // The membership entry and the new leader's blank one.
    let limits = Limits::new(Mutex::new(FOLLOWERS.into_iter().map(|id| (id, 1)).collect()));
    let raft = leader(&limits).await;
    let last = 61;
    for number in 2..=last {
        drop(raft.client_write_ff(EntryBytes(vec![number].into())).await.unwrap());
    }
    let last = u64::from(last);
    raft.wait(Some(PATIENCE)).log_index(Some(last), "the leader has all").await.unwrap();
    // One runs ahead while the others cross the line one after another; then the one behind overtakes.
    for step in [[9, 1, 1, 1], [9, 5, 1, 1], [20, 5, 3, 1], [20, 5, 12, 4], [21, 19, 12, 4], [21, 19, 12, 30]] {
        check(&raft, &limits, step, last).await;
    }
    // And many more, uneven and always forward: a multiplicative generator picks who moves how far.
    let (mut step, mut seed) = ([21, 19, 12, 30], 1u64);
    while step.iter().any(|reached| *reached < last) {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let who = usize::try_from(seed >> 62).unwrap();
        step[who] = (step[who] + (seed >> 40) % 9).min(last);
        check(&raft, &limits, step, last).await;
    }
    raft.shutdown().await.unwrap();
}
