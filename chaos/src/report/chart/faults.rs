//! The lane of what was broken, with the phases of the run above it, and the lane of broken promises.

use maud::{Markup, html};

use super::lane::{Lane, Table};
use super::text::{SMALL, fit, rows, width};
use super::{Drawn, Frame, ROWS_MAX, Stretch, px};
use crate::report::broken::Broken;
use crate::report::words::{about, count, cut, fault, lasting, many, moment, real};

const ROW: f64 = 22.0;
const BAR: f64 = 14.0;
/// The strip of phases, above the faults.
const PHASES: f64 = 24.0;

/// What was broken, and for how long.
pub(crate) fn faults<'a>(broken: &'a [Broken<'a>], phases: &'a [Stretch<String>]) -> Lane<'a> {
    let endless = broken.iter().filter(|broken| broken.outage.to_us.is_none()).count();
    let told = match (broken, endless) {
        ([], _) => "Nothing was broken in this run.".to_owned(),
        ([only], 0) => format!("One fault: {}.", sentence(only)),
        (_, 0) => format!("{}; each was ended before the checks.", many(count(broken.len()), "fault", "faults")),
        (_, open) => format!("{}, of which {open} never ended.", many(count(broken.len()), "fault", "faults")),
    };
    Lane {
        id: "faults",
        title: "What was broken",
        told,
        key: vec![
            ("fault", "a fault, as long as it lasted".to_owned()),
            ("shade", "in every lane below: at least one fault lasts".to_owned()),
        ],
        note: None,
        draw: Box::new(move |frame| draw(frame, broken, phases)),
        table: Table {
            head: vec!["From", "To", "Lasted", "Fault", "Targets", "Detail"],
            rows: broken.iter().map(row).collect(),
        },
    }
}

fn row(broken: &Broken<'_>) -> Vec<String> {
    let outage = broken.outage;
    vec![
        moment(outage.from_us),
        outage.to_us.map_or_else(|| "never".to_owned(), moment),
        outage.to_us.map_or_else(|| "–".to_owned(), |to| lasting(to.saturating_sub(outage.from_us))),
        fault(&outage.name).to_owned(),
        broken.whom.clone(),
        cut(&outage.detail, 200),
    ]
}

fn sentence(broken: &Broken<'_>) -> String {
    let outage = broken.outage;
    let lasted = outage.to_us.map(|to| to.saturating_sub(outage.from_us)).filter(|lasted| *lasted > 0);
    let of = if broken.whom.is_empty() { String::new() } else { format!(" ({})", broken.whom) };
    let lasted = lasted.map_or_else(String::new, |lasted| format!(" for {}", lasting(lasted)));
    format!("{}{of} at {}{lasted}", fault(&outage.name), about(outage.from_us))
}

fn label(broken: &Broken<'_>) -> String {
    let what = fault(&broken.outage.name);
    if broken.whom.is_empty() { what.to_owned() } else { format!("{what} · {}", broken.whom) }
}

fn draw(frame: &Frame, broken: &[Broken<'_>], phases: &[Stretch<String>]) -> Drawn {
    let spots: Vec<Spot> = broken.iter().map(|broken| Spot::new(frame, broken)).collect();
    let reaches: Vec<_> = spots.iter().map(|spot| spot.reach).collect();
    let placed = rows(&reaches, 8.0, ROWS_MAX);
    let used = placed.iter().flatten().max().map_or(1, |row| row + 1);
    let left_out = placed.iter().filter(|row| row.is_none()).count();
    let top = |row: usize| PHASES + 6.0 + real(count(row)) * ROW;
    let body = html! {
        (phase_strip(frame, phases))
        @for ((broken, spot), row) in broken.iter().zip(&spots).zip(&placed) {
            @if let Some(row) = row { (spot.render(broken, top(*row))) }
        }
        @if left_out > 0 {
            text class="tick" x=(px(frame.left)) y=(px(top(used) + 14.0)) {
                "and " (many(count(left_out), "more fault", "more faults")) ", in the table"
            }
        }
    };
    Drawn { height: top(used) + if left_out > 0 { ROW } else { 0.0 }, body }
}

/// Where a fault is drawn, with its label inside, after or before its bar.
struct Spot {
    bar: (f64, f64),
    momentary: bool,
    label: String,
    at: (f64, &'static str),
    inside: bool,
    reach: (f64, f64),
}

impl Spot {
    fn new(frame: &Frame, broken: &Broken<'_>) -> Self {
        let outage = broken.outage;
        let momentary = outage.to_us.is_some_and(|to| to.saturating_sub(outage.from_us) < 1_000);
        let from = frame.x(outage.from_us);
        let to = frame.x(outage.to_us.unwrap_or(frame.to_us)).max(from + 3.0);
        let bar = if momentary { (from - 6.0, from + 6.0) } else { (from, to) };
        let text = label(broken);
        let wide = width(&text, SMALL);
        if !momentary && wide + 12.0 <= to - from {
            return Self { bar, momentary, label: text, at: (from + 6.0, "start"), inside: true, reach: bar };
        }
        let (before, after) = (bar.0 - frame.left, frame.right - bar.1);
        let room = before.max(after) - 6.0;
        let text = fit(&text, SMALL, room.max(0.0));
        let wide = width(&text, SMALL) + 6.0;
        let (at, reach) = if after >= wide || after >= before {
            ((bar.1 + 5.0, "start"), (bar.0, bar.1 + wide))
        } else {
            ((bar.0 - 5.0, "end"), (bar.0 - wide, bar.1))
        };
        Self { bar, momentary, label: text, at, inside: false, reach }
    }

    fn render(&self, broken: &Broken<'_>, y: f64) -> Markup {
        let outage = broken.outage;
        let (from, to) = self.bar;
        let middle = (from + to) / 2.0;
        let (x, anchor) = self.at;
        html! {
            g class="one-fault" {
                title { (sentence(broken)) @if !outage.detail.is_empty() { ": " (cut(&outage.detail, 200)) } }
                @if self.momentary {
                    path class="fault" d=(format!("M{} {}l6 7l-6 7l-6 -7Z", px(middle), px(y))) {}
                } @else {
                    rect class="fault" x=(px(from)) y=(px(y)) width=(px(to - from)) height=(px(BAR)) rx="3" {}
                    @if outage.to_us.is_none() {
                        path class="fault-open" d=(format!("M{} {}l-7 7l7 7", px(to), px(y))) {}
                    }
                }
                text class=(if self.inside { "in fault-text" } else { "out" }) x=(px(x)) y=(px(y + BAR / 2.0 + 4.0))
                    text-anchor=(anchor) { (self.label) }
            }
        }
    }
}

fn phase_strip(frame: &Frame, phases: &[Stretch<String>]) -> Markup {
    html! {
        (frame.name(13.0, "phase"))
        @for (at, phase) in phases.iter().enumerate() {
            @let class = if at % 2 == 0 { "phase" } else { "phase-b" };
            @let name = phase_name(&phase.value);
            (frame.bar(class, (phase.from_us, phase.to_us), (1.0, 17.0), &[name],
                &format!("{name}, from {} to {}", moment(phase.from_us), moment(phase.to_us))))
        }
        (frame.name(PHASES + 6.0 + BAR / 2.0 + 4.0, "faults"))
    }
}

/// A phase in plain words.
fn phase_name(name: &str) -> &str {
    match name {
        "setup" => "set-up",
        "steady" => "all well",
        "faults" => "breaking things",
        "heal" => "recovering",
        "check" => "checking",
        other => other,
    }
}

/// When promises were broken; `seen` is which, when, and what happened.
pub(crate) fn breaches<'a>(seen: Vec<(&'a str, u64, &'a str)>) -> Lane<'a> {
    let table = seen.iter().map(|(id, at, what)| vec![moment(*at), (*id).to_owned(), cut(what, 300)]).collect();
    let told =
        format!("{} can be placed in time.", many(count(seen.len()), "breach of a promise", "breaches of promises"));
    Lane {
        id: "breaches",
        title: "Broken promises",
        told,
        key: Vec::new(),
        note: None,
        draw: Box::new(move |frame| draw_breaches(frame, &seen)),
        table: Table { head: vec!["When", "Promise", "What happened"], rows: table },
    }
}

fn draw_breaches(frame: &Frame, seen: &[(&str, u64, &str)]) -> Drawn {
    let spot = |(id, at, _): &(&str, u64, &str)| {
        let wide = width(id, SMALL) + 14.0;
        let x = frame.x(*at);
        if x + wide > frame.right { (x - wide, x + 6.0) } else { (x - 6.0, x + wide) }
    };
    let reaches: Vec<_> = seen.iter().map(spot).collect();
    let placed = rows(&reaches, 4.0, 8);
    let used = placed.iter().flatten().max().map_or(1, |row| row + 1);
    let top = |row: usize| 4.0 + real(count(row)) * 18.0;
    let body = html! {
        (frame.name(14.0, "breaches"))
        @for (((id, at, what), reach), row) in seen.iter().zip(&reaches).zip(&placed) {
            @if let Some(row) = row {
                @let (x, y) = (frame.x(*at), top(*row));
                @let before = x - reach.0 > 6.5;
                g {
                    title { (id) " at " (moment(*at)) ": " (cut(what, 300)) }
                    path class="breach" d=(format!("M{} {}l9 9M{} {}l-9 9", px(x - 4.5), px(y + 1.5), px(x + 4.5), px(y + 1.5))) {}
                    text class="out breach-text" x=(px(if before { x - 8.0 } else { x + 8.0 })) y=(px(y + 10.0))
                        text-anchor=(if before { "end" } else { "start" }) { (id) }
                }
            }
        }
    };
    Drawn { height: top(used) + 2.0, body }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use remit_common::id::VoterId;

    use super::super::{Axis, Size};
    use super::*;
    use crate::history::outages::Outage;
    use crate::node::{Node, Roster};

    fn outage((from_us, lasts_us, voters): (u64, u64, u64)) -> Outage {
        let nodes = (1..=voters).map(|id| Node::Voter(VoterId(id))).collect();
        let name = if lasts_us == 0 { "clock-jump" } else { "partition" }.to_owned();
        let to_us = Some(from_us + lasts_us).filter(|to| *to <= 90_000_000);
        Outage { name, nodes, detail: String::new(), index: 0, from_us, to_us, ends: BTreeMap::new() }
    }

    proptest! {
        #[test]
        fn bars_and_labels_of_a_row_never_touch_and_stay_in_the_picture(
            spans in proptest::collection::vec((0..90_000_000u64, 0..40_000_000u64, 0..4u64), 1..20),
        ) {
            for size in Size::ALL {
                let frame = Frame::new(&Axis { to_us: 90_000_000, shades: Vec::new() }, size);
                let outages: Vec<_> = spans.iter().copied().map(outage).collect();
                let broken = Broken::all(&outages, &[], &Roster::default());
                let spots: Vec<_> = broken.iter().map(|broken| Spot::new(&frame, broken)).collect();
                let reaches: Vec<_> = spots.iter().map(|spot| spot.reach).collect();
                let placed = rows(&reaches, 8.0, ROWS_MAX);
                for (at, spot) in spots.iter().enumerate() {
                    prop_assert!(spot.reach.0 >= frame.left - 7.0 && spot.reach.1 <= frame.right + 7.0);
                    let label = width(&spot.label, SMALL);
                    let (from, to) = match spot.at.1 {
                        "start" => (spot.at.0, spot.at.0 + label),
                        _ => (spot.at.0 - label, spot.at.0),
                    };
                    prop_assert!(spot.label.is_empty() || (from >= spot.reach.0 && to <= spot.reach.1 + 0.01));
                    for other in (0..at).filter(|other| placed[*other] == placed[at] && placed[at].is_some()) {
                        prop_assert!(spot.reach.1 <= reaches[other].0 || reaches[other].1 <= spot.reach.0);
                    }
                }
            }
        }
    }
}
