//! Histories that keep every promise, and the same with one promise broken: exactly that one must be found broken, by the
//! events that show it.

mod model;
mod planted;
mod sets;
mod tamper;
mod wgl;

use proptest::prelude::*;

use super::{Invariant, Judgement, Minimums, Outcome, Status, Verdict, check};
use crate::history::{Event, What, jsonl};

fn broken(judgement: &Judgement) -> Vec<Invariant> {
    judgement.violated().map(|verdict| verdict.id).collect()
}

fn seeds() -> ProptestConfig {
    ProptestConfig { cases: 12, max_shrink_iters: 0, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(seeds())]

    #[test]
    fn a_mesh_that_keeps_its_promises_is_found_to(seed: u64) {
        let events = model::history(seed);
        let judgement = check(&events, &model::context());
        let ids: Vec<_> = judgement.verdicts.iter().map(|verdict| verdict.id).collect();
        prop_assert_eq!(ids, Invariant::ALL.to_vec());
        // In a few of these short histories too little happens to judge by; more than a few are a fault.
        let is_unmeasured = |verdict: &Verdict| {
            matches!(verdict.id, Invariant::Withdrawal | Invariant::Waves | Invariant::WayBack)
                && verdict.status == Status::NotMeasured
        };
        prop_assume!(judgement.vacuous.is_none() && !judgement.verdicts.iter().any(is_unmeasured));
        for verdict in &judgement.verdicts {
            prop_assert_eq!(verdict.status, Status::Held, "{:#?}", verdict);
        }
        prop_assert_eq!(judgement.outcome(), Outcome::Held);
        prop_assert_eq!(judgement.figures.records_lost, 0);
        prop_assert_eq!(judgement.figures.reads_refused_by_failure, 0);
    }

    /// A file that somebody changed may hold anything; what comes of it does not matter here.
    #[test]
    fn no_history_makes_a_judge_panic(seed: u64, picks in prop::collection::vec(any::<u64>(), 200)) {
        let mut events = model::history(seed);
        for pair in picks.chunks_exact(2) {
            let place = |pick: u64| usize::try_from(pick).unwrap() % events.len();
            let (to, from) = (place(pair[0]), place(pair[1]));
            match pair[0] % 7 {
                0 => events[to].time_us = pair[1],
                1 => events[to].index = pair[1],
                2 => events.swap(to, from),
                3 => events[to].what = events[from].what.clone(),
                4 => events[to].kind = events[from].kind,
                5 => {
                    events.remove(to);
                }
                _ => events.push(events[from].clone()),
            }
        }
        let _ = check(&events, &model::context());
    }

    #[test]
    fn a_history_reads_back_as_it_was_written(seed: u64) {
        let events = model::history(seed);
        prop_assert_eq!(jsonl::read(jsonl::write(&events).as_bytes()).unwrap(), events);
    }
}

#[test]
fn an_empty_history_measures_nothing_and_is_vacuous() {
    let judgement = check(&[], &model::context());
    assert!(judgement.verdicts.iter().all(|verdict| verdict.status == Status::NotMeasured));
    assert_eq!(judgement.outcome(), Outcome::Vacuous);
}

#[test]
fn a_run_without_one_kind_of_event_is_vacuous_and_says_which() {
    let events = model::history(1);
    let check = |is_kind: fn(&What) -> bool, missing: &str| {
        let rest: Vec<Event> = events.iter().filter(|event| !is_kind(&event.what)).cloned().collect();
        assert!(rest.len() < events.len(), "{missing}: there was nothing to leave out");
        let vacuous = check(&rest, &model::context()).vacuous.expect(missing);
        assert!(vacuous.missing.iter().any(|less| less.what == missing && less.seen < less.least), "{vacuous:?}");
    };
    check(|what| matches!(what, What::Call(_)), "calls");
    check(|what| matches!(what, What::Call(_)), "permits");
    check(|what| matches!(what, What::Write(_)), "acknowledged revocations");
    check(|what| matches!(what, What::Read(_)), "linearizable reads");
    check(|what| matches!(what, What::Edge(_)), "polls of edges");
    check(|what| matches!(what, What::Voter(_)), "polls of voters");
    check(|what| matches!(what, What::Record(_)), "records seen");
    check(|what| matches!(what, What::Fault { .. }), "faults");
}

#[test]
fn a_breach_is_one_however_little_happened() {
    let mut events = model::history(2);
    events.retain(|event| !matches!(event.what, What::Call(_)));
    let last = events.last().unwrap();
    let canary = What::Canary { place: "the log of voter 1".to_owned() };
    events.push(Event { index: last.index + 1, what: canary, ..last.clone() });
    let judgement = check(&events, &model::context());
    assert!(judgement.vacuous.is_some());
    assert_eq!(judgement.outcome(), Outcome::Violated);
    assert_eq!(broken(&judgement), [Invariant::Secrecy]);
}

#[test]
fn without_minimums_nothing_is_vacuous() {
    let context = super::Context { minimums: Minimums::NONE, ..model::context() };
    assert_eq!(check(&[], &context).vacuous, None);
}
