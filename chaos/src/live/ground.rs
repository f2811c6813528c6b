//! What a run stands on: its journal, its wire, and a machine for each node.
//!
//! Voters are at 10.77.1.x, edges at 10.77.2.x, the tools at 10.77.3.1, all on one network. What is on loopback only,
//! because it does not speak TLS yet, has a loopback address that no other node has, so that administrators find it
//! from one place; the tools are the exception, because one catalogue serves every edge: each edge finds them on its
//! own loopback, from where a relay carries the bytes over the wire.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result};
use remit_common::id::{EdgeId, VoterId};
use remit_control_plane::config as voter_config;
use remit_edge_node::config as edge_config;

use super::clock::FakeClock;
use super::disk::Disk;
use super::machine::Machine;
use super::namespace::{Namespace, path_of};
use super::undo::{Journal, Undo};
use super::wire::Wire;
use super::world::Routes;
use crate::launcher::{Host, Site};
use crate::node::Node;

/// Ports; every node has all of its own.
const RAFT_PORT: u16 = 7801;
const DIST_PORT: u16 = 7802;
const ADMIN_PORT: u16 = 7411;
const VOTER_OPS_PORT: u16 = 7451;
const AGENT_PORT: u16 = 7511;
const EDGE_OPS_PORT: u16 = 7611;

/// Where the tools listen on the wire.
pub(super) const TOOLS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 77, 3, 1)), 7701);
/// Where each edge finds them.
pub(super) const TOOLS_AT_EDGE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7701);

/// The ground of one run. Cloning gives the same ground.
#[derive(Clone)]
pub(super) struct Ground(Arc<Inner>);

struct Inner {
    run: String,
    folder: PathBuf,
    journal: Arc<Journal>,
    /// The library that lets clocks jump, when this run needs it.
    faketime: Option<PathBuf>,
    /// Whether nodes get disks of their own.
    disks: bool,
    routes: Routes,
    wire: Mutex<Wire>,
    nodes: Mutex<BTreeMap<Node, Arc<Machine>>>,
    edges: Mutex<Vec<EdgeId>>,
}

impl Ground {
    pub(super) fn new(
        run: String,
        folder: PathBuf,
        journal: Arc<Journal>,
        wire: Wire,
        faketime: Option<PathBuf>,
        disks: bool,
    ) -> Self {
        Self(Arc::new(Inner {
            run,
            folder,
            journal,
            faketime,
            disks,
            routes: Routes::default(),
            wire: Mutex::new(wire),
            nodes: Mutex::new(BTreeMap::new()),
            edges: Mutex::new(Vec::new()),
        }))
    }

    /// The wire.
    pub(super) fn wire(&self) -> MutexGuard<'_, Wire> {
        self.0.wire.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The journal.
    pub(super) fn journal(&self) -> &Arc<Journal> {
        &self.0.journal
    }

    /// The administrators' way to every node.
    pub(super) fn routes(&self) -> &Routes {
        &self.0.routes
    }

    /// The machine of a node.
    ///
    /// # Errors
    /// When there is no such node.
    pub(super) fn machine(&self, node: &Node) -> Result<Arc<Machine>> {
        self.nodes().get(node).cloned().with_context(|| format!("there is no node `{node}`"))
    }

    /// Every machine.
    pub(super) fn machines(&self) -> Vec<(Node, Arc<Machine>)> {
        self.nodes().iter().map(|(node, machine)| (node.clone(), Arc::clone(machine))).collect()
    }

    /// A node is gone for good. What it stood on is taken away at the end of the run.
    pub(super) fn forget(&self, node: &Node) {
        self.nodes().remove(node);
    }

    fn nodes(&self) -> MutexGuard<'_, BTreeMap<Node, Arc<Machine>>> {
        self.0.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of an edge in addresses.
    fn number_of(&self, id: &EdgeId) -> Result<u8> {
        let mut edges = self.0.edges.lock().unwrap_or_else(PoisonError::into_inner);
        let at = edges.iter().position(|known| known == id).unwrap_or_else(|| {
            edges.push(id.clone());
            edges.len() - 1
        });
        u8::try_from(at + 1).context("more edges than addresses")
    }

    /// The address of a node on the wire, and the loopback address that is its own.
    fn addresses(&self, node: &Node) -> Result<(Ipv4Addr, Ipv4Addr)> {
        let (network, own, number) = match node {
            Node::Voter(VoterId(id)) => (1, 77, u8::try_from(*id).context("more voters than addresses")?),
            Node::Edge(id) => (2, 78, self.number_of(id)?),
            Node::Tools => (3, 79, 1),
            Node::Operator => anyhow::bail!("the operator has no machine"),
        };
        Ok((Ipv4Addr::new(10, 77, network, number), Ipv4Addr::new(127, 0, own, number)))
    }

    /// Makes the machine of a node.
    fn build(&self, node: &Node, dir: &Path) -> Result<Arc<Machine>> {
        let Inner { run, folder, journal, faketime, disks, routes, .. } = self.0.as_ref();
        let (addr, own) = self.addresses(node)?;
        let name = format!("{run}-{}", node.to_string().replace('/', "-"));
        journal.note(Undo::Namespace { path: path_of(&name) }, None)?;
        let namespace = Arc::new(Namespace::create(&name)?);
        self.wire().plug(addr, &namespace)?;
        let clock =
            faketime.as_ref().map(|library| FakeClock::create(library.clone(), dir.join("clock"))).transpose()?;
        let disk = if *disks && *node != Node::Tools {
            let at = dir.join("data");
            std::fs::create_dir_all(&at).with_context(|| format!("cannot make `{}`", at.display()))?;
            Some(Disk::create(Arc::clone(journal), folder.join(format!("{name}.img")), at)?)
        } else {
            None
        };
        let machine = Arc::new(Machine::new(namespace, addr, Arc::clone(journal), name, clock, disk));
        routes.add(own.into(), &machine.env, own.into());
        if *node == Node::Tools {
            routes.add(TOOLS_AT_EDGE.ip(), &machine.env, TOOLS.ip());
            self.wire().keep_private(addr);
        }
        Ok(machine)
    }
}

impl Site for Ground {
    fn voter(&mut self, id: VoterId) -> Result<voter_config::Listen> {
        let (addr, own) = self.addresses(&Node::Voter(id))?;
        Ok(voter_config::Listen {
            raft: (addr, RAFT_PORT).into(),
            dist: (addr, DIST_PORT).into(),
            admin: (own, ADMIN_PORT).into(),
            ops: (own, VOTER_OPS_PORT).into(),
        })
    }

    fn edge(&mut self, id: &EdgeId) -> Result<edge_config::Listen> {
        let (_, own) = self.addresses(&Node::Edge(id.clone()))?;
        Ok(edge_config::Listen { agent: (own, AGENT_PORT).into(), ops: (own, EDGE_OPS_PORT).into(), tls: None })
    }

    fn tools(&mut self) -> Result<(SocketAddr, SocketAddr)> {
        Ok((TOOLS, TOOLS_AT_EDGE))
    }

    fn host(&mut self, node: &Node, dir: &Path) -> Result<Arc<dyn Host>> {
        let machine = self.build(node, dir).with_context(|| format!("cannot make a machine for `{node}`"))?;
        self.nodes().insert(node.clone(), Arc::clone(&machine));
        Ok(machine)
    }
}
