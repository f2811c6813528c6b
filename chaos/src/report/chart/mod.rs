//! Drawings of a run over time: one lane below the other, all on the same axis.
//!
//! Every lane is drawn for three widths, of which a reader's window shows one: text keeps its size, and labels are laid
//! out for the room there is. Colours are classes of the page's style, so that light, dark and paper have their own.

mod bundles;
mod faults;
mod lane;
mod latency;
mod rates;
mod refusals;
mod series;
mod staleness;
mod text;
mod voters;

use std::fmt::Write as _;

use maud::{Markup, html};

pub(super) use lane::{Lane, Table};
pub(super) use series::{Stretch, silence, stretches};

use super::words::real;

pub(super) use bundles::{EdgeSeen, bundles};
pub(super) use faults::{breaches, faults};
pub(super) use latency::latency;
pub(super) use rates::decisions;
pub(super) use refusals::{is_staleness, refusals, refused};
pub(super) use staleness::staleness;
pub(super) use voters::{VoterSeen, leaderless, voters};

/// Points of one line at most, in the widest drawing.
const POINTS_MAX: usize = 600;
/// Rows of one lane at most; what has no row is counted below it.
const ROWS_MAX: usize = 24;

/// The width of a drawing, and how the page calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Size {
    /// A desk.
    Wide,
    /// A tablet, a printed page.
    Medium,
    /// A telephone.
    Narrow,
}

impl Size {
    const ALL: [Self; 3] = [Self::Wide, Self::Medium, Self::Narrow];

    fn class(self) -> &'static str {
        match self {
            Self::Wide => "wide",
            Self::Medium => "medium",
            Self::Narrow => "narrow",
        }
    }
}

/// The time axis of every lane at one width.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    size: Size,
    width: f64,
    left: f64,
    right: f64,
    to_us: u64,
    shades: Vec<(u64, u64)>,
}

/// One lane at one width: how high it is, and what is in it.
pub(super) struct Drawn {
    height: f64,
    body: Markup,
}

/// What the axis covers, and when something was broken.
#[derive(Debug, Clone)]
pub(super) struct Axis {
    /// The end of the run.
    pub(super) to_us: u64,
    /// Spans in which at least one fault lasted, none touching another.
    pub(super) shades: Vec<(u64, u64)>,
}

impl Frame {
    fn new(axis: &Axis, size: Size) -> Self {
        let (width, left) = match size {
            Size::Wide => (1_000.0, 116.0),
            Size::Medium => (640.0, 88.0),
            Size::Narrow => (328.0, 66.0),
        };
        Self { size, width, left, right: width - 10.0, to_us: axis.to_us.max(1), shades: axis.shades.clone() }
    }

    /// Where a moment stands.
    fn x(&self, time_us: u64) -> f64 {
        let share = real(time_us.min(self.to_us)) / real(self.to_us);
        self.left + share * (self.right - self.left)
    }

    /// How many points a line may have here.
    fn points_max(&self) -> usize {
        match self.size {
            Size::Wide => POINTS_MAX,
            Size::Medium => POINTS_MAX / 2,
            Size::Narrow => POINTS_MAX / 3,
        }
    }

    /// Round moments, far enough from each other for their labels.
    fn ticks(&self) -> Vec<(u64, String)> {
        const STEPS: [u64; 16] = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 21_600, 86_400];
        let room = (self.right - self.left) / 56.0;
        let fits = |step: &u64| real(self.to_us) / (real(*step) * 1e6) <= room;
        let secs = STEPS.into_iter().find(fits).unwrap_or_else(|| self.to_us / 4_000_000 + 1);
        let step = secs.saturating_mul(1_000_000);
        let minutes = self.to_us > 180_000_000;
        let label = |at: u64| match (at / 1_000_000, minutes) {
            (secs, false) => format!("{secs}\u{a0}s"),
            (secs, true) if secs >= 3_600 => format!("{}:{:02}:{:02}", secs / 3_600, secs / 60 % 60, secs % 60),
            (secs, true) => format!("{}:{:02}", secs / 60, secs % 60),
        };
        (0..=self.to_us / step).take(64).map(|n| n * step).map(|at| (at, label(at))).collect()
    }

    /// What lies behind a lane: spans with faults, and the lines of the axis.
    fn ground(&self, bottom: f64) -> Markup {
        html! {
            @for (from, to) in &self.shades {
                rect class="shade" x=(px(self.x(*from))) y="0" height=(px(bottom))
                    width=(px((self.x(*to) - self.x(*from)).max(1.5))) {}
            }
            @for (at, _) in self.ticks() {
                line class="grid" x1=(px(self.x(at))) x2=(px(self.x(at))) y1="0" y2=(px(bottom)) {}
            }
        }
    }

    /// The labels of the axis.
    fn axis(&self, y: f64) -> Markup {
        let half = |label: &str| text::width(label, text::SMALL) / 2.0;
        html! {
            @for (at, label) in self.ticks() {
                @let x = self.x(at).min(self.width - half(&label) - 1.0);
                text class="tick" x=(px(x)) y=(px(y)) text-anchor="middle" { (label) }
            }
        }
    }

    /// A name in the gutter; of a long one beginning and end, because names of nodes differ at the end.
    fn name(&self, y: f64, name: &str) -> Markup {
        html! { text class="name" x="0" y=(px(y)) { (text::squeeze(name, text::SMALL, self.left - 6.0)) } }
    }

    /// A horizontal line across the plot with its label in the gutter.
    fn level(&self, y: f64, label: &str) -> Markup {
        html! {
            line class="grid" x1=(px(self.left)) x2=(px(self.right)) y1=(px(y)) y2=(px(y)) {}
            text class="tick" x=(px(self.left - 6.0)) y=(px(y + 3.5)) text-anchor="end" { (label) }
        }
    }

    /// A bar with the first of the labels that it has room for, and what it means for whoever points at it.
    fn bar(&self, class: &str, span: (u64, u64), (y, height): (f64, f64), labels: &[&str], meaning: &str) -> Markup {
        let (from, to) = (self.x(span.0), self.x(span.1));
        let width = (to - from).max(1.5);
        let label = labels.iter().find(|label| text::width(label, text::SMALL) <= width - 7.0).copied().unwrap_or("");
        html! {
            g {
                title { (meaning) }
                rect class=(class) x=(px(from)) y=(px(y)) width=(px(width)) height=(px(height)) rx="2" {}
                @if !label.is_empty() {
                    text class=(format!("in {class}-text")) x=(px(from + 5.0)) y=(px(y + height / 2.0 + 3.8)) { (label) }
                }
            }
        }
    }
}

/// A coordinate with one decimal, the shortest way.
fn px(value: f64) -> String {
    let text = format!("{value:.1}");
    match text.strip_suffix(".0") {
        Some("-0") => "0".to_owned(),
        Some(whole) => whole.to_owned(),
        None => text,
    }
}

/// A line through points, as the `d` of a path.
fn path(points: impl IntoIterator<Item = (f64, f64)>) -> String {
    let mut d = String::new();
    for (x, y) in points {
        let _ = write!(d, "{}{} {}", if d.is_empty() { "M" } else { "L" }, px(x), px(y));
    }
    d
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_the_axis_never_touch_however_long_the_run() {
        for to_us in [1, 900_000, 60_000_000, 183_000_000, 3_600_000_000, 90_000_000_000, 30_000_000_000_000] {
            for size in Size::ALL {
                let frame = Frame::new(&Axis { to_us, shades: Vec::new() }, size);
                let ticks = frame.ticks();
                assert!(!ticks.is_empty() && ticks.len() <= 64, "{to_us} {size:?}");
                for pair in ticks.windows(2) {
                    let half = |at: usize| text::width(&pair[at].1, text::SMALL) / 2.0;
                    assert!(frame.x(pair[1].0) - frame.x(pair[0].0) > half(0) + half(1), "{to_us} {size:?}");
                }
            }
        }
    }

    #[test]
    fn coordinates_are_written_the_shortest_way() {
        assert_eq!((px(1.0), px(-0.01), px(2.345)), ("1".to_owned(), "0".to_owned(), "2.3".to_owned()));
        assert_eq!(path([(1.0, 2.0), (3.5, 4.0)]), "M1 2L3.5 4");
    }
}
