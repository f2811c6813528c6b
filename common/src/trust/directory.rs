//! The directory: the machines and people of a mesh and their keys.

use serde::{Deserialize, Serialize};

use crate::crypto::digest::Digest;
use crate::crypto::hpke::SealingPublicKey;
use crate::crypto::sign::{PublicKey, SigningKey};
use crate::id::{EdgeId, KeyId, MeshId, Region, TenantId, VoterId};
use crate::identity::{Administrator, Administrators};
use crate::time::Timestamp;

use super::dsse::Envelope;
use super::root::{Root, TrustRefused};

/// The media type of a directory.
pub const DIRECTORY_TYPE: &str = "application/vnd.remit.directory.v1+json";

/// A voter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Voter {
    /// Its number.
    pub id: VoterId,
    /// The key of its certificate.
    pub identity: PublicKey,
}

/// An edge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edge {
    /// Its name.
    pub id: EdgeId,
    /// Where it is.
    pub region: Region,
    /// The key of its certificate, of its acks and of its gap records.
    pub identity: PublicKey,
    /// What shards for it are sealed to.
    pub sealing: SealingPublicKey,
}

/// A key that signs root envelopes; voters hold them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuerEntry {
    /// COSE algorithm: -19, Ed25519.
    pub alg: i32,
    /// The key.
    pub key: PublicKey,
    /// For which tenants; none means none.
    pub tenants: Vec<TenantId>,
    /// First moment.
    pub from: Timestamp,
    /// First moment at which it no longer counts.
    pub until: Timestamp,
}

/// A key that seals credentials of one tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sealer {
    /// For people and records.
    pub name: String,
    /// The key.
    pub key: PublicKey,
    /// Its tenant.
    pub tenant: TenantId,
    /// Credential names that it may seal begin with this.
    pub prefix: String,
}

/// What a directory says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DirectoryContent {
    /// The mesh.
    pub mesh_id: MeshId,
    /// Only rises.
    pub version: u64,
    /// When it was made.
    pub created: Timestamp,
    /// First moment at which it no longer counts.
    pub expires: Timestamp,
    /// The voters.
    pub voters: Vec<Voter>,
    /// The edges.
    pub edges: Vec<Edge>,
    /// The issuers.
    pub issuers: Vec<IssuerEntry>,
    /// The administrators.
    pub administrators: Vec<Administrator>,
    /// The sealers.
    pub sealers: Vec<Sealer>,
}

/// A directory whose signatures are not checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedDirectory {
    envelope: Envelope,
}

/// A verified directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory {
    content: DirectoryContent,
    digest: Digest,
}

impl SignedDirectory {
    /// Writes and signs a directory.
    ///
    /// # Errors
    /// [`TrustRefused`] when the content breaks a rule.
    pub fn make(content: &DirectoryContent, keys: &[&SigningKey]) -> Result<Self, TrustRefused> {
        todo!("{content:?} {keys:?}")
    }

    /// Reads the signed form.
    ///
    /// # Errors
    /// [`TrustRefused`].
    pub fn parse(bytes: &[u8]) -> Result<Self, TrustRefused> {
        todo!("{bytes:?}")
    }

    /// The signed form.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.envelope.to_bytes()
    }

    /// Checks signatures against the root's directory role, then everything that it says.
    ///
    /// # Errors
    /// [`TrustRefused`].
    pub fn verify(self, root: &Root, now: Timestamp) -> Result<Directory, TrustRefused> {
        todo!("{root:?} {now}")
    }
}

impl Directory {
    /// What it says.
    #[must_use]
    pub fn content(&self) -> &DirectoryContent {
        &self.content
    }

    /// SHA-256 of the payload.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Its number.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.content.version
    }

    /// Whether it may follow `previous`: a higher version, or the same document again.
    ///
    /// # Errors
    /// [`TrustRefused`].
    pub fn check_succeeds(&self, previous: &Self) -> Result<(), TrustRefused> {
        todo!("{previous:?}")
    }

    /// Whether it still counts.
    ///
    /// # Errors
    /// [`TrustRefused`].
    pub fn check_time(&self, now: Timestamp) -> Result<(), TrustRefused> {
        todo!("{now}")
    }

    /// A voter.
    #[must_use]
    pub fn voter(&self, id: VoterId) -> Option<&Voter> {
        self.content.voters.iter().find(|voter| voter.id == id)
    }

    /// An edge.
    #[must_use]
    pub fn edge(&self, id: &EdgeId) -> Option<&Edge> {
        self.content.edges.iter().find(|edge| &edge.id == id)
    }

    /// The administrators by key.
    #[must_use]
    pub fn administrators(&self) -> &Administrators {
        todo!()
    }

    /// An administrator.
    #[must_use]
    pub fn administrator(&self, key: &KeyId) -> Option<&Administrator> {
        self.administrators().get(key)
    }

    /// A sealer.
    #[must_use]
    pub fn sealer(&self, key: &KeyId) -> Option<&Sealer> {
        self.content.sealers.iter().find(|sealer| &sealer.key.id() == key)
    }
}
