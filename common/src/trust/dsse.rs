//! DSSE: exact bytes, their type, and detached signatures over both.

use crate::crypto::sign::{Signature, SigningKey};
use crate::id::KeyId;

use super::root::Role;

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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DsseSignature {
    /// SHA-256 of the key.
    pub keyid: KeyId,
    /// Over the pre-authentication encoding.
    pub sig: Signature,
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
    todo!("{payload_type} {payload:?}")
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
        todo!("{bytes:?}")
    }

    /// The JSON form.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        todo!()
    }

    /// Adds a signature; one by the same key is replaced.
    pub fn sign(&mut self, key: &SigningKey) {
        todo!("{key:?}")
    }

    /// The payload, if it is of this type and enough keys of the role signed it. Whose signatures count is decided by
    /// the role alone, never by what the document says.
    ///
    /// # Errors
    /// [`NotVerified`].
    pub fn verify(&self, payload_type: &str, role: &Role) -> Result<&[u8], NotVerified> {
        todo!("{payload_type} {role:?}")
    }
}
