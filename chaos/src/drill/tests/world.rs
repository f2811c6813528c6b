//! A world without a mesh: it notes what is done to it, and shows what a mesh would show.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Result, bail};
use futures::future::{BoxFuture, LocalBoxFuture};
use remit_common::id::{BootId, LogIndex, RevocationEpoch, VoterId};
use remit_common::lattice::Effect;
use remit_common::net::env::Env;
use remit_common::net::real::real;
use remit_common::net::tasks::Shutdown;
use remit_common::policy::Bounds;

use crate::drill::action::Fault;
use crate::drill::backend::{Access, Backend, BackendKind, Shape};
use crate::drill::crew::{Crew, Done};
use crate::drill::select::planned;
use crate::drill::step::Task;
use crate::history::{Call, Edge, History, Kind, Outcome, Verdict, Voter, What};
use crate::launcher::MeshFile;
use crate::node::{Node, Roster};

/// What the world is like, and what was done to it.
#[derive(Default)]
pub(super) struct Known {
    pub(super) done: Vec<String>,
    down: BTreeSet<Node>,
    roster: Roster,
    began: Option<tokio::time::Instant>,
    /// Faults that cannot be brought about.
    pub(super) fails: Option<&'static str>,
    /// Faults that this world does not know.
    pub(super) unable: Option<&'static str>,
    /// What of `undo`, `search` and `mesh stops` does not succeed.
    pub(super) stays: Option<&'static str>,
    /// Whether agents are served.
    pub(super) broken: bool,
}

/// Cloning gives the same world.
#[derive(Clone, Default)]
pub(super) struct World(pub(super) Arc<Mutex<Known>>);

impl World {
    pub(super) fn done(&self) -> Vec<String> {
        self.0.lock().unwrap().done.clone()
    }

    /// Whether something can be done at the end.
    fn can(&self, what: &str) -> Result<()> {
        if self.0.lock().unwrap().stays == Some(what) { bail!("it is stuck") } else { Ok(()) }
    }

    fn note(&self, what: impl Into<String>) {
        self.0.lock().unwrap().done.push(what.into());
    }
}

impl Access for World {
    fn roster(&self) -> Roster {
        self.0.lock().unwrap().roster.clone()
    }

    fn mesh(&self) -> MeshFile {
        panic!("nobody needs the mesh of a world without one")
    }

    fn env_at(&self, _: &Node) -> Env {
        real()
    }

    #[expect(clippy::disallowed_methods, reason = "this is a world: its time is that of the runtime")]
    fn now(&self) -> Duration {
        self.0.lock().unwrap().began.map_or(Duration::ZERO, |began| tokio::time::Instant::now() - began)
    }
}

impl Backend for World {
    fn kind(&self) -> BackendKind {
        BackendKind::Sim
    }

    fn unable(&self, fault: &Fault) -> Option<String> {
        let unable = self.0.lock().unwrap().unable;
        (unable == Some(fault.name())).then(|| "there is no such tool here".to_owned())
    }

    #[expect(clippy::disallowed_methods, reason = "this is a world: its time is that of the runtime")]
    fn start(&mut self, shape: Shape, _: History) -> BoxFuture<'_, Result<()>> {
        let mut known = self.0.lock().unwrap();
        known.roster = planned(&shape);
        known.began = Some(tokio::time::Instant::now());
        known.done.push("mesh starts".to_owned());
        Box::pin(async { Ok(()) })
    }

    fn access(&self) -> Arc<dyn Access> {
        Arc::new(self.clone())
    }

    fn apply(&mut self, fault: Fault) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let mut known = self.0.lock().unwrap();
            if known.fails == Some(fault.name()) {
                bail!("the tool has failed");
            }
            known.done.push(format!("{} {}", fault.name(), fault.detail()));
            match fault {
                Fault::Kill(nodes) | Fault::PowerCut(nodes) | Fault::Stop(nodes) => known.down.extend(nodes),
                Fault::Start(nodes) => known.down.retain(|node| !nodes.contains(node)),
                _ => {}
            }
            Ok(())
        })
    }

    fn undo_all(&mut self) -> BoxFuture<'_, Result<()>> {
        self.note("undo");
        self.0.lock().unwrap().down.clear();
        Box::pin(async { self.can("undo") })
    }

    fn find_secret(&self, _: &[u8]) -> BoxFuture<'_, Result<Vec<String>>> {
        Box::pin(async { self.can("search").map(|()| Vec::new()) })
    }

    fn stop(&mut self) -> BoxFuture<'_, Result<()>> {
        self.note("mesh stops");
        Box::pin(async { self.can("mesh stops") })
    }
}

/// One who looks at everything twice a second, and one who calls.
pub(super) struct Pair {
    world: World,
    history: History,
    stop: Shutdown,
}

impl Pair {
    pub(super) fn new(world: &World) -> Self {
        Self { world: world.clone(), history: History::default(), stop: Shutdown::new() }
    }
}

/// What everybody sees now: the living voter with the lowest number leads.
fn look(world: &World, history: &History) {
    let (down, roster, broken) = {
        let known = world.0.lock().unwrap();
        (known.down.clone(), known.roster.clone(), known.broken)
    };
    let at = world.now();
    let leader = roster.voters().find(|id| !down.contains(&Node::Voter(*id)));
    for voter in roster.voters().filter(|id| !down.contains(&Node::Voter(*id))) {
        let role = if Some(voter) == leader { "leader" } else { "follower" };
        let seen = Voter {
            voter,
            term: leader.map_or(1, |VoterId(id)| id),
            role: role.to_owned(),
            leader,
            applied: LogIndex(1),
            applied_digest: None,
            signed: None,
        };
        history.note(at, "observer", Kind::Info, What::Voter(seen));
    }
    for edge in roster.edges().filter(|id| !down.contains(&Node::Edge((*id).clone()))) {
        let seen = Edge {
            edge: edge.clone(),
            boot: BootId([1; 16]),
            asked_us: None,
            bundle: None,
            digest: None,
            activation: None,
            relations: None,
            turned_away: Vec::new(),
            epoch: RevocationEpoch(0),
            tick: LogIndex(1),
            staleness_ms: Some(100),
            mode: "fresh".to_owned(),
            spool: 0,
            permits: 0,
            denials: 0,
        };
        history.note(at, "observer", Kind::Info, What::Edge(seen));
        let call = |of, outcome| {
            What::Call(Call {
                of,
                edge: edge.clone(),
                session: "session-1".to_owned(),
                tool: "contracts.read".to_owned(),
                effect: Effect::Read,
                admitted: true,
                rests_on: None,
                leaks: false,
                outcome,
            })
        };
        let verdict = if broken { Verdict::Deny } else { Verdict::Permit };
        let of = history.note(at, "agent/1", Kind::Invoke, call(None, None));
        let outcome = Outcome { verdict, reason: "permit".to_owned(), decision: None };
        history.note(at, "agent/1", Kind::Ok, call(Some(of), Some(outcome)));
    }
}

impl Crew for Pair {
    fn prepare(&mut self, _: Arc<dyn Access>, history: History, _: Shape) -> LocalBoxFuture<'_, Result<()>> {
        self.history = history;
        Box::pin(async { Ok(()) })
    }

    fn start(&mut self) {
        let (world, history, stop) = (self.world.clone(), self.history.clone(), self.stop.clone());
        real().spawn_named("pair", async move {
            while !stop.is_requested() {
                look(&world, &history);
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        });
    }

    fn act(&self, task: Task) -> LocalBoxFuture<'_, Done> {
        self.world.note(task.name());
        Box::pin(async { Done::of(true, "done".to_owned()) })
    }

    fn stop(&mut self) -> LocalBoxFuture<'_, ()> {
        self.stop.trigger();
        Box::pin(async {})
    }

    fn gather(&self) -> LocalBoxFuture<'_, ()> {
        self.world.note("gather");
        Box::pin(async {})
    }

    fn bounds(&self) -> Bounds {
        Bounds::DEFAULT
    }

    fn secret(&self) -> &[u8] {
        b"secret"
    }
}
