//! Bundles: verified, compiled and tested when they come, active once a tick names them.

use std::collections::BTreeMap;
use std::sync::Arc;

use remit_common::bundle::verified::verify_manifest;
use remit_common::bundle::{BundleRejected, HighManifest, Manifest, SignedBundle, VerifiedBundle};
use remit_common::crypto::digest::Digest;
use remit_common::id::{LogIndex, TenantId};
use remit_common::planted::{Bug, planted};
use remit_common::time::{Now, Timestamp};
use remit_common::trust::activation::{Activation, RING_ALL, RING_STAGED, Staged, activations_digest};
use remit_common::trust::dsse::Envelope;
use remit_common::trust::scope::Scope;

use super::{Accepted, Refused, State, Tenant};
use crate::active::store::{Stored, StoredActivation, StoredTenant};
use crate::active::trial::Tried;
use crate::active::view::{ActiveBundle, Ready, Shadow};

/// Verified bundles kept per tenant: the active one, one that waits, and one to go back to.
const BUNDLES_KEPT: usize = 3;
/// Activations that a voter may tell of: every tenant of a mesh in a few rings.
pub(super) const ACTIVATIONS_MAX: usize = 4_096;

/// Edges and regions that a voter may name, over all tenants.
const SCOPE_NAMES_ALL_MAX: usize = 16_384;

/// A manifest that holds, and the files of earlier bundles that it may share.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// The verified manifest.
    pub(crate) manifest: Manifest,
    /// Files that lie here, by digest.
    pub(crate) held: BTreeMap<Digest, Vec<u8>>,
}

/// What the voter of the present connection announced. It dies with the connection, so that what one voter made up
/// cannot spoil what the next one says.
#[derive(Debug, Default)]
pub(super) struct Told {
    activations: BTreeMap<(TenantId, u32), Activation>,
    /// Whom the staged ones are for.
    scopes: BTreeMap<TenantId, Scope>,
    /// The newest tick that it answered with, and its digest of the activations.
    named: Option<(LogIndex, Digest)>,
}

impl Told {
    /// A tick answer of the voter says which activations there are.
    pub(super) fn name(&mut self, n: LogIndex, activations: Digest) {
        if self.named.is_none_or(|(newest, _)| newest < n) {
            self.named = Some((n, activations));
        }
    }

    fn insert(&mut self, activation: Activation) -> Result<(), Refused> {
        let key = (activation.tenant.clone(), activation.ring);
        if self.activations.len() >= ACTIVATIONS_MAX && !self.activations.contains_key(&key) {
            return Err(Refused::TooManyActivations);
        }
        self.activations.insert(key, activation);
        Ok(())
    }

    fn digest(&self) -> Digest {
        activations_digest(self.activations.values(), &self.scopes)
    }

    /// What is staged of a tenant, and for whom.
    fn staged(&self, tenant: &TenantId) -> Option<(&Activation, &Scope)> {
        Some((self.activations.get(&(tenant.clone(), RING_STAGED))?, self.scopes.get(tenant)?))
    }
}

impl State {
    /// Verifies what lies on the disk under the newest root and directory, as of the moment when it was accepted or
    /// the root was, whichever came later. What they no longer vouch for is not used, and is no reason to stay down
    /// (N-4).
    pub(super) fn load_tenants(&mut self) -> Result<(), Refused> {
        let rooted = self.index.roots.last().map_or(Timestamp::default(), |stored| stored.accepted);
        let mut tenants = BTreeMap::new();
        // One that is not served any more keeps its high water, and nothing else.
        let served = self.index.tenants.iter().filter(|(name, _)| self.config.tenants.contains(*name));
        for (name, stored) in served {
            let mut tenant = Tenant::default();
            // What ended the process is not opened again (B-32).
            for bundle in stored.bundles.iter().filter(|bundle| !self.trials.passes_over(name, &bundle.content)) {
                let signed = SignedBundle::parse(&self.store.content(bundle)?).map_err(BundleRejected::from)?;
                match self.verify_bundle(name, signed, bundle.content, bundle.accepted.max(rooted)) {
                    Ok(ready) => {
                        tenant.ready.insert(*ready.verified.digest(), ready);
                    }
                    Err(refused) => tracing::warn!(tenant = %name, error = %refused, "a stored bundle is not used"),
                }
            }
            tenant.active = stored.active.and_then(|active| {
                let ready = tenant.ready.get(&active.manifest)?;
                Some(ActiveBundle { number: active.number, bundle: Arc::clone(&ready.compiled) })
            });
            tenants.insert(name.clone(), tenant);
        }
        self.tenants = tenants;
        for tenant in self.config.tenants.clone() {
            self.load_relations(&tenant)?;
        }
        self.recheck_shards()
    }

    pub(super) fn verify_bundle(
        &self,
        tenant: &TenantId,
        signed: SignedBundle,
        content: Digest,
        now: Timestamp,
    ) -> Result<Ready, Refused> {
        let verified = signed.verify(&self.root, &self.config.mesh, tenant, now)?;
        Self::compile(verified, content)
    }

    fn compile(verified: VerifiedBundle, content: Digest) -> Result<Ready, Refused> {
        let compiled = Arc::new(verified.clone().compile()?);
        Ok(Ready { verified, content, compiled })
    }

    /// The manifest of a bundle arrived, before its files: whether it is worth fetching them, and which of them lie
    /// here already. `number` is that of the activation that names it.
    ///
    /// # Errors
    /// [`Refused`].
    pub(crate) fn check_manifest(
        &self,
        tenant: &TenantId,
        number: LogIndex,
        envelope: &Envelope,
        now: Now,
    ) -> Result<Wanted, Refused> {
        if !self.index.tenants.contains_key(tenant) {
            return Err(Refused::NotOurs(tenant.clone()));
        }
        if self.trials.is_lost(tenant, number, &Digest::of(&[&envelope.payload])) {
            return Err(Refused::CrashLoop(number));
        }
        let manifest = verify_manifest(envelope, &self.root, &self.config.mesh, tenant, now.wall)?;
        let held = self.tenants.get(tenant).into_iter().flat_map(|tenant| tenant.ready.values());
        let held = held.flat_map(|ready| ready.verified.files().values());
        let held = held.map(|bytes| (Digest::of(&[bytes]), bytes.clone())).collect();
        Ok(Wanted { manifest, held })
    }

    /// A bundle of `tenant` arrived, named by activation `number`: it is verified, compiled and tested, and then waits to
    /// be named by a tick.
    ///
    /// # Errors
    /// [`Refused`]; nothing has changed.
    pub(crate) fn accept_bundle(
        &mut self,
        tenant: &TenantId,
        number: LogIndex,
        signed: SignedBundle,
        now: Now,
    ) -> Result<Accepted, Refused> {
        if !self.index.tenants.contains_key(tenant) {
            return Err(Refused::NotOurs(tenant.clone()));
        }
        let bytes = signed.to_bytes();
        let verified = signed.verify(&self.root, &self.config.mesh, tenant, now.wall)?;
        let digest = *verified.digest();
        if self.tenants.get(tenant).is_some_and(|tenant| tenant.ready.contains_key(&digest)) {
            return Ok(Accepted::Nothing);
        }
        let mut index = self.index.clone();
        let entry = index.tenants.entry(tenant.clone()).or_default();
        entry.water.note_verified(verified.manifest());
        verified.check_succeeds(&entry.water, now.wall)?;
        let content = Digest::of(&[&bytes]);
        let tried = Tried { tenant, number, manifest: digest, content };
        let ready = match self.on_trial(tried, |_| Self::compile(verified, content))? {
            Ok(ready) => ready,
            Err(refused) => {
                // Its administrators' word about the floor holds, whatever became of the policy (B-10).
                self.commit(index)?;
                return Err(refused);
            }
        };
        let content = self.store.put_content(&bytes, now.wall)?;
        entry.bundles.retain(|known| known.content != content.content);
        entry.bundles.insert(0, content);
        let dropped = self.drop_old_bundles(tenant, entry)?;
        self.commit(index)?;
        let tenant = self.tenants.entry(tenant.clone()).or_default();
        tenant.ready.retain(|digest, _| !dropped.contains(digest));
        tenant.ready.insert(digest, ready);
        // It may be what takes the place of one that ended the process.
        let mut took_effect = self.retreat(now);
        self.show();
        match self.activate(now) {
            Ok(activated) => took_effect.extend(activated.unwrap_or_default()),
            Err(refused) if took_effect.is_empty() => return Err(refused),
            Err(refused) => tracing::warn!(error = %refused, "an activation does not take effect"),
        }
        Ok(if took_effect.is_empty() { Accepted::Changed } else { Accepted::Activated(took_effect) })
    }

    /// Keeps the newest bundle, the active one, what the voter has named, and then what the highest may be taken back to;
    /// gives the manifests of those that go.
    fn drop_old_bundles(&self, tenant: &TenantId, entry: &mut StoredTenant) -> Result<Vec<Digest>, Refused> {
        let mut dropped = Vec::new();
        while entry.bundles.len() > BUNDLES_KEPT {
            // Of each the oldest, by how little it is needed.
            let [mut spare, mut named, mut told] = [None; 3];
            for (at, stored) in entry.bundles.iter().enumerate().skip(1) {
                let manifest = self.manifest_of(tenant, stored)?;
                if entry.active.is_some_and(|active| active.manifest == manifest) {
                    continue;
                }
                let high = entry.water.high.as_ref();
                let is_named = high.is_some_and(|high| high.fallback.iter().any(|named| named.digest == manifest));
                let is_told = self.told.activations.values().any(|told| told.manifest == manifest);
                let slot = match (is_told, is_named) {
                    (true, _) => &mut told,
                    (false, true) => &mut named,
                    (false, false) => &mut spare,
                };
                *slot = Some((at, manifest));
            }
            let Some((at, manifest)) = spare.or(named).or(told) else { break };
            entry.bundles.remove(at);
            dropped.push(manifest);
        }
        Ok(dropped)
    }

    /// Whose container this is. One that ended the process is not opened for it.
    fn manifest_of(&self, tenant: &TenantId, stored: &Stored) -> Result<Digest, Refused> {
        let ready = self.tenants.get(tenant).into_iter().flat_map(|tenant| &tenant.ready);
        let mut ready = ready.filter(|(_, ready)| ready.content == stored.content).map(|(manifest, _)| *manifest);
        let mut lost = self.trials.lost(tenant).filter(|trial| trial.content == stored.content);
        if let Some(manifest) = ready.next().or_else(|| lost.next().map(|trial| trial.manifest)) {
            return Ok(manifest);
        }
        Ok(SignedBundle::parse(&self.store.content(stored)?).map_err(BundleRejected::from)?.digest())
    }

    /// A connection to a voter begins: what the last one announced is forgotten.
    pub(crate) fn begin_connection(&mut self) {
        self.told = Told::default();
        self.expect_relations();
    }

    /// The voter tells of an activation. It takes effect when one of its tick answers names the whole set.
    ///
    /// # Errors
    /// [`Refused`]; nothing has changed.
    pub(crate) fn offer_activation(&mut self, offered: Activation, now: Now) -> Result<Accepted, Refused> {
        self.told.insert(offered)?;
        Ok(self.activate(now)?.map_or(Accepted::Changed, Accepted::Activated))
    }

    /// The voter tells of an activation for some of the tenant's edges. It takes effect as every other does, where it is
    /// for this edge; elsewhere its bundle is compared with the one that decides (clause N-20).
    ///
    /// # Errors
    /// [`Refused`]; nothing has changed.
    pub(crate) fn offer_staged(&mut self, offered: Staged, now: Now) -> Result<Accepted, Refused> {
        let Staged { activation, scope } = offered;
        let tenant = activation.tenant.clone();
        let names = |scope: &Scope| scope.edges.len().saturating_add(scope.regions.len());
        let others = self.told.scopes.iter().filter(|(other, _)| **other != tenant).map(|(_, scope)| names(scope));
        if others.fold(names(&scope), usize::saturating_add) > SCOPE_NAMES_ALL_MAX {
            return Err(Refused::TooManyActivations);
        }
        self.told.insert(activation)?;
        self.told.scopes.insert(tenant, scope);
        let activated = self.activate(now);
        self.show();
        Ok(activated?.map_or(Accepted::Changed, Accepted::Activated))
    }

    /// Nothing is staged of a tenant any more.
    ///
    /// # Errors
    /// [`Refused`]; nothing has changed.
    pub(crate) fn end_staged(&mut self, tenant: &TenantId, now: Now) -> Result<Accepted, Refused> {
        self.told.activations.remove(&(tenant.clone(), RING_STAGED));
        self.told.scopes.remove(tenant);
        let activated = self.activate(now);
        self.show();
        Ok(activated?.map_or(Accepted::Changed, Accepted::Activated))
    }

    /// Of the activations that the voter told of, those that are this edge's: what is staged for it, or what is everybody's.
    pub(super) fn meant(&self) -> impl Iterator<Item = &Activation> {
        let listed = self.directory.as_ref().and_then(|directory| directory.edge(&self.config.edge));
        let covers = move |scope: &Scope| listed.is_some_and(|edge| scope.covers(&edge.id, &edge.region));
        let everybodys = self.told.activations.values().filter(|activation| activation.ring == RING_ALL);
        everybodys.map(move |activation| match self.told.staged(&activation.tenant) {
            Some((staged, scope)) if covers(scope) || planted(Bug::StagedScopeIgnored) => staged,
            _ => activation,
        })
    }

    /// The bundles to compare the deciding ones with, where both are here: while one is rolled out, the other of the two.
    pub(super) fn shadows(&self) -> BTreeMap<TenantId, Shadow> {
        let shadow = |name: &TenantId, tenant: &Tenant| {
            let (staged, scope) = self.told.staged(name)?;
            let everybodys = self.told.activations.get(&(name.clone(), RING_ALL))?;
            let runs = *tenant.active.as_ref()?.bundle.digest();
            let other = if runs == staged.manifest { everybodys.manifest } else { staged.manifest };
            let bundle = Arc::clone(&tenant.ready.get(&other).filter(|_| other != runs)?.compiled);
            Some(Shadow { rollout: LogIndex(scope.salt), runs: runs == staged.manifest, bundle })
        };
        self.tenants.iter().filter_map(|(name, tenant)| Some((name.clone(), shadow(name, tenant)?))).collect()
    }

    /// Activates what a tick has named and what is ready (Clause N-3). One index write for all of it.
    pub(super) fn activate(&mut self, now: Now) -> Result<Option<Vec<Activation>>, Refused> {
        let (n, digest) = match self.told.named {
            Some(named) => named,
            None if planted(Bug::ActivationUncheckedAfterRestart) => (LogIndex(u64::MAX), self.told.digest()),
            None => return Ok(None),
        };
        if self.told.digest() != digest {
            return Ok(None);
        }
        self.try_again(n, now);
        let mut index = self.index.clone();
        let (mut activated, mut refused) = (Vec::new(), None);
        for activation in self.meant().filter(|activation| activation.number <= n) {
            if self.trials.is_lost(&activation.tenant, activation.number, &activation.manifest) {
                continue;
            }
            let Some(entry) = index.tenants.get_mut(&activation.tenant) else { continue };
            let running = self.tenants.get(&activation.tenant);
            let runs = running.and_then(|tenant| tenant.active.as_ref()).is_some();
            if activation.number == entry.water.activation && runs {
                continue;
            }
            let ready = running.and_then(|tenant| tenant.ready.get(&activation.manifest));
            // One tenant's trouble is not the others': it is reported when nothing else is to be done.
            match succeeds(entry, activation, ready, now) {
                Ok(Some(ready)) => {
                    let verified = &ready.verified;
                    entry.water.note_activated(activation.number, verified.manifest(), verified.digest());
                    if planted(Bug::FallbackOfTheActive) {
                        let (manifest, digest) = (verified.manifest(), *verified.digest());
                        let (version, fallback) = (manifest.version, manifest.fallback.clone());
                        entry.water.high = Some(HighManifest { version, digest, fallback });
                    }
                    let active = StoredActivation { number: activation.number, manifest: *verified.digest() };
                    entry.active = Some(active);
                    activated.push(activation.clone());
                }
                Ok(None) => {}
                Err(reason) => refused = Some(reason),
            }
        }
        if activated.is_empty() {
            return refused.map_or(Ok(None), Err);
        }
        let chosen: Vec<_> = activated.iter().map(|of| (of.tenant.clone(), of.number, of.manifest)).collect();
        self.take_effect(index, &chosen, now)?;
        self.show();
        Ok(Some(activated))
    }
}

/// Whether an activation may take effect now; nothing when its bundle is not ready.
fn succeeds<'r>(
    entry: &StoredTenant,
    activation: &Activation,
    ready: Option<&'r Ready>,
    now: Now,
) -> Result<Option<&'r Ready>, Refused> {
    // The same activation again is a restart of what it named, after a root that had dropped it.
    if activation.number != entry.water.activation {
        entry.water.check_activation(activation.number)?;
    }
    if let Some(ready) = ready {
        ready.verified.check_succeeds(&entry.water, now.wall)?;
    }
    Ok(ready)
}
