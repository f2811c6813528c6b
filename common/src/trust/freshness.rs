//! How old an edge's knowledge is.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::crypto::digest::Digest;
use crate::id::{EdgeId, LogIndex, RevocationEpoch, VoterId};
use crate::time::{Now, Timestamp};

use super::tick::{Nonce, TickAnswer, TickRefused};

/// The longest life of a permit.
pub const PERMIT_LIFE_MAX: Duration = Duration::from_secs(5);

/// What an edge has applied and has on its disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enforced {
    /// The revocation epoch.
    pub epoch: RevocationEpoch,
    /// The digest at it.
    pub digest: Digest,
}

/// The last proof that an edge keeps on disk, for reads after a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredProof {
    /// The newest tick.
    pub n: LogIndex,
    /// When the nonce it answered was sent, by the wall clock.
    pub sent: Timestamp,
    /// The wall clock when this was stored.
    pub stored: Timestamp,
}

/// For people; derived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Every effect is within its bound.
    Fresh,
    /// Some effects are refused as stale.
    Degraded,
    /// All are.
    Isolated,
    /// Everything is refused, whatever the age.
    Quarantined,
}

/// Why an edge refuses everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum QuarantineCause {
    /// The edge itself has been revoked.
    Revoked,
    /// What it holds is not what was promised.
    Integrity,
    /// Wall and boot clock drifted apart.
    ClockJumped,
}

/// What an answer changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Learned {
    /// The age is now counted from this nonce; store the proof.
    Younger(StoredProof),
    /// The answer is of an epoch that is not on disk yet: fetch it.
    Behind {
        /// The epoch to reach.
        epoch: RevocationEpoch,
    },
    /// Nothing.
    Nothing,
}

/// Why an answer is refused: the voter misbehaves, or another set of revocations is here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnswerRefused {
    /// It answers no nonce of ours that is outstanding.
    #[error("the answer is for a nonce that is not outstanding")]
    UnknownNonce,
    /// The nonce is not in the tick.
    #[error(transparent)]
    Tick(#[from] TickRefused),
    /// The same epoch, another digest.
    #[error("at epoch {epoch} the voter has other revocations than this edge")]
    OtherRevocations {
        /// The epoch.
        epoch: RevocationEpoch,
    },
}

/// The state machine of an edge's age.
#[derive(Debug, Clone)]
pub struct Freshness {
    view: FreshnessView,
}

/// What a decision reads: a copy, taken once per request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FreshnessView {
    n: LogIndex,
}

/// An effect is within its bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fresh {
    /// The age.
    pub age: Duration,
    /// How long the bound still holds.
    pub left: Duration,
}

/// Why the age forbids a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Stale {
    /// The bound of an effect has passed.
    #[error("the view is older than the {bound:?} that this effect allows")]
    Bound {
        /// `None`: not known.
        age: Option<Duration>,
        /// The bound.
        bound: Duration,
    },
    /// Everything is refused.
    #[error("the edge is quarantined")]
    Quarantined(QuarantineCause),
}

impl Freshness {
    /// An edge that starts: the age is infinite, but for reads where `stored` may serve.
    #[must_use]
    pub fn start(stored: Option<StoredProof>, enforced: Enforced, now: Now) -> Self {
        todo!("{stored:?} {enforced:?} {now:?}")
    }

    /// A nonce goes out.
    pub fn on_nonce_sent(&mut self, nonce: Nonce, now: Now) {
        todo!("{nonce:?} {now:?}")
    }

    /// A voter answers.
    ///
    /// # Errors
    /// [`AnswerRefused`]; nothing has changed.
    pub fn on_answer(
        &mut self,
        answer: &TickAnswer,
        edge: &EdgeId,
        voter: VoterId,
        now: Now,
    ) -> Result<Learned, AnswerRefused> {
        todo!("{answer:?} {edge} {voter} {now:?}")
    }

    /// A later epoch is applied and on disk.
    pub fn on_enforced(&mut self, enforced: Enforced, now: Now) -> Learned {
        todo!("{enforced:?} {now:?}")
    }

    /// Refuse everything from now on; only a restart ends it.
    pub fn quarantine(&mut self, cause: QuarantineCause) {
        todo!("{cause:?}")
    }

    /// What decisions read.
    #[must_use]
    pub fn view(&self) -> FreshnessView {
        self.view
    }
}

impl FreshnessView {
    /// The newest tick that counted.
    #[must_use]
    pub fn tick(&self) -> LogIndex {
        self.n
    }

    /// The age; `None` is infinite.
    #[must_use]
    pub fn age(&self, now: Now) -> Option<Duration> {
        todo!("{now:?}")
    }
}
