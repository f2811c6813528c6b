//! Bundle sources, as an administrator keeps them in a folder, and the reproducible build.

use std::collections::BTreeMap;

use crate::crypto::digest::Digest;
use crate::id::MeshId;
use crate::time::Timestamp;

use super::container::SignedBundle;
use super::manifest::Manifest;

/// The files of a bundle folder by relative path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BundleSource {
    /// Content by path, `/` between segments.
    pub files: BTreeMap<String, Vec<u8>>,
}

/// What the command line may say instead of `bundle.toml`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BuildOverrides {
    /// When it is made.
    pub created: Option<Timestamp>,
    /// For which mesh.
    pub mesh_id: Option<MeshId>,
    /// Its number.
    pub version: Option<u64>,
}

/// What is wrong with the sources.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}: {message}")]
pub struct SourceFault {
    /// Which file.
    pub file: String,
    /// One-based; 0 when the fault has no place.
    pub line: u32,
    /// One-based; 0 when the fault has no place.
    pub column: u32,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

/// A bundle that was built and not signed.
#[derive(Debug, Clone, PartialEq)]
pub struct UnsignedBundle {
    manifest: Manifest,
    bundle: SignedBundle,
}

impl BundleSource {
    /// Builds: the same sources and overrides give the same bytes.
    ///
    /// # Errors
    /// Every fault that was found.
    pub fn build(&self, overrides: &BuildOverrides) -> Result<UnsignedBundle, Vec<SourceFault>> {
        todo!("{overrides:?}")
    }
}

impl UnsignedBundle {
    /// What it says about itself.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// SHA-256 of the manifest's bytes.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.bundle.digest()
    }

    /// The container, for signing.
    #[must_use]
    pub fn into_container(self) -> SignedBundle {
        self.bundle
    }
}
