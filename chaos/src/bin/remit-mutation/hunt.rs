//! Plays seeds until something is found, or there were enough.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use remit_chaos::sim::run::{Setup, run};
use remit_common::planted::{self, Bug};

/// How far to look.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) first_seed: u64,
    pub(crate) seeds_max: u64,
    /// Runs at the same time.
    pub(crate) jobs: usize,
}

/// What was seen broken in one run: `V1`, `R2`; `set-up` when no work was possible at all. With the first breach of
/// each, as a sentence.
pub(crate) type Broken = BTreeMap<String, String>;

/// A run in which a bug was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) seed: u64,
    pub(crate) broken: Broken,
}

impl Found {
    /// `R1 R2`.
    pub(crate) fn by(&self) -> String {
        self.broken.keys().map(String::as_str).collect::<Vec<_>>().join(" ")
    }

    /// One sentence that shows it.
    pub(crate) fn evidence(&self) -> &str {
        self.broken.values().next().map(String::as_str).unwrap_or_default()
    }
}

/// What came of looking for one bug.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hunt {
    pub(crate) bug: Bug,
    /// Seeds that were played, up to the one in which it was found.
    pub(crate) seeds: u64,
    pub(crate) found: Option<Found>,
}

/// Plays every seed without a bug and gives what is broken nevertheless.
pub(crate) fn without_bug(setup: &Setup, limits: Limits, progress: &(dyn Fn(&str) + Sync)) -> BTreeMap<u64, Broken> {
    planted::set(None);
    let broken = Mutex::new(BTreeMap::new());
    each_seed(limits, |seed| {
        let this = play(seed, setup);
        if !this.is_empty() {
            let found = Found { seed, broken: this };
            progress(&format!("seed {seed} breaks {} without any bug planted: {}", found.by(), found.evidence()));
            broken.lock().unwrap_or_else(PoisonError::into_inner).insert(seed, found.broken);
        }
        Next::GoOn
    });
    broken.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Plays one seed after the other with this bug planted, some at the same time, and gives the lowest in which
/// something was found: the same whatever the number of jobs. What the same seed breaks without the bug does not count.
pub(crate) fn hunt(
    bug: Bug,
    setup: &Setup,
    limits: Limits,
    without_bug: &BTreeMap<u64, Broken>,
    progress: &(dyn Fn(&str) + Sync),
) -> Hunt {
    planted::set(Some(bug));
    let found: Mutex<Option<Found>> = Mutex::default();
    each_seed(limits, |seed| {
        let mut broken = play(seed, setup);
        let known: BTreeSet<&String> = without_bug.get(&seed).into_iter().flat_map(BTreeMap::keys).collect();
        broken.retain(|id, _| !known.contains(id));
        if broken.is_empty() {
            return Next::GoOn;
        }
        let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
        if found.as_ref().is_none_or(|found| seed < found.seed) {
            *found = Some(Found { seed, broken });
        }
        Next::NoHigher
    });
    planted::set(None);
    let found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    let seeds = found.as_ref().map_or(limits.seeds_max, |found| found.seed - limits.first_seed + 1);
    match &found {
        Some(found) => {
            let (name, by, evidence) = (bug.as_str(), found.by(), found.evidence());
            progress(&format!("{name}: {by} after {seeds} seeds (seed {}): {evidence}", found.seed));
        }
        None => progress(&format!("{}: nothing in {seeds} seeds", bug.as_str())),
    }
    Hunt { bug, seeds, found }
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

/// Plays the run that a seed decides. What keeps a run from being one counts, too: nobody would overlook it.
fn play(seed: u64, setup: &Setup) -> Broken {
    let one = |id: &str, evidence: String| Broken::from([(id.to_owned(), evidence)]);
    let judgement = match std::panic::catch_unwind(|| run(seed, setup)) {
        Ok(Ok(run)) => run.judgement,
        Ok(Err(error)) => return one("set-up", format!("{error:#}")),
        Err(_) => return one("panic", "the simulation panicked".to_owned()),
    };
    let mut broken: Broken = judgement
        .violated()
        .map(|verdict| {
            let evidence = verdict.breaches.first().map(|breach| breach.sentence.clone()).unwrap_or_default();
            (verdict.id.to_string(), evidence)
        })
        .collect();
    if let (true, Some(vacuous)) = (broken.is_empty(), &judgement.vacuous) {
        broken.insert("vacuous".to_owned(), format!("{vacuous:?}"));
    }
    broken
}
