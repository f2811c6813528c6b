//! The records that no majority of voters has yet, on this disk.
//!
//! Segments are files that only grow. Every commit appends a batch and returns when the disk has it. After a write
//! that failed nobody knows what the disk has, so that file is left behind for good and the batch goes into a new
//! one; a record that then stands in two files is the same record with the same number, a harmless repeat. The newest
//! file is never removed, because the next start continues the chain from its last record. Clauses N-6 to N-10.
//!
//! Everything here blocks; [`super::writer`] calls it where that holds up nobody.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use remit_common::crypto::digest::Digest;
use remit_common::id::BootId;
use remit_common::limits::RECORD_BYTES_MAX;
use remit_common::net::env::{AppendFile, Disk};
use remit_common::record::GapCause;

use super::segment::{self, Entries, HEADER_BYTES, Header, NotASegment};

/// A segment that has reached this is followed by a new one. Small enough to be read whole when a voter lags.
pub(crate) const SEGMENT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The longest file that is read: a full segment and one batch more.
const FILE_BYTES_MAX: usize = 2 * SEGMENT_BYTES_MAX + 4096 * RECORD_BYTES_MAX / 16;

/// A record with its place in the chain, encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) seq: u64,
    /// Hash of the record before it.
    pub(crate) before: Digest,
    /// Its own hash.
    pub(crate) hash: Digest,
    pub(crate) bytes: Arc<[u8]>,
}

/// What is known of one segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) number: u64,
    pub(crate) boot: BootId,
    pub(crate) first_seq: u64,
    /// Records that count; a later segment may repeat what comes after them.
    pub(crate) count: u64,
    pub(crate) bytes: u64,
}

impl Segment {
    /// The last sequence number, or the one before the first when there is none.
    pub(crate) fn last_seq(&self) -> u64 {
        self.first_seq.saturating_add(self.count).saturating_sub(1)
    }
}

/// What a start found at the end of the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tail {
    /// Hash of the record before `last`, or the head itself when the newest segment has no record.
    pub(crate) head_before: Digest,
    /// The last whole record.
    pub(crate) last: Option<Vec<u8>>,
    /// Places where records are missing: the torn end that was cut off, and damage before it.
    pub(crate) holes: Vec<Hole>,
}

/// Some records of that boot after `after_seq` are not on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hole {
    pub(crate) cause: GapCause,
    pub(crate) boot: BootId,
    pub(crate) after_seq: u64,
}

/// The spool cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum SpoolUnusable {
    /// The disk says no.
    #[error("the spool cannot be read or made")]
    Disk(#[from] io::Error),
    /// A file that is none of ours, or of a later version.
    #[error("`{file}` in the spool is not usable: {why}")]
    Foreign {
        /// Its name.
        file: String,
        /// What is wrong.
        why: String,
    },
}

/// The spool.
pub(crate) struct Spool {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    boot: BootId,
    segments: VecDeque<Segment>,
    /// The newest segment, while it takes records.
    open: Option<Box<dyn AppendFile>>,
    next_number: u64,
}

impl std::fmt::Debug for Spool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Spool({} segments)", self.segments.len())
    }
}

fn name(number: u64) -> String {
    format!("{number:016x}.seg")
}

fn number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".seg")?;
    (digits.len() == 16).then(|| u64::from_str_radix(digits, 16).ok()).flatten()
}

impl Spool {
    /// Opens the folder, cuts a torn end and says where the chain stands.
    ///
    /// # Errors
    /// [`SpoolUnusable`].
    pub(crate) fn open(disk: Arc<dyn Disk>, folder: &Path, boot: BootId) -> Result<(Self, Tail), SpoolUnusable> {
        disk.create_dir(folder)?;
        let mut numbers = Vec::new();
        for file in disk.list(folder)? {
            match number(&file) {
                Some(number) => numbers.push(number),
                // What an interrupted `replace` leaves behind starts with a dot.
                None if file.starts_with('.') => {}
                None => return Err(SpoolUnusable::Foreign { file, why: "not a segment's name".to_owned() }),
            }
        }
        let next_number = numbers.last().map_or(0, |last| last.saturating_add(1));
        let mut spool =
            Self { disk, folder: folder.to_owned(), boot, segments: VecDeque::new(), open: None, next_number };
        let mut tail = Tail { head_before: Digest::default(), last: None, holes: Vec::new() };
        // One behind, because only the end tells which is the newest.
        let mut begun: Option<(u64, Vec<u8>)> = None;
        for number in numbers {
            let Some(bytes) = spool.read_begun(number)? else { continue };
            if let Some((before, bytes)) = begun.replace((number, bytes)) {
                spool.adopt(before, &bytes, false, &mut tail)?;
            }
        }
        if let Some((newest, bytes)) = begun {
            spool.adopt(newest, &bytes, true, &mut tail)?;
        }
        spool.cap_overlaps(&mut tail.holes);
        Ok((spool, tail))
    }

    /// The bytes of a file of an earlier start, or `None` if its process ended while making it, or could not make it:
    /// no record follows a header that is not on the disk. What lies there, torn or zeros, is removed, and the chain
    /// ends in the file before it.
    fn read_begun(&self, number: u64) -> Result<Option<Vec<u8>>, SpoolUnusable> {
        let path = self.folder.join(name(number));
        let bytes = self.disk.read(&path, FILE_BYTES_MAX)?.unwrap_or_default();
        let is_torn = matches!(Header::decode(&bytes), Err(NotASegment::Torn | NotASegment::Magic));
        if bytes.len() <= HEADER_BYTES && is_torn {
            self.disk.remove(&path)?;
            return Ok(None);
        }
        Ok(Some(bytes))
    }

    /// Takes over a file of an earlier start.
    fn adopt(&mut self, number: u64, bytes: &[u8], newest: bool, tail: &mut Tail) -> Result<(), SpoolUnusable> {
        let file = name(number);
        let path = self.folder.join(&file);
        let (header, entries) = match Header::decode(bytes) {
            Ok((header, entries)) if header.number == number => (header, entries),
            Ok(_) => return Err(SpoolUnusable::Foreign { file, why: "another segment's number".to_owned() }),
            Err(error) => return Err(SpoolUnusable::Foreign { file, why: error.to_string() }),
        };
        let mut whole = Entries::new(entries);
        let (mut count, mut last) = (0u64, None);
        for record in whole.by_ref() {
            count += 1;
            last = Some(record);
        }
        let kept = HEADER_BYTES + whole.read_bytes();
        let cut = bytes.len() - kept;
        let segment = Segment { number, boot: header.boot, first_seq: header.first_seq, count, bytes: to_u64(kept) };
        if newest {
            tail.head_before = header.head_before;
            tail.last = last.map(<[u8]>::to_vec);
            self.make_durable(&path, bytes.get(..kept).unwrap_or_default())?;
            if cut > 0 {
                let after_seq = segment.last_seq();
                tail.holes.push(Hole { cause: GapCause::TornTail, boot: header.boot, after_seq });
            }
        }
        self.segments.push_back(segment);
        Ok(())
    }

    /// Writes once more what an earlier process left at the end of its chain. That process may have been killed before
    /// its fsync, or its fsync may have failed: then every reader sees bytes that the disk does not have, and another
    /// fsync of the same file finds nothing to do. A chain that was continued from them, and sent, would begin again at
    /// an earlier record after a power cut: a fork, of an edge that did nothing wrong.
    fn make_durable(&self, path: &Path, kept: &[u8]) -> io::Result<()> {
        match self.disk.replace(path, kept) {
            // There is no room for a second copy; the first one is enough unless an fsync of it has failed.
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                let mut file = self.disk.open_append(path)?;
                file.truncate(to_u64(kept.len()))?;
                file.sync()
            }
            done => done,
        }
    }

    /// Where a file was left behind after a failed write, the next one repeats what was not known to be on the disk.
    /// Where a segment ends before the next one of its boot begins, the records between are damaged.
    fn cap_overlaps(&mut self, holes: &mut Vec<Hole>) {
        let nexts: Vec<Option<Segment>> = self.segments.iter().skip(1).copied().map(Some).chain([None]).collect();
        for (segment, next) in self.segments.iter_mut().zip(nexts) {
            let Some(next) = next.filter(|next| next.boot == segment.boot) else { continue };
            let own = next.first_seq.saturating_sub(segment.first_seq);
            if segment.count < own {
                let after_seq = segment.last_seq();
                holes.push(Hole { cause: GapCause::SpoolLost, boot: segment.boot, after_seq });
            }
            segment.count = segment.count.min(own);
        }
    }

    /// Appends records and returns when the disk has them.
    ///
    /// # Errors
    /// What the disk says. The records may or may not be there; the next commit starts a new file and is given them
    /// again.
    pub(crate) fn commit(&mut self, links: &[Link]) -> io::Result<()> {
        let Some(first) = links.first() else { return Ok(()) };
        let mut entries = Vec::new();
        for link in links {
            segment::encode_entry(&link.bytes, &mut entries);
        }
        let full = self.segments.back().is_some_and(|segment| segment.bytes >= to_u64(SEGMENT_BYTES_MAX));
        if full {
            self.open = None;
        }
        // Taken out, so that a failure leaves it out.
        let (mut file, mut segment) = match self.open.take().zip(self.segments.back().copied()) {
            Some((file, segment)) => (file, segment),
            None => self.begin(first)?,
        };
        file.append(&entries)?;
        file.sync()?;
        segment.count += to_u64(links.len());
        segment.bytes += to_u64(entries.len());
        if let Some(back) = self.segments.back_mut() {
            *back = segment;
        }
        self.open = Some(file);
        Ok(())
    }

    fn begin(&mut self, first: &Link) -> io::Result<(Box<dyn AppendFile>, Segment)> {
        let number = self.next_number;
        self.next_number = self.next_number.saturating_add(1);
        let header = Header { number, boot: self.boot, first_seq: first.seq, head_before: first.before };
        let mut file = self.disk.open_append(&self.folder.join(name(number)))?;
        let bytes = header.encode();
        file.append(&bytes)?;
        // A new file's place in its folder is durable, too: `open_append` sees to that.
        file.sync()?;
        let segment = Segment { number, boot: self.boot, first_seq: first.seq, count: 0, bytes: to_u64(bytes.len()) };
        self.segments.push_back(segment);
        Ok((file, segment))
    }

    /// Removes segments whose every record a majority has. `acked` gives, per boot, the last number that it has.
    ///
    /// # Errors
    /// What the disk says; what was removed stays removed.
    pub(crate) fn trim(&mut self, acked: &BTreeMap<BootId, u64>) -> io::Result<()> {
        while self.segments.len() > 1 {
            let Some(oldest) = self.segments.front() else { break };
            let done = oldest.count == 0 || acked.get(&oldest.boot).is_some_and(|seq| *seq >= oldest.last_seq());
            if !done {
                break;
            }
            self.disk.remove(&self.folder.join(name(oldest.number)))?;
            self.segments.pop_front();
        }
        Ok(())
    }

    /// Every segment, oldest first.
    pub(crate) fn segments(&self) -> Vec<Segment> {
        self.segments.iter().copied().collect()
    }

    /// Bytes on the disk.
    pub(crate) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }
}

/// Reads the records of a segment from `from_seq` on, at most `bytes_max` of them but one at least.
///
/// # Errors
/// What the disk says; [`io::ErrorKind::InvalidData`] when the file is not the segment it should be, or has lost
/// records; [`io::ErrorKind::NotFound`] when it has been trimmed meanwhile.
pub(crate) fn read_from(
    disk: &dyn Disk,
    folder: &Path,
    segment: &Segment,
    from_seq: u64,
    bytes_max: usize,
) -> io::Result<Vec<Arc<[u8]>>> {
    let file = disk.read(&folder.join(name(segment.number)), FILE_BYTES_MAX)?.ok_or(io::ErrorKind::NotFound)?;
    let (header, entries) = Header::decode(&file).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    if header.number != segment.number || header.boot != segment.boot || header.first_seq != segment.first_seq {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let skip = usize::try_from(from_seq.saturating_sub(segment.first_seq)).unwrap_or(usize::MAX);
    let count = usize::try_from(segment.count).unwrap_or(usize::MAX);
    let mut records: Vec<Arc<[u8]>> = Vec::new();
    let mut bytes = 0;
    for record in Entries::new(entries).take(count).skip(skip) {
        bytes += record.len();
        if bytes > bytes_max && !records.is_empty() {
            break;
        }
        records.push(record.into());
    }
    if records.is_empty() && skip < count {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(records)
}

fn to_u64(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
