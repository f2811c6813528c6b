//! One cut, and the signed request that asked for it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::{
    AgentId, CredentialId, Delegator, EdgeId, KeyId, LinkId, LogIndex, MeshId, RevocationEpoch, SessionId, TaskId,
    TenantId, ToolName,
};
use crate::identity::{Administrators, NotPermitted, RequestRefused, SignedRequest, Verb};
use crate::limits::{ADMIN_SIGNATURE_LIFE_MAX, ROOT_LIFE_MAX};
use crate::time::Timestamp;

/// Bytes of the body of a revocation request: three names and what JSON puts around them.
const BODY_BYTES_MAX: usize = 1_024;
/// How long a cut outlives what it cuts, for clocks that disagree.
const MARGIN: Duration = Duration::from_secs(600);
/// How long a brake holds.
const BRAKE_LIFE: Duration = Duration::from_secs(24 * 3_600);
/// How long a credential or an edge stays cut: as long as a directory or a bundle may live.
const LONG_LIFE: Duration = Duration::from_secs(90 * 24 * 3_600);

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

/// Where a revocation request is posted.
pub const REVOCATIONS_PATH: &str = "/v1/revocations";

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
#[error("{kind:?} `{id}` has been revoked", kind = cut.kind, id = cut.id)]
pub struct Revoked {
    /// The entry that says so.
    pub cut: Cut,
}

/// Why a revocation is not taken.
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
        from: RevocationEpoch,
        /// What is here.
        have: RevocationEpoch,
    },
    /// An epoch at or below the one that is here.
    #[error("epoch {offered} does not rise above {have}")]
    EpochNotRising {
        /// What was offered.
        offered: RevocationEpoch,
        /// What is here.
        have: RevocationEpoch,
    },
    /// The set that results is not the one that was promised.
    #[error("the resulting set has another digest")]
    Digest,
}

impl RevocationRefused {
    /// A fixed word for metrics, problems and nacks.
    #[must_use]
    pub fn reason_code(&self) -> &'static str {
        match self {
            Self::Malformed { .. } => "malformed",
            Self::Request(refused) => refused.reason_code(),
            Self::NotPermitted(refused) => refused.reason_code(),
            Self::Differs => "differs",
            Self::Full { .. } => "full",
            Self::Gap { .. } => "gap",
            Self::EpochNotRising { .. } => "epoch_not_rising",
            Self::Digest => "other_digest",
        }
    }
}

impl CutKind {
    /// The number in the digest.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Link => 0,
            Self::Holder => 1,
            Self::Delegator => 2,
            Self::Session => 3,
            Self::Task => 4,
            Self::Agent => 5,
            Self::Credential => 6,
            Self::Tool => 7,
            Self::Edge => 8,
            Self::Tenant => 9,
        }
    }
}

impl Cut {
    /// The body of a revocation request, JSON.
    #[must_use]
    pub fn to_body(&self) -> Vec<u8> {
        // Three texts always encode.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads the body of a revocation request and checks the id against its kind.
    ///
    /// # Errors
    /// [`RevocationRefused::Malformed`].
    pub fn from_body(body: &[u8]) -> Result<Self, RevocationRefused> {
        let malformed = |rule| RevocationRefused::Malformed { rule };
        if body.len() > BODY_BYTES_MAX {
            return Err(malformed("at most 1 KiB"));
        }
        let cut: Self =
            serde_json::from_slice(body).map_err(|_| malformed("a JSON object of `tenant`, `kind` and `id`"))?;
        cut.check()?;
        Ok(cut)
    }

    /// Whether the id has the form of its kind.
    fn check(&self) -> Result<(), RevocationRefused> {
        let id = self.id.as_str();
        let rule = match self.kind {
            CutKind::Link if id.parse::<crate::id::Digest>().is_err() => "a link id is 64 lower-case hex digits",
            CutKind::Holder if id.parse::<KeyId>().is_err() => "a holder is the id of its key, 64 hex digits",
            CutKind::Delegator if Delegator::new(id).is_err() => "no such delegator can be",
            CutKind::Session if SessionId::new(id).is_err() => "no such session can be",
            CutKind::Task if TaskId::new(id).is_err() => "no such task can be",
            CutKind::Agent if AgentId::new(id).is_err() => "no such agent can be",
            CutKind::Credential if !is_credential(id) => "a credential is `name` or `name@version`",
            CutKind::Tool if ToolName::new(id).is_err() => "no such tool can be",
            CutKind::Edge if EdgeId::new(id).is_err() => "no such edge can be",
            CutKind::Tenant if id != self.tenant.as_str() => "a tenant is cut by its own name",
            _ => return Ok(()),
        };
        Err(RevocationRefused::Malformed { rule })
    }

    /// Until when a cut of this kind lives that was asked for at `created`: whoever could carry what is cut has
    /// expired by then, even one that was minted in the last moment before the log took the request (T-42).
    #[must_use]
    pub fn until(&self, created: Timestamp) -> Timestamp {
        created.plus(match self.kind {
            CutKind::Link
            | CutKind::Holder
            | CutKind::Delegator
            | CutKind::Session
            | CutKind::Task
            | CutKind::Agent => ADMIN_SIGNATURE_LIFE_MAX + ROOT_LIFE_MAX + MARGIN,
            CutKind::Tool | CutKind::Tenant => BRAKE_LIFE,
            CutKind::Credential | CutKind::Edge => LONG_LIFE,
        })
    }
}

fn is_credential(id: &str) -> bool {
    match id.split_once('@') {
        None => CredentialId::new(id).is_ok(),
        Some((name, version)) => {
            CredentialId::new(name).is_ok() && version.parse::<u64>().is_ok_and(|number| number.to_string() == version)
        }
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
        let (cut, until) = asked_for(&request, mesh, administrators)?;
        Ok(Self { cut, until, index, request })
    }

    /// Whether an administrator asked for exactly this, whoever delivers it. Not a question of the present time: the
    /// request was in its window when the log took it.
    ///
    /// # Errors
    /// [`RevocationRefused`].
    pub fn verify(&self, mesh: &MeshId, administrators: &Administrators) -> Result<(), RevocationRefused> {
        let (cut, until) = asked_for(&self.request, mesh, administrators)?;
        if cut != self.cut || until != self.until {
            return Err(RevocationRefused::Differs);
        }
        Ok(())
    }
}

/// What a request asks for, once its administrator, its signature and its form are checked.
fn asked_for(
    request: &SignedRequest,
    mesh: &MeshId,
    administrators: &Administrators,
) -> Result<(Cut, Timestamp), RevocationRefused> {
    let administrator = administrators.get(&request.key).ok_or(NotPermitted::Unknown { key: request.key })?;
    request.verify(mesh, &administrator.key)?;
    if request.method != "POST" || request.path != REVOCATIONS_PATH {
        return Err(RevocationRefused::Malformed { rule: "the request was made for something else" });
    }
    let cut = Cut::from_body(&request.body)?;
    let created = Timestamp::from_secs(request.created);
    administrator.check(Verb::Revoke, &cut.tenant, created)?;
    let until = cut.until(created);
    Ok((cut, until))
}
