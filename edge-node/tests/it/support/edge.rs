//! One real edge in this process, with its files in a folder of its own.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;

use remit_common::crypto::key_file;
use remit_common::id::{EdgeId, TenantId, VoterId};
use remit_common::identity::certificate::to_pem;
use remit_common::identity::{NodeKind, NodeRole, SpiffeId, issue_ca, issue_node};
use remit_common::net::env::Env;
use remit_common::net::tasks::Shutdown;
use remit_edge_node::config::{Listen, TlsFiles, VoterAddr};
use remit_edge_node::{Config, Edge};
use serde_json::Value;

use super::agent::Agent;
use super::keys::{self, MESH};
use super::voter::validity;

/// A running edge.
pub(crate) struct Running {
    pub(crate) agent_addr: SocketAddr,
    pub(crate) ops: Agent,
    shutdown: Shutdown,
    joined: tokio::task::JoinHandle<Result<(), remit_edge_node::RunError>>,
}

/// Writes what an installed edge finds, and its configuration.
pub(crate) fn install(
    env: &Env,
    folder: &Path,
    root: &[u8],
    voters: &[(VoterId, SocketAddr)],
    tenants: &[TenantId],
) -> Config {
    install_as(env, folder, root, voters, tenants, (keys::edge_id(), keys::EDGE, keys::SEALING))
}

/// The same for an edge of another name, with the seeds of its keys.
pub(crate) fn install_as(
    env: &Env,
    folder: &Path,
    root: &[u8],
    voters: &[(VoterId, SocketAddr)],
    tenants: &[TenantId],
    (id, key, sealing): (EdgeId, u8, u8),
) -> Config {
    let valid = validity(env.now().wall);
    let key = keys::key(key);
    let edges_ca = issue_ca(&keys::key(keys::EDGES_CA), &MESH, NodeKind::Edge, 1, valid).unwrap();
    let name = SpiffeId { mesh: MESH, role: NodeRole::Edge { region: keys::region(), edge: id.clone() } };
    let certificate = issue_node(&edges_ca, &keys::key(keys::EDGES_CA), &name, key.public(), 31, valid).unwrap();
    let voters_ca = issue_ca(&keys::key(keys::VOTERS_CA), &MESH, NodeKind::Voter, 1, valid).unwrap();
    let write = |name: &str, bytes: &[u8]| env.disk.replace(&folder.join(name), bytes).unwrap();
    write("edge.pem", to_pem(&certificate).as_bytes());
    write("voters.pem", to_pem(&voters_ca).as_bytes());
    write("identity.key", key_file::encode_signing(&key).as_bytes());
    write("sealing.key", key_file::encode_sealing(&keys::sealing_key_of(sealing)).as_bytes());
    write("root.json", root);
    Config {
        mesh_id: MESH,
        id,
        region: keys::region(),
        data_dir: folder.join("data"),
        root: folder.join("root.json"),
        sealing_key: folder.join("sealing.key"),
        tenants: tenants.iter().cloned().collect(),
        allowed_origins: BTreeSet::from(["https://console.example".to_owned()]),
        tls: TlsFiles {
            certificate: folder.join("edge.pem"),
            key: folder.join("identity.key"),
            voters_ca: folder.join("voters.pem"),
        },
        listen: Listen { agent: ([127, 0, 0, 1], 0).into(), ops: ([127, 0, 0, 1], 0).into(), tls: None },
        voters: voters.iter().map(|(id, dist)| VoterAddr { id: *id, dist: *dist }).collect(),
        enrolment: None,
        bootstrap: None,
        public_url: None,
        enforcement_points: Vec::new(),
        programs: Vec::new(),
        proof: remit_edge_node::config::Proofs::default(),
        limits: remit_edge_node::config::Limits::default(),
    }
}

impl Running {
    pub(crate) async fn start(env: &Env, config: &Config) -> Self {
        let shutdown = Shutdown::new();
        let edge = Edge::start(config.clone(), env.clone(), shutdown.clone()).await.unwrap();
        let (agent_addr, ops_addr) = (edge.agent_addr, edge.ops_addr);
        #[expect(clippy::disallowed_methods, reason = "the test's own task")]
        let joined = tokio::spawn(edge.join());
        Self { agent_addr, ops: Agent::new(env, ops_addr, None), shutdown, joined }
    }

    /// As a SIGKILL leaves it: nothing is finished, nobody is told.
    pub(crate) async fn kill(self) {
        self.joined.abort();
        let _ = self.joined.await;
    }

    /// Asks it to end, and waits until it has.
    pub(crate) async fn stop(self) {
        self.shutdown.trigger();
        self.joined.await.unwrap().unwrap();
    }

    pub(crate) async fn status(&self) -> Value {
        self.ops.get("/status").await.json
    }
}
