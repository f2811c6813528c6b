//! Why a batch is not taken.

use crate::crypto::digest::Digest;
use crate::id::{KeyId, TenantId};
use crate::limits::{RELATION_BATCHES_MAX, RELATION_LOG_BYTES_MAX, RELATION_STATEMENT_BYTES_MAX, RELATION_TUPLES_MAX};
use crate::trust::dsse::{MalformedDocument, NotVerified};

/// Why a batch of relation tuples is not taken. Nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchRefused {
    /// Longer than any batch.
    #[error("the batch has {bytes} bytes, at most {max} are taken; a change can be sent in several")]
    TooLong {
        /// Its bytes.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// Not a signed document.
    #[error(transparent)]
    Malformed(#[from] MalformedDocument),
    /// Not signed by exactly one key.
    #[error("a batch has exactly one signature")]
    Signatures,
    /// The active bundle does not list who signed.
    #[error("key {key} is not one of the relation writers that the active bundle of `{tenant}` names")]
    NotAWriter {
        /// Who signed.
        key: KeyId,
        /// Whose bundle was asked.
        tenant: TenantId,
    },
    /// The signature does not hold, or it is another kind of document.
    #[error(transparent)]
    NotVerified(#[from] NotVerified),
    /// Signed, but not what a batch says.
    #[error("the signed content is malformed: {fault}")]
    Content {
        /// What is wrong.
        fault: String,
    },
    /// Of another mesh.
    #[error("the batch belongs to another mesh")]
    WrongMesh,
    /// Of another tenant.
    #[error("the batch is of tenant `{found}`")]
    WrongTenant {
        /// Whose it is.
        found: TenantId,
    },
    /// Not the next: somebody else has written meanwhile, or it was played again, or one is missing.
    #[error("revision {found} does not follow on revision {have}; read the newest revision and sign again")]
    NotNext {
        /// The revision that is here.
        have: u64,
        /// The batch's.
        found: u64,
    },
    /// It follows on another batch than the one that is here.
    #[error("the batch follows on {found}, here revision {have} is {head}")]
    OtherPast {
        /// The revision that is here.
        have: u64,
        /// Its digest.
        head: Digest,
        /// What the batch names.
        found: Digest,
    },
    /// A log has to begin with the first batch, or with one that states the whole set.
    #[error("the log begins with revision {found}, which is neither the first nor a statement of the whole set")]
    NoBeginning {
        /// Its first revision.
        found: u64,
    },
    /// A tuple that the schema does not know.
    #[error("`{tuple}`: {fault}")]
    Tuple {
        /// The tuple.
        tuple: String,
        /// What the schema says to it.
        fault: String,
    },
    /// More tuples than a tenant may have.
    #[error(
        "the tenant would have {count} tuples, at most {RELATION_TUPLES_MAX} are kept: remove some, or drop the \
         expired ones with `remit relation compact`"
    )]
    TooManyTuples {
        /// How many there would be.
        count: usize,
    },
    /// More batches, or more bytes of them, than are kept.
    #[error(
        "the log would have {batches} batches in {bytes} bytes, at most {RELATION_BATCHES_MAX} in \
         {RELATION_LOG_BYTES_MAX} are kept, the last eighth for what only removes: state the whole set anew with \
         `remit relation compact`"
    )]
    LogFull {
        /// How many batches there would be.
        batches: usize,
        /// Their bytes.
        bytes: usize,
    },
    /// A packed statement is longer than any.
    #[error("the statement has more than {RELATION_STATEMENT_BYTES_MAX} bytes when it is unpacked")]
    StatementTooLong,
    /// Somebody signed what is kept who may not write any more.
    #[error(
        "revision {revision} was signed by key {key}, which the active bundle does not name as a writer any more: a \
         writer has to state the whole set anew with `remit relation compact`"
    )]
    WriterRetired {
        /// Who signed.
        key: KeyId,
        /// Which batch.
        revision: u64,
    },
}

impl BatchRefused {
    /// A fixed word for answers, nacks and metrics.
    #[must_use]
    pub fn reason_code(&self) -> &'static str {
        match self {
            Self::TooLong { .. } | Self::StatementTooLong => "batch_too_long",
            Self::Malformed(_) | Self::Content { .. } | Self::Signatures => "malformed",
            Self::NotAWriter { .. } => "not_a_writer",
            Self::NotVerified(_) => "bad_signature",
            Self::WrongMesh => "wrong_mesh",
            Self::WrongTenant { .. } => "wrong_tenant",
            Self::NotNext { .. } | Self::OtherPast { .. } => "revision_conflict",
            Self::NoBeginning { .. } => "no_beginning",
            Self::Tuple { .. } => "unknown_tuple",
            Self::TooManyTuples { .. } => "too_many_tuples",
            Self::LogFull { .. } => "relations_full",
            Self::WriterRetired { .. } => "writer_retired",
        }
    }
}
