//! Schedules of faults that nobody thought of: for runs of the simulation whose seed decides what fails, and when.
//!
//! A schedule is made of *episodes*, each a small story as operations know them: a voter that dies while another is
//! being elected, a region behind a one-way cut, a power cut of a whole room. Episodes overlap as far as they can be
//! told apart: no node is taken down twice at once, the network has one story at a time, and there is a bound on how
//! long a majority of the voters may be away. Everything has ended at [`Plan::healed_at`], so that what follows shows
//! whether the mesh comes back by itself.
//!
//! Whoever plays a plan takes [`Fault::Start`] of a node that runs, and [`Fault::Kill`] of one that does not, as done:
//! whether a node survives a full or failing disk is up to the node. A start forgets what the disk was still to do
//! wrong. A step that takes its time delays those after it; it does not lose them.

mod book;
mod compound;
mod episode;
mod network;

use std::collections::BTreeMap;
use std::time::Duration;

use rand::RngExt as _;
use rand_pcg::Pcg64;
use remit_common::id::VoterId;
use serde::{Deserialize, Serialize};

use self::book::Book;
use super::entropy::generator;
use crate::drill::action::Fault;
use crate::node::{Node, Roster};

/// What a plan may do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Nothing fails before: time for the workload to find its feet.
    pub calm: Duration,
    /// Nothing fails for this long at the end.
    pub recovery: Duration,
    /// How long a majority of the voters may be away, unless the whole control plane is to be gone.
    pub majority_away_max: Duration,
    /// Whether a plan may take the whole control plane away, for longer than edges go on alone.
    pub may_lose_control_plane: bool,
    /// A new episode is tried about this often.
    pub episode_every: Duration,
    /// Before all others, so many tries are made of accidents that meet.
    pub compounds: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            calm: Duration::from_secs(3),
            recovery: Duration::from_secs(25),
            majority_away_max: Duration::from_secs(4),
            may_lose_control_plane: true,
            episode_every: Duration::from_millis(1_500),
            compounds: 0,
        }
    }
}

/// One thing that happens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// When, from the beginning of the run.
    pub at: Duration,
    /// What.
    pub fault: Fault,
}

/// What is to fail in a run, and when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// In the order in which they happen.
    pub steps: Vec<Step>,
    /// The episodes, by name.
    pub episodes: BTreeMap<String, u32>,
    /// From here on nothing fails any more.
    pub healed_at: Duration,
    /// Whether the whole control plane is gone for a while.
    pub loses_control_plane: bool,
}

impl Plan {
    /// How often each fault happens, by the name that drill files give it.
    #[must_use]
    pub fn faults(&self) -> BTreeMap<&'static str, u32> {
        let mut counts = BTreeMap::new();
        for step in &self.steps {
            *counts.entry(step.fault.name()).or_default() += 1;
        }
        counts
    }
}

/// The plan that a seed decides for a run of this length. A run too short for anything to fail and heal has none.
#[must_use]
pub fn plan(seed: u64, roster: &Roster, duration: Duration, limits: &Limits) -> Plan {
    let healed_at = duration.saturating_sub(limits.recovery).max(limits.calm);
    let mut random = generator(seed, "nemesis");
    let loses_control_plane = limits.may_lose_control_plane && random.random_ratio(1, 10);
    let mut draft = Draft {
        voters: roster.voters().collect(),
        edges: roster.edges().cloned().map(Node::Edge).collect(),
        roster,
        book: Book::new(limits.calm, healed_at),
        majority_away_max: limits.majority_away_max,
        random,
        steps: Vec::new(),
    };
    let mut episodes = BTreeMap::new();
    if loses_control_plane {
        note(&mut episodes, draft.control_plane_gone());
    }
    // Also before the others: none of them may name a voter that is no more.
    if draft.one_in(4) {
        note(&mut episodes, draft.replace_voter());
    }
    for turn in 0..limits.compounds {
        note(&mut episodes, draft.compound(turn));
    }
    let window = healed_at.saturating_sub(limits.calm);
    // Half of the tries find their place taken, or no time left.
    let tries = 2 * window.as_millis() / limits.episode_every.as_millis().max(1);
    for _ in 0..tries {
        note(&mut episodes, draft.episode());
    }
    draft.push(healed_at, Fault::HealNetwork);
    let mut steps = draft.steps;
    // Stable: what an episode says happens at the same time happens in the order in which it says so.
    steps.sort_by_key(|step| step.at);
    let loses_control_plane = episodes.contains_key(CONTROL_PLANE_GONE);
    Plan { steps, episodes, healed_at, loses_control_plane }
}

fn note(episodes: &mut BTreeMap<String, u32>, episode: Option<&'static str>) {
    if let Some(episode) = episode {
        *episodes.entry(episode.to_owned()).or_default() += 1;
    }
}

const CONTROL_PLANE_GONE: &str = "control plane gone";

/// A plan in the making.
struct Draft<'a> {
    roster: &'a Roster,
    voters: Vec<VoterId>,
    edges: Vec<Node>,
    book: Book,
    majority_away_max: Duration,
    random: Pcg64,
    steps: Vec<Step>,
}

impl Draft<'_> {
    fn push(&mut self, at: Duration, fault: Fault) {
        self.steps.push(Step { at, fault });
    }

    /// Somewhere between these, in milliseconds.
    fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(self.random.random_range(from..=to.max(from)))
    }

    /// Sometime in the window in which things may fail.
    fn sometime(&mut self) -> Duration {
        let (begin, end) = self.book.window();
        let millis = |at: Duration| u64::try_from(at.as_millis()).unwrap_or(u64::MAX);
        self.millis(millis(begin), millis(end))
    }

    /// One out of `n`.
    fn one_in(&mut self, n: u32) -> bool {
        self.random.random_ratio(1, n.max(1))
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> Option<T> {
        if from.is_empty() {
            return None;
        }
        from.get(self.random.random_range(0..from.len())).cloned()
    }

    /// Some of them, in random order.
    fn some<T: Clone>(&mut self, from: &[T], count: usize) -> Vec<T> {
        let mut left = from.to_vec();
        let mut chosen = Vec::new();
        while chosen.len() < count && !left.is_empty() {
            chosen.push(left.remove(self.random.random_range(0..left.len())));
        }
        chosen
    }

    /// The voters that are not going to be replaced.
    fn voters(&self) -> Vec<Node> {
        self.voters.iter().copied().map(Node::Voter).collect()
    }

    fn voter(&mut self) -> Option<Node> {
        let voters = self.voters();
        self.pick(&voters)
    }

    fn edge(&mut self) -> Option<Node> {
        let edges = self.edges.clone();
        self.pick(&edges)
    }

    /// A voter twice as often as an edge: there is more to break.
    fn victim(&mut self) -> Option<Node> {
        if self.one_in(3) { self.edge() } else { self.voter() }
    }
}

#[cfg(test)]
mod tests;
