//! A voter as a process: arguments, configuration, logs, signals.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use remit_common::limits::CONFIG_BYTES_MAX;
use remit_common::net::env::Env;
use remit_common::net::service;
use remit_common::net::tasks::Shutdown;

use crate::config::{self, Resolved};
use crate::materials::Materials;
use crate::telemetry::{LogFormat, start_logging};
use crate::voter::Voter;

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

/// What a process of its own does with [`Args`]: reads the configuration, starts logging, runs until a signal asks
/// for the end. `environment` are the process's variables, of which those called `REMIT_*` count, and `RUST_LOG`.
///
/// # Errors
/// What stands in the way, for people.
pub async fn daemon(args: Args, environment: BTreeMap<String, String>, env: Env) -> anyhow::Result<()> {
    let Args { config, set, log_format, check_config, print_config } = args;
    start_logging(log_format, environment.get("RUST_LOG").map(String::as_str));
    let resolved = read(&config, &environment, &set, &env)?;
    if print_config {
        print(&resolved.print());
    }
    if check_config {
        Materials::load(&resolved.config, &env).context("the configuration names a file that cannot be used")?;
    }
    if print_config || check_config {
        return Ok(());
    }
    let shutdown = Shutdown::new();
    let signals = env.spawn_named("signals", trigger_on_signal(shutdown.clone()));
    let ran = async {
        let voter = Voter::start(resolved.config, env, shutdown).await?;
        service::ready();
        voter.join().await
    };
    let ran = ran.await;
    signals.abort();
    ran.context("the voter has stopped")
}

fn read(path: &Path, environment: &BTreeMap<String, String>, set: &[String], env: &Env) -> anyhow::Result<Resolved> {
    let name = path.display();
    let bytes = env.disk.read(path, CONFIG_BYTES_MAX).with_context(|| format!("cannot read `{name}`"))?;
    let bytes = bytes.with_context(|| format!("there is no `{name}`"))?;
    let text = String::from_utf8(bytes).with_context(|| format!("`{name}` is not text"))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    config::resolve(&text, folder, environment, set).with_context(|| format!("`{name}` is not usable"))
}

#[expect(clippy::print_stdout, reason = "the document that was asked for")]
fn print(text: &str) {
    print!("{text}");
}

async fn trigger_on_signal(shutdown: Shutdown) {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        tracing::error!("this process cannot be told to stop by a signal");
        return;
    };
    tokio::select! {
        biased;
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    tracing::info!("stopping");
    service::stopping();
    shutdown.trigger();
}
