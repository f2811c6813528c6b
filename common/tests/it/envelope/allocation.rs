//! Clause L-19: who has made room meets without allocating, and asking allocates nothing at all.

use std::cell::Cell;

use allocation_counter::measure;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use remit_common::lattice::{Grant, Omitted, Scope};

use super::arbitrary::{call, chain, near};

/// Every grant of every link met with every one of the next, and asked about calls; also where a meet leaves nothing or
/// too much, and for sets and patterns that no root below which anybody works would hold.
#[test]
fn meets_and_questions_allocate_nothing() {
    let strategy = (chain(3, false, true), prop::collection::vec(call(), 8));
    let (met, admitted, in_room) = (Cell::new(0u64), Cell::new(0u64), Cell::new(0u64));
    let add = |cell: &Cell<u64>, more: u64| cell.set(cell.get() + more);
    TestRunner::new(Config { cases: 256, failure_persistence: None, ..Config::default() })
        .run(&strategy, |(chain, calls)| {
            for (parents, children) in chain.iter().zip(&chain[1..]) {
                for (parent, child) in parents.iter().flat_map(|a| children.iter().map(move |b| (a, b))) {
                    for omitted in [Omitted::Closed, Omitted::Free] {
                        let mut room = None;
                        let made = measure(|| room = Some((parent.with_room_for(child), child.clone())));
                        add(&in_room, made.count_total);
                        let (room, child) = room.expect("made");
                        let mut found = None;
                        let cost = measure(|| found = Some(room.meet(child, omitted)));
                        prop_assert_eq!(cost.count_total, 0, "{:?} in {:?}", cost, parent);
                        add(&met, u64::from(matches!(found, Some(Ok(Ok(_))))));
                    }
                }
            }
            let scope = chain[1..]
                .iter()
                .try_fold(Scope::root(chain[0].clone()).expect("a root"), |scope, hop| scope.narrow(hop.clone()))
                .map_err(|error| TestCaseError::fail(error.to_string()))?;
            for (index, grant) in scope.grants().filter_map(|(index, grant)| Some((index, grant?))) {
                for call in &calls {
                    let call = near(root_of(&chain, index), call);
                    let mut found = None;
                    let cost = measure(|| found = Some(grant.admits(&call, Omitted::Closed).is_ok()));
                    // What is refused is named; a name is an allocation of its own.
                    prop_assert!(cost.count_total <= u64::from(found == Some(false)), "{:?}", cost);
                    let whole = measure(|| drop(scope.admits_any(&call)));
                    add(&admitted, u64::from(found == Some(true)));
                    if found == Some(true) {
                        prop_assert_eq!(whole.count_total, 0);
                    }
                }
            }
            Ok(())
        })
        .unwrap();
    // The counter counts, and there was something to count.
    let (met, admitted, in_room) = (met.get(), admitted.get(), in_room.get());
    assert!(in_room > 10_000, "{in_room} allocations made the room");
    assert!(met > 500 && admitted > 100, "{met} met, {admitted} admitted");
}

fn root_of(chain: &[Vec<Grant>], leaf: u16) -> &Grant {
    let at = chain.iter().skip(1).rev().fold(leaf, |at, grants| grants[usize::from(at)].of);
    &chain[0][usize::from(at)]
}
