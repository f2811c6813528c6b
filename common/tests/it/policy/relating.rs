//! What policies see of relations: facts in the context, and parents that only tuples name. Clauses Q-9 to Q-12.

use std::collections::BTreeMap;

use remit_common::envelope::Authority;
use remit_common::lattice::Effect;
use remit_common::policy::relations::{RelationChange, Relations};
use remit_common::policy::{CompiledPolicy, Decision, Denied, Reason, decide};

use super::{NOW, authority, call, compiled, example, grant, maya};

const MODEL: &str = "model
  schema 1.1
type user
type agent
type team
  relations
    define member: [user]
type customer
  relations
    define account_owner: [user, team#member]
type contract
  relations
    define customer: [customer]
    define case_participant: [user]
    define assigned: [agent]
    define account_owner: account_owner from customer
";

const RULES: &str = r#"
[[writer]]
name = "crm"
key = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"

[entities]
User = { type = "user", prefix = "user:" }
Agent = "agent"
Team = "team"
Customer = "customer"
Contract = "contract"

[ancestors]
Team = "team#member"
"#;

fn files() -> BTreeMap<String, Vec<u8>> {
    let mut files = example();
    let schema = String::from_utf8(files["schema.cedarschema"].clone()).unwrap();
    let declared = "dimensions: { customer: Set<String>, contract: Set<String> },";
    assert_eq!(schema.matches(declared).count(), 1, "the example's schema is what this test knows");
    let related = format!(
        "{declared}\n        relations: {{ account_owner: Bool, case_participant: Bool }},\n        \
         agent_relations: {{ assigned: Bool }},"
    );
    files.insert("schema.cedarschema".into(), schema.replace(declared, &related).into());
    files.insert("relations.toml".into(), RULES.into());
    files.insert("relations.fga".into(), MODEL.into());
    files.insert(
        "policies/renewal.cedar".into(),
        br#"@id("owner") permit(principal, action == Action::"contracts.read", resource)
              when { context.relations.account_owner };
            @id("case") permit(principal, action == Action::"contracts.read", resource)
              when { context.relations.case_participant && context.agent_relations.assigned };
            @id("crm") permit(principal, action == Action::"crm.read", resource);
            @id("billing.clerk") permit(principal in AgentClass::"billing-clerk", action == Action::"billing.update",
              resource);"#
            .to_vec(),
    );
    files
}

fn relations(policy: &CompiledPolicy, tuples: &[&str]) -> Relations {
    let schema = policy.relation_rules().unwrap().schema().clone();
    Relations::new(schema, 1, tuples.iter().map(|text| text.parse().unwrap()))
}

fn answer(policy: &CompiledPolicy, who: &Authority, tool: &str, arguments: &str, tuples: &Relations) -> String {
    match decide(policy, who, &call(tool, arguments), tuples, NOW) {
        Decision::Permit(permitted) => permitted.policies.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
        Decision::Deny(Denied { reason, detail, .. }) => format!("{reason}: {detail}"),
    }
}

const CONTRACT: &str = r#"{"customer_id":"cust_acme_1042","contract_id":"contract_7781"}"#;
const MAYA: &str = "user:maya@customer-success.example";

#[test]
fn policies_see_relations_of_the_human_and_of_the_agent_to_the_resource() {
    let policy = compiled(&files());
    let maya = maya(&policy);
    let ask = |tuples: &[&str]| answer(&policy, &maya, "contracts.read", CONTRACT, &relations(&policy, tuples));
    let of_customer = "contract:contract_7781#customer@customer:cust_acme_1042";
    let owner = format!("customer:cust_acme_1042#account_owner@{MAYA}");
    assert_eq!(ask(&[of_customer, &owner]), "owner");
    let by_team = ["customer:cust_acme_1042#account_owner@team:eu#member", &format!("team:eu#member@{MAYA}")];
    assert_eq!(ask(&[of_customer, by_team[0], by_team[1]]), "owner");
    let case = format!("contract:contract_7781#case_participant@{MAYA}");
    let agent = "contract:contract_7781#assigned@agent:spiffe://customer-success.example/agent/renewal-analyst";
    assert_eq!(ask(&[&case, agent]), "case");
    let refused = ask(&[&case]);
    assert!(refused.starts_with("no_matching_policy"), "{refused}");
    assert!(
        refused.contains(&format!("contract:contract_7781#account_owner@{MAYA}")),
        "it says what is missing: {refused}"
    );
    let expired = format!("{case} until {}", NOW.as_secs());
    assert!(ask(&[&expired, agent]).starts_with("no_matching_policy"));
}

#[test]
fn whoever_is_a_member_by_a_tuple_is_in_the_team_for_cedar_and_for_the_index() {
    let policy = compiled(&files());
    let bill = grant(&["billing.*"], &[Effect::Write, Effect::Spend], &[("customer", &["cust_acme_1042"])], None);
    let clerk = authority(&policy, "billing-clerk", "bill", vec![bill]);
    let before = relations(&policy, &[&format!("team:sales#member@{MAYA}")]);
    let ask = |relations: &Relations| {
        answer(&policy, &clerk, "billing.update", r#"{"customer_id":"cust_acme_1042","plan":"team"}"#, relations)
    };
    assert!(ask(&before).starts_with("forbidden"), "Maya is not in finance");
    let tuple = format!("team:finance#member@{MAYA}");
    let joins = RelationChange { revision: 2, add: vec![tuple.parse().unwrap()], ..RelationChange::default() };
    let after = before.apply(&joins);
    assert_eq!(ask(&after), "billing.clerk");
    let leaves = RelationChange { revision: 3, remove: vec![tuple.parse().unwrap()], ..RelationChange::default() };
    assert!(ask(&after.apply(&leaves)).starts_with("forbidden"), "what goes counts at once");

    // A policy whose scope names the team stands in a bucket of the index that only the tuple opens.
    let mut files = files();
    let scoped = r#"@id("finance-only") forbid(principal in Team::"finance", action == Action::"crm.read", resource);"#;
    files.insert("policies/scoped.cedar".into(), scoped.into());
    let policy = compiled(&files);
    let crm = |tuples: &[&str]| {
        let held = relations(&policy, tuples);
        answer(&policy, &maya(&policy), "crm.read", r#"{"customer_id":"cust_acme_1042"}"#, &held)
    };
    assert_eq!(crm(&[]), "crm");
    assert!(crm(&[&tuple]).starts_with("forbidden"));
}

#[test]
fn what_needs_relations_is_stale_without_them_and_nothing_else_is() {
    let policy = compiled(&files());
    let needs = |tool: &str| policy.needs_relations(&tool.parse().unwrap());
    assert!(needs("contracts.read") && needs("billing.update") && !needs("crm.read"));
    let maya = maya(&policy);
    let none = Relations::none();
    assert!(answer(&policy, &maya, "contracts.read", CONTRACT, &none).starts_with("stale"));
    assert_eq!(answer(&policy, &maya, "crm.read", r#"{"customer_id":"cust_acme_1042"}"#, &none), "crm");
    let elsewhere = r#"{"customer_id":"cust_globex_2001","contract_id":"contract_9001"}"#;
    assert!(answer(&policy, &maya, "contracts.read", elsewhere, &none).starts_with("out_of_scope"));
    let mut other = files();
    other.insert(
        "relations.fga".into(),
        MODEL.replace("define assigned: [agent]", "define assigned: [agent, user]").into(),
    );
    let read_with_another = relations(&compiled(&other), &[]);
    assert!(answer(&policy, &maya, "contracts.read", CONTRACT, &read_with_another).starts_with("stale"));
    assert!(!compiled(&example()).needs_relations(&"contracts.read".parse().unwrap()));
    assert_eq!(policy.relation_rules().unwrap().writers()[0].name, "crm");
}

#[test]
fn a_relation_that_has_no_answer_denies() {
    let policy = compiled(&files());
    let member = |n: usize| format!("team:{n}#member@user:x");
    assert!(policy.relation_rules().unwrap().schema().check(&member(1).parse().unwrap()).is_ok());
    let any = grant(&["contracts.read"], &[Effect::Read], &[("customer", &["c#1"]), ("contract", &["a#b"])], Some(5));
    let who = authority(&policy, "renewal-analyst", "review.renewal_risk", vec![any]);
    let odd = r#"{"customer_id":"c#1","contract_id":"a#b"}"#;
    let found = answer(&policy, &who, "contracts.read", odd, &relations(&policy, &[]));
    assert!(found.starts_with(Reason::EvaluationFailed.as_str()), "{found}");
    assert!(found.contains(r#"no tuple can be about `Contract::"a#b"`"#), "{found}");
}

#[test]
fn what_does_not_fit_together_is_said_with_its_place() {
    let faults = |file: &str, from: &str, to: &str| {
        let mut files = files();
        let text = String::from_utf8(files[file].clone()).unwrap();
        assert!(text.contains(from), "{file} has no {from}");
        files.insert(file.into(), text.replace(from, to).into());
        let faults = CompiledPolicy::compile(&files).unwrap_err();
        faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    };
    let misspelt =
        faults("schema.cedarschema", "case_participant: Bool", "case_participant: Bool, case_partisipant: Bool");
    assert!(misspelt.contains("no relation of `contract` (help: did you mean `case_participant`?)"), "{misspelt}");
    let of_agent = faults("schema.cedarschema", "assigned: Bool", "assigned: Bool, assignd: Bool");
    assert!(
        of_agent.contains("`agent_relations.assignd` of `contracts.read` is no relation of `contract`"),
        "{of_agent}"
    );
    let kind = faults("relations.toml", "Contract = \"contract\"", "Contract = \"contrat\"");
    assert!(
        kind.starts_with("relations.toml:11:12: the relation model has no type `contrat`; did you mean `contract`?"),
        "{kind}"
    );
    let entity = faults("relations.toml", "Contract =", "Kontract =");
    assert!(entity.contains("the schema has no entity type `Kontract` (help: did you mean `Contract`?)"), "{entity}");
    let ancestor = faults("relations.toml", "\"team#member\"", "\"team#membre\"");
    assert!(ancestor.starts_with("relations.toml:14:8: type `team` has no relation `membre`"), "{ancestor}");
    let nothing_in = faults("relations.toml", "Team = \"team#member\"", "Contract = \"contract#account_owner\"");
    assert!(nothing_in.contains("nothing can be in a `Contract`"), "{nothing_in}");
    let model = faults("relations.fga", "from customer", "from custmer");
    assert!(model.starts_with("relations.fga:16:46: type `contract` has no relation `custmer`"), "{model}");
    let mut alone = files();
    alone.remove("relations.toml");
    let faults = CompiledPolicy::compile(&alone).unwrap_err();
    assert!(faults.iter().any(|fault| fault.to_string().starts_with("relations.toml:1:1: this file is missing")));
}
