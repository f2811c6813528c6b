//! The tasks beside Raft's core: one watches it, one keeps its log short.

use std::time::Duration;

use openraft::{Raft, RaftMetrics};
use remit_common::id::VoterId;
use remit_common::net::env::deadline;
use remit_common::net::tasks::Shutdown;
use tokio::sync::watch;

use super::applied::AppliedLog;
use super::fatal::Fatal;
use super::state_machine::Volume;
use super::status::{RaftRole, RaftStatus, status_of};
use super::types::{Addresses, Types};

/// How long a snapshot that was asked for may take before it is asked for again.
const COMPACT_DEADLINE: Duration = Duration::from_secs(60);

type Metrics = RaftMetrics<u64, Addresses>;

/// Publishes the status, and turns the end of Raft's core into the end of the voter, and the other way round.
pub(super) async fn watch_core(
    id: VoterId,
    raft: Raft<Types>,
    applied: watch::Receiver<AppliedLog>,
    status: watch::Sender<RaftStatus>,
    fatal: Fatal,
    shutdown: Shutdown,
) {
    let mut metrics = raft.metrics();
    let mut applied_changed = applied.clone();
    loop {
        let running = {
            let metrics = metrics.borrow_and_update();
            status.send_replace(status_of(id, &metrics, &applied));
            metrics.running_state.clone()
        };
        if let Err(failed) = running {
            if !shutdown.is_requested() {
                fatal.raise(format_args!("consensus has stopped: {failed}"));
            }
            return;
        }
        let core_is_there = tokio::select! {
            biased;
            () = shutdown.requested() => return,
            _reason = fatal.raised() => {
                // Whatever failed, a voter that cannot keep its promises makes no more of them.
                if let Err(failed) = raft.shutdown().await {
                    tracing::warn!(reason = %failed, "raft's core did not end in order");
                }
                status.send_modify(|status| status.role = RaftRole::Stopped);
                return;
            }
            changed = metrics.changed() => changed.is_ok(),
            changed = applied_changed.changed() => changed.is_ok(),
        };
        if !core_is_there {
            if !shutdown.is_requested() {
                fatal.raise("consensus has stopped without a reason: its task is gone");
            }
            status.send_modify(|status| status.role = RaftRole::Stopped);
            return;
        }
    }
}

/// Keeps the log from growing by bytes; openraft itself counts entries only.
pub(super) async fn compact(
    raft: Raft<Types>,
    mut applied: watch::Receiver<AppliedLog>,
    volume: Volume,
    bytes_max: u64,
    shutdown: Shutdown,
) {
    let mut metrics = raft.metrics();
    loop {
        tokio::select! {
            biased;
            () = shutdown.requested() => return,
            changed = applied.changed() => if changed.is_err() { return },
        }
        if volume.bytes() < bytes_max {
            continue;
        }
        let upto = applied.borrow_and_update().index.0;
        if raft.trigger().snapshot().await.is_err() {
            return;
        }
        // A snapshot that was being built already may be older: the next entry asks again.
        let built = async {
            let has_it = |metrics: &Metrics| metrics.snapshot.is_some_and(|snapshot| snapshot.index >= upto);
            metrics.wait_for(|metrics| metrics.running_state.is_err() || has_it(metrics)).await.is_ok()
        };
        let core_is_there = tokio::select! {
            biased;
            () = shutdown.requested() => return,
            built = deadline(COMPACT_DEADLINE, built) => built.unwrap_or(true),
        };
        if !core_is_there || raft.trigger().purge_log(upto).await.is_err() {
            return;
        }
    }
}
