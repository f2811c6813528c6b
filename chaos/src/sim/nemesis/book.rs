//! Who is away, and when: so that episodes do not get in each other's way.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::node::Node;

/// Between two episodes that need the same thing.
const GAP: Duration = Duration::from_millis(400);

/// What only one episode may have at a time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Thing {
    /// The processes and the disk of a node.
    Host(Node),
    /// Its wall clock.
    Clock(Node),
    /// The wall clock of whichever voter: what the mesh promises holds while a majority of them is right (C-52).
    VoterClock,
    /// The network: its healing ends everything at once.
    Network,
}

/// A stretch of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) from: Duration,
    pub(super) to: Duration,
}

#[derive(Debug)]
pub(super) struct Book {
    begin: Duration,
    end: Duration,
    taken: BTreeMap<Thing, Vec<Span>>,
    /// When which voter is away.
    away: Vec<(Node, Span)>,
}

impl Book {
    pub(super) fn new(begin: Duration, end: Duration) -> Self {
        Self { begin, end, taken: BTreeMap::new(), away: Vec::new() }
    }

    pub(super) fn window(&self) -> (Duration, Duration) {
        (self.begin, self.end)
    }

    /// Whether the thing is free all that time, within the window.
    pub(super) fn is_free(&self, thing: &Thing, span: Span) -> bool {
        let overlaps = |other: &Span| span.from < other.to + GAP && other.from < span.to + GAP;
        span.from >= self.begin && span.to <= self.end && !self.taken.get(thing).into_iter().flatten().any(overlaps)
    }

    pub(super) fn take(&mut self, thing: Thing, span: Span) {
        self.taken.entry(thing).or_default().push(span);
    }

    pub(super) fn send_away(&mut self, away: impl IntoIterator<Item = (Node, Span)>) {
        self.away.extend(away);
    }

    /// For how long at most, in one piece, no majority of `voters` would be there if these were away, too.
    pub(super) fn majority_away(&self, voters: usize, more: &[(Node, Span)]) -> Duration {
        let all: Vec<_> = self.away.iter().chain(more).collect();
        let mut moments: Vec<_> = all.iter().flat_map(|(_, span)| [span.from, span.to]).collect();
        moments.sort_unstable();
        moments.dedup();
        let (mut longest, mut since) = (Duration::ZERO, None);
        for at in moments {
            let mut missing: Vec<_> =
                all.iter().filter(|(_, span)| span.from <= at && at < span.to).map(|(node, _)| node).collect();
            missing.sort_unstable();
            missing.dedup();
            if missing.len() * 2 >= voters.max(1) {
                since.get_or_insert(at);
            } else if let Some(since) = since.take() {
                longest = longest.max(at.saturating_sub(since));
            }
        }
        longest
    }
}

#[cfg(test)]
mod tests {
    use remit_common::id::VoterId;

    use super::*;

    fn away(voter: u64, from: u64, to: u64) -> (Node, Span) {
        (Node::Voter(VoterId(voter)), Span { from: Duration::from_secs(from), to: Duration::from_secs(to) })
    }

    #[test]
    fn a_majority_is_away_when_half_are() {
        let mut book = Book::new(Duration::ZERO, Duration::from_secs(100));
        book.send_away([away(1, 10, 20)]);
        let longest = |more: &[_]| book.majority_away(3, more).as_secs();
        assert_eq!(longest(&[]), 0);
        assert_eq!(longest(&[away(1, 15, 30)]), 0, "one voter is away once");
        assert_eq!(longest(&[away(2, 15, 30)]), 5);
        assert_eq!(longest(&[away(2, 15, 18), away(3, 18, 25)]), 5, "without a pause");
        assert_eq!(book.majority_away(5, &[away(2, 0, 99)]).as_secs(), 0);
        assert_eq!(book.majority_away(2, &[]).as_secs(), 10);
    }

    #[test]
    fn what_is_taken_is_not_free() {
        let mut book = Book::new(Duration::from_secs(1), Duration::from_secs(100));
        let span = |from, to| Span { from: Duration::from_secs(from), to: Duration::from_secs(to) };
        book.take(Thing::Network, span(10, 20));
        assert!(!book.is_free(&Thing::Network, span(5, 11)));
        assert!(!book.is_free(&Thing::Network, span(20, 22)));
        assert!(book.is_free(&Thing::Network, span(21, 22)));
        assert!(book.is_free(&Thing::Host(Node::Tools), span(10, 20)));
        assert!(!book.is_free(&Thing::Host(Node::Tools), span(0, 2)));
        assert!(!book.is_free(&Thing::Host(Node::Tools), span(99, 101)));
    }
}
