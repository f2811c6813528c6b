//! Cedar, behind an index of our own.
//!
//! Cedar's authorizer looks at every policy for every request. Here the policies stand in buckets, built once when a
//! bundle is loaded: by action, and by the principal or group that the policy names. A request opens the buckets of
//! its action and of its principal's ancestors, and Cedar's own evaluator judges what lies in them, scope included:
//! the index leaves out only what could not match. Forbids come first. A forbid that cannot be evaluated denies,
//! which is stricter than Cedar, where it would be skipped. Clauses P-26 to P-28.

mod faults;
mod idle;
mod index;
mod parse;
mod request;
mod shape;
pub(crate) mod steer;
mod store;
#[cfg(test)]
mod tests;

use cedar_policy_core::ast::{Effect, EntityUIDEntry, Literal, Request, SlotEnv, ValueKind};
use cedar_policy_core::evaluator::Evaluator;
use cedar_policy_core::extensions::Extensions;

pub(crate) use idle::Questions;
pub use parse::CedarSchema;
pub use request::{Attribute, Context, InvalidKind, Kind, Subject};
pub(crate) use shape::{Member, Misfit, Shape, fit_members};

use super::super::decision::POLICIES_NAMED_MAX;
use super::super::fault::PolicyFault;
use crate::id::PolicyId;
use index::Index;
use parse::Rule;
use store::Store;

/// Policies and entities, ready to be asked.
pub struct CedarEngine {
    rules: Vec<Rule>,
    index: Index,
    store: Store,
}

/// One question: may this principal do this to that?
#[derive(Debug, Clone, Copy)]
pub struct Query<'q> {
    /// Who.
    pub principal: &'q Subject,
    /// What.
    pub action: &'q Subject,
    /// To what.
    pub resource: &'q Subject,
    /// Under which circumstances.
    pub context: &'q Context,
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

/// What the policies say to one question.
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

impl CedarEngine {
    /// Parses, validates and indexes policies. `policies` and `entities` are pairs of file name and text.
    ///
    /// With a schema, policies are validated strictly against it, one that can never match is a fault, and entities
    /// have to conform; without one nothing is checked but the grammar, which is for experiments and comparisons.
    ///
    /// # Errors
    /// Every fault that was found.
    pub fn compile(
        policies: &[(&str, &str)],
        schema: Option<&CedarSchema>,
        entities: Option<(&str, &str)>,
    ) -> Result<Self, Vec<PolicyFault>> {
        let mut faults = Vec::new();
        let store = Store::load(entities, schema).unwrap_or_else(|found| {
            faults.extend(found);
            Store::default()
        });
        let rules = parse::rules(policies, schema, &store).unwrap_or_else(|found| {
            faults.extend(found);
            Vec::new()
        });
        if !faults.is_empty() {
            return Err(faults);
        }
        Ok(Self { index: Index::build(&rules), rules, store })
    }

    /// How many policies there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether there are no policies.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// An entity as the bundle's entities know it, or one without attributes and parents.
    #[must_use]
    pub fn subject(&self, kind: &Kind, id: &str) -> Subject {
        let uid = kind.uid(id);
        match self.store.get(&uid) {
            Some(held) => Subject { entity: Some(held.entity.clone()), related: held.related.clone(), uid: uid.into() },
            None => Subject::named(kind, id),
        }
    }

    /// The same, with one more parent.
    #[must_use]
    pub fn subject_in(&self, kind: &Kind, id: &str, parent: &Subject) -> Subject {
        self.subject(kind, id).with_parent(parent)
    }

    /// Asks the policies.
    #[must_use]
    pub fn answer(&self, query: &Query<'_>, ask: Ask) -> Answer {
        let candidates = self.index.candidates(query, &self.rules);
        let mut answer = Answer::default();
        if candidates.is_empty() {
            return answer;
        }
        let mentions = candidates.iter().filter_map(|rule| self.rules.get(*rule)).flat_map(|rule| &rule.mentions);
        let entities = match self.store.slice(query, mentions) {
            Ok(entities) => entities,
            Err(error) => {
                // INVARIANT: the slice holds each entity once. Should it ever not, nothing is permitted.
                for rule in candidates.iter().filter_map(|rule| self.rules.get(*rule)) {
                    answer.fail(rule, error.clone());
                }
                return answer;
            }
        };
        let known = |subject: &Subject| EntityUIDEntry::Known { euid: subject.uid.clone(), loc: None };
        let context = Some(query.context.to_cedar());
        let request =
            Request::new_unchecked(known(query.principal), known(query.action), known(query.resource), context);
        let evaluator = Evaluator::new(request, &entities, Extensions::all_available());
        let slots = SlotEnv::new();
        for effect in [Effect::Forbid, Effect::Permit] {
            let denied = !answer.forbids.is_empty() || !answer.failed_forbids.is_empty();
            if effect == Effect::Permit && (ask == Ask::Forbids || (ask == Ask::Decision && denied)) {
                break;
            }
            let rules = candidates.iter().filter_map(|rule| self.rules.get(*rule));
            for rule in rules.filter(|rule| rule.effect == effect) {
                match evaluator.interpret(&rule.condition, &slots).map(|value| value.value) {
                    Ok(ValueKind::Lit(Literal::Bool(true))) => answer.matched(rule),
                    Ok(ValueKind::Lit(Literal::Bool(false))) => {}
                    Ok(_) => answer.fail(rule, "the condition is not a boolean".to_owned()),
                    Err(error) => answer.fail(rule, error.to_string()),
                }
            }
        }
        answer
    }
}

impl Answer {
    fn matched(&mut self, rule: &Rule) {
        match rule.effect {
            Effect::Forbid => self.forbids.push(&rule.id),
            Effect::Permit => self.permits.push(&rule.id),
        }
    }

    fn fail(&mut self, rule: &Rule, why: String) {
        match rule.effect {
            Effect::Forbid => self.failed_forbids.push(&rule.id),
            Effect::Permit => self.failed_permits.push(&rule.id),
        }
        self.failure.get_or_insert_with(|| format!("`{}`: {why}", rule.id));
    }
}

impl std::fmt::Debug for CedarEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CedarEngine").field("rules", &self.rules.len()).finish_non_exhaustive()
    }
}
