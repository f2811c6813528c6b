//! A push in waves from an administrator's desk to edges, by real processes: a harmful bundle goes back by itself, a good
//! one arrives, and can be taken back later.

use serde_json::{Value, json};

use crate::mesh::{Mesh, read_7781};
use crate::process::{json as run, read, remit, stdout_of, write};

const MAYA: (&str, &str) = ("maya.envelope", "agent.key");

const STOP: &str = "@id(\"stop.reading\") forbid (principal, action == Action::\"contracts.read\", resource);\n";

/// What the harmful bundle expects of itself.
const CANARY: &str = r#"
- name: nobody reads
  delegator: user:maya@customer-success.example
  agent: { id: spiffe://customer-success.example/agent/renewal-analyst, class: renewal-analyst }
  purpose: review.renewal_risk
  grants:
    - tools: [contracts.read]
      effects: [read]
      classes: [contract_metadata, renewal_terms]
      ids: { customer: [cust_acme_1042], contract: [contract_7781] }
      maxima: { records: 25 }
  call:
    tool: contracts.read
    arguments: { customer_id: cust_acme_1042, contract_id: contract_7781 }
  expect: forbidden
"#;

impl Mesh {
    fn rollout(&self) -> Value {
        run(self.path(), &["rollout", "show"])
    }

    fn versions(&self) -> Vec<Value> {
        let status = run(self.path(), &["status"]);
        status["edges"].as_array().unwrap().iter().map(|edge| edge["status"]["bundle_version"].clone()).collect()
    }
}

#[tokio::test]
async fn a_harmful_bundle_goes_back_by_itself_and_a_good_one_arrives() {
    let mesh = Mesh::up("2");
    let here = mesh.path();
    run(here, &["envelope", "issue", "--task", ".remit/example/task.toml", "-o", MAYA.0, "--key", MAYA.1]);
    while mesh.versions() != [1, 1] {}
    let file: Value = serde_json::from_slice(&read(&here.join(".remit/mesh.json"))).unwrap();
    let other = file["edges"][1]["id"].as_str().unwrap();
    let bundle = here.join(".remit/example/bundle");
    let canaries = read(&bundle.join("canaries.yaml"));

    // Nobody calls where it comes to; the edge where they do only compares.
    write(&bundle.join("policies/stop.cedar"), STOP.as_bytes());
    write(&bundle.join("canaries.yaml"), CANARY.as_bytes());
    mesh.build("v2.bundle", "2", &["--fallback", "active"]);
    let canary = format!("edge:{other}@1h");
    let pushed = run(here, &["bundle", "push", "v2.bundle", "--waves", &canary]);
    assert_eq!((&pushed["status"], &pushed["wave"]), (&json!("baking"), &json!(0)), "{pushed}");
    while mesh.versions() != [1, 2] {}
    let meanwhile = remit(here, &["bundle", "push", "v2.bundle", "--json"]);
    assert!(stdout_of(&meanwhile, 1).contains("rollout_under_way"), "{meanwhile:?}");
    let compares = |shown: &Value| shown["edges"][0]["report"].is_object() && shown["edges"][1]["runs"] == true;
    while !compares(&mesh.rollout()) {}
    while mesh.rollout()["status"] == "baking" {
        let answer = mesh.call_with(MAYA, "contracts.read", read_7781(), &[]).await;
        assert!(answer["result"].is_object(), "the edge decides by its own bundle: {answer}");
    }
    let shown = mesh.rollout();
    assert_eq!(shown["status"], "taken-back", "{shown}");
    let last = shown["events"].as_array().unwrap().last().unwrap();
    let reason = last["reason"].as_str().unwrap();
    assert!(reason.contains("contracts.read") && reason.contains("stop.reading"), "{reason}");
    let watched = remit(here, &["bundle", "watch"]);
    assert!(stdout_of(&watched, 4).contains("version 1 runs again"), "{watched:?}");
    assert_eq!(mesh.versions(), [1, 1]);

    // A good one, to the end.
    write(&bundle.join("policies/stop.cedar"), b"");
    write(&bundle.join("canaries.yaml"), &canaries);
    mesh.build("v3.bundle", "3", &["--fallback", "active"]);
    let waves = format!("edge:{other}");
    let push = ["bundle", "push", "v3.bundle", "--waves", &waves, "--bake", "1s", "--watch"];
    let watched = stdout_of(&remit(here, &push), 0);
    assert!(
        watched.contains("wave 1 of 2") && watched.contains("every edge that is connected runs version 3"),
        "{watched}"
    );
    assert_eq!(mesh.versions(), [3, 3]);
    assert_eq!(mesh.rollout()["status"], "completed");

    // And back, without a signature of the policy role.
    let back = run(here, &["bundle", "rollback", "--reason", "a look at the books"]);
    assert_eq!(back["version"], 1, "{back}");
    assert!(stdout_of(&remit(here, &["bundle", "watch"]), 0).contains("runs version 1"));
    assert_eq!(mesh.versions(), [1, 1]);
    let nothing = remit(here, &["bundle", "rollback", "--json"]);
    assert!(stdout_of(&nothing, 1).contains("no_way_back"), "{nothing:?}");
    let listed = stdout_of(&remit(here, &["rollout", "ls"]), 0);
    assert!(listed.contains("taken-back") && listed.contains("completed"), "{listed}");
}

/// What an administrator types wrong.
#[tokio::test]
async fn a_rollout_that_cannot_begin_says_what_to_do() {
    let mesh = Mesh::up("1");
    let here = mesh.path();
    mesh.build("v2.bundle", "2", &[]);
    let refused = remit(here, &["bundle", "push", "v2.bundle", "--waves", "50%"]);
    stdout_of(&refused, 1);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("--fallback active"), "{said}");
    for (waves, word) in [("e17", "`e17`"), ("edge:", "edge:"), ("200%", "200%")] {
        let refused = remit(here, &["bundle", "push", "v2.bundle", "--waves", waves]);
        stdout_of(&refused, 2);
        assert!(String::from_utf8_lossy(&refused.stderr).contains(word), "{refused:?}");
    }
    let none = remit(here, &["rollout", "pause"]);
    assert!(String::from_utf8_lossy(&none.stderr).contains("no rollout is under way"), "{none:?}");
    let bake_alone = remit(here, &["bundle", "push", "v2.bundle", "--bake", "5m"]);
    stdout_of(&bake_alone, 2);
}
