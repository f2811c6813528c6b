//! The tasks of one simulated host: they freeze, thaw and die together.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use remit_common::net::env::Spawn;
use remit_common::net::tasks::TaskHandle;
use tokio::task::AbortHandle;

/// The processes of one host. Cloning gives the same group.
#[derive(Clone, Default)]
pub struct Group(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    is_dead: bool,
    is_frozen: bool,
    tasks: Vec<AbortHandle>,
    /// Tasks that were woken while frozen, in that order.
    waiting: Vec<Waker>,
    /// How long work on the disk takes.
    disk_latency: Duration,
}

impl std::fmt::Debug for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Group")
    }
}

impl Group {
    /// A running, empty group, on a machine whose disk takes `disk_latency` for each piece of work.
    #[must_use]
    pub fn new(disk_latency: Duration) -> Self {
        let group = Self::default();
        group.with(|state| state.disk_latency = disk_latency);
        group
    }

    fn with<T>(&self, use_it: impl FnOnce(&mut State) -> T) -> T {
        use_it(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Stops every task at its next wait, for good: nothing spawned into this group runs again. Returns when all are
    /// gone, so that what they held is closed.
    pub async fn kill(&self) {
        let tasks = self.with(|state| {
            state.is_dead = true;
            state.is_frozen = false;
            std::mem::take(&mut state.tasks)
        });
        tasks.iter().for_each(AbortHandle::abort);
        while tasks.iter().any(|task| !task.is_finished()) {
            tokio::task::yield_now().await;
        }
    }

    /// Whether every task has ended.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.with(|state| state.tasks.iter().all(AbortHandle::is_finished))
    }

    /// Tasks stop where they are (SIGSTOP). Time goes on for them, they do not notice.
    pub fn freeze(&self) {
        self.with(|state| state.is_frozen = true);
    }

    /// Tasks go on (SIGCONT).
    pub fn thaw(&self) {
        let waiting = self.with(|state| {
            state.is_frozen = false;
            std::mem::take(&mut state.waiting)
        });
        waiting.into_iter().for_each(Waker::wake);
    }

    /// From now on, work on the disk takes this long.
    pub fn set_disk_latency(&self, latency: Duration) {
        self.with(|state| state.disk_latency = latency);
    }

    /// Whether a task may run now; if not, its waker is kept until it may.
    fn may_run(&self, context: &Context<'_>) -> bool {
        self.with(|state| {
            if state.is_frozen {
                state.waiting.push(context.waker().clone());
            }
            !state.is_frozen
        })
    }

    #[expect(clippy::disallowed_methods, reason = "this is the spawn of the simulation")]
    fn start(&self, task: BoxFuture<'static, ()>) -> TaskHandle {
        let is_dead = self.with(|state| state.is_dead);
        let handle = tokio::spawn(Freezable { group: self.clone(), task });
        if is_dead {
            handle.abort();
        }
        self.with(|state| {
            if state.tasks.len() > 256 && state.tasks.len().is_power_of_two() {
                state.tasks.retain(|task| !task.is_finished());
            }
            state.tasks.push(handle.abort_handle());
        });
        TaskHandle::new(handle)
    }
}

impl Spawn for Group {
    fn spawn(&self, _name: &'static str, task: BoxFuture<'static, ()>) -> TaskHandle {
        self.start(task)
    }

    fn run_blocking(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        let latency = self.with(|state| state.disk_latency);
        Box::pin(async move {
            // What was written is on the disk before anybody hears of it: whoever is killed in between finds it there.
            work();
            if !latency.is_zero() {
                tokio::time::sleep(latency).await;
            }
        })
    }
}

/// QUIC's tasks belong to the host, too.
impl quinn::Runtime for Group {
    fn new_timer(&self, at: Instant) -> Pin<Box<dyn quinn::AsyncTimer>> {
        quinn::Runtime::new_timer(&quinn::TokioRuntime, at)
    }

    fn spawn(&self, task: Pin<Box<dyn Future<Output = ()> + Send>>) {
        drop(self.start(task));
    }

    fn wrap_udp_socket(&self, _: std::net::UdpSocket) -> std::io::Result<Arc<dyn quinn::AsyncUdpSocket>> {
        Err(std::io::Error::new(std::io::ErrorKind::Unsupported, "the simulation has no sockets of the machine"))
    }

    fn now(&self) -> Instant {
        quinn::Runtime::now(&quinn::TokioRuntime)
    }
}

struct Freezable {
    group: Group,
    task: BoxFuture<'static, ()>,
}

impl Future for Freezable {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.group.may_run(context) { self.task.as_mut().poll(context) } else { Poll::Pending }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::sim::runtime;

    fn count(group: &Group) -> Arc<AtomicU32> {
        let counted = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&counted);
        drop(Spawn::spawn(
            group,
            "counter",
            Box::pin(async move {
                loop {
                    counter.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }),
        ));
        counted
    }

    #[test]
    fn a_frozen_task_stands_still_and_a_killed_one_is_gone() {
        runtime::block_on(1, async {
            let group = Group::default();
            let counted = count(&group);
            let run = |ms| tokio::time::sleep(Duration::from_millis(ms));
            run(95).await;
            assert_eq!(counted.load(Ordering::Relaxed), 10);
            group.freeze();
            run(1_000).await;
            assert_eq!(counted.load(Ordering::Relaxed), 10);
            group.thaw();
            run(95).await;
            assert!((19..=21).contains(&counted.load(Ordering::Relaxed)));
            group.kill().await;
            assert_eq!(Arc::strong_count(&counted), 1, "what it held is dropped");
            let late = count(&group);
            run(100).await;
            assert_eq!((late.load(Ordering::Relaxed), Arc::strong_count(&late)), (0, 1), "the dead start nothing");
        });
    }
}
