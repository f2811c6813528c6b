//! Bundles on their way: what the registry says of them, and what is known of them at every edge. Clause A-24.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use super::App;
use super::model::{RolloutEdge, RolloutView, Rollouts};
use super::problem::Failure;
use super::read::{Ask, Asked, Consistency, asked};
use crate::registry::{Rollout, State as Registry};
use crate::rollouts::{Heard, Judgement, Sight, judge};

pub(super) async fn list(State(app): State<Arc<App>>, query: Asked<Ask>) -> Result<Json<Rollouts>, Failure> {
    let Ask { consistency, tenant } = asked(query)?;
    let view = app.view(consistency.unwrap_or(Consistency::Linearizable)).await?;
    let state = &view.state;
    let wanted = || state.rollouts().values().filter(|one| tenant.as_ref().is_none_or(|tenant| one.tenant == *tenant));
    let heard =
        if wanted().any(|rollout| rollout.status.is_under_way()) { app.lookout.hear().await } else { Heard::default() };
    let rollouts = wanted().map(|rollout| described(state, rollout, &heard)).collect();
    let unreachable = heard.unreachable();
    Ok(Json(Rollouts { applied: state.applied(), clock: state.clock(), rollouts, unreachable }))
}

fn described(state: &Registry, rollout: &Rollout, heard: &Heard) -> RolloutView {
    if !rollout.status.is_under_way() {
        return RolloutView { rollout: rollout.clone(), left_ms: 0, waits: None, edges: Vec::new() };
    }
    let sights = heard.sights(state, rollout);
    let waits = match judge(rollout, &sights, state.clock()) {
        Judgement::Wait(why) => Some(why),
        Judgement::Step(_) => None,
    };
    RolloutView {
        left_ms: u64::try_from(rollout.left(state.clock()).as_millis()).unwrap_or(u64::MAX),
        rollout: rollout.clone(),
        waits,
        edges: sights.into_iter().map(edge).collect(),
    }
}

fn edge(sight: Sight) -> RolloutEdge {
    let Sight { edge: id, region, is_connected: connected, is_meant: meant, serves: _, runs, refused, report } = sight;
    RolloutEdge { id, region, connected, meant, runs, refused, report }
}
