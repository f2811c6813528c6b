//! The way to one edge: its address as people write it, and a connection to it.
//!
//! Beyond this machine it is TLS, to a certificate that leads to an authority which the caller names; which edge of the
//! mesh answers there is not said by it. Whoever speaks to an edge as a holder goes this way: the sidecar, and the
//! commands that register and cut. Clauses G-64, G-80.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use remit_common::limits::CONFIG_BYTES_MAX;
use remit_common::net::env::{Env, deadline};
use remit_common::net::http::{HttpClient, HttpFailed};
use remit_common::net::https::{CannotCall, ClientTls, TlsFault};

use crate::failure::{Exit, Failure};
use crate::files;

/// How long one of several addresses of a name may take to be connected to.
const CONNECTS_WITHIN: Duration = Duration::from_secs(3);

/// The address of an edge, as people write it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EdgeUrl {
    is_tls: bool,
    host: String,
    port: u16,
}

impl FromStr for EdgeUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let uri: http::Uri =
            text.parse().map_err(|_| "not a URL; give the edge's address, http://HOST:PORT or https://HOST:PORT")?;
        let is_tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err("not an edge's address; it begins with http:// or https://".to_owned()),
        };
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err("a path; give the edge's address alone, without one".to_owned());
        }
        let authority = uri.authority().ok_or("no host")?;
        if authority.as_str().contains('@') {
            return Err("a user; the envelope is all that an edge asks for".to_owned());
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let is_here = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        if !is_tls && !is_here {
            return Err("plain HTTP beyond this machine, where anybody on the way could read and change it; give \
                        https://HOST:PORT, and the edge's authority with --edge-ca"
                .to_owned());
        }
        Ok(Self { is_tls, host, port: authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 }) })
    }
}

impl EdgeUrl {
    /// Host and port, as a request names them.
    pub(crate) fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for EdgeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority())
    }
}

/// Whom to believe that it is an edge, on the command line.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct EdgeCa {
    /// The certificates (PEM) of the authorities of edges behind TLS
    #[arg(long = "edge-ca", value_name = "FILE")]
    file: Option<PathBuf>,
}

impl EdgeCa {
    /// The certificates to which those of these edges have to lead, in PEM.
    pub(crate) fn read(&self, env: &Env, urls: &[EdgeUrl]) -> Result<Vec<u8>, Failure> {
        let far = urls.iter().find(|url| url.is_tls);
        let (Some(path), Some(url)) = (&self.file, far) else {
            return match far {
                Some(url) => {
                    Err(Failure::new(Exit::Usage, format!("`{url}` is behind TLS, and nobody vouches for it"))
                        .hint("name the file (PEM) with the certificate of its authority with --edge-ca FILE"))
                }
                None => Ok(Vec::new()),
            };
        };
        let authorities = files::read(env, path, CONFIG_BYTES_MAX)?;
        // Read here once, so that whoever is wrong hears of the file and not of a connection.
        ClientTls::from_pem(env, &authorities, &url.host, None).map_err(|error| {
            let file = Failure::caused(Exit::Usage, &error);
            let message = format!("`{}` does not say whom to believe: {}", path.display(), file.message);
            Failure::new(Exit::Usage, message)
                .hint("--edge-ca takes a PEM file with the certificate of the authority that issues the edges'")
        })?;
        Ok(authorities)
    }
}

/// One edge, as far as a connection goes.
#[derive(Debug)]
pub(crate) struct Reach {
    env: Env,
    client: HttpClient,
    url: EdgeUrl,
}

/// There is no answer from an edge.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotReached {
    /// Its host's name means nothing here.
    #[error("the name of its host leads nowhere")]
    Name(#[source] std::io::Error),
    /// Its host's name means another machine, and there is no TLS.
    #[error("its name is not one of this machine")]
    Elsewhere,
    /// No connection or no answer.
    #[error(transparent)]
    Http(#[from] HttpFailed),
}

impl Reach {
    /// `authorities`: the certificates, in PEM, to which the edge's has to lead, if it is behind TLS. Answers have at
    /// most `bytes_max` bytes.
    pub(crate) fn new(env: &Env, url: EdgeUrl, authorities: &[u8], bytes_max: usize) -> Result<Self, CannotCall> {
        let client = if url.is_tls {
            HttpClient::with_tls(env, bytes_max, ClientTls::from_pem(env, authorities, &url.host, None)?)
        } else {
            HttpClient::new(env, bytes_max)
        };
        Ok(Self { env: env.clone(), client, url })
    }

    pub(crate) fn url(&self) -> &EdgeUrl {
        &self.url
    }

    pub(super) fn client(&self) -> &HttpClient {
        &self.client
    }

    /// Where it is now.
    pub(super) async fn addr(&self) -> Result<SocketAddr, NotReached> {
        let EdgeUrl { is_tls, host, port } = &self.url;
        let mut found = self.env.socket.resolve(host, *port).await.map_err(NotReached::Name)?;
        // What a name means somebody else says: without TLS it has to be this machine.
        found.retain(|addr| *is_tls || addr.ip().is_loopback());
        // A name may have an address at which nobody listens, such as that of the other IP version.
        if let [_, _, ..] = found.as_slice() {
            for addr in &found {
                if let Ok(Ok(_)) = deadline(CONNECTS_WITHIN, self.env.socket.connect(*addr)).await {
                    return Ok(*addr);
                }
            }
        }
        found.into_iter().next().ok_or(NotReached::Elsewhere)
    }

    /// Asks once, without an envelope.
    pub(crate) async fn send(&self, request: Request<Bytes>, within: Duration) -> Result<Response<Bytes>, NotReached> {
        let to = self.addr().await?;
        Ok(self.client.send(to, request, within).await?)
    }

    /// Says what went wrong on the way to this edge, and what to do where a certificate is the reason.
    pub(crate) fn told(&self, error: &(dyn std::error::Error + 'static)) -> String {
        let host = &self.url.host;
        let mut cause = Some(error);
        while let Some(each) = cause {
            let fault = match (each.downcast_ref::<HttpFailed>(), each.downcast_ref::<NotReached>()) {
                (Some(failed), _) | (None, Some(NotReached::Http(failed))) => failed.tls_fault(),
                _ => None,
            };
            let Some(fault) = fault else {
                cause = each.source();
                continue;
            };
            return match fault {
                TlsFault::Authority => {
                    "its certificate does not lead to an authority of --edge-ca; name the file (PEM) \
                                        with the certificate of the authority that issued it"
                        .to_owned()
                }
                TlsFault::Name => {
                    format!("its certificate is not for `{host}`; call it by a name that stands in its certificate")
                }
                TlsFault::Time => {
                    "its certificate is not valid at this time; have it renewed, or set this machine's clock".to_owned()
                }
                TlsFault::NoTls => {
                    "no TLS is spoken there; is it the edge's listener for agents, and is it http://?".to_owned()
                }
            };
        }
        Failure::caused(Exit::Failed, error).message
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edge_is_named_by_its_address_and_plain_http_stays_on_this_machine() {
        for (text, shown) in [
            ("http://127.0.0.1:7511", "http://127.0.0.1:7511"),
            ("http://localhost:7511/", "http://localhost:7511"),
            ("http://[::1]:7511", "http://[::1]:7511"),
            ("https://edge.example", "https://edge.example:443"),
            ("https://192.0.2.1:7511", "https://192.0.2.1:7511"),
        ] {
            assert_eq!(text.parse::<EdgeUrl>().unwrap().to_string(), shown);
        }
        for text in [
            "127.0.0.1:7511",
            "http://10.0.0.1:7511",
            "http://edge.example:7511",
            "http://localhost.example:7511",
            "http://127.0.0.1:7511/mcp",
            "http://127.0.0.1:7511/?a",
            "http://a@127.0.0.1:7511",
            "file:///x",
            "",
        ] {
            assert!(text.parse::<EdgeUrl>().is_err(), "{text}");
        }
    }
}
