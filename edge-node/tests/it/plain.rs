//! Tools that are plain HTTP, called by MCP and as what they are, before a real server. Clauses P-58 to P-60 and G-94 to
//! G-96.

use std::net::SocketAddr;
use std::sync::{Arc, LockResult, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, Uri};
use remit_common::net::env::Env;
use remit_common::net::http::{ServeCounters, ServeLimits, serve};
use remit_common::net::tasks::Shutdown;
use remit_common::proof::Grade;
use serde_json::{Value, json};

use crate::support::agent::{Agent, Answered};
use crate::support::bundle::Variant;
use crate::support::scene::{Scene, TASK};
use crate::support::upstream::API_KEY;

/// What the server has seen of a request: method, path with query, its key, and the body.
type Line = (String, String, Option<String>, Value);

/// The server, and what it has seen.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) addr: SocketAddr,
    lines: Arc<Mutex<Vec<Line>>>,
}

impl Seen {
    pub(crate) fn lock(&self) -> LockResult<MutexGuard<'_, Vec<Line>>> {
        self.lines.lock()
    }
}

/// Headers that it has to see, and no others.
const HEADERS: [&str; 7] =
    ["accept", "accept-encoding", "connection", "content-length", "content-type", "host", "x-api-key"];

/// A plain server that demands its key, and answers by the path.
async fn answer(State(seen): State<Seen>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let key = headers.get("x-api-key").and_then(|key| key.to_str().ok()).map(str::to_owned);
    let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    assert!(headers.keys().all(|name| HEADERS.contains(&name.as_str())), "{headers:?}");
    let is_known = key.as_deref() == Some(API_KEY);
    seen.lock().unwrap().push((method.to_string(), uri.to_string(), key.clone(), body));
    if uri.path().contains("/pages/") {
        return (StatusCode::OK, [("set-cookie", "a=b"), ("content-type", "text/plain")], "a page").into_response();
    }
    if !is_known {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let notes: Vec<Value> = (0..30).map(|n| json!({"note_id": n, "author": "somebody@staff.example"})).collect();
    match uri.path() {
        "/api/customers/cust_1042/notes" if method == Method::GET => {
            axum::Json(json!({"notes": notes})).into_response()
        }
        "/api/customers/cust_1042/notes" => {
            (StatusCode::CREATED, axum::Json(json!({"note": {"note_id": 31}}))).into_response()
        }
        "/api/customers/cust_1042/utf16" => {
            let spread: Vec<u8> = API_KEY.bytes().flat_map(|byte| [byte, 0]).collect();
            ([("content-type", "text/plain; charset=utf-16le")], spread).into_response()
        }
        "/api/customers/cust_1042/stream" => {
            let event = json!({"jsonrpc": "2.0", "method": "notifications/progress",
                "params": {"progressToken": 1, "progress": 4711}});
            ([("content-type", "text/event-stream")], format!("data: {event}\n\n")).into_response()
        }
        "/api/customers/cust_1042/header" => {
            ([("x-debug", API_KEY)], axum::Json(json!({"note": {"note_id": 1}}))).into_response()
        }
        "/api/customers/cust_1042/refused" => (StatusCode::CONFLICT, API_KEY).into_response(),
        "/api/customers/cust_1042/echo" => axum::Json(json!({"note": {"note_id": key}})).into_response(),
        "/api/customers/cust_1042/moved" => (StatusCode::FOUND, [("location", "http://127.0.0.1:1/")]).into_response(),
        _ => (StatusCode::NOT_FOUND, "no such thing, and this is my database's password").into_response(),
    }
}

/// Starts it.
fn start(env: &Env, stop: &Shutdown) -> Seen {
    let listener = env.socket.listen(([127, 0, 0, 1], 0).into()).unwrap();
    let seen = Seen { addr: listener.local_addr(), lines: Arc::default() };
    let router = Router::new().fallback(answer).with_state(seen.clone());
    let (serving, stop) = (env.clone(), stop.clone());
    env.spawn_named("plain server", async move {
        let limits = ServeLimits { grace: Duration::from_millis(10), ..ServeLimits::default() };
        serve(&serving, listener, router, limits, &ServeCounters::default(), &stop).await;
    });
    seen
}

const TOOLS: &str = r#"
[[upstream]]
name = "crm"
url = "http://ADDR/api"
protocol = "http"
inject = { header = "x-api-key" }

[[tool]]
name = "notes.list"
description = "Notes about a customer."
upstream = "crm"
http = { method = "GET", path = "/customers/{customer_id}/notes", query = ["limit"] }
effects = ["read"]
purposes = ["review"]
credential = "acme-contracts-api"
resource = { type = "Customer", id = "/customer_id" }
dimensions = { customer = "/customer_id" }
free = ["/limit"]
records = "/notes"
[tool.classes]
"/notes/*/note_id" = "contract_metadata"
[tool.input_schema]
type = "object"
[tool.input_schema.properties]
customer_id = { type = "string" }
limit = { type = "integer" }

[[tool]]
name = "notes.add"
description = "A note about a customer."
upstream = "crm"
http = { method = "POST", path = "/customers/{customer_id}/notes", body = true }
effects = ["write"]
purposes = ["review"]
credential = "acme-contracts-api"
resource = { type = "Customer", id = "/customer_id" }
dimensions = { customer = "/customer_id" }
free = ["/text"]
[tool.classes]
"/note/note_id" = "contract_metadata"

[[tool]]
name = "notes.more"
description = "Something else about a customer."
upstream = "crm"
http = { method = "GET", path = "/customers/{customer_id}/{what}" }
effects = ["read"]
purposes = ["review"]
credential = "acme-contracts-api"
resource = { type = "Customer", id = "/customer_id" }
dimensions = { customer = "/customer_id" }
free = ["/what"]
[tool.classes]
"/note/note_id" = "contract_metadata"

[[tool]]
name = "pages.read"
upstream = "crm"
http = { method = "GET", path = "/pages/{page}", query = ["draft"] }
effects = ["read"]
purposes = ["review"]
free = ["/page", "/draft"]
[tool.input_schema]
type = "object"
[tool.input_schema.properties]
page = { type = "integer" }
draft = { type = "boolean" }

[[tool]]
name = "pages.drop"
upstream = "crm"
http = { method = "DELETE", path = "/pages/{page}" }
effects = ["write"]
purposes = ["review"]
free = ["/page"]

[[tool]]
name = "pages.search"
upstream = "crm"
http = { method = "GET", path = "/search", body = true }
effects = ["read"]
purposes = ["review"]
free = ["/words"]

[[tool]]
name = "secret.read"
description = "Nobody's."
upstream = "crm"
http = { method = "GET", path = "/secrets" }
effects = ["read"]
purposes = ["review"]
credential = "acme-contracts-api"
"#;

pub(crate) async fn scene() -> (Scene, Seen, Shutdown) {
    scene_with(|_| ()).await
}

/// The same with a configuration of its own.
pub(crate) async fn scene_with(configure: impl FnOnce(&mut Scene)) -> (Scene, Seen, Shutdown) {
    let mut scene = Scene::before_the_edge();
    configure(&mut scene);
    let stop = Shutdown::new();
    let seen = start(&scene.world.env, &stop);
    let tools: &'static str = Box::leak(TOOLS.replace("ADDR", &seen.addr.to_string()).into_boxed_str());
    let variant = Variant { plain_http: tools, ..Variant::new(1, &scene.upstream.url()) };
    scene.seal_for(&variant, "crm");
    scene.publish(&variant);
    scene.start_edge().await;
    scene.until_fresh(1).await;
    (scene, seen, stop)
}

pub(crate) fn task() -> String {
    let grants = r#"
[[grant]]
tools = ["notes.list"]
effects = ["read"]
classes = ["contract_metadata"]
ids = { customer = ["cust_1042"] }
maxima = { records = 25 }
[[grant]]
tools = ["notes.add", "notes.more"]
effects = ["read", "write"]
classes = ["contract_metadata"]
ids = { customer = ["cust_1042"] }
[[grant]]
tools = ["pages.read", "pages.drop", "pages.search"]
effects = ["read", "write"]
classes = ["contract_metadata"]
"#;
    format!("{TASK}{grants}")
}

async fn send(agent: &Agent, method: &str, path: &str, body: Option<Value>) -> Answered {
    agent.plain(Grade::P1, method, path, body.map(|body| body.to_string().into_bytes())).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plain_tool_is_called_both_ways_and_filtered_alike() {
    let (scene, seen, stop) = scene().await;
    let agent = scene.agent(Some(&scene.envelope(&task())));
    let listed = send(&agent, "GET", "/t/crm/customers/cust_1042/notes?limit=30", None).await;
    assert_eq!(listed.status, 200, "{}", listed.json);
    assert_eq!(listed.json["notes"].as_array().unwrap().len(), 25);
    assert_eq!(listed.headers["remit-cut"], "25", "a cut is announced");
    assert!(!String::from_utf8_lossy(&listed.body).contains("staff.example"), "no class, not released");
    assert!(listed.headers.contains_key("remit-decision"));
    let called = agent.call("notes.list", json!({"customer_id": "cust_1042", "limit": 30})).await;
    assert_eq!(called.json["result"]["structuredContent"], listed.json);
    let added = send(&agent, "POST", "/t/crm/customers/cust_1042/notes", Some(json!({"text": "hello"}))).await;
    assert_eq!((added.status.as_u16(), &added.json), (200, &json!({"note": {"note_id": 31}})));
    let seen = seen.lock().unwrap().clone();
    let key = Some(API_KEY.to_owned());
    let path = "/api/customers/cust_1042/notes";
    assert_eq!(seen[0], ("GET".to_owned(), format!("{path}?limit=30"), key.clone(), Value::Null));
    assert_eq!(seen[1], seen[0], "both ways are one request");
    assert_eq!(seen[2], ("POST".to_owned(), path.to_owned(), key, json!({"text": "hello"})));
    stop.trigger();
    scene.stop_edge().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_out_of_reach_looks_like_what_is_not_there() {
    let (scene, seen, stop) = scene().await;
    let agent = scene.agent(Some(&scene.envelope(&task())));
    let check = async |method: &str, path: &str, body: Option<Value>, status: u16, reason: &str| {
        let answered = send(&agent, method, path, body).await;
        assert_eq!((answered.status.as_u16(), answered.reason().as_str()), (status, reason), "{method} {path}");
        answered
    };
    let there = check("GET", "/t/crm/secrets", None, 403, "out_of_scope").await;
    let absent = check("GET", "/t/crm/nothing", None, 403, "out_of_scope").await;
    let members = |answered: &Answered| {
        let data = answered.json["error"]["data"].as_object().unwrap().clone();
        data.into_iter().filter(|(name, _)| name != "decision_id").collect::<Vec<_>>()
    };
    assert_eq!(members(&there), members(&absent));
    check("GET", "/t/nobody/customers/cust_1042/notes", None, 403, "out_of_scope").await;
    check("DELETE", "/t/crm/customers/cust_1042/notes", None, 403, "out_of_scope").await;
    check("GET", "/t/crm/customers/cust_1/notes", None, 403, "out_of_scope").await;
    // What could be read in two ways is read in none.
    for path in [
        "/t/crm/customers/cust_1042%2Fnotes",
        "/t/crm/customers/%2e%2e/notes",
        "/t/crm/customers//notes",
        "/t/crm/customers/a%252fb/notes",
    ] {
        check("GET", path, None, 403, "out_of_scope").await;
    }
    check("GET", "/t/crm/customers/cust_1042/notes?limit=30&limit=1", None, 400, "malformed").await;
    check("GET", "/t/crm/customers/cust_1042/notes?admin=true", None, 400, "malformed").await;
    check("GET", "/t/crm/customers/cust_1042/notes?limit=030", None, 400, "malformed").await;
    check("GET", "/t/crm/customers/cust_1042/notes?limit", None, 400, "malformed").await;
    check("POST", "/t/crm/customers/cust_1042/notes", Some(json!({"customer_id": "cust_1"})), 400, "malformed").await;
    check("POST", "/t/crm/customers/cust_1042/notes", Some(json!({"admin": true})), 400, "unmapped_argument").await;
    check("GET", "/t/crm/customers/cust_1042/notes", Some(json!({})), 400, "malformed").await;
    assert!(seen.lock().unwrap().is_empty(), "nothing went out");
    stop.trigger();
    scene.stop_edge().await;
}

/// An argument of one tool does not make its call one of another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn arguments_that_make_it_another_tools_request_are_refused() {
    let (scene, seen, stop) = scene().await;
    let agent = scene.agent(Some(&scene.envelope(&task())));
    for what in ["notes", "Notes", "NOTES", "..", ".", "a/b", "a%2Fb", "a\\b", ""] {
        let answered = agent.call("notes.more", json!({"customer_id": "cust_1042", "what": what})).await;
        assert_eq!(answered.reason(), "malformed", "{what:?}");
    }
    assert!(seen.lock().unwrap().is_empty(), "nothing went out");
    stop.trigger();
    scene.stop_edge().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plain_server_that_errs_redirects_or_gives_its_key_back() {
    let (scene, seen, stop) = scene().await;
    let agent = scene.agent(Some(&scene.envelope(&task())));
    let unknown = send(&agent, "GET", "/t/crm/customers/cust_1042/absent", None).await;
    assert_eq!(unknown.status, 422, "nothing that a proxy would try again");
    let refused = send(&agent, "GET", "/t/crm/customers/cust_1042/refused", None).await;
    assert_eq!(refused.reason(), "obligation_unmet", "a key in the body of an error");
    assert!(!String::from_utf8_lossy(&unknown.body).contains("password"), "its words stay here");
    let moved = send(&agent, "GET", "/t/crm/customers/cust_1042/moved", None).await;
    assert_eq!((moved.status.as_u16(), moved.reason().as_str()), (502, "upstream_unreachable"));
    let echo = send(&agent, "GET", "/t/crm/customers/cust_1042/echo", None).await;
    assert_eq!(echo.reason(), "obligation_unmet");
    assert!(!String::from_utf8_lossy(&echo.body).contains(API_KEY));
    for hidden in ["utf16", "header", "stream"] {
        let answered = send(&agent, "GET", &format!("/t/crm/customers/cust_1042/{hidden}"), None).await;
        assert!(["obligation_unmet", "upstream_unreachable"].contains(&answered.reason().as_str()), "{hidden}");
        assert!(!String::from_utf8_lossy(&answered.body).replace('\0', "").contains(API_KEY), "{hidden}");
    }
    assert_eq!(seen.lock().unwrap().len(), 7, "each was asked once");
    stop.trigger();
    scene.stop_edge().await;
}

/// Whatever else is wrong with a request, or is asked with it, does not tell what there is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hidden_path_is_not_found_by_asking_wrongly() {
    let (scene, _, stop) = scene().await;
    let agent = scene.agent(Some(&scene.envelope(&task())));
    let outcome = |answered: &Answered| (answered.status.as_u16(), answered.reason());
    for (method, below, body) in [
        ("GET", "?x=1", None),
        ("GET", "?x", None),
        ("GET", "", Some(json!({}))),
        ("POST", "", Some(json!({"a": 1}))),
        ("DELETE", "", None),
    ] {
        let mut outcomes = Vec::new();
        for path in ["secrets", "nothing"] {
            let answered = send(&agent, method, &format!("/t/crm/{path}{below}"), body.clone()).await;
            outcomes.push(outcome(&answered));
        }
        assert_eq!(outcomes[0], (403, "out_of_scope".to_owned()), "{method} {below}");
        assert_eq!(outcomes[0], outcomes[1], "{method} {below}");
    }
    for least in ["99999999999", "x"] {
        let mut outcomes = Vec::new();
        for path in ["/t/crm/secrets", "/t/crm/nothing"] {
            let mut request = agent.plain_request(Grade::P1, "GET", path, None).await;
            request.headers_mut().insert("remit-relations-at-least", least.parse().unwrap());
            outcomes.push(outcome(&agent.exchange(request).await));
        }
        assert_eq!(outcomes[0], outcomes[1], "{least}");
    }
    stop.trigger();
    scene.stop_edge().await;
}

/// A URL has no types: what was judged as a text is not sent to be read as a number.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_number_in_another_spelling_is_not_sent() {
    let (scene, seen, stop) = scene().await;
    let agent = scene.agent(Some(&scene.envelope(&task())));
    assert_eq!(agent.call("pages.read", json!({"page": 30, "draft": true})).await.reason(), "permit");
    for page in [json!("30"), json!("030"), json!("+30"), json!(30.0), json!(true), json!(null)] {
        assert_eq!(agent.call("pages.read", json!({"page": page})).await.reason(), "malformed", "{page}");
    }
    assert_eq!(agent.call("pages.read", json!({"page": 30, "draft": "true"})).await.reason(), "malformed");
    for path in ["/t/crm/pages/030", "/t/crm/pages/30?draft=1", "/t/crm/pages/+30", "/t/crm/pages/%330x"] {
        assert_eq!(send(&agent, "GET", path, None).await.reason(), "malformed", "{path}");
    }
    let page = send(&agent, "GET", "/t/crm/pages/30?draft=true", None).await;
    assert_eq!((page.status.as_u16(), page.body.as_slice()), (200, b"a page".as_slice()));
    assert!(!page.headers.contains_key("set-cookie"), "what the server says beside its answer stays here");
    assert_eq!(page.headers["x-content-type-options"], "nosniff");
    let seen = seen.lock().unwrap().clone();
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0], seen[1]);
    stop.trigger();
    scene.stop_edge().await;
}

/// The proof is of this request and no other, and none of the agent's own headers goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proof_is_of_one_plain_request() {
    let (scene, seen, stop) = scene().await;
    let agent = scene.agent(Some(&scene.envelope(&task())));
    let fresh = async || agent.plain_request(Grade::P1, "GET", "/t/crm/pages/30", None).await;
    let mut bent = fresh().await;
    *bent.uri_mut() = "/t/crm/pages/31".parse().unwrap();
    assert_eq!(agent.exchange(bent).await.reason(), "bad_proof", "another path");
    let mut bent = fresh().await;
    *bent.uri_mut() = "/t/crm/pages/30?draft=true".parse().unwrap();
    assert_eq!(agent.exchange(bent).await.reason(), "bad_proof", "a query");
    let mut bent = fresh().await;
    *bent.method_mut() = http::Method::DELETE;
    assert_eq!(agent.exchange(bent).await.reason(), "bad_proof", "another method");
    let mut bent = fresh().await;
    bent.headers_mut().insert("content-type", "application/json".parse().unwrap());
    *bent.body_mut() = Bytes::from_static(b"{}");
    assert_eq!(agent.exchange(bent).await.reason(), "bad_proof", "a body");
    let once = fresh().await;
    let mut headers = once.clone();
    for (name, value) in [
        ("cookie", "a=b"),
        ("x-api-key", "mine"),
        ("x-http-method-override", "DELETE"),
        ("x-forwarded-host", "evil.example"),
        ("idempotency-key-of-mine", "1"),
    ] {
        headers.headers_mut().insert(name, value.parse().unwrap());
    }
    assert_eq!(agent.exchange(headers).await.status, 200, "what a server sees is ours");
    assert_eq!(agent.exchange(once).await.reason(), "replayed", "again");
    let mut bare = fresh().await;
    bare.headers_mut().remove("remit-proof");
    assert_eq!(agent.exchange(bare).await.reason(), "bad_proof", "none");
    assert_eq!(seen.lock().unwrap().len(), 1);
    stop.trigger();
    scene.stop_edge().await;
}
