//! What an agent asks for, in either era of MCP, and how an edge is asked for it.
//!
//! Edges speak the stateless era: each request says its revision and capabilities. A message of the handshake era is
//! given what it lacks, and an answer to it loses what its era does not know; nothing else of either is touched.
//! Neither era needs anything to be remembered between two messages, so there are no sessions here. Pure. Clauses G-61
//! and G-62.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};
use remit_common::net::mcp::{
    self, Code, META_CAPABILITIES, META_VERSION, METHOD_HEADER, Message, NAME_HEADER, NoMessage, PARAM_PREFIX,
    PROTOCOL_VERSION, RequestId, VERSION_HEADER, header_form,
};
use remit_common::net::progress;
use remit_common::policy::json::{self, Json, Mode};
use serde::Deserialize;
use serde_json::value::RawValue;

/// Revisions that begin with `initialize`, the newest first.
pub(crate) const HANDSHAKE_VERSIONS: [&str; 3] = ["2025-11-25", "2025-06-18", "2025-03-26"];
/// Messages of one batch. Only the oldest of the three revisions has batches.
const BATCH_MAX: usize = 16;
/// The request with which an agent asks for an envelope for another one.
pub(crate) const DELEGATE_METHOD: &str = "remit/delegate";
/// Members of a result that only the stateless era has.
const STATELESS_MEMBERS: [&str; 3] = ["resultType", "ttlMs", "cacheScope"];
/// Headers that go on to the edge as they came, besides those of arguments: the edge compares them with the body.
const PASSED_ON: [&str; 4] = [VERSION_HEADER, METHOD_HEADER, NAME_HEADER, "idempotency-key"];

/// Which era a message is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Era {
    /// With `initialize`.
    Handshake,
    /// With everything in each request.
    Stateless,
}

/// What came in one piece.
#[derive(Debug)]
pub(crate) enum Incoming {
    One(Message),
    Batch(Vec<Result<Message, NoMessage>>),
}

/// What is to be done about a message.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Asked {
    /// Nothing; nobody waits for an answer.
    Nothing,
    /// Nobody waits for the answer to that request any more.
    Cancel(RequestId),
    /// This is the answer.
    Here(RequestId, Json),
    /// Hands on a part of the envelope.
    Delegate(RequestId, Json),
    /// The edge knows.
    Edge(RequestId, EdgeRequest),
    /// Nobody serves this.
    Unknown(RequestId),
}

/// A request as the edge is sent it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct EdgeRequest {
    pub(crate) era: Era,
    pub(crate) method: String,
    /// Of the tool, or whatever the method is about; empty for nothing.
    pub(crate) name: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// The token under which the agent wants to hear of progress, if it can.
    pub(crate) progress: Option<Json>,
}

impl Incoming {
    /// Reads a message, or several.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, NoMessage> {
        match json::parse(bytes, Mode::Protocol)? {
            Json::Array(messages) if messages.is_empty() || messages.len() > BATCH_MAX => {
                Err(NoMessage::Shape("an empty batch, or one of more than 16 messages"))
            }
            Json::Array(messages) => Ok(Self::Batch(messages.into_iter().map(Message::from_json).collect())),
            document => Message::from_json(document).map(Self::One),
        }
    }
}

impl Asked {
    /// Reads a message that came without headers.
    pub(crate) fn by_line(message: Message) -> Self {
        let era = if message.meta(META_VERSION).is_some() { Era::Stateless } else { Era::Handshake };
        Self::of(message, era, None)
    }

    /// Reads a message that came over HTTP.
    pub(crate) fn by_http(message: Message, headers: &HeaderMap) -> Self {
        let handshake = |version: &HeaderValue| HANDSHAKE_VERSIONS.iter().any(|known| version == known);
        let era = match headers.get(VERSION_HEADER) {
            Some(version) if !handshake(version) => Era::Stateless,
            _ if message.meta(META_VERSION).is_some() => Era::Stateless,
            Some(_) | None => Era::Handshake,
        };
        Self::of(message, era, Some(headers))
    }

    fn of(message: Message, era: Era, headers: Option<&HeaderMap>) -> Self {
        let Some(id) = message.id.clone() else {
            return match (message.method.as_str(), message.param("requestId")) {
                ("notifications/cancelled", Some(Json::Int(id))) => Self::Cancel(RequestId::Int(*id)),
                ("notifications/cancelled", Some(Json::Text(id))) => Self::Cancel(RequestId::Text(id.clone())),
                _ => Self::Nothing,
            };
        };
        match (message.method.as_str(), era) {
            (DELEGATE_METHOD, _) => Self::Delegate(id, message.params.unwrap_or(Json::Null)),
            ("initialize", Era::Handshake) => Self::Here(id, initialized(&message)),
            ("ping", Era::Handshake) => Self::Here(id, Json::Object(Vec::new())),
            ("tools/list" | "tools/call", Era::Handshake) => {
                let mut request = EdgeRequest::of(stateless(message), era, None);
                // Its own headers say nothing to an edge, but what its client can read.
                request.progress = request.progress.filter(|_| headers.is_none_or(progress::takes_stream));
                Self::Edge(id, request)
            }
            (_, Era::Handshake) => Self::Unknown(id),
            (_, Era::Stateless) => Self::Edge(id, EdgeRequest::of(message, era, headers)),
        }
    }
}

impl EdgeRequest {
    fn of(message: Message, era: Era, came_with: Option<&HeaderMap>) -> Self {
        let named = message.named().and_then(|key| message.param(key));
        let name = named.and_then(Json::as_text).unwrap_or_default().to_owned();
        let headers = match came_with {
            Some(headers) => passed_on(headers),
            None => own_headers(&message, &name),
        };
        let progress = progress::token(&message).filter(|_| came_with.is_none_or(progress::takes_stream)).cloned();
        let method = message.method.clone();
        Self { era, method, name, headers, body: Bytes::from(message.encode()), progress }
    }

    /// A list of tools, for the sidecar's own use.
    pub(crate) fn list(cursor: Option<&str>) -> Self {
        let params = cursor.map(|cursor| Json::object([("cursor", Json::text(cursor))]));
        let message = Message { id: Some(RequestId::Int(1)), method: "tools/list".to_owned(), params };
        Self::of(stateless(message), Era::Stateless, None)
    }
}

/// What HTTP carried beside the body, as far as the edge reads it.
fn passed_on(headers: &HeaderMap) -> HeaderMap {
    let read = |name: &HeaderName| PASSED_ON.contains(&name.as_str()) || name.as_str().starts_with(PARAM_PREFIX);
    headers.iter().filter(|(name, _)| read(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// The headers that repeat a part of the body, made from it.
fn own_headers(message: &Message, name: &str) -> HeaderMap {
    let version = message.meta(META_VERSION).and_then(Json::as_text).unwrap_or(PROTOCOL_VERSION);
    let mut headers = HeaderMap::new();
    let repeated = [(VERSION_HEADER, version), (METHOD_HEADER, message.method.as_str())];
    for (header, value) in repeated {
        // What no header can carry is missing there, and the edge says so.
        headers.extend(HeaderValue::from_str(value).ok().map(|value| (HeaderName::from_static(header), value)));
    }
    if message.named().is_some() {
        let value = HeaderValue::from_str(&header_form(name)).ok();
        headers.extend(value.map(|value| (HeaderName::from_static(NAME_HEADER), value)));
    }
    headers
}

/// A message of the handshake era with what the stateless one demands.
fn stateless(message: Message) -> Message {
    let Message { id, method, params } = message;
    let mut members = match params {
        Some(Json::Object(members)) => members,
        Some(_) | None => Vec::new(),
    };
    let mut meta = match members.iter().position(|(key, _)| key == "_meta").map(|at| members.remove(at).1) {
        Some(Json::Object(meta)) => meta,
        Some(_) | None => Vec::new(),
    };
    meta.retain(|(key, _)| key != META_CAPABILITIES);
    meta.push((META_VERSION.to_owned(), Json::text(PROTOCOL_VERSION)));
    meta.push((META_CAPABILITIES.to_owned(), Json::Object(Vec::new())));
    members.push(("_meta".to_owned(), Json::Object(meta)));
    Message { id, method, params: Some(Json::Object(members)) }
}

/// The answer to `initialize`: the revision that was asked for where it is spoken, the newest one otherwise.
fn initialized(message: &Message) -> Json {
    let asked = message.param("protocolVersion").and_then(Json::as_text);
    let [newest, ..] = HANDSHAKE_VERSIONS;
    let version = HANDSHAKE_VERSIONS.into_iter().find(|known| asked == Some(known)).unwrap_or(newest);
    Json::object([
        ("protocolVersion", Json::text(version)),
        ("capabilities", Json::object([("tools", Json::Object(Vec::new()))])),
        (
            "serverInfo",
            Json::object([("name", Json::text("remit-agent")), ("version", Json::text(env!("CARGO_PKG_VERSION")))]),
        ),
    ])
}

/// What the agent is given: one JSON text in one line, and what HTTP says beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn result(id: &RequestId, result: Json) -> Self {
        Self { status: StatusCode::OK, body: mcp::result(id, result) }
    }

    pub(crate) fn error(id: Option<&RequestId>, code: Code, text: &str, data: Option<Json>) -> Self {
        let status = match code {
            Code::Parse | Code::InvalidRequest => StatusCode::BAD_REQUEST,
            Code::MethodNotFound
            | Code::InvalidParams
            | Code::Internal
            | Code::Denied
            | Code::HeaderMismatch
            | Code::UnsupportedProtocolVersion => StatusCode::OK,
        };
        Self { status, body: mcp::error(id, code, text, data) }
    }

    pub(crate) fn no_message(fault: &NoMessage) -> Self {
        Self::error(None, fault.code(), &fault.to_string(), None)
    }
}

#[derive(Deserialize)]
struct EdgeAnswer<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

/// What of an edge's answer the agent is given. `None` when it is no answer to this request.
pub(crate) fn answered(era: Era, id: &RequestId, status: StatusCode, body: &[u8]) -> Option<Reply> {
    let answer: EdgeAnswer<'_> = serde_json::from_slice(body).ok()?;
    let own = json::encode_text(&id.into());
    if answer.id.is_some_and(|found| found.get() != own) {
        return None;
    }
    let (member, value) = match (answer.result, answer.error, era) {
        (Some(result), None, Era::Stateless) => ("result", result.get().to_owned()),
        (Some(result), None, Era::Handshake) => ("result", of_handshake_era(result)?),
        (None, Some(error), _) => ("error", error.get().to_owned()),
        _ => return None,
    };
    // White space between values may hold line ends; inside of texts JSON has none.
    let value = value.replace(['\n', '\r'], " ");
    let body = format!(r#"{{"jsonrpc":"2.0","id":{own},"{member}":{value}}}"#).into_bytes();
    // The agent's own HTTP is refused by the listener alone; what an edge thinks of the envelope is in the document.
    let status = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => StatusCode::OK,
        _ if era == Era::Handshake => StatusCode::OK,
        other => other,
    };
    Some(Reply { status, body })
}

fn of_handshake_era(result: &RawValue) -> Option<String> {
    let mut members: BTreeMap<String, &RawValue> = serde_json::from_str(result.get()).ok()?;
    for member in STATELESS_MEMBERS {
        members.remove(member);
    }
    serde_json::to_string(&members).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn message(text: &str) -> Message {
        Message::parse(text.as_bytes()).unwrap()
    }

    fn to_edge(asked: Asked) -> (EdgeRequest, Value) {
        let Asked::Edge(_, request) = asked else { panic!("{asked:?}") };
        let body = serde_json::from_slice(&request.body).unwrap();
        (request, body)
    }

    fn http(lines: &[(&'static str, &str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    /// Clause G-62.
    #[test]
    fn a_call_of_the_handshake_era_is_given_what_the_stateless_era_demands() {
        let call = r#"{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{"name":"crm.read","arguments":{"n":1.50},"_meta":{"progressToken":7,"io.modelcontextprotocol/clientCapabilities":1}}}"#;
        let (request, body) = to_edge(Asked::by_line(message(call)));
        assert_eq!(
            (request.era, request.method.as_str(), request.name.as_str()),
            (Era::Handshake, "tools/call", "crm.read")
        );
        assert_eq!(body["id"], "a");
        assert_eq!(body["params"]["arguments"]["n"], 1.5);
        let meta = &body["params"]["_meta"];
        assert_eq!(meta["progressToken"], 7);
        assert_eq!(meta[META_VERSION], PROTOCOL_VERSION);
        assert_eq!(meta[META_CAPABILITIES], serde_json::json!({}));
        assert_eq!(
            request.headers,
            http(&[(VERSION_HEADER, PROTOCOL_VERSION), (METHOD_HEADER, "tools/call"), (NAME_HEADER, "crm.read")])
        );
        let (request, body) =
            to_edge(Asked::by_http(message(call), &http(&[(VERSION_HEADER, "2025-06-18"), (METHOD_HEADER, "x")])));
        assert_eq!((request.headers[METHOD_HEADER].as_bytes(), &body["id"]), (&b"tools/call"[..], &Value::from("a")));
        let (_, body) = to_edge(Asked::by_line(message(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#)));
        assert_eq!(body["params"]["_meta"][META_VERSION], PROTOCOL_VERSION);
    }

    /// Clause G-61: whoever reads the body has to compare the headers with it, and that is the edge.
    #[test]
    fn a_request_of_the_stateless_era_goes_on_with_the_headers_it_came_with() {
        let list = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{{"_meta":{{"{META_VERSION}":"2026-07-28"}}}}}}"#
        );
        let lines = [
            (VERSION_HEADER, "2026-07-28"),
            (METHOD_HEADER, "other"),
            ("mcp-param-region", "eu"),
            ("authorization", "Bearer x"),
            ("cookie", "c"),
        ];
        let (request, _) = to_edge(Asked::by_http(message(&list), &http(&lines)));
        assert_eq!(request.headers, http(&lines[..3]));
        assert_eq!(request.body, list.as_bytes());
        // Without headers they are made from the body.
        let (request, _) = to_edge(Asked::by_line(message(&list)));
        assert_eq!(request.headers, http(&[(VERSION_HEADER, "2026-07-28"), (METHOD_HEADER, "tools/list")]));
        // A revision that nobody knows is the edge's to refuse.
        let plain = message(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#);
        assert_eq!(to_edge(Asked::by_http(plain, &http(&[(VERSION_HEADER, "2031-01-01")]))).0.era, Era::Stateless);
    }

    #[test]
    fn what_needs_no_edge_is_answered_here() {
        let version = |asked: &str| {
            let text = format!(
                r#"{{"jsonrpc":"2.0","id":0,"method":"initialize","params":{{"protocolVersion":"{asked}","capabilities":{{}},"clientInfo":{{}}}}}}"#
            );
            let Asked::Here(RequestId::Int(0), result) = Asked::by_line(message(&text)) else { panic!("{asked}") };
            result.get("protocolVersion").and_then(Json::as_text).unwrap().to_owned()
        };
        for known in HANDSHAKE_VERSIONS {
            assert_eq!(version(known), known);
        }
        assert_eq!(version("2024-11-05"), "2025-11-25");
        assert_eq!(version("2026-07-28"), "2025-11-25");
        let asked = |text: &str| Asked::by_line(message(text));
        assert_eq!(
            asked(r#"{"jsonrpc":"2.0","id":2,"method":"ping"}"#),
            Asked::Here(RequestId::Int(2), Json::Object(vec![]))
        );
        assert_eq!(asked(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#), Asked::Nothing);
        assert_eq!(
            asked(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"q"}}"#),
            Asked::Cancel(RequestId::Text("q".to_owned()))
        );
        assert_eq!(asked(r#"{"jsonrpc":"2.0","id":3,"method":"resources/list"}"#), Asked::Unknown(RequestId::Int(3)));
        assert!(matches!(
            asked(r#"{"jsonrpc":"2.0","id":3,"method":"remit/delegate","params":{}}"#),
            Asked::Delegate(..)
        ));
    }

    #[test]
    fn an_answer_reaches_the_agent_in_its_own_era_and_in_one_line() {
        let id = RequestId::Int(5);
        let check = |era, status: u16, body: &str, expected: Option<(u16, &str)>| {
            let reply = answered(era, &id, StatusCode::from_u16(status).unwrap(), body.as_bytes());
            let reply = reply.map(|reply| (reply.status.as_u16(), String::from_utf8(reply.body).unwrap()));
            assert_eq!(reply, expected.map(|(status, body)| (status, body.to_owned())), "{body}");
        };
        let listed = "{\"jsonrpc\":\"2.0\",\"id\":5,\"result\":{\"resultType\":\"complete\",\n\"tools\":[1.50],\"ttlMs\":0,\"cacheScope\":\"private\"}}";
        check(Era::Handshake, 200, listed, Some((200, r#"{"jsonrpc":"2.0","id":5,"result":{"tools":[1.50]}}"#)));
        check(
            Era::Stateless,
            200,
            listed,
            Some((
                200,
                r#"{"jsonrpc":"2.0","id":5,"result":{"resultType":"complete", "tools":[1.50],"ttlMs":0,"cacheScope":"private"}}"#,
            )),
        );
        let denied = r#"{"jsonrpc":"2.0","error":{"code":-32001,"message":"denied: revoked"}}"#;
        check(
            Era::Stateless,
            401,
            denied,
            Some((200, r#"{"jsonrpc":"2.0","id":5,"error":{"code":-32001,"message":"denied: revoked"}}"#)),
        );
        let unknown = r#"{"jsonrpc":"2.0","id":5,"error":{"code":-32601,"message":"m"}}"#;
        check(Era::Stateless, 404, unknown, Some((404, unknown)));
        check(Era::Handshake, 404, unknown, Some((200, unknown)));
        for not_one in ["", "[]", "{}", r#"{"id":6,"result":{}}"#, r#"{"id":5,"result":{},"error":{}}"#, r#"{"id":5}"#]
        {
            check(Era::Stateless, 200, not_one, None);
        }
        check(Era::Handshake, 200, r#"{"id":5,"result":[1]}"#, None);
    }

    #[test]
    fn a_batch_is_bounded() {
        assert!(
            matches!(Incoming::parse(br#"[{"jsonrpc":"2.0","id":1,"method":"ping"},{}]"#), Ok(Incoming::Batch(both)) if both.len() == 2 && both[1].is_err())
        );
        for size in [0, BATCH_MAX + 1] {
            let batch = format!("[{}]", vec!["1"; size].join(","));
            assert!(Incoming::parse(batch.as_bytes()).is_err());
        }
    }

    proptest! {
        #[test]
        fn no_answer_of_an_edge_panics(body in prop::collection::vec(any::<u8>(), 0..200), handshake: bool) {
            let era = if handshake { Era::Handshake } else { Era::Stateless };
            if let Some(reply) = answered(era, &RequestId::Int(1), StatusCode::OK, &body) {
                prop_assert!(!reply.body.contains(&b'\n'));
            }
        }
    }
}
