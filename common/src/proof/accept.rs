//! The edge's end of a channel.

use std::time::Duration;

use super::Grade;
use super::binding::{Binding, Exchange};
use super::channel::{ChannelId, ChannelRequest};
use super::header::{Evidence, Proof};
use super::refused::ProofRefused;
use super::window::Window;
use crate::crypto::mac::MacKey;
use crate::crypto::sign::PublicKey;
use crate::id::{EdgeId, LinkId, MeshId};
use crate::limits::PROOF_CLOCKS_APART_MAX;
use crate::time::{BootTime, Now, Timestamp};

/// Checks the proofs of one channel, and takes each once. Made by [`super::VerifiedRequest::answer`] alone.
#[derive(Debug)]
pub struct Acceptor {
    id: ChannelId,
    mesh: MeshId,
    edge: EdgeId,
    leaf: LinkId,
    holder: PublicKey,
    key: MacKey,
    window: Window,
    /// The holder's clock when it asked, and ours.
    asked: Timestamp,
    opened: BootTime,
    ends: BootTime,
}

impl Acceptor {
    pub(super) fn new(
        id: ChannelId,
        request: &ChannelRequest,
        holder: PublicKey,
        key: MacKey,
        base: u64,
        life: Duration,
        now: Now,
    ) -> Self {
        Self {
            id,
            mesh: request.mesh,
            edge: request.edge.clone(),
            leaf: request.leaf,
            holder,
            key,
            window: Window::above(base),
            asked: request.time,
            opened: now.boot,
            ends: now.boot.plus(life),
        }
    }

    /// How the channel is called.
    #[must_use]
    pub fn id(&self) -> ChannelId {
        self.id
    }

    /// The last link of the envelope for which it was opened.
    #[must_use]
    pub fn leaf(&self) -> LinkId {
        self.leaf
    }

    /// The first moment at which it is closed.
    #[must_use]
    pub fn ends(&self) -> BootTime {
        self.ends
    }

    /// Checks a proof of this request, and takes its counter: the same proof does not count again.
    ///
    /// # Errors
    /// [`ProofRefused`]; then the counter is not taken.
    pub fn accept(&mut self, proof: &Proof, exchange: &Exchange<'_>, now: BootTime) -> Result<Grade, ProofRefused> {
        if proof.channel != self.id || now >= self.ends {
            return Err(ProofRefused::UnknownChannel);
        }
        // Before the evidence, because it is cheaper; taken only after it, or anybody could use counters up.
        self.window.check(proof.counter).map_err(|_| ProofRefused::Replayed)?;
        // Both sides count from the opening, each on a clock that never steps.
        let expected = self.asked.plus(now.since(self.opened));
        let apart = expected.apart(proof.time);
        if apart > PROOF_CLOCKS_APART_MAX {
            return Err(ProofRefused::Time { apart_secs: apart.as_secs() });
        }
        let binding = Binding {
            mesh: &self.mesh,
            channel: &self.id,
            edge: &self.edge,
            leaf: &self.leaf,
            counter: proof.counter,
            time: proof.time,
            salt: &proof.salt,
            exchange: *exchange,
        }
        .to_bytes();
        match &proof.evidence {
            Evidence::Tag(tag) => self.key.check(&binding, tag).map_err(|_| ProofRefused::Evidence)?,
            Evidence::Signature(signature) => {
                self.holder.verify(&binding, signature).map_err(|_| ProofRefused::Evidence)?;
            }
        }
        self.window.take(proof.counter).map_err(|_| ProofRefused::Replayed)?;
        Ok(proof.evidence.grade())
    }
}
