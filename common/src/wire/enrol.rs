//! What an edge and a voter say over `remit-enrol/1`: one question a stream, one answer.
//!
//! The voter shows a certificate there, the edge shows none. Who asks signs, with the identity key that it claims, over
//! this very connection: so a question that somebody hears is worth nothing on another one. Clauses J-3 to J-8,
//! docs/PROTOCOL.md.

use minicbor::Encoder;
use serde::{Deserialize, Serialize};

use super::codec::{self, Unencodable};
use super::frame::{self, Frame, PeerMisbehaved};
use super::message::{WireMessage, messages};
use crate::crypto::hpke::SealingPublicKey;
use crate::crypto::sign::{PublicKey, Signature, SignatureInvalid, SigningKey};
use crate::id::{EdgeId, LogIndex, MeshId, Region};
use crate::limits::FRAME_BYTES_MAX;

/// Bytes of a question: a claim has 1.4 KiB, and a certificate half of one.
pub const QUESTION_BYTES_MAX: usize = 8 * 1024;
/// Bytes of a certificate that is shown.
pub const CERTIFICATE_BYTES_MAX: usize = 2 * 1024;

const DOMAIN: &str = "remit/enrol/v1";

messages! {
    /// What an edge asks.
    EnrolQuestion {
        /// To be taken in, by a token.
        201 Join(Join),
        /// For another certificate.
        202 Renew(Renew),
        /// Whether the directory lists it.
        203 Look(Claim),
    }
}

messages! {
    /// What a voter answers.
    EnrolAnswer {
        /// The first certificate. The first root follows on the stream, as it was signed.
        211 Joined(Issued),
        /// Another certificate.
        212 Renewed(Issued),
        /// Whether the directory lists it.
        213 Standing(Standing),
        /// Nothing, and why.
        214 Refused(EnrolRefused),
    }
}

/// What is asked; it is part of what is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// [`EnrolQuestion::Join`].
    Join,
    /// [`EnrolQuestion::Renew`].
    Renew,
    /// [`EnrolQuestion::Look`].
    Look,
}

impl Purpose {
    fn as_str(self) -> &'static str {
        match self {
            Self::Join => "join",
            Self::Renew => "renew",
            Self::Look => "look",
        }
    }
}

/// 32 bytes that both ends of one connection know and no other connection has (RFC 8446 section 7.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Binding(pub [u8; 32]);

/// Who asks, signed with the identity key over the connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The mesh.
    pub mesh: MeshId,
    /// Where the edge stands.
    pub region: Region,
    /// Which edge.
    pub edge: EdgeId,
    /// The key of its certificates.
    pub identity: PublicKey,
    /// What credentials are to be sealed to.
    pub sealing: SealingPublicKey,
    /// By the identity key.
    pub signature: Signature,
}

impl Claim {
    /// Signs.
    #[must_use]
    pub fn sign(
        (mesh, region, edge): (MeshId, Region, EdgeId),
        key: &SigningKey,
        sealing: SealingPublicKey,
        purpose: Purpose,
        binding: &Binding,
    ) -> Self {
        let signature = Signature([0; 64]);
        let mut claim = Self { mesh, region, edge, identity: *key.public(), sealing, signature };
        claim.signature = key.sign(&claim.signed_bytes(purpose, binding));
        claim
    }

    /// Checks that whoever has the identity key asks this on this connection.
    ///
    /// # Errors
    /// [`SignatureInvalid`].
    pub fn verify(&self, purpose: Purpose, binding: &Binding) -> Result<(), SignatureInvalid> {
        self.identity.verify(&self.signed_bytes(purpose, binding), &self.signature)
    }

    fn signed_bytes(&self, purpose: Purpose, binding: &Binding) -> Vec<u8> {
        let Self { mesh, region, edge, identity, sealing, signature: _ } = self;
        let mut bytes = Vec::new();
        // A vector takes everything, so the only failure that the type allows for cannot come up.
        let _ = Encoder::new(&mut bytes).array(8).and_then(|out| {
            out.str(DOMAIN)?.str(purpose.as_str())?.bytes(&mesh.0)?.str(region.as_str())?.str(edge.as_str())?;
            out.bytes(identity.as_bytes())?.bytes(&sealing.id().0.0)?.bytes(&binding.0)?.ok()
        });
        bytes
    }
}

/// To be taken in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Join {
    /// Who asks.
    pub claim: Claim,
    /// The public key of the token. Its secret does not travel.
    pub token: PublicKey,
    /// By the token's key, over the [`Admission`](crate::identity::Admission) of who asks.
    pub admission: Signature,
}

/// For another certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renew {
    /// Who asks.
    pub claim: Claim,
    /// The certificate that it has (DER).
    #[serde(with = "super::codec::bytes")]
    pub certificate: Vec<u8>,
}

/// A certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issued {
    /// The certificate (DER).
    #[serde(with = "super::codec::bytes")]
    pub certificate: Vec<u8>,
    /// The entry by which it was issued: its serial number.
    pub index: LogIndex,
}

/// Where an edge stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Whether the directory lists this edge with this region, identity and sealing key.
    pub listed: bool,
    /// The version of the directory that was asked.
    pub directory: u64,
}

/// Why nothing came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrolRefused {
    /// A fixed word.
    pub code: String,
    /// For people.
    pub detail: String,
}

/// Refusals that another voter, or the same one later, would give as well (clause J-6).
#[must_use]
pub fn is_final(code: &str) -> bool {
    const FINAL: [&str; 12] = [
        "token_unknown",
        "token_expired",
        "token_for_another",
        "token_used",
        "key_taken",
        "edge_evicted",
        "edge_unknown",
        "bad_certificate",
        "certificate_too_old",
        "bad_signature",
        "wrong_mesh",
        "malformed",
    ];
    FINAL.contains(&code)
}

#[cfg(test)]
#[path = "enrol_tests.rs"]
mod tests;
