//! A fault as reports show it: whom it was aimed at, and between whom it lay.

use super::words::nodes;
use crate::drill::action::Fault;
use crate::history::outages::Outage;
use crate::history::{Event, What};
use crate::node::{Node, Roster};

/// Names of one side at most.
const NAMES_MAX: usize = 3;

/// One fault of the run.
pub(super) struct Broken<'a> {
    /// When it lasted.
    pub(super) outage: &'a Outage,
    /// Whom it hit, in words: `voter 1`, `every edge of eu-west ↔ every voter`.
    pub(super) whom: String,
    /// At whom it was aimed; of a fault between two sides the first.
    pub(super) hits: &'a [Node],
}

impl<'a> Broken<'a> {
    /// Every fault of the run.
    pub(super) fn all(outages: &'a [Outage], events: &'a [Event], roster: &Roster) -> Vec<Self> {
        outages.iter().map(|outage| Self::of(outage, events, roster)).collect()
    }

    fn of(outage: &'a Outage, events: &'a [Event], roster: &Roster) -> Self {
        let event = usize::try_from(outage.index).ok().and_then(|at| events.get(at));
        let fault = match event.map(|event| &event.what) {
            Some(What::Fault { fault: Some(fault), .. }) => Some(fault),
            _ => None,
        };
        let (hits, whom) = match fault {
            Some(Fault::Partition { from, to, one_way }) => (from, between(from, to, *one_way, roster)),
            Some(Fault::Link { from, to, .. }) => (from, between(from, to, false, roster)),
            _ => (&outage.nodes, nodes(&outage.nodes, roster, NAMES_MAX)),
        };
        Self { outage, whom, hits }
    }
}

fn between(from: &[Node], to: &[Node], one_way: bool, roster: &Roster) -> String {
    let everybody = roster.nodes.iter().map(|member| &member.node);
    let mut others = everybody.filter(|node| matches!(node, Node::Voter(_) | Node::Edge(_)) && !from.contains(node));
    let all_others = others.all(|node| to.contains(node)) && to.len() > 1;
    let to = if all_others { "everybody else".to_owned() } else { nodes(to, roster, NAMES_MAX) };
    format!("{} {} {to}", nodes(from, roster, NAMES_MAX), if one_way { "→" } else { "↔" })
}
