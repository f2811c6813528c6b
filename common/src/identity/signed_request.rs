//! An administrator's command: an HTTP request signed by RFC 9421, kept as evidence.

use serde::{Deserialize, Serialize};

use crate::crypto::digest::Digest;
use crate::crypto::sign::{PublicKey, Signature, SigningKey};
use crate::id::{KeyId, MeshId};
use crate::time::Timestamp;

/// A request and what its sender signed. It travels into the log and to the edges as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedRequest {
    /// `POST`.
    pub method: String,
    /// Absolute path without a query: what is not signed must not matter.
    pub path: String,
    /// The body as sent.
    pub body: Vec<u8>,
    /// When it was signed, seconds since the epoch.
    pub created: u64,
    /// First second at which it is no longer accepted.
    pub expires: u64,
    /// 32 hex digits; a voter accepts each once.
    pub nonce: String,
    /// The signer's key.
    pub key: KeyId,
    /// Over [`SignedRequest::signature_base`].
    pub signature: Signature,
}

/// Why a request does not count as its administrator's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestRefused {
    /// A header is missing.
    #[error("header `{name}` is missing")]
    HeaderMissing {
        /// Which.
        name: &'static str,
    },
    /// A header came twice.
    #[error("header `{name}` came twice")]
    HeaderRepeated {
        /// Which.
        name: &'static str,
    },
    /// A header does not have the one form that is accepted.
    #[error("header `{name}` is malformed")]
    HeaderMalformed {
        /// Which.
        name: &'static str,
    },
    /// The tag names another mesh.
    #[error("the request is for another mesh")]
    WrongMesh,
    /// The digest is not the body's.
    #[error("the content digest is not that of the body")]
    ContentDigest,
    /// Method, path, nonce or window break a rule.
    #[error("{rule}")]
    Malformed {
        /// The rule.
        rule: &'static str,
    },
    /// The key asked for is not the one that the request names.
    #[error("the request names another key")]
    WrongKey,
    /// The signature does not verify.
    #[error("the signature of the request does not verify")]
    Signature,
    /// Signed too far in the future.
    #[error("the request is not valid yet")]
    NotYetValid,
    /// Its window has passed.
    #[error("the request has expired")]
    Expired,
}

/// A request whose signature was checked under a key that the caller chose.
#[derive(Debug, Clone, Copy)]
pub struct VerifiedRequest<'a> {
    request: &'a SignedRequest,
}

impl SignedRequest {
    /// Signs a request.
    #[must_use]
    #[expect(clippy::too_many_arguments, reason = "each is a part of what is signed")]
    pub fn sign(
        mesh: &MeshId,
        key: &SigningKey,
        method: &str,
        path: &str,
        body: Vec<u8>,
        created: u64,
        expires: u64,
        nonce: [u8; 16],
    ) -> Self {
        todo!("{mesh} {key:?} {method} {path} {body:?} {created} {expires} {nonce:?}")
    }

    /// The bytes that are signed (RFC 9421 section 2.5).
    #[must_use]
    pub fn signature_base(&self, mesh: &MeshId) -> Vec<u8> {
        todo!("{mesh}")
    }

    /// SHA-256 of the signature base: what a root envelope names as its evidence.
    #[must_use]
    pub fn evidence(&self, mesh: &MeshId) -> Digest {
        Digest::of(&[&self.signature_base(mesh)])
    }

    /// `Content-Digest`, `Signature-Input` and `Signature`.
    #[must_use]
    pub fn headers(&self, mesh: &MeshId) -> [(&'static str, String); 3] {
        todo!("{mesh}")
    }

    /// Reads a request from its HTTP form. Headers may come in any order and case; ours may come once only.
    ///
    /// # Errors
    /// [`RequestRefused`].
    pub fn from_headers<'a>(
        mesh: &MeshId,
        method: &str,
        path: &str,
        body: Vec<u8>,
        headers: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) -> Result<Self, RequestRefused> {
        let _ = headers.into_iter();
        todo!("{mesh} {method} {path} {body:?}")
    }

    /// Checks form and signature. Time is a question of its own: [`VerifiedRequest::check_time`].
    ///
    /// # Errors
    /// [`RequestRefused`].
    pub fn verify(&self, mesh: &MeshId, key: &PublicKey) -> Result<VerifiedRequest<'_>, RequestRefused> {
        todo!("{mesh} {key:?}")
    }
}

impl VerifiedRequest<'_> {
    /// The request.
    #[must_use]
    pub fn request(&self) -> &SignedRequest {
        self.request
    }

    /// Whether `now` lies in the window that was signed; `created` may be 30 s ahead.
    ///
    /// # Errors
    /// [`RequestRefused::NotYetValid`] or [`RequestRefused::Expired`].
    pub fn check_time(&self, now: Timestamp) -> Result<(), RequestRefused> {
        todo!("{now}")
    }
}
