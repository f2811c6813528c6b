//! What an edge signs about itself with its identity key.
//!
//! A voter keeps these and passes them on; whoever relies on them checks the signature against the directory, so that
//! no voter can claim more for an edge than the edge did. What is signed is deterministic CBOR with a purpose in
//! front, never the encoding of the message (W-10).

use minicbor::Encoder;
use serde::{Deserialize, Serialize};

use crate::crypto::digest::Digest;
use crate::crypto::sign::{PublicKey, Signature, SignatureInvalid, SigningKey};
use crate::id::{EdgeId, LogIndex, MeshId, RevocationEpoch, TenantId};

const ATTEST: &str = "remit/attest/v1";
const COVERED: &str = "remit/covered/v1";

/// What an edge runs: this manifest, since this activation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attestation {
    /// The edge.
    pub edge: EdgeId,
    /// The tenant.
    pub tenant: TenantId,
    /// The activation's number.
    pub number: LogIndex,
    /// The manifest.
    pub manifest: Digest,
    /// By the edge's identity key.
    pub signature: Signature,
}

/// What an edge enforces: every revocation up to this epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Covered {
    /// The edge.
    pub edge: EdgeId,
    /// The epoch.
    pub epoch: RevocationEpoch,
    /// The digest of the revocations at that epoch.
    pub digest: Digest,
    /// By the edge's identity key.
    pub signature: Signature,
}

impl Attestation {
    /// Signs.
    #[must_use]
    pub fn sign(
        mesh: &MeshId,
        key: &SigningKey,
        edge: EdgeId,
        tenant: TenantId,
        number: LogIndex,
        manifest: Digest,
    ) -> Self {
        let signature = key.sign(&Self::signed_bytes(mesh, &edge, &tenant, number, &manifest));
        Self { edge, tenant, number, manifest, signature }
    }

    /// Checks the signature under the key that the directory lists for the edge.
    ///
    /// # Errors
    /// [`SignatureInvalid`].
    pub fn verify(&self, mesh: &MeshId, key: &PublicKey) -> Result<(), SignatureInvalid> {
        let Self { edge, tenant, number, manifest, signature } = self;
        key.verify(&Self::signed_bytes(mesh, edge, tenant, *number, manifest), signature)
    }

    fn signed_bytes(mesh: &MeshId, edge: &EdgeId, tenant: &TenantId, number: LogIndex, manifest: &Digest) -> Vec<u8> {
        array(6, |out| {
            out.str(ATTEST)?.bytes(&mesh.0)?.str(edge.as_str())?;
            out.str(tenant.as_str())?.u64(number.0)?.bytes(&manifest.0)?.ok()
        })
    }
}

impl Covered {
    /// Signs.
    #[must_use]
    pub fn sign(mesh: &MeshId, key: &SigningKey, edge: EdgeId, epoch: RevocationEpoch, digest: Digest) -> Self {
        let signature = key.sign(&Self::signed_bytes(mesh, &edge, epoch, &digest));
        Self { edge, epoch, digest, signature }
    }

    /// Checks the signature under the key that the directory lists for the edge.
    ///
    /// # Errors
    /// [`SignatureInvalid`].
    pub fn verify(&self, mesh: &MeshId, key: &PublicKey) -> Result<(), SignatureInvalid> {
        let Self { edge, epoch, digest, signature } = self;
        key.verify(&Self::signed_bytes(mesh, edge, *epoch, digest), signature)
    }

    fn signed_bytes(mesh: &MeshId, edge: &EdgeId, epoch: RevocationEpoch, digest: &Digest) -> Vec<u8> {
        array(5, |out| {
            out.str(COVERED)?.bytes(&mesh.0)?.str(edge.as_str())?;
            out.u64(epoch.0)?.bytes(&digest.0)?.ok()
        })
    }
}

type CborError = minicbor::encode::Error<std::convert::Infallible>;

fn array(len: u64, fill: impl FnOnce(&mut Encoder<&mut Vec<u8>>) -> Result<(), CborError>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes);
    // A vector takes everything, so the only failure that the type allows for cannot come up.
    let _ = encoder.array(len).and_then(fill);
    bytes
}
