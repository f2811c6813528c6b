//! What one voter does with the others: writes that reach the leader, reads behind a barrier, and questions whose
//! answers only all voters together have.

mod calls;
mod enrol;
mod protocol;
mod read;
mod time;
mod write;

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::FutureExt as _;
use futures::stream::{FuturesUnordered, Stream};
use remit_common::id::{LogIndex, VoterId};
use remit_common::net::env::{Env, deadline};
use remit_common::wire::message::VoterAddresses;
use tokio::sync::watch;

pub(crate) use calls::{Answers, Calls, Services};
pub(crate) use protocol::{PeerHealth, PeerReply, PeerRequest};
pub(crate) use time::compare_clocks;
pub(crate) use write::{Submitted, WriteError};

use self::time::Clocks;
use crate::entry::{self, Kind};
use crate::machine::{View, Views};
use crate::raft::{CallError, RaftNode, RaftStatus};
use crate::telemetry::Metrics;

/// Nobody can answer now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unavailable {
    /// No voter leads, or not for long enough.
    #[error("the voters have no leader")]
    NoLeader,
    /// A leader that no majority confirms, or that does not answer.
    #[error("the leader cannot confirm that it still leads")]
    NotConfirmed,
    /// This voter lags behind what it was asked for.
    #[error("this voter has not applied entry {index} yet")]
    Behind {
        /// The entry.
        index: LogIndex,
    },
    /// This voter stops.
    #[error("this voter is stopping")]
    Stopping,
}

/// The other voters, and what this one has applied. Cloning gives the same.
#[derive(Clone)]
pub(crate) struct Cluster {
    pub(crate) id: VoterId,
    pub(crate) env: Env,
    pub(crate) metrics: Metrics,
    /// Who counts until the log says who takes part.
    configured: Arc<[VoterId]>,
    /// An administrator wants another leader: to this one, if one is named.
    hand_over: watch::Sender<Option<Option<VoterId>>>,
    /// Where edges reach those who joined later than the first.
    addresses: watch::Sender<VoterAddresses>,
    clocks: Clocks,
    views: Views,
    raft: Arc<OnceLock<RaftNode>>,
    /// Held from comparing a bundle with the active one until it is applied: one at a time.
    publishing: Arc<tokio::sync::Mutex<()>>,
    /// Held by the one batch of relations that is looked at.
    relating: Arc<tokio::sync::Mutex<()>>,
}

impl Cluster {
    /// Of the voters `voters`, seen from `id`. Raft joins later, by [`Self::join`]: it takes this as an argument.
    pub(crate) fn new(id: VoterId, voters: &[VoterId], views: Views, env: &Env, metrics: &Metrics) -> Self {
        Self {
            id,
            env: env.clone(),
            metrics: metrics.clone(),
            configured: voters.into(),
            hand_over: watch::Sender::new(None),
            addresses: watch::Sender::new(VoterAddresses { voters: Vec::new() }),
            clocks: Clocks::default(),
            views,
            raft: Arc::default(),
            publishing: Arc::default(),
            relating: Arc::default(),
        }
    }

    pub(crate) fn join(&self, raft: RaftNode) {
        // INVARIANT: called once, by the voter that started this Raft node; a second call would change nothing.
        let _ = self.raft.set(raft);
    }

    fn raft(&self) -> Result<&RaftNode, Unavailable> {
        self.raft.get().ok_or(Unavailable::Stopping)
    }

    /// The registry as of the newest entry applied here.
    pub(crate) fn view(&self) -> Arc<View> {
        self.views.borrow().clone()
    }

    /// The newest view, for whoever waits for the next.
    pub(crate) fn views(&self) -> Views {
        self.views.clone()
    }

    /// Raft's status, once it runs.
    pub(crate) fn status(&self) -> Option<RaftStatus> {
        self.raft.get().map(RaftNode::status)
    }

    /// Whether this voter leads, as far as it knows.
    pub(crate) fn leads(&self) -> bool {
        self.status().is_some_and(|status| status.leader == Some(self.id))
    }

    /// The voters but this one.
    pub(crate) fn others(&self) -> impl Iterator<Item = VoterId> + use<> {
        let own = self.id;
        self.voters().into_iter().filter(move |voter| *voter != own)
    }

    /// Everybody who takes part, learners included.
    pub(crate) fn voters(&self) -> Vec<VoterId> {
        let members = self.status().map(|status| status.members.all).unwrap_or_default();
        if members.is_empty() { self.configured.to_vec() } else { members.into_keys().collect() }
    }

    /// Has the leader, if this voter is it, hand over.
    fn ask_for_hand_over(&self, to: Option<VoterId>) {
        self.hand_over.send_replace(Some(to));
    }

    /// What [`crate::electorate::keep`] waits for.
    pub(crate) fn hand_overs(&self) -> watch::Receiver<Option<Option<VoterId>>> {
        self.hand_over.subscribe()
    }

    /// What edges are told about voters that joined later than the first.
    pub(crate) fn addresses(&self) -> watch::Receiver<VoterAddresses> {
        self.addresses.subscribe()
    }

    /// Looks again at who takes part.
    pub(crate) fn refresh_addresses(&self) {
        let members = self.status().map(|status| status.members.all).unwrap_or_default();
        let voters = members.into_iter().filter_map(|(id, at)| Some((id, at.dist?))).collect();
        let addresses = VoterAddresses { voters };
        self.addresses.send_if_modified(|known| {
            let is_new = *known != addresses;
            *known = addresses;
            is_new
        });
    }

    /// Where the configuration says that a voter is.
    pub(crate) fn configured(&self, id: VoterId) -> Option<SocketAddr> {
        self.raft.get()?.configured(id)
    }

    /// Asks one other voter.
    pub(crate) async fn ask(&self, to: VoterId, request: &PeerRequest) -> Result<PeerReply, CallError> {
        let raft = self.raft.get().ok_or(CallError::Unreachable(to))?;
        let bytes = raft.call_peer(to, entry::encode(Kind::PeerRequest, request), request.within()).await?;
        PeerReply::from_bytes(&bytes).map_err(|error| CallError::Refused(error.to_string()))
    }

    /// Asks every other voter at the same time. A voter that gave no answer stands there with its error.
    pub(crate) async fn ask_all(&self, request: &PeerRequest) -> Vec<(VoterId, Result<PeerReply, CallError>)> {
        futures::future::join_all(self.others().map(|to| async move { (to, self.ask(to, request).await) })).await
    }

    /// The same, each answer as it comes: for who needs no more than a majority.
    pub(crate) fn ask_each<'a>(
        &'a self,
        request: &'a PeerRequest,
    ) -> impl Stream<Item = (VoterId, Result<PeerReply, CallError>)> + Unpin + 'a {
        let asked = self.others().map(|to| async move { (to, self.ask(to, request).await) }.boxed());
        asked.collect::<FuturesUnordered<_>>()
    }

    /// Returns once this voter has applied `index`.
    pub(crate) async fn wait_applied(&self, index: LogIndex, within: Duration) -> Result<(), Unavailable> {
        let mut applied = self.raft()?.applied();
        match deadline(within, applied.wait_for(|applied| applied.index >= index)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(Unavailable::Stopping),
            Err(_) => Err(Unavailable::Behind { index }),
        }
    }

    /// Returns once somebody else than `voter` leads; never, if that is not to be seen.
    async fn another_leads(&self, voter: VoterId) {
        if let Ok(raft) = self.raft() {
            let mut status = raft.status_watch();
            if status.wait_for(|status| status.leader.is_some_and(|leader| leader != voter)).await.is_ok() {
                return;
            }
        }
        std::future::pending().await
    }

    /// Returns with the voter that leads, as soon as one does.
    async fn leader(&self, within: Duration) -> Result<VoterId, Unavailable> {
        let mut status = self.raft()?.status_watch();
        match deadline(within, status.wait_for(|status| status.leader.is_some())).await {
            Ok(Ok(status)) => status.leader.ok_or(Unavailable::NoLeader),
            Ok(Err(_)) => Err(Unavailable::Stopping),
            Err(_) => Err(Unavailable::NoLeader),
        }
    }
}
