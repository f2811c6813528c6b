//! Why a root or a directory is not accepted.

use super::dsse::{MalformedDocument, NotVerified};
use crate::crypto::digest::Digest;
use crate::id::KeyId;
use crate::time::Timestamp;

/// Why a root or a directory is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustRefused {
    /// Not a signed document.
    #[error(transparent)]
    Malformed(#[from] MalformedDocument),
    /// Too few of the right keys signed.
    #[error(transparent)]
    NotVerified(#[from] NotVerified),
    /// Signed, but not what such a document says.
    #[error("the signed content is malformed: {fault}")]
    Content {
        /// What the decoder says.
        fault: String,
    },
    /// A role's keys or threshold break a rule.
    #[error("role `{role}`: {rule}")]
    BadRole {
        /// Which.
        role: String,
        /// The rule.
        rule: &'static str,
    },
    /// One key stands in two places.
    #[error("key {key} is {first} and {second}; a key stands in one role of one tenant only")]
    KeyReused {
        /// Which.
        key: KeyId,
        /// Where it was seen first.
        first: String,
        /// Where it was seen again.
        second: String,
    },
    /// Two entries have one name.
    #[error("{what} `{id}` is listed twice")]
    Repeated {
        /// What kind of entry.
        what: &'static str,
        /// Its name.
        id: String,
    },
    /// An entry breaks a rule.
    #[error("{what}: {rule}")]
    BadEntry {
        /// Which.
        what: String,
        /// The rule.
        rule: &'static str,
    },
    /// Another mesh's.
    #[error("the document belongs to another mesh")]
    WrongMesh,
    /// Not the root that was pinned.
    #[error("the root has digest {found}, pinned is {pinned}")]
    Pin {
        /// The pin.
        pinned: Digest,
        /// The document's.
        found: Digest,
    },
    /// A root does not follow on the one before it.
    #[error("root {found} does not follow on root {have}")]
    NotNext {
        /// The version that is here.
        have: u64,
        /// The version that was offered.
        found: u64,
    },
    /// A lower version than what is here.
    #[error("version {offered} is below version {have}")]
    Rollback {
        /// The version that is here.
        have: u64,
        /// The version that was offered.
        offered: u64,
    },
    /// A version so high that few could ever come after it.
    #[error("version {offered} is more than {most} above version {have}")]
    FastForward {
        /// The version that is here.
        have: u64,
        /// The version that was offered.
        offered: u64,
        /// The most that a version may rise at once.
        most: u64,
    },
    /// Two documents carry one version.
    #[error("there is another document of version {version}")]
    SameVersion {
        /// Which version.
        version: u64,
    },
    /// Made for longer than such a document may live.
    #[error("the document lives longer than {days} days, or ends before it begins")]
    Life {
        /// The bound.
        days: u64,
    },
    /// It says that it was made in the future.
    #[error("the document is from {created}, which is in the future")]
    FromTheFuture {
        /// When it says it was made.
        created: Timestamp,
    },
    /// Its time has passed.
    #[error("the {what} expired at {expires}")]
    Expired {
        /// Root or directory.
        what: &'static str,
        /// When.
        expires: Timestamp,
    },
}

impl TrustRefused {
    /// A fixed word for metrics and records.
    #[must_use]
    pub fn reason_code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::NotVerified(NotVerified::WrongType) => "wrong_type",
            Self::NotVerified(NotVerified::NotEnoughSignatures { .. }) => "not_enough_signatures",
            Self::Content { .. } => "content_malformed",
            Self::BadRole { .. } => "bad_role",
            Self::KeyReused { .. } => "key_reused",
            Self::Repeated { .. } => "repeated_entry",
            Self::BadEntry { .. } => "bad_entry",
            Self::WrongMesh => "wrong_mesh",
            Self::Pin { .. } => "not_the_pinned_root",
            Self::NotNext { .. } => "not_the_next_root",
            Self::Rollback { .. } => "rollback",
            Self::FastForward { .. } => "fast_forward",
            Self::SameVersion { .. } => "same_version",
            Self::Life { .. } => "life_too_long",
            Self::FromTheFuture { .. } => "from_the_future",
            Self::Expired { .. } => "expired",
        }
    }
}
