//! People and agents who work while things fail.
//!
//! Everybody here works as a user would, through the listeners of real voters and edges, and writes down what was
//! asked, what came back, and when. Nobody knows of faults. An answer that does not come is *unknown*, never a failure.

mod agent;
pub mod electorate;
mod family;
mod http;
mod observer;
mod offers;
mod operator;
mod rest;
mod sessions;
mod tools;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use remit_common::crypto::secret::Secret;
use remit_common::net::tasks::{Shutdown, TaskGroup};
use remit_common::policy::Bounds;

pub(crate) use self::http::answers;
pub(crate) use self::offers::STEADY;
pub use self::operator::{Ended, Harm, Operator, Poison, RollOut};
pub use self::tools::{ToolServer, serve_tools};

pub(crate) use self::http::fetch;
use self::sessions::Sessions;
use crate::drill::backend::Access;
use crate::history::{History, Kind, What};
use crate::node::Node;

/// How hard everybody works.
#[derive(Debug, Clone)]
pub struct Pace {
    /// Agents, spread over the edges.
    pub agents: u32,
    /// Between two calls of one agent, on average.
    pub call_every: Duration,
    /// Between two revocations.
    pub revoke_every: Duration,
    /// Between two new bundles; none for no bundles but those that a drill asks for.
    pub publish_every: Option<Duration>,
    /// Before one out of so many of them, somebody pushes a bundle that nobody may take.
    pub poisoned_one_in: usize,
    /// Between the end of a rollout and the next one; none for no rollouts but those that a drill asks for.
    pub roll_out_every: Option<Duration>,
    /// One out of so many of them is of a bundle that hurts.
    pub harmful_one_in: usize,
    /// Between two changes of a relation.
    pub relate_every: Duration,
    /// Between two new versions of the credential.
    pub seal_every: Duration,
    /// Between two linearizable reads.
    pub read_every: Duration,
    /// Between two looks at every node.
    pub observe_every: Duration,
    /// Sessions that are open at the same time.
    pub sessions: usize,
    /// Sessions that were cut last and stay in use: somebody has to see that they are refused.
    pub cut_sessions: usize,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            agents: 4,
            call_every: Duration::from_millis(500),
            revoke_every: Duration::from_secs(4),
            publish_every: Some(Duration::from_secs(9)),
            poisoned_one_in: 4,
            roll_out_every: Some(Duration::from_secs(12)),
            harmful_one_in: 2,
            relate_every: Duration::from_secs(7),
            seal_every: Duration::from_secs(23),
            read_every: Duration::from_millis(1_300),
            observe_every: Duration::from_millis(1_000),
            sessions: 6,
            cut_sessions: 12,
        }
    }
}

/// From the first push to the first permit at every edge.
const READY_WITHIN: Duration = Duration::from_secs(90);

/// The workload of one run.
pub struct Workload {
    access: Arc<dyn Access>,
    history: History,
    pace: Pace,
    secret: Arc<Secret>,
    /// The administrator; drills let him do more.
    pub operator: Operator,
    sessions: Sessions,
    stop: Shutdown,
    running: Option<TaskGroup>,
}

impl Workload {
    /// Sets the mesh up as an administrator would: policy, credential, envelopes; returns when every edge has
    /// permitted a call. `secret` is the API key that the tool server demands.
    ///
    /// # Errors
    /// When that does not come about in time.
    pub async fn prepare(access: Arc<dyn Access>, history: History, pace: Pace, secret: &[u8]) -> Result<Self> {
        phase(&access, &history, "setup");
        let sessions = Sessions::new(pace.cut_sessions);
        let operator = Operator::new(Arc::clone(&access), history.clone(), sessions.clone(), secret)?;
        let until = access.now() + READY_WITHIN;
        while operator.publish().await.is_none() {
            pause(until, &access, "no voter takes a bundle").await?;
        }
        // Edges hear of the directory and of the bundle in their own time; a shard is for edges that are listed.
        while operator.seal().await.is_none() {
            pause(until, &access, "no voter takes the credential").await?;
        }
        while sessions.open().len() < pace.sessions {
            if operator.open_session().await.is_none() {
                pause(until, &access, "no voter issues an envelope").await?;
            }
        }
        let secret = Arc::new(Secret::new(secret.to_vec()));
        let edges: Vec<_> = access.roster().edges().cloned().collect();
        let keys = operator.edge_keys();
        for edge in edges {
            let key = *keys.get(&edge).with_context(|| format!("the directory does not list edge {edge}"))?;
            let at = (edge.clone(), key);
            let agent = agent::Agent::new(&access, &history, &sessions, "agent/setup", at, &secret);
            while !agent.is_permitted().await {
                pause(until, &access, &format!("edge {edge} does not permit what it should")).await?;
            }
        }
        Ok(Self { access, history, pace, secret, operator, sessions, stop: Shutdown::new(), running: None })
    }

    /// Everybody begins to work.
    pub fn start(&mut self) {
        let env = self.access.env_at(&Node::Operator);
        let mut tasks = TaskGroup::new(&env);
        let edges: Vec<_> = self.access.roster().edges().cloned().collect();
        let keys = self.operator.edge_keys();
        let edges: Vec<_> = edges.into_iter().filter_map(|edge| Some((edge.clone(), *keys.get(&edge)?))).collect();
        for (number, at) in (1..=self.pace.agents).zip(edges.iter().cycle()) {
            let name = format!("agent/{number}");
            let agent = agent::Agent::new(&self.access, &self.history, &self.sessions, &name, at.clone(), &self.secret);
            tasks.spawn("agent", agent.work(self.pace.call_every, self.stop.clone()));
        }
        let Pace {
            revoke_every,
            publish_every,
            poisoned_one_in,
            roll_out_every,
            harmful_one_in,
            relate_every,
            seal_every,
            read_every,
            ..
        } = self.pace.clone();
        let operator = || self.operator.clone();
        tasks.spawn("revoker", operator().revoke_repeatedly(revoke_every, self.stop.clone()));
        if let Some(every) = publish_every {
            tasks.spawn("publisher", operator().publish_repeatedly(every, poisoned_one_in, self.stop.clone()));
        }
        if let Some(every) = roll_out_every {
            tasks.spawn("roller", operator().roll_out_repeatedly(every, harmful_one_in, self.stop.clone()));
        }
        tasks.spawn("relater", operator().relate_repeatedly(relate_every, self.stop.clone()));
        tasks.spawn("sealer", operator().seal_repeatedly(seal_every, self.stop.clone()));
        tasks.spawn("reader", operator().read_repeatedly(read_every, self.stop.clone()));
        let observer = observer::Observer::new(&self.access, &self.history);
        tasks.spawn("observer", observer.watch(self.pace.observe_every, self.stop.clone()));
        self.running = Some(tasks);
    }

    /// Everybody finishes what is under way and goes home.
    pub async fn stop(&mut self) {
        self.stop.trigger();
        if let Some(tasks) = self.running.take() {
            tasks.join_all(Duration::from_secs(60)).await;
        }
    }

    /// After the end: what every voter answers now, with a barrier and without, what became of rollouts, every node's
    /// status, and every record of every voter.
    pub async fn gather(&self) {
        let voters: Vec<_> = self.access.roster().voters().collect();
        for voter in &voters {
            self.operator.read(*voter, true).await;
            self.operator.read(*voter, false).await;
        }
        self.operator.look_at_rollouts().await;
        let observer = observer::Observer::new(&self.access, &self.history);
        observer.watch_spools().await;
        observer.collect_records(&self.operator.edge_keys()).await;
    }

    /// How old an edge's knowledge may be under the policy that is published here.
    ///
    /// # Errors
    /// When the policy of the example does not build.
    pub fn bounds(&self) -> Result<Bounds> {
        self.operator.bounds()
    }

    /// The run enters a phase.
    pub fn phase(&self, name: &str) {
        phase(&self.access, &self.history, name);
    }
}

fn phase(access: &Arc<dyn Access>, history: &History, name: &str) {
    history.note(access.now(), "drill", Kind::Info, What::Phase { name: name.to_owned() });
}

async fn pause(until: Duration, access: &Arc<dyn Access>, why: &str) -> Result<()> {
    if access.now() > until {
        bail!("the mesh is not ready to work in: {why}");
    }
    tokio::time::sleep(Duration::from_millis(250)).await;
    Ok(())
}
