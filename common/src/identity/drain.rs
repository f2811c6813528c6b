//! What an administrator posts to an edge that is to take no new work. Clause G-84.

use serde::{Deserialize, Serialize};

use crate::id::EdgeId;

/// Where it is posted, at the edge.
pub const DRAIN_PATH: &str = "/v1/drain";
/// Bytes of the body.
pub const DRAIN_BODY_BYTES_MAX: usize = 256;

/// Whether an edge is to be drained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrainRequest {
    /// The edge: a request for one does nothing at another.
    pub edge: EdgeId,
    /// `false`: it takes work again.
    pub draining: bool,
}
