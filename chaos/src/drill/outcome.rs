//! What came of a drill: everything that reports tell, and nothing else tells.

use std::time::Duration;

use remit_common::time::Timestamp;
use serde::Serialize;

use super::action::Fault;
use super::backend::{BackendKind, Shape};
use crate::history::Event;
use crate::invariant::{self, Context, Invariant, Judgement, Verdict};
use crate::node::{Node, Roster};

/// One drill, played.
#[derive(Debug, Clone, Serialize)]
pub struct DrillOutcome {
    /// What was rehearsed.
    pub drill: DrillCopy,
    /// In which world.
    pub backend: BackendKind,
    /// What its randomness grew from.
    pub seed: u64,
    /// The mesh that was built.
    pub shape: Shape,
    /// Who took part at the end; empty when the mesh never started.
    pub roster: Roster,
    /// How far the drill came.
    pub status: RunStatus,
    /// Why it did not come to its end, or why it deviated; for people.
    pub why: Option<String>,
    /// Whether the mesh did something else than the drill expects: the steady state was lost, an invariant was broken,
    /// a limit was exceeded.
    pub deviated: bool,
    /// When it began, on the wall clock of the machine or of the simulation.
    pub started: Timestamp,
    /// When it ended, on the same clock.
    pub ended: Timestamp,
    /// True time from the one to the other; in the simulation, of simulated time.
    pub duration: Duration,
    /// The steady state before anything was touched; none when it was not asked.
    pub before: Option<Vec<ProbeReading>>,
    /// The steady state at the end; none when the drill did not get there.
    pub after: Option<Vec<ProbeReading>>,
    /// Every step in the order of the file: method first, then rollbacks.
    pub activities: Vec<ActivityRun>,
    /// The figures that the drill limits.
    pub limits: Vec<Limit>,
    /// The abort condition that fired.
    pub abort: Option<Fired>,
    /// What this world cannot do, step by step; a drill with any is not played.
    pub unable: Vec<Unable>,
    /// What the invariants were judged by; none when nothing was judged.
    pub context: Option<Context>,
    /// The invariants that the drill is about; a breach of any other counts just the same.
    pub invariants: Vec<Invariant>,
    /// The judgement on what happened; none when nothing was judged.
    pub judgement: Option<Judgement>,
    /// What was not asserted, and why: what the reader must not conclude from a pass.
    pub caveats: Vec<String>,
    /// Everything that was done and seen.
    #[serde(skip)]
    pub events: Vec<Event>,
    /// Of the simulation: the digest of every packet and event, equal for equal seeds.
    pub trace: Option<String>,
    /// The line that plays this again.
    pub reproduce: String,
    /// The version of remit.
    pub version: String,
}

/// The drill as its author wrote it.
#[derive(Debug, Clone, Serialize)]
pub struct DrillCopy {
    /// The name of its file without folder and ending.
    pub name: String,
    /// Where it was read from, as typed.
    pub path: String,
    /// In a few words.
    pub title: String,
    /// In a few sentences.
    pub description: String,
    /// For finding it.
    pub tags: Vec<String>,
    /// The whole file, for the journal.
    pub document: serde_json::Value,
}

/// How far a drill came; the words of Chaos Toolkit's journal, and one of our own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RunStatus {
    /// To its end; whether the mesh did well is told by the rest.
    Completed,
    /// The steady state did not hold before anything was touched, or the mesh did not start.
    Failed,
    /// An abort condition fired, or a step could not be carried out; everything was undone.
    Aborted,
    /// Somebody stopped it; everything was undone.
    Interrupted,
    /// This world cannot do one of its steps; nothing was started.
    Skipped,
}

/// One probe of the steady state, asked.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ProbeReading {
    /// Its name in the file.
    pub name: String,
    /// What it measures.
    pub probe: String,
    /// What it measured; none when it could not.
    pub value: Option<f64>,
    /// In what: `ms`, `share`, `count`.
    pub unit: &'static str,
    /// What it may be, for people: `0 to 0.02`.
    pub tolerance: String,
    /// Whether it is.
    pub within: bool,
}

/// What became of one step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ActivityRun {
    /// Its name in the file.
    pub name: String,
    /// In which part of the file it stands.
    pub section: Section,
    /// What it is.
    pub kind: ActivityKind,
    /// What it does: the name of a fault, of an operator's task or of a probe.
    pub does: String,
    /// Whom it hit, resolved at that moment.
    pub targets: Vec<Node>,
    /// The fault as it was brought about.
    pub fault: Option<Fault>,
    /// What became of it.
    pub status: ActivityStatus,
    /// When it began, in microseconds since the run began.
    pub start_us: Option<u64>,
    /// When it ended.
    pub end_us: Option<u64>,
    /// Whether the drill went on meanwhile.
    pub background: bool,
    /// What it found, or why it failed.
    pub message: Option<String>,
}

/// A part of a drill file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Section {
    /// What is done.
    Method,
    /// What is done at the end, whatever happened.
    Rollback,
}

/// Whether a step does something or looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ActivityKind {
    /// It does.
    Action,
    /// It looks.
    Probe,
}

/// What became of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ActivityStatus {
    /// Done; of a probe: within its tolerance.
    Succeeded,
    /// Not done, or done with another result than it must have.
    Failed,
    /// This world cannot do it.
    Skipped,
    /// The drill ended before.
    NotReached,
}

/// A figure and what the drill says it may be.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Limit {
    /// As the file names it: `write-gap-ms`.
    pub name: String,
    /// What it measures, in a sentence.
    pub meaning: String,
    /// The most it may be.
    pub limit: f64,
    /// In what.
    pub unit: &'static str,
    /// What it was; none when the run gave nothing to measure.
    pub measured: Option<f64>,
    /// Whether that is at most the limit; what was not measured is not.
    pub within: bool,
}

/// An abort condition that fired.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Fired {
    /// The probe.
    pub probe: String,
    /// The condition, for people: `above 50 for 5 s`.
    pub condition: String,
    /// What was measured last.
    pub value: Option<f64>,
    /// When, in microseconds since the run began.
    pub at_us: u64,
}

/// A step that a world cannot do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unable {
    /// The step's name.
    pub step: String,
    /// Why.
    pub reason: String,
}

/// What a drill comes down to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Conclusion {
    /// The mesh did as the drill expects.
    Passed,
    /// It did not.
    Deviated,
    /// Too little happened to prove anything.
    Vacuous,
    /// Stopped and undone before its end.
    Aborted,
    /// Not played.
    Skipped,
}

impl DrillOutcome {
    /// What it comes down to. A broken promise counts however the drill ended.
    #[must_use]
    pub fn conclusion(&self) -> Conclusion {
        let judged = self.judgement.as_ref().map(Judgement::outcome);
        if judged == Some(invariant::Outcome::Violated) {
            return Conclusion::Deviated;
        }
        match self.status {
            RunStatus::Skipped => Conclusion::Skipped,
            RunStatus::Aborted | RunStatus::Interrupted => Conclusion::Aborted,
            RunStatus::Failed => Conclusion::Deviated,
            RunStatus::Completed if self.deviated => Conclusion::Deviated,
            RunStatus::Completed if judged == Some(invariant::Outcome::Held) => Conclusion::Passed,
            RunStatus::Completed => Conclusion::Vacuous,
        }
    }

    /// The promises that were broken.
    pub fn violated(&self) -> impl Iterator<Item = &Verdict> {
        self.judgement.iter().flat_map(Judgement::violated)
    }
}
