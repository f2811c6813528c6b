//! The registry as Raft sees it, and as everybody else in the process sees it.
//!
//! Raft owns the one state that changes. After each entry the new state is there for readers, whole, as of that entry:
//! a reader takes one [`View`] and asks it everything, so that its answers belong together.

use std::collections::BTreeMap;
use std::sync::Arc;

use remit_common::id::{LogIndex, RevocationEpoch};
use remit_common::net::env::Env;
use remit_common::time::Timestamp;
use tokio::sync::watch;

use crate::entry::{self, Kind};
use crate::raft::{Members, RestoreError, SnapshotCheck, StateMachine};
use crate::registry::{Applied, Command, Genesis, Refusal, Seats, State, apply, with_causes};
use crate::telemetry::Metrics;

/// Epochs whose arrival at this voter is remembered. Older ones count as known since this process started.
const ARRIVALS_MAX: usize = 1_024;

/// The registry as of one entry, and when its epochs came to this voter.
#[derive(Debug, Clone)]
pub(crate) struct View {
    /// The registry.
    pub(crate) state: State,
    arrivals: Arc<BTreeMap<RevocationEpoch, Timestamp>>,
    started: Timestamp,
}

impl View {
    /// A moment of this voter's clock at which the epoch was committed already; `None` while it is not.
    #[must_use]
    pub(crate) fn committed_by(&self, epoch: RevocationEpoch) -> Option<Timestamp> {
        (epoch <= self.state.revocations().epoch()).then(|| self.arrivals.get(&epoch).copied().unwrap_or(self.started))
    }
}

/// The newest view.
pub(crate) type Views = watch::Receiver<Arc<View>>;

/// The state machine that Raft drives.
pub(crate) struct Machine {
    view: View,
    views: watch::Sender<Arc<View>>,
    genesis: Genesis,
    env: Env,
    metrics: Metrics,
}

impl Machine {
    pub(crate) fn new(genesis: Genesis, env: &Env, metrics: &Metrics) -> (Self, Views) {
        let started = env.now().wall;
        let view = View { state: State::new(genesis.clone()), arrivals: Arc::default(), started };
        let (views, receiver) = watch::channel(Arc::new(view.clone()));
        (Self { view, views, genesis, env: env.clone(), metrics: metrics.clone() }, receiver)
    }

    fn show(&mut self) {
        let state = &self.view.state;
        let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.metrics.applied_index.set(gauge(state.applied().0));
        self.metrics.revocation_epoch.set(gauge(state.revocations().epoch().0));
        if let Some(tick) = state.tick() {
            self.metrics.tick_index.set(gauge(tick.n.0));
        }
        self.views.send_replace(Arc::new(self.view.clone()));
    }
}

fn read(genesis: &Genesis, snapshot: &[u8]) -> Result<State, RestoreError> {
    State::from_snapshot(genesis, snapshot).map_err(|error| RestoreError(with_causes(&error)))
}

impl StateMachine for Machine {
    fn apply(&mut self, index: LogIndex, bytes: &[u8]) -> Vec<u8> {
        let before = self.view.state.revocations().epoch();
        let applied = match Command::from_entry(bytes) {
            Ok(command) => apply(&mut self.view.state, index, command),
            Err(error) => Applied::Refused(Refusal::malformed(error)),
        };
        let epoch = self.view.state.revocations().epoch();
        if epoch != before {
            let arrivals = Arc::make_mut(&mut self.view.arrivals);
            arrivals.insert(epoch, self.env.now().wall);
            while arrivals.len() > ARRIVALS_MAX {
                arrivals.pop_first();
            }
        }
        if let Applied::Refused(refusal) = &applied {
            tracing::info!(%index, reason = refusal.reason, detail = refusal.detail, "a command changed nothing");
        }
        self.metrics.commands.get_or_create(&[("outcome", applied.outcome())]).inc();
        self.show();
        entry::encode(Kind::Applied, &applied)
    }

    fn members(&mut self, members: &Members) {
        let voters = members.voters();
        let learners = members.all.keys().copied().filter(|id| !voters.contains(id)).collect();
        self.view.state.set_seats(Seats { voters, learners, joint: members.is_joint() });
        self.show();
    }

    fn snapshot(&self) -> Vec<u8> {
        self.view.state.to_snapshot()
    }

    fn snapshot_check(&self) -> SnapshotCheck {
        let genesis = self.genesis.clone();
        Arc::new(move |snapshot| read(&genesis, snapshot).map(drop))
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError> {
        self.view.state = read(&self.genesis, snapshot)?;
        self.view.arrivals = Arc::default();
        self.view.started = self.env.now().wall;
        self.show();
        Ok(())
    }
}
