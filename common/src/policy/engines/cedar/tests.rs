use super::*;
use crate::id::PolicyId;

fn engine(policies: &str, entities: &str) -> CedarEngine {
    CedarEngine::compile(&[("a.cedar", policies)], None, Some(("entities.json", entities)))
        .unwrap_or_else(|faults| panic!("{faults:#?}"))
}

fn kind(name: &str) -> Kind {
    Kind::new(name).expect("a name")
}

fn ask(engine: &CedarEngine, principal: &str, action: &str, resource: &str) -> Answer {
    let (principal, resource) = (engine.subject(&kind("Agent"), principal), engine.subject(&kind("Doc"), resource));
    let action = engine.subject(&kind("Action"), action);
    let context = Context::new([("n", Attribute::long(1))]);
    engine.answer(
        &Query { principal: &principal, action: &action, resource: &resource, context: &context },
        Ask::Everything,
    )
}

fn permits(answer: &Answer) -> Vec<&str> {
    answer.permits.first.iter().map(PolicyId::as_str).collect()
}

const ENTITIES: &str = r#"[
    {"uid":{"type":"Agent","id":"a"},"attrs":{"boss":{"__entity":{"type":"User","id":"b"}}},"parents":[{"type":"Team","id":"t"}]},
    {"uid":{"type":"User","id":"b"},"attrs":{"deputy":{"__entity":{"type":"User","id":"d"}}},"parents":[]},
    {"uid":{"type":"User","id":"d"},"attrs":{"floor":3},"parents":[{"type":"Team","id":"t"}]},
    {"uid":{"type":"Team","id":"t"},"attrs":{},"parents":[{"type":"Org","id":"o"}]},
    {"uid":{"type":"Doc","id":"x"},"attrs":{"owner":{"__entity":{"type":"Agent","id":"a"}}},"parents":[{"type":"Folder","id":"f"}]},
    {"uid":{"type":"Action","id":"read"},"attrs":{},"parents":[{"type":"Action","id":"all"}]},
    {"uid":{"type":"Switch","id":"s"},"attrs":{"on":true},"parents":[]}
]"#;

#[test]
fn scopes_of_every_form_are_found() {
    let policies = r#"
        @id("any") permit(principal, action, resource);
        @id("eq") permit(principal == Agent::"a", action == Action::"read", resource == Doc::"x");
        @id("in") permit(principal in Org::"o", action in Action::"all", resource in Folder::"f");
        @id("list") permit(principal, action in [Action::"write", Action::"read"], resource);
        @id("is") permit(principal is Agent, action, resource is Doc);
        @id("isin") permit(principal is Agent in Team::"t", action, resource is Doc in Folder::"f");
        @id("other principal") permit(principal == Agent::"b", action, resource);
        @id("other action") permit(principal, action == Action::"write", resource);
        @id("other resource") permit(principal, action, resource in Folder::"g");
        @id("other kind") permit(principal is User, action, resource);"#;
    let policies = policies.replace("other ", "other-");
    let engine = engine(&policies, ENTITIES);
    assert_eq!(permits(&ask(&engine, "a", "read", "x")), ["any", "eq", "in", "list", "is", "isin"]);
    assert_eq!(permits(&ask(&engine, "unknown", "read", "x")), ["any", "list", "is"]);
    assert_eq!(permits(&ask(&engine, "b", "read", "unknown")), ["any", "list", "is", "other-principal"]);
    assert_eq!(permits(&ask(&engine, "a", "unknown", "x")), ["any", "is", "isin"]);
}

#[test]
fn attributes_lead_to_entities_however_far() {
    let engine = engine(
        r#"@id("far") permit(principal, action, resource) when { principal.boss.deputy.floor == 3 };
           @id("owner") permit(principal, action, resource) when { resource.owner.boss.deputy in Org::"o" };
           @id("named") permit(principal, action, resource) when { Switch::"s".on };
           @id("gone") permit(principal, action, resource) when { Switch::"gone".on };"#,
        ENTITIES,
    );
    let answer = ask(&engine, "a", "read", "x");
    assert_eq!(permits(&answer), ["far", "owner", "named"]);
    assert_eq!(answer.failed_permits.first, [PolicyId::new("gone").expect("id")]);
    assert!(answer.failure.is_some_and(|why| why.starts_with("`gone`:")));
}

/// The principal is below its class in every place where the policies meet it, also when another entity names it.
#[test]
fn a_parent_from_the_envelope_holds_beside_those_of_the_bundle() {
    let engine = engine(
        r#"@id("class") permit(principal in Class::"c", action, resource);
           @id("above") permit(principal in Class::"top", action, resource);
           @id("team") permit(principal in Org::"o", action, resource);
           @id("through") permit(principal, action, resource) when { resource.owner in Class::"c" };
           @id("floor") permit(principal, action, resource) when { principal.boss.deputy.floor == 3 };"#,
        &ENTITIES.replace(
            "[\n",
            r#"[{"uid":{"type":"Class","id":"c"},"attrs":{},"parents":[{"type":"Class","id":"top"}]},"#,
        ),
    );
    let class = engine.subject(&kind("Class"), "c");
    let principal = engine.subject_in(&kind("Agent"), "a", &class);
    let (action, resource) = (engine.subject(&kind("Action"), "read"), engine.subject(&kind("Doc"), "x"));
    let context = Context::new([]);
    let query = Query { principal: &principal, action: &action, resource: &resource, context: &context };
    assert_eq!(permits(&engine.answer(&query, Ask::Decision)), ["class", "above", "team", "through", "floor"]);

    let stranger = engine.subject_in(&kind("Agent"), "stranger", &class);
    let query = Query { principal: &stranger, ..query };
    assert_eq!(permits(&engine.answer(&query, Ask::Decision)), ["class", "above"]);
}

#[test]
fn only_eight_policies_are_named_and_all_are_counted() {
    let policies: String = (0..20).map(|n| format!("@id(\"p{n}\") permit(principal, action, resource);\n")).collect();
    let answer = ask(&engine(&policies, "[]"), "a", "read", "x");
    assert_eq!((answer.permits.first.len(), answer.permits.total), (8, 20));
    let mut joined = answer.clone();
    joined.join(answer);
    assert_eq!(joined.permits.first.len(), 8);
}

#[test]
fn a_list_linked_through_attributes_cannot_cost_its_square() {
    let entities: Vec<String> = (0..400)
        .map(|n| {
            let next = n + 1;
            format!(r#"{{"uid":{{"type":"N","id":"{n}"}},"attrs":{{"next":{{"__entity":{{"type":"N","id":"{next}"}}}}}},"parents":[]}}"#)
        })
        .collect();
    let entities = format!("[{}]", entities.join(","));
    let policies = [("a.cedar", "@id(\"p\") permit(principal, action, resource);")];
    let faults = CedarEngine::compile(&policies, None, Some(("entities.json", &entities))).expect_err("too far");
    assert!(faults[0].message.contains("lead to more than 256 entities"), "{faults:?}");
}
