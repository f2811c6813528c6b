//! What consensus writes to disk and to other voters, as frozen types.
//!
//! openraft's own types change shape when openraft does, so none of them is ever written: each has a counterpart
//! here, one per version, whose encoding golden bytes hold in place (C-2). Records on disk carry a checksum, because
//! nothing below verifies one when a page is read back.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use openraft::{CommittedLeaderId, LeaderId};
use remit_common::crypto::digest::Digest;
use remit_common::id::{MeshId, VoterId};
use remit_common::limits::ADMIN_BODY_BYTES_MAX;
use remit_common::wire::codec;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::types::{
    Addresses, Entry, EntryBytes, EntryPayload, LogId, Membership, SnapshotMeta, StoredMembership, Vote,
};

/// Bytes of one proposed entry: the largest administrator's request, with its signature and its encoding.
pub const ENTRY_BYTES_MAX: usize = ADMIN_BODY_BYTES_MAX + 64 * 1024;
/// Bytes of one record: an entry and what stands around it.
pub(crate) const RECORD_BYTES_MAX: usize = ENTRY_BYTES_MAX + 4 * 1024;

/// The first bytes of every record (C-2).
const MAGIC: [u8; 4] = *b"RMTL";
/// The version of the record header and of all bodies.
const VERSION: u16 = 1;
/// Bytes of a record's header: magic, version, kind, checksum; big-endian.
const HEADER_BYTES: usize = 12;

/// Bytes are not the record that should stand there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadRecord {
    /// No header of ours.
    #[error("not a record")]
    NotARecord,
    /// Written by a newer version of this software.
    #[error("record version {found} is not known to this version")]
    UnknownVersion { found: u16 },
    /// A record of another kind.
    #[error("a record of kind {found} stands where kind {expected} belongs")]
    WrongKind { found: u16, expected: u16 },
    /// The bytes have changed since they were written.
    #[error("the checksum does not match")]
    Checksum,
    /// The checksum is right, the body is not.
    #[error("the body is malformed")]
    Malformed,
    /// The value is too long to be written.
    #[error("the record is too long")]
    TooLong,
}

/// A value with a place on the disk. The numbers are part of the format: they are never used again.
pub(crate) trait Record: Serialize + DeserializeOwned {
    /// Names the type and version in the record header.
    const KIND: u16;
}

/// Makes a record.
pub(crate) fn encode_record<R: Record>(value: &R) -> Result<Vec<u8>, BadRecord> {
    let body = codec::encode::<RECORD_BYTES_MAX>(value).map_err(|_| BadRecord::TooLong)?;
    let mut record = Vec::with_capacity(HEADER_BYTES + body.len());
    record.extend_from_slice(&MAGIC);
    record.extend_from_slice(&VERSION.to_be_bytes());
    record.extend_from_slice(&R::KIND.to_be_bytes());
    record.extend_from_slice(&checksum(R::KIND, &body).to_be_bytes());
    record.extend_from_slice(&body);
    Ok(record)
}

/// Reads a record of the kind that belongs there.
pub(crate) fn decode_record<R: Record>(record: &[u8]) -> Result<R, BadRecord> {
    let Some((&[m0, m1, m2, m3, v0, v1, k0, k1, c0, c1, c2, c3], body)) = record.split_first_chunk::<HEADER_BYTES>()
    else {
        return Err(BadRecord::NotARecord);
    };
    if [m0, m1, m2, m3] != MAGIC {
        return Err(BadRecord::NotARecord);
    }
    let (version, kind) = (u16::from_be_bytes([v0, v1]), u16::from_be_bytes([k0, k1]));
    if version != VERSION {
        return Err(BadRecord::UnknownVersion { found: version });
    }
    if checksum(kind, body) != u32::from_be_bytes([c0, c1, c2, c3]) {
        return Err(BadRecord::Checksum);
    }
    if kind != R::KIND {
        return Err(BadRecord::WrongKind { found: kind, expected: R::KIND });
    }
    codec::decode::<RECORD_BYTES_MAX, R>(body).map_err(|_| BadRecord::Malformed)
}

/// CRC-32 of the kind and the body, so that a record cannot pass for one of another kind.
fn checksum(kind: u16, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&kind.to_be_bytes());
    hasher.update(body);
    hasher.finalize()
}

/// Whose disk this is (C-4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IdentityV1 {
    pub(crate) mesh: [u8; 16],
    pub(crate) voter: u64,
    pub(crate) disk: [u8; 16],
}

impl IdentityV1 {
    pub(crate) fn new(mesh: MeshId, voter: VoterId, disk: DiskId) -> Self {
        Self { mesh: mesh.0, voter: voter.0, disk: disk.0 }
    }
}

/// Drawn once, when a disk is first used; a wiped disk has another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DiskId(pub(crate) [u8; 16]);

/// The disk that a peer has had since this voter first met it (C-5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MetPeerV1 {
    pub(crate) voter: u64,
    pub(crate) disk: DiskId,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VoteV1 {
    term: u64,
    voter: u64,
    committed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LogIdV1 {
    term: u64,
    voter: u64,
    index: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MembershipV1 {
    configs: Vec<BTreeSet<u64>>,
    learners: BTreeSet<u64>,
}

/// A membership in which somebody has an address of their own: who joined later than the first voters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MembersV1 {
    configs: Vec<BTreeSet<u64>>,
    /// Everybody, with where they are.
    nodes: BTreeMap<u64, AddressesV1>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AddressesV1 {
    raft: Option<SocketAddr>,
    dist: Option<SocketAddr>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum PayloadV1 {
    Blank,
    Command(EntryBytes),
    Membership(MembershipV1),
    Members(MembersV1),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EntryV1 {
    log_id: LogIdV1,
    payload: PayloadV1,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SnapshotMetaV1 {
    last: Option<LogIdV1>,
    membership_at: Option<LogIdV1>,
    membership: MembershipV1,
    id: String,
}

/// A snapshot's header since members have addresses, and snapshots the digest of what they replace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SnapshotMetaV2 {
    last: Option<LogIdV1>,
    membership_at: Option<LogIdV1>,
    members: MembersV1,
    id: String,
    applied: Option<Digest>,
}

/// The last entry known to be committed (C-6). A hint: behind is fine, ahead of the log is cut off on open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CommittedV1(pub(crate) LogIdV1);

/// The last entry removed from the front of the log (C-6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PurgedV1(pub(crate) LogIdV1);

impl Record for IdentityV1 {
    const KIND: u16 = 1;
}
impl Record for EntryV1 {
    const KIND: u16 = 2;
}
impl Record for VoteV1 {
    const KIND: u16 = 3;
}
impl Record for CommittedV1 {
    const KIND: u16 = 4;
}
impl Record for PurgedV1 {
    const KIND: u16 = 5;
}
impl Record for MetPeerV1 {
    const KIND: u16 = 6;
}
impl Record for SnapshotMetaV1 {
    const KIND: u16 = 7;
}
impl Record for SnapshotMetaV2 {
    const KIND: u16 = 8;
}

impl From<&Vote> for VoteV1 {
    fn from(vote: &Vote) -> Self {
        let Vote { leader_id: LeaderId { term, node_id }, committed } = *vote;
        Self { term, voter: node_id, committed }
    }
}

impl From<VoteV1> for Vote {
    fn from(VoteV1 { term, voter, committed }: VoteV1) -> Self {
        Self { leader_id: LeaderId::new(term, voter), committed }
    }
}

impl From<&LogId> for LogIdV1 {
    fn from(id: &LogId) -> Self {
        let LogId { leader_id: CommittedLeaderId { term, node_id }, index } = *id;
        Self { term, voter: node_id, index }
    }
}

impl From<LogIdV1> for LogId {
    fn from(LogIdV1 { term, voter, index }: LogIdV1) -> Self {
        Self::new(CommittedLeaderId::new(term, voter), index)
    }
}

impl From<&Membership> for MembersV1 {
    fn from(membership: &Membership) -> Self {
        let nodes = membership.nodes().map(|(id, Addresses { raft, dist })| {
            let addresses = AddressesV1 { raft: *raft, dist: *dist };
            (*id, addresses)
        });
        Self { configs: membership.get_joint_config().clone(), nodes: nodes.collect() }
    }
}

impl From<MembersV1> for Membership {
    fn from(MembersV1 { configs, nodes }: MembersV1) -> Self {
        let nodes = nodes.into_iter().map(|(id, AddressesV1 { raft, dist })| (id, Addresses { raft, dist }));
        Self::new(configs, nodes.collect::<BTreeMap<_, _>>())
    }
}

impl From<&Membership> for PayloadV1 {
    /// The first version's form wherever it says everything: one membership has one encoding.
    fn from(membership: &Membership) -> Self {
        if membership.nodes().any(|(_, addresses)| *addresses != Addresses::default()) {
            return Self::Members(membership.into());
        }
        Self::Membership(MembershipV1 {
            configs: membership.get_joint_config().clone(),
            learners: membership.learner_ids().collect(),
        })
    }
}

impl From<&EntryPayload> for PayloadV1 {
    fn from(payload: &EntryPayload) -> Self {
        match payload {
            EntryPayload::Blank => Self::Blank,
            EntryPayload::Normal(bytes) => Self::Command(bytes.clone()),
            EntryPayload::Membership(membership) => membership.into(),
        }
    }
}

/// A payload as the digest of what was applied takes it in: its number, and its bytes (C-10).
pub(crate) fn payload_bytes(payload: &PayloadV1) -> (u8, Cow<'_, [u8]>) {
    // INVARIANT: members are at most a few dozen, whose encoding cannot fail.
    fn encoded(value: &impl Serialize) -> Cow<'_, [u8]> {
        Cow::Owned(codec::encode::<RECORD_BYTES_MAX>(value).unwrap_or_default())
    }
    match payload {
        PayloadV1::Blank => (0, Cow::Borrowed(&[])),
        PayloadV1::Command(bytes) => (1, Cow::Borrowed(&bytes.0)),
        PayloadV1::Membership(membership) => (2, encoded(membership)),
        PayloadV1::Members(members) => (3, encoded(members)),
    }
}

impl From<MembershipV1> for Membership {
    fn from(MembershipV1 { configs, learners }: MembershipV1) -> Self {
        Self::new(configs, learners)
    }
}

impl From<&Entry> for EntryV1 {
    fn from(entry: &Entry) -> Self {
        let Entry { log_id, payload } = entry;
        Self { log_id: log_id.into(), payload: payload.into() }
    }
}

impl From<EntryV1> for Entry {
    fn from(EntryV1 { log_id, payload }: EntryV1) -> Self {
        let payload = match payload {
            PayloadV1::Blank => EntryPayload::Blank,
            PayloadV1::Command(bytes) => EntryPayload::Normal(bytes),
            PayloadV1::Membership(membership) => EntryPayload::Membership(membership.into()),
            PayloadV1::Members(members) => EntryPayload::Membership(members.into()),
        };
        Self { log_id: log_id.into(), payload }
    }
}

impl SnapshotMetaV2 {
    pub(crate) fn new(meta: &SnapshotMeta, applied: Option<Digest>) -> Self {
        let SnapshotMeta { last_log_id, last_membership, snapshot_id } = meta;
        Self {
            last: last_log_id.as_ref().map(LogIdV1::from),
            membership_at: last_membership.log_id().as_ref().map(LogIdV1::from),
            members: last_membership.membership().into(),
            id: snapshot_id.clone(),
            applied,
        }
    }

    /// What Raft knows of it, and the digest of all that the snapshot replaces.
    pub(crate) fn into_parts(self) -> (SnapshotMeta, Option<Digest>) {
        let Self { last, membership_at, members, id, applied } = self;
        let last_membership = StoredMembership::new(membership_at.map(LogId::from), members.into());
        (SnapshotMeta { last_log_id: last.map(LogId::from), last_membership, snapshot_id: id }, applied)
    }
}

impl From<SnapshotMetaV1> for SnapshotMeta {
    fn from(SnapshotMetaV1 { last, membership_at, membership, id }: SnapshotMetaV1) -> Self {
        Self {
            last_log_id: last.map(LogId::from),
            last_membership: StoredMembership::new(membership_at.map(LogId::from), membership.into()),
            snapshot_id: id,
        }
    }
}

#[cfg(test)]
#[path = "format_tests.rs"]
mod tests;
