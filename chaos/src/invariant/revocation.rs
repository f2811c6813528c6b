//! V1: what was revoked stops, at an edge that has acknowledged it at once, at every other one within the bound.
//!
//! (a) No permit that was asked for after a read of the coverage named the edge. (b) No permit at any edge, in contact
//! or not, that was asked for later than the revocation's acknowledgement and the bound of the call's effect, on the true
//! time of the run. An edge need not know of the revocation for that: the age of what it knows counts from the sending of
//! a nonce, and one that was sent after the acknowledgement is answered with an epoch that has it.
//!
//! Source: promise I-2 of docs/ARCHITECTURE.md; docs/PROTOCOL.md F-8, F-13, K-7. The time that K-9 adds for drifting
//! clocks is the context's epsilon.

use std::collections::BTreeMap;

use remit_common::id::{EdgeId, RevocationEpoch};
use remit_common::lattice::Effect;

use super::context::{Context, RESOLUTION_US, micros};
use super::cuts::{Cut, cut_of, cuts};
use super::story::{Operation, Story};
use super::verdict::{Findings, Invariant, Verdict, Witness, at};
use crate::drill::action::Fault;
use crate::history::{Call, Event, What};
use crate::node::Node;

/// Looks at every answered call under a session that was cut.
pub(super) fn check(events: &[Event], story: &Story<'_>, context: &Context) -> Verdict {
    let mut findings = Findings::default();
    let cuts = cuts(story);
    let covered = Coverage::of(events);
    let turned_back = TurnedBack::of(events);
    findings.saw("sessions cut", u64::try_from(cuts.len()).unwrap_or(u64::MAX));
    for call in story.calls.iter().filter(|call| call.outcome().is_some()) {
        let Some(cut) = cut_of(&cuts, &call.asked.session) else { continue };
        after_coverage(&mut findings, call, cut, &covered);
        after_bound(&mut findings, call, cut, context, &turned_back);
    }
    findings.verdict(Invariant::Revocation)
}

fn after_coverage(findings: &mut Findings, call: &Operation<'_, Call>, cut: &Cut, covered: &Coverage<'_>) {
    let Some(seen) = cut.epoch.and_then(|epoch| covered.since(&call.asked.edge, epoch)) else { return };
    if call.invoked.index < seen.index {
        return;
    }
    findings.compared("calls after the edge had acknowledged the revocation");
    if let Some(permit) = call.permit() {
        findings.breach(&[cut.known, seen, call.invoked, permit], || {
            format!(
                "Edge {} was reported at {} to enforce the revocation of session {}; it permitted `{}` that was asked for at {}.",
                call.asked.edge,
                at(seen.time_us),
                call.asked.session,
                call.asked.tool,
                at(call.invoked.time_us),
            )
        });
    }
}

fn after_bound(
    findings: &mut Findings,
    call: &Operation<'_, Call>,
    cut: &Cut,
    context: &Context,
    turned_back: &TurnedBack<'_>,
) {
    let bound_us = micros(context.bounds.of(call.asked.effect));
    let slack_us = micros(context.epsilon).saturating_add(RESOLUTION_US);
    let last_us = cut.known.time_us.saturating_add(bound_us).saturating_add(slack_us);
    if call.invoked.time_us <= last_us {
        return;
    }
    findings.compared("calls after the bound of their effect");
    let Some(permit) = call.permit() else { return };
    // F-12: between a restart and the next proof the age of what serves reads is counted on the wall clock, so turning
    // that back lengthens it. It is the only use of a wall clock for an age, and known.
    let excuse_us = if call.asked.effect == Effect::Read { turned_back.by(&call.asked.edge, call.invoked) } else { 0 };
    if call.invoked.time_us <= last_us.saturating_add(excuse_us) {
        findings.saw("reads permitted longer because the edge's clock was turned back", 1);
        return;
    }
    findings.breach(&[cut.known, call.invoked, permit], || {
        format!(
            "Session {} was cut at {}; edge {} permitted `{}` ({}) that was asked for at {}, {} after the bound of {}.",
            call.asked.session,
            at(cut.known.time_us),
            call.asked.edge,
            call.asked.tool,
            call.asked.effect,
            at(call.invoked.time_us),
            at(call.invoked.time_us.saturating_sub(last_us)),
            at(bound_us),
        )
    });
}

/// Which epoch each edge was reported to enforce, from when on.
struct Coverage<'a>(BTreeMap<&'a EdgeId, Vec<(RevocationEpoch, Witness)>>);

impl<'a> Coverage<'a> {
    fn of(events: &'a [Event]) -> Self {
        let mut by_edge: BTreeMap<&EdgeId, Vec<(RevocationEpoch, Witness)>> = BTreeMap::new();
        for event in events {
            let What::Coverage { epoch, covered } = &event.what else { continue };
            for edge in covered {
                let seen = by_edge.entry(edge).or_default();
                // Rising epochs only, so that the first that suffices is found by halving.
                if seen.last().is_none_or(|(highest, _)| highest < epoch) {
                    seen.push((*epoch, Witness::from(event)));
                }
            }
        }
        Self(by_edge)
    }

    /// The first report that the edge enforces this epoch or a later one.
    fn since(&self, edge: &EdgeId, epoch: RevocationEpoch) -> Option<Witness> {
        let seen = self.0.get(edge)?;
        seen.get(seen.partition_point(|(highest, _)| *highest < epoch)).map(|(_, at)| *at)
    }
}

/// By how much the wall clock of each edge may have been turned back, in all: by a jump, or when one was undone.
struct TurnedBack<'a>(BTreeMap<&'a EdgeId, Vec<(u64, u64)>>);

impl<'a> TurnedBack<'a> {
    fn of(events: &'a [Event]) -> Self {
        let mut jumps: BTreeMap<&EdgeId, Vec<(u64, u64)>> = BTreeMap::new();
        for event in events {
            let What::Fault { begins: true, fault: Some(Fault::ClockJump { nodes, by_ms }), .. } = &event.what else {
                continue;
            };
            for node in nodes {
                if let Node::Edge(edge) = node {
                    let by_us = by_ms.unsigned_abs().saturating_mul(1_000);
                    jumps.entry(edge).or_default().push((event.index, by_us));
                }
            }
        }
        Self(jumps)
    }

    fn by(&self, edge: &EdgeId, now: Witness) -> u64 {
        let jumps = self.0.get(edge).map(Vec::as_slice).unwrap_or_default();
        jumps.iter().filter(|(index, _)| *index < now.index).map(|(_, by_us)| by_us).sum()
    }
}
