//! `journal.json`: what was done, in the shape that Chaos Toolkit's tools read.
//!
//! The members of its specification come first and mean what they mean there; ours stand in `x-remit`.

use serde::Serialize;

use super::summary::Summary;
use super::view::View;
use crate::drill::backend::{BackendKind, Shape};
use crate::drill::outcome::{
    ActivityKind, ActivityRun, ActivityStatus, DrillOutcome, Fired, Limit, ProbeReading, RunStatus, Section, Unable,
};
use crate::invariant::{Context, Vacuous, Verdict};
use crate::node::{Node, Roster};

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Journal<'a> {
    #[serde(rename = "chaoslib-version")]
    chaoslib_version: String,
    platform: &'static str,
    experiment: &'a serde_json::Value,
    start: String,
    end: String,
    duration: f64,
    status: &'static str,
    deviated: bool,
    #[serde(rename = "steady_states")]
    steady_states: Steady<'a>,
    run: Vec<Run<'a>>,
    rollbacks: Vec<Run<'a>>,
    x_remit: Remit<'a>,
}

#[derive(Serialize)]
struct Steady<'a> {
    before: State<'a>,
    after: State<'a>,
    during: [(); 0],
}

#[derive(Serialize)]
struct State<'a> {
    steady_state_met: Option<bool>,
    probes: Vec<Probe<'a>>,
}

#[derive(Serialize)]
struct Probe<'a> {
    activity: Named<'a>,
    output: Option<f64>,
    status: &'static str,
    tolerance_met: bool,
}

#[derive(Serialize)]
struct Named<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tolerance: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    provider: Option<Provider<'a>>,
}

#[derive(Serialize)]
struct Provider<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    does: &'a str,
    targets: &'a [Node],
}

#[derive(Serialize)]
struct Run<'a> {
    activity: Named<'a>,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    start: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration: Option<f64>,
    output: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Remit<'a> {
    version: &'a str,
    file: &'a str,
    backend: BackendKind,
    seed: u64,
    shape: &'a Shape,
    roster: &'a Roster,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_digest: Option<&'a str>,
    #[serde(flatten)]
    summary: &'a Summary,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    abort: Option<&'a Fired>,
    unable: &'a [Unable],
    context: Option<&'a Context>,
    invariants: &'a [Verdict],
    #[serde(skip_serializing_if = "Option::is_none")]
    vacuous: Option<&'a Vacuous>,
    limits: &'a [Limit],
    figures: Measured<'a>,
    events: usize,
    reproduce: &'a str,
    caveats: &'a [String],
}

/// The figures without their series, which are in `history.jsonl`.
#[derive(Serialize)]
struct Measured<'a> {
    operations: &'a std::collections::BTreeMap<String, crate::history::figures::Tally>,
    faults: &'a std::collections::BTreeMap<String, u64>,
    refusals: &'a std::collections::BTreeMap<String, u64>,
    write_gaps: &'a [crate::history::figures::WriteGap],
    rejoins: &'a [crate::history::figures::Rejoin],
    reigns: &'a [crate::history::figures::Reign],
    latency: Option<crate::history::figures::Latency>,
    records_lost: u64,
    reads_refused_by_failure: u64,
}

/// The journal as a document.
///
/// # Errors
/// When a figure has no form in JSON.
pub(super) fn journal(view: &View<'_>) -> serde_json::Result<String> {
    let summary = Summary::of(view);
    let (drill, figures) = (view.drill, &view.figures);
    let runs =
        |section| drill.activities.iter().filter(move |of| of.section == section).map(|of| run(drill, of)).collect();
    let journal = Journal {
        chaoslib_version: format!("remit {}", drill.version),
        platform: std::env::consts::OS,
        experiment: &drill.drill.document,
        start: drill.started.to_string(),
        end: drill.ended.to_string(),
        duration: drill.duration.as_secs_f64(),
        status: status(drill.status),
        deviated: drill.deviated,
        steady_states: Steady { before: state(view.before()), after: state(view.after()), during: [] },
        run: runs(Section::Method),
        rollbacks: runs(Section::Rollback),
        x_remit: Remit {
            version: &drill.version,
            file: &drill.drill.path,
            backend: drill.backend,
            seed: drill.seed,
            shape: &drill.shape,
            roster: &drill.roster,
            trace_digest: drill.trace.as_deref(),
            summary: &summary,
            why: drill.why.as_deref(),
            abort: drill.abort.as_ref(),
            unable: &drill.unable,
            context: drill.context.as_ref(),
            invariants: view.verdicts,
            vacuous: view.vacuous,
            limits: &drill.limits,
            figures: Measured {
                operations: &figures.operations,
                faults: &figures.faults,
                refusals: &figures.refusals,
                write_gaps: &figures.write_gaps,
                rejoins: &figures.rejoins,
                reigns: &figures.reigns,
                latency: figures.latency,
                records_lost: figures.records_lost,
                reads_refused_by_failure: figures.reads_refused_by_failure,
            },
            events: drill.events.len(),
            reproduce: &drill.reproduce,
            caveats: &drill.caveats,
        },
    };
    serde_json::to_string_pretty(&journal).map(|text| text + "\n")
}

/// The specification's words; it has none for a drill that was not played.
fn status(status: RunStatus) -> &'static str {
    match status {
        RunStatus::Completed => "completed",
        RunStatus::Failed => "failed",
        RunStatus::Aborted | RunStatus::Skipped => "aborted",
        RunStatus::Interrupted => "interrupted",
    }
}

fn state(probes: &[ProbeReading]) -> State<'_> {
    let probe = |probe: &ProbeReading| probe.within;
    State {
        steady_state_met: (!probes.is_empty()).then(|| probes.iter().all(probe)),
        probes: probes
            .iter()
            .map(|probe| Probe {
                activity: Named { kind: "probe", name: &probe.name, tolerance: Some(&probe.tolerance), provider: None },
                output: probe.value,
                status: if probe.value.is_some() { "succeeded" } else { "failed" },
                tolerance_met: probe.within,
            })
            .collect(),
    }
}

fn run<'a>(drill: &DrillOutcome, activity: &'a ActivityRun) -> Run<'a> {
    let provider = Some(Provider { kind: "remit", does: &activity.does, targets: &activity.targets });
    let message = activity.message.as_deref();
    let (status, output) = match activity.status {
        ActivityStatus::Succeeded => ("succeeded", message),
        ActivityStatus::Failed => ("failed", message),
        ActivityStatus::Skipped => ("skipped", message),
        ActivityStatus::NotReached => ("skipped", Some("the drill ended before this step")),
    };
    let moment = |us: u64| drill.started.plus(std::time::Duration::from_micros(us)).to_string();
    let took = activity.start_us.zip(activity.end_us).map(|(start, end)| end.saturating_sub(start));
    Run {
        activity: Named {
            kind: match activity.kind {
                ActivityKind::Action => "action",
                ActivityKind::Probe => "probe",
            },
            name: &activity.name,
            tolerance: None,
            provider,
        },
        status,
        start: activity.start_us.map(moment),
        end: activity.end_us.map(moment),
        duration: took.map(|us| std::time::Duration::from_micros(us).as_secs_f64()),
        output,
    }
}
