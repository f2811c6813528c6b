//! The edge's end of a distribution stream: one per connection.
//!
//! It says what the edge has, fetches what is announced above that, and hands it out, each thing once and whole. It
//! verifies sizes, order and digests, so that a hostile voter can cost an edge neither memory nor patience; it trusts
//! nothing else. Signatures, versions and times are the edge's to check before anything takes effect, and it says back
//! what came of it. What a voter *announces* lives as long as the connection: the next one starts from what the edge
//! has verified. Clauses D-1 to D-9, docs/PROTOCOL.md.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::revocations::{Assembler, Taken};
use super::transfer::Transfer;
use crate::bundle::container::SignedBundle;
use crate::bundle::manifest::FileEntry;
use crate::crypto::digest::Digest;
use crate::id::{BootId, CredentialId, EdgeId, LogIndex, MeshId, RevocationEpoch, TenantId, VoterId};
use crate::limits::{BUNDLE_BYTES_MAX, BUNDLE_FILE_BYTES_MAX, BUNDLE_FILES_MAX, DOCUMENT_BYTES_MAX, SHARD_BYTES_MAX};
use crate::revocation::RevocationUpdate;
use crate::time::BootTime;
use crate::trust::activation::Activation;
use crate::trust::dsse::Envelope;
use crate::trust::tick::TickAnswer;
use crate::wire::frame::PeerMisbehaved;
use crate::wire::message::{
    Ack, Activated, EdgeMessage, Fetch, Have, Hello, Nack, NonceMessage, ObjectRef, Published, RecordAck, RecordFork,
    Refused, ShardOffer, Stage, VoterMessage, WireMessage as _,
};
use crate::wire::proof::{Attestation, Covered};
use crate::wire::version::SPOKEN;

use super::publisher::{FETCH_MAX, GREETING_MAX};

/// Time from the first part of a change of the revocations to the last.
pub const UPDATE_MAX: Duration = Duration::from_secs(120);
/// Root documents announced and not fetched yet: decades of yearly ones.
pub const ROOTS_MAX: usize = 64;
/// Activations announced: every tenant and ring of a large mesh.
pub const ACTIVATIONS_MAX: usize = 4_096;
/// Shards announced: every credential of an edge's tenants, many times over.
pub const SHARDS_MAX: usize = 4_096;
/// Outputs that wait to be polled. One message makes a handful; more means that nobody polls.
pub const OUTPUTS_MAX: usize = 1_024;

/// What the edge has to send or to look at.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Send this on the control lane.
    Send(EdgeMessage),
    /// The greeting is over.
    Subscribed,
    /// A root document, to be verified against the edge's own. They come in ascending order.
    Root {
        /// The version that the voter says it has.
        version: u64,
        /// The document in its signatures.
        bytes: Vec<u8>,
    },
    /// A directory, to be verified.
    Directory {
        /// The version that the voter says it has.
        version: u64,
        /// The document in its signatures.
        bytes: Vec<u8>,
    },
    /// An activation has been announced. It counts once a tick answer covers it.
    Activation(Activation),
    /// A manifest, to be verified. Answer with [`Subscriber::manifest_verified`] or [`Subscriber::refuse_bundle`].
    Manifest {
        /// What named it.
        activation: Activation,
        /// The manifest in its signatures.
        envelope: Envelope,
    },
    /// A whole bundle, to be verified.
    Bundle {
        /// What named it.
        activation: Activation,
        /// The bundle.
        bundle: SignedBundle,
    },
    /// A sealed shard, to be verified.
    Shard(ShardOffer),
    /// A change of the revocations, to be verified.
    Revocations(RevocationUpdate),
    /// A tick answer, to be verified.
    TickAnswer(TickAnswer),
    /// Records are on the voter's disk.
    RecordAck(RecordAck),
    /// Records contradict others.
    RecordFork(RecordFork),
    /// The voter ends the conversation.
    Refused(Refused),
}

/// One voter, as the edge sees it.
#[derive(Debug)]
pub struct Subscriber {
    identity: SubscriberIdentity,
    have: Option<Have>,
    phase: Phase,
    outputs: VecDeque<Output>,
    announced: Announced,
    /// Bundles that the edge has whole, verified or refused: not fetched again.
    settled: BTreeSet<Digest>,
    job: Option<Job>,
    roots: VecDeque<Published>,
    directory: Option<Published>,
    bundles: BTreeMap<TenantId, Activated>,
    updates: Assembler,
    update_until: Option<BootTime>,
    unknown: u64,
}

/// Who is talking to whom.
#[derive(Debug, Clone)]
pub struct SubscriberIdentity {
    /// The mesh.
    pub mesh: MeshId,
    /// This edge.
    pub edge: EdgeId,
    /// The start of this edge's process.
    pub boot: BootId,
    /// The voter that was dialled.
    pub voter: VoterId,
    /// The tenants whose bundles this edge runs.
    pub tenants: BTreeSet<TenantId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Greeting { until: BootTime },
    Live,
    Over,
}

/// The newest of everything that the edge had or was told on this connection.
#[derive(Debug, Default)]
struct Announced {
    root: u64,
    directory: u64,
    activations: BTreeMap<(TenantId, u32), LogIndex>,
    shards: BTreeMap<(TenantId, CredentialId), u64>,
    epoch: RevocationEpoch,
    tick: LogIndex,
}

/// What is being fetched. One thing at a time, so that the memory a voter can make an edge spend is one bundle.
#[derive(Debug)]
enum Job {
    Root(Published, Transfer),
    Directory(Published, Transfer),
    Manifest(Activated, Transfer),
    /// The edge is verifying the manifest.
    Verifying(Activation, Envelope),
    Files {
        activation: Activation,
        envelope: Envelope,
        /// Of the manifest, in its order.
        order: Vec<Digest>,
        held: BTreeMap<Digest, Vec<u8>>,
        transfer: Transfer,
    },
}

impl Subscriber {
    /// Greets. `have` is what the edge has verified and stored; `settled` are the manifests of the bundles that it has
    /// whole.
    #[must_use]
    pub fn new(identity: SubscriberIdentity, have: Have, settled: BTreeSet<Digest>, now: BootTime) -> Self {
        let announced = Announced {
            root: have.root,
            directory: have.directory,
            activations: have.activations.iter().map(|have| ((have.tenant.clone(), have.ring), have.number)).collect(),
            shards: have
                .shards
                .iter()
                .map(|have| ((have.tenant.clone(), have.credential.clone()), have.version))
                .collect(),
            epoch: have.epoch,
            tick: LogIndex(0),
        };
        let hello = EdgeMessage::Hello(Hello {
            versions: SPOKEN.to_vec(),
            mesh: identity.mesh,
            edge: identity.edge.clone(),
            boot: identity.boot,
        });
        Self {
            identity,
            have: Some(have),
            phase: Phase::Greeting { until: now.plus(GREETING_MAX) },
            outputs: VecDeque::from([Output::Send(hello)]),
            announced,
            settled,
            job: None,
            roots: VecDeque::new(),
            directory: None,
            bundles: BTreeMap::new(),
            updates: Assembler::default(),
            update_until: None,
            unknown: 0,
        }
    }

    /// The next output. Drain after every call of anything else.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Self::handle_timeout`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<BootTime> {
        let greeting = match self.phase {
            Phase::Greeting { until } => Some(until),
            Phase::Live => None,
            Phase::Over => return None,
        };
        let transfer = match &self.job {
            Some(
                Job::Root(_, transfer)
                | Job::Directory(_, transfer)
                | Job::Manifest(_, transfer)
                | Job::Files { transfer, .. },
            ) => Some(transfer.deadline()),
            Some(Job::Verifying(..)) | None => None,
        };
        [greeting, transfer, self.update_until].into_iter().flatten().min()
    }

    /// Time has passed.
    ///
    /// # Errors
    /// [`PeerMisbehaved::TooSlow`]: drop the connection and try another voter.
    pub fn handle_timeout(&mut self, now: BootTime) -> Result<(), PeerMisbehaved> {
        match self.poll_timeout() {
            Some(until) if now >= until => Err(PeerMisbehaved::TooSlow { what: "what was asked for has not come" }),
            _ => Ok(()),
        }
    }

    /// Messages of types that this build does not know.
    #[must_use]
    pub fn unknown_messages(&self) -> u64 {
        self.unknown
    }

    /// Takes a message, whichever stream it came on.
    ///
    /// # Errors
    /// [`PeerMisbehaved`]: drop the connection and try another voter. What was handed out before still stands or falls
    /// by its own signatures.
    pub fn handle_message(&mut self, message: VoterMessage, now: BootTime) -> Result<(), PeerMisbehaved> {
        let name = message.name();
        match (self.phase, message) {
            (Phase::Over, _) => {}
            (_, VoterMessage::Unknown { .. }) => self.unknown = self.unknown.saturating_add(1),
            (_, VoterMessage::Refused(refused)) => {
                self.phase = Phase::Over;
                self.outputs.push_back(Output::Refused(refused));
            }
            (Phase::Greeting { .. }, VoterMessage::HelloAck(ack)) => {
                if ack.voter != self.identity.voter {
                    return Err(PeerMisbehaved::WrongPeer);
                }
                if !SPOKEN.contains(&ack.version) {
                    return Err(PeerMisbehaved::OutOfPlace { kind: name, why: "the version was not offered" });
                }
                self.phase = Phase::Live;
                let have = self.have.take().unwrap_or_default();
                self.outputs.extend([Output::Send(EdgeMessage::Subscribe(have)), Output::Subscribed]);
            }
            (Phase::Greeting { .. }, _) => {
                return Err(PeerMisbehaved::OutOfPlace { kind: name, why: "the greeting is not over" });
            }
            (Phase::Live, message) => self.on_live(message, now)?,
        }
        if self.outputs.len() > OUTPUTS_MAX {
            return Err(PeerMisbehaved::TooMany { what: "messages at a time", max: OUTPUTS_MAX });
        }
        Ok(())
    }

    /// The manifest that was handed out is signed as it must be. These are its files; they are fetched, those in `held` excepted, and
    /// the bundle is handed out when it is whole.
    ///
    /// # Errors
    /// [`PeerMisbehaved`] when the manifest lists more than a bundle may have; then it is settled.
    pub fn manifest_verified(
        &mut self,
        files: &[FileEntry],
        held: BTreeMap<Digest, Vec<u8>>,
        now: BootTime,
    ) -> Result<(), PeerMisbehaved> {
        let Some(Job::Verifying(activation, envelope)) = self.job.take() else { return Ok(()) };
        let bytes = files.iter().fold(0u64, |sum, file| sum.saturating_add(file.len));
        if files.len() > BUNDLE_FILES_MAX
            || exceeds(bytes, BUNDLE_BYTES_MAX)
            || files.iter().any(|file| exceeds(file.len, BUNDLE_FILE_BYTES_MAX))
        {
            self.settled.insert(activation.manifest);
            self.next_job(now);
            return Err(PeerMisbehaved::TooLong { len: bytes, max: BUNDLE_BYTES_MAX });
        }
        let missing = files
            .iter()
            .filter(|file| !held.contains_key(&file.sha256))
            .map(|file| ObjectRef { digest: file.sha256, len: file.len });
        let transfer = Transfer::of(missing, now);
        let order = files.iter().map(|file| file.sha256).collect();
        self.ask(&transfer);
        self.job = Some(Job::Files { activation, envelope, order, held, transfer });
        self.finish_if_complete(now);
        Ok(())
    }

    /// A bundle was not taken: its manifest or, later, the whole. It is not fetched again on this connection.
    pub fn refuse_bundle(&mut self, manifest: Digest, code: &str, detail: &str, now: BootTime) {
        self.settled.insert(manifest);
        self.refuse(manifest, code, detail);
        if matches!(&self.job, Some(Job::Verifying(activation, _)) if activation.manifest == manifest) {
            self.job = None;
            self.next_job(now);
        }
    }

    /// A document that was handed out was not taken.
    pub fn refuse(&mut self, digest: Digest, code: &str, detail: &str) {
        self.send(EdgeMessage::Nack(Nack { digest, code: code.to_owned(), detail: detail.to_owned() }));
    }

    /// A bundle has reached a stage.
    pub fn acknowledge(&mut self, tenant: TenantId, manifest: Digest, stage: Stage) {
        self.send(EdgeMessage::Ack(Ack { tenant, manifest, stage }));
    }

    /// What the edge runs now.
    pub fn attest(&mut self, attestation: Attestation) {
        self.send(EdgeMessage::Attest(attestation));
    }

    /// What the edge enforces now.
    pub fn cover(&mut self, covered: Covered) {
        self.send(EdgeMessage::Covered(covered));
    }

    /// A fresh nonce, with what the edge has at this moment.
    pub fn send_nonce(&mut self, nonce: NonceMessage) {
        self.send(EdgeMessage::Nonce(nonce));
    }

    /// Before the greeting is over nothing is said: the voter would drop us for it, and all of it is said again later.
    fn send(&mut self, message: EdgeMessage) {
        if self.phase == Phase::Live && self.outputs.len() < OUTPUTS_MAX {
            self.outputs.push_back(Output::Send(message));
        }
    }

    fn on_live(&mut self, message: VoterMessage, now: BootTime) -> Result<(), PeerMisbehaved> {
        match message {
            VoterMessage::Root(root) => {
                if rises("root version", self.announced.root, root.version)? {
                    check_len(root.object.len, DOCUMENT_BYTES_MAX)?;
                    if self.roots.len() >= ROOTS_MAX {
                        return Err(PeerMisbehaved::TooMany { what: "roots", max: ROOTS_MAX });
                    }
                    self.announced.root = root.version;
                    self.roots.push_back(root);
                }
            }
            VoterMessage::Directory(directory) => {
                if rises("directory version", self.announced.directory, directory.version)? {
                    check_len(directory.object.len, DOCUMENT_BYTES_MAX)?;
                    self.announced.directory = directory.version;
                    self.directory = Some(directory);
                }
            }
            VoterMessage::Activation(activated) => self.on_activation(activated)?,
            VoterMessage::Object(chunk) => {
                let refuse = PeerMisbehaved::OutOfPlace { kind: "Object", why: "the object was not asked for" };
                self.transfer().ok_or(refuse)?.take(chunk)?;
                self.finish_if_complete(now);
            }
            VoterMessage::Absent(digest) => {
                // The voter's state has moved on between announcing and asking; what replaced it is announced, too.
                let refuse = PeerMisbehaved::OutOfPlace { kind: "Absent", why: "the object was not asked for" };
                self.transfer().ok_or(refuse)?.give_up(&digest)?;
                self.finish_if_complete(now);
            }
            VoterMessage::Shard(shard) => self.on_shard(shard)?,
            VoterMessage::Revocations(part) => match self.updates.take(part, self.announced.epoch)? {
                Taken::Complete(update) => {
                    self.announced.epoch = update.to;
                    self.update_until = None;
                    self.outputs.push_back(Output::Revocations(update));
                }
                Taken::More => self.update_until = self.update_until.or(Some(now.plus(UPDATE_MAX))),
                Taken::Known => {}
            },
            VoterMessage::TickAnswer(answer) => {
                if answer.n > self.announced.tick {
                    self.announced.tick = answer.n;
                    self.outputs.push_back(Output::TickAnswer(answer));
                }
            }
            VoterMessage::RecordAck(ack) => self.outputs.push_back(Output::RecordAck(ack)),
            VoterMessage::RecordFork(fork) => self.outputs.push_back(Output::RecordFork(fork)),
            VoterMessage::HelloAck(_) => {
                return Err(PeerMisbehaved::OutOfPlace { kind: "HelloAck", why: "the greeting is over" });
            }
            VoterMessage::Refused(_) | VoterMessage::Unknown { .. } => {}
        }
        if self.job.is_none() {
            self.next_job(now);
        }
        Ok(())
    }

    fn on_activation(&mut self, activated: Activated) -> Result<(), PeerMisbehaved> {
        let activation = &activated.activation;
        let key = (activation.tenant.clone(), activation.ring);
        let known = self.announced.activations.get(&key).copied().unwrap_or_default();
        if !rises("activation number", known.0, activation.number.0)? {
            return Ok(());
        }
        check_len(activated.envelope.len, DOCUMENT_BYTES_MAX)?;
        if self.announced.activations.len() >= ACTIVATIONS_MAX && !self.announced.activations.contains_key(&key) {
            return Err(PeerMisbehaved::TooMany { what: "activations", max: ACTIVATIONS_MAX });
        }
        self.announced.activations.insert(key, activation.number);
        self.outputs.push_back(Output::Activation(activation.clone()));
        if self.identity.tenants.contains(&activation.tenant) {
            // Whatever waits for the tenant is outdated now; what is under way is finished, and superseded then.
            self.bundles.insert(activation.tenant.clone(), activated);
        }
        Ok(())
    }

    fn on_shard(&mut self, shard: ShardOffer) -> Result<(), PeerMisbehaved> {
        let key = (shard.tenant.clone(), shard.credential.clone());
        let known = self.announced.shards.get(&key).copied().unwrap_or_default();
        if !rises("shard version", known, shard.version)? {
            return Ok(());
        }
        if shard.bytes.len() > SHARD_BYTES_MAX {
            return Err(PeerMisbehaved::TooMany { what: "bytes of a shard", max: SHARD_BYTES_MAX });
        }
        if self.announced.shards.len() >= SHARDS_MAX && !self.announced.shards.contains_key(&key) {
            return Err(PeerMisbehaved::TooMany { what: "shards", max: SHARDS_MAX });
        }
        self.announced.shards.insert(key, shard.version);
        self.outputs.push_back(Output::Shard(shard));
        Ok(())
    }

    fn transfer(&mut self) -> Option<&mut Transfer> {
        match self.job.as_mut()? {
            Job::Root(_, transfer)
            | Job::Directory(_, transfer)
            | Job::Manifest(_, transfer)
            | Job::Files { transfer, .. } => Some(transfer),
            Job::Verifying(..) => None,
        }
    }

    /// Starts what is most urgent: what changes who is trusted comes before what they signed.
    fn next_job(&mut self, now: BootTime) {
        let job = if let Some(root) = self.roots.pop_front() {
            Job::Root(root, Transfer::of([root.object], now))
        } else if let Some(directory) = self.directory.take() {
            Job::Directory(directory, Transfer::of([directory.object], now))
        } else {
            let settled = &self.settled;
            self.bundles.retain(|_, activated| !settled.contains(&activated.activation.manifest));
            let Some((_, activated)) = self.bundles.pop_first() else { return };
            let transfer = Transfer::of([activated.envelope], now);
            Job::Manifest(activated, transfer)
        };
        self.job = Some(job);
        if let Some(transfer) = self.transfer() {
            let digests = transfer.digests();
            self.outputs.push_back(Output::Send(EdgeMessage::Fetch(Fetch { digests })));
        }
    }

    fn ask(&mut self, transfer: &Transfer) {
        let digests = transfer.digests();
        debug_assert!(digests.len() <= FETCH_MAX, "a bundle has no more files than may be asked for");
        if !digests.is_empty() {
            self.outputs.push_back(Output::Send(EdgeMessage::Fetch(Fetch { digests })));
        }
    }

    fn finish_if_complete(&mut self, now: BootTime) {
        if !self.transfer().is_some_and(|transfer| transfer.is_complete()) {
            return;
        }
        let mut next = None;
        match self.job.take() {
            Some(Job::Root(root, transfer)) => {
                let version = root.version;
                self.outputs.extend(only(transfer).map(|bytes| Output::Root { version, bytes }));
            }
            Some(Job::Directory(directory, transfer)) => {
                let version = directory.version;
                self.outputs.extend(only(transfer).map(|bytes| Output::Directory { version, bytes }));
            }
            Some(Job::Manifest(activated, transfer)) => next = self.on_manifest(activated, transfer),
            Some(Job::Files { activation, envelope, order, held, transfer }) => {
                if let Some(files) = transfer.into_objects().and_then(|fetched| in_order(&order, &fetched, &held)) {
                    self.settled.insert(activation.manifest);
                    let bundle = SignedBundle::from_parts(envelope, files);
                    self.acknowledge(activation.tenant.clone(), activation.manifest, Stage::Received);
                    self.outputs.push_back(Output::Bundle { activation, bundle });
                }
            }
            Some(Job::Verifying(..)) | None => {}
        }
        self.job = next;
        if self.job.is_none() {
            self.next_job(now);
        }
    }

    /// What was fetched must at least be a signed document whose payload is the manifest that the activation names.
    fn on_manifest(&mut self, activated: Activated, transfer: Transfer) -> Option<Job> {
        let activation = activated.activation;
        match Envelope::parse(&only(transfer)?) {
            Ok(envelope) if Digest::of(&[&envelope.payload]) == activation.manifest => {
                let handed_out = Output::Manifest { activation: activation.clone(), envelope: envelope.clone() };
                self.outputs.push_back(handed_out);
                Some(Job::Verifying(activation, envelope))
            }
            Ok(_) => {
                self.refuse(activation.manifest, "wrong-manifest", "the document is not the manifest that was named");
                None
            }
            Err(malformed) => {
                self.refuse(activation.manifest, "malformed", &malformed.to_string());
                None
            }
        }
    }
}

/// The one object of a transfer of one.
fn only(transfer: Transfer) -> Option<Vec<u8>> {
    transfer.into_objects()?.into_values().next()
}

fn in_order(
    order: &[Digest],
    fetched: &BTreeMap<Digest, Vec<u8>>,
    held: &BTreeMap<Digest, Vec<u8>>,
) -> Option<Vec<Vec<u8>>> {
    order.iter().map(|digest| fetched.get(digest).or_else(|| held.get(digest)).cloned()).collect()
}

fn rises(what: &'static str, known: u64, told: u64) -> Result<bool, PeerMisbehaved> {
    if told < known { Err(PeerMisbehaved::WentBack { what, from: known, to: told }) } else { Ok(told > known) }
}

fn exceeds(len: u64, max: usize) -> bool {
    usize::try_from(len).map_or(true, |len| len > max)
}

fn check_len(len: u64, max: usize) -> Result<(), PeerMisbehaved> {
    if exceeds(len, max) { Err(PeerMisbehaved::TooLong { len, max }) } else { Ok(()) }
}
