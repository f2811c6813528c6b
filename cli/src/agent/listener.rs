//! The sidecar over HTTP: `POST /mcp` for MCP, `POST /v1/children` for an envelope for another agent.
//!
//! Nothing is remembered between two requests, so there is no session to be given, lost or stolen: `Mcp-Session-Id` is
//! neither made nor read. Clauses G-61, G-67 and G-68.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{any, post};
use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::unfold;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use http::{HeaderMap, Method, Request, StatusCode};
use remit_common::limits::AGENT_BODY_BYTES_MAX;
use remit_common::net::env::{Env, Listener};
use remit_common::net::http::{ServeCounters, ServeLimits, serve};
use remit_common::net::progress::event;
use remit_common::net::tasks::Shutdown;
use tokio::sync::{Semaphore, mpsc};

use super::children::NoChild;
use super::eras::Reply;
use super::gate::{Gate, Outside};
use super::sidecar::{Job, Sidecar, Work};

/// Connections at the same time: one agent.
const CONNECTIONS_MAX: usize = 128;
/// Requests at the same time, of all connections together.
pub(super) const UNDER_WAY_MAX: usize = 64;
/// Notes of progress that wait for an agent to read; what is more is left out.
const NOTES_WAIT_MAX: usize = 16;

/// Where the sidecar listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum At {
    /// A port of this machine.
    Port(SocketAddr),
    /// A Unix socket.
    Path(PathBuf),
}

impl FromStr for At {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() {
                Err("no path behind `unix:`".to_owned())
            } else {
                Ok(Self::Path(path.into()))
            };
        }
        let text = text.strip_prefix("localhost:").map_or_else(|| text.to_owned(), |port| format!("127.0.0.1:{port}"));
        let addr: SocketAddr =
            text.parse().map_err(|_| "neither an address of this machine (127.0.0.1:7800) nor unix:PATH")?;
        if !addr.ip().is_loopback() {
            return Err("not an address of this machine alone: whoever reaches the sidecar acts with its envelope. \
                        Listen at 127.0.0.1:PORT, [::1]:PORT or unix:PATH, and run one sidecar beside each agent"
                .to_owned());
        }
        Ok(Self::Port(addr))
    }
}

struct Front {
    sidecar: Arc<Sidecar>,
    gate: Gate,
    under_way: Arc<Semaphore>,
}

/// Serves until shutdown is requested.
pub(crate) async fn listen(
    env: &Env,
    listener: Box<dyn Listener>,
    sidecar: Arc<Sidecar>,
    gate: Gate,
    shutdown: &Shutdown,
) {
    let front = Arc::new(Front { sidecar, gate, under_way: Arc::new(Semaphore::new(UNDER_WAY_MAX)) });
    let router = axum::Router::new()
        .route("/mcp", any(mcp))
        .route("/v1/children", post(children))
        .layer(from_fn_with_state(Arc::clone(&front), admit))
        .with_state(front);
    let limits = ServeLimits {
        connections_max: CONNECTIONS_MAX,
        header_timeout: Duration::from_secs(60),
        body_bytes_max: AGENT_BODY_BYTES_MAX,
        body_timeout: Duration::from_secs(10),
        grace: Duration::from_secs(2),
        ..ServeLimits::default()
    };
    serve(env, listener, router, limits, &ServeCounters::default(), shutdown).await;
}

async fn admit(State(front): State<Arc<Front>>, request: Request<Body>, next: Next) -> Response {
    let outside = match front.gate.check(&request) {
        Ok(()) => return next.run(request).await,
        Err(outside) => outside,
    };
    tracing::warn!(%outside, "a request was turned away");
    let mut response = (outside.status(), format!("{outside}\n")).into_response();
    if outside == Outside::Secret {
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"remit agent\""));
    }
    response
}

async fn mcp(State(front): State<Arc<Front>>, request: Request<Body>) -> Response {
    if request.method() != Method::POST {
        // There is nothing that the sidecar would say by itself, and no session to end.
        return (StatusCode::METHOD_NOT_ALLOWED, [(ALLOW, "POST")]).into_response();
    }
    let (parts, body) = match read(request).await {
        Ok(read) => read,
        Err(refused) => return refused,
    };
    let job = match Work::by_http(&body, &parts) {
        Work::Done | Work::Cancel(_) => return StatusCode::ACCEPTED.into_response(),
        Work::Answer(_, job) => job,
    };
    if let Job::Told(reply) = job {
        return document(reply);
    }
    let requests = u32::try_from(job.requests()).unwrap_or(u32::MAX);
    let Ok(under_way) = Arc::clone(&front.under_way).try_acquire_many_owned(requests) else { return busy() };
    let (tell, mut told) = mpsc::channel(NOTES_WAIT_MAX);
    let mut answer = async move {
        let _under_way = under_way;
        front.sidecar.answer(job, &tell).await
    }
    .boxed();
    tokio::select! {
        biased;
        Some(first) = told.recv() => stream(Telling { ready: Some(first), told, answer: Some(answer), last: None }),
        reply = &mut answer => match reply {
            Some(reply) if told.is_empty() => document(reply),
            Some(reply) => stream(Telling { ready: None, told, answer: None, last: Some(reply) }),
            None => StatusCode::ACCEPTED.into_response(),
        },
    }
}

async fn children(State(front): State<Arc<Front>>, request: Request<Body>) -> Response {
    let body = match read(request).await {
        Ok((_, body)) => body,
        Err(refused) => return refused,
    };
    let Ok(_under_way) = front.under_way.try_acquire() else { return busy() };
    match front.sidecar.child(&body).await {
        Ok(child) => document(Reply { status: StatusCode::CREATED, body: child }),
        Err(NoChild::Asked(why)) => (StatusCode::BAD_REQUEST, format!("{why}\n")).into_response(),
        Err(NoChild::Failed(why)) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{why}\n")).into_response(),
    }
}

/// The whole body of a JSON request.
async fn read(request: Request<Body>) -> Result<(HeaderMap, Vec<u8>), Response> {
    let essence = |value: &HeaderValue| {
        let essence = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        essence.eq_ignore_ascii_case(b"application/json")
    };
    if !request.headers().get(CONTENT_TYPE).is_some_and(essence) {
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, "application/json is taken\n").into_response());
    }
    let (parts, body) = request.into_parts();
    match axum::body::to_bytes(body, AGENT_BODY_BYTES_MAX).await {
        Ok(body) => Ok((parts.headers, body.to_vec())),
        Err(_) => Err((StatusCode::PAYLOAD_TOO_LARGE, "the body is too long, or broke off\n").into_response()),
    }
}

/// An answer in events: what a tool says of its progress, and the answer itself last.
struct Telling {
    ready: Option<Vec<u8>>,
    told: mpsc::Receiver<Vec<u8>>,
    /// `None` once it has come. If the agent hangs up, nobody waits for it any more.
    answer: Option<BoxFuture<'static, Option<Reply>>>,
    last: Option<Reply>,
}

impl Telling {
    async fn next(mut self) -> Option<(Result<Bytes, Infallible>, Self)> {
        while let Some(answer) = &mut self.answer {
            if self.ready.is_some() {
                break;
            }
            tokio::select! {
                biased;
                Some(note) = self.told.recv() => self.ready = Some(note),
                reply = answer => {
                    (self.answer, self.last) = (None, reply);
                }
            }
        }
        // What was said before the answer goes out before it.
        let message = self.ready.take().or_else(|| self.told.try_recv().ok());
        let message = message.or_else(|| self.last.take().map(|reply| reply.body))?;
        Some((Ok(event(&message)), self))
    }
}

fn stream(telling: Telling) -> Response {
    let mut response = Response::new(Body::from_stream(unfold(telling, Telling::next)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn document(reply: Reply) -> Response {
    let mut response = Response::new(Body::from(reply.body));
    *response.status_mut() = reply.status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn busy() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, "too many requests at the same time\n").into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_listens_on_this_machine_alone() {
        let at = |text: &str| text.parse::<At>();
        assert_eq!(at("127.0.0.1:0"), Ok(At::Port("127.0.0.1:0".parse().unwrap())));
        assert_eq!(at("localhost:7800"), Ok(At::Port("127.0.0.1:7800".parse().unwrap())));
        assert_eq!(at("unix:/run/a.sock"), Ok(At::Path("/run/a.sock".into())));
        for refused in ["0.0.0.0:7800", "[::]:7800", "10.0.0.1:7800", "7800", "unix:", "edge.example:1"] {
            assert!(at(refused).is_err(), "{refused}");
        }
        assert!(at("0.0.0.0:7800").unwrap_err().contains("127.0.0.1:PORT"));
    }
}
