//! Whom the local listener lets in.
//!
//! Whoever reaches the sidecar acts with its envelope. A Unix socket is its owner's by its mode; on loopback every
//! process of the machine can knock, and so can a web page in a browser: hence a secret, and a look at `Host` (which a
//! page under a name of its own, pointed here by its DNS, cannot forge) and at `Origin` (which only browsers send).
//! Clause G-68.

use std::net::SocketAddr;

use http::header::{AUTHORIZATION, HOST, ORIGIN};
use http::{HeaderMap, Request, StatusCode};
use remit_common::crypto::mac::{MacKey, TAG_BYTES};
use remit_common::crypto::secret::Secret;
use remit_common::net::env::Env;
use zeroize::Zeroizing;

/// Lets in, or not.
pub(crate) struct Gate {
    own: Option<Loopback>,
}

struct Loopback {
    port: u16,
    /// Tags are compared, so that the time it takes says nothing about the secret.
    key: MacKey,
    tag: [u8; TAG_BYTES],
}

/// Why somebody stays outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Outside {
    /// A browser's page asks.
    #[error("requests of web pages are not taken")]
    Page,
    /// Under a name that is not this machine's own.
    #[error("the request is for another host; ask 127.0.0.1")]
    Host,
    /// Without the secret.
    #[error("the secret is missing or wrong; send `Authorization: Bearer SECRET`")]
    Secret,
}

impl Outside {
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::Page | Self::Host => StatusCode::FORBIDDEN,
            Self::Secret => StatusCode::UNAUTHORIZED,
        }
    }
}

impl Gate {
    /// For a socket that only its owner can reach.
    pub(crate) fn of_owner() -> Self {
        Self { own: None }
    }

    /// For a port of this machine, and who knows the secret.
    pub(crate) fn of_port(env: &Env, addr: SocketAddr, secret: &Secret) -> Self {
        let key = MacKey::from_random(&Zeroizing::new(env.random()));
        let tag = key.tag(secret.expose());
        Self { own: Some(Loopback { port: addr.port(), key, tag }) }
    }

    pub(super) fn check<B>(&self, request: &Request<B>) -> Result<(), Outside> {
        let headers = request.headers();
        if headers.contains_key(ORIGIN) {
            return Err(Outside::Page);
        }
        let Some(own) = &self.own else { return Ok(()) };
        let mut hosts = headers.get_all(HOST).iter().map(|host| host.to_str().unwrap_or_default());
        // HTTP/2 says it in the target.
        let named = request.uri().authority().map(http::uri::Authority::as_str).or_else(|| hosts.next());
        if !named.is_some_and(|host| is_own(host, own.port)) || !hosts.all(|host| is_own(host, own.port)) {
            return Err(Outside::Host);
        }
        let shown = bearer(headers).ok_or(Outside::Secret)?;
        own.key.check(shown, &own.tag).map_err(|_| Outside::Secret)
    }
}

fn is_own(host: &str, port: u16) -> bool {
    let port = port.to_string();
    ["127.0.0.1", "[::1]", "localhost"].iter().any(|own| {
        let rest = host.get(..own.len()).filter(|name| name.eq_ignore_ascii_case(own)).and(host.get(own.len()..));
        rest.and_then(|rest| rest.strip_prefix(':')) == Some(port.as_str())
    })
}

/// What stands behind `Bearer`, if that is the one authorization.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (value, None) = (values.next()?.as_bytes(), values.next()) else { return None };
    let (scheme, rest) = value.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(lines: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::post("/mcp");
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    }

    /// Clause G-68.
    #[test]
    fn a_port_is_open_to_who_knows_the_secret_and_asks_this_machine() {
        let env = remit_common::net::real::real();
        let gate = Gate::of_port(&env, "127.0.0.1:7800".parse().unwrap(), &Secret::new(b"s3cret".to_vec()));
        let check = |lines: &[(&str, &str)], expected| assert_eq!(gate.check(&request(lines)), expected, "{lines:?}");
        let (host, secret) = (("host", "127.0.0.1:7800"), ("authorization", "Bearer s3cret"));
        check(&[host, secret], Ok(()));
        check(&[("host", "LocalHost:7800"), ("authorization", "bearer s3cret")], Ok(()));
        check(&[("host", "[::1]:7800"), secret], Ok(()));
        for wrong in ["Bearer s3cre", "Bearer s3crett", "Bearer ", "Bearer", "Basic s3cret", "", "s3cret"] {
            check(&[host, ("authorization", wrong)], Err(Outside::Secret));
        }
        check(&[host], Err(Outside::Secret));
        check(&[host, secret, secret], Err(Outside::Secret));
        for wrong in
            ["evil.example:7800", "127.0.0.1:7801", "127.0.0.1", "localhost.evil.example:7800", "", "127.0.0.1:78000"]
        {
            check(&[("host", wrong), secret], Err(Outside::Host));
        }
        check(&[secret], Err(Outside::Host));
        check(&[host, ("host", "evil.example:7800"), secret], Err(Outside::Host));
        for page in ["http://evil.example", "http://127.0.0.1:7800", "null"] {
            check(&[host, secret, ("origin", page)], Err(Outside::Page));
        }
    }

    #[test]
    fn a_socket_of_the_owner_asks_for_no_secret_and_takes_no_page() {
        let gate = Gate::of_owner();
        assert_eq!(gate.check(&request(&[("host", "anything")])), Ok(()));
        assert_eq!(gate.check(&request(&[("origin", "null")])), Err(Outside::Page));
    }
}
