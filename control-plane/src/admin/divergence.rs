//! Whether the voters have applied the same.

use std::collections::{BTreeMap, BTreeSet};

use remit_common::crypto::digest::Digest;
use remit_common::id::{LogIndex, VoterId};

use super::model::Divergence;
use crate::cluster::PeerHealth;

/// The first entry after which two voters' digests differ, of those at which they can be compared (C-10).
pub(super) fn divergence(health: &BTreeMap<VoterId, PeerHealth>) -> Option<Divergence> {
    let mut by_index: BTreeMap<LogIndex, BTreeMap<VoterId, Digest>> = BTreeMap::new();
    for (voter, health) in health {
        for (index, digest) in health.digests() {
            by_index.entry(index).or_default().insert(*voter, digest);
        }
    }
    let differ = |digests: &BTreeMap<VoterId, Digest>| digests.values().collect::<BTreeSet<_>>().len() > 1;
    let (index, digests) = by_index.into_iter().find(|(_, digests)| differ(digests))?;
    Some(Divergence { index, digests })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health(applied: u64, digest: u8, marks: &[(u64, u8)]) -> PeerHealth {
        PeerHealth {
            role: "follower".to_owned(),
            term: 1,
            last: LogIndex(applied),
            applied: LogIndex(applied),
            digest: Some(Digest([digest; 32])),
            marks: marks.iter().map(|(index, digest)| (LogIndex(*index), Digest([*digest; 32]))).collect(),
        }
    }

    fn of(voters: [PeerHealth; 3]) -> Option<u64> {
        let health = (1..).map(VoterId).zip(voters).collect();
        divergence(&health).map(|divergence| divergence.index.0)
    }

    #[test]
    fn voters_are_compared_where_they_have_applied_equally_much() {
        assert_eq!(of([health(70, 1, &[(64, 9)]), health(71, 2, &[(64, 9)]), health(64, 9, &[])]), None);
        assert_eq!(of([health(70, 1, &[]), health(70, 1, &[]), health(70, 2, &[])]), Some(70));
        assert_eq!(of([health(70, 1, &[(64, 9)]), health(99, 2, &[(64, 9)]), health(64, 8, &[])]), Some(64));
        // The first place says most about the cause.
        let ahead = || health(130, 5, &[(64, 7), (128, 6)]);
        assert_eq!(of([ahead(), health(130, 4, &[(64, 8), (128, 3)]), ahead()]), Some(64));
    }
}
