//! One disk: what lies on it, its power, its planned faults, and who watches.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use memchr::memmem;
use rand::RngExt as _;
use rand_pcg::Pcg64;

use super::event::{DiskStats, Op};
use super::file::File;

/// Which file, whatever its name is by now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FileId(pub(super) u64);

#[derive(Debug)]
pub(super) struct State {
    pub(super) draws: Pcg64,
    /// Processes of earlier generations are gone.
    pub(super) generation: u64,
    pub(super) files: BTreeMap<FileId, File>,
    pub(super) names: BTreeMap<PathBuf, FileId>,
    pub(super) folders: BTreeSet<PathBuf>,
    pub(super) next_file: u64,
    pub(super) is_off: bool,
    pub(super) is_full: bool,
    /// Syncs that still work before one fails.
    pub(super) sync_fails_after: Option<u64>,
    /// Changes that are still made before the power goes in the middle of one.
    pub(super) power_goes_after: Option<u64>,
    pub(super) stats: DiskStats,
    pub(super) forbidden: Vec<Vec<u8>>,
    pub(super) leaks: BTreeSet<PathBuf>,
    /// For whoever watches, once the lock is released.
    pub(super) events: Vec<(Op, PathBuf, u64)>,
    pub(super) is_watched: bool,
}

/// The process that does this is no more, or its machine is off.
pub(super) fn gone() -> io::Error {
    io::Error::other("this machine lost its power, or this process was killed")
}

pub(super) fn full() -> io::Error {
    io::Error::new(io::ErrorKind::StorageFull, "no space left on device")
}

impl State {
    pub(super) fn new(draws: Pcg64) -> Self {
        Self {
            draws,
            generation: 0,
            files: BTreeMap::new(),
            names: BTreeMap::new(),
            folders: BTreeSet::new(),
            next_file: 0,
            is_off: false,
            is_full: false,
            sync_fails_after: None,
            power_goes_after: None,
            stats: DiskStats::default(),
            forbidden: Vec::new(),
            leaks: BTreeSet::new(),
            events: Vec::new(),
            is_watched: false,
        }
    }

    // What happens to the machine.

    /// The processes are gone; the kernel still has what they wrote.
    pub(super) fn kill(&mut self) {
        self.generation = self.generation.wrapping_add(1);
        self.files.retain(|_, file| file.is_named);
        self.files.values_mut().for_each(|file| file.is_open = false);
    }

    /// The power goes: with the processes goes what was not synced, as far as the draws say so.
    pub(super) fn cut_power(&mut self) {
        self.kill();
        for file in self.files.values_mut() {
            self.stats.bytes_lost += file.crash(&mut self.draws);
        }
        self.stats.power_cuts += 1;
        self.is_off = true;
        self.power_goes_after = None;
        self.note(Op::PowerCut, Path::new(""), 0);
    }

    pub(super) fn flip(&mut self, path: &Path, byte: Option<u64>, bit: u8) -> io::Result<u64> {
        let id = self.named(path)?;
        let Some(file) = self.files.get_mut(&id) else { return Err(gone()) };
        let len = to_u64(file.bytes().len());
        let byte = match byte {
            Some(byte) => byte,
            None if len == 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            None => self.draws.random_range(0..len),
        };
        let at = usize::try_from(byte).map_err(io::Error::other)?;
        if file.flip(at, bit) { Ok(byte) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    /// Every file with these bytes in it, or in its durable part.
    pub(super) fn scan(&self, bytes: &[u8]) -> Vec<PathBuf> {
        let (files, finder) = (self.files.values(), memmem::Finder::new(bytes));
        let found = files.filter(|file| finder.find(file.bytes()).or_else(|| finder.find(file.durable())).is_some());
        found.map(|file| file.path.clone()).collect()
    }

    // What a process does.

    /// Makes one change, unless the power is off. When it goes in the middle, `make` still decides how far the change
    /// got, and the caller hears nothing but an error.
    pub(super) fn change<T>(&mut self, make: impl FnOnce(&mut Self, bool) -> io::Result<T>) -> io::Result<T> {
        if self.is_off {
            return Err(gone());
        }
        self.stats.changes += 1;
        let is_cut = match &mut self.power_goes_after {
            Some(0) => true,
            Some(left) => {
                *left -= 1;
                false
            }
            None => false,
        };
        let made = make(self, is_cut);
        if is_cut {
            self.cut_power();
            return Err(gone());
        }
        made
    }

    /// Whether a step that is done as a whole or not at all was done before the power went.
    pub(super) fn got_through(&mut self, is_cut: bool) -> bool {
        !is_cut || self.draws.random()
    }

    pub(super) fn sync_file(&mut self, id: FileId, path: &Path, is_cut: bool) -> io::Result<()> {
        let synced = self.try_sync(path);
        // When the power goes in the middle, the cut itself draws how much got there.
        let is_whole = self.got_through(is_cut);
        let Some(file) = self.files.get_mut(&id) else { return Err(gone()) };
        match &synced {
            Ok(()) if is_whole => file.sync(),
            Ok(()) => {}
            Err(_) => self.stats.bytes_lost += file.lose(&mut self.draws),
        }
        synced
    }

    /// Counts a sync, and fails the one that was chosen to fail.
    pub(super) fn try_sync(&mut self, path: &Path) -> io::Result<()> {
        match &mut self.sync_fails_after {
            Some(0) => {
                self.sync_fails_after = None;
                self.stats.syncs_failed += 1;
                self.note(Op::SyncFailed, path, 0);
                Err(io::Error::other("input/output error"))
            }
            left => {
                if let Some(left) = left {
                    *left -= 1;
                }
                self.stats.syncs += 1;
                self.note(Op::Sync, path, 0);
                Ok(())
            }
        }
    }

    // What watchers hear.

    pub(super) fn note(&mut self, op: Op, path: &Path, bytes: u64) {
        if self.is_watched {
            self.events.push((op, path.to_owned(), bytes));
        }
    }

    /// Looks for what must never be written, in these bytes and across their borders.
    pub(super) fn look_at(&mut self, id: FileId, written: std::ops::Range<usize>) {
        let Some(file) = self.files.get(&id).filter(|_| !self.forbidden.is_empty()) else { return };
        let has_leaked = self.forbidden.iter().any(|forbidden| {
            let border = forbidden.len().saturating_sub(1);
            let end = written.end.saturating_add(border).min(file.bytes().len());
            let around = file.bytes().get(written.start.saturating_sub(border)..end);
            memmem::find(around.unwrap_or_default(), forbidden).is_some()
        });
        if has_leaked {
            let path = file.path.clone();
            self.note(Op::Forbidden, &path, 0);
            self.leaks.insert(path);
        }
    }
}

pub(super) fn to_u64(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
