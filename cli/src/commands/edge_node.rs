//! `remit edge-node`: an edge as this executable.

use remit_common::net::tasks::Shutdown;

use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::signals;

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  remit edge-node --config edge.toml --check-config")]
pub(crate) struct Args {
    #[command(flatten)]
    edge: remit_edge_node::Args,
    #[command(flatten)]
    parent: signals::Parent,
}

pub(super) async fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    args.parent.watch(&context.env);
    let shutdown = Shutdown::new();
    signals::trigger_on_signal(&context.env, &shutdown)?;
    remit_edge_node::execute(args.edge, context.env.clone(), shutdown)
        .await
        .map_err(|error| Failure::caused(Exit::Failed, &error))?;
    Ok(Exit::Done)
}
