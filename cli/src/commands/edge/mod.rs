//! `remit edge`: who may join, who has, and who is cut off.

mod bootstrap;
mod drain;
mod enforcement_point;
mod token;

use clap::Subcommand;
use remit_common::id::EdgeId;
use remit_common::revocation::{Cut, CutKind};
use remit_control_plane::admin::model::{EdgeStatus, Edges, WaitingEdge};
use serde_json::json;

use super::revoke;
use crate::admin::Admin;
use crate::context::Context;
use crate::failure::{Exit, Failure};

/// What voters know of edges.
const EDGES: &str = "/v1/edges";

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example: let an edge join
  remit edge token create --region eu-west --name eu-west-7 --ttl 10m -o eu-west-7.token
  (carry the file to the edge, whose configuration names it as `enrolment.token`, and start the edge)
  remit edge ls --json
  (put the `row` of the waiting edge into the directory, sign that, and post it to `/v1/trust`)

Example: take an edge out of service, and back
  remit edge drain eu-west-7 --wait
  remit edge drain eu-west-7 --undo

Example: cut an edge off
  remit edge evict eu-west-7
  (sign a directory without it: a cut ends after 90 days)")]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show every edge, and those that wait for the directory to list them
    Ls,
    /// Make, show and take back the tokens by which edges join
    Token(token::Args),
    /// Have an edge take no new work and let what is under way end, before it is stopped or moved
    Drain(drain::Args),
    /// Write a folder from which edges start while no voter can be reached
    Bootstrap(bootstrap::Args),
    /// Make the token of a platform that asks an edge what policy says (AuthZEN)
    EnforcementPoint(enforcement_point::Args),
    /// Cut an edge off: it decides nothing any more, and voters do not serve it
    Evict {
        /// Which edge
        id: EdgeId,
    },
}

pub(super) async fn run(args: &Args, context: &Context) -> Result<Exit, Failure> {
    match &args.verb {
        Verb::Ls => ls(context).await,
        Verb::Token(args) => token::run(args, context).await,
        Verb::Drain(args) => drain::run(args, context).await,
        Verb::Bootstrap(args) => bootstrap::run(args, context).await,
        Verb::EnforcementPoint(args) => enforcement_point::run(args, context),
        Verb::Evict { id } => evict(context, id).await,
    }
}

async fn ls(context: &Context) -> Result<Exit, Failure> {
    let mesh = context.mesh()?;
    let edges: Edges = Admin::new(context, &mesh)?.get(EDGES).await?;
    context.output.document(&edges);
    let rows = edges.edges.iter().map(row).chain(edges.waiting.iter().map(waiting_row));
    context.output.table(["", "region", "directory", "connected to", "runs", "certificate ends"], rows);
    if !edges.waiting.is_empty() {
        context.output.line(
            "\nan edge that waits serves when a directory lists it: `remit edge ls --json` has the `row` to put in",
        );
    }
    if !edges.unreachable.is_empty() {
        let silent: Vec<String> = edges.unreachable.iter().map(ToString::to_string).collect();
        context.output.line(format!("\nvoters that did not answer: {}", silent.join(", ")));
    }
    Ok(Exit::Done)
}

fn row(edge: &EdgeStatus) -> [String; 6] {
    let connected: Vec<String> = edge.connected.iter().map(ToString::to_string).collect();
    let connected = if connected.is_empty() { "nobody".to_owned() } else { connected.join(", ") };
    let runs: Vec<String> = edge
        .running
        .iter()
        .map(|running| {
            let version = running.version.map_or_else(|| "?".to_owned(), |version| version.to_string());
            format!("{} {version}", running.attestation.tenant)
        })
        .collect();
    let listed = if edge.evicted { "listed, cut off" } else { "listed" };
    let ends = edge.certificate_ends.map_or_else(|| "not from a voter".to_owned(), |ends| ends.to_string());
    [edge.id.to_string(), edge.region.to_string(), listed.to_owned(), connected, runs.join(", "), ends]
}

fn waiting_row(edge: &WaitingEdge) -> [String; 6] {
    let [id, region] = [edge.row.id.to_string(), edge.row.region.to_string()];
    let none = String::new;
    [id, region, "waits".to_owned(), none(), none(), edge.certificate_ends.to_string()]
}

async fn evict(context: &Context, id: &EdgeId) -> Result<Exit, Failure> {
    let mesh = context.mesh()?;
    let admin = Admin::new(context, &mesh)?;
    let cut = Cut { tenant: mesh.tenant.clone().into(), kind: CutKind::Edge, id: id.to_string() };
    let made = revoke::revoke(&admin, &cut).await?;
    let edges: Edges = admin.get(EDGES).await?;
    let found = edges.edges.iter().find(|edge| edge.id == *id);
    let evicted = found.is_some_and(|edge| edge.evicted);
    context.output.document(&json!({
        "epoch": made.epoch,
        "index": made.index,
        "until": made.until.to_string(),
        "listed": found.is_some(),
        "evicted": evicted,
    }));
    context
        .output
        .line(format!("{id} is cut for tenant {} as of epoch {}, until {}", mesh.tenant, made.epoch, made.until));
    match (found.is_some(), evicted) {
        (false, _) => context.output.line("the directory does not list it, so no voter serves it anyway"),
        (true, true) => context.output.line("voters do not serve it any more"),
        (true, false) => context.output.line(
            "voters go on serving it for the tenants that have not cut it: an administrator of theirs has to do the same",
        ),
    }
    context
        .output
        .line(format!("next: sign a directory without it, and remit revocation coverage {} --wait", made.epoch));
    Ok(Exit::Done)
}
