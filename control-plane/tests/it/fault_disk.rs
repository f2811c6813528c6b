//! A disk that fails the way disks do: it forgets what was not synced, tears the last write, refuses to sync, or is
//! full. Files are in memory; what is durable is kept apart from what was written.
//!
//! Shared by the unit tests of the log and the integration tests, each of which uses a part of it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use remit_common::net::env::{AppendFile, Disk, RandomFile};

/// A disk in memory. Cloning gives the same disk.
#[derive(Debug, Clone, Default)]
pub(crate) struct FaultDisk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<PathBuf, File>,
    locked: BTreeSet<PathBuf>,
    syncs: u64,
    fail_syncs: bool,
    /// The next sync of an open file fails, and all but the first so many changes never reach the disk.
    forget_after: Option<usize>,
    /// Bytes that may still be written.
    room: Option<usize>,
}

#[derive(Debug, Clone, Default)]
struct File {
    durable: Vec<u8>,
    written: Vec<u8>,
    /// What happened since the last sync, in order.
    pending: Vec<Pending>,
}

#[derive(Debug, Clone)]
enum Pending {
    Write(usize, Vec<u8>),
    SetLen(usize),
}

impl Pending {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write(offset, data) => {
                if bytes.len() < offset + data.len() {
                    bytes.resize(offset + data.len(), 0);
                }
                bytes[*offset..offset + data.len()].copy_from_slice(data);
            }
            Self::SetLen(len) => bytes.resize(*len, 0),
        }
    }
}

#[allow(dead_code, reason = "each of the two test binaries uses a part")]
impl FaultDisk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// How often something was made durable.
    pub(crate) fn syncs(&self) -> u64 {
        self.state().syncs
    }

    /// From now on every sync fails.
    pub(crate) fn fail_syncs(&self) {
        self.state().fail_syncs = true;
    }

    /// The next sync of an open file fails as on Linux: the first `kept` changes are durable, the others never will be,
    /// but readers see them, and the sync after it succeeds.
    pub(crate) fn forget_at_next_sync(&self, kept: usize) {
        self.state().forget_after = Some(kept);
    }

    /// From now on only so many bytes fit.
    pub(crate) fn leave_room(&self, bytes: usize) {
        self.state().room = Some(bytes);
    }

    /// The disk as the power cut leaves it: of what was not synced, the first `kept` operations are there, and
    /// `torn` bytes of the next write.
    pub(crate) fn after_power_cut(&self, kept: usize, torn: usize) -> Self {
        let state = self.state();
        let files = state.files.iter().map(|(path, file)| {
            let mut durable = file.durable.clone();
            for operation in file.pending.iter().take(kept) {
                operation.apply(&mut durable);
            }
            if let Some(Pending::Write(offset, data)) = file.pending.get(kept) {
                Pending::Write(*offset, data[..torn.min(data.len())].to_vec()).apply(&mut durable);
            }
            (path.clone(), File { written: durable.clone(), durable, pending: Vec::new() })
        });
        Self(Arc::new(Mutex::new(State { files: files.collect(), ..State::default() })))
    }

    /// How many operations are not synced yet, in all files.
    pub(crate) fn unsynced(&self) -> usize {
        self.state().files.values().map(|file| file.pending.len()).sum()
    }

    /// Changes the durable bytes of a file.
    pub(crate) fn damage(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state();
        let file = state.files.get_mut(path).unwrap();
        change(&mut file.durable);
        file.written = file.durable.clone();
    }
}

fn full() -> io::Error {
    io::Error::new(io::ErrorKind::StorageFull, "no space left on device")
}

fn broken_sync() -> io::Error {
    io::Error::other("input/output error")
}

impl Disk for FaultDisk {
    fn read(&self, path: &Path, bytes_max: usize) -> io::Result<Option<Vec<u8>>> {
        let bytes = self.state().files.get(path).map(|file| file.written.clone());
        match bytes {
            Some(bytes) if bytes.len() > bytes_max => Err(io::ErrorKind::FileTooLarge.into()),
            bytes => Ok(bytes),
        }
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        if state.fail_syncs {
            return Err(broken_sync());
        }
        if state.room.is_some_and(|room| room < bytes.len()) {
            return Err(full());
        }
        state.syncs += 1;
        let file = File { durable: bytes.to_vec(), written: bytes.to_vec(), pending: Vec::new() };
        state.files.insert(path.to_owned(), file);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.state().files.remove(path);
        Ok(())
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let state = self.state();
        let names = state.files.keys().filter(|path| path.parent() == Some(folder));
        Ok(names.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect())
    }

    fn create_dir(&self, _folder: &Path) -> io::Result<()> {
        Ok(())
    }

    fn open_append(&self, _path: &Path) -> io::Result<Box<dyn AppendFile>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn open_random(&self, path: &Path) -> io::Result<Box<dyn RandomFile>> {
        let mut state = self.state();
        if !state.locked.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        state.files.entry(path.to_owned()).or_default();
        Ok(Box::new(Open { disk: self.clone(), path: path.to_owned() }))
    }
}

#[derive(Debug)]
struct Open {
    disk: FaultDisk,
    path: PathBuf,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.disk.state().locked.remove(&self.path);
    }
}

impl Open {
    fn change(&self, operation: Pending) -> io::Result<()> {
        let mut state = self.disk.state();
        if let (Pending::Write(_, data), Some(room)) = (&operation, &mut state.room) {
            *room = room.checked_sub(data.len()).ok_or_else(full)?;
        }
        let file = state.files.entry(self.path.clone()).or_default();
        operation.apply(&mut file.written);
        file.pending.push(operation);
        Ok(())
    }
}

impl RandomFile for Open {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.state().files[&self.path].written.len().try_into().unwrap())
    }

    fn read_exact_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.disk.state();
        let start = usize::try_from(offset).unwrap();
        let bytes = state.files[&self.path].written.get(start..start + out.len());
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_all_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.change(Pending::Write(offset.try_into().unwrap(), bytes.to_vec()))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(Pending::SetLen(len.try_into().unwrap()))
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        if state.fail_syncs {
            return Err(broken_sync());
        }
        let forget_after = state.forget_after.take();
        state.syncs += 1;
        let file = state.files.get_mut(&self.path).unwrap();
        for operation in file.pending.drain(..).take(forget_after.unwrap_or(usize::MAX)) {
            operation.apply(&mut file.durable);
        }
        if forget_after.is_some() { Err(broken_sync()) } else { Ok(()) }
    }
}
