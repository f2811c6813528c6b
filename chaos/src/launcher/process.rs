//! One process of a mesh: started with a log, waited for, killed, started again, stopped.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use remit_common::net::env::{Env, deadline};
use remit_common::net::http::HttpClient;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tokio::process::{Child, Command};

use super::site::Host;

/// Between two questions whether a process is ready.
const POLL: Duration = Duration::from_millis(50);
/// For the answer to one such question.
const ANSWER: Duration = Duration::from_secs(2);
/// From the request to stop to the kill.
const GRACE: Duration = Duration::from_secs(8);
/// Bytes of the log's end that stand in an error message.
const LOG_TAIL_BYTES: usize = 2_000;

/// What to start.
#[derive(Debug, Clone)]
pub struct Program {
    /// For people: `voter 1`, `eu-west-1`.
    pub name: String,
    /// The executable: the running one.
    pub executable: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Where its output goes.
    pub log: PathBuf,
    /// Whether it lives on when the launcher has ended.
    pub detached: bool,
}

/// How to ask whether it is ready: `GET path` at `addr` answers 2xx.
#[derive(Debug, Clone)]
pub struct Ready {
    /// The operations listener.
    pub addr: SocketAddr,
    /// The path.
    pub path: &'static str,
    /// The longest wait.
    pub within: Duration,
}

/// A process that may run. Unless detached it dies with this value: by a signal when this is dropped, and by the end
/// of its standard input when the launcher is killed.
pub struct Process {
    program: Program,
    ready: Ready,
    host: Arc<dyn Host>,
    child: Option<Child>,
}

impl Process {
    /// Not started yet.
    #[must_use]
    pub fn new(program: Program, ready: Ready, host: Arc<dyn Host>) -> Self {
        Self { program, ready, host, child: None }
    }

    /// Its name for people.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.program.name
    }

    /// Its number, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }

    /// Starts it. Does not wait until it is ready.
    ///
    /// # Errors
    /// When it runs already, or cannot be started.
    #[expect(clippy::disallowed_methods, reason = "the launcher is the one place that starts processes")]
    pub fn start(&mut self) -> Result<()> {
        if self.child.is_some() {
            bail!("{} runs already", self.program.name);
        }
        let open = |path: &Path| OpenOptions::new().create(true).append(true).mode(0o600).open(path);
        let log = open(&self.program.log).with_context(|| format!("cannot open `{}`", self.program.log.display()))?;
        let mut command = Command::new(&self.program.executable);
        command
            .args(&self.program.arguments)
            .stdout(log.try_clone().context("cannot share the log")?)
            .stderr(log)
            .env_remove("REMIT_MESH")
            // What a bundle or a batch of relations took while it was read goes back to the kernel at once; otherwise the
            // allocator keeps it for the thread that freed it, and an edge weighs twice as much (benches/BUDGETS.md).
            .env("MIMALLOC_PURGE_DELAY", "0")
            // Its own group: Ctrl-C reaches the launcher only, which stops the rest in order.
            .process_group(0);
        if self.program.detached {
            command.stdin(Stdio::null());
        } else {
            command.arg("--stop-with-stdin").stdin(Stdio::piped()).kill_on_drop(true);
        }
        let child = self.host.spawn(command).with_context(|| format!("cannot start {}", self.program.name))?;
        self.child = Some(child);
        Ok(())
    }

    /// Whether it was started and has not been seen to end.
    #[must_use]
    pub fn is_started(&self) -> bool {
        self.child.is_some()
    }

    /// Whether it has ended by itself; then it may be started again.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn has_ended(&mut self) -> Result<bool> {
        let ended = self.child.as_mut().map(Child::try_wait).transpose()?.flatten().is_some();
        if ended {
            self.child = None;
        }
        Ok(ended || self.child.is_none())
    }

    /// Waits until it says that it is ready.
    ///
    /// # Errors
    /// When it ends before, or is not ready in time; the end of its log is in the message.
    pub async fn wait_ready(&mut self) -> Result<()> {
        let env = &self.host.env();
        let client = HttpClient::new(env, 64 * 1024);
        let (ready, name) = (self.ready.clone(), self.program.name.clone());
        let started = env.now().boot;
        loop {
            if let Some(status) = self.child.as_mut().map(Child::try_wait).transpose()?.flatten() {
                bail!("{name} ended with {status}; its log ends with:\n{}", self.log_tail(env));
            }
            let request = http_get(ready.addr, ready.path)?;
            if let Ok(response) = client.send(ready.addr, request, ANSWER).await
                && response.status().is_success()
            {
                return Ok(());
            }
            if env.now().boot.since(started) > ready.within {
                bail!("{name} is not ready after {:?}; its log ends with:\n{}", ready.within, self.log_tail(env));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Kills it without warning (SIGKILL), and returns when it is gone.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn kill(&mut self) -> Result<()> {
        let mut child = self.child.take().with_context(|| format!("{} does not run", self.program.name))?;
        child.kill().await.with_context(|| format!("cannot kill {}", self.program.name))
    }

    /// Asks it to stop (SIGTERM), kills it if it does not, and returns when it is gone.
    pub async fn stop(&mut self) {
        self.ask_to_stop();
        self.wait_stopped().await;
    }

    /// Sends SIGTERM.
    pub fn ask_to_stop(&self) {
        if let Some(pid) = self.pid().and_then(to_pid) {
            // It may have ended by itself; then there is nobody to ask.
            let _ = kill_process(pid, Signal::TERM);
        }
    }

    /// Waits for the end, and brings it about when it does not come.
    pub async fn wait_stopped(&mut self) {
        if let Some(mut child) = self.child.take()
            && deadline(GRACE, child.wait()).await.is_err()
        {
            tracing::warn!(name = self.program.name, "did not stop in time, and is killed");
            let _ = child.kill().await;
        }
    }

    /// Lets a detached process go its own way.
    pub fn release(mut self) -> Option<u32> {
        let pid = self.pid();
        drop(self.child.take());
        pid
    }

    fn log_tail(&self, env: &Env) -> String {
        match env.disk.read(&self.program.log, 64 * 1024 * 1024) {
            Ok(Some(bytes)) => {
                let from = bytes.len().saturating_sub(LOG_TAIL_BYTES);
                String::from_utf8_lossy(bytes.get(from..).unwrap_or_default()).into_owned()
            }
            _ => format!("(nothing in `{}`)", self.program.log.display()),
        }
    }
}

/// Stops processes that another launcher started, in this order: all are asked first, then each is waited for, then
/// killed. A number whose command line does not name the folder belongs to somebody else by now, and is left alone.
/// Gives how many were stopped.
pub async fn stop_foreign(env: &Env, processes: impl Iterator<Item = (u32, &Path)>) -> usize {
    let ours: Vec<Pid> =
        processes.filter(|(pid, dir)| names_folder(env, *pid, dir)).filter_map(|(pid, _)| to_pid(pid)).collect();
    for pid in &ours {
        let _ = kill_process(*pid, Signal::TERM);
    }
    let started = env.now().boot;
    for pid in &ours {
        while test_kill_process(*pid).is_ok() && !is_zombie(env, *pid) {
            if env.now().boot.since(started) > GRACE {
                let _ = kill_process(*pid, Signal::KILL);
                break;
            }
            tokio::time::sleep(POLL).await;
        }
    }
    ours.len()
}

fn names_folder(env: &Env, pid: u32, dir: &Path) -> bool {
    let command_line = Path::new("/proc").join(pid.to_string()).join("cmdline");
    match env.disk.read(&command_line, 64 * 1024) {
        Ok(Some(bytes)) => {
            let text = String::from_utf8_lossy(&bytes);
            dir.to_str().is_some_and(|dir| text.contains(dir))
        }
        // Without /proc the number is all there is.
        _ => !Path::new("/proc/self").exists(),
    }
}

fn is_zombie(env: &Env, pid: Pid) -> bool {
    let stat = Path::new("/proc").join(pid.as_raw_nonzero().to_string()).join("stat");
    match env.disk.read(&stat, 4 * 1024) {
        Ok(Some(bytes)) => {
            String::from_utf8_lossy(&bytes).rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z'))
        }
        _ => false,
    }
}

fn to_pid(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

fn http_get(addr: SocketAddr, path: &str) -> Result<http::Request<Bytes>> {
    http::Request::get(path).header(http::header::HOST, addr.to_string()).body(Bytes::new()).context("a bad path")
}
