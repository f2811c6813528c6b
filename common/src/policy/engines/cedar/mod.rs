//! Cedar, behind an index of our own.
//!
//! Cedar's authorizer looks at every policy for every request. Here the policies stand in buckets, built once when a
//! bundle is loaded: by action, and by the principal or group that the policy names. A request opens the buckets of
//! its action and of its principal's ancestors, and Cedar's own evaluator judges what lies in them, scope included:
//! the index leaves out only what could not match. Forbids come first. A forbid that cannot be evaluated denies,
//! which is stricter than Cedar, where it would be skipped. Clauses P-26 to P-28.

mod compared;
mod faults;
mod generated;
mod idle;
mod index;
mod mutants;
mod named;
mod nearest;
mod nesting;
mod parse;
mod reads;
mod request;
mod run_tests;
mod shape;
pub(crate) mod steer;
mod store;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use cedar_policy_core::ast::{Effect, EntityUID, EntityUIDEntry, Literal, Request, SlotEnv, ValueKind};
use cedar_policy_core::evaluator::Evaluator;
use cedar_policy_core::extensions::Extensions;

pub(crate) use idle::Questions;
pub use mutants::{Mutant, RuleInfo};
pub(crate) use named::{Membership, Within};
pub(crate) use nearest::Unknown;
pub use parse::CedarSchema;
pub(crate) use reads::{ArgumentRead, Reads};
pub use request::{Attribute, Context, InvalidKind, Kind, Subject};
pub(crate) use run_tests::CedarTests;
pub use run_tests::{CedarOutcome, CedarTest};
pub(crate) use shape::{Member, Misfit, Shape, fit_members};

use super::super::fault::PolicyFault;
pub use super::{Answer, Ask, Matched};
use super::{Engine, Heard, Outcome};
use index::Index;
use parse::Rule;
use store::Store;

/// Policies and entities, ready to be asked.
pub struct CedarEngine {
    rules: Vec<Rule>,
    index: Index,
    store: Arc<Store>,
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
        Ok(Self { index: Index::build(&rules), rules, store: store.into() })
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

    /// The same by the name that [`Subject::name`] gives.
    #[must_use]
    pub fn subject_of_name(&self, name: &str) -> Option<Subject> {
        let uid: EntityUID = name.parse().ok()?;
        Some(match self.store.get(&uid) {
            Some(held) => Subject { entity: Some(held.entity.clone()), related: held.related.clone(), uid: uid.into() },
            None => Subject { uid: uid.into(), entity: None, related: [].into() },
        })
    }

    /// The same, with one more parent.
    #[must_use]
    pub fn subject_in(&self, kind: &Kind, id: &str, parent: &Subject) -> Subject {
        self.subject(kind, id).with_parent(parent)
    }

    /// Asks the policies.
    #[must_use]
    pub fn answer(&self, query: &Query<'_>, ask: Ask) -> Answer {
        self.ask(query, ask)
    }
}

impl Engine for CedarEngine {
    type Question<'q> = Query<'q>;

    fn judge(&self, query: &Query<'_>, heard: &mut Heard) {
        let candidates = self.index.candidates(query, &self.rules);
        let rules = || candidates.iter().filter_map(|rule| self.rules.get(*rule));
        if candidates.is_empty() {
            return;
        }
        let entities = match self.store.slice(query, rules().flat_map(|rule| &rule.mentions)) {
            Ok(entities) => entities,
            Err(error) => {
                // INVARIANT: the slice holds each entity once. Should it ever not, nothing is permitted.
                return rules().for_each(|rule| heard.say(&rule.id, rule.failed(error.clone())));
            }
        };
        let known = |subject: &Subject| EntityUIDEntry::Known { euid: subject.uid.clone(), loc: None };
        let context = Some(query.context.to_cedar());
        let request =
            Request::new_unchecked(known(query.principal), known(query.action), known(query.resource), context);
        let evaluator = Evaluator::new(request, &entities, Extensions::all_available());
        let slots = SlotEnv::new();
        for effect in [Effect::Forbid, Effect::Permit] {
            if effect == Effect::Permit && !heard.wants_permits() {
                break;
            }
            for rule in rules().filter(|rule| rule.effect == effect) {
                let outcome = match evaluator.interpret(&rule.condition, &slots).map(|value| value.value) {
                    Ok(ValueKind::Lit(Literal::Bool(true))) => rule.applies(),
                    Ok(ValueKind::Lit(Literal::Bool(false))) => Outcome::NotApplicable,
                    Ok(_) => rule.failed("the condition is not a boolean".to_owned()),
                    Err(error) => rule.failed(error.to_string()),
                };
                heard.say(&rule.id, outcome);
            }
        }
    }
}

impl Rule {
    fn applies(&self) -> Outcome {
        match self.effect {
            Effect::Forbid => Outcome::Forbid,
            Effect::Permit => Outcome::Permit,
        }
    }

    fn failed(&self, why: String) -> Outcome {
        Outcome::Error { could_forbid: self.effect == Effect::Forbid, why }
    }
}

impl std::fmt::Debug for CedarEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CedarEngine").field("rules", &self.rules.len()).finish_non_exhaustive()
    }
}
