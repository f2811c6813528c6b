//! A tool server that demands its API key and answers as a test wants it to.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http::{HeaderMap, StatusCode};
use remit_common::net::env::Env;
use remit_common::net::http::{ServeCounters, ServeLimits, serve};
use remit_common::net::tasks::{Shutdown, TaskHandle};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::sync::Notify;

/// The key in clear: the canary that must be nowhere else.
pub(crate) const API_KEY: &str = "sk-canary-7f3aQ9+zZ/e4b1";

/// How it answers.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// The result as one JSON document.
    Json,
    /// The result in a stream of events, after a notification.
    Stream,
    /// The request's header, in the result.
    EchoKey(Spelling),
    /// A result that says it is an error, with a text.
    IsError,
    /// A JSON-RPC error.
    RpcError,
    /// This status and body.
    Raw(u16, &'static str, String),
    /// Nothing until the test says so.
    Held,
    /// Progress at once, in a stream; more of it, and the result, whenever the test says so.
    Progress,
}

/// How the key is spelled when it is echoed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Spelling {
    Plain,
    Hex,
    Base64,
    Escaped,
}

struct Shared {
    answer: Mutex<Answer>,
    calls: AtomicU64,
    seen: Mutex<Vec<(HeaderMap, Value)>>,
    release: Notify,
    arrived: Notify,
    hung_up: Notify,
}

/// Notices that a call was broken off: the server drops what it was to send.
struct Watched(Arc<Shared>, bool);

impl Drop for Watched {
    fn drop(&mut self) {
        if !self.1 {
            self.0.hung_up.notify_one();
        }
    }
}

/// A running tool server.
pub(crate) struct Upstream {
    pub(crate) addr: SocketAddr,
    shared: Arc<Shared>,
    shutdown: Shutdown,
    _task: TaskHandle,
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.shutdown.trigger();
    }
}

impl Upstream {
    pub(crate) fn start(env: &Env) -> Self {
        let shared = Arc::new(Shared {
            answer: Mutex::new(Answer::Json),
            calls: AtomicU64::new(0),
            seen: Mutex::default(),
            release: Notify::new(),
            arrived: Notify::new(),
            hung_up: Notify::new(),
        });
        let listener = env.socket.listen(([127, 0, 0, 1], 0).into()).unwrap();
        let addr = listener.local_addr();
        let router = Router::new().route("/mcp", post(answer)).with_state(Arc::clone(&shared));
        let shutdown = Shutdown::new();
        let (serving, stop) = (env.clone(), shutdown.clone());
        let task = env.spawn_named("test upstream", async move {
            let limits = ServeLimits {
                connections_max: 256,
                header_timeout: Duration::from_secs(60),
                body_bytes_max: 1 << 20,
                body_timeout: Duration::from_secs(20),
                grace: Duration::from_millis(10),
                ..ServeLimits::default()
            };
            serve(&serving, listener, router, limits, &ServeCounters::default(), &stop).await;
        });
        Self { addr, shared, shutdown, _task: task }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/mcp", self.addr)
    }

    pub(crate) fn answers(&self, answer: Answer) {
        *self.shared.answer.lock().unwrap() = answer;
    }

    /// Calls that came with the right key.
    pub(crate) fn calls(&self) -> u64 {
        self.shared.calls.load(Ordering::SeqCst)
    }

    /// Headers and bodies, in order.
    pub(crate) fn seen(&self) -> Vec<(HeaderMap, Value)> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// Waits until a held call is there.
    pub(crate) async fn arrived(&self) {
        self.shared.arrived.notified().await;
    }

    /// Waits until a caller has gone before its answer was whole.
    pub(crate) async fn hung_up(&self) {
        self.shared.hung_up.notified().await;
    }

    /// Lets a held call go on.
    pub(crate) fn release(&self) {
        self.shared.release.notify_one();
    }
}

async fn answer(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let request: Value = serde_json::from_slice(&body).unwrap();
    shared.seen.lock().unwrap().push((headers.clone(), request.clone()));
    let free = ["plain.read", "more."].iter().any(|free| request["params"]["name"].as_str().unwrap().starts_with(free));
    if !free
        && headers.get("authorization").is_none_or(|given| given.as_bytes() != format!("Bearer {API_KEY}").as_bytes())
    {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    shared.calls.fetch_add(1, Ordering::SeqCst);
    let kind = shared.answer.lock().unwrap().clone();
    let structured = result_of(request["params"]["name"].as_str().unwrap_or_default());
    let result = |structured: Value| {
        json!({"jsonrpc": "2.0", "id": request["id"], "result": {
            "resultType": "complete",
            "content": [{"type": "text", "text": structured.to_string()}],
            "structuredContent": structured,
        }})
    };
    match kind {
        Answer::Json => axum::Json(result(structured)).into_response(),
        Answer::Stream => {
            let note = json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info"}});
            let body = format!("id: 0\nretry: 3000\ndata:\n\ndata: {note}\n\nid: 1\ndata: {}\n\n", result(structured));
            ([("content-type", "text/event-stream")], body).into_response()
        }
        Answer::EchoKey(spelling) => {
            let marker = "KEY-STANDS-HERE";
            let echoed = match spelling {
                Spelling::Plain => API_KEY.to_owned(),
                Spelling::Hex => remit_common::text::hex(API_KEY.as_bytes()),
                Spelling::Base64 => remit_common::text::base64(format!("Bearer {API_KEY}").as_bytes()),
                Spelling::Escaped => API_KEY.bytes().map(|b| format!("\\u{b:04x}")).collect(),
            };
            let body = result(json!({"contracts": [{"contract_id": marker}]})).to_string();
            ([("content-type", "application/json")], body.replace(marker, &echoed)).into_response()
        }
        Answer::IsError => axum::Json(json!({"jsonrpc": "2.0", "id": request["id"], "result": {
            "content": [{"type": "text", "text": "internal: row 7 of billing"}], "isError": true,
        }}))
        .into_response(),
        Answer::RpcError => axum::Json(json!({"jsonrpc": "2.0", "id": request["id"], "error": {
            "code": -32602, "message": "internal: row 7 of billing",
        }}))
        .into_response(),
        Answer::Raw(status, kind, body) => {
            (StatusCode::from_u16(status).unwrap(), [("content-type", kind)], body).into_response()
        }
        Answer::Held => {
            let mut watched = Watched(Arc::clone(&shared), false);
            shared.arrived.notify_one();
            shared.release.notified().await;
            watched.1 = true;
            axum::Json(result(structured)).into_response()
        }
        Answer::Progress => {
            let token = request["params"]["_meta"]["progressToken"].clone();
            let note = move |done: u32| {
                json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {
                    "progressToken": token, "progress": done, "total": 3, "message": "row 7 of billing",
                }})
            };
            let (last, watched) = (result(structured), Watched(Arc::clone(&shared), false));
            let events = futures::stream::unfold((0, watched), move |(sent, mut watched)| {
                let message = if sent < 2 { note(sent + 1) } else { last.clone() };
                async move {
                    if sent == 1 || sent == 2 {
                        watched.0.release.notified().await;
                    }
                    watched.1 = sent == 2;
                    let event = format!("id: {sent}\ndata: {message}\n\n");
                    (sent < 3).then_some((Ok::<_, std::convert::Infallible>(event), (sent + 1, watched)))
                }
            });
            ([("content-type", "text/event-stream")], axum::body::Body::from_stream(events)).into_response()
        }
    }
}

/// More rows and more fields than any envelope of the tests allows.
fn result_of(tool: &str) -> Value {
    match tool {
        "contracts.read" => {
            let contract = |n: u32| {
                json!({
                    "contract_id": "contract_7781", "document_id": format!("doc_{n}"), "terms": "two years",
                    "billing": {"iban": "DE00 0000 0000"}, "internal_margin_percent": 41,
                })
            };
            json!({"contracts": (0..40).map(contract).collect::<Vec<_>>(), "total": 40})
        }
        "notes.write" => json!({"note": {"note_id": "note_1"}}),
        "tickets.create" => json!({"ticket": {"ticket_id": "tick_1", "queue": "internal"}}),
        _ => json!({"unexpected": tool}),
    }
}
