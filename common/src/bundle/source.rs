//! Bundle sources, as an administrator keeps them in a folder, and the reproducible build.
//!
//! The same sources give the same bytes, on every machine and in every year: nothing is read but the files and the
//! overrides, and no clock. So an administrator who is asked to sign can build the sources and compare digests.
//! Clauses B-17 to B-20, docs/PROTOCOL.md.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;
use toml::value::{Datetime, Offset};

use super::canary::Canary;
use super::container::SignedBundle;
use super::manifest::{self, ANY_PERMIT, DEFAULT_GROUP, ENGINE, FORMAT, FileEntry, Limits, MANIFEST_TYPE, Manifest};
use super::rejected::BundleRejected;
use super::verified::CompiledBundle;
use crate::crypto::digest::Digest;
use crate::id::{BundleName, BundleVersion, MeshId, TenantId};
use crate::limits::BUNDLE_FILE_BYTES_MAX;
pub use crate::policy::compile::BUNDLE_FILE;
use crate::policy::compile::{CATALOGUE_FOLDER, ENTITIES_FILE, POLICIES_FOLDER, SCHEMA_FILE};
use crate::policy::relations::{MODEL_FILE, RELATIONS_FILE};
use crate::policy::taxonomy::{CLASSES_FILE, PURPOSES_FILE};
use crate::policy::trust_domains::TRUST_DOMAINS_FILE;
use crate::policy::{AdvisedActions, Bounds, CompiledPolicy, PolicyFault};
use crate::time::Timestamp;
use crate::trust::dsse::Envelope;

/// Requests with their decisions.
pub const CANARIES_FILE: &str = "canaries.yaml";
/// Cases that are run before a bundle is built; they do not travel.
pub(super) const TESTS_FOLDER: &str = "tests/";

/// What is wrong with the sources, and where.
pub type SourceFault = PolicyFault;

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
    /// What it may be taken back to as long as it counts, besides what `bundle.toml` names.
    pub fallback: Option<Digest>,
}

/// A bundle that was built and not signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnsignedBundle {
    manifest: Manifest,
    files: BTreeMap<String, Vec<u8>>,
    bundle: SignedBundle,
}

/// `bundle.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BundleToml {
    name: BundleName,
    tenant: TenantId,
    version: Option<u64>,
    created: Option<Spanned<Datetime>>,
    #[serde(default = "life_days")]
    life_days: u64,
    mesh_id: Option<MeshId>,
    floor: Option<u64>,
    #[serde(default)]
    fallback: Vec<FallbackToml>,
    #[serde(default)]
    bounds: Bounds,
    #[serde(default)]
    limits: Limits,
    #[serde(default = "combination")]
    combination: BTreeMap<String, String>,
    #[serde(default = "engines")]
    engines: BTreeMap<String, String>,
    #[serde(default)]
    allow_bearer: bool,
    #[serde(default)]
    lifts: BTreeSet<Digest>,
    #[serde(default)]
    authzen_without_envelope: AdvisedActions,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FallbackToml {
    digest: Digest,
    until: Spanned<Datetime>,
}

fn life_days() -> u64 {
    30
}

fn combination() -> BTreeMap<String, String> {
    BTreeMap::from([(DEFAULT_GROUP.to_owned(), ANY_PERMIT.to_owned())])
}

fn engines() -> BTreeMap<String, String> {
    let (name, version) = ENGINE;
    BTreeMap::from([(name.to_owned(), version.to_owned())])
}

/// Whether a file travels in a bundle: what the compiler reads, and nothing else.
pub(super) fn is_read(path: &str) -> bool {
    let in_folder = |folder: &str, ending: &str| {
        path.strip_prefix(folder).is_some_and(|name| name.ends_with(ending) && !name.contains('/'))
    };
    [PURPOSES_FILE, CLASSES_FILE, SCHEMA_FILE, ENTITIES_FILE, TRUST_DOMAINS_FILE, RELATIONS_FILE, MODEL_FILE]
        .contains(&path)
        || in_folder(POLICIES_FOLDER, ".cedar")
        || in_folder(CATALOGUE_FOLDER, ".toml")
}

/// Whether a file of the folder stays behind without a word: texts for people, test cases, what tools hide.
fn stays_behind(path: &str) -> bool {
    [BUNDLE_FILE, CANARIES_FILE].contains(&path)
        || path.ends_with(".md")
        || path.starts_with(TESTS_FOLDER)
        || path.split('/').any(|segment| segment.starts_with('.'))
}

fn fault(file: &str, message: impl Into<String>, help: Option<&str>) -> SourceFault {
    PolicyFault { file: file.to_owned(), line: 1, column: 1, message: message.into(), help: help.map(str::to_owned) }
}

/// Where a byte of a text is, in lines and characters from 1.
fn fault_at(file: &str, text: &str, offset: usize, message: impl Into<String>) -> SourceFault {
    let before = text.get(..offset).unwrap_or(text);
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    PolicyFault {
        line: count(before.matches('\n').count().saturating_add(1)),
        column: count(before.rsplit('\n').next().unwrap_or_default().chars().count().saturating_add(1)),
        ..fault(file, message, None)
    }
}

/// A date and time with an offset, as a moment.
pub(super) fn moment(at: &Datetime) -> Option<Timestamp> {
    let (date, time, offset) = (at.date?, at.time?, at.offset?);
    let minutes = match offset {
        Offset::Z => 0,
        Offset::Custom { minutes } => i64::from(minutes),
    };
    // Days from a civil date: H. Hinnant, "chrono-Compatible Low-Level Date Algorithms", days_from_civil.
    let (year, month, day) = (i64::from(date.year), i64::from(date.month), i64::from(date.day));
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    let days = era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468;
    let seconds = i64::from(time.hour) * 3_600 + i64::from(time.minute) * 60 + i64::from(time.second.unwrap_or(0));
    let millis = u64::from(time.nanosecond.unwrap_or(0) / 1_000_000);
    let secs = u64::try_from(days * 86_400 + seconds - minutes * 60).ok()?;
    Some(Timestamp::from_millis(secs.checked_mul(1_000)?.checked_add(millis)?))
}

/// `bundle.toml`, and its text.
fn read(bytes: &[u8]) -> Result<(&str, BundleToml), SourceFault> {
    let text = str::from_utf8(bytes).map_err(|_| fault(BUNDLE_FILE, "not UTF-8", None))?;
    let toml = toml::from_str(text).map_err(|error: toml::de::Error| {
        let message = error.message().lines().collect::<Vec<_>>().join("; ");
        fault_at(BUNDLE_FILE, text, error.span().map_or(0, |span| span.start), message)
    })?;
    Ok((text, toml))
}

impl BundleSource {
    /// Compiles the policy alone, without a manifest and its canaries.
    ///
    /// # Errors
    /// Every fault that was found.
    pub fn compile(&self) -> Result<CompiledPolicy, Vec<SourceFault>> {
        let advised = match self.files.get(BUNDLE_FILE) {
            Some(bytes) => read(bytes).map_err(|fault| vec![fault])?.1.authzen_without_envelope,
            None => AdvisedActions::new(),
        };
        CompiledPolicy::compile_with(&self.files, &advised)
    }

    /// Builds: the same sources and overrides give the same bytes. Whether the policy compiles and the canaries are
    /// answered as expected is for [`UnsignedBundle::check`] to say.
    ///
    /// # Errors
    /// Every fault that was found.
    pub fn build(&self, overrides: &BuildOverrides) -> Result<UnsignedBundle, Vec<SourceFault>> {
        let mut faults = Vec::new();
        let files = self.travelling(&mut faults);
        let canaries = self.canaries().map_err(|fault| faults.push(fault)).unwrap_or_default();
        let manifest = self.manifest(overrides, &files, canaries).map_err(|fault| faults.push(fault));
        let (Ok(manifest), true) = (manifest, faults.is_empty()) else {
            faults.sort();
            return Err(faults);
        };
        let refuse = |message: String| vec![fault(BUNDLE_FILE, message, None)];
        manifest.check().map_err(|rejected| refuse(rejected.to_string()))?;
        let payload = serde_json::to_vec(&manifest).map_err(|error| refuse(error.to_string()))?;
        // What cannot be read back would be signed in vain.
        let manifest = Manifest::parse(&payload).map_err(|rejected| refuse(rejected.to_string()))?;
        let content = files.values().cloned().collect();
        let bundle = SignedBundle::from_parts(Envelope::new(MANIFEST_TYPE, payload), content);
        SignedBundle::parse(&bundle.to_bytes()).map_err(|malformed| refuse(malformed.to_string()))?;
        Ok(UnsignedBundle { manifest, files, bundle })
    }

    fn travelling(&self, faults: &mut Vec<SourceFault>) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        for (path, content) in self.files.iter().filter(|(path, _)| !stays_behind(path)) {
            let engine = match path.rsplit_once('.') {
                Some((_, "rego")) => Some("Rego"),
                Some((_, "polar")) => Some("Polar"),
                _ => None,
            };
            if let Some(engine) = engine {
                faults.push(fault(path, format!("{engine} cannot be evaluated by this version"), None));
            } else if !is_read(path) || !manifest::is_path(path) {
                let help = "a bundle has policies/*.cedar, catalogue/*.toml, schema.cedarschema, entities.json, \
                            trust-domains.toml, relations.toml, relations.fga, purposes.toml and classes.toml; texts for people end in .md";
                faults.push(fault(path, "nothing would read this file", Some(help)));
            } else if content.len() > BUNDLE_FILE_BYTES_MAX {
                let message = format!("this file has {} bytes; one of a bundle has at most 4 MiB", content.len());
                faults.push(fault(path, message, Some("several files are read like one")));
            } else {
                files.insert(path.clone(), content.clone());
            }
        }
        files
    }

    fn canaries(&self) -> Result<Vec<Canary>, SourceFault> {
        let Some(bytes) = self.files.get(CANARIES_FILE) else { return Ok(Vec::new()) };
        serde_yaml_ng::from_slice(bytes).map_err(|error| {
            let place = error.location();
            let count = |n: Option<usize>| n.and_then(|n| u32::try_from(n).ok()).unwrap_or(1);
            PolicyFault {
                line: count(place.as_ref().map(serde_yaml_ng::Location::line)),
                column: count(place.as_ref().map(serde_yaml_ng::Location::column)),
                ..fault(CANARIES_FILE, error.to_string(), None)
            }
        })
    }

    fn manifest(
        &self,
        overrides: &BuildOverrides,
        files: &BTreeMap<String, Vec<u8>>,
        canaries: Vec<Canary>,
    ) -> Result<Manifest, SourceFault> {
        let Some(bytes) = self.files.get(BUNDLE_FILE) else {
            return Err(fault(BUNDLE_FILE, "this file is missing", Some("it says whose bundle this is")));
        };
        let (text, toml) = read(bytes)?;
        let missing = |what: &str, flag: &str| {
            let help = format!("say it here, or with {flag}");
            fault(BUNDLE_FILE, format!("there is no `{what}`"), Some(&help))
        };
        let at = |time: &Spanned<Datetime>| {
            let message = "a time has a date, a time of day and an offset: 2026-11-01T00:00:00Z";
            moment(time.get_ref()).ok_or_else(|| fault_at(BUNDLE_FILE, text, time.span().start, message))
        };
        let created = match (overrides.created, &toml.created) {
            (Some(created), _) => created,
            (None, Some(created)) => at(created)?,
            (None, None) => return Err(missing("created", "--created")),
        };
        let version = overrides.version.or(toml.version).ok_or_else(|| missing("version", "--version"))?;
        let expires = created.plus(Duration::from_secs(toml.life_days.saturating_mul(86_400)));
        let mut fallback: Vec<super::Fallback> = toml
            .fallback
            .iter()
            .map(|named| Ok(super::Fallback { digest: named.digest, until: at(&named.until)? }))
            .collect::<Result<_, SourceFault>>()?;
        if let Some(digest) = overrides.fallback {
            fallback.retain(|named| named.digest != digest);
            fallback.push(super::Fallback { digest, until: expires });
        }
        let entry = |(path, content): (&String, &Vec<u8>)| FileEntry {
            path: path.clone(),
            len: u64::try_from(content.len()).unwrap_or(u64::MAX),
            sha256: Digest::of(&[content]),
        };
        Ok(Manifest {
            format: FORMAT,
            mesh_id: overrides.mesh_id.or(toml.mesh_id).ok_or_else(|| missing("mesh_id", "--mesh-id"))?,
            tenant: toml.tenant,
            name: toml.name,
            version: BundleVersion(version),
            created,
            expires,
            files: files.iter().map(entry).collect(),
            fallback,
            floor: BundleVersion(toml.floor.unwrap_or(1)),
            bounds: toml.bounds,
            combination: toml.combination,
            limits: toml.limits,
            engines: toml.engines,
            canaries,
            allow_bearer: toml.allow_bearer,
            lifts: toml.lifts,
            authzen_without_envelope: toml.authzen_without_envelope,
        })
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

    /// Compiles it and asks its canaries, as voters and edges will. What comes out is for its author only: it is not
    /// signed, and only [`super::VerifiedBundle::compile`] makes one that an edge takes.
    ///
    /// # Errors
    /// [`BundleRejected`].
    pub fn check(&self) -> Result<CompiledBundle, BundleRejected> {
        CompiledBundle::new(self.manifest.clone(), self.digest(), &self.files)
    }

    /// Compiles it and leaves its canaries unasked: for its author, who wants to see each of them answered.
    ///
    /// # Errors
    /// [`BundleRejected`].
    pub fn compile(&self) -> Result<CompiledBundle, BundleRejected> {
        let manifest = Manifest { canaries: Vec::new(), ..self.manifest.clone() };
        CompiledBundle::new(manifest, self.digest(), &self.files)
    }

    /// The container, for signing.
    #[must_use]
    pub fn into_container(self) -> SignedBundle {
        self.bundle
    }
}
