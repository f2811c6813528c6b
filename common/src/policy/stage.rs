//! How far a call came: the steps of a decision, in their order. Clause P-42.

use std::fmt;

use serde::{Serialize, Serializer};

use super::decision::Reason;

/// A step of a decision. Each is reached only if nothing before it denied. The numbers are in records and never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// The envelope: signatures, proof, time, place, cuts, and what it grants.
    EnvelopeGate,
    /// What is known of how those involved relate to each other.
    RelationFacts,
    /// The rules that forbid.
    Forbids,
    /// The rules that permit.
    Permits,
    /// What a permitted call needs besides: freshness, approval, a credential, somebody to answer. Permits end here, too.
    Verdict,
}

impl Stage {
    /// Every stage, in their order, which is that of the numbers.
    pub const ALL: [Self; 5] = [Self::EnvelopeGate, Self::RelationFacts, Self::Forbids, Self::Permits, Self::Verdict];

    /// As texts name it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EnvelopeGate => "envelope-gate",
            Self::RelationFacts => "relation-facts",
            Self::Forbids => "forbids",
            Self::Permits => "permits",
            Self::Verdict => "verdict",
        }
    }

    /// The stage with this name.
    #[must_use]
    pub fn named(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.as_str() == text)
    }

    /// Where a denial with this reason is made, unless whoever makes it says otherwise.
    #[must_use]
    pub fn of(reason: Reason) -> Self {
        match reason {
            Reason::NoEnvelope
            | Reason::Malformed
            | Reason::BadSignature
            | Reason::Expired
            | Reason::NotYetValid
            | Reason::Revoked
            | Reason::BadProof
            | Reason::Replayed
            | Reason::WrongAudience
            | Reason::OutOfScope
            | Reason::PurposeMismatch
            | Reason::UnmappedArgument
            | Reason::UnmappedDimension
            | Reason::FanoutExhausted
            | Reason::Stale
            | Reason::Isolated
            | Reason::Quarantined
            | Reason::ToolUnknown => Self::EnvelopeGate,
            Reason::Forbidden | Reason::EvaluationFailed => Self::Forbids,
            Reason::NoMatchingPolicy => Self::Permits,
            Reason::Permit
            | Reason::ObligationUnmet
            | Reason::Unregistered
            | Reason::ApprovalRequired
            | Reason::BudgetExhausted
            | Reason::ToolQuarantined
            | Reason::VaultQuorumLost
            | Reason::UpstreamUnreachable => Self::Verdict,
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Stage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_are_in_order_and_read_back() {
        assert!(Stage::ALL.is_sorted());
        for stage in Stage::ALL {
            assert_eq!(Stage::named(stage.as_str()), Some(stage));
        }
        assert_eq!(Stage::named("elsewhere"), None);
    }

    #[test]
    fn the_rules_that_deny_have_a_stage_of_their_own() {
        let at = |stage| Reason::all().filter(|reason| Stage::of(*reason) == stage).collect::<Vec<_>>();
        assert_eq!(at(Stage::Forbids), [Reason::Forbidden, Reason::EvaluationFailed]);
        assert_eq!(at(Stage::Permits), [Reason::NoMatchingPolicy]);
    }
}
