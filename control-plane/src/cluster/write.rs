//! Writes: from whichever voter an administrator reached to the leader, and the answer back, once.

use std::time::Duration;

use remit_common::id::{LogIndex, VoterId};
use remit_common::identity::SignedRequest;

use super::protocol::{PeerReply, PeerRequest};
use super::{Cluster, Unavailable};
use crate::entry::{self, Kind};
use crate::raft::{CallError, ProposeError, ReadError};
use crate::registry::{Applied, Command, Operation, Refusal, authenticate, check_relations, to_command, uncompared};

/// From taking a request to answering it. Longer than losing a leader and electing another.
const WRITE_WITHIN: Duration = Duration::from_secs(15);
/// One attempt: proposing, or asking a leader that may be gone.
const ATTEMPT_WITHIN: Duration = Duration::from_secs(3);
/// Between two attempts, when the leader is known and does not do it.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Bytes of an [`Applied`]: names of edges, a thousand of them.
const APPLIED_BYTES_MAX: usize = 256 * 1024;

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Submitted {
    /// The entry.
    pub(crate) index: LogIndex,
    /// What it did.
    pub(crate) applied: Applied,
}

/// A request was not applied, or nobody knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WriteError {
    /// Refused before it reached the log.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Nothing was written.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// It may have been written. The same signed request may be sent again while it lives.
    #[error("the voters did not answer in time; whether it was written is unknown")]
    OutcomeUnknown,
}

enum Attempt {
    Done(Submitted),
    /// Nothing was written; try again at once or with another leader.
    Elsewhere,
    /// It may have been written.
    Unknown,
}

/// What an attempt means for the request. Once one attempt may have been written, a later one that was not says
/// nothing about the first: neither that nobody could be reached, nor that the request is too late by now.
fn settle(attempt: Result<Attempt, WriteError>, again: bool) -> Result<Attempt, WriteError> {
    match attempt {
        Err(WriteError::Refused(_) | WriteError::Unavailable(_)) if again => Err(WriteError::OutcomeUnknown),
        Ok(Attempt::Done(Submitted { applied: Applied::Refused(refusal), .. }))
            if again && refusal.reason == "expired" =>
        {
            Err(WriteError::OutcomeUnknown)
        }
        attempt => attempt,
    }
}

/// What a leader said has come of a request, against what this voter's own log says. That it was refused is taken at
/// its word: nothing is acknowledged by it, and not every refusal is kept.
fn confirmed(said: Submitted, own: Option<Submitted>) -> Attempt {
    match own.filter(|own| own.index == said.index) {
        Some(own) => Attempt::Done(own),
        None if matches!(said.applied, Applied::Refused(_)) => Attempt::Done(said),
        None => Attempt::Unknown,
    }
}

impl Cluster {
    /// Has a request applied, wherever the leader is. Safe against its own repetitions: the nonce makes the second
    /// try of an applied request say what the first one did.
    pub(crate) async fn submit(&self, request: SignedRequest) -> Result<Submitted, WriteError> {
        let started = self.env.now().boot;
        let mut again = false;
        loop {
            let left = WRITE_WITHIN.saturating_sub(self.env.now().boot.since(started));
            if left.is_zero() {
                return Err(if again { WriteError::OutcomeUnknown } else { Unavailable::NoLeader.into() });
            }
            let attempt = match self.leader(left).await {
                Ok(leader) if leader == self.id => self.propose(request.clone(), again).await,
                Ok(leader) => self.forward(leader, &request, again).await,
                Err(error) => Err(error.into()),
            };
            match settle(attempt, again)? {
                Attempt::Done(submitted) => {
                    self.metrics.commit_seconds.observe(self.env.now().boot.since(started).as_secs_f64());
                    return Ok(submitted);
                }
                Attempt::Elsewhere => {}
                Attempt::Unknown => again = true,
            }
            tokio::time::sleep(RETRY_PAUSE.min(left)).await;
        }
    }

    /// At the leader. What nobody listed has signed does not get into the log, nor does a wider bundle without an
    /// approval (clauses C-90 and C-95), nor a batch of relations that would be refused there (clause C-87).
    async fn propose(&self, request: SignedRequest, again: bool) -> Result<Attempt, WriteError> {
        // One bundle at a time, each compared with what is active when its turn comes; how long that takes is bounded by
        // steps. What becomes active all the same, by a leader that fell silent, is seen when the entry is applied.
        let publishes = request.path == Operation::PublishBundle.path();
        let relates = request.path == Operation::WriteRelations.path();
        // Nor more than one batch of relations: unpacking one takes memory and time, whoever signed it.
        let _turn = match (publishes, relates) {
            (true, _) => Some(self.publishing.lock().await),
            (_, true) => Some(self.relating.lock().await),
            _ => None,
        };
        if publishes {
            // Somebody who has just been elected may not have applied what is active.
            match self.raft()?.read_barrier(ATTEMPT_WITHIN).await {
                Ok(_) => {}
                Err(ReadError::NotLeader { .. } | ReadError::Isolated) => return Ok(Attempt::Elsewhere),
                Err(ReadError::Stopped) => return Err(Unavailable::Stopping.into()),
            }
        }
        let view = self.view();
        // Without the clocks of a majority this voter cannot say when; they come within moments, or another leads.
        let Some(received_at) = self.agreed_time() else { return Ok(Attempt::Elsewhere) };
        if let Err(refusal) = authenticate(&view.state, &request, received_at.max(view.state.clock())) {
            if let Some(submitted) = again.then(|| self.outcome_of(&request)).flatten() {
                return Ok(Attempt::Done(submitted));
            }
            return Err(refusal.into());
        }
        let mut compared = None;
        if let Some(bundle) = uncompared(&view.state, &request, received_at.max(view.state.clock()))? {
            let checked = self.env.run_blocking(move || bundle.check()).await;
            compared = checked.map_err(|_| WriteError::Unavailable(Unavailable::Stopping))??;
        }
        if relates && let Err(refusal) = self.check_relations(&request).await? {
            // Somebody who has just been elected may not have applied what it follows on.
            match self.raft()?.read_barrier(ATTEMPT_WITHIN).await {
                Ok(_) => {}
                Err(ReadError::NotLeader { .. } | ReadError::Isolated) => return Ok(Attempt::Elsewhere),
                Err(ReadError::Stopped) => return Err(Unavailable::Stopping.into()),
            }
            if self.view().state.applied() == view.state.applied() {
                return Err(refusal.into());
            }
            self.check_relations(&request).await??;
        }
        let entry = to_command(&view.state, request.clone(), received_at, compared).to_entry();
        Ok(match self.raft()?.propose(entry, ATTEMPT_WITHIN).await {
            Ok((index, bytes)) => {
                let applied = entry::decode::<APPLIED_BYTES_MAX, Applied>(Kind::Applied, &bytes)
                    .map_err(|_| WriteError::OutcomeUnknown)?;
                if let Applied::HandOver { to } = &applied {
                    self.ask_for_hand_over(*to);
                }
                let original = matches!(&applied, Applied::Refused(refusal) if again && refusal.reason == "replayed");
                let submitted = Submitted { index, applied };
                Attempt::Done(original.then(|| self.outcome_of(&request)).flatten().unwrap_or(submitted))
            }
            Err(ProposeError::NotLeader { .. } | ProposeError::Isolated) => Attempt::Elsewhere,
            Err(ProposeError::TooLarge { len, max }) => {
                return Err(Refusal::malformed(format_args!("a command of {len} bytes exceeds {max}")).into());
            }
            Err(ProposeError::OutcomeUnknown) => Attempt::Unknown,
            Err(ProposeError::Stopped) => return Err(Unavailable::Stopping.into()),
        })
    }

    /// What would come of a batch of relations (clause C-87). Verifying a hundred thousand tuples takes a while.
    async fn check_relations(&self, request: &SignedRequest) -> Result<Result<(), Refusal>, WriteError> {
        let (view, request) = (self.view(), request.clone());
        let checked = self.env.run_blocking(move || check_relations(&view.state, &request)).await;
        checked.map_err(|_| WriteError::Unavailable(Unavailable::Stopping))
    }

    async fn forward(&self, to: VoterId, request: &SignedRequest, again: bool) -> Result<Attempt, WriteError> {
        let ask = PeerRequest::Propose { request: request.clone(), again };
        let answer = tokio::select! {
            biased;
            answer = self.ask(to, &ask) => answer,
            // A leader that has died does not say so: the next one does, long before this wait would end. What the
            // dead one still did with the request is unknown.
            () = self.another_leads(to) => return Ok(Attempt::Unknown),
        };
        Ok(match answer {
            Ok(PeerReply::Proposed { index, applied: Applied::Refused(refusal) }) if index == LogIndex::default() => {
                return Err(refusal.into());
            }
            Ok(PeerReply::Proposed { index, applied }) => {
                let said = Submitted { index, applied };
                // A leader that lies may name an entry that no log will ever have: this voter's own log says what
                // became of the request.
                match self.wait_applied(index, ATTEMPT_WITHIN).await {
                    Ok(()) => confirmed(said, self.outcome_of(request)),
                    Err(_) => Attempt::Unknown,
                }
            }
            Ok(PeerReply::NotLeader { .. } | PeerReply::Unavailable) => Attempt::Elsewhere,
            Ok(_) => Attempt::Unknown,
            Err(CallError::NotAPeer(_) | CallError::Unreachable(_)) => Attempt::Elsewhere,
            Err(CallError::TooLarge { len, max }) => {
                return Err(Refusal::malformed(format_args!("a request of {len} bytes exceeds {max}")).into());
            }
            Err(CallError::NoAnswer(_) | CallError::Refused(_)) => Attempt::Unknown,
        })
    }

    fn outcome_of(&self, request: &SignedRequest) -> Option<Submitted> {
        let view = self.view();
        let spent = view.state.outcome_of(request)?;
        Some(Submitted { index: spent.index, applied: spent.outcome.clone() })
    }

    /// Another voter's request, at this voter if it leads. A refusal before the log has index 0.
    pub(super) async fn propose_for_peer(&self, request: SignedRequest, again: bool) -> PeerReply {
        match self.propose(request, again).await {
            Ok(Attempt::Done(Submitted { index, applied })) => PeerReply::Proposed { index, applied },
            Ok(Attempt::Elsewhere) => PeerReply::NotLeader { leader: self.status().and_then(|status| status.leader) },
            Ok(Attempt::Unknown) | Err(WriteError::OutcomeUnknown) => PeerReply::OutcomeUnknown,
            Err(WriteError::Refused(refusal)) => {
                PeerReply::Proposed { index: LogIndex::default(), applied: Applied::Refused(refusal) }
            }
            Err(WriteError::Unavailable(_)) => PeerReply::Unavailable,
        }
    }

    /// Has a command of this voter's own applied, if it leads.
    pub(crate) async fn propose_own(&self, command: &Command) -> Result<Submitted, WriteError> {
        match self.raft()?.propose(command.to_entry(), ATTEMPT_WITHIN).await {
            Ok((index, bytes)) => entry::decode::<APPLIED_BYTES_MAX, Applied>(Kind::Applied, &bytes)
                .map(|applied| Submitted { index, applied })
                .map_err(|_| WriteError::OutcomeUnknown),
            Err(ProposeError::Stopped) => Err(Unavailable::Stopping.into()),
            Err(ProposeError::OutcomeUnknown) => Err(WriteError::OutcomeUnknown),
            Err(ProposeError::TooLarge { len, max }) => {
                Err(Refusal::malformed(format_args!("a command of {len} bytes exceeds {max}")).into())
            }
            Err(ProposeError::NotLeader { .. } | ProposeError::Isolated) => Err(Unavailable::NotConfirmed.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::RefusalKind;

    fn done(applied: Applied) -> Result<Attempt, WriteError> {
        Ok(Attempt::Done(Submitted { index: LogIndex(7), applied }))
    }

    fn refusal(reason: &'static str) -> Refusal {
        Refusal::new(RefusalKind::Conflict, reason, "why")
    }

    #[test]
    fn a_cut_that_only_a_lying_leader_has_is_not_acknowledged() {
        let at = |index, applied| Submitted { index: LogIndex(index), applied };
        let settled = |said, own| match confirmed(said, own) {
            Attempt::Done(submitted) => Some(submitted),
            Attempt::Elsewhere | Attempt::Unknown => None,
        };
        assert_eq!(settled(at(7, Applied::Tick), None), None);
        assert_eq!(settled(at(7, Applied::Tick), Some(at(6, Applied::Tick))), None, "an entry of another request");
        // Applied here, it counts by what was applied here.
        let own = at(7, Applied::Refused(refusal("rollback")));
        assert_eq!(settled(at(7, Applied::Tick), Some(own.clone())), Some(own));
        let replayed = at(9, Applied::Refused(refusal("replayed")));
        assert_eq!(settled(replayed.clone(), Some(at(7, Applied::Tick))), Some(replayed));
    }

    /// "Nothing was written" is said of the request, not of the last attempt at it.
    #[test]
    fn after_an_attempt_that_may_have_been_written_nobody_says_that_nothing_was() {
        for failed in [
            WriteError::Unavailable(Unavailable::Stopping),
            WriteError::Unavailable(Unavailable::NoLeader),
            WriteError::Refused(refusal("too_many_requests")),
            WriteError::Refused(refusal("expired")),
        ] {
            assert!(settle(Err(failed.clone()), false).is_err_and(|kept| kept == failed));
            assert!(settle(Err(failed), true).is_err_and(|unknown| unknown == WriteError::OutcomeUnknown));
        }
        assert!(settle(done(Applied::Refused(refusal("expired"))), true).is_err());
        // The log has the last word where it looked at the request itself.
        assert!(settle(done(Applied::Refused(refusal("rollback"))), true).is_ok());
        assert!(settle(done(Applied::Tick), true).is_ok());
    }
}
