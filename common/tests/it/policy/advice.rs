//! What is asked without an envelope is asked by policy alone, and only about what the manifest names.
//! Clauses P-54 to P-57.

use std::collections::BTreeMap;

use remit_common::id::ActionName;
use remit_common::policy::advice::{AdvisedActions, Party, Question, advise};
use remit_common::policy::json::{Json, Mode, parse};
use remit_common::policy::{CompiledPolicy, DELEGATE_ACTION, Reason};

use super::{NOW, example};

type Files = BTreeMap<String, Vec<u8>>;

const SCHEMA: &str = r#"
entity user { role?: String, level?: Long };
entity record { status: String };
action "read", "shred" appliesTo {
  principal: [user], resource: [record],
  context: { action?: { soft?: Bool }, now: Long, network?: String }
};
"#;

const POLICIES: &str = r#"
@id("read")
permit (principal is user, action == Action::"read", resource is record) when { resource.status == "open" };
@id("shred")
permit (principal is user, action == Action::"shred", resource is record)
when { principal has role && principal.role == "admin" && context has action && context.action has soft && context.action.soft };
@id("at-night")
forbid (principal is user, action == Action::"shred", resource is record)
when { context has network && context.network == "public" };
@id("before-time")
forbid (principal is user, action == Action::"shred", resource is record) when { context.now < 1 };
"#;

const READ_ALONE: &str = r#"@id("read") permit (principal is user, action == Action::"read", resource is record);"#;

const TEAMS: &str = "model\n  schema 1.1\n\ntype user\n\ntype team\n  relations\n    define member: [user]\n";

/// Of these entities the bundle says what they are, whoever asks.
const ENTITIES: &str = r#"[
  { "uid": { "type": "user", "id": "mallory" }, "attrs": { "role": "guest" }, "parents": [] },
  { "uid": { "type": "record", "id": "sealed" }, "attrs": { "status": "sealed" }, "parents": [] }
]"#;

fn files() -> Files {
    let text = |text: &str| text.as_bytes().to_vec();
    BTreeMap::from([
        ("purposes.toml".to_owned(), text("version = 1")),
        ("classes.toml".to_owned(), text("version = 1")),
        ("schema.cedarschema".to_owned(), text(SCHEMA)),
        ("policies/records.cedar".to_owned(), text(POLICIES)),
        ("entities.json".to_owned(), text(ENTITIES)),
    ])
}

fn advised(names: &[&str]) -> AdvisedActions {
    names.iter().map(|name| ActionName::new(name).expect("name")).collect()
}

fn compiled() -> CompiledPolicy {
    CompiledPolicy::compile_with(&files(), &advised(&["read", "shred"])).unwrap_or_else(|faults| panic!("{faults:#?}"))
}

fn faults(files: &Files, names: &[&str]) -> String {
    let found =
        CompiledPolicy::compile_with(files, &advised(names)).map(|_| ()).expect_err("this should have been a fault");
    found.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

fn json(text: &str) -> Json {
    parse(text.as_bytes(), Mode::Protocol).expect("json")
}

/// Reason of the answer, or the policies behind a permit.
fn answer(
    action: &str,
    (subject, said): (&str, &str),
    (record, of): (&str, &str),
    (properties, context): (&str, &str),
) -> String {
    let party = |name: &str, said: &str| {
        let (kind, id) = name.split_once(':').expect("kind:id");
        Party { kind: kind.to_owned(), id: id.to_owned(), properties: json(said) }
    };
    let question = Question {
        subject: party(subject, said),
        action: ActionName::new(action).expect("name"),
        properties: json(properties),
        resource: party(record, of),
        context: json(context),
    };
    match advise(&compiled(), &question, NOW) {
        Ok(advised) => advised.policies.first.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
        Err(denied) => denied.reason.as_str().to_owned(),
    }
}

#[test]
fn the_bundles_word_holds_before_the_enforcement_points() {
    let open = ("record:r1", r#"{"status":"open"}"#);
    let soft = (r#"{"soft":true}"#, "{}");
    let none = ("{}", "{}");
    assert_eq!(answer("read", ("user:a", "{}"), open, none), "read");
    assert_eq!(answer("shred", ("user:a", r#"{"role":"admin"}"#), open, soft), "shred");
    // The bundle knows better who Mallory is, and what has been sealed.
    assert_eq!(answer("shred", ("user:mallory", r#"{"role":"admin"}"#), open, soft), "no_matching_policy");
    assert_eq!(answer("read", ("user:a", "{}"), ("record:sealed", r#"{"status":"open"}"#), none), "no_matching_policy");
    // A forbid holds, by what the request's context says, and by the time that the edge has.
    let public = (r#"{"soft":true}"#, r#"{"network":"public","now":0}"#);
    assert_eq!(answer("shred", ("user:a", r#"{"role":"admin"}"#), open, public), "forbidden");
    let early = (r#"{"soft":true}"#, r#"{"now":0}"#);
    assert_eq!(answer("shred", ("user:a", r#"{"role":"admin"}"#), open, early), "shred", "the edge says the time");
}

#[test]
fn what_does_not_fit_the_schema_is_no() {
    let none = ("{}", "{}");
    let open = ("record:r1", r#"{"status":"open"}"#);
    let failed = Reason::EvaluationFailed.as_str();
    assert_eq!(answer("read", ("user:a", "{}"), ("record:r1", "{}"), none), failed, "a required attribute is missing");
    assert_eq!(answer("read", ("user:a", "{}"), ("record:r1", r#"{"status":1}"#), none), failed);
    assert_eq!(answer("read", ("user:a", r#"{"level":"high"}"#), open, none), failed);
    assert_eq!(answer("shred", ("user:a", r#"{"role":"admin"}"#), open, (r#"{"soft":"yes"}"#, "{}")), failed);
    assert_eq!(answer("read", ("user:a", r#"{"unheard":{"of":[1]}}"#), open, none), "read", "nobody reads it");
    assert_eq!(answer("read", ("agent:a", "{}"), open, none), "no_matching_policy");
    assert_eq!(answer("read", ("record:a", "{}"), ("user:b", "{}"), none), "no_matching_policy");
    assert_eq!(answer("write", ("user:a", "{}"), open, none), "no_envelope");
}

/// Somebody who does something to themselves is one entity, and what a request cannot supply is not passed over.
#[test]
fn one_entity_on_both_sides_and_attributes_that_no_request_has() {
    let mut files = files();
    let schema = "entity user { role?: String, boss?: user };\naction \"read\" appliesTo { principal: [user], resource: [user] };";
    files.insert("schema.cedarschema".to_owned(), schema.into());
    files.remove("entities.json");
    let policies = r#"
@id("own") permit (principal is user, action == Action::"read", resource is user)
when { principal == resource && principal has role && principal.role == "editor" };
@id("not-the-boss") forbid (principal is user, action == Action::"read", resource is user)
when { resource has boss && resource.boss == principal };"#;
    files.insert("policies/records.cedar".to_owned(), policies.into());
    let policy =
        CompiledPolicy::compile_with(&files, &advised(&["read"])).unwrap_or_else(|faults| panic!("{faults:#?}"));
    let ask = |id: &str, said: &str, of: &str, of_it: &str| {
        let party = |id: &str, said: &str| Party { kind: "user".into(), id: id.into(), properties: json(said) };
        let question = Question {
            subject: party(id, said),
            action: ActionName::new("read").expect("name"),
            properties: json("{}"),
            resource: party(of, of_it),
            context: json("{}"),
        };
        advise(&policy, &question, NOW).map(|advised| advised.resource).map_err(|denied| denied.reason)
    };
    let own = Ok("user::\"a\"".to_owned());
    assert_eq!(ask("a", r#"{"role":"editor"}"#, "a", "{}"), own);
    assert_eq!(ask("a", "{}", "a", r#"{"role":"editor"}"#), own);
    assert_eq!(ask("a", r#"{"role":"editor"}"#, "b", "{}"), Err(Reason::NoMatchingPolicy));
    let named = ask("a", r#"{"role":"editor"}"#, "a", r#"{"boss":{"type":"user","id":"a"}}"#);
    assert_eq!(named, Err(Reason::EvaluationFailed), "a forbid could wait for it");
}

#[test]
fn a_bundle_says_what_it_means() {
    // Unless it is asked about, a policy about it is one that nothing asks.
    assert!(faults(&files(), &["read"]).contains("policy `shred` can never match"));
    assert!(faults(&files(), &["read", "shred", "raed"]).contains("`raed`, which is no action of the schema"));
    let edited = |from: &str, to: &str| {
        let mut files = files();
        let text = String::from_utf8(files["schema.cedarschema"].clone()).expect("text");
        assert!(text.contains(from), "{from}");
        files.insert("schema.cedarschema".to_owned(), text.replace(from, to).into_bytes());
        // What reads a context would complain first.
        files.insert("policies/records.cedar".to_owned(), READ_ALONE.into());
        faults(&files, &["read", "shred"])
    };
    assert!(edited("now: Long", "now: String").contains("is not a Long"));
    assert!(edited("action?: { soft?: Bool }", "action?: String").contains("is not a record"));
    assert!(
        edited("network?: String", "network?: String, owner: user").contains("nothing that an enforcement point could")
    );
    assert!(
        edited("network?: String", "network?: String, relations: { owner: Bool }")
            .contains("nothing that an enforcement point could")
    );
    // A tool is called with an envelope, or not at all.
    let found = faults(&example(), &["contracts.read"]);
    assert!(found.contains("`contracts.read`, which is done with an envelope or not at all"), "{found}");
    assert!(faults(&example(), &[DELEGATE_ACTION]).contains("which is done with an envelope"));
}

/// A forbid about a team that only tuples fill would be passed over.
#[test]
fn what_relations_would_have_to_answer_is_a_fault() {
    let mut files = files();
    let schema = SCHEMA.replace("entity user {", "entity team;\nentity user in [team] {");
    files.insert("schema.cedarschema".to_owned(), schema.into_bytes());
    files.insert("policies/records.cedar".to_owned(), READ_ALONE.into());
    files.insert("relations.fga".to_owned(), TEAMS.into());
    let rules = "[entities]\nuser = \"user\"\nteam = \"team\"\n[ancestors]\nteam = \"team#member\"\n";
    files.insert("relations.toml".to_owned(), rules.into());
    let names = &advised(&["read", "shred"]);
    CompiledPolicy::compile_with(&files, names).unwrap_or_else(|faults| panic!("{faults:#?}"));
    let suspended =
        "@id(\"not\") forbid (principal in team::\"suspended\", action == Action::\"read\", resource is record);";
    files.insert("policies/records.cedar".to_owned(), format!("{READ_ALONE}{suspended}").into());
    let found = faults(&files, &["read", "shred"]);
    assert!(found.contains("a policy about `read` asks who is in a `team` by relation"), "{found}");
}
