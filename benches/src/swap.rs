//! Decisions while the active bundle is swapped a thousand times a second, beside the same decisions in peace.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use arc_swap::ArcSwap;
use remit_common::policy::{CompiledPolicy, Decision, Relations, decide};

use crate::bundle::{self, Fixture, NOW};

/// From one swap to the next.
const EVERY: Duration = Duration::from_millis(1);
/// Windows of each kind, one in peace and one with swaps by turns: what else the machine does meets both alike.
const WINDOWS: usize = 30;
/// Decisions of a window; some tenths of a second.
const DECISIONS: usize = 20_000;

/// What the best windows of a kind took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tail {
    /// The smallest median of a window.
    pub median: Duration,
    /// The smallest 99.9th percentile of a window: one decision in a thousand took longer.
    pub thousandth: Duration,
    /// The smallest among the longest decisions of the windows.
    pub longest: Duration,
}

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Swapped {
    /// Nothing was swapped.
    pub peace: Tail,
    /// A swap every millisecond.
    pub swaps: Tail,
    /// How many swaps there were.
    pub count: usize,
    /// How many decisions were compared with what the two bundles answer.
    pub compared: usize,
}

/// Decides by a bundle of 1 003 policies while it is swapped with one that permits less, and compares every answer with
/// both.
///
/// # Errors
/// When an answer is neither bundle's, or the fixture is faulty.
pub fn measure() -> Result<Swapped> {
    let old = Fixture::new(1_000)?;
    let mut sources = bundle::sources(1_000);
    let policies = sources.get_mut("policies/all.cedar").context("policies")?;
    let text = String::from_utf8(policies.clone())?;
    *policies = text.replace("context.max_records <= 25", "context.max_records <= 24").into_bytes();
    let new = CompiledPolicy::compile(&sources).map_err(|faults| anyhow!("{faults:?}"))?;
    let bundles = [Arc::new(old.policy.clone()), Arc::new(new)];
    let permits = |policy: &CompiledPolicy, number: usize| -> Option<bool> {
        let (authority, call) = old.calls.get(number % old.calls.len())?;
        let decision = decide(policy, old.authorities.get(*authority)?, call, &Relations::none(), NOW);
        Some(matches!(decision, Decision::Permit(_)))
    };
    let mut expected = Vec::with_capacity(old.calls.len());
    for number in 0..old.calls.len() {
        let [first, second] = &bundles;
        expected.push([permits(first, number).context("a call")?, permits(second, number).context("a call")?]);
    }
    let differing = expected.iter().filter(|[old, new]| old != new).count();
    ensure!(differing > 300, "only {differing} calls are answered differently");

    let [first, _] = &bundles;
    let active = ArcSwap::new(Arc::clone(first));
    let (count, mut compared) = (AtomicUsize::new(0), 0);
    let (mut peace, mut swaps) = (Vec::new(), Vec::new());
    for window in 0..2 * WINDOWS {
        let with_swaps = window % 2 == 1;
        let mut times = Vec::with_capacity(DECISIONS);
        std::thread::scope(|scope| -> Result<()> {
            let (stop, stopped) = mpsc::channel::<()>();
            if with_swaps {
                scope.spawn(|| {
                    let (stopped, mut next) = (stopped, bundles.iter().rev().cycle());
                    // Waiting for the end is the clock of the swaps: a thread that spins would take a core from others.
                    while stopped.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
                        if let Some(bundle) = next.next() {
                            active.store(Arc::clone(bundle));
                            count.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
            for number in 0..DECISIONS {
                let started = now();
                let found = permits(&active.load(), number);
                times.push(started.elapsed());
                let both = expected.get(number % expected.len()).context("an answer")?;
                ensure!(
                    found.is_some_and(|found| both.contains(&found)),
                    "call {number}: {found:?} is neither's answer"
                );
                compared += 1;
            }
            drop(stop);
            Ok(())
        })?;
        if with_swaps { &mut swaps } else { &mut peace }.push(tail(times));
    }
    let count = count.load(Ordering::Relaxed);
    ensure!(count >= WINDOWS, "only {count} swaps");
    Ok(Swapped { peace: best(&peace), swaps: best(&swaps), count, compared })
}

fn tail(mut times: Vec<Duration>) -> Tail {
    times.sort_unstable();
    let at = |position: usize| times.get(position).copied().unwrap_or_default();
    let count = times.len();
    Tail { median: at(count / 2), thousandth: at(count - count / 1_000), longest: at(count.saturating_sub(1)) }
}

fn best(windows: &[Tail]) -> Tail {
    let least = |of: fn(&Tail) -> Duration| windows.iter().map(of).min().unwrap_or_default();
    Tail {
        median: least(|tail| tail.median),
        thousandth: least(|tail| tail.thousandth),
        longest: least(|tail| tail.longest),
    }
}

#[expect(clippy::disallowed_methods, reason = "measuring is what benches are for; no other code of ours does it")]
fn now() -> Instant {
    Instant::now()
}
