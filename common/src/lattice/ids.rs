//! Id sets: these resources, or all but these. Ordered by inclusion of what they admit.

use super::SortedSet;
use crate::id::ResourceId;

/// Which resources of one dimension.
///
/// "All but these" is exact over *spellings*, and an authority is about *resources*. `contract_1` left out of it says
/// nothing of `CONTRACT_1` or `contract%5F1`, which the tool may take for the same contract, so it would hold only
/// where a tool promises one spelling per resource. Such a promise cannot be a condition beside the set: whether a
/// call satisfied it would have to survive the meet with "these", which forgets where its ids came from, and the meet
/// would no longer be exact (clause L-1). So links may carry no other [`IdSet::NotIn`] than [`IdSet::any`], which
/// leaves nothing out and needs no promise (clause E-9).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdSet {
    /// These and no others.
    In(SortedSet<ResourceId>),
    /// All but these; all, when the set is empty.
    NotIn(SortedSet<ResourceId>),
}

impl IdSet {
    /// Every resource.
    #[must_use]
    pub const fn any() -> Self {
        Self::NotIn(SortedSet::new())
    }

    /// Whether no resource is admitted.
    #[must_use]
    pub const fn is_nothing(&self) -> bool {
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

    /// Narrows this set, in place, to what the other admits as well.
    pub fn meet(&mut self, other: Self) {
        match (&mut *self, other) {
            (Self::In(mine), Self::In(theirs)) => mine.retain(|id| theirs.contains(id)),
            (Self::In(mine), Self::NotIn(theirs)) => mine.retain(|id| !theirs.contains(id)),
            (Self::NotIn(mine), Self::In(mut theirs)) => {
                theirs.retain(|id| !mine.contains(id));
                *self = Self::In(theirs);
            }
            (Self::NotIn(mine), Self::NotIn(theirs)) => mine.join(theirs),
        }
    }

    /// Room for what [`Self::meet`] may move over.
    pub(super) fn make_room(&mut self, other: &Self) {
        if let (Self::NotIn(mine), Self::NotIn(theirs)) = (self, other) {
            mine.reserve(theirs.len());
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
            .map(|chosen| chosen.map(|(_, id)| id.clone()).collect::<SortedSet<_>>())
            .flat_map(|set| [IdSet::In(set.clone()), IdSet::NotIn(set)])
            .collect();
        assert_eq!((ids.len(), all.len()), (5, 32));
        for a in &all {
            for b in &all {
                let (mut meet, mut other_way) = (a.clone(), b.clone());
                meet.meet(b.clone());
                other_way.meet(a.clone());
                assert_eq!(meet, other_way);
                assert_eq!(meet.is_nothing(), ids.iter().all(|id| !(a.admits(id) && b.admits(id))));
                for id in &ids {
                    assert_eq!(meet.admits(id), a.admits(id) && b.admits(id), "{a:?} ∧ {b:?} on {id}");
                }
            }
        }
    }
}
