//! The calling end.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;

use super::HEADERS_BYTES_MAX;
use crate::net::env::{Env, deadline};
use crate::net::https::{ClientTls, TlsFault};

/// Connections kept for the next request, per address. More calls than this at the same time open more and close them
/// after.
const IDLE_MAX: usize = 32;
/// Addresses with kept connections. A gateway's upstreams and a voter's peers are far fewer.
const ADDRESSES_MAX: usize = 256;

/// A request brought no response.
#[derive(Debug, thiserror::Error)]
pub enum HttpFailed {
    /// The peer cannot be reached. Nothing of the request was sent.
    #[error("cannot connect to `{addr}`")]
    Unreachable {
        /// Where.
        addr: SocketAddr,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The connection was gone before anything of the request was sent.
    #[error("the connection closed before the request was sent")]
    Unsent(#[source] hyper::Error),
    /// The deadline passed; whether the peer has acted is unknown.
    #[error("no complete response in time")]
    Deadline,
    /// The response is longer than the bound; the peer has acted.
    #[error("the response is longer than {bytes_max} bytes")]
    TooLong {
        /// The bound.
        bytes_max: usize,
    },
    /// The exchange broke; whether the peer has acted is unknown.
    #[error("the exchange broke")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl HttpFailed {
    /// Whether it is certain that the peer never saw the request.
    #[must_use]
    pub fn is_unsent(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Unsent(_) => true,
            Self::Deadline | Self::TooLong { .. } | Self::Broken(_) => false,
        }
    }

    /// What is wrong with the TLS of the peer, if that is why it cannot be reached.
    #[must_use]
    pub fn tls_fault(&self) -> Option<TlsFault> {
        match self {
            Self::Unreachable { source, .. } => TlsFault::of(source),
            Self::Unsent(_) | Self::Deadline | Self::TooLong { .. } | Self::Broken(_) => None,
        }
    }
}

type Sender = SendRequest<Full<Bytes>>;

/// Hears a response while it arrives: its head, and a piece of its body.
pub type Hear<'a> = dyn FnMut(&http::response::Parts, &Bytes) + Send + 'a;

/// Makes requests, and keeps a few connections for the next ones. Cloning gives the same client.
#[derive(Clone)]
pub struct HttpClient {
    env: Env,
    body_bytes_max: usize,
    tls: Option<ClientTls>,
    idle: Arc<Mutex<BTreeMap<SocketAddr, Vec<Sender>>>>,
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HttpClient")
    }
}

/// A connection on which one request may be sent now.
pub struct Connected {
    client: HttpClient,
    addr: SocketAddr,
    sender: Sender,
    /// It was used before, so that the peer may have closed it meanwhile.
    is_kept: bool,
}

impl fmt::Debug for Connected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connected({})", self.addr)
    }
}

impl HttpClient {
    /// A client that takes response bodies of up to `body_bytes_max` bytes.
    #[must_use]
    pub fn new(env: &Env, body_bytes_max: usize) -> Self {
        Self { env: env.clone(), body_bytes_max, tls: None, idle: Arc::default() }
    }

    /// One whose connections all are TLS, to the one server that `tls` names.
    #[must_use]
    pub fn with_tls(env: &Env, body_bytes_max: usize, tls: ClientTls) -> Self {
        Self { tls: Some(tls), ..Self::new(env, body_bytes_max) }
    }

    /// Sends a request (origin form, with `Host`) to `to` and collects the response. A request is sent at most once:
    /// another connection is tried only when nothing of it went out.
    ///
    /// # Errors
    /// [`HttpFailed`].
    pub async fn send(
        &self,
        to: SocketAddr,
        request: http::Request<Bytes>,
        within: Duration,
    ) -> Result<http::Response<Bytes>, HttpFailed> {
        let exchange = async {
            loop {
                let connected = self.connected(to).await?;
                let is_kept = connected.is_kept;
                match connected.exchange(request.clone(), &mut |_, _| {}).await {
                    // The peer closed a kept connection; each try uses one up, so this ends with a fresh one.
                    Err(HttpFailed::Unsent(_)) if is_kept => {}
                    other => return other,
                }
            }
        };
        deadline(within, exchange).await.unwrap_or(Err(HttpFailed::Deadline))
    }

    /// Takes or opens a connection, for a caller that wants to do something between that and the first byte.
    ///
    /// # Errors
    /// [`HttpFailed::Unreachable`], also when it took too long.
    pub async fn connect(&self, to: SocketAddr, within: Duration) -> Result<Connected, HttpFailed> {
        let late = |passed| HttpFailed::Unreachable {
            addr: to,
            source: std::io::Error::new(std::io::ErrorKind::TimedOut, passed),
        };
        deadline(within, self.connected(to)).await.map_err(late)?
    }

    async fn connected(&self, to: SocketAddr) -> Result<Connected, HttpFailed> {
        while let Some(mut sender) = self.take(to) {
            if !sender.is_closed() && sender.ready().await.is_ok() {
                return Ok(Connected { client: self.clone(), addr: to, sender, is_kept: true });
            }
        }
        let unreachable = |source| HttpFailed::Unreachable { addr: to, source };
        let stream = self.env.socket.connect(to).await.map_err(unreachable)?;
        let stream = match &self.tls {
            None => stream,
            Some(tls) => tls.connect(stream).await.map_err(unreachable)?,
        };
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(HEADERS_BYTES_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| unreachable(std::io::Error::other(error)))?;
        // It ends when the sender is dropped or the peer closes; whoever waits for a response hears of a fault there.
        drop(self.env.spawn_named("http client connection", async move { drop(connection.await) }));
        Ok(Connected { client: self.clone(), addr: to, sender, is_kept: false })
    }

    fn take(&self, to: SocketAddr) -> Option<Sender> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&to)?.pop()
    }

    fn keep(&self, to: SocketAddr, sender: Sender) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() >= ADDRESSES_MAX && !idle.contains_key(&to) {
            idle.clear();
        }
        let senders = idle.entry(to).or_default();
        senders.retain(|sender| !sender.is_closed());
        if senders.len() < IDLE_MAX {
            senders.push(sender);
        }
    }
}

impl Connected {
    /// Whether it was used before, so that the peer may have closed it meanwhile.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.is_kept
    }

    /// Sends the request and collects the response.
    ///
    /// # Errors
    /// [`HttpFailed`]; after [`HttpFailed::Unsent`] the caller may connect again.
    pub async fn send(
        self,
        request: http::Request<Bytes>,
        within: Duration,
    ) -> Result<http::Response<Bytes>, HttpFailed> {
        self.send_and_hear(request, within, &mut |_, _| {}).await
    }

    /// As [`Self::send`], and `hear` is given each piece of the body with the response's head, as it arrives.
    ///
    /// # Errors
    /// [`HttpFailed`].
    pub async fn send_and_hear(
        self,
        request: http::Request<Bytes>,
        within: Duration,
        hear: &mut Hear<'_>,
    ) -> Result<http::Response<Bytes>, HttpFailed> {
        deadline(within, self.exchange(request, hear)).await.unwrap_or(Err(HttpFailed::Deadline))
    }

    async fn exchange(
        self,
        request: http::Request<Bytes>,
        hear: &mut Hear<'_>,
    ) -> Result<http::Response<Bytes>, HttpFailed> {
        let (head, mut incoming) = self.open(request).await?.into_parts();
        let mut body = Vec::new();
        while let Some(piece) = incoming.piece().await? {
            hear(&head, &piece);
            body.extend_from_slice(&piece);
        }
        Ok(http::Response::from_parts(head, body.into()))
    }

    /// Sends the request and gives the response as soon as its head is there; the body comes in pieces. How long each
    /// takes is for the caller to bound. Dropping it before its end closes the connection.
    ///
    /// # Errors
    /// [`HttpFailed`]; after [`HttpFailed::Unsent`] the caller may connect again.
    pub async fn open(mut self, request: http::Request<Bytes>) -> Result<http::Response<Pieces>, HttpFailed> {
        let bytes_max = self.client.body_bytes_max;
        let response = self.sender.try_send_request(request.map(Full::new)).await.map_err(|mut failed| {
            // The library gives the request back exactly when nothing of it was written.
            if failed.take_message().is_some() {
                HttpFailed::Unsent(failed.into_error())
            } else {
                HttpFailed::Broken(failed.into_error().into())
            }
        })?;
        if usize::try_from(response.body().size_hint().lower()).map_or(true, |len| len > bytes_max) {
            return Err(HttpFailed::TooLong { bytes_max });
        }
        Ok(response.map(|body| Pieces { body: Limited::new(body, bytes_max), of: Some(self), bytes_max }))
    }
}

/// The body of a response, as it arrives.
pub struct Pieces {
    body: Limited<Incoming>,
    /// Kept for the next request once the body has ended.
    of: Option<Connected>,
    bytes_max: usize,
}

impl fmt::Debug for Pieces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pieces(of {:?})", self.of)
    }
}

impl Pieces {
    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// [`HttpFailed::TooLong`] or [`HttpFailed::Broken`].
    pub async fn piece(&mut self) -> Result<Option<Bytes>, HttpFailed> {
        loop {
            let Some(frame) = self.body.frame().await else {
                if let Some(Connected { client, addr, sender, is_kept: _ }) = self.of.take() {
                    client.keep(addr, sender);
                }
                return Ok(None);
            };
            let frame = frame.map_err(|error| {
                let bytes_max = self.bytes_max;
                if error.is::<LengthLimitError>() {
                    HttpFailed::TooLong { bytes_max }
                } else {
                    HttpFailed::Broken(error)
                }
            })?;
            if let Ok(data) = frame.into_data() {
                return Ok(Some(data));
            }
        }
    }
}
