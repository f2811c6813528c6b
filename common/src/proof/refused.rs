//! Why a proof does not count.

use super::Grade;
use crate::crypto::sign::SignatureInvalid;
use crate::identity::svid::{BadSvid, NotThisAgent};

/// Bytes are no proof, no request for a channel and no answer to one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MalformedProof {
    /// More than the bound.
    #[error("longer than {bytes_max} bytes")]
    TooLong {
        /// The bound.
        bytes_max: usize,
    },
    /// Not base64url without padding.
    #[error("not base64url without padding")]
    Encoding,
    /// An item is missing, of another type, or out of its range.
    #[error("`{at}` is missing or not as it should be")]
    Shape {
        /// Which.
        at: &'static str,
    },
    /// There is another, shorter or more orderly encoding of the same.
    #[error("not the deterministic encoding")]
    NotDeterministic,
    /// There is more than one.
    #[error("there is more than one")]
    Twice,
}

/// What is wrong with a proof, in one word: a machine that reads it knows what to do next. A fixed set (clause X-9).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProofFault {
    /// There is none, and one is needed.
    Missing,
    /// It cannot be read.
    Malformed,
    /// The edge has no such channel (any more): open one.
    UnknownChannel,
    /// The channel is another envelope's.
    OtherLeaf,
    /// It is for another edge or another mesh.
    OtherEdge,
    /// Made too long ago, or the clocks are too far apart.
    Time,
    /// Tag or signature are not those of this request.
    Evidence,
    /// Its counter has been used.
    Replayed,
    /// It is good, and of too low a grade: prove more.
    Grade,
    /// Too many channels: try again later.
    Busy,
    /// The identity that was shown does not count: show a good one, or none.
    Identity,
}

impl ProofFault {
    /// The word that answers carry.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::UnknownChannel => "unknown_channel",
            Self::OtherLeaf => "other_leaf",
            Self::OtherEdge => "other_edge",
            Self::Time => "time",
            Self::Evidence => "evidence",
            Self::Replayed => "replayed",
            Self::Grade => "grade",
            Self::Busy => "busy",
            Self::Identity => "identity",
        }
    }

    /// The reason that stands in answers, records and metrics.
    #[must_use]
    pub const fn reason_code(self) -> &'static str {
        match self {
            Self::Replayed => "replayed",
            _ => "bad_proof",
        }
    }
}

/// Whose room for channels is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// Everybody's.
    #[error("the room of this edge is full")]
    Edge,
    /// What one address, or one site, may have.
    #[error("the room of this source is full; agents elsewhere have theirs")]
    Source,
    /// What envelopes below one root may have together.
    #[error("the room of this root is full; envelopes of other roots have theirs")]
    Root,
    /// What belongs to the tenant, and what tenants share.
    #[error("the room of this tenant is full; other tenants have theirs")]
    Tenant,
}

/// A proof, or a request for a channel, is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofRefused {
    /// There is none.
    #[error("the request carries no proof of possession; open a channel at `/v1/channels`")]
    Missing,
    /// It cannot be read.
    #[error("the proof is malformed")]
    Malformed(#[from] MalformedProof),
    /// No such channel here.
    #[error("this edge has no such channel; open one at `/v1/channels`")]
    UnknownChannel,
    /// The envelope is not the one for which the channel was opened.
    #[error("the channel was opened for another envelope")]
    OtherLeaf,
    /// Another edge or mesh is named.
    #[error("the request for a channel names another edge, or another mesh")]
    OtherEdge,
    /// Its time is off.
    #[error("the proof's time is {apart_secs} s off; set the clock")]
    Time {
        /// By how many seconds.
        apart_secs: u64,
    },
    /// Tag or signature do not match.
    #[error("the proof is not one of this request by the envelope's key")]
    Evidence,
    /// Its signature does not verify.
    #[error("the request for a channel is not signed by the envelope's key")]
    Signature(#[from] SignatureInvalid),
    /// Its counter was used before.
    #[error("the proof has been used before, or came too late")]
    Replayed,
    /// More is demanded.
    #[error("the call needs a proof of grade {required}, and has {proven}")]
    Grade {
        /// What is demanded.
        required: Grade,
        /// What was shown.
        proven: Grade,
    },
    /// The ephemeral key is not usable.
    #[error("the ephemeral key is not usable")]
    Agreement,
    /// No room for more channels.
    #[error("too many channels are open or were opened of late; try again in a minute, or at another edge")]
    Busy(#[from] Full),
    /// What was shown is no SVID.
    #[error("the identity that was shown is no SVID of an agent")]
    Svid(#[from] BadSvid),
    /// The SVID does not make true what the envelope says of its holder.
    #[error("the identity that was shown does not count")]
    Identity(#[from] NotThisAgent),
}

impl ProofRefused {
    /// What is wrong, in one word.
    #[must_use]
    pub const fn fault(&self) -> ProofFault {
        match self {
            Self::Missing => ProofFault::Missing,
            Self::Malformed(_) | Self::Agreement => ProofFault::Malformed,
            Self::UnknownChannel => ProofFault::UnknownChannel,
            Self::OtherLeaf => ProofFault::OtherLeaf,
            Self::OtherEdge => ProofFault::OtherEdge,
            Self::Time { .. } => ProofFault::Time,
            Self::Evidence | Self::Signature(_) => ProofFault::Evidence,
            Self::Replayed => ProofFault::Replayed,
            Self::Grade { .. } => ProofFault::Grade,
            Self::Busy(_) => ProofFault::Busy,
            Self::Svid(_) | Self::Identity(_) => ProofFault::Identity,
        }
    }

    /// The reason that stands in answers, records and metrics.
    #[must_use]
    pub const fn reason_code(&self) -> &'static str {
        self.fault().reason_code()
    }
}
