//! Relation tuples: batches in the order of the log, checked by every voter as every edge will check them.

use std::sync::Arc;

use remit_common::crypto::sign::PublicKey;
use remit_common::id::{KeyId, TenantId};
use remit_common::identity::SignedRequest;
use remit_common::limits::{RELATIONS_BYTES_MAX, RELATIONS_BYTES_RESERVED};
use remit_common::relation_log::{BatchRefused, RelationLog, SignedBatch, VerifiedBatch};

use super::apply::Applied;
use super::bundles::ActiveBundle;
use super::refusal::{Refusal, RefusalKind};
use super::state::{SPENT_NONCES_MAX, State};

/// Requests of one writer in five minutes: three a second, each with up to a hundred thousand tuples.
const WRITER_NONCES_MAX: usize = SPENT_NONCES_MAX / 64;
/// Requests of all writers in five minutes.
const WRITERS_NONCES_MAX: usize = SPENT_NONCES_MAX / 4;
/// Requests of the writers of one tenant in five minutes: those of others leave room for them.
const TENANT_NONCES_MAX: usize = WRITERS_NONCES_MAX / 4;
/// Tuples of which a refusal names the first; the others it counts.
const NAMED: usize = 1;

/// The key of a writer whom some tenant's active bundle names.
pub(super) fn writer<'s>(state: &'s State, key: &KeyId) -> Option<&'s PublicKey> {
    state.all_active().find_map(|active| active.writers().get(key))
}

/// What `apply` would say to a request that writes relations, if it would refuse it: such a request is not proposed
/// (clause C-87). Takes as long as applying it; pure, and the state stays what it is.
///
/// # Errors
/// [`Refusal`], as the log would have it.
pub fn check_relations(state: &State, request: &SignedRequest) -> Result<(), Refusal> {
    write(&mut state.clone(), request).map(drop)
}

/// Clause C-88: a writer's requests are counted for its key, and those of all writers together, so that neither one that
/// was stolen nor many busy ones take the room that holders and administrators have for theirs.
pub(super) fn check_requests(state: &State, key: &KeyId) -> Result<(), Refusal> {
    let writers: Vec<&ActiveBundle> = state.all_active().map(Arc::as_ref).collect();
    let is_writer = |key: &KeyId| writers.iter().any(|active| active.writers().get(key).is_some());
    let (mut own, mut team, mut all) = (0usize, 0usize, 0usize);
    let teams: Vec<&ActiveBundle> =
        writers.iter().copied().filter(|active| active.writers().get(key).is_some()).collect();
    let is_of_team = |key: &KeyId| teams.iter().any(|active| active.writers().get(key).is_some());
    for ((spender, _), _) in state.live_nonces() {
        own = own.saturating_add(usize::from(spender == key));
        team = team.saturating_add(usize::from(is_of_team(spender)));
        all = all.saturating_add(usize::from(is_writer(spender)));
    }
    if own >= WRITER_NONCES_MAX || team >= TENANT_NONCES_MAX || all >= WRITERS_NONCES_MAX {
        let detail = "too many requests of relation writers in five minutes; send more tuples in one batch";
        return Err(Refusal::new(RefusalKind::Full, "too_many_requests", detail));
    }
    Ok(())
}

/// Clauses C-81 to C-84.
pub(super) fn write(state: &mut State, request: &SignedRequest) -> Result<Applied, Refusal> {
    let signed = SignedBatch::parse(&request.body).map_err(|error| refused(&error))?;
    if *signed.signer() != request.key {
        let detail = "the batch is signed by another key than the request";
        return Err(Refusal::new(RefusalKind::Unauthenticated, "other_signer", detail));
    }
    let (active, batch) = verify(state, signed)?;
    let (tenant, content) = (batch.content().tenant.clone(), batch.content());
    let known = state.relations.get(&tenant);
    let mut log = known.map_or_else(|| RelationLog::new(state.genesis.mesh, tenant.clone()), |log| (**log).clone());
    log.check_next(&batch).map_err(|error| refused(&error))?;
    active.check_tuples(content.add.iter().map(|tuple| &tuple.key)).map_err(|error| refused(&error))?;
    if !content.replace {
        log.check_writers(active.writers()).map_err(|error| refused(&error))?;
    }
    let others = state.relations.values().filter(|log| *log.tenant() != tenant).map(|log| log.bytes()).sum::<usize>();
    let (before, takes_away) = (log.bytes(), log.only_takes_away(&batch));
    let change = log.append(batch).map_err(|error| refused(&error))?;
    let bytes = others.saturating_add(log.bytes());
    let max = if takes_away { RELATIONS_BYTES_MAX } else { RELATIONS_BYTES_MAX - RELATIONS_BYTES_RESERVED };
    if log.bytes() > before && bytes > max {
        let detail = format_args!(
            "the relations of all tenants would have {bytes} bytes of batches, at most {max} are kept; \
             `remit relation compact` makes room"
        );
        return Err(Refusal::new(RefusalKind::Full, "relations_full", detail));
    }
    let count = |len: usize| u64::try_from(len).unwrap_or(u64::MAX);
    let applied = Applied::Relations {
        tenant: tenant.clone(),
        revision: log.head().revision,
        digest: log.head().digest,
        added: count(change.added.len()),
        removed: count(change.removed.len()),
        tuples: count(log.live().len()),
    };
    Arc::make_mut(&mut state.relations).insert(tenant, Arc::new(log));
    Ok(applied)
}

/// Whose it is, is what the bundles say whose writer signed it: nothing inside is read before its signature holds.
fn verify(state: &State, signed: SignedBatch) -> Result<(Arc<ActiveBundle>, VerifiedBatch), Refusal> {
    let mesh = state.genesis.mesh;
    let mut last = None;
    for (tenant, active) in state.active.iter().filter(|(_, active)| active.writers().get(signed.signer()).is_some()) {
        match signed.clone().verify(&mesh, tenant, active.writers()) {
            Ok(batch) => return Ok((Arc::clone(active), batch)),
            Err(error) => last = Some(error),
        }
    }
    let unknown = || Refusal::new(RefusalKind::Unauthenticated, "not_a_writer", unlisted(signed.signer()));
    Err(last.map_or_else(unknown, |error| refused(&error)))
}

/// What to say to a key that no active bundle names.
pub(super) fn unlisted(key: &KeyId) -> String {
    format!("key {key} is not a relation writer of any active bundle; `[[writer]]` in relations.toml names one")
}

/// Clause C-85: a bundle whose model has no place for the tuples that hold is not taken; whoever changes the model
/// removes them first.
pub(super) fn check_model(state: &State, tenant: &TenantId, next: &ActiveBundle) -> Result<(), Refusal> {
    let Some(log) = state.relations.get(tenant) else { return Ok(()) };
    let unfit: Vec<BatchRefused> =
        log.live().iter().filter_map(|(key, _)| next.check_tuples(std::iter::once(key)).err()).collect();
    let Some(first) = unfit.iter().take(NAMED).next() else { return Ok(()) };
    let detail = format_args!(
        "{} of the {} relation tuples have no place in the bundle's model, for example {first}; remove them first",
        unfit.len(),
        log.live().len()
    );
    Err(Refusal::new(RefusalKind::Conflict, "relations_unfit", detail))
}

fn refused(error: &BatchRefused) -> Refusal {
    use BatchRefused as B;
    let kind = match error {
        B::TooLong { .. } | B::Malformed(_) | B::Signatures | B::Content { .. } | B::StatementTooLong => {
            RefusalKind::Malformed
        }
        B::NotAWriter { .. } | B::NotVerified(_) => RefusalKind::Unauthenticated,
        B::WrongMesh | B::WrongTenant { .. } => RefusalKind::Forbidden,
        B::NotNext { .. } | B::OtherPast { .. } | B::NoBeginning { .. } | B::WriterRetired { .. } => {
            RefusalKind::Conflict
        }
        B::Tuple { .. } => RefusalKind::Unacceptable,
        B::TooManyTuples { .. } | B::LogFull { .. } => RefusalKind::Full,
    };
    Refusal::new(kind, error.reason_code(), error)
}

/// The head of a tenant's relations.
pub(super) fn heads(state: &State) -> std::collections::BTreeMap<TenantId, remit_common::relation_log::Head> {
    state.relations.iter().map(|(tenant, log)| (tenant.clone(), log.head())).collect()
}
