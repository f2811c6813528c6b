//! What a verified chain leaves: everything a decision reads, and when it holds.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use crate::crypto::sign::PublicKey;
use crate::id::{
    AgentClass, AgentId, BundleVersion, Delegator, EdgeId, KeyId, LinkId, Region, SessionId, TaskId, TenantId,
};
use crate::lattice::{Audience, Demands, PurposePath, Scope};
use crate::time::Timestamp;

use super::link::{AgentIdentity, RootContext};
use super::verify::VerifiedLink;

/// How much earlier than a link's first moment a call may come, because clocks differ. There is no grace at the
/// other end: it would be a widening.
pub const NOT_BEFORE_GRACE: Duration = Duration::from_secs(30);

/// Everything that a decision reads of a chain.
///
/// Its fields are public because a bundle's canaries describe authorities, too; that one came from a verified chain
/// is what [`Effective`] says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    /// The tenant.
    pub tenant: TenantId,
    /// The human.
    pub delegator: Delegator,
    /// The human's session.
    pub session: SessionId,
    /// The task.
    pub task: TaskId,
    /// The agent that acts, as far as it is proven: a hop names its child's agent, which is a claim, so this is the
    /// root's agent until the last link's has proven who it is (clauses E-19 and E-37).
    pub agent: AgentId,
    /// The class of that agent.
    pub class: AgentClass,
    /// Every agent that the chain names, root first. A forbid for any of them holds: a claim can narrow.
    pub chain_agents: Vec<AgentIdentity>,
    /// What for.
    pub purpose: PurposePath,
    /// The first moment at which every link holds.
    pub not_before: Timestamp,
    /// The first moment at which some link has ended.
    pub expires: Timestamp,
    /// How many hops may still follow.
    pub depth_left: u8,
    /// How many children the last link may have.
    pub fanout_max: u16,
    /// Whether the next hop may be made without registration: every link says so.
    pub offline: bool,
    /// Links of the chain; 1 is a root alone.
    pub chain_depth: u8,
    /// Where it holds.
    pub audience: Audience,
    /// What has to be met besides being permitted.
    pub demands: Demands,
    /// What is granted.
    pub scope: Scope,
    /// The oldest bundle that may decide.
    pub min_bundle_version: BundleVersion,
    /// The version of the taxonomy whose numbers purpose and classes are.
    pub taxonomy_version: u64,
    /// The version of the catalogue whose tools were granted.
    pub catalogue_version: u64,
}

/// The authority of a verified chain. There is no other way to make one than
/// [`VerifiedChain::effective`](super::VerifiedChain::effective).
#[derive(Debug, Clone)]
pub struct Effective {
    pub(super) authority: Authority,
    pub(super) chain: Arc<[VerifiedLink]>,
    pub(super) link_ids: Vec<LinkId>,
    pub(super) holders: Vec<KeyId>,
    pub(super) context: Arc<RootContext>,
    pub(super) signers: RootSigners,
}

/// Who signed a root, of those whose signature counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootSigners {
    /// The first bytes of the ids of their keys.
    pub kids: Vec<[u8; 8]>,
    /// How many a root of the tenant needs.
    pub needed: usize,
    /// When it was issued, in seconds since the Unix epoch.
    pub issued_secs: u64,
}

/// A chain does not hold at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TimeDenied {
    /// A link has ended.
    #[error("link {hop} has expired")]
    Expired {
        /// Its index.
        hop: u8,
    },
    /// A link does not hold yet.
    #[error("link {hop} is not valid yet")]
    NotYetValid {
        /// Its index.
        hop: u8,
    },
}

/// A chain does not hold here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("link {hop} is for other edges or regions")]
pub struct WrongAudience {
    /// The first link that does not hold here; 0 is the root.
    pub hop: u8,
}

impl TimeDenied {
    /// The reason that stands in answers, records and metrics.
    #[must_use]
    pub const fn reason_code(&self) -> &'static str {
        match self {
            Self::Expired { .. } => "expired",
            Self::NotYetValid { .. } => "not_yet_valid",
        }
    }
}

impl Effective {
    /// The same, acting as the agent that the last link names: for whoever has seen that agent prove itself (clause
    /// E-37). The agents above it stay in the chain, where forbids for them hold.
    #[must_use]
    pub fn acting_as_leaf(&self) -> Self {
        let mut proven = self.clone();
        if let Some(AgentIdentity { id, class, attestation: _ }) = proven.authority.chain_agents.last().cloned() {
            (proven.authority.agent, proven.authority.class) = (id, class);
        }
        proven
    }

    /// What decisions read.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The ids of all links, root first: cutting any of them cuts this chain.
    #[must_use]
    pub fn links(&self) -> &[LinkId] {
        &self.link_ids
    }

    /// The ids of all holder keys, root's first: cutting any of them cuts this chain.
    #[must_use]
    pub fn holders(&self) -> &[KeyId] {
        &self.holders
    }

    /// The links as they were verified, root first.
    #[must_use]
    pub fn chain(&self) -> &[VerifiedLink] {
        &self.chain
    }

    /// The id of the last link.
    #[must_use]
    pub fn leaf(&self) -> Option<LinkId> {
        self.link_ids.last().copied()
    }

    /// The key that holds the envelope, and would sign a proof or the next link.
    #[must_use]
    pub fn holder_key(&self) -> Option<&PublicKey> {
        self.chain.last().map(|link| &link.holder)
    }

    /// The root's context.
    #[must_use]
    pub fn context(&self) -> &RootContext {
        &self.context
    }

    /// Who signed the root: cutting so many of them that too few are left cuts this chain.
    #[must_use]
    pub fn signers(&self) -> &RootSigners {
        &self.signers
    }

    /// Whether every link holds at this moment (clause E-20).
    ///
    /// # Errors
    /// The first link, from the root, that has ended, or else the first that does not hold yet.
    pub fn check_time(&self, now: Timestamp) -> Result<(), TimeDenied> {
        let mut hops = (0u8..).zip(self.chain.iter());
        if let Some((hop, _)) = hops.clone().find(|(_, link)| now >= link.window.expires()) {
            return Err(TimeDenied::Expired { hop });
        }
        let latest = now.plus(NOT_BEFORE_GRACE);
        match hops.find(|(_, link)| latest < link.window.not_before()) {
            Some((hop, _)) => Err(TimeDenied::NotYetValid { hop }),
            None => Ok(()),
        }
    }

    /// Whether every link holds at this edge (clause E-28).
    ///
    /// # Errors
    /// The first link, from the root, that does not.
    pub fn check_audience(&self, region: &Region, edge: &EdgeId) -> Result<(), WrongAudience> {
        if self.authority.audience.admits(region, edge) {
            return Ok(());
        }
        let hop = self.chain.iter().position(|link| !link.audience.admits(region, edge));
        Err(WrongAudience { hop: hop.and_then(|hop| u8::try_from(hop).ok()).unwrap_or(0) })
    }
}

impl Deref for Effective {
    type Target = Authority;
    fn deref(&self) -> &Authority {
        &self.authority
    }
}
