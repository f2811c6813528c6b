//! Between the parts: arguments and facts, plans and the schema. Clauses P-17 to P-19 and P-27.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::call::{ArgumentFault, facts};
use super::compile::SCHEMA_FILE;
use super::engines::cedar::{CedarSchema, Query};
use super::json::{Json, Mode, encode_text, parse};
use super::model::Circumstances;
use super::{CompiledPolicy, Tool, ToolCall};
use crate::envelope::{AgentIdentity, Authority};
use crate::id::{AgentClass, AgentId, BundleVersion, Delegator, DimensionName, SessionId, TaskId, TenantId, ToolName};
use crate::lattice::{Audience, ClassSet, Demands, Effect, Effects, Grant, PurposePath, Scope, ToolPattern};
use crate::time::Timestamp;

const CATALOGUE: &str = r#"
[[upstream]]
name = "u"
url = "http://127.0.0.1:1/mcp"

[[tool]]
name = "pay"
upstream = "u"
effects = ["spend"]
purposes = ["work"]
resource = { type = "Account", id = "/from/account" }
dimensions = { account = "/from/account", payee = "/items/*/to", region = "/region" }
amounts = { cents = "/items/*/cents" }
free = ["/note", "/items/*/memo"]

[[tool]]
name = "ping"
upstream = "u"
effects = ["read"]
purposes = ["work"]
"#;

const SCHEMA: &str = r#"
entity AgentClass; entity Agent in [AgentClass]; entity User; entity Account; entity Tool;
action pay appliesTo { principal: [Agent], resource: [Account], context: {
    delegator: String, session: String, task: String, purpose: String, chain_depth: Long, now: Long,
    expires_at: Long, max_records: Long, classes: Set<String>,
    dimensions: { account: Set<String>, payee?: Set<String>, region?: Set<String>, cents?: Long },
    args: { note?: String, region?: String, items?: Set<{ to: String, cents?: Long, memo?: Set<Bool> }> },
} };
action ping appliesTo { principal: [Agent], resource: [Tool], context: { now: Long, dimensions: { region?: Set<String> } } };
"#;

fn files() -> BTreeMap<String, Vec<u8>> {
    [
        ("purposes.toml", "version = 1\n[[purpose]]\nnumber = 1\nname = \"work\"\n"),
        (
            "classes.toml",
            "version = 1\n[[class]]\nnumber = 0\nname = \"public\"\n[[class]]\nnumber = 9\nname = \"secret\"\n",
        ),
        ("catalogue/u.toml", CATALOGUE),
        (SCHEMA_FILE, SCHEMA),
        ("policies/p.cedar", "@id(\"p\") permit(principal, action, resource);"),
    ]
    .map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec()))
    .into()
}

fn policy() -> CompiledPolicy {
    CompiledPolicy::compile(&files()).unwrap_or_else(|faults| panic!("{faults:#?}"))
}

fn tool(policy: &CompiledPolicy, name: &str) -> std::sync::Arc<Tool> {
    policy.catalogue().tools.get(name).expect("a tool").clone()
}

fn call(tool: &str, arguments: &str) -> ToolCall {
    // As it arrives: the message is read first, the arguments are judged when the tool is known.
    let message =
        parse(format!(r#"{{"params":{{"arguments":{arguments}}}}}"#).as_bytes(), Mode::Protocol).expect("JSON");
    let arguments = message.get("params").and_then(|params| params.get("arguments")).expect("there").clone();
    ToolCall { tool: ToolName::new(tool).expect("a name"), arguments }
}

#[test]
fn a_call_is_what_its_descriptor_reads_in_it() {
    let policy = policy();
    let arguments = r#"{"from":{"account":7781},"items":[{"to":"a","cents":5},{"to":["b","a"],"cents":[1,2]}],"note":{"x y":1e999}}"#;
    let (facts, resources) = facts(&tool(&policy, "pay"), &call("pay", arguments)).expect("closed");
    let ids = |name: &str| facts.ids.get(name).map(|ids| ids.iter().map(|id| id.as_str()).collect::<Vec<_>>());
    assert_eq!(ids("account"), Some(vec!["7781"]));
    assert_eq!(ids("payee"), Some(vec!["a", "b"]));
    assert_eq!(ids("region"), None, "what is not there is not there");
    assert_eq!(facts.amounts, BTreeMap::from([(DimensionName::new("cents").expect("name"), 8)]));
    assert_eq!((resources.kind.as_str(), resources.ids.len()), ("Account", 1));

    let (_, resources) = super::call::facts(&tool(&policy, "ping"), &call("ping", "{}")).expect("closed");
    assert_eq!((resources.kind.as_str(), resources.ids.first().map(|id| id.as_str())), ("Tool", Some("ping")));
}

#[test]
fn arguments_that_could_mean_something_else_are_refused() {
    let tool = tool(&policy(), "pay");
    let check = |arguments: &str, expected: &str| {
        let fault = facts(&tool, &call("pay", arguments)).expect_err(arguments);
        let found = match &fault {
            ArgumentFault::Malformed(error) => format!("malformed: {error}"),
            ArgumentFault::NotAnObject => "not an object".to_owned(),
            ArgumentFault::UnmappedArgument { pointer } => format!("argument {pointer}"),
            ArgumentFault::UnmappedDimension { dimension, pointer } => {
                format!("dimension {} at {pointer}", dimension.as_ref().map_or("-", DimensionName::as_str))
            }
        };
        assert_eq!(found, expected, "{arguments}");
    };
    check("[]", "not an object");
    check("null", "not an object");
    // Somewhere else, below a name that is known, above one, or empty.
    check(r#"{"from":{"account":"a"},"cc":"x"}"#, "argument /cc");
    check(r#"{"from":{"account":"a","iban":"x"}}"#, "argument /from/iban");
    check(r#"{"from":{"account":"a"},"items":[{"to":"b","why":{"x":[1]}}]}"#, "argument /items/0/why/x/0");
    check(r#"{"from":{"account":"a"},"items":7}"#, "argument /items");
    check(r#"{"from":{"account":"a"},"items":[7]}"#, "argument /items/0");
    check(r#"{"from":{"account":"a"},"extra":{}}"#, "argument /extra");
    check(r#"{"from":{"account":"a"},"extra":[]}"#, "argument /extra");
    check(r#"{"from":{"account":"a"},"extra":null}"#, "argument /extra");
    check(r#"{"from":{"account":"a"},"items":[]}"#, "argument /items");
    check(r#"{"from":{"account":"a"},"memo":"x"}"#, "argument /memo");
    // Values that stand for nothing.
    check("{}", "dimension account at /from/account");
    check(r#"{"from":{"account":[]}}"#, "dimension account at /from/account");
    check(r#"{"from":{"account":null}}"#, "dimension account at /from/account");
    check(r#"{"from":{"account":{"like":"a"}}}"#, "dimension account at /from/account");
    check(r#"{"from":{"account":["a",null]}}"#, "dimension account at /from/account");
    check(r#"{"from":{"account":true}}"#, "dimension account at /from/account");
    check(r#"{"from":{"account":1.5}}"#, "dimension account at /from/account");
    check(r#"{"from":{"account":"a b"}}"#, "dimension account at /from/account");
    check(r#"{"from":{"account":"ä"}}"#, "dimension account at /from/account");
    check(r#"{"from":{"account":""}}"#, "dimension account at /from/account");
    check(&format!(r#"{{"from":{{"account":"{}"}}}}"#, "a".repeat(129)), "dimension account at /from/account");
    check(r#"{"from":{"account":"a"},"region":[]}"#, "dimension region at /region");
    check(r#"{"from":{"account":"a"},"items":[{"cents":-1}]}"#, "dimension cents at /items/*/cents");
    check(r#"{"from":{"account":"a"},"items":[{"cents":1.5}]}"#, "dimension cents at /items/*/cents");
    check(r#"{"from":{"account":"a"},"items":[{"cents":"1"}]}"#, "dimension cents at /items/*/cents");
    // Names and numbers that another reader would read differently.
    check(
        r#"{"from":{"account":"a","Account":"b"}}"#,
        "malformed: two keys that differ only in case, `-` or `_` at `/from`",
    );
    check(
        r#"{"from":{"account":"a"},"f-r-o-m":{"account":"b"}}"#,
        "malformed: two keys that differ only in case, `-` or `_` at ``",
    );
    check(
        r#"{"from":{"account":90071992547409921}}"#,
        "malformed: a number that does not survive a double at `/from/account`",
    );
    check(r#"{"from":{"account":"a"},"a b":1}"#, "malformed: a key outside A-Z a-z 0-9 _ . $ - at `/a b`");
}

/// What is free is judged by nobody, unless a policy looks into it: then it has one reading, or there is no answer.
#[test]
fn a_policy_does_not_look_into_what_could_be_read_twice() {
    let policy = policy_once();
    let tool = tool(&policy, "pay");
    let plan = policy.plan(&tool.name).expect("a plan");
    let authority = authority(None);
    let ask = |memo: &str| {
        let arguments = format!(r#"{{"from":{{"account":"a"}},"items":[{{"to":"b"}},{{"to":"c","memo":{memo}}}]}}"#);
        let call = call("pay", &arguments);
        let (facts, _) = facts(&tool, &call).expect("closed");
        let now = Timestamp::from_secs(0);
        let arguments = &call.arguments;
        let taxonomy = policy.taxonomy();
        let about = Circumstances { authority: &authority, purpose: "work", now, arguments, facts: &facts, taxonomy };
        plan.context(&about, authority.scope.grant(0).expect("a grant"), None)
            .map(|_| ())
            .map_err(|misfit| misfit.to_string())
    };
    assert_eq!(ask("[true]"), Ok(()));
    assert_eq!(ask(r#""yes""#), Err("`args.items.memo` is not a Set, as the schema declares".to_owned()));
    assert_eq!(ask(r#"{"a":1,"A":2}"#), Err("`args.items` is not a record, as the schema declares".to_owned()));
}

fn arguments() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::Bool),
        (0i64..100).prop_map(Json::Int),
        "[a-c]{1,2}".prop_map(Json::Text),
    ];
    let names = prop::sample::select(vec!["from", "account", "items", "to", "cents", "memo", "note", "region", "x"]);
    let value = leaf.prop_recursive(4, 24, 3, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Json::Array),
            prop::collection::btree_map(names.clone(), inner, 0..3).prop_map(|members| Json::Object(
                members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
            )),
        ]
    });
    let plain = |values: Vec<(bool, Json)>| {
        let names = ["note", "region", "x"].into_iter().zip(values);
        names
            .filter(|(_, (is_there, _))| *is_there)
            .map(|(name, (_, value))| (name.to_owned(), value))
            .collect::<Vec<_>>()
    };
    let item = (value.clone(), value.clone(), any::<bool>()).prop_map(|(to, memo, plain)| {
        let to = if plain { Json::text("a") } else { to };
        Json::object([("to", to), ("memo", memo)])
    });
    let items = prop_oneof![value.clone(), prop::collection::vec(item, 1..3).prop_map(Json::Array)];
    let rest = prop::collection::vec((prop::bool::weighted(0.3), value), 3..4).prop_map(plain);
    (prop::option::of(items), rest).prop_map(|(items, rest)| {
        let mut members = vec![("from".to_owned(), Json::object([("account", Json::text("acc"))]))];
        members.extend(items.map(|items| ("items".to_owned(), items)));
        members.extend(rest);
        Json::Object(members)
    })
}

fn texts_outside_of_what_is_free(json: &Json, path: &str, out: &mut Vec<(String, String)>) {
    match json {
        Json::Object(members) => members.iter().for_each(|(key, value)| match value {
            // `*` stands for the members of an object as it does for the elements of an array.
            Json::Object(items) if path.is_empty() && key == "items" => {
                items.iter().for_each(|(_, item)| texts_outside_of_what_is_free(item, "/items", out));
            }
            value => texts_outside_of_what_is_free(value, &format!("{path}/{key}"), out),
        }),
        Json::Array(elements) => elements.iter().for_each(|element| texts_outside_of_what_is_free(element, path, out)),
        _ if path.starts_with("/note") || path.starts_with("/items/memo") => {}
        leaf => out.push((path.to_owned(), encode_text(leaf).trim_matches('"').to_owned())),
    }
}

proptest! {
    /// Whatever is not free is in the facts: no value of a call goes by unseen.
    #[test]
    fn every_value_of_an_accepted_call_is_judged_or_free(arguments in arguments()) {
        let tool = tool(&policy_once(), "pay");
        let call = ToolCall { tool: tool.name.clone(), arguments };
        if let Ok((facts, _)) = facts(&tool, &call) {
            let mut texts = Vec::new();
            texts_outside_of_what_is_free(&call.arguments, "", &mut texts);
            for (path, text) in texts {
                let name = match path.as_str() {
                    "/from/account" => "account",
                    "/items/to" => "payee",
                    "/items/cents" => continue,
                    "/region" => "region",
                    other => return Err(TestCaseError::fail(format!("{other} was accepted"))),
                };
                prop_assert!(facts.ids[name].iter().any(|id| id.as_str() == text), "{path} {text}");
            }
        }
    }

    /// The context is built from the schema's side, so it always validates, or the call is refused.
    #[test]
    fn every_question_that_is_put_is_one_that_the_schema_allows(arguments in arguments(), records in any::<Option<u64>>()) {
        let policy = policy_once();
        let schema = CedarSchema::parse(SCHEMA_FILE, SCHEMA).expect("a schema");
        let authority = authority(records);
        let tool = tool(&policy, "pay");
        let call = ToolCall { tool: tool.name.clone(), arguments };
        let Ok((facts, resources)) = facts(&tool, &call) else { return Ok(()) };
        let plan = policy.plan(&call.tool).expect("a plan");
        let taxonomy = policy.taxonomy();
        let now = Timestamp::from_millis(u64::MAX);
        let about = Circumstances { authority: &authority, purpose: "work", now, arguments: &call.arguments, facts: &facts, taxonomy };
        let grant = authority.scope.grant(0).expect("a grant");
        let Ok(context) = plan.context(&about, grant, None) else { return Ok(()) };
        let principal = policy.kinds().leaf(policy.engine(), &authority);
        for id in &resources.ids {
            let resource = policy.engine().subject(&plan.resource, id.as_str());
            let query = Query { principal: &principal, action: &plan.action, resource: &resource, context: &context };
            prop_assert_eq!(schema.validates(&query), Ok(()));
        }
    }
}

#[test]
fn the_generated_arguments_are_often_accepted_and_asked_about() {
    use proptest::strategy::ValueTree as _;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let tool = tool(&policy_once(), "pay");
    let accepted = (0..300)
        .filter(|_| {
            let arguments = arguments().new_tree(&mut runner).expect("a case").current();
            facts(&tool, &ToolCall { tool: tool.name.clone(), arguments }).is_ok()
        })
        .count();
    assert!(accepted > 40, "{accepted} of 300 accepted");
}

fn policy_once() -> CompiledPolicy {
    static POLICY: std::sync::OnceLock<CompiledPolicy> = std::sync::OnceLock::new();
    POLICY.get_or_init(policy).clone()
}

fn authority(records: Option<u64>) -> Authority {
    let agent = AgentIdentity {
        id: AgentId::new("spiffe://x/agent").expect("id"),
        class: AgentClass::new("class").expect("class"),
        attestation: None,
    };
    let grant = Grant {
        tools: vec![ToolPattern::new("**").expect("pattern")],
        maxima: records.map(|max| (DimensionName::new("records").expect("name"), max)).into_iter().collect(),
        classes: Some(ClassSet::from_iter([0, 9, 77])),
        effects: Some(Effects::from(Effect::Spend)),
        ..Grant::default()
    };
    Authority {
        tenant: TenantId::new("acme").expect("tenant"),
        delegator: Delegator::new("maya").expect("delegator"),
        session: SessionId::new("s").expect("session"),
        task: TaskId::new("t").expect("task"),
        agent: agent.id.clone(),
        class: agent.class.clone(),
        chain_agents: vec![agent],
        purpose: PurposePath::new(&[1]).expect("purpose"),
        not_before: Timestamp::from_secs(0),
        expires: Timestamp::MAX,
        depth_left: 0,
        fanout_max: 0,
        offline: false,
        audience: Audience::EVERYWHERE,
        demands: Demands::NONE,
        chain_depth: 1,
        scope: Scope::root(vec![grant]).expect("scope"),
        min_bundle_version: BundleVersion(1),
        taxonomy_version: 1,
        catalogue_version: 1,
    }
}
