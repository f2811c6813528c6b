//! Test cases of a bundle, on the example that users copy: read, run, counted, and shown to notice mistakes.
//! Clauses B-22 to B-28.

use std::collections::BTreeMap;

use remit_common::bundle::suite::{self, Cell, CellResult, Coverage, Fate};
use remit_common::bundle::{BuildOverrides, BundleSource, CompiledBundle};
use remit_common::id::MeshId;
use remit_common::policy::Reason;

const SUITE: &str = "tests/renewal.yaml";

fn example() -> BundleSource {
    let mut files = crate::policy::example();
    files.append(&mut crate::policy::example_files!["bundle.toml", "canaries.yaml", "tests/renewal.yaml"]);
    BundleSource { files }
}

fn with(file: &str, from: &str, to: &str) -> BundleSource {
    let mut source = example();
    let text = String::from_utf8(source.files[file].clone()).unwrap();
    assert!(text.contains(from), "{file} no longer contains {from}");
    source.files.insert(file.to_owned(), text.replacen(from, to, 1).into_bytes());
    source
}

fn compile(source: &BundleSource) -> CompiledBundle {
    let overrides = BuildOverrides { mesh_id: Some(MeshId([0; 16])), ..BuildOverrides::default() };
    source.build(&overrides).unwrap().compile().unwrap()
}

fn cells(source: &BundleSource) -> Vec<Cell> {
    let mut cells = suite::canaries(&source.files).unwrap();
    cells.extend(suite::read(&source.files).unwrap());
    cells
}

fn run<'c>(cells: &'c [Cell], bundle: &CompiledBundle) -> Vec<CellResult<'c>> {
    cells.iter().map(|cell| suite::run(cell, bundle)).collect()
}

fn failures(results: &[CellResult<'_>]) -> Vec<String> {
    let failed = results.iter().filter(|result| !result.passed());
    failed.map(|result| format!("{}: {}: {:?}", result.cell.case, result.cell.cell, result.differences)).collect()
}

#[test]
fn the_examples_cases_pass_cover_every_rule_and_notice_every_mistake() {
    let source = example();
    let (bundle, cells) = (compile(&source), cells(&source));
    suite::check(&cells, &bundle, &source.files).unwrap();
    let results = run(&cells, &bundle);
    assert!(results.len() >= 35, "{} cells", results.len());
    assert_eq!(failures(&results), Vec::<String>::new());
    let coverage = Coverage::of(bundle.policy().rules(&source.files), &results);
    assert_eq!(coverage.uncovered().map(|rule| rule.id.to_string()).collect::<Vec<_>>(), Vec::<String>::new());
    assert_eq!((coverage.percent(), coverage.rules.len()), (100, 12));
    assert!(
        coverage.rules.iter().any(|rule| rule.rule.forbids) && coverage.rules.iter().any(|rule| !rule.rule.forbids)
    );

    let (mut told, mut last) = (0, 0);
    let mutants = suite::mutate(&cells, &bundle, &source.files, |done, all| {
        assert!(done >= last && done <= all);
        (told, last) = (told + 1, done);
    });
    let survivors: Vec<_> = mutants.survivors().map(|mutant| format!("{} {}", mutant.policy, mutant.change)).collect();
    assert_eq!(survivors, Vec::<String>::new());
    assert!(mutants.mutants.len() >= 30 && told == mutants.mutants.len() + 1, "{} mutants", mutants.mutants.len());
    assert!(mutants.count(|fate| matches!(fate, Fate::Noticed(_))) >= 25);
    assert!(mutants.count(|fate| *fate == Fate::Refused) >= 1, "an attribute that may be absent is asked for first");
}

#[test]
fn a_case_that_is_taken_away_is_missed() {
    // Without a case at exactly 100 records, nobody notices `<` instead of `<=`.
    let source = with(SUITE, "maxima: { records: 100 }", "maxima: { records: 99 }");
    let (bundle, cells) = (compile(&source), cells(&source));
    let mutants = suite::mutate(&cells, &bundle, &source.files, |_, _| {});
    let survivors: Vec<_> = mutants
        .survivors()
        .map(|mutant| (mutant.file.as_str(), mutant.policy.as_str(), mutant.change.as_str()))
        .collect();
    let expected = [
        ("policies/renewal.cedar", "renewal.read", "`<=` becomes `<`"),
        ("policies/renewal.cedar", "classifier.read", "`<=` becomes `<`"),
    ];
    assert_eq!(survivors, expected);
    let text = String::from_utf8(source.files["policies/renewal.cedar"].clone()).unwrap();
    let first = mutants.survivors().next().unwrap();
    let line = text.lines().nth(usize::try_from(first.line).unwrap() - 1).unwrap();
    assert!(line[usize::try_from(first.column).unwrap() - 1..].starts_with("<= 100"), "{line}");
}

#[test]
fn a_rule_whose_author_says_why_needs_no_case() {
    let idle = "@id(\"limits.never\")\n@untested(\"no chain is that long\")\n\
                forbid (principal, action, resource) when { context.chain_depth > 40 };\n\n@id(\"limits.chain-depth\")";
    for (annotated, excused) in
        [(idle.to_owned(), true), (idle.replace("@untested(\"no chain is that long\")\n", ""), false)]
    {
        let source = with("policies/limits.cedar", "@id(\"limits.chain-depth\")", &annotated);
        let (bundle, cells) = (compile(&source), cells(&source));
        let results = run(&cells, &bundle);
        let coverage = Coverage::of(bundle.policy().rules(&source.files), &results);
        let uncovered: Vec<_> = coverage.uncovered().map(|rule| rule.id.as_str()).collect();
        let mutants = suite::mutate(&cells, &bundle, &source.files, |_, _| {});
        let survivors: Vec<_> = mutants.survivors().map(|mutant| mutant.policy.as_str()).collect();
        if excused {
            assert!(uncovered.is_empty() && survivors.is_empty(), "{uncovered:?} {survivors:?}");
            assert!(mutants.count(|fate| *fate == Fate::Excused("no chain is that long".to_owned())) >= 2);
        } else {
            assert_eq!(uncovered, ["limits.never"]);
            assert!(survivors.len() >= 2 && survivors.iter().all(|rule| *rule == "limits.never"), "{survivors:?}");
            assert_eq!(coverage.percent(), 92);
        }
    }
}

#[test]
fn what_a_failing_case_says() {
    let source = with(SUITE, "expect: forbidden\n    because: [limits.urgent-needs-a-human]", "expect: permit");
    let (bundle, cells) = (compile(&source), cells(&source));
    let results = run(&cells, &bundle);
    let failed: Vec<_> = results.iter().filter(|result| !result.passed()).collect();
    let [failed] = failed.as_slice() else { panic!("{:?}", failures(&results)) };
    assert_eq!(failed.differences, ["expected permit, got forbidden"]);
    let verdict = failed.verdict.as_ref().unwrap();
    assert_eq!((verdict.reason, verdict.policies_total), (Reason::Forbidden, 1));
    assert_eq!(verdict.policies[0].as_str(), "limits.urgent-needs-a-human");
    let xml = suite::junit("a \"name\" & <more>", &results);
    assert!(xml.contains("name=\"a &quot;name&quot; &amp; &lt;more&gt;\"") && xml.contains("failures=\"1\""), "{xml}");
    assert!(xml.contains("<failure message=\"expected permit, got forbidden\">a policy forbids it</failure>"), "{xml}");
    assert_eq!(xml.matches("<testcase ").count(), results.len());

    let source =
        with(SUITE, "because: [classifier.read], not_because: [renewal.read]", "not_because: [classifier.read]");
    let cells = self::cells(&source);
    let found = failures(&run(&cells, &bundle));
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found.iter().all(|text| text.contains("`classifier.read` should not be among")), "{found:?}");
    let source = with(SUITE, "because: [renewal.ticket]", "because: [renewal.read]");
    let cells = self::cells(&source);
    let found = failures(&run(&cells, &bundle));
    assert!(found.len() == 1 && found[0].contains("`renewal.read` should be among the rules"), "{found:?}");
}

/// A file of a few lines may name more cells than memory holds; it is refused before any of them is made.
#[test]
fn a_matrix_of_too_many_cells_is_refused_and_not_made() {
    let mut source = example();
    let names = |name: &str| vec![name; 4_000].join(", ");
    let text = format!(
        "cases:\n  - name: large\n    principals: [{}]\n    resources: [{}]\n    actions: [{}]\n    expect: permit\n",
        names("p"),
        names("r"),
        names("crm.read")
    );
    source.files.insert("tests/large.yaml".to_owned(), text.into_bytes());
    let faults = suite::read(&source.files).unwrap_err();
    let [fault] = faults.as_slice() else { panic!("{} faults", faults.len()) };
    assert_eq!((fault.file.as_str(), fault.line), ("tests/large.yaml", 2));
    assert!(fault.message.contains("64000000000"), "{fault}");
}

/// Decisions name eight rules: of a ninth a case does not say that it had no part.
#[test]
fn of_rules_that_are_not_named_nobody_says_that_they_do_not_decide() {
    let mut source = with(SUITE, "because: [renewal.ticket]", "not_because: [renewal.ticket]");
    let more = (0..9).map(|number| {
        format!(
            "@id(\"a.{number}\")\npermit (principal in AgentClass::\"renewal-analyst\", action == \
             Action::\"tickets.create\", resource);\n"
        )
    });
    source.files.insert("policies/a.cedar".to_owned(), more.collect::<String>().into_bytes());
    let (bundle, cells) = (compile(&source), cells(&source));
    let found = failures(&run(&cells, &bundle));
    assert!(
        found.iter().any(|text| text.contains("`renewal.ticket`") && text.contains("of 10 the first 8")),
        "{found:?}"
    );
}

#[test]
fn the_clock_is_the_cases() {
    // Nothing in the example looks at the clock, so a rule that does is put in.
    let rule = "@id(\"limits.night\")\nforbid (principal, action == Action::\"crm.read\", resource)\n\
                when { context.now >= 1796083200 };\n\n@id(\"limits.chain-depth\")";
    let mut source = with("policies/limits.cedar", "@id(\"limits.chain-depth\")", rule);
    let text = String::from_utf8(source.files[SUITE].clone()).unwrap();
    let case = |name: &str, as_of: &str, expect: &str| {
        format!(
            "  - name: {name}\n    as_of: {as_of}\n    principals: [analyst]\n    actions: [crm.read]\n    \
                 resources: [acme]\n    expect: {expect}\n"
        )
    };
    let cases = case("before", "2026-11-30T23:59:59Z", "permit")
        + &case("then", "2026-12-01T00:00:00Z", "forbidden")
        + &case("in seconds", "\"1796083200\"", "forbidden");
    source.files.insert(SUITE.to_owned(), (text + &cases).into_bytes());
    let (bundle, cells) = (compile(&source), cells(&source));
    assert_eq!(failures(&run(&cells, &bundle)), Vec::<String>::new());
}

/// One fault of the example's suite: what is replaced, by what, and how the fault is told.
const FAULTS: &[(&str, &str, &str)] = &[
    (
        "expect: permit\n    except",
        "expekt: permit\n    except",
        "there is no key `expekt` here (help: did you mean `expect`?)",
    ),
    (
        "expect: permit\n    except",
        "expect: permitt\n    except",
        "`permitt` is nothing that a call is answered with (help: did you mean `permit`?)",
    ),
    (
        "principals: [analyst, classifier, stranger]",
        "principals: [analist, classifier, stranger]",
        "there is no principal `analist` (help: did you mean `analyst`?)",
    ),
    (
        "resources: [acme-contract, globex-contract]",
        "resources: [acme-kontract, globex-contract]",
        "there is no resource `acme-kontract` (help: did you mean `acme-contract`?)",
    ),
    ("envelope: hundred", "envelope: hundrd", "there is no envelope `hundrd` (help: did you mean `hundred`?)"),
    (
        "{ principals: [stranger], expect: no_matching_policy }",
        "{ principals: [clerk-of-maya], expect: permit }",
        "there is no principal of this case `clerk-of-maya` (help: one of analyst, classifier, stranger)",
    ),
    ("actions: [contracts.read]", "actions: []", "`actions` is empty, so the case asks nothing"),
    (
        "expect: no_matching_policy\n\n",
        "expect: no_matching_policy\n    because: [renewal.read]\n\n",
        "no rule decides a call that is answered `no_matching_policy`",
    ),
    (
        "      purpose: bill\n",
        "",
        "nobody says for what `clerk-of-frida` acts (help: write `purpose: NAME` in the case, the principal or the envelope)",
    ),
];

#[test]
fn a_fault_of_a_suite_is_told_where_it_stands() {
    for (from, to, says) in FAULTS {
        let source = with(SUITE, from, to);
        let faults = suite::read(&source.files).expect_err(says);
        let text = String::from_utf8(source.files[SUITE].clone()).unwrap();
        let fits = faults.iter().any(|fault| {
            let prefix = format!("{}:{}:{}: ", fault.file, fault.line, fault.column);
            let line = text.lines().nth(usize::try_from(fault.line).unwrap() - 1).unwrap_or_default();
            fault.file == SUITE && !line.is_empty() && fault.to_string() == format!("{prefix}{says}")
        });
        assert!(fits, "{says}\n{faults:#?}");
    }
    let source =
        with(SUITE, "except:\n      - { resources", "except:\n      - { expect: permit }\n      - { resources");
    let faults = suite::read(&source.files).unwrap_err();
    assert!(faults.iter().all(|fault| fault.message == "this exception is about no cell of its case"), "{faults:?}");
}

#[test]
fn what_a_suite_names_has_to_be_in_the_bundle() {
    for (from, to, says) in [
        (
            "because: [renewal.ticket]",
            "because: [renewal.tickets]",
            "the bundle has no rule `renewal.tickets` (help: did you mean `renewal.ticket`?)",
        ),
        (
            "actions: [crm.read]",
            "actions: [crm.raed]",
            "the bundle has no tool `crm.raed` (help: did you mean `crm.read`?)",
        ),
        ("purpose: renew\n", "purpose: renow\n", "the bundle has no purpose `renow` (help: did you mean `renew`?)"),
    ] {
        let source = with(SUITE, from, to);
        let bundle = compile(&source);
        let faults = suite::check(&cells(&source), &bundle, &source.files).expect_err(says);
        let text = String::from_utf8(source.files[SUITE].clone()).unwrap();
        let [fault] = faults.as_slice() else { panic!("{faults:#?}") };
        let line = text.lines().nth(usize::try_from(fault.line).unwrap() - 1).unwrap();
        assert!(fault.to_string().ends_with(says), "{fault}");
        let word = to.split(['[', ' ']).next_back().unwrap().trim_end_matches(['\n', ']']);
        assert!(line[usize::try_from(fault.column).unwrap() - 1..].starts_with(word), "{fault}: {line}");
    }
}

#[test]
fn a_suite_cannot_grow_beyond_its_bounds() {
    let bomb = "fixtures: {}\ncases: &a [*a]\n";
    let many = format!("cases:\n{}", "- {}\n".repeat(60_000));
    let long = format!("# {}\n", "x".repeat(300_000));
    for text in [bomb, &many, &long, "", "cases: []", "cases: [", "\u{0}", "- a", "a: 1\n---\nb: 2\n"] {
        let mut source = example();
        source.files.insert("tests/more.yaml".to_owned(), text.as_bytes().to_vec());
        let faults = suite::read(&source.files).expect_err(text);
        assert!(
            faults.iter().all(|fault| fault.file == "tests/more.yaml" && fault.to_string().len() < 600),
            "{faults:?}"
        );
    }
    let mut source = example();
    source.files.insert("tests/more.yml".to_owned(), Vec::new());
    let faults = suite::read(&source.files).unwrap_err();
    assert!(faults[0].message.contains("nothing would run this file"), "{faults:?}");
}
