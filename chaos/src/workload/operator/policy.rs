//! The administrators of policy: build, sign, approve and push bundles, and now and then one that nobody may take.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, Result};
use remit_common::bundle::diff::{Budget, compare};
use remit_common::bundle::source::{BuildOverrides, BundleSource, CANARIES_FILE};
use remit_common::bundle::{Approval, SignedBundle, SourceFault};
use remit_common::crypto::digest::Digest;
use remit_common::id::{BundleVersion, MeshId};
use remit_common::net::env::Env;
use remit_common::net::tasks::Shutdown;
use remit_common::policy::Bounds;
use remit_common::text;
use remit_common::trust::dsse::{DsseSignature, Envelope};
use remit_control_plane::admin::model::{BundlePublished, Bundles};

use super::{Made, Operator};
use crate::history::WriteKind;
use crate::launcher::read_signing_key;
use crate::workload::offers;
use crate::workload::rest::{draw, rest};

/// What is wrong with a bundle that nobody may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Poison {
    /// Nobody signed it.
    Unsigned,
    /// One administrator signed it; two must.
    OneSignature,
    /// One administrator signed it, and the signature stands there again under the name of another.
    OneKeyTwice,
    /// A file was changed after it was signed.
    Tampered,
    /// It is made for another mesh.
    OtherMesh,
    /// It is older than the active one.
    Older,
    /// It expects another decision of itself than it gives; signed as it should be.
    FalseCanary,
    /// It permits what the active one does not, signed as it should be, and nobody approved that. Only while offers are
    /// frozen.
    UnapprovedWidening,
}

impl Poison {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::Unsigned,
        Self::OneSignature,
        Self::OneKeyTwice,
        Self::Tampered,
        Self::OtherMesh,
        Self::Older,
        Self::FalseCanary,
        Self::UnapprovedWidening,
    ];
}

/// The rule that freezes offers, and the file that has it.
const FREEZE: (&str, &str) = (
    "policies/freeze.cedar",
    "@id(\"freeze.offers\")\nforbid (principal, action == Action::\"renewals.propose\", resource);\n",
);
/// Why somebody approves that offers are possible again.
/// Where a bundle has remarks that only make it long.
const PADDING: &str = "policies/padding.cedar";
const THAW_REASON: &str = "offers are possible again";
/// Bundles that may be the active one.
const PUSHED_MAX: usize = 16;

/// What the administrators of policy have in mind.
#[derive(Debug, Default)]
pub(super) struct PolicyDesk {
    /// Whether nobody may make an offer for now.
    frozen: bool,
    /// The bundles that were pushed lately, and whether offers are frozen by them: what replaces one of those is wider,
    /// and has to be approved.
    pushed: BTreeMap<BundleVersion, (SignedBundle, bool)>,
}

impl PolicyDesk {
    pub(super) fn is_frozen(&self) -> bool {
        self.frozen
    }

    /// Whether offers are frozen by this version.
    pub(super) fn froze(&self, version: BundleVersion) -> bool {
        self.pushed.get(&version).is_some_and(|(_, frozen)| *frozen)
    }

    pub(super) fn pushed(&self, version: BundleVersion) -> Option<SignedBundle> {
        self.pushed.get(&version).map(|(bundle, _)| bundle.clone())
    }

    pub(super) fn keep(&mut self, version: u64, bundle: SignedBundle, frozen: bool) {
        self.pushed.insert(BundleVersion(version), (bundle, frozen));
        while self.pushed.len() > PUSHED_MAX {
            self.pushed.pop_first();
        }
    }
}

/// What a bundle is built to be.
pub(super) struct Content {
    pub(super) version: u64,
    pub(super) mesh: MeshId,
    pub(super) frozen: bool,
    /// What it may be taken back to.
    pub(super) fallback: Option<Digest>,
}

impl Operator {
    /// Builds a bundle of this version, with offers frozen or not, and has administrators sign it.
    fn build(&self, version: u64, keys: usize, mesh: MeshId, frozen: bool) -> Result<SignedBundle> {
        self.build_with(&Content { version, mesh, frozen, fallback: None }, keys, |_| Ok(()))
    }

    /// The same, with its sources changed.
    pub(super) fn build_with(
        &self,
        content: &Content,
        keys: usize,
        change: impl FnOnce(&mut BundleSource) -> Result<()>,
    ) -> Result<SignedBundle> {
        let env = self.env();
        let overrides = BuildOverrides {
            created: Some(env.now().wall),
            mesh_id: Some(content.mesh),
            version: Some(content.version),
            fallback: content.fallback,
        };
        let mut source = self.0.source.clone();
        if content.frozen {
            freeze(&mut source)?;
        }
        change(&mut source)?;
        let built = source.build(&overrides).map_err(|faults| anyhow::anyhow!(texts(&faults)))?;
        let mut bundle = built.into_container();
        self.sign(&mut bundle, keys)?;
        Ok(bundle)
    }

    pub(in crate::workload) fn bounds(&self) -> Result<Bounds> {
        let overrides = BuildOverrides { mesh_id: Some(self.0.access.mesh().mesh_id), ..BuildOverrides::default() };
        let built = self.0.source.build(&overrides).map_err(|faults| anyhow::anyhow!(texts(&faults)))?;
        Ok(built.manifest().bounds)
    }

    /// Publishes the next version of the policy. Gives its version when a voter took it.
    pub async fn publish(&self) -> Option<BundleVersion> {
        self.publish_padded(0).await
    }

    /// The same with so many KiB of remarks that no compression shortens by more than half.
    pub async fn publish_padded(&self, padding_kib: u32) -> Option<BundleVersion> {
        let mut desk = self.0.desk.lock().await;
        self.publish_next(&mut desk, padding_kib).await
    }

    /// From now on nobody may make an offer; or they may again, which has to be approved. Gives the version that says so
    /// when a voter took it.
    pub async fn freeze_offers(&self, frozen: bool) -> Option<BundleVersion> {
        let mut desk = self.0.desk.lock().await;
        desk.frozen = frozen;
        self.publish_next(&mut desk, 0).await
    }

    async fn publish_next(&self, desk: &mut PolicyDesk, padding_kib: u32) -> Option<BundleVersion> {
        let version = self.next_version();
        let content = Content { version, mesh: self.0.access.mesh().mesh_id, frozen: desk.frozen, fallback: None };
        let pad = |source: &mut BundleSource| {
            if padding_kib > 0 {
                source.files.insert(PADDING.to_owned(), padding(&self.env(), padding_kib).into_bytes());
            }
            Ok(())
        };
        let bundle = self.build_with(&content, 2, pad).ok()?;
        let approval = if desk.frozen { None } else { self.approval(desk, &bundle).await };
        desk.keep(version, bundle.clone(), desk.frozen);
        let container = bundle.to_bytes();
        let body = approval.map_or_else(|| container.clone(), |approval| approval.with(&container));
        let without = if desk.frozen { vec![offers::TOOL.to_owned()] } else { Vec::new() };
        let published = self.push(version, &bundle, without, body).await?;
        Some(published.version)
    }

    /// Of what a bundle permits and the active one does not, if that is one that froze offers.
    async fn approval(&self, desk: &PolicyDesk, new: &SignedBundle) -> Option<Approval> {
        if desk.pushed.values().all(|(_, frozen)| !frozen) {
            return None;
        }
        let listing = self.get_any::<Bundles>("/v1/bundles").await?;
        let active = listing.bundles.iter().find(|bundle| bundle.number.is_some())?;
        let old = desk.pushed(active.version).filter(|_| desk.froze(active.version))?;
        let old = old.dangerous_unverified_compile().ok()?;
        let new = new.clone().dangerous_unverified_compile().ok()?;
        let found = compare(&old, &new, &[], self.env().now().wall, Budget::VOTER);
        Approval::of(&found, THAW_REASON).ok()
    }

    pub(super) fn next_version(&self) -> u64 {
        self.0.version.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Publishes a bundle that nobody may take. Says whether somebody did.
    ///
    /// # Errors
    /// When it cannot be made.
    pub async fn publish_poisoned(&self, poison: Poison) -> Result<bool> {
        let desk = self.0.desk.lock().await;
        let (mesh, frozen) = (self.0.access.mesh().mesh_id, desk.frozen);
        let next = self.next_version();
        let (version, bundle) = match poison {
            Poison::Unsigned => (next, self.build(next, 0, mesh, frozen)?),
            Poison::OneSignature => (next, self.build(next, 1, mesh, frozen)?),
            Poison::OneKeyTwice => (next, self.build_signed_twice_by_one(next, frozen)?),
            Poison::Tampered => {
                let bundle = self.build(next, 2, mesh, frozen)?;
                let (envelope, files) = bundle.parts();
                let mut files = files.to_vec();
                if let Some(byte) = files.first_mut().and_then(|file| file.last_mut()) {
                    *byte ^= 1;
                }
                (next, SignedBundle::from_parts(envelope.clone(), files))
            }
            Poison::OtherMesh => (next, self.build(next, 2, MeshId([0xee; 16]), frozen)?),
            Poison::Older => (1, self.build(1, 2, mesh, frozen)?),
            Poison::FalseCanary => (next, self.build_with_false_canary(next, frozen)?),
            Poison::UnapprovedWidening => {
                let listing = self.get_any::<Bundles>("/v1/bundles").await.context("no voter says what is active")?;
                let active = listing.bundles.iter().find(|bundle| bundle.number.is_some());
                let is_wider = active.is_some_and(|active| desk.froze(active.version));
                anyhow::ensure!(is_wider, "offers are not frozen, so nothing would be wider");
                (next, self.build(next, 2, mesh, false)?)
            }
        };
        let (kind, body) = (publication(version, &bundle, false, Vec::new()), bundle.to_bytes());
        Ok(self.write(kind, "/v1/bundles", body, made).await.is_some())
    }

    fn build_signed_twice_by_one(&self, version: u64, frozen: bool) -> Result<SignedBundle> {
        let bundle = self.build(version, 1, self.0.access.mesh().mesh_id, frozen)?;
        let (envelope, files) = bundle.parts();
        let mut envelope = envelope.clone();
        let keys = self.0.access.mesh().keys.policy;
        let other = read_signing_key(&self.env(), keys.get(1).context("policy has one key only")?)?;
        let once = envelope.signatures.first().copied().context("nobody has signed it")?;
        envelope.signatures.push(DsseSignature { keyid: other.public().id(), sig: once.sig });
        Ok(SignedBundle::from_parts(envelope, files.to_vec()))
    }

    fn build_with_false_canary(&self, version: u64, frozen: bool) -> Result<SignedBundle> {
        let bundle = self.build(version, 0, self.0.access.mesh().mesh_id, frozen)?;
        let (envelope, files) = bundle.parts();
        let manifest = std::str::from_utf8(&envelope.payload)?;
        let changed = manifest.replacen(r#""expect":"permit""#, r#""expect":"expired""#, 1);
        anyhow::ensure!(changed != manifest, "no canary of the example expects a permit");
        let mut bundle =
            SignedBundle::from_parts(Envelope::new(&envelope.payload_type, changed.into_bytes()), files.to_vec());
        self.sign(&mut bundle, 2)?;
        Ok(bundle)
    }

    fn sign(&self, bundle: &mut SignedBundle, keys: usize) -> Result<()> {
        for path in self.0.access.mesh().keys.policy.iter().take(keys) {
            bundle.add_signature(&read_signing_key(&self.env(), path)?);
        }
        Ok(())
    }

    async fn push(
        &self,
        version: u64,
        bundle: &SignedBundle,
        without: Vec<String>,
        body: Vec<u8>,
    ) -> Option<BundlePublished> {
        self.write(publication(version, bundle, true, without), "/v1/bundles", body, made).await
    }

    pub(in crate::workload) async fn publish_repeatedly(self, every: Duration, poisoned_one_in: usize, stop: Shutdown) {
        while rest(&self.env(), every, &stop).await {
            let env = self.env();
            if draw(&env, poisoned_one_in) == 0 {
                let poison = Poison::ALL.get(draw(&env, Poison::ALL.len())).copied().unwrap_or(Poison::Unsigned);
                // What cannot be made is not pushed.
                let _ = self.publish_poisoned(poison).await;
            }
            self.publish().await;
        }
    }
}

/// Remarks of random digits, a line of 128 bytes each.
fn padding(env: &Env, kib: u32) -> String {
    (0..kib * 8).map(|_| format!("// {}\n", text::hex(&env.random::<62>()))).collect()
}

/// Forbids offers, and takes away the canaries that say who may make one: a bundle that breaks its own is refused.
fn freeze(source: &mut BundleSource) -> Result<()> {
    source.files.insert(FREEZE.0.to_owned(), FREEZE.1.as_bytes().to_vec());
    without_canaries_of(source, offers::TOOL)
}

/// Takes away what a bundle expects of itself about a tool.
pub(super) fn without_canaries_of(source: &mut BundleSource, tool: &str) -> Result<()> {
    let canaries = source.files.get_mut(CANARIES_FILE).context("the example has no canaries")?;
    let text = std::str::from_utf8(canaries)?;
    let kept = text.split_inclusive("\n\n").filter(|canary| !canary.contains(tool));
    *canaries = kept.collect::<String>().into_bytes();
    Ok(())
}

fn publication(version: u64, bundle: &SignedBundle, good: bool, without: Vec<String>) -> WriteKind {
    WriteKind::Publish { version: BundleVersion(version), digest: bundle.digest(), good, without }
}

fn made(published: &BundlePublished) -> Made {
    Made { activation: Some(published.number), ..Made::at(published.index) }
}

pub(super) fn texts(faults: &[SourceFault]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
