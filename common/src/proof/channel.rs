//! How a channel is opened: a request signed by the holder, an answer signed by the edge, and a key that follows from
//! both.
//!
//! Clauses. Each side checks the other's signature before it touches the other's ephemeral key.

use std::fmt;
use std::time::Duration;

use zeroize::Zeroizing;

use super::accept::Acceptor;
use super::cbor::{self, Reader, prefixed};
use super::refused::{MalformedProof, ProofRefused};
use crate::crypto::agreement::{Agreed, AgreementRefused, EPHEMERAL_BYTES, EphemeralKey};
use crate::crypto::digest::Digest;
use crate::crypto::mac::MacKey;
use crate::crypto::sign::{PublicKey, Signature, SigningKey};
use crate::id::{EdgeId, LinkId, MeshId};
use crate::limits::{CHANNEL_BYTES_MAX, CHANNEL_REQUEST_BYTES_MAX, CREDENTIAL_SHOWN_BYTES_MAX, PROOF_CLOCKS_APART_MAX};
use crate::time::{Now, Timestamp};

const VERSION: u64 = 1;
/// The version of a request that shows who the holder is.
const VERSION_SHOWING: u64 = 2;
/// The head of a request of that version: an array of nine.
const HEAD_SHOWING: u8 = 0x89;
/// What is shown: an X.509-SVID, in DER. Numbers are never reused.
const KIND_X509_SVID: u64 = 1;
/// Under which a holder signs that it wants a channel.
const REQUEST_LABEL: &[u8] = b"remit/channel-request/v1";
/// Under which an edge signs that it opens one.
const ANSWER_LABEL: &[u8] = b"remit/channel/v1";
/// What the derived key is for.
const KEY_LABEL: &[u8] = b"remit/channel-key/v1";

/// Names a channel at its edge.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelId(pub [u8; 16]);

impl fmt::Debug for ChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChannelId({})", crate::text::hex(&self.0))
    }
}

/// What a holder asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelRequest {
    /// The mesh.
    pub mesh: MeshId,
    /// The last link of the envelope.
    pub leaf: LinkId,
    /// The edge that is asked.
    pub edge: EdgeId,
    /// The holder's ephemeral key.
    pub ephemeral: [u8; EPHEMERAL_BYTES],
    /// The holder's clock.
    pub time: Timestamp,
    /// Makes two requests two.
    pub nonce: [u8; 16],
    /// Who the holder is, where it can show it: an X.509-SVID (DER) for the key that holds the envelope.
    pub svid: Option<Vec<u8>>,
}

impl ChannelRequest {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let Self { mesh, leaf, edge, ephemeral, time, nonce, svid } = self;
        let mut out = match svid {
            None => cbor::array(7, VERSION),
            Some(_) => cbor::array(9, VERSION_SHOWING),
        };
        out.bytes(&mesh.0).bytes(&leaf.0.0).text(edge.as_str()).bytes(ephemeral).uint(time.as_millis()).bytes(nonce);
        if let Some(svid) = svid {
            out.uint(KIND_X509_SVID).bytes(svid);
        }
        out.finish()
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, MalformedProof> {
        let shows = bytes.first() == Some(&HEAD_SHOWING);
        let mut reader = match shows {
            false => Reader::new(bytes, CHANNEL_BYTES_MAX, 7, VERSION)?,
            true => Reader::new(bytes, CHANNEL_REQUEST_BYTES_MAX, 9, VERSION_SHOWING)?,
        };
        let request = Self {
            mesh: MeshId(reader.exactly("mesh")?),
            leaf: LinkId(Digest(reader.exactly("leaf")?)),
            edge: reader.parsed("edge")?,
            ephemeral: reader.exactly("ephemeral")?,
            time: Timestamp::from_millis(reader.uint("time")?),
            nonce: reader.exactly("nonce")?,
            svid: if shows { Some(read_svid(&mut reader)?) } else { None },
        };
        reader.end(&request.to_bytes())?;
        Ok(request)
    }

    /// The signed form: what is posted.
    pub(super) fn sign(&self, holder: &SigningKey) -> Vec<u8> {
        let request = self.to_bytes();
        let signature = holder.sign(&prefixed(&[REQUEST_LABEL, &request]));
        signed_form(&request, &signature)
    }
}

/// Whether a posted body holds a request that shows an identity, as far as its first bytes tell: only such a one may be
/// longer than the others.
fn shows_identity(body: &[u8]) -> bool {
    // An array of three, version 1, and a byte string with a length of one or two bytes.
    let inner = match body.get(..3) {
        Some([0x83, 0x01, 0x58]) => 4,
        Some([0x83, 0x01, 0x59]) => 5,
        _ => return false,
    };
    body.get(inner) == Some(&HEAD_SHOWING)
}

fn read_svid(reader: &mut Reader<'_>) -> Result<Vec<u8>, MalformedProof> {
    if reader.uint("kind")? != KIND_X509_SVID {
        return Err(MalformedProof::Shape { at: "kind" });
    }
    let svid = reader.bytes("identity")?;
    if svid.len() > CREDENTIAL_SHOWN_BYTES_MAX {
        return Err(MalformedProof::TooLong { bytes_max: CREDENTIAL_SHOWN_BYTES_MAX });
    }
    Ok(svid.to_vec())
}

/// Both halves of a message: bytes, and a signature over them.
fn signed_form(bytes: &[u8], signature: &Signature) -> Vec<u8> {
    let mut out = cbor::array(3, VERSION);
    out.bytes(bytes).bytes(&signature.0);
    out.finish()
}

fn read_signed_form(bytes: &[u8], bytes_max: usize) -> Result<(&[u8], Signature), MalformedProof> {
    let mut reader = Reader::new(bytes, bytes_max, 3, VERSION)?;
    let (inner, signature) = (reader.bytes("signed")?, Signature(reader.exactly("signature")?));
    reader.end(&signed_form(inner, &signature))?;
    Ok((inner, signature))
}

/// A request of the right shape, its signature not looked at.
#[derive(Debug, Clone)]
pub struct RawRequest {
    body: Vec<u8>,
    signature: Signature,
    request: ChannelRequest,
}

/// A request that the holder of an envelope has signed.
#[derive(Debug, Clone)]
pub struct VerifiedRequest {
    body: Vec<u8>,
    holder: PublicKey,
    request: ChannelRequest,
}

/// What an edge puts into its answer.
#[derive(Debug)]
pub struct Answering<'a> {
    /// The key that the directory lists for the edge.
    pub key: &'a SigningKey,
    /// How the channel is called; random.
    pub channel: ChannelId,
    /// 32 random bytes for the edge's ephemeral key.
    pub ephemeral: &'a Zeroizing<[u8; 32]>,
    /// Random.
    pub nonce: [u8; 16],
    /// Counters begin above it.
    pub base: u64,
    /// How long the channel lives.
    pub life: Duration,
}

impl RawRequest {
    /// Checks size and shape of what was posted.
    ///
    /// # Errors
    /// [`MalformedProof`].
    pub fn parse(body: &[u8]) -> Result<Self, MalformedProof> {
        let bytes_max = if shows_identity(body) { CHANNEL_REQUEST_BYTES_MAX } else { CHANNEL_BYTES_MAX };
        let (request, signature) = read_signed_form(body, bytes_max)?;
        Ok(Self { body: body.to_vec(), signature, request: ChannelRequest::from_bytes(request)? })
    }

    /// What was read, written again: the same bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        signed_form(&self.request.to_bytes(), &self.signature)
    }

    /// What it says; nobody has checked who says it.
    #[must_use]
    pub fn request(&self) -> &ChannelRequest {
        &self.request
    }

    /// Whether it is for this edge, and of now: what can be told without a signature.
    ///
    /// # Errors
    /// [`ProofRefused::OtherEdge`] or [`ProofRefused::Time`].
    pub fn check_place_and_time(&self, mesh: &MeshId, edge: &EdgeId, now: Timestamp) -> Result<(), ProofRefused> {
        if self.request.mesh != *mesh || self.request.edge != *edge {
            return Err(ProofRefused::OtherEdge);
        }
        let apart = now.apart(self.request.time);
        if apart > PROOF_CLOCKS_APART_MAX {
            return Err(ProofRefused::Time { apart_secs: apart.as_secs() });
        }
        Ok(())
    }

    /// Checks that the holder of the envelope `leaf` signed it.
    ///
    /// # Errors
    /// [`ProofRefused::OtherLeaf`] or [`ProofRefused::Signature`].
    pub fn verify(self, leaf: &LinkId, holder: &PublicKey) -> Result<VerifiedRequest, ProofRefused> {
        let Self { body, signature, request } = self;
        if request.leaf != *leaf {
            return Err(ProofRefused::OtherLeaf);
        }
        holder.verify(&prefixed(&[REQUEST_LABEL, &request.to_bytes()]), &signature)?;
        Ok(VerifiedRequest { body, holder: *holder, request })
    }
}

impl VerifiedRequest {
    /// What it says.
    #[must_use]
    pub fn request(&self) -> &ChannelRequest {
        &self.request
    }

    /// Opens the channel: the edge's end of it, and the answer for the holder.
    ///
    /// # Errors
    /// [`ProofRefused::Agreement`] when the holder's ephemeral key is of small order.
    pub fn answer(self, with: &Answering<'_>, now: Now) -> Result<(Acceptor, Vec<u8>), ProofRefused> {
        let Self { body, holder, request } = self;
        let Answering { key, channel, ephemeral, nonce, base, life } = with;
        let ephemeral = EphemeralKey::from_random(ephemeral).map_err(|_| ProofRefused::Agreement)?;
        let answer = Answer {
            channel: *channel,
            ephemeral: ephemeral.public(),
            nonce: *nonce,
            base: *base,
            life_millis: u64::try_from(life.as_millis()).unwrap_or(u64::MAX),
        }
        .to_bytes();
        let agreed = ephemeral.agree(&request.ephemeral).map_err(|_| ProofRefused::Agreement)?;
        let mac = derive(&agreed, &body, &answer, &request).map_err(|_| ProofRefused::Agreement)?;
        let signature = key.sign(&answer_base(&body, &answer));
        let acceptor = Acceptor::new(*channel, &request, holder, mac, *base, *life, now);
        Ok((acceptor, signed_form(&answer, &signature)))
    }
}

/// What an edge answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) channel: ChannelId,
    pub(super) ephemeral: [u8; EPHEMERAL_BYTES],
    pub(super) nonce: [u8; 16],
    pub(super) base: u64,
    pub(super) life_millis: u64,
}

impl Answer {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let Self { channel, ephemeral, nonce, base, life_millis } = self;
        let mut out = cbor::array(6, VERSION);
        out.bytes(&channel.0).bytes(ephemeral).bytes(nonce).uint(*base).uint(*life_millis);
        out.finish()
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, MalformedProof> {
        let mut reader = Reader::new(bytes, CHANNEL_BYTES_MAX, 6, VERSION)?;
        let answer = Self {
            channel: ChannelId(reader.exactly("channel")?),
            ephemeral: reader.exactly("ephemeral")?,
            nonce: reader.exactly("nonce")?,
            base: reader.uint("base")?,
            life_millis: reader.uint("life")?,
        };
        reader.end(&answer.to_bytes())?;
        Ok(answer)
    }

    /// Reads what came back, if this edge signed it as the answer to `request_body`. The signature is checked before
    /// anything of the answer is read.
    pub(super) fn authenticate(
        bytes: &[u8],
        request_body: &[u8],
        edge: &PublicKey,
    ) -> Result<(Self, Vec<u8>), ProofRefused> {
        let (answer, signature) = read_signed_form(bytes, CHANNEL_BYTES_MAX)?;
        edge.verify(&answer_base(request_body, answer), &signature)?;
        Ok((Self::from_bytes(answer)?, answer.to_vec()))
    }
}

fn answer_base(request_body: &[u8], answer: &[u8]) -> Vec<u8> {
    prefixed(&[ANSWER_LABEL, &Digest::of(&[request_body]).0, answer])
}

/// The channel's key: it depends on everything that both sides said and signed.
pub(super) fn derive(
    agreed: &Agreed,
    request_body: &[u8],
    answer: &[u8],
    request: &ChannelRequest,
) -> Result<MacKey, AgreementRefused> {
    let transcript = Digest::of(&[&prefixed(&[request_body, answer])]);
    let ChannelRequest { mesh, leaf, edge, .. } = request;
    let info = prefixed(&[KEY_LABEL, &mesh.0, &leaf.0.0, edge.as_str().as_bytes()]);
    Ok(MacKey::from_random(&agreed.derive(&transcript, &info)?))
}
