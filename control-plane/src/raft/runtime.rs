//! openraft's view of the asynchronous runtime: tokio's timers, but our tasks and our random numbers.
//!
//! openraft spawns and draws election timeouts through associated functions, which have no place for an argument.
//! The [`Host`] therefore travels in a task-local: whoever starts Raft enters it once, and every task that Raft
//! spawns inherits it. So all tasks of one voter belong to that voter, even when several share a process, and a
//! simulation that hands in seeded randomness sees the same elections each time.

use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt as _;
use openraft::async_runtime::TokioOneShotSender;
use openraft::{AsyncRuntime, OptionalSend, TokioInstant};
use remit_common::net::env::{Entropy, Env, Spawn};
use tokio::sync::oneshot;

tokio::task_local! {
    static HOST: Host;
}

/// What one voter's Raft tasks run on.
#[derive(Clone)]
pub(crate) struct Host {
    spawn: Arc<dyn Spawn>,
    entropy: Arc<dyn Entropy>,
}

impl Host {
    /// The host that an environment stands for.
    pub(crate) fn new(env: &Env) -> Self {
        Self { spawn: Arc::clone(&env.spawn), entropy: Arc::clone(&env.entropy) }
    }

    /// Runs `future` inside this host; what openraft spawns in there stays in there.
    pub(crate) async fn enter<F: Future>(self, future: F) -> F::Output {
        HOST.scope(self, future).await
    }
}

/// The runtime that openraft is compiled against.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct HostRuntime;

/// Why a spawned task left no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TaskLost {
    /// The task panicked.
    #[error("the task panicked")]
    Panicked,
    /// The task was aborted, or spawned outside a host.
    #[error("the task was aborted")]
    Aborted,
}

/// Resolves to the output of a spawned task. Dropping it leaves the task running.
pub struct Joined<T>(oneshot::Receiver<Result<T, TaskLost>>);

impl<T> Future for Joined<T> {
    type Output = Result<T, TaskLost>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll_unpin(context).map(|received| received.unwrap_or(Err(TaskLost::Aborted)))
    }
}

/// Random numbers from the host's entropy.
pub struct HostRng(Option<Arc<dyn Entropy>>);

impl rand_core_06::RngCore for HostRng {
    fn next_u32(&mut self) -> u32 {
        let mut bytes = [0; 4];
        self.fill_bytes(&mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill_bytes(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    fn fill_bytes(&mut self, out: &mut [u8]) {
        // Outside a host nothing of Raft runs, and nothing secret is ever drawn here: zeros are a fixed seed.
        match &self.0 {
            Some(entropy) => entropy.fill(out),
            None => out.fill(0),
        }
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), rand_core_06::Error> {
        self.fill_bytes(out);
        Ok(())
    }
}

impl fmt::Debug for HostRng {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HostRng")
    }
}

impl AsyncRuntime for HostRuntime {
    type JoinError = TaskLost;
    type JoinHandle<T: OptionalSend + 'static> = Joined<T>;
    type Sleep = tokio::time::Sleep;
    type Instant = TokioInstant;
    type TimeoutError = tokio::time::error::Elapsed;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = tokio::time::Timeout<T>;
    type ThreadLocalRng = HostRng;
    type OneshotSender<T: OptionalSend> = TokioOneShotSender<T>;
    type OneshotReceiver<T: OptionalSend> = oneshot::Receiver<T>;
    type OneshotReceiverError = oneshot::error::RecvError;

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        let (done, joined) = oneshot::channel();
        if let Ok(host) = HOST.try_with(Host::clone) {
            let spawn = Arc::clone(&host.spawn);
            let task = HOST.scope(host, async move {
                let outcome = AssertUnwindSafe(future).catch_unwind().await;
                // The receiver may be gone: most of openraft's tasks are never joined.
                let _unjoined = done.send(outcome.map_err(|_panic| TaskLost::Panicked));
            });
            drop(spawn.spawn("raft", Box::pin(task)));
        }
        Joined(joined)
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        tokio::time::sleep(duration)
    }

    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        tokio::time::sleep_until(deadline)
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(duration: Duration, future: F) -> Self::Timeout<R, F> {
        tokio::time::timeout(duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(deadline: Self::Instant, future: F) -> Self::Timeout<R, F> {
        tokio::time::timeout_at(deadline, future)
    }

    fn is_panic(lost: &Self::JoinError) -> bool {
        matches!(lost, TaskLost::Panicked)
    }

    fn thread_rng() -> Self::ThreadLocalRng {
        HostRng(HOST.try_with(|host| Arc::clone(&host.entropy)).ok())
    }

    fn oneshot<T>() -> (Self::OneshotSender<T>, Self::OneshotReceiver<T>)
    where
        T: OptionalSend,
    {
        let (sender, receiver) = oneshot::channel();
        (TokioOneShotSender(sender), receiver)
    }
}

#[cfg(test)]
#[path = "runtime_tests.rs"]
mod tests;
