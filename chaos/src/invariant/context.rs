//! What judges have to know besides the history: the promised bounds, who takes part, and how much must have happened.

use std::collections::BTreeMap;
use std::time::Duration;

use remit_common::policy::bounds::Bounds;
use serde::{Deserialize, Serialize};

use super::verdict::Invariant;
use crate::node::Roster;

/// What the history does not say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Context {
    /// How old an edge's knowledge may be, effect by effect: of the bundle that the mesh runs. Where several bundles
    /// ran, the longest of each.
    pub bounds: Bounds,
    /// Who takes part at the end of the run.
    pub roster: Roster,
    /// Less than this proves nothing.
    pub minimums: Minimums,
    /// How far two times of the history may be wrong against each other: zero in the simulation, the resolution of
    /// the clocks otherwise. Added to bounds, and to nothing else.
    pub epsilon: Duration,
    /// How long after the end of the last fault everything must be well again.
    pub heal_within: Duration,
    /// How long after a disturbance edges may need until their knowledge is as young as it usually is.
    pub settle: Duration,
    /// What the run does not assert, with the reason.
    #[serde(default)]
    pub not_asserted: BTreeMap<Invariant, String>,
}

impl Context {
    /// For a mesh with these bounds and nodes; the rest as most drills have it.
    #[must_use]
    pub fn new(bounds: Bounds, roster: Roster) -> Self {
        Self {
            bounds,
            roster,
            minimums: Minimums::default(),
            epsilon: Duration::ZERO,
            heal_within: Duration::from_secs(30),
            settle: Duration::from_secs(10),
            not_asserted: BTreeMap::new(),
        }
    }
}

/// The least that must have happened. Unknown members of a file are refused, missing ones are as in a run of a minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Minimums {
    /// Calls that agents made.
    pub calls: u64,
    /// Calls that were permitted.
    pub permits: u64,
    /// Calls that were refused.
    pub denials: u64,
    /// Calls that envelope or policy do not admit.
    pub not_admitted: u64,
    /// Writes that the control plane acknowledged.
    pub acknowledged: u64,
    /// Revocations that it acknowledged.
    pub revocations: u64,
    /// Bundles whose publication it acknowledged.
    pub bundles: u64,
    /// Rollouts that were seen to end.
    pub rollouts: u64,
    /// Times that an edge said that it ran a bundle in waves before it was everybody's.
    pub staged_polls: u64,
    /// Changes of a relation that it acknowledged.
    pub relations: u64,
    /// Calls that rest on a relation and were permitted.
    pub relation_permits: u64,
    /// Linearizable reads that were answered.
    pub reads: u64,
    /// Times that a voter said how it is.
    pub voter_polls: u64,
    /// Times that an edge said how it is.
    pub edge_polls: u64,
    /// Records that were seen in a voter's store.
    pub records: u64,
    /// Faults that began.
    pub faults: u64,
}

impl Default for Minimums {
    fn default() -> Self {
        Self {
            calls: 50,
            permits: 20,
            denials: 5,
            not_admitted: 3,
            acknowledged: 5,
            revocations: 2,
            bundles: 1,
            rollouts: 0,
            staged_polls: 0,
            relations: 0,
            relation_permits: 0,
            reads: 10,
            voter_polls: 10,
            edge_polls: 10,
            records: 20,
            faults: 1,
        }
    }
}

impl Minimums {
    /// Anything will do.
    pub const NONE: Self = Self {
        calls: 0,
        permits: 0,
        denials: 0,
        not_admitted: 0,
        acknowledged: 0,
        revocations: 0,
        bundles: 0,
        rollouts: 0,
        staged_polls: 0,
        relations: 0,
        relation_permits: 0,
        reads: 0,
        voter_polls: 0,
        edge_polls: 0,
        records: 0,
        faults: 0,
    };
}

/// Nodes count milliseconds: between two of their readings may be a part of one more than they say.
pub(super) const RESOLUTION_US: u64 = 1_000;

/// As histories count time.
pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
