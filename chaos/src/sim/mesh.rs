//! A mesh in the simulation: hosts with clocks, disks and processes, and everything that can happen to them.

mod replace;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use futures::future::BoxFuture;
use remit_common::crypto::digest::Digest;
use remit_common::id::{EdgeId, MeshId, Region, TenantId, UpstreamName, VoterId};
use remit_common::limits::DOCUMENT_BYTES_MAX;
use remit_common::net::env::{Entropy, Env, Socket, Spawn};
use remit_common::net::tasks::Shutdown;
use remit_control_plane::config as voter_config;
use remit_edge_node::config as edge_config;

use super::clock::{SimClock, TrueTime};
use super::disk::SimDisk;
use super::entropy::SimEntropy;
use super::net::{HostId, Net};
use super::spawn::Group;
use crate::drill::action::{Fault, Lie, LinkQuality};
use crate::drill::backend::{Access, Backend, BackendKind, Shape};
use crate::history::{History, Kind, What};
use crate::launcher::{EdgeEntry, Folder, KeyPaths, Material, MeshFile, UpstreamEntry, VoterEntry};
use crate::liar::{Liar, Role, Truth};
use crate::node::{Member, Node, Roster};
use crate::workload::{ToolServer, serve_tools};

const RAFT_PORT: u16 = 7801;
const DIST_PORT: u16 = 7802;
const ADMIN_PORT: u16 = 7411;
const OPS_PORT: u16 = 7451;
const AGENT_PORT: u16 = 7511;
const TOOL_PORT: u16 = 7701;

/// Where everything lies on a host's disk.
const HOME: &str = "/remit";
/// How long work on a disk takes.
const DISK_LATENCY: Duration = Duration::from_millis(1);
/// After a process ended by itself, something starts it again.
const RESTART_AFTER: Duration = Duration::from_secs(1);
/// How long an orderly end may take.
const STOP_WITHIN: Duration = Duration::from_secs(20);
/// From start to a known leader and live edges.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// A storm of reconnects: long enough that every connection is given up.
const STORM: Duration = Duration::from_secs(10);

/// A simulated mesh. Cloning gives the same mesh.
#[derive(Clone)]
pub struct SimMesh(Arc<Inner>);

struct Inner {
    seed: u64,
    time: TrueTime,
    net: Net,
    /// The API key that the tools demand.
    secret: Vec<u8>,
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
    /// Not the voter that belongs there, but a liar with its keys.
    is_liar: bool,
}

impl SimMesh {
    /// An empty world.
    ///
    /// # Errors
    /// Never in practice: the names in it are fixed.
    pub fn new(seed: u64) -> Result<Self> {
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
        Ok(Self(Arc::new(Inner { seed, time, net, secret, world, nowhere, state: Mutex::new(state) })))
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

    /// Brings a fault about without waiting until it is complete: a node that is asked to stop takes its time.
    pub fn begin(&self, fault: Fault) {
        self.0.net.note(&format!("{fault:?}"));
        let mesh = self.clone();
        let task = async move {
            if let Err(error) = mesh.bring_about(&fault).await {
                mesh.note_fault("failed", &fault.nodes(), &format!("{error:#}"), false);
            }
        };
        drop(Spawn::spawn(&self.0.world, "fault", Box::pin(task)));
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

    /// The environment of a new boot of a host.
    fn boot(&self, node: &Node, group: &Group) -> Result<(u64, Env)> {
        let mut state = self.state();
        state.boots += 1;
        let boot = state.boots;
        let host = state.hosts.get(node).with_context(|| format!("there is no {node}"))?;
        let spawn = Arc::new(group.clone());
        let socket = self.0.net.process(host.id, spawn.clone());
        let env = Env {
            clock: host.clock.clone(),
            entropy: Arc::new(SimEntropy::new(self.0.seed, &format!("{node} boot {boot}"))),
            disk: host.disk.process(),
            spawn,
            socket,
        };
        Ok((boot, env))
    }

    fn note_fault(&self, name: &str, nodes: &[Node], detail: &str, begins: bool) {
        let (name, nodes, detail) = (name.to_owned(), nodes.to_vec(), detail.to_owned());
        let what = What::Fault { name, nodes, detail, begins, fault: None };
        self.state().history.note(self.0.time.elapsed(), "world", Kind::Info, what);
    }

    /// Starts what belongs on a host.
    fn start_node(&self, node: &Node) -> Result<()> {
        let process = {
            let state = self.state();
            let host = state.hosts.get(node).with_context(|| format!("there is no {node}"))?;
            if host.running.is_some() {
                bail!("{node} runs already");
            }
            host.process.clone()
        };
        let (group, shutdown) = (Group::new(DISK_LATENCY), Shutdown::new());
        let (boot, env) = self.boot(node, &group)?;
        let (mesh, name) = (self.clone(), node.clone());
        let ended = move |reason: Option<String>| mesh.ended(name, boot, reason);
        let (inside, stop) = (env.clone(), shutdown.clone());
        match process {
            Process::Voter(config) => drop(env.spawn_named("voter", async move {
                let end = remit_control_plane::run(*config, inside, stop).await;
                ended(end.err().map(|error| format!("{:#}", anyhow::Error::from(error))));
            })),
            Process::Edge(config) => {
                let tools = ToolServer { key_hash: Digest::of(&[&self.0.secret]) };
                let listener = env.socket.listen(loopback(TOOL_PORT)).context("the tools cannot listen")?;
                drop(env.spawn_named("tools", serve_tools(env.clone(), listener, tools, stop.clone())));
                drop(env.spawn_named("edge", async move {
                    let end = remit_edge_node::run(*config, inside, stop).await;
                    ended(end.err().map(|error| format!("{:#}", anyhow::Error::from(error))));
                }));
            }
            Process::Nothing => {}
        }
        if let Some(host) = self.state().hosts.get_mut(node) {
            host.running = Some(Running { boot, group, shutdown, is_stopping: false, is_liar: false });
        }
        Ok(())
    }

    /// A process has ended by itself: it is started again, unless somebody wanted its end.
    fn ended(&self, node: Node, boot: u64, reason: Option<String>) {
        let is_wanted =
            self.state().hosts.get(&node).is_none_or(|host| {
                host.running.as_ref().is_none_or(|running| running.boot != boot || running.is_stopping)
            });
        if is_wanted {
            return;
        }
        let reason = reason.unwrap_or_else(|| "no reason".to_owned());
        self.note_fault("exit", std::slice::from_ref(&node), &reason, true);
        self.0.net.note(&format!("exit {node} {reason}"));
        let mesh = self.clone();
        drop(Spawn::spawn(
            &self.0.world,
            "restart",
            Box::pin(async move {
                mesh.take_down(&node, Death::Killed).await;
                tokio::time::sleep(RESTART_AFTER).await;
                // Somebody may have started it meanwhile.
                if mesh.start_node(&node).is_ok() {
                    mesh.note_fault("exit", std::slice::from_ref(&node), "started again", false);
                }
            }),
        ));
    }

    /// Ends what runs on a host, if anything does.
    async fn take_down(&self, node: &Node, death: Death) -> bool {
        let running = self.state().hosts.get_mut(node).and_then(|host| host.running.take());
        let Some(Running { group, .. }) = running else { return false };
        self.each_host(std::slice::from_ref(node), |host| match death {
            Death::Killed => {
                self.0.net.kill(host.id);
                host.disk.kill();
            }
            Death::PowerCut => {
                self.0.net.power_off(host.id);
                host.disk.crash();
                host.clock.reboot();
            }
        });
        group.kill().await;
        true
    }

    /// Asks for an orderly end, and waits for it.
    async fn stop_node(&self, node: &Node) -> bool {
        let (shutdown, boot) = {
            let mut state = self.state();
            let Some(running) = state.hosts.get_mut(node).and_then(|host| host.running.as_mut()) else { return false };
            running.is_stopping = true;
            (running.shutdown.clone(), running.boot)
        };
        shutdown.trigger();
        let until = self.0.time.elapsed() + STOP_WITHIN;
        while self.0.time.elapsed() < until && !self.has_drained(node, boot) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.take_down(node, Death::Killed).await
    }

    fn has_drained(&self, node: &Node, boot: u64) -> bool {
        let state = self.state();
        let running = state.hosts.get(node).and_then(|host| host.running.as_ref());
        running.is_none_or(|running| running.boot != boot || running.group.is_idle())
    }

    /// Writes keys, certificates, documents and configurations, each on the disk of its owner.
    fn write(&self, shape: &Shape) -> Result<()> {
        self.add_host(Node::Operator, ip(3, 1))?;
        let operator = Group::new(Duration::ZERO);
        let (_, env) = self.boot(&Node::Operator, &operator)?;
        let folder = Folder::create(&env, Path::new(HOME))?;
        let mut file = self.state().file.clone();
        let mesh_id = MeshId(env.random());
        let mut material = Material::create(&env, &folder, mesh_id, &file.tenant)?;
        file.mesh_id = mesh_id;
        (file.keys, file.root) = (material.key_paths.clone(), material.root.clone());
        let mut roster = Roster::default();
        let voters: Vec<VoterId> = (1..=shape.voters).map(VoterId).collect();
        for id in &voters {
            self.write_voter(&env, &mut material, *id, &voters, mesh_id, false)?;
            file.voters.push(voter_entry(*id));
            roster.nodes.push(Member { node: Node::Voter(*id), region: None });
        }
        let mut number = 0;
        for (region, count) in &shape.regions {
            for of_region in 1..=*count {
                number += 1;
                let id = EdgeId::new(&format!("{region}-{of_region}"))?;
                self.write_edge(&env, &mut material, &id, region, number, &file)?;
                file.edges.push(edge_entry(&id, region));
                roster.nodes.push(Member { node: Node::Edge(id), region: Some(region.clone()) });
            }
        }
        let directory = material.sign_directory()?;
        folder.write("directory.json", &directory)?;
        let mut state = self.state();
        for member in &roster.nodes {
            if let Some(host) = state.hosts.get(&member.node) {
                copy(&env, &host.disk, &["root.json", "directory.json", "voters-ca.pem", "edges-ca.pem"])?;
            }
        }
        (state.file, state.roster, state.material) = (file, roster, Some(material));
        Ok(())
    }

    fn write_voter(
        &self,
        operator: &Env,
        material: &mut Material,
        id: VoterId,
        voters: &[VoterId],
        mesh_id: MeshId,
        join: bool,
    ) -> Result<()> {
        let node = Node::Voter(id);
        self.add_host(node.clone(), voter_ip(id))?;
        let folder = self.folder_of(operator, &node)?;
        material.add_voter(operator, folder, id)?;
        let home = Path::new(HOME);
        let config = voter_config::Config {
            mesh_id,
            id,
            data_dir: home.join("data"),
            root: home.join("root.json"),
            directory: home.join("directory.json"),
            issuer_key: home.join("issuer.key"),
            tls: voter_config::TlsFiles {
                certificate: home.join("certificate.pem"),
                key: home.join("identity.key"),
                voters_ca: home.join("voters-ca.pem"),
                edges_ca: home.join("edges-ca.pem"),
            },
            listen: voter_config::Listen {
                raft: (voter_ip(id), RAFT_PORT).into(),
                dist: (voter_ip(id), DIST_PORT).into(),
                admin: loopback(ADMIN_PORT),
                ops: loopback(OPS_PORT),
            },
            peers: voters
                .iter()
                .map(|id| voter_config::Peer { id: *id, raft: (voter_ip(*id), RAFT_PORT).into() })
                .collect(),
            // Small enough that a run of a minute takes, ships and restores snapshots.
            timings: voter_config::Timings { snapshot_entries: 20 + self.0.seed % 100, ..Default::default() },
            join,
        };
        config.check().context("the simulation wrote a configuration that no voter takes")?;
        if let Some(host) = self.state().hosts.get_mut(&node) {
            host.process = Process::Voter(Box::new(config));
        }
        Ok(())
    }

    fn write_edge(
        &self,
        operator: &Env,
        material: &mut Material,
        id: &EdgeId,
        region: &Region,
        number: u8,
        file: &MeshFile,
    ) -> Result<()> {
        let node = Node::Edge(id.clone());
        self.add_host(node.clone(), ip(1, number))?;
        let folder = self.folder_of(operator, &node)?;
        material.add_edge(operator, folder, id, region)?;
        let home = Path::new(HOME);
        let voters = file.voters.iter();
        let config = edge_config::Config {
            mesh_id: file.mesh_id,
            id: id.clone(),
            region: region.clone(),
            data_dir: home.join("data"),
            root: home.join("root.json"),
            sealing_key: home.join("sealing.key"),
            tenants: BTreeSet::from([file.tenant.clone()]),
            allowed_origins: BTreeSet::new(),
            tls: edge_config::TlsFiles {
                certificate: home.join("certificate.pem"),
                key: home.join("identity.key"),
                voters_ca: home.join("voters-ca.pem"),
            },
            listen: edge_config::Listen { agent: loopback(AGENT_PORT), ops: loopback(OPS_PORT) },
            voters: voters
                .map(|voter| edge_config::VoterAddr { id: voter.id, dist: (voter_ip(voter.id), DIST_PORT).into() })
                .collect(),
            limits: edge_config::Limits { spool_bytes_max: 64 * 1024 * 1024, ..edge_config::Limits::default() },
        };
        config.check().context("the simulation wrote a configuration that no edge takes")?;
        if let Some(host) = self.state().hosts.get_mut(&node) {
            host.process = Process::Edge(Box::new(config));
        }
        Ok(())
    }

    /// The home folder on a node's own disk.
    fn folder_of(&self, operator: &Env, node: &Node) -> Result<Folder> {
        let state = self.state();
        let host = state.hosts.get(node).with_context(|| format!("there is no {node}"))?;
        let env = Env { disk: host.disk.process(), ..operator.clone() };
        Folder::create(&env, Path::new(HOME))
    }

    async fn build(&self, shape: Shape, history: History) -> Result<()> {
        self.state().history = history;
        self.write(&shape)?;
        let nodes: Vec<Node> = self.state().roster.nodes.iter().map(|member| member.node.clone()).collect();
        // The key travels from an edge to its tools, inside one machine; agents look for it in what they are told.
        let inside = |host: &Host| (host.id, host.id);
        let edges = self
            .state()
            .hosts
            .iter()
            .filter(|(node, _)| matches!(node, Node::Edge(_)))
            .map(|(_, host)| inside(host))
            .collect();
        self.0.net.forbid(self.0.secret.clone(), edges)?;
        for node in &nodes {
            if let Some(host) = self.state().hosts.get(node) {
                host.disk.forbid(&self.0.secret);
            }
            self.start_node(node)?;
        }
        for node in &nodes {
            self.wait_ready(node).await?;
        }
        Ok(())
    }

    async fn wait_ready(&self, node: &Node) -> Result<()> {
        let path = match node {
            Node::Voter(_) => "/readyz",
            // Ready means policy is active, and there is none before the first push.
            _ => "/livez",
        };
        let until = self.0.time.elapsed() + READY_WITHIN;
        while !crate::workload::answers(&self.env_at(node), loopback(OPS_PORT), path).await {
            if self.0.time.elapsed() > until {
                bail!("{node} is not ready after {READY_WITHIN:?}");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    async fn bring_about(&self, fault: &Fault) -> Result<()> {
        let net = &self.0.net;
        match fault {
            Fault::Kill(nodes) => {
                for node in nodes {
                    self.take_down(node, Death::Killed).await;
                }
            }
            Fault::PowerCut(nodes) => {
                for node in nodes {
                    self.cut_power(node).await;
                }
            }
            Fault::Stop(nodes) => {
                for node in nodes {
                    self.stop_node(node).await;
                }
            }
            Fault::Start(nodes) => {
                for node in nodes {
                    while self.is_stopping(node) {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                    self.end_lie(node).await;
                    if !self.is_running(node) {
                        self.each_host(std::slice::from_ref(node), |host| host.disk.repair());
                        self.start_node(node)?;
                    }
                }
            }
            Fault::Pause(nodes) => {
                nodes.iter().for_each(|node| self.with_running(node, |running| running.group.freeze()));
            }
            Fault::Resume(nodes) => {
                nodes.iter().for_each(|node| self.with_running(node, |running| running.group.thaw()));
            }
            Fault::Partition { from, to, one_way } => self.each_pair(from, to, |from, to| {
                net.cut(from, to);
                if !one_way {
                    net.cut(to, from);
                }
            }),
            Fault::Link { from, to, quality } => self.each_pair(from, to, |from, to| {
                net.set_quality(from, to, *quality);
                net.set_quality(to, from, *quality);
            }),
            Fault::HealNetwork => net.heal(),
            Fault::DiskFull(nodes) => self.each_host(nodes, |host| host.disk.set_full(true)),
            Fault::DiskFree(nodes) => self.each_host(nodes, |host| host.disk.set_full(false)),
            Fault::FsyncError(nodes) => self.each_host(nodes, |host| host.disk.fail_next_sync()),
            Fault::ClockJump { nodes, by_ms } => self.each_host(nodes, |host| host.clock.jump(*by_ms)),
            Fault::ReconnectStorm(nodes) => {
                let voters: Vec<Node> = self.roster().voters().map(Node::Voter).collect();
                self.each_pair(nodes, &voters, |edge, voter| {
                    net.cut(edge, voter);
                    net.cut(voter, edge);
                });
                tokio::time::sleep(STORM).await;
                self.each_pair(nodes, &voters, |edge, voter| {
                    net.mend(edge, voter);
                    net.mend(voter, edge);
                });
            }
            Fault::Lie { node, lie } => self.begin_lie(node, *lie).await?,
            Fault::ReplaceVoter(node) => Box::pin(self.replace_voter(node)).await?,
            Fault::CpuLimit { .. } => {
                bail!("{}", self.unable(fault).unwrap_or_default());
            }
        }
        Ok(())
    }

    /// Kills a voter and has a liar with its keys answer edges at its address.
    async fn begin_lie(&self, node: &Node, lie: Lie) -> Result<()> {
        let Node::Voter(voter) = node else { bail!("{node} is no voter") };
        let (file, operator) = (self.mesh(), self.env_at(&Node::Operator));
        let told = Truth::learn(self, *voter).await?.tell(lie, &operator, &file)?;
        self.take_down(node, Death::Killed).await;
        let (group, shutdown) = (Group::new(DISK_LATENCY), Shutdown::new());
        let (boot, env) = self.boot(node, &group)?;
        let role = Role { voter: *voter, dir: PathBuf::from(HOME), dist: (voter_ip(*voter), DIST_PORT).into() };
        let (liar, stop) = (Liar::start(&env, &file, &role, told)?, shutdown.clone());
        drop(env.spawn_named("liar", async move {
            stop.requested().await;
            liar.stop().await;
        }));
        if let Some(host) = self.state().hosts.get_mut(node) {
            host.running = Some(Running { boot, group, shutdown, is_stopping: false, is_liar: true });
        }
        Ok(())
    }

    /// The liar is gone, if there is one.
    async fn end_lie(&self, node: &Node) {
        let lies = self.state().hosts.get(node).and_then(|host| host.running.as_ref()).is_some_and(|r| r.is_liar);
        if lies {
            self.take_down(node, Death::Killed).await;
        }
    }

    /// The power goes.
    async fn cut_power(&self, node: &Node) {
        let Some(disk) = self.expect_end(node) else { return };
        let mut draw = [0];
        Entropy::fill(&SimEntropy::new(self.0.seed, &format!("{node} {:?}", self.0.time.elapsed())), &mut draw);
        // Half of them in the middle of a write, if one comes: work on a disk is done in one piece otherwise.
        let drawn = u64::from(u8::from_be_bytes(draw));
        if drawn.is_multiple_of(2) {
            disk.crash_after_ops(drawn % 40);
            for _ in 0..250 {
                if disk.is_off() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        // The moment counts: what was answered until now is lost with what was not synced.
        self.note_fault("power-cut", std::slice::from_ref(node), "the power is gone", true);
        self.take_down(node, Death::PowerCut).await;
    }

    /// From now on nobody starts the node again when it ends. Gives its disk if it runs.
    fn expect_end(&self, node: &Node) -> Option<SimDisk> {
        let mut state = self.state();
        let host = state.hosts.get_mut(node)?;
        host.running.as_mut()?.is_stopping = true;
        Some(host.disk.clone())
    }

    fn is_stopping(&self, node: &Node) -> bool {
        let state = self.state();
        state.hosts.get(node).and_then(|host| host.running.as_ref()).is_some_and(|running| running.is_stopping)
    }

    fn is_running(&self, node: &Node) -> bool {
        self.state().hosts.get(node).is_some_and(|host| host.running.is_some())
    }

    fn with_running(&self, node: &Node, use_it: impl FnOnce(&Running)) {
        if let Some(running) = self.state().hosts.get(node).and_then(|host| host.running.as_ref()) {
            use_it(running);
        }
    }

    fn each_host(&self, nodes: &[Node], use_it: impl Fn(&Host)) {
        let state = self.state();
        nodes.iter().filter_map(|node| state.hosts.get(node)).for_each(use_it);
    }

    /// Every pair of two different hosts.
    fn each_pair(&self, from: &[Node], to: &[Node], use_it: impl Fn(HostId, HostId)) {
        let state = self.state();
        let ids = |nodes: &[Node]| nodes.iter().filter_map(|node| Some(state.hosts.get(node)?.id)).collect::<Vec<_>>();
        let to = ids(to);
        for one in ids(from) {
            to.iter().filter(|other| **other != one).for_each(|other| use_it(one, *other));
        }
    }

    async fn undo(&self) -> Result<()> {
        self.0.net.heal();
        let nodes: Vec<Node> = self.state().hosts.keys().cloned().collect();
        self.each_host(&nodes, |host| {
            host.disk.repair();
            host.clock.correct();
        });
        for node in nodes {
            self.with_running(&node, |running| running.group.thaw());
            self.end_lie(&node).await;
            if node != Node::Operator && !self.is_running(&node) {
                self.start_node(&node)?;
            }
        }
        Ok(())
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

#[derive(Debug, Clone, Copy)]
enum Death {
    Killed,
    PowerCut,
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

fn voter_entry(id: VoterId) -> VoterEntry {
    let (admin, ops) = (origin(ADMIN_PORT), origin(OPS_PORT));
    VoterEntry { id, admin, ops, pid: None, dir: PathBuf::from(HOME) }
}

fn edge_entry(id: &EdgeId, region: &Region) -> EdgeEntry {
    let (id, region) = (id.clone(), region.clone());
    EdgeEntry { id, region, agent: origin(AGENT_PORT), ops: origin(OPS_PORT), pid: None, dir: PathBuf::from(HOME) }
}

fn origin(port: u16) -> String {
    format!("http://{}", loopback(port))
}

fn copy(from: &Env, to: &SimDisk, names: &[&str]) -> Result<()> {
    for name in names {
        let path = Path::new(HOME).join(name);
        let bytes = from.disk.read(&path, DOCUMENT_BYTES_MAX)?.with_context(|| format!("there is no `{name}`"))?;
        to.process().replace(&path, &bytes)?;
    }
    Ok(())
}
