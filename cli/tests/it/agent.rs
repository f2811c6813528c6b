//! The sidecar from outside: an agent that knows nothing of envelopes and proofs, through `remit agent`, at real edges.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{ChildStdin, ChildStdout};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use remit_common::net::env::{BoxStream, Env};
use remit_common::net::http::HttpClient;
use remit_common::net::real::real;
use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::mesh::{Mesh, mode, read_7781};
use crate::process::{Running, json as run, listed, read, remit, stdout_of, write};

const WITHIN: Duration = Duration::from_secs(60);
/// What the envelope of the story opens.
const TOOLS: [&str; 3] = ["contracts.read", "crm.read", "tickets.create"];

static ENV: LazyLock<Env> = LazyLock::new(real);

/// An agent on the sidecar's standard input and output.
pub(crate) struct Talk {
    running: Running,
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
    last: i64,
}

impl Talk {
    pub(crate) fn start(folder: &Path, envelope: (&str, &str), edges: &[&str]) -> Self {
        let args: Vec<&str> = sidecar(envelope, edges).into_iter().chain(["--stdio"]).collect();
        let mut running = Running::talking(folder, &args);
        let (to, from) = (Some(running.stdin()), BufReader::new(running.stdout()));
        Self { running, to, from, last: 0 }
    }

    pub(crate) fn say(&mut self, line: &str) {
        writeln!(self.to.as_mut().unwrap(), "{line}").unwrap();
    }

    pub(crate) fn hear(&mut self) -> Value {
        let mut line = String::new();
        self.from.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    pub(crate) fn ask(&mut self, method: &str, params: Value) -> Value {
        self.last += 1;
        let id = self.last;
        self.say(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string());
        let answer = self.hear();
        assert_eq!(answer["id"], id, "{answer}");
        answer
    }

    pub(crate) fn call(&mut self, tool: &str, arguments: Value) -> Value {
        self.ask("tools/call", json!({"name": tool, "arguments": arguments}))
    }

    /// Says no more, and hears what is still to come until the sidecar has ended by itself.
    pub(crate) fn end(mut self) -> String {
        drop(self.to.take());
        let mut rest = String::new();
        self.from.read_to_string(&mut rest).unwrap();
        assert_eq!(self.running.exit_code(), Some(0));
        rest
    }
}

/// The arguments up to the choice of a front.
fn sidecar<'a>((envelope, key): (&'a str, &'a str), edges: &[&'a str]) -> Vec<&'a str> {
    let edges = edges.iter().flat_map(|edge| ["--edge", *edge]);
    ["agent", "--envelope", envelope, "--key", key].into_iter().chain(edges).collect()
}

pub(crate) fn stateless(params: Value) -> Value {
    let mut params = params;
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "0" },
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    params
}

fn names(listed: &Value) -> Vec<&str> {
    listed["result"]["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect()
}

pub(crate) fn rows(answer: &Value) -> usize {
    answer["result"]["structuredContent"]["contracts"].as_array().map_or(0, Vec::len)
}

pub(crate) fn reason(answer: &Value) -> &str {
    answer["error"]["data"]["reason"].as_str().unwrap_or("none")
}

pub(crate) fn ticket() -> Value {
    json!({ "customer_id": "cust_acme_1042", "title": "Renewal of 7781 at risk", "body": "Usage fell by a third." })
}

/// The story's mesh with Maya's envelope, and two edges.
pub(crate) struct Scene {
    pub(crate) mesh: Mesh,
    pub(crate) edges: Vec<String>,
}

const MAYA: (&str, &str) = ("maya.envelope", "agent.key");

impl Scene {
    pub(crate) fn new() -> Self {
        let mesh = Mesh::up("2");
        let file: Value = serde_json::from_slice(&read(&mesh.path().join(".remit/mesh.json"))).unwrap();
        let edges = file["edges"].as_array().unwrap().iter();
        let edges = edges.map(|edge| edge["agent"].as_str().unwrap().to_owned()).collect();
        let task = ".remit/example/task.toml";
        run(mesh.path(), &["envelope", "issue", "--task", task, "-o", MAYA.0, "--key", MAYA.1]);
        Self { mesh, edges }
    }

    fn here(&self) -> &Path {
        self.mesh.path()
    }

    pub(crate) fn talk(&self, edges: &[&str]) -> Talk {
        Talk::start(self.here(), MAYA, edges)
    }

    /// Tickets in the tool server's own books.
    pub(crate) fn tickets(&self) -> usize {
        let books = read(&self.here().join(".remit/upstreams/acme/tools.json"));
        let books: Value = serde_json::from_slice(&books).unwrap();
        books["tickets"].as_array().map_or(0, Vec::len)
    }
}

#[tokio::test]
async fn an_agent_that_speaks_plain_mcp_works_through_the_sidecar() {
    let scene = Scene::new();
    both_eras_on_standard_input(&scene);
    another_edge_is_asked_when_one_is_not_there(&scene);
    a_call_whose_outcome_is_unknown_is_repeated_only_if_it_reads(&scene).await;
    who_has_no_key_is_told_so_before_anything_is_sent(&scene);
    over_http_for_who_knows_the_secret(&scene).await;
    a_socket_is_its_owners(&scene);
    run(scene.here(), &["revoke", "session", "session-maya-0711"]);
    run(scene.here(), &["revocation", "coverage", "1", "--wait"]);
    let mut talk = scene.talk(&[&scene.edges[0]]);
    assert_eq!(reason(&talk.call("contracts.read", read_7781())), "revoked");
    assert_eq!(reason(&talk.ask("tools/list", stateless(json!({})))), "revoked");
}

/// Clauses G-61 to G-63.
fn both_eras_on_standard_input(scene: &Scene) {
    let mut talk = scene.talk(&[&scene.edges[0]]);
    let hello =
        json!({ "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": { "name": "t", "version": "0" } });
    assert_eq!(talk.ask("initialize", hello)["result"]["protocolVersion"], "2025-06-18");
    talk.say(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
    assert_eq!(talk.ask("ping", json!({}))["result"], json!({}));
    let listed = talk.ask("tools/list", json!({}));
    assert_eq!(names(&listed), TOOLS);
    assert!(listed["result"].get("ttlMs").is_none() && listed["result"].get("resultType").is_none(), "{listed}");
    let answer = talk.call("contracts.read", read_7781());
    assert_eq!(rows(&answer), 25, "{answer}");
    // It cannot be taken back: the edge wants a signature, and gets one.
    let answer = talk.call("tickets.create", ticket());
    assert!(answer["result"]["structuredContent"]["ticket"]["ticket_id"].is_string(), "{answer}");
    let refused = talk.call("billing.update", json!({ "customer_id": "cust_acme_1042", "plan": "free" }));
    assert_eq!((reason(&refused), &refused["error"]["code"]), ("out_of_scope", &json!(-32001)), "{refused}");
    assert_eq!(talk.ask("resources/list", json!({}))["error"]["code"], -32601);

    // The stateless era, in between: each message says itself what it is.
    let listed = talk.ask("tools/list", stateless(json!({})));
    assert_eq!((names(&listed), &listed["result"]["resultType"]), (TOOLS.to_vec(), &json!("complete")));
    let params = stateless(json!({ "name": "contracts.read", "arguments": read_7781() }));
    assert_eq!(rows(&talk.ask("tools/call", params)), 25);
    assert_eq!(talk.ask("server/discover", stateless(json!({})))["result"]["supportedVersions"], json!(["2026-07-28"]));
    assert_eq!(talk.ask("resources/list", stateless(json!({})))["error"]["code"], -32601);

    // What is no message is answered, and what comes after it is heard.
    talk.say("{");
    assert_eq!(talk.hear()["error"]["code"], -32700);
    talk.say(&format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{"x":"{}"}}}}"#, "x".repeat(1 << 20)));
    assert_eq!(talk.hear()["error"]["code"], -32600);
    talk.say(r#"[{"jsonrpc":"2.0","id":"a","method":"ping"},{"jsonrpc":"2.0","method":"x"},{"jsonrpc":"2.0","id":"b","method":"tools/list"}]"#);
    let both = talk.hear();
    assert_eq!((both[0]["id"].as_str(), both[1]["id"].as_str(), names(&both[1]).len()), (Some("a"), Some("b"), 3));
    talk.say(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":77}}"#);

    // Many at the same time, and the end of input: each is answered first, in whatever order.
    for id in 100..130 {
        let params = json!({ "name": "contracts.read", "arguments": read_7781() });
        talk.say(&json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params }).to_string());
    }
    let rest = talk.end();
    let mut answered: Vec<i64> = rest
        .lines()
        .map(|line| {
            let answer: Value = serde_json::from_str(line).unwrap();
            assert_eq!(rows(&answer), 25, "{answer}");
            answer["id"].as_i64().unwrap()
        })
        .collect();
    answered.sort_unstable();
    assert_eq!(answered, (100..130).collect::<Vec<_>>());
}

/// Clause G-65.
fn another_edge_is_asked_when_one_is_not_there(scene: &Scene) {
    let nobody = ENV.socket.listen("127.0.0.1:0".parse().unwrap()).unwrap().local_addr();
    let nobody = format!("http://{nobody}");
    let mut talk = scene.talk(&[&nobody, &scene.edges[1]]);
    assert_eq!(rows(&talk.call("contracts.read", read_7781())), 25);
    let tickets = scene.tickets();
    assert!(talk.call("tickets.create", ticket())["result"].is_object());
    assert_eq!(scene.tickets(), tickets + 1);
    talk.end();
    let mut talk = scene.talk(&[&nobody]);
    let answer = talk.call("tickets.create", ticket());
    assert_eq!((reason(&answer), &answer["error"]["code"]), ("edge_unreachable", &json!(-32603)), "{answer}");
    talk.end();

    // Another mesh than the envelope's: whoever answers cannot show the root that the envelope file names.
    let mut file: Value = serde_json::from_slice(&read(&scene.here().join(MAYA.0))).unwrap();
    file["root_sha256"] = json!("00".repeat(32));
    write(&scene.here().join("elsewhere.envelope"), file.to_string().as_bytes());
    let mut talk = Talk::start(scene.here(), ("elsewhere.envelope", MAYA.1), &[&scene.edges[0]]);
    let answer = talk.call("contracts.read", read_7781());
    assert_eq!(reason(&answer), "edge_unreachable");
    assert!(answer["error"]["message"].as_str().unwrap().contains("is not among the edge's"), "{answer}");
}

/// Stands in front of an edge, and hangs up on whoever called a tool, when the edge has answered what came of it.
async fn hang_up(edge: SocketAddr, calls: Arc<AtomicU64>) -> SocketAddr {
    let mut listener = ENV.socket.listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let addr = listener.local_addr();
    drop(ENV.spawn_named("proxy", async move {
        while let Ok((near, _)) = listener.accept().await {
            let (far, calls) = (ENV.socket.connect(edge).await.unwrap(), Arc::clone(&calls));
            drop(ENV.spawn_named("proxied", async move { relay(near, far, &calls).await }));
        }
    }));
    addr
}

async fn relay(near: BoxStream, far: BoxStream, calls: &AtomicU64) {
    let (mut near, mut far) = (near, far);
    let (mut up, mut down) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    let mut is_call = false;
    loop {
        tokio::select! {
            read = near.read(&mut up) => match read {
                Ok(read @ 1..) => {
                    is_call |= up[..read].windows(10).any(|window| window == b"tools/call");
                    far.write_all(&up[..read]).await.unwrap();
                }
                _ => return,
            },
            read = far.read(&mut down) => match read {
                Ok(read @ 1..) if is_call && down[..read].starts_with(b"HTTP/1.1 200") => {
                    calls.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                Ok(read @ 1..) => near.write_all(&down[..read]).await.unwrap(),
                _ => return,
            },
        }
    }
}

/// Clause G-66.
async fn a_call_whose_outcome_is_unknown_is_repeated_only_if_it_reads(scene: &Scene) {
    let calls = Arc::new(AtomicU64::new(0));
    let edge = scene.edges[0].trim_start_matches("http://").parse().unwrap();
    let broken = format!("http://{}", hang_up(edge, Arc::clone(&calls)).await);
    let (here, second) = (scene.here().to_owned(), scene.edges[1].clone());
    let tickets = scene.tickets();
    let talking = ENV.run_blocking(move || {
        let mut talk = Talk::start(&here, MAYA, &[&broken, &second]);
        let created = talk.call("tickets.create", ticket());
        let read = talk.call("contracts.read", read_7781());
        talk.end();
        let mut alone = Talk::start(&here, MAYA, &[&broken]);
        let unread = alone.call("contracts.read", read_7781());
        alone.end();
        (created, read, unread)
    });
    let (created, read, unread) = talking.await.unwrap();
    assert_eq!(reason(&created), "outcome_unknown", "{created}");
    assert_eq!(scene.tickets(), tickets + 1, "it was carried out once, and not again");
    assert_eq!(rows(&read), 25, "{read}");
    assert_eq!(reason(&unread), "outcome_unknown", "{unread}");
    assert_eq!(calls.load(Ordering::Relaxed), 4, "a ticket, a read, and a read that was tried twice");
}

/// Clause G-60: a stolen envelope.
fn who_has_no_key_is_told_so_before_anything_is_sent(scene: &Scene) {
    let task = ".remit/example/task.toml";
    run(scene.here(), &["envelope", "issue", "--task", task, "-o", "other.envelope", "--key", "thief.key"]);
    let args = [&sidecar((MAYA.0, "thief.key"), &[&scene.edges[0]])[..], &["--stdio", "--json"]].concat();
    let told = stdout_of(&remit(scene.here(), &args), 1);
    assert!(told.contains("not_the_holder"), "{told}");
    // An identity that no edge could take: of another key, none at all, and missing.
    let agent = "spiffe://customer-success.example/agent/clause-classifier";
    run(scene.here(), &["identity", "issue", "--agent", agent, "--key", "thief.key", "-o", "thief.svid"]);
    for (identity, code, why) in [
        ("thief.svid", 1, "by another key than the one that holds the envelope"),
        (MAYA.0, 2, "is no identity of an agent"),
        ("missing.svid", 2, "does not exist"),
    ] {
        let args = [&sidecar(MAYA, &[&scene.edges[0]])[..], &["--stdio", "--json", "--identity", identity]].concat();
        let told = stdout_of(&remit(scene.here(), &args), code);
        assert!(told.contains(why), "{told}");
    }
    // A secret that others may have read.
    let secret = scene.here().join("known.secret");
    write(&secret, b"known-to-everybody-on-this-machine\n");
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o640)).unwrap();
    let listens = ["--listen", "127.0.0.1:0", "--secret", "known.secret", "--json"];
    let told = stdout_of(&remit(scene.here(), &[&sidecar(MAYA, &[&scene.edges[0]])[..], &listens].concat()), 2);
    assert!(told.contains("its mode is 0640, not 0600"), "{told}");
    // And a key.
    write(&scene.here().join("open.key"), &read(&scene.here().join(MAYA.1)));
    for open in [0o644, 0o640, 0o604] {
        std::fs::set_permissions(scene.here().join("open.key"), std::fs::Permissions::from_mode(open)).unwrap();
        let restrict = ".remit/example/child.toml";
        let delegate = ["envelope", "delegate", "--parent", MAYA.0, "--key", "open.key", "--restrict", restrict];
        let delegate = [&delegate[..], &["-o", "child.envelope", "--child-key", "child.key", "--json"]].concat();
        let agent = [&sidecar((MAYA.0, "open.key"), &[&scene.edges[0]])[..], &["--stdio", "--json"]].concat();
        for args in [delegate, agent] {
            let told = stdout_of(&remit(scene.here(), &args), 2);
            assert!(told.contains(&format!("its mode is {open:04o}")) && told.contains("chmod 600 open.key"), "{told}");
        }
    }
    for refused in ["0.0.0.0:0", "192.0.2.1:7800", "[::]:0"] {
        let args = [&sidecar(MAYA, &[&scene.edges[0]])[..], &["--listen", refused]].concat();
        let output = remit(scene.here(), &args);
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).contains("of this machine alone"), "{output:?}");
    }
    let far = remit(scene.here(), &[&sidecar(MAYA, &["http://192.0.2.1:7511"])[..], &["--stdio"]].concat());
    assert_eq!(far.status.code(), Some(2));
    let neither = remit(scene.here(), &sidecar(MAYA, &[&scene.edges[0]]));
    assert_eq!(neither.status.code(), Some(2));
}

/// A sidecar that listens.
pub(crate) struct Listening {
    running: Running,
    pub(crate) first: Value,
}

impl Listening {
    pub(crate) fn start(scene: &Scene, more: &[&str]) -> Self {
        let edges: Vec<&str> = scene.edges.iter().map(String::as_str).collect();
        let args = [&sidecar(MAYA, &edges)[..], more, &["--json"]].concat();
        let mut running = Running::telling(scene.here(), &args);
        let mut line = String::new();
        BufReader::new(running.stdout()).read_line(&mut line).unwrap();
        let first = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        Self { running, first }
    }

    pub(crate) fn end(mut self) {
        kill_process(self.running.pid(), Signal::TERM).unwrap();
        assert_eq!(self.running.exit_code(), Some(0));
    }
}

/// Clauses G-61, G-67 and G-68.
async fn over_http_for_who_knows_the_secret(scene: &Scene) {
    let listens = ["--listen", "127.0.0.1:0", "--secret", "agent.secret"];
    let children = ["--children", "kids", "--allow-foreign-holders"];
    let sidecar = Listening::start(scene, &[&listens[..], &children].concat());
    let url = sidecar.first["url"].as_str().unwrap().to_owned();
    let addr: SocketAddr = url.trim_start_matches("http://").trim_end_matches("/mcp").parse().unwrap();
    assert_eq!(mode(&scene.here().join("agent.secret")) & 0o777, 0o600);
    let secret = String::from_utf8(read(&scene.here().join("agent.secret"))).unwrap();
    let bearer = format!("Bearer {}", secret.trim());
    let client = HttpClient::new(&ENV, 1 << 24);
    let send = async |method: Method, path: &str, lines: &[(&str, &str)], body: String| {
        let mut request = Request::builder().method(method).uri(path).header("content-type", "application/json");
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        let response = client.send(addr, request.body(Bytes::from(body)).unwrap(), WITHIN).await.unwrap();
        let json: Value = serde_json::from_slice(response.body()).unwrap_or_default();
        (response.status(), json)
    };
    let host = addr.to_string();
    let call = |params: Value| json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).to_string();
    let plain = call(json!({ "name": "contracts.read", "arguments": read_7781() }));
    let (own, known) = (("host", host.as_str()), ("authorization", bearer.as_str()));

    for (lines, status) in [
        (vec![own], StatusCode::UNAUTHORIZED),
        (vec![own, ("authorization", "Bearer guessed-guessed-guessed-guessed-guess")], StatusCode::UNAUTHORIZED),
        (vec![("host", "evil.example"), known], StatusCode::FORBIDDEN),
        (vec![own, known, ("origin", "http://evil.example")], StatusCode::FORBIDDEN),
    ] {
        let (found, _) = send(Method::POST, "/mcp", &lines, plain.clone()).await;
        assert_eq!(found, status, "{lines:?}");
        let (found, _) = send(Method::POST, "/v1/children", &lines, "{}".to_owned()).await;
        assert_eq!(found, status, "{lines:?}");
    }
    for method in [Method::GET, Method::DELETE] {
        assert_eq!(send(method, "/mcp", &[own, known], String::new()).await.0, StatusCode::METHOD_NOT_ALLOWED);
    }

    let (status, answer) =
        send(Method::POST, "/mcp", &[own, known, ("mcp-protocol-version", "2025-11-25")], plain.clone()).await;
    assert_eq!((status, rows(&answer)), (StatusCode::OK, 25), "{answer}");
    let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"}).to_string();
    assert_eq!(send(Method::POST, "/mcp", &[own, known], initialized).await.0, StatusCode::ACCEPTED);
    let modern = call(stateless(json!({ "name": "contracts.read", "arguments": read_7781() })));
    let version = ("mcp-protocol-version", "2026-07-28");
    let headers = [own, known, version, ("mcp-method", "tools/call"), ("mcp-name", "contracts.read")];
    let (status, answer) = send(Method::POST, "/mcp", &headers, modern.clone()).await;
    assert_eq!((status, rows(&answer)), (StatusCode::OK, 25), "{answer}");
    // A header that differs from the body is refused by who reads the body: the edge.
    let lying = [own, known, version, ("mcp-method", "tools/call"), ("mcp-name", "crm.read")];
    let (status, answer) = send(Method::POST, "/mcp", &lying, modern).await;
    assert_eq!((status, &answer["error"]["code"]), (StatusCode::BAD_REQUEST, &json!(-32020)), "{answer}");

    // An envelope for a helper: one tool, one contract.
    let restriction = json!({
        "subtask": "classify the clauses of contract 7781", "lifetime_secs": 600,
        "agent": { "id": "spiffe://customer-success.example/agent/clause-classifier", "class": "clause-classifier" },
        "grant": [{ "of": 0, "tools": ["contracts.read"], "effects": ["read"], "ids": { "contract": ["contract_7781"] } }],
    });
    let asked = json!({ "restriction": restriction }).to_string();
    let (status, child) = send(Method::POST, "/v1/children", &[own, known], asked).await;
    assert_eq!(status, StatusCode::CREATED, "{child}");
    let (envelope, key) = (child["files"]["envelope"].as_str().unwrap(), child["files"]["key"].as_str().unwrap());
    assert_eq!(listed(&scene.here().join("kids")).len(), 2);
    for path in [envelope, key] {
        assert_eq!(mode(&scene.here().join(path)) & 0o777, 0o600);
    }
    let written: Value = serde_json::from_slice(&read(&scene.here().join(envelope))).unwrap();
    assert_eq!(written, child["envelope"]);
    let seed = String::from_utf8(read(&scene.here().join(key))).unwrap();
    assert!(!child.to_string().contains(seed.split(' ').nth(1).unwrap().trim()), "no key is in an answer");
    let mut helper = Talk::start(scene.here(), (envelope, key), &[&scene.edges[0]]);
    assert_eq!(names(&helper.ask("tools/list", json!({}))), ["contracts.read"]);
    assert_eq!(rows(&helper.call("contracts.read", read_7781())), 25);
    assert_eq!(reason(&helper.call("tickets.create", ticket())), "out_of_scope");
    // The helper has a key of its own for a helper of its own; without one, there would be no place for it.
    let without = helper.ask("remit/delegate", json!({ "restriction": restriction }));
    assert_eq!(without["error"]["code"], -32602, "{without}");
    // Nor does it hand anything to a key from elsewhere, unless its operator said so.
    let own_key = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    let foreign = helper.ask("remit/delegate", json!({ "restriction": restriction, "holder": own_key }));
    assert_eq!(foreign["error"]["code"], -32602, "{foreign}");
    assert!(foreign["error"]["message"].as_str().unwrap().contains("--allow-foreign-holders"), "{foreign}");
    helper.end();
    let delegate = |params: Value| json!({"jsonrpc": "2.0", "id": 9, "method": "remit/delegate", "params": params});
    let body = delegate(json!({ "restriction": restriction, "holder": own_key })).to_string();
    let (_, child) = send(Method::POST, "/mcp", &[own, known], body).await;
    assert!(
        child["result"]["envelope"]["presentation"].is_string() && child["result"].get("files").is_none(),
        "{child}"
    );
    let (_, refused) =
        send(Method::POST, "/mcp", &[own, known], delegate(json!({ "restriction": {} })).to_string()).await;
    assert_eq!(refused["error"]["code"], -32602);
    assert_eq!(listed(&scene.here().join("kids")).len(), 2, "what was not made left no files");
    sidecar.end();
}

/// Clause G-68.
fn a_socket_is_its_owners(scene: &Scene) {
    let sidecar = Listening::start(scene, &["--listen", "unix:agent.sock"]);
    let path = scene.here().join("agent.sock");
    assert_eq!(mode(&path) & 0o777, 0o600);
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).to_string();
    let mut stream = UnixStream::connect(&path).unwrap();
    let head = "POST /mcp HTTP/1.1\r\nhost: sidecar\r\ncontent-type: application/json\r\nconnection: close\r\n";
    write!(stream, "{head}content-length: {}\r\n\r\n{body}", body.len()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("contracts.read"), "{answer}");
    // Two cannot listen there, and nothing is left behind.
    let args = [&self::sidecar(MAYA, &[&scene.edges[0]])[..], &["--listen", "unix:agent.sock"]].concat();
    assert_eq!(remit(scene.here(), &args).status.code(), Some(1));
    sidecar.end();
    assert!(!path.exists());
}
