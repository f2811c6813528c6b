//! What an enforcement point asks about a subject that has no envelope.
//!
//! Some platforms guard their own things and want to ask the same policy. For actions that the bundle's manifest names,
//! a subject without an envelope is judged by policy alone: its type and id, the type and id of the resource, and what
//! the enforcement point says of both. Where the bundle knows an attribute, the bundle's word holds. The answer is
//! advice: nothing is called by it, and no tool of the catalogue is ever asked about in this way. Clauses P-54 to P-57.

use std::collections::BTreeSet;

use super::compile::CompiledPolicy;
use super::decide::refused_by;
use super::decision::{Denied, Reason};
use super::engines::Ask;
use super::engines::cedar::{
    Attribute, CedarEngine, CedarSchema, Context, Kind, Matched, Misfit, Query, Shape, Subject,
};
use super::engines::combine::{Combination, Hearing};
use super::json::Json;
use super::model::{Kinds, PlanFault, long};
use crate::id::ActionName;
use crate::time::Timestamp;

/// Where a context has the properties of the action.
const ACTION: &str = "action";
/// Where a context has the time, in seconds; the edge says it, whatever the request does.
const NOW: &str = "now";

/// The actions of a bundle that may be asked about without an envelope.
pub type AdvisedActions = BTreeSet<ActionName>;

/// Somebody or something of a question, as an enforcement point names it.
#[derive(Debug, Clone, PartialEq)]
pub struct Party {
    /// The entity type.
    pub kind: String,
    /// The id.
    pub id: String,
    /// What the enforcement point says of it; an object.
    pub properties: Json,
}

/// What an enforcement point asks.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// Who.
    pub subject: Party,
    /// Would do what.
    pub action: ActionName,
    /// What the enforcement point says of that; an object.
    pub properties: Json,
    /// To what.
    pub resource: Party,
    /// Under which circumstances; an object.
    pub context: Json,
}

/// Policy permits it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advised {
    /// The policies that do.
    pub policies: Matched,
    /// What it is done to, as policies name it.
    pub resource: String,
}

/// How a question about one action is put.
#[derive(Debug, Clone)]
pub(crate) struct AdvicePlan {
    action: Subject,
    /// Who can do it, and to what.
    subjects: Vec<Role>,
    resources: Vec<Role>,
    /// What the context is made of: names, whether they have to be there, and their shapes.
    context: Vec<(String, bool, Shape)>,
}

/// Entities of one type in a question.
#[derive(Debug, Clone)]
struct Role {
    name: String,
    kind: Kind,
    /// As for a context; an attribute that no request can supply has no shape.
    attributes: Vec<(String, bool, Option<Shape>)>,
}

impl AdvicePlan {
    /// Fits an action to the schema.
    pub(super) fn new(
        name: &str,
        kinds: &Kinds,
        schema: &CedarSchema,
        engine: &CedarEngine,
    ) -> Result<Self, Vec<PlanFault>> {
        if !schema.has_action(&kinds.action, name) {
            let message = format!("`authzen_without_envelope` names `{name}`, which is no action of the schema");
            let help = format!("declare `action \"{name}\" appliesTo {{ principal: [user], resource: [record] }};`");
            return Err(vec![PlanFault { message, help: Some(help) }]);
        }
        let (mut context, mut faults) = (Vec::new(), Vec::new());
        for (attribute, required, shape) in schema.context(&kinds.action, name) {
            match shape {
                Some(Shape::Record(_)) if attribute == ACTION => {}
                _ if attribute == ACTION => {
                    faults.push(fault(name, &attribute, "is not a record: it has the properties of the action"));
                    continue;
                }
                Some(Shape::Long) if attribute == NOW => {}
                _ if attribute == NOW => {
                    faults.push(fault(name, &attribute, "is not a Long: it is the time, in seconds"));
                    continue;
                }
                Some(_) if !RELATED.contains(&attribute.as_str()) => {}
                _ => {
                    faults.push(fault(name, &attribute, "is nothing that an enforcement point could supply"));
                    continue;
                }
            }
            context.extend(shape.map(|shape| (attribute, required, shape)));
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let (principals, resources) = schema.appliers(&kinds.action, name);
        let roles = |kinds: Vec<Kind>| kinds.into_iter().map(|kind| Role::new(kind, schema)).collect();
        let action = engine.subject(&kinds.action, name);
        Ok(Self { action, subjects: roles(principals), resources: roles(resources), context })
    }

    pub(super) fn action(&self) -> &Subject {
        &self.action
    }

    /// The types of everybody who could do it, and of everything it could be done to.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (&Kind, &Kind)> {
        let resources = || self.resources.iter().map(|role| &role.kind);
        self.subjects.iter().flat_map(move |role| resources().map(move |resource| (&role.kind, resource)))
    }

    fn context(&self, question: &Question, now: Timestamp) -> Result<Context, Misfit> {
        let mut members = Vec::with_capacity(self.context.len());
        for (name, required, shape) in &self.context {
            let said = match name.as_str() {
                NOW => {
                    members.push((name.as_str(), Attribute::long(long(now.as_secs()))));
                    continue;
                }
                ACTION => Some(&question.properties),
                _ => question.context.get(name),
            };
            if let Some(value) = fitted(&format!("context.{name}"), *required, Some(shape), said)? {
                members.push((name.as_str(), value));
            }
        }
        Ok(Context::new(members))
    }
}

/// Attributes of a context that tuples fill, which is done for calls alone.
const RELATED: [&str; 2] = ["relations", "agent_relations"];

fn fault(action: &str, attribute: &str, what: &str) -> PlanFault {
    let message = format!("context attribute `{attribute}` of `{action}` {what}");
    let help = "what is asked without an envelope has `action`, `now`, and what the request's context says";
    PlanFault { message, help: Some(help.to_owned()) }
}

/// A value in its shape; `None` for one that need not be there.
fn fitted(name: &str, required: bool, shape: Option<&Shape>, said: Option<&Json>) -> Result<Option<Attribute>, Misfit> {
    match (shape, said) {
        (Some(shape), Some(said)) => shape.fit(name, said).map(Some),
        _ if required => Err(Misfit { name: name.to_owned(), expected: "there" }),
        _ => Ok(None),
    }
}

impl Role {
    fn new(kind: Kind, schema: &CedarSchema) -> Self {
        Self { name: kind.name(), attributes: schema.attributes(&kind), kind }
    }

    /// What the enforcement point says of an entity, as far as the bundle knows nothing of it.
    fn said<'s>(&'s self, known: &Subject, party: &Party) -> Result<Vec<(&'s str, Attribute)>, Misfit> {
        let mut said = Vec::new();
        for (name, required, shape) in self.attributes.iter().filter(|(name, ..)| !known.has(name)) {
            let value = party.properties.get(name);
            let name_of = format!("{}.{name}", self.name);
            if shape.is_none() && value.is_some() {
                // Left out, it could be what a forbid waits for.
                return Err(Misfit { name: name_of, expected: "of a type that a request could supply" });
            }
            said.extend(fitted(&name_of, *required, shape.as_ref(), value)?.map(|value| (name.as_str(), value)));
        }
        Ok(said)
    }
}

/// Subject and resource, with what the bundle knows of them and what the enforcement point says. Somebody who does
/// something to themselves is one entity, of which both may say something.
fn parties(
    engine: &CedarEngine,
    (subject, who): (&Role, &Party),
    (resource, what): (&Role, &Party),
) -> Result<(Subject, Subject), Misfit> {
    let principal = engine.subject(&subject.kind, &who.id);
    let said = subject.said(&principal, who)?;
    let principal = principal.with_attributes(said);
    if subject.name == resource.name && who.id == what.id {
        let said = resource.said(&principal, what)?;
        let both = principal.with_attributes(said);
        return Ok((both.clone(), both));
    }
    let known = engine.subject(&resource.kind, &what.id);
    let said = resource.said(&known, what)?;
    Ok((principal, known.with_attributes(said)))
}

/// Whether policy lets this subject do this.
///
/// # Errors
/// Why not: `no_envelope` for an action that the manifest does not name, `no_matching_policy` where the schema knows no
/// such thing or nothing permits it, `evaluation_failed` where an attribute is missing or of another type, `forbidden`.
pub fn advise(policy: &CompiledPolicy, question: &Question, now: Timestamp) -> Result<Advised, Denied> {
    let Some(plan) = policy.advice(&question.action) else {
        let detail = format!("nobody may ask about `{}` without an envelope", question.action);
        return Err(Denied::new(Reason::NoEnvelope, detail));
    };
    let role = |roles: &'_ [Role], kind: &str| roles.iter().position(|role| role.name == kind);
    let subject = role(&plan.subjects, &question.subject.kind).and_then(|at| plan.subjects.get(at));
    let resource = role(&plan.resources, &question.resource.kind).and_then(|at| plan.resources.get(at));
    let (Some(subject), Some(resource)) = (subject, resource) else {
        let detail = format!("in the schema, `{}` is nothing that one type does to the other", question.action);
        return Err(Denied::new(Reason::NoMatchingPolicy, detail));
    };
    let misfit = |misfit: Misfit| Denied::new(Reason::EvaluationFailed, format!("policies cannot be asked: {misfit}"));
    let engine = policy.engine();
    let (principal, resource) =
        parties(engine, (subject, &question.subject), (resource, &question.resource)).map_err(misfit)?;
    let context = plan.context(question, now).map_err(misfit)?;
    let query = Query { principal: &principal, action: &plan.action, resource: &resource, context: &context };
    let mut hearing = Hearing::default();
    hearing.take(engine.answer(&query, Ask::Everything));
    match hearing.verdict(Combination::AnyPermit) {
        Ok(policies) => Ok(Advised { policies, resource: resource.name() }),
        Err(against) => Err(refused_by(against, &principal, std::slice::from_ref(&resource), &[])),
    }
}
