//! `junit.xml`: a suite for the drill; a case for each promise, limit, probe and step, so that a pipeline shows them.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Property, Report, SerializeError, TestCase, TestCaseStatus, TestSuite};

use super::summary::missing;
use super::telling::tell;
use super::view::View;
use super::words::{backend, measured, moment};
use crate::drill::outcome::{ActivityRun, ActivityStatus, Conclusion, Limit, ProbeReading, RunStatus, Section, Unable};
use crate::invariant::{Status, Verdict};

/// The document.
///
/// # Errors
/// When a text has no form in XML; the library replaces what has none.
pub(super) fn junit(view: &View<'_>) -> Result<String, SerializeError> {
    let drill = view.drill;
    let mut suite = TestSuite::new(drill.drill.title.as_str());
    suite.set_time(drill.duration);
    let properties = [
        ("file", drill.drill.path.clone()),
        ("backend", backend(drill.backend).to_owned()),
        ("seed", drill.seed.to_string()),
        ("started", drill.started.to_string()),
        ("reproduce", drill.reproduce.clone()),
    ];
    suite.add_properties(properties.map(|(name, value)| Property::new(name, value)));
    suite.add_test_case(whole(view));
    suite.add_test_cases(view.verdicts.iter().map(|verdict| promise(view, verdict)));
    suite.add_test_cases(drill.limits.iter().map(limit));
    suite.add_test_cases(view.before().iter().map(|probe| steady("before", probe)));
    suite.add_test_cases(view.after().iter().map(|probe| steady("after", probe)));
    suite.add_test_cases(drill.activities.iter().map(step));
    suite.add_test_cases(drill.unable.iter().map(unable));
    let mut report = Report::new("remit drill");
    report.set_time(drill.duration);
    report.add_test_suite(suite);
    report.to_string()
}

fn case(class: &str, name: &str, status: TestCaseStatus) -> TestCase {
    let mut case = TestCase::new(name, status);
    case.set_classname(format!("drill.{class}"));
    case
}

fn not(kind: NonSuccessKind, what: &str, message: &str) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(kind);
    status.set_type(what).set_message(message);
    status
}

fn skipped(message: &str) -> TestCaseStatus {
    let mut status = TestCaseStatus::skipped();
    status.set_message(message);
    status
}

/// The run itself: played to its end, and enough happened.
fn whole(view: &View<'_>) -> TestCase {
    let why = view.drill.why.as_deref();
    let error = |what: &str, otherwise: &str| not(NonSuccessKind::Error, what, why.unwrap_or(otherwise));
    let status = match (view.drill.status, view.vacuous, view.drill.conclusion()) {
        (RunStatus::Skipped, ..) => skipped(why.unwrap_or("this world cannot do one of its steps")),
        (RunStatus::Failed, ..) => error("failed", "it could not be played"),
        (RunStatus::Aborted, ..) => error("aborted", "a condition for stopping was met"),
        (RunStatus::Interrupted, ..) => error("interrupted", "stopped by hand"),
        (RunStatus::Completed, Some(vacuous), _) => {
            let missing = missing(&vacuous.missing).join(", ");
            not(NonSuccessKind::Error, "vacuous", &format!("too little happened: {missing}"))
        }
        (RunStatus::Completed, None, Conclusion::Vacuous) => {
            not(NonSuccessKind::Error, "vacuous", "nothing was judged")
        }
        (RunStatus::Completed, None, _) => TestCaseStatus::success(),
    };
    case("run", "played to the end, and enough happened", status)
}

fn promise(view: &View<'_>, verdict: &Verdict) -> TestCase {
    let status = match verdict.status {
        Status::Held => TestCaseStatus::success(),
        Status::NotMeasured => {
            let notes: Vec<_> =
                std::iter::once("not measured").chain(verdict.notes.iter().map(String::as_str)).collect();
            skipped(&notes.join("; "))
        }
        Status::Violated => {
            let first = verdict.breaches.first().map_or("", |breach| breach.sentence.as_str());
            let mut status = not(NonSuccessKind::Failure, "violated", first);
            status.set_description(evidence(view, verdict));
            status
        }
    };
    let mut case = case("promise", &format!("{}: {}", verdict.id, verdict.title), status);
    let looked: Vec<_> = verdict.looked_at.iter().map(|(what, count)| format!("{what}: {count}")).collect();
    case.set_system_out(looked.join("\n"));
    case
}

fn evidence(view: &View<'_>, verdict: &Verdict) -> String {
    let mut lines = vec![format!("breaches: {}", verdict.breaches_total)];
    for breach in &verdict.breaches {
        lines.push(String::new());
        lines.push(breach.sentence.clone());
        for witness in &breach.events {
            let event = usize::try_from(witness.index).ok().and_then(|at| view.drill.events.get(at));
            let told = event.map_or_else(String::new, tell);
            lines.push(format!("  #{} at {}: {told}", witness.index, moment(witness.time_us)));
        }
    }
    lines.join("\n")
}

fn limit(limit: &Limit) -> TestCase {
    let most = measured(limit.limit, limit.unit);
    let status = match limit.measured {
        Some(_) if limit.within => TestCaseStatus::success(),
        Some(value) => {
            let message = format!("{} is more than {most}", measured(value, limit.unit));
            not(NonSuccessKind::Failure, "limit", &message)
        }
        None => not(NonSuccessKind::Error, "vacuous", "nothing measured it"),
    };
    case("limit", &format!("{} at most {most}", limit.name), status)
}

fn steady(when: &str, probe: &ProbeReading) -> TestCase {
    let status = match probe.value {
        _ if probe.within => TestCaseStatus::success(),
        Some(value) => {
            let message = format!("{} is not {}", measured(value, probe.unit), probe.tolerance);
            not(NonSuccessKind::Failure, "steady-state", &message)
        }
        None => not(NonSuccessKind::Error, "steady-state", "the probe measured nothing"),
    };
    case(&format!("steady-state.{when}"), &probe.name, status)
}

fn step(activity: &ActivityRun) -> TestCase {
    let why = |otherwise| activity.message.as_deref().unwrap_or(otherwise);
    let status = match activity.status {
        ActivityStatus::Succeeded => TestCaseStatus::success(),
        ActivityStatus::Failed => not(NonSuccessKind::Error, "step", why("it failed")),
        ActivityStatus::Skipped => skipped(why("this world cannot do it")),
        ActivityStatus::NotReached => skipped("the drill ended before this step"),
    };
    let section = match activity.section {
        Section::Method => "method",
        Section::Rollback => "rollbacks",
    };
    let mut case = case(section, &activity.name, status);
    if let (Some(start), Some(end)) = (activity.start_us, activity.end_us) {
        case.set_time(Duration::from_micros(end.saturating_sub(start)));
    }
    case
}

fn unable(unable: &Unable) -> TestCase {
    case("unable", &unable.step, skipped(&unable.reason))
}
