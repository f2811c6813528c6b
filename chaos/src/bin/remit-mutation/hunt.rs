//! Plays seeds until something is found, or there were enough.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use remit_chaos::sim::run::{Setup, run};
use remit_common::planted::{self, Bug};

/// What is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Prey {
    /// Nothing: the code as it is.
    Nothing,
    /// This bug.
    Bug(Bug),
}

impl Prey {
    /// For people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nothing => "no bug",
            Self::Bug(bug) => bug.as_str(),
        }
    }
}

/// How far to look.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) first_seed: u64,
    pub(crate) seeds_max: u64,
    /// Runs at the same time.
    pub(crate) jobs: usize,
}

/// A run in which a promise was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) seed: u64,
    /// The invariants, `V1, R2`, or `set-up` when no work was possible at all.
    pub(crate) by: String,
    /// The first breach, as a sentence.
    pub(crate) evidence: String,
}

/// What came of looking for one bug.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hunt {
    pub(crate) prey: Prey,
    /// Seeds that were played, up to the one in which it was found.
    pub(crate) seeds: u64,
    pub(crate) found: Option<Found>,
}

/// Plays one seed after the other with this bug planted, some at the same time, and gives the lowest in which
/// something was found: the same whatever the number of jobs.
pub(crate) fn hunt(prey: Prey, setup: &Setup, limits: Limits, progress: &(dyn Fn(&str) + Sync)) -> Hunt {
    planted::set(match prey {
        Prey::Nothing => None,
        Prey::Bug(bug) => Some(bug),
    });
    let end = limits.first_seed.saturating_add(limits.seeds_max);
    let (next, first_found) = (AtomicU64::new(limits.first_seed), AtomicU64::new(u64::MAX));
    let found: Mutex<Option<Found>> = Mutex::default();
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::SeqCst);
            if seed >= end || seed > first_found.load(Ordering::SeqCst) {
                return;
            }
            let Some(this) = play(seed, setup) else { continue };
            let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
            if found.as_ref().is_none_or(|found| seed < found.seed) {
                *found = Some(this);
                first_found.store(seed, Ordering::SeqCst);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..limits.jobs {
            scope.spawn(work);
        }
        work();
    });
    planted::set(None);
    let found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    let seeds = found.as_ref().map_or(limits.seeds_max, |found| found.seed - limits.first_seed + 1);
    match &found {
        Some(Found { seed, by, evidence }) => {
            progress(&format!("{}: {by} after {seeds} seeds (seed {seed}): {evidence}", prey.name()));
        }
        None => progress(&format!("{}: nothing in {seeds} seeds", prey.name())),
    }
    Hunt { prey, seeds, found }
}

/// Plays the run that a seed decides. What keeps a run from being one counts, too: nobody would overlook it.
fn play(seed: u64, setup: &Setup) -> Option<Found> {
    let found = |by: &str, evidence: String| Some(Found { seed, by: by.to_owned(), evidence });
    let played = std::panic::catch_unwind(|| run(seed, setup));
    let judgement = match played {
        Ok(Ok(run)) => run.judgement,
        Ok(Err(error)) => return found("set-up", format!("{error:#}")),
        Err(_) => return found("panic", "the simulation panicked".to_owned()),
    };
    let violated: Vec<_> = judgement.violated().collect();
    if let Some(first) = violated.first() {
        let by: Vec<&str> = violated.iter().map(|verdict| verdict.id.as_str()).collect();
        let evidence = first.breaches.first().map(|breach| breach.sentence.clone()).unwrap_or_default();
        return found(&by.join(" "), evidence);
    }
    judgement.vacuous.as_ref().and_then(|vacuous| found("vacuous", format!("{vacuous:?}")))
}
