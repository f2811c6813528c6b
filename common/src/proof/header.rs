//! A proof as it travels: the header `Remit-Proof`. Clause X-5.

use super::Grade;
use super::cbor::{self, Reader};
use super::channel::ChannelId;
use super::refused::MalformedProof;
use crate::crypto::digest::Digest;
use crate::crypto::mac::TAG_BYTES;
use crate::crypto::sign::Signature;
use crate::limits::PROOF_BYTES_MAX;
use crate::text;
use crate::time::Timestamp;

/// The header in which a proof travels, once per request.
pub const PROOF_HEADER: &str = "remit-proof";

const VERSION: u64 = 1;
const ITEMS: usize = 8;

/// What proves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evidence {
    /// Grade 1: HMAC-SHA256 of the binding with the channel's key.
    Tag([u8; TAG_BYTES]),
    /// Grade 2: Ed25519 over the binding with the holder's key.
    Signature(Signature),
}

/// A proof of the right shape; nothing of it has been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The channel.
    pub channel: ChannelId,
    /// Good for one request of this channel.
    pub counter: u64,
    /// When it was made.
    pub time: Timestamp,
    /// Goes before the body when it is hashed.
    pub salt: [u8; 16],
    /// The digest of the tool's definition that the caller has seen, if it pins one.
    pub definition: Option<Digest>,
    /// What proves it.
    pub evidence: Evidence,
}

impl Evidence {
    /// What it would prove.
    #[must_use]
    pub fn grade(&self) -> Grade {
        match self {
            Self::Tag(_) => Grade::P1,
            Self::Signature(_) => Grade::P2,
        }
    }
}

impl Proof {
    /// Reads the value of the header.
    ///
    /// # Errors
    /// [`MalformedProof`].
    pub fn parse(header: &[u8]) -> Result<Self, MalformedProof> {
        if header.len() > PROOF_BYTES_MAX.div_ceil(3) * 4 {
            return Err(MalformedProof::TooLong { bytes_max: PROOF_BYTES_MAX });
        }
        let header = std::str::from_utf8(header).map_err(|_| MalformedProof::Encoding)?;
        Self::from_bytes(&text::from_base64url(header).ok_or(MalformedProof::Encoding)?)
    }

    /// The value of the header.
    #[must_use]
    pub fn to_header(&self) -> String {
        text::base64url(&self.to_bytes())
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, MalformedProof> {
        let mut reader = Reader::new(bytes, PROOF_BYTES_MAX, ITEMS, VERSION)?;
        let grade = reader.uint("grade")?;
        let channel = ChannelId(reader.exactly("channel")?);
        let counter = reader.uint("counter")?;
        let time = Timestamp::from_millis(reader.uint("time")?);
        let salt = reader.exactly("salt")?;
        let definition = match reader.bytes("definition")? {
            [] => None,
            digest => Some(Digest(digest.try_into().map_err(|_| MalformedProof::Shape { at: "definition" })?)),
        };
        let evidence = match grade {
            1 => Evidence::Tag(reader.exactly("evidence")?),
            2 => Evidence::Signature(Signature(reader.exactly("evidence")?)),
            _ => return Err(MalformedProof::Shape { at: "grade" }),
        };
        let proof = Self { channel, counter, time, salt, definition, evidence };
        reader.end(&proof.to_bytes())?;
        Ok(proof)
    }

    fn to_bytes(&self) -> Vec<u8> {
        let Self { channel, counter, time, salt, definition, evidence } = self;
        let (grade, evidence): (u64, &[u8]) = match evidence {
            Evidence::Tag(tag) => (1, tag),
            Evidence::Signature(signature) => (2, &signature.0),
        };
        let mut out = cbor::array(ITEMS, VERSION);
        out.uint(grade).bytes(&channel.0).uint(*counter).uint(time.as_millis()).bytes(salt);
        out.bytes(definition.as_ref().map_or(&[], |digest| &digest.0)).bytes(evidence);
        out.finish()
    }
}
