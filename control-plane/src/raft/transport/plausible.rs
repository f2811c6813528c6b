//! What no voter that keeps to the protocol sends, and what must not be taken from one that does not (C-29).
//!
//! Raft believes a higher term at once and for good: a vote with the highest number there is would end every voter, at
//! each start anew, when the next election counts on from it. And its core takes for granted that entries follow each
//! other and that log ids grow with their index.

use openraft::raft::{AppendEntriesRequest, VoteRequest};

use crate::raft::types::{LogId, SnapshotMeta, Types, Vote};

/// Elections that the one who asks may be ahead of us. A voter would have to miss one a second for half a year, and a
/// liar who takes this step again and again needs more of them than a disk writes in a lifetime.
const TERMS_AHEAD_MAX: u64 = 1 << 24;
/// Entries that a snapshot may be ahead of our log: for a newcomer, all that there ever were.
const ENTRIES_AHEAD_MAX: u64 = 1 << 40;

/// Why a call is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Implausible {
    #[error("term {term} is too far ahead of {own}")]
    Term { term: u64, own: u64 },
    #[error("index {index} is too far ahead of {own}")]
    Index { index: u64, own: u64 },
    #[error("only who has been elected sends entries and snapshots, and nobody else asks for votes")]
    Elected,
    #[error("an entry is newer than the term of who sends it")]
    AboveItsTerm,
    #[error("the entries do not follow each other")]
    Gap,
    #[error("two log ids contradict each other")]
    Contradiction,
}

/// A vote in a call or in an answer, for who is at term `own`.
pub(super) fn vote(vote: &Vote, own: u64) -> Result<(), Implausible> {
    let term = vote.leader_id.term;
    if term > own.saturating_add(TERMS_AHEAD_MAX) { Err(Implausible::Term { term, own }) } else { Ok(()) }
}

pub(super) fn ask_for_vote(request: &VoteRequest<u64>, own: u64) -> Result<(), Implausible> {
    if request.vote.committed {
        return Err(Implausible::Elected);
    }
    vote(&request.vote, own)?;
    not_above(request.last_log_id.as_ref(), &request.vote)
}

pub(super) fn append(request: &AppendEntriesRequest<Types>, own: u64) -> Result<(), Implausible> {
    let AppendEntriesRequest { vote: by, prev_log_id, entries, leader_commit } = request;
    if !by.committed {
        return Err(Implausible::Elected);
    }
    vote(by, own)?;
    let mut last = *prev_log_id;
    for entry in entries {
        let expected = last.map_or(Some(0), |last| last.index.checked_add(1));
        if expected != Some(entry.log_id.index) || last.is_some_and(|last| last.leader_id > entry.log_id.leader_id) {
            return Err(Implausible::Gap);
        }
        last = Some(entry.log_id);
    }
    not_above(last.as_ref(), by)?;
    not_above(leader_commit.as_ref(), by)?;
    in_one_log(leader_commit.as_ref(), last.as_ref())
}

/// `last` is the index of our own last entry.
pub(super) fn snapshot(by: &Vote, meta: &SnapshotMeta, own: u64, last: u64) -> Result<(), Implausible> {
    if !by.committed {
        return Err(Implausible::Elected);
    }
    vote(by, own)?;
    let (upto, members_at) = (meta.last_log_id, *meta.last_membership.log_id());
    not_above(upto.as_ref(), by)?;
    let index = upto.map_or(0, |id| id.index);
    if index > last.saturating_add(ENTRIES_AHEAD_MAX) {
        return Err(Implausible::Index { index, own: last });
    }
    if members_at > upto {
        return Err(Implausible::Contradiction);
    }
    in_one_log(members_at.as_ref(), upto.as_ref())
}

fn not_above(id: Option<&LogId>, by: &Vote) -> Result<(), Implausible> {
    if id.is_some_and(|id| id.leader_id > by.leader_id) { Err(Implausible::AboveItsTerm) } else { Ok(()) }
}

/// In one log the later of two entries has the higher index, and the other way round.
fn in_one_log(one: Option<&LogId>, other: Option<&LogId>) -> Result<(), Implausible> {
    match (one, other) {
        (Some(one), Some(other)) if one.cmp(other) != one.index.cmp(&other.index) => Err(Implausible::Contradiction),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use openraft::CommittedLeaderId;

    use super::*;
    use crate::raft::types::{Entry, EntryPayload, StoredMembership};

    const TOO_FAR: u64 = 5 + TERMS_AHEAD_MAX + 1;

    fn id(term: u64, index: u64) -> LogId {
        LogId::new(CommittedLeaderId::new(term, 1), index)
    }

    fn request(prev: Option<LogId>, entries: &[LogId], commit: Option<LogId>) -> AppendEntriesRequest<Types> {
        let entries = entries.iter().map(|id| Entry { log_id: *id, payload: EntryPayload::Blank }).collect();
        AppendEntriesRequest { vote: Vote::new_committed(5, 1), prev_log_id: prev, entries, leader_commit: commit }
    }

    #[test]
    fn a_term_that_no_election_has_reached_is_not_believed() {
        for term in [TOO_FAR, u64::MAX] {
            let refused = Err(Implausible::Term { term, own: 5 });
            let append_of = AppendEntriesRequest { vote: Vote::new_committed(term, 1), ..request(None, &[], None) };
            assert_eq!(append(&append_of, 5), refused);
            assert_eq!(ask_for_vote(&VoteRequest::new(Vote::new(term, 1), None), 5), refused);
            assert_eq!(snapshot(&Vote::new_committed(term, 1), &SnapshotMeta::default(), 5, 0), refused);
            assert_eq!(vote(&Vote::new(term, 1), 5), refused, "in an answer");
        }
        assert_eq!(vote(&Vote::new(TOO_FAR - 1, 1), 5), Ok(()));
        assert_eq!(vote(&Vote::new(1, 1), u64::MAX), Ok(()), "an older one is for Raft to refuse");
        // Nor one that is smuggled in with an entry.
        assert_eq!(append(&request(None, &[id(6, 0)], None), 5), Err(Implausible::AboveItsTerm));
        assert_eq!(append(&request(Some(id(6, 0)), &[], None), 5), Err(Implausible::AboveItsTerm));
        let asked = VoteRequest::new(Vote::new(5, 1), Some(id(u64::MAX, 3)));
        assert_eq!(ask_for_vote(&asked, 5), Err(Implausible::AboveItsTerm));
    }

    #[test]
    fn entries_that_do_not_follow_each_other_are_not_taken() {
        for (prev, entries, expected) in [
            (None, &[id(0, 0), id(1, 1), id(5, 2)][..], Ok(())),
            (Some(id(4, 7)), &[id(4, 8)], Ok(())),
            (Some(id(4, 7)), &[], Ok(())),
            (None, &[id(1, 1)], Err(Implausible::Gap)),
            (Some(id(4, 7)), &[id(4, 9)], Err(Implausible::Gap)),
            (Some(id(4, 7)), &[id(4, 7)], Err(Implausible::Gap)),
            (Some(id(4, 7)), &[id(4, 8), id(4, 10)], Err(Implausible::Gap)),
            (Some(id(4, 7)), &[id(3, 8)], Err(Implausible::Gap)),
            (Some(id(4, u64::MAX)), &[id(4, 0)], Err(Implausible::Gap)),
        ] {
            assert_eq!(append(&request(prev, entries, None), 5), expected, "{prev:?} {entries:?}");
        }
    }

    /// Raft takes the lower of two log ids as committed, which must not be an index that no log has.
    #[test]
    fn a_commit_of_entries_that_nobody_has_is_not_taken() {
        let contradiction = Err(Implausible::Contradiction);
        for (commit, expected) in [
            (id(4, 7), Ok(())),
            (id(3, 2), Ok(())),
            (id(5, 90), Ok(())),
            (id(1, u64::MAX), contradiction),
            (id(3, 7), contradiction),
            (id(5, 6), contradiction),
        ] {
            assert_eq!(append(&request(Some(id(4, 7)), &[], Some(commit)), 5), expected, "{commit}");
        }
    }

    #[test]
    fn a_snapshot_that_is_ahead_of_every_log_is_not_taken() {
        let by = Vote::new_committed(5, 1);
        let meta = |upto, members_at| SnapshotMeta {
            last_log_id: Some(upto),
            last_membership: StoredMembership::new(Some(members_at), crate::raft::types::Membership::default()),
            snapshot_id: String::new(),
        };
        assert_eq!(snapshot(&by, &meta(id(5, 700), id(1, 1)), 0, 0), Ok(()));
        let index = u64::MAX;
        assert_eq!(snapshot(&by, &meta(id(5, index), id(1, 1)), 0, 9), Err(Implausible::Index { index, own: 9 }));
        assert_eq!(snapshot(&by, &meta(id(5, 7), id(5, 8)), 0, 0), Err(Implausible::Contradiction));
        assert_eq!(snapshot(&by, &meta(id(6, 7), id(1, 1)), 0, 0), Err(Implausible::AboveItsTerm));
        assert_eq!(snapshot(&Vote::new(5, 1), &meta(id(5, 7), id(1, 1)), 0, 0), Err(Implausible::Elected));
    }
}
