//! A presentation: the bytes an agent sends, and their shape.

use crate::crypto::digest::Digest;
use crate::crypto::sign::PublicKey;
use crate::id::{MeshId, TenantId};

use super::error::{MalformedEnvelope, Unauthenticated};
use super::issuers::Issuers;
use super::link::Link;
use super::verify::VerifiedChain;

/// A chain of the right shape. Carries no authority: no signature has been looked at.
#[derive(Debug, Clone)]
pub struct RawPresentation {
    pub(super) links: Vec<Link>,
    pub(super) tenant: TenantId,
    pub(super) digest: Digest,
}

impl RawPresentation {
    /// Checks limits and shape.
    ///
    /// # Errors
    /// [`MalformedEnvelope`] says which link and which field.
    pub fn parse(bytes: &[u8]) -> Result<Self, MalformedEnvelope> {
        let _ = bytes;
        todo!()
    }

    /// The tenant that the root claims; good for choosing what to verify with, and for nothing else.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// What the links say, root first; unverified.
    #[must_use]
    pub fn links(&self) -> &[Link] {
        &self.links
    }

    /// SHA-256 of the presentation.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Checks every signature and the structure of the chain. Consumes `self`: there is no second try with laxer
    /// issuers. Says nothing of time, see [`Effective::check_time`](super::Effective::check_time).
    ///
    /// # Errors
    /// [`Unauthenticated`] says which link and why.
    pub fn verify(self, mesh: &MeshId, issuers: &Issuers) -> Result<VerifiedChain, Unauthenticated> {
        let _ = (mesh, issuers);
        todo!()
    }
}

/// The key that holds this envelope.
#[must_use]
pub fn leaf_holder(presentation: &RawPresentation) -> Option<PublicKey> {
    presentation.links.last().map(|link| link.holder)
}
