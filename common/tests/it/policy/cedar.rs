//! The engine against stock Cedar, policy by policy, on policies and requests nobody wrote.

use std::collections::BTreeSet;

use cedar_policy::{
    Authorizer, Context as StockContext, Entities, EntityUid, PolicySet, Request, RestrictedExpression,
};
use proptest::prelude::*;
use remit_common::id::PolicyId;
use remit_common::policy::engines::cedar::{Answer, Ask, Attribute, CedarEngine, Context, Kind, Query};

const ENTITIES: &str = r#"[
    {"uid":{"type":"Agent","id":"a"},"attrs":{"level":3},"parents":[{"type":"Team","id":"t"}]},
    {"uid":{"type":"Agent","id":"b"},"attrs":{},"parents":[{"type":"Org","id":"o"}]},
    {"uid":{"type":"Team","id":"t"},"attrs":{},"parents":[{"type":"Org","id":"o"}]},
    {"uid":{"type":"Doc","id":"x"},"attrs":{"owner":{"__entity":{"type":"Agent","id":"a"}}},"parents":[{"type":"Folder","id":"f"}]},
    {"uid":{"type":"Doc","id":"y"},"attrs":{"owner":{"__entity":{"type":"Agent","id":"b"}}},"parents":[]},
    {"uid":{"type":"Action","id":"read"},"attrs":{},"parents":[{"type":"Action","id":"all"}]},
    {"uid":{"type":"Action","id":"write"},"attrs":{},"parents":[{"type":"Action","id":"all"}]}
]"#;

#[derive(Debug, Clone)]
struct Rule {
    forbid: bool,
    principal: &'static str,
    action: &'static str,
    resource: &'static str,
    condition: &'static str,
}

fn rule() -> impl Strategy<Value = Rule> {
    let principals = [
        "principal",
        "principal == Agent::\"a\"",
        "principal in Team::\"t\"",
        "principal in Org::\"o\"",
        "principal is Agent",
        "principal is Agent in Org::\"o\"",
        "principal is User",
    ];
    let actions = [
        "action",
        "action == Action::\"read\"",
        "action in Action::\"all\"",
        "action in [Action::\"write\", Action::\"none\"]",
    ];
    let resources =
        ["resource", "resource == Doc::\"x\"", "resource in Folder::\"f\"", "resource is Doc", "resource is File"];
    let conditions = [
        "",
        "when { context.n > 2 }",
        "unless { context.n > 2 }",
        "when { principal.level > 1 }",
        "when { resource.owner == principal }",
        "when { resource.owner.level == 3 }",
        "when { resource.owner in Org::\"o\" }",
        "when { Agent::\"a\".level == context.n }",
        "when { context.missing }",
        "when { context.n * 9223372036854775807 > 0 }",
        "when { false }",
    ];
    let pick = |of: &[&'static str]| prop::sample::select(of.to_vec());
    (any::<bool>(), pick(&principals), pick(&actions), pick(&resources), pick(&conditions)).prop_map(
        |(forbid, principal, action, resource, condition)| Rule { forbid, principal, action, resource, condition },
    )
}

impl Rule {
    fn text(&self, id: usize) -> String {
        let Self { forbid, principal, action, resource, condition } = self;
        let effect = if *forbid { "forbid" } else { "permit" };
        format!("@id(\"p{id}\") {effect}({principal}, {action}, {resource}) {condition};\n")
    }
}

type Asked = (&'static str, &'static str, &'static str, i64);

fn question() -> impl Strategy<Value = Asked> {
    let pick = |names: &'static [&'static str]| prop::sample::select(names);
    (pick(&["a", "b", "c"]), pick(&["read", "write", "none"]), pick(&["x", "y", "z"]), 0i64..5)
}

fn ours(policies: &str, (principal, action, resource, n): Asked, ask: Ask) -> Answer {
    let engine = CedarEngine::compile(&[("a.cedar", policies)], None, Some(("entities.json", ENTITIES)))
        .unwrap_or_else(|faults| panic!("{faults:#?}"));
    let subject = |kind: &str, id: &str| engine.subject(&Kind::new(kind).expect("kind"), id);
    let (principal, action, resource) =
        (subject("Agent", principal), subject("Action", action), subject("Doc", resource));
    let context = Context::new([("n", Attribute::long(n))]);
    engine.answer(&Query { principal: &principal, action: &action, resource: &resource, context: &context }, ask)
}

/// What stock Cedar says about one policy alone: it matches, or it fails.
fn stock(policy: &str, (principal, action, resource, n): Asked) -> (bool, bool) {
    let policies: PolicySet = policy.parse().expect("a policy");
    let entities = Entities::from_json_str(ENTITIES, None).expect("entities");
    let uid = |kind: &str, id: &str| -> EntityUid { format!("{kind}::\"{id}\"").parse().expect("a name") };
    let context = StockContext::from_pairs([("n".to_owned(), RestrictedExpression::new_long(n))]).expect("context");
    let request = Request::new(uid("Agent", principal), uid("Action", action), uid("Doc", resource), context, None)
        .expect("request");
    let response = Authorizer::new().is_authorized(&request, &policies, &entities);
    (response.diagnostics().reason().count() > 0, response.diagnostics().errors().count() > 0)
}

fn set(first: &[PolicyId]) -> BTreeSet<String> {
    first.iter().map(ToString::to_string).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_policy_is_judged_as_stock_cedar_judges_it(
        rules in prop::collection::vec(rule(), 1..8), asked in question(),
    ) {
        let texts: Vec<String> = rules.iter().enumerate().map(|(id, rule)| rule.text(id)).collect();
        let answer = ours(&texts.concat(), asked, Ask::Everything);
        let mut expected: [BTreeSet<String>; 4] = Default::default();
        for (id, (rule, text)) in rules.iter().zip(&texts).enumerate() {
            let (matches, fails) = stock(text, asked);
            let list = match (rule.forbid, matches, fails) {
                (true, true, _) => 0,
                (false, true, _) => 1,
                (true, _, true) => 2,
                (false, _, true) => 3,
                (_, false, false) => continue,
            };
            expected[list].insert(format!("p{id}"));
        }
        let [forbids, permits, failed_forbids, failed_permits] = expected;
        prop_assert_eq!(set(&answer.forbids.first), forbids);
        prop_assert_eq!(set(&answer.permits.first), permits);
        prop_assert_eq!(set(&answer.failed_forbids.first), failed_forbids);
        prop_assert_eq!(set(&answer.failed_permits.first), failed_permits);
    }

    #[test]
    fn forbid_beats_permit_in_any_order(
        rules in prop::collection::vec(rule(), 1..7), asked in question(), seed in any::<prop::sample::Index>(),
    ) {
        let mut texts: Vec<String> = rules.iter().enumerate().map(|(id, rule)| rule.text(id)).collect();
        texts.push("@id(\"forbid\") forbid(principal, action, resource);\n".to_owned());
        texts.push("@id(\"permit\") permit(principal, action, resource);\n".to_owned());
        let turn = seed.index(texts.len());
        let mut shuffled = texts.clone();
        shuffled.rotate_left(turn);
        shuffled.reverse();
        let [answer, other] = [texts, shuffled].map(|texts| ours(&texts.concat(), asked, Ask::Decision));
        for answer in [&answer, &other] {
            prop_assert!(answer.forbids.first.iter().any(|id| id.as_str() == "forbid"));
            prop_assert!(answer.permits.is_empty(), "nothing is permitted beside a forbid");
        }
        prop_assert_eq!(set(&answer.forbids.first), set(&other.forbids.first));
        prop_assert_eq!(set(&answer.failed_forbids.first), set(&other.failed_forbids.first));
    }
}
