//! A mesh in the simulation: hosts with clocks, disks and processes, and everything that can happen to them.

mod faults;
mod install;
mod process;
mod replace;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use futures::future::BoxFuture;
use remit_common::id::{MeshId, TenantId, UpstreamName, VoterId};
use remit_common::net::env::{Entropy, Env, Socket};
use remit_common::net::programs::NoPrograms;
use remit_common::net::tasks::Shutdown;
use remit_control_plane::config as voter_config;
use remit_edge_node::config as edge_config;

use self::process::Death;
use super::clock::{SimClock, TrueTime};
use super::disk::SimDisk;
use super::entropy::SimEntropy;
use super::net::{HostId, Net};
use super::spawn::Group;
use crate::drill::action::{Fault, LinkQuality};
use crate::drill::backend::{Access, Backend, BackendKind, Shape};
use crate::history::{History, Kind, What};
use crate::launcher::{KeyPaths, Material, MeshFile, UpstreamEntry};
use crate::node::{Node, Roster};

const RAFT_PORT: u16 = 7801;
const DIST_PORT: u16 = 7802;
const ADMIN_PORT: u16 = 7411;
const OPS_PORT: u16 = 7451;
const AGENT_PORT: u16 = 7511;
const TOOL_PORT: u16 = 7701;

/// Where everything lies on a host's disk.
const HOME: &str = "/remit";
/// How long work on a usual disk takes.
pub const DISK_LATENCY: Duration = Duration::from_millis(1);
/// After a process ended by itself, something starts it again.
const RESTART_AFTER: Duration = Duration::from_secs(1);
/// How long an orderly end may take.
const STOP_WITHIN: Duration = Duration::from_secs(20);
/// From start to a known leader and live edges.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// A simulated mesh. Cloning gives the same mesh.
#[derive(Clone)]
pub struct SimMesh(Arc<Inner>);

struct Inner {
    seed: u64,
    time: TrueTime,
    net: Net,
    /// The API key that the tools demand.
    secret: Vec<u8>,
    /// How long work on a disk takes.
    disk_latency: Duration,
    /// Tasks of the workload and of the simulation itself.
    world: Group,
    /// Where nobody is: what those see who ask for a node that does not exist.
    nowhere: Arc<dyn Socket>,
    state: Mutex<State>,
}

struct State {
    history: History,
    hosts: BTreeMap<Node, Host>,
    file: MeshFile,
    roster: Roster,
    material: Option<Material>,
    /// Draws made so far, so that no two boots share random bytes.
    boots: u64,
}

struct Host {
    id: HostId,
    clock: Arc<SimClock>,
    disk: SimDisk,
    process: Process,
    /// The running one, if any.
    running: Option<Running>,
    /// For whoever works at the host without belonging to it.
    guests: Arc<dyn Socket>,
}

/// What runs on a host.
#[derive(Clone)]
enum Process {
    Voter(Box<voter_config::Config>),
    Edge(Box<edge_config::Config>),
    Nothing,
}

struct Running {
    boot: u64,
    group: Group,
    shutdown: Shutdown,
    /// Somebody has asked for its end.
    is_stopping: bool,
    /// Its main function has returned, so that it is over, whatever tasks it left.
    has_ended: bool,
    /// Not the voter that belongs there, but a liar with its keys.
    is_liar: bool,
}

impl SimMesh {
    /// An empty world.
    ///
    /// # Errors
    /// Never in practice: the names in it are fixed.
    pub fn new(seed: u64) -> Result<Self> {
        Self::with_disks(seed, DISK_LATENCY)
    }

    /// An empty world in which each piece of work on a disk takes this long.
    ///
    /// # Errors
    /// Never in practice: the names in it are fixed.
    pub fn with_disks(seed: u64, disk_latency: Duration) -> Result<Self> {
        let time = TrueTime::begin();
        let entropy = SimEntropy::new(seed, "secret");
        let mut random = [0; 24];
        Entropy::fill(&entropy, &mut random);
        let secret = format!("ak_live_{}", remit_common::text::hex(&random)).into_bytes();
        let net = Net::new(seed, time, LinkQuality::GOOD);
        let file = MeshFile {
            mesh_id: MeshId([0; 16]),
            tenant: TenantId::new("acme")?,
            voters: Vec::new(),
            edges: Vec::new(),
            upstreams: vec![UpstreamEntry {
                name: UpstreamName::new("acme")?,
                url: format!("http://{}/mcp", loopback(TOOL_PORT)),
                pid: None,
                dir: PathBuf::from(HOME),
            }],
            keys: KeyPaths::default(),
            root: PathBuf::new(),
            example: PathBuf::new(),
        };
        let state = State {
            history: History::default(),
            hosts: BTreeMap::new(),
            file,
            roster: Roster::default(),
            material: None,
            boots: 0,
        };
        let world = Group::default();
        let nowhere = net.guest(net.add_host("nowhere", ip(9, 9))?, Arc::new(world.clone()));
        Ok(Self(Arc::new(Inner { seed, time, net, secret, disk_latency, world, nowhere, state: Mutex::new(state) })))
    }

    /// The API key that agents must never see.
    #[must_use]
    pub fn secret(&self) -> &[u8] {
        &self.0.secret
    }

    /// What decides everything.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.0.seed
    }

    /// The network.
    #[must_use]
    pub fn net(&self) -> &Net {
        &self.0.net
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add_host(&self, node: Node, ip: IpAddr) -> Result<()> {
        let id = self.0.net.add_host(&node.to_string(), ip)?;
        let clock = Arc::new(SimClock::new(self.0.time, 0));
        let disk = SimDisk::new(super::entropy::generator(self.0.seed, &format!("disk of {node}")));
        let (net, name) = (self.0.net.clone(), node.to_string());
        disk.watch(move |event| net.note(&format!("{name} {event}")));
        let guests = self.0.net.guest(id, Arc::new(self.0.world.clone()));
        let host = Host { id, clock, disk, process: Process::Nothing, running: None, guests };
        self.state().hosts.insert(node, host);
        Ok(())
    }

    fn note_fault(&self, name: &str, nodes: &[Node], detail: &str, begins: bool) {
        let (name, nodes, detail) = (name.to_owned(), nodes.to_vec(), detail.to_owned());
        let what = What::Fault { name, nodes, detail, begins, fault: None };
        self.state().history.note(self.0.time.elapsed(), "world", Kind::Info, what);
    }

    fn each_host(&self, nodes: &[Node], use_it: impl Fn(&Host)) {
        let state = self.state();
        nodes.iter().filter_map(|node| state.hosts.get(node)).for_each(use_it);
    }

    fn leaks(&self) -> Vec<String> {
        let mut found: Vec<String> =
            self.0.net.leaks().iter().map(|leak| format!("what {} sent to {}", leak.from, leak.to)).collect();
        for (node, host) in &self.state().hosts {
            let paths = host.disk.scan(&self.0.secret).into_iter();
            found.extend(paths.map(|path| format!("disk of {node}: {}", path.display())));
        }
        found
    }
}

impl Access for SimMesh {
    fn roster(&self) -> Roster {
        self.state().roster.clone()
    }

    fn mesh(&self) -> MeshFile {
        self.state().file.clone()
    }

    fn env_at(&self, node: &Node) -> Env {
        let mut state = self.state();
        state.boots += 1;
        let boot = state.boots;
        let operator = state.hosts.get(&Node::Operator);
        let disk = operator.map(|host| host.disk.process());
        let host = state.hosts.get(node).or_else(|| state.hosts.get(&Node::Operator));
        let guests = host.map(|host| Arc::clone(&host.guests));
        Env {
            clock: Arc::new(SimClock::new(self.0.time, 0)),
            entropy: Arc::new(SimEntropy::new(self.0.seed, &format!("work {boot}"))),
            disk: disk.unwrap_or_else(|| SimDisk::new(super::entropy::generator(0, "no disk")).process()),
            spawn: Arc::new(self.0.world.clone()),
            socket: guests.unwrap_or_else(|| Arc::clone(&self.0.nowhere)),
            programs: Arc::new(NoPrograms),
        }
    }

    fn now(&self) -> Duration {
        self.0.time.elapsed()
    }
}

impl Backend for SimMesh {
    fn kind(&self) -> BackendKind {
        BackendKind::Sim
    }

    fn unable(&self, fault: &Fault) -> Option<String> {
        match fault {
            Fault::CpuLimit { .. } => Some("simulated processors are never busy".to_owned()),
            _ => None,
        }
    }

    fn start(&mut self, shape: Shape, history: History) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.build(shape, history))
    }

    fn access(&self) -> Arc<dyn Access> {
        Arc::new(self.clone())
    }

    fn apply(&mut self, fault: Fault) -> BoxFuture<'_, Result<()>> {
        self.0.net.note(&format!("{fault:?}"));
        Box::pin(async move { self.bring_about(&fault).await })
    }

    fn undo_all(&mut self) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.undo())
    }

    fn find_secret(&self, _secret: &[u8]) -> BoxFuture<'_, Result<Vec<String>>> {
        Box::pin(async { Ok(self.leaks()) })
    }

    fn stop(&mut self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async {
            let nodes: Vec<Node> = self.state().hosts.keys().cloned().collect();
            for node in nodes {
                self.take_down(&node, Death::Killed).await;
            }
            self.0.world.kill().await;
            Ok(())
        })
    }
}

fn ip(group: u8, number: u8) -> IpAddr {
    Ipv4Addr::new(10, 77, group, number).into()
}

fn voter_ip(id: VoterId) -> IpAddr {
    ip(0, u8::try_from(id.0).unwrap_or(u8::MAX))
}

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}
