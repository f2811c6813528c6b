//! Answers the other voters.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use openraft::Raft;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, VoteRequest};
use remit_common::id::VoterId;
use remit_common::identity::spiffe::{NodeRole, SpiffeId};
use remit_common::net::env::Env;
use remit_common::net::env::deadline;
use remit_common::net::framed::StreamFailed;
use remit_common::net::quic::{
    Arriving, CLOSE_DONE, CLOSE_MISBEHAVED, CLOSE_NOT_WELCOME, MeshConnection, MeshEndpoint,
};
use remit_common::net::tasks::{Shutdown, TaskGroup};

use super::links::Links;
use super::message::{
    AppendV1, AppendedV1, AskVoteV1, Body as _, HelloV1, InstalledV1, Kind, ProbedV1, RefusedV1, SnapshotFront,
    VotedV1, WelcomeV1, split_snapshot,
};
use super::stream::Budget;
use super::{Acquaintances, CLOSE_DEADLINE, CONNECT_DEADLINE, NotWelcome, Own, plausible, stream};
use crate::raft::reach::Heard;
use crate::raft::snapshot::SNAPSHOT_BYTES_MAX;
use crate::raft::types::{Snapshot, SnapshotBody, Types, Vote};
use crate::raft::{PeerCalls, SnapshotCheck};

/// Bytes of all the messages that one peer may have us hold at the same time: a snapshot, and the largest entries
/// beside it.
const PEER_BYTES_MAX: usize = SNAPSHOT_BYTES_MAX + 64 * 1024 * 1024;
/// How long one call of a peer may take here. Callers wait less.
const CALL_DEADLINE: Duration = Duration::from_secs(60);
/// Peers whose last refusal is remembered, so that it is said once and not at each of their attempts.
const TOLD_MAX: usize = 64;

/// Everything an answer may need. Cloning shares it.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) own: Own,
    pub(crate) raft: Raft<Types>,
    pub(crate) calls: Arc<dyn PeerCalls>,
    /// Tries a snapshot before Raft has it.
    pub(crate) check: SnapshotCheck,
    pub(crate) acquaintances: Acquaintances,
    pub(crate) env: Env,
    pub(crate) shutdown: Shutdown,
    /// Our own connections, to tell those to a peer's former start; and who may be at the other end of any.
    pub(crate) links: Links,
    /// When a leader last spoke.
    pub(crate) heard: Heard,
    /// The connection that each peer has opened to us: a second one replaces the first.
    pub(crate) inbound: Inbound,
}

/// See [`Server::inbound`].
#[derive(Clone, Default)]
pub(crate) struct Inbound(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    open: BTreeMap<VoterId, MeshConnection>,
    told: BTreeMap<SpiffeId, String>,
}

impl Inbound {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn replace(&self, peer: VoterId, connection: &MeshConnection) {
        let mut seen = self.seen();
        seen.told.remove(&connection.peer);
        if let Some(older) = seen.open.insert(peer, connection.clone()) {
            older.close(CLOSE_DONE, "replaced by a newer connection");
        }
    }

    /// Hangs up on those who have left.
    pub(super) fn close_strangers(&self, links: &Links) {
        self.seen().open.retain(|peer, connection| {
            let stays = links.is_welcome(*peer);
            if !stays {
                connection.close(CLOSE_NOT_WELCOME, &NotWelcome::NotAMember(*peer).to_string());
            }
            stays
        });
    }

    /// Tells people why a peer was turned away, once per reason.
    fn tell(&self, peer: &SpiffeId, reason: &str) {
        let mut seen = self.seen();
        if seen.told.get(peer).is_some_and(|told| told == reason) {
            return;
        }
        if seen.told.len() >= TOLD_MAX {
            seen.told.clear();
        }
        seen.told.insert(peer.clone(), reason.to_owned());
        tracing::warn!(%peer, reason, "turned a peer away");
    }
}

/// Why a stream or a connection is not answered further.
#[derive(Debug, thiserror::Error)]
enum NotServed {
    #[error(transparent)]
    NotWelcome(#[from] NotWelcome),
    #[error(transparent)]
    Stream(#[from] StreamFailed),
    #[error("the greeting took too long")]
    Deadline,
    #[error("the connection broke: {0}")]
    Connection(#[from] quinn::ConnectionError),
    #[error("malformed: {0}")]
    Malformed(&'static str),
}

impl Server {
    /// Accepts until shutdown.
    pub(crate) async fn run(self, endpoint: MeshEndpoint) {
        let mut connections = TaskGroup::new(&self.env);
        loop {
            tokio::select! {
                biased;
                () = self.shutdown.requested() => break,
                Some(_ended) = connections.next_finished() => {}
                arriving = endpoint.accept() => match arriving {
                    Some(arriving) => connections.spawn("raft-peer", self.clone().connection(arriving)),
                    None => break,
                },
            }
        }
        drop(connections.join_all(CLOSE_DEADLINE).await);
    }

    async fn connection(self, arriving: Arriving) {
        let from = arriving.remote();
        let connection = match arriving.establish(CONNECT_DEADLINE).await {
            Ok(connection) => connection,
            Err(failed) => {
                tracing::debug!(%from, reason = %failed, "no connection");
                return;
            }
        };
        let peer = match deadline(CONNECT_DEADLINE, self.welcome(&connection)).await.unwrap_or(Err(NotServed::Deadline))
        {
            Ok(peer) => peer,
            Err(failed) => {
                let reason = failed.to_string();
                self.inbound.tell(&connection.peer, &reason);
                connection.close(CLOSE_NOT_WELCOME, &reason);
                return;
            }
        };
        self.inbound.replace(peer, &connection);
        let budget = Arc::new(Budget::new(PEER_BYTES_MAX));
        let mut streams = TaskGroup::new(&self.env);
        loop {
            tokio::select! {
                biased;
                () = self.shutdown.requested() => break,
                Some(_ended) = streams.next_finished() => {}
                accepted = connection.quic.accept_bi() => match accepted {
                    Ok((send, recv)) => {
                        let stream = self.clone().stream(connection.clone(), peer, Arc::clone(&budget), send, recv);
                        streams.spawn("raft-call", stream);
                    }
                    Err(gone) => {
                        tracing::debug!(%peer, reason = %gone, "the peer's connection is gone");
                        break;
                    }
                },
            }
        }
        connection.close(CLOSE_DONE, "");
    }

    /// The first stream of a connection: who is there, with which disk.
    async fn welcome(&self, connection: &MeshConnection) -> Result<VoterId, NotServed> {
        let NodeRole::Voter(named) = connection.peer.role else { return Err(NotWelcome::NotAVoter.into()) };
        if connection.peer.mesh != self.own.mesh {
            return Err(NotWelcome::AnotherMesh.into());
        }
        if !self.links.is_welcome(named) {
            return Err(NotWelcome::NotAMember(named).into());
        }
        let (mut send, mut recv) = connection.quic.accept_bi().await?;
        let (kind, body) = stream::recv(&mut recv).await?;
        if kind != Kind::Hello {
            return Err(NotServed::Malformed("a connection begins with a greeting"));
        }
        let hello = HelloV1::from_bytes(&body).map_err(|_| NotServed::Malformed("greeting"))?;
        let version = hello.common_version().ok_or(NotWelcome::NoCommonVersion)?;
        if hello.mesh != self.own.mesh.0 {
            return Err(NotWelcome::AnotherMesh.into());
        }
        let said = VoterId(hello.voter);
        if said != named {
            return Err(NotWelcome::AnotherVoter { said, named }.into());
        }
        self.acquaintances.check(named, hello.disk).await?;
        if let Some(link) = self.links.get(named.0) {
            link.peer_started(hello.boot);
        }
        let welcome = WelcomeV1::of(self.own, version).to_bytes();
        let welcome = welcome.map_err(|_| NotServed::Malformed("our greeting"))?;
        stream::send(&mut send, Kind::Welcome, &[&welcome]).await?;
        // The peer may have what it wants already and be gone.
        let _gone = send.finish();
        Ok(named)
    }

    /// The newest term that this voter has seen.
    fn term(&self) -> u64 {
        self.raft.metrics().borrow().vote.leader_id.term
    }

    /// One call.
    async fn stream(
        self,
        connection: MeshConnection,
        peer: VoterId,
        budget: Arc<Budget>,
        mut send: quinn::SendStream,
        mut recv: quinn::RecvStream,
    ) {
        // The room is kept until the call is answered.
        let ((kind, body), _room) = match stream::recv_within(&mut recv, Some(&budget)).await {
            Ok(message) => message,
            Err(StreamFailed::Misbehaved(fault)) => {
                tracing::warn!(%peer, reason = %fault, "the peer broke the protocol");
                connection.close(CLOSE_MISBEHAVED, &fault.to_string());
                return;
            }
            // The caller has given up; it will call again.
            Err(
                StreamFailed::Deadline | StreamFailed::Broken(_) | StreamFailed::Torn | StreamFailed::Unencodable(_),
            ) => {
                return;
            }
        };
        let is_snapshot = matches!(kind, Kind::SnapshotV1 | Kind::Snapshot);
        let (kind, body) = match self.answer(peer, kind, body).await {
            Ok(answer) => answer,
            Err(refused) => {
                if is_snapshot {
                    self.inbound.tell(&connection.peer, &refused);
                }
                tracing::debug!(%peer, reason = refused, "call refused");
                (Kind::Refused, RefusedV1::new(&refused).to_bytes().unwrap_or_default())
            }
        };
        if stream::send(&mut send, kind, &[&body]).await.is_ok() {
            // The caller may have given up meanwhile.
            let _gone = send.finish();
        }
    }

    async fn answer(&self, peer: VoterId, kind: Kind, body: Vec<u8>) -> Result<(Kind, Vec<u8>), String> {
        match kind {
            Kind::Append => {
                let request = AppendV1::from_bytes(&body).map_err(text)?;
                drop(body);
                let request = AppendEntriesRequest::from(request);
                only_for_itself(peer, &request.vote)?;
                plausible::append(&request, self.term()).map_err(text)?;
                let response = self.raft.append_entries(request).await.map_err(text)?;
                if !matches!(response, AppendEntriesResponse::HigherVote(_)) {
                    self.heard.now(&self.env);
                }
                Ok((Kind::Appended, AppendedV1::from(response).to_bytes().map_err(text)?))
            }
            Kind::Vote => {
                let request = VoteRequest::from(AskVoteV1::from_bytes(&body).map_err(text)?);
                only_for_itself(peer, &request.vote)?;
                plausible::ask_for_vote(&request, self.term()).map_err(text)?;
                let response = self.raft.vote(request).await.map_err(text)?;
                Ok((Kind::Voted, VotedV1::from(response).to_bytes().map_err(text)?))
            }
            Kind::SnapshotV1 | Kind::Snapshot => {
                let SnapshotFront { vote, meta, applied, payload_start } = split_snapshot(kind, &body).map_err(text)?;
                only_for_itself(peer, &vote)?;
                let last = self.raft.metrics().borrow().last_log_index.unwrap_or(0);
                plausible::snapshot(&vote, &meta, self.term(), last).map_err(text)?;
                let payload = Bytes::from(body).slice(payload_start..);
                if self.raft.metrics().borrow().current_leader == Some(peer.0) {
                    self.heard.now(&self.env);
                }
                // Raft would put it in the place of the snapshot on disk and let the log go up to it, and a voter that
                // cannot read it would have nothing left.
                let (check, bytes) = (Arc::clone(&self.check), payload.clone());
                let checked = self.env.run_blocking(move || check(&bytes)).await.map_err(text)?;
                checked.map_err(|why| format!("its snapshot is not taken: {why}"))?;
                let snapshot = Snapshot { meta, snapshot: Box::new(SnapshotBody { applied, payload }) };
                let response = self.raft.install_full_snapshot(vote, snapshot).await.map_err(text)?;
                Ok((Kind::Installed, InstalledV1::of(&response.vote).to_bytes().map_err(text)?))
            }
            Kind::Call => {
                let answer = deadline(CALL_DEADLINE, self.calls.handle(peer, body)).await;
                Ok((Kind::Answer, answer.map_err(text)??))
            }
            Kind::Probe => {
                let membership = Arc::clone(&self.raft.metrics().borrow().membership_config);
                Ok((Kind::Probed, ProbedV1::from(membership.as_ref()).to_bytes().map_err(text)?))
            }
            Kind::TakeOver => {
                if self.raft.metrics().borrow().current_leader != Some(peer.0) {
                    return Err(format!("voter {peer} does not lead"));
                }
                self.raft.trigger().elect().await.map_err(text)?;
                Ok((Kind::TakingOver, Vec::new()))
            }
            Kind::Hello
            | Kind::Welcome
            | Kind::Appended
            | Kind::Voted
            | Kind::Installed
            | Kind::Answer
            | Kind::Probed
            | Kind::TakingOver
            | Kind::Refused => Err("not a call".to_owned()),
        }
    }
}

fn text(fault: impl std::fmt::Display) -> String {
    fault.to_string()
}

/// A voter leads or asks for votes in its own name only (C-23).
fn only_for_itself(peer: VoterId, vote: &Vote) -> Result<(), String> {
    if vote.leader_id.node_id == peer.0 {
        Ok(())
    } else {
        Err(format!("voter {peer} speaks for voter {}", vote.leader_id.node_id))
    }
}
