//! The lane of ages: how old each edge's knowledge of revocations was, against what each effect allows.

use maud::{Markup, html};
use remit_common::id::EdgeId;
use remit_common::lattice::Effect;
use remit_common::policy::Bounds;

use super::lane::{Lane, Table};
use super::series::thin;
use super::text::{SMALL, scale, spread, width};
use super::{Drawn, Frame, path, px};
use crate::history::figures::Staleness;
use crate::report::words::{about, count, lasting, many, moment, real};

const HEIGHT: f64 = 168.0;
/// For the strip in which an edge does not know its age.
const UNKNOWN: f64 = 14.0;
/// Edges with a colour and a label of their own: those whose knowledge grew oldest.
const TOLD_APART: usize = 4;
/// Lines of one lane at most.
const LINES_MAX: usize = 40;

/// How old each edge's knowledge was; `silence_us` without a word breaks a line.
pub(crate) fn staleness<'a>(seen: &'a [(EdgeId, &'a [Staleness])], bounds: &'a Bounds, silence_us: u64) -> Lane<'a> {
    let peaks = peaks(seen);
    let rows = peaks.iter().map(|peak| {
        vec![
            peak.edge.to_string(),
            lasting(peak.age_ms.saturating_mul(1_000)),
            moment(peak.at_us),
            many(peak.unknown, "observation", "observations"),
        ]
    });
    let mut key: Vec<(&'static str, String)> = LINES
        .into_iter()
        .zip(&peaks)
        .take(told_apart(&peaks, bounds))
        .map(|(class, peak)| (class, peak.edge.to_string()))
        .collect();
    if peaks.len() > key.len() {
        key.push(("line rest", if key.is_empty() { "one line for each edge" } else { "the other edges" }.to_owned()));
    }
    key.push(("line bound", "the oldest that an effect allows".to_owned()));
    if peaks.iter().any(|peak| peak.unknown > 0) {
        key.push(("unknown", "the edge cannot tell: it refuses".to_owned()));
    }
    Lane {
        id: "staleness",
        title: "How old each edge's knowledge was",
        told: told(&peaks, bounds),
        key,
        note: Some(above(&peaks, bounds)),
        draw: Box::new(move |frame| draw(frame, seen, bounds, silence_us)),
        table: Table { head: vec!["Edge", "Oldest", "When", "Age unknown in"], rows: rows.collect() },
    }
}

const LINES: [&str; TOLD_APART] = ["line one", "line two", "line three", "line four"];

struct Peak<'a> {
    edge: &'a EdgeId,
    age_ms: u64,
    at_us: u64,
    unknown: u64,
}

/// How old each edge's knowledge grew, the oldest first.
fn peaks<'a>(seen: &'a [(EdgeId, &'a [Staleness])]) -> Vec<Peak<'a>> {
    let peak = |(edge, ages): &'a (EdgeId, &'a [Staleness])| {
        let oldest = ages.iter().filter_map(|seen| seen.age_ms.map(|age| (age, seen.time_us))).max();
        let unknown = count(ages.iter().filter(|seen| seen.age_ms.is_none()).count());
        let (age_ms, at_us) = oldest.unwrap_or_default();
        Peak { edge, age_ms, at_us, unknown }
    };
    let mut peaks: Vec<_> = seen.iter().map(peak).collect();
    peaks.sort_by_key(|peak| std::cmp::Reverse(peak.age_ms));
    peaks
}

/// Bounds with the effects that share them, the shortest first; in seconds.
fn steps(bounds: &Bounds) -> Vec<(u64, Vec<&'static str>)> {
    let mut steps: Vec<(u64, Vec<&'static str>)> = Vec::new();
    for effect in Effect::ALL {
        let secs = bounds.of(effect).as_secs();
        match steps.iter_mut().find(|step| step.0 == secs) {
            Some(step) => step.1.push(effect.as_str()),
            None => steps.push((secs, vec![effect.as_str()])),
        }
    }
    steps.sort_by_key(|step| step.0);
    steps
}

/// How many edges stand out: their age went beyond the shortest bound, or half of it.
fn told_apart(peaks: &[Peak<'_>], bounds: &Bounds) -> usize {
    let shortest = steps(bounds).first().map_or(0, |step| step.0.saturating_mul(500));
    peaks.iter().filter(|peak| peak.age_ms > shortest).count().min(TOLD_APART)
}

fn told(peaks: &[Peak<'_>], bounds: &Bounds) -> String {
    let Some(oldest) = peaks.first() else { return "No edge said how old its knowledge was.".to_owned() };
    let age = lasting(oldest.age_ms.saturating_mul(1_000));
    let passed: Vec<_> =
        steps(bounds).into_iter().filter(|step| oldest.age_ms > step.0.saturating_mul(1_000)).collect();
    let allowed = match passed.last() {
        None => "every effect stayed within its bound".to_owned(),
        Some(_) => {
            let effects: Vec<_> =
                passed.iter().flat_map(|step| step.1.iter().map(|effect| (*effect).to_owned())).collect();
            format!("beyond the bound of {}, which the edge then has to refuse", crate::report::words::list(&effects))
        }
    };
    format!("The oldest was {age}, at {} at {}: {allowed}.", oldest.edge, about(oldest.at_us))
}

/// The top of the drawing, in milliseconds: the oldest age, and the shortest bound at least.
fn top_ms(peaks: &[Peak<'_>], bounds: &Bounds) -> u64 {
    let oldest = peaks.first().map_or(0, |peak| peak.age_ms);
    let shortest = steps(bounds).first().map_or(1, |step| step.0).saturating_mul(1_000);
    oldest.saturating_mul(11).max(shortest.saturating_mul(12)).max(1_000) / 10
}

fn above(peaks: &[Peak<'_>], bounds: &Bounds) -> String {
    let top = top_ms(peaks, bounds);
    let beyond: Vec<_> = steps(bounds).into_iter().filter(|step| step.0.saturating_mul(1_000) > top).collect();
    let listed: Vec<_> = beyond.iter().map(|(secs, effects)| format!("{} {secs}\u{a0}s", effects.join(", "))).collect();
    let rule = "An edge that has heard nothing for longer than a bound refuses that effect, because it may have missed a revocation.";
    if listed.is_empty() { rule.to_owned() } else { format!("{rule} Bounds above the picture: {}.", listed.join("; ")) }
}

fn draw(frame: &Frame, seen: &[(EdgeId, &[Staleness])], bounds: &Bounds, silence_us: u64) -> Drawn {
    let peaks = peaks(seen);
    let marks = scale(real(top_ms(&peaks, bounds)) / 1_000.0, 5);
    let top = marks.last().copied().unwrap_or(1.0);
    let bottom = HEIGHT - 2.0;
    let y = |secs: f64| bottom - secs.min(top) / top * (bottom - UNKNOWN - 6.0);
    let apart = told_apart(&peaks, bounds);
    let class = |edge: &EdgeId| {
        let place = peaks.iter().position(|peak| peak.edge == edge).filter(|place| *place < apart);
        place.and_then(|place| LINES.get(place)).copied().unwrap_or("line rest")
    };
    // The lines that stand out are drawn last, above the others.
    let mut order: Vec<_> = seen.iter().take(LINES_MAX).map(|(edge, ages)| (class(edge), edge, *ages)).collect();
    order.sort_by_key(|(class, _, _)| *class != "line rest");
    let body = html! {
        @for mark in &marks { (frame.level(y(*mark), &format!("{} s", crate::report::words::figure(*mark)))) }
        (bound_lines(frame, bounds, top, &y))
        @for (class, edge, ages) in order {
            @for part in known(ages, silence_us) {
                path class=(class) d=(path(thin(&part, frame.points_max()).into_iter().map(|(at, age)| (frame.x(at), y(age))))) {
                    title { (edge) }
                }
            }
            @for (from, to) in unknown(ages, silence_us) {
                rect class="unknown" x=(px(frame.x(from))) y="2" height=(px(UNKNOWN - 4.0))
                    width=(px((frame.x(to) - frame.x(from)).max(2.0))) { title { (edge) ": age unknown" } }
            }
        }
    };
    Drawn { height: HEIGHT, body }
}

fn bound_lines(frame: &Frame, bounds: &Bounds, top: f64, y: &impl Fn(f64) -> f64) -> Markup {
    let shown: Vec<_> = steps(bounds).into_iter().filter(|step| real(step.0) <= top).collect();
    let wanted: Vec<_> = shown.iter().map(|step| y(real(step.0)) - 4.0).collect();
    let labels = spread(&wanted, 13.0, 12.0, HEIGHT);
    let text = |(secs, effects): &(u64, Vec<&'static str>)| {
        let all = format!("{} {secs}\u{a0}s", effects.join(", "));
        let few = format!("{} effects {secs}\u{a0}s", effects.len());
        if width(&all, SMALL) < (frame.right - frame.left) * 0.6 || effects.len() == 1 { all } else { few }
    };
    html! {
        @for (step, label) in shown.iter().zip(labels) {
            @let at = y(real(step.0));
            line class="line bound" x1=(px(frame.left)) x2=(px(frame.right)) y1=(px(at)) y2=(px(at)) {}
            text class="halo" x=(px(frame.right - 3.0)) y=(px(label)) text-anchor="end" { (text(step)) }
        }
    }
}

/// Unbroken runs of known ages, in seconds.
fn known(ages: &[Staleness], silence_us: u64) -> Vec<Vec<(u64, f64)>> {
    let mut parts: Vec<Vec<(u64, f64)>> = vec![Vec::new()];
    let mut last = None;
    for seen in ages {
        let heard = last.is_none_or(|last| seen.time_us.saturating_sub(last) <= silence_us);
        if !heard || seen.age_ms.is_none() {
            parts.push(Vec::new());
        }
        last = Some(seen.time_us);
        if let (Some(age), Some(part)) = (seen.age_ms, parts.last_mut()) {
            part.push((seen.time_us, real(age) / 1_000.0));
        }
    }
    parts.retain(|part| !part.is_empty());
    parts
}

/// Spans in which an edge did not know its age.
fn unknown(ages: &[Staleness], silence_us: u64) -> Vec<(u64, u64)> {
    let stretches =
        super::stretches(ages.iter().map(|seen| (seen.time_us, seen.age_ms.is_none())).collect(), silence_us);
    stretches
        .into_iter()
        .filter(|stretch| stretch.value)
        .map(|stretch| (stretch.from_us, stretch.to_us))
        .take(200)
        .collect()
}
