//! The real machine, with a clock that can be set forward or stopped and a disk that can be made to fail or to wait.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use remit_common::net::env::{AppendFile, Clock, Disk, Env, RandomFile};
use remit_common::net::real;
use remit_common::time::Now;

/// What a test can do to the world.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) env: Env,
    forward_millis: Arc<AtomicU64>,
    stopped: Arc<Mutex<Option<Now>>>,
    broken: Arc<AtomicBool>,
    gate: Arc<Gate>,
    copies: Arc<Mutex<Copies>>,
}

/// A folder as it was after each step that changed it.
#[derive(Debug, Default)]
struct Copies {
    of: Option<PathBuf>,
    made: Vec<FolderCopy>,
}

/// Files by their path in the folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FolderCopy(BTreeMap<PathBuf, Vec<u8>>);

impl FolderCopy {
    #[expect(clippy::disallowed_methods, reason = "a copy of the test's own")]
    fn of(folder: &Path) -> Self {
        let mut files = BTreeMap::new();
        let mut folders = vec![folder.to_owned()];
        while let Some(each) = folders.pop() {
            for entry in std::fs::read_dir(&each).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if let Ok(bytes) = std::fs::read(&path) {
                    // One that goes meanwhile is a temporary one.
                    files.insert(path.strip_prefix(folder).unwrap().to_owned(), bytes);
                }
            }
        }
        Self(files)
    }

    #[expect(clippy::disallowed_methods, reason = "a copy of the test's own")]
    pub(crate) fn write_to(&self, folder: &Path) {
        for (name, bytes) in &self.0 {
            let path = folder.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
    }
}

impl Copies {
    fn note(&mut self, changed: &Path) {
        if let Some(folder) = self.of.as_ref().filter(|folder| changed.starts_with(folder)) {
            let copy = FolderCopy::of(folder);
            if self.made.last() != Some(&copy) {
                self.made.push(copy);
            }
        }
    }
}

impl World {
    pub(crate) fn new() -> Self {
        let real = real::real();
        let (forward_millis, broken) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (stopped, gate, copies) = (Arc::default(), Arc::default(), Arc::<Mutex<Copies>>::default());
        let clock = Forwarded {
            real: Arc::clone(&real.clock),
            forward_millis: Arc::clone(&forward_millis),
            stopped: Arc::clone(&stopped),
        };
        let disk = Breakable {
            real: Arc::clone(&real.disk),
            broken: Arc::clone(&broken),
            gate: Arc::clone(&gate),
            copies: Arc::clone(&copies),
        };
        let env = Env { clock: Arc::new(clock), disk: Arc::new(disk), ..real };
        Self { env, forward_millis, stopped, broken, gate, copies }
    }

    /// Keeps a copy of this folder after each file in it that is replaced or removed, as a power cut there would leave it.
    pub(crate) fn keep_copies_of(&self, folder: Option<PathBuf>) {
        self.copies.lock().unwrap().of = folder;
    }

    /// The copies, in their order, but for proofs of freshness.
    pub(crate) fn copies(&self) -> Vec<FolderCopy> {
        let mut copies: Vec<FolderCopy> = self.copies.lock().unwrap().made.clone();
        for copy in &mut copies {
            copy.0.remove(Path::new("proof.json"));
        }
        copies.dedup();
        copies
    }

    /// Both clocks stand still from now on, but for what [`Self::forward`] says.
    pub(crate) fn stop_clock(&self) {
        *self.stopped.lock().unwrap() = Some(real::real().clock.now());
    }

    /// Files that grow wait before what has these bytes in it is on the disk, until another call says otherwise.
    pub(crate) fn hold(&self, bytes: Option<Vec<u8>>) {
        *self.gate.held.lock().unwrap() = Held { bytes, waits: false };
        self.gate.changed.notify_all();
    }

    /// Whether something waits.
    pub(crate) fn waits(&self) -> bool {
        self.gate.held.lock().unwrap().waits
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

/// What files that grow wait for.
#[derive(Debug, Default)]
struct Gate {
    held: Mutex<Held>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Held {
    bytes: Option<Vec<u8>>,
    waits: bool,
}

impl Gate {
    fn pass(&self, written: &[u8]) {
        let mut held = self.held.lock().unwrap();
        while held.bytes.as_ref().is_some_and(|bytes| written.windows(bytes.len()).any(|window| window == bytes)) {
            held.waits = true;
            held = self.changed.wait(held).unwrap();
        }
    }
}

struct Forwarded {
    real: Arc<dyn Clock>,
    forward_millis: Arc<AtomicU64>,
    stopped: Arc<Mutex<Option<Now>>>,
}

impl Clock for Forwarded {
    fn now(&self) -> Now {
        let by = Duration::from_millis(self.forward_millis.load(Ordering::SeqCst));
        let Now { wall, boot } = self.stopped.lock().unwrap().unwrap_or_else(|| self.real.now());
        Now { wall: wall.plus(by), boot: boot.plus(by) }
    }
}

struct Breakable {
    real: Arc<dyn Disk>,
    broken: Arc<AtomicBool>,
    gate: Arc<Gate>,
    copies: Arc<Mutex<Copies>>,
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
        // One step at a time, so that a copy is of one moment.
        let mut copies = self.copies.lock().unwrap();
        self.real.replace(path, bytes)?;
        copies.note(path);
        Ok(())
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut copies = self.copies.lock().unwrap();
        self.real.remove(path)?;
        copies.note(path);
        Ok(())
    }
    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        self.real.list(folder)
    }
    fn create_dir(&self, folder: &Path) -> io::Result<()> {
        self.real.create_dir(folder)
    }
    fn open_append(&self, path: &Path) -> io::Result<Box<dyn AppendFile>> {
        self.check()?;
        Ok(Box::new(BreakableFile {
            real: self.real.open_append(path)?,
            broken: Arc::clone(&self.broken),
            gate: Arc::clone(&self.gate),
            written: Vec::new(),
        }))
    }
    fn open_random(&self, path: &Path) -> io::Result<Box<dyn RandomFile>> {
        self.real.open_random(path)
    }
}

#[derive(Debug)]
struct BreakableFile {
    real: Box<dyn AppendFile>,
    broken: Arc<AtomicBool>,
    gate: Arc<Gate>,
    /// Since the last sync.
    written: Vec<u8>,
}

impl AppendFile for BreakableFile {
    fn len(&self) -> u64 {
        self.real.len()
    }
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.written.extend_from_slice(bytes);
        self.real.append(bytes)
    }
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        self.real.read_at(offset, out)
    }
    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.real.truncate(len)
    }
    fn sync(&mut self) -> io::Result<()> {
        self.gate.pass(&std::mem::take(&mut self.written));
        if self.broken.load(Ordering::SeqCst) { Err(io::ErrorKind::StorageFull.into()) } else { self.real.sync() }
    }
}
