//! One file for each command.

mod completions;
mod control_plane;
mod down;
mod edge_node;
mod tool_server;

use clap::Subcommand;

use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output;

/// What `remit` can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Stop a mesh that `remit up` started
    Down(down::Args),
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
        Command::ControlPlane(_) | Command::EdgeNode(_) => {}
        Command::ToolServer(_) => output::start_log("info"),
        _ => output::start_log("warn"),
    }
    match command {
        Command::Down(args) => down::run(&args, &context).await,
        Command::Completions(args) => completions::run(&args),
        Command::ControlPlane(args) => control_plane::run(args, &context).await,
        Command::EdgeNode(args) => edge_node::run(args, &context).await,
        Command::ToolServer(args) => tool_server::run(&args, &context).await,
    }
}
