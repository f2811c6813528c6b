//! A tool that is plain HTTP: how its arguments travel in a request, and which request is a call of it.
//!
//! A path template has whole segments, each either written out or one argument; what is left travels in the query or, as
//! one JSON object, in the body. Both ways lead through the same template, and what one makes the other takes apart
//! again: a value that would make another call of a request is refused, never escaped into shape. Clauses P-58 to P-60.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::{Catalogue, Protocol, Tool, Upstream};
use crate::policy::arguments::shape;
use crate::policy::engines::cedar::Shape;
use crate::policy::json::{Json, Mode, encode, parse};

/// Segments of a template.
const SEGMENTS_MAX: usize = 32;
/// Bytes of a value in a path or query.
const VALUE_BYTES_MAX: usize = 1_024;
/// Methods that tools may have.
const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];

/// How a call is a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpCall {
    /// `GET`, `POST`, `PUT`, `PATCH` or `DELETE`.
    pub method: String,
    /// Below the upstream's own path.
    pub path: PathTemplate,
    /// Arguments that travel in the query, in this order.
    pub query: Vec<String>,
    /// Whether all other arguments travel as a JSON object in the body.
    pub body: bool,
}

/// A path in which whole segments are arguments: `/contracts/{contract_id}/notes`.
#[derive(Clone, PartialEq, Eq)]
pub struct PathTemplate(Vec<Segment>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Written(String),
    Argument(String),
}

/// A text is no path template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a path template: `/` and whole segments, each of letters, digits, `.`, `_`, `~` and `-`, or `{{argument}}`"
)]
pub struct InvalidTemplate(pub String);

/// Arguments that cannot travel in a request of this tool, or a request that is no call of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoRequest {
    /// An argument that the path needs is not there, or no text or number.
    #[error("an argument of the path is missing, or neither a text nor a whole number")]
    PathArgument,
    /// A value that a path could be misread with.
    #[error(
        "an argument of the path is empty, too long, `.` or `..`, or has a slash, a backslash, `%` or a control character"
    )]
    PathValue,
    /// The path would be that of another tool.
    #[error("with these arguments the path is that of another tool")]
    AnotherTool,
    /// An argument of the query that is no scalar.
    #[error("an argument of the query is no text, number or boolean, or too long")]
    QueryArgument,
    /// Arguments that have no place.
    #[error("the tool takes no body, and an argument is in neither path nor query")]
    NoPlace,
    /// A query that is not `name=value` joined by `&`, or names an argument twice.
    #[error("the query is malformed, or names an argument twice")]
    Query,
    /// A body where there is to be none, or that is no JSON object, or names what the path or the query says.
    #[error("the body is not what the tool takes")]
    Body,
    /// A value that is not of the type that the tool's schema says.
    #[error("an argument is not of the type that the tool's schema says")]
    Type,
}

/// The request of a call, below the upstream's own path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpParts {
    /// Begins with `/`; percent-encoded.
    pub path: String,
    /// Percent-encoded; `None` for none.
    pub query: Option<String>,
    /// JSON.
    pub body: Option<Vec<u8>>,
}

impl FromStr for PathTemplate {
    type Err = InvalidTemplate;

    fn from_str(text: &str) -> Result<Self, InvalidTemplate> {
        let invalid = || InvalidTemplate(text.chars().take(128).collect());
        let segments = text.strip_prefix('/').ok_or_else(invalid)?;
        if segments.is_empty() {
            return Ok(Self(Vec::new()));
        }
        let read = |segment: &str| match segment.strip_prefix('{').and_then(|inner| inner.strip_suffix('}')) {
            Some(name) if is_name(name) => Some(Segment::Argument(name.to_owned())),
            None if is_written(segment) => Some(Segment::Written(segment.to_owned())),
            _ => None,
        };
        let segments: Vec<Segment> = segments.split('/').map(read).collect::<Option<_>>().ok_or_else(invalid)?;
        let names = || segments.iter().filter_map(Segment::argument);
        let distinct = names().enumerate().all(|(at, name)| names().take(at).all(|other| other != name));
        if segments.len() > SEGMENTS_MAX || !distinct { Err(invalid()) } else { Ok(Self(segments)) }
    }
}

impl fmt::Display for PathTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("/");
        }
        self.0.iter().try_for_each(|segment| match segment {
            Segment::Written(text) => write!(f, "/{text}"),
            Segment::Argument(name) => write!(f, "/{{{name}}}"),
        })
    }
}

impl fmt::Debug for PathTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PathTemplate({self})")
    }
}

impl Segment {
    fn argument(&self) -> Option<&str> {
        match self {
            Self::Argument(name) => Some(name),
            Self::Written(_) => None,
        }
    }
}

/// An argument's name, as a URL and a pointer take it as it is.
pub(super) fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
}

fn is_written(text: &str) -> bool {
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._~-".contains(&byte));
    plain && !["", ".", ".."].contains(&text)
}

impl PathTemplate {
    /// The arguments in it, in order.
    pub fn arguments(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(Segment::argument)
    }

    /// The segments as they are written out; `None` for an argument.
    fn written(&self) -> impl Iterator<Item = Option<&str>> {
        self.0.iter().map(|segment| match segment {
            Segment::Written(text) => Some(text.as_str()),
            Segment::Argument(_) => None,
        })
    }

    /// The values of its arguments in these segments, decoded; `None` if the path is another one.
    fn values<'p>(&self, segments: &'p [String]) -> Option<Vec<(&str, &'p str)>> {
        if segments.len() != self.0.len() {
            return None;
        }
        let mut values = Vec::new();
        for (segment, found) in self.0.iter().zip(segments) {
            match segment {
                Segment::Written(text) if text == found => {}
                Segment::Written(_) => return None,
                Segment::Argument(name) => values.push((name.as_str(), found.as_str())),
            }
        }
        Some(values)
    }
}

/// Which of these tools a request calls: the one with the most precise template, from the left.
pub fn tool_called_by<'t>(
    tools: impl Iterator<Item = &'t Arc<Tool>>,
    method: &str,
    segments: &[String],
) -> Option<(&'t Arc<Tool>, &'t HttpCall)> {
    let fitting = tools.filter_map(|tool| {
        let http = tool.http.as_ref()?;
        (http.method == method && http.path.values(segments).is_some()).then_some((tool, http))
    });
    // What is written out comes before what is an argument.
    fitting.min_by_key(|(_, http)| http.path.written().map(|written| written.is_none()).collect::<Vec<_>>())
}

/// The segments of a path that follows the upstream's name, decoded once.
///
/// # Errors
/// [`NoRequest::PathValue`].
pub fn segments(path: &str) -> Result<Vec<String>, NoRequest> {
    let path = path.strip_prefix('/').unwrap_or(path);
    if path.is_empty() {
        return Ok(Vec::new());
    }
    let segments = path.split('/').take(SEGMENTS_MAX + 1);
    segments
        .map(|segment| decoded(segment, false).filter(|value| is_value(value)).ok_or(NoRequest::PathValue))
        .collect()
}

/// What may stand in a path without ever being read as something else.
fn is_value(value: &str) -> bool {
    (1..=VALUE_BYTES_MAX).contains(&value.len())
        && value != "."
        && value != ".."
        && !value.chars().any(|c| c.is_control() || ['/', '\\', '%'].contains(&c))
}

impl HttpCall {
    /// Whether nobody could tell calls of the two tools apart: the same requests, to servers that pay no regard to case.
    pub(super) fn is_same_as(&self, of: &Upstream, other: &Self, of_other: &Upstream) -> bool {
        let (one, two) = (whole(of, &self.path), whole(of_other, &other.path));
        let same = |(one, two): (&Option<&str>, &Option<&str>)| match (one, two) {
            (Some(one), Some(two)) => one.eq_ignore_ascii_case(two),
            (None, None) => true,
            _ => false,
        };
        of.origin() == of_other.origin()
            && self.method == other.method
            && one.len() == two.len()
            && one.iter().zip(&two).all(same)
    }

    /// Whether a request with these segments, below the upstream's own path, could be taken for one of something else that
    /// the same server offers. Servers differ in whether case counts in a path.
    fn is_of_another(&self, tool: &Tool, catalogue: &Catalogue, segments: &[String]) -> bool {
        let Some(upstream) = catalogue.upstreams.get(&tool.upstream) else { return true };
        let path: Vec<&str> = base(upstream).chain(segments.iter().map(String::as_str)).collect();
        let precision = |template: &[Option<&str>]| template.iter().map(Option::is_none).collect::<Vec<_>>();
        let own = precision(&whole(upstream, &self.path));
        let of_a_tool = catalogue.tools.values().filter(|other| other.name != tool.name).any(|other| {
            let Some((http, of)) = other.http.as_ref().zip(catalogue.upstreams.get(&other.upstream)) else {
                return false;
            };
            let template = whole(of, &http.path);
            let fits = |(written, segment): (&Option<&str>, &&str)| {
                written.is_none_or(|written| written.eq_ignore_ascii_case(segment))
            };
            of.origin() == upstream.origin()
                && http.method == self.method
                && template.len() == path.len()
                && template.iter().zip(&path).all(fits)
                && precision(&template) <= own
        });
        let of_mcp = catalogue.upstreams.values().any(|of| {
            let same = |(one, two): (&str, &&str)| one.eq_ignore_ascii_case(two);
            of.protocol != Protocol::Http
                && of.origin() == upstream.origin()
                && base(of).count() == path.len()
                && base(of).zip(&path).all(same)
        });
        of_a_tool || of_mcp
    }

    /// Whether it is one of these methods.
    #[must_use]
    pub fn is_method(text: &str) -> bool {
        METHODS.contains(&text)
    }

    /// The arguments that have a place of their own.
    pub fn placed(&self) -> impl Iterator<Item = &str> {
        self.path.arguments().chain(self.query.iter().map(String::as_str))
    }

    /// The arguments of a request, as policy judges them: what the path, the query and the body say, in the types of the
    /// tool's schema.
    ///
    /// # Errors
    /// [`NoRequest`].
    pub fn arguments(
        &self,
        schema: &Json,
        segments: &[String],
        query: Option<&str>,
        body: &[u8],
    ) -> Result<Json, NoRequest> {
        let values = self.path.values(segments).ok_or(NoRequest::PathArgument)?;
        let mut members = Vec::new();
        for (name, value) in values {
            members.push((name.to_owned(), typed(schema, name, value)?));
        }
        for pair in query.filter(|query| !query.is_empty()).into_iter().flat_map(|query| query.split('&')) {
            let (name, value) = pair.split_once('=').ok_or(NoRequest::Query)?;
            let (name, value) = (decoded(name, true), decoded(value, true));
            let (name, value) = name.zip(value).ok_or(NoRequest::Query)?;
            // What the tool does not take in its query has no other way in.
            if !self.query.contains(&name) || members.iter().any(|(known, _)| *known == name) {
                return Err(NoRequest::Query);
            }
            if value.len() > VALUE_BYTES_MAX {
                return Err(NoRequest::QueryArgument);
            }
            members.push((name.clone(), typed(schema, &name, &value)?));
        }
        match (self.body, body.is_empty()) {
            (_, true) => {}
            (false, false) => return Err(NoRequest::Body),
            (true, false) => {
                let Ok(Json::Object(inner)) = parse(body, Mode::Protocol) else { return Err(NoRequest::Body) };
                if inner.iter().any(|(name, _)| self.placed().any(|placed| placed == name)) {
                    return Err(NoRequest::Body);
                }
                members.extend(inner);
            }
        }
        Ok(Json::Object(members))
    }

    /// The request of a call of `tool`, which this is the call of.
    ///
    /// # Errors
    /// [`NoRequest`]; above all where a value would make it another call.
    pub fn request(&self, tool: &Tool, catalogue: &Catalogue, arguments: &Json) -> Result<HttpParts, NoRequest> {
        let mut segments = Vec::new();
        for segment in &self.path.0 {
            segments.push(match segment {
                Segment::Written(text) => text.clone(),
                Segment::Argument(name) => match arguments.get(name) {
                    Some(Json::Text(text)) => text.clone(),
                    Some(Json::Int(number)) => number.to_string(),
                    _ => return Err(NoRequest::PathArgument),
                },
            });
        }
        if segments.iter().any(|segment| !is_value(segment)) {
            return Err(NoRequest::PathValue);
        }
        if self.is_of_another(tool, catalogue, &segments) {
            return Err(NoRequest::AnotherTool);
        }
        for (name, text) in self.path.values(&segments).ok_or(NoRequest::PathArgument)? {
            self.check_spelling(tool, arguments, (name, text))?;
        }
        let path = segments.iter().fold(String::new(), |path, segment| format!("{path}/{}", encoded(segment)));
        let mut query = Vec::new();
        for name in &self.query {
            let text = match arguments.get(name) {
                None => continue,
                Some(Json::Text(text)) if text.len() <= VALUE_BYTES_MAX => text.clone(),
                Some(Json::Int(number)) => number.to_string(),
                Some(Json::Bool(value)) => value.to_string(),
                Some(_) => return Err(NoRequest::QueryArgument),
            };
            self.check_spelling(tool, arguments, (name, &text))?;
            query.push(format!("{}={}", encoded(name), encoded(&text)));
        }
        let rest = arguments.as_object().unwrap_or_default().iter();
        let rest: Vec<_> = rest.filter(|(name, _)| !self.placed().any(|placed| placed == name)).cloned().collect();
        if !self.body && !rest.is_empty() {
            return Err(NoRequest::NoPlace);
        }
        Ok(HttpParts {
            path: if path.is_empty() { "/".to_owned() } else { path },
            query: (!query.is_empty()).then(|| query.join("&")),
            body: self.body.then(|| encode(&Json::Object(rest))),
        })
    }

    /// A URL has no types: what was judged has to be what is read from it again, or `"030"` would be judged and 30 be read.
    fn check_spelling(&self, tool: &Tool, arguments: &Json, (name, text): (&str, &str)) -> Result<(), NoRequest> {
        let read = typed(&tool.input_schema, name, text)?;
        if arguments.get(name) == Some(&read) { Ok(()) } else { Err(NoRequest::Type) }
    }
}

/// The segments of an upstream's own path.
fn base(upstream: &Upstream) -> impl Iterator<Item = &str> {
    upstream.path().split('/').filter(|segment| !segment.is_empty())
}

/// A template with what its upstream has before it, as servers see it.
fn whole<'a>(upstream: &'a Upstream, path: &'a PathTemplate) -> Vec<Option<&'a str>> {
    base(upstream).map(Some).chain(path.written()).collect()
}

/// What a value of this argument is, in a path or a query; `None` for what has no place there.
pub(super) fn placed_as(schema: &Json, name: &str) -> Option<Shape> {
    let property = schema.get("properties").and_then(|properties| properties.get(name));
    let Some(property) = property.filter(|property| property.as_object() != Some(&[])) else {
        return Some(Shape::Text);
    };
    shape(property).filter(|shape| matches!(shape, Shape::Text | Shape::Long | Shape::Bool))
}

/// A text of a URL, as the schema types it.
fn typed(schema: &Json, name: &str, text: &str) -> Result<Json, NoRequest> {
    match placed_as(schema, name) {
        Some(Shape::Long) => {
            let number: i64 = text.parse().map_err(|_| NoRequest::Type)?;
            // One spelling, so that nothing is the same number as something else.
            if number.to_string() == text && number.unsigned_abs() < 1 << 53 {
                Ok(Json::Int(number))
            } else {
                Err(NoRequest::Type)
            }
        }
        Some(Shape::Bool) => match text {
            "true" => Ok(Json::Bool(true)),
            "false" => Ok(Json::Bool(false)),
            _ => Err(NoRequest::Type),
        },
        Some(Shape::Text) => Ok(Json::text(text)),
        Some(_) | None => Err(NoRequest::Type),
    }
}

/// Percent-decoded once; `None` for what is no UTF-8 or has half an escape. In a query `+` is a space.
fn decoded(text: &str, is_query: bool) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digit =
                    |byte: Option<u8>| char::from(byte?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                let (high, low) = (digit(rest.next())?, digit(rest.next())?);
                high << 4 | low
            }
            b'+' if is_query => b' ',
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

/// Everything but unreserved characters percent-encoded (RFC 3986 section 2.3).
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
