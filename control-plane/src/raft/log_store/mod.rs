//! The durable log: one order of votes, entries, commits and purges, and group commit.
//!
//! Every change goes through one queue to one writer task, which takes what has gathered, makes it one transaction
//! (one fsync), and answers in the order of the queue. So a promise is never on disk before an older one, and the
//! flush callback of an append fires only after the disk has the entries (C-1). A failed write ends the voter: after
//! a failed fsync nobody knows what the disk holds, and trying again could report as durable what is lost.
//!
//! A voter that restarts is a follower, whatever it was before (C-3): a leader that resumed its term without an
//! election could answer reads from before its crash.

mod backend;
mod database;
mod tail;
mod writer;

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::path::Path;
use std::sync::Arc;

use anyerror::AnyError;
use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{ErrorSubject, ErrorVerb, LogState, OptionalSend, RaftLogReader, StorageIOError};
use remit_common::id::{MeshId, VoterId};
use remit_common::net::env::Env;
use remit_common::planted::{Bug, planted};
use tokio::sync::{mpsc, oneshot, watch};

pub(crate) use self::backend::{ImageBackend, open_database};
use self::database::{Change, Extent, LogDatabase};
pub(crate) use self::database::{LogFault, Opened};
use self::tail::Tail;
use self::writer::{Done, Job};
use super::fatal::Fatal;
use super::format::{BadRecord, DiskId, EntryV1, encode_record};
use super::types::{Entry, LogId, StorageError, Types, Vote};

/// Changes that wait for the disk. Raft has at most a few in flight; a longer queue only means a slow disk.
const QUEUE_MAX: usize = 256;
/// Bytes of entries handed to one replication call, unless a single entry is larger.
pub(crate) const REPLICATE_BYTES_MAX: usize = 1024 * 1024;

/// The log. Raft's core owns it.
pub(crate) struct LogStore {
    reader: LogReader,
    queue: mpsc::Sender<Job>,
    vote: Option<Vote>,
    committed: Option<LogId>,
    voter: VoterId,
    /// The last entry that a snapshot on disk covers. Without it nothing holds a purge back.
    covered: Option<watch::Receiver<Option<LogId>>>,
    fatal: Fatal,
}

/// Reads entries; each replication task has one.
#[derive(Clone)]
pub(crate) struct LogReader {
    env: Env,
    database: Arc<LogDatabase>,
    tail: Arc<Tail>,
    fatal: Fatal,
}

/// Puts facts about peers into the log's file, and closes it.
#[derive(Clone)]
pub(crate) struct LogControl {
    queue: mpsc::Sender<Job>,
}

/// Whether a log that is not there may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fresh {
    /// Nothing else is on the disk: it is new.
    Allowed,
    /// A snapshot is there, so a log was, too.
    Refused,
}

/// What opening the log gives.
pub(crate) struct OpenLog {
    /// For Raft's core.
    pub(crate) store: LogStore,
    /// For the rest of the node.
    pub(crate) control: LogControl,
    /// What the file held.
    pub(crate) opened: Opened,
    /// Resolves (to an error, which says nothing) when the last user is gone and the file is closed.
    pub(crate) closed: oneshot::Receiver<()>,
}

impl LogStore {
    /// Opens the log, or makes a new one, and starts its writer.
    ///
    /// # Errors
    /// [`LogFault`].
    pub(crate) async fn open(
        env: &Env,
        path: &Path,
        mesh: MeshId,
        voter: VoterId,
        fresh: Fresh,
        fatal: Fatal,
    ) -> Result<OpenLog, LogFault> {
        let (disk, path) = (Arc::clone(&env.disk), path.to_owned());
        let fresh = match fresh {
            Fresh::Allowed => Some(DiskId(env.random())),
            Fresh::Refused => None,
        };
        let (on_close, closed) = oneshot::channel();
        let opening = env.run_blocking(move || LogDatabase::open(&*disk, &path, mesh, voter, fresh, on_close));
        let (database, opened) = opening.await.map_err(io::Error::other)??;
        let (database, tail) = (Arc::new(database), Arc::new(Tail::new(opened.purged, opened.last)));
        let (queue, jobs) = mpsc::channel(QUEUE_MAX);
        let writing = writer::run(jobs, env.clone(), Arc::clone(&database), Arc::clone(&tail), fatal.clone());
        // The writer ends when the last sender of its queue is gone, and not before the queue is empty.
        drop(env.spawn_named("log-writer", writing));
        let control = LogControl { queue: queue.clone() };
        let store = Self {
            reader: LogReader { env: env.clone(), database, tail, fatal: fatal.clone() },
            queue,
            vote: opened.vote,
            committed: opened.committed,
            voter,
            covered: None,
            fatal,
        };
        Ok(OpenLog { store, control, opened, closed })
    }

    /// Lets entries go only when a snapshot on disk covers them.
    #[must_use]
    pub(crate) fn purging_behind(self, covered: watch::Receiver<Option<LogId>>) -> Self {
        Self { covered: Some(covered), ..self }
    }

    /// Returns once a snapshot on disk covers this entry and everything before it.
    async fn until_covered(&self, upto: LogId) -> Result<(), StorageError> {
        let Some(mut covered) = self.covered.clone() else { return Ok(()) };
        let failed = |reason: String| StorageIOError::write_snapshot(None, AnyError::error(reason)).into();
        tokio::select! {
            biased;
            saved = covered.wait_for(|covered| *covered >= Some(upto)) => match saved {
                Ok(_) => Ok(()),
                Err(_) => Err(failed("the log is kept: the store of snapshots is gone".to_owned())),
            },
            reason = self.fatal.raised() => Err(failed(format!("the log is kept: {reason}"))),
        }
    }

    async fn submit(&self, change: Change, subject: ErrorSubject<u64>) -> Result<(), StorageError> {
        let (done, answer) = Done::waiting();
        let sent = self.queue.send(Job { changes: vec![change], done }).await;
        let answer = match sent {
            Ok(()) => answer.await.unwrap_or_else(|_| Err(writer_gone())),
            Err(_) => Err(writer_gone()),
        };
        answer.map_err(|error| StorageIOError::new(subject, ErrorVerb::Write, AnyError::new(&error)).into())
    }
}

fn writer_gone() -> io::Error {
    io::Error::other("the log's writer has stopped")
}

impl LogControl {
    /// Remembers, durably, which disk a peer has.
    ///
    /// # Errors
    /// When the log cannot be written; the voter stops then.
    pub(crate) async fn remember(&self, peer: VoterId, disk: DiskId) -> io::Result<()> {
        let (done, answer) = Done::waiting();
        let job = Job { changes: vec![Change::Met(peer, disk)], done };
        self.queue.send(job).await.map_err(|_| writer_gone())?;
        answer.await.unwrap_or_else(|_| Err(writer_gone()))
    }

    /// Writes what is still in memory only and ends the writer: nothing can be written after this.
    ///
    /// # Errors
    /// When the log cannot be written.
    pub(crate) async fn close(&self) -> io::Result<()> {
        let (sender, answer) = oneshot::channel();
        let job = Job { changes: Vec::new(), done: Done::Closing(sender) };
        self.queue.send(job).await.map_err(|_| writer_gone())?;
        answer.await.unwrap_or_else(|_| Err(writer_gone()))
    }
}

impl LogReader {
    async fn read(&self, start: u64, end: u64, bytes_max: usize) -> Result<Vec<Entry>, StorageError> {
        let (start, end) = self.tail.clamp(start, end);
        if start >= end {
            return Ok(Vec::new());
        }
        let (from_memory_on, recent) = self.tail.recent(start, end);
        let mut entries = if start < from_memory_on {
            let (database, range) = (Arc::clone(&self.database), start..from_memory_on);
            let older = self.env.run_blocking(move || database.read(range, bytes_max)).await;
            let older = older.map_err(io::Error::other).map_err(LogFault::from).and_then(|read| read);
            let (older, extent) = older.map_err(|fault| {
                self.fatal.raise(format_args!("the consensus log cannot be read: {fault}"));
                StorageError::from(StorageIOError::read_logs(AnyError::new(&fault)))
            })?;
            if extent == Extent::Cut {
                // What follows would leave a gap.
                return Ok(older);
            }
            older
        } else {
            Vec::new()
        };
        let mut bytes: usize = entries.iter().map(tail::weight).sum();
        for entry in recent {
            bytes = bytes.saturating_add(tail::weight(&entry));
            if bytes > bytes_max && !entries.is_empty() {
                break;
            }
            entries.push(entry);
        }
        Ok(entries)
    }
}

impl RaftLogReader<Types> for LogReader {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, StorageError> {
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(before) => before.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(last) => last.saturating_add(1),
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        self.read(start, end, usize::MAX).await
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, StorageError> {
        let entries = self.read(start, end, REPLICATE_BYTES_MAX).await?;
        // Entries that begin later would make a hole at the follower; none makes Raft look again.
        let begins_right = entries.first().is_none_or(|first| first.log_id.index == start);
        Ok(if begins_right { entries } else { Vec::new() })
    }
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, StorageError> {
        self.reader.try_get_log_entries(range).await
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, StorageError> {
        self.reader.limited_get_log_entries(start, end).await
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = LogReader;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, StorageError> {
        let (last_purged_log_id, last_log_id) = self.reader.tail.ends();
        Ok(LogState { last_purged_log_id, last_log_id })
    }

    async fn get_log_reader(&mut self) -> LogReader {
        self.reader.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        if !planted(Bug::VoteNotSaved) {
            self.submit(Change::Vote(*vote), ErrorSubject::Vote).await?;
        }
        self.vote = Some(*vote);
        Ok(())
    }

    /// The last vote; our own committed one as uncommitted (C-3). Called when Raft starts and never after, and never
    /// written back.
    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        Ok(self.vote.map(|mut vote| {
            let is_own = vote.committed && vote.leader_id.node_id == self.voter.0;
            if is_own && !planted(Bug::LeaderResumesItsTerm) {
                vote.committed = false;
            }
            vote
        }))
    }

    /// Kept in memory until the next transaction takes it along: losing it costs a restarted voter nothing but the
    /// time until the leader says how far the log is committed.
    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), StorageError> {
        self.committed = committed;
        let job = Job { changes: vec![Change::Committed(committed)], done: Done::Nobody };
        self.queue.send(job).await.map_err(|_| StorageIOError::write(AnyError::new(&writer_gone())))?;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, StorageError> {
        Ok(self.committed)
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<Types>) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        let encoded: Result<Vec<_>, BadRecord> =
            entries.iter().map(|entry| Ok((entry.log_id.index, encode_record(&EntryV1::from(entry))?))).collect();
        let records = encoded.map_err(|fault| {
            self.fatal.raise(format_args!("an entry cannot be written to the consensus log: {fault}"));
            StorageIOError::write_logs(AnyError::new(&fault))
        })?;
        self.reader.tail.append(entries);
        let job = Job { changes: vec![Change::Append(records)], done: Done::Flushed(callback) };
        // The callback of a job that cannot be queued is dropped, which Raft takes for a failure.
        self.queue.send(job).await.map_err(|_| StorageIOError::write_logs(AnyError::new(&writer_gone())))?;
        Ok(())
    }

    async fn truncate(&mut self, log_id: LogId) -> Result<(), StorageError> {
        let before = match log_id.index.checked_sub(1) {
            Some(index) => self.reader.read(index, log_id.index, usize::MAX).await?.first().map(|e| e.log_id),
            None => None,
        };
        self.reader.tail.truncate(log_id.index, before);
        self.submit(Change::Truncate(log_id.index), ErrorSubject::Log(log_id)).await
    }

    /// Raft asks for it right after it has handed an arriving snapshot to the state machine, without waiting until
    /// that one is stored. Entries that were acknowledged must not be gone before what replaces them is there, nor may
    /// entries that follow a snapshot be acknowledged before it is on disk: so this waits, and Raft's core with it.
    async fn purge(&mut self, log_id: LogId) -> Result<(), StorageError> {
        self.until_covered(log_id).await?;
        self.reader.tail.purge(log_id);
        self.submit(Change::Purge(log_id), ErrorSubject::Log(log_id)).await
    }
}

#[cfg(test)]
mod tests;
