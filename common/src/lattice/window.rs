//! Time: a half-open interval; the meet is the overlap.

use crate::time::Timestamp;

/// From `not_before` up to, but not including, `expires`. An empty one cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Window {
    not_before: Timestamp,
    expires: Timestamp,
}

impl Window {
    /// The window between two times; `None` when nothing lies between them.
    #[must_use]
    pub fn new(not_before: Timestamp, expires: Timestamp) -> Option<Self> {
        (not_before < expires).then_some(Self { not_before, expires })
    }

    /// The first moment inside.
    #[must_use]
    pub const fn not_before(&self) -> Timestamp {
        self.not_before
    }

    /// The first moment after.
    #[must_use]
    pub const fn expires(&self) -> Timestamp {
        self.expires
    }

    /// Whether the moment lies inside.
    #[must_use]
    pub fn contains(&self, now: Timestamp) -> bool {
        self.not_before <= now && now < self.expires
    }

    /// The overlap; `None` when there is none.
    #[must_use]
    pub fn meet(&self, other: &Self) -> Option<Self> {
        Self::new(self.not_before.max(other.not_before), self.expires.min(other.expires))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Clause L-1 over every window on a line of eight moments.
    #[test]
    fn the_meet_is_exact() {
        let moments: Vec<Timestamp> = (0..8).map(Timestamp::from_millis).collect();
        let all: Vec<Window> =
            moments.iter().flat_map(|from| moments.iter().filter_map(|to| Window::new(*from, *to))).collect();
        assert_eq!(all.len(), 28);
        for a in &all {
            for now in &moments {
                assert_eq!(a.contains(*now), a.not_before() <= *now && *now < a.expires(), "{now} in {a:?}");
            }
            for b in &all {
                for now in &moments {
                    let both = a.contains(*now) && b.contains(*now);
                    assert_eq!(a.meet(b).is_some_and(|meet| meet.contains(*now)), both, "{a:?} ∧ {b:?} at {now}");
                }
            }
        }
    }
}
