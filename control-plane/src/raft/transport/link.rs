//! The connection to one peer, kept open, and calls on it.
//!
//! One task per peer dials, greets, publishes the connection and dials again when it is gone. Callers take what is
//! there and wait for it no longer than their own deadline: connecting has a deadline of its own, because a handshake
//! may well take longer than a heartbeat. After three calls in a row that timed out without one packet from the peer
//! the connection is closed, whatever QUIC still hopes: after a partition it can stay silent for many seconds more.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use remit_common::id::VoterId;
use remit_common::identity::spiffe::{NodeRole, SpiffeId};
use remit_common::net::env::deadline;
use remit_common::net::framed::StreamFailed;
use remit_common::net::quic::{
    CLOSE_DONE, CLOSE_MISBEHAVED, CLOSE_NOT_WELCOME, CLOSE_TOO_SLOW, ConnectFailed, MeshConnection, MeshEndpoint,
};
use remit_common::net::tasks::Shutdown;
use tokio::sync::watch;

use super::message::{Body as _, HelloV1, Kind, RefusedV1, VERSION, WelcomeV1};
use super::{Acquaintances, Boot, CONNECT_DEADLINE, NotWelcome, Own, stream};

/// Calls in a row that time out, without a packet from the peer, before its connection is closed.
const SILENT_TIMEOUTS_MAX: u32 = 3;
/// Between two attempts to connect: short at first, because a peer that restarts is soon back.
const REDIAL_MIN: Duration = Duration::from_millis(50);
/// The longest pause between two attempts. A healed partition costs at most this and a handshake.
const REDIAL_MAX: Duration = Duration::from_millis(500);

/// Why a call brought no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallFailed {
    /// There is no connection; nothing was sent.
    #[error("no connection")]
    Unreachable,
    /// The deadline passed.
    #[error("no answer in time")]
    Timeout,
    /// The stream broke.
    #[error(transparent)]
    Stream(#[from] StreamFailed),
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Connection(#[from] quinn::ConnectionError),
    /// The peer refused.
    #[error("refused: {0}")]
    Refused(String),
    /// The answer is none to this call.
    #[error("the answer does not fit the call")]
    Misfit,
}

/// The connection to one peer.
pub(crate) struct Link {
    current: watch::Receiver<Option<Connected>>,
    silence: Mutex<Silence>,
}

/// A connection that was greeted, and the start of the peer that greeted it.
#[derive(Debug, Clone)]
struct Connected {
    connection: MeshConnection,
    boot: Boot,
}

/// How long the peer has been silent on the current connection.
#[derive(Debug, Default)]
struct Silence {
    timeouts: u32,
    packets_received: u64,
}

/// What the dialling task of a link needs.
pub(crate) struct Dialer {
    pub(crate) endpoint: MeshEndpoint,
    pub(crate) addr: SocketAddr,
    pub(crate) own: Own,
    pub(crate) acquaintances: Acquaintances,
    pub(crate) shutdown: Shutdown,
    current: watch::Sender<Option<Connected>>,
    peer: VoterId,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
enum DialFailed {
    #[error(transparent)]
    Connect(#[from] ConnectFailed),
    #[error("the greeting failed: {0}")]
    Greeting(#[from] CallFailed),
    #[error(transparent)]
    NotWelcome(#[from] NotWelcome),
    #[error("the greeting took too long")]
    Deadline,
}

impl Link {
    /// A link without a connection, and what connects it: run [`Dialer::run`] in a task.
    pub(crate) fn new(
        peer: VoterId,
        addr: SocketAddr,
        own: Own,
        endpoint: MeshEndpoint,
        acquaintances: Acquaintances,
        shutdown: Shutdown,
    ) -> (Arc<Self>, Dialer) {
        let (sender, current) = watch::channel(None);
        let dialer = Dialer { endpoint, addr, own, acquaintances, shutdown, current: sender, peer };
        (Arc::new(Self { current, silence: Mutex::default() }), dialer)
    }

    /// Whether there is a connection.
    pub(crate) fn is_connected(&self) -> bool {
        self.current.borrow().is_some()
    }

    /// Makes one call and gives the body of the answer, which must be of the kind that belongs to it.
    ///
    /// # Errors
    /// [`CallFailed`].
    pub(crate) async fn call(
        &self,
        kind: Kind,
        parts: &[&[u8]],
        answer: Kind,
        within: Duration,
    ) -> Result<Vec<u8>, CallFailed> {
        let mut connection = None;
        let calling = async {
            let mut current = self.current.clone();
            // The sender lives as long as the dialling task: without it there will be no connection again.
            let connected = current.wait_for(Option::is_some).await.ok().and_then(|current| current.clone());
            let connected = connected.ok_or(CallFailed::Unreachable)?.connection;
            exchange(connection.insert(connected), kind, parts, answer).await
        };
        let outcome = deadline(within, calling).await;
        match (outcome, connection) {
            (Ok(answered), _) => {
                if answered.is_ok() {
                    self.silence.lock().unwrap_or_else(PoisonError::into_inner).timeouts = 0;
                }
                answered
            }
            (Err(_), None) => Err(CallFailed::Unreachable),
            (Err(_), Some(connection)) => {
                self.note_timeout(&connection);
                Err(CallFailed::Timeout)
            }
        }
    }

    /// The peer has greeted us from another start than the one we are connected to: that connection leads nowhere,
    /// and QUIC would need its idle time to find out.
    pub(crate) fn peer_started(&self, boot: Boot) {
        if let Some(stale) = self.current.borrow().as_ref().filter(|current| current.boot != boot) {
            stale.connection.close(CLOSE_DONE, "the peer has restarted");
        }
    }

    fn note_timeout(&self, connection: &MeshConnection) {
        let received = connection.quic.stats().udp_rx.datagrams;
        let mut silence = self.silence.lock().unwrap_or_else(PoisonError::into_inner);
        if received != silence.packets_received {
            *silence = Silence { timeouts: 1, packets_received: received };
            return;
        }
        silence.timeouts = silence.timeouts.saturating_add(1);
        if silence.timeouts >= SILENT_TIMEOUTS_MAX {
            silence.timeouts = 0;
            connection.close(CLOSE_TOO_SLOW, "silent");
        }
    }
}

/// One call on a stream of its own.
async fn exchange(
    connection: &MeshConnection,
    kind: Kind,
    parts: &[&[u8]],
    expected: Kind,
) -> Result<Vec<u8>, CallFailed> {
    let (mut send, mut recv) = connection.quic.open_bi().await?;
    stream::send(&mut send, kind, parts).await?;
    // A peer that has stopped the stream says why in its answer.
    let _stopped = send.finish();
    match stream::recv(&mut recv).await {
        Ok((kind, body)) if kind == expected => Ok(body),
        Ok((Kind::Refused, body)) => {
            let refused = RefusedV1::from_bytes(&body).map_err(|_| CallFailed::Misfit)?;
            Err(CallFailed::Refused(refused.detail))
        }
        Ok(_) => Err(CallFailed::Misfit),
        Err(StreamFailed::Misbehaved(fault)) => {
            connection.close(CLOSE_MISBEHAVED, "not an answer");
            Err(StreamFailed::Misbehaved(fault).into())
        }
        Err(fault) => Err(fault.into()),
    }
}

impl Dialer {
    /// Keeps the link connected until shutdown.
    pub(crate) async fn run(self) {
        let mut pause = REDIAL_MIN;
        let mut told = String::new();
        loop {
            let dialled = tokio::select! {
                biased;
                () = self.shutdown.requested() => return,
                dialled = self.dial() => dialled,
            };
            match dialled {
                Ok(connected) => {
                    tracing::info!(peer = %self.peer, "connected to voter");
                    (pause, told) = (REDIAL_MIN, String::new());
                    let connection = connected.connection.clone();
                    self.current.send_replace(Some(connected));
                    let gone = tokio::select! {
                        biased;
                        () = self.shutdown.requested() => return,
                        gone = connection.quic.closed() => gone,
                    };
                    self.current.send_replace(None);
                    tracing::info!(peer = %self.peer, reason = %gone, "connection to voter is gone");
                }
                Err(failed) => {
                    // Said once, not twice a second for as long as the peer is away.
                    let failed = failed.to_string();
                    if failed != told {
                        tracing::warn!(peer = %self.peer, reason = failed, "cannot connect to voter");
                        told = failed;
                    }
                }
            }
            tokio::select! {
                biased;
                () = self.shutdown.requested() => return,
                () = tokio::time::sleep(pause) => {}
            }
            pause = pause.saturating_mul(2).min(REDIAL_MAX);
        }
    }

    async fn dial(&self) -> Result<Connected, DialFailed> {
        let expected = SpiffeId { mesh: self.own.mesh, role: NodeRole::Voter(self.peer) };
        let connection = self.endpoint.connect(self.addr, &expected, CONNECT_DEADLINE).await?;
        let greeted = deadline(CONNECT_DEADLINE, self.greet(&connection)).await;
        match greeted {
            Ok(Ok(boot)) => Ok(Connected { connection, boot }),
            Ok(Err(failed)) => {
                connection.close(CLOSE_NOT_WELCOME, &failed.to_string());
                Err(failed)
            }
            Err(_) => {
                connection.close(CLOSE_TOO_SLOW, "no greeting");
                Err(DialFailed::Deadline)
            }
        }
    }

    async fn greet(&self, connection: &MeshConnection) -> Result<Boot, DialFailed> {
        let hello = HelloV1::of(self.own).to_bytes().map_err(|_| CallFailed::Misfit)?;
        let answer = exchange(connection, Kind::Hello, &[&hello], Kind::Welcome).await?;
        let welcome = WelcomeV1::from_bytes(&answer).map_err(|_| CallFailed::Misfit)?;
        if welcome.version != VERSION {
            return Err(NotWelcome::NoCommonVersion.into());
        }
        if welcome.mesh != self.own.mesh.0 {
            return Err(NotWelcome::AnotherMesh.into());
        }
        let said = VoterId(welcome.voter);
        if said != self.peer {
            return Err(NotWelcome::AnotherVoter { said, named: self.peer }.into());
        }
        self.acquaintances.check(self.peer, welcome.disk).await?;
        Ok(welcome.boot)
    }
}
