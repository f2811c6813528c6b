//! A session that is handed on, and one that moves: what agents do with an envelope besides calling.

use std::sync::Arc;
use std::time::Duration;

use remit_common::crypto::sign::SigningKey;
use remit_common::envelope::{Restriction, delegate};
use remit_common::lattice::NoNames;
use remit_common::net::env::Env;
use zeroize::Zeroizing;

use super::Workload;
use super::agent::Agent;
use super::sessions::{Family, Session};
use crate::drill::crew::Done;
use crate::history::Verdict;
use crate::node::Node;

/// How long a session is handed on.
const FOR: Duration = Duration::from_secs(24);
/// Between two hops of one child.
const EVERY: Duration = Duration::from_millis(600);
/// Sessions of one move.
const SESSIONS: usize = 2;

/// What is left of an envelope for whoever gets it.
fn restriction(depth: u8) -> Option<Restriction> {
    let text = format!(
        "lifetime_secs = 600\nagent = {{ id = \"agent:helper\", class = \"clause-classifier\" }}\n\
         [delegation]\ndepth = {depth}\nfanout = 64\n[[grant]]\nof = 0\ntools = [\"contracts.read\"]\n"
    );
    Restriction::parse_toml(&text, &NoNames).ok()
}

/// Hands a session on: the child's name says whose it is.
fn hop(env: &Env, mesh: &remit_common::id::MeshId, parent: &Session, child: usize, depth: u8) -> Option<Session> {
    let holder = SigningKey::from_seed(Zeroizing::new(env.random())).ok()?;
    let (restriction, now) = (restriction(depth)?, env.now().wall);
    let (key, nonce) = (holder.public(), env.random());
    let envelope = delegate(&parent.envelope, &parent.holder, mesh, &restriction, key, now, nonce).ok()?;
    Some(Session { name: format!("{}/{child}", parent.name), envelope, holder: Arc::new(holder) })
}

impl Workload {
    /// One agent at each edge.
    fn agents(&self, name: &str) -> Vec<Agent> {
        let keys = self.operator.edge_keys();
        let at = |edge: &remit_common::id::EdgeId| Some((edge.clone(), *keys.get(edge)?));
        let roster = self.access.roster();
        let edges = roster.edges().filter_map(at);
        let agent = |at| Agent::new(&self.access, &self.history, &self.sessions, name, at, &self.secret);
        edges.map(agent).collect()
    }

    /// Opens a session, hands it on to two children, and for a while has both hand it on again and again; each hop is
    /// registered at one edge and used at every edge as soon as it is made. Says how many there were; `None` when there is no session.
    pub(crate) async fn hand_on(&self) -> Option<String> {
        let (env, mesh) = (self.access.env_at(&Node::Operator), self.access.mesh().mesh_id);
        let root = self.operator.issue().await?;
        let agents = self.agents("agent/family");
        let first = agents.first()?;
        let family = Family {
            cut: first.register(&root, &hop(&env, &mesh, &root, 1, 1)?).await?,
            stays: first.register(&root, &hop(&env, &mesh, &root, 2, 1)?).await?,
        };
        self.sessions.found(family.clone());
        let until = self.access.now() + FOR;
        let mut hops = 0;
        while self.access.now() < until {
            hops += 1;
            for parent in [&family.cut, &family.stays] {
                let child = hop(&env, &mesh, parent, hops, 0)?;
                let registrar = agents.get(hops % agents.len())?;
                // Below what is cut nobody registers anything any more: it is tried as it is.
                let child = registrar.register(parent, &child).await.unwrap_or(child);
                // What is above is used, too: a cut of it must not hang on what is below.
                let calls = agents.iter().zip([&child, parent].into_iter().cycle());
                futures::future::join_all(calls.map(|(agent, session)| agent.reads(session))).await;
                futures::future::join_all(agents.iter().map(|agent| agent.reads(&child))).await;
            }
            tokio::time::sleep(EVERY).await;
        }
        Some(format!("{} handed on {hops} times below each of its children", root.name))
    }

    /// Shows proofs that were made for each edge to the next one, which has to refuse them, and then opens a channel
    /// there, as one should. It succeeds if all are refused and every session is served at its new edge.
    pub(crate) async fn move_session(&self) -> Done {
        let agents = self.agents("agent/moving");
        let (mut moved, mut refused, mut served) = (0, 0, 0);
        for session in self.sessions.open().iter().rev().take(SESSIONS) {
            for (here, there) in agents.iter().zip(agents.iter().cycle().skip(1)) {
                moved += 1;
                here.reads(session).await;
                refused += usize::from(here.show_elsewhere(there, session).await == Some(Verdict::Deny));
                served += usize::from(there.reads(session).await == Some(Verdict::Permit));
            }
        }
        let told = format!("of {moved} proofs shown elsewhere {refused} were refused; {served} sessions went on there");
        Done::of(moved > 0 && refused == moved && served == moved, told)
    }
}
