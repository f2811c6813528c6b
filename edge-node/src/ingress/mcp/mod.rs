//! `POST /mcp`: an MCP server of revision 2026-07-28.
//!
//! Stateless: each request says its revision and capabilities, carries its envelope, and is answered with one JSON
//! document. Nothing of a session is kept, so there is nothing to steal or to lose. Clauses G-1 to G-7 and G-18.

pub(crate) mod headers;
pub(crate) mod list;
mod stream;

pub(super) use stream::Guarded;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use remit_common::envelope::Effective;
use remit_common::id::ToolName;
use remit_common::net::mcp::{self as message, Code, Message, PROTOCOL_VERSION, RequestId};
use remit_common::policy::call::ToolCall;
use remit_common::policy::catalogue::Tool;
use remit_common::policy::decision::{Denied, Reason};
use remit_common::policy::json::Json;
use remit_common::proof::{Exchange, ProofRefused, Target};

use self::headers::HeaderFault;
use super::body::read;
use super::carrier::{self, Carried};
use super::{DECISION_HEADER, Ingress, challenge, connection_of, is_json};
use crate::pdp::Refusal;
use crate::road::{Gateway, Journey, NoResult, Released};

/// Where a result says which decision it is.
const DECISION_META: &str = "remit/decision_id";

/// The handler.
pub(super) async fn serve(State(ingress): State<Ingress>, request: Request<Body>) -> Response {
    if request.method() != Method::POST {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED);
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        return response;
    }
    let (parts, body) = request.into_parts();
    let mut journey = ingress.gateway.arrive(connection_of(&parts.extensions));
    let answer = answer(&ingress, &mut journey, &parts.headers, body).await;
    let mut response = answer.unwrap_or_else(|error| error);
    if let Ok(id) = HeaderValue::from_str(&journey.decision.to_string()) {
        response.headers_mut().insert(DECISION_HEADER, id);
    }
    response
}

/// Both ways end in a response; the error is the early one.
async fn answer(
    ingress: &Ingress,
    journey: &mut Journey,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Response> {
    let gateway = &ingress.gateway;
    let refuse = |journey: &Journey, detail: String| gateway.refuse_request(journey, Reason::Malformed, detail);
    if !ingress.takes_origin(headers) {
        refuse(journey, "an origin that is not allowed".to_owned());
        return Err(plain(StatusCode::FORBIDDEN));
    }
    let carried = carrier::envelope(headers).map_err(|missing| {
        let refusal = gateway.refuse_request(journey, missing.reason(), missing.to_string());
        denied(journey, None, &refusal)
    })?;
    let proof = carrier::proof(headers).map_err(|malformed| {
        let refusal = gateway.refuse_proof(journey, &ProofRefused::Malformed(malformed));
        denied(journey, None, &refusal)
    })?;
    if proof.is_some() && matches!(carried, Carried::Bearer(_)) {
        let refusal = gateway.refuse_carrier(journey, "a proof goes with an envelope in `remit-envelope`");
        return Err(denied(journey, None, &refusal));
    }
    if !is_json(headers) {
        refuse(journey, "a content type other than application/json".to_owned());
        return Err(plain(StatusCode::UNSUPPORTED_MEDIA_TYPE));
    }
    let body = read(body).await.map_err(|unread| {
        refuse(journey, unread.to_string());
        plain(unread.status())
    })?;
    gateway.arrived(journey);
    let message = Message::parse(&body).map_err(|fault| {
        refuse(journey, fault.to_string());
        error(StatusCode::BAD_REQUEST, None, fault.code(), &fault.to_string(), None)
    })?;
    let id = message.id.clone();
    headers::check(headers, &message).map_err(|fault| {
        refuse(journey, fault.to_string());
        header_fault(id.as_ref(), &fault)
    })?;
    let idempotency_key = carrier::idempotency_key(headers).map_err(|malformed| {
        let refusal = gateway.refuse_proof(journey, &ProofRefused::Malformed(malformed));
        denied(journey, id.as_ref(), &refusal)
    })?;
    // Both spellings of a name are one by now: `headers::check` has compared them.
    let name = message.param("name").or_else(|| message.param("uri")).and_then(Json::as_text).unwrap_or_default();
    let definition = proof.as_ref().and_then(|proof| proof.definition);
    let target = Target::Mcp { method: &message.method, name, definition };
    let exchange = Exchange { target, body: &body, idempotency_key };
    let effective = gateway
        .admit_proven(journey, carried, proof.as_ref(), &exchange)
        .map_err(|refusal| denied(journey, id.as_ref(), &refusal))?;
    let Some(id) = id else {
        // Nothing that a client may notify of changes anything here.
        return Ok(plain(StatusCode::ACCEPTED));
    };
    match message.method.as_str() {
        "server/discover" => {
            gateway.shown(journey);
            Ok(result(&id, discovery()))
        }
        "tools/list" => {
            let cursor = match message.param("cursor") {
                None | Some(Json::Null) => None,
                Some(Json::Text(cursor)) => Some(cursor.as_str()),
                Some(_) => return Err(invalid_params(gateway, journey, &id, "`cursor` is not a string")),
            };
            let active =
                gateway.open_list(journey, &effective).map_err(|refusal| denied(journey, Some(&id), &refusal))?;
            let out_of_reach = |tool: &Tool| journey.is_out_of_reach(tool);
            let page = list::page(&gateway.env, &ingress.cursors, active, &effective, cursor, out_of_reach);
            let page = page.map_err(|bad| {
                gateway.refuse_call(journey, Denied::new(Reason::Malformed, bad.to_string()));
                error(StatusCode::OK, Some(&id), Code::InvalidParams, &bad.to_string(), None)
            })?;
            gateway.shown(journey);
            Ok(result(&id, page))
        }
        "tools/call" => {
            let call = tool_call(&message).map_err(|rule| invalid_params(gateway, journey, &id, rule))?;
            if let Some(token) = stream::progress_token(headers, &message) {
                return Ok(stream::call(gateway, journey, effective, call, headers, (id, token)).await);
            }
            let made = gateway.call(journey, &effective, call, headers, None).await;
            Ok(answer_to_call(gateway, journey, &effective, &id, made))
        }
        _ => {
            gateway.refuse_call(journey, Denied::new(Reason::Malformed, "a method that is not served"));
            Err(error(StatusCode::NOT_FOUND, Some(&id), Code::MethodNotFound, "method not found", None))
        }
    }
}

/// What a call came to, as one document. A long one goes out in pieces, as long as nothing that it hangs on is cut.
fn answer_to_call(
    gateway: &Arc<Gateway>,
    journey: &Journey,
    effective: &Arc<Effective>,
    id: &RequestId,
    made: Result<Released, NoResult>,
) -> Response {
    match made {
        Ok(released) => {
            let mut response = result(id, Json::Null);
            let body = message::result(id, finished(journey, released.result));
            *response.body_mut() = Body::new(stream::Guarded::new(body.into(), gateway, effective, released.used));
            response
        }
        Err(NoResult::Refused(refusal)) => denied(journey, Some(id), &refusal),
        Err(NoResult::Headers(fault)) => header_fault(Some(id), &fault),
    }
}

/// Why a call came to nothing, as a message.
fn as_json(journey: &Journey, id: &RequestId, none: NoResult) -> Vec<u8> {
    match none {
        NoResult::Refused(refusal) => denial(journey, Some(id), &refusal),
        NoResult::Headers(fault) => message::error(Some(id), fault.code(), &fault.to_string(), fault.data()),
    }
}

fn invalid_params(gateway: &Gateway, journey: &Journey, id: &RequestId, rule: &'static str) -> Response {
    gateway.refuse_call(journey, Denied::new(Reason::Malformed, rule));
    error(StatusCode::OK, Some(id), Code::InvalidParams, rule, None)
}

/// The call in a `tools/call` request. The arguments are the very value that was parsed.
fn tool_call(message: &Message) -> Result<ToolCall, &'static str> {
    let name = message.param("name").and_then(Json::as_text).ok_or("`name` is not a string")?;
    let tool = ToolName::new(name).map_err(|_| "`name` is not the name of a tool")?;
    for unserved in ["inputResponses", "requestState", "task"] {
        if message.param(unserved).is_some() {
            return Err("multi-round-trip requests and tasks are not served");
        }
    }
    let arguments = match message.param("arguments") {
        None => Json::Object(Vec::new()),
        Some(arguments @ Json::Object(_)) => arguments.clone(),
        Some(_) => return Err("`arguments` is not an object"),
    };
    Ok(ToolCall { tool, arguments })
}

/// What `server/discover` says; the same to everybody.
fn discovery() -> Json {
    Json::object([
        ("resultType", Json::text("complete")),
        ("supportedVersions", Json::Array(vec![Json::text(PROTOCOL_VERSION)])),
        ("capabilities", Json::object([("tools", Json::Object(Vec::new()))])),
        ("ttlMs", Json::Int(0)),
        ("cacheScope", Json::text("private")),
        (
            "_meta",
            Json::object([(
                "io.modelcontextprotocol/serverInfo",
                Json::object([("name", Json::text("remit-edge")), ("version", Json::text(env!("CARGO_PKG_VERSION")))]),
            )]),
        ),
    ])
}

/// A filtered result with what every result of this revision has, and the decision's id.
fn finished(journey: &Journey, filtered: Json) -> Json {
    let decision = (DECISION_META.to_owned(), Json::Text(journey.decision.to_string()));
    let mut members = vec![("resultType".to_owned(), Json::text("complete"))];
    let mut meta = Vec::new();
    if let Json::Object(filtered) = filtered {
        for (key, value) in filtered {
            match (key.as_str(), value) {
                ("_meta", Json::Object(inner)) => meta = inner,
                (_, value) => members.push((key, value)),
            }
        }
    }
    meta.push(decision);
    members.push(("_meta".to_owned(), Json::Object(meta)));
    Json::Object(members)
}

/// A denial: 401 with a challenge when the envelope does not stand, else an answer like any other.
fn denied(journey: &Journey, id: Option<&RequestId>, refusal: &Refusal) -> Response {
    let status = if refusal.challenge { StatusCode::UNAUTHORIZED } else { StatusCode::OK };
    let mut response = json(status, denial(journey, id, refusal));
    response.headers_mut().extend(challenge::of(refusal).map(|challenge| (WWW_AUTHENTICATE, challenge)));
    response
}

/// A denial as a message.
fn denial(journey: &Journey, id: Option<&RequestId>, refusal: &Refusal) -> Vec<u8> {
    let Denied { reason, dimension, hop, stage: _, policies: _, policies_total: _, resources: _, detail: _, absent: _ } =
        &refusal.denied;
    let mut data = vec![("reason".to_owned(), Json::text(reason.as_str()))];
    data.extend(dimension.as_ref().map(|name| ("dimension".to_owned(), Json::text(name.as_str()))));
    data.extend(hop.map(|hop| ("hop".to_owned(), Json::Int(hop.into()))));
    if let Some(proof) = &refusal.proof {
        data.push(("proof".to_owned(), Json::text(proof.fault.as_str())));
        data.extend(proof.required.map(|grade| ("required".to_owned(), Json::text(grade.as_str()))));
    }
    data.push(("decision_id".to_owned(), Json::Text(journey.decision.to_string())));
    message::error(id, Code::Denied, &format!("denied: {reason}"), Some(Json::Object(data)))
}

fn header_fault(id: Option<&RequestId>, fault: &HeaderFault) -> Response {
    error(StatusCode::BAD_REQUEST, id, fault.code(), &fault.to_string(), fault.data())
}

fn result(id: &RequestId, result: Json) -> Response {
    json(StatusCode::OK, message::result(id, result))
}

fn error(status: StatusCode, id: Option<&RequestId>, code: Code, text: &str, data: Option<Json>) -> Response {
    json(status, message::error(id, code, text, data))
}

fn json(status: StatusCode, body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn plain(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}
