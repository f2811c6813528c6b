//! Everything together: three voters that agree, a tool server, one edge with a bundle and a credential.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use remit_common::crypto::digest::Digest;
use remit_common::id::{TenantId, VoterId};
use remit_common::policy::Taxonomy;
use remit_common::revocation::CutKind;
use remit_common::time::Timestamp;
use remit_edge_node::Config;
use tempfile::TempDir;

use super::agent::Agent;
use super::bundle::{self, Variant};
use super::edge::{self, Running};
use super::keys::{self, ISSUERS, acme, edge_id};
use super::upstream::{API_KEY, Upstream};
use super::voter::{Log, Voter};
use super::world::World;

/// What Maya's agent may do in the tests.
pub(crate) const TASK: &str = r#"
tenant = "acme"
delegator = "user:maya"
session = "session-1"
task = "task-1"
purpose = "review.renewal_risk"
lifetime_secs = 3600
[agent]
id = "agent:analyst"
class = "analyst"
[delegation]
depth = 2
offline = true
[[grant]]
tools = ["contracts.read"]
effects = ["read"]
classes = ["contract_metadata", "renewal_terms"]
ids = { customer = ["cust_1042"], contract = ["contract_7781"] }
maxima = { records = 25 }
[[grant]]
tools = ["notes.write", "tickets.create", "billing.update", "frozen.read", "fragile.read", "unread.read", "plain.read", "ghost.read"]
effects = ["read", "write", "irreversible"]
classes = ["contract_metadata"]
ids = { customer = ["cust_1042"] }
"#;

pub(crate) struct Scene {
    pub(crate) world: World,
    pub(crate) folder: TempDir,
    pub(crate) now: Timestamp,
    pub(crate) tenants: Vec<TenantId>,
    pub(crate) log: Log,
    pub(crate) voters: Vec<Voter>,
    pub(crate) upstream: Upstream,
    pub(crate) config: Config,
    pub(crate) taxonomy: Taxonomy,
    pub(crate) profile: Digest,
    pub(crate) root: Vec<u8>,
    running: Mutex<Option<Running>>,
    addr: Mutex<Option<SocketAddr>>,
}

impl Scene {
    /// Voters and tool server run, documents and shard are published, no bundle is, and the edge does not run.
    pub(crate) fn before_the_edge() -> Self {
        super::logs::collect();
        let world = World::new();
        let env = &world.env;
        let now = env.now().wall;
        let tenants = vec![acme()];
        let root = keys::root(now, &tenants).to_bytes();
        let log = Log::new(root.clone(), (1, keys::directory(now, 1, &tenants).to_bytes()));
        let any: SocketAddr = ([127, 0, 0, 1], 0).into();
        let voters: Vec<Voter> = (1..=3).map(|id| Voter::start(env, VoterId(id), &log, any)).collect();
        let upstream = Upstream::start(env);
        let variant = Variant::new(1, &upstream.url());
        let policy = bundle::compiled(&acme(), &variant, now);
        let profile = policy.catalogue().upstreams.values().next().unwrap().profile_digest();
        log.seal(edge_id(), 1, keys::shard(API_KEY, 1, profile));
        let folder = tempfile::tempdir().unwrap();
        let addrs: Vec<_> = voters.iter().map(|voter| (voter.id, voter.addr)).collect();
        let config = edge::install(env, folder.path(), &root, &addrs, &tenants);
        let taxonomy = policy.taxonomy().clone();
        Self {
            world,
            folder,
            now,
            tenants,
            log,
            voters,
            upstream,
            config,
            taxonomy,
            profile,
            root,
            running: Mutex::new(None),
            addr: Mutex::new(None),
        }
    }

    /// All of it, with bundle 1 active and the edge fresh.
    pub(crate) async fn new() -> Self {
        let scene = Self::before_the_edge();
        scene.publish(&Variant::new(1, &scene.upstream.url()));
        scene.start_edge().await;
        scene.until_fresh(1).await;
        scene
    }

    /// Activates a bundle that two administrators signed.
    pub(crate) fn publish(&self, variant: &Variant) {
        self.log.activate(&acme(), bundle::signed(&acme(), variant, self.now, &[0, 2]));
    }

    /// Seals the key for another upstream of a bundle, where there was one for the usual server.
    pub(crate) fn seal_for(&self, variant: &Variant, upstream: &str) {
        let policy = bundle::compiled(&acme(), variant, self.now);
        let profile = policy.catalogue().upstreams.get(upstream).unwrap().profile_digest();
        self.log.seal(edge_id(), 2, keys::shard(API_KEY, 2, profile));
    }

    pub(crate) async fn start_edge(&self) {
        let running = Running::start(&self.world.env, &self.config).await;
        *self.addr.lock().unwrap() = Some(running.agent_addr);
        *self.running.lock().unwrap() = Some(running);
    }

    pub(crate) async fn stop_edge(&self) {
        let running = self.running.lock().unwrap().take().unwrap();
        running.stop().await;
    }

    /// As a SIGKILL does it.
    pub(crate) async fn kill_edge(&self) {
        let running = self.running.lock().unwrap().take().unwrap();
        running.kill().await;
    }

    /// The operations listener.
    pub(crate) fn ops(&self) -> Agent {
        let addr = self.running.lock().unwrap().as_ref().unwrap().ops.addr;
        Agent::new(&self.world.env, addr, None)
    }

    pub(crate) async fn status(&self) -> serde_json::Value {
        self.ops().get("/status").await.json
    }

    pub(crate) async fn until(&self, what: &str, look: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
        super::eventually(what, || async {
            let status = self.status().await;
            look(&status).then_some(status)
        })
        .await
    }

    pub(crate) async fn until_fresh(&self, version: u64) {
        self.until("a bundle is active and the edge is fresh", |status| {
            status["bundle_version"] == version && status["mode"] == "fresh"
        })
        .await;
    }

    pub(crate) fn agent(&self, envelope: Option<&[u8]>) -> Agent {
        Agent::new(&self.world.env, self.addr.lock().unwrap().unwrap(), envelope)
    }

    /// An agent with Maya's envelope.
    pub(crate) fn maya(&self) -> Agent {
        self.agent(Some(&self.envelope(TASK)))
    }

    pub(crate) fn envelope(&self, task: &str) -> Vec<u8> {
        keys::issue(task, &self.taxonomy, self.world.env.now().wall, &ISSUERS)
    }

    /// Cuts something, by the log.
    pub(crate) fn revoke(&self, kind: CutKind, id: &str) -> u64 {
        let index = self.log.next_index();
        self.log.revoke(keys::cut(self.world.env.now().wall, index, kind, id, &self.tenants)).0
    }

    /// How often holders' requests were passed on to voters.
    pub(crate) fn asked_of_voters(&self) -> u64 {
        self.voters.iter().map(|voter| voter.heard(|heard| heard.cuts)).sum()
    }

    /// No voter proves anything any more.
    pub(crate) fn silence(&self, silent: bool) {
        for voter in &self.voters {
            voter.behaviour.silent.store(silent, std::sync::atomic::Ordering::SeqCst);
        }
    }

    pub(crate) fn kill_voters(&self) {
        for voter in &self.voters {
            voter.kill();
        }
    }

    /// Starts the voters again where they were, with the same log.
    pub(crate) async fn restart_voters(&mut self) {
        for voter in std::mem::take(&mut self.voters) {
            let (id, addr, heard) = (voter.id, voter.addr, std::sync::Arc::clone(&voter.heard));
            voter.stop().await;
            let fresh = Voter::restart(&self.world.env, id, &self.log, addr).await;
            // What was on its disk is on its disk.
            *fresh.heard.lock().unwrap() = std::mem::take(&mut *heard.lock().unwrap());
            self.voters.push(fresh);
        }
    }

    pub(crate) fn forward(&self, by: Duration) {
        self.world.forward(by);
    }
}
