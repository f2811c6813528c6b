//! What to do so that nothing of a run is left, written down before it is done.
//!
//! Every change of the machine is first a line in the run's journal, on the disk; then it happens; then, when it is
//! undone, there is a second line. So whoever reads the journal later, after whatever happened to the runner, can undo
//! the rest: each step may be done twice, and none touches what is not named there. Processes are the one exception to
//! "first written, then done", because a number exists only afterwards: they end by themselves when the runner does,
//! through their standard input.
//!
//! A fault also has a time to live. When that has passed, the guard ends the fault, whatever the runner does.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use super::namespace::{self, Namespace};
use super::process_id::ProcessId;
use super::tool;

/// The journal in a run's folder.
const JOURNAL: &str = "undo.jsonl";

/// Steps of waiting for a process that was killed, or a filesystem that is still in use.
const WAIT: Duration = Duration::from_millis(20);
const WAITS_MAX: u32 = 250;

/// How to take one change of the machine back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "undo", rename_all = "kebab-case")]
pub(super) enum Undo {
    /// Lets a process go on.
    Resume {
        /// Which.
        process: ProcessId,
    },
    /// Lifts a limit: writes a value to a control file.
    Limit {
        /// The control file.
        path: PathBuf,
        /// What stands for no limit.
        value: String,
    },
    /// Deletes a table of packet filters.
    Table {
        /// In this namespace.
        namespace: PathBuf,
        /// Its name, in the family `ip`.
        table: String,
    },
    /// Removes a file.
    File {
        /// Which.
        path: PathBuf,
    },
    /// Ends a process.
    Process {
        /// Which.
        process: ProcessId,
    },
    /// Unmounts a filesystem.
    Mount {
        /// Where it is mounted.
        path: PathBuf,
    },
    /// Gives a loop device back.
    Loop {
        /// The image behind it.
        image: PathBuf,
    },
    /// Deletes a namespace.
    Namespace {
        /// The file that holds it.
        path: PathBuf,
    },
    /// Removes a control group.
    Cgroup {
        /// Its folder.
        path: PathBuf,
    },
    /// Removes a folder and everything in it.
    Folder {
        /// Which; its name begins like every name of ours.
        path: PathBuf,
    },
}

/// One line of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Line {
    /// The first: whose journal this is.
    Run {
        /// This start of the machine: numbers of processes mean nothing after it.
        boot: String,
        /// Who runs the drill.
        runner: ProcessId,
    },
    /// Something is about to be changed.
    Change {
        id: u64,
        /// When the guard takes it back, in milliseconds since the machine started; none leaves it until the end.
        until_ms: Option<u64>,
        how: Undo,
    },
    /// It is as it was.
    Done { id: u64 },
}

/// The journal of one run.
#[derive(Debug)]
pub(super) struct Journal {
    folder: PathBuf,
    boot: String,
    runner: ProcessId,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    file: File,
    next: u64,
    open: BTreeMap<u64, (Option<u64>, Undo)>,
}

/// Where journals of all runs are.
pub(super) fn root(runtime: Option<&Path>) -> PathBuf {
    runtime.unwrap_or(Path::new("/run")).join("remit-drills")
}

impl Journal {
    /// Begins the journal of a new run of this process.
    ///
    /// # Errors
    /// What the disk says.
    pub(super) fn create(root: &Path, run: &str) -> Result<Self> {
        let folder = root.join(run);
        let shown = || format!("cannot make `{}`", folder.display());
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).with_context(shown)?;
        let file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(folder.join(JOURNAL));
        let runner = ProcessId::of(std::process::id()).context("`/proc` does not tell when this process started")?;
        let (boot, inner) = (boot_id(), Inner { file: file.with_context(shown)?, next: 0, open: BTreeMap::new() });
        let journal = Self { folder, boot: boot.clone(), runner, inner: Mutex::new(inner) };
        journal.with(|inner| inner.write(&Line::Run { boot, runner }))?;
        Ok(journal)
    }

    /// Opens the journal of a run that somebody began.
    ///
    /// # Errors
    /// When there is none, or its first line is not one of ours.
    pub(super) fn open(folder: &Path) -> Result<Self> {
        let path = folder.join(JOURNAL);
        let text = tool::read(&path).with_context(|| format!("there is no journal `{}`", path.display()))?;
        // A last line that is torn was never followed by what it announces.
        let mut lines = text.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok());
        let Some(Line::Run { boot, runner }) = lines.next() else {
            bail!("`{}` is not a journal of a drill", path.display());
        };
        let mut open = BTreeMap::new();
        let mut next = 0;
        for line in lines {
            match line {
                Line::Run { .. } => {}
                Line::Change { id, until_ms, how } => {
                    next = next.max(id + 1);
                    open.insert(id, (until_ms, how));
                }
                Line::Done { id } => {
                    open.remove(&id);
                }
            }
        }
        let file = OpenOptions::new().append(true).open(&path).context("cannot go on with the journal")?;
        Ok(Self { folder: folder.to_owned(), boot, runner, inner: Mutex::new(Inner { file, next, open }) })
    }

    /// Where it is.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether the process that began it still runs, and is not this one.
    pub(super) fn belongs_to_another(&self) -> bool {
        self.boot == boot_id() && self.runner.pid != std::process::id() && self.runner.runs()
    }

    /// Who began it.
    pub(super) fn runner(&self) -> u32 {
        self.runner.pid
    }

    /// Writes down how to take back what is about to be done. It is on the disk when this returns.
    ///
    /// # Errors
    /// What the disk says; then it must not be done.
    pub(super) fn note(&self, how: Undo, ttl: Option<Duration>) -> Result<u64> {
        let until_ms = ttl.map(|ttl| boot_ms().saturating_add(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)));
        self.with(|inner| {
            let id = inner.next;
            inner.write(&Line::Change { id, until_ms, how: how.clone() })?;
            inner.next += 1;
            inner.open.insert(id, (until_ms, how));
            Ok(id)
        })
    }

    /// Takes one change back. One that was taken back already stays so.
    ///
    /// # Errors
    /// What the machine says; it stays in the journal then.
    pub(super) fn undo(&self, id: u64) -> Result<()> {
        let Some((_, how)) = self.with(|inner| inner.open.get(&id).cloned()) else { return Ok(()) };
        how.perform(self.boot == boot_id())?;
        self.with(|inner| {
            inner.open.remove(&id);
            inner.write(&Line::Done { id })
        })
    }

    /// Takes back whatever has outlived its time. Gives what that was, and what went wrong.
    pub(super) fn undo_expired(&self) -> Vec<String> {
        let now = boot_ms();
        let expired: Vec<(u64, Undo)> = self.with(|inner| {
            let open = inner.open.iter();
            let passed = open.filter(|(_, (until, _))| until.is_some_and(|until| until <= now));
            passed.map(|(id, (_, how))| (*id, how.clone())).collect()
        });
        let mut told = Vec::new();
        for (id, how) in expired {
            match self.undo(id) {
                Ok(()) => told.push(format!("its time has passed, and it is undone: {how:?}")),
                Err(error) => told.push(format!("its time has passed, but {error:#}")),
            }
        }
        told
    }

    /// Takes everything back: faults first, then processes, then what they stood on. Removes the journal if nothing is
    /// left; gives what went wrong otherwise.
    pub(super) fn undo_all(&self) -> Vec<String> {
        let mut open: Vec<(u64, Undo)> =
            self.with(|inner| inner.open.iter().map(|(id, (_, how))| (*id, how.clone())).collect());
        open.sort_by_key(|(id, how)| (how.rank(), std::cmp::Reverse(*id)));
        let mut wrong: Vec<String> =
            open.into_iter().filter_map(|(id, _)| self.undo(id).err()).map(|error| format!("{error:#}")).collect();
        if wrong.is_empty()
            && let Err(error) = remove_folder(&self.folder)
        {
            wrong.push(format!("cannot remove `{}`: {error}", self.folder.display()));
        }
        wrong
    }

    fn with<T>(&self, work: impl FnOnce(&mut Inner) -> T) -> T {
        work(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Inner {
    fn write(&mut self, line: &Line) -> Result<()> {
        let text = serde_json::to_string(line).context("a line of the journal has no JSON form")? + "\n";
        self.file.write_all(text.as_bytes()).context("cannot write the journal")?;
        self.file.sync_data().context("cannot write the journal")
    }
}

impl Undo {
    /// What must be done before what.
    fn rank(&self) -> u8 {
        match self {
            Self::Resume { .. } | Self::Limit { .. } | Self::Table { .. } => 0,
            Self::Process { .. } => 1,
            Self::File { .. } => 2,
            Self::Mount { .. } => 3,
            Self::Loop { .. } => 4,
            Self::Namespace { .. } => 5,
            Self::Cgroup { .. } => 6,
            Self::Folder { .. } => 7,
        }
    }

    /// Does it. `same_boot` says whether the machine still runs as it did when this was written down.
    fn perform(&self, same_boot: bool) -> Result<()> {
        match self {
            Self::Resume { process } => {
                if same_boot {
                    process.signal(Signal::CONT);
                }
                Ok(())
            }
            Self::Limit { path, value } => {
                if path.exists() {
                    tool::put(path, value)
                } else {
                    Ok(())
                }
            }
            Self::Table { namespace, table } => delete_table(namespace, table),
            Self::File { path } => {
                gone(std::fs::remove_file(path)).with_context(|| format!("cannot remove `{}`", path.display()))
            }
            Self::Process { process } => {
                if same_boot {
                    end(*process)
                } else {
                    Ok(())
                }
            }
            Self::Mount { path } => unmount_all(path),
            Self::Loop { image } => give_back(image),
            Self::Namespace { path } => namespace::delete(path),
            Self::Cgroup { path } => remove_cgroup(path),
            Self::Folder { path } => remove_folder(path).with_context(|| format!("cannot remove `{}`", path.display())),
        }
    }
}

fn gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn delete_table(namespace: &Path, table: &str) -> Result<()> {
    // Without the namespace there is no table in it.
    let Ok(inside) = Namespace::enter(namespace) else { return Ok(()) };
    let tables = inside.tool("nft", &["list", "tables"])?;
    if tables.lines().any(|line| line.trim() == format!("table ip {table}")) {
        inside.tool("nft", &["delete", "table", "ip", table])?;
    }
    Ok(())
}

fn end(process: ProcessId) -> Result<()> {
    process.signal(Signal::KILL);
    for _ in 0..WAITS_MAX {
        if !process.runs() {
            return Ok(());
        }
        tool::pause(WAIT);
    }
    bail!("process {} does not end", process.pid)
}

fn unmount_all(path: &Path) -> Result<()> {
    let mut waits = 0;
    loop {
        match unmount(path, UnmountFlags::empty()) {
            // More than one may be stacked there; the last one answers that nothing is.
            Ok(()) => {}
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => return Ok(()),
            Err(rustix::io::Errno::BUSY) if waits < WAITS_MAX => {
                waits += 1;
                tool::pause(WAIT);
            }
            Err(error) => return Err(error).with_context(|| format!("cannot unmount `{}`", path.display())),
        }
    }
}

/// The loop devices behind which this image is.
pub(super) fn loop_devices(image: &Path) -> Result<Vec<String>> {
    let arguments = ["--noheadings".as_ref(), "--output".as_ref(), "NAME".as_ref(), "-j".as_ref(), image.as_os_str()];
    let devices = tool::run("losetup", arguments)?;
    Ok(devices.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect())
}

fn give_back(image: &Path) -> Result<()> {
    if !image.exists() {
        return Ok(());
    }
    for device in loop_devices(image)? {
        tool::run("losetup", ["-d", &device])?;
    }
    Ok(())
}

fn remove_cgroup(path: &Path) -> Result<()> {
    let mut waits = 0;
    loop {
        match gone(std::fs::remove_dir(path)) {
            // Its processes have ended, but the kernel has not counted them out yet.
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy && waits < WAITS_MAX => {
                waits += 1;
                tool::pause(WAIT);
            }
            other => return other.with_context(|| format!("cannot remove `{}`", path.display())),
        }
    }
}

fn remove_folder(path: &Path) -> io::Result<()> {
    let ours = path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(namespace::PREFIX));
    if !ours {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "its name is not one of ours"));
    }
    gone(std::fs::remove_dir_all(path))
}

fn boot_id() -> String {
    tool::read(Path::new("/proc/sys/kernel/random/boot_id")).unwrap_or_default().trim().to_owned()
}

fn boot_ms() -> u64 {
    remit_common::net::real::real().now().boot.as_millis()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journal(root: &Path) -> Journal {
        Journal::create(root, "remit-run").unwrap()
    }

    #[test]
    fn what_was_noted_is_undone_by_whoever_opens_the_journal() {
        let root = tempfile::tempdir().unwrap();
        let (first, second) = (root.path().join("remit-a"), root.path().join("remit-b"));
        let noted = journal(root.path());
        for folder in [&first, &second] {
            noted.note(Undo::Folder { path: folder.clone() }, None).unwrap();
            std::fs::create_dir(folder).unwrap();
        }
        noted.undo(0).unwrap();
        assert!(!first.exists() && second.exists());
        std::fs::create_dir(&first).unwrap();
        let opened = Journal::open(noted.folder()).unwrap();
        assert_eq!(opened.undo_all(), [""; 0]);
        assert!(first.exists(), "what was undone before is not undone again");
        assert!(!second.exists() && !noted.folder().exists());
    }

    #[test]
    fn a_fault_ends_with_its_time() {
        let root = tempfile::tempdir().unwrap();
        let journal = journal(root.path());
        let files = [root.path().join("short"), root.path().join("long")];
        for (path, secs) in files.iter().zip([0, 600]) {
            journal.note(Undo::File { path: path.clone() }, Some(Duration::from_secs(secs))).unwrap();
            OpenOptions::new().write(true).create_new(true).open(path).unwrap();
        }
        assert_eq!(journal.undo_expired().len(), 1);
        assert!(!files[0].exists() && files[1].exists());
        assert_eq!(journal.undo_expired(), [""; 0]);
    }

    #[test]
    fn a_torn_line_is_left_out_and_folders_of_others_are_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let theirs = root.path().join("thesis");
        std::fs::create_dir(&theirs).unwrap();
        let noted = journal(root.path());
        noted.note(Undo::Folder { path: theirs.clone() }, None).unwrap();
        noted.with(|inner| inner.file.write_all(b"{\"change\":{\"id\":7,").unwrap());
        let wrong = Journal::open(noted.folder()).unwrap().undo_all();
        assert_eq!(wrong.len(), 1, "{wrong:?}");
        assert!(theirs.exists() && noted.folder().exists(), "what could not be undone stays written down");
    }
}
