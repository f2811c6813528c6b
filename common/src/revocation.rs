//! What has been cut.
//!
//! A revocation names who or what loses authority and carries the request that asked for it, so that anyone may
//! deliver it and everyone checks it again. How long it lives follows from its kind and the request's time; nobody
//! on the way can shorten it. Administrators cut in their tenants, issuers what they signed, holders what is theirs or
//! below them. The set ([`Revocations`]) has one number, the epoch, that only rises, and one digest
//! that voters and edges compare. Clauses T-40 to T-55, docs/PROTOCOL.md.

use serde::{Deserialize, Serialize};

use crate::crypto::digest::Digest;
use crate::envelope::{MalformedEnvelope, RootSigners, Unauthenticated};
use crate::id::{
    AgentClass, AgentId, CredentialId, Delegator, EdgeId, KeyId, LinkId, LogIndex, SessionId, TaskId, ToolName,
};
use crate::identity::{NotPermitted, RequestRefused, SignedRequest};
use crate::time::Timestamp;

mod ask;
mod entries;
mod forbid;
mod kind;
mod reach;
mod set;
mod sketch;
mod verify;

pub use ask::{Asked, HOLDER_BODY_BYTES_MAX, Shown};
pub use forbid::{Called, Forbid};
pub use kind::CutKind;
pub use reach::Reach;
pub use set::{FORBIDS_MAX, REVOCATIONS_TOTAL_MAX, RevocationUpdate, Revocations};
pub use verify::Authorities;

/// First bytes under the name of an entry.
const NAME_LABEL: &[u8] = b"remit/revocation/v1\0";

/// Where a revocation request is posted.
pub const REVOCATIONS_PATH: &str = "/v1/revocations";

/// Who or what loses authority, and where. Also the key of the set.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cut {
    /// Where.
    pub tenant: Reach,
    /// What kind of thing.
    pub kind: CutKind,
    /// Which one, as text.
    pub id: String,
}

/// A cut with what asked for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revocation {
    /// What is cut.
    pub cut: Cut,
    /// Until when; follows from the kind and the request's time, for a link that a holder cuts from its chain.
    pub until: Timestamp,
    /// The log entry that brought it.
    pub index: LogIndex,
    /// What its requester signed.
    pub request: SignedRequest,
}

/// One thing that a call hangs on.
#[derive(Debug, Clone, Copy)]
pub enum Subject<'a> {
    /// A link of the chain.
    Link(&'a LinkId),
    /// A holder of the chain.
    Holder(&'a KeyId),
    /// The human.
    Delegator(&'a Delegator),
    /// The session.
    Session(&'a SessionId),
    /// The task.
    Task(&'a TaskId),
    /// An agent of the chain.
    Agent(&'a AgentId),
    /// The class of an agent of the chain.
    Class(&'a AgentClass),
    /// Who signed the root.
    Issuers(&'a RootSigners),
    /// A credential and its version.
    Credential(&'a CredentialId, u64),
    /// The tool.
    Tool(&'a ToolName),
    /// The tool's definition, as the bundle pins it.
    Definition(&'a Digest),
    /// The edge itself.
    Edge(&'a EdgeId),
    /// The call as a whole, for rules that forbid.
    Call(Called<'a>),
}

/// What a call hangs on has been cut.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} `{id}` has been revoked", kind = cut.kind, id = cut.id)]
pub struct Revoked {
    /// The entry that says so.
    pub cut: Cut,
}

impl Revocation {
    /// What a bundle names that lifts this entry (clause T-61): of the request, so that whoever asks for the same again
    /// has to be overruled again.
    #[must_use]
    pub fn name(&self) -> Digest {
        Digest::of(&[NAME_LABEL, &self.request.signature.0])
    }
}

/// Why a revocation, or a change of the set, is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RevocationRefused {
    /// The body is not a cut, or its id has not the form of its kind.
    #[error("not a revocation request: {rule}")]
    Malformed {
        /// The rule.
        rule: &'static str,
    },
    /// The request is not its administrator's.
    #[error("the request does not count")]
    Request(#[from] RequestRefused),
    /// The administrator may not cut this.
    #[error("the requester may not cut this")]
    NotPermitted(#[from] NotPermitted),
    /// The requester is none of those who may cut this.
    #[error("{rule}")]
    NotTheirs {
        /// The rule.
        rule: &'static str,
    },
    /// Something that needs two administrators was asked for by fewer.
    #[error("{rule}")]
    NotJoined {
        /// The rule.
        rule: &'static str,
    },
    /// There are as many rules that forbid as there may be.
    #[error("there are {max} rules that forbid already; name what they have in common, or publish a bundle")]
    ForbidsFull {
        /// The bound.
        max: usize,
    },
    /// The chain that a holder shows is none.
    #[error("the chain that the requester shows is malformed")]
    ChainMalformed(#[from] MalformedEnvelope),
    /// The chain that a holder shows was not issued in this mesh.
    #[error("the chain that the requester shows does not verify")]
    Chain(#[from] Unauthenticated),
    /// The chain had ended when it was to be cut.
    #[error("the chain had ended already when the request was signed")]
    Ended,
    /// The entry says other than what was signed.
    #[error("the entry differs from what its requester signed")]
    Differs,
    /// There is no room for more.
    #[error("there are {max} revocations already")]
    Full {
        /// The bound.
        max: usize,
    },
    /// Holders have cut as much as they may.
    #[error("holders have cut as much as there is room for; an administrator can still cut this")]
    HoldersFull,
    /// Holders have cut as much below a link of the chain as they may.
    #[error(
        "{max} cuts by holders below a link of this chain are in force; who holds a link above may still have room, and \
         an administrator can cut this"
    )]
    RootFull {
        /// The bound.
        max: usize,
    },
    /// The update does not follow on what is here.
    #[error("the update starts at epoch {from}, here is {have}")]
    Gap {
        /// Where the update starts.
        from: crate::id::RevocationEpoch,
        /// What is here.
        have: crate::id::RevocationEpoch,
    },
    /// An epoch at or below the one that is here.
    #[error("epoch {offered} does not rise above {have}")]
    EpochNotRising {
        /// What was offered.
        offered: crate::id::RevocationEpoch,
        /// What is here.
        have: crate::id::RevocationEpoch,
    },
    /// The set that results is not the one that was promised.
    #[error("the resulting set has another digest")]
    Digest,
}

impl RevocationRefused {
    /// A fixed word for metrics and records.
    #[must_use]
    pub fn reason_code(&self) -> &'static str {
        match self {
            Self::Malformed { .. } => "malformed",
            Self::Request(refused) => refused.reason_code(),
            Self::NotPermitted(refused) => refused.reason_code(),
            Self::NotTheirs { .. } => "not_theirs_to_cut",
            Self::NotJoined { .. } => "not_joined",
            Self::ForbidsFull { .. } => "forbids_full",
            Self::ChainMalformed(_) | Self::Chain(_) => "bad_chain",
            Self::Ended => "ended",
            Self::Differs => "differs_from_request",
            Self::Full { .. } => "full",
            Self::HoldersFull => "holders_full",
            Self::RootFull { .. } => "root_full",
            Self::Gap { .. } => "gap",
            Self::EpochNotRising { .. } => "epoch_not_rising",
            Self::Digest => "other_digest",
        }
    }
}

impl Cut {
    /// Checks the id against its kind.
    ///
    /// # Errors
    /// [`RevocationRefused::Malformed`].
    pub fn check(&self) -> Result<(), RevocationRefused> {
        let id = self.id.as_str();
        let fits = match self.kind {
            CutKind::Link | CutKind::Holder => id.parse::<KeyId>().is_ok(),
            CutKind::Delegator => Delegator::new(id).is_ok(),
            CutKind::Session => SessionId::new(id).is_ok(),
            CutKind::Task => TaskId::new(id).is_ok(),
            CutKind::Agent => AgentId::new(id).is_ok(),
            CutKind::Credential => {
                let (name, version) = id.split_once('@').map_or((id, None), |(name, version)| (name, Some(version)));
                let number = |text: &str| text.parse::<u64>().is_ok_and(|number| number.to_string() == text);
                CredentialId::new(name).is_ok() && version.is_none_or(number)
            }
            CutKind::Tool => ToolName::new(id).is_ok(),
            CutKind::Edge => EdgeId::new(id).is_ok(),
            CutKind::Tenant => id == self.tenant.as_str(),
            CutKind::Class => AgentClass::new(id).is_ok(),
            CutKind::Issuer => self.issued_before().is_some(),
            CutKind::Definition => id.parse::<Digest>().is_ok(),
            CutKind::Forbid => Forbid::parse(id).is_some(),
        };
        if fits { Ok(()) } else { Err(RevocationRefused::Malformed { rule: "the id has not the form of its kind" }) }
    }

    /// Of a cut of an issuer: its key, and the second from which on what it signs counts again. One spelling.
    #[must_use]
    pub fn issued_before(&self) -> Option<(KeyId, u64)> {
        let (key, secs) = self.id.split_once('@').filter(|_| self.kind == CutKind::Issuer)?;
        let number = secs.parse::<u64>().ok().filter(|number| number.to_string() == secs)?;
        Some((key.parse().ok()?, number))
    }

    /// The body of an administrator's request, JSON.
    #[must_use]
    pub fn to_body(&self) -> Vec<u8> {
        Asked { cut: self.clone(), shown: None, with: None }.to_body()
    }

    /// The body of the request of an administrator who joins in what another one has asked for.
    #[must_use]
    pub fn to_body_with(&self, first: SignedRequest) -> Vec<u8> {
        Asked { cut: self.clone(), shown: None, with: Some(Box::new(first)) }.to_body()
    }

    /// Until when a cut of this kind lives that was asked for at `created`.
    #[must_use]
    pub fn until(&self, created: Timestamp) -> Timestamp {
        created.plus(self.kind.life())
    }
}

#[cfg(test)]
mod brakes_tests;
#[cfg(test)]
mod tests;
