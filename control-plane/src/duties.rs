//! What a voter does unasked: it forwards nonces, and while it leads it ticks, lets ended revocations go, and sees to
//! it that the registry has the root and the directory.

use std::sync::Arc;
use std::time::Duration;

use remit_common::crypto::digest::Digest;
use remit_common::net::tasks::Shutdown;

use crate::cluster::{Cluster, PeerRequest, Submitted, WriteError};
use crate::nonces::NonceDesk;
use crate::registry::{Applied, Command, State, TrustDocuments};

/// The root and the directory that this voter was installed with.
#[derive(Debug, Clone)]
pub(crate) struct Installed {
    pub(crate) documents: TrustDocuments,
    pub(crate) directory_version: u64,
    proposed: bool,
}

impl Installed {
    pub(crate) fn new(documents: TrustDocuments, directory_version: u64) -> Self {
        Self { documents, directory_version, proposed: false }
    }
}

/// Once a tick: this voter's nonces go to the leader, and a leader proposes.
pub(crate) async fn tick(
    cluster: Cluster,
    desk: Arc<NonceDesk>,
    mut installed: Installed,
    every: Duration,
    shutdown: Shutdown,
) {
    let mut timer = tokio::time::interval(every);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = shutdown.requested() => return,
            _ = timer.tick() => {}
        }
        let work = async {
            let root = desk.cut(cluster.env.now().boot);
            let leads = cluster.leads();
            cluster.metrics.leader.set(leads.into());
            observe(&cluster);
            if leads {
                lead(&cluster, &desk, root, &mut installed).await;
            } else if let Some(root) = root {
                forward(&cluster, root).await;
            }
        };
        tokio::select! {
            biased;
            () = shutdown.requested() => return,
            () = work => {}
        }
    }
}

/// A registry whose clock is ahead of this voter's has had a majority whose clocks were, or this one is behind.
fn observe(cluster: &Cluster) {
    let view = cluster.view();
    let ahead = view.state.clock().since(cluster.env.now().wall).as_secs();
    cluster.metrics.clock_ahead_seconds.set(i64::try_from(ahead).unwrap_or(i64::MAX));
    if let Ok(trust) = view.state.trust() {
        let listed = trust.directory.edges().count();
        let gauge = cluster.metrics.edges.get_or_create(&[("state", "listed")]);
        gauge.set(i64::try_from(listed).unwrap_or(i64::MAX));
    }
}

async fn forward(cluster: &Cluster, root: Digest) {
    let Some(leader) = cluster.status().and_then(|status| status.leader) else { return };
    if let Err(error) = cluster.ask(leader, &PeerRequest::NonceRoot(root)).await {
        tracing::debug!(%leader, %error, "the leader did not take the nonces");
    }
}

async fn lead(cluster: &Cluster, desk: &NonceDesk, root: Option<Digest>, installed: &mut Installed) {
    if let Some(root) = root {
        desk.note_root(cluster.id, root);
    }
    let view = cluster.view();
    let Some(at) = cluster.agreed_time() else { return };
    let mut commands = Vec::new();
    if wants_trust(&view.state, installed) {
        let documents = installed.documents.clone();
        // Tried once: should the registry refuse, it would refuse again.
        installed.proposed = propose(cluster, Command::InstallTrust { documents, at }).await;
    }
    if view.state.revocations().iter().any(|entry| entry.until <= at) {
        commands.push(Command::ExpireRevocations { at });
    }
    if view.state.trust().is_ok() {
        commands.push(Command::Tick { roots: desk.take_roots(), at });
    }
    for command in commands {
        propose(cluster, command).await;
    }
}

/// Whether the command was applied, as whatever it turned out to be.
async fn propose(cluster: &Cluster, command: Command) -> bool {
    match cluster.propose_own(&command).await {
        Ok(Submitted { applied: Applied::Refused(refusal), .. }) => {
            let (reason, detail) = (refusal.reason, refusal.detail);
            tracing::warn!(reason, detail, "a command of this leader was refused");
            true
        }
        Ok(_) => true,
        Err(WriteError::Unavailable(error)) => {
            tracing::debug!(%error, "not proposed");
            false
        }
        Err(error) => {
            tracing::info!(%error, "not proposed");
            false
        }
    }
}

/// Whether this voter was installed with what the registry does not have yet.
fn wants_trust(state: &State, installed: &Installed) -> bool {
    let missing = state.trust().map_or(true, |trust| trust.directory.version() < installed.directory_version);
    missing && !installed.proposed
}
