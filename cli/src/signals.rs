//! When a process of ours ends: a signal, or the end of the launcher that started it.

use std::io::Read as _;

use remit_common::net::env::Env;
use remit_common::net::tasks::Shutdown;
use rustix::process::{Signal, getpid, kill_process};
use tokio::signal::unix::{SignalKind, signal};

use crate::failure::{Exit, Failure};

/// How a process knows that its launcher has gone.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Parent {
    /// Stop when standard input ends, as it does when whoever started this has gone
    #[arg(long, hide = true)]
    stop_with_stdin: bool,
}

impl Parent {
    /// Turns the end of standard input into a SIGTERM to ourselves: one way to stop, whatever asked for it.
    pub(crate) fn watch(self, env: &Env) {
        if !self.stop_with_stdin {
            return;
        }
        let env_of_task = env.clone();
        env.spawn_named("stdin", async move {
            let until_end = || while std::io::stdin().lock().read(&mut [0; 64]).is_ok_and(|read| read > 0) {};
            let _ = env_of_task.run_blocking(until_end).await;
            let _ = kill_process(getpid(), Signal::TERM);
        });
    }
}

/// Triggers `shutdown` on SIGTERM or SIGINT.
pub(crate) fn trigger_on_signal(env: &Env, shutdown: &Shutdown) -> Result<(), Failure> {
    let listen =
        |kind| signal(kind).map_err(|error| Failure::new(Exit::Failed, format!("cannot listen for signals: {error}")));
    let (mut terminate, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    let shutdown = shutdown.clone();
    env.spawn_named("signals", async move {
        tokio::select! {
            biased;
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        shutdown.trigger();
    });
    Ok(())
}
