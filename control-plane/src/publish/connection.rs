//! One connection of one edge: moves messages between its streams and its [`Publisher`].

use std::time::Duration;

use remit_common::id::{BootId, EdgeId};
use remit_common::identity::NodeRole;
use remit_common::net::framed::{FramedRecv, StreamFailed};
use remit_common::net::quic::{CLOSE_DONE, CLOSE_MISBEHAVED, CLOSE_NOT_WELCOME, CLOSE_TOO_SLOW, MeshConnection};
use remit_common::net::tasks::{Shutdown, TaskGroup};
use remit_common::sync::Lane;
use remit_common::sync::publisher::{EdgeReport, Publisher};
use remit_common::time::BootTime;
use remit_common::wire::frame::PeerMisbehaved;
use remit_common::wire::message::EdgeMessage;
use remit_common::wire::proof::Covered;
use tokio::sync::oneshot;

use super::lanes::Lanes;
use super::{CONNECTIONS_PER_EDGE_MAX, Distribution, Unwelcome, records, requests};
use crate::collect::{Collected, NotCollected};
use crate::edges::Presence;

/// Time for a message to arrive once it has begun.
const FRAME_WITHIN: Duration = Duration::from_secs(20);
/// Time from the connection to the control stream.
const CONTROL_WITHIN: Duration = Duration::from_secs(10);
/// How long an edge that every tenant has cut is still served, so that one that does as it is told hears of it.
const EVICTED_HEARS_WITHIN: Duration = Duration::from_secs(2);
/// How long a connection's tasks have to end.
const END_WITHIN: Duration = Duration::from_secs(1);

/// A connection whose edge the directory lists.
pub(super) struct Session<'a> {
    edge: EdgeId,
    distribution: &'a Distribution,
}

/// Why a connection ends.
enum End {
    Done,
    Misbehaved(PeerMisbehaved),
    TooSlow,
    Unwelcome(Unwelcome),
    Broken(StreamFailed),
}

impl From<StreamFailed> for End {
    fn from(error: StreamFailed) -> Self {
        match error {
            StreamFailed::Misbehaved(error) => Self::Misbehaved(error),
            StreamFailed::Deadline => Self::TooSlow,
            other => Self::Broken(other),
        }
    }
}

impl From<PeerMisbehaved> for End {
    fn from(error: PeerMisbehaved) -> Self {
        match error {
            PeerMisbehaved::TooSlow { .. } => Self::TooSlow,
            other => Self::Misbehaved(other),
        }
    }
}

impl<'a> Session<'a> {
    /// Clause K-5: the directory lists exactly this edge, region and key.
    pub(super) fn open(connection: &MeshConnection, distribution: &'a Distribution) -> Result<Self, Unwelcome> {
        let edge = check_listed(connection, distribution)?;
        let reports = distribution.edges.connections_of(&edge);
        if reports >= CONNECTIONS_PER_EDGE_MAX {
            return Err(Unwelcome::TooMany);
        }
        Ok(Self { edge, distribution })
    }

    /// Serves the connection until either side ends it.
    pub(super) async fn run(self, connection: &MeshConnection, shutdown: &Shutdown) {
        let mut tasks = TaskGroup::new(&self.distribution.cluster.env);
        let end = tokio::select! {
            biased;
            () = shutdown.requested() => End::Done,
            ended = self.converse(connection, &mut tasks) => ended,
        };
        let edge = &self.edge;
        match &end {
            End::Done => connection.close(CLOSE_DONE, ""),
            End::Broken(error) => {
                tracing::debug!(%edge, %error, "the connection ended");
                connection.close(CLOSE_DONE, "");
            }
            End::Misbehaved(error) => {
                tracing::warn!(%edge, %error, "the edge broke the protocol");
                self.distribution.refused("misbehaved");
                connection.close(CLOSE_MISBEHAVED, &error.to_string());
            }
            End::TooSlow => {
                tracing::info!(%edge, "the edge is too slow");
                self.distribution.refused("too_slow");
                connection.close(CLOSE_TOO_SLOW, "too slow");
            }
            End::Unwelcome(unwelcome) => {
                tracing::warn!(%edge, reason = unwelcome.reason(), "the edge is no longer welcome");
                self.distribution.refused(unwelcome.reason());
                connection.close(CLOSE_NOT_WELCOME, unwelcome.reason());
            }
        }
        tasks.join_all(END_WITHIN).await;
    }

    async fn converse(&self, connection: &MeshConnection, tasks: &mut TaskGroup) -> End {
        let accepted = remit_common::net::env::deadline(CONTROL_WITHIN, connection.quic.accept_bi()).await;
        let (send, recv) = match accepted {
            Ok(Ok(streams)) => streams,
            Ok(Err(_)) => return End::Done,
            Err(_) => return End::TooSlow,
        };
        // A stream that is gone already says so at the first write.
        let _ = send.set_priority(Lane::Control.priority());
        let mut conversation = Conversation { greeted: false, presence: None, covered: None };
        let served = self.serve(connection, FramedRecv::new(recv), Lanes::new(send), &mut conversation, tasks).await;
        // What the edge signed before it went counts all the same.
        match self.verify_covered(connection, &mut conversation).and(served) {
            Ok(()) => End::Done,
            Err(end) => end,
        }
    }

    async fn serve(
        &self,
        connection: &MeshConnection,
        mut control: FramedRecv,
        mut lanes: Lanes,
        conversation: &mut Conversation<'a>,
        tasks: &mut TaskGroup,
    ) -> Result<(), End> {
        let Distribution { cluster, published, nonces, .. } = self.distribution;
        let mesh = cluster.view().state.genesis().mesh;
        let mut published = published.clone();
        let mut answered = nonces.answered();
        let state = published.borrow_and_update().clone();
        let mut publisher = Publisher::new(mesh, self.edge.clone(), cluster.id, state, cluster.env.now().boot);
        let (mut records_open, mut failed) = (false, None);
        let mut goes_at = self.goes_at(connection, None)?;
        loop {
            // Until the edge has greeted the publisher's clock runs. Afterwards it may keep the connection for the
            // records that it will have, and follow another voter.
            let timeout = publisher.poll_timeout().filter(|_| !conversation.greeted);
            lanes.fill(&mut publisher, cluster.env.now().boot)?;
            if publisher.is_over() && lanes.is_idle(Lane::Control) {
                lanes.end(END_WITHIN).await;
                return Ok(());
            }
            let lanes_until = lanes.until();
            tokio::select! {
                biased;
                error = failure(&mut failed) => return Err(error.into()),
                // Whatever could change who is welcome changes what is published, too: directory, root and revocations.
                Ok(()) = published.changed() => {
                    publisher.update(published.borrow_and_update().clone());
                    goes_at = self.goes_at(connection, goes_at)?;
                }
                Ok(()) = answered.changed() => {
                    let newest = answered.borrow_and_update().clone();
                    if let Some(tick) = newest
                        && let Some(answer) = tick.answer_for(&self.edge, cluster.id)
                    {
                        publisher.answer_tick(answer, &tick.relations, tick.beacon.as_ref());
                    }
                }
                opened = connection.quic.open_uni(), if lanes.lack_stream() => {
                    let Ok(stream) = opened else { return Ok(()) };
                    if let Some((lane, stream)) = lanes.open(stream) {
                        // As above.
                        let _ = stream.set_priority(lane.priority());
                    }
                }
                // After news: an edge that takes a large object as fast as it is sent is to hear of a cut meanwhile.
                written = lanes.write(), if lanes.are_busy() => written?,
                message = control.recv::<EdgeMessage>(FRAME_WITHIN) => {
                    let Some(message) = message? else { return Ok(()) };
                    self.hear(connection, message, &mut publisher, conversation).await?;
                }
                accepted = connection.quic.accept_bi(), if conversation.greeted => {
                    let Ok((send, recv)) = accepted else { return Ok(()) };
                    if records_open {
                        requests::serve(cluster, self.edge.clone(), send, recv);
                    } else {
                        records_open = true;
                        failed = Some(self.take_records(connection, send, recv, tasks));
                    }
                }
                () = cluster.env.sleep_until(goes_at) => return Err(End::Unwelcome(Unwelcome::Evicted)),
                () = cluster.env.sleep_until(timeout) => publisher.handle_timeout(cluster.env.now().boot)?,
                () = cluster.env.sleep_until(lanes_until) => return Err(End::TooSlow),
                // The last: whoever has not heard yet comes before what is known of those that have.
                _turn = self.distribution.verifying.turn(), if conversation.covered.is_some() => {
                    self.verify_covered(connection, conversation)?;
                }
            }
        }
    }

    /// When this edge has to go, if it is evicted; at once where nothing lists it any more.
    fn goes_at(&self, connection: &MeshConnection, before: Option<BootTime>) -> Result<Option<BootTime>, End> {
        match check_listed(connection, self.distribution) {
            Ok(_) => Ok(None),
            Err(Unwelcome::Evicted) => {
                let now = self.distribution.cluster.env.now().boot;
                Ok(before.or(Some(now.plus(EVICTED_HEARS_WITHIN))))
            }
            Err(unwelcome) => Err(End::Unwelcome(unwelcome)),
        }
    }

    fn take_records(
        &self,
        connection: &MeshConnection,
        send: quinn::SendStream,
        recv: quinn::RecvStream,
        tasks: &mut TaskGroup,
    ) -> oneshot::Receiver<StreamFailed> {
        let (edge, key) = (self.edge.clone(), connection.key);
        let (fail, failed) = oneshot::channel();
        let collector = self.distribution.collector.clone();
        let addresses = self.distribution.cluster.addresses();
        tasks.spawn("edge records", async move {
            if let Err(error) = records::serve(edge, key, collector, addresses, send, recv).await {
                // The connection's own task may have ended first.
                let _ = fail.send(error);
            }
        });
        failed
    }

    /// Takes a message of the control stream, and acts on what it reports.
    async fn hear(
        &self,
        connection: &MeshConnection,
        message: EdgeMessage,
        publisher: &mut Publisher,
        conversation: &mut Conversation<'a>,
    ) -> Result<(), End> {
        let now = self.distribution.cluster.env.now();
        if let EdgeMessage::Hello(hello) = &message {
            let boot = hello.boot;
            publisher.handle_message(message)?;
            if !publisher.is_over() {
                conversation.greet(self.distribution, &self.edge, boot);
            }
            return Ok(());
        }
        let Some(report) = publisher.handle_message(message)? else { return Ok(()) };
        let Some(presence) = &mut conversation.presence else { return Ok(()) };
        match report {
            EdgeReport::Subscribed { .. } => presence.subscribed(now.wall),
            EdgeReport::Ack(ack) => presence.acked(now.wall, ack),
            EdgeReport::Nack(nack) => {
                tracing::warn!(edge = %self.edge, code = nack.code, detail = nack.detail, "an edge refused a document");
                presence.nacked(now.wall, nack);
            }
            EdgeReport::Attest(attestation) => {
                attestation.verify(&self.mesh(), &connection.key).map_err(|_| BAD_SIGNATURE)?;
                presence.attested(now.wall, attestation);
            }
            EdgeReport::Covered(covered) => {
                // Of two that wait only the newer says anything.
                if conversation.covered.as_ref().is_none_or(|waiting| waiting.epoch <= covered.epoch) {
                    conversation.covered = Some(covered);
                }
            }
            EdgeReport::Nonce(nonce) => {
                self.distribution.nonces.receive(&self.edge, nonce.nonce, now.boot);
                presence.heard(now.wall, nonce.epoch, nonce.head);
            }
            // Which relations an edge has, it shows on its own status.
            EdgeReport::Relations(_) => {}
            EdgeReport::Rollout(report) => {
                let state = &self.distribution.cluster.view().state;
                self.distribution.rollouts.note(&self.edge, report, state, now.wall);
            }
            EdgeReport::Records(batch) => {
                let boot = batch.boot;
                // Boxed: an idle edge's task need not have room for it.
                match Box::pin(self.distribution.collector.store(self.edge.clone(), &connection.key, batch)).await {
                    Ok(Collected::Stored { seq }) => publisher.acknowledge_records(boot, seq),
                    Ok(Collected::Fork { seq, stored }) => {
                        publisher.report_fork(remit_common::wire::message::RecordFork { boot, seq, stored });
                    }
                    Err(NotCollected::Malformed(error)) => return Err(error.into()),
                    Err(NotCollected::Unusable { reason, detail }) => publisher.refuse(reason, &detail),
                    Err(NotCollected::Stopping) => return Err(End::Done),
                }
            }
        }
        Ok(())
    }

    /// What an edge says that it enforces counts once its signature is verified.
    fn verify_covered(&self, connection: &MeshConnection, conversation: &mut Conversation<'a>) -> Result<(), End> {
        let (Some(covered), Some(presence)) = (conversation.covered.take(), &conversation.presence) else {
            return Ok(());
        };
        covered.verify(&self.mesh(), &connection.key).map_err(|_| BAD_SIGNATURE)?;
        presence.covered(self.distribution.cluster.env.now().wall, covered);
        Ok(())
    }

    fn mesh(&self) -> remit_common::id::MeshId {
        self.distribution.cluster.view().state.genesis().mesh
    }
}

const BAD_SIGNATURE: End =
    End::Misbehaved(PeerMisbehaved::OutOfPlace { kind: "Attest or Covered", why: "its signature does not verify" });

fn check_listed(connection: &MeshConnection, distribution: &Distribution) -> Result<EdgeId, Unwelcome> {
    let NodeRole::Edge { region, edge } = &connection.peer.role else { return Err(Unwelcome::NotAnEdge) };
    let trust = distribution.cluster.view().state.trust().map_err(|_| Unwelcome::NoDirectory)?;
    let listed = trust.directory.edge(edge).ok_or(Unwelcome::NotListed)?;
    if listed.region != *region || listed.identity != connection.key {
        return Err(Unwelcome::NotListed);
    }
    if distribution.cluster.view().state.is_evicted(edge) { Err(Unwelcome::Evicted) } else { Ok(edge.clone()) }
}

/// What the greeting has led to.
struct Conversation<'a> {
    greeted: bool,
    presence: Option<Presence<'a>>,
    /// What the edge says that it enforces, not verified yet.
    covered: Option<Covered>,
}

impl<'a> Conversation<'a> {
    fn greet(&mut self, distribution: &'a Distribution, edge: &EdgeId, boot: BootId) {
        self.greeted = true;
        self.presence = Some(distribution.edges.enter(edge, boot, distribution.cluster.env.now().wall));
    }
}

/// Why the stream of records gave out; never, while there is none, or once it has ended well.
async fn failure(of: &mut Option<oneshot::Receiver<StreamFailed>>) -> StreamFailed {
    if let Some(failed) = of
        && let Ok(error) = failed.await
    {
        return error;
    }
    *of = None;
    std::future::pending().await
}
