//! Countersignatures: an edge's word that a hop was registered with it, when, and until when that counts.
//!
//! Evidence of registration, never of permission: whoever decides a call asks policy about the hop itself. One that does
//! not verify is no evidence, and the link it stands for is one that nobody registered. Clauses E-30 and E-31.

use super::cbor::{Keys, Reader, Writer};
use super::cose::{self, Header};
use super::error::ShapeFault;
use crate::crypto::digest::Digest;
use crate::crypto::sign::{PublicKey, Signature, SigningKey};
use crate::id::{DecisionId, EdgeId, LinkId, MeshId, Region};
use crate::limits::COUNTERSIGNATURE_BYTES_MAX;
use crate::time::Timestamp;

const AT: &str = "countersignature";
/// Leases that a countersignature may name; read, and nothing is done with them yet.
const LEASES_MAX: usize = 16;

/// What an edge says about a hop that was registered with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Countersignature {
    /// The hop.
    pub link: LinkId,
    /// The edge.
    pub edge: EdgeId,
    /// Where that edge is.
    pub region: Region,
    /// When it was registered, in whole seconds.
    pub time: Timestamp,
    /// The first moment at which the countersignature has ended, in whole seconds.
    pub expires: Timestamp,
    /// The bundle by which the edge judged the hop.
    pub bundle: Digest,
    /// The decision, as the edge's records name it.
    pub decision: DecisionId,
}

/// A countersignature of the right shape; nobody has checked who signed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawCountersignature {
    protected: Vec<u8>,
    kid: [u8; 8],
    payload: Vec<u8>,
    signature: Signature,
    said: Countersignature,
}

/// A countersignature is no evidence that this hop was registered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotRegistered {
    /// There is none.
    #[error("it carries no countersignature")]
    Absent,
    /// It is about another link.
    #[error("its countersignature is another link's")]
    OtherLink,
    /// The directory does not list the edge, in that region.
    #[error("its countersignature is of an edge that the directory does not list")]
    UnknownEdge,
    /// The edge did not sign it, or not for this mesh.
    #[error("its countersignature is not the edge's")]
    Signature,
    /// It has ended.
    #[error("its countersignature has ended")]
    Expired,
    /// The edge has been cut.
    #[error("its countersignature is of an edge that was cut")]
    EdgeCut,
}

impl Countersignature {
    /// Signs it with the edge's identity key: an untagged COSE_Sign1.
    #[must_use]
    pub fn sign(&self, mesh: &MeshId, key: &SigningKey) -> Vec<u8> {
        let protected = Header::Edge { kid: key.public().id().short() }.encode();
        let payload = self.encode();
        let signature = key.sign(&cose::countersigned(mesh, &protected, &payload));
        let kid = key.public().id().short();
        let raw = RawCountersignature { protected, kid, payload, signature, said: self.clone() };
        let mut out = Writer::sized(COUNTERSIGNATURE_BYTES_MAX);
        raw.write(&mut out);
        out.finish()
    }

    fn encode(&self) -> Vec<u8> {
        let Self { link, edge, region, time, expires, bundle, decision } = self;
        let mut out = Writer::sized(COUNTERSIGNATURE_BYTES_MAX);
        out.map(7).uint(1).bytes(&link.0.0).uint(2).text(edge.as_str()).uint(3).text(region.as_str());
        out.uint(4).uint(time.as_secs()).uint(5).uint(expires.as_secs());
        out.uint(6).bytes(&bundle.0).uint(7).bytes(&decision.to_bytes());
        out.finish()
    }
}

impl RawCountersignature {
    /// Checks size and shape.
    ///
    /// # Errors
    /// [`ShapeFault`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ShapeFault> {
        let mut reader = Reader::new(bytes);
        let read = Self::read(&mut reader)?;
        reader.end(AT)?;
        Ok(read)
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, ShapeFault> {
        let start = reader.position();
        reader.array(AT, 4, 4)?;
        let protected = reader.bytes(AT, COUNTERSIGNATURE_BYTES_MAX)?;
        let kid = match Header::decode(protected)? {
            Header::Edge { kid } => kid,
            Header::Quorum | Header::Holder { .. } => return Err(ShapeFault::Misplaced { at: AT }),
        };
        reader.map(AT, 0, 0)?;
        let payload = reader.bytes(AT, COUNTERSIGNATURE_BYTES_MAX)?;
        let said = decode(payload)?;
        let signature = Signature(reader.exactly(AT)?);
        let found = reader.position().saturating_sub(start);
        if found > COUNTERSIGNATURE_BYTES_MAX {
            return Err(ShapeFault::TooLong { found, max: COUNTERSIGNATURE_BYTES_MAX });
        }
        Ok(Self { protected: protected.to_vec(), kid, payload: payload.to_vec(), signature, said })
    }

    pub(super) fn write(&self, out: &mut Writer) {
        let Self { protected, kid: _, payload, signature, said: _ } = self;
        out.array(4).bytes(protected).map(0).bytes(payload).bytes(&signature.0);
    }

    /// What it says; nobody has checked who says it.
    #[must_use]
    pub fn said(&self) -> &Countersignature {
        &self.said
    }

    /// Checks that it is about this link, and signed by the edge that it names. `edge` gives the region and the
    /// identity key of an edge that the directory lists. Says nothing of time.
    ///
    /// # Errors
    /// [`NotRegistered`].
    pub fn verify<'d>(
        &self,
        mesh: &MeshId,
        link: &LinkId,
        edge: impl FnOnce(&EdgeId) -> Option<(&'d Region, &'d PublicKey)>,
    ) -> Result<&Countersignature, NotRegistered> {
        if self.said.link != *link {
            return Err(NotRegistered::OtherLink);
        }
        let (region, key) = edge(&self.said.edge).ok_or(NotRegistered::UnknownEdge)?;
        if *region != self.said.region {
            return Err(NotRegistered::UnknownEdge);
        }
        if self.kid != key.id().short() {
            return Err(NotRegistered::Signature);
        }
        let message = cose::countersigned(mesh, &self.protected, &self.payload);
        key.verify(&message, &self.signature).map_err(|_| NotRegistered::Signature)?;
        Ok(&self.said)
    }
}

fn decode(payload: &[u8]) -> Result<Countersignature, ShapeFault> {
    let mut reader = Reader::new(payload);
    let entries = reader.map(AT, 7, 8)?;
    let mut keys = Keys::of(AT);
    let mut key = |reader: &mut Reader<'_>, expected: u64| match keys.next(reader)? {
        key if key == expected => Ok(()),
        _ => Err(ShapeFault::UnknownKey { at: AT }),
    };
    key(&mut reader, 1)?;
    let link = LinkId(Digest(reader.exactly(AT)?));
    key(&mut reader, 2)?;
    let edge = reader.parsed(AT)?;
    key(&mut reader, 3)?;
    let region = reader.parsed(AT)?;
    key(&mut reader, 4)?;
    let time = Timestamp::from_secs(reader.uint(AT)?);
    key(&mut reader, 5)?;
    let expires = Timestamp::from_secs(reader.uint(AT)?);
    key(&mut reader, 6)?;
    let bundle = Digest(reader.exactly(AT)?);
    key(&mut reader, 7)?;
    let decision = DecisionId::from_bytes(reader.exactly(AT)?);
    if entries == 8 {
        key(&mut reader, 8)?;
        for _ in 0..reader.array(AT, 1, LEASES_MAX)? {
            reader.exactly::<16>(AT)?;
        }
    }
    reader.end(AT)?;
    Ok(Countersignature { link, edge, region, time, expires, bundle, decision })
}
