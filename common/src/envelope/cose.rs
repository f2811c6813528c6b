//! COSE_Sign1 (RFC 9052) as links use it: headers, the bytes that are signed, and the id of a link. Clause E-2.

use super::cbor::{Keys, Reader, Writer};
use super::decode::ALG_ED25519;
use super::error::ShapeFault;
use super::mint::RootSignature;
use crate::crypto::digest::Digest;
use crate::crypto::sign::{PublicKey, Signature};
use crate::id::{LinkId, MeshId};
use crate::limits::ROOT_SIGNATURES_MAX;

/// The private COSE number of "more than half of the tenant's issuers, each with its own algorithm".
const ALG_QUORUM: i64 = -70_010;
/// The private header in which a later version may put a holder key that is too long for the payload.
const LONG_HOLDER_KEY: i64 = -70_001;
/// What a payload is (COSE header `typ`, RFC 9596).
const TYP: &str = "remit-link+cbor";
/// The same, of a countersignature.
const TYP_COUNTERSIGN: &str = "remit-countersign+cbor";
/// The longest protected header: three entries, none of them long.
const PROTECTED_BYTES_MAX: usize = 64;
/// The longest key in an unprotected header: an ML-DSA-44 public key.
const LONG_HOLDER_KEY_MAX: usize = 1_312;
/// Bytes of a Sig_structure besides the payload: the context, the protected header, the external data, the heads.
const SIGNED_OVERHEAD_BYTES: usize = 128;
/// Bytes of one issuer's part of a root's signature, heads included, with room for the head of the whole.
const QUORUM_PART_BYTES: usize = 80;
const AAD_LABEL: &[u8] = b"remit/link/v1";
const AAD_LABEL_COUNTERSIGN: &[u8] = b"remit/countersign/v1";
const ID_LABEL: &[u8] = b"remit/linkid/v1\0";

/// A protected header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Header {
    /// A root's.
    Quorum,
    /// A hop's: the algorithm and the first eight bytes of the id of the key that signed.
    Holder { alg: i64, kid: [u8; 8] },
    /// A countersignature's: the first eight bytes of the id of the edge's key.
    Edge { kid: [u8; 8] },
}

impl Header {
    pub(super) fn of_hop(parent_holder: &PublicKey) -> Self {
        Self::Holder { alg: ALG_ED25519, kid: parent_holder.id().short() }
    }

    pub(super) fn encode(self) -> Vec<u8> {
        let mut out = Writer::sized(PROTECTED_BYTES_MAX);
        match self {
            Self::Quorum => out.map(2).uint(1).int(ALG_QUORUM),
            Self::Holder { alg, kid } => out.map(3).uint(1).int(alg).uint(4).bytes(&kid),
            Self::Edge { kid } => out.map(3).uint(1).int(ALG_ED25519).uint(4).bytes(&kid),
        };
        out.uint(16).text(if matches!(self, Self::Edge { .. }) { TYP_COUNTERSIGN } else { TYP });
        out.finish()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, ShapeFault> {
        const AT: &str = "protected";
        let mut reader = Reader::new(bytes);
        let entries = reader.map(AT, 2, 3)?;
        let mut keys = Keys::of(AT);
        let (mut alg, mut kid, mut typ) = (None, None, None);
        for _ in 0..entries {
            match keys.next(&mut reader)? {
                1 => alg = Some(reader.int("protected.alg")?),
                4 => kid = Some(reader.exactly("protected.kid")?),
                16 => typ = Some(reader.text("protected.typ")?),
                _ => return Err(ShapeFault::UnknownKey { at: AT }),
            }
        }
        reader.end(AT)?;
        let alg = alg.ok_or(ShapeFault::Missing { at: "protected.alg" })?;
        match typ.ok_or(ShapeFault::Missing { at: "protected.typ" })? {
            TYP => {}
            TYP_COUNTERSIGN => match (alg, kid) {
                (ALG_ED25519, Some(kid)) => return Ok(Self::Edge { kid }),
                (ALG_ED25519, None) => return Err(ShapeFault::Missing { at: "protected.kid" }),
                _ => return Err(ShapeFault::Algorithm { alg }),
            },
            _ => return Err(ShapeFault::Value { at: "protected.typ" }),
        }
        match (alg, kid) {
            (ALG_QUORUM, None) => Ok(Self::Quorum),
            (ALG_QUORUM, Some(_)) => Err(ShapeFault::Misplaced { at: "protected.kid" }),
            (_, None) => Err(ShapeFault::Missing { at: "protected.kid" }),
            (alg, Some(kid)) => Ok(Self::Holder { alg, kid }),
        }
    }
}

/// The signature field of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LinkSignature {
    /// A root's: one or more issuers', by rising kid.
    Quorum(Vec<RootSignature>),
    /// A hop's.
    Holder(Signature),
}

/// One COSE_Sign1 of a presentation, with the exact bytes that were signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sign1 {
    pub(super) header: Header,
    pub(super) protected: Vec<u8>,
    pub(super) payload: Vec<u8>,
    pub(super) signature: LinkSignature,
}

impl Sign1 {
    pub(super) fn new(header: Header, payload: Vec<u8>, signature: LinkSignature) -> Self {
        Self { header, protected: header.encode(), payload, signature }
    }

    pub(super) fn read(reader: &mut Reader<'_>, link_bytes_max: usize) -> Result<Self, ShapeFault> {
        let start = reader.position();
        reader.array("link", 4, 4)?;
        let protected = reader.bytes("protected", PROTECTED_BYTES_MAX)?;
        let header = Header::decode(protected)?;
        if reader.map("unprotected", 0, 1)? == 1 {
            // Made for keys that the payload only hashes, which are those of algorithms not supported here.
            if reader.int("unprotected")? != LONG_HOLDER_KEY {
                return Err(ShapeFault::UnknownKey { at: "unprotected" });
            }
            reader.bytes("unprotected", LONG_HOLDER_KEY_MAX)?;
            return Err(ShapeFault::Misplaced { at: "unprotected" });
        }
        let payload = reader.bytes("payload", link_bytes_max)?;
        let signature = match header {
            Header::Quorum => LinkSignature::Quorum(read_quorum(reader.bytes("signature", link_bytes_max)?)?),
            Header::Holder { .. } => LinkSignature::Holder(Signature(reader.exactly("signature")?)),
            Header::Edge { .. } => return Err(ShapeFault::Value { at: "protected.typ" }),
        };
        let length = reader.position().saturating_sub(start);
        if length > link_bytes_max {
            return Err(ShapeFault::TooLong { found: length, max: link_bytes_max });
        }
        Ok(Self { header, protected: protected.to_vec(), payload: payload.to_vec(), signature })
    }

    pub(super) fn write(&self, out: &mut Writer) {
        out.array(4).bytes(&self.protected).map(0).bytes(&self.payload);
        match &self.signature {
            LinkSignature::Quorum(signatures) => out.bytes(&quorum(signatures)),
            LinkSignature::Holder(signature) => out.bytes(&signature.0),
        };
    }

    /// The bytes that were signed.
    pub(super) fn signed(&self, mesh: &MeshId) -> Vec<u8> {
        signed(mesh, &self.protected, &self.payload)
    }

    /// The id of the link (clause E-7).
    pub(super) fn id(&self, mesh: &MeshId) -> LinkId {
        let length = u32::try_from(self.protected.len()).unwrap_or(u32::MAX).to_be_bytes();
        LinkId(Digest::of(&[ID_LABEL, &mesh.0, &length, &self.protected, &self.payload]))
    }
}

/// Sig_structure of RFC 9052 section 4.4 (clause E-6); the external data bind the mesh and the version.
pub(super) fn signed(mesh: &MeshId, protected: &[u8], payload: &[u8]) -> Vec<u8> {
    sig_structure(AAD_LABEL, mesh, protected, payload)
}

/// The same for a countersignature, under a label of its own (clause E-31).
pub(super) fn countersigned(mesh: &MeshId, protected: &[u8], payload: &[u8]) -> Vec<u8> {
    sig_structure(AAD_LABEL_COUNTERSIGN, mesh, protected, payload)
}

fn sig_structure(label: &[u8], mesh: &MeshId, protected: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut out = Writer::sized(payload.len().saturating_add(SIGNED_OVERHEAD_BYTES));
    out.array(4).text("Signature1").bytes(protected).bytes(&[label, &mesh.0].concat()).bytes(payload);
    out.finish()
}

fn quorum(signatures: &[RootSignature]) -> Vec<u8> {
    let mut out = Writer::sized(signatures.len().saturating_mul(QUORUM_PART_BYTES));
    out.array(signatures.len());
    for RootSignature { kid, signature } in signatures {
        out.array(2).bytes(kid).bytes(&signature.0);
    }
    out.finish()
}

fn read_quorum(bytes: &[u8]) -> Result<Vec<RootSignature>, ShapeFault> {
    const AT: &str = "signature";
    let mut reader = Reader::new(bytes);
    let count = reader.array(AT, 1, ROOT_SIGNATURES_MAX)?;
    let mut signatures: Vec<RootSignature> = Vec::with_capacity(count);
    for _ in 0..count {
        reader.array(AT, 2, 2)?;
        let signature = RootSignature { kid: reader.exactly(AT)?, signature: Signature(reader.exactly(AT)?) };
        if signatures.last().is_some_and(|last| signature.kid <= last.kid) {
            return Err(ShapeFault::Unsorted { at: AT });
        }
        signatures.push(signature);
    }
    reader.end(AT)?;
    Ok(signatures)
}
