//! R1: voters never disagree about the log, and never go back in it.
//!
//! Source: Ongaro, "Consensus: Bridging Theory and Practice" (2014), section 3.2 (figure 3.2) and 3.6: election safety,
//! log matching, state-machine safety; promise I-9 of docs/ARCHITECTURE.md. What is compared are the digests of C-10,
//! chained over the payloads of all entries so far, not only terms and indexes: two voters once held the same log id with
//! different contents, and a check of ids saw nothing. Whoever differs at one entry differs at every later one, so each
//! look at a voter is compared with every other look, at any voter and at any time, that showed the same index.
//!
//! What voters sign about a tick is judged in the same way: of one tick every voter signs the same, and each signs once
//! (F-20, K-31). Two statements of one tick would let a liar show each edge the one that suits it.
//!
//! The Raft library's leader is a pair of term and voter, and a greater voter may take over within a term; so election
//! safety is that (term, leader) never falls at any voter: nobody who followed one leader follows a lesser one again.

use std::collections::BTreeMap;

use remit_common::crypto::digest::Digest;
use remit_common::id::VoterId;

use super::context::{Context, micros};
use super::verdict::{Findings, Invariant, Verdict, Witness, at};
use crate::history::outages::outages;
use crate::history::{Event, SignedTick, Voter, What};
use crate::node::Node;

/// By number, what was seen first, at whom, and when.
type Seen = BTreeMap<u64, (Digest, VoterId, Witness)>;

/// What one voter has said of itself so far.
struct Before {
    term: (u64, Witness),
    leader: Option<((u64, VoterId), Witness)>,
    applied: (u64, Witness),
    /// Who looked. Two observers may write down what they saw in another order than they saw it.
    by: String,
}

/// Looks at everything that voters say of themselves.
pub(super) fn check(events: &[Event], context: &Context) -> Verdict {
    let mut findings = Findings::default();
    let (outages, settle_us) = (outages(events), micros(context.settle));
    let mut before: BTreeMap<(VoterId, &str), Before> = BTreeMap::new();
    let (mut states, mut signed): (Seen, Seen) = (Seen::new(), Seen::new());
    for event in events {
        match &event.what {
            What::Voter(voter) => {
                // Whatever happened to a voter may have ended its process, and a new one applies its log anew.
                let node = Node::Voter(voter.voter);
                let may_restart = outages.iter().any(|outage| outage.hits(&node, event.time_us, settle_us));
                going_back(&mut findings, &mut before, event, voter, may_restart);
                same_state(&mut findings, &mut states, event, voter);
                same_statement(&mut findings, &mut signed, event, voter);
            }
            What::Fault { nodes, .. } => {
                for ((voter, _), before) in &mut before {
                    if nodes.is_empty() || nodes.contains(&Node::Voter(*voter)) {
                        before.applied.0 = 0;
                    }
                }
            }
            _ => {}
        }
    }
    findings.verdict(Invariant::RaftSafety)
}

fn going_back<'a>(
    findings: &mut Findings,
    seen: &mut BTreeMap<(VoterId, &'a str), Before>,
    event: &'a Event,
    voter: &Voter,
    may_restart: bool,
) {
    let now = Witness::from(event);
    let led = voter.leader.map(|leader| ((voter.term, leader), now));
    let Some(before) = seen.get_mut(&(voter.voter, event.process.as_str())) else {
        let (term, applied, by) = ((voter.term, now), (voter.applied.0, now), event.process.clone());
        seen.insert((voter.voter, &event.process), Before { term, leader: led, applied, by });
        return;
    };
    findings.compared("looks at a voter after an earlier one");
    if voter.term < before.term.0 {
        findings.breach(&[before.term.1, now], || {
            format!(
                "Voter {} was in term {} at {} and in term {} at {}, says {}: a vote was forgotten.",
                voter.voter,
                before.term.0,
                at(before.term.1.time_us),
                voter.term,
                at(now.time_us),
                before.by,
            )
        });
    }
    if let (Some((was, seen_at)), Some((is, _))) = (before.leader, led)
        && is < was
        && is.0 == was.0
    {
        findings.breach(&[seen_at, now], || {
            format!(
                "In term {} voter {} followed {} at {} and {} at {}: two leaders of one term that a voter both accepted.",
                is.0,
                voter.voter,
                was.1,
                at(seen_at.time_us),
                is.1,
                at(now.time_us),
            )
        });
    }
    if voter.applied.0 < before.applied.0 && !may_restart {
        findings.breach(&[before.applied.1, now], || {
            format!(
                "Voter {} had applied entry {} at {} and, without a restart, only {} at {}.",
                voter.voter,
                before.applied.0,
                at(before.applied.1.time_us),
                voter.applied,
                at(now.time_us),
            )
        });
    }
    before.term = (voter.term, now);
    before.leader = led.or(before.leader);
    before.applied = (voter.applied.0, now);
}

fn same_state(findings: &mut Findings, states: &mut Seen, event: &Event, voter: &Voter) {
    let Some(digest) = voter.applied_digest else { return };
    let now = Witness::from(event);
    let (first, other, seen_at) = *states.entry(voter.applied.0).or_insert((digest, voter.voter, now));
    if seen_at == now {
        return;
    }
    findings.compared("times that a state was seen again");
    if other != voter.voter {
        findings.saw("of these at another voter", 1);
    }
    if first != digest {
        findings.breach(&[seen_at, now], || {
            format!(
                "Up to entry {} voter {} applied other contents (seen at {}) than voter {} (seen at {}).",
                voter.applied,
                voter.voter,
                at(now.time_us),
                other,
                at(seen_at.time_us),
            )
        });
    }
}

fn same_statement(findings: &mut Findings, seen: &mut Seen, event: &Event, voter: &Voter) {
    let Some(SignedTick { tick, statement }) = voter.signed else { return };
    let now = Witness::from(event);
    let (first, other, seen_at) = *seen.entry(tick.0).or_insert((statement, voter.voter, now));
    if seen_at == now {
        return;
    }
    findings.compared("times that a signed tick was seen again");
    if first != statement {
        findings.breach(&[seen_at, now], || {
            format!(
                "Of tick {tick} voter {} signed another statement (seen at {}) than voter {} (seen at {}).",
                voter.voter,
                at(now.time_us),
                other,
                at(seen_at.time_us),
            )
        });
    }
}
