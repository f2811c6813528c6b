//! What has been cut.
//!
//! A revocation names who or what loses authority and carries the request that asked for it, so that anyone may
//! deliver it and everyone checks it again. How long it lives follows from its kind and the request's time; nobody
//! on the way can shorten it. The set ([`Revocations`]) has one number, the epoch, that only rises, and one digest
//! that voters and edges compare. Clauses T-40 to T-46, docs/PROTOCOL.md.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::{
    AgentId, CredentialId, Delegator, EdgeId, KeyId, LinkId, LogIndex, MeshId, SessionId, TaskId, TenantId, ToolName,
};
use crate::identity::{Administrators, NotPermitted, RequestRefused, SignedRequest, Verb};
use crate::limits::{ADMIN_SIGNATURE_LIFE_MAX, ROOT_LIFE_MAX};
use crate::time::Timestamp;

mod set;

pub use set::{REVOCATIONS_TOTAL_MAX, RevocationUpdate, Revocations};

/// Where a revocation request is posted.
pub const REVOCATIONS_PATH: &str = "/v1/revocations";
/// Bytes of a revocation request's body: three short texts.
const BODY_BYTES_MAX: usize = 512;
/// What a cut of an identity outlives the identity by, for clocks that differ.
const AFTERLIFE: Duration = Duration::from_secs(600);
/// How long a brake holds.
const BRAKE_LIFE: Duration = Duration::from_secs(24 * 3_600);
/// How long a cut of a credential or an edge holds: as long as a bundle may, which would still name it.
const LONG_LIFE: Duration = Duration::from_secs(90 * 86_400);

/// What kind of thing is cut. The order and the numbers are those of the digest: append only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CutKind {
    /// A link and with it the subtree below.
    Link,
    /// A holder key, by its id.
    Holder,
    /// A human, everything done on their behalf.
    Delegator,
    /// A human's session.
    Session,
    /// A task.
    Task,
    /// An agent, wherever it stands in a chain.
    Agent,
    /// A credential: `name` is every version, `name@7` that version.
    Credential,
    /// A tool. A brake: lapses after a day.
    Tool,
    /// An edge, for this tenant.
    Edge,
    /// The whole tenant. A brake: lapses after a day.
    Tenant,
}

impl CutKind {
    /// Every kind, in the order of its number.
    pub const ALL: [Self; 10] = [
        Self::Link,
        Self::Holder,
        Self::Delegator,
        Self::Session,
        Self::Task,
        Self::Agent,
        Self::Credential,
        Self::Tool,
        Self::Edge,
        Self::Tenant,
    ];

    /// The number under the digest.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Link => 1,
            Self::Holder => 2,
            Self::Delegator => 3,
            Self::Session => 4,
            Self::Task => 5,
            Self::Agent => 6,
            Self::Credential => 7,
            Self::Tool => 8,
            Self::Edge => 9,
            Self::Tenant => 10,
        }
    }

    /// The word in requests and on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Link => "link",
            Self::Holder => "holder",
            Self::Delegator => "delegator",
            Self::Session => "session",
            Self::Task => "task",
            Self::Agent => "agent",
            Self::Credential => "credential",
            Self::Tool => "tool",
            Self::Edge => "edge",
            Self::Tenant => "tenant",
        }
    }

    /// The longest that something of this kind outlives the request to cut it, plus the time in which the log may
    /// still take the request.
    fn life(self) -> Duration {
        match self {
            Self::Link | Self::Holder | Self::Delegator | Self::Session | Self::Task | Self::Agent => {
                ADMIN_SIGNATURE_LIFE_MAX + ROOT_LIFE_MAX + AFTERLIFE
            }
            Self::Tool | Self::Tenant => BRAKE_LIFE,
            Self::Credential | Self::Edge => LONG_LIFE,
        }
    }
}

impl std::fmt::Display for CutKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who or what loses authority, and in which tenant. Also the key of the set.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cut {
    /// Where.
    pub tenant: TenantId,
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
    /// Until when; follows from the kind and the request's time.
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
    /// A credential and its version.
    Credential(&'a CredentialId, u64),
    /// The tool.
    Tool(&'a ToolName),
    /// The edge itself.
    Edge(&'a EdgeId),
}

/// What a call hangs on has been cut.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} `{id}` has been revoked", kind = cut.kind, id = cut.id)]
pub struct Revoked {
    /// The entry that says so.
    pub cut: Cut,
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
    /// The entry says other than what was signed.
    #[error("the entry differs from what its requester signed")]
    Differs,
    /// There is no room for more.
    #[error("there are {max} revocations already")]
    Full {
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
            Self::Differs => "differs_from_request",
            Self::Full { .. } => "full",
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
        };
        if fits { Ok(()) } else { Err(RevocationRefused::Malformed { rule: "the id has not the form of its kind" }) }
    }

    /// The body of a revocation request, JSON.
    #[must_use]
    pub fn to_body(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default() // INVARIANT: three texts always serialise
    }

    /// Reads the body of a revocation request and checks the id against its kind.
    ///
    /// # Errors
    /// [`RevocationRefused::Malformed`].
    pub fn from_body(body: &[u8]) -> Result<Self, RevocationRefused> {
        if body.len() > BODY_BYTES_MAX {
            return Err(RevocationRefused::Malformed { rule: "the body has at most 512 bytes" });
        }
        // serde refuses duplicate and unknown members of a struct, and bytes after the end.
        let cut: Self = serde_json::from_slice(body)
            .map_err(|_| RevocationRefused::Malformed { rule: "the body has tenant, kind and id, nothing else" })?;
        cut.check()?;
        Ok(cut)
    }

    /// Until when a cut of this kind lives that was asked for at `created`.
    #[must_use]
    pub fn until(&self, created: Timestamp) -> Timestamp {
        created.plus(self.kind.life())
    }
}

impl Revocation {
    /// Makes the entry for a request that arrived as log entry `index`; checks everything that [`Self::verify`] does.
    ///
    /// # Errors
    /// [`RevocationRefused`].
    pub fn from_request(
        index: LogIndex,
        request: SignedRequest,
        mesh: &MeshId,
        administrators: &Administrators,
    ) -> Result<Self, RevocationRefused> {
        let cut = Cut::from_body(&request.body)?;
        let until = cut.until(Timestamp::from_secs(request.created));
        let entry = Self { cut, until, index, request };
        entry.verify(mesh, administrators)?;
        Ok(entry)
    }

    /// Whether an administrator asked for exactly this, whoever delivers it. Not a question of the present time: the
    /// request was in its window when the log took it, and an administrator who has left is still listed, with the
    /// time of leaving, for as long as what they cut is.
    ///
    /// # Errors
    /// [`RevocationRefused`].
    pub fn verify(&self, mesh: &MeshId, administrators: &Administrators) -> Result<(), RevocationRefused> {
        let Self { cut, until, index: _, request } = self;
        if request.method != "POST" || request.path != REVOCATIONS_PATH {
            return Err(RevocationRefused::Malformed { rule: "the request is not a POST to /v1/revocations" });
        }
        let created = Timestamp::from_secs(request.created);
        if Cut::from_body(&request.body)? != *cut || cut.until(created) != *until {
            return Err(RevocationRefused::Differs);
        }
        let unknown = NotPermitted::Unknown { key: request.key };
        let administrator = administrators.get(&request.key).ok_or(unknown)?;
        administrator.check(Verb::Revoke, &cut.tenant, created)?;
        request.verify(mesh, &administrator.key)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
