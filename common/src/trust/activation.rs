//! Activations: which manifest is current, in the order of the log.

use serde::{Deserialize, Serialize};

use crate::crypto::digest::Digest;
use crate::id::{LogIndex, TenantId};

/// The manifest that a tenant's edges are to run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Activation {
    /// The log entry that decided it: nobody can jump ahead.
    pub number: LogIndex,
    /// Whose.
    pub tenant: TenantId,
    /// Which part of the mesh; 0 is all of it.
    pub ring: u32,
    /// SHA-256 of the manifest's payload.
    pub manifest: Digest,
}

/// The digest that a tick answer carries: over the current activation of each (tenant, ring), sorted.
#[must_use]
pub fn activations_digest<'a>(activations: impl IntoIterator<Item = &'a Activation>) -> Digest {
    let _ = activations.into_iter();
    todo!()
}
