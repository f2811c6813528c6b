//! What stands around a drawing: its name, what it shows in one sentence, its key, and the same as a table.

use maud::{Markup, html};

use super::text::SMALL;
use super::{Axis, Drawn, Frame, Size, px};
use crate::report::words::{count, many};

/// Rows of a table at most; the rest is counted.
const TABLE_ROWS_MAX: usize = 60;
/// Below the plot, for the labels of the axis.
const AXIS: f64 = 16.0;

/// One lane of the timeline.
pub(crate) struct Lane<'a> {
    /// Its identifier in the page.
    pub(crate) id: &'static str,
    /// Its name.
    pub(crate) title: &'static str,
    /// What it shows of this run, as a sentence; also the description for those who do not see it.
    pub(crate) told: String,
    /// How to read it: classes and what they mean.
    pub(crate) key: Vec<(&'static str, String)>,
    /// What else has to be said.
    pub(crate) note: Option<String>,
    /// The drawing for one width.
    pub(crate) draw: Box<dyn Fn(&Frame) -> Drawn + 'a>,
    /// The same in words and numbers.
    pub(crate) table: Table,
}

/// A table with a head.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    /// The head.
    pub(crate) head: Vec<&'static str>,
    /// The rows.
    pub(crate) rows: Vec<Vec<String>>,
}

impl Lane<'_> {
    /// The lane as a part of the page.
    pub(crate) fn render(&self, axis: &Axis) -> Markup {
        html! {
            figure.lane id=(format!("lane-{}", self.id)) {
                figcaption {
                    h3 { (self.title) }
                    p.told { (self.told) }
                    @if !self.key.is_empty() {
                        ul.key { @for (class, meaning) in &self.key { li { (swatch(class)) (meaning) } } }
                    }
                }
                @for size in Size::ALL { (self.svg(&Frame::new(axis, size))) }
                @if let Some(note) = &self.note { p.note { (note) } }
                (self.table.folded())
            }
        }
    }

    fn svg(&self, frame: &Frame) -> Markup {
        let drawn = (self.draw)(frame);
        let id = |what: &str| format!("{}-{}-{what}", self.id, frame.size.class());
        let height = drawn.height + AXIS;
        html! {
            svg class=(format!("draw {}", frame.size.class())) viewBox=(format!("0 0 {} {}", px(frame.width), px(height)))
                role="img" aria-labelledby=(format!("{} {}", id("title"), id("desc")))
                xmlns="http://www.w3.org/2000/svg" {
                title id=(id("title")) { (self.title) " over time" }
                desc id=(id("desc")) { (self.told) }
                (frame.ground(drawn.height))
                (drawn.body)
                (frame.axis(drawn.height + SMALL + 1.0))
            }
        }
    }
}

/// A sample of what a class looks like.
fn swatch(class: &str) -> Markup {
    html! {
        svg.swatch viewBox="0 0 16 10" aria-hidden="true" xmlns="http://www.w3.org/2000/svg" {
            @match class.strip_prefix("line ") {
                Some(_) => path class=(class) d="M0 5L16 5" {},
                None => rect class=(class) x="0.5" y="0.5" width="15" height="9" rx="2" {},
            }
        }
    }
}

impl Table {
    fn folded(&self) -> Markup {
        html! {
            details.table {
                summary { "The same as a table" }
                div.scroll { (self.render()) }
            }
        }
    }

    /// The table itself.
    pub(crate) fn render(&self) -> Markup {
        let left_out = count(self.rows.len().saturating_sub(TABLE_ROWS_MAX));
        html! {
            @if self.rows.is_empty() {
                p.note { "Nothing was seen." }
            } @else {
                table {
                    thead { tr { @for name in &self.head { th scope="col" { (name) } } } }
                    tbody {
                        @for row in self.rows.iter().take(TABLE_ROWS_MAX) { tr { @for cell in row { td { (cell) } } } }
                    }
                }
                @if left_out > 0 { p.note { (many(left_out, "more row is", "more rows are")) " in history.jsonl." } }
            }
        }
    }
}
