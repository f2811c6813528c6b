//! The AuthZEN Authorization API 1.0 (OpenID), evaluation and evaluations.
//!
//! A request that is malformed is 400; what it asks is then yes or no, and no is the answer to everything that was not
//! permitted. Unknown members are ignored, as the specification wants it. An evaluation about an envelope names a tool
//! and carries its arguments (`action.properties.arguments`); the envelope stands in `subject.properties` under
//! `remit_envelope`, or in the header that carries envelopes everywhere. One without an envelope is judged by policy
//! alone, for actions that the manifest names. Clauses G-91 to G-93.

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderValue, Method, Request, StatusCode};
use remit_common::envelope::{ENVELOPE_HEADER, RawPresentation};
use remit_common::id::{ActionName, ToolName};
use remit_common::limits::PRESENTATION_BYTES_MAX;
use remit_common::policy::advice::{Party, Question};
use remit_common::policy::call::ToolCall;
use remit_common::policy::decision::{Denied, Reason};
use remit_common::policy::json::{self, Json, Mode};
use remit_common::text;

use super::super::body;
use super::super::carrier::{self, Carried};
use super::super::{DECISION_HEADER, Ingress, connection_of, is_json};
use super::turned_away;
use crate::config::EnforcementPointEntry;
use crate::pdp::Refusal;
use crate::road::{Advice, Asked};

/// Where evaluations are asked for, one and several.
pub(crate) const EVALUATION_PATH: &str = "/access/v1/evaluation";
pub(crate) const EVALUATIONS_PATH: &str = "/access/v1/evaluations";
/// Where the endpoints are named.
pub(crate) const CONFIGURATION_PATH: &str = "/.well-known/authzen-configuration";

/// What a request calls itself; it is told so again.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Where the properties of a subject have its envelope.
const ENVELOPE_PROPERTY: &str = "remit_envelope";
/// Where the properties of an action have the arguments of a tool.
const ARGUMENTS_PROPERTY: &str = "arguments";
/// Evaluations of one request.
const EVALUATIONS_MAX: usize = 100;
/// Bytes that all evaluations of a request look at, together.
const WORK_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Bytes of a type or an id.
const NAME_BYTES_MAX: usize = 1_024;

/// How a request of several is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Semantic {
    ExecuteAll,
    DenyOnFirstDeny,
    PermitOnFirstPermit,
}

/// What is wrong with a request, or with one of its evaluations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
struct Malformed(&'static str);

/// One evaluation, read.
#[derive(Debug, Clone, PartialEq)]
struct Evaluation {
    subject: Party,
    action: String,
    properties: Json,
    resource: Party,
    context: Json,
}

/// One decision.
pub(crate) async fn evaluation(State(ingress): State<Ingress>, request: Request<Body>) -> Response {
    answer(&ingress, request, false).await
}

/// Several.
pub(crate) async fn evaluations(State(ingress): State<Ingress>, request: Request<Body>) -> Response {
    answer(&ingress, request, true).await
}

/// The metadata of this decision point; there is none as long as its own address is not configured.
pub(crate) async fn configuration(State(ingress): State<Ingress>, request: Request<Body>) -> Response {
    echoing(request.headers(), metadata(&ingress, request.method()))
}

fn metadata(ingress: &Ingress, method: &Method) -> Response {
    if method != Method::GET {
        return not_allowed("GET");
    }
    let Some(base) = ingress.public_url.as_deref().filter(|_| !ingress.points.is_empty()) else {
        return problem(StatusCode::NOT_FOUND, "not_found", "this edge has no `public_url`, or no enforcement points");
    };
    let url = |path: &str| Json::Text(format!("{base}{path}"));
    let metadata = Json::object([
        ("policy_decision_point", Json::text(base)),
        ("access_evaluation_endpoint", url(EVALUATION_PATH)),
        ("access_evaluations_endpoint", url(EVALUATIONS_PATH)),
    ]);
    document(StatusCode::OK, &metadata)
}

/// The evaluations of a request that asks for several, and how to go through them; `None` if it asks for one.
type Several = Option<(Vec<Json>, Semantic)>;

async fn answer(ingress: &Ingress, request: Request<Body>, may_be_several: bool) -> Response {
    let (parts, body) = request.into_parts();
    let response = evaluate(ingress, &parts, body, may_be_several).await.unwrap_or_else(|early| early);
    echoing(&parts.headers, response)
}

async fn evaluate(ingress: &Ingress, parts: &Parts, body: Body, may_be_several: bool) -> Result<Response, Response> {
    if parts.method != Method::POST {
        return Err(not_allowed("POST"));
    }
    if !ingress.takes_origin(&parts.headers) {
        turned_away(ingress, parts, "an origin that is not allowed");
        return Err(problem(StatusCode::FORBIDDEN, "forbidden", "an origin that is not allowed"));
    }
    let Some(point) = ingress.points.asking(&parts.headers, connection_of(&parts.extensions)) else {
        turned_away(ingress, parts, "nobody that this edge knows as an enforcement point");
        let what = "show the token or the certificate of an enforcement point";
        let mut response = problem(StatusCode::UNAUTHORIZED, "unauthenticated", what);
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"remit\""));
        return Err(response);
    };
    // The specification has one status for every request that cannot be read.
    let malformed = |what: &str| problem(StatusCode::BAD_REQUEST, "malformed", what);
    if !is_json(&parts.headers) {
        return Err(malformed("a content type other than application/json"));
    }
    let bytes = body::read(body).await.map_err(|unread| problem(unread.status(), "malformed", &unread.to_string()))?;
    let request =
        json::parse(&bytes, Mode::Document).map_err(|fault| malformed(&format!("not strict JSON: {fault}")))?;
    if request.as_object().is_none() {
        return Err(malformed("the body is not an object"));
    }
    let carried = carried(parts).map_err(|Malformed(what)| malformed(what))?;
    let several = if may_be_several { several(&request).map_err(|Malformed(what)| malformed(what))? } else { None };
    // What all evaluations share is looked at once for each.
    let work = bytes.len().saturating_mul(several.as_ref().map_or(1, |(evaluations, _)| evaluations.len()));
    if work > WORK_BYTES_MAX {
        let what = "the body's bytes times its evaluations are more than 8 MiB";
        return Err(problem(StatusCode::PAYLOAD_TOO_LARGE, "malformed", what));
    }
    match several {
        None => {
            let evaluation = Evaluation::read(&request, &Json::Null).map_err(|Malformed(what)| malformed(what))?;
            let advice = advise(ingress, parts, point, carried, Ok(evaluation)).await;
            let mut response = document(StatusCode::OK, &decision(&advice));
            response.headers_mut().extend(advice.decision_header().map(|id| (DECISION_HEADER, id)));
            Ok(response)
        }
        Some((evaluations, semantic)) => {
            let mut decisions = Vec::with_capacity(evaluations.len());
            for evaluation in &evaluations {
                let evaluation = Evaluation::read(evaluation, &request);
                let advice = advise(ingress, parts, point, carried.clone(), evaluation).await;
                let permits = advice.permits();
                decisions.push(decision(&advice));
                match semantic {
                    Semantic::DenyOnFirstDeny if !permits => break,
                    Semantic::PermitOnFirstPermit if permits => break,
                    _ => {}
                }
                // Others want to be served meanwhile.
                tokio::task::yield_now().await;
            }
            Ok(document(StatusCode::OK, &Json::object([("evaluations", Json::Array(decisions))])))
        }
    }
}

async fn advise(
    ingress: &Ingress,
    parts: &Parts,
    point: &EnforcementPointEntry,
    carried: Option<RawPresentation>,
    evaluation: Result<Evaluation, Malformed>,
) -> Advice {
    let gateway = &ingress.gateway;
    let journey = gateway.arrive(connection_of(&parts.extensions));
    let asked = evaluation.and_then(|evaluation| evaluation.asked(carried));
    let asked = asked.map_err(|Malformed(what)| Denied::new(Reason::Malformed, what));
    let asked = asked.and_then(|asked| Ok((asked, carrier::relations_at_least(&parts.headers)?)));
    let asked = asked.map_err(Refusal::of_call);
    gateway.advise(journey, point, asked).await
}

/// The evaluations of a request, in which the request's own members stand for what they leave out.
fn several(request: &Json) -> Result<Several, Malformed> {
    let evaluations = match request.get("evaluations") {
        None => return Ok(None),
        Some(Json::Array(evaluations)) if evaluations.is_empty() => return Ok(None),
        Some(Json::Array(evaluations)) if evaluations.len() > EVALUATIONS_MAX => {
            return Err(Malformed("more than 100 evaluations"));
        }
        Some(Json::Array(evaluations)) => evaluations.clone(),
        Some(_) => return Err(Malformed("`evaluations` is not an array")),
    };
    let options = request.get("options");
    if options.is_some_and(|options| options.as_object().is_none()) {
        return Err(Malformed("`options` is not an object"));
    }
    let semantic = match options.map(|options| options.get("evaluations_semantic")) {
        None | Some(None) => Semantic::ExecuteAll,
        Some(Some(Json::Text(word))) if word == "execute_all" => Semantic::ExecuteAll,
        Some(Some(Json::Text(word))) if word == "deny_on_first_deny" => Semantic::DenyOnFirstDeny,
        Some(Some(Json::Text(word))) if word == "permit_on_first_permit" => Semantic::PermitOnFirstPermit,
        Some(Some(_)) => return Err(Malformed("an `evaluations_semantic` that the specification does not have")),
    };
    Ok(Some((evaluations, semantic)))
}

/// The envelope in a header of its own; the bearer token is the enforcement point's.
fn carried(parts: &Parts) -> Result<Option<RawPresentation>, Malformed> {
    if !parts.headers.contains_key(ENVELOPE_HEADER) {
        return Ok(None);
    }
    let mut own = http::HeaderMap::new();
    own.extend(parts.headers.get_all(ENVELOPE_HEADER).iter().map(|value| (ENVELOPE, value.clone())));
    match carrier::envelope(&own) {
        Ok(Carried::Presentation(raw)) => Ok(Some(raw)),
        Ok(Carried::Bearer(_) | Carried::Reference(_)) => Err(Malformed("the envelope has to be shown whole")),
        Err(_) => Err(Malformed("the envelope is malformed, or there are two")),
    }
}

const ENVELOPE: HeaderName = HeaderName::from_static(ENVELOPE_HEADER);

impl Evaluation {
    /// Reads one; what it leaves out stands in `defaults`. An entity that it names takes the place of the default, but for
    /// a type, id or name that it leaves out.
    fn read(evaluation: &Json, defaults: &Json) -> Result<Self, Malformed> {
        if evaluation.as_object().is_none() {
            return Err(Malformed("an evaluation is not an object"));
        }
        let entity = |name: &str, missing: &'static str, wrong: &'static str| {
            let (own, default) = (evaluation.get(name), defaults.get(name));
            match own.or(default) {
                None => Err(Malformed(missing)),
                Some(entity @ Json::Object(_)) => Ok((entity, default)),
                Some(_) => Err(Malformed(wrong)),
            }
        };
        let subject = entity("subject", "`subject` is missing", "`subject` is not an object")?;
        let action = entity("action", "`action` is missing", "`action` is not an object")?;
        let resource = entity("resource", "`resource` is missing", "`resource` is not an object")?;
        let context = match evaluation.get("context").or_else(|| defaults.get("context")) {
            None | Some(Json::Null) => Json::Object(Vec::new()),
            Some(context @ Json::Object(_)) => context.clone(),
            Some(_) => return Err(Malformed("`context` is not an object")),
        };
        Ok(Self {
            subject: party(subject)?,
            action: named(action, "name")?,
            properties: properties(action.0)?,
            resource: party(resource)?,
            context,
        })
    }

    /// What is to be judged.
    fn asked(self, carried: Option<RawPresentation>) -> Result<Asked, Malformed> {
        let shown = match self.subject.properties.get(ENVELOPE_PROPERTY) {
            None => carried,
            Some(_) if carried.is_some() => return Err(Malformed("more than one envelope")),
            Some(Json::Text(envelope)) if envelope.len() <= PRESENTATION_BYTES_MAX.div_ceil(3) * 4 => {
                let bytes = text::from_base64url(envelope).ok_or(Malformed("the envelope is not base64url"))?;
                Some(RawPresentation::parse(&bytes).map_err(|_| Malformed("the envelope is malformed"))?)
            }
            Some(_) => return Err(Malformed("the envelope is not a text, or too long")),
        };
        let Some(envelope) = shown else {
            let Self { subject, action, properties, resource, context } = self;
            let action =
                ActionName::new(&action).map_err(|_| Malformed("the action's name is no name of an action"))?;
            return Ok(Asked::Plain(Question { subject, action, properties, resource, context }));
        };
        let arguments = match self.properties.get(ARGUMENTS_PROPERTY) {
            None => Json::Object(Vec::new()),
            Some(arguments @ Json::Object(_)) => arguments.clone(),
            Some(_) => return Err(Malformed("`arguments` is not an object")),
        };
        let tool = ToolName::new(&self.action).map_err(|_| Malformed("the action's name is no name of a tool"))?;
        let call = ToolCall { tool, arguments };
        Ok(Asked::Call { envelope, call, subject: self.subject, resource: self.resource })
    }
}

fn party((entity, default): (&Json, Option<&Json>)) -> Result<Party, Malformed> {
    let (kind, id) = (named((entity, default), "type")?, named((entity, default), "id")?);
    Ok(Party { kind, id, properties: properties(entity)? })
}

fn named((entity, default): (&Json, Option<&Json>), member: &str) -> Result<String, Malformed> {
    match entity.get(member).or_else(|| default?.get(member)) {
        Some(Json::Text(text)) if (1..=NAME_BYTES_MAX).contains(&text.len()) => Ok(text.clone()),
        Some(_) => Err(Malformed("a type, id or name is not a string of 1 to 1024 bytes")),
        None => Err(Malformed("a type, id or name is missing")),
    }
}

fn properties(entity: &Json) -> Result<Json, Malformed> {
    match entity.get("properties") {
        None | Some(Json::Null) => Ok(Json::Object(Vec::new())),
        Some(properties @ Json::Object(_)) => Ok(properties.clone()),
        Some(_) => Err(Malformed("`properties` is not an object")),
    }
}

/// What an enforcement point is told; unlike an agent, it learns which rules it was.
fn decision(advice: &Advice) -> Json {
    Json::object([("decision", Json::Bool(advice.permits())), ("context", advice.context())])
}

fn not_allowed(method: &'static str) -> Response {
    let mut response = problem(StatusCode::METHOD_NOT_ALLOWED, "malformed", "another method");
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(method));
    response
}

fn problem(status: StatusCode, reason: &str, detail: &str) -> Response {
    let body = Json::object([
        ("status", Json::Int(status.as_u16().into())),
        ("reason", Json::text(reason)),
        ("detail", Json::text(detail)),
    ]);
    document(status, &body)
}

fn document(status: StatusCode, body: &Json) -> Response {
    let mut response = Response::new(Body::from(json::encode(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn echoing(headers: &http::HeaderMap, mut response: Response) -> Response {
    response.headers_mut().extend(headers.get(REQUEST_ID).map(|id| (REQUEST_ID, id.clone())));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Json {
        json::parse(text.as_bytes(), Mode::Protocol).unwrap()
    }

    #[test]
    fn what_an_evaluation_names_takes_the_place_of_the_default_but_for_what_it_leaves_out() {
        let request = json(
            r#"{"subject":{"type":"user","id":"alice","properties":{"role":"x"}},"action":{"name":"read"},
                "resource":{"type":"record"},"context":{"a":1}}"#,
        );
        let read =
            Evaluation::read(&json(r#"{"subject":{"id":"bob"},"resource":{"id":"r1"},"context":{"b":2}}"#), &request);
        let read = read.unwrap();
        assert_eq!((read.subject.kind.as_str(), read.subject.id.as_str()), ("user", "bob"));
        assert_eq!(read.subject.properties, json("{}"), "properties are not merged");
        assert_eq!((read.resource.kind.as_str(), read.resource.id.as_str()), ("record", "r1"));
        assert_eq!(read.context, json(r#"{"b":2}"#));
        assert_eq!(Evaluation::read(&json("{}"), &request), Err(Malformed("a type, id or name is missing")));
        assert_eq!(Evaluation::read(&json("[]"), &request), Err(Malformed("an evaluation is not an object")));
    }

    #[test]
    fn several_are_bounded_and_none_is_one() {
        assert_eq!(several(&json("{}")), Ok(None));
        assert_eq!(several(&json(r#"{"evaluations":[]}"#)), Ok(None));
        assert!(several(&json(r#"{"evaluations":{}}"#)).is_err());
        let many = format!(r#"{{"evaluations":[{}]}}"#, vec!["{}"; EVALUATIONS_MAX + 1].join(","));
        assert_eq!(several(&json(&many)), Err(Malformed("more than 100 evaluations")));
        let of = |word: &str| format!(r#"{{"evaluations":[{{}}],"options":{{"evaluations_semantic":"{word}"}}}}"#);
        let semantic = |word: &str| several(&json(&of(word))).map(|several| several.map(|(_, semantic)| semantic));
        assert_eq!(semantic("execute_all"), Ok(Some(Semantic::ExecuteAll)));
        assert_eq!(semantic("deny_on_first_deny"), Ok(Some(Semantic::DenyOnFirstDeny)));
        assert_eq!(semantic("permit_on_first_permit"), Ok(Some(Semantic::PermitOnFirstPermit)));
        assert!(semantic("permit_all").is_err());
    }
}
