//! A presentation: the bytes an agent sends, and their shape. Clauses E-1 and E-8.

use std::collections::BTreeMap;

use super::cbor::{Keys, Reader, Writer};
use super::cose::{Header, Sign1};
use super::countersign::RawCountersignature;
use super::decode;
use super::error::{MalformedEnvelope, ShapeFault, Unauthenticated};
use super::link::Link;
use super::verify;
use crate::crypto::digest::Digest;
use crate::crypto::sign::PublicKey;
use crate::id::{LinkId, MeshId, TenantId};
use crate::lattice::Scope;
use crate::limits::{CHAIN_LINKS_MAX, LINK_BYTES_MAX, PRESENTATION_BYTES_MAX};

/// The HTTP header in which a presentation travels, base64url without padding (clause E-1).
pub const ENVELOPE_HEADER: &str = "remit-envelope";

/// The version of the full form.
const FULL: u64 = 1;
/// The version of the reference form.
const REFERENCE: u64 = 2;

/// Bytes of a link with a few grants.
const LINK_BYTES_TYPICAL: usize = 1_024;

/// One link: what was signed, and what it says.
#[derive(Debug, Clone)]
pub(super) struct RawLink {
    pub(super) sign1: Sign1,
    pub(super) link: Link,
}

/// A chain of the right shape. Carries no authority: no signature has been looked at.
// INVARIANT: built only by `parse`; the first link is a root, all others are hops.
#[derive(Debug, Clone)]
pub struct RawPresentation {
    pub(super) links: Vec<RawLink>,
    /// By the index of the link; never the root's.
    pub(super) countersignatures: Countersignatures,
    pub(super) tenant: TenantId,
}

/// By the index of the link.
pub(super) type Countersignatures = BTreeMap<u8, RawCountersignature>;

impl RawPresentation {
    /// Checks limits and shape.
    ///
    /// # Errors
    /// [`MalformedEnvelope`] says which link and which field.
    pub fn parse(bytes: &[u8]) -> Result<Self, MalformedEnvelope> {
        if bytes.len() > PRESENTATION_BYTES_MAX {
            return Err(MalformedEnvelope::TooLong { found: bytes.len(), max: PRESENTATION_BYTES_MAX });
        }
        let frame = |source| MalformedEnvelope::Frame { source };
        let mut reader = Reader::new(bytes);
        let parts = reader.array("presentation", 2, 3).map_err(frame)?;
        match reader.uint("version").map_err(frame)? {
            FULL => {}
            REFERENCE if parts == 2 => {
                reader.exactly::<32>("leaf_id").map_err(frame)?;
                reader.end("presentation").map_err(frame)?;
                return Err(MalformedEnvelope::NeedChain);
            }
            _ => return Err(frame(ShapeFault::Value { at: "version" })),
        }
        let count = reader.array("links", 1, CHAIN_LINKS_MAX).map_err(frame)?;
        let mut links = Vec::with_capacity(count);
        for hop in (0u8..).take(count) {
            links.push(read_link(&mut reader, hop)?);
        }
        let countersignatures = match parts {
            3 => read_countersignatures(&mut reader, count).map_err(frame)?,
            _ => Countersignatures::new(),
        };
        reader.end("presentation").map_err(frame)?;
        let tenant = links
            .first()
            .and_then(|root: &RawLink| root.link.context.as_ref())
            .map(|context| context.tenant.clone())
            .ok_or(MalformedEnvelope::Link { hop: 0, source: ShapeFault::Misplaced { at: "kind" } })?;
        Ok(Self { links, countersignatures, tenant })
    }

    /// The tenant that the root claims; good for choosing what to verify with, and for nothing else.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// What the links say, root first; unverified.
    pub fn links(&self) -> impl Iterator<Item = &Link> {
        self.links.iter().map(|raw| &raw.link)
    }

    /// The id of the last link (clause E-7), as its holder asks for a channel with it; unverified.
    #[must_use]
    pub fn leaf_id(&self, mesh: &MeshId) -> Option<LinkId> {
        self.links.last().map(|raw| raw.sign1.id(mesh))
    }

    /// What the links would leave, if they are signed as they say: for showing, and for nothing else.
    ///
    /// # Errors
    /// Links that have nothing in common.
    pub fn unverified_scope(&self) -> Result<Scope, Unauthenticated> {
        let mut links: Vec<Link> = self.links().cloned().collect();
        verify::meet(&mut links).map(|met| met.scope)
    }

    /// The countersignatures that came along, by the index of the link; unverified.
    pub fn countersignatures(&self) -> impl Iterator<Item = (u8, &RawCountersignature)> {
        self.countersignatures.iter().map(|(hop, raw)| (*hop, raw))
    }

    /// The countersignature of one link; unverified.
    #[must_use]
    pub fn countersignature(&self, hop: u8) -> Option<&RawCountersignature> {
        self.countersignatures.get(&hop)
    }

    /// The ids of all links, root first; of whatever these bytes are.
    pub fn link_ids(&self, mesh: &MeshId) -> impl Iterator<Item = LinkId> {
        self.links.iter().map(|raw| raw.sign1.id(mesh))
    }

    /// The same chain up to and with one of its links, as a presentation: what the link's holder was given. `None` when
    /// the link is not in it.
    #[must_use]
    pub fn up_to(&self, mesh: &MeshId, link: &LinkId) -> Option<Vec<u8>> {
        let last = self.links.iter().position(|raw| raw.sign1.id(mesh) == *link)?;
        let links: Vec<&Sign1> = self.links.iter().take(last + 1).map(|raw| &raw.sign1).collect();
        Some(encode(links.into_iter(), &BTreeMap::new()))
    }

    /// What was read, written again: the same bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        encode(self.links.iter().map(|raw| &raw.sign1), &self.countersignatures)
    }
}

/// A countersignature cannot be put into a presentation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CannotCarry {
    /// The presentation is none.
    #[error("the presentation is malformed")]
    Presentation(#[source] MalformedEnvelope),
    /// The countersignature is none.
    #[error("the countersignature is malformed")]
    Countersignature(#[source] ShapeFault),
    /// It is about no hop of this presentation.
    #[error("the countersignature is about no hop of this envelope")]
    NoSuchHop,
}

/// The presentation with this countersignature of one of its hops, instead of one that it may have had.
///
/// # Errors
/// [`CannotCarry`].
pub fn with_countersignature(
    presentation: &[u8],
    mesh: &MeshId,
    countersignature: &[u8],
) -> Result<Vec<u8>, CannotCarry> {
    let mut raw = RawPresentation::parse(presentation).map_err(CannotCarry::Presentation)?;
    let countersignature = RawCountersignature::parse(countersignature).map_err(CannotCarry::Countersignature)?;
    let hops = (0u8..).zip(raw.link_ids(mesh)).skip(1);
    let hop = hops.filter(|(_, id)| *id == countersignature.said().link).map(|(hop, _)| hop).last();
    raw.countersignatures.insert(hop.ok_or(CannotCarry::NoSuchHop)?, countersignature);
    let bytes = encode(raw.links.iter().map(|link| &link.sign1), &raw.countersignatures);
    RawPresentation::parse(&bytes).map_err(CannotCarry::Presentation)?;
    Ok(bytes)
}

fn read_countersignatures(reader: &mut Reader<'_>, links: usize) -> Result<Countersignatures, ShapeFault> {
    const AT: &str = "countersignatures";
    let count = reader.map(AT, 1, links.saturating_sub(1))?;
    let mut keys = Keys::of(AT);
    let mut read = Countersignatures::new();
    for _ in 0..count {
        // A root is registered by being issued.
        let hop = u8::try_from(keys.next(reader)?).ok().filter(|hop| (1..links).contains(&usize::from(*hop)));
        read.insert(hop.ok_or(ShapeFault::Value { at: AT })?, RawCountersignature::read(reader)?);
    }
    Ok(read)
}

fn read_link(reader: &mut Reader<'_>, hop: u8) -> Result<RawLink, MalformedEnvelope> {
    let fault = |source| MalformedEnvelope::Link { hop, source };
    let sign1 = Sign1::read(reader, LINK_BYTES_MAX).map_err(fault)?;
    let decode::Payload { link, unenforceable } = decode::payload(&sign1.payload).map_err(fault)?;
    let is_root = link.context.is_some();
    if is_root != (hop == 0) || is_root != (sign1.header == Header::Quorum) {
        return Err(fault(ShapeFault::Misplaced { at: "kind" }));
    }
    match unenforceable {
        Some(key) => Err(MalformedEnvelope::Unenforceable { hop, key }),
        // The reader has refused every second encoding it can meet; this is the proof that it missed none.
        None if super::encode::payload(&link) != sign1.payload => {
            Err(fault(ShapeFault::NotDeterministic { at: "payload" }))
        }
        None => Ok(RawLink { sign1, link }),
    }
}

/// The one encoding of a chain, and of what edges said about its hops.
pub(super) fn encode<'a>(
    links: impl ExactSizeIterator<Item = &'a Sign1>,
    countersignatures: &Countersignatures,
) -> Vec<u8> {
    let mut out = Writer::sized(links.len().saturating_mul(LINK_BYTES_TYPICAL));
    let parts = if countersignatures.is_empty() { 2 } else { 3 };
    out.array(parts).uint(FULL).array(links.len());
    for link in links {
        link.write(&mut out);
    }
    if !countersignatures.is_empty() {
        out.map(countersignatures.len());
        for (hop, countersignature) in countersignatures {
            out.uint(u64::from(*hop));
            countersignature.write(&mut out);
        }
    }
    out.finish()
}

/// The key that holds this envelope, as its last link says; unverified.
#[must_use]
pub fn leaf_holder(presentation: &RawPresentation) -> Option<PublicKey> {
    presentation.links.last().map(|raw| raw.link.holder)
}

/// The reference form (clause X-8): the id of the last link, for an edge that has a channel for it. 36 bytes.
#[must_use]
pub fn reference(leaf: &LinkId) -> Vec<u8> {
    let mut out = Writer::sized(36);
    out.array(2).uint(REFERENCE).bytes(&leaf.0.0);
    out.finish()
}

/// The link that these bytes refer to, if they are the reference form, in its one encoding.
#[must_use]
pub fn read_reference(bytes: &[u8]) -> Option<LinkId> {
    let (_, id) = bytes.split_last_chunk::<32>()?;
    let leaf = LinkId(Digest(*id));
    (reference(&leaf) == bytes).then_some(leaf)
}
