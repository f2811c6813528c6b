//! redb's ground: a file of Env's disk, or, while a new log is being made, memory.
//!
//! What a process reads from a file need not be on the disk. After a failed fsync the kernel takes the pages for
//! written, shows them to every reader, and has nothing left to write: the next fsync succeeds and says nothing about
//! them. A process that fails ends, so the next one must not build on what it reads; were the power to go later, its
//! own commits would be there and those pages would not. So a file that was not closed in order is written once more,
//! page for page, and synced, before anything trusts it (C-11).

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::{Database, DatabaseError, RepairSession, StorageBackend};
use remit_common::net::env::{Disk, RandomFile};

/// Bytes that are written at a time when a file is made durable.
const SETTLE_BYTES: u64 = 1024 * 1024;

/// Opens a database that is there; blocks. On return everything that can be read from it is durable.
pub(crate) fn open_database(disk: &dyn Disk, path: &Path, cache_bytes: usize) -> Result<Database, redb::Error> {
    let open = |on_repair: fn(&mut RepairSession)| {
        let file = disk.open_random(path)?;
        let mut builder = Database::builder();
        builder.set_cache_size(cache_bytes).set_repair_callback(on_repair);
        builder.create_with_backend(FileBackend(file))
    };
    // A repair looks at every page anyway: one pass over the file more is not what makes a start slow.
    match open(RepairSession::abort) {
        Err(DatabaseError::RepairAborted) => {}
        opened => return Ok(opened?),
    }
    tracing::info!(file = %path.display(), "not closed in order: written once more, then repaired");
    settle(&*disk.open_random(path)?)?;
    Ok(open(|_| {})?)
}

/// Makes durable what readers of a file see.
fn settle(file: &dyn RandomFile) -> io::Result<()> {
    let len = file.len()?;
    let mut at = 0;
    while at < len {
        let size = SETTLE_BYTES.min(len.saturating_sub(at));
        let mut bytes = vec![0; usize::try_from(size).map_err(io::Error::other)?];
        file.read_exact_at(at, &mut bytes)?;
        file.write_all_at(at, &bytes)?;
        at = at.saturating_add(size);
    }
    file.sync()
}

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
