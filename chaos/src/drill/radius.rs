//! How far a drill may reach, checked before it begins and again whenever a step finds its targets.

use std::collections::{BTreeMap, BTreeSet};

use remit_common::id::Region;

use super::complaint::Book;
use super::fields::{self, Fields};
use super::select::{Selector, planned};
use super::step::{Does, FaultPlan, Hold, Step};
use super::yaml::Tree;
use crate::node::{Node, Roster};

/// How far a drill may reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Radius {
    /// Nodes that faults hit at the same time, at most; of a partition or a link, its side `from`.
    pub max_nodes: usize,
    /// Regions that those are in, at most.
    pub max_regions: usize,
    /// Whom no fault may hit.
    pub never: Vec<Selector>,
}

impl Default for Radius {
    /// One node: whoever wants more says so.
    fn default() -> Self {
        Self { max_nodes: 1, max_regions: 1, never: Vec::new() }
    }
}

/// Who is hit by what.
pub(super) type Held<K> = BTreeMap<K, BTreeSet<Hold>>;

/// A node, or one that is known only when the step begins: the how-manieth of which step.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Token {
    Node(Node),
    Later(usize, usize),
}

impl Radius {
    pub(super) fn read(tree: &Tree, roster: &Roster, book: &mut Book<'_>) -> Self {
        let mut radius = Self::default();
        let Some(mut map) = Fields::of(tree, book, "`blast-radius`") else { return radius };
        for (key, slot) in [("max-nodes", &mut radius.max_nodes), ("max-regions", &mut radius.max_regions)] {
            let count = map.take(key).and_then(|tree| fields::count(tree, book, key, 0, 1_000));
            if let Some(count) = count.and_then(|count| usize::try_from(count).ok()) {
                *slot = count;
            }
        }
        let never = map.take("never").map(|tree| fields::texts(tree, book, "never", 64)).unwrap_or_default();
        for (at, text) in never {
            let Some(selector) = Selector::read(text, at, roster, book) else { continue };
            if selector.fixed(roster).is_none() {
                let message =
                    format!("`never` cannot protect `{selector}`: who that is changes while the drill is played");
                book.wrong_help(
                    at,
                    message,
                    "name nodes that stay the same: `role=control`, `voter=1`, `region=eu-west`",
                );
            }
            radius.never.push(selector);
        }
        map.end(book);
        radius
    }

    /// Goes through the steps and finds those that would reach too far, whoever leads.
    pub(super) fn check<'s>(&self, steps: impl Iterator<Item = &'s Step>, roster: &Roster, book: &mut Book<'_>) {
        let mut held: Held<Token> = BTreeMap::new();
        for (number, step) in steps.enumerate() {
            let Does::Fault(plan) = &step.does else { continue };
            let mut tokens = BTreeSet::new();
            for selector in &plan.target {
                if !plan.kind.is_cure()
                    && let Some(reason) = self.may_hit_protected(selector, roster)
                {
                    let help = "aim at a voter by its number, `voter=2`, or take it out of `never`";
                    book.wrong_help(step.at, format!("this reaches beyond the blast radius: {reason}"), help);
                    return;
                }
                match selector.fixed(roster) {
                    Some(nodes) => tokens.extend(nodes.into_iter().map(Token::Node)),
                    None => tokens.extend((0..selector.width(roster)).map(|place| Token::Later(number, place))),
                }
            }
            let is_hit = plan.target.contains(&Selector::Hit);
            if plan.hits_nobody(&held) {
                let message = "`hit` is nobody here: no step before this one has begun what it could mean";
                book.wrong_help(step.at, message, "name whom it hits: `target: leader`, `target: \"voter=2\"`");
                return;
            }
            let cures_all = is_hit || plan.target.is_empty() || plan.target.contains(&Selector::Everyone);
            change(&mut held, plan, &tokens, cures_all);
            if plan.kind.is_cure() {
                continue;
            }
            let hit: BTreeSet<Token> = held.keys().cloned().chain(tokens.iter().cloned()).collect();
            let certain = hit.iter().filter_map(|token| match token {
                Token::Node(node) => Some(node),
                Token::Later(..) => None,
            });
            let certain: BTreeSet<Node> = certain.cloned().collect();
            if let Err(reason) = self.admits(&certain, hit.len(), &tokens_of(&tokens), roster) {
                let help = "aim at fewer, end the fault before, or widen `x-remit: blast-radius`";
                book.wrong_help(step.at, format!("this reaches beyond the blast radius: {reason}"), help);
                return;
            }
        }
    }

    /// Why a target that is known only when its step begins may turn out to be protected. Who leads is nobody's choice,
    /// so every voter may be meant.
    fn may_hit_protected(&self, selector: &Selector, roster: &Roster) -> Option<String> {
        if !selector.needs_leader() {
            return None;
        }
        self.never.iter().find_map(|never| {
            let protected = never.fixed(roster)?.into_iter().find(|node| matches!(node, Node::Voter(_)))?;
            Some(format!("`{selector}` may be {protected}, which is never to be hit (`{never}`)"))
        })
    }

    /// Whether these may be hit at the same time.
    ///
    /// # Errors
    /// Says which limit is passed.
    pub(super) fn admits(
        &self,
        hit: &BTreeSet<Node>,
        count: usize,
        aimed: &BTreeSet<Node>,
        roster: &Roster,
    ) -> Result<(), String> {
        for selector in &self.never {
            let protected = selector.fixed(roster).unwrap_or_default();
            if let Some(node) = aimed.iter().find(|node| protected.contains(node)) {
                return Err(format!("{node} is never to be hit (`{selector}`)"));
            }
        }
        if count > self.max_nodes {
            return Err(format!("{count} nodes would be hit at the same time; `max-nodes` is {}", self.max_nodes));
        }
        let regions = regions_of(hit, roster);
        if regions.len() > self.max_regions {
            let names: Vec<&str> = regions.iter().map(Region::as_str).collect();
            let count = regions.len();
            let names = names.join(", ");
            return Err(format!("{count} regions would be hit ({names}); `max-regions` is {}", self.max_regions));
        }
        Ok(())
    }

    /// Whom a mesh of this shape keeps out of every fault.
    #[must_use]
    pub fn protected(&self, shape: &super::backend::Shape) -> BTreeSet<Node> {
        let roster = planned(shape);
        self.never.iter().filter_map(|selector| selector.fixed(&roster)).flatten().collect()
    }
}

impl FaultPlan {
    /// Whom of these `hit` means here: those with what this ends, or with any fault where it ends nothing.
    pub(super) fn hit_of<K: Ord + Clone>(&self, held: &Held<K>) -> BTreeSet<K> {
        let ends = self.kind.ends();
        let is_meant = |faults: &BTreeSet<Hold>| ends.is_empty() || faults.iter().any(|fault| ends.contains(fault));
        held.iter().filter(|(_, faults)| is_meant(faults)).map(|(who, _)| who.clone()).collect()
    }

    /// Whether this would break something at whoever is hit, and nobody is.
    fn hits_nobody<K: Ord + Clone>(&self, held: &Held<K>) -> bool {
        !self.kind.is_cure() && self.target == [Selector::Hit] && self.hit_of(held).is_empty()
    }
}

fn tokens_of(tokens: &BTreeSet<Token>) -> BTreeSet<Node> {
    let nodes = tokens.iter().filter_map(|token| match token {
        Token::Node(node) => Some(node.clone()),
        Token::Later(..) => None,
    });
    nodes.collect()
}

/// What a fault changes about who is hit.
pub(super) fn change<K: Ord + Clone>(held: &mut Held<K>, plan: &FaultPlan, targets: &BTreeSet<K>, everybody: bool) {
    let ends = plan.kind.ends();
    let mut cured = BTreeSet::new();
    for (token, faults) in held.iter_mut().filter(|(token, _)| everybody || targets.contains(token)) {
        let before = faults.len();
        faults.retain(|fault| !ends.contains(fault));
        if faults.len() < before {
            cured.insert(token.clone());
        }
    }
    held.retain(|_, faults| !faults.is_empty());
    // A clock that was set right has not jumped once more.
    let Some(hold) = plan.kind.holds() else { return };
    for token in targets.iter().filter(|token| !cured.contains(token)) {
        held.entry(token.clone()).or_default().insert(hold);
    }
}

fn regions_of(nodes: &BTreeSet<Node>, roster: &Roster) -> BTreeSet<Region> {
    let members = roster.nodes.iter().filter(|member| nodes.contains(&member.node));
    members.filter_map(|member| member.region.clone()).collect()
}
