//! A voter that a test drives: the real publisher over real QUIC, with a log that is a few variables.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use remit_common::bundle::SignedBundle;
use remit_common::crypto::digest::Digest;
use remit_common::crypto::sign::{PublicKey, SigningKey};
use remit_common::id::{BootId, CredentialId, EdgeId, LogIndex, RevocationEpoch, TenantId, VoterId};
use remit_common::identity::{Administrators, NodeKind, NodeRole, SpiffeId, Validity, issue_ca, issue_node};
use remit_common::net::env::Env;
use remit_common::net::framed::{FramedRecv, FramedSend};
use remit_common::net::quic::{MeshConnection, MeshEndpoint, OpenFailed, QuicConfig, QuicLimits};
use remit_common::net::tasks::TaskHandle;
use remit_common::net::tls::{Alpn, Identity, Peers};
use remit_common::record::Record;
use remit_common::relation_log::{Head, RelationHeads, RelationLog, SignedBatch, Writers};
use remit_common::revocation::{Authorities, Revocation, Revocations};
use remit_common::sync::Lane;
use remit_common::sync::published::{
    PublishedBeacon, PublishedBundle, PublishedObject, PublishedRevocations, PublishedShard, PublishedState,
};
use remit_common::sync::publisher::{EdgeReport, Publisher};
use remit_common::time::Timestamp;
use remit_common::trust::activation::{Activation, RING_ALL, RING_STAGED, Staged, activations_digest};
use remit_common::trust::beacon::Statement;
use remit_common::trust::root::SignedRoot;
use remit_common::trust::scope::{PER_MILLE_ALL, Scope};
use remit_common::trust::tick::{Nonce, NonceTree, TickAnswer, TickRoots};
use remit_common::wire::message::{
    EdgeMessage, Nack, RecordAck, RecordFork, RevokeAnswer, RevokeAsked, RolloutReport, StagedOffer, VoterAddresses,
    VoterMessage,
};
use remit_common::wire::proof::{Attestation, Covered};
use tokio::sync::watch;

use super::keys::{self, DAY, MESH};

const WITHIN: Duration = Duration::from_secs(20);

/// What the voters of a mesh have agreed on.
#[derive(Clone)]
pub(crate) struct Agreed {
    roots: Vec<(u64, Vec<u8>)>,
    directory: (u64, Vec<u8>),
    activations: BTreeMap<TenantId, (Activation, SignedBundle)>,
    staged: BTreeMap<TenantId, (Staged, SignedBundle)>,
    shards: BTreeMap<(EdgeId, TenantId, CredentialId), (u64, Vec<u8>)>,
    revocations: Revocations,
    relations: BTreeMap<TenantId, Arc<RelationLog>>,
}

/// The log, shared by voters that are one mesh.
#[derive(Clone)]
pub(crate) struct Log {
    agreed: watch::Sender<Agreed>,
    index: Arc<AtomicU64>,
}

impl Log {
    pub(crate) fn new(root: Vec<u8>, directory: (u64, Vec<u8>)) -> Self {
        let agreed = Agreed {
            roots: vec![(1, root)],
            directory,
            activations: BTreeMap::new(),
            staged: BTreeMap::new(),
            shards: BTreeMap::new(),
            revocations: Revocations::new(),
            relations: BTreeMap::new(),
        };
        Self { agreed: watch::Sender::new(agreed), index: Arc::new(AtomicU64::new(1)) }
    }

    pub(crate) fn next_index(&self) -> u64 {
        self.index.fetch_add(1, Ordering::SeqCst) + 1
    }

    pub(crate) fn activate(&self, tenant: &TenantId, bundle: SignedBundle) -> Activation {
        let number = LogIndex(self.next_index());
        let activation = Activation { number, tenant: tenant.clone(), ring: 0, manifest: bundle.digest() };
        self.agreed.send_modify(|agreed| {
            agreed.activations.insert(tenant.clone(), (activation.clone(), bundle));
        });
        activation
    }

    /// Stages a bundle for these, or widens whom it is for.
    pub(crate) fn stage(&self, tenant: &TenantId, bundle: SignedBundle, scope: Scope) {
        let number = LogIndex(self.next_index());
        let activation = Activation { number, tenant: tenant.clone(), ring: RING_STAGED, manifest: bundle.digest() };
        self.agreed.send_modify(|agreed| {
            agreed.staged.insert(tenant.clone(), (Staged { activation, scope }, bundle));
        });
    }

    /// Ends what is staged, with this bundle as everybody's.
    pub(crate) fn settle(&self, tenant: &TenantId, bundle: SignedBundle) {
        let number = LogIndex(self.next_index());
        let activation = Activation { number, tenant: tenant.clone(), ring: RING_ALL, manifest: bundle.digest() };
        self.agreed.send_modify(|agreed| {
            agreed.staged.remove(tenant);
            agreed.activations.insert(tenant.clone(), (activation, bundle));
        });
    }

    pub(crate) fn seal(&self, edge: EdgeId, version: u64, bytes: Vec<u8>) {
        self.agreed.send_modify(|agreed| {
            agreed.shards.insert((edge, keys::acme(), keys::credential()), (version, bytes));
        });
    }

    pub(crate) fn revoke(&self, entry: Revocation) -> RevocationEpoch {
        let mut epoch = RevocationEpoch(0);
        self.agreed.send_modify(|agreed| epoch = agreed.revocations.cut(entry).unwrap());
        epoch
    }

    pub(crate) fn relations_head(&self, tenant: &TenantId) -> Head {
        self.agreed.borrow().relations.get(tenant).map(|log| log.head()).unwrap_or_default()
    }

    /// Takes a batch whoever signed it: what an edge makes of it is the question.
    pub(crate) fn write_relations(&self, tenant: &TenantId, batch: SignedBatch, by: PublicKey) {
        let writers = Writers::new(&[by]).unwrap();
        self.agreed.send_modify(|agreed| {
            let log = agreed.relations.entry(tenant.clone());
            let log = log.or_insert_with(|| Arc::new(RelationLog::new(MESH, tenant.clone())));
            Arc::make_mut(log).append(batch.verify(&MESH, tenant, &writers).unwrap()).unwrap();
        });
    }

    pub(crate) fn set_directory(&self, version: u64, bytes: Vec<u8>) {
        self.agreed.send_modify(|agreed| agreed.directory = (version, bytes));
    }

    pub(crate) fn add_root(&self, version: u64, bytes: Vec<u8>) {
        self.agreed.send_modify(|agreed| agreed.roots.push((version, bytes)));
    }
}

impl Agreed {
    fn published(&self) -> Arc<PublishedState> {
        let mut state = PublishedState::new(PublishedRevocations::new(self.revocations.clone()), Vec::new());
        for (version, bytes) in &self.roots {
            state.add_root(*version, &PublishedObject::new(bytes.as_slice()));
        }
        state.set_directory(self.directory.0, &PublishedObject::new(self.directory.1.as_slice()));
        for (activation, bundle) in self.activations.values() {
            state.activate(activation.clone(), &PublishedBundle::new(bundle));
        }
        for (staged, bundle) in self.staged.values() {
            state.stage(staged.clone(), &PublishedBundle::new(bundle));
        }
        for ((edge, tenant, credential), (version, bytes)) in &self.shards {
            let shard = PublishedShard { version: *version, bytes: bytes.as_slice().into() };
            state.set_shard(edge.clone(), tenant.clone(), credential.clone(), shard);
        }
        for log in self.relations.values() {
            state.set_relations(log);
        }
        Arc::new(state)
    }

    fn heads(&self) -> BTreeMap<TenantId, Head> {
        self.relations.iter().map(|(tenant, log)| (tenant.clone(), log.head())).collect()
    }

    fn relation_heads(&self) -> RelationHeads {
        let signed = SignedRoot::parse(&self.roots[0].1).unwrap();
        let pin = signed.digest();
        RelationHeads::new(&signed.verify_pinned(&pin, &MESH).unwrap(), &self.heads())
    }

    fn activations_digest(&self) -> Digest {
        let staged = self.staged.values().map(|(staged, _)| &staged.activation);
        let scopes = self.staged.iter().map(|(tenant, (staged, _))| (tenant.clone(), staged.scope.clone())).collect();
        activations_digest(self.activations.values().map(|(activation, _)| activation).chain(staged), &scopes)
    }

    fn answer(&self, n: u64, voter: VoterId, edge: &EdgeId, nonce: Nonce) -> TickAnswer {
        let tree = NonceTree::new([(edge.clone(), nonce)]);
        let roots = TickRoots { roots: vec![(voter, tree.root())] };
        TickAnswer {
            n: LogIndex(n),
            nonce,
            nonce_root: roots.nonce_root(),
            path: tree.path(edge, voter, &roots).unwrap(),
            epoch: self.revocations.epoch(),
            revocations: self.revocations.digest(),
            activations: self.activations_digest(),
            directory: self.directory.0,
            root: self.roots.last().unwrap().0,
        }
    }
}

/// What a voter was told.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    pub(crate) nacks: Vec<Nack>,
    pub(crate) attested: Vec<Attestation>,
    pub(crate) covered: Vec<Covered>,
    pub(crate) nonces: u64,
    pub(crate) subscriptions: u64,
    /// By process and number: every record once.
    pub(crate) records: BTreeMap<(BootId, u64), Record>,
    /// Records that came again.
    pub(crate) repeats: u64,
    /// Records that contradict one that came before.
    pub(crate) forks: u64,
    /// What holders asked for.
    pub(crate) cuts: u64,
    /// What was seen of rollouts.
    pub(crate) rollouts: Vec<RolloutReport>,
}

/// What a test can make a voter do.
#[derive(Default)]
pub(crate) struct Behaviour {
    /// Answers no nonce.
    pub(crate) silent: AtomicBool,
    /// Acknowledges no record.
    pub(crate) takes_no_records: AtomicBool,
    /// Says that the chain has forked.
    pub(crate) cries_fork: AtomicBool,
    /// Refuses what holders ask for, with this status and reason.
    pub(crate) refuses_cuts: Mutex<Option<(u16, &'static str)>>,
    /// Says that what is staged is for everybody.
    pub(crate) widens: AtomicBool,
    /// What is shown of signatures under each tick; nothing while nobody signs.
    pub(crate) signs: Mutex<Option<Signs>>,
    /// Tells that these voters are there.
    pub(crate) tells: Mutex<Vec<(VoterId, SocketAddr)>>,
}

/// Whose signatures a voter shows, and what it makes of them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Signs {
    /// Voters, and the seeds of the keys that sign for them.
    pub(crate) by: Vec<(u64, u8)>,
    /// They have signed something else than what the voter answers.
    pub(crate) otherwise: Option<fn(&mut Statement)>,
    /// Answers with what it received from another edge.
    pub(crate) anothers_nonce: bool,
}

impl Signs {
    fn beacon(&self, answer: &TickAnswer, relations: RelationHeads) -> PublishedBeacon {
        let mut statement = Statement::of_answer(answer, relations.root());
        if let Some(change) = self.otherwise {
            change(&mut statement);
        }
        let sign = |(voter, seed): &(u64, u8)| (VoterId(*voter), statement.sign(&MESH, &keys::key(*seed)));
        PublishedBeacon { relations, signatures: self.by.iter().map(sign).collect() }
    }
}

/// A running voter.
pub(crate) struct Voter {
    pub(crate) id: VoterId,
    pub(crate) addr: SocketAddr,
    pub(crate) heard: Arc<Mutex<Heard>>,
    pub(crate) behaviour: Arc<Behaviour>,
    connections: Arc<Mutex<Vec<MeshConnection>>>,
    endpoint: MeshEndpoint,
    task: TaskHandle,
}

impl Drop for Voter {
    fn drop(&mut self) {
        self.kill();
    }
}

struct Shared {
    env: Env,
    id: VoterId,
    log: Log,
    heard: Arc<Mutex<Heard>>,
    behaviour: Arc<Behaviour>,
}

pub(crate) fn validity(now: Timestamp) -> Validity {
    Validity { not_before: now.minus(DAY), not_after: now.plus(20 * DAY) }
}

impl Voter {
    /// Starts a voter at `addr` with a certificate that its mesh issued, and `log` as what it says.
    pub(crate) fn start(env: &Env, id: VoterId, log: &Log, addr: SocketAddr) -> Self {
        Self::start_with_ca(env, id, log, addr, &keys::key(keys::VOTERS_CA)).unwrap()
    }

    /// Starts a voter where one was: its socket closes once its last packet has gone.
    pub(crate) async fn restart(env: &Env, id: VoterId, log: &Log, addr: SocketAddr) -> Self {
        let key = keys::key(keys::VOTERS_CA);
        super::eventually("the address is free", || async { Self::start_with_ca(env, id, log, addr, &key).ok() }).await
    }

    pub(crate) fn start_with_ca(
        env: &Env,
        id: VoterId,
        log: &Log,
        addr: SocketAddr,
        ca_key: &SigningKey,
    ) -> Result<Self, OpenFailed> {
        let valid = validity(env.now().wall);
        let ca = issue_ca(ca_key, &MESH, NodeKind::Voter, 1, valid).unwrap();
        let key = keys::voter_key(id);
        let name = SpiffeId { mesh: MESH, role: NodeRole::Voter(id) };
        let certificate = issue_node(&ca, ca_key, &name, key.public(), 10 + id.0, valid).unwrap();
        let edges_ca = issue_ca(&keys::key(keys::EDGES_CA), &MESH, NodeKind::Edge, 1, valid).unwrap();
        let config = QuicConfig {
            identity: Identity::new(vec![certificate], &key),
            alpn: Alpn::Dist,
            accepts: Some(Peers::new(MESH, NodeKind::Edge, vec![edges_ca]).unwrap()),
            dials: None,
            limits: QuicLimits::dist_voter(),
        };
        let endpoint = MeshEndpoint::open(env, addr, config)?;
        let addr = endpoint.local_addr().unwrap();
        let (heard, behaviour) = (Arc::<Mutex<Heard>>::default(), Arc::<Behaviour>::default());
        let connections = Arc::<Mutex<Vec<MeshConnection>>>::default();
        let shared = Arc::new(Shared {
            env: env.clone(),
            id,
            log: log.clone(),
            heard: Arc::clone(&heard),
            behaviour: Arc::clone(&behaviour),
        });
        let (accepting, opened) = (endpoint.clone(), Arc::clone(&connections));
        let task = env.spawn_named("test voter", async move {
            while let Some(arriving) = accepting.accept().await {
                let Ok(connection) = arriving.establish(WITHIN).await else { continue };
                opened.lock().unwrap().push(connection.clone());
                let shared = Arc::clone(&shared);
                let env = shared.env.clone();
                env.spawn_named("test voter's edge", async move {
                    // How a conversation ends is for the test to see at the edge.
                    let _ = converse(&shared, &connection).await;
                    connection.close(0, "");
                });
            }
        });
        Ok(Self { id, addr, heard, behaviour, connections, endpoint, task })
    }

    /// As a SIGKILL leaves it: no goodbye.
    pub(crate) fn kill(&self) {
        self.task.abort();
        for connection in self.connections.lock().unwrap().drain(..) {
            connection.close(0, "killed");
        }
    }

    /// Frees the address, so that it can be started again there.
    pub(crate) async fn stop(self) {
        self.kill();
        self.endpoint.close(Duration::from_secs(1)).await;
    }

    pub(crate) fn heard<T>(&self, look: impl FnOnce(&Heard) -> T) -> T {
        look(&self.heard.lock().unwrap())
    }
}

async fn converse(shared: &Arc<Shared>, connection: &MeshConnection) -> anyhow::Result<()> {
    let NodeRole::Edge { edge, .. } = &connection.peer.role else { anyhow::bail!("not an edge") };
    let (send, recv) = connection.quic.accept_bi().await?;
    let (mut send, mut recv) = (FramedSend::new(send), FramedRecv::new(recv));
    let mut agreed = shared.log.agreed.subscribe();
    let state = agreed.borrow_and_update().published();
    let now = shared.env.now().boot;
    let mut publisher = Publisher::new(MESH, edge.clone(), shared.id, state, now);
    let mut own: BTreeMap<u8, FramedSend> = BTreeMap::new();
    loop {
        for lane in Lane::OF_VOTER {
            while let Some(message) = publisher.poll(lane) {
                let message = bent(shared, message);
                if lane == Lane::Control {
                    send.send(&message, WITHIN).await?;
                } else {
                    let number = if lane == Lane::Revocations { 1 } else { 2 };
                    let stream = match own.remove(&number) {
                        Some(stream) => stream,
                        None => FramedSend::new(connection.quic.open_uni().await?),
                    };
                    own.entry(number).or_insert(stream).send(&message, WITHIN).await?;
                }
            }
        }
        tokio::select! {
            biased;
            Ok(()) = agreed.changed() => {
                let state = agreed.borrow_and_update().published();
                publisher.update(state);
            }
            message = recv.recv::<EdgeMessage>(WITHIN) => {
                let Some(message) = message? else { return Ok(()) };
                let Some(report) = publisher.handle_message(message)? else { continue };
                let known = agreed.borrow().clone();
                if let Some(answer) = hear(shared, edge, report, &known) {
                    let signs = shared.behaviour.signs.lock().unwrap().clone();
                    let beacon = signs.map(|signs| signs.beacon(&answer, known.relation_heads()));
                    publisher.answer_tick(answer, &known.heads(), beacon.as_ref());
                }
            }
            stream = connection.quic.accept_bi() => {
                let (send, recv) = stream?;
                let shared = Arc::clone(shared);
                let env = shared.env.clone();
                env.spawn_named("test voter's records", async move {
                    let _ = take_records(&shared, FramedSend::new(send), FramedRecv::new(recv)).await;
                });
            }
        }
    }
}

/// What a lying voter makes of the truth.
fn bent(shared: &Shared, message: VoterMessage) -> VoterMessage {
    match message {
        VoterMessage::Staged(StagedOffer { tenant, staged: Some((activated, scope)) })
            if shared.behaviour.widens.load(Ordering::SeqCst) =>
        {
            let scope = Scope { per_mille: PER_MILLE_ALL, ..scope };
            VoterMessage::Staged(StagedOffer { tenant, staged: Some((activated, scope)) })
        }
        message => message,
    }
}

fn hear(shared: &Shared, edge: &EdgeId, report: EdgeReport, agreed: &Agreed) -> Option<TickAnswer> {
    let mut heard = shared.heard.lock().unwrap();
    match report {
        EdgeReport::Subscribed { .. } => heard.subscriptions += 1,
        EdgeReport::Nack(nack) => heard.nacks.push(nack),
        EdgeReport::Attest(attestation) => heard.attested.push(attestation),
        EdgeReport::Covered(covered) => heard.covered.push(covered),
        EdgeReport::Nonce(nonce) => {
            heard.nonces += 1;
            if !shared.behaviour.silent.load(Ordering::SeqCst) {
                let signs = shared.behaviour.signs.lock().unwrap();
                let nonce = match signs.as_ref().is_some_and(|signs| signs.anothers_nonce) {
                    true => Nonce([0xee; 32]),
                    false => nonce.nonce,
                };
                return Some(agreed.answer(shared.log.next_index(), shared.id, edge, nonce));
            }
        }
        EdgeReport::Rollout(report) => heard.rollouts.push(report),
        EdgeReport::Ack(_) | EdgeReport::Records(_) | EdgeReport::Relations(_) => {}
    }
    None
}

async fn take_records(shared: &Shared, mut send: FramedSend, mut recv: FramedRecv) -> anyhow::Result<()> {
    let mut told = Vec::new();
    while let Some(message) = recv.recv::<EdgeMessage>(WITHIN).await? {
        let batch = match message {
            EdgeMessage::RecordBatch(batch) => batch,
            EdgeMessage::Revoke(asked) => {
                send.send(&VoterMessage::Revoked(cut(shared, asked)), WITHIN).await?;
                continue;
            }
            _ => continue,
        };
        let tells = shared.behaviour.tells.lock().unwrap().clone();
        if tells != told {
            told.clone_from(&tells);
            send.send(&VoterMessage::Voters(VoterAddresses { voters: tells }), WITHIN).await?;
        }
        if shared.behaviour.takes_no_records.load(Ordering::SeqCst) {
            continue;
        }
        if shared.behaviour.cries_fork.load(Ordering::SeqCst) {
            let fork = RecordFork { boot: batch.boot, seq: batch.first, stored: Digest::default() };
            send.send(&VoterMessage::RecordFork(fork), WITHIN).await?;
            continue;
        }
        let mut last = batch.first;
        {
            let mut heard = shared.heard.lock().unwrap();
            for (bytes, seq) in batch.unpack()?.iter().zip(batch.first..) {
                let record = Record::parse(bytes)?;
                assert_eq!((record.public().boot, record.public().seq), (batch.boot, seq));
                last = seq;
                match heard.records.get(&(batch.boot, seq)) {
                    Some(known) if known.hash(&MESH) == record.hash(&MESH) => heard.repeats += 1,
                    Some(_) => heard.forks += 1,
                    None => _ = heard.records.insert((batch.boot, seq), record),
                }
            }
        }
        send.send(&VoterMessage::RecordAck(RecordAck { boot: batch.boot, seq: last }), WITHIN).await?;
    }
    Ok(())
}

/// Does what a holder asks for, as a voter would.
fn cut(shared: &Shared, RevokeAsked { request }: RevokeAsked) -> RevokeAnswer {
    shared.heard.lock().unwrap().cuts += 1;
    if let Some((status, reason)) = *shared.behaviour.refuses_cuts.lock().unwrap() {
        return RevokeAnswer::Refused { status, reason: reason.to_owned(), detail: "no".to_owned() };
    }
    let index = LogIndex(shared.log.next_index());
    let issuers = keys::issuers();
    let administrator = keys::administrator(shared.env.now().wall, &[keys::acme()]);
    let administrators = Administrators::from([(administrator.key.id(), administrator)]);
    let authorities = Authorities { mesh: &MESH, administrators: &administrators, issuers: &issuers };
    let entry = Revocation::from_request(index, request, &authorities).unwrap();
    let until = entry.until;
    RevokeAnswer::Committed { epoch: shared.log.revoke(entry), until }
}
