//! Somebody who looks at every node's status, and at the records that voters have stored.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use remit_common::crypto::digest::Digest;
use remit_common::crypto::sign::PublicKey;
use remit_common::id::{BootId, BundleVersion, EdgeId, LogIndex, MeshId, RevocationEpoch, VoterId};
use remit_common::net::tasks::Shutdown;
use remit_common::record::{Record, RecordKind};
use remit_common::text;
use remit_control_plane::admin::model::StoredRecords;
use serde::Deserialize;

use super::http::get;
use super::rest::rest;
use crate::drill::backend::Access;
use crate::history::{Edge, History, Kind, RecordSeen, SignedTick, TurnedAway, Voter, What};
use crate::node::Node;

const NAME: &str = "observer";
/// For one answer: a node that is alive answers from memory.
const ANSWER: Duration = Duration::from_secs(1);
/// For a page of records.
const PAGE: Duration = Duration::from_secs(10);
/// Between two looks at the spools at the end, and how many there are: an edge sends its records at once, a voter that
/// was replaced takes them from the beginning.
const SPOOL_EVERY: Duration = Duration::from_millis(1_200);
const SPOOL_LOOKS: u32 = 20;

#[derive(Deserialize)]
struct VoterStatus {
    term: Option<u64>,
    role: Option<String>,
    leader: Option<VoterId>,
    applied: Option<LogIndex>,
    applied_digest: Option<Digest>,
    signed: Option<SignedTick>,
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
    tenants: Vec<TenantStatus>,
    decisions: Decisions,
}

#[derive(Deserialize)]
struct Spool {
    records: u64,
}

#[derive(Deserialize)]
struct TenantStatus {
    relations: Option<RelationsStatus>,
    #[serde(default)]
    crash_loop: Vec<CrashStatus>,
}

#[derive(Deserialize)]
struct CrashStatus {
    activation: LogIndex,
    bundle_digest: Digest,
}

#[derive(Deserialize)]
struct RelationsStatus {
    revision: u64,
}

#[derive(Deserialize)]
struct Decisions {
    permit: u64,
    deny: u64,
}

fn turned_away(crashes: &[CrashStatus]) -> Vec<TurnedAway> {
    crashes.iter().map(|of| TurnedAway { activation: of.activation, digest: of.bundle_digest }).collect()
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

    /// Looks at every node once, at all of them at the same time. Says whether every edge answered, and that a majority
    /// has all its records.
    pub(super) async fn look(&self) -> bool {
        let mesh = self.access.mesh();
        let voters = mesh.voters.iter().map(|voter| self.voter(voter.id, &voter.ops));
        let edges = mesh.edges.iter().map(|edge| self.edge(edge.id.clone(), &edge.ops));
        let (_, spools) =
            futures::future::join(futures::future::join_all(voters), futures::future::join_all(edges)).await;
        spools.iter().all(|spool| *spool == Some(0))
    }

    /// Looks until every edge has handed over its records, or it takes too long.
    pub(super) async fn watch_spools(&self) {
        for _ in 0..SPOOL_LOOKS {
            tokio::time::sleep(SPOOL_EVERY).await;
            if self.look().await {
                return;
            }
        }
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
            signed: status.signed,
        }));
    }

    /// Gives how many records no majority has yet.
    async fn edge(&self, id: EdgeId, ops: &str) -> Option<u64> {
        let env = self.access.env_at(&Node::Edge(id.clone()));
        let asked_us = u64::try_from(self.access.now().as_micros()).ok();
        let status = get::<EdgeStatus>(&env, ops, "/status", ANSWER).await?;
        self.note(What::Edge(Edge {
            edge: id,
            asked_us,
            boot: status.boot_id,
            bundle: status.bundle_version,
            digest: status.bundle_digest,
            activation: status.activation,
            epoch: status.revocation_epoch,
            relations: status.tenants.first().and_then(|tenant| tenant.relations.as_ref()).map(|of| of.revision),
            turned_away: status.tenants.first().map(|tenant| turned_away(&tenant.crash_loop)).unwrap_or_default(),
            tick: status.tick,
            staleness_ms: status.staleness_ms,
            mode: status.mode,
            spool: status.spool.records,
            permits: status.decisions.permit,
            denials: status.decisions.deny,
        }));
        Some(status.spool.records)
    }

    /// Reads the whole store of every voter. `keys` are those with which edges sign gaps.
    pub(super) async fn collect_records(&self, keys: &BTreeMap<EdgeId, PublicKey>) {
        let mesh = self.access.mesh();
        for voter in &mesh.voters {
            let reading = |of| What::Records { of, voter: voter.id };
            let of = self.history.note(self.access.now(), NAME, Kind::Invoke, reading(None));
            let is_whole = self.read_store(voter.id, &voter.admin, &mesh.mesh_id, keys).await;
            let kind = if is_whole { Kind::Ok } else { Kind::Info };
            self.history.note(self.access.now(), NAME, kind, reading(Some(of)));
        }
    }

    /// Says whether the end was reached.
    async fn read_store(&self, id: VoterId, admin: &str, mesh: &MeshId, keys: &BTreeMap<EdgeId, PublicKey>) -> bool {
        let env = self.access.env_at(&Node::Voter(id));
        let mut after = 0;
        loop {
            let path = format!("/v1/records?after={after}");
            let Some(page) = get::<StoredRecords>(&env, admin, &path, PAGE).await else { return false };
            for record in &page.records {
                self.record(id, mesh, record, keys);
            }
            if page.records.is_empty() || page.last <= after {
                return true;
            }
            after = page.last;
        }
    }

    fn record(&self, voter: VoterId, mesh: &MeshId, base64: &str, keys: &BTreeMap<EdgeId, PublicKey>) {
        let Some(record) = text::from_base64(base64).and_then(|bytes| Record::parse(&bytes).ok()) else {
            // A voter that shows what is no record has stored what is none.
            return self.note(What::Canary { place: format!("voter {voter} shows a record that cannot be read") });
        };
        let key = keys.get(&record.public().edge);
        let is_signed = || key.is_some_and(|key| record.verify_gap(mesh, key).is_ok());
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
            verified: record.public().kind != RecordKind::Gap || is_signed(),
            gap: public.gap.and_then(|gap| gap.records).unwrap_or(0),
        }));
    }
}
