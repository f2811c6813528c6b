//! A small mesh of real processes, from `up` to `down`, by the commands of the example's story.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use remit_common::crypto::key_file;
use remit_common::id::MeshId;
use remit_common::net::http::HttpClient;
use remit_common::net::prover::{NotProven, Outgoing, Prover};
use remit_common::net::real::real;
use remit_common::proof::{EdgeKey, Grade};
use remit_common::text;
use remit_common::trust::directory::SignedDirectory;
use remit_common::trust::root::SignedRoot;
use serde_json::{Value, json};

use crate::process::{json as run, read, remit, stdout_of, write};

/// Ports are looked for one after the other: two meshes that start at the same time would find the same.
static STARTING: std::sync::Mutex<()> = std::sync::Mutex::new(());

/// Held by whoever looks for ports, or leaves some free that it will need again.
pub(crate) fn one_at_a_time() -> std::sync::MutexGuard<'static, ()> {
    STARTING.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A mesh that is stopped when the test is over, whatever its outcome.
pub(crate) struct Mesh {
    folder: tempfile::TempDir,
}

impl Mesh {
    /// One voter: what the commands do does not depend on more.
    pub(crate) fn up(edges: &str) -> Self {
        let mesh = Self { folder: tempfile::tempdir().unwrap() };
        let args = ["up", "--detach", "--voters", "1", "--regions", "lab", "--edges", edges];
        let _one_at_a_time = one_at_a_time();
        stdout_of(&remit(mesh.path(), &args), 0);
        mesh
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Builds the example's bundle, as it lies in the mesh's folder, and has two administrators sign it.
    pub(crate) fn build(&self, file: &str, version: &str, more: &[&str]) {
        let created = real().now().wall.as_secs().to_string();
        let build = ["bundle", "build", ".remit/example/bundle", "-o", file, "--untested", "--version", version];
        stdout_of(&remit(self.path(), &[&build[..], &["--created", &created], more].concat()), 0);
        let keys = ["--key", ".remit/keys/policy-1.key", "--key", ".remit/keys/policy-2.key"];
        stdout_of(&remit(self.path(), &[&["bundle", "sign", file][..], &keys].concat()), 0);
    }

    /// Both daemons count by the names of the contract with operators.
    async fn counts_by_the_names_that_dashboards_use(&self) {
        let file: Value = serde_json::from_slice(&read(&self.path().join(".remit/mesh.json"))).unwrap();
        let names: [(&str, &[&str]); 2] = [
            (
                "edges",
                &[
                    "remit_edge_decisions_total{decision=\"permit\",reason=\"permit\"}",
                    "remit_edge_decisions_total{decision=\"deny\",reason=\"out_of_scope\"}",
                    "remit_edge_decision_seconds_count",
                    "remit_edge_decision_seconds_bucket{le=",
                    "remit_edge_staleness_seconds ",
                    "remit_edge_bundle_version{",
                    "remit_edge_spool_records ",
                ],
            ),
            ("voters", &["remit_control_commit_seconds_count", "remit_control_edges{state=\"connected\"} 1"]),
        ];
        for (kind, names) in names {
            let ops = file[kind][0]["ops"].as_str().unwrap().trim_start_matches("http://").to_owned();
            let request = Request::get("/metrics").header("host", &ops).body(Bytes::new()).unwrap();
            let client = HttpClient::new(&real(), 1 << 20);
            let answer = client.send(ops.parse().unwrap(), request, std::time::Duration::from_secs(30)).await.unwrap();
            let text = String::from_utf8_lossy(answer.body()).into_owned();
            for name in names {
                assert!(text.lines().any(|line| line.starts_with(name)), "{name} is missing in\n{text}");
            }
        }
    }

    /// Where the only edge takes agents' calls.
    fn edge_url(&self) -> String {
        let file: Value = serde_json::from_slice(&read(&self.path().join(".remit/mesh.json"))).unwrap();
        file["edges"][0]["agent"].as_str().unwrap().to_owned()
    }

    /// Calls a tool as an agent would, with the key that is beside its envelope.
    async fn call(&self, holder: (&str, &str), tool: &str, arguments: Value) -> Value {
        self.call_with(holder, tool, arguments, &[]).await
    }

    /// The same, with headers that an agent adds of its own.
    pub(crate) async fn call_with(
        &self,
        (envelope, key): (&str, &str),
        tool: &str,
        arguments: Value,
        headers: &[(&'static str, &str)],
    ) -> Value {
        let file: Value = serde_json::from_slice(&read(&self.path().join(".remit/mesh.json"))).unwrap();
        let edge = file["edges"][0]["agent"].as_str().unwrap().trim_start_matches("http://").to_owned();
        let envelope: Value = serde_json::from_slice(&read(&self.path().join(envelope))).unwrap();
        let meta = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "0" },
            "io.modelcontextprotocol/clientCapabilities": {},
        });
        let params = json!({ "name": tool, "arguments": arguments, "_meta": meta });
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params });
        let request = Request::post("/mcp")
            .header("host", &edge)
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", "2026-07-28")
            .header("mcp-method", "tools/call")
            .header("mcp-name", tool);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let request = request.body(Bytes::from(body.to_string())).unwrap();
        let presentation = text::from_base64url(envelope["presentation"].as_str().unwrap()).unwrap();
        let holder = Arc::new(key_file::parse_signing(&read(&self.path().join(key))).unwrap());
        let prover = Prover::new(&real(), self.edge_key(), holder, &presentation).unwrap();
        let (method, name) = ("tools/call".to_owned(), tool.to_owned());
        let outgoing = Outgoing { to: edge.parse().unwrap(), request, method, name, grade: Grade::P1 };
        let within = std::time::Duration::from_secs(30);
        match prover.send(&HttpClient::new(&real(), 1 << 20), &outgoing, within).await {
            Ok(response) => serde_json::from_slice(response.body()).unwrap(),
            Err(NotProven::Refused(response)) => {
                json!({ "error": { "data": serde_json::from_slice::<Value>(response.body()).unwrap() } })
            }
            Err(other) => panic!("{other:?}"),
        }
    }

    /// The only edge, as the directory of the installed root lists it.
    fn edge_key(&self) -> EdgeKey {
        let file = |name: &str| read(&self.path().join(".remit").join(name));
        let root = SignedRoot::parse(&file("root.json")).unwrap();
        let mesh: MeshId =
            serde_json::from_slice::<Value>(&file("mesh.json")).unwrap()["mesh_id"].as_str().unwrap().parse().unwrap();
        let root = root.clone().verify_pinned(&root.digest(), &mesh).unwrap();
        let directory = SignedDirectory::parse(&file("directory.json")).unwrap();
        let directory = directory.verify(&root, real().now().wall).unwrap();
        let edge = directory.edges().next().unwrap();
        EdgeKey { mesh, edge: edge.id.clone(), key: edge.identity }
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        remit(self.path(), &["down"]);
    }
}

pub(crate) fn read_7781() -> Value {
    json!({ "customer_id": "cust_acme_1042", "contract_id": "contract_7781" })
}

#[tokio::test]
async fn the_story_by_hand_from_up_to_down() {
    let mesh = Mesh::up("1");
    let here = mesh.path();

    let status = run(here, &["status"]);
    assert_eq!(status["edges"][0]["status"]["mode"], "fresh", "{status}");
    assert_eq!(status["control"]["bundles"][0]["version"], 1, "{status}");
    let credentials = run(here, &["credential", "ls"]);
    assert_eq!(credentials["credentials"][0]["credential"], "acme-contracts-api");
    let bundles = run(here, &["bundle", "ls"]);
    assert!(bundles["bundles"][0]["number"].is_u64(), "{bundles}");

    let task = ".remit/example/task.toml";
    run(here, &["envelope", "issue", "--task", task, "-o", "maya.envelope", "--key", "agent.key"]);
    let verified = run(here, &["envelope", "verify", "maya.envelope"]);
    assert_eq!((&verified["verified"], &verified["in_time"]), (&json!(true), &json!(true)));
    let restrict = ".remit/example/child.toml";
    let delegate = ["envelope", "delegate", "--parent", "maya.envelope", "--key", "agent.key", "--restrict", restrict];
    let registers = ["-o", "child.envelope", "--child-key", "helper.key", "--edge", "lab-1"];
    let delegated = run(here, &[&delegate[..], &registers].concat());
    assert_eq!(delegated["registered"]["not_held"], json!([]));
    let shown = run(here, &["envelope", "show", "child.envelope"]);
    assert_eq!(shown["links"].as_array().unwrap().len(), 2);
    let hop = &shown["links"][1];
    assert_eq!((&hop["registered"]["edge"], &hop["not_held"]), (&json!("lab-1"), &json!([])), "{hop}");
    assert_eq!(hop["left"][0]["ids"]["contract"]["in"], json!(["contract_7781"]), "{hop}");
    let drawn = stdout_of(&remit(here, &["envelope", "show", "child.envelope"]), 0);
    assert!(drawn.contains("by lab-1 (lab) at ") && drawn.contains("hop 1 to spiffe://"), "{drawn}");
    let helper = "spiffe://customer-success.example/agent/clause-classifier";
    let issued = run(here, &["identity", "issue", "--agent", helper, "--key", "helper.key", "-o", "helper.svid"]);
    assert_eq!((&issued["agent"], &issued["key_made"]), (&json!(helper), &json!(false)));

    let answer = mesh.call(("maya.envelope", "agent.key"), "contracts.read", read_7781()).await;
    assert_eq!(answer["result"]["structuredContent"]["contracts"].as_array().unwrap().len(), 25, "{answer}");
    let notes = json!({ "customer_id": "cust_acme_1042" });
    let refused = mesh.call(("child.envelope", "helper.key"), "crm.read", notes).await;
    assert_eq!(refused["error"]["data"]["reason"], "out_of_scope", "{refused}");
    let id = refused["error"]["data"]["decision_id"].as_str().unwrap();
    let shown = loop {
        let output = remit(here, &["decision", "show", id, "--json"]);
        if output.status.success() {
            break stdout_of(&output, 0);
        }
    };
    assert!(shown.contains("crm.read"), "{shown}");
    let explained = run(here, &["decision", "explain", id]);
    let told = &explained["explanation"];
    assert_eq!((&told["reason"], &told["stage"]), (&json!("out_of_scope"), &json!("envelope-gate")), "{told}");
    assert!(told["particulars"][0].as_str().unwrap().starts_with("link 1 of the chain"), "{told}");
    assert!(told["needed"].as_str().unwrap().contains("a grant that reaches this"), "{told}");

    write(&here.join("new.key"), b"another key\n");
    let from = format!("file://{}", here.join("new.key").display());
    let sealed = run(here, &["credential", "seal", "acme-contracts-api", "--from", &from]);
    assert_eq!((&sealed["version"], sealed["edges"].as_array().unwrap().len()), (&json!(2), 1));

    // Maya's agent takes back what it handed on, without an administrator; her own envelope stays good.
    let edge = mesh.edge_url();
    let links = run(here, &["envelope", "verify", "child.envelope"])["links"].clone();
    let (root, child) = (links[0].as_str().unwrap(), links[1].as_str().unwrap());
    let holder = |key: &'static str| ["--envelope", "child.envelope", "--key", key, "--edge", edge.as_str()];
    let above = remit(here, &[&["revoke", "link", root, "--json"][..], &holder("helper.key")].concat());
    assert!(stdout_of(&above, 1).contains("not_theirs_to_cut"), "{above:?}");
    let cut = run(here, &[&["revoke", "link", child][..], &holder("agent.key")].concat());
    assert_eq!(cut["epoch"], 1, "{cut}");
    assert_eq!(run(here, &["revocation", "coverage", "1", "--wait"])["covered"], true);
    let answer = mesh.call(("child.envelope", "helper.key"), "contracts.read", read_7781()).await;
    assert_eq!(answer["error"]["data"]["reason"], "revoked", "{answer}");
    let answer = mesh.call(("maya.envelope", "agent.key"), "contracts.read", read_7781()).await;
    assert_ne!(answer["error"]["data"]["reason"], "revoked", "only the child is cut: {answer}");
    let listed = run(here, &["revocation", "ls"]);
    assert_eq!(listed["revocations"][0]["cut"], json!({"tenant": "acme", "kind": "link", "id": child}), "{listed}");
    // An id that cannot be one is refused here, with what it has to look like.
    let wrong = stdout_of(&remit(here, &["revoke", "issuer", "key", "--json"]), 2);
    assert!(wrong.contains("KEY@SECONDS"), "{wrong}");

    let revoked = run(here, &["revoke", "session", "session-maya-0711"]);
    assert_eq!(revoked["epoch"], 2);
    let coverage = run(here, &["revocation", "coverage", "2", "--wait"]);
    assert_eq!((&coverage["committed"], &coverage["covered"]), (&json!(true), &json!(true)), "{coverage}");
    for envelope in [("maya.envelope", "agent.key"), ("child.envelope", "helper.key")] {
        let answer = mesh.call(envelope, "contracts.read", read_7781()).await;
        assert_eq!(answer["error"]["data"]["reason"], "revoked", "{answer}");
    }

    mesh.counts_by_the_names_that_dashboards_use().await;
    let voters = run(here, &["voter", "ls"]);
    assert_eq!((&voters["voters"][0]["seat"], &voters["leader"]), (&json!("voter"), &json!(1)), "{voters}");
    let refused = remit(here, &["voter", "remove", "1", "--json"]);
    assert!(stdout_of(&refused, 1).contains("last_voter"));

    // Records: whole at the voters, whole in a file without them, and nothing can be changed or taken away unseen.
    let checked = run(here, &["record", "verify", "--save", "records.jsonl"]);
    assert_eq!((&checked["ok"], &checked["malformed"]), (&json!(true), &json!(0)), "{checked}");
    assert!(checked["records"].as_u64() >= Some(4), "{checked}");
    write(&here.join("root.json"), &read(&here.join(".remit/root.json")));

    let open: Vec<_> = files_below(here).into_iter().filter(|path| mode(path) & 0o077 != 0).collect();
    assert!(open.is_empty(), "readable by others: {open:?}");

    let stopped = run(here, &["down"]);
    assert_eq!((&stopped["stopped"], &stopped["removed"]), (&json!(3), &json!(true)));
    assert!(!here.join(".remit").exists());

    let verify = ["record", "verify", "records.jsonl", "--root", "root.json"];
    assert_eq!(run(here, &verify)["records"], checked["records"]);
    let kept = String::from_utf8(read(&here.join("records.jsonl"))).unwrap();
    let lines: Vec<&str> = kept.lines().collect();
    let attack = |change: &dyn Fn(&mut Vec<String>), code: i32| {
        let mut lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        change(&mut lines);
        write(&here.join("records.jsonl"), lines.join("\n").as_bytes());
        stdout_of(&remit(here, &[&verify[..], &["--json"]].concat()), code)
    };
    // Whichever record is taken away, it shows, unless it is the last one of the chain.
    let without = |gone: usize| {
        let left: Vec<&str> = lines.iter().enumerate().filter(|(at, _)| *at != gone).map(|(_, line)| *line).collect();
        write(&here.join("records.jsonl"), left.join("\n").as_bytes());
        remit(here, &verify).status.code()
    };
    let seen = (1..lines.len()).map(without).filter(|code| *code == Some(4)).count();
    assert_eq!(seen, lines.len() - 2);
    attack(&|lines| lines[1].truncate(40), 4);
    attack(&|lines| lines.truncate(1), 6);
    attack(
        &|lines| lines[0] = lines[0].replace("\"threshold\"", "\"treshold\"").replacen("\"sig\":\"", "\"sig\":\"AA", 1),
        4,
    );
    attack(&|lines| lines.clear(), 4);
}

pub(crate) fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode()
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}
