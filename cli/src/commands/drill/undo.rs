//! `remit drill undo`, and the guard of a run.

use std::path::PathBuf;

use remit_chaos::live;

use crate::context::Context;
use crate::failure::{Exit, Failure};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Every run of this machine that is over
    #[arg(long, required = true)]
    all: bool,
}

pub(super) async fn run(_: &Args, context: &Context) -> Result<Exit, Failure> {
    let undone = context.env.run_blocking(|| live::undo_all_runs(None)).await;
    let undone = undone.map_err(|fault| Failure::caused(Exit::Failed, &fault))??;
    let rows: Vec<_> = undone.iter().map(|run| serde_json::json!({"run": run.run, "left": run.left})).collect();
    context.output.document(&rows);
    if undone.is_empty() {
        context.output.line("nothing to undo: no run has left anything behind");
    }
    for run in &undone {
        if run.left.is_empty() {
            context.output.line(format!("{} run {}: everything is undone", context.output.good("ok"), run.run));
        }
        for left in &run.left {
            context.output.line(format!("{} run {}: {left}", context.output.bad("left"), run.run));
        }
    }
    if undone.iter().any(|run| !run.left.is_empty()) {
        let failure = Failure::new(Exit::Failed, "not everything could be undone");
        return Err(failure.hint("namespaces, mounts and control groups need root: try again with sudo"));
    }
    Ok(Exit::Done)
}

/// Waits for the end of a runner and undoes what it leaves.
pub(super) async fn guard(journal: PathBuf, context: &Context) -> Result<Exit, Failure> {
    let guarded = context.env.run_blocking(move || live::guard(&journal)).await;
    guarded.map_err(|fault| Failure::caused(Exit::Failed, &fault))??;
    Ok(Exit::Done)
}
