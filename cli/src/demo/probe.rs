//! Agents that call and call while the mesh is being broken, one at each edge.

use std::sync::Arc;
use std::time::Duration;

use remit_common::net::env::Env;
use remit_common::net::tasks::{Shutdown, TaskGroup};
use remit_common::time::BootTime;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::agent::{Agent, Outcome};

/// Between two calls of one agent.
const PAUSE: Duration = Duration::from_millis(20);
/// For the agents to notice that they are done.
const END_WITHIN: Duration = Duration::from_secs(30);

/// What the agent at one edge has seen.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    pub(crate) edge: String,
    pub(crate) permitted: u64,
    pub(crate) denied: u64,
    /// The last answer that was neither permitted nor the expected denial.
    pub(crate) odd: Option<String>,
    /// When the last call that was permitted had been made.
    pub(crate) last_permitted: Option<BootTime>,
    /// When the first refusal came.
    pub(crate) first_denied: Option<(BootTime, String)>,
    /// Why the last refusal was one.
    pub(crate) last_reason: Option<String>,
}

/// The agents.
pub(crate) struct Probe {
    seen: Vec<Arc<Mutex<Seen>>>,
    shutdown: Shutdown,
    tasks: TaskGroup,
}

/// What every agent of a probe asks for.
pub(crate) fn read_7781() -> Value {
    json!({ "customer_id": "cust_acme_1042", "contract_id": "contract_7781" })
}

impl Probe {
    /// Lets each agent read the contract again and again.
    pub(crate) fn start(env: &Env, agents: Vec<(String, Agent)>) -> Self {
        let mut probe = Self { seen: Vec::new(), shutdown: Shutdown::new(), tasks: TaskGroup::new(env) };
        for (edge, agent) in agents {
            let seen = Arc::new(Mutex::new(Seen { edge, ..Seen::default() }));
            probe.seen.push(Arc::clone(&seen));
            let (shutdown, env) = (probe.shutdown.clone(), env.clone());
            probe.tasks.spawn("agent", async move {
                while !shutdown.is_requested() {
                    let asked = env.now().boot;
                    let outcome = agent.call("contracts.read", read_7781()).await;
                    seen.lock().await.note(asked, env.now().boot, &outcome);
                    tokio::time::sleep(PAUSE).await;
                }
                agent.leave().await;
            });
        }
        probe
    }

    /// What they have seen so far.
    pub(crate) async fn seen(&self) -> Vec<Seen> {
        let mut all = Vec::new();
        for seen in &self.seen {
            all.push(seen.lock().await.clone());
        }
        all
    }

    /// Ends it.
    pub(crate) async fn stop(self) -> Vec<Seen> {
        self.shutdown.trigger();
        let Self { seen, tasks, .. } = self;
        tasks.join_all(END_WITHIN).await;
        let mut all = Vec::new();
        for one in seen {
            all.push(one.lock().await.clone());
        }
        all
    }
}

impl Seen {
    fn note(&mut self, asked: BootTime, answered: BootTime, outcome: &Outcome) {
        match outcome {
            Outcome::Result(_) => {
                self.permitted += 1;
                self.last_permitted = Some(asked);
            }
            Outcome::Denied(denial) => {
                self.denied += 1;
                self.last_reason = Some(denial.reason.clone());
                if self.first_denied.is_none() {
                    self.first_denied = Some((answered, denial.reason.clone()));
                }
            }
            Outcome::Failed(why) => self.odd = Some(why.clone()),
        }
    }
}

/// How many calls went through and how many did not, over all agents.
pub(crate) fn totals(seen: &[Seen]) -> (u64, u64) {
    let permitted = seen.iter().map(|seen| seen.permitted).sum();
    let not = seen.iter().map(|seen| seen.denied + u64::from(seen.odd.is_some())).sum();
    (permitted, not)
}
