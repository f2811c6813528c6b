//! Programs that a daemon starts and talks to over their standard input and output.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::PathBuf;

use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};

/// What to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The executable; a name without a slash is looked for in the `PATH` of `environment`.
    pub executable: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// All of its environment: nothing is inherited.
    pub environment: BTreeMap<String, String>,
    /// Where it runs; `None`: where we do.
    pub folder: Option<PathBuf>,
}

/// A program that was started. It and whatever it started are killed when `running` is dropped.
pub struct Started {
    /// Its standard input.
    pub input: Box<dyn AsyncWrite + Send + Unpin>,
    /// Its standard output.
    pub output: Box<dyn AsyncRead + Send + Unpin>,
    /// Its standard error.
    pub errors: Box<dyn AsyncRead + Send + Unpin>,
    /// What keeps it alive.
    pub running: Box<dyn Send + Sync>,
    /// Ends when it has ended.
    pub ended: BoxFuture<'static, ()>,
}

impl fmt::Debug for Started {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Started")
    }
}

/// Starts programs.
pub trait Programs: Send + Sync + 'static {
    /// Starts one.
    ///
    /// # Errors
    /// What the machine says.
    fn start(&self, program: &Program) -> io::Result<Started>;
}

/// A world without programs.
#[derive(Debug, Clone, Copy)]
pub struct NoPrograms;

impl Programs for NoPrograms {
    fn start(&self, _: &Program) -> io::Result<Started> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "there are no programs in this world"))
    }
}
