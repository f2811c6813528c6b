//! D2: a call that does more than read is on record before it is made, so that no crash and no power cut takes it away.
//!
//! Source: docs/PROTOCOL.md G-16; promise I-7 of docs/ARCHITECTURE.md.

use remit_common::lattice::Effect;

use super::stored::{Drained, Stored, decisions};
use super::story::{Operation, Story};
use super::verdict::{Findings, Invariant, Verdict, at};
use crate::history::Call;

/// Whether the record of this call had to be on disk before the call was made.
pub(super) fn is_judged(call: &Operation<'_, Call>) -> bool {
    call.asked.effect != Effect::Read && call.permit().is_some()
}

/// Looks for the record of every permitted call that does more than read. Gives the verdict and how many are missing.
pub(super) fn check(story: &Story<'_>, stored: &Stored<'_>, drained: &Drained<'_>) -> (Verdict, u64) {
    let mut findings = Findings::default();
    let decisions = decisions(stored);
    let mut missing = 0;
    for call in story.calls.iter().filter(|call| is_judged(call) && drained.contains_key(&call.asked.edge)) {
        let Some((answered, outcome)) = call.outcome() else { continue };
        let Some(id) = outcome.decision.as_deref() else { continue };
        findings.compared("permitted calls that do more than read, looked for on record");
        if !decisions.contains_key(id) {
            missing += 1;
            findings.breach(&[call.invoked, answered], || {
                format!(
                    "Edge {} permitted `{}` ({}) at {} as decision {id}, which is on no record.",
                    call.asked.edge,
                    call.asked.tool,
                    call.asked.effect,
                    at(answered.time_us),
                )
            });
        }
    }
    (findings.verdict(Invariant::RecordedFirst), missing)
}
