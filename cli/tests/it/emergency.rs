//! What administrators on call do, as they type it: a rule that forbids, a second one who joins in, a bundle that lifts,
//! and an edge that is taken out of service. Clauses T-57 to T-61 and G-84 to G-86.

use serde_json::{Value, json};

use crate::agent::{Scene, reason, rows};
use crate::mesh::read_7781;
use crate::process::{json as run, read, remit, stdout_of, write};

const RULE: &str = "effect=read tool=contracts.**";
const ON_CALL: &str = ".remit/keys/on-call.key";

/// The entry of the rule in what voters list.
fn entry(scene: &Scene) -> Value {
    let list = run(scene.mesh.path(), &["revocation", "ls"]);
    let entries = list["revocations"].as_array().unwrap();
    entries.iter().find(|entry| entry["cut"]["id"] == RULE).unwrap_or_else(|| panic!("{list}")).clone()
}

/// What is refused, and with what hint.
fn refused(scene: &Scene, code: i32, args: &[&str]) -> String {
    let output = remit(scene.mesh.path(), args);
    stdout_of(&output, code);
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn what_is_forbidden_in_an_emergency_is_lifted_by_a_bundle() {
    let scene = Scene::new();
    let here = scene.mesh.path();
    let mut talk = scene.talk(&[&scene.edges[0]]);
    assert!(rows(&talk.call("contracts.read", read_7781())) > 0);

    let wrong = refused(&scene, 2, &["revoke", "forbid", "tool=contracts.** effect=read"]);
    assert!(wrong.contains("in this order"), "{wrong}");
    run(here, &["revoke", "forbid", RULE, "--wait"]);
    assert_eq!(reason(&talk.call("contracts.read", read_7781())), "forbidden");
    let alone = entry(&scene);

    // One administrator is not two; another one is.
    let join = ["revoke", "forbid", RULE, "--join"];
    assert!(refused(&scene, 1, &join).contains("two administrators"));
    run(here, &[&join[..], &["--admin-key", ON_CALL]].concat());
    let both = entry(&scene);
    assert!(both["until"].as_u64().unwrap() > alone["until"].as_u64().unwrap() + 80 * 86_400_000, "{both}");
    assert_ne!(both["name"], alone["name"]);

    // What lifts it is wider, and has to be approved like everything that is.
    let toml = here.join(".remit/example/bundle/bundle.toml");
    let text = String::from_utf8(read(&toml)).unwrap();
    let (before, after) =
        text.split_once("\n[").map_or((text.as_str(), String::new()), |(a, b)| (a, format!("\n[{b}")));
    let name = both["name"].as_str().unwrap();
    write(&toml, format!("{before}\nlifts = [\"{name}\"]\n{after}").as_bytes());
    scene.mesh.build("lifting.bundle", "2", &[]);
    stdout_of(&remit(here, &["bundle", "push", "lifting.bundle"]), 1);
    run(here, &["bundle", "push", "lifting.bundle", "--approve-widening", "--reason", "it is mended"]);
    while reason_of(&talk.call("contracts.read", read_7781())) == Some("forbidden".to_owned()) {}
    assert!(rows(&talk.call("contracts.read", read_7781())) > 0);
    assert_eq!(entry(&scene)["name"], both["name"], "nothing is taken out of the set");
}

fn reason_of(answer: &Value) -> Option<String> {
    answer["error"]["data"]["reason"].as_str().map(str::to_owned)
}

#[test]
fn the_whole_mesh_is_cut_by_two_and_an_edge_is_drained_by_one() {
    let scene = Scene::new();
    let here = scene.mesh.path();
    let mut talk = scene.talk(&[&scene.edges[0], &scene.edges[1]]);
    assert!(rows(&talk.call("contracts.read", read_7781())) > 0);

    // An agent with another edge does not notice that its own one drains.
    let drained = run(here, &["edge", "drain", "lab-1", "--wait"]);
    assert_eq!(drained, json!({"edge": "lab-1", "draining": true, "running": 0}));
    assert!(rows(&talk.call("contracts.read", read_7781())) > 0);
    let status = run(here, &["status"]);
    assert_eq!(status["edges"][0]["status"]["draining"], true, "{status}");
    assert!(stdout_of(&remit(here, &["status"]), 0).contains(", draining"));
    assert!(refused(&scene, 2, &["edge", "drain", "lab-9"]).contains("--url"));
    assert_eq!(run(here, &["edge", "drain", "lab-1", "--undo"])["draining"], false);

    let cut = ["revoke", "tool", "contracts.read", "--everywhere"];
    assert!(refused(&scene, 2, &cut).contains("--sign-only"));
    run(here, &[&cut[..], &["--sign-only", "cut.json"]].concat());
    assert!(rows(&talk.call("contracts.read", read_7781())) > 0, "one has signed, and nothing is cut");
    assert!(refused(&scene, 1, &[&cut[..], &["--join-file", "cut.json"]].concat()).contains("two administrators"));
    run(here, &[&cut[..], &["--join-file", "cut.json", "--admin-key", ON_CALL, "--wait"]].concat());
    assert_eq!(reason(&talk.call("contracts.read", read_7781())), "revoked");
    let list = run(here, &["revocation", "ls"]);
    assert_eq!(list["revocations"][0]["cut"], json!({"tenant": "*", "kind": "tool", "id": "contracts.read"}));
}
