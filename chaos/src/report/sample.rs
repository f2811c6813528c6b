//! A made-up drill for tests and for looking at: a leader dies, a region is cut off, a clock jumps.

use std::collections::BTreeMap;
use std::time::Duration;

use remit_common::id::{BootId, BundleVersion, Digest, EdgeId, LogIndex, RevocationEpoch, VoterId};
use remit_common::lattice::Effect;
use remit_common::policy::Bounds;
use remit_common::time::Timestamp;

use crate::drill::action::Fault;
use crate::drill::backend::{BackendKind, Shape};
use crate::drill::outcome::{
    ActivityKind, ActivityRun, ActivityStatus, DrillCopy, DrillOutcome, Limit, ProbeReading, RunStatus, Section,
};
use crate::history::{
    Call, Edge, Event, History, Kind, Outcome, ReadState, Verdict, Voter, What, Write, WriteKind, Written,
};
use crate::invariant::{self, Breach, Context, Invariant, Status, Witness};
use crate::node::{Member, Node, Roster};

const MS: u64 = 1_000;
const SEC: u64 = 1_000_000;
const END: u64 = 96;

/// Pseudo-random numbers that are the same everywhere.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most.max(1)
    }
}

fn roster() -> Roster {
    let voters = (1..=3).map(|id| Member { node: Node::Voter(VoterId(id)), region: None });
    let edges = ["eu-west", "us-east"].into_iter().flat_map(|region| {
        (1..=3).map(move |n| Member {
            node: Node::Edge(EdgeId::new(&format!("{region}-{n}")).unwrap()),
            region: Some(region.parse().unwrap()),
        })
    });
    Roster { nodes: voters.chain(edges).collect() }
}

fn node(name: &str) -> Node {
    name.parse().unwrap()
}

fn eu() -> Vec<Node> {
    (1..=3).map(|n| node(&format!("edge/eu-west-{n}"))).collect()
}

/// Notes in any order; sorted into a history at the end.
#[derive(Default)]
struct Notes(Vec<(u64, String, Kind, What)>);

impl Notes {
    fn note(&mut self, time_us: u64, process: &str, what: What) {
        self.0.push((time_us, process.to_owned(), Kind::Info, what));
    }

    fn fault(&mut self, time_us: u64, name: &str, nodes: Vec<Node>, detail: &str, begins: bool) {
        let voters = (1..=3).map(|id| Node::Voter(VoterId(id))).collect();
        let cut = || Fault::Partition { from: eu(), to: voters, one_way: false };
        let fault = (name == "partition").then(cut);
        let what = What::Fault { name: name.to_owned(), nodes, detail: detail.to_owned(), begins, fault };
        self.note(time_us, "drill", what);
    }
}

fn script(notes: &mut Notes) {
    for (at, name) in [(0, "setup"), (7, "steady"), (18, "faults"), (66, "heal"), (90, "check")] {
        notes.note(at * SEC, "drill", What::Phase { name: name.to_owned() });
    }
    let voter = |id: u64| vec![node(&format!("voter/{id}"))];
    notes.fault(20 * SEC, "kill", voter(1), "SIGKILL of the leader", true);
    notes.fault(34 * SEC, "start", voter(1), "", true);
    notes.fault(38 * SEC, "partition", eu(), "eu-west cannot reach any voter", true);
    notes.fault(44 * SEC + 300 * MS, "clock-jump", vec![node("edge/us-east-2")], "30 s forwards", true);
    notes.fault(50 * SEC, "disk-full", voter(2), "no byte fits", true);
    notes.fault(57 * SEC, "disk-free", voter(2), "", true);
    notes.fault(66 * SEC, "heal-network", Vec::new(), "", true);
}

fn polls(notes: &mut Notes, dice: &mut Dice) {
    for at in 1..END {
        for id in 1..=3 {
            let down = id == 1 && (20..34).contains(&at);
            let term = if at < 22 { 1 } else { 3 };
            let role = match (id, at) {
                _ if at < 3 => "candidate",
                (1, 3..20) | (3, 22..) => "leader",
                (2, 20..22) => "candidate",
                _ => "follower",
            };
            if !down {
                let leader = match at {
                    3..20 => Some(VoterId(1)),
                    22.. => Some(VoterId(3)),
                    _ => None,
                };
                notes.note(
                    at * SEC + dice.below(40) * MS,
                    "observer",
                    What::Voter(Voter {
                        voter: VoterId(id),
                        term,
                        role: role.to_owned(),
                        leader,
                        applied: LogIndex(at * 2),
                        applied_digest: None,
                        signed: None,
                    }),
                );
            }
        }
        for member in roster().nodes {
            let Node::Edge(edge) = member.node else { continue };
            let cut = edge.as_str().starts_with("eu") && (38..66).contains(&at);
            let version = if cut { 4 } else { (at / 9).max(1) };
            let age = if cut { (at - 38) * 1_000 + 700 } else { 300 + dice.below(1_900) };
            let jumped = edge.as_str() == "us-east-2" && (45..48).contains(&at);
            notes.note(
                at * SEC + 50 * MS + dice.below(60) * MS,
                "observer",
                What::Edge(Edge {
                    edge,
                    asked_us: None,
                    boot: BootId([7; 16]),
                    bundle: (at > 4).then_some(BundleVersion(version)),
                    digest: (at > 4).then(|| Digest([u8::try_from(version).unwrap(); 32])),
                    activation: (at > 4).then_some(LogIndex(version)),
                    epoch: RevocationEpoch(at / 8),
                    relations: None,
                    turned_away: Vec::new(),
                    tick: LogIndex(at * 2),
                    staleness_ms: (!jumped && at > 4).then_some(age),
                    mode: if jumped {
                        "quarantined"
                    } else if age > 10_000 {
                        "degraded"
                    } else {
                        "fresh"
                    }
                    .to_owned(),
                    spool: 0,
                    permits: 0,
                    denials: 0,
                }),
            );
        }
    }
}

/// Agents, the operator: what is asked, and what comes back a while later.
fn work(notes: &mut Notes, dice: &mut Dice) -> Vec<(u64, u64, String, What, What)> {
    let mut asked = Vec::new();
    for at in (8 * 10..END * 10 - 5).map(|tenth| tenth * 100 * MS) {
        let edge = EdgeId::new(
            ["eu-west-1", "eu-west-2", "eu-west-3", "us-east-1", "us-east-2", "us-east-3"]
                [usize::try_from(dice.below(6)).unwrap()],
        )
        .unwrap();
        let cut = edge.as_str().starts_with("eu") && (49 * SEC..66 * SEC).contains(&at);
        let effect =
            [Effect::Read, Effect::Read, Effect::Write, Effect::Spend][usize::try_from(dice.below(4)).unwrap()];
        let admitted = dice.below(9) != 0;
        let (verdict, reason) = match (admitted, cut && effect == Effect::Spend, dice.below(17)) {
            (false, ..) => (
                Verdict::Deny,
                ["out_of_scope", "forbidden", "no_matching_policy"][usize::try_from(dice.below(3)).unwrap()],
            ),
            (_, true, _) => (Verdict::Deny, "stale"),
            (_, _, 0) => (Verdict::Deny, "revoked"),
            _ => (Verdict::Permit, "permit"),
        };
        let call = Call {
            of: None,
            edge,
            session: format!("s-{}", at / SEC / 8),
            tool: "crm.read".to_owned(),
            effect,
            admitted,
            rests_on: None,
            leaks: false,
            outcome: None,
        };
        let outcome = Outcome { verdict, reason: reason.to_owned(), decision: None };
        let slow = (20 * SEC..22 * SEC).contains(&at) || dice.below(80) == 0;
        let took = 1_400 + dice.below(2_600) + if slow { 40_000 + dice.below(300_000) } else { 0 };
        let process = format!("agent/{}", dice.below(6));
        asked.push((at, took, process, What::Call(call.clone()), What::Call(Call { outcome: Some(outcome), ..call })));
    }
    for (at, n) in (8..END - 2).step_by(4).zip(1..) {
        let at = if (20..24).contains(&at) { 23 } else { at } * SEC + 310 * MS;
        let write = match n % 3 {
            0 => WriteKind::Publish {
                version: BundleVersion(n),
                digest: Digest([u8::try_from(n).unwrap(); 32]),
                good: true,
                without: Vec::new(),
            },
            _ => WriteKind::Revoke { session: format!("gone-{n}") },
        };
        let write = Write { of: None, write, written: None };
        let written =
            Written { index: LogIndex(n * 5), epoch: Some(RevocationEpoch(n)), activation: None, revision: None };
        asked.push((
            at,
            9_000 + dice.below(4_000),
            "operator".to_owned(),
            What::Write(write.clone()),
            What::Write(Write { written: Some(written), ..write }),
        ));
    }
    for (at, n) in (9..END - 2).step_by(2).zip(1..) {
        let voter = VoterId(n % 3 + 1);
        let read = ReadState {
            of: None,
            voter,
            linearizable: true,
            applied: None,
            epoch: None,
            sessions: Vec::new(),
            bundle: None,
        };
        let answer =
            ReadState { applied: Some(LogIndex(at * 2)), epoch: Some(RevocationEpoch(at / 8)), ..read.clone() };
        asked.push((at * SEC + 40 * MS, 7_000, "operator".to_owned(), What::Read(read), What::Read(answer)));
    }
    notes.note(94 * SEC, "drill", What::Searched { found: 0 });
    asked
}

fn with_of(what: What, of: u64) -> What {
    match what {
        What::Call(call) => What::Call(Call { of: Some(of), ..call }),
        What::Write(write) => What::Write(Write { of: Some(of), ..write }),
        What::Read(read) => What::Read(ReadState { of: Some(of), ..read }),
        other => other,
    }
}

/// The history of the made-up drill.
fn events() -> Vec<Event> {
    enum Entry {
        Note(Kind, What),
        Asked(What),
        Answered(usize, What),
    }
    let (mut notes, mut dice) = (Notes::default(), Dice(7));
    script(&mut notes);
    polls(&mut notes, &mut dice);
    let asked = work(&mut notes, &mut dice);
    let mut entries: Vec<(u64, usize, String, Entry)> = Vec::new();
    for (time, process, kind, what) in notes.0 {
        entries.push((time, usize::MAX, process, Entry::Note(kind, what)));
    }
    for (at, (time, took, process, ask, answer)) in asked.into_iter().enumerate() {
        entries.push((time, at, process.clone(), Entry::Asked(ask)));
        entries.push((time + took, at, process, Entry::Answered(at, answer)));
    }
    entries.sort_by_key(|entry| entry.0);
    let (history, mut invoked) = (History::default(), BTreeMap::new());
    for (time, at, process, entry) in entries {
        let time = Duration::from_micros(time);
        match entry {
            Entry::Note(kind, what) => {
                history.note(time, &process, kind, what);
            }
            Entry::Asked(what) => {
                invoked.insert(at, history.note(time, &process, Kind::Invoke, what));
            }
            Entry::Answered(at, what) => {
                history.note(time, &process, Kind::Ok, with_of(what, invoked[&at]));
            }
        }
    }
    history.events()
}

fn step(name: &str, section: Section, fault: Fault, targets: Vec<Node>, at: u64) -> ActivityRun {
    ActivityRun {
        name: name.to_owned(),
        section,
        kind: ActivityKind::Action,
        does: fault.name().to_owned(),
        targets,
        fault: Some(fault),
        status: ActivityStatus::Succeeded,
        start_us: Some(at * SEC),
        end_us: Some(at * SEC + 2_000),
        background: false,
        message: None,
    }
}

fn probes() -> Vec<ProbeReading> {
    let probe = |name: &str, value, unit, tolerance: &str| ProbeReading {
        name: name.to_owned(),
        probe: name.to_owned(),
        value: Some(value),
        unit,
        tolerance: tolerance.to_owned(),
        within: true,
    };
    vec![
        probe("Admitted calls are permitted", 1.0, "share", "0.98 to 1"),
        probe("Every edge is fresh", 6.0, "count", "6"),
        probe("One voter leads", 1.0, "count", "1"),
    ]
}

fn activities() -> Vec<ActivityRun> {
    let voter = |id: u64| vec![node(&format!("voter/{id}"))];
    let cut = Fault::Partition { from: eu(), to: (1..=3).flat_map(voter).collect(), one_way: false };
    let jump = vec![node("edge/us-east-2")];
    vec![
        step("Kill the leader", Section::Method, Fault::Kill(voter(1)), voter(1), 20),
        step("Start it again", Section::Method, Fault::Start(voter(1)), voter(1), 34),
        step("Cut eu-west off", Section::Method, cut, eu(), 38),
        step("Move a clock", Section::Method, Fault::ClockJump { nodes: jump.clone(), by_ms: 30_000 }, jump, 44),
        step("Fill the disk of voter 2", Section::Method, Fault::DiskFull(voter(2)), voter(2), 50),
        step("Heal every link", Section::Rollback, Fault::HealNetwork, Vec::new(), 66),
    ]
}

/// A drill in which every promise was kept that the judges could check.
pub(super) fn good() -> DrillOutcome {
    let events = events();
    let context = Context::new(Bounds::DEFAULT, roster());
    let mut judgement = invariant::check(&events, &context);
    judgement.vacuous = None;
    for verdict in &mut judgement.verdicts {
        if verdict.status == Status::Violated {
            verdict.status = Status::Held;
            verdict.breaches.clear();
            verdict.breaches_total = 0;
        }
    }
    let limit = |name: &str, meaning: &str, limit, unit, measured| Limit {
        name: name.to_owned(),
        meaning: meaning.to_owned(),
        limit,
        unit,
        measured: Some(measured),
        within: measured <= limit,
    };
    DrillOutcome {
        drill: DrillCopy {
            name: "leader-loss".to_owned(),
            path: "chaos/drills/leader-loss.yaml".to_owned(),
            title: "The leader dies, and a region is cut off".to_owned(),
            description:
                "The voter that leads the control plane is killed without warning while agents work. The others \
                          have to elect another within seconds, and no edge may permit what was revoked meanwhile."
                    .to_owned(),
            tags: vec!["failover".to_owned(), "revocation".to_owned()],
            document: serde_json::json!({"title": "The leader dies"}),
        },
        backend: BackendKind::Sim,
        seed: 7,
        shape: Shape {
            voters: 3,
            regions: [("eu-west".parse().unwrap(), 3), ("us-east".parse().unwrap(), 3)].into(),
            agents: 6,
            bundles: true,
            rollouts: true,
        },
        roster: roster(),
        status: RunStatus::Completed,
        why: None,
        deviated: false,
        started: Timestamp::from_millis(1_795_237_200_000),
        ended: Timestamp::from_millis(1_795_237_296_000),
        duration: Duration::from_secs(END),
        before: Some(probes()),
        after: Some(probes()),
        activities: activities(),
        limits: vec![
            limit(
                "write-gap-ms",
                "The longest time without an acknowledged write after a fault",
                6_000.0,
                "ms",
                5_010.0,
            ),
            limit("records-lost", "Acknowledged decision records that are gone", 0.0, "count", 0.0),
        ],
        abort: None,
        unable: Vec::new(),
        context: Some(context),
        invariants: vec![Invariant::Revocation],
        judgement: Some(judgement),
        caveats: Vec::new(),
        events,
        trace: Some("5f1d0c8ab2c94e0f1d9e33f0a1b2c3d4e5f60718293a4b5c6d7e8f9012345678".to_owned()),
        reproduce: "remit drill run chaos/drills/leader-loss.yaml --backend sim --seed 7".to_owned(),
        version: "0.1.0".to_owned(),
    }
}

/// What an attacker would write into every text.
pub(super) const HOSTILE: &str = "<script>alert('1')</script>\"'&]]>\u{1}</svg></title>";

/// A drill in which things went wrong, with texts that mean harm.
pub(super) fn bad() -> DrillOutcome {
    let mut drill = good();
    drill.backend = BackendKind::Netns;
    drill.trace = None;
    drill.deviated = true;
    drill.drill.title = format!("Everything goes wrong {HOSTILE}");
    drill.drill.description = HOSTILE.to_owned();
    drill.drill.path = HOSTILE.to_owned();
    drill.drill.tags.push(HOSTILE.to_owned());
    drill.reproduce = format!("remit drill run '{HOSTILE}'");
    drill.caveats =
        vec!["A lying voter can hide a revocation until beacons are co-signed.".to_owned(), HOSTILE.to_owned()];
    drill.after = drill.after.map(|mut after| {
        after[1].within = false;
        after[1].value = Some(4.0);
        after[2].value = None;
        after[2].within = false;
        after
    });
    drill.limits[0] = Limit { measured: Some(7_250.0), within: false, ..drill.limits[0].clone() };
    drill.limits.push(Limit { name: HOSTILE.to_owned(), measured: None, within: false, ..drill.limits[0].clone() });
    drill.activities[3].status = ActivityStatus::Skipped;
    drill.activities[3].message = Some("libfaketime is not installed here".to_owned());
    drill.activities[4].status = ActivityStatus::Failed;
    drill.activities[4].message = Some(format!("mount: {HOSTILE}"));
    let witness = |index: usize| Witness::from(&drill.events[index]);
    let witnesses = [vec![witness(900), witness(1_200), witness(1_240)], vec![witness(1_500)]];
    let judgement = drill.judgement.as_mut().unwrap();
    let revocation = judgement.verdicts.iter_mut().find(|verdict| verdict.id == Invariant::Revocation).unwrap();
    revocation.status = Status::Violated;
    revocation.breaches_total = 213;
    revocation.breaches = witnesses
        .into_iter()
        .map(|events| Breach {
            sentence: format!(
                "eu-west-2 permitted a call of session gone-4 11.2 s after its revocation was acknowledged {HOSTILE}"
            ),
            events,
        })
        .collect();
    revocation.notes = vec![HOSTILE.to_owned()];
    drill
}
