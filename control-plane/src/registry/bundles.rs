//! Bundles: verified, compiled and tested on every voter before they are current.

use std::collections::BTreeSet;
use std::sync::Arc;

use remit_common::bundle::{
    Approval, Approved, BundleRejected, CompiledBundle, Fallback, Manifest, Posted, SignedBundle,
};
use remit_common::crypto::digest::Digest;
use remit_common::id::{BundleName, BundleVersion, CredentialId, LogIndex, TenantId, ToolName};
use remit_common::identity::{Administrator, SignedRequest, Verb};
use remit_common::lattice::Names;
use remit_common::policy::Bounds;
use remit_common::policy::relations::TupleKey;
use remit_common::relation_log::{BatchRefused, Writers, check_tuples};
use remit_common::time::Timestamp;
use remit_common::trust::activation::{Activation, RING_ALL};

use super::apply::Applied;
use super::authenticate::not_permitted;
use super::refusal::{Refusal, RefusalKind};
use super::relations;
use super::rollouts::{self, Candidate};
use super::state::{Genesis, State};
use super::trust::Trust;

/// Bundles that are kept per tenant: the active one, its fallbacks, and the newest of the others.
const BUNDLES_KEPT_MAX: usize = 8;

/// A bundle as it was signed, and what people ask about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredBundle {
    /// The container as it arrived.
    pub container: Arc<[u8]>,
    /// Who approved of what it permits anew, if anybody had to. It stays while the bundle is kept, whoever pushes the
    /// same bundle again.
    pub approved: Option<Approved>,
    /// The entry that brought it.
    pub index: LogIndex,
    /// The registry's clock then; it was verified as of this moment.
    pub accepted_at: Timestamp,
    /// Its name.
    pub name: BundleName,
    /// Its version.
    pub version: BundleVersion,
    /// When it was made.
    pub created: Timestamp,
    /// First moment at which it no longer counts.
    pub expires: Timestamp,
    /// What it may be taken back to.
    pub fallback: Vec<Fallback>,
}

/// The bundle that a tenant's edges are to run, compiled.
#[derive(Debug)]
pub struct ActiveBundle {
    compiled: CompiledBundle,
    writers: Writers,
}

impl ActiveBundle {
    pub(super) fn new(compiled: CompiledBundle) -> Self {
        Self { writers: Writers::of(compiled.policy()), compiled }
    }

    /// Who may write the tenant's relations.
    #[must_use]
    pub fn writers(&self) -> &Writers {
        &self.writers
    }

    /// Whether the model has a place for these tuples.
    ///
    /// # Errors
    /// [`BatchRefused::Tuple`] names the first for which it has none.
    pub fn check_tuples<'t>(&self, tuples: impl IntoIterator<Item = &'t TupleKey>) -> Result<(), BatchRefused> {
        check_tuples(self.compiled.policy(), tuples)
    }

    /// The compiled bundle.
    #[must_use]
    pub fn compiled(&self) -> &CompiledBundle {
        &self.compiled
    }

    /// The version.
    #[must_use]
    pub fn version(&self) -> BundleVersion {
        self.compiled.manifest().version
    }

    /// The lowest version that may ever replace it.
    #[must_use]
    pub fn floor(&self) -> BundleVersion {
        self.compiled.manifest().floor
    }

    /// The digest of its manifest.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        self.compiled.digest()
    }

    /// How stale an edge may be, per effect.
    #[must_use]
    pub fn bounds(&self) -> &Bounds {
        self.compiled.bounds()
    }

    /// The tools of its catalogue.
    pub fn tool_names(&self) -> impl Iterator<Item = &ToolName> + Clone {
        self.compiled.policy().catalogue().tools.keys()
    }

    /// Its purposes and classes.
    #[must_use]
    pub fn names(&self) -> &dyn Names {
        self.compiled.policy().taxonomy()
    }

    /// Which numbering of purposes and classes this is.
    #[must_use]
    pub fn taxonomy_version(&self) -> u64 {
        self.compiled.policy().taxonomy().version()
    }

    /// How upstreams take a credential: the digests of their injection profiles, of those whose tools use it.
    #[must_use]
    pub fn profiles_of(&self, credential: &CredentialId) -> BTreeSet<Digest> {
        let catalogue = self.compiled.policy().catalogue();
        let uses = catalogue.tools.values().filter(|tool| tool.credential.as_ref() == Some(credential));
        uses.filter_map(|tool| catalogue.upstreams.get(&tool.upstream))
            .map(remit_common::policy::Upstream::profile_digest)
            .collect()
    }
}

/// Clauses C-57 to C-59: signatures first, then succession, then whether it compiles and passes its own canaries.
pub(super) fn publish(
    state: &mut State,
    index: LogIndex,
    administrator: &Administrator,
    request: &SignedRequest,
    compared: Option<Option<Digest>>,
) -> Result<Applied, Refusal> {
    let Posted { plan, approval, container } = Posted::split(&request.body).map_err(|error| rejected(&error.into()))?;
    let signed = SignedBundle::parse(container).map_err(|error| rejected(&error.into()))?;
    // Only to know whose keys to ask for: the verified manifest must say the same.
    let tenant = signed.dangerous_unverified_manifest().map_err(|error| rejected(&error))?.tenant;
    administrator.check(Verb::PublishBundle, &tenant, state.clock).map_err(|error| not_permitted(&error))?;
    rollouts::check_idle(state, &tenant)?;
    let trust = state.trust()?;
    let now = state.clock;
    let verified = signed.verify(&trust.root, &state.genesis.mesh, &tenant, now).map_err(|error| rejected(&error))?;
    let seen = state.high_water.get(&tenant).cloned().unwrap_or_default();
    Arc::make_mut(&mut state.high_water).entry(tenant.clone()).or_default().note_verified(verified.manifest());
    verified.check_succeeds(&seen, now).map_err(|error| rejected(&error))?;
    let (manifest, digest) = (verified.manifest().clone(), *verified.digest());
    let plan = match plan {
        Some(plan) => {
            let back_until = rollouts::check_begin(state, &tenant, &manifest, &digest, &plan)?;
            Some((plan, back_until))
        }
        None => None,
    };
    let active = state.active.get(&tenant).map(|active| active.digest());
    if let Some(approval) = &approval {
        check_base(approval, active)?;
    }
    let compiled = verified.compile().map_err(|error| rejected(&error))?;
    if let (None, Some(base)) = (&approval, compared) {
        check_compared(base.as_ref(), state.active.get(&tenant).map(|active| active.digest()))?;
    }
    if let Some(active) = state.active.get(&tenant) {
        compiled.check_taxonomy(&active.compiled).map_err(|error| rejected(&error))?;
    }
    let next = ActiveBundle::new(compiled);
    relations::check_model(state, &tenant, &next)?;
    if plan.is_some() {
        rollouts::check_profiles(state, &tenant, &next)?;
    }

    Arc::make_mut(&mut state.high_water).entry(tenant.clone()).or_default().note_activated(index, &manifest, &digest);
    let approved = approval.map(|approval| {
        let (by, name) = (request.key, administrator.name.clone());
        Approved { by, name, index, at: now, approval }
    });
    let before = state.bundles.get(&(tenant.clone(), digest)).and_then(|stored| stored.approved.clone());
    let stored = stored(&manifest, index, now, container.into(), approved.or(before));
    Arc::make_mut(&mut state.bundles).insert((tenant.clone(), digest), Arc::new(stored));
    if let Some((plan, back_until)) = plan {
        let candidate = Candidate { manifest, digest, compiled: next, plan, back_until };
        let begun = rollouts::begin(state, index, (administrator, request), candidate);
        prune(state, &tenant);
        return begun;
    }
    let activation = Activation { number: index, tenant: tenant.clone(), ring: RING_ALL, manifest: digest };
    Arc::make_mut(&mut state.activations).insert((tenant.clone(), RING_ALL), activation);
    Arc::make_mut(&mut state.active).insert(tenant.clone(), Arc::new(next));
    prune(state, &tenant);
    let Manifest { name, version, .. } = manifest;
    Ok(Applied::Bundle { tenant, name, version, digest, number: index })
}

/// Clause C-92: what was compared with another bundle than the active one says nothing about the active one.
fn check_base(approval: &Approval, active: Option<&Digest>) -> Result<(), Refusal> {
    if approval.base.as_ref() == active {
        return Ok(());
    }
    let (base, active) = (digest_name(approval.base.as_ref()), digest_name(active));
    let detail = format_args!("what was approved is a change of bundle {base}; active is {active}: compare again");
    Err(Refusal::new(RefusalKind::Conflict, "approval_of_another_base", detail))
}

/// Clause C-95: another bundle became active between the leader's comparison and the entry.
fn check_compared(base: Option<&Digest>, active: Option<&Digest>) -> Result<(), Refusal> {
    if base == active {
        return Ok(());
    }
    let (base, active) = (digest_name(base), digest_name(active));
    let detail = format_args!("this was compared with bundle {base}, and now {active} is active: push it again");
    Err(Refusal::new(RefusalKind::Conflict, "compared_with_another_base", detail))
}

fn digest_name(digest: Option<&Digest>) -> String {
    digest.map_or_else(|| "none".to_owned(), ToString::to_string)
}

fn stored(
    manifest: &Manifest,
    index: LogIndex,
    accepted_at: Timestamp,
    container: Arc<[u8]>,
    approved: Option<Approved>,
) -> StoredBundle {
    StoredBundle {
        container,
        approved,
        index,
        accepted_at,
        name: manifest.name.clone(),
        version: manifest.version,
        created: manifest.created,
        expires: manifest.expires,
        fallback: manifest.fallback.clone(),
    }
}

impl StoredBundle {
    /// The container as snapshots hold it, with the record of its approval in front if there is one (clause B-44).
    pub(super) fn to_kept(&self) -> Vec<u8> {
        self.approved.as_ref().map_or_else(|| self.container.to_vec(), |approved| approved.with(&self.container))
    }
}

/// Forgets the oldest bundles of a tenant that nothing leads back to.
pub(super) fn prune(state: &mut State, tenant: &TenantId) {
    let active = state.activations.values().filter(|activation| activation.tenant == *tenant);
    let high = state.high_water.get(tenant).and_then(|high_water| high_water.high.as_ref());
    let needed: BTreeSet<Digest> = active
        .map(|activation| activation.manifest)
        .chain(high.map(|high| high.digest))
        .chain(high.into_iter().flat_map(|high| high.fallback.iter().map(|fallback| fallback.digest)))
        .collect();
    let mut kept: Vec<(LogIndex, Digest)> = state
        .bundles
        .iter()
        .filter(|((owner, digest), _)| owner == tenant && !needed.contains(digest))
        .map(|((_, digest), bundle)| (bundle.index, *digest))
        .collect();
    kept.sort_unstable();
    let surplus = (kept.len() + needed.len()).saturating_sub(BUNDLES_KEPT_MAX).min(kept.len());
    let bundles = Arc::make_mut(&mut state.bundles);
    for (_, digest) in kept.into_iter().take(surplus) {
        bundles.remove(&(tenant.clone(), digest));
    }
}

/// Verifies and compiles a container that was accepted before, as of then and under the root of then (C-71): the
/// voters that have applied the log since kept it, too, when a newer root no longer named its signers.
pub(super) fn restore(
    genesis: &Genesis,
    trust: &Trust,
    tenant: &TenantId,
    kept: &[u8],
    index: LogIndex,
    accepted_at: Timestamp,
    runs: impl Fn(&Digest) -> bool,
) -> Result<(Digest, StoredBundle, Option<ActiveBundle>), BundleRejected> {
    let (approved, container) = Approved::split(kept)?;
    let signed = SignedBundle::parse(container)?;
    // Keys may have been retired since: a bundle that is only kept is not verified again until somebody pushes it.
    let manifest = signed.dangerous_unverified_manifest()?;
    let digest = signed.digest();
    let active = if runs(&digest) {
        let mut refused = None;
        let mut verified = None;
        for root in trust.roots_at(genesis, accepted_at)?.iter().rev() {
            match signed.clone().verify(root, &genesis.mesh, tenant, accepted_at) {
                Ok(bundle) => verified = Some(bundle),
                Err(error) => refused = refused.or(Some(error)),
            }
            if verified.is_some() {
                break;
            }
        }
        let verified = match (verified, refused) {
            (Some(verified), _) => verified,
            (None, Some(error)) => return Err(error),
            (None, None) => return Err(BundleRejected::NoPolicyRole { tenant: tenant.clone() }),
        };
        Some(ActiveBundle::new(verified.compile()?))
    } else {
        None
    };
    Ok((digest, stored(&manifest, index, accepted_at, container.into(), approved), active))
}

pub(super) fn rejected(error: &BundleRejected) -> Refusal {
    let kind = if matches!(error, BundleRejected::Malformed(_)) {
        RefusalKind::Malformed
    } else if matches!(
        error,
        BundleRejected::Rollback { .. } | BundleRejected::BelowFloor { .. } | BundleRejected::SameVersion { .. }
    ) {
        RefusalKind::Conflict
    } else {
        RefusalKind::Unacceptable
    };
    Refusal::new(kind, error.reason_code(), error)
}
