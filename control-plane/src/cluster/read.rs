//! Reads that see every write acknowledged before them.

use std::time::Duration;

use remit_common::id::LogIndex;
use remit_common::planted::{Bug, planted};

use super::protocol::{PeerReply, PeerRequest};
use super::{Cluster, Unavailable};
use crate::raft::{RaftNode, ReadError};

/// From asking to answering; longer than losing a leader and electing another.
const READ_WITHIN: Duration = Duration::from_secs(10);
/// One attempt.
const ATTEMPT_WITHIN: Duration = Duration::from_secs(2);
/// Between two attempts.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

impl Cluster {
    /// Returns once this voter has applied everything that was acknowledged before the call.
    pub(crate) async fn barrier(&self) -> Result<(), Unavailable> {
        let started = self.env.now().boot;
        loop {
            let left = READ_WITHIN.saturating_sub(self.env.now().boot.since(started));
            if left.is_zero() {
                return Err(Unavailable::NotConfirmed);
            }
            let leader = self.leader(left).await?;
            if leader == self.id {
                match read_barrier(self.raft()?).await {
                    Ok(_) => return Ok(()),
                    Err(ReadError::Stopped) => return Err(Unavailable::Stopping),
                    Err(ReadError::NotLeader { .. } | ReadError::Isolated) => {}
                }
            } else if let Ok(PeerReply::ReadIndex(index)) = self.ask(leader, &PeerRequest::ReadIndex).await {
                if planted(Bug::ReadBeforeApplied) {
                    return Ok(());
                }
                return self.wait_applied(index, left).await;
            }
            tokio::time::sleep(RETRY_PAUSE.min(left)).await;
        }
    }

    /// For another voter: the index, if this one leads.
    pub(super) async fn read_index_for_peer(&self) -> PeerReply {
        let Ok(raft) = self.raft() else { return PeerReply::Unavailable };
        match read_barrier(raft).await {
            Ok(index) => PeerReply::ReadIndex(index),
            Err(ReadError::NotLeader { leader }) => PeerReply::NotLeader { leader },
            Err(ReadError::Isolated | ReadError::Stopped) => PeerReply::Unavailable,
        }
    }
}

async fn read_barrier(raft: &RaftNode) -> Result<LogIndex, ReadError> {
    raft.read_barrier(ATTEMPT_WITHIN).await
}
