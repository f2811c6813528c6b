//! What a voter currently is, for people and for whoever waits.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use openraft::{RaftMetrics, ServerState};
use remit_common::crypto::digest::Digest;
use remit_common::id::{LogIndex, VoterId};
use tokio::sync::watch;

use super::applied::AppliedLog;
use super::members::Members;
use super::types::{Addresses, LogId};

/// What a voter currently is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RaftRole {
    /// Not part of a mesh yet: nobody has initialised it, and nobody has written to it.
    Fresh,
    /// Takes the log, and does not vote yet.
    Learner,
    /// Follows a leader, or waits for one.
    Follower,
    /// Wants to lead.
    Candidate,
    /// Leads.
    Leader,
    /// Has stopped.
    Stopped,
}

impl RaftRole {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Learner => "learner",
            Self::Follower => "follower",
            Self::Candidate => "candidate",
            Self::Leader => "leader",
            Self::Stopped => "stopped",
        }
    }
}

/// A voter's view of consensus at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RaftStatus {
    /// This voter.
    pub id: VoterId,
    /// What it is.
    pub role: RaftRole,
    /// Who leads, as far as this voter knows.
    pub leader: Option<VoterId>,
    /// The term.
    pub term: u64,
    /// The last entry in this voter's log.
    pub last: LogIndex,
    /// The last entry that this voter has applied.
    pub applied: LogIndex,
    /// The digest of every entry up to and including [`Self::applied`] (C-10).
    pub applied_digest: Option<Digest>,
    /// The same at round numbers behind it, oldest first.
    pub applied_marks: Arc<VecDeque<(LogIndex, Digest)>>,
    /// The last entry that the snapshot on disk contains.
    pub snapshot: Option<LogIndex>,
    /// On the leader: how long ago a majority last confirmed it.
    pub since_majority: Option<Duration>,
    /// The members that vote.
    pub voters: Vec<VoterId>,
    /// Everybody who takes part, as this voter's log says.
    pub members: Members,
    /// On the leader: the last entry that each other member is known to have.
    pub progress: BTreeMap<VoterId, LogIndex>,
}

/// Reads openraft's metrics; `applied` is ahead of them by what the core has not heard yet.
pub(super) fn status_of(
    id: VoterId,
    metrics: &RaftMetrics<u64, Addresses>,
    applied: &watch::Receiver<AppliedLog>,
) -> RaftStatus {
    let voters: Vec<VoterId> = metrics.membership_config.voter_ids().map(VoterId).collect();
    let role = match metrics.state {
        _ if metrics.running_state.is_err() => RaftRole::Stopped,
        ServerState::Learner if voters.is_empty() => RaftRole::Fresh,
        ServerState::Learner => RaftRole::Learner,
        ServerState::Follower => RaftRole::Follower,
        ServerState::Candidate => RaftRole::Candidate,
        ServerState::Leader => RaftRole::Leader,
        ServerState::Shutdown => RaftRole::Stopped,
    };
    let matched = |(id, at): (&u64, &Option<LogId>)| (VoterId(*id), LogIndex(at.map_or(0, |at| at.index)));
    let progress = metrics.replication.iter().flatten().map(matched).collect();
    let AppliedLog { index, digest, marks } = applied.borrow().clone();
    RaftStatus {
        id,
        role,
        leader: metrics.current_leader.map(VoterId),
        term: metrics.current_term,
        last: LogIndex(metrics.last_log_index.unwrap_or_default()),
        applied: index,
        applied_digest: digest,
        applied_marks: marks,
        snapshot: metrics.snapshot.map(|id| LogIndex(id.index)),
        since_majority: metrics.millis_since_quorum_ack.map(Duration::from_millis),
        voters,
        members: Members::of(&metrics.membership_config),
        progress,
    }
}
