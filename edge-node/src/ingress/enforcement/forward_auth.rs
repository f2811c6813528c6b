//! A proxy holds a request back and asks whether it may pass: `auth_request` of nginx, ForwardAuth of Traefik,
//! `forward_auth` of Caddy, ext_authz over HTTP of Envoy.
//!
//! Which request that is stands in one family of headers, which the configuration names and the proxy sets; whatever
//! another family says is a caller's, and refused, not passed over. The request calls a plain HTTP tool like one below
//! `/t/`, and envelope and proof are those that its caller shows. Its body is not seen here, nor the answer: what would
//! need either is refused. Clauses G-97 to G-99.

use axum::body::{Body, HttpBody as _};
use axum::extract::State;
use axum::response::Response;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use remit_common::policy::decision::{Denied, Reason};
use remit_common::proof::ProofRefused;

use super::super::carrier::{self, Carried};
use super::super::channels::{empty, refused_as};
use super::super::plain::{CalledTool, called_at, concealed};
use super::super::{DECISION_HEADER, Ingress, connection_of};
use super::turned_away;
use crate::config::{EnforcementPointEntry, ForwardAuth, HeldRequestIn};
use crate::pdp::Refusal;
use crate::road::{Advice, Asked, Held, Journey};

/// Where proxies ask; one that asks by path has the path of its request below.
pub(crate) const PATH: &str = "/forward-auth";
/// Tells why.
const REASON_HEADER: HeaderName = HeaderName::from_static("remit-reason");
/// What is told to a proxy that is no enforcement point: nothing that its callers could mend.
const UNKNOWN_POINT: HeaderValue = HeaderValue::from_static("not_an_enforcement_point");

/// Headers in which proxies say which request they hold back: method, then path with query.
const ORIGINAL: [&str; 2] = ["x-original-method", "x-original-uri"];
const FORWARDED: [&str; 2] = ["x-forwarded-method", "x-forwarded-uri"];
/// All of them, and others by which an application might take the request for another one.
const FAMILIES: [&str; 10] = [
    "x-original-method",
    "x-original-uri",
    "x-forwarded-method",
    "x-forwarded-uri",
    "x-original-url",
    "x-rewrite-url",
    "x-envoy-original-path",
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
];
/// Headers of a request that goes on after its head, in a way that nobody has judged.
const GOES_ON: [&str; 3] = ["transfer-encoding", "upgrade", "sec-websocket-key"];

/// The request that a proxy holds back.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    method: Method,
    path: String,
    query: String,
}

/// What is wrong with a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
struct Malformed(&'static str);

/// The handler.
pub(in super::super) async fn serve(State(ingress): State<Ingress>, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let point = ingress.points.asking_for_a_caller(&parts.headers, connection_of(&parts.extensions));
    let Some((point, held)) = point.and_then(|point| Some((point, point.forward_auth.as_ref()?))) else {
        turned_away(&ingress, &parts, "nobody that this edge knows as a proxy that asks for others");
        let mut response = empty(StatusCode::FORBIDDEN);
        response.headers_mut().insert(REASON_HEADER, UNKNOWN_POINT);
        return response;
    };
    // The connection is the proxy's, and proves nothing of its caller.
    let journey = ingress.gateway.arrive(None);
    let asked = asked(&ingress, &journey, (point, held), &parts, body.is_end_stream());
    answer(&ingress.gateway.advise(journey, point, asked).await)
}

/// What is asked, or why it cannot be.
fn asked(
    ingress: &Ingress,
    journey: &Journey,
    (point, by): (&EnforcementPointEntry, &ForwardAuth),
    parts: &Parts,
    is_empty: bool,
) -> Result<(Asked, Option<u64>), Box<Refusal>> {
    let headers = &parts.headers;
    let malformed = |what: &str| Refusal::of_call(Denied::new(Reason::Malformed, what));
    if !ingress.takes_origin(headers) {
        return Err(malformed("an origin that is not allowed"));
    }
    let Line { method, path, query } = line(by.headers, parts).map_err(|Malformed(what)| malformed(what))?;
    let carried = carrier::envelope(headers)
        .map_err(|none| Refusal::of_envelope(Denied::new(none.reason(), none.to_string())))?;
    let unproven = |bad| Refusal::of_proof(&ProofRefused::Malformed(bad));
    let proof = carrier::proof(headers).map_err(unproven)?;
    if proof.is_some() && matches!(carried, Carried::Bearer(_)) {
        return Err(malformed("a proof goes with an envelope in `remit-envelope`"));
    }
    let goes_on = GOES_ON.iter().any(|name| headers.contains_key(*name)) || !is_empty;
    if goes_on || [Method::POST, Method::PUT, Method::PATCH].contains(&method) {
        let detail = "what a body says is not seen here: call it by this edge";
        return Err(Refusal::of_call(Denied::new(Reason::UnmappedDimension, detail)));
    }
    let idempotency_key = carrier::idempotency_key(headers).map_err(unproven)?.to_vec();
    let demanded = carrier::relations_at_least(headers).map_err(Refusal::of_call)?;
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let called = called(journey, (point, by), (method.as_str(), &path));
    let method = method.to_string();
    let held = Held { carried, proof, method, path, query, content_type, idempotency_key, called };
    Ok((Asked::Held(Box::new(held)), demanded))
}

fn called(
    journey: &Journey,
    (point, by): (&EnforcementPointEntry, &ForwardAuth),
    (method, path): (&str, &str),
) -> Result<CalledTool, Denied> {
    called_at(journey, &point.tenant, &by.upstream, (method, path))
}

/// The request that is held back, as the one family of headers says it that the configuration names.
fn line(by: HeldRequestIn, parts: &Parts) -> Result<Line, Malformed> {
    let own: &[&str] = match by {
        HeldRequestIn::Original => &ORIGINAL,
        HeldRequestIn::Forwarded => &FORWARDED,
        HeldRequestIn::Path => &[],
    };
    // Some servers hand `X_Original_URI` and `X.Original.URI` on under the one name.
    let reads_like = |name: &str| name.replace(['_', '.'], "-");
    let mut names = parts.headers.keys().map(HeaderName::as_str);
    if names.any(|name| FAMILIES.contains(&reads_like(name).as_str()) && !own.contains(&name)) {
        return Err(Malformed("a header of another family than the configured one says which request it is"));
    }
    let (method, uri) = match own {
        [method, uri] => (sole(&parts.headers, method)?, sole(&parts.headers, uri)?),
        _ => {
            let asked = parts.uri.path_and_query().map_or("", http::uri::PathAndQuery::as_str);
            (parts.method.as_str(), asked.strip_prefix(PATH).unwrap_or_default())
        }
    };
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| Malformed("the method is none"))?;
    if !uri.starts_with('/') {
        return Err(Malformed("the path is none"));
    }
    let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
    Ok(Line { method, path: path.to_owned(), query: query.to_owned() })
}

fn sole<'h>(headers: &'h HeaderMap, name: &str) -> Result<&'h str, Malformed> {
    let mut values = headers.get_all(name).iter();
    match (values.next().and_then(|value| value.to_str().ok()), values.next()) {
        (Some(value), None) => Ok(value),
        _ => Err(Malformed("the proxy does not say which request it is, or says it twice")),
    }
}

/// 200, 401 or 403: what every proxy understands.
fn answer(advice: &Advice) -> Response {
    let (mut response, reason) = match advice.refusal() {
        None => (empty(StatusCode::OK), Reason::Permit),
        Some(refusal) => {
            let shown = concealed(refusal);
            let mut response = refused_as(advice.decision(), &shown);
            if !refusal.challenge {
                *response.status_mut() = StatusCode::FORBIDDEN;
            }
            (response, shown.denied.reason)
        }
    };
    let headers = response.headers_mut();
    headers.insert(REASON_HEADER, HeaderValue::from_static(reason.as_str()));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.extend(advice.decision_header().map(|id| (DECISION_HEADER, id)));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(by: HeldRequestIn, uri: &str, headers: &[(&'static str, &str)]) -> Result<Line, Malformed> {
        let mut request = Request::get(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        line(by, &request.body(()).unwrap().into_parts().0)
    }

    const GET: (&str, &str) = ("x-original-method", "GET");
    const URI: (&str, &str) = ("x-original-uri", "/api/contracts/c-1?limit=2");

    #[test]
    fn one_family_says_which_request_it_is() {
        use HeldRequestIn::{Forwarded, Original, Path};
        let expected = Ok(Line { method: Method::GET, path: "/api/contracts/c-1".into(), query: "limit=2".into() });
        assert_eq!(held(Original, PATH, &[GET, URI]), expected);
        let traefik = [("x-forwarded-method", "GET"), ("x-forwarded-uri", "/api/contracts/c-1?limit=2")];
        assert_eq!(held(Forwarded, PATH, &traefik), expected);
        assert_eq!(held(Path, "/forward-auth/api/contracts/c-1?limit=2", &[]), expected);
        // Hosts and addresses say nothing about which tool it is.
        let hop = ("x-forwarded-for", "10.0.0.1");
        assert_eq!(held(Original, PATH, &[GET, URI, hop]), expected);
    }

    #[test]
    fn a_caller_who_says_it_in_another_family_is_refused() {
        use HeldRequestIn::{Original, Path};
        for (name, value) in [
            ("x-forwarded-uri", "/api/public"),
            ("x-forwarded-method", "GET"),
            ("x-original-url", "/api/public"),
            ("x-rewrite-url", "/api/public"),
            ("x_original_uri", "/api/public"),
            ("x.original.uri", "/api/public"),
            ("x_forwarded-uri", "/api/public"),
            ("x-original-uri", "/api/public"),
            ("x-http-method-override", "DELETE"),
            ("x_method_override", "DELETE"),
        ] {
            assert!(held(Original, PATH, &[GET, URI, (name, value)]).is_err(), "{name}");
            assert!(held(Path, "/forward-auth/api/contracts/c-1", &[(name, value)]).is_err(), "{name} by path");
        }
        assert!(held(Original, PATH, &[URI]).is_err(), "no method");
        assert!(held(Original, PATH, &[GET]).is_err(), "no path");
    }

    #[test]
    fn what_is_no_path_is_no_request() {
        for uri in ["", "api", "http://api/contracts", "*", "?limit=2"] {
            let mut parts = Request::get(PATH).body(()).unwrap().into_parts().0;
            parts.headers.insert(GET.0, HeaderValue::from_static(GET.1));
            parts.headers.insert(URI.0, HeaderValue::from_str(uri).unwrap());
            assert!(line(HeldRequestIn::Original, &parts).is_err(), "{uri:?}");
        }
        assert!(held(HeldRequestIn::Path, PATH, &[]).is_err(), "asked by path, without one");
    }
}
