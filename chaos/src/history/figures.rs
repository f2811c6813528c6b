//! What a run measured, as numbers and series for reports. Nothing here judges.

use std::collections::BTreeMap;

use remit_common::id::{BundleVersion, EdgeId, VoterId};
use serde::{Deserialize, Serialize};

use super::outages::{Outage, outages};
use super::{Event, Kind, Verdict, Voter, What, WriteKind};
use crate::node::Node;

/// Buckets of a series over the whole run; each is a whole number of seconds.
const BUCKETS_MAX: u64 = 240;
/// How long after the end of a fault its write gap may still be open.
const AFTERMATH_US: u64 = 15_000_000;

/// Everything that a run measured.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    /// From the first event to the last, in microseconds.
    pub duration_us: u64,
    /// What was asked for and what came of it, by kind: `call`, `revoke`, `publish`, `read`.
    pub operations: BTreeMap<String, Tally>,
    /// Faults that began, by name.
    pub faults: BTreeMap<String, u64>,
    /// Every fault with its beginning and end.
    pub outages: Vec<Outage>,
    /// After each fault: the longest time without an acknowledged write.
    pub write_gaps: Vec<WriteGap>,
    /// For each node that was started or resumed: how long until it had caught up.
    pub rejoins: Vec<Rejoin>,
    /// Records that were acknowledged and are gone.
    pub records_lost: u64,
    /// Admitted reads that edges refused because of the failure, although what they knew was young enough or should
    /// have been.
    pub reads_refused_by_failure: u64,
    /// Answered calls over time.
    pub decisions: Vec<Bucket>,
    /// Width of each of the [`Self::decisions`], in seconds.
    pub bucket_secs: u64,
    /// How long answered calls took, over the whole run.
    pub latency: Option<Latency>,
    /// Refusals by reason.
    pub refusals: BTreeMap<String, u64>,
    /// How old each edge's knowledge was.
    pub staleness: BTreeMap<EdgeId, Vec<Staleness>>,
    /// In which mode each edge was.
    pub modes: BTreeMap<EdgeId, Vec<Span<String>>>,
    /// Which bundle each edge ran.
    pub bundles: BTreeMap<EdgeId, Vec<Span<Option<BundleVersion>>>>,
    /// Who led, term by term, in the order in which that was seen.
    pub reigns: Vec<Reign>,
}

/// What came of operations of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Begun.
    pub invoked: u64,
    /// Answered.
    pub ok: u64,
    /// Certainly not done.
    pub failed: u64,
    /// Nobody knows: timed out, or the run ended first.
    pub unknown: u64,
}

/// The longest time without an acknowledged write during and after a fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteGap {
    /// The fault.
    pub fault: String,
    /// Whom it hit.
    pub nodes: Vec<Node>,
    /// When the gap began: at the fault, or at an acknowledged write after it.
    pub from_us: u64,
    /// How long it was.
    pub gap_us: u64,
    /// Whether a write was acknowledged afterwards.
    pub ended: bool,
}

/// How a node came back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejoin {
    /// Which.
    pub node: Node,
    /// When it was started or resumed.
    pub from_us: u64,
    /// How long until a voter had applied all that any voter had at that time, or an edge was `fresh`; none if that was
    /// not seen.
    pub took_us: Option<u64>,
}

/// Calls that were answered within one bucket of time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    /// When it begins.
    pub from_us: u64,
    /// Permitted.
    pub permits: u64,
    /// Refused.
    pub denials: u64,
    /// Refused as `stale`, `isolated` or `quarantined`.
    pub refused_as_stale: u64,
    /// How long they took.
    pub latency: Option<Latency>,
}

/// How long answered calls took, in microseconds: nearest-rank percentiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    /// Half took at most this.
    pub p50_us: u64,
    /// 99 of 100 took at most this.
    pub p99_us: u64,
    /// The longest.
    pub max_us: u64,
}

/// How old an edge said its knowledge was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Staleness {
    /// When.
    pub time_us: u64,
    /// How old; none when it could not tell.
    pub age_ms: Option<u64>,
}

/// Something that held for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span<T> {
    /// First seen.
    pub from_us: u64,
    /// Last seen.
    pub to_us: u64,
    /// What.
    pub value: T,
}

/// Who led in a term.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reign {
    /// The term.
    pub term: u64,
    /// The leader.
    pub leader: VoterId,
    /// First seen.
    pub from_us: u64,
    /// Last seen.
    pub to_us: u64,
}

/// Measures a run. [`Figures::records_lost`] and [`Figures::reads_refused_by_failure`] are for the invariants to fill.
#[must_use]
pub fn figures(events: &[Event]) -> Figures {
    let outages = outages(events);
    let bucket_secs = bucket_secs(events);
    let (decisions, latency, refusals) = decisions(events, bucket_secs);
    let (staleness, modes, bundles) = edges(events);
    let mut faults = BTreeMap::new();
    for outage in &outages {
        *faults.entry(outage.name.clone()).or_default() += 1;
    }
    Figures {
        duration_us: duration_us(events),
        operations: operations(events),
        faults,
        write_gaps: write_gaps(events, &outages),
        rejoins: rejoins(events),
        decisions,
        bucket_secs,
        latency,
        refusals,
        staleness,
        modes,
        bundles,
        reigns: reigns(events),
        outages,
        ..Figures::default()
    }
}

fn duration_us(events: &[Event]) -> u64 {
    let time = |event: Option<&Event>| event.map_or(0, |event| event.time_us);
    time(events.last()).saturating_sub(time(events.first()))
}

/// What was asked for and what came of it.
#[must_use]
pub fn operations(events: &[Event]) -> BTreeMap<String, Tally> {
    let mut tallies: BTreeMap<String, Tally> = BTreeMap::new();
    for event in events {
        let name = match &event.what {
            What::Call(_) => "call",
            What::Read(_) => "read",
            What::Records { .. } => "records",
            What::Write(write) => match write.write {
                WriteKind::Revoke { .. } => "revoke",
                WriteKind::Publish { .. } => "publish",
                WriteKind::RollOut { .. } => "roll_out",
                WriteKind::Relate { .. } => "relate",
                WriteKind::Seal { .. } => "seal",
                WriteKind::Envelope { .. } => "envelope",
                WriteKind::Trust { .. } => "trust",
                WriteKind::Voters { .. } => "voters",
            },
            _ => continue,
        };
        let tally = tallies.entry(name.to_owned()).or_default();
        match event.kind {
            Kind::Invoke => tally.invoked += 1,
            Kind::Ok => tally.ok += 1,
            Kind::Fail => tally.failed += 1,
            Kind::Info => {}
        }
    }
    for tally in tallies.values_mut() {
        tally.unknown = tally.invoked.saturating_sub(tally.ok + tally.failed);
    }
    tallies
}

/// The longest time without an acknowledged write during each fault and in the aftermath of it.
fn write_gaps(events: &[Event], outages: &[Outage]) -> Vec<WriteGap> {
    let is_write = |event: &&Event| event.kind == Kind::Ok && matches!(event.what, What::Write(_));
    let mut acknowledged: Vec<u64> = events.iter().filter(is_write).map(|event| event.time_us).collect();
    acknowledged.sort_unstable();
    if acknowledged.is_empty() {
        return Vec::new();
    }
    let end = events.last().map_or(0, |event| event.time_us);
    let gaps = outages.iter().map(|outage| {
        let until = outage.to_us.map_or(end, |to| to.saturating_add(AFTERMATH_US));
        let mut longest = WriteGap {
            fault: outage.name.clone(),
            nodes: outage.nodes.clone(),
            from_us: outage.from_us,
            gap_us: 0,
            ended: true,
        };
        let mut from_us = outage.from_us;
        let first = acknowledged.partition_point(|time| *time <= outage.from_us);
        let rest = acknowledged.get(first..).unwrap_or_default();
        for (time_us, ended) in rest.iter().map(|time| (*time, true)).chain([(end, false)]) {
            let gap_us = time_us.saturating_sub(from_us);
            if from_us <= until && gap_us > longest.gap_us {
                longest = WriteGap { from_us, gap_us, ended, ..longest };
            }
            if time_us > until {
                break;
            }
            from_us = time_us;
        }
        longest
    });
    gaps.collect()
}

/// How long nodes that were started or resumed took to catch up.
fn rejoins(events: &[Event]) -> Vec<Rejoin> {
    let mut rejoins: Vec<Rejoin> = Vec::new();
    // What is still to be seen of each node: its place in the list, and the entry that it has to reach.
    let mut awaited: BTreeMap<&Node, (usize, u64)> = BTreeMap::new();
    let mut applied = 0;
    for event in events {
        let joined = match &event.what {
            What::Fault { name, nodes, begins: true, .. } if name == "start" || name == "resume" => {
                for node in nodes {
                    awaited.insert(node, (rejoins.len(), applied));
                    rejoins.push(Rejoin { node: node.clone(), from_us: event.time_us, took_us: None });
                }
                continue;
            }
            What::Voter(voter) => {
                applied = applied.max(voter.applied.0);
                let follows = voter.leader.is_some() && voter.role != "stopped";
                let node = Node::Voter(voter.voter);
                follows.then_some(node).filter(|node| awaited.get(node).is_some_and(|(_, to)| voter.applied.0 >= *to))
            }
            What::Edge(edge) if edge.mode == "fresh" => Some(Node::Edge(edge.edge.clone())),
            What::Write(write) => {
                applied = applied.max(write.written.as_ref().map_or(0, |written| written.index.0));
                None
            }
            _ => None,
        };
        let Some((at, _)) = joined.and_then(|node| awaited.remove(&node)) else { continue };
        if let Some(rejoin) = rejoins.get_mut(at) {
            rejoin.took_us = Some(event.time_us.saturating_sub(rejoin.from_us));
        }
    }
    rejoins
}

fn bucket_secs(events: &[Event]) -> u64 {
    // Of all events: a file that somebody changed may be out of order.
    let end = events.iter().map(|event| event.time_us).max().unwrap_or(0);
    (end / 1_000_000).div_ceil(BUCKETS_MAX).max(1)
}

/// Nearest-rank percentiles; sorts what it is given.
fn latency(took: &mut [u64]) -> Option<Latency> {
    took.sort_unstable();
    let rank = |percent: usize| took.get((took.len() * percent).div_ceil(100).saturating_sub(1)).copied();
    Some(Latency { p50_us: rank(50)?, p99_us: rank(99)?, max_us: *took.last()? })
}

/// Answered calls over time, how long they took in all, and refusals by reason.
fn decisions(events: &[Event], bucket_secs: u64) -> (Vec<Bucket>, Option<Latency>, BTreeMap<String, u64>) {
    let width = bucket_secs.saturating_mul(1_000_000).max(1);
    let mut invoked: BTreeMap<u64, u64> = BTreeMap::new();
    let mut buckets: BTreeMap<u64, (Bucket, Vec<u64>)> = BTreeMap::new();
    let mut refusals: BTreeMap<String, u64> = BTreeMap::new();
    let mut all = Vec::new();
    for event in events {
        let What::Call(call) = &event.what else { continue };
        if event.kind == Kind::Invoke {
            invoked.insert(event.index, event.time_us);
        }
        let (Kind::Ok, Some(outcome)) = (event.kind, &call.outcome) else { continue };
        let (bucket, took) = buckets.entry(event.time_us / width).or_default();
        match outcome.verdict {
            Verdict::Permit => bucket.permits += 1,
            Verdict::Deny => {
                bucket.denials += 1;
                bucket.refused_as_stale +=
                    u64::from(matches!(outcome.reason.as_str(), "stale" | "isolated" | "quarantined"));
                *refusals.entry(outcome.reason.clone()).or_default() += 1;
            }
        }
        if let Some(from) = call.of.and_then(|of| invoked.get(&of)) {
            took.push(event.time_us.saturating_sub(*from));
            all.push(event.time_us.saturating_sub(*from));
        }
    }
    let last = buckets.keys().next_back().copied();
    let series = last.map_or(0..0, |last| 0..last.saturating_add(1)).map(|at| {
        let (bucket, mut took) = buckets.remove(&at).unwrap_or_default();
        Bucket { from_us: at.saturating_mul(width), latency: latency(&mut took), ..bucket }
    });
    (series.collect(), latency(&mut all), refusals)
}

/// Joins what was seen twice in a row into spans.
fn extend<T: PartialEq>(spans: &mut Vec<Span<T>>, time_us: u64, value: T) {
    if let Some(last) = spans.last_mut() {
        last.to_us = time_us;
        if last.value == value {
            return;
        }
    }
    spans.push(Span { from_us: time_us, to_us: time_us, value });
}

type ByEdge<T> = BTreeMap<EdgeId, Vec<T>>;
type Bundles = ByEdge<Span<Option<BundleVersion>>>;

/// Staleness, modes and bundles of each edge over time.
fn edges(events: &[Event]) -> (ByEdge<Staleness>, ByEdge<Span<String>>, Bundles) {
    let (mut staleness, mut modes, mut bundles) = (ByEdge::new(), ByEdge::new(), ByEdge::new());
    for event in events {
        let What::Edge(edge) = &event.what else { continue };
        let (id, time_us) = (&edge.edge, event.time_us);
        staleness.entry(id.clone()).or_default().push(Staleness { time_us, age_ms: edge.staleness_ms });
        extend(modes.entry(id.clone()).or_default(), time_us, edge.mode.clone());
        extend(bundles.entry(id.clone()).or_default(), time_us, edge.bundle);
    }
    (staleness, modes, bundles)
}

/// Who led, as the leaders themselves say.
fn reigns(events: &[Event]) -> Vec<Reign> {
    let mut reigns: BTreeMap<(u64, VoterId), Reign> = BTreeMap::new();
    for event in events {
        let What::Voter(Voter { voter, term, role, .. }) = &event.what else { continue };
        if role == "leader" {
            let new = Reign { term: *term, leader: *voter, from_us: event.time_us, to_us: event.time_us };
            reigns.entry((*term, *voter)).or_insert(new).to_us = event.time_us;
        }
    }
    let mut reigns: Vec<Reign> = reigns.into_values().collect();
    reigns.sort_by_key(|reign| reign.from_us);
    reigns
}

#[cfg(test)]
mod tests;
