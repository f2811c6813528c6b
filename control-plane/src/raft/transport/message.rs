//! What voters say to each other, as frozen types (C-21).

use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, VoteRequest, VoteResponse};
use remit_common::limits::ADMIN_BODY_BYTES_MAX;
use remit_common::wire::codec::{self, Undecodable, Unencodable};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Boot, Own};
use crate::raft::format::{
    DiskId, ENTRY_BYTES_MAX, EntryV1, LogIdV1, MembersV1, SnapshotMetaV1, SnapshotMetaV2, VoteV1,
};
use crate::raft::log_store::REPLICATE_BYTES_MAX;
use crate::raft::snapshot::SNAPSHOT_BYTES_MAX;
use crate::raft::types::{Entry, LogId, SnapshotMeta, StoredMembership, Types, Vote};
use remit_common::crypto::digest::Digest;

/// The protocol version that this software speaks.
pub(crate) const VERSION: u16 = 1;
/// Versions that one greeting may offer.
const VERSIONS_MAX: usize = 16;

/// Bytes of one call between voters, or its answer: an administrator's request that is passed on to the leader.
pub const CALL_BYTES_MAX: usize = ADMIN_BODY_BYTES_MAX + 64 * 1024;
/// Bytes of an append: what replication gathers, or one entry that is larger.
const APPEND_BYTES_MAX: usize = ENTRY_BYTES_MAX + REPLICATE_BYTES_MAX;
/// Bytes of everything that carries no payload.
const SMALL_BYTES_MAX: usize = 4 * 1024;
/// Bytes of a snapshot's header.
const SNAPSHOT_HEADER_BYTES_MAX: usize = 64 * 1024;

/// What a message is: the type in the header of its first frame. The numbers are never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Hello,
    Append,
    Vote,
    /// A snapshot whose header has no digest: versions before this one sent it.
    SnapshotV1,
    Call,
    Snapshot,
    /// Whether the peer can be heard.
    Probe,
    /// The leader hands over: stand for election now.
    TakeOver,
    Welcome,
    Appended,
    Voted,
    Installed,
    Answer,
    Probed,
    TakingOver,
    Refused,
}

impl Kind {
    pub(crate) const fn number(self) -> u16 {
        match self {
            Self::Hello => 0x0200,
            Self::Append => 0x0201,
            Self::Vote => 0x0202,
            Self::SnapshotV1 => 0x0203,
            Self::Call => 0x0204,
            Self::Snapshot => 0x0205,
            Self::Probe => 0x0206,
            Self::TakeOver => 0x0207,
            Self::Welcome => 0x0280,
            Self::Appended => 0x0281,
            Self::Voted => 0x0282,
            Self::Installed => 0x0283,
            Self::Answer => 0x0284,
            Self::Probed => 0x0286,
            Self::TakingOver => 0x0287,
            Self::Refused => 0x02fe,
        }
    }

    pub(crate) fn of(number: u16) -> Option<Self> {
        let all = [
            Self::Hello,
            Self::Append,
            Self::Vote,
            Self::SnapshotV1,
            Self::Call,
            Self::Snapshot,
            Self::Probe,
            Self::TakeOver,
            Self::Welcome,
            Self::Appended,
            Self::Voted,
            Self::Installed,
            Self::Answer,
            Self::Probed,
            Self::TakingOver,
            Self::Refused,
        ];
        all.into_iter().find(|kind| kind.number() == number)
    }

    /// Bytes of the longest message of this kind.
    pub(crate) fn bytes_max(self) -> usize {
        match self {
            Self::Hello
            | Self::Vote
            | Self::Welcome
            | Self::Appended
            | Self::Voted
            | Self::Installed
            | Self::Probe
            | Self::Probed
            | Self::TakeOver
            | Self::TakingOver
            | Self::Refused => SMALL_BYTES_MAX,
            Self::Append => APPEND_BYTES_MAX,
            Self::SnapshotV1 | Self::Snapshot => SNAPSHOT_BYTES_MAX + SNAPSHOT_HEADER_BYTES_MAX,
            Self::Call | Self::Answer => CALL_BYTES_MAX,
        }
    }
}

/// A body that the codec writes.
pub(crate) trait Body: Serialize + DeserializeOwned {
    const KIND: Kind;

    fn to_bytes(&self) -> Result<Vec<u8>, Unencodable> {
        codec::encode::<APPEND_BYTES_MAX>(self)
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, Undecodable> {
        if bytes.len() > Self::KIND.bytes_max() {
            return Err(Undecodable);
        }
        codec::decode::<APPEND_BYTES_MAX, Self>(bytes)
    }
}

/// The dialling side's greeting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HelloV1 {
    versions: Vec<u16>,
    pub(crate) mesh: [u8; 16],
    pub(crate) voter: u64,
    pub(crate) disk: DiskId,
    pub(crate) boot: Boot,
}

impl HelloV1 {
    pub(crate) fn of(own: Own) -> Self {
        Self { versions: vec![VERSION], mesh: own.mesh.0, voter: own.voter.0, disk: own.disk, boot: own.boot }
    }

    /// The version to speak, if there is one.
    pub(crate) fn common_version(&self) -> Option<u16> {
        (self.versions.len() <= VERSIONS_MAX && self.versions.contains(&VERSION)).then_some(VERSION)
    }
}

/// The accepting side's greeting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WelcomeV1 {
    pub(crate) version: u16,
    pub(crate) mesh: [u8; 16],
    pub(crate) voter: u64,
    pub(crate) disk: DiskId,
    pub(crate) boot: Boot,
}

impl WelcomeV1 {
    pub(crate) fn of(own: Own, version: u16) -> Self {
        Self { version, mesh: own.mesh.0, voter: own.voter.0, disk: own.disk, boot: own.boot }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AppendV1 {
    vote: VoteV1,
    prev: Option<LogIdV1>,
    committed: Option<LogIdV1>,
    entries: Vec<EntryV1>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum AppendedV1 {
    Success,
    Partial(Option<LogIdV1>),
    Conflict,
    HigherVote(VoteV1),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AskVoteV1 {
    vote: VoteV1,
    last: Option<LogIdV1>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VotedV1 {
    vote: VoteV1,
    granted: bool,
    last: Option<LogIdV1>,
}

/// In front of the payload of [`Kind::SnapshotV1`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SnapshotHeaderV1 {
    vote: VoteV1,
    meta: SnapshotMetaV1,
}

/// In front of a snapshot's payload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SnapshotHeaderV2 {
    vote: VoteV1,
    meta: SnapshotMetaV2,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct InstalledV1 {
    vote: VoteV1,
}

/// The answer to a probe: who takes part, as far as the one who answers knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProbedV1 {
    membership_at: Option<LogIdV1>,
    members: MembersV1,
}

impl From<&StoredMembership> for ProbedV1 {
    fn from(stored: &StoredMembership) -> Self {
        Self { membership_at: id_to_wire(stored.log_id().as_ref()), members: stored.membership().into() }
    }
}

impl From<ProbedV1> for StoredMembership {
    fn from(ProbedV1 { membership_at, members }: ProbedV1) -> Self {
        Self::new(membership_at.map(LogId::from), members.into())
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RefusedV1 {
    pub(crate) detail: String,
}

impl Body for HelloV1 {
    const KIND: Kind = Kind::Hello;
}
impl Body for WelcomeV1 {
    const KIND: Kind = Kind::Welcome;
}
impl Body for AppendV1 {
    const KIND: Kind = Kind::Append;
}
impl Body for AppendedV1 {
    const KIND: Kind = Kind::Appended;
}
impl Body for AskVoteV1 {
    const KIND: Kind = Kind::Vote;
}
impl Body for VotedV1 {
    const KIND: Kind = Kind::Voted;
}
impl Body for InstalledV1 {
    const KIND: Kind = Kind::Installed;
}
impl Body for ProbedV1 {
    const KIND: Kind = Kind::Probed;
}
impl Body for RefusedV1 {
    const KIND: Kind = Kind::Refused;
}

impl RefusedV1 {
    /// Cuts the detail to what fits.
    pub(crate) fn new(detail: &str) -> Self {
        Self { detail: detail.chars().take(512).collect() }
    }
}

fn id_to_wire(id: Option<&LogId>) -> Option<LogIdV1> {
    id.map(LogIdV1::from)
}

impl From<&AppendEntriesRequest<Types>> for AppendV1 {
    fn from(request: &AppendEntriesRequest<Types>) -> Self {
        let AppendEntriesRequest { vote, prev_log_id, entries, leader_commit } = request;
        Self {
            vote: vote.into(),
            prev: id_to_wire(prev_log_id.as_ref()),
            committed: id_to_wire(leader_commit.as_ref()),
            entries: entries.iter().map(EntryV1::from).collect(),
        }
    }
}

impl From<AppendV1> for AppendEntriesRequest<Types> {
    fn from(AppendV1 { vote, prev, committed, entries }: AppendV1) -> Self {
        Self {
            vote: vote.into(),
            prev_log_id: prev.map(LogId::from),
            entries: entries.into_iter().map(Entry::from).collect(),
            leader_commit: committed.map(LogId::from),
        }
    }
}

impl From<AppendEntriesResponse<u64>> for AppendedV1 {
    fn from(response: AppendEntriesResponse<u64>) -> Self {
        match response {
            AppendEntriesResponse::Success => Self::Success,
            AppendEntriesResponse::PartialSuccess(upto) => Self::Partial(id_to_wire(upto.as_ref())),
            AppendEntriesResponse::Conflict => Self::Conflict,
            AppendEntriesResponse::HigherVote(vote) => Self::HigherVote((&vote).into()),
        }
    }
}

impl From<AppendedV1> for AppendEntriesResponse<u64> {
    fn from(appended: AppendedV1) -> Self {
        match appended {
            AppendedV1::Success => Self::Success,
            AppendedV1::Partial(upto) => Self::PartialSuccess(upto.map(LogId::from)),
            AppendedV1::Conflict => Self::Conflict,
            AppendedV1::HigherVote(vote) => Self::HigherVote(vote.into()),
        }
    }
}

impl From<&VoteRequest<u64>> for AskVoteV1 {
    fn from(VoteRequest { vote, last_log_id }: &VoteRequest<u64>) -> Self {
        Self { vote: vote.into(), last: id_to_wire(last_log_id.as_ref()) }
    }
}

impl From<AskVoteV1> for VoteRequest<u64> {
    fn from(AskVoteV1 { vote, last }: AskVoteV1) -> Self {
        Self::new(vote.into(), last.map(LogId::from))
    }
}

impl From<VoteResponse<u64>> for VotedV1 {
    fn from(VoteResponse { vote, vote_granted, last_log_id }: VoteResponse<u64>) -> Self {
        Self { vote: (&vote).into(), granted: vote_granted, last: id_to_wire(last_log_id.as_ref()) }
    }
}

impl From<VotedV1> for VoteResponse<u64> {
    fn from(VotedV1 { vote, granted, last }: VotedV1) -> Self {
        Self { vote: vote.into(), vote_granted: granted, last_log_id: last.map(LogId::from) }
    }
}

impl InstalledV1 {
    pub(crate) fn of(vote: &Vote) -> Self {
        Self { vote: vote.into() }
    }

    pub(crate) fn vote(&self) -> Vote {
        self.vote.into()
    }
}

/// A snapshot message up to its payload: `header length | header` (C-21).
pub(crate) fn snapshot_front(
    vote: &Vote,
    meta: &SnapshotMeta,
    applied: Option<Digest>,
) -> Result<Vec<u8>, Unencodable> {
    let header = SnapshotHeaderV2 { vote: vote.into(), meta: SnapshotMetaV2::new(meta, applied) };
    let header = codec::encode::<{ SNAPSHOT_HEADER_BYTES_MAX - 4 }>(&header)?;
    let len = u32::try_from(header.len()).unwrap_or(u32::MAX);
    Ok([len.to_be_bytes().as_slice(), &header].concat())
}

/// What stands in front of a snapshot's payload.
#[derive(Debug, PartialEq)]
pub(crate) struct SnapshotFront {
    pub(crate) vote: Vote,
    pub(crate) meta: SnapshotMeta,
    pub(crate) applied: Option<Digest>,
    /// Where the payload begins.
    pub(crate) payload_start: usize,
}

/// The parts of a snapshot message of either kind.
pub(crate) fn split_snapshot(kind: Kind, message: &[u8]) -> Result<SnapshotFront, Undecodable> {
    let (len, rest) = message.split_first_chunk::<4>().ok_or(Undecodable)?;
    let len = usize::try_from(u32::from_be_bytes(*len)).map_err(|_| Undecodable)?;
    if len > SNAPSHOT_HEADER_BYTES_MAX - 4 {
        return Err(Undecodable);
    }
    let header = rest.get(..len).ok_or(Undecodable)?;
    let (vote, (meta, applied)) = match kind {
        Kind::SnapshotV1 => {
            let SnapshotHeaderV1 { vote, meta } = codec::decode::<SNAPSHOT_HEADER_BYTES_MAX, _>(header)?;
            (vote, (meta.into(), None))
        }
        _ => {
            let SnapshotHeaderV2 { vote, meta } = codec::decode::<SNAPSHOT_HEADER_BYTES_MAX, _>(header)?;
            (vote, meta.into_parts())
        }
    };
    Ok(SnapshotFront { vote: vote.into(), meta, applied, payload_start: len.saturating_add(4) })
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
