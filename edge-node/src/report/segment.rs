//! One file of the spool, as bytes.
//!
//! A segment is a header and entries, append-only. A power cut can leave an entry half written or, where the file
//! system had only grown the file, full of zeros; the checksum of each entry finds the last whole one, and everything
//! after it is cut. Nothing before it is ever rewritten. Clauses N-6 to N-8.

use remit_common::crypto::digest::Digest;
use remit_common::id::BootId;
use remit_common::limits::RECORD_BYTES_MAX;

/// The first bytes of every segment.
pub(crate) const MAGIC: [u8; 8] = *b"RMTSPOOL";
/// The version of this format.
pub(crate) const VERSION: u16 = 1;
/// Bytes of a header.
pub(crate) const HEADER_BYTES: usize = 8 + 2 + 8 + 16 + 8 + 32 + 4;
/// Bytes before each record: its length and its checksum.
pub(crate) const ENTRY_PREFIX_BYTES: usize = 4 + 4;

/// What stands in front of the records of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    /// Position among all segments this disk ever had; also the file's name.
    pub(crate) number: u64,
    /// The start of the process that wrote it.
    pub(crate) boot: BootId,
    /// Sequence number of its first record.
    pub(crate) first_seq: u64,
    /// Hash of the record before its first.
    pub(crate) head_before: Digest,
}

/// A file does not begin as a segment does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotASegment {
    /// Shorter than a header, or its checksum is wrong: the process died while making the file.
    #[error("the header is torn")]
    Torn,
    /// Other first bytes.
    #[error("not a spool segment")]
    Magic,
    /// A later version of this program wrote it.
    #[error("segment version {found}; this program reads version {VERSION}")]
    Version {
        /// The version in the file.
        found: u16,
    },
}

impl Header {
    /// The bytes at the start of the file.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_be_bytes());
        bytes.extend_from_slice(&self.number.to_be_bytes());
        bytes.extend_from_slice(&self.boot.0);
        bytes.extend_from_slice(&self.first_seq.to_be_bytes());
        bytes.extend_from_slice(&self.head_before.0);
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
        bytes
    }

    /// Reads a header and gives back what follows it.
    pub(crate) fn decode(file: &[u8]) -> Result<(Self, &[u8]), NotASegment> {
        let mut rest = file;
        if take::<8>(&mut rest)? != MAGIC {
            return Err(NotASegment::Magic);
        }
        let found = u16::from_be_bytes(take(&mut rest)?);
        let header = Self {
            number: u64::from_be_bytes(take(&mut rest)?),
            boot: BootId(take(&mut rest)?),
            first_seq: u64::from_be_bytes(take(&mut rest)?),
            head_before: Digest(take(&mut rest)?),
        };
        let covered = file.get(..HEADER_BYTES - 4).ok_or(NotASegment::Torn)?;
        if u32::from_be_bytes(take(&mut rest)?) != crc32fast::hash(covered) {
            return Err(NotASegment::Torn);
        }
        if found != VERSION {
            return Err(NotASegment::Version { found });
        }
        Ok((header, rest))
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], NotASegment> {
    let (taken, after) = rest.split_first_chunk::<N>().ok_or(NotASegment::Torn)?;
    *rest = after;
    Ok(*taken)
}

/// Appends one record to `out` as an entry.
pub(crate) fn encode_entry(record: &[u8], out: &mut Vec<u8>) {
    let length = u32::try_from(record.len()).unwrap_or(u32::MAX).to_be_bytes();
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length);
    hasher.update(record);
    out.extend_from_slice(&length);
    out.extend_from_slice(&hasher.finalize().to_be_bytes());
    out.extend_from_slice(record);
}

/// The whole entries at the start of `bytes`.
#[derive(Debug, Clone)]
pub(crate) struct Entries<'a> {
    rest: &'a [u8],
    read: usize,
}

impl<'a> Entries<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, read: 0 }
    }

    /// Bytes of the entries given out so far: once iteration has ended, where the file is cut.
    pub(crate) fn read_bytes(&self) -> usize {
        self.read
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (length_bytes, after) = self.rest.split_first_chunk::<4>()?;
        let (checksum, after) = after.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length_bytes)).ok()?;
        if length == 0 || length > RECORD_BYTES_MAX {
            return None;
        }
        let (record, rest) = after.split_at_checked(length)?;
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(length_bytes);
        hasher.update(record);
        if hasher.finalize() != u32::from_be_bytes(*checksum) {
            return None;
        }
        self.rest = rest;
        self.read += ENTRY_PREFIX_BYTES + length;
        Some(record)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use remit_common::text;

    use super::*;

    fn header() -> Header {
        Header { number: 3, boot: BootId([0xb0; 16]), first_seq: 17, head_before: Digest([0xee; 32]) }
    }

    /// Clauses N-6 and N-7.
    #[test]
    fn golden_bytes() {
        let mut file = header().encode();
        encode_entry(b"abc", &mut file);
        let expected = [
            "524d5453504f4f4c",
            "0001",
            "0000000000000003",
            &"b0".repeat(16),
            "0000000000000011",
            &"ee".repeat(32),
            "461ec616",
            "00000003",
            "45bce840",
            "616263",
        ]
        .concat();
        assert_eq!(text::hex(&file), expected);
        assert_eq!(file.len(), HEADER_BYTES + ENTRY_PREFIX_BYTES + 3);
    }

    #[test]
    fn a_changed_header_is_torn() {
        let good = header().encode();
        assert_eq!(Header::decode(&good), Ok((header(), [].as_slice())));
        for length in 0..good.len() {
            assert_eq!(Header::decode(&good[..length]), Err(NotASegment::Torn), "{length}");
        }
        for at in 8..good.len() {
            let mut changed = good.clone();
            changed[at] ^= 1;
            assert_eq!(Header::decode(&changed), Err(NotASegment::Torn), "{at}");
        }
        let mut other = good;
        other[0] = b'X';
        assert_eq!(Header::decode(&other), Err(NotASegment::Magic));
    }

    #[test]
    fn a_later_version_is_not_guessed_at() {
        let mut bytes = header().encode();
        bytes[9] = 2;
        let covered = bytes.len() - 4;
        let checksum = crc32fast::hash(&bytes[..covered]).to_be_bytes();
        bytes[covered..].copy_from_slice(&checksum);
        assert_eq!(Header::decode(&bytes), Err(NotASegment::Version { found: 2 }));
    }

    proptest! {
        #[test]
        fn a_cut_anywhere_loses_only_the_entry_it_hits(
            records in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..200), 1..8),
            cut in any::<prop::sample::Index>(),
            zeros in 0usize..64,
        ) {
            let mut bytes = Vec::new();
            let mut ends = Vec::new();
            for record in &records {
                encode_entry(record, &mut bytes);
                ends.push(bytes.len());
            }
            let cut = cut.index(bytes.len() + 1);
            bytes.truncate(cut);
            bytes.resize(cut + zeros, 0);
            let whole = ends.iter().filter(|end| **end <= cut).count();
            let mut entries = Entries::new(&bytes);
            let read: Vec<&[u8]> = entries.by_ref().collect();
            // Zeros may happen to complete an entry that ended in zeros; they never invent another one.
            prop_assert!(read.len() == whole || read.len() == whole + 1);
            for (read, written) in read.iter().zip(&records) {
                prop_assert_eq!(*read, written.as_slice());
            }
            prop_assert!(entries.read_bytes() <= bytes.len());
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..4096)) {
            let _ = Header::decode(&bytes);
            let _ = Entries::new(&bytes).count();
        }
    }
}
