//! Minimum and median of many single runs, the median of the calmest stretch of them: on a machine that others use, too,
//! those two say something.

use std::hint::black_box;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Stretches of which the calmest counts.
const STRETCHES: usize = 10;

/// What many runs took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figures {
    /// The quickest run.
    pub minimum: Duration,
    /// The run in the middle, of that tenth of the runs in which it was the quickest.
    pub median: Duration,
    /// How many runs there were.
    pub runs: usize,
}

/// How a program of measurements ends: well only if every budget was kept.
pub fn exit(kept: anyhow::Result<bool>) -> ExitCode {
    match kept {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs `work` over all inputs, `rounds` times, and times each run by itself. One more round comes first, untimed.
pub fn measure<I, O>(inputs: &[I], rounds: usize, work: impl Fn(&I) -> O) -> Figures {
    for input in inputs {
        black_box(work(black_box(input)));
    }
    let mut times = Vec::with_capacity(inputs.len() * rounds);
    for _ in 0..rounds {
        for input in inputs {
            let started = now();
            black_box(work(black_box(input)));
            times.push(started.elapsed());
        }
    }
    figures(&times, inputs.len() * rounds.div_ceil(STRETCHES))
}

/// Runs `work` over each input once, for inputs that are used up by it. The first tenth is not counted.
pub fn measure_once<I, O>(inputs: &[I], mut work: impl FnMut(&I) -> O) -> Figures {
    let (warm_up, counted) = inputs.split_at(inputs.len() / 10);
    for input in warm_up {
        black_box(work(black_box(input)));
    }
    let mut times = Vec::with_capacity(counted.len());
    for input in counted {
        let started = now();
        black_box(work(black_box(input)));
        times.push(started.elapsed());
    }
    figures(&times, times.len().div_ceil(STRETCHES))
}

/// `stretch` runs have every input in them equally often.
fn figures(times: &[Duration], stretch: usize) -> Figures {
    let median = |stretch: &[Duration]| {
        let mut sorted = stretch.to_vec();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied().unwrap_or_default()
    };
    Figures {
        minimum: times.iter().min().copied().unwrap_or_default(),
        median: times.chunks_exact(stretch.max(1)).map(median).min().unwrap_or_default(),
        runs: times.len(),
    }
}

#[expect(clippy::disallowed_methods, reason = "measuring is what benches are for; no other code of ours does it")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// A moment, and what has passed since.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// From now on.
    #[must_use]
    pub fn start() -> Self {
        Self(now())
    }

    /// Since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    /// From the start to that moment; nothing if it came before.
    #[must_use]
    pub fn until(&self, moment: Instant) -> Duration {
        moment.saturating_duration_since(self.0)
    }
}
