//! `remit edge-node`: an edge as this executable.

use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::{files, signals};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  remit edge-node --config edge.toml --check-config")]
#[group(skip)] // the flattened arguments are a group of the same name
pub(crate) struct Args {
    #[command(flatten)]
    edge: remit_edge_node::Args,
    #[command(flatten)]
    parent: signals::Parent,
}

pub(super) async fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    args.parent.watch(&context.env);
    remit_edge_node::daemon(args.edge, files::environment(), context.env.clone()).await?;
    Ok(Exit::Done)
}
