//! Plants bugs, one after the other, and sees whether the checks of the simulation find them.
//!
//! A suite of drills that holds says little until it is known what it would have found. So each bug of
//! [`remit_common::planted`] is planted in the real code and runs are played, seed after seed, until a promise that it
//! breaks is seen broken. The score is the share of bugs that were found; how many seeds that took says how lucky one
//! has to be. First some runs are played without a bug: there nothing may be found. And whatever is found with a bug
//! counts only if the same seed does not break the same promise without it.

mod hunt;
mod scene;
mod table;

use std::io::{BufRead as _, Write as _};
use std::num::NonZero;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use remit_common::planted::{Bug, MARKER};

use self::hunt::{Clean, Hunt, Limits};
use self::scene::{Play, Scene, drill_for};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A check found a fault: a bug was not found, or something was found without one.
const FAULT: u8 = 4;
/// The command line does not make sense.
const USAGE: u8 = 2;

/// Plants bugs in the code of the mesh and counts how many the drills' checks find.
#[derive(Debug, Parser)]
#[command(
    name = "remit-mutation",
    version,
    max_term_width = 110,
    after_help = "Exit codes: 0 every bug was found; 4 a bug was not found, or something was found without a bug."
)]
struct Cli {
    /// Only these bugs; all of them otherwise. `--list` names them.
    #[arg(value_name = "BUG")]
    bugs: Vec<String>,
    /// Name every bug and stop.
    #[arg(long)]
    list: bool,
    /// Seeds to try for each bug.
    #[arg(long, value_name = "COUNT", default_value_t = 200)]
    seeds_max: u64,
    /// The first seed.
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    first_seed: u64,
    /// Seeds that are played without a bug beforehand.
    #[arg(long, value_name = "COUNT", default_value_t = 10)]
    clean_seeds: u64,
    /// Go on when something is found without a bug: it is not counted.
    #[arg(long)]
    keep_going: bool,
    /// In which kind of run.
    #[arg(long, value_enum, default_value_t = Scene::Hard)]
    scene: Scene,
    /// Simulated seconds of each run.
    #[arg(long, value_name = "SECONDS", default_value_t = 45)]
    seconds: u64,
    /// Runs at the same time; as many as there are processors otherwise.
    #[arg(long, value_name = "COUNT")]
    jobs: Option<NonZero<usize>>,
    /// Print one JSON document instead of a table.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Err(why) = check_marker() {
        progress(&why);
        return ExitCode::from(FAULT);
    }
    if cli.list {
        return print(&table::catalogue());
    }
    let bugs = match chosen(&cli.bugs) {
        Ok(bugs) => bugs,
        Err(why) => {
            progress(&why);
            return ExitCode::from(USAGE);
        }
    };
    let play = match cli.scene.setup(Duration::from_secs(cli.seconds)) {
        Ok(setup) => Play::Random(Box::new(setup)),
        Err(error) => {
            progress(&format!("{error:#}"));
            return ExitCode::FAILURE;
        }
    };
    let jobs = cli.jobs.or_else(|| std::thread::available_parallelism().ok()).map_or(1, NonZero::get);
    let limits = Limits { first_seed: cli.first_seed, seeds_max: cli.seeds_max, jobs };
    let mut clean = Clean::new(&play, &progress);
    clean.play(Limits { seeds_max: cli.clean_seeds, ..limits });
    if clean.counts().1 > 0 && !cli.keep_going {
        progress("what is found with a bug proves little then; --keep-going counts only what such seeds do not break");
        return ExitCode::from(FAULT);
    }
    // A planted bug makes voters panic, as it should; what comes of that is judged like everything else.
    std::panic::set_hook(Box::new(|_| {}));
    let hunts: Vec<Hunt> = bugs
        .into_iter()
        .map(|bug| match drill_for(bug) {
            Some(drill) => hunt::hunt(bug, limits, &mut Clean::new(&Play::Drill(drill), &progress)),
            None => hunt::hunt(bug, limits, &mut clean),
        })
        .collect();
    let render = if cli.json { table::json } else { table::text };
    let printed = print(&render(&hunts, cli.scene, clean.counts()));
    if hunts.iter().all(|hunt| hunt.found.is_some()) { printed } else { ExitCode::from(FAULT) }
}

/// Tests look for the marker in every other program; that it is in this one shows that they could find it.
fn check_marker() -> Result<(), String> {
    #[expect(clippy::disallowed_methods, reason = "this program looks at itself")]
    let own = std::fs::read("/proc/self/exe").map_err(|error| format!("cannot read this program: {error}"))?;
    let (first, rest) = MARKER.as_bytes().split_first().ok_or("the marker is empty")?;
    let mut left = own.as_slice();
    let mut is_there = false;
    // From one first byte to the next, with a search that is fast in any build.
    while !is_there && left.skip_until(*first).is_ok_and(|skipped| skipped > 0) {
        is_there = left.starts_with(rest);
    }
    if is_there {
        Ok(())
    } else {
        Err("this program lacks the marker by which programs with bugs are known".to_owned())
    }
}

fn chosen(names: &[String]) -> Result<Vec<Bug>, String> {
    if names.is_empty() {
        return Ok(Bug::ALL.to_vec());
    }
    let find = |name: &String| {
        let found = Bug::ALL.into_iter().find(|bug| bug.as_str() == name);
        found.ok_or_else(|| format!("there is no bug `{name}`; --list names them"))
    };
    names.iter().map(find).collect()
}

fn print(text: &str) -> ExitCode {
    match writeln!(std::io::stdout(), "{text}") {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads has gone.
        Err(_) => ExitCode::FAILURE,
    }
}

fn progress(line: &str) {
    // Whoever watches may have gone.
    let _ = writeln!(std::io::stderr(), "{line}");
}
