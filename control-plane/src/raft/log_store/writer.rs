//! The task that owns the order of writes.

use std::io;
use std::sync::Arc;

use openraft::storage::LogFlushed;
use remit_common::net::env::Env;
use tokio::sync::{mpsc, oneshot};

use super::database::{Change, LogDatabase, LogFault};
use super::tail::Tail;
use crate::raft::fatal::Fatal;
use crate::raft::types::{LogId, Types};

/// Jobs in one transaction. Enough to share an fsync, few enough that the first does not wait for the last.
const BATCH_JOBS_MAX: usize = 64;

/// Changes to make durable, and who waits for them.
pub(super) struct Job {
    pub(super) changes: Vec<Change>,
    pub(super) done: Done,
}

/// Who waits for a job.
pub(super) enum Done {
    /// Raft's core, for an append.
    Flushed(LogFlushed<Types>),
    /// A caller.
    Caller(oneshot::Sender<io::Result<()>>),
    /// Nobody: a hint that may come with the next transaction.
    Nobody,
    /// A caller, who waits for the last write of all.
    Closing(oneshot::Sender<io::Result<()>>),
}

impl Done {
    pub(super) fn waiting() -> (Self, oneshot::Receiver<io::Result<()>>) {
        let (sender, receiver) = oneshot::channel();
        (Self::Caller(sender), receiver)
    }

    fn answer(self, result: io::Result<()>) {
        match self {
            Self::Flushed(callback) => callback.log_io_completed(result),
            Self::Caller(caller) | Self::Closing(caller) => {
                // A caller that no longer waits has been cancelled.
                let _cancelled = caller.send(result);
            }
            Self::Nobody => {}
        }
    }
}

/// Writes until it is closed, or every sender of the queue is gone. After a failed write it answers everything with
/// an error.
pub(super) async fn run(
    mut jobs: mpsc::Receiver<Job>,
    env: Env,
    database: Arc<LogDatabase>,
    tail: Arc<Tail>,
    fatal: Fatal,
) {
    let mut committed: Option<Option<LogId>> = None;
    let mut broken = None;
    let mut closing = false;
    while !closing && let Some(first) = jobs.recv().await {
        let mut changes = Vec::new();
        let mut waiting = Vec::new();
        let (mut next, mut taken) = (Some(first), 0usize);
        while let Some(job) = next {
            taken = taken.saturating_add(1);
            // A hint waits for a transaction that somebody needs; only the newest counts.
            for change in job.changes {
                match change {
                    Change::Committed(id) => committed = Some(id),
                    change => changes.push(change),
                }
            }
            closing |= matches!(job.done, Done::Closing(_));
            if !matches!(job.done, Done::Nobody) {
                waiting.push(job.done);
            }
            next = if taken < BATCH_JOBS_MAX && !closing { jobs.try_recv().ok() } else { None };
        }
        if waiting.is_empty() {
            continue;
        }
        if broken.is_none() {
            changes.extend(committed.take().map(Change::Committed));
            broken = commit(&env, &database, &tail, changes).await.err();
            if let Some(fault) = &broken {
                fatal.raise(format_args!(
                    "the consensus log cannot be written, so this voter stops: {fault}; free the disk or replace \
                     it, then start the voter again"
                ));
            }
        }
        for done in waiting {
            done.answer(match &broken {
                None => Ok(()),
                Some(fault) => Err(io::Error::other(fault.to_string())),
            });
        }
    }
}

async fn commit(env: &Env, database: &Arc<LogDatabase>, tail: &Tail, changes: Vec<Change>) -> Result<(), LogFault> {
    if changes.is_empty() {
        return Ok(());
    }
    let durable_end = changes.iter().fold(None, durable_end_after);
    let database = Arc::clone(database);
    let committing = env.run_blocking(move || database.commit(&changes));
    committing.await.map_err(io::Error::other)??;
    if let Some(end) = durable_end {
        tail.durable(end);
    }
    Ok(())
}

/// The index below which entries are on disk once `change` is, after those before it.
fn durable_end_after(end: Option<u64>, change: &Change) -> Option<u64> {
    match change {
        Change::Append(records) => records.last().map(|(index, _)| index.saturating_add(1)).or(end),
        Change::Truncate(since) => end.map(|end| end.min(*since)),
        Change::Vote(_) | Change::Purge(_) | Change::Committed(_) | Change::Met(..) => end,
    }
}
