//! What voters ask each other beside Raft. Version 1; the order of variants and fields is the format (Clause C-80):
//! append only.

use std::time::Duration;

use remit_common::crypto::digest::Digest;
use remit_common::crypto::sign::Signature;
use remit_common::id::{EdgeId, LogIndex, TenantId, VoterId};
use remit_common::identity::SignedRequest;
use remit_common::time::Timestamp;
use remit_common::trust::beacon::Statement;
use remit_common::wire::message::RolloutReport;
use serde::{Deserialize, Serialize};

use crate::collect::{Arrivals, Copies, RecordQuery, StoredRecord};
use crate::edges::{AttestedSince, EdgeReport};
use crate::entry::{self, Kind};
use crate::registry::{Applied, EnrolRequest, Operation};

/// Bytes of one answer: a page of records.
const REPLY_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Bytes of one question: the largest signed request.
const REQUEST_BYTES_MAX: usize = remit_common::limits::ADMIN_BODY_BYTES_MAX + 64 * 1024;

/// A question to another voter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum PeerRequest {
    /// To the leader: have this applied.
    Propose {
        /// What an administrator signed.
        request: SignedRequest,
        /// It may have been proposed before: then say what became of it.
        again: bool,
    },
    /// To the leader: the index behind which a read is linearizable.
    ReadIndex,
    /// To the leader: the root of the nonces that I have received.
    NonceRoot(Digest),
    /// To an issuer: your signature under the root that this command asked for.
    SignRoot {
        /// Whose.
        tenant: TenantId,
        /// What names it.
        evidence: Digest,
        /// The entry; answer once it is applied.
        index: LogIndex,
    },
    /// What your edges last said.
    Edges,
    /// How you are.
    Status,
    /// Records by content.
    Records(RecordQuery),
    /// Records in the order in which they came to you.
    RecordsSince {
        /// After this arrival; without it nothing but the last arrival there is.
        after: Option<u64>,
        /// At most this many.
        limit: u32,
    },
    /// How you are, and the digest of what you have applied.
    Health,
    /// What your clock shows.
    Clock,
    /// How your store of records is.
    RecordStore,
    /// Records to copy, in the order in which they came to you.
    Copies {
        /// After this arrival.
        after: u64,
        /// At most this many.
        limit: u32,
    },
    /// What your edges last said of rollouts.
    Rollouts,
    /// I have signed what I have applied at this tick.
    CoSign {
        /// The tick.
        n: LogIndex,
        /// Under my statement of it; yours says the same.
        signature: Signature,
    },
    /// Since when your edges have attested what they run.
    AttestedSince,
    /// To the leader: have the log decide about a certificate.
    Enrol {
        /// What an edge asks for, whose claim I have checked.
        request: EnrolRequest,
        /// Seconds for which the certificate is to count.
        life_secs: u32,
    },
    /// What you have under my signature.
    Signed,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum PeerReply {
    /// It is applied.
    Proposed {
        /// The entry.
        index: LogIndex,
        /// What it did.
        applied: Applied,
    },
    /// Ask this one.
    NotLeader {
        /// As far as I know.
        leader: Option<VoterId>,
    },
    /// It may or may not come to be applied.
    OutcomeUnknown,
    /// No majority confirms me, or I stop.
    Unavailable,
    /// The index.
    ReadIndex(LogIndex),
    /// Noted.
    Noted,
    /// My signature.
    Signed {
        /// The first bytes of my issuer key's id.
        kid: [u8; 8],
        /// The signature.
        signature: Signature,
    },
    /// I do not sign that.
    NotSigned {
        /// Why.
        why: String,
    },
    /// What my edges last said.
    Edges(Vec<EdgeReport>),
    /// How I am.
    Status(PeerStatus),
    /// The records.
    Records(Vec<StoredRecord>),
    /// The arrivals.
    Arrivals(Arrivals),
    /// How I am.
    Health(PeerHealth),
    /// What my clock shows.
    Clock(Timestamp),
    /// How my store of records is.
    RecordStore {
        /// Nothing is missing that other voters could have.
        whole: bool,
        /// The last arrival.
        last: u64,
    },
    /// The records to copy.
    Copies(Copies),
    /// What my edges last said of rollouts, and when.
    Rollouts(Vec<(EdgeId, Timestamp, RolloutReport)>),
    /// Noted.
    CoSigned {
        /// The newest statement that I have under your signature.
        newest: Option<(Statement, Signature)>,
    },
    /// Since when my edges have attested what they run.
    AttestedSince(Vec<AttestedSince>),
}

/// How a voter is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PeerStatus {
    /// `leader`, `follower`, …
    pub(crate) role: String,
    /// The term.
    pub(crate) term: u64,
    /// The last entry of its log.
    pub(crate) last: LogIndex,
    /// The last entry that it has applied.
    pub(crate) applied: LogIndex,
}

/// How a voter is, and what it has applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PeerHealth {
    /// `leader`, `follower`, …
    pub(crate) role: String,
    /// The term.
    pub(crate) term: u64,
    /// The last entry of its log.
    pub(crate) last: LogIndex,
    /// The last entry that it has applied.
    pub(crate) applied: LogIndex,
    /// The digest of everything up to that entry (C-10).
    pub(crate) digest: Option<Digest>,
    /// The same at round numbers behind it, oldest first.
    pub(crate) marks: Vec<(LogIndex, Digest)>,
}

impl PeerHealth {
    /// The digests that can be compared with another voter's.
    pub(crate) fn digests(&self) -> impl Iterator<Item = (LogIndex, Digest)> + '_ {
        self.marks.iter().copied().chain(self.digest.map(|digest| (self.applied, digest)))
    }
}

/// What needs a disk, a majority or a signature.
const ANSWERED_WITHIN: Duration = Duration::from_secs(3);
/// Until a bundle is compared with the active one, and applied.
const PUBLISHED_WITHIN: Duration = Duration::from_secs(10);
/// What a voter knows by heart: people wait for it while a voter is down.
const KNOWN_WITHIN: Duration = Duration::from_millis(1_500);

impl PeerRequest {
    /// How long to wait for the answer.
    pub(crate) fn within(&self) -> Duration {
        match self {
            Self::Edges
            | Self::Status
            | Self::Health
            | Self::Clock
            | Self::RecordStore
            | Self::NonceRoot(_)
            | Self::Rollouts
            | Self::CoSign { .. }
            | Self::AttestedSince
            | Self::Signed => KNOWN_WITHIN,
            Self::Propose { request, .. } if request.path == Operation::PublishBundle.path() => PUBLISHED_WITHIN,
            Self::Propose { .. }
            | Self::ReadIndex
            | Self::SignRoot { .. }
            | Self::Enrol { .. }
            | Self::Records(_)
            | Self::RecordsSince { .. }
            | Self::Copies { .. } => ANSWERED_WITHIN,
        }
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, entry::Malformed> {
        entry::decode::<REQUEST_BYTES_MAX, _>(Kind::PeerRequest, bytes)
    }
}

impl PeerReply {
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, entry::Malformed> {
        entry::decode::<REPLY_BYTES_MAX, _>(Kind::PeerReply, bytes)
    }
}

#[cfg(test)]
#[path = "protocol_tests.rs"]
mod tests;
