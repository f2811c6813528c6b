//! `/t/{upstream}/{path}`: tools that are plain HTTP, called as such.
//!
//! Method, path, query and body are taken apart by the tool's own descriptor and become the same arguments that an MCP
//! call would carry; what no tool is called by is refused like what lies outside the envelope, so that nobody finds out
//! which paths there are. The address that is called stands in the bundle. Clauses G-94 to G-96.

use std::borrow::Cow;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Request, StatusCode};
use remit_common::envelope::Effective;
use remit_common::id::{TenantId, UpstreamName};
use remit_common::policy::call::ToolCall;
use remit_common::policy::catalogue::http::{segments, tool_called_by};
use remit_common::policy::catalogue::{HttpCall, Tool};
use remit_common::policy::decide::is_visible;
use remit_common::policy::decision::{Denied, Reason};
use remit_common::policy::json::{self, Json};
use remit_common::policy::response::CUT_META;
use remit_common::proof::{Exchange, ProofRefused, Target};

use super::body::read;
use super::carrier::{self, Carried};
use super::channels::{empty, refused};
use super::mcp::Guarded;
use super::{DECISION_HEADER, Ingress, connection_of, is_json};
use crate::active::ActiveBundle;
use crate::pdp::Refusal;
use crate::road::{Gateway, Journey, NoResult, Released};

/// Where the paths of tools begin.
const BEGIN: &str = "/t/";
/// Tells how many records there are, where there would have been more.
const CUT_HEADER: HeaderName = HeaderName::from_static("remit-cut");
const METHODS: &str = "GET, POST, PUT, PATCH, DELETE";

/// The handler.
pub(super) async fn serve(State(ingress): State<Ingress>, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    if !HttpCall::is_method(parts.method.as_str()) {
        let mut response = empty(StatusCode::METHOD_NOT_ALLOWED);
        response.headers_mut().insert(ALLOW, HeaderValue::from_static(METHODS));
        return response;
    }
    let mut journey = ingress.gateway.arrive(connection_of(&parts.extensions));
    let mut response = answer(&ingress, &mut journey, &parts, body).await.unwrap_or_else(|early| early);
    if let Ok(id) = HeaderValue::from_str(&journey.decision.to_string()) {
        response.headers_mut().insert(DECISION_HEADER, id);
    }
    response
}

async fn answer(ingress: &Ingress, journey: &mut Journey, parts: &Parts, body: Body) -> Result<Response, Response> {
    let (gateway, headers) = (&ingress.gateway, &parts.headers);
    if !ingress.takes_origin(headers) {
        gateway.refuse_request(journey, Reason::Malformed, "an origin that is not allowed");
        return Err(empty(StatusCode::FORBIDDEN));
    }
    let carried = carrier::envelope(headers)
        .map_err(|missing| refused(journey, &gateway.refuse_request(journey, missing.reason(), missing.to_string())))?;
    let malformed =
        |journey: &Journey, refused_by: ProofRefused| refused(journey, &gateway.refuse_proof(journey, &refused_by));
    let proof = carrier::proof(headers).map_err(|bad| malformed(journey, ProofRefused::Malformed(bad)))?;
    if proof.is_some() && matches!(carried, Carried::Bearer(_)) {
        return Err(refused(
            journey,
            &gateway.refuse_carrier(journey, "a proof goes with an envelope in `remit-envelope`"),
        ));
    }
    let body = read(body).await.map_err(|unread| {
        gateway.refuse_request(journey, Reason::Malformed, unread.to_string());
        empty(unread.status())
    })?;
    if !body.is_empty() && !is_json(headers) {
        gateway.refuse_request(journey, Reason::Malformed, "a content type other than application/json");
        return Err(empty(StatusCode::UNSUPPORTED_MEDIA_TYPE));
    }
    gateway.arrived(journey);
    let idempotency_key =
        carrier::idempotency_key(headers).map_err(|bad| malformed(journey, ProofRefused::Malformed(bad)))?;
    let (path, query) = (parts.uri.path(), parts.uri.query());
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let target = Target::Http { method: parts.method.as_str(), path, query: query.unwrap_or_default(), content_type };
    let exchange = Exchange { target, body: &body, idempotency_key };
    let effective = gateway
        .admit_proven(journey, carried, proof.as_ref(), &exchange)
        .map_err(|refusal| shown(journey, &refusal))?;
    let called = path.strip_prefix(BEGIN).map(|rest| rest.split_at(rest.find('/').unwrap_or(rest.len())));
    let called = called
        .ok_or_else(unknown)
        .and_then(|(upstream, below)| called_by(journey, &effective.tenant, upstream, (parts.method.as_str(), below)));
    if let Ok(called) = &called {
        journey.names(&called.tool);
    }
    let called = called.and_then(|called| called.for_caller(&effective));
    let call = called.and_then(|called| called.read(query, &body)).map_err(|denied| {
        let refusal = Refusal::of_call(denied);
        gateway.refuse_call(journey, refusal.denied.clone());
        shown(journey, &refusal)
    })?;
    match gateway.call_once(journey, &effective, call, headers).await {
        Ok(released) => Ok(released_as(gateway, &effective, released)),
        Err(NoResult::Refused(refusal)) => Err(shown(journey, &refusal)),
        Err(NoResult::Headers(fault)) => {
            Err(shown(journey, &Refusal::of_call(Denied::new(Reason::Malformed, fault.to_string()))))
        }
    }
}

/// A tool that a request calls, and what its path says.
#[derive(Debug)]
pub(crate) struct CalledTool {
    pub(crate) tool: Arc<Tool>,
    http: HttpCall,
    segments: Vec<String>,
}

/// Which tool of an upstream a request calls.
pub(super) fn called_by(
    journey: &Journey,
    tenant: &TenantId,
    upstream: &str,
    (method, below): (&str, &str),
) -> Result<CalledTool, Denied> {
    let active = active(journey, tenant)?;
    let tools = active.bundle.policy().catalogue().tools.values();
    let tools = tools.filter(|tool| tool.upstream.as_str() == upstream);
    let segments = segments(below).map_err(|_| unknown())?;
    let (tool, http) = tool_called_by(tools, method, &segments).ok_or_else(unknown)?;
    Ok(CalledTool { tool: Arc::clone(tool), http: http.clone(), segments })
}

/// The same where the path is the one that the upstream's server sees, its own in front.
pub(super) fn called_at(
    journey: &Journey,
    tenant: &TenantId,
    upstream: &UpstreamName,
    (method, path): (&str, &str),
) -> Result<CalledTool, Denied> {
    let catalogue = active(journey, tenant)?.bundle.policy().catalogue();
    let base = catalogue.upstreams.get(upstream).map(|upstream| upstream.path().trim_end_matches('/'));
    let below = base.and_then(|base| path.strip_prefix(base)).filter(|below| below.starts_with('/'));
    called_by(journey, tenant, upstream.as_str(), (method, below.ok_or_else(unknown)?))
}

fn active<'j>(journey: &'j Journey, tenant: &TenantId) -> Result<&'j ActiveBundle, Denied> {
    let active = journey.view.bundle(tenant, journey.arrived.wall);
    active.map_err(|untrusted| Denied::new(Reason::Stale, untrusted.to_string()))
}

impl CalledTool {
    /// Only if the caller may know of it: whatever else is wrong with a request would tell.
    pub(crate) fn for_caller(self, effective: &Effective) -> Result<Self, Denied> {
        if is_visible(&self.tool, effective.authority()) { Ok(self) } else { Err(unknown()) }
    }

    /// The call, with what query and body say.
    pub(crate) fn read(&self, query: Option<&str>, body: &[u8]) -> Result<ToolCall, Denied> {
        let arguments = self.http.arguments(&self.tool.input_schema, &self.segments, query, body);
        let arguments = arguments.map_err(|none| Denied::new(Reason::Malformed, none.to_string()))?;
        Ok(ToolCall { tool: self.tool.name.clone(), arguments })
    }

    /// Whether a body could say something.
    pub(crate) fn takes_body(&self) -> bool {
        self.http.body
    }
}

fn unknown() -> Denied {
    Denied::new(Reason::ToolUnknown, "no tool is called by such a request")
}

/// A refusal in which what is not there looks like what is out of reach.
pub(super) fn concealed(refusal: &Refusal) -> Cow<'_, Refusal> {
    let Denied { reason, dimension, .. } = &refusal.denied;
    if *reason == Reason::ToolUnknown || *reason == Reason::OutOfScope && dimension.is_none() {
        let denied = Denied::new(Reason::OutOfScope, "");
        return Cow::Owned(Refusal { denied, ..refusal.clone() });
    }
    Cow::Borrowed(refusal)
}

fn shown(journey: &Journey, refusal: &Refusal) -> Response {
    let refusal = &*concealed(refusal);
    let mut response = refused(journey, refusal);
    let status = match refusal.denied.reason {
        Reason::Malformed | Reason::UnmappedArgument | Reason::UnmappedDimension if !refusal.challenge => {
            StatusCode::BAD_REQUEST
        }
        Reason::Stale | Reason::Isolated | Reason::Quarantined | Reason::VaultQuorumLost => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        Reason::BudgetExhausted => StatusCode::TOO_MANY_REQUESTS,
        Reason::UpstreamUnreachable => StatusCode::BAD_GATEWAY,
        _ => response.status(),
    };
    *response.status_mut() = status;
    response
}

/// What was released, as the body that a plain server would have sent.
fn released_as(gateway: &Arc<Gateway>, effective: &Arc<Effective>, released: Released) -> Response {
    let Released { result, used } = released;
    let is_error = result.get("isError") == Some(&Json::Bool(true));
    let (body, kind) = match result.get("structuredContent") {
        Some(structured) => (json::encode(structured), "application/json"),
        None => (texts(&result).into_bytes(), "text/plain; charset=utf-8"),
    };
    let cut = result.get("_meta").and_then(|meta| meta.get(CUT_META)?.get("records")?.as_int());
    let mut response = Response::new(Body::new(Guarded::new(body.into(), gateway, effective, used)));
    if is_error {
        // Nothing that a proxy on the way would try again.
        *response.status_mut() = StatusCode::UNPROCESSABLE_ENTITY;
    }
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // What a tool says is no page of this edge.
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.extend(cut.map(|records| (CUT_HEADER, HeaderValue::from(records))));
    response
}

/// The texts of a result without structure.
fn texts(result: &Json) -> String {
    let Some(Json::Array(blocks)) = result.get("content") else { return String::new() };
    let text = |block: &Json| block.get("text").and_then(Json::as_text).map(str::to_owned);
    blocks.iter().filter_map(text).collect::<Vec<_>>().join("\n")
}
