//! The tick: proof that a voter's word is younger than an edge's nonce.
//!
//! Each voter hashes the nonces it received into one root, the leader puts the voters' roots into the log once a
//! second, and a voter that has *applied* the entry shows an edge the path from its nonce to the entry. Since the
//! nonce lies inside the log, everything committed before it was sent has been applied by whoever can show the path.
//! Clauses F-2 to F-5, docs/PROTOCOL.md.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::merkle::{InclusionPath, MerkleTree};
use crate::crypto::digest::Digest;
use crate::id::{EdgeId, LogIndex, RevocationEpoch, VoterId};
use crate::limits::VOTERS_MAX;

/// Random bytes that an edge sends every two seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Nonce(pub [u8; 32]);

/// What a tick entry carries: the root of each voter that sent one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TickRoots {
    /// Sorted by voter, each once.
    pub roots: Vec<(VoterId, Digest)>,
}

/// The tick entry breaks a rule, or a nonce is not in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TickRefused {
    /// Unsorted, repeated or too many voters.
    #[error("the voters' roots are not sorted, distinct and few")]
    Roots,
    /// The path does not lead from this nonce to the tick's root.
    #[error("the nonce is not in the tick")]
    NotIncluded,
}

/// From one nonce to the tick's root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TickPath {
    /// From the nonce to the root of the voter that received it.
    pub nonce: InclusionPath,
    /// From that root to the tick's.
    pub voter: InclusionPath,
}

/// What a voter that has applied a tick tells an edge, all as of that entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TickAnswer {
    /// The tick's log index.
    pub n: LogIndex,
    /// The nonce that is answered.
    pub nonce: Nonce,
    /// The root of the voters' roots.
    pub nonce_root: Digest,
    /// How the nonce is in it.
    pub path: TickPath,
    /// The revocation epoch.
    pub epoch: RevocationEpoch,
    /// The digest of the revocations.
    pub revocations: Digest,
    /// The digest of the activations.
    pub activations: Digest,
    /// The directory's version.
    pub directory: u64,
    /// The root's version.
    pub root: u64,
}

/// The nonces that a voter received since the last tick, newest per edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NonceTree {
    // INVARIANT: sorted by edge, each once, and the tree is over them.
    leaves: Vec<(EdgeId, Nonce)>,
    tree: MerkleTree,
}

/// The id has no fixed length, but what follows it does, so that no two pairs share a leaf.
fn nonce_leaf(edge: &EdgeId, nonce: &Nonce) -> Vec<u8> {
    [edge.as_str().as_bytes(), &nonce.0].concat()
}

fn voter_leaf(voter: VoterId, root: &Digest) -> Vec<u8> {
    [voter.0.to_be_bytes().as_slice(), &root.0].concat()
}

impl NonceTree {
    /// A tree over the last nonce given for each edge.
    #[must_use]
    pub fn new(nonces: impl IntoIterator<Item = (EdgeId, Nonce)>) -> Self {
        let newest: BTreeMap<EdgeId, Nonce> = nonces.into_iter().collect();
        let leaves: Vec<_> = newest.into_iter().collect();
        let tree = MerkleTree::new(leaves.iter().map(|(edge, nonce)| nonce_leaf(edge, nonce)));
        Self { leaves, tree }
    }

    /// Whether no edge sent anything: such a tree is not sent to the leader.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.leaves.is_empty()
    }

    /// Its root.
    #[must_use]
    pub fn root(&self) -> Digest {
        self.tree.root()
    }

    /// The edges in it and their nonces.
    pub fn iter(&self) -> impl Iterator<Item = (&EdgeId, &Nonce)> {
        self.leaves.iter().map(|(edge, nonce)| (edge, nonce))
    }

    /// The nonce of an edge.
    #[must_use]
    pub fn nonce(&self, edge: &EdgeId) -> Option<Nonce> {
        self.place(edge).and_then(|place| self.leaves.get(place)).map(|(_, nonce)| *nonce)
    }

    /// How the nonce of an edge is in a tick that carries this tree's root for `voter`; nothing if the tick does not.
    #[must_use]
    pub fn path(&self, edge: &EdgeId, voter: VoterId, tick: &TickRoots) -> Option<TickPath> {
        let listed = (voter, self.tree.root());
        let at = tick.roots.iter().position(|root| *root == listed)?;
        Some(TickPath { nonce: self.tree.path(self.place(edge)?)?, voter: tick.tree().path(at)? })
    }

    fn place(&self, edge: &EdgeId) -> Option<usize> {
        self.leaves.binary_search_by(|(id, _)| id.cmp(edge)).ok()
    }
}

impl TickRoots {
    /// Sorted, distinct, and at most [`VOTERS_MAX`].
    ///
    /// # Errors
    /// [`TickRefused::Roots`].
    pub fn check(&self) -> Result<(), TickRefused> {
        let rising = self.roots.iter().zip(self.roots.iter().skip(1)).all(|((a, _), (b, _))| a < b);
        if self.roots.len() > VOTERS_MAX || !rising { Err(TickRefused::Roots) } else { Ok(()) }
    }

    fn tree(&self) -> MerkleTree {
        MerkleTree::new(self.roots.iter().map(|(voter, root)| voter_leaf(*voter, root)))
    }

    /// The root over the voters' roots.
    #[must_use]
    pub fn nonce_root(&self) -> Digest {
        self.tree().root()
    }
}

impl TickAnswer {
    /// Whether the tick contains the answered nonce of `edge`, as `voter` received it.
    ///
    /// # Errors
    /// [`TickRefused::NotIncluded`].
    pub fn verify_includes(&self, edge: &EdgeId, voter: VoterId) -> Result<(), TickRefused> {
        let received = self.path.nonce.root(&nonce_leaf(edge, &self.nonce)).ok_or(TickRefused::NotIncluded)?;
        let root = self.path.voter.root(&voter_leaf(voter, &received)).ok_or(TickRefused::NotIncluded)?;
        if root == self.nonce_root { Ok(()) } else { Err(TickRefused::NotIncluded) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(name: &str) -> EdgeId {
        name.parse().unwrap()
    }

    fn tree(salt: u8, edges: &[&str]) -> NonceTree {
        NonceTree::new(edges.iter().map(|name| (edge(name), Nonce([salt; 32]))))
    }

    fn tick() -> (NonceTree, NonceTree, TickRoots) {
        let (one, two) = (tree(1, &["a", "b", "c"]), tree(2, &["d"]));
        let roots = vec![(VoterId(1), one.root()), (VoterId(2), two.root())];
        (one, two, TickRoots { roots })
    }

    fn answer(tree: &NonceTree, name: &str, voter: u64, tick: &TickRoots) -> TickAnswer {
        let nonce = tree.nonce(&edge(name)).unwrap();
        TickAnswer {
            n: LogIndex(5),
            nonce,
            nonce_root: tick.nonce_root(),
            path: tree.path(&edge(name), VoterId(voter), tick).unwrap(),
            epoch: RevocationEpoch(0),
            revocations: Digest::default(),
            activations: Digest::default(),
            directory: 1,
            root: 1,
        }
    }

    #[test]
    fn a_nonce_in_the_tick_is_shown_to_its_edge_by_its_voter_only() {
        // Clause F-5.
        let (one, two, tick) = tick();
        for (tree, names, voter) in [(&one, vec!["a", "b", "c"], 1), (&two, vec!["d"], 2)] {
            for name in names {
                let answer = answer(tree, name, voter, &tick);
                assert_eq!(answer.verify_includes(&edge(name), VoterId(voter)), Ok(()));
                assert_eq!(answer.verify_includes(&edge("x"), VoterId(voter)), Err(TickRefused::NotIncluded));
                assert_eq!(answer.verify_includes(&edge(name), VoterId(3)), Err(TickRefused::NotIncluded));
                let other = TickAnswer { nonce: Nonce([9; 32]), ..answer };
                assert_eq!(other.verify_includes(&edge(name), VoterId(voter)), Err(TickRefused::NotIncluded));
            }
        }
    }

    #[test]
    fn a_tick_without_this_trees_root_has_no_path() {
        let (one, _, mut tick) = tick();
        tick.roots.remove(0);
        assert_eq!(one.path(&edge("a"), VoterId(1), &tick), None);
    }

    #[test]
    fn an_edge_counts_with_its_last_nonce() {
        let nonces = [(edge("a"), Nonce([1; 32])), (edge("b"), Nonce([2; 32])), (edge("a"), Nonce([3; 32]))];
        let tree = NonceTree::new(nonces);
        let found: Vec<_> = tree.iter().map(|(id, nonce)| (id.as_str().to_owned(), nonce.0[0])).collect();
        assert_eq!(found, [("a".to_owned(), 3), ("b".to_owned(), 2)]);
    }

    #[test]
    fn the_leaves_are_golden() {
        // Clauses F-2 and F-3: one leaf each, so that the roots are the leaf hashes.
        let tree = tree(0xaa, &["eu-west-1"]);
        assert_eq!(tree.root(), Digest::of(&[&[0], b"eu-west-1", &[0xaa; 32]]));
        assert_eq!(tree.root().to_string(), "0763906ddb78c4c0e579a2108ca892a0af000bb05a9b2947785071fd8c762f41");
        let tick = TickRoots { roots: vec![(VoterId(3), tree.root())] };
        assert_eq!(tick.nonce_root(), Digest::of(&[&[0], &[0, 0, 0, 0, 0, 0, 0, 3], &tree.root().0]));
        assert_eq!(tick.nonce_root().to_string(), "3ed2430849d591337e0dbb61e4bdadc49935d5ff562974a50298d21befa38832");
    }

    #[test]
    fn roots_are_sorted_distinct_and_few() {
        // Clause F-4.
        let check = |voters: &[u64], expected| {
            let roots = voters.iter().map(|voter| (VoterId(*voter), Digest::default())).collect();
            assert_eq!(TickRoots { roots }.check(), expected);
        };
        check(&[], Ok(()));
        check(&[1, 2, 5], Ok(()));
        check(&[2, 1], Err(TickRefused::Roots));
        check(&[1, 1], Err(TickRefused::Roots));
        check(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10], Err(TickRefused::Roots));
    }
}
