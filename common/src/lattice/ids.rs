//! Id sets: these resources, or all but these. Ordered by inclusion of what they admit.

use std::collections::BTreeSet;

use crate::id::ResourceId;

/// Which resources of one dimension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdSet {
    /// These and no others.
    In(BTreeSet<ResourceId>),
    /// All but these; all, when the set is empty.
    NotIn(BTreeSet<ResourceId>),
}

impl IdSet {
    /// Every resource.
    #[must_use]
    pub const fn any() -> Self {
        Self::NotIn(BTreeSet::new())
    }

    /// Whether no resource is admitted.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        matches!(self, Self::In(ids) if ids.is_empty())
    }

    /// Whether this resource is one of those meant.
    #[must_use]
    pub fn admits(&self, id: &ResourceId) -> bool {
        match self {
            Self::In(ids) => ids.contains(id),
            Self::NotIn(ids) => !ids.contains(id),
        }
    }

    /// What both admit.
    #[must_use]
    pub fn meet(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::In(a), Self::In(b)) => Self::In(a.intersection(b).cloned().collect()),
            (Self::In(these), Self::NotIn(those)) | (Self::NotIn(those), Self::In(these)) => {
                Self::In(these.difference(those).cloned().collect())
            }
            (Self::NotIn(a), Self::NotIn(b)) => Self::NotIn(a.union(b).cloned().collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Clause L-1 over every set that four ids can form, and a fifth id that no set names.
    #[test]
    fn the_meet_is_exact() {
        let ids: Vec<ResourceId> = ["a", "b", "c", "d", "e"].iter().filter_map(|id| ResourceId::new(id).ok()).collect();
        let all: Vec<IdSet> = (0u32..16)
            .map(|mask| ids.iter().take(4).enumerate().filter(move |(at, _)| mask >> at & 1 == 1))
            .map(|chosen| chosen.map(|(_, id)| id.clone()).collect::<BTreeSet<_>>())
            .flat_map(|set| [IdSet::In(set.clone()), IdSet::NotIn(set)])
            .collect();
        assert_eq!((ids.len(), all.len()), (5, 32));
        for a in &all {
            for b in &all {
                let meet = a.meet(b);
                assert_eq!(meet, b.meet(a));
                assert_eq!(meet.is_nothing(), ids.iter().all(|id| !(a.admits(id) && b.admits(id))));
                for id in &ids {
                    assert_eq!(meet.admits(id), a.admits(id) && b.admits(id), "{a:?} ∧ {b:?} on {id}");
                }
            }
        }
    }
}
