//! Whether a small history is linearizable, by search: the oracle for the checks that need none.
//!
//! Source: Wing and Gong, "Testing and Verifying Concurrent Objects" (1993), with the memory of visited configurations of
//! Lowe, "Testing for linearizability" (2017).

use std::collections::BTreeSet;

/// What an object does, one operation at a time.
pub(super) trait Model {
    type State: Clone + Ord;
    type Operation;

    fn initial() -> Self::State;

    /// The state afterwards; none if the operation cannot have had this result in this state.
    fn step(state: &Self::State, operation: &Self::Operation) -> Option<Self::State>;
}

/// An operation in real time. Without a return it may have happened at any time after its invocation, or never.
#[derive(Debug, Clone)]
pub(super) struct Timed<T> {
    pub(super) invoked: u64,
    pub(super) returned: Option<u64>,
    pub(super) operation: T,
}

/// Searches for an order. At most 32 operations.
pub(super) fn is_linearizable<M: Model>(operations: &[Timed<M::Operation>]) -> bool {
    assert!(operations.len() <= 32, "the search is for small windows");
    let done = operations.iter().enumerate().filter(|(_, timed)| timed.returned.is_some());
    let must = done.fold(0_u32, |mask, (at, _)| mask | 1 << at);
    search::<M>(operations, must, 0, &M::initial(), &mut BTreeSet::new())
}

fn search<M: Model>(
    operations: &[Timed<M::Operation>],
    must: u32,
    taken: u32,
    state: &M::State,
    visited: &mut BTreeSet<(u32, M::State)>,
) -> bool {
    if must & !taken == 0 {
        return true;
    }
    if !visited.insert((taken, state.clone())) {
        return false;
    }
    let rest = || operations.iter().enumerate().filter(|(at, _)| taken & 1 << at == 0);
    // Nothing that was invoked after something else had returned comes before that.
    let horizon = rest().filter_map(|(_, timed)| timed.returned).min().unwrap_or(u64::MAX);
    rest().filter(|(_, timed)| timed.invoked < horizon).any(|(at, timed)| {
        M::step(state, &timed.operation)
            .is_some_and(|next| search::<M>(operations, must, taken | 1 << at, &next, visited))
    })
}

/// A set to which elements are added, and which is read as a whole.
pub(super) struct GrowingSet;

#[derive(Debug, Clone)]
pub(super) enum SetOperation {
    Add(u8),
    Read(BTreeSet<u8>),
}

impl Model for GrowingSet {
    type State = BTreeSet<u8>;
    type Operation = SetOperation;

    fn initial() -> BTreeSet<u8> {
        BTreeSet::new()
    }

    fn step(state: &BTreeSet<u8>, operation: &SetOperation) -> Option<BTreeSet<u8>> {
        match operation {
            SetOperation::Add(element) => Some(state.iter().chain([element]).copied().collect()),
            SetOperation::Read(read) => (read == state).then(|| state.clone()),
        }
    }
}

/// A register.
struct Register;

enum RegisterOperation {
    Write(u8),
    Read(u8),
}

impl Model for Register {
    type State = u8;
    type Operation = RegisterOperation;

    fn initial() -> u8 {
        0
    }

    fn step(state: &u8, operation: &RegisterOperation) -> Option<u8> {
        match operation {
            RegisterOperation::Write(value) => Some(*value),
            RegisterOperation::Read(value) => (value == state).then_some(*state),
        }
    }
}

#[test]
fn the_search_knows_the_examples_of_the_paper() {
    use RegisterOperation::{Read, Write};
    let check = |operations: Vec<(u64, Option<u64>, RegisterOperation)>, expected| {
        let timed = |(invoked, returned, operation)| Timed { invoked, returned, operation };
        let operations: Vec<_> = operations.into_iter().map(timed).collect();
        assert_eq!(is_linearizable::<Register>(&operations), expected);
    };
    check(vec![(0, Some(1), Write(1)), (2, Some(3), Read(1))], true);
    check(vec![(0, Some(1), Write(1)), (2, Some(3), Read(0))], false);
    // While a write is under way each value may be read, but not the old one after the new one.
    check(vec![(0, Some(9), Write(1)), (1, Some(2), Read(1)), (3, Some(4), Read(1))], true);
    check(vec![(0, Some(9), Write(1)), (1, Some(2), Read(1)), (3, Some(4), Read(0))], false);
    // A write that timed out may happen late, or never.
    check(vec![(0, None, Write(1)), (5, Some(6), Read(0)), (7, Some(8), Read(1))], true);
    check(vec![(0, None, Write(1)), (5, Some(6), Read(0))], true);
    check(vec![(5, None, Write(1)), (0, Some(1), Read(1))], false);
}
