//! L1: when the failure is over, the mesh works again by itself: one leader that every voter names, writes are
//! acknowledged, every edge is fresh, and once nobody calls it any more it has handed over its records.
//!
//! Source: Ongaro, "Consensus: Bridging Theory and Practice" (2014), section 3.9 (timing and availability);
//! docs/PROTOCOL.md F-14, N-11, N-12. That edges also run the newest bundle is B2.

use std::collections::{BTreeMap, BTreeSet};

use remit_common::id::{EdgeId, VoterId};

use super::context::{Context, micros};
use super::story::Story;
use super::verdict::{Findings, Invariant, Verdict, Witness, at};
use crate::history::outages::healed_at;
use crate::history::{Edge, Event, Voter, What};

/// An edge whose knowledge is younger is in contact: it asks every two seconds.
const IN_CONTACT_MS: u64 = 5_000;

/// Looks at what was seen between the end of the last fault and the end of the patience.
pub(super) fn check(events: &[Event], story: &Story<'_>, context: &Context) -> Verdict {
    let mut findings = Findings::default();
    let Some(healed_us) = healed_at(events) else {
        findings.note("The run has no phase `heal`: nothing was there to recover from.");
        return findings.verdict(Invariant::Liveness);
    };
    let by_us = healed_us.saturating_add(micros(context.heal_within));
    let end = events.last().map(Witness::from);
    let recovering = Recovering { findings: &mut findings, healed_us, by_us, end };
    recovering.judge(events, story, context);
    findings.verdict(Invariant::Liveness)
}

struct Recovering<'a> {
    findings: &'a mut Findings,
    healed_us: u64,
    by_us: u64,
    end: Option<Witness>,
}

impl Recovering<'_> {
    fn judge(mut self, events: &[Event], story: &Story<'_>, context: &Context) {
        let window = |event: &&Event| (self.healed_us..=self.by_us).contains(&event.time_us);
        let mut voters: BTreeMap<VoterId, &Voter> = BTreeMap::new();
        let mut led_at = None;
        let mut fresh: BTreeSet<&EdgeId> = BTreeSet::new();
        for event in events.iter().filter(window) {
            match &event.what {
                What::Voter(voter) => {
                    voters.insert(voter.voter, voter);
                    if led_at.is_none() && is_led(&voters, context) {
                        led_at = Some(event.time_us);
                    }
                }
                // One that refuses everything of its bundle's, because its process died with it, knows what holds.
                What::Edge(edge) if edge.mode == "fresh" || refuses(edge) => {
                    fresh.insert(&edge.edge);
                }
                _ => {}
            }
        }
        if context.roster.voters().next().is_some() {
            self.expect("one leader that every voter names", led_at.is_some(), || {
                let named =
                    |voter: &&Voter| voter.leader.map_or("nobody".to_owned(), |leader| format!("voter {leader}"));
                let said =
                    |voter: &&Voter| format!("voter {} named {} in term {}", voter.voter, named(voter), voter.term);
                let said: Vec<String> = voters.values().map(said).collect();
                let said = if said.is_empty() { "no voter answered".to_owned() } else { said.join(", ") };
                format!("the voters did not agree on one leader; at last {said}")
            });
        }
        let fresh_write = |from: u64, to: Option<u64>| from >= self.healed_us && to.is_some_and(|to| to <= self.by_us);
        let mut asked = story.writes.iter().filter(|write| write.invoked.time_us >= self.healed_us).peekable();
        if asked.peek().is_none() {
            self.findings
                .note("Nobody wrote after the failure: whether the voters take writes again was not measured.");
        } else {
            let written =
                asked.any(|write| fresh_write(write.invoked.time_us, write.acknowledged().map(|(at, _)| at.time_us)));
            self.expect("a new write acknowledged", written, || "no new write was acknowledged".to_owned());
        }
        for edge in context.roster.edges() {
            self.expect("edges fresh", fresh.contains(edge), || format!("edge {edge} was not seen fresh"));
        }
        self.spools(events, story, context);
    }

    /// Judges the last look at each edge that has been left alone for a while, and in which nothing is broken any more.
    fn spools(&mut self, events: &[Event], story: &Story<'_>, context: &Context) {
        let mut called: BTreeMap<&EdgeId, u64> = BTreeMap::new();
        for call in &story.calls {
            let until = call.answer().map_or(call.invoked.time_us, |(at, _)| at.time_us);
            let last = called.entry(&call.asked.edge).or_default();
            *last = until.max(*last);
        }
        let mut looks: BTreeMap<&EdgeId, (Witness, u64)> = BTreeMap::new();
        for event in events {
            if let What::Edge(edge) = &event.what {
                looks.insert(&edge.edge, (Witness::from(event), edge.spool));
            }
        }
        for id in context.roster.edges() {
            let Some((last, spool)) = looks.get(id).copied() else { continue };
            if spool == 0 {
                self.findings.compared("edges without records that no majority has");
                continue;
            }
            let quiet_us = called.get(id).copied().unwrap_or_default().saturating_add(micros(context.settle));
            if last.time_us > quiet_us.max(self.by_us) {
                self.findings.breach(&[last], || {
                    let left_alone = at(last.time_us.saturating_sub(called.get(id).copied().unwrap_or_default()));
                    format!("At {} edge {id} had {spool} records that no majority had; it had not been called for {left_alone}.", at(last.time_us))
                });
            }
        }
    }

    /// Notes whether something came about; what was still in time when the run ended is not judged.
    fn expect(&mut self, what: &'static str, came: bool, sentence: impl FnOnce() -> String) {
        let Some(end) = self.end else { return };
        if came {
            self.findings.compared(what);
        } else if end.time_us > self.by_us {
            let (healed_us, by_us) = (self.healed_us, self.by_us);
            self.findings.breach(&[end], || {
                format!("The failure was over at {}; until {} {}.", at(healed_us), at(by_us), sentence())
            });
        } else {
            self.findings.note(format!("The run ended too early to see: {what}."));
        }
    }
}

/// Whether it has turned its bundle away, and has nothing to decide by, but hears of the voters.
fn refuses(edge: &Edge) -> bool {
    edge.bundle.is_none() && !edge.turned_away.is_empty() && edge.staleness_ms.is_some_and(|age| age < IN_CONTACT_MS)
}

/// Whether what all voters said last names one leader in one term, and that one agrees.
fn is_led(voters: &BTreeMap<VoterId, &Voter>, context: &Context) -> bool {
    let mut said =
        context.roster.voters().map(|id| voters.get(&id).and_then(|voter| Some((voter.leader?, voter.term))));
    let Some(Some((leader, term))) = said.next() else { return false };
    said.all(|other| other == Some((leader, term))) && voters.get(&leader).is_some_and(|voter| voter.role == "leader")
}
