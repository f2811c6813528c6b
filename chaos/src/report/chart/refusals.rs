//! The lane of refusals: one row for each reason, with how often it was given over time.

use std::collections::BTreeMap;

use maud::html;

use super::lane::{Lane, Table};
use super::{Drawn, Frame, Size, px};
use crate::history::{Event, Kind, Verdict, What};
use crate::report::words::{count, cut, grouped, list, many, moment, real, refusal};

const ROW: f64 = 24.0;
const BAR: f64 = 18.0;
/// Reasons with a row of their own: those given most often.
const REASONS_MAX: usize = 10;

/// One reason, and when it was given, in microseconds.
pub(crate) struct Refused<'a> {
    reason: &'a str,
    times: Vec<u64>,
}

/// Refusals by reason, the most frequent first.
pub(crate) fn refused(events: &[Event]) -> Vec<Refused<'_>> {
    let mut reasons: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for event in events {
        let (Kind::Ok, What::Call(call)) = (event.kind, &event.what) else { continue };
        if let Some(outcome) = call.outcome.as_ref().filter(|outcome| outcome.verdict == Verdict::Deny) {
            reasons.entry(&outcome.reason).or_default().push(event.time_us);
        }
    }
    let mut refused: Vec<_> = reasons.into_iter().map(|(reason, times)| Refused { reason, times }).collect();
    refused.sort_by_key(|refused| std::cmp::Reverse(refused.times.len()));
    refused
}

/// Why calls were refused, over time.
pub(crate) fn refusals<'a>(refused: &'a [Refused<'a>]) -> Lane<'a> {
    let all: usize = refused.iter().map(|refused| refused.times.len()).sum();
    let most: Vec<_> = refused
        .iter()
        .take(3)
        .map(|refused| format!("{} {}", cut(refused.reason, 40), grouped(count(refused.times.len()))))
        .collect();
    let told = match all {
        0 => "No call was refused.".to_owned(),
        _ => format!("{}; most often {}.", many(count(all), "call was refused", "calls were refused"), list(&most)),
    };
    let rows = refused.iter().map(|refused| {
        let (first, last) = (refused.times.first(), refused.times.last());
        let at = |time: Option<&u64>| time.map_or_else(String::new, |time| moment(*time));
        vec![
            cut(refused.reason, 60),
            refusal(refused.reason).to_owned(),
            grouped(count(refused.times.len())),
            at(first),
            at(last),
        ]
    });
    Lane {
        id: "refusals",
        title: "Why calls were refused",
        told,
        key: vec![
            ("deny", "by policy or authority; higher is more often, on one scale for all rows".to_owned()),
            ("stale", "because the edge knew too little".to_owned()),
        ],
        note: Some(
            "Most refusals are wanted: agents also try what they may not, to see that it is refused.".to_owned(),
        ),
        draw: Box::new(move |frame| draw(frame, refused)),
        table: Table { head: vec!["Reason", "Meaning", "Times", "First", "Last"], rows: rows.collect() },
    }
}

/// Whether a reason says that an edge's knowledge was too old.
pub(crate) fn is_staleness(reason: &str) -> bool {
    matches!(reason, "stale" | "isolated" | "quarantined")
}

fn draw(frame: &Frame, refused: &[Refused<'_>]) -> Drawn {
    let buckets = match frame.size {
        Size::Wide => 160,
        Size::Medium => 100,
        Size::Narrow => 50,
    };
    let width_us = (frame.to_us / buckets).max(1) + 1;
    let counted = |times: &[u64]| {
        let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
        for time in times {
            *counts.entry(time / width_us).or_default() += 1;
        }
        counts
    };
    let rows: Vec<_> = refused.iter().take(REASONS_MAX).map(|refused| (refused, counted(&refused.times))).collect();
    let most = rows.iter().flat_map(|(_, counts)| counts.values()).max().copied().unwrap_or(1);
    let left_out = refused.len() - rows.len();
    let plot = 2.0 + ROW * real(count(rows.len().max(1)));
    let foot = if left_out > 0 { 18.0 } else { 0.0 };
    let body = html! {
        @for (at, (refused, counts)) in rows.iter().enumerate() {
            @let bottom = 2.0 + ROW * (real(count(at)) + 1.0) - 2.0;
            @let class = if is_staleness(refused.reason) { "stale" } else { "deny" };
            (frame.name(bottom - 4.0, refused.reason))
            line class="grid" x1=(px(frame.left)) x2=(px(frame.right)) y1=(px(bottom)) y2=(px(bottom)) {}
            @for (bucket, times) in counts {
                @let (from, to) = (frame.x(bucket * width_us), frame.x((bucket + 1) * width_us));
                @let height = (real(*times) / real(most) * BAR).max(2.0);
                rect class=(class) x=(px(from)) y=(px(bottom - height)) width=(px((to - from - 0.6).max(0.8)))
                    height=(px(height)) {
                    title { (refused.reason) ": " (times) " from " (moment(bucket * width_us)) }
                }
            }
        }
        @if left_out > 0 {
            text class="tick" x=(px(frame.left)) y=(px(plot + 12.0)) {
                "and " (many(count(left_out), "more reason", "more reasons")) ", in the table"
            }
        }
    };
    Drawn { height: plot + foot, body }
}
