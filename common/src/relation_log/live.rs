//! The tuples that hold, as a map whose copies share what did not change.
//!
//! A voter shows its whole state after each entry, so a change of one tuple must not copy a hundred thousand. The map is
//! cut into parts by a hash of the tuple; a change copies one part.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::policy::relations::{Subject, Tuple, TupleKey};

/// Parts. A full tenant has four hundred tuples in each.
const PARTS: usize = 256;

type Part = Arc<BTreeMap<TupleKey, Option<u32>>>;

/// The tuples that hold, each with the second since the Unix epoch at which it ends, if it does.
#[derive(Debug, Clone)]
pub struct LiveTuples {
    // INVARIANT: `PARTS` parts; a tuple stands in the part that its hash names.
    parts: Vec<Part>,
    count: usize,
}

impl Default for LiveTuples {
    fn default() -> Self {
        Self { parts: vec![Part::default(); PARTS], count: 0 }
    }
}

impl PartialEq for LiveTuples {
    fn eq(&self, other: &Self) -> bool {
        self.count == other.count && self.parts == other.parts
    }
}

impl Eq for LiveTuples {}

/// FNV-1a: spread, not secrecy. Whoever fills one part on purpose makes their own tenant's writes slower.
fn part_of(tuple: &TupleKey) -> usize {
    let bytes = tuple.object.id.bytes().chain(tuple.relation.bytes()).chain(subject_of(tuple).bytes());
    let hash =
        bytes.fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    usize::try_from((hash ^ (hash >> 32)) & 0xff).unwrap_or(0)
}

fn subject_of(tuple: &TupleKey) -> &str {
    match &tuple.subject {
        Subject::Object(object) | Subject::Userset(object, _) => &object.id,
        Subject::Everyone(kind) => kind,
    }
}

impl LiveTuples {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The tuple's end, if it is here.
    #[must_use]
    pub fn get(&self, tuple: &TupleKey) -> Option<Option<u32>> {
        self.parts.get(part_of(tuple))?.get(tuple).copied()
    }

    /// Whether it is here.
    #[must_use]
    pub fn contains(&self, tuple: &TupleKey) -> bool {
        self.get(tuple).is_some()
    }

    /// All of them, in no useful order.
    pub fn iter(&self) -> impl Iterator<Item = (&TupleKey, Option<u32>)> {
        self.parts.iter().flat_map(|part| part.iter().map(|(tuple, expires)| (tuple, *expires)))
    }

    /// All of them, in no useful order, to keep.
    #[must_use]
    pub fn to_tuples(&self) -> Vec<Tuple> {
        self.iter().map(|(key, expires)| Tuple { key: key.clone(), expires }).collect()
    }

    pub(super) fn insert(&mut self, Tuple { key: tuple, expires }: Tuple) {
        let Some(part) = self.parts.get_mut(part_of(&tuple)) else { return };
        if Arc::make_mut(part).insert(tuple, expires).is_none() {
            self.count += 1;
        }
    }

    pub(super) fn remove(&mut self, tuple: &TupleKey) -> bool {
        let Some(part) = self.parts.get_mut(part_of(tuple)) else { return false };
        if !part.contains_key(tuple) {
            return false;
        }
        Arc::make_mut(part).remove(tuple);
        self.count = self.count.saturating_sub(1);
        true
    }
}
