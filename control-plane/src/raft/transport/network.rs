//! Raft's calls over the links.
//!
//! openraft gives an append one heartbeat interval and then drops it and tries again. A large entry takes longer than
//! that to cross and to reach the follower's disk, so that it would never arrive. Here a large append goes on by
//! itself when openraft lets go of it, and the next attempt with the same entries joins it; a heartbeat ahead of each
//! attempt keeps the follower's lease alive meanwhile. Nor does openraft send heartbeats to a follower while a snapshot
//! is on its way there, and a follower that hears nobody stands for election: here they cross beside it.

use std::future::Future;
use std::time::Duration;

use anyerror::AnyError;
use openraft::error::{
    Fatal as RaftFatal, NetworkError, RPCError, RaftError, ReplicationClosed, StreamingError, Timeout, Unreachable,
};
use openraft::network::{Backoff, RPCOption, RPCTypes};
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse};
use openraft::{OptionalSend, RaftNetwork, RaftNetworkFactory};
use remit_common::net::env::{Env, deadline};
use tokio::sync::oneshot;

use super::link::{CallFailed, Link};
use super::links::Links;
use super::message::{AppendV1, AppendedV1, AskVoteV1, Body, InstalledV1, Kind, VotedV1, snapshot_front};
use super::{LARGE_APPEND_DEADLINE, SNAPSHOT_DEADLINE, plausible};
use crate::raft::types::{Addresses, Entry, EntryPayload, LogId, Snapshot, SnapshotBody, Types, Vote};

type RpcError = RPCError<u64, Addresses, RaftError<u64>>;

/// Bytes of entries up to which an append is one call: they cross and are written well within a heartbeat.
const INLINE_BYTES_MAX: usize = 64 * 1024;
/// Pause before a peer that cannot be reached is tried again.
const UNREACHABLE_PAUSE: Duration = Duration::from_millis(100);
/// Pause before a snapshot that did not arrive, or was refused, is sent again.
const SNAPSHOT_PAUSE: Duration = Duration::from_secs(1);
/// For the answer to a heartbeat beside a snapshot: calls that time out close the connection (C-24), and a follower may well
/// be silent for a while over what it gets.
const BEAT_DEADLINE: Duration = Duration::from_secs(1);

/// Gives Raft a client per peer. All clients of a peer share its link.
pub(crate) struct Network {
    pub(crate) own: u64,
    pub(crate) links: Links,
    pub(crate) heartbeat: Duration,
    pub(crate) env: Env,
}

impl RaftNetworkFactory<Types> for Network {
    type Network = PeerClient;

    async fn new_client(&mut self, target: u64, _node: &Addresses) -> PeerClient {
        let (links, env) = (self.links.clone(), self.env.clone());
        PeerClient { own: self.own, target, links, heartbeat: self.heartbeat, env, large: None }
    }
}

/// Raft's client for one peer.
pub(crate) struct PeerClient {
    own: u64,
    target: u64,
    /// Asked at each call: the link to a new member opens a moment after Raft has heard of it.
    links: Links,
    heartbeat: Duration,
    env: Env,
    large: Option<LargeAppend>,
}

/// A large append under way.
struct LargeAppend {
    vote: Vote,
    prev: Option<LogId>,
    ids: Vec<LogId>,
    outcome: oneshot::Receiver<Result<AppendEntriesResponse<u64>, CallFailed>>,
}

impl LargeAppend {
    /// Whether it carries the first entries of `request`, in the same place, for the same leader.
    fn begins(&self, request: &AppendEntriesRequest<Types>) -> bool {
        self.vote == request.vote
            && self.prev == request.prev_log_id
            && self.ids.len() <= request.entries.len()
            && self.ids.iter().zip(&request.entries).all(|(id, entry)| *id == entry.log_id)
    }
}

fn payload_bytes(entries: &[Entry]) -> usize {
    let bytes = entries.iter().map(|entry| match &entry.payload {
        EntryPayload::Normal(bytes) => bytes.0.len(),
        EntryPayload::Blank | EntryPayload::Membership(_) => 0,
    });
    bytes.fold(0, usize::saturating_add)
}

/// Our own deadline comes before openraft's, which would drop the call without a trace.
fn within(option: &RPCOption) -> Duration {
    option.hard_ttl().mul_f64(0.9)
}

impl PeerClient {
    fn failed(&self, action: RPCTypes, timeout: Duration, failed: &CallFailed) -> RpcError {
        match failed {
            CallFailed::Timeout => RPCError::Timeout(Timeout { action, id: self.own, target: self.target, timeout }),
            CallFailed::Unreachable
            | CallFailed::Stream(_)
            | CallFailed::Connection(_)
            | CallFailed::Refused(_)
            | CallFailed::Misfit => RPCError::Unreachable(Unreachable::new(failed)),
        }
    }

    async fn append_inline(
        &self,
        request: &AppendEntriesRequest<Types>,
        within: Duration,
    ) -> Result<AppendEntriesResponse<u64>, RpcError> {
        let appended = match self.links.get(self.target) {
            Some(link) => append(&link, &request.vote, &AppendV1::from(request), within).await,
            None => Err(CallFailed::Unreachable),
        };
        appended.map_err(|failed| self.failed(RPCTypes::AppendEntries, within, &failed))
    }

    /// Sends heartbeats for as long as it is polled; ends with the vote of a follower that knows a later leader.
    async fn beat(&self, vote: Vote) -> Vote {
        let beat = AppendEntriesRequest { vote, prev_log_id: None, entries: Vec::new(), leader_commit: None };
        loop {
            let beaten = self.append_inline(&beat, BEAT_DEADLINE).await;
            // An answer that is no higher would be taken for the snapshot's.
            if let Ok(AppendEntriesResponse::HigherVote(higher)) = beaten
                && higher > vote
            {
                return higher;
            }
            tokio::time::sleep(self.heartbeat).await;
        }
    }

    async fn send_snapshot(&self, vote: &Vote, snapshot: Snapshot) -> Result<SnapshotResponse<u64>, NetworkError> {
        let lost = |failed: CallFailed| NetworkError::new(&failed);
        let link = self.links.get(self.target).ok_or(CallFailed::Unreachable).map_err(lost)?;
        let Snapshot { meta, snapshot } = snapshot;
        let SnapshotBody { applied, payload } = *snapshot;
        let front =
            snapshot_front(vote, &meta, applied).map_err(|failed| NetworkError::new(&AnyError::new(&failed)))?;
        let parts = [front.as_slice(), &payload];
        let answer = link.call(Kind::Snapshot, &parts, Kind::Installed, SNAPSHOT_DEADLINE).await.map_err(lost)?;
        let installed = InstalledV1::from_bytes(&answer).map_err(|_| lost(CallFailed::Misfit))?;
        believe(&installed.vote(), vote).map_err(lost)?;
        Ok(SnapshotResponse::new(installed.vote()))
    }

    /// Starts the large append, or joins the one under way.
    fn large(&mut self, request: &AppendEntriesRequest<Types>) -> Option<LargeAppend> {
        if let Some(under_way) = self.large.take_if(|large| large.begins(request)) {
            return Some(under_way);
        }
        let link = self.links.get(self.target)?;
        let (give, outcome) = oneshot::channel();
        let (vote, message) = (request.vote, AppendV1::from(request));
        let sending = async move {
            // Nobody waits any more when this leader has stepped down.
            let _unheard = give.send(append(&link, &vote, &message, LARGE_APPEND_DEADLINE).await);
        };
        drop(self.env.spawn_named("raft-large-append", sending));
        let ids = request.entries.iter().map(|entry| entry.log_id).collect();
        Some(LargeAppend { vote: request.vote, prev: request.prev_log_id, ids, outcome })
    }

    async fn append_large(
        &mut self,
        request: &AppendEntriesRequest<Types>,
        within: Duration,
    ) -> Result<AppendEntriesResponse<u64>, RpcError> {
        let timed_out = self.failed(RPCTypes::AppendEntries, within, &CallFailed::Timeout);
        let attempt = async {
            let beat = AppendEntriesRequest {
                vote: request.vote,
                prev_log_id: request.prev_log_id,
                entries: Vec::new(),
                leader_commit: request.leader_commit,
            };
            match self.append_inline(&beat, within).await? {
                AppendEntriesResponse::Success | AppendEntriesResponse::PartialSuccess(_) => {}
                answer @ (AppendEntriesResponse::Conflict | AppendEntriesResponse::HigherVote(_)) => {
                    self.large = None;
                    return Ok(answer);
                }
            }
            let Some(large) = self.large(request) else {
                return Err(self.failed(RPCTypes::AppendEntries, within, &CallFailed::Unreachable));
            };
            // Kept while we wait: if this attempt is cut off, the next one finds it.
            let large = self.large.insert(large);
            let outcome = (&mut large.outcome).await;
            let last = large.ids.last().copied();
            self.large = None;
            match outcome.unwrap_or(Err(CallFailed::Unreachable)) {
                // More entries have come in since it was sent.
                Ok(AppendEntriesResponse::Success) if last != request.entries.last().map(|e| e.log_id) => {
                    Ok(AppendEntriesResponse::PartialSuccess(last))
                }
                Ok(answer) => Ok(answer),
                Err(failed) => Err(self.failed(RPCTypes::AppendEntries, LARGE_APPEND_DEADLINE, &failed)),
            }
        };
        deadline(within, attempt).await.unwrap_or(Err(timed_out))
    }
}

async fn append(
    link: &Link,
    vote: &Vote,
    message: &AppendV1,
    within: Duration,
) -> Result<AppendEntriesResponse<u64>, CallFailed> {
    let answer = ask::<_, AppendedV1>(link, message, within).await?.into();
    if let AppendEntriesResponse::HigherVote(higher) = &answer {
        believe(higher, vote)?;
    }
    Ok(answer)
}

/// A vote in an answer is believed like one in a call (C-29).
fn believe(answered: &Vote, asked: &Vote) -> Result<(), CallFailed> {
    plausible::vote(answered, asked.leader_id.term).map_err(|_| CallFailed::Misfit)
}

async fn ask<B: Body, A: Body>(link: &Link, request: &B, within: Duration) -> Result<A, CallFailed> {
    let body = request.to_bytes().map_err(|_| CallFailed::Misfit)?;
    let answer = link.call(B::KIND, &[&body], A::KIND, within).await?;
    A::from_bytes(&answer).map_err(|_| CallFailed::Misfit)
}

impl RaftNetwork<Types> for PeerClient {
    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, RpcError> {
        if payload_bytes(&request.entries) <= INLINE_BYTES_MAX {
            self.append_inline(&request, within(&option)).await
        } else {
            self.append_large(&request, within(&option)).await
        }
    }

    async fn vote(&mut self, request: VoteRequest<u64>, option: RPCOption) -> Result<VoteResponse<u64>, RpcError> {
        let within = within(&option);
        let voted = match self.links.get(self.target) {
            Some(link) => ask::<_, VotedV1>(&link, &AskVoteV1::from(&request), within).await,
            None => Err(CallFailed::Unreachable),
        };
        let voted = voted.map(VoteResponse::from).and_then(|voted| {
            believe(&voted.vote, &request.vote)?;
            Ok(voted)
        });
        voted.map_err(|failed| self.failed(RPCTypes::Vote, within, &failed))
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<u64>, StreamingError<Types, RaftFatal<u64>>> {
        let sending = async {
            let sent = self.send_snapshot(&vote, snapshot).await;
            if sent.is_err() {
                // Not openraft's pause for what is unreachable: in that one no heartbeat crosses.
                tokio::time::sleep(SNAPSHOT_PAUSE).await;
            }
            sent
        };
        tokio::select! {
            biased;
            closed = cancel => Err(closed.into()),
            sent = sending => sent.map_err(StreamingError::Network),
            higher = self.beat(vote) => Ok(SnapshotResponse::new(higher)),
        }
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(UNREACHABLE_PAUSE))
    }
}
