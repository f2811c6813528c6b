//! A voter that lies to edges: a publisher of its own, with the voter's key and certificate, where the voter was.
//!
//! It speaks the real protocol with the real code, and an edge that dials it finds nothing wrong with the connection.
//! [`Truth`] is what it knew before; [`Truth::tell`] makes a lie of it. What edges answer goes to an [`Ear`].

mod told;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use remit_common::crypto::digest::Digest;
use remit_common::crypto::sign::SigningKey;
use remit_common::id::{EdgeId, LogIndex, MeshId, VoterId};
use remit_common::identity::{NodeKind, NodeRole};
use remit_common::limits::DOCUMENT_BYTES_MAX;
use remit_common::net::env::{Env, deadline};
use remit_common::net::framed::{FramedRecv, FramedSend};
use remit_common::net::quic::{Arriving, MeshConnection, MeshEndpoint, QuicConfig, QuicLimits};
use remit_common::net::tasks::{Shutdown, TaskGroup};
use remit_common::net::tls::{Alpn, Identity, Peers};
use remit_common::relation_log::RelationHeads;
use remit_common::sync::Lane;
use remit_common::sync::published::PublishedBeacon;
use remit_common::sync::publisher::{EdgeReport, Publisher};
use remit_common::trust::beacon::{SignedStatement, Statement};
use remit_common::trust::tick::{Nonce, NonceTree, TickAnswer, TickPath, TickRoots};
use remit_common::wire::message::{EdgeMessage, Stage};
use tokio::sync::watch;

pub use self::told::{Told, Truth, Vouches};
use crate::history::What;
use crate::launcher::{MeshFile, read_signing_key};

/// For one frame, and for the handshake.
const WAIT: Duration = Duration::from_secs(10);
/// For edges to hear that it hangs up.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);

/// Whom it plays.
#[derive(Debug, Clone)]
pub struct Role {
    /// The voter.
    pub voter: VoterId,
    /// Its folder, with `identity.key` and `certificate.pem`.
    pub dir: PathBuf,
    /// Where edges reach it.
    pub dist: SocketAddr,
}

/// What comes from an edge that is lied to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// It asked whether what it had heard is fresh, and was told so.
    Asked,
    /// It says what it made of a lie.
    Answered(Answered),
}

/// What an edge makes of a lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answered {
    /// It runs this bundle now.
    Active(Digest),
    /// It did not take what it was offered.
    Refused {
        /// A fixed word.
        code: String,
        /// For people.
        detail: String,
    },
    /// It hung up.
    HungUp,
}

/// Listens to edges.
pub type Ear = Arc<dyn Fn(&EdgeId, Heard) + Send + Sync>;

/// An ear that notes, once for each edge, that it has listened to this voter's lie.
pub fn noted(voter: VoterId, note: impl Fn(What) + Send + Sync + 'static) -> Ear {
    let known = Mutex::new(BTreeSet::new());
    Arc::new(move |edge, heard| {
        let is_new = heard == Heard::Asked && known.lock().unwrap_or_else(PoisonError::into_inner).insert(edge.clone());
        if is_new {
            note(What::Lied { voter, edge: edge.clone() });
        }
    })
}

/// A liar at work. It lies until [`Self::stop`], or until it is dropped.
pub struct Liar {
    endpoint: Arc<MeshEndpoint>,
    told: watch::Sender<Told>,
    stop: Shutdown,
    /// Locked by nobody; a group of tasks cannot be looked at from two threads.
    tasks: Mutex<TaskGroup>,
}

impl Liar {
    /// Takes a voter's place; the voter must be gone. `env` is the world as the voter sees it.
    ///
    /// # Errors
    /// When the voter's files cannot be read, or its address is taken.
    pub fn start(env: &Env, mesh: &MeshFile, role: &Role, told: Told, ear: Ear) -> Result<Self> {
        let read = |path: &Path| {
            env.disk.read(path, DOCUMENT_BYTES_MAX)?.with_context(|| format!("`{}` is missing", path.display()))
        };
        let key = read_signing_key(env, &role.dir.join("identity.key"))?;
        let pem = read(&role.dir.join("certificate.pem"))?;
        let edges_ca = read(&mesh.root.with_file_name("edges-ca.pem"))?;
        let config = QuicConfig {
            identity: Identity::from_pem_chain(&pem, &key)?,
            alpn: Alpn::Dist,
            accepts: Some(Peers::from_pem(mesh.mesh_id, NodeKind::Edge, &edges_ca)?),
            dials: None,
            limits: QuicLimits::dist_voter(),
        };
        let endpoint = Arc::new(MeshEndpoint::open(env, role.dist, config)?);
        let (stop, mut tasks) = (Shutdown::new(), TaskGroup::new(env));
        let (told, tells) = watch::channel(told);
        let beacon = Arc::new(read_signing_key(env, &role.dir.join("beacon.key"))?);
        let talks = Arc::default();
        let (env, mesh, voter) = (env.clone(), mesh.mesh_id, role.voter);
        let speaker = Speaker { env, mesh, voter, beacon, told: tells, ear, talks, stop: stop.clone() };
        tasks.spawn("liar", speaker.serve(Arc::clone(&endpoint)));
        Ok(Self { endpoint, told, stop, tasks: Mutex::new(tasks) })
    }

    /// Says something else from now on, also to who listens already.
    pub fn say(&self, told: Told) {
        self.told.send_replace(told);
    }

    /// Hangs up and gives the address back.
    pub async fn stop(self) {
        self.stop.trigger();
        self.endpoint.close(CLOSE_WITHIN).await;
        let tasks = self.tasks.into_inner().unwrap_or_else(PoisonError::into_inner);
        tasks.join_all(CLOSE_WITHIN).await;
    }
}

#[derive(Clone)]
struct Speaker {
    env: Env,
    mesh: MeshId,
    voter: VoterId,
    /// The voter's own, with which it signs whatever it says.
    beacon: Arc<SigningKey>,
    told: watch::Receiver<Told>,
    ear: Ear,
    /// Conversations so far.
    talks: Arc<AtomicU64>,
    stop: Shutdown,
}

/// What a liar says in one conversation that there is nothing newer with: ticks that it makes up and signs alone, or what
/// a majority has signed once, about other nonces.
enum Vouching {
    Alone(Box<dyn Iterator<Item = LogIndex> + Send>),
    Replayed(VecDeque<SignedStatement>),
}

impl Speaker {
    async fn serve(self, endpoint: Arc<MeshEndpoint>) {
        let mut talks = TaskGroup::new(&self.env);
        loop {
            tokio::select! {
                biased;
                () = self.stop.requested() => break,
                Some(_) = talks.next_finished(), if !talks.is_empty() => {}
                arriving = endpoint.accept() => {
                    let Some(arriving) = arriving else { break };
                    let speaker = self.clone();
                    talks.spawn("lie", async move {
                        tokio::select! {
                            biased;
                            () = speaker.stop.requested() => {}
                            talked = speaker.talk(arriving) => {
                                if let Err(error) = talked {
                                    tracing::debug!(%error, "an edge has hung up on a liar");
                                }
                            }
                        }
                    });
                }
            }
        }
        talks.join_all(CLOSE_WITHIN).await;
    }

    async fn talk(&self, arriving: Arriving) -> Result<()> {
        let connection = arriving.establish(WAIT).await?;
        let NodeRole::Edge { edge, .. } = connection.peer.role.clone() else { return Ok(()) };
        let talked = self.talk_to(&edge, &connection).await;
        (self.ear)(&edge, Heard::Answered(Answered::HungUp));
        talked
    }

    async fn talk_to(&self, edge: &EdgeId, connection: &MeshConnection) -> Result<()> {
        let (send, recv) = deadline(WAIT, connection.quic.accept_bi()).await??;
        let (mut control, mut heard) = (FramedSend::new(send), FramedRecv::new(recv));
        let mut revocations = FramedSend::new(connection.quic.open_uni().await?);
        let mut objects = FramedSend::new(connection.quic.open_uni().await?);
        let mut tells = self.told.clone();
        let told = tells.borrow_and_update().clone();
        let odd = self.talks.fetch_add(1, Ordering::Relaxed) % 2 == 1;
        let replays = !told.signed.is_empty() && (odd || told.vouches == Vouches::Replays);
        let mut vouching = if replays {
            // The older half an edge has most likely seen, and counts no more.
            let skipped = told.signed.len() / 2;
            Vouching::Replayed(told.signed.iter().skip(skipped).cloned().collect())
        } else {
            Vouching::Alone(Box::new(told.ticks()))
        };
        let mut publisher = Publisher::new(self.mesh, edge.clone(), self.voter, told.state, self.env.now().boot);
        loop {
            tokio::select! {
                biased;
                message = heard.recv::<EdgeMessage>(WAIT) => {
                    let Some(message) = message? else { return Ok(()) };
                    if let Some(report) = publisher.handle_message(message)? {
                        self.hear(&mut publisher, edge, &mut vouching, report);
                    }
                }
                changed = tells.changed() => {
                    changed?;
                    publisher.update(Arc::clone(&tells.borrow_and_update().state));
                }
            }
            for lane in Lane::OF_VOTER {
                while let Some(message) = publisher.poll(lane) {
                    match lane {
                        Lane::Control => control.send(&message, WAIT).await?,
                        Lane::Revocations => revocations.send(&message, WAIT).await?,
                        Lane::Objects | Lane::Records => objects.send(&message, WAIT).await?,
                    }
                }
            }
        }
    }

    fn hear(&self, publisher: &mut Publisher, edge: &EdgeId, vouching: &mut Vouching, report: EdgeReport) {
        let heard = match report {
            EdgeReport::Nonce(message) => {
                match vouching {
                    Vouching::Alone(ticks) => {
                        if let Some(n) = ticks.next() {
                            self.vouch(publisher, edge, n, message.nonce);
                        }
                    }
                    Vouching::Replayed(signed) => {
                        if let Some(signed) = signed.pop_front() {
                            self.replay(publisher, edge, signed, message.nonce);
                        }
                    }
                }
                Heard::Asked
            }
            EdgeReport::Ack(ack) if ack.stage == Stage::Active => Heard::Answered(Answered::Active(ack.manifest)),
            EdgeReport::Nack(nack) => Heard::Answered(Answered::Refused { code: nack.code, detail: nack.detail }),
            EdgeReport::Subscribed { .. }
            | EdgeReport::Ack(_)
            | EdgeReport::Attest(_)
            | EdgeReport::Covered(_)
            | EdgeReport::Relations(_)
            | EdgeReport::Rollout(_)
            | EdgeReport::Records(_) => return,
        };
        (self.ear)(edge, heard);
    }

    /// Says that there is nothing newer than the lie.
    fn vouch(&self, publisher: &mut Publisher, edge: &EdgeId, n: LogIndex, nonce: Nonce) {
        let told = self.told.borrow().clone();
        let Some((nonce_root, path)) = self.path(edge, nonce) else { return };
        let set = told.state.revocations().set();
        let answer = TickAnswer {
            n,
            nonce,
            nonce_root,
            path,
            epoch: set.epoch(),
            revocations: set.digest(),
            activations: told.activations,
            directory: told.directory,
            root: told.root,
        };
        // The lies are about other things than relations.
        let relations = RelationHeads::new(&told.document, &BTreeMap::new());
        let statement = Statement::of_answer(&answer, relations.root());
        let liars = told.allies.iter().map(|(voter, key)| (*voter, key)).chain([(self.voter, &*self.beacon)]);
        let signatures = liars.map(|(voter, key)| (voter, statement.sign(&self.mesh, key))).collect();
        let beacon = PublishedBeacon { relations, signatures };
        publisher.answer_tick(answer, &BTreeMap::new(), Some(&beacon));
    }

    /// Shows what honest voters have signed as an answer to a nonce that they have never seen.
    fn replay(&self, publisher: &mut Publisher, edge: &EdgeId, signed: SignedStatement, nonce: Nonce) {
        let Some((_, path)) = self.path(edge, nonce) else { return };
        let SignedStatement { statement, signatures } = signed;
        let Statement { n, nonce_root, epoch, revocations, activations, relations, directory, root } = statement;
        let answer = TickAnswer { n, nonce, nonce_root, path, epoch, revocations, activations, directory, root };
        let beacon = PublishedBeacon { relations: RelationHeads::unknown(relations), signatures };
        publisher.answer_tick(answer, &BTreeMap::new(), Some(&beacon));
    }

    /// Of a tick that this nonce alone is in.
    fn path(&self, edge: &EdgeId, nonce: Nonce) -> Option<(Digest, TickPath)> {
        let tree = NonceTree::new([(edge.clone(), nonce)]);
        let roots = TickRoots { roots: vec![(self.voter, tree.root())] };
        Some((roots.nonce_root(), tree.path(edge, self.voter, &roots)?))
    }
}
