//! The edge's end of the mesh: news from one voter, records to all.
//!
//! One task per voter keeps a connection and sends records on it ([`link`]), one task knows which voters there are
//! ([`voters`]), and one task follows one voter at a time and
//! owns what this edge knows ([`follow`]). TLS says who is at the other end and authorizes nothing: every byte that
//! arrives is verified by [`crate::active::State`], as if it came from an enemy. Clauses D-1 to D-8, N-13 and N-14.

mod ask;
mod follow;
mod link;
mod voters;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use remit_common::id::{BootId, EdgeId, MeshId, VoterId};
use remit_common::net::framed::{FramedRecv, FramedSend};
use remit_common::net::quic::MeshConnection;
use remit_common::wire::message::HelloAck;
use tokio::sync::watch;

pub(crate) use ask::{Asking, NotAsked};
pub(crate) use follow::{Followed, Follower, Hold, Tidied};
pub(crate) use link::Dialler;
pub(crate) use voters::{Told, VoterLinks};

/// Time for a message to be taken by the peer, or to arrive once it has begun.
const FRAME_WITHIN: Duration = Duration::from_secs(20);

/// Who this edge says it is in its greeting.
#[derive(Debug, Clone)]
pub(crate) struct Greeting {
    pub(crate) mesh: MeshId,
    pub(crate) edge: EdgeId,
    pub(crate) boot: BootId,
}

/// A connection to a voter that has been greeted.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) voter: VoterId,
    pub(crate) connection: MeshConnection,
    ack: HelloAck,
    /// The control stream, for whoever follows this voter; taken once.
    control: Mutex<Option<(FramedSend, FramedRecv)>>,
}

impl Link {
    fn has_control(&self) -> bool {
        self.control.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    fn take_control(&self) -> Option<(FramedSend, FramedRecv)> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The newest link to one voter, when there is one.
pub(crate) type LinkCell = watch::Receiver<Option<Arc<Link>>>;

/// The links to all voters, as they are now.
pub(crate) type Links = Arc<Vec<LinkCell>>;
