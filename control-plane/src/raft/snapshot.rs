//! The snapshot on disk: one file, replaced as one step, only ever by a newer one.
//!
//! `magic | version | header length | header record | payload | SHA-256 of everything before` (C-7). The digest is
//! checked before a byte of the payload is used.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use remit_common::crypto::digest::Digest;
use remit_common::net::env::Disk;
use tokio::sync::watch;

use super::format::{BadRecord, SnapshotMetaV1, SnapshotMetaV2, decode_record, encode_record};
use super::types::{LogId, Snapshot, SnapshotBody, SnapshotMeta};

/// Bytes of a snapshot's payload. The state of a large mesh is tens of megabytes; what exceeds this could not be
/// sent to a follower within its deadline either.
pub(crate) const SNAPSHOT_BYTES_MAX: usize = 512 * 1024 * 1024;
/// Bytes of everything around the payload.
const OVERHEAD_BYTES_MAX: usize = 64 * 1024;

const MAGIC: [u8; 4] = *b"RMTS";
const VERSION: u16 = 2;
/// Before snapshots held the digest of what they replace; its header is a record of kind 7.
const VERSION_1: u16 = 1;
const DIGEST_BYTES: usize = 32;

/// The snapshot file is not usable.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SnapshotFault {
    /// The disk.
    #[error("the snapshot file: {0}")]
    Disk(#[from] io::Error),
    /// No snapshot file of ours.
    #[error("the snapshot file is not a snapshot")]
    NotASnapshot,
    /// Written by a newer version of this software.
    #[error("snapshot version {found} is not known to this version")]
    UnknownVersion { found: u16 },
    /// The bytes have changed since they were written.
    #[error("the snapshot's digest does not match its bytes")]
    Damaged,
    /// The header is not one.
    #[error("the snapshot's header: {0}")]
    Header(#[from] BadRecord),
    /// The state has outgrown what can be stored and sent.
    #[error("a snapshot of {len} bytes exceeds {SNAPSHOT_BYTES_MAX}")]
    TooLarge { len: usize },
}

/// The file's bytes.
pub(crate) fn encode(meta: &SnapshotMeta, body: &SnapshotBody) -> Result<Vec<u8>, SnapshotFault> {
    let SnapshotBody { applied, payload } = body;
    if payload.len() > SNAPSHOT_BYTES_MAX {
        return Err(SnapshotFault::TooLarge { len: payload.len() });
    }
    let header = encode_record(&SnapshotMetaV2::new(meta, *applied))?;
    let header_len = u32::try_from(header.len()).map_err(|_| BadRecord::TooLong)?;
    let mut file = Vec::with_capacity(payload.len().saturating_add(header.len()).saturating_add(64));
    file.extend_from_slice(&MAGIC);
    file.extend_from_slice(&VERSION.to_be_bytes());
    file.extend_from_slice(&header_len.to_be_bytes());
    file.extend_from_slice(&header);
    file.extend_from_slice(payload);
    let digest = Digest::of(&[&file]);
    file.extend_from_slice(&digest.0);
    Ok(file)
}

/// Reads a file's bytes.
pub(crate) fn decode(file: Vec<u8>) -> Result<Snapshot, SnapshotFault> {
    let Some((&[m0, m1, m2, m3, v0, v1], rest)) = file.split_first_chunk::<6>() else {
        return Err(SnapshotFault::NotASnapshot);
    };
    if [m0, m1, m2, m3] != MAGIC {
        return Err(SnapshotFault::NotASnapshot);
    }
    let found = u16::from_be_bytes([v0, v1]);
    if found != VERSION && found != VERSION_1 {
        return Err(SnapshotFault::UnknownVersion { found });
    }
    let (covered, digest) = file.split_last_chunk::<DIGEST_BYTES>().ok_or(SnapshotFault::NotASnapshot)?;
    if Digest::of(&[covered]).0 != *digest {
        return Err(SnapshotFault::Damaged);
    }
    let (header_len, rest) = rest.split_first_chunk::<4>().ok_or(SnapshotFault::NotASnapshot)?;
    let header_len = usize::try_from(u32::from_be_bytes(*header_len)).map_err(|_| SnapshotFault::NotASnapshot)?;
    let header = rest.get(..header_len).ok_or(SnapshotFault::NotASnapshot)?;
    let (meta, applied) = match found {
        VERSION_1 => (decode_record::<SnapshotMetaV1>(header)?.into(), None),
        _ => decode_record::<SnapshotMetaV2>(header)?.into_parts(),
    };
    let payload_start = 10usize.saturating_add(header_len);
    let payload_end = covered.len();
    if payload_start > payload_end {
        return Err(SnapshotFault::NotASnapshot);
    }
    let payload = Bytes::from(file).slice(payload_start..payload_end);
    Ok(Snapshot { meta, snapshot: Box::new(SnapshotBody { applied, payload }) })
}

/// The place of the snapshot. Cloning gives the same place.
#[derive(Clone)]
pub(crate) struct SnapshotStore(Arc<Place>);

struct Place {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    /// What the file holds. The lock also orders writers: compare and replace are one step.
    current: Mutex<Option<SnapshotMeta>>,
    /// The last entry that the file covers.
    covers: watch::Sender<Option<LogId>>,
}

impl SnapshotStore {
    /// Opens the place and reads what is there. Blocks.
    ///
    /// # Errors
    /// [`SnapshotFault`].
    pub(crate) fn open(disk: Arc<dyn Disk>, path: &Path) -> Result<(Self, Option<Snapshot>), SnapshotFault> {
        let covers = watch::Sender::new(None);
        let place = Place { disk, path: path.to_owned(), current: Mutex::new(None), covers };
        let store = Self(Arc::new(place));
        let snapshot = store.read()?;
        store.0.covers.send_replace(snapshot.as_ref().and_then(|s| s.meta.last_log_id));
        *store.0.current.lock().unwrap_or_else(PoisonError::into_inner) = snapshot.as_ref().map(|s| s.meta.clone());
        Ok((store, snapshot))
    }

    /// The last entry that the snapshot on disk covers: the log may go up to there, and no further (C-8).
    pub(crate) fn covers(&self) -> watch::Receiver<Option<LogId>> {
        self.0.covers.subscribe()
    }

    /// The snapshot on disk. Blocks.
    ///
    /// # Errors
    /// [`SnapshotFault`].
    pub(crate) fn read(&self) -> Result<Option<Snapshot>, SnapshotFault> {
        let bytes_max = SNAPSHOT_BYTES_MAX.saturating_add(OVERHEAD_BYTES_MAX);
        self.0.disk.read(&self.0.path, bytes_max)?.map(decode).transpose()
    }

    /// Replaces the snapshot on disk, unless it is newer or as new; on return the disk has the one that won (C-8).
    /// Blocks.
    ///
    /// # Errors
    /// [`SnapshotFault`].
    pub(crate) fn save(&self, meta: &SnapshotMeta, body: &SnapshotBody) -> Result<(), SnapshotFault> {
        let mut current = self.0.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref().is_some_and(|current| current.last_log_id >= meta.last_log_id) {
            return Ok(());
        }
        self.0.disk.replace(&self.0.path, &encode(meta, body)?)?;
        *current = Some(meta.clone());
        self.0.covers.send_replace(meta.last_log_id);
        Ok(())
    }
}

#[cfg(test)]
#[path = "snapshot_tests.rs"]
mod tests;
