//! Changing who takes part, one step at a time, and handing over leadership.
//!
//! Raft changes its membership in two entries, and a leader that dies in between leaves a joint membership that nobody
//! finishes by himself. So these are steps that whoever leads can take again; who decides on the next one is outside
//! (C-27). Handing over has no message in this Raft library: the leader falls silent for a lease, during which it takes
//! nothing, and then asks its successor to stand for election (C-28).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use openraft::ChangeMembers;
use openraft::error::{ChangeMembershipError, ClientWriteError, RaftError};
use remit_common::id::VoterId;
use remit_common::net::env::deadline;

use super::node::RaftNode;
use super::status::{RaftRole, RaftStatus};
use super::transport::message::Kind;
use super::types::Addresses;

/// Between two looks at how far the successor is.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A step of a change was not taken, or nobody knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// Another voter leads.
    #[error("this voter does not lead")]
    NotLeader,
    /// The membership that is in effect is not committed yet, or the member is not there yet.
    #[error("not yet: {0}")]
    NotYet(String),
    /// It may still come true.
    #[error("not committed in time; the outcome is unknown")]
    OutcomeUnknown,
    /// This voter stops or has stopped.
    #[error("this voter is stopping")]
    Stopped,
    /// There is nobody to hand over to.
    #[error("no other voter is there, and has the whole log")]
    NoSuccessor,
    /// The one that was to lead was not elected.
    #[error("voter {0} has not been elected")]
    NotElected(VoterId),
}

/// A step that changes who takes part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemberChange {
    /// Sends the log to a newcomer, who does not vote yet.
    Learner(VoterId, Addresses),
    /// These vote from now on. Whoever is new has to be a learner; who is not named takes no part any more.
    Voters(BTreeSet<VoterId>),
    /// A learner takes no part any more.
    NoLearner(VoterId),
}

/// While it lives, this leader takes nothing.
struct HandingOver<'a>(&'a AtomicBool, &'a RaftNode);

impl Drop for HandingOver<'_> {
    fn drop(&mut self) {
        self.1.raft().runtime_config().heartbeat(true);
        self.0.store(false, Ordering::SeqCst);
    }
}

impl RaftNode {
    /// Takes one step, if this voter leads.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn change(&self, change: MemberChange, within: Duration) -> Result<(), ChangeError> {
        let change = match change {
            MemberChange::Learner(id, addresses) => ChangeMembers::AddNodes(BTreeMap::from([(id.0, addresses)])),
            MemberChange::Voters(ids) => ChangeMembers::ReplaceAllVoters(ids.into_iter().map(|id| id.0).collect()),
            MemberChange::NoLearner(id) => ChangeMembers::RemoveNodes(BTreeSet::from([id.0])),
        };
        let changing = Box::pin(self.raft().change_membership(change, false));
        match deadline(within, changing).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_)))) => Err(ChangeError::NotLeader),
            Ok(Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(why)))) => Err(match why {
                ChangeMembershipError::InProgress(_)
                | ChangeMembershipError::EmptyMembership(_)
                | ChangeMembershipError::LearnerNotFound(_) => ChangeError::NotYet(why.to_string()),
            }),
            Ok(Err(RaftError::Fatal(_))) => Err(ChangeError::Stopped),
            Err(_) => Err(ChangeError::OutcomeUnknown),
        }
    }

    /// Makes another voter lead: `to`, or one that is connected and has the whole log. Meanwhile this one takes no entries; whoever wants
    /// to write waits for the next leader, about one election timeout.
    ///
    /// # Errors
    /// [`ChangeError`]; this voter goes on leading then, unless somebody else was elected.
    pub async fn hand_over(&self, to: Option<VoterId>) -> Result<VoterId, ChangeError> {
        let handing_over = self.handing_over();
        if self.status().role != RaftRole::Leader || handing_over.swap(true, Ordering::SeqCst) {
            return Err(ChangeError::NotLeader);
        }
        let _until_done = HandingOver(handing_over, self);
        let lease = self.lease();
        let successor = deadline(lease * 2, self.successor(to)).await.map_err(|_| ChangeError::NoSuccessor)?;
        // Others vote against anybody else for a lease after the leader's last word.
        self.raft().runtime_config().heartbeat(false);
        tokio::time::sleep(lease + LOOK_AGAIN).await;
        let link = self.link(successor).ok_or(ChangeError::NoSuccessor)?;
        // Until it leads: the next try begins behind it.
        self.passed_over().store(successor.0, Ordering::SeqCst);
        link.call(Kind::TakeOver, &[], Kind::TakingOver, lease)
            .await
            .map_err(|_| ChangeError::NotElected(successor))?;
        let mut status = self.status_watch();
        let elected = status.wait_for(|status| status.role != RaftRole::Leader && status.leader.is_some());
        match deadline(lease * 2, elected).await {
            Ok(Ok(status)) => status.leader.ok_or(ChangeError::NotElected(successor)),
            Ok(Err(_)) => Err(ChangeError::Stopped),
            Err(_) => Err(ChangeError::NotElected(successor)),
        }
    }

    /// Waits until some other voter is connected and has the whole log, and gives the one that is asked for, or else the
    /// next by its id behind the one that was tried last.
    async fn successor(&self, to: Option<VoterId>) -> VoterId {
        loop {
            let tried = VoterId(self.passed_over().load(Ordering::SeqCst));
            let ready = candidates(&self.status(), to).into_iter().filter(|other| self.is_connected(*other));
            if let Some(successor) = next_behind(tried, ready) {
                return successor;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

/// Who may lead next: the others that vote on, and have the whole log.
fn candidates(status: &RaftStatus, to: Option<VoterId>) -> Vec<VoterId> {
    let voters = status.members.target();
    let others = status.progress.iter().filter(|(other, _)| **other != status.id && voters.contains(other));
    let ready = others.filter(|(other, has)| to.is_none_or(|to| to == **other) && **has >= status.last);
    ready.map(|(other, _)| *other).collect()
}

/// In turn: one that does not take over must not keep the others from it.
fn next_behind(tried: VoterId, ready: impl Iterator<Item = VoterId>) -> Option<VoterId> {
    ready.min_by_key(|other| (*other <= tried, *other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_voter_that_does_not_take_over_keeps_nobody_from_it() {
        let next = |tried, ready: &[u64]| {
            next_behind(VoterId(tried), ready.iter().copied().map(VoterId)).map(|VoterId(next)| next)
        };
        assert_eq!(next(0, &[1, 2, 4]), Some(1));
        assert_eq!(next(1, &[1, 2, 4]), Some(2));
        assert_eq!(next(2, &[1, 2, 4]), Some(4));
        assert_eq!(next(4, &[1, 2, 4]), Some(1), "two that refuse keep no third one from it");
        assert_eq!(next(1, &[1]), Some(1), "nobody else is there");
        assert_eq!(next(1, &[]), None);
    }
}
