//! The agents' side: shows an envelope together with the proof that it is one's own.
//!
//! Opens a channel to the edge when there is none, proves each request over exactly the bytes that are sent, and does
//! what a refusal says: opens another channel when the edge has lost this one, proves more when a tool asks for more.
//! What an edge refuses for any other reason is the caller's to know. Clauses.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, HeaderValue, WWW_AUTHENTICATE};
use http::{Request, Response, StatusCode};
use zeroize::Zeroizing;

use super::attempts::Attempts;
use super::env::{Env, deadline};
use super::http::{Hear, HttpClient, HttpFailed};
use crate::crypto::sign::SigningKey;
use crate::envelope::{ENVELOPE_HEADER, RawPresentation};
use crate::id::LinkId;
use crate::proof::{CannotOpen, ChannelId, EdgeKey, Exchange, Grade, HeldChannel, Opening, PROOF_HEADER, ProofFault};
use crate::text;

/// The header of an idempotency key.
const IDEMPOTENCY_HEADER: &str = "idempotency-key";
/// For a connection. Whoever takes longer has not been sent anything.
const CONNECTS_WITHIN: Duration = Duration::from_secs(3);
/// How often a request is sent in all: as it is, over a new channel, and with more proof.
const TRIES_MAX: u32 = 3;
/// Targets of which it is remembered that they need more proof.
const GRADES_MAX: usize = 1_024;

/// A request brought no answer to itself.
#[derive(Debug, thiserror::Error)]
pub enum NotProven {
    /// The edge opens no channel; its answer says why.
    #[error("the edge opens no channel: HTTP {}", .0.status())]
    Refused(Box<Response<Bytes>>),
    /// The answer is not that edge's.
    #[error("the channel does not open")]
    CannotOpen(#[from] CannotOpen),
    /// No answer to the request for a channel. The request itself was not sent.
    #[error("no channel to the edge")]
    Unopened(#[source] HttpFailed),
    /// No answer, or a request that cannot be written down.
    #[error("no answer")]
    Http(#[from] HttpFailed),
}

impl NotProven {
    /// Whether it is certain that nobody has acted on the request.
    #[must_use]
    pub fn is_unsent(&self) -> bool {
        match self {
            Self::Refused(_) | Self::CannotOpen(_) | Self::Unopened(_) => true,
            Self::Http(failed) => failed.is_unsent(),
        }
    }
}

/// One envelope, its key, and one edge.
pub struct Prover {
    env: Env,
    edge: EdgeKey,
    holder: Arc<SigningKey>,
    /// As the header carries it.
    presentation: HeaderValue,
    leaf: LinkId,
    /// Who the holder is, where it can show it (X.509-SVID, DER).
    svid: Option<Vec<u8>>,
    channel: Mutex<Option<HeldChannel>>,
    openings: Attempts,
    /// Targets that asked for more than the usual grade.
    grades: Mutex<BTreeMap<String, Grade>>,
}

impl fmt::Debug for Prover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Prover({} at {})", self.leaf, self.edge.edge)
    }
}

/// What to send, and what it is proven to be.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// Where the edge listens.
    pub to: SocketAddr,
    /// The request, in origin form, without envelope and proof.
    pub request: Request<Bytes>,
    /// Its JSON-RPC method.
    pub method: String,
    /// The name of the tool, or whatever the method names; empty for nothing.
    pub name: String,
    /// The grade to begin with; more is proven where the edge asks for it.
    pub grade: Grade,
}

/// What to do after a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Nothing would help.
    Give,
    Again,
}

impl Prover {
    /// Holds an envelope towards one edge. `None` when `presentation` is none.
    #[must_use]
    pub fn new(env: &Env, edge: EdgeKey, holder: Arc<SigningKey>, presentation: &[u8]) -> Option<Self> {
        let leaf = RawPresentation::parse(presentation).ok()?.leaf_id(&edge.mesh)?;
        Some(Self {
            env: env.clone(),
            edge,
            holder,
            presentation: HeaderValue::from_str(&text::base64url(presentation)).ok()?,
            leaf,
            svid: None,
            channel: Mutex::default(),
            openings: Attempts::default(),
            grades: Mutex::default(),
        })
    }

    /// The same, showing with each channel who the holder is: by an X.509-SVID (DER) for its key. Without one an agent
    /// acts as the one from which it was handed the envelope.
    #[must_use]
    pub fn showing(self, svid: Vec<u8>) -> Self {
        Self { svid: Some(svid), ..self }
    }

    /// The edge to which it is proven.
    #[must_use]
    pub fn edge(&self) -> &EdgeKey {
        &self.edge
    }

    /// Sends an MCP request with envelope and proof, and gives the edge's answer to it, whatever that says. A refusal
    /// of the proof alone is answered with a better one, a few times at most; the tool has heard nothing then.
    ///
    /// # Errors
    /// [`NotProven`].
    pub async fn send(
        &self,
        client: &HttpClient,
        outgoing: &Outgoing,
        within: Duration,
    ) -> Result<Response<Bytes>, NotProven> {
        self.send_and_hear(client, outgoing, within, &mut |_, _| {}).await
    }

    /// As [`Self::send`]; `hear` is given each piece of an answer's body as it arrives, with that answer's head.
    ///
    /// # Errors
    /// [`NotProven`].
    pub async fn send_and_hear(
        &self,
        client: &HttpClient,
        outgoing: &Outgoing,
        within: Duration,
        hear: &mut Hear<'_>,
    ) -> Result<Response<Bytes>, NotProven> {
        let Outgoing { to, request, method, name, grade } = outgoing;
        let mut tries = 1;
        loop {
            let target = crate::proof::Target::Mcp { method, name, definition: None };
            let idempotency_key = request.headers().get(IDEMPOTENCY_HEADER).map_or(&b""[..], HeaderValue::as_bytes);
            let exchange = Exchange { target, body: request.body(), idempotency_key };
            let grade = self.grade_of(name, *grade);
            let (proof, channel) = self.prove_over(client, *to, &exchange, grade, within).await?;
            let mut proven = request.clone();
            proven.headers_mut().insert(ENVELOPE_HEADER, self.presentation.clone());
            proven.headers_mut().insert(PROOF_HEADER, proof);
            let response = exchanged(client, *to, &proven, within, hear).await?;
            if tries >= TRIES_MAX || self.learn(name, (channel, grade), &response) == Next::Give {
                return Ok(response);
            }
            tries += 1;
        }
    }

    /// The value of the header that proves this request; opens a channel when there is none.
    ///
    /// # Errors
    /// [`NotProven`].
    pub async fn prove(
        &self,
        client: &HttpClient,
        to: SocketAddr,
        exchange: &Exchange<'_>,
        grade: Grade,
        within: Duration,
    ) -> Result<HeaderValue, NotProven> {
        Ok(self.prove_over(client, to, exchange, grade, within).await?.0)
    }

    /// As [`Self::prove`], and says over which channel.
    pub(super) async fn prove_over(
        &self,
        client: &HttpClient,
        to: SocketAddr,
        exchange: &Exchange<'_>,
        grade: Grade,
        within: Duration,
    ) -> Result<(HeaderValue, ChannelId), NotProven> {
        if let Some(proof) = self.prove_if_open(exchange, grade) {
            return Ok(proof);
        }
        // An edge keeps a few channels of one leaf: many requests at the same time share one.
        let turn =
            deadline(within, self.openings.turn()).await.map_err(|_| NotProven::Unopened(HttpFailed::Deadline))?;
        if let Some(proof) = self.prove_if_open(exchange, grade) {
            return Ok(proof);
        }
        let turn = turn.ok_or_else(|| unwritten("another request has just failed to open one"))?;
        match self.open(client, to, within).await {
            Ok(opened) => *self.lock() = Some(opened),
            Err(not) => {
                if matches!(not, NotProven::Unopened(_)) {
                    turn.failed();
                }
                return Err(not);
            }
        }
        self.prove_if_open(exchange, grade).ok_or_else(|| unwritten("the channel ended before it was used"))
    }

    fn prove_if_open(&self, exchange: &Exchange<'_>, grade: Grade) -> Option<(HeaderValue, ChannelId)> {
        let now = self.env.now().boot;
        let mut channel = self.lock();
        let open = channel.as_mut().filter(|channel| channel.is_open(now))?;
        let proof = open.prove(grade, &self.holder, exchange, now, self.env.random());
        Some((HeaderValue::from_str(&proof).ok()?, open.id()))
    }

    async fn open(&self, client: &HttpClient, to: SocketAddr, within: Duration) -> Result<HeldChannel, NotProven> {
        let random = Zeroizing::new(self.env.random());
        let random = (&random, self.env.random());
        let opening = {
            let (edge, now) = (self.edge.clone(), self.env.now());
            Opening::showing(edge, self.leaf, &self.holder, now, random, self.svid.clone())?
        };
        let mut request =
            Request::post("/v1/channels").body(Bytes::copy_from_slice(opening.body())).map_err(unwritten)?;
        let headers = request.headers_mut();
        headers.insert(HOST, HeaderValue::from_str(&to.to_string()).map_err(unwritten)?);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/cbor"));
        headers.insert(ENVELOPE_HEADER, self.presentation.clone());
        let response = exchanged(client, to, &request, within, &mut |_, _| {}).await.map_err(NotProven::Unopened)?;
        if response.status() != StatusCode::OK {
            return Err(NotProven::Refused(Box::new(response)));
        }
        Ok(opening.finish(response.body())?)
    }

    /// Whether a channel is open, as far as time tells.
    #[must_use]
    pub fn is_open(&self) -> bool {
        let now = self.env.now().boot;
        self.lock().as_ref().is_some_and(|channel| channel.is_open(now))
    }

    /// The grade for this target: what is asked for, or what its edge has asked for before.
    fn grade_of(&self, name: &str, at_least: Grade) -> Grade {
        let grades = self.grades.lock().unwrap_or_else(PoisonError::into_inner);
        grades.get(name).copied().unwrap_or_default().max(at_least)
    }

    fn learn<B>(&self, name: &str, (channel, grade): (ChannelId, Grade), response: &Response<B>) -> Next {
        let refused = response.status() == StatusCode::UNAUTHORIZED;
        let challenge = response.headers().get(WWW_AUTHENTICATE).filter(|_| refused);
        let tried = challenge.and_then(|challenge| challenge.to_str().ok());
        match tried {
            Some(challenge) if self.heed(name, channel, grade, challenge) => Next::Again,
            Some(_) | None => Next::Give,
        }
    }

    /// Does what the challenge of a refusal (`WWW-Authenticate`) asks for. Says whether the request may be tried once
    /// more.
    pub(super) fn heed(&self, name: &str, used: ChannelId, tried: Grade, challenge: &str) -> bool {
        let fault = parameter(challenge, "proof");
        if fault == Some(ProofFault::UnknownChannel.as_str()) || fault == Some(ProofFault::Time.as_str()) {
            // Another request may have opened a better one already.
            self.lock().take_if(|channel| channel.id() == used);
            return true;
        }
        let required = parameter(challenge, "required").and_then(|grade| grade.parse::<Grade>().ok());
        let Some(required) = required.filter(|_| fault == Some(ProofFault::Grade.as_str())) else { return false };
        let mut grades = self.grades.lock().unwrap_or_else(PoisonError::into_inner);
        if grades.len() >= GRADES_MAX {
            grades.clear();
        }
        grades.insert(name.to_owned(), required);
        tried < required
    }

    fn lock(&self) -> MutexGuard<'_, Option<HeldChannel>> {
        // A panic while it was held has used at most a counter up.
        self.channel.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As [`HttpClient::send`], with a bound of its own for the connection: what never connected was never sent.
async fn exchanged(
    client: &HttpClient,
    to: SocketAddr,
    request: &Request<Bytes>,
    within: Duration,
    hear: &mut Hear<'_>,
) -> Result<Response<Bytes>, HttpFailed> {
    loop {
        let connected = client.connect(to, within.min(CONNECTS_WITHIN)).await?;
        let is_kept = connected.is_kept();
        match connected.send_and_hear(request.clone(), within, hear).await {
            // The peer closed a kept connection; each try uses one up, so this ends with a fresh one.
            Err(HttpFailed::Unsent(_)) if is_kept => {}
            other => return other,
        }
    }
}

fn unwritten(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> NotProven {
    NotProven::Unopened(HttpFailed::Broken(error.into()))
}

/// One parameter of a challenge. The words in it are the edge's own, without quotes inside.
fn parameter<'a>(challenge: &'a str, name: &str) -> Option<&'a str> {
    let rest = challenge.split_once(&format!(" {name}=\""))?.1;
    Some(rest.split_once('"')?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_says_what_to_do() {
        let challenge = "Bearer realm=\"remit\", error=\"invalid_token\", error_description=\"bad_proof\", \
                         proof=\"grade\", required=\"P2\"";
        assert_eq!(parameter(challenge, "proof"), Some("grade"));
        assert_eq!(parameter(challenge, "required"), Some("P2"));
        assert_eq!(parameter(challenge, "quired"), None);
        assert_eq!(parameter("Bearer realm=\"remit\"", "proof"), None);
    }
}
