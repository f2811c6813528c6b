//! One edge without a disk: connects, greets, asks, verifies what it is told, and signs what it enforces.
//!
//! It does what an edge's follower does with the parts that both use, in the same order and with the same waits. What is
//! left out: disk, policy, records (their stream is open, and carries one message that no voter of today knows), and
//! voters to change to.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use remit_common::crypto::digest::Digest;
use remit_common::id::{BootId, LogIndex, MeshId, RevocationEpoch, TenantId};
use remit_common::identity::{NodeRole, SpiffeId};
use remit_common::net::env::Env;
use remit_common::net::framed::{FramedRecv, FramedSend, StreamFailed};
use remit_common::net::quic::{CLOSE_DONE, MeshConnection, MeshEndpoint, QuicConfig, QuicLimits};
use remit_common::net::tasks::TaskGroup;
use remit_common::net::tls::{Alpn, Peers};
use remit_common::revocation::{RevocationUpdate, Revocations};
use remit_common::sync::Lane;
use remit_common::sync::revocations::split;
use remit_common::sync::subscriber::{Output, Subscriber, SubscriberIdentity};
use remit_common::trust::beacon::{SignedStatement, Statement};
use remit_common::trust::directory::Directory;
use remit_common::trust::freshness::{Enforced, Freshness, Learned};
use remit_common::trust::tick::{Nonce, TickAnswer};
use remit_common::wire::frame;
use remit_common::wire::message::{BeaconOffer, EdgeMessage, Have, NonceMessage, VoterMessage, WireMessage as _};
use remit_common::wire::proof::{Attestation, Covered};
use tokio::sync::mpsc;

use super::mesh::{Seat, VOTER};
use crate::measure::now;

/// As edges have them: for a connection, for a frame, and between two attempts.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
const FRAME_WITHIN: Duration = Duration::from_secs(20);
const BACKOFF_MIN: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// Messages from the voter's own streams that wait to be looked at.
const LANE_QUEUE: usize = 16;
/// A message that no voter knows, and every voter steps over.
const UNKNOWN: u16 = 0x7fff;

/// What all edges of a crowd share.
pub struct World {
    /// The machine.
    pub env: Env,
    /// The mesh.
    pub mesh: MeshId,
    /// Its tenant.
    pub tenant: TenantId,
    /// Whom edges dial.
    pub voters: Peers,
    /// Where.
    pub addr: SocketAddr,
    /// What every edge has verified.
    pub directory: Arc<Directory>,
    /// What every edge runs: the manifest and the number of its activation.
    pub runs: (Digest, LogIndex),
    /// Between two nonces.
    pub nonce_every: Duration,
    /// Bytes of the frame with which a revocation comes, once one has come.
    pub frame_bytes: OnceLock<usize>,
    /// Where edges say what happens to them.
    pub told: mpsc::Sender<Told>,
}

/// What has crossed a connection, both ways, as QUIC counts it: bytes of UDP payload.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Crossed {
    /// Bytes from the edge.
    pub sent: u64,
    /// Bytes to the edge.
    pub received: u64,
    /// Datagrams in both directions.
    pub datagrams: u64,
}

/// What happens to an edge. `who` is its place in the crowd.
#[derive(Debug)]
pub struct Told {
    /// Which edge.
    pub who: usize,
    /// When.
    pub at: Instant,
    /// What.
    pub what: What,
}

/// See [`Told`].
#[derive(Debug)]
pub enum What {
    /// The greeting is over.
    Subscribed,
    /// The first tick answer of a connection counts: the edge is as fresh as one can be.
    Fresh(Crossed),
    /// The edge has signed, and sent, that it enforces this.
    Covered(RevocationEpoch, Digest),
    /// An attempt to connect has failed.
    Refused(String),
    /// The connection has ended.
    Lost(String),
}

/// A running edge.
pub struct Edge {
    who: usize,
    world: Arc<World>,
    seat: Seat,
    endpoint: MeshEndpoint,
    boot: BootId,
    freshness: Freshness,
    revocations: Revocations,
    again: mpsc::Receiver<()>,
}

impl Edge {
    /// Opens the socket, as edges do. Whoever holds the other end of `again` makes it connect anew.
    ///
    /// # Errors
    /// When the socket does not open.
    pub fn new(who: usize, world: &Arc<World>, seat: Seat, again: mpsc::Receiver<()>) -> Result<Self> {
        let endpoint = open(&world.env, &world.voters, &seat, QuicLimits::dist_edge())?;
        let revocations = Revocations::new();
        let enforced = Enforced { epoch: revocations.epoch(), digest: revocations.digest() };
        let freshness = Freshness::start(None, enforced, world.env.now());
        let boot = BootId(world.env.random());
        Ok(Self { who, world: Arc::clone(world), seat, endpoint, boot, freshness, revocations, again })
    }

    /// Connects, and connects again, for as long as somebody listens to what it tells.
    pub async fn run(mut self) {
        let mut backoff = BACKOFF_MIN;
        loop {
            match connect(&self.world, &self.endpoint).await {
                Ok(connection) => {
                    let ended = self.converse(&connection, &mut backoff).await;
                    connection.close(CLOSE_DONE, "");
                    let why = match ended {
                        Ok(Left::Asked) => {
                            // What the other side was told must leave before the next connection is made.
                            backoff = BACKOFF_MIN;
                            continue;
                        }
                        Ok(Left::Gone) => "the voter ended it".to_owned(),
                        Err(error) => format!("{error:#}"),
                    };
                    if !self.tell(What::Lost(why)).await {
                        return;
                    }
                }
                Err(error) => {
                    if !self.tell(What::Refused(format!("{error:#}"))).await {
                        return;
                    }
                }
            }
            tokio::time::sleep(self.jittered(backoff)).await;
            backoff = BACKOFF_MAX.min(backoff * 2);
        }
    }

    async fn tell(&self, what: What) -> bool {
        self.world.told.send(Told { who: self.who, at: now(), what }).await.is_ok()
    }

    fn jittered(&self, wait: Duration) -> Duration {
        let [random] = self.world.env.random();
        wait / 2 + (wait / 2).mul_f32(f32::from(random) / f32::from(u8::MAX))
    }

    async fn converse(&mut self, connection: &MeshConnection, backoff: &mut Duration) -> Result<Left> {
        let (send, recv) = connection.quic.open_bi().await?;
        let (mut send, mut control) = (FramedSend::new(send), FramedRecv::new(recv));
        send.get_mut().set_priority(Lane::Control.priority())?;
        let world = Arc::clone(&self.world);
        let subscriber = self.subscriber();
        let mut conversation = Conversation { subscriber, send, beacon: None, is_fresh: false };
        self.drain(connection, &mut conversation).await?;
        // The records' stream, as every edge has one.
        let records = connection.quic.open_bi().await?;
        let (mut records, _acks) = (FramedSend::new(records.0), records.1);
        records.get_mut().set_priority(Lane::Records.priority())?;
        let mut has_records = false;

        let mut readers = TaskGroup::new(&world.env);
        let (lane, mut lanes) = mpsc::channel(LANE_QUEUE);
        let mut nonce_at = soon(Duration::ZERO);
        loop {
            tokio::select! {
                biased;
                Some(()) = self.again.recv() => return Ok(Left::Asked),
                () = tokio::time::sleep_until(nonce_at), if has_records => {
                    nonce_at = soon(world.nonce_every);
                    let nonce = Nonce(world.env.random());
                    self.freshness.on_nonce_sent(nonce, world.env.now());
                    let epoch = self.revocations.epoch();
                    conversation.subscriber.send_nonce(NonceMessage { nonce, epoch, head: None });
                }
                message = lanes.recv() => match message {
                    Some(Ok(message)) => conversation.hear(message, &world.env)?,
                    Some(Err(error)) => return Err(StreamFailed::into(error)),
                    None => return Ok(Left::Gone),
                },
                message = control.recv::<VoterMessage>(FRAME_WITHIN) => match message? {
                    Some(message) => conversation.hear(message, &world.env)?,
                    None => return Ok(Left::Gone),
                },
                stream = connection.quic.accept_uni() => {
                    readers.spawn("voter's stream", read_lane(FramedRecv::new(stream?), lane.clone()));
                }
                Some(_) = readers.next_finished() => {}
            }
            let subscribed = self.drain(connection, &mut conversation).await?;
            if subscribed {
                *backoff = BACKOFF_MIN;
                records.send_frame(&frame::encode(UNKNOWN, &[])?, FRAME_WITHIN).await?;
                has_records = true;
            }
        }
    }

    fn subscriber(&self) -> Subscriber {
        let World { mesh, directory, runs, .. } = self.world.as_ref();
        let have = Have {
            root: 1,
            directory: directory.version(),
            activations: Vec::new(),
            epoch: self.revocations.epoch(),
            revocations: self.revocations.digest(),
            shards: Vec::new(),
        };
        let identity = SubscriberIdentity {
            mesh: *mesh,
            edge: self.seat.edge.clone(),
            boot: self.boot,
            voter: VOTER,
            tenants: BTreeSet::from([self.world.tenant.clone()]),
        };
        Subscriber::new(identity, have, BTreeSet::from([runs.0]), self.world.env.now().boot)
    }

    /// Does what the subscriber hands out, and says whether the greeting ended with it.
    async fn drain(&mut self, connection: &MeshConnection, conversation: &mut Conversation) -> Result<bool> {
        let mut subscribed = false;
        while let Some(output) = conversation.subscriber.poll_output() {
            match output {
                Output::Send(message) => {
                    conversation.send.send(&message, FRAME_WITHIN).await?;
                    if let EdgeMessage::Covered(covered) = &message {
                        self.tell(What::Covered(covered.epoch, covered.digest)).await;
                    }
                }
                Output::Subscribed => {
                    subscribed = true;
                    conversation.subscriber.attest(self.attestation());
                    conversation.subscriber.cover(self.covered());
                    self.tell(What::Subscribed).await;
                }
                Output::Activation(activation) => {
                    ensure!(activation.manifest == self.world.runs.0, "another bundle than the one that was pushed");
                }
                Output::Revocations(update) => self.enforce(update, &mut conversation.subscriber)?,
                Output::Beacon(beacon) => conversation.beacon = Some(beacon),
                Output::TickAnswer(answer) => {
                    let beacon = conversation.beacon.take().filter(|beacon| beacon.n == answer.n);
                    if self.believe(&answer, beacon)? && !conversation.is_fresh {
                        conversation.is_fresh = true;
                        self.tell(What::Fresh(crossed(connection))).await;
                    }
                }
                Output::Refused(refused) => bail!("refused: {}: {}", refused.code, refused.detail),
                Output::Staged(_) | Output::Unstaged(_) | Output::TickRelations(_) | Output::RecordAck(_) => {}
                other => bail!("an edge that has everything is offered {other:?}"),
            }
        }
        Ok(subscribed)
    }

    fn attestation(&self) -> Attestation {
        let World { mesh, tenant, runs, .. } = self.world.as_ref();
        Attestation::sign(mesh, &self.seat.key, self.seat.edge.clone(), tenant.clone(), runs.1, runs.0)
    }

    fn covered(&self) -> Covered {
        let (epoch, digest) = (self.revocations.epoch(), self.revocations.digest());
        Covered::sign(&self.world.mesh, &self.seat.key, self.seat.edge.clone(), epoch, digest)
    }

    /// Verifies a change of the revocations, takes it, and signs that it has.
    fn enforce(&mut self, update: RevocationUpdate, subscriber: &mut Subscriber) -> Result<()> {
        let now = self.world.env.now();
        if self.who == 0 && update.added.len() == 1 {
            self.world.frame_bytes.get_or_init(|| frame_bytes(&update));
        }
        self.revocations = self.revocations.updated(update, &self.world.directory.authorities(), now.wall)?;
        let enforced = Enforced { epoch: self.revocations.epoch(), digest: self.revocations.digest() };
        if let Learned::Younger(proof) = self.freshness.on_enforced(enforced, now) {
            self.freshness.on_stored(&proof);
        }
        subscriber.cover(self.covered());
        Ok(())
    }

    /// Verifies an answer to a tick with the signatures under it, and says whether the edge is younger by it.
    fn believe(&mut self, answer: &TickAnswer, beacon: Option<BeaconOffer>) -> Result<bool> {
        let now = self.world.env.now();
        if self.freshness.sent_at(&answer.nonce).is_some() && answer.n > self.freshness.view().tick() {
            let BeaconOffer { relations, signatures, .. } = beacon.context("an answer without signatures")?;
            let statement = Statement::of_answer(answer, relations);
            SignedStatement { statement, signatures }.verify(&self.world.directory)?;
        }
        match self.freshness.on_answer(answer, &self.seat.edge, VOTER, now)? {
            Learned::Younger(proof) => {
                self.freshness.on_stored(&proof);
                Ok(true)
            }
            Learned::Behind { .. } | Learned::Nothing => Ok(false),
        }
    }
}

/// Why a conversation ended without a fault.
enum Left {
    Asked,
    Gone,
}

/// A connection with its control stream.
struct Conversation {
    subscriber: Subscriber,
    send: FramedSend,
    beacon: Option<BeaconOffer>,
    is_fresh: bool,
}

impl Conversation {
    fn hear(&mut self, message: VoterMessage, env: &Env) -> Result<()> {
        Ok(self.subscriber.handle_message(message, env.now().boot)?)
    }
}

/// An endpoint with these limits and an edge's certificate.
pub(super) fn open(env: &Env, voters: &Peers, seat: &Seat, limits: QuicLimits) -> Result<MeshEndpoint> {
    let (identity, dials) = (seat.identity.clone(), Some(voters.clone()));
    let quic = QuicConfig { identity, alpn: Alpn::Dist, accepts: None, dials, limits };
    Ok(MeshEndpoint::open(env, (Ipv4Addr::LOCALHOST, 0).into(), quic)?)
}

/// Dials the voter.
pub(super) async fn connect(world: &World, endpoint: &MeshEndpoint) -> Result<MeshConnection> {
    let expected = SpiffeId { mesh: world.mesh, role: NodeRole::Voter(VOTER) };
    Ok(endpoint.connect(world.addr, &expected, CONNECT_WITHIN).await?)
}

fn frame_bytes(update: &RevocationUpdate) -> usize {
    let parts = split(update.clone()).into_iter().map(VoterMessage::Revocations);
    parts.filter_map(|part| part.to_frame().ok()).map(|frame| frame.len()).sum()
}

fn crossed(connection: &MeshConnection) -> Crossed {
    let stats = connection.quic.stats();
    Crossed {
        sent: stats.udp_tx.bytes,
        received: stats.udp_rx.bytes,
        datagrams: stats.udp_tx.datagrams.saturating_add(stats.udp_rx.datagrams),
    }
}

async fn read_lane(mut stream: FramedRecv, lane: mpsc::Sender<Result<VoterMessage, StreamFailed>>) {
    loop {
        let message = match stream.recv::<VoterMessage>(FRAME_WITHIN).await {
            Ok(Some(message)) => Ok(message),
            Ok(None) => return,
            Err(error) => Err(error),
        };
        let failed = message.is_err();
        // The conversation may be over.
        if lane.send(message).await.is_err() || failed {
            return;
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a timer of the bench's own")]
fn soon(within: Duration) -> tokio::time::Instant {
    tokio::time::Instant::now() + within
}
