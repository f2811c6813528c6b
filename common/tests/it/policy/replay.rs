//! Recorded decisions, put to two bundles. Clause B-47.

use remit_common::bundle::CompiledBundle;
use remit_common::bundle::diff::{Budget, Kind, Origin, compare, replay};
use remit_common::id::DecisionId;
use serde_json::{Value, json};

use super::diff::{RENEWAL, bundle, changed};
use super::{NOW, example};

const ONLY_RECORDED: Budget = Budget { generated: 0, ..Budget::VOTER };

/// A record as an edge writes it for a permitted read of contract 7781.
fn permitted(number: u8) -> Value {
    let id = DecisionId::new(NOW, [number; 10]).to_string();
    json!({
        "decision_id": id,
        "input": {
            "delegator": "user:maya@success.example", "purpose": "review.renewal_risk", "agents": ["agent-7"],
            "tool": "contracts.read", "resources": ["Contract::\"7781\""],
            "ids": { "customer": ["4711"], "contract": ["7781"] },
        },
        "remit": {
            "kind": "decision", "reason": "permit", "policies": ["renewal.read"], "max_records": 80, "classes": [1],
        },
    })
}

fn with(mut record: Value, pointer: &str, value: Value) -> Value {
    *record.pointer_mut(pointer).expect(pointer) = value;
    record
}

fn count(records: &[Value], old: &CompiledBundle) -> (usize, Vec<(&'static str, u64)>) {
    let replayed = replay(records, old, old);
    (replayed.questions.len(), replayed.left_out.into_iter().collect())
}

#[test]
fn what_was_permitted_and_no_longer_is_is_found_in_a_record() {
    let old = bundle(example());
    let narrower = changed(RENEWAL, "context.max_records <= 100", "context.max_records <= 60");
    let replayed = replay(&[permitted(1)], &old, &narrower);
    assert_eq!(replayed.questions.len(), 1, "{:?}", replayed.left_out);
    let found = compare(&old, &narrower, &replayed.questions, NOW, ONLY_RECORDED);
    assert_eq!(found.asked.recorded, 1);
    let recorded = |origin: &Origin| matches!(origin, Origin::Recorded { .. });
    let finding = found.findings.iter().find(|finding| finding.exemplars.iter().any(|one| recorded(&one.origin)));
    let finding = finding.unwrap_or_else(|| panic!("{found:#?}"));
    // The class is not recorded: it is the one with which the policy that was recorded decides.
    assert_eq!((finding.kind, finding.role.as_str()), (Kind::NewlyDenied, "renewal-analyst"));
}

#[test]
fn what_a_record_does_not_say_is_not_guessed() {
    let old = bundle(example());
    let left_out = |record: Value, why: &str| {
        let (questions, reasons) = count(std::slice::from_ref(&record), &old);
        let [(found, 1)] = reasons.as_slice() else { panic!("{reasons:?} for {record}") };
        assert!(questions == 0 && found.contains(why), "{found} for {record}");
    };
    left_out(with(permitted(1), "/input/tool", json!("tickets.create")), "look at arguments");
    left_out(with(permitted(1), "/input/tool", json!("nothing.known")), "no such tool");
    left_out(with(permitted(1), "/remit/reason", json!("stale")), "policies did not decide");
    left_out(with(permitted(1), "/remit/reason", json!("no_matching_policy")), "only for what is permitted");
    left_out(with(permitted(1), "/input/ids", json!({})), "ids of its arguments are not recorded");
    left_out(with(permitted(1), "/remit/policies", json!(["classifier.write"])), "does not decide as was recorded");
    left_out(with(permitted(1), "/remit/max_records", json!(500)), "does not decide as was recorded");
    let mut shed = permitted(1);
    shed.as_object_mut().expect("object").remove("input");
    left_out(shed, "shed");
    // What is no decision is not counted.
    assert_eq!(count(&[with(permitted(1), "/remit/kind", json!("result"))], &old), (0, Vec::new()));
}

#[test]
fn an_agent_above_in_the_chain_is_of_the_class_that_its_own_calls_show() {
    let old = bundle(example());
    let helper = with(permitted(2), "/input/agents", json!(["agent-7", "agent-8"]));
    let helper = with(helper, "/remit/policies", json!(["classifier.read"]));
    let (questions, reasons) = count(std::slice::from_ref(&helper), &old);
    assert_eq!((questions, reasons.len()), (0, 1), "{reasons:?}");
    assert_eq!(count(&[helper, permitted(1)], &old), (2, Vec::new()));
}
