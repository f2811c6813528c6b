//! Who runs Raft's tasks, and where its random numbers come from.

use std::sync::atomic::{AtomicU64, Ordering};

use futures::future::BoxFuture;
use rand_core_06::RngCore as _;
use remit_common::net::real::real;
use remit_common::net::tasks::TaskHandle;

use super::*;

/// Counts its tasks, and draws one byte over and over.
struct Marked {
    spawn: Arc<dyn Spawn>,
    tasks: AtomicU64,
    byte: u8,
}

impl Spawn for Marked {
    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>) -> TaskHandle {
        self.tasks.fetch_add(1, Ordering::SeqCst);
        self.spawn.spawn(name, task)
    }

    fn run_blocking(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        self.spawn.run_blocking(work)
    }
}

impl Entropy for Marked {
    fn fill(&self, out: &mut [u8]) {
        out.fill(self.byte);
    }
}

fn host(byte: u8) -> (Host, Arc<Marked>) {
    let marked = Arc::new(Marked { spawn: real().spawn, tasks: AtomicU64::new(0), byte });
    (Host { spawn: Arc::<Marked>::clone(&marked), entropy: Arc::<Marked>::clone(&marked) }, marked)
}

fn drawn() -> u64 {
    HostRuntime::thread_rng().next_u64()
}

#[tokio::test]
async fn tasks_and_their_children_stay_on_their_host() {
    let (one, one_seen) = host(1);
    let (two, two_seen) = host(2);
    let work = || async {
        let child = HostRuntime::spawn(async { (drawn(), HostRuntime::spawn(async { drawn() }).await.unwrap()) });
        child.await.unwrap()
    };
    let (from_one, from_two) = tokio::join!(one.enter(work()), two.enter(work()));
    assert_eq!(from_one, (0x0101_0101_0101_0101, 0x0101_0101_0101_0101));
    assert_eq!(from_two, (0x0202_0202_0202_0202, 0x0202_0202_0202_0202));
    assert_eq!((one_seen.tasks.load(Ordering::SeqCst), two_seen.tasks.load(Ordering::SeqCst)), (2, 2));
}

#[tokio::test]
async fn a_lost_task_says_how_it_was_lost() {
    let (host, _seen) = host(0);
    let lost: Result<(), TaskLost> =
        host.enter(async { HostRuntime::spawn(async { panic!("on purpose") }).await }).await;
    assert_eq!(lost, Err(TaskLost::Panicked));
    assert!(HostRuntime::is_panic(&TaskLost::Panicked) && !HostRuntime::is_panic(&TaskLost::Aborted));
    assert_eq!(HostRuntime::spawn(async {}).await, Err(TaskLost::Aborted), "there is no task outside a host");
}
