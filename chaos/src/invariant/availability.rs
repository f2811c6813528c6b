//! A1: edges go on permitting reads while the control plane is away, for as long as the bound of reads says.
//!
//! Whether an edge knows enough, it is not asked: while nothing was broken for a while every edge is in contact, and from
//! the first fault after that on it has the bound. What hits the edge itself is another matter (its clock jumped, its
//! disk is full, its process died with its bundle), and so is a voter that lies to it.
//!
//! Source: docs/PROTOCOL.md F-8, F-13, N-5; docs/ARCHITECTURE.md: "an edge decides from verified state on its own disk
//! and never waits for a voter".

use std::collections::BTreeMap;

use remit_common::id::EdgeId;
use remit_common::lattice::Effect;

use super::context::{Context, micros};
use super::cuts::revoked;
use super::story::{Operation, Story};
use super::turned_away::TurnedAway;
use super::verdict::{Findings, Invariant, Verdict, Witness, at};
use crate::history::outages::{Outage, healing, outages};
use crate::history::{Call, Event};
use crate::node::Node;

/// Reasons that say that an edge knows too little.
const KNOWS_TOO_LITTLE: [&str; 3] = ["stale", "isolated", "quarantined"];
/// Faults of an edge itself after which it rightly trusts nothing that it knew, or cannot keep what it learns.
const OF_ITS_OWN: [&str; 3] = ["clock-jump", "disk-full", "fsync-error"];

/// Looks at every admitted read. Gives the verdict and how many reads were refused because of the failure.
pub(super) fn check(
    events: &[Event],
    story: &Story<'_>,
    turned_away: &TurnedAway,
    context: &Context,
) -> (Verdict, u64) {
    let mut findings = Findings::default();
    let outages: Vec<Outage> = outages(events).into_iter().filter(|outage| !is_of_tools(outage)).collect();
    // Clocks are set right at the end of the failure, which is another jump.
    let healing = healing(events).map(|(from, to)| (from, to.saturating_add(micros(context.settle))));
    let quiet = Quiet::of(&outages, healing, micros(context.settle));
    let cut: BTreeMap<&str, Witness> =
        story.writes.iter().filter_map(|write| Some((revoked(write)?, write.invoked))).collect();
    let mut first_permit: BTreeMap<&EdgeId, u64> = BTreeMap::new();
    let mut refused = 0;
    for call in story.calls.iter().filter(|call| call.asked.admitted && call.asked.effect == Effect::Read) {
        let Some((answered, outcome)) = call.outcome() else { continue };
        if cut.get(call.asked.session.as_str()).is_some_and(|cut| cut.index < answered.index) {
            continue;
        }
        if call.permit().is_some() {
            first_permit.entry(&call.asked.edge).or_insert(answered.time_us);
        }
        // Until an edge has once been in contact it has nothing to go on with.
        let Some(since_us) = first_permit.get(&call.asked.edge) else { continue };
        let last_us = quiet.before(call.invoked.time_us).max(*since_us);
        let is_quiet = last_us == call.invoked.time_us;
        if !is_quiet {
            findings.compared("reads answered during a failure");
        }
        if !KNOWS_TOO_LITTLE.contains(&outcome.reason.as_str()) {
            continue;
        }
        let node = Node::Edge(call.asked.edge.clone());
        let excused = |outage: &Outage| {
            let own = outage.nodes.contains(&node) && OF_ITS_OWN.contains(&outage.name.as_str());
            let is_set_right = healing.is_some_and(|(from, to)| (from..=to).contains(&answered.time_us));
            (own || outage.name == "lie")
                && outage.from_us <= answered.time_us
                && (is_set_right || outage.to_us.is_none_or(|to| to.saturating_add(micros(context.settle)) >= last_us))
        };
        let has_died = turned_away.touches(&call.asked.edge, call.invoked.time_us, answered.time_us);
        if has_died || outages.iter().any(excused) {
            findings.saw("reads refused because of what happened to the edge itself", 1);
            continue;
        }
        refused += judge(&mut findings, call, answered, last_us, context);
    }
    (findings.verdict(Invariant::Availability), refused)
}

/// Says 1 if the edge should have permitted it.
fn judge(
    findings: &mut Findings,
    call: &Operation<'_, Call>,
    answered: Witness,
    last_us: u64,
    context: &Context,
) -> u64 {
    // The youngest proof may have been as old as it usually is when the failure began.
    let bound_us = micros(context.bounds.of(Effect::Read)).saturating_sub(micros(context.settle));
    if answered.time_us >= last_us.saturating_add(bound_us) {
        findings.saw("reads refused after their bound, as they must be", 1);
        return 0;
    }
    let reason = call.denial().map_or("", |(_, reason)| reason);
    findings.breach(&[call.invoked, answered], || {
        format!(
            "Edge {} refused `{}` as {reason} at {}, although it was in contact at {} and reads go on for {}.",
            call.asked.edge,
            call.asked.tool,
            at(answered.time_us),
            at(last_us),
            at(micros(context.bounds.of(Effect::Read))),
        )
    });
    1
}

fn is_of_tools(outage: &Outage) -> bool {
    !outage.nodes.is_empty() && outage.nodes.iter().all(|node| *node == Node::Tools)
}

/// Spans of time in which something was broken, or had been shortly before; disjoint, in order.
struct Quiet(Vec<(u64, u64)>);

impl Quiet {
    fn of(outages: &[Outage], healing: Option<(u64, u64)>, settle_us: u64) -> Self {
        let until = |outage: &Outage| outage.to_us.map_or(u64::MAX, |to| to.saturating_add(settle_us));
        let mut spans: Vec<(u64, u64)> = outages.iter().map(|outage| (outage.from_us, until(outage))).collect();
        spans.extend(healing);
        spans.sort_unstable();
        let mut broken: Vec<(u64, u64)> = Vec::new();
        for (from, until) in spans {
            match broken.last_mut() {
                Some((_, last)) if from <= *last => *last = until.max(*last),
                _ => broken.push((from, until)),
            }
        }
        Self(broken)
    }

    /// The last moment up to `time_us` at which nothing was broken.
    fn before(&self, time_us: u64) -> u64 {
        let place = self.0.partition_point(|(from, _)| *from <= time_us);
        match place.checked_sub(1).and_then(|place| self.0.get(place)) {
            Some((from, until)) if time_us <= *until => *from,
            _ => time_us,
        }
    }
}
