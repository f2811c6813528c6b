//! The events of a history, shaped like Jepsen's: who, when, invoked or returned, what, with which value.

use remit_common::crypto::digest::Digest;
use remit_common::id::{BootId, BundleVersion, EdgeId, LogIndex, RevocationEpoch, VoterId};
use remit_common::lattice::Effect;
use remit_control_plane::registry::RolloutStatus;
use serde::{Deserialize, Serialize};

use crate::drill::action::Fault;
use crate::node::Node;

/// One line of `history.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Its place in the history.
    pub index: u64,
    /// Microseconds of true time since the run began; in the simulation, of simulated time.
    pub time_us: u64,
    /// Who did or saw it: `agent/3`, `operator`, `observer`, `drill`.
    pub process: String,
    /// Whether it began, ended, or was only seen.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// Whether an event began something, ended it, or was only seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// It was asked for.
    Invoke,
    /// It was answered.
    Ok,
    /// It certainly did not happen.
    Fail,
    /// It was seen, or nobody knows whether it happened: a time-out is that, never a failure.
    Info,
}

/// What was done or seen. A return repeats its invocation and names its index in `of`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "f", content = "value", rename_all = "snake_case")]
pub enum What {
    /// An agent calls a tool through an edge.
    Call(Call),
    /// An administrator changes something (signed, through Raft).
    Write(Write),
    /// A linearizable or stale read of revocations and bundles at one voter.
    Read(ReadState),
    /// Who has signed that an epoch is enforced there; `Ok` only.
    Coverage {
        /// The epoch asked for.
        epoch: RevocationEpoch,
        /// The edges that have.
        covered: Vec<EdgeId>,
    },
    /// How far a rollout has come, as the registry shows it.
    Rollout(RolloutSeen),
    /// What a voter says of itself.
    Voter(Voter),
    /// What an edge says of itself.
    Edge(Edge),
    /// A record that the control plane has acknowledged and now shows.
    Record(RecordSeen),
    /// One voter's store is read from its first record to its last. Every record that is seen there between the
    /// invocation and the return belongs to this reading; those seen outside one come from following the store's end,
    /// where each is seen once. A reading that breaks off returns `info`.
    Records {
        /// Index of the invocation; `None` on the invocation itself.
        of: Option<u64>,
        /// At which voter.
        voter: VoterId,
    },
    /// A fault begins or ends.
    Fault {
        /// As the drill file names it: `kill`, `partition`.
        name: String,
        /// Whom it hits.
        nodes: Vec<Node>,
        /// For people: what exactly.
        detail: String,
        /// Whether it begins (or is done, for those that have no end).
        begins: bool,
        /// The same for programs; figures and a few invariants need amounts that `detail` only tells people.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fault: Option<Fault>,
    },
    /// An edge asked whoever lies in a voter's place whether what it had heard is fresh, and was told so; once for each
    /// lie and edge.
    Lied {
        /// In whose place.
        voter: VoterId,
        /// Who listened.
        edge: EdgeId,
    },
    /// Logs, disks and captured packets were searched for the secret; what was found follows as `canary`.
    Searched {
        /// In how many places it was found.
        found: u64,
    },
    /// The secret was found where it must not be.
    Canary {
        /// Where: a node's disk, a link, an answer.
        place: String,
    },
    /// The run enters a phase: `setup`, `steady`, `faults`, `heal`, `check`.
    Phase {
        /// Which.
        name: String,
    },
    /// A probe of the drill's steady state was asked.
    Probe {
        /// Which.
        name: String,
        /// What it measured; none when it could not.
        value: Option<f64>,
        /// Whether that is within its tolerance.
        within: bool,
    },
}

/// An agent's call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Index of the invocation; `None` on the invocation itself.
    pub of: Option<u64>,
    /// Which edge was asked.
    pub edge: EdgeId,
    /// The session of the envelope: what a revocation cuts. Of an envelope that was handed on, its parent's name, `/`, and
    /// which child it is.
    pub session: String,
    /// The tool.
    pub tool: String,
    /// What the tool does to the world.
    pub effect: Effect,
    /// Whether envelope and policy admit this call; a call that they do not admit must never be permitted.
    pub admitted: bool,
    /// The relation without which the policy permits this call to nobody: the tuple, as `remit relation add` has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rests_on: Option<String>,
    /// Whether the tool answers with its credential in it, so that the edge has to keep the answer back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub leaks: bool,
    /// What came back; on returns of kind `ok` only.
    pub outcome: Option<Outcome>,
}

/// The answer to a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Permit or deny.
    pub verdict: Verdict,
    /// One of the fixed reasons.
    pub reason: String,
    /// The decision's id, if the edge gave one.
    pub decision: Option<String>,
}

/// Permit or deny.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The tool was called.
    Permit,
    /// It was not.
    Deny,
}

/// An administrator's change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Write {
    /// Index of the invocation; `None` on the invocation itself.
    pub of: Option<u64>,
    /// What kind of change.
    pub write: WriteKind,
    /// What it made; on returns of kind `ok` only.
    pub written: Option<Written>,
}

/// Kinds of change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum WriteKind {
    /// Cuts a session, or a hop and what is below.
    Revoke {
        /// Its name, as calls have it; each is cut once.
        session: String,
    },
    /// Publishes a bundle.
    Publish {
        /// Its version.
        version: BundleVersion,
        /// The digest of its manifest.
        digest: Digest,
        /// Whether it is one that voters and edges must take.
        good: bool,
        /// Tools that it permits nobody, and that other versions permit.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        without: Vec<String>,
    },
    /// Begins to roll a bundle out, in waves.
    RollOut {
        /// Its version.
        version: BundleVersion,
        /// The digest of its manifest.
        digest: Digest,
        /// The edges that each wave brings it to, besides those before it. After the last it is everybody's.
        waves: Vec<Vec<EdgeId>>,
        /// What its manifest says that it may be taken back to; absent in histories of before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fallback: Option<Digest>,
        /// Tools that it permits nobody, and that other versions permit.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        without: Vec<String>,
        /// Tools that it permits also where the relation that a call rests on does not hold.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        freely: Vec<String>,
        /// How many calls that were denied it may permit before it is taken back; none for any number.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        newly_permitted: Option<u64>,
    },
    /// Writes who stands in a relation to what, or that they do not any more.
    Relate {
        /// The tuple.
        relation: String,
        /// Whether it holds from now on.
        holds: bool,
    },
    /// Seals a credential.
    Seal {
        /// The new version.
        version: u64,
    },
    /// Issues an envelope.
    Envelope {
        /// For this session.
        session: String,
    },
    /// Installs trust documents.
    Trust {
        /// The directory's version.
        directory: u64,
    },
    /// Changes who votes.
    Voters {
        /// For people: `add 4`, `remove 1`.
        change: String,
    },
}

/// What a change made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// Its log index.
    pub index: LogIndex,
    /// Of a revocation: the epoch.
    pub epoch: Option<RevocationEpoch>,
    /// Of a bundle: the number of its activation; of one in waves, of its first.
    pub activation: Option<LogIndex>,
    /// Of a relation: the revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
}

/// A read of what is cut and what is active.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadState {
    /// Index of the invocation; `None` on the invocation itself.
    pub of: Option<u64>,
    /// Which voter was asked.
    pub voter: VoterId,
    /// Whether with a barrier.
    pub linearizable: bool,
    /// As of which entry the revocations are; the rest on returns of kind `ok` only. The bundle may have been asked for
    /// separately, after the invocation and before the return.
    pub applied: Option<LogIndex>,
    /// The epoch; none if only the bundle was asked for.
    pub epoch: Option<RevocationEpoch>,
    /// The sessions that are cut.
    pub sessions: Vec<String>,
    /// The active bundle's version.
    pub bundle: Option<BundleVersion>,
}

/// A rollout, as the registry shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutSeen {
    /// The entry as of which this is.
    pub applied: LogIndex,
    /// The entry that began it.
    pub rollout: LogIndex,
    /// The version of the bundle.
    pub version: BundleVersion,
    /// The digest of its manifest.
    pub digest: Digest,
    /// The digest of the bundle from before, which is everybody's until the end.
    pub base: Digest,
    /// Everything that happened to it up to that entry.
    pub steps: Vec<RolloutStep>,
    /// Why the last of it happened, if anybody or anything gave a reason.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// Something that happened to a rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutStep {
    /// The entry: the number of the activation, where it made one.
    pub index: LogIndex,
    /// The wave, from 0.
    pub wave: u32,
    /// Where the rollout stood afterwards.
    pub status: RolloutStatus,
}

/// What a voter says of itself (`/status` of its operations listener).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Voter {
    /// Which.
    pub voter: VoterId,
    /// Its term.
    pub term: u64,
    /// `leader`, `follower`, `candidate`, `learner`, `fresh`, `stopped`.
    pub role: String,
    /// Who leads, as far as it knows.
    pub leader: Option<VoterId>,
    /// The last entry applied.
    pub applied: LogIndex,
    /// The digest of every entry applied so far, chained; equal for equal `applied` at every voter, ever.
    pub applied_digest: Option<Digest>,
    /// What it has signed last, where voters sign.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<SignedTick>,
}

/// A tick under a voter's signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedTick {
    /// The tick.
    pub tick: LogIndex,
    /// The digest of the statement; equal for equal `tick` at every voter, ever.
    pub statement: Digest,
}

/// What an edge says of itself (`/status` of its operations listener).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edge {
    /// Which.
    pub edge: EdgeId,
    /// When it was asked, in microseconds since the run began: the event is when its answer was there.
    #[serde(default)]
    pub asked_us: Option<u64>,
    /// The start of its process.
    pub boot: BootId,
    /// The version it runs.
    pub bundle: Option<BundleVersion>,
    /// The digest of that bundle's manifest.
    pub digest: Option<Digest>,
    /// The number of its activation.
    pub activation: Option<LogIndex>,
    /// The revocation epoch it enforces.
    pub epoch: RevocationEpoch,
    /// The revision of the relations it decides by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relations: Option<u64>,
    /// Bundles that it has turned away because its process died with them, oldest activation first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub turned_away: Vec<TurnedAway>,
    /// The newest tick it has taken.
    pub tick: LogIndex,
    /// How old its truth is, as it says.
    pub staleness_ms: Option<u64>,
    /// `fresh`, `degraded`, `isolated`, `quarantined`.
    pub mode: String,
    /// Records that no majority has yet.
    pub spool: u64,
    /// Permits so far in this process.
    pub permits: u64,
    /// Refusals so far in this process.
    pub denials: u64,
}

/// A bundle that an edge does not run any more, because its process died with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TurnedAway {
    /// The number of the activation that brought it.
    pub activation: LogIndex,
    /// The digest of its manifest.
    pub digest: Digest,
}

/// A record as a voter's store shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordSeen {
    /// At which voter.
    pub voter: VoterId,
    /// Whose.
    pub edge: EdgeId,
    /// Of which start of its process.
    pub boot: BootId,
    /// Its number in that boot.
    pub seq: u64,
    /// The digest of the record before it.
    pub previous: Digest,
    /// Its own.
    pub digest: Digest,
    /// `decision`, `gap`, …
    pub kind: String,
    /// The decision it records.
    pub decision: Option<String>,
    /// Whether its chain and signature verify.
    pub verified: bool,
    /// Of a gap: how many records it stands for; 0 when nobody can tell.
    pub gap: u64,
}
