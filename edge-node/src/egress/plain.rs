//! A permitted call of a tool that is plain HTTP: the request that was judged, and what its answer is.
//!
//! An answer becomes the result that an MCP server would have given, so that one filter sees all of them: an object is the
//! structured content, any other JSON stands under `body`, a text is content. Clauses G-94 and G-95.

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, HOST};
use http::{Request, StatusCode, Version};
use remit_common::policy::catalogue::http::HttpParts;
use remit_common::policy::json::{self, Json, Mode};

use super::CallFailed;
use super::reply::{Reply, UnusableReply, essence};
use crate::pep::Permit;

/// Where an answer stands that is no object.
const BODY_MEMBER: &str = "body";

/// Statuses by which a server says what is wrong with a call, and not with itself or with the credential.
const REFUSALS: [StatusCode; 7] = [
    StatusCode::BAD_REQUEST,
    StatusCode::NOT_FOUND,
    StatusCode::CONFLICT,
    StatusCode::GONE,
    StatusCode::PRECONDITION_FAILED,
    StatusCode::UNPROCESSABLE_ENTITY,
    StatusCode::TOO_MANY_REQUESTS,
];

/// The request, without the credential.
pub(super) fn build(permit: &Permit, parts: &HttpParts) -> Result<Request<Bytes>, CallFailed> {
    let HttpParts { path, query, body } = parts;
    let nonsense = CallFailed::NotBuilt("the bundle's tool does not make a request");
    let Some(http) = &permit.tool().http else { return Err(nonsense) };
    let below = permit.upstream().path().trim_end_matches('/');
    let query = query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
    let mut request = Request::builder()
        .method(http.method.as_str())
        .version(Version::HTTP_11)
        .uri(format!("{below}{path}{query}"))
        .header(HOST, permit.upstream().authority())
        .header(ACCEPT, "application/json, text/plain")
        .header(ACCEPT_ENCODING, "identity");
    if body.is_some() {
        request = request.header(CONTENT_TYPE, "application/json");
    }
    request.body(body.clone().map(Bytes::from).unwrap_or_default()).map_err(|_| nonsense)
}

/// Whether a server with this status has answered the call.
pub(super) fn is_answer(status: StatusCode) -> bool {
    status.is_success() || REFUSALS.contains(&status)
}

/// Reads an answer.
///
/// # Errors
/// [`UnusableReply`].
pub(super) fn parse(status: StatusCode, content_type: Option<&[u8]>, body: &[u8]) -> Result<Reply, UnusableReply> {
    if !status.is_success() {
        return Ok(Reply::Error { code: status.as_u16().into() });
    }
    let text =
        |text: String| Json::Array(vec![Json::object([("type", Json::text("text")), ("text", Json::Text(text))])]);
    if body.is_empty() {
        let nothing = ("structuredContent", Json::Object(Vec::new()));
        return Ok(Reply::Result(Json::object([("content", Json::Array(Vec::new())), nothing])));
    }
    let essence = essence(content_type).to_ascii_lowercase();
    if essence == b"application/json" || essence.ends_with(b"+json") {
        // Names and numbers are judged where structured content is.
        let structured = match json::parse(body, Mode::Document)? {
            object @ Json::Object(_) => object,
            other => Json::object([(BODY_MEMBER, other)]),
        };
        let shown = text(json::encode_text(&structured));
        return Ok(Reply::Result(Json::object([("content", shown), ("structuredContent", structured)])));
    }
    if essence == b"text/plain" && is_utf8(content_type) {
        let shown = str::from_utf8(body).map_err(|_| UnusableReply::ContentType)?;
        // The credential is searched for in what is read here, and nobody is to read it in another way.
        if shown.chars().any(|c| c.is_control() && !['\t', '\r', '\n'].contains(&c)) {
            return Err(UnusableReply::ContentType);
        }
        return Ok(Reply::Result(Json::object([("content", text(shown.to_owned()))])));
    }
    Err(UnusableReply::ContentType)
}

/// Whether a text says that it is UTF-8, or nothing else.
fn is_utf8(content_type: Option<&[u8]>) -> bool {
    let mut parameters = content_type.unwrap_or_default().split(|b| *b == b';').skip(1);
    parameters.all(|parameter| {
        let parameter = parameter.trim_ascii().to_ascii_lowercase();
        let charset = parameter.strip_prefix(b"charset=".as_slice()).map(|charset| charset.trim_ascii());
        charset.is_none_or(|charset| [&b"utf-8"[..], b"\"utf-8\"", b"us-ascii"].contains(&charset))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(status: u16, kind: &str, body: &str) -> Result<Reply, UnusableReply> {
        parse(StatusCode::from_u16(status).unwrap(), Some(kind.as_bytes()), body.as_bytes())
    }

    #[test]
    fn an_answer_is_the_result_that_a_server_of_mcp_would_have_given() {
        let structured = |kind: &str, body: &str| match parsed(200, kind, body) {
            Ok(Reply::Result(result)) => result.get("structuredContent").map(json::encode_text),
            other => panic!("{body}: {other:?}"),
        };
        assert_eq!(structured("application/json; charset=utf-8", r#"{"a":1}"#).as_deref(), Some(r#"{"a":1}"#));
        assert_eq!(structured("application/problem+json", "[1]").as_deref(), Some(r#"{"body":[1]}"#));
        assert_eq!(structured("application/json", "").as_deref(), Some("{}"));
        assert_eq!(structured("text/plain", "words"), None);
        assert_eq!(structured("text/plain; Charset=UTF-8", "words\r\n"), None);
        assert_eq!(parsed(404, "text/html", "<secret>"), Ok(Reply::Error { code: 404 }));
        assert_eq!(parsed(200, "application/octet-stream", "x"), Err(UnusableReply::ContentType));
        assert!(matches!(parsed(200, "application/json", r#"{"a":1,"a":2}"#), Err(UnusableReply::Json(_))));
    }

    /// The credential is searched for in the bytes; a text that is read in another way could hide it.
    #[test]
    fn a_text_in_another_encoding_is_no_answer() {
        for (kind, body) in [
            ("text/plain; charset=utf-16le", "k\0e\0y\0"),
            ("text/plain", "k\0e\0y\0"),
            ("text/plain; charset=iso-8859-1", "key"),
            ("text/html", "&#x6b;ey"),
            ("text/xml", "&#x6b;ey"),
            ("text/event-stream", "data: key"),
            ("text/plain; charset=utf-7", "+AGsAZQB5-"),
        ] {
            assert_eq!(parsed(200, kind, body), Err(UnusableReply::ContentType), "{kind}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(
            status in 100u16..600,
            kind in proptest::collection::vec(proptest::num::u8::ANY, 0..40),
            body in proptest::collection::vec(proptest::num::u8::ANY, 0..200),
        ) {
            let status = StatusCode::from_u16(status).unwrap();
            for kind in [&kind[..], b"application/json", b"text/plain"] {
                let _ = parse(status, Some(kind), &body);
            }
        }
    }

    #[test]
    fn what_is_wrong_with_the_server_or_the_credential_is_no_answer() {
        for status in [301, 401, 403, 407, 500, 503] {
            assert!(!is_answer(StatusCode::from_u16(status).unwrap()), "{status}");
        }
    }
}
