//! Voters over real QUIC on this machine: agreement, failures, restarts, and who is let in.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use remit_common::crypto::digest::Digest;
use remit_common::crypto::sign::SigningKey;
use remit_common::id::{EdgeId, LogIndex, MeshId, Region, VoterId};
use remit_common::identity::certificate::{Validity, issue_ca, issue_node};
use remit_common::identity::spiffe::{NodeKind, NodeRole, SpiffeId};
use remit_common::net::env::{Env, Spawn, deadline};
use remit_common::net::quic::{MeshConnection, MeshEndpoint, QuicConfig, QuicLimits};
use remit_common::net::real::real;
use remit_common::net::tasks::TaskHandle;
use remit_common::net::tls::{Alpn, Identity, Peers};
use remit_control_plane::raft::{
    Addresses, CALL_BYTES_MAX, CallError, ENTRY_BYTES_MAX, MemberChange, PeerCalls, ProposeError, RaftConfig, RaftNode,
    RaftRole, RaftStatus, RaftTimings, RaftTls, ReadError, RestoreError, SnapshotCheck, StartError, StateMachine,
};
use zeroize::Zeroizing;

use crate::fault_disk::FaultDisk;

/// No wait of these tests is longer; all end as soon as what they wait for is there.
const PATIENCE: Duration = Duration::from_secs(60);

/// Patient voters: several meshes of these tests share two cores, and only those that lose their leader should elect.
fn timings() -> RaftTimings {
    let election = (Duration::from_secs(1), Duration::from_secs(2));
    RaftTimings { election_min: election.0, election_max: election.1, ..RaftTimings::default() }
}

/// What a voter has applied, seen from outside.
type Applied = Arc<Mutex<Vec<(u64, Vec<u8>)>>>;

/// Keeps all it applies; answers with how many entries that are. One of a newer version writes what this version does
/// not read.
struct Journal(Applied, Version);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    This,
    Newer,
}

impl Journal {
    fn read(version: Version, snapshot: &[u8]) -> Result<Vec<(u64, Vec<u8>)>, RestoreError> {
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
struct Echo;

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

/// Tasks that can be killed together, the way SIGKILL does it.
struct Killable {
    spawn: Arc<dyn Spawn>,
    tasks: Mutex<Vec<tokio::task::AbortHandle>>,
}

impl Spawn for Killable {
    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>) -> TaskHandle {
        let handle = self.spawn.spawn(name, task);
        self.tasks.lock().unwrap().push(handle.abort_handle());
        handle
    }

    fn run_blocking(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        self.spawn.run_blocking(work)
    }
}

struct Authority {
    key: SigningKey,
    certificate: Vec<u8>,
}

impl Authority {
    fn new(mesh: MeshId, kind: NodeKind, seed: u8) -> Self {
        let key = key(seed);
        let certificate = issue_ca(&key, &mesh, kind, u64::from(seed), validity()).unwrap().to_vec();
        Self { key, certificate }
    }

    fn issue(&self, mesh: MeshId, role: NodeRole, seed: u8) -> Identity {
        let key = key(seed);
        let id = SpiffeId { mesh, role };
        let ca = self.certificate.clone().into();
        let certificate = issue_node(&ca, &self.key, &id, key.public(), u64::from(seed), validity()).unwrap();
        Identity::new(vec![certificate], &key)
    }

    fn peers(&self, mesh: MeshId, kind: NodeKind) -> Peers {
        Peers::new(mesh, kind, vec![self.certificate.clone().into()]).unwrap()
    }
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(Zeroizing::new([seed; 32])).unwrap()
}

fn validity() -> Validity {
    let now = real().now().wall;
    Validity { not_before: now.minus(Duration::from_secs(300)), not_after: now.plus(Duration::from_secs(3_600)) }
}

/// What is the same for all voters of one mesh.
struct Mesh {
    id: MeshId,
    voters: Authority,
    addrs: BTreeMap<VoterId, SocketAddr>,
    folder: tempfile::TempDir,
    timings: RaftTimings,
}

/// One running voter.
struct Voter {
    id: VoterId,
    node: RaftNode,
    applied: Applied,
    killable: Arc<Killable>,
}

impl Mesh {
    fn new(voters: u64, timings: RaftTimings) -> Self {
        let id = MeshId([9; 16]);
        let env = real();
        // All bound before any is let go, so that they differ.
        let sockets: Vec<_> = (0..voters).map(|_| env.socket.udp("127.0.0.1:0".parse().unwrap()).unwrap()).collect();
        let addrs = (1..).map(VoterId).zip(sockets.iter().map(|socket| socket.local_addr().unwrap())).collect();
        let voters = Authority::new(id, NodeKind::Voter, 200);
        Self { id, voters, addrs, folder: tempfile::tempdir().unwrap(), timings }
    }

    fn folder(&self, id: VoterId) -> PathBuf {
        self.folder.path().join(format!("voter-{id}"))
    }

    fn config(&self, id: VoterId) -> RaftConfig {
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

    async fn try_start(&self, id: VoterId, env: Env) -> Result<Voter, StartError> {
        self.start_with(self.config(id), env).await
    }

    async fn start_with(&self, config: RaftConfig, env: Env) -> Result<Voter, StartError> {
        self.start_version(config, env, Version::This).await
    }

    async fn start_version(&self, config: RaftConfig, env: Env, version: Version) -> Result<Voter, StartError> {
        let (id, joins) = (config.id, config.joins);
        let killable = Arc::new(Killable { spawn: Arc::clone(&env.spawn), tasks: Mutex::default() });
        let env = Env { spawn: Arc::<Killable>::clone(&killable), ..env };
        let applied = Applied::default();
        let machine = Box::new(Journal(Arc::clone(&applied), version));
        let node = Box::pin(RaftNode::start(config, &env, machine, Arc::new(Echo))).await?;
        if !joins {
            node.initialize().await.unwrap();
        }
        Ok(Voter { id, node, applied, killable })
    }

    async fn start(&self, id: u64) -> Voter {
        self.try_start(VoterId(id), real()).await.unwrap()
    }

    /// Starts again what was killed: the kernel and the lock may need a moment to notice its end.
    async fn restart(&self, id: VoterId) -> Voter {
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

    async fn start_all(&self) -> Vec<Voter> {
        let mut voters = Vec::new();
        for id in self.addrs.keys() {
            voters.push(self.start(id.0).await);
        }
        voters
    }
}

impl Voter {
    async fn until(&self, what: &str, mut reached: impl FnMut(&RaftStatus) -> bool) -> RaftStatus {
        let mut status = self.node.status_watch();
        let waiting = status.wait_for(|status| reached(status));
        match deadline(PATIENCE, waiting).await {
            Ok(status) => status.expect("the node runs").clone(),
            Err(_) => panic!("voter {}: never {what}: {:?}", self.id, self.node.status()),
        }
    }

    async fn until_applied(&self, index: LogIndex) {
        let mut applied = self.node.applied();
        let waiting = applied.wait_for(|applied| applied.index >= index);
        deadline(PATIENCE, waiting)
            .await
            .unwrap_or_else(|_| panic!("voter {} never applied {index}", self.id))
            .unwrap();
    }

    /// C-10: the digest of all that was applied up to `index`; waits until exactly that is applied.
    async fn digest_at(&self, index: LogIndex) -> Digest {
        let mut applied = self.node.applied();
        let waiting = applied.wait_for(|applied| applied.index == index);
        let applied = deadline(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("voter {} passed {index}", self.id));
        applied.unwrap().digest.expect("every entry of a new mesh is in the digest")
    }

    fn journal(&self) -> Vec<(u64, Vec<u8>)> {
        self.applied.lock().unwrap().clone()
    }

    /// SIGKILL, as far as one process can do it to a part of itself.
    fn kill(self) {
        for task in self.killable.tasks.lock().unwrap().drain(..) {
            task.abort();
        }
    }
}

/// The voter that leads, once a majority agrees on one of these.
async fn leader(voters: &[Voter]) -> &Voter {
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
async fn write(voters: &[Voter], entry: &[u8]) -> LogIndex {
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn voters_agree_lose_their_leader_and_take_it_back() {
    let mesh = Mesh::new(3, timings());
    let mut voters = mesh.start_all().await;
    let first = leader(&voters).await;
    let (index, answer) = first.node.propose(b"one".to_vec(), PATIENCE).await.unwrap();
    assert_eq!(answer, b"1", "the answer is the state machine's");
    for voter in &voters {
        voter.until_applied(index).await;
        assert_eq!(voter.journal(), [(index.0, b"one".to_vec())]);
    }
    let follower = voters.iter().find(|voter| voter.id != first.id).unwrap();
    follower.until("sees the leader", |status| status.leader == Some(first.id)).await;
    let refused = follower.node.propose(b"x".to_vec(), PATIENCE).await.unwrap_err();
    assert_eq!(refused, ProposeError::NotLeader { leader: Some(first.id) });
    let refused = follower.node.read_barrier(PATIENCE).await.unwrap_err();
    assert_eq!(refused, ReadError::NotLeader { leader: Some(first.id) });
    assert!(first.node.read_barrier(PATIENCE).await.unwrap() >= index);

    let (killed, term) = (first.id, first.node.status().term);
    let position = voters.iter().position(|voter| voter.id == killed).unwrap();
    voters.remove(position).kill();
    let index = write(&voters, b"two").await;
    assert!(leader(&voters).await.node.status().term > term);

    voters.push(mesh.restart(killed).await);
    // Long before QUIC would give up the connections to its former life.
    for voter in &voters[..2] {
        let reaching = async {
            while voter.node.call_peer(killed, b"back?".to_vec(), PATIENCE).await.is_err() {
                tokio::task::yield_now().await;
            }
        };
        deadline(Duration::from_secs(15), reaching).await.expect("the restarted voter is reached");
    }
    let index = write(&voters, b"three").await.max(index);
    let mut journals = Vec::new();
    for voter in &voters {
        voter.until_applied(index).await;
        journals.push(voter.journal());
    }
    let written: Vec<_> = journals[0].iter().map(|(_, entry)| entry.as_slice()).collect();
    assert_eq!(written, [b"one".as_slice(), b"two", b"three"]);
    assert!(journals.iter().all(|journal| *journal == journals[0]), "every voter has applied the same");
    let mut digests = std::collections::BTreeSet::new();
    for voter in &voters {
        digests.insert(voter.digest_at(index).await);
    }
    assert_eq!(digests.len(), 1, "and has the same digest of it, the restarted one as well");
    for voter in &voters {
        voter.node.shutdown().await;
        assert_eq!(voter.node.status().role, RaftRole::Stopped);
    }
}

/// A restarted voter never resumes its leadership: it follows until somebody is elected (C-3).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_mesh_restarts_with_what_it_acknowledged() {
    let mesh = Mesh::new(3, timings());
    let voters = mesh.start_all().await;
    let mut last = LogIndex(0);
    for number in 0..20 {
        last = write(&voters, format!("entry {number}").as_bytes()).await;
    }
    let before = leader(&voters).await;
    let (old_leader, old_term, journal) = (before.id, before.node.status().term, before.journal());
    voters.into_iter().for_each(Voter::kill);

    let alone = mesh.restart(old_leader).await;
    assert_ne!(alone.node.status().role, RaftRole::Leader, "nobody has elected it");
    let refused = alone.node.read_barrier(Duration::from_millis(200)).await;
    assert!(matches!(refused, Err(ReadError::NotLeader { .. } | ReadError::Isolated)), "{refused:?}");
    let mut voters = vec![alone];
    for id in mesh.addrs.keys().filter(|id| **id != old_leader) {
        voters.push(mesh.restart(*id).await);
    }
    assert!(leader(&voters).await.node.status().term > old_term);
    for voter in &voters {
        voter.until_applied(last).await;
        assert_eq!(voter.journal(), journal);
    }
}

/// A follower that is further behind than the log reaches back gets a snapshot.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_voter_that_is_far_behind_gets_a_snapshot() {
    let timings = RaftTimings { snapshot_every_entries: 20, keep_entries: 2, ..timings() };
    let mesh = Mesh::new(3, timings);
    let mut voters = mesh.start_all().await;
    write(&voters, b"first").await;
    let away = leader(&voters).await.id;
    let away = voters.iter().position(|voter| voter.id != away).unwrap();
    let away = voters.remove(away);
    let id = away.id;
    away.node.shutdown().await;
    drop(away);
    // Larger than a frame and than what is sent inline, so that snapshot and appends go in pieces.
    let mut last = LogIndex(0);
    for number in 0..60u8 {
        last = write(&voters, &vec![number; 20_000]).await;
    }
    for voter in &voters {
        voter.until("builds a snapshot", |status| status.snapshot.is_some_and(|at| at.0 > 30)).await;
    }
    let back = mesh.restart(id).await;
    back.until_applied(last).await;
    assert_eq!(back.journal(), leader(&voters).await.journal());
    assert!(back.node.status().snapshot.is_some(), "it caught up by a snapshot");
    assert_eq!(back.digest_at(last).await, leader(&voters).await.digest_at(last).await);
}

/// Its snapshot would take the place of the one that is there and of the log before it, at every start (C-8).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_that_a_voter_cannot_read_does_not_take_the_place_of_what_it_has() {
    let timings = RaftTimings { snapshot_every_entries: 20, keep_entries: 2, ..timings() };
    let mesh = Mesh::new(3, timings);
    let start = async |id: VoterId, version| {
        let starting = async {
            loop {
                match mesh.start_version(mesh.config(id), real(), version).await {
                    Ok(voter) => return voter,
                    Err(StartError::Storage(_) | StartError::Endpoint(_)) => tokio::task::yield_now().await,
                    Err(other) => panic!("{other}"),
                }
            }
        };
        deadline(PATIENCE, starting).await.expect("the voter starts")
    };
    let mut voters = Vec::new();
    for (id, version) in [(1, Version::Newer), (2, Version::Newer), (3, Version::This)] {
        voters.push(start(VoterId(id), version).await);
    }
    let first = write(&voters, b"acknowledged").await;
    let old = voters.pop().unwrap();
    old.until_applied(first).await;
    old.node.shutdown().await;
    drop(old);
    let mut last = first;
    for number in 0..60u8 {
        last = write(&voters, &[number; 20]).await;
    }
    for voter in &voters {
        voter.until("builds a snapshot", |status| status.snapshot.is_some_and(|at| at.0 > 30)).await;
    }
    let old = start(VoterId(3), Version::This).await;
    old.until("is called", |status| status.leader.is_some()).await;
    // It would end within moments of a snapshot that it takes and cannot read.
    assert!(deadline(Duration::from_secs(5), old.node.fatal()).await.is_err(), "it goes on");
    assert!(old.journal().iter().any(|(index, _)| *index == first.0), "with what it has");
    old.node.shutdown().await;
    drop(old);
    // It starts again on the same disk, and the newer version reads what the others send.
    let new = start(VoterId(3), Version::Newer).await;
    new.until_applied(last).await;
    assert_eq!(new.journal(), leader(&voters).await.journal());
}

/// Few but large entries do not fill the disk either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_grows_by_bytes_is_compacted() {
    let timings = RaftTimings { snapshot_every_bytes: 100_000, ..timings() };
    let mesh = Mesh::new(1, timings);
    let mut voters = mesh.start_all().await;
    for number in 0..20u8 {
        write(&voters, &[number; 20_000]).await;
    }
    voters[0].until("builds a snapshot", |status| status.snapshot.is_some()).await;
    let voter = voters.remove(0);
    let journal = voter.journal();
    voter.kill();
    let voters = [mesh.restart(VoterId(1)).await];
    let index = write(&voters, b"more").await;
    assert_eq!(voters[0].journal(), [journal, vec![(index.0, b"more".to_vec())]].concat());
}

/// The largest entry there may be crosses although it takes many heartbeats, and deposes nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_largest_entry_is_committed() {
    let mesh = Mesh::new(3, timings());
    let voters = mesh.start_all().await;
    let leading = leader(&voters).await;
    let entry: Vec<u8> = (0u8..=255).cycle().take(ENTRY_BYTES_MAX).collect();
    let refused = leading.node.propose([entry.as_slice(), &[0]].concat(), PATIENCE).await.unwrap_err();
    assert!(matches!(refused, ProposeError::TooLarge { .. }));
    let index = write(&voters, &entry).await;
    for voter in &voters {
        voter.until_applied(index).await;
        assert!(voter.journal().iter().any(|(_, applied)| *applied == entry));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_majority_nothing_is_written_and_nothing_is_read() {
    let mesh = Mesh::new(5, timings());
    let mut voters = mesh.start_all().await;
    let index = write(&voters, b"kept").await;
    let leading = leader(&voters).await.id;
    // Two of five may go.
    let mut gone = Vec::new();
    for _ in 0..2 {
        let position = voters.iter().position(|voter| voter.id != leading).unwrap();
        let voter = voters.remove(position);
        gone.push(voter.id);
        voter.kill();
    }
    let index = write(&voters, b"kept too").await.max(index);
    // Three may not: two are left, and no number of answers from two is a majority of five.
    let position = voters.iter().position(|voter| voter.id != leading).unwrap();
    let voter = voters.remove(position);
    gone.push(voter.id);
    voter.kill();
    let left = voters.iter().find(|voter| voter.id == leading).unwrap();
    left.until("notices", |status| {
        status.role != RaftRole::Leader || status.since_majority.is_some_and(|since| since > timings().election_max)
    })
    .await;
    let refused = left.node.propose(b"never".to_vec(), Duration::from_secs(2)).await.unwrap_err();
    assert!(matches!(refused, ProposeError::Isolated | ProposeError::NotLeader { .. }), "{refused:?}");
    let refused = left.node.read_barrier(Duration::from_millis(500)).await.unwrap_err();
    assert!(matches!(refused, ReadError::Isolated | ReadError::NotLeader { .. }), "{refused:?}");
    // One comes back, and so does the mesh.
    voters.push(mesh.restart(gone[0]).await);
    let index = write(&voters, b"again").await.max(index);
    for voter in &voters {
        voter.until_applied(index).await;
        let entries: Vec<_> = voter.journal().into_iter().map(|(_, entry)| entry).collect();
        assert_eq!(entries, [b"kept".to_vec(), b"kept too".to_vec(), b"again".to_vec()]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn voters_call_each_other() {
    let mesh = Mesh::new(3, timings());
    let voters = mesh.start_all().await;
    let [one, two, _] = voters.as_slice() else { panic!("three voters") };
    let answer = one.node.call_peer(two.id, b"hello".to_vec(), PATIENCE).await.unwrap();
    assert_eq!(answer, b"1:hello", "the callee knows who calls");
    let large = vec![7; CALL_BYTES_MAX - 2];
    let answer = two.node.call_peer(one.id, large.clone(), PATIENCE).await.unwrap();
    assert_eq!(answer, [b"2:".as_slice(), &large].concat());

    let refused = one.node.call_peer(two.id, b"no".to_vec(), PATIENCE).await.unwrap_err();
    assert_eq!(refused, CallError::Refused("not today".to_owned()));
    let too_large = one.node.call_peer(two.id, vec![0; CALL_BYTES_MAX + 1], PATIENCE).await.unwrap_err();
    assert!(matches!(too_large, CallError::TooLarge { .. }));
    let late = one.node.call_peer(two.id, b"wait".to_vec(), Duration::from_millis(300)).await.unwrap_err();
    assert_eq!(late, CallError::NoAnswer(two.id));
    for nobody in [one.id, VoterId(77)] {
        let refused = one.node.call_peer(nobody, Vec::new(), PATIENCE).await.unwrap_err();
        assert_eq!(refused, CallError::NotAPeer(nobody));
    }
}

/// A voter that is cut off would raise its term with each election that it cannot win, and depose the leader when it
/// is back (C-26).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_voter_that_reaches_no_majority_does_not_stand_for_election() {
    let election = (Duration::from_millis(300), Duration::from_millis(400));
    let timings = RaftTimings { election_min: election.0, election_max: election.1, ..timings() };
    let mesh = Mesh::new(3, timings);
    let voters = mesh.start_all().await;
    write(&voters, b"there is a mesh").await;
    voters.into_iter().for_each(Voter::kill);
    let mut voters = vec![mesh.restart(VoterId(1)).await];
    let mut status = voters[0].node.status_watch();
    let before = voters[0].node.status().term;
    let standing = status.wait_for(|status| status.term > before || status.role == RaftRole::Candidate);
    assert!(deadline(election.1 * 6, standing).await.is_err(), "it stands, and nobody is there");
    voters.push(mesh.restart(VoterId(2)).await);
    write(&voters, b"as soon as a majority is there").await;
}

/// Halfway through a change of who votes the leader dies: the next one finds the joint membership and ends it (C-27).
/// Meanwhile one voter was away; it learns whom to let in from those that it knows (C-26).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_joint_membership_is_finished_by_the_next_leader() {
    let mesh = Mesh::new(4, timings());
    let three: BTreeMap<_, _> = mesh.addrs.iter().take(3).map(|(id, addr)| (*id, *addr)).collect();
    let start = async |id: u64, joins: bool| {
        let mut config = mesh.config(VoterId(id));
        config.joins = joins;
        if !joins {
            config.voters = three.clone();
        }
        mesh.start_with(config, real()).await.unwrap()
    };
    let mut voters = Vec::new();
    for id in 1..=3 {
        voters.push(start(id, false).await);
    }
    let leading = leader(&voters).await;
    let addresses = Addresses { raft: Some(mesh.addrs[&VoterId(4)]), dist: None };
    let learner = MemberChange::Learner(VoterId(4), addresses);
    leading.node.change(learner, PATIENCE).await.unwrap();
    let newcomer = start(4, true).await;
    let index = write(&voters, b"before").await;
    newcomer.until_applied(index).await;
    newcomer.until("learns", |status| status.role == RaftRole::Learner).await;

    // The step is cut off as soon as its first entry is anywhere else.
    let four: std::collections::BTreeSet<_> = (1..=4).map(VoterId).collect();
    let leading_id = leading.id;
    let node = leading.node.clone();
    let changing = Box::pin(async move { node.change(MemberChange::Voters(four), PATIENCE).await });
    let seen = newcomer.until("joint", |status| status.members.configs.len() > 1 || status.voters.len() == 4);
    let cut_off = futures::future::select(changing, Box::pin(seen)).await;
    let position = voters.iter().position(|voter| voter.id == leading_id).unwrap();
    voters.remove(position).kill();
    drop(cut_off);
    voters.push(newcomer);
    let finishing = async {
        loop {
            let leading = leader(&voters).await;
            let members = leading.node.status().members;
            if !members.is_joint() {
                return members.voters();
            }
            // It is the newest leader's to do; one that is not, or not yet, is asked again.
            let _ = leading.node.change(MemberChange::Voters(members.target()), PATIENCE).await;
        }
    };
    let finished = deadline(PATIENCE, Box::pin(finishing)).await.expect("the change is finished");
    assert!([3, 4].contains(&finished.len()), "{finished:?}");
    let index = write(&voters, b"after").await;
    for voter in &voters {
        voter.until_applied(index).await;
    }
}

async fn dial(mesh: &Mesh, identity: Identity, to: VoterId) -> Option<MeshConnection> {
    let config = QuicConfig {
        identity,
        alpn: Alpn::Raft,
        accepts: None,
        dials: Some(mesh.voters.peers(mesh.id, NodeKind::Voter)),
        limits: QuicLimits::raft(),
    };
    let endpoint = MeshEndpoint::open(&real(), "127.0.0.1:0".parse().unwrap(), config).unwrap();
    let expected = SpiffeId { mesh: mesh.id, role: NodeRole::Voter(to) };
    endpoint.connect(mesh.addrs[&to], &expected, PATIENCE).await.ok()
}

/// Waits until the voter closes the connection; a voter that does not is too friendly.
async fn is_turned_away(connection: Option<MeshConnection>) -> String {
    match connection {
        None => "by the handshake".to_owned(),
        Some(connection) => {
            // Whoever is to be turned away may have been believed so far; the first stream shows it.
            if let Ok((mut send, _recv)) = connection.quic.open_bi().await {
                let _ = send.write_all(b"not a greeting of ours, but longer than any header").await;
            }
            deadline(PATIENCE, connection.quic.closed()).await.expect("the voter turns it away").to_string()
        }
    }
}

/// An edge's certificate is none for the voters' endpoint, even in the same mesh.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_cannot_pose_as_a_voter() {
    let mesh = Mesh::new(1, timings());
    let voters = mesh.start_all().await;
    let edges = Authority::new(mesh.id, NodeKind::Edge, 201);
    let role = NodeRole::Edge { region: Region::new("eu").unwrap(), edge: EdgeId::new("e1").unwrap() };
    is_turned_away(dial(&mesh, edges.issue(mesh.id, role.clone(), 50), VoterId(1)).await).await;
    // Nor is one that the voters' authority has issued to an edge by mistake.
    is_turned_away(dial(&mesh, mesh.voters.issue(mesh.id, role, 51), VoterId(1)).await).await;
    // A voter's name from the edges' authority.
    is_turned_away(dial(&mesh, edges.issue(mesh.id, NodeRole::Voter(VoterId(2)), 52), VoterId(1)).await).await;
    write(&voters, b"still here").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_voter_that_is_no_member_is_turned_away() {
    let mesh = Mesh::new(1, timings());
    let _voters = mesh.start_all().await;
    let stranger = mesh.voters.issue(mesh.id, NodeRole::Voter(VoterId(9)), 53);
    let reason = is_turned_away(dial(&mesh, stranger, VoterId(1)).await).await;
    assert!(reason.contains("not a member"), "{reason}");
    // Its own certificate in somebody else's hands.
    let twin = mesh.voters.issue(mesh.id, NodeRole::Voter(VoterId(1)), 54);
    let reason = is_turned_away(dial(&mesh, twin, VoterId(1)).await).await;
    assert!(reason.contains("not a member"), "{reason}");
}

/// A voter that lost its disk is no longer that voter (C-5).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_voter_is_not_let_back_in() {
    let mesh = Mesh::new(3, timings());
    let mut voters = mesh.start_all().await;
    let index = write(&voters, b"acknowledged").await;
    for voter in &voters {
        voter.until_applied(index).await;
        // Everybody has met everybody: a first meeting would be taken at its word.
        for peer in &voters {
            if peer.id != voter.id {
                voter.node.call_peer(peer.id, Vec::new(), PATIENCE).await.unwrap();
            }
        }
    }
    let position = voters.iter().position(|voter| voter.node.status().role != RaftRole::Leader).unwrap();
    let wiped = voters.remove(position);
    let id = wiped.id;
    wiped.node.shutdown().await;
    drop(wiped);
    std::fs::remove_dir_all(mesh.folder(id)).unwrap();
    let wiped = mesh.restart(id).await;
    for voter in &voters {
        let unreachable = wiped.node.call_peer(voter.id, Vec::new(), Duration::from_secs(2)).await.unwrap_err();
        assert_eq!(unreachable, CallError::Unreachable(voter.id));
        let unreachable = voter.node.call_peer(id, Vec::new(), Duration::from_secs(2)).await.unwrap_err();
        assert_eq!(unreachable, CallError::Unreachable(id));
    }
    let index = write(&voters, b"without it").await;
    assert!(wiped.node.status().applied < index && wiped.journal().is_empty());
}

#[expect(clippy::disallowed_methods, reason = "somebody mixes up disks, which is not done through Env")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_of_another_voter_is_refused() {
    let mesh = Mesh::new(3, timings());
    let one = mesh.start(1).await;
    one.node.shutdown().await;
    drop(one);
    std::fs::rename(mesh.folder(VoterId(1)), mesh.folder(VoterId(2))).unwrap();
    let refused = mesh.try_start(VoterId(2), real()).await.err().unwrap();
    assert!(matches!(&refused, StartError::ForeignDisk(why) if why.contains("voter 1")), "{refused}");
    // A snapshot without its log: what was voted and acknowledged is forgotten.
    std::fs::create_dir_all(mesh.folder(VoterId(3))).unwrap();
    std::fs::write(mesh.folder(VoterId(3)).join("snapshot.bin"), b"left over").unwrap();
    let refused = mesh.try_start(VoterId(3), real()).await.err().unwrap();
    assert!(matches!(refused, StartError::ForeignDisk(_)), "{refused}");
}

async fn stops_when(break_disk: impl FnOnce(&FaultDisk), expected: &str) {
    let mesh = Mesh::new(1, timings());
    let disk = FaultDisk::default();
    let env = Env { disk: Arc::new(disk.clone()), ..real() };
    let voter = mesh.try_start(VoterId(1), env).await.unwrap();
    let voters = [voter];
    let index = write(&voters, b"acknowledged").await;
    let [voter] = &voters;
    break_disk(&disk);
    let failed = voter.node.propose(vec![0; 300 * 1024], PATIENCE).await.unwrap_err();
    assert!(matches!(failed, ProposeError::OutcomeUnknown | ProposeError::Stopped), "{failed:?}");
    let reason = deadline(PATIENCE, voter.node.fatal()).await.expect("the voter stops");
    assert!(reason.contains("cannot be written") && reason.contains(expected), "{reason}");
    voter.until("stopped", |status| status.role == RaftRole::Stopped).await;
    let refused = voter.node.propose(b"more".to_vec(), PATIENCE).await.unwrap_err();
    assert_eq!(refused, ProposeError::Stopped);
    drop(voters);

    // Started again on what the disk really has.
    let env = Env { disk: Arc::new(disk.after_power_cut(0, 0)), ..real() };
    let mesh = Mesh { addrs: Mesh::new(1, timings()).addrs, ..mesh };
    let again = [mesh.try_start(VoterId(1), env).await.unwrap()];
    leader(&again).await;
    again[0].until_applied(index).await;
    assert_eq!(again[0].journal().first(), Some(&(index.0, b"acknowledged".to_vec())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_fsync_stops_the_voter_with_a_clear_message() {
    stops_when(FaultDisk::fail_syncs, "input/output error").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_stops_the_voter_with_a_clear_message() {
    stops_when(|disk| disk.leave_room(64 * 1024), "no space left").await;
}

#[tokio::test]
async fn a_contradictory_configuration_is_refused_before_anything_is_opened() {
    let mesh = Mesh::new(1, timings());
    let start = |config| async {
        RaftNode::start(config, &real(), Box::new(Journal(Applied::default(), Version::This)), Arc::new(Echo)).await
    };
    let mut stranger = mesh.config(VoterId(1));
    stranger.id = VoterId(2);
    assert!(matches!(start(stranger).await, Err(StartError::Config(_))));
    let mut hasty = mesh.config(VoterId(1));
    hasty.timings.election_min = hasty.timings.heartbeat / 2;
    assert!(matches!(start(hasty).await, Err(StartError::Config(_))));
    assert!(!Path::new(&mesh.folder(VoterId(1))).exists());
}
