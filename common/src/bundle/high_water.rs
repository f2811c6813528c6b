//! What an edge remembers so that policy never goes back by itself.

use serde::{Deserialize, Serialize};

use crate::crypto::digest::Digest;
use crate::id::{BundleVersion, LogIndex};

use super::manifest::Fallback;

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
