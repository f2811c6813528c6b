//! The one task that writes the spool.
//!
//! Whoever must have a record on the disk first waits for a commit; everything that arrived meanwhile is in the same
//! one. What may follow later is committed at most 50 ms after. When the disk fails, records stay in memory, in their
//! places, up to a bound; who would have to wait is refused at once, and a new file is tried every second. What no
//! longer fits, in memory or within the quota, is counted, and stands in the chain as a signed gap. Clauses N-6, N-9
//! and N-10.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use remit_common::net::env::Env;
use remit_common::net::tasks::{Shutdown, TaskFailed};
use remit_common::planted::{Bug, planted};
use remit_common::record::{Gap, GapCause};
use remit_common::time::BootTime;
use tokio::sync::{mpsc, oneshot, watch};

use super::chain::{Chain, Draft};
use super::feed::Feed;
use super::spool::{Hole, Link, Spool};
use super::{Shed, ShedCounters, Weight};
use crate::active::ViewCell;
use crate::pdp::Basis;
use crate::telemetry::Metrics;

/// The longest that a record waits for others.
const FLUSH_WITHIN: Duration = Duration::from_millis(50);
/// Between two attempts at a disk that fails.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// The least time between two gap records: what is shed in between is one gap.
const GAP_EVERY: Duration = Duration::from_secs(1);
/// Records of one commit; with 16 KiB at most each, a commit stays below a segment.
const COMMIT_RECORDS_MAX: usize = 256;
/// Bytes of records that wait in memory for a disk that fails.
const PENDING_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Above this share of the quota, permitted reads are counted instead of kept.
const READS_PERCENT: u64 = 80;

/// A record on its way, and who waits for it.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) draft: Box<Draft>,
    pub(super) weight: Weight,
    pub(super) waits: Option<oneshot::Sender<Result<(), NotOnDisk>>>,
}

/// A record that had to be on the disk first is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotOnDisk {
    /// The disk fails, or is full.
    #[error("the disk does not take the record")]
    DiskFails,
    /// The spool has reached its quota.
    #[error("the spool is full")]
    QuotaReached,
    /// The edge is stopping.
    #[error("the edge is stopping")]
    Stopping,
    /// It does not make a record.
    #[error("it does not make a record")]
    NotARecord,
}

/// How the spool is, for operators.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct SpoolStatus {
    pub(crate) bytes: u64,
    /// The disk took the last write.
    pub(crate) disk: DiskHealth,
}

/// Whether the disk took the last write.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum DiskHealth {
    #[default]
    Works,
    Fails,
}

/// The writer's state.
pub(super) struct Writer {
    pub(super) env: Env,
    pub(super) spool: Option<Spool>,
    pub(super) chain: Chain,
    pub(super) feed: Arc<Feed>,
    pub(super) orders: mpsc::Receiver<Order>,
    pub(super) shed: Arc<ShedCounters>,
    pub(super) status: watch::Sender<SpoolStatus>,
    pub(super) metrics: Metrics,
    pub(super) views: ViewCell,
    pub(super) quota: u64,
    pub(super) unwritten: Arc<AtomicU64>,
    pub(super) pending: Vec<Link>,
    /// How many of them `unwritten` counts.
    pub(super) pending_orders: u64,
    pub(super) waiting: Vec<oneshot::Sender<Result<(), NotOnDisk>>>,
    pub(super) flush_at: Option<tokio::time::Instant>,
    pub(super) last_gap: BootTime,
}

impl Writer {
    /// Puts what the last start lost into the chain, as its first records.
    pub(super) fn begin(&mut self, holes: &[Hole]) {
        for Hole { cause, boot, after_seq } in holes.iter().copied() {
            tracing::warn!(%boot, after_seq, cause = cause.as_str(), "records are missing from the spool");
            self.push_gap(Gap { cause, boot, after: after_seq, records: None });
            self.schedule();
        }
    }

    /// Runs until shutdown; then takes what is queued and commits it.
    pub(super) async fn run(mut self, shutdown: Shutdown) {
        let mut acks = self.feed.acks();
        loop {
            let mut due = false;
            tokio::select! {
                biased;
                () = shutdown.requested() => break,
                order = self.orders.recv() => match order {
                    Some(order) => {
                        self.take(order);
                        while self.pending.len() < COMMIT_RECORDS_MAX
                            && let Ok(order) = self.orders.try_recv()
                        {
                            self.take(order);
                        }
                    }
                    None => break,
                },
                () = at(self.flush_at) => due = true,
                // What is only counted sends no order, and may be the last that happens for a long time.
                () = tokio::time::sleep(GAP_EVERY), if self.flush_at.is_none() => due = self.shed.any(),
                Ok(()) = acks.changed() => {
                    acks.borrow_and_update();
                    if self.trim().await.is_err() {
                        return;
                    }
                    continue;
                }
            }
            due |= !self.waiting.is_empty() || (self.pending.len() >= COMMIT_RECORDS_MAX && !self.fails());
            if due && self.commit().await.is_err() {
                return;
            }
        }
        self.orders.close();
        while let Some(order) = self.orders.recv().await {
            self.take(order);
        }
        self.note_what_was_shed();
        // Nobody is left who could be told of a failure other than the log, which `commit` writes.
        let _ = self.commit().await;
    }

    /// Gives an order its place in the chain, or counts it.
    fn take(&mut self, order: Order) {
        let Order { draft, weight, waits } = order;
        let bytes = self.status.borrow().bytes;
        let full = bytes >= self.quota;
        let refused = match (weight, waits.is_some()) {
            (_, true) if self.fails() => Some(NotOnDisk::DiskFails),
            (_, true) if full => Some(NotOnDisk::QuotaReached),
            (Weight::Read, false) if bytes >= self.quota / 100 * READS_PERCENT => Some(NotOnDisk::QuotaReached),
            (Weight::Refusal, false) if full => Some(NotOnDisk::QuotaReached),
            (_, false) if self.pending_bytes() >= PENDING_BYTES_MAX => Some(NotOnDisk::DiskFails),
            _ => None,
        };
        if let Some(refused) = refused {
            match waits {
                // Whoever waits will not make the call; that it was asked for is recorded by the denial that follows.
                Some(waits) => answer(waits, Err(refused)),
                None => self.shed.count(weight),
            }
            self.unwritten.fetch_sub(1, Ordering::SeqCst);
            self.schedule();
            return;
        }
        match self.chain.push(*draft) {
            Ok(link) => {
                self.pending.push(link);
                self.pending_orders += 1;
                match waits {
                    Some(waits) if planted(Bug::CallBeforeRecorded) => answer(waits, Ok(())),
                    waits => self.waiting.extend(waits),
                }
            }
            Err(error) => {
                self.unwritten.fetch_sub(1, Ordering::SeqCst);
                tracing::error!(%error, "a record could not be made");
                self.shed.count(weight);
                if let Some(waits) = waits {
                    answer(waits, Err(NotOnDisk::NotARecord));
                }
            }
        }
        self.schedule();
    }

    fn schedule(&mut self) {
        let within = if self.fails() { RETRY_AFTER } else { FLUSH_WITHIN };
        self.flush_at.get_or_insert_with(|| deadline_in(within));
    }

    fn fails(&self) -> bool {
        self.status.borrow().disk == DiskHealth::Fails
    }

    fn pending_bytes(&self) -> usize {
        self.pending.iter().map(|link| link.bytes.len()).sum()
    }

    /// Puts what was counted since the last gap into the chain.
    fn note_what_was_shed(&mut self) {
        // While it is neither counted nor in the chain, it is still not written.
        self.unwritten.fetch_add(1, Ordering::SeqCst);
        let Shed { reads, refusals, others } = self.shed.take();
        for (cause, count) in
            [(GapCause::ReadsShed, reads), (GapCause::RefusalsShed, refusals), (GapCause::SpoolLost, others)]
        {
            if count > 0 {
                self.metrics.records_shed.inc_by(count);
                self.push_gap(self.chain.gap_here(cause, count));
            }
        }
        self.unwritten.fetch_sub(1, Ordering::SeqCst);
    }

    fn push_gap(&mut self, gap: Gap) {
        let now = self.env.now();
        let basis = Basis::of(&self.views.load(), None, now);
        self.last_gap = now.boot;
        match self.chain.push_gap(now, basis, self.env.random(), gap) {
            Ok(link) => {
                self.pending.push(link);
                self.pending_orders += 1;
                self.unwritten.fetch_add(1, Ordering::SeqCst);
            }
            Err(error) => tracing::error!(%error, "a gap could not be recorded"),
        }
    }

    /// Writes what is pending. `Err` ends the task.
    async fn commit(&mut self) -> Result<(), TaskFailed> {
        self.flush_at = None;
        let since = self.env.now().boot.since(self.last_gap);
        if self.shed.any() {
            if since >= GAP_EVERY && self.pending_bytes() < PENDING_BYTES_MAX {
                self.note_what_was_shed();
            } else {
                self.flush_at = Some(deadline_in(GAP_EVERY));
            }
        }
        if self.pending.is_empty() {
            return Ok(());
        }
        let Some(mut spool) = self.spool.take() else { return Err(TaskFailed::Panicked) };
        let links = std::mem::take(&mut self.pending);
        let work = move || {
            let written = links.chunks(COMMIT_RECORDS_MAX).try_for_each(|links| spool.commit(links));
            (spool, links, written)
        };
        let (spool, links, written) = self.env.run_blocking(work).await.inspect_err(|error| {
            tracing::error!(%error, "the spool's writer failed: this edge can record nothing any more");
        })?;
        let bytes = spool.bytes();
        match written {
            Ok(()) => {
                self.feed.committed(self.chain.boot(), &links, spool.segments());
                self.unwritten.fetch_sub(std::mem::take(&mut self.pending_orders), Ordering::SeqCst);
                self.set_status(bytes, DiskHealth::Works);
                self.waiting.drain(..).for_each(|waits| answer(waits, Ok(())));
            }
            Err(error) => {
                self.metrics.spool_failures.inc();
                if !self.fails() {
                    tracing::error!(%error, "the disk does not take records: calls beyond read are refused");
                }
                self.pending = links;
                self.set_status(bytes, DiskHealth::Fails);
                self.waiting.drain(..).for_each(|waits| answer(waits, Err(NotOnDisk::DiskFails)));
                self.flush_at = Some(deadline_in(RETRY_AFTER));
            }
        }
        self.spool = Some(spool);
        Ok(())
    }

    /// Removes what a majority has. `Err` ends the task.
    async fn trim(&mut self) -> Result<(), TaskFailed> {
        let majority = self.feed.majority();
        let Some(mut spool) = self.spool.take() else { return Err(TaskFailed::Panicked) };
        let work = move || {
            let trimmed = spool.trim(&majority);
            (spool, trimmed)
        };
        let (spool, trimmed) = self.env.run_blocking(work).await?;
        if let Err(error) = trimmed {
            tracing::warn!(%error, "the spool cannot be trimmed; it will be tried again");
        }
        self.feed.committed(self.chain.boot(), &[], spool.segments());
        // Read on a line of its own: a guard that lives through `set_status` would wait for itself.
        let disk = self.status.borrow().disk;
        self.set_status(spool.bytes(), disk);
        self.spool = Some(spool);
        Ok(())
    }

    fn set_status(&self, bytes: u64, disk: DiskHealth) {
        if self.fails() && disk == DiskHealth::Works {
            tracing::info!("the disk takes records again");
        }
        self.status.send_replace(SpoolStatus { bytes, disk });
        self.metrics.spool_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        self.metrics.spool_records.set(i64::try_from(self.feed.waiting()).unwrap_or(i64::MAX));
    }
}

fn answer(waits: oneshot::Sender<Result<(), NotOnDisk>>, answer: Result<(), NotOnDisk>) {
    // Whoever waited may have gone with its connection.
    let _ = waits.send(answer);
}

#[expect(
    clippy::disallowed_methods,
    reason = "a timer of tokio's own clock, which a simulation controls; no age is read from it"
)]
fn deadline_in(within: Duration) -> tokio::time::Instant {
    tokio::time::Instant::now() + within
}

async fn at(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
