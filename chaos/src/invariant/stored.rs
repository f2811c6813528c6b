//! Records as voters' stores were seen to hold them.

use std::collections::{BTreeMap, BTreeSet};

use remit_common::crypto::digest::Digest;
use remit_common::id::{BootId, EdgeId, VoterId};

use super::context::Context;
use super::story::Story;
use super::verdict::Witness;
use crate::history::outages::{Outage, outages};
use crate::history::{Event, Kind, RecordSeen, What};
use crate::node::Node;

/// Names a record: whose, of which start of its process, which number.
pub(super) type Key<'a> = (&'a EdgeId, BootId, u64);

/// A record, seen.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sighting<'a> {
    pub(super) at: Witness,
    pub(super) record: &'a RecordSeen,
    /// The reading of a whole store that showed it; none if it was seen while following the store's end.
    pub(super) reading: Option<usize>,
}

/// The reading of one voter's whole store.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) voter: VoterId,
    pub(super) began: Witness,
    /// When it was through; none if it broke off.
    pub(super) through: Option<Witness>,
}

/// Everything that was seen of records.
pub(super) struct Stored<'a> {
    pub(super) sightings: Vec<Sighting<'a>>,
    pub(super) readings: Vec<Reading>,
    /// Each record that was seen anywhere, as it was seen first.
    pub(super) union: BTreeMap<Key<'a>, Sighting<'a>>,
}

pub(super) fn key(record: &RecordSeen) -> Key<'_> {
    (&record.edge, record.boot, record.seq)
}

impl<'a> Stored<'a> {
    pub(super) fn of(events: &'a [Event]) -> Self {
        let mut stored = Self { sightings: Vec::new(), readings: Vec::new(), union: BTreeMap::new() };
        let mut open: BTreeMap<VoterId, usize> = BTreeMap::new();
        for event in events {
            let at = Witness::from(event);
            match &event.what {
                What::Records { voter, .. } if event.kind == Kind::Invoke => {
                    open.insert(*voter, stored.readings.len());
                    stored.readings.push(Reading { voter: *voter, began: at, through: None });
                }
                What::Records { voter, .. } => {
                    let reading = open.remove(voter).and_then(|place| stored.readings.get_mut(place));
                    if let (Some(reading), Kind::Ok) = (reading, event.kind) {
                        reading.through = Some(at);
                    }
                }
                What::Record(record) => {
                    let sighting = Sighting { at, record, reading: open.get(&record.voter).copied() };
                    stored.sightings.push(sighting);
                    stored.union.entry(key(record)).or_insert(sighting);
                }
                _ => {}
            }
        }
        stored
    }

    /// The last whole reading of each voter.
    pub(super) fn last_readings(&self) -> BTreeMap<VoterId, usize> {
        let whole = self.readings.iter().enumerate().filter(|(_, reading)| reading.through.is_some());
        whole.map(|(place, reading)| (reading.voter, place)).collect()
    }

    /// The digests of the records of each of these readings.
    pub(super) fn contents(&self, readings: &BTreeMap<VoterId, usize>) -> BTreeMap<VoterId, BTreeMap<Key<'a>, Digest>> {
        let mut contents: BTreeMap<VoterId, BTreeMap<Key<'a>, Digest>> =
            readings.keys().map(|voter| (*voter, BTreeMap::new())).collect();
        for sighting in &self.sightings {
            let record = sighting.record;
            if sighting.reading.is_some() && sighting.reading == readings.get(&record.voter).copied() {
                contents.entry(record.voter).or_default().insert(key(record), record.digest);
            }
        }
        contents
    }
}

/// Edges that had handed over everything, and when they said so.
pub(super) type Drained<'a> = BTreeMap<&'a EdgeId, Witness>;

/// Finds them: the stores of all voters were read afterwards, and nobody called them meanwhile.
pub(super) fn drained<'a>(
    events: &'a [Event],
    story: &Story<'_>,
    stored: &Stored<'_>,
    context: &Context,
) -> Drained<'a> {
    let last = stored.last_readings();
    let began =
        |voter| last.get(&voter).and_then(|place| stored.readings.get(*place)).map(|reading| reading.began.index);
    let read_from: Option<Vec<u64>> = context.roster.voters().map(began).collect();
    let Some(read_from) = read_from.and_then(|began| began.into_iter().min()) else { return BTreeMap::new() };
    let mut spools: BTreeMap<&EdgeId, (u64, Witness)> = BTreeMap::new();
    for event in events.iter().filter(|event| event.index < read_from) {
        if let What::Edge(edge) = &event.what {
            spools.insert(&edge.edge, (edge.spool, Witness::from(event)));
        }
    }
    let mut busy_until: BTreeMap<&EdgeId, u64> = BTreeMap::new();
    for call in &story.calls {
        let until = call.answer().map_or(call.invoked.time_us, |(at, _)| at.time_us);
        let last = busy_until.entry(&call.asked.edge).or_default();
        *last = until.max(*last);
    }
    let is_done = |edge: &EdgeId, at: Witness| {
        busy_until.get(edge).is_none_or(|until| until.saturating_add(FLUSHED_WITHIN_US) < at.time_us)
    };
    let done = spools.into_iter().filter(|(edge, (spool, at))| *spool == 0 && is_done(edge, *at));
    done.map(|(edge, (_, at))| (edge, at)).collect()
}

/// How long a record may wait in memory (50 ms, docs/PROTOCOL.md G-16), with the flush and a slow disk.
const FLUSHED_WITHIN_US: u64 = 1_000_000;
/// Faults in which an edge's process ends without being asked.
const CRASHES: [&str; 2] = ["kill", "power-cut"];
/// Faults during which records may wait in memory for longer.
const SLOWS: [&str; 4] = ["pause", "cpu-limit", "disk-full", "fsync-error"];

/// When edges lost what they had not written yet.
pub(super) struct Crashes(Vec<Outage>);

impl Crashes {
    pub(super) fn of(events: &[Event]) -> Self {
        Self(outages(events))
    }

    /// Whether this edge's process died between these two moments, and not for the first time: with two deaths a bundle
    /// on trial is turned away (clause B-32).
    pub(super) fn may_turn_away(&self, edge: &EdgeId, from_us: u64, to_us: u64) -> bool {
        let node = Node::Edge(edge.clone());
        let deaths = || self.deaths(&node);
        deaths().filter(|at| *at <= to_us).count() >= 2 && deaths().any(|at| (from_us..=to_us).contains(&at))
    }

    /// When this node's process ended without being asked.
    fn deaths<'a>(&'a self, node: &'a Node) -> impl Iterator<Item = u64> + 'a {
        let of_it = move |outage: &&Outage| CRASHES.contains(&outage.name.as_str()) && outage.nodes.contains(node);
        self.0.iter().filter(of_it).map(|outage| outage.from_us)
    }

    /// Whether the record of a decision that was answered at this moment may have gone with the memory of the process.
    pub(super) fn may_have_taken(&self, edge: &EdgeId, answered_us: u64) -> bool {
        let node = Node::Edge(edge.clone());
        let slow = |outage: &&Outage| SLOWS.contains(&outage.name.as_str()) && outage.nodes.contains(&node);
        let waits_until = |outage: &Outage| outage.to_us.map_or(u64::MAX, |to| to.saturating_add(FLUSHED_WITHIN_US));
        let written_us = answered_us.saturating_add(FLUSHED_WITHIN_US);
        let slowed = self.0.iter().filter(slow).filter(|outage| outage.from_us <= written_us);
        let slowed = slowed.map(waits_until).filter(|until| *until >= answered_us).max().unwrap_or(0);
        let span = answered_us..=written_us.max(slowed);
        self.deaths(&node).any(|at| span.contains(&at))
    }
}

/// Decisions that are on record, and how often.
pub(super) fn decisions<'a>(stored: &Stored<'a>) -> BTreeMap<&'a str, BTreeSet<Key<'a>>> {
    let mut decisions: BTreeMap<&str, BTreeSet<Key<'a>>> = BTreeMap::new();
    for (key, sighting) in &stored.union {
        if let ("decision", Some(decision)) = (sighting.record.kind.as_str(), &sighting.record.decision) {
            decisions.entry(decision).or_default().insert(*key);
        }
    }
    decisions
}
