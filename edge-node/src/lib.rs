//! An edge of a Remit mesh.
//!
//! It stands between agents and tools: it decides each call from verified local state, injects the credential that
//! the agent never sees, filters what comes back, and records all of it. It needs the control plane for news, never
//! for a decision. In the order of a call's way: `ingress` reads it, `road` leads it, `pdp` judges it, `report`
//! records it, `pep` makes the judgement a value, `vault` opens the credential, `egress` spends both. Beside that way,
//! `sync` hears what voters say and `active` makes true what of it can be verified.

mod active;
mod certificate;
mod chains;
mod channels;
pub mod config;
mod drain;
mod egress;
mod enrolment;
mod hops;
mod ingress;
mod material;
mod ops;
mod pdp;
mod pep;
mod report;
mod road;
mod room;
mod shadow;
mod sync;
pub mod telemetry;
mod vault;

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use remit_common::id::BootId;
use remit_common::limits::CONFIG_BYTES_MAX;
use remit_common::net::bootstrap::BootstrapFolder;
use remit_common::net::env::{AppendFile, Env, Listener, deadline};
use remit_common::net::http::{ServeCounters, ServeLimits, serve, serve_tls};
use remit_common::net::https::ServerTls;
use remit_common::net::quic::{MeshEndpoint, OpenFailed, QuicConfig, QuicLimits};
use remit_common::net::service;
use remit_common::net::tasks::{Shutdown, TaskFailed, TaskGroup};
use remit_common::net::tls::{Alpn, Identity, Peers};
use remit_common::trust::freshness::Mode;
use tokio::sync::{Semaphore, mpsc, watch};

pub use config::{Config, ConfigError};
pub use enrolment::NotJoined;
pub use material::MaterialUnusable;
pub use report::SpoolUnusable;
pub use telemetry::LogFormat;

use active::{NotBootstrapped, State, StateConfig, ViewCell};
use certificate::CertificateWatch;
use chains::Chains;
use channels::Channels;
use drain::Drain;
use egress::Egress;
use enrolment::Renewal;
use hops::Hops;
use ingress::Ingress;
use ingress::mcp::list::Cursors;
use material::Material;
use ops::Operations;
use pdp::{Place, ProofFloor};
use report::{Author, Reporter, SpoolConfig};
use road::Gateway;
use shadow::Shadows;
use sync::{Asking, Dialler, Followed, Follower, Greeting, Links, Tidied, Told, VoterLinks};
use telemetry::Telemetry;
use vault::Vault;

/// How long open requests may go on after shutdown was requested.
const REQUESTS_END_WITHIN: Duration = Duration::from_secs(5);
/// How long the last records may take to be written.
const TASKS_END_WITHIN: Duration = Duration::from_secs(5);
/// Between two looks at how fresh this edge is: what is open in memory outlives its bound by this at most.
const SENTINEL_EVERY: Duration = Duration::from_millis(500);
/// Operators and their scrapers.
const OPS_CONNECTIONS_MAX: usize = 64;
/// How long a scraper may still read when everything else has ended.
const OPS_END_WITHIN: Duration = Duration::from_secs(1);
/// How long an edge that ends waits until a majority of the voters has its records. What is left goes out after the
/// next start.
const FLUSH_WITHIN: Duration = Duration::from_secs(5);
/// Between two looks at that.
const FLUSH_LOOK: Duration = Duration::from_millis(20);
/// The operations listener takes no bodies.
const OPS_BODY_BYTES_MAX: usize = 1024;

/// How the command line starts an edge.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The configuration file (TOML).
    #[arg(long, value_name = "FILE", env = "REMIT_CONFIG")]
    pub config: PathBuf,
    /// Sets one value, above file and environment.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// How logs are printed, on standard error.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// Check the configuration and every file it names, and stop.
    #[arg(long)]
    pub check_config: bool,
    /// A folder that stands in for the control plane at the start, as `remit edge bootstrap` writes it
    #[arg(long, value_name = "DIR")]
    pub bootstrap: Option<PathBuf>,
    /// Print every value of the configuration with where it came from, and stop.
    #[arg(long)]
    pub print_config: bool,
}

/// An edge does not start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configuration is not usable.
    #[error("the configuration is not usable")]
    Config(#[from] ConfigError),
    /// A file that the configuration names is not.
    #[error("a file that the configuration names is not usable")]
    Material(#[from] MaterialUnusable),
    /// Another process works in the data folder, or the disk refuses.
    #[error("the data folder `{path}` is in use, or not usable")]
    DataDir {
        /// The folder.
        path: PathBuf,
        /// What the disk says.
        #[source]
        source: io::Error,
    },
    /// The configured root, or what lies on the disk, does not verify.
    #[error("the state does not verify: {0}")]
    State(String),
    /// The folder that is to stand in for the control plane cannot.
    #[error("the bootstrap folder `{path}` is not usable: {why}")]
    Bootstrap {
        /// The folder.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// The spool is not usable.
    #[error("the spool is not usable")]
    Spool(#[from] SpoolUnusable),
    /// A listener does not open.
    #[error("cannot listen at `{addr}`")]
    Listen {
        /// Where.
        addr: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The endpoint towards the voters does not open.
    #[error("cannot open the endpoint towards the voters")]
    Endpoint(#[from] OpenFailed),
    /// The voters have not taken it in.
    #[error("this edge has not joined the mesh")]
    NotJoined(#[from] NotJoined),
    /// The library refused a key that it has no reason to refuse.
    #[error("the cryptographic library is not usable")]
    Crypto,
    /// A part of the edge ended by itself.
    #[error("`{task}` ended")]
    Task {
        /// Which.
        task: &'static str,
        /// How.
        #[source]
        source: Option<TaskFailed>,
    },
}

/// A running edge.
#[derive(Debug)]
pub struct Edge {
    /// Where agents call, the port resolved.
    pub agent_addr: SocketAddr,
    /// Where operators look, the port resolved.
    pub ops_addr: SocketAddr,
    /// The start of this process, as its records name it.
    pub boot: BootId,
    shutdown: Shutdown,
    /// Asked to end after the listeners have, so that the last requests are recorded.
    back_shutdown: Shutdown,
    front: TaskGroup,
    back: TaskGroup,
    /// Calls under way, and how many there can be.
    calls: (Arc<Semaphore>, u32),
    gateway: Arc<Gateway>,
    links: watch::Receiver<Links>,
    endpoint: MeshEndpoint,
    /// The data folder, and what locks it.
    data: (PathBuf, Box<dyn AppendFile>),
}

impl Edge {
    /// Starts an edge; returns when its listeners are bound and what was on its disk is active.
    ///
    /// # Errors
    /// [`RunError`]; nothing keeps running then.
    pub async fn start(config: Config, env: Env, shutdown: Shutdown) -> Result<Self, RunError> {
        config.check()?;
        let material = Material::load(&config, &env)?;
        let lock = lock(&config.data_dir, &env)?;
        let folder = config.data_dir.clone();
        let started = match load_state(&config, &env, material.root.clone()).await {
            Ok(state) => {
                let data = (config.data_dir.clone(), lock);
                Self::wire(config, env.clone(), shutdown, (material, state, data))
            }
            Err(error) => Err(error),
        };
        if started.is_err() {
            // A port that is taken, or a file that cannot be read, says nothing about a bundle.
            end_trials(&env, folder).await;
        }
        started
    }

    /// Puts the parts together and sets them going.
    #[expect(clippy::too_many_lines, reason = "wires the parts together, one after the other")]
    fn wire(
        config: Config,
        env: Env,
        shutdown: Shutdown,
        (material, state, data): (Material, State, (PathBuf, Box<dyn AppendFile>)),
    ) -> Result<Self, RunError> {
        let config = Arc::new(config);
        let boot = BootId(env.random());
        let views = state.cell();
        let telemetry = Arc::new(Telemetry::new());
        let metrics = &telemetry.metrics;
        let back_shutdown = Shutdown::new();
        let (mut front, mut back) = (TaskGroup::new(&env), TaskGroup::new(&env));

        let author = Author { mesh: config.mesh_id, edge: config.id.clone(), boot, key: Arc::clone(&material.key) };
        let listed = views.load().directory.clone();
        let voters = match &listed {
            Some(directory) => directory.content().voters.iter().map(|voter| voter.id).collect(),
            None => config.voters.iter().map(|voter| voter.id).collect(),
        };
        let spool =
            SpoolConfig { folder: config.data_dir.join("spool"), quota: config.limits.spool_bytes_max, author, voters };
        let reporter = Reporter::start(&env, spool, Arc::clone(&views), metrics, &mut back, &back_shutdown)?;

        let sealing = material.sealing.public().clone();
        let vault = Arc::new(Vault::new(material.sealing));
        let endpoint = open_endpoint(&config, &env, material.identity, material.voters.clone())?;
        metrics.show_buffers(endpoint.buffers());
        let (show, certificate) = watch::channel(material.shown);
        if config.enrolment.is_some() {
            let keys = (Arc::clone(&material.key), sealing);
            let renewal = Renewal::new(&env, &config, keys, (endpoint.clone(), material.voters), show)?;
            back.spawn("renewal", renewal.run(back_shutdown.clone()));
        }
        let greeting = Greeting { mesh: config.mesh_id, edge: config.id.clone(), boot };
        let (tell_fork, forked) = mpsc::channel(1);
        let (tell_voters, told) = watch::channel(Told::default());
        let (table, links) = watch::channel(Links::default());
        let voter_links = VoterLinks {
            dialler: Dialler {
                env: env.clone(),
                endpoint: endpoint.clone(),
                greeting: greeting.clone(),
                feed: Arc::clone(reporter.feed()),
                forked: tell_fork,
                told: tell_voters,
            },
            configured: config.voters.iter().map(|voter| (voter.id, voter.dist)).collect(),
            file: config.data_dir.join("voters.json"),
            views: Arc::clone(&views),
            told,
            table,
        };
        back.spawn("links to voters", voter_links.run(back_shutdown.clone()));
        let followed = watch::Sender::new(Followed::default());
        let (shadows, shadow_queue) = Shadows::new();
        back.spawn("shadow", shadow_queue.run(env.clone(), shadows.clone(), back_shutdown.clone()));
        let (hold, held_cuts) = tokio::sync::mpsc::channel(1);
        let follower = Follower {
            env: env.clone(),
            greeting,
            key: Arc::clone(&material.key),
            tenants: config.tenants.clone(),
            state: Some(state),
            views: Arc::clone(&views),
            vault: Arc::clone(&vault),
            metrics: metrics.clone(),
            feed: Arc::clone(reporter.feed()),
            shadows: shadows.clone(),
            links: links.clone(),
            followed: followed.clone(),
            forked,
            tidied: Tidied::default(),
            held: held_cuts,
        };
        back.spawn("follower", follower.run(back_shutdown.clone()));
        let channels = Arc::new(Channels::new(config.tenants.len()));
        back.spawn(
            "sentinel",
            Sentinel {
                env: env.clone(),
                config: Arc::clone(&config),
                views: Arc::clone(&views),
                vault: Arc::clone(&vault),
                channels: Arc::clone(&channels),
            }
            .watch(back_shutdown.clone()),
        );

        let calls = Arc::new(Semaphore::new(config.limits.calls_max));
        let gateway = Arc::new(Gateway {
            env: env.clone(),
            mesh: config.mesh_id,
            place: Place { edge: config.id.clone(), region: config.region.clone() },
            views,
            chains: Chains::counting(telemetry.metrics.envelope_signatures.clone()),
            hops: Hops::new(config.tenants.len()),
            channels,
            floor: ProofFloor(config.proof.floor),
            key: material.key,
            vault,
            egress: Egress::new(&env, config.upstream_deadline(), &config.programs),
            reporter,
            shadows,
            metrics: metrics.clone(),
            calls: Arc::clone(&calls),
            calls_max: config.limits.calls_max,
            drain: Arc::new(Drain::since(env.now().wall)),
        });
        let ingress = Ingress {
            gateway: Arc::clone(&gateway),
            origins: Arc::new(config.allowed_origins.clone()),
            cursors: Arc::new(Cursors::new(&env, config.mesh_id).ok_or(RunError::Crypto)?),
            asking: Arc::new(Asking::new(links.clone())),
            hold,
            points: Arc::new(ingress::EnforcementPoints::new(&config.enforcement_points)),
            public_url: config.public_url.as_deref().map(Into::into),
        };
        let counters = Arc::new(ServeCounters::default());
        let operations = Operations {
            config: Arc::clone(&config),
            boot,
            gateway: Arc::clone(&gateway),
            telemetry,
            followed: followed.subscribe(),
            links: links.clone(),
            certificate,
            counters: Arc::clone(&counters),
            stop: shutdown.clone(),
        };
        let agent = listen(&env, config.listen.agent)?;
        let ops = listen(&env, config.listen.ops)?;
        let (agent_addr, ops_addr) = (agent.local_addr(), ops.local_addr());
        let agent_limits = ServeLimits {
            connections_max: config.limits.agent_connections_max,
            connections_per_source_max: Some(config.limits.agent_connections_per_source_max),
            stall_timeout: Duration::from_secs(30),
            header_timeout: Duration::from_secs(60),
            // More than is accepted, so that the refusal is ours, and recorded.
            body_bytes_max: ingress::BODY_BYTES_READ_MAX,
            body_timeout: Duration::from_secs(20),
            grace: REQUESTS_END_WITHIN,
        };
        let ops_limits = ServeLimits {
            connections_max: OPS_CONNECTIONS_MAX,
            connections_per_source_max: None,
            body_bytes_max: OPS_BODY_BYTES_MAX,
            grace: OPS_END_WITHIN,
            ..agent_limits.clone()
        };
        let serve_agents = (env.clone(), shutdown.clone());
        // Operators look on while the edge ends.
        let serve_ops = (env.clone(), back_shutdown.clone());
        let tls = match (material.agents_tls, config.listen.tls.clone()) {
            (Some((shown, certificate)), Some(files)) => {
                let tls = ServerTls::new(&env, certificate).map_err(MaterialUnusable::AgentsTls)?;
                let watch = CertificateWatch { env: env.clone(), files, tls: tls.clone(), shown };
                back.spawn("certificate", watch.run(back_shutdown.clone()));
                Some(tls)
            }
            (_, _) => None,
        };
        front.spawn("agents' listener", async move {
            let (env, shutdown) = serve_agents;
            serve_tls(&env, agent, tls, ingress::router(ingress), agent_limits, &counters, &shutdown).await;
        });
        back.spawn("operations listener", async move {
            let (env, shutdown) = serve_ops;
            serve(&env, ops, ops::router(operations), ops_limits, &ServeCounters::default(), &shutdown).await;
        });
        tracing::info!(edge = %config.id, %agent_addr, %ops_addr, %boot, "the edge is up");
        let calls = (calls, u32::try_from(config.limits.calls_max).unwrap_or(u32::MAX));
        Ok(Self {
            agent_addr,
            ops_addr,
            boot,
            shutdown,
            back_shutdown,
            front,
            back,
            calls,
            gateway,
            links,
            endpoint,
            data,
        })
    }

    /// Waits until shutdown was requested and everything has ended.
    ///
    /// # Errors
    /// [`RunError::Task`] when a listener ended by itself. Other parts that end leave an edge that refuses what it can
    /// no longer judge or record.
    pub async fn join(mut self) -> Result<(), RunError> {
        let ended = loop {
            tokio::select! {
                biased;
                () = self.shutdown.requested() => break Ok(()),
                Some((task, ended)) = self.front.next_finished() => {
                    // It may have heard of the request before this task did.
                    if self.shutdown.is_requested() {
                        break Ok(());
                    }
                    break Err(RunError::Task { task, source: ended.err() });
                }
                Some((task, ended)) = self.back.next_finished() => {
                    tracing::error!(task, failed = ?ended.err(), "a part of the edge ended by itself");
                }
            }
        };
        self.shutdown.trigger();
        for task in self.front.join_all(REQUESTS_END_WITHIN + TASKS_END_WITHIN).await {
            tracing::warn!(task, "had to be aborted");
        }
        // Calls whose agents have gone are still to be recorded.
        let (calls, all) = &self.calls;
        if deadline(REQUESTS_END_WITHIN, calls.acquire_many(*all)).await.is_err() {
            tracing::warn!("calls are still under way; their outcome will not be recorded");
        }
        self.gateway.egress.end();
        flush(&self.gateway, &self.links).await;
        self.back_shutdown.trigger();
        for task in self.back.join_all(TASKS_END_WITHIN).await {
            tracing::warn!(task, "had to be aborted");
        }
        self.endpoint.close(Duration::from_secs(1)).await;
        if ended.is_ok() {
            let (folder, _lock) = self.data;
            end_trials(&self.gateway.env, folder).await;
        }
        ended
    }
}

/// Says on the disk that this process ends as it should: what is on trial did not end it.
async fn end_trials(env: &Env, folder: PathBuf) {
    let disk = Arc::clone(&env.disk);
    let failed = match env.run_blocking(move || active::end_trials_well(disk, &folder)).await {
        Ok(Ok(())) => return,
        Ok(Err(failed)) => telemetry::chain_text(&failed),
        Err(failed) => failed.to_string(),
    };
    tracing::warn!(error = failed, "the next start will take this end for a death, where a bundle is on trial");
}

/// Waits until a majority of the voters has every record, as long as a majority is connected (N-15).
async fn flush(gateway: &Gateway, links: &watch::Receiver<Links>) {
    let feed = gateway.reporter.feed();
    let can_arrive = || {
        let links = links.borrow();
        let connected = links.iter().filter_map(|cell| cell.borrow().as_ref().map(|link| link.voter)).collect();
        feed.is_majority(&connected)
    };
    let flushing = async {
        while gateway.reporter.waiting() > 0 && can_arrive() {
            tokio::time::sleep(FLUSH_LOOK).await;
        }
    };
    let in_time = deadline(FLUSH_WITHIN, flushing).await.is_ok();
    let left = gateway.reporter.waiting();
    if !in_time || left > 0 {
        tracing::info!(left, "records are left that no majority of the voters has; they go out after the next start");
    }
}

/// Runs an edge until shutdown is requested. One that was given a join token joins first, and waits until the directory
/// lists it.
///
/// # Errors
/// [`RunError`] when it does not start, or had to stop by itself.
pub async fn run(config: Config, env: Env, shutdown: Shutdown) -> Result<(), RunError> {
    run_with(config, env, shutdown, || {}).await
}

/// Runs an edge like [`run`], and calls `ready` once: when it serves, or when it waits to be taken in and operators can
/// see for what. It may wait for days, and a service manager is not to take that for a start that failed.
///
/// # Errors
/// As [`run`].
pub async fn run_with(
    config: Config,
    env: Env,
    shutdown: Shutdown,
    ready: impl FnOnce() + Send,
) -> Result<(), RunError> {
    let mut ready = Some(ready);
    let mut tell = || {
        if let Some(ready) = ready.take() {
            ready();
        }
    };
    if !enrolment::prepare(&config, &env, &shutdown, &mut tell).await? {
        return Ok(());
    }
    let edge = Edge::start(config, env, shutdown).await?;
    tell();
    edge.join().await
}

/// What a process of its own does with [`Args`]: reads the configuration, starts logging, runs until a signal asks
/// for the end. `environment` are the process's variables, of which those called `REMIT_*` count.
///
/// # Errors
/// What stands in the way, for people.
pub async fn daemon(args: Args, environment: BTreeMap<String, String>, env: Env) -> anyhow::Result<()> {
    use anyhow::Context as _;
    let Args { config: path, set, log_format, check_config, bootstrap, print_config } = args;
    let shown = path.display();
    let bytes = env
        .disk
        .read(&path, CONFIG_BYTES_MAX)
        .with_context(|| format!("cannot read `{shown}`"))?
        .with_context(|| format!("there is no `{shown}`"))?;
    let text = String::from_utf8(bytes).with_context(|| format!("`{shown}` is not text"))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut resolved =
        config::resolve(&text, folder, &environment, &set).with_context(|| format!("`{shown}` is not usable"))?;
    // On the command line a path is relative to where the command is given.
    resolved.config.bootstrap = bootstrap.or(resolved.config.bootstrap);
    if print_config {
        print(&resolved.print());
        return Ok(());
    }
    if check_config {
        enrolment::check(&resolved.config, &env)?;
        if let Some(folder) = &resolved.config.bootstrap {
            BootstrapFolder::new(Arc::clone(&env.disk), folder).index()?;
        }
        print(&format!("`{shown}` and every file it names are usable\n"));
        return Ok(());
    }
    telemetry::start_logging(log_format, environment.get("RUST_LOG").map(String::as_str));
    let shutdown = Shutdown::new();
    let signal = shutdown.clone();
    let waiting = env.spawn_named("signals", async move {
        telemetry::asked_to_stop().await;
        service::stopping();
        signal.trigger();
    });
    let ended = Box::pin(run_with(resolved.config, env, shutdown, service::ready)).await;
    waiting.abort();
    ended.context("the edge stopped")
}

fn print(text: &str) {
    use std::io::Write as _;
    // Whoever reads may have gone.
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// One process per data folder: two would tell two stories under one name.
fn lock(data_dir: &Path, env: &Env) -> Result<Box<dyn AppendFile>, RunError> {
    let failed = |source| RunError::DataDir { path: data_dir.to_owned(), source };
    env.disk.create_dir(data_dir).map_err(failed)?;
    env.disk.open_append(&data_dir.join("lock")).map_err(failed)
}

async fn load_state(config: &Config, env: &Env, root: Vec<u8>) -> Result<State, RunError> {
    let state_config = StateConfig {
        mesh: config.mesh_id,
        edge: config.id.clone(),
        tenants: config.tenants.clone(),
        root,
        data_dir: config.data_dir.clone(),
    };
    let (disk, now) = (Arc::clone(&env.disk), env.now());
    let folder = config.bootstrap.clone();
    let load = move || {
        let state_refused = |refused: active::Refused| RunError::State(telemetry::chain_text(&refused));
        let mut state = State::load(state_config, Arc::clone(&disk), now).map_err(state_refused)?;
        if let Some(path) = folder {
            let taken = state.take_bootstrap(&BootstrapFolder::new(disk, &path), now);
            let why = |refused: NotBootstrapped| telemetry::chain_text(&refused);
            let tick = taken.map_err(|refused| RunError::Bootstrap { path, why: why(refused) })?;
            if let Some(tick) = tick {
                tracing::info!(%tick, "what the bootstrap folder has of this tick is here");
            }
        }
        Ok(state)
    };
    let loaded = env.run_blocking(load).await;
    loaded.map_err(|source| RunError::Task { task: "loading the state", source: Some(source) })?
}

fn open_endpoint(config: &Config, env: &Env, identity: Identity, voters: Peers) -> Result<MeshEndpoint, RunError> {
    let any: SocketAddr = match config.voters.first() {
        Some(voter) if voter.dist.is_ipv6() => (Ipv6Addr::UNSPECIFIED, 0).into(),
        _ => (Ipv4Addr::UNSPECIFIED, 0).into(),
    };
    let quic =
        QuicConfig { identity, alpn: Alpn::Dist, accepts: None, dials: Some(voters), limits: QuicLimits::dist_edge() };
    Ok(MeshEndpoint::open(env, any, quic)?)
}

fn listen(env: &Env, addr: SocketAddr) -> Result<Box<dyn Listener>, RunError> {
    env.socket.listen(addr).map_err(|source| RunError::Listen { addr, source })
}

/// Looks, twice a second, after what is kept in memory.
struct Sentinel {
    env: Env,
    config: Arc<Config>,
    views: ViewCell,
    vault: Arc<Vault>,
    channels: Arc<Channels>,
}

impl Sentinel {
    /// Wipes what is open once this edge may decide nothing, and lets go channels that have ended or been cut.
    async fn watch(self, shutdown: Shutdown) {
        loop {
            tokio::select! {
                biased;
                () = shutdown.requested() => return,
                () = tokio::time::sleep(SENTINEL_EVERY) => {}
            }
            let (view, now) = (self.views.load(), self.env.now());
            let holds = ops::mode(&view, self.config.tenants.iter().cloned(), now);
            if matches!(holds, Mode::Isolated | Mode::Quarantined) {
                self.vault.wipe();
            }
            let is_cut = |effective: &_| pdp::check_cuts(&view, effective, &self.config.id).is_err();
            self.channels.sweep(now.boot, view.heard.epoch(), is_cut);
        }
    }
}
