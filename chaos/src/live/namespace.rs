//! A network namespace of our own, and a thread that lives in it.
//!
//! A thread can move to another namespace, and what it opens or starts from there stays there: sockets, TUN devices,
//! child processes. So each namespace has one thread that has moved in, and everybody else hands it work; nothing
//! else of this process ever leaves the namespace in which it was started.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};
use std::thread::{Builder, JoinHandle};

use anyhow::{Context as _, Result};
use rustix::mount::{UnmountFlags, unmount};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::tool;

/// Where `ip netns` looks for namespaces, so that people find ours with it.
pub(super) const FOLDER: &str = "/run/netns";

/// How every name of ours begins.
pub(super) const PREFIX: &str = "remit-";

type Work = Box<dyn FnOnce() + Send>;

/// A network namespace that holds on to its thread. Dropping it ends the thread; the namespace itself stays until
/// [`delete`].
#[derive(Debug)]
pub(super) struct Namespace {
    path: PathBuf,
    work: Option<Sender<Work>>,
    thread: Option<JoinHandle<()>>,
}

/// Where the namespace of this name is, or would be.
pub(super) fn path_of(name: &str) -> PathBuf {
    Path::new(FOLDER).join(name)
}

impl Namespace {
    /// Makes a namespace, with its loopback up, and moves a thread in.
    ///
    /// # Errors
    /// What the machine says.
    pub(super) fn create(name: &str) -> Result<Self> {
        let path = path_of(name);
        std::fs::create_dir_all(FOLDER).with_context(|| format!("cannot make `{FOLDER}`"))?;
        std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .with_context(|| format!("cannot make `{}`", path.display()))?;
        // A namespace lives as long as something holds it: here a mount on a file.
        let net = format!("--net={}", path.display());
        tool::run("unshare", [net.as_str(), "--", "true"])
            .with_context(|| format!("cannot make the network namespace `{name}`"))?;
        let namespace = Self::enter(&path)?;
        namespace.tool("ip", &["link", "set", "lo", "up"])?;
        Ok(namespace)
    }

    /// Moves a thread into a namespace that exists.
    ///
    /// # Errors
    /// When there is none, or this process may not.
    pub(super) fn enter(path: &Path) -> Result<Self> {
        let (work, todo) = channel::<Work>();
        let (told, entered) = channel::<io::Result<()>>();
        let door = path.to_owned();
        let thread = Builder::new()
            .name("remit-netns".to_owned())
            .spawn(move || {
                let moved = move_in(&door);
                let ok = moved.is_ok();
                // Whoever waits for this has not gone away: it is the call that started this thread.
                let _ = told.send(moved);
                if ok {
                    todo.iter().for_each(|work| work());
                }
            })
            .context("cannot start a thread")?;
        let moved = entered.recv().context("the thread of a namespace ended at once")?;
        moved.with_context(|| format!("cannot enter the namespace `{}`", path.display()))?;
        Ok(Self { path: path.to_owned(), work: Some(work), thread: Some(thread) })
    }

    /// The file that holds it.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Does work inside and gives its result. Blocks for as long as the work takes, so keep it short.
    ///
    /// # Errors
    /// When the work panicked.
    pub(super) fn inside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
        let (give, take) = channel();
        let gone = || io::Error::other("the thread of a namespace has ended");
        let work: Work = Box::new(move || {
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            // Nobody waits any more: the result is dropped.
            let _ = give.send(result);
        });
        self.work.as_ref().ok_or_else(gone)?.send(work).map_err(|_| gone())?;
        take.recv().map_err(|_| gone())?.map_err(|_| io::Error::other("work in a namespace panicked"))
    }

    /// Runs a tool inside.
    ///
    /// # Errors
    /// As [`tool::run`].
    pub(super) fn tool(&self, name: &str, arguments: &[&str]) -> Result<String> {
        let command = tool::command(name, arguments)?;
        self.inside(move || tool::finish(command))?
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        drop(self.work.take());
        if let Some(thread) = self.thread.take() {
            // It ends when its work does; a panic inside was handed to whoever asked.
            let _ = thread.join();
        }
    }
}

fn move_in(path: &Path) -> io::Result<()> {
    let door = std::fs::OpenOptions::new().read(true).open(path)?;
    Ok(move_into_link_name_space(std::os::fd::AsFd::as_fd(&door), Some(LinkNameSpaceType::Network))?)
}

/// Takes away the name of a namespace. It is gone when its last process has ended. One that is not there is gone.
///
/// # Errors
/// What the kernel says.
pub(super) fn delete(path: &Path) -> Result<()> {
    match unmount(path, UnmountFlags::DETACH) {
        // Not mounted: a creation that did not get further.
        Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => {}
        Err(error) => return Err(error).with_context(|| format!("cannot unmount `{}`", path.display())),
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove `{}`", path.display()))
        }
        _ => Ok(()),
    }
}
