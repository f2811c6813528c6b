//! B3: a bundle that comes in waves runs nowhere else, gets no further once it is known to permit too much, and leaves
//! every edge soon after it was taken back.
//!
//! (a) An edge runs the bundle only under a number by which a wave that has it, or the end of the rollout, made that the
//! edge's. (b) An edge that ran it, that is in contact, and that knows of later entries than the one that took it back,
//! does not run it for long any more. (c) What it forbids, nobody is refused at an edge that it had not come to. (d) Where
//! its gate lets nothing through that was denied, it is not under way any more a while after an edge has permitted such a
//! call by it. (b) and (d) are judged while nothing is broken that could keep the edges' and the voters' word.
//!
//! Source: promise I-11 of docs/ARCHITECTURE.md; docs/PROTOCOL.md O-1, O-2, O-8, O-9, N-3, K-21.

use std::collections::{BTreeMap, BTreeSet};

use remit_common::id::{BootId, EdgeId};

use super::context::{Context, micros};
use super::rollouts::{Activates, Rollout};
use super::story::Story;
use super::turned_away::runs_instead;
use super::verdict::{Findings, Invariant, Verdict, Witness, at};
use super::withdrawal::Grounds;
use crate::history::outages::{Outage, outages};
use crate::history::{Edge, Event, Verdict as Answer, What, WriteKind};
use crate::node::Node;

/// The reason with which an edge refuses what a rule forbids.
const FORBIDDEN: &str = "forbidden";
/// An edge whose knowledge is younger is in contact: it asks every two seconds.
const IN_CONTACT_MS: u64 = 5_000;

/// Looks at every rollout.
pub(super) fn check(
    events: &[Event],
    story: &Story<'_>,
    rollouts: &[Rollout<'_>],
    grounds: &Grounds<'_, '_>,
    context: &Context,
) -> Verdict {
    let mut findings = Findings::default();
    findings.saw("rollouts", u64::try_from(rollouts.iter().filter(|one| !one.failed).count()).unwrap_or(u64::MAX));
    let trouble = Trouble { outages: outages(events), settle_us: micros(context.settle) };
    for rollout in rollouts {
        let ran = runs(&mut findings, events, rollout, rollouts);
        leaves(&mut findings, events, rollout, &ran, &trouble);
        gate(&mut findings, story, rollout, grounds, &trouble);
    }
    outside(&mut findings, story, rollouts);
    findings.verdict(Invariant::Waves)
}

/// What was broken, and how long it takes until all is well again.
struct Trouble {
    outages: Vec<Outage>,
    settle_us: u64,
}

impl Trouble {
    /// Whether nothing was broken in this span of time, and a while before, but other edges and tools.
    fn spares(&self, edge: &EdgeId, from_us: u64, to_us: u64) -> bool {
        let other = |node: &Node| matches!(node, Node::Tools) || matches!(node, Node::Edge(id) if id != edge);
        let concerns = |outage: &&Outage| outage.nodes.is_empty() || !outage.nodes.iter().all(other);
        let lasts = |outage: &Outage| {
            let until = outage.to_us.map_or(u64::MAX, |to| to.saturating_add(self.settle_us));
            outage.from_us <= to_us && until >= from_us
        };
        !self.outages.iter().filter(concerns).any(lasts)
    }
}

/// Every look at an edge.
fn looks(events: &[Event]) -> impl Iterator<Item = (Witness, &Edge)> {
    events.iter().filter_map(|event| match &event.what {
        What::Edge(edge) => Some((Witness::from(event), edge)),
        _ => None,
    })
}

/// Clause (a). Gives the edges that ran it.
fn runs<'e>(
    findings: &mut Findings,
    events: &'e [Event],
    rollout: &Rollout<'_>,
    all: &[Rollout<'_>],
) -> BTreeSet<&'e EdgeId> {
    let mut ran = BTreeSet::new();
    let has_it = |(_, edge): &(Witness, &Edge)| edge.digest == Some(rollout.digest) && !runs_instead(edge);
    for (looked, edge) in looks(events).filter(has_it) {
        ran.insert(&edge.edge);
        let Some(number) = edge.activation else { continue };
        let says = |what: String| {
            let (when, id, version) = (at(looked.time_us), &edge.edge, rollout.version);
            format!("At {when} edge {id} ran bundle {version} by number {number}, {what}.")
        };
        match rollout.activates(number.0) {
            Activates::These(scope) => {
                findings.compared("looks at an edge that ran a bundle in waves");
                if !scope.contains(&edge.edge) {
                    let names: Vec<&str> = scope.iter().map(|edge| edge.as_str()).collect();
                    findings.breach(&[rollout.invoked, looked], || {
                        says(format!("with which it had come to {} only", names.join(", ")))
                    });
                }
            }
            Activates::Everybody => findings.saw("looks at an edge that ran a bundle after its last wave", 1),
            // Another one, that began when it was everybody's, went back to it.
            Activates::Nobody if all.iter().any(|other| other.may_go_back_to(&rollout.digest, number.0)) => {
                findings.saw("looks at an edge that ran a bundle after its last wave", 1);
            }
            Activates::Nobody => {
                findings.breach(&[rollout.invoked, looked], || says("which activates it nowhere".to_owned()))
            }
            Activates::Unknown => findings.saw("looks at an edge by a number that nobody has explained", 1),
        }
    }
    ran
}

/// Clause (b).
fn leaves(
    findings: &mut Findings,
    events: &[Event],
    rollout: &Rollout<'_>,
    ran: &BTreeSet<&EdgeId>,
    trouble: &Trouble,
) {
    let Some((number, seen_at)) = rollout.taken_back() else { return };
    // Since when each edge has known more than that without a break.
    let mut since: BTreeMap<&EdgeId, (Witness, BootId)> = BTreeMap::new();
    for (looked, edge) in looks(events).filter(|(_, edge)| ran.contains(&edge.edge)) {
        let in_contact = edge.staleness_ms.is_some_and(|age| age < IN_CONTACT_MS) && edge.tick.0 > number;
        let is_same = since.get(&edge.edge).is_some_and(|(_, boot)| *boot == edge.boot);
        if !in_contact {
            since.remove(&edge.edge);
            continue;
        }
        if !is_same {
            since.insert(&edge.edge, (looked, edge.boot));
        }
        let Some((knows, _)) = since.get(&edge.edge).copied() else { continue };
        let late = looked.time_us > knows.time_us.saturating_add(trouble.settle_us);
        if !late || !trouble.spares(&edge.edge, knows.time_us, looked.time_us) {
            continue;
        }
        findings.compared("looks at an edge from which a bundle had been taken back");
        if edge.digest == Some(rollout.digest) {
            return findings.breach(&[seen_at, knows, looked], || {
                format!(
                    "Bundle {} was taken back by entry {number}; edge {}, which knew of later ones at {}, still ran it at {}.",
                    rollout.version,
                    edge.edge,
                    at(knows.time_us),
                    at(looked.time_us),
                )
            });
        }
    }
}

/// Clause (c).
fn outside(findings: &mut Findings, story: &Story<'_>, rollouts: &[Rollout<'_>]) {
    for call in story.calls.iter().filter(|call| call.asked.admitted) {
        let (tool, edge) = (&call.asked.tool, &call.asked.edge);
        let Some((answered, outcome)) = call.outcome() else { continue };
        let forbids = |rollout: &&Rollout<'_>| {
            !rollout.failed && rollout.without.contains(tool) && rollout.invoked.index < answered.index
        };
        let mut near = rollouts.iter().filter(forbids);
        let Some(rollout) = near.next() else { continue };
        if rollout.may_reach(edge) || near.any(|rollout| rollout.may_reach(edge)) {
            continue;
        }
        // One that everybody got forbids it everywhere.
        let everywhere = story.writes.iter().any(|write| {
            let WriteKind::Publish { good: true, without, .. } = &write.asked.write else { return false };
            without.contains(tool) && write.invoked.index < answered.index
        });
        if everywhere {
            continue;
        }
        match (outcome.verdict, outcome.reason.as_str()) {
            (Answer::Deny, FORBIDDEN) => findings.breach(&[rollout.invoked, call.invoked, answered], || {
                format!(
                    "At {} edge {edge} forbade `{tool}`, as bundle {} does, which had not come to it.",
                    at(answered.time_us),
                    rollout.version,
                )
            }),
            (Answer::Permit, _) => findings.compared("calls that a bundle in waves forbids, where it had not come to"),
            (Answer::Deny, _) => {}
        }
    }
}

/// Clause (d).
fn gate(
    findings: &mut Findings,
    story: &Story<'_>,
    rollout: &Rollout<'_>,
    grounds: &Grounds<'_, '_>,
    trouble: &Trouble,
) {
    if rollout.freely.is_empty() || rollout.newly_permitted != Some(0) {
        return;
    }
    for call in &story.calls {
        let Some(permit) = grounds.permitted_freely(rollout, call) else { continue };
        let due_us = permit.time_us.saturating_add(trouble.settle_us);
        let late = rollout.looks().iter().filter(|(looked, _)| looked.time_us > due_us);
        for (looked, seen) in late {
            let under_way = seen.steps.last().is_some_and(|step| step.status.is_under_way());
            if !under_way {
                findings.compared("rollouts that were over a while after a permit that their gate lets not through");
                break;
            }
            if trouble.spares(&call.asked.edge, permit.time_us, looked.time_us) {
                return findings.breach(&[call.invoked, permit, *looked], || {
                    format!(
                        "Edge {} permitted `{}` at {} by nothing but bundle {}, whose gate lets nothing through that was denied; \
                         it was still under way at {}.",
                        call.asked.edge,
                        call.asked.tool,
                        at(permit.time_us),
                        rollout.version,
                        at(looked.time_us),
                    )
                });
            }
        }
    }
}
