//! Policy engines, and the one way in which what they say becomes a verdict.
//!
//! An engine says one of four things of each rule that could match ([`Outcome`]); it decides nothing. Which rules made
//! the difference is gathered in an [`Answer`], and [`Hearing::verdict`](combine::Hearing::verdict) is the only place
//! where answers are combined: forbid and failure override permission, whichever engine they come from. Cedar is the
//! first engine. Clauses P-40 and P-41.

pub mod cedar;
pub mod combine;

use super::decision::POLICIES_NAMED_MAX;
use crate::id::PolicyId;

/// What one rule says to one question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It applies, and permits.
    Permit,
    /// It applies, and forbids.
    Forbid,
    /// It does not apply.
    NotApplicable,
    /// It could not be evaluated.
    Error {
        /// Whether it would forbid if it applied. An engine that cannot tell says yes.
        could_forbid: bool,
        /// For operators.
        why: String,
    },
}

/// How much of the answer is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// The forbids alone.
    Forbids,
    /// The forbids; the permits only if no forbid matched or failed.
    Decision,
    /// Forbids and permits in any case.
    Everything,
}

/// Rules of one language, ready to be asked.
pub trait Engine {
    /// A question as this engine takes it.
    type Question<'q>;

    /// Tells `heard` what the rules say: those that could forbid first, and the others only if it
    /// [wants](Heard::wants_permits) them. A rule that does not apply may be passed over.
    fn judge(&self, question: &Self::Question<'_>, heard: &mut Heard);

    /// What the rules say, gathered.
    fn ask(&self, question: &Self::Question<'_>, ask: Ask) -> Answer {
        let mut heard = Heard { ask, answer: Answer::default() };
        self.judge(question, &mut heard);
        heard.answer
    }
}

/// Takes what rules say to one question.
#[derive(Debug)]
pub struct Heard {
    ask: Ask,
    answer: Answer,
}

impl Heard {
    /// Takes what one rule says.
    pub fn say(&mut self, rule: &PolicyId, outcome: Outcome) {
        let Answer { forbids, permits, failed_forbids, failed_permits, failure } = &mut self.answer;
        match outcome {
            Outcome::Permit => permits.push(rule),
            Outcome::Forbid => forbids.push(rule),
            Outcome::NotApplicable => {}
            Outcome::Error { could_forbid, why } => {
                if could_forbid { failed_forbids } else { failed_permits }.push(rule);
                failure.get_or_insert_with(|| format!("`{rule}`: {why}"));
            }
        }
    }

    /// Whether permits still matter.
    #[must_use]
    pub fn wants_permits(&self) -> bool {
        match self.ask {
            Ask::Forbids => false,
            Ask::Decision => !self.answer.denies(),
            Ask::Everything => true,
        }
    }
}

/// What the rules say to one question.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    /// Forbids that match.
    pub forbids: Matched,
    /// Permits that match.
    pub permits: Matched,
    /// Forbids that could not be evaluated: each denies.
    pub failed_forbids: Matched,
    /// Permits that could not be evaluated: each counts as absent.
    pub failed_permits: Matched,
    /// Why the first failure failed.
    pub failure: Option<String>,
}

/// Policies, in the order of the sources.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Matched {
    /// The first of them, at most [`POLICIES_NAMED_MAX`].
    pub first: Vec<PolicyId>,
    /// How many there are.
    pub total: u32,
}

impl Matched {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// Adds what another question found; a policy that both found counts once, as far as it is named.
    pub fn join(&mut self, other: Self) {
        let mut known = 0;
        for policy in other.first {
            if self.first.contains(&policy) {
                known += 1;
            } else if self.first.len() < POLICIES_NAMED_MAX {
                self.first.push(policy);
            }
        }
        self.total = self.total.saturating_add(other.total.saturating_sub(known));
    }

    fn push(&mut self, policy: &PolicyId) {
        if self.first.len() < POLICIES_NAMED_MAX {
            self.first.push(policy.clone());
        }
        self.total = self.total.saturating_add(1);
    }
}

impl Answer {
    /// Whether it denies, whatever permits there are: a rule forbids, or one that could forbid failed.
    #[must_use]
    pub fn denies(&self) -> bool {
        !self.forbids.is_empty() || !self.failed_forbids.is_empty()
    }

    /// Adds the answer to another question about the same call.
    pub fn join(&mut self, other: Self) {
        let Self { forbids, permits, failed_forbids, failed_permits, failure } = other;
        self.forbids.join(forbids);
        self.permits.join(permits);
        self.failed_forbids.join(failed_forbids);
        self.failed_permits.join(failed_permits);
        self.failure = self.failure.take().or(failure);
    }
}
