//! An edge that nobody gave a certificate: from the token to a call, and cut off again. Real processes.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use remit_common::crypto::key_file;
use remit_common::id::MeshId;
use remit_common::identity::SignedRequest;
use remit_common::net::http::HttpClient;
use remit_common::net::real::real;
use remit_common::trust::directory::{Edge, SignedDirectory};
use remit_common::trust::root::SignedRoot;
use serde_json::{Value, json};

use crate::mesh::{Mesh, mode, one_at_a_time, read_7781};
use crate::process::{Running, json as run, read, remit, stdout_of, write};

const PATIENCE: Duration = Duration::from_secs(120);

/// Looks until `look` gives something.
async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.unwrap_or_else(|_| panic!("never {what}"))
}

async fn get(at: &str, path: &str) -> Option<(u16, String)> {
    let request = Request::get(path).header("host", at).body(Bytes::new()).unwrap();
    let client = HttpClient::new(&real(), 1 << 20);
    let answer = client.send(at.parse().unwrap(), request, Duration::from_secs(10)).await.ok()?;
    Some((answer.status().as_u16(), String::from_utf8_lossy(answer.body()).into_owned()))
}

fn mesh_file(here: &Path) -> Value {
    serde_json::from_slice(&read(&here.join(".remit/mesh.json"))).unwrap()
}

/// Addresses that nobody listens at now.
fn free<const N: usize>() -> [String; N] {
    let listeners: Vec<_> = (0..N).map(|_| real().socket.listen(([127, 0, 0, 1], 0).into()).unwrap()).collect();
    let addresses: Vec<String> = listeners.iter().map(|listener| listener.local_addr().to_string()).collect();
    addresses.try_into().unwrap()
}

/// The configuration of the mesh's edge, for another one that has nothing yet but a token.
fn configure(here: &Path, name: &str, [agent, ops]: &[String; 2]) -> String {
    let template = mesh_file(here)["edges"][0]["dir"].as_str().unwrap().to_owned();
    let text = String::from_utf8(read(&Path::new(&template).join("edge.toml"))).unwrap();
    let mut config: toml::Table = text.parse().unwrap();
    let folder = here.join(name);
    let path = |file: &str| toml::Value::String(folder.join(file).display().to_string());
    config.insert("id".to_owned(), "lab-0".into());
    for (key, file) in [("data_dir", "data"), ("root", "root.json"), ("sealing_key", "sealing.key")] {
        config.insert(key.to_owned(), path(file));
    }
    let tls = [("certificate", "edge.pem"), ("key", "identity.key"), ("voters_ca", "voters-ca.pem")];
    config["tls"] = toml::Value::Table(tls.map(|(key, file)| (key.to_owned(), path(file))).into_iter().collect());
    let listen = [("agent", agent), ("ops", ops)].map(|(key, addr)| (key.to_owned(), addr.as_str().into()));
    config["listen"] = toml::Value::Table(listen.into_iter().collect());
    let token = toml::Value::String(here.join("lab-0.token").display().to_string());
    config.insert("enrolment".to_owned(), toml::Value::Table([("token".to_owned(), token)].into_iter().collect()));
    let file = here.join(format!("{name}.toml"));
    write(&file, toml::to_string(&config).unwrap().as_bytes());
    file.display().to_string()
}

/// Signs a directory that has this row, too, and has the voters install it.
async fn list(here: &Path, row: Edge) {
    let file = mesh_file(here);
    let mesh: MeshId = file["mesh_id"].as_str().unwrap().parse().unwrap();
    let remit = |name: &str| read(&here.join(".remit").join(name));
    let root = SignedRoot::parse(&remit("root.json")).unwrap();
    let root = root.clone().verify_pinned(&root.digest(), &mesh).unwrap();
    let now = real().now().wall;
    let directory = SignedDirectory::parse(&remit("directory.json")).unwrap().verify(&root, now).unwrap();
    let mut content = directory.content().clone();
    content.version += 1;
    content.edges.push(row);
    let key = |name: &str| key_file::parse_signing(&remit(name)).unwrap();
    let signed = SignedDirectory::make(&content, &[&key("keys/directory.key")]).unwrap().to_bytes();
    write(&here.join(".remit/directory.json"), &signed);
    let body = format!("{{\"directory\":{}}}", String::from_utf8(signed).unwrap()).into_bytes();
    let (at, nonce) = (now.as_secs(), real().random());
    let signed = SignedRequest::sign(&mesh, &key("keys/admin.key"), "POST", "/v1/trust", body, at, at + 60, nonce);
    let admin = file["voters"][0]["admin"].as_str().unwrap().trim_start_matches("http://").to_owned();
    let mut request = Request::post("/v1/trust").header("host", &admin);
    for (name, value) in signed.headers(&mesh) {
        request = request.header(name, value);
    }
    let request = request.body(Bytes::from(signed.body.clone())).unwrap();
    let client = HttpClient::new(&real(), 1 << 20);
    let answer = client.send(admin.parse().unwrap(), request, PATIENCE).await.unwrap();
    assert_eq!(answer.status(), 200, "{:?}", answer.body());
}

/// J-1 to J-17, N-22 to N-24.
#[tokio::test]
async fn an_edge_joins_by_a_token_serves_a_call_and_is_cut_off() {
    let mesh = Mesh::up("1");
    let here = mesh.path();
    let create = ["edge", "token", "create", "--region", "lab", "--name", "lab-0", "--ttl", "5m", "-o", "lab-0.token"];
    let made = run(here, &create);
    assert_eq!(
        (&made["edge"], &made["uses"], mode(&here.join("lab-0.token")) & 0o077),
        (&json!("lab-0"), &json!(1), 0)
    );
    let listed = run(here, &["edge", "token", "ls"]);
    assert_eq!((&listed["tokens"][0]["token"], &listed["tokens"][0]["used"]), (&made["id"], &json!(0)), "{listed}");
    let shown = stdout_of(&remit(here, &["edge", "token", "create", "--region", "lab", "--name", "lab-9"]), 0);
    assert!(shown.starts_with("remit-join-1."), "{shown}");
    let id = run(here, &["edge", "token", "ls"])["tokens"]
        .as_array()
        .unwrap()
        .iter()
        .find(|token| token["edge"] == "lab-9")
        .unwrap()["token"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(run(here, &["edge", "token", "revoke", &id])["expires"], Value::Null);
    let gone = remit(here, &["edge", "token", "revoke", &id, "--json"]);
    assert!(stdout_of(&gone, 1).contains("no_such_token"));
    let long = remit(here, &[&create[..8], &["8days"]].concat());
    assert!(!long.status.success());

    let addresses = {
        let _ports = one_at_a_time();
        free::<4>()
    };
    let [agent, ops, other_agent, other_ops] = addresses.clone();
    let config = configure(here, "joins", &[agent.clone(), ops.clone()]);
    stdout_of(&remit(here, &["edge-node", "--config", &config, "--check-config"]), 0);
    let mut edge = Running::start(here, &["edge-node", "--config", &config]);
    let why = eventually("says why it waits", async || {
        assert!(!edge.has_ended(), "the edge has ended");
        let (status, text) = get(&ops, "/readyz").await?;
        (status == 503 && text.starts_with("not_in_directory: directory 1 ")).then_some(text)
    })
    .await;
    assert!(why.contains("remit edge ls --json"), "{why}");
    let (_, status) = get(&ops, "/status").await.unwrap();
    assert!(status.contains("\"mode\":\"joining\""), "{status}");
    for file in ["identity.key", "sealing.key", "edge.pem", "data/enrolment.json"] {
        assert_eq!(mode(&here.join("joins").join(file)) & 0o077, 0, "{file}");
    }

    // The same token, on another machine: too late.
    let copied = configure(here, "copied", &[other_agent, other_ops]);
    let mut late = Running::start(here, &["edge-node", "--config", &copied]);
    assert_eq!(late.exit_code(), Some(1));
    assert_eq!(run(here, &["edge", "token", "ls"])["tokens"][0]["used"], 1);

    let edges = run(here, &["edge", "ls"]);
    let waiting = edges["waiting"].as_array().unwrap();
    assert_eq!(waiting.len(), 1, "{edges}");
    let table = stdout_of(&remit(here, &["edge", "ls"]), 0);
    assert!(table.contains("waits") && table.contains("not from a voter"), "{table}");
    list(here, serde_json::from_value(waiting[0]["row"].clone()).unwrap()).await;
    eventually("is ready", async || {
        assert!(!edge.has_ended(), "the edge has ended");
        let (status, _) = get(&ops, "/readyz").await?;
        (status == 200).then_some(())
    })
    .await;

    // What is sealed now is sealed to it as well, and it serves.
    write(&here.join("new.key"), b"another key\n");
    let from = format!("file://{}", here.join("new.key").display());
    eventually("sealed to both", async || {
        let sealed = run(here, &["credential", "seal", "acme-contracts-api", "--from", &from]);
        (sealed["edges"].as_array().unwrap().len() == 2).then_some(())
    })
    .await;
    let mut file = mesh_file(here);
    file["edges"][0]["agent"] = json!(format!("http://{agent}"));
    write(&here.join(".remit/mesh.json"), file.to_string().as_bytes());
    let task = ".remit/example/task.toml";
    run(here, &["envelope", "issue", "--task", task, "-o", "maya.envelope", "--key", "agent.key"]);
    eventually("permits a call", async || {
        // It may still be fetching the bundle or the shard; and the tools do not know the key that was sealed.
        mesh.call_with(("maya.envelope", "agent.key"), "contracts.read", read_7781(), &[]).await;
        let (_, status) = get(&ops, "/status").await?;
        let status: Value = serde_json::from_str(&status).unwrap();
        (status["decisions"]["permit"].as_u64() > Some(0)).then_some(())
    })
    .await;
    let connected = run(here, &["edge", "ls"]);
    let own = connected["edges"].as_array().unwrap().iter().find(|edge| edge["id"] == "lab-0").unwrap().clone();
    assert!(own["certificate_ends"].is_u64() && own["connected"] == json!([1]), "{own}");

    let evicted = run(here, &["edge", "evict", "lab-0"]);
    assert_eq!((&evicted["evicted"], &evicted["listed"]), (&json!(true), &json!(true)), "{evicted}");
    eventually("is cut off", async || {
        let edges = run(here, &["edge", "ls"]);
        let own = edges["edges"].as_array().unwrap().iter().find(|edge| edge["id"] == "lab-0").unwrap().clone();
        (own["evicted"] == true && own["connected"] == json!([])).then_some(())
    })
    .await;
    let answer = mesh.call_with(("maya.envelope", "agent.key"), "contracts.read", read_7781(), &[]).await;
    assert_eq!(answer["error"]["data"]["reason"], "quarantined", "{answer}");
}
