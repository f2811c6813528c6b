//! The voter's end of a distribution stream: one per connected edge.
//!
//! It compares what the edge has with the voter's newest state and says the difference, most urgent first. It works
//! from a snapshot, and when the state moves on it is given the next; what was skipped in between is never said. It
//! makes a message only when the stream of its lane can take one, so that a slow edge costs a voter no memory beyond
//! one message a lane. An edge that is ahead of this voter hears nothing until the voter has caught up: numbers never
//! go back. Clauses D-1 to D-7, docs/PROTOCOL.md.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::Lane;
use super::published::{PublishedBeacon, PublishedRevocations, PublishedState, offer_after};
use crate::crypto::digest::Digest;
use crate::id::{BootId, CredentialId, EdgeId, LogIndex, MeshId, RevocationEpoch, TenantId, VoterId};
use crate::limits::{BUNDLE_FILES_MAX, CHUNK_BYTES_MAX};
use crate::relation_log::Head;
use crate::time::BootTime;
use crate::trust::tick::TickAnswer;
use crate::wire::batch::RecordBatch;
use crate::wire::frame::PeerMisbehaved;
use crate::wire::message::{
    Ack, BeaconOffer, Chunk, EdgeMessage, Have, HaveRelations, Hello, HelloAck, Nack, NonceMessage, RecordAck,
    RecordFork, Refused, RelationsHead, RelationsOffer, RevocationsPart, RolloutExample, RolloutReport, ShardOffer,
    StagedOffer, TickRelations, VoterMessage, WireMessage as _,
};
use crate::wire::proof::{Attestation, Covered};
use crate::wire::version::{self, VERSIONS_MAX};

/// Time from the connection to the end of the greeting.
pub const GREETING_MAX: Duration = Duration::from_secs(10);
/// Objects that an edge may have asked for and not received: the files of a bundle, and a few documents.
pub const FETCH_MAX: usize = BUNDLE_FILES_MAX + 16;
/// Entries of what an edge says it has.
pub const HAVE_ENTRIES_MAX: usize = 4_096;
/// Characters of a code or a detail that an edge reports.
pub const TEXT_BYTES_MAX: usize = 2_048;
/// Differences that an edge shows of a bundle that is being rolled out, and rules of each.
pub const EXAMPLES_MAX: usize = 8;
/// Boots of an edge whose records are acknowledged on one connection: the running one and a few whose tail it still
/// has.
pub const BOOTS_MAX: usize = 16;

/// What an edge has told its voter, for the voter to act on.
#[derive(Debug, Clone, PartialEq)]
pub enum EdgeReport {
    /// The greeting is over, and this is the start of the edge's process.
    Subscribed {
        /// Random per start.
        boot: BootId,
    },
    /// A bundle has come this far.
    Ack(Ack),
    /// Something was not taken.
    Nack(Nack),
    /// What the edge runs. The signature is not checked.
    Attest(Attestation),
    /// What the edge enforces. The signature is not checked.
    Covered(Covered),
    /// A nonce for the next tick.
    Nonce(NonceMessage),
    /// How far the relations of these tenants have come.
    Relations(Vec<RelationsHead>),
    /// What it has seen of a bundle that is being rolled out.
    Rollout(RolloutReport),
    /// Records, still packed.
    Records(RecordBatch),
}

/// One edge, as its voter sees it.
#[derive(Debug)]
pub struct Publisher {
    mesh: MeshId,
    edge: EdgeId,
    voter: VoterId,
    state: Arc<PublishedState>,
    phase: Phase,
    said: Said,
    /// Greeting and refusals: at most one of each.
    greeting: VecDeque<VoterMessage>,
    /// Only the newest answer is worth anything.
    tick: Option<TickAnswer>,
    /// These two go before it.
    tick_relations: Option<TickRelations>,
    tick_beacon: Option<BeaconOffer>,
    record_acks: BTreeMap<BootId, u64>,
    record_forks: BTreeMap<BootId, RecordFork>,
    revocations: Option<(Arc<[RevocationsPart]>, usize)>,
    fetches: VecDeque<Fetching>,
    absent: VecDeque<Digest>,
    unknown: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Greeting { until: BootTime },
    Subscribing { until: BootTime, boot: BootId },
    Live,
    Over,
}

/// The newest of everything that the edge had or was told.
#[derive(Debug, Default)]
struct Said {
    root: u64,
    directory: u64,
    activations: BTreeMap<(TenantId, u32), LogIndex>,
    staged: BTreeMap<TenantId, LogIndex>,
    shards: BTreeMap<(TenantId, CredentialId), u64>,
    relations: BTreeMap<TenantId, Followed>,
    epoch: RevocationEpoch,
    digest: Digest,
    set: Option<Arc<PublishedRevocations>>,
}

/// How far an edge has come with the relations of a tenant that it follows.
#[derive(Debug, Default)]
struct Followed {
    /// The revision that it says it has.
    has: u64,
    /// What was offered since, and not taken yet.
    offered: Option<Offered>,
}

#[derive(Debug)]
struct Offered {
    last: u64,
    /// Where in the log each batch of it is.
    batches: BTreeMap<Digest, u64>,
}

#[derive(Debug)]
struct Fetching {
    digest: Digest,
    bytes: Arc<[u8]>,
    sent: usize,
}

impl Publisher {
    /// Waits for the greeting of `edge`, which is who its certificate says.
    #[must_use]
    pub fn new(mesh: MeshId, edge: EdgeId, voter: VoterId, state: Arc<PublishedState>, now: BootTime) -> Self {
        Self {
            mesh,
            edge,
            voter,
            state,
            phase: Phase::Greeting { until: now.plus(GREETING_MAX) },
            said: Said::default(),
            greeting: VecDeque::new(),
            tick: None,
            tick_relations: None,
            tick_beacon: None,
            record_acks: BTreeMap::new(),
            record_forks: BTreeMap::new(),
            revocations: None,
            fetches: VecDeque::new(),
            absent: VecDeque::new(),
            unknown: 0,
        }
    }

    /// The voter's state has moved on.
    pub fn update(&mut self, state: Arc<PublishedState>) {
        self.state = state;
    }

    /// A tick with the edge's nonce has been applied, these are all relations as of it, and this is what voters have
    /// signed about it, where they do. An answer that was not sent yet is replaced.
    pub fn answer_tick(
        &mut self,
        answer: TickAnswer,
        relations: &BTreeMap<TenantId, Head>,
        beacon: Option<&PublishedBeacon>,
    ) {
        if self.tick.as_ref().is_some_and(|older| older.n >= answer.n) {
            return;
        }
        // An edge of an earlier version follows none, and is told nothing that it does not know. Whoever follows is told
        // of every tenant that it follows, also that there is nothing yet: what is not named proves nothing.
        let heads = self.said.relations.keys().map(|tenant| {
            let Head { revision, digest } = relations.get(tenant).copied().unwrap_or_default();
            RelationsHead { tenant: tenant.clone(), revision, digest }
        });
        let mut heads: Vec<RelationsHead> = heads.collect();
        self.tick_beacon = beacon.map(|beacon| {
            // Of a tenant that the root does not know nothing was signed, so nothing is said.
            let path = |head: RelationsHead| Some((beacon.relations.path(&head.tenant)?.1, head));
            let (paths, signed) = std::mem::take(&mut heads).into_iter().filter_map(path).unzip();
            heads = signed;
            BeaconOffer {
                n: answer.n,
                relations: beacon.relations.root(),
                paths,
                signatures: beacon.signatures.clone(),
            }
        });
        let heads = TickRelations { n: answer.n, heads };
        self.tick_relations = (!self.said.relations.is_empty()).then_some(heads);
        self.tick = Some(answer);
    }

    /// Every record of `boot` up to `seq` is on this voter's disk.
    pub fn acknowledge_records(&mut self, boot: BootId, seq: u64) {
        let newest = self.record_acks.entry(boot).or_default();
        *newest = seq.max(*newest);
        if self.record_acks.len() > BOOTS_MAX {
            // An edge that skips from boot to boot hears of the last; what it does not hear of it sends again.
            self.record_acks.retain(|kept, _| *kept == boot);
        }
    }

    /// A record contradicts what this voter has.
    pub fn report_fork(&mut self, fork: RecordFork) {
        if self.record_forks.len() < BOOTS_MAX {
            self.record_forks.insert(fork.boot, fork);
        }
    }

    /// Ends the conversation; the reason still goes out on the control lane.
    pub fn refuse(&mut self, code: &str, detail: &str) {
        if self.phase != Phase::Over {
            self.phase = Phase::Over;
            self.greeting
                .push_back(VoterMessage::Refused(Refused { code: code.to_owned(), detail: detail.to_owned() }));
        }
    }

    /// Whether the conversation has ended; close the connection once the control lane is empty.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// Messages of types that this build does not know.
    #[must_use]
    pub fn unknown_messages(&self) -> u64 {
        self.unknown
    }

    /// Takes a message, whichever stream it came on.
    ///
    /// # Errors
    /// [`PeerMisbehaved`]: drop the connection.
    pub fn handle_message(&mut self, message: EdgeMessage) -> Result<Option<EdgeReport>, PeerMisbehaved> {
        let name = message.name();
        match (self.phase, message) {
            (Phase::Over, _) => Ok(None),
            (_, EdgeMessage::Unknown { .. }) => {
                self.unknown = self.unknown.saturating_add(1);
                Ok(None)
            }
            (Phase::Greeting { until }, EdgeMessage::Hello(hello)) => {
                self.on_hello(hello, until)?;
                Ok(None)
            }
            (Phase::Subscribing { boot, .. }, EdgeMessage::Subscribe(have)) => {
                self.on_subscribe(have)?;
                self.phase = Phase::Live;
                Ok(Some(EdgeReport::Subscribed { boot }))
            }
            (Phase::Live, message) => self.on_live(message),
            (Phase::Greeting { .. } | Phase::Subscribing { .. }, _) => {
                Err(PeerMisbehaved::OutOfPlace { kind: name, why: "the greeting is not over" })
            }
        }
    }

    /// When [`Self::handle_timeout`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<BootTime> {
        match self.phase {
            Phase::Greeting { until } | Phase::Subscribing { until, .. } => Some(until),
            Phase::Live | Phase::Over => None,
        }
    }

    /// Time has passed.
    ///
    /// # Errors
    /// [`PeerMisbehaved::TooSlow`]: drop the connection.
    pub fn handle_timeout(&mut self, now: BootTime) -> Result<(), PeerMisbehaved> {
        match self.poll_timeout() {
            Some(until) if now >= until => Err(PeerMisbehaved::TooSlow { what: "the greeting" }),
            _ => Ok(()),
        }
    }

    /// Whether [`Self::poll`] has a message for this lane.
    #[must_use]
    pub fn has_output(&self, lane: Lane) -> bool {
        match lane {
            Lane::Control => !self.greeting.is_empty() || self.next_control().is_some(),
            Lane::Revocations => self.phase == Phase::Live && (self.revocations.is_some() || self.epoch_rose()),
            Lane::Objects => self.phase == Phase::Live && (!self.fetches.is_empty() || self.next_shard().is_some()),
            Lane::Records => false,
        }
    }

    /// The next message of a lane. Call it when the lane's stream can take one, and send what it gives.
    pub fn poll(&mut self, lane: Lane) -> Option<VoterMessage> {
        match lane {
            Lane::Control => self.poll_control(),
            Lane::Revocations => self.poll_revocations(),
            Lane::Objects => self.poll_objects(),
            Lane::Records => None,
        }
    }

    fn on_hello(&mut self, hello: Hello, until: BootTime) -> Result<(), PeerMisbehaved> {
        let Hello { versions, mesh, edge, boot } = hello;
        if mesh != self.mesh || edge != self.edge {
            return Err(PeerMisbehaved::WrongPeer);
        }
        if versions.len() > VERSIONS_MAX {
            return Err(PeerMisbehaved::TooMany { what: "versions", max: VERSIONS_MAX });
        }
        match version::choose(&versions) {
            Ok(version) => {
                self.phase = Phase::Subscribing { until, boot };
                self.greeting.push_back(VoterMessage::HelloAck(HelloAck { version, voter: self.voter }));
            }
            Err(none) => self.refuse("version", &none.to_string()),
        }
        Ok(())
    }

    fn on_subscribe(&mut self, have: Have) -> Result<(), PeerMisbehaved> {
        let Have { root, directory, activations, epoch, revocations, shards } = have;
        if activations.len() > HAVE_ENTRIES_MAX || shards.len() > HAVE_ENTRIES_MAX {
            return Err(PeerMisbehaved::TooMany { what: "entries of what an edge has", max: HAVE_ENTRIES_MAX });
        }
        self.said = Said {
            root,
            directory,
            activations: activations.into_iter().map(|have| ((have.tenant, have.ring), have.number)).collect(),
            staged: BTreeMap::new(),
            shards: shards.into_iter().map(|have| ((have.tenant, have.credential), have.version)).collect(),
            relations: BTreeMap::new(),
            epoch,
            digest: revocations,
            set: None,
        };
        Ok(())
    }

    fn on_live(&mut self, message: EdgeMessage) -> Result<Option<EdgeReport>, PeerMisbehaved> {
        let is_text = |text: &str| text.len() <= TEXT_BYTES_MAX;
        Ok(Some(match message {
            EdgeMessage::Fetch(fetch) => {
                for digest in fetch.digests {
                    self.on_fetch(digest)?;
                }
                return Ok(None);
            }
            EdgeMessage::Attest(attestation) if attestation.edge != self.edge => return Err(PeerMisbehaved::WrongPeer),
            EdgeMessage::Covered(covered) if covered.edge != self.edge => return Err(PeerMisbehaved::WrongPeer),
            EdgeMessage::Nack(nack) if !is_text(&nack.code) || !is_text(&nack.detail) => {
                return Err(PeerMisbehaved::TooMany { what: "bytes of a reason", max: TEXT_BYTES_MAX });
            }
            EdgeMessage::Rollout(report) if !is_small(&report) => {
                return Err(PeerMisbehaved::TooMany { what: "examples of a rollout", max: EXAMPLES_MAX });
            }
            EdgeMessage::Rollout(report) => EdgeReport::Rollout(report),
            EdgeMessage::Ack(ack) => EdgeReport::Ack(ack),
            EdgeMessage::Nack(nack) => EdgeReport::Nack(nack),
            EdgeMessage::Attest(attestation) => EdgeReport::Attest(attestation),
            EdgeMessage::Covered(covered) => EdgeReport::Covered(covered),
            EdgeMessage::Nonce(nonce) => EdgeReport::Nonce(nonce),
            EdgeMessage::HaveRelations(have) => return self.on_have_relations(have).map(Some),
            EdgeMessage::RecordBatch(batch) => EdgeReport::Records(batch),
            EdgeMessage::Hello(_) | EdgeMessage::Subscribe(_) => {
                return Err(PeerMisbehaved::OutOfPlace { kind: "Hello", why: "the greeting is over" });
            }
            EdgeMessage::Revoke(_) => {
                return Err(PeerMisbehaved::OutOfPlace { kind: "Revoke", why: "a request has a stream of its own" });
            }
            EdgeMessage::Unknown { .. } => return Ok(None),
        }))
    }

    /// An edge that has another past than this voter is offered this one's from its beginning, and says what it makes of
    /// it.
    fn on_have_relations(&mut self, have: HaveRelations) -> Result<EdgeReport, PeerMisbehaved> {
        let HaveRelations { again, heads } = have;
        if heads.len() > HAVE_ENTRIES_MAX || self.said.relations.len() > HAVE_ENTRIES_MAX {
            return Err(PeerMisbehaved::TooMany { what: "relations that an edge has", max: HAVE_ENTRIES_MAX });
        }
        for head in &heads {
            let log = self.state.relations_of(&head.tenant);
            let kept = log.and_then(|log| log.digest_at(head.revision));
            let has = if kept.is_some_and(|digest| *digest != head.digest) { 0 } else { head.revision };
            match self.said.relations.get_mut(&head.tenant) {
                Some(followed) => *followed = Followed { has, offered: None },
                None if again => drop(self.said.relations.insert(head.tenant.clone(), Followed { has, offered: None })),
                None => {}
            }
        }
        Ok(EdgeReport::Relations(heads))
    }

    /// One offer of a tenant at a time: an edge says what it has taken before it is offered more, so that nothing piles
    /// up there. One that could not take what it was offered says nothing, and is offered what makes good whatever was
    /// wrong: a statement of the whole set that came since (D-13).
    fn next_relations(&self) -> Option<RelationsOffer> {
        self.said.relations.iter().find_map(|(tenant, followed)| {
            let log = self.state.relations_of(tenant)?;
            let Some(offered) = &followed.offered else { return offer_after(log, followed.has) };
            let first = log.kept().first()?.head.revision;
            offer_after(log, offered.last).filter(|_| first > offered.last)
        })
    }

    /// A batch that this edge was offered, while it is kept.
    fn offered_batch(&self, digest: &Digest) -> Option<&Arc<[u8]>> {
        self.said.relations.iter().find_map(|(tenant, followed)| {
            let revision = followed.offered.as_ref()?.batches.get(digest)?;
            let kept = self.state.relations_of(tenant)?.kept_at(*revision)?;
            (kept.object == *digest).then_some(&kept.bytes)
        })
    }

    fn on_fetch(&mut self, digest: Digest) -> Result<(), PeerMisbehaved> {
        if self.fetches.len() + self.absent.len() >= FETCH_MAX {
            return Err(PeerMisbehaved::TooMany { what: "objects at a time", max: FETCH_MAX });
        }
        match self.state.object(&digest).or_else(|| self.offered_batch(&digest)) {
            Some(bytes) => self.fetches.push_back(Fetching { digest, bytes: bytes.clone(), sent: 0 }),
            None => self.absent.push_back(digest),
        }
        Ok(())
    }

    fn poll_control(&mut self) -> Option<VoterMessage> {
        if let Some(message) = self.greeting.pop_front() {
            // Never needed again, for as long as the edge stays.
            self.greeting.shrink_to_fit();
            return Some(message);
        }
        let message = self.next_control()?;
        match &message {
            VoterMessage::TickRelations(_) => self.tick_relations = None,
            VoterMessage::Beacon(_) => self.tick_beacon = None,
            VoterMessage::TickAnswer(_) => self.tick = None,
            VoterMessage::Relations(offer) => {
                let batches: BTreeMap<_, _> =
                    offer.batches.iter().zip(offer.first..).map(|(batch, revision)| (batch.digest, revision)).collect();
                let last = batches.values().copied().max().unwrap_or(offer.first);
                if let Some(followed) = self.said.relations.get_mut(&offer.tenant) {
                    followed.offered = Some(Offered { last, batches });
                }
            }
            VoterMessage::RecordFork(fork) => drop(self.record_forks.remove(&fork.boot)),
            VoterMessage::RecordAck(ack) => drop(self.record_acks.remove(&ack.boot)),
            VoterMessage::Absent(_) => drop(self.absent.pop_front()),
            VoterMessage::Root(root) => self.said.root = root.version,
            VoterMessage::Directory(directory) => self.said.directory = directory.version,
            VoterMessage::Activation(activated) => {
                let activation = &activated.activation;
                self.said.activations.insert((activation.tenant.clone(), activation.ring), activation.number);
            }
            VoterMessage::Staged(StagedOffer { tenant, staged: Some((activated, _)) }) => {
                self.said.staged.insert(tenant.clone(), activated.activation.number);
            }
            VoterMessage::Staged(StagedOffer { tenant, staged: None }) => drop(self.said.staged.remove(tenant)),
            VoterMessage::HelloAck(_)
            | VoterMessage::Object(_)
            | VoterMessage::Shard(_)
            | VoterMessage::Revocations(_)
            | VoterMessage::Refused(_)
            | VoterMessage::Voters(_)
            | VoterMessage::Revoked(_)
            | VoterMessage::Unknown { .. } => {}
        }
        Some(message)
    }

    /// The most urgent fact: freshness first, then what changes who is trusted, then what is to be run.
    fn next_control(&self) -> Option<VoterMessage> {
        if self.phase != Phase::Live {
            return None;
        }
        if let Some(relations) = &self.tick_relations {
            return Some(VoterMessage::TickRelations(relations.clone()));
        }
        if let Some(beacon) = &self.tick_beacon {
            return Some(VoterMessage::Beacon(beacon.clone()));
        }
        if let Some(answer) = &self.tick {
            return Some(VoterMessage::TickAnswer(answer.clone()));
        }
        if let Some(fork) = self.record_forks.values().next() {
            return Some(VoterMessage::RecordFork(*fork));
        }
        if let Some((boot, seq)) = self.record_acks.iter().next() {
            return Some(VoterMessage::RecordAck(RecordAck { boot: *boot, seq: *seq }));
        }
        if let Some(digest) = self.absent.front() {
            return Some(VoterMessage::Absent(*digest));
        }
        if let Some(root) = self.state.root_after(self.said.root) {
            return Some(VoterMessage::Root(root));
        }
        if let Some(directory) = self.state.directory_after(self.said.directory) {
            return Some(VoterMessage::Directory(directory));
        }
        let activation = self.state.activations().find(|activated| {
            let activation = &activated.activation;
            let said = self.said.activations.get(&(activation.tenant.clone(), activation.ring));
            said.is_none_or(|said| *said < activation.number)
        });
        if let Some(activated) = activation {
            return Some(VoterMessage::Activation(activated.clone()));
        }
        if let Some(staged) = self.state.staged_unlike(&self.said.staged) {
            return Some(VoterMessage::Staged(staged));
        }
        self.next_relations().map(VoterMessage::Relations)
    }

    fn epoch_rose(&self) -> bool {
        self.state.revocations().set().epoch() > self.said.epoch
    }

    fn poll_revocations(&mut self) -> Option<VoterMessage> {
        if self.phase != Phase::Live {
            return None;
        }
        let (parts, next) = match self.revocations.take() {
            Some(parts) => parts,
            None => (self.next_update()?, 0),
        };
        let message = parts.get(next).cloned().map(VoterMessage::Revocations);
        if next + 1 < parts.len() {
            self.revocations = Some((parts, next + 1));
        }
        message
    }

    /// The difference to what the edge has, or the whole when nobody knows any more what it has.
    fn next_update(&mut self) -> Option<Arc<[RevocationsPart]>> {
        if !self.epoch_rose() {
            return None;
        }
        let current = self.state.revocations().clone();
        let parts = match &self.said.set {
            Some(last) => current.since(last),
            None => match self.state.earlier(self.said.epoch, &self.said.digest) {
                Some(earlier) => current.since(earlier),
                None => current.whole(),
            },
        };
        self.said.epoch = current.set().epoch();
        self.said.set = Some(current);
        Some(parts)
    }

    fn next_shard(&self) -> Option<(&(TenantId, CredentialId), &super::published::PublishedShard)> {
        self.state
            .shards_of(&self.edge)
            .find(|(name, shard)| self.said.shards.get(*name).is_none_or(|said| *said < shard.version))
    }

    fn poll_objects(&mut self) -> Option<VoterMessage> {
        if self.phase != Phase::Live {
            return None;
        }
        if let Some((name, shard)) = self.next_shard() {
            let ((tenant, credential), version) = (name.clone(), shard.version);
            let bytes = shard.bytes.to_vec();
            self.said.shards.insert((tenant.clone(), credential.clone()), version);
            return Some(VoterMessage::Shard(ShardOffer { tenant, credential, version, bytes }));
        }
        let fetching = self.fetches.front_mut()?;
        let total = u64::try_from(fetching.bytes.len()).ok()?;
        let offset = u64::try_from(fetching.sent).ok()?;
        let rest = fetching.bytes.get(fetching.sent..)?;
        let bytes = rest.get(..CHUNK_BYTES_MAX).unwrap_or(rest).to_vec();
        fetching.sent += bytes.len();
        let digest = fetching.digest;
        if fetching.sent == fetching.bytes.len() {
            self.fetches.pop_front();
        }
        Some(VoterMessage::Object(Chunk { digest, offset, total, bytes }))
    }
}

/// What an edge shows of a rollout is for people to read: a few lines.
fn is_small(report: &RolloutReport) -> bool {
    let is_line = |text: &str| text.len() <= TEXT_BYTES_MAX / EXAMPLES_MAX;
    report.examples.len() <= EXAMPLES_MAX
        && report.examples.iter().all(|RolloutExample { action: _, class, before, after, rules }| {
            rules.len() <= EXAMPLES_MAX && [class, before, after].into_iter().chain(rules).all(|text| is_line(text))
        })
}
