//! Envelopes that have been verified, so that an agent's second call costs no signature.
//!
//! Only what cannot change is kept: that these links are signed as they must be, by issuers of this very directory,
//! what edges of this directory said about its hops, as far as somebody asked, and what the chain leaves when it is met;
//! and what one bundle had to say about its hops, until there is another bundle. Whether it holds now and nothing of it
//! has been cut is asked at every call. A key begins with the tenant. Clauses G-9 and E-33.

mod evidence;
mod presented;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::metrics::counter::Counter;
use remit_common::crypto::digest::Digest;
use remit_common::envelope::{Beginnings, Countersignature, Effective, Issuers, NotRegistered, Unauthenticated};
use remit_common::id::{MeshId, TenantId};
use remit_common::policy::decision::Denied;
use remit_common::trust::directory::Directory;

use self::evidence::Evidence;
pub(crate) use self::presented::Presented;

/// Chains of one generation.
const GENERATION_MAX: usize = 2_048;
/// About how many bytes the scopes of one generation take: most chains take some kilobytes, and one whose holders
/// wrote as many patterns as they may takes a hundred times that.
const GENERATION_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Beginnings of one generation: a chain has one for each link, and one for each signature of its root.
const BEGINNINGS_MAX: usize = 2 * GENERATION_MAX;

/// Tenant, what a chain or its beginning is known by, directory.
type Key = (TenantId, Digest, Digest);

/// The newest chains, in two generations: when the young one is full, the old one is forgotten and the young one
/// becomes the old one. What is used moves to the young one, so the oldest unused go first.
#[derive(Debug)]
pub(crate) struct Chains {
    whole: Mutex<Generations<Key, Arc<Chain>>>,
    /// What begins a chain and was verified, so that a hop below a known link costs one signature, forged or not.
    beginnings: Mutex<Generations<Key, ()>>,
    /// Signatures that were verified, of links and of countersignatures.
    verified: Counter,
}

/// The beginnings that are known under one directory.
struct Known<'c> {
    beginnings: &'c Mutex<Generations<Key, ()>>,
    tenant: &'c TenantId,
    directory: &'c Digest,
    verified: &'c Counter,
}

impl Known<'_> {
    fn key(&self, beginning: &Digest) -> Key {
        (self.tenant.clone(), *beginning, *self.directory)
    }

    fn lock(&self) -> MutexGuard<'_, Generations<Key, ()>> {
        self.beginnings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Beginnings for Known<'_> {
    fn knows(&self, beginning: &Digest) -> bool {
        self.lock().get(&self.key(beginning)).is_some()
    }

    fn learn(&self, beginning: Digest) {
        self.lock().insert(self.key(&beginning), (), 0);
    }

    fn verifying(&self) {
        self.verified.inc();
    }
}

/// A verified chain.
#[derive(Debug)]
pub(crate) struct Chain {
    pub(crate) effective: Arc<Effective>,
    /// What edges said about its hops, of those countersignatures that somebody asked about.
    evidence: Evidence,
    /// What the bundle with this digest says, with these hops registered.
    vetted: Mutex<Option<(Vetting, Result<(), Denied>)>>,
}

/// What the answer of policy about a chain's hops depends on: the bundle, and which hops are registered, as bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Vetting {
    pub(crate) bundle: Digest,
    pub(crate) registered: u32,
}

impl Chain {
    fn new(effective: Effective) -> Self {
        Self { effective: Arc::new(effective), evidence: Evidence::default(), vetted: Mutex::default() }
    }

    /// What policy says about the hops: asked once for a bundle.
    ///
    /// # Errors
    /// The denial.
    pub(crate) fn vet(&self, by: Vetting, ask: impl FnOnce() -> Result<(), Denied>) -> Result<(), Denied> {
        // A panic while it was held has asked in vain.
        let mut vetted = self.vetted.lock().unwrap_or_else(PoisonError::into_inner);
        match &*vetted {
            Some((asked, answer)) if *asked == by => answer.clone(),
            Some(_) | None => vetted.insert((by, ask())).1.clone(),
        }
    }
}

#[derive(Debug)]
struct Generations<K, V> {
    young: BTreeMap<K, (V, usize)>,
    young_bytes: usize,
    old: BTreeMap<K, (V, usize)>,
    /// Chains of one generation.
    len_max: usize,
}

impl<K, V> Generations<K, V> {
    fn of(len_max: usize) -> Self {
        Self { young: BTreeMap::new(), young_bytes: 0, old: BTreeMap::new(), len_max }
    }
}

impl<K: Ord, V: Clone> Generations<K, V> {
    fn get(&mut self, key: &K) -> Option<V> {
        if let Some((found, _)) = self.young.get(key) {
            return Some(found.clone());
        }
        let (key, (found, bytes)) = self.old.remove_entry(key)?;
        self.insert(key, found.clone(), bytes);
        Some(found)
    }

    /// What is kept, without using it.
    fn peek(&self, key: &K) -> Option<V> {
        self.young.get(key).or_else(|| self.old.get(key)).map(|(found, _)| found.clone())
    }

    fn insert(&mut self, key: K, value: V, bytes: usize) {
        if self.young.len() >= self.len_max || self.young_bytes >= GENERATION_BYTES_MAX {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        self.young_bytes = self.young_bytes.saturating_add(bytes);
        self.young.insert(key, (value, bytes));
    }
}

impl Chains {
    /// None yet; signatures that are verified are counted there.
    pub(crate) fn counting(verified: Counter) -> Self {
        Self {
            whole: Mutex::new(Generations::of(GENERATION_MAX)),
            beginnings: Mutex::new(Generations::of(BEGINNINGS_MAX)),
            verified,
        }
    }

    /// The authority that a presentation proves under this directory.
    ///
    /// # Errors
    /// [`Unauthenticated`].
    pub(crate) fn authenticate(
        &self,
        presented: &Presented,
        mesh: &MeshId,
        directory: &Directory,
    ) -> Result<Arc<Chain>, Unauthenticated> {
        self.authenticate_under(presented, mesh, (directory.issuers(), directory.digest()))
    }

    /// The same under the issuers and the digest of a directory.
    fn authenticate_under(
        &self,
        presented: &Presented,
        mesh: &MeshId,
        (issuers, directory): (&Issuers, &Digest),
    ) -> Result<Arc<Chain>, Unauthenticated> {
        let key = presented.key(mesh, (issuers, directory));
        if let Some(found) = self.lock().get(&key) {
            return Ok(found);
        }
        let raw = presented.raw();
        let known = Known { beginnings: &self.beginnings, tenant: raw.tenant(), directory, verified: &self.verified };
        let effective = raw.clone().verify_beyond(mesh, issuers, Some(&known))?.effective();
        let bytes = effective.scope.bytes();
        let chain = Arc::new(Chain::new(effective));
        self.lock().insert(key, Arc::clone(&chain), bytes);
        Ok(chain)
    }

    /// What a presentation is known to prove under this directory. Verifies nothing, and keeps nothing longer.
    pub(crate) fn known(&self, presented: &Presented, mesh: &MeshId, directory: &Directory) -> Option<Arc<Effective>> {
        let key = presented.key(mesh, (directory.issuers(), directory.digest()));
        Some(Arc::clone(&self.lock().peek(&key)?.effective))
    }

    /// What an edge said about a hop of a chain, by the countersignature that was shown for it and no other.
    ///
    /// # Errors
    /// [`NotRegistered`].
    pub(crate) fn evidence(
        &self,
        (chain, presented): (&Chain, &Presented),
        hop: u8,
        mesh: &MeshId,
        directory: &Directory,
    ) -> Result<Countersignature, NotRegistered> {
        let shown = presented.raw().countersignature(hop).ok_or(NotRegistered::Absent)?;
        let link = chain.effective.links().get(usize::from(hop)).ok_or(NotRegistered::OtherLink)?;
        chain.evidence.of(hop, shown, || {
            let edge = |id: &_| directory.edge(id).map(|edge| (&edge.region, &edge.identity));
            let answer = shown.verify(mesh, link, edge).map(|_| ());
            if matches!(answer, Ok(()) | Err(NotRegistered::Signature)) {
                self.verified.inc();
            }
            answer
        })
    }

    /// Chains that are kept.
    pub(crate) fn len(&self) -> usize {
        let generations = self.lock();
        generations.young.len() + generations.old.len()
    }

    fn lock(&self) -> MutexGuard<'_, Generations<Key, Arc<Chain>>> {
        // A panic while it was held loses at most an entry of a cache.
        self.whole.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
