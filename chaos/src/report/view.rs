//! A drill as reports look at it: with figures even where nothing was judged.

use std::borrow::Cow;

use remit_common::policy::Bounds;

use crate::drill::outcome::{ActivityRun, ActivityStatus, DrillOutcome, Limit, ProbeReading};
use crate::history::figures::{Figures, figures};
use crate::invariant::{Judgement, Status, Vacuous, Verdict};

/// A drill and what was found in its history.
pub(super) struct View<'a> {
    /// The drill.
    pub(super) drill: &'a DrillOutcome,
    /// Every promise, judged; none if nothing was.
    pub(super) verdicts: &'a [Verdict],
    /// Whether too little happened.
    pub(super) vacuous: Option<&'a Vacuous>,
    /// What the run measured.
    pub(super) figures: Cow<'a, Figures>,
    /// How old an edge's knowledge may be.
    pub(super) bounds: Bounds,
}

impl<'a> View<'a> {
    pub(super) fn of(drill: &'a DrillOutcome) -> Self {
        let judgement = drill.judgement.as_ref();
        let measured = |judgement: &'a Judgement| Cow::Borrowed(&judgement.figures);
        Self {
            drill,
            verdicts: judgement.map_or(&[], |judgement| &judgement.verdicts),
            vacuous: judgement.and_then(|judgement| judgement.vacuous.as_ref()),
            figures: judgement.map_or_else(|| Cow::Owned(figures(&drill.events)), measured),
            bounds: drill.context.as_ref().map_or(Bounds::DEFAULT, |context| context.bounds),
        }
    }

    /// Promises with this verdict.
    pub(super) fn with(&self, status: Status) -> impl Iterator<Item = &'a Verdict> {
        self.verdicts.iter().filter(move |verdict| verdict.status == status)
    }

    /// Steps of which this became.
    pub(super) fn steps(&self, status: ActivityStatus) -> impl Iterator<Item = &'a ActivityRun> {
        self.drill.activities.iter().filter(move |activity| activity.status == status)
    }

    /// Limits that were passed or not measured.
    pub(super) fn missed(&self) -> impl Iterator<Item = &'a Limit> {
        self.drill.limits.iter().filter(|limit| !limit.within)
    }

    /// The steady state before.
    pub(super) fn before(&self) -> &'a [ProbeReading] {
        self.drill.before.as_deref().unwrap_or_default()
    }

    /// The steady state at the end.
    pub(super) fn after(&self) -> &'a [ProbeReading] {
        self.drill.after.as_deref().unwrap_or_default()
    }

    /// The longest time without an acknowledged write during or after a fault, in microseconds.
    pub(super) fn longest_write_gap(&self) -> Option<u64> {
        self.figures.write_gaps.iter().map(|gap| gap.gap_us).max()
    }

    /// The longest time without a leader in sight, in microseconds.
    pub(super) fn longest_without_leader(&self) -> Option<u64> {
        super::chart::leaderless(&self.figures.reigns).iter().map(|(from, to)| to - from).max()
    }
}
