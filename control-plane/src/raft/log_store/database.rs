//! The log as tables of one redb file, and the transactions on it. Everything in here blocks.
//!
//! One file holds what must never disagree after a crash: the vote, the entries, how far they are committed and
//! purged, whose disk it is, and which disks the peers had. One transaction is one fsync (C-1). The file is opened
//! with 1-phase commits: redb checks its page checksums when it opens after a crash and falls back to the commit
//! before; what a torn write leaves behind is therefore exactly the last complete commit.

use std::ops::Range;
use std::path::Path;

use redb::{Database, Durability, ReadableDatabase as _, ReadableTable as _, TableDefinition};
use remit_common::id::{MeshId, VoterId};
use remit_common::net::env::Disk;
use remit_common::planted::{Bug, planted};
use tokio::sync::oneshot;

use super::backend::{ImageBackend, open_database};
use crate::raft::format::{
    BadRecord, CommittedV1, DiskId, EntryV1, IdentityV1, MetPeerV1, PurgedV1, Record, VoteV1, decode_record,
    encode_record,
};
use crate::raft::types::{Entry, LogId, Vote};

/// index -> entry record
const ENTRIES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("entries");
/// name -> record: the single values
const STATE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("state");
/// voter -> record of its disk
const PEERS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("peers");

const IDENTITY: &str = "identity";
const VOTE: &str = "vote";
const COMMITTED: &str = "committed";
const PURGED: &str = "purged";

/// Bytes of pages that redb keeps in memory. The tail of the log, which is what is read, has its own cache.
const CACHE_BYTES: usize = 8 * 1024 * 1024;
/// Bytes of the image of a new log: an empty redb file with three tables is well below it.
const NEW_LOG_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The log file failed us. Every variant ends the voter.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogFault {
    /// The disk or the file format.
    #[error("{0}")]
    Database(redb::Error),
    /// A record is damaged.
    #[error("`{place}`: {fault}")]
    Record { place: String, fault: BadRecord },
    /// Entries are missing between the first and the last.
    #[error("the log has a hole: entry {missing} is missing")]
    Hole { missing: u64 },
    /// There is no log where there must be one.
    #[error("the log is gone, although other files of this voter are there")]
    Missing,
    /// The file has no identity record.
    #[error("the log names no owner")]
    NoIdentity,
    /// The disk of another mesh or voter.
    #[error("the log belongs to voter {voter} of mesh {mesh}")]
    Foreign { mesh: MeshId, voter: VoterId },
}

impl<E: Into<redb::Error>> From<E> for LogFault {
    fn from(error: E) -> Self {
        Self::Database(error.into())
    }
}

/// One change to the log. Changes are made in the order in which they are given, or not at all.
#[derive(Debug, Clone)]
pub(super) enum Change {
    Vote(Vote),
    /// Encoded records, by index.
    Append(Vec<(u64, Vec<u8>)>),
    /// Removes this index and everything after it.
    Truncate(u64),
    /// Removes this entry and everything before it.
    Purge(LogId),
    Committed(Option<LogId>),
    Met(VoterId, DiskId),
}

/// How much of a range was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// All of it.
    All,
    /// The beginning of it.
    Cut,
}

/// What the file held when it was opened.
#[derive(Debug, Clone)]
pub(crate) struct Opened {
    pub(crate) disk: DiskId,
    /// The vote as it was saved.
    pub(crate) vote: Option<Vote>,
    /// Never beyond `last`.
    pub(crate) committed: Option<LogId>,
    pub(crate) purged: Option<LogId>,
    pub(crate) last: Option<LogId>,
    pub(crate) met: Vec<(VoterId, DiskId)>,
}

#[derive(Debug)]
pub(super) struct LogDatabase {
    database: Database,
    /// Dropped after the database: whoever holds the other half learns that the file is closed.
    _closed: oneshot::Sender<()>,
}

impl LogDatabase {
    /// Opens the log, or makes a new one with `fresh` as its disk id; without `fresh` there must be one.
    pub(super) fn open(
        disk: &dyn Disk,
        path: &Path,
        mesh: MeshId,
        voter: VoterId,
        fresh: Option<DiskId>,
        closed: oneshot::Sender<()>,
    ) -> Result<(Self, Opened), LogFault> {
        let is_new = disk.open_random(path)?.len()? == 0;
        if is_new {
            let fresh = fresh.ok_or(LogFault::Missing)?;
            disk.replace(path, &Self::image(IdentityV1::new(mesh, voter, fresh))?)?;
        }
        let database = open_database(disk, path, CACHE_BYTES)?;
        let log = Self { database, _closed: closed };
        let opened = log.read_state(mesh, voter)?;
        Ok((log, opened))
    }

    /// A new log as bytes.
    fn image(identity: IdentityV1) -> Result<Vec<u8>, LogFault> {
        let image = ImageBackend::default();
        let database = Database::builder().set_cache_size(0).create_with_backend(image.clone())?;
        let transaction = database.begin_write()?;
        {
            transaction.open_table(ENTRIES)?;
            transaction.open_table(PEERS)?;
            let record = encode(IDENTITY, &identity)?;
            transaction.open_table(STATE)?.insert(IDENTITY, record.as_slice())?;
        }
        transaction.commit()?;
        drop(database);
        let bytes = image.take();
        if bytes.len() > NEW_LOG_BYTES_MAX {
            return Err(std::io::Error::from(std::io::ErrorKind::FileTooLarge).into());
        }
        Ok(bytes)
    }

    fn read_state(&self, mesh: MeshId, voter: VoterId) -> Result<Opened, LogFault> {
        let transaction = self.database.begin_read()?;
        let state = transaction.open_table(STATE)?;
        let identity: IdentityV1 = get(&state, IDENTITY)?.ok_or(LogFault::NoIdentity)?;
        if identity.mesh != mesh.0 || identity.voter != voter.0 {
            return Err(LogFault::Foreign { mesh: MeshId(identity.mesh), voter: VoterId(identity.voter) });
        }
        let purged: Option<LogId> = get::<PurgedV1>(&state, PURGED)?.map(|PurgedV1(id)| id.into());
        let entries = transaction.open_table(ENTRIES)?;
        let last = match entries.last()? {
            Some((index, record)) => Some(decode_entry(index.value(), record.value())?.log_id),
            None => purged,
        };
        check_no_hole(&entries, purged)?;
        let committed: Option<LogId> = get::<CommittedV1>(&state, COMMITTED)?.map(|CommittedV1(id)| id.into());
        let mut met = Vec::new();
        for row in transaction.open_table(PEERS)?.iter()? {
            let (peer, record) = row?;
            let MetPeerV1 { voter, disk } = decode(&format!("peer {}", peer.value()), record.value())?;
            met.push((VoterId(voter), disk));
        }
        Ok(Opened {
            disk: DiskId(identity.disk),
            vote: get::<VoteV1>(&state, VOTE)?.map(Vote::from),
            committed: if planted(Bug::CommittedAheadOfLog) { committed.max(last) } else { committed.min(last) },
            purged,
            last,
            met,
        })
    }

    /// Makes all changes, in order, in one transaction. They are on the disk when this returns.
    pub(super) fn commit(&self, changes: &[Change]) -> Result<(), LogFault> {
        let mut transaction = self.database.begin_write()?;
        let only_appends = changes.iter().all(|change| matches!(change, Change::Append(_) | Change::Committed(_)));
        transaction.set_durability(if planted(Bug::AppendNotSynced) && only_appends {
            Durability::None
        } else {
            Durability::Immediate
        })?;
        {
            let mut entries = transaction.open_table(ENTRIES)?;
            let mut state = transaction.open_table(STATE)?;
            let mut peers = transaction.open_table(PEERS)?;
            for change in changes {
                match change {
                    Change::Vote(vote) => {
                        state.insert(VOTE, encode(VOTE, &VoteV1::from(vote))?.as_slice())?;
                    }
                    Change::Append(records) => {
                        for (index, record) in records {
                            entries.insert(index, record.as_slice())?;
                        }
                    }
                    Change::Truncate(since) => entries.retain_in(*since.., |_, _| false)?,
                    Change::Purge(upto) => {
                        entries.retain_in(..=upto.index, |_, _| false)?;
                        state.insert(PURGED, encode(PURGED, &PurgedV1(upto.into()))?.as_slice())?;
                    }
                    Change::Committed(Some(id)) => {
                        state.insert(COMMITTED, encode(COMMITTED, &CommittedV1(id.into()))?.as_slice())?;
                    }
                    Change::Committed(None) => {
                        state.remove(COMMITTED)?;
                    }
                    Change::Met(voter, disk) => {
                        let record = MetPeerV1 { voter: voter.0, disk: *disk };
                        peers.insert(voter.0, encode("peer", &record)?.as_slice())?;
                    }
                }
            }
        }
        transaction.commit()?;
        Ok(())
    }

    /// The entries of a range that are there, in order, and whether these are all: reading stops before `bytes_max`
    /// is exceeded, but not before the first entry.
    pub(super) fn read(&self, range: Range<u64>, bytes_max: usize) -> Result<(Vec<Entry>, Extent), LogFault> {
        let transaction = self.database.begin_read()?;
        let table = transaction.open_table(ENTRIES)?;
        let mut found = Vec::new();
        let mut bytes = 0usize;
        for row in table.range(range)? {
            let (index, record) = row?;
            bytes = bytes.saturating_add(record.value().len());
            if bytes > bytes_max && !found.is_empty() {
                return Ok((found, Extent::Cut));
            }
            found.push(decode_entry(index.value(), record.value())?);
        }
        Ok((found, Extent::All))
    }
}

/// Entries must be one run, beginning right after what was purged.
fn check_no_hole(entries: &redb::ReadOnlyTable<u64, &'static [u8]>, purged: Option<LogId>) -> Result<(), LogFault> {
    use redb::ReadableTableMetadata as _;

    let (Some((first, _)), Some((last, _))) = (entries.first()?, entries.last()?) else {
        return Ok(());
    };
    let (first, last) = (first.value(), last.value());
    let expected = purged.map_or(first, |id| id.index.saturating_add(1));
    if first != expected {
        return Err(LogFault::Hole { missing: expected });
    }
    if last.saturating_sub(first).saturating_add(1) != entries.len()? {
        let mut next = first;
        for row in entries.iter()? {
            if row?.0.value() != next {
                break;
            }
            next = next.saturating_add(1);
        }
        return Err(LogFault::Hole { missing: next });
    }
    Ok(())
}

fn encode<R: Record>(place: &str, value: &R) -> Result<Vec<u8>, LogFault> {
    encode_record(value).map_err(|fault| LogFault::Record { place: place.to_owned(), fault })
}

fn decode<R: Record>(place: &str, record: &[u8]) -> Result<R, LogFault> {
    decode_record(record).map_err(|fault| LogFault::Record { place: place.to_owned(), fault })
}

fn decode_entry(index: u64, record: &[u8]) -> Result<Entry, LogFault> {
    let at = |fault| LogFault::Record { place: format!("entry {index}"), fault };
    let entry = Entry::from(decode_record::<EntryV1>(record).map_err(at)?);
    if entry.log_id.index == index { Ok(entry) } else { Err(at(BadRecord::Malformed)) }
}

fn get<R: Record>(table: &redb::ReadOnlyTable<&'static str, &'static [u8]>, name: &str) -> Result<Option<R>, LogFault> {
    table.get(name)?.map(|record| decode(name, record.value())).transpose()
}
