//! The figures of a run that a drill may limit.

use std::collections::{BTreeMap, BTreeSet};

use remit_common::id::VoterId;

use super::action::Fault;
use super::outcome::Limit;
use super::pulse::float_of;
use crate::history::figures::Figures;
use crate::history::{Event, Kind, What, WriteKind};
use crate::invariant::lineage;
use crate::node::{Node, Roster};

/// A figure of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Figure {
    /// The longest time without an acknowledged write during and after a fault.
    WriteGapMs,
    /// The longest time that a node that came back needed to catch up.
    RejoinMs,
    /// The longest time from the acknowledgement of a revocation until every edge had signed that it enforces it.
    CoverageMs,
    /// The oldest knowledge that any edge had.
    StalenessMs,
    /// The slowest hundredth of calls took at least this.
    P99CallMs,
    /// Admitted reads that edges refused because of the failure.
    ReadsRefused,
    /// Calls refused because the edge's knowledge was too old.
    StaleRefusals,
    /// Records that were acknowledged and are gone.
    RecordsLost,
    /// Calls without an answer, in percent.
    UnansweredPercent,
    /// Lies that no edge listened to: about those the run says nothing.
    LiesUnheard,
    /// Calls that were refused as revoked although nobody had cut them or anything above them.
    CutTooMuch,
}

impl Figure {
    /// Every figure.
    pub const ALL: [Self; 11] = [
        Self::WriteGapMs,
        Self::RejoinMs,
        Self::CoverageMs,
        Self::StalenessMs,
        Self::P99CallMs,
        Self::ReadsRefused,
        Self::StaleRefusals,
        Self::RecordsLost,
        Self::UnansweredPercent,
        Self::LiesUnheard,
        Self::CutTooMuch,
    ];

    /// As drill files name it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::WriteGapMs => "write-gap-ms",
            Self::RejoinMs => "rejoin-ms",
            Self::CoverageMs => "coverage-ms",
            Self::StalenessMs => "staleness-ms",
            Self::P99CallMs => "p99-call-ms",
            Self::ReadsRefused => "reads-refused",
            Self::StaleRefusals => "stale-refusals",
            Self::RecordsLost => "records-lost",
            Self::UnansweredPercent => "unanswered-percent",
            Self::LiesUnheard => "lies-unheard",
            Self::CutTooMuch => "cut-too-much",
        }
    }

    /// What it measures, for people.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::WriteGapMs => "Longest time without an acknowledged write, during and after a fault",
            Self::RejoinMs => "Longest time that a node that came back needed to catch up",
            Self::CoverageMs => "Longest time from a revocation's acknowledgement until every edge enforced it",
            Self::StalenessMs => "Oldest knowledge that any edge had",
            Self::P99CallMs => "Time within which 99 of 100 calls were answered",
            Self::ReadsRefused => "Admitted reads that were refused because of the failure",
            Self::StaleRefusals => "Calls refused because the edge's knowledge was too old",
            Self::RecordsLost => "Acknowledged decision records that are gone",
            Self::UnansweredPercent => "Calls without an answer",
            Self::LiesUnheard => "Lies that no edge listened to",
            Self::CutTooMuch => "Calls refused as revoked that nobody had cut, nor anything above them",
        }
    }

    /// In what it measures.
    #[must_use]
    pub fn unit(self) -> &'static str {
        match self {
            Self::WriteGapMs | Self::RejoinMs | Self::CoverageMs | Self::StalenessMs | Self::P99CallMs => "ms",
            Self::ReadsRefused | Self::StaleRefusals | Self::RecordsLost | Self::LiesUnheard | Self::CutTooMuch => {
                "count"
            }
            Self::UnansweredPercent => "percent",
        }
    }

    /// Which of these faults a drill needs so that there is anything to measure; any will do.
    pub(super) fn needs(self) -> Option<&'static [&'static str]> {
        match self {
            Self::RejoinMs => Some(&["kill", "power-cut", "stop", "pause", "start", "resume", "fsync-error", "lie"]),
            Self::LiesUnheard => Some(&["lie"]),
            _ => None,
        }
    }

    /// The names of all.
    pub(super) fn names() -> Vec<&'static str> {
        Self::ALL.iter().map(|figure| figure.name()).collect()
    }

    /// The figure of this name.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|figure| figure.name() == name)
    }

    /// What it was; none when the run gave nothing to measure.
    #[must_use]
    pub fn measure(self, events: &[Event], figures: &Figures, roster: &Roster) -> Option<f64> {
        let millis = |us: u64| float_of(us) / 1_000.0;
        match self {
            // A gap that had not ended when the run did was at least as long as that.
            Self::WriteGapMs => figures.write_gaps.iter().map(|gap| gap.gap_us).max().map(millis),
            Self::RejoinMs => {
                let all: Option<Vec<u64>> = figures.rejoins.iter().map(|rejoin| rejoin.took_us).collect();
                all?.into_iter().max().map(millis)
            }
            Self::CoverageMs => coverage_us(events, roster).map(millis),
            Self::StalenessMs => {
                let ages = figures.staleness.values().flatten().filter_map(|staleness| staleness.age_ms);
                ages.max().map(float_of)
            }
            Self::P99CallMs => figures.latency.map(|latency| millis(latency.p99_us)),
            Self::ReadsRefused => Some(float_of(figures.reads_refused_by_failure)),
            Self::StaleRefusals => Some(float_of(figures.refusals.get("stale").copied().unwrap_or_default())),
            Self::RecordsLost => Some(float_of(figures.records_lost)),
            Self::UnansweredPercent => {
                let calls = figures.operations.get("call")?;
                (calls.invoked > 0).then(|| 100.0 * float_of(calls.unknown) / float_of(calls.invoked))
            }
            Self::LiesUnheard => lies_unheard(events).map(float_of),
            Self::CutTooMuch => cut_too_much(events).map(float_of),
        }
    }

    /// Against its limit.
    #[must_use]
    pub fn limited(self, limit: f64, events: &[Event], figures: &Figures, roster: &Roster) -> Limit {
        let measured = self.measure(events, figures, roster);
        let (name, meaning) = (self.name().to_owned(), self.meaning().to_owned());
        let within = measured.is_some_and(|measured| measured <= limit);
        Limit { name, meaning, limit, unit: self.unit(), measured, within }
    }
}

/// How many lies ended, by another one or with the run, before any edge had listened; none if nobody lied.
fn lies_unheard(events: &[Event]) -> Option<u64> {
    // By voter: whether the newest lie in its place has been heard.
    let mut newest: BTreeMap<VoterId, bool> = BTreeMap::new();
    let mut unheard = 0;
    for event in events {
        match &event.what {
            What::Fault { begins: true, fault: Some(Fault::Lie { node: Node::Voter(voter), .. }), .. } => {
                unheard += u64::from(newest.insert(*voter, false) == Some(false));
            }
            What::Lied { voter, .. } => {
                newest.entry(*voter).and_modify(|heard| *heard = true);
            }
            _ => {}
        }
    }
    let open = newest.values().filter(|heard| !**heard).count();
    (!newest.is_empty()).then(|| unheard + u64::try_from(open).unwrap_or(u64::MAX))
}

/// How many calls were refused as revoked that nobody had asked to cut, at any time; none unless a sibling of a hop that
/// was cut was in use afterwards, for of anybody else it says little.
fn cut_too_much(events: &[Event]) -> Option<u64> {
    let mut cut: BTreeMap<&str, u64> = BTreeMap::new();
    for event in events {
        if let (What::Write(write), Kind::Invoke) = (&event.what, event.kind)
            && let WriteKind::Revoke { session } = &write.write
        {
            cut.entry(session).or_insert(event.index);
        }
    }
    let parents: BTreeMap<&str, u64> =
        cut.iter().filter_map(|(name, index)| Some((name.rsplit_once('/')?.0, *index))).collect();
    let (mut siblings, mut wrong) = (0, 0);
    for event in events {
        let What::Call(call) = &event.what else { continue };
        let Some(outcome) = &call.outcome else { continue };
        if lineage(&call.session).any(|name| cut.contains_key(name)) {
            continue;
        }
        wrong += u64::from(outcome.reason == "revoked");
        siblings += u64::from(lineage(&call.session).any(|name| parents.get(name).is_some_and(|at| *at < event.index)));
    }
    (siblings > 0).then_some(wrong)
}

/// From the acknowledgement of a revocation to the first answer that names every edge, at the slowest. Revocations of
/// which nobody asked until all edges were named say nothing.
fn coverage_us(events: &[Event], roster: &Roster) -> Option<u64> {
    let all: BTreeSet<_> = roster.edges().collect();
    let mut acknowledged = BTreeMap::new();
    let mut covered: BTreeMap<_, u64> = BTreeMap::new();
    for event in events {
        match (&event.what, event.kind) {
            (What::Write(write), Kind::Ok) if matches!(write.write, WriteKind::Revoke { .. }) => {
                if let Some(epoch) = write.written.as_ref().and_then(|written| written.epoch) {
                    acknowledged.insert(epoch, event.time_us);
                }
            }
            (What::Coverage { epoch, covered: by }, _) if by.iter().collect::<BTreeSet<_>>().is_superset(&all) => {
                covered.entry(*epoch).or_insert(event.time_us);
            }
            _ => {}
        }
    }
    covered.iter().filter_map(|(epoch, at)| Some(at.saturating_sub(*acknowledged.get(epoch)?))).max()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use remit_common::id::EdgeId;

    use super::*;
    use crate::drill::action::Lie;
    use crate::history::History;

    #[test]
    fn a_lie_that_no_edge_listened_to_is_counted() {
        let lie = |voter| {
            let fault = Fault::Lie { node: Node::Voter(VoterId(voter)), lie: Lie::Old };
            let (name, nodes, detail) = (fault.name().to_owned(), fault.nodes(), String::new());
            What::Fault { name, nodes, detail, begins: true, fault: Some(fault) }
        };
        let lied = |voter| What::Lied { voter: VoterId(voter), edge: EdgeId::new("eu-1").unwrap() };
        let check = |happened: Vec<What>, expected: Option<f64>| {
            let history = History::default();
            for what in happened {
                history.note(Duration::ZERO, "world", Kind::Info, what);
            }
            let measured = Figure::LiesUnheard.measure(&history.events(), &Figures::default(), &Roster::default());
            assert_eq!(measured, expected, "{:?}", history.events());
        };
        check(vec![], None);
        check(vec![lie(3)], Some(1.0));
        check(vec![lie(3), lied(3)], Some(0.0));
        check(vec![lie(3), lied(2)], Some(1.0));
        check(vec![lie(3), lied(3), lied(3), lie(3)], Some(1.0));
        check(vec![lie(3), lie(3), lied(3)], Some(1.0));
        check(vec![lie(3), lie(2), lied(2), lied(3)], Some(0.0));
    }
}
