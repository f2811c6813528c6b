//! A publisher that lies, holding a voter's stolen key and certificate.
//!
//! It speaks the real protocol with the real code, and the edge that dials it finds nothing wrong with the
//! connection. What it says is another matter: whatever could widen anything carries the signature of who may widen
//! it, and this publisher has none of those keys.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use remit_chaos::launcher::{MeshFile, VoterEntry, read_signing_key};
use remit_common::crypto::digest::Digest;
use remit_common::id::{EdgeId, LogIndex, MeshId, VoterId};
use remit_common::identity::{NodeKind, NodeRole};
use remit_common::limits::DOCUMENT_BYTES_MAX;
use remit_common::net::env::{Env, deadline};
use remit_common::net::framed::{FramedRecv, FramedSend};
use remit_common::net::quic::{Arriving, MeshEndpoint, QuicConfig, QuicLimits};
use remit_common::net::tasks::TaskHandle;
use remit_common::net::tls::{Alpn, Identity, Peers};
use remit_common::sync::Lane;
use remit_common::sync::published::PublishedState;
use remit_common::sync::publisher::{EdgeReport, Publisher};
use remit_common::trust::tick::{NonceTree, TickAnswer, TickRoots};
use remit_common::wire::message::{EdgeMessage, Stage};
use tokio::sync::{mpsc, watch};

/// For one frame, and for the handshake.
const WAIT: Duration = Duration::from_secs(5);
/// Reports that wait to be read. An edge sends a few for each thing it is offered.
const REPORTS_MAX: usize = 256;

/// What the publisher claims: the state, and the facts that its tick answers vouch for.
#[derive(Debug, Clone)]
pub(crate) struct Lie {
    pub(crate) state: Arc<PublishedState>,
    pub(crate) activations: Digest,
    pub(crate) directory: u64,
    pub(crate) root: u64,
}

/// What the edge answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answered {
    /// It runs this bundle now.
    Active(Digest),
    /// It did not take what it was offered.
    Refused {
        /// A fixed word.
        code: String,
        /// For people.
        detail: String,
    },
    /// It hung up.
    HungUp,
}

/// The publisher, listening. It ends when this is dropped.
pub(crate) struct Hostile {
    lie: watch::Sender<Lie>,
    reports: mpsc::Receiver<Answered>,
    task: TaskHandle,
}

impl Hostile {
    /// Steals a voter's identity and listens.
    pub(crate) fn start(env: &Env, mesh: &MeshFile, victim: &VoterEntry, addr: SocketAddr, lie: Lie) -> Result<Self> {
        let read = |path: &std::path::Path| {
            env.disk.read(path, DOCUMENT_BYTES_MAX)?.with_context(|| format!("`{}` is missing", path.display()))
        };
        let key = read_signing_key(env, &victim.dir.join("identity.key"))?;
        let pem = read(&victim.dir.join("certificate.pem"))?;
        let edges_ca = read(&mesh.root.with_file_name("edges-ca.pem"))?;
        let config = QuicConfig {
            identity: Identity::from_pem_chain(&pem, &key)?,
            alpn: Alpn::Dist,
            accepts: Some(Peers::from_pem(mesh.mesh_id, NodeKind::Edge, &edges_ca)?),
            dials: None,
            limits: QuicLimits::dist_voter(),
        };
        let endpoint = MeshEndpoint::open(env, addr, config)?;
        let (lie, lies) = watch::channel(lie);
        let (report, reports) = mpsc::channel(REPORTS_MAX);
        let liar = Liar { env: env.clone(), mesh: mesh.mesh_id, voter: victim.id, lies, report };
        let task = env.spawn_named("hostile publisher", async move {
            while let Some(arriving) = endpoint.accept().await {
                // One edge dials; a second connection of it follows when the first has ended.
                liar.converse(arriving).await;
            }
        });
        Ok(Self { lie, reports, task })
    }

    /// Says something else from now on.
    pub(crate) fn say(&self, lie: Lie) {
        self.lie.send_replace(lie);
    }

    /// The next answer of the edge that is `wanted`, if it comes in time.
    pub(crate) async fn answer(&mut self, within: Duration, wanted: impl Fn(&Answered) -> bool) -> Option<Answered> {
        let next = async {
            while let Some(answer) = self.reports.recv().await {
                if wanted(&answer) {
                    return Some(answer);
                }
            }
            None
        };
        deadline(within, next).await.ok().flatten()
    }

    /// Forgets what the edge has answered so far.
    pub(crate) fn forget(&mut self) {
        while self.reports.try_recv().is_ok() {}
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Liar {
    env: Env,
    mesh: MeshId,
    voter: VoterId,
    lies: watch::Receiver<Lie>,
    report: mpsc::Sender<Answered>,
}

impl Liar {
    async fn converse(&self, arriving: Arriving) {
        if let Err(error) = self.try_converse(arriving).await {
            tracing::debug!(%error, "the edge has gone");
        }
        // A full queue means that nobody reads any more.
        let _ = self.report.try_send(Answered::HungUp);
    }

    async fn try_converse(&self, arriving: Arriving) -> Result<()> {
        let connection = arriving.establish(WAIT).await?;
        let NodeRole::Edge { edge, .. } = connection.peer.role.clone() else { return Ok(()) };
        let (send, recv) = deadline(WAIT, connection.quic.accept_bi()).await??;
        let mut control = FramedSend::new(send);
        let mut heard = FramedRecv::new(recv);
        let mut revocations = FramedSend::new(connection.quic.open_uni().await?);
        let mut objects = FramedSend::new(connection.quic.open_uni().await?);
        let mut lies = self.lies.clone();
        let first = lies.borrow_and_update().state.clone();
        let mut publisher = Publisher::new(self.mesh, edge.clone(), self.voter, first, self.env.now().boot);
        let mut tick = LogIndex(1_000_000);
        loop {
            tokio::select! {
                biased;
                message = heard.recv::<EdgeMessage>(WAIT) => {
                    let Some(message) = message? else { return Ok(()) };
                    if let Some(report) = publisher.handle_message(message)? {
                        tick.0 += 1;
                        self.hear(&mut publisher, &edge, tick, report);
                    }
                }
                changed = lies.changed() => {
                    changed?;
                    publisher.update(lies.borrow_and_update().state.clone());
                }
            }
            for lane in Lane::OF_VOTER {
                while let Some(message) = publisher.poll(lane) {
                    match lane {
                        Lane::Control => control.send(&message, WAIT).await?,
                        Lane::Revocations => revocations.send(&message, WAIT).await?,
                        Lane::Objects | Lane::Records => objects.send(&message, WAIT).await?,
                    }
                }
            }
        }
    }

    fn hear(&self, publisher: &mut Publisher, edge: &EdgeId, tick: LogIndex, report: EdgeReport) {
        let answered = match report {
            EdgeReport::Nonce(message) => {
                let lie = self.lies.borrow().clone();
                let tree = NonceTree::new([(edge.clone(), message.nonce)]);
                let roots = TickRoots { roots: vec![(self.voter, tree.root())] };
                if let Some(path) = tree.path(edge, self.voter, &roots) {
                    let set = lie.state.revocations().set();
                    publisher.answer_tick(TickAnswer {
                        n: tick,
                        nonce: message.nonce,
                        nonce_root: roots.nonce_root(),
                        path,
                        epoch: set.epoch(),
                        revocations: set.digest(),
                        activations: lie.activations,
                        directory: lie.directory,
                        root: lie.root,
                    });
                }
                return;
            }
            EdgeReport::Ack(ack) if ack.stage == Stage::Active => Answered::Active(ack.manifest),
            EdgeReport::Nack(nack) => Answered::Refused { code: nack.code, detail: nack.detail },
            EdgeReport::Subscribed { .. }
            | EdgeReport::Ack(_)
            | EdgeReport::Attest(_)
            | EdgeReport::Covered(_)
            | EdgeReport::Records(_) => return,
        };
        let _ = self.report.try_send(answered);
    }
}
