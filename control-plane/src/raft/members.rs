//! Who takes part in consensus.

use std::collections::{BTreeMap, BTreeSet};

use remit_common::id::{LogIndex, VoterId};

use super::types::{Addresses, LogId, StoredMembership};

/// Who takes part, as of one entry of the log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Members {
    /// The entry that says so; `None` before there is one.
    pub at: Option<LogIndex>,
    /// Who votes: one set, or two while a change is under way, of each of which a majority must agree.
    pub configs: Vec<BTreeSet<VoterId>>,
    /// Everybody, learners included, with the addresses of those who joined later than the first.
    pub all: BTreeMap<VoterId, Addresses>,
}

impl Members {
    pub(super) fn of(stored: &StoredMembership) -> Self {
        let membership = stored.membership();
        let config = |config: &BTreeSet<u64>| config.iter().copied().map(VoterId).collect();
        Self {
            at: stored.log_id().map(|id: LogId| LogIndex(id.index)),
            configs: membership.get_joint_config().iter().map(config).collect(),
            all: membership.nodes().map(|(id, addresses)| (VoterId(*id), *addresses)).collect(),
        }
    }

    /// Everybody who votes.
    #[must_use]
    pub fn voters(&self) -> BTreeSet<VoterId> {
        self.configs.iter().flatten().copied().collect()
    }

    /// Whether a change of who votes is half way.
    #[must_use]
    pub fn is_joint(&self) -> bool {
        self.configs.len() > 1
    }

    /// Who votes once a change that is half way is through.
    #[must_use]
    pub fn target(&self) -> BTreeSet<VoterId> {
        self.configs.last().cloned().unwrap_or_default()
    }

    /// Whether these are a majority of everything that needs one.
    #[must_use]
    pub fn is_majority(&self, of: &BTreeSet<VoterId>) -> bool {
        self.configs.iter().all(|config| config.intersection(of).count() * 2 > config.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_way_through_a_change_both_sides_need_a_majority() {
        let set = |ids: &[u64]| -> BTreeSet<VoterId> { ids.iter().copied().map(VoterId).collect() };
        let members = Members { configs: vec![set(&[1, 2, 3]), set(&[3, 4, 5])], ..Members::default() };
        for (of, expected) in [
            (&[1, 2, 3][..], false),
            (&[3, 4, 5], false),
            (&[1, 2, 4, 5], true),
            (&[2, 3, 4], true),
            (&[1, 2, 3, 4, 5], true),
        ] {
            assert_eq!(members.is_majority(&set(of)), expected, "{of:?}");
        }
        assert!(members.is_joint() && members.voters() == set(&[1, 2, 3, 4, 5]) && members.target() == set(&[3, 4, 5]));
    }
}
