//! Tasks, shutdown and deadlines.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;
use remit_common::net::env::{DeadlinePassed, deadline};
use remit_common::net::real::real;
use remit_common::net::tasks::{Shutdown, TaskFailed, TaskGroup};

/// No test measures time; this only ends one that hangs.
const LONG: Duration = Duration::from_secs(20);
/// What a test waits for in vain.
const SHORT: Duration = Duration::from_millis(20);

#[tokio::test]
async fn a_group_waits_for_its_tasks_and_aborts_what_does_not_end() {
    let env = real();
    let shutdown = Shutdown::new();
    let mut group = TaskGroup::new(&env);
    let (asked, ended) = (shutdown.clone(), Arc::new(AtomicBool::new(false)));
    let flag = ended.clone();
    group.spawn("orderly", async move {
        asked.requested().await;
        flag.store(true, Ordering::SeqCst);
    });
    group.spawn("stuck", std::future::pending());
    assert_eq!(group.len(), 2);
    assert!(!shutdown.is_requested());
    shutdown.trigger();
    // The orderly one has ended before the other's time is over.
    assert_eq!(group.next_finished().await, Some(("orderly", Ok(()))));
    assert_eq!(group.join_all(SHORT).await, ["stuck"]);
    assert!(ended.load(Ordering::SeqCst));
}

#[tokio::test]
async fn a_task_that_panics_is_seen() {
    let env = real();
    let mut group = TaskGroup::new(&env);
    group.spawn("broken", async { panic!("on purpose") });
    assert_eq!(group.next_finished().await, Some(("broken", Err(TaskFailed::Panicked))));
    assert_eq!(group.next_finished().await, None);
}

#[tokio::test]
async fn dropping_a_group_stops_its_tasks() {
    let env = real();
    let alive = Arc::new(());
    let held = alive.clone();
    let mut group = TaskGroup::new(&env);
    group.spawn("holder", async move {
        let _held = held;
        std::future::pending::<()>().await;
    });
    tokio::task::yield_now().await;
    drop(group);
    while Arc::strong_count(&alive) > 1 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn blocking_work_gives_its_result_or_says_that_it_panicked() -> Result<()> {
    let env = real();
    assert_eq!(env.run_blocking(|| 6 * 7).await?, 42);
    assert_eq!(env.run_blocking(|| panic!("on purpose")).await.map(|()| 0), Err(TaskFailed::Panicked));
    Ok(())
}

#[tokio::test]
async fn a_deadline_ends_a_wait() {
    assert_eq!(deadline(LONG, async { 1 }).await, Ok(1));
    assert_eq!(deadline(SHORT, std::future::pending::<()>()).await, Err(DeadlinePassed));
}

#[tokio::test]
async fn a_shutdown_asked_for_before_is_seen_after() {
    let shutdown = Shutdown::new();
    shutdown.trigger();
    shutdown.clone().requested().await;
    assert!(shutdown.is_requested());
}
