//! What a thief would try with what went over the wire: the same bytes once more, and another's envelope beside a proof
//! of one's own. Nothing admits either, whatever the envelope says. Clauses.

use bytes::Bytes;
use http::{HeaderValue, Request};
use remit_common::envelope::ENVELOPE_HEADER;
use remit_common::net::env::Env;
use remit_common::net::http::HttpClient;
use remit_common::proof::{Exchange, PROOF_HEADER, Target};
use remit_common::text;

use super::{ANSWER, ANSWER_BYTES_MAX, Agent, Task, outcome_of};
use crate::history::{Outcome, Verdict};
use crate::node::Node;
use crate::workload::http::addr_of;
use crate::workload::rest::draw;
use crate::workload::sessions::Session;

impl Agent {
    /// Makes a call and, once it was permitted, sends its bytes again.
    pub(super) async fn replay(&self, session: &Session, task: &Task) {
        let env = self.env_of_edge();
        let Some(request) = self.proven(&env, session, task).await else { return };
        let first = self.noted(session, task, task.admitted, self.send(&env, request.clone())).await;
        // One that was not answered may not have arrived: then the second would be the first.
        if first == Some(Verdict::Permit) {
            self.noted(session, task, false, self.send(&env, request)).await;
        }
    }

    /// Shows another session's envelope beside a proof with the key and over the channel of this one.
    pub(super) async fn show_anothers(&self, session: &Session, task: &Task) {
        let env = self.env_of_edge();
        let others: Vec<_> = self.sessions.open().into_iter().filter(|other| other.name != session.name).collect();
        let Some(other) = others.get(draw(&env, others.len())) else { return };
        let Some(mut request) = self.proven(&env, session, task).await else { return };
        let Some(shown) = shown(other) else { return };
        request.headers_mut().insert(ENVELOPE_HEADER, shown);
        self.noted(other, task, false, self.send(&env, request)).await;
    }

    fn env_of_edge(&self) -> Env {
        self.access.env_at(&Node::Edge(self.edge.clone()))
    }

    /// The request of a call, with envelope and proof.
    async fn proven(&self, env: &Env, session: &Session, task: &Task) -> Option<Request<Bytes>> {
        let (to, mut request) = self.request(task)?;
        let target = Target::Mcp { method: "tools/call", name: task.tool, definition: None };
        let prover = self.prover(env, session)?;
        let client = HttpClient::new(env, ANSWER_BYTES_MAX);
        let exchange = Exchange { target, body: request.body(), idempotency_key: b"" };
        let proof = prover.prove(&client, to, &exchange, task.grade(), ANSWER).await.ok()?;
        request.headers_mut().insert(ENVELOPE_HEADER, shown(session)?);
        request.headers_mut().insert(PROOF_HEADER, proof);
        Some(request)
    }

    async fn send(&self, env: &Env, request: Request<Bytes>) -> Option<Outcome> {
        let mesh = self.access.mesh();
        let to = addr_of(&mesh.edges.iter().find(|edge| edge.id == self.edge)?.agent)?;
        let response = HttpClient::new(env, ANSWER_BYTES_MAX).send(to, request, ANSWER).await.ok()?;
        let decision = response.headers().get("remit-decision").and_then(|id| id.to_str().ok()).map(str::to_owned);
        outcome_of(response.body(), decision)
    }
}

/// A session's envelope, as its header carries it.
fn shown(session: &Session) -> Option<HeaderValue> {
    HeaderValue::from_str(&text::base64url(&session.envelope)).ok()
}
