//! The real machine, with a clock that can be set forward and a disk that can be made to fail.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use remit_common::net::env::{AppendFile, Clock, Disk, Env, RandomFile};
use remit_common::net::real;
use remit_common::time::Now;

/// What a test can do to the world.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) env: Env,
    forward_millis: Arc<AtomicU64>,
    broken: Arc<AtomicBool>,
}

impl World {
    pub(crate) fn new() -> Self {
        let real = real::real();
        let (forward_millis, broken) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let clock = Forwarded { real: Arc::clone(&real.clock), forward_millis: Arc::clone(&forward_millis) };
        let disk = Breakable { real: Arc::clone(&real.disk), broken: Arc::clone(&broken) };
        let env = Env { clock: Arc::new(clock), disk: Arc::new(disk), ..real };
        Self { env, forward_millis, broken }
    }

    /// Both clocks are later by this from now on.
    pub(crate) fn forward(&self, by: Duration) {
        let millis = u64::try_from(by.as_millis()).unwrap();
        self.forward_millis.fetch_add(millis, Ordering::SeqCst);
    }

    /// Whether files that grow take anything.
    pub(crate) fn break_disk(&self, broken: bool) {
        self.broken.store(broken, Ordering::SeqCst);
    }
}

struct Forwarded {
    real: Arc<dyn Clock>,
    forward_millis: Arc<AtomicU64>,
}

impl Clock for Forwarded {
    fn now(&self) -> Now {
        let by = Duration::from_millis(self.forward_millis.load(Ordering::SeqCst));
        let Now { wall, boot } = self.real.now();
        Now { wall: wall.plus(by), boot: boot.plus(by) }
    }
}

struct Breakable {
    real: Arc<dyn Disk>,
    broken: Arc<AtomicBool>,
}

impl Breakable {
    fn check(&self) -> io::Result<()> {
        if self.broken.load(Ordering::SeqCst) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl Disk for Breakable {
    fn read(&self, path: &Path, bytes_max: usize) -> io::Result<Option<Vec<u8>>> {
        self.real.read(path, bytes_max)
    }
    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.check()?;
        self.real.replace(path, bytes)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.real.remove(path)
    }
    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        self.real.list(folder)
    }
    fn create_dir(&self, folder: &Path) -> io::Result<()> {
        self.real.create_dir(folder)
    }
    fn open_append(&self, path: &Path) -> io::Result<Box<dyn AppendFile>> {
        self.check()?;
        Ok(Box::new(BreakableFile { real: self.real.open_append(path)?, broken: Arc::clone(&self.broken) }))
    }
    fn open_random(&self, path: &Path) -> io::Result<Box<dyn RandomFile>> {
        self.real.open_random(path)
    }
}

#[derive(Debug)]
struct BreakableFile {
    real: Box<dyn AppendFile>,
    broken: Arc<AtomicBool>,
}

impl AppendFile for BreakableFile {
    fn len(&self) -> u64 {
        self.real.len()
    }
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.real.append(bytes)
    }
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        self.real.read_at(offset, out)
    }
    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.real.truncate(len)
    }
    fn sync(&mut self) -> io::Result<()> {
        if self.broken.load(Ordering::SeqCst) { Err(io::ErrorKind::StorageFull.into()) } else { self.real.sync() }
    }
}
