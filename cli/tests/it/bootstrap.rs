//! A folder that stands in for the control plane: written, altered, and started from. Clauses D-15 to D-17, N-27 to N-29, T-63
//! to T-66 and F-27.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use remit_common::net::http::HttpClient;
use remit_common::net::real::real;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::agent::{Scene, Talk, reason, rows, ticket};
use crate::edges::Edge;
use crate::mesh::read_7781;
use crate::process::{Running, json as run, listed, read, remit, stdout_of, write};

const INDEX: &str = "static/bootstrap.json";
const SIGN: [&str; 4] = ["trust", "offline", "static", "--key"];

fn index(here: &Path) -> Value {
    serde_json::from_slice(&read(&here.join(INDEX))).unwrap()
}

fn policy_key(n: u8) -> String {
    format!(".remit/keys/policy-{n}.key")
}

/// Ends every voter of the mesh.
fn cut_off(here: &Path) {
    let file: Value = serde_json::from_slice(&read(&here.join(".remit/mesh.json"))).unwrap();
    for voter in file["voters"].as_array().unwrap() {
        let pid = i32::try_from(voter["pid"].as_i64().unwrap()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    }
}

/// What an edge says that is started from the folder and cannot be.
fn refused(edge: &Edge, here: &Path) -> String {
    let config = edge.folder.join("edge.toml");
    let data = format!("data_dir={}", here.join("elsewhere").display());
    let args = ["edge-node", "--config", config.to_str().unwrap(), "--bootstrap", "static", "--set", &data];
    let output = remit(here, &args);
    stdout_of(&output, 1);
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The edge, with nothing on its disk, from the folder.
fn from_folder(edge: &Edge, here: &Path) -> (Running, Edge) {
    let folder = here.join("static");
    let running = edge.start_anew(
        |config| if config.starts_with("bootstrap") { config } else { format!("bootstrap = {folder:?}\n{config}") },
        || {
            let _ = std::fs::remove_dir_all(edge.folder.join("data"));
        },
    );
    let again = Edge::of_process(edge, &running);
    (running, again)
}

#[test]
fn an_edge_that_never_heard_a_voter_serves_what_administrators_let_it() {
    let scene = Scene::new();
    let here = scene.mesh.path();
    run(here, &["revoke", "tool", "crm.read", "--wait"]);
    run(here, &["edge", "bootstrap", "static"]);
    let before: String = index(here)["activations"][0]["manifest"].as_str().unwrap().to_owned();
    scene.mesh.build("second.bundle", "2", &[]);
    run(here, &["bundle", "push", "second.bundle"]);

    // Once more over it: that is how it is kept up to date.
    let old = read(&here.join("static/bundles").join(&before));
    let written = run(here, &["edge", "bootstrap", "static"]);
    assert_eq!(written["revocation_epoch"], 1, "{written}");
    assert_eq!((written["revocations"].as_u64(), written["edges_with_credentials"].as_u64()), (Some(1), Some(2)));
    assert_eq!(written["bundles"], json!([{"tenant": "acme", "version": 2}]), "{written}");
    assert_eq!((&written["voters_answered"], &written["left_out"]), (&json!(1), &json!([])), "{written}");
    assert_eq!(listed(&here.join("static/bundles")).len(), 1, "what no index names is removed");

    let edge = Edge::of(&scene.mesh, 0);
    cut_off(here);

    // Whoever carries the folder can alter it, and gains nothing.
    let honest = read(&here.join(INDEX));
    let alter = |change: &dyn Fn(&mut Value)| {
        let mut altered = index(here);
        change(&mut altered);
        write(&here.join(INDEX), altered.to_string().as_bytes());
        let told = refused(&edge, here);
        write(&here.join(INDEX), &honest);
        told
    };
    let unsigned = |part: &str| format!("its {part} are not those that the voters signed");
    let nothing = json!({"from": 0, "to": 0, "digest": "00".repeat(32), "added": [], "removed": []});
    let told = alter(&|it| it["revocations"] = nothing.clone());
    assert!(told.contains(&unsigned("revocations")), "{told}");
    let told = alter(&|it| it["revocations"]["added"] = json!([]));
    assert!(told.contains("its set of revocations is refused"), "{told}");
    let told = alter(&|it| it["activations"][0]["manifest"] = json!("11".repeat(32)));
    assert!(told.contains(&unsigned("activations")), "{told}");
    let told = alter(&|it| it["beacon"]["signatures"] = json!({}));
    assert!(told.contains("no majority"), "{told}");
    let told = alter(&|it| it["v"] = json!(2));
    assert!(told.contains("of version 2"), "{told}");
    let told = alter(&|it| it["roots"] = json!([]));
    assert!(told.contains("its root is refused"), "{told}");

    // It has policy, and no freshness.
    let (_first, edge) = from_folder(&edge, here);
    let read_contract = || reason_of(&mut scene.talk(&[&scene.edges[0]]));
    assert_eq!(read_contract(), "stale");

    // One administrator is too few, and nobody counts twice; a stranger does not count.
    let offline = |args: &[&str]| remit(here, &[&SIGN[..], args, &["--json"]].concat());
    let (first, second) = (policy_key(1), policy_key(2));
    assert!(stdout_of(&offline(&[&first]), 2).contains("--life 24h"));
    let life = ["--life", "2h", "--bound", "read=2h"];
    let spend = ["--life", "2h", "--bound", "spend=2h"];
    assert!(stdout_of(&offline(&[&[&first[..]][..], &spend].concat()), 1).contains("never go on"));
    let stranger = stdout_of(&offline(&[&[".remit/keys/on-call.key"][..], &life].concat()), 1);
    assert!(stranger.contains("no_part"), "{stranger}");
    let made: Value = serde_json::from_str(&stdout_of(&offline(&[&[&first[..]][..], &life].concat()), 0)).unwrap();
    assert_eq!((&made["complete"], &made["bounds"]), (&json!(false), &json!({"read": 7_200})), "{made}");
    assert!(stdout_of(&offline(&[&first]), 1).contains("signed_already"));
    let (_second, edge) = from_folder(&edge, here);
    assert_eq!(read_contract(), "stale", "too few have signed");
    let digest = made["digest"].as_str().unwrap();
    let wrong = stdout_of(&offline(&[&second, "--digest", &"00".repeat(32)]), 1);
    assert!(wrong.contains("wrong_digest"), "{wrong}");
    let made = stdout_of(&offline(&[&second, "--digest", digest]), 0);
    assert!(made.contains(r#""complete":true"#), "{made}");

    // An older bundle in the place of the one that the tick names: what has been signed is not for that.
    let current: String = index(here)["activations"][0]["manifest"].as_str().unwrap().to_owned();
    let bundle = here.join("static/bundles").join(&current);
    let honest = read(&bundle);
    write(&bundle, &old);
    let (_third, edge) = from_folder(&edge, here);
    assert_ne!(read_contract(), "permitted");
    write(&bundle, &honest);

    let (_fourth, edge) = from_folder(&edge, here);
    assert_eq!(read_contract(), "permitted");
    let mut talk = scene.talk(&[&scene.edges[0]]);
    assert_eq!(reason(&talk.call("tickets.create", ticket())), "stale", "no bound lets it write");
    assert_eq!(reason(&talk.call("crm.read", json!({ "customer_id": "cust_acme_1042" }))), "revoked");
    assert_eq!(scene.tickets(), 0);
    drop(talk);

    // Voters are heard again, and gone again: what was allowed without them is over.
    let voter = restart_voter(here);
    let mut talk = scene.talk(&[&scene.edges[0]]);
    while reason(&talk.call("tickets.create", ticket())) == "stale" {}
    assert_eq!(scene.tickets(), 1);
    drop((talk, voter));
    let status = status_of(&edge);
    assert!(status["tenants"][0].get("offline_until").is_none(), "{status}");
}

/// `permitted`, or why not.
fn reason_of(talk: &mut Talk) -> String {
    let answer = talk.call("contracts.read", read_7781());
    if rows(&answer) > 0 { "permitted".to_owned() } else { reason(&answer).to_owned() }
}

fn restart_voter(here: &Path) -> Running {
    let file: Value = serde_json::from_slice(&read(&here.join(".remit/mesh.json"))).unwrap();
    let config = Path::new(file["voters"][0]["dir"].as_str().unwrap()).join("voter.toml");
    Running::start(here, &["control-plane", "--config", config.to_str().unwrap()])
}

/// What the edge says of itself.
fn status_of(edge: &Edge) -> Value {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let request = Request::get("/status").header("host", &edge.ops).body(Bytes::new()).unwrap();
    let client = HttpClient::new(&real(), 1 << 20);
    let asked = client.send(edge.ops.parse().unwrap(), request, Duration::from_secs(30));
    serde_json::from_slice(runtime.block_on(asked).unwrap().body()).unwrap()
}
