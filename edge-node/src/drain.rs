//! Whether this edge takes new work. An edge that drains lets what is under way end, and sends everybody else to another
//! edge; after a restart it takes work again. Clauses G-84 to G-86.

use std::sync::atomic::{AtomicU64, Ordering};

use remit_common::time::Timestamp;

/// One number for what was asked and when, so that it changes at once.
#[derive(Debug)]
pub(crate) struct Drain(AtomicU64);

impl Drain {
    /// Whether new work is turned away.
    pub(crate) fn is_on(&self) -> bool {
        self.0.load(Ordering::Acquire) & 1 == 1
    }

    /// Of a process that starts now: what was asked for before was asked of another one.
    pub(crate) fn since(now: Timestamp) -> Self {
        Self(AtomicU64::new(now.as_secs().saturating_sub(1).saturating_mul(2)))
    }

    /// Takes what was asked for at a second. `false` when something was asked for in that second or later: then it is a
    /// copy, or has been overtaken.
    pub(crate) fn ask(&self, draining: bool, created_secs: u64) -> bool {
        let asked = created_secs.saturating_mul(2) | u64::from(draining);
        let later = |known: u64| (known >> 1 < created_secs).then_some(asked);
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, later).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_last_holds_and_no_copy_of_what_was_asked_before() {
        let drain = Drain::since(Timestamp::from_secs(100));
        assert!(!drain.is_on());
        assert!(!drain.ask(true, 99) && !drain.is_on(), "it was asked of the process before");
        assert!(drain.ask(true, 100) && drain.is_on());
        assert!(!drain.ask(false, 100) && drain.is_on(), "within the same second nobody knows which was first");
        assert!(drain.ask(false, 101) && !drain.is_on());
        assert!(!drain.ask(true, 100) && !drain.is_on(), "a copy of the first request");
    }
}
