//! What is asked of the collector, and what it answers. Voters ask each other the same way (Clause C-80), so the order
//! of the fields is the format.

use std::collections::BTreeMap;

use remit_common::crypto::digest::Digest;
use remit_common::id::{DecisionId, TenantId};
use serde::{Deserialize, Serialize};

/// Records of one tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RecordQuery {
    /// Whose.
    pub(crate) tenant: TenantId,
    /// Of this decision only.
    pub(crate) id: Option<DecisionId>,
    /// Of decisions after this one only.
    pub(crate) after: Option<DecisionId>,
    /// At most this many.
    pub(crate) limit: u32,
    /// The newest instead of the oldest that match.
    pub(crate) newest: bool,
}

/// A record as an edge wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredRecord {
    /// Its hash.
    pub(crate) hash: Digest,
    /// Whose call it tells of, if it tells of one.
    pub(crate) tenant: Option<TenantId>,
    /// The decision it belongs to; what is not about a decision has none.
    pub(crate) decision: Option<DecisionId>,
    /// The record.
    pub(crate) bytes: Vec<u8>,
}

/// Records in the order in which they came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Arrivals {
    /// The last arrival among them; if there is none, what was asked after, or the last there is.
    pub(crate) last: u64,
    /// The records.
    pub(crate) records: Vec<StoredRecord>,
}

/// A store of records: a voter that begins anew has another one, and counts its arrivals anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoreId(pub(crate) [u8; 16]);

/// What one voter gives another one that copies its records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Copies {
    /// Where the arrivals are counted.
    pub(crate) store: StoreId,
    /// Nothing is missing there that other voters could have.
    pub(crate) whole: bool,
    /// The last arrival there is.
    pub(crate) end: u64,
    /// The first ones after what was asked for.
    pub(crate) arrivals: Arrivals,
}

/// The union of several voters' answers, each record once, in the order of their decisions.
pub(crate) fn union(answers: impl IntoIterator<Item = StoredRecord>) -> Vec<StoredRecord> {
    let once: BTreeMap<(Option<DecisionId>, Digest), StoredRecord> =
        answers.into_iter().map(|record| ((record.decision, record.hash), record)).collect();
    once.into_values().collect()
}
