//! The operations listener: is it alive, can it serve, what does it count.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::{StatusCode, header};
use remit_common::net::quic::MeshEndpoint;
use remit_common::net::tasks::Shutdown;
use remit_common::net::udp;

use crate::beacons::Beacons;
use crate::cluster::Cluster;
use crate::telemetry::{Metrics, Telemetry};

/// The media type of the Prometheus text format that `prometheus-client` writes.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A voter that has not applied a tick for this long does not serve edges well.
const TICK_AGE_MAX: Duration = Duration::from_secs(10);

struct Ops {
    telemetry: Telemetry,
    cluster: Cluster,
    beacons: Arc<Beacons>,
    /// This voter was asked to stop.
    stop: Shutdown,
    /// Where edges connect.
    dist: SocketAddr,
}

/// The routes.
pub(crate) fn router(
    telemetry: Telemetry,
    (cluster, beacons): (Cluster, Arc<Beacons>),
    stop: Shutdown,
    dist: SocketAddr,
) -> Router {
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/status", get(status))
        .with_state(Arc::new(Ops { telemetry, cluster, beacons, stop, dist }))
}

/// Ready: the registry has root and directory, a leader is known, and nobody has asked this voter to stop.
async fn ready(State(ops): State<Arc<Ops>>) -> Response {
    if ops.stop.is_requested() {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n").into_response();
    }
    let leader = ops.cluster.status().is_some_and(|status| status.leader.is_some());
    let trust = ops.cluster.view().state.trust().is_ok();
    match (leader, trust) {
        (true, true) => "ok\n".into_response(),
        (false, _) => (StatusCode::SERVICE_UNAVAILABLE, "no leader is known\n").into_response(),
        (true, false) => (StatusCode::SERVICE_UNAVAILABLE, "root and directory are not installed\n").into_response(),
    }
}

/// Says what the kernel gave the socket for edges, and how to mend it when that is little (W-41).
pub(crate) fn show_buffers(endpoint: &MeshEndpoint, metrics: &Metrics) {
    let Some(buffers) = endpoint.buffers() else { return };
    for (side, bytes) in [("receive", buffers.receive), ("send", buffers.send)] {
        metrics.udp_buffer_bytes.get_or_create(&[("side", side)]).set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
    if let Err(small) = buffers.check() {
        tracing::warn!("the socket for edges: {small}");
    }
}

async fn metrics(State(ops): State<Arc<Ops>>) -> Response {
    let (env, dist) = (ops.cluster.env.clone(), ops.dist);
    let counting = ops.cluster.env.run_blocking(move || udp::dropped(&env, dist));
    if let Ok(Some(dropped)) = counting.await {
        let gauge = &ops.telemetry.metrics.udp_dropped_datagrams;
        gauge.set(i64::try_from(dropped).unwrap_or(i64::MAX));
    }
    ([(header::CONTENT_TYPE, OPEN_METRICS)], ops.telemetry.render()).into_response()
}

async fn status(State(ops): State<Arc<Ops>>) -> Response {
    let view = ops.cluster.view();
    let state = &view.state;
    let raft = ops.cluster.status();
    let now = ops.cluster.env.now().wall;
    let tick = state.tick();
    let signed = ops.beacons.own();
    let is_ticking = tick.is_some_and(|tick| now.since(tick.at) <= TICK_AGE_MAX);
    Json(serde_json::json!({
        "mesh_id": state.genesis().mesh,
        "voter": ops.cluster.id,
        "role": raft.as_ref().map(|raft| raft.role.as_str()),
        "leader": raft.as_ref().and_then(|raft| raft.leader),
        "term": raft.as_ref().map(|raft| raft.term),
        "last": raft.as_ref().map(|raft| raft.last),
        "applied": raft.as_ref().map(|raft| raft.applied),
        "applied_digest": raft.as_ref().and_then(|raft| raft.applied_digest),
        "snapshot": raft.as_ref().and_then(|raft| raft.snapshot),
        "since_majority_ms": raft.as_ref().and_then(|raft| raft.since_majority).map(|since| since.as_millis()),
        "voters": raft.as_ref().map(|raft| raft.voters.clone()),
        "tick": tick.map(|tick| tick.n),
        "ticking": is_ticking,
        "signed": signed.map(|(tick, statement)| serde_json::json!({ "tick": tick, "statement": statement })),
        "revocation_epoch": state.revocations().epoch(),
        "directory": state.trust().ok().map(|trust| trust.directory.version()),
    }))
    .into_response()
}
