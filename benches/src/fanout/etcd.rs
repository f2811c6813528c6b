//! The same number of watchers at `etcd`, told of a value as long as a revocation.
//!
//! Each watcher has a connection of its own and a stream on it (gRPC over HTTP/2, without TLS); what counts is the time
//! from the request to put the value to its arrival at each watcher. Nothing is verified there and nothing signed.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use remit_common::net::env::{Env, deadline};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

use super::grpc::{field, fields, framed, take_message};
use super::mesh::ports;
use super::rounds::Spread;
use crate::measure::now;

/// What names the program, should it not be on `PATH`.
const VARIABLE: &str = "REMIT_ETCD";
/// For the server to serve, and for a value to arrive everywhere.
const READY_WITHIN: Duration = Duration::from_secs(30);
const ARRIVED_WITHIN: Duration = Duration::from_secs(60);
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(100);
/// Between two rounds.
const PAUSE: Duration = Duration::from_millis(730);
const KEY: &[u8] = b"remit/revocation";

/// The program: what the variable names, or the first `etcd` on `PATH`.
#[expect(clippy::disallowed_methods, reason = "a bench finds the program that it measures beside ours")]
#[must_use]
pub fn program() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os(VARIABLE) {
        return Some(PathBuf::from(named));
    }
    std::env::split_paths(&std::env::var_os("PATH")?).map(|folder| folder.join("etcd")).find(|path| path.is_file())
}

/// A server on this machine; it ends with this value.
struct Server {
    process: Child,
    addr: SocketAddr,
}

impl Server {
    #[expect(clippy::disallowed_methods, reason = "a bench starts the program that it measures beside ours")]
    async fn start(env: &Env, program: &Path, folder: &Path) -> Result<Self> {
        env.disk.create_dir(folder)?;
        let mut take = ports(env);
        let (addr, peers) = (take()?, take()?);
        let log = std::fs::File::create(folder.join("etcd.log"))?;
        let process = Command::new(program)
            .arg("--data-dir")
            .arg(folder.join("etcd"))
            .arg(format!("--listen-client-urls=http://{addr}"))
            .arg(format!("--advertise-client-urls=http://{addr}"))
            .arg(format!("--listen-peer-urls=http://{peers}"))
            .arg(format!("--initial-advertise-peer-urls=http://{peers}"))
            .arg(format!("--initial-cluster=default=http://{peers}"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("`{}` does not start", program.display()))?;
        Ok(Self { process, addr })
    }

    fn resident_kib(&self) -> Result<u64> {
        let pid = self.process.id().context("etcd has ended")?;
        super::process::resident_kib(pid)
    }
}

/// A request of gRPC.
fn asking(addr: SocketAddr, method: &str, message: &[u8]) -> Result<Request<Full<Bytes>>> {
    Ok(Request::post(format!("http://{addr}/etcdserverpb.{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(framed(message).into()))?)
}

/// A connection; its work is done by a task of its own.
async fn connection(env: &Env, addr: SocketAddr) -> Result<SendRequest<Full<Bytes>>> {
    #[expect(clippy::disallowed_methods, reason = "a bench calls the program that it measures beside ours")]
    let stream = TcpStream::connect(addr).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    drop(env.spawn_named("connection to etcd", async move {
        // Whoever uses it sees that it is gone.
        let _ = connection.await;
    }));
    Ok(sender)
}

/// A watcher of the key: says when its watch stands, and then each value with the moment of its arrival.
async fn watch(env: Env, addr: SocketAddr, told: mpsc::Sender<(Instant, Arc<[u8]>)>) -> Result<()> {
    let mut sender = connection(&env, addr).await?;
    // WatchRequest { create_request: WatchCreateRequest { key } }.
    let request = asking(addr, "Watch/Watch", &field(1, &field(1, KEY)))?;
    let mut body: Incoming = sender.send_request(request).await?.into_body();
    let mut arrived = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        arrived.extend_from_slice(&data);
        while let Some(message) = take_message(&mut arrived) {
            let at = now();
            // WatchResponse: events are field 11, Event.kv 2, KeyValue.value 5; without events it says that it stands.
            let events: Vec<_> = fields(&message)?.into_iter().filter(|(number, _)| *number == 11).collect();
            if events.is_empty() {
                told.send((at, Arc::from([]))).await?;
            }
            for (_, event) in events {
                let kv =
                    fields(&event)?.into_iter().find(|(number, _)| *number == 2).context("an event without a key")?;
                let value = fields(&kv.1)?.into_iter().find(|(number, _)| *number == 5).context("no value")?;
                told.send((at, value.1.into())).await?;
            }
        }
    }
    bail!("etcd has ended a watch")
}

/// What `etcd` does with the same task.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub struct Watched {
    /// Every watcher in every round.
    pub all: Spread,
    /// The round whose hundredth was the quickest.
    pub calmest: Spread,
    /// How many rounds.
    pub rounds: usize,
    /// How many watchers.
    pub watchers: usize,
    /// Bytes of the value.
    pub payload_bytes: usize,
    /// Resident memory of the server per watcher, in KiB.
    pub resident_kib_per_watcher: f64,
}

/// Starts the server, watches, and puts values.
///
/// # Errors
/// When it does not start, or a value does not arrive as it was put.
pub async fn measure(
    env: &Env,
    (program, folder): (&Path, &Path),
    (watchers, rounds): (usize, usize),
    payload_bytes: usize,
) -> Result<Watched> {
    let server = Server::start(env, program, folder).await?;
    let mut puts = ready(env, server.addr).await?;
    let before = server.resident_kib()?;
    let (tell, mut told) = mpsc::channel(watchers.max(1) * 2);
    for _ in 0..watchers {
        let watching = watch(env.clone(), server.addr, tell.clone());
        drop(env.spawn_named("watcher", async move {
            if let Err(error) = watching.await {
                tracing::debug!(%error, "a watcher has ended");
            }
        }));
    }
    for _ in 0..watchers {
        let said = deadline(ARRIVED_WITHIN, told.recv()).await.context("not every watch stands")?;
        ensure!(said.is_some_and(|(_, value)| value.is_empty()), "a value before the first");
    }
    tokio::time::sleep(PAUSE).await;
    let resident = server.resident_kib()?.saturating_sub(before);
    let (mut all, mut each) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        tokio::time::sleep(PAUSE).await;
        let mut value = vec![0u8; payload_bytes];
        env.entropy.fill(&mut value);
        let started = now();
        // PutRequest { key, value }.
        let put = asking(server.addr, "KV/Put", &[field(1, KEY), field(2, &value)].concat())?;
        let answered = puts.send_request(put).await?;
        let answer = answered.into_body().collect().await?;
        let status = answer.trailers().and_then(|trailers| trailers.get("grpc-status")?.to_str().ok());
        ensure!(status.is_none_or(|status| status == "0"), "etcd refuses: {status:?}");
        let mut times = Vec::with_capacity(watchers);
        for _ in 0..watchers {
            let said = deadline(ARRIVED_WITHIN, told.recv()).await.context("a value does not arrive everywhere")?;
            let (at, arrived) = said.context("every watcher has ended")?;
            ensure!(*arrived == *value, "another value arrives than was put");
            times.push(at.saturating_duration_since(started));
        }
        all.extend_from_slice(&times);
        each.push(Spread::of(times));
    }
    let calmest = each.into_iter().min_by(|a, b| a.p99_ms.total_cmp(&b.p99_ms)).unwrap_or_default();
    let per = f64::from(u32::try_from(resident)?) / f64::from(u32::try_from(watchers.max(1))?);
    Ok(Watched { all: Spread::of(all), calmest, rounds, watchers, payload_bytes, resident_kib_per_watcher: per })
}

/// Waits until it takes a value.
async fn ready(env: &Env, addr: SocketAddr) -> Result<SendRequest<Full<Bytes>>> {
    ensure!(addr.ip() == Ipv4Addr::LOCALHOST, "it listens on this machine alone");
    let trying = async {
        loop {
            if let Ok(mut sender) = connection(env, addr).await {
                let put = asking(addr, "KV/Put", &[field(1, b"ready"), field(2, b"1")].concat())?;
                let answered = sender.send_request(put).await;
                if answered.is_ok_and(|answer| !answer.headers().contains_key("grpc-status")) {
                    return Ok(sender);
                }
            }
            tokio::time::sleep(LOOK_AGAIN_AFTER).await;
        }
    };
    deadline(READY_WITHIN, trying).await.context("etcd does not serve")?
}
