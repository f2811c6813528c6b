//! How many edges that come at once are let in at a time.
//!
//! When a voter comes back, every edge that it had comes back with it. A handshake costs both ends half a millisecond of
//! work; begun all together, none of ten thousand ends before the edges give up, and all of them begin again. So a voter
//! begins no more of them than it can end: newcomers use up a credit that grows with time, and only so many are on their
//! way in. Who is turned away hears so at once, for the price of one packet, and comes again after a wait of its own.
//! Clause K-34.

use remit_common::time::BootTime;

/// Newcomers a second: half of one core's work, so that the rest of it is left to those that are in.
const RATE_PER_SEC: u64 = 1_000;
/// Newcomers that find credit after a quiet time.
const BURST: u64 = 512;
/// Newcomers on their way in. With four times as many, a machine that managed a hundred handshakes a second let most of
/// them run into an edge's patience of five seconds, and ended few; over a way of 200 ms so many still let 500 a second in.
pub(super) const UNDER_WAY_MAX: usize = 256;
/// Below so much credit, or while so many are on their way in, a newcomer must first show that it receives where it claims
/// to be: packets with made-up senders use up nothing that others need.
const PROOF_BELOW: u64 = BURST / 2;
const PROOF_FROM: usize = UNDER_WAY_MAX / 2;
/// Credit is counted in thousandths, which is what a millisecond brings at a rate of one a second.
const ONE: u64 = 1_000;

/// What becomes of a newcomer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// Its handshake begins.
    Admit,
    /// It comes back with proof of its address.
    Prove,
    /// It comes back later.
    Refuse,
}

/// The credit for newcomers.
#[derive(Debug)]
pub(super) struct Gate {
    credit: u64,
    at: BootTime,
}

impl Gate {
    /// With credit for a burst.
    pub(super) fn new(now: BootTime) -> Self {
        Self { credit: BURST * ONE, at: now }
    }

    /// Decides about the next newcomer while so many are on their way in.
    pub(super) fn answer(&mut self, now: BootTime, under_way: usize, has_proof: bool) -> Answer {
        let millis = u64::try_from(now.since(self.at).as_millis()).unwrap_or(u64::MAX);
        self.at = self.at.max(now);
        self.credit = self.credit.saturating_add(millis.saturating_mul(RATE_PER_SEC)).min(BURST * ONE);
        if !has_proof && (self.credit < PROOF_BELOW * ONE || under_way >= PROOF_FROM) {
            return Answer::Prove;
        }
        if under_way >= UNDER_WAY_MAX {
            return Answer::Refuse;
        }
        match self.credit.checked_sub(ONE) {
            Some(left) => {
                self.credit = left;
                Answer::Admit
            }
            None => Answer::Refuse,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(millis: u64) -> BootTime {
        BootTime::from_millis(millis)
    }

    /// How many of so many newcomers are let in at one moment.
    fn admitted(gate: &mut Gate, now: BootTime, newcomers: usize) -> u64 {
        let answers = (0..newcomers).map(|_| gate.answer(now, 0, true));
        answers.filter(|answer| *answer == Answer::Admit).count().try_into().unwrap()
    }

    #[test]
    fn a_storm_is_let_in_at_a_bounded_rate() {
        // Clause K-34.
        let mut gate = Gate::new(millis(0));
        assert_eq!(admitted(&mut gate, millis(0), 10_000), BURST);
        assert_eq!(admitted(&mut gate, millis(0), 10_000), 0);
        let mut all = 0;
        for tenth in 1..=50 {
            all += admitted(&mut gate, millis(tenth * 100), 10_000);
        }
        assert_eq!(all, 5 * RATE_PER_SEC, "in five seconds");
        // A quiet hour saves up no more than a burst.
        assert_eq!(admitted(&mut gate, millis(3_600_000), 10_000), BURST);
    }

    #[test]
    fn no_more_are_on_their_way_in_than_come_to_an_end() {
        let mut gate = Gate::new(millis(0));
        assert_eq!(gate.answer(millis(0), UNDER_WAY_MAX, true), Answer::Refuse);
        assert_eq!(gate.answer(millis(0), UNDER_WAY_MAX - 1, true), Answer::Admit);
    }

    #[test]
    fn made_up_senders_use_up_only_half_of_the_places() {
        let mut gate = Gate::new(millis(0));
        let under_way = (0..10_000).fold(0, |under_way, _| match gate.answer(millis(0), under_way, false) {
            Answer::Admit => under_way + 1,
            Answer::Prove | Answer::Refuse => under_way,
        });
        assert_eq!(under_way, PROOF_FROM);
        assert_eq!(gate.answer(millis(0), UNDER_WAY_MAX, false), Answer::Prove, "it costs a packet, and no place");
        assert_eq!(gate.answer(millis(0), under_way, true), Answer::Admit);
    }

    #[test]
    fn made_up_senders_use_up_only_half_of_the_credit() {
        let mut gate = Gate::new(millis(0));
        let without_proof = (0..10_000).filter(|_| gate.answer(millis(0), 0, false) == Answer::Admit).count();
        assert_eq!(u64::try_from(without_proof).unwrap(), BURST - PROOF_BELOW + 1);
        assert_eq!(gate.answer(millis(0), 0, false), Answer::Prove);
        assert_eq!(admitted(&mut gate, millis(0), 10_000), PROOF_BELOW - 1);
        assert_eq!(gate.answer(millis(0), 0, true), Answer::Refuse);
    }

    #[test]
    fn a_clock_that_stands_still_gives_nothing_and_breaks_nothing() {
        let mut gate = Gate::new(millis(10));
        assert_eq!(admitted(&mut gate, millis(5), 10_000), BURST);
        assert_eq!(admitted(&mut gate, millis(10), 10_000), 0);
        assert_eq!(admitted(&mut gate, millis(u64::MAX), 10_000), BURST);
    }
}
