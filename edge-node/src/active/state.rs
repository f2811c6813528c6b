//! The owner of what is true here: verifies, stores, then shows.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use remit_common::bundle::high_water::ActivationGoesBack;
use remit_common::bundle::verified::verify_manifest;
use remit_common::bundle::{BundleRejected, HighWater, Manifest, SignedBundle, VerifiedBundle};
use remit_common::crypto::digest::Digest;
use remit_common::id::{CredentialId, EdgeId, LogIndex, MeshId, RevocationEpoch, TenantId, VoterId};
use remit_common::net::env::Disk;
use remit_common::planted::{Bug, planted};
use remit_common::revocation::{RevocationRefused, RevocationUpdate, Revocations};
use remit_common::shard::{NotRising, SealedShard, ShardRefused, VerifiedShard};
use remit_common::time::{Now, Timestamp};
use remit_common::trust::activation::{Activation, activations_digest};
use remit_common::trust::directory::{Directory, SignedDirectory};
use remit_common::trust::dsse::Envelope;
use remit_common::trust::freshness::{AnswerRefused, Enforced, Freshness, Learned, QuarantineCause, StoredProof};
use remit_common::trust::root::{Root, SignedRoot, TrustRefused};
use remit_common::trust::tick::{Nonce, TickAnswer};

use super::store::{Index, Store, StoreFailed, StoredActivation, StoredTenant};
use super::view::{ActiveBundle, Ready, View, ViewCell};

/// Verified bundles kept per tenant: the active one, one that waits, and one to go back to.
pub(super) const BUNDLES_KEPT: usize = 3;
/// Activations that a voter may tell of: every tenant of a mesh in a few rings.
const ACTIVATIONS_MAX: usize = 4_096;
/// Roots of one chain: one a year, and some for bad days.
const ROOTS_MAX: usize = 64;

/// Who this edge is and what it was installed with.
#[derive(Debug, Clone)]
pub(crate) struct StateConfig {
    pub(crate) mesh: MeshId,
    pub(crate) edge: EdgeId,
    pub(crate) tenants: BTreeSet<TenantId>,
    /// The first root document, as it was installed.
    pub(crate) root: Vec<u8>,
    pub(crate) data_dir: PathBuf,
}

/// Something that arrived is not taken. What was true stays true.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    #[error(transparent)]
    Trust(#[from] TrustRefused),
    #[error(transparent)]
    Bundle(#[from] BundleRejected),
    #[error(transparent)]
    Shard(#[from] ShardRefused),
    #[error(transparent)]
    ShardNotRising(#[from] NotRising),
    #[error(transparent)]
    Revocation(#[from] RevocationRefused),
    #[error(transparent)]
    Answer(#[from] AnswerRefused),
    /// It can be checked only under a directory, and none has come yet.
    #[error("no directory has arrived yet")]
    NoDirectory,
    /// A tenant that this edge does not serve.
    #[error("this edge does not serve tenant `{0}`")]
    NotOurs(TenantId),
    /// More than any honest voter tells.
    #[error("more than {ACTIVATIONS_MAX} activations")]
    TooManyActivations,
    /// Going back to an earlier activation.
    #[error(transparent)]
    ActivationGoesBack(#[from] ActivationGoesBack),
    /// The disk failed: fatal for the process, harmless for what is on the disk.
    #[error(transparent)]
    Store(#[from] StoreFailed),
}

impl Refused {
    /// A fixed word for nacks, logs and metrics.
    pub(crate) fn reason_code(&self) -> &'static str {
        match self {
            Self::Trust(_) => "trust",
            Self::Bundle(rejected) => rejected.reason_code(),
            Self::Shard(_) => "shard",
            Self::ShardNotRising(_) => "shard-not-rising",
            Self::Revocation(_) => "revocation",
            Self::Answer(_) => "tick-answer",
            Self::NoDirectory => "no-directory",
            Self::NotOurs(_) => "not-our-tenant",
            Self::TooManyActivations => "too-many-activations",
            Self::ActivationGoesBack(_) => "activation-goes-back",
            Self::Store(_) => "store",
        }
    }
}

/// What an accepted thing changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Accepted {
    /// It was known already.
    Nothing,
    /// It holds from now on.
    Changed,
    /// These activations took effect.
    Activated(Vec<Activation>),
    /// The age was renewed; activations may have taken effect with it.
    Younger(Vec<Activation>),
    /// The voter is ahead: these epochs have to be fetched first.
    Behind,
}

/// A manifest that holds, and the files of earlier bundles that it may share.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// The verified manifest.
    pub(crate) manifest: Manifest,
    /// Files that lie here, by digest.
    pub(crate) held: BTreeMap<Digest, Vec<u8>>,
}

/// One tenant's moving parts.
#[derive(Debug, Default)]
struct Tenant {
    active: Option<ActiveBundle>,
    ready: BTreeMap<Digest, Ready>,
}

/// Everything, with one owner.
#[derive(Debug)]
pub(crate) struct State {
    config: StateConfig,
    store: Store,
    index: Index,
    root: Arc<Root>,
    directory: Option<Arc<Directory>>,
    tenants: BTreeMap<TenantId, Tenant>,
    revocations: Arc<Revocations>,
    shards: BTreeMap<(TenantId, CredentialId), Arc<VerifiedShard>>,
    freshness: Freshness,
    told: Told,
    documents: Arc<Documents>,
    stored_epoch: RevocationEpoch,
    store_failure: Option<StoreFailed>,
    cell: ViewCell,
}

/// What the voter of the present connection announced. It dies with the connection, so that what one voter made up
/// cannot spoil what the next one says.
#[derive(Debug, Default)]
struct Told {
    activations: BTreeMap<(TenantId, u32), Activation>,
    /// The newest tick that it answered with, and its digest of the activations.
    named: Option<(LogIndex, Digest)>,
}

/// The signed documents, for whoever wants to check what this edge trusts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Documents {
    /// From the installed root to the newest.
    pub(crate) roots: Vec<Vec<u8>>,
    /// The directory.
    pub(crate) directory: Option<Vec<u8>>,
}

impl State {
    /// Reads the last good state, verifies all of it again, and shows it.
    ///
    /// # Errors
    /// [`Refused`] when the configured root or the disk's content is not usable.
    pub(crate) fn load(config: StateConfig, disk: Arc<dyn Disk>, now: Now) -> Result<Self, Refused> {
        let store = Store::open(disk, &config.data_dir)?;
        let mut index = store.index()?;
        let first = SignedRoot::parse(&config.root)?;
        let pin = first.digest();
        let mut root = first.verify_pinned(&pin, &config.mesh)?;
        let rooted = index.roots.last().map_or(Timestamp::default(), |stored| stored.accepted);
        for stored in &index.roots {
            root = SignedRoot::parse(&store.content(stored)?)?.verify_next(&root)?;
        }
        let directory = match &index.directory {
            Some(stored) => {
                let as_of = stored.accepted.max(rooted);
                Some(Arc::new(SignedDirectory::parse(&store.content(stored)?)?.verify(&root, as_of)?))
            }
            None => None,
        };
        // Every entry was verified when it came, under the administrators of that day; its content is still what its
        // name says. A cut is not lost because the one who asked for it has left.
        let revocations = match &index.revocations {
            _ if planted(Bug::RevocationsForgottenAtRestart) => Revocations::new(),
            Some(stored) => serde_json::from_slice(&store.content(stored)?)
                .map_err(|_| RevocationRefused::Malformed { rule: "the stored set does not parse" })?,
            None => Revocations::new(),
        };
        for tenant in &config.tenants {
            let entry = index.tenants.entry(tenant.clone()).or_default();
            if planted(Bug::ActivationUncheckedAfterRestart) {
                entry.water = HighWater::default();
            }
        }
        let enforced = Enforced { epoch: revocations.epoch(), digest: revocations.digest() };
        let freshness = Freshness::start(store.proof()?, enforced, now);
        let root = Arc::new(root);
        let cell = Arc::new(ArcSwap::from_pointee(View {
            root: Arc::clone(&root),
            directory: directory.clone(),
            bundles: Arc::default(),
            revocations: Arc::default(),
            shards: Arc::default(),
            freshness: freshness.view(),
            documents: Arc::default(),
        }));
        let documents = Documents {
            roots: std::iter::once(Ok(config.root.clone()))
                .chain(index.roots.iter().map(|stored| store.content(stored)))
                .collect::<Result<_, _>>()?,
            directory: index.directory.as_ref().map(|stored| store.content(stored)).transpose()?,
        };
        let mut state = Self {
            config,
            store,
            index,
            root,
            directory,
            tenants: BTreeMap::new(),
            revocations: Arc::new(revocations),
            shards: BTreeMap::new(),
            freshness,
            told: Told::default(),
            documents: Arc::new(documents),
            stored_epoch: enforced.epoch,
            store_failure: None,
            cell,
        };
        state.load_tenants()?;
        state.show();
        Ok(state)
    }

    /// Verifies what lies on the disk under the newest root and directory, as of the moment when it was accepted or
    /// the root was, whichever came later. What they no longer vouch for is not used, and is no reason to stay down
    /// (N-4).
    fn load_tenants(&mut self) -> Result<(), Refused> {
        let rooted = self.index.roots.last().map_or(Timestamp::default(), |stored| stored.accepted);
        let mut tenants = BTreeMap::new();
        // One that is not served any more keeps its high water, and nothing else.
        let served = self.index.tenants.iter().filter(|(name, _)| self.config.tenants.contains(*name));
        for (name, stored) in served {
            let mut tenant = Tenant::default();
            for bundle in &stored.bundles {
                let signed = SignedBundle::parse(&self.store.content(bundle)?).map_err(BundleRejected::from)?;
                match self.verify_bundle(name, signed, bundle.accepted.max(rooted)) {
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
        self.recheck_shards()
    }

    /// Where readers find the newest view.
    pub(crate) fn cell(&self) -> ViewCell {
        Arc::clone(&self.cell)
    }

    /// The verified root.
    pub(crate) fn root(&self) -> &Root {
        &self.root
    }

    /// The verified directory.
    pub(crate) fn directory(&self) -> Option<&Directory> {
        self.directory.as_deref()
    }

    /// The revocations in force.
    pub(crate) fn revocations(&self) -> &Revocations {
        &self.revocations
    }

    /// Every verified bundle that is here, active or waiting, by manifest digest.
    pub(crate) fn bundles(&self) -> impl Iterator<Item = &Digest> {
        self.tenants.values().flat_map(|tenant| tenant.ready.keys())
    }

    /// The version of each shard that is here.
    pub(crate) fn shards(&self) -> impl Iterator<Item = (&TenantId, &CredentialId, u64)> {
        self.shards.iter().map(|((tenant, credential), shard)| (tenant, credential, shard.version()))
    }

    /// A root document arrived.
    ///
    /// # Errors
    /// [`Refused`]; nothing has changed.
    pub(crate) fn accept_root(&mut self, bytes: &[u8], now: Now) -> Result<Accepted, Refused> {
        let signed = SignedRoot::parse(bytes)?;
        if signed.digest() == *self.root.digest() || self.index.roots.len() >= ROOTS_MAX {
            return Ok(Accepted::Nothing);
        }
        let root = signed.verify_next(&self.root)?;
        let mut index = self.index.clone();
        index.roots.push(self.store.put_content(bytes, now.wall)?);
        // The directory was signed under the old root; it stays only if the new one takes it, too.
        let directory = match &self.index.directory {
            Some(stored) => {
                SignedDirectory::parse(&self.store.content(stored)?)?.verify(&root, now.wall).ok().map(Arc::new)
            }
            None => None,
        };
        if directory.is_none() {
            index.directory = None;
        }
        self.commit(index)?;
        let documents = Arc::make_mut(&mut self.documents);
        documents.roots.push(bytes.to_vec());
        if directory.is_none() {
            documents.directory = None;
        }
        self.root = Arc::new(root);
        self.directory = directory;
        // A key that the new root does not list any more vouches for nothing from this moment on.
        self.load_tenants()?;
        self.show();
        Ok(Accepted::Changed)
    }

    /// A directory arrived.
    ///
    /// # Errors
    /// [`Refused`]; nothing has changed.
    pub(crate) fn accept_directory(&mut self, bytes: &[u8], now: Now) -> Result<Accepted, Refused> {
        let directory = SignedDirectory::parse(bytes)?.verify(&self.root, now.wall)?;
        if let Some(previous) = &self.directory {
            if previous.digest() == directory.digest() {
                return Ok(Accepted::Nothing);
            }
            directory.check_succeeds(previous)?;
        }
        let mut index = self.index.clone();
        index.directory = Some(self.store.put_content(bytes, now.wall)?);
        self.commit(index)?;
        Arc::make_mut(&mut self.documents).directory = Some(bytes.to_vec());
        self.directory = Some(Arc::new(directory));
        self.recheck_shards()?;
        self.show();
        Ok(Accepted::Changed)
    }

    /// Shards are only as good as the directory that lists their sealer and our key.
    fn recheck_shards(&mut self) -> Result<(), Refused> {
        let mut shards = BTreeMap::new();
        for stored in self.index.tenants.values().flat_map(|tenant| tenant.shards.values()) {
            if let Ok(shard) = self.verify_shard(&self.store.content(stored)?) {
                shards.insert((shard.tenant().clone(), shard.credential().clone()), Arc::new(shard));
            }
        }
        self.shards = shards;
        Ok(())
    }

    fn verify_bundle(&self, tenant: &TenantId, signed: SignedBundle, now: Timestamp) -> Result<Ready, Refused> {
        let verified = signed.verify(&self.root, &self.config.mesh, tenant, now)?;
        Self::compile(verified)
    }

    fn compile(verified: VerifiedBundle) -> Result<Ready, Refused> {
        let compiled = Arc::new(verified.clone().compile()?);
        Ok(Ready { verified, compiled })
    }

    /// The manifest of a bundle arrived, before its files: whether it is worth fetching them, and which of them lie
    /// here already.
    ///
    /// # Errors
    /// [`Refused`].
    pub(crate) fn check_manifest(&self, tenant: &TenantId, envelope: &Envelope, now: Now) -> Result<Wanted, Refused> {
        if !self.index.tenants.contains_key(tenant) {
            return Err(Refused::NotOurs(tenant.clone()));
        }
        let manifest = verify_manifest(envelope, &self.root, &self.config.mesh, tenant, now.wall)?;
        let held = self.tenants.get(tenant).into_iter().flat_map(|tenant| tenant.ready.values());
        let held = held.flat_map(|ready| ready.verified.files().values());
        let held = held.map(|bytes| (Digest::of(&[bytes]), bytes.clone())).collect();
        Ok(Wanted { manifest, held })
    }

    /// A bundle of `tenant` arrived: it is verified, compiled and tested, and then waits to be named.
    ///
    /// # Errors
    /// [`Refused`]; nothing has changed.
    pub(crate) fn accept_bundle(
        &mut self,
        tenant: &TenantId,
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
        let ready = match Self::compile(verified) {
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
        let dropped = self.drop_old_bundles(entry)?;
        self.commit(index)?;
        let tenant = self.tenants.entry(tenant.clone()).or_default();
        tenant.ready.retain(|digest, _| !dropped.contains(digest));
        tenant.ready.insert(digest, ready);
        Ok(self.activate(now)?.map_or(Accepted::Changed, Accepted::Activated))
    }

    /// Keeps the newest bundles and the active one; gives the manifests of those that go.
    fn drop_old_bundles(&self, entry: &mut StoredTenant) -> Result<Vec<Digest>, Refused> {
        let mut dropped = Vec::new();
        while entry.bundles.len() > BUNDLES_KEPT {
            let mut oldest = None;
            for (at, stored) in entry.bundles.iter().enumerate().skip(1) {
                let bytes = self.store.content(stored)?;
                let manifest = SignedBundle::parse(&bytes).map_err(BundleRejected::from)?.digest();
                if entry.active.is_none_or(|active| active.manifest != manifest) {
                    oldest = Some((at, manifest));
                }
            }
            let Some((at, manifest)) = oldest else { break };
            entry.bundles.remove(at);
            dropped.push(manifest);
        }
        Ok(dropped)
    }

    /// A connection to a voter begins: what the last one announced is forgotten.
    pub(crate) fn begin_connection(&mut self) {
        self.told = Told::default();
    }

    /// The voter tells of an activation. It takes effect when one of its tick answers names the whole set.
    ///
    /// # Errors
    /// [`Refused`]; nothing has changed.
    pub(crate) fn offer_activation(&mut self, offered: Activation, now: Now) -> Result<Accepted, Refused> {
        let key = (offered.tenant.clone(), offered.ring);
        if self.told.activations.len() >= ACTIVATIONS_MAX && !self.told.activations.contains_key(&key) {
            return Err(Refused::TooManyActivations);
        }
        self.told.activations.insert(key, offered);
        Ok(self.activate(now)?.map_or(Accepted::Changed, Accepted::Activated))
    }

    /// Activates what a tick has named and what is ready (Clause N-3). One index write for all of it.
    fn activate(&mut self, now: Now) -> Result<Option<Vec<Activation>>, Refused> {
        let (n, digest) = match self.told.named {
            Some(named) => named,
            None if planted(Bug::ActivationUncheckedAfterRestart) => {
                (LogIndex(u64::MAX), activations_digest(self.told.activations.values()))
            }
            None => return Ok(None),
        };
        if activations_digest(self.told.activations.values()) != digest {
            return Ok(None);
        }
        let mut index = self.index.clone();
        let (mut activated, mut refused) = (Vec::new(), None);
        for activation in self.told.activations.values().filter(|activation| activation.number <= n) {
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
        self.commit(index)?;
        for activation in &activated {
            if let Some(tenant) = self.tenants.get_mut(&activation.tenant)
                && let Some(ready) = tenant.ready.get(&activation.manifest)
            {
                tenant.active = Some(ActiveBundle { number: activation.number, bundle: Arc::clone(&ready.compiled) });
            }
        }
        self.show();
        Ok(Some(activated))
    }

    fn verify_shard(&self, bytes: &[u8]) -> Result<VerifiedShard, Refused> {
        let directory = self.directory.as_ref().ok_or(Refused::NoDirectory)?;
        Ok(SealedShard::parse(bytes)?.verify_for(directory, &self.config.mesh, &self.config.edge)?)
    }

    /// A sealed shard arrived.
    ///
    /// # Errors
    /// [`Refused`]; nothing has changed.
    pub(crate) fn accept_shard(&mut self, bytes: &[u8], now: Now) -> Result<Accepted, Refused> {
        let shard = self.verify_shard(bytes)?;
        let key = (shard.tenant().clone(), shard.credential().clone());
        if !self.config.tenants.contains(&key.0) {
            return Err(Refused::NotOurs(key.0));
        }
        if self.shards.get(&key).is_some_and(|previous| **previous == shard) {
            return Ok(Accepted::Nothing);
        }
        let mut index = self.index.clone();
        let entry = index.tenants.entry(key.0.clone()).or_default();
        // Compared with the highest that ever came, not with what still verifies: a sealer that has left does not
        // open the way back to an older version.
        shard.check_rises(entry.shard_versions.get(&key.1).copied())?;
        entry.shard_versions.insert(key.1.clone(), shard.version());
        let content = self.store.put_content(bytes, now.wall)?;
        entry.shards.insert(key.1.clone(), content);
        self.commit(index)?;
        self.shards.insert(key, Arc::new(shard));
        self.show();
        Ok(Accepted::Changed)
    }

    /// Revocations arrived. When this returns they are on the disk and every new request sees them.
    ///
    /// # Errors
    /// [`Refused`]; nothing has changed.
    pub(crate) fn accept_revocations(&mut self, update: RevocationUpdate, now: Now) -> Result<Accepted, Refused> {
        let directory = self.directory.as_ref().ok_or(Refused::NoDirectory)?;
        if update.to == self.revocations.epoch() && update.digest == self.revocations.digest() {
            return self.store_revocations(now);
        }
        let next = self.revocations.updated(update, &self.config.mesh, directory.administrators(), now.wall)?;
        // Refusing more is right at once; the age and the ack wait until the disk has it.
        self.revocations = Arc::new(next);
        if !planted(Bug::CoveredBeforeEnforced) {
            self.show();
        }
        self.store_revocations(now)
    }

    /// Puts on the disk what is enforced already. After a disk that failed it is tried again with every tick.
    fn store_revocations(&mut self, now: Now) -> Result<Accepted, Refused> {
        let enforced = Enforced { epoch: self.revocations.epoch(), digest: self.revocations.digest() };
        if self.stored_epoch >= enforced.epoch {
            return Ok(Accepted::Nothing);
        }
        let bytes = serde_json::to_vec(&*self.revocations)
            .map_err(|_| RevocationRefused::Malformed { rule: "the set does not encode" })?;
        let mut index = self.index.clone();
        index.revocations = Some(self.store.put_content(&bytes, now.wall)?);
        self.commit(index)?;
        self.stored_epoch = enforced.epoch;
        if let Learned::Younger(proof) = self.freshness.on_enforced(enforced, now) {
            self.put_proof(proof);
        }
        if !planted(Bug::CoveredBeforeEnforced) {
            self.show();
        }
        Ok(Accepted::Changed)
    }

    /// The epoch that is on the disk: what may be acknowledged.
    pub(crate) fn stored_epoch(&self) -> RevocationEpoch {
        self.stored_epoch
    }

    /// A proof serves reads after a restart, nothing else: failing to store it takes nothing away.
    fn put_proof(&mut self, proof: StoredProof) {
        if let Err(failure) = self.store.put_proof(proof) {
            self.store_failure = Some(failure);
        }
    }

    /// The last failure to store a proof, once, for the log.
    pub(crate) fn take_store_failure(&mut self) -> Option<StoreFailed> {
        self.store_failure.take()
    }

    /// A nonce goes out.
    pub(crate) fn on_nonce_sent(&mut self, nonce: Nonce, now: Now) {
        self.freshness.on_nonce_sent(nonce, now);
        self.show();
    }

    /// A voter answered a nonce.
    ///
    /// # Errors
    /// [`Refused`]; the age is what it was.
    pub(crate) fn on_answer(&mut self, answer: &TickAnswer, voter: VoterId, now: Now) -> Result<Accepted, Refused> {
        let learned = self.freshness.on_answer(answer, &self.config.edge, voter, now)?;
        match learned {
            Learned::Nothing => return Ok(Accepted::Nothing),
            Learned::Younger(proof) => self.put_proof(proof),
            Learned::Behind { .. } => {}
        }
        if self.told.named.is_none_or(|(n, _)| n < answer.n) {
            self.told.named = Some((answer.n, answer.activations));
        }
        self.show();
        if matches!(learned, Learned::Behind { .. }) {
            self.store_revocations(now)?;
        }
        let activated = self.activate(now)?.unwrap_or_default();
        Ok(match learned {
            Learned::Behind { .. } if activated.is_empty() => Accepted::Behind,
            Learned::Behind { .. } => Accepted::Activated(activated),
            _ => Accepted::Younger(activated),
        })
    }

    /// Refuse everything from now on.
    pub(crate) fn quarantine(&mut self, cause: QuarantineCause) {
        self.freshness.quarantine(cause);
        self.show();
    }

    fn commit(&mut self, index: Index) -> Result<(), StoreFailed> {
        self.store.commit(&index)?;
        self.index = index;
        Ok(())
    }

    fn show(&self) {
        let bundles = self
            .tenants
            .iter()
            .filter_map(|(name, tenant)| Some((name.clone(), tenant.active.clone()?)))
            .collect::<BTreeMap<_, _>>();
        self.cell.store(Arc::new(View {
            root: Arc::clone(&self.root),
            directory: self.directory.clone(),
            bundles: Arc::new(bundles),
            revocations: Arc::clone(&self.revocations),
            shards: Arc::new(self.shards.clone()),
            freshness: self.freshness.view(),
            documents: Arc::clone(&self.documents),
        }));
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
