//! Which edges an activation is for while a bundle is rolled out.
//!
//! An edge finds out by itself whether it is meant, from its own id and region: so every voter names the same set to
//! every edge, one digest covers it, and nobody has to be asked again when edges come and go. Clauses O-1 and O-2.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::crypto::digest::{Digest, Hasher};
use crate::id::{EdgeId, Region};

/// The whole mesh.
pub const PER_MILLE_ALL: u16 = 1_000;
/// Edges and regions that a scope names.
pub const SCOPE_NAMES_MAX: usize = 1_024;

/// First bytes under the digest that puts an edge in its place.
const PLACE_LABEL: &[u8] = b"remit/rollout-place/v1\0";

/// Edges by name, by region, and by a share of all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scope {
    /// Puts edges in another order for each rollout, so that it is not always the same ones that come first.
    pub salt: u64,
    /// These, wherever they are.
    pub edges: BTreeSet<EdgeId>,
    /// Everything in these.
    pub regions: BTreeSet<Region>,
    /// So many of a thousand of all edges; [`PER_MILLE_ALL`] is every one.
    pub per_mille: u16,
}

impl Scope {
    /// Whether it is for this edge.
    #[must_use]
    pub fn covers(&self, edge: &EdgeId, region: &Region) -> bool {
        self.edges.contains(edge) || self.regions.contains(region) || self.place_of(edge) < self.per_mille
    }

    /// Whether it is for every edge.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.per_mille >= PER_MILLE_ALL
    }

    /// Everything that is in one of the two, which are of one rollout.
    #[must_use]
    pub fn and(mut self, more: &Self) -> Self {
        self.edges.extend(more.edges.iter().cloned());
        self.regions.extend(more.regions.iter().cloned());
        self.per_mille = self.per_mille.max(more.per_mille);
        self
    }

    /// Where in the order an edge stands: below 1 000, the same everywhere.
    fn place_of(&self, edge: &EdgeId) -> u16 {
        let Digest(hashed) = Digest::of(&[PLACE_LABEL, &self.salt.to_be_bytes(), edge.as_str().as_bytes()]);
        let [a, b, c, d, ..] = hashed;
        let place = u32::from_be_bytes([a, b, c, d]) % u32::from(PER_MILLE_ALL);
        u16::try_from(place).unwrap_or(PER_MILLE_ALL)
    }

    /// Clause O-2: each field with its length.
    pub(super) fn hash_into(&self, hasher: &mut Hasher) {
        let Self { salt, edges, regions, per_mille } = self;
        hasher.update(&salt.to_be_bytes());
        hasher.update(&per_mille.to_be_bytes());
        names_into(hasher, edges.iter().map(EdgeId::as_str));
        names_into(hasher, regions.iter().map(Region::as_str));
    }
}

fn names_into<'n>(hasher: &mut Hasher, names: impl ExactSizeIterator<Item = &'n str>) {
    hasher.update(&u64::try_from(names.len()).unwrap_or(u64::MAX).to_be_bytes());
    for name in names {
        hasher.update(&u64::try_from(name.len()).unwrap_or(u64::MAX).to_be_bytes());
        hasher.update(name.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(n: u32) -> EdgeId {
        EdgeId::new(&format!("e{n}")).unwrap()
    }

    fn region() -> Region {
        Region::new("eu-west").unwrap()
    }

    fn share(salt: u64, per_mille: u16) -> Scope {
        Scope { salt, per_mille, ..Scope::default() }
    }

    /// Clause O-1.
    #[test]
    fn names_regions_and_shares_cover_whom_they_say() {
        let named = Scope { edges: BTreeSet::from([edge(7)]), ..Scope::default() };
        assert!(named.covers(&edge(7), &region()) && !named.covers(&edge(8), &region()));
        let regional = Scope { regions: BTreeSet::from([region()]), ..Scope::default() };
        assert!(regional.covers(&edge(8), &region()));
        assert!(!regional.covers(&edge(8), &Region::new("us-east").unwrap()));
        assert!(!Scope::default().covers(&edge(1), &region()), "nothing is nobody");
        let both = named.and(&regional);
        assert!(both.covers(&edge(7), &Region::new("us-east").unwrap()) && both.covers(&edge(8), &region()));
        let covered = |scope: &Scope| (0..10_000).filter(|n| scope.covers(&edge(*n), &region())).count();
        assert_eq!((covered(&share(3, 0)), covered(&share(3, PER_MILLE_ALL))), (0, 10_000));
        let quarter = covered(&share(3, 250));
        assert!((2_300..2_700).contains(&quarter), "{quarter} of 10 000");
    }

    #[test]
    fn a_larger_share_has_everybody_of_a_smaller_one_and_rollouts_begin_elsewhere() {
        let (few, many) = (share(3, 100), share(3, 300));
        assert!((0..5_000).all(|n| !few.covers(&edge(n), &region()) || many.covers(&edge(n), &region())));
        let other = share(4, 100);
        assert!((0..5_000).any(|n| few.covers(&edge(n), &region()) && !other.covers(&edge(n), &region())));
    }

    /// Clause O-1: voters and edges of all versions put an edge in the same place.
    #[test]
    fn the_place_of_an_edge_is_golden() {
        let places = [1, 2, 3, 4].map(|n| share(9, 0).place_of(&edge(n)));
        assert_eq!(places, GOLDEN_PLACES);
    }

    const GOLDEN_PLACES: [u16; 4] = [853, 496, 83, 844];
}
