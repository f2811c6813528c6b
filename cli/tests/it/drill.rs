//! Drills as people type them. `chaos/tests/it/drills.rs` plays them.

use crate::process::{remit, stdout_of, write};

#[test]
fn a_wrong_drill_is_refused_with_its_place_before_anything_is_started() {
    let folder = tempfile::tempdir().unwrap();
    let text = "\
title: A leader is lost
description: The leader is killed.
method:
- { type: action, name: kill it, provider: { type: remit, fault: kil, target: leader } }
";
    write(&folder.path().join("mine.yaml"), text.as_bytes());
    for command in [&["drill", "check", "mine.yaml", "--json"][..], &["drill", "run", "mine.yaml", "--json"]] {
        let shown = stdout_of(&remit(folder.path(), command), 2);
        let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(shown["error"]["reason"], "drill_faults");
        let message = shown["error"]["message"].as_str().unwrap();
        assert!(message.contains("mine.yaml:4:66: there is no fault `kil`"), "{message}");
        assert!(message.contains("= did you mean `kill`?"), "{message}");
    }
    assert!(!folder.path().join(".remit").exists());
}

#[test]
fn shipped_drills_are_listed_and_tell_what_they_would_do() {
    let folder = tempfile::tempdir().unwrap();
    let listed: serde_json::Value =
        serde_json::from_str(&stdout_of(&remit(folder.path(), &["drill", "ls", "--json"]), 0)).unwrap();
    assert!(listed.as_array().unwrap().len() >= 17);
    for drill in listed.as_array().unwrap() {
        let name = drill["name"].as_str().unwrap();
        let plan = stdout_of(&remit(folder.path(), &["drill", "run", name, "--dry-run", "--json"]), 0);
        let plan: serde_json::Value = serde_json::from_str(&plan).unwrap();
        assert!(!plan["steps"].as_array().unwrap().is_empty(), "{name}");
    }
    assert!(!folder.path().join(".remit").exists());
}

#[test]
fn what_is_not_there_is_refused_with_what_is() {
    let folder = tempfile::tempdir().unwrap();
    let remote = remit(folder.path(), &["drill", "run", "leader-loss", "--backend", "remote"]);
    stdout_of(&remote, 2);
    assert!(String::from_utf8_lossy(&remote.stderr).contains("--backend sim"));
    let unknown = remit(folder.path(), &["drill", "run", "leader-lost"]);
    stdout_of(&unknown, 2);
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("leader-loss"));
}
