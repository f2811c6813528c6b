//! The top of the page: what was rehearsed, and what came of it, for somebody who reads nothing else.

use maud::{Markup, html};

use super::{Tone, mark};
use crate::drill::backend::BackendKind;
use crate::drill::outcome::ProbeReading;
use crate::report::summary::{Summary, capital};
use crate::report::view::View;
use crate::report::words::{count, cut, grouped, lasting, list, many, measured, span};

/// Title, verdict, facts, key figures, steady state.
pub(super) fn head(view: &View<'_>, summary: &Summary) -> Markup {
    let drill = view.drill;
    let copy = &drill.drill;
    html! {
        header {
            p.eyebrow { "Drill report" @for tag in copy.tags.iter().take(8) { span.tag { (cut(tag, 40)) } } }
            h1 { (cut(&copy.title, 200)) }
            @if !copy.description.is_empty() { p.lead { (cut(&copy.description, 1_200)) } }
            section class=(format!("verdict {}", class(summary))) aria-label="Verdict" {
                (mark(summary.conclusion.into(), summary.word()))
                p { (summary.verdict) }
            }
            @for caveat in drill.caveats.iter().take(20) { p.remark { (cut(caveat, 600)) } }
            @if !drill.events.is_empty() { (tiles(view, summary)) }
            (facts(view))
        }
        (steady(view))
    }
}

fn class(summary: &Summary) -> &'static str {
    match Tone::from(summary.conclusion) {
        Tone::Good => "good",
        Tone::Bad => "bad",
        Tone::Note | Tone::None => "warn",
    }
}

fn tile(value: &str, what: &str) -> Markup {
    html! { div { dd { (value) } dt { (what) } } }
}

fn tiles(view: &View<'_>, summary: &Summary) -> Markup {
    let figures = &view.figures;
    let checked = summary.held + summary.violated;
    let calls = figures.operations.get("call").map_or(0, |tally| tally.ok);
    let oldest = figures.staleness.values().flatten().filter_map(|seen| seen.age_ms).max();
    html! {
        dl.tiles {
            (tile(&format!("{} of {checked}", summary.held), "promises kept"))
            (tile(&grouped(count(figures.outages.len())), if figures.outages.len() == 1 { "fault brought about" } else { "faults brought about" }))
            (tile(&grouped(calls), "calls answered"))
            @if let Some(gap) = view.longest_write_gap() { (tile(&lasting(gap), "longest wait for a write")) }
            @if let Some(gap) = view.longest_without_leader() { (tile(&lasting(gap), "longest without a leader in sight")) }
            @if let Some(oldest) = oldest { (tile(&lasting(oldest.saturating_mul(1_000)), "oldest knowledge at an edge")) }
            (tile(&grouped(figures.records_lost), "records lost"))
        }
    }
}

fn facts(view: &View<'_>) -> Markup {
    let drill = view.drill;
    let edges: u32 = drill.shape.regions.values().sum();
    let regions: Vec<_> =
        drill.shape.regions.iter().take(8).map(|(region, edges)| format!("{edges} in {region}")).collect();
    let regions = if regions.is_empty() { String::new() } else { format!(" ({})", list(&regions)) };
    let mesh = format!(
        "{}, {}{regions}, {}",
        many(drill.shape.voters, "voter", "voters"),
        many(edges.into(), "edge", "edges"),
        many(drill.shape.agents.into(), "agent at work", "agents at work")
    );
    let played = match drill.backend {
        BackendKind::Sim => "In simulation: the real programs in one process, on simulated time, network and disks",
        BackendKind::Netns => "On real processes of one machine, each in a network of its own",
    };
    let lasted = match drill.backend {
        BackendKind::Sim => format!("{} of simulated time", span(drill.duration)),
        BackendKind::Netns => span(drill.duration),
    };
    html! {
        dl.facts {
            div { dt { "Played" } dd { (played) } }
            div { dt { "Mesh" } dd { (mesh) } }
            div { dt { "When" } dd { (when(&drill.started.to_string())) ", for " (lasted) } }
            div { dt { "Drill file" } dd { code { (cut(&drill.drill.path, 200)) } } }
            div { dt { "Seed" } dd { code { (drill.seed) } } }
            @if let Some(digest) = &drill.trace {
                div { dt { "Trace digest" } dd { code.digest { (cut(digest, 80)) } span.detail { "Of every packet and event; the same for every run of this version with this seed." } } }
            }
        }
    }
}

/// `2026-11-21T05:00:00.000Z` as `2026-11-21 05:00:00 UTC`.
fn when(rfc3339: &str) -> String {
    let whole = rfc3339.split_once('.').map_or(rfc3339, |(whole, _)| whole);
    format!("{} UTC", whole.replace('T', " "))
}

/// What has to be so while nothing is broken, and whether it was so again at the end.
fn steady(view: &View<'_>) -> Markup {
    let named = |probes: &[ProbeReading]| probes.iter().map(|probe| probe.name.clone()).collect::<Vec<_>>();
    let mut names = named(view.before());
    names.extend(named(view.after()).into_iter().filter(|name| !names.contains(name)).collect::<Vec<_>>());
    if names.is_empty() {
        return html! {};
    }
    let find = |probes: &[ProbeReading], name: &str| probes.iter().find(|probe| probe.name == name).cloned();
    html! {
        section #steady {
            h2 { "Steady state" }
            p.intro { "What has to be so while nothing is broken; asked before the first fault and after the last one was undone." }
            div.scroll { table.stacked {
                thead { tr { th scope="col" { "Probe" } th scope="col" { "Should be" } th scope="col" { "Before" } th scope="col" { "After" } } }
                tbody { @for name in names.iter().take(40) {
                    @let (before, after) = (find(view.before(), name), find(view.after(), name));
                    tr {
                        th scope="row" { (capital(&cut(name, 120))) }
                        td data-label="Should be" { (before.as_ref().or(after.as_ref()).map_or("", |probe| &probe.tolerance)) }
                        td data-label="Before" { (probe(before.as_ref())) }
                        td data-label="After" { (probe(after.as_ref())) }
                    }
                } }
            } }
        }
    }
}

fn probe(probe: Option<&ProbeReading>) -> Markup {
    let Some(probe) = probe else { return mark(Tone::None, "not asked") };
    let value = probe.value.map_or_else(|| "no answer".to_owned(), |value| measured(value, probe.unit));
    mark(if probe.within { Tone::Good } else { Tone::Bad }, &value)
}
