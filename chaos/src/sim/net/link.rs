//! One direction between two hosts: what it does to a datagram, and to a segment of a stream.
//!
//! Times are exact here. Whatever is due within the same millisecond is delivered at its end, in the order of the
//! exact times: tokio's timers are no finer, and a wake-up for each microsecond would buy nothing.

use std::time::Duration;

use rand::{Rng as _, RngExt as _};
use rand_pcg::Pcg64;

use crate::drill::action::LinkQuality;

/// Between two sockets of one host. Not nothing: a task that talks to itself must not hold up the clock.
pub(super) const LOOPBACK: Duration = Duration::from_micros(20);
/// A datagram that would wait longer in front of a slow link is dropped, as by a router with a full queue.
const QUEUE_MAX: Duration = Duration::from_millis(400);
/// After this long without an answer, a stream sends again; twice as long after each further try.
pub(super) const RETRANSMIT: Duration = Duration::from_millis(200);
/// Tries of one segment that are drawn before it is taken to arrive.
const TRIES_MAX: u32 = 6;
/// What is held back is held for at least this long.
const HOLD_MIN: Duration = Duration::from_millis(2);
/// Bytes of a segment.
const SEGMENT_BYTES: usize = 1448;

#[derive(Debug)]
pub(super) struct Link {
    pub(super) quality: LinkQuality,
    pub(super) is_cut: bool,
    /// Grows with each cut: what was sent before never arrives.
    pub(super) epoch: u64,
    /// When the last byte of what was sent before has left.
    free_at: Duration,
}

/// What becomes of a datagram.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Lost,
    Overflowed,
    Arrives {
        at: Duration,
        again: Option<Duration>,
        is_held: bool,
        /// Which bit is wrong, counted modulo the bits there are.
        wrong_bit: Option<u64>,
    },
}

/// When a piece of a stream arrives, and what happened on the way.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Passage {
    pub(super) at: Duration,
    pub(super) lost: u32,
    pub(super) corrupted: u32,
    pub(super) is_held: bool,
    pub(super) is_doubled: bool,
}

impl Link {
    pub(super) fn new(quality: LinkQuality) -> Self {
        Self { quality, is_cut: false, epoch: 0, free_at: Duration::ZERO }
    }

    pub(super) fn set_quality(&mut self, quality: LinkQuality) {
        self.quality = quality;
        self.free_at = Duration::ZERO;
    }

    pub(super) fn cut(&mut self) {
        self.is_cut = true;
        self.epoch += 1;
        self.free_at = Duration::ZERO;
    }

    pub(super) fn datagram(&mut self, random: &mut Pcg64, now: Duration, len: usize) -> Fate {
        let quality = self.quality;
        if self.waits(now) > QUEUE_MAX {
            return Fate::Overflowed;
        }
        // What is lost has been on the line all the same.
        let left = self.leaves(now, len);
        if chance(random, quality.loss) {
            return Fate::Lost;
        }
        let is_held = chance(random, quality.reorder);
        let hold = if is_held { self.hold(random) } else { Duration::ZERO };
        let at = left + self.travel(random) + hold;
        let again = chance(random, quality.duplicate).then(|| left + self.travel(random));
        let wrong_bit = chance(random, quality.corrupt).then(|| random.next_u64());
        Fate::Arrives { at, again, is_held, wrong_bit }
    }

    /// A piece of a stream. TCP hides from its users what happens to a segment; what they see is the time it takes.
    pub(super) fn stream(&mut self, random: &mut Pcg64, now: Duration, len: usize) -> Passage {
        let quality = self.quality;
        let mut passage = Passage {
            at: self.leaves(now, len) + self.travel(random),
            lost: 0,
            corrupted: 0,
            is_held: false,
            is_doubled: false,
        };
        // Segments of one piece are sent again together, so the unluckiest decides.
        let mut tries_max = 0;
        for _ in 0..len.div_ceil(SEGMENT_BYTES).max(1) {
            let mut tries = 0;
            while tries < TRIES_MAX {
                if chance(random, quality.loss) {
                    passage.lost += 1;
                } else if chance(random, quality.corrupt) {
                    passage.corrupted += 1;
                } else {
                    break;
                }
                tries += 1;
            }
            tries_max = tries_max.max(tries);
            passage.is_held |= chance(random, quality.reorder);
            passage.is_doubled |= chance(random, quality.duplicate);
        }
        if tries_max > 0 {
            passage.at += RETRANSMIT * ((1 << tries_max) - 1);
        }
        if passage.is_held {
            passage.at += self.hold(random);
        }
        passage
    }

    fn waits(&self, now: Duration) -> Duration {
        self.free_at.saturating_sub(now)
    }

    /// When the last byte has left.
    fn leaves(&mut self, now: Duration, len: usize) -> Duration {
        let Some(rate) = self.quality.rate else { return now };
        let len = u64::try_from(len).unwrap_or(u64::MAX);
        let nanos = u128::from(len) * 1_000_000_000 / u128::from(rate.max(1));
        self.free_at = self.free_at.max(now) + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        self.free_at
    }

    fn travel(&self, random: &mut Pcg64) -> Duration {
        self.quality.latency + up_to(random, self.quality.jitter)
    }

    /// Long enough that others overtake.
    fn hold(&self, random: &mut Pcg64) -> Duration {
        let while_others_travel = (self.quality.latency + self.quality.jitter).max(HOLD_MIN);
        while_others_travel + up_to(random, while_others_travel * 2)
    }
}

/// Draws only when there is something to draw for.
fn chance(random: &mut Pcg64, share: f64) -> bool {
    // A share that is no number is none.
    share > 0.0 && random.random_bool(share.min(1.0))
}

fn up_to(random: &mut Pcg64, longest: Duration) -> Duration {
    if longest.is_zero() {
        return Duration::ZERO;
    }
    let nanos = u64::try_from(longest.as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(random.random_range(0..=nanos))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::entropy::generator;

    fn fates(quality: LinkQuality) -> Vec<Fate> {
        let (mut link, mut random) = (Link::new(quality), generator(7, "link"));
        (0..10_000).map(|n| link.datagram(&mut random, Duration::from_millis(n), 1_200)).collect()
    }

    /// Of ten thousand, within about four standard deviations of a tenth.
    fn about_a_tenth(count: usize) {
        assert!((880..=1_120).contains(&count), "{count} of 10000");
    }

    #[test]
    fn shares_come_true() {
        let tenth = LinkQuality { loss: 0.1, duplicate: 0.1, reorder: 0.1, corrupt: 0.1, ..LinkQuality::GOOD };
        let fates = fates(tenth);
        let arrived: Vec<_> = fates
            .iter()
            .filter_map(|fate| match fate {
                Fate::Arrives { again, is_held, wrong_bit, .. } => {
                    Some((again.is_some(), *is_held, wrong_bit.is_some()))
                }
                Fate::Lost | Fate::Overflowed => None,
            })
            .collect();
        about_a_tenth(fates.len() - arrived.len());
        // Of the nine thousand that are left, with nine tenths of the width.
        for count in [
            arrived.iter().filter(|(doubled, _, _)| *doubled).count(),
            arrived.iter().filter(|(_, held, _)| *held).count(),
            arrived.iter().filter(|(_, _, wrong)| *wrong).count(),
        ] {
            assert!((780..=1_020).contains(&count), "{count} of {}", arrived.len());
        }
    }

    #[test]
    fn a_good_link_only_takes_its_time() {
        for (sent, fate) in (0..).map(Duration::from_millis).zip(fates(LinkQuality::GOOD)) {
            let Fate::Arrives { at, again: None, is_held: false, wrong_bit: None } = fate else {
                panic!("{fate:?}");
            };
            let took = at - sent;
            assert!(took >= LinkQuality::GOOD.latency && took <= LinkQuality::GOOD.latency + LinkQuality::GOOD.jitter);
        }
    }

    #[test]
    fn a_slow_link_queues_and_then_drops() {
        // 1200 bytes a millisecond come, 120 go.
        let fates = fates(LinkQuality { rate: Some(120_000), ..LinkQuality::GOOD });
        let passed = fates.iter().filter(|fate| matches!(fate, Fate::Arrives { .. })).count();
        // Ten seconds of line, and what may wait for it.
        assert!((1_000..=1_050).contains(&passed), "{passed}");
        let worst = (0..)
            .map(Duration::from_millis)
            .zip(&fates)
            .filter_map(|(sent, fate)| match fate {
                Fate::Arrives { at, .. } => Some(*at - sent),
                Fate::Lost | Fate::Overflowed => None,
            })
            .max();
        assert!(worst.unwrap() <= QUEUE_MAX + Duration::from_millis(20), "{worst:?}");
    }

    #[test]
    fn loss_costs_a_stream_time() {
        let mut random = generator(7, "link");
        let mut lossy = Link::new(LinkQuality { loss: 0.2, corrupt: 0.1, ..LinkQuality::GOOD });
        let late: Vec<_> = (0..1_000).map(|_| lossy.stream(&mut random, Duration::ZERO, 100)).collect();
        let hit = late.iter().filter(|passage| passage.lost + passage.corrupted > 0).count();
        assert!((200..=360).contains(&hit), "{hit}");
        assert!(late.iter().all(|passage| (passage.lost + passage.corrupted > 0) == (passage.at >= RETRANSMIT)));
    }
}
