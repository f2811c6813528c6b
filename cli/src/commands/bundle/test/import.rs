//! `remit bundle test --import`: the test files of Cedar's own command.

use std::path::Path;

use remit_common::bundle::source::BundleSource;
use remit_common::limits::BUNDLE_FILE_BYTES_MAX;
use remit_common::policy::{CedarOutcome, CedarTest, CompiledPolicy};
use serde_json::json;

use super::faulty;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::files;

pub(super) fn run(
    file: &Path,
    filter: Option<&str>,
    (source, policy): (&BundleSource, &CompiledPolicy),
    context: &Context,
) -> Result<Exit, Failure> {
    let bytes = files::read(&context.env, file, BUNDLE_FILE_BYTES_MAX)?;
    let mut tests: Vec<CedarTest> = serde_json::from_slice(&bytes).map_err(|error| {
        let at = format!("{}:{}:{}", file.display(), error.line(), error.column());
        let whole = error.to_string();
        let message = format!("{at}: {}", whole.split(" at line ").next().unwrap_or(&whole));
        let hint = "a list of {name, request {principal, action, resource, context}, entities, decision, reason, \
                    num_errors}, as `cedar run-tests` takes it";
        Failure::new(Exit::Fault, message).reason("not_cedar_tests").hint(hint)
    })?;
    tests.retain(|test| filter.is_none_or(|text| test.name.contains(text)));
    let outcomes = policy.run_cedar_tests(&tests, &source.files).map_err(|faults| faulty(&faults, source))?;
    let output = &context.output;
    let (mut passed, mut failed, mut left_out) = (0usize, 0usize, 0usize);
    let mut rows = Vec::new();
    for (test, outcome) in tests.iter().zip(outcomes) {
        let (word, mark, why) = match outcome {
            CedarOutcome::Passed => ("passed", String::new(), Vec::new()),
            CedarOutcome::Failed(differences) => ("failed", output.bad("failed"), differences),
            CedarOutcome::LeftOut(why) => ("left_out", output.strong("left out"), vec![why]),
        };
        match word {
            "passed" => passed += 1,
            "failed" => failed += 1,
            _ => left_out += 1,
        }
        if word != "passed" {
            output.line(format!("{mark} {}", test.name));
            why.iter().for_each(|why| output.line(format!("  {why}")));
        }
        rows.push(json!({ "name": test.name, "outcome": word, "why": why }));
    }
    let exit = match (passed + failed, failed) {
        (0, _) => Exit::Vacuous,
        (_, 0) => Exit::Done,
        _ => Exit::Fault,
    };
    output.document(&json!({
        "ok": exit == Exit::Done, "passed": passed, "failed": failed, "left_out": left_out, "tests": rows,
    }));
    let word = if failed == 0 && passed > 0 { output.good("passed") } else { output.bad("passed") };
    output.line(format!(
        "{word}   {passed} of {} tests; {left_out} left out, which cannot be asked of this bundle",
        tests.len()
    ));
    output.line(output.faint(
        "Asked of the rules alone: no envelope, no catalogue, and a forbid that fails is skipped, as Cedar does.",
    ));
    Ok(exit)
}
