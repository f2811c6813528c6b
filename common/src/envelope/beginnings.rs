//! What of a chain has been verified before, so that nobody makes an edge verify it twice. Clause G-9.

use super::cose::LinkSignature;
use super::issuers::Issuers;
use super::mint::RootSignature;
use super::presentation::{RawLink, RawPresentation};
use super::verify::counted;
use crate::crypto::digest::Digest;
use crate::id::{LinkId, MeshId};

/// Beginnings of chains, a root and some hops, whose signatures have been verified under one mesh and one list of
/// issuers. Each is known by a SHA-256 over the ids of its links and the signatures that count, and each such signature
/// of a root by one of its own: whoever changes one of several makes an edge verify that one (clause G-9).
pub trait Beginnings {
    /// Whether it was learnt.
    fn knows(&self, beginning: &Digest) -> bool;
    /// Every signature of it was good.
    fn learn(&self, beginning: Digest);
    /// A signature is verified now, because nothing that is known spares it.
    fn verifying(&self) {}
}

/// What is known, and what the links to be verified are known by, one by one.
pub(super) type Watch<'k> = Option<(&'k dyn Beginnings, &'k [Digest])>;

/// For each link the digest of the chain up to and with it. Signatures of strangers under a root do not enter it, or
/// whoever has a copy of a chain could make it new as often as they like.
pub(super) fn beginnings(links: &[RawLink], ids: &[LinkId], issuers: &Issuers) -> Vec<Digest> {
    let mut before = Digest([0; 32]);
    let mut digest = |(raw, id): (&RawLink, &LinkId)| {
        let signatures: Vec<u8> = match (&raw.sign1.signature, &raw.link.context) {
            (LinkSignature::Holder(signature), _) => signature.0.to_vec(),
            (LinkSignature::Quorum(_), context) => {
                // A root without its majority is never learnt, whatever it is called here.
                let counted = context.as_ref().and_then(|context| counted(raw, context, issuers).ok());
                let parts = counted.into_iter().flat_map(|(parts, _)| parts);
                parts.flat_map(|(part, _)| part.kid.into_iter().chain(part.signature.0)).collect()
            }
        };
        before = Digest::of(&[&before.0, &id.0.0, &signatures]);
        before
    };
    links.iter().zip(ids).map(&mut digest).collect()
}

/// One signature of a root. Of another length than what a beginning is made of, so it is none.
pub(super) fn root_signature(root: &LinkId, part: &RootSignature) -> Digest {
    Digest::of(&[&root.0.0, &part.kid, &part.signature.0])
}

impl RawPresentation {
    /// What the whole chain is known by: a SHA-256 over the ids of its links and the signatures that count. Neither
    /// countersignatures enter it nor signatures of strangers under the root, so whoever has a copy cannot make it
    /// another one without breaking a signature (clause G-9).
    #[must_use]
    pub fn known_as(&self, mesh: &MeshId, issuers: &Issuers) -> Digest {
        let ids: Vec<LinkId> = self.link_ids(mesh).collect();
        // INVARIANT: there is a link.
        beginnings(&self.links, &ids, issuers).pop().unwrap_or_default()
    }
}
