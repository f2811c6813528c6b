//! The lane of decisions: how many calls per second the edges answered, and how.

use maud::html;

use super::lane::{Lane, Table};
use super::text::scale;
use super::{Drawn, Frame, Size, px};
use crate::history::figures::Bucket;
use crate::report::words::{figure, grouped, many, moment, real};

const HEIGHT: f64 = 132.0;

/// Decisions per second, in buckets of `secs` seconds.
pub(crate) fn decisions(buckets: &[Bucket], secs: u64) -> Lane<'_> {
    let sum = |of: fn(&Bucket) -> u64| buckets.iter().map(of).sum::<u64>();
    let (permits, denials, stale) = (sum(|b| b.permits), sum(|b| b.denials), sum(|b| b.refused_as_stale));
    let told = format!(
        "{} answered: {} permitted, {} refused{}.",
        many(permits + denials, "call was", "calls were"),
        grouped(permits),
        grouped(denials),
        if stale == 0 {
            String::new()
        } else {
            format!(", {} of them because an edge knew too little", grouped(stale))
        }
    );
    let rows = merged(buckets, buckets.len().div_ceil(60)).into_iter().map(|bucket| {
        vec![
            moment(bucket.from_us),
            grouped(bucket.permits),
            grouped(bucket.denials.saturating_sub(bucket.refused_as_stale)),
            grouped(bucket.refused_as_stale),
        ]
    });
    Lane {
        id: "decisions",
        title: "Decisions per second",
        told,
        key: vec![
            ("permit", "permitted".to_owned()),
            ("deny", "refused by policy or authority".to_owned()),
            ("stale", "refused because the edge knew too little".to_owned()),
        ],
        note: None,
        draw: Box::new(move |frame| draw(frame, buckets, secs)),
        table: Table { head: vec!["From", "Permitted", "Refused by rule", "Refused as too old"], rows: rows.collect() },
    }
}

/// Joins every `of` buckets into one.
fn merged(buckets: &[Bucket], of: usize) -> Vec<Bucket> {
    let join = |part: &[Bucket]| Bucket {
        from_us: part.first().map_or(0, |bucket| bucket.from_us),
        permits: part.iter().map(|bucket| bucket.permits).sum(),
        denials: part.iter().map(|bucket| bucket.denials).sum(),
        refused_as_stale: part.iter().map(|bucket| bucket.refused_as_stale).sum(),
        latency: None,
    };
    buckets.chunks(of.max(1)).map(join).collect()
}

fn draw(frame: &Frame, buckets: &[Bucket], secs: u64) -> Drawn {
    let most = match frame.size {
        Size::Wide => 240,
        Size::Medium => 120,
        Size::Narrow => 60,
    };
    let of = buckets.len().div_ceil(most).max(1);
    let secs = secs.max(1).saturating_mul(crate::report::words::count(of));
    let buckets = merged(buckets, of);
    let rate = |calls: u64| real(calls) / real(secs);
    let busiest = buckets.iter().map(|bucket| bucket.permits + bucket.denials).max().unwrap_or(0);
    let marks = scale(rate(busiest).max(1.0), 4);
    let top = marks.last().copied().unwrap_or(1.0);
    let bottom = HEIGHT - 2.0;
    let y = |value: f64| bottom - value / top * (bottom - 8.0);
    let body = html! {
        @for mark in &marks { (frame.level(y(*mark), &figure(*mark))) }
        @for bucket in &buckets {
            @let from = frame.x(bucket.from_us);
            @let width = (frame.x(bucket.from_us.saturating_add(secs.saturating_mul(1_000_000))) - from - 0.6).max(0.6);
            @let rule = bucket.denials.saturating_sub(bucket.refused_as_stale);
            g {
                title {
                    "from " (moment(bucket.from_us)) ": " (bucket.permits) " permitted, " (rule) " refused by rule, "
                    (bucket.refused_as_stale) " refused as too old"
                }
                @let stack = [("permit", bucket.permits), ("deny", rule), ("stale", bucket.refused_as_stale)];
                @for (at, (class, calls)) in stack.iter().enumerate() {
                    @let below: u64 = stack.iter().take(at).map(|part| part.1).sum();
                    @if *calls > 0 {
                        @let (low, high) = (y(rate(below)), y(rate(below + calls)));
                        rect class=(class) x=(px(from)) y=(px(high)) width=(px(width)) height=(px(low - high)) {}
                    }
                }
            }
        }
    };
    Drawn { height: HEIGHT, body }
}
