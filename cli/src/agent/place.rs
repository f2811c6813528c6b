//! One edge: where it is, which of the mesh's edges it turns out to be, and one question to it.
//!
//! What the edge says about itself is believed as far as signatures go: from the root that the envelope file names to
//! the directory, from there to the edge's key, and with that key the edge has to sign the answer that opens a channel.
//! Clause G-64.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderValue};
use http::response::Parts;
use http::{Request, Response, StatusCode};
use remit_common::crypto::digest::Digest;
use remit_common::crypto::sign::SigningKey;
use remit_common::id::MeshId;
use remit_common::limits::{DIRECTORY_BYTES_MAX, DOCUMENT_BYTES_MAX, TOOL_BODY_BYTES_MAX};
use remit_common::net::attempts::Attempts;
use remit_common::net::env::{Env, deadline};
use remit_common::net::https::CannotCall;
use remit_common::net::prover::{NotProven, Outgoing, Prover};
use remit_common::net::registrar::{CannotRegister, Registration, refusal_of};
use remit_common::proof::{EdgeKey, Grade};
use remit_common::relation_log::RELATIONS_HEADER;
use remit_common::trust::directory::Directory;
use remit_common::trust::published::Published;

use super::eras::EdgeRequest;
use super::hearing::{Hearing, Notes};
use super::identity::read_identity;
use super::reach::{EdgeUrl, Reach};

/// For the trust documents, and for a channel.
const MEETS_WITHIN: Duration = Duration::from_secs(10);
/// For an answer; an edge itself gives a tool half a minute.
const ANSWERS_WITHIN: Duration = Duration::from_secs(40);
/// For a registration, its channel included.
const REGISTERS_WITHIN: Duration = Duration::from_secs(20);
/// Refusals that speak of the edge and not of the request.
const OF_THE_EDGE: [&str; 3] = ["stale", "isolated", "quarantined"];
/// Bytes of an answer: a tool's, once more in text, what stands around it, and notifications of progress before it.
const ANSWER_BYTES_MAX: usize = 2 * TOOL_BODY_BYTES_MAX + 512 * 1024;
const _: () = assert!(ANSWER_BYTES_MAX >= DIRECTORY_BYTES_MAX + 2 * DOCUMENT_BYTES_MAX, "a directory and roots fit");

/// What the sidecar holds.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) mesh: MeshId,
    /// The digest of the root from which the mesh is known.
    pub(crate) root: Digest,
    pub(crate) presentation: Vec<u8>,
    pub(crate) key: Arc<SigningKey>,
    /// The file that says who the holder is.
    pub(crate) identity: Option<PathBuf>,
    /// The revision of relations below which no call is to be judged.
    pub(crate) relations_at_least: Option<u64>,
}

/// One edge.
pub(super) struct Place {
    env: Env,
    reach: Reach,
    held: Arc<Held>,
    met: Mutex<Option<Met>>,
    meetings: Attempts,
}

/// An edge whose key is known.
#[derive(Clone)]
struct Met {
    to: SocketAddr,
    key: EdgeKey,
    /// What is shown with each channel.
    svid: Option<Vec<u8>>,
    prover: Arc<Prover>,
}

/// What came of one question.
pub(super) enum Tried {
    /// The edge's answer, whatever it says.
    Answer(StatusCode, Bytes),
    /// The edge opens no channel to this envelope, and says why.
    Refused(StatusCode, Bytes),
    /// Nobody has acted on it.
    Unsent(String),
    /// Nobody knows whether somebody has acted on it.
    Unknown(String),
}

/// A child is not registered at this edge.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NotHere {
    /// Nor would it be elsewhere.
    Refused(String),
    /// Another edge may do it.
    Silent(String),
}

impl Place {
    /// `authorities`: the certificates, in PEM, to which that of an edge has to lead.
    pub(super) fn new(env: &Env, url: EdgeUrl, authorities: &[u8], held: &Arc<Held>) -> Result<Self, CannotCall> {
        let (env, reach) = (env.clone(), Reach::new(env, url, authorities, ANSWER_BYTES_MAX)?);
        Ok(Self { env, reach, held: Arc::clone(held), met: Mutex::default(), meetings: Attempts::default() })
    }

    pub(super) fn url(&self) -> &EdgeUrl {
        self.reach.url()
    }

    /// Finds out which edge this is.
    pub(super) async fn warm(&self, newest: &Newest) -> Result<(), String> {
        self.meet(newest).await.map(drop)
    }

    /// Asks once. `newest` is the newest directory that any edge has shown; it may become this edge's.
    pub(super) async fn ask(&self, newest: &Newest, request: &EdgeRequest, notes: &Notes) -> Tried {
        let met = match self.meet(newest).await {
            Ok(met) => met,
            Err(why) => return Tried::Unsent(why),
        };
        let Some(outgoing) = self.outgoing(&met, request) else {
            return Tried::Unsent("the request cannot be written down".to_owned());
        };
        let mut hearing = Hearing::new(notes, request.progress.as_ref());
        let hear = &mut |head: &Parts, piece: &Bytes| hearing.hear(head, piece);
        match met.prover.send_and_hear(self.reach.client(), &outgoing, ANSWERS_WITHIN, hear).await {
            Ok(response) => {
                let (head, body) = response.into_parts();
                match hearing.answer(&head, body) {
                    Some(answer) => Tried::Answer(head.status, answer),
                    None => Tried::Unknown("its stream of events ended without an answer".to_owned()),
                }
            }
            Err(NotProven::Refused(response)) => {
                let response: Response<Bytes> = *response;
                Tried::Refused(response.status(), response.into_body())
            }
            Err(not) => {
                if matches!(not, NotProven::CannotOpen(_)) {
                    // Another edge than last time may have this address.
                    *self.lock() = None;
                }
                let why = self.reach.told(&not);
                if not.is_unsent() { Tried::Unsent(why) } else { Tried::Unknown(why) }
            }
        }
    }

    /// Registers a child of the envelope.
    pub(super) async fn register(&self, newest: &Newest, child: &[u8]) -> Result<Registration, NotHere> {
        let met = self.meet(newest).await.map_err(NotHere::Silent)?;
        let registered = met.prover.register(self.reach.client(), met.to, child, REGISTERS_WITHIN).await;
        registered.map_err(|error| not_here(&error, self.reach.told(&error)))
    }

    fn outgoing(&self, met: &Met, request: &EdgeRequest) -> Option<Outgoing> {
        let accepted = match request.progress {
            Some(_) => "application/json, text/event-stream",
            None => "application/json",
        };
        let mut http = Request::post("/mcp").body(request.body.clone()).ok()?;
        *http.headers_mut() = request.headers.clone();
        http.headers_mut().insert(HOST, HeaderValue::from_str(&met.to.to_string()).ok()?);
        http.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        http.headers_mut().insert(ACCEPT, HeaderValue::from_static(accepted));
        if let Some(least) = self.held.relations_at_least {
            http.headers_mut().insert(RELATIONS_HEADER, HeaderValue::from(least));
        }
        let (method, name) = (request.method.clone(), request.name.clone());
        Some(Outgoing { to: met.to, request: http, method, name, grade: Grade::P1 })
    }

    /// The edge and its key. Asked for anew before each channel: the directory may have changed since.
    async fn meet(&self, newest: &Newest) -> Result<Met, String> {
        if let Some(met) = self.met_already() {
            return Ok(met);
        }
        let turn = self.meetings.turn().await;
        if let Some(met) = self.met_already() {
            return Ok(met);
        }
        let turn = turn.ok_or("it did not answer another request either")?;
        match deadline(MEETS_WITHIN, self.meet_anew(newest)).await.unwrap_or_else(|passed| Err(passed.to_string())) {
            Ok(met) => {
                *self.lock() = Some(met.clone());
                Ok(met)
            }
            Err(why) => {
                turn.failed();
                Err(why)
            }
        }
    }

    fn met_already(&self) -> Option<Met> {
        self.lock().as_ref().filter(|met| met.prover.is_open()).cloned()
    }

    async fn meet_anew(&self, newest: &Newest) -> Result<Met, String> {
        let told = |error: &(dyn std::error::Error + 'static)| self.reach.told(error);
        let to = self.reach.addr().await.map_err(|error| told(&error))?;
        let request = Request::get("/v1/directory").header(HOST, to.to_string()).body(Bytes::new());
        let request = request.map_err(|error| error.to_string())?;
        let answer = self.reach.client().send(to, request, MEETS_WITHIN).await.map_err(|error| told(&error))?;
        if answer.status() != StatusCode::OK {
            return Err(format!("it does not give its directory: HTTP {}", answer.status()));
        }
        let published = Published::parse(answer.body()).map_err(|error| told(&error))?;
        let edge = published.edge.clone().ok_or("it does not say which edge it is")?;
        let Held { mesh, root, presentation, key, .. } = self.held.as_ref();
        let (_, directory) = published.verify(root, mesh, self.env.now().wall).map_err(|error| told(&error))?;
        let directory = newest.of(directory);
        let listed = directory.edge(&edge).ok_or_else(|| format!("the mesh's directory lists no edge `{edge}`"))?;
        let key_of_edge = EdgeKey { mesh: *mesh, edge, key: listed.identity };
        let svid = self.svid().await?;
        let is_same = |met: &&Met| met.key == key_of_edge && met.to == to && met.svid == svid;
        if let Some(before) = self.lock().as_ref().filter(is_same) {
            return Ok(before.clone());
        }
        let prover = Prover::new(&self.env, key_of_edge.clone(), Arc::clone(key), presentation);
        let prover = prover.ok_or("the envelope is none")?;
        let prover = match &svid {
            Some(svid) => prover.showing(svid.clone()),
            None => prover,
        };
        Ok(Met { to, key: key_of_edge, svid, prover: Arc::new(prover) })
    }

    /// Who the holder is, as the file says now: an identity is renewed more often than a sidecar is started.
    async fn svid(&self) -> Result<Option<Vec<u8>>, String> {
        let Some(path) = self.held.identity.clone() else { return Ok(None) };
        let (env, holder) = (self.env.clone(), *self.held.key.public());
        let read = self.env.run_blocking(move || read_identity(&env, &path, &holder)).await;
        read.map_err(|error| error.to_string())?.map(Some).map_err(|failure| failure.message)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Met>> {
        // Nothing is half written under it.
        self.met.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a failed registration says about another edge.
fn not_here(error: &CannotRegister, told: String) -> NotHere {
    match error {
        CannotRegister::Refused(response) if is_of_the_edge(response.status(), response.body()) => {
            NotHere::Silent(told)
        }
        CannotRegister::Refused(_) | CannotRegister::Carry(_) => NotHere::Refused(told),
        CannotRegister::NotProven(NotProven::Refused(response)) => {
            let why = refusal_of(response).unwrap_or_else(|| response.status().to_string());
            let why = format!("the edge opens no channel: {why}");
            if is_of_the_edge(response.status(), response.body()) {
                NotHere::Silent(why)
            } else {
                NotHere::Refused(why)
            }
        }
        CannotRegister::NotProven(_) | CannotRegister::Answer | CannotRegister::Countersignature(_) => {
            NotHere::Silent(told)
        }
    }
}

/// Whether a refusal, of a channel or of a registration, says something about the edge, so that another edge may say
/// yes.
pub(super) fn is_of_the_edge(status: StatusCode, body: &[u8]) -> bool {
    status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS || names_the_edge(body, "/reason")
}

/// Whether the reason at this place of a refusal speaks of the edge.
pub(super) fn names_the_edge(body: &[u8], at: &str) -> bool {
    reason_at(body, at).is_some_and(|reason| OF_THE_EDGE.contains(&reason.as_str()))
}

/// The reason at this place of a refusal. Refusals are short; whatever is longer is none.
pub(super) fn reason_at(body: &[u8], at: &str) -> Option<String> {
    let document: serde_json::Value = match body.len() {
        0..=4_096 => serde_json::from_slice(body).ok()?,
        _ => return None,
    };
    document.pointer(at).and_then(serde_json::Value::as_str).map(str::to_owned)
}

/// The newest directory that any edge has shown. An edge that has not heard of it yet does not bring back who was taken
/// out of it.
#[derive(Debug, Default)]
pub(super) struct Newest(Mutex<Option<Arc<Directory>>>);

impl Newest {
    fn of(&self, shown: Directory) -> Arc<Directory> {
        let mut newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match newest.as_ref() {
            Some(have) if have.content().version >= shown.content().version => Arc::clone(have),
            Some(_) | None => Arc::clone(newest.insert(Arc::new(shown))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_that_speaks_of_the_edge_sends_a_registration_to_the_next_one() {
        let refusals = |status: u16, body: &'static str| {
            let response =
                || Box::new(Response::builder().status(status).body(Bytes::from_static(body.as_bytes())).unwrap());
            let (channel, registration) = (NotProven::Refused(response()), CannotRegister::Refused(response()));
            [not_here(&channel.into(), String::new()), not_here(&registration, String::new())]
        };
        for (status, body) in [
            (403, r#"{"reason":"stale"}"#),
            (403, r#"{"reason":"isolated"}"#),
            (403, r#"{"reason":"quarantined"}"#),
            (429, r#"{"reason":"bad_proof","proof":"busy"}"#),
            (503, ""),
            (500, "{"),
        ] {
            let found = refusals(status, body);
            assert!(found.iter().all(|found| matches!(found, NotHere::Silent(_))), "{status} {body}: {found:?}");
        }
        // Neither does a count that is one edge's own: a holder is not helped to go around it.
        for (status, body) in [
            (401, r#"{"reason":"revoked"}"#),
            (403, r#"{"reason":"unregistered","hop":1}"#),
            (403, r#"{"reason":"fanout_exhausted"}"#),
            (415, ""),
        ] {
            let found = refusals(status, body);
            assert!(found.iter().all(|found| matches!(found, NotHere::Refused(_))), "{status} {body}: {found:?}");
        }
    }
}
