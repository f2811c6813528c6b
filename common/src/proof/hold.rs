//! The holder's end of a channel.

use std::time::Duration;

use zeroize::Zeroizing;

use super::Grade;
use super::binding::{Binding, Exchange, Target};
use super::channel::{Answer, ChannelId, ChannelRequest, derive};
use super::header::{Evidence, Proof};
use super::refused::ProofRefused;
use crate::crypto::agreement::{AgreementRefused, EphemeralKey};
use crate::crypto::mac::MacKey;
use crate::crypto::sign::{PublicKey, SigningKey};
use crate::id::{EdgeId, LinkId, MeshId};
use crate::time::{BootTime, Now, Timestamp};

/// An edge as the directory lists it: who has to sign the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EdgeKey {
    /// The mesh.
    pub mesh: MeshId,
    /// The edge.
    pub edge: EdgeId,
    /// Its identity key.
    pub key: PublicKey,
}

/// A channel does not open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CannotOpen {
    /// The answer is not one of this edge to this request.
    #[error("the answer is not the edge's")]
    Answer(#[from] ProofRefused),
    /// An ephemeral key is not usable.
    #[error("the keys do not agree")]
    Agreement(#[from] AgreementRefused),
}

/// A request that has been made and not been answered.
#[derive(Debug)]
pub struct Opening {
    edge: EdgeKey,
    request: ChannelRequest,
    body: Vec<u8>,
    ephemeral: EphemeralKey,
    began: BootTime,
}

/// An open channel.
#[derive(Debug)]
pub struct HeldChannel {
    id: ChannelId,
    edge: EdgeKey,
    leaf: LinkId,
    key: MacKey,
    counter: u64,
    asked: Timestamp,
    began: BootTime,
    ends: BootTime,
}

impl Opening {
    /// Asks an edge for a channel for the envelope whose last link is `leaf`; `random` are 32 bytes for a key that is
    /// used once, and a nonce.
    ///
    /// # Errors
    /// [`CannotOpen::Agreement`], for which there is no reason.
    pub fn new(
        edge: EdgeKey,
        leaf: LinkId,
        holder: &SigningKey,
        now: Now,
        random: (&Zeroizing<[u8; 32]>, [u8; 16]),
    ) -> Result<Self, CannotOpen> {
        Self::showing(edge, leaf, holder, now, random, None)
    }

    /// The same, showing who the holder is: by an X.509-SVID (DER) for its key.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn showing(
        edge: EdgeKey,
        leaf: LinkId,
        holder: &SigningKey,
        now: Now,
        random: (&Zeroizing<[u8; 32]>, [u8; 16]),
        svid: Option<Vec<u8>>,
    ) -> Result<Self, CannotOpen> {
        let ephemeral = EphemeralKey::from_random(random.0)?;
        let request = ChannelRequest {
            mesh: edge.mesh,
            leaf,
            edge: edge.edge.clone(),
            ephemeral: ephemeral.public(),
            time: now.wall,
            nonce: random.1,
            svid,
        };
        let body = request.sign(holder);
        Ok(Self { edge, request, body, ephemeral, began: now.boot })
    }

    /// What is posted to `/v1/channels`.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Takes the edge's answer.
    ///
    /// # Errors
    /// [`CannotOpen`].
    pub fn finish(self, answer: &[u8]) -> Result<HeldChannel, CannotOpen> {
        let Self { edge, request, body, ephemeral, began } = self;
        let (answer, bytes) = Answer::authenticate(answer, &body, &edge.key)?;
        let agreed = ephemeral.agree(&answer.ephemeral)?;
        let key = derive(&agreed, &body, &bytes, &request)?;
        Ok(HeldChannel {
            id: answer.channel,
            leaf: request.leaf,
            key,
            counter: answer.base,
            asked: request.time,
            began,
            ends: began.plus(Duration::from_millis(answer.life_millis)),
            edge,
        })
    }
}

impl HeldChannel {
    /// How the edge calls it.
    #[must_use]
    pub fn id(&self) -> ChannelId {
        self.id
    }

    /// Whether the edge still has it, as far as time tells.
    #[must_use]
    pub fn is_open(&self, now: BootTime) -> bool {
        now < self.ends && self.counter < u64::MAX
    }

    /// Proves one request: the value of the header. Each call uses a counter up.
    #[must_use]
    pub fn prove(
        &mut self,
        grade: Grade,
        holder: &SigningKey,
        exchange: &Exchange<'_>,
        now: BootTime,
        salt: [u8; 16],
    ) -> String {
        self.counter = self.counter.saturating_add(1);
        let time = self.asked.plus(now.since(self.began));
        let definition = match exchange.target {
            Target::Mcp { definition, .. } => definition,
            Target::Http { .. } => None,
        };
        let binding = Binding {
            mesh: &self.edge.mesh,
            channel: &self.id,
            edge: &self.edge.edge,
            leaf: &self.leaf,
            counter: self.counter,
            time,
            salt: &salt,
            exchange: *exchange,
        }
        .to_bytes();
        let evidence = match grade {
            Grade::None | Grade::P0 | Grade::P1 => Evidence::Tag(self.key.tag(&binding)),
            Grade::P2 => Evidence::Signature(holder.sign(&binding)),
        };
        Proof { channel: self.id, counter: self.counter, time, salt, definition, evidence }.to_header()
    }
}
