//! `remit revocation`: what is cut, and where that is enforced already.

use clap::Subcommand;
use remit_common::id::RevocationEpoch;
use remit_common::revocation::{Cut, Revocation};
use remit_common::time::Timestamp;
use remit_common::trust::directory::Directory;
use remit_common::trust::root::Root;
use remit_control_plane::admin::model::{EdgeCoverage, RevocationList};

use crate::admin::Admin;
use crate::context::Context;
use crate::coverage::{Asked, Proven, ask_coverage, wait_coverage};
use crate::failure::{Exit, Failure};
use crate::trust;

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  remit revocation ls\n  remit revocation coverage 1 --wait")]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List what is cut
    Ls,
    /// Say at which edges an epoch is enforced, and when it is everywhere
    Coverage {
        /// The epoch, as `remit revoke` printed it
        epoch: u64,
        /// Wait until the voters have sealed the epoch, and every edge has signed that it enforces it, or must have
        /// stopped by itself
        #[arg(long)]
        wait: bool,
    },
}

pub(super) async fn run(args: &Args, context: &Context) -> Result<Exit, Failure> {
    match args.verb {
        Verb::Ls => ls(context).await,
        Verb::Coverage { epoch, wait } => coverage(context, RevocationEpoch(epoch), wait).await,
    }
}

/// By what name a bundle lifts it, of what a bundle may lift.
fn name(entry: &Revocation) -> Option<String> {
    entry.cut.kind.is_brake().then(|| entry.name().to_string())
}

async fn ls(context: &Context) -> Result<Exit, Failure> {
    let mesh = context.mesh()?;
    let list: RevocationList = Admin::new(context, &mesh)?.get("/v1/revocations").await?;
    let mut document = serde_json::to_value(&list).map_err(|error| Failure::caused(Exit::Failed, &error))?;
    let entries = document.pointer_mut("/revocations").and_then(serde_json::Value::as_array_mut);
    for (shown, entry) in entries.into_iter().flatten().zip(&list.revocations) {
        if let Some(name) = name(entry) {
            shown["name"] = name.into();
        }
    }
    context.output.document(&document);
    context.output.line(format!("epoch {}", list.epoch));
    let row = |entry: &Revocation| {
        let Cut { tenant, kind, id } = entry.cut.clone();
        [tenant.to_string(), kind.to_string(), id, entry.until.to_string(), name(entry).unwrap_or_default()]
    };
    context
        .output
        .table(["tenant", "what", "which", "until", "a bundle lifts it by"], list.revocations.iter().map(row));
    Ok(Exit::Done)
}

async fn coverage(context: &Context, epoch: RevocationEpoch, wait: bool) -> Result<Exit, Failure> {
    let mesh = context.mesh()?;
    let admin = Admin::new(context, &mesh)?;
    let trust = trust::directory(context, &mesh).await?;
    let asked = Asked { epoch, cut: None };
    let proven = if wait {
        wait_and_tell(context, &admin, &trust, asked).await?
    } else {
        ask_coverage(context, &admin, &trust, &asked).await?
    };
    report(context, &proven);
    Ok(if proven.is_in_force(context.now()) || !wait { Exit::Done } else { Exit::Failed })
}

/// Waits, shows how far it is, and says so at the end.
pub(super) async fn wait_and_tell(
    context: &Context,
    admin: &Admin,
    trust: &(Root, Directory),
    asked: Asked,
) -> Result<Proven, Failure> {
    let progress = context.output.progress("waiting for the voters and the edges");
    let tell = |proven: &Proven| {
        let edges = &proven.coverage.edges;
        let covered = edges.iter().filter(|edge| edge.covered).count();
        let sealed = proven.seal.as_ref().map_or_else(String::new, |seal| format!(", {}", seal.words()));
        let epoch = asked.epoch;
        progress.set_message(format!("{covered} of {} edges enforce epoch {epoch}{sealed}", edges.len()));
    };
    let waited = wait_coverage(context, admin, trust, &asked, tell).await;
    progress.finish_and_clear();
    waited
}

/// Prints what is proven.
pub(super) fn report(context: &Context, proven: &Proven) {
    let (output, coverage) = (&context.output, &proven.coverage);
    output.document(proven);
    let row = |edge: &EdgeCoverage| {
        let state = if edge.covered { "enforces it" } else { "not heard" };
        let stops = edge.stops.iter().map(|(effect, at)| format!("{effect} {at}")).collect::<Vec<_>>().join(", ");
        [edge.edge.to_string(), edge.region.to_string(), state.to_owned(), stops]
    };
    output.table(["edge", "region", "", "stops by itself at"], coverage.edges.iter().map(row));
    if let Some(seal) = &proven.seal {
        let line = format!("epoch {}: {}", coverage.epoch, seal.words());
        output.line(if seal.sealed { output.good(&line) } else { line });
    }
    output.line(match (coverage.committed, coverage.covered, coverage.everywhere_by) {
        (false, _, _) => format!("epoch {} is not committed", coverage.epoch),
        (true, true, _) => output.good(&format!("epoch {} is enforced at every edge", coverage.epoch)),
        (true, false, Some(by)) => {
            format!("epoch {} holds everywhere by {by}, {}", coverage.epoch, away(by, context.now()))
        }
        (true, false, None) => {
            format!("epoch {} is committed; no time is known by which it holds everywhere", coverage.epoch)
        }
    });
    for voter in &coverage.unreachable {
        output.line(output.faint(&format!("voter {voter} does not answer; acks that only it has are missing here")));
    }
}

fn away(by: Timestamp, now: Timestamp) -> String {
    if now >= by { "which has passed".to_owned() } else { format!("in {} s", by.since(now).as_secs() + 1) }
}
