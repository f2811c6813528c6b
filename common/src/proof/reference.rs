//! The short form of a presentation: the id of the last link, for an edge that has a channel for it. Clause
//!

use minicbor::{Decoder, Encoder};

use crate::crypto::digest::Digest;
use crate::envelope::RawPresentation;
use crate::id::{LinkId, MeshId};

/// The domain of link ids (clause E-7).
const LINK_ID_LABEL: &[u8] = b"remit/linkid/v1\0";

/// The version of the reference form (clause E-1).
const REFERENCE: u64 = 2;

/// The reference form of a presentation: 36 bytes.
#[must_use]
pub fn reference(leaf: &LinkId) -> Vec<u8> {
    let mut out = Encoder::new(Vec::with_capacity(36));
    // INVARIANT: a `Vec` takes every write.
    let _infallible = out.array(2).and_then(|out| out.u64(REFERENCE)).and_then(|out| out.bytes(&leaf.0.0));
    out.into_writer()
}

/// The link that these bytes refer to, if they are the reference form, in its one encoding.
#[must_use]
pub fn read_reference(bytes: &[u8]) -> Option<LinkId> {
    let (_, id) = bytes.split_last_chunk::<32>()?;
    let leaf = LinkId(Digest(*id));
    (reference(&leaf) == bytes).then_some(leaf)
}

/// The id of a presentation's last link, for its holder. `None` when it is no presentation; nothing else is checked.
#[must_use]
pub fn leaf_id(presentation: &[u8], mesh: &MeshId) -> Option<LinkId> {
    // Shape, one encoding and bounds of every link.
    RawPresentation::parse(presentation).ok()?;
    let mut decoder = Decoder::new(presentation);
    decoder.array().ok()?;
    decoder.u64().ok()?;
    let links = decoder.array().ok()??;
    let mut leaf = None;
    for _ in 0..links {
        decoder.array().ok()?;
        let protected = decoder.bytes().ok()?;
        decoder.map().ok()?;
        let payload = decoder.bytes().ok()?;
        decoder.bytes().ok()?;
        let length = u32::try_from(protected.len()).ok()?.to_be_bytes();
        leaf = Some(LinkId(Digest::of(&[LINK_ID_LABEL, &mesh.0, &length, protected, payload])));
    }
    leaf
}
