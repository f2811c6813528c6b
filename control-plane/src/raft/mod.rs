//! Consensus: what the voters agree on, in which order, and what of it is on disk.
//!
//! The rest of the control plane sees a [`RaftNode`]: propose bytes, get them applied on every voter in one order to
//! a [`StateMachine`], and read behind a barrier. What makes that true in spite of crashes stays in this folder,
//! behind our own types, so that the Raft library can be replaced. Clauses C-1 to C-10 and C-20 to C-25, docs/PROTOCOL.md.
//!
//! The way of a write: `node` hands it to the leader's Raft core; `log_store` puts it on the disk; `transport`
//! carries it to the other voters; `state_machine` applies it once a majority has it.

mod applied;
mod change;
mod config;
mod error;
mod fatal;
mod format;
mod log_store;
mod members;
mod node;
mod reach;
mod runtime;
mod snapshot;
mod state_machine;
mod status;
mod tasks;
mod transport;
mod types;

#[cfg(test)]
#[path = "../../tests/it/fault_disk.rs"]
mod fault_disk;
#[cfg(test)]
pub(crate) use fault_disk::FaultDisk;
#[cfg(test)]
mod quorum_tests;
#[cfg(test)]
mod testing;

pub use applied::AppliedLog;
pub use change::{ChangeError, MemberChange};
pub use config::{RaftConfig, RaftTimings, RaftTls};
pub use error::{CallError, ProposeError, ReadError, RestoreError, StartError};
pub(crate) use fatal::Fatal;
pub use format::ENTRY_BYTES_MAX;
pub(crate) use log_store::{ImageBackend, open_database};
pub use members::Members;
pub use node::RaftNode;
pub use status::{RaftRole, RaftStatus};
pub use transport::message::CALL_BYTES_MAX;
pub use types::Addresses;

use std::sync::Arc;

use futures::future::BoxFuture;
use remit_common::id::{LogIndex, VoterId};

/// Says whether bytes are a snapshot that [`StateMachine::restore`] takes.
pub type SnapshotCheck = Arc<dyn Fn(&[u8]) -> Result<(), RestoreError> + Send + Sync>;

/// What the log is applied to. Pure: the same entries in the same order give the same state and the same answers on
/// every voter, in every replay.
pub trait StateMachine: Send + Sync + 'static {
    /// Applies one entry and gives the answer for its proposer. Never fails: an entry that makes no sense is an entry
    /// that changes nothing, on every voter alike.
    fn apply(&mut self, index: LogIndex, entry: &[u8]) -> Vec<u8>;

    /// Says who takes part, as of the entry that changed it. Called in the order of the log, and after every
    /// [`Self::restore`].
    fn members(&mut self, _members: &Members) {}

    /// The whole state as bytes, from which [`Self::restore`] makes it again.
    fn snapshot(&self) -> Vec<u8>;

    /// Tries snapshots of other voters, beside the state and without a change of it, before one of them takes the place
    /// of the one on disk.
    fn snapshot_check(&self) -> SnapshotCheck;

    /// Replaces the state by that of a snapshot.
    ///
    /// # Errors
    /// [`RestoreError`] when the bytes are no snapshot; the voter stops then.
    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError>;
}

/// Answers the calls of other voters.
pub trait PeerCalls: Send + Sync + 'static {
    /// Answers one call. `from` is the voter whose certificate the connection has; an `Err` reaches the caller as
    /// [`CallError::Refused`].
    fn handle(&self, from: VoterId, request: Vec<u8>) -> BoxFuture<'_, Result<Vec<u8>, String>>;
}
