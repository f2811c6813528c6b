//! `remit drill run`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::ValueEnum;
use remit_chaos::drill::backend::BackendKind;
use remit_chaos::drill::crew::Workers;
use remit_chaos::drill::engine::{Options, play};
use remit_chaos::drill::file::Drill;
use remit_chaos::drill::outcome::{Conclusion, DrillOutcome, RunStatus};
use remit_chaos::launcher::Folder;
use remit_chaos::live::{self, Netns};
use remit_chaos::report;
use remit_chaos::sim::rehearsal::rehearse;
use remit_common::crypto::digest::Digest;
use remit_common::net::tasks::Shutdown;

use super::list;
use super::terminal::{Terminal, paint};
use crate::context::{Context, DEFAULT_FOLDER};
use crate::failure::{Exit, Failure};
use crate::{files, signals};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A drill file, or the name of a drill that comes with remit
    drill: String,
    /// Where it is played
    #[arg(long, value_enum, default_value_t = Where::Sim)]
    backend: Where,
    /// What randomness grows from; in the simulation the same seed gives the same run [default: the file's, or a new one]
    #[arg(long)]
    seed: Option<u64>,
    /// The folder for the report [default: ./.remit/drills/NAME-SEED]
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// Check the drill and show what it would do, and to whom; start nothing
    #[arg(long)]
    dry_run: bool,
    /// Fail with exit code 1 when this machine cannot play the drill, instead of skipping it
    #[arg(long)]
    require: bool,
}

/// The worlds that a drill can be played in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Where {
    /// In this process, on simulated time, network and disks
    Sim,
    /// Real processes in network namespaces of this machine; needs root
    Netns,
    /// A mesh that runs somewhere else; not built yet
    Remote,
}

pub(super) async fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    let drill = super::open(&args.drill, context)?;
    let kind = match args.backend {
        Where::Sim => BackendKind::Sim,
        Where::Netns => BackendKind::Netns,
        Where::Remote => {
            let message = "drills on a remote mesh are not built yet; nothing was started";
            return Err(Failure::new(Exit::Usage, message).reason("backend_not_built").hint(
                "`--backend sim` plays it in this process, `--backend netns` on real processes of this machine",
            ));
        }
    };
    if args.dry_run {
        list::show(&drill, context);
        return Ok(Exit::Done);
    }
    let seed = args.seed.or(drill.seed).unwrap_or_else(|| u64::from(u16::from_be_bytes(context.env.random())));
    let folder = args
        .report
        .clone()
        .unwrap_or_else(|| Path::new(DEFAULT_FOLDER).join("drills").join(format!("{}-{seed}", drill.copy.name)));
    let folder = Folder::create(&context.env, &folder)?;
    let interrupt = Shutdown::new();
    signals::trigger_on_signal(&context.env, &interrupt)?;
    let backend = match kind {
        BackendKind::Sim => "sim",
        BackendKind::Netns => "netns",
    };
    let options = Options {
        seed,
        wall: context.now(),
        reproduce: format!("remit drill run {} --backend {backend} --seed {seed}", args.drill),
        interrupt,
    };
    let output = &context.output;
    output.line(format!("{}, seed {seed}, on {backend}", output.strong(&drill.copy.title)));
    let terminal = Arc::new(Terminal::new(output));
    let played = match kind {
        BackendKind::Sim => simulated(drill, options, Arc::clone(&terminal), context).await,
        BackendKind::Netns => real(&drill, &options, &terminal, &folder).await,
    };
    terminal.end();
    end(&played?, &folder, args.require, context)
}

/// The key that the tools demand: recognisable wherever it turns up.
fn secret(seed: u64) -> Vec<u8> {
    format!("drill-canary-{}", Digest::of(&[b"remit drill secret", &seed.to_be_bytes()])).into_bytes()
}

/// On a thread of its own: simulated time is the time of a runtime.
async fn simulated(
    drill: Drill,
    options: Options,
    terminal: Arc<Terminal>,
    context: &Context,
) -> Result<DrillOutcome, Failure> {
    let played = context.env.run_blocking(move || rehearse(&drill, &options, &*terminal)).await;
    let played =
        played.map_err(|_| Failure::new(Exit::Failed, "the simulation broke down; what it said stands above"))?;
    played.map_err(Failure::from)
}

async fn real(drill: &Drill, options: &Options, terminal: &Terminal, folder: &Folder) -> Result<DrillOutcome, Failure> {
    let secret = secret(options.seed);
    let netns = live::Options {
        executable: files::executable()?,
        key_hash: Digest::of(&[&secret]),
        keep: Some(folder.path().join("nodes")),
        guard: true,
        runtime: None,
    };
    let mut backend = Netns::new(netns)?;
    let mut crew = Workers::new(secret);
    Ok(Box::pin(play(drill, &mut backend, &mut crew, options, terminal)).await)
}

/// Writes the report and says what came of it.
fn end(outcome: &DrillOutcome, folder: &Folder, require: bool, context: &Context) -> Result<Exit, Failure> {
    let written = report::write(outcome, folder)?;
    context.output.document(&report::terminal::document(outcome, Some(&written)));
    context.output.line("");
    for line in report::terminal::lines(outcome, Some(&written)) {
        context.output.line(paint(&line, &context.output));
    }
    Ok(exit(outcome, require))
}

fn exit(outcome: &DrillOutcome, require: bool) -> Exit {
    match outcome.conclusion() {
        Conclusion::Passed => Exit::Done,
        // A mesh that did not start has shown nothing, neither good nor bad.
        Conclusion::Deviated if outcome.status == RunStatus::Failed && outcome.before.is_none() => Exit::Failed,
        Conclusion::Deviated => Exit::Fault,
        Conclusion::Vacuous => Exit::Vacuous,
        Conclusion::Aborted => Exit::Aborted,
        Conclusion::Skipped if require => Exit::Failed,
        Conclusion::Skipped => Exit::Done,
    }
}
