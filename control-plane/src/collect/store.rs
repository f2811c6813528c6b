//! The records on this voter's disk: one redb file, one commit for all that waits. Everything here blocks.

use std::collections::BTreeMap;
use std::path::Path;

use redb::{Database, ReadableDatabase as _, ReadableTable, Table, TableDefinition, TableError, WriteTransaction};
use remit_common::crypto::digest::Digest;
use remit_common::id::{BootId, DecisionId, EdgeId, TenantId, VoterId};
use remit_common::limits::RECORD_BYTES_MAX;
use remit_common::net::env::Disk;
use remit_common::planted::{Bug, planted};
use serde::{Deserialize, Serialize};

use super::Collected;
use super::arriving::Arriving;
use super::hearsay::{self, HEARSAY};
use super::query::{Arrivals, RecordQuery, StoreId, StoredRecord};
use crate::entry::{self, Kind};
use crate::raft::{ImageBackend, open_database};

/// edge, boot, number -> [`Kept`]. The edge's name has its length in front, so that no key is a prefix of another's.
const RECORDS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("records-v1");
/// tenant, decision, then the key of the record -> nothing.
const DECISIONS: TableDefinition<'_, &[u8], ()> = TableDefinition::new("decisions-v1");
/// arrival -> the key of the record.
const ARRIVALS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("arrivals-v1");
/// edge, hash -> boot and number of the record that continues the record of this hash.
const CONTINUED: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("continued-v1");
/// edge, boot -> the number and the digest with which a fork was found.
const FORKS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("forks-v1");

/// There, and empty, only while this store may lack what other voters have. It had rows once; nobody reads them.
const LACKING: TableDefinition<'_, u64, u64> = TableDefinition::new("copied-v1");
/// voter -> its store, and the last arrival there that has been copied.
const COPIED: TableDefinition<'_, u64, (u128, u64)> = TableDefinition::new("copied-v2");
/// Nothing -> the number that this store was given when it was made.
const STORE: TableDefinition<'_, (), u128> = TableDefinition::new("store-v1");

/// Bytes of pages kept in memory: the newest records, which are asked for most.
const CACHE_BYTES: usize = 32 * 1024 * 1024;
/// Records of one answer: with the longest records still below what voters send each other.
const PAGE_MAX: usize = 400;
/// Bytes of a kept record: the longest one and its hash.
const KEPT_BYTES_MAX: usize = RECORD_BYTES_MAX + 1024;

/// The disk failed the collector. It ends the voter.
#[derive(Debug, thiserror::Error)]
pub enum StoreFailed {
    /// The file or the disk.
    #[error("{0}")]
    Database(Box<redb::Error>),
    /// What is stored is not what was stored.
    #[error("a stored record is damaged")]
    Damaged(#[from] entry::Malformed),
    /// The task that reads ended without an answer.
    #[error("{0}")]
    Task(String),
}

impl<E: Into<redb::Error>> From<E> for StoreFailed {
    fn from(error: E) -> Self {
        Self::Database(Box::new(error.into()))
    }
}

impl StoreFailed {
    /// Whether the file is damaged for good, so that opening it again would fail again.
    pub(super) fn is_damage(&self) -> bool {
        match self {
            Self::Database(error) => match &**error {
                redb::Error::Corrupted(_) => true,
                // A file whose head is lost, or that is cut off.
                redb::Error::Io(error) => {
                    matches!(error.kind(), std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof)
                }
                _ => false,
            },
            Self::Damaged(_) => true,
            Self::Task(_) => false,
        }
    }
}

/// What a store that is made anew has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fresh {
    /// Everything: there has been no record yet.
    Whole,
    /// Nothing of what the other voters have.
    Lacking,
}

/// A record as it is kept, version 1; the order of the fields is the format (Clause K-11).
#[derive(Serialize, Deserialize)]
struct Kept {
    record: StoredRecord,
}

/// What became of a group of batches.
pub(super) struct Appended {
    pub(super) outcomes: Vec<Collected>,
    pub(super) stored: u64,
    pub(super) repeated: u64,
    /// Known by hearsay, and now from the edge itself.
    pub(super) confirmed: u64,
    pub(super) last_arrival: u64,
}

#[derive(Debug)]
pub(super) struct Store {
    database: Database,
    id: StoreId,
}

/// How far the records of other voters have been copied.
pub(super) type Copied = BTreeMap<VoterId, (StoreId, u64)>;

impl Store {
    /// Opens the store, or makes it; one that has no number yet gets this one.
    pub(super) fn open(disk: &dyn Disk, path: &Path, fresh: Fresh, id: StoreId) -> Result<Self, StoreFailed> {
        let is_new = disk.open_random(path).and_then(|file| file.len()).map_err(redb::Error::from)? == 0;
        if is_new {
            disk.replace(path, &Self::image(fresh, id)?).map_err(redb::Error::from)?;
        }
        Self::of(open_database(disk, path, CACHE_BYTES)?, id)
    }

    fn of(database: Database, id: StoreId) -> Result<Self, StoreFailed> {
        let known = match database.begin_read()?.open_table(STORE) {
            Ok(table) => table.get(())?.map(|known| StoreId(known.value().to_be_bytes())),
            Err(TableError::TableDoesNotExist(_)) => None,
            Err(error) => return Err(error.into()),
        };
        if known.is_none() {
            let transaction = database.begin_write()?;
            transaction.open_table(STORE)?.insert((), u128::from_be_bytes(id.0))?;
            transaction.open_table(HEARSAY)?;
            transaction.commit()?;
        }
        Ok(Self { database, id: known.unwrap_or(id) })
    }

    /// Which store this is: arrivals are counted in one store.
    pub(super) fn id(&self) -> StoreId {
        self.id
    }

    /// An empty store as bytes: made in memory and written as a whole, so that a crash leaves none rather than half.
    fn image(fresh: Fresh, id: StoreId) -> Result<Vec<u8>, StoreFailed> {
        let image = ImageBackend::default();
        let database = Database::builder().set_cache_size(0).create_with_backend(image.clone())?;
        let transaction = database.begin_write()?;
        transaction.open_table(RECORDS)?;
        transaction.open_table(DECISIONS)?;
        transaction.open_table(ARRIVALS)?;
        transaction.open_table(CONTINUED)?;
        transaction.open_table(FORKS)?;
        transaction.open_table(HEARSAY)?;
        transaction.open_table(STORE)?.insert((), u128::from_be_bytes(id.0))?;
        if fresh == Fresh::Lacking {
            transaction.open_table(LACKING)?;
        }
        transaction.commit()?;
        drop(database);
        Ok(image.take())
    }

    pub(super) fn last_arrival(&self) -> Result<u64, StoreFailed> {
        let transaction = self.database.begin_read()?;
        Ok(transaction.open_table(ARRIVALS)?.last()?.map_or(0, |(arrival, _)| arrival.value()))
    }

    /// Stores a group of batches with one commit. A batch that forks leaves nothing behind but the fork.
    pub(super) fn append<'a>(
        &self,
        batches: impl Iterator<Item = (&'a EdgeId, &'a [Arriving])>,
    ) -> Result<Appended, StoreFailed> {
        let mut transaction = self.database.begin_write()?;
        if planted(Bug::RecordAckedBeforeDurable) {
            transaction.set_durability(redb::Durability::None)?;
        }
        let last_arrival = transaction.open_table(ARRIVALS)?.last()?.map_or(0, |(arrival, _)| arrival.value());
        let mut appended = Appended { outcomes: Vec::new(), stored: 0, repeated: 0, confirmed: 0, last_arrival };
        for (edge, records) in batches {
            let outcome = append(&transaction, edge, records, &mut appended)?;
            appended.outcomes.push(outcome);
        }
        let has_fork = appended.outcomes.iter().any(|outcome| matches!(outcome, Collected::Fork { .. }));
        if appended.stored > 0 || appended.confirmed > 0 || has_fork {
            transaction.commit()?;
        } else {
            transaction.abort()?; // every record is on the disk already: nothing to sync
        }
        Ok(appended)
    }

    /// How far the records of other voters have been copied; `None` when nothing is missing here.
    pub(super) fn copied(&self) -> Result<Option<Copied>, StoreFailed> {
        let transaction = self.database.begin_read()?;
        if let Err(TableError::TableDoesNotExist(_)) = transaction.open_table(LACKING) {
            return Ok(None);
        }
        let table = match transaction.open_table(COPIED) {
            Ok(table) => table,
            Err(TableError::TableDoesNotExist(_)) => return Ok(Some(Copied::new())),
            Err(error) => return Err(error.into()),
        };
        let mut copied = Copied::new();
        for row in table.iter()? {
            let (voter, upto) = row?;
            let (store, upto) = upto.value();
            copied.insert(VoterId(voter.value()), (StoreId(store.to_be_bytes()), upto));
        }
        Ok(Some(copied))
    }

    /// Stores what another voter has, up to its arrival `upto`, as hearsay: it is no finding if that contradicts what
    /// is here, and takes no place from what the edge itself sends.
    pub(super) fn copy(
        &self,
        from: VoterId,
        (store, upto): (StoreId, u64),
        records: &[(EdgeId, Arriving)],
    ) -> Result<Appended, StoreFailed> {
        let transaction = self.database.begin_write()?;
        let last_arrival = transaction.open_table(ARRIVALS)?.last()?.map_or(0, |(arrival, _)| arrival.value());
        let mut appended = Appended { outcomes: Vec::new(), stored: 0, repeated: 0, confirmed: 0, last_arrival };
        {
            let mut tables = Tables::open(&transaction)?;
            for (edge, record) in records {
                tables.hear(edge, record, &mut appended)?;
            }
            transaction.open_table(COPIED)?.insert(from.0, (u128::from_be_bytes(store.0), upto))?;
        }
        transaction.commit()?;
        Ok(appended)
    }

    /// Nothing is missing here any more.
    pub(super) fn complete(&self) -> Result<(), StoreFailed> {
        let transaction = self.database.begin_write()?;
        transaction.delete_table(LACKING)?;
        transaction.delete_table(COPIED)?;
        transaction.commit()?;
        Ok(())
    }

    pub(super) fn query(&self, query: &RecordQuery) -> Result<Vec<StoredRecord>, StoreFailed> {
        let RecordQuery { tenant, id, after, limit, newest } = query;
        let transaction = self.database.begin_read()?;
        let (records, decisions) = (transaction.open_table(RECORDS)?, transaction.open_table(DECISIONS)?);
        let hearsay = transaction.open_table(HEARSAY)?;
        let tenant = prefixed(tenant.as_str());
        let from = match (id, after) {
            (Some(id), _) => [tenant.as_slice(), &id.to_bytes()].concat(),
            (None, Some(after)) => [tenant.as_slice(), &beyond(after.to_bytes())].concat(),
            (None, None) => tenant.clone(),
        };
        let until = match id {
            Some(id) => [tenant.as_slice(), &beyond(id.to_bytes())].concat(),
            None => [tenant.as_slice(), &[0xff; 17]].concat(),
        };
        let limit = usize::try_from(*limit).unwrap_or(usize::MAX).min(PAGE_MAX);
        let mut found = Vec::new();
        let mut take = |key: &[u8]| -> Result<(), StoreFailed> {
            let key = key.get(tenant.len() + 16..).unwrap_or_default();
            found.extend(hearsay::find(&records, &hearsay, key)?);
            Ok(())
        };
        let range = decisions.range(from.as_slice()..until.as_slice())?;
        if *newest {
            for entry in range.rev().take(limit) {
                take(entry?.0.value())?;
            }
            found.reverse();
        } else {
            for entry in range.take(limit) {
                take(entry?.0.value())?;
            }
        }
        Ok(found)
    }

    /// What arrived after `after`; without it nothing but the last arrival there is.
    pub(super) fn since(&self, after: Option<u64>, limit: u32) -> Result<Arrivals, StoreFailed> {
        let Some(after) = after else { return Ok(Arrivals { last: self.last_arrival()?, records: Vec::new() }) };
        let transaction = self.database.begin_read()?;
        let (records, arrivals) = (transaction.open_table(RECORDS)?, transaction.open_table(ARRIVALS)?);
        let hearsay = transaction.open_table(HEARSAY)?;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX).min(PAGE_MAX);
        let mut answer = Arrivals { last: after, records: Vec::new() };
        let Some(first) = after.checked_add(1) else { return Ok(answer) };
        for entry in arrivals.range(first..)?.take(limit) {
            let (arrival, key) = entry?;
            answer.last = arrival.value();
            answer.records.extend(hearsay::find(&records, &hearsay, key.value())?);
        }
        Ok(answer)
    }
}

/// What a record stands in.
pub(super) struct Tables<'t> {
    pub(super) records: Table<'t, &'static [u8], &'static [u8]>,
    pub(super) decisions: Table<'t, &'static [u8], ()>,
    pub(super) arrivals: Table<'t, u64, &'static [u8]>,
    continued: Table<'t, &'static [u8], &'static [u8]>,
    pub(super) hearsay: Table<'t, &'static [u8], &'static [u8]>,
}

impl<'t> Tables<'t> {
    fn open(transaction: &'t WriteTransaction) -> Result<Self, StoreFailed> {
        Ok(Self {
            records: transaction.open_table(RECORDS)?,
            decisions: transaction.open_table(DECISIONS)?,
            arrivals: transaction.open_table(ARRIVALS)?,
            continued: transaction.open_table(CONTINUED)?,
            hearsay: transaction.open_table(HEARSAY)?,
        })
    }

    /// Puts a record in its place, which is free.
    fn insert(&mut self, edge: &EdgeId, record: &Arriving, appended: &mut Appended) -> Result<(), StoreFailed> {
        let key = record_key(edge, record.boot, record.seq);
        self.records.insert(key.as_slice(), kept_bytes(record).as_slice())?;
        if let Some((tenant, decision)) = record.tenant.as_ref().zip(record.decision) {
            self.decisions.insert(decision_key(tenant, decision, &key).as_slice(), ())?;
        }
        let link = link_key(edge, &record.previous);
        if self.continued.get(link.as_slice())?.is_none() {
            self.continued.insert(link.as_slice(), place(record).as_slice())?;
        }
        if self.replace_hearsay(&key, &record.hash)? {
            appended.confirmed += 1; // it has arrived already
            return Ok(());
        }
        self.arrived(&key, appended)
    }

    pub(super) fn arrived(&mut self, key: &[u8], appended: &mut Appended) -> Result<(), StoreFailed> {
        appended.last_arrival += 1;
        self.arrivals.insert(appended.last_arrival, key)?;
        appended.stored += 1;
        Ok(())
    }
}

fn append(
    transaction: &WriteTransaction,
    edge: &EdgeId,
    batch: &[Arriving],
    appended: &mut Appended,
) -> Result<Collected, StoreFailed> {
    let mut tables = Tables::open(transaction)?;
    let mut forks = transaction.open_table(FORKS)?;
    let (Some(first), Some(last)) = (batch.first(), batch.last()) else {
        return Ok(Collected::Stored { seq: 0 }); // INVARIANT: `arriving::read` refuses an empty batch
    };
    let boot = [prefixed(edge.as_str()), first.boot.0.to_vec()].concat();
    if let Some(fork) = forks.get(boot.as_slice())? {
        let (seq, stored) = entry::decode::<KEPT_BYTES_MAX, (u64, Digest)>(Kind::StoredRecord, fork.value())?;
        return Ok(Collected::Fork { seq, stored });
    }
    if let Some((seq, stored)) = find_fork(&tables.records, &tables.continued, edge, batch)? {
        forks.insert(boot.as_slice(), entry::encode(Kind::StoredRecord, &(seq, stored)).as_slice())?;
        return Ok(Collected::Fork { seq, stored });
    }
    for record in batch {
        let key = record_key(edge, first.boot, record.seq);
        let is_repeat = match record.tenant.as_ref().zip(record.decision) {
            Some((tenant, decision)) if planted(Bug::RecordRepeatByDecision) => {
                let of_decision = decision_key(tenant, decision, &[]);
                let until = decision_key(tenant, decision, &[0xff; 1]);
                tables.decisions.range(of_decision.as_slice()..until.as_slice())?.next().is_some()
            }
            _ => tables.records.get(key.as_slice())?.is_some(),
        };
        if is_repeat {
            appended.repeated += 1;
            continue;
        }
        tables.insert(edge, record, appended)?;
    }
    Ok(Collected::Stored { seq: last.seq })
}

/// Clause K-13: another record in the same place, another record before the first, or two records that continue the
/// same one, as those of two boots do that started from the same image.
fn find_fork(
    records: &impl ReadableTable<&'static [u8], &'static [u8]>,
    continued: &impl ReadableTable<&'static [u8], &'static [u8]>,
    edge: &EdgeId,
    batch: &[Arriving],
) -> Result<Option<(u64, Digest)>, StoreFailed> {
    if let Some(first) = batch.first().filter(|first| !first.starts_boot)
        && let Some(before) = first.seq.checked_sub(1)
        && let Some(stored) = records.get(record_key(edge, first.boot, before).as_slice())?
    {
        let stored = kept_record(stored.value())?.hash;
        if stored != first.previous {
            return Ok(Some((first.seq, stored)));
        }
    }
    for record in batch {
        if let Some(stored) = records.get(record_key(edge, record.boot, record.seq).as_slice())? {
            let stored = kept_record(stored.value())?.hash;
            if stored != record.hash {
                return Ok(Some((record.seq, stored)));
            }
        }
        if let Some(other) = continued.get(link_key(edge, &record.previous).as_slice())?
            && other.value() != place(record)
        {
            return Ok(Some((record.seq, record.previous)));
        }
    }
    Ok(None)
}

pub(super) fn kept_bytes(record: &Arriving) -> Vec<u8> {
    let Arriving { hash, tenant, decision, bytes, .. } = record;
    let kept = StoredRecord { hash: *hash, tenant: tenant.clone(), decision: *decision, bytes: bytes.clone() };
    entry::encode(Kind::StoredRecord, &Kept { record: kept })
}

pub(super) fn kept_record(bytes: &[u8]) -> Result<StoredRecord, StoreFailed> {
    Ok(entry::decode::<KEPT_BYTES_MAX, Kept>(Kind::StoredRecord, bytes)?.record)
}

/// Names are at most 64 bytes, so their length fits one.
fn prefixed(name: &str) -> Vec<u8> {
    let mut key = vec![u8::try_from(name.len()).unwrap_or(u8::MAX)];
    key.extend_from_slice(name.as_bytes());
    key
}

fn link_key(edge: &EdgeId, previous: &Digest) -> Vec<u8> {
    [prefixed(edge.as_str()).as_slice(), &previous.0].concat()
}

fn place(record: &Arriving) -> Vec<u8> {
    [record.boot.0.as_slice(), &record.seq.to_be_bytes()].concat()
}

pub(super) fn record_key(edge: &EdgeId, boot: BootId, seq: u64) -> Vec<u8> {
    [prefixed(edge.as_str()).as_slice(), &boot.0, &seq.to_be_bytes()].concat()
}

pub(super) fn decision_key(tenant: &TenantId, decision: DecisionId, record: &[u8]) -> Vec<u8> {
    [prefixed(tenant.as_str()).as_slice(), &decision.to_bytes(), record].concat()
}

/// The first decision after this one.
fn beyond(decision: [u8; 16]) -> [u8; 16] {
    u128::from_be_bytes(decision).saturating_add(1).to_be_bytes()
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
