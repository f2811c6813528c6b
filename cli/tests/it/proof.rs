//! Proofs about bundles (clauses B-45 and B-46), by a real solver where the tests are marked: `cli/tests/cvc5/run.sh`.

use std::path::Path;

use serde_json::Value;

use crate::process::{read, remit, stdout_of, write};

const RENEWAL: &str = "policies/renewal.cedar";
const LIMITS: &str = "policies/limits.cedar";

/// Writes the example twice, and replaces text of one file in the second.
fn bundles(folder: &Path, file: &str, from: &str, to: &str) {
    for name in ["old", "new"] {
        stdout_of(&remit(folder, &["bundle", "new", name]), 0);
    }
    let path = folder.join("new").join(file);
    let text = String::from_utf8(read(&path)).unwrap();
    assert!(text.contains(from), "{text}");
    write(&path, text.replace(from, to).as_bytes());
}

fn prove(folder: &Path, solver: &str, code: i32) -> Vec<Value> {
    let args = ["bundle", "diff", "old", "new", "--prove", "--solver", solver, "--budget", "3600", "--json"];
    let shown: Value = serde_json::from_str(&stdout_of(&remit(folder, &args), code)).unwrap();
    let findings = shown["proof"]["findings"].as_array().unwrap().clone();
    // Six tools, each for the agent that calls, an agent above it, and the human.
    assert_eq!(findings.len(), 18, "{shown}");
    findings
}

#[expect(clippy::disallowed_methods, reason = "the script that installs the solver names it")]
fn solver() -> String {
    std::env::var("REMIT_CVC5").expect("REMIT_CVC5 names cvc5; cli/tests/cvc5/run.sh installs one")
}

/// Action and whom of the findings with a verdict.
fn with(findings: &[Value], verdict: &str) -> Vec<(String, String)> {
    let found = findings.iter().filter(|finding| finding["verdict"] == verdict);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut found: Vec<_> = found.map(|finding| (text(&finding["action"]), text(&finding["who"]))).collect();
    found.sort();
    found
}

fn by_solver(findings: &[Value]) -> usize {
    findings.iter().filter(|finding| finding["verdict"] == "proven" && finding["solver"] == true).count()
}

fn of(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(action, who)| ((*action).to_owned(), (*who).to_owned())).collect()
}

#[test]
fn what_is_the_same_needs_no_solver_and_what_is_not_says_how_to_get_one() {
    let folder = tempfile::tempdir().unwrap();
    // A text for people is no difference.
    bundles(folder.path(), RENEWAL, "@id(\"renewal.ticket\")", "@id(\"renewal.ticket\") @note(\"new\")");
    let findings = prove(folder.path(), "/no/such/solver", 0);
    assert_eq!((with(&findings, "proven").len(), by_solver(&findings)), (18, 0));

    let folder = tempfile::tempdir().unwrap();
    bundles(folder.path(), RENEWAL, "context.max_records <= 100", "context.max_records <= 90");
    let findings = prove(folder.path(), "/no/such/solver", 4);
    assert_eq!(with(&findings, "unknown"), of(&[("contracts.read", "caller"), ("crm.read", "caller")]));
    assert!(findings.iter().any(|finding| finding["why"].as_str().is_some_and(|why| why.contains("REMIT_CVC5"))));
    // Without being asked for, nothing is proven, and nothing said about it.
    stdout_of(&remit(folder.path(), &["bundle", "diff", "old", "new"]), 0);
}

#[test]
fn another_schema_or_other_entities_are_not_proven_about() {
    let folder = tempfile::tempdir().unwrap();
    bundles(folder.path(), "schema.cedarschema", "entity Team;", "entity Team;\nentity Office;");
    let args = ["bundle", "diff", "old", "new", "--prove", "--solver", "/no/such/solver"];
    let shown = stdout_of(&remit(folder.path(), &args), 4);
    assert!(shown.contains("unknown: needs an approval") && shown.contains("schema.cedarschema"), "{shown}");
}

#[test]
#[ignore = "needs a solver: cli/tests/cvc5/run.sh"]
fn proof_that_other_words_for_the_same_rule_permit_the_same() {
    let folder = tempfile::tempdir().unwrap();
    bundles(folder.path(), RENEWAL, "context.max_records <= 100", "!(100 < context.max_records)");
    let findings = prove(folder.path(), &solver(), 0);
    assert_eq!((with(&findings, "proven").len(), by_solver(&findings)), (18, 2));
}

#[test]
#[ignore = "needs a solver: cli/tests/cvc5/run.sh"]
fn proof_that_a_narrower_condition_permits_nothing_new() {
    let folder = tempfile::tempdir().unwrap();
    bundles(folder.path(), RENEWAL, "context.max_records <= 100", "context.max_records <= 90");
    let findings = prove(folder.path(), &solver(), 0);
    assert_eq!((with(&findings, "proven").len(), by_solver(&findings)), (18, 2));
}

#[test]
#[ignore = "needs a solver: cli/tests/cvc5/run.sh"]
fn proof_fails_for_a_wider_condition_with_a_request_that_shows_it() {
    let folder = tempfile::tempdir().unwrap();
    bundles(folder.path(), RENEWAL, "context.max_records <= 100", "context.max_records <= 120");
    let findings = prove(folder.path(), &solver(), 4);
    assert_eq!(with(&findings, "wider"), of(&[("contracts.read", "caller"), ("crm.read", "caller")]));
    for finding in findings.iter().filter(|finding| finding["verdict"] == "wider") {
        let records = finding["request"]["context"]["max_records"].as_i64().unwrap();
        assert!((101..=120).contains(&records), "{finding}");
    }
    let args = ["bundle", "diff", "old", "new", "--prove", "--solver", &solver(), "--budget", "3600"];
    let shown = stdout_of(&remit(folder.path(), &args), 4);
    assert!(shown.contains("before: denied, nothing permits it"), "{shown}");
}

#[test]
#[ignore = "needs a solver: cli/tests/cvc5/run.sh"]
fn proof_fails_for_a_new_broad_permit_at_its_action_alone() {
    let folder = tempfile::tempdir().unwrap();
    let broad = "@id(\"broad\") permit (principal, action == Action::\"contracts.export\", resource);\n\n";
    let first = "@id(\"renewal.read\")";
    bundles(folder.path(), RENEWAL, first, &format!("{broad}{first}"));
    let findings = prove(folder.path(), &solver(), 4);
    assert_eq!(with(&findings, "wider"), of(&[("contracts.export", "caller")]));
    assert_eq!(with(&findings, "proven").len(), 17);
}

#[test]
#[ignore = "needs a solver: cli/tests/cvc5/run.sh"]
fn proof_fails_for_everything_when_a_forbid_about_everything_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    // Still there, and out of reach.
    bundles(folder.path(), LIMITS, "context.chain_depth > 4", "context.chain_depth > 4000");
    let findings = prove(folder.path(), &solver(), 4);
    assert_eq!(with(&findings, "wider").len(), 18, "{findings:?}");
}

/// Permits are never asked of the human, so that a forbid about humans alone is held back by nothing else.
#[test]
#[ignore = "needs a solver: cli/tests/cvc5/run.sh"]
fn proof_fails_when_a_forbid_about_humans_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    bundles(
        folder.path(),
        LIMITS,
        "principal in Team::\"finance\"",
        "principal in Team::\"finance\" || principal in Team::\"sales\"",
    );
    let findings = prove(folder.path(), &solver(), 4);
    assert_eq!(with(&findings, "wider"), of(&[("billing.update", "human"), ("contracts.export", "human")]));
    assert_eq!(with(&findings, "proven").len(), 16);
}
