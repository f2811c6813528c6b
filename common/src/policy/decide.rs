//! The decision. Pure, and closed: whatever does not lead to a permit is a denial with a reason.

use std::sync::Arc;

use super::call::{self, Resources, ToolCall};
use super::catalogue::{RECORDS, Tool};
use super::compile::CompiledPolicy;
use super::decision::{Decision, Denied, Obligations, Permitted, RESOURCES_NAMED_MAX, Reason};
use super::engines::cedar::{Context, Query, Subject};
use super::engines::combine::{Against, Combination, Hearing};
use super::engines::{Ask, Matched};
use super::model::{Circumstances, Plan};
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
    let reached =
        |tool: &Tool| {
            authority.scope.grants().filter_map(|(_, grant)| grant).any(|grant| {
                grant.reaches(&tool.name, tool.effects, is_newer(tool, authority), tool.definition.as_ref())
            })
        };
    let tools = policy.catalogue().tools.values();
    tools.filter(|tool| tool.serves(&authority.purpose) && reached(tool)).cloned().collect()
}

fn permit(
    policy: &CompiledPolicy,
    authority: &Authority,
    call: &ToolCall,
    _relations: &Relations,
    now: Timestamp,
) -> Result<Permitted, Denied> {
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
    let about = Circumstances { authority, purpose, now, arguments: &call.arguments, facts: &facts, taxonomy };
    let asked = Asked::new(policy, plan, authority, &resources);
    let mut closest: Option<Denied> = None;
    for (index, grant) in authority.scope.grants() {
        let Some(grant) = grant.filter(|_| authority.scope.admits(index, &facts).is_ok()) else { continue };
        let context = plan.context(&about, grant).map_err(|misfit| {
            let detail = format!("policies cannot be asked: {misfit}");
            Denied::new(Reason::EvaluationFailed, detail)
        })?;
        match asked.under(&context) {
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
}

impl<'a> Asked<'a> {
    fn new(policy: &'a CompiledPolicy, plan: &'a Plan, authority: &Authority, resources: &Resources) -> Self {
        let (engine, kinds) = (policy.engine(), policy.kinds());
        Self {
            policy,
            plan,
            leaf: kinds.leaf(engine, authority),
            others: kinds.others(engine, authority, plan.asks_user),
            resources: resources.ids.iter().map(|id| engine.subject(&plan.resource, id.as_str())).collect(),
        }
    }

    /// The permits, if there is one for every resource, and nothing forbids for anybody.
    fn under(&self, context: &Context) -> Result<Matched, Denied> {
        let ask = |principal: &Subject, resource: &Subject, ask: Ask| {
            let query = Query { principal, action: &self.plan.action, resource, context };
            self.policy.engine().answer(&query, ask)
        };
        let mut hearing = Hearing::default();
        for resource in &self.resources {
            for other in &self.others {
                hearing.take_forbids(ask(other, resource, Ask::Forbids));
            }
        }
        for resource in &self.resources {
            let enough = if hearing.denies() { Ask::Forbids } else { Ask::Decision };
            hearing.take(ask(&self.leaf, resource, enough));
        }
        // The only one that a manifest may name (B-8).
        hearing.verdict(Combination::AnyPermit).map_err(|against| self.denied(against))
    }

    fn denied(&self, against: Against) -> Denied {
        let (reason, detail, policies) = match against {
            Against::Forbidden(policies) => (Reason::Forbidden, "a policy forbids it".to_owned(), policies),
            Against::Failed { policies, why } => {
                (Reason::EvaluationFailed, format!("a policy that could forbid it failed: {why}"), policies)
            }
            Against::Unpermitted { question, failed, why } => {
                let on = question.and_then(|nth| self.resources.get(nth)).map(Subject::name).unwrap_or_default();
                let why = why.map(|why| format!("; a permit failed: {why}")).unwrap_or_default();
                let detail = format!("no policy permits {} to do this to {on}{why}", self.leaf.name());
                (Reason::NoMatchingPolicy, detail, failed)
            }
        };
        let Matched { first: policies, total: policies_total } = policies;
        let resources = self.resources.iter().take(RESOURCES_NAMED_MAX).map(Subject::name).collect();
        Denied { policies, policies_total, resources, ..Denied::new(reason, detail) }
    }
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
