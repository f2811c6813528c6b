//! The voter's process: started, killed, started again; what it weighs and what it has worked.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use remit_common::net::env::Env;
use remit_common::net::http::HttpClient;
use tokio::process::{Child, Command};

use super::mesh::Mesh;
use crate::measure::Stopwatch;

/// For a voter to read its documents and elect itself: the larger the directory, the longer.
const READY_WITHIN: Duration = Duration::from_secs(120);
/// Between two questions whether it is ready, and for the answer to one.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(20);
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// Bytes of the log's end that stand in an error message.
const LOG_TAIL_BYTES: usize = 2_000;
/// Ticks of the kernel's clock in a second, by which it counts what a process has worked.
const TICKS_PER_SEC: f64 = 100.0;

/// The voter of a [`Mesh`]. It ends with this value.
pub struct VoterProcess {
    env: Env,
    program: PathBuf,
    config: PathBuf,
    ops: std::net::SocketAddr,
    child: Option<Child>,
}

impl VoterProcess {
    /// Starts it, and waits until it is ready.
    ///
    /// # Errors
    /// When it does not start, or is not ready in time.
    pub async fn start(env: &Env, program: &Path, mesh: &Mesh) -> Result<Self> {
        let (config, ops) = (mesh.config.clone(), mesh.listen.ops);
        let mut voter = Self { env: env.clone(), program: program.to_owned(), config, ops, child: None };
        voter.restart().await?;
        Ok(voter)
    }

    /// Kills it without warning.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn kill(&mut self) -> Result<()> {
        Ok(self.child.take().context("the voter does not run")?.kill().await?)
    }

    /// Starts it, and waits until it is ready.
    ///
    /// # Errors
    /// As [`Self::start`].
    #[expect(clippy::disallowed_methods, reason = "a bench starts the program that it measures")]
    pub async fn restart(&mut self) -> Result<()> {
        let log_path = self.config.with_extension("log");
        let log = OpenOptions::new().create(true).append(true).open(&log_path)?;
        let child = Command::new(&self.program)
            .arg("--config")
            .arg(&self.config)
            // As the launcher of a local mesh has it.
            .env("MIMALLOC_PURGE_DELAY", "0")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("`{}` does not start", self.program.display()))?;
        let child = self.child.insert(child);
        let (http, since) = (HttpClient::new(&self.env, 64 * 1024), Stopwatch::start());
        loop {
            let ended = child.try_wait()?;
            if ended.is_some() || since.elapsed() > READY_WITHIN {
                let said = std::fs::read_to_string(&log_path).unwrap_or_default();
                let end = said.get(said.len().saturating_sub(LOG_TAIL_BYTES)..).unwrap_or_default();
                bail!("the voter is not ready (ended: {ended:?}); its log ends with:\n{end}");
            }
            let asked = http::Request::get("/readyz").header(http::header::HOST, self.ops.to_string());
            let answer = http.send(self.ops, asked.body(Bytes::new())?, ANSWER_WITHIN).await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            tokio::time::sleep(LOOK_AGAIN_AFTER).await;
        }
    }

    fn pid(&self) -> Result<u32> {
        self.child.as_ref().and_then(Child::id).context("the voter does not run")
    }

    /// Resident memory, in KiB.
    ///
    /// # Errors
    /// When it does not run.
    pub fn resident_kib(&self) -> Result<u64> {
        resident_kib(self.pid()?)
    }

    /// Seconds that its threads have worked since its start.
    ///
    /// # Errors
    /// When it does not run.
    pub fn worked_secs(&self) -> Result<f64> {
        let stat = read(&proc(self.pid()?, "stat"))?;
        // The name of the program stands in brackets, and may have spaces in it.
        let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11);
        let mut ticks = || -> Result<f64> { Ok(fields.next().context("too few fields")?.parse()?) };
        Ok((ticks()? + ticks()?) / TICKS_PER_SEC)
    }
}

fn proc(pid: u32, file: &str) -> PathBuf {
    Path::new("/proc").join(pid.to_string()).join(file)
}

/// Resident memory of a process, in KiB.
pub(super) fn resident_kib(pid: u32) -> Result<u64> {
    let status = read(&proc(pid, "status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no resident memory")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// Datagrams that this machine's kernel has thrown away because a receive buffer was full.
///
/// # Errors
/// When the kernel does not say.
pub fn dropped_datagrams() -> Result<u64> {
    let snmp = read(&PathBuf::from("/proc/net/snmp"))?;
    let mut lines = snmp.lines().filter_map(|line| line.strip_prefix("Udp:"));
    let (names, values) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let found = names.split_whitespace().zip(values.split_whitespace()).find(|(name, _)| *name == "RcvbufErrors");
    Ok(found.context("no RcvbufErrors")?.1.parse()?)
}

#[expect(clippy::disallowed_methods, reason = "the kernel tells what a process weighs in a file")]
fn read(path: &Path) -> Result<String> {
    Ok(String::from_utf8(std::fs::read(path)?)?)
}
