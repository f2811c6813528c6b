//! Objects arriving in pieces: each was asked for, each has the size that was stated, and the digest it was asked by.

use std::collections::BTreeMap;

use crate::crypto::digest::Digest;
use crate::limits::CHUNK_BYTES_MAX;
use crate::time::BootTime;
use crate::wire::frame::PeerMisbehaved;
use crate::wire::message::{Chunk, ObjectRef};

/// Time for an object however small, and for whatever stands before it in the queue of a busy voter.
const PATIENCE_MILLIS: u64 = 30_000;
/// Bytes a second that a publisher must manage; slower counts as an attack that holds an edge back.
const BYTES_PER_SEC_MIN: u64 = 64 * 1024;

/// Objects that were asked for together.
#[derive(Debug)]
pub(super) struct Transfer {
    missing: BTreeMap<Digest, Arriving>,
    complete: BTreeMap<Digest, Vec<u8>>,
    /// The publisher no longer has one of them, so that the rest is worth nothing, but still under way.
    is_in_vain: bool,
    deadline: BootTime,
}

#[derive(Debug)]
struct Arriving {
    len: usize,
    bytes: Vec<u8>,
}

impl Transfer {
    /// Waits for these. Their sizes have been compared with their bounds by the caller.
    pub(super) fn of(objects: impl IntoIterator<Item = ObjectRef>, now: BootTime) -> Self {
        let missing: BTreeMap<_, _> = objects
            .into_iter()
            .filter_map(|object| {
                Some((object.digest, Arriving { len: usize::try_from(object.len).ok()?, bytes: Vec::new() }))
            })
            .collect();
        let bytes = missing
            .values()
            .fold(0u64, |sum, object| sum.saturating_add(u64::try_from(object.len).unwrap_or(u64::MAX)));
        let millis = PATIENCE_MILLIS.saturating_add(bytes.saturating_mul(1_000) / BYTES_PER_SEC_MIN);
        let deadline = now.plus(std::time::Duration::from_millis(millis));
        Self { missing, complete: BTreeMap::new(), is_in_vain: false, deadline }
    }

    /// What is to be asked for.
    pub(super) fn digests(&self) -> Vec<Digest> {
        self.missing.keys().copied().collect()
    }

    /// When the publisher has been too slow.
    pub(super) fn deadline(&self) -> BootTime {
        self.deadline
    }

    /// The publisher does not have this one.
    pub(super) fn give_up(&mut self, digest: &Digest) -> Result<(), PeerMisbehaved> {
        self.is_in_vain = true;
        let refuse = PeerMisbehaved::OutOfPlace { kind: "Absent", why: "the object was not asked for" };
        self.missing.remove(digest).map(drop).ok_or(refuse)
    }

    /// Whether nothing is under way any more.
    pub(super) fn is_complete(&self) -> bool {
        self.missing.is_empty()
    }

    /// Everything, once nothing is under way; `None` when something is not to be had.
    pub(super) fn into_objects(self) -> Option<BTreeMap<Digest, Vec<u8>>> {
        (!self.is_in_vain && self.missing.is_empty()).then_some(self.complete)
    }

    /// Takes a piece. Memory grows by what arrives, never by what is announced.
    pub(super) fn take(&mut self, chunk: Chunk) -> Result<(), PeerMisbehaved> {
        let Chunk { digest, offset, total, bytes } = chunk;
        let refuse = |why| Err(PeerMisbehaved::OutOfPlace { kind: "Object", why });
        let Some(object) = self.missing.get_mut(&digest) else { return refuse("the object was not asked for") };
        if usize::try_from(total) != Ok(object.len) {
            return refuse("the object has another size than was stated");
        }
        if usize::try_from(offset) != Ok(object.bytes.len()) {
            return refuse("the piece does not follow on the last");
        }
        if bytes.len() > CHUNK_BYTES_MAX || bytes.len() > object.len - object.bytes.len() {
            return refuse("the piece goes beyond the object");
        }
        if bytes.is_empty() && object.len > 0 {
            return refuse("the piece is empty");
        }
        object.bytes.extend_from_slice(&bytes);
        if object.bytes.len() == object.len {
            let bytes = std::mem::take(&mut object.bytes);
            self.missing.remove(&digest);
            if Digest::of(&[&bytes]) != digest {
                return refuse("the object has another digest than it was asked by");
            }
            self.complete.insert(digest, bytes);
        }
        Ok(())
    }
}
