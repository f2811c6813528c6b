//! Where a drill is played: what both worlds must be able to do.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use futures::future::BoxFuture;
use remit_common::net::env::Env;

use super::action::Fault;
use crate::history::History;
use crate::launcher::MeshFile;
use crate::node::{Node, Roster};

/// The kinds of world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackendKind {
    /// One process, simulated time.
    Sim,
    /// Real processes in network namespaces of this machine.
    Netns,
}

/// The mesh to build.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Shape {
    /// Voters: 3 or 5.
    pub voters: u64,
    /// Edges of each region.
    pub regions: BTreeMap<remit_common::id::Region, u32>,
    /// Agents that work, spread over the edges.
    pub agents: u32,
    /// Whether the operator publishes bundles besides, now and then one that nobody may take.
    #[serde(default = "yes")]
    pub bundles: bool,
    /// Whether the operator rolls bundles out besides, now and then one that hurts.
    #[serde(default = "yes")]
    pub rollouts: bool,
}

fn yes() -> bool {
    true
}

/// The mesh from within. It may be asked at any time, also while a fault is being brought about.
pub trait Access: Send + Sync {
    /// Who takes part, as of now.
    fn roster(&self) -> Roster;

    /// Addresses and key files, valid in the world of [`Self::env_at`] the operator.
    fn mesh(&self) -> MeshFile;

    /// The world as `node` sees it now: sockets are opened from there. `Node::Operator` also has the key files of
    /// [`Self::mesh`]. Agents of an edge work at that edge's node, because its agents' listener is on loopback. Ask
    /// again for each connection: a node that was started anew is another world. Tasks that are spawned through it
    /// belong to the workload and outlive the node.
    fn env_at(&self, node: &Node) -> Env;

    /// True time since the mesh began to start.
    fn now(&self) -> Duration;
}

/// A world with a mesh in it.
pub trait Backend: Send + Sync {
    /// Which kind.
    fn kind(&self) -> BackendKind;

    /// Why this world cannot do a fault; asked for every step before anything is started or touched.
    fn unable(&self, fault: &Fault) -> Option<String>;

    /// How long a drill takes at most; told before it starts. Faults that end by themselves when nobody ends them must
    /// last longer.
    fn will_last(&mut self, _at_most: Duration) {}

    /// Builds and starts the mesh: every voter knows a leader, every edge is alive. Nothing is published yet.
    fn start(&mut self, shape: Shape, history: History) -> BoxFuture<'_, Result<()>>;

    /// The mesh from within, for everybody who works in it while faults come and go.
    fn access(&self) -> Arc<dyn Access>;

    /// Brings a fault about, or ends one. It must not happen that half of a fault stays when this fails.
    fn apply(&mut self, fault: Fault) -> BoxFuture<'_, Result<()>>;

    /// Ends every fault and starts every node that is down.
    fn undo_all(&mut self) -> BoxFuture<'_, Result<()>>;

    /// Searches every log, disk and captured packet for this secret, outside the places where it belongs. Gives the
    /// places where it was found.
    fn find_secret(&self, secret: &[u8]) -> BoxFuture<'_, Result<Vec<String>>>;

    /// Stops everything, leaving nothing behind.
    fn stop(&mut self) -> BoxFuture<'_, Result<()>>;
}
