//! From shape to authority: signatures, structure, and the meet of all links.

use std::sync::Arc;

use crate::crypto::digest::Digest;
use crate::crypto::sign::PublicKey;
use crate::id::LinkId;
use crate::lattice::Window;

use super::authority::Effective;
use super::link::{AgentIdentity, RootContext};

/// One link of a verified chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedLink {
    /// Its id.
    pub id: LinkId,
    /// The key that may sign the next one.
    pub holder: PublicKey,
    /// The agent that its signer named.
    pub agent: AgentIdentity,
    /// When it holds, by its own words.
    pub window: Window,
}

/// A chain whose signatures and structure hold, and whose links have something in common.
// INVARIANT: built only by `RawPresentation::verify`; `links` is not empty.
#[derive(Debug, Clone)]
pub struct VerifiedChain {
    effective: Effective,
}

impl VerifiedChain {
    /// What the chain leaves.
    #[must_use]
    pub fn effective(&self) -> Effective {
        self.effective.clone()
    }

    /// The links, root first.
    #[must_use]
    pub fn links(&self) -> &[VerifiedLink] {
        &self.effective.chain
    }

    /// The root's context.
    #[must_use]
    pub fn context(&self) -> &RootContext {
        &self.effective.context
    }

    /// SHA-256 of the presentation.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.effective.digest
    }
}

#[expect(unused, reason = "filled in next")]
fn unused(_: Arc<()>) {}
