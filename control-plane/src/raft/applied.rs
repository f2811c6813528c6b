//! How far the log is applied, and a digest over all of it.
//!
//! Two voters that have applied the same number of entries have the same digest, or they have diverged, which must
//! never happen and cannot be seen from numbers. Every voter shows its digest, and that of round numbers behind it, so
//! that voters who are not equally far can be compared, too (C-10).

use std::collections::VecDeque;
use std::sync::Arc;

use remit_common::crypto::digest::Digest;
use remit_common::id::LogIndex;

use super::format::{PayloadV1, payload_bytes};
use super::types::Entry;

/// Every so many entries the digest is remembered.
const MARK_EVERY: u64 = 64;
/// Digests that are remembered: voters further apart than this cannot be compared until they have caught up.
const MARKS_MAX: usize = 64;

/// How far the log is applied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AppliedLog {
    /// The last entry applied.
    pub index: LogIndex,
    /// The digest of every entry up to and including [`Self::index`]; `None` on a voter whose snapshot was written by
    /// a version that kept none.
    pub digest: Option<Digest>,
    /// The same at round numbers behind [`Self::index`], oldest first.
    pub marks: Arc<VecDeque<(LogIndex, Digest)>>,
}

impl AppliedLog {
    /// Before the first entry.
    pub(super) fn nothing() -> Self {
        Self { index: LogIndex(0), digest: Some(Digest([0; 32])), marks: Arc::default() }
    }

    /// As a snapshot says.
    pub(super) fn of_snapshot(index: LogIndex, digest: Option<Digest>) -> Self {
        Self { index, digest, marks: Arc::default() }
    }

    /// Takes one more entry in.
    pub(super) fn extend(&mut self, entry: &Entry) {
        self.index = LogIndex(entry.log_id.index);
        self.digest = self.digest.map(|before| chain(before, entry));
        if let Some(digest) = self.digest.filter(|_| self.index.0.is_multiple_of(MARK_EVERY)) {
            let marks = Arc::make_mut(&mut self.marks);
            marks.push_back((self.index, digest));
            while marks.len() > MARKS_MAX {
                marks.pop_front();
            }
        }
    }
}

/// Clause C-10.
fn chain(before: Digest, entry: &Entry) -> Digest {
    let payload = PayloadV1::from(&entry.payload);
    let (kind, bytes) = payload_bytes(&payload);
    let (leader, index) = (entry.log_id.leader_id, entry.log_id.index);
    Digest::of(&[
        b"remit/applied/v1\0",
        &before.0,
        &index.to_be_bytes(),
        &leader.term.to_be_bytes(),
        &leader.node_id.to_be_bytes(),
        &[kind],
        &bytes,
    ])
}

#[cfg(test)]
mod tests {
    use openraft::CommittedLeaderId;

    use super::*;
    use crate::raft::types::{Addresses, EntryBytes, EntryPayload, LogId, Membership};

    fn entry(term: u64, index: u64, payload: EntryPayload) -> Entry {
        Entry { log_id: LogId::new(CommittedLeaderId::new(term, 1), index), payload }
    }

    fn command(bytes: &[u8]) -> EntryPayload {
        EntryPayload::Normal(EntryBytes(bytes.into()))
    }

    fn after(entries: Vec<Entry>) -> AppliedLog {
        let mut applied = AppliedLog::nothing();
        entries.iter().for_each(|entry| applied.extend(entry));
        applied
    }

    /// C-10, byte for byte: a voter of another version must come to the same digest.
    #[test]
    fn the_digest_keeps_its_bytes() {
        let members = Membership::new(vec![[1, 2, 3].into()], ());
        let joined = Addresses { raft: Some("10.0.0.4:7301".parse().unwrap()), dist: None };
        let more = Membership::new(vec![[1, 2, 3].into()], std::collections::BTreeMap::from([(4, joined)]));
        let applied = after(vec![
            entry(0, 0, EntryPayload::Membership(members)),
            entry(1, 1, EntryPayload::Blank),
            entry(1, 2, command(b"remit")),
            entry(1, 3, EntryPayload::Membership(more)),
        ]);
        assert_eq!(applied.index, LogIndex(3));
        let expected = "0ba2432477cf195a5bd810473bfe329ff96debdf20c0b07a1c44fbc3a15ee26a";
        assert_eq!(applied.digest.unwrap().to_string(), expected);
    }

    #[test]
    fn whatever_differs_shows_for_ever() {
        let base = || vec![entry(1, 1, command(b"a")), entry(1, 2, command(b"b")), entry(1, 3, EntryPayload::Blank)];
        let differs = |change: &dyn Fn(&mut Vec<Entry>)| {
            let mut entries = base();
            change(&mut entries);
            assert_ne!(after(entries).digest, after(base()).digest);
        };
        differs(&|entries| entries[0].payload = command(b"x"));
        differs(&|entries| entries[0].payload = EntryPayload::Blank);
        differs(&|entries| entries[1] = entry(2, 2, command(b"b")));
        differs(&|entries| entries[1] = entry(1, 20, command(b"b")));
        differs(&|entries| drop(entries.remove(0)));
        differs(&|entries| entries.swap(0, 1));
    }

    #[test]
    fn round_numbers_are_remembered_and_bounded() {
        let upto = MARK_EVERY * (u64::try_from(MARKS_MAX).unwrap() + 3) + 1;
        let applied = after((1..=upto).map(|index| entry(1, index, EntryPayload::Blank)).collect());
        assert_eq!(applied.marks.len(), MARKS_MAX);
        assert_eq!(applied.marks.back().unwrap().0, LogIndex(upto - 1));
        assert!(applied.marks.iter().all(|(index, _)| index.0.is_multiple_of(MARK_EVERY)));
        let earlier = after((1..upto).map(|index| entry(1, index, EntryPayload::Blank)).collect());
        assert_eq!(applied.marks.back().unwrap().1, earlier.digest.unwrap());
    }
}
