//! What a caller showed, and what the chains that are kept know it by.

use std::sync::OnceLock;

use remit_common::crypto::digest::Digest;
use remit_common::envelope::{Issuers, RawPresentation};
use remit_common::id::MeshId;

use super::Key;

/// A presentation of the right shape; nothing of it need have been verified.
#[derive(Debug)]
pub(crate) struct Presented {
    raw: RawPresentation,
    /// Under the first directory that it was looked for under: a channel keeps what was shown, and is asked at each call.
    key: OnceLock<Key>,
}

impl From<RawPresentation> for Presented {
    fn from(raw: RawPresentation) -> Self {
        Self { raw, key: OnceLock::new() }
    }
}

impl Presented {
    pub(crate) fn raw(&self) -> &RawPresentation {
        &self.raw
    }

    /// The key under which its chain is kept. An edge has one mesh.
    pub(super) fn key(&self, mesh: &MeshId, (issuers, directory): (&Issuers, &Digest)) -> Key {
        let compute = || (self.raw.tenant().clone(), self.raw.known_as(mesh, issuers), *directory);
        let key = self.key.get_or_init(compute);
        if key.2 == *directory { key.clone() } else { compute() }
    }
}
