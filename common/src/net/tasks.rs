//! Tasks that end together: handles, groups, and the one signal that asks for the end.

use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinError, JoinHandle};

use super::env::{Env, deadline};

/// A task ended without finishing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TaskFailed {
    /// It panicked; the panic has been printed where it happened.
    #[error("the task panicked")]
    Panicked,
    /// Somebody aborted it.
    #[error("the task was aborted")]
    Aborted,
}

impl From<JoinError> for TaskFailed {
    fn from(error: JoinError) -> Self {
        if error.is_cancelled() { Self::Aborted } else { Self::Panicked }
    }
}

/// A running task. Dropping the handle lets the task run on.
#[derive(Debug)]
pub struct TaskHandle(JoinHandle<()>);

impl TaskHandle {
    /// For implementations of [`super::env::Spawn`].
    #[must_use]
    pub fn new(handle: JoinHandle<()>) -> Self {
        Self(handle)
    }

    /// Stops the task at its next wait.
    pub fn abort(&self) {
        self.0.abort();
    }

    /// What aborts the task once the handle itself has gone to a group.
    #[must_use]
    pub fn abort_handle(&self) -> AbortHandle {
        self.0.abort_handle()
    }

    /// Whether the task has ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// [`TaskFailed`] when the task did not finish by itself.
    pub async fn join(self) -> Result<(), TaskFailed> {
        self.0.await.map_err(TaskFailed::from)
    }
}

/// The request to stop, seen by everybody who holds a clone. It cannot be taken back.
#[derive(Debug, Clone)]
pub struct Shutdown(watch::Sender<bool>);

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

impl Shutdown {
    /// Not requested yet.
    #[must_use]
    pub fn new() -> Self {
        Self(watch::Sender::new(false))
    }

    /// Asks everybody to stop.
    pub fn trigger(&self) {
        self.0.send_replace(true);
    }

    /// Whether somebody has asked.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns once somebody has asked. Cancelling loses nothing.
    pub async fn requested(&self) {
        let mut seen = self.0.subscribe();
        // `self` holds a sender, so waiting ends only with the value.
        let _ = seen.wait_for(|requested| *requested).await;
    }
}

/// Tasks with one owner. Dropping the group aborts what still runs.
pub struct TaskGroup {
    env: Env,
    running: FuturesUnordered<futures::future::BoxFuture<'static, (&'static str, Result<(), TaskFailed>)>>,
    aborts: Vec<AbortHandle>,
}

impl std::fmt::Debug for TaskGroup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TaskGroup({} tasks)", self.running.len())
    }
}

impl TaskGroup {
    /// An empty group.
    #[must_use]
    pub fn new(env: &Env) -> Self {
        Self { env: env.clone(), running: FuturesUnordered::new(), aborts: Vec::new() }
    }

    /// Tasks that have not been seen to end.
    #[must_use]
    pub fn len(&self) -> usize {
        self.running.len()
    }

    /// Whether every task has been seen to end.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// Starts a task in the group.
    pub fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.adopt(name, self.env.spawn_named(name, task));
    }

    /// Takes over a task that runs already.
    pub fn adopt(&mut self, name: &'static str, task: TaskHandle) {
        // Handles of ended tasks go when they are as many as those of running ones, so that this costs little each time.
        if self.aborts.len() > 2 * self.running.len() + 16 {
            self.aborts.retain(|abort| !abort.is_finished());
        }
        self.aborts.push(task.abort_handle());
        self.running.push(Box::pin(async move { (name, task.join().await) }));
    }

    /// The next task that ends, with its name; `None` when none is left. Cancelling loses nothing.
    pub async fn next_finished(&mut self) -> Option<(&'static str, Result<(), TaskFailed>)> {
        self.running.next().await
    }

    /// Waits for every task; aborts those that are not done `within`, and waits for them, too. Gives the names of
    /// the tasks that panicked or had to be aborted.
    pub async fn join_all(mut self, within: Duration) -> Vec<&'static str> {
        let mut failed = Vec::new();
        let in_time = deadline(within, Self::drain(&mut self.running, &mut failed)).await;
        if in_time.is_err() {
            self.aborts.iter().for_each(AbortHandle::abort);
            Self::drain(&mut self.running, &mut failed).await;
        }
        failed
    }

    async fn drain(
        running: &mut FuturesUnordered<futures::future::BoxFuture<'static, (&'static str, Result<(), TaskFailed>)>>,
        failed: &mut Vec<&'static str>,
    ) {
        while let Some((name, ended)) = running.next().await {
            if ended.is_err() {
                failed.push(name);
            }
        }
    }
}

impl Drop for TaskGroup {
    fn drop(&mut self) {
        self.aborts.iter().for_each(AbortHandle::abort);
    }
}
