//! The server's HTTP face: the key first, then MCP.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use http::header::WWW_AUTHENTICATE;
use remit_common::limits::AGENT_BODY_BYTES_MAX;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};

use super::{Book, KeyHash, tools::Tools};

/// `POST /mcp` for who has the key; `/livez` for who waits for the start.
pub(crate) fn router(book: Book, key: KeyHash) -> Router {
    // Only the stateless revision is spoken, so every request stands alone and no session is kept.
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .with_stateless_protocol_metadata_required(true)
        .with_max_request_body_bytes(AGENT_BODY_BYTES_MAX);
    let tools = Tools::new(book);
    let mcp = StreamableHttpService::new(move || Ok(tools.clone()), Arc::new(NeverSessionManager::default()), config);
    Router::new()
        .nest_service("/mcp", mcp)
        .layer(from_fn_with_state(key, demand_key))
        .route("/livez", get(|| async { StatusCode::NO_CONTENT }))
}

async fn demand_key(State(key): State<KeyHash>, request: Request, next: Next) -> Response {
    match key.check(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refused) => {
            tracing::warn!(%refused, "a call was turned away");
            (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, "Bearer")], refused.to_string()).into_response()
        }
    }
}
