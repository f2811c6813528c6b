//! Names, locks, power and planned faults of one disk.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io;
use std::path::{Component, Path, PathBuf};

use rand::RngExt as _;
use rand_pcg::Pcg64;

use super::event::{DiskStats, Op};
use super::file::{File, Order};

/// How the name of a half-written replacement ends; it begins with a dot.
const TEMPORARY: &str = ".new";
/// No file here is longer: what asks for more has miscounted.
const FILE_BYTES_MAX: usize = 1 << 30;
/// The end of a file has a block of its own, so that a little more fits even when the disk is full.
const BLOCK_BYTES: usize = 4096;

/// Which file, whatever its name is by now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FileId(u64);

#[derive(Debug)]
pub(super) struct State {
    draws: Pcg64,
    /// Processes of earlier generations are gone.
    pub(super) generation: u64,
    files: BTreeMap<FileId, File>,
    names: BTreeMap<PathBuf, FileId>,
    folders: BTreeSet<PathBuf>,
    next_file: u64,
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

fn full() -> io::Error {
    io::Error::new(io::ErrorKind::StorageFull, "no space left on device")
}

fn too_long() -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, "no file of a simulated disk is that long")
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
        let files = self.files.values();
        let found = files.filter(|file| contains(file.bytes(), bytes) || contains(file.durable(), bytes));
        found.map(|file| file.path.clone()).collect()
    }

    // What a process does.

    /// Makes one change, unless the power is off. When it goes in the middle, `make` still decides how far the change
    /// got, and the caller hears nothing but an error.
    fn change<T>(&mut self, make: impl FnOnce(&mut Self, bool) -> io::Result<T>) -> io::Result<T> {
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
    fn got_through(&mut self, is_cut: bool) -> bool {
        !is_cut || self.draws.random()
    }

    pub(super) fn read(&mut self, path: &Path, bytes_max: usize) -> io::Result<Option<Vec<u8>>> {
        if self.is_off {
            return Err(gone());
        }
        self.stats.reads += 1;
        let path = plain(path);
        if self.has_folder(&path) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        self.check_no_file_above(&path)?;
        let Some(file) = self.names.get(&path).and_then(|id| self.files.get(id)) else { return Ok(None) };
        if file.bytes().len() > bytes_max {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("longer than {bytes_max} bytes")));
        }
        Ok(Some(file.bytes().to_vec()))
    }

    pub(super) fn replace(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let path = self.check_name(path)?;
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        let temporary = path.with_file_name(format!(".{name}{TEMPORARY}"));
        self.change(|state, is_cut| {
            if state.is_full && !bytes.is_empty() {
                state.put_file(&temporary, Vec::new());
                return Err(full());
            }
            let is_synced = state.try_sync(&path);
            if is_synced.is_err() || !state.got_through(is_cut) {
                let written = state.draws.random_range(0..=bytes.len());
                state.put_file(&temporary, bytes.split_at(written).0.to_vec());
                return is_synced;
            }
            state.unname(&temporary);
            let id = state.put_file(&path, bytes.to_vec());
            state.stats.bytes_replaced += to_u64(bytes.len());
            state.look_at(id, 0..bytes.len());
            state.note(Op::Replace, &path, to_u64(bytes.len()));
            Ok(())
        })
    }

    pub(super) fn remove(&mut self, path: &Path) -> io::Result<()> {
        let path = named_path(path)?;
        if self.has_folder(&path) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        self.check_no_file_above(&path)?;
        self.change(|state, is_cut| {
            if state.names.contains_key(&path) && state.got_through(is_cut) {
                state.unname(&path);
                state.note(Op::Remove, &path, 0);
            }
            Ok(())
        })
    }

    pub(super) fn list(&mut self, folder: &Path) -> io::Result<Vec<String>> {
        if self.is_off {
            return Err(gone());
        }
        self.stats.reads += 1;
        let folder = plain(folder);
        if self.names.contains_key(&folder) {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        let mut names = Vec::new();
        for path in self.names.keys().filter(|path| path.parent() == Some(&folder)) {
            let name = path.file_name().and_then(OsStr::to_str);
            let name = name.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a file name is not UTF-8"))?;
            if !(name.starts_with('.') && name.ends_with(TEMPORARY)) {
                names.push(name.to_owned());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    pub(super) fn create_dir(&mut self, folder: &Path) -> io::Result<()> {
        let folder = plain(folder);
        if self.names.contains_key(&folder) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.check_no_file_above(&folder)?;
        if self.has_folder(&folder) {
            return if self.is_off { Err(gone()) } else { Ok(()) };
        }
        self.change(|state, is_cut| {
            if state.is_full {
                return Err(full());
            }
            let mut missing: Vec<&Path> = folder.ancestors().filter(|above| !state.has_folder(above)).collect();
            missing.reverse();
            for made in missing {
                if !state.got_through(is_cut) {
                    break;
                }
                state.folders.insert(made.to_owned());
            }
            state.note(Op::CreateDir, &folder, 0);
            Ok(())
        })
    }

    /// Opens and locks a file, which is made when it is not there. Gives its length, too.
    pub(super) fn open(&mut self, path: &Path, order: Order) -> io::Result<(FileId, u64)> {
        let path = self.check_name(path)?;
        if self.is_off {
            return Err(gone());
        }
        let id = match self.names.get(&path) {
            Some(id) => *id,
            None => self.change(|state, is_cut| {
                if state.is_full {
                    return Err(full());
                }
                if !state.got_through(is_cut) {
                    return Err(gone());
                }
                state.note(Op::Create, &path, 0);
                Ok(state.put_file(&path, Vec::new()))
            })?,
        };
        let Some(file) = self.files.get_mut(&id) else { return Err(gone()) };
        if file.is_open {
            return Err(io::Error::new(io::ErrorKind::WouldBlock, "somebody else has the file open"));
        }
        file.is_open = true;
        file.order = order;
        Ok((id, to_u64(file.bytes().len())))
    }

    pub(super) fn close(&mut self, id: FileId) {
        if let Some(file) = self.files.get_mut(&id) {
            file.is_open = false;
            if !file.is_named {
                self.files.remove(&id);
            }
        }
    }

    /// The bytes of an open file.
    pub(super) fn bytes(&mut self, id: FileId) -> io::Result<&[u8]> {
        if self.is_off {
            return Err(gone());
        }
        self.stats.reads += 1;
        self.files.get(&id).map(File::bytes).ok_or_else(gone)
    }

    pub(super) fn write(&mut self, id: FileId, op: Op, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).map_err(|_| too_long())?;
        let end = offset.checked_add(bytes.len()).filter(|end| *end <= FILE_BYTES_MAX).ok_or_else(too_long)?;
        self.change(|state, _| {
            let Some(file) = state.files.get_mut(&id) else { return Err(gone()) };
            let fits = if state.is_full && end > file.bytes().len() {
                let room = file.bytes().len().next_multiple_of(BLOCK_BYTES).saturating_sub(offset);
                state.draws.random_range(0..=room.min(bytes.len().saturating_sub(1)))
            } else {
                bytes.len()
            };
            let (written, rest) = bytes.split_at(fits);
            if !written.is_empty() {
                file.write(offset, written);
            }
            let path = file.path.clone();
            let count = match op {
                Op::Append => &mut state.stats.bytes_appended,
                _ => &mut state.stats.bytes_written,
            };
            *count += to_u64(fits);
            state.look_at(id, offset..offset + fits);
            state.note(op, &path, to_u64(fits));
            if rest.is_empty() { Ok(()) } else { Err(full()) }
        })
    }

    pub(super) fn set_len(&mut self, id: FileId, len: u64) -> io::Result<()> {
        let bytes = usize::try_from(len).ok().filter(|len| *len <= FILE_BYTES_MAX).ok_or_else(too_long)?;
        self.change(|state, _| {
            let Some(file) = state.files.get_mut(&id) else { return Err(gone()) };
            if state.is_full && bytes > file.bytes().len() {
                return Err(full());
            }
            file.set_len(bytes);
            let path = file.path.clone();
            state.note(Op::SetLen, &path, len);
            Ok(())
        })
    }

    pub(super) fn truncate(&mut self, id: FileId, len: u64) -> io::Result<()> {
        let bytes = usize::try_from(len).ok().filter(|len| *len <= FILE_BYTES_MAX).ok_or_else(too_long)?;
        self.change(|state, is_cut| {
            let Some(file) = state.files.get_mut(&id) else { return Err(gone()) };
            if state.is_full && bytes > file.bytes().len() {
                return Err(full());
            }
            file.set_len(bytes);
            let path = file.path.clone();
            state.note(Op::Truncate, &path, len);
            state.sync_file(id, &path, is_cut)
        })
    }

    pub(super) fn sync(&mut self, id: FileId) -> io::Result<()> {
        self.change(|state, is_cut| {
            let path = state.files.get(&id).ok_or_else(gone)?.path.clone();
            state.sync_file(id, &path, is_cut)
        })
    }

    fn sync_file(&mut self, id: FileId, path: &Path, is_cut: bool) -> io::Result<()> {
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
    fn try_sync(&mut self, path: &Path) -> io::Result<()> {
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

    // Names.

    fn put_file(&mut self, path: &Path, bytes: Vec<u8>) -> FileId {
        self.unname(path);
        let id = FileId(self.next_file);
        self.next_file += 1;
        self.names.insert(path.to_owned(), id);
        self.files.insert(id, File::new(path.to_owned(), bytes));
        id
    }

    fn unname(&mut self, path: &Path) {
        let Some(id) = self.names.remove(path) else { return };
        if let Some(file) = self.files.get_mut(&id) {
            file.is_named = false;
            if !file.is_open {
                self.files.remove(&id);
            }
        }
    }

    fn named(&self, path: &Path) -> io::Result<FileId> {
        self.names.get(&plain(path)).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn has_folder(&self, path: &Path) -> bool {
        path.as_os_str().is_empty() || path == Path::new("/") || self.folders.contains(path)
    }

    /// A file may be made under this name.
    fn check_name(&self, path: &Path) -> io::Result<PathBuf> {
        let path = named_path(path)?;
        self.check_above(&path)?;
        if self.has_folder(&path) { Err(io::ErrorKind::IsADirectory.into()) } else { Ok(path) }
    }

    /// The folder in which this stands is there, and is one.
    fn check_above(&self, path: &Path) -> io::Result<()> {
        self.check_no_file_above(path)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        if self.has_folder(folder) { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    fn check_no_file_above(&self, path: &Path) -> io::Result<()> {
        let is_below_file = path.ancestors().skip(1).any(|above| self.names.contains_key(above));
        if is_below_file { Err(io::ErrorKind::NotADirectory.into()) } else { Ok(()) }
    }

    // What watchers hear.

    fn note(&mut self, op: Op, path: &Path, bytes: u64) {
        if self.is_watched {
            self.events.push((op, path.to_owned(), bytes));
        }
    }

    /// Looks for what must never be written, in these bytes and across their borders.
    fn look_at(&mut self, id: FileId, written: std::ops::Range<usize>) {
        let Some(file) = self.files.get(&id).filter(|_| !self.forbidden.is_empty()) else { return };
        let has_leaked = self.forbidden.iter().any(|forbidden| {
            let border = forbidden.len().saturating_sub(1);
            let end = written.end.saturating_add(border).min(file.bytes().len());
            let around = file.bytes().get(written.start.saturating_sub(border)..end);
            contains(around.unwrap_or_default(), forbidden)
        });
        if has_leaked {
            let path = file.path.clone();
            self.note(Op::Forbidden, &path, 0);
            self.leaks.insert(path);
        }
    }
}

/// The path without `.` in front, so that each file has one name.
fn plain(path: &Path) -> PathBuf {
    path.components().filter(|component| *component != Component::CurDir).collect()
}

fn named_path(path: &Path) -> io::Result<PathBuf> {
    if path.file_name().and_then(OsStr::to_str).is_none() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not the path of a file"));
    }
    Ok(plain(path))
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    let Some(first) = wanted.first() else { return false };
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| byte == first) {
        rest = rest.split_at(at).1;
        if rest.starts_with(wanted) {
            return true;
        }
        rest = rest.split_at(1).1;
    }
    false
}

fn to_u64(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
