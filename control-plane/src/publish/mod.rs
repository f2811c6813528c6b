//! Distribution: a task per connected edge, fed from this voter's own applied state.
//!
//! TLS says who an edge is; the directory says whether it belongs here, with exactly that key and region. A connection
//! carries two streams that the edge opens, control and records, and two that the voter opens, revocations and objects,
//! so that a bundle never delays a revocation and records never delay an answer. Edges that come all at once are let in at
//! a bounded rate. Clauses D-1 to D-8, K-1 to K-6, K-34.

mod connection;
mod gate;
mod lanes;
mod records;
mod requests;
mod state;
mod turns;

use std::sync::Arc;
use std::time::Duration;

use remit_common::net::quic::{Arriving, CLOSE_NOT_WELCOME, MeshConnection, MeshEndpoint};
use remit_common::net::tasks::{Shutdown, TaskGroup};
use remit_common::sync::published::PublishedState;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

pub(crate) use state::keep_published;
pub(crate) use turns::Turns;

use self::gate::{Answer, Gate, UNDER_WAY_MAX};
use crate::cluster::Cluster;
use crate::collect::Collector;
use crate::edges::EdgeTable;
use crate::nonces::NonceDesk;
use crate::rollouts::RolloutDesk;

/// Time for a handshake: as long as an edge waits for one.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);
/// How long connections have to end at shutdown.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// Connections that one edge may have at the same time: one, and those that its restarts left behind.
const CONNECTIONS_PER_EDGE_MAX: u32 = 8;

/// What every connection works with.
#[derive(Clone)]
pub(crate) struct Distribution {
    pub(crate) cluster: Cluster,
    pub(crate) edges: Arc<EdgeTable>,
    pub(crate) nonces: Arc<NonceDesk>,
    pub(crate) rollouts: Arc<RolloutDesk>,
    pub(crate) collector: Collector,
    pub(crate) published: watch::Receiver<Arc<PublishedState>>,
    /// For verifying what edges say that they enforce.
    pub(crate) verifying: Turns,
}

/// Accepts edges until shutdown.
pub(crate) async fn accept(endpoint: MeshEndpoint, distribution: Distribution, shutdown: Shutdown) {
    let env = distribution.cluster.env.clone();
    let mut connections = TaskGroup::new(&env);
    let (mut gate, rooms) = (Gate::new(env.now().boot), Arc::new(Semaphore::new(UNDER_WAY_MAX)));
    loop {
        tokio::select! {
            biased;
            () = shutdown.requested() => break,
            Some((task, Err(_))) = connections.next_finished() => {
                tracing::error!(task, "a connection's task did not finish; the edge will connect again");
            }
            arriving = endpoint.accept() => match arriving {
                Some(arriving) => {
                    let under_way = UNDER_WAY_MAX.saturating_sub(rooms.available_permits());
                    match gate.answer(env.now().boot, under_way, arriving.has_proof()) {
                        Answer::Admit => {
                            let (distribution, shutdown) = (distribution.clone(), shutdown.clone());
                            let room = Arc::clone(&rooms).try_acquire_owned().ok();
                            connections.spawn("edge", serve(arriving, room, distribution, shutdown));
                        }
                        Answer::Prove => arriving.ask_for_proof(),
                        Answer::Refuse => {
                            distribution.refused("storm");
                            arriving.refuse();
                        }
                    }
                }
                None => break,
            },
        }
    }
    endpoint.close(CLOSE_WITHIN).await;
    connections.join_all(CLOSE_WITHIN).await;
}

async fn serve(arriving: Arriving, room: Option<OwnedSemaphorePermit>, distribution: Distribution, shutdown: Shutdown) {
    let remote = arriving.remote();
    let established = arriving.establish(HANDSHAKE_WITHIN).await;
    drop(room);
    let connection = match established {
        Ok(connection) => connection,
        Err(error) => {
            tracing::info!(%remote, %error, "a connection did not come about");
            distribution.refused("handshake");
            return;
        }
    };
    match connection::Session::open(&connection, &distribution) {
        Ok(session) => session.run(&connection, &shutdown).await,
        Err(unwelcome) => {
            tracing::warn!(%remote, peer = %connection.peer, reason = unwelcome.reason(), "an edge is not welcome");
            distribution.refused(unwelcome.reason());
            close(&connection, unwelcome);
        }
    }
}

fn close(connection: &MeshConnection, unwelcome: Unwelcome) {
    connection.close(CLOSE_NOT_WELCOME, unwelcome.reason());
}

/// Why a peer with a good certificate is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unwelcome {
    /// The certificate is not an edge's.
    NotAnEdge,
    /// The registry has no directory yet.
    NoDirectory,
    /// The directory does not list it, or with another key or region.
    NotListed,
    /// Every tenant has cut it.
    Evicted,
    /// It has too many connections already.
    TooMany,
}

impl Unwelcome {
    fn reason(self) -> &'static str {
        match self {
            Self::NotAnEdge => "not_an_edge",
            Self::NoDirectory => "no_directory",
            Self::NotListed => "not_listed",
            Self::Evicted => "edge_evicted",
            Self::TooMany => "too_many_connections",
        }
    }
}

impl Distribution {
    fn refused(&self, why: &'static str) {
        self.cluster.metrics.edges_refused.get_or_create(&[("why", why)]).inc();
    }
}
