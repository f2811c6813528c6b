//! Runs the executable that is under test.

use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};

use remit_common::net::env::Disk;
use remit_common::net::real::real;
use rustix::process::Pid;
use serde_json::Value;

#[expect(clippy::disallowed_methods, reason = "these tests are about processes")]
fn command(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_remit"));
    command.args(args).current_dir(folder).env_remove("REMIT_MESH").env_remove("REMIT_CVC5").env("NO_COLOR", "1");
    command.stdin(Stdio::null());
    command
}

/// Runs `remit` to its end.
pub(crate) fn remit(folder: &Path, args: &[&str]) -> Output {
    command(folder, args).output().expect("remit runs")
}

/// What it wrote to standard output, and that it ended with this code.
pub(crate) fn stdout_of(output: &Output, code: i32) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "stdout: {out}\nstderr: {err}");
    out.into_owned()
}

/// The document that it printed, and that it ended well.
pub(crate) fn json(folder: &Path, args: &[&str]) -> Value {
    let args: Vec<_> = args.iter().copied().chain(["--json"]).collect();
    let out = stdout_of(&remit(folder, &args), 0);
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
}

/// A file of a test's folder.
pub(crate) fn read(path: &Path) -> Vec<u8> {
    disk().read(path, 1 << 24).unwrap().unwrap_or_else(|| panic!("`{}` is missing", path.display()))
}

/// Writes a file of a test's folder.
pub(crate) fn write(path: &Path, bytes: &[u8]) {
    disk().replace(path, bytes).unwrap();
}

/// The names in a folder; none, if there is no such folder.
pub(crate) fn listed(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn disk() -> std::sync::Arc<dyn Disk> {
    real().disk
}

/// A process that is killed when the test is over, whatever its outcome.
pub(crate) struct Running(Child);

impl Running {
    pub(crate) fn start(folder: &Path, args: &[&str]) -> Self {
        let mut command = command(folder, args);
        Self(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("remit starts"))
    }

    /// One whose standard output is read.
    pub(crate) fn telling(folder: &Path, args: &[&str]) -> Self {
        let mut command = command(folder, args);
        Self(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("remit starts"))
    }

    /// One that is talked to.
    pub(crate) fn talking(folder: &Path, args: &[&str]) -> Self {
        let mut command = command(folder, args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        Self(command.spawn().expect("remit starts"))
    }

    /// Where it listens; once. Dropping it is the end of what it hears.
    pub(crate) fn stdin(&mut self) -> ChildStdin {
        self.0.stdin.take().expect("it is talked to, and this was not taken")
    }

    /// What it tells; once.
    pub(crate) fn stdout(&mut self) -> ChildStdout {
        self.0.stdout.take().expect("its output is read, and was not taken")
    }

    /// By which signals reach it.
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.0)
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.0.try_wait().expect("it was started").is_some()
    }

    /// Waits for its end.
    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        self.0.wait().expect("it was started").code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
