//! Makes a permitted call.
//!
//! The request is built here and from nothing but the permit: address and header from the signed bundle, body encoded
//! anew from the value that policy judged. No header of the agent's goes on, no redirect is followed, no cookie kept,
//! no proxy asked. The credential is written into this attempt's copy, last, and the answer is searched for it before
//! anything else reads the answer. Clauses G-24 to G-31.

mod connection;
mod plain;
mod program;
mod reply;
mod session;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Request, StatusCode};
use remit_common::limits::TOOL_BODY_BYTES_MAX;
use remit_common::net::env::{Env, deadline};
use remit_common::net::http::{HttpClient, HttpFailed, Pieces};
use remit_common::net::mcp::{
    META_CAPABILITIES, META_PROGRESS, META_VERSION, METHOD_HEADER, NAME_HEADER, PROTOCOL_VERSION, VERSION_HEADER,
    header_form,
};
use remit_common::net::progress::Progress;
use remit_common::net::sse;
use remit_common::planted::{Bug, planted};
use remit_common::policy::catalogue::{Protocol, Upstream};
use remit_common::policy::decision::Reason;
use remit_common::policy::json::{self, Json};
use tokio::sync::mpsc;
use zeroize::Zeroizing;

use crate::config::ProgramEntry;
use crate::pep::Permit;
use crate::vault::Credential;

use connection::{ExchangeFailed, exchange};
pub(crate) use program::ProgramFailed;
use program::ToolPrograms;
pub(crate) use reply::Reply;
use reply::{PROGRESS_TOKEN, REQUEST_ID, UnusableReply};
pub(crate) use session::NoSession;
use session::{Session, SessionOf, Sessions};

/// Time to reach a server on the same machine or nearby.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);

/// Notifications of progress of one call that go on: a tool that tells more is not heard.
const PROGRESS_EVENTS_MAX: usize = 1_000;

/// Why a permitted call does not go out, or its answer does not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CalledOff {
    #[error("the permit has ended")]
    PermitEnded,
    /// Another policy judges now: the call can be decided again.
    #[error("the policy has changed meanwhile")]
    PolicyChanged,
    #[error("the edge has been quarantined meanwhile")]
    Quarantined,
    #[error("what the call hangs on has been cut meanwhile")]
    Cut,
    /// The cut has arrived and is not on the disk.
    #[error("a cut of what the call hangs on has arrived meanwhile")]
    CutHeard,
}

impl CalledOff {
    /// What the agent is told.
    pub(crate) fn reason(self) -> Reason {
        match self {
            Self::PermitEnded | Self::PolicyChanged | Self::CutHeard => Reason::Stale,
            Self::Quarantined => Reason::Quarantined,
            Self::Cut => Reason::Revoked,
        }
    }
}

/// A permitted call brought no answer that can be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallFailed {
    /// The permit ended, or what it rests on did, before the first byte went out. The tool knows nothing of the call.
    #[error("called off before it was sent: {0}")]
    CalledOff(CalledOff),
    /// What the call hangs on was cut while the tool worked: the connection to it was closed.
    #[error("broken off: {0}")]
    BrokenOff(CalledOff),
    /// The request cannot be built: the credential does not fit into a header, or the bundle says nonsense.
    #[error("the request cannot be built: {0}")]
    NotBuilt(&'static str),
    /// The exchange failed.
    #[error("the exchange with the upstream failed")]
    Exchange(#[from] ExchangeFailed),
    /// Another status than success.
    #[error("the upstream answered with status {0}")]
    Status(StatusCode),
    /// A body in an encoding that was not asked for could hide the credential.
    #[error("the answer has a content encoding that was not asked for")]
    Encoded,
    /// The credential was in the answer.
    #[error("the answer carries the credential")]
    CarriesCredential,
    /// Not an answer.
    #[error("the answer cannot be used")]
    Unusable(#[from] UnusableReply),
    /// The program that is the server gives no answer.
    #[error("the program gives no answer")]
    Program(#[from] ProgramFailed),
    /// No session was opened, so that nothing was called.
    #[error("the server opens no session")]
    NoSession(#[from] NoSession),
}

impl CallFailed {
    /// Whether the tool can have acted.
    pub(crate) fn reached(&self) -> Reached {
        match self {
            Self::CalledOff(_) | Self::NotBuilt(_) | Self::NoSession(_) => Reached::No,
            Self::Exchange(failed) => failed.reached(),
            Self::Program(failed) if failed.is_unsent() => Reached::No,
            Self::BrokenOff(_)
            | Self::Status(_)
            | Self::Encoded
            | Self::CarriesCredential
            | Self::Unusable(_)
            | Self::Program(_) => Reached::Perhaps,
        }
    }

    /// A fixed word for the outcome record.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::CalledOff(_) => "called-off",
            Self::BrokenOff(_) => "cut-meanwhile",
            Self::NotBuilt(_) => "not-built",
            Self::NoSession(_) => "no-session",
            Self::Program(failed) if failed.is_unsent() => "not-running",
            Self::Program(_) => "program-ended",
            Self::Exchange(failed) if failed.reached() == Reached::No => "unreachable",
            Self::Exchange(_) => "no-response",
            Self::Status(_) => "bad-status",
            Self::Encoded | Self::Unusable(_) => "unusable-answer",
            Self::CarriesCredential => "credential-in-answer",
        }
    }
}

/// Whether a tool can have acted on a call that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reached {
    No,
    Perhaps,
}

/// The way out.
#[derive(Debug)]
pub(crate) struct Egress {
    env: Env,
    client: HttpClient,
    within: Duration,
    sessions: Sessions,
    programs: ToolPrograms,
}

impl Egress {
    /// Tools have `within` to answer; some are programs.
    pub(crate) fn new(env: &Env, within: Duration, programs: &[ProgramEntry]) -> Self {
        Self {
            env: env.clone(),
            client: HttpClient::new(env, TOOL_BODY_BYTES_MAX),
            within,
            sessions: Sessions::default(),
            programs: ToolPrograms::new(env, programs),
        }
    }

    /// Ends the programs that were started here.
    pub(crate) fn end(&self) {
        self.programs.end();
    }

    /// Spends a permit. `still` is asked immediately before the first byte goes out, after the permit's own deadline.
    /// When `cut` ends, the connection is closed, whatever is on its way. What the tool says of its progress goes to
    /// `progress`.
    ///
    /// # Errors
    /// [`CallFailed`].
    pub(crate) async fn forward(
        &self,
        permit: Permit,
        credential: Option<Arc<Credential>>,
        still: impl Fn() -> Result<(), CalledOff> + Send + Sync,
        cut: impl Future<Output = CalledOff> + Send,
        progress: Option<&mpsc::Sender<Progress>>,
    ) -> Result<Reply, CallFailed> {
        let is_plain = permit.request().is_some();
        let sent = AtomicBool::new(false);
        let check = || {
            permit.check_time(self.env.now().boot).map_err(|_| CalledOff::PermitEnded)?;
            still()?;
            sent.store(true, Ordering::Relaxed);
            Ok(())
        };
        let authority = permit.upstream().authority();
        tracing::debug!(decision = %permit.decision(), upstream = authority, tool = %permit.tool().name, "calling");
        let attempt = Attempt { egress: self, permit: &permit, credential: credential.as_deref(), check: &check };
        let whole = async {
            if let Some(program) = permit.upstream().program() {
                return attempt.of_program(program, progress).await.map(Answered::Reply);
            }
            let answered = match (permit.request(), permit.upstream().protocol) {
                (Some(parts), _) => attempt.exchange(plain::build(&permit, parts)?, None).await,
                (None, Protocol::McpWithSessions) => attempt.in_session(progress).await,
                (None, _) => attempt.exchange(build(&permit, progress.is_some(), None)?, progress).await,
            };
            answered.map(|(parts, body)| Answered::Http(parts.into(), body))
        };
        let answered = tokio::select! {
            biased;
            why = cut => {
                let failed = if sent.load(Ordering::Relaxed) { CallFailed::BrokenOff } else { CallFailed::CalledOff };
                return Err(failed(why));
            }
            answered = deadline(self.within, whole) => answered,
        };
        let late = || CallFailed::Exchange(ExchangeFailed::Http(HttpFailed::Deadline));
        let reply = match answered.map_err(|_| late())?? {
            Answered::Reply(reply) => reply,
            Answered::Http(parts, body) if is_plain && plain::is_answer(parts.status) => {
                check_encoding(&parts)?;
                plain::parse(parts.status, content_type(&parts), &body)?
            }
            Answered::Http(parts, body) => reply_of(&parts, &body)?,
        };
        if let (Some(credential), Reply::Result(result)) = (searched(credential.as_deref()), &reply) {
            // Escapes are undone now: `\u0073k-…` is found here.
            check_texts(result, &mut |text| credential.traces().check_absent(text.as_bytes()).is_ok())
                .map_err(|Found| CallFailed::CarriesCredential)?;
        }
        Ok(reply)
    }
}

/// The credential for which answers are searched.
fn searched(credential: Option<&Credential>) -> Option<&Credential> {
    credential.filter(|_| !planted(Bug::AnswerNotSearched))
}

/// What came back.
enum Answered {
    Http(Box<http::response::Parts>, Vec<u8>),
    Reply(Reply),
}

/// One call on its way to the server, under one permit.
struct Attempt<'a, C> {
    egress: &'a Egress,
    permit: &'a Permit,
    credential: Option<&'a Credential>,
    check: &'a C,
}

impl<C: Fn() -> Result<(), CalledOff> + Send + Sync> Attempt<'_, C> {
    /// One exchange, with the credential; its answer does not carry it.
    async fn exchange(
        &self,
        request: Request<Bytes>,
        progress: Option<&mpsc::Sender<Progress>>,
    ) -> Result<(http::response::Parts, Vec<u8>), CallFailed> {
        let Self { egress, permit, credential, check } = self;
        let request = with_credential(request, permit, *credential)?;
        let authority = permit.upstream().authority();
        let response = exchange(&egress.env, &egress.client, authority, request, CONNECT_WITHIN, check).await;
        let (parts, pieces) = match response {
            Ok(response) => response.into_parts(),
            Err(ExchangeFailed::CalledOff(why)) => return Err(CallFailed::CalledOff(why)),
            Err(failed) => return Err(failed.into()),
        };
        let told = progress.filter(|_| parts.status.is_success());
        let credential = searched(*credential);
        let body = gather(pieces, content_type(&parts), credential, told).await?;
        if let Some(credential) = credential {
            let in_headers = parts.headers.iter().try_for_each(|(name, value)| {
                credential.traces().check_absent(name.as_str().as_bytes())?;
                credential.traces().check_absent(value.as_bytes())
            });
            in_headers
                .and_then(|()| credential.traces().check_absent(&body))
                .map_err(|_| CallFailed::CarriesCredential)?;
        }
        Ok((parts, body))
    }

    /// The call in a session of its holder's. A server that does not know the session any more has not made the call,
    /// which is said once more in a new one.
    async fn in_session(
        &self,
        progress: Option<&mpsc::Sender<Progress>>,
    ) -> Result<(http::response::Parts, Vec<u8>), CallFailed> {
        let Self { egress, permit, credential, check: _ } = self;
        let leaf = permit.leaf().ok_or(CallFailed::NotBuilt("the permit is nobody's"))?;
        let credential = credential.map(|credential| (credential.id().clone(), credential.version()));
        let of = SessionOf { url: permit.upstream().url.clone(), leaf, credential };
        let mut may_begin_again = true;
        loop {
            let session = match egress.sessions.get(&of, egress.env.now().boot) {
                Some(session) => session,
                None => {
                    let session = self.begin().await?;
                    egress.sessions.put(of.clone(), session.clone(), egress.env.now().boot);
                    session
                }
            };
            let call = build(permit, progress.is_some(), Some(&session))?;
            let (parts, body) = self.exchange(call, progress).await?;
            let is_forgotten = parts.status == StatusCode::NOT_FOUND && session.has_id();
            // Some say this of a session that they do not know. What else it could mean is not tried twice.
            if is_forgotten || parts.status == StatusCode::BAD_REQUEST {
                egress.sessions.forget(&of, &session);
            }
            if !(is_forgotten && may_begin_again) {
                return Ok((parts, body));
            }
            may_begin_again = false;
        }
    }

    /// The call at a program of this machine.
    async fn of_program(&self, program: &str, progress: Option<&mpsc::Sender<Progress>>) -> Result<Reply, CallFailed> {
        let Self { egress, permit, credential: _, check } = self;
        let tenant = permit.tenant();
        let talk = egress.programs.running(tenant, program).await?;
        let told = progress.map(|told| (told.clone(), PROGRESS_EVENTS_MAX));
        let call = |id| call_message(permit, id, progress.map(|_| id), Vec::new());
        match talk.ask(call, told, check).await {
            Err(ProgramFailed::CalledOff(why)) => Err(CallFailed::CalledOff(why)),
            answered => Ok(answered??),
        }
    }

    async fn begin(&self) -> Result<Session, CallFailed> {
        let upstream = self.permit.upstream();
        let nonsense = |_| CallFailed::NotBuilt("the bundle's upstream does not make a request");
        // Whatever goes wrong here, nothing has been called.
        let uncalled = |failed: CallFailed| match failed {
            CallFailed::CalledOff(_) | CallFailed::NotBuilt(_) | CallFailed::CarriesCredential => failed,
            other if other.reached() == Reached::No => other,
            _ => CallFailed::NoSession(NoSession::NotBegun),
        };
        let first = session::initialize(upstream).map_err(nonsense)?;
        let (parts, body) = self.exchange(first, None).await.map_err(uncalled)?;
        let session = Session::opened(&parts.headers, &reply_of(&parts, &body).map_err(uncalled)?)?;
        let understood = session::initialized(upstream, &session).map_err(nonsense)?;
        let (parts, _) = self.exchange(understood, None).await.map_err(uncalled)?;
        if parts.status.is_success() { Ok(session) } else { Err(NoSession::NotBegun.into()) }
    }
}

/// What an MCP server answered.
fn reply_of(parts: &http::response::Parts, body: &[u8]) -> Result<Reply, CallFailed> {
    if !parts.status.is_success() {
        return Err(CallFailed::Status(parts.status));
    }
    check_encoding(parts)?;
    Ok(reply::parse(content_type(parts), body)?)
}

fn check_encoding(parts: &http::response::Parts) -> Result<(), CallFailed> {
    let encoding = parts.headers.get(CONTENT_ENCODING);
    if encoding.is_some_and(|encoding| encoding != "identity") { Err(CallFailed::Encoded) } else { Ok(()) }
}

fn content_type(parts: &http::response::Parts) -> Option<&[u8]> {
    parts.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes)
}

/// The whole body; on the way, of a stream of events, what they say of progress is told. Who listens and is slow misses
/// some of it: it never holds up the call.
async fn gather(
    mut pieces: Pieces,
    content_type: Option<&[u8]>,
    credential: Option<&Credential>,
    progress: Option<&mpsc::Sender<Progress>>,
) -> Result<Vec<u8>, CallFailed> {
    let mut events = progress.filter(|_| reply::is_stream(content_type)).map(|told| (told, sse::Events::default()));
    let (mut body, mut left) = (Vec::new(), PROGRESS_EVENTS_MAX);
    while let Some(piece) = pieces.piece().await.map_err(ExchangeFailed::from)? {
        body.extend_from_slice(&piece);
        let Some((told, events)) = &mut events else { continue };
        for event in events.push(&piece) {
            let Some(progress) = reply::progress(&event).filter(|_| left > 0) else { continue };
            if let Some(credential) = credential {
                // The end would be too late for what goes on now.
                let numbers = [Some(&progress.progress), progress.total.as_ref()];
                let texts = numbers.into_iter().flatten().map(json::encode);
                let seen = texts.chain([event]).try_for_each(|text| credential.traces().check_absent(&text));
                seen.map_err(|_| CallFailed::CarriesCredential)?;
            }
            left -= 1;
            let _ = told.try_send(progress);
        }
    }
    Ok(body)
}

/// A text of a document did not pass.
struct Found;

fn check_texts(json: &Json, clean: &mut impl FnMut(&str) -> bool) -> Result<(), Found> {
    match json {
        Json::Text(text) => {
            if clean(text) {
                Ok(())
            } else {
                Err(Found)
            }
        }
        Json::Array(elements) => elements.iter().try_for_each(|element| check_texts(element, clean)),
        Json::Object(members) => members.iter().try_for_each(|(key, value)| {
            if !clean(key) {
                return Err(Found);
            }
            check_texts(value, clean)
        }),
        Json::Null | Json::Bool(_) | Json::Int(_) | Json::Float(_) | Json::Number(_) => Ok(()),
    }
}

/// The request of a permitted call of an MCP tool, without the credential; in a session, where the server has them.
fn build(permit: &Permit, wants_progress: bool, session: Option<&Session>) -> Result<Request<Bytes>, CallFailed> {
    let (tool, upstream) = (permit.tool(), permit.upstream());
    let mut meta = Vec::new();
    if session.is_none() {
        meta.push((META_VERSION.to_owned(), Json::text(PROTOCOL_VERSION)));
        meta.push((META_CAPABILITIES.to_owned(), Json::Object(Vec::new())));
    }
    let body = call_message(permit, REQUEST_ID, wants_progress.then_some(PROGRESS_TOKEN), meta);
    let request = session::post(upstream);
    let request = match session {
        Some(session) => session.head(request),
        None => request
            .header(VERSION_HEADER, PROTOCOL_VERSION)
            .header(METHOD_HEADER, "tools/call")
            .header(NAME_HEADER, header_form(&tool.upstream_tool)),
    };
    request.body(Bytes::from(body)).map_err(|_| CallFailed::NotBuilt("the bundle's upstream does not make a request"))
}

/// The message of a permitted call, encoded anew from what was judged.
fn call_message(permit: &Permit, id: i64, progress: Option<i64>, mut meta: Vec<(String, Json)>) -> Vec<u8> {
    meta.extend(progress.map(|token| (META_PROGRESS.to_owned(), Json::Int(token))));
    json::encode(&Json::object([
        ("jsonrpc", Json::text("2.0")),
        ("id", Json::Int(id)),
        ("method", Json::text("tools/call")),
        (
            "params",
            Json::object([
                ("name", Json::text(permit.tool().upstream_tool.as_str())),
                ("arguments", permit.arguments().clone()),
                ("_meta", Json::Object(meta)),
            ]),
        ),
    ]))
}

/// The request with the credential that the tool's descriptor names, last.
fn with_credential(
    mut request: Request<Bytes>,
    permit: &Permit,
    credential: Option<&Credential>,
) -> Result<Request<Bytes>, CallFailed> {
    match credential {
        Some(credential) => inject(request.headers_mut(), permit.upstream(), credential)?,
        None if permit.tool().credential.is_some() => return Err(CallFailed::NotBuilt("the credential is missing")),
        None => {}
    }
    Ok(request)
}

/// Writes the credential where the bundle's injection profile says. The value is marked, so that nothing prints it and
/// no header compression keeps it.
fn inject(headers: &mut http::HeaderMap, upstream: &Upstream, credential: &Credential) -> Result<(), CallFailed> {
    let injection = upstream.inject.as_ref().ok_or(CallFailed::NotBuilt("the upstream declares no injection"))?;
    let (before, after) = injection.around();
    let value = Zeroizing::new([before.as_bytes(), credential.expose(), after.as_bytes()].concat());
    let mut value = HeaderValue::from_bytes(&value)
        .map_err(|_| CallFailed::NotBuilt("the credential has bytes that no header takes"))?;
    value.set_sensitive(true);
    let name = HeaderName::from_bytes(injection.header.as_bytes())
        .map_err(|_| CallFailed::NotBuilt("the injection names no header"))?;
    headers.insert(name, value);
    Ok(())
}
