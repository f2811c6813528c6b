//! The JSON of the admin API: what is answered, as types that a client can use, too. Fields are added, never renamed.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use remit_common::bundle::Approved;
use remit_common::crypto::digest::Digest;
use remit_common::id::{
    BundleName, BundleVersion, CredentialId, EdgeId, KeyId, LogIndex, MeshId, Region, RevocationEpoch, TenantId,
    VoterId,
};
use remit_common::lattice::Effect;
use remit_common::policy::relations::{Tuple, TupleKey};
use remit_common::revocation::Revocation;
use remit_common::time::Timestamp;
use remit_common::trust::beacon::SignedStatement;
use remit_common::trust::directory::Edge;
use remit_common::wire::message::RolloutReport;
use remit_common::wire::proof::{Attestation, Covered};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::registry::{Rollout, RolloutStatus};

/// RFC 9457. The body of every answer that is not 2xx, as `application/problem+json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// `about:blank`: the reason says it all.
    #[serde(rename = "type")]
    pub kind: String,
    /// The words of the status.
    pub title: String,
    /// The status.
    pub status: u16,
    /// For people.
    pub detail: String,
    /// A word out of a fixed set.
    pub reason: String,
    /// The entry that recorded the refusal; absent when it did not reach the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<LogIndex>,
}

/// `POST /v1/bundles`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundlePublished {
    /// The entry.
    pub index: LogIndex,
    /// Whose.
    pub tenant: TenantId,
    /// Its name.
    pub name: BundleName,
    /// Its version.
    pub version: BundleVersion,
    /// The digest of its manifest.
    pub digest: Digest,
    /// The number of its activation.
    pub number: LogIndex,
}

/// `POST /v1/credentials`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialSealed {
    /// The entry.
    pub index: LogIndex,
    /// Whose.
    pub tenant: TenantId,
    /// Which.
    pub credential: CredentialId,
    /// Its version.
    pub version: u64,
    /// For which edges.
    pub edges: Vec<EdgeId>,
}

/// `POST /v1/revocations`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevocationMade {
    /// The entry.
    pub index: LogIndex,
    /// The epoch that it made.
    pub epoch: RevocationEpoch,
    /// Until when.
    pub until: Timestamp,
}

/// `POST /v1/bundles` with a plan, and `POST /v1/rollouts`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutMoved {
    /// The entry.
    pub index: LogIndex,
    /// Whose.
    pub tenant: TenantId,
    /// The rollout: the entry that began it.
    pub rollout: LogIndex,
    /// The version of the bundle.
    pub version: BundleVersion,
    /// The digest of its manifest.
    pub digest: Digest,
    /// The wave that it has come to, from 0.
    pub wave: u32,
    /// Where it stands.
    pub status: RolloutStatus,
}

/// `GET /v1/rollouts`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollouts {
    /// The entry as of which this is.
    pub applied: LogIndex,
    /// The registry's clock then.
    pub clock: Timestamp,
    /// Those that are remembered, oldest first.
    pub rollouts: Vec<RolloutView>,
    /// Voters that did not say what their edges report.
    pub unreachable: Vec<VoterId>,
}

/// A rollout, and what is known of it at the edges while it is under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutView {
    /// Waves, gates, where it stands and what happened.
    #[serde(flatten)]
    pub rollout: Rollout,
    /// Milliseconds until the wave has baked.
    pub left_ms: u64,
    /// What it waits for; absent when it is over, or about to move.
    pub waits: Option<String>,
    /// Every edge of the directory; empty when it is over.
    pub edges: Vec<RolloutEdge>,
}

/// One edge's part in a rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutEdge {
    /// The edge.
    pub id: EdgeId,
    /// Where it is.
    pub region: Region,
    /// Whether any voter hears it.
    pub connected: bool,
    /// Whether the rollout has come to it.
    pub meant: bool,
    /// Whether it has attested that it runs the bundle.
    pub runs: bool,
    /// Why it did not take it.
    pub refused: Option<String>,
    /// What it has compared.
    pub report: Option<RolloutReport>,
}

/// `POST /v1/relations`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelationsWritten {
    /// The entry.
    pub index: LogIndex,
    /// Whose.
    pub tenant: TenantId,
    /// The revision that this made: what a caller may ask edges for.
    pub revision: u64,
    /// The digest of the batch.
    pub digest: Digest,
    /// Tuples that the batch states.
    pub added: u64,
    /// Tuples that it took away.
    pub removed: u64,
    /// Tuples that hold now.
    pub tuples: u64,
}

/// `GET /v1/relations`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelationList {
    /// The entry as of which this is.
    pub applied: LogIndex,
    /// The mesh, which a batch names.
    pub mesh_id: MeshId,
    /// Whose.
    pub tenant: TenantId,
    /// The newest revision; zero before the first.
    pub revision: u64,
    /// The digest of the newest batch: what the next one names.
    pub digest: Digest,
    /// Tuples that hold, expired ones included.
    pub count: u64,
    /// Batches that are kept.
    pub batches: u64,
    /// Their bytes.
    pub batch_bytes: u64,
    /// Why nothing of this counts, if a writer of what is kept is not named any more.
    pub unusable: Option<String>,
    /// The tuples that were asked for, sorted.
    pub tuples: Vec<Tuple>,
    /// What to say as `after` for those that follow; absent when these are the last.
    pub next: Option<TupleKey>,
}

/// `GET /v1/relations/batches`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RelationBatches {
    /// The entry as of which this is.
    pub applied: LogIndex,
    /// Whose.
    pub tenant: TenantId,
    /// The newest revision.
    pub revision: u64,
    /// The revision of the first batch here.
    pub first: Option<u64>,
    /// The signed forms, in order.
    pub batches: Vec<Box<RawValue>>,
    /// What to say as `after` for those that follow; absent when these are the last.
    pub next: Option<u64>,
}

/// `POST /v1/envelopes`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvelopeIssued {
    /// The entry.
    pub index: LogIndex,
    /// The digest of the signed command: what the root names as its evidence.
    pub evidence: Digest,
    /// The presentation, base64url without padding.
    pub presentation: String,
    /// When it expires.
    pub expires: Timestamp,
}

/// `POST /v1/trust`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustInstalled {
    /// The entry.
    pub index: LogIndex,
    /// The root's version.
    pub root: u64,
    /// The directory's version.
    pub directory: u64,
}

/// `POST /v1/voters`, of a change of who votes: it is written down, and the leader sees to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VotersChanging {
    /// The entry.
    pub index: LogIndex,
    /// Whom it concerns.
    pub id: VoterId,
    /// Whether it is to vote.
    pub votes: bool,
}

/// `POST /v1/voters`, of a hand-over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandingOver {
    /// The entry.
    pub index: LogIndex,
    /// To whom, if anybody was named.
    pub to: Option<VoterId>,
}

/// `POST /v1/join-tokens`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenChanged {
    /// The entry.
    pub index: LogIndex,
    /// Which: SHA-256 of its public key.
    pub token: Digest,
    /// Until when it counts; absent when it was taken back.
    pub expires: Option<Timestamp>,
}

/// `GET /v1/join-tokens`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinTokens {
    /// The entry as of which this is.
    pub applied: LogIndex,
    /// The voter that answers.
    pub voter: VoterId,
    /// Where that voter takes edges in; absent where it does not.
    pub enrol: Option<SocketAddr>,
    /// The tokens that count.
    pub tokens: Vec<JoinTokenStatus>,
}

/// A join token, without its secret, which no voter has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinTokenStatus {
    /// SHA-256 of its public key.
    pub token: Digest,
    /// Where the edge is to stand.
    pub region: Region,
    /// Which edge.
    pub edge: EdgeId,
    /// First moment at which it no longer counts.
    pub expires: Timestamp,
    /// How often it counts.
    pub uses: u32,
    /// How often it has been used.
    pub used: u32,
    /// The key of the administrator who made it.
    pub by: KeyId,
    /// Their name, if the directory still lists them.
    pub by_name: Option<String>,
    /// The entry.
    pub index: LogIndex,
}

/// An edge that has joined, and that the directory does not list with these keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitingEdge {
    /// The row that the directory would have.
    pub row: Edge,
    /// The serial number of its certificate.
    pub serial: LogIndex,
    /// When it joined.
    pub since: Timestamp,
    /// First moment at which its certificate no longer counts.
    pub certificate_ends: Timestamp,
}

/// `GET /v1/voters`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Voters {
    /// The entry as of which this is.
    pub applied: LogIndex,
    /// Who leads.
    pub leader: Option<VoterId>,
    /// Everybody who takes part, is to take part, or stands in the directory.
    pub voters: Vec<VoterSeat>,
    /// The change that is under way.
    pub change: Option<VoterChange>,
}

/// One voter's place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoterSeat {
    /// Which.
    pub id: VoterId,
    /// `voter`, `learner`, or `none`: it takes no part.
    pub seat: String,
    /// Whether the directory lists it.
    pub listed: bool,
    /// Where the other voters reach it, as far as the voter that answers knows.
    pub raft: Option<SocketAddr>,
    /// Where edges reach it, if it joined later than the first.
    pub dist: Option<SocketAddr>,
    /// How it is.
    pub status: VoterStatus,
}

/// A change that is under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoterChange {
    /// The entry that asked for it.
    pub index: LogIndex,
    /// Whom it concerns.
    pub id: VoterId,
    /// Whether it is to vote.
    pub votes: bool,
    /// `waiting`, `catching-up`, `joint`: how far it is.
    pub step: String,
    /// Entries that a newcomer still lacks.
    pub behind: Option<u64>,
}

/// `GET /v1/status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The mesh.
    pub mesh_id: MeshId,
    /// Who answers.
    pub voter: VoterId,
    /// Who leads, as far as it knows.
    pub leader: Option<VoterId>,
    /// The term.
    pub term: u64,
    /// The last entry that it has applied.
    pub applied: LogIndex,
    /// The newest tick.
    pub tick: Option<LogIndex>,
    /// The revocation epoch.
    pub revocation_epoch: RevocationEpoch,
    /// The root's version.
    pub root: Option<u64>,
    /// The directory's version.
    pub directory: Option<u64>,
    /// Every voter.
    pub voters: Vec<VoterStatus>,
    /// Every edge of the directory.
    pub edges: Vec<EdgeStatus>,
    /// What each tenant runs.
    pub bundles: Vec<BundleStatus>,
    /// The relations of each tenant that has any.
    #[serde(default)]
    pub relations: Vec<RelationsStatus>,
    /// Where voters have applied different things; never in a mesh that is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diverged: Option<Divergence>,
}

/// How far a tenant's relations are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelationsStatus {
    /// Whose.
    pub tenant: TenantId,
    /// The newest revision.
    pub revision: u64,
    /// Tuples that hold, expired ones included.
    pub tuples: u64,
    /// Batches that are kept.
    pub batches: u64,
}

/// Voters that have applied the same number of entries, and not the same entries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Divergence {
    /// After this entry.
    pub index: LogIndex,
    /// The digest of everything up to it, by voter.
    pub digests: BTreeMap<VoterId, Digest>,
}

/// One voter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoterStatus {
    /// Which.
    pub id: VoterId,
    /// Whether it answers.
    pub reachable: bool,
    /// `leader`, `follower`, `learner`, `candidate`, `fresh`, `stopped`; `unreachable` when it does not answer.
    pub state: String,
    /// Its term.
    pub term: Option<u64>,
    /// The last entry of its log.
    pub last: Option<LogIndex>,
    /// The last entry that it has applied.
    pub applied: Option<LogIndex>,
    /// The digest of everything up to that entry: equal for equal `applied`.
    #[serde(default)]
    pub applied_digest: Option<Digest>,
}

/// `GET /v1/edges`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edges {
    /// Every edge of the directory.
    pub edges: Vec<EdgeStatus>,
    /// Edges that have joined, and that the directory does not list with these keys.
    #[serde(default)]
    pub waiting: Vec<WaitingEdge>,
    /// Voters that did not answer: what their edges say is missing here.
    pub unreachable: Vec<VoterId>,
}

/// One edge, as the voters know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EdgeStatus {
    /// Which.
    pub id: EdgeId,
    /// Where.
    pub region: Region,
    /// Voters that it is connected to.
    pub connected: Vec<VoterId>,
    /// The voter that publishes to it.
    pub subscribed: Option<VoterId>,
    /// When a voter last heard from it, by that voter's clock.
    pub heard: Option<Timestamp>,
    /// The epoch that it says it enforces.
    pub revocation_epoch: Option<RevocationEpoch>,
    /// Of each tenant: what it runs.
    pub running: Vec<Running>,
    /// Of each tenant: how far the newest bundle has come.
    pub stages: BTreeMap<TenantId, BundleStage>,
    /// The last document that it did not take.
    pub refused: Option<RefusedDocument>,
    /// First moment at which the certificate that voters gave it no longer counts; absent where somebody else made it.
    #[serde(default)]
    pub certificate_ends: Option<Timestamp>,
    /// Whether every tenant has cut it, so that voters do not serve it.
    #[serde(default)]
    pub evicted: bool,
}

/// What an edge runs of a tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// The version, if the registry still has the bundle.
    pub version: Option<BundleVersion>,
    /// Whether it is the one that is to run there: what is everybody's, or what is being rolled out if the edge is in a
    /// wave that has begun.
    pub current: bool,
    /// When a voter heard first that it runs there under this activation, by that voter's clock; forgotten when voters
    /// start anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// What the edge signed.
    pub attestation: Attestation,
}

/// How far a bundle has come at an edge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundleStage {
    /// The digest of its manifest.
    pub manifest: Digest,
    /// `received`, `verified`, `compiled`, `active`.
    pub stage: String,
}

/// A document that an edge did not take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedDocument {
    /// Its digest; of a bundle, the manifest's.
    pub digest: Digest,
    /// A word out of a fixed set.
    pub code: String,
    /// For people.
    pub detail: String,
}

/// `GET /v1/bundles`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bundles {
    /// The entry as of which this is.
    pub applied: LogIndex,
    /// Those that are kept, by tenant, the newest first.
    pub bundles: Vec<BundleStatus>,
}

/// One bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundleStatus {
    /// Whose.
    pub tenant: TenantId,
    /// Its name.
    pub name: BundleName,
    /// Its version.
    pub version: BundleVersion,
    /// The digest of its manifest.
    pub digest: Digest,
    /// When it was made.
    pub created: Timestamp,
    /// First moment at which it no longer counts.
    pub expires: Timestamp,
    /// The entry that brought it.
    pub index: LogIndex,
    /// The number of its activation, if it is the one that is to run.
    pub number: Option<LogIndex>,
    /// Who approved of what it permits anew, when, and in which entry; absent where nobody had to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved: Option<Approved>,
}

/// `GET /v1/credentials`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    /// The entry as of which this is.
    pub applied: LogIndex,
    /// By tenant and name.
    pub credentials: Vec<CredentialStatus>,
}

/// One sealed credential. Nothing here opens anything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialStatus {
    /// Whose.
    pub tenant: TenantId,
    /// Its name.
    pub credential: CredentialId,
    /// Its version.
    pub version: u64,
    /// Who sealed it: the key, and the name that the directory has for it.
    pub sealer: KeyId,
    /// The sealer's name in the directory.
    pub sealer_name: Option<String>,
    /// When.
    pub sealed_at: Timestamp,
    /// The injection profile that it is bound to.
    pub profile: Digest,
    /// For which edges.
    pub edges: Vec<EdgeId>,
    /// The entry that brought it.
    pub index: LogIndex,
}

/// `GET /v1/revocations`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevocationList {
    /// The entry as of which this is.
    pub applied: LogIndex,
    /// The epoch.
    pub epoch: RevocationEpoch,
    /// The digest of the whole set, of every tenant.
    pub digest: Digest,
    /// The entries that were asked for, each with what its requester signed.
    pub revocations: Vec<Revocation>,
}

/// `GET /v1/revocations/{epoch}/coverage`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// The epoch that was asked for.
    pub epoch: RevocationEpoch,
    /// Whether a majority has it.
    pub committed: bool,
    /// The entry that made it.
    pub index: Option<LogIndex>,
    /// A moment at which it was committed already.
    pub committed_by: Option<Timestamp>,
    /// Whether every edge is covered.
    pub covered: bool,
    /// The moment from which no edge of the directory permits anything under what was cut, whoever hears or does not
    /// hear it from now on; absent while the epoch is not committed.
    pub everywhere_by: Option<Timestamp>,
    /// Every edge of the directory.
    pub edges: Vec<EdgeCoverage>,
    /// What voters have signed of the newest ticks, oldest first: the epoch is sealed once enough of them have signed it,
    /// or a later one, which whoever asks verifies.
    #[serde(default)]
    pub ticks: Vec<SignedStatement>,
    /// Voters that did not answer: acks that only they have are missing here.
    pub unreachable: Vec<VoterId>,
}

/// One edge's coverage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EdgeCoverage {
    /// Which.
    pub edge: EdgeId,
    /// Where.
    pub region: Region,
    /// Whether it has signed that it enforces the epoch, or a later one.
    pub covered: bool,
    /// What it signed: verify it with the directory's key.
    pub ack: Option<Covered>,
    /// When it was last heard from.
    pub heard: Option<Timestamp>,
    /// Uncovered: when it will have stopped by itself, effect by effect.
    pub stops: BTreeMap<Effect, Timestamp>,
}

/// `GET /v1/records`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredRecords {
    /// Whose store this is.
    pub voter: VoterId,
    /// The arrival of the last one: what to ask after next.
    pub last: u64,
    /// The records as their edges wrote them, base64, in the order in which they arrived.
    pub records: Vec<String>,
}

/// `GET /v1/decisions`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decisions {
    /// The records, oldest first, each as [`remit_common::record::Record::to_json`] shows it.
    pub decisions: Vec<serde_json::Value>,
    /// Voters that did not answer: records that only they have are missing here.
    pub unreachable: Vec<VoterId>,
}
