//! A bundle is swapped while others decide by it: every answer is that of one of the two bundles, whole.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use remit_benches::bundle::{self, Fixture, NOW};
use remit_common::policy::{CompiledPolicy, Decision, Relations, decide};

/// Decisions of each thread; swaps go on for as long.
const DECISIONS: usize = 3_000;
const THREADS: usize = 2;

fn answer(policy: &CompiledPolicy, fixture: &Fixture, number: usize) -> String {
    let (authority, call) = &fixture.calls[number % fixture.calls.len()];
    match decide(policy, &fixture.authorities[*authority], call, &Relations::none(), NOW) {
        Decision::Permit(permit) => format!("permit {:?} {:?}", permit.policies, permit.tool.purposes),
        Decision::Deny(denied) => format!("{} {:?}", denied.reason, denied.policies),
    }
}

#[test]
fn every_answer_under_swaps_is_one_of_the_two_bundles() {
    let old = Fixture::new(30).expect("compiles");
    // The same tools, and permits that ask for less; ids are others, so that a mixture would show.
    let mut sources = bundle::sources(30);
    let text = String::from_utf8(sources["policies/all.cedar"].clone()).expect("text");
    let text = text.replace("@id(\"p", "@id(\"q").replace("context.max_records <= 25", "context.max_records <= 24");
    sources.insert("policies/all.cedar".to_owned(), text.into_bytes());
    let new = CompiledPolicy::compile(&sources).expect("compiles");
    let expected: Vec<[String; 2]> =
        (0..old.calls.len()).map(|number| [answer(&old.policy, &old, number), answer(&new, &old, number)]).collect();
    let differing = expected.iter().filter(|[old, new]| old != new).count();
    assert!(differing > 300, "only {differing} calls are answered differently: nothing would show");

    let active = ArcSwap::from_pointee(old.policy.clone());
    let (running, swaps) = (AtomicBool::new(true), AtomicUsize::new(0));
    let seen: Vec<BTreeSet<usize>> = std::thread::scope(|scope| {
        let deciders: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (active, old, expected) = (&active, &old, &expected);
                scope.spawn(move || {
                    let mut seen = BTreeSet::new();
                    for number in (0..DECISIONS).map(|number| number * 7 + thread) {
                        let found = answer(&active.load(), old, number);
                        let by = expected[number % expected.len()].iter().position(|answer| *answer == found);
                        seen.insert(by.unwrap_or_else(|| panic!("`{found}` is neither bundle's answer")));
                    }
                    seen
                })
            })
            .collect();
        let swapper = scope.spawn(|| {
            while running.load(Ordering::Relaxed) {
                for policy in [&new, &old.policy] {
                    active.store(Arc::new(policy.clone()));
                    swaps.fetch_add(1, Ordering::Relaxed);
                    std::thread::yield_now();
                }
            }
        });
        let seen = deciders.into_iter().map(|decider| decider.join().expect("decides")).collect();
        running.store(false, Ordering::Relaxed);
        swapper.join().expect("swaps");
        seen
    });
    assert!(swaps.load(Ordering::Relaxed) >= 2);
    assert!(seen.iter().all(|seen| !seen.is_empty()));
}
