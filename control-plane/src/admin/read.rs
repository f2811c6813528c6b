//! Reads of the registry and of what edges last said. Clauses.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use remit_common::crypto::digest::Digest;
use remit_common::id::{EdgeId, LogIndex, TenantId, VoterId};
use remit_common::planted::{Bug, planted};
use remit_common::time::Timestamp;
use remit_common::trust::activation::{RING_ALL, RING_STAGED};
use remit_common::wire::message::Stage;
use serde::Deserialize;

use super::App;
use super::divergence::divergence;
use super::model::{
    BundleStage, BundleStatus, Bundles, CredentialStatus, Credentials, EdgeStatus, Edges, RefusedDocument,
    RelationsStatus, RevocationList, Running, Status, VoterChange, VoterSeat, VoterStatus, Voters, WaitingEdge,
};
use super::problem::Failure;
use crate::cluster::{Answers, PeerHealth, PeerReply, PeerRequest};
use crate::edges::EdgeReport;
use crate::machine::View;
use crate::registry::{Enrolled, State as Registry, VoterWish};

/// How new an answer has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Consistency {
    /// It sees every write acknowledged before it was asked for.
    Linearizable,
    /// What this voter has.
    Stale,
}

/// The query of most reads.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ask {
    pub(super) consistency: Option<Consistency>,
    pub(super) tenant: Option<TenantId>,
}

/// What can be asked of the revocations besides.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AskRevocations {
    consistency: Option<Consistency>,
    tenant: Option<TenantId>,
    /// Those of the newest tick that a majority of voters has signed, if they sign.
    #[serde(default)]
    signed: bool,
}

pub(super) type Asked<T> = Result<Query<T>, QueryRejection>;

pub(super) fn asked<T>(query: Asked<T>) -> Result<T, Failure> {
    let malformed = |error: QueryRejection| Failure::new(StatusCode::BAD_REQUEST, "malformed", error.body_text());
    query.map(|Query(ask)| ask).map_err(malformed)
}

impl App {
    /// The registry, as new as was asked for.
    pub(super) async fn view(&self, consistency: Consistency) -> Result<Arc<View>, Failure> {
        match consistency {
            Consistency::Linearizable if planted(Bug::ReadWithoutBarrier) => {}
            Consistency::Linearizable => self.cluster.barrier().await?,
            Consistency::Stale => {}
        }
        Ok(self.cluster.view())
    }

    /// What all voters' edges last said, by edge and voter.
    pub(super) async fn reports(&self) -> Answers<Vec<EdgeReport>> {
        self.cluster.edge_reports(&self.edges).await
    }
}

pub(super) async fn status(State(app): State<Arc<App>>, query: Asked<Ask>) -> Result<Json<Status>, Failure> {
    let Ask { consistency, tenant } = asked(query)?;
    let view = app.view(consistency.unwrap_or(Consistency::Stale)).await?;
    let state = &view.state;
    let (reports, since) = futures::join!(app.reports(), app.cluster.attested_since(&app.edges));
    let raft = app.cluster.status();
    let trust = state.trust().ok();
    let health = health(&app).await;
    Ok(Json(Status {
        mesh_id: app.genesis.mesh,
        voter: app.cluster.id,
        leader: raft.as_ref().and_then(|raft| raft.leader),
        term: raft.as_ref().map_or(0, |raft| raft.term),
        applied: raft.as_ref().map_or(state.applied(), |raft| raft.applied),
        tick: state.tick().map(|tick| tick.n),
        revocation_epoch: state.revocations().epoch(),
        root: trust.as_ref().map(|trust| trust.root.version()),
        directory: trust.as_ref().map(|trust| trust.directory.version()),
        voters: voters(&app, &health),
        diverged: divergence(&health),
        edges: edge_statuses(state, (&reports, &since), tenant.as_ref()),
        bundles: bundle_statuses(state, tenant.as_ref()).into_iter().filter(|bundle| bundle.number.is_some()).collect(),
        relations: relations_statuses(state, tenant.as_ref()),
    }))
}

fn relations_statuses(state: &Registry, tenant: Option<&TenantId>) -> Vec<RelationsStatus> {
    let wanted = state.relations().values().filter(|log| tenant.is_none_or(|tenant| log.tenant() == tenant));
    let count = |len: usize| u64::try_from(len).unwrap_or(u64::MAX);
    let status = wanted.map(|log| RelationsStatus {
        tenant: log.tenant().clone(),
        revision: log.head().revision,
        tuples: count(log.live().len()),
        batches: count(log.kept().len()),
    });
    status.collect()
}

/// How every voter is, those that answer.
async fn health(app: &App) -> BTreeMap<VoterId, PeerHealth> {
    let pick = |reply| if let PeerReply::Health(health) = reply { Some(health) } else { None };
    let answers = app.cluster.gather(&PeerRequest::Health, pick).await;
    let own = app.cluster.peer_health().map(|health| (app.cluster.id, health));
    answers.got.into_iter().chain(own).collect()
}

fn voters(app: &App, known: &BTreeMap<VoterId, PeerHealth>) -> Vec<VoterStatus> {
    app.cluster.voters().iter().map(|id| voter_status(*id, known)).collect()
}

fn voter_status(id: VoterId, known: &BTreeMap<VoterId, PeerHealth>) -> VoterStatus {
    match known.get(&id) {
        Some(health) => VoterStatus {
            id,
            reachable: true,
            state: health.role.clone(),
            term: Some(health.term),
            last: Some(health.last),
            applied: Some(health.applied),
            applied_digest: health.digest,
        },
        None => VoterStatus {
            id,
            reachable: false,
            state: "unreachable".to_owned(),
            term: None,
            last: None,
            applied: None,
            applied_digest: None,
        },
    }
}

/// Clause A-15: who takes part, who is to, and how far that is.
pub(super) async fn seats(State(app): State<Arc<App>>, query: Asked<Ask>) -> Result<Json<Voters>, Failure> {
    let Ask { consistency, tenant: _ } = asked(query)?;
    let view = app.view(consistency.unwrap_or(Consistency::Stale)).await?;
    let state = &view.state;
    let raft = app.cluster.status();
    let known = health(&app).await;
    let members = raft.as_ref().map(|raft| raft.members.clone()).unwrap_or_default();
    let voting = members.voters();
    let listed: BTreeSet<VoterId> =
        state.trust().map(|trust| trust.directory.voters().map(|voter| voter.id).collect()).unwrap_or_default();
    let mut ids: BTreeSet<VoterId> = listed.iter().chain(members.all.keys()).copied().collect();
    ids.extend(state.voter_plan().map(|plan| plan.wish.id()));
    let seat = |id: VoterId| VoterSeat {
        id,
        seat: match (voting.contains(&id), members.all.contains_key(&id)) {
            (true, _) => "voter".to_owned(),
            (false, true) => "learner".to_owned(),
            (false, false) => "none".to_owned(),
        },
        listed: listed.contains(&id),
        raft: members.all.get(&id).and_then(|at| at.raft).or_else(|| app.cluster.configured(id)),
        dist: members.all.get(&id).and_then(|at| at.dist),
        status: voter_status(id, &known),
    };
    let change = state.voter_plan().map(|plan| {
        let applied = known.get(&plan.wish.id()).map(|health| health.applied.0);
        let behind = applied.map(|applied| state.applied().0.saturating_sub(applied));
        let step = match (members.is_joint(), members.all.contains_key(&plan.wish.id())) {
            (true, _) => "joint",
            (false, true) if !voting.contains(&plan.wish.id()) => "catching-up",
            (false, _) => "waiting",
        };
        let votes = matches!(plan.wish, VoterWish::In { .. });
        VoterChange { index: plan.index, id: plan.wish.id(), votes, step: step.to_owned(), behind }
    });
    let leader = raft.as_ref().and_then(|raft| raft.leader);
    Ok(Json(Voters { applied: state.applied(), leader, voters: ids.into_iter().map(seat).collect(), change }))
}

pub(super) async fn edges(State(app): State<Arc<App>>, query: Asked<Ask>) -> Result<Json<Edges>, Failure> {
    let Ask { consistency, tenant } = asked(query)?;
    let view = app.view(consistency.unwrap_or(Consistency::Linearizable)).await?;
    let (reports, since) = futures::join!(app.reports(), app.cluster.attested_since(&app.edges));
    let edges = edge_statuses(&view.state, (&reports, &since), tenant.as_ref());
    let waiting = view.state.waiting().map(|(row, enrolled)| WaitingEdge {
        row,
        serial: enrolled.index,
        since: enrolled.at,
        certificate_ends: enrolled.ends(),
    });
    Ok(Json(Edges { edges, waiting: waiting.collect(), unreachable: reports.missing }))
}

/// When a voter first heard of an edge's bundle under an activation.
type Since = BTreeMap<(EdgeId, TenantId, LogIndex), Timestamp>;

fn edge_statuses(
    state: &Registry,
    (reports, since): (&Answers<Vec<EdgeReport>>, &Since),
    tenant: Option<&TenantId>,
) -> Vec<EdgeStatus> {
    let Ok(trust) = state.trust() else { return Vec::new() };
    let merged = reports.by_edge();
    let describe = |edge: &remit_common::trust::directory::Edge| {
        let mut status = EdgeStatus {
            id: edge.id.clone(),
            region: edge.region.clone(),
            connected: Vec::new(),
            subscribed: None,
            heard: None,
            revocation_epoch: None,
            running: Vec::new(),
            stages: BTreeMap::new(),
            refused: None,
            certificate_ends: state.enrolled(&edge.identity.id()).map(Enrolled::ends),
            evicted: state.is_evicted(&edge.id),
        };
        for (voter, of_voter) in &reports.got {
            for report in of_voter.iter().filter(|report| report.edge == edge.id && report.connections > 0) {
                status.connected.push(*voter);
                if report.subscribed {
                    status.subscribed = Some(*voter);
                }
            }
        }
        status.connected.sort_unstable();
        if let Some(report) = merged.get(&edge.id) {
            fill(&mut status, (report, since), state, tenant);
        }
        status
    };
    trust.directory.edges().map(describe).collect()
}

fn fill(status: &mut EdgeStatus, (report, since): (&EdgeReport, &Since), state: &Registry, tenant: Option<&TenantId>) {
    let scopes = state.scopes();
    let wanted = |of: &TenantId| tenant.is_none_or(|tenant| tenant == of);
    status.heard = Some(report.heard);
    status.revocation_epoch = Some(report.epoch);
    for (tenant, attestation) in report.attestations.iter().filter(|(tenant, _)| wanted(tenant)) {
        let stored = state.bundles().get(&(tenant.clone(), attestation.manifest));
        let is_staged = scopes.get(tenant).is_some_and(|scope| scope.covers(&status.id, &status.region));
        let ring = if is_staged { RING_STAGED } else { RING_ALL };
        let meant = state.activations().get(&(tenant.clone(), ring));
        let key = (status.id.clone(), tenant.clone(), attestation.number);
        status.running.push(Running {
            version: stored.map(|bundle| bundle.version),
            current: meant.is_some_and(|activation| activation.manifest == attestation.manifest),
            since: since.get(&key).copied(),
            attestation: attestation.as_ref().clone(),
        });
    }
    for (tenant, ack) in report.acks.iter().filter(|(tenant, _)| wanted(tenant)) {
        let stage = match ack.stage {
            Stage::Received => "received",
            Stage::Verified => "verified",
            Stage::Compiled => "compiled",
            Stage::Active => "active",
        };
        status.stages.insert(tenant.clone(), BundleStage { manifest: ack.manifest, stage: stage.to_owned() });
    }
    status.refused = report.nack.as_ref().map(|nack| RefusedDocument {
        digest: nack.digest,
        code: nack.code.clone(),
        detail: nack.detail.clone(),
    });
}

pub(super) async fn bundles(State(app): State<Arc<App>>, query: Asked<Ask>) -> Result<Json<Bundles>, Failure> {
    let Ask { consistency, tenant } = asked(query)?;
    let view = app.view(consistency.unwrap_or(Consistency::Linearizable)).await?;
    let bundles = bundle_statuses(&view.state, tenant.as_ref());
    Ok(Json(Bundles { applied: view.state.applied(), bundles }))
}

/// Clause A-14: the container of one bundle, as its administrators signed it. Who reads it verifies it.
pub(super) async fn bundle(State(app): State<Arc<App>>, Path(digest): Path<String>) -> Result<Response, Failure> {
    let digest: Digest = digest
        .parse()
        .map_err(|_| Failure::new(StatusCode::BAD_REQUEST, "malformed", "a digest is 64 lower-case hex digits"))?;
    let view = app.view(Consistency::Linearizable).await?;
    let kept = view.state.bundles().iter().find(|((_, name), _)| *name == digest);
    let (_, bundle) = kept.ok_or_else(|| Failure::new(StatusCode::NOT_FOUND, "not_found", "no such bundle is kept"))?;
    let container = Bytes::copy_from_slice(&bundle.container);
    Ok(([(CONTENT_TYPE, "application/octet-stream")], container).into_response())
}

fn bundle_statuses(state: &Registry, tenant: Option<&TenantId>) -> Vec<BundleStatus> {
    let wanted = state.bundles().iter().filter(|((of, _), _)| tenant.is_none_or(|tenant| tenant == of));
    let mut bundles: Vec<BundleStatus> = wanted
        .map(|((tenant, digest), bundle)| BundleStatus {
            tenant: tenant.clone(),
            name: bundle.name.clone(),
            version: bundle.version,
            digest: *digest,
            created: bundle.created,
            expires: bundle.expires,
            index: bundle.index,
            number: number_of(state, tenant, digest),
            approved: bundle.approved.clone(),
        })
        .collect();
    bundles.sort_by(|a, b| a.tenant.cmp(&b.tenant).then(b.version.cmp(&a.version)));
    bundles
}

fn number_of(state: &Registry, tenant: &TenantId, digest: &remit_common::crypto::digest::Digest) -> Option<LogIndex> {
    let current = state.activations().get(&(tenant.clone(), 0))?;
    (current.manifest == *digest).then_some(current.number)
}

pub(super) async fn credentials(State(app): State<Arc<App>>, query: Asked<Ask>) -> Result<Json<Credentials>, Failure> {
    let Ask { consistency, tenant } = asked(query)?;
    let view = app.view(consistency.unwrap_or(Consistency::Linearizable)).await?;
    let trust = view.state.trust().ok();
    let wanted = view.state.credentials().iter().filter(|((of, _), _)| tenant.as_ref().is_none_or(|t| t == of));
    let credentials = wanted
        .map(|((tenant, name), credential)| CredentialStatus {
            tenant: tenant.clone(),
            credential: name.clone(),
            version: credential.version,
            sealer: credential.sealer,
            sealer_name: trust
                .as_ref()
                .and_then(|trust| trust.directory.sealer(&credential.sealer))
                .map(|sealer| sealer.name.clone()),
            sealed_at: credential.sealed_at,
            profile: credential.profile,
            edges: credential.shards.keys().cloned().collect(),
            index: credential.index,
        })
        .collect();
    Ok(Json(Credentials { applied: view.state.applied(), credentials }))
}

pub(super) async fn revocations(
    State(app): State<Arc<App>>,
    query: Asked<AskRevocations>,
) -> Result<Json<RevocationList>, Failure> {
    let AskRevocations { consistency, tenant, signed } = asked(query)?;
    let view = app.view(consistency.unwrap_or(Consistency::Linearizable)).await?;
    let signed = if signed { app.beacons.signed_set() } else { None };
    let set = signed.as_ref().unwrap_or(view.state.revocations());
    let wanted = set.iter().filter(|entry| tenant.as_ref().is_none_or(|tenant| entry.cut.tenant.covers(tenant)));
    Ok(Json(RevocationList {
        applied: view.state.applied(),
        epoch: set.epoch(),
        digest: set.digest(),
        revocations: wanted.cloned().collect(),
    }))
}
