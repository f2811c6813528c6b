//! When an edge did not run what was meant for it, because its process had died with that.
//!
//! Such an edge runs what the bundle's manifest names instead, or refuses everything. What other promises expect of an
//! edge that does as the voters say, they do not expect of it meanwhile.

use std::collections::BTreeMap;

use remit_common::id::{EdgeId, LogIndex};

use super::stored::Crashes;
use crate::history::{Edge, Event, What};

/// Spans of time, by edge: from the last look before to the first look after.
pub(super) struct TurnedAway(BTreeMap<EdgeId, Vec<(u64, u64)>>);

impl TurnedAway {
    pub(super) fn of(events: &[Event]) -> Self {
        let mut spans: BTreeMap<EdgeId, Vec<(u64, u64)>> = BTreeMap::new();
        let mut before: BTreeMap<&EdgeId, (u64, bool, Option<LogIndex>)> = BTreeMap::new();
        let crashes = Crashes::of(events);
        for event in events {
            let What::Edge(edge) = &event.what else { continue };
            let (last_us, was, ran) = before.get(&edge.edge).copied().unwrap_or_default();
            let is = !edge.turned_away.is_empty();
            before.insert(&edge.edge, (event.time_us, is, edge.activation));
            let of_edge = spans.entry(edge.edge.clone()).or_default();
            // Between two looks it may have come back without its bundle, and have been given a newer one at once.
            let unseen =
                !was && !is && ran < edge.activation && crashes.may_turn_away(&edge.edge, last_us, event.time_us);
            if unseen {
                of_edge.push((last_us, event.time_us));
            }
            match (was, is) {
                (false, true) => of_edge.push((last_us, u64::MAX)),
                (true, false) => {
                    if let Some((_, until)) = of_edge.last_mut() {
                        *until = event.time_us;
                    }
                }
                (_, _) => {}
            }
        }
        Self(spans)
    }

    /// Whether this edge may have been in that state at any time between these two.
    pub(super) fn touches(&self, edge: &EdgeId, from_us: u64, to_us: u64) -> bool {
        let spans = self.0.get(edge).map(Vec::as_slice).unwrap_or_default();
        spans.iter().any(|(from, until)| *from <= to_us && *until >= from_us)
    }
}

/// Whether what this edge runs is not what the number of its activation names, but what takes its place.
pub(super) fn runs_instead(edge: &Edge) -> bool {
    edge.turned_away.iter().any(|of| Some(of.activation) == edge.activation && Some(of.digest) != edge.digest)
}

/// The highest activation that this edge has done with: it runs its bundle, or has turned it away.
pub(super) fn done_with(edge: &Edge) -> Option<u64> {
    edge.activation.into_iter().chain(edge.turned_away.iter().map(|of| of.activation)).map(|number| number.0).max()
}
