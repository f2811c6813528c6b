//! What an MCP server answered to one `tools/call`.
//!
//! The answer is JSON, or a stream of events of which one carries the response. Notifications on the way are dropped:
//! nothing has declared them. A request of the server to the client would need an answer that no agent gave: the call
//! fails. The JSON is read by the same strict parser that reads agents. Clauses G-26 to G-28.

use remit_common::policy::json::{self, Json, Mode};

use remit_common::net::progress::{self, Progress};
use remit_common::net::sse;

/// The id of every request over HTTP: each travels in an exchange of its own.
pub(super) const REQUEST_ID: i64 = 1;

/// A server's answer to a call.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Reply {
    /// A `CallToolResult`.
    Result(Json),
    /// The server refused the call as such; its words stay here.
    Error {
        /// The JSON-RPC code.
        code: i64,
    },
}

/// An answer cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UnusableReply {
    #[error("the content type is neither JSON nor an event stream")]
    ContentType,
    #[error("the answer is not strict JSON: {0}")]
    Json(#[from] json::MalformedJson),
    #[error("the answer is no JSON-RPC response: {0}")]
    Shape(&'static str),
    #[error("the stream ended without a response")]
    NoResponse,
    #[error("the server asks the client for something")]
    ServerRequest,
    #[error("the server wants input before it answers")]
    InputRequired,
}

/// The token under which we ask for progress: one per exchange, as the id.
pub(super) const PROGRESS_TOKEN: i64 = 1;

/// What an event says of progress, of ours (clause G-44).
pub(super) fn progress(event: &[u8]) -> Option<Progress> {
    Progress::read(event, &Json::Int(PROGRESS_TOKEN))
}

/// Whether a content type is that of an event stream.
pub(super) fn is_stream(content_type: Option<&[u8]>) -> bool {
    progress::is_stream(content_type.unwrap_or_default())
}

pub(super) fn essence(content_type: Option<&[u8]>) -> &[u8] {
    content_type.unwrap_or_default().split(|b| *b == b';').next().unwrap_or_default().trim_ascii()
}

/// Reads an answer.
///
/// # Errors
/// [`UnusableReply`].
pub(super) fn parse(content_type: Option<&[u8]>, body: &[u8]) -> Result<Reply, UnusableReply> {
    if essence(content_type).eq_ignore_ascii_case(b"application/json") {
        return message(body, REQUEST_ID)?.ok_or(UnusableReply::NoResponse);
    }
    if !is_stream(content_type) {
        return Err(UnusableReply::ContentType);
    }
    for event in sse::messages(body) {
        // A stream may begin with an empty event, which only carries an id to resume from.
        if event.is_empty() {
            continue;
        }
        if let Some(reply) = message(&event, REQUEST_ID)? {
            return Ok(reply);
        }
    }
    Err(UnusableReply::NoResponse)
}

/// One message: the response to the request with this id, or `None` for a notification.
///
/// # Errors
/// [`UnusableReply`].
pub(super) fn message(bytes: &[u8], request: i64) -> Result<Option<Reply>, UnusableReply> {
    let shape = |rule| Err(UnusableReply::Shape(rule));
    let Json::Object(members) = json::parse(bytes, Mode::Protocol)? else { return shape("not an object") };
    let (mut version, mut id, mut method, mut result, mut error) = (None, None, None, None, None);
    for (key, value) in members {
        match key.as_str() {
            "jsonrpc" => version = Some(value),
            "id" => id = Some(value),
            "method" => method = Some(value),
            "result" => result = Some(value),
            "error" => error = Some(value),
            _ => {}
        }
    }
    if version.as_ref().and_then(Json::as_text) != Some("2.0") {
        return shape("`jsonrpc` is not \"2.0\"");
    }
    if method.is_some() {
        return if id.is_some() { Err(UnusableReply::ServerRequest) } else { Ok(None) };
    }
    let answers_us = id.as_ref().and_then(Json::as_int) == Some(request);
    match (result, error) {
        (Some(result), None) if answers_us => match result.get("resultType") {
            None => Ok(Some(Reply::Result(result))),
            Some(Json::Text(kind)) if kind == "complete" => Ok(Some(Reply::Result(result))),
            Some(_) => Err(UnusableReply::InputRequired),
        },
        (None, Some(error)) if answers_us || id.is_none() => {
            let code = error.get("code").and_then(Json::as_int).unwrap_or_default();
            Ok(Some(Reply::Error { code }))
        }
        (Some(_), None) | (None, Some(_)) => shape("it answers another request"),
        _ => shape("neither a result nor an error, or both"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RESULT: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete","content":[]}}"#;

    #[test]
    fn both_forms_of_an_answer() {
        let expected =
            Reply::Result(Json::object([("resultType", Json::text("complete")), ("content", Json::Array(Vec::new()))]));
        let json = Some(b"application/json; charset=utf-8".as_slice());
        assert_eq!(parse(json, RESULT.as_bytes()), Ok(expected.clone()));
        let note = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{}}"#;
        let stream = format!("id: 0\nretry: 3000\ndata:\n\ndata: {note}\n\ndata: {RESULT}\n\n");
        assert_eq!(parse(Some(b"text/event-stream"), stream.as_bytes()), Ok(expected));
    }

    #[test]
    fn what_is_no_answer_is_not_guessed_at() {
        let check = |body: &str, expected: UnusableReply| {
            assert_eq!(parse(Some(b"application/json"), body.as_bytes()), Err(expected), "{body}");
        };
        let shape = UnusableReply::Shape;
        check(r#"{"jsonrpc":"2.0","id":2,"result":{}}"#, shape("it answers another request"));
        check(r#"{"jsonrpc":"2.0","id":"1","result":{}}"#, shape("it answers another request"));
        check(r#"{"jsonrpc":"2.0","id":1}"#, shape("neither a result nor an error, or both"));
        check(r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{}}"#, shape("neither a result nor an error, or both"));
        check(r#"{"jsonrpc":"2.0","id":5,"method":"elicitation/create"}"#, UnusableReply::ServerRequest);
        check(r#"{"jsonrpc":"2.0","id":1,"result":{"resultType":"input_required"}}"#, UnusableReply::InputRequired);
        check(r#"{"jsonrpc":"2.0","method":"notifications/message"}"#, UnusableReply::NoResponse);
        assert_eq!(parse(Some(b"text/html"), b"<html>"), Err(UnusableReply::ContentType));
        assert_eq!(parse(None, RESULT.as_bytes()), Err(UnusableReply::ContentType));
        assert_eq!(parse(Some(b"text/event-stream"), b"data: {}"), Err(UnusableReply::NoResponse));
        assert!(matches!(
            parse(Some(b"application/json"), br#"{"jsonrpc":"2.0","id":1,"id":1,"result":{}}"#),
            Err(UnusableReply::Json(_))
        ));
    }

    #[test]
    fn the_words_of_a_servers_error_stay_behind() {
        let body = br#"{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"key sk-1 is bad","data":"sk-1"}}"#;
        assert_eq!(parse(Some(b"application/json"), body), Ok(Reply::Error { code: -32_602 }));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), stream: bool) {
            let kind: &[u8] = if stream { b"text/event-stream" } else { b"application/json" };
            let _ = parse(Some(kind), &bytes);
        }
    }
}
