//! What edges last said of rollouts, at the voter that they are connected to.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use remit_common::id::{EdgeId, TenantId};
use remit_common::time::Timestamp;
use remit_common::wire::message::RolloutReport;

use crate::registry::State;

/// Tenants of which one edge reports at a time.
const TENANTS_MAX: usize = 1_024;

/// More than an edge decides in a year: what one says beyond that is made up.
const COMPARED_MAX: u64 = 1 << 40;

/// The newest report of each edge and tenant, and when it came.
type Reports = BTreeMap<EdgeId, BTreeMap<TenantId, (Timestamp, RolloutReport)>>;

/// Where reports wait for whoever asks.
#[derive(Debug, Default)]
pub(crate) struct RolloutDesk(Mutex<Reports>);

impl RolloutDesk {
    fn lock(&self) -> MutexGuard<'_, Reports> {
        // Each update is one insertion.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An edge, which the caller has found in the directory, has reported. Of tenants without a rollout nothing is kept.
    pub(crate) fn note(&self, edge: &EdgeId, report: RolloutReport, state: &State, now: Timestamp) {
        if state.rollout(&report.tenant).is_none_or(|rollout| rollout.id != report.rollout) {
            return;
        }
        let parts = [report.permitted_before, report.newly_permitted, report.newly_denied, report.failed];
        if report.compared > COMPARED_MAX || parts.iter().any(|part| *part > report.compared) {
            tracing::warn!(%edge, "an edge reports of a rollout what cannot be");
            return;
        }
        let mut desk = self.lock();
        let of_edge = desk.entry(edge.clone()).or_default();
        if of_edge.len() < TENANTS_MAX || of_edge.contains_key(&report.tenant) {
            of_edge.insert(report.tenant.clone(), (now, report));
        }
    }

    /// Everything that is known here.
    pub(crate) fn reports(&self) -> Vec<(EdgeId, Timestamp, RolloutReport)> {
        let desk = self.lock();
        let of_edge = |(edge, reports): (&EdgeId, &BTreeMap<_, (Timestamp, RolloutReport)>)| {
            let edge = edge.clone();
            reports.values().map(move |(at, report)| (edge.clone(), *at, report.clone())).collect::<Vec<_>>()
        };
        desk.iter().flat_map(of_edge).collect()
    }

    /// What is over is not needed any more.
    pub(crate) fn forget_all_but(&self, state: &State) {
        let mut desk = self.lock();
        for reports in desk.values_mut() {
            reports.retain(|tenant, (_, report)| state.rollout(tenant).is_some_and(|one| one.id == report.rollout));
        }
        desk.retain(|_, reports| !reports.is_empty());
    }
}
