//! `remit`: the one command people type.
//!
//! Every process of a local mesh is this executable, too: `control-plane` and `edge-node` run the daemons'
//! libraries, and the story's tool server is a hidden subcommand.

mod admin;
mod agent;
mod commands;
mod context;
mod coverage;
mod demo;
mod envelope_file;
mod example;
mod failure;
mod files;
mod local;
mod output;
mod signals;
mod story_server;
mod trust;

use std::process::ExitCode;

use clap::Parser;
use failure::Exit;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Keeps the agents of an enterprise within their remit.
#[derive(Debug, Parser)]
#[command(
    name = "remit",
    version,
    max_term_width = 110,
    after_help = "\
Start here:
  remit demo                     plays a whole story on a real mesh, in about a minute
  remit up --detach              starts a mesh to try commands on; `remit status` shows it, `remit down` stops it

Exit codes: 0 done; 1 refused or failed; 2 usage; 3 cannot reach the mesh; 4 a check found a fault;
5 aborted and undone; 6 too little happened to prove anything."
)]
struct Cli {
    #[command(flatten)]
    global: context::Global,
    #[command(subcommand)]
    command: commands::Command,
}

const _: () = assert!(!remit_common::planted::COMPILED_IN, "planted bugs are for remit-mutation alone");

fn main() -> ExitCode {
    let cli = Cli::parse();
    files::make_files_private();
    let output = output::Output::new(cli.global.json, files::wants_colour());
    // Once per process: what rustls and reqwest use, also where they are given nothing.
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        return output.failure(&failure::Failure::new(Exit::Failed, "a crypto provider is installed already"));
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return output.failure(&failure::Failure::new(Exit::Failed, format!("no runtime: {error}"))),
    };
    let context = context::Context::new(&cli.global, remit_common::net::real::real(), output.clone());
    let done = runtime.block_on(Box::pin(commands::run(cli.command, context)));
    // Whatever a command left behind in the background must not hold up its answer.
    runtime.shutdown_background();
    match done {
        Ok(exit) => exit.into(),
        Err(failure) => output.failure(&failure),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn arguments_fit_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_for_people_shows_an_example() {
        for command in Cli::command().get_subcommands().filter(|command| !command.is_hide_set()) {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("remit "), "`remit {}` shows no example", command.get_name());
        }
    }
}
