//! In which runs bugs are looked for, and which promises each of them breaks.

use std::fmt;
use std::time::Duration;

use anyhow::Result;
use remit_chaos::invariant::Invariant;
use remit_chaos::sim::run::Setup;
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

/// Which promises a bug breaks. A breach of another one may be an accident, and does not count.
pub(crate) fn breaks(bug: Bug) -> &'static [Invariant] {
    use Invariant::{
        Authority, Bundles, HonestAge, Linearizable, Liveness, Monotone, RaftSafety, RecordedFirst, Records,
        Resurrection, Revocation, Secrecy,
    };
    match bug {
        Bug::AppendNotSynced | Bug::VoteNotSaved | Bug::CommittedAheadOfLog | Bug::LeaderResumesItsTerm => {
            &[RaftSafety, Linearizable]
        }
        Bug::ReadWithoutBarrier | Bug::ReadWithoutMajority | Bug::ReadBeforeApplied => &[Linearizable],
        // An edge that has more than its voter does not get younger any more.
        Bug::SnapshotDropsRevocations => &[RaftSafety, Linearizable, Revocation, Liveness],
        Bug::RecordAckedBeforeDurable | Bug::RecordRepeatByDecision | Bug::EarlierRecordsNotSent => {
            &[Records, RecordedFirst]
        }
        Bug::ConnectionCountsAsCoverage | Bug::CoveredBeforeEnforced => &[Revocation],
        Bug::OneSignatureIsEnough | Bug::CanariesNotAsked => &[Bundles],
        Bug::ActivationUncheckedAfterRestart => &[Bundles, Monotone],
        Bug::RevocationsForgottenAtRestart => &[Revocation, Resurrection, Monotone],
        Bug::AgeRestartsAtZero | Bug::AgeFromArrival => &[HonestAge, Revocation],
        Bug::CallBeforeRecorded => &[RecordedFirst],
        Bug::AnswerNotSearched => &[Secrecy],
        Bug::LastDimensionDecides => &[Authority],
    }
}
