//! One direction of a link: what becomes of each packet, decided by a seeded generator and the time it is sent.
//!
//! Pure: the time comes in, the fates go out.

use std::time::Duration;

use rand::RngExt as _;
use rand_pcg::Pcg64Mcg;

use crate::drill::action::LinkQuality;

/// The longest that packets pile up before a slow link; what comes then is dropped, as at any router.
const BACKLOG_MAX: Duration = Duration::from_millis(400);

/// How much later a packet comes that is held back: enough for many later ones to overtake it.
const HELD_BACK: Duration = Duration::from_millis(20);

/// How many packets met which fate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub(in crate::live) struct Counts {
    /// Sent into it.
    pub(in crate::live) sent: u64,
    /// Vanished in a cut.
    pub(in crate::live) cut: u64,
    /// Lost at random.
    pub(in crate::live) lost: u64,
    /// Dropped because too many were waiting.
    pub(in crate::live) overflow: u64,
    /// Delivered twice.
    pub(in crate::live) duplicated: u64,
    /// Held back.
    pub(in crate::live) reordered: u64,
    /// Damaged.
    pub(in crate::live) corrupted: u64,
}

/// One direction of one link. Times are since the wire began.
#[derive(Debug)]
pub(super) struct Link {
    quality: LinkQuality,
    /// Then it is good again.
    quality_until: Duration,
    /// Packets vanish until then.
    pub(super) cut_until: Option<Duration>,
    pub(super) counts: Counts,
    /// When the last byte sent so far has left a link of limited rate.
    free_at: Duration,
    /// When the last packet that keeps its place arrives.
    last_arrival: Duration,
}

/// One arrival of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Arrival {
    pub(super) at: Duration,
    /// Which bit is flipped, if one is.
    pub(super) corrupt: Option<u32>,
}

impl Link {
    pub(super) fn new(quality: LinkQuality) -> Self {
        Self {
            quality,
            quality_until: Duration::MAX,
            cut_until: None,
            counts: Counts::default(),
            free_at: Duration::ZERO,
            last_arrival: Duration::ZERO,
        }
    }

    /// What happens to packets until then.
    pub(super) fn set_quality(&mut self, quality: LinkQuality, until: Duration) {
        (self.quality, self.quality_until) = (quality, until);
    }

    /// What becomes of a packet of so many bytes: it arrives never, once, or twice.
    pub(super) fn send(&mut self, now: Duration, bytes: usize, random: &mut Pcg64Mcg) -> [Option<Arrival>; 2] {
        self.counts.sent += 1;
        if self.cut_until.is_some_and(|until| now < until) {
            self.counts.cut += 1;
            return [None; 2];
        }
        if now >= self.quality_until {
            self.set_quality(LinkQuality::GOOD, Duration::MAX);
        }
        let LinkQuality { latency, jitter, loss, duplicate, reorder, corrupt, rate } = self.quality;
        if chance(random, loss) {
            self.counts.lost += 1;
            return [None; 2];
        }
        let mut sent = now;
        if let Some(rate) = rate {
            sent = sent.max(self.free_at);
            if sent.saturating_sub(now) > BACKLOG_MAX {
                self.counts.overflow += 1;
                return [None; 2];
            }
            let nanos = u64::try_from(bytes).unwrap_or(u64::MAX).saturating_mul(1_000_000_000) / rate.max(1);
            sent = sent.saturating_add(Duration::from_nanos(nanos));
            self.free_at = sent;
        }
        let travel = latency + jitter.mul_f64(random.random::<f64>());
        let mut at = sent.saturating_add(travel);
        if chance(random, reorder) {
            self.counts.reordered += 1;
            at = at.saturating_add(HELD_BACK).saturating_add(jitter);
        } else {
            // Jitter alone does not make packets overtake each other: they queue behind one another on the way.
            at = at.max(self.last_arrival);
            self.last_arrival = at;
        }
        let damaged = chance(random, corrupt).then(|| random.random::<u32>());
        self.counts.corrupted += u64::from(damaged.is_some());
        let twice = chance(random, duplicate);
        self.counts.duplicated += u64::from(twice);
        let again = Arrival { at: at.saturating_add(jitter.mul_f64(random.random::<f64>())), corrupt: None };
        [Some(Arrival { at, corrupt: damaged }), twice.then_some(again)]
    }
}

fn chance(random: &mut Pcg64Mcg, share: f64) -> bool {
    share > 0.0 && random.random::<f64>() < share
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKETS: u64 = 10_000;
    const QUALITY: LinkQuality =
        LinkQuality { latency: Duration::from_millis(40), jitter: Duration::from_millis(20), ..LinkQuality::GOOD };

    /// Sends a packet of 1000 bytes each millisecond; gives the arrivals of each.
    fn run(quality: LinkQuality) -> (Vec<[Option<Arrival>; 2]>, Counts) {
        let (mut link, mut random) = (Link::new(quality), Pcg64Mcg::new(7));
        let fates = (0..PACKETS).map(|n| link.send(Duration::from_millis(n), 1_000, &mut random)).collect();
        (fates, link.counts)
    }

    #[test]
    fn a_packet_takes_the_latency_and_at_most_the_jitter_longer_and_keeps_its_place() {
        let (fates, _) = run(QUALITY);
        let mut last = Duration::ZERO;
        for (n, fate) in (0..).zip(&fates) {
            let arrival = fate[0].unwrap();
            let travel = arrival.at - Duration::from_millis(n);
            assert!(travel >= QUALITY.latency && travel <= QUALITY.latency + QUALITY.jitter, "{n}: {travel:?}");
            assert!(arrival.at >= last, "{n} overtook");
            last = arrival.at;
            assert_eq!((fate[1], arrival.corrupt), (None, None));
        }
    }

    #[test]
    fn shares_are_kept() {
        let quality = LinkQuality { loss: 0.05, duplicate: 0.02, reorder: 0.1, corrupt: 0.01, ..QUALITY };
        let (fates, counts) = run(quality);
        let float = |count: u64| f64::from(u32::try_from(count).unwrap());
        let near = |count: u64, share: f64, of: u64| {
            let expected = float(of) * share;
            assert!((float(count) - expected).abs() < expected.sqrt() * 5.0, "{count} is not near {expected}");
        };
        near(counts.lost, 0.05, PACKETS);
        let arrived = PACKETS - counts.lost;
        near(counts.duplicated, 0.02, arrived);
        near(counts.reordered, 0.1, arrived);
        near(counts.corrupted, 0.01, arrived);
        assert_eq!(u64::try_from(fates.iter().flatten().flatten().count()).unwrap(), arrived + counts.duplicated);
        let arrivals: Vec<_> = fates.iter().filter_map(|fate| fate[0]).collect();
        assert!(arrivals.windows(2).filter(|pair| pair[1].at < pair[0].at).count() > 100, "nothing was overtaken");
    }

    #[test]
    fn a_slow_link_delays_and_then_drops() {
        // A thousand bytes each millisecond are a million a second: twice what this link takes.
        let (fates, counts) = run(LinkQuality { rate: Some(500_000), ..QUALITY });
        let arrived = u64::try_from(fates.iter().filter(|fate| fate[0].is_some()).count()).unwrap();
        assert_eq!(counts.overflow + arrived, PACKETS);
        assert!((4_900..5_500).contains(&arrived), "{arrived}");
        for (n, fate) in (0..).zip(&fates) {
            let travel = fate[0].map_or(Duration::ZERO, |arrival| arrival.at - Duration::from_millis(n));
            assert!(travel < QUALITY.latency + QUALITY.jitter + BACKLOG_MAX + Duration::from_millis(5), "{travel:?}");
        }
    }

    #[test]
    fn a_bad_link_becomes_good_by_itself() {
        let (mut link, mut random) = (Link::new(LinkQuality::GOOD), Pcg64Mcg::new(7));
        link.set_quality(LinkQuality { loss: 1.0, ..QUALITY }, Duration::from_secs(2));
        assert_eq!(link.send(Duration::from_secs(1), 100, &mut random), [None; 2]);
        let arrival = link.send(Duration::from_secs(2), 100, &mut random)[0].unwrap();
        assert!(arrival.at <= Duration::from_secs(2) + LinkQuality::GOOD.latency + LinkQuality::GOOD.jitter);
    }

    #[test]
    fn a_cut_eats_everything_and_ends_by_itself() {
        let (mut link, mut random) = (Link::new(QUALITY), Pcg64Mcg::new(7));
        link.cut_until = Some(Duration::from_secs(2));
        assert_eq!(link.send(Duration::from_secs(1), 100, &mut random), [None; 2]);
        assert!(link.send(Duration::from_secs(2), 100, &mut random)[0].is_some());
        assert_eq!((link.counts.sent, link.counts.cut), (2, 1));
    }
}
