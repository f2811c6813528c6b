//! Every promise with its verdict, and what the verdict rests on.

use maud::{Markup, html};

use super::{Tone, mark};
use crate::drill::outcome::Limit;
use crate::invariant::{Breach, Status, Verdict};
use crate::report::JOURNAL;
use crate::report::telling::tell;
use crate::report::view::View;
use crate::report::words::{count, cut, grouped, many, measured, moment};

/// Notes of one verdict at most; some are of every edge.
const NOTES_MAX: usize = 4;

/// The promises, then the limits.
pub(super) fn promises(view: &View<'_>) -> Markup {
    let mut verdicts: Vec<&Verdict> = view.verdicts.iter().collect();
    // What was broken stands first; the order within is the judges'.
    verdicts.sort_by_key(|verdict| match verdict.status {
        Status::Violated => 0,
        Status::Held => 1,
        Status::NotMeasured => 2,
    });
    html! {
        section #promises {
            h2 { "Promises" }
            p.intro {
                "What the mesh promises, each judged on what agents, administrators and an observer saw. What timed out "
                "counts as unknown, and a promise counts as broken only if it is so either way."
            }
            @if let Some(vacuous) = view.vacuous {
                aside.skipped {
                    h3 { "Too little happened" }
                    ul { @for missing in &vacuous.missing {
                        li { (missing.what) ": " (grouped(missing.seen)) ", where at least " (grouped(missing.least)) " are needed" }
                    } }
                }
            }
            @if verdicts.is_empty() {
                p.note { "Nothing was judged." }
            } @else {
                div.promises { @for verdict in verdicts { (promise(view, verdict)) } }
            }
            (limits(&view.drill.limits))
        }
    }
}

fn promise(view: &View<'_>, verdict: &Verdict) -> Markup {
    let (tone, word) = match verdict.status {
        Status::Held => (Tone::Good, "kept"),
        Status::Violated => (Tone::Bad, "broken"),
        Status::NotMeasured => (Tone::None, "not measured"),
    };
    let more = verdict.breaches_total.saturating_sub(count(verdict.breaches.len()));
    html! {
        article class=(if verdict.status == Status::Violated { "promise broken" } else { "promise" }) id=(format!("promise-{}", verdict.id)) {
            div.line {
                span.id { (verdict.id) }
                h3 { (verdict.title) }
                (mark(tone, word))
            }
            @if !verdict.looked_at.is_empty() || verdict.id.promise().is_some() {
                p.looked { @if !verdict.looked_at.is_empty() { "Looked at: " } @for (at, (what, seen)) in verdict.looked_at.iter().enumerate() {
                    @if at > 0 { "; " } (what) " " b { (grouped(*seen)) }
                }
                @if let Some(promise) = verdict.id.promise() { " (promise " (promise) " of the architecture)" } }
            }
            @for note in verdict.notes.iter().take(NOTES_MAX) { p.looked { (cut(note, 400)) } }
            @if verdict.notes.len() > NOTES_MAX {
                p.looked { "And " (many(count(verdict.notes.len() - NOTES_MAX), "more note", "more notes")) ", in " (JOURNAL) "." }
            }
            @for breach in &verdict.breaches { (breach_evidence(view, breach)) }
            @if more > 0 { p.note { (many(more, "more breach is", "more breaches are")) " counted and not shown." } }
        }
    }
}

fn breach_evidence(view: &View<'_>, breach: &Breach) -> Markup {
    let event = |index: u64| usize::try_from(index).ok().and_then(|at| view.drill.events.get(at));
    html! {
        div.breach-of {
            p { (cut(&breach.sentence, 600)) }
            @if !breach.events.is_empty() {
                ol { @for witness in &breach.events {
                    li {
                        span.when { (moment(witness.time_us)) }
                        span { @if let Some(event) = event(witness.index) { (tell(event)) }
                            span.detail { "event " (witness.index) @if let Some(event) = event(witness.index) { ", by " (cut(&event.process, 60)) } } }
                    }
                } }
            }
        }
    }
}

/// Figures with a limit.
fn limits(limits: &[Limit]) -> Markup {
    if limits.is_empty() {
        return html! {};
    }
    html! {
        h3.sub { "Limits of this drill" }
        div.scroll { table.stacked {
            thead { tr { th scope="col" { "Figure" } th scope="col" { "Measured" } th scope="col" { "At most" } th scope="col" { "Share of the limit" } } }
            tbody { @for limit in limits.iter().take(60) {
                @let word = limit.measured.map_or_else(|| "not measured".to_owned(), |value| measured(value, limit.unit));
                tr {
                    th scope="row" { (limit.name) @if !limit.meaning.is_empty() { span.detail { (cut(&limit.meaning, 200)) } } }
                    td data-label="Measured" { (mark(if limit.within { Tone::Good } else { Tone::Bad }, &word)) }
                    td data-label="At most" { (measured(limit.limit, limit.unit)) }
                    td data-label="Share of the limit" { (gauge(limit)) }
                }
            } }
        } }
    }
}

/// How much of its limit a figure takes.
fn gauge(limit: &Limit) -> Markup {
    let Some(value) = limit.measured else { return html! { "–" } };
    let share = if limit.limit > 0.0 {
        (value / limit.limit).clamp(0.0, 1.0)
    } else if value > 0.0 {
        1.0
    } else {
        0.0
    };
    let width = format!("{:.1}", share * 120.0);
    let class = if limit.within { "gauge-good" } else { "gauge-bad" };
    html! {
        svg.gauge viewBox="0 0 120 8" aria-hidden="true" xmlns="http://www.w3.org/2000/svg" {
            rect.gauge-ground width="120" height="8" rx="2" {}
            rect class=(class) width=(width) height="8" rx="2" {}
        }
    }
}
