//! The manifest: what a bundle says about itself. Its exact bytes are what administrators sign.
//!
//! Everything that decides how the files are evaluated stands here and not in code that reads them: bounds, limits,
//! combination, engines, and the canaries by which an edge finds out that it reads the files as their authors did.
//! Clauses B-3 to B-9, docs/PROTOCOL.md.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::canary::{CANARIES_MAX, Canary};
use super::rejected::BundleRejected;
use crate::crypto::digest::Digest;
use crate::id::{BundleName, BundleVersion, MeshId, TenantId};
use crate::limits::{
    BUNDLE_BYTES_MAX, BUNDLE_DAYS_MAX, BUNDLE_FILE_BYTES_MAX, BUNDLE_FILES_MAX, CHAIN_LINKS_MAX, FALLBACKS_MAX,
};
use crate::policy::engines::combine::Combination;
use crate::policy::{AdvisedActions, Bounds, json};
use crate::time::Timestamp;

/// The media type of a manifest.
pub const MANIFEST_TYPE: &str = "application/vnd.remit.bundle.v1+json";
/// The format that this version reads and writes.
pub const FORMAT: u32 = 1;
/// The engine that this version has, and its version as manifests name it: the major version of the language.
pub const ENGINE: (&str, &str) = ("cedar", "4");
/// The group of actions that has no combination of its own.
pub const DEFAULT_GROUP: &str = "default";
/// The combination that this version evaluates: a permit of any engine, and a forbid of none.
pub const ANY_PERMIT: &str = Combination::AnyPermit.as_str();
/// Brakes that one bundle lifts.
const LIFTS_MAX: usize = 64;
/// Actions that may be asked about without an envelope.
const ADVISED_MAX: usize = 256;
/// Bytes of a path inside a bundle.
const PATH_BYTES_MAX: usize = 128;

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

/// Bounds on what a call may bring, narrower than those of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Links of a chain, the root counted.
    pub chain_links: u8,
}

impl Default for Limits {
    /// Four links: a human's agent, and three that it handed work to.
    fn default() -> Self {
        Self { chain_links: 4 }
    }
}

/// What a bundle says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
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
    /// How the answers of engines are combined, per group of actions.
    pub combination: BTreeMap<String, String>,
    /// Narrower limits.
    pub limits: Limits,
    /// Which engines evaluate it, and of which version.
    pub engines: BTreeMap<String, String>,
    /// Requests with their decisions: the self-test.
    pub canaries: Vec<Canary>,
    /// Whether a tool may say that whoever has a copy of an envelope can call it (clause B-15). Left out where it is
    /// not so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_bearer: bool,
    /// Brakes that do not hold in the tenant as long as this bundle is in force, by the names of their entries
    /// (clause T-61). Left out where there is none.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub lifts: BTreeSet<Digest>,
    /// Actions about which an enforcement point may ask for a subject that has no envelope (clause P-54). Left out where
    /// there is none.
    #[serde(default, skip_serializing_if = "AdvisedActions::is_empty")]
    pub authzen_without_envelope: AdvisedActions,
}

impl Manifest {
    /// Reads a payload and checks it for itself; signatures, mesh, tenant and time are the caller's.
    ///
    /// # Errors
    /// [`BundleRejected::Manifest`] or [`BundleRejected::Unsupported`].
    pub fn parse(payload: &[u8]) -> Result<Self, BundleRejected> {
        let malformed = |fault: String| BundleRejected::Manifest { fault };
        json::parse(payload, json::Mode::Protocol).map_err(|fault| malformed(fault.to_string()))?;
        let manifest: Self = serde_json::from_slice(payload).map_err(|fault| malformed(fault.to_string()))?;
        manifest.check()?;
        Ok(manifest)
    }

    /// Whether it holds together.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn check(&self) -> Result<(), BundleRejected> {
        let Self { format, version, floor, files, fallback, combination, limits, engines, canaries, lifts, .. } = self;
        let malformed = |fault: &str| Err(BundleRejected::Manifest { fault: fault.to_owned() });
        if *format != FORMAT {
            return Err(BundleRejected::Unsupported { what: "format", found: format.to_string() });
        }
        if version.0 == 0 || floor > version {
            return malformed("versions begin at 1, and the floor is at most the version");
        }
        let life = self.expires.since(self.created).as_secs();
        if self.expires <= self.created || life > BUNDLE_DAYS_MAX * 86_400 {
            return malformed("a bundle lives longer than 90 days, or ends before it begins");
        }
        if fallback.len() > FALLBACKS_MAX || canaries.len() > CANARIES_MAX {
            return malformed("too many fallbacks or canaries");
        }
        if self.authzen_without_envelope.len() > ADVISED_MAX {
            return malformed("at most 256 actions may be asked about without an envelope");
        }
        if lifts.len() > LIFTS_MAX {
            return malformed("a bundle lifts at most 64 brakes");
        }
        if !(1..=CHAIN_LINKS_MAX).contains(&usize::from(limits.chain_links)) {
            return malformed("a chain has at least one link and at most eight");
        }
        check_files(files)?;
        let (engine, engine_version) = ENGINE;
        if let Some((name, found)) = engines.iter().find(|(name, found)| (name.as_str(), found.as_str()) != ENGINE) {
            return Err(BundleRejected::Unsupported { what: "engine", found: format!("{name} {found}") });
        }
        if !engines.contains_key(engine) {
            let fault = format!("no engine is named; this version has {engine} {engine_version}");
            return Err(BundleRejected::Manifest { fault });
        }
        let odd = combination.iter().find(|(group, rule)| *group != DEFAULT_GROUP || *rule != ANY_PERMIT);
        match odd {
            Some((group, rule)) => {
                Err(BundleRejected::Unsupported { what: "combination", found: format!("{group} = {rule}") })
            }
            None if combination.is_empty() => malformed("no combination is named"),
            None => Ok(()),
        }
    }
}

fn check_files(files: &[FileEntry]) -> Result<(), BundleRejected> {
    let fault = |entry: &FileEntry, rule| Err(BundleRejected::File { path: entry.path.clone(), rule });
    if files.len() > BUNDLE_FILES_MAX {
        return Err(BundleRejected::Manifest { fault: "a bundle has at most 512 files".to_owned() });
    }
    let mut total = 0u64;
    let mut before = "";
    for entry in files {
        if !is_path(&entry.path) {
            return fault(entry, "not a path that a bundle may have");
        }
        if entry.path.as_str() <= before {
            return fault(entry, "files are sorted by path, each listed once");
        }
        if usize::try_from(entry.len).map_or(true, |len| len > BUNDLE_FILE_BYTES_MAX) {
            return fault(entry, "a file has at most 4 MiB");
        }
        total = total.saturating_add(entry.len);
        before = &entry.path;
    }
    if usize::try_from(total).map_or(true, |total| total > BUNDLE_BYTES_MAX) {
        return Err(BundleRejected::Manifest { fault: "a bundle has at most 8 MiB".to_owned() });
    }
    Ok(())
}

/// Relative, plain, and the same on every file system.
pub(super) fn is_path(path: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    path.len() <= PATH_BYTES_MAX
        && path.split('/').all(|segment| {
            !segment.is_empty() && !segment.starts_with('.') && !segment.ends_with('.') && segment.bytes().all(plain)
        })
}
