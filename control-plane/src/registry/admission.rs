//! Whether a bundle may be proposed as it came: what permits more than the active one needs an approval.
//!
//! This is asked at the voter that is about to propose, and not when the entry is applied: the comparison asks a budget
//! of requests that a later version may choose otherwise, and voters of two versions must apply the same log to the same
//! state. Clauses C-90, C-91, C-93 and C-95, decision 0012.

use std::sync::Arc;

use remit_common::bundle::diff::{Budget, Comparison, compare};
use remit_common::bundle::{Approval, SignedBundle, VerifiedBundle};
use remit_common::id::TenantId;
use remit_common::identity::{SignedRequest, Verb};
use remit_common::time::Timestamp;

use super::authenticate::Operation;
use super::bundles::ActiveBundle;
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
#[must_use]
pub fn uncompared(state: &State, request: &SignedRequest, now: Timestamp) -> Option<Uncompared> {
    let (approval, signed, tenant) = published(request)?;
    let active = Arc::clone(state.active(&tenant)?);
    if *active.digest() == signed.digest() {
        return None;
    }
    if approval.as_ref().is_some_and(|approval| approval.base.as_ref() != Some(active.digest())) {
        return None;
    }
    let trust = state.trust().ok()?;
    trust.directory.administrator(&request.key)?.check(Verb::PublishBundle, &tenant, now).ok()?;
    let next = signed.verify(&trust.root, &state.genesis().mesh, &tenant, now).ok()?;
    next.check_succeeds(&state.high_water.get(&tenant).cloned().unwrap_or_default(), now).ok()?;
    Some(Uncompared { active, next, approval, now })
}

/// The entry for an administrator's request: with a bundle that nobody approved goes what it was compared with, in this
/// very state. Clause C-95.
#[must_use]
pub fn to_command(state: &State, request: SignedRequest, received_at: Timestamp) -> Command {
    match published(&request) {
        Some((None, _, tenant)) => {
            let base = state.active(&tenant).map(|active| *active.digest());
            Command::Publish { request, received_at, base }
        }
        Some((Some(_), ..)) | None => Command::Admin { request, received_at },
    }
}

/// The bundle of a request that brings one, and whose it says it is.
fn published(request: &SignedRequest) -> Option<(Option<Approval>, SignedBundle, TenantId)> {
    if request.path != Operation::PublishBundle.path() {
        return None;
    }
    let (approval, container) = Approval::split(&request.body).ok()?;
    let signed = SignedBundle::parse(container).ok()?;
    let tenant = signed.dangerous_unverified_manifest().ok()?.tenant;
    Some((approval, signed, tenant))
}

impl Uncompared {
    /// Compares. It takes a while: compiling, and a thousand requests under both, at a number of steps that is the same
    /// everywhere.
    ///
    /// # Errors
    /// [`Refusal`] `widening_not_approved` names what is newly permitted, and what to do; `approval_of_other_findings`
    /// names what is not among what was approved; `nothing_to_approve` says that nothing is wider.
    pub fn check(self) -> Result<(), Refusal> {
        let Self { active, next, approval, now } = self;
        // What does not compile is refused in the log, with its faults.
        let Ok(next) = next.compile() else { return Ok(()) };
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
            None => Ok(()),
            Some(approval) if approval.is_of_nothing() && !found.widens() => {
                refused("nothing_to_approve", "nothing is wider: push it without an approval".to_owned())
            }
            Some(approval) => match approval.covers(&found) {
                Ok(()) => Ok(()),
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
