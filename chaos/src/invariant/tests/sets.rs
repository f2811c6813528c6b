//! The check of reads against the search: on small histories of a growing set both say the same.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use remit_common::id::{LogIndex, RevocationEpoch, VoterId};
use remit_common::policy::Bounds;

use super::super::{Context, Status, linearizable, story::Story};
use super::wgl::{GrowingSet, SetOperation, Timed, is_linearizable};
use crate::history::{Event, Kind, ReadState, What, Write, WriteKind, Written};
use crate::node::Roster;

/// An operation that takes from one moment to another, or times out.
#[derive(Debug, Clone)]
struct Sketch {
    from: u64,
    takes: u64,
    answered: bool,
    /// What a read shows; none is a write.
    read: Option<BTreeSet<u8>>,
}

fn sketch() -> impl Strategy<Value = Sketch> {
    let read = prop::option::weighted(0.6, prop::collection::btree_set(0_u8..4, 0..4));
    (0_u64..20, 1_u64..8, prop::bool::weighted(0.85), read).prop_map(|(from, takes, answered, read)| Sketch {
        from,
        takes,
        answered,
        read,
    })
}

/// Moments of events, each its own: two for each operation.
fn moments(sketches: &[Sketch]) -> Vec<(u64, u64)> {
    let count = u64::try_from(sketches.len()).unwrap();
    let place = |at: u64, number: usize, is_end: u64| (at * 2 + is_end) * count + u64::try_from(number).unwrap();
    let moment = |(number, sketch): (usize, &Sketch)| {
        (place(sketch.from, number, 0), place(sketch.from + sketch.takes, number, 1))
    };
    sketches.iter().enumerate().map(moment).collect()
}

/// As a history: the writes add 0, 1, 2, 3 in the order of the sketches; there are at most four.
fn history(sketches: &[Sketch]) -> Vec<Event> {
    let mut events = Vec::new();
    let mut element = 0;
    for (sketch, (from, to)) in sketches.iter().zip(moments(sketches)) {
        let mut note = |time_us, kind, what| {
            events.push(Event { index: time_us, time_us, process: "operator".to_owned(), kind, what });
        };
        let answer = if sketch.answered { Kind::Ok } else { Kind::Info };
        if let Some(read) = &sketch.read {
            let state = |of, sessions: Vec<String>, epoch| {
                let (voter, linearizable, applied, bundle) = (VoterId(1), true, None, None);
                What::Read(ReadState { of, voter, linearizable, applied, epoch, sessions, bundle })
            };
            note(from, Kind::Invoke, state(None, vec![], None));
            note(to, answer, state(Some(from), read.iter().map(u8::to_string).collect(), Some(RevocationEpoch(0))));
        } else {
            let write = |of, written| {
                let write = WriteKind::Revoke { session: element.to_string() };
                What::Write(Write { of, write, written })
            };
            let written = Written { index: LogIndex(0), epoch: None, activation: None, revision: None };
            note(from, Kind::Invoke, write(None, None));
            note(to, answer, write(Some(from), sketch.answered.then_some(written)));
            element += 1;
        }
    }
    events.sort_by_key(|event| event.index);
    events
}

/// As the search wants it. A read that timed out says nothing.
fn operations(sketches: &[Sketch]) -> Vec<Timed<SetOperation>> {
    let mut element = 0;
    let mut operations = Vec::new();
    for (sketch, (invoked, to)) in sketches.iter().zip(moments(sketches)) {
        let returned = sketch.answered.then_some(to);
        match &sketch.read {
            Some(read) if sketch.answered => {
                operations.push(Timed { invoked, returned, operation: SetOperation::Read(read.clone()) });
            }
            Some(_) => {}
            None => {
                operations.push(Timed { invoked, returned, operation: SetOperation::Add(element) });
                element += 1;
            }
        }
    }
    operations
}

/// At most four writes, and reads of what they write.
fn sketches() -> impl Strategy<Value = Vec<Sketch>> {
    prop::collection::vec(sketch(), 1..9).prop_map(|mut sketches| {
        let mut writes = 0;
        sketches.retain(|sketch| {
            writes += u8::from(sketch.read.is_none());
            sketch.read.is_some() || writes <= 4
        });
        sketches
    })
}

fn agree(sketches: &[Sketch]) -> Result<bool, TestCaseError> {
    let events = history(sketches);
    let context = Context { heal_within: Duration::ZERO, ..Context::new(Bounds::DEFAULT, Roster::default()) };
    let verdict = linearizable::check(&events, &Story::of(&events), &context);
    let found = is_linearizable::<GrowingSet>(&operations(sketches));
    prop_assert_eq!(verdict.status != Status::Violated, found, "{:#?}", verdict);
    Ok(found)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn the_check_of_reads_and_the_search_agree(sketches in sketches()) {
        agree(&sketches)?;
    }

    /// Reads that mostly show what some order would: more of these histories are linearizable.
    #[test]
    fn they_agree_on_histories_that_are_nearly_right(mut sketches in sketches(), wrong in 0_usize..12) {
        let writes: Vec<(u64, u8)> =
            sketches.iter().filter(|sketch| sketch.read.is_none()).map(|sketch| sketch.from).zip(0..).collect();
        for (number, sketch) in sketches.iter_mut().enumerate() {
            if number != wrong && sketch.read.is_some() {
                let done = writes.iter().filter(|(from, _)| *from < sketch.from + sketch.takes);
                sketch.read = Some(done.map(|(_, element)| *element).collect());
            }
        }
        agree(&sketches)?;
    }
}

#[test]
fn both_kinds_of_history_are_among_those_compared() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut seen = [0_u32; 2];
    for _ in 0..500 {
        let sketches = sketches().new_tree(&mut runner).unwrap().current();
        seen[usize::from(agree(&sketches).unwrap())] += 1;
    }
    assert!(seen.iter().all(|count| *count >= 50), "{seen:?}");
}
