//! One signed change of a tenant's relations.
//!
//! The bytes are compared with their bound, then the signature is checked against the writers that the caller names,
//! and only then is anything inside read. Clauses.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::refused::BatchRefused;
use crate::crypto::digest::Digest;
use crate::crypto::sign::{PublicKey, SigningKey};
use crate::id::{KeyId, MeshId, TenantId};
use crate::limits::{
    RELATION_BATCH_BYTES_MAX, RELATION_SIGNED_BYTES_MAX, RELATION_STATEMENT_BYTES_MAX, RELATION_TUPLES_MAX,
};
use crate::policy::json;
use crate::policy::relations::{Tuple, TupleKey};
use crate::trust::dsse::Envelope;
use crate::trust::role::{Role, RoleContent};

/// The payload type.
pub const BATCH_TYPE: &str = "application/vnd.remit.relations.v1+json";
/// The version that is written, and the only one that is read.
const VERSION: u32 = 1;
/// From so many bytes on a statement of the whole set is packed.
const PACK_AT: usize = 1024 * 1024;
/// The first bytes of a zstd frame (RFC 8878); JSON never begins with them.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Packing happens once, at an administrator's desk.
const PACK_LEVEL: i32 = 9;

/// Who may sign a tenant's batches, as the tenant's active bundle names them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Writers {
    role: Option<Role>,
}

/// What a batch says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchContent {
    /// The version of the format.
    pub v: u32,
    /// The mesh.
    pub mesh: MeshId,
    /// The tenant.
    pub tenant: TenantId,
    /// Counts from one, without gaps.
    pub revision: u64,
    /// The digest of the batch before; zeros in the first.
    pub prev: Digest,
    /// Whether `add` is the whole set, and nothing from before holds any more.
    pub replace: bool,
    /// Tuples that hold from now on.
    pub add: Vec<Tuple>,
    /// Tuples that do not.
    pub remove: Vec<TupleKey>,
}

/// A batch whose signature nobody has checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedBatch {
    envelope: Envelope,
    bytes: Arc<[u8]>,
    signer: KeyId,
}

/// A batch that one of the writers signed, for this mesh and tenant. Whether it is the next is the log's to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedBatch {
    // INVARIANT: made by `SignedBatch::verify` alone.
    content: BatchContent,
    digest: Digest,
    signer: KeyId,
    bytes: Arc<[u8]>,
}

impl Writers {
    /// These keys. An empty list lets nobody write.
    ///
    /// # Errors
    /// [`crate::trust::TrustRefused`] when one comes twice, or they are too many.
    pub fn new(keys: &[PublicKey]) -> Result<Self, crate::trust::TrustRefused> {
        if keys.is_empty() {
            return Ok(Self::default());
        }
        let content = RoleContent { keys: keys.to_vec(), threshold: 1 };
        Ok(Self { role: Some(Role::new("relation writers", &content)?) })
    }

    /// The key of this id, if it may write.
    #[must_use]
    pub fn get(&self, id: &KeyId) -> Option<&PublicKey> {
        self.role.as_ref()?.keys().get(id)
    }

    fn role(&self, tenant: &TenantId, key: &KeyId) -> Result<&Role, BatchRefused> {
        let role = self.role.as_ref().filter(|role| role.keys().contains_key(key));
        role.ok_or_else(|| BatchRefused::NotAWriter { key: *key, tenant: tenant.clone() })
    }
}

impl BatchContent {
    /// A change that follows on `prev`, of this revision.
    #[must_use]
    pub fn change(
        mesh: MeshId,
        tenant: TenantId,
        (revision, prev): (u64, Digest),
        add: Vec<Tuple>,
        remove: Vec<TupleKey>,
    ) -> Self {
        Self { v: VERSION, mesh, tenant, revision, prev, replace: false, add, remove }
    }

    /// A statement of the whole set.
    #[must_use]
    pub fn statement(mesh: MeshId, tenant: TenantId, (revision, prev): (u64, Digest), add: Vec<Tuple>) -> Self {
        Self { v: VERSION, mesh, tenant, revision, prev, replace: true, add, remove: Vec::new() }
    }

    /// Signs.
    ///
    /// # Errors
    /// [`BatchRefused`] when nobody would take it: too long, or against the rules of a batch.
    pub fn sign(&self, key: &SigningKey) -> Result<SignedBatch, BatchRefused> {
        self.check()?;
        let json = serde_json::to_vec(self).map_err(|fault| BatchRefused::Content { fault: fault.to_string() })?;
        let payload = if self.replace && json.len() > PACK_AT {
            if json.len() > RELATION_STATEMENT_BYTES_MAX {
                return Err(BatchRefused::StatementTooLong);
            }
            zstd::bulk::compress(&json, PACK_LEVEL)
                .map_err(|fault| BatchRefused::Content { fault: fault.to_string() })?
        } else {
            json
        };
        let mut envelope = Envelope::new(BATCH_TYPE, payload);
        envelope.sign(key);
        let bytes = envelope.to_bytes();
        self.check_length(bytes.len())?;
        SignedBatch::parse(&bytes)
    }

    /// How long the signed form may be: more for what states the whole set, which cannot be sent in several.
    fn check_length(&self, bytes: usize) -> Result<(), BatchRefused> {
        let max = if self.replace { RELATION_SIGNED_BYTES_MAX } else { RELATION_BATCH_BYTES_MAX };
        if bytes > max { Err(BatchRefused::TooLong { bytes, max }) } else { Ok(()) }
    }

    /// What holds for every batch, whoever signed it.
    fn check(&self) -> Result<(), BatchRefused> {
        let malformed = |fault: String| Err(BatchRefused::Content { fault });
        let Self { v, mesh: _, tenant: _, revision, prev, replace, add, remove } = self;
        if *v != VERSION {
            return malformed(format!("version {v} is not known here"));
        }
        if *revision == 0 || (*revision == 1) != (*prev == Digest::default()) {
            return malformed("revisions count from one, and only the first follows on nothing".to_owned());
        }
        if *replace && !remove.is_empty() {
            return malformed("a statement of the whole set removes nothing".to_owned());
        }
        if !*replace && add.is_empty() && remove.is_empty() {
            return malformed("a change that changes nothing".to_owned());
        }
        let count = add.len().saturating_add(remove.len());
        if count > RELATION_TUPLES_MAX {
            return Err(BatchRefused::TooManyTuples { count });
        }
        let mut seen = BTreeSet::new();
        for tuple in add.iter().map(|tuple| &tuple.key).chain(remove) {
            if !seen.insert(tuple) {
                return malformed(format!("`{tuple}` stands in the batch twice"));
            }
        }
        Ok(())
    }
}

impl SignedBatch {
    /// Reads the signed form. Checks its shape and its length, no signature.
    ///
    /// # Errors
    /// [`BatchRefused`].
    pub fn parse(bytes: &[u8]) -> Result<Self, BatchRefused> {
        let max = RELATION_SIGNED_BYTES_MAX;
        if bytes.len() > max {
            return Err(BatchRefused::TooLong { bytes: bytes.len(), max });
        }
        let envelope = Envelope::parse_within(bytes, max)?;
        let [signature] = envelope.signatures.as_slice() else { return Err(BatchRefused::Signatures) };
        let signer = signature.keyid;
        Ok(Self { envelope, bytes: bytes.into(), signer })
    }

    /// Who says to have signed it.
    #[must_use]
    pub fn signer(&self) -> &KeyId {
        &self.signer
    }

    /// The digest of what was signed: what the next batch names.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&[&self.envelope.payload])
    }

    /// The signed form, as it arrived.
    #[must_use]
    pub fn bytes(&self) -> &Arc<[u8]> {
        &self.bytes
    }

    /// Checks the signature first, then what it covers. The caller says whose batch it expects; that alone selects the
    /// keys.
    ///
    /// # Errors
    /// [`BatchRefused`].
    pub fn verify(self, mesh: &MeshId, tenant: &TenantId, writers: &Writers) -> Result<VerifiedBatch, BatchRefused> {
        let role = writers.role(tenant, &self.signer)?;
        let content = content_of(self.envelope.verify(BATCH_TYPE, role)?)?;
        self.verified(content, mesh, tenant)
    }

    /// A batch that was verified when it came, by a key that nobody names any more.
    pub(super) fn dangerous_retired(self, mesh: &MeshId, tenant: &TenantId) -> Result<VerifiedBatch, BatchRefused> {
        let content = content_of(&self.envelope.payload)?;
        self.verified(content, mesh, tenant)
    }

    fn verified(self, content: BatchContent, mesh: &MeshId, tenant: &TenantId) -> Result<VerifiedBatch, BatchRefused> {
        if content.mesh != *mesh {
            return Err(BatchRefused::WrongMesh);
        }
        if content.tenant != *tenant {
            return Err(BatchRefused::WrongTenant { found: content.tenant });
        }
        content.check()?;
        content.check_length(self.bytes.len())?;
        let digest = self.digest();
        Ok(VerifiedBatch { content, digest, signer: self.signer, bytes: self.bytes })
    }
}

/// Strict JSON, or, of a statement, the one zstd frame of it.
fn content_of(payload: &[u8]) -> Result<BatchContent, BatchRefused> {
    let fault = |fault: String| BatchRefused::Content { fault };
    let packed = payload.starts_with(&ZSTD_MAGIC);
    let unpacked;
    let json = if packed {
        unpacked = zstd::bulk::decompress(payload, RELATION_STATEMENT_BYTES_MAX)
            .map_err(|_| BatchRefused::StatementTooLong)?;
        unpacked.as_slice()
    } else {
        payload
    };
    json::parse(json, json::Mode::Protocol).map_err(|error| fault(error.to_string()))?;
    let content: BatchContent = serde_json::from_slice(json).map_err(|error| fault(error.to_string()))?;
    if packed && !content.replace {
        return Err(fault("only a statement of the whole set is packed".to_owned()));
    }
    Ok(content)
}

impl VerifiedBatch {
    /// What it says.
    #[must_use]
    pub fn content(&self) -> &BatchContent {
        &self.content
    }

    /// The digest of what was signed.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Who signed it.
    #[must_use]
    pub fn signer(&self) -> &KeyId {
        &self.signer
    }

    /// The signed form.
    #[must_use]
    pub fn bytes(&self) -> &Arc<[u8]> {
        &self.bytes
    }

    pub(super) fn into_parts(self) -> (BatchContent, Digest, KeyId, Arc<[u8]>) {
        (self.content, self.digest, self.signer, self.bytes)
    }
}
