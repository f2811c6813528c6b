//! Bundles from a folder to a container.

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
}

/// Clause B-41: what permits more than the active bundle goes out only when somebody says that it is meant.
#[test]
fn a_push_that_widens_is_refused_until_it_is_approved() {
    let mesh = Mesh::up("1");
    let folder = mesh.path();
    let sources = ".remit/example/bundle";
    let signed = |version: &str, output: &str| {
        let args = ["bundle", "build", sources, "-o", output, "--version", version];
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
    stdout_of(&remit(folder, &["bundle", "push", "v2.bundle", "--approve-widening"]), 0);
    // What only narrows needs no approval.
    write(&path, policies.replacen("context.max_records <= 100", "context.max_records <= 90", 1).as_bytes());
    signed("3", "v3.bundle");
    stdout_of(&remit(folder, &["bundle", "push", "v3.bundle"]), 0);
    assert_eq!(json(folder, &["bundle", "ls"])["bundles"][0]["version"], 3);
}
