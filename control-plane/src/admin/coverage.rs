//! When a revocation is true everywhere. Clauses K-7 to K-9.
//!
//! An edge that has signed the epoch enforces it. One that nobody hears stops by itself: its knowledge is older than
//! the commit, and each effect's bound runs out. The answer is a time in either case.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use remit_common::crypto::digest::Digest;
use remit_common::id::RevocationEpoch;
use remit_common::lattice::{Effect, Effects};
use remit_common::planted::{Bug, planted};
use remit_common::policy::Bounds;
use remit_common::time::Timestamp;
use remit_common::trust::freshness::stopped_after;
use remit_common::wire::proof::Covered;

use super::App;
use super::model::{Coverage, EdgeCoverage};
use super::problem::Failure;
use super::read::{Ask, Asked, Consistency, asked};
use crate::edges::EdgeReport;
use crate::registry::{ActiveBundle, State as Registry};

pub(super) async fn coverage(
    State(app): State<Arc<App>>,
    Path(epoch): Path<String>,
    query: Asked<Ask>,
) -> Result<Json<Coverage>, Failure> {
    let malformed = |_| Failure::new(StatusCode::BAD_REQUEST, "malformed", "the epoch is a number");
    let epoch = RevocationEpoch(epoch.parse().map_err(malformed)?);
    let Ask { consistency, tenant: _ } = asked(query)?;
    let view = app.view(consistency.unwrap_or(Consistency::Linearizable)).await?;
    let reports = app.reports().await;
    let merged = reports.by_edge();
    let state = &view.state;
    let committed_by = view.committed_by(epoch);
    let bounds = bounds_of(state, epoch);
    let edges: Vec<EdgeCoverage> = match state.trust() {
        Ok(trust) => trust
            .directory
            .edges()
            .map(|edge| {
                let report = merged.get(&edge.id);
                let ack = report.and_then(|report| good_ack(state, report, epoch)).cloned();
                let stops = match (&ack, committed_by) {
                    (None, Some(from)) => stops(from, &bounds),
                    _ => BTreeMap::new(),
                };
                EdgeCoverage {
                    edge: edge.id.clone(),
                    region: edge.region.clone(),
                    covered: ack.is_some()
                        || planted(Bug::ConnectionCountsAsCoverage) && report.is_some_and(|report| report.subscribed),
                    ack,
                    heard: report.map(|report| report.heard),
                    stops,
                }
            })
            .collect(),
        Err(_) => Vec::new(),
    };
    let covered = committed_by.is_some() && edges.iter().all(|edge| edge.covered);
    let last = edges.iter().flat_map(|edge| edge.stops.values().copied()).max();
    Ok(Json(Coverage {
        epoch,
        committed: committed_by.is_some(),
        index: state.epoch(epoch).map(|fact| fact.index),
        committed_by,
        covered,
        everywhere_by: committed_by.map(|by| last.unwrap_or(by).max(by)),
        edges,
        ticks: app.beacons.signed(),
        unreachable: reports.missing,
    }))
}

/// The edge's signature is checked when it arrives; here it must name this epoch or a later one, with the digest that
/// the registry had at that epoch.
fn good_ack<'a>(state: &Registry, report: &'a EdgeReport, epoch: RevocationEpoch) -> Option<&'a Covered> {
    let ack = report.covered.as_ref().filter(|ack| ack.epoch >= epoch)?;
    let digest: Option<&Digest> = if ack.epoch == state.revocations().epoch() {
        Some(state.revocations_digest())
    } else {
        state.epoch(ack.epoch).map(|fact| &fact.digest)
    };
    (digest == Some(&ack.digest)).then_some(ack)
}

/// The bounds of the tenant whose authority was cut; the longest of all tenants' when nobody remembers whose.
fn bounds_of(state: &Registry, epoch: RevocationEpoch) -> Vec<Bounds> {
    // Some edges may run what is being rolled out.
    let bounds = |bundle: &Arc<ActiveBundle>| *bundle.bounds();
    let tenant = state.epoch(epoch).and_then(|fact| fact.tenant.as_ref());
    match tenant {
        Some(tenant) => state.active(tenant).into_iter().chain(state.candidate(tenant)).map(bounds).collect(),
        None => state.all_active().chain(state.candidates()).map(bounds).collect(),
    }
}

/// Without an active bundle nothing is permitted, so nothing has to stop.
fn stops(committed_by: Timestamp, bounds: &[Bounds]) -> BTreeMap<Effect, Timestamp> {
    let stop = |effect: Effect| {
        let bound = bounds.iter().map(|bounds| bounds.of(effect)).max()?;
        Some((effect, committed_by.plus(stopped_after(bound))))
    };
    Effects::ALL.iter().filter_map(stop).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edge_that_nobody_hears_stops_effect_by_effect() {
        let stops = stops(Timestamp::from_secs(1_000), &[Bounds::DEFAULT]);
        assert_eq!(stops.get(&Effect::Irreversible), Some(&Timestamp::from_millis(1_012_100)));
        assert_eq!(stops.get(&Effect::Write), Some(&Timestamp::from_millis(1_062_600)));
        assert_eq!(stops.get(&Effect::Read), Some(&Timestamp::from_millis(1_305_000)));
        assert!(super::stops(Timestamp::from_secs(1_000), &[]).is_empty());
    }
}
