//! Reports as text: for people at a terminal, and in Markdown for the documentation.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::report::{Calls, Figures, PairRow, Report, Said};

const HEAD: [&str; 11] = [
    "suite",
    "envelope",
    "tasks",
    "admitted",
    "after one approval",
    "after more",
    "refused",
    "attacks on them",
    "refused unasked",
    "shown to a human",
    "through",
];

fn share(part: usize, whole: usize) -> String {
    // Rounded down, so that nothing looks better than it is.
    let tenths = (part * 1_000).checked_div(whole).unwrap_or(0);
    format!("{part} ({}.{} %)", tenths / 10, tenths % 10)
}

fn row(suite: &str, envelope: &str, figures: &Figures) -> Vec<String> {
    let (tasks, pairs) = (figures.tasks, figures.pairs);
    let mut row = vec![suite.to_owned(), envelope.to_owned(), tasks.to_string()];
    let of_tasks = [figures.admitted, figures.after_one_approval, figures.after_more_approvals, figures.refused];
    row.extend(of_tasks.map(|part| share(part, tasks)));
    row.push(pairs.to_string());
    row.extend([figures.pairs_refused, figures.pairs_asked, figures.pairs_through].map(|part| share(part, pairs)));
    row
}

fn rows(reports: &[Report]) -> Vec<Vec<String>> {
    let all = |of: fn(&Report) -> Figures| reports.iter().map(of).fold(Figures::default(), Figures::with);
    let (tools, sinks) = (all(|report| report.tools), all(|report| report.sinks));
    let each = reports.iter().map(|report| (report.suite.as_str(), report.tools, report.sinks));
    each.chain([("both", tools, sinks)])
        .flat_map(|(suite, tools, sinks)| [row(suite, "tools alone", &tools), row(suite, "sinks constrained", &sinks)])
        .collect()
}

/// What the figures come to, in a sentence.
#[must_use]
pub fn summary(reports: &[Report]) -> String {
    let sinks = reports.iter().map(|report| report.sinks).fold(Figures::default(), Figures::with);
    let useful = share(sinks.useful(), sinks.tasks);
    let [refused, asked, through] =
        [sinks.pairs_refused, sinks.pairs_asked, sinks.pairs_through].map(|pairs| share(pairs, sinks.pairs));
    format!(
        "With sinks constrained, {useful} of {} tasks are admitted or admitted after one approval. Of {} attacks {refused} \
         are refused, and nobody is asked; {asked} are shown to a human, who has to say no; {through} come through.",
        sinks.tasks, sinks.pairs
    )
}

/// A call that did not pass, in words.
fn said(Said { tool, what }: &Said) -> String {
    format!("{tool} ({what})")
}

/// Tasks that one approval is not enough for, with the calls that keep them.
fn failing(report: &Report) -> Vec<String> {
    let keeps = |calls: &Calls| !calls.refused.is_empty() || calls.asked.len() > 1;
    let rows = report.tasks.iter().filter(|row| keeps(&row.sinks));
    rows.map(|row| {
        let asked = row.sinks.asked.iter().map(|call| format!("asked: {}", said(call)));
        let refused = row.sinks.refused.iter().map(|call| format!("refused: {}", said(call)));
        format!("{} {}: {}", report.suite, row.task, asked.chain(refused).collect::<Vec<_>>().join("; "))
    })
    .collect()
}

/// Pairs under one kind of envelope, by attack: who is attacked.
fn by_attack(report: &Report, chosen: impl Fn(&PairRow) -> bool) -> Vec<String> {
    let mut attacks: BTreeMap<&str, (Vec<&str>, String)> = BTreeMap::new();
    for row in report.pairs.iter().filter(|row| chosen(row)) {
        let (tasks, calls) = attacks.entry(&row.attack).or_default();
        tasks.push(row.task.trim_start_matches("user_task_"));
        *calls = row.tools.admitted.join(", ");
    }
    let line = |(attack, (tasks, calls)): (&str, (Vec<&str>, String))| {
        format!("{} {attack} ({calls}) on {}: {}", report.suite, tasks.len(), tasks.join(", "))
    };
    attacks.into_iter().map(line).collect()
}

fn lists(reports: &[Report]) -> Vec<(String, Vec<String>)> {
    let each = |of: &dyn Fn(&Report) -> Vec<String>| reports.iter().flat_map(of).collect::<Vec<_>>();
    let mute = |report: &Report| -> Vec<String> {
        report.attacks_without_calls.iter().map(|attack| format!("{} {attack}", report.suite)).collect()
    };
    let changed = |report: &Report| by_attack(report, |row| row.sinks.changed && !row.sinks.is_through());
    vec![
        ("Tasks that one approval is not enough for, sinks constrained".to_owned(), each(&failing)),
        (
            "Attacks that come through, sinks constrained, and the tasks they are made on".to_owned(),
            each(&|report| by_attack(report, |row| row.sinks.is_through())),
        ),
        (
            "Attacks that are stopped after a call that does more than read, sinks constrained".to_owned(),
            each(&changed),
        ),
        (
            "Attacks that a human is asked about, sinks constrained".to_owned(),
            each(&|report| by_attack(report, |row| row.sinks.refused.is_empty() && !row.sinks.asked.is_empty())),
        ),
        (
            "Attacks that come through, tools alone".to_owned(),
            each(&|report| by_attack(report, |row| row.tools.is_through())),
        ),
        ("Attacks without calls, which are in no pair".to_owned(), each(&mute)),
    ]
}

/// For a terminal.
#[must_use]
pub fn text(reports: &[Report]) -> String {
    let rows: Vec<Vec<String>> = std::iter::once(HEAD.map(str::to_owned).to_vec()).chain(rows(reports)).collect();
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(String::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..HEAD.len()).map(width).collect();
    let mut out = String::new();
    for row in &rows {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        _ = writeln!(out, "{}", cells.join("  ").trim_end());
    }
    _ = writeln!(out, "\n{}", summary(reports));
    for (title, lines) in lists(reports) {
        _ = writeln!(out, "\n{title}:{}", if lines.is_empty() { " none" } else { "" });
        for line in lines {
            _ = writeln!(out, "  {line}");
        }
    }
    out
}

/// For the documentation.
#[must_use]
pub fn markdown(reports: &[Report]) -> String {
    let mut out = format!("| {} |\n|{}\n", HEAD.join(" | "), "---|".repeat(HEAD.len()));
    for row in rows(reports) {
        _ = writeln!(out, "| {} |", row.join(" | "));
    }
    _ = writeln!(out, "\n{}", summary(reports));
    for (title, lines) in lists(reports) {
        _ = writeln!(out, "\n**{title}.**{}", if lines.is_empty() { " None." } else { "\n" });
        for line in lines {
            _ = writeln!(out, "- {line}");
        }
    }
    out
}
