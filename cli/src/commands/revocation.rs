//! `remit revocation`: what is cut, and where that is enforced already.

use std::time::Duration;

use clap::Subcommand;
use remit_chaos::launcher::MeshFile;
use remit_common::id::{MeshId, RevocationEpoch};
use remit_common::time::Timestamp;
use remit_common::trust::directory::Directory;
use remit_control_plane::admin::model::{Coverage, EdgeCoverage, RevocationList};

use crate::admin::Admin;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::trust;

/// Between two questions while waiting.
const POLL: Duration = Duration::from_millis(100);
/// The longest wait for a commit. Once it is committed, the answer says itself how long the rest can take.
const COMMIT_WITHIN: Duration = Duration::from_secs(30);

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
        /// Wait until every edge has signed that it enforces the epoch, or must have stopped by itself
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

async fn ls(context: &Context) -> Result<Exit, Failure> {
    let mesh = context.mesh()?;
    let list: RevocationList = Admin::new(context, &mesh)?.get("/v1/revocations").await?;
    context.output.document(&list);
    context.output.line(format!("epoch {}", list.epoch));
    let row = |entry: &remit_common::revocation::Revocation| {
        [entry.cut.tenant.to_string(), entry.cut.kind.to_string(), entry.cut.id.clone(), entry.until.to_string()]
    };
    context.output.table(["tenant", "what", "which", "until"], list.revocations.iter().map(row));
    Ok(Exit::Done)
}

/// What the voters say about an epoch, each edge's signature checked here and not believed from there.
pub(crate) async fn ask_coverage(
    admin: &Admin,
    mesh: &MeshId,
    directory: &Directory,
    epoch: RevocationEpoch,
) -> Result<Coverage, Failure> {
    let mut coverage: Coverage = admin.get(&format!("/v1/revocations/{epoch}/coverage")).await?;
    for edge in &mut coverage.edges {
        edge.covered = edge.covered && is_proven(edge, mesh, directory, epoch);
    }
    coverage.covered = coverage.edges.iter().all(|edge| edge.covered);
    Ok(coverage)
}

fn is_proven(edge: &EdgeCoverage, mesh: &MeshId, directory: &Directory, epoch: RevocationEpoch) -> bool {
    let (Some(ack), Some(listed)) = (&edge.ack, directory.edge(&edge.edge)) else { return false };
    ack.edge == edge.edge && ack.epoch >= epoch && ack.verify(mesh, &listed.identity).is_ok()
}

/// Waits until the epoch is committed and every edge is covered or has stopped by itself. Calls `tell` with each
/// answer.
pub(crate) async fn wait_coverage(
    context: &Context,
    admin: &Admin,
    mesh: &MeshFile,
    directory: &Directory,
    epoch: RevocationEpoch,
    mut tell: impl FnMut(&Coverage),
) -> Result<Coverage, Failure> {
    let started = context.now();
    loop {
        let coverage = ask_coverage(admin, &mesh.mesh_id, directory, epoch).await?;
        tell(&coverage);
        let now = context.now();
        if coverage.covered || coverage.everywhere_by.is_some_and(|by| now >= by) {
            return Ok(coverage);
        }
        if !coverage.committed && now.since(started) > COMMIT_WITHIN {
            let message = format!("epoch {epoch} is not committed after {} s", COMMIT_WITHIN.as_secs());
            return Err(
                Failure::new(Exit::Failed, message).hint("`remit status` shows whether a majority of voters runs")
            );
        }
        tokio::time::sleep(POLL).await;
    }
}

async fn coverage(context: &Context, epoch: RevocationEpoch, wait: bool) -> Result<Exit, Failure> {
    let mesh = context.mesh()?;
    let admin = Admin::new(context, &mesh)?;
    let (_, directory) = trust::directory(context, &mesh).await?;
    let coverage = if wait {
        let progress = context.output.progress("waiting for the edges");
        let tell = |coverage: &Coverage| {
            let covered = coverage.edges.iter().filter(|edge| edge.covered).count();
            progress.set_message(format!("{covered} of {} edges enforce epoch {epoch}", coverage.edges.len()));
        };
        let waited = wait_coverage(context, &admin, &mesh, &directory, epoch, tell).await;
        progress.finish_and_clear();
        waited?
    } else {
        ask_coverage(&admin, &mesh.mesh_id, &directory, epoch).await?
    };
    context.output.document(&coverage);
    print(context, &coverage);
    let in_force = coverage.covered || coverage.everywhere_by.is_some_and(|by| context.now() >= by);
    Ok(if in_force || !wait { Exit::Done } else { Exit::Failed })
}

fn print(context: &Context, coverage: &Coverage) {
    let output = &context.output;
    let row = |edge: &EdgeCoverage| {
        let state = if edge.covered { "enforces it" } else { "not heard" };
        let stops = edge.stops.iter().map(|(effect, at)| format!("{effect} {at}")).collect::<Vec<_>>().join(", ");
        [edge.edge.to_string(), edge.region.to_string(), state.to_owned(), stops]
    };
    output.table(["edge", "region", "", "stops by itself at"], coverage.edges.iter().map(row));
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
