//! How far a tool says it is: `notifications/progress` of MCP, as far as it goes on.
//!
//! Numbers go on, words do not: no catalogue says what may be in them. Whoever passes one on writes it anew, under the
//! token of whoever asked. Clauses G-44, G-81.

use http::HeaderMap;
use http::header::{ACCEPT, HeaderValue};

use super::mcp::{META_PROGRESS, Message};
use crate::policy::json::{self, Json, Mode};

const METHOD: &str = "notifications/progress";
/// Bytes of a token that a client chose.
const TOKEN_BYTES_MAX: usize = 128;

/// How far a tool says it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// What is done, a number.
    pub progress: Json,
    /// What there is to do, a number.
    pub total: Option<Json>,
}

impl Progress {
    /// Reads an event, if it is about the request with this token.
    #[must_use]
    pub fn read(event: &[u8], token: &Json) -> Option<Self> {
        let is_number = |json: &&Json| matches!(json, Json::Int(_) | Json::Float(_));
        let message = json::parse(event, Mode::Protocol).ok()?;
        if message.get("id").is_some() || message.get("method")?.as_text()? != METHOD {
            return None;
        }
        let params = message.get("params")?;
        if params.get("progressToken")? != token {
            return None;
        }
        let progress = params.get("progress").filter(is_number)?.clone();
        Some(Self { progress, total: params.get("total").filter(is_number).cloned() })
    }

    /// The notification for whoever asked under this token, in one line.
    #[must_use]
    pub fn note(self, token: &Json) -> Vec<u8> {
        let Self { progress, total } = self;
        let mut params = vec![("progressToken".to_owned(), token.clone()), ("progress".to_owned(), progress)];
        params.extend(total.map(|total| ("total".to_owned(), total)));
        json::encode(&Json::object([
            ("jsonrpc", Json::text("2.0")),
            ("method", Json::text(METHOD)),
            ("params", Json::Object(params)),
        ]))
    }
}

/// The token under which a request wants to hear of progress.
#[must_use]
pub fn token(message: &Message) -> Option<&Json> {
    message.meta(META_PROGRESS).filter(|token| match token {
        Json::Int(_) => true,
        Json::Text(text) => text.len() <= TOKEN_BYTES_MAX,
        _ => false,
    })
}

/// Whether who sends these headers takes an answer in events.
#[must_use]
pub fn takes_stream(headers: &HeaderMap) -> bool {
    let takes = |value: &HeaderValue| {
        let mut kinds = value.to_str().unwrap_or_default().split(',');
        kinds.any(|kind| is_stream(kind.as_bytes()))
    };
    headers.get_all(ACCEPT).iter().any(takes)
}

/// Whether a content type is that of a stream of events.
#[must_use]
pub fn is_stream(content_type: &[u8]) -> bool {
    let essence = content_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    essence.eq_ignore_ascii_case(b"text/event-stream")
}

/// A message as an event of a stream.
#[must_use]
pub fn event(message: &[u8]) -> bytes::Bytes {
    // INVARIANT: our JSON has no line end in it.
    [b"data: ", message, b"\n\n"].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_progress_the_numbers_go_on_and_nothing_else() {
        let note = |params: &str| {
            let text = format!(r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{params}}}"#);
            Progress::read(text.as_bytes(), &Json::Int(1))
        };
        let expected = Progress { progress: Json::Int(3), total: Some(Json::Int(7)) };
        let found = note(r#"{"progressToken":1,"progress":3,"total":7,"message":"row 9 of billing"}"#);
        assert_eq!(found, Some(expected.clone()));
        for other in [
            r#"{"progressToken":2,"progress":3}"#,
            r#"{"progressToken":"1","progress":3}"#,
            r#"{"progressToken":1,"progress":"sk-1"}"#,
            "[]",
        ] {
            assert_eq!(note(other), None, "{other}");
        }
        assert_eq!(note(r#"{"progressToken":1,"progress":3,"total":"all"}"#).unwrap().total, None);
        let long = "7".repeat(4_096);
        for number in [&long, &format!("0.{long}"), "1e400"] {
            assert_eq!(note(&format!(r#"{{"progressToken":1,"progress":{number}}}"#)), None, "digits are words, too");
        }
        let other = br#"{"jsonrpc":"2.0","method":"notifications/message","params":{"progressToken":1,"progress":1}}"#;
        assert_eq!(Progress::read(other, &Json::Int(1)), None);
        let mine = expected.clone().note(&Json::text("mine"));
        assert_eq!(Progress::read(&mine, &Json::text("mine")), Some(expected));
    }

    #[test]
    fn who_asks_for_progress_has_a_token_and_takes_events() {
        let asked = |meta: &str| {
            let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"_meta":{meta}}}}}"#);
            token(&Message::parse(text.as_bytes()).unwrap()).cloned()
        };
        assert_eq!(asked(r#"{"progressToken":7}"#), Some(Json::Int(7)));
        assert_eq!(asked(r#"{"progressToken":"a"}"#), Some(Json::text("a")));
        for none in ["{}", r#"{"progressToken":null}"#, r#"{"progressToken":{}}"#] {
            assert_eq!(asked(none), None, "{none}");
        }
        assert_eq!(asked(&format!(r#"{{"progressToken":"{}"}}"#, "x".repeat(TOKEN_BYTES_MAX + 1))), None);
        let takes =
            |accept: &'static str| takes_stream(&HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(accept))]));
        assert!(takes("application/json, text/event-stream") && takes("Text/Event-Stream;q=0.5"));
        assert!(!takes("application/json") && !takes("*/*") && !takes_stream(&HeaderMap::new()));
    }
}
