//! The machine as an [`Env`]: its clocks, its generator, its disk, tokio's tasks and its sockets.
//!
//! This folder's only file that reaches out. Everything else is handed an [`Env`].

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, FileTypeExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::future::BoxFuture;

use super::env::{AppendFile, BoxStream, Clock, Disk, Entropy, Env, Listener, RandomFile, Socket, Spawn};
use super::programs::{Program, Programs, Started};
use super::tasks::TaskHandle;
use super::udp::{BUFFER_BYTES, Buffers, UdpSocket};
use crate::time::{BootTime, Now, Timestamp};

/// How the name of a half-written replacement ends.
const TEMPORARY: &str = ".new";

/// Connections that the kernel holds for us between two accepts.
const LISTEN_BACKLOG: i32 = 1024;

/// The machine this process runs on.
#[must_use]
pub fn real() -> Env {
    Env {
        clock: Arc::new(RealClock),
        entropy: Arc::new(RealEntropy),
        disk: Arc::new(RealDisk),
        spawn: Arc::new(RealSpawn),
        socket: Arc::new(RealSocket),
        programs: Arc::new(RealPrograms),
    }
}

struct RealClock;

impl Clock for RealClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock that everybody else is handed")]
    fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let boot = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let boot = Duration::new(u64::try_from(boot.tv_sec).unwrap_or(0), u32::try_from(boot.tv_nsec).unwrap_or(0));
        Now {
            wall: Timestamp::from_millis(u64::try_from(wall.as_millis()).unwrap_or(u64::MAX)),
            boot: BootTime::from_millis(u64::try_from(boot.as_millis()).unwrap_or(u64::MAX)),
        }
    }
}

struct RealEntropy;

impl Entropy for RealEntropy {
    #[expect(clippy::disallowed_methods, reason = "this is the generator that everybody else is handed")]
    #[expect(clippy::panic, reason = "a key made of anything but random bytes is worse than no process")]
    fn fill(&self, out: &mut [u8]) {
        if let Err(error) = getrandom::fill(out) {
            panic!("the machine has no random bytes: {error}");
        }
    }
}

struct RealDisk;

impl Disk for RealDisk {
    #[expect(clippy::disallowed_methods, reason = "this is the disk that everybody else is handed")]
    fn read(&self, path: &Path, bytes_max: usize) -> io::Result<Option<Vec<u8>>> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let too_large = || io::Error::new(io::ErrorKind::FileTooLarge, format!("longer than {bytes_max} bytes"));
        let len = usize::try_from(file.metadata()?.len()).map_err(|_| too_large())?;
        if len > bytes_max {
            return Err(too_large());
        }
        // One byte more than allowed: a file that grows meanwhile, or says no length, is found out as well.
        let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
        let mut bytes = Vec::with_capacity(len);
        io::Read::read_to_end(&mut io::Read::take(file, limit), &mut bytes)?;
        if bytes.len() > bytes_max { Err(too_large()) } else { Ok(Some(bytes)) }
    }

    #[expect(clippy::disallowed_methods, reason = "this is the disk that everybody else is handed")]
    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let (folder, name) = folder_and_name(path)?;
        let temporary = folder.join(format!(".{name}{TEMPORARY}"));
        let create = || OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary);
        // What lies there is left from a power cut, or a link that somebody put there to have its target written.
        let mut file = create().or_else(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => std::fs::remove_file(&temporary).and_then(|()| create()),
            _ => Err(error),
        })?;
        io::Write::write_all(&mut file, bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)?;
        sync_folder(folder)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let (folder, _) = folder_and_name(path)?;
        match std::fs::remove_file(path) {
            Ok(()) => sync_folder(folder),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                let name = entry.file_name().into_string();
                let name = name.map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "a file name is not UTF-8"))?;
                // What a crash left of a replacement is no file of anybody's; the next one writes over it.
                if !(name.starts_with('.') && name.ends_with(TEMPORARY)) {
                    names.push(name);
                }
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn create_dir(&self, folder: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        for made in folder.ancestors().filter(|ancestor| !ancestor.as_os_str().is_empty()) {
            // Folders above ours may be closed to us; they were there before, so nothing of ours hangs on them.
            match sync_folder(made) {
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => break,
                other => other?,
            }
        }
        Ok(())
    }

    fn open_append(&self, path: &Path) -> io::Result<Box<dyn AppendFile>> {
        let file = open_locked(path)?;
        let len = file.metadata()?.len();
        Ok(Box::new(RealAppend { file, len, path: path.to_owned() }))
    }

    fn open_random(&self, path: &Path) -> io::Result<Box<dyn RandomFile>> {
        Ok(Box::new(RealRandom { file: open_locked(path)? }))
    }
}

fn folder_and_name(path: &Path) -> io::Result<(&Path, &str)> {
    let name = path.file_name().and_then(|name| name.to_str());
    let folder = path.parent().map(|folder| if folder.as_os_str().is_empty() { Path::new(".") } else { folder });
    folder.zip(name).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not the path of a file"))
}

#[expect(clippy::disallowed_methods, reason = "this is the disk that everybody else is handed")]
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn open_locked(path: &Path) -> io::Result<File> {
    let (folder, _) = folder_and_name(path)?;
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(io::Error::new(io::ErrorKind::WouldBlock, "somebody else has the file open"));
        }
        Err(TryLockError::Error(error)) => return Err(error),
    }
    sync_folder(folder)?;
    Ok(file)
}

#[derive(Debug)]
struct RealAppend {
    file: File,
    len: u64,
    path: PathBuf,
}

impl AppendFile for RealAppend {
    fn len(&self) -> u64 {
        self.len
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.len)?;
        self.len = u64::try_from(bytes.len())
            .ok()
            .and_then(|more| self.len.checked_add(more))
            .ok_or_else(|| io::Error::new(io::ErrorKind::FileTooLarge, format!("`{}` is full", self.path.display())))?;
        Ok(())
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = out.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let at = offset.saturating_add(u64::try_from(filled).unwrap_or(u64::MAX));
            match self.file.read_at(rest, at) {
                Ok(0) => break,
                Ok(more) => filled += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.file.set_len(len)?;
        self.file.sync_all()?;
        self.len = len;
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }
}

#[derive(Debug)]
struct RealRandom {
    file: File,
}

impl RandomFile for RealRandom {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_exact_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }

    fn write_all_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

struct RealSpawn;

impl Spawn for RealSpawn {
    #[expect(clippy::disallowed_methods, reason = "this is the spawn that everybody else is handed")]
    fn spawn(&self, _name: &'static str, task: BoxFuture<'static, ()>) -> TaskHandle {
        TaskHandle::new(tokio::spawn(task))
    }

    #[expect(clippy::disallowed_methods, reason = "this is the place for blocking work that everybody else is handed")]
    fn run_blocking(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        let work = tokio::task::spawn_blocking(work);
        Box::pin(async move {
            // A panic has been printed, and whoever waits for the result sees that none came.
            let _ = work.await;
        })
    }
}

struct RealPrograms;

impl Programs for RealPrograms {
    #[expect(clippy::disallowed_methods, reason = "this is the launcher that everybody else is handed")]
    fn start(&self, program: &Program) -> io::Result<Started> {
        let Program { executable, arguments, environment, folder } = program;
        let mut command = tokio::process::Command::new(executable);
        command.args(arguments).env_clear().envs(environment).process_group(0).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some(folder) = folder {
            command.current_dir(folder);
        }
        let mut child = command.spawn()?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
        let is_over = Arc::new(AtomicBool::new(false));
        let piped = || io::Error::other("the program has no pipes");
        let (input, output, errors) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        Ok(Started {
            input: Box::new(input.ok_or_else(piped)?),
            output: Box::new(output.ok_or_else(piped)?),
            errors: Box::new(errors.ok_or_else(piped)?),
            running: Box::new(Running { group, is_over: Arc::clone(&is_over) }),
            ended: Box::pin(async move {
                let _ = child.wait().await;
                // Whatever it started and left behind goes with it, before its number can be somebody else's.
                kill_group(group);
                is_over.store(true, Ordering::SeqCst);
            }),
        })
    }
}

/// A process group of ours, of which the program is the first.
struct Running {
    group: Option<rustix::process::Pid>,
    is_over: Arc<AtomicBool>,
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.is_over.load(Ordering::SeqCst) {
            kill_group(self.group);
        }
    }
}

fn kill_group(group: Option<rustix::process::Pid>) {
    if let Some(group) = group {
        // There may be nobody left.
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
}

struct RealSocket;

impl Socket for RealSocket {
    fn listen(&self, addr: SocketAddr) -> io::Result<Box<dyn Listener>> {
        let socket = socket2::Socket::new(socket2::Domain::for_address(addr), socket2::Type::STREAM, None)?;
        // A restarted daemon takes its port back although old connections still linger.
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&addr.into())?;
        socket.listen(LISTEN_BACKLOG)?;
        let listener = tokio::net::TcpListener::from_std(socket.into())?;
        let addr = listener.local_addr()?;
        Ok(Box::new(RealListener { listener, addr }))
    }

    fn listen_local(&self, path: &Path) -> io::Result<Box<dyn Listener>> {
        if let Ok(found) = std::fs::symlink_metadata(path) {
            // One that a dead process left behind; anything else is somebody's.
            let is_dead = found.file_type().is_socket()
                && std::os::unix::net::UnixStream::connect(path)
                    .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
            if !is_dead {
                return Err(io::ErrorKind::AddrInUse.into());
            }
            std::fs::remove_file(path)?;
        }
        let listener = tokio::net::UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        Ok(Box::new(LocalListener { listener, path: path.to_owned() }))
    }

    #[expect(clippy::disallowed_methods, reason = "this is the socket that everybody else is handed")]
    fn connect(&self, addr: SocketAddr) -> BoxFuture<'static, io::Result<BoxStream>> {
        Box::pin(async move {
            let stream = tokio::net::TcpStream::connect(addr).await?;
            stream.set_nodelay(true)?;
            let stream: BoxStream = Box::new(stream);
            Ok(stream)
        })
    }

    fn resolve(&self, host: &str, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        let host = host.to_owned();
        Box::pin(async move {
            let found: Vec<_> = tokio::net::lookup_host((host.as_str(), port)).await?.collect();
            if found.is_empty() { Err(io::Error::new(io::ErrorKind::NotFound, "no address")) } else { Ok(found) }
        })
    }

    fn udp(&self, addr: SocketAddr) -> io::Result<UdpSocket> {
        let socket = socket2::Socket::new(socket2::Domain::for_address(addr), socket2::Type::DGRAM, None)?;
        // The kernel cuts these to `net.core.{r,w}mem_max` and says nothing; whoever opens the socket looks.
        socket.set_recv_buffer_size(BUFFER_BYTES)?;
        socket.set_send_buffer_size(BUFFER_BYTES)?;
        socket.set_nonblocking(true)?;
        socket.bind(&addr.into())?;
        let buffers = Buffers::from_reported(socket.recv_buffer_size()?, socket.send_buffer_size()?);
        let quic = quinn::Runtime::wrap_udp_socket(&quinn::TokioRuntime, socket.into())?;
        Ok(UdpSocket { quic, buffers: Some(buffers) })
    }

    fn quic_runtime(&self) -> Arc<dyn quinn::Runtime> {
        Arc::new(quinn::TokioRuntime)
    }
}

struct RealListener {
    listener: tokio::net::TcpListener,
    addr: SocketAddr,
}

impl Listener for RealListener {
    fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    fn accept(&mut self) -> BoxFuture<'_, io::Result<(BoxStream, SocketAddr)>> {
        Box::pin(async move {
            let (stream, peer) = self.listener.accept().await?;
            stream.set_nodelay(true)?;
            let stream: BoxStream = Box::new(stream);
            Ok((stream, peer))
        })
    }
}
/// Listens at a path, and takes it away in the end.
struct LocalListener {
    listener: tokio::net::UnixListener,
    path: PathBuf,
}

impl Listener for LocalListener {
    fn local_addr(&self) -> SocketAddr {
        NOWHERE
    }

    fn accept(&mut self) -> BoxFuture<'_, io::Result<(BoxStream, SocketAddr)>> {
        Box::pin(async move {
            let (stream, _) = self.listener.accept().await?;
            let stream: BoxStream = Box::new(stream);
            Ok((stream, NOWHERE))
        })
    }
}

impl Drop for LocalListener {
    fn drop(&mut self) {
        // Whoever finds it still there sees that nobody listens.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The address of what has none.
const NOWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 0);
