//! Voters of a mesh over real QUIC, which a test starts, kills and starts again.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use remit_common::crypto::digest::Digest;
use remit_common::crypto::sign::SigningKey;
use remit_common::id::{LogIndex, MeshId, VoterId};
use remit_common::identity::certificate::{Validity, issue_ca, issue_node};
use remit_common::identity::spiffe::{NodeKind, NodeRole, SpiffeId};
use remit_common::net::env::{Env, deadline};
use remit_common::net::real::real;
use remit_common::net::tls::{Identity, Peers};
use remit_control_plane::raft::{
    PeerCalls, ProposeError, RaftConfig, RaftNode, RaftRole, RaftStatus, RaftTimings, RaftTls, RestoreError,
    SnapshotCheck, StartError, StateMachine,
};
use zeroize::Zeroizing;

use crate::killable::Killable;
use crate::ports::addresses;

/// No wait of these tests is longer; all end as soon as what they wait for is there.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// Patient voters: several meshes of these tests share two cores, and only those that lose their leader should elect.
pub(super) fn timings() -> RaftTimings {
    let election = (Duration::from_secs(1), Duration::from_secs(2));
    RaftTimings { election_min: election.0, election_max: election.1, ..RaftTimings::default() }
}

/// What a voter has applied, seen from outside.
pub(super) type Applied = Arc<Mutex<Vec<(u64, Vec<u8>)>>>;

/// Keeps all it applies; answers with how many entries that are. One of a newer version writes what this version does
/// not read.
pub(super) struct Journal(pub(super) Applied, pub(super) Version);

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    This,
    Newer,
}

impl Journal {
    pub(super) fn read(version: Version, snapshot: &[u8]) -> Result<Vec<(u64, Vec<u8>)>, RestoreError> {
        let bytes = match version {
            Version::This => snapshot,
            Version::Newer => snapshot.strip_prefix(b"newer").unwrap_or(snapshot),
        };
        serde_json::from_slice(bytes).map_err(|e| RestoreError(e.to_string()))
    }
}

impl StateMachine for Journal {
    fn apply(&mut self, index: LogIndex, entry: &[u8]) -> Vec<u8> {
        let mut applied = self.0.lock().unwrap();
        applied.push((index.0, entry.to_vec()));
        applied.len().to_string().into_bytes()
    }

    fn snapshot(&self) -> Vec<u8> {
        let entries = serde_json::to_vec(&*self.0.lock().unwrap()).unwrap();
        match self.1 {
            Version::This => entries,
            Version::Newer => [b"newer".as_slice(), &entries].concat(),
        }
    }

    fn snapshot_check(&self) -> SnapshotCheck {
        let version = self.1;
        Arc::new(move |snapshot| Self::read(version, snapshot).map(drop))
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError> {
        *self.0.lock().unwrap() = Self::read(self.1, snapshot)?;
        Ok(())
    }
}

/// Answers with the caller's id and the request; refuses what begins with `no`; says nothing to `wait`.
pub(super) struct Echo;

impl PeerCalls for Echo {
    fn handle(&self, from: VoterId, request: Vec<u8>) -> BoxFuture<'_, Result<Vec<u8>, String>> {
        Box::pin(async move {
            match request.as_slice() {
                b"wait" => std::future::pending().await,
                refused if refused.starts_with(b"no") => Err("not today".to_owned()),
                _ => Ok([format!("{from}:").as_bytes(), &request].concat()),
            }
        })
    }
}

pub(super) struct Authority {
    pub(super) key: SigningKey,
    pub(super) certificate: Vec<u8>,
}

impl Authority {
    pub(super) fn new(mesh: MeshId, kind: NodeKind, seed: u8) -> Self {
        let key = key(seed);
        let certificate = issue_ca(&key, &mesh, kind, u64::from(seed), validity()).unwrap().to_vec();
        Self { key, certificate }
    }

    pub(super) fn issue(&self, mesh: MeshId, role: NodeRole, seed: u8) -> Identity {
        let key = key(seed);
        let id = SpiffeId { mesh, role };
        let ca = self.certificate.clone().into();
        let certificate = issue_node(&ca, &self.key, &id, key.public(), u64::from(seed), validity()).unwrap();
        Identity::new(vec![certificate], &key)
    }

    pub(super) fn peers(&self, mesh: MeshId, kind: NodeKind) -> Peers {
        Peers::new(mesh, kind, vec![self.certificate.clone().into()]).unwrap()
    }
}

pub(super) fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(Zeroizing::new([seed; 32])).unwrap()
}

pub(super) fn validity() -> Validity {
    let now = real().now().wall;
    Validity { not_before: now.minus(Duration::from_secs(300)), not_after: now.plus(Duration::from_secs(3_600)) }
}

/// What is the same for all voters of one mesh.
pub(super) struct Mesh {
    pub(super) id: MeshId,
    pub(super) voters: Authority,
    pub(super) addrs: BTreeMap<VoterId, SocketAddr>,
    pub(super) folder: tempfile::TempDir,
    pub(super) timings: RaftTimings,
}

/// One running voter.
pub(super) struct Voter {
    pub(super) id: VoterId,
    pub(super) node: RaftNode,
    pub(super) applied: Applied,
    pub(super) killable: Arc<Killable>,
}

impl Mesh {
    pub(super) fn new(voters: u64, timings: RaftTimings) -> Self {
        let id = MeshId([9; 16]);
        let env = real();
        let addrs = (1..).map(VoterId).zip(addresses(&env, voters.try_into().unwrap())).collect();
        let voters = Authority::new(id, NodeKind::Voter, 200);
        Self { id, voters, addrs, folder: tempfile::tempdir().unwrap(), timings }
    }

    pub(super) fn folder(&self, id: VoterId) -> PathBuf {
        self.folder.path().join(format!("voter-{id}"))
    }

    pub(super) fn config(&self, id: VoterId) -> RaftConfig {
        let seed = u8::try_from(id.0).unwrap();
        RaftConfig {
            mesh: self.id,
            id,
            voters: self.addrs.clone(),
            joins: false,
            listen: self.addrs[&id],
            data_dir: self.folder(id),
            timings: self.timings.clone(),
            tls: RaftTls {
                identity: self.voters.issue(self.id, NodeRole::Voter(id), seed),
                voters: self.voters.peers(self.id, NodeKind::Voter),
            },
        }
    }

    pub(super) async fn try_start(&self, id: VoterId, env: Env) -> Result<Voter, StartError> {
        self.start_with(self.config(id), env).await
    }

    pub(super) async fn start_with(&self, config: RaftConfig, env: Env) -> Result<Voter, StartError> {
        self.start_version(config, env, Version::This).await
    }

    pub(super) async fn start_version(
        &self,
        config: RaftConfig,
        env: Env,
        version: Version,
    ) -> Result<Voter, StartError> {
        let (id, joins) = (config.id, config.joins);
        let (killable, env) = Killable::of(env);
        let applied = Applied::default();
        let machine = Box::new(Journal(Arc::clone(&applied), version));
        let node = Box::pin(RaftNode::start(config, &env, machine, Arc::new(Echo))).await?;
        if !joins {
            node.initialize().await.unwrap();
        }
        Ok(Voter { id, node, applied, killable })
    }

    pub(super) async fn start(&self, id: u64) -> Voter {
        self.try_start(VoterId(id), real()).await.unwrap()
    }

    /// Starts again what was killed: the kernel and the lock may need a moment to notice its end.
    pub(super) async fn restart(&self, id: VoterId) -> Voter {
        let starting = async {
            loop {
                match self.try_start(id, real()).await {
                    Ok(voter) => return voter,
                    Err(StartError::Storage(_) | StartError::Endpoint(_)) => tokio::task::yield_now().await,
                    Err(other) => panic!("{other}"),
                }
            }
        };
        deadline(PATIENCE, starting).await.expect("a killed voter starts again")
    }

    pub(super) async fn start_all(&self) -> Vec<Voter> {
        let mut voters = Vec::new();
        for id in self.addrs.keys() {
            voters.push(self.start(id.0).await);
        }
        voters
    }
}

impl Voter {
    pub(super) async fn until(&self, what: &str, mut reached: impl FnMut(&RaftStatus) -> bool) -> RaftStatus {
        let mut status = self.node.status_watch();
        let waiting = status.wait_for(|status| reached(status));
        match deadline(PATIENCE, waiting).await {
            Ok(status) => status.expect("the node runs").clone(),
            Err(_) => panic!("voter {}: never {what}: {:?}", self.id, self.node.status()),
        }
    }

    pub(super) async fn until_applied(&self, index: LogIndex) {
        let mut applied = self.node.applied();
        let waiting = applied.wait_for(|applied| applied.index >= index);
        deadline(PATIENCE, waiting)
            .await
            .unwrap_or_else(|_| panic!("voter {} never applied {index}", self.id))
            .unwrap();
    }

    /// C-10: the digest of all that was applied up to `index`; waits until exactly that is applied.
    pub(super) async fn digest_at(&self, index: LogIndex) -> Digest {
        let mut applied = self.node.applied();
        let waiting = applied.wait_for(|applied| applied.index == index);
        let applied = deadline(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("voter {} passed {index}", self.id));
        applied.unwrap().digest.expect("every entry of a new mesh is in the digest")
    }

    pub(super) fn journal(&self) -> Vec<(u64, Vec<u8>)> {
        self.applied.lock().unwrap().clone()
    }

    /// SIGKILL, as far as one process can do it to a part of itself.
    pub(super) fn kill(self) {
        self.killable.kill();
    }
}

/// The voter that leads, once a majority agrees on one of these.
pub(super) async fn leader(voters: &[Voter]) -> &Voter {
    let mut watches: Vec<_> = voters.iter().map(|voter| voter.node.status_watch()).collect();
    let finding = async {
        loop {
            let leading = voters.iter().find(|voter| voter.node.status().role == RaftRole::Leader);
            if let Some(leading) = leading
                && leading.node.read_barrier(Duration::from_secs(5)).await.is_ok()
            {
                return leading;
            }
            let changes = watches.iter_mut().map(|watch| Box::pin(watch.changed()));
            futures::future::select_all(changes).await.0.unwrap();
        }
    };
    deadline(PATIENCE, finding).await.expect("a leader is elected")
}

/// Proposes at whoever leads, until it is acknowledged.
pub(super) async fn write(voters: &[Voter], entry: &[u8]) -> LogIndex {
    let writing = async {
        loop {
            match leader(voters).await.node.propose(entry.to_vec(), Duration::from_secs(10)).await {
                Ok((index, _)) => return index,
                Err(ProposeError::TooLarge { .. } | ProposeError::Stopped) => panic!("cannot be written"),
                Err(_) => tokio::task::yield_now().await,
            }
        }
    };
    deadline(PATIENCE, writing).await.expect("a majority takes the entry")
}
