//! From signed bytes to a bundle that may be activated.

use std::collections::BTreeMap;

use crate::crypto::digest::Digest;
use crate::envelope::Authority;
use crate::id::{BundleVersion, MeshId, TenantId};
use crate::policy::{Bounds, CompiledPolicy, Decision, ToolCall};
use crate::time::Timestamp;
use crate::trust::dsse::Envelope;
use crate::trust::root::Root;

use super::container::{MalformedBundle, SignedBundle};
use super::high_water::HighWater;
use super::manifest::Manifest;

/// A bundle that enough of the tenant's administrators signed, that is whole and in its time.
#[derive(Debug, Clone)]
pub struct VerifiedBundle {
    manifest: Manifest,
    digest: Digest,
    files: BTreeMap<String, Vec<u8>>,
}

/// Why a bundle is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BundleRejected {
    /// Not a bundle.
    #[error(transparent)]
    Malformed(#[from] MalformedBundle),
    /// Below what was active.
    #[error("version {version} is below {high} and no live fallback of it")]
    Rollback {
        /// This bundle's.
        version: BundleVersion,
        /// The highest activated.
        high: BundleVersion,
    },
}

impl BundleRejected {
    /// A fixed word for metrics and records.
    #[must_use]
    pub fn reason_code(&self) -> &'static str {
        todo!()
    }
}

/// Checks a manifest without its files: signatures first, then what it says about mesh, tenant and time. An edge asks
/// for files only after this, so that nobody but the tenant's administrators decides what it fetches.
///
/// # Errors
/// [`BundleRejected`].
pub fn verify_manifest(
    envelope: &Envelope,
    root: &Root,
    mesh: &MeshId,
    tenant: &TenantId,
    now: Timestamp,
) -> Result<Manifest, BundleRejected> {
    todo!("{envelope:?} {root:?} {mesh} {tenant} {now}")
}

impl SignedBundle {
    /// Checks signatures first, then what they cover. The caller says which mesh and tenant it expects; that alone
    /// selects the keys.
    ///
    /// # Errors
    /// [`BundleRejected`].
    pub fn verify(
        self,
        root: &Root,
        mesh: &MeshId,
        tenant: &TenantId,
        now: Timestamp,
    ) -> Result<VerifiedBundle, BundleRejected> {
        todo!("{root:?} {mesh} {tenant} {now}")
    }
}

impl VerifiedBundle {
    /// What it says about itself.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// SHA-256 of the manifest's bytes.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The files.
    #[must_use]
    pub fn files(&self) -> &BTreeMap<String, Vec<u8>> {
        &self.files
    }

    /// Above `seen.high`, high itself, or a live fallback that high names; never below `seen.floor`.
    ///
    /// # Errors
    /// [`BundleRejected`].
    pub fn check_succeeds(&self, seen: &HighWater, now: Timestamp) -> Result<(), BundleRejected> {
        todo!("{seen:?} {now}")
    }

    /// Compiles the policy and lets it pass its own canaries. This is the gate of activation.
    ///
    /// # Errors
    /// [`BundleRejected`].
    pub fn compile(self) -> Result<CompiledBundle, BundleRejected> {
        todo!("{self:?}")
    }
}

/// A verified bundle whose policy is ready to decide and has passed its own canaries.
#[derive(Debug, Clone)]
pub struct CompiledBundle {
    manifest: Manifest,
    digest: Digest,
    policy: CompiledPolicy,
}

impl CompiledBundle {
    /// What the bundle says about itself.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// SHA-256 of the manifest's bytes.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The compiled policy.
    #[must_use]
    pub fn policy(&self) -> &CompiledPolicy {
        &self.policy
    }

    /// How old an edge's knowledge may be, effect by effect.
    #[must_use]
    pub fn bounds(&self) -> &Bounds {
        &self.manifest.bounds
    }

    /// Decides one call: the bundle's own limits first, then its policy. Canaries are asked the same way.
    #[must_use]
    pub fn decide(&self, authority: &Authority, call: &ToolCall, now: Timestamp) -> Decision {
        todo!("{authority:?} {call:?} {now}")
    }

    /// Whether purposes and classes still mean what they meant under an earlier version.
    ///
    /// # Errors
    /// [`BundleRejected`].
    pub fn check_taxonomy(&self, earlier: &Self) -> Result<(), BundleRejected> {
        todo!("{earlier:?}")
    }
}
