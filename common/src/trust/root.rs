//! The root: which keys count for what in this mesh.
//!
//! The first root comes with the node, pinned by its digest. Each later one is signed by enough keys of the root
//! before it *and* by enough of its own, so that nobody can hand over to keys that nobody holds. Roots follow one
//! another without a gap; an expired one may still introduce its successor, but nothing else.
//! Clauses T-5 to T-9, docs/PROTOCOL.md.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::dsse::{self, Envelope, NotVerified};
pub use super::refused::TrustRefused;
pub use super::role::{Role, RoleContent};
use crate::crypto::digest::Digest;
use crate::crypto::sign::SigningKey;
use crate::id::{KeyId, MeshId, TenantId};
use crate::limits::{ROOT_DOCUMENT_DAYS_MAX, TENANTS_MAX};
use crate::policy::Bounds;
use crate::time::Timestamp;

/// The media type of a root.
pub const ROOT_TYPE: &str = "application/vnd.remit.root.v1+json";

/// What a root says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RootContent {
    /// The mesh.
    pub mesh_id: MeshId,
    /// Rises by one.
    pub version: u64,
    /// A mesh for trying things out: thresholds of one are allowed.
    pub dev: bool,
    /// First moment at which it no longer counts.
    pub expires: Timestamp,
    /// Who signs roots.
    pub root: RoleContent,
    /// Who signs directories.
    pub directory: RoleContent,
    /// Who signs bundles, per tenant.
    pub policy: BTreeMap<TenantId, RoleContent>,
    /// The most that a bundle may say about how old an edge's knowledge may be.
    pub bounds_max: Bounds,
}

/// A root whose signatures are not checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedRoot {
    envelope: Envelope,
}

/// A verified root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    // INVARIANT: made by `verify_pinned` and `verify_next` alone; the roles are those of the content.
    content: RootContent,
    digest: Digest,
    root: Role,
    directory: Role,
    policy: BTreeMap<TenantId, Role>,
}

impl SignedRoot {
    /// Writes and signs a root.
    ///
    /// # Errors
    /// [`TrustRefused`] when the content breaks a rule.
    pub fn make(content: &RootContent, keys: &[&SigningKey]) -> Result<Self, TrustRefused> {
        let payload = dsse::encode(content)?;
        Root::read(&payload)?;
        let mut envelope = Envelope::new(ROOT_TYPE, payload);
        for key in keys {
            envelope.sign(key);
        }
        Ok(Self { envelope })
    }

    /// Reads the signed form.
    ///
    /// # Errors
    /// [`TrustRefused::Malformed`].
    pub fn parse(bytes: &[u8]) -> Result<Self, TrustRefused> {
        Ok(Self { envelope: Envelope::parse(bytes)? })
    }

    /// The signed form.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.envelope.to_bytes()
    }

    /// SHA-256 of the payload: what a pin names.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&[&self.envelope.payload])
    }

    /// Accepts the first root: its digest was pinned when the node was installed. Whether it still counts is for
    /// [`Root::check_time`] to say, and for everything that it verifies.
    ///
    /// # Errors
    /// [`TrustRefused`].
    pub fn verify_pinned(self, pin: &Digest, mesh: &MeshId) -> Result<Root, TrustRefused> {
        let found = self.digest();
        if found != *pin {
            return Err(TrustRefused::Pin { pinned: *pin, found });
        }
        if self.envelope.payload_type != ROOT_TYPE {
            return Err(NotVerified::WrongType.into());
        }
        self.self_signed(mesh)
    }

    /// Accepts the next root: version one higher, signed by enough of the old root's keys and enough of its own. The
    /// old one may have expired by now; the new one must not have, before anything else relies on it.
    ///
    /// # Errors
    /// [`TrustRefused`].
    pub fn verify_next(self, previous: &Root) -> Result<Root, TrustRefused> {
        self.envelope.verify(ROOT_TYPE, &previous.root)?;
        let next = self.self_signed(previous.mesh_id())?;
        let (have, found) = (previous.version(), next.version());
        if have.checked_add(1) != Some(found) {
            return Err(TrustRefused::NotNext { have, found });
        }
        Ok(next)
    }

    /// INVARIANT: the payload has been authenticated by a pin or by the previous root.
    fn self_signed(self, mesh: &MeshId) -> Result<Root, TrustRefused> {
        let root = Root::read(&self.envelope.payload)?;
        self.envelope.verify(ROOT_TYPE, &root.root)?;
        if root.mesh_id() != mesh {
            return Err(TrustRefused::WrongMesh);
        }
        Ok(root)
    }
}

impl Root {
    /// The content with its own rules checked, and no signature: for who makes it, signs it, or has verified it.
    pub(super) fn read(payload: &[u8]) -> Result<Self, TrustRefused> {
        let content: RootContent = dsse::decode(payload)?;
        let digest = Digest::of(&[payload]);
        let root = Role::new("root", &content.root)?;
        let directory = Role::new("directory", &content.directory)?;
        if !content.dev {
            for (role, name) in [(&root, "root"), (&directory, "directory")] {
                if role.threshold() < 2 {
                    let rule = "only a mesh whose root says `dev` has a threshold of one here";
                    return Err(TrustRefused::BadRole { role: name.to_owned(), rule });
                }
            }
        }
        if content.version == 0 {
            return Err(TrustRefused::BadEntry { what: "root".to_owned(), rule: "versions begin at 1" });
        }
        if content.policy.len() > TENANTS_MAX {
            return Err(TrustRefused::BadEntry { what: "root".to_owned(), rule: "too many tenants" });
        }
        let policy = content
            .policy
            .iter()
            .map(|(tenant, role)| Ok((tenant.clone(), Role::new(&format!("policy of {tenant}"), role)?)))
            .collect::<Result<BTreeMap<_, _>, TrustRefused>>()?;
        let root = Self { content, digest, root, directory, policy };
        KeyUse::default().add_root(&root)?;
        Ok(root)
    }

    /// What it says.
    #[must_use]
    pub fn content(&self) -> &RootContent {
        &self.content
    }

    /// SHA-256 of the payload.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The mesh.
    #[must_use]
    pub fn mesh_id(&self) -> &MeshId {
        &self.content.mesh_id
    }

    /// Its number.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.content.version
    }

    /// Who signs the next root, and this one.
    #[must_use]
    pub fn root_role(&self) -> &Role {
        &self.root
    }

    /// Who signs directories.
    #[must_use]
    pub fn directory_role(&self) -> &Role {
        &self.directory
    }

    /// Who signs a tenant's bundles.
    #[must_use]
    pub fn policy_role(&self, tenant: &TenantId) -> Option<&Role> {
        self.policy.get(tenant)
    }

    /// Whether it counts at `now`: not expired, and not made for longer than a year ahead.
    ///
    /// # Errors
    /// [`TrustRefused::Expired`] or [`TrustRefused::Life`].
    pub fn check_time(&self, now: Timestamp) -> Result<(), TrustRefused> {
        let expires = self.content.expires;
        if now >= expires {
            return Err(TrustRefused::Expired { what: "root", expires });
        }
        if expires.since(now) > Duration::from_secs(ROOT_DOCUMENT_DAYS_MAX * 86_400) {
            return Err(TrustRefused::Life { days: ROOT_DOCUMENT_DAYS_MAX });
        }
        Ok(())
    }
}

/// Where each key stands. One key in two places would let a signature made for one be counted for the other.
#[derive(Default)]
pub(super) struct KeyUse(BTreeMap<KeyId, String>);

impl KeyUse {
    pub(super) fn add(&mut self, key: KeyId, place: String) -> Result<(), TrustRefused> {
        if let Some(first) = self.0.get(&key) {
            return Err(TrustRefused::KeyReused { key, first: first.clone(), second: place });
        }
        self.0.insert(key, place);
        Ok(())
    }

    pub(super) fn add_root(&mut self, root: &Root) -> Result<(), TrustRefused> {
        let policy = root.policy.iter().map(|(tenant, role)| (role, format!("a policy key of {tenant}")));
        let roles = [(&root.root, "a root key".to_owned()), (&root.directory, "a directory key".to_owned())];
        for (role, place) in roles.into_iter().chain(policy) {
            for key in role.keys().keys() {
                self.add(*key, place.clone())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "root_tests.rs"]
mod tests;
