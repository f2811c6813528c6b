//! What an MCP server answered to one `tools/call`.
//!
//! The answer is JSON, or a stream of events of which one carries the response. Notifications on the way are dropped:
//! nothing has declared them. A request of the server to the client would need an answer that no agent gave: the call
//! fails. The JSON is read by the same strict parser that reads agents. Clauses G-26 to G-28.

use remit_common::policy::json::{self, Json, Mode};

use super::sse;

/// The id of every request that we send: each travels in an HTTP exchange of its own.
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

/// How far a tool says it is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Progress {
    /// What is done, a number.
    pub(crate) progress: Json,
    /// What there is to do, a number.
    pub(crate) total: Option<Json>,
}

/// What an event says of progress, of ours. The words that may stand beside the numbers stay behind: no catalogue says
/// what may be in them (clause G-44).
pub(super) fn progress(event: &[u8]) -> Option<Progress> {
    let is_number = |json: &&Json| matches!(json, Json::Int(_) | Json::Float(_));
    let message = json::parse(event, Mode::Protocol).ok()?;
    if message.get("id").is_some() || message.get("method")?.as_text()? != "notifications/progress" {
        return None;
    }
    let params = message.get("params")?;
    if params.get("progressToken")?.as_int()? != PROGRESS_TOKEN {
        return None;
    }
    let progress = params.get("progress").filter(is_number)?.clone();
    Some(Progress { progress, total: params.get("total").filter(is_number).cloned() })
}

/// Whether a content type is that of an event stream.
pub(super) fn is_stream(content_type: Option<&[u8]>) -> bool {
    essence(content_type).eq_ignore_ascii_case(b"text/event-stream")
}

fn essence(content_type: Option<&[u8]>) -> &[u8] {
    content_type.unwrap_or_default().split(|b| *b == b';').next().unwrap_or_default().trim_ascii()
}

/// Reads an answer.
///
/// # Errors
/// [`UnusableReply`].
pub(super) fn parse(content_type: Option<&[u8]>, body: &[u8]) -> Result<Reply, UnusableReply> {
    if essence(content_type).eq_ignore_ascii_case(b"application/json") {
        return message(body)?.ok_or(UnusableReply::NoResponse);
    }
    if !is_stream(content_type) {
        return Err(UnusableReply::ContentType);
    }
    for event in sse::messages(body) {
        // A stream may begin with an empty event, which only carries an id to resume from.
        if event.is_empty() {
            continue;
        }
        if let Some(reply) = message(&event)? {
            return Ok(reply);
        }
    }
    Err(UnusableReply::NoResponse)
}

/// One message: the response, or `None` for a notification.
fn message(bytes: &[u8]) -> Result<Option<Reply>, UnusableReply> {
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
    let answers_us = id.as_ref().and_then(Json::as_int) == Some(REQUEST_ID);
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

    #[test]
    fn of_progress_the_numbers_go_on_and_nothing_else() {
        let note = |params: &str| {
            let text = format!(r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{params}}}"#);
            progress(text.as_bytes())
        };
        let expected = Progress { progress: Json::Int(3), total: Some(Json::Int(7)) };
        assert_eq!(note(r#"{"progressToken":1,"progress":3,"total":7,"message":"row 9 of billing"}"#), Some(expected));
        for other in [r#"{"progressToken":2,"progress":3}"#, r#"{"progressToken":1,"progress":"sk-1"}"#, "[]"] {
            assert_eq!(note(other), None, "{other}");
        }
        assert_eq!(note(r#"{"progressToken":1,"progress":3,"total":"all"}"#).unwrap().total, None);
        let long = "7".repeat(4_096);
        for number in [&long, &format!("0.{long}"), "1e400"] {
            assert_eq!(note(&format!(r#"{{"progressToken":1,"progress":{number}}}"#)), None, "digits are words, too");
        }
        assert_eq!(
            progress(
                br#"{"jsonrpc":"2.0","method":"notifications/message","params":{"progressToken":1,"progress":1}}"#
            ),
            None
        );
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), stream: bool) {
            let kind: &[u8] = if stream { b"text/event-stream" } else { b"application/json" };
            let _ = parse(Some(kind), &bytes);
        }
    }
}
