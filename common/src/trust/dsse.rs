//! DSSE: exact bytes, their type, and detached signatures over both.
//!
//! Whoever verifies says beforehand which type and which role it expects, and gets the payload only if that role's
//! keys signed it; until then nobody looks inside. A key is counted by itself, never by how a document spells its
//! id: the loop runs over the role's keys, so that no arrangement of signatures counts one twice.
//! Clauses T-1 to T-4, docs/PROTOCOL.md; DSSE protocol 1.0 for the encoding that is signed.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::refused::TrustRefused;
use super::role::Role;
use crate::crypto::sign::{PublicKey, Signature, SigningKey};
use crate::id::KeyId;
use crate::limits::{DOCUMENT_BYTES_MAX, SIGNATURES_MAX};
use crate::planted::{Bug, planted};
use crate::policy::json;
use crate::text;

/// Bytes of a payload type.
const PAYLOAD_TYPE_BYTES_MAX: usize = 128;
/// Of kinds whose bound is not that of most documents.
const TOO_LONG: MalformedDocument = MalformedDocument { rule: "the document is longer than its kind may be" };

/// A signed document, signatures not checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// What kind of document; one media type each.
    pub payload_type: String,
    /// The bytes that were signed.
    pub payload: Vec<u8>,
    /// Who signed, at most one signature per key id.
    pub signatures: Vec<DsseSignature>,
}

/// One signature and whose it says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DsseSignature {
    /// SHA-256 of the key.
    pub keyid: KeyId,
    /// Over the pre-authentication encoding.
    pub sig: Signature,
}

/// The JSON form.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    payload: String,
    #[serde(rename = "payloadType")]
    payload_type: String,
    signatures: Vec<DsseSignature>,
}

/// Bytes are not a DSSE envelope of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a signed document: {rule}")]
pub struct MalformedDocument {
    /// The rule that is broken.
    pub rule: &'static str,
}

/// Too few of the right keys signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotVerified {
    /// Another kind of document than was asked for.
    #[error("the document is of another type than was asked for")]
    WrongType,
    /// Fewer of the role's keys than its threshold.
    #[error("signed by {found} of the role's keys, {needed} are needed")]
    NotEnoughSignatures {
        /// Distinct keys of the role whose signature verifies.
        found: usize,
        /// The threshold.
        needed: usize,
    },
}

/// The pre-authentication encoding: what is signed.
#[must_use]
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut out = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    out.extend_from_slice(payload);
    out
}

impl Envelope {
    /// An envelope that nobody has signed.
    #[must_use]
    pub fn new(payload_type: &str, payload: Vec<u8>) -> Self {
        Self { payload_type: payload_type.to_owned(), payload, signatures: Vec::new() }
    }

    /// Reads the JSON form. Checks shape and limits, no signature.
    ///
    /// # Errors
    /// [`MalformedDocument`].
    pub fn parse(bytes: &[u8]) -> Result<Self, MalformedDocument> {
        if bytes.len() > DOCUMENT_BYTES_MAX {
            return Err(MalformedDocument { rule: "a document is at most 1 MiB" });
        }
        Self::parse_within(bytes, DOCUMENT_BYTES_MAX)
    }

    /// Reads the JSON form of a kind of document that has a bound of its own.
    pub(crate) fn parse_within(bytes: &[u8], bytes_max: usize) -> Result<Self, MalformedDocument> {
        if bytes.len() > bytes_max {
            return Err(TOO_LONG);
        }
        // serde refuses duplicate and unknown members of a struct, and bytes after the end.
        let Wire { payload, payload_type, signatures } = serde_json::from_slice(bytes)
            .map_err(|_| MalformedDocument { rule: "JSON with payload, payloadType and signatures, nothing else" })?;
        if payload_type.len() > PAYLOAD_TYPE_BYTES_MAX || !payload_type.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(MalformedDocument { rule: "a payload type is at most 128 printable characters" });
        }
        if signatures.len() > SIGNATURES_MAX {
            return Err(MalformedDocument { rule: "at most 16 signatures" });
        }
        let mut signers = BTreeSet::new();
        if !signatures.iter().all(|signature| signers.insert(signature.keyid)) {
            return Err(MalformedDocument { rule: "one signature per key id" });
        }
        let payload = text::from_base64(&payload)
            .ok_or(MalformedDocument { rule: "the payload is canonical base64 with padding" })?;
        Ok(Self { payload_type, payload, signatures })
    }

    /// The JSON form.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let wire = Wire {
            payload: text::base64(&self.payload),
            payload_type: self.payload_type.clone(),
            signatures: self.signatures.clone(),
        };
        // INVARIANT: a struct of strings always serialises.
        serde_json::to_vec(&wire).unwrap_or_default()
    }

    /// Whether the JSON form has a size that readers of its kind take.
    pub(crate) fn check_size(&self, bytes_max: usize) -> Result<(), MalformedDocument> {
        if self.to_bytes().len() > bytes_max { Err(TOO_LONG) } else { Ok(()) }
    }

    /// Adds a signature; one by the same key is replaced. Signatures stand sorted by key id, so that the order of
    /// signing does not show.
    pub fn sign(&mut self, key: &SigningKey) {
        let keyid = key.public().id();
        let sig = key.sign(&pae(&self.payload_type, &self.payload));
        self.signatures.retain(|signature| signature.keyid != keyid);
        self.signatures.push(DsseSignature { keyid, sig });
        self.signatures.sort_by_key(|signature| signature.keyid);
    }

    /// The payload, if it is of this type and enough keys of the role signed it. Whose signatures count is decided by
    /// the role alone, never by what the document says.
    ///
    /// # Errors
    /// [`NotVerified`].
    pub fn verify(&self, payload_type: &str, role: &Role) -> Result<&[u8], NotVerified> {
        if self.payload_type != payload_type {
            return Err(NotVerified::WrongType);
        }
        let message = pae(&self.payload_type, &self.payload);
        // An envelope made in memory may carry several signatures under one id; one that verifies is enough.
        let signed = |id: &KeyId, key: &PublicKey| {
            self.signatures.iter().any(|s| s.keyid == *id && key.verify(&message, &s.sig).is_ok())
        };
        let mut found = role.keys().iter().filter(|(id, key)| signed(id, key)).count();
        if planted(Bug::OneKeyCountsTwice) {
            let by_any = |s: &&DsseSignature| role.keys().values().any(|key| key.verify(&message, &s.sig).is_ok());
            found = self.signatures.iter().filter(by_any).count();
        }
        if found < role.threshold() && !(planted(Bug::OneSignatureIsEnough) && found > 0) {
            return Err(NotVerified::NotEnoughSignatures { found, needed: role.threshold() });
        }
        Ok(&self.payload)
    }
}

/// Reads a verified payload: strict JSON, which serde's maps would not insist on, then exactly the members of `T`.
pub(crate) fn decode<T: serde::de::DeserializeOwned>(payload: &[u8]) -> Result<T, TrustRefused> {
    json::parse(payload, json::Mode::Protocol).map_err(|fault| TrustRefused::Content { fault: fault.to_string() })?;
    serde_json::from_slice(payload).map_err(|fault| TrustRefused::Content { fault: fault.to_string() })
}

/// Writes a payload. Member order is the declaration's, so that equal content gives equal bytes.
pub(crate) fn encode<T: Serialize>(content: &T) -> Result<Vec<u8>, TrustRefused> {
    serde_json::to_vec(content).map_err(|fault| TrustRefused::Content { fault: fault.to_string() })
}

#[cfg(test)]
#[path = "dsse_tests.rs"]
mod tests;
