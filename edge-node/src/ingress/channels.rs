//! `POST /v1/channels`: a holder opens a channel, over which it proves its requests.
//!
//! The envelope comes in its header, in full; the body is the signed request of clause X-2, the answer that of X-3.
//! A refusal is a small JSON document. Clauses.

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use remit_common::id::DecisionId;
use remit_common::limits::CHANNEL_REQUEST_BYTES_MAX;
use remit_common::net::http::PeerAddr;
use remit_common::policy::decision::Reason;
use remit_common::policy::json::{self, Json};
use remit_common::proof::{MalformedProof, ProofFault, ProofRefused};

use super::carrier::{self, Carried};
use super::{DECISION_HEADER, Ingress, challenge, connection_of};
use crate::pdp::Refusal;
use crate::road::Journey;
use remit_common::net::source::Source;

/// The media type of both bodies.
pub(super) const CBOR: &str = "application/cbor";

/// The handler.
pub(super) async fn serve(State(ingress): State<Ingress>, request: Request<Body>) -> Response {
    if request.method() != Method::POST {
        let mut response = empty(StatusCode::METHOD_NOT_ALLOWED);
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        return response;
    }
    let (parts, body) = request.into_parts();
    let mut journey = ingress.gateway.arrive(connection_of(&parts.extensions));
    let Some(PeerAddr(peer)) = parts.extensions.get::<PeerAddr>().copied() else {
        // INVARIANT: our listener says who is there.
        return empty(StatusCode::INTERNAL_SERVER_ERROR);
    };
    match answer(&ingress, &mut journey, &parts.headers, body, Source::from(peer.ip())).await {
        Ok(answer) => {
            let mut response = Response::new(Body::from(answer));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(CBOR));
            response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            response
        }
        Err(response) => response,
    }
}

async fn answer(
    ingress: &Ingress,
    journey: &mut Journey,
    headers: &HeaderMap,
    body: Body,
    source: Source,
) -> Result<Vec<u8>, Response> {
    let gateway = &ingress.gateway;
    if !ingress.takes_origin(headers) {
        gateway.refuse_request(journey, Reason::Malformed, "an origin that is not allowed");
        return Err(empty(StatusCode::FORBIDDEN));
    }
    let raw = match carrier::envelope(headers) {
        Ok(Carried::Presentation(raw)) => raw,
        Ok(Carried::Bearer(_)) => {
            let detail = "a channel is opened with the envelope in `remit-envelope`";
            return Err(refused(journey, &gateway.refuse_carrier(journey, detail)));
        }
        // Whoever has no channel yet has to show all of it.
        Ok(Carried::Reference(_)) => {
            return Err(refused(journey, &gateway.refuse_proof(journey, &ProofRefused::UnknownChannel)));
        }
        Err(missing) => {
            let refusal = gateway.refuse_request(journey, missing.reason(), missing.to_string());
            return Err(refused(journey, &refusal));
        }
    };
    if headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes) != Some(CBOR.as_bytes()) {
        gateway.refuse_request(journey, Reason::Malformed, "a content type other than application/cbor");
        return Err(empty(StatusCode::UNSUPPORTED_MEDIA_TYPE));
    }
    let Ok(body) = Limited::new(body, CHANNEL_REQUEST_BYTES_MAX).collect().await else {
        let too_long = ProofRefused::Malformed(MalformedProof::TooLong { bytes_max: CHANNEL_REQUEST_BYTES_MAX });
        return Err(refused(journey, &gateway.refuse_proof(journey, &too_long)));
    };
    gateway.arrived(journey);
    let opened = gateway.open_channel(journey, raw, &body.to_bytes(), source);
    opened.map_err(|refusal| refused(journey, &refusal))
}

pub(super) fn refused(journey: &Journey, refusal: &Refusal) -> Response {
    refused_as(&journey.decision, refusal)
}

/// The same for a decision of this id.
pub(super) fn refused_as(decision: &DecisionId, refusal: &Refusal) -> Response {
    let fault = refusal.proof.map(|proof| proof.fault);
    let mut members = vec![("reason".to_owned(), Json::text(refusal.denied.reason.as_str()))];
    members.extend(fault.map(|fault| ("proof".to_owned(), Json::text(fault.as_str()))));
    members.extend(refusal.denied.hop.map(|hop| ("hop".to_owned(), Json::Int(hop.into()))));
    members.push(("decision_id".to_owned(), Json::Text(decision.to_string())));
    let mut response = Response::new(Body::from(json::encode(&Json::Object(members))));
    *response.status_mut() = match (fault, refusal.challenge) {
        (Some(ProofFault::Busy), _) => StatusCode::TOO_MANY_REQUESTS,
        (_, true) => StatusCode::UNAUTHORIZED,
        (_, false) => StatusCode::FORBIDDEN,
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.extend(challenge::of(refusal).map(|challenge| (WWW_AUTHENTICATE, challenge)));
    headers.extend(HeaderValue::from_str(&decision.to_string()).ok().map(|id| (DECISION_HEADER, id)));
    response
}

pub(super) fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}
