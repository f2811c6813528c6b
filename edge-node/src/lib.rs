//! An edge of a Remit mesh.
//!
//! It stands between agents and tools: it decides each call from verified local state, injects the credential that
//! the agent never sees, filters what comes back, and records all of it. It needs the control plane for news, never
//! for a decision. The road of one call in `road`; everything it decides by is one snapshot, the
//! `View` of `active`.

pub mod config;

mod report;

use std::net::SocketAddr;
use std::path::PathBuf;

use remit_common::net::env::Env;
use remit_common::net::tasks::Shutdown;

pub use config::Config;

/// How the command line starts an edge.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The configuration file (TOML).
    #[arg(long, value_name = "FILE", env = "REMIT_CONFIG")]
    pub config: PathBuf,
    /// How logs are printed, on standard error.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// Check the configuration and stop.
    #[arg(long)]
    pub check_config: bool,
    /// Print every value of the configuration and stop.
    #[arg(long)]
    pub print_config: bool,
}

/// How logs are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// An edge does not start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configuration is not usable.
    #[error("the configuration is not usable")]
    Config(#[from] config::ConfigInvalid),
}

/// A running edge.
#[derive(Debug)]
pub struct Edge {
    /// Where agents call, the port resolved.
    pub agent_addr: SocketAddr,
    /// Where operators look, the port resolved.
    pub ops_addr: SocketAddr,
}

impl Edge {
    /// Starts an edge; returns when its listeners are bound and what was on its disk is active.
    ///
    /// # Errors
    /// [`RunError`]; nothing keeps running then.
    pub async fn start(_config: Config, _env: Env, _shutdown: Shutdown) -> Result<Self, RunError> {
        todo!()
    }

    /// Waits until shutdown was requested and everything has ended.
    ///
    /// # Errors
    /// [`RunError`] when the edge had to stop by itself.
    pub async fn join(self) -> Result<(), RunError> {
        todo!()
    }
}

/// Does what the command line says: reads and checks the configuration, sets up logs, and runs the edge until
/// `shutdown` is triggered.
///
/// # Errors
/// [`RunError`].
pub async fn execute(_args: Args, _env: Env, _shutdown: Shutdown) -> Result<(), RunError> {
    todo!()
}

/// Runs an edge until shutdown is requested.
///
/// # Errors
/// [`RunError`] when it does not start, or had to stop by itself.
pub async fn run(config: Config, env: Env, shutdown: Shutdown) -> Result<(), RunError> {
    Edge::start(config, env, shutdown).await?.join().await
}
