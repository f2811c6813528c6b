//! Whether a bundle may be proposed as it came: what permits more than the active one needs an approval.
//!
//! This is asked at the voter that is about to propose, and not when the entry is applied: the comparison asks a budget
//! of requests that a later version may choose otherwise, and voters of two versions must apply the same log to the same
//! state. Clauses C-90 and C-91, decision 0012.

use std::sync::Arc;

use remit_common::bundle::diff::{Budget, Comparison, compare};
use remit_common::bundle::{Approval, SignedBundle, VerifiedBundle};
use remit_common::identity::{SignedRequest, Verb};
use remit_common::time::Timestamp;

use super::authenticate::Operation;
use super::bundles::ActiveBundle;
use super::refusal::{Refusal, RefusalKind};
use super::state::State;

/// Characters of the request that a refusal quotes.
const EXAMPLE_CHARS_MAX: usize = 600;

/// A bundle that came without an approval, and the one that it would replace.
#[derive(Debug)]
pub struct Unapproved {
    active: Arc<ActiveBundle>,
    next: VerifiedBundle,
    now: Timestamp,
}

/// What has to be compared before this request is proposed; `None` where there is nothing to compare, or where `apply`
/// refuses the request anyway, with its own reason and in the log.
#[must_use]
pub fn unapproved(state: &State, request: &SignedRequest, now: Timestamp) -> Option<Unapproved> {
    if request.path != Operation::PublishBundle.path() {
        return None;
    }
    let (approval, container) = Approval::split(&request.body).ok()?;
    if approval.is_some() {
        return None;
    }
    let signed = SignedBundle::parse(container).ok()?;
    let tenant = signed.dangerous_unverified_manifest().ok()?.tenant;
    let active = Arc::clone(state.active(&tenant)?);
    if *active.digest() == signed.digest() {
        return None;
    }
    let trust = state.trust().ok()?;
    trust.directory.administrator(&request.key)?.check(Verb::PublishBundle, &tenant, now).ok()?;
    let next = signed.verify(&trust.root, &state.genesis().mesh, &tenant, now).ok()?;
    next.check_succeeds(&state.high_water.get(&tenant).cloned().unwrap_or_default(), now).ok()?;
    Some(Unapproved { active, next, now })
}

impl Unapproved {
    /// Compares. It takes a while: compiling, and a thousand requests under both.
    ///
    /// # Errors
    /// [`Refusal`] `widening_not_approved` names what is newly permitted, and what to do.
    pub fn check(self) -> Result<(), Refusal> {
        let Self { active, next, now } = self;
        // What does not compile is refused in the log, with its faults.
        let Ok(next) = next.compile() else { return Ok(()) };
        let found = compare(active.compiled(), &next, &[], now, Budget::VOTER);
        if !found.widens() {
            return Ok(());
        }
        let detail = format_args!(
            "version {} permits what the active version {} does not: {}.{} If that is meant, push it with an approval \
             (`remit bundle push FILE --approve-widening`)",
            next.manifest().version,
            active.version(),
            found.summary(),
            example(&found),
        );
        Err(Refusal::new(RefusalKind::Conflict, "widening_not_approved", detail))
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
