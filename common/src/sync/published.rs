//! What a voter has to say, as one immutable snapshot that all its publishers share.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::revocations::split;
use crate::bundle::container::SignedBundle;
use crate::crypto::digest::Digest;
use crate::crypto::sign::Signature;
use crate::id::{CredentialId, EdgeId, LogIndex, RevocationEpoch, TenantId, VoterId};
use crate::limits::CHUNK_BYTES_MAX;
use crate::relation_log::{RelationHeads, RelationLog};
use crate::revocation::Revocations;
use crate::trust::activation::{Activation, Staged};
use crate::trust::scope::Scope;
use crate::wire::message::{Activated, ObjectRef, Published, RelationsOffer, RevocationsPart, StagedOffer};

/// Bytes with their digest, hashed once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedObject {
    /// Digest and size.
    pub object: ObjectRef,
    /// The bytes.
    pub bytes: Arc<[u8]>,
}

/// A bundle, taken apart into what edges fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedBundle {
    /// The digest of the manifest: the bundle's name.
    pub manifest: Digest,
    /// The manifest in its signatures.
    pub envelope: PublishedObject,
    /// The files.
    pub files: Vec<PublishedObject>,
}

/// A sealed shard for one edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedShard {
    /// Its version.
    pub version: u64,
    /// The sealed shard.
    pub bytes: Arc<[u8]>,
}

/// What goes to edges with the answers to a tick.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedBeacon {
    /// The relations as of the tick.
    pub relations: RelationHeads,
    /// The signatures of a majority, by voter.
    pub signatures: BTreeMap<VoterId, Signature>,
}

/// The revocations at one epoch. What edges are told of it, the whole or the difference to an earlier set, is made once,
/// however many of them there are.
#[derive(Debug)]
pub struct PublishedRevocations {
    set: Revocations,
    whole: OnceLock<Parts>,
    /// By the epoch and the digest of the earlier set.
    since: Mutex<BTreeMap<(RevocationEpoch, Digest), Parts>>,
}

/// One update, as messages.
type Parts = Arc<[RevocationsPart]>;

/// Differences that are kept. Nearly all edges have the same set, and others are a few epochs behind.
const SINCE_MAX: usize = 16;

/// Everything that a voter tells edges, as of one applied entry. Cloning shares the bytes.
#[derive(Debug, Clone)]
pub struct PublishedState {
    roots: BTreeMap<u64, ObjectRef>,
    directory: Option<Published>,
    activations: BTreeMap<TenantId, Activated>,
    staged: BTreeMap<TenantId, (Activated, Scope)>,
    shards: BTreeMap<EdgeId, BTreeMap<(TenantId, CredentialId), PublishedShard>>,
    relations: BTreeMap<TenantId, Arc<RelationLog>>,
    revocations: Arc<PublishedRevocations>,
    /// Sets of earlier epochs, for edges that are a little behind.
    earlier: Vec<Arc<PublishedRevocations>>,
    objects: BTreeMap<Digest, Arc<[u8]>>,
}

/// Batches of one offer, and bytes of them if it is more than one: what an edge fetches at a time.
pub(super) const OFFER_BATCHES_MAX: usize = 256;
pub(super) const OFFER_BYTES_MAX: usize = 16 * CHUNK_BYTES_MAX;

/// What follows on a revision of a log: from the next batch on, or from the beginning of what is kept (D-10).
pub(super) fn offer_after(log: &RelationLog, revision: u64) -> Option<RelationsOffer> {
    let mut after = log.kept().iter().filter(|kept| kept.head.revision > revision).peekable();
    let first = after.peek()?.head.revision;
    let (mut batches, mut bytes) = (Vec::new(), 0usize);
    for kept in after {
        bytes = bytes.saturating_add(kept.bytes.len());
        if !batches.is_empty() && (batches.len() >= OFFER_BATCHES_MAX || bytes > OFFER_BYTES_MAX) {
            break;
        }
        batches.push(ObjectRef { digest: kept.object, len: u64::try_from(kept.bytes.len()).unwrap_or(u64::MAX) });
    }
    Some(RelationsOffer { tenant: log.tenant().clone(), first, batches })
}

impl PublishedObject {
    /// Hashes the bytes.
    #[must_use]
    pub fn new(bytes: impl Into<Arc<[u8]>>) -> Self {
        let bytes = bytes.into();
        let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        Self { object: ObjectRef { digest: Digest::of(&[&bytes]), len }, bytes }
    }
}

impl PublishedBundle {
    /// Takes a bundle apart.
    #[must_use]
    pub fn new(bundle: &SignedBundle) -> Self {
        let (envelope, files) = bundle.parts();
        Self {
            manifest: bundle.digest(),
            envelope: PublishedObject::new(envelope.to_bytes()),
            files: files.iter().map(|file| PublishedObject::new(file.as_slice())).collect(),
        }
    }
}

impl PublishedRevocations {
    /// Takes a set as it is at its epoch.
    #[must_use]
    pub fn new(set: Revocations) -> Arc<Self> {
        Arc::new(Self { set, whole: OnceLock::new(), since: Mutex::default() })
    }

    /// The set.
    #[must_use]
    pub fn set(&self) -> &Revocations {
        &self.set
    }

    /// The whole set as messages.
    pub(super) fn whole(&self) -> Parts {
        self.whole.get_or_init(|| split(self.set.update_from(None)).into()).clone()
    }

    /// What leads from an earlier set to this one.
    pub(super) fn since(&self, earlier: &Self) -> Parts {
        // Under the lock: of many that ask at once one works, and the others wait for what they need. A panic leaves
        // whole differences behind.
        let mut known = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        let base = (earlier.set.epoch(), earlier.set.digest());
        if let Some(parts) = known.get(&base) {
            return Arc::clone(parts);
        }
        let parts: Parts = split(self.set.update_from(Some(&earlier.set))).into();
        if known.len() < SINCE_MAX {
            known.insert(base, Arc::clone(&parts));
        }
        parts
    }
}

impl PublishedState {
    /// A state that says nothing but these revocations. `earlier` are sets of earlier epochs, as many as the voter
    /// cares to keep; an edge at one of them gets the difference instead of the whole.
    #[must_use]
    pub fn new(revocations: Arc<PublishedRevocations>, earlier: Vec<Arc<PublishedRevocations>>) -> Self {
        Self {
            roots: BTreeMap::new(),
            directory: None,
            activations: BTreeMap::new(),
            staged: BTreeMap::new(),
            shards: BTreeMap::new(),
            relations: BTreeMap::new(),
            revocations,
            earlier,
            objects: BTreeMap::new(),
        }
    }

    /// Adds a signed root document. All that an edge may need on the way from its own are to be added.
    pub fn add_root(&mut self, version: u64, document: &PublishedObject) {
        let object = self.add(document);
        self.roots.insert(version, object);
    }

    /// Sets the signed directory.
    pub fn set_directory(&mut self, version: u64, document: &PublishedObject) {
        self.directory = Some(Published { version, object: self.add(document) });
    }

    /// Sets the activation of its tenant, and offers the bundle that it names.
    pub fn activate(&mut self, activation: Activation, bundle: &PublishedBundle) {
        let envelope = self.offer(bundle);
        self.activations.insert(activation.tenant.clone(), Activated { activation, envelope });
    }

    /// Sets what some of its tenant's edges are to run instead, and offers the bundle that it names to all of them.
    pub fn stage(&mut self, Staged { activation, scope }: Staged, bundle: &PublishedBundle) {
        let envelope = self.offer(bundle);
        self.staged.insert(activation.tenant.clone(), (Activated { activation, envelope }, scope));
    }

    fn offer(&mut self, bundle: &PublishedBundle) -> ObjectRef {
        for file in &bundle.files {
            self.add(file);
        }
        self.add(&bundle.envelope)
    }

    /// Sets the shard of one edge for one credential.
    pub fn set_shard(&mut self, edge: EdgeId, tenant: TenantId, credential: CredentialId, shard: PublishedShard) {
        self.shards.entry(edge).or_default().insert((tenant, credential), shard);
    }

    /// Sets a tenant's relations, and offers the batches that are kept.
    pub fn set_relations(&mut self, log: &Arc<RelationLog>) {
        self.relations.insert(log.tenant().clone(), Arc::clone(log));
    }

    pub(super) fn relations_of(&self, tenant: &TenantId) -> Option<&Arc<RelationLog>> {
        self.relations.get(tenant)
    }

    /// The revocations.
    #[must_use]
    pub fn revocations(&self) -> &Arc<PublishedRevocations> {
        &self.revocations
    }

    pub(super) fn root_after(&self, version: u64) -> Option<Published> {
        let above = (std::ops::Bound::Excluded(version), std::ops::Bound::Unbounded);
        self.roots.range(above).next().map(|(version, object)| Published { version: *version, object: *object })
    }

    pub(super) fn directory_after(&self, version: u64) -> Option<Published> {
        self.directory.filter(|directory| directory.version > version)
    }

    /// Ascending by number, so that whoever has one has every earlier one that still counts.
    pub(super) fn activations(&self) -> impl Iterator<Item = &Activated> {
        let mut ascending: Vec<_> = self.activations.values().collect();
        ascending.sort_by_key(|activated| activated.activation.number);
        ascending.into_iter()
    }

    /// The first tenant of which something else is staged than was said, and what.
    pub(super) fn staged_unlike(&self, said: &BTreeMap<TenantId, LogIndex>) -> Option<StagedOffer> {
        let number = |(activated, _): &(Activated, Scope)| activated.activation.number;
        let news = self.staged.iter().find(|(tenant, staged)| said.get(*tenant) != Some(&number(staged)));
        let over = || said.keys().find(|tenant| !self.staged.contains_key(*tenant));
        let offer = |tenant: &TenantId, staged| StagedOffer { tenant: tenant.clone(), staged };
        news.map(|(tenant, staged)| offer(tenant, Some(staged.clone()))).or_else(|| Some(offer(over()?, None)))
    }

    pub(super) fn shards_of(
        &self,
        edge: &EdgeId,
    ) -> impl Iterator<Item = (&(TenantId, CredentialId), &PublishedShard)> {
        self.shards.get(edge).into_iter().flatten()
    }

    /// The set that an edge with this epoch and digest has, if it is still known here.
    pub(super) fn earlier(&self, epoch: RevocationEpoch, digest: &Digest) -> Option<&PublishedRevocations> {
        let found = self.earlier.iter().find(|earlier| earlier.set.epoch() == epoch)?;
        (found.set.digest() == *digest).then_some(found)
    }

    pub(super) fn object(&self, digest: &Digest) -> Option<&Arc<[u8]>> {
        self.objects.get(digest)
    }

    fn add(&mut self, object: &PublishedObject) -> ObjectRef {
        self.objects.insert(object.object.digest, object.bytes.clone());
        object.object
    }
}
