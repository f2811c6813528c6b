//! B2: when the failure is over, every edge soon runs the newest bundle that the voters have acknowledged.
//!
//! Source: docs/PROTOCOL.md D-1, D-3, N-3. Newer than acknowledged is fine: a publication that timed out may count.

use std::collections::BTreeMap;

use remit_common::id::EdgeId;

use super::context::{Context, micros};
use super::published::publications;
use super::story::Story;
use super::verdict::{Findings, Invariant, Verdict, Witness, at};
use crate::history::outages::healed_at;
use crate::history::{Event, What};

/// By when every edge has to have reached an activation.
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
    let due = due(story, healed_us, micros(context.heal_within));
    let end_us = events.last().map_or(0, |event| event.time_us);
    let mut looks: BTreeMap<&EdgeId, Vec<(Witness, Option<u64>)>> = BTreeMap::new();
    for event in events.iter().filter(|event| event.time_us >= healed_us) {
        if let What::Edge(edge) = &event.what {
            let runs = edge.activation.map(|number| number.0);
            looks.entry(&edge.edge).or_default().push((Witness::from(event), runs));
        }
    }
    for edge in context.roster.edges() {
        let looks = looks.get(edge).map(Vec::as_slice).unwrap_or_default();
        judge(&mut findings, looks, edge, &due, end_us);
    }
    findings.verdict(Invariant::Convergence)
}

/// Activations that were acknowledged, by the time at which they are due; each higher than the one before.
fn due(story: &Story<'_>, healed_us: u64, within_us: u64) -> Vec<Due> {
    let mut due: Vec<Due> = Vec::new();
    let mut acknowledged: Vec<(Witness, u64)> = publications(story)
        .iter()
        .filter(|publication| publication.good)
        .filter_map(|publication| publication.acknowledged.and_then(|(at, number)| Some((at, number?))))
        .collect();
    acknowledged.sort_by_key(|(at, _)| at.index);
    for (acknowledged, number) in acknowledged {
        if due.last().is_none_or(|last| last.number < number) {
            let by_us = acknowledged.time_us.max(healed_us).saturating_add(within_us);
            due.push(Due { by_us, number, acknowledged });
        }
    }
    due
}

fn judge(findings: &mut Findings, looks: &[(Witness, Option<u64>)], id: &EdgeId, due: &[Due], end_us: u64) {
    let mut reached = None;
    for (looked, runs) in looks.iter().copied() {
        reached = reached.max(runs);
        let place = due.partition_point(|due| due.by_us < looked.time_us);
        let Some(demanded) = place.checked_sub(1).and_then(|place| due.get(place)) else { continue };
        findings.compared("looks at an edge when it had to run the newest bundle");
        if runs.is_none_or(|number| number < demanded.number) {
            return findings.breach(&[demanded.acknowledged, looked], || {
                let runs = runs.map_or("no bundle".to_owned(), |number| format!("activation {number}"));
                format!(
                    "At {} edge {id} ran {runs}; activation {} was acknowledged at {} and due by {}.",
                    at(looked.time_us),
                    demanded.number,
                    at(demanded.acknowledged.time_us),
                    at(demanded.by_us),
                )
            });
        }
    }
    let Some(last) = due.iter().rfind(|due| due.by_us < end_us) else {
        return findings.note(format!("The run ended before edge {id} had to run the newest bundle."));
    };
    findings.compared("edges that had to run the newest bundle");
    if reached.is_none_or(|number| number < last.number) {
        findings.breach(&[last.acknowledged], || {
            format!(
                "Edge {id} was not seen to run activation {} (or a later one), acknowledged at {}, by {}.",
                last.number,
                at(last.acknowledged.time_us),
                at(last.by_us),
            )
        });
    }
}
