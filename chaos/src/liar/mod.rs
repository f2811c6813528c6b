//! A voter that lies to edges: a publisher of its own, with the voter's key and certificate, where the voter was.
//!
//! It speaks the real protocol with the real code, and an edge that dials it finds nothing wrong with the connection.
//! [`Truth`] is what it knew before; [`Truth::tell`] makes a lie of it.

mod told;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use remit_common::id::{EdgeId, LogIndex, MeshId, VoterId};
use remit_common::identity::{NodeKind, NodeRole};
use remit_common::limits::DOCUMENT_BYTES_MAX;
use remit_common::net::env::{Env, deadline};
use remit_common::net::framed::{FramedRecv, FramedSend};
use remit_common::net::quic::{Arriving, MeshEndpoint, QuicConfig, QuicLimits};
use remit_common::net::tasks::{Shutdown, TaskGroup};
use remit_common::net::tls::{Alpn, Identity, Peers};
use remit_common::sync::Lane;
use remit_common::sync::publisher::{EdgeReport, Publisher};
use remit_common::trust::tick::{Nonce, NonceTree, TickAnswer, TickRoots};
use remit_common::wire::message::EdgeMessage;

pub use self::told::{Told, Truth};
use crate::launcher::{MeshFile, read_signing_key};

/// For one frame, and for the handshake.
const WAIT: Duration = Duration::from_secs(10);
/// For edges to hear that it hangs up.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);

/// Whom it plays.
#[derive(Debug, Clone)]
pub struct Role {
    /// The voter.
    pub voter: VoterId,
    /// Its folder, with `identity.key` and `certificate.pem`.
    pub dir: PathBuf,
    /// Where edges reach it.
    pub dist: SocketAddr,
}

/// A liar at work. It lies until [`Self::stop`].
pub struct Liar {
    endpoint: Arc<MeshEndpoint>,
    stop: Shutdown,
    /// Locked by nobody; a group of tasks cannot be looked at from two threads.
    tasks: std::sync::Mutex<TaskGroup>,
}

impl Liar {
    /// Takes a voter's place; the voter must be gone. `env` is the world as the voter sees it.
    ///
    /// # Errors
    /// When the voter's files cannot be read, or its address is taken.
    pub fn start(env: &Env, mesh: &MeshFile, role: &Role, told: Told) -> Result<Self> {
        let read = |path: &Path| {
            env.disk.read(path, DOCUMENT_BYTES_MAX)?.with_context(|| format!("`{}` is missing", path.display()))
        };
        let key = read_signing_key(env, &role.dir.join("identity.key"))?;
        let pem = read(&role.dir.join("certificate.pem"))?;
        let edges_ca = read(&mesh.root.with_file_name("edges-ca.pem"))?;
        let config = QuicConfig {
            identity: Identity::from_pem_chain(&pem, &key)?,
            alpn: Alpn::Dist,
            accepts: Some(Peers::from_pem(mesh.mesh_id, NodeKind::Edge, &edges_ca)?),
            dials: None,
            limits: QuicLimits::dist_voter(),
        };
        let endpoint = Arc::new(MeshEndpoint::open(env, role.dist, config)?);
        let (stop, mut tasks) = (Shutdown::new(), TaskGroup::new(env));
        let speaker = Speaker {
            env: env.clone(),
            mesh: mesh.mesh_id,
            voter: role.voter,
            told: Arc::new(told),
            stop: stop.clone(),
        };
        tasks.spawn("liar", speaker.serve(Arc::clone(&endpoint)));
        Ok(Self { endpoint, stop, tasks: std::sync::Mutex::new(tasks) })
    }

    /// Hangs up and gives the address back.
    pub async fn stop(self) {
        self.stop.trigger();
        self.endpoint.close(CLOSE_WITHIN).await;
        let tasks = self.tasks.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        tasks.join_all(CLOSE_WITHIN).await;
    }
}

#[derive(Clone)]
struct Speaker {
    env: Env,
    mesh: MeshId,
    voter: VoterId,
    told: Arc<Told>,
    stop: Shutdown,
}

impl Speaker {
    async fn serve(self, endpoint: Arc<MeshEndpoint>) {
        let mut talks = TaskGroup::new(&self.env);
        loop {
            tokio::select! {
                biased;
                () = self.stop.requested() => break,
                Some(_) = talks.next_finished(), if !talks.is_empty() => {}
                arriving = endpoint.accept() => {
                    let Some(arriving) = arriving else { break };
                    let speaker = self.clone();
                    talks.spawn("lie", async move {
                        tokio::select! {
                            biased;
                            () = speaker.stop.requested() => {}
                            talked = speaker.talk(arriving) => {
                                if let Err(error) = talked {
                                    tracing::debug!(%error, "an edge has hung up on a liar");
                                }
                            }
                        }
                    });
                }
            }
        }
        talks.join_all(CLOSE_WITHIN).await;
    }

    async fn talk(&self, arriving: Arriving) -> Result<()> {
        let connection = arriving.establish(WAIT).await?;
        let NodeRole::Edge { edge, .. } = connection.peer.role.clone() else { return Ok(()) };
        let (send, recv) = deadline(WAIT, connection.quic.accept_bi()).await??;
        let (mut control, mut heard) = (FramedSend::new(send), FramedRecv::new(recv));
        let mut revocations = FramedSend::new(connection.quic.open_uni().await?);
        let mut objects = FramedSend::new(connection.quic.open_uni().await?);
        let state = Arc::clone(&self.told.state);
        let mut publisher = Publisher::new(self.mesh, edge.clone(), self.voter, state, self.env.now().boot);
        let mut tick = self.told.ticks_from;
        loop {
            let Some(message) = heard.recv::<EdgeMessage>(WAIT).await? else { return Ok(()) };
            if let Some(EdgeReport::Nonce(message)) = publisher.handle_message(message)? {
                tick.0 += 1;
                self.vouch(&mut publisher, &edge, tick, message.nonce);
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

    /// Says that there is nothing newer than the lie.
    fn vouch(&self, publisher: &mut Publisher, edge: &EdgeId, n: LogIndex, nonce: Nonce) {
        let tree = NonceTree::new([(edge.clone(), nonce)]);
        let roots = TickRoots { roots: vec![(self.voter, tree.root())] };
        if let Some(path) = tree.path(edge, self.voter, &roots) {
            let set = self.told.state.revocations().set();
            publisher.answer_tick(TickAnswer {
                n,
                nonce,
                nonce_root: roots.nonce_root(),
                path,
                epoch: set.epoch(),
                revocations: set.digest(),
                activations: self.told.activations,
                directory: self.told.directory,
                root: self.told.root,
            });
        }
    }
}
