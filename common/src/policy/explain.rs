//! Why a decision is what it is, for people: the stage it came to, the rules that decided with the place where they
//! stand, and, where nothing permits, which permits came nearest and what they missed.
//!
//! Pure like the decision, and never on its way: an edge decides and records; whoever asks later pays for the answer.
//! Clauses P-42 and P-43.

use serde::Serialize;

use super::call::ToolCall;
use super::compile::CompiledPolicy;
use super::decide::{decide, unpermitted};
use super::decision::{Decision, Reason};
use super::relations::Relations;
use super::stage::Stage;
use crate::envelope::Authority;
use crate::id::PolicyId;
use crate::time::Timestamp;

/// A rule, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cited {
    /// Its name.
    pub id: PolicyId,
    /// Whether it forbids; otherwise it permits.
    pub forbids: bool,
    /// The file in the bundle.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// Its text.
    pub text: String,
}

/// What one part of a permit came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fact {
    /// `principal`, `resource` or `condition`.
    pub part: &'static str,
    /// As it is written.
    pub text: String,
    /// What it came to.
    #[serde(flatten)]
    pub state: State,
    /// Values that it speaks of, where it does not hold.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub found: Vec<(String, String)>,
}

/// What a part of a permit came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum State {
    /// It holds.
    Holds,
    /// It does not.
    Fails,
    /// It does not, because something is not there.
    Absent {
        /// What.
        what: Vec<String>,
    },
    /// It could not be evaluated.
    Failed {
        /// Why.
        why: String,
    },
    /// Nobody can tell from what is known.
    Unknown {
        /// What would have to be known.
        of: Vec<String>,
    },
}

/// A permit that came near.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Near {
    /// The permit.
    pub rule: Cited,
    /// Its parts; those that do not hold come first.
    pub facts: Vec<Fact>,
}

/// The permits that came nearest, nearest first.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Nearest {
    /// At most three.
    pub rules: Vec<Near>,
    /// How many permits speak of the action.
    pub total: usize,
}

/// Why a decision is what it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// What was decided.
    pub reason: Reason,
    /// How far the call came.
    pub stage: Stage,
    /// The rules that decided, at most eight.
    pub rules: Vec<Cited>,
    /// How many there are.
    pub rules_total: u32,
    /// What an operator wants to know besides; empty for a permit.
    pub detail: String,
    /// Relations that did not hold, for a denial by default: `object#relation@subject`, at most eight.
    pub absent: Vec<String>,
    /// For a denial by default.
    pub nearest: Option<Nearest>,
}

/// Decides once more, and says why.
#[must_use]
pub fn explain(
    policy: &CompiledPolicy,
    authority: &Authority,
    call: &ToolCall,
    relations: &Relations,
    now: Timestamp,
) -> Explanation {
    let decision = decide(policy, authority, call, relations, now);
    let stage = decision.stage();
    let (reason, policies, rules_total, (detail, absent)) = match decision {
        Decision::Permit(permitted) => {
            (Reason::Permit, permitted.policies, permitted.policies_total, (String::new(), Vec::new()))
        }
        Decision::Deny(denied) => {
            (denied.reason, denied.policies, denied.policies_total, (denied.detail, denied.absent))
        }
    };
    let rules = policy.engine().cite(policies.iter().map(PolicyId::as_str));
    let by_default = reason == Reason::NoMatchingPolicy;
    let nearest = by_default.then(|| unpermitted(policy, authority, call, relations, now)).flatten();
    Explanation { reason, stage, rules, rules_total, detail, absent, nearest }
}
