//! Applies the log to the state machine, and keeps its snapshot.
//!
//! The state lives in memory; what makes it durable is the log plus the snapshot. A snapshot is on disk before Raft
//! is told that it exists, because Raft then removes the entries that it replaces (C-8). One that comes from another
//! voter has been read once before Raft gets it: what is not readable never reaches the disk.

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyerror::AnyError;
use bytes::Bytes;
use openraft::storage::RaftStateMachine;
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder, StorageIOError};
use remit_common::id::LogIndex;
use remit_common::net::env::Env;
use tokio::sync::watch;

use super::StateMachine;
use super::applied::AppliedLog;
use super::error::StartError;
use super::fatal::Fatal;
use super::members::Members;
use super::snapshot::{SnapshotFault, SnapshotStore};
use super::types::{Entry, LogId, Snapshot, SnapshotBody, SnapshotMeta, StorageError, StoredMembership, Types};

/// Owned by Raft's state-machine task.
pub(crate) struct Machine {
    machine: Box<dyn StateMachine>,
    last_applied: Option<LogId>,
    membership: StoredMembership,
    log: AppliedLog,
    applied: watch::Sender<AppliedLog>,
    volume: Volume,
    snapshots: SnapshotStore,
    env: Env,
    fatal: Fatal,
}

/// Bytes of entries applied since the last snapshot was taken. Cloning gives the same count.
#[derive(Debug, Clone, Default)]
pub(crate) struct Volume(Arc<AtomicU64>);

impl Volume {
    /// Bytes so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn add(&self, bytes: usize) {
        self.0.fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn reset(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

impl Machine {
    /// Restores the machine from the snapshot on disk, if there is one. The receiver shows how far it is.
    ///
    /// # Errors
    /// [`StartError::Restore`].
    pub(crate) fn restore(
        mut machine: Box<dyn StateMachine>,
        snapshots: SnapshotStore,
        snapshot: Option<Snapshot>,
        env: &Env,
        fatal: Fatal,
    ) -> Result<(Self, watch::Receiver<AppliedLog>), StartError> {
        let (last_applied, membership, log) = match snapshot {
            Some(Snapshot { meta, snapshot }) => {
                let SnapshotBody { applied, payload } = *snapshot;
                machine.restore(&payload)?;
                machine.members(&Members::of(&meta.last_membership));
                let log = AppliedLog::of_snapshot(index_of(meta.last_log_id), applied);
                (meta.last_log_id, meta.last_membership, log)
            }
            None => (None, StoredMembership::default(), AppliedLog::nothing()),
        };
        let (applied, seen) = watch::channel(log.clone());
        let env = env.clone();
        let volume = Volume::default();
        Ok((Self { machine, last_applied, membership, log, applied, volume, snapshots, env, fatal }, seen))
    }

    /// How much was applied since the last snapshot.
    pub(crate) fn volume(&self) -> Volume {
        self.volume.clone()
    }
}

fn index_of(id: Option<LogId>) -> LogIndex {
    LogIndex(id.map_or(0, |id| id.index))
}

fn snapshot_failed(fatal: &Fatal, meta: Option<&SnapshotMeta>, fault: impl Display) -> StorageError {
    fatal.raise(format_args!("the snapshot cannot be stored or read, so this voter stops: {fault}"));
    StorageIOError::write_snapshot(meta.map(SnapshotMeta::signature), AnyError::error(fault)).into()
}

/// Runs blocking work of the snapshot store.
async fn blocking<T: Send + 'static>(
    env: &Env,
    work: impl FnOnce() -> Result<T, SnapshotFault> + Send + 'static,
) -> Result<T, SnapshotFault> {
    env.run_blocking(work).await.map_err(std::io::Error::other)?
}

/// Holds the state as it was when the build began.
pub(crate) struct SnapshotBuilder {
    meta: SnapshotMeta,
    body: SnapshotBody,
    snapshots: SnapshotStore,
    env: Env,
    fatal: Fatal,
}

impl RaftSnapshotBuilder<Types> for SnapshotBuilder {
    async fn build_snapshot(&mut self) -> Result<Snapshot, StorageError> {
        let (snapshots, meta, body) = (self.snapshots.clone(), self.meta.clone(), self.body.clone());
        blocking(&self.env, move || snapshots.save(&meta, &body))
            .await
            .map_err(|fault| snapshot_failed(&self.fatal, Some(&self.meta), fault))?;
        Ok(Snapshot { meta: self.meta.clone(), snapshot: Box::new(self.body.clone()) })
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), StorageError> {
        Ok((self.last_applied, self.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Vec<u8>>, StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut answers = Vec::new();
        for entry in entries {
            self.log.extend(&entry);
            let Entry { log_id, payload } = entry;
            answers.push(match payload {
                EntryPayload::Blank => Vec::new(),
                EntryPayload::Normal(bytes) => {
                    self.volume.add(bytes.0.len());
                    self.machine.apply(LogIndex(log_id.index), &bytes.0)
                }
                EntryPayload::Membership(membership) => {
                    self.membership = StoredMembership::new(Some(log_id), membership);
                    self.machine.members(&Members::of(&self.membership));
                    Vec::new()
                }
            });
            self.last_applied = Some(log_id);
        }
        self.applied.send_replace(self.log.clone());
        Ok(answers)
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        // The bytes are taken here, between two entries; only storing them runs beside the next ones.
        let body = SnapshotBody { applied: self.log.digest, payload: Bytes::from(self.machine.snapshot()) };
        self.volume.reset();
        let meta = SnapshotMeta {
            last_log_id: self.last_applied,
            last_membership: self.membership.clone(),
            snapshot_id: self.last_applied.map_or_else(|| "empty".to_owned(), |id| id.to_string()),
        };
        let (snapshots, env, fatal) = (self.snapshots.clone(), self.env.clone(), self.fatal.clone());
        SnapshotBuilder { meta, body, snapshots, env, fatal }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<SnapshotBody>, StorageError> {
        Ok(Box::default())
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: Box<SnapshotBody>) -> Result<(), StorageError> {
        let (snapshots, stored, body) = (self.snapshots.clone(), meta.clone(), SnapshotBody::clone(&snapshot));
        blocking(&self.env, move || snapshots.save(&stored, &body))
            .await
            .map_err(|fault| snapshot_failed(&self.fatal, Some(meta), fault))?;
        if meta.last_log_id <= self.last_applied {
            // Stored all the same: Raft lets the log go up to there.
            return Ok(());
        }
        // On disk first: were the machine ahead of the disk, a crash now would take the state back.
        self.machine.restore(&snapshot.payload).map_err(|fault| snapshot_failed(&self.fatal, Some(meta), fault))?;
        self.volume.reset();
        self.last_applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        self.machine.members(&Members::of(&self.membership));
        self.log = AppliedLog::of_snapshot(index_of(self.last_applied), snapshot.applied);
        self.applied.send_replace(self.log.clone());
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, StorageError> {
        let snapshots = self.snapshots.clone();
        blocking(&self.env, move || snapshots.read()).await.map_err(|fault| snapshot_failed(&self.fatal, None, fault))
    }
}
