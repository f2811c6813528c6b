//! `POST /v1/revocations`: a holder has cut what it holds, or handed on; or an administrator or an issuer brings a cut here
//! itself, because no voter can be reached.
//!
//! The body and its signature are those that voters and edges verify later (clause T-50); they are verified here first,
//! so that nothing of a stranger's reaches a voter. The answer comes when the voters have committed the cut; what an
//! administrator brings is in force here before they are asked. Clauses G-40 to G-42 and G-90.

use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use remit_common::id::{LogIndex, RevocationEpoch};
use remit_common::identity::SignedRequest;
use remit_common::net::env::deadline;
use remit_common::policy::decision::Reason;
use remit_common::policy::json::{self, Json};
use remit_common::revocation::{Asked, HOLDER_BODY_BYTES_MAX, REVOCATIONS_PATH, Revocation, RevocationRefused};
use remit_common::time::Timestamp;
use remit_common::wire::message::RevokeAnswer;

use tokio::sync::oneshot;

use super::{DECISION_HEADER, Ingress};
use crate::road::Journey;
use crate::sync::{Hold, NotAsked};
use crate::telemetry::chain_text;

/// For a voter to commit what is in force here already: whoever brought it has other edges to go to.
const PASSED_ON_WITHIN: Duration = Duration::from_secs(3);
/// For voters to be asked one after the other.
const ANSWERED_WITHIN: Duration = Duration::from_secs(90);
/// For a cut to be on the disk.
const HELD_WITHIN: Duration = Duration::from_secs(10);

/// Why there is no cut.
struct Problem {
    status: StatusCode,
    reason: String,
    detail: String,
}

impl Problem {
    fn new(status: StatusCode, reason: &str, detail: impl Into<String>) -> Self {
        Self { status, reason: reason.to_owned(), detail: detail.into() }
    }
}

impl From<RevocationRefused> for Problem {
    fn from(refused: RevocationRefused) -> Self {
        let status = match &refused {
            RevocationRefused::Malformed { .. } | RevocationRefused::ChainMalformed(_) => StatusCode::BAD_REQUEST,
            RevocationRefused::Request(_) | RevocationRefused::Chain(_) => StatusCode::UNAUTHORIZED,
            RevocationRefused::NotPermitted(_)
            | RevocationRefused::NotTheirs { .. }
            | RevocationRefused::NotJoined { .. } => StatusCode::FORBIDDEN,
            RevocationRefused::Ended
            | RevocationRefused::Differs
            | RevocationRefused::Gap { .. }
            | RevocationRefused::EpochNotRising { .. }
            | RevocationRefused::Digest => StatusCode::CONFLICT,
            RevocationRefused::Full { .. }
            | RevocationRefused::ForbidsFull { .. }
            | RevocationRefused::HoldersFull
            | RevocationRefused::RootFull { .. } => StatusCode::TOO_MANY_REQUESTS,
        };
        Self::new(status, refused.reason_code(), chain_text(&refused))
    }
}

/// A cut that is in force here.
struct InForce {
    /// The epoch in which the voters have it; `None` while they do not.
    epoch: Option<RevocationEpoch>,
    until: Timestamp,
}

/// The handler.
pub(super) async fn serve(State(ingress): State<Ingress>, request: Request<Body>) -> Response {
    if request.method() != Method::POST {
        let mut response = json(StatusCode::METHOD_NOT_ALLOWED, Vec::new());
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        return response;
    }
    let mut journey = ingress.gateway.arrive(None);
    let (parts, body) = request.into_parts();
    let answer = match answer(&ingress, &mut journey, &parts.headers, parts.uri.query(), body).await {
        Ok(InForce { epoch, until }) => {
            let number = |value: u64| Json::Int(i64::try_from(value).unwrap_or(i64::MAX));
            let until = ("until", number(until.as_millis()));
            match epoch {
                Some(epoch) => json(StatusCode::OK, json::encode(&Json::object([("epoch", number(epoch.0)), until]))),
                // Here, and as far as this edge knows nowhere else.
                None => json(StatusCode::ACCEPTED, json::encode(&Json::object([("held", Json::Bool(true)), until]))),
            }
        }
        Err(problem) => told(&journey, &problem),
    };
    with_decision(answer, &journey)
}

async fn answer(
    ingress: &Ingress,
    journey: &mut Journey,
    headers: &HeaderMap,
    query: Option<&str>,
    body: Body,
) -> Result<InForce, Problem> {
    let gateway = &ingress.gateway;
    let refuse = |journey: &Journey, problem: Problem| {
        let reason = match problem.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Reason::BadSignature,
            StatusCode::CONFLICT => Reason::Expired,
            _ => Reason::Malformed,
        };
        gateway.refuse_request(journey, reason, format!("a cut was refused: {}", problem.detail));
        problem
    };
    if !ingress.takes_origin(headers) {
        let problem = Problem::new(StatusCode::FORBIDDEN, "malformed", "an origin that is not allowed");
        return Err(refuse(journey, problem));
    }
    let Ok(body) = Limited::new(body, HOLDER_BODY_BYTES_MAX).collect().await else {
        let detail = format!("a body of more than {HOLDER_BODY_BYTES_MAX} bytes, or one that broke off");
        return Err(refuse(journey, Problem::new(StatusCode::BAD_REQUEST, "malformed", detail)));
    };
    gateway.arrived(journey);
    let verified = verify(ingress, journey, headers, query, body.to_bytes().into());
    let entry = verified.map_err(|problem| refuse(journey, problem))?;
    let heard = &journey.view.heard;
    if let Some(until) = heard.in_force(&entry) {
        return Ok(InForce { epoch: Some(heard.epoch()), until });
    }
    let cut = entry.cut.clone();
    let brought = Asked::from_body(&entry.request.body).is_ok_and(|asked| asked.shown.is_none());
    if brought {
        hold(ingress, entry.clone()).await?;
        tracing::warn!(tenant = %cut.tenant, kind = %cut.kind, id = cut.id, "a cut was brought here, and is in force");
    } else {
        heard.check_room(&entry).map_err(|refused| refuse(journey, refused.into()))?;
    }
    let here = InForce { epoch: None, until: entry.until };
    let asked = ingress.asking.revoke(entry.request);
    let within = if brought { PASSED_ON_WITHIN } else { ANSWERED_WITHIN };
    match deadline(within, asked).await.unwrap_or(Err(NotAsked::NoVoter)) {
        Ok(RevokeAnswer::Committed { epoch, until }) => {
            tracing::info!(tenant = %cut.tenant, kind = %cut.kind, id = cut.id, %epoch, "something was cut");
            Ok(InForce { epoch: Some(epoch), until })
        }
        // It is in force here, whatever became of it at the voters; whoever brought it is told that it is nowhere else.
        Ok(RevokeAnswer::Refused { .. }) | Err(_) if brought => Ok(here),
        Ok(RevokeAnswer::Refused { status, reason, detail }) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
            Err(Problem::new(status, &reason, detail))
        }
        Err(why) => {
            let (status, reason) = match why {
                NotAsked::Busy => (StatusCode::TOO_MANY_REQUESTS, "busy"),
                NotAsked::NoVoter => (StatusCode::SERVICE_UNAVAILABLE, "no_voter"),
            };
            Err(Problem::new(status, reason, why.to_string()))
        }
    }
}

/// Has a cut in force here, and on this edge's disk.
async fn hold(ingress: &Ingress, entry: Revocation) -> Result<(), Problem> {
    let unavailable = |detail: String| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not_held", detail);
    let (done, told) = oneshot::channel();
    let sent = ingress.hold.try_send(Hold { entry, done });
    sent.map_err(|_| Problem::new(StatusCode::TOO_MANY_REQUESTS, "busy", "another cut is being taken here"))?;
    match deadline(HELD_WITHIN, told).await {
        Ok(Ok(held)) => held.map_err(unavailable),
        Ok(Err(_)) | Err(_) => Err(unavailable("this edge does not say whether it has taken the cut".to_owned())),
    }
}

/// The request as voters will judge it, judged here first.
fn verify(
    ingress: &Ingress,
    journey: &Journey,
    headers: &HeaderMap,
    query: Option<&str>,
    body: Vec<u8>,
) -> Result<Revocation, Problem> {
    if query.is_some() {
        // It is not signed, so it must not be there to be misunderstood.
        return Err(Problem::new(StatusCode::BAD_REQUEST, "malformed", "the request takes no query"));
    }
    let now = journey.arrived.wall;
    let stale = |why: String| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "stale", why);
    let directory = journey.view.directory(now).map_err(|untrusted| stale(untrusted.to_string()))?;
    let given = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    let request = SignedRequest::from_headers(&ingress.gateway.mesh, "POST", REVOCATIONS_PATH, body, given)
        .map_err(RevocationRefused::from)?;
    let window = (Timestamp::from_secs(request.created), Timestamp::from_secs(request.expires));
    let entry = Revocation::from_request(LogIndex(0), request, &directory.authorities())?;
    if now >= window.1 || now.plus(remit_common::limits::PROOF_CLOCKS_APART_MAX) < window.0 {
        let detail = "the request has expired, or was signed in the future: are the clocks right?";
        return Err(Problem::new(StatusCode::UNAUTHORIZED, "expired", detail));
    }
    Ok(entry)
}

/// A refusal (RFC 9457), as the admin API words it.
fn told(journey: &Journey, problem: &Problem) -> Response {
    let Problem { status, reason, detail } = problem;
    let members = [
        ("type", Json::text("about:blank")),
        ("title", Json::text(status.canonical_reason().unwrap_or("Error"))),
        ("status", Json::Int(status.as_u16().into())),
        ("detail", Json::text(detail.as_str())),
        ("reason", Json::text(reason.as_str())),
        ("decision_id", Json::Text(journey.decision.to_string())),
    ];
    let mut response = json(*status, json::encode(&Json::object(members)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    response
}

fn json(status: StatusCode, body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn with_decision(mut response: Response, journey: &Journey) -> Response {
    let id = HeaderValue::from_str(&journey.decision.to_string());
    response.headers_mut().extend(id.ok().map(|id| (DECISION_HEADER, id)));
    response
}
