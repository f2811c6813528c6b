//! What policies see of relations: facts in the context, and parents that no `entities.json` names.
//!
//! Which facts a tool needs is known when the bundle is compiled: those that the context of its action declares, and
//! one for each entity that a policy about it could compare somebody with. Only those are looked up, and if one of
//! them has no answer, the call is denied. Clauses.

use super::compile::CompiledPolicy;
use super::decision::{ABSENT_NAMED_MAX, Denied, Reason};
use super::engines::cedar::Within;
use super::engines::cedar::{Attribute, CedarEngine, CedarSchema, Kind, Member, Membership, Shape, Subject as Entity};
use super::fault::nearest;
use super::model::PlanFault;
use super::relations::{Object, RelationRules, Relations, Steps, Subject};
use crate::time::Timestamp;

/// Entities of one type that policies about one tool may name.
const NAMED_MAX: usize = 256;
/// Resources of one call about which relations are looked up.
const RESOURCES_MAX: usize = 64;

/// What policies about one tool need to know.
#[derive(Debug, Clone, Default)]
pub(super) struct RelationPlan {
    /// Relations of the human to the resource, in the context.
    pub(super) delegator: Vec<String>,
    /// Relations of the agent that acts to the resource, in the context.
    pub(super) agent: Vec<String>,
    /// Entities that somebody may be in by relation.
    parents: Vec<Parents>,
}

/// Entities of one type, and through which relation somebody is in them.
#[derive(Debug, Clone)]
struct Parents {
    kind: Kind,
    entity: String,
    relation: String,
    /// Entity types that can be in it, as far as the model knows them.
    below: Vec<String>,
    ids: Vec<String>,
    /// Whether the resource itself may be one.
    resource: bool,
}

/// Fits the relations that an action's context declares to the model.
pub(super) fn check_members(
    attribute: &str,
    tool: &str,
    members: &[Member],
    resource: &str,
    rules: Option<&RelationRules>,
) -> Result<Vec<String>, Vec<PlanFault>> {
    let fault = |message: String, help: String| PlanFault { message, help: Some(help) };
    let kind = rules.and_then(|rules| rules.entities.get(resource)).map(|mapped| mapped.kind.as_str());
    let Some((rules, kind)) = rules.zip(kind) else {
        let message =
            format!("`{attribute}` of `{tool}` asks for relations to a `{resource}`, of which nothing is known");
        let help = format!("say in relations.toml under `[entities]` which type of the model `{resource}` is");
        return Err(vec![fault(message, help)]);
    };
    let (mut names, mut faults) = (Vec::new(), Vec::new());
    for member in members {
        if !rules.schema().relations(kind).any(|known| known == member.name) {
            let near = nearest(&member.name, rules.schema().relations(kind));
            let help =
                near.map_or_else(|| "define it in relations.fga".to_owned(), |near| format!("did you mean `{near}`?"));
            faults.push(fault(format!("`{attribute}.{}` of `{tool}` is no relation of `{kind}`", member.name), help));
        } else if member.shape != Shape::Bool {
            let message = format!("`{attribute}.{}` of `{tool}` is not a Bool", member.name);
            faults.push(fault(message, "somebody stands in a relation, or does not".to_owned()));
        } else {
            names.push(member.name.clone());
        }
    }
    if faults.is_empty() { Ok(names) } else { Err(faults) }
}

impl RelationPlan {
    /// What the policies about one action need to know, besides what its context declares.
    pub(super) fn new(
        (delegator, agent): (Vec<String>, Vec<String>),
        (action, resource, asks_user): (&Entity, &str, bool),
        rules: Option<&RelationRules>,
        schema: &CedarSchema,
        engine: &CedarEngine,
    ) -> Result<Self, PlanFault> {
        let mut parents = Vec::new();
        for ancestor in rules.into_iter().flat_map(|rules| rules.ancestors.iter().map(move |of| (rules, of))) {
            let (rules, ancestor) = ancestor;
            let asked = [Some("Agent"), asks_user.then_some("User"), Some(resource)];
            let below = below(rules, schema, &ancestor.entity);
            let below: Vec<String> = below.into_iter().filter(|of| asked.contains(&Some(of.as_str()))).collect();
            let Some(kind) = Kind::new(&ancestor.entity).ok().filter(|_| !below.is_empty()) else { continue };
            let (ids, resource) = (engine.named(action, &kind), ancestor.entity == resource);
            if let Some(id) = ids.iter().find(|id| rules.object(&ancestor.entity, id).is_none()) {
                let message = format!("no tuple can be about `{}::\"{id}\"`, which policies name", ancestor.entity);
                let help = "an id is printable ASCII without `#`, behind the prefix of relations.toml".to_owned();
                return Err(PlanFault { message, help: Some(help) });
            }
            if ids.len() > NAMED_MAX {
                let message = format!("policies name more than {NAMED_MAX} entities of type `{}`", ancestor.entity);
                let help = "ask for the relation in the context instead: `context.relations`".to_owned();
                return Err(PlanFault { message, help: Some(help) });
            }
            if !ids.is_empty() || resource {
                let (entity, relation) = (ancestor.entity.clone(), ancestor.relation.clone());
                parents.push(Parents { kind, entity, relation, below, ids, resource });
            }
        }
        Ok(Self { delegator, agent, parents })
    }

    /// Whether the context shows relations to the resource.
    pub(super) fn is_seen(&self) -> bool {
        !self.delegator.is_empty() || !self.agent.is_empty()
    }

    /// Entity types that tuples may put somebody into.
    pub(super) fn filled(&self) -> impl Iterator<Item = &str> {
        self.parents.iter().map(|parents| parents.entity.as_str())
    }

    /// Whether somebody may be in something by relation.
    pub(super) fn has_parents(&self) -> bool {
        !self.parents.is_empty()
    }

    /// Whether a call can be decided without knowing any relations.
    pub(super) fn is_empty(&self) -> bool {
        self.delegator.is_empty() && self.agent.is_empty() && self.parents.is_empty()
    }
}

/// Entity types that can be in one, as far as the model knows them.
pub(super) fn below(rules: &RelationRules, schema: &CedarSchema, entity: &str) -> Vec<String> {
    let Ok(above) = Kind::new(entity) else { return Vec::new() };
    let is_below = |of: &&String| Kind::new(of).is_ok_and(|kind| schema.is_below(&kind, &above));
    rules.entities.keys().filter(is_below).cloned().collect()
}

/// Every `in` of policies about this action that relations may answer, and that would not see them, in words: one
/// of somebody else than the principal and the resource, or in something that is known only when it is asked.
/// A forbid with such an `in` would silently not match.
pub(super) fn distant(
    (action, resource): (&Entity, &Kind),
    rules: &RelationRules,
    schema: &CedarSchema,
    engine: &CedarEngine,
) -> Vec<(Membership, String)> {
    let mut found = Vec::new();
    if rules.ancestors.is_empty() {
        return found;
    }
    for member in engine.memberships(action) {
        let missed = rules.ancestors.iter().find(|ancestor| {
            let Ok(above) = Kind::new(&ancestor.entity) else { return false };
            let leads_to = |kind: &Kind| *kind == above || schema.is_below(&above, kind);
            let is_below = |kind: &Kind| {
                below(rules, schema, &ancestor.entity).iter().any(|of| Kind::new(of).is_ok_and(|of| of == *kind))
            };
            member.what.iter().any(|what| match (&member.who, what) {
                (Within::Principal | Within::Resource, Within::Named(_) | Within::ByAttribute) => false,
                (Within::Principal | Within::Resource, Within::Resource) => {
                    *resource != above && schema.is_below(&above, resource)
                }
                (Within::Named(who), Within::Named(what)) => is_below(who) && leads_to(what),
                (Within::Named(who), _) => is_below(who),
                (_, Within::Named(what)) => leads_to(what),
                (_, Within::Resource) => leads_to(resource),
                (_, Within::Principal) => {
                    ["Agent", "User"].iter().any(|of| Kind::new(of).is_ok_and(|of| leads_to(&of)))
                }
                (_, Within::ByAttribute | Within::Other) => true,
            })
        });
        if let Some(ancestor) = missed {
            let what = format!("this asks who is in a `{}`, and would not see who is by relation", ancestor.entity);
            found.push((member, what));
        }
    }
    found
}

/// Why somebody could be in an entity of this type by more than one step, of which only one would be seen.
pub(super) fn indirect(rules: &RelationRules, schema: &CedarSchema, entity: &str) -> Option<String> {
    let kinds = schema.kinds();
    below(rules, schema, entity).iter().find_map(|between| {
        let own = Kind::new(between).ok()?;
        let under = kinds.iter().filter(|kind| Kind::new(kind).is_ok_and(|kind| schema.is_below(&kind, &own))).min()?;
        Some(format!("a `{between}` can be in a `{entity}` by relation, and a `{under}` in a `{between}`"))
    })
}

/// Relations, as one call asks about them.
pub(super) struct Facts<'a> {
    rules: &'a RelationRules,
    relations: &'a Relations,
    plan: &'a RelationPlan,
    engine: &'a CedarEngine,
    now: Timestamp,
    /// What all of them may cost together.
    steps: Steps,
    /// What does not hold, for whoever wants to know why a call was not permitted.
    pub(super) absent: Vec<String>,
}

impl<'a> Facts<'a> {
    /// `None` if the call needs no relations. `resources` is how many resources it names.
    ///
    /// # Errors
    /// The denial of a call that needs some where there are none, or none that were read with this bundle's model; and
    /// of one that names too many resources.
    pub(super) fn of(
        policy: &'a CompiledPolicy,
        plan: &'a RelationPlan,
        (relations, now): (&'a Relations, Timestamp),
        resources: usize,
    ) -> Result<Option<Self>, Denied> {
        let Some(rules) = policy.relation_rules().filter(|_| !plan.is_empty()) else { return Ok(None) };
        if resources > RESOURCES_MAX {
            let detail = format!("relations to {resources} resources are needed; one call may ask for {RESOURCES_MAX}");
            return Err(Denied::new(Reason::EvaluationFailed, detail));
        }
        match relations.schema() {
            None => Err(Denied::new(Reason::Stale, "the decision needs relations, and there are none here yet")),
            Some(schema) if !std::sync::Arc::ptr_eq(schema, rules.schema()) && schema != rules.schema() => {
                Err(Denied::new(Reason::Stale, "the relations here were read with the model of another bundle"))
            }
            Some(_) => Ok(Some(Self {
                rules,
                relations,
                plan,
                engine: policy.engine(),
                now,
                steps: Steps::default(),
                absent: Vec::new(),
            })),
        }
    }

    /// The relations to one resource that the context declares.
    ///
    /// # Errors
    /// The denial, if one of them has no answer.
    pub(super) fn context(
        &mut self,
        resource: (&str, &str),
        delegator: &str,
        agent: &str,
    ) -> Result<(Attribute, Attribute), Denied> {
        let plan = self.plan;
        let user = self.facts(&plan.delegator, resource, ("User", delegator))?;
        Ok((user, self.facts(&plan.agent, resource, ("Agent", agent))?))
    }

    fn facts(&mut self, names: &[String], on: (&str, &str), who: (&str, &str)) -> Result<Attribute, Denied> {
        let mut facts = Vec::with_capacity(names.len());
        if !names.is_empty() {
            let (object, subject) = (self.object(on)?, Subject::Object(self.object(who)?));
            for name in names {
                facts.push((name.as_str(), Attribute::bool(self.holds(&object, name, &subject)?)));
            }
        }
        Ok(Attribute::record(facts))
    }

    /// An entity below those that it is in by relation. `resources` are the resources of the call.
    ///
    /// # Errors
    /// The denial, if one of the relations has no answer.
    pub(super) fn with_parents<'r>(
        &mut self,
        entity: Entity,
        who: (&str, &str),
        resources: impl Iterator<Item = &'r str> + Clone,
    ) -> Result<Entity, Denied>
    where
        'a: 'r,
    {
        let mut entity = entity;
        let plan = self.plan;
        for parents in plan.parents.iter().filter(|parents| parents.below.iter().any(|below| below == who.0)) {
            let subject = Subject::Object(self.object(who)?);
            let own = resources.clone().filter(|_| parents.resource);
            for id in parents.ids.iter().map(String::as_str).chain(own) {
                let object = self.object((&parents.entity, id))?;
                if self.holds(&object, &parents.relation, &subject)? {
                    entity = entity.with_parent(&self.engine.subject(&parents.kind, id));
                }
            }
        }
        Ok(entity)
    }

    fn holds(&mut self, object: &Object, relation: &str, subject: &Subject) -> Result<bool, Denied> {
        let answer = self.relations.check_within((object, relation, subject), self.now, &mut self.steps);
        let holds = answer.map_err(|fault| {
            let detail = format!("`{object}#{relation}@{subject}` has no answer: {fault}");
            Denied::new(Reason::EvaluationFailed, detail)
        })?;
        if !holds && self.absent.len() < ABSENT_NAMED_MAX {
            let absent = format!("{object}#{relation}@{subject}");
            if !self.absent.contains(&absent) {
                self.absent.push(absent);
            }
        }
        Ok(holds)
    }

    fn object(&self, (entity, id): (&str, &str)) -> Result<Object, Denied> {
        self.rules.object(entity, id).ok_or_else(|| {
            let detail = format!("no tuple can be about `{entity}::\"{id}\"`, and policies ask for its relations");
            Denied::new(Reason::EvaluationFailed, detail)
        })
    }
}
