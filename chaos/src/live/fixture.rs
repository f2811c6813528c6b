//! What tests on the real machine share: they skip with a reason where they cannot run, and take turns.

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::namespace::{self, Namespace};
use super::probe::Probe;

static TURN: Mutex<()> = Mutex::new(());
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// Why a test cannot run here.
#[derive(Debug)]
pub(super) struct Skipped(pub(super) String);

impl Skipped {
    /// Tells whoever reads the output of the tests.
    pub(super) fn print(self) {
        eprintln!("skipped: {}", self.0);
    }
}

/// One test at a time: they share mounts, loop devices and two processors.
pub(super) fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the test needs, or why not.
pub(super) fn need(missing: impl FnOnce(&Probe) -> Option<String>) -> Result<(), Skipped> {
    let probe = Probe::of_this_machine();
    missing(&probe).map_or(Ok(()), |reason| Err(Skipped(reason)))
}

/// A namespace that is deleted with this value.
pub(super) struct TestNamespace {
    namespace: Option<Namespace>,
    path: PathBuf,
}

impl TestNamespace {
    pub(super) fn create(name: &str) -> Result<Self, Skipped> {
        need(|probe| probe.missing_mesh())?;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}test-{}-{number}-{name}", namespace::PREFIX, std::process::id());
        let namespace = Namespace::create(&name).unwrap();
        Ok(Self { path: namespace.path().to_owned(), namespace: Some(namespace) })
    }
}

impl Deref for TestNamespace {
    type Target = Namespace;

    fn deref(&self) -> &Namespace {
        self.namespace.as_ref().unwrap()
    }
}

impl Drop for TestNamespace {
    fn drop(&mut self) {
        drop(self.namespace.take());
        namespace::delete(&self.path).unwrap();
    }
}
