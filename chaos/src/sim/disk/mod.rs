//! Disks of simulated hosts.
//!
//! A [`SimDisk`] belongs to a machine and outlives its processes; each process gets a view of its own
//! ([`SimDisk::process`]), which errs from the moment that process is killed. It promises what
//! [`Disk`] says and not a byte more: what was not synced is lost in a power cut as far as a seeded generator says,
//! the beginning of a file that only grows, any pages of one that is written anywhere, the last of them torn. A killed
//! process loses nothing, because the kernel has what it wrote; a power cut soon after still takes that.

mod event;
mod file;
mod names;
mod opened;
mod process;
mod state;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rand_pcg::Pcg64;
use remit_common::net::env::Disk;

pub use event::{DiskEvent, DiskStats, Op};
use process::Process;
use state::State;

type Watcher = Arc<dyn Fn(&DiskEvent<'_>) + Send + Sync>;

/// The disk of one machine. Cloning gives the same disk.
#[derive(Clone)]
pub struct SimDisk(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    watcher: Mutex<Option<Watcher>>,
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimDisk")
    }
}

impl SimDisk {
    /// An empty disk. `draws` decides what power cuts and failed syncs leave.
    #[must_use]
    pub fn new(draws: Pcg64) -> Self {
        Self(Arc::new(Shared { state: Mutex::new(State::new(draws)), watcher: Mutex::default() }))
    }

    /// The disk as a process sees it that starts now. After [`Self::kill`] and every power cut it gives nothing but
    /// errors, and so does every file opened through it.
    #[must_use]
    pub fn process(&self) -> Arc<dyn Disk> {
        let generation = self.with(|state| state.generation);
        Arc::new(Process { disk: self.clone(), generation })
    }

    /// Every process of the machine is killed: their files are closed and unlocked, and what they wrote is still there.
    pub fn kill(&self) {
        self.with(State::kill);
    }

    /// A power cut, and the power is back at once: what was not synced is there as far as it is drawn. Also ends the
    /// darkness after [`Self::crash_after_ops`].
    pub fn crash(&self) {
        self.with(|state| {
            if !state.is_off {
                state.cut_power();
            }
            state.is_off = false;
        });
    }

    /// The power goes in the middle of a change, after so many whole ones. Whoever watches hears of it
    /// ([`Op::PowerCut`]), kills the host, and gives the power back with [`Self::crash`].
    pub fn crash_after_ops(&self, changes: u64) {
        self.with(|state| state.power_goes_after = Some(changes));
    }

    /// Whether the power is off.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.with(|state| state.is_off)
    }

    /// Whether nothing more fits. Overwriting and shrinking still work, and the last block of a file takes what it has
    /// room for.
    pub fn set_full(&self, is_full: bool) {
        self.with(|state| state.is_full = is_full);
    }

    /// The next sync fails: of a file, of a replacement or of a truncation. What was to become durable may be so or
    /// not, and a later sync that succeeds says nothing about it, as on Linux.
    pub fn fail_next_sync(&self) {
        self.fail_sync_after(0);
    }

    /// As [`Self::fail_next_sync`], after so many that work.
    pub fn fail_sync_after(&self, syncs: u64) {
        self.with(|state| state.sync_fails_after = Some(syncs));
    }

    /// Every planned fault is forgotten, and there is room again.
    pub fn repair(&self) {
        self.with(|state| {
            state.is_full = false;
            state.sync_fails_after = None;
            state.power_goes_after = None;
        });
    }

    /// Turns over one bit of a file (0 is the lowest).
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] and [`io::ErrorKind::UnexpectedEof`] when there is no such byte.
    pub fn flip_bit(&self, path: &Path, byte: u64, bit: u8) -> io::Result<()> {
        self.with(|state| state.flip(path, Some(byte), bit)).map(|_| ())
    }

    /// Turns over a bit somewhere in a file, and says in which byte.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] when there is no such file, [`io::ErrorKind::UnexpectedEof`] when it is empty.
    pub fn flip_any_bit(&self, path: &Path) -> io::Result<u64> {
        self.with(|state| state.flip(path, None, 3))
    }

    /// What happened so far.
    #[must_use]
    pub fn stats(&self) -> DiskStats {
        self.with(|state| state.stats)
    }

    /// Hears of every change from now on, right after it was made and before its caller goes on. It must not make
    /// changes itself.
    pub fn watch(&self, watcher: impl Fn(&DiskEvent<'_>) + Send + Sync + 'static) {
        self.with(|state| state.is_watched = true);
        *self.0.watcher.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(watcher));
    }

    /// The files that have these bytes in them, durable or not.
    #[must_use]
    pub fn scan(&self, secret: &[u8]) -> Vec<PathBuf> {
        self.with(|state| state.scan(secret))
    }

    /// From now on every write is searched for these bytes; see [`Self::leaks`].
    pub fn forbid(&self, secret: &[u8]) {
        self.with(|state| state.forbidden.push(secret.to_vec()));
    }

    /// The files into which forbidden bytes were written, even if they have been overwritten since.
    #[must_use]
    pub fn leaks(&self) -> Vec<PathBuf> {
        self.with(|state| state.leaks.iter().cloned().collect())
    }

    /// Uses the state, then tells the watcher what happened, when nothing is locked any more.
    fn with<T>(&self, use_it: impl FnOnce(&mut State) -> T) -> T {
        let (result, events) = {
            let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
            (use_it(&mut state), std::mem::take(&mut state.events))
        };
        if !events.is_empty() {
            let watcher = self.0.watcher.lock().unwrap_or_else(PoisonError::into_inner).clone();
            for (op, path, bytes) in &events {
                if let Some(watcher) = &watcher {
                    watcher(&DiskEvent { op: *op, path, bytes: *bytes });
                }
            }
        }
        result
    }
}
