//! The lane of what was broken, with the phases of the run above it, and the lane of broken promises.

use maud::{Markup, html};

use super::lane::{Lane, Table};
use super::text::{SMALL, fit, rows, width};
use super::{Drawn, Frame, ROWS_MAX, Stretch, px};
use crate::history::outages::Outage;
use crate::node::Roster;
use crate::report::words::{about, count, cut, fault, lasting, many, moment, nodes, real};

const ROW: f64 = 22.0;
const BAR: f64 = 14.0;
/// The strip of phases, above the faults.
const PHASES: f64 = 24.0;

/// What was broken, and for how long.
pub(crate) fn faults<'a>(outages: &'a [Outage], phases: &'a [Stretch<String>], roster: &'a Roster) -> Lane<'a> {
    let endless = outages.iter().filter(|outage| outage.to_us.is_none()).count();
    let told = match (outages, endless) {
        ([], _) => "Nothing was broken in this run.".to_owned(),
        ([only], 0) => format!("One fault: {}.", sentence(only, roster)),
        (_, 0) => format!("{}; each was ended before the checks.", many(count(outages.len()), "fault", "faults")),
        (_, open) => format!("{}, of which {open} never ended.", many(count(outages.len()), "fault", "faults")),
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
        draw: Box::new(move |frame| draw(frame, outages, phases, roster)),
        table: Table {
            head: vec!["From", "To", "Lasted", "Fault", "Targets", "Detail"],
            rows: outages.iter().map(|outage| row(outage, roster)).collect(),
        },
    }
}

fn row(outage: &Outage, roster: &Roster) -> Vec<String> {
    vec![
        moment(outage.from_us),
        outage.to_us.map_or_else(|| "never".to_owned(), moment),
        outage.to_us.map_or_else(|| "–".to_owned(), |to| lasting(to.saturating_sub(outage.from_us))),
        fault(&outage.name).to_owned(),
        nodes(&outage.nodes, roster, 8),
        cut(&outage.detail, 200),
    ]
}

fn sentence(outage: &Outage, roster: &Roster) -> String {
    let lasted = outage.to_us.map(|to| to.saturating_sub(outage.from_us)).filter(|lasted| *lasted > 0);
    let of = if outage.nodes.is_empty() { String::new() } else { format!(" ({})", nodes(&outage.nodes, roster, 3)) };
    let lasted = lasted.map_or_else(String::new, |lasted| format!(" for {}", lasting(lasted)));
    format!("{}{of} at {}{lasted}", fault(&outage.name), about(outage.from_us))
}

fn label(outage: &Outage, roster: &Roster) -> String {
    match outage.nodes.as_slice() {
        [] => fault(&outage.name).to_owned(),
        some => format!("{} · {}", fault(&outage.name), nodes(some, roster, 3)),
    }
}

fn draw(frame: &Frame, outages: &[Outage], phases: &[Stretch<String>], roster: &Roster) -> Drawn {
    let spots: Vec<Spot> = outages.iter().map(|outage| Spot::new(frame, outage, roster)).collect();
    let reaches: Vec<_> = spots.iter().map(|spot| spot.reach).collect();
    let placed = rows(&reaches, 8.0, ROWS_MAX);
    let used = placed.iter().flatten().max().map_or(1, |row| row + 1);
    let left_out = placed.iter().filter(|row| row.is_none()).count();
    let top = |row: usize| PHASES + 6.0 + real(count(row)) * ROW;
    let body = html! {
        (phase_strip(frame, phases))
        @for ((outage, spot), row) in outages.iter().zip(&spots).zip(&placed) {
            @if let Some(row) = row { (spot.render(outage, roster, top(*row))) }
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
    fn new(frame: &Frame, outage: &Outage, roster: &Roster) -> Self {
        let momentary = outage.to_us.is_some_and(|to| to.saturating_sub(outage.from_us) < 1_000);
        let from = frame.x(outage.from_us);
        let to = frame.x(outage.to_us.unwrap_or(frame.to_us)).max(from + 3.0);
        let bar = if momentary { (from - 6.0, from + 6.0) } else { (from, to) };
        let text = label(outage, roster);
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

    fn render(&self, outage: &Outage, roster: &Roster, y: f64) -> Markup {
        let (from, to) = self.bar;
        let middle = (from + to) / 2.0;
        let (x, anchor) = self.at;
        html! {
            g class="one-fault" {
                title { (sentence(outage, roster)) @if !outage.detail.is_empty() { ": " (cut(&outage.detail, 200)) } }
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
    use crate::node::Node;

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
                let outages = spans.iter().copied().map(outage);
                let spots: Vec<_> = outages.map(|outage| Spot::new(&frame, &outage, &Roster::default())).collect();
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
