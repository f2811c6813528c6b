//! The manifest: what a bundle says about itself. Its exact bytes are what administrators sign.

use serde::{Deserialize, Serialize};

use crate::crypto::digest::Digest;
use crate::id::{BundleName, BundleVersion, MeshId, TenantId};
use crate::policy::Bounds;
use crate::time::Timestamp;

/// The media type of a manifest.
pub const MANIFEST_TYPE: &str = "application/vnd.remit.bundle.v1+json";

/// A file of the bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Relative, `/` between segments.
    pub path: String,
    /// Bytes.
    pub len: u64,
    /// Of the content.
    pub sha256: Digest,
}

/// A bundle that this one may be replaced by although its version is lower.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fallback {
    /// The digest of its manifest.
    pub digest: Digest,
    /// First moment at which it no longer may.
    pub until: Timestamp,
}

/// What a bundle says about itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The mesh.
    pub mesh_id: MeshId,
    /// The tenant.
    pub tenant: TenantId,
    /// For people.
    pub name: BundleName,
    /// Only rises.
    pub version: BundleVersion,
    /// When it was made.
    pub created: Timestamp,
    /// First moment at which it no longer counts.
    pub expires: Timestamp,
    /// The files, sorted by path; their content follows in this order.
    pub files: Vec<FileEntry>,
    /// What it may be taken back to.
    pub fallback: Vec<Fallback>,
    /// The lowest version that it may ever be replaced by.
    pub floor: BundleVersion,
    /// How old an edge's knowledge may be, effect by effect.
    pub bounds: Bounds,
}
