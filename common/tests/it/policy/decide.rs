//! What is permitted, and with which reason what is not. Clauses P-26 to P-29.

use std::collections::BTreeSet;

use remit_common::envelope::{AgentIdentity, Authority};
use remit_common::id::{AgentClass, AgentId, Delegator, PolicyId};
use remit_common::lattice::{ClassSet, Effect, Grant};
use remit_common::policy::{Decision, Denied, Permitted, Reason, Relations, ToolCall, decide, visible_tools};
use remit_common::time::Timestamp;

use super::{NOW, authority, call, compiled, example, grant, maya, names};

fn permitted(decision: Decision) -> Permitted {
    match decision {
        Decision::Permit(permitted) => permitted,
        Decision::Deny(denied) => panic!("{denied:#?}"),
    }
}

fn denied(decision: Decision) -> Denied {
    match decision {
        Decision::Permit(permitted) => panic!("{permitted:#?}"),
        Decision::Deny(denied) => denied,
    }
}

/// One line per answer: reason, dimension, hop, policies.
fn line(decision: &Decision) -> String {
    let policies = |policies: &[PolicyId]| policies.iter().map(|id| format!(" {id}")).collect::<String>();
    match decision {
        Decision::Permit(permit) => {
            let Permitted { grant, policies: ids, resources, .. } = permit;
            format!("permit grant {grant}{} on {}", policies(ids), resources.join(" "))
        }
        Decision::Deny(Denied { reason, dimension, hop, policies: ids, .. }) => {
            let dimension = dimension.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
            let hop = hop.map(|hop| format!(" hop {hop}")).unwrap_or_default();
            format!("{reason}{dimension}{hop}{}", policies(ids))
        }
    }
}

/// Agent × tool × arguments. A changed line is a changed policy.
#[test]
fn the_story_as_a_table() {
    let policy = compiled(&example());
    let maya = maya(&policy);
    let mut child = maya.clone();
    child.chain_agents.push(AgentIdentity {
        id: AgentId::new("spiffe://customer-success.example/agent/clause-classifier").expect("id"),
        class: AgentClass::new("clause-classifier").expect("class"),
        attestation: None,
    });
    child.chain_depth = 2;
    let only_contracts = Grant { maxima: [].into(), ..grant(&["contracts.read"], &[Effect::Read], &[], None) };
    child.scope = maya.scope.narrow(vec![only_contracts]).expect("scope");
    let clerk = authority(
        &policy,
        "billing-clerk",
        "bill",
        vec![grant(&["billing.*"], &[Effect::Write, Effect::Spend], &[("customer", &["cust_acme_1042"])], None)],
    );
    let contract = r#"{"customer_id":"cust_acme_1042","contract_id":"contract_7781"}"#;
    let customer = r#"{"customer_id":"cust_acme_1042"}"#;
    let ticket = r#"{"customer_id":"cust_acme_1042","title":"Call them","body":"…"}"#;
    let rows = [
        ("maya", &maya, "contracts.read", contract),
        (
            "maya",
            &maya,
            "contracts.read",
            r#"{"customer_id":"cust_acme_1042","contract_id":"contract_7781","include_terms":true}"#,
        ),
        ("maya", &maya, "contracts.read", r#"{"customer_id":"cust_acme_1042","contract_id":"contract_9001"}"#),
        ("maya", &maya, "contracts.read", r#"{"customer_id":"cust_globex_2001","contract_id":"contract_7781"}"#),
        (
            "maya",
            &maya,
            "contracts.read",
            r#"{"customer_id":"cust_acme_1042","contract_id":["contract_7781","contract_9001"]}"#,
        ),
        (
            "maya",
            &maya,
            "contracts.read",
            r#"{"customer_id":"cust_acme_1042","contract_id":"contract_7781","as_of":"2020"}"#,
        ),
        ("maya", &maya, "contracts.read", r#"{"customer_id":"cust_acme_1042","contract_id":{"$ne":""}}"#),
        ("maya", &maya, "contracts.read", r#"{"customer_id":"cust_acme_1042","contract_id":[]}"#),
        ("maya", &maya, "contracts.read", r#"{"customer_id":null,"contract_id":"contract_7781"}"#),
        ("maya", &maya, "contracts.read", r#"{"contract_id":"contract_7781"}"#),
        ("maya", &maya, "contracts.read", customer),
        ("maya", &maya, "crm.read", customer),
        ("maya", &maya, "tickets.create", ticket),
        (
            "maya",
            &maya,
            "tickets.create",
            r#"{"customer_id":"cust_acme_1042","title":"Call","body":"…","priority":"urgent"}"#,
        ),
        (
            "maya",
            &maya,
            "tickets.create",
            r#"{"customer_id":"cust_acme_1042","title":"Call","body":"…","priority":"low"}"#,
        ),
        ("maya", &maya, "tickets.create", r#"{"customer_id":"cust_acme_1042","title":7,"body":"…"}"#),
        ("maya", &maya, "billing.update", r#"{"customer_id":"cust_acme_1042","plan":"free"}"#),
        ("maya", &maya, "contracts.export", "{}"),
        ("maya", &maya, "payments.send", "{}"),
        ("child", &child, "contracts.read", contract),
        ("child", &child, "crm.read", customer),
        ("child", &child, "tickets.create", ticket),
        ("clerk", &clerk, "billing.update", r#"{"customer_id":"cust_acme_1042","plan":"team"}"#),
        ("clerk", &clerk, "billing.erase", "{}"),
    ];
    let table: Vec<String> = rows
        .into_iter()
        .map(|(who, authority, tool, arguments)| {
            format!(
                "{who} {tool} {arguments}: {}",
                line(&decide(&policy, authority, &call(tool, arguments), &Relations::none(), NOW))
            )
        })
        .collect();
    let golden = include_str!("story.table");
    assert_eq!(table.join("\n"), golden.trim_end(), "\n{}\n", table.join("\n"));
}

#[test]
fn a_tool_outside_the_patterns_is_refused_alike_whether_it_exists_or_not() {
    let policy = compiled(&example());
    let maya = maya(&policy);
    let [exists, does_not] = ["billing.update", "billing.nonsense"].map(|tool| {
        let refused = denied(decide(&policy, &maya, &call(tool, r#"{"customer_id":"x"}"#), &Relations::none(), NOW));
        Denied { detail: String::new(), ..refused }
    });
    assert_eq!(exists, does_not);
}

#[test]
fn only_what_some_grant_reaches_is_listed() {
    let policy = compiled(&example());
    let listed = |authority: &Authority| names(visible_tools(&policy, authority).iter().map(|tool| tool.name.clone()));
    assert_eq!(listed(&maya(&policy)), names(["contracts.read", "crm.read", "tickets.create"]));
    let wide = |purpose| authority(&policy, "x", purpose, vec![grant(&["**"], &[Effect::Read], &[], None)]);
    assert_eq!(listed(&wide("review")), names(["contracts.read", "crm.read"]), "without effects beyond reading");
    assert_eq!(listed(&wide("bill")), BTreeSet::new(), "for the purpose");
}

#[test]
fn the_lowest_grant_that_admits_and_is_permitted_sets_the_limits() {
    let policy = compiled(&example());
    let ids: &[(&str, &[&str])] = &[("customer", &["cust_acme_1042"]), ("contract", &["contract_7781"])];
    let read = |records, classes: &[u8]| Grant {
        classes: Some(ClassSet::from_iter(classes.iter().copied())),
        ..grant(&["contracts.read"], &[Effect::Read], ids, Some(records))
    };
    // Grant 0 does not admit, 1 admits and is not permitted (more than 100 records), 2 is, and 3 would be, too.
    let other = grant(&["contracts.read"], &[Effect::Read], &[("customer", &["cust_acme_1042"])], Some(9));
    let grants = vec![other, read(500, &[1]), read(40, &[1, 2]), read(100, &[1, 2, 3])];
    let authority = authority(&policy, "renewal-analyst", "review", grants);
    let contract = call("contracts.read", r#"{"customer_id":"cust_acme_1042","contract_id":"contract_7781"}"#);
    let reviewed = permitted_with(&policy, authority.clone(), "review.renewal_risk", &contract);
    assert_eq!((reviewed.grant, reviewed.obligations.max_records), (2, Some(40)));
    assert_eq!(reviewed.obligations.classes, ClassSet::from_iter([1, 2]));
    assert_eq!(reviewed.policies, [PolicyId::new("renewal.read").expect("id")]);
}

fn permitted_with(
    policy: &remit_common::policy::CompiledPolicy,
    mut authority: Authority,
    purpose: &str,
    call: &ToolCall,
) -> Permitted {
    authority.purpose = policy.taxonomy().purpose(purpose).expect("purpose");
    permitted(decide(policy, &authority, call, &Relations::none(), NOW))
}

#[test]
fn a_forbid_for_any_agent_of_the_chain_or_for_the_human_holds() {
    let mut files = example();
    files.insert(
        "policies/extra.cedar".into(),
        br#"@id("no-classifiers") forbid(principal in AgentClass::"clause-classifier", action, resource);
            @id("no-finance") forbid(principal in Team::"finance", action == Action::"crm.read", resource);
            @id("not-frida") forbid(principal == User::"user:frida@finance.example", action, resource);"#
            .to_vec(),
    );
    let policy = compiled(&files);
    let crm = call("crm.read", r#"{"customer_id":"cust_acme_1042"}"#);
    let maya = maya(&policy);
    permitted(decide(&policy, &maya, &crm, &Relations::none(), NOW));

    let mut chained = maya.clone();
    chained.chain_agents.push(AgentIdentity {
        id: AgentId::new("spiffe://x/agent/1").expect("id"),
        class: AgentClass::new("clause-classifier").expect("class"),
        attestation: None,
    });
    let refused = denied(decide(&policy, &chained, &crm, &Relations::none(), NOW));
    assert_eq!((refused.reason, names(refused.policies)), (Reason::Forbidden, names(["no-classifiers"])));

    let mut frida = maya;
    frida.delegator = Delegator::new("user:frida@finance.example").expect("delegator");
    let refused = denied(decide(&policy, &frida, &crm, &Relations::none(), NOW));
    assert_eq!(refused.reason, Reason::Forbidden);
    assert_eq!((names(refused.policies), refused.policies_total), (names(["no-finance", "not-frida"]), 2));
}

#[test]
fn a_permit_is_asked_for_the_leaf_alone() {
    let policy = compiled(&example());
    let crm = call("crm.read", r#"{"customer_id":"cust_acme_1042"}"#);
    let mut stranger = maya(&policy);
    // The root's agent may, the agent that acts may not.
    stranger.class = AgentClass::new("stranger").expect("class");
    let refused = denied(decide(&policy, &stranger, &crm, &Relations::none(), NOW));
    assert_eq!(refused.reason, Reason::NoMatchingPolicy);
}

#[test]
fn every_resource_of_a_call_has_to_be_permitted_and_none_forbidden() {
    let mut files = example();
    files.insert(
        "policies/renewal.cedar".into(),
        br#"@id("one") permit(principal, action == Action::"crm.read", resource == Customer::"a");
            @id("two") permit(principal, action == Action::"crm.read", resource == Customer::"b");
            @id("bad") forbid(principal, action == Action::"crm.read", resource == Customer::"c");
            @id("all") permit(principal, action == Action::"crm.read", resource == Customer::"c");
            @id("else") permit(principal, action == Action::"crm.read", resource == Customer::"e");"#
            .to_vec(),
    );
    let policy = compiled(&files);
    let any = grant(&["crm.read"], &[Effect::Read], &[("customer", &["a", "b", "c", "d", "e"])], Some(5));
    let reader = authority(&policy, "x", "review", vec![any]);
    let ask = |ids: &str| {
        line(&decide(
            &policy,
            &reader,
            &call("crm.read", &format!(r#"{{"customer_id":{ids}}}"#)),
            &Relations::none(),
            NOW,
        ))
    };
    assert_eq!(ask(r#"["a"]"#), r#"permit grant 0 one on Customer::"a""#);
    assert_eq!(ask(r#"["b","a",["b"]]"#), r#"permit grant 0 one two on Customer::"a" Customer::"b""#);
    assert_eq!(ask(r#"["a","d"]"#), "no_matching_policy");
    assert_eq!(ask(r#"["d","a"]"#), "no_matching_policy");
    assert_eq!(ask(r#"["a","c"]"#), "forbidden bad");
}

#[test]
fn an_error_denies_in_a_forbid_and_is_as_nothing_in_a_permit() {
    let mut files = example();
    files.insert(
        "policies/renewal.cedar".into(),
        br#"@id("fine") permit(principal, action == Action::"crm.read", resource);
            @id("broken") permit(principal, action == Action::"crm.read", resource) when { resource.segment == "x" };
            @id("broken-forbid") forbid(principal, action == Action::"contracts.read", resource)
              when { context.max_records * 9223372036854775807 > 0 };
            @id("anything") permit(principal, action == Action::"contracts.read", resource);"#
            .to_vec(),
    );
    let policy = compiled(&files);
    let crm = grant(&["crm.read"], &[Effect::Read], &[("customer", &["nobody"])], Some(5));
    let reader = authority(&policy, "x", "review", vec![crm]);
    let read =
        permitted(decide(&policy, &reader, &call("crm.read", r#"{"customer_id":"nobody"}"#), &Relations::none(), NOW));
    assert_eq!(names(read.policies), names(["fine"]), "`nobody` has no segment");

    let ids: &[(&str, &[&str])] = &[("customer", &["a"]), ("contract", &["b"])];
    let contracts = grant(&["contracts.read"], &[Effect::Read], ids, Some(5));
    let reader = authority(&policy, "x", "review", vec![contracts]);
    let contract = call("contracts.read", r#"{"customer_id":"a","contract_id":"b"}"#);
    let refused = denied(decide(&policy, &reader, &contract, &Relations::none(), NOW));
    assert_eq!((refused.reason, names(refused.policies)), (Reason::EvaluationFailed, names(["broken-forbid"])));
    assert!(refused.detail.contains("overflow"), "{}", refused.detail);
}

#[test]
fn an_envelope_of_a_later_taxonomy_is_refused() {
    let policy = compiled(&example());
    let mut later = maya(&policy);
    later.taxonomy_version = 2;
    let crm = call("crm.read", r#"{"customer_id":"cust_acme_1042"}"#);
    assert_eq!(denied(decide(&policy, &later, &crm, &Relations::none(), NOW)).reason, Reason::Stale);
}

#[test]
fn time_is_an_argument() {
    let mut files = example();
    let until = r#"@id("closing-time") forbid(principal, action, resource) when { context.now >= 1800000001 };"#;
    files.insert("policies/hours.cedar".into(), until.into());
    let policy = compiled(&files);
    let crm = call("crm.read", r#"{"customer_id":"cust_acme_1042"}"#);
    let maya = maya(&policy);
    permitted(decide(&policy, &maya, &crm, &Relations::none(), NOW));
    let later = Timestamp::from_secs(1_800_000_001);
    assert_eq!(denied(decide(&policy, &maya, &crm, &Relations::none(), later)).reason, Reason::Forbidden);
}
