//! Numbers, times and names as people read them.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::drill::backend::BackendKind;
use crate::node::{Member, Node, Roster};

/// A whole number as a real one, for drawing.
pub(super) fn real(value: u64) -> f64 {
    let (high, low) = (value >> 32, value & u64::from(u32::MAX));
    let part = |part: u64| f64::from(u32::try_from(part).unwrap_or(u32::MAX));
    part(high) * 4_294_967_296.0 + part(low)
}

/// The length of a list.
pub(super) fn count(of: usize) -> u64 {
    u64::try_from(of).unwrap_or(u64::MAX)
}

/// `12 345`: groups of three, by a thin space that does not break.
pub(super) fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// `1 fault`, `3 faults`, `no faults`.
pub(super) fn many(value: u64, one: &str, more: &str) -> String {
    match value {
        0 => format!("no {more}"),
        1 => format!("1 {one}"),
        _ => format!("{} {more}", grouped(value)),
    }
}

/// How long: `850 µs`, `12.4 ms`, `3.20 s`, `1 min 05 s`, `2 h 03 min`.
pub(super) fn lasting(us: u64) -> String {
    let (ms, secs) = (us / 1_000, us / 1_000_000);
    match us {
        0 => "0 s".to_owned(),
        1..1_000 => format!("{us}\u{a0}µs"),
        1_000..100_000 => format!("{ms}.{}\u{a0}ms", us / 100 % 10),
        100_000..1_000_000 => format!("{ms}\u{a0}ms"),
        1_000_000..10_000_000 => format!("{secs}.{:02}\u{a0}s", ms / 10 % 100),
        10_000_000..60_000_000 => format!("{secs}.{}\u{a0}s", ms / 100 % 10),
        60_000_000..3_600_000_000 => format!("{}\u{a0}min {:02}\u{a0}s", secs / 60, secs % 60),
        _ => format!("{}\u{a0}h {:02}\u{a0}min", secs / 3_600, secs / 60 % 60),
    }
}

/// [`lasting`], for a [`Duration`].
pub(super) fn span(duration: Duration) -> String {
    lasting(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
}

/// A moment of the run as axes write it: `12.345 s`, from three minutes on `3:05.3`.
pub(super) fn moment(us: u64) -> String {
    let (secs, ms) = (us / 1_000_000, us / 1_000 % 1_000);
    if secs < 180 {
        return format!("{secs}.{ms:03}\u{a0}s");
    }
    if secs < 3_600 {
        return format!("{}:{:02}.{}", secs / 60, secs % 60, ms / 100);
    }
    format!("{}:{:02}:{:02}", secs / 3_600, secs / 60 % 60, secs % 60)
}

/// A moment of the run for sentences: `12.3 s`, from three minutes on `3:05.3`.
pub(super) fn about(us: u64) -> String {
    if us < 180_000_000 { format!("{}.{}\u{a0}s", us / 1_000_000, us / 100_000 % 10) } else { moment(us) }
}

/// A measured number: whole if it is one, else with as many digits as mean something.
pub(super) fn figure(value: f64) -> String {
    let size = value.abs();
    let text = if value.fract() == 0.0 || size >= 1_000.0 {
        format!("{value:.0}")
    } else if size >= 100.0 {
        format!("{value:.1}")
    } else if size >= 1.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.4}")
    };
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// A figure with its unit.
pub(super) fn measured(value: f64, unit: &str) -> String {
    if matches!(unit, "" | "count" | "share") { figure(value) } else { format!("{}\u{a0}{unit}", figure(value)) }
}

/// `voter 1`, `eu-west-1`.
pub(super) fn node(node: &Node) -> String {
    match node {
        Node::Voter(id) => format!("voter\u{a0}{id}"),
        Node::Edge(id) => id.to_string(),
        Node::Tools => "the tool server".to_owned(),
        Node::Operator => "the operator".to_owned(),
    }
}

/// `voter 1 and voter 2`; whole groups by their name (`every edge of eu-west`); of many only the first, and how many more.
pub(super) fn nodes(nodes: &[Node], roster: &Roster, most: usize) -> String {
    let mut rest: Vec<&Node> = nodes.iter().collect();
    let mut names: Vec<String> = Vec::new();
    for (name, group) in groups(roster) {
        if group.len() > 1 && group.iter().all(|member| rest.contains(member)) {
            rest.retain(|node| !group.contains(node));
            names.push(name);
        }
    }
    names.extend(rest.into_iter().map(node));
    let shown = if names.len() > most { most.saturating_sub(1).max(1) } else { names.len() };
    let left_out = names.len() - shown;
    names.truncate(shown);
    match left_out {
        0 => list(&names),
        more => format!("{} and {more} more", names.join(", ")),
    }
}

/// The groups that people speak of, larger ones first.
fn groups(roster: &Roster) -> Vec<(String, Vec<&Node>)> {
    let of = |wanted: &dyn Fn(&Member) -> bool| -> Vec<&Node> {
        roster.nodes.iter().filter(|member| wanted(member)).map(|member| &member.node).collect()
    };
    let is_edge = |member: &Member| matches!(member.node, Node::Edge(_));
    let mut groups = vec![
        ("every voter".to_owned(), of(&|member| matches!(member.node, Node::Voter(_)))),
        ("every edge".to_owned(), of(&is_edge)),
    ];
    let regions: BTreeSet<_> = roster.nodes.iter().filter_map(|member| member.region.as_ref()).collect();
    for region in regions {
        let there = |member: &Member| is_edge(member) && member.region.as_ref() == Some(region);
        groups.push((format!("every edge of {region}"), of(&there)));
    }
    groups
}

/// `a, b and c`.
pub(super) fn list(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// Cut to so many characters, with a sign that it was.
pub(super) fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

/// A kind of world, as the command line names it.
pub(super) fn backend(kind: BackendKind) -> &'static str {
    match kind {
        BackendKind::Sim => "sim",
        BackendKind::Netns => "netns",
    }
}

/// A fault's name as what happened to its targets.
pub(super) fn fault(name: &str) -> &str {
    match name {
        "kill" => "killed",
        "power-cut" => "power cut",
        "stop" => "stopped",
        "start" => "started",
        "pause" => "paused",
        "resume" => "resumed",
        "partition" => "network cut",
        "link" => "bad network",
        "heal-network" => "network healed",
        "disk-full" => "disk full",
        "disk-free" => "disk freed",
        "fsync-error" => "disk error",
        "clock-jump" => "clock jump",
        "cpu-limit" => "CPU limited",
        "lie" => "lying",
        "replace-voter" => "replaced",
        "reconnect-storm" => "reconnect storm",
        other => other,
    }
}

/// What a fault means, for people who do not run machines.
pub(super) fn fault_meaning(name: &str) -> &'static str {
    match name {
        "kill" => "The process ends at once, without a chance to tidy up.",
        "power-cut" => "The machine loses power; whatever was not safely on disk is gone.",
        "stop" => "The process is asked to end and does so in order.",
        "pause" => "The process freezes: it neither works nor says that it does not.",
        "partition" => "Messages vanish on the way, and nobody is told.",
        "link" => "Messages are late, lost, doubled, out of order or damaged.",
        "disk-full" => "Nothing more fits on the disk.",
        "fsync-error" => "The disk reports that it could not keep what it was given.",
        "clock-jump" => "The wall clock suddenly shows another time.",
        "cpu-limit" => "The process gets only a small share of a processor.",
        "lie" => "A stolen voter answers with something else than the truth.",
        "replace-voter" => "A voter is gone for good; a new one with an empty disk takes its place.",
        "reconnect-storm" => "Every connection is cut at once, and everybody comes back together.",
        _ => "",
    }
}

/// Why a call was refused, in a sentence.
pub(super) fn refusal(reason: &str) -> &'static str {
    match reason {
        "no_envelope" => "The call carried no authority.",
        "malformed" => "The call could not be read.",
        "bad_signature" => "The authority was not signed by somebody who may.",
        "expired" => "The authority had run out.",
        "not_yet_valid" => "The authority did not hold yet.",
        "revoked" => "The authority had been revoked.",
        "bad_proof" => "The caller could not prove that the authority is theirs.",
        "replayed" => "The same call had been made before.",
        "wrong_audience" => "The authority is for another place.",
        "out_of_scope" => "The call goes beyond what was granted.",
        "purpose_mismatch" => "The call serves another purpose than the one granted.",
        "unmapped_argument" | "unmapped_dimension" => "Policy does not know what an argument means.",
        "forbidden" => "A policy forbids it.",
        "no_matching_policy" => "No policy permits it.",
        "evaluation_failed" => "A policy could not be evaluated.",
        "obligation_unmet" => "A condition of the permit was not met.",
        "approval_required" => "A person has to approve it first.",
        "budget_exhausted" => "The budget is spent.",
        "stale" => "The edge knew too little of what had been revoked since.",
        "isolated" => "The edge was cut off for longer than any effect allows.",
        "quarantined" => "The edge refuses everything until it is trusted again.",
        "tool_unknown" => "There is no such tool.",
        "tool_quarantined" => "The tool is not what was approved.",
        "vault_quorum_lost" => "The credential could not be opened.",
        "upstream_unreachable" => "The tool's server could not be reached.",
        _ => "Another reason.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_the_unit_that_fits() {
        let check = |us: u64, expected: &str| assert_eq!(lasting(us).replace('\u{a0}', " "), expected);
        check(0, "0 s");
        check(850, "850 µs");
        check(12_449, "12.4 ms");
        check(999_999, "999 ms");
        check(3_204_000, "3.20 s");
        check(59_990_000, "59.9 s");
        check(65_000_000, "1 min 05 s");
        check(7_380_000_000, "2 h 03 min");
    }

    #[test]
    fn moments_sort_as_they_read() {
        let check = |us: u64, expected: &str| assert_eq!(moment(us).replace('\u{a0}', " "), expected);
        check(12_345_678, "12.345 s");
        check(65_300_000, "65.300 s");
        check(185_300_000, "3:05.3");
        check(3_725_000_000, "1:02:05");
    }

    #[test]
    fn figures_have_the_digits_that_mean_something() {
        let check = |value: f64, expected: &str| assert_eq!(figure(value), expected);
        check(0.0, "0");
        check(20.0, "20");
        check(1.5, "1.5");
        check(0.0213, "0.0213");
        check(1234.56, "1235");
        check(234.56, "234.6");
    }

    #[test]
    fn big_numbers_and_long_lists_stay_readable() {
        assert_eq!(grouped(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(grouped(123), "123");
        let many: Vec<Node> = ["edge/a", "edge/b", "edge/c", "edge/d"].map(|name| name.parse().unwrap()).into();
        assert_eq!(nodes(&many, &Roster::default(), 4), "a, b, c and d");
        assert_eq!(nodes(&many, &Roster::default(), 3), "a, b and 2 more");
        let member = |node: &Node, region: &str| Member { node: node.clone(), region: Some(region.parse().unwrap()) };
        let places = ["north", "north", "north", "south"];
        let roster = Roster { nodes: many.iter().zip(places).map(|(node, region)| member(node, region)).collect() };
        assert_eq!(nodes(&many, &roster, 3), "every edge");
        assert_eq!(nodes(&many[..3], &roster, 3), "every edge of north");
        assert_eq!(nodes(&many[1..], &roster, 3), "b, c and d");
        assert_eq!(cut("abcdef", 4), "abc…");
    }

    #[test]
    fn whole_numbers_survive_becoming_real() {
        for value in [0, 1, 4_294_967_295, 4_294_967_296, 9_007_199_254_740_992] {
            assert_eq!(format!("{:.0}", real(value)), value.to_string());
        }
    }
}
