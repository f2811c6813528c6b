//! Where the nodes of a mesh live: their addresses, and the machine that runs their processes.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use remit_common::id::{EdgeId, VoterId};
use remit_common::net::env::Env;
use remit_control_plane::config as voter_config;
use remit_edge_node::config as edge_config;
use tokio::process::{Child, Command};

use super::ports::Ports;
use crate::node::Node;

/// Where the search for ports of a mesh that people will look at begins.
const ADMIN_PORT: u16 = 7411;
const AGENT_PORT: u16 = 7511;
const OPS_PORT: u16 = 7611;
const VOTER_OPS_PORT: u16 = 7451;
const TOOL_PORT: u16 = 7701;
const PEER_PORT: u16 = 7801;

/// Hands out addresses and machines.
pub trait Site: Send + Sync {
    /// Addresses for a voter. The admin listener's is a loopback address.
    ///
    /// # Errors
    /// When none is free.
    fn voter(&mut self, id: VoterId) -> Result<voter_config::Listen>;

    /// Where a voter takes edges in; `None` where it does not.
    ///
    /// # Errors
    /// When no address is free.
    fn enrolment(&mut self, _id: VoterId) -> Result<Option<SocketAddr>> {
        Ok(None)
    }

    /// Addresses for an edge. The agents' listener's is a loopback address.
    ///
    /// # Errors
    /// When none is free.
    fn edge(&mut self, id: &EdgeId) -> Result<edge_config::Listen>;

    /// Where the tool server listens, and where edges find it: a loopback address.
    ///
    /// # Errors
    /// When none is free.
    fn tools(&mut self) -> Result<(SocketAddr, SocketAddr)>;

    /// The machine for a node whose folder is `dir`. It keeps its data in `dir/data`.
    ///
    /// # Errors
    /// When it cannot be made.
    fn host(&mut self, node: &Node, dir: &Path) -> Result<Arc<dyn Host>>;
}

/// What runs a process.
pub trait Host: Send + Sync {
    /// Starts it here.
    ///
    /// # Errors
    /// What the machine says.
    fn spawn(&self, command: Command) -> io::Result<Child>;

    /// The world as the process sees it.
    fn env(&self) -> Env;
}

/// Everything on this machine's loopback address, on ports that nobody uses.
pub(super) struct Loopback {
    env: Env,
    admin: Ports,
    agent: Ports,
    ops: Ports,
    voter_ops: Ports,
    tool: Ports,
    peer: Ports,
}

impl Loopback {
    /// Ports at random for a mesh that must not meet another one, otherwise from the well-known ones upwards.
    pub(super) fn new(env: &Env, temporary: bool) -> Self {
        let start = Ports::temporary(env).start();
        let ports =
            |known: u16, offset: u16| Ports::from(env, if temporary { start.saturating_add(offset) } else { known });
        Self {
            env: env.clone(),
            admin: ports(ADMIN_PORT, 0),
            agent: ports(AGENT_PORT, 50),
            ops: ports(OPS_PORT, 150),
            tool: ports(TOOL_PORT, 250),
            peer: ports(PEER_PORT, 300),
            voter_ops: ports(VOTER_OPS_PORT, 350),
        }
    }
}

impl Site for Loopback {
    fn voter(&mut self, _id: VoterId) -> Result<voter_config::Listen> {
        Ok(voter_config::Listen {
            raft: self.peer.take()?,
            dist: self.peer.take()?,
            admin: self.admin.take()?,
            ops: self.voter_ops.take()?,
        })
    }

    fn enrolment(&mut self, _id: VoterId) -> Result<Option<SocketAddr>> {
        self.peer.take().map(Some)
    }

    fn edge(&mut self, _id: &EdgeId) -> Result<edge_config::Listen> {
        Ok(edge_config::Listen { agent: self.agent.take()?, ops: self.ops.take()?, tls: None })
    }

    fn tools(&mut self) -> Result<(SocketAddr, SocketAddr)> {
        let addr = self.tool.take()?;
        Ok((addr, addr))
    }

    fn host(&mut self, _node: &Node, _dir: &Path) -> Result<Arc<dyn Host>> {
        Ok(Arc::new(ThisMachine(self.env.clone())))
    }
}

/// The machine that the launcher runs on.
struct ThisMachine(Env);

impl Host for ThisMachine {
    fn spawn(&self, mut command: Command) -> io::Result<Child> {
        command.spawn()
    }

    fn env(&self) -> Env {
        self.0.clone()
    }
}
