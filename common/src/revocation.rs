//! What has been cut.
//!
//! A revocation names who or what loses authority and carries the request that asked for it, so that anyone may
//! deliver it. The set has one number, the epoch, that only rises, and one digest that voters and edges compare.

use serde::{Deserialize, Serialize};

use crate::crypto::digest::Digest;
use crate::id::{
    AgentId, CredentialId, Delegator, EdgeId, KeyId, LinkId, LogIndex, MeshId, RevocationEpoch, SessionId, TaskId,
    TenantId, ToolName,
};
use crate::identity::{Administrators, SignedRequest};
use crate::time::Timestamp;

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
    Request(#[from] crate::identity::RequestRefused),
    /// The administrator may not cut this.
    #[error("the requester may not cut this")]
    NotPermitted(#[from] crate::identity::NotPermitted),
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

impl Cut {
    /// The body of a revocation request, JSON.
    #[must_use]
    pub fn to_body(&self) -> Vec<u8> {
        todo!()
    }

    /// Reads the body of a revocation request and checks the id against its kind.
    ///
    /// # Errors
    /// [`RevocationRefused::Malformed`].
    pub fn from_body(body: &[u8]) -> Result<Self, RevocationRefused> {
        todo!("{body:?}")
    }

    /// Until when a cut of this kind lives that was asked for at `created`.
    #[must_use]
    pub fn until(&self, created: Timestamp) -> Timestamp {
        todo!("{created}")
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
        todo!("{index} {request:?} {mesh} {administrators:?}")
    }

    /// Whether an administrator asked for exactly this, whoever delivers it. Not a question of the present time: the
    /// request was in its window when the log took it.
    ///
    /// # Errors
    /// [`RevocationRefused`].
    pub fn verify(&self, mesh: &MeshId, administrators: &Administrators) -> Result<(), RevocationRefused> {
        todo!("{mesh} {administrators:?}")
    }
}

/// What changes one set into a later one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevocationUpdate {
    /// The epoch that it starts from; zero: from nothing, `added` is the whole set.
    pub from: RevocationEpoch,
    /// The epoch that it leads to.
    pub to: RevocationEpoch,
    /// The digest that the set has then.
    pub digest: Digest,
    /// New entries, and entries that live longer.
    pub added: Vec<Revocation>,
    /// Entries that the log has let go.
    pub removed: Vec<Cut>,
}

/// The set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocations {
    epoch: RevocationEpoch,
}

impl Revocations {
    /// The set before the first revocation: epoch 0.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The epoch.
    #[must_use]
    pub fn epoch(&self) -> RevocationEpoch {
        self.epoch
    }

    /// How many entries.
    #[must_use]
    pub fn len(&self) -> usize {
        todo!()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every entry, in the order of its key.
    pub fn iter(&self) -> impl Iterator<Item = &Revocation> {
        std::iter::empty()
    }

    /// SHA-256 over the epoch and the entries, sorted by key.
    #[must_use]
    pub fn digest(&self) -> Digest {
        todo!()
    }

    /// Adds an entry and raises the epoch. A cut that is there already keeps the later end.
    ///
    /// # Errors
    /// [`RevocationRefused::Full`].
    pub fn cut(&mut self, entry: Revocation) -> Result<RevocationEpoch, RevocationRefused> {
        todo!("{entry:?}")
    }

    /// Lets go of what has ended at `now`; raises the epoch if that was anything. Only the log calls this.
    pub fn expire(&mut self, now: Timestamp) -> usize {
        todo!("{now}")
    }

    /// What leads from `old` to this set; from nothing, if `old` is `None`.
    #[must_use]
    pub fn update_from(&self, old: Option<&Self>) -> RevocationUpdate {
        todo!("{old:?}")
    }

    /// The set after an update, every new entry verified, the digest compared. What the update drops before its end
    /// by `now` stays in force here.
    ///
    /// # Errors
    /// [`RevocationRefused`]; this set is unchanged.
    pub fn updated(
        &self,
        update: RevocationUpdate,
        mesh: &MeshId,
        administrators: &Administrators,
        now: Timestamp,
    ) -> Result<Self, RevocationRefused> {
        todo!("{update:?} {mesh} {administrators:?} {now}")
    }

    /// Whether the tenant or anything that the call hangs on has been cut.
    ///
    /// # Errors
    /// [`Revoked`] names the first entry found.
    pub fn check<'a>(&self, tenant: &TenantId, subjects: impl IntoIterator<Item = Subject<'a>>) -> Result<(), Revoked> {
        let _ = subjects.into_iter();
        todo!("{tenant}")
    }
}
