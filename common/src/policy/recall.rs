//! Explaining a decision from its record alone.
//!
//! A record tells who, for whom, with which tool and when; it holds no arguments and not what the grant said. So the
//! permits are asked again with what is known, and what depends on the rest is said to be unknown. Clause P-43.

use super::compile::CompiledPolicy;
use super::decision::ABSENT_NAMED_MAX;
use super::engines::cedar::{Attribute, Query, Subject, Unknown};
use super::explain::{Cited, Nearest};
use super::model::{Plan, RelationFacts, Remembered};
use crate::id::ToolName;
use crate::time::Timestamp;

/// What a record tells of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recalled {
    /// The tool.
    pub tool: ToolName,
    /// The agent that acts.
    pub agent: String,
    /// Its class, if that is on record.
    pub class: Option<String>,
    /// The human.
    pub delegator: Option<String>,
    /// The human's session.
    pub session: Option<String>,
    /// The task.
    pub task: Option<String>,
    /// The purpose, by name.
    pub purpose: Option<String>,
    /// Links of the chain.
    pub chain_depth: Option<u8>,
    /// The resources that policy was asked about, as records name them.
    pub resources: Vec<String>,
    /// When.
    pub now: Timestamp,
    /// The relations that did not hold, if they are on record.
    pub absent: Option<Vec<String>>,
}

impl CompiledPolicy {
    /// Where the rules of these names stand.
    #[must_use]
    pub fn cite<'i>(&self, ids: impl IntoIterator<Item = &'i str>) -> Vec<Cited> {
        self.engine().cite(ids)
    }

    /// The permits that came nearest to a call of which this is known; `None` where the bundle has no such tool.
    #[must_use]
    pub fn nearest_recalled(&self, call: &Recalled) -> Option<Nearest> {
        let (engine, kinds, plan) = (self.engine(), self.kinds(), self.plan(&call.tool)?);
        let principal = match &call.class {
            Some(class) => engine.subject_in(&kinds.agent, &call.agent, &engine.subject(&kinds.class, class)),
            None => engine.subject(&kinds.agent, &call.agent),
        };
        let named = call.resources.iter().find_map(|name| engine.subject_of_name(name));
        let remembered = Remembered {
            delegator: call.delegator.as_deref(),
            session: call.session.as_deref(),
            task: call.task.as_deref(),
            purpose: call.purpose.as_deref(),
            chain_depth: call.chain_depth.map(Into::into),
            now: call.now,
            related: named.as_ref().and_then(|named| self.related(plan, named, call)),
        };
        let (context, missing) = plan.recalled(&remembered);
        // Who was in what by relation is not on record.
        let groups = call.class.is_none() || plan.relations.has_parents();
        let unknown = Unknown { groups, resource: named.is_none(), context: missing };
        let resource = named.unwrap_or_else(|| Subject::named(&plan.resource, ""));
        let query = Query { principal: &principal, action: &plan.action, resource: &resource, context: &context };
        Some(engine.nearest(&query, &unknown))
    }

    /// The relations in the context, from those that did not hold: where fewer are on record than a record names, all
    /// others did.
    fn related(&self, plan: &Plan, resource: &Subject, call: &Recalled) -> Option<RelationFacts> {
        let absent = call.absent.as_ref().filter(|absent| absent.len() < ABSENT_NAMED_MAX)?;
        let rules = self.relation_rules()?;
        let name = resource.name();
        let (kind, _) = name.split_once("::\"")?;
        let object = rules.object(kind, resource.id())?;
        let facts = |names: &[String], who: (&str, &str)| {
            let who = rules.object(who.0, who.1)?;
            let holds = |name: &String| !absent.contains(&format!("{object}#{name}@{who}"));
            Some(Attribute::record(names.iter().map(|name| (name.as_str(), Attribute::bool(holds(name))))))
        };
        let none = || Attribute::record([]);
        let user = match plan.relations.delegator.as_slice() {
            [] => none(),
            names => facts(names, ("User", call.delegator.as_deref()?))?,
        };
        let agent = match plan.relations.agent.as_slice() {
            [] => none(),
            names => facts(names, ("Agent", &call.agent))?,
        };
        Some((user, agent))
    }
}
