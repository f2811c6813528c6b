//! From signed bytes to a bundle that may be activated.
//!
//! Signatures come first, under keys that the root names for the tenant that the *caller* expects; only then is the
//! manifest read, and only then the files. What verifies is compiled and asked its own canaries, and what has passed
//! that decides. Clauses B-5 to B-16, docs/PROTOCOL.md.

use std::collections::BTreeMap;

use super::container::SignedBundle;
use super::high_water::HighWater;
use super::manifest::Manifest;
use super::rejected::BundleRejected;
use super::source;
use crate::crypto::digest::Digest;
use crate::envelope::Authority;
use crate::id::{MeshId, TenantId};
use crate::lattice::Grade;
use crate::limits::CLOCK_AHEAD_MAX;
use crate::planted::{Bug, planted};
use crate::policy::{Bounds, CompiledPolicy, Decision, Denied, Reason, Relations, ToolCall, decide};
use crate::time::Timestamp;
use crate::trust::dsse::Envelope;
use crate::trust::root::Root;

/// A bundle that enough of the tenant's administrators signed, that is whole and in its time.
#[derive(Debug, Clone)]
pub struct VerifiedBundle {
    // INVARIANT: made by `SignedBundle::verify` alone.
    manifest: Manifest,
    digest: Digest,
    files: BTreeMap<String, Vec<u8>>,
}

/// A bundle whose policy is ready to decide and has passed its own canaries.
#[derive(Debug, Clone)]
pub struct CompiledBundle {
    manifest: Manifest,
    digest: Digest,
    policy: CompiledPolicy,
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
    root.check_time(now)?;
    if root.mesh_id() != mesh {
        return Err(BundleRejected::WrongMesh);
    }
    let role = root.policy_role(tenant).ok_or_else(|| BundleRejected::NoPolicyRole { tenant: tenant.clone() })?;
    let manifest = Manifest::parse(envelope.verify(super::MANIFEST_TYPE, role)?)?;
    let Manifest { mesh_id, tenant: found, created, expires, bounds, .. } = &manifest;
    if mesh_id != mesh {
        return Err(BundleRejected::WrongMesh);
    }
    if found != tenant {
        return Err(BundleRejected::WrongTenant { found: found.clone() });
    }
    if *created > now.plus(CLOCK_AHEAD_MAX) {
        return Err(BundleRejected::FromTheFuture { created: *created });
    }
    if now >= *expires {
        return Err(BundleRejected::Expired { expires: *expires });
    }
    bounds.check_within(&root.content().bounds_max)?;
    Ok(manifest)
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
        let manifest = verify_manifest(&self.envelope, root, mesh, tenant, now)?;
        let digest = self.digest();
        let files = match_files(&manifest, self.files)?;
        Ok(VerifiedBundle { manifest, digest, files })
    }
}

impl SignedBundle {
    /// Compiles what nobody has verified, for people who compare it with something before they sign or push it. No
    /// edge takes what comes out.
    ///
    /// # Errors
    /// [`BundleRejected`].
    pub fn dangerous_unverified_compile(self) -> Result<CompiledBundle, BundleRejected> {
        let (manifest, digest) = (self.dangerous_unverified_manifest()?, self.digest());
        let files = match_files(&manifest, self.files)?;
        CompiledBundle::new(manifest, digest, &files)
    }
}

/// Each file is the one that the manifest means, and a kind of file that this version reads: what nobody here reads
/// might forbid something.
fn match_files(manifest: &Manifest, files: Vec<Vec<u8>>) -> Result<BTreeMap<String, Vec<u8>>, BundleRejected> {
    if files.len() != manifest.files.len() {
        let fault = format!("it lists {} files and comes with {}", manifest.files.len(), files.len());
        return Err(BundleRejected::Manifest { fault });
    }
    let mut matched = BTreeMap::new();
    for (entry, content) in manifest.files.iter().zip(files) {
        let fault = |rule| Err(BundleRejected::File { path: entry.path.clone(), rule });
        if !source::is_read(&entry.path) {
            return fault("this version does not read such a file");
        }
        if u64::try_from(content.len()) != Ok(entry.len) {
            return fault("its length is not the one that was signed");
        }
        if Digest::of(&[&content]) != entry.sha256 {
            return fault("its content is not the one that was signed");
        }
        matched.insert(entry.path.clone(), content);
    }
    Ok(matched)
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
        seen.check(self.manifest.version, &self.digest, now)
    }

    /// Compiles the policy and lets it pass its own canaries. This is the gate of activation.
    ///
    /// # Errors
    /// [`BundleRejected`].
    pub fn compile(self) -> Result<CompiledBundle, BundleRejected> {
        CompiledBundle::new(self.manifest, self.digest, &self.files)
    }
}

impl CompiledBundle {
    /// INVARIANT: what decides for an edge comes from [`VerifiedBundle::compile`]; authors compile what is unsigned,
    /// or what they have not verified.
    pub(super) fn new(
        manifest: Manifest,
        digest: Digest,
        files: &BTreeMap<String, Vec<u8>>,
    ) -> Result<Self, BundleRejected> {
        let policy = CompiledPolicy::compile_with(files, &manifest.authzen_without_envelope)
            .map_err(|faults| BundleRejected::Policy { faults })?;
        let mut tools = policy.catalogue().tools.values();
        if let Some(tool) = tools.find(|tool| tool.min_pop == Grade::None).filter(|_| !manifest.allow_bearer) {
            return Err(BundleRejected::Bearer { tool: tool.name.clone() });
        }
        let compiled = Self { manifest, digest, policy };
        for canary in compiled.manifest.canaries.iter().filter(|_| !planted(Bug::CanariesNotAsked)) {
            canary.check(&compiled)?;
        }
        Ok(compiled)
    }

    /// The same bundle deciding by another policy, for whoever asks what a mistake would change. It is never handed out.
    pub(super) fn with_policy(&self, policy: CompiledPolicy) -> Self {
        Self { policy, ..self.clone() }
    }

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
    pub fn decide(&self, authority: &Authority, call: &ToolCall, relations: &Relations, now: Timestamp) -> Decision {
        match self.check_limits(authority) {
            Ok(()) => decide(&self.policy, authority, call, relations, now),
            Err(denied) => Decision::Deny(denied),
        }
    }

    /// Whether the manifest lets a chain like this be decided at all.
    ///
    /// # Errors
    /// The denial.
    pub fn check_limits(&self, authority: &Authority) -> Result<(), Denied> {
        let Manifest { tenant, version, limits, .. } = &self.manifest;
        if authority.tenant != *tenant {
            let detail = format!("an envelope of `{}` was asked of a bundle of `{tenant}`", authority.tenant);
            return Err(Denied::new(Reason::NoMatchingPolicy, detail));
        }
        if authority.min_bundle_version > *version {
            let detail = format!("the envelope asks for bundle {}, here is {version}", authority.min_bundle_version);
            return Err(Denied::new(Reason::Stale, detail));
        }
        if authority.chain_depth > limits.chain_links {
            let detail = format!("{} links; the bundle takes {}", authority.chain_depth, limits.chain_links);
            return Err(Denied { hop: Some(limits.chain_links), ..Denied::new(Reason::OutOfScope, detail) });
        }
        Ok(())
    }

    /// Whether purposes and classes still mean what they meant under an earlier version. A bundle that goes back to
    /// a fallback is not asked: its successor was.
    ///
    /// # Errors
    /// [`BundleRejected::Taxonomy`].
    pub fn check_taxonomy(&self, earlier: &Self) -> Result<(), BundleRejected> {
        if self.manifest.version > earlier.manifest.version {
            self.policy.taxonomy().check_succeeds(earlier.policy.taxonomy())?;
        }
        Ok(())
    }
}
