//! What can be asked of a mesh while a drill runs, and what the answer may be.

use std::fmt;

/// A question to what everybody has seen lately. Nothing is sent for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Probe {
    /// Share of calls that should be permitted and were, of those that were answered.
    PermitShare,
    /// Share of calls that were permitted, of those that were answered and rest on a relation that has held for a while.
    RelationPermitShare,
    /// Share of calls that were answered.
    AnswerShare,
    /// Answered calls in a second.
    CallsPerSecond,
    /// How long the slowest hundredth of answered calls took at least.
    P99CallMs,
    /// Permits of calls that envelope or policy do not admit.
    WrongPermits,
    /// Voters that know a leader.
    VotersWithLeader,
    /// Time since the last acknowledged write.
    WriteAgeMs,
    /// Edges that say that they are `fresh`.
    FreshEdges,
    /// Edges that run the newest bundle, apart from one that was published a moment ago.
    CurrentEdges,
    /// The oldest knowledge of any edge.
    StalenessMs,
    /// The most records that wait at one edge.
    Spool,
}

impl Probe {
    /// Every probe.
    pub const ALL: [Self; 12] = [
        Self::PermitShare,
        Self::RelationPermitShare,
        Self::AnswerShare,
        Self::CallsPerSecond,
        Self::P99CallMs,
        Self::WrongPermits,
        Self::VotersWithLeader,
        Self::WriteAgeMs,
        Self::FreshEdges,
        Self::CurrentEdges,
        Self::StalenessMs,
        Self::Spool,
    ];

    /// As drill files name it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::PermitShare => "permit-share",
            Self::RelationPermitShare => "relation-permit-share",
            Self::AnswerShare => "answer-share",
            Self::CallsPerSecond => "calls-per-second",
            Self::P99CallMs => "p99-call-ms",
            Self::WrongPermits => "wrong-permits",
            Self::VotersWithLeader => "voters-with-leader",
            Self::WriteAgeMs => "write-age-ms",
            Self::FreshEdges => "fresh-edges",
            Self::CurrentEdges => "current-edges",
            Self::StalenessMs => "staleness-ms",
            Self::Spool => "spool",
        }
    }

    /// In what it measures.
    #[must_use]
    pub fn unit(self) -> &'static str {
        match self {
            Self::PermitShare | Self::RelationPermitShare | Self::AnswerShare => "share",
            Self::CallsPerSecond => "per second",
            Self::P99CallMs | Self::WriteAgeMs | Self::StalenessMs => "ms",
            Self::WrongPermits | Self::VotersWithLeader | Self::FreshEdges | Self::CurrentEdges | Self::Spool => {
                "count"
            }
        }
    }

    /// The names of all.
    pub(super) fn names() -> Vec<&'static str> {
        Self::ALL.iter().map(|probe| probe.name()).collect()
    }

    /// The probe of this name.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|probe| probe.name() == name)
    }
}

/// What a probe may say.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tolerance {
    /// At least this.
    pub least: f64,
    /// At most this.
    pub most: f64,
}

impl Tolerance {
    /// Whether a value is within. What could not be measured is not.
    #[must_use]
    pub fn admits(&self, value: Option<f64>) -> bool {
        value.is_some_and(|value| (self.least..=self.most).contains(&value))
    }
}

impl fmt::Display for Tolerance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { least, most } = self;
        match (least.is_finite(), most.is_finite()) {
            (true, true) if least.total_cmp(most).is_eq() => write!(f, "exactly {least}"),
            (true, true) => write!(f, "{least} to {most}"),
            (true, false) => write!(f, "at least {least}"),
            (false, true) => write!(f, "at most {most}"),
            (false, false) => f.write_str("anything"),
        }
    }
}
