//! Who puts everything back when the runner cannot.

use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread::Builder;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::undo::{self, Journal};

/// Between two looks for faults that have outlived their time.
const LOOK: Duration = Duration::from_millis(500);

/// What became of one run that was left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undone {
    /// The run.
    pub run: String,
    /// Why it is not, or not wholly, undone; empty when nothing of it is left.
    pub left: Vec<String>,
}

/// Undoes everything that drills of this machine have left behind, and leaves running ones alone. `runtime` is the
/// folder for files of running programs, where it is not `/run`.
///
/// # Errors
/// When the folder of journals cannot be read.
pub fn undo_all_runs(runtime: Option<&Path>) -> Result<Vec<Undone>> {
    let root = undo::root(runtime);
    let entries = match std::fs::read_dir(&root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("cannot read `{}`", root.display())),
    };
    let mut undone = Vec::new();
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot read `{}`", root.display()))?;
        let run = entry.file_name().to_string_lossy().into_owned();
        let left = match Journal::open(&entry.path()) {
            Ok(journal) if journal.belongs_to_another() => {
                vec![format!("it is still running: interrupt process {} first", journal.runner())]
            }
            Ok(journal) => journal.undo_all(),
            Err(error) => vec![format!("{error:#}")],
        };
        undone.push(Undone { run, left });
    }
    Ok(undone)
}

/// Waits for the end of standard input, which is the end of the runner, and meanwhile ends faults that have outlived
/// their time. Then undoes whatever is left. Returns when nothing is; gives what it had to do.
///
/// # Errors
/// When there is no such journal.
pub fn guard(folder: &Path) -> Result<Vec<String>> {
    Journal::open(folder)?;
    let (told, ended) = channel::<()>();
    Builder::new()
        .name("remit-guard".to_owned())
        .spawn(move || {
            let mut rest = Vec::new();
            // Nobody writes to it: it ends, one way or the other.
            let _ = std::io::stdin().read_to_end(&mut rest);
            drop(told);
        })
        .context("cannot start a thread")?;
    let mut done = Vec::new();
    while ended.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
        // The runner goes on writing: what it has noted since, and taken back since, is in the file.
        let Ok(journal) = Journal::open(folder) else { break };
        done.extend(journal.undo_expired());
    }
    if let Ok(journal) = Journal::open(folder) {
        done.extend(journal.undo_all());
    }
    Ok(done)
}

/// Starts `remit drill guard` for a journal. It lives until its standard input ends.
///
/// # Errors
/// When it cannot be started.
#[expect(clippy::disallowed_methods, reason = "the guard must outlive this process, and is not one of the mesh's")]
pub(super) fn start(executable: &Path, journal: &Journal) -> Result<Child> {
    use std::os::unix::process::CommandExt as _;
    std::process::Command::new(executable)
        .args(["drill", "guard", "--journal"])
        .arg(journal.folder())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // Its own group: Ctrl-C reaches the runner only.
        .process_group(0)
        .spawn()
        .context("cannot start the guard that undoes everything should this process die")
}

#[cfg(test)]
mod tests;
