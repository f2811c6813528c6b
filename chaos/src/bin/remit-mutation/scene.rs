//! In which runs bugs are looked for, and which promises each of them breaks.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::catch_unwind;
use std::time::Duration;

use anyhow::Result;
use remit_chaos::invariant::Invariant;
use remit_chaos::sim::rehearsal::rehearse_shipped;
use remit_chaos::sim::run::{Setup, run};
use remit_common::planted::Bug;

/// A kind of run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Scene {
    /// What a soak plays.
    Usual,
    /// Busier people, slower disks, and accidents that meet.
    Hard,
}

impl Scene {
    pub(crate) fn setup(self, length: Duration) -> Result<Setup> {
        match self {
            Self::Usual => Setup::usual(length),
            Self::Hard => Setup::hard(length),
        }
    }
}

impl fmt::Display for Scene {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Usual => "usual",
            Self::Hard => "hard",
        })
    }
}

/// What was seen broken in one run, with the first breach of each as a sentence.
pub(crate) type Broken = BTreeMap<Invariant, String>;

/// What a seed is played in.
#[derive(Debug)]
pub(crate) enum Play {
    /// A run whose accidents the seed draws.
    Random(Box<Setup>),
    /// A shipped drill, for what no accident brings about: a voter that lies.
    Drill(&'static str),
}

impl Play {
    /// The promises that are broken with this seed. A run that does not come about, or in which too little happens,
    /// breaks none: that it fails would show, but not what is wrong.
    pub(crate) fn broken(&self, seed: u64) -> Broken {
        let judged = catch_unwind(|| match self {
            Self::Random(setup) => run(seed, setup).ok().map(|run| run.judgement),
            Self::Drill(name) => rehearse_shipped(name, seed).ok().and_then(|outcome| outcome.judgement),
        });
        let Some(judgement) = judged.ok().flatten() else { return Broken::new() };
        let violated = judgement.violated().map(|verdict| {
            let first = verdict.breaches.first().map(|breach| breach.sentence.clone());
            (verdict.id, first.unwrap_or_default())
        });
        violated.collect()
    }
}

/// The drill that a bug is looked for in, if no accident brings it to light.
pub(crate) fn drill_for(bug: Bug) -> Option<&'static str> {
    match bug {
        Bug::RepeatedTickCounts | Bug::OneVoterIsAMajority => Some("lying-voter"),
        Bug::BeaconWithoutItsNonce => Some("old-ticks"),
        Bug::AgeFromWallClock => Some("clock-jump"),
        Bug::AncestorCutMissed => Some("revoke-during-delegation"),
        Bug::ChannelOfAnotherEdge => Some("session-moved"),
        Bug::NewlyPermittedIgnored => Some("rollout-taken-back"),
        Bug::FallbackOfTheActive => Some("crash-loop"),
        Bug::OneKeyCountsTwice => Some("poisoned-bundle"),
        _ => None,
    }
}

/// Which promises a bug breaks. A breach of another one may be an accident, and does not count.
pub(crate) fn breaks(bug: Bug) -> &'static [Invariant] {
    use Invariant::{
        Authority, Bundles, HonestAge, Linearizable, Liveness, Monotone, RaftSafety, RecordedFirst, Records,
        Resurrection, Revocation, Secrecy, Waves, WayBack,
    };
    match bug {
        Bug::AppendNotSynced | Bug::VoteNotSaved | Bug::CommittedAheadOfLog | Bug::LeaderResumesItsTerm => {
            &[RaftSafety, Linearizable]
        }
        Bug::TwoAnswersForOneTick => &[RaftSafety],
        Bug::ReadWithoutBarrier | Bug::ReadWithoutMajority | Bug::ReadBeforeApplied => &[Linearizable],
        // An edge that has more than its voter does not get younger any more.
        Bug::SnapshotDropsRevocations => &[RaftSafety, Linearizable, Revocation, Liveness],
        Bug::RecordAckedBeforeDurable | Bug::RecordRepeatByDecision | Bug::EarlierRecordsNotSent => {
            &[Records, RecordedFirst]
        }
        Bug::ConnectionCountsAsCoverage | Bug::CoveredBeforeEnforced => &[Revocation],
        Bug::OneSignatureIsEnough | Bug::OneKeyCountsTwice | Bug::CanariesNotAsked => &[Bundles],
        Bug::ActivationUncheckedAfterRestart => &[Bundles, Monotone],
        Bug::RevocationsForgottenAtRestart => &[Revocation, Resurrection, Monotone],
        Bug::AgeRestartsAtZero
        | Bug::AgeFromArrival
        | Bug::AgeFromWallClock
        | Bug::OneVoterIsAMajority
        | Bug::BeaconWithoutItsNonce => &[HonestAge, Revocation],
        Bug::RepeatedTickCounts => &[Monotone],
        Bug::CallBeforeRecorded => &[RecordedFirst],
        Bug::AnswerNotSearched => &[Secrecy],
        Bug::LastDimensionDecides
        | Bug::HighestCounterCountsAgain
        | Bug::LeafUncheckedWhenCached
        | Bug::ChannelOfAnotherEdge => &[Authority],
        Bug::AncestorCutMissed => &[Revocation],
        Bug::StagedScopeIgnored | Bug::NewlyPermittedIgnored => &[Waves],
        Bug::FallbackOfTheActive => &[WayBack],
    }
}
