//! The machine's own tools and files, as the parts of this backend use them.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

/// Where tools are looked for: what a root shell has, also when we were started with less.
const FOLDERS: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Bytes of any small file that this backend reads: `/proc`, `/sys`, journals.
const SMALL_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Where a tool is, if the machine has it.
pub(super) fn find(name: &str) -> Option<PathBuf> {
    FOLDERS.iter().map(|folder| Path::new(folder).join(name)).find(|path| path.is_file())
}

/// A tool that is to be run.
#[expect(
    clippy::disallowed_methods,
    reason = "namespaces, mounts and packet filters are set up by the machine's tools"
)]
pub(super) fn command<S: AsRef<OsStr>>(name: &str, arguments: impl IntoIterator<Item = S>) -> Result<Command> {
    let path = find(name).with_context(|| format!("this machine has no `{name}`"))?;
    let mut command = Command::new(path);
    command.args(arguments).stdin(Stdio::null()).env("LC_ALL", "C");
    Ok(command)
}

/// Runs a tool and gives what it printed.
///
/// # Errors
/// When it is missing, or fails; what it said is in the message.
pub(super) fn run<S: AsRef<OsStr>>(name: &str, arguments: impl IntoIterator<Item = S>) -> Result<String> {
    finish(command(name, arguments)?)
}

/// Runs a command that was put together by [`command`].
///
/// # Errors
/// As [`run`].
pub(super) fn finish(mut command: Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot run {}", shown(&command)))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{} ended with {}: {}", shown(&command), output.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn shown(command: &Command) -> String {
    let mut text = format!("`{}", command.get_program().to_string_lossy());
    for argument in command.get_args() {
        // Writing to a String cannot fail.
        let _ = write!(text, " {}", argument.to_string_lossy());
    }
    text + "`"
}

/// A small file as text, or `None` when it cannot be read.
pub(super) fn read(path: &Path) -> Option<String> {
    let file = OpenOptions::new().read(true).open(path).ok()?;
    let mut text = String::new();
    file.take(SMALL_BYTES_MAX).read_to_string(&mut text).ok()?;
    Some(text)
}

/// Writes to a file that exists, as control files of the kernel want it: in one piece.
///
/// # Errors
/// What the kernel says.
pub(super) fn put(path: &Path, text: &str) -> Result<()> {
    let shown = || format!("cannot write `{text}` to `{}`", path.display());
    let mut file = OpenOptions::new().write(true).open(path).with_context(shown)?;
    file.write_all(text.as_bytes()).with_context(shown)
}

/// Waits for the machine: what is undone may be undone where there is no runtime, after a crash.
#[expect(clippy::disallowed_methods, reason = "the machine says no event when a mount is free again")]
pub(super) fn pause(time: Duration) {
    std::thread::sleep(time);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_tool_says_when_it_fails_is_told() {
        let error = run("ls", ["/no/such/folder"]).unwrap_err().to_string();
        assert!(error.contains("/no/such/folder") && error.contains("ls"), "{error}");
        assert!(run("no-such-tool", [""; 0]).unwrap_err().to_string().contains("this machine has no `no-such-tool`"));
    }
}
