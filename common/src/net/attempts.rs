//! One attempt at a time at something that everybody who waits needs.
//!
//! Sixty requests that all find the channel closed need one new channel, not sixty. And when the peer is dead, the
//! fifty-nine that waited do not each wait for it again.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Semaphore, SemaphorePermit};

/// Who may try next, and what became of the tries so far.
#[derive(Debug)]
pub struct Attempts {
    turn: Semaphore,
    failed: AtomicU64,
}

/// The turn of one caller; it ends when this is dropped.
#[derive(Debug)]
pub struct Turn<'a> {
    of: &'a Attempts,
    _permit: SemaphorePermit<'a>,
}

impl Default for Attempts {
    fn default() -> Self {
        Self { turn: Semaphore::new(1), failed: AtomicU64::new(0) }
    }
}

impl Attempts {
    /// Waits for a turn. `None` when an attempt has failed in the meantime; whether one has succeeded, the caller looks.
    pub async fn turn(&self) -> Option<Turn<'_>> {
        let before = self.failed.load(Ordering::Acquire);
        let permit = self.turn.acquire().await.ok()?;
        (self.failed.load(Ordering::Acquire) == before).then_some(Turn { of: self, _permit: permit })
    }
}

impl Turn<'_> {
    /// Says that the attempt failed: whoever waits now does not try.
    pub fn failed(self) {
        self.of.failed.fetch_add(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn who_waited_for_a_failure_does_not_try_and_who_comes_later_does() {
        let attempts = Attempts::default();
        let first = attempts.turn().now_or_never().flatten().expect("a turn");
        let mut waiting = Box::pin(attempts.turn());
        assert!(waiting.as_mut().now_or_never().is_none());
        first.failed();
        assert!(waiting.now_or_never().expect("done").is_none());
        let second = attempts.turn().now_or_never().flatten().expect("a turn");
        let mut waiting = Box::pin(attempts.turn());
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(second);
        assert!(waiting.now_or_never().expect("done").is_some());
    }
}
