//! Relations as they are: the tuples that hold, and the batches that say so. Clauses.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use remit_common::id::{MeshId, TenantId};
use remit_common::policy::relations::{Object, Subject, Tuple, TupleKey};
use remit_common::relation_log::RelationLog;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::App;
use super::model::{RelationBatches, RelationList};
use super::problem::Failure;
use super::read::{Asked, Consistency, asked};
use crate::cluster::Unavailable;
use crate::registry;

/// Tuples of one answer when nobody says how many.
const TUPLES_DEFAULT: usize = 1_000;
/// Tuples of one answer.
const TUPLES_MAX: usize = 10_000;
/// Bytes of batches of one answer, unless the first is longer.
const BATCHES_BYTES_MAX: usize = 4 * 1024 * 1024;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AskTuples {
    tenant: TenantId,
    object: Option<String>,
    relation: Option<String>,
    subject: Option<String>,
    after: Option<TupleKey>,
    limit: Option<usize>,
    consistency: Option<Consistency>,
}

impl AskTuples {
    /// `type:` asks for every object of a type.
    fn wants(&self, key: &TupleKey) -> bool {
        let object = |of: &Object, text: &str| match text.strip_suffix(':') {
            Some(kind) => of.kind == kind,
            None => of.to_string() == text,
        };
        let subject = |of: &Subject, text: &str| match text.strip_suffix(':') {
            Some(kind) => of.kind() == kind,
            None => of.to_string() == text,
        };
        self.object.as_deref().is_none_or(|text| object(&key.object, text))
            && self.relation.as_deref().is_none_or(|name| key.relation == name)
            && self.subject.as_deref().is_none_or(|text| subject(&key.subject, text))
            && self.after.as_ref().is_none_or(|after| key > after)
    }
}

pub(super) async fn list(State(app): State<Arc<App>>, query: Asked<AskTuples>) -> Result<Json<RelationList>, Failure> {
    let ask = asked(query)?;
    let view = app.view(ask.consistency.unwrap_or(Consistency::Linearizable)).await?;
    let (env, mesh) = (app.cluster.env.clone(), app.genesis.mesh);
    // A hundred thousand tuples are looked at, so nothing else waits for it.
    let listed = env.run_blocking(move || page(&ask, &view.state, mesh)).await;
    listed.map(Json).map_err(|_| Failure::from(Unavailable::Stopping))
}

fn page(ask: &AskTuples, state: &registry::State, mesh: MeshId) -> RelationList {
    let empty = || Arc::new(RelationLog::new(mesh, ask.tenant.clone()));
    let log = state.relations().get(&ask.tenant).cloned().unwrap_or_else(empty);
    let writers = state.active(&ask.tenant).map(|active| active.writers().clone()).unwrap_or_default();
    let limit = ask.limit.unwrap_or(TUPLES_DEFAULT).clamp(1, TUPLES_MAX);
    let mut wanted: Vec<(&TupleKey, Option<u32>)> = log.live().iter().filter(|(key, _)| ask.wants(key)).collect();
    let has_more = wanted.len() > limit;
    if has_more {
        wanted.select_nth_unstable(limit);
        wanted.truncate(limit);
    }
    wanted.sort_unstable();
    let next = wanted.last().filter(|_| has_more).map(|(key, _)| (*key).clone());
    let count = |len: usize| u64::try_from(len).unwrap_or(u64::MAX);
    RelationList {
        applied: state.applied(),
        mesh_id: mesh,
        revision: log.head().revision,
        digest: log.head().digest,
        count: count(log.live().len()),
        batches: count(log.kept().len()),
        batch_bytes: count(log.bytes()),
        unusable: log.check_writers(&writers).err().map(|refused| refused.to_string()),
        tuples: wanted.into_iter().map(|(key, expires)| Tuple { key: key.clone(), expires }).collect(),
        next,
        tenant: ask.tenant.clone(),
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AskBatches {
    tenant: TenantId,
    after: Option<u64>,
    consistency: Option<Consistency>,
}

pub(super) async fn batches(
    State(app): State<Arc<App>>,
    query: Asked<AskBatches>,
) -> Result<Json<RelationBatches>, Failure> {
    let AskBatches { tenant, after, consistency } = asked(query)?;
    let view = app.view(consistency.unwrap_or(Consistency::Linearizable)).await?;
    let log = view.state.relations().get(&tenant).cloned();
    let kept = log.as_ref().map(|log| log.kept()).unwrap_or_default();
    let mut bytes = 0usize;
    let mut page = Vec::new();
    for kept in kept.iter().filter(|kept| after.is_none_or(|after| kept.head.revision > after)) {
        bytes = bytes.saturating_add(kept.bytes.len());
        if !page.is_empty() && bytes > BATCHES_BYTES_MAX {
            break;
        }
        // INVARIANT: a batch is JSON; it was read when it came.
        if let Ok(raw) = serde_json::from_slice::<Box<RawValue>>(&kept.bytes) {
            page.push((kept.head.revision, raw));
        }
    }
    let newest = log.as_ref().map(|log| log.head().revision).unwrap_or_default();
    Ok(Json(RelationBatches {
        applied: view.state.applied(),
        tenant,
        revision: newest,
        first: page.first().map(|(revision, _)| *revision),
        next: page.last().map(|(revision, _)| *revision).filter(|last| *last < newest),
        batches: page.into_iter().map(|(_, raw)| raw).collect(),
    }))
}
