//! B2: when the failure is over, every edge soon runs the newest bundle, and decides by the newest relations, that the
//! voters have acknowledged; or it has turned that bundle away, because its process died with it.
//!
//! Source: docs/PROTOCOL.md D-1, D-3, D-11, N-3, O-8, O-9. Newer than acknowledged is fine: a publication that timed out may count.

use std::collections::BTreeMap;

use remit_common::id::EdgeId;

use super::context::{Context, micros};
use super::published::publications;
use super::rollouts::{Rollout, rollouts};
use super::story::Story;
use super::turned_away::done_with;
use super::verdict::{Findings, Invariant, Verdict, Witness, at};
use crate::history::outages::healed_at;
use crate::history::{Event, What};

/// What an edge has to catch up with.
#[derive(Clone, Copy)]
struct Goal {
    /// In a sentence: `activation 12`.
    name: &'static str,
    looks: &'static str,
    edges: &'static str,
}

const BUNDLE: Goal = Goal {
    name: "activation",
    looks: "looks at an edge when it had to run the newest bundle",
    edges: "edges that had to run the newest bundle",
};
const RELATIONS: Goal = Goal {
    name: "revision",
    looks: "looks at an edge when it had to have the newest relations",
    edges: "edges that had to have the newest relations",
};

/// What an edge had when somebody looked: its activation, and its revision of relations.
type Look = (Witness, [Option<u64>; 2]);

/// By when every edge has to have reached an activation or a revision.
struct Due {
    by_us: u64,
    number: u64,
    acknowledged: Witness,
}

/// Looks at every edge from the end of the last fault on.
pub(super) fn check(events: &[Event], story: &Story<'_>, context: &Context) -> Verdict {
    let mut findings = Findings::default();
    let Some(healed_us) = healed_at(events) else {
        findings.note("The run has no phase `heal`: nothing was there to recover from.");
        return findings.verdict(Invariant::Convergence);
    };
    let within_us = micros(context.heal_within);
    let bundles = due(activations(events, story), healed_us, within_us);
    let relations = due(revisions(story), healed_us, within_us);
    let end_us = events.last().map_or(0, |event| event.time_us);
    let mut looks: BTreeMap<&EdgeId, Vec<Look>> = BTreeMap::new();
    for event in events.iter().filter(|event| event.time_us >= healed_us) {
        if let What::Edge(edge) = &event.what {
            // One that refuses everything, because its process died with its bundle, has no model of relations either.
            let has_none = edge.bundle.is_none() && !edge.turned_away.is_empty();
            let reached = [done_with(edge), if has_none { Some(u64::MAX) } else { edge.relations }];
            looks.entry(&edge.edge).or_default().push((Witness::from(event), reached));
        }
    }
    for edge in context.roster.edges() {
        let looks = looks.get(edge).map(Vec::as_slice).unwrap_or_default();
        let of = |place: usize| looks.iter().map(move |(at, has)| (*at, has.get(place).copied().flatten()));
        judge(&mut findings, BUNDLE, of(0), edge, &bundles, end_us);
        // A run in which nobody writes relations has none to be newest.
        if !relations.is_empty() {
            judge(&mut findings, RELATIONS, of(1), edge, &relations, end_us);
        }
    }
    findings.verdict(Invariant::Convergence)
}

/// Activations for everybody that were acknowledged, or that rollouts were seen to end with. What is staged is for some.
fn activations(events: &[Event], story: &Story<'_>) -> Vec<(Witness, u64)> {
    let publications = publications(story);
    let at_once = publications
        .iter()
        .filter(|publication| publication.good && !publication.in_waves)
        .filter_map(|publication| publication.acknowledged.and_then(|(at, number)| Some((at, number?))));
    let rollouts = rollouts(events, story);
    let ended = rollouts.iter().filter_map(Rollout::end).map(|(_, number, at)| (at, number));
    at_once.chain(ended).collect()
}

/// Revisions of relations that were acknowledged.
fn revisions(story: &Story<'_>) -> Vec<(Witness, u64)> {
    story
        .writes
        .iter()
        .filter_map(|write| write.acknowledged().and_then(|(at, made)| Some((at, made.revision?))))
        .collect()
}

/// What was acknowledged, by the time at which it is due; each higher than the one before.
fn due(mut acknowledged: Vec<(Witness, u64)>, healed_us: u64, within_us: u64) -> Vec<Due> {
    let mut due: Vec<Due> = Vec::new();
    acknowledged.sort_by_key(|(at, _)| at.index);
    for (acknowledged, number) in acknowledged {
        if due.last().is_none_or(|last| last.number < number) {
            let by_us = acknowledged.time_us.max(healed_us).saturating_add(within_us);
            due.push(Due { by_us, number, acknowledged });
        }
    }
    due
}

fn judge(
    findings: &mut Findings,
    goal: Goal,
    looks: impl Iterator<Item = (Witness, Option<u64>)>,
    id: &EdgeId,
    due: &[Due],
    end_us: u64,
) {
    let (mut reached, name) = (None, goal.name);
    for (looked, has) in looks {
        reached = reached.max(has);
        let place = due.partition_point(|due| due.by_us < looked.time_us);
        let Some(demanded) = place.checked_sub(1).and_then(|place| due.get(place)) else { continue };
        findings.compared(goal.looks);
        if has.is_none_or(|number| number < demanded.number) {
            return findings.breach(&[demanded.acknowledged, looked], || {
                let has = has.map_or(format!("no {name}"), |number| format!("{name} {number}"));
                format!(
                    "At {} edge {id} had {has}; {name} {} was acknowledged at {} and due by {}.",
                    at(looked.time_us),
                    demanded.number,
                    at(demanded.acknowledged.time_us),
                    at(demanded.by_us),
                )
            });
        }
    }
    let Some(last) = due.iter().rfind(|due| due.by_us < end_us) else {
        return findings.note(format!("The run ended before edge {id} had to have the newest {name}."));
    };
    findings.compared(goal.edges);
    if reached.is_none_or(|number| number < last.number) {
        findings.breach(&[last.acknowledged], || {
            format!(
                "Edge {id} was not seen to have {name} {} (or a later one), acknowledged at {}, by {}.",
                last.number,
                at(last.acknowledged.time_us),
                at(last.by_us),
            )
        });
    }
}
