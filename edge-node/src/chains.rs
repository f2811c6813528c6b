//! Envelopes that have been verified, so that an agent's second call costs no signature.
//!
//! Only what cannot change is kept: that these bytes are signed as they must be, by issuers of this very directory,
//! and what the chain leaves when it is met. Whether it holds now and nothing of it has been cut is asked at every
//! call. A key begins with the tenant. Clause G-9.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use remit_common::crypto::digest::Digest;
use remit_common::envelope::{Effective, RawPresentation, Unauthenticated};
use remit_common::id::{MeshId, TenantId};
use remit_common::trust::directory::Directory;

/// Chains of one generation. A chain with full grants takes some tens of kilobytes in memory; most take two.
const GENERATION_MAX: usize = 2_048;

/// Tenant, presentation, directory.
type Key = (TenantId, Digest, Digest);

/// The newest chains, in two generations: when the young one is full, the old one is forgotten and the young one
/// becomes the old one. What is used moves to the young one, so the oldest unused go first.
#[derive(Debug, Default)]
pub(crate) struct Chains(Mutex<Generations>);

#[derive(Debug, Default)]
struct Generations {
    young: BTreeMap<Key, Arc<Effective>>,
    old: BTreeMap<Key, Arc<Effective>>,
}

impl Generations {
    fn get(&mut self, key: &Key) -> Option<Arc<Effective>> {
        if let Some(found) = self.young.get(key) {
            return Some(Arc::clone(found));
        }
        let (key, found) = self.old.remove_entry(key)?;
        self.insert(key, Arc::clone(&found));
        Some(found)
    }

    fn insert(&mut self, key: Key, effective: Arc<Effective>) {
        if self.young.len() >= GENERATION_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, effective);
    }
}

impl Chains {
    /// The authority that a presentation proves under this directory.
    ///
    /// # Errors
    /// [`Unauthenticated`].
    pub(crate) fn authenticate(
        &self,
        raw: &RawPresentation,
        mesh: &MeshId,
        directory: &Directory,
    ) -> Result<Arc<Effective>, Unauthenticated> {
        let key = (raw.tenant().clone(), raw.digest(), *directory.digest());
        if let Some(found) = self.lock().get(&key) {
            return Ok(found);
        }
        let effective = Arc::new(raw.clone().verify(mesh, directory.issuers())?.effective());
        self.lock().insert(key, Arc::clone(&effective));
        Ok(effective)
    }

    /// Chains that are kept.
    pub(crate) fn len(&self) -> usize {
        let generations = self.lock();
        generations.young.len() + generations.old.len()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Generations> {
        // A panic while it was held loses at most an entry of a cache.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
