//! What an administrator writes before a mesh starts: keys, certificates, documents, and a configuration for each node.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use remit_common::id::{EdgeId, MeshId, Region, VoterId};
use remit_common::limits::DIRECTORY_BYTES_MAX;
use remit_common::net::env::Env;
use remit_control_plane::config as voter_config;
use remit_edge_node::config as edge_config;

use super::{
    ADMIN_PORT, AGENT_PORT, DIST_PORT, HOME, Host, OPS_PORT, Process, RAFT_PORT, READY_WITHIN, SimMesh, ip, loopback,
    voter_ip,
};
use crate::drill::backend::{Access as _, Shape};
use crate::history::History;
use crate::launcher::{EdgeEntry, Folder, Material, MeshFile, VoterEntry};
use crate::node::{Member, Node, Roster};
use crate::sim::disk::SimDisk;
use crate::sim::spawn::Group;

impl SimMesh {
    /// Writes keys, certificates, documents and configurations, each on the disk of its owner.
    pub(super) fn write(&self, shape: &Shape) -> Result<()> {
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

    pub(super) fn write_voter(
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
            beacon_key: Some(home.join("beacon.key")),
            next_beacon_key: None,
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
            enrolment: None,
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

    pub(super) fn write_edge(
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
            listen: edge_config::Listen { agent: loopback(AGENT_PORT), ops: loopback(OPS_PORT), tls: None },
            voters: voters
                .map(|voter| edge_config::VoterAddr { id: voter.id, dist: (voter_ip(voter.id), DIST_PORT).into() })
                .collect(),
            enrolment: None,
            bootstrap: None,
            public_url: None,
            enforcement_points: Vec::new(),
            programs: Vec::new(),
            proof: edge_config::Proofs::default(),
            limits: edge_config::Limits { spool_bytes_max: 64 * 1024 * 1024, ..edge_config::Limits::default() },
        };
        config.check().context("the simulation wrote a configuration that no edge takes")?;
        if let Some(host) = self.state().hosts.get_mut(&node) {
            host.process = Process::Edge(Box::new(config));
        }
        Ok(())
    }

    /// The home folder on a node's own disk.
    pub(super) fn folder_of(&self, operator: &Env, node: &Node) -> Result<Folder> {
        let state = self.state();
        let host = state.hosts.get(node).with_context(|| format!("there is no {node}"))?;
        let env = Env { disk: host.disk.process(), ..operator.clone() };
        Folder::create(&env, Path::new(HOME))
    }

    pub(super) async fn build(&self, shape: Shape, history: History) -> Result<()> {
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

    pub(super) async fn wait_ready(&self, node: &Node) -> Result<()> {
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
}

pub(super) fn voter_entry(id: VoterId) -> VoterEntry {
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

pub(super) fn copy(from: &Env, to: &SimDisk, names: &[&str]) -> Result<()> {
    for name in names {
        let path = Path::new(HOME).join(name);
        let bytes = from.disk.read(&path, DIRECTORY_BYTES_MAX)?.with_context(|| format!("there is no `{name}`"))?;
        to.process().replace(&path, &bytes)?;
    }
    Ok(())
}
