//! Bugs planted on purpose, to see whether drills find them.
//!
//! Each stands where somebody tired would make it, behind a call of [`planted`], which is `false` and costs nothing
//! unless the feature `planted` is on. Only `remit-mutation` turns it on, in a target folder of its own; the binaries
//! that people run refuse to compile with it.

/// Whether bugs can be planted in this build.
pub const COMPILED_IN: bool = cfg!(feature = "planted");

/// A bug, named for what it does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bug {
    /// A voter tells Raft that entries are on the disk before an fsync covers them.
    AppendNotSynced,
    /// A voter remembers its own vote in memory only.
    VoteNotSaved,
    /// A voter that starts takes its whole log for committed: the greater of two numbers, not the smaller.
    CommittedAheadOfLog,
    /// A restarted leader goes on leading its term without an election.
    LeaderResumesItsTerm,
    /// A linearizable read is answered without its barrier.
    ReadWithoutBarrier,
    /// A leader answers reads without asking whether a majority still follows it.
    ReadWithoutMajority,
    /// A follower asks the leader how far a read must see, and answers before it has got there.
    ReadBeforeApplied,
    /// A voter's snapshot leaves out the revocations.
    SnapshotDropsRevocations,
    /// A voter acknowledges records that an fsync does not cover yet.
    RecordAckedBeforeDurable,
    /// A voter takes a record for a repeat when it has one of the same decision.
    RecordRepeatByDecision,
    /// An edge that is connected counts as one that has signed that it enforces the revocations.
    ConnectionCountsAsCoverage,
    /// One signature of the role is enough, whatever its threshold.
    OneSignatureIsEnough,
    /// Signatures are counted, and not the keys that made them: one key that signs under two names is two.
    OneKeyCountsTwice,
    /// A tick answer counts under one voter's signature.
    OneVoterIsAMajority,
    /// A tick answer for somebody else's nonce counts as one for the newest of this edge.
    BeaconWithoutItsNonce,
    /// A voter signs the newest tick again, with the revocations as they are now, whenever they change.
    TwoAnswersForOneTick,
    /// The age of an edge's knowledge is read from the wall clock.
    AgeFromWallClock,
    /// A bundle is activated without passing its own canaries.
    CanariesNotAsked,
    /// After a restart an edge takes any activation that it is offered, before a tick names it.
    ActivationUncheckedAfterRestart,
    /// An edge signs that it enforces revocations, and shows them to decisions with the next nonce only.
    CoveredBeforeEnforced,
    /// An edge starts with no revocations, and learns them again.
    RevocationsForgottenAtRestart,
    /// The age of an edge's knowledge begins at zero when it starts.
    AgeRestartsAtZero,
    /// The age counts from the arrival of an answer, not from the sending of the nonce.
    AgeFromArrival,
    /// An edge takes the number of an answer as it comes: a tick from long ago counts again.
    RepeatedTickCounts,
    /// An edge sends the records of its own process only, and not those of the one before.
    EarlierRecordsNotSent,
    /// An edge calls the tool while the record is on its way to the disk.
    CallBeforeRecorded,
    /// An edge does not look for the credential in a tool's answer.
    AnswerNotSearched,
    /// Of the dimensions that a grant restricts, the last one decides.
    LastDimensionDecides,
    /// The highest counter of a channel counts as one above it: off by one.
    HighestCounterCountsAgain,
    /// An edge compares a channel's envelope with the one that is shown only where it has to verify that one first.
    LeafUncheckedWhenCached,
    /// Of a chain, only the last link and its holder are looked for among the revocations.
    AncestorCutMissed,
    /// An edge takes a proof over a channel that it has not opened.
    ChannelOfAnotherEdge,
    /// An edge takes what is staged for its own, whoever it is for.
    StagedScopeIgnored,
    /// An edge asks the bundle that is active what may be gone back to, not the highest that ever was.
    FallbackOfTheActive,
    /// The leader does not look at how many calls a bundle in waves newly permits.
    NewlyPermittedIgnored,
}

/// Whether this bug is the one that is planted now.
#[cfg(not(feature = "planted"))]
#[must_use]
#[inline(always)]
pub const fn planted(_: Bug) -> bool {
    false
}

#[cfg(feature = "planted")]
pub use self::on::{MARKER, planted, set};

#[cfg(feature = "planted")]
mod on {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::Bug;

    /// Bytes that a program has in it if bugs can be planted in it.
    pub const MARKER: &str = "remit: this program can have planted bugs";

    /// Its place in [`Bug::ALL`]; beyond its end there is none.
    static PLANTED: AtomicUsize = AtomicUsize::new(usize::MAX);

    /// Whether this bug is the one that is planted now.
    #[must_use]
    pub fn planted(bug: Bug) -> bool {
        Bug::ALL.get(PLANTED.load(Ordering::Relaxed)) == Some(&bug)
    }

    /// Plants a bug, in this whole process, and takes out the one before.
    pub fn set(bug: Option<Bug>) {
        let place = bug.and_then(|bug| Bug::ALL.iter().position(|known| *known == bug));
        PLANTED.store(place.unwrap_or(usize::MAX), Ordering::Relaxed);
    }

    impl Bug {
        /// Every bug, in the order of a write's way through the mesh.
        pub const ALL: [Self; 35] = [
            Self::AppendNotSynced,
            Self::VoteNotSaved,
            Self::CommittedAheadOfLog,
            Self::LeaderResumesItsTerm,
            Self::ReadWithoutBarrier,
            Self::ReadWithoutMajority,
            Self::ReadBeforeApplied,
            Self::SnapshotDropsRevocations,
            Self::RecordAckedBeforeDurable,
            Self::RecordRepeatByDecision,
            Self::ConnectionCountsAsCoverage,
            Self::OneSignatureIsEnough,
            Self::OneKeyCountsTwice,
            Self::OneVoterIsAMajority,
            Self::BeaconWithoutItsNonce,
            Self::TwoAnswersForOneTick,
            Self::AgeFromWallClock,
            Self::CanariesNotAsked,
            Self::ActivationUncheckedAfterRestart,
            Self::CoveredBeforeEnforced,
            Self::RevocationsForgottenAtRestart,
            Self::AgeRestartsAtZero,
            Self::AgeFromArrival,
            Self::RepeatedTickCounts,
            Self::EarlierRecordsNotSent,
            Self::CallBeforeRecorded,
            Self::AnswerNotSearched,
            Self::LastDimensionDecides,
            Self::HighestCounterCountsAgain,
            Self::LeafUncheckedWhenCached,
            Self::AncestorCutMissed,
            Self::ChannelOfAnotherEdge,
            Self::StagedScopeIgnored,
            Self::FallbackOfTheActive,
            Self::NewlyPermittedIgnored,
        ];

        /// As tables and arguments name it.
        #[must_use]
        pub fn as_str(self) -> &'static str {
            match self {
                Self::AppendNotSynced => "append-not-synced",
                Self::VoteNotSaved => "vote-not-saved",
                Self::CommittedAheadOfLog => "committed-ahead-of-log",
                Self::LeaderResumesItsTerm => "leader-resumes-its-term",
                Self::ReadWithoutBarrier => "read-without-barrier",
                Self::ReadWithoutMajority => "read-without-majority",
                Self::ReadBeforeApplied => "read-before-applied",
                Self::SnapshotDropsRevocations => "snapshot-drops-revocations",
                Self::RecordAckedBeforeDurable => "record-acked-before-durable",
                Self::RecordRepeatByDecision => "record-repeat-by-decision",
                Self::ConnectionCountsAsCoverage => "connection-counts-as-coverage",
                Self::OneVoterIsAMajority => "one-voter-is-a-majority",
                Self::BeaconWithoutItsNonce => "beacon-without-its-nonce",
                Self::TwoAnswersForOneTick => "two-answers-for-one-tick",
                Self::AgeFromWallClock => "age-from-wall-clock",
                Self::OneSignatureIsEnough => "one-signature-is-enough",
                Self::OneKeyCountsTwice => "one-key-counts-twice",
                Self::CanariesNotAsked => "canaries-not-asked",
                Self::ActivationUncheckedAfterRestart => "activation-unchecked-after-restart",
                Self::CoveredBeforeEnforced => "covered-before-enforced",
                Self::RevocationsForgottenAtRestart => "revocations-forgotten-at-restart",
                Self::AgeRestartsAtZero => "age-restarts-at-zero",
                Self::AgeFromArrival => "age-from-arrival",
                Self::RepeatedTickCounts => "repeated-tick-counts",
                Self::EarlierRecordsNotSent => "earlier-records-not-sent",
                Self::CallBeforeRecorded => "call-before-recorded",
                Self::AnswerNotSearched => "answer-not-searched",
                Self::LastDimensionDecides => "last-dimension-decides",
                Self::HighestCounterCountsAgain => "highest-counter-counts-again",
                Self::LeafUncheckedWhenCached => "leaf-unchecked-when-cached",
                Self::AncestorCutMissed => "ancestor-cut-missed",
                Self::ChannelOfAnotherEdge => "channel-of-another-edge",
                Self::StagedScopeIgnored => "staged-scope-ignored",
                Self::FallbackOfTheActive => "fallback-of-the-active",
                Self::NewlyPermittedIgnored => "newly-permitted-ignored",
            }
        }
    }
}
