//! D1: no record that was acknowledged is lost, changed or doubled; chains are whole, and what is missing stands in a
//! gap that the edge signed.
//!
//! A voter shows what it has on disk, so what it once showed it must go on showing, and an edge whose spool is empty has
//! an acknowledgement of a majority for each of its records. Then every decision that somebody was told of is on record
//! once, but for those of which gaps tell, and for what a process had in memory when it was killed: only decisions that
//! change nothing may be there (D2).
//!
//! Source: promise I-7 of docs/ARCHITECTURE.md; docs/PROTOCOL.md, K-10 to K-13, N-8, N-10 to N-12, G-8.

use std::collections::BTreeMap;

use remit_common::crypto::digest::Digest;
use remit_common::id::{BootId, EdgeId};

use super::stored::{Crashes, Drained, Key, Sighting, Stored, decisions, key};
use super::story::Story;
use super::verdict::{Findings, Invariant, Verdict, Witness, at};
use super::{Context, recorded_first};
use crate::history::{Event, RecordSeen};

/// Looks at every record that was seen, and at every decision that somebody was told of. Gives the verdict and how many
/// acknowledged records are gone.
pub(super) fn check(
    events: &[Event],
    story: &Story<'_>,
    stored: &Stored<'_>,
    drained: &Drained<'_>,
    context: &Context,
) -> (Verdict, u64) {
    let mut findings = Findings::default();
    if drained.is_empty() {
        findings.note(
            "No edge was seen with an empty spool before the store of every voter was read: decisions without a record \
             were not looked for.",
        );
    }
    every_sighting(&mut findings, stored);
    let mut lost = no_longer_shown(&mut findings, stored);
    majority(&mut findings, stored, drained, context);
    lost += chains(&mut findings, stored, drained);
    lost += told(&mut findings, events, story, stored, drained);
    findings.saw("records", u64::try_from(stored.union.len()).unwrap_or(u64::MAX));
    (findings.verdict(Invariant::Records), lost)
}

fn name(record: &RecordSeen) -> String {
    format!("record {} of edge {} (process {})", record.seq, record.edge, record.boot)
}

/// Each verifies, is the same everywhere, and stands once in each store.
fn every_sighting(findings: &mut Findings, stored: &Stored<'_>) {
    let mut places: BTreeMap<(Option<usize>, remit_common::id::VoterId, Key<'_>), Witness> = BTreeMap::new();
    for sighting in &stored.sightings {
        let record = sighting.record;
        findings.compared("times that a record was seen");
        if !record.verified {
            findings.breach(&[sighting.at], || {
                format!(
                    "At {} voter {} showed {}, which does not verify.",
                    at(sighting.at.time_us),
                    record.voter,
                    name(record)
                )
            });
        }
        if let Some(first) = stored.union.get(&key(record)).filter(|first| first.record.digest != record.digest) {
            findings.breach(&[first.at, sighting.at], || {
                format!(
                    "Voter {} (at {}) and voter {} (at {}) showed different contents of {}.",
                    first.record.voter,
                    at(first.at.time_us),
                    record.voter,
                    at(sighting.at.time_us),
                    name(record),
                )
            });
        }
        if let Some(before) = places.insert((sighting.reading, record.voter, key(record)), sighting.at) {
            findings.breach(&[before, sighting.at], || {
                format!(
                    "Voter {} holds {} twice (at {} and {}).",
                    record.voter,
                    name(record),
                    at(before.time_us),
                    at(sighting.at.time_us)
                )
            });
        }
    }
}

/// What a voter has shown, its last whole reading shows. Gives how many are gone.
fn no_longer_shown(findings: &mut Findings, stored: &Stored<'_>) -> u64 {
    let last = stored.last_readings();
    let contents = stored.contents(&last);
    let mut gone: BTreeMap<Key<'_>, (Sighting<'_>, Witness)> = BTreeMap::new();
    for sighting in &stored.sightings {
        let record = sighting.record;
        let Some(reading) = last.get(&record.voter).and_then(|place| stored.readings.get(*place)) else { continue };
        if sighting.at.index > reading.began.index {
            continue;
        }
        findings.compared("records seen again at the end");
        let holds = contents.get(&record.voter).is_some_and(|held| held.contains_key(&key(record)));
        if let (false, Some(through)) = (holds, reading.through) {
            gone.entry(key(record)).or_insert((*sighting, through));
        }
    }
    for (sighting, through) in gone.values() {
        findings.breach(&[sighting.at, *through], || {
            let (record, shown) = (sighting.record, at(sighting.at.time_us));
            format!(
                "Voter {} showed {} at {shown}, and no more at {}.",
                record.voter,
                name(record),
                at(through.time_us)
            )
        });
    }
    u64::try_from(gone.len()).unwrap_or(u64::MAX)
}

/// What an edge has handed over lies at more than half of the voters, also of those that joined later: whoever begins
/// to vote has copied what the others have (K-18).
fn majority(findings: &mut Findings, stored: &Stored<'_>, drained: &Drained<'_>, context: &Context) {
    let voters: Vec<_> = context.roster.voters().collect();
    let contents = stored.contents(&stored.last_readings());
    for (key, sighting) in stored.union.iter().filter(|((edge, ..), _)| drained.contains_key(edge)) {
        findings.compared("records counted at all voters");
        let holding =
            voters.iter().filter(|voter| contents.get(voter).is_some_and(|held| held.contains_key(key))).count();
        if holding * 2 <= voters.len() {
            findings.breach(&[sighting.at], || {
                format!(
                    "The spool of edge {} is empty, and only {holding} of {} voters hold {}.",
                    sighting.record.edge,
                    voters.len(),
                    name(sighting.record),
                )
            });
        }
    }
}

/// Links name the record before. Gives how many records are missing inside chains.
fn chains(findings: &mut Findings, stored: &Stored<'_>, drained: &Drained<'_>) -> u64 {
    let mut lost: u64 = 0;
    let mut heads: BTreeMap<(&EdgeId, Digest), Sighting<'_>> = BTreeMap::new();
    let mut digests: BTreeMap<(&EdgeId, Digest), ()> = BTreeMap::new();
    for (key, sighting) in &stored.union {
        digests.insert((key.0, sighting.record.digest), ());
    }
    let mut before: Option<(Key<'_>, Sighting<'_>)> = None;
    for (key, sighting) in &stored.union {
        let (edge, boot, seq) = *key;
        let record = sighting.record;
        let last = before.replace((*key, *sighting)).filter(|((other, of, _), _)| *other == edge && *of == boot);
        let number = last.map_or(0, |((.., number), _)| number);
        let missing = seq.saturating_sub(number).saturating_sub(1);
        if record.kind == "gap" {
            findings.saw("gaps", 1);
        }
        match last {
            Some((_, last)) if missing == 0 => {
                findings.compared("links of chains");
                if last.record.digest != record.previous {
                    findings.breach(&[last.at, sighting.at], || {
                        format!("{} does not name the record before it.", capital(&name(record)))
                    });
                }
            }
            _ if missing > 0 && drained.contains_key(edge) => {
                lost = lost.saturating_add(missing);
                findings.breach(&[sighting.at], || {
                    format!("Before {} {missing} are missing, and no gap tells of them.", name(record))
                });
            }
            None if seq == 1 => {
                findings.compared("beginnings of chains");
                begins(findings, &mut heads, &digests, *sighting, drained.contains_key(edge));
            }
            _ => {}
        }
    }
    lost
}

/// A process begins where one before it ended, and no other does.
fn begins<'a>(
    findings: &mut Findings,
    heads: &mut BTreeMap<(&'a EdgeId, Digest), Sighting<'a>>,
    digests: &BTreeMap<(&EdgeId, Digest), ()>,
    sighting: Sighting<'a>,
    drained: bool,
) {
    let record = sighting.record;
    let head = (&record.edge, record.previous);
    if let Some(other) = heads.insert(head, sighting) {
        findings.breach(&[other.at, sighting.at], || {
            let boots: [BootId; 2] = [other.record.boot, record.boot];
            format!("Processes {} and {} of edge {} both continue the same chain.", boots[0], boots[1], record.edge)
        });
    }
    if drained && record.previous != Digest::default() && !digests.contains_key(&head) {
        findings
            .breach(&[sighting.at], || format!("{} continues a record that no voter holds.", capital(&name(record))));
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// Every decision that somebody was told of is on record once. Gives how many are not, and should be.
fn told(
    findings: &mut Findings,
    events: &[Event],
    story: &Story<'_>,
    stored: &Stored<'_>,
    drained: &Drained<'_>,
) -> u64 {
    let decisions = decisions(stored);
    let crashes = Crashes::of(events);
    let mut counted: BTreeMap<&EdgeId, u64> = BTreeMap::new();
    for sighting in stored.union.values().filter(|sighting| sighting.record.kind == "gap") {
        // One that cannot tell its number stands for a torn tail: for what a process had not written when it ended,
        // which is left out of account anyway.
        let sum = counted.entry(&sighting.record.edge).or_default();
        *sum = sum.saturating_add(sighting.record.gap);
    }
    let mut missing: BTreeMap<&EdgeId, Vec<(Witness, &str)>> = BTreeMap::new();
    for call in &story.calls {
        let Some((answered, outcome)) = call.outcome() else { continue };
        let Some(id) = outcome.decision.as_deref() else { continue };
        let times = decisions.get(id).map_or(0, std::collections::BTreeSet::len);
        if times == 2 && outcome.reason == "obligation_unmet" {
            findings.saw("permits that came too late for the call, and were taken back", 1);
        } else if times > 1 {
            findings.breach(&[call.invoked, answered], || {
                format!("Decision {id} of edge {} is on record {times} times.", call.asked.edge)
            });
        }
        if !drained.contains_key(&call.asked.edge) || recorded_first::is_judged(call) {
            continue;
        }
        findings.compared("decisions looked for on record");
        if times == 0 {
            if crashes.may_have_taken(&call.asked.edge, answered.time_us) {
                findings.saw("decisions lost with the memory of a killed process", 1);
            } else {
                missing.entry(&call.asked.edge).or_default().push((answered, id));
            }
        }
    }
    let mut lost: u64 = 0;
    for (edge, missing) in missing {
        let gone = u64::try_from(missing.len()).unwrap_or(u64::MAX);
        if gone <= counted.get(edge).copied().unwrap_or_default() {
            findings.saw("decisions that gaps stand for", gone);
            continue;
        }
        lost = lost.saturating_add(gone);
        for (answered, id) in missing {
            findings.breach(&[answered], || {
                format!(
                    "Edge {edge} answered decision {id} at {}; it is on no record, and no gap tells of it.",
                    at(answered.time_us)
                )
            });
        }
    }
    lost
}
