//! Decision records on their way to a voter: consecutive, compressed, and bounded before they are unpacked.

use std::cell::RefCell;

use serde::{Deserialize, Serialize};
use zstd::bulk::{Compressor, Decompressor};

use super::frame::PeerMisbehaved;
use crate::id::BootId;
use crate::limits::{RECORD_BATCH_BYTES_MAX, RECORD_BYTES_MAX};

/// Speed matters more than the last percent: an edge compresses beside its calls.
const LEVEL: i32 = 1;

thread_local! {
    // To make one takes longer than to pack a small batch.
    static PACKER: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
    static UNPACKER: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

fn compressed(raw: &[u8]) -> std::io::Result<Vec<u8>> {
    PACKER.with_borrow_mut(|packer| match packer {
        Some(packer) => packer.compress(raw),
        None => packer.insert(Compressor::new(LEVEL)?).compress(raw),
    })
}

fn decompressed(packed: &[u8], raw_len: usize) -> std::io::Result<Vec<u8>> {
    UNPACKER.with_borrow_mut(|unpacker| match unpacker {
        Some(unpacker) => unpacker.decompress(packed, raw_len),
        None => unpacker.insert(Decompressor::new()?).decompress(packed, raw_len),
    })
}

/// Consecutive records of one boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordBatch {
    /// The start of the edge's process.
    pub boot: BootId,
    /// The number of the first record; the others follow without gaps.
    pub first: u64,
    /// How many there are.
    pub count: u32,
    /// Bytes before compression.
    pub raw_len: u32,
    /// Each record behind its length (u32, big-endian), all of it in one zstd frame.
    #[serde(with = "super::codec::bytes")]
    pub packed: Vec<u8>,
}

/// A record is too long for any batch, or the compressor failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot pack the record with number {seq}")]
pub struct Unpackable {
    /// The number of the record.
    pub seq: u64,
}

impl RecordBatch {
    /// Packs as many of `records` as fit, the first of which has the number `first`. `count` says how many did; none
    /// only when there were none.
    ///
    /// # Errors
    /// [`Unpackable`] when the first is too long by itself.
    pub fn pack<B: AsRef<[u8]>>(
        boot: BootId,
        first: u64,
        records: impl IntoIterator<Item = B>,
    ) -> Result<Self, Unpackable> {
        let unpackable = Unpackable { seq: first };
        let (mut raw, mut count) = (Vec::new(), 0u32);
        for record in records {
            let record = record.as_ref();
            let Ok(len) = u32::try_from(record.len()) else { break };
            if record.len() > RECORD_BYTES_MAX || raw.len() + 4 + record.len() > RECORD_BATCH_BYTES_MAX {
                if count == 0 {
                    return Err(unpackable);
                }
                break;
            }
            raw.extend_from_slice(&len.to_be_bytes());
            raw.extend_from_slice(record);
            count += 1;
        }
        let packed = compressed(&raw).map_err(|_| unpackable.clone())?;
        let raw_len = u32::try_from(raw.len()).map_err(|_| unpackable)?;
        Ok(Self { boot, first, count, raw_len, packed })
    }

    /// The records, each as the edge wrote it.
    ///
    /// # Errors
    /// [`PeerMisbehaved`] when the stated sizes are beyond the bounds, before anything is unpacked, or not those of
    /// what is inside.
    pub fn unpack(&self) -> Result<Vec<Vec<u8>>, PeerMisbehaved> {
        const MALFORMED: PeerMisbehaved = PeerMisbehaved::Malformed { kind: "RecordBatch" };
        let raw_len = usize::try_from(self.raw_len).unwrap_or(usize::MAX);
        if raw_len > RECORD_BATCH_BYTES_MAX {
            return Err(PeerMisbehaved::TooLong { len: self.raw_len.into(), max: RECORD_BATCH_BYTES_MAX });
        }
        let raw = decompressed(&self.packed, raw_len).map_err(|_| MALFORMED)?;
        if raw.len() != raw_len {
            return Err(MALFORMED);
        }
        let mut records = Vec::new();
        let mut rest = raw.as_slice();
        while let Some((len, behind)) = rest.split_first_chunk::<4>() {
            let len = usize::try_from(u32::from_be_bytes(*len)).map_err(|_| MALFORMED)?;
            let (record, behind) =
                (len <= RECORD_BYTES_MAX).then(|| behind.split_at_checked(len)).flatten().ok_or(MALFORMED)?;
            records.push(record.to_vec());
            rest = behind;
        }
        let counted = u32::try_from(records.len()).is_ok_and(|count| count == self.count);
        let numbered = self.first.checked_add(self.count.into()).is_some();
        if rest.is_empty() && counted && numbered { Ok(records) } else { Err(MALFORMED) }
    }
}
