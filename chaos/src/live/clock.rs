//! Wall clocks that jump: libfaketime between a process and the C library, with the offset in a file.
//!
//! Only the wall clock: our processes ask the kernel itself for the time since boot, and the library is told to leave
//! the monotonic clock alone.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use tokio::process::Command;

use super::tool;

/// Where distributions keep the variant for programs with threads.
const FOLDERS: [&str; 6] = [
    "/usr/lib/x86_64-linux-gnu/faketime",
    "/usr/lib/aarch64-linux-gnu/faketime",
    "/usr/lib64/faketime",
    "/usr/lib/faketime",
    "/usr/local/lib/faketime",
    "/lib/faketime",
];
const LIBRARY: &str = "libfaketimeMT.so.1";

/// The library, if the machine has it.
///
/// # Errors
/// Why not.
pub(super) fn probe() -> Result<PathBuf> {
    let found = FOLDERS.iter().map(|folder| Path::new(folder).join(LIBRARY)).find(|path| path.is_file());
    found.with_context(|| format!("clock jumps need `{LIBRARY}` (package `faketime`, or `libfaketime`)"))
}

/// The clock of one node.
#[derive(Debug, Clone)]
pub(super) struct FakeClock {
    library: PathBuf,
    file: PathBuf,
}

impl FakeClock {
    /// A clock that shows the true time so far.
    ///
    /// # Errors
    /// What the disk says.
    pub(super) fn create(library: PathBuf, file: PathBuf) -> Result<Self> {
        std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(&file)
            .with_context(|| format!("cannot write `{}`", file.display()))?;
        let clock = Self { library, file };
        clock.set(0)?;
        Ok(clock)
    }

    /// From now on it is so many milliseconds ahead, or behind.
    ///
    /// # Errors
    /// What the disk says.
    pub(super) fn set(&self, ahead_ms: i64) -> Result<()> {
        tool::put(&self.file, &line(ahead_ms))
    }

    /// Which file to write, and what, so that it shows the true time.
    pub(super) fn lifted(&self) -> (PathBuf, String) {
        (self.file.clone(), line(0))
    }

    /// Gives the clock to a process that is about to start.
    pub(super) fn give(&self, command: &mut Command) {
        command
            .env("LD_PRELOAD", &self.library)
            .env("FAKETIME_TIMESTAMP_FILE", &self.file)
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    }
}

/// The file's one line. Padded: it is written over in place, and may be read at any moment.
fn line(ahead_ms: i64) -> String {
    format!("{:<24}\n", offset(ahead_ms))
}

/// As the library reads it.
fn offset(ahead_ms: i64) -> String {
    let sign = if ahead_ms < 0 { '-' } else { '+' };
    let ms = ahead_ms.unsigned_abs();
    format!("{sign}{}.{:03}s", ms / 1_000, ms % 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::fixture::Skipped;

    #[test]
    fn offsets_are_written_as_the_library_reads_them() {
        for (ms, text) in [(0, "+0.000s"), (3_600_000, "+3600.000s"), (-1_500, "-1.500s"), (7, "+0.007s")] {
            assert_eq!(offset(ms), text);
        }
    }

    #[tokio::test]
    #[expect(clippy::disallowed_methods, reason = "a process with a clock of its own")]
    async fn a_process_sees_its_own_clock() {
        let library = match probe() {
            Ok(library) => library,
            Err(reason) => return Skipped(reason.to_string()).print(),
        };
        let folder = tempfile::tempdir().unwrap();
        let clock = FakeClock::create(library, folder.path().join("clock")).unwrap();
        let year = async |ahead_ms| {
            clock.set(ahead_ms).unwrap();
            let mut command = Command::new("date");
            clock.give(command.args(["-u", "+%Y"]));
            let output = command.output().await.unwrap();
            String::from_utf8(output.stdout).unwrap().trim().parse::<i32>().unwrap()
        };
        let now = year(0).await;
        assert_eq!(year(10 * 366 * 86_400_000).await, now + 10);
        assert_eq!(
            year(-10 * 366 * 86_400_000).await,
            now - 11 + i32::from(year(-10 * 366 * 86_400_000).await == now - 10)
        );
    }
}
