//! The words of the page, for readers who do not work with the mesh.

use maud::{Markup, html};

const WORDS: [(&str, &str); 11] = [
    ("agent", "A program, usually an AI, that calls tools on behalf of a person."),
    (
        "edge",
        "The gate before the tools. It decides each call of an agent by itself, and holds the keys that agents never see.",
    ),
    ("voter", "One of the few machines of the control plane. What most of them have written down counts."),
    (
        "leader, term",
        "The voter that currently takes changes. When it is gone the others elect another; each election has a number, the term.",
    ),
    ("bundle", "The signed policy that edges decide by. Each has a version."),
    ("revocation", "Taking authority back before it expires. Each has a number, the epoch."),
    (
        "age of knowledge",
        "How long ago an edge last knew for certain that it had missed no revocation. Beyond the bound of an effect, the edge refuses it.",
    ),
    (
        "effect",
        "What a call does to the world: read, write, spend, send out, hand on, or something that cannot be undone.",
    ),
    ("record", "What an edge writes down of each decision, in a chain in which nothing can be changed unseen."),
    ("steady state", "What has to be so while nothing is broken."),
    ("seed", "The number that all chance of a simulation is made of; the same seed gives the same run."),
];

/// The words and what they mean.
pub(super) fn vocabulary() -> Markup {
    html! {
        section #words {
            h2 { "Words used here" }
            dl.words { @for (word, meaning) in WORDS { div { dt { (word) } dd { (meaning) } } } }
        }
    }
}
