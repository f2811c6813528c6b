//! The beacon: what a majority of voters has signed that they applied at a tick.
//!
//! A tick answer alone is one voter's word. Each voter signs what it has itself applied at the tick's entry, with a key
//! that the directory lists, and passes the signature on to the others; under a majority of such signatures the answer
//! does not hang on any single voter. Since every voter signs the same bytes, all signatures of a tick stand under one
//! [`Statement`]. Clauses F-20 to F-25, docs/PROTOCOL.md.

use std::collections::{BTreeMap, BTreeSet};

use minicbor::Encoder;
use serde::{Deserialize, Serialize};

use super::directory::Directory;
use super::tick::TickAnswer;
use crate::crypto::digest::Digest;
use crate::crypto::sign::{PublicKey, Signature, SignatureInvalid, SigningKey};
use crate::id::{LogIndex, MeshId, RevocationEpoch, VoterId};
use crate::limits::VOTERS_MAX;
use crate::planted::{Bug, planted};

const PURPOSE: &str = "remit/beacon/v1";

/// What a voter says that it has applied, all as of one tick's entry (F-20).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// The tick's log index.
    pub n: LogIndex,
    /// The root over the voters' roots of nonces.
    pub nonce_root: Digest,
    /// The revocation epoch.
    pub epoch: RevocationEpoch,
    /// The digest of the revocations.
    pub revocations: Digest,
    /// The digest of the activations.
    pub activations: Digest,
    /// The root over the tenants' newest batches of relations (F-22).
    pub relations: Digest,
    /// The directory's version.
    pub directory: u64,
    /// The root's version.
    pub root: u64,
}

/// Signatures under one statement, one per voter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedStatement {
    /// What they have signed.
    pub statement: Statement,
    /// Sorted by voter.
    pub signatures: BTreeMap<VoterId, Signature>,
}

/// Too few voters have signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BeaconRefused {
    /// The answer came without any.
    #[error("the answer to the tick comes without signatures of voters")]
    Missing,
    /// More entries than there may be voters.
    #[error("the beacon has {count} signatures, more than {VOTERS_MAX}")]
    TooMany {
        /// How many.
        count: usize,
    },
    /// A tenant's relations are not what was signed.
    #[error("the relations that the voter names are not those that were signed")]
    Relations,
    /// No majority.
    #[error("{signed} of {voters} voters have signed the tick, which is no majority")]
    Minority {
        /// Whose signatures verify.
        signed: usize,
        /// How many the directory lists.
        voters: usize,
    },
}

impl BeaconRefused {
    /// A fixed word for metrics and records.
    #[must_use]
    pub fn reason_code(&self) -> &'static str {
        match self {
            Self::Missing => "beacon_missing",
            Self::TooMany { .. } => "beacon_too_many",
            Self::Relations => "beacon_relations",
            Self::Minority { .. } => "beacon_minority",
        }
    }
}

/// More than half of so many voters.
#[must_use]
pub fn majority_of(voters: usize) -> usize {
    voters / 2 + 1
}

/// So many voters' signatures seal a revocation: whichever majority signs a later beacon, at least two of them are in
/// it, so that one that lies is not enough to sign an older state (F-24). In a mesh of one or two: all of them.
#[must_use]
pub fn sealing_quorum(voters: usize) -> usize {
    voters.saturating_sub(majority_of(voters)).saturating_add(2).min(voters)
}

impl Statement {
    /// What the answer says, and what it leaves out: the relations.
    #[must_use]
    pub fn of_answer(answer: &TickAnswer, relations: Digest) -> Self {
        Self {
            n: answer.n,
            nonce_root: answer.nonce_root,
            epoch: answer.epoch,
            revocations: answer.revocations,
            activations: answer.activations,
            relations,
            directory: answer.directory,
            root: answer.root,
        }
    }

    /// Signs.
    #[must_use]
    pub fn sign(&self, mesh: &MeshId, key: &SigningKey) -> Signature {
        key.sign(&self.signed_bytes(mesh))
    }

    /// Checks one signature.
    ///
    /// # Errors
    /// [`SignatureInvalid`].
    pub fn verify(&self, mesh: &MeshId, key: &PublicKey, signature: &Signature) -> Result<(), SignatureInvalid> {
        key.verify(&self.signed_bytes(mesh), signature)
    }

    /// SHA-256 of what is signed: two statements with one digest are one.
    #[must_use]
    pub fn digest(&self, mesh: &MeshId) -> Digest {
        Digest::of(&[&self.signed_bytes(mesh)])
    }

    fn signed_bytes(&self, mesh: &MeshId) -> Vec<u8> {
        let Self { n, nonce_root, epoch, revocations, activations, relations, directory, root } = self;
        let mut bytes = Vec::with_capacity(256);
        let mut out = Encoder::new(&mut bytes);
        // A vector takes everything, so the only failure that the type allows for cannot come up.
        let _ = out.array(10).and_then(|out| {
            out.str(PURPOSE)?.bytes(&mesh.0)?.u64(n.0)?.bytes(&nonce_root.0)?.u64(epoch.0)?;
            out.bytes(&revocations.0)?.bytes(&activations.0)?.bytes(&relations.0)?.u64(*directory)?.u64(*root)?.ok()
        });
        bytes
    }
}

impl SignedStatement {
    /// The voters of this directory whose signatures verify.
    #[must_use]
    pub fn signers(&self, directory: &Directory) -> BTreeSet<VoterId> {
        let bytes = self.statement.signed_bytes(&directory.content().mesh_id);
        let verified = self.signatures.iter().filter(|(voter, signature)| {
            let key = directory.voter(**voter).and_then(|voter| voter.beacon);
            key.is_some_and(|key| key.verify(&bytes, signature).is_ok())
        });
        verified.map(|(voter, _)| *voter).collect()
    }

    /// Whether a majority of the voters that the directory lists has signed.
    ///
    /// # Errors
    /// [`BeaconRefused`].
    pub fn verify(&self, directory: &Directory) -> Result<(), BeaconRefused> {
        let count = self.signatures.len();
        if count > VOTERS_MAX {
            return Err(BeaconRefused::TooMany { count });
        }
        let voters = directory.voters().count();
        let signed = self.signers(directory).len();
        let enough = if planted(Bug::OneVoterIsAMajority) { 1 } else { majority_of(voters) };
        if signed >= enough { Ok(()) } else { Err(BeaconRefused::Minority { signed, voters }) }
    }
}

#[cfg(test)]
#[path = "beacon_tests.rs"]
mod tests;
