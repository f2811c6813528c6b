//! Sees to it that those vote who are to vote.
//!
//! The registry holds what administrators wish (C-67), Raft's membership what holds. While this voter leads it takes
//! the next step from one to the other, again and again, so that a change whose leader died, or that timed out, is
//! finished by whoever leads then. One step at a time: a newcomer votes only when it has caught up, and a joint
//! membership comes before anything else. Clauses C-27 and C-69.

use std::time::Duration;

use remit_common::id::VoterId;
use remit_common::net::tasks::Shutdown;
use remit_common::time::BootTime;

use crate::cluster::{Cluster, PeerReply, PeerRequest};
use crate::raft::{Addresses, ChangeError, MemberChange, RaftNode, RaftStatus};
use crate::registry::{VoterPlan, VoterWish};

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// One step: two entries that a majority has to take.
const STEP_WITHIN: Duration = Duration::from_secs(10);
/// Between two tries to hand over: during each of them nobody can write. The pause doubles.
const HAND_OVER_AGAIN_MIN: Duration = Duration::from_secs(1);
const HAND_OVER_AGAIN_MAX: Duration = Duration::from_secs(60);
/// Entries that a newcomer may lack when it begins to vote: what comes in while it is asked.
const BEHIND_MAX: u64 = 32;

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing is to be done.
    Nothing,
    /// A newcomer has to catch up first; by so many entries, if that is known.
    CatchUp(Option<u64>),
    /// A step of Raft's.
    Change(MemberChange),
    /// The leader itself is to go: another one has to see to that.
    HandOver,
}

/// The next step from the membership that holds to the one that is wished. `is_listed` says whether the directory, as
/// it is now, lists a voter: one that it lists no more goes the way back, unless it votes already.
pub(crate) fn next(status: &RaftStatus, plan: Option<&VoterPlan>, is_listed: impl Fn(VoterId) -> bool) -> Next {
    let members = &status.members;
    let mut voters = members.target();
    let wish = plan.map(|plan| match plan.wish {
        VoterWish::In { id, .. } if !is_listed(id) && (members.is_joint() || !voters.contains(&id)) => {
            VoterWish::Out { id }
        }
        wish => wish,
    });
    if members.is_joint() {
        // Finished first, whoever began it; a wish for the contrary changes where it leads to.
        match wish {
            Some(VoterWish::Out { id }) => drop(voters.remove(&id)),
            Some(VoterWish::In { id, .. }) if members.all.contains_key(&id) => drop(voters.insert(id)),
            Some(VoterWish::In { .. }) | None => {}
        }
        return Next::Change(MemberChange::Voters(voters));
    }
    match wish {
        None => Next::Nothing,
        Some(VoterWish::In { id, .. }) if voters.contains(&id) => Next::Nothing,
        Some(VoterWish::In { id, raft, dist }) if !members.all.contains_key(&id) => {
            let addresses = Addresses { raft: Some(raft), dist: Some(dist) };
            Next::Change(MemberChange::Learner(id, addresses))
        }
        Some(VoterWish::In { id, .. }) => match behind(status, id) {
            Some(behind) if behind <= BEHIND_MAX => {
                voters.insert(id);
                Next::Change(MemberChange::Voters(voters))
            }
            behind => Next::CatchUp(behind),
        },
        Some(VoterWish::Out { id }) if !members.all.contains_key(&id) => Next::Nothing,
        Some(VoterWish::Out { id }) if !voters.contains(&id) => Next::Change(MemberChange::NoLearner(id)),
        Some(VoterWish::Out { id }) if id == status.id => Next::HandOver,
        Some(VoterWish::Out { id }) => {
            voters.remove(&id);
            Next::Change(MemberChange::Voters(voters))
        }
    }
}

/// Entries that another voter lacks, as its leader knows.
fn behind(status: &RaftStatus, id: VoterId) -> Option<u64> {
    let has = status.progress.get(&id).filter(|has| has.0 > 0)?;
    Some(status.last.0.saturating_sub(has.0))
}

/// Takes the next step whenever this voter leads and there is one, and hands over when an administrator asks for it;
/// runs until shutdown.
pub(crate) async fn keep(cluster: Cluster, raft: RaftNode, shutdown: Shutdown) {
    let mut asked = cluster.hand_overs();
    let mut told = None;
    // When to try again to hand over, and how long that waited.
    let mut again: Option<(BootTime, Duration)> = None;
    loop {
        cluster.refresh_addresses();
        let hand_over = tokio::select! {
            biased;
            () = shutdown.requested() => return,
            changed = asked.changed() => {
                if changed.is_err() {
                    return;
                }
                *asked.borrow_and_update()
            }
            () = tokio::time::sleep(LOOK_EVERY) => None,
        };
        let step = async {
            if let Some(to) = hand_over {
                return Some(hand_over_to(&raft, to).await);
            }
            if !cluster.leads() {
                return None;
            }
            let view = cluster.view();
            let is_listed =
                |id| view.state.trust().is_ok_and(|trust| trust.directory.voters().any(|voter| voter.id == id));
            match next(&raft.status(), view.state.voter_plan(), is_listed) {
                Next::Nothing | Next::CatchUp(_) => None,
                Next::Change(change) => {
                    if !has_records(&cluster, &raft.status(), &change).await {
                        return None;
                    }
                    tracing::info!(?change, "changing who votes");
                    Some(raft.change(change, STEP_WITHIN).await)
                }
                Next::HandOver => {
                    let now = cluster.env.now().boot;
                    if again.is_some_and(|(at, _)| now < at) {
                        return None;
                    }
                    let outcome = hand_over_to(&raft, None).await;
                    let pause = again.map_or(HAND_OVER_AGAIN_MIN, |(_, pause)| (pause * 2).min(HAND_OVER_AGAIN_MAX));
                    again = outcome.is_err().then(|| (cluster.env.now().boot.plus(pause), pause));
                    Some(outcome)
                }
            }
        };
        let step = Box::pin(step);
        let outcome = tokio::select! {
            biased;
            () = shutdown.requested() => return,
            outcome = step => outcome,
        };
        // Said once, not four times a second for as long as it takes.
        match outcome {
            Some(Err(failed)) if told.as_ref() != Some(&failed) => {
                tracing::info!(reason = %failed, "a step of changing who votes was not taken, and is tried again");
                told = Some(failed);
            }
            Some(Ok(())) => told = None,
            Some(Err(_)) | None => {}
        }
    }
}

/// Whoever begins to vote has the records of those who may go (Clause K-18).
async fn has_records(cluster: &Cluster, status: &RaftStatus, change: &MemberChange) -> bool {
    let MemberChange::Voters(voters) = change else { return true };
    if status.members.is_joint() {
        return true;
    }
    for newcomer in voters.iter().filter(|voter| !status.voters.contains(voter)) {
        let answer = cluster.ask(*newcomer, &PeerRequest::RecordStore).await;
        if !matches!(answer, Ok(PeerReply::RecordStore { whole: true, .. })) {
            return false;
        }
    }
    true
}

async fn hand_over_to(raft: &RaftNode, to: Option<VoterId>) -> Result<(), ChangeError> {
    let leader = raft.hand_over(to).await?;
    tracing::info!(%leader, "handed over");
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::Arc;

    use remit_common::id::LogIndex;

    use super::*;
    use crate::raft::{Members, RaftRole};

    fn set(ids: &[u64]) -> BTreeSet<VoterId> {
        ids.iter().copied().map(VoterId).collect()
    }

    /// Voter 1 leads at entry 100; 4 has what is said.
    fn status(configs: &[&[u64]], learners: &[u64], four_has: u64) -> RaftStatus {
        let ids = configs.iter().copied().flatten().chain(learners);
        let members = Members {
            at: Some(LogIndex(9)),
            configs: configs.iter().map(|config| set(config)).collect(),
            all: ids.map(|id| (VoterId(*id), Addresses::default())).collect(),
        };
        RaftStatus {
            id: VoterId(1),
            role: RaftRole::Leader,
            leader: Some(VoterId(1)),
            term: 1,
            last: LogIndex(100),
            applied: LogIndex(100),
            applied_digest: None,
            applied_marks: Arc::default(),
            snapshot: None,
            since_majority: None,
            voters: Vec::new(),
            members,
            progress: BTreeMap::from([(VoterId(4), LogIndex(four_has))]),
        }
    }

    fn next(status: &RaftStatus, plan: Option<&VoterPlan>) -> Next {
        super::next(status, plan, |_| true)
    }

    fn wish_in(id: u64) -> VoterPlan {
        let addr = "127.0.0.1:1".parse().unwrap();
        VoterPlan { index: LogIndex(90), wish: VoterWish::In { id: VoterId(id), raft: addr, dist: addr } }
    }

    fn wish_out(id: u64) -> VoterPlan {
        VoterPlan { index: LogIndex(90), wish: VoterWish::Out { id: VoterId(id) } }
    }

    fn voters(ids: &[u64]) -> Next {
        Next::Change(MemberChange::Voters(set(ids)))
    }

    #[test]
    fn a_newcomer_learns_catches_up_and_then_votes() {
        let add = wish_in(4);
        let first = next(&status(&[&[1, 2, 3]], &[], 0), Some(&add));
        assert!(matches!(first, Next::Change(MemberChange::Learner(VoterId(4), _))), "{first:?}");
        assert_eq!(next(&status(&[&[1, 2, 3]], &[4], 0), Some(&add)), Next::CatchUp(None));
        assert_eq!(next(&status(&[&[1, 2, 3]], &[4], 60), Some(&add)), Next::CatchUp(Some(40)));
        assert_eq!(next(&status(&[&[1, 2, 3]], &[4], 80), Some(&add)), voters(&[1, 2, 3, 4]));
        assert_eq!(next(&status(&[&[1, 2, 3, 4]], &[], 100), Some(&add)), Next::Nothing);
    }

    #[test]
    fn who_is_to_go_goes_and_a_leader_hands_over_first() {
        assert_eq!(next(&status(&[&[1, 2, 3]], &[], 0), Some(&wish_out(3))), voters(&[1, 2]));
        assert_eq!(next(&status(&[&[1, 2, 3]], &[], 0), Some(&wish_out(1))), Next::HandOver);
        assert_eq!(next(&status(&[&[1, 2]], &[], 0), Some(&wish_out(3))), Next::Nothing);
        // A newcomer that is not wanted any more.
        let learner = next(&status(&[&[1, 2, 3]], &[4], 0), Some(&wish_out(4)));
        assert_eq!(learner, Next::Change(MemberChange::NoLearner(VoterId(4))));
    }

    #[test]
    fn a_joint_membership_is_finished_before_anything_else() {
        let joint = || status(&[&[1, 2, 3], &[1, 2, 3, 4]], &[], 100);
        assert_eq!(next(&joint(), None), voters(&[1, 2, 3, 4]));
        assert_eq!(next(&joint(), Some(&wish_in(4))), voters(&[1, 2, 3, 4]));
        assert_eq!(next(&joint(), Some(&wish_out(4))), voters(&[1, 2, 3]));
        assert_eq!(next(&joint(), Some(&wish_in(5))), voters(&[1, 2, 3, 4]), "5 is not there yet");
        assert_eq!(next(&status(&[&[1, 2, 3]], &[], 0), None), Next::Nothing);
    }

    #[test]
    fn a_voter_that_is_taken_off_the_directory_does_not_come_to_vote() {
        let next = |configs: &[&[u64]], learners: &[u64]| {
            super::next(&status(configs, learners, 100), Some(&wish_in(4)), |id| id != VoterId(4))
        };
        assert_eq!(next(&[&[1, 2, 3]], &[]), Next::Nothing);
        assert_eq!(next(&[&[1, 2, 3]], &[4]), Next::Change(MemberChange::NoLearner(VoterId(4))));
        assert_eq!(next(&[&[1, 2, 3], &[1, 2, 3, 4]], &[]), voters(&[1, 2, 3]));
        assert_eq!(next(&[&[1, 2, 3, 4]], &[]), Next::Nothing, "who votes is removed by name");
    }
}
