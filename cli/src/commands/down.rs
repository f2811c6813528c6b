//! `remit down`.

use remit_chaos::launcher::{remove_mesh, stop_foreign};
use serde::Serialize;

use crate::context::Context;
use crate::failure::{Exit, Failure};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  remit down")]
pub(crate) struct Args {
    /// Keep what `remit up` wrote to the folder; the next `remit up` needs another one then
    #[arg(long)]
    keep: bool,
}

#[derive(Serialize)]
struct Answer {
    stopped: usize,
    removed: bool,
}

pub(super) async fn run(args: &Args, context: &Context) -> Result<Exit, Failure> {
    let mesh = context.mesh()?;
    let progress = context.output.progress("stopping");
    let stopped = stop_foreign(&context.env, mesh.processes()).await;
    progress.finish_and_clear();
    if let (Some(folder), false) = (mesh.root.parent(), args.keep) {
        remove_mesh(folder)
            .map_err(|error| Failure::new(Exit::Failed, format!("cannot remove `{}`: {error}", folder.display())))?;
    }
    context.output.document(&Answer { stopped, removed: !args.keep });
    context.output.line(format!("stopped {stopped} processes"));
    Ok(Exit::Done)
}
