//! What can go wrong with consensus, as its callers tell it apart.

use remit_common::id::VoterId;

/// The bytes are no snapshot of this state machine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the snapshot cannot be restored: {0}")]
pub struct RestoreError(pub String);

/// A voter does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration contradicts itself.
    #[error("the consensus configuration is wrong: {0}")]
    Config(String),
    /// The disk belongs to another voter or another mesh, or parts of it are gone.
    #[error("this disk must not be used: {0}")]
    ForeignDisk(String),
    /// The log or the snapshot cannot be read or written.
    #[error("the consensus log or snapshot is unusable: {0}")]
    Storage(String),
    /// The snapshot on disk does not fit the state machine.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// The endpoint for the other voters does not open.
    #[error("the endpoint for the other voters does not open: {0}")]
    Endpoint(String),
    /// The Raft core gave up while starting.
    #[error("consensus does not start: {0}")]
    Core(String),
}

/// An entry was not accepted, or nobody knows whether it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Another voter leads; nothing was written.
    #[error("this voter does not lead")]
    NotLeader {
        /// Who does, as far as this voter knows.
        leader: Option<VoterId>,
    },
    /// This voter leads but has not heard from a majority for too long; nothing was written.
    #[error("no majority of voters answers this leader")]
    Isolated,
    /// The entry exceeds the bound of the log; nothing was written.
    #[error("an entry of {len} bytes exceeds {max}")]
    TooLarge {
        /// Bytes of the entry.
        len: usize,
        /// The bound.
        max: usize,
    },
    /// The entry was written by this leader, but not committed in time: it may still be, or never.
    #[error("not committed in time; the outcome is unknown")]
    OutcomeUnknown,
    /// This voter stops or has stopped.
    #[error("this voter is stopping")]
    Stopped,
}

/// A read barrier was not reached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Another voter leads.
    #[error("this voter does not lead")]
    NotLeader {
        /// Who does, as far as this voter knows.
        leader: Option<VoterId>,
    },
    /// No majority confirmed this leader in time.
    #[error("no majority of voters answers this leader")]
    Isolated,
    /// This voter stops or has stopped.
    #[error("this voter is stopping")]
    Stopped,
}

/// A call to another voter brought no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The voter is not one of ours, or is this one.
    #[error("voter {0} is not a peer")]
    NotAPeer(VoterId),
    /// The request exceeds the bound of a call; nothing was sent.
    #[error("a call of {len} bytes exceeds {max}")]
    TooLarge {
        /// Bytes of the request.
        len: usize,
        /// The bound.
        max: usize,
    },
    /// There is no connection to the voter; nothing was sent.
    #[error("voter {0} cannot be reached")]
    Unreachable(VoterId),
    /// The connection broke or the deadline passed; whether the voter has acted is unknown.
    #[error("voter {0} gave no answer in time; whether it acted is unknown")]
    NoAnswer(VoterId),
    /// The voter answered that it refuses.
    #[error("refused: {0}")]
    Refused(String),
}
