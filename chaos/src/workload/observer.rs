//! Somebody who looks at every node's status, and at the records that voters have stored.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use remit_common::crypto::digest::Digest;
use remit_common::id::{BootId, BundleVersion, LogIndex, MeshId, RevocationEpoch, VoterId};
use remit_common::net::tasks::Shutdown;
use remit_common::record::Record;
use remit_common::text;
use remit_control_plane::admin::model::StoredRecords;
use serde::Deserialize;

use super::http::get;
use super::rest::rest;
use crate::drill::backend::Access;
use crate::history::{Edge, History, Kind, RecordSeen, Voter, What};
use crate::node::Node;

const NAME: &str = "observer";
/// For one answer: a node that is alive answers from memory.
const ANSWER: Duration = Duration::from_secs(1);
/// For a page of records.
const PAGE: Duration = Duration::from_secs(10);

#[derive(Deserialize)]
struct VoterStatus {
    term: Option<u64>,
    role: Option<String>,
    leader: Option<VoterId>,
    applied: Option<LogIndex>,
    applied_digest: Option<Digest>,
}

#[derive(Deserialize)]
struct EdgeStatus {
    boot_id: BootId,
    bundle_version: Option<BundleVersion>,
    bundle_digest: Option<Digest>,
    activation: Option<LogIndex>,
    revocation_epoch: RevocationEpoch,
    tick: LogIndex,
    staleness_ms: Option<u64>,
    mode: String,
    spool: Spool,
    decisions: Decisions,
}

#[derive(Deserialize)]
struct Spool {
    records: u64,
}

#[derive(Deserialize)]
struct Decisions {
    permit: u64,
    deny: u64,
}

pub(super) struct Observer {
    access: Arc<dyn Access>,
    history: History,
}

impl Observer {
    pub(super) fn new(access: &Arc<dyn Access>, history: &History) -> Self {
        Self { access: Arc::clone(access), history: history.clone() }
    }

    /// Looks until asked to stop.
    pub(super) async fn watch(self, every: Duration, stop: Shutdown) {
        let env = self.access.env_at(&Node::Operator);
        while rest(&env, every, &stop).await {
            self.look().await;
        }
    }

    /// Looks at every node once, at all of them at the same time.
    pub(super) async fn look(&self) {
        let mesh = self.access.mesh();
        let voters = mesh.voters.iter().map(|voter| self.voter(voter.id, &voter.ops));
        let edges = mesh.edges.iter().map(|edge| self.edge(edge.id.clone(), &edge.ops));
        futures::future::join(futures::future::join_all(voters), futures::future::join_all(edges)).await;
    }

    fn note(&self, what: What) {
        self.history.note(self.access.now(), NAME, Kind::Info, what);
    }

    async fn voter(&self, id: VoterId, ops: &str) {
        let env = self.access.env_at(&Node::Voter(id));
        let Some(status) = get::<VoterStatus>(&env, ops, "/status", ANSWER).await else { return };
        let (Some(term), Some(applied)) = (status.term, status.applied) else { return };
        self.note(What::Voter(Voter {
            voter: id,
            term,
            role: status.role.unwrap_or_default(),
            leader: status.leader,
            applied,
            applied_digest: status.applied_digest,
            entries: BTreeMap::new(),
        }));
    }

    async fn edge(&self, id: remit_common::id::EdgeId, ops: &str) {
        let env = self.access.env_at(&Node::Edge(id.clone()));
        let Some(status) = get::<EdgeStatus>(&env, ops, "/status", ANSWER).await else { return };
        self.note(What::Edge(Edge {
            edge: id,
            boot: status.boot_id,
            bundle: status.bundle_version,
            digest: status.bundle_digest,
            activation: status.activation,
            epoch: status.revocation_epoch,
            tick: status.tick,
            staleness_ms: status.staleness_ms,
            mode: status.mode,
            spool: status.spool.records,
            permits: status.decisions.permit,
            denials: status.decisions.deny,
        }));
    }

    /// Notes every record of every voter that answers.
    pub(super) async fn collect_records(&self) {
        let mesh = self.access.mesh();
        for voter in &mesh.voters {
            let env = self.access.env_at(&Node::Voter(voter.id));
            let mut after = 0;
            loop {
                let path = format!("/v1/records?after={after}");
                let Some(page) = get::<StoredRecords>(&env, &voter.admin, &path, PAGE).await else { break };
                for record in &page.records {
                    self.record(voter.id, &mesh.mesh_id, record);
                }
                if page.records.is_empty() || page.last <= after {
                    break;
                }
                after = page.last;
            }
        }
    }

    fn record(&self, voter: VoterId, mesh: &MeshId, base64: &str) {
        let Some(record) = text::from_base64(base64).and_then(|bytes| Record::parse(&bytes).ok()) else {
            // A voter that shows what is no record has stored what is none.
            return self.note(What::Canary { place: format!("voter {voter} shows a record that cannot be read") });
        };
        let public = record.public();
        self.note(What::Record(RecordSeen {
            voter,
            edge: public.edge.clone(),
            boot: public.boot,
            seq: public.seq,
            previous: public.prev,
            digest: record.hash(mesh),
            kind: public.kind.as_str().to_owned(),
            decision: public.decision.map(|id| id.to_string()),
            verified: true,
            gap: public.gap.and_then(|gap| gap.records).unwrap_or(0),
        }));
    }
}
