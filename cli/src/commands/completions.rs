//! `remit completions`.

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::failure::{Exit, Failure};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  remit completions bash > ~/.local/share/bash-completion/completions/remit")]
pub(crate) struct Args {
    /// Which shell
    shell: Shell,
}

pub(super) fn run(args: &Args) -> Result<Exit, Failure> {
    clap_complete::generate(args.shell, &mut crate::Cli::command(), "remit", &mut std::io::stdout());
    Ok(Exit::Done)
}
