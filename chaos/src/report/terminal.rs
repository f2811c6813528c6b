//! What a person wants to read at the end of a drill, in a few lines, and the same as a document for programs.

use serde::Serialize;

use super::Files;
use super::summary::Summary;
use super::view::View;
use super::words::{count, grouped, lasting, list, many, measured, span};
use crate::drill::backend::BackendKind;
use crate::drill::outcome::{ActivityRun, ActivityStatus, Conclusion, DrillOutcome, Limit};
use crate::invariant::{Status, Verdict};

/// How a mark is to be shown, where colours are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// As it is.
    Plain,
    /// A heading.
    Strong,
    /// As it should be.
    Good,
    /// Not as it should be.
    Bad,
    /// To be noted.
    Faint,
}

/// One line: a mark with a tone, and text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Of the mark; of the text if there is no mark.
    pub tone: Tone,
    /// `kept`, `BROKEN`; may be empty.
    pub mark: &'static str,
    /// The rest.
    pub text: String,
}

impl Line {
    /// Columns that a mark takes, so that the texts stand below each other.
    pub const MARK: usize = 10;

    fn new(tone: Tone, mark: &'static str, text: impl Into<String>) -> Self {
        Self { tone, mark, text: text.into().replace(['\u{a0}', '\u{202f}'], " ").replace(char::is_control, " ") }
    }
}

/// The same for programs.
#[derive(Debug, Serialize)]
pub struct Document<'a> {
    file: &'a str,
    title: &'a str,
    backend: BackendKind,
    seed: u64,
    #[serde(flatten)]
    summary: Summary,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'a str>,
    duration_secs: f64,
    activities: &'a [ActivityRun],
    invariants: &'a [Verdict],
    limits: &'a [Limit],
    caveats: &'a [String],
    reproduce: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace: Option<&'a str>,
    files: Option<&'a Files>,
}

/// The end of a drill for programs.
#[must_use]
pub fn document<'a>(drill: &'a DrillOutcome, files: Option<&'a Files>) -> Document<'a> {
    let view = View::of(drill);
    Document {
        file: &drill.drill.path,
        title: &drill.drill.title,
        backend: drill.backend,
        seed: drill.seed,
        summary: Summary::of(&view),
        why: drill.why.as_deref(),
        duration_secs: drill.duration.as_secs_f64(),
        activities: &drill.activities,
        invariants: view.verdicts,
        limits: &drill.limits,
        caveats: &drill.caveats,
        reproduce: &drill.reproduce,
        trace: drill.trace.as_deref(),
        files,
    }
}

/// The end of a drill for people.
#[must_use]
pub fn lines(drill: &DrillOutcome, files: Option<&Files>) -> Vec<Line> {
    let view = View::of(drill);
    let summary = Summary::of(&view);
    let tone = match summary.conclusion {
        Conclusion::Passed => Tone::Good,
        Conclusion::Deviated => Tone::Bad,
        Conclusion::Vacuous | Conclusion::Aborted | Conclusion::Skipped => Tone::Strong,
    };
    let mut lines = vec![
        Line::new(Tone::Strong, "", drill.drill.title.as_str()),
        Line::new(tone, summary.word(), ""),
        Line::new(Tone::Plain, "", summary.verdict.as_str()),
        Line::new(Tone::Plain, "", ""),
    ];
    lines.extend(view.verdicts.iter().flat_map(promise));
    lines.extend(drill.limits.iter().map(limit));
    lines.extend(drill.activities.iter().filter_map(step));
    lines.extend(
        drill
            .unable
            .iter()
            .map(|unable| Line::new(Tone::Faint, "skipped", format!("{}: {}", unable.step, unable.reason))),
    );
    lines.extend(drill.caveats.iter().map(|caveat| Line::new(Tone::Faint, "note", caveat.as_str())));
    lines.push(Line::new(Tone::Plain, "", ""));
    lines.push(Line::new(Tone::Plain, "", figures(&view)));
    if let Some(files) = files {
        lines.push(Line::new(Tone::Plain, "report", files.report.display().to_string()));
    }
    lines.push(Line::new(Tone::Plain, "again", drill.reproduce.as_str()));
    lines
}

/// [`lines`] without colours.
#[must_use]
pub fn text(drill: &DrillOutcome, files: Option<&Files>) -> String {
    let line = |line: Line| match line.mark {
        "" => format!("{}\n", line.text),
        mark => format!("{}\n", format!("{mark:<width$}{}", line.text, width = Line::MARK).trim_end()),
    };
    lines(drill, files).into_iter().map(line).collect()
}

fn promise(verdict: &Verdict) -> Vec<Line> {
    let named = format!("{} {}", verdict.id, verdict.title);
    match verdict.status {
        Status::Held => vec![Line::new(Tone::Good, "kept", named)],
        Status::NotMeasured => vec![Line::new(Tone::Faint, "not seen", named)],
        Status::Violated => {
            let breaches = verdict.breaches.iter().take(3);
            let breaches = breaches.map(|breach| Line::new(Tone::Bad, "·", breach.sentence.as_str()));
            let more = verdict.breaches_total.saturating_sub(3);
            let more = (more > 0).then(|| Line::new(Tone::Faint, "·", format!("and {more} more, in the report")));
            std::iter::once(Line::new(Tone::Bad, "BROKEN", named)).chain(breaches).chain(more).collect()
        }
    }
}

fn limit(limit: &Limit) -> Line {
    let most = measured(limit.limit, limit.unit);
    match limit.measured {
        Some(value) if limit.within => {
            Line::new(Tone::Good, "within", format!("{} {}, at most {most}", limit.name, measured(value, limit.unit)))
        }
        Some(value) => {
            Line::new(Tone::Bad, "PASSED", format!("{} {}, more than {most}", limit.name, measured(value, limit.unit)))
        }
        None => Line::new(Tone::Bad, "NO FIGURE", format!("nothing measured {}", limit.name)),
    }
}

/// Steps that were not simply done.
fn step(activity: &ActivityRun) -> Option<Line> {
    let why = activity.message.as_deref().unwrap_or("no reason was given");
    let text = || format!("{}: {why}", activity.name);
    match activity.status {
        ActivityStatus::Skipped => Some(Line::new(Tone::Faint, "skipped", text())),
        ActivityStatus::Failed => Some(Line::new(Tone::Bad, "FAILED", text())),
        ActivityStatus::Succeeded | ActivityStatus::NotReached => None,
    }
}

/// What happened, in a line.
fn figures(view: &View<'_>) -> String {
    let figures = &view.figures;
    let calls = figures.operations.get("call").map_or(0, |tally| tally.ok);
    let written = figures.operations.iter().filter(|(name, _)| !matches!(name.as_str(), "call" | "read" | "records"));
    let written: u64 = written.map(|(_, tally)| tally.ok).sum();
    let mut parts = vec![
        many(count(figures.outages.len()), "fault", "faults"),
        format!("{} answered calls", grouped(calls)),
        format!("{} acknowledged writes", grouped(written)),
    ];
    if let Some(gap) = view.longest_write_gap() {
        parts.push(format!("at most {} without a write", lasting(gap)));
    }
    if let Some(gap) = view.longest_without_leader() {
        parts.push(format!("at most {} without a leader in sight", lasting(gap)));
    }
    format!("In {}: {}.", span(view.drill.duration), list(&parts))
}
