//! HTTP on real sockets: what is too much is refused, and a request is never sent twice.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use axum::Router;
use axum::routing::{get, post};
use bytes::Bytes;
use http::{Request, StatusCode};
use remit_common::net::env::{BoxStream, Env};
use remit_common::net::http::{HttpClient, HttpFailed, PeerAddr, ServeCounters, ServeLimits, serve};
use remit_common::net::real::real;
use remit_common::net::tasks::{Shutdown, TaskGroup};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// No test measures time; this only ends one that hangs.
const WITHIN: Duration = Duration::from_secs(20);
const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

struct Server {
    env: Env,
    addr: SocketAddr,
    counters: Arc<ServeCounters>,
    shutdown: Shutdown,
    tasks: TaskGroup,
}

impl Server {
    fn start(router: Router, limits: ServeLimits) -> Result<Self> {
        let env = real();
        let listener = env.socket.listen(LOOPBACK)?;
        let addr = listener.local_addr();
        let (counters, shutdown) = (Arc::new(ServeCounters::default()), Shutdown::new());
        let mut tasks = TaskGroup::new(&env);
        let (of_task, seen, asked) = (env.clone(), counters.clone(), shutdown.clone());
        tasks.spawn("server", async move { serve(&of_task, listener, router, limits, &seen, &asked).await });
        Ok(Self { env, addr, counters, shutdown, tasks })
    }

    fn client(&self) -> HttpClient {
        HttpClient::new(&self.env, 1024)
    }

    async fn stop(self) -> Result<()> {
        self.shutdown.trigger();
        ensure!(self.tasks.join_all(WITHIN).await.is_empty());
        Ok(())
    }
}

fn request(method: &str, path: &str, body: impl Into<Bytes>) -> Result<Request<Bytes>> {
    Ok(Request::builder().method(method).uri(path).header("host", "localhost").body(body.into())?)
}

fn small() -> ServeLimits {
    ServeLimits { body_bytes_max: 100, ..ServeLimits::default() }
}

fn echo() -> Router {
    Router::new()
        .route("/", get(|peer: axum::Extension<PeerAddr>| async move { peer.0.0.ip().to_string() }))
        .route("/echo", post(|body: Bytes| async move { body }))
        .route("/long", get(|| async { vec![b'x'; 2_000] }))
        .route("/away", get(|| async { (StatusCode::TEMPORARY_REDIRECT, [("location", "/")]) }))
}

#[tokio::test]
async fn requests_are_answered_over_kept_connections() -> Result<()> {
    let server = Server::start(echo(), small())?;
    let client = server.client();
    for _ in 0..3 {
        let answer = client.send(server.addr, request("GET", "/", "")?, WITHIN).await?;
        assert_eq!((answer.status(), answer.body().as_ref()), (StatusCode::OK, b"127.0.0.1".as_slice()));
    }
    let answer = client.send(server.addr, request("POST", "/echo", "hello")?, WITHIN).await?;
    assert_eq!(answer.body().as_ref(), b"hello");
    ensure!(answer.headers().get("date").is_none(), "nothing here reads a clock");
    assert_eq!(server.counters.accepted.load(Ordering::SeqCst), 1);
    server.stop().await
}

#[tokio::test]
async fn bodies_beyond_the_bound_are_refused_both_ways() -> Result<()> {
    let server = Server::start(echo(), small())?;
    let client = server.client();
    let answer = client.send(server.addr, request("POST", "/echo", vec![0; 101])?, WITHIN).await?;
    assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
    let answer = client.send(server.addr, request("POST", "/echo", vec![0; 100])?, WITHIN).await?;
    assert_eq!(answer.status(), StatusCode::OK);
    // Without a stated length the bound is met on the way.
    let mut stream = server.env.socket.connect(server.addr).await?;
    let head = "POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(format!("{head}78\r\n{}\r\n0\r\n\r\n", "y".repeat(0x78)).as_bytes()).await?;
    ensure!(first_line(&mut stream).await?.contains("413"));
    let long = client.send(server.addr, request("GET", "/long", "")?, WITHIN).await;
    ensure!(matches!(long, Err(HttpFailed::TooLong { bytes_max: 1024 })), "{long:?}");
    server.stop().await
}

async fn first_line(stream: &mut BoxStream) -> Result<String> {
    let mut line = Vec::new();
    while !line.ends_with(b"\n") {
        let byte = stream.read_u8().await?;
        line.push(byte);
    }
    Ok(String::from_utf8(line)?)
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed() -> Result<()> {
    let server = Server::start(echo(), small())?;
    let answer = server.client().send(server.addr, request("GET", "/away", "")?, WITHIN).await?;
    assert_eq!(answer.status(), StatusCode::TEMPORARY_REDIRECT);
    server.stop().await
}

#[tokio::test]
async fn connections_above_the_bound_are_shed_and_counted() -> Result<()> {
    let server = Server::start(echo(), ServeLimits { connections_max: 1, ..small() })?;
    let _first = {
        let mut stream = server.env.socket.connect(server.addr).await?;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await?;
        ensure!(first_line(&mut stream).await?.contains("200"));
        stream
    };
    let mut second = server.env.socket.connect(server.addr).await?;
    let mut nothing = Vec::new();
    // Closed at once: an end, or a reset.
    let _ = second.read_to_end(&mut nothing).await;
    ensure!(nothing.is_empty());
    assert_eq!(server.counters.shed.load(Ordering::SeqCst), 1);
    server.stop().await
}

#[tokio::test]
async fn slow_loris_attack_a_client_that_sends_no_request_is_dropped() -> Result<()> {
    let limits = ServeLimits { header_timeout: Duration::from_millis(50), ..small() };
    let server = Server::start(echo(), limits)?;
    for beginning in [&b""[..], b"GET / HT", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut stream = server.env.socket.connect(server.addr).await?;
        stream.write_all(beginning).await?;
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
        ensure!(!String::from_utf8_lossy(&rest).contains("200"));
    }
    server.stop().await
}

#[tokio::test]
async fn slow_loris_attack_a_body_that_never_ends_is_cut_off() -> Result<()> {
    let limits = ServeLimits { body_timeout: Duration::from_millis(50), ..small() };
    let server = Server::start(echo(), limits)?;
    let mut stream = server.env.socket.connect(server.addr).await?;
    stream.write_all(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 50\r\n\r\nabc").await?;
    ensure!(first_line(&mut stream).await?.contains("400"));
    server.stop().await
}

#[tokio::test]
async fn a_request_that_may_have_arrived_is_not_sent_again() -> Result<()> {
    // A peer that reads a request, and hangs up.
    let env = real();
    let mut listener = env.socket.listen(LOOPBACK)?;
    let (addr, requests) = (listener.local_addr(), Arc::new(AtomicUsize::new(0)));
    let mut tasks = TaskGroup::new(&env);
    let seen = requests.clone();
    tasks.spawn("peer", async move {
        let mut answered = 0;
        while let Ok((mut stream, _)) = listener.accept().await {
            loop {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = stream.read_u8().await else { break };
                    head.push(byte);
                }
                if head.is_empty() {
                    break;
                }
                seen.fetch_add(1, Ordering::SeqCst);
                answered += 1;
                if answered != 1 {
                    break;
                }
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
            }
        }
    });
    let client = HttpClient::new(&env, 1024);
    client.send(addr, request("GET", "/", "")?, WITHIN).await?;
    let broken = client.send(addr, request("POST", "/pay", "")?, WITHIN).await;
    ensure!(matches!(&broken, Err(HttpFailed::Broken(_))), "{broken:?}");
    ensure!(broken.is_err_and(|failed| !failed.is_unsent()));
    assert_eq!(requests.load(Ordering::SeqCst), 2, "once each");
    Ok(())
}

#[tokio::test]
async fn a_kept_connection_that_the_peer_has_closed_is_replaced() -> Result<()> {
    let limits = ServeLimits { header_timeout: Duration::from_millis(50), ..small() };
    let server = Server::start(echo(), limits)?;
    let client = server.client();
    client.send(server.addr, request("GET", "/", "")?, WITHIN).await?;
    // A connection of our own that does nothing shows when the server has dropped the idle ones.
    let mut other = server.env.socket.connect(server.addr).await?;
    let _ = other.read_to_end(&mut Vec::new()).await;
    let answer = client.send(server.addr, request("GET", "/", "")?, WITHIN).await?;
    assert_eq!(answer.status(), StatusCode::OK);
    server.stop().await
}

#[tokio::test]
async fn nobody_there_is_told_apart_from_no_answer() -> Result<()> {
    let env = real();
    let listener = env.socket.listen(LOOPBACK)?;
    let addr = listener.local_addr();
    let client = HttpClient::new(&env, 1024);
    // Connected, but nobody accepts and answers.
    let late = client.send(addr, request("GET", "/", "")?, Duration::from_millis(50)).await;
    ensure!(matches!(&late, Err(HttpFailed::Deadline)), "{late:?}");
    ensure!(late.is_err_and(|failed| !failed.is_unsent()));
    drop(listener);
    let failed = client.send(addr, request("GET", "/", "")?, WITHIN).await;
    ensure!(matches!(&failed, Err(HttpFailed::Unreachable { .. })), "{failed:?}");
    ensure!(failed.is_err_and(|failed| failed.is_unsent()));
    Ok(())
}

#[tokio::test]
async fn shutdown_lets_open_requests_finish() -> Result<()> {
    let (entered, waiting) = (Arc::new(tokio::sync::Notify::new()), Arc::new(tokio::sync::Notify::new()));
    let (inside, go_on) = (entered.clone(), waiting.clone());
    let slow = get(move || async move {
        inside.notify_one();
        go_on.notified().await;
        "done"
    });
    let server = Server::start(Router::new().route("/", slow), small())?;
    let (client, addr) = (server.client(), server.addr);
    let asking = client.send(addr, request("GET", "/", "")?, WITHIN);
    let stopping = async {
        entered.notified().await;
        server.shutdown.trigger();
        waiting.notify_one();
        server.tasks.join_all(WITHIN).await
    };
    let (answer, failed) = tokio::join!(asking, stopping);
    assert_eq!(answer?.body().as_ref(), b"done");
    ensure!(failed.is_empty());
    ensure!(matches!(client.send(addr, request("GET", "/", "")?, WITHIN).await, Err(HttpFailed::Unreachable { .. })));
    Ok(())
}
