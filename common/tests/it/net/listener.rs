//! What one caller can take of a listener. Streams in memory, on a paused clock: callers have the addresses that a test
//! gives them, and hours pass at once. Clauses G-73 and G-74.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use axum::Router;
use axum::body::Body;
use axum::routing::get;
use bytes::Bytes;
use futures::future::BoxFuture;
use remit_common::net::env::{BoxStream, Listener};
use remit_common::net::http::{ServeCounters, ServeLimits, serve};
use remit_common::net::real::real;
use remit_common::net::tasks::{Shutdown, TaskGroup};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::sync::mpsc;

/// A piece of a long answer, and how many of them it has.
const PIECE_BYTES: usize = 64 * 1024;
const PIECES: usize = 32;
/// On the paused clock.
const WITHIN: Duration = Duration::from_secs(3_600);
const GET_LONG: &[u8] = b"GET /long HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

/// Hands over the streams that a test makes.
struct InMemory(mpsc::UnboundedReceiver<(BoxStream, SocketAddr)>);

impl Listener for InMemory {
    fn local_addr(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, 1))
    }

    fn accept(&mut self) -> BoxFuture<'_, io::Result<(BoxStream, SocketAddr)>> {
        Box::pin(async move {
            match self.0.recv().await {
                Some(accepted) => Ok(accepted),
                None => std::future::pending().await,
            }
        })
    }
}

struct Server {
    arrive: mpsc::UnboundedSender<(BoxStream, SocketAddr)>,
    counters: Arc<ServeCounters>,
    shutdown: Shutdown,
    tasks: TaskGroup,
}

impl Server {
    fn start(limits: ServeLimits) -> Self {
        let env = real();
        let (arrive, arrived) = mpsc::unbounded_channel();
        let (counters, shutdown) = (Arc::new(ServeCounters::default()), Shutdown::new());
        let mut tasks = TaskGroup::new(&env);
        let (of_task, seen, asked) = (env.clone(), counters.clone(), shutdown.clone());
        tasks.spawn("server", async move {
            serve(&of_task, Box::new(InMemory(arrived)), router(), limits, &seen, &asked).await;
        });
        Self { arrive, counters, shutdown, tasks }
    }

    fn connect(&self, from: IpAddr) -> Result<DuplexStream> {
        let (ours, theirs) = tokio::io::duplex(4_096);
        let arriving: (BoxStream, _) = (Box::new(theirs), SocketAddr::new(from, 50_000));
        self.arrive.send(arriving).ok().context("the listener is gone")?;
        Ok(ours)
    }

    /// A connection that has been answered; `None` when it was closed at once.
    async fn answered(&self, from: &str) -> Result<Option<DuplexStream>> {
        let mut stream = self.connect(from.parse()?)?;
        // It may be closed before it could be written to.
        let _ = stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
        let mut head = [0; 12];
        let is_answered = stream.read_exact(&mut head).await.is_ok();
        ensure!(!is_answered || head.ends_with(b"200"));
        Ok(is_answered.then_some(stream))
    }

    fn stalled(&self) -> u64 {
        self.counters.stalled.load(Ordering::SeqCst)
    }

    async fn stop(self) -> Result<()> {
        self.shutdown.trigger();
        ensure!(self.tasks.join_all(WITHIN).await.is_empty());
        Ok(())
    }
}

fn router() -> Router {
    let pieces = |pause: Duration| {
        Body::from_stream(futures::stream::unfold(0, move |sent| async move {
            tokio::time::sleep(pause).await;
            (sent < PIECES).then(|| (Ok::<_, Infallible>(Bytes::from(vec![b'x'; PIECE_BYTES])), sent + 1))
        }))
    };
    Router::new()
        .route("/", get(|| async { "" }))
        .route("/long", get(move || async move { pieces(Duration::ZERO) }))
        .route("/seldom", get(move || async move { pieces(Duration::from_secs(600)) }))
}

#[tokio::test(start_paused = true)]
async fn one_source_that_opens_connections_without_end_leaves_the_others_theirs() -> Result<()> {
    let limits = ServeLimits { connections_max: 16, connections_per_source_max: Some(3), ..ServeLimits::default() };
    let server = Server::start(limits);
    // One address, and one IPv6 site in all its addresses.
    let mut kept = Vec::new();
    for number in 0..8 {
        kept.extend(server.answered("192.0.2.1").await?);
        kept.extend(server.answered(&format!("2001:db8::{number}")).await?);
    }
    assert_eq!(kept.len(), 6);
    assert_eq!(server.counters.shed_by_source.load(Ordering::SeqCst), 10);
    // An IPv4 address written as IPv6 is no other one.
    assert!(server.answered("::ffff:192.0.2.1").await?.is_none());
    for other in ["192.0.2.2", "2001:db8:0:1::1"] {
        kept.push(server.answered(other).await?.context("another source is shut out")?);
    }
    // Sidecars of this machine have one address, and are counted with everybody.
    for _ in 0..8 {
        kept.push(server.answered("127.0.0.1").await?.context("a sidecar is shut out")?);
    }
    assert!(server.answered("127.0.0.1").await?.is_none());
    assert_eq!(server.counters.shed.load(Ordering::SeqCst), 1);
    // Whoever closes one has room for another.
    drop(kept);
    tokio::time::timeout(WITHIN, async {
        while server.answered("192.0.2.1").await?.is_none() {}
        anyhow::Ok(())
    })
    .await??;
    server.stop().await
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_reads_nothing_does_not_keep_its_connection() -> Result<()> {
    let server = Server::start(ServeLimits::default());
    let mut stream = server.connect("192.0.2.1".parse()?)?;
    stream.write_all(GET_LONG).await?;
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert_eq!(server.stalled(), 1);
    let mut got = Vec::new();
    let _ = stream.read_to_end(&mut got).await;
    ensure!(!got.is_empty() && got.len() < PIECES * PIECE_BYTES, "{}", got.len());
    server.stop().await
}

/// Answers without a body, asked for one behind the other, and none of them read.
#[tokio::test(start_paused = true)]
async fn a_caller_that_asks_again_and_again_and_reads_nothing_does_not_keep_its_connection() -> Result<()> {
    for request in ["GET / HTTP/1.1\r\nhost: x\r\n\r\n", "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\nx"] {
        let server = Server::start(ServeLimits::default());
        let mut stream = server.connect("192.0.2.1".parse()?)?;
        let asking = async {
            loop {
                if let Err(closed) = stream.write_all(request.as_bytes()).await {
                    return closed;
                }
            }
        };
        let closed = tokio::time::timeout(WITHIN, asking).await.context("the connection is kept")?;
        assert_eq!(closed.kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(server.stalled(), 1);
        server.stop().await?;
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_opens_no_window_does_not_keep_its_connection() -> Result<()> {
    const FRAME: usize = 9;
    const SETTINGS: u8 = 4;
    let server = Server::start(ServeLimits::default());
    let mut stream = server.connect("192.0.2.1".parse()?)?;
    // RFC 9113: the preface; SETTINGS with an initial window of 0; HEADERS of stream 1 with END_STREAM and END_HEADERS:
    // GET, http, `/long` and `x` (RFC 7541: indexed 2 and 6, then literals with the names 4 and 1).
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await?;
    stream.write_all(&[0, 0, 6, SETTINGS, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0]).await?;
    stream.write_all(&[0, 0, 12, 1, 5, 0, 0, 0, 1, 0x82, 0x86, 0x04, 5]).await?;
    stream.write_all(b"/long\x01\x01x").await?;
    // It reads every frame, says that it has seen the settings, and answers pings, as one that is there.
    let (mut heads, mut data) = (0, 0);
    let mut frame = [0; FRAME];
    while stream.read_exact(&mut frame).await.is_ok() {
        let len = usize::from(frame[1]) * 256 + usize::from(frame[2]);
        let mut payload = vec![0; len];
        stream.read_exact(&mut payload).await?;
        match (frame[3], frame[4]) {
            (0, _) => data += len,
            (1, _) => heads += 1,
            (SETTINGS, 0) => stream.write_all(&[0, 0, 0, SETTINGS, 1, 0, 0, 0, 0]).await?,
            _ => {}
        }
    }
    assert_eq!((heads, data), (1, 0), "it was answered, and took nothing");
    assert_eq!(server.stalled(), 1);
    server.stop().await
}

#[tokio::test(start_paused = true)]
async fn a_slow_caller_and_a_slow_answer_are_no_stalled_ones() -> Result<()> {
    let server = Server::start(ServeLimits::default());
    let mut slow = server.connect("192.0.2.1".parse()?)?;
    slow.write_all(GET_LONG).await?;
    let mut got = 0;
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let mut read = 0;
        while read < PIECE_BYTES {
            let some = slow.read(&mut piece[read..]).await?;
            read += some;
            if some == 0 {
                break;
            }
        }
        got += read;
        if read == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_secs(20)).await;
    }
    ensure!(got > PIECES * PIECE_BYTES, "{got}");
    let mut waiting = server.connect("192.0.2.1".parse()?)?;
    waiting.write_all(b"GET /seldom HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await?;
    let mut got = Vec::new();
    waiting.read_to_end(&mut got).await?;
    ensure!(got.len() > PIECES * PIECE_BYTES, "{}", got.len());
    assert_eq!(server.stalled(), 0);
    server.stop().await
}
