//! `POST /v1/delegations`: the holder of an envelope registers a hop that it has made.
//!
//! The body is the child's presentation, which is the parent's and one link more, so no header carries an envelope; the
//! proof is the parent's, over that body. The answer says what the edge has signed, and what of the hop's wishes nobody
//! holds. A refusal is the small JSON document of `POST /v1/channels`. Clauses.

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use remit_common::envelope::{ENVELOPE_HEADER, RawPresentation};
use remit_common::lattice::Beyond;
use remit_common::limits::PRESENTATION_BYTES_MAX;
use remit_common::policy::decision::Reason;
use remit_common::policy::json::{self, Json};
use remit_common::proof::{Exchange, ProofRefused, Target};
use remit_common::text;

use super::channels::{CBOR, empty, refused};
use super::{DECISION_HEADER, Ingress, carrier, connection_of};
use crate::road::{Journey, Registered};
use crate::telemetry::chain_text;

/// The handler.
pub(super) async fn serve(State(ingress): State<Ingress>, request: Request<Body>) -> Response {
    if request.method() != Method::POST {
        let mut response = empty(StatusCode::METHOD_NOT_ALLOWED);
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        return response;
    }
    let (parts, body) = request.into_parts();
    let mut journey = ingress.gateway.arrive(connection_of(&parts.extensions));
    let target = (parts.uri.path().to_owned(), parts.uri.query().unwrap_or_default().to_owned());
    match register(&ingress, &mut journey, &parts.headers, body, (&target.0, &target.1)).await {
        Ok(registered) => answered(&journey, &registered),
        Err(response) => response,
    }
}

async fn register(
    ingress: &Ingress,
    journey: &mut Journey,
    headers: &HeaderMap,
    body: Body,
    (path, query): (&str, &str),
) -> Result<Registered, Response> {
    let gateway = &ingress.gateway;
    if !ingress.takes_origin(headers) {
        gateway.refuse_request(journey, Reason::Malformed, "an origin that is not allowed");
        return Err(empty(StatusCode::FORBIDDEN));
    }
    if headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes) != Some(CBOR.as_bytes()) {
        gateway.refuse_request(journey, Reason::Malformed, "a content type other than application/cbor");
        return Err(empty(StatusCode::UNSUPPORTED_MEDIA_TYPE));
    }
    if headers.contains_key(ENVELOPE_HEADER) {
        let detail = "a hop is registered with the child's envelope as the body, and no other";
        let refusal = gateway.refuse_request(journey, Reason::Malformed, detail);
        return Err(refused(journey, &refusal));
    }
    let malformed = |refused: &ProofRefused| gateway.refuse_proof(journey, refused);
    let proof = carrier::proof(headers).map_err(|bad| refused(journey, &malformed(&bad.into())))?;
    let idempotency_key = carrier::idempotency_key(headers).map_err(|bad| refused(journey, &malformed(&bad.into())))?;
    let Ok(body) = Limited::new(body, PRESENTATION_BYTES_MAX).collect().await else {
        let refusal = gateway.refuse_request(journey, Reason::Malformed, "the envelope is too long");
        return Err(refused(journey, &refusal));
    };
    let body = body.to_bytes();
    gateway.arrived(journey);
    let raw = RawPresentation::parse(&body).map_err(|bad| {
        let refusal = gateway.refuse_request(journey, Reason::Malformed, chain_text(&bad));
        refused(journey, &refusal)
    })?;
    let target = Target::Http { method: "POST", path, query, content_type: CBOR };
    let exchange = Exchange { target, body: &body, idempotency_key };
    let registered = gateway.register(journey, raw, proof.as_ref(), &exchange).await;
    registered.map_err(|refusal| refused(journey, &refusal))
}

fn answered(journey: &Journey, registered: &Registered) -> Response {
    let said = &registered.said;
    let not_held = registered.not_held.iter().map(|Beyond { grant, dimension, asked, held }| {
        Json::object([
            ("grant", Json::Int(i64::from(*grant))),
            ("dimension", Json::text(dimension)),
            ("asked", Json::text(asked)),
            ("held", Json::text(held)),
        ])
    });
    let answer = Json::object([
        ("link", Json::Text(said.link.to_string())),
        ("edge", Json::text(said.edge.as_str())),
        ("expires", Json::Int(i64::try_from(said.expires.as_secs()).unwrap_or(i64::MAX))),
        ("countersignature", Json::Text(text::base64url(&registered.countersignature))),
        ("not_held", Json::Array(not_held.collect())),
        ("decision_id", Json::Text(registered.decision().to_string())),
    ]);
    let mut response = Response::new(Body::from(json::encode(&answer)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.extend(HeaderValue::from_str(&journey.decision.to_string()).ok().map(|id| (DECISION_HEADER, id)));
    response
}
