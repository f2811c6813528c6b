//! Certificates for edges: what a voter that has checked an edge's claim has the log decide.
//!
//! Nothing here needs a nonce: who asks again with the same keys is told what came of the first time (clause J-12), so an
//! attempt of which nobody knows what came of it is simply made again. Clauses J-11 to J-15 and J-19.

use std::time::Duration;

use remit_common::wire::enrol::is_final;

use super::protocol::{PeerReply, PeerRequest};
use super::{Cluster, Submitted, Unavailable, WriteError};
use crate::raft::{CallError, ReadError};
use crate::registry::{Applied, Command, EnrolRequest, Enrolled, Refusal, RefusalKind, check_enrolment};

/// From a question to its answer. Longer than losing a leader and electing another.
const ENROL_WITHIN: Duration = Duration::from_secs(12);
/// One attempt.
const ATTEMPT_WITHIN: Duration = Duration::from_secs(3);
/// Between two attempts.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

impl Cluster {
    /// Has the log decide about a certificate; what it is comes out of this voter's own registry, whatever the leader
    /// says.
    pub(crate) async fn enrol(&self, request: EnrolRequest, life_secs: u32) -> Result<Enrolled, WriteError> {
        let started = self.env.now().boot;
        let mut may_be_written = false;
        loop {
            let left = ENROL_WITHIN.saturating_sub(self.env.now().boot.since(started));
            if left.is_zero() {
                return Err(if may_be_written { WriteError::OutcomeUnknown } else { Unavailable::NoLeader.into() });
            }
            let leader = self.leader(left).await?;
            let reply = match leader {
                leader if leader == self.id => self.propose_enrolment(request.clone(), life_secs).await,
                leader => {
                    let asked = PeerRequest::Enrol { request: request.clone(), life_secs };
                    match self.ask(leader, &asked).await {
                        Ok(reply) => reply,
                        Err(CallError::NotAPeer(_) | CallError::Unreachable(_)) => {
                            PeerReply::NotLeader { leader: None }
                        }
                        Err(CallError::TooLarge { .. } | CallError::NoAnswer(_) | CallError::Refused(_)) => {
                            PeerReply::OutcomeUnknown
                        }
                    }
                }
            };
            match reply {
                PeerReply::Proposed { applied: Applied::Refused(refusal), .. } if leader == self.id => {
                    return Err(refusal.into());
                }
                PeerReply::Proposed { index, applied: Applied::Refused(refusal) } => {
                    // Late or never: then the own registry does not refuse it yet, and the edge asks again.
                    let _ = self.wait_applied(index, ATTEMPT_WITHIN).await;
                    let view = self.view();
                    let own = check_enrolment(&view.state, &request, view.state.clock()).err();
                    return Err(held_against(own, refusal).into());
                }
                PeerReply::Proposed { index, applied: Applied::Certificate { .. } } => {
                    if self.wait_applied(index, ATTEMPT_WITHIN).await.is_ok()
                        && let Some(enrolled) = self.view().state.enrolled(&request.identity().id())
                    {
                        return Ok(enrolled.clone());
                    }
                    may_be_written = true;
                }
                PeerReply::NotLeader { .. } | PeerReply::Unavailable => {}
                _ => may_be_written = true,
            }
            tokio::time::sleep(RETRY_PAUSE.min(left)).await;
        }
    }

    /// At the leader. What would be refused does not get into the log, nor does what was decided already.
    pub(super) async fn propose_enrolment(&self, request: EnrolRequest, life_secs: u32) -> PeerReply {
        let not_leader = || PeerReply::NotLeader { leader: self.status().and_then(|status| status.leader) };
        let Some(at) = self.agreed_time() else { return PeerReply::Unavailable };
        let checked = |at| {
            let view = self.view();
            let checked = check_enrolment(&view.state, &request, view.state.clock().max(at));
            (view.state.applied(), checked)
        };
        let (mut applied, mut found) = checked(at);
        if !matches!(found, Ok(None)) {
            // Somebody who has just been elected may not have applied what was acknowledged before.
            let Ok(raft) = self.raft() else { return PeerReply::Unavailable };
            match raft.read_barrier(ATTEMPT_WITHIN).await {
                Ok(_) => (applied, found) = checked(at),
                Err(ReadError::NotLeader { .. } | ReadError::Isolated) => return not_leader(),
                Err(ReadError::Stopped) => return PeerReply::Unavailable,
            }
        }
        match found {
            Err(refusal) => return PeerReply::Proposed { index: applied, applied: Applied::Refused(refusal) },
            Ok(Some(given)) => {
                let certificate = Applied::Certificate { edge: given.edge, index: given.index };
                return PeerReply::Proposed { index: given.index, applied: certificate };
            }
            Ok(None) => {}
        }
        match self.propose_own(&Command::Enrol { request, life_secs, at }).await {
            Ok(Submitted { index, applied }) => PeerReply::Proposed { index, applied },
            Err(WriteError::Unavailable(_)) => not_leader(),
            Err(WriteError::OutcomeUnknown) => PeerReply::OutcomeUnknown,
            Err(WriteError::Refused(refusal)) => {
                PeerReply::Proposed { index: applied, applied: Applied::Refused(refusal) }
            }
        }
    }

    /// Clause J-14: whether this voter hears enough of the log to vouch for anybody.
    pub(crate) fn check_current(&self) -> Result<(), Refusal> {
        const TICK_WITHIN: Duration = Duration::from_secs(10);
        let view = self.view();
        let now = self.env.now().wall;
        match view.state.tick() {
            Some(tick) if now.apart(tick.at) <= TICK_WITHIN => Ok(()),
            _ => {
                let detail = "this voter has applied no tick within 10 s; ask another one";
                Err(Refusal::new(RefusalKind::NotReady, "voter_behind", detail))
            }
        }
    }
}

/// What an edge is told of a leader's refusal: one for good only if this voter's own registry refuses as well (clause
/// J-19).
fn held_against(own: Option<Refusal>, leaders: Refusal) -> Refusal {
    match own {
        _ if !is_final(&leaders.reason) => leaders,
        Some(own) => own,
        None => {
            let detail = format_args!("the leader refuses it ({}), and this voter sees no reason to", leaders.reason);
            Refusal::new(RefusalKind::NotReady, "unavailable", detail)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// J-19.
    #[test]
    fn a_leader_alone_refuses_nobody_for_good() {
        let refusal = |reason: &'static str| Refusal::new(RefusalKind::Conflict, reason, "because");
        let told = |own: Option<&'static str>, leaders| held_against(own.map(refusal), refusal(leaders)).reason;
        assert_eq!(told(None, "token_used"), "unavailable");
        assert_eq!(told(Some("token_expired"), "token_unknown"), "token_expired");
        assert_eq!(told(Some("not_in_directory"), "edge_evicted"), "not_in_directory");
        // What is refused for now is asked again anyway.
        assert_eq!(told(None, "too_many_waiting"), "too_many_waiting");
    }
}
