//! Bundles from a folder to a container.

use crate::process::{read, remit, stdout_of, write};

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
