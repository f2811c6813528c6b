//! A server that offers tools, and how a credential is put into a request to it.

use std::str::FromStr;

use crate::crypto::digest::Digest;
use crate::id::UpstreamName;
use crate::policy::json::{Json, encode};

/// Headers that say where a request goes or how long it is. A credential never stands in one of them.
const HEADERS_OF_THE_TRANSPORT: [&str; 12] = [
    "host",
    "connection",
    "content-length",
    "content-type",
    "content-encoding",
    "transfer-encoding",
    "te",
    "trailer",
    "upgrade",
    "expect",
    "accept",
    "accept-encoding",
];

/// A server behind the edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// How descriptors name it.
    pub name: UpstreamName,
    /// Where it answers: scheme, host, port and path. Nothing of it ever comes from a request.
    pub url: String,
    /// How a credential is put into a request; `None` for a server that wants none.
    pub inject: Option<Injection>,
    /// What it speaks.
    pub protocol: Protocol,
}

/// Before the name of a program.
const STDIO: &str = "stdio:";

/// What a server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// MCP over HTTP, in the stateless revision.
    #[default]
    Mcp,
    /// MCP over HTTP, in the revisions that begin with `initialize`.
    McpWithSessions,
    /// MCP over standard input and output of a program that each edge starts.
    Stdio,
    /// Plain HTTP: each tool says how its calls are requests.
    Http,
}

impl FromStr for Protocol {
    type Err = InvalidUpstream;

    fn from_str(text: &str) -> Result<Self, InvalidUpstream> {
        match text {
            "mcp" => Ok(Self::Mcp),
            "mcp-2025" => Ok(Self::McpWithSessions),
            "stdio" => Ok(Self::Stdio),
            "http" => Ok(Self::Http),
            _ => Err(InvalidUpstream::Protocol),
        }
    }
}

/// How a credential is put into a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Injection {
    /// The header, in lower case.
    pub header: String,
    /// The header's value, in which `{}` stands for the credential.
    pub format: String,
}

/// A declaration of an upstream that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUpstream {
    /// Not `http://host[:port]/path`.
    #[error("an upstream's address is `http://host:port/path`, without user, query and fragment, or `stdio:program`")]
    Url,
    /// A program has no headers.
    #[error("an upstream with `stdio:program` has no header that a credential could stand in")]
    NoHeaders,
    /// A plain connection to somewhere else than this machine.
    #[error("an upstream is on loopback: connections to other machines need TLS, which upstreams do not have yet")]
    NotLoopback,
    /// Not a header name, or one that belongs to the transport.
    #[error("this header cannot carry a credential")]
    Header,
    /// None of the four.
    #[error("an upstream speaks `mcp`, `mcp-2025`, `stdio` or `http`")]
    Protocol,
    /// A format without exactly one `{}`, or with characters that no header holds.
    #[error("the format holds `{{}}` once, where the credential goes, and printable ASCII besides")]
    Format,
}

impl Upstream {
    /// Checks a declaration.
    ///
    /// # Errors
    /// [`InvalidUpstream`] says which part of it cannot be used.
    pub fn new(name: UpstreamName, url: &str, inject: Option<Injection>) -> Result<Self, InvalidUpstream> {
        if let Some(program) = url.strip_prefix(STDIO) {
            let is_name = UpstreamName::new(program).is_ok();
            return match inject {
                None if is_name => Ok(Self { name, url: url.to_owned(), inject: None, protocol: Protocol::Stdio }),
                None => Err(InvalidUpstream::Url),
                Some(_) => Err(InvalidUpstream::NoHeaders),
            };
        }
        let rest = url.strip_prefix("http://").ok_or(InvalidUpstream::Url)?;
        let (authority, path) = rest.split_once('/').ok_or(InvalidUpstream::Url)?;
        let (host, port) = split_port(authority).ok_or(InvalidUpstream::Url)?;
        let plain = path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._~-".contains(&byte));
        if !plain || path.split('/').any(|segment| segment == "." || segment == "..") || port == Some(0) {
            return Err(InvalidUpstream::Url);
        }
        if !["127.0.0.1", "localhost", "[::1]"].contains(&host) {
            return Err(InvalidUpstream::NotLoopback);
        }
        let inject = inject.map(Injection::checked).transpose()?;
        Ok(Self { name, url: url.to_owned(), inject, protocol: Protocol::default() })
    }

    /// Scheme, host and port: what a sealed credential is bound to.
    #[must_use]
    pub fn origin(&self) -> &str {
        let scheme = "http://".len();
        let path = self.url.get(scheme..).and_then(|rest| rest.find('/'));
        path.and_then(|path| self.url.get(..scheme + path)).unwrap_or(&self.url)
    }

    /// The name of the program, as edges configure it.
    #[must_use]
    pub fn program(&self) -> Option<&str> {
        self.url.strip_prefix(STDIO)
    }

    /// Host and port, as the `host` header and a connection want them.
    #[must_use]
    pub fn authority(&self) -> &str {
        self.origin().trim_start_matches("http://")
    }

    /// The path, starting with `/`.
    #[must_use]
    pub fn path(&self) -> &str {
        self.url.get(self.origin().len()..).unwrap_or("/")
    }

    /// Clause P-12: what a sealed credential is bound to, so that no later bundle sends it elsewhere or in another
    /// header. SHA-256 over compact JSON with sorted keys.
    #[must_use]
    pub fn profile_digest(&self) -> Digest {
        Digest::of(&[&self.profile()])
    }

    /// The JSON that [`Self::profile_digest`] hashes.
    #[must_use]
    pub fn profile(&self) -> Vec<u8> {
        let part = |text: Option<&String>| text.map_or(Json::Null, Json::text);
        let mut members = vec![
            ("format".to_owned(), part(self.inject.as_ref().map(|inject| &inject.format))),
            ("header".to_owned(), part(self.inject.as_ref().map(|inject| &inject.header))),
            ("origin".to_owned(), Json::text(self.origin())),
        ];
        // What was sealed for tools behind one path must not open every path of the server.
        if self.protocol == Protocol::Http {
            members.push(("protocol".to_owned(), Json::text("http")));
        }
        encode(&Json::Object(members))
    }
}

impl Injection {
    fn checked(self) -> Result<Self, InvalidUpstream> {
        let header = self.header.to_ascii_lowercase();
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        let named = (1..=64).contains(&header.len()) && header.bytes().all(token);
        if !named || HEADERS_OF_THE_TRANSPORT.contains(&header.as_str()) {
            return Err(InvalidUpstream::Header);
        }
        let printable = self.format.len() <= 128 && self.format.bytes().all(|byte| (0x20..=0x7e).contains(&byte));
        if !printable || self.format.matches("{}").count() != 1 {
            return Err(InvalidUpstream::Format);
        }
        Ok(Self { header, format: self.format })
    }

    /// What stands before and after the credential.
    #[must_use]
    pub fn around(&self) -> (&str, &str) {
        self.format.split_once("{}").unwrap_or((&self.format, ""))
    }
}

fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let bracket = authority.starts_with('[').then(|| authority.find(']').map(|end| end + 1));
    let end = bracket.unwrap_or_else(|| Some(authority.find(':').unwrap_or(authority.len())))?;
    let (host, rest) = authority.split_at_checked(end)?;
    match rest.strip_prefix(':') {
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => Some((host, Some(port.parse().ok()?))),
        None if rest.is_empty() => Some((host, None)),
        _ => None,
    }
}
