//! V2: an edge that has once refused a session as revoked never permits it again, restarts and restored disks included.
//!
//! Source: promises I-2 and I-3 of docs/ARCHITECTURE.md; docs/PROTOCOL.md N-4.

use std::collections::BTreeMap;

use remit_common::id::EdgeId;

use super::cuts::refused_as_revoked;
use super::story::Story;
use super::verdict::{Findings, Invariant, Verdict, Witness, at};

/// Looks at every answered call that was asked for after such a refusal.
pub(super) fn check(story: &Story<'_>) -> Verdict {
    let mut findings = Findings::default();
    let mut refused: BTreeMap<(&EdgeId, &str), Witness> = BTreeMap::new();
    for call in &story.calls {
        if let Some(at) = refused_as_revoked(call) {
            let first = refused.entry((&call.asked.edge, &call.asked.session)).or_insert(at);
            if at.index < first.index {
                *first = at;
            }
        }
    }
    for call in story.calls.iter().filter(|call| call.outcome().is_some()) {
        let Some(refusal) = refused.get(&(&call.asked.edge, call.asked.session.as_str())) else { continue };
        if call.invoked.index < refusal.index {
            continue;
        }
        findings.compared("calls after the edge had refused the session as revoked");
        if let Some(permit) = call.permit() {
            findings.breach(&[*refusal, call.invoked, permit], || {
                format!(
                    "Edge {} refused session {} as revoked at {}, and permitted `{}` under it that was asked for at {}.",
                    call.asked.edge,
                    call.asked.session,
                    at(refusal.time_us),
                    call.asked.tool,
                    at(call.invoked.time_us),
                )
            });
        }
    }
    findings.verdict(Invariant::Resurrection)
}
