//! Audience: where an envelope holds. Ordered by inclusion; the meet is the intersection.

use super::SortedSet;
use crate::id::{EdgeId, Region};

/// The regions and edges at which a call may be decided. What is not mentioned is not restricted; an empty set is
/// nowhere.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Audience {
    /// The regions.
    pub regions: Option<SortedSet<Region>>,
    /// The edges.
    pub edges: Option<SortedSet<EdgeId>>,
}

impl Audience {
    /// Everywhere.
    pub const EVERYWHERE: Self = Self { regions: None, edges: None };

    /// Whether an edge in a region is one of those meant.
    #[must_use]
    pub fn admits(&self, region: &Region, edge: &EdgeId) -> bool {
        self.regions.as_ref().is_none_or(|regions| regions.contains(region))
            && self.edges.as_ref().is_none_or(|edges| edges.contains(edge))
    }

    /// Narrows this audience, in place, to what the other admits as well.
    pub fn meet(&mut self, other: Self) {
        meet(&mut self.regions, other.regions);
        meet(&mut self.edges, other.edges);
    }
}

fn meet<T: Ord>(mine: &mut Option<SortedSet<T>>, theirs: Option<SortedSet<T>>) {
    match (&mut *mine, theirs) {
        (Some(mine), Some(theirs)) => mine.retain(|item| theirs.contains(item)),
        (None, theirs) => *mine = theirs,
        (Some(_), None) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subsets<T: Ord + Clone>(of: &[T]) -> Vec<Option<SortedSet<T>>> {
        let sets = (0u32..1 << of.len()).map(|mask| {
            let chosen = of.iter().enumerate().filter(|(at, _)| mask >> at & 1 == 1);
            Some(chosen.map(|(_, item)| item.clone()).collect())
        });
        std::iter::once(None).chain(sets).collect()
    }

    /// What an audience says, read off.
    fn is_named(audience: &Audience, region: &Region, edge: &EdgeId) -> bool {
        let Audience { regions, edges } = audience;
        regions.as_ref().is_none_or(|regions| regions.iter().any(|one| one == region))
            && edges.as_ref().is_none_or(|edges| edges.iter().any(|one| one == edge))
    }

    /// Clause L-1 over every audience of two regions and three edges, at every edge of three regions, one of each
    /// named nowhere.
    #[test]
    fn the_meet_is_exact() {
        let regions: Vec<Region> = ["eu", "us", "ap"].iter().filter_map(|name| name.parse().ok()).collect();
        let edges: Vec<EdgeId> = ["e1", "e2", "e3", "e4"].iter().filter_map(|name| name.parse().ok()).collect();
        let all: Vec<Audience> = subsets(&regions[..2])
            .into_iter()
            .flat_map(|regions| {
                subsets(&edges[..3]).into_iter().map(move |edges| Audience { regions: regions.clone(), edges })
            })
            .collect();
        assert_eq!((regions.len(), edges.len(), all.len()), (3, 4, 45));
        let mut held = 0u32;
        for a in &all {
            assert!(regions.iter().all(|at| edges.iter().all(|edge| a.admits(at, edge) == is_named(a, at, edge))));
            for b in &all {
                let (mut meet, mut other_way) = (a.clone(), b.clone());
                meet.meet(b.clone());
                other_way.meet(a.clone());
                assert_eq!(meet, other_way);
                for region in &regions {
                    for edge in &edges {
                        let both = [a, b].into_iter().all(|audience| is_named(audience, region, edge));
                        assert_eq!(meet.admits(region, edge), both, "{a:?} ∧ {b:?} at {edge} in {region}");
                        held += u32::from(both);
                    }
                }
            }
        }
        assert!(held > 1_400, "{held} held");
        assert!(Audience::EVERYWHERE.admits(&regions[2], &edges[3]));
    }
}
