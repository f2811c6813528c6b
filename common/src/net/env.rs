//! What a daemon may ask of the world, and the only way to ask.
//!
//! Nothing else reads a clock, draws a random byte, touches a file, spawns a task or opens a socket. So the same code
//! runs on a machine ([`super::real::real`]) and inside a simulation that owns time, loses packets and cuts the power.
//! Every trait is small enough to be implemented in memory on tokio's paused clock; timers come from tokio itself,
//! which such a simulation already controls.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};

use super::programs::Programs;
use super::tasks::{TaskFailed, TaskHandle};
use super::udp::UdpSocket;
use crate::time::{BootTime, Now};

/// The world. Cloning is cheap and gives the same world.
#[derive(Clone)]
pub struct Env {
    /// Both clocks.
    pub clock: Arc<dyn Clock>,
    /// Random bytes fit for keys.
    pub entropy: Arc<dyn Entropy>,
    /// Files.
    pub disk: Arc<dyn Disk>,
    /// Tasks.
    pub spawn: Arc<dyn Spawn>,
    /// Sockets.
    pub socket: Arc<dyn Socket>,
    /// Programs.
    pub programs: Arc<dyn Programs>,
}

impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Env")
    }
}

/// Reads both clocks.
pub trait Clock: Send + Sync + 'static {
    /// Wall clock and boot clock, read together.
    fn now(&self) -> Now;
}

/// Draws random bytes.
pub trait Entropy: Send + Sync + 'static {
    /// Fills `out` with bytes that nobody can predict.
    fn fill(&self, out: &mut [u8]);
}

/// Files and folders. Calls block; anything but start-up goes through [`Env::run_blocking`].
///
/// Every file and folder that is made here can be read by its owner only. An error of any `sync` or `replace` says
/// that nobody knows what is on the disk now: the caller stops, it does not try again.
pub trait Disk: Send + Sync + 'static {
    /// The whole file, or `None` when there is none.
    ///
    /// # Errors
    /// [`io::ErrorKind::FileTooLarge`] when it is longer than `bytes_max`, before anything is read; otherwise what
    /// the disk says.
    fn read(&self, path: &Path, bytes_max: usize) -> io::Result<Option<Vec<u8>>>;

    /// Replaces a file as one step: after a crash there is the old content or the new, never a mixture, and after
    /// this returns it is the new one.
    ///
    /// # Errors
    /// What the disk says.
    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;

    /// Removes a file, durably. A file that is not there is removed already.
    ///
    /// # Errors
    /// What the disk says.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// The names of the files in a folder, sorted. A folder that is not there is empty.
    ///
    /// # Errors
    /// What the disk says; names that are not UTF-8 are [`io::ErrorKind::InvalidData`].
    fn list(&self, folder: &Path) -> io::Result<Vec<String>>;

    /// Makes a folder and those above it, durably. One that is there already stays as it is.
    ///
    /// # Errors
    /// What the disk says.
    fn create_dir(&self, folder: &Path) -> io::Result<()>;

    /// Opens a file that only grows, and makes it when it is not there. The open file is locked against every other
    /// opening, by this process or another.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when somebody else has it open; otherwise what the disk says.
    fn open_append(&self, path: &Path) -> io::Result<Box<dyn AppendFile>>;

    /// Opens a file that is written anywhere, and makes it when it is not there. Locked like [`Self::open_append`].
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when somebody else has it open; otherwise what the disk says.
    fn open_random(&self, path: &Path) -> io::Result<Box<dyn RandomFile>>;
}

/// A file that only grows. What was appended is on the disk after [`Self::sync`], not before; a crash may keep any
/// prefix of the rest, with zeros after it where the file system had grown the file already.
pub trait AppendFile: Send + Sync + fmt::Debug + 'static {
    /// Bytes of the file, those not synced included.
    fn len(&self) -> u64;

    /// Whether the file has no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes at the end.
    ///
    /// # Errors
    /// What the disk says. How much was written is unknown then: truncate or stop.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Reads up to `out.len()` bytes from `offset`; less only at the end of the file.
    ///
    /// # Errors
    /// What the disk says.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<usize>;

    /// Cuts the file to `len` bytes, durably.
    ///
    /// # Errors
    /// What the disk says.
    fn truncate(&mut self, len: u64) -> io::Result<()>;

    /// Returns when everything appended is on the disk.
    ///
    /// # Errors
    /// What the disk says; fatal.
    fn sync(&mut self) -> io::Result<()>;
}

/// A file that is written anywhere: the ground under a database.
#[expect(clippy::len_without_is_empty, reason = "a database asks for the length and for nothing else")]
pub trait RandomFile: Send + Sync + fmt::Debug + 'static {
    /// Bytes of the file.
    ///
    /// # Errors
    /// What the disk says.
    fn len(&self) -> io::Result<u64>;

    /// Fills `out` from `offset`.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] when the file ends before; otherwise what the disk says.
    fn read_exact_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;

    /// Writes `bytes` at `offset`.
    ///
    /// # Errors
    /// What the disk says.
    fn write_all_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Cuts or extends the file; new bytes are zero.
    ///
    /// # Errors
    /// What the disk says.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Returns when everything written is on the disk.
    ///
    /// # Errors
    /// What the disk says; fatal.
    fn sync(&self) -> io::Result<()>;
}

/// Runs tasks. A simulation keeps the tasks of one host together, so that killing the host kills them.
pub trait Spawn: Send + Sync + 'static {
    /// Starts a task. The name is for people who look at a stuck process.
    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>) -> TaskHandle;

    /// Runs work that blocks, where it holds up nobody; a simulation runs it in place. The future ends when the work
    /// has ended. Dropping the future does not stop the work.
    fn run_blocking(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()>;
}

/// Opens sockets.
pub trait Socket: Send + Sync + 'static {
    /// Listens for streams (TCP). Port 0 takes a free one.
    ///
    /// # Errors
    /// What the network says.
    fn listen(&self, addr: SocketAddr) -> io::Result<Box<dyn Listener>>;

    /// Listens for streams at a path of this machine, for its owner only (a Unix domain socket). What stands there and
    /// nobody listens at is replaced. Worlds without such paths refuse.
    ///
    /// # Errors
    /// [`io::ErrorKind::AddrInUse`] when somebody listens there, or when it is no socket; otherwise what the machine
    /// says.
    fn listen_local(&self, path: &Path) -> io::Result<Box<dyn Listener>> {
        let _ = path;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Connects a stream (TCP).
    fn connect(&self, addr: SocketAddr) -> BoxFuture<'static, io::Result<BoxStream>>;

    /// The addresses of a host name, or of an address written as text.
    ///
    /// The error of the future is what the network says; no address is [`io::ErrorKind::NotFound`].
    fn resolve(&self, host: &str, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>>;

    /// Opens a socket for datagrams (UDP), as QUIC takes it. Port 0 takes a free one.
    ///
    /// # Errors
    /// What the network says.
    fn udp(&self, addr: SocketAddr) -> io::Result<UdpSocket>;

    /// Timers and tasks for QUIC.
    fn quic_runtime(&self) -> Arc<dyn quinn::Runtime>;
}

/// Accepts streams.
pub trait Listener: Send + Sync + 'static {
    /// Where it listens, the port resolved; of a path, the unspecified address.
    fn local_addr(&self) -> SocketAddr;

    /// The next stream and who opened it. Cancelling loses nothing.
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(BoxStream, SocketAddr)>>;
}

/// A byte stream in both directions.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for S {}

/// A stream of whichever kind this world has.
pub type BoxStream = Box<dyn Stream>;

/// A wait had a deadline, and it passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the deadline passed")]
pub struct DeadlinePassed;

impl Env {
    /// Wall clock and boot clock, read together.
    #[must_use]
    pub fn now(&self) -> Now {
        self.clock.now()
    }

    /// `N` random bytes.
    #[must_use]
    pub fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.entropy.fill(&mut bytes);
        bytes
    }

    /// Starts a task. Keep the handle in a [`super::tasks::TaskGroup`], so that shutdown waits for it.
    pub fn spawn_named(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) -> TaskHandle {
        self.spawn.spawn(name, Box::pin(task))
    }

    /// Runs work that blocks and gives its result. Dropping the future does not stop the work.
    ///
    /// # Errors
    /// [`TaskFailed::Panicked`] when the work did.
    pub async fn run_blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, TaskFailed> {
        let (give, take) = tokio::sync::oneshot::channel();
        self.spawn
            .run_blocking(Box::new(move || {
                // Nobody waits any more: the result is dropped, as documented.
                let _ = give.send(work());
            }))
            .await;
        take.await.map_err(|_| TaskFailed::Panicked)
    }

    /// Waits until the boot clock shows `at`; for ever when there is no such time. For `select!` branches over a
    /// state machine's next timeout.
    pub async fn sleep_until(&self, at: Option<BootTime>) {
        match at {
            Some(at) => tokio::time::sleep(at.since(self.now().boot)).await,
            None => std::future::pending().await,
        }
    }
}

/// Waits for `future`, but no longer than `within`.
///
/// # Errors
/// [`DeadlinePassed`]; the future is dropped then.
pub async fn deadline<T>(within: Duration, future: impl Future<Output = T>) -> Result<T, DeadlinePassed> {
    tokio::time::timeout(within, future).await.map_err(|_| DeadlinePassed)
}
