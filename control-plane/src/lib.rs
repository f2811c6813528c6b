//! The control plane of a Remit mesh: three or five voters that agree on what edges are told.
//!
//! A voter is this library: [`Voter::start`] with a [`Config`] and the world it runs in. It stores and hands on what
//! administrators, sealers and edges have signed, and it signs nothing of that kind itself: what a voter can do alone
//! is delay.

pub mod config;
pub mod raft;
pub mod telemetry;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use remit_common::net::env::Env;
use remit_common::net::tasks::Shutdown;

pub use config::{Config, ConfigError};
pub use telemetry::LogFormat;

/// How the command line starts a voter.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The configuration file (TOML).
    #[arg(long, value_name = "FILE", env = "REMIT_CONFIG")]
    pub config: PathBuf,
    /// Sets one value, above file and environment.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// How logs are printed, on standard error.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// Check the configuration and every file it names, and stop.
    #[arg(long)]
    pub check_config: bool,
    /// Print every value of the configuration with where it came from, and stop.
    #[arg(long)]
    pub print_config: bool,
}

/// A voter does not start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configuration is not usable.
    #[error("the configuration is not usable")]
    Config(#[from] ConfigError),
}

/// A running voter.
#[derive(Debug)]
pub struct Voter {
    /// Where administrators call, the port resolved.
    pub admin_addr: SocketAddr,
    /// Where operators look, the port resolved.
    pub ops_addr: SocketAddr,
    /// Where edges connect, the port resolved.
    pub dist_addr: SocketAddr,
}

impl Voter {
    /// Starts a voter; returns when its listeners are bound.
    ///
    /// # Errors
    /// [`RunError`]; nothing keeps running then.
    pub async fn start(_config: Config, _env: Env, _shutdown: Shutdown) -> Result<Self, RunError> {
        todo!()
    }

    /// Waits until shutdown was requested and everything has ended, or until the voter had to stop by itself.
    ///
    /// # Errors
    /// [`RunError`] when it had to.
    pub async fn join(self) -> Result<(), RunError> {
        todo!()
    }
}

/// Runs a voter until shutdown is requested.
///
/// # Errors
/// [`RunError`] when it does not start, or had to stop by itself.
pub async fn run(config: Config, env: Env, shutdown: Shutdown) -> Result<(), RunError> {
    Voter::start(config, env, shutdown).await?.join().await
}

/// What a process of its own does with [`Args`]: reads the configuration, starts logging, runs until a signal asks
/// for the end. `environment` are the process's variables, of which those called `REMIT_*` count.
///
/// # Errors
/// What stands in the way, for people.
pub async fn daemon(_args: Args, _environment: BTreeMap<String, String>, _env: Env) -> anyhow::Result<()> {
    todo!()
}
