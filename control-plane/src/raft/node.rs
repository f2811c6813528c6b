//! One voter's part in consensus, as the rest of the control plane sees it.

use std::sync::Arc;
use std::time::Duration;

use remit_common::id::{LogIndex, VoterId};
use remit_common::net::env::Env;
use tokio::sync::watch;

use super::{CallError, PeerCalls, ProposeError, RaftConfig, ReadError, StartError, StateMachine};

/// What a voter currently is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RaftRole {
    /// Not part of a mesh yet: nobody has initialised it, and nobody has written to it.
    Fresh,
    /// Follows a leader, or waits for one.
    Follower,
    /// Wants to lead.
    Candidate,
    /// Leads.
    Leader,
    /// Has stopped.
    Stopped,
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
    /// The last entry that the snapshot on disk contains.
    pub snapshot: Option<LogIndex>,
    /// On the leader: how long ago a majority last confirmed it.
    pub since_majority: Option<Duration>,
    /// The members that vote.
    pub voters: Vec<VoterId>,
}

/// One voter's part in consensus. Cloning gives the same node.
#[derive(Clone)]
pub struct RaftNode {}

impl RaftNode {
    /// Opens log and snapshot, restores `machine`, opens the endpoint and takes part.
    ///
    /// # Errors
    /// [`StartError`]; nothing runs then.
    pub async fn start(
        _config: RaftConfig,
        _env: &Env,
        _machine: Box<dyn StateMachine>,
        _peer_calls: Arc<dyn PeerCalls>,
    ) -> Result<Self, StartError> {
        todo!()
    }

    /// Makes all configured voters the members of a new mesh. Every voter may call it at each start: once there is a
    /// log, it does nothing.
    ///
    /// # Errors
    /// [`StartError::Core`].
    pub async fn initialize(&self) -> Result<(), StartError> {
        todo!()
    }

    /// Has `entry` written by a majority and applied here; gives its index and the state machine's answer.
    ///
    /// # Errors
    /// [`ProposeError`]; every variant says whether something may have been written.
    pub async fn propose(&self, _entry: Vec<u8>, _within: Duration) -> Result<(LogIndex, Vec<u8>), ProposeError> {
        todo!()
    }

    /// Returns once this voter leads, a majority confirms it, and everything that was committed before the call is
    /// applied here: what is read from the state machine afterwards is linearizable.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn read_barrier(&self, _within: Duration) -> Result<LogIndex, ReadError> {
        todo!()
    }

    /// This voter's view, now.
    #[must_use]
    pub fn status(&self) -> RaftStatus {
        todo!()
    }

    /// The newest status, for whoever waits for a leader or an index.
    #[must_use]
    pub fn status_watch(&self) -> watch::Receiver<RaftStatus> {
        todo!()
    }

    /// The index of the last entry applied here.
    #[must_use]
    pub fn applied(&self) -> watch::Receiver<LogIndex> {
        todo!()
    }

    /// Asks another voter something; its [`PeerCalls::handle`] answers.
    ///
    /// # Errors
    /// [`CallError`]; every variant says whether the voter may have acted.
    pub async fn call_peer(&self, _to: VoterId, _request: Vec<u8>, _within: Duration) -> Result<Vec<u8>, CallError> {
        todo!()
    }

    /// Returns with the reason when this voter can no longer take part: a failed write, a damaged log, a panic. The
    /// process must end then. Never returns while all is well, nor after an orderly shutdown.
    pub async fn fatal(&self) -> String {
        todo!()
    }

    /// Stops taking part and closes log and endpoint.
    pub async fn shutdown(&self) {
        todo!()
    }
}
