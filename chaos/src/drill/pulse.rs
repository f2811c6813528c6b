//! What everybody has seen lately: what probes measure, and who leads.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use remit_common::id::{BundleVersion, EdgeId, VoterId};
use remit_control_plane::registry::RolloutStatus;

use super::probe::Probe;
use crate::history::{Edge, Event, Kind, Verdict, Voter, What, WriteKind};
use crate::invariant::lineage;

/// How long calls are remembered; the longest window of a probe.
pub(super) const WINDOW_MAX: Duration = Duration::from_secs(120);
/// How long ago a node must have been heard to count.
const HEARD_WITHIN_US: u64 = 5_000_000;
/// How long a bundle or a relation may be on its way to an edge that hears everything, and until somebody looks there.
const ON_ITS_WAY_US: u64 = 5_000_000;

/// A call that returned, or did not.
struct Called {
    at_us: u64,
    took_us: Option<u64>,
    /// Whether nothing was ever done against it, and its answer may be shown.
    due: bool,
    /// Whether the policy permits it only while a relation holds.
    rests: bool,
    /// Whether that relation had held for a while.
    related: bool,
    admitted: bool,
    permitted: bool,
}

/// What everybody has seen lately.
#[derive(Default)]
pub(super) struct Pulse {
    /// Up to which event.
    pub(super) seen: u64,
    invoked: BTreeMap<u64, u64>,
    calls: VecDeque<Called>,
    cut: BTreeSet<String>,
    /// Since when each relation surely holds.
    held: BTreeMap<String, u64>,
    voters: BTreeMap<VoterId, (u64, Voter)>,
    edges: BTreeMap<EdgeId, (u64, Edge)>,
    written_us: Option<u64>,
    /// When each good bundle was acknowledged.
    published: BTreeMap<BundleVersion, u64>,
}

impl Pulse {
    /// Takes what has been noted since the last time.
    pub(super) fn absorb(&mut self, events: &[Event]) {
        for event in events {
            self.seen = event.index + 1;
            match (&event.what, event.kind) {
                (What::Call(_), Kind::Invoke) => {
                    self.invoked.insert(event.index, event.time_us);
                }
                (What::Call(call), kind) => {
                    let from = call.of.and_then(|of| self.invoked.remove(&of));
                    let answered = call.outcome.as_ref().filter(|_| kind == Kind::Ok);
                    self.calls.push_back(Called {
                        at_us: event.time_us,
                        took_us: answered.and(from).map(|from| event.time_us.saturating_sub(from)),
                        due: call.admitted
                            && !call.leaks
                            && !lineage(&call.session).any(|name| self.cut.contains(name)),
                        rests: call.rests_on.is_some(),
                        related: self.held_at(call.rests_on.as_deref(), from),
                        admitted: call.admitted,
                        permitted: answered.is_some_and(|outcome| outcome.verdict == Verdict::Permit),
                    });
                }
                (What::Write(write), kind) => {
                    if let WriteKind::Revoke { session } = &write.write {
                        self.cut.insert(session.clone());
                    }
                    match (&write.write, kind) {
                        (WriteKind::Relate { relation, holds: true }, Kind::Ok) => {
                            self.held.entry(relation.clone()).or_insert(event.time_us);
                        }
                        (WriteKind::Relate { relation, holds: false }, Kind::Invoke) => {
                            self.held.remove(relation);
                        }
                        _ => {}
                    }
                    if kind == Kind::Ok {
                        self.written_us = Some(event.time_us);
                        if let WriteKind::Publish { version, good: true, .. } = write.write {
                            self.published.entry(version).or_insert(event.time_us);
                        }
                    }
                }
                (What::Rollout(rollout), _)
                    if rollout.steps.last().is_some_and(|step| step.status == RolloutStatus::Completed) =>
                {
                    self.published.entry(rollout.version).or_insert(event.time_us);
                }
                (What::Voter(voter), _) => {
                    self.voters.insert(voter.voter, (event.time_us, voter.clone()));
                }
                (What::Edge(edge), _) => {
                    self.edges.insert(edge.edge.clone(), (event.time_us, edge.clone()));
                }
                _ => {}
            }
        }
        let now = events.last().map_or(0, |event| event.time_us);
        let oldest = now.saturating_sub(micros(WINDOW_MAX));
        while self.calls.front().is_some_and(|call| call.at_us < oldest) {
            self.calls.pop_front();
        }
    }

    /// Whether a relation held when a call was asked for, long enough that edges could know.
    fn held_at(&self, relation: Option<&str>, from: Option<u64>) -> bool {
        let since = relation.and_then(|relation| self.held.get(relation));
        since.zip(from).is_some_and(|(since, from)| since.saturating_add(ON_ITS_WAY_US) <= from)
    }

    /// Who leads: whoever of those heard lately says so in the highest term.
    pub(super) fn leader(&self, now: Duration) -> Option<VoterId> {
        let leaders = self.voters_at(now).filter(|voter| voter.role == "leader");
        leaders.max_by_key(|voter| voter.term).map(|voter| voter.voter)
    }

    fn voters_at(&self, now: Duration) -> impl Iterator<Item = &Voter> {
        let since = micros(now).saturating_sub(HEARD_WITHIN_US);
        self.voters.values().filter(move |(at, _)| *at >= since).map(|(_, voter)| voter)
    }

    fn edges_at(&self, now: Duration) -> impl Iterator<Item = &Edge> {
        let since = micros(now).saturating_sub(HEARD_WITHIN_US);
        self.edges.values().filter(move |(at, _)| *at >= since).map(|(_, edge)| edge)
    }

    /// What a probe measures over the last `window`; none when there is nothing to measure.
    pub(super) fn measure(&self, probe: Probe, now: Duration, window: Duration) -> Option<f64> {
        let since = micros(now).saturating_sub(micros(window));
        let calls = || self.calls.iter().filter(move |call| call.at_us >= since);
        let answered = || calls().filter(|call| call.took_us.is_some());
        match probe {
            Probe::PermitShare => {
                let due = || answered().filter(|call| call.due && !call.rests);
                share(due().filter(|call| call.permitted).count(), due().count())
            }
            Probe::RelationPermitShare => {
                let rest = || answered().filter(|call| call.due && call.related);
                share(rest().filter(|call| call.permitted).count(), rest().count())
            }
            Probe::AnswerShare => share(answered().count(), calls().count()),
            Probe::CallsPerSecond => Some(float(answered().count()) / window.as_secs_f64().max(0.001)),
            Probe::P99CallMs => {
                let mut took: Vec<u64> = answered().filter_map(|call| call.took_us).collect();
                took.sort_unstable();
                let rank = (took.len() * 99).div_ceil(100).saturating_sub(1);
                took.get(rank).map(|us| float_of(*us) / 1_000.0)
            }
            Probe::WrongPermits => Some(float(calls().filter(|call| call.permitted && !call.admitted).count())),
            Probe::VotersWithLeader => {
                let leading = |voter: &&Voter| voter.leader.is_some() && voter.role != "stopped";
                Some(float(self.voters_at(now).filter(leading).count()))
            }
            Probe::WriteAgeMs => self.written_us.map(|at| float_of(micros(now).saturating_sub(at)) / 1_000.0),
            Probe::FreshEdges => Some(float(self.edges_at(now).filter(|edge| edge.mode == "fresh").count())),
            Probe::CurrentEdges => {
                // One that was published a moment ago is still on its way.
                let known = micros(now).saturating_sub(ON_ITS_WAY_US);
                let newest = self.published.iter().rev().find(|(_, at)| **at <= known).map(|(version, _)| *version);
                Some(float(self.edges_at(now).filter(|edge| edge.bundle >= newest).count()))
            }
            Probe::StalenessMs => {
                let ages = self.edges_at(now).map(|edge| edge.staleness_ms.map_or(f64::INFINITY, float_of));
                ages.max_by(f64::total_cmp).filter(|age| age.is_finite())
            }
            Probe::Spool => self.edges_at(now).map(|edge| edge.spool).max().map(float_of),
        }
    }
}

fn share(part: usize, all: usize) -> Option<f64> {
    (all > 0).then(|| float(part) / float(all))
}

fn float(count: usize) -> f64 {
    float_of(u64::try_from(count).unwrap_or(u64::MAX))
}

#[expect(clippy::cast_precision_loss, clippy::as_conversions, reason = "counts and times of a run fit 52 bits")]
pub(super) fn float_of(value: u64) -> f64 {
    value as f64
}

pub(super) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
