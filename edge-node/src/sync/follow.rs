//! Follows one voter at a time, and owns what this edge knows.
//!
//! What the voter says becomes a message to [`Subscriber`], which checks order and size and hands out documents;
//! [`State`] verifies them and makes them true. A voter that misbehaves, falls silent or cannot prove that it is fresh
//! is left for the next one. The state's work touches the disk and compiles policy, so it runs where it blocks nobody;
//! decisions go on meanwhile, by the view that was shown last.

mod documents;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::select_all;
use remit_common::crypto::digest::Digest;
use remit_common::crypto::sign::SigningKey;
use remit_common::id::{TenantId, VoterId};
use remit_common::net::env::Env;
use remit_common::net::framed::{FramedRecv, FramedSend, StreamFailed};
use remit_common::net::quic::{CLOSE_DONE, CLOSE_MISBEHAVED, CLOSE_TOO_SLOW};
use remit_common::net::tasks::{Shutdown, TaskFailed, TaskGroup};
use remit_common::policy::relations::Relations;
use remit_common::revocation::Revocation;
use remit_common::sync::subscriber::{Output, Subscriber, SubscriberIdentity};
use remit_common::time::Now;
use remit_common::trust::activation::Activation;
use remit_common::trust::freshness::QuarantineCause;
use remit_common::trust::tick::Nonce;
use remit_common::wire::frame::PeerMisbehaved;
use remit_common::wire::message::{Have, HaveShard, NonceMessage, Stage, VoterMessage};
use tokio::sync::{mpsc, oneshot, watch};

use super::{FRAME_WITHIN, Greeting, Link, LinkCell, Links};
use crate::active::{Accepted, Refused, State, ViewCell};
use crate::report::Feed;
use crate::shadow::Shadows;
use crate::telemetry::{Metrics, chain_text};
use crate::vault::Vault;
use documents::TooEarly;

/// Between two nonces. The tick is one a second, so the age stays below about three seconds.
const NONCE_EVERY: Duration = Duration::from_secs(2);
/// A voter that has not made this edge younger for so long is left for another one: it may be cut off from the
/// others, or lying. Below the shortest bound, so that one such voter costs no effect.
const YOUNGER_WITHIN: Duration = Duration::from_secs(6);
/// Messages from the voter's own streams that wait to be looked at.
const LANE_QUEUE: usize = 16;
/// Streams that the voter may have open at the same time: its lanes, and what a hostile one tries.
const LANES_MAX: usize = 8;

/// Whom this edge follows, for operators.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Followed {
    pub(crate) voter: Option<VoterId>,
}

/// The owner of the state.
pub(crate) struct Follower {
    pub(crate) env: Env,
    pub(crate) greeting: Greeting,
    /// Signs what this edge says about itself.
    pub(crate) key: Arc<SigningKey>,
    pub(crate) tenants: BTreeSet<TenantId>,
    /// Absent only while a piece of work has it.
    pub(crate) state: Option<State>,
    pub(crate) views: ViewCell,
    pub(crate) vault: Arc<Vault>,
    pub(crate) metrics: Metrics,
    pub(crate) feed: Arc<Feed>,
    pub(crate) shadows: Shadows,
    pub(crate) links: watch::Receiver<Links>,
    pub(crate) followed: watch::Sender<Followed>,
    pub(crate) forked: mpsc::Receiver<()>,
    /// Tables of relations that were built anew, from whoever built them.
    pub(crate) tidied: Tidied,
    /// Cuts that were brought here and not to a voter.
    pub(crate) held: mpsc::Receiver<Hold>,
}

/// A verified cut that is to be in force here at once.
#[derive(Debug)]
pub(crate) struct Hold {
    pub(crate) entry: Revocation,
    /// Told when it is in force and on the disk, or why it is not.
    pub(crate) done: oneshot::Sender<Result<(), String>>,
}

/// Where tables of relations come back that were built beside everything else.
pub(crate) struct Tidied {
    sender: mpsc::Sender<(TenantId, Relations)>,
    receiver: mpsc::Receiver<(TenantId, Relations)>,
}

impl Default for Tidied {
    fn default() -> Self {
        let (sender, receiver) = mpsc::channel(1);
        Self { sender, receiver }
    }
}

/// Why a voter is left.
#[derive(Debug, thiserror::Error)]
enum Left {
    #[error("shutdown")]
    Shutdown,
    #[error("the connection ended")]
    Gone,
    #[error(transparent)]
    Stream(#[from] StreamFailed),
    #[error("it has not proven that it is fresh for {YOUNGER_WITHIN:?}")]
    NotFresh,
    #[error("it is not to be believed")]
    NotBelieved(#[source] Refused),
    #[error("it sent more than may wait for the directory, which is asked for again")]
    TooEarly,
    #[error("it ended the conversation: {0}")]
    Refused(String),
    #[error("the state is lost")]
    State(#[from] TaskFailed),
}

impl From<PeerMisbehaved> for Left {
    fn from(error: PeerMisbehaved) -> Self {
        Self::Stream(error.into())
    }
}

/// What may happen while no voter is followed.
enum Woken {
    Forked,
    Held(Box<Hold>),
    /// It is time to offer the disk again what it did not take.
    Owes,
    /// The process has lived long enough with what was on trial.
    Tried,
    Links,
}

/// A conversation with one voter.
struct Conversation {
    voter: VoterId,
    subscriber: Subscriber,
    send: FramedSend,
    nonce_at: tokio::time::Instant,
    younger_by: tokio::time::Instant,
    too_early: TooEarly,
    /// Documents that were refused.
    refusals: u32,
}

impl Follower {
    /// Follows whoever can be reached, until shutdown.
    pub(crate) async fn run(mut self, shutdown: Shutdown) {
        let mut next = 0;
        while let Some((at, link)) = self.next_link(next, &shutdown).await {
            next = at + 1;
            let voter = link.voter;
            let left = self.follow(&link, &shutdown).await;
            self.followed.send_replace(Followed::default());
            match left {
                Left::Shutdown => return,
                Left::State(error) => {
                    tracing::error!(%error, "this edge cannot learn any more, and will go stale: restart it");
                    return;
                }
                Left::Stream(StreamFailed::Misbehaved(error)) => {
                    tracing::warn!(%voter, %error, "the voter broke the protocol");
                    self.not_believed("protocol");
                    link.connection.close(CLOSE_MISBEHAVED, "");
                }
                Left::NotBelieved(error) => {
                    tracing::error!(%voter, error = %chain_text(&error), "the voter is not to be believed");
                    link.connection.close(CLOSE_MISBEHAVED, "");
                }
                Left::NotFresh | Left::Stream(StreamFailed::Deadline) => {
                    tracing::warn!(%voter, "the voter is too slow, or cut off");
                    link.connection.close(CLOSE_TOO_SLOW, "");
                }
                other => {
                    tracing::info!(%voter, reason = %other, "the voter is left");
                    link.connection.close(CLOSE_DONE, "");
                }
            }
        }
    }

    /// The next voter that is connected, from `next` on; `None` at shutdown.
    async fn next_link(&mut self, next: usize, shutdown: &Shutdown) -> Option<(usize, Arc<Link>)> {
        loop {
            let mut cells: Vec<LinkCell> = self.links.borrow_and_update().to_vec();
            let count = cells.len();
            for at in (0..count).map(|step| (next + step) % count.max(1)) {
                let link = cells.get_mut(at).and_then(|cell| cell.borrow_and_update().clone());
                if let Some(link) = link.filter(|link| link.has_control()) {
                    return Some((at, link));
                }
            }
            let owes = self.state.as_ref().is_some_and(State::owes_revocations);
            let trials_end = self.state.as_ref().and_then(State::trials_end);
            let woken = {
                let any_changed = async {
                    if cells.is_empty() {
                        std::future::pending::<()>().await;
                    }
                    let (changed, _, _) = select_all(cells.iter_mut().map(|cell| Box::pin(cell.changed()))).await;
                    if changed.is_err() {
                        // It has left the table; the table says so next.
                        std::future::pending::<()>().await;
                    }
                };
                tokio::select! {
                    biased;
                    () = shutdown.requested() => return None,
                    Some(()) = self.forked.recv() => Woken::Forked,
                    Some(hold) = self.held.recv() => Woken::Held(Box::new(hold)),
                    () = tokio::time::sleep_until(soon(NONCE_EVERY)), if owes => Woken::Owes,
                    () = self.env.sleep_until(trials_end) => Woken::Tried,
                    changed = self.links.changed() => match changed {
                        Ok(()) => Woken::Links,
                        // Its sender lives in a task that ends at shutdown only.
                        Err(_) => return None,
                    },
                    () = any_changed => Woken::Links,
                }
            };
            match woken {
                Woken::Forked => self.quarantine().await,
                Woken::Held(hold) => _ = self.hold(*hold).await,
                // What fails here fails again at the next use, and is handled there.
                Woken::Owes => _ = self.store_owed().await,
                Woken::Tried => _ = self.with_state(State::end_trials).await,
                Woken::Links => {}
            }
        }
    }

    async fn hold(&mut self, Hold { entry, done }: Hold) -> Result<(), TaskFailed> {
        let held = self.with_state(move |state, now| state.hold_revocation(entry, now)).await?;
        // Who asked may be gone; it is in force all the same.
        let _ = done.send(held.map(drop).map_err(|refused| chain_text(&refused)));
        self.refresh();
        Ok(())
    }

    async fn quarantine(&mut self) {
        tracing::error!("a majority of the voters has other records of this edge: everything is refused from now on");
        // What fails here fails again at the next use, and is handled there.
        let _ = self.with_state(|state, _| state.quarantine(QuarantineCause::Integrity)).await;
        self.vault.wipe();
    }

    /// Follows one voter until there is a reason not to.
    async fn follow(&mut self, link: &Link, shutdown: &Shutdown) -> Left {
        let Some((send, recv)) = link.take_control() else { return Left::Gone };
        let mut readers = TaskGroup::new(&self.env);
        let left = match self.subscribe(link, send).await {
            Ok(conversation) => match self.converse(link, conversation, recv, &mut readers, shutdown).await {
                Ok(()) => Left::Gone,
                Err(left) => left,
            },
            Err(left) => left,
        };
        // Their connection is about to be closed; dropping the group ends them.
        drop(readers);
        left
    }

    async fn subscribe(&mut self, link: &Link, send: FramedSend) -> Result<Conversation, Left> {
        let (have, settled) = self
            .with_state(|state, _| {
                state.begin_connection();
                let have = Have {
                    root: state.root().version(),
                    directory: state.directory().map_or(0, |directory| directory.version()),
                    // A connection's announcements are compared as a whole with what its ticks name.
                    activations: Vec::new(),
                    epoch: state.heard_revocations().epoch(),
                    revocations: state.heard_revocations().digest(),
                    shards: state
                        .shards()
                        .map(|(tenant, credential, version)| HaveShard {
                            tenant: tenant.clone(),
                            credential: credential.clone(),
                            version,
                        })
                        .collect(),
                };
                (have, state.bundles().copied().collect())
            })
            .await?;
        let Greeting { mesh, edge, boot } = self.greeting.clone();
        let identity = SubscriberIdentity { mesh, edge, boot, voter: link.voter, tenants: self.tenants.clone() };
        let now = self.env.now().boot;
        let mut subscriber = Subscriber::new(identity, have, settled, now);
        // The link has said this already, and this is what it was answered.
        let _hello = subscriber.poll_output();
        subscriber.handle_message(VoterMessage::HelloAck(link.ack.clone()), now)?;
        Ok(Conversation {
            voter: link.voter,
            subscriber,
            send,
            nonce_at: soon(Duration::ZERO),
            younger_by: soon(YOUNGER_WITHIN),
            too_early: TooEarly::default(),
            refusals: 0,
        })
    }

    async fn converse(
        &mut self,
        link: &Link,
        mut conversation: Conversation,
        mut control: FramedRecv,
        readers: &mut TaskGroup,
        shutdown: &Shutdown,
    ) -> Result<(), Left> {
        let (lane, mut lanes) = mpsc::channel(LANE_QUEUE);
        let quic = &link.connection.quic;
        let (mut patience, mut arrived) = (conversation.younger_by, 0);
        loop {
            self.drain(&mut conversation).await?;
            if conversation.younger_by != patience {
                (patience, arrived) = (conversation.younger_by, quic.stats().udp_rx.datagrams);
            }
            let timeout = conversation.subscriber.poll_timeout();
            let trials_end = self.state.as_ref().and_then(State::trials_end);
            tokio::select! {
                biased;
                () = shutdown.requested() => return Err(Left::Shutdown),
                Some(()) = self.forked.recv() => self.quarantine().await,
                Some(hold) = self.held.recv() => self.hold(hold).await?,
                Some((tenant, tidied)) = self.tidied.receiver.recv() => {
                    self.with_state(move |state, _| state.swap_tidied(&tenant, &tidied)).await?;
                }
                // Before what the voter sends: who never stops talking must not keep this edge from asking.
                () = tokio::time::sleep_until(conversation.nonce_at) => self.send_nonce(&mut conversation).await?,
                () = self.env.sleep_until(trials_end) => self.with_state(State::end_trials).await?,
                () = self.env.sleep_until(timeout) => conversation.subscriber.handle_timeout(self.env.now().boot)?,
                () = tokio::time::sleep_until(conversation.younger_by) => {
                    // The only one there is may be in a minority, and say so soon. But who does not even acknowledge
                    // nonces may have been started anew and know nothing of this connection: a new one finds out.
                    let is_silent = quic.stats().udp_rx.datagrams == arrived;
                    if is_silent || self.is_another_connected(conversation.voter) {
                        return Err(Left::NotFresh);
                    }
                    conversation.younger_by = soon(YOUNGER_WITHIN);
                }
                message = lanes.recv() => match message {
                    Some(Ok(message)) => conversation.hear(message, self.env.now())?,
                    Some(Err(error)) => return Err(error),
                    None => return Ok(()),
                },
                message = control.recv::<VoterMessage>(FRAME_WITHIN) => match message? {
                    Some(message) => conversation.hear(message, self.env.now())?,
                    None => return Ok(()),
                },
                stream = quic.accept_uni(), if readers.len() < LANES_MAX => {
                    let Ok(stream) = stream else { return Ok(()) };
                    readers.spawn("voter's stream", read_lane(FramedRecv::new(stream), lane.clone()));
                }
                Some(_) = readers.next_finished() => {}
            }
        }
    }

    fn is_another_connected(&self, voter: VoterId) -> bool {
        self.links.borrow().iter().any(|cell| cell.borrow().as_ref().is_some_and(|link| link.voter != voter))
    }

    /// Does everything that the subscriber has handed out.
    async fn drain(&mut self, conversation: &mut Conversation) -> Result<(), Left> {
        while let Some(output) = conversation.subscriber.poll_output() {
            self.handle(conversation, output).await?;
        }
        Ok(())
    }

    async fn handle(&mut self, conversation: &mut Conversation, output: Output) -> Result<(), Left> {
        match output {
            Output::Send(message) => conversation.send.send(&message, FRAME_WITHIN).await?,
            Output::Subscribed => self.introduce(conversation).await?,
            Output::Root { version, bytes } => {
                let digest = Digest::of(&[&bytes]);
                let accepted = self.with_state(move |state, now| state.accept_root(&bytes, now)).await?;
                if self.settle(conversation, "root", digest, accepted)?.is_some() {
                    tracing::info!(version, "a root has been accepted");
                }
            }
            Output::Directory { version, bytes } => {
                let digest = Digest::of(&[&bytes]);
                let accepted = self.with_state(move |state, now| state.accept_directory(&bytes, now)).await?;
                if self.settle(conversation, "directory", digest, accepted)?.is_some() {
                    tracing::info!(version, "a directory has been accepted");
                    self.refresh();
                    self.take_again(conversation).await?;
                }
            }
            Output::Activation(activation) => {
                let manifest = activation.manifest;
                let accepted = self.with_state(move |state, now| state.offer_activation(activation, now)).await?;
                let accepted = self.settle(conversation, "activation", manifest, accepted)?;
                self.activated(conversation, accepted).await?;
            }
            Output::Staged(staged) => {
                let manifest = staged.activation.manifest;
                let accepted = self.with_state(move |state, now| state.offer_staged(staged, now)).await?;
                let accepted = self.settle(conversation, "activation", manifest, accepted)?;
                self.activated(conversation, accepted).await?;
            }
            Output::Unstaged(tenant) => {
                let ended = self.with_state(move |state, now| state.end_staged(&tenant, now)).await?;
                match ended {
                    Ok(accepted) => self.activated(conversation, Some(accepted)).await?,
                    Err(refused) => {
                        tracing::warn!(error = %chain_text(&refused), "an activation does not take effect");
                    }
                }
            }
            Output::Manifest { activation, envelope } => {
                let Activation { number, tenant, ring: _, manifest } = activation;
                let checked = move |state: &mut State, now| state.check_manifest(&tenant, number, &envelope, now);
                let wanted = self.with_state(checked).await?;
                let now = self.env.now().boot;
                match wanted {
                    Ok(wanted) => {
                        conversation.subscriber.manifest_verified(&wanted.manifest.files, wanted.held, now)?
                    }
                    Err(refused) => self.refuse_bundle(conversation, manifest, &refused)?,
                }
            }
            Output::Bundle { activation, bundle } => {
                let Activation { number, tenant, ring: _, manifest } = activation;
                conversation.subscriber.acknowledge(tenant.clone(), manifest, Stage::Received);
                let of = tenant.clone();
                match self.with_state(move |state, now| state.accept_bundle(&of, number, bundle, now)).await? {
                    Ok(accepted) => {
                        conversation.subscriber.acknowledge(tenant.clone(), manifest, Stage::Verified);
                        conversation.subscriber.acknowledge(tenant, manifest, Stage::Compiled);
                        self.activated(conversation, Some(accepted)).await?;
                        self.tell_crashes(conversation);
                    }
                    Err(refused) => self.refuse_bundle(conversation, manifest, &refused)?,
                }
            }
            Output::Relations { tenant, first, batches } => {
                self.take_relations(conversation, tenant, first, batches).await?;
            }
            Output::RelationsGone(tenant) => self.follow_relations(conversation, |of| *of == tenant).await?,
            Output::TickRelations(named) => self.with_state(move |state, _| state.name_relations(named)).await?,
            Output::Beacon(beacon) => self.with_state(move |state, _| state.name_beacon(beacon)).await?,
            Output::Shard(offer) => self.take_shard(conversation, offer).await?,
            Output::Revocations(update) => self.take_revocations(conversation, update).await?,
            Output::TickAnswer(answer) => {
                let voter = conversation.voter;
                let accepted = self.with_state(move |state, now| state.on_answer(&answer, voter, now)).await?;
                match &accepted {
                    Ok(Accepted::Younger(_)) => conversation.younger_by = soon(YOUNGER_WITHIN),
                    Ok(_) => {}
                    // Whoever has other revocations at the same epoch, or answers what was not asked, is lying.
                    Err(Refused::Answer(_) | Refused::Beacon(_)) => self.not_believed("tick-answer"),
                    Err(_) => {}
                }
                match accepted {
                    Err(refused @ (Refused::Answer(_) | Refused::Beacon(_))) => return Err(Left::NotBelieved(refused)),
                    Err(refused) => {
                        tracing::warn!(%voter, error = %chain_text(&refused), "an activation does not take effect");
                    }
                    Ok(accepted) => self.activated(conversation, Some(accepted)).await?,
                }
            }
            Output::RecordAck(ack) => self.feed.acked(conversation.voter, ack.boot, ack.seq),
            // The stream of records carries this too, and is the one that acts on it.
            Output::RecordFork(_) => {}
            Output::Refused(refused) => {
                return Err(Left::Refused(format!("{}: {}", refused.code, refused.detail)));
            }
        }
        Ok(())
    }

    async fn send_nonce(&mut self, conversation: &mut Conversation) -> Result<(), Left> {
        conversation.nonce_at = soon(NONCE_EVERY);
        if self.store_owed().await? {
            self.cover(conversation).await?;
        }
        self.ask_owed_relations(conversation).await?;
        let nonce = Nonce(self.env.random());
        let epoch = self
            .with_state(move |state, now| {
                state.on_nonce_sent(nonce, now);
                state.stored_epoch()
            })
            .await?;
        let head = self.feed.durable().borrow().head;
        for report in self.shadows.reports(&self.views.load()) {
            conversation.subscriber.report_rollout(report);
        }
        conversation.subscriber.send_nonce(NonceMessage { nonce, epoch, head });
        Ok(())
    }

    /// Works on the state where that may block.
    async fn with_state<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut State, Now) -> T + Send + 'static,
    ) -> Result<T, TaskFailed> {
        let mut state = self.state.take().ok_or(TaskFailed::Panicked)?;
        let env = self.env.clone();
        let done = move || {
            let result = work(&mut state, env.now());
            (state, result)
        };
        let (mut state, result) = self.env.run_blocking(done).await?;
        if let Some(failure) = state.take_store_failure() {
            tracing::error!(error = %chain_text(&failure), "the state could not be stored");
        }
        self.state = Some(state);
        Ok(result)
    }

    /// What hangs on the view besides decisions.
    fn refresh(&self) {
        let view = self.views.load_full();
        self.vault.retain(|tenant, credential, version| {
            let held = view.shards.get(&(tenant.clone(), credential.clone()));
            held.is_some_and(|shard| shard.version() == version)
        });
        if let Some(directory) = &view.directory {
            self.feed.set_voters(directory.content().voters.iter().map(|voter| voter.id).collect());
        }
    }

    fn not_believed(&self, what: &'static str) {
        self.metrics.not_believed.get_or_create(&[("what", what)]).inc();
    }
}

impl Conversation {
    fn hear(&mut self, message: VoterMessage, now: Now) -> Result<(), Left> {
        Ok(self.subscriber.handle_message(message, now.boot)?)
    }
}

/// Reads one of the voter's own streams to its end.
async fn read_lane(mut stream: FramedRecv, lane: mpsc::Sender<Result<VoterMessage, Left>>) {
    loop {
        let message = match stream.recv::<VoterMessage>(FRAME_WITHIN).await {
            Ok(Some(message)) => Ok(message),
            Ok(None) => return,
            Err(error) => Err(error.into()),
        };
        let failed = message.is_err();
        // The conversation may be over.
        if lane.send(message).await.is_err() || failed {
            return;
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a timer of tokio's own clock, which a simulation controls; no age is read from it"
)]
fn soon(within: Duration) -> tokio::time::Instant {
    tokio::time::Instant::now() + within
}
