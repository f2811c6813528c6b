//! What operators see: `/livez`, `/readyz`, `/metrics`, `/status`, on a listener of their own.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use remit_common::crypto::digest::Digest;
use remit_common::id::{BootId, BundleVersion, EdgeId, LogIndex, MeshId, Region, RevocationEpoch, TenantId, VoterId};
use remit_common::net::http::ServeCounters;
use remit_common::net::tasks::Shutdown;
use remit_common::policy::decision::Reason;
use remit_common::time::{Now, Timestamp};
use remit_common::trust::freshness::{Mode, age_of};
use serde::Serialize;
use tokio::sync::watch;

use crate::active::{Lost, View};
use crate::config::Config;
use crate::enrolment::Shown;
use crate::report::DiskHealth;
use crate::road::Gateway;
use crate::sync::{Followed, Links};
use crate::telemetry::Telemetry;

/// What the operations listener reads.
#[derive(Clone)]
pub(crate) struct Operations {
    pub(crate) config: Arc<Config>,
    pub(crate) boot: BootId,
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) telemetry: Arc<Telemetry>,
    pub(crate) followed: watch::Receiver<Followed>,
    pub(crate) links: watch::Receiver<Links>,
    /// What voters are shown.
    pub(crate) certificate: watch::Receiver<Shown>,
    pub(crate) counters: Arc<ServeCounters>,
    /// This edge was asked to stop.
    pub(crate) stop: Shutdown,
}

/// The operations listener.
pub(crate) fn router(operations: Operations) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/status", get(status))
        .with_state(operations)
}

/// The document of `/status`.
#[derive(Debug, Serialize)]
struct Status {
    mesh_id: MeshId,
    edge: EdgeId,
    region: Region,
    boot_id: BootId,
    /// Of the first tenant; all stand in `tenants`.
    bundle_version: Option<BundleVersion>,
    bundle_digest: Option<Digest>,
    activation: Option<LogIndex>,
    tenants: Vec<TenantStatus>,
    revocation_epoch: RevocationEpoch,
    tick: LogIndex,
    /// `null`: not known.
    staleness_ms: Option<u64>,
    mode: Mode,
    /// Whether it turns new work away.
    draining: bool,
    /// Calls that are under way.
    running: usize,
    root_version: u64,
    directory_version: Option<u64>,
    spool: SpoolState,
    /// The voter that is followed.
    voter: Option<VoterId>,
    voters_connected: Vec<VoterId>,
    /// Last moment at which the certificate that voters are shown counts.
    certificate_ends: Option<Timestamp>,
    decisions: DecisionCounts,
}

#[derive(Debug, Serialize)]
struct TenantStatus {
    tenant: TenantId,
    bundle_version: Option<BundleVersion>,
    bundle_digest: Option<Digest>,
    activation: Option<LogIndex>,
    mode: Mode,
    /// Bundles that were turned away because the process died twice with them; what is shown above decides instead.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    crash_loop: Vec<CrashStatus>,
    /// Until when its administrators let calls go on without voters; absent where they do not.
    #[serde(skip_serializing_if = "Option::is_none")]
    offline_until: Option<Timestamp>,
    /// Absent where the active bundle has no relations.
    #[serde(skip_serializing_if = "Option::is_none")]
    relations: Option<RelationsStatus>,
}

#[derive(Debug, Serialize)]
struct CrashStatus {
    /// By which it came; a later one gives it another trial.
    activation: LogIndex,
    bundle_digest: Digest,
}

#[derive(Debug, Serialize)]
struct RelationsStatus {
    /// The newest batch that is here, on the disk and effective.
    revision: u64,
    digest: Digest,
    /// How old the proof is that nothing newer is missing.
    staleness_ms: Option<u64>,
}

#[derive(Debug, Serialize)]
struct SpoolState {
    /// Records that no majority of the voters has.
    records: u64,
    bytes: u64,
    disk: &'static str,
}

#[derive(Debug, Default, Serialize)]
struct DecisionCounts {
    permit: u64,
    deny: u64,
    reasons: std::collections::BTreeMap<&'static str, u64>,
}

/// The worst mode of any tenant: without a bundle, an edge permits nothing.
pub(crate) fn mode(view: &View, tenants: impl Iterator<Item = TenantId>, now: Now) -> Mode {
    tenants.map(|tenant| view.mode(&tenant, now)).max().unwrap_or(Mode::Isolated)
}

/// Ready is: what decisions need is here and verified. How fresh it is, decisions say themselves.
async fn ready(State(operations): State<Operations>) -> Response {
    if operations.stop.is_requested() {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n").into_response();
    }
    if operations.gateway.drain.is_on() {
        return (StatusCode::SERVICE_UNAVAILABLE, "draining\n").into_response();
    }
    let view = operations.gateway.views.load();
    let now = operations.gateway.env.now();
    if let Err(untrusted) = view.directory(now.wall) {
        return (StatusCode::SERVICE_UNAVAILABLE, format!("{untrusted}\n")).into_response();
    }
    for tenant in &operations.config.tenants {
        if let Err(untrusted) = view.bundle(tenant, now.wall) {
            return (StatusCode::SERVICE_UNAVAILABLE, format!("tenant {tenant}: {untrusted}\n")).into_response();
        }
    }
    if let Some(cause) = view.freshness.quarantined(now) {
        return (StatusCode::SERVICE_UNAVAILABLE, format!("quarantined: {cause:?}\n")).into_response();
    }
    "ready\n".into_response()
}

async fn metrics(State(operations): State<Operations>) -> Response {
    let Operations { config, gateway, telemetry, links, counters, .. } = &operations;
    let (view, now) = (gateway.views.load_full(), gateway.env.now());
    let metrics = &telemetry.metrics;
    let gauge = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    metrics.staleness_seconds.set(view.freshness.age(now).map_or(f64::INFINITY, |age| age.as_secs_f64()));
    for (tenant, active) in view.bundles.iter() {
        metrics.set_bundle(tenant, active.bundle.manifest().version.0);
    }
    let lost = view.lost.values().map(Vec::len).sum();
    metrics.bundles_lost.set(gauge(lost));
    metrics.revocation_epoch.set(i64::try_from(view.revocations.epoch().0).unwrap_or(i64::MAX));
    let holds = mode(&view, config.tenants.iter().cloned(), now);
    for each in [Mode::Fresh, Mode::Degraded, Mode::Isolated, Mode::Quarantined] {
        metrics.mode.get_or_create(&[("mode", each.as_str())]).set(i64::from(each == holds));
    }
    metrics.spool_records.set(i64::try_from(gateway.reporter.waiting()).unwrap_or(i64::MAX));
    metrics.voters_connected.set(gauge(links.borrow().iter().filter(|cell| cell.borrow().is_some()).count()));
    metrics.credentials_warm.set(gauge(gateway.vault.warm()));
    metrics.chains_cached.set(gauge(gateway.chains.len()));
    metrics.hops_counted.set(gauge(gateway.hops.len()));
    metrics.channels_open.set(gauge(gateway.channels.len()));
    for (gauge, count) in [
        (&metrics.connections_shed, &counters.shed),
        (&metrics.connections_shed_by_source, &counters.shed_by_source),
        (&metrics.connections_stalled, &*counters.stalled),
    ] {
        gauge.set(i64::try_from(count.load(Ordering::Relaxed)).unwrap_or(i64::MAX));
    }
    ([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], telemetry.render()).into_response()
}

fn crash_status(lost: &Lost) -> CrashStatus {
    CrashStatus { activation: lost.number, bundle_digest: lost.manifest }
}

fn millis(age: Duration) -> u64 {
    u64::try_from(age.as_millis()).unwrap_or(u64::MAX)
}

async fn status(State(operations): State<Operations>) -> Json<impl Serialize> {
    let Operations { config, boot, gateway, telemetry, followed, links, .. } = &operations;
    let (view, now) = (gateway.views.load_full(), gateway.env.now());
    let tenants: Vec<TenantStatus> = config
        .tenants
        .iter()
        .map(|tenant| {
            let active = view.bundles.get(tenant);
            TenantStatus {
                tenant: tenant.clone(),
                bundle_version: active.map(|active| active.bundle.manifest().version),
                bundle_digest: active.map(|active| *active.bundle.digest()),
                activation: active.map(|active| active.number),
                mode: view.mode(tenant, now),
                offline_until: view.offline_in_use(tenant, now).map(|offline| offline.content().expires),
                crash_loop: view.lost.get(tenant).into_iter().flatten().map(crash_status).collect(),
                relations: view.relations.get(tenant).map(|known| RelationsStatus {
                    revision: known.head.revision,
                    digest: known.head.digest,
                    staleness_ms: known.proven.and_then(|proven| age_of(proven, now)).map(millis),
                }),
            }
        })
        .collect();
    let mut decisions = DecisionCounts::default();
    for (reason, count) in telemetry.metrics.decisions() {
        match reason {
            Reason::Permit => decisions.permit += count,
            _ => decisions.deny += count,
        }
        decisions.reasons.insert(reason.as_str(), count);
    }
    let spool = gateway.reporter.status();
    let first = tenants.first();
    Json(Status {
        mesh_id: config.mesh_id,
        edge: config.id.clone(),
        region: config.region.clone(),
        boot_id: *boot,
        bundle_version: first.and_then(|tenant| tenant.bundle_version),
        bundle_digest: first.and_then(|tenant| tenant.bundle_digest),
        activation: first.and_then(|tenant| tenant.activation),
        revocation_epoch: view.revocations.epoch(),
        tick: view.freshness.tick(),
        staleness_ms: view.freshness.age(now).map(millis),
        mode: mode(&view, config.tenants.iter().cloned(), now),
        draining: gateway.drain.is_on(),
        running: gateway.running(),
        root_version: view.root.version(),
        directory_version: view.directory.as_ref().map(|directory| directory.version()),
        spool: SpoolState {
            records: gateway.reporter.waiting(),
            bytes: spool.bytes,
            disk: match spool.disk {
                DiskHealth::Works => "works",
                DiskHealth::Fails => "fails",
            },
        },
        voter: followed.borrow().voter,
        voters_connected: links
            .borrow()
            .iter()
            .filter_map(|cell| cell.borrow().as_ref().map(|link| link.voter))
            .collect(),
        certificate_ends: operations.certificate.borrow().validity.map(|validity| validity.not_after),
        decisions,
        tenants,
    })
}
