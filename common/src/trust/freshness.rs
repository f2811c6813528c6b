//! How old an edge's knowledge is.
//!
//! The age is the time since the edge sent the newest nonce that came back inside a tick, and only once everything
//! that this tick knew is applied here and on disk, and the proof of it, too. It runs on the boot clock; times of
//! arrival, times that others state and the wall clock never enter. What cannot be known is infinite: after a start,
//! after the clocks drifted apart, without an answer. Decisions read a copy ([`FreshnessView`]), so that one request
//! sees one age.
//! Clauses F-8 to F-14, docs/PROTOCOL.md.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::tick::{Nonce, TickAnswer, TickRefused};
use crate::crypto::digest::Digest;
use crate::id::{EdgeId, LogIndex, RevocationEpoch, VoterId};
use crate::lattice::{Effect, Effects};
use crate::planted::{Bug, planted};
use crate::policy::Bounds;
use crate::time::{Now, Timestamp};

/// The longest life of a permit: egress refuses a later one immediately before the first byte.
pub const PERMIT_LIFE_MAX: Duration = Duration::from_secs(5);
/// How far wall and boot clock may drift apart before neither is believed.
pub const CLOCK_DRIFT_MAX: Duration = Duration::from_secs(2);
/// Nonces that wait for an answer: two minutes of them. Older ones would prove an age that no effect but a read
/// allows, and newer ones are on their way.
pub const NONCES_MAX: usize = 64;
/// Epochs whose digest is remembered, for answers that were overtaken by an update.
pub const EPOCHS_MAX: usize = 64;

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
    /// The newest tick; no lower one counts, over restarts too.
    pub n: LogIndex,
    /// When the nonce it answered was sent, by the wall clock.
    pub sent: Timestamp,
    /// The wall clock when this was stored.
    pub stored: Timestamp,
    /// The epoch that was enforced then.
    pub epoch: RevocationEpoch,
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

impl Mode {
    /// The word for logs, records and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Degraded => "degraded",
            Self::Isolated => "isolated",
            Self::Quarantined => "quarantined",
        }
    }
}

/// Why an edge refuses everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum QuarantineCause {
    /// The edge itself has been revoked.
    Revoked,
    /// What it holds is not what was promised.
    Integrity,
    /// Wall and boot clock drifted apart; ends with the next answer to a nonce that was sent after it.
    ClockJumped,
}

/// What an answer changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Learned {
    /// The age can be counted from this nonce: store the proof, and say so to [`Freshness::on_stored`].
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

impl AnswerRefused {
    /// A fixed word for metrics and records.
    #[must_use]
    pub fn reason_code(&self) -> &'static str {
        match self {
            Self::UnknownNonce => "unknown_nonce",
            Self::Tick(_) => "not_in_tick",
            Self::OtherRevocations { .. } => "other_revocations",
        }
    }
}

/// A tick that answered a nonce of ours, sent at `at`.
#[derive(Debug, Clone, Copy)]
struct Answered {
    n: LogIndex,
    at: Now,
    knew: Enforced,
}

/// The state machine of an edge's age.
#[derive(Debug, Clone)]
pub struct Freshness {
    /// Oldest first.
    sent: VecDeque<(Nonce, Now)>,
    /// What was enforced, newest last. INVARIANT: epochs rise, and there is at least one.
    enforced: VecDeque<Enforced>,
    /// The newest answer that waits for its epoch to be on disk.
    waiting: Option<Answered>,
    /// The answer whose proof is being stored, and that proof.
    provable: Option<(Answered, StoredProof)>,
    view: FreshnessView,
}

/// What a decision reads: a copy, taken once per request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FreshnessView {
    n: LogIndex,
    epoch: RevocationEpoch,
    /// When the newest nonce that counts was sent.
    proven: Option<Now>,
    /// Until then: what the disk says, for reads only.
    restarted: Option<Restarted>,
    quarantine: Option<QuarantineCause>,
}

/// A proof of the life before this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Restarted {
    sent: Timestamp,
    began: Now,
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

/// How far the two clocks have moved apart between two moments; what runs backwards counts as endless.
fn drift(from: Now, to: Now) -> Duration {
    if to.boot < from.boot {
        return Duration::MAX;
    }
    let boot = to.boot.since(from.boot);
    if to.wall < from.wall {
        boot.saturating_add(from.wall.since(to.wall))
    } else {
        boot.abs_diff(to.wall.since(from.wall))
    }
}

fn has_drifted(from: Now, to: Now) -> bool {
    drift(from, to) > CLOCK_DRIFT_MAX
}

/// The time since a moment at which something was proven; `None` when the clocks have drifted apart since.
#[must_use]
pub fn age_of(proven: Now, now: Now) -> Option<Duration> {
    (!has_drifted(proven, now)).then(|| now.boot.since(proven.boot))
}

/// How long an effect with this bound may still be permitted, anywhere, by an edge that learns nothing any more: over the
/// bound clocks may differ by one percent, and by two seconds beyond it.
#[must_use]
pub fn stopped_after(bound: Duration) -> Duration {
    const SLACK: Duration = Duration::from_secs(2);
    bound.saturating_add(bound / 100).saturating_add(SLACK)
}

impl Freshness {
    /// When an outstanding nonce was sent.
    #[must_use]
    pub fn sent_at(&self, nonce: &Nonce) -> Option<Now> {
        self.sent.iter().find(|(sent, _)| sent == nonce).map(|(_, at)| *at)
    }

    /// An edge that starts: the age is infinite, but for reads, where `stored` serves if the wall clock did not step
    /// back since and the disk still enforces what was enforced then.
    #[must_use]
    pub fn start(stored: Option<StoredProof>, enforced: Enforced, now: Now) -> Self {
        let usable = stored
            .filter(|proof| proof.sent <= proof.stored && proof.stored <= now.wall && proof.epoch <= enforced.epoch);
        let view = FreshnessView {
            n: stored.map_or(LogIndex(0), |proof| proof.n),
            epoch: enforced.epoch,
            proven: stored.filter(|_| planted(Bug::AgeRestartsAtZero)).map(|_| now),
            restarted: usable.map(|proof| Restarted { sent: proof.sent, began: now }),
            quarantine: None,
        };
        Self { sent: VecDeque::new(), enforced: VecDeque::from([enforced]), waiting: None, provable: None, view }
    }

    /// A nonce goes out.
    pub fn on_nonce_sent(&mut self, nonce: Nonce, now: Now) {
        self.on_clock(now);
        if self.sent.len() >= NONCES_MAX {
            self.sent.pop_front();
        }
        self.sent.push_back((nonce, now));
    }

    /// A voter answers. A tick that is not newer than the newest that counted changes nothing, and is not looked at.
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
        self.on_clock(now);
        if answer.n <= self.view.n && !planted(Bug::RepeatedTickCounts) {
            return Ok(Learned::Nothing);
        }
        let any_nonce = planted(Bug::BeaconWithoutItsNonce);
        let newest = self.sent.back().filter(|_| any_nonce);
        let outstanding = self.sent.iter().find(|(nonce, _)| *nonce == answer.nonce).or(newest);
        let Some((_, at)) = outstanding.copied() else { return Err(AnswerRefused::UnknownNonce) };
        if !any_nonce {
            answer.verify_includes(edge, voter)?;
        }
        let knew = Enforced { epoch: answer.epoch, digest: answer.revocations };
        let at = if planted(Bug::AgeFromArrival) { now } else { at };
        let answered = Answered { n: answer.n, at, knew };
        match self.enforced.iter().find(|enforced| enforced.epoch == knew.epoch) {
            Some(enforced) if enforced.digest == knew.digest => Ok(self.count(answered, now)),
            Some(_) => Err(AnswerRefused::OtherRevocations { epoch: knew.epoch }),
            None if knew.epoch > self.view.epoch => {
                if self.waiting.is_none_or(|waiting| waiting.n < answered.n) {
                    self.waiting = Some(answered);
                }
                Ok(Learned::Behind { epoch: knew.epoch })
            }
            // An epoch that this edge stepped over: a later answer will say more.
            None => Ok(Learned::Nothing),
        }
    }

    /// A later epoch is applied and on disk. Answers that waited for it count now.
    pub fn on_enforced(&mut self, enforced: Enforced, now: Now) -> Learned {
        self.on_clock(now);
        if enforced.epoch > self.view.epoch {
            if self.enforced.len() >= EPOCHS_MAX {
                self.enforced.pop_front();
            }
            self.enforced.push_back(enforced);
            self.view.epoch = enforced.epoch;
        }
        match self.waiting {
            Some(waiting) if waiting.knew == enforced => {
                self.waiting = None;
                self.count(waiting, now)
            }
            // Stepped over: whether the digest was right there, nobody can say any more.
            Some(waiting) if waiting.knew.epoch <= self.view.epoch => {
                self.waiting = None;
                Learned::Nothing
            }
            _ => Learned::Nothing,
        }
    }

    /// Looks at the clocks; call it at least with every event and once in a while without.
    pub fn on_clock(&mut self, now: Now) {
        let jumped = self.view.proven.is_some_and(|proven| has_drifted(proven, now))
            || self.view.restarted.is_some_and(|restarted| has_drifted(restarted.began, now));
        if jumped {
            self.view.proven = None;
            self.view.restarted = None;
            self.view.quarantine = self.view.quarantine.or(Some(QuarantineCause::ClockJumped));
        }
    }

    /// Refuse everything from now on; only a restart ends it.
    pub fn quarantine(&mut self, cause: QuarantineCause) {
        self.view.quarantine = Some(cause);
    }

    /// What decisions read.
    #[must_use]
    pub fn view(&self) -> FreshnessView {
        self.view
    }

    /// INVARIANT: the nonce was in tick `n`, and what that tick knew is on disk here. Changes nothing yet.
    fn count(&mut self, answered: Answered, now: Now) -> Learned {
        // Sent before the clocks drifted apart: the time since then is not known.
        if has_drifted(answered.at, now) {
            return Learned::Nothing;
        }
        // A newer tick with an older nonce makes nothing younger. Taking its number all the same would show a tick that
        // no proof on the disk has, and that a restart would take back.
        if self.view.proven.is_some_and(|proven| answered.at.boot <= proven.boot) {
            return Learned::Nothing;
        }
        let n = if planted(Bug::RepeatedTickCounts) { answered.n } else { self.view.n.max(answered.n) };
        let proof = StoredProof { n, sent: answered.at.wall, stored: now.wall, epoch: self.view.epoch };
        self.provable = Some((answered, proof));
        Learned::Younger(proof)
    }

    /// The disk has this proof: from now on it counts. One that it does not take never does, so that what this edge
    /// shows of itself is what it still knows after a restart.
    pub fn on_stored(&mut self, proof: &StoredProof) {
        let Some((answered, _)) = self.provable.take_if(|(_, provable)| provable == proof) else { return };
        self.view.n = proof.n;
        self.view.proven = Some(answered.at);
        self.view.restarted = None;
        if self.view.quarantine == Some(QuarantineCause::ClockJumped) {
            self.view.quarantine = None;
        }
        self.sent.retain(|(_, at)| at.boot >= answered.at.boot);
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
        if planted(Bug::AgeFromWallClock) {
            return self.proven.map(|proven| now.wall.since(proven.wall));
        }
        let proven = self.proven.filter(|proven| !has_drifted(*proven, now))?;
        Some(now.boot.since(proven.boot))
    }

    /// The age for calls that only read: after a restart, what the wall clock says about the last stored proof.
    #[must_use]
    pub fn age_for_reads(&self, now: Now) -> Option<Duration> {
        let restarted = self.restarted.filter(|restarted| !has_drifted(restarted.began, now));
        self.age(now).or_else(|| {
            let Restarted { sent, began } = restarted?;
            // Both clocks agree within the drift; the later one counts.
            let by_boot = began.wall.since(sent).saturating_add(now.boot.since(began.boot));
            Some(now.wall.since(sent).max(by_boot))
        })
    }

    /// Why everything is refused, if it is.
    #[must_use]
    pub fn quarantined(&self, now: Now) -> Option<QuarantineCause> {
        let jumped = self.proven.is_some_and(|proven| has_drifted(proven, now));
        self.quarantine.or(jumped.then_some(QuarantineCause::ClockJumped))
    }

    /// Whether a call with these effects is within its bound.
    ///
    /// # Errors
    /// [`Stale`].
    pub fn check(&self, effects: Effects, bounds: &Bounds, now: Now) -> Result<Fresh, Stale> {
        if let Some(cause) = self.quarantined(now) {
            return Err(Stale::Quarantined(cause));
        }
        let bound = bounds.bound_for(effects);
        let only_reads = !effects.is_empty() && effects.is_within(Effects::from_iter([Effect::Read]));
        let age = if only_reads { self.age_for_reads(now) } else { self.age(now) };
        match age {
            Some(age) if age < bound => Ok(Fresh { age, left: bound.saturating_sub(age) }),
            _ => Err(Stale::Bound { age, bound }),
        }
    }

    /// What to tell people.
    #[must_use]
    pub fn mode(&self, bounds: &Bounds, now: Now) -> Mode {
        if self.quarantined(now).is_some() {
            return Mode::Quarantined;
        }
        let fresh = |effect: &Effect| self.check(Effects::from_iter([*effect]), bounds, now).is_ok();
        match Effect::ALL.iter().filter(|effect| fresh(effect)).count() {
            0 => Mode::Isolated,
            count if count == Effect::ALL.len() => Mode::Fresh,
            _ => Mode::Degraded,
        }
    }
}

#[cfg(test)]
#[path = "freshness_tests.rs"]
mod tests;
