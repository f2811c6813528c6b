//! Chains whose hops ask for anything, and calls of which a good part is allowed.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use remit_common::crypto::digest::Digest;
use remit_common::id::ToolName;
use remit_common::lattice::{
    ArgumentPointer, ArgumentValue, CallFacts, ClassSet, Constraint, Effects, Grant, IdSet, PathPrefix, Pin, Scalar,
    SortedMap, SortedSet, ToolPattern,
};

use super::fixture::dimension;
use super::reference::{glob, segments};

pub(super) const TOOLS: [&str; 5] = ["a.x", "a.y", "b.x", "b", "a.x.z"];
pub(super) const PATTERNS: [&str; 12] =
    ["**", "**", "**", "a.**", "a.**", "a.*", "*.x", "a.x", "b", "*", "b.**", "a.x.z"];
pub(super) const ID_DIMENSIONS: [&str; 2] = ["customer", "contract"];
pub(super) const QUANTITIES: [&str; 2] = ["amount", "records"];
pub(super) const POINTERS: [&str; 2] = ["/place", "/number"];

fn id_set(all_but: bool) -> impl Strategy<Value = IdSet> {
    let ids = || {
        let count = prop_oneof![1 => Just(0usize), 4 => Just(1), 8 => Just(2), 4 => Just(3)];
        count
            .prop_flat_map(|count| prop::sample::subsequence(vec!["i1", "i2", "i3"], count))
            .prop_map(|ids| ids.into_iter().filter_map(|id| id.parse().ok()).collect::<SortedSet<_>>())
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

fn pins() -> impl Strategy<Value = SortedMap<ToolName, Pin>> {
    let pin = prop::sample::select(TOOLS.to_vec()).prop_flat_map(|tool| {
        let digest = prop_oneof![6 => Just(1u8), 1 => Just(2)];
        digest.prop_map(move |byte| SortedMap::from([(tool.parse().unwrap(), Pin::Is(Digest([byte; 32])))]))
    });
    prop_oneof![9 => Just(SortedMap::new()), 1 => pin]
}

fn args() -> impl Strategy<Value = SortedMap<ArgumentPointer, Constraint>> {
    let texts = |texts: &[&str]| Constraint::one_of(texts.iter().map(|text| Scalar::from(*text)));
    let below = |place: &str| Constraint::below(PathPrefix::new(place).unwrap());
    let places = vec![
        below("a"),
        below("a"),
        below("a/"),
        below("a/b"),
        below("b"),
        texts(&["a/b"]),
        texts(&["a/b", "a/c", "b"]),
        Constraint::length_max(4),
        Constraint::length_max(1),
    ];
    let numbers = vec![
        Constraint::within(0, 9),
        Constraint::within(0, 9),
        Constraint::within(-5, 3),
        Constraint::within(4, 5),
        Constraint::one_of([Scalar::Int(1), Scalar::Int(2), Scalar::Int(5)]),
        Constraint::one_of([Scalar::Int(2), Scalar::Bool(true)]),
    ];
    let [place, number] = [places, numbers].map(|all| prop::option::weighted(0.05, prop::sample::select(all)));
    (place, number).prop_map(|(place, number)| {
        let said = POINTERS.into_iter().zip([place, number]);
        said.filter_map(|(at, constraint)| Some((at.parse().unwrap(), constraint?))).collect()
    })
}

/// A grant of a root when `parents` is `None`, else of a hop below so many grants.
fn grant(parents: Option<usize>, exact: bool, all_but: bool) -> impl Strategy<Value = Grant> {
    let odds = if parents.is_none() { 0.6 } else { 0.1 };
    let dimension_of = move |names: [&'static str; 2], odds: f64| {
        names.map(|name| prop::bool::weighted(odds).prop_map(move |said| said.then(|| dimension(name))))
    };
    let of = parents.unwrap_or(1);
    let ids = (dimension_of(ID_DIMENSIONS, odds), [id_set(all_but), id_set(all_but)]);
    let maxima = (dimension_of(QUANTITIES, odds), [maximum(), maximum()]);
    let is_root = parents.is_none();
    let classes = (prop::bool::weighted(0.4), classes()).prop_map(move |(said, set)| (said || is_root).then_some(set));
    let effects = (prop::bool::weighted(0.4), effects()).prop_map(move |(said, set)| (said || is_root).then_some(set));
    let terms = (pins(), args(), prop::bool::weighted(0.95));
    let of_and_tools = (0..of, tools(exact), tools(false));
    (of_and_tools, ids, maxima, classes, effects, terms).prop_map(|(names, ids, maxima, classes, effects, terms)| {
        Grant {
            of: u16::try_from(names.0).unwrap(),
            // Only a grant for tools to come may have wildcards in a root.
            tools: if terms.2 { names.2 } else { names.1 },
            pins: terms.0,
            args: terms.1,
            future: terms.2,
            ids: ids.0.into_iter().zip(ids.1).filter_map(|(name, set)| Some((name?, set))).collect(),
            maxima: maxima.0.into_iter().zip(maxima.1).filter_map(|(name, max)| Some((name?, max))).collect(),
            classes,
            effects,
        }
    })
}

/// So many links, each with one to three grants that narrow any of those before.
pub(super) fn chain(links: usize, exact_root: bool, all_but: bool) -> BoxedStrategy<Vec<Vec<Grant>>> {
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
pub(super) fn call() -> impl Strategy<Value = (Vec<bool>, CallFacts)> {
    let values = || {
        let count = prop_oneof![1 => Just(0usize), 12 => Just(1), 3 => Just(2)];
        count
            .prop_flat_map(|count| prop::sample::subsequence(vec!["i1", "i2", "i3"], count))
            .prop_map(|ids| ids.into_iter().filter_map(|id| id.parse().ok()).collect::<BTreeSet<_>>())
    };
    let odd = prop::collection::vec(prop::bool::weighted(0.05), 5);
    let effect = prop_oneof![6 => Just(0b1u64), 1 => Just(0b10), 1 => Just(0b11), 1 => Just(0)];
    let text = |text: &str| ArgumentValue::Scalar(text.into());
    let number = |number| ArgumentValue::Scalar(Scalar::Int(number));
    let places = prop::sample::select(vec![
        vec![text("a/b")],
        vec![text("a/b")],
        vec![text("a/b")],
        vec![text("a/b"), text("a/c")],
        vec![text("a")],
        vec![text("b")],
        vec![text("a/../b")],
        vec![ArgumentValue::Other],
        vec![],
    ]);
    let numbers = prop::sample::select(vec![
        vec![number(2)],
        vec![number(2)],
        vec![number(1), number(5)],
        vec![number(-7)],
        vec![ArgumentValue::Scalar(Scalar::Bool(true))],
    ]);
    let is_there = prop::bool::weighted(0.9);
    let arguments = (places, numbers, [is_there, is_there]);
    let definition = prop_oneof![12 => Just(Some(1u8)), 1 => Just(Some(2)), 1 => Just(None)];
    let rest = (arguments, definition, prop::bool::weighted(0.08));
    (odd, prop::sample::select(TOOLS.to_vec()), effect, [values(), values()], 0..6u64, rest).prop_map(
        |(odd, tool, bits, values, amount, ((place, number, there), definition, is_newer))| {
            let arguments = POINTERS.into_iter().zip([place, number]).zip(there);
            let facts = CallFacts {
                tool: tool.parse().unwrap(),
                effects: Effects::from_bits(bits).unwrap(),
                ids: ID_DIMENSIONS.map(dimension).into_iter().zip(values).collect(),
                amounts: BTreeMap::from([(dimension("amount"), amount)]),
                result_maxima: BTreeSet::from([dimension("records")]),
                is_newer,
                definition: definition.map(|byte| Digest([byte; 32])),
                arguments: arguments
                    .filter(|(_, there)| *there)
                    .map(|((at, values), _)| (at.parse().unwrap(), values))
                    .collect(),
            };
            (odd, facts)
        },
    )
}

/// The call for a tool of the root's grant and without what that grant does not speak of, except where the dice say
/// otherwise: so that a good part of all calls is allowed.
pub(super) fn near(root: &Grant, (odd, call): &(Vec<bool>, CallFacts)) -> CallFacts {
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
