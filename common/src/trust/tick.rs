//! The tick: proof that a voter's word is younger than an edge's nonce.

use serde::{Deserialize, Serialize};

use crate::crypto::digest::Digest;
use crate::id::{EdgeId, LogIndex, RevocationEpoch, VoterId};

use super::merkle::InclusionPath;

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
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NonceTree {
    leaves: Vec<(EdgeId, Nonce)>,
}

impl NonceTree {
    /// A tree over the newest nonce of each edge.
    #[must_use]
    pub fn new(nonces: impl IntoIterator<Item = (EdgeId, Nonce)>) -> Self {
        todo!("{}", nonces.into_iter().count())
    }

    /// Its root.
    #[must_use]
    pub fn root(&self) -> Digest {
        todo!()
    }

    /// The edges in it and their nonces.
    pub fn iter(&self) -> impl Iterator<Item = (&EdgeId, &Nonce)> {
        self.leaves.iter().map(|(edge, nonce)| (edge, nonce))
    }

    /// How an edge's nonce is in a tick that carries this tree's root for `voter`.
    #[must_use]
    pub fn path(&self, edge: &EdgeId, voter: VoterId, tick: &TickRoots) -> Option<TickPath> {
        todo!("{edge} {voter} {tick:?}")
    }
}

impl TickRoots {
    /// Sorted, distinct, few.
    ///
    /// # Errors
    /// [`TickRefused::Roots`].
    pub fn check(&self) -> Result<(), TickRefused> {
        todo!()
    }

    /// The root over the voters' roots.
    #[must_use]
    pub fn nonce_root(&self) -> Digest {
        todo!()
    }
}

impl TickAnswer {
    /// Whether the tick contains the nonce of `edge`, as `voter` received it.
    ///
    /// # Errors
    /// [`TickRefused::NotIncluded`].
    pub fn verify_includes(&self, edge: &EdgeId, voter: VoterId) -> Result<(), TickRefused> {
        todo!("{edge} {voter}")
    }
}
