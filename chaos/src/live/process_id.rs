//! A process by its number and the time it started, so that a number that was given away again is never hit.

use std::path::Path;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

use super::tool;

/// The field of `/proc/<pid>/stat` that tells the start, counted from the state, which follows the name.
const START_FIELD: usize = 19;

/// One process, for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ProcessId {
    /// Its number.
    pub(super) pid: u32,
    /// When it started, in clock ticks since this machine did.
    pub(super) start: u64,
}

impl ProcessId {
    /// Whoever has this number now.
    pub(super) fn of(pid: u32) -> Option<Self> {
        let start = stat(pid)?.get(START_FIELD)?.parse().ok()?;
        Some(Self { pid, start })
    }

    /// Whether it still runs. Dead and not yet mourned is not running.
    pub(super) fn runs(self) -> bool {
        Self::of(self.pid) == Some(self)
            && stat(self.pid).and_then(|fields| fields.first().cloned()) != Some("Z".into())
    }

    /// Sends a signal. A process that has ended does not hear it, nor does anybody else.
    pub(super) fn signal(self, signal: Signal) {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else { return };
        // From here on this stands for one process; then is asked whether it is the one that is meant.
        let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else { return };
        if Self::of(self.pid) == Some(self) {
            // It may end this very moment; then nobody is left to be told.
            let _ = pidfd_send_signal(&handle, signal);
        }
    }
}

/// The fields of `/proc/<pid>/stat` behind the name, which may hold anything.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = tool::read(&Path::new("/proc").join(pid.to_string()).join("stat"))?;
    let (_, fields) = text.rsplit_once(") ")?;
    Some(fields.split_whitespace().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a process to signal")]
    fn only_the_process_that_is_meant_is_signalled() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let id = ProcessId::of(child.id()).unwrap();
        ProcessId { start: id.start + 1, ..id }.signal(Signal::KILL);
        assert!(id.runs() && child.try_wait().unwrap().is_none());
        id.signal(Signal::KILL);
        child.wait().unwrap();
        assert!(!id.runs());
        id.signal(Signal::KILL);
    }
}
