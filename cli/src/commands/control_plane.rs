//! `remit control-plane`: a voter as this executable.

use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::{files, signals};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  remit control-plane --config voter.toml --check-config")]
#[group(skip)] // the flattened arguments are a group of the same name
pub(crate) struct Args {
    #[command(flatten)]
    voter: remit_control_plane::Args,
    #[command(flatten)]
    parent: signals::Parent,
}

pub(super) async fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    args.parent.watch(&context.env);
    remit_control_plane::daemon(args.voter, files::environment(), context.env.clone()).await?;
    Ok(Exit::Done)
}
