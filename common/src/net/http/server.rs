//! The serving end.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use axum::extract::DefaultBodyLimit;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::rt::Executor;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::sync::watch;

use super::HEADERS_BYTES_MAX;
use super::callers::{Callers, Offered, Progress};
use super::patient::Patient;
use crate::crypto::sign::PublicKey;
use crate::net::env::{BoxStream, Env, Listener};
use crate::net::https::ServerTls;
use crate::net::tasks::{Shutdown, TaskGroup};

/// Requests under way on one HTTP/2 connection.
const STREAMS_MAX: u32 = 64;
/// After the kernel refused to accept (no file handles, say), it is asked again this much later.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Bounds of a server.
#[derive(Debug, Clone)]
pub struct ServeLimits {
    /// Connections at the same time; one more is closed at once, and counted.
    pub connections_max: usize,
    /// Connections of one source at the same time, callers on loopback aside; one more is closed at once, and counted.
    /// `None`: as many as of all.
    pub connections_per_source_max: Option<usize>,
    /// How long a caller may take nothing of an answer that is on its way, before its connection is closed: that happens
    /// between once and twice this long after it has last taken some.
    pub stall_timeout: Duration,
    /// How long a connection may go without a request under way, and a request without the end of its headers.
    pub header_timeout: Duration,
    /// Bytes of a request body; a longer one is answered with 413.
    pub body_bytes_max: usize,
    /// From the first look at a request body to its end.
    pub body_timeout: Duration,
    /// How long open requests may go on after shutdown was requested.
    pub grace: Duration,
}

impl Default for ServeLimits {
    fn default() -> Self {
        Self {
            connections_max: 1_024,
            connections_per_source_max: None,
            stall_timeout: Duration::from_secs(30),
            header_timeout: Duration::from_secs(30),
            body_bytes_max: 64 * 1024,
            body_timeout: Duration::from_secs(30),
            grace: Duration::from_secs(10),
        }
    }
}

/// What a server has seen.
#[derive(Debug, Default)]
pub struct ServeCounters {
    /// Connections served.
    pub accepted: AtomicU64,
    /// Connections closed at once, because there were too many.
    pub shed: AtomicU64,
    /// Connections closed at once, because there were too many of their source.
    pub shed_by_source: AtomicU64,
    /// Connections closed because the caller took nothing of its answer.
    pub stalled: Arc<AtomicU64>,
    /// Connections whose handler panicked.
    pub panicked: AtomicU64,
}

/// The address of the peer of a request, as an extension of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerAddr(pub SocketAddr);

/// The key of the client certificate of a request's connection, as an extension of the request: the TLS handshake, which
/// ended in this process, has shown that the peer has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerKey(pub PublicKey);

/// Serves `router` over HTTP/1.1 and HTTP/2 until shutdown is requested and open requests are done.
pub async fn serve(
    env: &Env,
    listener: Box<dyn Listener>,
    router: axum::Router,
    limits: ServeLimits,
    counters: &ServeCounters,
    shutdown: &Shutdown,
) {
    serve_tls(env, listener, None, router, limits, counters, shutdown).await;
}

/// As [`serve`], over TLS where there is what it takes.
pub async fn serve_tls(
    env: &Env,
    mut listener: Box<dyn Listener>,
    tls: Option<ServerTls>,
    router: axum::Router,
    limits: ServeLimits,
    counters: &ServeCounters,
    shutdown: &Shutdown,
) {
    // The bound is enforced below for every handler; axum's own would be a second one, for some.
    let router = router.layer(DefaultBodyLimit::disable());
    let mut connections = TaskGroup::new(env);
    let callers = Callers::new(limits.connections_per_source_max);
    loop {
        tokio::select! {
            biased;
            () = shutdown.requested() => break,
            Some((_, ended)) = connections.next_finished(), if !connections.is_empty() => {
                if ended.is_err() {
                    counters.panicked.fetch_add(1, Ordering::Relaxed);
                }
            }
            accepted = listener.accept() => match accepted {
                Ok(_) if connections.len() >= limits.connections_max => {
                    counters.shed.fetch_add(1, Ordering::Relaxed);
                }
                Ok((stream, peer)) => {
                    let Some(place) = callers.place(peer.ip()) else {
                        counters.shed_by_source.fetch_add(1, Ordering::Relaxed);
                        continue;
                    };
                    counters.accepted.fetch_add(1, Ordering::Relaxed);
                    let (env, router, limits, shutdown) = (env.clone(), router.clone(), limits.clone(), shutdown.clone());
                    let (tls, stalled) = (tls.clone(), Arc::clone(&counters.stalled));
                    connections.spawn("http connection", async move {
                        // Whoever cannot finish a handshake has heard why from TLS.
                        if let Some((stream, key)) = secured(tls, stream, &shutdown).await
                            && connection(env, stream, (peer, key), router, limits, shutdown).await == Ended::Stalled
                        {
                            stalled.fetch_add(1, Ordering::Relaxed);
                        }
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
    drop(listener);
    connections.join_all(limits.grace).await;
}

async fn secured(
    tls: Option<ServerTls>,
    stream: BoxStream,
    shutdown: &Shutdown,
) -> Option<(BoxStream, Option<PublicKey>)> {
    let Some(tls) = tls else { return Some((stream, None)) };
    tokio::select! {
        biased;
        () = shutdown.requested() => None,
        secured = tls.accept(stream) => secured.ok(),
    }
}

/// How a connection ended.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    /// By the peer, or with everything said.
    Done,
    /// The peer took nothing of its answer.
    Stalled,
}

async fn connection(
    env: Env,
    stream: BoxStream,
    peer: (SocketAddr, Option<PublicKey>),
    router: axum::Router,
    limits: ServeLimits,
    shutdown: Shutdown,
) -> Ended {
    let progress = Arc::new(Progress::default());
    // Each request counts, and holds a receiver while it is under way.
    let requests = Arc::new(watch::Sender::new(0u64));
    let handler = {
        let (requests, limits, router) = (requests.clone(), limits.clone(), TowerToHyperService::new(router));
        let progress = Arc::clone(&progress);
        service_fn(move |request| {
            requests.send_modify(|count| *count = count.wrapping_add(1));
            handle(request, peer, router.clone(), (requests.subscribe(), Arc::clone(&progress)), limits.clone())
        })
    };
    let mut builder = Builder::new(EnvExecutor(env));
    // The `Date` header would be the one thing here that reads a clock.
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(HEADERS_BYTES_MAX)
        .auto_date_header(false);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(u32::try_from(HEADERS_BYTES_MAX).unwrap_or(u32::MAX))
        .auto_date_header(false);
    let has_given_up = Arc::new(AtomicBool::new(false));
    let stream = Patient::new(stream, limits.stall_timeout, Arc::clone(&has_given_up));
    let mut serving = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), handler));
    let (mut leaving, mut seen) = (false, 0);
    let mut idle = std::pin::pin!(tokio::time::sleep(limits.header_timeout));
    let mut stall = std::pin::pin!(tokio::time::sleep(limits.stall_timeout));
    let mut offered = None;
    loop {
        tokio::select! {
            biased;
            // Faults of the peer end here; a client that goes away is no event.
            _ = serving.as_mut() => {
                return if has_given_up.load(Ordering::Relaxed) { Ended::Stalled } else { Ended::Done };
            }
            () = shutdown.requested(), if !leaving => {
                leaving = true;
                serving.as_mut().graceful_shutdown();
            }
            () = stall.as_mut() => {
                let mark = progress.mark();
                if mark.is_some() && mark == offered {
                    return Ended::Stalled;
                }
                offered = mark;
                stall.set(tokio::time::sleep(limits.stall_timeout));
            }
            () = idle.as_mut() => {
                let count = *requests.borrow();
                if requests.receiver_count() > 0 || count != seen {
                    seen = count;
                } else if leaving {
                    return Ended::Done;
                } else {
                    leaving = true;
                    serving.as_mut().graceful_shutdown();
                }
                idle.set(tokio::time::sleep(limits.header_timeout));
            }
        }
    }
}

async fn handle(
    request: Request<Incoming>,
    (peer, key): (SocketAddr, Option<PublicKey>),
    router: TowerToHyperService<axum::Router>,
    (under_way, progress): (watch::Receiver<u64>, Arc<Progress>),
    limits: ServeLimits,
) -> Result<Response, std::convert::Infallible> {
    let too_long = u64::try_from(limits.body_bytes_max).is_ok_and(|max| request.body().size_hint().lower() > max);
    if too_long {
        return Ok(StatusCode::PAYLOAD_TOO_LARGE.into_response());
    }
    let mut request = request.map(|body| {
        Body::new(TimedBody {
            body: Box::pin(Limited::new(body, limits.body_bytes_max)),
            timer: None,
            timeout: limits.body_timeout,
        })
    });
    request.extensions_mut().insert(PeerAddr(peer));
    if let Some(key) = key {
        request.extensions_mut().insert(PeerKey(key));
    }
    let response = router.call(request).await?;
    // The request is under way until the last byte of its response.
    Ok(response.map(|body| {
        let body = Body::new(body.map_frame(move |frame| {
            let _ = &under_way;
            frame
        }));
        Body::new(Offered::new(body, progress))
    }))
}

/// A request body that fails when it takes too long.
struct TimedBody {
    body: Pin<Box<Limited<Incoming>>>,
    timer: Option<Pin<Box<tokio::time::Sleep>>>,
    timeout: Duration,
}

/// A request body took too long.
#[derive(Debug, thiserror::Error)]
#[error("the request body took too long")]
struct BodyTooSlow;

impl HttpBody for TimedBody {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Poll::Ready(frame) = self.body.as_mut().poll_frame(context) {
            return Poll::Ready(frame);
        }
        let timeout = self.timeout;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        ready!(timer.as_mut().poll(context));
        Poll::Ready(Some(Err(Box::new(BodyTooSlow))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// HTTP/2 runs each request as a task of its own; these belong to Env as well.
#[derive(Clone)]
struct EnvExecutor(Env);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for EnvExecutor {
    fn execute(&self, task: F) {
        // It ends with its connection, so that nobody has to hold it.
        drop(self.0.spawn_named("http2 stream", task));
    }
}
