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

    /// Makes another voter lead: `to`, or the one that is furthest. Meanwhile this one takes no entries; whoever wants
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

    /// Waits until some other voter has the whole log, and gives the one that is asked for or furthest.
    async fn successor(&self, to: Option<VoterId>) -> VoterId {
        loop {
            let RaftStatus { id, last, members, progress, .. } = self.status();
            let voters = members.target();
            let mut others = progress.iter().filter(|(other, _)| **other != id && voters.contains(other));
            let ready = others.find(|(other, has)| to.is_none_or(|to| to == **other) && **has >= last);
            if let Some((successor, _)) = ready.filter(|(successor, _)| self.is_connected(**successor)) {
                return *successor;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}
