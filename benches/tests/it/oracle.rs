//! The decision oracle (clause P-26): our engine and stock Cedar give exactly its answers, ids included.

use remit_benches::generated;
use remit_benches::oracle::{Expect, Ours, SETS, Set, Stock, in_words};
use remit_common::policy::engines::cedar::Ask;

fn check(set: &Set) {
    let ours = Ours::new(set).expect("compiles");
    let mut permitted = 0;
    for (number, case) in set.cases().expect("reads").iter().enumerate() {
        let place = format!("case {number} of {}", set.permits);
        let everything = in_words(&ours.answer(&case.request, Ask::Everything));
        assert_eq!(everything, case.expect, "{place}");

        // What a decision asks for stops at the forbids, and says the same about permission.
        let decision = in_words(&ours.answer(&case.request, Ask::Decision));
        let decided_by_permits = if case.expect.forbids.is_empty() { case.expect.permits.clone() } else { Vec::new() };
        assert_eq!(decision, Expect { permits: decided_by_permits, ..case.expect.clone() }, "{place}");
        permitted += usize::from(decision.permit);
    }
    assert_eq!(permitted, set.permitted);
}

#[test]
fn ten_permits_and_three_forbids() {
    check(&SETS[0]);
}

#[test]
fn a_hundred_permits_and_three_forbids() {
    check(&SETS[1]);
}

#[test]
fn a_thousand_permits_and_three_forbids() {
    check(&SETS[2]);
}

#[test]
fn stock_cedar_gives_the_same_answers() {
    for set in &SETS[..2] {
        let stock = Stock::new(set).expect("parses");
        for (number, case) in set.cases().expect("reads").iter().enumerate() {
            let Expect { permit, permits, forbids } = &case.expect;
            let decided_by = if forbids.is_empty() { permits } else { forbids };
            let verdict = stock.verdict(&case.request).expect("answers");
            assert_eq!(verdict, (*permit, decided_by.clone()), "case {number} of {}", set.permits);
        }
    }
}

#[test]
fn the_generator_makes_the_committed_policies() {
    for set in &SETS {
        let permits = u64::try_from(set.permits).expect("few");
        assert_eq!(generated::policies(permits), set.policies, "{permits} permits");
    }
}

#[test]
fn the_generator_is_the_same_everywhere_and_aims_at_permits() {
    let set = generated::set(1_000);
    assert_eq!(set, generated::set(1_000));
    assert!((250..750).contains(&set.permitted), "{} of 1 000 permitted: a lopsided set", set.permitted);
    check(&set);
}

/// The bench asks stock Cedar all of them; it needs 17 ms for one when optimised, and far more here.
#[test]
fn ten_thousand_permits_and_three_forbids() {
    let set = generated::set(10_000);
    assert!((250..750).contains(&set.permitted), "{} of 1 000 permitted: a lopsided set", set.permitted);
    check(&set);
}

#[test]
fn stock_cedar_agrees_with_the_generators_arithmetic() {
    let set = generated::set(100);
    let stock = Stock::new(&set).expect("parses");
    for (number, case) in set.cases().expect("reads").iter().enumerate() {
        let Expect { permit, permits, forbids } = &case.expect;
        let decided_by = if forbids.is_empty() { permits } else { forbids };
        assert_eq!(stock.verdict(&case.request).expect("answers"), (*permit, decided_by.clone()), "case {number}");
    }
}
