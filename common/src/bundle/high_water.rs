//! What an edge remembers so that policy never goes back by itself.
//!
//! A bad bundle has to be taken back at night, and only administrators sign policy. So a manifest names the bundles
//! that it may be taken back to, and only the manifest of the highest version ever activated is asked: fallbacks do
//! not chain. The floor is the highest that any verified manifest named, activated or not. Clauses B-10 to B-13.

use serde::{Deserialize, Serialize};

use super::manifest::{Fallback, Manifest};
use super::rejected::BundleRejected;
use crate::crypto::digest::Digest;
use crate::id::{BundleVersion, LogIndex};
use crate::time::Timestamp;

/// The manifest of the highest version ever activated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HighManifest {
    /// Its version.
    pub version: BundleVersion,
    /// Its digest.
    pub digest: Digest,
    /// The fallbacks it names.
    pub fallback: Vec<Fallback>,
}

/// One tenant's high water; durable, and each part only rises.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HighWater {
    /// The highest activation number.
    pub activation: LogIndex,
    /// The manifest of the highest version ever activated.
    pub high: Option<HighManifest>,
    /// The highest floor of any manifest ever verified.
    pub floor: BundleVersion,
}

/// An activation that is not newer than the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("activation {offered} does not rise above {have}")]
pub struct ActivationGoesBack {
    /// What was offered.
    pub offered: LogIndex,
    /// What is here.
    pub have: LogIndex,
}

impl HighWater {
    /// Whether a bundle of this version and digest may be activated: above high, high itself, or a live fallback
    /// that high names; never below the floor.
    ///
    /// # Errors
    /// [`BundleRejected::BelowFloor`], [`BundleRejected::Rollback`] or [`BundleRejected::SameVersion`].
    pub fn check(&self, version: BundleVersion, digest: &Digest, now: Timestamp) -> Result<(), BundleRejected> {
        if version < self.floor {
            return Err(BundleRejected::BelowFloor { version, floor: self.floor });
        }
        let Some(high) = &self.high else { return Ok(()) };
        let is_fallback = high.fallback.iter().any(|named| named.digest == *digest && now < named.until);
        if version > high.version || *digest == high.digest || is_fallback {
            return Ok(());
        }
        if version == high.version {
            return Err(BundleRejected::SameVersion { version });
        }
        Err(BundleRejected::Rollback { version, high: high.version })
    }

    /// Whether a bundle may take the place of one that cannot be run: a live fallback that high names, never below the
    /// floor. So it is never above high, nor high itself.
    ///
    /// # Errors
    /// [`BundleRejected::BelowFloor`] or [`BundleRejected::Rollback`].
    pub fn check_fallback(
        &self,
        version: BundleVersion,
        digest: &Digest,
        now: Timestamp,
    ) -> Result<(), BundleRejected> {
        if version < self.floor {
            return Err(BundleRejected::BelowFloor { version, floor: self.floor });
        }
        let high = self.high.as_ref();
        let mut named = high.into_iter().flat_map(|high| &high.fallback);
        if named.any(|named| named.digest == *digest && now < named.until) {
            return Ok(());
        }
        Err(BundleRejected::Rollback { version, high: high.map_or(version, |high| high.version) })
    }

    /// Whether an activation may follow the one before.
    ///
    /// # Errors
    /// [`ActivationGoesBack`].
    pub fn check_activation(&self, offered: LogIndex) -> Result<(), ActivationGoesBack> {
        let have = self.activation;
        if offered > have { Ok(()) } else { Err(ActivationGoesBack { offered, have }) }
    }

    /// A manifest was verified: its floor holds from now on, whether it is ever activated or not.
    pub fn note_verified(&mut self, manifest: &Manifest) {
        self.floor = self.floor.max(manifest.floor);
    }

    /// A bundle was activated.
    pub fn note_activated(&mut self, number: LogIndex, manifest: &Manifest, digest: &Digest) {
        self.note_verified(manifest);
        self.activation = self.activation.max(number);
        if self.high.as_ref().is_none_or(|high| manifest.version > high.version) {
            let (version, fallback) = (manifest.version, manifest.fallback.clone());
            self.high = Some(HighManifest { version, digest: *digest, fallback });
        }
    }
}
