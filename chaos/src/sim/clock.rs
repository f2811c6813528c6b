//! Clocks of simulated hosts: one true time for all, and what each host believes.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use remit_common::net::env::Clock;
use remit_common::time::{BootTime, Now, Timestamp};
use tokio::time::Instant;

/// Where every run begins: 2026-11-01T00:00:00Z.
const START: Timestamp = Timestamp::from_secs(1_793_491_200);
/// A host has been up for a while when it first looks at its clock.
const BOOTED_MS: u64 = 30_000;

/// True time: simulated, without skew. Cloning gives the same time.
#[derive(Debug, Clone, Copy)]
pub struct TrueTime(Instant);

impl TrueTime {
    /// Begins now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the clock of the simulation")]
    pub fn begin() -> Self {
        Self(Instant::now())
    }

    /// Since the run began.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the clock of the simulation")]
    pub fn elapsed(&self) -> Duration {
        Instant::now().duration_since(self.0)
    }

    /// The moment at which this much will have elapsed, for timers.
    #[must_use]
    pub fn at(&self, elapsed: Duration) -> Instant {
        self.0 + elapsed
    }
}

/// The clocks of one host. Its wall clock may be wrong; its boot clock runs evenly and restarts with the machine.
#[derive(Debug)]
pub struct SimClock {
    time: TrueTime,
    skew_ms: AtomicI64,
    booted_ms: AtomicU64,
}

impl SimClock {
    /// A host whose wall clock is off by `skew_ms`.
    #[must_use]
    pub fn new(time: TrueTime, skew_ms: i64) -> Self {
        Self { time, skew_ms: AtomicI64::new(skew_ms), booted_ms: AtomicU64::new(0) }
    }

    /// The wall clock jumps.
    pub fn jump(&self, by_ms: i64) {
        self.skew_ms.fetch_add(by_ms, Ordering::Relaxed);
    }

    /// The wall clock is right again.
    pub fn correct(&self) {
        self.skew_ms.store(0, Ordering::Relaxed);
    }

    /// The machine lost power: its boot clock begins anew.
    pub fn reboot(&self) {
        self.booted_ms.store(millis(self.time.elapsed()), Ordering::Relaxed);
    }
}

impl Clock for SimClock {
    fn now(&self) -> Now {
        let elapsed = millis(self.time.elapsed());
        let wall =
            START.as_millis().saturating_add(elapsed).saturating_add_signed(self.skew_ms.load(Ordering::Relaxed));
        let up = elapsed.saturating_sub(self.booted_ms.load(Ordering::Relaxed));
        Now { wall: Timestamp::from_millis(wall), boot: BootTime::from_millis(up.saturating_add(BOOTED_MS)) }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
