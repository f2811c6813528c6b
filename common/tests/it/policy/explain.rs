//! What is told of a decision: the stage, the rules with their places, and what the nearest permits missed. Clauses
//! P-42 and P-43.

use remit_common::id::AgentClass;
use remit_common::policy::explain::{Near, Nearest, State};
use remit_common::policy::recall::Recalled;
use remit_common::policy::{Explanation, Reason, Relations, Stage, explain};

use super::{NOW, call, compiled, example, maya, relating};

const POLICIES: &str = r#"
@id("read-crm")
permit(principal in AgentClass::"renewal-analyst", action == Action::"crm.read", resource == Customer::"cust_acme_1042")
when { context.purpose == "review.renewal_risk" && context.max_records <= 3 };
@id("far")
permit(principal in AgentClass::"stranger", action == Action::"crm.read", resource == Customer::"nobody")
when { context.purpose == "billing" };
@id("no-deep-chains")
forbid(principal, action == Action::"crm.read", resource) when { context.chain_depth > 3 };
"#;

fn told(change: impl FnOnce(&mut remit_common::envelope::Authority)) -> Explanation {
    let mut files = example();
    files.insert("policies/renewal.cedar".into(), POLICIES.as_bytes().to_vec());
    let policy = compiled(&files);
    let mut authority = maya(&policy);
    change(&mut authority);
    let crm = call("crm.read", r#"{"customer_id":"cust_acme_1042"}"#);
    explain(&policy, &authority, &crm, &Relations::none(), NOW)
}

fn missed(near: &Near) -> Vec<(&str, bool)> {
    let not_held = near.facts.iter().filter(|fact| fact.state != State::Holds);
    not_held.map(|fact| (fact.part, matches!(fact.state, State::Unknown { .. }))).collect()
}

#[test]
fn a_default_denial_names_the_nearest_permit_and_what_it_missed() {
    let told = told(|_| {});
    assert_eq!((told.reason, told.stage), (Reason::NoMatchingPolicy, Stage::Permits), "{told:#?}");
    let nearest = told.nearest.expect("nearest");
    assert_eq!(nearest.total, 2);
    let near = &nearest.rules[0];
    assert_eq!((near.rule.id.as_str(), near.rule.line), ("read-crm", 2), "{near:#?}");
    assert_eq!(missed(near), [("condition", false)], "{near:#?}");
    let fact = &near.facts[0];
    assert!(fact.text.contains("context.max_records <= 3"), "{fact:?}");
    assert!(fact.found.iter().any(|(name, _)| name == "context.max_records"), "{fact:?}");
    let far: Vec<&str> = missed(&nearest.rules[1]).into_iter().map(|(part, _)| part).collect();
    assert_eq!(far, ["principal", "resource", "condition"]);
}

#[test]
fn a_stranger_misses_the_principal_too() {
    let told = told(|authority| authority.class = AgentClass::new("somebody").expect("class"));
    let nearest = told.nearest.expect("nearest");
    let parts: Vec<&str> = missed(&nearest.rules[0]).into_iter().map(|(part, _)| part).collect();
    assert_eq!(parts, ["principal", "condition"]);
}

#[test]
fn a_forbidden_call_cites_the_rule_and_asks_no_permit() {
    let told = told(|authority| authority.chain_depth = 4);
    assert_eq!((told.reason, told.stage, told.rules_total), (Reason::Forbidden, Stage::Forbids, 1));
    assert!(told.rules[0].forbids && told.rules[0].text.contains("context.chain_depth > 3"), "{told:#?}");
    assert!(told.rules[0].file.ends_with("renewal.cedar") && told.rules[0].line == 8, "{told:#?}");
    assert_eq!(told.nearest, None);
}

#[test]
fn from_a_record_what_is_not_on_it_is_unknown() {
    let mut files = example();
    files.insert("policies/renewal.cedar".into(), POLICIES.as_bytes().to_vec());
    let policy = compiled(&files);
    let authority = maya(&policy);
    let recalled = Recalled {
        tool: call("crm.read", "{}").tool,
        agent: authority.agent.to_string(),
        class: Some(authority.class.to_string()),
        delegator: Some(authority.delegator.to_string()),
        session: None,
        task: None,
        purpose: Some("review.renewal_risk".to_owned()),
        chain_depth: Some(1),
        resources: vec![r#"Customer::"cust_acme_1042""#.to_owned()],
        now: NOW,
        absent: None,
    };
    let nearest = policy.nearest_recalled(&recalled).expect("a tool");
    assert_eq!(missed(&nearest.rules[0]), [("condition", true)], "{nearest:#?}");
    let without = Recalled { class: None, resources: Vec::new(), ..recalled };
    let nearest = policy.nearest_recalled(&without).expect("a tool");
    let near = nearest.rules.iter().find(|near| near.rule.id.as_str() == "read-crm").expect("it is there");
    assert_eq!(missed(near), [("principal", true), ("resource", true), ("condition", true)], "{near:#?}");
}

#[test]
fn relations_that_did_not_hold_are_named_and_known_from_a_record() {
    let policy = compiled(&relating::files());
    let authority = maya(&policy);
    let read = call("contracts.read", r#"{"customer_id":"cust_acme_1042","contract_id":"contract_7781"}"#);
    let told = explain(&policy, &authority, &read, &relating::relations(&policy, &[]), NOW);
    let owner = format!("contract:contract_7781#account_owner@{}", authority.delegator);
    assert!(told.reason == Reason::NoMatchingPolicy && told.absent.contains(&owner), "{told:#?}");
    let conditions = |nearest: &Nearest| -> Vec<(String, State)> {
        let facts = nearest.rules.iter().flat_map(|near| &near.facts).filter(|fact| fact.part == "condition");
        facts.map(|fact| (fact.text.clone(), fact.state.clone())).collect()
    };
    let seen = told.nearest.as_ref().map(conditions).expect("nearest");
    assert!(seen.contains(&("context.relations.account_owner".to_owned(), State::Fails)), "{seen:#?}");

    let recalled = Recalled {
        tool: read.tool,
        agent: authority.agent.to_string(),
        class: Some(authority.class.to_string()),
        delegator: Some(authority.delegator.to_string()),
        session: None,
        task: None,
        purpose: None,
        chain_depth: Some(1),
        resources: vec![r#"Contract::"contract_7781""#.to_owned()],
        now: NOW,
        absent: Some(told.absent),
    };
    assert_eq!(conditions(&policy.nearest_recalled(&recalled).expect("a tool")), seen);
    let nothing = Recalled { absent: None, ..recalled };
    let unknown = conditions(&policy.nearest_recalled(&nothing).expect("a tool"));
    assert!(
        !unknown.is_empty() && unknown.iter().all(|(_, state)| matches!(state, State::Unknown { .. })),
        "{unknown:#?}"
    );
}
