//! Credentials of end services, from sealed to spent.
//!
//! A shard is sealed to this edge alone. It is opened when a permitted call needs it, and what was opened stays in
//! memory for the next call: never on disk, never in a log, and not beyond the moment at which this edge may decide
//! nothing any more. A kept credential is found again only under tenant, name, version and injection profile, so that
//! a rotated one, or one whose upstream has moved, is opened anew. Versions only rise. Clauses G-20 to G-23.

mod trace;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use remit_common::crypto::digest::Digest;
use remit_common::crypto::hpke::SealingKey;
use remit_common::id::{CredentialId, TenantId};
use remit_common::shard::{DoesNotOpen, OpenShard, VerifiedShard};

use trace::SECRET_BYTES_MIN;
pub(crate) use trace::Traces;

/// Credentials that are open at the same time. A tenant has tens; what is beyond is opened anew for each call.
const WARM_MAX: usize = 1_024;

/// A credential in clear, and what it would look like in an answer.
#[derive(Debug)]
pub(crate) struct Credential {
    open: OpenShard,
    traces: Traces,
}

impl Credential {
    /// Its name.
    pub(crate) fn id(&self) -> &CredentialId {
        &self.open.credential
    }

    /// Its version.
    pub(crate) fn version(&self) -> u64 {
        self.open.version
    }

    /// The bytes, for [`crate::egress`] alone.
    pub(crate) fn expose(&self) -> &[u8] {
        self.open.expose()
    }

    /// What an answer must not contain.
    pub(crate) fn traces(&self) -> &Traces {
        &self.traces
    }
}

/// A credential cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoCredential {
    /// It does not open.
    #[error("the shard of credential `{credential}` does not open")]
    Sealed {
        credential: CredentialId,
        #[source]
        source: DoesNotOpen,
    },
    /// Too short to be found again in an answer.
    #[error("credential `{0}` is shorter than {SECRET_BYTES_MIN} bytes")]
    TooShort(CredentialId),
}

/// Under which a credential is kept.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    tenant: TenantId,
    credential: CredentialId,
    version: u64,
    profile: Digest,
}

/// The credentials of an edge.
pub(crate) struct Vault {
    key: SealingKey,
    warm: Mutex<BTreeMap<Place, Arc<Credential>>>,
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Vault({})", self.key.public().id())
    }
}

impl Vault {
    pub(crate) fn new(key: SealingKey) -> Self {
        Self { key, warm: Mutex::default() }
    }

    /// The credential in `shard`, for injection as `profile` says. Opens it unless it is open already.
    ///
    /// # Errors
    /// [`NoCredential`].
    pub(crate) fn obtain(
        &self,
        tenant: &TenantId,
        shard: &VerifiedShard,
        profile: &Digest,
    ) -> Result<Arc<Credential>, NoCredential> {
        let place = Place {
            tenant: tenant.clone(),
            credential: shard.credential().clone(),
            version: shard.version(),
            profile: *profile,
        };
        if let Some(credential) = self.lock().get(&place) {
            return Ok(Arc::clone(credential));
        }
        let open = shard
            .open(&self.key, profile)
            .map_err(|source| NoCredential::Sealed { credential: place.credential.clone(), source })?;
        if open.expose().len() < SECRET_BYTES_MIN {
            return Err(NoCredential::TooShort(place.credential));
        }
        let traces = Traces::of(open.expose());
        let credential = Arc::new(Credential { open, traces });
        let mut warm = self.lock();
        if warm.len() < WARM_MAX {
            warm.insert(place, Arc::clone(&credential));
        }
        Ok(credential)
    }

    /// Forgets everything but what `held` knows by tenant, name and version.
    pub(crate) fn retain(&self, held: impl Fn(&TenantId, &CredentialId, u64) -> bool) {
        self.lock().retain(|place, _| held(&place.tenant, &place.credential, place.version));
    }

    /// Forgets everything. What a call under way still holds is wiped when that call ends.
    pub(crate) fn wipe(&self) {
        self.lock().clear();
    }

    /// Credentials that are open.
    pub(crate) fn warm(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Place, Arc<Credential>>> {
        // A panic while it was held cannot have left the map between two states.
        self.warm.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
