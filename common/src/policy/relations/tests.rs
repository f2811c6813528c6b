use std::sync::Arc;

use super::*;

const NOW: Timestamp = Timestamp::from_secs(1_000);

const MODEL: &str = "
model
  schema 1.1
type user
type team
  relations
    define member: [user, team#member]
# who looks after a customer
type customer
  relations
    define account_owner: [user, team#member]
    define manager: [user] and account_owner
type contract
  relations
    define customer: [customer]
    define participant: [user, user:*]
    define blocked: [user]
    define account_owner: account_owner from customer
    define viewer: (participant or account_owner) but not blocked
";

fn relations(tuples: &[&str]) -> Relations {
    let schema = RelationSchema::parse("relations.fga", MODEL.as_bytes()).unwrap();
    Relations::new(Arc::new(schema), 1, tuples.iter().map(|text| text.parse().unwrap()))
}

fn ask(relations: &Relations, question: &str) -> Result<bool, RelationFault> {
    let TupleKey { object, relation, subject } = question.parse().unwrap();
    let answer = relations.check(&object, &relation, &subject, NOW);
    assert_eq!(answer, relations.check_by_walking(&object, &relation, &subject, NOW), "{question}");
    answer
}

const TUPLES: [&str; 6] = [
    "team:eu#member@user:maya",
    "team:all#member@team:eu#member",
    "customer:acme#account_owner@team:all#member",
    "contract:7781#customer@customer:acme",
    "contract:7781#participant@user:otto until 1000",
    "contract:7781#participant@user:olga until 1001",
];

#[test]
fn relations_follow_from_relations() {
    let relations = relations(&TUPLES);
    assert_eq!(ask(&relations, "contract:7781#viewer@user:maya"), Ok(true));
    assert_eq!(ask(&relations, "contract:7781#account_owner@team:eu#member"), Ok(true));
    assert_eq!(ask(&relations, "contract:7781#viewer@user:frida"), Ok(false));
    assert_eq!(ask(&relations, "contract:9001#viewer@user:maya"), Ok(false));
    assert_eq!(ask(&relations, "customer:acme#manager@user:maya"), Ok(false));
    assert_eq!(ask(&relations, "contract:7781#viewer@user:otto"), Ok(false), "expired");
    assert_eq!(ask(&relations, "contract:7781#viewer@user:olga"), Ok(true), "lives a second more");
    assert!(matches!(ask(&relations, "contract:7781#viewr@user:maya"), Err(RelationFault::Unfit(_))));
    assert_eq!(Relations::none().revision(), 0);
    assert_eq!(ask(&Relations::none(), "contract:7781#viewer@user:maya"), Err(RelationFault::Missing));
}

#[test]
fn what_goes_counts_at_once_and_so_does_what_comes() {
    let before = relations(&TUPLES);
    let change = |revision, add: &[&str], remove: &[&str]| RelationChange {
        revision,
        replace: false,
        add: add.iter().map(|text| text.parse().unwrap()).collect(),
        remove: remove.iter().map(|text| text.parse().unwrap()).collect(),
    };
    let gone = before.apply(&change(2, &[], &["team:all#member@team:eu#member"]));
    assert_eq!(ask(&gone, "contract:7781#viewer@user:maya"), Ok(false));
    assert_eq!(ask(&before, "contract:7781#viewer@user:maya"), Ok(true), "a snapshot does not change");
    let back = gone.apply(&change(3, &["team:new#member@user:maya", "team:all#member@team:new#member"], &[]));
    assert_eq!(ask(&back, "contract:7781#viewer@user:maya"), Ok(true));
    let blocked = back.apply(&change(4, &["contract:7781#blocked@user:maya"], &[]));
    assert_eq!(ask(&blocked, "contract:7781#viewer@user:maya"), Ok(false));
    let tidy = blocked.compacted();
    assert_eq!((tidy.revision(), tidy.loose(), tidy.len()), (4, 0, blocked.len()));
    assert_eq!(ask(&tidy, "contract:7781#viewer@user:maya"), Ok(false));
    assert_eq!(ask(&tidy, "contract:7781#account_owner@user:maya"), Ok(true));
    let mut tuples: Vec<String> = tidy.tuples().iter().map(ToString::to_string).collect();
    tuples.sort();
    assert!(tuples.contains(&"contract:7781#participant@user:olga until 1001".to_owned()), "{tuples:?}");
}

#[test]
fn a_model_has_a_place_for_some_tuples_and_says_what_it_takes() {
    let relations = relations(&[]);
    let fault = |text: &str| relations.schema().unwrap().check(&text.parse().unwrap()).unwrap_err().to_string();
    assert_eq!(
        fault("contrakt:1#viewer@user:a"),
        "the relation model has no type `contrakt`; did you mean `contract`?"
    );
    assert_eq!(
        fault("contract:1#partisipant@user:a"),
        "type `contract` has no relation `partisipant`; did you mean `participant`?"
    );
    assert_eq!(
        fault("contract:1#participant@team:a"),
        "`participant` of `contract` takes user, user:*, and not `team:a`"
    );
    assert_eq!(
        fault("contract:1#viewer@user:a"),
        "`viewer` of `contract` takes no tuples, for it follows from others, and not `user:a`"
    );
}

#[test]
fn a_model_that_means_nothing_is_refused_with_its_place() {
    let faults = |body: &str| {
        let text = format!("model\n  schema 1.1\ntype user\n{body}");
        let faults = RelationSchema::parse("relations.fga", text.as_bytes()).unwrap_err();
        faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    };
    let doc =
        |definition: &str| faults(&format!("type doc\n  relations\n    define owner: [user]\n    {definition}\n"));
    let at = |line_column: &str, rest: &str| format!("relations.fga:{line_column}: {rest}");
    assert_eq!(doc("define viewer: ownr"), at("7:20", "type `doc` has no relation `ownr`; did you mean `owner`?"));
    assert_eq!(doc("define viewer: [usr]"), at("7:21", "the relation model has no type `usr`; did you mean `user`?"));
    assert!(doc("define viewer: [user with weekday]").starts_with("relations.fga:7:26: conditions are not supported"));
    assert!(faults("condition c(x: int) { x < 100 }").starts_with("relations.fga:4:1: conditions are not supported"));
    assert!(doc("define viewer: [user] or owner and owner").contains("7:36: `or`, `and` and `but not` do not mix"));
    assert!(doc("define viewer: owner from owner").contains("7:20: nothing that `owner` leads to has a relation"));
    let not_plain = |via: &str| doc(&format!("define up: {via}\n define viewer: owner from up"));
    assert!(not_plain("[doc] or kin\n define kin: [doc]").contains("`up` is more than a list of types"));
    assert!(
        not_plain("[doc, doc#kin]\n define kin: [doc]")
            .contains("relations.fga:9:28: `up` is more than a list of types")
    );
    assert!(not_plain("[doc, doc:*]").contains("relations.fga:8:28: `up` is more than a list of types"));
    assert!(not_plain("[doc] and kin\n define kin: [doc]").contains("`up` is more than a list of types"));
    assert!(doc("define viewer: editor\n define editor: viewer").contains("7:12: nobody can ever stand in relation"));
    assert!(doc("define owner: [user]").contains("7:12: relation `owner` stands here twice"));
    assert!(faults("type user").contains("4:6: type `user` stands here twice"));
    assert!(faults("module x").contains("4:1: here should stand `type`, and not `module`"));
    assert!(doc("define viewer: [user").contains("here should stand `]`, and not the end"));
    assert!(doc("define viewer: [user] & owner").contains("7:27: `&` is no part of a relation model"));
    let deep = format!("define viewer: {}owner{}", "(".repeat(40), ")".repeat(40));
    assert!(doc(&deep).contains("parentheses lie too deep"));
}

#[test]
fn whoever_is_in_a_set_for_not_being_in_it_gets_no_answer() {
    let model = "model schema 1.1 type user type doc relations define parent: [doc] define viewer: [user] but not viewer from parent";
    let schema = Arc::new(RelationSchema::parse("m", model.as_bytes()).unwrap());
    let tuples = [
        "doc:1#parent@doc:1",
        "doc:1#viewer@user:a",
        "doc:2#viewer@user:a",
        "doc:3#parent@doc:2",
        "doc:3#viewer@user:a",
    ];
    let relations = Relations::new(schema, 1, tuples.iter().map(|text| text.parse().unwrap()));
    assert_eq!(
        ask(&relations, "doc:1#viewer@user:a"),
        Err(RelationFault::Circular { relation: "doc#viewer".to_owned() })
    );
    assert_eq!(ask(&relations, "doc:2#viewer@user:a"), Ok(true));
    assert_eq!(ask(&relations, "doc:3#viewer@user:a"), Ok(false));
    assert_eq!(ask(&relations, "doc:1#viewer@user:b"), Ok(false));
}

#[test]
fn a_way_that_is_too_long_has_no_answer_and_a_circle_has_one() {
    let long: Vec<String> = (0..40).map(|n| format!("team:{n}#member@team:{}#member", n + 1)).collect();
    let mut tuples: Vec<&str> = long.iter().map(String::as_str).collect();
    tuples.push("team:40#member@user:maya");
    let deep = relations(&tuples);
    assert_eq!(ask(&deep, "team:0#member@user:maya"), Err(RelationFault::TooDeep));
    assert_eq!(ask(&deep, "team:20#member@user:maya"), Ok(true));
    let circle = relations(&["team:a#member@team:b#member", "team:b#member@team:a#member", "team:b#member@user:maya"]);
    assert_eq!(ask(&circle, "team:a#member@user:maya"), Ok(true));
    assert_eq!(ask(&circle, "team:a#member@user:frida"), Ok(false));
}

#[test]
fn all_questions_of_one_decision_share_their_steps() {
    let groups = (0..STEPS_MAX / 2).map(|n| format!("customer:wide#account_owner@team:{n}#member"));
    let mut tuples: Vec<String> = groups.collect();
    tuples.push("customer:acme#account_owner@user:maya".to_owned());
    let relations = relations(&tuples.iter().map(String::as_str).collect::<Vec<_>>());
    let mut steps = Steps::default();
    let mut ask = |question: &str| {
        let TupleKey { object, relation, subject } = question.parse().unwrap();
        relations.check_within((&object, &relation, &subject), NOW, &mut steps)
    };
    assert_eq!(ask("customer:wide#account_owner@user:frida"), Ok(false));
    assert_eq!(ask("customer:wide#account_owner@user:frida"), Err(RelationFault::TooMany), "the second is too many");
    assert_eq!(
        ask("customer:acme#account_owner@user:maya"),
        Err(RelationFault::TooMany),
        "and so is every one after it"
    );
    assert_eq!(self::ask(&relations, "customer:acme#account_owner@user:maya"), Ok(true));
    assert!(RelationFault::TooMany.to_string().contains("20000 sets and tuples"));
}

#[test]
fn tuples_that_say_nothing_any_more_are_counted_too() {
    let many: Vec<String> =
        (0..=STEPS_MAX).map(|n| format!("contract:7781#customer@customer:{n} until 1000")).collect();
    let expired = relations(&many.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(ask(&expired, "contract:7781#account_owner@user:maya"), Err(RelationFault::TooMany));
    let few = many.iter().map(|text| text.replace(" until 1000", "")).collect::<Vec<_>>();
    let held = relations(&few.iter().map(String::as_str).collect::<Vec<_>>());
    let remove = few.iter().map(|text| text.parse().unwrap()).collect();
    let gone = held.apply(&RelationChange { revision: 2, remove, ..RelationChange::default() });
    assert_eq!(ask(&gone, "contract:7781#account_owner@user:maya"), Err(RelationFault::TooMany));
    assert_eq!(ask(&gone.compacted(), "contract:7781#account_owner@user:maya"), Ok(false));
}

const NESTED: &str = "
model
  schema 1.1
type user
type group
  relations
    define member: [user, group#member]
type folder
  relations
    define parent: [folder]
    define viewer: [user, user:*, group#member] or viewer from parent
";

/// Folders and groups, each as deep as may be: what no walk reaches and the closure knows.
fn nested(more: &[&str]) -> Relations {
    let folders = (0..20).map(|n| format!("folder:{n}#parent@folder:{}", n + 1));
    let groups = (0..20).map(|n| format!("group:{n}#member@group:{}#member", n + 1));
    let ends = ["folder:20#viewer@group:0#member", "group:20#member@user:maya", "folder:leaf#parent@folder:0"];
    let texts: Vec<String> =
        folders.chain(groups).chain(ends.iter().chain(more).map(|text| (*text).to_owned())).collect();
    let schema = RelationSchema::parse("relations.fga", NESTED.as_bytes()).unwrap();
    Relations::new(Arc::new(schema), 1, texts.iter().map(|text| text.parse().unwrap()))
}

#[test]
fn a_tuple_that_expires_high_up_leaves_the_closure_to_all_others() {
    let ask = |relations: &Relations, user: &str| {
        let TupleKey { object, relation, subject } = format!("folder:leaf#viewer@user:{user}").parse().unwrap();
        relations.check(&object, &relation, &subject, NOW)
    };
    let lasting = nested(&[]);
    assert_eq!((ask(&lasting, "maya"), ask(&lasting, "frida")), (Ok(true), Ok(false)));
    let guest = nested(&["folder:20#viewer@user:otto until 2000", "group:guests#member@user:gina"]);
    assert_eq!((ask(&guest, "maya"), ask(&guest, "frida")), (Ok(true), Ok(false)), "as if it were not there");
    assert_eq!(ask(&guest, "otto"), Ok(true));
    let guests = nested(&[
        "folder:20#viewer@group:guests#member until 2000",
        "folder:5#parent@folder:apart until 2000",
        "folder:apart#viewer@user:olga",
        "group:guests#member@user:gina",
    ]);
    assert_eq!((ask(&guests, "maya"), ask(&guests, "frida")), (Ok(true), Ok(false)));
    assert_eq!((ask(&guests, "gina"), ask(&guests, "olga")), (Ok(true), Ok(true)));
    let joins = |text: &str| RelationChange { revision: 2, add: vec![text.parse().unwrap()], ..Default::default() };
    let joined = guests.apply(&joins("group:guests#member@user:frida"));
    assert_eq!(ask(&joined, "frida"), Ok(true), "a newer tuple leads to one that expires");
    let joined = guests.apply(&joins("folder:apart#viewer@user:frida"));
    assert_eq!(ask(&joined, "frida"), Ok(true));
}

#[test]
fn a_closure_is_as_large_as_its_tuples_allow() {
    let wide = (0..300)
        .flat_map(|n| [format!("group:{n}#member@group:all#member"), format!("folder:{n}#viewer@group:{n}#member")]);
    let users = (0..3_000).map(|n| format!("group:all#member@user:{n}"));
    let texts: Vec<String> = wide.chain(users).collect();
    let schema = RelationSchema::parse("relations.fga", NESTED.as_bytes()).unwrap();
    let held = Relations::new(Arc::new(schema), 1, texts.iter().map(|text| text.parse().unwrap()));
    let (_, closure) = held.bytes();
    assert!(closure < held.len() * 32 * 4 * 2, "{closure} bytes for {} tuples", held.len());
    let ask = |question: &str| {
        let TupleKey { object, relation, subject } = question.parse().unwrap();
        held.check(&object, &relation, &subject, NOW)
    };
    for user in [0, 1_500, 2_999] {
        assert_eq!(ask(&format!("folder:7#viewer@user:{user}")), Ok(true));
        assert_eq!(ask(&format!("folder:none#viewer@user:{user}")), Ok(false));
    }
}
