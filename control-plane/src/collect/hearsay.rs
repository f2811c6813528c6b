//! What only another voter says.
//!
//! A voter that copies cannot see whether a record is its edge's: records are not signed one by one. So what it copies
//! lies beside what edges themselves sent. It is shown and passed on, two for one place if need be, so that a true
//! record is never lost behind an invented one; it is no evidence of a fork, and what the edge sends replaces it. One
//! voter that lies can thus make noise, and neither a fork nor a hole (Clause K-18).

use redb::{ReadableTable, TableDefinition};
use remit_common::crypto::digest::Digest;
use remit_common::id::EdgeId;

use super::arriving::Arriving;
use super::query::StoredRecord;
use super::store::{Appended, StoreFailed, Tables, decision_key, kept_bytes, kept_record, record_key};

/// edge, boot, number, hash -> the record, as in the table of records. Arrivals and decisions name it by this key, also
/// after the edge's own record has replaced it.
pub(super) const HEARSAY: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("hearsay-v1");

/// Contradictions that one record of an edge clears away: whoever invents more of them for one place has the batch wait
/// for no longer.
const REPLACED_MAX: usize = 64;

impl Tables<'_> {
    /// Takes in what another voter has.
    pub(super) fn hear(
        &mut self,
        edge: &EdgeId,
        record: &Arriving,
        appended: &mut Appended,
    ) -> Result<(), StoreFailed> {
        let place = record_key(edge, record.boot, record.seq);
        let key = key(&place, &record.hash);
        // What is in its place came from the edge itself.
        if self.records.get(place.as_slice())?.is_some() || self.hearsay.get(key.as_slice())?.is_some() {
            appended.repeated += 1;
            return Ok(());
        }
        self.hearsay.insert(key.as_slice(), kept_bytes(record).as_slice())?;
        if let Some((tenant, decision)) = record.tenant.as_ref().zip(record.decision) {
            self.decisions.insert(decision_key(tenant, decision, &key).as_slice(), ())?;
        }
        self.arrived(&key, appended)
    }

    /// The edge's own record has taken this place. Whether it was known by hearsay.
    pub(super) fn replace_hearsay(&mut self, place: &[u8], hash: &Digest) -> Result<bool, StoreFailed> {
        let was_known = self.forget(&key(place, hash))?;
        let contradicting: Vec<Vec<u8>> = self
            .hearsay
            .range(place..=key(place, &Digest([0xff; 32])).as_slice())?
            .take(REPLACED_MAX)
            .map(|row| row.map(|(key, _)| key.value().to_vec()))
            .collect::<Result<_, _>>()?;
        for key in contradicting {
            self.forget(&key)?;
        }
        Ok(was_known)
    }

    fn forget(&mut self, key: &[u8]) -> Result<bool, StoreFailed> {
        let Some(record) = self.hearsay.remove(key)?.map(|kept| kept_record(kept.value())).transpose()? else {
            return Ok(false);
        };
        if let Some((tenant, decision)) = record.tenant.as_ref().zip(record.decision) {
            self.decisions.remove(decision_key(tenant, decision, key).as_slice())?;
        }
        Ok(true)
    }
}

/// The record of a key: as the edge sent it, as others have it, or what has replaced that.
pub(super) fn find(
    records: &impl ReadableTable<&'static [u8], &'static [u8]>,
    hearsay: &impl ReadableTable<&'static [u8], &'static [u8]>,
    key: &[u8],
) -> Result<Option<StoredRecord>, StoreFailed> {
    let mut kept = records.get(key)?;
    if kept.is_none() {
        kept = hearsay.get(key)?;
    }
    if kept.is_none() {
        let place = key.len().checked_sub(Digest::default().0.len()).and_then(|end| key.get(..end));
        kept = records.get(place.unwrap_or_default())?;
    }
    kept.map(|kept| kept_record(kept.value())).transpose()
}

fn key(place: &[u8], hash: &Digest) -> Vec<u8> {
    [place, &hash.0].concat()
}
