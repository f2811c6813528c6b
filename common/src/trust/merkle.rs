//! Merkle trees as RFC 6962 section 2.1 defines them, with SHA-256.

use serde::{Deserialize, Serialize};

use crate::crypto::digest::Digest;

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

/// The hash of a tree over these leaves.
#[must_use]
pub fn root_of(leaves: &[Vec<u8>]) -> Digest {
    todo!("{leaves:?}")
}

/// The path of a leaf; `None` beyond the end.
#[must_use]
pub fn path_of(leaves: &[Vec<u8>], index: usize) -> Option<InclusionPath> {
    todo!("{leaves:?} {index}")
}

impl InclusionPath {
    /// The root that this leaf and these siblings lead to; `None` when the path has not the length that its index
    /// and size demand.
    #[must_use]
    pub fn root(&self, leaf: &[u8]) -> Option<Digest> {
        todo!("{leaf:?}")
    }
}
