//! MCP as it travels: one JSON-RPC message of an agent, the answers to it, and the headers that repeat a part of it.
//!
//! The body is read once, strictly; what policy judges later is a part of the very value that is read here. Batches
//! are gone from the protocol, answers of an agent have nothing to answer, and a `null` id would make a reply that
//! nobody can match: all refused. The agents' side reads what an agent writes by the same rules. Clauses G-3 to G-6.

use crate::policy::json::{self, Json, Mode};
use crate::text;

/// The one revision of MCP that edges speak.
pub const PROTOCOL_VERSION: &str = "2026-07-28";
/// Where a body says the revision.
pub const META_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
/// Where a body says what the client can do.
pub const META_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
/// Under which a request asks to be told of progress.
pub const META_PROGRESS: &str = "progressToken";
/// The header that repeats the revision.
pub const VERSION_HEADER: &str = "mcp-protocol-version";
/// The header that repeats the method.
pub const METHOD_HEADER: &str = "mcp-method";
/// The header that repeats the name of what the method is about.
pub const NAME_HEADER: &str = "mcp-name";
/// Headers that repeat arguments begin with this.
pub const PARAM_PREFIX: &str = "mcp-param-";

/// Bytes of an id that a client chose. Clients count or use UUIDs.
const ID_BYTES_MAX: usize = 128;
/// Bytes of a method name.
const METHOD_BYTES_MAX: usize = 128;

/// What a client calls its request.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum RequestId {
    /// A number.
    Int(i64),
    /// A text.
    Text(String),
}

/// A request or a notification.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// `None`: a notification.
    pub id: Option<RequestId>,
    /// What is asked for.
    pub method: String,
    /// An object, or absent.
    pub params: Option<Json>,
}

/// A body is no request and no notification.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoMessage {
    /// Not strict JSON.
    #[error("the body is not strict JSON: {0}")]
    Json(#[from] json::MalformedJson),
    /// JSON, but not a JSON-RPC 2.0 request or notification.
    #[error("not a JSON-RPC request: {0}")]
    Shape(&'static str),
}

/// JSON-RPC error codes, MCP's own among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// Not strict JSON.
    Parse,
    /// Not a message.
    InvalidRequest,
    /// A method that is not served.
    MethodNotFound,
    /// Parameters that the method does not take.
    InvalidParams,
    /// No answer, through no fault of the request.
    Internal,
    /// A denial.
    Denied,
    /// A header says something else than the body.
    HeaderMismatch,
    /// A revision that is not spoken.
    UnsupportedProtocolVersion,
}

impl Code {
    /// The number that travels.
    #[must_use]
    pub fn number(self) -> i64 {
        match self {
            Self::Parse => -32_700,
            Self::InvalidRequest => -32_600,
            Self::MethodNotFound => -32_601,
            Self::InvalidParams => -32_602,
            Self::Internal => -32_603,
            Self::Denied => -32_001,
            Self::HeaderMismatch => -32_020,
            Self::UnsupportedProtocolVersion => -32_022,
        }
    }
}

impl NoMessage {
    /// What the sender is told.
    #[must_use]
    pub fn code(&self) -> Code {
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
    pub fn parse(body: &[u8]) -> Result<Self, NoMessage> {
        Self::from_json(json::parse(body, Mode::Protocol)?)
    }

    /// Takes a document that has been read.
    ///
    /// # Errors
    /// [`NoMessage::Shape`] says which rule it breaks.
    pub fn from_json(document: Json) -> Result<Self, NoMessage> {
        let shape = |rule| Err(NoMessage::Shape(rule));
        let Json::Object(members) = document else {
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

    /// Writes it anew: [`Self::parse`] reads the same message back.
    #[must_use]
    pub fn encode(self) -> Vec<u8> {
        let Self { id, method, params } = self;
        let mut members = vec![("jsonrpc".to_owned(), Json::text("2.0"))];
        members.extend(id.map(|id| ("id".to_owned(), (&id).into())));
        members.push(("method".to_owned(), Json::Text(method)));
        members.extend(params.map(|params| ("params".to_owned(), params)));
        json::encode(&Json::Object(members))
    }

    /// A parameter of the request.
    #[must_use]
    pub fn param(&self, key: &str) -> Option<&Json> {
        self.params.as_ref()?.get(key)
    }

    /// A value of the request's `_meta`.
    #[must_use]
    pub fn meta(&self, key: &str) -> Option<&Json> {
        self.param("_meta")?.get(key)
    }

    /// The parameter that its method is about, where it is about one: the header [`NAME_HEADER`] repeats it.
    #[must_use]
    pub fn named(&self) -> Option<&'static str> {
        match self.method.as_str() {
            "tools/call" | "prompts/get" => Some("name"),
            "resources/read" => Some("uri"),
            _ => None,
        }
    }
}

impl From<&RequestId> for Json {
    fn from(id: &RequestId) -> Self {
        match id {
            RequestId::Int(number) => Self::Int(*number),
            RequestId::Text(text) => Self::text(text.as_str()),
        }
    }
}

/// The form in which a header carries `name`.
#[must_use]
pub fn header_form(name: &str) -> String {
    let plain = name.bytes().all(|b| (0x20..=0x7e).contains(&b))
        && name.trim() == name
        && !(name.starts_with("=?base64?") && name.ends_with("?="));
    if plain { name.to_owned() } else { format!("=?base64?{}?=", text::base64(name.as_bytes())) }
}

/// Undoes [`header_form`]. `None` when it does not decode.
#[must_use]
pub fn from_header_form(header: &str) -> Option<String> {
    match header.strip_prefix("=?base64?").and_then(|inner| inner.strip_suffix("?=")) {
        Some(inner) => String::from_utf8(text::from_base64(inner)?).ok(),
        None => Some(header.to_owned()),
    }
}

/// The answer that carries a result.
#[must_use]
pub fn result(id: &RequestId, result: Json) -> Vec<u8> {
    json::encode(&Json::object([("jsonrpc", Json::text("2.0")), ("id", id.into()), ("result", result)]))
}

/// The answer that carries an error. Without an id when the request had none that could be read.
#[must_use]
pub fn error(id: Option<&RequestId>, code: Code, message: &str, data: Option<Json>) -> Vec<u8> {
    let mut error = vec![("code".to_owned(), Json::Int(code.number())), ("message".to_owned(), Json::text(message))];
    if let Some(data) = data {
        error.push(("data".to_owned(), data));
    }
    let mut members = vec![("jsonrpc".to_owned(), Json::text("2.0"))];
    if let Some(id) = id {
        members.push(("id".to_owned(), id.into()));
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
        fn every_name_survives_its_header(name in "\\PC{1,60}") {
            let header = header_form(&name);
            prop_assert!(http::HeaderValue::from_str(&header).is_ok());
            prop_assert_eq!(from_header_form(&header), Some(name));
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Message::parse(&bytes);
        }

        #[test]
        fn what_is_written_anew_is_the_same_message(id in prop::option::of(any::<i32>()), method in "\\PC{1,40}", text in "\\PC{0,40}") {
            let params = Some(Json::object([("a", Json::Text(text)), ("b", Json::Array(vec![Json::Int(1), Json::Null]))]));
            let message = Message { id: id.map(|id| RequestId::Int(id.into())), method, params };
            prop_assume!(message.method.len() <= METHOD_BYTES_MAX);
            prop_assert_eq!(Message::parse(&message.clone().encode()).unwrap(), message);
        }
    }
}
