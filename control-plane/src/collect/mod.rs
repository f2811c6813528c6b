//! Decision records from edges, kept until they are read.
//!
//! A record is stored by edge, boot and number. The same record again is a harmless repeat; another record in its
//! place, one whose predecessor is not the stored one, or a second boot that continues the same head is a fork: somebody
//! restored an image or runs an edge twice. A fork is never acknowledged and asks for a person. An acknowledgement means
//! that this voter's disk has it. Clauses K-10 to K-15.

mod arriving;
mod generation;
mod hearsay;
mod query;
mod store;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use remit_common::crypto::digest::Digest;
use remit_common::crypto::sign::PublicKey;
use remit_common::id::{EdgeId, MeshId, VoterId};
use remit_common::net::env::Env;
use remit_common::net::tasks::Shutdown;
use remit_common::wire::batch::RecordBatch;
use remit_common::wire::frame::PeerMisbehaved;
use tokio::sync::{mpsc, oneshot, watch};

pub(crate) use generation::Others;
pub(crate) use query::{Arrivals, Copies, RecordQuery, StoreId, StoredRecord, union};
pub(crate) use store::StoreFailed;

use self::arriving::Arriving;
use self::generation::Opened;
use self::store::{Appended, Store};
use crate::raft::Fatal;
use crate::telemetry::Metrics;

/// Batches that wait for the disk. Each is at most 1 MiB, and an edge has one under way.
const QUEUE: usize = 64;
/// Batches that share one commit.
const GROUP_MAX: usize = 32;

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Collected {
    /// Everything of its boot up to this number is on this voter's disk, as far as it was sent here.
    Stored {
        /// The last number.
        seq: u64,
    },
    /// The record of this number contradicts what is stored.
    Fork {
        /// Its number.
        seq: u64,
        /// What is stored, or the head that two boots continue.
        stored: Digest,
    },
}

/// A batch was not stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotCollected {
    /// No edge of ours sends that.
    #[error(transparent)]
    Malformed(#[from] PeerMisbehaved),
    /// The records are not this edge's, or no chain.
    #[error("{detail}")]
    Unusable {
        /// A word out of a fixed set.
        reason: &'static str,
        /// For people.
        detail: String,
    },
    /// This voter stops.
    #[error("this voter is stopping")]
    Stopping,
}

/// Another voter's records could not be copied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the records of voter {from}: {reason}")]
pub(crate) struct NotCopied {
    /// Whose.
    pub(crate) from: VoterId,
    /// Why not.
    pub(crate) reason: String,
}

struct Job {
    edge: EdgeId,
    records: Vec<Arriving>,
    done: oneshot::Sender<Collected>,
}

/// The collector. Cloning gives the same.
#[derive(Clone)]
pub(crate) struct Collector {
    mesh: MeshId,
    env: Env,
    store: Arc<Store>,
    jobs: mpsc::Sender<Job>,
    arrivals: watch::Sender<u64>,
    whole: Arc<Whole>,
    metrics: Metrics,
    fatal: Fatal,
    folder: PathBuf,
}

/// Whether other voters may have records that are missing here.
#[derive(Debug)]
struct Whole {
    /// The store says so, also to the next process.
    lacks: AtomicBool,
    /// Enough others have been read since this process started.
    caught_up: AtomicBool,
}

impl Collector {
    /// Opens the store in this folder. The task that is given back writes to it; it runs until shutdown.
    pub(crate) fn open(
        folder: &Path,
        others: Others,
        mesh: MeshId,
        env: &Env,
        metrics: &Metrics,
        fatal: Fatal,
        shutdown: Shutdown,
    ) -> Result<(Self, impl Future<Output = ()> + Send + 'static), StoreFailed> {
        let Opened { store, set_aside, last_arrival, lacks } =
            generation::open(&*env.disk, folder, others, StoreId(env.random()))?;
        let store = Arc::new(store);
        let (jobs, queue) = mpsc::channel(QUEUE);
        let arrivals = watch::Sender::new(last_arrival);
        metrics.record_files_set_aside.set(set_aside.into());
        metrics.records_lacking.set(lacks.into());
        let whole = Arc::new(Whole { lacks: lacks.into(), caught_up: AtomicBool::new(!lacks) });
        let (env, metrics) = (env.clone(), metrics.clone());
        let collector = Self { mesh, env, store, jobs, arrivals, whole, metrics, fatal, folder: folder.to_owned() };
        let writer = Writer { collector: collector.clone() };
        Ok((collector, writer.run(queue, shutdown)))
    }

    /// Stores a batch; returns once the disk has it. `key` is the edge's identity key, from the directory.
    pub(crate) async fn store(
        &self,
        edge: EdgeId,
        key: &PublicKey,
        batch: RecordBatch,
    ) -> Result<Collected, NotCollected> {
        let refused = |reason: &'static str| {
            self.metrics.records_refused.get_or_create(&[("why", reason)]).inc();
        };
        let records = batch.unpack().inspect_err(|_| refused("malformed"))?;
        let records = arriving::read(&self.mesh, &edge, key, &batch, records).inspect_err(|error| {
            if let NotCollected::Unusable { reason, .. } = error {
                refused(reason);
            }
        })?;
        let (done, stored) = oneshot::channel();
        self.jobs.send(Job { edge, records, done }).await.map_err(|_| NotCollected::Stopping)?;
        stored.await.map_err(|_| NotCollected::Stopping)
    }

    /// The newest arrival, for whoever waits for the next.
    pub(crate) fn arrived(&self) -> watch::Receiver<u64> {
        self.arrivals.subscribe()
    }

    /// Whether records of other voters are still to be copied (Clause K-18).
    pub(crate) fn lacks(&self) -> bool {
        self.whole.lacks.load(Ordering::SeqCst)
    }

    /// Whether this voter has what others could lack.
    pub(crate) fn is_whole(&self) -> bool {
        self.whole.caught_up.load(Ordering::SeqCst)
    }

    /// Enough of the other voters have been read.
    pub(crate) fn caught_up(&self) {
        self.whole.caught_up.store(true, Ordering::SeqCst);
        self.metrics.records_lacking.set(0);
    }

    /// How far another voter's records have been copied.
    pub(crate) async fn copied(&self, from: VoterId) -> Result<Option<(StoreId, u64)>, NotCopied> {
        match self.on_disk(Store::copied).await {
            Ok(copied) => Ok(copied.and_then(|copied| copied.get(&from).copied())),
            Err(error) => Err(NotCopied { from, reason: error.to_string() }),
        }
    }

    /// Stores what another voter has, up to this arrival in its store; returns once the disk has it.
    pub(crate) async fn copy(
        &self,
        from: VoterId,
        upto: (StoreId, u64),
        records: Vec<StoredRecord>,
    ) -> Result<(), NotCopied> {
        let not_copied = |reason| NotCopied { from, reason };
        let read = records.into_iter().map(|record| arriving::copied(&self.mesh, record));
        let records = read.collect::<Result<Vec<_>, _>>().map_err(not_copied)?;
        // Transactions of one file wait for each other, so this one may be made beside the writer's.
        let written = self.on_disk(move |store| store.copy(from, upto, &records)).await;
        let Appended { stored, repeated, last_arrival, .. } = match written {
            Ok(appended) => appended,
            Err(error) => {
                self.cannot_write(&error).await;
                return Err(not_copied(error.to_string()));
            }
        };
        self.note_written(stored, repeated, last_arrival);
        Ok(())
    }

    /// Nothing is to be copied any more, also by later processes.
    pub(crate) async fn complete(&self) {
        match self.on_disk(Store::complete).await {
            Ok(()) => self.whole.lacks.store(false, Ordering::SeqCst),
            Err(error) => self.cannot_write(&error).await,
        }
    }

    /// Ends the voter. A file that is damaged for good would do so at every start, so the next one sets it aside.
    async fn cannot_write(&self, error: &StoreFailed) {
        if error.is_damage() {
            let (disk, folder) = (Arc::clone(&self.env.disk), self.folder.clone());
            let marked = self.env.run_blocking(move || generation::mark(&*disk, &folder)).await;
            if !matches!(marked, Ok(Ok(()))) {
                tracing::error!("it cannot be noted that the records are damaged: move their file away by hand");
            }
        }
        self.fatal.raise(format_args!("decision records cannot be written: {error}"));
    }

    fn note_written(&self, stored: u64, repeated: u64, last_arrival: u64) {
        self.metrics.records.inc_by(stored);
        self.metrics.records_repeated.inc_by(repeated);
        self.arrivals.send_if_modified(|last| {
            let is_newer = *last < last_arrival;
            *last = last_arrival.max(*last);
            is_newer
        });
    }

    /// For another voter that copies what is here.
    pub(crate) async fn copies(&self, after: u64, limit: u32) -> Result<Copies, StoreFailed> {
        let (whole, end) = (self.is_whole(), self.last_arrival());
        let arrivals = self.since(Some(after), limit).await?;
        Ok(Copies { store: self.store.id(), whole, end, arrivals })
    }

    /// What another voter is told that asks how this store is.
    pub(crate) fn last_arrival(&self) -> u64 {
        *self.arrivals.borrow()
    }

    /// Records by content, oldest first.
    pub(crate) async fn query(&self, query: RecordQuery) -> Result<Vec<StoredRecord>, StoreFailed> {
        self.on_disk(move |store| store.query(&query)).await
    }

    /// Records in the order in which they came to this voter.
    pub(crate) async fn since(&self, after: Option<u64>, limit: u32) -> Result<Arrivals, StoreFailed> {
        self.on_disk(move |store| store.since(after, limit)).await
    }

    /// Work on the store, where it holds up nobody.
    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> Result<T, StoreFailed> + Send + 'static,
    ) -> Result<T, StoreFailed> {
        let store = Arc::clone(&self.store);
        let done = self.env.run_blocking(move || work(&store)).await;
        done.map_err(|error| StoreFailed::Task(error.to_string()))?
    }
}

/// The one task that writes.
struct Writer {
    collector: Collector,
}

impl Writer {
    async fn run(self, mut queue: mpsc::Receiver<Job>, shutdown: Shutdown) {
        let Self { collector } = self;
        let mut group = Vec::new();
        loop {
            tokio::select! {
                biased;
                () = shutdown.requested() => return,
                taken = queue.recv_many(&mut group, GROUP_MAX) => if taken == 0 { return },
            }
            let (store, jobs) = (collector.store.clone(), std::mem::take(&mut group));
            let written = collector.env.run_blocking(move || {
                let batches = jobs.iter().map(|job| (&job.edge, job.records.as_slice()));
                let results = store.append(batches);
                (jobs, results)
            });
            let (jobs, results) = match written.await {
                Ok((jobs, Ok(results))) => (jobs, results),
                Ok((_, Err(error))) => {
                    collector.cannot_write(&error).await;
                    return;
                }
                Err(error) => {
                    collector.fatal.raise(format_args!("the writer of decision records failed: {error}"));
                    return;
                }
            };
            for (job, result) in jobs.into_iter().zip(results.outcomes) {
                if let Collected::Fork { seq, stored } = result {
                    collector.metrics.records_refused.get_or_create(&[("why", "fork")]).inc();
                    tracing::error!(edge = %job.edge, seq, %stored, "an edge's records fork: restored image, or run twice");
                }
                // An edge that has gone meanwhile sends the batch again.
                let _ = job.done.send(result);
            }
            collector.note_written(results.stored, results.repeated, results.last_arrival);
        }
    }
}
