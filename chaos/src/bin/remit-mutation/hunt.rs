//! Plays seeds until something is found, or there were enough.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use remit_common::planted::{self, Bug};

use crate::scene::{Broken, Play, breaks};

/// How far to look.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) first_seed: u64,
    pub(crate) seeds_max: u64,
    /// Runs at the same time.
    pub(crate) jobs: usize,
}

/// Ids, in the order of reports: `R1 R2`.
pub(crate) fn ids(broken: &Broken) -> String {
    broken.keys().map(|id| id.as_str()).collect::<Vec<_>>().join(" ")
}

/// One sentence that shows it.
pub(crate) fn evidence(broken: &Broken) -> &str {
    broken.values().next().map(String::as_str).unwrap_or_default()
}

/// A run in which a bug was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) seed: u64,
    /// Only promises that the bug breaks, and that the same seed keeps without it.
    pub(crate) broken: Broken,
}

/// What came of looking for one bug.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hunt {
    pub(crate) bug: Bug,
    /// Seeds that were played, up to the one in which it was found.
    pub(crate) seeds: u64,
    pub(crate) found: Option<Found>,
}

/// Runs without a bug: nothing that is broken there counts against one.
pub(crate) struct Clean<'a> {
    play: &'a Play,
    played: BTreeMap<u64, Broken>,
    progress: &'a (dyn Fn(&str) + Sync),
}

impl<'a> Clean<'a> {
    pub(crate) fn new(play: &'a Play, progress: &'a (dyn Fn(&str) + Sync)) -> Self {
        Self { play, played: BTreeMap::new(), progress }
    }

    /// Plays these seeds.
    pub(crate) fn play(&mut self, limits: Limits) {
        planted::set(None);
        let played = Mutex::new(BTreeMap::new());
        each_seed(limits, |seed| {
            let broken = self.play.broken(seed);
            if !broken.is_empty() {
                let (ids, evidence) = (ids(&broken), evidence(&broken));
                (self.progress)(&format!("seed {seed} breaks {ids} without any bug planted: {evidence}"));
            }
            played.lock().unwrap_or_else(PoisonError::into_inner).insert(seed, broken);
            Next::GoOn
        });
        self.played.append(&mut played.into_inner().unwrap_or_else(PoisonError::into_inner));
    }

    /// What this seed breaks. It is played now, unless it was.
    fn of(&mut self, seed: u64) -> &Broken {
        if !self.played.contains_key(&seed) {
            self.play(Limits { first_seed: seed, seeds_max: 1, jobs: 1 });
        }
        self.played.entry(seed).or_default()
    }

    /// How many seeds were played, and how many of them broke something.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.played.len(), self.played.values().filter(|broken| !broken.is_empty()).count())
    }
}

/// Plays one seed after the other with this bug planted, some at the same time, and gives the lowest in which
/// it was found: the same whatever the number of jobs. Every find is held against the same seed without the bug.
pub(crate) fn hunt(bug: Bug, limits: Limits, clean: &mut Clean<'_>) -> Hunt {
    let (play, progress) = (clean.play, clean.progress);
    let (name, end) = (bug.as_str(), limits.first_seed.saturating_add(limits.seeds_max));
    let mut from = limits.first_seed;
    while from < end {
        planted::set(Some(bug));
        let suspect = first_broken(bug, play, Limits { first_seed: from, seeds_max: end - from, ..limits });
        planted::set(None);
        let Some(Found { seed, mut broken }) = suspect else { break };
        let known = clean.of(seed);
        broken.retain(|id, _| !known.contains_key(id));
        if !broken.is_empty() {
            let (seeds, ids, evidence) = (seed - limits.first_seed + 1, ids(&broken), evidence(&broken));
            progress(&format!("{name}: {ids} after {seeds} seeds (seed {seed}): {evidence}"));
            return Hunt { bug, seeds, found: Some(Found { seed, broken }) };
        }
        from = seed + 1;
    }
    progress(&format!("{name}: nothing in {} seeds", limits.seeds_max));
    Hunt { bug, seeds: limits.seeds_max, found: None }
}

/// The lowest seed in which a promise is broken that the planted bug breaks.
fn first_broken(bug: Bug, play: &Play, limits: Limits) -> Option<Found> {
    let found: Mutex<Option<Found>> = Mutex::default();
    each_seed(limits, |seed| {
        let mut broken = play.broken(seed);
        broken.retain(|id, _| breaks(bug).contains(id));
        if broken.is_empty() {
            return Next::GoOn;
        }
        let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
        if found.as_ref().is_none_or(|found| seed < found.seed) {
            *found = Some(Found { seed, broken });
        }
        Next::NoHigher
    });
    found.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Whether seeds above this one are worth playing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    GoOn,
    NoHigher,
}

/// Plays seeds in rising order, some at the same time.
fn each_seed(limits: Limits, play: impl Fn(u64) -> Next + Sync) {
    let end = limits.first_seed.saturating_add(limits.seeds_max);
    let (next, last) = (AtomicU64::new(limits.first_seed), AtomicU64::new(u64::MAX));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::SeqCst);
            if seed >= end || seed > last.load(Ordering::SeqCst) {
                return;
            }
            if play(seed) == Next::NoHigher {
                last.fetch_min(seed, Ordering::SeqCst);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..limits.jobs {
            scope.spawn(work);
        }
        work();
    });
}
