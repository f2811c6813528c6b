//! What is posted to have something cut: by administrators and issuers three short texts, by a holder the chain besides
//! that says whose it is. Clauses T-40 and T-50.

use serde::{Deserialize, Serialize};

use super::{Cut, CutKind, Reach, RevocationRefused};
use crate::crypto::sign::SigningKey;
use crate::envelope::RawPresentation;
use crate::id::{KeyId, LinkId, MeshId};
use crate::identity::SignedRequest;
use crate::limits::{CHAIN_LINKS_MAX, PRESENTATION_BYTES_MAX};
use crate::text;
use crate::time::Timestamp;

/// Bytes of the body of a request without a chain: three short texts.
const BODY_BYTES_MAX: usize = 512;
/// Bytes of the body of a request that joins in another: that one besides.
const JOINING_BODY_BYTES_MAX: usize = 2_048;
/// Bytes of the body of a holder's request: the chain, the ids of its links, and what every request has.
pub const HOLDER_BODY_BYTES_MAX: usize = PRESENTATION_BYTES_MAX.div_ceil(3) * 4 + CHAIN_LINKS_MAX * 68 + BODY_BYTES_MAX;
/// Life of a holder's signature: as long as a gateway may take to pass it on, and its clock may be off.
const SIGNATURE_LIFE_SECS: u64 = 120;

/// The body of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// What is to be cut.
    pub cut: Cut,
    /// Of a holder's request, what it shows.
    pub shown: Option<Shown>,
    /// The request of the administrator in which this one joins.
    pub with: Option<Box<SignedRequest>>,
}

/// The chain that a holder shows. What it says of itself is compared with the chain when the request is verified; until
/// then, and where nobody can verify, it serves to sort and to count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// The ids of its links, root first.
    pub links: Vec<LinkId>,
    /// The presentation.
    pub chain: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    tenant: Reach,
    kind: CutKind,
    id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    links: Option<Vec<LinkId>>,
    /// The presentation, base64url without padding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    chain: Option<String>,
    /// What another administrator has asked for, whole.
    #[serde(default, rename = "with", skip_serializing_if = "Option::is_none")]
    joined: Option<Box<SignedRequest>>,
}

impl Asked {
    /// JSON, as it is posted.
    #[must_use]
    pub fn to_body(&self) -> Vec<u8> {
        let Self { cut: Cut { tenant, kind, id }, shown, with: joined } = self.clone();
        let (links, chain) = shown.map(|shown| (shown.links, text::base64url(&shown.chain))).unzip();
        // INVARIANT: texts always serialise.
        serde_json::to_vec(&Written { tenant, kind, id, links, chain, joined }).unwrap_or_default()
    }

    /// Reads a body and checks the id against its kind.
    ///
    /// # Errors
    /// [`RevocationRefused::Malformed`].
    pub fn from_body(body: &[u8]) -> Result<Self, RevocationRefused> {
        let malformed = |rule| RevocationRefused::Malformed { rule };
        if body.len() > HOLDER_BODY_BYTES_MAX {
            return Err(malformed("the body is at most a chain, the ids of its links, and 512 bytes"));
        }
        // serde refuses duplicate and unknown members of a struct, and bytes after the end.
        let Written { tenant, kind, id, links, chain, joined: with } = serde_json::from_slice(body).map_err(|_| {
            malformed("the body has tenant, kind and id, a holder's also links and chain, a second signer's also with")
        })?;
        let cut = Cut { tenant, kind, id };
        cut.check()?;
        let shown = match (links, chain) {
            (None, None) if with.is_some() && body.len() > JOINING_BODY_BYTES_MAX => {
                return Err(malformed("a body with another's request has at most 2048 bytes"));
            }
            (None, None) if with.is_none() && body.len() > BODY_BYTES_MAX => {
                return Err(malformed("a body without a chain has at most 512 bytes"));
            }
            (None, None) => None,
            (Some(_), _) | (_, Some(_)) if with.is_some() => {
                return Err(malformed("a holder joins in nobody's request"));
            }
            (Some(links), Some(chain)) => {
                let chain = text::from_base64url(&chain).ok_or_else(|| malformed("`chain` is not base64url"))?;
                if links.is_empty() || links.len() > CHAIN_LINKS_MAX || chain.len() > PRESENTATION_BYTES_MAX {
                    return Err(malformed("`links` and `chain` are those of one presentation"));
                }
                Some(Shown { links, chain })
            }
            _ => return Err(malformed("`links` and `chain` go together")),
        };
        Ok(Self { cut, shown, with })
    }

    /// What the holder of a key asks for who shows `presentation`: to cut the link `link` of it and everything below. It
    /// takes effect if the key holds that link or one above it.
    ///
    /// `None` when these are no presentation, or the link is not in it.
    #[must_use]
    pub fn link(presentation: &[u8], mesh: &MeshId, link: &LinkId) -> Option<Self> {
        // The end of the chain is what is cut, so that a link below that ends sooner does not shorten it.
        let chain = RawPresentation::parse(presentation).ok()?.up_to(mesh, link)?;
        Self::shown(chain, mesh, CutKind::Link, link.to_string())
    }

    /// What the holder of `key` asks for who gives it up altogether: `presentation` is one in which it holds a link.
    ///
    /// `None` when these are no presentation.
    #[must_use]
    pub fn own_key(presentation: &[u8], mesh: &MeshId, key: &KeyId) -> Option<Self> {
        let raw = RawPresentation::parse(presentation).ok()?;
        // Without countersignatures: nothing here hangs on them.
        let chain = raw.up_to(mesh, &raw.leaf_id(mesh)?)?;
        Self::shown(chain, mesh, CutKind::Holder, key.to_string())
    }

    fn shown(chain: Vec<u8>, mesh: &MeshId, kind: CutKind, id: String) -> Option<Self> {
        let raw = RawPresentation::parse(&chain).ok()?;
        let links = raw.link_ids(mesh).collect();
        let cut = Cut { tenant: raw.tenant().clone().into(), kind, id };
        Some(Self { cut, shown: Some(Shown { links, chain }), with: None })
    }

    /// Signs the request with a holder's key, at `now`.
    #[must_use]
    pub fn sign(&self, mesh: &MeshId, holder: &SigningKey, now: Timestamp, nonce: [u8; 16]) -> SignedRequest {
        let created = now.as_secs();
        let expires = created.saturating_add(SIGNATURE_LIFE_SECS);
        SignedRequest::sign(mesh, holder, "POST", super::REVOCATIONS_PATH, self.to_body(), created, expires, nonce)
    }
}
