//! An offline authorization: what edges may go on with while no voter can be heard, and until when.
//!
//! Nothing proves to an edge without voters how old its truth is. So the administrators who sign a tenant's policy say it
//! themselves, as many of them as a bundle takes: that they have looked at one tick of the mesh, and that edges which have
//! everything of it may act by it for so long, effect by effect. Its age counts from when it was made. It adds no policy and
//! lifts no cut, and an edge that hears voters has no use for it. Clauses T-63 to T-66, docs/PROTOCOL.md.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::dsse::{self, Envelope, NotVerified};
use super::freshness::Fresh;
use super::refused::TrustRefused;
use super::role::Role;
use super::root::Root;
use crate::crypto::digest::Digest;
use crate::crypto::sign::SigningKey;
use crate::id::{KeyId, LogIndex, MeshId, RevocationEpoch, TenantId};
use crate::lattice::{Effect, Effects};
use crate::limits::{CLOCK_AHEAD_MAX, OFFLINE_AUTHORIZATION_BYTES_MAX, OFFLINE_AUTHORIZATION_DAYS_MAX};
use crate::time::Timestamp;

/// The payload type of offline authorizations.
pub const OFFLINE_TYPE: &str = "application/vnd.remit.offline-authorization.v1+json";

/// Effects that a root lets nobody wait for longer than half a minute, and that no authorization can name.
const NEVER_OFFLINE: [Effect; 3] = [Effect::Irreversible, Effect::Spend, Effect::ExternalSend];

const DAY: Duration = Duration::from_secs(86_400);

/// What an offline authorization says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfflineContent {
    /// The mesh.
    pub mesh_id: MeshId,
    /// Whose calls.
    pub tenant: TenantId,
    /// The tick that its signers have looked at: an edge that has seen no such tick, nor a later one, may not use it.
    pub tick: LogIndex,
    /// The revocation epoch of that tick: an edge that enforces less may not use it.
    pub epoch: RevocationEpoch,
    /// Seconds from `created` for which each effect may go on; an effect that is missing may not.
    pub bounds: BTreeMap<Effect, u32>,
    /// When it was made.
    pub created: Timestamp,
    /// First moment at which it no longer counts.
    pub expires: Timestamp,
}

/// An offline authorization with the signatures that it has so far; none is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedOffline {
    envelope: Envelope,
}

/// An offline authorization that enough administrators of its tenant have signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfflineAuthorization {
    // INVARIANT: made by `SignedOffline::verify` alone.
    content: OfflineContent,
    digest: Digest,
}

impl OfflineContent {
    /// Reads a payload, whoever has signed it.
    fn read(payload: &[u8]) -> Result<Self, TrustRefused> {
        let content: Self = dsse::decode(payload)?;
        content.check()?;
        Ok(content)
    }

    fn check(&self) -> Result<(), TrustRefused> {
        let days = OFFLINE_AUTHORIZATION_DAYS_MAX;
        let life = self.expires.since(self.created);
        if life.is_zero() || life > DAY.saturating_mul(days) {
            return Err(TrustRefused::Life { days: days.into() });
        }
        let bad = |rule| Err(TrustRefused::BadEntry { what: "the bounds".to_owned(), rule });
        if self.bounds.is_empty() {
            return bad("name at least one effect");
        }
        if self.bounds.keys().any(|effect| NEVER_OFFLINE.contains(effect)) {
            return bad("calls that cannot be undone, that spend or that send out never go on without voters");
        }
        if self.bounds.values().any(|secs| *secs == 0 || Duration::from_secs((*secs).into()) > life) {
            return bad("each is at least a second and at most the life of the authorization");
        }
        Ok(())
    }
}

impl SignedOffline {
    /// One that nobody has signed.
    ///
    /// # Errors
    /// [`TrustRefused`] when the content breaks a rule.
    pub fn unsigned(content: &OfflineContent) -> Result<Self, TrustRefused> {
        content.check()?;
        Ok(Self { envelope: Envelope::new(OFFLINE_TYPE, dsse::encode(content)?) })
    }

    /// Reads the signed form. Looks at no signature, and not at what is signed.
    ///
    /// # Errors
    /// [`TrustRefused`].
    pub fn parse(bytes: &[u8]) -> Result<Self, TrustRefused> {
        let envelope = Envelope::parse_within(bytes, OFFLINE_AUTHORIZATION_BYTES_MAX)?;
        if envelope.payload_type != OFFLINE_TYPE {
            return Err(NotVerified::WrongType.into());
        }
        Ok(Self { envelope })
    }

    /// The signed form.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.envelope.to_bytes()
    }

    /// What it says, whoever has signed it: for somebody who is about to sign.
    ///
    /// # Errors
    /// [`TrustRefused`].
    pub fn read(&self) -> Result<OfflineContent, TrustRefused> {
        OfflineContent::read(&self.envelope.payload)
    }

    /// SHA-256 of what is signed, for signers to compare.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&[&self.envelope.payload])
    }

    /// Adds a signature.
    pub fn sign(&mut self, key: &SigningKey) {
        self.envelope.sign(key);
    }

    /// The keys of the tenant's policy role whose signature verifies.
    #[must_use]
    pub fn signers(&self, role: &Role) -> Vec<KeyId> {
        let message = dsse::pae(&self.envelope.payload_type, &self.envelope.payload);
        let signed = self.envelope.signatures.iter().filter(|signature| {
            let key = role.keys().get(&signature.keyid);
            key.is_some_and(|key| key.verify(&message, &signature.sig).is_ok())
        });
        signed.map(|signature| signature.keyid).collect()
    }

    /// The authorization, if enough of the keys that sign the tenant's policy have signed it and it counts at `now`.
    ///
    /// # Errors
    /// [`TrustRefused`].
    pub fn verify(&self, root: &Root, tenant: &TenantId, now: Timestamp) -> Result<OfflineAuthorization, TrustRefused> {
        root.check_time(now)?;
        let unknown = || TrustRefused::BadRole { role: tenant.to_string(), rule: "the root knows no such tenant" };
        let role = root.policy_role(tenant).ok_or_else(unknown)?;
        let content = OfflineContent::read(self.envelope.verify(OFFLINE_TYPE, role)?)?;
        if content.mesh_id != *root.mesh_id() {
            return Err(TrustRefused::WrongMesh);
        }
        if content.tenant != *tenant {
            return Err(TrustRefused::BadEntry { what: "the tenant".to_owned(), rule: "is another one" });
        }
        if content.created > now.plus(CLOCK_AHEAD_MAX) {
            return Err(TrustRefused::FromTheFuture { created: content.created });
        }
        if now >= content.expires {
            return Err(TrustRefused::Expired { what: "offline authorization", expires: content.expires });
        }
        Ok(OfflineAuthorization { content, digest: self.digest() })
    }
}

impl OfflineAuthorization {
    /// What it says.
    #[must_use]
    pub fn content(&self) -> &OfflineContent {
        &self.content
    }

    /// SHA-256 of what is signed, for records.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The time since its signers looked; nothing when it does not count at `now`.
    #[must_use]
    pub fn age(&self, now: Timestamp) -> Option<Duration> {
        let OfflineContent { created, expires, .. } = &self.content;
        let is_in_time = now < *expires && now.plus(CLOCK_AHEAD_MAX) >= *created;
        is_in_time.then(|| now.since(*created))
    }

    /// Whether a call with these effects may go on, and for how long; `None` when not. Each effect has to be named.
    #[must_use]
    pub fn allows(&self, effects: Effects, now: Timestamp) -> Option<Fresh> {
        let OfflineContent { bounds, expires, .. } = &self.content;
        let bounds = effects.iter().map(|effect| bounds.get(&effect).copied());
        // A call without an effect has no bound, and none is the least.
        let bound = bounds.collect::<Option<Vec<u32>>>()?.into_iter().min()?;
        let (bound, age) = (Duration::from_secs(bound.into()), self.age(now)?);
        (age < bound).then(|| Fresh { age, left: bound.saturating_sub(age).min(expires.since(now)) })
    }
}

#[cfg(test)]
#[path = "offline_tests.rs"]
mod tests;
