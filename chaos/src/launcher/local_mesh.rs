//! A mesh on this machine: written to a folder, then started, broken and stopped.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use remit_common::crypto::digest::Digest;
use remit_common::id::{EdgeId, MeshId, Region, TenantId, UpstreamName, VoterId};
use remit_common::net::env::Env;
use remit_control_plane::config as voter_config;
use remit_edge_node::config as edge_config;

use super::files::Folder;
use super::material::Material;
use super::mesh_file::{EdgeEntry, MeshFile, UpstreamEntry, VoterEntry};
use super::process::{Process, Program, Ready};
use super::site::{Host, Loopback, Site};
use crate::node::Node;

/// From start to ready, of any process. A debug build on a busy machine takes seconds.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// What to build.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The folder for everything.
    pub dir: PathBuf,
    /// What to start: the running executable.
    pub executable: PathBuf,
    /// The one tenant.
    pub tenant: TenantId,
    /// Voters; an odd number.
    pub voters: u64,
    /// Regions, with the number of edges of each.
    pub regions: Vec<(Region, u32)>,
    /// The tool server.
    pub upstream: UpstreamPlan,
    /// Whether the mesh must not meet another one: ports at random instead of the well-known ones.
    pub temporary: bool,
    /// Whether it lives on when the launcher has ended.
    pub detached: bool,
}

/// The tool server.
#[derive(Debug, Clone)]
pub struct UpstreamPlan {
    /// As the catalogue calls it.
    pub name: UpstreamName,
    /// SHA-256 of the key that it will demand.
    pub key_hash: Digest,
    /// Its data file.
    pub data: Vec<u8>,
}

/// A mesh whose files are written and whose processes may run. Unless detached, they die with this value.
pub struct LocalMesh {
    env: Env,
    plan: Plan,
    site: Box<dyn Site>,
    folder: Folder,
    material: Material,
    file: MeshFile,
    voters: Vec<Process>,
    edges: Vec<Process>,
    upstreams: Vec<Process>,
    strays: Vec<Process>,
    dist: Vec<edge_config::VoterAddr>,
    peers: Vec<voter_config::Peer>,
}

/// A voter that waits to be taken in.
#[derive(Debug, Clone)]
pub struct NewVoter {
    /// Its id, which no voter had before.
    pub id: VoterId,
    /// Where other voters will reach it.
    pub raft: SocketAddr,
    /// Where edges will reach it.
    pub dist: SocketAddr,
    /// A directory that lists it beside everything else, signed by its role, of a higher version.
    pub directory: Vec<u8>,
}

/// An edge of the mesh's own kind that talks to somebody else than the mesh's voters.
#[derive(Debug, Clone)]
pub struct StrayEdge {
    /// As `mesh.json` would list it.
    pub entry: EdgeEntry,
    /// A directory of version 2, signed by its role, that lists this edge beside everything else.
    pub directory: Vec<u8>,
}

impl LocalMesh {
    /// Writes the keys, certificates, documents, configurations and the mesh file. Starts nothing.
    ///
    /// # Errors
    /// When the folder holds a mesh already, or the disk or the network refuses.
    pub fn create(env: &Env, plan: Plan) -> Result<Self> {
        let site = Loopback::new(env, plan.temporary);
        Self::create_at(env, plan, Box::new(site))
    }

    /// Like [`Self::create`], with nodes that live elsewhere than on this machine's loopback address.
    ///
    /// # Errors
    /// Like [`Self::create`]; or what the site says.
    pub fn create_at(env: &Env, plan: Plan, site: Box<dyn Site>) -> Result<Self> {
        let folder = Folder::create(env, &plan.dir)?;
        if folder.path().join("mesh.json").exists() {
            bail!("`{}` holds a mesh already", folder.path().display());
        }
        let mesh_id = MeshId(env.random());
        let material = Material::create(env, &folder, mesh_id, &plan.tenant)?;
        let file = MeshFile {
            mesh_id,
            tenant: plan.tenant.clone(),
            voters: Vec::new(),
            edges: Vec::new(),
            upstreams: Vec::new(),
            keys: material.key_paths.clone(),
            root: material.root.clone(),
            example: folder.path().join("example"),
        };
        let mut mesh = Self {
            env: env.clone(),
            plan,
            site,
            folder,
            material,
            file,
            voters: Vec::new(),
            edges: Vec::new(),
            upstreams: Vec::new(),
            strays: Vec::new(),
            dist: Vec::new(),
            peers: Vec::new(),
        };
        mesh.write_nodes()?;
        mesh.write_file()?;
        Ok(mesh)
    }

    fn write_nodes(&mut self) -> Result<()> {
        let mut listens = Vec::new();
        for id in (1..=self.plan.voters).map(VoterId) {
            let listen = self.site.voter(id)?;
            self.dist.push(edge_config::VoterAddr { id, dist: listen.dist });
            listens.push((id, listen));
        }
        let peers: Vec<_> =
            listens.iter().map(|(id, listen)| voter_config::Peer { id: *id, raft: listen.raft }).collect();
        self.peers = peers.clone();
        for (id, listen) in listens {
            self.write_voter(id, listen, &peers, false)?;
        }
        for (region, edges) in self.plan.regions.clone() {
            for number in 1..=edges {
                let id = EdgeId::new(&format!("{region}-{number}"))?;
                let (entry, process) = self.write_edge(&id, &region, self.dist.clone(), "edges")?;
                self.file.edges.push(entry);
                self.edges.push(process);
            }
        }
        let directory = self.material.sign_directory()?;
        self.folder.write("directory.json", &directory)?;
        self.write_tool_server()
    }

    fn write_voter(
        &mut self,
        id: VoterId,
        listen: voter_config::Listen,
        peers: &[voter_config::Peer],
        join: bool,
    ) -> Result<()> {
        let folder = self.folder.sub("voters")?.sub(&id.to_string())?;
        let node = self.material.add_voter(&self.env, folder, id)?;
        let dir = node.folder.path().to_owned();
        let (admin, ops) = (listen.admin, listen.ops);
        let config = voter_config::Config {
            mesh_id: self.file.mesh_id,
            id,
            data_dir: dir.join("data"),
            root: self.material.root.clone(),
            directory: self.folder.path().join("directory.json"),
            issuer_key: dir.join("issuer.key"),
            beacon_key: Some(dir.join("beacon.key")),
            next_beacon_key: None,
            join,
            tls: voter_config::TlsFiles {
                certificate: dir.join("certificate.pem"),
                key: dir.join("identity.key"),
                voters_ca: self.material.voters_ca.clone(),
                edges_ca: self.material.edges_ca.clone(),
            },
            listen,
            peers: peers.to_vec(),
            enrolment: self.site.enrolment(id)?.map(|listen| voter_config::Enrolment {
                listen,
                certificate: Some(self.material.edges_ca.clone()),
                key: Some(self.material.edges_ca_key.clone()),
                certificate_secs: voter_config::Enrolment::DAY_SECS,
            }),
            timings: voter_config::Timings::default(),
        };
        config.check().context("the launcher wrote a configuration that no voter takes")?;
        let path = node.folder.write_toml("voter.toml", &config)?;
        let host = self.site.host(&Node::Voter(id), &dir)?;
        self.voters.push(self.process(format!("voter {id}"), "control-plane", &path, (ops, "/readyz"), host));
        self.file.voters.push(VoterEntry { id, admin: origin(admin), ops: origin(ops), pid: None, dir });
        Ok(())
    }

    fn write_edge(
        &mut self,
        id: &EdgeId,
        region: &Region,
        voters: Vec<edge_config::VoterAddr>,
        parent: &str,
    ) -> Result<(EdgeEntry, Process)> {
        let folder = self.folder.sub(parent)?.sub(id.as_str())?;
        let listen = self.site.edge(id)?;
        let (agent, ops) = (listen.agent, listen.ops);
        let node = self.material.add_edge(&self.env, folder, id, region)?;
        let dir = node.folder.path().to_owned();
        let config = edge_config::Config {
            mesh_id: self.file.mesh_id,
            id: id.clone(),
            region: region.clone(),
            data_dir: dir.join("data"),
            root: self.material.root.clone(),
            sealing_key: dir.join("sealing.key"),
            tenants: BTreeSet::from([self.plan.tenant.clone()]),
            allowed_origins: BTreeSet::new(),
            tls: edge_config::TlsFiles {
                certificate: dir.join("certificate.pem"),
                key: dir.join("identity.key"),
                voters_ca: self.material.voters_ca.clone(),
            },
            listen,
            voters,
            enrolment: None,
            bootstrap: None,
            public_url: None,
            enforcement_points: Vec::new(),
            programs: Vec::new(),
            proof: edge_config::Proofs::default(),
            limits: edge_config::Limits::default(),
        };
        config.check().context("the launcher wrote a configuration that no edge takes")?;
        let path = node.folder.write_toml("edge.toml", &config)?;
        // Ready means policy is active, and there is none before the first push: alive is what to wait for.
        let host = self.site.host(&Node::Edge(id.clone()), &dir)?;
        let process = self.process(id.to_string(), "edge-node", &path, (ops, "/livez"), host);
        let entry = EdgeEntry {
            id: id.clone(),
            region: region.clone(),
            agent: origin(agent),
            ops: origin(ops),
            pid: None,
            dir,
        };
        Ok((entry, process))
    }

    fn write_tool_server(&mut self) -> Result<()> {
        let (addr, found_at) = self.site.tools()?;
        let UpstreamPlan { name, key_hash, data } = &self.plan.upstream;
        let folder = self.folder.sub("upstreams")?.sub(name.as_str())?;
        let dir = folder.path().to_owned();
        let hash = folder.write("key.sha256", format!("{key_hash}\n").as_bytes())?;
        let data = folder.write("tools.json", data)?;
        let url = format!("{}/mcp", origin(found_at));
        let arguments =
            ["tool-server".into(), "--listen".into(), addr.to_string().into(), "--data".into(), data.into()];
        let arguments = arguments.into_iter().chain(["--key-sha256".into(), hash.into()]).collect();
        let program = self.program(format!("tool server {name}"), arguments, dir.join("log.txt"));
        let ready = Ready { addr, path: "/livez", within: READY_WITHIN };
        let host = self.site.host(&Node::Tools, &dir)?;
        self.upstreams.push(Process::new(program, ready, host));
        self.file.upstreams.push(UpstreamEntry { name: name.clone(), url, pid: None, dir });
        Ok(())
    }

    fn process(
        &self,
        name: String,
        command: &str,
        config: &Path,
        (ops, ready): (SocketAddr, &'static str),
        host: Arc<dyn Host>,
    ) -> Process {
        let log = config.with_file_name("log.txt");
        let program = self.program(name, vec![command.into(), "--config".into(), config.into()], log);
        Process::new(program, Ready { addr: ops, path: ready, within: READY_WITHIN }, host)
    }

    fn program(&self, name: String, arguments: Vec<OsString>, log: PathBuf) -> Program {
        Program { name, executable: self.plan.executable.clone(), arguments, log, detached: self.plan.detached }
    }

    /// Starts everything, and waits until voters know a leader, edges are alive and the tool server answers. Calls
    /// `tell` with the name of each process that is ready.
    ///
    /// # Errors
    /// When a process does not become ready; everything is stopped when this value is dropped.
    pub async fn start(&mut self, mut tell: impl FnMut(&str)) -> Result<()> {
        for process in self.voters.iter_mut().chain(&mut self.edges).chain(&mut self.upstreams) {
            process.start()?;
        }
        // Now, so that whoever is interrupted from here on can still be cleaned up after.
        self.write_file()?;
        for process in self.voters.iter_mut().chain(&mut self.edges).chain(&mut self.upstreams) {
            process.wait_ready().await?;
            tell(process.name());
        }
        Ok(())
    }

    /// Where everything is.
    #[must_use]
    pub fn file(&self) -> &MeshFile {
        &self.file
    }

    /// Where the mesh file is.
    #[must_use]
    pub fn file_path(&self) -> PathBuf {
        self.folder.path().join("mesh.json")
    }

    /// The folder of everything.
    #[must_use]
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Kills a voter without warning.
    ///
    /// # Errors
    /// When there is no such voter, or it does not run.
    pub async fn kill_voter(&mut self, id: VoterId) -> Result<()> {
        self.voter(id)?.kill().await?;
        self.write_file()
    }

    /// Starts a voter that was killed. Does not wait until it is ready.
    ///
    /// # Errors
    /// When there is no such voter, or it runs.
    pub fn start_voter(&mut self, id: VoterId) -> Result<()> {
        self.voter(id)?.start()?;
        self.write_file()
    }

    /// Waits until a voter is ready: has applied what it knows, and knows a leader.
    ///
    /// # Errors
    /// When it ends before, or is not ready in time.
    pub async fn wait_voter(&mut self, id: VoterId) -> Result<()> {
        self.voter(id)?.wait_ready().await
    }

    /// Writes one more edge, of the mesh's own kind, which is told to dial `voters`. The mesh's voters do not know it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn add_stray(&mut self, id: &EdgeId, voters: Vec<(VoterId, SocketAddr)>) -> Result<StrayEdge> {
        let (region, _) = self.plan.regions.first().cloned().context("the mesh has no region")?;
        let voters = voters.into_iter().map(|(id, addr)| edge_config::VoterAddr { id, dist: addr }).collect();
        let (entry, process) = self.write_edge(id, &region, voters, "strays")?;
        self.strays.push(process);
        Ok(StrayEdge { entry, directory: self.material.sign_directory()? })
    }

    /// Starts the edges that were added, and waits until they are alive.
    ///
    /// # Errors
    /// When one cannot be started.
    pub async fn start_strays(&mut self) -> Result<()> {
        for stray in &mut self.strays {
            stray.start()?;
            stray.wait_ready().await?;
        }
        Ok(())
    }

    /// Writes one more voter, which waits to be taken in; `gone` is not among those that it dials. Starts nothing.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn add_voter(&mut self, gone: VoterId) -> Result<NewVoter> {
        let last = self.file.voters.iter().map(|voter| voter.id.0).max().unwrap_or(0);
        let id = VoterId(last + 1);
        let listen = self.site.voter(id)?;
        let (raft, dist) = (listen.raft, listen.dist);
        self.peers.retain(|peer| peer.id != gone);
        self.peers.push(voter_config::Peer { id, raft });
        self.dist.push(edge_config::VoterAddr { id, dist });
        let peers = self.peers.clone();
        self.write_voter(id, listen, &peers, true)?;
        let directory = self.material.sign_directory()?;
        self.folder.write("directory.json", &directory)?;
        self.write_file()?;
        Ok(NewVoter { id, raft, dist, directory })
    }

    /// Forgets a voter that is gone for good: it is killed if it runs. Its folder stays. Gives a directory that does
    /// not list it any more.
    ///
    /// # Errors
    /// When there is no such voter, or the disk refuses.
    pub fn forget_voter(&mut self, id: VoterId) -> Result<Vec<u8>> {
        let position = self.file.voters.iter().position(|voter| voter.id == id);
        let position = position.with_context(|| format!("there is no voter {id}"))?;
        self.file.voters.remove(position);
        drop(self.voters.remove(position));
        self.material.drop_voter(id);
        let directory = self.material.sign_directory()?;
        self.folder.write("directory.json", &directory)?;
        self.write_file()?;
        Ok(directory)
    }

    /// Where edges reach a voter.
    ///
    /// # Errors
    /// When there is no such voter.
    pub fn dist_of(&self, id: VoterId) -> Result<SocketAddr> {
        let found = self.dist.iter().find(|voter| voter.id == id).map(|voter| voter.dist);
        found.with_context(|| format!("there is no voter {id}"))
    }

    /// A free port that belongs to this mesh.
    ///
    /// # Errors
    /// When none is free.
    pub fn spare_port(&mut self) -> Result<SocketAddr> {
        self.site.tools().map(|(addr, _)| addr)
    }

    /// Stops everything: edges first, so that they hand over their last records; then the rest.
    pub async fn stop(mut self) {
        for group in [&mut self.strays, &mut self.edges, &mut self.upstreams, &mut self.voters] {
            group.iter().for_each(Process::ask_to_stop);
            for process in group {
                process.wait_stopped().await;
            }
        }
    }

    /// Lets detached processes go their own way.
    pub fn release(self) -> MeshFile {
        for process in self.voters.into_iter().chain(self.edges).chain(self.upstreams) {
            process.release();
        }
        self.file
    }

    /// The process of a node.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn process_of(&mut self, node: &Node) -> Result<&mut Process> {
        let process = match node {
            Node::Voter(id) => return self.voter(*id),
            Node::Edge(id) => {
                let position = self.file.edges.iter().position(|edge| edge.id == *id);
                position.and_then(|at| self.edges.get_mut(at))
            }
            Node::Tools => self.upstreams.first_mut(),
            Node::Operator => None,
        };
        process.with_context(|| format!("there is no process `{node}`"))
    }

    /// Writes the mesh file anew, after processes were started or have ended.
    ///
    /// # Errors
    /// What the disk says.
    pub fn refresh_file(&mut self) -> Result<()> {
        self.write_file()
    }

    fn voter(&mut self, id: VoterId) -> Result<&mut Process> {
        let position = self.file.voters.iter().position(|voter| voter.id == id);
        position.and_then(|at| self.voters.get_mut(at)).with_context(|| format!("there is no voter {id}"))
    }

    fn write_file(&mut self) -> Result<()> {
        for (entry, process) in self.file.voters.iter_mut().zip(&self.voters) {
            entry.pid = process.pid();
        }
        for (entry, process) in self.file.edges.iter_mut().zip(&self.edges) {
            entry.pid = process.pid();
        }
        for (entry, process) in self.file.upstreams.iter_mut().zip(&self.upstreams) {
            entry.pid = process.pid();
        }
        self.folder.write("mesh.json", self.file.to_json().as_bytes())?;
        Ok(())
    }
}

fn origin(addr: SocketAddr) -> String {
    format!("http://{addr}")
}
