//! `remit drill`: rehearse failures, and see whether the mesh keeps its promises.

mod check_history;
mod list;
mod run;
mod soak;
mod terminal;
mod undo;

use std::path::{Path, PathBuf};

use clap::Subcommand;
use remit_chaos::drill::complaint::Complaints;
use remit_chaos::drill::file::{Drill, FILE_BYTES_MAX};
use remit_chaos::drill::shipped::{DRILLS, shipped};

use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::files;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  remit drill ls
  remit drill check leader-loss                     what it would do, and to whom
  remit drill run leader-loss --seed 7              in the simulation: same seed, same run
  sudo remit drill run leader-loss --backend netns  on real processes of this machine
  remit drill soak --seeds 200 --jobs 4             random failures; any that break a promise are named
  sudo remit drill undo --all                       puts back what a killed run left behind")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Sub,
}

#[derive(Debug, Subcommand)]
enum Sub {
    /// Show the drills that come with remit, and those of a folder
    Ls(list::Args),
    /// Check a drill and show what it would do, step by step; nothing is started
    Check {
        /// A drill file, or the name of a drill that comes with remit
        drill: String,
    },
    /// Play a drill and say whether the mesh kept its promises
    Run(run::Args),
    /// Play random failures by the hundred, in the simulation
    Soak(soak::Args),
    /// Put back what runs that were killed have left behind on this machine
    Undo(undo::Args),
    /// Judge the history of a run anew
    CheckHistory(check_history::Args),
    /// Watch over a run and undo it when its runner dies
    #[command(hide = true)]
    Guard {
        /// The folder of the run's undo journal
        #[arg(long)]
        journal: PathBuf,
    },
}

impl Args {
    /// Whether this is the guard of a run, which says nothing.
    pub(super) fn is_guard(&self) -> bool {
        matches!(self.command, Sub::Guard { .. })
    }
}

pub(super) async fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    match args.command {
        Sub::Ls(args) => list::run(&args, context),
        Sub::Check { drill } => list::check(&drill, context),
        Sub::Run(args) => Box::pin(run::run(args, context)).await,
        Sub::Soak(args) => soak::run(&args, context).await,
        Sub::Undo(args) => undo::run(&args, context).await,
        Sub::CheckHistory(args) => check_history::run(&args, context),
        Sub::Guard { journal } => undo::guard(journal, context).await,
    }
}

/// The drill that somebody named: a file, or one that comes with remit.
fn open(name: &str, context: &Context) -> Result<Drill, Failure> {
    let is_name = !name.contains('/') && !name.ends_with(".yaml") && !Path::new(name).exists();
    if is_name && let Some(text) = shipped(name) {
        return Drill::read(name, text).map_err(|wrong| refused(&wrong));
    }
    if is_name {
        let known: Vec<&str> = DRILLS.iter().map(|(name, _)| *name).collect();
        let message = format!("there is no drill `{name}`");
        return Err(Failure::new(Exit::Usage, message).hint(format!("a file, or one of: {}", known.join(", "))));
    }
    let text = files::read_text(&context.env, Path::new(name), FILE_BYTES_MAX)?;
    Drill::read(name, &text).map_err(|wrong| refused(&wrong))
}

/// A file that cannot be played, with everything that is wrong with it.
fn refused(wrong: &Complaints) -> Failure {
    let many = match wrong.0.len() {
        1 => "1 fault".to_owned(),
        count => format!("{count} faults"),
    };
    let failure = Failure::new(Exit::Usage, format!("{many} in the drill; nothing was started\n\n{wrong}"));
    failure.reason("drill_faults")
}
