//! The directory: the machines and people of a mesh and their keys.
//!
//! Whoever wants to know whether a key may do something asks a verified [`Directory`]; a key that it does not list
//! may do nothing, whatever certificate or signature comes with it. Its version only rises, and every key in it and
//! in the root stands in one place. Clauses T-10 to T-14, docs/PROTOCOL.md.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::beacon::majority_of;
use super::dsse::{self, Envelope};
use super::root::{KeyUse, Root, TrustRefused};
use crate::crypto::digest::Digest;
use crate::crypto::hpke::SealingPublicKey;
use crate::crypto::sign::{PublicKey, SigningKey};
use crate::envelope::{Issuer, Issuers};
use crate::id::{CredentialId, EdgeId, KeyId, MeshId, Region, TenantId, VoterId};
use crate::identity::{Administrator, Administrators};
use crate::limits::{CLOCK_AHEAD_MAX, DIRECTORY_BYTES_MAX, DIRECTORY_DAYS_MAX, DIRECTORY_STEP_MAX, VOTERS_MAX};
use crate::revocation::Authorities;
use crate::time::Timestamp;

/// The media type of a directory.
pub const DIRECTORY_TYPE: &str = "application/vnd.remit.directory.v1+json";

/// COSE's number for Ed25519, the only algorithm of issuers so far.
pub const ALG_ED25519: i32 = -19;

/// Bytes of a name that is for people only.
const NAME_BYTES_MAX: usize = 64;

/// A voter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Voter {
    /// Its number.
    pub id: VoterId,
    /// The key of its certificate.
    pub identity: PublicKey,
    /// The key with which it signs what it has applied; without one it signs nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beacon: Option<PublicKey>,
}

/// An edge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edge {
    /// Its name.
    pub id: EdgeId,
    /// Where it is.
    pub region: Region,
    /// The key of its certificate, of its acks and of its gap records.
    pub identity: PublicKey,
    /// What shards for it are sealed to.
    pub sealing: SealingPublicKey,
}

/// A key that signs root envelopes; voters hold them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuerEntry {
    /// COSE algorithm: [`ALG_ED25519`].
    pub alg: i32,
    /// The key.
    pub key: PublicKey,
    /// For which tenants; none means none.
    pub tenants: Vec<TenantId>,
    /// First moment.
    pub from: Timestamp,
    /// First moment at which it no longer counts.
    pub until: Timestamp,
}

/// A key that seals credentials of one tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sealer {
    /// For people and records.
    pub name: String,
    /// The key.
    pub key: PublicKey,
    /// Its tenant.
    pub tenant: TenantId,
    /// Credential names that it may seal begin with this; empty is all of the tenant's.
    pub prefix: String,
}

/// What a directory says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DirectoryContent {
    /// The mesh.
    pub mesh_id: MeshId,
    /// Only rises.
    pub version: u64,
    /// When it was made.
    pub created: Timestamp,
    /// First moment at which it no longer counts.
    pub expires: Timestamp,
    /// The voters.
    pub voters: Vec<Voter>,
    /// The edges.
    pub edges: Vec<Edge>,
    /// The issuers.
    pub issuers: Vec<IssuerEntry>,
    /// The administrators.
    pub administrators: Vec<Administrator>,
    /// The sealers.
    pub sealers: Vec<Sealer>,
}

/// A directory whose signatures are not checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedDirectory {
    envelope: Envelope,
}

/// A verified directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory {
    // INVARIANT: made by `SignedDirectory::verify` alone; the indexes are those of the content.
    content: DirectoryContent,
    digest: Digest,
    voters: BTreeMap<VoterId, Voter>,
    edges: BTreeMap<EdgeId, Edge>,
    issuers: Issuers,
    administrators: Administrators,
    sealers: BTreeMap<KeyId, Sealer>,
}

impl SignedDirectory {
    /// Writes and signs a directory. Rules that need the root are checked by [`Self::verify`].
    ///
    /// # Errors
    /// [`TrustRefused`] when the content breaks a rule.
    pub fn make(content: &DirectoryContent, keys: &[&SigningKey]) -> Result<Self, TrustRefused> {
        let payload = dsse::encode(content)?;
        Directory::read(&payload, KeyUse::default())?;
        let mut envelope = Envelope::new(DIRECTORY_TYPE, payload);
        envelope.check_size(DIRECTORY_BYTES_MAX)?;
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
        Ok(Self { envelope: Envelope::parse_within(bytes, DIRECTORY_BYTES_MAX)? })
    }

    /// The signed form.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.envelope.to_bytes()
    }

    /// SHA-256 of the payload.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&[&self.envelope.payload])
    }

    /// Checks signatures against the root's directory role, then everything that it says. A new root asks for this
    /// again: it may have taken a key into a role that the directory has elsewhere.
    ///
    /// # Errors
    /// [`TrustRefused`].
    pub fn verify(self, root: &Root, now: Timestamp) -> Result<Directory, TrustRefused> {
        root.check_time(now)?;
        let directory = self.verify_signatures(root)?;
        directory.check_made(now)?;
        Ok(directory)
    }

    /// As [`Self::verify`], and says nothing about time: for whoever does not act by this directory.
    ///
    /// # Errors
    /// [`TrustRefused`].
    pub fn verify_signatures(self, root: &Root) -> Result<Directory, TrustRefused> {
        let payload = self.envelope.verify(DIRECTORY_TYPE, root.directory_role())?;
        Directory::read_under(payload, root)
    }
}

impl Directory {
    /// The content as far as a root has a say in it: the same mesh, and no key of the root's in it.
    pub(super) fn read_under(payload: &[u8], root: &Root) -> Result<Self, TrustRefused> {
        let mut keys = KeyUse::default();
        keys.add_root(root)?;
        let directory = Self::read(payload, keys)?;
        if directory.content.mesh_id != *root.mesh_id() {
            return Err(TrustRefused::WrongMesh);
        }
        Ok(directory)
    }

    /// Neither made in the future nor expired.
    pub(super) fn check_made(&self, now: Timestamp) -> Result<(), TrustRefused> {
        let created = self.content.created;
        if created > now.plus(CLOCK_AHEAD_MAX) {
            return Err(TrustRefused::FromTheFuture { created });
        }
        self.check_time(now)
    }

    /// The content with its own rules checked, and no signature. `keys` are those that stand elsewhere already.
    pub(super) fn read(payload: &[u8], mut keys: KeyUse) -> Result<Self, TrustRefused> {
        let content: DirectoryContent = dsse::decode(payload)?;
        let life = Duration::from_secs(DIRECTORY_DAYS_MAX * 86_400);
        if content.expires <= content.created || content.expires.since(content.created) > life {
            return Err(TrustRefused::Life { days: DIRECTORY_DAYS_MAX });
        }
        if content.voters.len() > VOTERS_MAX {
            return Err(bad("voters", "too many voters"));
        }
        let mut voters = BTreeMap::new();
        for voter in &content.voters {
            keys.add(voter.identity.id(), format!("the identity of voter {}", voter.id))?;
            if let Some(beacon) = &voter.beacon {
                keys.add(beacon.id(), format!("the beacon key of voter {}", voter.id))?;
            }
            unique(voters.insert(voter.id, voter.clone()), "voter", &voter.id)?;
        }
        let signing = voters.values().filter(|voter| voter.beacon.is_some()).count();
        if signing > 0 && signing < majority_of(voters.len()) {
            return Err(bad("voters", "either none has a beacon key, or a majority has"));
        }
        let (mut edges, mut sealing) = (BTreeMap::new(), BTreeSet::new());
        for edge in &content.edges {
            keys.add(edge.identity.id(), format!("the identity of edge {}", edge.id))?;
            if !sealing.insert(edge.sealing.id()) {
                return Err(bad(&format!("edge {}", edge.id), "another edge has the same sealing key"));
            }
            unique(edges.insert(edge.id.clone(), edge.clone()), "edge", &edge.id)?;
        }
        let issuers = issuers(&content.issuers, &mut keys)?;
        let mut administrators = Administrators::new();
        for administrator in &content.administrators {
            check_name("administrator", &administrator.name)?;
            keys.add(administrator.key.id(), format!("administrator {}", administrator.name))?;
            administrators.insert(administrator.key.id(), administrator.clone());
        }
        let mut sealers = BTreeMap::new();
        for sealer in &content.sealers {
            check_name("sealer", &sealer.name)?;
            if !sealer.prefix.is_empty() && CredentialId::new(&sealer.prefix).is_err() {
                return Err(bad(&format!("sealer {}", sealer.name), "no credential name begins with its prefix"));
            }
            keys.add(sealer.key.id(), format!("sealer {} of {}", sealer.name, sealer.tenant))?;
            sealers.insert(sealer.key.id(), sealer.clone());
        }
        let digest = Digest::of(&[payload]);
        Ok(Self { content, digest, voters, edges, issuers, administrators, sealers })
    }

    /// What it says.
    #[must_use]
    pub fn content(&self) -> &DirectoryContent {
        &self.content
    }

    /// SHA-256 of the payload.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Its number.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.content.version
    }

    /// Whether it may follow `previous`: a higher version, or the same document again. A version cannot run away:
    /// whoever had the directory's keys for a day must not have named the last version that there is.
    ///
    /// # Errors
    /// [`TrustRefused::Rollback`], [`TrustRefused::FastForward`] or [`TrustRefused::SameVersion`].
    pub fn check_succeeds(&self, previous: &Self) -> Result<(), TrustRefused> {
        let (have, offered) = (previous.version(), self.version());
        if offered < have {
            return Err(TrustRefused::Rollback { have, offered });
        }
        if offered.saturating_sub(have) > DIRECTORY_STEP_MAX {
            return Err(TrustRefused::FastForward { have, offered, most: DIRECTORY_STEP_MAX });
        }
        if offered == have && self.digest != previous.digest {
            return Err(TrustRefused::SameVersion { version: have });
        }
        Ok(())
    }

    /// Whether it counts at `now`.
    ///
    /// # Errors
    /// [`TrustRefused::Expired`].
    pub fn check_time(&self, now: Timestamp) -> Result<(), TrustRefused> {
        let expires = self.content.expires;
        if now >= expires { Err(TrustRefused::Expired { what: "directory", expires }) } else { Ok(()) }
    }

    /// A voter.
    #[must_use]
    pub fn voter(&self, id: VoterId) -> Option<&Voter> {
        self.voters.get(&id)
    }

    /// Every voter, by number.
    pub fn voters(&self) -> impl Iterator<Item = &Voter> {
        self.voters.values()
    }

    /// Whether ticks are co-signed: from the first beacon key on, a tick answer alone proves nothing (F-21).
    #[must_use]
    pub fn has_beacon_keys(&self) -> bool {
        self.voters.values().any(|voter| voter.beacon.is_some())
    }

    /// An edge.
    #[must_use]
    pub fn edge(&self, id: &EdgeId) -> Option<&Edge> {
        self.edges.get(id)
    }

    /// Every edge, by name.
    pub fn edges(&self) -> impl Iterator<Item = &Edge> {
        self.edges.values()
    }

    /// The issuers, as envelopes are verified with them.
    #[must_use]
    pub fn issuers(&self) -> &Issuers {
        &self.issuers
    }

    /// The administrators by key.
    #[must_use]
    pub fn administrators(&self) -> &Administrators {
        &self.administrators
    }

    /// Whose word counts when something is to be cut.
    #[must_use]
    pub fn authorities(&self) -> Authorities<'_> {
        Authorities { mesh: &self.content.mesh_id, administrators: &self.administrators, issuers: &self.issuers }
    }

    /// An administrator.
    #[must_use]
    pub fn administrator(&self, key: &KeyId) -> Option<&Administrator> {
        self.administrators.get(key)
    }

    /// A sealer.
    #[must_use]
    pub fn sealer(&self, key: &KeyId) -> Option<&Sealer> {
        self.sealers.get(key)
    }
}

impl Sealer {
    /// Whether this sealer may seal that credential of that tenant.
    #[must_use]
    pub fn is_for(&self, tenant: &TenantId, credential: &CredentialId) -> bool {
        self.tenant == *tenant && credential.as_str().starts_with(&self.prefix)
    }
}

fn bad(what: &str, rule: &'static str) -> TrustRefused {
    TrustRefused::BadEntry { what: what.to_owned(), rule }
}

fn unique<T>(earlier: Option<T>, what: &'static str, id: &impl ToString) -> Result<(), TrustRefused> {
    match earlier {
        Some(_) => Err(TrustRefused::Repeated { what, id: id.to_string() }),
        None => Ok(()),
    }
}

fn check_name(what: &str, name: &str) -> Result<(), TrustRefused> {
    let printable = name.chars().all(|c| !c.is_control());
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !printable {
        return Err(bad(what, "a name has 1 to 64 bytes and no control characters"));
    }
    Ok(())
}

fn issuers(entries: &[IssuerEntry], keys: &mut KeyUse) -> Result<Issuers, TrustRefused> {
    let mut issuers = Vec::with_capacity(entries.len());
    for IssuerEntry { alg, key, tenants, from, until } in entries {
        let kid = key.id();
        keys.add(kid, "an issuer".to_owned())?;
        if *alg != ALG_ED25519 {
            return Err(bad(&format!("issuer {kid}"), "its algorithm is not known"));
        }
        if until <= from {
            return Err(bad(&format!("issuer {kid}"), "it ends before it begins"));
        }
        issuers.push(Issuer { kid, key: *key, tenants: tenants.clone(), from: *from, until: *until });
    }
    Issuers::new(issuers).map_err(|_| bad("issuers", "two of them begin alike"))
}

#[cfg(test)]
#[path = "directory_tests.rs"]
mod tests;
