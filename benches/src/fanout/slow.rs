//! An edge that asks for a lot and reads nothing.
//!
//! It greets as others do, says that it has nothing, asks for the directory many times over, and never reads again. Its
//! windows are small, so that what the voter has for it stays at the voter from the first kilobytes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, bail};
use remit_common::crypto::digest::Digest;
use remit_common::id::{BootId, EdgeId};
use remit_common::net::env::Env;
use remit_common::net::framed::{FramedRecv, FramedSend};
use remit_common::net::quic::{MeshEndpoint, QuicLimits};
use remit_common::net::tasks::TaskHandle;
use remit_common::wire::message::{EdgeMessage, Fetch, Have, Hello, VoterMessage};
use remit_common::wire::version::SPOKEN;

use super::edge::{World, connect, open};
use super::mesh::Seat;

/// For a frame.
const FRAME_WITHIN: Duration = Duration::from_secs(10);
/// Bytes that may be under way to it.
const WINDOW_BYTES: u32 = 2 * 1024;
/// How often it asks for the directory.
const FETCHES: usize = 32;
/// Before it comes back when the voter has had enough of it.
const PAUSE: Duration = Duration::from_millis(500);

/// A slow edge at work.
pub struct Slow {
    task: TaskHandle,
    connections: Arc<AtomicU64>,
}

impl Slow {
    /// Starts one.
    ///
    /// # Errors
    /// When the socket does not open.
    pub fn start(env: &Env, world: &Arc<World>, seat: &Seat, directory: Digest) -> Result<Self> {
        let limits =
            QuicLimits { connection_window: WINDOW_BYTES, stream_window: WINDOW_BYTES, ..QuicLimits::dist_edge() };
        let endpoint = open(&world.env, &world.voters, seat, limits)?;
        let connections = Arc::new(AtomicU64::new(0));
        let (world, edge, counter) = (Arc::clone(world), seat.edge.clone(), Arc::clone(&connections));
        let task = env.spawn_named("slow edge", async move {
            loop {
                if let Err(error) = stay(&world, &edge, &endpoint, directory, &counter).await {
                    eprintln!("the slow edge: {error:#}");
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
        Ok(Self { task, connections })
    }

    /// Ends it, and says how often it was connected.
    #[must_use]
    pub fn stop(self) -> u64 {
        self.task.abort();
        self.connections.load(Ordering::Relaxed)
    }
}

/// One connection, until the voter has had enough of it.
async fn stay(
    world: &World,
    edge: &EdgeId,
    endpoint: &MeshEndpoint,
    directory: Digest,
    connections: &AtomicU64,
) -> Result<()> {
    let connection = connect(world, endpoint).await?;
    let (send, recv) = connection.quic.open_bi().await?;
    let (mut send, mut recv) = (FramedSend::new(send), FramedRecv::new(recv));
    let hello =
        Hello { versions: SPOKEN.to_vec(), mesh: world.mesh, edge: edge.clone(), boot: BootId(world.env.random()) };
    send.send(&EdgeMessage::Hello(hello), FRAME_WITHIN).await?;
    let Some(VoterMessage::HelloAck(_)) = recv.recv::<VoterMessage>(FRAME_WITHIN).await? else {
        bail!("the voter does not greet");
    };
    send.send(&EdgeMessage::Subscribe(Have::default()), FRAME_WITHIN).await?;
    send.send(&EdgeMessage::Fetch(Fetch { digests: vec![directory; FETCHES] }), FRAME_WITHIN).await?;
    connections.fetch_add(1, Ordering::Relaxed);
    // Not a byte more is read; the voter's patience ends it.
    let _why = connection.quic.closed().await;
    Ok(())
}
