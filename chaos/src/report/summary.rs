//! What came of a drill, in a word and in a sentence.

use serde::Serialize;

use super::view::View;
use super::words::{count, list, many};
use crate::drill::outcome::{ActivityStatus, Conclusion, ProbeReading, RunStatus};
use crate::invariant::{Missing, Status};

/// The few words at the top of everything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// In a word.
    pub conclusion: Conclusion,
    /// In a sentence or two.
    pub verdict: String,
    /// Promises that were kept.
    pub held: u64,
    /// Promises that were broken.
    pub violated: u64,
    /// Promises that nothing could be said about.
    pub not_measured: u64,
    /// Steps that were skipped.
    pub skipped: u64,
}

impl Summary {
    pub(super) fn of(view: &View<'_>) -> Self {
        let with = |status| count(view.with(status).count());
        Self {
            conclusion: view.drill.conclusion(),
            verdict: verdict(view),
            held: with(Status::Held),
            violated: with(Status::Violated),
            not_measured: with(Status::NotMeasured),
            skipped: count(view.steps(ActivityStatus::Skipped).count() + view.drill.unable.len()),
        }
    }

    /// The conclusion for headings.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self.conclusion {
            Conclusion::Passed => "Passed",
            Conclusion::Deviated => "Deviated",
            Conclusion::Vacuous => "Proves nothing",
            Conclusion::Aborted => "Stopped",
            Conclusion::Skipped => "Not played",
        }
    }
}

/// `3 calls of at least 50`, for each thing of which there was too little.
pub(super) fn missing(missing: &[Missing]) -> Vec<String> {
    missing.iter().map(|missing| format!("{} {} of at least {}", missing.seen, missing.what, missing.least)).collect()
}

fn verdict(view: &View<'_>) -> String {
    let why = view.drill.why.as_deref().map(|why| why.trim_end_matches('.'));
    match view.drill.conclusion() {
        Conclusion::Passed => passed(view),
        Conclusion::Deviated => deviation(view),
        Conclusion::Vacuous => {
            let missing = view.vacuous.map(|vacuous| missing(&vacuous.missing)).unwrap_or_default();
            let missing = if missing.is_empty() { "nothing was judged".to_owned() } else { list(&missing) };
            format!("Too little happened to prove anything: {missing}. Nothing here counts as passed.")
        }
        Conclusion::Aborted if view.drill.status == RunStatus::Interrupted => {
            "The drill was stopped by hand before its end. What it had broken was put right again.".to_owned()
        }
        Conclusion::Aborted => {
            let why = why.unwrap_or("one of its conditions for stopping was met");
            format!("The drill stopped itself: {why}. What it had broken was put right again.")
        }
        Conclusion::Skipped => {
            let steps = many(count(view.drill.unable.len()), "of its steps", "of its steps");
            format!("The drill was not played, because {steps} cannot be done here. Nothing was touched.")
        }
    }
}

fn passed(view: &View<'_>) -> String {
    let promises = match view.with(Status::Held).count() {
        1 => "The one promise that could be checked was kept".to_owned(),
        kept => format!("All {kept} promises that could be checked were kept"),
    };
    let during = match view.figures.outages.len() {
        0 => "nothing was broken".to_owned(),
        1 => "one fault was brought about".to_owned(),
        faults => format!("{faults} faults were brought about"),
    };
    let limits = match view.drill.limits.len() {
        0 => String::new(),
        1 => " The one limit was met.".to_owned(),
        limits => format!(" All {limits} limits were met."),
    };
    let steady = if view.after().is_empty() { "" } else { " Afterwards everything ran as before." };
    format!("{promises} while {during}.{limits}{steady}")
}

fn deviation(view: &View<'_>) -> String {
    let mut sentences = Vec::new();
    let broken: Vec<_> = view.with(Status::Violated).map(|verdict| format!("“{}”", verdict.title)).collect();
    if !broken.is_empty() {
        let was = if broken.len() == 1 { "A promise was broken" } else { "Promises were broken" };
        sentences.push(format!("{was}: {}.", list(&broken)));
    }
    let names = |measured: bool| -> Vec<String> {
        view.missed().filter(|limit| limit.measured.is_some() == measured).map(|limit| limit.name.clone()).collect()
    };
    let (passed, unmeasured) = (names(true), names(false));
    if !passed.is_empty() {
        let were = many(count(passed.len()), "limit was passed", "limits were passed");
        sentences.push(format!("{}: {}.", capital(&were), list(&passed)));
    }
    if !unmeasured.is_empty() {
        sentences.push(format!("Nothing measured {}.", list(&unmeasured)));
    }
    let away = |probes: &[ProbeReading]| -> Vec<String> {
        probes.iter().filter(|probe| !probe.within).map(|probe| format!("“{}”", probe.name)).collect()
    };
    let (before, after) = (away(view.before()), away(view.after()));
    if !before.is_empty() {
        sentences.push(format!("Things were not well even before: {}.", list(&before)));
    }
    if !after.is_empty() {
        sentences.push(format!("The steady state did not come back: {}.", list(&after)));
    }
    if sentences.is_empty() {
        let why = view.drill.why.as_deref().map(|why| why.trim_end_matches('.'));
        sentences.push(format!("{}.", capital(why.unwrap_or("the drill did not go as it expects"))));
    }
    sentences.join(" ")
}

/// The first letter as at the beginning of a sentence.
pub(super) fn capital(text: &str) -> String {
    let mut rest = text.chars();
    rest.next().map(|first| first.to_uppercase().chain(rest).collect()).unwrap_or_default()
}
