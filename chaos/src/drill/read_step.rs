//! Reading the steps and probes of a drill file.

use std::time::Duration;

use super::action::{Lie, LinkQuality};
use super::complaint::Book;
use super::fields::{self, Fields};
use super::file::{Hypothesis, STEPS_MAX, word};
use super::outcome::Section;
use super::probe::{Probe, Tolerance};
use super::read_rollout;
use super::select::Selector;
use super::step::{Does, Expected, FAULTS, FaultKind, FaultPlan, Step, TASKS, Task};
use super::yaml::{Tree, Yaml};
use crate::node::{Node, Roster};
use crate::workload::Poison;

/// A file of a bundle has at most 4 MiB.
const PADDING_KIB_MAX: u32 = 4_000;
const LIES: [(&str, Lie); 4] =
    [("old", Lie::Old), ("truncated", Lie::Truncated), ("forged", Lie::Forged), ("replayed", Lie::Replayed)];
const POISONS: [(&str, Poison); 8] = [
    ("unsigned", Poison::Unsigned),
    ("one-signature", Poison::OneSignature),
    ("one-key-twice", Poison::OneKeyTwice),
    ("tampered", Poison::Tampered),
    ("other-mesh", Poison::OtherMesh),
    ("older", Poison::Older),
    ("false-canary", Poison::FalseCanary),
    ("unapproved-widening", Poison::UnapprovedWidening),
];

/// The steps of a section.
pub(super) fn steps(tree: &Tree, section: Section, roster: &Roster, book: &mut Book<'_>) -> Vec<Step> {
    let what = match section {
        Section::Method => "method",
        Section::Rollback => "rollbacks",
    };
    if super::file::is_nothing(tree) {
        return Vec::new();
    }
    let list = fields::list(tree, book, what, STEPS_MAX).unwrap_or_default();
    list.iter().filter_map(|tree| step(tree, section, roster, book)).collect()
}

fn step(tree: &Tree, section: Section, roster: &Roster, book: &mut Book<'_>) -> Option<Step> {
    let mut map = Fields::of(tree, book, "a step")?;
    let kind = map.require("type", book, "write `type: action` or `type: probe`");
    let is_action = kind.and_then(|tree| word(tree, book, "type", &[("action", true), ("probe", false)]));
    let name = name(&mut map, book);
    let provider =
        map.require("provider", book, "say what is done: `provider: { type: remit, fault: kill, target: leader }`");
    let (mut at, mut does) = (tree.referenced, None);
    if let (Some(is_action), Some(provider)) = (is_action, provider) {
        let looked = if is_action { None } else { look(&mut map, provider, book) };
        does = match looked {
            Some((probe, window, tolerance)) => Some(Does::Look(probe, window, tolerance)),
            None if is_action => action(provider, roster, &mut at, book),
            None => None,
        };
    }
    let background = map.take("background").and_then(|tree| fields::flag(tree, book, "background")).unwrap_or(false);
    let (mut before, mut after) = (Duration::ZERO, Duration::ZERO);
    if let Some(mut pauses) = map.take("pauses").and_then(|tree| Fields::of(tree, book, "`pauses`")) {
        for (key, slot) in [("before", &mut before), ("after", &mut after)] {
            if let Some(pause) = pauses.take(key).and_then(|tree| fields::duration(tree, book, key)) {
                *slot = pause;
            }
        }
        pauses.end(book);
    }
    map.end(book);
    Some(Step { name: name?, section, does: does?, background, before, after, at })
}

fn name(map: &mut Fields<'_>, book: &mut Book<'_>) -> Option<String> {
    let name = map.require("name", book, "say in a few words what this step does");
    name.and_then(|tree| fields::text(tree, book, "name")).map(str::to_owned)
}

/// Our provider's members.
fn provider<'t>(tree: &'t Tree, book: &mut Book<'_>) -> Option<Fields<'t>> {
    let mut map = Fields::of(tree, book, "`provider`")?;
    let kind = map.require("type", book, "write `type: remit`")?;
    let name = fields::text(kind, book, "type")?;
    if name != "remit" {
        let message = format!("provider `{}` is not played here", super::complaint::printable(name));
        book.wrong_help(kind.referenced, message, "only `type: remit` is: faults, tasks of the operator, probes");
        return None;
    }
    Some(map)
}

fn action(tree: &Tree, roster: &Roster, at: &mut serde_saphyr::Location, book: &mut Book<'_>) -> Option<Does> {
    let mut map = provider(tree, book)?;
    let does = match (map.take("fault"), map.take("do")) {
        (Some(fault), None) => {
            *at = fault.referenced;
            self::fault(fault, &mut map, roster, at, book).map(Does::Fault)
        }
        (None, Some(task)) => self::task(task, &mut map, roster, book),
        (Some(_), Some(task)) => {
            book.wrong(task.referenced, "a step is a fault or a task of the operator, not both");
            None
        }
        (None, None) => {
            let help = "name a fault (`fault: kill`) or a task of the operator (`do: revoke`)";
            book.wrong_help(map.at(), "the step does nothing", help);
            None
        }
    };
    // What a misspelt fault would have taken is not known.
    if does.is_some() {
        map.end(book);
    }
    does
}

fn fault(
    tree: &Tree,
    map: &mut Fields<'_>,
    roster: &Roster,
    at: &mut serde_saphyr::Location,
    book: &mut Book<'_>,
) -> Option<FaultPlan> {
    let name = fields::text(tree, book, "fault")?;
    let kind = match name {
        "kill" => FaultKind::Kill,
        "power-cut" => FaultKind::PowerCut,
        "stop" => FaultKind::Stop,
        "start" => FaultKind::Start,
        "pause" => FaultKind::Pause,
        "resume" => FaultKind::Resume,
        "partition" => {
            let one_way = map.take("one-way").and_then(|tree| fields::flag(tree, book, "one-way")).unwrap_or(false);
            FaultKind::Partition { one_way }
        }
        "link" => FaultKind::Link(quality(map, book)),
        "heal-network" => FaultKind::HealNetwork,
        "disk-full" => FaultKind::DiskFull,
        "disk-free" => FaultKind::DiskFree,
        "fsync-error" => FaultKind::FsyncError,
        "clock-jump" => {
            let by = map.require("by", book, "say by how much: `by: +1h`")?;
            FaultKind::ClockJump { by_ms: fields::signed_millis(by, book, "by")? }
        }
        "cpu-limit" => {
            let percent = map.require("percent", book, "say how much of one processor is left: `percent: 10`")?;
            FaultKind::CpuLimit { percent: fields::count(percent, book, "percent", 1, 100)? }
        }
        "lie" => {
            let lie = map.require("lie", book, "say how: `lie: old`, `truncated`, `forged` or `replayed`")?;
            FaultKind::Lie(word(lie, book, "lie", &LIES)?)
        }
        "replace-voter" => FaultKind::ReplaceVoter,
        "reconnect-storm" => FaultKind::ReconnectStorm,
        other => {
            if TASKS.contains(&other) {
                let message = format!("`{other}` is no fault but a task of the operator");
                book.wrong_help(tree.referenced, message, format!("write `do: {other}`"));
            } else {
                book.unknown(tree.referenced, "fault", other, &FAULTS);
            }
            return None;
        }
    };
    let mut side = |key: &'static str| {
        let help = format!("say whom: `{key}: leader`, `{key}: \"role=edge\"`, `{key}: \"region=eu-west\"`");
        let found = map.require(key, book, &help)?;
        *at = found.referenced;
        let texts = fields::texts(found, book, key, 64);
        if texts.is_empty() && matches!(&found.value, Yaml::List(list) if list.is_empty()) {
            book.wrong(found.referenced, format!("`{key}` is an empty list"));
        }
        texts.into_iter().map(|(at, text)| Selector::read(text, at, roster, book)).collect::<Option<Vec<_>>>()
    };
    let (target, to) = match kind {
        FaultKind::HealNetwork => (Vec::new(), Vec::new()),
        FaultKind::Partition { .. } | FaultKind::Link(_) => {
            // Both sides are read, so that both are complained about.
            let to = side("to");
            (side("from")?, to?)
        }
        _ => (side("target")?, Vec::new()),
    };
    let only = match kind {
        FaultKind::Lie(_) | FaultKind::ReplaceVoter => Some(("voters", true)),
        FaultKind::ReconnectStorm => Some(("edges", false)),
        _ => None,
    };
    for selector in &target {
        let nodes = selector.fixed(roster);
        let fits = |node: &Node| match only {
            Some((_, voters)) => matches!(node, Node::Voter(_)) == voters && *node != Node::Tools,
            None => true,
        };
        let voter_only = selector.needs_leader();
        if let Some((whom, voters)) = only
            && (nodes.iter().flatten().any(|node| !fits(node)) || (voter_only && !voters))
        {
            book.wrong(*at, format!("`{name}` is for {whom}; `{selector}` is something else"));
        }
    }
    Some(FaultPlan { kind, target, to })
}

fn quality(map: &mut Fields<'_>, book: &mut Book<'_>) -> LinkQuality {
    let mut quality = LinkQuality::GOOD;
    for (key, slot) in [("latency", &mut quality.latency), ("jitter", &mut quality.jitter)] {
        if let Some(time) = map.take(key).and_then(|tree| fields::duration(tree, book, key)) {
            *slot = time;
        }
    }
    let shares = [
        ("loss", &mut quality.loss),
        ("duplicate", &mut quality.duplicate),
        ("reorder", &mut quality.reorder),
        ("corrupt", &mut quality.corrupt),
    ];
    for (key, slot) in shares {
        if let Some(share) = map.take(key).and_then(|tree| fields::number(tree, book, key, 0.0, 1.0)) {
            *slot = share;
        }
    }
    let rate = map.take("bytes-per-second");
    quality.rate = rate.and_then(|tree| fields::count(tree, book, "bytes-per-second", 1, u32::MAX)).map(u64::from);
    quality
}

fn task(tree: &Tree, map: &mut Fields<'_>, roster: &Roster, book: &mut Book<'_>) -> Option<Does> {
    let name = fields::text(tree, book, "do")?;
    let (task, usual) = match name {
        "wait" => return Some(Does::Wait),
        "revoke" => (Task::Revoke, Expected::Acknowledged),
        "push-bundle" => {
            let padding = map.take("padding-kib");
            let padding = padding.and_then(|tree| fields::count(tree, book, "padding-kib", 1, PADDING_KIB_MAX));
            (Task::PushBundle { padding_kib: padding.unwrap_or(0) }, Expected::Acknowledged)
        }
        "push-poisoned-bundle" => {
            let poison = map.require("poison", book, "say what is wrong with it: `poison: unsigned`")?;
            (Task::PushPoisonedBundle(word(poison, book, "poison", &POISONS)?), Expected::Refused)
        }
        "roll-out" => {
            let wanted = read_rollout::roll_out(map, roster, book)?;
            let usual = if wanted.harm.is_some() { Expected::TakenBack } else { Expected::Finished };
            (Task::RollOut(wanted), usual)
        }
        "relate" => (Task::Relate { holds: true }, Expected::Acknowledged),
        "unrelate" => (Task::Relate { holds: false }, Expected::Acknowledged),
        "freeze-offers" => (Task::FreezeOffers { frozen: true }, Expected::Acknowledged),
        "thaw-offers" => (Task::FreezeOffers { frozen: false }, Expected::Acknowledged),
        "seal" => (Task::Seal, Expected::Acknowledged),
        "open-session" => (Task::OpenSession, Expected::Acknowledged),
        "read" => (Task::Read, Expected::Anything),
        "hand-on" => (Task::HandOn, Expected::Acknowledged),
        "revoke-hop" => (Task::RevokeHop, Expected::Acknowledged),
        "move-session" => (Task::MoveSession, Expected::Acknowledged),
        other => {
            if FAULTS.contains(&other) {
                let message = format!("`{other}` is no task of the operator but a fault");
                book.wrong_help(tree.referenced, message, format!("write `fault: {other}`"));
            } else {
                book.unknown(tree.referenced, "task of the operator", other, &TASKS);
            }
            return None;
        }
    };
    let said = map.take("expect");
    let expected = said.and_then(|tree| word(tree, book, "expect", &Expected::ALL));
    if let (Some(tree), Some(expected)) = (said, expected)
        && expected.is_of_rollouts()
        && !matches!(task, Task::RollOut(_))
    {
        book.wrong(tree.referenced, format!("`{name}` is no rollout: it is acknowledged, or refused"));
    }
    Some(Does::Task(task, expected.unwrap_or(usual)))
}

/// A probe with its tolerance, as it stands in a hypothesis.
pub(super) fn hypothesis(tree: &Tree, book: &mut Book<'_>) -> Option<Hypothesis> {
    let mut map = Fields::of(tree, book, "a probe")?;
    if let Some(kind) = map.take("type") {
        word(kind, book, "type", &[("probe", ())]);
    }
    let name = name(&mut map, book);
    let provider = map.require("provider", book, "say what is asked: `provider: { type: remit, probe: permit-share }`");
    let looked = provider.and_then(|provider| look(&mut map, provider, book));
    map.end(book);
    let (probe, window, tolerance) = looked?;
    Some(Hypothesis { name: name?, probe, window, tolerance })
}

fn look(map: &mut Fields<'_>, tree: &Tree, book: &mut Book<'_>) -> Option<(Probe, Duration, Tolerance)> {
    let help = "say what the answer may be: `tolerance: { type: range, range: [0.9, 1] }`";
    let tolerance = map.require("tolerance", book, help).and_then(|tree| self::tolerance(tree, book));
    let mut provider = provider(tree, book)?;
    let probe = provider.require("probe", book, "name a probe: `probe: permit-share`");
    let probe = probe.and_then(|tree| self::probe(tree, book));
    let window = window(&mut provider, book).unwrap_or(Hypothesis::window_default());
    provider.end(book);
    Some((probe?, window, tolerance?))
}

/// The name of a probe.
pub(super) fn probe(tree: &Tree, book: &mut Book<'_>) -> Option<Probe> {
    let name = fields::text(tree, book, "probe")?;
    let found = Probe::of(name);
    if found.is_none() {
        book.unknown(tree.referenced, "probe", name, &Probe::names());
    }
    found
}

/// Over how long a probe looks back.
pub(super) fn window(map: &mut Fields<'_>, book: &mut Book<'_>) -> Option<Duration> {
    let tree = map.take("over")?;
    let window = fields::duration(tree, book, "over")?;
    if window.is_zero() || window > Hypothesis::window_max() {
        book.wrong(
            tree.referenced,
            format!("`over` is at least 1ms and at most {}", fields::show(Hypothesis::window_max())),
        );
        return None;
    }
    Some(window)
}

fn tolerance(tree: &Tree, book: &mut Book<'_>) -> Option<Tolerance> {
    if let Yaml::Number(value) = tree.value {
        return Some(Tolerance { least: value, most: value });
    }
    let mut map = Fields::of(tree, book, "`tolerance`")?;
    let kind = map.require("type", book, "write `type: range`");
    kind.and_then(|tree| word(tree, book, "type", &[("range", ())]));
    let range = map.require("range", book, "write `range: [LEAST, MOST]`; `.inf` is no limit");
    map.end(book);
    let (list, at) = range.and_then(|tree| Some((fields::list(tree, book, "range", 2)?, tree.referenced)))?;
    let [least, most] = list else {
        book.wrong_help(at, "a range has two numbers", "write `range: [LEAST, MOST]`; `.inf` is no limit");
        return None;
    };
    let mut side = |tree| fields::number(tree, book, "range", f64::NEG_INFINITY, f64::INFINITY);
    let (least, most) = (side(least)?, side(most)?);
    if least > most {
        book.wrong(at, format!("nothing is from {least} to {most}"));
    }
    Some(Tolerance { least, most })
}
