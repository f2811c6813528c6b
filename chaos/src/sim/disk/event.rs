//! What can be seen of a simulated disk from outside.

use std::fmt;
use std::path::Path;

/// One thing that a process did to its disk, or that happened to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskEvent<'a> {
    /// What.
    pub op: Op,
    /// To which file or folder; empty where it is the whole disk.
    pub path: &'a Path,
    /// How many bytes it is about: written, or the new length.
    pub bytes: u64,
}

/// As a line of a trace: `append 120 /data/spool/0.seg`.
impl fmt::Display for DiskEvent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.op.as_str(), self.bytes, self.path.display())
    }
}

/// The kinds of [`DiskEvent`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Op {
    /// A file was made by opening it.
    Create,
    /// Bytes at the end of a file.
    Append,
    /// Bytes anywhere in a file.
    Write,
    /// A file was cut or extended; not durable yet.
    SetLen,
    /// A file was cut, durably.
    Truncate,
    /// What was written became durable.
    Sync,
    /// A sync failed.
    SyncFailed,
    /// A file was replaced.
    Replace,
    /// A file was removed.
    Remove,
    /// A folder was made.
    CreateDir,
    /// Somebody wrote bytes that must never be on a disk.
    Forbidden,
    /// The power went. Whoever runs the host kills its processes now.
    PowerCut,
}

impl Op {
    /// As traces name it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Append => "append",
            Self::Write => "write",
            Self::SetLen => "set-len",
            Self::Truncate => "truncate",
            Self::Sync => "sync",
            Self::SyncFailed => "sync-failed",
            Self::Replace => "replace",
            Self::Remove => "remove",
            Self::CreateDir => "create-dir",
            Self::Forbidden => "forbidden",
            Self::PowerCut => "power-cut",
        }
    }
}

/// What a disk has done so far. A run in which these stay zero tested nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiskStats {
    /// Changes of every kind, syncs included.
    pub changes: u64,
    /// Reads of files and parts of files.
    pub reads: u64,
    /// Times that something was made durable.
    pub syncs: u64,
    /// Syncs that failed.
    pub syncs_failed: u64,
    /// Bytes written by [`Op::Append`].
    pub bytes_appended: u64,
    /// Bytes written by [`Op::Write`].
    pub bytes_written: u64,
    /// Bytes written by [`Op::Replace`].
    pub bytes_replaced: u64,
    /// Times that the power went.
    pub power_cuts: u64,
    /// Bytes that power cuts and failed syncs took away.
    pub bytes_lost: u64,
}
