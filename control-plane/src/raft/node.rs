//! One voter's part in consensus, as the rest of the control plane sees it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use openraft::error::{CheckIsLeaderError, ClientWriteError, InitializeError, RaftError};
use openraft::{Raft, SnapshotPolicy};
use remit_common::id::{LogIndex, VoterId};
use remit_common::net::env::{Env, deadline};
use remit_common::net::quic::{MeshEndpoint, QuicConfig, QuicLimits};
use remit_common::net::tasks::{Shutdown, TaskGroup};
use remit_common::net::tls::Alpn;
use remit_common::planted::{Bug, planted};
use tokio::sync::{oneshot, watch};

use super::applied::AppliedLog;
use super::config::{RaftConfig, RaftTimings};
use super::error::{CallError, ProposeError, ReadError, StartError};
use super::fatal::Fatal;
use super::format::ENTRY_BYTES_MAX;
use super::log_store::{Fresh, LogControl, LogFault, LogStore, OpenLog};
use super::reach::{Heard, Reach};
use super::runtime::Host;
use super::snapshot::SnapshotStore;
use super::state_machine::Machine;
use super::status::{RaftRole, RaftStatus, status_of};
use super::tasks::{compact, watch_core};
use super::transport::link::{CallFailed, Link};
use super::transport::links::Links;
use super::transport::message::{CALL_BYTES_MAX, Kind};
use super::transport::network::Network;
use super::transport::serve::{Inbound, Server};
use super::transport::{Acquaintances, Boot, CLOSE_DEADLINE, Own, SNAPSHOT_DEADLINE};
use super::types::{EntryBytes, Snapshot, Types};
use super::{PeerCalls, StateMachine};

/// The log's file in the data folder.
const LOG_FILE: &str = "raft.redb";
/// The snapshot's file in the data folder.
const SNAPSHOT_FILE: &str = "snapshot.bin";
/// Members of a mesh that vote. Five survive two failures; more only make every write slower.
const VOTERS_MAX: usize = 9;
/// Entries of one replication call.
const REPLICATE_ENTRIES_MAX: u64 = 300;
/// How long shutdown waits for the log's file to be closed.
const LOG_CLOSE_DEADLINE: Duration = Duration::from_secs(10);

/// One voter's part in consensus. Cloning gives the same node; when the last clone is dropped, it stops.
#[derive(Clone)]
pub struct RaftNode(Arc<Inner>);

struct Inner {
    id: VoterId,
    raft: Raft<Types>,
    configured: BTreeSet<u64>,
    links: Links,
    lease: Duration,
    /// Set while leadership goes to another voter: nothing is taken then.
    handing_over: AtomicBool,
    /// The one that was last asked to lead.
    passed_over: AtomicU64,
    heartbeat: Duration,
    status: watch::Receiver<RaftStatus>,
    applied: watch::Receiver<AppliedLog>,
    fatal: Fatal,
    shutdown: Shutdown,
    endpoint: MeshEndpoint,
    log: LogControl,
    tasks: Mutex<Option<Tasks>>,
}

/// What shutdown waits for.
struct Tasks {
    group: TaskGroup,
    log_closed: oneshot::Receiver<()>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shutdown.trigger();
    }
}

impl std::fmt::Debug for RaftNode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RaftNode({})", self.0.id)
    }
}

impl RaftNode {
    /// Opens log and snapshot, restores `machine`, opens the endpoint and takes part.
    ///
    /// # Errors
    /// [`StartError`]; nothing runs then.
    pub async fn start(
        config: RaftConfig,
        env: &Env,
        machine: Box<dyn StateMachine>,
        peer_calls: Arc<dyn PeerCalls>,
    ) -> Result<Self, StartError> {
        let RaftConfig { mesh, id, voters, joins, listen, data_dir, timings, tls } = config;
        if !voters.contains_key(&id) {
            return Err(StartError::Config(format!("voter {id} is not among the voters")));
        }
        if voters.len() > VOTERS_MAX {
            return Err(StartError::Config(format!("{} voters exceed {VOTERS_MAX}", voters.len())));
        }
        let raft_config = core_config(&timings)?;
        let fatal = Fatal::new();

        let OpenLog { store, control, opened, closed } = open_log(env, &data_dir, &fatal, mesh, id).await?;
        let (snapshots, snapshot) = open_snapshot(env, &data_dir).await?;
        let store = store.purging_behind(snapshots.covers());
        let check = machine.snapshot_check();
        let (machine, applied) = Machine::restore(machine, snapshots, snapshot, env, fatal.clone())?;
        let volume = machine.volume();

        let quic = QuicConfig {
            identity: tls.identity,
            alpn: Alpn::Raft,
            accepts: Some(tls.voters.clone()),
            dials: Some(tls.voters),
            limits: QuicLimits::raft(),
        };
        let endpoint = MeshEndpoint::open(env, listen, quic).map_err(|failed| StartError::Endpoint(chain(&failed)))?;

        let shutdown = Shutdown::new();
        let own = Own { mesh, voter: id, disk: opened.disk, boot: Boot(env.random()) };
        let acquaintances = Acquaintances::new(opened.met, control.clone());
        let addrs = voters.iter().map(|(voter, addr)| (voter.0, *addr)).collect();
        let links = Links::new(own, endpoint.clone(), acquaintances.clone(), addrs, joins);

        let heartbeat = timings.heartbeat;
        let network = Network { own: id.0, links: links.clone(), heartbeat, env: env.clone() };
        let starting = Raft::new(id.0, Arc::new(raft_config), network, store, machine);
        let raft = Host::new(env)
            .enter(starting)
            .await
            .map_err(|failed| StartError::Core(fatal.reason().unwrap_or_else(|| failed.to_string())))?;

        let mut group = TaskGroup::new(env);
        let (inbound, heard) = (Inbound::default(), Heard::default());
        let keeping = links.clone().keep(raft.clone(), inbound.clone(), env.clone(), shutdown.clone());
        group.spawn("raft-links", keeping);
        let reach = Reach {
            own: id,
            raft: raft.clone(),
            links: links.clone(),
            heard: heard.clone(),
            timings: timings.clone(),
            env: env.clone(),
        };
        group.spawn("raft-reach", reach.run(shutdown.clone()));
        let server = Server {
            own,
            raft: raft.clone(),
            calls: peer_calls,
            check,
            acquaintances,
            env: env.clone(),
            shutdown: shutdown.clone(),
            links: links.clone(),
            heard,
            inbound,
        };
        group.spawn("raft-serve", server.run(endpoint.clone()));
        let (status, seen) = watch::channel(status_of(id, &raft.metrics().borrow(), &applied));
        let watching = watch_core(id, raft.clone(), applied.clone(), status, fatal.clone(), shutdown.clone());
        group.spawn("raft-watch", watching);
        let compacting = compact(raft.clone(), applied.clone(), volume, timings.snapshot_every_bytes, shutdown.clone());
        group.spawn("raft-compact", compacting);

        Ok(Self(Arc::new(Inner {
            id,
            raft,
            configured: voters.keys().map(|voter| voter.0).collect(),
            links,
            lease: timings.election_max,
            handing_over: AtomicBool::new(false),
            passed_over: AtomicU64::new(0),
            heartbeat: timings.heartbeat,
            status: seen,
            applied,
            fatal,
            shutdown,
            endpoint,
            log: control,
            tasks: Mutex::new(Some(Tasks { group, log_closed: closed })),
        })))
    }

    /// Makes all configured voters the members of a new mesh. Every voter may call it at each start: once there is a
    /// log, it does nothing.
    ///
    /// # Errors
    /// [`StartError::Core`].
    pub async fn initialize(&self) -> Result<(), StartError> {
        match self.0.raft.initialize(self.0.configured.clone()).await {
            // Not allowed means that there is a log or a vote: the mesh exists.
            Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
            Err(failed) => Err(StartError::Core(failed.to_string())),
        }
    }

    /// Has `entry` written by a majority and applied here; gives its index and the state machine's answer (C-25).
    ///
    /// # Errors
    /// [`ProposeError`]; every variant says whether something may have been written.
    pub async fn propose(&self, entry: Vec<u8>, within: Duration) -> Result<(LogIndex, Vec<u8>), ProposeError> {
        if entry.len() > ENTRY_BYTES_MAX {
            return Err(ProposeError::TooLarge { len: entry.len(), max: ENTRY_BYTES_MAX });
        }
        let RaftStatus { role, leader, since_majority, .. } = self.status();
        match role {
            RaftRole::Leader => {}
            RaftRole::Stopped => return Err(ProposeError::Stopped),
            RaftRole::Fresh | RaftRole::Learner | RaftRole::Follower | RaftRole::Candidate => {
                return Err(ProposeError::NotLeader { leader });
            }
        }
        if self.0.handing_over.load(Ordering::SeqCst) {
            return Err(ProposeError::NotLeader { leader: None });
        }
        // A leader without a majority would take entries that nobody may ever commit.
        if since_majority.is_some_and(|since| since > self.0.lease) {
            return Err(ProposeError::Isolated);
        }
        // Boxed: openraft's futures are tens of kilobytes, and callers hold this one across their own waits.
        let writing = Box::pin(self.0.raft.client_write(EntryBytes(entry.into())));
        match deadline(within, writing).await {
            Ok(Ok(written)) => Ok((LogIndex(written.log_id.index), written.data)),
            // Said also when the entry was written here and cut off by another leader: a third one may still have it.
            Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_)))) => Err(ProposeError::OutcomeUnknown),
            Ok(Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(_)))) => {
                Err(ProposeError::OutcomeUnknown)
            }
            Ok(Err(RaftError::Fatal(_))) | Err(_) => Err(ProposeError::OutcomeUnknown),
        }
    }

    /// Returns once this voter leads, a majority confirms it, and everything that was committed before the call is
    /// applied here: what is read from the state machine afterwards is linearizable.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn read_barrier(&self, within: Duration) -> Result<LogIndex, ReadError> {
        if planted(Bug::ReadWithoutMajority) && self.status().role == RaftRole::Leader {
            return Ok(self.status().applied);
        }
        // Confirming that this voter leads would keep the others from electing its successor.
        if self.0.handing_over.load(Ordering::SeqCst) {
            return Err(ReadError::NotLeader { leader: None });
        }
        let confirming = async {
            loop {
                match Box::pin(self.0.raft.ensure_linearizable()).await {
                    Ok(upto) => return Ok(LogIndex(upto.map_or(0, |id| id.index))),
                    Err(RaftError::APIError(CheckIsLeaderError::ForwardToLeader(forward))) => {
                        let leader = forward.leader_id.filter(|leader| *leader != self.0.id.0);
                        return Err(ReadError::NotLeader { leader: leader.map(VoterId) });
                    }
                    // The round had one heartbeat's time; on a busy machine the next one may do.
                    Err(RaftError::APIError(CheckIsLeaderError::QuorumNotEnough(_))) => {
                        tokio::time::sleep(self.0.heartbeat / 2).await;
                    }
                    Err(RaftError::Fatal(_)) => return Err(ReadError::Stopped),
                }
            }
        };
        deadline(within, confirming).await.unwrap_or(Err(ReadError::Isolated))
    }

    pub(super) fn raft(&self) -> &Raft<Types> {
        &self.0.raft
    }

    pub(super) fn handing_over(&self) -> &AtomicBool {
        &self.0.handing_over
    }

    pub(super) fn passed_over(&self) -> &AtomicU64 {
        &self.0.passed_over
    }

    /// How long the others keep to a leader after its last word.
    pub(super) fn lease(&self) -> Duration {
        self.0.lease
    }

    pub(super) fn link(&self, to: VoterId) -> Option<Arc<Link>> {
        self.0.links.get(to.0)
    }

    /// Whether there is a connection to another voter.
    #[must_use]
    pub fn is_connected(&self, to: VoterId) -> bool {
        self.link(to).is_some_and(|link| link.is_connected())
    }

    /// Where the configuration says that a voter is.
    #[must_use]
    pub fn configured(&self, id: VoterId) -> Option<SocketAddr> {
        self.0.links.configured(id)
    }

    /// This voter's view, now.
    #[must_use]
    pub fn status(&self) -> RaftStatus {
        status_of(self.0.id, &self.0.raft.metrics().borrow(), &self.0.applied)
    }

    /// The newest status, for whoever waits for a leader or an index.
    #[must_use]
    pub fn status_watch(&self) -> watch::Receiver<RaftStatus> {
        self.0.status.clone()
    }

    /// How far the log is applied here.
    #[must_use]
    pub fn applied(&self) -> watch::Receiver<AppliedLog> {
        self.0.applied.clone()
    }

    /// Asks another voter something; its [`PeerCalls::handle`] answers.
    ///
    /// # Errors
    /// [`CallError`]; every variant says whether the voter may have acted.
    pub async fn call_peer(&self, to: VoterId, request: Vec<u8>, within: Duration) -> Result<Vec<u8>, CallError> {
        let link = self.0.links.get(to.0).ok_or(CallError::NotAPeer(to))?;
        if request.len() > CALL_BYTES_MAX {
            return Err(CallError::TooLarge { len: request.len(), max: CALL_BYTES_MAX });
        }
        link.call(Kind::Call, &[&request], Kind::Answer, within).await.map_err(|failed| match failed {
            CallFailed::Unreachable => CallError::Unreachable(to),
            CallFailed::Timeout | CallFailed::Stream(_) | CallFailed::Connection(_) | CallFailed::Misfit => {
                CallError::NoAnswer(to)
            }
            CallFailed::Refused(detail) => CallError::Refused(detail),
        })
    }

    /// Returns with the reason when this voter can no longer take part: a failed write, a damaged log, a panic. The
    /// process must end then. Never returns while all is well, nor after an orderly shutdown.
    pub async fn fatal(&self) -> String {
        self.0.fatal.raised().await
    }

    /// Stops taking part and closes log and endpoint.
    pub async fn shutdown(&self) {
        self.0.shutdown.trigger();
        let tasks = self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Tasks { group, log_closed }) = tasks else { return };
        if let Err(failed) = self.0.raft.shutdown().await {
            tracing::warn!(reason = %failed, "raft's core did not end in order");
        }
        if let Err(failed) = self.0.log.close().await {
            tracing::warn!(reason = %failed, "the log was not closed in order");
        }
        self.0.endpoint.close(CLOSE_DEADLINE).await;
        for name in group.join_all(CLOSE_DEADLINE).await {
            tracing::warn!(name, "a task did not end in order");
        }
        if deadline(LOG_CLOSE_DEADLINE, log_closed).await.is_err() {
            tracing::warn!("the log is still open");
        }
    }
}

fn core_config(timings: &RaftTimings) -> Result<openraft::Config, StartError> {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let config = openraft::Config {
        cluster_name: "remit".to_owned(),
        heartbeat_interval: millis(timings.heartbeat),
        election_timeout_min: millis(timings.election_min),
        election_timeout_max: millis(timings.election_max),
        install_snapshot_timeout: millis(SNAPSHOT_DEADLINE),
        max_payload_entries: REPLICATE_ENTRIES_MAX,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(timings.snapshot_every_entries),
        // A follower gets the snapshot when it is further behind than the log reaches back.
        replication_lag_threshold: timings.snapshot_every_entries.saturating_mul(2),
        max_in_snapshot_log_to_keep: timings.keep_entries,
        ..openraft::Config::default()
    };
    config.validate().map_err(|fault| StartError::Config(fault.to_string()))
}

async fn open_log(
    env: &Env,
    folder: &Path,
    fatal: &Fatal,
    mesh: remit_common::id::MeshId,
    id: VoterId,
) -> Result<OpenLog, StartError> {
    let (disk, path) = (Arc::clone(&env.disk), folder.to_owned());
    let listing = env.run_blocking(move || {
        disk.create_dir(&path)?;
        disk.list(&path)
    });
    let files = listing.await.map_err(std::io::Error::other).and_then(|listed| listed);
    let files = files.map_err(|failed| StartError::Storage(failed.to_string()))?;
    let fresh = if files.iter().any(|file| file == SNAPSHOT_FILE) { Fresh::Refused } else { Fresh::Allowed };
    let log = LogStore::open(env, &folder.join(LOG_FILE), mesh, id, fresh, fatal.clone()).await;
    log.map_err(|fault| match fault {
        LogFault::Foreign { .. } | LogFault::Missing | LogFault::NoIdentity => {
            StartError::ForeignDisk(fault.to_string())
        }
        LogFault::Database(_) | LogFault::Record { .. } | LogFault::Hole { .. } => {
            StartError::Storage(fault.to_string())
        }
    })
}

async fn open_snapshot(env: &Env, folder: &Path) -> Result<(SnapshotStore, Option<Snapshot>), StartError> {
    let (disk, path) = (Arc::clone(&env.disk), folder.join(SNAPSHOT_FILE));
    let opened = env.run_blocking(move || SnapshotStore::open(disk, &path)).await;
    let opened = opened.map_err(|failed| StartError::Storage(failed.to_string()))?;
    opened.map_err(|fault| StartError::Storage(fault.to_string()))
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
