//! Cedar's own test files, run on a bundle's rules as Cedar means them.
//!
//! `cedar run-tests` takes a list of requests, each with its entities, its decision, the policies that decide, and how
//! many policies fail. Nothing of an envelope is in them, so they are asked of the rules alone, and a forbid that fails
//! is skipped, as Cedar does and an edge never would. Clauses B-29 and B-30.

use cedar_policy_core::ast::{EntityUID, Request};
use cedar_policy_core::entities::ContextJsonParser;
use cedar_policy_core::extensions::Extensions;
use cedar_policy_core::validator::context_schema_for_action;
use serde::Deserialize;
use serde_json::Value;

use super::{Ask, CedarEngine, CedarSchema, Context, Matched, Query, Subject};

/// One test of such a file. Members that are not named here are stepped over.
#[derive(Debug, Clone, Deserialize)]
pub struct CedarTest {
    /// What it shows.
    #[serde(default)]
    pub name: String,
    request: RequestEntry,
    #[serde(default = "no_entities")]
    entities: Value,
    decision: String,
    #[serde(default)]
    reason: Vec<String>,
    #[serde(default)]
    num_errors: u32,
}

#[derive(Debug, Clone, Deserialize)]
struct RequestEntry {
    principal: String,
    action: String,
    resource: String,
    #[serde(default = "no_context")]
    context: Value,
}

fn no_entities() -> Value {
    Value::Array(Vec::new())
}

fn no_context() -> Value {
    Value::Object(serde_json::Map::new())
}

/// What became of one test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CedarOutcome {
    /// As expected.
    Passed,
    /// How it differs.
    Failed(Vec<String>),
    /// It cannot be asked of this bundle: why.
    LeftOut(String),
}

/// A bundle's rules, ready to be asked what Cedar would answer.
pub(crate) struct CedarTests<'a> {
    /// Pairs of file name and text.
    pub(crate) policies: &'a [(&'a str, &'a str)],
    /// What the rules are checked against.
    pub(crate) in_force: &'a CedarSchema,
    /// The schema as it is written, for contexts that say nothing of arguments.
    pub(crate) written: &'a CedarSchema,
    /// The rules beside the entities of the test before: most tests of a file have the same.
    pub(crate) last: Option<(Value, Result<CedarEngine, String>)>,
}

/// What Cedar would answer.
struct Answered {
    decision: &'static str,
    reason: Matched,
    errors: u32,
}

impl CedarTests<'_> {
    /// Runs one test.
    pub(crate) fn run(&mut self, test: &CedarTest) -> CedarOutcome {
        let expected = test.decision.to_lowercase();
        if !["allow", "deny"].contains(&expected.as_str()) {
            return CedarOutcome::LeftOut(format!("`{}` is no decision: allow or deny", test.decision));
        }
        let answered = match self.ask(test) {
            Ok(answered) => answered,
            Err(why) => return CedarOutcome::LeftOut(why),
        };
        let mut differences = Vec::new();
        if answered.decision != expected {
            differences.push(format!("expected {expected}, got {}", answered.decision));
        }
        let mut found: Vec<String> = answered.reason.first.iter().map(ToString::to_string).collect();
        let mut reason = test.reason.clone();
        found.sort();
        reason.sort();
        let counts = |names: &[String]| usize::try_from(answered.reason.total).is_ok_and(|total| total == names.len());
        // Beyond those that an answer names, the number is what can be compared.
        let same = if counts(&found) {
            found == reason
        } else {
            counts(&reason) && found.iter().all(|rule| reason.contains(rule))
        };
        if !same {
            differences.push(format!("decided by [{}], expected [{}]", found.join(", "), reason.join(", ")));
        }
        if answered.errors != test.num_errors {
            differences.push(format!("{} policies fail, expected {}", answered.errors, test.num_errors));
        }
        if differences.is_empty() { CedarOutcome::Passed } else { CedarOutcome::Failed(differences) }
    }

    fn ask(&mut self, test: &CedarTest) -> Result<Answered, String> {
        if self.last.as_ref().is_none_or(|(entities, _)| *entities != test.entities) {
            let entities = test.entities.to_string();
            let engine = CedarEngine::compile(self.policies, Some(self.in_force), Some(("entities", &entities)));
            let first = |faults: Vec<_>| faults.first().map(|fault: &crate::policy::PolicyFault| fault.message.clone());
            let engine = engine.map_err(|faults| {
                format!("the bundle's schema does not allow the entities: {}", first(faults).unwrap_or_default())
            });
            self.last = Some((test.entities.clone(), engine));
        }
        let engine = match &self.last {
            Some((_, Ok(engine))) => engine,
            Some((_, Err(why))) => return Err(why.clone()),
            None => return Err("there are no rules".to_owned()),
        };
        let RequestEntry { principal, action, resource, context } = &test.request;
        let subject = |text: &String| engine.subject_of_name(text).ok_or_else(|| format!("`{text}` names no entity"));
        let uid: EntityUID = action.parse().map_err(|_| format!("`{action}` names no entity"))?;
        let schema = if context.get("args").is_some() { self.in_force } else { self.written };
        let declared = context_schema_for_action(&schema.0, &uid)
            .ok_or_else(|| format!("the bundle's schema has no action `{action}`"))?;
        let context = ContextJsonParser::new(Some(&declared), Extensions::all_available())
            .from_json_value(context.clone())
            .map_err(|error| format!("the bundle's schema does not allow the context: {error}"))?;
        let (principal, action, resource) = (subject(principal)?, subject(action)?, subject(resource)?);
        let uid = |subject: &Subject| ((*subject.uid).clone(), None);
        let all = Extensions::all_available();
        Request::new(uid(&principal), uid(&action), uid(&resource), context.clone(), Some(&*schema.0), all)
            .map_err(|error| format!("the bundle's schema does not allow the request: {error}"))?;
        let context = Context::from_cedar(context);
        let query = Query { principal: &principal, action: &action, resource: &resource, context: &context };
        let answer = engine.answer(&query, Ask::Everything);
        let errors = answer.failed_forbids.total.saturating_add(answer.failed_permits.total);
        let (decision, reason) = match (answer.forbids.is_empty(), answer.permits.is_empty()) {
            (false, _) => ("deny", answer.forbids),
            (true, false) => ("allow", answer.permits),
            (true, true) => ("deny", Matched::default()),
        };
        Ok(Answered { decision, reason, errors })
    }
}
