//! What can be cut, and how long a cut of it lives. Clauses T-41 and T-42.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::limits::{ADMIN_SIGNATURE_LIFE_MAX, ROOT_LIFE_MAX};

/// What a cut of an identity outlives the identity by, for clocks that differ.
pub(super) const AFTERLIFE: Duration = Duration::from_secs(600);
/// What a holder or an issuer cuts again within this time changes nothing, though it would live so much longer. The
/// first cut outlives what it cuts all the same: by this time and by [`AFTERLIFE`].
pub(super) const AGAIN_WITHIN: Duration = Duration::from_secs(300);
/// How long a brake holds that one administrator has asked for; and within which a second one can join in.
pub(super) const BRAKE_LIFE: Duration = Duration::from_secs(24 * 3_600);
/// How long a cut of a credential, an edge or a tool's definition holds, and a brake of a tenant's two administrators: as
/// long as a bundle may, which would still name it.
pub(super) const LONG_LIFE: Duration = Duration::from_secs(90 * 86_400);

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
    /// A class of agents, wherever one of them stands in a chain.
    Class,
    /// What an issuer signed before a moment: `key id@seconds`.
    Issuer,
    /// A definition of a tool, by the digest that bundles pin.
    Definition,
    /// Calls that fit a rule ([`super::Forbid`]). A brake: lapses after a day.
    Forbid,
}

impl CutKind {
    /// Every kind, in the order of its number.
    pub const ALL: [Self; 14] = [
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
        Self::Class,
        Self::Issuer,
        Self::Definition,
        Self::Forbid,
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
            Self::Class => 11,
            Self::Issuer => 12,
            Self::Definition => 13,
            Self::Forbid => 14,
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
            Self::Class => "class",
            Self::Issuer => "issuer",
            Self::Definition => "definition",
            Self::Forbid => "forbid",
        }
    }

    /// What an id of this kind looks like, for people.
    #[must_use]
    pub fn form(self) -> &'static str {
        match self {
            Self::Link => "the id of a link: 64 lower-case hex digits",
            Self::Holder => "the id of a holder key: 64 lower-case hex digits",
            Self::Delegator => "a delegator, as the root names them: `user:maya`",
            Self::Session => "a session, as the root names it: `session-1`",
            Self::Task => "a task, as the root names it: `task-1`",
            Self::Agent => "an agent, as a link names it: `agent:analyst`",
            Self::Credential => "a credential, `NAME` for every version or `NAME@7` for one",
            Self::Tool => "the name of a tool: `crm.read`",
            Self::Edge => "the id of an edge: `eu-west-1`",
            Self::Tenant => "the tenant itself",
            Self::Class => "a class of agents, as a link names it: `analyst`",
            Self::Issuer => "`KEY@SECONDS`: an issuer's key id, 64 lower-case hex digits, and a Unix time",
            Self::Definition => "the digest of a tool's definition: 64 lower-case hex digits",
            Self::Forbid => {
                "a rule: `class=…`, `effect=…`, `tool=…`, `upstream=…`, in this order, one space between them: \
                 `effect=external-send tool=mail.**`"
            }
        }
    }

    /// Whether it stops what has no end of its own: then it lapses, and can be lifted (clauses T-59 and T-61).
    #[must_use]
    pub fn is_brake(self) -> bool {
        matches!(self, Self::Tool | Self::Tenant | Self::Forbid)
    }

    /// The longest that something of this kind outlives the request to cut it, plus the time in which the log may
    /// still take the request.
    pub(super) fn life(self) -> Duration {
        match self {
            Self::Link
            | Self::Holder
            | Self::Delegator
            | Self::Session
            | Self::Task
            | Self::Agent
            | Self::Class
            | Self::Issuer => ADMIN_SIGNATURE_LIFE_MAX + ROOT_LIFE_MAX + AFTERLIFE,
            Self::Tool | Self::Tenant | Self::Forbid => BRAKE_LIFE,
            Self::Credential | Self::Edge | Self::Definition => LONG_LIFE,
        }
    }
}

impl std::fmt::Display for CutKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
