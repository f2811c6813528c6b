//! The ends of the log, and its newest entries in memory.
//!
//! Entries can be read as soon as they are accepted, before they are on disk, and what followers lack is nearly
//! always the newest: so the newest entries stay here, and those that are not on disk yet for certain.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::raft::types::{Entry, EntryPayload, LogId};

/// Bytes of entries that stay in memory although the disk has them: two of the largest, or thousands of usual ones.
const RECENT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// What an entry weighs besides its payload.
const ENTRY_OVERHEAD_BYTES: usize = 128;

/// Shared by the store, its readers and its writer. The lock is held for map operations only.
#[derive(Debug)]
pub(super) struct Tail(Mutex<State>);

#[derive(Debug)]
struct State {
    purged: Option<LogId>,
    last: Option<LogId>,
    /// A run that ends with the last entry. INVARIANT: holds every entry from `durable_end` on.
    recent: BTreeMap<u64, Entry>,
    recent_bytes: usize,
    /// Entries below this index are on disk.
    durable_end: u64,
}

/// Bytes that an entry is counted with.
pub(super) fn weight(entry: &Entry) -> usize {
    let payload = match &entry.payload {
        EntryPayload::Normal(bytes) => bytes.0.len(),
        EntryPayload::Blank | EntryPayload::Membership(_) => 0,
    };
    payload.saturating_add(ENTRY_OVERHEAD_BYTES)
}

fn after(id: Option<LogId>) -> u64 {
    id.map_or(0, |id| id.index.saturating_add(1))
}

impl Tail {
    pub(super) fn new(purged: Option<LogId>, last: Option<LogId>) -> Self {
        let durable_end = after(last);
        Self(Mutex::new(State { purged, last, recent: BTreeMap::new(), recent_bytes: 0, durable_end }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last purged entry, and the last entry.
    pub(super) fn ends(&self) -> (Option<LogId>, Option<LogId>) {
        let state = self.state();
        (state.purged, state.last)
    }

    /// The part of a range that the log can have.
    pub(super) fn clamp(&self, start: u64, end: u64) -> (u64, u64) {
        let state = self.state();
        (start.max(after(state.purged)), end.min(after(state.last)))
    }

    /// The entries of a range that are in memory, and the index from which on they all are.
    pub(super) fn recent(&self, start: u64, end: u64) -> (u64, Vec<Entry>) {
        let state = self.state();
        let first = state.recent.first_key_value().map_or(end, |(index, _)| *index).clamp(start, end);
        (first, state.recent.range(first..end).map(|(_, entry)| entry.clone()).collect())
    }

    pub(super) fn append(&self, entries: Vec<Entry>) {
        let mut state = self.state();
        for entry in entries {
            state.last = Some(entry.log_id);
            state.recent_bytes = state.recent_bytes.saturating_add(weight(&entry));
            if let Some(replaced) = state.recent.insert(entry.log_id.index, entry) {
                state.recent_bytes = state.recent_bytes.saturating_sub(weight(&replaced));
            }
        }
    }

    /// The disk has every entry below `end`. Lets go of what is no longer needed in memory.
    pub(super) fn durable(&self, end: u64) {
        let mut state = self.state();
        state.durable_end = state.durable_end.max(end);
        while state.recent_bytes > RECENT_BYTES_MAX {
            let durable_end = state.durable_end;
            let Some(oldest) = state.recent.first_entry().filter(|oldest| *oldest.key() < durable_end) else {
                return;
            };
            let weight = weight(&oldest.remove());
            state.recent_bytes = state.recent_bytes.saturating_sub(weight);
        }
    }

    /// Everything from `since` on is gone; `before` is the entry in front of it, if the log still has it.
    ///
    /// INVARIANT: nothing that comes after is in the writer's queue, because the caller waits for each truncation.
    pub(super) fn truncate(&self, since: u64, before: Option<LogId>) {
        let mut state = self.state();
        let gone = state.recent.split_off(&since);
        let weight: usize = gone.values().map(weight).sum();
        state.recent_bytes = state.recent_bytes.saturating_sub(weight);
        state.durable_end = state.durable_end.min(since);
        state.last = before.or(state.purged);
    }

    /// Everything up to `upto` is gone.
    pub(super) fn purge(&self, upto: LogId) {
        let mut state = self.state();
        let kept = state.recent.split_off(&upto.index.saturating_add(1));
        let gone = std::mem::replace(&mut state.recent, kept);
        let weight: usize = gone.values().map(weight).sum();
        state.recent_bytes = state.recent_bytes.saturating_sub(weight);
        state.purged = state.purged.max(Some(upto));
        state.last = state.last.max(Some(upto));
    }
}
