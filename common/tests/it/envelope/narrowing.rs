//! Whatever hops write, a chain allows what every link of it allows, and nothing else.
//!
//! The [`reference`](super::reference) knows no meet. Chains and hops are [`arbitrary`](super::arbitrary), most hops ask
//! for more than they were given; the share of calls that are allowed has a floor, because a property about calls that
//! are all refused would say nothing, and so that every way to miss is taken it is counted, too.

use std::cell::Cell;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use remit_common::envelope::{Effective, RawPresentation};
use remit_common::lattice::{
    CallFacts, ClassSet, Constraint, Demands, Effect, Effects, Grade, Grant, IdSet, Log, Pin, PurposePath, Redact,
    Said, Scalar, Scope, ScopeMiss, SortedMap,
};
use remit_common::time::Timestamp;

use super::arbitrary::{call, chain, near};
use super::fixture::*;
use super::reference::{path, reference, reference_result, says};

#[derive(Default)]
struct Tally {
    /// One bit for each way to miss.
    misses: Cell<u8>,
    asked: Cell<u64>,
    allowed: Cell<u64>,
    widenings: Cell<u64>,
}

impl Tally {
    fn count(cell: &Cell<u64>, when: bool) {
        cell.set(cell.get() + u64::from(when));
    }

    /// At least one call in twenty is allowed, and as many met a hop that tried to widen.
    fn check(&self) {
        // Shown when a test fails, or with `--nocapture`.
        let (asked, allowed, widenings) = (self.asked.get(), self.allowed.get(), self.widenings.get());
        println!("{allowed} of {asked} calls were allowed, {widenings} met a hop that asked for more");
        assert!(allowed * 20 >= asked, "only {allowed} of {asked} calls were allowed");
        assert!(widenings * 20 >= asked, "only {widenings} of {asked} calls met a hop that asked for more");
        assert_eq!(self.misses.get(), u8::MAX, "some way to miss was never taken");
    }

    fn missed(&self, miss: &ScopeMiss) {
        let bit = match miss {
            ScopeMiss::Tool => 0,
            ScopeMiss::Newer => 1,
            ScopeMiss::Definition => 2,
            ScopeMiss::Effect => 3,
            ScopeMiss::Dimension(_) => 4,
            ScopeMiss::UnmappedDimension(_) => 5,
            ScopeMiss::Argument(_) => 6,
            ScopeMiss::UnmappedArgument(_) => 7,
        };
        self.misses.set(self.misses.get() | 1 << bit);
    }
}

/// The scope of a chain against the reference, for every grant of the leaf.
fn compare(
    scope: &Scope,
    chain: &[Vec<Grant>],
    calls: &[(Vec<bool>, CallFacts)],
    tally: &Tally,
) -> Result<(), TestCaseError> {
    let leaf = chain.last().expect("not empty");
    for (index, grant) in (0u16..).zip(leaf) {
        let at = usize::from(index);
        let (_, root) = *path(chain, at).last().expect("not empty");
        for call in calls {
            let call = near(root, call);
            let expected = reference(chain, at, &call);
            let found = scope.admits(index, &call);
            prop_assert_eq!(found.is_ok(), expected, "grant {} on {:?}: {:?}", index, call, found);
            Tally::count(&tally.asked, true);
            Tally::count(&tally.allowed, expected);
            Tally::count(&tally.widenings, !expected && chain.len() > 1 && says(grant, false, &call));
            if let Err(refused) = found {
                tally.missed(&refused.miss);
                // The link that is blamed refuses, and the one before it does not.
                let hop = usize::from(refused.hop);
                let along = path(chain, at);
                let upto =
                    |links: usize| along.iter().rev().take(links).all(|(is_root, grant)| says(grant, *is_root, &call));
                prop_assert!(!upto(hop + 1) && upto(hop), "link {} is blamed for {:?}", hop, call);
            }
            let any = (0..leaf.len()).find(|at| reference(chain, *at, &call));
            prop_assert_eq!(scope.admits_any(&call).ok().map(usize::from), any);
        }
        for records in 0..12 {
            for class in 0..4 {
                let expected = reference_result(chain, at, records, class);
                // A tombstone admits no call, so there is no result to limit.
                if let Some(grant) = scope.grant(index) {
                    let within = grant.maxima.get("records").is_none_or(|max| records <= *max);
                    let shown = grant.classes.is_none_or(|classes| classes.contains(class));
                    prop_assert_eq!(within && shown, expected);
                }
            }
        }
    }
    Ok(())
}

fn runner(cases: u32) -> TestRunner {
    TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() })
}

/// Clauses L-1, L-2 and L-13 on scopes alone, with every kind of set and pattern, chains of one to eight links.
#[test]
fn scopes_are_what_every_link_allows() {
    let tally = Tally::default();
    let strategy = ((1..=8usize).prop_flat_map(|links| chain(links, false, true)), prop::collection::vec(call(), 24));
    runner(768)
        .run(&strategy, |(chain, calls)| {
            let mut scope = Scope::root(chain[0].clone()).expect("a root");
            for hop in &chain[1..] {
                scope = scope.narrow(hop.clone()).expect("every `of` is in range");
            }
            compare(&scope, &chain, &calls, &tally)
        })
        .unwrap();
    tally.check();
}

// --- through bytes, with purpose, time and depth

#[derive(Clone, Debug)]
struct Rest {
    purpose: Option<Vec<u32>>,
    from: u64,
    life: u64,
    /// Depth, fan-out, offline.
    delegation: Option<(u8, u16, bool)>,
    /// Regions and edges.
    audience: (Option<Vec<&'static str>>, Option<Vec<&'static str>>),
    /// Least grade, redaction, log.
    demands: (u8, bool, bool),
}

const REGIONS: [&str; 2] = ["eu", "us"];
const EDGES: [&str; 3] = ["e1", "e2", "e3"];

fn rest() -> impl Strategy<Value = Rest> {
    let purpose = prop_oneof![
        6 => Just(None),
        4 => prop::collection::vec(prop_oneof![9 => Just(1u32), 1 => Just(2u32)], 0..4).prop_map(Some),
    ];
    let depth = prop_oneof![1 => Just(None), 5 => Just(Some(255u8)), 5 => (0..8u8).prop_map(Some)];
    let from = prop_oneof![6 => 0..60u64, 1 => 0..900u64];
    let delegation = (depth, 0..4u16, prop::bool::weighted(0.7))
        .prop_map(|(depth, fanout, offline)| depth.map(|depth| (depth, fanout, offline)));
    let names = |all: &[&'static str]| {
        prop::option::weighted(0.3, prop::sample::subsequence(all.to_vec(), all.len() - 1..=all.len()))
    };
    let audience = (names(&REGIONS), names(&EDGES));
    let demands = (prop_oneof![3 => Just(0u8), 1 => 0..4u8], prop::bool::weighted(0.2), prop::bool::weighted(0.2));
    (purpose, from, 300..900u64, delegation, audience, demands).prop_map(
        |(purpose, from, life, delegation, audience, demands)| Rest {
            purpose,
            from,
            life,
            delegation,
            audience,
            demands,
        },
    )
}

fn write_grant(grant: &Grant) -> V {
    let sorted = |mut texts: Vec<String>| {
        texts.sort_by_key(|text| (text.len(), text.clone()));
        texts.into_iter().map(V::T).collect::<Vec<_>>()
    };
    let mut fields =
        vec![(1, V::U(u64::from(grant.of))), (2, V::A(sorted(grant.tools.iter().map(ToString::to_string).collect())))];
    let by_length = |name: &V| match name {
        V::T(text) => (text.len(), text.clone()),
        _ => (0, String::new()),
    };
    let mut ids: Vec<(V, V)> = grant
        .ids
        .iter()
        .map(|(name, set)| {
            let (kind, ids) = match set {
                IdSet::In(ids) => (0, ids),
                IdSet::NotIn(ids) => (1, ids),
            };
            let ids = sorted(ids.iter().map(ToString::to_string).collect());
            (t(name.as_str()), V::A(vec![V::U(kind), V::A(ids)]))
        })
        .collect();
    ids.sort_by_key(|(name, _)| by_length(name));
    if !ids.is_empty() {
        fields.push((4, V::M(ids)));
    }
    if !grant.pins.is_empty() {
        let mut pins: Vec<(V, V)> = grant
            .pins
            .iter()
            .map(|(tool, pin)| match pin {
                Pin::Is(digest) => (t(tool.as_str()), V::B(digest.0.to_vec())),
                Pin::Never => unreachable!("no link says this"),
            })
            .collect();
        pins.sort_by_key(|(name, _)| by_length(name));
        fields.insert(2, (3, V::M(pins)));
    }
    let mut maxima: Vec<(V, V)> = grant.maxima.iter().map(|(name, max)| (t(name.as_str()), V::U(*max))).collect();
    maxima.sort_by_key(|(name, _)| by_length(name));
    if !maxima.is_empty() {
        fields.push((5, V::M(maxima)));
    }
    if let Some(classes) = grant.classes {
        let byte = classes.iter().fold(0u8, |byte, class| byte | 1 << class);
        fields.push((6, V::B(if byte == 0 { Vec::new() } else { vec![byte] })));
    }
    if let Some(effects) = grant.effects {
        fields.push((7, V::U(u64::from(effects.bits()))));
    }
    if !grant.args.is_empty() {
        let mut args: Vec<(V, V)> =
            grant.args.iter().map(|(at, constraint)| (t(at.as_str()), write_constraint(constraint))).collect();
        args.sort_by_key(|(name, _)| by_length(name));
        fields.push((8, V::M(args)));
    }
    if grant.future {
        fields.push((9, V::Bool(true)));
    }
    m(fields)
}

fn write_constraint(constraint: &Constraint) -> V {
    let scalar = |scalar: &Scalar| match scalar {
        Scalar::Int(number) => V::I(*number),
        Scalar::Text(text) => t(text),
        Scalar::Bool(value) => V::Bool(*value),
    };
    V::A(match constraint.said() {
        Said::Is(value) => vec![V::U(0), scalar(value)],
        Said::OneOf(values) => {
            let mut values: Vec<V> = values.iter().map(scalar).collect();
            values.sort_by_key(V::encode);
            vec![V::U(1), V::A(values)]
        }
        Said::Within(low, high) => vec![V::U(2), V::I(low), V::I(high)],
        Said::Below(place) => vec![V::U(3), t(place.as_str())],
        Said::LengthMax(most) => vec![V::U(4), V::U(u64::from(most))],
        Said::Met => unreachable!("no link says this"),
    })
}

/// Only the entries of which there is something to say.
fn write_some(entries: Vec<(u64, Option<V>)>) -> Option<V> {
    let entries: Vec<(u64, V)> = entries.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
    (!entries.is_empty()).then(|| m(entries))
}

fn write_terms(fields: &mut Fields, rest: &Rest) {
    let names =
        |names: &Option<Vec<&str>>| names.as_ref().map(|names| V::A(names.iter().map(|name| t(name)).collect()));
    let aud = write_some(vec![(1, names(&rest.audience.0)), (2, names(&rest.audience.1))]);
    let number = |number: u8| (number > 0).then(|| V::U(u64::from(number)));
    let (pop, redact, log) = rest.demands;
    let obligations = write_some(vec![(1, number(pop)), (3, number(u8::from(redact))), (4, number(u8::from(log)))]);
    for (key, value) in [(12, aud), (13, obligations)] {
        value.map(|value| fields.insert(key, value));
    }
}

fn write_chain(chain: &[Vec<Grant>], rests: &[Rest]) -> Vec<u8> {
    let mut links: Vec<RawLink> = Vec::new();
    for (hop, (grants, rest)) in chain.iter().zip(rests).enumerate() {
        let mut fields = if hop == 0 { root_fields() } else { hop_fields(&links[hop - 1], hop) };
        fields.insert(8, V::A(grants.iter().map(write_grant).collect()));
        fields.insert(9, V::U(ISSUED + rest.from));
        fields.insert(10, V::U(ISSUED + rest.from + rest.life));
        fields.insert(16, V::U(ISSUED + rest.from));
        let purpose = rest.purpose.clone().or((hop == 0).then(Vec::new));
        match purpose {
            Some(path) => fields.insert(6, V::A(path.into_iter().map(|n| V::U(u64::from(n))).collect())),
            None => fields.remove(&6),
        };
        match rest.delegation {
            Some((depth, fanout, offline)) => {
                let (depth, fanout) = (V::U(u64::from(depth)), V::U(u64::from(fanout)));
                fields.insert(11, m(vec![(1, depth), (2, fanout), (3, V::Bool(offline)), (4, V::U(0))]))
            }
            None => fields.remove(&11),
        };
        write_terms(&mut fields, rest);
        links.push(match hop {
            0 => sign_root(payload(&fields), &ISSUERS[..2]),
            _ => sign_hop(payload(&fields), HOLDERS[hop - 1]),
        });
    }
    presentation(&links)
}

/// Whether the links have anything in common, found without a meet.
fn has_common_ground(rests: &[Rest]) -> bool {
    let purposes: Vec<&Vec<u32>> = rests.iter().filter_map(|rest| rest.purpose.as_ref()).collect();
    let comparable =
        purposes.iter().all(|a| purposes.iter().all(|b| a.starts_with(b.as_slice()) || b.starts_with(a.as_slice())));
    let moment = (0..2_000).any(|now| rests.iter().all(|rest| (rest.from..rest.from + rest.life).contains(&now)));
    let deep_enough = rests.iter().enumerate().all(|(at, rest)| {
        let below = rests.len() - 1 - at;
        usize::from(rest.delegation.unwrap_or_default().0) >= below
    });
    comparable && moment && deep_enough
}

/// Clauses E-15 to E-20: the same through bytes, signatures and all, with the dimensions that hang on the chain.
#[test]
fn chains_are_what_every_link_allows() {
    let tally = Tally::default();
    let (accepted, chains, places) = (Cell::new(0u64), Cell::new(0u64), Cell::new([0u64; 2]));
    let strategy = (1..=5usize).prop_flat_map(|links| {
        (chain(links, true, false), prop::collection::vec(rest(), links), prop::collection::vec(call(), 16))
    });
    runner(384)
        .run(&strategy, |(chain, rests, calls)| {
            let parsed = RawPresentation::parse(&write_chain(&chain, &rests));
            let raw = parsed.map_err(|error| TestCaseError::fail(format!("{error:?}")))?;
            let verified = raw.verify(&MESH, &issuers());
            Tally::count(&chains, true);
            prop_assert_eq!(verified.is_ok(), has_common_ground(&rests), "{:?}", verified.err());
            let Ok(verified) = verified else { return Ok(()) };
            Tally::count(&accepted, true);
            let effective = verified.effective();
            compare(&effective.scope, &chain, &calls, &tally)?;

            for path in [&[][..], &[1], &[2], &[1, 1], &[1, 2], &[1, 1, 1], &[1, 1, 1, 1], &[2, 1]] {
                let request = PurposePath::new(path).expect("short");
                let expected = rests.iter().filter_map(|rest| rest.purpose.as_ref()).all(|own| path.starts_with(own));
                prop_assert_eq!(effective.purpose.is_prefix_of(&request), expected);
            }
            for now in (0..2_000).step_by(7) {
                let inside = rests.iter().all(|rest| rest.from <= now + 30 && now < rest.from + rest.life);
                let found = effective.check_time(Timestamp::from_secs(ISSUED + now));
                prop_assert_eq!(found.is_ok(), inside, "{} s: {:?}", now, found);
            }
            let last = rests.len() - 1;
            let said = || rests.iter().map(|rest| rest.delegation.unwrap_or_default());
            let left = said().enumerate().map(|(at, (depth, ..))| usize::from(depth) - (last - at));
            prop_assert_eq!(Some(usize::from(effective.depth_left)), left.min());
            prop_assert_eq!(Some(effective.fanout_max), said().map(|(_, fanout, _)| fanout).min());
            prop_assert_eq!(effective.offline, said().all(|(.., offline)| offline));
            check_places(&effective, &rests, &places)?;
            check_demands(&effective, &rests)
        })
        .unwrap();
    tally.check();
    let (accepted, chains) = (accepted.get(), chains.get());
    assert!(accepted * 20 >= chains, "only {accepted} of {chains} chains were accepted");
    let [held, not] = places.get();
    assert!(held * 20 >= held + not && not * 20 >= held + not, "{held} places held, {not} did not");
}

/// Clause E-28: a chain holds where every link of it holds, and the first that does not is named.
fn check_places(effective: &Effective, rests: &[Rest], places: &Cell<[u64; 2]>) -> Result<(), TestCaseError> {
    for region in ["eu", "us", "ap"] {
        for edge in ["e1", "e2", "e3", "e4"] {
            let says = |names: &Option<Vec<&str>>, name| names.as_ref().is_none_or(|names| names.contains(&name));
            let holds = |rest: &Rest| says(&rest.audience.0, region) && says(&rest.audience.1, edge);
            let expected = rests.iter().position(|rest| !holds(rest));
            let found = effective.check_audience(&region.parse().unwrap(), &edge.parse().unwrap());
            prop_assert_eq!(found.map_err(|wrong| usize::from(wrong.hop)), expected.map_or(Ok(()), Err));
            let [held, not] = places.get();
            places.set(if expected.is_none() { [held + 1, not] } else { [held, not + 1] });
        }
    }
    Ok(())
}

/// Clause E-29: what every link demands, all of it.
fn check_demands(effective: &Effective, rests: &[Rest]) -> Result<(), TestCaseError> {
    for (number, min_pop) in (0u8..).zip(Grade::ALL) {
        for (unclassified, log) in [(false, Log::Usual), (false, Log::First), (true, Log::Usual), (true, Log::First)] {
            let offered = Demands { min_pop, redact: Redact { unclassified }, log };
            let expected = rests.iter().all(|rest| {
                let (pop, redact, first) = rest.demands;
                pop <= number && (!redact || unclassified) && (!first || log == Log::First)
            });
            prop_assert_eq!(effective.demands.are_met_by(offered), expected);
        }
    }
    Ok(())
}

/// The hop of the story that writes itself more than its parent had: accepted, and nothing gained.
#[test]
fn a_hop_that_writes_itself_more_gains_nothing() -> anyhow::Result<()> {
    let wide = Grant {
        tools: vec!["**".parse()?],
        future: true,
        ids: [("customer", IdSet::any()), ("contract", IdSet::any())].map(|(name, set)| (dimension(name), set)).into(),
        maxima: SortedMap::from([(dimension("records"), u64::MAX)]),
        classes: Some(ClassSet::ALL),
        effects: Some(Effects::ALL),
        ..Grant::default()
    };
    let bytes = with_hop(|hop| {
        hop.insert(8, V::A(vec![write_wide(&wide)]));
        hop.insert(6, V::A(Vec::new()));
        hop.insert(11, m(vec![(1, V::U(255)), (2, V::U(65_535)), (3, V::Bool(true)), (4, V::U(0))]));
    });
    let (parent, child) = (verify(&root())?.effective(), verify(&bytes)?.effective());
    assert_eq!(child.scope.grant(0), parent.scope.grant(0));
    assert_eq!((child.purpose, child.depth_left), (parent.purpose, parent.depth_left - 1));
    assert!(child.expires <= parent.expires);
    assert_eq!((&child.agent, &child.class), (&parent.agent, &parent.class));
    assert_eq!(child.chain_agents, [agent("renewal-assistant"), agent("clause-classifier")]);
    let delete = CallFacts::of_tool("contracts.delete".parse()?, Effects::from(Effect::Irreversible));
    assert_eq!(child.scope.admits_any(&delete).map_err(|refused| refused.hop), Err(0));
    Ok(())
}

fn write_wide(grant: &Grant) -> V {
    match write_grant(&Grant { classes: None, ..grant.clone() }) {
        V::M(mut entries) => {
            let future = entries.pop();
            let effects = entries.pop();
            entries.push((V::U(6), V::B(vec![0xff; 32])));
            entries.extend(effects.into_iter().chain(future));
            V::M(entries)
        }
        other => other,
    }
}
