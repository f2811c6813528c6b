//! The lane of the control plane: a band for each voter, full where it led, with the term.

use maud::html;
use remit_common::id::VoterId;

use super::lane::{Lane, Table};
use super::{Drawn, Frame, ROWS_MAX, Stretch, px};
use crate::history::figures::Reign;
use crate::node::Node;
use crate::report::broken::Broken;
use crate::report::words::{about, count, lasting, moment, real};

const ROW: f64 = 24.0;

/// What a voter said of itself: its role and its term.
pub(crate) type Said = (String, u64);
/// What was seen of a voter over time.
pub(crate) type VoterSeen = (VoterId, Vec<Stretch<Said>>);

/// Who led, and what the other voters did.
pub(crate) fn voters<'a>(seen: &'a [VoterSeen], reigns: &'a [Reign], broken: &'a [Broken<'a>]) -> Lane<'a> {
    let table = reigns.iter().map(|reign| {
        let lasted = lasting(reign.to_us.saturating_sub(reign.from_us));
        vec![
            reign.term.to_string(),
            format!("voter {}", reign.leader),
            moment(reign.from_us),
            moment(reign.to_us),
            lasted,
        ]
    });
    Lane {
        id: "voters",
        title: "Who led the control plane",
        told: told(reigns),
        key: vec![
            ("lead-1", "leads, with the number of its term".to_owned()),
            ("follow", "follows".to_owned()),
            ("candidate", "asks to lead, or joins".to_owned()),
            ("hit", "hit by a fault".to_owned()),
            ("silent", "nothing was seen of it".to_owned()),
        ],
        note: None,
        draw: Box::new(move |frame| draw(frame, seen, broken)),
        table: Table { head: vec!["Term", "Leader", "First seen", "Last seen", "For"], rows: table.collect() },
    }
}

/// Spans between reigns in which nobody was seen to lead.
pub(crate) fn leaderless(reigns: &[Reign]) -> Vec<(u64, u64)> {
    let mut reach = reigns.first().map_or(0, |first| first.to_us);
    let mut gaps = Vec::new();
    for reign in reigns.iter().skip(1) {
        if reign.from_us > reach {
            gaps.push((reach, reign.from_us));
        }
        reach = reach.max(reign.to_us);
    }
    gaps
}

fn told(reigns: &[Reign]) -> String {
    match reigns {
        [] => "Nobody was seen to lead.".to_owned(),
        [only] => format!("Voter {} led from beginning to end, in term {}.", only.leader, only.term),
        [first, .., last] => {
            let gaps = leaderless(reigns);
            let longest = gaps.iter().map(|(from, to)| to - from).max();
            let changes = reigns.windows(2).filter(|pair| matches!(pair, [a, b] if a.leader != b.leader)).count();
            let gap = longest.map_or_else(
                || "No moment without a leader was seen.".to_owned(),
                |gap| format!("The longest time without one in sight was {}.", lasting(gap)),
            );
            let led = if changes == 0 {
                format!("Voter {} led, in {} terms.", first.leader, reigns.len())
            } else if reigns.len() == 2 {
                let (until, from) = (about(first.to_us), about(last.from_us));
                format!(
                    "Voter {} led and was last seen at {until}; voter {} led from {from} on.",
                    first.leader, last.leader
                )
            } else {
                let times = if changes == 1 { "once".to_owned() } else { format!("{changes} times") };
                format!("The leader changed {times}: from voter {} to voter {} at the end.", first.leader, last.leader)
            };
            format!("{led} {gap}")
        }
    }
}

fn class(voter: VoterId, role: &str) -> (String, f64) {
    match role {
        "leader" => (format!("lead-{}", voter.0.saturating_sub(1) % 5 + 1), 17.0),
        "follower" => ("follow".to_owned(), 5.0),
        _ => ("candidate".to_owned(), 9.0),
    }
}

fn draw(frame: &Frame, seen: &[VoterSeen], broken: &[Broken<'_>]) -> Drawn {
    let shown = seen.len().min(ROWS_MAX);
    let height = 2.0 + ROW * real(count(shown));
    let body = html! {
        @for (at, (voter, stretches)) in seen.iter().take(ROWS_MAX).enumerate() {
            @let middle = 2.0 + ROW * (real(count(at)) + 0.5) - 1.0;
            @let node = Node::Voter(*voter);
            (frame.name(middle + 4.0, &format!("voter {voter}")))
            (hit_ground(frame, broken, &node, (middle - 10.0, 20.0)))
            line class="silent" x1=(px(frame.left)) x2=(px(frame.right)) y1=(px(middle)) y2=(px(middle)) {}
            @for stretch in stretches {
                @let (role, term) = &stretch.value;
                @let (class, thick) = class(*voter, role);
                @let (long, short) = (format!("term {term}"), term.to_string());
                @let labels: &[&str] = if role == "leader" { &[&long, &short] } else { &[] };
                @let meaning = format!("voter {voter}: {role} in term {term}, from {} to {}",
                    moment(stretch.from_us), moment(stretch.to_us));
                (frame.bar(&class, (stretch.from_us, stretch.to_us), (middle - thick / 2.0, thick), labels, &meaning))
            }
            (hits(frame, broken, &node, middle + 10.0))
        }
    };
    Drawn { height, body }
}

/// Tints the spans in which a fault hit a node.
fn hit_ground(frame: &Frame, broken: &[Broken<'_>], node: &Node, (y, height): (f64, f64)) -> maud::Markup {
    html! {
        @for (from, to, _) in hitting(frame, broken, node) {
            rect class="hit-ground" x=(px(from)) y=(px(y)) width=(px((to - from).max(3.0))) height=(px(height)) {}
        }
    }
}

/// Where a node was hit, and by what.
fn hitting<'a>(
    frame: &Frame,
    broken: &[Broken<'a>],
    node: &Node,
) -> Vec<(f64, f64, &'a crate::history::outages::Outage)> {
    let span = |broken: &Broken<'a>| {
        let outage = broken.outage;
        let to = outage.ends.get(node).copied().or(outage.to_us).unwrap_or(frame.to_us);
        (frame.x(outage.from_us), frame.x(to), outage)
    };
    broken.iter().filter(|broken| broken.hits.contains(node)).map(span).take(200).collect()
}

/// Underlines the spans in which a fault hit a node.
pub(super) fn hits(frame: &Frame, broken: &[Broken<'_>], node: &Node, y: f64) -> maud::Markup {
    html! {
        @for (from, to, outage) in hitting(frame, broken, node) {
            rect class="hit" x=(px(from)) y=(px(y)) width=(px((to - from).max(3.0))) height="2.2" {
                title { (crate::report::words::fault(&outage.name)) " at " (moment(outage.from_us)) }
            }
        }
    }
}
