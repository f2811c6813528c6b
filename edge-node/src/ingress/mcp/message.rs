//! One JSON-RPC message of an agent, and the answers to it.
//!
//! The body is read once, strictly; what policy judges later is a part of the very value that is read here. Batches
//! are gone from the protocol, answers of an agent have nothing to answer, and a `null` id would make a reply that
//! nobody can match: all refused. Clauses G-3 and G-4.

use remit_common::policy::json::{self, Json, Mode};

/// Bytes of an id that a client chose. Clients count or use UUIDs.
const ID_BYTES_MAX: usize = 128;
/// Bytes of a method name.
const METHOD_BYTES_MAX: usize = 128;

/// What a client calls its request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RequestId {
    Int(i64),
    Text(String),
}

/// A message that an edge takes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Message {
    /// `None`: a notification.
    pub(crate) id: Option<RequestId>,
    pub(crate) method: String,
    /// An object, or absent.
    pub(crate) params: Option<Json>,
}

/// A body is no message that an edge takes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoMessage {
    /// Not strict JSON.
    #[error("the body is not strict JSON: {0}")]
    Json(#[from] json::MalformedJson),
    /// JSON, but not a JSON-RPC 2.0 request or notification.
    #[error("not a JSON-RPC request: {0}")]
    Shape(&'static str),
}

/// JSON-RPC error codes, MCP's own among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    Parse,
    InvalidRequest,
    MethodNotFound,
    InvalidParams,
    /// A denial.
    Denied,
    HeaderMismatch,
    UnsupportedProtocolVersion,
}

impl Code {
    pub(crate) fn number(self) -> i64 {
        match self {
            Self::Parse => -32_700,
            Self::InvalidRequest => -32_600,
            Self::MethodNotFound => -32_601,
            Self::InvalidParams => -32_602,
            Self::Denied => -32_001,
            Self::HeaderMismatch => -32_020,
            Self::UnsupportedProtocolVersion => -32_022,
        }
    }
}

impl NoMessage {
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::Json(_) => Code::Parse,
            Self::Shape(_) => Code::InvalidRequest,
        }
    }
}

impl Message {
    /// Reads a body.
    ///
    /// # Errors
    /// [`NoMessage`] says which rule it breaks.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, NoMessage> {
        let shape = |rule| Err(NoMessage::Shape(rule));
        let Json::Object(members) = json::parse(body, Mode::Protocol)? else {
            return shape("the body is not an object");
        };
        let (mut version, mut id, mut method, mut params) = (None, None, None, None);
        for (key, value) in members {
            match key.as_str() {
                "jsonrpc" => version = Some(value),
                "id" => id = Some(value),
                "method" => method = Some(value),
                "params" => params = Some(value),
                _ => return shape("a member besides jsonrpc, id, method and params"),
            }
        }
        if version.as_ref().and_then(Json::as_text) != Some("2.0") {
            return shape("`jsonrpc` is not \"2.0\"");
        }
        let id = match id {
            None => None,
            Some(Json::Int(number)) => Some(RequestId::Int(number)),
            Some(Json::Text(text)) if text.len() <= ID_BYTES_MAX => Some(RequestId::Text(text)),
            Some(_) => return shape("`id` is neither an integer nor a short string"),
        };
        let Some(Json::Text(method)) = method else { return shape("`method` is not a string") };
        if method.is_empty() || method.len() > METHOD_BYTES_MAX {
            return shape("`method` is empty or too long");
        }
        if !matches!(params, None | Some(Json::Object(_))) {
            return shape("`params` is not an object");
        }
        Ok(Self { id, method, params })
    }

    /// A parameter of the request.
    pub(crate) fn param(&self, key: &str) -> Option<&Json> {
        self.params.as_ref()?.get(key)
    }

    /// A value of the request's `_meta`.
    pub(crate) fn meta(&self, key: &str) -> Option<&Json> {
        self.param("_meta")?.get(key)
    }
}

fn id_json(id: &RequestId) -> Json {
    match id {
        RequestId::Int(number) => Json::Int(*number),
        RequestId::Text(text) => Json::text(text.as_str()),
    }
}

/// The answer that carries a result.
pub(crate) fn result(id: &RequestId, result: Json) -> Vec<u8> {
    json::encode(&Json::object([("jsonrpc", Json::text("2.0")), ("id", id_json(id)), ("result", result)]))
}

/// The answer that carries an error. Without an id when the request had none that could be read.
pub(crate) fn error(id: Option<&RequestId>, code: Code, message: &str, data: Option<Json>) -> Vec<u8> {
    let mut error = vec![("code".to_owned(), Json::Int(code.number())), ("message".to_owned(), Json::text(message))];
    if let Some(data) = data {
        error.push(("data".to_owned(), data));
    }
    let mut members = vec![("jsonrpc".to_owned(), Json::text("2.0"))];
    if let Some(id) = id {
        members.push(("id".to_owned(), id_json(id)));
    }
    members.push(("error".to_owned(), Json::Object(error)));
    json::encode(&Json::Object(members))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn requests_and_notifications() {
        let request = br#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"a","_meta":{"k":"v"}}}"#;
        let message = Message::parse(request).unwrap();
        assert_eq!(message.id, Some(RequestId::Int(7)));
        assert_eq!(message.param("name").and_then(Json::as_text), Some("a"));
        assert_eq!(message.meta("k").and_then(Json::as_text), Some("v"));
        let note = Message::parse(br#"{"jsonrpc":"2.0","method":"notifications/cancelled"}"#).unwrap();
        assert_eq!((note.id, note.params), (None, None));
    }

    #[test]
    fn what_is_no_message() {
        let check = |body: &str, code| {
            let error = Message::parse(body.as_bytes()).expect_err(body);
            assert_eq!(error.code(), code, "{body}: {error}");
        };
        check("", Code::Parse);
        check("{", Code::Parse);
        check(r#"{"jsonrpc":"2.0","id":1,"id":1,"method":"x"}"#, Code::Parse);
        check(r#"{"jsonrpc":"2.0","id":1,"method":"x","params":{"a":1,"a":2}}"#, Code::Parse);
        check(r#"[{"jsonrpc":"2.0","id":1,"method":"x"}]"#, Code::InvalidRequest);
        check(r#"{"id":1,"method":"x"}"#, Code::InvalidRequest);
        check(r#"{"jsonrpc":"1.0","id":1,"method":"x"}"#, Code::InvalidRequest);
        check(r#"{"jsonrpc":"2.0","id":null,"method":"x"}"#, Code::InvalidRequest);
        check(r#"{"jsonrpc":"2.0","id":1.5,"method":"x"}"#, Code::InvalidRequest);
        check(r#"{"jsonrpc":"2.0","id":1,"method":""}"#, Code::InvalidRequest);
        check(r#"{"jsonrpc":"2.0","id":1,"method":7}"#, Code::InvalidRequest);
        check(r#"{"jsonrpc":"2.0","id":1,"method":"x","params":[1]}"#, Code::InvalidRequest);
        check(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, Code::InvalidRequest);
        check(r#"{"jsonrpc":"2.0","id":1,"method":"x","extra":1}"#, Code::InvalidRequest);
    }

    #[test]
    fn answers_as_they_travel() {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        assert_eq!(
            text(result(&RequestId::Text("a\"b".to_owned()), Json::object([("x", Json::Int(1))]))),
            r#"{"jsonrpc":"2.0","id":"a\"b","result":{"x":1}}"#
        );
        assert_eq!(
            text(error(None, Code::Parse, "no", None)),
            r#"{"jsonrpc":"2.0","error":{"code":-32700,"message":"no"}}"#
        );
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Message::parse(&bytes);
        }
    }
}
