//! What has to hold for one bundle to permit no more than another, and what of it the solver must be asked.

use std::collections::BTreeSet;

use cedar_policy::{ActionConstraint, EntityUid, Policy, PolicyId, PolicySet, RequestEnv, Schema};

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
            claims.push(Claim { about: about.clone(), who: *who, query });
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
