//! Merkle trees as RFC 6962 section 2.1 defines them, with SHA-256.
//!
//! Leaves and nodes are hashed with different first bytes, so that a node never passes for a leaf. Clause F-1.

use serde::{Deserialize, Serialize};

use crate::crypto::digest::Digest;

/// Siblings of the longest path: a tree of 2^64 leaves.
const PATH_MAX: usize = 64;

/// Where a leaf stands in a tree, and the siblings on the way to the root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InclusionPath {
    /// Zero-based.
    pub index: u64,
    /// Leaves of the tree.
    pub size: u64,
    /// From the leaf up.
    pub siblings: Vec<Digest>,
}

fn leaf_hash(leaf: &[u8]) -> Digest {
    Digest::of(&[&[0], leaf])
}

fn node_hash(left: &Digest, right: &Digest) -> Digest {
    Digest::of(&[&[1], &left.0, &right.0])
}

/// A tree, hashed once: every path of it is looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MerkleTree {
    /// The leaves' hashes, then the level above them, up to the root. A node without a sibling goes up as it is, which
    /// is the split of the RFC.
    levels: Vec<Vec<Digest>>,
}

impl MerkleTree {
    /// Hashes leaves and nodes.
    #[must_use]
    pub fn new<T: AsRef<[u8]>>(leaves: impl IntoIterator<Item = T>) -> Self {
        let mut levels = Vec::new();
        let mut level: Vec<Digest> = leaves.into_iter().map(|leaf| leaf_hash(leaf.as_ref())).collect();
        while level.len() > 1 {
            let above = level.chunks(2).filter_map(|pair| match pair {
                [left, right] => Some(node_hash(left, right)),
                [alone] => Some(*alone),
                _ => None,
            });
            let above = above.collect();
            levels.push(std::mem::replace(&mut level, above));
        }
        levels.push(level);
        Self { levels }
    }

    /// A tree of which only the root is known: it has no paths worth anything.
    #[must_use]
    pub fn of_root(root: Digest) -> Self {
        Self { levels: vec![vec![root]] }
    }

    /// The hash of the tree; of no leaves, the hash of nothing.
    #[must_use]
    pub fn root(&self) -> Digest {
        self.levels.last().and_then(|top| top.first()).copied().unwrap_or_else(|| Digest::of(&[]))
    }

    /// The path of a leaf; `None` beyond the end.
    #[must_use]
    pub fn path(&self, index: usize) -> Option<InclusionPath> {
        let size = self.levels.first().map_or(0, Vec::len);
        let mut at = index;
        let mut siblings = Vec::with_capacity(self.levels.len());
        for level in &self.levels {
            if level.len() > 1 {
                siblings.extend(level.get(at ^ 1));
            }
            at >>= 1;
        }
        let (index, size) = (u64::try_from(index).ok()?, u64::try_from(size).ok()?);
        (index < size).then_some(InclusionPath { index, size, siblings })
    }
}

impl InclusionPath {
    /// The root that this leaf and these siblings lead to (RFC 9162 section 2.1.3.2); `None` when the path has not
    /// the length that its index and size demand.
    #[must_use]
    pub fn root(&self, leaf: &[u8]) -> Option<Digest> {
        if self.index >= self.size || self.siblings.len() > PATH_MAX {
            return None;
        }
        let (mut at, mut last) = (self.index, self.size - 1);
        let mut hash = leaf_hash(leaf);
        for sibling in &self.siblings {
            if last == 0 {
                return None;
            }
            if at % 2 == 1 || at == last {
                hash = node_hash(sibling, &hash);
                while at % 2 == 0 && at != 0 {
                    (at, last) = (at >> 1, last >> 1);
                }
            } else {
                hash = node_hash(&hash, sibling);
            }
            (at, last) = (at >> 1, last >> 1);
        }
        (last == 0).then_some(hash)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The inputs of the reference implementation's tests (google/certificate-transparency, merkle tree tests).
    fn reference_leaves() -> Vec<Vec<u8>> {
        let hex = |text| crate::text::from_hex(text).unwrap();
        ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
            .into_iter()
            .map(hex)
            .collect()
    }

    #[test]
    fn agrees_with_the_reference_implementation() {
        // Clause F-1.
        let leaves = reference_leaves();
        for (count, expected) in [
            (0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
            (1, "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"),
            (2, "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"),
            (3, "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"),
            (8, "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"),
        ] {
            assert_eq!(MerkleTree::new(&leaves[..count]).root().to_string(), expected, "{count} leaves");
        }
    }

    #[test]
    fn every_leaf_has_a_path_and_no_other_leaf_or_place_has_it() {
        for size in 1..=17usize {
            let leaves: Vec<Vec<u8>> = (0..size).map(|n| vec![u8::try_from(n).unwrap()]).collect();
            let tree = MerkleTree::new(&leaves);
            let root = tree.root();
            for (index, leaf) in leaves.iter().enumerate() {
                let path = tree.path(index).unwrap();
                assert_eq!(path.root(leaf), Some(root), "{index} of {size}");
                assert_ne!(path.root(b"other"), Some(root));
                for moved in (0..size).filter(|moved| *moved != index) {
                    let moved = InclusionPath { index: u64::try_from(moved).unwrap(), ..path.clone() };
                    assert_ne!(moved.root(leaf), Some(root));
                }
                let mut longer = path.clone();
                longer.siblings.push(Digest([0; 32]));
                assert_eq!(longer.root(leaf), None);
                let mut shorter = path.clone();
                if shorter.siblings.pop().is_some() {
                    assert_eq!(shorter.root(leaf), None);
                }
            }
            assert_eq!(tree.path(size), None);
        }
    }

    #[test]
    fn a_node_does_not_pass_for_a_leaf() {
        let leaves = reference_leaves();
        let (left, right) = (MerkleTree::new(&leaves[..4]).root(), MerkleTree::new(&leaves[4..]).root());
        let node = [left.0.as_slice(), &right.0].concat();
        assert_ne!(MerkleTree::new([node]).root(), MerkleTree::new(&leaves).root());
    }

    proptest! {
        #[test]
        fn an_arbitrary_path_never_panics(index: u64, size: u64, siblings in proptest::collection::vec(any::<[u8; 32]>(), 0..70)) {
            let path = InclusionPath { index, size, siblings: siblings.into_iter().map(Digest).collect() };
            let _ = path.root(b"leaf");
        }
    }
}
