//! A mesh that keeps its promises, as a generator of histories: no nodes, no bytes, only what people would have seen.
//!
//! Indexes rise in steps, so that a test can put an event between two others.

mod look;
mod operate;
mod roll;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64;
use remit_common::crypto::digest::Digest;
use remit_common::id::{BootId, BundleVersion, EdgeId, VoterId};
use remit_common::policy::Bounds;
use remit_control_plane::registry::RolloutStatus;

use self::roll::{Rolling, Rules};
use super::super::{Context, Minimums};
use crate::drill::action::Fault;
use crate::history::{Call, Event, Kind, ReadState, RecordSeen, What, WriteKind, Written};
use crate::node::{Member, Node, Roster};

/// Between the indexes of two events.
const STRIDE: u64 = 10;
const MILLI: u64 = 1_000;
const SECOND: u64 = 1_000_000;
const STEP: u64 = 50 * MILLI;
const VOTERS: [VoterId; 3] = [VoterId(1), VoterId(2), VoterId(3)];

/// What the judges of a generated history have to know.
pub(super) fn context() -> Context {
    let member = |node| Member { node, region: None };
    let voters = VOTERS.into_iter().map(|id| member(Node::Voter(id)));
    let nodes = voters.chain(edge_ids().map(|id| member(Node::Edge(id)))).collect();
    let bounds = Bounds { read: 30, irreversible: 5, ..Bounds::DEFAULT };
    Context {
        minimums: Minimums { faults: 1, ..Minimums::default() },
        heal_within: Duration::from_secs(15),
        settle: Duration::from_secs(5),
        ..Context::new(bounds, Roster { nodes })
    }
}

fn edge_ids() -> impl Iterator<Item = EdgeId> {
    ["eu-1", "us-1", "ap-1"].into_iter().map(|name| EdgeId::new(name).unwrap())
}

/// A history of 80 simulated seconds that breaks no promise.
pub(super) fn history(seed: u64) -> Vec<Event> {
    let mut world = World::new(seed);
    while world.now < 80 * SECOND {
        world.step();
    }
    world.events
}

enum Entry {
    /// When it was written; the nonces in it were sent before.
    Tick(u64),
    Other,
    Cut(String),
    Bundle(BundleVersion, Digest),
    Relation(bool),
    /// A rollout has come to a wave.
    Wave(usize, u32),
    /// It is over.
    Over(usize, RolloutStatus),
}

struct VoterState {
    id: VoterId,
    up: bool,
    applied: usize,
    term: u64,
    store: Vec<RecordSeen>,
    followed: usize,
}

struct EdgeState {
    id: EdgeId,
    up: bool,
    connected: bool,
    boot: BootId,
    boots: u8,
    tick: usize,
    proof: u64,
    /// Since its start it has been in contact.
    proven: bool,
    memory: Vec<RecordSeen>,
    disk: Vec<RecordSeen>,
    seq: u64,
    head: Digest,
    permits: u64,
    denials: u64,
}

type Action = fn(&mut World);

/// Something that happens at a later time.
enum Later {
    Decide(u64, Call),
    Answer(u64, Option<u64>, Call),
    Commit(WriteKind, u64),
    Acknowledge(u64, WriteKind, Option<Written>),
    TakeRead(ReadState),
    Do(Action),
}

struct World {
    random: Pcg64,
    now: u64,
    events: Vec<Event>,
    log: Vec<Entry>,
    term: u64,
    leader: VoterId,
    voters: Vec<VoterState>,
    edges: Vec<EdgeState>,
    later: BTreeMap<(u64, u64), Later>,
    order: u64,
    sessions: VecDeque<String>,
    cut: Vec<String>,
    opened: u64,
    ready: bool,
    /// Whether a change of the relation is under way, and whether it was last asked to hold.
    relating: bool,
    related: bool,
    version: u64,
    rules: BTreeMap<BundleVersion, Rules>,
    rollouts: Vec<Rolling>,
    decisions: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let voter = |id| VoterState { id, up: true, applied: 0, term: 1, store: Vec::new(), followed: 0 };
        let mut world = Self {
            random: Pcg64::seed_from_u64(seed),
            now: 0,
            events: Vec::new(),
            log: Vec::new(),
            term: 1,
            leader: VoterId(1),
            voters: VOTERS.into_iter().map(voter).collect(),
            edges: Vec::new(),
            later: BTreeMap::new(),
            order: 0,
            sessions: VecDeque::new(),
            cut: Vec::new(),
            opened: 0,
            ready: false,
            relating: false,
            related: false,
            version: 0,
            rules: BTreeMap::new(),
            rollouts: Vec::new(),
            decisions: 0,
        };
        for id in edge_ids() {
            let boot = BootId(world.random.random());
            world.edges.push(EdgeState {
                id,
                up: true,
                connected: true,
                boot,
                boots: 1,
                tick: 0,
                proof: 0,
                proven: false,
                memory: Vec::new(),
                disk: Vec::new(),
                seq: 0,
                head: Digest::default(),
                permits: 0,
                denials: 0,
            });
        }
        for _ in 0..5 {
            world.open_session();
        }
        world.schedule();
        world
    }

    /// Phases, and a choice of faults.
    fn schedule(&mut self) {
        let phases: [(u64, Action); 5] = [
            (0, |world| world.phase("setup")),
            (5, |world| world.phase("steady")),
            (20, |world| world.phase("faults")),
            (40, |world| {
                world.phase("heal");
                world.fault("heal-network", vec![], None);
                world.edges.iter_mut().for_each(|edge| edge.connected = true);
            }),
            (75, |world| {
                world.phase("check");
                world.gather();
            }),
        ];
        for (at, action) in phases {
            self.at(at * SECOND, Later::Do(action));
        }
        for at in [8, 14, 25, 45, 52, 59] {
            self.at(at * SECOND, Later::Do(Self::invoke_rollout));
        }
        self.at(6 * SECOND, Later::Do(Self::invoke_publication));
        self.at(SECOND, Later::Do(Self::watch_rollouts));
        let mut chosen = self.random.random_range(1..8_u8);
        let faults: [(u64, Action, u64, Action); 3] = [
            (21, Self::kill_leader, 28, Self::start_voters),
            (24, Self::cut_off, 36, |_| {}),
            (22, Self::kill_edge, 26, Self::start_edges),
        ];
        for (begins, begin, ends, end) in faults {
            if chosen & 1 == 1 {
                self.at(begins * SECOND, Later::Do(begin));
                self.at(ends * SECOND, Later::Do(end));
            }
            chosen >>= 1;
        }
    }

    fn at(&mut self, time: u64, later: Later) {
        self.order += 1;
        self.later.insert((time, self.order), later);
    }

    fn soon(&mut self, most_millis: u64, later: Later) {
        let time = self.now + self.random.random_range(MILLI..most_millis * MILLI);
        self.at(time, later);
    }

    fn one_in(&mut self, number: u32) -> bool {
        self.random.random_ratio(1, number)
    }

    fn note(&mut self, process: &str, kind: Kind, what: What) -> u64 {
        let index = self.events.last().map_or(0, |last| last.index + STRIDE);
        self.events.push(Event { index, time_us: self.now, process: process.to_owned(), kind, what });
        index
    }

    fn phase(&mut self, name: &str) {
        self.note("drill", Kind::Info, What::Phase { name: name.to_owned() });
    }

    fn fault(&mut self, name: &str, nodes: Vec<Node>, fault: Option<Fault>) {
        let detail = format!("{name} for a test");
        self.note("drill", Kind::Info, What::Fault { name: name.to_owned(), nodes, detail, begins: true, fault });
    }

    fn open_session(&mut self) {
        self.opened += 1;
        self.sessions.push_back(format!("session-{}", self.opened));
    }

    fn kill_leader(&mut self) {
        let leader = self.leader;
        self.fault("kill", vec![Node::Voter(leader)], Some(Fault::Kill(vec![Node::Voter(leader)])));
        self.voters.iter_mut().filter(|voter| voter.id == leader).for_each(|voter| voter.up = false);
        self.term += 1;
        self.leader = self.voters.iter().find(|voter| voter.up).unwrap().id;
    }

    fn start_voters(&mut self) {
        let down: Vec<_> = self.voters.iter().filter(|voter| !voter.up).map(|voter| Node::Voter(voter.id)).collect();
        self.fault("start", down, None);
        for voter in self.voters.iter_mut().filter(|voter| !voter.up) {
            // The committed index is a hint: after a restart less may be applied.
            (voter.up, voter.applied) = (true, voter.applied / 2);
        }
    }

    fn cut_off(&mut self) {
        let nodes = self.edges.iter().map(|edge| Node::Edge(edge.id.clone())).collect();
        self.fault("partition", nodes, None);
        self.edges.iter_mut().for_each(|edge| edge.connected = false);
    }

    fn kill_edge(&mut self) {
        let node = Node::Edge(self.edges[0].id.clone());
        let name = if self.one_in(2) { "kill" } else { "power-cut" };
        self.fault(name, vec![node], None);
        let edge = &mut self.edges[0];
        (edge.up, edge.proven) = (false, false);
        edge.memory.clear();
        edge.head = edge.disk.last().map_or(Digest::default(), |record| record.digest);
    }

    fn start_edges(&mut self) {
        let node = Node::Edge(self.edges[0].id.clone());
        self.fault("start", vec![node], None);
        let boot = BootId(self.random.random());
        let edge = &mut self.edges[0];
        (edge.up, edge.boot, edge.seq, edge.permits, edge.denials) = (true, boot, 0, 0, 0);
        edge.boots += 1;
    }

    fn has_majority(&self) -> bool {
        self.voters.iter().filter(|voter| voter.up).count() * 2 > self.voters.len()
    }

    fn step(&mut self) {
        let until = self.now + STEP;
        while let Some(entry) = self.later.first_entry().filter(|entry| entry.key().0 <= until) {
            self.now = self.now.max(entry.key().0);
            let later = entry.remove();
            self.happen(later);
        }
        self.now = until;
        self.replicate();
        if self.now < 72 * SECOND {
            self.work();
        }
        if self.now.is_multiple_of(SECOND) {
            self.look();
        }
    }

    /// Entries reach voters, truth reaches edges, records reach disks and voters.
    fn replicate(&mut self) {
        if self.has_majority() && self.one_in(4) {
            self.log.push(Entry::Tick(self.now));
        }
        let length = self.log.len();
        for voter in self.voters.iter_mut().filter(|voter| voter.up) {
            let behind = length - voter.applied;
            voter.applied += self.random.random_range(0..=behind.min(8));
            voter.term = self.term;
        }
        let serves = self.has_majority();
        let ticks = self.log.iter().enumerate().rev();
        let newest = ticks
            .filter_map(|(at, entry)| if let Entry::Tick(time) = entry { Some((at + 1, *time)) } else { None })
            .next();
        for edge in self.edges.iter_mut().filter(|edge| edge.up) {
            edge.disk.append(&mut edge.memory);
            if !edge.connected {
                continue;
            }
            if let (Some((tick, time)), true) = (newest, serves && self.random.random_ratio(1, 3)) {
                (edge.tick, edge.proof, edge.proven) = (tick, time.saturating_sub(STEP), true);
            }
            for voter in self.voters.iter_mut().filter(|voter| voter.up) {
                let has = voter.store.iter().filter(|record| record.edge == edge.id).count();
                for record in edge.disk.iter().skip(has).take(50) {
                    voter.store.push(RecordSeen { voter: voter.id, ..record.clone() });
                }
            }
        }
    }
}
