//! `report.html`: one file that says what was rehearsed, what happened, and whether the promises held.
//!
//! It has no script and asks for nothing from anywhere, so it reads the same in ten years from a disk. Everything that
//! comes from a drill file or a node is escaped by the template; long lists are cut and say so.

mod evidence;
mod figures;
mod head;
mod steps;
mod timeline;
mod vocabulary;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::summary::Summary;
use super::view::View;
use crate::drill::outcome::Conclusion;

const STYLE: &str = include_str!("style.css");

/// The page.
pub(super) fn page(view: &View<'_>) -> String {
    let summary = Summary::of(view);
    let drill = view.drill;
    let title = format!("{}: {}", summary.word(), drill.drill.title);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="robots" content="noindex";
                meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                (patterns())
                main {
                    (head::head(view, &summary))
                    (steps::steps(view))
                    (timeline::timeline(view))
                    (evidence::promises(view))
                    @if !drill.events.is_empty() { (figures::figures(view)) }
                    (steps::again(view))
                    (vocabulary::vocabulary())
                }
                footer {
                    p { "Written by remit " (drill.version) " from " (super::words::grouped(super::words::count(drill.events.len())))
                        " events. Times without a date count from the beginning of the run." }
                }
            }
        }
    };
    // A page has no use for control characters, and HTML allows none.
    page.into_string().replace(|it: char| it.is_control() && it != '\n', "\u{fffd}")
}

/// Hatchings that tell classes apart where colours do not.
fn patterns() -> Markup {
    html! {
        svg.patterns aria-hidden="true" width="0" height="0" xmlns="http://www.w3.org/2000/svg" {
            defs {
                pattern id="hatch-deny" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)" {
                    rect class="hatch-deny-ground" width="5" height="5" {}
                    rect class="hatch-deny-line" width="1.6" height="5" {}
                }
                pattern id="hatch-stale" width="4" height="4" patternUnits="userSpaceOnUse" patternTransform="rotate(-45)" {
                    rect class="hatch-stale-ground" width="4" height="4" {}
                    rect class="hatch-stale-line" width="1.6" height="4" {}
                }
                pattern id="hatch-quiet" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)" {
                    rect class="hatch-quiet-line" width="1.4" height="5" {}
                }
            }
        }
    }
}

/// A mark with its word: a shape for those who see no colour, a word for those who see no shape.
fn mark(tone: Tone, word: &str) -> Markup {
    let (class, path) = match tone {
        Tone::Good => ("good", "M3.5 8.5L6.5 11.5L12.5 4.5"),
        Tone::Bad => ("bad", "M4 4L12 12M12 4L4 12"),
        Tone::Note => ("warn", "M8 3.5L8 9M8 11.6L8 12.4"),
        Tone::None => ("none", "M4 8L12 8"),
    };
    html! {
        span class=(format!("mark {class}")) {
            svg viewBox="0 0 16 16" aria-hidden="true" xmlns="http://www.w3.org/2000/svg" { path d=(path) {} }
            (word)
        }
    }
}

/// How something came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tone {
    Good,
    Bad,
    Note,
    None,
}

impl From<Conclusion> for Tone {
    fn from(conclusion: Conclusion) -> Self {
        match conclusion {
            Conclusion::Passed => Self::Good,
            Conclusion::Deviated => Self::Bad,
            Conclusion::Vacuous | Conclusion::Aborted | Conclusion::Skipped => Self::Note,
        }
    }
}
