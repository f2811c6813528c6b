//! Voters talking to voters: QUIC with the mesh's TLS, ALPN `remit-raft/1`, one endpoint for dialling and accepting.
//!
//! A voter keeps one connection to each other voter and makes each call on a stream of its own, so that a slow
//! answer holds up no other. A connection begins with an exchange of greetings that names mesh, voter and disk: the
//! certificate says who the peer is, the greeting must say the same, and the disk must be the one that this voter
//! has always seen with it (C-5, C-20 to C-24).

mod acquaintance;
pub(crate) mod link;
pub(crate) mod links;
pub(crate) mod message;
pub(crate) mod network;
mod plausible;
pub(crate) mod serve;
mod stream;

use std::time::Duration;

use remit_common::id::{MeshId, VoterId};
use serde::{Deserialize, Serialize};

pub(crate) use acquaintance::{Acquaintances, NotWelcome};

use super::format::DiskId;

/// Handshake and greeting. Longer than a handshake under load, shorter than what a healed partition may cost.
pub(crate) const CONNECT_DEADLINE: Duration = Duration::from_secs(3);
/// From one piece of a message to the next.
pub(crate) const PIECE_DEADLINE: Duration = Duration::from_secs(5);
/// A call with a large entry: its transfer, and the follower's write to its disk.
pub(crate) const LARGE_APPEND_DEADLINE: Duration = Duration::from_secs(30);
/// A snapshot: its transfer, the follower's write, and restoring it.
pub(crate) const SNAPSHOT_DEADLINE: Duration = Duration::from_secs(120);
/// How long closing may take.
pub(crate) const CLOSE_DEADLINE: Duration = Duration::from_secs(1);

/// Who we are, in every greeting.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Own {
    pub(crate) mesh: MeshId,
    pub(crate) voter: VoterId,
    pub(crate) disk: DiskId,
    pub(crate) boot: Boot,
}

/// Drawn at each start, so that a peer knows a restarted voter from one that connects once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Boot(pub(crate) [u8; 16]);
