//! One HTTP exchange with an upstream.
//!
//! Addresses are resolved once and must be of this machine, because nothing protects the connection yet. What has to
//! hold at the last moment is asked when a connection is there, immediately before the first byte.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use remit_common::net::env::Env;
use remit_common::net::http::{HttpClient, HttpFailed, Pieces};

use super::{CalledOff, Reached};

/// Times that a kept connection may turn out to be closed before the call is given up.
const CONNECTIONS_TRIED_MAX: usize = 4;

/// An exchange did not end with a complete response.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExchangeFailed {
    #[error("the address of the upstream is not usable")]
    Address,
    #[error("the upstream's name does not resolve")]
    Resolve(#[source] io::Error),
    #[error("called off: {0}")]
    CalledOff(CalledOff),
    #[error("the upstream gave no response")]
    Http(#[from] HttpFailed),
}

impl ExchangeFailed {
    pub(crate) fn reached(&self) -> Reached {
        match self {
            Self::Address | Self::Resolve(_) | Self::CalledOff(_) => Reached::No,
            Self::Http(failed) if failed.is_unsent() => Reached::No,
            Self::Http(_) => Reached::Perhaps,
        }
    }
}

/// Connects, asks `check`, and only then sends; at most once. Gives the response as soon as its head is there.
pub(super) async fn exchange(
    env: &Env,
    client: &HttpClient,
    authority: &str,
    request: Request<Bytes>,
    connect_within: Duration,
    check: impl Fn() -> Result<(), CalledOff> + Send + Sync,
) -> Result<Response<Pieces>, ExchangeFailed> {
    let addr = resolve(env, authority).await?;
    let mut tried = 0;
    loop {
        let connected = client.connect(addr, connect_within).await?;
        check().map_err(ExchangeFailed::CalledOff)?;
        tried += 1;
        match connected.open(request.clone()).await {
            // A kept connection was closed meanwhile: nothing went out, and the check is asked again.
            Err(failed) if failed.is_unsent() && tried < CONNECTIONS_TRIED_MAX => {}
            answered => return Ok(answered?),
        }
    }
}

async fn resolve(env: &Env, authority: &str) -> Result<SocketAddr, ExchangeFailed> {
    let authority: http::uri::Authority = authority.parse().map_err(|_| ExchangeFailed::Address)?;
    let host = authority.host().trim_matches(['[', ']']);
    let port = authority.port_u16().unwrap_or(80);
    let addrs = env.socket.resolve(host, port).await.map_err(ExchangeFailed::Resolve)?;
    addrs.into_iter().find(|addr| addr.ip().is_loopback()).ok_or(ExchangeFailed::Address)
}
