//! What is wrong with a bundle's sources is found before anybody runs them, and has a place.
//! Clauses P-5, P-10 to P-13 and P-26 to P-28.

use std::collections::BTreeMap;

use remit_common::policy::{CompiledPolicy, PolicyFault};

use super::{compiled, example};

type Files = BTreeMap<String, Vec<u8>>;

const POLICIES: &str = "policies/renewal.cedar";
const SCHEMA: &str = "schema.cedarschema";
const CATALOGUE: &str = "catalogue/acme.toml";

fn faults_of(files: &Files) -> Vec<PolicyFault> {
    CompiledPolicy::compile(files).map(|_| ()).expect_err("this should have been a fault")
}

/// Replaces `from` with `to` in one file of the example, and expects a fault in `place` (a file, and a text on the
/// line of the fault) that says all of `pieces`.
fn check_at(file: &str, from: &str, to: &str, place: (&str, &str), pieces: &[&str]) {
    let mut files = example();
    let text = String::from_utf8(files[file].clone()).expect("text");
    assert!(text.contains(from), "{file} no longer contains {from}");
    files.insert(file.into(), text.replacen(from, to, 1).into_bytes());
    let found = faults_of(&files);
    let fits = |fault: &PolicyFault| {
        let text = files.get(&fault.file).map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default();
        let line = text.lines().zip(1u32..).find(|(_, number)| *number == fault.line).map_or("", |(line, _)| line);
        let whole = fault.to_string();
        fault.file == place.0 && line.contains(place.1) && pieces.iter().all(|piece| whole.contains(piece))
    };
    assert!(found.iter().any(fits), "{from} -> {to}: {place:?} {pieces:?}\n{found:#?}");
}

fn check(found: &[PolicyFault], start: &str) {
    assert!(found.iter().any(|fault| fault.to_string().starts_with(start)), "{start}\n{found:#?}");
}

#[test]
fn the_example_compiles() {
    let policy = compiled(&example());
    assert!(policy.policies() >= 8 && policy.catalogue().tools.len() >= 5);
}

#[test]
fn a_rule_that_can_never_match_is_a_fault() {
    let at = |from: &str, to: &str, pieces: &[&str]| {
        check_at(POLICIES, from, to, (POLICIES, "@id(\"renewal.read\")"), pieces)
    };
    at("context.purpose like \"review.*\" &&", "false &&", &["`renewal.read`, policy is impossible"]);
    // An agent is no team, and a contract is no class of agents.
    at("principal in AgentClass::\"renewal-analyst\"", "principal in Team::\"finance\"", &["no call asks it"]);
    at("    resource\n)", "    resource in AgentClass::\"renewal-analyst\"\n)", &["renewal.read"]);
    at(
        "principal in AgentClass::\"renewal-analyst\"",
        "principal is User",
        &["no call asks it", "permits are asked for the `Agent`"],
    );
    at(
        "principal in AgentClass::\"renewal-analyst\"",
        "principal == User::\"user:frida@finance.example\"",
        &["`renewal.read` can never match: no call asks it", "by User"],
    );
    let to = "permit (principal, action == Action::\"unused\", resource);\n@id(\"billing.clerk\")";
    let mut files = example();
    let policies = String::from_utf8(files[POLICIES].clone()).expect("text");
    files.insert(
        POLICIES.into(),
        policies.replace("@id(\"billing.clerk\")", &format!("@id(\"idle\") {to}")).into_bytes(),
    );
    let schema = "action \"unused\" appliesTo { principal: [Agent], resource: [Tool], context: Call };";
    files.get_mut(SCHEMA).expect("there").extend_from_slice(schema.as_bytes());
    let found = faults_of(&files);
    assert!(found.iter().any(|fault| fault.message == "policy `idle` can never match: no call asks it"), "{found:#?}");
}

#[test]
fn a_policy_is_checked_against_the_schema() {
    let at = |from: &str, to: &str, pieces: &[&str]| check_at(POLICIES, from, to, (POLICIES, to), pieces);
    at("context.purpose like", "context.porpoise like", &["porpoise", "did you mean `purpose`?"]);
    at("context.max_records <= 100", "context.max_records <= \"x\"", &["expected Long but saw String"]);
    at("AgentClass::", "AgentClazz::", &["AgentClazz", "AgentClass"]);
    at("Action::\"contracts.read\"", "Action::\"contract.read\"", &["contract.read"]);
    at("context.purpose like", "context.args.title like", &["has an argument `title`"]);
    at(") when {", ") when [", &["unexpected token"]);
    at("@id(\"renewal.ticket\")", "@id(\"renewal.ticket\") permit(principal);", &["missing the `action` variable"]);
}

#[test]
fn a_policy_has_a_name_of_its_own() {
    let at =
        |from: &str, to: &str, place: &str, pieces: &[&str]| check_at(POLICIES, from, to, (POLICIES, place), pieces);
    at("@id(\"renewal.read\")\npermit", "permit", "permit (", &["a policy without a name", "write `@id"]);
    at("renewal.ticket", "renewal.read", "renewal.read", &["`renewal.read` is the name of the policy at policies/"]);
    at("renewal.ticket", "limits.chain-depth", "limits.", &["is the name of the policy at policies/limits.cedar"]);
    at("renewal.ticket", "two words", "two words", &["`two words`"]);
    at("principal in AgentClass::\"renewal-analyst\"", "principal in ?principal", "@id", &["a template"]);
}

#[test]
fn a_schema_fits_the_calls() {
    let at = |from: &str, to: &str, action: &str, pieces: &[&str]| {
        check_at(SCHEMA, from, to, (SCHEMA, &format!("action \"{action}\"")), pieces);
    };
    let (read, bill) = ("contracts.read", "billing.update");
    at("    expires_at: Long,", "    expires_at: String,", bill, &["`expires_at` of `billing.update` is not a Long"]);
    at(
        "    expires_at: Long,",
        "    expires: Long,",
        bill,
        &["no call supplies", "`expires`", "every call would be refused"],
    );
    at("    expires_at: Long,", "    region?: String,", bill, &["`region`", "a condition on it never holds"]);
    at(
        "customer: Set<String>",
        "customer: String",
        read,
        &["`dimensions.customer` of `contracts.read` is not a Set<String>"],
    );
    at("customer: Set<String>", "customer?: Set<Long>", read, &["is not a Set<String>"]);
    at(
        "customer: Set<String>",
        "costumer?: Set<String>",
        read,
        &["`dimensions.costumer`", "is yielded by no argument"],
    );
    let args = |declared: &str, pieces: &[&str]| {
        at("dimensions: {", &format!("args: {{ {declared} }}, dimensions: {{"), read, pieces);
    };
    args("headline?: String", &["`args.headline`", "no call may carry"]);
    args("include_terms?: Customer", &["context attribute `args`"]);
    let told = ["`args.include_terms` of `contracts.read` is String here, and Bool in its catalogue entry"];
    args("include_terms?: String", &told);
    args("include_terms: Bool", &["lets calls leave it out", "`include_terms?`"]);
    at("resource: [Tool]", "resource: [Contract]", "contracts.export", &["nothing that an `Agent` does to a `Tool`"]);
    check_at(SCHEMA, "entity Team;", "entity Team", (SCHEMA, "entity"), &["unexpected token"]);
    check_at(SCHEMA, "segment: String", "segment: Strin", (SCHEMA, ""), &["Strin"]);
    let missing = ["the schema has no action `contracts.export`", "declare `action \"contracts.export\""];
    let renamed = "action \"contracts.exports\"";
    check_at(
        SCHEMA,
        "action \"contracts.export\"",
        renamed,
        (POLICIES, "Action::\"contracts.export\""),
        &["contracts.export"],
    );
    let mut files = example();
    let policies =
        String::from_utf8(files[POLICIES].clone()).expect("text").replace("contracts.export", "billing.update");
    files.insert(POLICIES.into(), policies.into_bytes());
    let limits = String::from_utf8(files["policies/limits.cedar"].clone())
        .expect("text")
        .replace("contracts.export", "crm.read");
    files.insert("policies/limits.cedar".into(), limits.into_bytes());
    let schema = String::from_utf8(files[SCHEMA].clone()).expect("text").replace("\"contracts.export\"", "\"export\"");
    files.insert(SCHEMA.into(), schema.into_bytes());
    let found = faults_of(&files);
    assert!(found.iter().any(|fault| missing.iter().all(|piece| fault.to_string().contains(piece))), "{found:#?}");
}

#[test]
fn a_descriptor_is_checked() {
    let at = |from: &str, to: &str, pieces: &[&str]| check_at(CATALOGUE, from, to, (CATALOGUE, to.trim()), pieces);
    let url = "http://127.0.0.1:7701/mcp";
    at(url, "http://acme.example/mcp", &["an upstream is on loopback"]);
    at(url, "http://127.0.0.1.example/mcp", &["an upstream is on loopback"]);
    for bad in [
        "https://127.0.0.1/mcp",
        "http://127.0.0.1:7701/../mcp",
        "http://127.0.0.1:7701/mcp?a=b",
        "http://[::1",
        "http://127.0.0.1:0/",
        "http://127.0.0.1",
    ] {
        at(url, bad, &["an upstream's address is"]);
    }
    check_at(CATALOGUE, url, "http://u@127.0.0.1:7701/mcp", (CATALOGUE, "u@"), &["an upstream"]);
    at("\"authorization\"", "\"host\"", &["this header cannot carry a credential"]);
    at("\"authorization\"", "\"x\\ny\"", &["this header cannot carry a credential"]);
    for bad in ["Bearer", "{} {}", "Bearer {}\\n"] {
        at("Bearer {}", bad, &["the format holds `{}` once"]);
    }
    at("effects      = [\"read\"]", "effects = [\"raed\"]", &["`raed` is no effect"]);
    at("effects      = [\"read\"]", "effects = []", &["a tool has at least one effect"]);
    at("[\"review\", \"renew\"]", "[\"reviw\"]", &["there is no purpose `reviw`", "did you mean `review`?"]);
    at("[\"review\", \"renew\"]", "[]", &["at least one purpose"]);
    at("upstream     = \"acme\"", "upstream = \"acne\"", &["there is no upstream `acne`", "did you mean `acme`?"]);
    at(
        "= \"renewal_terms\"",
        "= \"renewal_term\"",
        &["there is no class `renewal_term`", "did you mean `renewal_terms`?"],
    );
    at("\"contracts.read\"", "\"contracts.*\"", &["`contracts.*` is not a tool's name"]);
    at("\"contracts.read\"", "\"contracts..read\"", &["`contracts..read` is not a tool's name"]);
    at("\"crm.read\"", "\"contracts.read\"", &["tool `contracts.read` is declared twice"]);
    at("\"/include_terms\"", "\"include_terms\"", &["`include_terms` is not a JSON pointer"]);
    at(
        "\"/include_terms\"",
        "\"/contract_id\"",
        &["`/contract_id` is free and overlaps `/contract_id`, which has a meaning"],
    );
    at("\"/include_terms\"", "\"/*\"", &["`/*` is free and overlaps `/"]);
    at("\"/include_terms\"", "\"/contract_id/raw\"", &["is free and overlaps `/contract_id`"]);
    at("\"/include_terms\"", "\"\"", &["an empty pointer would free every argument"]);
    at("records      = \"/contracts\"", "recods = \"/contracts\"", &["unknown field `recods`"]);
    let with = |line: &str, pieces: &[&str]| {
        let to = format!("free = [\"/plan\"]\n{line}");
        check_at(CATALOGUE, "free         = [\"/plan\"]", &to, (CATALOGUE, line), pieces);
    };
    with("definition = \"sha256:00\"", &["a definition's digest is"]);
    with("min_pop = \"P9\"", &["a grade is `none`, `P0`, `P1` or `P2`"]);
    with("amounts = { customer = \"/plan\" }", &["`customer` is a dimension of ids and of amounts"]);
    let inject = "inject = { header = \"authorization\", format = \"Bearer {}\" }";
    let pieces = ["upstream `acme` does not say how a credential is injected"];
    check_at(CATALOGUE, inject, "", (CATALOGUE, "credential"), &pieces);
    let pieces = ["an input schema is a JSON Schema with `type = \"object\"`"];
    check_at(CATALOGUE, "type                 = \"object\"", "type = \"array\"", (CATALOGUE, ""), &pieces);
}

#[test]
fn entities_conform_to_the_schema() {
    let file = "entities.json";
    let at = |from: &str, to: &str, place: &str, pieces: &[&str]| check_at(file, from, to, (file, place), pieces);
    at("\"segment\": \"enterprise\"", "\"segment\": 7", "\"segment\": 7", &["segment"]);
    at("\"segment\": \"enterprise\"", "", "cust_acme_1042", &["segment"]);
    at("\"Customer\"", "\"Costumer\"", "", &["Costumer"]);
    at("\"attrs\": {},", "\"attrs\": {}, \"attrs\": {},", "\"attrs\": {}, \"attrs\"", &["a duplicate key"]);
    at(
        "\"parents\": []",
        "\"parents\": [{ \"type\": \"Contract\", \"id\": \"contract_7781\" }]",
        "contract_7781",
        &["ancestor of type `Contract`"],
    );
    at("[\n", "", "", &[]);
}

#[test]
fn nothing_lies_in_a_bundle_unread() {
    for path in ["policies/extra.rego", "policies/deep/er.cedar", "extra.cedar", "catalogue/tools.json", "other.fga"] {
        let mut files = example();
        files.insert(path.into(), Vec::new());
        check(&faults_of(&files), &format!("{path}:1:1: nothing would read this file"));
    }
    for path in ["README.md", "bundle.toml", "canaries.yaml", "tests/renewal.yaml"] {
        let mut files = example();
        files.insert(path.into(), b"\xff".to_vec());
        compiled(&files);
    }
}

#[test]
fn a_bundle_is_complete() {
    for path in ["purposes.toml", "classes.toml", SCHEMA] {
        let mut files = example();
        files.remove(path);
        check(&faults_of(&files), &format!("{path}:1:1: this file is missing"));
    }
    let mut files = example();
    files.retain(|path, _| !path.starts_with("policies/"));
    check(&faults_of(&files), "policies/:1:1: there is no policy (help: a bundle that denies everything says so");
    let mut files = example();
    files.remove("entities.json");
    // Teams are only spoken of, and an entity that nobody described has no parents.
    compiled(&files);
    let mut files = example();
    files.insert("policies/limits.cedar".into(), b"// \xff".to_vec());
    check(&faults_of(&files), "policies/limits.cedar:1:4: not UTF-8");
}

#[test]
fn every_fault_is_reported_at_once() {
    let mut files = example();
    for (_, bytes) in files.iter_mut().filter(|(path, _)| path.ends_with("s.toml")) {
        bytes.extend_from_slice(b"\n[[nonsense]]\n");
    }
    files.insert("policies/limits.cedar".into(), b"permit(principal);".to_vec());
    let found = faults_of(&files);
    for file in ["classes.toml", "purposes.toml", "policies/limits.cedar"] {
        assert!(found.iter().any(|fault| fault.file == file), "{file}: {found:#?}");
    }
}
