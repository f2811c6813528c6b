//! What the closure and the overlay say is what the walk over all tuples says.

use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use remit_common::policy::relations::{RelationChange, RelationFault, RelationSchema, Relations, Tuple, TupleKey};
use remit_common::time::Timestamp;

const NOW: Timestamp = Timestamp::from_secs(1_000);

/// Relations of the one type that has many; each follows from something that a number picks.
const RELATIONS: [&str; 4] = ["a", "b", "c", "d"];
const OBJECTS: u8 = 6;
const USERS: u8 = 4;

/// A definition, as far as it can be written for every relation.
fn definition(choice: u8, own: usize) -> String {
    let other = |step: usize| RELATIONS[(own + step) % RELATIONS.len()];
    let direct = "[user, user:*, node, node#a, node#b, node#c, node#d]";
    match choice % 10 {
        0 | 1 => direct.to_owned(),
        2 => format!("{direct} or {}", other(1)),
        3 => format!("{direct} or {} from up", other(0)),
        4 => format!("{direct} or {} from up or {}", other(2), other(1)),
        5 => format!("{direct} and {}", other(1)),
        6 => format!("{direct} but not {}", other(1)),
        7 => format!("({direct} or {} from up) but not {}", other(3), other(2)),
        8 => format!("{direct} or ({} and {} from up)", other(1), other(2)),
        _ => format!("[user] or {}", other(1)),
    }
}

fn model(choices: &[u8]) -> Option<RelationSchema> {
    let mut text = "model\n  schema 1.1\ntype user\ntype node\n  relations\n    define up: [node]\n".to_owned();
    for (own, choice) in choices.iter().enumerate() {
        text.push_str(&format!("    define {}: {}\n", RELATIONS[own], definition(*choice, own)));
    }
    RelationSchema::parse("m", text.as_bytes()).ok()
}

fn tuple((object, relation, subject, which, expiry): (u8, u8, u8, u8, u8)) -> Tuple {
    let (object, other) = (object % OBJECTS, which % OBJECTS);
    let text = match (relation % 6, subject % 8) {
        (0 | 1, _) => format!("node:{object}#up@node:{other}"),
        (relation, 0..=3) => format!("node:{object}#{}@user:{}", name(relation), which % USERS),
        (relation, 4) if which % 4 == 0 => format!("node:{object}#{}@user:*", name(relation)),
        (relation, _) => format!("node:{object}#{}@node:{other}#{}", name(relation), name(which)),
    };
    let until = match expiry % 8 {
        0 => " until 1000",
        1 => " until 1001",
        _ => "",
    };
    format!("{text}{until}").parse().expect("a tuple")
}

fn name(number: u8) -> &'static str {
    RELATIONS[usize::from(number) % RELATIONS.len()]
}

type Draw = (u8, u8, u8, u8, u8);

fn draws(most: usize) -> impl Strategy<Value = Vec<Draw>> {
    prop::collection::vec(any::<Draw>(), 0..most)
}

#[test]
fn the_closure_and_what_came_after_it_answer_as_the_walk_does() {
    let strategy = (
        prop::collection::vec(any::<u8>(), RELATIONS.len()),
        draws(24),
        prop::collection::vec((draws(3), draws(3), any::<bool>()), 0..4),
    );
    let mut runner = TestRunner::new(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(250) });
    let (mut yes, mut no, mut none, mut loose) = (0_usize, 0_usize, 0_usize, 0_usize);
    let counts = std::cell::RefCell::new((&mut yes, &mut no, &mut none, &mut loose));
    runner
        .run(&strategy, |(choices, tuples, changes)| {
            let Some(schema) = model(&choices).map(Arc::new) else { return Ok(()) };
            let mut relations = Relations::new(schema.clone(), 1, tuples.iter().copied().map(tuple));
            let mut plain: std::collections::BTreeMap<TupleKey, Tuple> = std::collections::BTreeMap::new();
            let fits = |tuple: &Tuple| schema.check(&tuple.key).is_ok();
            plain.extend(tuples.iter().copied().map(tuple).filter(fits).map(|tuple| (tuple.key.clone(), tuple)));
            check(&relations, &schema, &plain, &counts)?;
            for (revision, (add, remove, tidy)) in (2..).zip(changes) {
                let add: Vec<Tuple> = add.into_iter().map(tuple).collect();
                // Half of what goes is there.
                let held = plain.keys().nth(usize::from(remove.first().map_or(0, |draw| draw.0)) % plain.len().max(1));
                let mut remove: Vec<TupleKey> = remove.into_iter().map(|draw| tuple(draw).key).collect();
                remove.extend(held.cloned());
                plain.extend(add.iter().filter(|tuple| fits(tuple)).map(|tuple| (tuple.key.clone(), tuple.clone())));
                plain.retain(|key, _| !remove.contains(key));
                relations = relations.apply(&RelationChange { revision, replace: false, add, remove });
                if tidy {
                    relations = relations.compacted();
                }
                check(&relations, &schema, &plain, &counts)?;
            }
            Ok(())
        })
        .expect("they agree");
    println!("{yes} hold, {no} do not, {none} have no answer, {loose} over changes");
    assert!(yes > 1_000 && no > 10_000 && loose > 5_000, "{yes} {no} {none} {loose}");
}

type Counts<'a> = std::cell::RefCell<(&'a mut usize, &'a mut usize, &'a mut usize, &'a mut usize)>;

fn check(
    relations: &Relations,
    schema: &Arc<RelationSchema>,
    plain: &std::collections::BTreeMap<TupleKey, Tuple>,
    counts: &Counts<'_>,
) -> Result<(), TestCaseError> {
    let anew = Relations::new(schema.clone(), 0, plain.values().cloned());
    let mut held: Vec<Tuple> = relations.tuples();
    held.sort();
    prop_assert_eq!(&held, &plain.values().cloned().collect::<Vec<_>>());
    prop_assert_eq!(relations.len(), held.len());
    for object in 0..OBJECTS {
        for relation in RELATIONS {
            for user in 0..=USERS {
                let question: TupleKey = format!("node:{object}#{relation}@user:{user}").parse().expect("a question");
                let TupleKey { object, relation, subject } = &question;
                let walked = anew.check_by_walking(object, relation, subject, NOW);
                let found = relations.check(object, relation, subject, NOW);
                let mut counts = counts.borrow_mut();
                match (&walked, &found) {
                    (Ok(true), _) => *counts.0 += 1,
                    (Ok(false), _) => *counts.1 += 1,
                    (Err(_), _) => *counts.2 += 1,
                }
                *counts.3 += usize::from(relations.loose() > 0);
                // Where the walk gives up for length or depth, the closure may still know; never the other way, and
                // never another answer.
                let agree = match (&walked, &found) {
                    (Err(RelationFault::TooDeep | RelationFault::TooMany), Ok(_)) | (Err(_), Err(_)) => true,
                    // Which way is the first to be too long depends on what is looked at first.
                    (Ok(_), Err(RelationFault::TooDeep | RelationFault::TooMany)) => true,
                    (walked, found) => walked == found,
                };
                prop_assert!(agree, "{}: walked {:?}, found {:?}", question, walked, found);
            }
        }
    }
    Ok(())
}
