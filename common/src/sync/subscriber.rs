//! The edge's end of a distribution stream: one per connection.
//!
//! It says what the edge has, fetches what is announced above that, and hands it out, each thing once and whole. It
//! verifies sizes, order and digests, so that a hostile voter can cost an edge neither memory nor patience; it trusts
//! nothing else. Signatures, versions and times are the edge's to check before anything takes effect, and it says back
//! what came of it. What a voter *announces* lives as long as the connection: the next one starts from what the edge
//! has verified. Clauses D-1 to D-8, docs/PROTOCOL.md.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::fetching::{Fetched, Fetching};
use super::publisher::GREETING_MAX;
use super::revocations::{Assembler, Taken};
use crate::bundle::container::SignedBundle;
use crate::bundle::manifest::FileEntry;
use crate::crypto::digest::Digest;
use crate::id::{BootId, CredentialId, EdgeId, LogIndex, MeshId, RevocationEpoch, TenantId, VoterId};
use crate::limits::{SHARD_BYTES_MAX, VOTERS_MAX};
use crate::revocation::RevocationUpdate;
use crate::time::BootTime;
use crate::trust::activation::{Activation, RING_STAGED, Staged};
use crate::trust::dsse::Envelope;
use crate::trust::scope::SCOPE_NAMES_MAX;
use crate::trust::tick::TickAnswer;
use crate::wire::frame::PeerMisbehaved;
use crate::wire::message::{
    Ack, Activated, BeaconOffer, EdgeMessage, Fetch, Have, HaveRelations, Hello, Nack, NonceMessage, RecordAck,
    RecordFork, Refused, RelationsHead, RelationsOffer, RolloutReport, ShardOffer, Stage, StagedOffer, TickRelations,
    VoterMessage, WireMessage as _,
};
use crate::wire::proof::{Attestation, Covered};
use crate::wire::version::SPOKEN;

pub use super::fetching::ROOTS_MAX;

/// Time from the first part of a change of the revocations to the last.
pub const UPDATE_MAX: Duration = Duration::from_secs(120);
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
    /// An activation for some of the tenant's edges has been announced. It counts as the others do.
    Staged(Staged),
    /// Nothing is staged of this tenant any more.
    Unstaged(TenantId),
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
    /// Batches of relations that follow on each other, to be verified.
    Relations {
        /// Whose the voter says they are.
        tenant: TenantId,
        /// The revision that it says the first has.
        first: u64,
        /// The signed forms.
        batches: Vec<Vec<u8>>,
    },
    /// The relations as of a tick whose answer follows, to be compared with what is here.
    TickRelations(TickRelations),
    /// What voters have signed about a tick whose answer follows, to be verified with it.
    Beacon(BeaconOffer),
    /// Batches that were offered are not to be had any more: say again what is here.
    RelationsGone(TenantId),
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
    fetching: Fetching,
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
    relations: BTreeMap<TenantId, u64>,
    epoch: RevocationEpoch,
    tick: LogIndex,
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
            relations: BTreeMap::new(),
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
            fetching: Fetching::new(settled),
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
        [greeting, self.fetching.deadline(), self.update_until].into_iter().flatten().min()
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
        let mut fetched = Vec::new();
        let verified = self.fetching.manifest_verified(files, held, now, &mut fetched);
        self.hand_out(fetched);
        verified
    }

    /// A bundle was not taken: its manifest or, later, the whole. It is not fetched again on this connection.
    pub fn refuse_bundle(&mut self, manifest: Digest, code: &str, detail: &str, now: BootTime) {
        self.refuse(manifest, code, detail);
        let mut fetched = Vec::new();
        self.fetching.settle(manifest, now, &mut fetched);
        self.hand_out(fetched);
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

    /// Which relations the edge follows, and has; whatever follows on them is offered from now on.
    pub fn follow_relations(&mut self, heads: Vec<RelationsHead>) {
        for head in &heads {
            self.announced.relations.insert(head.tenant.clone(), head.revision);
            self.fetching.forget_relations(&head.tenant);
        }
        self.send(EdgeMessage::HaveRelations(HaveRelations { again: true, heads }));
    }

    /// How far the relations have come.
    pub fn acknowledge_relations(&mut self, heads: Vec<RelationsHead>) {
        self.send(EdgeMessage::HaveRelations(HaveRelations { again: false, heads }));
    }

    /// What the edge has seen of a bundle that is being rolled out.
    pub fn report_rollout(&mut self, report: RolloutReport) {
        self.send(EdgeMessage::Rollout(report));
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
        let mut fetched = Vec::new();
        match message {
            VoterMessage::Root(root) => {
                if rises("root version", &mut self.announced.root, root.version)? {
                    self.fetching.want_root(root)?;
                }
            }
            VoterMessage::Directory(directory) => {
                if rises("directory version", &mut self.announced.directory, directory.version)? {
                    self.fetching.want_directory(directory)?;
                }
            }
            VoterMessage::Activation(activated) => self.on_activation(activated)?,
            VoterMessage::Staged(offer) => self.on_staged(offer)?,
            VoterMessage::Object(chunk) => self.fetching.take(chunk, now, &mut fetched)?,
            VoterMessage::Absent(object) => self.fetching.absent(&object, now, &mut fetched)?,
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
            VoterMessage::Relations(offer) => self.on_relations(offer)?,
            VoterMessage::TickRelations(named) => {
                if named.heads.len() > ACTIVATIONS_MAX {
                    return Err(PeerMisbehaved::TooMany { what: "tenants of a tick", max: ACTIVATIONS_MAX });
                }
                self.outputs.push_back(Output::TickRelations(named));
            }
            VoterMessage::Beacon(beacon) => {
                for (what, count, max) in [
                    ("tenants of a tick", beacon.paths.len(), ACTIVATIONS_MAX),
                    ("signatures of a tick", beacon.signatures.len(), VOTERS_MAX),
                ] {
                    if count > max {
                        return Err(PeerMisbehaved::TooMany { what, max });
                    }
                }
                self.outputs.push_back(Output::Beacon(beacon));
            }
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
            VoterMessage::Revoked(_) => {
                return Err(PeerMisbehaved::OutOfPlace { kind: "Revoked", why: "nobody asked for it on this stream" });
            }
            // Where voters are is said beside the records, to whoever keeps the links.
            VoterMessage::Refused(_) | VoterMessage::Voters(_) | VoterMessage::Unknown { .. } => {}
        }
        self.fetching.go_on(now, &mut fetched);
        self.hand_out(fetched);
        Ok(())
    }

    fn on_activation(&mut self, activated: Activated) -> Result<(), PeerMisbehaved> {
        let activation = activated.activation.clone();
        if self.announce(activated)? {
            self.outputs.push_back(Output::Activation(activation));
        }
        Ok(())
    }

    /// Whether this is news; if it is, and its tenant is one of this edge's, its bundle is fetched.
    fn announce(&mut self, activated: Activated) -> Result<bool, PeerMisbehaved> {
        let activation = &activated.activation;
        let known = self.announced.activations.len();
        let number = self.announced.activations.entry((activation.tenant.clone(), activation.ring));
        if !rises("activation number", &mut number.or_insert(LogIndex(0)).0, activation.number.0)? {
            return Ok(false);
        }
        if known > ACTIVATIONS_MAX {
            return Err(PeerMisbehaved::TooMany { what: "activations", max: ACTIVATIONS_MAX });
        }
        if self.identity.tenants.contains(&activation.tenant) {
            self.fetching.want_bundle(activated)?;
        }
        Ok(true)
    }

    /// What is staged has a number that rises like that of any other activation; that nothing is staged any more can be
    /// said at any time, and costs the edge nothing but what it would have had to compare.
    fn on_staged(&mut self, offer: StagedOffer) -> Result<(), PeerMisbehaved> {
        let StagedOffer { tenant, staged } = offer;
        let Some((activated, scope)) = staged else {
            self.fetching.unwant_staged(&tenant);
            self.outputs.push_back(Output::Unstaged(tenant));
            return Ok(());
        };
        let activation = activated.activation.clone();
        if activation.ring != RING_STAGED || activation.tenant != tenant {
            return Err(PeerMisbehaved::OutOfPlace { kind: "Staged", why: "it is no staged activation of its tenant" });
        }
        let named = scope.edges.len().saturating_add(scope.regions.len());
        if named > SCOPE_NAMES_MAX {
            return Err(PeerMisbehaved::TooMany { what: "edges and regions of a rollout", max: SCOPE_NAMES_MAX });
        }
        if self.announce(activated)? {
            self.outputs.push_back(Output::Staged(Staged { activation, scope }));
        }
        Ok(())
    }

    /// Only of tenants that were asked for, and only what rises.
    fn on_relations(&mut self, offer: RelationsOffer) -> Result<(), PeerMisbehaved> {
        let refuse = |why| Err(PeerMisbehaved::OutOfPlace { kind: "Relations", why });
        let Some(known) = self.announced.relations.get_mut(&offer.tenant) else {
            return refuse("the tenant's relations were not asked for");
        };
        let count = u64::try_from(offer.batches.len()).unwrap_or(u64::MAX);
        let Some(last) = offer.first.checked_add(count).and_then(|end| end.checked_sub(1)).filter(|_| count > 0) else {
            return refuse("there are no batches in it");
        };
        if offer.first <= *known {
            // Sent before the voter heard that this edge wants them again from an earlier one, or has them.
            return Ok(());
        }
        *known = last;
        self.fetching.want_relations(offer)
    }

    fn on_shard(&mut self, shard: ShardOffer) -> Result<(), PeerMisbehaved> {
        let known = self.announced.shards.len();
        let version = self.announced.shards.entry((shard.tenant.clone(), shard.credential.clone())).or_insert(0);
        if !rises("shard version", version, shard.version)? {
            return Ok(());
        }
        if known > SHARDS_MAX {
            return Err(PeerMisbehaved::TooMany { what: "shards", max: SHARDS_MAX });
        }
        if shard.bytes.len() > SHARD_BYTES_MAX {
            return Err(PeerMisbehaved::TooMany { what: "bytes of a shard", max: SHARD_BYTES_MAX });
        }
        self.outputs.push_back(Output::Shard(shard));
        Ok(())
    }

    fn hand_out(&mut self, fetched: Vec<Fetched>) {
        for fetched in fetched {
            let output = match fetched {
                Fetched::Ask(digests) => Output::Send(EdgeMessage::Fetch(Fetch { digests })),
                Fetched::Root { version, bytes } => Output::Root { version, bytes },
                Fetched::Directory { version, bytes } => Output::Directory { version, bytes },
                Fetched::Manifest { activation, envelope } => Output::Manifest { activation, envelope },
                Fetched::Bundle { activation, bundle } => {
                    self.acknowledge(activation.tenant.clone(), activation.manifest, Stage::Received);
                    Output::Bundle { activation, bundle }
                }
                Fetched::Relations { tenant, first, batches } => Output::Relations { tenant, first, batches },
                Fetched::RelationsGone { tenant } => Output::RelationsGone(tenant),
                Fetched::NotTheManifest { manifest, code, detail } => {
                    self.refuse(manifest, code, &detail);
                    continue;
                }
            };
            self.outputs.push_back(output);
        }
    }
}

/// Whether `told` is news. A number that only rises and did not is a fault; the same number once more is nothing.
fn rises(what: &'static str, known: &mut u64, told: u64) -> Result<bool, PeerMisbehaved> {
    if told < *known {
        return Err(PeerMisbehaved::WentBack { what, from: *known, to: told });
    }
    let is_news = told > *known;
    *known = told;
    Ok(is_news)
}
