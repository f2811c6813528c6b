//! A running voter: everything started in order, joined at the end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use remit_common::id::VoterId;
use remit_common::limits::ADMIN_BODY_BYTES_MAX;
use remit_common::net::enrol;
use remit_common::net::env::{Env, Listener, deadline};
use remit_common::net::http::{ServeCounters, ServeLimits, serve};
use remit_common::net::quic::{MeshEndpoint, OpenFailed, QuicConfig, QuicLimits};
use remit_common::net::tasks::{Shutdown, TaskGroup};
use remit_common::net::tls::Alpn;

use crate::beacons::Beacons;
use crate::cluster::{Calls, Cluster, Services, compare_clocks};
use crate::collect::{Collector, Others, StoreFailed};
use crate::config::{Config, ConfigError, Timings};
use crate::edges::EdgeTable;
use crate::enrolment::Desk;
use crate::issuer::Issuer;
use crate::machine::Machine;
use crate::materials::{EnrolmentMaterial, Materials, Unusable};
use crate::nonces::NonceDesk;
use crate::raft::{ChangeError, Fatal, Members, RaftConfig, RaftNode, RaftRole, RaftTimings, RaftTls, StartError};
use crate::rollouts::Lookout;
use crate::telemetry::Telemetry;
use crate::{admin, duties, electorate, enrolment, ops, publish, refill};

/// Administrators' connections at the same time: people, their tools, and open streams. Each may be sending a bundle.
const ADMIN_CONNECTIONS_MAX: usize = 64;
/// Connections to the operations listener: probes and scrapers.
const OPS_CONNECTIONS_MAX: usize = 64;
/// Time for the headers of a request.
const HEADER_WITHIN: Duration = Duration::from_secs(10);
/// Time for the body of a request: the largest bundle over a slow line.
const BODY_WITHIN: Duration = Duration::from_secs(60);
/// How long open requests may go on at shutdown.
const GRACE: Duration = Duration::from_secs(2);
/// How long a leader that stops looks for a successor.
const DRAIN_WITHIN: Duration = Duration::from_secs(5);
/// How long tasks may take to end at shutdown.
const END_WITHIN: Duration = Duration::from_secs(5);

/// A voter does not start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configuration is not usable.
    #[error("the configuration is not usable")]
    Config(#[from] ConfigError),
    /// A file that it names is not usable.
    #[error("a file of the configuration is not usable")]
    File(#[from] Unusable),
    /// The data folder cannot be made.
    #[error("the data folder cannot be used")]
    DataFolder(#[source] std::io::Error),
    /// A listener does not open.
    #[error("cannot listen on `{addr}`")]
    Listen {
        /// Where.
        addr: SocketAddr,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The endpoint for edges does not open.
    #[error("the endpoint for edges does not open")]
    Endpoint(#[from] OpenFailed),
    /// Consensus does not start.
    #[error("consensus does not start")]
    Consensus(#[from] StartError),
    /// The store of decision records does not open.
    #[error("the store of decision records does not open")]
    Records(#[from] StoreFailed),
    /// The voter can no longer keep its promises.
    #[error("this voter must stop: {reason}")]
    Fatal {
        /// Why.
        reason: String,
    },
}

/// A running voter.
pub struct Voter {
    /// Which.
    pub id: VoterId,
    /// Where administrators call, the port resolved.
    pub admin_addr: SocketAddr,
    /// Where operators look, the port resolved.
    pub ops_addr: SocketAddr,
    /// Where edges connect, the port resolved.
    pub dist_addr: SocketAddr,
    /// Where edges join, the port resolved; `None` where this voter takes none in.
    pub enrol_addr: Option<SocketAddr>,
    tasks: TaskGroup,
    raft: RaftNode,
    fatal: Fatal,
    /// Somebody wants this voter to stop.
    stop: Shutdown,
    /// Everything in it ends.
    shutdown: Shutdown,
}

impl std::fmt::Debug for Voter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Voter({})", self.id)
    }
}

impl Voter {
    /// Starts a voter; returns when it takes part in consensus and its listeners are bound.
    ///
    /// # Errors
    /// [`RunError`]; nothing keeps running then.
    pub async fn start(config: Config, env: Env, stop: Shutdown) -> Result<Self, RunError> {
        // Two signals: between them a leader hands over, and everything still runs.
        let shutdown = Shutdown::new();
        config.check()?;
        let materials = Materials::load(&config, &env)?;
        env.disk.create_dir(&config.data_dir).map_err(RunError::DataFolder)?;
        let telemetry = Telemetry::new();
        let metrics = telemetry.metrics.clone();
        let fatal = Fatal::new();
        let mut tasks = TaskGroup::new(&env);

        let listen = |addr| env.socket.listen(addr).map_err(|source| RunError::Listen { addr, source });
        let (admin_listener, ops_listener) = (listen(config.listen.admin)?, listen(config.listen.ops)?);
        let endpoint = open_endpoint(&config, &materials, &env)?;
        let dist_addr =
            endpoint.local_addr().map_err(|source| RunError::Listen { addr: config.listen.dist, source })?;
        ops::show_buffers(&endpoint, &metrics);
        let enrolment = open_enrolment(&config, &materials, &env)?;
        let enrol_addr = match (&enrolment, &config.enrolment) {
            (Some(endpoint), Some(of)) => {
                Some(endpoint.local_addr().map_err(|source| RunError::Listen { addr: of.listen, source })?)
            }
            _ => None,
        };
        let has_log = config.has_log(&env).map_err(RunError::DataFolder)?;

        let (machine, views) = Machine::new(materials.genesis.clone(), &env, &metrics);
        let voters: Vec<VoterId> = config.peers.iter().map(|peer| peer.id).collect();
        let cluster = Cluster::new(config.id, &voters, views.clone(), &env, &metrics);
        let calls = Calls::default();
        let raft = raft_config(&config, &materials)?;
        let raft = RaftNode::start(raft, &env, Box::new(machine), Arc::new(calls.clone())).await?;
        cluster.join(raft.clone());
        if !config.join
            && let Err(error) = raft.initialize().await
        {
            raft.shutdown().await;
            return Err(error.into());
        }
        // After Raft, whose log says whether there are other voters.
        let others = others(&config, has_log, &raft.status().members);
        let (folder, mesh) = (&config.data_dir, config.mesh_id);
        let opened = Collector::open(folder, others, mesh, &env, &metrics, fatal.clone(), shutdown.clone());
        let (collector, writer) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                raft.shutdown().await;
                return Err(error.into());
            }
        };
        tasks.spawn("record writer", writer);

        let issuer = Arc::new(Issuer::new(materials.issuer));
        let edges = Arc::new(EdgeTable::new(&metrics));
        let nonces = Arc::new(NonceDesk::new(config.id, &metrics));
        let lookout = Lookout { cluster: cluster.clone(), edges: edges.clone(), desk: Arc::default() };
        let keys = materials.beacon_keys;
        let beacons = match Beacons::open(cluster.clone(), nonces.clone(), keys, &config.data_dir) {
            Ok(beacons) => beacons,
            Err(error) => {
                raft.shutdown().await;
                return Err(RunError::DataFolder(error));
            }
        };
        calls.serve(Services {
            cluster: cluster.clone(),
            issuer: issuer.clone(),
            edges: edges.clone(),
            nonces: nonces.clone(),
            beacons: beacons.clone(),
            rollouts: lookout.desk.clone(),
            collector: collector.clone(),
        });
        tasks.spawn("rollouts", lookout.clone().run(shutdown.clone()));
        tasks.spawn("records of others", refill::keep(cluster.clone(), collector.clone(), shutdown.clone()));
        tasks.spawn("clocks", compare_clocks(cluster.clone(), shutdown.clone()));
        tasks.spawn("voters", electorate::keep(cluster.clone(), raft.clone(), shutdown.clone()));
        let (published, keep_published) = publish::keep_published(views, shutdown.clone());
        tasks.spawn("published state", keep_published);
        tasks.spawn("tick answers", beacons.clone().run(shutdown.clone()));
        let ticks = duties::tick(cluster.clone(), nonces.clone(), materials.installed, config.tick(), shutdown.clone());
        tasks.spawn("ticks", ticks);
        let distribution = publish::Distribution {
            cluster: cluster.clone(),
            edges: edges.clone(),
            nonces,
            rollouts: lookout.desk.clone(),
            collector: collector.clone(),
            published,
            verifying: publish::Turns::new(),
        };
        tasks.spawn("edges", publish::accept(endpoint, distribution, shutdown.clone()));
        if let (Some(endpoint), Some(of), Some(material)) = (enrolment, &config.enrolment, materials.enrolment) {
            let EnrolmentMaterial { identity: _, authority, edges } = material;
            let desk = Desk { cluster: cluster.clone(), authority, edges, life_secs: of.certificate_secs };
            tasks.spawn("enrolment", enrolment::accept(endpoint, desk, shutdown.clone()));
        }

        let (admin_addr, ops_addr) = (admin_listener.local_addr(), ops_listener.local_addr());
        let app = admin::App {
            genesis: materials.genesis,
            cluster: cluster.clone(),
            issuer,
            edges,
            beacons: beacons.clone(),
            lookout,
            collector,
            shutdown: shutdown.clone(),
            enrol: enrol_addr,
        };
        let limits = |connections_max, body_bytes_max| ServeLimits {
            connections_max,
            header_timeout: HEADER_WITHIN,
            body_timeout: BODY_WITHIN,
            body_bytes_max,
            grace: GRACE,
            ..ServeLimits::default()
        };
        let admin_limits = limits(ADMIN_CONNECTIONS_MAX, ADMIN_BODY_BYTES_MAX);
        tasks.spawn("admin", listen_http(&env, admin_listener, admin::router(app), admin_limits, &shutdown));
        let ops_router = ops::router(telemetry, (cluster, beacons), stop.clone(), dist_addr);
        tasks.spawn("ops", listen_http(&env, ops_listener, ops_router, limits(OPS_CONNECTIONS_MAX, 0), &shutdown));
        tracing::info!(voter = %config.id, %admin_addr, %ops_addr, %dist_addr, "this voter is up");
        Ok(Self { id: config.id, admin_addr, ops_addr, dist_addr, enrol_addr, tasks, raft, fatal, stop, shutdown })
    }

    /// Waits until the voter was asked to stop, has handed over if it led, and has ended; or until it had to stop by
    /// itself.
    ///
    /// # Errors
    /// [`RunError::Fatal`] when it had to.
    pub async fn join(self) -> Result<(), RunError> {
        let Self { mut tasks, raft, fatal, stop, shutdown, .. } = self;
        let ended = loop {
            tokio::select! {
                biased;
                () = stop.requested() => break Ok(()),
                reason = fatal.raised() => break Err(RunError::Fatal { reason }),
                reason = raft.fatal() => break Err(RunError::Fatal { reason }),
                Some((task, result)) = tasks.next_finished() => {
                    if !stop.is_requested() {
                        let reason = match result {
                            Ok(()) => format!("its task `{task}` has ended"),
                            Err(error) => format!("its task `{task}` has failed: {error}"),
                        };
                        break Err(RunError::Fatal { reason });
                    }
                }
            }
        };
        if ended.is_ok() {
            drain(&raft).await;
        }
        shutdown.trigger();
        raft.shutdown().await;
        for task in tasks.join_all(END_WITHIN).await {
            tracing::warn!(task, "a task did not end in time");
        }
        match fatal.reason() {
            Some(reason) => Err(RunError::Fatal { reason }),
            None => ended,
        }
    }
}

/// A leader that stops hands over first, so that nobody waits until its silence is noticed (K-16).
async fn drain(raft: &RaftNode) {
    if raft.status().role != RaftRole::Leader || raft.status().voters.len() < 2 {
        return;
    }
    tracing::info!("this voter leads, and hands over before it stops");
    let handing_over = async {
        loop {
            match raft.hand_over(None).await {
                // The next try is another voter's turn.
                Err(ChangeError::NotElected(_)) => {}
                ended => return ended,
            }
        }
    };
    match deadline(DRAIN_WITHIN, Box::pin(handing_over)).await {
        Ok(Ok(leader)) => tracing::info!(%leader, "handed over"),
        Ok(Err(reason)) => tracing::info!(%reason, "stopping without a successor"),
        Err(_) => tracing::info!("stopping without a successor: handing over took too long"),
    }
}

/// Runs a voter until shutdown is requested.
///
/// # Errors
/// [`RunError`] when it does not start, or had to stop by itself.
pub async fn run(config: Config, env: Env, shutdown: Shutdown) -> Result<(), RunError> {
    Voter::start(config, env, shutdown).await?.join().await
}

/// Whether other voters may have records that a new store here would lack. Who the others are the log says; before it
/// does, whoever joins has others whatever its configuration names, and the rest is in the configuration. A voter that
/// has a log has had records.
fn others(config: &Config, has_log: bool, members: &Members) -> Others {
    let by_log = members.voters();
    let is_alone = if by_log.is_empty() {
        !config.join && config.peers.iter().all(|peer| peer.id == config.id)
    } else {
        by_log.iter().all(|voter| *voter == config.id)
    };
    if is_alone {
        Others::None
    } else if config.join || has_log {
        Others::Older
    } else {
        Others::Equal
    }
}

fn open_endpoint(config: &Config, materials: &Materials, env: &Env) -> Result<MeshEndpoint, RunError> {
    let quic = QuicConfig {
        identity: materials.identity(config)?,
        alpn: Alpn::Dist,
        accepts: Some(materials.edges.clone()),
        dials: None,
        limits: QuicLimits::dist_voter(),
    };
    Ok(MeshEndpoint::open(env, config.listen.dist, quic)?)
}

fn open_enrolment(config: &Config, materials: &Materials, env: &Env) -> Result<Option<MeshEndpoint>, RunError> {
    let (Some(of), Some(material)) = (&config.enrolment, &materials.enrolment) else { return Ok(None) };
    Ok(Some(enrol::listen(env, of.listen, &material.identity)?))
}

fn raft_config(config: &Config, materials: &Materials) -> Result<RaftConfig, RunError> {
    let Timings { heartbeat_ms, election_ms_min, election_ms_max, tick_ms: _, snapshot_entries } = config.timings;
    let timings = RaftTimings {
        heartbeat: Duration::from_millis(heartbeat_ms),
        election_min: Duration::from_millis(election_ms_min),
        election_max: Duration::from_millis(election_ms_max),
        snapshot_every_entries: snapshot_entries,
        keep_entries: snapshot_entries / 5,
        ..RaftTimings::default()
    };
    Ok(RaftConfig {
        mesh: config.mesh_id,
        id: config.id,
        voters: config.peers.iter().map(|peer| (peer.id, peer.raft)).collect(),
        joins: config.join,
        listen: config.listen.raft,
        data_dir: config.raft_dir(),
        timings,
        tls: RaftTls { identity: materials.identity(config)?, voters: materials.voters.clone() },
    })
}

fn listen_http(
    env: &Env,
    listener: Box<dyn Listener>,
    router: axum::Router,
    limits: ServeLimits,
    shutdown: &Shutdown,
) -> impl Future<Output = ()> + Send + 'static {
    let (env, shutdown) = (env.clone(), shutdown.clone());
    async move {
        let counters = ServeCounters::default();
        serve(&env, listener, router, limits, &counters, &shutdown).await;
        let (accepted, shed) = (counters.accepted.load(Ordering::Relaxed), counters.shed.load(Ordering::Relaxed));
        tracing::debug!(accepted, shed, "a listener has closed");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::config::Peer;
    use crate::config::tests::FILE;

    fn config(join: bool, peers: &[u64]) -> Config {
        let at = SocketAddr::from(([127, 0, 0, 1], 1));
        let peers = peers.iter().map(|id| Peer { id: VoterId(*id), raft: at }).collect();
        Config { id: VoterId(4), join, peers, ..toml::from_str(FILE).unwrap() }
    }

    fn log_of(ids: &[u64]) -> Members {
        let voters: BTreeSet<VoterId> = ids.iter().copied().map(VoterId).collect();
        Members { configs: vec![voters], ..Members::default() }
    }

    /// Clause K-18: it would vote without the records of those whom it does not name.
    #[test]
    fn a_joiner_that_names_only_itself_is_not_alone() {
        assert_eq!(others(&config(true, &[4]), false, &Members::default()), Others::Older);
        assert_eq!(others(&config(true, &[4]), true, &log_of(&[1, 2, 3, 4])), Others::Older);
    }

    #[test]
    fn a_mesh_that_grew_from_one_voter_sets_a_damaged_file_aside() {
        assert_eq!(others(&config(false, &[4]), true, &log_of(&[4, 5, 6])), Others::Older);
        assert_eq!(others(&config(false, &[4]), true, &log_of(&[4])), Others::None);
        assert_eq!(others(&config(false, &[4]), false, &Members::default()), Others::None);
        // And the last one that is left sets nothing aside, whoever there was once.
        assert_eq!(others(&config(false, &[1, 2, 4]), true, &log_of(&[4])), Others::None);
        assert_eq!(others(&config(true, &[1, 2, 4]), true, &log_of(&[4])), Others::None);
    }

    #[test]
    fn who_begins_with_the_mesh_lacks_nothing() {
        assert_eq!(others(&config(false, &[3, 4, 5]), false, &log_of(&[3, 4, 5])), Others::Equal);
        assert_eq!(others(&config(false, &[3, 4, 5]), true, &log_of(&[3, 4, 5])), Others::Older);
    }
}
