//! Whether a bundle may be proposed as it came: what permits more than the active one needs an approval.
//!
//! This is asked at the voter that is about to propose, and not when the entry is applied: the comparison asks a budget
//! of requests that a later version may choose otherwise, and voters of two versions must apply the same log to the same
//! state. Clauses C-90, C-91, C-93 and C-95, decision 0012.

use std::sync::Arc;

use remit_common::bundle::diff::{Budget, Comparison, compare};
use remit_common::bundle::{Approval, Posted, SignedBundle, VerifiedBundle};
use remit_common::crypto::digest::Digest;
use remit_common::id::TenantId;
use remit_common::identity::{SignedRequest, Verb};
use remit_common::time::Timestamp;

use super::authenticate::{Operation, not_permitted};
use super::bundles::{self, ActiveBundle};
use super::command::Command;
use super::refusal::{Refusal, RefusalKind};
use super::state::State;

/// Characters of the request that a refusal quotes.
const EXAMPLE_CHARS_MAX: usize = 600;

/// A bundle that came, with an approval or without, and the one that it would replace.
#[derive(Debug)]
pub struct Uncompared {
    active: Arc<ActiveBundle>,
    next: VerifiedBundle,
    approval: Option<Approval>,
    now: Timestamp,
}

/// What has to be compared before this request is proposed; `None` where there is nothing to compare, or where `apply`
/// refuses the request anyway, with its own reason and in the log.
///
/// # Errors
/// [`Refusal`] of an approved bundle that does not count now: by the time its entry is applied it might, and nobody would
/// have compared it. One without an approval is refused there for that very reason (clause C-95).
pub fn uncompared(state: &State, request: &SignedRequest, now: Timestamp) -> Result<Option<Uncompared>, Refusal> {
    let Some((approval, signed, tenant)) = published(request) else { return Ok(None) };
    let Some(active) = state.active(&tenant).map(Arc::clone) else { return Ok(None) };
    let is_of_another = |approval: &Approval| approval.base.as_ref() != Some(active.digest());
    if *active.digest() == signed.digest() || approval.as_ref().is_some_and(is_of_another) {
        return Ok(None);
    }
    match verified(state, request, signed, &tenant, now) {
        Ok(next) => Ok(Some(Uncompared { active, next, approval, now })),
        Err(refusal) if approval.is_some() => Err(refusal),
        Err(_) => Ok(None),
    }
}

fn verified(
    state: &State,
    request: &SignedRequest,
    signed: SignedBundle,
    tenant: &TenantId,
    now: Timestamp,
) -> Result<VerifiedBundle, Refusal> {
    let trust = state.trust()?;
    let unknown = || Refusal::new(RefusalKind::Unauthenticated, "unknown_key", "no administrator has this key");
    let administrator = trust.directory.administrator(&request.key).ok_or_else(unknown)?;
    administrator.check(Verb::PublishBundle, tenant, now).map_err(|error| not_permitted(&error))?;
    let next =
        signed.verify(&trust.root, &state.genesis().mesh, tenant, now).map_err(|error| bundles::rejected(&error))?;
    let seen = state.high_water.get(tenant).cloned().unwrap_or_default();
    next.check_succeeds(&seen, now).map_err(|error| bundles::rejected(&error))?;
    Ok(next)
}

/// The entry for an administrator's request: with a bundle that nobody approved goes the bundle that it was compared
/// with, if it was. Where one is active and none was compared with, `apply` refuses: what the leader could not look at
/// when it was asked may have become valid since. Clause C-95.
#[must_use]
pub fn to_command(state: &State, request: SignedRequest, received_at: Timestamp, compared: Option<Digest>) -> Command {
    match published(&request) {
        Some((None, signed, tenant)) => {
            // The active bundle once more is not compared, and permits nothing new.
            let same = state.active(&tenant).map(|active| *active.digest()).filter(|active| *active == signed.digest());
            Command::Publish { request, received_at, base: compared.or(same) }
        }
        Some((Some(_), ..)) | None => Command::Admin { request, received_at },
    }
}

/// The bundle of a request that brings one, and whose it says it is.
fn published(request: &SignedRequest) -> Option<(Option<Approval>, SignedBundle, TenantId)> {
    if request.path != Operation::PublishBundle.path() {
        return None;
    }
    let Posted { plan: _, approval, container } = Posted::split(&request.body).ok()?;
    let signed = SignedBundle::parse(container).ok()?;
    let tenant = signed.dangerous_unverified_manifest().ok()?.tenant;
    Some((approval, signed, tenant))
}

impl Uncompared {
    /// Compares, and gives the digest of what it was compared with. It takes a while: compiling, and a thousand requests under both, at a number of steps that is the same
    /// everywhere.
    ///
    /// # Errors
    /// [`Refusal`] `widening_not_approved` names what is newly permitted, and what to do; `approval_of_other_findings`
    /// names what is not among what was approved; `nothing_to_approve` says that nothing is wider.
    pub fn check(self) -> Result<Option<Digest>, Refusal> {
        let Self { active, next, approval, now } = self;
        // What does not compile is refused in the log, with its faults, and nothing was compared.
        let Ok(next) = next.compile() else { return Ok(None) };
        let compared = Ok(Some(*active.digest()));
        let found = compare(active.compiled(), &next, &[], now, Budget::VOTER);
        let refused = |reason, detail: String| Err(Refusal::new(RefusalKind::Conflict, reason, detail));
        match approval {
            None if found.widens() => {
                let detail = format!(
                    "version {} permits what the active version {} does not: {}.{} If that is meant, push it with an \
                     approval (`remit bundle push FILE --approve-widening`)",
                    next.manifest().version,
                    active.version(),
                    found.summary(),
                    example(&found),
                );
                refused("widening_not_approved", detail)
            }
            None => compared,
            Some(approval) if approval.is_of_nothing() && !found.widens() => {
                refused("nothing_to_approve", "nothing is wider: push it without an approval".to_owned())
            }
            Some(approval) => match approval.covers(&found) {
                Ok(()) => compared,
                Err(why) => {
                    let detail =
                        format!("what was approved is not what is found: {why}.{} Compare again", example(&found));
                    refused("approval_of_other_findings", detail)
                }
            },
        }
    }
}

/// The first request that is newly permitted, in words.
fn example(found: &Comparison) -> String {
    let first = found.findings.iter().filter(|finding| finding.kind.widens()).find_map(|one| one.exemplars.first());
    let Some(exemplar) = first else { return String::new() };
    let request = &exemplar.request;
    let arguments = serde_json::to_string(&request.arguments).unwrap_or_default();
    let records = request.max_records.map_or_else(String::new, |max| format!(", at most {max} records"));
    let text = format!(
        "`{}` of class `{}`, for `{}`, purpose `{}`{records}, calls {} {arguments}",
        request.agent, request.class, request.delegator, request.purpose, request.action
    );
    let mut quoted: String = text.chars().take(EXAMPLE_CHARS_MAX).collect();
    if quoted.len() < text.len() {
        quoted.push('…');
    }
    format!(" For example {quoted}.")
}
