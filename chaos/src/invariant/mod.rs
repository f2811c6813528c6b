//! Promises of the mesh, each in a file of its own, judged on a history.
//!
//! A judge sees what agents, administrators and operators saw, on true time, and nothing of a node's inside. What timed
//! out may have happened or not: a history breaks a promise only if it does so whichever is the case.
//!
//! | | what is judged | where |
//! |---|---|---|
//! | R1 | voters agree on the log and never go back in it | `raft_safety` |
//! | R2 | reads with a barrier are linearizable; no acknowledged write is lost | `linearizable` |
//! | B1, B2, B3 | edges run what was published; after the failure all of them run the newest; a bundle in waves stays where it has come to, and goes back | `bundles`, `convergence`, `waves` |
//! | B4 | an edge goes back only where its newest bundle says | `way_back` |
//! | V1, V2, V3 | what was revoked stops in time, and for good; edges know how old their knowledge is | `revocation`, `resurrection`, `age` |
//! | P1, P2 | nothing is permitted that nothing admits, or what admitted it was withdrawn | `authority`, `withdrawal` |
//! | D1, D2 | records are kept once and whole; changes are recorded before they are made | `records`, `recorded_first` |
//! | C1 | the credential stays in its place | `secrecy` |
//! | L1, A1 | the mesh recovers by itself; reads go on meanwhile | `liveness`, `availability` |
//! | M1 | what an edge has learnt it keeps | `monotone` |

mod age;
mod authority;
mod availability;
mod bundles;
mod context;
mod convergence;
mod cuts;
mod linearizable;
mod liveness;
mod monotone;
mod published;
mod raft_safety;
mod recorded_first;
mod records;
mod resurrection;
mod revocation;
mod rollouts;
mod secrecy;
mod stored;
mod story;
mod turned_away;
mod vacuity;
mod verdict;
mod waves;
mod way_back;
mod withdrawal;

use serde::{Deserialize, Serialize};

pub use context::{Context, Minimums};
pub(crate) use cuts::lineage;
pub use vacuity::{Missing, Vacuous};
pub use verdict::{Breach, Invariant, Status, UnknownInvariant, Verdict, Witness};

use self::stored::{Stored, drained};
use self::story::Story;
use crate::history::Event;
use crate::history::figures::{Figures, figures};

/// A run, judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judgement {
    /// Every promise, in the order of [`Invariant::ALL`].
    pub verdicts: Vec<Verdict>,
    /// What there was too little of, if anything: then no verdict counts but a violation.
    pub vacuous: Option<Vacuous>,
    /// What the run measured.
    pub figures: Figures,
}

/// What came of a run as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Every promise that could be measured was kept.
    Held,
    /// At least one was broken.
    Violated,
    /// Too little happened.
    Vacuous,
}

impl Judgement {
    /// What came of the run: a breach is one however little happened.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match (&self.vacuous, self.violated().next()) {
            (_, Some(_)) => Outcome::Violated,
            (Some(_), None) => Outcome::Vacuous,
            (None, None) => Outcome::Held,
        }
    }

    /// The promises that were broken.
    pub fn violated(&self) -> impl Iterator<Item = &Verdict> {
        self.verdicts.iter().filter(|verdict| verdict.status == Status::Violated)
    }

    /// The verdict on one promise.
    #[must_use]
    pub fn verdict(&self, id: Invariant) -> Option<&Verdict> {
        self.verdicts.iter().find(|verdict| verdict.id == id)
    }
}

/// Judges a run. Events stand in the order of their time, as a [`crate::history::History`] notes them.
#[must_use]
pub fn check(events: &[Event], context: &Context) -> Judgement {
    let mut figures = figures(events);
    let story = Story::of(events);
    let turned_away = turned_away::TurnedAway::of(events);
    let (available, reads_refused) = availability::check(events, &story, &turned_away, context);
    figures.reads_refused_by_failure = reads_refused;
    let stored = Stored::of(events);
    let drained = drained(events, &story, &stored, context);
    let (recorded, lost) = records::check(events, &story, &stored, &drained, context);
    let (recorded_first, missing) = recorded_first::check(&story, &stored, &drained);
    figures.records_lost = lost.saturating_add(missing);
    let rollouts = rollouts::rollouts(events, &story);
    let grounds = withdrawal::Grounds::of(&story, &rollouts, context);
    let mut verdicts = vec![
        raft_safety::check(events, context),
        linearizable::check(events, &story, context),
        bundles::check(events, &story),
        convergence::check(events, &story, context),
        waves::check(events, &story, &rollouts, &grounds, context),
        way_back::check(events, &story),
        revocation::check(events, &story, context),
        resurrection::check(&story),
        age::check(events, &story, context),
        authority::check(&story),
        withdrawal::check(&grounds, &story, &turned_away),
        recorded,
        recorded_first,
        secrecy::check(events),
        liveness::check(events, &story, context),
        available,
        monotone::check(events),
    ];
    for verdict in &mut verdicts {
        if let Some(reason) = context.not_asserted.get(&verdict.id) {
            let seen = verdict.breaches_total;
            verdict.notes.push(format!("this run does not assert it: {reason} ({seen} breaches seen)"));
            verdict.status = Status::NotMeasured;
        }
    }
    Judgement { verdicts, vacuous: vacuity::check(events, &context.minimums), figures }
}

#[cfg(test)]
mod tests;
