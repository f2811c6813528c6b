//! Counters that are taken once each, in any order, as long as they are not too far behind.
//!
//! Requests overtake each other, so a strictly rising counter would refuse honest ones. What is [`WIDTH`] or more
//! behind the highest is refused unseen, for nothing is remembered of it. Clause X-7.

use crate::limits::PROOF_WINDOW;
use crate::planted::{Bug, planted};

/// Counters that may still come, the highest included.
const WIDTH: u64 = PROOF_WINDOW;
const WORD_BITS: u64 = 64;
const WORDS: usize = 16;

/// A counter was taken before, or is too old for anybody to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the counter has been used, or is {WIDTH} or more behind the highest")]
pub struct Replayed;

/// Which counters have been taken.
// INVARIANT: bit `c % WIDTH` says whether counter c was taken, for the WIDTH counters that end with `high`.
#[derive(Debug, Clone)]
pub struct Window {
    high: u64,
    taken: [u64; WORDS],
}

impl Window {
    /// A window in which counters above `base` may come, and none up to it.
    #[must_use]
    pub fn above(base: u64) -> Self {
        Self { high: base, taken: [u64::MAX; WORDS] }
    }

    /// Whether the counter may still be taken.
    ///
    /// # Errors
    /// [`Replayed`].
    pub fn check(&self, counter: u64) -> Result<(), Replayed> {
        if counter > self.high || counter == self.high && planted(Bug::HighestCounterCountsAgain) {
            return Ok(());
        }
        let is_known = self.high.saturating_sub(counter) < WIDTH;
        let (word, bit) = place(counter);
        let is_taken = self.taken.get(word).is_none_or(|word| word & bit != 0);
        if is_known && !is_taken { Ok(()) } else { Err(Replayed) }
    }

    /// Takes the counter: from now on it is refused.
    ///
    /// # Errors
    /// [`Replayed`]; nothing has changed.
    pub fn take(&mut self, counter: u64) -> Result<(), Replayed> {
        self.check(counter)?;
        if counter.saturating_sub(self.high) >= WIDTH {
            self.taken = [0; WORDS];
        } else {
            for skipped in self.high.saturating_add(1)..=counter {
                let (word, bit) = place(skipped);
                if let Some(word) = self.taken.get_mut(word) {
                    *word &= !bit;
                }
            }
        }
        self.high = self.high.max(counter);
        let (word, bit) = place(counter);
        if let Some(word) = self.taken.get_mut(word) {
            *word |= bit;
        }
        Ok(())
    }
}

fn place(counter: u64) -> (usize, u64) {
    let at = counter % WIDTH;
    (usize::try_from(at / WORD_BITS).unwrap_or(usize::MAX), 1 << (at % WORD_BITS))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_bits_are_as_many_as_the_window_is_wide() {
        assert_eq!(u64::try_from(WORDS).unwrap() * WORD_BITS, WIDTH);
    }

    #[test]
    fn the_edges_of_the_window() {
        for high in [5_000, 1_024, 2_047, 2_048, u64::MAX] {
            let mut window = Window::above(0);
            window.take(high).unwrap();
            let mut check = |behind: u64, expected| {
                assert_eq!(window.take(high - behind), expected, "{behind} behind {high}");
            };
            check(0, Err(Replayed));
            check(1, Ok(()));
            check(1, Err(Replayed));
            check(1_023, Ok(()));
            check(1_023, Err(Replayed));
            check(1_024, Err(Replayed));
        }
    }

    #[test]
    fn nothing_up_to_the_base_is_taken() {
        for base in [0, 1, 63, 64, 1_023, 1_024, 70_000] {
            let mut window = Window::above(base);
            for counter in [0, base / 2, base] {
                assert_eq!(window.take(counter), Err(Replayed), "{counter} of {base}");
            }
            assert_eq!(window.take(base + 1), Ok(()));
            assert_eq!(window.take(base), Err(Replayed));
            assert_eq!(window.take(base + 1_024), Ok(()));
            assert_eq!(window.take(base + 1), Err(Replayed));
            assert_eq!(window.take(base + 2), Ok(()));
        }
        assert_eq!(Window::above(u64::MAX).take(u64::MAX), Err(Replayed));
    }

    proptest! {
        /// Against a set that forgets nothing, in an order with repeats, leaps and stragglers.
        #[test]
        fn each_counter_is_taken_at_most_once(
            base in 0u64..3_000,
            steps in prop::collection::vec((0u64..4, 0u64..2_500), 1..400),
        ) {
            let (mut window, mut taken, mut high) = (Window::above(base), BTreeSet::new(), base);
            for (kind, amount) in steps {
                let counter = match kind {
                    0 => high + 1 + amount,
                    1 => high + 1,
                    2 => high.saturating_sub(amount),
                    _ => high.saturating_sub(amount % 8),
                };
                let may = counter > base && !taken.contains(&counter) && (counter > high || high - counter < 1_024);
                prop_assert_eq!(window.check(counter).is_ok(), may, "{} with {} highest", counter, high);
                prop_assert_eq!(window.take(counter).is_ok(), may);
                if may {
                    taken.insert(counter);
                    high = high.max(counter);
                }
            }
            // The first step is taken unless it lies behind the base.
            prop_assert!(high >= base);
        }
    }
}
