//! `remit demo`.

use remit_common::id::Region;
use remit_common::net::tasks::Shutdown;

use crate::context::Context;
use crate::demo::{Stage, Story, play};
use crate::failure::{Exit, Failure};
use crate::local::{self, Shape};
use crate::signals;

/// The mesh of the story.
const VOTERS: u64 = 3;
const REGIONS: [&str; 2] = ["eu-west", "us-east"];
const EDGES: u32 = 3;

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  remit demo\n  remit demo --json | jq .figures")]
pub(crate) struct Args {
    /// Keep the folder with keys, data and logs, and say where it is
    #[arg(long)]
    keep: bool,
}

pub(super) async fn run(args: &Args, context: &Context) -> Result<Exit, Failure> {
    let folder = tempfile::Builder::new()
        .prefix("remit-demo-")
        .disable_cleanup(args.keep)
        .tempdir()
        .map_err(|error| Failure::new(Exit::Failed, format!("no temporary folder: {error}")))?;
    let shutdown = Shutdown::new();
    signals::trigger_on_signal(&context.env, &shutdown)?;
    let regions = REGIONS.iter().map(|name| Region::new(name)).collect::<Result<_, _>>();
    let shape = Shape {
        dir: folder.path().to_owned(),
        voters: VOTERS,
        regions: regions.map_err(|error| Failure::caused(Exit::Failed, &error))?,
        edges: EDGES,
        temporary: true,
        detached: false,
    };
    let (mut mesh, secret) = local::create(context, shape)?;
    context.output.line(format!(
        "{} {VOTERS} voters, {} regions with {EDGES} edges each, a tool server; in {}",
        context.output.strong("A mesh of real processes:"),
        REGIONS.len(),
        folder.path().display()
    ));
    let progress = context.output.progress("starting");
    let started = tokio::select! {
        biased;
        () = shutdown.requested() => Err(Failure::new(Exit::Aborted, "interrupted; everything is stopped")),
        started = mesh.start(|name| progress.set_message(format!("{name} is ready"))) => started.map_err(Failure::from),
    };
    progress.finish_and_clear();
    if let Err(failure) = started {
        mesh.stop().await;
        return Err(failure);
    }
    let mut stage = Stage::new(context, mesh, secret, Story::new(&context.output))?;
    let interrupted = tokio::select! {
        biased;
        () = shutdown.requested() => true,
        () = play(&mut stage) => false,
    };
    let took = stage.took();
    let Stage { mesh, story, .. } = stage;
    mesh.stop().await;
    if interrupted {
        return Err(Failure::new(Exit::Aborted, "interrupted; everything is stopped"));
    }
    story.end(took);
    if args.keep {
        context.output.line(format!("kept: {}", folder.path().display()));
    }
    Ok(if story.ok { Exit::Done } else { Exit::Failed })
}
