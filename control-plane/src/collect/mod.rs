//! Decision records from edges, kept until they are read.
//!
//! A record is stored by edge, boot and number. The same record again is a harmless repeat; another record in its
//! place, one whose predecessor is not the stored one, or a second boot that continues the same head is a fork: somebody
//! restored an image or runs an edge twice. A fork is never acknowledged and asks for a person. An acknowledgement means
//! that this voter's disk has it. Clauses K-10 to K-15.

mod arriving;
mod query;
mod store;

use std::path::Path;
use std::sync::Arc;

use remit_common::crypto::digest::Digest;
use remit_common::crypto::sign::PublicKey;
use remit_common::id::{EdgeId, MeshId};
use remit_common::net::env::Env;
use remit_common::net::tasks::Shutdown;
use remit_common::wire::batch::RecordBatch;
use remit_common::wire::frame::PeerMisbehaved;
use tokio::sync::{mpsc, oneshot, watch};

pub(crate) use query::{Arrivals, RecordQuery, StoredRecord, union};
pub(crate) use store::StoreFailed;

use self::arriving::Arriving;
use self::store::Store;
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
    arrived: watch::Receiver<u64>,
    metrics: Metrics,
}

impl Collector {
    /// Opens the store. The task that is given back writes to it; it runs until shutdown.
    pub(crate) fn open(
        path: &Path,
        mesh: MeshId,
        env: &Env,
        metrics: &Metrics,
        fatal: Fatal,
        shutdown: Shutdown,
    ) -> Result<(Self, impl Future<Output = ()> + Send + 'static), StoreFailed> {
        let store = Arc::new(Store::open(&*env.disk, path)?);
        let (jobs, queue) = mpsc::channel(QUEUE);
        let (arrivals, arrived) = watch::channel(store.last_arrival()?);
        let writer = Writer { env: env.clone(), store: store.clone(), arrivals, metrics: metrics.clone(), fatal };
        let collector = Self { mesh, env: env.clone(), store, jobs, arrived, metrics: metrics.clone() };
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
        self.arrived.clone()
    }

    /// Records by content, oldest first.
    pub(crate) async fn query(&self, query: RecordQuery) -> Result<Vec<StoredRecord>, StoreFailed> {
        let store = self.store.clone();
        self.env
            .run_blocking(move || store.query(&query))
            .await
            .map_err(|error| StoreFailed::Task(error.to_string()))?
    }

    /// Records in the order in which they came to this voter.
    pub(crate) async fn since(&self, after: Option<u64>, limit: u32) -> Result<Arrivals, StoreFailed> {
        let store = self.store.clone();
        let task = self.env.run_blocking(move || store.since(after, limit));
        task.await.map_err(|error| StoreFailed::Task(error.to_string()))?
    }
}

/// The one task that writes.
struct Writer {
    env: Env,
    store: Arc<Store>,
    arrivals: watch::Sender<u64>,
    metrics: Metrics,
    fatal: Fatal,
}

impl Writer {
    async fn run(self, mut queue: mpsc::Receiver<Job>, shutdown: Shutdown) {
        let mut group = Vec::new();
        loop {
            tokio::select! {
                biased;
                () = shutdown.requested() => return,
                taken = queue.recv_many(&mut group, GROUP_MAX) => if taken == 0 { return },
            }
            let (store, jobs) = (self.store.clone(), std::mem::take(&mut group));
            let written = self.env.run_blocking(move || {
                let batches = jobs.iter().map(|job| (&job.edge, job.records.as_slice()));
                let results = store.append(batches);
                (jobs, results)
            });
            let (jobs, results) = match written.await {
                Ok((jobs, Ok(results))) => (jobs, results),
                Ok((_, Err(error))) => {
                    self.fatal.raise(format_args!("decision records cannot be written: {error}"));
                    return;
                }
                Err(error) => {
                    self.fatal.raise(format_args!("the writer of decision records failed: {error}"));
                    return;
                }
            };
            for (job, result) in jobs.into_iter().zip(results.outcomes) {
                if let Collected::Fork { seq, stored } = result {
                    self.metrics.records_refused.get_or_create(&[("why", "fork")]).inc();
                    tracing::error!(edge = %job.edge, seq, %stored, "an edge's records fork: restored image, or run twice");
                }
                // An edge that has gone meanwhile sends the batch again.
                let _ = job.done.send(result);
            }
            self.metrics.records.inc_by(results.stored);
            self.metrics.records_repeated.inc_by(results.repeated);
            self.arrivals.send_replace(results.last_arrival);
        }
    }
}
