//! Servers of the revisions that begin with `initialize`: a real one, which keeps sessions, and some that do as they like.
//! Clause G-87.

use std::borrow::Cow;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use remit_common::net::http::{ServeCounters, ServeLimits, serve};
use remit_common::net::tasks::Shutdown;
use rmcp::handler::server::ServerHandler;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ServerCapabilities, ServerConfig,
};
use rmcp::service::RequestContext;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ErrorData, RoleServer};
use serde_json::{Value, json};

use crate::plain::task;
use crate::support::bundle::Variant;
use crate::support::keys;
use crate::support::scene::Scene;
use crate::support::upstream::API_KEY;

/// Tools of an older server, with the names that the tests' schema knows.
const TOOLS: &str = r#"
[[upstream]]
name = "crm"
url = "http://ADDR/mcp"
protocol = "mcp-2025"
inject = { header = "x-api-key" }
"#;

pub(crate) fn tools() -> String {
    let resource =
        "resource = { type = \"Customer\", id = \"/customer_id\" }\ndimensions = { customer = \"/customer_id\" }";
    let about = |name: &str| if name.starts_with("notes") { resource } else { "free = [\"/page\"]" };
    let names = ["notes.list", "notes.add", "notes.more", "secret.read", "pages.read", "pages.drop", "pages.search"];
    let tool = |name: &str| {
        let effect = if ["notes.add", "pages.drop"].contains(&name) { "write" } else { "read" };
        let about = about(name);
        format!(
            "[[tool]]\nname = \"{name}\"\nupstream = \"crm\"\neffects = [\"{effect}\"]\npurposes = [\"review\"]\n{about}\n"
        )
    };
    names.map(tool).concat()
}

/// Every request that came: its method of MCP, its session, its revision.
type Seen = Arc<Mutex<Vec<(String, Option<String>, Option<String>)>>>;

async fn scene(router: impl FnOnce(Seen) -> Router) -> (Scene, Seen, Shutdown) {
    let scene = Scene::before_the_edge();
    let (seen, stop) = (Seen::default(), Shutdown::new());
    let listener = scene.world.env.socket.listen(([127, 0, 0, 1], 0).into()).unwrap();
    let takes_key = |tools: String| tools.replace("effects =", "credential = \"acme-contracts-api\"\neffects =");
    let catalogue = TOOLS.replace("ADDR", &listener.local_addr().to_string()) + &takes_key(tools());
    let (env, router, ends) = (scene.world.env.clone(), router(Arc::clone(&seen)), stop.clone());
    scene.world.env.spawn_named("older server", async move {
        let limits = ServeLimits { grace: Duration::from_millis(10), ..ServeLimits::default() };
        serve(&env, listener, router, limits, &ServeCounters::default(), &ends).await;
    });
    let variant =
        Variant { plain_http: Box::leak(catalogue.into_boxed_str()), ..Variant::new(1, &scene.upstream.url()) };
    scene.seal_for(&variant, "crm");
    scene.publish(&variant);
    scene.start_edge().await;
    scene.until_fresh(1).await;
    (scene, seen, stop)
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).map(|value| value.to_str().unwrap().to_owned())
}

/// Counts what was asked for in its session, which nobody else may see.
#[derive(Clone, Default)]
struct Counting(Arc<Mutex<u32>>);

impl ServerHandler for Counting {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let mut count = self.0.lock().unwrap();
        *count += 1;
        let said = json!({"tool": request.name, "arguments": request.arguments, "count": *count});
        let text = Cow::<str>::Owned(said.to_string());
        let mut result = CallToolResult::success(vec![ContentBlock::text(text)]);
        result.structured_content = Some(said);
        Ok(result.into())
    }
}

/// Notes what comes, and lets through whoever has the key.
async fn note(State(seen): State<Seen>, request: Request<axum::body::Body>, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let bytes = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let message: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let method = message["method"].as_str().unwrap_or_default().to_owned();
    let headers = &parts.headers;
    seen.lock().unwrap().push((method, text(headers, "mcp-session-id"), text(headers, "mcp-protocol-version")));
    if text(headers, "x-api-key").as_deref() != Some(API_KEY) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    next.run(Request::from_parts(parts, bytes.into())).await
}

fn real(seen: Seen) -> Router {
    let config = StreamableHttpServerConfig::default().with_legacy_session_mode(true);
    let sessions = Arc::new(LocalSessionManager::default());
    let service = StreamableHttpService::new(|| Ok(Counting::default()), sessions, config);
    Router::new().nest_service("/mcp", service).layer(from_fn_with_state(seen, note))
}

fn methods(seen: &Seen) -> Vec<String> {
    seen.lock().unwrap().iter().map(|(method, ..)| method.clone()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_of_this_revision_calls_a_server_of_an_older_one() {
    let (scene, seen, stop) = scene(real).await;
    let agent = scene.agent(Some(&scene.envelope(&task())));
    for count in 1..=2 {
        let called = agent.call("pages.read", json!({"page": 7})).await;
        let said = &called.json["result"]["structuredContent"];
        assert_eq!(said, &json!({"tool": "pages.read", "arguments": {"page": 7}, "count": count}), "{}", called.json);
    }
    assert_eq!(methods(&seen), ["initialize", "notifications/initialized", "tools/call", "tools/call"]);
    let seen_first = seen.lock().unwrap().clone();
    assert_eq!((&seen_first[0].1, &seen_first[0].2), (&None, &None));
    let session = seen_first[1].1.clone().expect("a session");
    for (_, its, version) in &seen_first[1..] {
        assert_eq!((its.as_ref(), version.as_deref()), (Some(&session), Some("2025-11-25")));
    }
    // Somebody else, here the holder of a link below, gets a session of its own.
    let parent = scene.envelope(&task());
    let child = keys::hand_on(&parent, CHILD, &scene.taxonomy, scene.world.env.now().wall);
    let other = scene.agent(Some(&child)).call("pages.read", json!({"page": 7})).await;
    assert_eq!(other.json["result"]["structuredContent"]["count"], 1, "{}", other.json);
    stop.trigger();
    scene.stop_edge().await;
}

const CHILD: &str = r#"
lifetime_secs = 300
[agent]
id = "agent:helper"
class = "analyst"
[[grant]]
of = 4
tools = ["pages.read"]
"#;

/// What a server of the tests answers to each method.
type Answers = fn(&str, Option<&str>, usize) -> Response;

fn made_up(answers: Answers) -> impl FnOnce(Seen) -> Router {
    move |seen| {
        let answer = move |State(seen): State<Seen>, headers: HeaderMap, body: Bytes| async move {
            let message: Value = serde_json::from_slice(&body).unwrap();
            let method = message["method"].as_str().unwrap().to_owned();
            let session = text(&headers, "mcp-session-id");
            let before = methods(&seen).iter().filter(|seen| **seen == method).count();
            seen.lock().unwrap().push((method.clone(), session.clone(), text(&headers, "mcp-protocol-version")));
            answers(&method, session.as_deref(), before)
        };
        Router::new().route("/mcp", axum::routing::post(answer)).with_state(seen)
    }
}

fn opens(version: &str, session: &'static str) -> Response {
    let result =
        json!({"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": {"name": "s", "version": "0"}});
    let message = json!({"jsonrpc": "2.0", "id": 1, "result": result}).to_string();
    ([("content-type", "application/json"), ("mcp-session-id", session)], message).into_response()
}

fn page() -> Response {
    let result = json!({"content": [{"type": "text", "text": "a page"}]});
    axum::Json(json!({"jsonrpc": "2.0", "id": 1, "result": result})).into_response()
}

/// A server that restarts forgets its sessions; the call was not made, and is made in a new one, once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_the_server_forgot_is_opened_again_once() {
    let forgetful: Answers = |method, session, before| match (method, session) {
        ("initialize", _) => opens("2025-06-18", if before == 0 { "first" } else { "second" }),
        ("notifications/initialized", _) => StatusCode::ACCEPTED.into_response(),
        ("tools/call", Some("first")) if before == 0 => page(),
        ("tools/call", Some("second")) if before == 2 => page(),
        _ => StatusCode::NOT_FOUND.into_response(),
    };
    let (scene, seen, stop) = scene(made_up(forgetful)).await;
    let agent = scene.agent(Some(&scene.envelope(&task())));
    assert_eq!(agent.call("pages.read", json!({"page": 7})).await.reason(), "permit");
    assert_eq!(agent.call("pages.read", json!({"page": 7})).await.reason(), "permit", "forgotten, and opened again");
    assert_eq!(agent.call("pages.read", json!({"page": 7})).await.reason(), "upstream_unreachable", "forgotten twice");
    let versions = seen.lock().unwrap().iter().filter_map(|(.., version)| version.clone()).collect::<Vec<_>>();
    assert!(versions.iter().all(|version| version == "2025-06-18"), "{versions:?}");
    let (begun, called) = (methods(&seen), methods(&seen));
    assert_eq!(begun.iter().filter(|method| *method == "initialize").count(), 3);
    assert_eq!(called.iter().filter(|method| *method == "tools/call").count(), 5);
    stop.trigger();
    scene.stop_edge().await;
}

/// What opens no session calls no tool.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hostile_server_opens_no_session() {
    let hostile: [(&str, Answers); 6] = [
        ("another revision", |method, _, _| if method == "initialize" { opens("2031-01-01", "s") } else { page() }),
        (
            "a session id that is none",
            |method, _, _| if method == "initialize" { opens("2025-11-25", "a b") } else { page() },
        ),
        ("another id", |_, _, _| {
            axum::Json(json!({"jsonrpc": "2.0", "id": 2, "result": {"protocolVersion": "2025-11-25"}})).into_response()
        }),
        ("a redirect", |_, _, _| {
            (StatusCode::TEMPORARY_REDIRECT, [("location", "http://127.0.0.1:1/")]).into_response()
        }),
        ("its key back", |_, _, _| ([("mcp-session-id", API_KEY)], opens("2025-11-25", "s")).into_response()),
        ("a request of its own", |method, _, _| {
            let asks = json!({"jsonrpc": "2.0", "id": 1, "method": "sampling/createMessage", "params": {}});
            if method == "initialize" { axum::Json(asks).into_response() } else { page() }
        }),
    ];
    for (name, answers) in hostile {
        let (scene, seen, stop) = scene(made_up(answers)).await;
        let agent = scene.agent(Some(&scene.envelope(&task())));
        let called = agent.call("pages.read", json!({"page": 7})).await;
        assert!(
            ["upstream_unreachable", "obligation_unmet"].contains(&called.reason().as_str()),
            "{name}: {}",
            called.json
        );
        assert_eq!(methods(&seen), ["initialize"], "{name}");
        stop.trigger();
        scene.stop_edge().await;
    }
}
