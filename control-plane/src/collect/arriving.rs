//! A batch as it arrives: every record read, its place and its link to the one before it checked.

use remit_common::crypto::digest::Digest;
use remit_common::crypto::sign::PublicKey;
use remit_common::id::{BootId, DecisionId, EdgeId, MeshId, TenantId};
use remit_common::record::{Record, RecordKind};
use remit_common::wire::batch::RecordBatch;

use super::NotCollected;

/// A record on its way to the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Arriving {
    pub(super) boot: BootId,
    pub(super) seq: u64,
    pub(super) previous: Digest,
    pub(super) hash: Digest,
    /// The first of its boot: what it continues is another boot's head, or nothing.
    pub(super) starts_boot: bool,
    pub(super) tenant: Option<TenantId>,
    pub(super) decision: Option<DecisionId>,
    pub(super) bytes: Vec<u8>,
}

/// Clause K-12: the records are this edge's, of the batch's boot, numbered without gaps, each naming the one before it;
/// a gap is signed by the edge.
pub(super) fn read(
    mesh: &MeshId,
    edge: &EdgeId,
    key: &PublicKey,
    batch: &RecordBatch,
    records: Vec<Vec<u8>>,
) -> Result<Vec<Arriving>, NotCollected> {
    let unusable =
        |reason, detail: &dyn std::fmt::Display| NotCollected::Unusable { reason, detail: detail.to_string() };
    if records.is_empty() {
        return Err(unusable("malformed", &"a batch without records"));
    }
    let mut read: Vec<Arriving> = Vec::with_capacity(records.len());
    for (seq, bytes) in (batch.first..).zip(records) {
        let record = Record::parse(&bytes).map_err(|error| unusable("malformed", &error))?;
        let public = record.public();
        if public.edge != *edge || public.boot != batch.boot || public.seq != seq {
            return Err(unusable("malformed", &format_args!("record {seq} says that it is another one")));
        }
        if public.kind == RecordKind::Gap && record.verify_gap(mesh, key).is_err() {
            return Err(unusable("chain", &format_args!("gap {seq} is not signed by the edge")));
        }
        if read.last().is_some_and(|before| before.hash != public.prev) {
            return Err(unusable("chain", &format_args!("record {seq} does not name the one before it")));
        }
        read.push(Arriving {
            boot: public.boot,
            seq,
            previous: public.prev,
            hash: record.hash(mesh),
            starts_boot: seq == FIRST_SEQ,
            tenant: public.tenant.clone(),
            decision: public.decision,
            bytes,
        });
    }
    Ok(read)
}

/// Records of a process are counted from one.
const FIRST_SEQ: u64 = 1;
