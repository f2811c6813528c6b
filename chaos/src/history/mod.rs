//! What was done and seen during a run, in the order of true time: the only thing that invariants judge.

mod event;
pub mod figures;
pub mod jsonl;
pub mod outages;

pub use event::{
    Call, Edge, Event, Kind, Outcome, ReadState, RecordSeen, RolloutSeen, RolloutStep, SignedTick, TurnedAway, Verdict,
    Voter, What, Write, WriteKind, Written,
};

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Collects the events of one run. Cloning gives the same history.
#[derive(Debug, Clone, Default)]
pub struct History(Arc<Mutex<Vec<Event>>>);

impl History {
    /// Notes an event at `time` since the run began; gives its index, by which a return names its invocation. Of two
    /// that are noted at once, the one that comes second is not before the first: times never fall.
    pub fn note(&self, time: Duration, process: &str, kind: Kind, what: What) -> u64 {
        let mut events = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let index = u64::try_from(events.len()).unwrap_or(u64::MAX);
        let last_us = events.last().map_or(0, |last| last.time_us);
        let time_us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(last_us);
        events.push(Event { index, time_us, process: process.to_owned(), kind, what });
        index
    }

    /// Everything so far.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What was noted from this index on.
    #[must_use]
    pub fn since(&self, index: u64) -> Vec<Event> {
        let events = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let from = usize::try_from(index).unwrap_or(usize::MAX);
        events.get(from..).unwrap_or_default().to_vec()
    }

    /// One line of JSON per event; [`jsonl::read`] reads it back.
    #[must_use]
    pub fn to_jsonl(&self) -> String {
        jsonl::write(&self.events())
    }
}
