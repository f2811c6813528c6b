//! A root or a directory on its way from one signer to the next.
//!
//! Its signers sit at machines of their own, one after the other or each by themselves, and each of them wants to know
//! before signing what voters and edges would say afterwards. So a [`Draft`] answers that with the verifiers' own rules
//! and leaves out one thing only: that there are signatures enough. It vouches for nothing; whoever acts by a document
//! verifies it with [`SignedRoot`](super::root::SignedRoot) or [`SignedDirectory`](super::directory::SignedDirectory).
//! Clauses T-15 to T-18, docs/PROTOCOL.md.

use serde::Serialize;

use super::directory::{DIRECTORY_TYPE, Directory, DirectoryContent};
use super::dsse::{self, Envelope, NotVerified};
use super::refused::TrustRefused;
use super::role::Role;
use super::root::{KeyUse, ROOT_TYPE, Root, RootContent};
use crate::crypto::digest::Digest;
use crate::crypto::sign::SigningKey;
use crate::id::{KeyId, MeshId};
use crate::limits::{DIRECTORY_BYTES_MAX, DOCUMENT_BYTES_MAX, SIGNATURES_MAX};
use crate::time::Timestamp;

/// A root or a directory with the signatures that it has so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    // INVARIANT: the content is that of the envelope's payload, and breaks no rule that it can break by itself.
    envelope: Envelope,
    content: Content,
}

/// What a draft says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Content {
    /// A root.
    Root(Box<RootContent>),
    /// A directory.
    Directory(Box<DirectoryContent>),
}

/// Keys of which enough have to sign.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Quorum {
    /// Whose keys these are, for people.
    pub of: String,
    /// How many of them have to sign.
    pub needed: usize,
    /// Those whose signature verifies.
    pub signed: Vec<KeyId>,
    /// The others.
    pub unsigned: Vec<KeyId>,
}

/// Why a draft takes no signature.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotSigned {
    /// Voters and edges would refuse it, whoever signed.
    #[error(transparent)]
    Refused(#[from] TrustRefused),
    /// The key stands in no role that signs this.
    #[error("key {key} has no part in it: it is none of {roles}")]
    NoPart {
        /// Which key.
        key: KeyId,
        /// Whose keys have.
        roles: String,
    },
    /// The key's signature is there.
    #[error("key {key} has signed it already, and counts once")]
    Already {
        /// Which key.
        key: KeyId,
    },
    /// There is no room for one more.
    #[error("a document has at most {SIGNATURES_MAX} signatures")]
    Full,
    /// Signatures of another document.
    #[error("the two are not the same document: one has the digest {ours}, the other {theirs}")]
    OtherDocument {
        /// Of the one that signatures are added to.
        ours: Digest,
        /// Of the one that they come from.
        theirs: Digest,
    },
}

impl NotSigned {
    /// A fixed word for programs.
    #[must_use]
    pub fn reason_code(&self) -> &'static str {
        match self {
            Self::Refused(refused) => refused.reason_code(),
            Self::NoPart { .. } => "no_part",
            Self::Already { .. } => "signed_already",
            Self::Full => "too_many_signatures",
            Self::OtherDocument { .. } => "other_document",
        }
    }
}

impl Draft {
    /// A root that nobody has signed.
    ///
    /// # Errors
    /// [`TrustRefused`] when the content breaks a rule.
    pub fn root(content: &RootContent) -> Result<Self, TrustRefused> {
        Self::of(Envelope::new(ROOT_TYPE, dsse::encode(content)?))
    }

    /// A directory that nobody has signed.
    ///
    /// # Errors
    /// [`TrustRefused`] when the content breaks a rule.
    pub fn directory(content: &DirectoryContent) -> Result<Self, TrustRefused> {
        Self::of(Envelope::new(DIRECTORY_TYPE, dsse::encode(content)?))
    }

    /// Reads the signed form. Looks at no signature: somebody has to be the first to sign.
    ///
    /// # Errors
    /// [`TrustRefused`].
    pub fn parse(bytes: &[u8]) -> Result<Self, TrustRefused> {
        Self::of(Envelope::parse_within(bytes, DIRECTORY_BYTES_MAX)?)
    }

    fn of(envelope: Envelope) -> Result<Self, TrustRefused> {
        if envelope.payload_type == ROOT_TYPE {
            envelope.check_size(DOCUMENT_BYTES_MAX)?;
        } else {
            envelope.check_size(DIRECTORY_BYTES_MAX)?;
        }
        let content = match envelope.payload_type.as_str() {
            ROOT_TYPE => Content::Root(Box::new(Root::read(&envelope.payload)?.content().clone())),
            DIRECTORY_TYPE => {
                let directory = Directory::read(&envelope.payload, KeyUse::default())?;
                Content::Directory(Box::new(directory.content().clone()))
            }
            _ => return Err(NotVerified::WrongType.into()),
        };
        Ok(Self { envelope, content })
    }

    /// The signed form.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.envelope.to_bytes()
    }

    /// SHA-256 of the payload: what signers compare, and a pin names.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&[&self.envelope.payload])
    }

    /// What it says.
    #[must_use]
    pub fn content(&self) -> &Content {
        &self.content
    }

    /// Whether voters and edges would take it at `now`, if enough had signed: clauses T-5, T-7 to T-11 and T-13.
    /// `under` is the root before this root, or the root that is to vouch for this directory.
    ///
    /// # Errors
    /// [`TrustRefused`].
    pub fn check(&self, under: Option<&Root>, now: Timestamp) -> Result<(), TrustRefused> {
        match (&self.content, under) {
            (Content::Root(content), Some(previous)) => {
                if content.mesh_id != *previous.mesh_id() {
                    return Err(TrustRefused::WrongMesh);
                }
                let (have, found) = (previous.version(), content.version);
                if have.checked_add(1) != Some(found) {
                    return Err(TrustRefused::NotNext { have, found });
                }
                Root::read(&self.envelope.payload)?.check_time(now)
            }
            (Content::Root(_), None) => Root::read(&self.envelope.payload)?.check_time(now),
            (Content::Directory(_), Some(root)) => {
                root.check_time(now)?;
                Directory::read_under(&self.envelope.payload, root)?.check_made(now)
            }
            (Content::Directory(_), None) => {
                Directory::read(&self.envelope.payload, KeyUse::default())?.check_made(now)
            }
        }
    }

    /// Whose signatures it needs. `under` as in [`Self::check`]: without it, of a later root only its own keys are
    /// known, and of a directory nobody's.
    #[must_use]
    pub fn quorums(&self, under: Option<&Root>) -> Vec<Quorum> {
        match &self.content {
            Content::Root(content) => {
                let before = under.map(|root| (format!("the root keys of root {}", root.version()), root.root_role()));
                let own = Role::new("root", &content.root).ok();
                let own = own.as_ref().map(|role| (format!("the root keys of root {}", content.version), role));
                before.into_iter().chain(own).map(|(of, role)| self.quorum(of, role)).collect()
            }
            Content::Directory(_) => {
                let role = under.map(|root| (root.version(), root.directory_role()));
                role.map(|(n, role)| self.quorum(format!("the directory keys of root {n}"), role)).into_iter().collect()
            }
        }
    }

    /// Clause T-3, without an answer yet: by running over the role's keys.
    fn quorum(&self, of: String, role: &Role) -> Quorum {
        let message = dsse::pae(&self.envelope.payload_type, &self.envelope.payload);
        let (signed, unsigned) = role.keys().iter().partition::<Vec<_>, _>(|(id, key)| {
            self.envelope.signatures.iter().any(|s| s.keyid == **id && key.verify(&message, &s.sig).is_ok())
        });
        let ids = |keys: Vec<(&KeyId, _)>| keys.into_iter().map(|(id, _)| *id).collect();
        Quorum { of, needed: role.threshold(), signed: ids(signed), unsigned: ids(unsigned) }
    }

    /// Adds one signature, if the document would be taken, the key has a part in it, and has not signed it.
    ///
    /// # Errors
    /// [`NotSigned`]; nothing has changed.
    pub fn sign(&mut self, key: &SigningKey, under: Option<&Root>, now: Timestamp) -> Result<(), NotSigned> {
        self.check(under, now)?;
        let id = key.public().id();
        let quorums = self.quorums(under);
        if quorums.iter().any(|quorum| quorum.signed.contains(&id)) {
            return Err(NotSigned::Already { key: id });
        }
        if !quorums.iter().any(|quorum| quorum.unsigned.contains(&id)) {
            let roles = quorums.into_iter().map(|quorum| quorum.of).collect::<Vec<_>>().join(" and ");
            return Err(NotSigned::NoPart { key: id, roles });
        }
        let is_new = self.envelope.signatures.iter().all(|signature| signature.keyid != id);
        if is_new && self.envelope.signatures.len() >= SIGNATURES_MAX {
            return Err(NotSigned::Full);
        }
        self.envelope.sign(key);
        Ok(())
    }

    /// Takes over signatures that were made on another copy, and says how many.
    ///
    /// # Errors
    /// [`NotSigned`]; nothing has changed.
    pub fn merge(&mut self, other: &Self) -> Result<usize, NotSigned> {
        if (&self.envelope.payload_type, &self.envelope.payload)
            != (&other.envelope.payload_type, &other.envelope.payload)
        {
            return Err(NotSigned::OtherDocument { ours: self.digest(), theirs: other.digest() });
        }
        let mut signatures = self.envelope.signatures.clone();
        for signature in &other.envelope.signatures {
            if signatures.iter().all(|ours| ours.keyid != signature.keyid) {
                signatures.push(*signature);
            }
        }
        if signatures.len() > SIGNATURES_MAX {
            return Err(NotSigned::Full);
        }
        signatures.sort_by_key(|signature| signature.keyid);
        let added = signatures.len().saturating_sub(self.envelope.signatures.len());
        self.envelope.signatures = signatures;
        Ok(added)
    }
}

impl Content {
    /// `root` or `directory`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Root(_) => "root",
            Self::Directory(_) => "directory",
        }
    }

    /// The mesh.
    #[must_use]
    pub fn mesh_id(&self) -> &MeshId {
        match self {
            Self::Root(content) => &content.mesh_id,
            Self::Directory(content) => &content.mesh_id,
        }
    }

    /// Its number.
    #[must_use]
    pub fn version(&self) -> u64 {
        match self {
            Self::Root(content) => content.version,
            Self::Directory(content) => content.version,
        }
    }

    /// First moment at which it no longer counts.
    #[must_use]
    pub fn expires(&self) -> Timestamp {
        match self {
            Self::Root(content) => content.expires,
            Self::Directory(content) => content.expires,
        }
    }
}

impl Quorum {
    /// How many signatures are still to come.
    #[must_use]
    pub fn missing(&self) -> usize {
        self.needed.saturating_sub(self.signed.len())
    }
}

#[cfg(test)]
#[path = "ceremony_tests.rs"]
mod tests;
