//! What policies see of a call.
//!
//! The principal is the agent that acts, below its class; the action is the tool; the resource is what the descriptor
//! says, one question per id; the context carries who delegated, in which session and task, for which purpose, until
//! when, with which arguments and under which limits. Each tool has a plan, made when the bundle is compiled, that
//! says which of these its schema asks for. Clause P-27.

use std::collections::BTreeSet;

use super::arguments;
use super::call::TOOL_KIND;
use super::catalogue::{Catalogue, RECORDS, Tool};
use super::engines::cedar::{Attribute, CedarEngine, CedarSchema, Context, InvalidKind, Kind, Member, Misfit, Shape};
use super::engines::cedar::{Reads, Subject, fit_members};
use super::json::{Json, Pointer};
use super::relating::{self, RelationPlan};
use super::relations::RelationRules;
use super::taxonomy::Taxonomy;
use crate::envelope::{AgentIdentity, Authority};
use crate::id::{AgentClass, AgentId, Delegator, ToolName};
use crate::lattice::{CallFacts, Grant};
use crate::time::Timestamp;

/// The entity types that every schema speaks of.
#[derive(Debug, Clone)]
pub(crate) struct Kinds {
    pub(crate) agent: Kind,
    pub(crate) class: Kind,
    pub(crate) user: Kind,
    pub(crate) action: Kind,
}

impl Kinds {
    pub(super) fn new() -> Result<Self, InvalidKind> {
        Ok(Self {
            agent: Kind::new("Agent")?,
            class: Kind::new("AgentClass")?,
            user: Kind::new("User")?,
            action: Kind::new("Action")?,
        })
    }

    /// The agent that acts.
    pub(super) fn leaf(&self, engine: &CedarEngine, authority: &Authority) -> Subject {
        self.agent(engine, &authority.agent, &authority.class)
    }

    /// Everybody else for whom a forbid would hold: the other agents of the chain, and the human.
    pub(super) fn others(&self, engine: &CedarEngine, authority: &Authority, with_user: bool) -> Vec<Subject> {
        let mut seen: BTreeSet<(&AgentId, &AgentClass)> = BTreeSet::from([(&authority.agent, &authority.class)]);
        let chain = authority.chain_agents.iter().filter(|agent| seen.insert((&agent.id, &agent.class)));
        let mut others: Vec<Subject> =
            chain.map(|AgentIdentity { id, class, attestation: _ }| self.agent(engine, id, class)).collect();
        others.extend(with_user.then(|| self.user(engine, &authority.delegator)));
        others
    }

    /// An agent as a link names it.
    pub(super) fn identity(&self, engine: &CedarEngine, agent: &AgentIdentity) -> Subject {
        self.agent(engine, &agent.id, &agent.class)
    }

    fn agent(&self, engine: &CedarEngine, id: &AgentId, class: &AgentClass) -> Subject {
        engine.subject_in(&self.agent, id.as_str(), &engine.subject(&self.class, class.as_str()))
    }

    pub(super) fn user(&self, engine: &CedarEngine, delegator: &Delegator) -> Subject {
        engine.subject(&self.user, delegator.as_str())
    }
}

/// How a question about one tool is put.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) action: Subject,
    pub(crate) resource: Kind,
    /// Whether forbids are asked for the human, too: where the schema lets users do this.
    pub(super) asks_user: bool,
    /// What it needs to know of relations.
    pub(super) relations: RelationPlan,
    /// What a context is made of.
    fields: Vec<Field>,
    /// What it could be made of: arguments that no rule reads are no part of it (P-51).
    declared: Vec<Field>,
}

/// One attribute of the context.
#[derive(Debug, Clone)]
enum Field {
    Delegator,
    Session,
    Task,
    Purpose,
    ChainDepth,
    Now,
    ExpiresAt,
    MaxRecords,
    Classes,
    Dimensions(Vec<Member>),
    Args(Vec<Member>),
    Relations(Vec<String>),
    AgentRelations(Vec<String>),
}

/// What a context is made of.
pub(super) struct Circumstances<'a> {
    pub(super) authority: &'a Authority,
    pub(super) purpose: &'a str,
    pub(super) now: Timestamp,
    pub(super) arguments: &'a Json,
    pub(super) facts: &'a CallFacts,
    pub(super) taxonomy: &'a Taxonomy,
}

/// What relations add to a context: those of the human, and those of the agent that acts.
pub(super) type RelationFacts = (Attribute, Attribute);

/// A tool and a schema that do not fit together, for a fault.
pub(super) struct PlanFault {
    pub(super) message: String,
    pub(super) help: Option<String>,
}

fn fault(message: impl Into<String>, help: impl Into<String>) -> PlanFault {
    PlanFault { message: message.into(), help: Some(help.into()) }
}

impl Plan {
    /// Fits a tool to the schema.
    pub(super) fn new(
        tool: &Tool,
        kinds: &Kinds,
        schema: &CedarSchema,
        engine: &CedarEngine,
        (catalogue, rules): (&Catalogue, Option<&RelationRules>),
    ) -> Result<Self, Vec<PlanFault>> {
        let name = tool.name.as_str();
        let kind = tool.resource.as_ref().map_or(TOOL_KIND, |rule| rule.kind.as_str());
        let resource = Kind::new(kind).map_err(|error| vec![fault(error.to_string(), "name it as the schema does")])?;
        let declaration =
            format!("action \"{name}\" appliesTo {{ principal: [Agent], resource: [{kind}], context: … }};");
        if !schema.has_action(&kinds.action, name) {
            let message = format!("the schema has no action `{name}`, so no policy can permit this tool");
            return Err(vec![fault(message, format!("declare `{declaration}`"))]);
        }
        if !schema.applies(&kinds.action, name, &kinds.agent, &resource) {
            let message = format!("in the schema, `{name}` is nothing that an `Agent` does to a `{kind}`");
            return Err(vec![fault(message, format!("declare `{declaration}`"))]);
        }
        let (mut fields, mut faults) = (Vec::new(), Vec::new());
        for (attribute, required, shape) in schema.context(&kinds.action, name) {
            match Field::new(&attribute, required, shape.as_ref(), tool, (catalogue, rules)) {
                Ok(field) => fields.push(field),
                Err(found) => faults.extend(found),
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let asks_user = schema.applies(&kinds.action, name, &kinds.user, &resource);
        let action = engine.subject(&kinds.action, name);
        let declared = fields.clone();
        if schema.is_generated(name) {
            // A context is made for each call: of what somebody reads, and no more.
            match engine.reads_of_arguments(&action) {
                Reads::Nothing => fields.retain(|field| !matches!(field, Field::Args(_))),
                Reads::Some(names) => {
                    for field in &mut fields {
                        if let Field::Args(members) = field {
                            members.retain(|member| names.contains(&member.name));
                        }
                    }
                }
                Reads::Any => {}
            }
        }
        let (mut delegator, mut agent) = (Vec::new(), Vec::new());
        for field in &fields {
            match field {
                Field::Relations(names) => delegator.clone_from(names),
                Field::AgentRelations(names) => agent.clone_from(names),
                _ => {}
            }
        }
        let asked = (&action, kind, asks_user);
        let relations =
            RelationPlan::new((delegator, agent), asked, rules, schema, engine).map_err(|fault| vec![fault])?;
        Ok(Self { action, resource, asks_user, relations, fields, declared })
    }

    /// What the context is made of: where each value stands, what it looks like, and whether it has to be there.
    pub(crate) fn wants(&self) -> Vec<(Vec<String>, Shape, bool)> {
        Self::wanted(&self.fields)
    }

    /// The same, and what it would be made of under other rules.
    pub(crate) fn may_want(&self) -> Vec<(Vec<String>, Shape, bool)> {
        Self::wanted(&self.declared)
    }

    fn wanted(fields: &[Field]) -> Vec<(Vec<String>, Shape, bool)> {
        let mut wants = Vec::new();
        for field in fields {
            match field {
                Field::Dimensions(members) | Field::Args(members) => {
                    flatten(&mut vec![field.name().to_owned()], members, true, &mut wants);
                }
                // Made of tuples, not of what a call says.
                Field::Relations(_) | Field::AgentRelations(_) => {}
                plain => {
                    let shape = Field::PLAIN.iter().find(|(known, _)| known.name() == plain.name());
                    let shape = shape.map_or(Shape::Set(Box::new(Shape::Text)), |(_, shape)| shape.clone());
                    wants.push((vec![plain.name().to_owned()], shape, true));
                }
            }
        }
        wants
    }

    /// The context of a question, under one grant.
    pub(super) fn context(
        &self,
        about: &Circumstances<'_>,
        grant: &Grant,
        related: Option<&RelationFacts>,
    ) -> Result<Context, Misfit> {
        let mut members = Vec::with_capacity(self.fields.len());
        for field in &self.fields {
            members.push((field.name(), field.value(about, grant, related)?));
        }
        Ok(Context::new(members))
    }
}

fn flatten(path: &mut Vec<String>, members: &[Member], required: bool, wants: &mut Vec<(Vec<String>, Shape, bool)>) {
    for member in members {
        path.push(member.name.clone());
        let required = required && member.required;
        match &member.shape {
            Shape::Record(inner) => flatten(path, inner, required, wants),
            shape => wants.push((path.clone(), shape.clone(), required)),
        }
        path.pop();
    }
}

/// What is remembered of a call, for asking again without its arguments.
#[derive(Debug, Clone)]
pub(super) struct Remembered<'a> {
    pub(super) delegator: Option<&'a str>,
    pub(super) session: Option<&'a str>,
    pub(super) task: Option<&'a str>,
    pub(super) purpose: Option<&'a str>,
    pub(super) chain_depth: Option<i64>,
    pub(super) now: Timestamp,
    pub(super) related: Option<RelationFacts>,
}

impl Plan {
    /// The context as far as it is remembered, and the names of what is not.
    pub(super) fn recalled(&self, known: &Remembered<'_>) -> (Context, BTreeSet<String>) {
        let (mut members, mut missing) = (Vec::new(), BTreeSet::new());
        for field in &self.fields {
            let value = match field {
                Field::Delegator => known.delegator.map(Attribute::text),
                Field::Session => known.session.map(Attribute::text),
                Field::Task => known.task.map(Attribute::text),
                Field::Purpose => known.purpose.map(Attribute::text),
                Field::ChainDepth => known.chain_depth.map(Attribute::long),
                Field::Now => Some(Attribute::long(long(known.now.as_secs()))),
                Field::Relations(_) => known.related.as_ref().map(|(delegator, _)| delegator.clone()),
                Field::AgentRelations(_) => known.related.as_ref().map(|(_, agent)| agent.clone()),
                _ => None,
            };
            match value {
                Some(value) => members.push((field.name(), value)),
                None => _ = missing.insert(field.name().to_owned()),
            }
        }
        (Context::new(members), missing)
    }
}

impl Field {
    const PLAIN: [(Self, Shape); 8] = [
        (Self::Delegator, Shape::Text),
        (Self::Session, Shape::Text),
        (Self::Task, Shape::Text),
        (Self::Purpose, Shape::Text),
        (Self::ChainDepth, Shape::Long),
        (Self::Now, Shape::Long),
        (Self::ExpiresAt, Shape::Long),
        (Self::MaxRecords, Shape::Long),
    ];

    fn new(
        attribute: &str,
        required: bool,
        shape: Option<&Shape>,
        tool: &Tool,
        (catalogue, rules): (&Catalogue, Option<&RelationRules>),
    ) -> Result<Self, Vec<PlanFault>> {
        let wrong = |expected: &str| {
            let message = format!("context attribute `{attribute}` of `{}` is not {expected}", tool.name);
            vec![fault(message, "calls supply it with this type, and no other")]
        };
        for (field, expected) in Self::PLAIN {
            if field.name() == attribute {
                return if shape == Some(&expected) { Ok(field) } else { Err(wrong(expected.name())) };
            }
        }
        match (attribute, shape) {
            ("classes", Some(shape)) if shape.is_texts() => Ok(Self::Classes),
            ("classes", _) => Err(wrong("a Set<String>")),
            ("dimensions", Some(Shape::Record(members))) => {
                check_members(members, |member| check_dimension(member, tool, catalogue))?;
                Ok(Self::Dimensions(members.clone()))
            }
            ("args", Some(Shape::Record(members))) => {
                check_members(members, |member| check_argument(member, tool, catalogue))?;
                Ok(Self::Args(members.clone()))
            }
            ("relations" | "agent_relations", Some(Shape::Record(members))) => {
                let resource = tool.resource.as_ref().map_or(TOOL_KIND, |rule| rule.kind.as_str());
                let names = relating::check_members(attribute, tool.name.as_str(), members, resource, rules)?;
                Ok(if attribute == "relations" { Self::Relations(names) } else { Self::AgentRelations(names) })
            }
            ("relations" | "agent_relations", _) => Err(wrong("a record of Bools")),
            ("dimensions" | "args", _) => Err(wrong("a record of Strings, Longs, Bools, Sets and records")),
            _ => {
                let whether = if required { "every call would be refused" } else { "a condition on it never holds" };
                let message = format!("no call supplies context attribute `{attribute}` of `{}`: {whether}", tool.name);
                let help = "delegator, session, task, purpose, chain_depth, now, expires_at, max_records, classes, \
                            dimensions, args, relations, agent_relations";
                Err(vec![fault(message, help)])
            }
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Delegator => "delegator",
            Self::Session => "session",
            Self::Task => "task",
            Self::Purpose => "purpose",
            Self::ChainDepth => "chain_depth",
            Self::Now => "now",
            Self::ExpiresAt => "expires_at",
            Self::MaxRecords => "max_records",
            Self::Classes => "classes",
            Self::Dimensions(_) => "dimensions",
            Self::Args(_) => "args",
            Self::Relations(_) => "relations",
            Self::AgentRelations(_) => "agent_relations",
        }
    }

    fn value(
        &self,
        about: &Circumstances<'_>,
        grant: &Grant,
        related: Option<&RelationFacts>,
    ) -> Result<Attribute, Misfit> {
        let authority = about.authority;
        Ok(match self {
            Self::Delegator => Attribute::text(authority.delegator.as_str()),
            Self::Session => Attribute::text(authority.session.as_str()),
            Self::Task => Attribute::text(authority.task.as_str()),
            Self::Purpose => Attribute::text(about.purpose),
            Self::ChainDepth => Attribute::long(authority.chain_depth.into()),
            Self::Now => Attribute::long(long(about.now.as_secs())),
            Self::ExpiresAt => Attribute::long(long(authority.expires.as_secs())),
            // A grant that sets no maximum is seen as one that sets the largest.
            Self::MaxRecords => Attribute::long(grant.maxima.get(RECORDS).map_or(i64::MAX, |max| long(*max))),
            Self::Classes => {
                let granted = grant.classes.unwrap_or_default();
                Attribute::texts(granted.iter().filter_map(|class| about.taxonomy.class_name(class)))
            }
            Self::Dimensions(members) => Attribute::record(dimensions(members, about.facts)?),
            Self::Args(members) => Attribute::record(fit_members("args", members, about.arguments)?),
            Self::Relations(names) => match related {
                Some((delegator, _)) => delegator.clone(),
                // INVARIANT: without names nothing was asked.
                None if names.is_empty() => Attribute::record([]),
                None => return Err(Misfit { name: "relations".to_owned(), expected: "known" }),
            },
            Self::AgentRelations(names) => match related {
                Some((_, agent)) => agent.clone(),
                None if names.is_empty() => Attribute::record([]),
                None => return Err(Misfit { name: "agent_relations".to_owned(), expected: "known" }),
            },
        })
    }
}

/// A number that Cedar can hold; what is larger is as large as can be.
pub(super) fn long(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn dimensions<'m>(members: &'m [Member], facts: &CallFacts) -> Result<Vec<(&'m str, Attribute)>, Misfit> {
    let mut values = Vec::with_capacity(members.len());
    for member in members {
        let name = member.name.as_str();
        if let Some(ids) = facts.ids.get(name) {
            values.push((name, Attribute::texts(ids.iter().map(|id| id.as_str()))));
        } else if let Some(amount) = facts.amounts.get(name) {
            values.push((name, Attribute::long(long(*amount))));
        } else if member.required {
            return Err(Misfit { name: format!("dimensions.{name}"), expected: "there" });
        }
    }
    Ok(values)
}

fn check_members(members: &[Member], check: impl Fn(&Member) -> Result<(), PlanFault>) -> Result<(), Vec<PlanFault>> {
    let faults: Vec<PlanFault> = members.iter().filter_map(|member| check(member).err()).collect();
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

/// A dimension of the schema is one that this tool yields, or an optional one that another tool yields.
fn check_dimension(member: &Member, tool: &Tool, catalogue: &Catalogue) -> Result<(), PlanFault> {
    let named = |tool: &Tool| {
        let is = |(name, _): &(crate::id::DimensionName, Pointer)| name.as_str() == member.name;
        (tool.dimensions.iter().any(is), tool.amounts.iter().any(is))
    };
    let elsewhere = || {
        let all = catalogue.tools.values().map(|tool| named(tool));
        all.fold((false, false), |found, next| (found.0 || next.0, found.1 || next.1))
    };
    let (ids, amounts) = match named(tool) {
        (false, false) if !member.required => elsewhere(),
        own => own,
    };
    let what = format!("`dimensions.{}` of `{}`", member.name, tool.name);
    match (ids, amounts) {
        (false, false) => Err(fault(
            format!("{what} is yielded by no argument"),
            "map it in the catalogue under `dimensions` or `amounts`, or declare it optional: `name?`",
        )),
        (true, _) if member.shape.is_texts() => Ok(()),
        (_, true) if member.shape == Shape::Long => Ok(()),
        (true, _) => Err(fault(format!("{what} is not a Set<String>"), "a dimension yields the set of all ids")),
        (false, true) => Err(fault(format!("{what} is not a Long"), "an amount yields the sum of all quantities")),
    }
}

/// An argument of the schema is one that some tool's descriptor names.
fn check_argument(member: &Member, tool: &Tool, catalogue: &Catalogue) -> Result<(), PlanFault> {
    let accepts = |tool: &Tool| arguments::accepts(tool, &member.name);
    if accepts(tool) || (!member.required && catalogue.tools.values().any(|tool| accepts(tool))) {
        return match arguments::disagreement(member, tool) {
            Some((message, help)) => Err(fault(message, help)),
            None => Ok(()),
        };
    }
    let message = format!("`args.{}` of `{}` is an argument that no call may carry", member.name, tool.name);
    Err(fault(message, "name it in the catalogue, as a dimension, an amount, the resource or under `free`"))
}

/// The name under which a tool's schema action goes.
pub(super) fn action_of(tool: &ToolName) -> String {
    format!("\"{tool}\"")
}
