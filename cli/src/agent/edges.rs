//! Several edges, of which one is asked.
//!
//! Whichever answered last is asked first; when it does not answer, the next one is. A request whose outcome nobody
//! knows may have been carried out: it is sent again only if it changes nothing. Clauses G-65 and G-66.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::StatusCode;
use remit_common::net::env::Env;
use remit_common::net::https::CannotCall;
use remit_common::net::registrar::Registration;
use remit_common::policy::json::{self, Json, Mode};

use super::eras::EdgeRequest;
use super::hearing::Notes;
use super::place::{Held, Newest, NotHere, Place, Tried, is_of_the_edge, names_the_edge, reason_at};
use super::reach::EdgeUrl;

/// Pages of tools that are read to find one. An edge shows fifty on each.
const PAGES_MAX: usize = 20;

/// The edges of a region, in the order in which they are tried.
pub(crate) struct Edges {
    places: Vec<Place>,
    newest: Newest,
    /// Where the last answer came from.
    current: AtomicUsize,
}

/// An edge's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// To the request.
    Document(StatusCode, Bytes),
    /// It opens no channel to this envelope: the data of what a call would have been told.
    NoChannel(Bytes),
}

/// No edge gave an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoAnswer {
    /// And none has acted.
    #[error("no edge could be asked ({0})")]
    Unreachable(String),
    /// And the one that was asked may have acted.
    #[error(
        "the edge was asked and did not answer ({0}); the tool may have been called, so it is not called again: find \
         out before you repeat it"
    )]
    OutcomeUnknown(String),
}

impl NoAnswer {
    /// A fixed set, as `data.reason`.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "edge_unreachable",
            Self::OutcomeUnknown(_) => "outcome_unknown",
        }
    }
}

impl Edges {
    /// `authorities`: the certificates, in PEM, to which those of edges behind TLS have to lead.
    pub(crate) fn new(env: &Env, urls: Vec<EdgeUrl>, authorities: &[u8], held: &Arc<Held>) -> Result<Self, CannotCall> {
        let places = urls.into_iter().map(|url| Place::new(env, url, authorities, held)).collect::<Result<_, _>>()?;
        Ok(Self { places, newest: Newest::default(), current: AtomicUsize::new(0) })
    }

    /// Registers a child of the envelope at one of them. Doing it twice is doing it once.
    pub(crate) async fn register(&self, child: &[u8]) -> Result<Registration, NotHere> {
        let first = self.current.load(Ordering::Relaxed);
        let mut silent = Vec::new();
        for step in 0..self.places.len() {
            let Some(place) = self.places.get(first.wrapping_add(step) % self.places.len().max(1)) else { break };
            match place.register(&self.newest, child).await {
                Err(NotHere::Silent(why)) => silent.push(format!("{}: {why}", place.url())),
                said => return said,
            }
        }
        Err(NotHere::Silent(silent.join("; ")))
    }

    /// Asks one edge after the other until one answers.
    pub(super) async fn ask(&self, request: &EdgeRequest, notes: &Notes) -> Result<Answer, NoAnswer> {
        let first = self.current.load(Ordering::Relaxed);
        let (mut silent, mut elsewhere) = (Vec::new(), None);
        // Whether an edge that did not answer may have acted.
        let mut unknown = false;
        // A single edge is asked twice: it may have been started anew meanwhile.
        for step in 0..self.places.len().max(2) {
            let index = first.wrapping_add(step) % self.places.len().max(1);
            let Some(place) = self.places.get(index) else { break };
            if unknown && !is_repeatable(request) {
                match self.only_reads(place, &request.name, notes).await {
                    Some(true) => {}
                    Some(false) => break,
                    None => continue,
                }
            }
            match place.ask(&self.newest, request, notes).await {
                Tried::Answer(status, body) => {
                    let is_of_the_edge = is_answer_of_the_edge(status, &body);
                    let answer = Answer::Document(status, body);
                    if !is_of_the_edge {
                        self.current.store(index, Ordering::Relaxed);
                        return Ok(answer);
                    }
                    // The next request begins elsewhere; this one only if it changes nothing, or was not read.
                    self.current.store(index.wrapping_add(1), Ordering::Relaxed);
                    let (Answer::Document(_, body) | Answer::NoChannel(body)) = &answer;
                    if !is_repeatable(request) && !is_turned_away(status, body) {
                        return Ok(answer);
                    }
                    elsewhere = Some(answer);
                }
                Tried::Refused(status, body) => {
                    let is_of_the_edge = is_of_the_edge(status, &body);
                    let answer = Answer::NoChannel(body);
                    if !is_of_the_edge {
                        self.current.store(index, Ordering::Relaxed);
                        return Ok(answer);
                    }
                    elsewhere = Some(answer);
                }
                Tried::Unsent(why) => silent.push(format!("{}: {why}", place.url())),
                Tried::Unknown(why) => {
                    silent.push(format!("{}: {why}", place.url()));
                    unknown = true;
                }
            }
        }
        if let Some(answer) = elsewhere.filter(|_| !unknown) {
            return Ok(answer);
        }
        silent.dedup();
        let silent = silent.join("; ");
        tracing::warn!(method = request.method, %silent, "no answer");
        Err(if unknown { NoAnswer::OutcomeUnknown(silent) } else { NoAnswer::Unreachable(silent) })
    }

    /// Whether a tool does nothing but read, as the bundle says: the hints in an edge's list follow from the declared
    /// effects. `None` when this edge does not say.
    async fn only_reads(&self, place: &Place, tool: &str, notes: &Notes) -> Option<bool> {
        let mut cursor = None;
        for _ in 0..PAGES_MAX {
            let request = EdgeRequest::list(cursor.as_deref());
            let Tried::Answer(_, body) = place.ask(&self.newest, &request, notes).await else { return None };
            let page = json::parse(&body, Mode::Protocol).ok()?;
            let page = page.get("result")?;
            let mut tools = page.get("tools")?.as_array()?.iter();
            if let Some(found) = tools.find(|found| found.get("name").and_then(Json::as_text) == Some(tool)) {
                let hint = found.get("annotations").and_then(|hints| hints.get("readOnlyHint"));
                return Some(hint.and_then(Json::as_bool) == Some(true));
            }
            match page.get("nextCursor").and_then(Json::as_text) {
                Some(next) => cursor = Some(next.to_owned()),
                None => return Some(false),
            }
        }
        Some(false)
    }

    /// Meets the first edge that can be met, so that the first call need not, and so that what is wrong is said early.
    pub(crate) async fn warm(&self) {
        for place in &self.places {
            match place.warm(&self.newest).await {
                Ok(()) => return,
                Err(why) => tracing::warn!(edge = %place.url(), why, "this edge cannot be used"),
            }
        }
    }
}

/// Whether a request asks for something and changes nothing, whatever it names.
fn is_repeatable(request: &EdgeRequest) -> bool {
    request.method != "tools/call"
}

/// Whether an edge that drains has turned a request away: it says so before it reads anything (clause G-85).
fn is_turned_away(status: StatusCode, body: &[u8]) -> bool {
    status == StatusCode::SERVICE_UNAVAILABLE && reason_at(body, "/reason").as_deref() == Some("draining")
}

/// Whether an answer to a request says something about the edge, so that another edge may answer.
fn is_answer_of_the_edge(status: StatusCode, body: &[u8]) -> bool {
    status.is_server_error() || names_the_edge(body, "/error/data/reason")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_edge_says_about_itself_is_not_said_about_the_request() {
        let document = |status: u16, body: &'static str| {
            is_answer_of_the_edge(StatusCode::from_u16(status).unwrap(), body.as_bytes())
        };
        assert!(document(200, r#"{"error":{"data":{"reason":"stale"}}}"#));
        assert!(document(200, r#"{"error":{"data":{"reason":"quarantined"}}}"#));
        assert!(document(503, ""));
        let draining = br#"{"reason":"draining"}"#;
        assert!(is_turned_away(StatusCode::SERVICE_UNAVAILABLE, draining));
        assert!(!is_turned_away(StatusCode::OK, draining));
        assert!(!is_turned_away(StatusCode::SERVICE_UNAVAILABLE, br#"{"reason":"stale"}"#));
        assert!(!document(200, r#"{"error":{"data":{"reason":"out_of_scope"}}}"#));
        assert!(!document(401, r#"{"error":{"data":{"reason":"revoked"}}}"#));
        assert!(!document(200, r#"{"result":{"content":[]}}"#));
    }
}
