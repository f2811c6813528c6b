//! The decision record: what an edge decided, on what knowledge, and in which order, provable later.
//!
//! A record is a public half and the hash of its detail. The chain runs over the public halves and those hashes, so
//! that detail can be shed or erased without breaking it. The first record of a process names the last one of the
//! process before, and whatever was lost stands as a record of its own, signed by the edge: loss is provable, never
//! silent. There is no argument, no result and no secret in a record; where one has to be recognised again, there is a
//! salted digest of it, and the salt goes when the detail goes. Clauses, docs/PROTOCOL.md.

mod audit;
mod chain;
mod encode;
mod view;

use serde::{Deserialize, Serialize};

pub use audit::{Audit, AuditFault, EdgeAudit, SignedGap};
pub use chain::{Chain, ChainFault, Linked, verify_chain};
pub use encode::MalformedRecord;

use crate::crypto::digest::Digest;
use crate::crypto::sign::{PublicKey, Signature, SignatureInvalid, SigningKey};
use crate::id::{
    AgentClass, AgentId, BootId, CredentialId, DecisionId, Delegator, DimensionName, EdgeId, EnforcementPoint, LinkId,
    LogIndex, MeshId, PolicyId, ResourceId, RevocationEpoch, SessionId, TaskId, TenantId, ToolName,
};
use crate::lattice::{ClassSet, Effects};
use crate::limits::RECORD_BYTES_MAX;
use crate::policy::Stage;
use crate::time::{BootTime, Timestamp};

/// In front of what a record's hash covers.
const HASH_DOMAIN: &[u8] = b"remit/record/v1";
/// In front of what the signature of a gap covers.
const GAP_DOMAIN: &[u8] = b"remit/gap/v1";

/// What a record tells of. The numbers are on disks and never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordKind {
    /// A call was permitted or denied.
    Decision,
    /// A permitted call has ended.
    Outcome,
    /// Something was lost.
    Gap,
    /// A peer was given a part of a credential.
    Release,
    /// An enforcement point was told whether it may be; nothing was called here.
    Advice,
}

impl RecordKind {
    /// Every kind, in the order of the numbers.
    pub const ALL: [Self; 5] = [Self::Decision, Self::Outcome, Self::Gap, Self::Release, Self::Advice];

    /// As texts name it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Decision => "decision",
            Self::Outcome => "outcome",
            Self::Gap => "gap",
            Self::Release => "release",
            Self::Advice => "advice",
        }
    }
}

/// Why something was lost. The numbers are on disks and never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GapCause {
    /// The disk had half a record when the edge started.
    TornTail,
    /// Detail of permitted reads was shed for want of room.
    DetailShed,
    /// Permitted reads were shed for want of room.
    ReadsShed,
    /// The spool was damaged or taken away.
    SpoolLost,
    /// Refusals were shed: more callers without a valid envelope than are recorded one by one.
    RefusalsShed,
}

impl GapCause {
    /// Every cause, in the order of the numbers.
    pub const ALL: [Self; 5] = [Self::TornTail, Self::DetailShed, Self::ReadsShed, Self::SpoolLost, Self::RefusalsShed];

    /// As texts name it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TornTail => "torn-tail",
            Self::DetailShed => "detail-shed",
            Self::ReadsShed => "reads-shed",
            Self::SpoolLost => "spool-lost",
            Self::RefusalsShed => "refusals-shed",
        }
    }
}

/// What was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// Why.
    pub cause: GapCause,
    /// In which process.
    pub boot: BootId,
    /// The last record of that process that is whole.
    pub after: u64,
    /// How many records, or how many details; absent when nobody can tell.
    pub records: Option<u64>,
}

/// The half that everybody may see and that the chain covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Public {
    /// Who decided.
    pub edge: EdgeId,
    /// In which process.
    pub boot: BootId,
    /// Counts the records of a process, from 1.
    pub seq: u64,
    /// The hash of the record before; of the first record of an edge, zeros.
    pub prev: Digest,
    /// When, for people.
    pub wall: Timestamp,
    /// When, on the clock that ages are measured on.
    pub mono: BootTime,
    /// What this record tells of.
    pub kind: RecordKind,
    /// Which decision; absent in a gap.
    pub decision: Option<DecisionId>,
    /// Whose call; absent in a gap, and when nobody could tell.
    pub tenant: Option<TenantId>,
    /// What the call would have done, as far as that was known.
    pub effects: Effects,
    /// A fixed word: why it was permitted, denied, ended or lost.
    pub reason: String,
    /// The newest tick that the edge had proof of.
    pub tick: LogIndex,
    /// The revocations that it enforced.
    pub epoch: RevocationEpoch,
    /// The manifest that it decided by; absent when there was none.
    pub manifest: Option<Digest>,
    /// The age of what it knew, in milliseconds; absent when that was unknown.
    pub age_millis: Option<u64>,
    /// What was lost; in a gap and nowhere else.
    pub gap: Option<Gap>,
}

/// The half that can be shed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Detail {
    /// Makes every digest in here, and the digest of the whole, unguessable.
    pub salt: [u8; 16],
    /// The human on whose behalf.
    pub delegator: Option<Delegator>,
    /// The human's session.
    pub session: Option<SessionId>,
    /// The task.
    pub task: Option<TaskId>,
    /// The purpose, by name.
    pub purpose: Option<String>,
    /// The chain, root first.
    pub links: Vec<LinkId>,
    /// Its agents, root first.
    pub agents: Vec<AgentId>,
    /// The tool that was asked for.
    pub tool: Option<ToolName>,
    /// The resources that the call was about.
    pub resources: Vec<String>,
    /// The ids that it named, by dimension.
    pub ids: Vec<(DimensionName, Vec<ResourceId>)>,
    /// The amounts that it named, by dimension.
    pub amounts: Vec<(DimensionName, u64)>,
    /// [`salted`] digest of the arguments.
    pub arguments: Option<Digest>,
    /// The grant that admitted it.
    pub grant: Option<u16>,
    /// Policies that decided, the first few.
    pub policies: Vec<PolicyId>,
    /// How many policies there were to name.
    pub policies_total: u32,
    /// The dimension on which it failed.
    pub dimension: Option<DimensionName>,
    /// The link at which it failed.
    pub hop: Option<u8>,
    /// The most records that the answer might have.
    pub max_records: Option<u64>,
    /// The data classes that the answer might have; absent when it was not permitted.
    pub classes: Option<ClassSet>,
    /// What was released.
    pub result: Option<ResultFigures>,
    /// The credential that was injected.
    pub credential: Option<CredentialId>,
    /// Its version.
    pub credential_version: Option<u64>,
    /// For operators: what went wrong. No argument, no result, no secret.
    pub note: Option<String>,
    /// How far a decision came; absent in what is no decision, and in records from before there were stages.
    pub stage: Option<Stage>,
    /// The class of the agent that acts; absent in records from before it was written down.
    pub class: Option<AgentClass>,
    /// The revision of the relations that it was judged by, where policies about the tool ask for any.
    pub relations: Option<u64>,
    /// The offline authorization that was in use, where voters had proven nothing: the age is the time since it was made.
    pub offline: Option<Digest>,
    /// Relations that did not hold when nothing permitted the call, the first few: `object#relation@subject`.
    pub absent: Vec<String>,
    /// Who was told, of an answer to an enforcement point.
    pub asked_by: Option<EnforcementPoint>,
    /// Whom it asked about, where that subject has no envelope: `user::"alice"`.
    pub subject: Option<String>,
}

/// Numbers of an answer, before and after filtering.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ResultFigures {
    /// Records that the tool answered with.
    pub records_before: u64,
    /// Records that the agent got.
    pub records_released: u64,
    /// Fields that were dropped.
    pub fields_dropped: u64,
    /// Bytes that the agent got.
    pub bytes: u64,
}

/// The end of an edge's chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordHead {
    /// The process.
    pub boot: BootId,
    /// The number of the record in it.
    pub seq: u64,
    /// The record's hash.
    pub hash: Digest,
}

/// A record, with the exact bytes that its hash covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    public: Public,
    detail: Option<Detail>,
    // INVARIANT: `public_bytes` and `detail_bytes` are the encodings of the two halves, and `detail_digest` is the hash
    // of the latter, also when it has been shed.
    public_bytes: Vec<u8>,
    detail_bytes: Option<Vec<u8>>,
    detail_digest: Digest,
    signature: Option<Signature>,
}

/// SHA-256 of a salt and what must be recognised but not guessed.
#[must_use]
pub fn salted(salt: &[u8; 16], bytes: &[u8]) -> Digest {
    Digest::of(&[salt, bytes])
}

/// A record cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CannotRecord {
    /// More than a record holds; shorten the lists.
    #[error("a record has at most {RECORD_BYTES_MAX} bytes, this one has {found}")]
    TooLong {
        /// Its bytes.
        found: usize,
    },
    /// It breaks a rule that readers check.
    #[error(transparent)]
    Malformed(#[from] MalformedRecord),
}

impl Record {
    /// Makes a record of anything but a gap.
    ///
    /// # Errors
    /// [`CannotRecord`].
    pub fn new(public: Public, detail: Detail) -> Result<Self, CannotRecord> {
        Self::make(public, detail, |_| None)
    }

    /// Makes the record of a gap, signed by the edge's identity key.
    ///
    /// # Errors
    /// [`CannotRecord`].
    pub fn new_gap(public: Public, detail: Detail, mesh: &MeshId, key: &SigningKey) -> Result<Self, CannotRecord> {
        Self::make(public, detail, |record| Some(key.sign(&gap_message(&record.hash(mesh)))))
    }

    fn make(
        public: Public,
        detail: Detail,
        sign: impl FnOnce(&Self) -> Option<Signature>,
    ) -> Result<Self, CannotRecord> {
        let (public_bytes, detail_bytes) = (public.to_bytes(), detail.to_bytes());
        let detail_digest = Digest::of(&[&detail_bytes]);
        let mut record = Self {
            public,
            detail: Some(detail),
            public_bytes,
            detail_bytes: Some(detail_bytes),
            detail_digest,
            signature: None,
        };
        record.signature = sign(&record);
        record.check()?;
        let found = record.to_bytes().len();
        if found > RECORD_BYTES_MAX { Err(CannotRecord::TooLong { found }) } else { Ok(record) }
    }

    /// The half that everybody may see.
    #[must_use]
    pub fn public(&self) -> &Public {
        &self.public
    }

    /// The other half, unless it has been shed.
    #[must_use]
    pub fn detail(&self) -> Option<&Detail> {
        self.detail.as_ref()
    }

    /// The hash that the next record names.
    #[must_use]
    pub fn hash(&self, mesh: &MeshId) -> Digest {
        Digest::of(&[HASH_DOMAIN, &mesh.0, &self.public_bytes, &self.detail_digest.0])
    }

    /// Where the chain ends if it ends here.
    #[must_use]
    pub fn head(&self, mesh: &MeshId) -> RecordHead {
        RecordHead { boot: self.public.boot, seq: self.public.seq, hash: self.hash(mesh) }
    }

    /// The same record without its detail. Its hash is the same.
    #[must_use]
    pub fn without_detail(&self) -> Self {
        Self { detail: None, detail_bytes: None, ..self.clone() }
    }

    /// Whether this gap was declared by the edge whose identity key this is.
    ///
    /// # Errors
    /// [`SignatureInvalid`], also when it is no gap.
    pub fn verify_gap(&self, mesh: &MeshId, key: &PublicKey) -> Result<(), SignatureInvalid> {
        let signature = self.signature.as_ref().ok_or(SignatureInvalid)?;
        key.verify(&gap_message(&self.hash(mesh)), signature)
    }
}

fn gap_message(hash: &Digest) -> Vec<u8> {
    [GAP_DOMAIN, &hash.0].concat()
}

#[cfg(test)]
mod audit_tests;
#[cfg(test)]
mod tests;
