//! A disk as one process sees it: what [`Disk`] promises, until that process is gone.

use std::io;
use std::path::Path;

use remit_common::net::env::{AppendFile, Disk, RandomFile};

use super::SimDisk;
use super::event::Op;
use super::file::Order;
use super::state::{FileId, State, gone};

/// The disk of a process that started in this generation.
#[derive(Debug, Clone)]
pub(super) struct Process {
    pub(super) disk: SimDisk,
    pub(super) generation: u64,
}

impl Process {
    fn with<T>(&self, use_it: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        self.disk.with(|state| if state.generation == self.generation { use_it(state) } else { Err(gone()) })
    }

    fn open(&self, path: &Path, order: Order) -> io::Result<(Handle, u64)> {
        let (file, len) = self.with(|state| state.open(path, order))?;
        Ok((Handle { process: self.clone(), file }, len))
    }
}

impl Disk for Process {
    fn read(&self, path: &Path, bytes_max: usize) -> io::Result<Option<Vec<u8>>> {
        self.with(|state| state.read(path, bytes_max))
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.with(|state| state.replace(path, bytes))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.with(|state| state.remove(path))
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        self.with(|state| state.list(folder))
    }

    fn create_dir(&self, folder: &Path) -> io::Result<()> {
        self.with(|state| state.create_dir(folder))
    }

    fn open_append(&self, path: &Path) -> io::Result<Box<dyn AppendFile>> {
        let (handle, len) = self.open(path, Order::Kept)?;
        Ok(Box::new(Append { handle, len }))
    }

    fn open_random(&self, path: &Path) -> io::Result<Box<dyn RandomFile>> {
        Ok(Box::new(self.open(path, Order::Any)?.0))
    }
}

/// An open file, and the lock on it.
#[derive(Debug)]
struct Handle {
    process: Process,
    file: FileId,
}

impl Handle {
    fn with<T>(&self, use_it: impl FnOnce(&mut State, FileId) -> io::Result<T>) -> io::Result<T> {
        self.process.with(|state| use_it(state, self.file))
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // Of a process that is gone, nothing is open any more.
        let _ = self.with(|state, file| {
            state.close(file);
            Ok(())
        });
    }
}

#[derive(Debug)]
struct Append {
    handle: Handle,
    len: u64,
}

impl AppendFile for Append {
    fn len(&self) -> u64 {
        self.len
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.handle.with(|state, file| state.write(file, Op::Append, self.len, bytes))?;
        self.len = self.len.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        Ok(())
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        self.handle.with(|state, file| {
            let bytes = from(state.bytes(file)?, offset);
            let len = bytes.len().min(out.len());
            out.split_at_mut(len).0.copy_from_slice(bytes.split_at(len).0);
            Ok(len)
        })
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.handle.with(|state, file| state.truncate(file, len))?;
        self.len = len;
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.handle.with(State::sync)
    }
}

impl RandomFile for Handle {
    fn len(&self) -> io::Result<u64> {
        self.with(|state, file| Ok(u64::try_from(state.bytes(file)?.len()).unwrap_or(u64::MAX)))
    }

    fn read_exact_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.with(|state, file| {
            let bytes = from(state.bytes(file)?, offset).get(..out.len());
            out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    fn write_all_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.with(|state, file| state.write(file, Op::Write, offset, bytes))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.with(|state, file| state.set_len(file, len))
    }

    fn sync(&self) -> io::Result<()> {
        self.with(State::sync)
    }
}

/// What follows `offset`; nothing beyond the end.
fn from(bytes: &[u8], offset: u64) -> &[u8] {
    usize::try_from(offset).ok().and_then(|offset| bytes.get(offset..)).unwrap_or_default()
}
