//! OpenFGA's own checks (repository openfga/openfga, assets/tests), played through our reader and our engine. The files
//! are theirs and not part of this repository: `REMIT_TEST_DATA` says where they are.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use remit_common::policy::relations::{
    Object, RelationChange, RelationFault, RelationSchema, Relations, Subject, Tuple, TupleKey,
};
use remit_common::time::Timestamp;
use serde::Deserialize;
use serde_yaml_ng::Value;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

#[derive(Deserialize)]
struct File {
    tests: Vec<Test>,
}

#[derive(Deserialize)]
struct Test {
    name: String,
    stages: Vec<Stage>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stage {
    model: String,
    #[serde(default)]
    tuples: Option<Vec<TheirTuple>>,
    #[serde(default)]
    check_assertions: Option<Vec<Assertion>>,
}

#[derive(Deserialize, Clone)]
struct TheirTuple {
    object: String,
    relation: String,
    user: String,
    condition: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Assertion {
    tuple: TheirTuple,
    #[serde(default)]
    contextual_tuples: Option<Vec<TheirTuple>>,
    #[serde(default)]
    expectation: bool,
    error_code: Option<u32>,
}

impl TheirTuple {
    /// `None` for what our alphabets do not let be a tuple.
    fn key(&self) -> Option<TupleKey> {
        let object: Object = self.object.parse().ok()?;
        let subject: Subject = self.user.parse().ok()?;
        Some(TupleKey { object, relation: self.relation.clone(), subject })
    }
}

/// What came of an expectation: given, refused for a reason of ours, or something else than was expected.
fn play(schema: &Arc<RelationSchema>, stored: &Relations, assertion: &Assertion) -> Result<&'static str, String> {
    let contextual = assertion.contextual_tuples.iter().flatten();
    let contextual: Option<Vec<TupleKey>> =
        contextual.map(|tuple| tuple.key().filter(|key| schema.check(key).is_ok())).collect();
    let answer = contextual.and_then(|keys| {
        let add = keys.into_iter().map(Tuple::from).collect();
        let relations = stored.apply(&RelationChange { revision: 2, add, ..RelationChange::default() });
        let TupleKey { object, relation, subject } = assertion.tuple.key()?;
        let answer = relations.check(&object, &relation, &subject, NOW);
        let walked = relations.check_by_walking(&object, &relation, &subject, NOW);
        assert_eq!(answer, walked, "the closure differs from the walk");
        let tidy = relations.compacted().check(&object, &relation, &subject, NOW);
        assert_eq!(answer, tidy, "the closure differs from the overlay");
        Some(answer)
    });
    let circular = matches!(answer, Some(Err(RelationFault::Circular { .. })));
    match (answer.and_then(Result::ok), assertion.error_code) {
        (None, None) if circular && !assertion.expectation => Ok("circular through `but not`: no answer, which denies"),
        (Some(found), None) if found == assertion.expectation => Ok("answered as expected"),
        (None, Some(_)) => Ok("refused as expected"),
        // A subject that cannot stand in any relation there: OpenFGA refuses the question, we say no.
        (Some(false), Some(2000)) => Ok("refused by OpenFGA, denied by us"),
        (found, code) => Err(format!("found {found:?}, expected {} or error {code:?}", assertion.expectation)),
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the data of others lies outside, where the environment says")]
fn openfgas_own_checks_are_answered_as_openfga_does() {
    let Ok(data) = std::env::var("REMIT_TEST_DATA") else {
        println!("skipped: REMIT_TEST_DATA does not say where OpenFGA's tests are");
        return;
    };
    let (mut counts, mut tests) = (BTreeMap::<&str, usize>::new(), 0);
    let mut wrong = Vec::new();
    for file in ["consolidated_1_1_tests.yaml", "abac_tests.yaml"] {
        let path = PathBuf::from(&data).join("rebac/openfga").join(file);
        let text = std::fs::read(&path).expect("OpenFGA's tests can be read");
        let file: File = serde_yaml_ng::from_slice(&text).expect("they have the shape that is known");
        for test in file.tests {
            tests += 1;
            // A stage finds what the stages before it have left.
            let mut stored_so_far: Vec<TheirTuple> = Vec::new();
            for (number, stage) in test.stages.iter().enumerate() {
                let assertions = stage.check_assertions.as_deref().unwrap_or_default();
                let mut count = |what, n| *counts.entry(what).or_default() += n;
                stored_so_far.extend(stage.tuples.iter().flatten().cloned());
                let schema = match RelationSchema::parse("model.fga", stage.model.as_bytes()) {
                    Ok(schema) => Arc::new(schema),
                    Err(faults) if faults[0].message.starts_with("conditions are not supported") => {
                        count("not supported: conditions", assertions.len());
                        continue;
                    }
                    Err(faults) => {
                        wrong.push(format!("{} stage {number}: the model is refused: {}", test.name, faults[0]));
                        continue;
                    }
                };
                assert!(stored_so_far.iter().all(|tuple| tuple.condition.is_none()), "{}: a condition", test.name);
                let keys = stored_so_far.iter().filter_map(TheirTuple::key).map(Tuple::from);
                let stored = Relations::new(schema.clone(), 1, keys);
                for assertion in assertions {
                    match play(&schema, &stored, assertion) {
                        Ok(what) => count(what, 1),
                        Err(why) => wrong.push(format!(
                            "{} stage {number}: {}#{}@{}: {why}",
                            test.name, assertion.tuple.object, assertion.tuple.relation, assertion.tuple.user
                        )),
                    }
                }
            }
        }
    }
    println!("OpenFGA: {tests} tests, {} expectations", counts.values().sum::<usize>() + wrong.len());
    for (what, count) in &counts {
        println!("{count:>5} {what}");
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!((tests, counts.values().sum::<usize>()), (160, 485));
    assert!(counts["answered as expected"] >= 347, "{counts:?}");
    assert!(counts["not supported: conditions"] <= 125, "{counts:?}");
}
