//! The headers of an MCP request against its body.
//!
//! Proxies on the way route by these headers without reading the body; policy reads the body alone. A request in
//! which the two differ means two things to two readers, so it is refused, never reconciled. Clauses G-5 to G-7.

use http::HeaderMap;
use remit_common::net::mcp::{
    Code, META_CAPABILITIES, META_VERSION, METHOD_HEADER, Message, NAME_HEADER, PARAM_PREFIX, PROTOCOL_VERSION,
    VERSION_HEADER, from_header_form as decoded,
};
use remit_common::policy::json::Json;

/// The headers do not say what the body says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HeaderFault {
    #[error("the header `{0}` is missing")]
    Missing(String),
    #[error("the header `{0}` stands there twice, or is not text")]
    Unreadable(String),
    #[error("the header `{0}` differs from the body")]
    Differs(String),
    #[error("protocol version `{requested}` is not supported")]
    UnsupportedVersion { requested: String },
    #[error("`_meta` lacks `{0}`")]
    MetaMissing(&'static str),
}

impl HeaderFault {
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::Missing(_) | Self::Unreadable(_) | Self::Differs(_) => Code::HeaderMismatch,
            Self::UnsupportedVersion { .. } => Code::UnsupportedProtocolVersion,
            Self::MetaMissing(_) => Code::InvalidParams,
        }
    }

    /// What the client needs to do better.
    pub(crate) fn data(&self) -> Option<Json> {
        let Self::UnsupportedVersion { requested } = self else { return None };
        Some(Json::object([
            ("supported", Json::Array(vec![Json::text(PROTOCOL_VERSION)])),
            ("requested", Json::text(requested.as_str())),
        ]))
    }
}

/// Checks revision, method and name.
///
/// # Errors
/// [`HeaderFault`].
pub(crate) fn check(headers: &HeaderMap, message: &Message) -> Result<(), HeaderFault> {
    let version = sole(headers, VERSION_HEADER)?;
    let in_body = message.meta(META_VERSION).and_then(Json::as_text);
    let version = version.ok_or_else(|| HeaderFault::Missing(VERSION_HEADER.to_owned()))?;
    if in_body.is_some_and(|in_body| in_body != version) {
        return Err(HeaderFault::Differs(VERSION_HEADER.to_owned()));
    }
    if version != PROTOCOL_VERSION {
        return Err(HeaderFault::UnsupportedVersion { requested: version.chars().take(64).collect() });
    }
    let is_request = message.id.is_some();
    match sole(headers, METHOD_HEADER)? {
        Some(method) if method != message.method => return Err(HeaderFault::Differs(METHOD_HEADER.to_owned())),
        None if is_request => return Err(HeaderFault::Missing(METHOD_HEADER.to_owned())),
        Some(_) | None => {}
    }
    if is_request && in_body.is_none() {
        return Err(HeaderFault::MetaMissing(META_VERSION));
    }
    if is_request && !matches!(message.meta(META_CAPABILITIES), Some(Json::Object(_))) {
        return Err(HeaderFault::MetaMissing(META_CAPABILITIES));
    }
    if let Some(key) = message.named() {
        let in_body = message.param(key).and_then(Json::as_text);
        let Some(header) = sole(headers, NAME_HEADER)? else {
            return Err(HeaderFault::Missing(NAME_HEADER.to_owned()));
        };
        if decoded(header).as_deref() != in_body {
            return Err(HeaderFault::Differs(NAME_HEADER.to_owned()));
        }
    }
    Ok(())
}

/// Checks the `Mcp-Param-*` headers that the tool's schema asks for by `x-mcp-header`. Others mean nothing here.
///
/// # Errors
/// [`HeaderFault`].
pub(crate) fn check_params(headers: &HeaderMap, schema: &Json, arguments: &Json) -> Result<(), HeaderFault> {
    if headers.keys().any(|name| name.as_str().starts_with(PARAM_PREFIX)) {
        check_annotations(headers, schema, Some(arguments))?;
    }
    Ok(())
}

fn check_annotations(headers: &HeaderMap, schema: &Json, value: Option<&Json>) -> Result<(), HeaderFault> {
    for (property, inner) in schema.get("properties").and_then(Json::as_object).unwrap_or_default() {
        let value = value.and_then(|value| value.get(property));
        if let Some(suffix) = inner.get("x-mcp-header").and_then(Json::as_text) {
            let name = format!("{PARAM_PREFIX}{}", suffix.to_ascii_lowercase());
            // Only a header that is there can mislead somebody; the body is judged in any case.
            if let Some(header) = sole(headers, &name)?
                && decoded(header) != value.and_then(primitive)
            {
                return Err(HeaderFault::Differs(name));
            }
        }
        check_annotations(headers, inner, value)?;
    }
    Ok(())
}

fn primitive(value: &Json) -> Option<String> {
    match value {
        Json::Text(text) => Some(text.clone()),
        Json::Bool(value) => Some(value.to_string()),
        Json::Int(value) => Some(value.to_string()),
        Json::Null | Json::Float(_) | Json::Number(_) | Json::Array(_) | Json::Object(_) => None,
    }
}

/// The one value of a header, as printable text.
fn sole<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, HeaderFault> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(HeaderFault::Unreadable(name.to_owned()));
    }
    value.to_str().map(Some).map_err(|_| HeaderFault::Unreadable(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};
    use remit_common::policy::json;

    use super::*;

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        lines
            .iter()
            .map(|(name, value)| {
                (name.parse::<HeaderName>().unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap())
            })
            .collect()
    }

    fn call(name: &str) -> Message {
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{name}","_meta":{{"{META_VERSION}":"2026-07-28","{META_CAPABILITIES}":{{}}}}}}}}"#
        );
        Message::parse(body.as_bytes()).unwrap()
    }

    #[test]
    fn what_a_proxy_reads_is_what_policy_reads() {
        let good = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/call"), ("mcp-name", "crm.read")];
        let check_with = |changed: &[(&str, &str)], dropped: &str, expected: Result<(), HeaderFault>| {
            let mut lines: Vec<(&str, &str)> = good.iter().copied().filter(|(name, _)| *name != dropped).collect();
            lines.extend(changed);
            assert_eq!(check(&headers(&lines), &call("crm.read")), expected, "{changed:?} without {dropped}");
        };
        let differs = |name: &str| Err(HeaderFault::Differs(name.to_owned()));
        let missing = |name: &str| Err(HeaderFault::Missing(name.to_owned()));
        let unreadable = |name: &str| Err(HeaderFault::Unreadable(name.to_owned()));
        check_with(&[], "", Ok(()));
        check_with(&[("mcp-name", "=?base64?Y3JtLnJlYWQ=?=")], "mcp-name", Ok(()));
        check_with(&[("mcp-name", "=?base64?Y3JtLnJlYWQ?=")], "mcp-name", differs("mcp-name"));
        check_with(&[("mcp-name", "billing.update")], "mcp-name", differs("mcp-name"));
        check_with(&[("mcp-name", "crm.read")], "", unreadable("mcp-name"));
        check_with(&[], "mcp-name", missing("mcp-name"));
        check_with(&[], "mcp-method", missing("mcp-method"));
        check_with(&[("mcp-method", "tools/list")], "mcp-method", differs("mcp-method"));
        check_with(&[("mcp-method", "caf\u{e9}")], "mcp-method", unreadable("mcp-method"));
        check_with(&[], "mcp-protocol-version", missing("mcp-protocol-version"));
        check_with(&[("mcp-protocol-version", "2025-11-25")], "mcp-protocol-version", differs("mcp-protocol-version"));
    }

    #[test]
    fn another_revision_is_told_which_one_is_spoken() {
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{{"_meta":{{"{META_VERSION}":"2031-01-01"}}}}}}"#
        );
        let message = Message::parse(body.as_bytes()).unwrap();
        let fault = check(&headers(&[("mcp-protocol-version", "2031-01-01")]), &message).unwrap_err();
        assert_eq!(fault.code().number(), -32_022);
        assert_eq!(
            fault.data().map(|data| json::encode_text(&data)).unwrap(),
            r#"{"supported":["2026-07-28"],"requested":"2031-01-01"}"#
        );
    }

    #[test]
    fn parameters_that_travel_as_headers_are_checked() {
        let schema = json::parse(
            br#"{"properties":{"region":{"type":"string","x-mcp-header":"Region"},"in":{"properties":{"n":{"x-mcp-header":"N"}}}}}"#,
            json::Mode::Protocol,
        )
        .unwrap();
        let arguments = json::parse(br#"{"region":"eu","in":{"n":5}}"#, json::Mode::Arguments).unwrap();
        let check_with = |lines: &[(&str, &str)], expected: Result<(), HeaderFault>| {
            assert_eq!(check_params(&headers(lines), &schema, &arguments), expected, "{lines:?}");
        };
        check_with(&[], Ok(()));
        check_with(&[("mcp-param-region", "eu"), ("mcp-param-n", "5"), ("mcp-param-other", "x")], Ok(()));
        check_with(&[("mcp-param-region", "us")], Err(HeaderFault::Differs("mcp-param-region".to_owned())));
        check_with(&[("mcp-param-n", "6")], Err(HeaderFault::Differs("mcp-param-n".to_owned())));
    }
}
