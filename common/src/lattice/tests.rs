//! Law E for whole grants, over every pair of a small universe, and the rules of scopes one by one.

use std::collections::BTreeSet;

use super::*;
use crate::crypto::digest::Digest;
use crate::id::{DimensionName, ResourceId, ToolName};
use crate::limits::{GRANTS_MAX, PATTERNS_MAX};

fn dimension(name: &str) -> DimensionName {
    DimensionName::new(name).unwrap()
}

fn ids<S: FromIterator<ResourceId>>(ids: &[&str]) -> S {
    ids.iter().map(|id| ResourceId::new(id).unwrap()).collect()
}

fn grant(tools: &[&str]) -> Grant {
    Grant { tools: tools.iter().map(|text| text.parse().unwrap()).collect(), ..Grant::default() }
}

fn meet(a: &Grant, b: &Grant, omitted: Omitted) -> Result<Result<Grant, ScopeMiss>, TooManyPatterns> {
    a.with_room_for(b).meet(b.clone(), omitted)
}

fn root_grant(tools: &[&str]) -> Grant {
    Grant { classes: Some(ClassSet::ALL), effects: Some(Effects::ALL), ..grant(tools) }
}

fn call(tool: &str) -> CallFacts {
    CallFacts::of_tool(tool.parse().unwrap(), Effects::from(Effect::Read))
}

fn with_ids(grant: Grant, name: &str, set: IdSet) -> Grant {
    let mut grant = grant;
    grant.ids.insert(dimension(name), set);
    grant
}

fn call_with_ids(tool: &str, name: &str, values: &[&str]) -> CallFacts {
    let mut call = call(tool);
    call.ids.insert(dimension(name), ids(values));
    call
}

fn universe_of_grants() -> Vec<Grant> {
    let mut all = vec![grant(&["a"]), grant(&["**"])];
    let sets = [IdSet::In(ids(&[])), IdSet::In(ids(&["1"])), IdSet::NotIn(ids(&["1"]))];
    all = all
        .into_iter()
        .flat_map(|base| {
            let with = sets.clone().map(|set| with_ids(base.clone(), "customer", set));
            [vec![base], with.to_vec()].concat()
        })
        .collect();
    for (name, max) in [("amount", 1), ("records", 5)] {
        let with = all.clone().into_iter().map(|mut grant| {
            grant.maxima.insert(dimension(name), max);
            grant
        });
        all = all.iter().cloned().chain(with).collect();
    }
    let effects = [None, Some(Effects::NONE), Some(Effects::from(Effect::Read))];
    all.into_iter().flat_map(|grant| effects.map(|effects| Grant { effects, ..grant.clone() })).collect()
}

fn universe_of_calls() -> Vec<CallFacts> {
    let mut all = vec![call("a"), call("b")];
    let effects = [0, 1, 3].map(|bits| Effects::from_bits(bits).unwrap());
    all = all.into_iter().flat_map(|call| effects.map(|effects| CallFacts { effects, ..call.clone() })).collect();
    let values = [None, Some(ids(&[])), Some(ids(&["1"])), Some(ids(&["2"])), Some(ids(&["1", "2"]))];
    all = all
        .into_iter()
        .flat_map(|call| {
            values.clone().map(|values| CallFacts {
                ids: values.into_iter().map(|values| (dimension("customer"), values)).collect(),
                ..call.clone()
            })
        })
        .collect();
    all = all
        .into_iter()
        .flat_map(|call| {
            [None, Some(1), Some(2)].map(|amount| CallFacts {
                amounts: amount.into_iter().map(|amount| (dimension("amount"), amount)).collect(),
                ..call.clone()
            })
        })
        .collect();
    all.into_iter()
        .flat_map(|call| {
            let records = BTreeSet::from([dimension("records")]);
            [BTreeSet::new(), records].map(|result_maxima| CallFacts { result_maxima, ..call.clone() })
        })
        .collect()
}

/// Clause L-1: a hop below a root, and a hop below a hop, over 96 × 96 grants and 180 calls.
#[test]
fn the_meet_of_grants_is_exact() {
    let (grants, calls) = (universe_of_grants(), universe_of_calls());
    assert_eq!((grants.len(), calls.len()), (96, 180));
    let table = |omitted| -> Vec<Vec<bool>> {
        grants.iter().map(|grant| calls.iter().map(|call| grant.admits(call, omitted).is_ok()).collect()).collect()
    };
    let hops = table(Omitted::Free);
    let mut allowed = 0u32;
    for omitted in [Omitted::Closed, Omitted::Free] {
        let parents = table(omitted);
        for (a, in_parent) in grants.iter().zip(&parents) {
            for (b, in_hop) in grants.iter().zip(&hops) {
                let met = meet(a, b, omitted).unwrap();
                for ((call, parent), hop) in calls.iter().zip(in_parent).zip(in_hop) {
                    let found = met.as_ref().is_ok_and(|met| met.admits(call, omitted).is_ok());
                    assert_eq!(found, *parent && *hop, "{a:?} ∧ {b:?} ({omitted:?}) on {call:?}");
                    allowed += u32::from(found);
                }
            }
        }
    }
    assert!(allowed > 1_000, "{allowed} calls were allowed");
}

fn pointer(text: &str) -> ArgumentPointer {
    text.parse().unwrap()
}

/// Pins, arguments and the permission of tools to come, with what they hang together with: tools and effects.
fn universe_of_terms() -> Vec<Grant> {
    let mut all = vec![grant(&["a"]), grant(&["a", "b.*"]), grant(&["**"])];
    let pins = [None, Some(("a", 1)), Some(("a", 2)), Some(("b.c", 1))];
    all = all
        .into_iter()
        .flat_map(|grant| {
            pins.map(|pin| {
                let pin = pin.map(|(tool, digest)| (tool.parse().unwrap(), Pin::Is(Digest([digest; 32]))));
                Grant { pins: pin.into_iter().collect(), ..grant.clone() }
            })
        })
        .collect();
    let one_of = |texts: &[&str]| Constraint::one_of(texts.iter().map(|text| Scalar::from(*text)));
    let args = [
        vec![],
        vec![("/x", one_of(&["u", "v"]))],
        vec![("/x", one_of(&["v", "w"])), ("/y", Constraint::within(0, 5))],
        vec![("/x", Constraint::length_max(0)), ("/y", Constraint::within(5, 9))],
    ];
    all = all
        .into_iter()
        .flat_map(|grant| {
            args.clone().map(|args| Grant {
                args: args.into_iter().map(|(at, constraint)| (pointer(at), constraint)).collect(),
                ..grant.clone()
            })
        })
        .collect();
    all.into_iter().flat_map(|grant| [false, true].map(|future| Grant { future, ..grant.clone() })).collect()
}

fn universe_of_terms_calls() -> Vec<CallFacts> {
    let mut all = vec![call("a"), call("b.c"), call("c")];
    let definitions = [None, Some(1), Some(2)];
    all = all
        .into_iter()
        .flat_map(|call| {
            definitions.map(|digest| CallFacts { definition: digest.map(|n| Digest([n; 32])), ..call.clone() })
        })
        .collect();
    all =
        all.into_iter().flat_map(|call| [false, true].map(|is_newer| CallFacts { is_newer, ..call.clone() })).collect();
    let text = |text: &str| ArgumentValue::Scalar(text.into());
    let number = |number| ArgumentValue::Scalar(Scalar::Int(number));
    let arguments = [
        vec![],
        vec![("/x", vec![text("v")])],
        vec![("/x", vec![])],
        vec![("/x", vec![text("u"), text("v")]), ("/y", vec![number(5)])],
        vec![("/x", vec![text("v")]), ("/y", vec![number(3), number(5)])],
        vec![("/x", vec![text("")]), ("/y", vec![number(7)])],
        vec![("/x", vec![text("v"), ArgumentValue::Other]), ("/y", vec![number(5)])],
    ];
    all.into_iter()
        .flat_map(|call| {
            arguments.clone().map(|arguments| CallFacts {
                arguments: arguments.into_iter().map(|(at, values)| (pointer(at), values)).collect(),
                ..call.clone()
            })
        })
        .collect()
}

/// Clause L-1 for pins, arguments and the permission of tools to come, over 96 × 96 grants and 126 calls.
#[test]
fn the_meet_of_terms_is_exact() {
    let (grants, calls) = (universe_of_terms(), universe_of_terms_calls());
    assert_eq!((grants.len(), calls.len()), (96, 126));
    let admitted: Vec<Vec<bool>> = grants
        .iter()
        .map(|grant| calls.iter().map(|call| grant.admits(call, Omitted::Free).is_ok()).collect())
        .collect();
    let mut allowed = 0u32;
    for (a, in_a) in grants.iter().zip(&admitted) {
        for (b, in_b) in grants.iter().zip(&admitted) {
            let met = meet(a, b, Omitted::Free).unwrap();
            for ((call, in_a), in_b) in calls.iter().zip(in_a).zip(in_b) {
                let found = met.as_ref().is_ok_and(|met| met.admits(call, Omitted::Free).is_ok());
                assert_eq!(found, *in_a && *in_b, "{a:?} ∧ {b:?} on {call:?}");
                allowed += u32::from(found);
            }
        }
    }
    assert!(allowed > 20_000, "{allowed} calls were allowed");
}

/// Every way to miss, each named by the scope of a root that is met with nothing.
#[test]
fn every_miss_has_its_name() {
    let full = Grant {
        pins: SortedMap::from([(ToolName::new("a").unwrap(), Pin::Is(Digest([1; 32])))]),
        ids: SortedMap::from([(dimension("customer"), IdSet::In(ids(&["1"])))]),
        maxima: SortedMap::from([(dimension("amount"), 5)]),
        args: SortedMap::from([(pointer("/x"), Constraint::within(0, 5))]),
        effects: Some(Effects::from(Effect::Read)),
        ..root_grant(&["a"])
    };
    let root = Scope::root(vec![full]).unwrap();
    let number = |number| vec![ArgumentValue::Scalar(Scalar::Int(number))];
    let good = CallFacts {
        ids: [(dimension("customer"), ids(&["1"]))].into(),
        amounts: [(dimension("amount"), 5)].into(),
        definition: Some(Digest([1; 32])),
        arguments: SortedMap::from([(pointer("/x"), number(5))]),
        ..call("a")
    };
    assert_eq!(root.admits_any(&good), Ok(0));
    assert!(root.constrained().eq([&pointer("/x")]));
    let check = |call: CallFacts, miss| {
        assert_eq!(root.admits(0, &call), Err(OutOfScope { miss, hop: 0 }));
    };
    check(CallFacts { tool: "b".parse().unwrap(), ..good.clone() }, ScopeMiss::Tool);
    check(CallFacts { is_newer: true, ..good.clone() }, ScopeMiss::Newer);
    check(CallFacts { definition: Some(Digest([2; 32])), ..good.clone() }, ScopeMiss::Definition);
    check(CallFacts { definition: None, ..good.clone() }, ScopeMiss::Definition);
    check(CallFacts { effects: Effects::ALL, ..good.clone() }, ScopeMiss::Effect);
    check(
        CallFacts { ids: [(dimension("customer"), ids(&["2"]))].into(), ..good.clone() },
        ScopeMiss::Dimension(dimension("customer")),
    );
    check(
        CallFacts { amounts: [(dimension("amount"), 6)].into(), ..good.clone() },
        ScopeMiss::Dimension(dimension("amount")),
    );
    check(CallFacts { amounts: [].into(), ..good.clone() }, ScopeMiss::UnmappedDimension(dimension("amount")));
    check(
        CallFacts { arguments: SortedMap::from([(pointer("/x"), number(6))]), ..good.clone() },
        ScopeMiss::Argument(pointer("/x")),
    );
    check(CallFacts { arguments: SortedMap::new(), ..good }, ScopeMiss::UnmappedArgument(pointer("/x")));
}

/// A grant of which plainly nothing is left is a tombstone, whose reason names what it lost.
#[test]
fn tombstones_name_what_was_lost() {
    let root = Scope::root(vec![root_grant(&["a"])]).unwrap();
    let narrow = |first: Grant, second: Grant| root.narrow(vec![first]).unwrap().narrow(vec![second]).unwrap();
    let args = |constraint| Grant { args: SortedMap::from([(pointer("/x"), constraint)]), ..grant(&["a"]) };
    let check = |scope: Scope, miss| {
        assert_eq!(scope.grants().map(|(_, grant)| grant).collect::<Vec<_>>(), [None]);
        assert_eq!(scope.admits_any(&call("x")).map_err(|refused| refused.miss), Err(ScopeMiss::Tool));
        assert_eq!(scope.admits_any(&call("a")).map_err(|refused| refused.miss), Err(miss));
    };
    check(
        narrow(args(Constraint::within(0, 1)), args(Constraint::within(2, 3))),
        ScopeMiss::UnmappedArgument(pointer("/x")),
    );
    check(narrow(Grant { effects: Some(Effects::NONE), ..grant(&["a"]) }, grant(&["a"])), ScopeMiss::Effect);
    let later = narrow(args(Constraint::within(0, 1)), args(Constraint::within(2, 3)));
    let with = CallFacts {
        arguments: SortedMap::from([(pointer("/x"), vec![ArgumentValue::Scalar(Scalar::Int(1))])]),
        ..call("a")
    };
    let refused = OutOfScope { miss: ScopeMiss::Argument(pointer("/x")), hop: 2 };
    assert_eq!(later.admits_any(&with), Err(refused));
}

/// Clause L-1 on the side of results: maxima and classes of a meet are the least of both.
#[test]
fn the_meet_limits_results_exactly() {
    let maxima = [None, Some(0), Some(5), Some(u64::MAX)];
    let classes = [None, Some(ClassSet::EMPTY), Some(ClassSet::from_iter([1])), Some(ClassSet::from_iter([1, 2]))];
    let all: Vec<Grant> = maxima
        .iter()
        .flat_map(|max| {
            classes.map(|classes| Grant {
                maxima: max.iter().map(|max| (dimension("records"), *max)).collect(),
                classes,
                ..grant(&["a"])
            })
        })
        .collect();
    let shows = |grant: &Grant, records, class| {
        grant.maxima.get("records").is_none_or(|max| records <= *max)
            && grant.classes.is_none_or(|classes| classes.contains(class))
    };
    for a in &all {
        for b in &all {
            let met = meet(a, b, Omitted::Free).unwrap().unwrap();
            for records in [0, 1, 5, 6, u64::MAX] {
                for class in 0..3 {
                    let both = shows(a, records, class) && shows(b, records, class);
                    assert_eq!(shows(&met, records, class), both, "{a:?} ∧ {b:?}");
                }
            }
        }
    }
}

/// Whoever keeps scopes within a bound of bytes has to see what a holder can make large.
#[test]
fn a_scope_counts_what_it_keeps() {
    let names: Vec<String> = (0..64).map(|n| format!("tool{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let small = Scope::root(vec![root_grant(&["a"])]).unwrap();
    let many_tools = Scope::root(vec![root_grant(&names)]).unwrap();
    let many_ids = Scope::root(vec![with_ids(root_grant(&["a"]), "contract", IdSet::In(ids(&names)))]).unwrap();
    let listed = Constraint::one_of(names.iter().map(|name| Scalar::from(*name)));
    let args = SortedMap::from([(pointer("/x"), listed)]);
    let many_values = Scope::root(vec![Grant { args, ..root_grant(&["a"]) }]).unwrap();
    assert!((1..1_024).contains(&small.bytes()), "{}", small.bytes());
    for large in [&many_tools, &many_ids, &many_values] {
        assert!(large.bytes() > small.bytes() + 64 * 64, "{}", large.bytes());
    }
    let twice = many_tools.narrow(vec![grant(&["**"])]).unwrap();
    assert_eq!(twice.bytes(), 2 * many_tools.bytes(), "the link before is kept, too");
}

/// Clause L-6: a grant of which nothing is left keeps its place, so that no index shifts.
#[test]
fn tombstones_keep_indices() {
    let root = Scope::root(vec![root_grant(&["a"]), root_grant(&["b"])]).unwrap();
    let narrowed = root.narrow(vec![grant(&["x.**"]), Grant { of: 1, ..grant(&["**"]) }]).unwrap();
    let standing: Vec<_> = narrowed.grants().map(|(index, grant)| (index, grant.is_some())).collect();
    assert_eq!(standing, [(0, false), (1, true)]);
    // The next hop's `of` counts the tombstone, and nothing comes back through it.
    let last = narrowed.narrow(vec![grant(&["**"]), Grant { of: 1, ..grant(&["**"]) }]).unwrap();
    assert_eq!(last.admits_any(&call("a")), Err(OutOfScope { miss: ScopeMiss::Tool, hop: 1 }));
    assert_eq!(last.admits_any(&call("b")), Ok(1));
    assert_eq!(last.grant(1).map(|grant| grant.of), Some(1));
}

/// Clause L-6: two grants may narrow the same one, and one may be dropped.
#[test]
fn grants_may_be_split_and_dropped() {
    let root = Scope::root(vec![root_grant(&["a", "b"]), root_grant(&["c"])]).unwrap();
    let split = root.narrow(vec![grant(&["a"]), grant(&["b"])]).unwrap();
    assert_eq!(split.admits_any(&call("b")), Ok(1));
    let dropped = OutOfScope { miss: ScopeMiss::Tool, hop: 1 };
    assert_eq!(split.admits_any(&call("c")), Err(dropped.clone()));
    assert_eq!(split.admits(0, &call("b")), Err(dropped));
    assert_eq!(split.admits(7, &call("a")), Err(OutOfScope { miss: ScopeMiss::Tool, hop: 1 }));
}

/// Clause L-9: never the union of two grants.
#[test]
fn one_call_is_admitted_by_one_grant() {
    let both = |tool, customer: &str| with_ids(root_grant(&[tool]), "customer", IdSet::In(ids(&[customer])));
    let root = Scope::root(vec![both("a", "1"), both("a", "2")]).unwrap();
    assert_eq!(root.admits_any(&call_with_ids("a", "customer", &["2"])), Ok(1));
    let miss = ScopeMiss::Dimension(dimension("customer"));
    let refused = OutOfScope { miss, hop: 0 };
    assert_eq!(root.admits_any(&call_with_ids("a", "customer", &["1", "2"])), Err(refused));
}

/// Clauses L-4 and L-5: what is absent on either side never satisfies the other.
#[test]
fn absent_never_satisfies() {
    let customer = |set| Scope::root(vec![with_ids(root_grant(&["a"]), "customer", set)]).unwrap();
    let unmapped = |name| Err(OutOfScope { miss: ScopeMiss::UnmappedDimension(dimension(name)), hop: 0 });
    assert_eq!(customer(IdSet::any()).admits_any(&call("a")), unmapped("customer"));
    assert_eq!(customer(IdSet::any()).admits_any(&call_with_ids("a", "customer", &[])), unmapped("customer"));
    assert_eq!(customer(IdSet::any()).admits_any(&call_with_ids("a", "customer", &["x"])), Ok(0));
    let silent = Scope::root(vec![root_grant(&["a"])]).unwrap();
    assert_eq!(silent.admits_any(&call_with_ids("a", "customer", &["x"])), unmapped("customer"));
    let rows = CallFacts { result_maxima: BTreeSet::from([dimension("records")]), ..call("a") };
    assert_eq!(silent.admits_any(&rows), unmapped("records"));
    let limited = Grant { maxima: SortedMap::from([(dimension("records"), 25)]), ..root_grant(&["a"]) };
    let limited = Scope::root(vec![limited]).unwrap();
    assert_eq!((limited.admits_any(&rows), limited.admits_any(&call("a"))), (Ok(0), unmapped("records")));
    let effectless = CallFacts { effects: Effects::NONE, ..call("a") };
    assert_eq!(silent.admits_any(&effectless), Err(OutOfScope { miss: ScopeMiss::Effect, hop: 0 }));
    // A hop cannot open a dimension that the root left out, nor free one that it constrains.
    let opened = silent.narrow(vec![with_ids(grant(&["a"]), "customer", IdSet::any())]).unwrap();
    let miss = ScopeMiss::UnmappedDimension(dimension("customer"));
    assert_eq!(opened.admits_any(&call("a")), Err(OutOfScope { miss, hop: 1 }));
    assert_eq!(opened.admits_any(&call_with_ids("a", "customer", &["x"])), unmapped("customer"));
}

#[test]
fn the_link_that_narrowed_it_away_is_named() {
    let contract = |set: &[&str]| with_ids(grant(&["**"]), "contract", IdSet::In(ids(set)));
    let root = Scope::root(vec![with_ids(root_grant(&["a"]), "contract", IdSet::In(ids(&["1", "2", "3"])))]).unwrap();
    let leaf = root.narrow(vec![contract(&["1", "2"])]).unwrap().narrow(vec![contract(&["1"])]).unwrap();
    for (id, hop) in [("9", 0), ("3", 1), ("2", 2)] {
        let expected = Err(OutOfScope { miss: ScopeMiss::Dimension(dimension("contract")), hop });
        assert_eq!(leaf.admits(0, &call_with_ids("a", "contract", &[id])), expected);
        assert_eq!(leaf.admits_any(&call_with_ids("a", "contract", &[id])).map(drop), expected);
    }
    assert_eq!(leaf.parent().and_then(Scope::parent), Some(&root));
}

#[test]
fn the_closest_miss_is_reported() {
    let root = Scope::root(vec![
        root_grant(&["b"]),
        with_ids(root_grant(&["a"]), "contract", IdSet::In(ids(&["1"]))),
        Grant { effects: Some(Effects::from(Effect::Write)), ..root_grant(&["a"]) },
    ])
    .unwrap();
    let found = root.admits_any(&call_with_ids("a", "contract", &["2"]));
    assert_eq!(found, Err(OutOfScope { miss: ScopeMiss::Dimension(dimension("contract")), hop: 0 }));
}

#[test]
fn lists_that_make_no_scope_are_refused() {
    assert_eq!(Scope::root(Vec::new()), Err(InvalidScope::Count));
    assert_eq!(Scope::root(vec![root_grant(&["a"]); GRANTS_MAX + 1]), Err(InvalidScope::Count));
    for incomplete in [
        grant(&["a"]),
        Grant { classes: None, ..root_grant(&["a"]) },
        Grant { effects: None, ..root_grant(&["a"]) },
        Grant { of: 1, ..root_grant(&["a"]) },
    ] {
        let list = vec![root_grant(&["a"]), incomplete];
        assert_eq!(Scope::root(list), Err(InvalidScope::IncompleteRoot { grant: 1 }));
    }
    let root = Scope::root(vec![root_grant(&["a"])]).unwrap();
    assert_eq!(root.narrow(Vec::new()), Err(InvalidScope::Count));
    let beyond = Grant { of: 1, ..grant(&["a"]) };
    assert_eq!(root.narrow(vec![beyond]), Err(InvalidScope::NoSuchParent { grant: 0, of: 1 }));
}

/// Wildcards in both lists could multiply with every hop; they may not.
#[test]
fn pattern_sets_that_would_multiply_are_refused() {
    let patterns = |count: usize, of: &str| -> Vec<ToolPattern> {
        (0..count).map(|n| of.replace('N', &n.to_string()).parse().unwrap()).collect()
    };
    let met = |left: usize, right: usize| {
        let root = Grant { tools: patterns(left, "aN.*"), ..root_grant(&[]) };
        let hop = Grant { tools: patterns(right, "*.bN"), ..grant(&[]) };
        let scope = Scope::root(vec![root]).unwrap().narrow(vec![hop])?;
        Ok(scope.grant(0).map(|grant| grant.tools.len()))
    };
    assert_eq!(met(9, 7), Ok(Some(63)));
    assert_eq!(met(8, 8), Ok(Some(64)));
    let beyond = InvalidScope::TooManyPatterns { grant: 0, source: TooManyPatterns };
    assert_eq!(met(13, 5), Err(beyond.clone()));
    assert_eq!(met(9, 9), Err(beyond));
    assert_eq!(PATTERNS_MAX, 64);
}

/// What another pattern says as well is not kept, whichever came first.
#[test]
fn redundant_patterns_go() {
    let tools = |parent: &[&str], child: &[&str]| {
        let met = meet(&root_grant(parent), &grant(child), Omitted::Closed).unwrap().unwrap();
        met.tools.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(tools(&["*.x", "a.**"], &["a.**"]), ["a.**"]);
    assert_eq!(tools(&["a.**", "*.x"], &["a.**"]), ["a.**"]);
    assert_eq!(tools(&["a.**", "b.*"], &["a.x", "a.*", "b.y", "a.**"]), ["a.**", "b.y"]);
    assert_eq!(tools(&["**"], &["a", "b", "a.*"]), ["a", "b", "a.*"]);
    assert_eq!(tools(&["a", "b", "c"], &["*", "b"]), ["a", "b", "c"]);
}

/// Every dimension of a grant counts, not only its last.
#[test]
fn every_dimension_counts() {
    let grant = with_ids(root_grant(&["a"]), "customer", IdSet::In(ids(&["1"])));
    let root = Scope::root(vec![with_ids(grant, "contract", IdSet::In(ids(&["7"])))]).unwrap();
    let call = |customer: &str, contract: &str| {
        let mut call = call_with_ids("a", "customer", &[customer]);
        call.ids.insert(dimension("contract"), ids(&[contract]));
        call
    };
    let miss = |name| Err(OutOfScope { miss: ScopeMiss::Dimension(dimension(name)), hop: 0 });
    assert_eq!(root.admits_any(&call("1", "7")), Ok(0));
    assert_eq!(root.admits_any(&call("2", "7")), miss("customer"));
    assert_eq!(root.admits_any(&call("1", "8")), miss("contract"));
}

/// Of grants that miss equally closely the first one's miss is reported.
#[test]
fn of_equal_misses_the_first_is_reported() {
    let with = |name| with_ids(root_grant(&["a"]), name, IdSet::In(ids(&["1"])));
    let root = Scope::root(vec![root_grant(&["b"]), with("customer"), with("contract")]).unwrap();
    let mut call = call_with_ids("a", "customer", &["2"]);
    call.ids.insert(dimension("contract"), ids(&["2"]));
    assert_eq!(
        root.admits_any(&call).map_err(|refused| refused.miss),
        Err(ScopeMiss::Dimension(dimension("customer")))
    );
}

/// A link carries as many grants as it may, in a root and in a hop, and no more.
#[test]
fn the_bound_on_grants_is_exact() {
    let many = |count| vec![root_grant(&["a"]); count];
    let root = Scope::root(many(GRANTS_MAX)).unwrap();
    assert_eq!(root.narrow(many(GRANTS_MAX)).map(|scope| scope.grants().count()), Ok(GRANTS_MAX));
    assert_eq!(root.narrow(many(GRANTS_MAX + 1)), Err(InvalidScope::Count));
}
