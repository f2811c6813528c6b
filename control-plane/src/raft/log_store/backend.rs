//! redb's ground: a file of Env's disk, or, while a new log is being made, memory.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;
use remit_common::net::env::RandomFile;

/// A file of Env's disk, which holds the lock on it as long as this lives.
#[derive(Debug)]
pub(crate) struct FileBackend(pub(crate) Box<dyn RandomFile>);

impl StorageBackend for FileBackend {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_all_at(offset, data)
    }
}

/// An image in memory. A new log is made in one and then written as a whole, so that a crash while it is made leaves
/// no log rather than half of one.
#[derive(Debug, Clone, Default)]
pub(crate) struct ImageBackend(Arc<Mutex<Vec<u8>>>);

impl ImageBackend {
    /// The bytes, once the database on top is closed.
    pub(crate) fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.image())
    }

    fn image(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn span(offset: u64, len: usize) -> io::Result<std::ops::Range<usize>> {
    let start = usize::try_from(offset).map_err(io::Error::other)?;
    let end = start.checked_add(len).ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok(start..end)
}

impl StorageBackend for ImageBackend {
    fn len(&self) -> io::Result<u64> {
        u64::try_from(self.image().len()).map_err(io::Error::other)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let span = span(offset, out.len())?;
        let image = self.image();
        out.copy_from_slice(image.get(span).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).map_err(io::Error::other)?;
        self.image().resize(len, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let span = span(offset, data.len())?;
        let mut image = self.image();
        image.get_mut(span).ok_or(io::ErrorKind::UnexpectedEof)?.copy_from_slice(data);
        Ok(())
    }
}
