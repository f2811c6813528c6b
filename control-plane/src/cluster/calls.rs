//! The answering side of what voters ask each other.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use futures::future::BoxFuture;
use remit_common::id::{EdgeId, LogIndex, TenantId, VoterId};
use remit_common::time::Timestamp;

use super::Cluster;
use super::protocol::{PeerHealth, PeerReply, PeerRequest, PeerStatus};
use crate::beacons::Beacons;
use crate::collect::Collector;
use crate::edges::{EdgeReport, EdgeTable};
use crate::entry::{self, Kind};
use crate::issuer::Issuer;
use crate::nonces::NonceDesk;
use crate::raft::PeerCalls;
use crate::rollouts::RolloutDesk;

/// What this voter answers from.
pub(crate) struct Services {
    pub(crate) cluster: Cluster,
    pub(crate) issuer: Arc<Issuer>,
    pub(crate) edges: Arc<EdgeTable>,
    pub(crate) nonces: Arc<NonceDesk>,
    pub(crate) beacons: Arc<Beacons>,
    pub(crate) rollouts: Arc<RolloutDesk>,
    pub(crate) collector: Collector,
}

/// Raft takes the answering side before the rest of the voter is there; until then every call is refused.
#[derive(Clone, Default)]
pub(crate) struct Calls(Arc<OnceLock<Services>>);

/// Answers by voter, those that came, and who did not.
pub(crate) struct Answers<T> {
    pub(crate) got: Vec<(VoterId, T)>,
    pub(crate) missing: Vec<VoterId>,
}

impl Calls {
    pub(crate) fn serve(&self, services: Services) {
        // INVARIANT: called once, by the voter that owns this; a second call would change nothing.
        let _ = self.0.set(services);
    }
}

impl PeerCalls for Calls {
    fn handle(&self, from: VoterId, request: Vec<u8>) -> BoxFuture<'_, Result<Vec<u8>, String>> {
        Box::pin(async move {
            let services = self.0.get().ok_or_else(|| "this voter is starting".to_owned())?;
            let request = PeerRequest::from_bytes(&request).map_err(|error| error.to_string())?;
            let reply = services.answer(from, request).await?;
            Ok(entry::encode(Kind::PeerReply, &reply))
        })
    }
}

impl Services {
    async fn answer(&self, from: VoterId, request: PeerRequest) -> Result<PeerReply, String> {
        Ok(match request {
            PeerRequest::Propose { request, again } => self.cluster.propose_for_peer(request, again).await,
            PeerRequest::Enrol { request, life_secs } => self.cluster.propose_enrolment(request, life_secs).await,
            PeerRequest::ReadIndex => self.cluster.read_index_for_peer().await,
            PeerRequest::NonceRoot(root) => {
                self.nonces.note_root(from, root);
                PeerReply::Noted
            }
            PeerRequest::CoSign { n, signature } => self.beacons.receive(from, n, signature),
            PeerRequest::SignRoot { tenant, evidence, index } => {
                self.issuer.sign_for_peer(&self.cluster, &tenant, &evidence, index).await
            }
            PeerRequest::Edges => PeerReply::Edges(self.edges.reports()),
            PeerRequest::Signed => self.beacons.newest_of(from),
            PeerRequest::AttestedSince => PeerReply::AttestedSince(self.edges.attested_since()),
            PeerRequest::Rollouts => PeerReply::Rollouts(self.rollouts.reports()),
            PeerRequest::Status => match self.cluster.peer_health() {
                Some(PeerHealth { role, term, last, applied, .. }) => {
                    PeerReply::Status(PeerStatus { role, term, last, applied })
                }
                None => PeerReply::Unavailable,
            },
            PeerRequest::Clock => PeerReply::Clock(self.cluster.env.now().wall),
            PeerRequest::RecordStore => {
                PeerReply::RecordStore { whole: self.collector.is_whole(), last: self.collector.last_arrival() }
            }
            PeerRequest::Health => self.cluster.peer_health().map_or(PeerReply::Unavailable, PeerReply::Health),
            PeerRequest::Records(query) => {
                PeerReply::Records(self.collector.query(query).await.map_err(|error| error.to_string())?)
            }
            PeerRequest::Copies { after, limit } => {
                PeerReply::Copies(self.collector.copies(after, limit).await.map_err(|error| error.to_string())?)
            }
            PeerRequest::RecordsSince { after, limit } => {
                PeerReply::Arrivals(self.collector.since(after, limit).await.map_err(|error| error.to_string())?)
            }
        })
    }
}

impl Answers<Vec<EdgeReport>> {
    /// One report per edge, of each fact the newest that any voter has.
    pub(crate) fn by_edge(&self) -> BTreeMap<EdgeId, EdgeReport> {
        let mut merged: BTreeMap<EdgeId, EdgeReport> = BTreeMap::new();
        for report in self.got.iter().flat_map(|(_, reports)| reports) {
            match merged.get_mut(&report.edge) {
                Some(known) => known.merge(report.clone()),
                None => drop(merged.insert(report.edge.clone(), report.clone())),
            }
        }
        merged
    }
}

impl Cluster {
    /// What all voters' edges last said; `own` are this voter's.
    pub(crate) async fn edge_reports(&self, own: &EdgeTable) -> Answers<Vec<EdgeReport>> {
        let pick = |reply| if let PeerReply::Edges(reports) = reply { Some(reports) } else { None };
        let mut answers = self.gather(&PeerRequest::Edges, pick).await;
        answers.got.push((self.id, own.reports()));
        answers
    }

    /// Since when edges have attested what they run, as the voter says that heard it first; `own` are this voter's.
    pub(crate) async fn attested_since(&self, own: &EdgeTable) -> BTreeMap<(EdgeId, TenantId, LogIndex), Timestamp> {
        let pick = |reply| if let PeerReply::AttestedSince(since) = reply { Some(since) } else { None };
        let answers = self.gather(&PeerRequest::AttestedSince, pick).await;
        let mut first: BTreeMap<_, Timestamp> = BTreeMap::new();
        for since in answers.got.into_iter().flat_map(|(_, since)| since).chain(own.attested_since()) {
            let at = first.entry((since.edge, since.tenant, since.number)).or_insert(since.at);
            *at = since.at.min(*at);
        }
        first
    }

    /// How this voter is.
    pub(crate) fn peer_health(&self) -> Option<PeerHealth> {
        let status = self.status()?;
        Some(PeerHealth {
            role: status.role.as_str().to_owned(),
            term: status.term,
            last: status.last,
            applied: status.applied,
            digest: status.applied_digest,
            marks: status.applied_marks.iter().copied().collect(),
        })
    }

    /// Asks every other voter, and keeps the answers that `pick` knows.
    pub(crate) async fn gather<T>(&self, request: &PeerRequest, pick: impl Fn(PeerReply) -> Option<T>) -> Answers<T> {
        let mut answers = Answers { got: Vec::new(), missing: Vec::new() };
        for (voter, reply) in self.ask_all(request).await {
            match reply.ok().and_then(&pick) {
                Some(answer) => answers.got.push((voter, answer)),
                None => answers.missing.push(voter),
            }
        }
        answers
    }
}
