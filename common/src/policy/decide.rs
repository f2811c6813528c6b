//! The decision. Pure, and closed: whatever does not lead to a permit is a denial with a reason.

use std::sync::Arc;

use super::call::{self, Resources, ToolCall};
use super::catalogue::{RECORDS, Tool};
use super::compile::CompiledPolicy;
use super::decision::{Decision, Denied, Obligations, Permitted, RESOURCES_NAMED_MAX, Reason};
use super::engines::cedar::{Context, Misfit, Query, Subject, Unknown};
use super::engines::combine::{Against, Combination, Hearing};
use super::engines::{Answer, Ask, Matched};
use super::explain::Nearest;
use super::model::{Circumstances, Plan, RelationFacts};
use super::relating::Facts;
use super::relations::Relations;
use crate::envelope::Authority;
use crate::lattice::{CallFacts, Grant, OutOfScope, Scope, ScopeMiss};
use crate::time::Timestamp;

/// Decides one call.
///
/// Grants are tried in the order of the envelope; the lowest that admits the call, and under which policy permits it,
/// is the one whose limits bind the response. What is denied says how the closest grant missed. That the chain holds
/// at `now`, and that the edge knows enough to decide at all, is checked before. Clause P-29.
pub fn decide(
    policy: &CompiledPolicy,
    authority: &Authority,
    call: &ToolCall,
    relations: &Relations,
    now: Timestamp,
) -> Decision {
    match permit(policy, authority, call, relations, now) {
        Ok(permitted) => Decision::Permit(permitted),
        Err(denied) => Decision::Deny(denied),
    }
}

/// The tools that an agent may list: those that some grant of its envelope reaches, for its purpose.
#[must_use]
pub fn visible_tools(policy: &CompiledPolicy, authority: &Authority) -> Vec<Arc<Tool>> {
    policy.catalogue().tools.values().filter(|tool| is_visible(tool, authority)).cloned().collect()
}

/// Whether an agent may know that there is this tool.
#[must_use]
pub fn is_visible(tool: &Tool, authority: &Authority) -> bool {
    let mut grants = authority.scope.grants().filter_map(|(_, grant)| grant);
    tool.serves(&authority.purpose)
        && grants
            .any(|grant| grant.reaches(&tool.name, tool.effects, is_newer(tool, authority), tool.definition.as_ref()))
}

/// A call that came past the gate: what policies are asked about.
struct Admitted<'a> {
    tool: &'a Arc<Tool>,
    plan: &'a Plan,
    purpose: &'a str,
    facts: CallFacts,
    resources: Resources,
}

impl<'a> Admitted<'a> {
    fn new(policy: &'a CompiledPolicy, authority: &Authority, call: &ToolCall) -> Result<Self, Denied> {
        if let Some(hop) = beyond_patterns(&authority.scope, call.tool.as_str()) {
            let denied =
                Denied::new(Reason::OutOfScope, format!("no tool pattern matches `{}`, since link {hop}", call.tool));
            return Err(Denied { hop: Some(hop), ..denied });
        }
        let Some((tool, plan)) = policy.catalogue().tools.get(&call.tool).zip(policy.plan(&call.tool)) else {
            return Err(Denied::new(Reason::ToolUnknown, format!("the catalogue has no tool `{}`", call.tool)));
        };
        let taxonomy = policy.taxonomy();
        if authority.taxonomy_version > taxonomy.version() {
            let (theirs, ours) = (authority.taxonomy_version, taxonomy.version());
            let detail = format!("the envelope speaks taxonomy {theirs}, and this edge knows {ours}");
            return Err(Denied::new(Reason::Stale, detail));
        }
        let purpose = taxonomy.purpose_name(&authority.purpose).filter(|_| tool.serves(&authority.purpose));
        let Some(purpose) = purpose else {
            let known = taxonomy.purpose_name(&authority.purpose).unwrap_or("an unknown purpose");
            return Err(Denied::new(Reason::PurposeMismatch, format!("`{}` does not serve `{known}`", call.tool)));
        };
        let (mut facts, resources) = call::facts(tool, call)?;
        facts.is_newer = is_newer(tool, authority);
        facts.arguments = call::arguments_at(authority.scope.constrained(), &call.arguments);
        Ok(Self { tool, plan, purpose, facts, resources })
    }
}

fn permit(
    policy: &CompiledPolicy,
    authority: &Authority,
    call: &ToolCall,
    relations: &Relations,
    now: Timestamp,
) -> Result<Permitted, Denied> {
    let Admitted { tool, plan, purpose, facts, resources } = Admitted::new(policy, authority, call)?;
    let taxonomy = policy.taxonomy();
    let about = Circumstances { authority, purpose, now, arguments: &call.arguments, facts: &facts, taxonomy };
    let mut asked: Option<Asked<'_>> = None;
    let mut closest: Option<Denied> = None;
    for (index, grant) in authority.scope.grants() {
        let Some(grant) = grant.filter(|_| authority.scope.admits(index, &facts).is_ok()) else { continue };
        let asked = match &mut asked {
            Some(asked) => asked,
            // Only here: what lies outside the grants is said to, whether or not relations are known.
            none => none.insert(Asked::new(policy, plan, authority, &resources, (relations, now))?),
        };
        let contexts = asked.contexts(&about, grant).map_err(|misfit| {
            let detail = format!("policies cannot be asked: {misfit}");
            Denied::new(Reason::EvaluationFailed, detail)
        })?;
        match asked.under(&contexts) {
            Ok(permits) => {
                let obligations = Obligations {
                    max_records: grant.maxima.get(RECORDS).copied(),
                    classes: grant.classes.unwrap_or_default(),
                    demands: authority.demands,
                };
                let resources = asked.resources.iter().map(Subject::name).collect();
                let Matched { first: policies, total: policies_total } = permits;
                let tool = tool.clone();
                return Ok(Permitted { grant: index, policies, policies_total, obligations, tool, facts, resources });
            }
            Err(denied) if closest.as_ref().is_none_or(|closest| weight(&denied) > weight(closest)) => {
                closest = Some(denied);
            }
            Err(_) => {}
        }
    }
    Err(closest.unwrap_or_else(|| out_of_scope(&authority.scope, &facts)))
}

/// The permits that came nearest to a call that none of them permits: under the first grant that admits it, about the
/// first resource without one. `None` where the call does not come as far as that.
pub(super) fn unpermitted(
    policy: &CompiledPolicy,
    authority: &Authority,
    call: &ToolCall,
    relations: &Relations,
    now: Timestamp,
) -> Option<Nearest> {
    let Admitted { tool: _, plan, purpose, facts, resources } = Admitted::new(policy, authority, call).ok()?;
    let taxonomy = policy.taxonomy();
    let about = Circumstances { authority, purpose, now, arguments: &call.arguments, facts: &facts, taxonomy };
    let admits = |index| authority.scope.admits(index, &facts).is_ok();
    let mut grants = authority.scope.grants().filter_map(|(index, grant)| grant.filter(|_| admits(index)));
    let grant = grants.next()?;
    let asked = Asked::new(policy, plan, authority, &resources, (relations, now)).ok()?;
    let contexts = asked.contexts(&about, grant).ok()?;
    let engine = policy.engine();
    let mut queries = asked.resources.iter().enumerate().filter_map(|(at, resource)| {
        let context = contexts.get(at).or(contexts.first())?;
        Some(Query { principal: &asked.leaf, action: &plan.action, resource, context })
    });
    let is_permitted = |query: &Query<'_>| !engine.answer(query, Ask::Everything).permits.is_empty();
    let unpermitted = queries.find(|query| !is_permitted(query))?;
    Some(engine.nearest(&unpermitted, &Unknown::default()))
}

/// Which denial by policy to report when several grants admit the call: the one that somebody decided on.
fn weight(denied: &Denied) -> u8 {
    match denied.reason {
        Reason::Forbidden => 2,
        Reason::EvaluationFailed => 1,
        _ => 0,
    }
}

/// Everybody and everything that the policies are asked about, under any grant.
struct Asked<'a> {
    policy: &'a CompiledPolicy,
    plan: &'a Plan,
    leaf: Subject,
    others: Vec<Subject>,
    resources: Vec<Subject>,
    /// What relations add to the context of each resource; empty where the context asks for none.
    related: Vec<RelationFacts>,
    /// Relations that do not hold.
    absent: Vec<String>,
}

impl<'a> Asked<'a> {
    fn new(
        policy: &'a CompiledPolicy,
        plan: &'a Plan,
        authority: &Authority,
        resources: &Resources,
        (relations, now): (&Relations, Timestamp),
    ) -> Result<Self, Denied> {
        let (engine, kinds) = (policy.engine(), policy.kinds());
        let mut asked = Self {
            policy,
            plan,
            leaf: kinds.leaf(engine, authority),
            others: kinds.others(engine, authority, plan.asks_user),
            resources: resources.ids.iter().map(|id| engine.subject(&plan.resource, id.as_str())).collect(),
            related: Vec::new(),
            absent: Vec::new(),
        };
        if let Some(mut facts) = Facts::of(policy, &plan.relations, (relations, now), resources.ids.len())? {
            asked.relate(&mut facts, authority, resources)?;
            asked.absent = facts.absent;
        }
        Ok(asked)
    }

    fn relate(&mut self, facts: &mut Facts<'_>, authority: &Authority, resources: &Resources) -> Result<(), Denied> {
        let ids = || resources.ids.iter().map(|id| id.as_str());
        // First, so that what does not hold is named before whatever else was looked up.
        if self.plan.relations.is_seen() {
            let (delegator, agent) = (authority.delegator.as_str(), authority.agent.as_str());
            for id in ids() {
                self.related.push(facts.context((&resources.kind, id), delegator, agent)?);
            }
        }
        let mut below = |entity: &mut Subject, kind: &str| {
            let (own, id) = (entity.clone(), entity.id().to_owned());
            facts.with_parents(own, (kind, &id), ids()).map(|related| *entity = related)
        };
        below(&mut self.leaf, "Agent")?;
        for other in &mut self.others {
            let kind = if other.is_of(&self.policy.kinds().user) { "User" } else { "Agent" };
            below(other, kind)?;
        }
        for resource in &mut self.resources {
            below(resource, &resources.kind)?;
        }
        Ok(())
    }

    /// The circumstances of each resource under one grant; one for all where they do not differ.
    fn contexts(&self, about: &Circumstances<'_>, grant: &Grant) -> Result<Vec<Context>, Misfit> {
        if self.related.is_empty() {
            return Ok(vec![self.plan.context(about, grant, None)?]);
        }
        self.related.iter().map(|related| self.plan.context(about, grant, Some(related))).collect()
    }

    /// The permits, if there is one for every resource, and nothing forbids for anybody.
    fn under(&self, contexts: &[Context]) -> Result<Matched, Denied> {
        let ask = |principal: &Subject, (at, resource): (usize, &Subject), ask: Ask| {
            // INVARIANT: there is one context, or one for each resource.
            let Some(context) = contexts.get(at).or(contexts.first()) else { return Answer::default() };
            let query = Query { principal, action: &self.plan.action, resource, context };
            self.policy.engine().answer(&query, ask)
        };
        let mut hearing = Hearing::default();
        for resource in self.resources.iter().enumerate() {
            for other in &self.others {
                hearing.take_forbids(ask(other, resource, Ask::Forbids));
            }
        }
        for resource in self.resources.iter().enumerate() {
            let enough = if hearing.denies() { Ask::Forbids } else { Ask::Decision };
            hearing.take(ask(&self.leaf, resource, enough));
        }
        // The only one that a manifest may name (B-8).
        hearing.verdict(Combination::AnyPermit).map_err(|against| self.denied(against))
    }

    fn denied(&self, against: Against) -> Denied {
        refused_by(against, &self.leaf, &self.resources, &self.absent)
    }
}

/// The denial that rules lead to, about this principal and these resources; `absent` are relations that do not hold.
pub(super) fn refused_by(against: Against, leaf: &Subject, resources: &[Subject], absent: &[String]) -> Denied {
    let mut missing = Vec::new();
    let (reason, detail, policies) = match against {
        Against::Forbidden(policies) => (Reason::Forbidden, "a policy forbids it".to_owned(), policies),
        Against::Failed { policies, why } => {
            (Reason::EvaluationFailed, format!("a policy that could forbid it failed: {why}"), policies)
        }
        Against::Unpermitted { question, failed, why } => {
            let on = question.and_then(|nth| resources.get(nth)).map(Subject::name).unwrap_or_default();
            let why = why.map(|why| format!("; a permit failed: {why}")).unwrap_or_default();
            let named = absent.join("`, `");
            let named = if named.is_empty() { named } else { format!("; these relations do not hold: `{named}`") };
            let detail = format!("no policy permits {} to do this to {on}{why}{named}", leaf.name());
            missing = absent.to_vec();
            (Reason::NoMatchingPolicy, detail, failed)
        }
    };
    let Matched { first: policies, total: policies_total } = policies;
    let resources = resources.iter().take(RESOURCES_NAMED_MAX).map(Subject::name).collect();
    Denied { policies, policies_total, resources, absent: missing, ..Denied::new(reason, detail) }
}

/// Whether the tool came after the catalogue for which the chain's root was minted (clause P-33).
fn is_newer(tool: &Tool, authority: &Authority) -> bool {
    tool.since > authority.catalogue_version
}

fn has_pattern(grant: &Grant, tool: &str) -> bool {
    grant.tools.iter().any(|pattern| pattern.matches(tool))
}

/// The first link since which no pattern matches a tool of this name; `None` if one does.
///
/// The answer does not depend on whether there is such a tool: an agent learns nothing of what it may not list.
fn beyond_patterns(scope: &Scope, tool: &str) -> Option<u8> {
    let reaches = |scope: &Scope| scope.grants().filter_map(|(_, grant)| grant).any(|grant| has_pattern(grant, tool));
    if reaches(scope) {
        return None;
    }
    let levels: Vec<&Scope> = std::iter::successors(Some(scope), |scope| scope.parent()).collect();
    let first = levels.iter().rev().position(|scope| !reaches(scope));
    first.and_then(|hop| u8::try_from(hop).ok()).or(Some(u8::MAX))
}

fn out_of_scope(scope: &Scope, facts: &CallFacts) -> Denied {
    let Err(missed) = scope.admits_any(facts) else {
        // INVARIANT: a grant that admits the call was asked about, and left a denial.
        return Denied::new(Reason::OutOfScope, "no grant admits it");
    };
    let detail = missed.to_string();
    let OutOfScope { miss, hop } = missed;
    let (reason, dimension) = match miss {
        ScopeMiss::Tool | ScopeMiss::Newer | ScopeMiss::Definition | ScopeMiss::Effect | ScopeMiss::Argument(_) => {
            (Reason::OutOfScope, None)
        }
        ScopeMiss::UnmappedArgument(_) => (Reason::UnmappedArgument, None),
        ScopeMiss::Dimension(name) => (Reason::OutOfScope, Some(name)),
        ScopeMiss::UnmappedDimension(name) => (Reason::UnmappedDimension, Some(name)),
    };
    Denied { dimension, hop: Some(hop), ..Denied::new(reason, detail) }
}
