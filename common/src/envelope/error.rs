//! Why an envelope is not accepted: its shape, or its signatures and structure.

use crate::crypto::sign::{KeyInvalid, SignatureInvalid};
use crate::id::TenantId;
use crate::lattice::InvalidScope;

/// Bytes are no presentation of this version. Found without a key and without a clock.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MalformedEnvelope {
    /// Longer than any presentation may be; nothing was decoded.
    #[error("a presentation of {found} bytes is longer than {max}")]
    TooLong {
        /// Its length.
        found: usize,
        /// The longest allowed.
        max: usize,
    },
    /// A chain without links, or with too many.
    #[error("a chain has 1 to {max} links, this one {found}")]
    Links {
        /// Links announced.
        found: u64,
        /// Links allowed.
        max: usize,
    },
    /// Only a leaf id. In this version every request carries the full chain.
    #[error("only the full presentation is accepted, not a reference to one")]
    NeedChain,
    /// The outer array, or what follows it, is not what it should be.
    #[error("the presentation is no array [1, links]")]
    Frame {
        /// What is wrong with it.
        #[source]
        source: ShapeFault,
    },
    /// A link is not what it should be.
    #[error("link {hop}")]
    Link {
        /// Its index; 0 is the root.
        hop: u8,
        /// What is wrong with it.
        #[source]
        source: ShapeFault,
    },
    /// A link is well formed and restricts something that this version cannot enforce.
    #[error("link {hop} carries `{key}`, which this version cannot enforce")]
    Unenforceable {
        /// Its index; 0 is the root.
        hop: u8,
        /// What it carries.
        key: &'static str,
    },
}

/// What is wrong with the shape of a link.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShapeFault {
    /// Longer than a link may be.
    #[error("{found} bytes are more than {max}")]
    TooLong {
        /// Its length.
        found: usize,
        /// The longest allowed.
        max: usize,
    },
    /// Not CBOR, or not of the type that stands here.
    #[error("not decodable at `{at}`")]
    Cbor {
        /// The field.
        at: &'static str,
    },
    /// An indefinite length.
    #[error("indefinite length at `{at}`")]
    Indefinite {
        /// The field.
        at: &'static str,
    },
    /// More or fewer items than the field may have.
    #[error("`{at}` has the wrong number of items")]
    Count {
        /// The field.
        at: &'static str,
    },
    /// A key that this version does not know.
    #[error("unknown key in `{at}`")]
    UnknownKey {
        /// The map.
        at: &'static str,
    },
    /// A key a second time, or after a greater one.
    #[error("keys of `{at}` are not in order, each once")]
    KeyOrder {
        /// The map.
        at: &'static str,
    },
    /// A set whose items are not in order, each once.
    #[error("items of `{at}` are not in order, each once")]
    Unsorted {
        /// The set.
        at: &'static str,
    },
    /// A key that must be there is not.
    #[error("`{at}` is missing")]
    Missing {
        /// The field.
        at: &'static str,
    },
    /// A key that belongs to the other kind of link: a hop with a context, a root with a subtask.
    #[error("`{at}` does not belong in this kind of link")]
    Misplaced {
        /// The field.
        at: &'static str,
    },
    /// A value outside what the field may hold.
    #[error("`{at}` has a value that is not allowed")]
    Value {
        /// The field.
        at: &'static str,
    },
    /// A life beyond the limit of its kind.
    #[error("a life of {found_secs} s is longer than {max_secs} s")]
    LivesTooLong {
        /// From issue to end, in seconds.
        found_secs: u64,
        /// The longest allowed, in seconds.
        max_secs: u64,
    },
    /// A holder key that nobody, or everybody, can sign for.
    #[error("holder")]
    Holder(#[source] KeyInvalid),
    /// An algorithm that this version does not verify.
    #[error("algorithm {alg} is not supported")]
    Algorithm {
        /// Its COSE number.
        alg: i64,
    },
    /// Bytes after the end.
    #[error("bytes after the end of `{at}`")]
    Trailing {
        /// What should have ended.
        at: &'static str,
    },
    /// The same content has a shorter, or differently ordered, encoding, which is the only one accepted.
    #[error("`{at}` is not in its one deterministic encoding")]
    NotDeterministic {
        /// What was compared.
        at: &'static str,
    },
}

impl MalformedEnvelope {
    /// The reason that stands in answers, records and metrics.
    #[must_use]
    pub const fn reason_code(&self) -> &'static str {
        "malformed"
    }
}

/// A well-formed chain is not what it claims to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unauthenticated {
    /// No issuer is listed for the tenant at the time of issue.
    #[error("no issuer is listed for tenant `{tenant}`")]
    NoIssuers {
        /// The tenant that the root claims.
        tenant: TenantId,
    },
    /// Not more than half of the tenant's issuers signed the root.
    #[error("{found} of the tenant's {listed} issuers signed the root, which is no majority")]
    Minority {
        /// Distinct listed issuers whose signature verifies.
        found: usize,
        /// Issuers listed for the tenant at the time of issue.
        listed: usize,
    },
    /// A listed issuer's signature over the root does not verify.
    #[error("issuer `{kid}` of the root")]
    RootSignature {
        /// The first eight bytes of the issuer's key id, in hex.
        kid: String,
        /// The cause.
        #[source]
        source: SignatureInvalid,
    },
    /// A hop does not name the link before it.
    #[error("link {hop} does not name its parent")]
    WrongParent {
        /// Its index.
        hop: u8,
    },
    /// A hop's header names another algorithm than its parent's holder key has.
    #[error("link {hop} is not signed with the algorithm of its parent's holder")]
    WrongAlgorithm {
        /// Its index.
        hop: u8,
    },
    /// A hop's header names another key than its parent's holder.
    #[error("link {hop} is not signed by its parent's holder")]
    WrongSigner {
        /// Its index.
        hop: u8,
    },
    /// A hop's signature does not verify under its parent's holder key.
    #[error("link {hop}")]
    Signature {
        /// Its index.
        hop: u8,
        /// The cause.
        #[source]
        source: SignatureInvalid,
    },
    /// The parent's holder may not hand on.
    #[error("link {hop} was made by a holder that may not hand on")]
    DepthExhausted {
        /// Its index.
        hop: u8,
    },
    /// The hop's purpose is neither above nor below its parent's.
    #[error("link {hop} has a purpose beside its parent's")]
    PurposeMismatch {
        /// Its index.
        hop: u8,
    },
    /// The links have no moment in common.
    #[error("link {hop} leaves no time at which the chain holds")]
    NeverValid {
        /// Its index.
        hop: u8,
    },
    /// The grants of a link do not fit those of its parent.
    #[error("link {hop}")]
    Grants {
        /// Its index.
        hop: u8,
        /// The cause.
        #[source]
        source: InvalidScope,
    },
}

impl Unauthenticated {
    /// The reason that stands in answers, records and metrics.
    #[must_use]
    pub const fn reason_code(&self) -> &'static str {
        match self {
            Self::Grants { .. } => "malformed",
            Self::NoIssuers { .. }
            | Self::Minority { .. }
            | Self::RootSignature { .. }
            | Self::WrongParent { .. }
            | Self::WrongAlgorithm { .. }
            | Self::WrongSigner { .. }
            | Self::Signature { .. } => "bad_signature",
            Self::DepthExhausted { .. } => "out_of_scope",
            Self::PurposeMismatch { .. } => "purpose_mismatch",
            Self::NeverValid { .. } => "expired",
        }
    }
}
