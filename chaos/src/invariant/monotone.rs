//! M1: activation number, revocation epoch, revision of relations and tick of an edge never go back, over restarts too.
//!
//! Source: promise I-3 of docs/ARCHITECTURE.md; docs/PROTOCOL.md B-13, F-10, N-4. (Terms of voters are judged with R1.)

use std::collections::BTreeMap;

use remit_common::id::{BootId, EdgeId};

use super::verdict::{Findings, Invariant, Verdict, Witness, at};
use crate::history::{Edge, Event, What};

/// The highest that was seen of something, where, and in which process.
type Highest = Option<(u64, Witness, BootId)>;

/// What an edge has shown that it knows.
#[derive(Default)]
struct Known {
    activation: Highest,
    epoch: Highest,
    relations: Highest,
    tick: Highest,
    looked: bool,
}

/// Looks at everything that edges say of themselves. Each observer's looks are taken by themselves: two of them may
/// write down what they saw in another order than they saw it.
pub(super) fn check(events: &[Event]) -> Verdict {
    let mut findings = Findings::default();
    let mut known: BTreeMap<(&EdgeId, &str), Known> = BTreeMap::new();
    for event in events {
        let What::Edge(edge) = &event.what else { continue };
        let known = known.entry((&edge.edge, &event.process)).or_default();
        if known.looked {
            findings.compared("looks at an edge after an earlier one");
        }
        known.looked = true;
        let mut compare = |what, now, highest: &mut Highest| rises(&mut findings, event, edge, what, now, highest);
        compare("the activation", edge.activation.map(|number| number.0), &mut known.activation);
        compare("revocation epoch", Some(edge.epoch.0), &mut known.epoch);
        compare("revision of relations", edge.relations, &mut known.relations);
        compare("tick", Some(edge.tick.0), &mut known.tick);
    }
    findings.verdict(Invariant::Monotone)
}

fn rises(findings: &mut Findings, event: &Event, edge: &Edge, what: &str, now: Option<u64>, highest: &mut Highest) {
    let Some(now) = now else { return };
    let here = Witness::from(event);
    match *highest {
        Some((before, seen_at, boot)) if now < before => findings.breach(&[seen_at, here], || {
            let restarted = if boot == edge.boot { "in the same process" } else { "after a restart" };
            format!(
                "Edge {} had reached {what} {before} at {} and was back at {now} at {}, {restarted}.",
                edge.edge,
                at(seen_at.time_us),
                at(here.time_us),
            )
        }),
        _ => *highest = Some((now, here, edge.boot)),
    }
}
