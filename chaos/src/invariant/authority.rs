//! P1: nothing is permitted that the envelope's chain, the proof that comes with it and the active bundle do not admit.
//!
//! Source: promise I-1 of docs/ARCHITECTURE.md. Which calls are admitted, the agent knows who made envelope and bundle.

use super::story::Story;
use super::verdict::{Findings, Invariant, Verdict, at};

/// Looks at every answered call that nothing admits.
pub(super) fn check(story: &Story<'_>) -> Verdict {
    let mut findings = Findings::default();
    for call in story.calls.iter().filter(|call| !call.asked.admitted && call.outcome().is_some()) {
        findings.compared("calls that nothing admits");
        if let Some(permit) = call.permit() {
            findings.breach(&[call.invoked, permit], || {
                format!(
                    "At {} edge {} permitted a call of `{}` under session {}, which envelope, proof or policy does not admit.",
                    at(permit.time_us),
                    call.asked.edge,
                    call.asked.tool,
                    call.asked.session,
                )
            });
        }
    }
    findings.verdict(Invariant::Authority)
}
