//! Faults as spans of time: when each began, when it ended, and when everything was well again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Event, What};
use crate::drill::action::Fault;
use crate::node::Node;

/// One fault, from its beginning to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outage {
    /// As the drill file names it: `kill`, `partition`.
    pub name: String,
    /// Whom it hit.
    pub nodes: Vec<Node>,
    /// For people: what exactly.
    pub detail: String,
    /// The event that began it.
    pub index: u64,
    /// When it began, in microseconds since the run began.
    pub from_us: u64,
    /// When it had ended for all nodes; none if it never did. What has no duration (a jump of a clock) ends at once.
    pub to_us: Option<u64>,
    /// When it ended for each of the nodes.
    pub ends: BTreeMap<Node, u64>,
}

impl Outage {
    /// Whether it hits a node at this time or within `after_us` before it.
    #[must_use]
    pub fn hits(&self, node: &Node, time_us: u64, after_us: u64) -> bool {
        let until = self.ends.get(node).map_or(u64::MAX, |end| end.saturating_add(after_us));
        self.nodes.contains(node) && (self.from_us..=until).contains(&time_us)
    }

    /// Whether it lasts at this time, or did within `after_us` before it.
    #[must_use]
    pub fn lasts(&self, time_us: u64, after_us: u64) -> bool {
        let until = self.to_us.map_or(u64::MAX, |end| end.saturating_add(after_us));
        (self.from_us..=until).contains(&time_us)
    }

    fn end(&mut self, nodes: &[Node], time_us: u64) {
        for node in nodes {
            if self.nodes.contains(node) {
                self.ends.entry(node.clone()).or_insert(time_us);
            }
        }
        if self.to_us.is_none() && self.nodes.iter().all(|node| self.ends.contains_key(node)) {
            self.to_us = Some(self.ends.values().copied().max().unwrap_or(time_us));
        }
    }
}

/// What a step ends that another step began, if it is one of those.
fn ended_by(name: &str) -> Option<&'static [&'static str]> {
    match name {
        "start" => Some(&["kill", "power-cut", "stop", "fsync-error", "lie", "exit"]),
        "resume" => Some(&["pause"]),
        "disk-free" => Some(&["disk-full"]),
        "heal-network" => Some(&["partition", "link"]),
        _ => None,
    }
}

/// Whether a fault is over as soon as it has happened.
fn is_momentary(name: &str) -> bool {
    matches!(name, "clock-jump" | "replace-voter")
}

/// Every fault of a run, in the order in which they began. A fault ends with an event of its name that does not begin,
/// with the step that is its opposite (`start`, `resume`, `disk-free`, `heal-network`), or with the phase `check`.
#[must_use]
pub fn outages(events: &[Event]) -> Vec<Outage> {
    let mut all: Vec<Outage> = Vec::new();
    let mut open: Vec<usize> = Vec::new();
    for event in events {
        match &event.what {
            What::Fault { name, nodes, detail, begins, fault } => {
                let lifts = matches!(fault, Some(Fault::CpuLimit { percent: 100.., .. }));
                if let Some(others) = ended_by(name) {
                    if *begins {
                        let everywhere = name == "heal-network";
                        end(&mut all, &mut open, event.time_us, if everywhere { None } else { Some(nodes) }, others);
                    }
                } else if !begins || lifts {
                    end(&mut all, &mut open, event.time_us, Some(nodes), &[name]);
                } else {
                    let mut outage = Outage {
                        name: name.clone(),
                        nodes: nodes.clone(),
                        detail: detail.clone(),
                        index: event.index,
                        from_us: event.time_us,
                        to_us: None,
                        ends: BTreeMap::new(),
                    };
                    if is_momentary(name) {
                        outage.to_us = Some(event.time_us);
                        outage.ends = nodes.iter().map(|node| (node.clone(), event.time_us)).collect();
                    } else {
                        open.push(all.len());
                    }
                    all.push(outage);
                }
            }
            What::Phase { name } if name == "check" => {
                for at in open.drain(..) {
                    let Some(outage) = all.get_mut(at) else { continue };
                    let nodes = outage.nodes.clone();
                    outage.end(&nodes, event.time_us);
                    outage.to_us.get_or_insert(event.time_us);
                }
            }
            _ => {}
        }
    }
    all
}

/// Ends what is open under one of these names, for these nodes or for all.
fn end(all: &mut [Outage], open: &mut Vec<usize>, time_us: u64, nodes: Option<&Vec<Node>>, names: &[&str]) {
    open.retain(|at| {
        let Some(outage) = all.get_mut(*at) else { return false };
        if names.contains(&outage.name.as_str()) {
            let every = outage.nodes.clone();
            // A fault without a target, or an end that names none, is of the whole mesh.
            match nodes {
                Some(nodes) if !nodes.is_empty() => outage.end(nodes, time_us),
                _ => outage.end(&every, time_us),
            }
        }
        outage.to_us.is_none()
    });
}

/// When the last fault had ended: the phase `heal`, or the last step after it. `None` without that phase.
#[must_use]
pub fn healed_at(events: &[Event]) -> Option<u64> {
    healing(events).map(|(_, to)| to)
}

/// From the phase `heal` to the last step after it.
#[must_use]
pub fn healing(events: &[Event]) -> Option<(u64, u64)> {
    let heal = |event: &Event| matches!(&event.what, What::Phase { name } if name == "heal");
    let after = events.get(events.iter().rposition(heal)?..)?;
    let from = after.first()?.time_us;
    let steps = after.iter().filter(|event| matches!(event.what, What::Fault { .. }));
    Some((from, steps.map(|event| event.time_us).max().unwrap_or(from).max(from)))
}

#[cfg(test)]
mod tests {
    use remit_common::id::VoterId;

    use super::*;
    use crate::history::Kind;

    fn fault(time_us: u64, name: &str, nodes: &[u64], begins: bool) -> Event {
        let nodes = nodes.iter().map(|id| Node::Voter(VoterId(*id))).collect();
        let what = What::Fault { name: name.to_owned(), nodes, detail: String::new(), begins, fault: None };
        Event { index: time_us, time_us, process: "drill".to_owned(), kind: Kind::Info, what }
    }

    fn phase(time_us: u64, name: &str) -> Event {
        let what = What::Phase { name: name.to_owned() };
        Event { index: time_us, time_us, process: "drill".to_owned(), kind: Kind::Info, what }
    }

    #[test]
    fn a_fault_ends_node_by_node_with_its_opposite() {
        let events = [fault(1, "kill", &[1, 2], true), fault(5, "start", &[1], true), fault(9, "start", &[2], true)];
        let found = outages(&events);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].from_us, found[0].to_us), (1, Some(9)));
        let node = |id| Node::Voter(VoterId(id));
        assert!(found[0].hits(&node(1), 5, 0) && !found[0].hits(&node(1), 6, 0) && found[0].hits(&node(1), 6, 1));
        assert!(found[0].hits(&node(2), 9, 0) && !found[0].hits(&node(3), 5, 0));
    }

    #[test]
    fn each_kind_of_end_ends_only_its_own_kind() {
        let check = |end: Event, expected: &[Option<u64>]| {
            let began = ["kill", "pause", "partition", "disk-full", "cpu-limit"];
            let mut events: Vec<_> = (1..).zip(began).map(|(time, name)| fault(time, name, &[1], true)).collect();
            events.push(end);
            let found: Vec<_> = outages(&events).into_iter().map(|outage| outage.to_us).collect();
            assert_eq!(found, expected);
        };
        check(fault(9, "resume", &[1], true), &[None, Some(9), None, None, None]);
        check(fault(9, "heal-network", &[], true), &[None, None, Some(9), None, None]);
        check(fault(9, "disk-free", &[1], true), &[None, None, None, Some(9), None]);
        check(fault(9, "cpu-limit", &[1], false), &[None, None, None, None, Some(9)]);
        check(fault(9, "partition", &[], false), &[None, None, Some(9), None, None]);
        check(fault(9, "start", &[2], true), &[None, None, None, None, None]);
        check(phase(9, "check"), &[Some(9); 5]);
    }

    #[test]
    fn what_has_no_duration_ends_at_once_and_a_storm_does_not() {
        let storm = [fault(1, "clock-jump", &[1], true), fault(2, "reconnect-storm", &[1], true)];
        let ends = |events: &[Event]| outages(events).into_iter().map(|outage| outage.to_us).collect::<Vec<_>>();
        assert_eq!(ends(&storm), [Some(1), None]);
        let [jump, storm] = storm;
        assert_eq!(ends(&[jump, storm, fault(9, "reconnect-storm", &[1], false)]), [Some(1), Some(9)]);
    }

    #[test]
    fn all_is_well_after_the_last_step_of_healing() {
        assert_eq!(healed_at(&[fault(1, "kill", &[1], true)]), None);
        assert_eq!(healed_at(&[phase(2, "heal")]), Some(2));
        assert_eq!(healed_at(&[phase(2, "heal"), fault(7, "start", &[1], true), phase(9, "check")]), Some(7));
    }
}
