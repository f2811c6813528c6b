//! `remit bundle test`: what the bundle answers, compared with what its authors expect.

mod import;

use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};
use remit_common::bundle::CompiledBundle;
use remit_common::bundle::source::{BuildOverrides, BundleSource, UnsignedBundle};
use remit_common::bundle::suite::{self, Cell, CellResult, Coverage, Fate, MutantsRun};
use remit_common::policy::RuleInfo;
use serde_json::{Value, json};

use super::{NO_MESH, build, faulty, read_source, rejected_source};
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::files;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  remit bundle test my-bundle
  remit bundle test my-bundle --coverage --mutate --junit report.xml
  remit bundle test my-bundle --import cedar-tests.json

Exit codes: 0 everything is as expected; 4 a case failed, a rule is not covered or a mutant survived; 6 nothing ran.")]
pub(super) struct Args {
    /// The folder
    dir: PathBuf,
    /// Only cases whose name, cell or file has this text in it
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["coverage", "mutate", "min_coverage"])]
    filter: Option<String>,
    /// Every rule must decide some case; list those that do not
    #[arg(long)]
    coverage: bool,
    /// At least so many of a hundred rules must decide some case
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(0..=100))]
    min_coverage: Option<u32>,
    /// Make each mistake in each rule (drop it, drop a condition, turn a comparison round): some case must fail
    #[arg(long)]
    mutate: bool,
    /// Run a file of Cedar's `run-tests` instead, on the rules alone, as Cedar means them
    #[arg(long, value_name = "FILE", conflicts_with_all = ["coverage", "mutate", "min_coverage", "junit"])]
    import: Option<PathBuf>,
    /// Write the results as JUnit's XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

/// The bundle of a folder, ready to be asked.
struct Subject {
    source: BundleSource,
    bundle: CompiledBundle,
    cells: Vec<Cell>,
}

/// Reads, compiles, and reads the cases.
fn subject(dir: &Path, context: &Context) -> Result<Subject, Failure> {
    let source = read_source(context, dir)?;
    let mut cells = suite::canaries(&source.files).map_err(|fault| faulty(&[fault], &source))?;
    cells.extend(suite::read(&source.files).map_err(|faults| faulty(&faults, &source))?);
    let overrides = BuildOverrides { mesh_id: Some(NO_MESH), ..BuildOverrides::default() };
    let built = build(&source, &overrides)?;
    let bundle = built.compile().map_err(|rejected| rejected_source(&rejected, &source))?;
    suite::check(&cells, &bundle, &source.files).map_err(|faults| faulty(&faults, &source))?;
    Ok(Subject { source, bundle, cells })
}

/// Whether every case passes: what fails its own tests is not built, so nobody is asked to sign it.
pub(super) fn passes(source: &BundleSource, built: &UnsignedBundle) -> Result<(), Failure> {
    let cells = suite::read(&source.files).map_err(|faults| faulty(&faults, source))?;
    let bundle = built.check().map_err(|rejected| rejected_source(&rejected, source))?;
    suite::check(&cells, &bundle, &source.files).map_err(|faults| faulty(&faults, source))?;
    let results: Vec<CellResult<'_>> = cells.iter().map(|cell| suite::run(cell, &bundle)).collect();
    let mut failed = results.iter().filter(|result| !result.passed());
    let Some(first) = failed.next() else { return Ok(()) };
    let Cell { file, line, case, cell, .. } = first.cell;
    let (count, why) = (failed.count().saturating_add(1), first.differences.join("; "));
    let message = format!("{count} of {} cases fail; the first is {file}:{line}: {case}: {cell}: {why}", results.len());
    let hint = "`remit bundle test DIR` says why; `--untested` builds all the same";
    Err(Failure::new(Exit::Fault, message).reason("tests_failed").hint(hint))
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit, Failure> {
    let Subject { source, bundle, cells } = subject(&args.dir, context)?;
    if let Some(file) = &args.import {
        return import::run(file, args.filter.as_deref(), (&source, bundle.policy()), context);
    }
    let wanted = |cell: &&Cell| args.filter.as_ref().is_none_or(|text| cell.is_named(text));
    let results: Vec<CellResult<'_>> = cells.iter().filter(wanted).map(|cell| suite::run(cell, &bundle)).collect();
    let coverage = Coverage::of(bundle.policy().rules(&source.files), &results);
    if let Some(file) = &args.junit {
        files::write(&context.env, file, suite::junit(bundle.manifest().name.as_str(), &results).as_bytes())?;
    }
    let failed = results.iter().filter(|result| !result.passed()).count();
    // With a case that fails already, a mutant shows nothing.
    let mutants = (args.mutate && failed == 0 && !results.is_empty()).then(|| {
        let bar = bar(context);
        let run = suite::mutate(&cells, &bundle, &source.files, |done, all| {
            bar.set_length(u64::try_from(all).unwrap_or(u64::MAX));
            bar.set_position(u64::try_from(done).unwrap_or(u64::MAX));
        });
        bar.finish_and_clear();
        run
    });
    let least = args.min_coverage.or(args.coverage.then_some(100));
    let too_little = least.is_some_and(|least| coverage.percent() < least);
    let survivors = mutants.as_ref().map_or(0, |mutants| mutants.survivors().count());
    let exit = match (results.is_empty(), failed == 0 && !too_little && survivors == 0) {
        (true, _) => Exit::Vacuous,
        (false, true) => Exit::Done,
        (false, false) => Exit::Fault,
    };
    context.output.document(&document(&results, &coverage, mutants.as_ref(), exit == Exit::Done));
    print(context, args, &results, &coverage, mutants.as_ref());
    if exit == Exit::Vacuous {
        let hint = match &args.filter {
            Some(text) => format!("no case has `{text}` in its name"),
            None => "`remit bundle new` writes a bundle with tests to look at".to_owned(),
        };
        context.output.line(format!("{} nothing was tested; {hint}", context.output.bad("vacuous")));
    }
    Ok(exit)
}

fn bar(context: &Context) -> ProgressBar {
    let bar = context.output.progress("making mistakes");
    if let Ok(style) = ProgressStyle::with_template("{msg} {bar:30} {pos}/{len} {elapsed}") {
        bar.set_style(style);
    }
    bar
}

fn print(
    context: &Context,
    args: &Args,
    results: &[CellResult<'_>],
    coverage: &Coverage,
    mutants: Option<&MutantsRun>,
) {
    let output = &context.output;
    for result in results.iter().filter(|result| !result.passed()) {
        let Cell { file, line, column, case, cell, .. } = result.cell;
        output.line(format!("{} {case}: {cell}", output.bad("failed")));
        output.line(format!("  at    {file}:{line}:{column}"));
        for difference in &result.differences {
            output.line(format!("  but   {difference}"));
        }
        if let Ok(verdict) = &result.verdict {
            let rules: Vec<_> = verdict.policies.iter().map(ToString::to_string).collect();
            if !rules.is_empty() {
                output.line(format!("  rules {} ({} in all)", rules.join(", "), verdict.policies_total));
            }
            if !verdict.detail.is_empty() {
                output.line(format!("  why   {}", verdict.detail));
            }
        }
        output.line("");
    }
    let passed = results.iter().filter(|result| result.passed()).count();
    let word = if passed == results.len() { output.good("passed") } else { output.bad("passed") };
    output.line(format!("{word}   {passed} of {} cases", results.len()));
    if args.filter.is_some() {
        return;
    }
    if args.coverage {
        let row = |rule: &suite::RuleCoverage| {
            let RuleInfo { id, forbids, file, line, untested } = &rule.rule;
            let kind = if *forbids { "forbid" } else { "permit" };
            let cells = match untested {
                Some(why) if rule.cells == 0 => format!("excused: {why}"),
                _ => rule.cells.to_string(),
            };
            [id.to_string(), kind.to_owned(), cells, format!("{file}:{line}")]
        };
        output.table(["rule", "effect", "cases that it decides", "where"], coverage.rules.iter().map(row));
    }
    output.line(format!("covered  {} % of {} rules", coverage.percent(), coverage.rules.len()));
    for RuleInfo { id, file, line, .. } in coverage.uncovered() {
        output.line(format!("  no case is decided by `{id}`  {file}:{line}"));
    }
    if let Some(mutants) = mutants {
        let of = |is: fn(&Fate) -> bool| mutants.count(is);
        output.line(format!(
            "mutants  {} of {} noticed, {} refused by check, {} excused, {} survived",
            of(|fate| matches!(fate, Fate::Noticed(_))),
            mutants.mutants.len(),
            of(|fate| *fate == Fate::Refused),
            of(|fate| matches!(fate, Fate::Excused(_))),
            of(|fate| *fate == Fate::Survived),
        ));
        for mutant in mutants.survivors() {
            let at = format!("{}:{}:{}", mutant.file, mutant.line, mutant.column);
            output.line(format!("  no case notices that in `{}` {}  {at}", mutant.policy, mutant.change));
        }
    } else if args.mutate && !results.is_empty() {
        output.line("mutants  not made: a case fails without them");
    }
}

fn document(results: &[CellResult<'_>], coverage: &Coverage, mutants: Option<&MutantsRun>, ok: bool) -> Value {
    let case = |result: &CellResult<'_>| {
        let Cell { file, line, case, cell, request, .. } = result.cell;
        let mut found = json!({
            "file": file, "line": line, "case": case, "cell": cell, "ok": result.passed(), "expected": request.expect,
            "differences": result.differences,
        });
        if let (Ok(verdict), Some(found)) = (&result.verdict, found.as_object_mut()) {
            found.insert("got".to_owned(), json!(verdict.reason));
            found.insert("policies".to_owned(), json!(verdict.policies));
            found.insert("detail".to_owned(), json!(verdict.detail));
        }
        found
    };
    let rule = |rule: &suite::RuleCoverage| {
        let RuleInfo { id, forbids, file, line, untested } = &rule.rule;
        json!({ "rule": id, "forbids": forbids, "file": file, "line": line, "cases": rule.cells, "untested": untested })
    };
    let mutant = |(mutant, fate): &(remit_common::policy::Mutant, Fate)| {
        let (fate, by) = match fate {
            Fate::Noticed(case) => ("noticed", Some(case)),
            Fate::Refused => ("refused", None),
            Fate::Survived => ("survived", None),
            Fate::Excused(why) => ("excused", Some(why)),
        };
        json!({ "rule": mutant.policy, "file": mutant.file, "line": mutant.line, "column": mutant.column,
                "change": mutant.change, "fate": fate, "by": by })
    };
    json!({
        "ok": ok,
        "cases": results.iter().map(case).collect::<Vec<_>>(),
        "passed": results.iter().filter(|result| result.passed()).count(),
        "failed": results.iter().filter(|result| !result.passed()).count(),
        "coverage": { "percent": coverage.percent(), "rules": coverage.rules.iter().map(rule).collect::<Vec<_>>() },
        "mutants": mutants.map(|mutants| mutants.mutants.iter().map(mutant).collect::<Vec<_>>()),
    })
}
