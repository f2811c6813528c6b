//! Servers of the revisions of MCP that begin with `initialize`.
//!
//! A session there can remember what was asked in it, so that one belongs to one envelope's last link, one server and
//! one version of one credential: nobody finds in it what somebody else left. It is opened under the permit of the call
//! that needs it. Clause G-87.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Version, request};
use remit_common::id::{CredentialId, LinkId};
use remit_common::net::mcp::VERSION_HEADER;
use remit_common::policy::catalogue::Upstream;
use remit_common::policy::json::{self, Json};
use remit_common::time::BootTime;

use super::reply::{REQUEST_ID, Reply};

/// Where a session's id travels.
const SESSION_HEADER: HeaderName = HeaderName::from_static("mcp-session-id");
/// The revisions that begin with `initialize`, the one that is asked for first.
const VERSIONS: [&str; 3] = ["2025-11-25", "2025-06-18", "2025-03-26"];
/// Bytes of a session's id.
const ID_BYTES_MAX: usize = 512;
/// Sessions that are kept; the one that was used longest ago goes first.
const SESSIONS_MAX: usize = 1_024;
/// How long one is kept without a call.
const IDLE_MAX: Duration = Duration::from_secs(600);

/// Whose session it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SessionOf {
    pub(super) url: String,
    pub(super) leaf: LinkId,
    pub(super) credential: Option<(CredentialId, u64)>,
}

/// A session with a server; some servers give it no id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Session {
    id: Option<HeaderValue>,
    version: &'static str,
}

/// An answer to `initialize` opens no session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoSession {
    #[error("the server refuses to begin")]
    Refused,
    #[error("the server does not answer as one that begins")]
    NotBegun,
    #[error("the server speaks none of the revisions that begin with `initialize`")]
    Revision,
    #[error("the server's session id is none, or there are two")]
    Id,
}

/// The sessions that are open.
#[derive(Debug, Default)]
pub(super) struct Sessions(Mutex<BTreeMap<SessionOf, (Session, BootTime)>>);

impl Sessions {
    /// The session of this holder, if one is open.
    pub(super) fn get(&self, of: &SessionOf, now: BootTime) -> Option<Session> {
        let mut open = self.open();
        open.retain(|_, (_, used)| now.since(*used) < IDLE_MAX);
        let (session, used) = open.get_mut(of)?;
        *used = now;
        Some(session.clone())
    }

    pub(super) fn put(&self, of: SessionOf, session: Session, now: BootTime) {
        let mut open = self.open();
        if open.len() >= SESSIONS_MAX && !open.contains_key(&of) {
            let oldest = open.iter().min_by_key(|(_, (_, used))| *used).map(|(of, _)| of.clone());
            oldest.and_then(|oldest| open.remove(&oldest));
        }
        open.insert(of, (session, now));
    }

    /// The server does not know it any more.
    pub(super) fn forget(&self, of: &SessionOf, session: &Session) {
        let mut open = self.open();
        if open.get(of).is_some_and(|(known, _)| known == session) {
            open.remove(of);
        }
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<SessionOf, (Session, BootTime)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    /// What the answer to `initialize` opens.
    ///
    /// # Errors
    /// [`NoSession`].
    pub(super) fn opened(headers: &HeaderMap, reply: &Reply) -> Result<Self, NoSession> {
        let version = agreed(reply)?;
        let mut ids = headers.get_all(&SESSION_HEADER).iter();
        let id = ids.next().cloned();
        let is_id =
            |id: &HeaderValue| (1..=ID_BYTES_MAX).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic);
        if ids.next().is_some() || !id.iter().all(is_id) {
            return Err(NoSession::Id);
        }
        Ok(Self { id, version })
    }

    /// Whether a server can forget it.
    pub(super) fn has_id(&self) -> bool {
        self.id.is_some()
    }

    /// Says in a request that it belongs to this session.
    pub(super) fn head(&self, request: request::Builder) -> request::Builder {
        let request = request.header(VERSION_HEADER, self.version);
        match &self.id {
            Some(id) => request.header(SESSION_HEADER, id),
            None => request,
        }
    }
}

/// The revision that an answer to `initialize` agrees on.
///
/// # Errors
/// [`NoSession`].
pub(super) fn agreed(reply: &Reply) -> Result<&'static str, NoSession> {
    let Reply::Result(result) = reply else { return Err(NoSession::Refused) };
    let said = result.get("protocolVersion").and_then(Json::as_text);
    VERSIONS.into_iter().find(|version| said == Some(version)).ok_or(NoSession::Revision)
}

/// The first request. This client can do nothing that a server could ask it for.
pub(super) fn initialize(upstream: &Upstream) -> http::Result<Request<Bytes>> {
    post(upstream).body(Bytes::from(initialize_message(REQUEST_ID)))
}

/// The same as a message.
pub(super) fn initialize_message(id: i64) -> Vec<u8> {
    let client = Json::object([("name", Json::text("remit-edge")), ("version", Json::text(env!("CARGO_PKG_VERSION")))]);
    let params = Json::object([
        ("protocolVersion", Json::text(VERSIONS.first().copied().unwrap_or_default())),
        ("capabilities", Json::Object(Vec::new())),
        ("clientInfo", client),
    ]);
    json::encode(&Json::object([
        ("jsonrpc", Json::text("2.0")),
        ("id", Json::Int(id)),
        ("method", Json::text("initialize")),
        ("params", params),
    ]))
}

/// The second: that the answer was understood.
pub(super) fn initialized(upstream: &Upstream, session: &Session) -> http::Result<Request<Bytes>> {
    session.head(post(upstream)).body(Bytes::from(initialized_message()))
}

/// The same as a message.
pub(super) fn initialized_message() -> Vec<u8> {
    json::encode(&Json::object([("jsonrpc", Json::text("2.0")), ("method", Json::text("notifications/initialized"))]))
}

/// A request to an MCP server, as far as all are alike.
pub(super) fn post(upstream: &Upstream) -> request::Builder {
    Request::builder()
        .method(Method::POST)
        .version(Version::HTTP_11)
        .uri(upstream.path())
        .header(HOST, upstream.authority())
        .header(CONTENT_TYPE, "application/json")
        .header(ACCEPT, "application/json, text/event-stream")
        .header(ACCEPT_ENCODING, "identity")
}

#[cfg(test)]
mod tests {
    use remit_common::crypto::digest::Digest;

    use super::*;

    fn of(leaf: u8) -> SessionOf {
        SessionOf { url: "http://127.0.0.1:1/mcp".to_owned(), leaf: LinkId(Digest([leaf; 32])), credential: None }
    }

    fn session(id: &'static str) -> Session {
        Session { id: Some(HeaderValue::from_static(id)), version: "2025-11-25" }
    }

    fn opened(version: &str, ids: &[&[u8]]) -> Result<Session, NoSession> {
        let headers = ids.iter().map(|id| (SESSION_HEADER, HeaderValue::from_bytes(id).unwrap())).collect();
        Session::opened(&headers, &Reply::Result(Json::object([("protocolVersion", Json::text(version))])))
    }

    #[test]
    fn an_answer_opens_a_session_or_says_why_not() {
        assert_eq!(opened("2025-11-25", &[b"a-b"]), Ok(session("a-b")));
        assert_eq!(opened("2025-03-26", &[]), Ok(Session { id: None, version: "2025-03-26" }));
        for version in ["2024-11-05", "2026-07-28", ""] {
            assert_eq!(opened(version, &[b"a"]), Err(NoSession::Revision), "{version}");
        }
        for ids in [&[&b"a"[..], b"b"][..], &[b""], &[b"a b"], &[b"a\tb"], &["\u{e9}".as_bytes()], &[&[b'a'; 513]]] {
            assert_eq!(opened("2025-11-25", ids), Err(NoSession::Id), "{ids:?}");
        }
        let refused = Session::opened(&HeaderMap::new(), &Reply::Error { code: 1 });
        assert_eq!(refused, Err(NoSession::Refused));
    }

    #[test]
    fn nobody_finds_the_session_of_somebody_else_or_an_old_one() {
        let sessions = Sessions::default();
        let now = BootTime::from_millis(0).plus(Duration::from_secs(1_000));
        sessions.put(of(1), session("one"), now);
        assert_eq!(sessions.get(&of(2), now), None);
        let (name, other) = (CredentialId::new("key").unwrap(), CredentialId::new("other").unwrap());
        for credential in [(name.clone(), 1), (name, 2), (other, 1)] {
            assert_eq!(sessions.get(&SessionOf { credential: Some(credential), ..of(1) }, now), None);
        }
        assert_eq!(sessions.get(&of(1), now.plus(IDLE_MAX / 2)), Some(session("one")));
        assert_eq!(sessions.get(&of(1), now.plus(IDLE_MAX)), Some(session("one")), "used in between");
        assert_eq!(sessions.get(&of(1), now.plus(IDLE_MAX * 2)), None);
        // One that was opened meanwhile is not forgotten for an older one.
        sessions.put(of(1), session("two"), now);
        sessions.forget(&of(1), &session("one"));
        assert_eq!(sessions.get(&of(1), now), Some(session("two")));
        sessions.forget(&of(1), &session("two"));
        assert_eq!(sessions.get(&of(1), now), None);
    }

    #[test]
    fn a_crowd_does_not_keep_more_than_there_is_room_for() {
        let sessions = Sessions::default();
        for number in 0..u64::try_from(SESSIONS_MAX).unwrap() + 10 {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&number.to_be_bytes());
            let of = SessionOf { leaf: LinkId(Digest(bytes)), ..of(0) };
            sessions.put(of, session("s"), BootTime::from_millis(0).plus(Duration::from_millis(number)));
        }
        assert_eq!(sessions.open().len(), SESSIONS_MAX);
        assert!(sessions.get(&of(0), BootTime::from_millis(0)).is_none(), "the oldest have gone");
    }
}
