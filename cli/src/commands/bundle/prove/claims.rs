//! What has to hold for one bundle to permit no more than another, and what of it the solver must be asked.

use std::collections::BTreeSet;

use cedar_policy::{ActionConstraint, EntityUid, Policy, PolicyId, PolicySet, RequestEnv, Schema};
use serde_json::Value;

use super::{Rule, Who};

/// The name of the policy that permits everything, where only forbids are compared; no policy of a bundle has a blank
/// in its name.
pub(super) const ANYTHING: &str = "any request";

/// That the later bundle permits no more, for one action, kind of resource and whoever is asked about.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) about: RequestEnv,
    pub(super) who: Who,
    /// What a solver has to show; `None` where the sources show it already.
    pub(super) query: Option<Query>,
    /// A forbid that is gone, or other than it was, and looks at an attribute of an entity: where `entities.json` does
    /// not know the entity, it fails, and an edge denies what Cedar permits. No solver is asked about that (B-46).
    pub(super) unclear: Option<String>,
}

/// Whatever `new` permits, `old` permits.
#[derive(Debug)]
pub(super) struct Query {
    pub(super) new: PolicySet,
    pub(super) old: PolicySet,
}

/// The claims, for each question that a decision can put to policies (clauses P-26 and B-45).
pub(super) fn claims(schema: &Schema, old: &[Rule], new: &[Rule]) -> Result<Vec<Claim>, String> {
    let groups: BTreeSet<&EntityUid> = schema.action_groups().collect();
    let mut claims = Vec::new();
    for about in schema.request_envs() {
        let old: Vec<&Rule> = speaking(old, about.action(), &groups);
        let new: Vec<&Rule> = speaking(new, about.action(), &groups);
        let asked: &[Who] = match about.principal().to_string().as_str() {
            "Agent" => &[Who::Caller, Who::AgentAbove],
            "User" => &[Who::Human],
            _ => &[],
        };
        for who in asked {
            let query = if *who == Who::Caller { of_caller(&old, &new)? } else { of_others(&old, &new)? };
            let gone = without(&old, &new, false);
            let unclear = gone.iter().find(|rule| reads_entities(rule)).map(|rule| rule.policy.id().to_string());
            let unclear = unclear.filter(|_| query.is_some());
            claims.push(Claim { about: about.clone(), who: *who, query, unclear });
        }
    }
    claims.sort_by_key(|claim| (claim.about.action().to_string(), claim.about.resource().to_string()));
    Ok(claims)
}

/// All policies of a bundle that matter for somebody.
pub(super) fn whole(rules: &[Rule], who: Who) -> Result<PolicySet, String> {
    match who {
        Who::Caller => set(rules.iter().map(|rule| rule.policy.clone())),
        Who::AgentAbove | Who::Human => {
            let forbids = rules.iter().filter(|rule| !rule.permits()).map(|rule| rule.policy.clone());
            set(forbids.chain([anything()?]))
        }
    }
}

/// The later permits that are not among the earlier ones have to be within the earlier permits. Forbids that are gone
/// bring all later permits into it, because what they held back may be permitted by any of them.
fn of_caller(old: &[&Rule], new: &[&Rule]) -> Result<Option<Query>, String> {
    let gone = without(old, new, false);
    let fresh = without(new, old, true);
    let permits = if gone.is_empty() { fresh } else { new.iter().copied().filter(|rule| rule.permits()).collect() };
    if permits.is_empty() {
        return Ok(None);
    }
    let forbids = new.iter().copied().filter(|rule| !rule.permits());
    let before = old.iter().copied().filter(|rule| rule.permits()).chain(gone);
    Ok(Some(Query {
        new: set(permits.into_iter().chain(forbids).map(|rule| rule.policy.clone()))?,
        old: set(before.map(|rule| rule.policy.clone()))?,
    }))
}

/// What the earlier forbids that are gone forbade, the later ones have to forbid.
fn of_others(old: &[&Rule], new: &[&Rule]) -> Result<Option<Query>, String> {
    let gone = without(old, new, false);
    if gone.is_empty() {
        return Ok(None);
    }
    let forbids = new.iter().filter(|rule| !rule.permits()).map(|rule| rule.policy.clone());
    Ok(Some(Query {
        new: set(forbids.chain([anything()?]))?,
        old: set(gone.into_iter().map(|rule| rule.policy.clone()).chain([anything()?]))?,
    }))
}

/// The permits, or the forbids, of one side that say what none of the other side says.
fn without<'r>(these: &[&'r Rule], others: &[&Rule], permits: bool) -> Vec<&'r Rule> {
    let others: BTreeSet<&str> = others.iter().map(|rule| rule.says.as_str()).collect();
    let these = these.iter().copied().filter(|rule| rule.permits() == permits);
    these.filter(|rule| !others.contains(rule.says.as_str())).collect()
}

/// Whether a policy looks at attributes or tags of entities: everything that is read and does not come from the context.
fn reads_entities(rule: &Rule) -> bool {
    fn of_context(value: &Value) -> bool {
        match value.get(".").and_then(|of| of.get("left")) {
            Some(left) => of_context(left),
            None => value.get("Var").is_some_and(|name| name == "context"),
        }
    }
    fn reads(value: &Value) -> bool {
        match value {
            Value::Object(members) => members.iter().any(|(name, inner)| match name.as_str() {
                "getTag" | "hasTag" => true,
                "." | "has" if inner.get("left").is_some_and(|left| !of_context(left)) => true,
                _ => reads(inner),
            }),
            Value::Array(elements) => elements.iter().any(reads),
            _ => false,
        }
    }
    serde_json::from_str::<Value>(&rule.says).is_ok_and(|says| says.get("conditions").is_some_and(reads))
}

/// The policies that may speak of an action: whatever names a group of actions counts.
fn speaking<'r>(rules: &'r [Rule], action: &EntityUid, groups: &BTreeSet<&EntityUid>) -> Vec<&'r Rule> {
    let means = |named: &EntityUid| named == action || groups.contains(named);
    let speaks = |rule: &&Rule| match rule.policy.action_constraint() {
        ActionConstraint::Any => true,
        ActionConstraint::Eq(named) => named == *action,
        ActionConstraint::In(named) => named.iter().any(means),
    };
    rules.iter().filter(speaks).collect()
}

fn anything() -> Result<Policy, String> {
    let id = Some(PolicyId::new(ANYTHING));
    Policy::parse(id, "permit (principal, action, resource);").map_err(|error| error.to_string())
}

fn set(policies: impl IntoIterator<Item = Policy>) -> Result<PolicySet, String> {
    PolicySet::from_policies(policies).map_err(|error| error.to_string())
}
