//! Three whole voters in one process: real QUIC, HTTP and files, on ports of the kernel's choice; and an edge made of
//! nothing but its end of the streams.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use remit_common::crypto::key_file;
use remit_common::id::{BootId, EdgeId, VoterId};
use remit_common::identity::SignedRequest;
use remit_common::identity::certificate::{Validity, issue_ca, issue_node, to_pem};
use remit_common::identity::spiffe::{NodeKind, NodeRole, SpiffeId};
use remit_common::net::env::{Env, deadline};
use remit_common::net::framed::{FramedRecv, FramedSend, StreamFailed};
use remit_common::net::http::HttpClient;
use remit_common::net::quic::{MeshConnection, MeshEndpoint, QuicConfig, QuicLimits};
use remit_common::net::real::real;
use remit_common::net::tasks::Shutdown;
use remit_common::net::tls::{Alpn, Identity, Peers};
use remit_common::time::Timestamp;
use remit_common::trust::directory::SignedDirectory;
use remit_common::wire::message::{EdgeMessage, Have, Hello, VoterMessage};
use remit_control_plane::config::{Enrolment, Listen, Peer, Timings, TlsFiles};
use remit_control_plane::{Config, RunError, Voter};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::killable::Killable;
use crate::ports::addresses;
use crate::world::{MESH, key, signed_directory, signed_root};

/// No wait of these tests is longer; all end as soon as what they wait for is there.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const VOTERS_CA: u8 = 201;
pub(crate) const EDGES_CA: u8 = 202;

/// One voter of the mesh.
pub(crate) struct Running {
    pub(crate) id: VoterId,
    pub(crate) admin: SocketAddr,
    pub(crate) ops: SocketAddr,
    pub(crate) dist: SocketAddr,
    /// Where edges join, if they can.
    pub(crate) enrol: Option<SocketAddr>,
    voter: Voter,
    shutdown: Shutdown,
    killable: Arc<Killable>,
}

impl Running {
    pub(crate) fn kill(self) {
        self.killable.kill();
    }

    /// How it ends by itself.
    pub(crate) async fn end(self) -> Result<(), RunError> {
        deadline(PATIENCE, self.voter.join()).await.expect("the voter ends")
    }

    pub(crate) async fn stop(self) -> Result<(), RunError> {
        self.shutdown.trigger();
        deadline(PATIENCE, self.voter.join()).await.expect("a voter stops")
    }
}

/// Everything that the voters share.
pub(crate) struct Mesh {
    folder: tempfile::TempDir,
    raft: Vec<SocketAddr>,
    /// Where a fourth voter is that joins later.
    joiner: SocketAddr,
    pub(crate) now: Timestamp,
    http: HttpClient,
    nonce: Mutex<u64>,
}

pub(crate) fn validity(now: Timestamp) -> Validity {
    Validity { not_before: now.minus(Duration::from_secs(300)), not_after: now.plus(Duration::from_secs(3_600)) }
}

pub(crate) fn ca(kind: NodeKind, now: Timestamp) -> (u8, String) {
    let seed = if kind == NodeKind::Voter { VOTERS_CA } else { EDGES_CA };
    let certificate = issue_ca(&key(seed), &MESH, kind, u64::from(seed), validity(now)).unwrap();
    (seed, to_pem(&certificate))
}

fn certificate(kind: NodeKind, role: NodeRole, seed: u8, now: Timestamp) -> String {
    let signer = if kind == NodeKind::Voter { VOTERS_CA } else { EDGES_CA };
    let authority = issue_ca(&key(signer), &MESH, kind, u64::from(signer), validity(now)).unwrap();
    let id = SpiffeId { mesh: MESH, role };
    let certificate =
        issue_node(&authority, &key(signer), &id, key(seed).public(), u64::from(seed), validity(now)).unwrap();
    to_pem(&certificate)
}

impl Mesh {
    pub(crate) fn new() -> Self {
        let env = real();
        let mut raft = addresses(&env, 4);
        let joiner = raft.pop().unwrap();
        let http = HttpClient::new(&env, 8 * 1024 * 1024);
        let folder = tempfile::tempdir().unwrap();
        let mesh = Self { folder, raft, joiner, now: env.now().wall, http, nonce: Mutex::new(0) };
        mesh.write("root.json", &signed_root(true, mesh.now).to_bytes());
        mesh.write("directory.json", &signed_directory(1, mesh.now).to_bytes());
        mesh.write("voters-ca.pem", ca(NodeKind::Voter, mesh.now).1.as_bytes());
        mesh.write("edges-ca.pem", ca(NodeKind::Edge, mesh.now).1.as_bytes());
        mesh.write("edges-ca.key", key_file::encode_signing(&key(EDGES_CA)).as_bytes());
        for n in 1..=4u8 {
            let role = NodeRole::Voter(VoterId(n.into()));
            mesh.write(&format!("{n}.pem"), certificate(NodeKind::Voter, role, 10 + n, mesh.now).as_bytes());
            mesh.write(&format!("{n}.key"), key_file::encode_signing(&key(10 + n)).as_bytes());
            mesh.write(&format!("{n}.issuer"), key_file::encode_signing(&key(20 + n)).as_bytes());
            for seed in [60 + n, 70 + n] {
                mesh.write(&format!("{seed}.beacon"), key_file::encode_signing(&key(seed)).as_bytes());
            }
        }
        mesh
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        real().disk.replace(&self.folder.path().join(name), bytes).unwrap();
    }

    pub(crate) fn config(&self, n: u8) -> Config {
        let path = |name: String| self.folder.path().join(name);
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let peers = (1..).map(VoterId).zip(&self.raft).map(|(id, raft)| Peer { id, raft: *raft }).collect();
        let own = self.raft.get(usize::from(n) - 1).copied().unwrap_or(self.joiner);
        Config {
            mesh_id: MESH,
            id: VoterId(n.into()),
            data_dir: path(format!("data-{n}")),
            root: path("root.json".to_owned()),
            directory: path("directory.json".to_owned()),
            issuer_key: path(format!("{n}.issuer")),
            beacon_key: Some(path(format!("{}.beacon", 60 + n))),
            next_beacon_key: Some(path(format!("{}.beacon", 70 + n))),
            join: false,
            tls: TlsFiles {
                certificate: path(format!("{n}.pem")),
                key: path(format!("{n}.key")),
                voters_ca: path("voters-ca.pem".to_owned()),
                edges_ca: path("edges-ca.pem".to_owned()),
            },
            listen: Listen { raft: own, dist: any, admin: any, ops: any },
            peers,
            enrolment: None,
            timings: Timings { election_ms_min: 1_000, election_ms_max: 2_000, tick_ms: 200, ..Timings::default() },
        }
    }

    /// A voter that takes edges in, and gives certificates of so many seconds.
    pub(crate) fn enrolling(&self, n: u8, certificate_secs: u32) -> Config {
        let path = |name: &str| Some(self.folder.path().join(name));
        let enrolment = Enrolment {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            certificate: path("edges-ca.pem"),
            key: path("edges-ca.key"),
            certificate_secs,
        };
        Config { enrolment: Some(enrolment), ..self.config(n) }
    }

    /// The fourth voter's configuration: it comes to a mesh of three.
    pub(crate) fn joining(&self) -> Config {
        let mut config = Config { join: true, ..self.config(4) };
        config.peers.push(Peer { id: VoterId(4), raft: self.joiner });
        config
    }

    /// The body that has the fourth voter taken in.
    pub(crate) fn add_joiner(&self, dist: SocketAddr) -> Vec<u8> {
        serde_json::json!({ "change": "add", "id": 4, "raft": self.joiner, "dist": dist }).to_string().into_bytes()
    }

    /// Installs a directory that lists these voters.
    pub(crate) async fn install_voters(&self, at: &Running, version: u64, voters: &[u8]) {
        self.install(at, &crate::world::directory_of_voters(version, self.now, voters)).await;
    }

    /// Installs a directory.
    pub(crate) async fn install(&self, at: &Running, directory: &SignedDirectory) {
        let directory = directory.to_bytes();
        let body = format!("{{\"directory\":{}}}", String::from_utf8(directory).unwrap());
        let (status, installed) = self.post(at, crate::world::OPS, "/v1/trust", body.into_bytes()).await;
        assert_eq!(status, 200, "{installed}");
    }

    /// The configuration as a file, as the launcher writes it.
    pub(crate) fn write_config(&self, n: u8) -> PathBuf {
        let name = format!("{n}.toml");
        self.write(&name, toml::to_string(&self.config(n)).unwrap().as_bytes());
        self.folder.path().join(name)
    }

    pub(crate) async fn try_start(&self, n: u8, env: Env) -> Result<Running, RunError> {
        self.start_with(self.config(n), env).await
    }

    pub(crate) async fn start_with(&self, config: Config, env: Env) -> Result<Running, RunError> {
        let (killable, env) = Killable::of(env);
        let shutdown = Shutdown::new();
        let voter = Voter::start(config, env, shutdown.clone()).await?;
        let (admin, ops, dist, enrol) = (voter.admin_addr, voter.ops_addr, voter.dist_addr, voter.enrol_addr);
        Ok(Running { id: voter.id, admin, ops, dist, enrol, voter, shutdown, killable })
    }

    pub(crate) async fn start_all(&self) -> Vec<Running> {
        let mut voters = Vec::new();
        for n in 1..=3 {
            voters.push(self.try_start(n, real()).await.unwrap());
        }
        for voter in &voters {
            self.ready(voter).await;
        }
        voters
    }

    /// Starts again what was killed: the kernel and the locks may need a moment to notice its end.
    pub(crate) async fn restart(&self, n: u8) -> Running {
        self.restart_with(self.config(n)).await
    }

    pub(crate) async fn restart_with(&self, config: Config) -> Running {
        let voter = self.start_again(config, real()).await;
        self.ready(&voter).await;
        voter
    }

    /// Starts again what has ended; the voter need not be ready.
    pub(crate) async fn start_again(&self, config: Config, env: Env) -> Running {
        let starting = async {
            loop {
                match self.start_with(config.clone(), env.clone()).await {
                    Ok(voter) => return voter,
                    Err(RunError::Consensus(_) | RunError::Records(_)) => tokio::task::yield_now().await,
                    Err(other) => panic!("{other:?}"),
                }
            }
        };
        deadline(PATIENCE, Box::pin(starting)).await.expect("a voter starts again")
    }

    /// Waits until the voter is ready: it knows a leader, and has root and directory.
    pub(crate) async fn ready(&self, voter: &Running) {
        self.until("ready", async || self.get_at(voter.ops, "/readyz").await.is_some_and(|(status, _)| status == 200))
            .await;
    }

    /// Looks again and again until `reached`, yielding to everybody else in between.
    pub(crate) async fn until(&self, what: &str, mut reached: impl AsyncFnMut() -> bool) {
        let waiting = async {
            while !reached().await {
                tokio::task::yield_now().await;
            }
        };
        if deadline(PATIENCE, waiting).await.is_err() {
            panic!("never {what}");
        }
    }

    async fn get_at(&self, addr: SocketAddr, path: &str) -> Option<(u16, Bytes)> {
        let request = http::Request::get(path).header("host", "voter").body(Bytes::new()).unwrap();
        let response = self.http.send(addr, request, PATIENCE).await.ok()?;
        Some((response.status().as_u16(), response.into_body()))
    }

    pub(crate) async fn get(&self, voter: &Running, path: &str) -> (u16, Value) {
        let (status, body) = self.get_at(voter.admin, path).await.expect("the voter answers");
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    pub(crate) async fn text(&self, addr: SocketAddr, path: &str) -> String {
        let (_, body) = self.get_at(addr, path).await.expect("the voter answers");
        String::from_utf8(body.to_vec()).unwrap()
    }

    /// Follows the stream of decisions until it says `expected`.
    pub(crate) async fn follow(&self, voter: &Running, expected: &str, meanwhile: impl Future<Output = ()>) {
        let mut stream = real().socket.connect(voter.admin).await.unwrap();
        let request = "GET /v1/decisions/stream?tenant=acme HTTP/1.1\r\nhost: voter\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut heard = Vec::new();
        let mut read = async |until: &str| {
            while !String::from_utf8_lossy(&heard).contains(until) {
                let mut piece = [0; 4_096];
                let len = deadline(PATIENCE, stream.read(&mut piece)).await.expect("the stream goes on").unwrap();
                assert_ne!(len, 0, "the stream ended");
                heard.extend_from_slice(&piece[..len]);
            }
        };
        // With its headers the stream says that it has its place: what arrives from now on is in it.
        read("text/event-stream").await;
        meanwhile.await;
        read("event: decision").await;
        read(expected).await;
    }

    /// A request of an administrator, signed now.
    pub(crate) fn sign(&self, seed: u8, path: &str, body: Vec<u8>) -> SignedRequest {
        let mut nonce = self.nonce.lock().unwrap();
        *nonce += 1;
        crate::world::request(seed, path, body, real().now().wall, *nonce)
    }

    pub(crate) async fn send(&self, voter: &Running, request: &SignedRequest) -> (u16, Value) {
        let mut http = http::Request::post(&request.path).header("host", "voter");
        for (name, value) in request.headers(&MESH) {
            http = http.header(name, value);
        }
        let http = http.body(Bytes::from(request.body.clone())).unwrap();
        let response = self.http.send(voter.admin, http, PATIENCE).await.expect("the voter answers");
        (response.status().as_u16(), serde_json::from_slice(response.body()).unwrap_or(Value::Null))
    }

    pub(crate) async fn post(&self, voter: &Running, seed: u8, path: &str, body: Vec<u8>) -> (u16, Value) {
        self.send(voter, &self.sign(seed, path, body)).await
    }

    /// Which of the voters leads, by the word of the first.
    pub(crate) async fn leader<'a>(&self, voters: &'a [Running]) -> &'a Running {
        let mut leader = None;
        self.until("led", async || {
            let (_, status) = self.get(&voters[0], "/v1/status").await;
            leader = voters.iter().find(|voter| status["leader"] == voter.id.0);
            leader.is_some()
        })
        .await;
        leader.unwrap()
    }

    /// Dials as an edge; `seed` is the key of its certificate.
    pub(crate) async fn dial(&self, voter: &Running, edge: &str, seed: u8) -> (MeshEndpoint, MeshConnection) {
        let edge = EdgeId::new(edge).unwrap();
        let role = NodeRole::Edge { region: "eu-west".parse().unwrap(), edge: edge.clone() };
        let pem = certificate(NodeKind::Edge, role, seed, self.now);
        let voters = ca(NodeKind::Voter, self.now).1;
        let config = QuicConfig {
            identity: Identity::from_pem_chain(pem.as_bytes(), &key(seed)).unwrap(),
            alpn: Alpn::Dist,
            accepts: None,
            dials: Some(Peers::from_pem(MESH, NodeKind::Voter, voters.as_bytes()).unwrap()),
            limits: QuicLimits::dist_edge(),
        };
        let endpoint = MeshEndpoint::open(&real(), "127.0.0.1:0".parse().unwrap(), config).unwrap();
        let expected = SpiffeId { mesh: MESH, role: NodeRole::Voter(voter.id) };
        let connection = endpoint.connect(voter.dist, &expected, PATIENCE).await.unwrap();
        (endpoint, connection)
    }

    /// Connects as an edge that the directory lists.
    pub(crate) async fn connect(&self, voter: &Running, edge: &str, seed: u8) -> Edge {
        let (endpoint, connection) = self.dial(voter, edge, seed).await;
        let (send, recv) = connection.quic.open_bi().await.unwrap();
        let (send, control) = (FramedSend::new(send), FramedRecv::new(recv));
        Edge { id: EdgeId::new(edge).unwrap(), send, control, connection, endpoint }
    }
}

/// An edge's end of a connection.
pub(crate) struct Edge {
    pub(crate) id: EdgeId,
    send: FramedSend,
    control: FramedRecv,
    pub(crate) connection: MeshConnection,
    endpoint: MeshEndpoint,
}

impl Edge {
    pub(crate) async fn say(&mut self, message: EdgeMessage) {
        self.send.send(&message, PATIENCE).await.unwrap();
    }

    /// Says hello and subscribes with nothing but the pinned root.
    pub(crate) async fn subscribe(&mut self, boot: BootId) {
        self.greet(boot).await;
        self.say(EdgeMessage::Subscribe(Have { root: 1, ..Have::default() })).await;
    }

    pub(crate) async fn greet(&mut self, boot: BootId) {
        let hello = Hello { versions: vec![1], mesh: MESH, edge: self.id.clone(), boot };
        self.say(EdgeMessage::Hello(hello)).await;
        let VoterMessage::HelloAck(ack) = self.hear().await else { panic!("not greeted") };
        assert_eq!(ack.version, 1);
    }

    /// The next message of the control stream.
    pub(crate) async fn hear(&mut self) -> VoterMessage {
        let message = deadline(PATIENCE, self.control.recv(PATIENCE)).await.expect("the voter speaks");
        message.unwrap().expect("the stream goes on")
    }

    /// The next message of the control stream that `pick` takes.
    pub(crate) async fn hear_until<T>(&mut self, mut pick: impl FnMut(VoterMessage) -> Option<T>) -> T {
        loop {
            if let Some(picked) = pick(self.hear().await) {
                return picked;
            }
        }
    }

    /// How the control stream ends.
    pub(crate) async fn end(&mut self) -> Result<Option<VoterMessage>, StreamFailed> {
        deadline(PATIENCE, self.control.recv(PATIENCE)).await.expect("the voter ends it")
    }

    /// The stream that the voter opens next.
    pub(crate) async fn next_stream(&self) -> FramedRecv {
        let stream = deadline(PATIENCE, self.connection.quic.accept_uni()).await.expect("the voter opens a stream");
        FramedRecv::new(stream.unwrap())
    }

    pub(crate) async fn open_records(&self) -> (FramedSend, FramedRecv) {
        let (send, recv) = self.connection.quic.open_bi().await.unwrap();
        (FramedSend::new(send), FramedRecv::new(recv))
    }

    pub(crate) async fn leave(self) {
        self.endpoint.close(PATIENCE).await;
    }
}
