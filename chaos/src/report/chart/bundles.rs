//! The lane of policy: which version of the bundle each edge ran.

use std::collections::BTreeSet;

use maud::html;
use remit_common::id::{BundleVersion, EdgeId};

use super::lane::{Lane, Table};
use super::voters::hits;
use super::{Drawn, Frame, ROWS_MAX, Stretch, px};
use crate::node::Node;
use crate::report::broken::Broken;
use crate::report::words::{count, many, moment, real};

const ROW: f64 = 21.0;

/// Which bundles were seen at an edge over time.
pub(crate) type EdgeSeen = (EdgeId, Vec<Stretch<Option<BundleVersion>>>);

/// Which bundle each edge ran.
pub(crate) fn bundles<'a>(seen: &'a [EdgeSeen], broken: &'a [Broken<'a>]) -> Lane<'a> {
    let rows = seen.iter().flat_map(|(edge, stretches)| {
        stretches.iter().map(move |stretch| {
            vec![edge.to_string(), version(stretch.value), moment(stretch.from_us), moment(stretch.to_us)]
        })
    });
    Lane {
        id: "bundles",
        title: "Policy at each edge",
        told: told(seen),
        key: vec![
            ("bundle-a", "runs this version of the policy bundle; the tone changes with each version".to_owned()),
            ("hit", "hit by a fault".to_owned()),
            ("silent", "nothing was seen of it".to_owned()),
        ],
        note: None,
        draw: Box::new(move |frame| draw(frame, seen, broken)),
        table: Table { head: vec!["Edge", "Version", "From", "To"], rows: rows.collect() },
    }
}

fn version(version: Option<BundleVersion>) -> String {
    version.map_or_else(|| "none".to_owned(), |version| version.to_string())
}

fn told(seen: &[EdgeSeen]) -> String {
    let last = |stretches: &[Stretch<Option<BundleVersion>>]| stretches.last().and_then(|stretch| stretch.value);
    let newest = seen.iter().filter_map(|(_, stretches)| last(stretches)).max();
    let Some(newest) = newest else { return "No edge was seen with a bundle.".to_owned() };
    let behind: Vec<_> = seen
        .iter()
        .filter(|(_, stretches)| last(stretches) != Some(newest))
        .map(|(edge, _)| edge.to_string())
        .collect();
    let all = many(count(seen.len()), "edge", "edges");
    match behind.len() {
        0 => format!("At the end all {all} ran version {newest}."),
        more => format!("At the end {} of {all} did not run version {newest}.", many(count(more), "edge", "edges")),
    }
}

fn draw(frame: &Frame, seen: &[EdgeSeen], broken: &[Broken<'_>]) -> Drawn {
    let shown = seen.len().min(ROWS_MAX);
    let left_out = seen.len() - shown;
    let foot = if left_out > 0 { 18.0 } else { 0.0 };
    let plot = 2.0 + ROW * real(count(shown));
    // Numbers of bundles that were refused are missing, so tones alternate by place and not by number.
    let seen_versions = seen.iter().flat_map(|(_, stretches)| stretches.iter().filter_map(|stretch| stretch.value));
    let versions: BTreeSet<u64> = seen_versions.map(|version| version.0).collect();
    let body = html! {
        @for (at, (edge, stretches)) in seen.iter().take(ROWS_MAX).enumerate() {
            @let top = 2.0 + ROW * real(count(at));
            (frame.name(top + 11.0, edge.as_str()))
            line class="silent" x1=(px(frame.left)) x2=(px(frame.right)) y1=(px(top + 7.0)) y2=(px(top + 7.0)) {}
            @for stretch in stretches.iter().take(frame.points_max()) {
                @let number = stretch.value.map(|version| version.0);
                @let class = number.map_or("bundle-none", |n| if versions.range(..n).count().is_multiple_of(2) { "bundle-a" } else { "bundle-b" });
                @let label = number.map_or_else(String::new, |n| format!("v{n}"));
                @let meaning = format!("{edge}: version {}, from {} to {}",
                    version(stretch.value), moment(stretch.from_us), moment(stretch.to_us));
                (frame.bar(class, (stretch.from_us, stretch.to_us), (top, 14.0), &[&label], &meaning))
            }
            (hits(frame, broken, &Node::Edge(edge.clone()), top + 15.5))
        }
        @if left_out > 0 {
            text class="tick" x=(px(frame.left)) y=(px(plot + 12.0)) {
                "and " (many(count(left_out), "more edge", "more edges")) ", in the table"
            }
        }
    };
    Drawn { height: plot + foot, body }
}
