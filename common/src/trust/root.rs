//! The root: which keys count for what in this mesh.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::crypto::digest::Digest;
use crate::crypto::sign::SigningKey;
use crate::id::{MeshId, TenantId};
use crate::time::Timestamp;

use super::dsse::Envelope;
pub use super::refused::TrustRefused;
pub use super::role::{Role, RoleContent};

/// The media type of a root.
pub const ROOT_TYPE: &str = "application/vnd.remit.root.v1+json";

/// A verified root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    content: RootContent,
    digest: Digest,
}

/// What a root says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RootContent {
    /// The mesh.
    pub mesh_id: MeshId,
    /// Rises by one.
    pub version: u64,
    /// A mesh for trying things out: thresholds of one are allowed.
    pub dev: bool,
    /// First moment at which it no longer counts.
    pub expires: Timestamp,
    /// Who signs roots.
    pub root: RoleContent,
    /// Who signs directories.
    pub directory: RoleContent,
    /// Who signs bundles, per tenant.
    pub policy: BTreeMap<TenantId, RoleContent>,
}

/// A root whose signatures are not checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedRoot {
    envelope: Envelope,
}

impl SignedRoot {
    /// Writes and signs a root.
    ///
    /// # Errors
    /// [`TrustRefused`] when the content breaks a rule.
    pub fn make(content: &RootContent, keys: &[&SigningKey]) -> Result<Self, TrustRefused> {
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

    /// SHA-256 of the payload: what a pin names.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&[&self.envelope.payload])
    }

    /// Accepts the first root: its digest was pinned when the node was installed.
    ///
    /// # Errors
    /// [`TrustRefused`].
    pub fn verify_pinned(self, pin: &Digest, mesh: &MeshId, now: Timestamp) -> Result<Root, TrustRefused> {
        todo!("{pin} {mesh} {now}")
    }

    /// Accepts the next root: version one higher, signed by enough of the old root's keys and enough of its own.
    ///
    /// # Errors
    /// [`TrustRefused`].
    pub fn verify_next(self, previous: &Root, now: Timestamp) -> Result<Root, TrustRefused> {
        todo!("{previous:?} {now}")
    }
}

impl Root {
    /// What it says.
    #[must_use]
    pub fn content(&self) -> &RootContent {
        &self.content
    }

    /// SHA-256 of the payload.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The mesh.
    #[must_use]
    pub fn mesh_id(&self) -> &MeshId {
        &self.content.mesh_id
    }

    /// Its number.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.content.version
    }

    /// Who signs directories.
    #[must_use]
    pub fn directory_role(&self) -> &Role {
        todo!()
    }

    /// Who signs a tenant's bundles.
    #[must_use]
    pub fn policy_role(&self, tenant: &TenantId) -> Option<&Role> {
        todo!("{tenant}")
    }

    /// Whether it still counts.
    ///
    /// # Errors
    /// [`TrustRefused`].
    pub fn check_time(&self, now: Timestamp) -> Result<(), TrustRefused> {
        todo!("{now}")
    }
}
