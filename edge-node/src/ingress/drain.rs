//! `POST /v1/drain`: an administrator has this edge take no new work, or take it again; and how it is turned away.
//! Clauses G-84 to G-86.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use remit_common::identity::{DRAIN_BODY_BYTES_MAX, DRAIN_PATH, DrainRequest, NotPermitted, SignedRequest, Verb};
use serde_json::json;

use super::Ingress;
use crate::drain::Drain;
use crate::telemetry::chain_text;

/// Status, word, and text for people.
type Refused = (StatusCode, &'static str, String);

/// Turns new work away while the edge drains.
pub(super) async fn turn_away(State(drain): State<Arc<Drain>>, request: Request<Body>, next: Next) -> Response {
    if !drain.is_on() {
        return next.run(request).await;
    }
    let detail = "this edge takes no new work; ask another one".to_owned();
    let mut response = told((StatusCode::SERVICE_UNAVAILABLE, "draining", detail));
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// The handler.
pub(super) async fn serve(State(ingress): State<Ingress>, request: Request<Body>) -> Response {
    if request.method() != Method::POST {
        return (StatusCode::METHOD_NOT_ALLOWED, [(ALLOW, "POST")]).into_response();
    }
    match answer(&ingress, request).await {
        Ok(draining) => {
            let gateway = &ingress.gateway;
            tracing::warn!(draining, running = gateway.running(), "whether this edge takes new work");
            let told = json!({ "edge": gateway.place.edge, "draining": draining, "running": gateway.running() });
            ([(CACHE_CONTROL, "no-store")], axum::Json(told)).into_response()
        }
        Err(refused) => told(refused),
    }
}

/// What the edge does from now on.
async fn answer(ingress: &Ingress, request: Request<Body>) -> Result<bool, Refused> {
    let gateway = &ingress.gateway;
    let (parts, body) = request.into_parts();
    let malformed = |detail: &str| (StatusCode::BAD_REQUEST, "malformed", detail.to_owned());
    if parts.uri.query().is_some() {
        return Err(malformed("the request takes no query"));
    }
    let body = Limited::new(body, DRAIN_BODY_BYTES_MAX).collect().await;
    let body = body.map_err(|_| malformed("a body that is too long, or broke off"))?.to_bytes();
    let (view, now) = (gateway.views.load_full(), gateway.env.now());
    let directory = view.directory(now.wall);
    let directory = directory.map_err(|untrusted| (StatusCode::SERVICE_UNAVAILABLE, "stale", untrusted.to_string()))?;
    let given = parts.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    let refused = |refused: remit_common::identity::RequestRefused| {
        (StatusCode::UNAUTHORIZED, refused.reason_code(), chain_text(&refused))
    };
    let request =
        SignedRequest::from_headers(&gateway.mesh, "POST", DRAIN_PATH, body.to_vec(), given).map_err(refused)?;
    let not_permitted = |error: NotPermitted| (StatusCode::FORBIDDEN, error.reason_code(), error.to_string());
    let administrator = directory
        .administrator(&request.key)
        .ok_or_else(|| not_permitted(NotPermitted::Unknown { key: request.key }))?;
    let verified = request.verify(&gateway.mesh, &administrator.key).map_err(refused)?;
    verified.check_time(now.wall).map_err(refused)?;
    administrator.check_anywhere(Verb::EnrolEdge, now.wall).map_err(not_permitted)?;
    let asked: DrainRequest =
        serde_json::from_slice(&request.body).map_err(|_| malformed("the body has edge and draining"))?;
    if asked.edge != gateway.place.edge {
        return Err((StatusCode::CONFLICT, "another_edge", format!("this is {}", gateway.place.edge)));
    }
    if !gateway.drain.ask(asked.draining, request.created) && gateway.drain.is_on() != asked.draining {
        let detail = "something else was asked for in this second or later; ask again".to_owned();
        return Err((StatusCode::CONFLICT, "overtaken", detail));
    }
    Ok(asked.draining)
}

/// A refusal (RFC 9457), as the admin API words it.
fn told((status, reason, detail): Refused) -> Response {
    let title = status.canonical_reason().unwrap_or("Error");
    let problem =
        json!({ "type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail, "reason": reason });
    let mut response = (status, axum::Json(problem)).into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    response
}
