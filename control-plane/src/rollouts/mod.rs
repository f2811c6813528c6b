//! Bundles on their way: what edges report of them, and what the leader makes of it.
//!
//! What edges say is soft state of the voter that they are connected to. The leader asks every voter once a second while
//! something is under way, looks at the gates ([`gates`]), and proposes what is next; that the time is ripe, every voter
//! checks again when it applies the step. Clauses K-20 to K-22.

mod desk;
mod gates;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use remit_common::id::{EdgeId, TenantId, VoterId};
use remit_common::net::tasks::Shutdown;
use remit_common::time::Timestamp;
use remit_common::trust::directory::Edge;
use remit_common::wire::message::RolloutReport;

pub(crate) use desk::RolloutDesk;
pub(crate) use gates::{Judgement, Sight, judge};

use crate::cluster::{Cluster, PeerReply, PeerRequest};
use crate::edges::{EdgeReport, EdgeTable};
use crate::registry::{Applied, Command, Rollout, State};

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Where reports come together.
#[derive(Clone)]
pub(crate) struct Lookout {
    pub(crate) cluster: Cluster,
    pub(crate) edges: Arc<EdgeTable>,
    pub(crate) desk: Arc<RolloutDesk>,
}

/// What all voters' edges last said.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    edges: BTreeMap<EdgeId, EdgeReport>,
    reports: BTreeMap<(EdgeId, TenantId), RolloutReport>,
    missing: BTreeSet<VoterId>,
}

impl Lookout {
    /// Asks every voter.
    pub(crate) async fn hear(&self) -> Heard {
        let edges = self.cluster.edge_reports(&self.edges).await;
        let pick = |reply| if let PeerReply::Rollouts(reports) = reply { Some(reports) } else { None };
        let reports = self.cluster.gather(&PeerRequest::Rollouts, pick).await;
        let mut heard = Heard {
            edges: edges.by_edge(),
            reports: BTreeMap::new(),
            missing: edges.missing.into_iter().chain(reports.missing).collect(),
        };
        let own = (self.cluster.id, self.desk.reports());
        let mut newest: BTreeMap<(EdgeId, TenantId), Timestamp> = BTreeMap::new();
        for (edge, at, report) in reports.got.into_iter().chain([own]).flat_map(|(_, reports)| reports) {
            let key = (edge, report.tenant.clone());
            if newest.get(&key).is_none_or(|known| *known < at) {
                newest.insert(key.clone(), at);
                heard.reports.insert(key, report);
            }
        }
        heard
    }

    /// Proposes what is next, while this voter leads; until shutdown.
    pub(crate) async fn run(self, shutdown: Shutdown) {
        let mut timer = tokio::time::interval(LOOK_EVERY);
        timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = shutdown.requested() => return,
                _ = timer.tick() => {}
            }
            self.desk.forget_all_but(&self.cluster.view().state);
            tokio::select! {
                biased;
                () = shutdown.requested() => return,
                () = self.look() => {}
            }
        }
    }

    async fn look(&self) {
        if !self.cluster.leads() || under_way(&self.cluster.view().state).next().is_none() {
            return;
        }
        let heard = self.hear().await;
        // As of after the answers: what was decided meanwhile counts.
        let view = self.cluster.view();
        let Some(at) = self.cluster.agreed_time() else { return };
        let now = at.max(view.state.clock());
        for rollout in under_way(&view.state) {
            let Judgement::Step(step) = judge(rollout, &heard.sights(&view.state, rollout), now) else { continue };
            let (tenant, id, wave) = (rollout.tenant.clone(), rollout.id, rollout.wave);
            let command = Command::StepRollout { tenant, rollout: id, wave, step, at };
            match self.cluster.propose_own(&command).await {
                Ok(done) => match done.applied {
                    Applied::Rollout { tenant, version, wave, status, .. } => {
                        tracing::info!(%tenant, %version, wave, status = status.as_str(), "a rollout has moved");
                    }
                    other => tracing::debug!(outcome = other.outcome(), "a step of a rollout was not taken"),
                },
                Err(error) => tracing::debug!(%error, "a step of a rollout was not proposed"),
            }
        }
    }
}

fn under_way(state: &State) -> impl Iterator<Item = &Arc<Rollout>> {
    state.rollouts().values().filter(|rollout| rollout.status.is_under_way())
}

impl Heard {
    /// Voters that did not answer.
    pub(crate) fn unreachable(&self) -> Vec<VoterId> {
        self.missing.iter().copied().collect()
    }

    /// What is known of a rollout at each edge of the directory.
    pub(crate) fn sights(&self, state: &State, rollout: &Rollout) -> Vec<Sight> {
        let Ok(trust) = state.trust() else { return Vec::new() };
        let scope = rollout.scope();
        let sight = |edge: &Edge| {
            let said = self.edges.get(&edge.id);
            let attested = said.and_then(|said| said.attestations.get(&rollout.tenant));
            let refused = said.and_then(|said| said.nack.as_ref()).filter(|nack| nack.digest == rollout.candidate);
            let report = self.reports.get(&(edge.id.clone(), rollout.tenant.clone()));
            Sight {
                edge: edge.id.clone(),
                region: edge.region.clone(),
                is_connected: said.is_some_and(|said| said.connections > 0),
                is_meant: scope.covers(&edge.id, &edge.region),
                serves: attested.is_some()
                    || report.is_some()
                    || said.is_some_and(|said| said.acks.contains_key(&rollout.tenant)),
                runs: attested.is_some_and(|attested| attested.manifest == rollout.candidate),
                refused: refused.map(|nack| format!("{}: {}", nack.code, nack.detail)),
                report: report.filter(|report| report.rollout == rollout.id).cloned(),
            }
        };
        trust.directory.edges().map(sight).collect()
    }
}
