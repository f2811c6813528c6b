//! From a credential to a signed, sealed shard, and back at the one edge that can.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::aad::ShardAad;
use crate::crypto::digest::Digest;
use crate::crypto::hpke::{self, HpkeFailed, Sealed, SealingKey, SealingPublicKey};
use crate::crypto::secret::Secret;
use crate::crypto::sign::SigningKey;
use crate::id::{CredentialId, EdgeId, KeyId, MeshId, TenantId};
use crate::limits::{CREDENTIAL_BYTES_MAX, SHARD_BYTES_MAX};
use crate::text;
use crate::trust::directory::Directory;
use crate::trust::dsse::{Envelope, NotVerified};
use crate::trust::role::{Role, RoleContent};

/// The DSSE payload type of a sealed shard (S-1).
pub const SHARD_TYPE: &str = "application/vnd.remit.shard.v1+json";

/// HPKE's `info` (S-3).
const INFO: &[u8] = b"remit/shard/v1";

/// The payload. Its exact bytes are what a sealer signs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Payload {
    mesh_id: MeshId,
    tenant: TenantId,
    edge: EdgeId,
    sealing_key: KeyId,
    credential: CredentialId,
    version: u64,
    profile: Digest,
    suite: String,
    enc: String,
    ciphertext: String,
}

impl Payload {
    fn aad(&self) -> ShardAad<'_> {
        ShardAad {
            mesh: &self.mesh_id,
            tenant: &self.tenant,
            edge: &self.edge,
            sealing_key: self.sealing_key,
            credential: &self.credential,
            version: self.version,
            profile: self.profile,
        }
    }
}

/// A credential cannot be sealed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CannotSeal {
    /// Longer than any credential.
    #[error("a credential has at most {CREDENTIAL_BYTES_MAX} bytes, this one has {found}")]
    TooLong {
        /// Its bytes.
        found: usize,
    },
    /// Nothing to seal.
    #[error("the credential is empty")]
    Empty,
    /// Versions begin at 1, so that "none yet" is below all of them.
    #[error("the first version is 1")]
    VersionZero,
    /// The key is not the one that the shard is to be bound to.
    #[error("the sealing key is not the one that the shard names")]
    OtherKey,
    /// The library refuses the key.
    #[error("the sealing key is unusable")]
    Key(#[from] HpkeFailed),
}

/// Seals `secret` for one edge and signs the result as `sealer`. `random` is fresh for every call: two shards sealed
/// with the same bytes betray each other. Gives the shard as it is sent and stored.
///
/// # Errors
/// [`CannotSeal`].
pub fn seal(
    aad: &ShardAad<'_>,
    to: &SealingPublicKey,
    secret: &Secret,
    sealer: &SigningKey,
    random: &Zeroizing<[u8; 64]>,
) -> Result<Vec<u8>, CannotSeal> {
    let found = secret.expose().len();
    if found > CREDENTIAL_BYTES_MAX {
        return Err(CannotSeal::TooLong { found });
    }
    if found == 0 {
        return Err(CannotSeal::Empty);
    }
    if aad.version == 0 {
        return Err(CannotSeal::VersionZero);
    }
    if aad.sealing_key != to.id() {
        return Err(CannotSeal::OtherKey);
    }
    let sealed = hpke::seal(to, INFO, &aad.to_bytes(), secret.expose(), random)?;
    let payload = Payload {
        mesh_id: *aad.mesh,
        tenant: aad.tenant.clone(),
        edge: aad.edge.clone(),
        sealing_key: aad.sealing_key,
        credential: aad.credential.clone(),
        version: aad.version,
        profile: aad.profile,
        suite: hpke::SUITE.to_owned(),
        enc: text::base64(&sealed.enc),
        ciphertext: text::base64(&sealed.ciphertext),
    };
    // INVARIANT: a struct of texts and a number always serialises.
    let mut envelope = Envelope::new(SHARD_TYPE, serde_json::to_vec(&payload).unwrap_or_default());
    envelope.sign(sealer);
    Ok(envelope.to_bytes())
}

/// Why a shard is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShardRefused {
    /// Not a shard by its shape.
    #[error("not a sealed shard: {rule}")]
    Malformed {
        /// The rule that is broken.
        rule: &'static str,
    },
    /// The key that signed is no sealer's.
    #[error("signed by {key}, which the directory does not list as a sealer")]
    UnknownSealer {
        /// The key.
        key: KeyId,
    },
    /// The signature does not count.
    #[error("the signature does not count")]
    Signature(#[from] NotVerified),
    /// The sealer is not allowed to seal this.
    #[error("sealer `{sealer}` may not seal `{credential}` of tenant `{tenant}`")]
    NotThatSealers {
        /// The sealer's name.
        sealer: String,
        /// The tenant that the shard names.
        tenant: TenantId,
        /// The credential that it names.
        credential: CredentialId,
    },
    /// For another mesh.
    #[error("the shard is for another mesh")]
    OtherMesh,
    /// For another edge.
    #[error("the shard is for edge `{found}`")]
    OtherEdge {
        /// The edge that it names.
        found: EdgeId,
    },
    /// For an edge or a key that the directory does not list.
    #[error("the directory does not list this sealing key for edge `{edge}`")]
    UnlistedKey {
        /// The edge that the shard names.
        edge: EdgeId,
    },
    /// Sealed in a way that this version does not know.
    #[error("suite `{found}` is not known")]
    UnknownSuite {
        /// What it names, cut to 64 characters.
        found: String,
    },
}

impl ShardRefused {
    /// A fixed word for metrics and records.
    #[must_use]
    pub fn reason_code(&self) -> &'static str {
        match self {
            Self::Malformed { .. } => "malformed",
            Self::UnknownSealer { .. } => "unknown-sealer",
            Self::Signature(_) => "bad-signature",
            Self::NotThatSealers { .. } => "outside-sealer-scope",
            Self::OtherMesh => "wrong-mesh",
            Self::OtherEdge { .. } => "wrong-edge",
            Self::UnlistedKey { .. } => "unlisted-key",
            Self::UnknownSuite { .. } => "unknown-suite",
        }
    }
}

/// A shard's version is not above the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("version {offered} does not rise above {have}")]
pub struct NotRising {
    /// The version that is there.
    pub have: u64,
    /// The version of this shard.
    pub offered: u64,
}

/// A shard does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DoesNotOpen {
    /// It was sealed for another server or header than the active catalogue says.
    #[error("the shard was sealed for another injection profile")]
    OtherProfile,
    /// It was sealed to another key than ours.
    #[error("the shard was sealed to another key")]
    OtherKey,
    /// The encryption does not open. Why, it does not say.
    #[error("the shard does not open")]
    Failed,
}

/// Shape checked, signature not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedShard {
    envelope: Envelope,
    signer: KeyId,
}

/// Signed by a sealer within what the directory lets it seal, and bound to an edge and key that it lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedShard {
    payload: Payload,
    sealed: Sealed,
}

/// A credential in the clear. `Debug` prints its name only; it is wiped on drop, and there is no `Clone`.
pub struct OpenShard {
    /// The tenant.
    pub tenant: TenantId,
    /// The credential.
    pub credential: CredentialId,
    /// Its version.
    pub version: u64,
    /// The profile under which it may be used.
    pub profile: Digest,
    secret: Secret,
}

impl SealedShard {
    /// Reads the DSSE form. One signature: a shard has one sealer (S-4).
    ///
    /// # Errors
    /// [`ShardRefused::Malformed`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ShardRefused> {
        let malformed = |rule| ShardRefused::Malformed { rule };
        if bytes.len() > SHARD_BYTES_MAX {
            return Err(malformed("a shard has at most 32 KiB"));
        }
        let envelope = Envelope::parse(bytes).map_err(|fault| malformed(fault.rule))?;
        match envelope.signatures.as_slice() {
            [signature] => Ok(Self { signer: signature.keyid, envelope }),
            _ => Err(malformed("a shard has exactly one signature")),
        }
    }

    /// The key that is said to have signed it; after [`Self::verify`], the one that did.
    #[must_use]
    pub fn signer(&self) -> &KeyId {
        &self.signer
    }

    /// Checks the signature first, then everything that it covers.
    ///
    /// # Errors
    /// [`ShardRefused`].
    pub fn verify(self, directory: &Directory, mesh: &MeshId) -> Result<VerifiedShard, ShardRefused> {
        let malformed = |rule| ShardRefused::Malformed { rule };
        let sealer = directory.sealer(&self.signer).ok_or(ShardRefused::UnknownSealer { key: self.signer })?;
        let role = Role::new("sealer", &RoleContent { keys: vec![sealer.key], threshold: 1 })
            .map_err(|_| ShardRefused::UnknownSealer { key: self.signer })?;
        let payload = self.envelope.verify(SHARD_TYPE, &role)?;
        // serde refuses duplicate and unknown members of a struct, and bytes after the end.
        let payload: Payload =
            serde_json::from_slice(payload).map_err(|_| malformed("the payload has exactly the members of S-1"))?;
        if payload.mesh_id != *mesh || directory.content().mesh_id != *mesh {
            return Err(ShardRefused::OtherMesh);
        }
        if !sealer.is_for(&payload.tenant, &payload.credential) {
            return Err(ShardRefused::NotThatSealers {
                sealer: sealer.name.clone(),
                tenant: payload.tenant,
                credential: payload.credential,
            });
        }
        if payload.suite != hpke::SUITE {
            return Err(ShardRefused::UnknownSuite { found: payload.suite.chars().take(64).collect() });
        }
        if payload.version == 0 {
            return Err(malformed("the first version is 1"));
        }
        let listed = directory.edge(&payload.edge).is_some_and(|edge| edge.sealing.id() == payload.sealing_key);
        if !listed {
            return Err(ShardRefused::UnlistedKey { edge: payload.edge });
        }
        let bytes = |text: &str| text::from_base64(text).ok_or(malformed("enc and ciphertext are canonical base64"));
        let sealed = Sealed { enc: bytes(&payload.enc)?, ciphertext: bytes(&payload.ciphertext)? };
        Ok(VerifiedShard { payload, sealed })
    }

    /// [`Self::verify`], and the shard is for this edge.
    ///
    /// # Errors
    /// [`ShardRefused`].
    pub fn verify_for(
        self,
        directory: &Directory,
        mesh: &MeshId,
        edge: &EdgeId,
    ) -> Result<VerifiedShard, ShardRefused> {
        let shard = self.verify(directory, mesh)?;
        if shard.edge() == edge { Ok(shard) } else { Err(ShardRefused::OtherEdge { found: shard.payload.edge }) }
    }
}

impl VerifiedShard {
    /// The tenant.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        &self.payload.tenant
    }

    /// The edge that may open it.
    #[must_use]
    pub fn edge(&self) -> &EdgeId {
        &self.payload.edge
    }

    /// The credential.
    #[must_use]
    pub fn credential(&self) -> &CredentialId {
        &self.payload.credential
    }

    /// Its version.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.payload.version
    }

    /// The digest of the injection profile that it is bound to.
    #[must_use]
    pub fn profile(&self) -> &Digest {
        &self.payload.profile
    }

    /// The key it is sealed to.
    #[must_use]
    pub fn sealing_key(&self) -> &KeyId {
        &self.payload.sealing_key
    }

    /// Whether it may take the place of the version that is there (S-5). The caller asks for the same tenant and
    /// credential.
    ///
    /// # Errors
    /// [`NotRising`].
    pub fn check_rises(&self, have: Option<u64>) -> Result<(), NotRising> {
        match have {
            Some(have) if self.version() <= have => Err(NotRising { have, offered: self.version() }),
            _ => Ok(()),
        }
    }

    /// Opens the shard for use under `profile`, which comes from the active catalogue and not from the shard.
    ///
    /// # Errors
    /// [`DoesNotOpen`].
    pub fn open(&self, key: &SealingKey, profile: &Digest) -> Result<OpenShard, DoesNotOpen> {
        let Payload { tenant, credential, version, .. } = &self.payload;
        if self.payload.profile != *profile {
            return Err(DoesNotOpen::OtherProfile);
        }
        if self.payload.sealing_key != key.public().id() {
            return Err(DoesNotOpen::OtherKey);
        }
        let secret = hpke::open(key, INFO, &self.payload.aad().to_bytes(), &self.sealed)
            .map_err(|HpkeFailed| DoesNotOpen::Failed)?;
        Ok(OpenShard {
            tenant: tenant.clone(),
            credential: credential.clone(),
            version: *version,
            profile: *profile,
            secret,
        })
    }
}

impl OpenShard {
    /// The credential, for the one place that injects it.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        self.secret.expose()
    }
}

impl fmt::Debug for OpenShard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpenShard({}/{} version {})", self.tenant, self.credential, self.version)
    }
}
