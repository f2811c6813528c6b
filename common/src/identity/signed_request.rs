//! An administrator's command: an HTTP request signed by RFC 9421, kept as evidence.
//!
//! The control plane does not act on its administrators' behalf, it acts on their signatures: the request goes into
//! the log as it was signed, and every voter, and every edge that is handed a revocation, checks it again. So there
//! is exactly one form. Components, their order and the parameters are fixed; a request that RFC 9421 would allow
//! to be signed otherwise is refused, because a signature over less would be a signature over something else.
//! Clauses T-20 to T-24, docs/PROTOCOL.md.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::crypto::digest::Digest;
use crate::crypto::sign::{PublicKey, Signature, SigningKey};
use crate::id::{KeyId, MeshId};
use crate::limits::{ADMIN_BODY_BYTES_MAX, ADMIN_SIGNATURE_LIFE_MAX};
use crate::text;
use crate::time::Timestamp;

/// How far ahead of ours a requester's clock may be.
const CLOCK_AHEAD_SECS_MAX: u64 = 30;
/// Bytes of a path; the longest of ours has 40.
const PATH_BYTES_MAX: usize = 256;
/// Structured fields (RFC 9651 section 3.3.1) have integers of at most 15 digits.
const INTEGER_MAX: u64 = 999_999_999_999_999;
/// The covered components, in the only order we take.
const COMPONENTS: &str = r#"("@method" "@path" "content-digest")"#;
/// The label of the signature in its dictionary.
const LABEL: &str = "remit=";

const CONTENT_DIGEST: &str = "content-digest";
const SIGNATURE_INPUT: &str = "signature-input";
const SIGNATURE: &str = "signature";

/// A request and what its sender signed. It travels into the log and to the edges as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedRequest {
    /// `POST`.
    pub method: String,
    /// Absolute path without a query: what is not signed must not matter.
    pub path: String,
    /// The body as sent.
    #[serde(with = "super::bytes")]
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
    /// Method, path, nonce, body or window break a rule.
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

impl RequestRefused {
    /// A fixed word for metrics and records.
    #[must_use]
    pub fn reason_code(&self) -> &'static str {
        match self {
            Self::HeaderMissing { .. } => "signature_missing",
            Self::HeaderRepeated { .. } | Self::HeaderMalformed { .. } | Self::Malformed { .. } => "malformed",
            Self::WrongMesh => "wrong_mesh",
            Self::ContentDigest => "content_digest",
            Self::WrongKey => "wrong_key",
            Self::Signature => "bad_signature",
            Self::NotYetValid => "not_yet_valid",
            Self::Expired => "expired",
        }
    }
}

/// A request whose signature was checked under a key that the caller chose.
#[derive(Debug, Clone, Copy)]
pub struct VerifiedRequest<'a> {
    // INVARIANT: built by `SignedRequest::verify` alone.
    request: &'a SignedRequest,
}

/// The signature base of RFC 9421 section 2.5: a line per component, then the parameters.
fn base(components: &[(&str, &str)], params: &str) -> String {
    let mut out = String::new();
    for (name, value) in components {
        out.extend(["\"", name, "\": ", value, "\n"]);
    }
    out.extend(["\"@signature-params\": ", params]);
    out
}

/// `Content-Digest` (RFC 9530) with SHA-256.
fn content_digest(body: &[u8]) -> String {
    format!("sha-256=:{}:", text::base64(&Digest::of(&[body]).0))
}

impl SignedRequest {
    /// Signs a request. Whether the window is one that a voter takes is for [`Self::verify`] to say.
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
        let mut request = Self {
            method: method.to_owned(),
            path: path.to_owned(),
            body,
            created,
            expires,
            nonce: text::hex(&nonce),
            key: key.public().id(),
            signature: Signature([0; 64]),
        };
        request.signature = key.sign(&request.signature_base(mesh));
        request
    }

    fn params(&self, mesh: &MeshId) -> String {
        let Self { created, expires, nonce, key, .. } = self;
        format!(r#"{COMPONENTS};created={created};expires={expires};nonce="{nonce}";keyid="{key}";tag="remit/{mesh}""#)
    }

    /// The bytes that are signed (RFC 9421 section 2.5).
    #[must_use]
    pub fn signature_base(&self, mesh: &MeshId) -> Vec<u8> {
        let digest = content_digest(&self.body);
        let components = [("@method", self.method.as_str()), ("@path", &self.path), (CONTENT_DIGEST, &digest)];
        base(&components, &self.params(mesh)).into_bytes()
    }

    /// SHA-256 of the signature base: what a root envelope names as its evidence.
    #[must_use]
    pub fn evidence(&self, mesh: &MeshId) -> Digest {
        Digest::of(&[&self.signature_base(mesh)])
    }

    /// The three headers that carry the signature beside method, path and body.
    #[must_use]
    pub fn headers(&self, mesh: &MeshId) -> [(&'static str, String); 3] {
        [
            (CONTENT_DIGEST, content_digest(&self.body)),
            (SIGNATURE_INPUT, format!("{LABEL}{}", self.params(mesh))),
            (SIGNATURE, format!("{LABEL}:{}:", text::base64(&self.signature.0))),
        ]
    }

    /// Reads a request from its HTTP form. Headers may come in any order and case; ours may come once only. Checks
    /// the form and the digest, not the signature.
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
        let mut ours: BTreeMap<&'static str, &str> = BTreeMap::new();
        for (name, value) in headers {
            let Some(name) =
                [CONTENT_DIGEST, SIGNATURE_INPUT, SIGNATURE].into_iter().find(|ours| ours.eq_ignore_ascii_case(name))
            else {
                continue;
            };
            let value = str::from_utf8(value).map_err(|_| RequestRefused::HeaderMalformed { name })?;
            if ours.insert(name, value).is_some() {
                return Err(RequestRefused::HeaderRepeated { name });
            }
        }
        let header = |name| ours.get(name).copied().ok_or(RequestRefused::HeaderMissing { name });
        let malformed = |name| move || RequestRefused::HeaderMalformed { name };

        let signature = header(SIGNATURE)?
            .strip_prefix(LABEL)
            .and_then(|rest| rest.strip_prefix(':')?.strip_suffix(':'))
            .and_then(text::from_base64)
            .and_then(|bytes| Signature::from_slice(&bytes))
            .ok_or_else(malformed(SIGNATURE))?;
        let input = header(SIGNATURE_INPUT)?;
        let Params { created, expires, nonce, key, tag } =
            Params::parse(input).ok_or_else(malformed(SIGNATURE_INPUT))?;
        if tag != format!("remit/{mesh}") {
            return Err(RequestRefused::WrongMesh);
        }
        if body.len() > ADMIN_BODY_BYTES_MAX {
            return Err(RequestRefused::Malformed { rule: "the body is too long" });
        }
        if header(CONTENT_DIGEST)? != content_digest(&body) {
            return Err(RequestRefused::ContentDigest);
        }
        let request = Self {
            method: method.to_owned(),
            path: path.to_owned(),
            body,
            created,
            expires,
            nonce: nonce.to_owned(),
            key,
            signature,
        };
        request.check_form()?;
        Ok(request)
    }

    /// Checks form and signature. Time is a question of its own: [`VerifiedRequest::check_time`].
    ///
    /// # Errors
    /// [`RequestRefused`].
    pub fn verify(&self, mesh: &MeshId, key: &PublicKey) -> Result<VerifiedRequest<'_>, RequestRefused> {
        self.check_form()?;
        if key.id() != self.key {
            return Err(RequestRefused::WrongKey);
        }
        key.verify(&self.signature_base(mesh), &self.signature).map_err(|_| RequestRefused::Signature)?;
        Ok(VerifiedRequest { request: self })
    }

    /// Every part that is not opaque has one spelling, so that no part can pose as two lines of the base.
    fn check_form(&self) -> Result<(), RequestRefused> {
        let rule = |rule| Err(RequestRefused::Malformed { rule });
        if !matches!(self.method.as_str(), "POST" | "PUT" | "DELETE" | "PATCH" | "GET") {
            return rule("the method is one of POST, PUT, DELETE, PATCH and GET");
        }
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~@:/".contains(&b);
        let path_is_plain = self.path.len() <= PATH_BYTES_MAX
            && self.path.bytes().all(plain)
            && self.path.strip_prefix('/').is_some_and(|rest| {
                !rest.is_empty() && rest.split('/').all(|segment| !matches!(segment, "" | "." | ".."))
            });
        if !path_is_plain {
            return rule("the path is absolute, plain and without a query");
        }
        if self.nonce.len() != 32 || text::from_hex(&self.nonce).is_none() {
            return rule("the nonce is 32 lower-case hex digits");
        }
        if self.body.len() > ADMIN_BODY_BYTES_MAX {
            return rule("the body is too long");
        }
        if self.created > INTEGER_MAX || self.expires > INTEGER_MAX {
            return rule("times have at most 15 digits");
        }
        match self.expires.checked_sub(self.created) {
            Some(1..) if self.expires - self.created <= ADMIN_SIGNATURE_LIFE_MAX.as_secs() => Ok(()),
            _ => rule("the window is at least a second and at most five minutes"),
        }
    }
}

/// The parameters as they stand in `Signature-Input`.
struct Params<'a> {
    created: u64,
    expires: u64,
    nonce: &'a str,
    key: KeyId,
    tag: &'a str,
}

impl<'a> Params<'a> {
    fn parse(input: &'a str) -> Option<Self> {
        let rest = input.strip_prefix(LABEL)?.strip_prefix(COMPONENTS)?.strip_prefix(";created=")?;
        let (created, rest) = rest.split_once(";expires=")?;
        let (expires, rest) = rest.split_once(";nonce=\"")?;
        let (nonce, rest) = rest.split_once("\";keyid=\"")?;
        let (key, rest) = rest.split_once("\";tag=\"")?;
        let tag = rest.strip_suffix('"')?;
        Some(Self { created: integer(created)?, expires: integer(expires)?, nonce, key: key.parse().ok()?, tag })
    }
}

/// A non-negative structured-field integer in its only canonical spelling.
fn integer(text: &str) -> Option<u64> {
    let value: u64 = text.parse().ok()?;
    (value <= INTEGER_MAX && value.to_string() == text).then_some(value)
}

impl<'a> VerifiedRequest<'a> {
    /// The request.
    #[must_use]
    pub fn request(&self) -> &'a SignedRequest {
        self.request
    }

    /// Whether `now` lies in the window that was signed; `created` may be 30 s ahead.
    ///
    /// # Errors
    /// [`RequestRefused::NotYetValid`] or [`RequestRefused::Expired`].
    pub fn check_time(&self, now: Timestamp) -> Result<(), RequestRefused> {
        if self.request.created > now.as_secs().saturating_add(CLOCK_AHEAD_SECS_MAX) {
            return Err(RequestRefused::NotYetValid);
        }
        if now >= Timestamp::from_secs(self.request.expires) {
            return Err(RequestRefused::Expired);
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "signed_request_tests.rs"]
mod tests;
