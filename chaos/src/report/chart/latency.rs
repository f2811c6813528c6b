//! The lane of answer times: how long calls took, on a scale on which each line is ten times the one below.

use maud::html;

use super::lane::{Lane, Table};
use super::series::thin;
use super::{Drawn, Frame, path, px};
use crate::history::figures::{Bucket, Latency};
use crate::report::words::{count, lasting, moment, real};

const HEIGHT: f64 = 132.0;

/// How long answered calls took; `simulated` says that most of that time is no machine's.
pub(crate) fn latency<'a>(buckets: &'a [Bucket], all: Option<&Latency>, simulated: bool) -> Lane<'a> {
    let told = all.map_or_else(
        || "No call was answered.".to_owned(),
        |all| {
            let (half, most, max) = (lasting(all.p50_us), lasting(all.p99_us), lasting(all.max_us));
            format!("Half of all calls were answered within {half}, 99 of 100 within {most}; the slowest took {max}.")
        },
    );
    let rows = buckets.iter().filter_map(|bucket| {
        let latency = bucket.latency?;
        Some(vec![moment(bucket.from_us), lasting(latency.p50_us), lasting(latency.p99_us), lasting(latency.max_us)])
    });
    let note = "Simulated time: these times show waiting for the simulated network, disks and timers. Computing takes no \
                time there, so they say nothing about the speed of a real machine.";
    Lane {
        id: "latency",
        title: "How long calls took",
        told,
        key: vec![
            ("line one", "99 of 100 calls took at most this".to_owned()),
            ("line rest", "half of the calls took at most this".to_owned()),
        ],
        note: simulated.then(|| note.to_owned()),
        draw: Box::new(move |frame| draw(frame, buckets)),
        table: Table { head: vec!["From", "Half within", "99 of 100 within", "Slowest"], rows: rows.collect() },
    }
}

fn draw(frame: &Frame, buckets: &[Bucket]) -> Drawn {
    let seen = || buckets.iter().filter_map(|bucket| bucket.latency.map(|latency| (bucket.from_us, latency)));
    let least = seen().map(|(_, latency)| latency.p50_us.max(1)).min().unwrap_or(1_000);
    let most = seen().map(|(_, latency)| latency.p99_us.max(1)).max().unwrap_or(1_000);
    let (low, mut high) = (least.ilog10(), (most.saturating_sub(1).max(1)).ilog10() + 1);
    high = high.max(low + 1);
    let bottom = HEIGHT - 2.0;
    let y = |us: u64| {
        let share = (real(us.max(1)).log10() - f64::from(low)) / f64::from(high - low);
        bottom - share.clamp(0.0, 1.0) * (bottom - 8.0)
    };
    let line = |of: fn(&Latency) -> u64| {
        let points: Vec<_> = seen().map(|(at, latency)| (at, y(of(&latency)))).collect();
        thin(&points, frame.points_max())
    };
    let line_path = |points: &[(u64, f64)]| path(points.iter().map(|(at, y)| (frame.x(*at), *y)));
    let (half, most) = (line(|latency| latency.p50_us), line(|latency| latency.p99_us));
    let few = count(most.len()) <= 1;
    let body = html! {
        @for power in low..=high {
            @let us = 10u64.saturating_pow(power);
            (frame.level(y(us), &round(us)))
        }
        path class="line rest" d=(line_path(&half)) { title { "half of the calls" } }
        path class="line one" d=(line_path(&most)) { title { "99 of 100 calls" } }
        @if few { @for (at, y) in &most { circle class="dot" cx=(px(frame.x(*at))) cy=(px(*y)) r="2.5" {} } }
    };
    Drawn { height: HEIGHT, body }
}

/// A power of ten of microseconds.
fn round(us: u64) -> String {
    match us {
        0..1_000 => format!("{us}\u{a0}µs"),
        1_000..1_000_000 => format!("{}\u{a0}ms", us / 1_000),
        _ => format!("{}\u{a0}s", us / 1_000_000),
    }
}
