//! Counts: refusals by reason, faults by kind, operations, how long writes waited and nodes needed to come back.

use maud::{Markup, html};

use crate::report::chart::{Table, is_staleness};
use crate::report::view::View;
use crate::report::words::{cut, fault, fault_meaning, grouped, lasting, moment, node, nodes, real, refusal};

/// Every count.
pub(super) fn figures(view: &View<'_>) -> Markup {
    let figures = &view.figures;
    html! {
        section #figures {
            h2 { "Figures" }
            (refusals(view))
            div.columns {
                div {
                    h3 { "Faults by kind" }
                    (Table {
                        head: vec!["Fault", "Times", "What it is"],
                        rows: figures.faults.iter().map(|(name, times)| {
                            vec![fault(name).to_owned(), grouped(*times), fault_meaning(name).to_owned()]
                        }).collect(),
                    }.render())
                }
                div {
                    h3 { "What was asked of the mesh" }
                    (Table {
                        head: vec!["Operation", "Asked", "Done", "Not done", "Unknown"],
                        rows: figures.operations.iter().map(|(name, tally)| vec![
                            operation(name).to_owned(), grouped(tally.invoked), grouped(tally.ok), grouped(tally.failed), grouped(tally.unknown),
                        ]).collect(),
                    }.render())
                    p.note { "Unknown: the answer did not come in time, so it may have been done or not." }
                }
                @if !figures.write_gaps.is_empty() { div {
                    h3 { "How long writes waited" }
                    (Table {
                        head: vec!["After", "Of", "Without a write for", "From"],
                        rows: figures.write_gaps.iter().map(|gap| {
                            let lasted = lasting(gap.gap_us);
                            let lasted = if gap.ended { lasted } else { format!("{lasted}, to the end") };
                            vec![fault(&gap.fault).to_owned(), nodes(&gap.nodes, &view.drill.roster, 3), lasted, moment(gap.from_us)]
                        }).collect(),
                    }.render())
                    p.note { "Between two acknowledged writes; the operator writes only every few seconds, so this is more than the mesh needs." }
                } }
                @if !figures.rejoins.is_empty() { div {
                    h3 { "How long nodes took to come back" }
                    (Table {
                        head: vec!["Node", "Started again", "Caught up within"],
                        rows: figures.rejoins.iter().map(|rejoin| {
                            let took = rejoin.took_us.map_or_else(|| "not seen".to_owned(), lasting);
                            vec![node(&rejoin.node), moment(rejoin.from_us), took]
                        }).collect(),
                    }.render())
                } }
            }
        }
    }
}

/// An operation in plain words.
fn operation(name: &str) -> &str {
    match name {
        "call" => "tool calls by agents",
        "read" => "reads at voters",
        "records" => "readings of all records",
        "revoke" => "revocations",
        "publish" => "new policy bundles",
        "seal" => "new credentials",
        "envelope" => "new envelopes",
        "trust" => "trust documents",
        "voters" => "changes of voters",
        other => other,
    }
}

/// Refusals by reason, with bars.
fn refusals(view: &View<'_>) -> Markup {
    let refusals = &view.figures.refusals;
    if refusals.is_empty() {
        return html! {};
    }
    let mut rows: Vec<_> = refusals.iter().map(|(reason, times)| (*times, reason)).collect();
    rows.sort_by_key(|(times, reason)| (std::cmp::Reverse(*times), *reason));
    let most = rows.first().map_or(1, |row| row.0).max(1);
    html! {
        h3 { "Refusals by reason" }
        ul.bars { @for (times, reason) in rows.iter().take(30) {
            li {
                span.bar-name { code { (cut(reason, 60)) } span.detail { (refusal(reason)) } }
                svg.bar viewBox="0 0 200 10" preserveAspectRatio="none" aria-hidden="true" xmlns="http://www.w3.org/2000/svg" {
                    rect class=(if is_staleness(reason) { "stale" } else { "deny" })
                        width=(format!("{:.1}", (real(*times) / real(most) * 200.0).max(1.0))) height="10" {}
                }
                span.bar-count { (grouped(*times)) }
            }
        } }
    }
}
