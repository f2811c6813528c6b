//! V3: an edge never takes what it knows for younger than it is.
//!
//! The nonce of a proof was sent before the tick that contains it was in the log. So what an edge calls the moment of its
//! knowledge (when it was asked, less the age that it states) is never after the first moment at which anybody had seen
//! that tick. On this all bounds rest, and a breach shows here long before one shows in a permit.
//!
//! Source: promise I-2 of docs/ARCHITECTURE.md; docs/PROTOCOL.md F-4, F-5, F-8, F-10, F-12.

use super::context::{Context, RESOLUTION_US, micros};
use super::story::{Operation, Story};
use super::verdict::{Findings, Invariant, Verdict, Witness, at};
use crate::history::{Event, What};

/// Looks at every age that an edge states.
pub(super) fn check(events: &[Event], story: &Story<'_>, context: &Context) -> Verdict {
    let mut findings = Findings::default();
    let seen = Seen::of(events, story);
    let slack_us = micros(context.epsilon).saturating_add(RESOLUTION_US);
    for event in events {
        let What::Edge(edge) = &event.what else { continue };
        let (Some(asked_us), Some(age_ms)) = (edge.asked_us, edge.staleness_ms) else { continue };
        let Some(first) = seen.first(edge.tick.0) else { continue };
        findings.compared("ages that edges state");
        let knew_us = asked_us.saturating_sub(age_ms.saturating_mul(1_000));
        if knew_us > first.time_us.saturating_add(slack_us) {
            findings.breach(&[first, Witness::from(event)], || {
                format!(
                    "At {} edge {} took what it knew for {age_ms} ms old; but tick {}, its newest, had been in the log at {} \
                     already, {} before.",
                    at(asked_us),
                    edge.edge,
                    edge.tick,
                    at(first.time_us),
                    at(asked_us.saturating_sub(first.time_us)),
                )
            });
        }
    }
    findings.verdict(Invariant::HonestAge)
}

/// How far the log was known to reach, and since when; both rise.
struct Seen(Vec<(u64, Witness)>);

impl Seen {
    fn of(events: &[Event], story: &Story<'_>) -> Self {
        let mut seen: Vec<(u64, Witness)> = Vec::new();
        let written = story.writes.iter().filter_map(Operation::acknowledged);
        seen.extend(written.map(|(at, written)| (written.index.0, at)));
        let reads = story.reads.iter().filter_map(Operation::answer);
        seen.extend(reads.filter_map(|(at, read)| Some((read.applied?.0, at))));
        seen.extend(events.iter().filter_map(|event| match &event.what {
            What::Voter(voter) => Some((voter.applied.0, Witness::from(event))),
            What::Edge(edge) => Some((edge.tick.0, Witness::from(event))),
            _ => None,
        }));
        seen.sort_by_key(|(_, at)| at.index);
        let mut highest = 0;
        seen.retain(|(index, _)| {
            let rises = *index > highest;
            highest = highest.max(*index);
            rises
        });
        Self(seen)
    }

    /// When this entry was first known to be in the log. Nothing was ever younger than the beginning.
    fn first(&self, index: u64) -> Option<Witness> {
        let place = self.0.partition_point(|(highest, _)| *highest < index);
        self.0.get(place).filter(|_| index > 0).map(|(_, at)| *at)
    }
}
