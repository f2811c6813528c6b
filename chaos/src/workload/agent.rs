//! An agent: calls tools through its edge, one after the other, and proves each time that the envelope is its own.

mod theft;

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use remit_common::crypto::secret::Secret;
use remit_common::crypto::sign::PublicKey;
use remit_common::id::EdgeId;
use remit_common::lattice::Effect;
use remit_common::net::env::Env;
use remit_common::net::http::HttpClient;
use remit_common::net::prover::{NotProven, Outgoing, Prover};
use remit_common::net::tasks::Shutdown;
use remit_common::proof::{EdgeKey, Exchange, Grade, PROOF_HEADER, Target};
use serde_json::{Value, json};

use super::http::{ANSWER_BYTES_MAX, addr_of};
use super::offers;
use super::rest::{draw, rest};
use super::sessions::{Session, Sessions};
use super::tools::SAY_THE_KEY;
use crate::drill::backend::Access;
use crate::history::{Call, History, Kind, Outcome, Verdict, What};
use crate::node::Node;

/// For one answer; what takes longer is unknown.
const ANSWER: Duration = Duration::from_secs(5);
/// Envelopes to which an agent has a channel; more than there are sessions.
const PROVERS_MAX: usize = 256;
/// One call out of so many comes with a theft.
const THEFT_ONE_IN: usize = 16;
/// JSON-RPC's code for a refusal by policy.
const DENIED: i64 = -32_001;

/// A call that an agent may try.
struct Task {
    tool: &'static str,
    effect: Effect,
    arguments: Value,
    /// Whether envelope and policy of the example admit it.
    admitted: bool,
    /// The contract whose manager alone may do it.
    manages: Option<&'static str>,
    /// Whether the tool is made to say its credential.
    leaks: bool,
    /// How often, of a hundred.
    weight: usize,
}

impl Task {
    /// What to prove at once.
    fn grade(&self) -> Grade {
        match self.effect {
            Effect::Irreversible | Effect::Spend | Effect::Delegate => Grade::P2,
            Effect::Read | Effect::Write | Effect::ExternalSend => Grade::P1,
        }
    }
}

fn tasks() -> [Task; 9] {
    let contract = |id: &str| json!({"customer_id": "cust_acme_1042", "contract_id": id});
    let ticket = |customer: &str| json!({"customer_id": customer, "title": "Renewal at risk", "body": "See notes."});
    let leaky = json!({"customer_id": "cust_acme_1042", "title": SAY_THE_KEY, "body": "See notes."});
    let task = |tool, effect, arguments, admitted, weight| Task {
        tool,
        effect,
        arguments,
        admitted,
        manages: None,
        leaks: false,
        weight,
    };
    let offer = |contract| {
        let arguments = json!({"customer_id": "cust_acme_1042", "contract_id": contract, "months": 24});
        let manages = Some(contract);
        Task {
            tool: offers::TOOL,
            effect: Effect::Irreversible,
            arguments,
            admitted: true,
            manages,
            leaks: false,
            weight: 6,
        }
    };
    [
        task("contracts.read", Effect::Read, contract("contract_7781"), true, 34),
        task("crm.read", Effect::Read, json!({"customer_id": "cust_acme_1042"}), true, 14),
        task("tickets.create", Effect::Irreversible, ticket("cust_acme_1042"), true, 23),
        // The tool is called; what it answers must not come back.
        Task { leaks: true, ..task("tickets.create", Effect::Irreversible, leaky, true, 2) },
        task("contracts.read", Effect::Read, contract("contract_9001"), false, 5),
        task("tickets.create", Effect::Irreversible, ticket("cust_globex_2001"), false, 5),
        task("billing.update", Effect::Spend, json!({"customer_id": "cust_acme_1042", "plan": "free"}), false, 5),
        offer(offers::STEADY),
        offer(offers::CHANGING),
    ]
}

/// One agent at one edge.
pub(super) struct Agent {
    access: Arc<dyn Access>,
    history: History,
    sessions: Sessions,
    name: String,
    edge: EdgeId,
    /// With which the edge signs that it opens a channel.
    edge_key: PublicKey,
    /// By session.
    provers: Mutex<BTreeMap<String, Arc<Prover>>>,
    /// What no answer may contain.
    secret: Arc<Secret>,
}

impl Agent {
    pub(super) fn new(
        access: &Arc<dyn Access>,
        history: &History,
        sessions: &Sessions,
        name: &str,
        (edge, edge_key): (EdgeId, PublicKey),
        secret: &Arc<Secret>,
    ) -> Self {
        let (access, history, sessions) = (Arc::clone(access), history.clone(), sessions.clone());
        let provers = Mutex::default();
        let secret = Arc::clone(secret);
        Self { access, history, sessions, name: name.to_owned(), edge, edge_key, provers, secret }
    }

    /// Calls until asked to stop.
    pub(super) async fn work(self, every: Duration, stop: Shutdown) {
        let env = self.access.env_at(&Node::Operator);
        while rest(&env, every, &stop).await {
            let mut drawn = draw(&env, 100);
            let tasks = tasks();
            let chosen = tasks.iter().find(|task| {
                let is_it = drawn < task.weight;
                drawn = drawn.saturating_sub(task.weight);
                is_it
            });
            if let (Some(task), Some(session)) = (chosen, self.sessions.any(&env)) {
                match draw(&env, 2 * THEFT_ONE_IN) {
                    0 => self.replay(&session, task).await,
                    1 => self.show_anothers(&session, task).await,
                    _ => drop(self.call(&session, task).await),
                }
            }
        }
    }

    /// Whether the edge permits, once, what it should.
    pub(super) async fn is_permitted(&self) -> bool {
        let (tasks, sessions) = (tasks(), self.sessions.open());
        let (Some(task), Some(session)) = (tasks.first(), sessions.first()) else { return false };
        self.call(session, task).await == Some(Verdict::Permit)
    }

    /// Whether the edge permits a call of this session that it should permit.
    pub(super) async fn reads(&self, session: &Session) -> Option<Verdict> {
        let tasks = tasks();
        self.call(session, tasks.first()?).await
    }

    /// Makes a proof for this edge and shows it to the other one, which has no channel for it. Gives what that one says.
    pub(super) async fn show_elsewhere(&self, other: &Self, session: &Session) -> Option<Verdict> {
        let (here, there) = (self.at_edge(), other.at_edge());
        let tasks = tasks();
        let task = tasks.first()?;
        let ((own, _), (to, mut request)) = (self.request(task)?, other.request(task)?);
        let prover = self.prover(&here, session)?;
        let target = Target::Mcp { method: "tools/call", name: task.tool, definition: None };
        let exchange = Exchange { target, body: request.body(), idempotency_key: b"" };
        let client = HttpClient::new(&here, ANSWER_BYTES_MAX);
        let proof = prover.prove(&client, own, &exchange, Grade::P1, ANSWER).await.ok()?;
        let envelope = remit_common::text::base64url(&session.envelope).parse().ok()?;
        request.headers_mut().insert("remit-envelope", envelope);
        request.headers_mut().insert(PROOF_HEADER, proof);
        let client = HttpClient::new(&there, ANSWER_BYTES_MAX);
        let asking = async {
            let response = client.send(to, request, ANSWER).await.ok()?;
            outcome_of(response.body(), None)
        };
        other.noted(session, task, false, asking).await
    }

    /// Has the edge register a child of a session; gives the child with what the edge says of it.
    pub(super) async fn register(&self, parent: &Session, child: &Session) -> Option<Session> {
        let env = self.at_edge();
        let (to, _) = self.request(tasks().first()?)?;
        let client = HttpClient::new(&env, ANSWER_BYTES_MAX);
        let prover = self.prover(&env, parent)?;
        let registered = prover.register(&client, to, &child.envelope, ANSWER).await.ok()?;
        Some(Session { envelope: registered.presentation, ..child.clone() })
    }

    fn at_edge(&self) -> Env {
        self.access.env_at(&Node::Edge(self.edge.clone()))
    }

    async fn call(&self, session: &Session, task: &Task) -> Option<Verdict> {
        let env = self.access.env_at(&Node::Edge(self.edge.clone()));
        self.noted(session, task, task.admitted, self.ask(&env, session, task)).await
    }

    /// Asks, and writes down what was asked and what came of it.
    async fn noted(
        &self,
        session: &Session,
        task: &Task,
        admitted: bool,
        asking: impl Future<Output = Option<Outcome>> + Send,
    ) -> Option<Verdict> {
        let event = |of, outcome| {
            What::Call(Call {
                of,
                edge: self.edge.clone(),
                session: session.name.clone(),
                tool: task.tool.to_owned(),
                effect: task.effect,
                admitted,
                rests_on: task.manages.map(offers::manager_of),
                leaks: task.leaks,
                outcome,
            })
        };
        let of = self.history.note(self.access.now(), &self.name, Kind::Invoke, event(None, None));
        let outcome = asking.await;
        let verdict = outcome.as_ref().map(|outcome| outcome.verdict);
        let kind = if outcome.is_some() { Kind::Ok } else { Kind::Info };
        self.history.note(self.access.now(), &self.name, kind, event(Some(of), outcome));
        verdict
    }

    /// Where to, and what, without envelope and proof.
    fn request(&self, task: &Task) -> Option<(SocketAddr, http::Request<Bytes>)> {
        let mesh = self.access.mesh();
        let to = addr_of(&mesh.edges.iter().find(|edge| edge.id == self.edge)?.agent)?;
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
            "name": task.tool,
            "arguments": task.arguments,
            "_meta": {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientCapabilities": {},
                "io.modelcontextprotocol/clientInfo": {"name": self.name, "version": "1"},
            },
        }});
        let request = http::Request::post("/mcp")
            .header("host", to.to_string())
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", "2026-07-28")
            .header("mcp-method", "tools/call")
            .header("mcp-name", task.tool)
            .body(Bytes::from(body.to_string()))
            .ok()?;
        Some((to, request))
    }

    async fn ask(&self, env: &Env, session: &Session, task: &Task) -> Option<Outcome> {
        let (to, request) = self.request(task)?;
        let (method, name) = ("tools/call".to_owned(), task.tool.to_owned());
        let outgoing = Outgoing { to, request, method, name, grade: task.grade() };
        // A connection of its own: the node may have been started anew.
        let client = HttpClient::new(env, ANSWER_BYTES_MAX);
        let response = match self.prover(env, session)?.send(&client, &outgoing, ANSWER).await {
            Ok(response) => response,
            Err(NotProven::Refused(response)) => *response,
            Err(NotProven::CannotOpen(_) | NotProven::Unopened(_) | NotProven::Http(_)) => return None,
        };
        if response.body().windows(self.secret.expose().len()).any(|window| window == self.secret.expose()) {
            let place = format!("an answer of edge {} to {}", self.edge, self.name);
            self.history.note(self.access.now(), &self.name, Kind::Info, What::Canary { place });
        }
        let decision = response.headers().get("remit-decision").and_then(|id| id.to_str().ok()).map(str::to_owned);
        outcome_of(response.body(), decision)
    }
}

impl Agent {
    fn prover(&self, env: &Env, session: &Session) -> Option<Arc<Prover>> {
        let mut provers = self.provers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(prover) = provers.get(&session.name) {
            return Some(Arc::clone(prover));
        }
        let edge = EdgeKey { mesh: self.access.mesh().mesh_id, edge: self.edge.clone(), key: self.edge_key };
        let prover = Arc::new(Prover::new(env, edge, Arc::clone(&session.holder), &session.envelope)?);
        if provers.len() >= PROVERS_MAX {
            provers.clear();
        }
        provers.insert(session.name.clone(), Arc::clone(&prover));
        Some(prover)
    }
}

/// What an answer says. A result is a permit, also one in which the tool reports a failure of its own.
fn outcome_of(body: &[u8], decision: Option<String>) -> Option<Outcome> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    if answer.get("result").is_some() {
        return Some(Outcome { verdict: Verdict::Permit, reason: "permit".to_owned(), decision });
    }
    // A channel that is refused: the document is the data of what a call would have been told.
    if let Some(reason) = answer.get("reason").and_then(Value::as_str) {
        return Some(Outcome { verdict: Verdict::Deny, reason: reason.to_owned(), decision });
    }
    let error = answer.get("error")?;
    let reason = error.pointer("/data/reason").and_then(Value::as_str);
    let decision = decision.or_else(|| Some(error.pointer("/data/decision_id")?.as_str()?.to_owned()));
    match reason {
        Some(reason) => Some(Outcome { verdict: Verdict::Deny, reason: reason.to_owned(), decision }),
        // An error that names no reason, of ours or of the tool's, says nothing about whether the tool was called.
        None if error.get("code").and_then(Value::as_i64) == Some(DENIED) => {
            Some(Outcome { verdict: Verdict::Deny, reason: "unnamed".to_owned(), decision })
        }
        None => None,
    }
}
