//! A connection to one voter, kept up, and the records that flow on it.
//!
//! The records have a stream of their own with the lowest priority, so that they never delay an answer. At most a few
//! batches are under way unacknowledged; what a lost connection leaves open is sent again, and the voter knows it by
//! its number.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use remit_common::id::VoterId;
use remit_common::identity::{NodeRole, SpiffeId};
use remit_common::net::env::{DeadlinePassed, Env, deadline};
use remit_common::net::framed::{FramedRecv, FramedSend, StreamFailed};
use remit_common::net::quic::{
    CLOSE_DONE, CLOSE_MISBEHAVED, CLOSE_TOO_SLOW, ConnectFailed, MeshConnection, MeshEndpoint,
};
use remit_common::net::tasks::Shutdown;
use remit_common::sync::Lane;
use remit_common::wire::batch::RecordBatch;
use remit_common::wire::frame::PeerMisbehaved;
use remit_common::wire::message::{EdgeMessage, Hello, RecordAck, VoterAddresses, VoterMessage, WireMessage as _};
use remit_common::wire::version::SPOKEN;
use tokio::sync::{mpsc, watch};

use super::voters::{HINTS_MAX, Places, Told, next_place};
use super::{FRAME_WITHIN, Greeting, Link};
use crate::report::{Batch, Cursor, Feed, Majority};

/// Time for a connection to come about, greeting included.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// The first wait before another attempt.
const BACKOFF_MIN: Duration = Duration::from_millis(200);
/// The longest: a voter that comes back is used again within this time.
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// Batches under way to one voter. With 240 KiB each, a megabyte hides a round trip of a second at 1 MB/s.
const BATCHES_MAX: usize = 4;
/// Between two attempts to read records from a disk that fails.
const READ_RETRY: Duration = Duration::from_secs(2);

/// How this edge dials.
#[derive(Debug, Clone)]
pub(crate) struct Dialler {
    pub(crate) env: Env,
    pub(crate) endpoint: MeshEndpoint,
    pub(crate) greeting: Greeting,
    pub(crate) feed: Arc<Feed>,
    /// Told when a majority of voters says that this edge's chain has forked.
    pub(crate) forked: mpsc::Sender<()>,
    /// Told where voters are that joined later, by whom.
    pub(crate) told: watch::Sender<Told>,
}

/// The task that keeps one link.
#[derive(Debug)]
pub(crate) struct LinkTask {
    pub(crate) dialler: Dialler,
    pub(crate) voter: VoterId,
    /// Where it may be, by who says so; tried in turn.
    pub(crate) places: watch::Receiver<Places>,
    pub(crate) cell: watch::Sender<Option<Arc<Link>>>,
}

/// Why a link ended.
#[derive(Debug, thiserror::Error)]
enum LinkFailed {
    #[error(transparent)]
    Connect(#[from] ConnectFailed),
    #[error(transparent)]
    Stream(#[from] StreamFailed),
    #[error("the connection closed: {0}")]
    Closed(#[from] quinn::ConnectionError),
    #[error("the voter refused: {code}: {detail}")]
    Refused { code: String, detail: String },
    #[error("no greeting in time")]
    Deadline,
}

impl From<DeadlinePassed> for LinkFailed {
    fn from(DeadlinePassed: DeadlinePassed) -> Self {
        Self::Deadline
    }
}

impl From<PeerMisbehaved> for LinkFailed {
    fn from(error: PeerMisbehaved) -> Self {
        Self::Stream(error.into())
    }
}

impl LinkTask {
    /// Connects, and connects again, until shutdown.
    pub(crate) async fn run(self, shutdown: Shutdown) {
        let voter = self.voter;
        let mut backoff = BACKOFF_MIN;
        let mut told = false;
        let mut last = None;
        loop {
            // Whoever changes what it says all the time keeps nobody from trying what the others say.
            let next = next_place(&self.places.borrow(), last);
            let Some((source, addr)) = next else { break };
            last = Some(source);
            let attempt = tokio::select! {
                biased;
                () = shutdown.requested() => break,
                attempt = self.connect(addr) => attempt,
            };
            match attempt {
                Ok(link) => {
                    tracing::info!(%voter, "connected");
                    (backoff, told) = (BACKOFF_MIN, false);
                    let link = Arc::new(link);
                    self.cell.send_replace(Some(Arc::clone(&link)));
                    let ended = tokio::select! {
                        biased;
                        () = shutdown.requested() => Ok(()),
                        ended = self.serve(&link) => ended,
                    };
                    self.cell.send_replace(None);
                    match ended {
                        Ok(()) => link.connection.close(CLOSE_DONE, ""),
                        Err(error) => {
                            tracing::warn!(%voter, %error, "the link ended");
                            let code = match &error {
                                LinkFailed::Stream(StreamFailed::Misbehaved(_)) => CLOSE_MISBEHAVED,
                                LinkFailed::Stream(StreamFailed::Deadline) => CLOSE_TOO_SLOW,
                                _ => CLOSE_DONE,
                            };
                            link.connection.close(code, "");
                        }
                    }
                }
                // Once per outage: it is tried again every few seconds.
                Err(error) if !told => {
                    told = true;
                    tracing::warn!(%voter, %error, "no connection");
                }
                Err(_) => {}
            }
            tokio::select! {
                biased;
                () = shutdown.requested() => break,
                () = tokio::time::sleep(self.jittered(backoff)) => {}
            }
            backoff = BACKOFF_MAX.min(backoff * 2);
        }
    }

    /// Between half and the whole of a wait, so that edges that lost a voter together do not come back together.
    fn jittered(&self, wait: Duration) -> Duration {
        let [random] = self.dialler.env.random();
        wait / 2 + (wait / 2).mul_f32(f32::from(random) / f32::from(u8::MAX))
    }

    async fn connect(&self, addr: SocketAddr) -> Result<Link, LinkFailed> {
        let Greeting { mesh, edge, boot } = self.dialler.greeting.clone();
        let expected = SpiffeId { mesh, role: NodeRole::Voter(self.voter) };
        let connection = self.dialler.endpoint.connect(addr, &expected, CONNECT_WITHIN).await?;
        let greet = async {
            let (send, recv) = connection.quic.open_bi().await?;
            let (mut send, mut recv) = (FramedSend::new(send), FramedRecv::new(recv));
            // A stream that is gone already says so at the first write.
            let _ = send.get_mut().set_priority(Lane::Control.priority());
            let hello = Hello { versions: SPOKEN.to_vec(), mesh, edge, boot };
            send.send(&EdgeMessage::Hello(hello), CONNECT_WITHIN).await?;
            match recv.recv::<VoterMessage>(CONNECT_WITHIN).await? {
                Some(VoterMessage::HelloAck(ack)) if ack.voter != self.voter => Err(PeerMisbehaved::WrongPeer.into()),
                Some(VoterMessage::HelloAck(ack)) => Ok((send, recv, ack)),
                Some(VoterMessage::Refused(refused)) => {
                    Err(LinkFailed::Refused { code: refused.code, detail: refused.detail })
                }
                Some(other) => {
                    let why = "the greeting is not over";
                    Err(PeerMisbehaved::OutOfPlace { kind: other.name(), why }.into())
                }
                None => Err(LinkFailed::Stream(StreamFailed::Torn)),
            }
        };
        match deadline(CONNECT_WITHIN, greet).await {
            Ok(Ok((send, recv, ack))) => {
                let control = Mutex::new(Some((send, recv)));
                Ok(Link { voter: self.voter, connection, ack, control })
            }
            Ok(Err(error)) => {
                connection.close(CLOSE_DONE, "");
                Err(error)
            }
            Err(passed) => {
                connection.close(CLOSE_TOO_SLOW, "");
                Err(passed.into())
            }
        }
    }

    /// Sends records and takes acknowledgements until the connection ends.
    async fn serve(&self, link: &Link) -> Result<(), LinkFailed> {
        let connection: &MeshConnection = &link.connection;
        let (send, recv) = connection.quic.open_bi().await?;
        let (mut send, mut recv) = (FramedSend::new(send), FramedRecv::new(recv));
        // As above.
        let _ = send.get_mut().set_priority(Lane::Records.priority());
        let mut durable = self.dialler.feed.durable();
        let mut flight = Flight::default();
        loop {
            let sent = self.send_what_fits(&mut send, &mut flight).await?;
            tokio::select! {
                biased;
                error = connection.quic.closed() => return Err(error.into()),
                message = recv.recv::<VoterMessage>(FRAME_WITHIN) => match message? {
                    Some(message) => self.hear(message, &mut flight)?,
                    None => return Err(LinkFailed::Stream(StreamFailed::Torn)),
                },
                Ok(()) = durable.changed(), if flight.has_room() => {
                    durable.borrow_and_update();
                }
                () = tokio::time::sleep(READ_RETRY), if sent == Sent::DiskFails => {}
            }
        }
    }

    async fn send_what_fits(&self, send: &mut FramedSend, flight: &mut Flight) -> Result<Sent, LinkFailed> {
        while flight.has_room() {
            let Dialler { env, feed, .. } = &self.dialler;
            let batch = match feed.batch(env, self.voter, flight.cursor).await {
                Ok(Some(batch)) => batch,
                Ok(None) => return Ok(Sent::Everything),
                // Trimmed between looking and reading: the next look finds what follows.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Sent::Everything),
                Err(error) => {
                    tracing::error!(%error, "records cannot be read from the spool");
                    return Ok(Sent::DiskFails);
                }
            };
            let last = batch.last();
            let Batch { boot, first_seq, records } = batch;
            let Ok(packed) = RecordBatch::pack(boot, first_seq, &records) else {
                tracing::error!(%boot, first_seq, "a record is too long to be sent");
                return Ok(Sent::DiskFails);
            };
            send.send(&EdgeMessage::RecordBatch(packed), FRAME_WITHIN).await?;
            flight.departed(last);
        }
        Ok(Sent::Window)
    }

    fn hear(&self, message: VoterMessage, flight: &mut Flight) -> Result<(), LinkFailed> {
        match message {
            VoterMessage::RecordAck(RecordAck { boot, seq }) => {
                flight.arrived(Cursor { boot, seq });
                self.dialler.feed.acked(self.voter, boot, seq);
                Ok(())
            }
            VoterMessage::RecordFork(fork) => {
                tracing::error!(
                    voter = %self.voter, boot = %fork.boot, seq = fork.seq,
                    "a voter has other records of this edge: was its disk restored, or is it running twice?"
                );
                if self.dialler.feed.forked(self.voter) == Majority::Reached {
                    // Full: it has been told already.
                    let _ = self.dialler.forked.try_send(());
                }
                Err(LinkFailed::Refused { code: "fork".to_owned(), detail: "the chain has forked".to_owned() })
            }
            VoterMessage::Refused(refused) => Err(LinkFailed::Refused { code: refused.code, detail: refused.detail }),
            VoterMessage::Voters(VoterAddresses { voters }) => {
                let voters: BTreeMap<VoterId, SocketAddr> = voters.into_iter().take(HINTS_MAX).collect();
                self.dialler.told.send_if_modified(|told| {
                    let before = told.insert(self.voter, voters.clone());
                    before.as_ref() != Some(&voters)
                });
                Ok(())
            }
            VoterMessage::Unknown { .. } => Ok(()),
            other => Err(PeerMisbehaved::OutOfPlace { kind: other.name(), why: "this stream carries records" }.into()),
        }
    }
}

/// What came of sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    /// All there is.
    Everything,
    /// As much as may be under way.
    Window,
    /// The disk does not give more.
    DiskFails,
}

/// Batches that have not been acknowledged.
#[derive(Debug, Default)]
struct Flight {
    cursor: Option<Cursor>,
    ends: VecDeque<Cursor>,
}

impl Flight {
    fn has_room(&self) -> bool {
        self.ends.len() < BATCHES_MAX
    }

    fn departed(&mut self, last: Cursor) {
        self.cursor = Some(last);
        self.ends.push_back(last);
    }

    /// An ack is cumulative within its process, and processes go in order.
    fn arrived(&mut self, acked: Cursor) {
        let done = self.ends.iter().rposition(|end| end.boot == acked.boot && end.seq <= acked.seq);
        if let Some(done) = done {
            self.ends.drain(..=done);
        }
    }
}
