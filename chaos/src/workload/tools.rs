//! The company's own systems, as the catalogue of the example describes them: an MCP server that demands its key.

use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use remit_common::crypto::digest::Digest;
use remit_common::net::env::{Env, Listener};
use remit_common::net::http::{ServeCounters, ServeLimits, serve};
use remit_common::net::tasks::Shutdown;
use serde_json::{Value, json};

/// The title of a ticket that makes the server repeat its key in the answer, as servers in debug mode do.
pub(super) const SAY_THE_KEY: &str = "Say the key";

/// What a tool server is given: the hash of its key, never the key.
#[derive(Debug, Clone, Copy)]
pub struct ToolServer {
    /// SHA-256 of the key.
    pub key_hash: Digest,
}

/// Serves the tools until shutdown is requested.
pub async fn serve_tools(env: Env, listener: Box<dyn Listener>, server: ToolServer, shutdown: Shutdown) {
    let router = Router::new().route("/mcp", post(answer)).with_state(server);
    let limits = ServeLimits { body_bytes_max: 1 << 20, grace: Duration::from_millis(10), ..ServeLimits::default() };
    serve(&env, listener, router, limits, &ServeCounters::default(), &shutdown).await;
}

async fn answer(State(server): State<ToolServer>, headers: HeaderMap, body: Bytes) -> Response {
    let given = headers.get("authorization").and_then(|given| given.as_bytes().strip_prefix(b"Bearer "));
    let Some(key) = given.filter(|key| Digest::of(&[key]) == server.key_hash) else {
        return StatusCode::UNAUTHORIZED.into_response();
    };
    let Ok(request) = serde_json::from_slice::<Value>(&body) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let tool = request.pointer("/params/name").and_then(Value::as_str).unwrap_or_default();
    let structured = match tool {
        "contracts.read" => {
            let contract = |n: u32| {
                json!({
                    "contract_id": "contract_7781", "document_id": format!("doc_{n}"), "terms": "two years",
                    "billing": {"iban": "DE00 0000 0000"}, "internal_margin_percent": 41,
                })
            };
            json!({"contracts": (0..30).map(contract).collect::<Vec<_>>()})
        }
        "crm.read" => json!({"notes": [{"note_id": "note_1", "summary": "Asked twice for a call."}]}),
        "tickets.create" if request.pointer("/params/arguments/title").and_then(Value::as_str) == Some(SAY_THE_KEY) => {
            json!({"ticket": {"ticket_id": "tick_2", "status": String::from_utf8_lossy(key)}})
        }
        "tickets.create" => json!({"ticket": {"ticket_id": "tick_1", "status": "open"}}),
        "renewals.propose" => json!({"offer": {"contract_id": "contract_7781", "status": "sent"}}),
        _ => json!({"unexpected": tool}),
    };
    let result = json!({
        "resultType": "complete",
        "content": [{"type": "text", "text": structured.to_string()}],
        "structuredContent": structured,
    });
    axum::Json(json!({"jsonrpc": "2.0", "id": request.get("id"), "result": result})).into_response()
}
