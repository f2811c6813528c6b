//! One node's machine: a namespace on the wire, a disk, a clock, and what runs in it.

use std::collections::BTreeSet;
use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use remit_common::net::env::Env;
use rustix::process::Signal;
use tokio::process::{Child, Command};
use tokio::runtime::Handle;

use super::cgroup::{self, Cgroups};
use super::clock::FakeClock;
use super::disk::Disk;
use super::namespace::Namespace;
use super::process_id::ProcessId;
use super::undo::{Journal, Undo};
use super::{partition, tool};
use crate::launcher::Host;

/// A machine. It outlives the processes that run on it.
pub(super) struct Machine {
    pub(super) namespace: Arc<Namespace>,
    /// Its address on the wire.
    pub(super) addr: Ipv4Addr,
    pub(super) env: Env,
    journal: Arc<Journal>,
    /// The name of its control group.
    group: String,
    clock: Option<FakeClock>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    disk: Option<Disk>,
    process: Option<Noted>,
    /// Set while its process is stopped.
    paused: Option<u64>,
    /// The folders of its control group, once it has one.
    groups: Vec<PathBuf>,
    limit: Option<u64>,
    ahead_ms: i64,
    skew: Option<u64>,
}

/// A process, with its number in the journal.
#[derive(Debug, Clone, Copy)]
struct Noted {
    id: u64,
    process: ProcessId,
}

impl Machine {
    pub(super) fn new(
        namespace: Arc<Namespace>,
        addr: Ipv4Addr,
        journal: Arc<Journal>,
        group: String,
        clock: Option<FakeClock>,
        disk: Option<Disk>,
    ) -> Self {
        let env = super::world::inside(Arc::clone(&namespace));
        Self { namespace, addr, env, journal, group, clock, state: Mutex::new(State { disk, ..State::default() }) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops its process where it is, for so long at most.
    pub(super) fn pause(&self, ttl: Duration) -> Result<()> {
        let mut state = self.state();
        let noted = state.process.filter(|noted| noted.process.runs()).context("nothing runs there")?;
        if state.paused.is_none() {
            state.paused = Some(self.journal.note(Undo::Resume { process: noted.process }, Some(ttl))?);
        }
        noted.process.signal(Signal::STOP);
        Ok(())
    }

    /// Lets its process go on.
    pub(super) fn resume(&self) -> Result<()> {
        self.state().paused.take().map_or(Ok(()), |id| self.journal.undo(id))
    }

    /// Takes its power: its process is left to be killed.
    pub(super) fn cut_power(&self) -> Result<()> {
        self.disk(Disk::cut_power)
    }

    /// Fills its disk, for so long at most.
    pub(super) fn fill(&self, ttl: Duration) -> Result<()> {
        self.disk(|disk| disk.fill(ttl))
    }

    /// Makes room on its disk.
    pub(super) fn free(&self) -> Result<()> {
        self.state().disk.as_mut().map_or(Ok(()), Disk::free)
    }

    /// Whether every write to its disk fails.
    pub(super) fn is_broken(&self) -> bool {
        self.state().disk.as_ref().is_some_and(Disk::is_broken)
    }

    /// Makes its disk usable again. Nothing may run.
    pub(super) fn boot(&self) -> Result<()> {
        let mut state = self.state();
        // Whoever was stopped there has ended.
        if let Some(id) = state.paused.take() {
            self.journal.undo(id)?;
        }
        state.disk.as_mut().map_or(Ok(()), Disk::mount)
    }

    fn disk(&self, work: impl FnOnce(&mut Disk) -> Result<()>) -> Result<()> {
        work(self.state().disk.as_mut().context("this node has no disk of its own")?)
    }

    /// Lets its wall clock jump, for so long at most.
    pub(super) fn jump(&self, by_ms: i64, ttl: Duration) -> Result<()> {
        let clock = self.clock.as_ref().context("this node's clock was not made to jump when it started")?;
        let mut state = self.state();
        if state.skew.is_none() {
            let (path, value) = clock.lifted();
            state.skew = Some(self.journal.note(Undo::Limit { path, value }, Some(ttl))?);
        }
        state.ahead_ms = state.ahead_ms.saturating_add(by_ms);
        clock.set(state.ahead_ms)
    }

    /// Sets its wall clock right.
    pub(super) fn set_clock_right(&self) -> Result<()> {
        let mut state = self.state();
        state.ahead_ms = 0;
        state.skew.take().map_or(Ok(()), |id| self.journal.undo(id))
    }

    /// Limits its process to a share of one processor, for so long at most; 100 lifts the limit.
    pub(super) fn limit_cpu(&self, cgroups: &Cgroups, percent: u32, ttl: Duration) -> Result<()> {
        let mut state = self.state();
        if let Some(id) = state.limit.take() {
            self.journal.undo(id)?;
        }
        if percent >= 100 {
            return Ok(());
        }
        if state.groups.is_empty() {
            let folders = cgroups.folders(&self.group);
            for path in &folders {
                self.journal.note(Undo::Cgroup { path: path.clone() }, None)?;
            }
            cgroup::create(&folders)?;
            state.groups = folders;
        }
        if let Some(noted) = state.process.filter(|noted| noted.process.runs()) {
            cgroup::join(&state.groups, noted.process.pid)?;
        }
        let setting = cgroups.cpu(&self.group, percent);
        let undo = Undo::Limit { path: setting.path.clone(), value: setting.lifted.to_owned() };
        state.limit = Some(self.journal.note(undo, Some(ttl))?);
        tool::put(&setting.path, &setting.value)
    }

    /// Lifts the limit of its processor time.
    pub(super) fn lift_cpu(&self) -> Result<()> {
        self.state().limit.take().map_or(Ok(()), |id| self.journal.undo(id))
    }

    /// Drops what comes from these addresses, for so long at most.
    pub(super) fn drop_from(&self, from: &BTreeSet<Ipv4Addr>, table: &str, ttl: Duration) -> Result<u64> {
        partition::drop_from(&self.namespace, from, table, &self.journal, ttl)
    }
}

impl Host for Machine {
    fn spawn(&self, mut command: Command) -> io::Result<Child> {
        let runtime = Handle::try_current().map_err(io::Error::other)?;
        if let Some(clock) = &self.clock {
            clock.give(&mut command);
        }
        let child = self.namespace.inside(move || {
            let _entered = runtime.enter();
            command.spawn()
        })??;
        let mut state = self.state();
        // The one before it has ended, so taking it back only closes its line in the journal.
        if let Some(noted) = state.process.take() {
            self.journal.undo(noted.id).map_err(io::Error::other)?;
        }
        if let Some(process) = child.id().and_then(ProcessId::of) {
            let id = self.journal.note(Undo::Process { process }, None).map_err(io::Error::other)?;
            state.process = Some(Noted { id, process });
            if !state.groups.is_empty() {
                cgroup::join(&state.groups, process.pid).map_err(io::Error::other)?;
            }
        }
        Ok(child)
    }

    fn env(&self) -> Env {
        self.env.clone()
    }
}
