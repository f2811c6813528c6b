use std::collections::{BTreeMap, BTreeSet};

use remit_common::id::{EdgeId, Region};

use super::*;
use crate::node::Member;

const RUN: Duration = Duration::from_secs(60);

/// Three voters, four edges in two regions.
fn roster(voters: u64) -> Roster {
    let voters = (1..=voters).map(|id| Member { node: Node::Voter(VoterId(id)), region: None });
    let edges = (1..=4).map(|n| {
        let region = Region::new(if n % 2 == 0 { "eu-west" } else { "us-east" }).unwrap();
        Member { node: Node::Edge(EdgeId::new(&format!("edge-{n}")).unwrap()), region: Some(region) }
    });
    Roster { nodes: voters.chain(edges).chain([Member { node: Node::Tools, region: None }]).collect() }
}

fn plans(count: u64) -> impl Iterator<Item = Plan> {
    let roster = roster(3);
    (0..count).map(move |seed| plan(seed, &roster, RUN, &Limits::default()))
}

/// What is wrong with the mesh.
#[derive(Debug, Default, PartialEq)]
struct Wrong {
    down: BTreeSet<Node>,
    paused: BTreeSet<Node>,
    full: BTreeSet<Node>,
    failing: BTreeSet<Node>,
    clocks: BTreeMap<Node, i64>,
    replaced: BTreeSet<Node>,
    is_network_bad: bool,
}

impl Wrong {
    fn step(&mut self, fault: &Fault) {
        match fault {
            Fault::Kill(nodes) | Fault::PowerCut(nodes) => {
                for node in nodes {
                    assert!(self.down.insert(node.clone()), "{node} dies twice");
                    self.paused.remove(node);
                }
            }
            Fault::Stop(nodes) => {
                assert!(nodes.iter().all(|node| !self.paused.contains(node)), "who is stopped cannot end in order");
                self.down.extend(nodes.iter().cloned());
            }
            Fault::Start(nodes) => nodes.iter().for_each(|node| {
                self.down.remove(node);
                self.failing.remove(node);
            }),
            Fault::Pause(nodes) => {
                for node in nodes {
                    assert!(!self.down.contains(node) && self.paused.insert(node.clone()));
                }
            }
            Fault::Resume(nodes) => nodes.iter().for_each(|node| assert!(self.paused.remove(node))),
            Fault::Partition { from, to, .. } => {
                assert!(!from.is_empty() && !to.is_empty() && from.iter().all(|node| !to.contains(node)));
                self.is_network_bad = true;
            }
            Fault::Link { .. } => self.is_network_bad = true,
            Fault::HealNetwork => self.is_network_bad = false,
            Fault::DiskFull(nodes) => self.full.extend(nodes.iter().cloned()),
            Fault::DiskFree(nodes) => nodes.iter().for_each(|node| assert!(self.full.remove(node))),
            Fault::FsyncError(nodes) => self.failing.extend(nodes.iter().cloned()),
            Fault::ClockJump { nodes, by_ms } => {
                for node in nodes {
                    *self.clocks.entry(node.clone()).or_default() += by_ms;
                }
            }
            Fault::ReplaceVoter(node) => {
                assert!(self.down.is_empty() || !self.down.contains(node));
                assert!(self.replaced.insert(node.clone()) && self.replaced.len() == 1);
            }
            Fault::ReconnectStorm(nodes) => assert!(!self.is_network_bad && !nodes.is_empty()),
            Fault::CpuLimit { .. } | Fault::Lie { .. } => panic!("not for the simulation: {fault:?}"),
        }
        self.clocks.retain(|_, skew| *skew != 0);
        let wrong = self.clocks.keys().filter(|node| matches!(node, Node::Voter(_))).count();
        assert!(wrong <= 1, "a majority of the clocks has to be right");
    }

    fn away(&self) -> usize {
        let away: BTreeSet<_> = self.down.union(&self.paused).filter(|node| matches!(node, Node::Voter(_))).collect();
        away.len()
    }
}

#[test]
fn a_seed_decides_the_plan() {
    for (first, again) in plans(50).zip(plans(50)) {
        assert_eq!(first, again);
    }
    let different: BTreeSet<_> = plans(50).map(|plan| format!("{plan:?}")).collect();
    assert_eq!(different.len(), 50);
}

/// Plans in which accidents meet.
fn hard_plans(count: u64) -> impl Iterator<Item = Plan> {
    let roster = roster(3);
    let limits = Limits { compounds: 8, ..Limits::default() };
    (0..count).map(move |seed| plan(seed, &roster, RUN, &limits))
}

#[test]
fn every_plan_heals_what_it_breaks_and_in_time() {
    for (seed, plan) in plans(1_000).chain(hard_plans(1_000)).enumerate() {
        let mut wrong = Wrong::default();
        let mut at = Duration::ZERO;
        for step in &plan.steps {
            assert!(step.at >= at.max(Limits::default().calm) && step.at <= plan.healed_at, "seed {seed}: {step:?}");
            at = step.at;
            wrong.step(&step.fault);
        }
        assert_eq!(plan.healed_at, RUN - Limits::default().recovery);
        let replaced = std::mem::take(&mut wrong.replaced);
        assert_eq!(wrong, Wrong::default(), "seed {seed}");
        // Nothing else happens to a voter that is replaced.
        for node in &replaced {
            let told = plan.steps.iter().filter(|step| format!("{:?}", step.fault).contains(&format!("{node:?}")));
            assert_eq!(told.count(), 1, "seed {seed}");
        }
    }
}

#[test]
fn a_majority_is_never_away_for_long_unless_the_plan_says_so() {
    let mut gone = 0;
    for (voters, allowed) in [(3, 1), (5, 2)] {
        let roster = roster(voters);
        for seed in 0..1_000 {
            let plan = plan(seed, &roster, RUN, &Limits::default());
            gone += u32::from(plan.loses_control_plane);
            let (mut wrong, mut since, mut longest) = (Wrong::default(), None, Duration::ZERO);
            for step in &plan.steps {
                wrong.step(&step.fault);
                if wrong.away() > allowed {
                    since.get_or_insert(step.at);
                } else if let Some(since) = since.take() {
                    longest = longest.max(step.at - since);
                }
            }
            let is_long = longest > Limits::default().majority_away_max;
            assert_eq!(is_long, plan.loses_control_plane, "seed {seed}: {longest:?}");
        }
    }
    assert!((150..=250).contains(&gone), "one in ten: {gone}");
}

#[test]
fn over_many_seeds_everything_happens() {
    let (mut faults, mut episodes) = (BTreeMap::new(), BTreeMap::new());
    for plan in plans(1_000) {
        assert!(plan.steps.len() >= 8, "{plan:?}");
        for (name, count) in plan.faults() {
            *faults.entry(name).or_insert(0) += count;
        }
        for (name, count) in plan.episodes {
            *episodes.entry(name).or_insert(0) += count;
        }
    }
    let expected = [
        "kill",
        "power-cut",
        "stop",
        "start",
        "pause",
        "resume",
        "partition",
        "link",
        "heal-network",
        "disk-full",
        "disk-free",
        "fsync-error",
        "clock-jump",
        "replace-voter",
        "reconnect-storm",
    ];
    for name in expected {
        assert!(faults.get(name).is_some_and(|count| *count >= 50), "{name}: {faults:?}");
    }
    assert_eq!(faults.len(), expected.len(), "{faults:?}");
    assert_eq!(episodes.len(), 28, "{episodes:?}");
    assert!(episodes.values().all(|count| *count >= 20), "{episodes:?}");
}

#[test]
fn accidents_meet_only_where_that_was_asked_for() {
    let names = [
        "restarted while cut off",
        "edges restarted beside a voter that is behind",
        "short deaths",
        "edges hear nothing",
    ];
    let count = |plans: Vec<Plan>, name: &str| -> u32 { plans.iter().filter_map(|plan| plan.episodes.get(name)).sum() };
    for name in names {
        assert_eq!(count(plans(100).collect(), name), 0, "{name}");
        assert!(count(hard_plans(1_000).collect(), name) >= 200, "{name}");
    }
}

#[test]
fn a_run_too_short_to_heal_has_no_faults() {
    let plan = plan(1, &roster(3), Duration::from_secs(20), &Limits::default());
    assert_eq!(plan.steps.len(), 1, "{plan:?}");
    assert_eq!(plan.steps[0].fault, Fault::HealNetwork);
}
