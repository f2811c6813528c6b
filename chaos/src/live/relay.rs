//! The way from an edge to its tools, over the wire.
//!
//! Edges call nobody but loopback as long as what they call does not speak TLS. A company that keeps its tools elsewhere
//! puts a tunnel between; so does a drill, and then the way to the tools can fail like any other.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use remit_common::net::env::{BoxStream, Env, deadline};
use remit_common::net::tasks::{Shutdown, TaskGroup};

/// To open the far half.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// Connections through one relay at the same time: an edge has at most 256 calls under way.
const CONNECTIONS_MAX: usize = 256;

/// Carries every connection to `at` in this world on to `to`, until shutdown.
///
/// # Errors
/// When the address is taken.
pub(super) fn start(env: &Env, at: SocketAddr, to: SocketAddr, tasks: &mut TaskGroup, stop: &Shutdown) -> Result<()> {
    let mut listener = env.socket.listen(at).with_context(|| format!("cannot listen at {at}"))?;
    let (env, stop) = (env.clone(), stop.clone());
    tasks.spawn("relay", async move {
        let mut open = TaskGroup::new(&env);
        loop {
            tokio::select! {
                biased;
                () = stop.requested() => break,
                Some(_) = open.next_finished(), if !open.is_empty() => {}
                accepted = listener.accept(), if open.len() < CONNECTIONS_MAX => {
                    // A connection that is gone before it was accepted is nobody's loss.
                    let Ok((near, _)) = accepted else { continue };
                    let (env, stop) = (env.clone(), stop.clone());
                    open.spawn("relayed connection", async move {
                        tokio::select! {
                            biased;
                            () = stop.requested() => {}
                            () = carry(&env, near, to) => {}
                        }
                    });
                }
            }
        }
        open.join_all(CONNECT_WITHIN).await;
    });
    Ok(())
}

/// Carries bytes both ways until one end hangs up; then both have.
async fn carry(env: &Env, mut near: BoxStream, to: SocketAddr) {
    if let Ok(Ok(mut far)) = deadline(CONNECT_WITHIN, env.socket.connect(to)).await {
        // Either end may break off at any time: the other sees its connection closed.
        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
    }
}
