//! One file for each command.

mod agent;
pub(crate) mod bundle;
mod completions;
mod control_plane;
pub(crate) mod credential;
pub(crate) mod decision;
mod demo;
mod down;
mod drill;
mod edge;
mod edge_node;
pub(crate) mod envelope;
pub(crate) mod identity;
mod record;
pub(crate) mod relation;
pub(crate) mod revocation;
pub(crate) mod revoke;
mod rollout;
pub(crate) mod status;
mod tool_server;
mod trust;
mod up;
mod voter;

use clap::Subcommand;

use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output;

/// What `remit` can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Play the contract-renewal story on a real mesh, and say what was expected and what happened
    Demo(demo::Args),
    /// Start a local mesh with the example's policy, tools and credential
    Up(up::Args),
    /// Stop a mesh that `remit up` started, and remove its folder
    Down(down::Args),
    /// Show voters and edges
    Status(status::Args),
    /// Write, check, build, sign and push policy
    Bundle(bundle::Args),
    /// Look at bundles on their way, and hold them or take them back
    Rollout(rollout::Args),
    /// Make, narrow, show and check what an agent carries
    Envelope(envelope::Args),
    /// Stand between an agent and the edges: plain MCP here, proof of possession there
    Agent(agent::Args),
    /// Give agents of a development mesh a name that they can prove
    Identity(identity::Args),
    /// Seal what opens an end service
    Credential(credential::Args),
    /// Cut authority
    Revoke(revoke::Args),
    /// Show what is cut, and where that is enforced
    Revocation(revocation::Args),
    /// Read what was decided, and why
    Decision(decision::Args),
    /// Check that what was recorded is whole and unchanged
    Record(record::Args),
    /// Say who stands in which relation to what, without a bundle
    Relation(relation::Args),
    /// Let edges join, see how they are, and cut them off
    Edge(edge::Args),
    /// Make, sign, check and install the root and the directory that a mesh hangs on
    Trust(trust::Args),
    /// Change who votes, and who leads
    Voter(voter::Args),
    /// Rehearse failures and see whether the mesh keeps its promises
    Drill(drill::Args),
    /// Print completions for a shell
    Completions(completions::Args),
    /// Run a voter of the control plane
    ControlPlane(control_plane::Args),
    /// Run an edge
    EdgeNode(edge_node::Args),
    /// Run the tool server of the example
    #[command(hide = true)]
    ToolServer(tool_server::Args),
}

/// Runs one command.
pub(crate) async fn run(command: Command, context: Context) -> Result<Exit, Failure> {
    match &command {
        // The daemons say themselves where their log goes and how it looks.
        Command::ControlPlane(_) | Command::EdgeNode(_) => {}
        // A guard says nothing: nobody hears it.
        Command::Drill(args) if args.is_guard() => {}
        Command::ToolServer(_) => output::start_log("info"),
        // The nodes of a simulation are in this process, and what breaks in a drill is meant to. A filter holds for
        // every name that begins like its own, so each of theirs is turned off by itself.
        Command::Drill(_) => output::start_log(
            "off,remit=warn,remit_common=off,remit_control_plane=off,remit_edge_node=off,remit_chaos=warn",
        ),
        // What the MCP client of the demo cannot do is a check of the story, not a line of its log.
        _ => output::start_log("warn,rmcp=off"),
    }
    match command {
        Command::Demo(args) => Box::pin(demo::run(&args, &context)).await,
        Command::Up(args) => Box::pin(up::run(&args, &context)).await,
        Command::Down(args) => down::run(&args, &context).await,
        Command::Status(args) => status::run(&args, &context).await,
        Command::Bundle(args) => bundle::run(&args, &context).await,
        Command::Rollout(args) => rollout::run(&args, &context).await,
        Command::Envelope(args) => envelope::run(&args, &context).await,
        Command::Agent(args) => Box::pin(agent::run(args, &context)).await,
        Command::Identity(args) => identity::run(&args, &context),
        Command::Credential(args) => credential::run(&args, &context).await,
        Command::Revoke(args) => revoke::run(&args, &context).await,
        Command::Revocation(args) => revocation::run(&args, &context).await,
        Command::Decision(args) => decision::run(&args, &context).await,
        Command::Record(args) => record::run(&args, &context).await,
        Command::Relation(args) => Box::pin(relation::run(&args, &context)).await,
        Command::Edge(args) => edge::run(&args, &context).await,
        Command::Trust(args) => Box::pin(trust::run(&args, &context)).await,
        Command::Voter(args) => voter::run(&args, &context).await,
        Command::Drill(args) => Box::pin(drill::run(args, &context)).await,
        Command::Completions(args) => completions::run(&args),
        Command::ControlPlane(args) => Box::pin(control_plane::run(args, &context)).await,
        Command::EdgeNode(args) => Box::pin(edge_node::run(args, &context)).await,
        Command::ToolServer(args) => tool_server::run(&args, &context).await,
    }
}
