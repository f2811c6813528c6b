//! The bundle fixture decides in both ways, so that its bench measures both.

use std::collections::BTreeMap;

use remit_benches::bundle::{Fixture, NOW};
use remit_common::policy::{Decision, Relations, decide};

#[test]
fn the_fixture_permits_and_denies() {
    let fixture = Fixture::new(100).expect("compiles");
    assert_eq!(fixture.policy.policies(), 103);
    let mut answers: BTreeMap<&str, usize> = BTreeMap::new();
    for (authority, call) in &fixture.calls {
        let answer = match decide(&fixture.policy, &fixture.authorities[*authority], call, &Relations::none(), NOW) {
            Decision::Permit(_) => "permit",
            Decision::Deny(denied) => denied.reason.as_str(),
        };
        *answers.entry(answer).or_default() += 1;
    }
    let count = |reason: &str| answers.get(reason).copied().unwrap_or_default();
    assert!(count("permit") > 400 && count("no_matching_policy") > 100 && count("forbidden") > 10, "{answers:?}");
    assert_eq!(answers.len(), 3, "{answers:?}");
}
