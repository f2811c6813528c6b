//! HTTP on Env's sockets: a server that bounds connections, headers and time, and a client that bounds bodies and
//! time and follows no redirect.

use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bytes::Bytes;

use super::env::{Env, Listener};
use super::tasks::Shutdown;

/// Bounds of a server.
#[derive(Debug, Clone)]
pub struct ServeLimits {
    /// Connections at the same time; one more is closed at once, and counted.
    pub connections_max: usize,
    /// From the first byte of a request to the end of its headers.
    pub header_timeout: Duration,
    /// Bytes of a request body; a longer one is 413 before it is read.
    pub body_bytes_max: usize,
    /// How long open requests may go on after shutdown was requested.
    pub grace: Duration,
}

/// What a server has seen.
#[derive(Debug, Default)]
pub struct ServeCounters {
    /// Connections served.
    pub accepted: AtomicU64,
    /// Connections closed at once, because there were too many.
    pub shed: AtomicU64,
}

/// The address of the peer of a request, as an extension of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerAddr(pub SocketAddr);

/// Serves `router` until shutdown is requested and open requests are done.
pub async fn serve(
    _env: &Env,
    _listener: Box<dyn Listener>,
    _router: axum::Router,
    _limits: ServeLimits,
    _counters: &ServeCounters,
    _shutdown: &Shutdown,
) {
    todo!()
}

/// A request brought no response.
#[derive(Debug, thiserror::Error)]
pub enum HttpFailed {
    /// The peer cannot be reached, and nothing of the request was sent.
    #[error("cannot connect to `{addr}`")]
    Unreachable {
        /// Where.
        addr: SocketAddr,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The deadline passed; whether the peer has acted is unknown.
    #[error("no complete response in time")]
    Deadline,
    /// The response is longer than the bound.
    #[error("the response is longer than {bytes_max} bytes")]
    TooLong {
        /// The bound.
        bytes_max: usize,
    },
    /// The exchange broke; whether the peer has acted is unknown.
    #[error("the exchange broke")]
    Broken(#[from] hyper::Error),
}

/// Makes requests, and keeps a few connections for the next ones. Cloning gives the same client.
#[derive(Debug, Clone)]
pub struct HttpClient {
    env: Env,
    body_bytes_max: usize,
}

impl HttpClient {
    /// A client that takes response bodies of up to `body_bytes_max` bytes.
    #[must_use]
    pub fn new(env: &Env, body_bytes_max: usize) -> Self {
        Self { env: env.clone(), body_bytes_max }
    }

    /// Sends a request (origin form, with `Host`) to `to` and collects the response. A request is sent at most once:
    /// when it is unknown whether the peer has acted, the answer is an error.
    ///
    /// # Errors
    /// [`HttpFailed`].
    pub async fn send(
        &self,
        _to: SocketAddr,
        _request: http::Request<Bytes>,
        _within: Duration,
    ) -> Result<http::Response<Bytes>, HttpFailed> {
        let _ = (&self.env, self.body_bytes_max);
        todo!()
    }
}
