//! What one bundle permits that another does not, on the example that users copy. Clauses B-35 to B-39.

use std::collections::BTreeMap;

use remit_common::bundle::CompiledBundle;
use remit_common::bundle::diff::{Budget, Comparison, Kind, Origin, compare};
use remit_common::bundle::source::{BuildOverrides, BundleSource};
use remit_common::id::MeshId;
use remit_common::policy::Reason;

use super::{NOW, example};

pub(super) fn bundle(files: BTreeMap<String, Vec<u8>>) -> CompiledBundle {
    let mut files = files;
    let toml = "name = \"example\"\ntenant = \"acme\"\nversion = 1\ncreated = 2026-11-01T00:00:00Z\n[limits]\nchain_links = 5\n";
    files.entry("bundle.toml".to_owned()).or_insert_with(|| toml.as_bytes().to_vec());
    let overrides = BuildOverrides { mesh_id: Some(MeshId([1; 16])), ..BuildOverrides::default() };
    let built = BundleSource { files }.build(&overrides).unwrap_or_else(|faults| panic!("{faults:#?}"));
    built.check().unwrap_or_else(|rejected| panic!("{rejected:#?}"))
}

/// The example with one text replaced by another, once.
pub(super) fn changed(file: &str, from: &str, to: &str) -> CompiledBundle {
    let mut files = example();
    let text = String::from_utf8(files.remove(file).expect("file")).expect("text");
    assert!(text.contains(from), "`{from}` is not in {file}");
    files.insert(file.to_owned(), text.replacen(from, to, 1).into_bytes());
    bundle(files)
}

fn differ(old: &CompiledBundle, new: &CompiledBundle) -> Comparison {
    compare(old, new, &[], NOW, Budget::VOTER)
}

pub(super) const RENEWAL: &str = "policies/renewal.cedar";
const LIMITS: &str = "policies/limits.cedar";

#[test]
fn a_bundle_permits_nothing_that_it_does_not_permit() {
    let found = differ(&bundle(example()), &bundle(example()));
    assert!(!found.widens());
    assert!(found.findings.is_empty() && found.changes.is_empty(), "{found:#?}");
    // A text that reads otherwise and says the same is no change.
    let commented = changed(RENEWAL, "permit (", "permit ( // anybody?\n");
    assert!(differ(&bundle(example()), &commented).changes.is_empty());
}

/// "Up to 100 records" becomes "up to 120": somebody asks for 101.
#[test]
fn a_widened_condition_is_found_with_a_concrete_request() {
    let wider = changed(RENEWAL, "context.max_records <= 100", "context.max_records <= 120");
    let found = differ(&bundle(example()), &wider);
    assert!(found.widens());
    let finding = found
        .findings
        .iter()
        .find(|finding| finding.kind == Kind::NewlyPermitted && finding.action.as_str() == "contracts.read")
        .unwrap_or_else(|| panic!("{found:#?}"));
    assert_eq!(finding.role.as_str(), "renewal-analyst");
    let exemplar = finding.exemplars.first().expect("a request");
    assert!((101..=120).contains(&exemplar.request.max_records.expect("records")), "{exemplar:#?}");
    assert!(exemplar.request.purpose.starts_with("review."), "{exemplar:#?}");
    assert_eq!((exemplar.old.reason, exemplar.new.reason), (Some(Reason::NoMatchingPolicy), Some(Reason::Permit)));
    let rule = exemplar.new.policies.first().expect("a rule");
    assert_eq!((rule.policy.as_str(), rule.file.as_str()), ("renewal.read", RENEWAL));
    assert!(found.summary().contains("newly permitted: `contracts.read` for `renewal-analyst`"), "{}", found.summary());

    // The other way round it is a denial, and nothing to approve.
    let narrower = differ(&wider, &bundle(example()));
    assert!(!narrower.widens(), "{narrower:#?}");
    assert!(narrower.count(Kind::NewlyDenied) > 0);
}

#[test]
fn a_forbid_that_is_dropped_or_flipped_is_found_where_something_permits() {
    let example = bundle(example());
    let from = "@id(\"limits.urgent-needs-a-human\")\nforbid (\n    principal,\n    action == Action::\"tickets.create\",\n    \
                resource\n) when {\n    context.args has priority && context.args.priority == \"urgent\"\n};\n";
    let dropped = differ(&example, &changed(LIMITS, from, ""));
    let found = dropped.findings.iter().find(|finding| finding.kind == Kind::NewlyPermitted).expect("a finding");
    let exemplar = found.exemplars.first().expect("a request");
    assert_eq!(found.action.as_str(), "tickets.create");
    assert_eq!(exemplar.request.arguments.get("priority").and_then(|value| value.as_str()), Some("urgent"));
    assert_eq!(exemplar.old.reason, Some(Reason::Forbidden));
    assert_eq!(exemplar.old.policies.first().expect("a rule").policy.as_str(), "limits.urgent-needs-a-human");

    let flipped = differ(&example, &changed(LIMITS, "context.chain_depth > 4", "context.chain_depth > 2"));
    assert!(flipped.count(Kind::NewlyPermitted) == 0 && flipped.count(Kind::NewlyDenied) > 0, "{flipped:#?}");
    let finance = changed(LIMITS, "principal in Team::\"finance\"", "principal in Team::\"customer-success\"");
    let finance = differ(&example, &finance);
    let maya = finance.findings.iter().find(|finding| finding.kind == Kind::NewlyPermitted).expect("a finding");
    assert_eq!(maya.exemplars.first().expect("a request").request.delegator, "user:maya@customer-success.example");
}

#[test]
fn what_is_wider_without_any_request_is_said() {
    let example = bundle(example());
    let mut files = super::example();
    let toml = "name = \"example\"\ntenant = \"acme\"\nversion = 2\ncreated = 2026-11-01T00:00:00Z\n[limits]\nchain_links = 5\n[bounds]\nread = 900\n";
    files.insert("bundle.toml".to_owned(), toml.as_bytes().to_vec());
    let bounds = differ(&example, &bundle(files));
    assert!(bounds.widens() && bounds.findings.is_empty());
    assert!(bounds.summary().contains("900 s instead of 300 s"), "{}", bounds.summary());
}

#[test]
fn a_role_that_an_entity_brings_is_found() {
    let from = "{ \"uid\": { \"type\": \"User\", \"id\": \"user:maya@customer-success.example\" }, \"attrs\": {},\n    \
                \"parents\": [{ \"type\": \"Team\", \"id\": \"customer-success\" }] }";
    let promoted = changed("entities.json", from, &from.replace("customer-success\" }] }", "finance\" }] }"));
    let found = differ(&bundle(example()), &promoted);
    let finding = found.findings.iter().find(|finding| finding.kind == Kind::NewlyPermitted).expect("a finding");
    assert!(["billing.update", "contracts.export"].contains(&finding.action.as_str()));
}

#[test]
fn asking_is_bounded_and_says_what_it_left_out() {
    let wider = changed(RENEWAL, "context.max_records <= 100", "context.max_records <= 120");
    let example = bundle(example());
    let budget = Budget { generated: 5, ..Budget::VOTER };
    let found = compare(&example, &wider, &[], NOW, budget);
    assert!(found.asked.generated <= 5);
    assert!(found.uncovered.iter().any(|line| line.contains("could have been made up")), "{:?}", found.uncovered);
    assert!(
        found
            .findings
            .iter()
            .flat_map(|finding| &finding.exemplars)
            .all(|exemplar| { matches!(exemplar.origin, Origin::Generated { .. }) })
    );
    // The same question gets the same answer, byte for byte.
    assert_eq!(differ(&example, &wider).digest(), differ(&example, &wider).digest());
}

/// A hundred and twenty forbids that all changed: what is made up stays within the budget, and says so.
#[test]
fn many_policies_about_one_tool_stay_within_the_budget() {
    let many = |limit: usize| {
        let forbid = |number: usize| {
            format!(
                "@id(\"many.{number}\")\nforbid (principal, action == Action::\"contracts.read\", resource)\nwhen {{ \
                 context.max_records > {} && context.delegator == \"user:{number}\" }};\n",
                limit + number
            )
        };
        let mut files = example();
        files.insert("policies/many.cedar".to_owned(), (0..120).map(forbid).collect::<String>().into_bytes());
        bundle(files)
    };
    let found = differ(&many(10), &many(20));
    assert!(found.asked.generated <= 1_000 && found.changes.len() == 120, "{:?}", found.asked);
    assert!(found.count(Kind::NewlyPermitted) > 0, "{:?}", found.uncovered);
    assert!(found.left_out > 0 && found.loosened().any(|change| change.name.starts_with("many.")));
    assert!(found.uncovered.iter().any(|line| line.contains("could have been made up")));
}
