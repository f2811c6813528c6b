//! What policies see of relations: facts in the context, and parents that only tuples name. Clauses Q-9 to Q-12.

use std::collections::BTreeMap;

use remit_common::envelope::Authority;
use remit_common::lattice::Effect;
use remit_common::policy::relations::{RelationChange, Relations};
use remit_common::policy::{CompiledPolicy, Decision, Denied, Reason, decide};

use super::{NOW, authority, call, compiled, example, grant, maya};

pub(super) const MODEL: &str = "model
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
    define assigned_manager: [user]
    define recused: [user]
";

pub(super) const RULES: &str = r#"
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

pub(super) fn files() -> BTreeMap<String, Vec<u8>> {
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

pub(super) fn relations(policy: &CompiledPolicy, tuples: &[&str]) -> Relations {
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

#[test]
fn what_no_relation_could_be_seen_by_is_refused_with_its_place() {
    let faults = |edits: &[(&str, &str, &str)]| {
        let mut files = files();
        for (file, from, to) in edits {
            let text = String::from_utf8(files[*file].clone()).unwrap();
            assert!(text.contains(from), "{file} has no {from}");
            files.insert((*file).into(), text.replace(from, to).into());
        }
        match CompiledPolicy::compile(&files) {
            Ok(_) => "no fault".to_owned(),
            Err(faults) => faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
        }
    };
    let nested = ("relations.fga", "define member: [user]", "define member: [user, unit]");
    let unit = ("relations.fga", "type team\n", "type unit\ntype team\n");
    let mapped = ("relations.toml", "Team = \"team\"", "Team = \"team\"\nUnit = \"unit\"");
    let between =
        ("schema.cedarschema", "entity User in [Team];", "entity Unit in [Team];\nentity User in [Unit, Team];");
    let found = faults(&[nested, unit, mapped, between]);
    assert!(
        found.starts_with("relations.toml:15:8: a `Unit` can be in a `Team` by relation, and a `User` in a `Unit`"),
        "{found}"
    );
    let recursive = ("schema.cedarschema", "entity Team;", "entity Team in [Team];");
    assert!(faults(&[recursive]).contains("a `Team` can be in a `Team` by relation, and a `Team` in a `Team`"));

    let manager = ("schema.cedarschema", "entity Customer {", "entity Customer { manager?: User,");
    let forbid = |what: &str| {
        let scope = "@id(\"odd\") forbid(principal, action == Action::\"crm.read\", resource)\n";
        format!("{scope} when {{ {what} }};\n@id(\"crm\")")
    };
    let by_attribute = forbid("resource has manager && resource.manager in Team::\"finance\"");
    let found = faults(&[manager, ("policies/renewal.cedar", "@id(\"crm\")", &by_attribute)]);
    assert!(
        found.starts_with(
            "policies/renewal.cedar:6:33: this asks who is in a `Team`, and would not see who is by relation"
        ),
        "{found}"
    );
    let by_name = forbid("User::\"user:maya@customer-success.example\" in Team::\"finance\"");
    assert!(
        faults(&[("policies/renewal.cedar", "@id(\"crm\")", &by_name)]).contains("would not see who is by relation")
    );
    let either = forbid("(if principal is User then principal else principal) in Team::\"finance\"");
    let plain = forbid("principal is User && principal in [Team::\"finance\", Team::\"sales\"]");
    for fine in [either, plain] {
        assert_eq!(faults(&[("policies/renewal.cedar", "@id(\"crm\")", &fine)]), "no fault", "{fine}");
    }
}

#[test]
fn the_relations_of_one_call_cost_so_much_together_and_no_more() {
    let policy = compiled(&files());
    let ids: Vec<String> = (0..65).map(|n| format!("contract_{n}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let about = |ids: &[&str]| {
        let any = grant(&["contracts.read"], &[Effect::Read], &[("customer", &["c"]), ("contract", ids)], Some(5));
        let who = authority(&policy, "renewal-analyst", "review.renewal_risk", vec![any]);
        let arguments = format!(r#"{{"customer_id":"c","contract_id":["{}"]}}"#, ids.join("\",\""));
        (who, arguments)
    };
    let owner = "customer:c#account_owner@user:maya@customer-success.example".to_owned();
    let of = ids.iter().map(|id| format!("contract:{id}#customer@customer:c"));
    let mut tuples: Vec<String> = of.chain([owner]).collect();
    let ask = |tuples: &[String], ids: &[&str]| {
        let (who, arguments) = about(ids);
        let tuples: Vec<&str> = tuples.iter().map(String::as_str).collect();
        answer(&policy, &who, "contracts.read", &arguments, &relations(&policy, &tuples))
    };
    assert_eq!(ask(&tuples, &ids[..64]), "owner");
    let too_many = ask(&tuples, &ids);
    assert!(too_many.starts_with("evaluation_failed: relations to 65 resources are needed"), "{too_many}");
    // Each question alone would stay within the bound.
    let dead = |id: &&str| (0..400).map(move |n| format!("contract:{id}#customer@customer:{n}")).collect::<Vec<_>>();
    tuples.extend(ids.iter().flat_map(dead));
    tuples.retain(|tuple| !tuple.contains("@user:maya"));
    assert!(ask(&tuples, &ids[..40]).starts_with("no_matching_policy"));
    let spent = ask(&tuples, &ids[..64]);
    assert!(spent.starts_with("evaluation_failed: ") && spent.contains("looks at more than 20000"), "{spent}");
}

#[test]
fn what_does_not_hold_is_named_as_a_list_that_begins_with_what_the_context_shows() {
    let policy = compiled(&files());
    let held = relations(&policy, &[]);
    let Decision::Deny(denied) = decide(&policy, &maya(&policy), &call("contracts.read", CONTRACT), &held, NOW) else {
        panic!("nothing permits it");
    };
    let missing = ["account_owner", "case_participant"].map(|name| format!("contract:contract_7781#{name}@{MAYA}"));
    assert_eq!(denied.absent[..2], missing);
    assert_eq!(denied.reason, Reason::NoMatchingPolicy);
}
