//! `remit drill soak`: random failures by the thousand, in the simulation.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt as _};
use remit_chaos::history::{Event, jsonl};
use remit_chaos::invariant::{Context as Judging, Judgement, Outcome, Status};
use remit_chaos::launcher::Folder;
use remit_chaos::sim::run::{Setup, run as simulate};
use remit_common::net::tasks::Shutdown;
use serde::Serialize;

use crate::context::{Context, DEFAULT_FOLDER};
use crate::failure::{Exit, Failure};
use crate::signals;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How many seeds
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    seeds: u64,
    /// The first of them
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Simulated seconds of each run
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(30..=86_400))]
    seconds: u64,
    /// How many of them are run twice, to see that the same seed gives the same run
    #[arg(long, default_value_t = 0)]
    twice: u64,
    /// Runs at the same time, each on one processor
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    jobs: u32,
    /// The folder for histories of seeds that failed [default: ./.remit/soak]
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
}

/// One seed, run.
struct Ran {
    seed: u64,
    context: Judging,
    judgement: Judgement,
    trace: String,
    /// Kept of runs that failed.
    events: Vec<Event>,
    /// What the second run of the seed left, where it differs.
    diverged: Option<String>,
}

/// All seeds together.
#[derive(Debug, Default, Serialize)]
struct Soaked {
    seeds: u64,
    from: u64,
    seconds: u64,
    twice: u64,
    /// Simulated seconds for each second of the wall clock.
    speed: f64,
    faults: BTreeMap<String, u64>,
    operations: BTreeMap<String, u64>,
    /// How often each invariant was judged with something to look at.
    checked: BTreeMap<String, u64>,
    failing: Vec<Failing>,
}

#[derive(Debug, Serialize)]
struct Failing {
    seed: u64,
    why: Vec<String>,
    history: Option<PathBuf>,
    reproduce: String,
    #[serde(skip)]
    exit: Exit,
}

pub(super) async fn run(args: &Args, context: &Context) -> Result<Exit, Failure> {
    let interrupt = Shutdown::new();
    signals::trigger_on_signal(&context.env, &interrupt)?;
    let began = context.env.now().boot;
    let progress = context.output.progress("0 seeds");
    let mut soaked = Soaked { from: args.from, seconds: args.seconds, ..Soaked::default() };
    let mut next = args.from..args.from.saturating_add(args.seeds);
    let mut running = FuturesUnordered::new();
    loop {
        while running.len() < usize::try_from(args.jobs).unwrap_or(1) && !interrupt.is_requested() {
            let Some(seed) = next.next() else { break };
            running.push(one(seed, seed - args.from < args.twice, args.seconds, context));
        }
        let Some(ran) = running.next().await else { break };
        soaked.take(ran, args, context)?;
        let (seeds, failing) = (soaked.seeds, soaked.failing.len());
        progress.set_message(format!("{seeds} of {} seeds, {failing} failing", args.seeds));
    }
    progress.finish_and_clear();
    let took =
        Duration::from_millis(context.env.now().boot.as_millis().saturating_sub(began.as_millis())).as_secs_f64();
    let runs = u32::try_from(soaked.seeds + soaked.twice).unwrap_or(u32::MAX);
    soaked.speed = f64::from(runs) * Duration::from_secs(args.seconds).as_secs_f64() / took.max(0.001);
    context.output.document(&soaked);
    show(&soaked, took, context);
    let stopped = if interrupt.is_requested() { Exit::Aborted } else { Exit::Done };
    let worst = |exit| soaked.failing.iter().any(|failing| failing.exit == exit);
    Ok([Exit::Fault, Exit::Vacuous, Exit::Failed].into_iter().find(|exit| worst(*exit)).unwrap_or(stopped))
}

/// One seed, on a thread of its own; a run that broke down is named by its seed.
async fn one(seed: u64, twice: bool, seconds: u64, context: &Context) -> Result<Ran, (u64, String)> {
    let work = move || {
        let setup = Setup::usual(Duration::from_secs(seconds))?;
        let first = simulate(seed, &setup)?;
        let again = if twice { Some(simulate(seed, &setup)?.digest) } else { None };
        let diverged = again.filter(|again| *again != first.digest).map(|again| again.to_string());
        let failed = first.judgement.outcome() != Outcome::Held || diverged.is_some();
        let events = if failed { first.history.events() } else { Vec::new() };
        Ok(Ran {
            seed,
            context: first.context,
            judgement: first.judgement,
            trace: first.digest.to_string(),
            events,
            diverged,
        })
    };
    let ran: anyhow::Result<Ran> =
        context.env.run_blocking(work).await.map_err(|_| (seed, "it panicked".to_owned()))?;
    ran.map_err(|fault| (seed, format!("{fault:#}")))
}

impl Soaked {
    fn take(&mut self, ran: Result<Ran, (u64, String)>, args: &Args, context: &Context) -> Result<(), Failure> {
        self.seeds += 1;
        let again = |seed: u64| format!("remit drill soak --from {seed} --seeds 1 --seconds {}", args.seconds);
        let ran = match ran {
            Ok(ran) => ran,
            Err((seed, fault)) => {
                tracing::warn!(seed, fault, "a run broke down");
                let why = vec![format!("the run broke down: {fault}")];
                self.failing.push(Failing { seed, why, history: None, reproduce: again(seed), exit: Exit::Failed });
                return Ok(());
            }
        };
        self.twice += u64::from(ran.seed - args.from < args.twice);
        let Judgement { verdicts, vacuous, figures } = &ran.judgement;
        for (fault, count) in &figures.faults {
            *self.faults.entry(fault.clone()).or_default() += count;
        }
        for (operation, tally) in &figures.operations {
            *self.operations.entry(operation.clone()).or_default() += tally.ok;
        }
        for verdict in verdicts.iter().filter(|verdict| verdict.status != Status::NotMeasured) {
            *self.checked.entry(verdict.id.to_string()).or_default() += 1;
        }
        let mut why: Vec<String> = Vec::new();
        for verdict in ran.judgement.violated() {
            let first = verdict.breaches.first().map_or(verdict.title.as_str(), |breach| breach.sentence.as_str());
            why.push(format!("{}: {first}", verdict.id));
        }
        for missing in vacuous.iter().flat_map(|vacuous| &vacuous.missing) {
            why.push(format!("too little: {} {}, at least {}", missing.seen, missing.what, missing.least));
        }
        if let Some(other) = &ran.diverged {
            why.push(format!("two runs of this seed differ: {} and {other}", ran.trace));
        }
        if why.is_empty() {
            return Ok(());
        }
        // Said at once, because a soak may take hours.
        tracing::warn!(seed = ran.seed, why = why.join("; "), "a seed fails");
        let folder = args.report.clone().unwrap_or_else(|| Path::new(DEFAULT_FOLDER).join("soak"));
        let folder = Folder::create(&context.env, &folder)?.sub(&ran.seed.to_string())?;
        let history = folder.write("history.jsonl", jsonl::write_judged(&ran.events, &ran.context).as_bytes())?;
        let is_vacuous = ran.judgement.outcome() == Outcome::Vacuous && ran.diverged.is_none();
        let exit = if is_vacuous { Exit::Vacuous } else { Exit::Fault };
        self.failing.push(Failing { seed: ran.seed, why, history: Some(history), reproduce: again(ran.seed), exit });
        Ok(())
    }
}

fn show(soaked: &Soaked, took: f64, context: &Context) {
    let output = &context.output;
    let counts = |counts: &BTreeMap<String, u64>| {
        counts.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
    };
    let Soaked { seeds, from, seconds, twice, speed, .. } = soaked;
    output.line(format!("{} {seeds} from {from}, {seconds} simulated seconds each", output.strong("seeds     ")));
    output.line(format!("{} {}", output.strong("faults    "), counts(&soaked.faults)));
    output.line(format!("{} {}", output.strong("answered  "), counts(&soaked.operations)));
    output.line(format!("{} {}", output.strong("judged    "), counts(&soaked.checked)));
    output.line(format!("{} {twice} seeds, for equal traces", output.strong("run twice ")));
    output.line(format!("{} {took:.0} s, {speed:.0} simulated seconds a second", output.strong("took      ")));
    for failing in &soaked.failing {
        output.line(format!("\n{} seed {}", output.bad("FAIL"), failing.seed));
        for why in &failing.why {
            output.line(format!("     {why}"));
        }
        if let Some(history) = &failing.history {
            output.line(format!("     history  {}", history.display()));
        }
        output.line(format!("     again    {}", failing.reproduce));
    }
    let failing = soaked.failing.len();
    output.line(if failing == 0 {
        format!("{} no promise was broken", output.good("ok"))
    } else {
        format!("\n{} of {seeds} seeds failed", output.bad(&failing.to_string()))
    });
}
