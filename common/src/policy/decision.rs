//! The answer to a call, and why.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::catalogue::Tool;
use super::stage::Stage;
use crate::id::{DimensionName, PolicyId};
use crate::lattice::{CallFacts, ClassSet, Demands};

/// Policies that an answer names; how many there were besides is a number.
pub const POLICIES_NAMED_MAX: usize = 8;
/// Absent relations that a denial names.
pub const ABSENT_NAMED_MAX: usize = 8;
/// Resources that a denial names.
pub const RESOURCES_NAMED_MAX: usize = 8;

/// Why a call was answered as it was. A fixed set: callers, records and metrics rely on it. Clause P-31.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Reason {
    /// Permitted.
    Permit,
    /// No envelope came with the call.
    NoEnvelope,
    /// The request or its envelope is not well-formed.
    Malformed,
    /// A signature of the chain does not verify, or too few issuers signed its root.
    BadSignature,
    /// A link has expired.
    Expired,
    /// A link is not valid yet.
    NotYetValid,
    /// A link, holder, session, agent, delegator, tool or tenant was revoked.
    Revoked,
    /// The proof of possession is missing or wrong.
    BadProof,
    /// The proof was used before.
    Replayed,
    /// The envelope or proof is for another edge, region or mesh.
    WrongAudience,
    /// The call lies outside what the envelope grants.
    OutOfScope,
    /// The tool makes no sense for the envelope's purpose.
    PurposeMismatch,
    /// An argument that the descriptor does not name, or one that the envelope constrains and the call does not carry.
    UnmappedArgument,
    /// A dimension that should be there has no usable value.
    UnmappedDimension,
    /// A policy forbids the call.
    Forbidden,
    /// No policy permits the call.
    NoMatchingPolicy,
    /// A policy that could forbid could not be evaluated.
    EvaluationFailed,
    /// An obligation could not be met.
    ObligationUnmet,
    /// A hop that nobody registered, where it would have to be: register it at an edge.
    Unregistered,
    /// The link has as many children as it may have, or its root as many links.
    FanoutExhausted,
    /// A human has to approve first.
    ApprovalRequired,
    /// A budget is spent.
    BudgetExhausted,
    /// The edge knows too little of what was revoked since, for this effect.
    Stale,
    /// The edge is cut off beyond every bound.
    Isolated,
    /// The edge refuses everything.
    Quarantined,
    /// There is no such tool.
    ToolUnknown,
    /// The tool is not what it was when it was approved.
    ToolQuarantined,
    /// The credential could not be opened.
    VaultQuorumLost,
    /// The tool's server cannot be reached, or its answer cannot be used.
    UpstreamUnreachable,
}

const REASONS: [(Reason, &str); 29] = [
    (Reason::Permit, "permit"),
    (Reason::NoEnvelope, "no_envelope"),
    (Reason::Malformed, "malformed"),
    (Reason::BadSignature, "bad_signature"),
    (Reason::Expired, "expired"),
    (Reason::NotYetValid, "not_yet_valid"),
    (Reason::Revoked, "revoked"),
    (Reason::BadProof, "bad_proof"),
    (Reason::Replayed, "replayed"),
    (Reason::WrongAudience, "wrong_audience"),
    (Reason::OutOfScope, "out_of_scope"),
    (Reason::PurposeMismatch, "purpose_mismatch"),
    (Reason::UnmappedArgument, "unmapped_argument"),
    (Reason::UnmappedDimension, "unmapped_dimension"),
    (Reason::Forbidden, "forbidden"),
    (Reason::NoMatchingPolicy, "no_matching_policy"),
    (Reason::EvaluationFailed, "evaluation_failed"),
    (Reason::ObligationUnmet, "obligation_unmet"),
    (Reason::Unregistered, "unregistered"),
    (Reason::FanoutExhausted, "fanout_exhausted"),
    (Reason::ApprovalRequired, "approval_required"),
    (Reason::BudgetExhausted, "budget_exhausted"),
    (Reason::Stale, "stale"),
    (Reason::Isolated, "isolated"),
    (Reason::Quarantined, "quarantined"),
    (Reason::ToolUnknown, "tool_unknown"),
    (Reason::ToolQuarantined, "tool_quarantined"),
    (Reason::VaultQuorumLost, "vault_quorum_lost"),
    (Reason::UpstreamUnreachable, "upstream_unreachable"),
];

/// A text is not a reason of the fixed set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a reason")]
pub struct UnknownReason(pub String);

impl Reason {
    /// Every reason there is.
    pub fn all() -> impl Iterator<Item = Self> {
        REASONS.into_iter().map(|(reason, _)| reason)
    }

    /// The reason as callers, records and metrics spell it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        REASONS.into_iter().find(|(reason, _)| *reason == self).map_or("malformed", |(_, text)| text)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Reason {
    type Err = UnknownReason;
    fn from_str(text: &str) -> Result<Self, UnknownReason> {
        let known = REASONS.into_iter().find(|(_, name)| *name == text);
        known.map(|(reason, _)| reason).ok_or_else(|| UnknownReason(text.chars().take(64).collect()))
    }
}

impl TryFrom<String> for Reason {
    type Error = UnknownReason;
    fn try_from(text: String) -> Result<Self, UnknownReason> {
        text.parse()
    }
}

impl From<Reason> for String {
    fn from(reason: Reason) -> Self {
        reason.as_str().to_owned()
    }
}

/// What has to be satisfied besides: by the response before it is released, from the one grant that admitted the call,
/// and by the edge, from the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obligations {
    /// Records that may be released. `None`: the grant says nothing of records, and a tool that has some releases none.
    pub max_records: Option<u64>,
    /// Classes whose fields may be released.
    pub classes: ClassSet,
    /// What every link of the chain demands, together.
    pub demands: Demands,
}

/// The answer to a call.
#[derive(Debug, Clone)]
#[must_use]
pub enum Decision {
    /// The call may go on, under obligations.
    Permit(Permitted),
    /// It may not.
    Deny(Denied),
}

/// A call that may go on.
#[derive(Debug, Clone)]
pub struct Permitted {
    /// Index of the grant that admitted the call.
    pub grant: u16,
    /// The policies that permitted it, at most [`POLICIES_NAMED_MAX`].
    pub policies: Vec<PolicyId>,
    /// How many policies permitted it.
    pub policies_total: u32,
    /// What its response has to satisfy.
    pub obligations: Obligations,
    /// The tool, as it was when the decision was made.
    pub tool: Arc<Tool>,
    /// What the call is, as far as scope is concerned.
    pub facts: CallFacts,
    /// The resources that the call names, `Contract::"7781"`.
    pub resources: Vec<String>,
}

/// A call that may not go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    /// Why.
    pub reason: Reason,
    /// How far the call came.
    pub stage: Stage,
    /// The dimension on which the closest grant missed.
    pub dimension: Option<DimensionName>,
    /// The link that narrowed the call away; 0 is the root.
    pub hop: Option<u8>,
    /// The policies that forbade it or failed, at most [`POLICIES_NAMED_MAX`].
    pub policies: Vec<PolicyId>,
    /// How many policies forbade it or failed.
    pub policies_total: u32,
    /// The resources that policy was asked about, at most [`RESOURCES_NAMED_MAX`].
    pub resources: Vec<String>,
    /// Relations that do not hold, as tuples that would make them hold: those that the context shows first, at most
    /// [`ABSENT_NAMED_MAX`]. Where no policy permits, they are what may have been missing.
    pub absent: Vec<String>,
    /// What an operator wants to know. Never shown to an agent.
    pub detail: String,
}

impl Decision {
    /// How far the call came.
    #[must_use]
    pub fn stage(&self) -> Stage {
        match self {
            Self::Permit(_) => Stage::Verdict,
            Self::Deny(denied) => denied.stage,
        }
    }

    /// `permit`, or why not.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::Permit(_) => Reason::Permit,
            Self::Deny(denied) => denied.reason,
        }
    }

    /// The policies that decided, at most [`POLICIES_NAMED_MAX`].
    #[must_use]
    pub fn policies(&self) -> &[PolicyId] {
        match self {
            Self::Permit(permitted) => &permitted.policies,
            Self::Deny(denied) => &denied.policies,
        }
    }

    /// The dimension that a denial names.
    #[must_use]
    pub fn dimension(&self) -> Option<&DimensionName> {
        match self {
            Self::Permit(_) => None,
            Self::Deny(denied) => denied.dimension.as_ref(),
        }
    }

    /// The denial in words; empty for a permit.
    #[must_use]
    pub fn detail(&self) -> &str {
        match self {
            Self::Permit(_) => "",
            Self::Deny(denied) => &denied.detail,
        }
    }
}

impl Denied {
    /// A denial for which no policy is responsible.
    #[must_use]
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self {
            reason,
            stage: Stage::of(reason),
            dimension: None,
            hop: None,
            policies: Vec::new(),
            policies_total: 0,
            resources: Vec::new(),
            absent: Vec::new(),
            detail: detail.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_reads_back() {
        for reason in Reason::all() {
            assert_eq!(reason.as_str().parse(), Ok(reason));
        }
        assert!("allow".parse::<Reason>().is_err());
    }
}
