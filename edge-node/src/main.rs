//! An edge as a process of its own, for images. `remit edge-node` is the same.

use clap::Parser;
use remit_common::net::real;

/// An edge of a Remit mesh.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(flatten)]
    args: remit_edge_node::Args,
}

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const _: () = assert!(!remit_common::planted::COMPILED_IN, "planted bugs are for remit-mutation alone");

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    #[expect(clippy::disallowed_methods, reason = "configuration is read once, here")]
    let environment = std::env::vars().collect();
    remit_edge_node::daemon(cli.args, environment, real::real()).await
}
