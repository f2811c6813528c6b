//! Whatever hops write, a chain allows what every link of it allows, and nothing else.
//!
//! The reference knows no meet: it asks each link along the path that `of` names whether its own words admit the
//! call. Chains and hops are arbitrary, most hops ask for more than they were given, and the share of calls that
//! are allowed has a floor, because a property about calls that are all refused would say nothing.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use remit_common::envelope::RawPresentation;
use remit_common::lattice::{CallFacts, ClassSet, Effect, Effects, Grant, IdSet, PurposePath, Scope, ToolPattern};
use remit_common::time::Timestamp;

use super::fixture::*;

const TOOLS: [&str; 5] = ["a.x", "a.y", "b.x", "b", "a.x.z"];
const PATTERNS: [&str; 12] = ["**", "**", "**", "a.**", "a.**", "a.*", "*.x", "a.x", "b", "*", "b.**", "a.x.z"];
const ID_DIMENSIONS: [&str; 2] = ["customer", "contract"];
const QUANTITIES: [&str; 2] = ["amount", "records"];

// --- the reference

fn glob(pattern: &[&str], tool: &[&str]) -> bool {
    match (pattern, tool) {
        (["**"], _) | ([], []) => true,
        (["*", pattern @ ..], [_, tool @ ..]) => glob(pattern, tool),
        ([literal, pattern @ ..], [segment, tool @ ..]) => literal == segment && glob(pattern, tool),
        _ => false,
    }
}

fn segments(text: &str) -> Vec<&str> {
    text.split('.').collect()
}

/// What one link says of a call, read on its own.
fn says(grant: &Grant, is_root: bool, call: &CallFacts) -> bool {
    let tool = grant.tools.iter().any(|p| glob(&segments(p.as_str()), &segments(call.tool.as_str())));
    let effects = !call.effects.is_empty()
        && call.effects.iter().all(|effect| grant.effects.is_none_or(|granted| granted.contains(effect)));
    let ids = grant.ids.iter().all(|(name, set)| {
        call.ids.get(name).is_some_and(|values| {
            !values.is_empty()
                && values.iter().all(|id| match set {
                    IdSet::In(ids) => ids.contains(id),
                    IdSet::NotIn(ids) => !ids.contains(id),
                })
        })
    });
    let maxima = grant.maxima.iter().all(|(name, max)| match call.amounts.get(name) {
        Some(amount) => amount <= max,
        None => call.result_maxima.contains(name),
    });
    let silent = !is_root
        || (call.ids.keys().all(|name| grant.ids.contains_key(name))
            && call.amounts.keys().all(|name| grant.maxima.contains_key(name))
            && call.result_maxima.iter().all(|name| grant.maxima.contains_key(name)));
    tool && effects && ids && maxima && silent
}

/// The grants along the path from a leaf's grant to the root's.
fn path(chain: &[Vec<Grant>], leaf: usize) -> Vec<(bool, &Grant)> {
    let mut at = leaf;
    let mut found: Vec<(bool, &Grant)> = Vec::new();
    for (hop, grants) in chain.iter().enumerate().rev() {
        found.push((hop == 0, &grants[at]));
        at = usize::from(grants[at].of);
    }
    found
}

fn reference(chain: &[Vec<Grant>], leaf: usize, call: &CallFacts) -> bool {
    path(chain, leaf).into_iter().all(|(is_root, grant)| says(grant, is_root, call))
}

/// The result side: so many records of so many classes.
fn reference_result(chain: &[Vec<Grant>], leaf: usize, records: u64, class: u8) -> bool {
    path(chain, leaf).into_iter().all(|(_, grant)| {
        grant.maxima.get("records").is_none_or(|max| records <= *max)
            && grant.classes.is_none_or(|classes| classes.contains(class))
    })
}

// --- arbitrary chains

fn id_set(all_but: bool) -> impl Strategy<Value = IdSet> {
    let ids = || {
        let count = prop_oneof![1 => Just(0usize), 4 => Just(1), 8 => Just(2), 4 => Just(3)];
        count
            .prop_flat_map(|count| prop::sample::subsequence(vec!["i1", "i2", "i3"], count))
            .prop_map(|ids| ids.into_iter().filter_map(|id| id.parse().ok()).collect::<BTreeSet<_>>())
    };
    prop_oneof![
        3 => ids().prop_map(IdSet::In),
        3 => Just(IdSet::any()),
        1 => ids().prop_map(move |ids| if all_but { IdSet::NotIn(ids) } else { IdSet::any() }),
    ]
}

fn tools(exact: bool) -> BoxedStrategy<Vec<ToolPattern>> {
    let texts: Vec<&str> = if exact { TOOLS.to_vec() } else { PATTERNS.to_vec() };
    prop::collection::btree_set(prop::sample::select(texts), 1..=4)
        .prop_map(|texts| texts.into_iter().filter_map(|text| text.parse().ok()).collect())
        .boxed()
}

fn effects() -> impl Strategy<Value = Effects> {
    let sets = [0b1, 0b11, 0b11_1111, 0b111, 0b10].map(|bits| Effects::from_bits(bits).unwrap());
    prop::sample::select(sets.to_vec())
}

fn classes() -> impl Strategy<Value = ClassSet> {
    prop::collection::vec(0..4u8, 0..4).prop_map(ClassSet::from_iter)
}

fn maximum() -> impl Strategy<Value = u64> {
    prop_oneof![3 => Just(u64::MAX), 1 => Just(0), 2 => 1..4u64, 3 => Just(10)]
}

/// A grant of a root when `parents` is `None`, else of a hop below so many grants.
fn grant(parents: Option<usize>, exact: bool, all_but: bool) -> impl Strategy<Value = Grant> {
    let odds = if parents.is_none() { 0.6 } else { 0.12 };
    let dimension_of = move |names: [&'static str; 2], odds: f64| {
        names.map(|name| prop::bool::weighted(odds).prop_map(move |said| said.then(|| dimension(name))))
    };
    let of = parents.unwrap_or(1);
    let ids = (dimension_of(ID_DIMENSIONS, odds), [id_set(all_but), id_set(all_but)]);
    let maxima = (dimension_of(QUANTITIES, odds), [maximum(), maximum()]);
    let is_root = parents.is_none();
    let classes = (prop::bool::weighted(0.4), classes()).prop_map(move |(said, set)| (said || is_root).then_some(set));
    let effects = (prop::bool::weighted(0.4), effects()).prop_map(move |(said, set)| (said || is_root).then_some(set));
    (0..of, tools(exact), ids, maxima, classes, effects).prop_map(|(of, tools, ids, maxima, classes, effects)| Grant {
        of: u16::try_from(of).unwrap(),
        tools,
        ids: ids.0.into_iter().zip(ids.1).filter_map(|(name, set)| Some((name?, set))).collect(),
        maxima: maxima.0.into_iter().zip(maxima.1).filter_map(|(name, max)| Some((name?, max))).collect(),
        classes,
        effects,
    })
}

/// So many links, each with one to three grants that narrow any of those before.
fn chain(links: usize, exact_root: bool, all_but: bool) -> BoxedStrategy<Vec<Vec<Grant>>> {
    let counts = prop::collection::vec(1..=3usize, links);
    counts
        .prop_flat_map(move |counts| {
            let parents = std::iter::once(None).chain(counts.clone().into_iter().map(Some));
            counts
                .into_iter()
                .zip(parents)
                .map(|(count, parents)| {
                    let exact = exact_root && parents.is_none();
                    prop::collection::vec(grant(parents, exact, all_but), count)
                })
                .collect::<Vec<_>>()
        })
        .boxed()
}

/// A call, and the dice that say in what it is nearer to a root's grant, see [`near`].
fn call() -> impl Strategy<Value = (Vec<bool>, CallFacts)> {
    let values = || {
        let count = prop_oneof![1 => Just(0usize), 12 => Just(1), 3 => Just(2)];
        count
            .prop_flat_map(|count| prop::sample::subsequence(vec!["i1", "i2", "i3"], count))
            .prop_map(|ids| ids.into_iter().filter_map(|id| id.parse().ok()).collect::<BTreeSet<_>>())
    };
    let odd = prop::collection::vec(prop::bool::weighted(0.08), 5);
    let effect = prop_oneof![6 => Just(0b1u64), 1 => Just(0b10), 1 => Just(0b11), 1 => Just(0)];
    (odd, prop::sample::select(TOOLS.to_vec()), effect, [values(), values()], 0..6u64).prop_map(
        |(odd, tool, bits, values, amount)| {
            let facts = CallFacts {
                tool: tool.parse().unwrap(),
                effects: Effects::from_bits(bits).unwrap(),
                ids: ID_DIMENSIONS.map(dimension).into_iter().zip(values).collect(),
                amounts: BTreeMap::from([(dimension("amount"), amount)]),
                result_maxima: BTreeSet::from([dimension("records")]),
            };
            (odd, facts)
        },
    )
}

/// The call for a tool of the root's grant and without what that grant does not speak of, except where the dice say
/// otherwise: so that a good part of all calls is allowed.
fn near(root: &Grant, (odd, call): &(Vec<bool>, CallFacts)) -> CallFacts {
    let mut call = call.clone();
    let granted = |tool: &&&str| root.tools.iter().any(|p| glob(&segments(p.as_str()), &segments(tool)));
    let own = TOOLS.iter().position(|tool| *tool == call.tool.as_str()).unwrap();
    if let Some(tool) = TOOLS.iter().cycle().skip(own).take(TOOLS.len()).find(granted).filter(|_| !odd[4]) {
        call.tool = tool.parse().unwrap();
    }
    let keeps = |spoken_of: bool, index: usize| spoken_of != odd[index];
    for (index, name) in ID_DIMENSIONS.iter().enumerate() {
        if !keeps(root.ids.contains_key(*name), index) {
            call.ids.remove(*name);
        }
    }
    if !keeps(root.maxima.contains_key("amount"), 2) {
        call.amounts.clear();
    }
    if !keeps(root.maxima.contains_key("records"), 3) {
        call.result_maxima.clear();
    }
    call
}

#[derive(Default)]
struct Tally {
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
                scope = scope.narrow(hop).expect("every `of` is in range");
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
    depth: Option<u8>,
}

fn rest() -> impl Strategy<Value = Rest> {
    let purpose = prop_oneof![
        6 => Just(None),
        4 => prop::collection::vec(prop_oneof![9 => Just(1u32), 1 => Just(2u32)], 0..4).prop_map(Some),
    ];
    let depth = prop_oneof![1 => Just(None), 5 => Just(Some(255u8)), 5 => (0..8u8).prop_map(Some)];
    let from = prop_oneof![6 => 0..60u64, 1 => 0..900u64];
    (purpose, from, 300..900u64, depth).prop_map(|(purpose, from, life, depth)| Rest { purpose, from, life, depth })
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
    m(fields)
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
        match rest.depth {
            Some(depth) => {
                fields.insert(11, m(vec![(1, V::U(u64::from(depth))), (2, V::U(1)), (3, V::Bool(false)), (4, V::U(0))]))
            }
            None => fields.remove(&11),
        };
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
        usize::from(rest.depth.unwrap_or(0)) >= below
    });
    comparable && moment && deep_enough
}

/// Clauses E-15 to E-20: the same through bytes, signatures and all, with the dimensions that hang on the chain.
#[test]
fn chains_are_what_every_link_allows() {
    let tally = Tally::default();
    let (accepted, chains) = (Cell::new(0u64), Cell::new(0u64));
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
            let left = rests.iter().enumerate().map(|(at, rest)| usize::from(rest.depth.unwrap_or(0)) - (last - at));
            prop_assert_eq!(Some(usize::from(effective.depth_left)), left.min());
            Ok(())
        })
        .unwrap();
    tally.check();
    let (accepted, chains) = (accepted.get(), chains.get());
    assert!(accepted * 20 >= chains, "only {accepted} of {chains} chains were accepted");
}

/// The hop of the story that writes itself more than its parent had: accepted, and nothing gained.
#[test]
fn a_hop_that_writes_itself_more_gains_nothing() -> anyhow::Result<()> {
    let wide = Grant {
        of: 0,
        tools: vec!["**".parse()?],
        ids: [("customer", IdSet::any()), ("contract", IdSet::any())].map(|(name, set)| (dimension(name), set)).into(),
        maxima: BTreeMap::from([(dimension("records"), u64::MAX)]),
        classes: Some(ClassSet::ALL),
        effects: Some(Effects::ALL),
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
    let delete = CallFacts {
        tool: "contracts.delete".parse()?,
        effects: Effects::from(Effect::Irreversible),
        ids: BTreeMap::new(),
        amounts: BTreeMap::new(),
        result_maxima: BTreeSet::new(),
    };
    assert_eq!(child.scope.admits_any(&delete).map_err(|refused| refused.hop), Err(0));
    Ok(())
}

fn write_wide(grant: &Grant) -> V {
    match write_grant(&Grant { classes: None, ..grant.clone() }) {
        V::M(mut entries) => {
            let effects = entries.pop();
            entries.push((V::U(6), V::B(vec![0xff; 32])));
            entries.extend(effects);
            V::M(entries)
        }
        other => other,
    }
}
