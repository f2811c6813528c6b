use remit_common::id::{BootId, LogIndex, RevocationEpoch};
use remit_common::lattice::Effect;

use super::*;
use crate::history::{Call, Edge, History, Outcome, Write, Written};

/// A history whose times are given in milliseconds.
#[derive(Default)]
struct Story(History);

impl Story {
    fn note(&self, millis: u64, kind: Kind, what: What) -> u64 {
        self.0.note(std::time::Duration::from_millis(millis), "test", kind, what)
    }

    fn fault(&self, millis: u64, name: &str, node: &Node, begins: bool) {
        let (name, detail, nodes) = (name.to_owned(), String::new(), vec![node.clone()]);
        self.note(millis, Kind::Info, What::Fault { name, nodes, detail, begins, fault: None });
    }

    fn write(&self, from: u64, to: u64, index: Option<u64>) {
        let write = |of, written| What::Write(Write { of, write: WriteKind::Seal { version: 1 }, written });
        let of = self.note(from, Kind::Invoke, write(None, None));
        let written =
            index.map(|index| Written { index: LogIndex(index), epoch: None, activation: None, revision: None });
        let kind = if written.is_some() { Kind::Ok } else { Kind::Info };
        self.note(to, kind, write(Some(of), written));
    }

    fn call(&self, from: u64, to: u64, reason: Option<&str>) {
        let outcome = reason.map(|reason| {
            let verdict = if reason == "permit" { Verdict::Permit } else { Verdict::Deny };
            Outcome { verdict, reason: reason.to_owned(), decision: None }
        });
        let call = |of, outcome| {
            let (edge, session, tool) = (edge_id(), "session-1".to_owned(), "crm.read".to_owned());
            What::Call(Call {
                of,
                edge,
                session,
                tool,
                effect: Effect::Read,
                admitted: true,
                rests_on: None,
                leaks: false,
                outcome,
            })
        };
        let of = self.note(from, Kind::Invoke, call(None, None));
        self.note(to, if reason.is_some() { Kind::Ok } else { Kind::Info }, call(Some(of), outcome));
    }

    fn voter(&self, millis: u64, voter: u64, term: u64, role: &str, applied: u64) {
        let leader = Some(VoterId(1));
        let (voter, role, applied) = (VoterId(voter), role.to_owned(), LogIndex(applied));
        let said = Voter { voter, term, role, leader, applied, applied_digest: None, signed: None };
        self.note(millis, Kind::Info, What::Voter(said));
    }

    fn edge(&self, millis: u64, mode: &str, bundle: u64, staleness_ms: Option<u64>) {
        self.note(
            millis,
            Kind::Info,
            What::Edge(Edge {
                edge: edge_id(),
                asked_us: None,
                boot: BootId([1; 16]),
                bundle: Some(BundleVersion(bundle)),
                digest: None,
                activation: None,
                relations: None,
                turned_away: Vec::new(),
                epoch: RevocationEpoch(0),
                tick: LogIndex(0),
                staleness_ms,
                mode: mode.to_owned(),
                spool: 0,
                permits: 0,
                denials: 0,
            }),
        );
    }

    fn figures(&self) -> Figures {
        figures(&self.0.events())
    }
}

fn edge_id() -> EdgeId {
    EdgeId::new("eu-1").unwrap()
}

fn voter(id: u64) -> Node {
    Node::Voter(VoterId(id))
}

#[test]
fn a_write_gap_runs_from_the_fault_to_the_next_acknowledgement() {
    let story = Story::default();
    story.write(100, 200, Some(1));
    story.fault(1_000, "kill", &voter(1), true);
    story.write(1_100, 1_900, None);
    story.write(2_000, 2_500, Some(2));
    story.fault(2_600, "start", &voter(1), true);
    story.write(2_700, 2_800, Some(3));
    let figures = story.figures();
    let [gap] = &figures.write_gaps[..] else { panic!("{:?}", figures.write_gaps) };
    assert_eq!((gap.from_us, gap.gap_us, gap.ended), (1_000_000, 1_500_000, true));
    assert_eq!(figures.operations["seal"], Tally { invoked: 4, ok: 3, failed: 0, unknown: 1 });
    assert_eq!(figures.faults, BTreeMap::from([("kill".to_owned(), 1)]));
}

#[test]
fn a_write_gap_that_never_ends_says_so_and_one_long_after_is_not_of_the_fault() {
    let story = Story::default();
    story.write(0, 100, Some(1));
    story.fault(1_000, "kill", &voter(1), true);
    story.edge(9_000, "fresh", 1, None);
    let gap = story.figures().write_gaps[0].clone();
    assert_eq!((gap.gap_us, gap.ended), (8_000_000, false));

    let story = Story::default();
    story.fault(1_000, "kill", &voter(1), true);
    story.fault(1_100, "start", &voter(1), true);
    for at in [1_200, 5_000, 17_000, 60_000] {
        story.write(at - 50, at, Some(at));
    }
    let gap = story.figures().write_gaps[0].clone();
    assert_eq!((gap.from_us, gap.gap_us), (5_000_000, 12_000_000));
}

#[test]
fn a_node_has_rejoined_when_it_has_what_the_others_had() {
    let story = Story::default();
    story.voter(0, 1, 1, "leader", 40);
    story.fault(100, "kill", &voter(2), true);
    story.fault(1_000, "start", &voter(2), true);
    story.voter(1_200, 2, 1, "follower", 10);
    story.voter(1_300, 2, 1, "stopped", 40);
    story.voter(1_500, 1, 1, "leader", 80);
    story.voter(1_700, 2, 1, "follower", 40);
    let edge = Node::Edge(edge_id());
    story.fault(2_000, "start", &edge, true);
    story.edge(2_100, "isolated", 1, None);
    story.edge(4_000, "fresh", 1, Some(1));
    story.fault(5_000, "resume", &voter(3), true);
    let took: Vec<_> = story.figures().rejoins.into_iter().map(|rejoin| (rejoin.node, rejoin.took_us)).collect();
    assert_eq!(took, [(voter(2), Some(700_000)), (edge, Some(2_000_000)), (voter(3), None)]);
}

#[test]
fn decisions_are_counted_where_they_were_answered() {
    let story = Story::default();
    for millis in 1..=100 {
        story.call(millis * 10, millis * 10 + 1, Some("permit"));
    }
    story.call(2_100, 2_300, Some("stale"));
    story.call(2_400, 2_450, Some("revoked"));
    story.call(2_500, 2_900, None);
    let figures = story.figures();
    assert_eq!(figures.bucket_secs, 1);
    let counts: Vec<_> =
        figures.decisions.iter().map(|bucket| (bucket.permits, bucket.denials, bucket.refused_as_stale)).collect();
    assert_eq!(counts, [(99, 0, 0), (1, 0, 0), (0, 2, 1)]);
    let latency = figures.latency.unwrap();
    assert_eq!((latency.p50_us, latency.p99_us, latency.max_us), (1_000, 50_000, 200_000));
    assert_eq!(figures.refusals, BTreeMap::from([("revoked".to_owned(), 1), ("stale".to_owned(), 1)]));
    assert_eq!(figures.operations["call"].unknown, 1);
}

#[test]
fn series_join_what_was_seen_twice() {
    let story = Story::default();
    story.edge(0, "isolated", 1, None);
    story.edge(1_000, "fresh", 1, Some(20));
    story.edge(2_000, "fresh", 2, Some(30));
    story.edge(3_000, "fresh", 2, Some(40));
    let figures = story.figures();
    let modes: Vec<_> =
        figures.modes[&edge_id()].iter().map(|span| (span.from_us, span.to_us, span.value.as_str())).collect();
    assert_eq!(modes, [(0, 1_000_000, "isolated"), (1_000_000, 3_000_000, "fresh")]);
    let bundles: Vec<_> = figures.bundles[&edge_id()].iter().map(|span| (span.from_us, span.to_us)).collect();
    assert_eq!(bundles, [(0, 2_000_000), (2_000_000, 3_000_000)]);
    let ages: Vec<_> = figures.staleness[&edge_id()].iter().map(|point| point.age_ms).collect();
    assert_eq!(ages, [None, Some(20), Some(30), Some(40)]);
}

#[test]
fn reigns_are_told_by_those_who_lead() {
    let story = Story::default();
    story.voter(0, 1, 1, "leader", 1);
    story.voter(500, 2, 1, "follower", 1);
    story.voter(1_000, 1, 1, "leader", 2);
    story.voter(2_000, 2, 3, "leader", 2);
    let reigns: Vec<_> =
        story.figures().reigns.iter().map(|reign| (reign.term, reign.leader.0, reign.from_us, reign.to_us)).collect();
    assert_eq!(reigns, [(1, 1, 0, 1_000_000), (3, 2, 2_000_000, 2_000_000)]);
}

#[test]
fn a_long_run_has_wider_buckets() {
    let story = Story::default();
    story.call(0, 1, Some("permit"));
    story.call(3_600_000, 3_600_001, Some("permit"));
    let figures = story.figures();
    assert_eq!(figures.bucket_secs, 15);
    assert_eq!(figures.decisions.len(), 241);
    assert_eq!(figures.decisions.iter().map(|bucket| bucket.permits).sum::<u64>(), 2);
}
