//! Bundles from a folder to a container.

use std::path::Path;

use crate::mesh::Mesh;
use crate::process::{json, read, remit, stdout_of, write};

#[test]
fn what_new_writes_passes_check_and_builds_to_the_same_bytes_twice() {
    let folder = tempfile::tempdir().unwrap();
    stdout_of(&remit(folder.path(), &["bundle", "new", "mine"]), 0);
    let checked = stdout_of(&remit(folder.path(), &["bundle", "check", "mine"]), 0);
    assert!(checked.starts_with("ok"), "{checked}");
    let mesh = "00112233445566778899aabbccddeeff";
    for output in ["a.bundle", "b.bundle"] {
        let args = ["bundle", "build", "mine", "-o", output, "--mesh-id", mesh, "--created", "1790000000"];
        stdout_of(&remit(folder.path(), &args), 0);
    }
    assert_eq!(read(&folder.path().join("a.bundle")), read(&folder.path().join("b.bundle")));
}

#[test]
fn what_new_writes_passes_its_tests_and_a_mistake_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    stdout_of(&remit(folder.path(), &["bundle", "new", "mine"]), 0);
    let args = ["bundle", "test", "mine", "--coverage", "--mutate", "--junit", "report.xml"];
    let shown = stdout_of(&remit(folder.path(), &args), 0);
    assert!(shown.contains("covered  100 %") && shown.contains(" 0 survived"), "{shown}");
    assert!(String::from_utf8(read(&folder.path().join("report.xml"))).unwrap().contains("failures=\"0\""));
    stdout_of(&remit(folder.path(), &["bundle", "test", "mine", "--filter", "no such case"]), 6);
    let one = stdout_of(&remit(folder.path(), &["bundle", "test", "mine", "--filter", "an urgent one", "--json"]), 0);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&one).unwrap()["passed"], 1);
    stdout_of(&remit(folder.path(), &["bundle", "test", "mine", "--filter", "x", "--mutate"]), 2);

    // Without a case at the limit, a wrong comparison is not noticed.
    let path = folder.path().join("mine/tests/renewal.yaml");
    let suite = String::from_utf8(read(&path)).unwrap();
    write(&path, suite.replace("records: 100 }", "records: 99 }").as_bytes());
    let shown = stdout_of(&remit(folder.path(), &["bundle", "test", "mine", "--mutate"]), 4);
    let said = "no case notices that in `renewal.read` `<=` becomes `<`  policies/renewal.cedar:";
    assert!(shown.contains(said), "{shown}");

    // A rule that is changed by mistake fails its cases, and is not built.
    write(&path, suite.as_bytes());
    let rules = folder.path().join("mine/policies/renewal.cedar");
    let text = String::from_utf8(read(&rules)).unwrap();
    write(&rules, text.replace("context.max_records <= 100", "context.max_records <= 1000").as_bytes());
    let shown = stdout_of(&remit(folder.path(), &["bundle", "test", "mine"]), 4);
    for said in [
        "failed and no more: analyst contracts.read on acme-contract",
        "expected no_matching_policy, got permit",
        "rules renewal.read (1 in all)",
    ] {
        assert!(shown.contains(said), "{shown}");
    }
    let mesh = ["--mesh-id", "00112233445566778899aabbccddeeff"];
    let build = ["bundle", "build", "mine", "-o", "v2"];
    let refused = remit(folder.path(), &[&build[..], &mesh[..]].concat());
    stdout_of(&refused, 4);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--untested"));
    stdout_of(&remit(folder.path(), &[&build[..], &mesh[..], &["--untested"]].concat()), 0);

    // A name that is not there.
    write(&path, suite.replace("because: [renewal.ticket]", "because: [renewal.tickt]").as_bytes());
    let output = remit(folder.path(), &["bundle", "test", "mine"]);
    stdout_of(&output, 4);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("tests/renewal.yaml:") && told.contains("did you mean `renewal.ticket`?"), "{told}");
}

#[test]
fn a_fault_is_shown_where_it_stands() {
    let folder = tempfile::tempdir().unwrap();
    stdout_of(&remit(folder.path(), &["bundle", "new", "mine"]), 0);
    let path = folder.path().join("mine/catalogue/acme.toml");
    let catalogue = String::from_utf8(read(&path)).unwrap();
    let (right, wrong) = ("= \"renewal_terms\"", "= \"renewal_termz\"");
    assert!(catalogue.contains(right));
    write(&path, catalogue.replace(right, wrong).as_bytes());
    let output = remit(folder.path(), &["bundle", "check", "mine", "--json"]);
    let shown = stdout_of(&output, 4);
    assert!(shown.contains("catalogue/acme.toml:") && shown.contains("renewal_terms"), "{shown}");
    assert!(serde_json::from_str::<serde_json::Value>(&shown).unwrap()["error"]["reason"] == "bundle_faults");
}

#[test]
fn every_administrator_adds_one_signature() {
    let folder = tempfile::tempdir().unwrap();
    stdout_of(&remit(folder.path(), &["bundle", "new", "mine"]), 0);
    let args = ["bundle", "build", "mine", "-o", "v1", "--mesh-id", "00112233445566778899aabbccddeeff"];
    stdout_of(&remit(folder.path(), &args), 0);
    for (key, seed, signatures) in [("one", 1, 1), ("two", 2, 2), ("one", 1, 2)] {
        let line = format!("remit-ed25519-seed {}\n", remit_common::text::base64(&[seed; 32]));
        write(&folder.path().join(key), line.as_bytes());
        let shown = stdout_of(&remit(folder.path(), &["bundle", "sign", "v1", "--key", key, "--json"]), 0);
        let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(shown["signatures"].as_array().unwrap().len(), signatures, "{shown}");
    }
}

#[test]
fn without_a_mesh_commands_say_how_to_get_one() {
    let folder = tempfile::tempdir().unwrap();
    for args in [&["status"][..], &["bundle", "ls"], &["revoke", "session", "s"], &["down"]] {
        let output = remit(folder.path(), args);
        stdout_of(&output, 3);
        assert!(String::from_utf8_lossy(&output.stderr).contains("remit up"), "{args:?}");
    }
    stdout_of(&remit(folder.path(), &["revoke", "nonsense", "x"]), 2);
    let missing = remit(folder.path(), &["bundle", "check", "nowhere"]);
    stdout_of(&missing, 2);
}

/// Clauses B-35 to B-38: "up to 100 records" becomes "up to 120", and the command shows who may do what now.
#[test]
fn diff_explains_a_widened_condition_with_a_concrete_request() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["old", "new"] {
        stdout_of(&remit(folder.path(), &["bundle", "new", name]), 0);
    }
    let same = stdout_of(&remit(folder.path(), &["bundle", "diff", "old", "new"]), 0);
    assert!(same.contains("nothing is newly permitted"), "{same}");
    let path = folder.path().join("new/policies/renewal.cedar");
    let policies = String::from_utf8(read(&path)).unwrap();
    write(&path, policies.replacen("context.max_records <= 100", "context.max_records <= 120", 1).as_bytes());
    let shown = stdout_of(&remit(folder.path(), &["bundle", "diff", "old", "new"]), 4);
    assert!(shown.contains("newly permitted: `contracts.read` for agents of class `renewal-analyst`"), "{shown}");
    assert!(shown.contains("policies/renewal.cedar:4:1: `renewal.read`") && shown.contains("^"), "{shown}");
    let narrower = remit(folder.path(), &["bundle", "diff", "new", "old", "--json"]);
    let narrower: serde_json::Value = serde_json::from_str(&stdout_of(&narrower, 0)).unwrap();
    assert_eq!(narrower["findings"][0]["kind"], "newly_denied", "{narrower}");
    // The cases that both folders bring are asked, too (clause B-48).
    assert!(narrower["asked"]["tests"].as_u64().is_some_and(|tests| tests > 0), "{narrower}");
}

/// Clause B-41: what permits more than the active bundle goes out only when somebody says that it is meant.
#[test]
fn a_push_that_widens_is_refused_until_it_is_approved() {
    let mesh = Mesh::up("1");
    let folder = mesh.path();
    let sources = ".remit/example/bundle";
    let signed = |version: &str, output: &str| {
        // The rules are changed here, and their tests are not.
        let args = ["bundle", "build", sources, "-o", output, "--version", version, "--untested"];
        stdout_of(&remit(folder, &args), 0);
        let keys = [".remit/keys/policy-1.key", ".remit/keys/policy-2.key"];
        stdout_of(&remit(folder, &["bundle", "sign", output, "--key", keys[0], "--key", keys[1]]), 0);
    };
    let path = folder.join(sources).join("policies/renewal.cedar");
    let policies = String::from_utf8(read(&path)).unwrap();
    write(&path, policies.replacen("context.max_records <= 100", "context.max_records <= 120", 1).as_bytes());
    signed("2", "v2.bundle");
    let shown = stdout_of(&remit(folder, &["bundle", "diff", "active", "v2.bundle"]), 4);
    assert!(shown.contains("newly permitted: `contracts.read`"), "{shown}");
    let refused = stdout_of(&remit(folder, &["bundle", "push", "v2.bundle", "--json"]), 1);
    let refused: serde_json::Value = serde_json::from_str(&refused).unwrap();
    assert_eq!(refused["error"]["reason"], "widening", "{refused}");
    assert!(refused["error"]["hint"].as_str().unwrap().contains("--approve-widening"), "{refused}");
    let why = ["--approve-widening", "--reason", "auditors"];
    stdout_of(&remit(folder, &["bundle", "push", "v2.bundle", why[0], why[1], why[2]]), 0);
    let approved = &json(folder, &["bundle", "ls"])["bundles"][0]["approved"];
    assert_eq!(approved["approval"]["reason"], "auditors", "{approved}");
    let listed = stdout_of(&remit(folder, &["bundle", "ls"]), 0);
    assert!(listed.contains("version 2: approved by `") && listed.contains("because: auditors"), "{listed}");
    // What only narrows needs no approval.
    write(&path, policies.replacen("context.max_records <= 100", "context.max_records <= 90", 1).as_bytes());
    signed("3", "v3.bundle");
    stdout_of(&remit(folder, &["bundle", "push", "v3.bundle"]), 0);
    assert_eq!(json(folder, &["bundle", "ls"])["bundles"][0]["version"], 3);
}

#[test]
fn the_readmes_way_from_nothing_to_an_active_policy() {
    let readme = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md"));
    let readme = String::from_utf8(readme).unwrap();
    let section = readme.split("## A policy of your own").nth(1).unwrap();
    let block = section.split("```").nth(1).unwrap();
    let commands: Vec<Vec<&str>> = block
        .lines()
        .map(|line| line.split(" #").next().unwrap_or_default().split_whitespace().collect::<Vec<_>>())
        .filter(|words| words.first() == Some(&"remit"))
        .collect();
    let verbs: Vec<&str> = commands.iter().map(|words| words[2]).collect();
    assert_eq!(verbs, ["new", "check", "test", "build", "sign", "push"]);

    let mesh = Mesh::up("1");
    for words in &commands {
        stdout_of(&remit(mesh.path(), &words[1..]), 0);
    }
    let listing = stdout_of(&remit(mesh.path(), &["bundle", "ls", "--json"]), 0);
    let listing: serde_json::Value = serde_json::from_str(&listing).unwrap();
    let active = listing["bundles"].as_array().unwrap().iter().find(|bundle| !bundle["number"].is_null()).unwrap();
    assert_eq!(active["version"], 2, "{listing}");

    // A bundle that its own self-test fails is refused, and the other one stays.
    let canaries = mesh.path().join("my-bundle/canaries.yaml");
    let text = String::from_utf8(read(&canaries)).unwrap();
    write(&canaries, text.replacen("expect: permit", "expect: forbidden", 1).as_bytes());
    stdout_of(&remit(mesh.path(), &["bundle", "check", "my-bundle"]), 4);
    let build = ["bundle", "build", "my-bundle", "-o", "v3.bundle", "--version", "3", "--untested"];
    stdout_of(&remit(mesh.path(), &build), 0);
    let keys = ["--key", ".remit/keys/policy-1.key", "--key", ".remit/keys/policy-2.key"];
    stdout_of(&remit(mesh.path(), &[&["bundle", "sign", "v3.bundle"][..], &keys[..]].concat()), 0);
    let refused = remit(mesh.path(), &["bundle", "push", "v3.bundle", "--json"]);
    let said = stdout_of(&refused, 1);
    assert!(said.contains("the analyst reads the contract"), "{said}");
    let listing = stdout_of(&remit(mesh.path(), &["bundle", "ls", "--json"]), 0);
    let listing: serde_json::Value = serde_json::from_str(&listing).unwrap();
    let active = listing["bundles"].as_array().unwrap().iter().find(|bundle| !bundle["number"].is_null()).unwrap();
    assert_eq!(active["version"], 2, "{listing}");
}

#[test]
fn cedars_own_tests_run_on_the_rules() {
    let folder = tempfile::tempdir().unwrap();
    stdout_of(&remit(folder.path(), &["bundle", "new", "mine"]), 0);
    let context = serde_json::json!({
        "delegator": "user:maya@customer-success.example", "purpose": "review.renewal_risk", "chain_depth": 1,
        "expires_at": 1_800_000_000, "now": 1_790_000_000, "max_records": 25, "classes": ["contract_metadata"],
        "dimensions": { "customer": ["c"], "contract": ["k"] },
    });
    let entities = serde_json::json!([
        { "uid": { "type": "AgentClass", "id": "renewal-analyst" }, "attrs": {}, "parents": [] },
        { "uid": { "type": "Agent", "id": "a" }, "attrs": {}, "parents": [{ "type": "AgentClass", "id": "renewal-analyst" }] },
    ]);
    let test = |name: &str, decision: &str, reason: &[&str], context: &serde_json::Value| {
        serde_json::json!({
            "name": name, "entities": entities, "decision": decision, "reason": reason, "num_errors": 0,
            "request": { "principal": "Agent::\"a\"", "action": "Action::\"contracts.read\"",
                         "resource": "Contract::\"k\"", "context": context },
        })
    };
    let (mut many, mut odd) = (context.clone(), context.clone());
    many["max_records"] = 1_000.into();
    odd["max_records"] = "many".into();
    let mut bank = context.clone();
    bank["classes"] = serde_json::json!(["billing"]);
    let right = [
        test("reads", "allow", &["renewal.read"], &context),
        test("reads too much", "deny", &[], &many),
        test("reads bank details", "deny", &["limits.no-billing-details"], &bank),
    ];
    let run = |tests: &[serde_json::Value], exit: i32| -> serde_json::Value {
        write(&folder.path().join("tests.json"), &serde_json::to_vec(tests).unwrap());
        let args = ["bundle", "test", "mine", "--import", "tests.json", "--json"];
        serde_json::from_str(&stdout_of(&remit(folder.path(), &args), exit)).unwrap()
    };
    assert_eq!(run(&right, 0)["passed"], 3);
    let wrong = [
        test("wrong decision", "deny", &[], &context),
        test("wrong reason", "allow", &["renewal.ticket"], &context),
        test("a context that the schema does not allow", "allow", &[], &odd),
    ];
    let found = run(&wrong, 4);
    assert_eq!((&found["failed"], &found["left_out"]), (&2.into(), &1.into()), "{found}");
    assert_eq!(run(&wrong[2..], 6)["left_out"], 1);
}
