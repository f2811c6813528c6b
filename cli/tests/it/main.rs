//! The command line from outside: real processes of the real executable.

mod bundle;
mod tool_server;

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

/// Runs `remit` to its end.
#[expect(clippy::disallowed_methods, reason = "these tests are about processes")]
fn remit(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_remit"))
        .args(args)
        .current_dir(folder)
        .env_remove("REMIT_MESH")
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .output()
        .expect("remit runs")
}

/// What it wrote to standard output, and that it ended with this code.
fn stdout_of(output: &Output, code: i32) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "stdout: {out}\nstderr: {err}");
    out.into_owned()
}

/// A process that is killed when the test is over, whatever its outcome.
struct Running(Child);

impl Running {
    #[expect(clippy::disallowed_methods, reason = "these tests are about processes")]
    fn start(folder: &Path, args: &[&str]) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_remit"))
            .args(args)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("remit starts");
        Self(child)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
