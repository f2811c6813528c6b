//! The messages between an edge and a voter.
//!
//! Each has a number that is never reused and a body that is one frozen type (W-5, W-6). A change of a body is a new
//! number. A number that a build does not know is [`EdgeMessage::Unknown`] or [`VoterMessage::Unknown`]: it is counted
//! and stepped over, so that a newer peer can say more than we understand.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::batch::RecordBatch;
use super::codec::{self, Unencodable};
use super::frame::{self, Frame, PeerMisbehaved};
use super::proof::{Attestation, Covered};
use super::version::Version;
use crate::crypto::digest::Digest;
use crate::crypto::sign::Signature;
use crate::id::{BootId, CredentialId, EdgeId, LogIndex, MeshId, RevocationEpoch, TenantId, ToolName, VoterId};
use crate::identity::SignedRequest;
use crate::limits::FRAME_BYTES_MAX;
use crate::record::RecordHead;
use crate::revocation::{Cut, Revocation};
use crate::time::Timestamp;
use crate::trust::activation::Activation;
use crate::trust::merkle::InclusionPath;
use crate::trust::scope::Scope;
use crate::trust::tick::{Nonce, TickAnswer};

/// A value that travels as one frame.
pub trait WireMessage: Sized + Send + Sync {
    /// The whole frame, header included.
    ///
    /// # Errors
    /// [`Unencodable`] when it exceeds the bound of a frame, or is of an unknown type; the fault is ours.
    fn to_frame(&self) -> Result<Vec<u8>, Unencodable>;

    /// Reads the body of a frame. A type that is not known is a value of its own, never an error (W-6).
    ///
    /// # Errors
    /// [`PeerMisbehaved`] when the body is no message of the type that the header names.
    fn from_frame(frame: Frame<'_>) -> Result<Self, PeerMisbehaved>;

    /// What the message is called in errors, logs and metrics.
    fn name(&self) -> &'static str;
}

macro_rules! messages {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $number:literal $variant:ident($body:ty),)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq)]
        pub enum $name {
            $($(#[$variant_doc])* $variant($body),)*
            /// A type of message that this build does not know.
            Unknown {
                /// The number of the type.
                kind: u16,
            },
        }

        impl WireMessage for $name {
            fn to_frame(&self) -> Result<Vec<u8>, Unencodable> {
                let (kind, body) = match self {
                    $(Self::$variant(body) => ($number, codec::encode::<FRAME_BYTES_MAX>(body)?),)*
                    Self::Unknown { .. } => return Err(Unencodable::unknown()),
                };
                frame::encode(kind, &body).map_err(|_| Unencodable::too_long(body.len()))
            }

            fn from_frame(frame: Frame<'_>) -> Result<Self, PeerMisbehaved> {
                match frame.kind {
                    $($number => codec::decode::<FRAME_BYTES_MAX, $body>(frame.body)
                        .map(Self::$variant)
                        .map_err(|_| PeerMisbehaved::Malformed { kind: stringify!($variant) }),)*
                    kind => Ok(Self::Unknown { kind }),
                }
            }

            fn name(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => stringify!($variant),)*
                    Self::Unknown { .. } => "Unknown",
                }
            }
        }

        impl $name {
            /// Every number and the name that belongs to it, for tests and tools that list them.
            pub const NUMBERS: &'static [(u16, &'static str)] = &[$(($number, stringify!($variant)),)*];
        }
    };
}

pub(super) use messages;

messages! {
    /// What an edge says to a voter.
    EdgeMessage {
        /// The first message.
        1 Hello(Hello),
        /// Asks for everything above what the edge has.
        2 Subscribe(Have),
        /// Asks for objects.
        3 Fetch(Fetch),
        /// How far a bundle has come.
        4 Ack(Ack),
        /// Why a bundle or another document was not taken.
        5 Nack(Nack),
        /// What the edge runs, signed.
        6 Attest(Attestation),
        /// What the edge enforces, signed.
        7 Covered(Covered),
        /// A random value that a tick is to contain.
        8 Nonce(NonceMessage),
        /// Decision records.
        9 RecordBatch(RecordBatch),
        /// A holder's request to cut what is theirs, on a stream of its own.
        10 Revoke(RevokeAsked),
        /// Which relations the edge has, and follows.
        11 HaveRelations(HaveRelations),
        /// What the edge has seen of a bundle that is being rolled out.
        12 Rollout(RolloutReport),
    }
}

messages! {
    /// What a voter says to an edge.
    VoterMessage {
        /// The answer to the first message.
        101 HelloAck(HelloAck),
        /// There is a root document.
        102 Root(Published),
        /// There is a directory.
        103 Directory(Published),
        /// There is an activation.
        104 Activation(Activated),
        /// A piece of an object that was asked for.
        105 Object(Chunk),
        /// An object that was asked for is not here.
        106 Absent(Digest),
        /// A sealed credential.
        107 Shard(ShardOffer),
        /// A part of a change of the revocations.
        108 Revocations(RevocationsPart),
        /// A nonce was in a tick that the voter has applied.
        109 TickAnswer(TickAnswer),
        /// Records are on the voter's disk.
        110 RecordAck(RecordAck),
        /// Records contradict others.
        111 RecordFork(RecordFork),
        /// The voter ends the conversation.
        112 Refused(Refused),
        /// Where voters are that joined later than the first.
        113 Voters(VoterAddresses),
        /// What came of a holder's request.
        114 Revoked(RevokeAnswer),
        /// The newest batches of relations as of a tick whose answer follows.
        115 TickRelations(TickRelations),
        /// There are batches of relations.
        116 Relations(RelationsOffer),
        /// A bundle is being rolled out, or is not any more.
        117 Staged(StagedOffer),
        /// What voters have signed about a tick whose answer follows.
        118 Beacon(BeaconOffer),
    }
}

/// The first message. Its shape never changes (W-7).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The versions that the edge speaks.
    pub versions: Vec<Version>,
    /// The mesh that it belongs to.
    pub mesh: MeshId,
    /// Who it is; the certificate says the same.
    pub edge: EdgeId,
    /// Random per start of the process.
    pub boot: BootId,
}

/// The answer to [`Hello`]. Its shape never changes (W-7).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HelloAck {
    /// The version that is spoken from here on.
    pub version: Version,
    /// Who answers; the certificate says the same.
    pub voter: VoterId,
}

/// The end of a conversation. Its shape never changes (W-7).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// A fixed word.
    pub code: String,
    /// For people.
    pub detail: String,
}

/// What an edge has; everything above it is what it wants (D-1).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Have {
    /// The version of its root.
    pub root: u64,
    /// The version of its directory; zero for none.
    pub directory: u64,
    /// The newest activation of each tenant and ring whose bundle it has, or is not of its tenants. One that is known
    /// by name only does not count, or it would never be fetched.
    pub activations: Vec<HaveActivation>,
    /// The epoch of its revocations.
    pub epoch: RevocationEpoch,
    /// The digest of its revocations.
    pub revocations: Digest,
    /// Its shards.
    pub shards: Vec<HaveShard>,
}

/// The newest activation that an edge knows of a tenant and ring.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HaveActivation {
    /// The tenant.
    pub tenant: TenantId,
    /// The ring.
    pub ring: u32,
    /// The activation's number.
    pub number: LogIndex,
}

/// A shard that an edge has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HaveShard {
    /// The tenant.
    pub tenant: TenantId,
    /// The credential.
    pub credential: CredentialId,
    /// Its version.
    pub version: u64,
}

/// An object and its size. The digest is that of its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ObjectRef {
    /// SHA-256 of the bytes.
    pub digest: Digest,
    /// Their number.
    pub len: u64,
}

/// Asks for objects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetch {
    /// Their digests.
    pub digests: Vec<Digest>,
}

/// How far a bundle has come at an edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Stage {
    /// Every byte is there.
    Received,
    /// Enough administrators signed it, and it may succeed what runs.
    Verified,
    /// Its policies compile, and its self-test passes.
    Compiled,
    /// Decisions are made with it.
    Active,
}

/// A bundle has reached a stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// The tenant.
    pub tenant: TenantId,
    /// The bundle's manifest.
    pub manifest: Digest,
    /// The stage.
    pub stage: Stage,
}

/// A document was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nack {
    /// Its digest; of a bundle, the manifest's.
    pub digest: Digest,
    /// A fixed word.
    pub code: String,
    /// For people: file and rule, where there is one.
    pub detail: String,
}

/// A nonce, and what the edge has at that moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NonceMessage {
    /// The random bytes.
    pub nonce: Nonce,
    /// The epoch that the edge enforces.
    pub epoch: RevocationEpoch,
    /// Its newest record, so that a missing tail is noticed.
    pub head: Option<RecordHead>,
}

/// A signed document is there to be fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// Its version.
    pub version: u64,
    /// The document in its signatures.
    pub object: ObjectRef,
}

/// An activation, and where its manifest is to be fetched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activated {
    /// The activation.
    pub activation: Activation,
    /// The manifest in its signatures.
    pub envelope: ObjectRef,
}

/// What a tenant has staged (W-30).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagedOffer {
    /// The tenant.
    pub tenant: TenantId,
    /// The activation, where its manifest is to be fetched, and whom it is for; `None`: nothing is staged any more.
    pub staged: Option<(Activated, Scope)>,
}

/// What an edge has seen of a bundle that is being rolled out (W-31): of each decision of the tenant, what the other
/// bundle would have decided. Counts are since the edge has had both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutReport {
    /// The tenant.
    pub tenant: TenantId,
    /// The rollout: two of the same bundle are two.
    pub rollout: LogIndex,
    /// Whether the edge decides by it.
    pub runs: bool,
    /// Decisions that were compared.
    pub compared: u64,
    /// Decisions that were not, because they came too quickly.
    pub dropped: u64,
    /// Of those, permitted by the bundle from before.
    pub permitted_before: u64,
    /// Permitted by it, and denied by the bundle from before.
    pub newly_permitted: u64,
    /// Denied by it, and permitted by the bundle from before.
    pub newly_denied: u64,
    /// Decisions in which one of its rules failed.
    pub failed: u64,
    /// Milliseconds that one of a hundred of its decisions exceeds, rounded down.
    pub p99_ms: u64,
    /// A few of the differences, one for each action and kind.
    pub examples: Vec<RolloutExample>,
}

/// One decision that comes out differently.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutExample {
    /// The tool.
    pub action: ToolName,
    /// The class of the agent.
    pub class: String,
    /// What the bundle from before says: `permit`, or the reason.
    pub before: String,
    /// What the new one says.
    pub after: String,
    /// The rules that decided.
    pub rules: Vec<String>,
}

/// How far a tenant's relations have come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelationsHead {
    /// The tenant.
    pub tenant: TenantId,
    /// The revision of the newest batch; zero for none.
    pub revision: u64,
    /// The digest of what was signed; zeros for none.
    pub digest: Digest,
}

/// The relations that an edge follows, and how far it has them (W-26).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HaveRelations {
    /// Whether what follows on these is to be offered again; else this says only what has arrived.
    pub again: bool,
    /// Each tenant once.
    pub heads: Vec<RelationsHead>,
}

/// The relations as of a tick (W-27). The answer to the nonce follows on the same stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TickRelations {
    /// The tick.
    pub n: LogIndex,
    /// Of the tenants that the edge follows, those that have any.
    pub heads: Vec<RelationsHead>,
}

/// What voters have signed about a tick (W-40). The answer to the nonce follows on the same stream, and says the rest of
/// the statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BeaconOffer {
    /// The tick.
    pub n: LogIndex,
    /// The root over the newest batches of relations of all tenants.
    pub relations: Digest,
    /// How each head of the tick's [`TickRelations`] is in it, in the same order.
    pub paths: Vec<InclusionPath>,
    /// By voter.
    pub signatures: BTreeMap<VoterId, Signature>,
}

/// Batches that follow on each other (W-28).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelationsOffer {
    /// The tenant.
    pub tenant: TenantId,
    /// The revision of the first.
    pub first: u64,
    /// The signed forms, in order.
    pub batches: Vec<ObjectRef>,
}

/// A piece of an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// The object.
    pub digest: Digest,
    /// Where in it the piece begins.
    pub offset: u64,
    /// Bytes of the whole object.
    pub total: u64,
    /// The piece.
    #[serde(with = "super::codec::bytes")]
    pub bytes: Vec<u8>,
}

/// A sealed credential. Tenant, name and version are what the voter says; the signed ones are inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardOffer {
    /// The tenant.
    pub tenant: TenantId,
    /// The credential.
    pub credential: CredentialId,
    /// The version.
    pub version: u64,
    /// The sealed shard.
    #[serde(with = "super::codec::bytes")]
    pub bytes: Vec<u8>,
}

/// A part of a [`crate::revocation::RevocationUpdate`]. Parts follow each other without gaps, and say the same of the
/// whole (D-6).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevocationsPart {
    /// The epoch that the update starts from; zero: from nothing.
    pub from: RevocationEpoch,
    /// The epoch that it leads to.
    pub to: RevocationEpoch,
    /// The digest that the set has then.
    pub digest: Digest,
    /// Entries of the whole update, added and removed together.
    pub entries: u32,
    /// Which part this is, from zero.
    pub part: u32,
    /// New entries.
    pub added: Vec<Revocation>,
    /// Entries that the log has let go.
    pub removed: Vec<Cut>,
}

/// Every record of a boot up to this one is on the voter's disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordAck {
    /// The start of the edge's process.
    pub boot: BootId,
    /// The number of the last record.
    pub seq: u64,
}

/// A record contradicts one that the voter has. Nothing of this boot is acknowledged any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordFork {
    /// The start of the edge's process.
    pub boot: BootId,
    /// The number of the record.
    pub seq: u64,
    /// The hash that the voter has, or the head that two boots continue.
    pub stored: Digest,
}

/// Where voters are. Hints: whoever answers there has to show that voter's certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoterAddresses {
    /// Voters, and where edges reach them.
    pub voters: Vec<(VoterId, SocketAddr)>,
}

/// A holder's request, as an edge passes it on (W-11).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokeAsked {
    /// What the holder signed.
    pub request: SignedRequest,
}

/// What came of a holder's request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RevokeAnswer {
    /// It is committed.
    Committed {
        /// The epoch as of which it holds.
        epoch: RevocationEpoch,
        /// Until when.
        until: Timestamp,
    },
    /// It is not, or nobody knows (status 503).
    Refused {
        /// As the admin API answers it.
        status: u16,
        /// A fixed word.
        reason: String,
        /// For people.
        detail: String,
    },
}
