//! Who is to vote: what administrators have decided, and whether the log has come to it.
//!
//! An administrator's command states the wish; the leader carries it out step by step (learner, catch-up, joint
//! membership), and whichever voter leads goes on where the last one stopped. So the wish stands in the registry, and
//! there is one at a time. Clauses C-67 to C-69.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use remit_common::id::{LogIndex, VoterId};
use remit_common::identity::{Administrator, SignedRequest, Verb};
use serde::{Deserialize, Serialize};

use super::apply::Applied;
use super::authenticate::not_permitted;
use super::refusal::{Refusal, RefusalKind};
use super::state::State;

/// Bytes of a request's body.
const BODY_BYTES_MAX: usize = 512;
/// Voters of one mesh, as many as a directory lists.
const VOTERS_MAX: usize = 9;

/// What an administrator asks for: the body of `POST /v1/voters`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "lowercase", deny_unknown_fields)]
pub enum VoterRequest {
    /// Takes a voter in.
    Add {
        /// Which: the directory lists it.
        id: VoterId,
        /// Where the other voters reach it.
        raft: SocketAddr,
        /// Where edges reach it.
        dist: SocketAddr,
    },
    /// Lets a voter go.
    Remove {
        /// Which.
        id: VoterId,
    },
    /// Has the leader hand over.
    Transfer {
        /// To whom; if nobody is named, to one that is connected and has the whole log.
        #[serde(default)]
        to: Option<VoterId>,
    },
}

/// A wish that the membership has not come to yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoterPlan {
    /// The entry that holds it.
    pub index: LogIndex,
    /// What is to be.
    pub wish: VoterWish,
}

/// What is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum VoterWish {
    /// This voter votes.
    In {
        /// Which.
        id: VoterId,
        /// Where the other voters reach it.
        raft: SocketAddr,
        /// Where edges reach it.
        dist: SocketAddr,
    },
    /// This voter takes no part.
    Out {
        /// Which.
        id: VoterId,
    },
}

impl VoterWish {
    /// Of whom it speaks.
    #[must_use]
    pub fn id(&self) -> VoterId {
        match self {
            Self::In { id, .. } | Self::Out { id } => *id,
        }
    }
}

/// Who takes part, as the log has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seats {
    /// Who votes.
    pub voters: BTreeSet<VoterId>,
    /// Who takes the log and does not vote.
    pub learners: BTreeSet<VoterId>,
    /// Whether a change is half way.
    pub joint: bool,
}

impl Seats {
    fn have_come_to(&self, wish: &VoterWish) -> bool {
        !self.joint
            && match wish {
                VoterWish::In { id, .. } => self.voters.contains(id),
                VoterWish::Out { id } => !self.voters.contains(id) && !self.learners.contains(id),
            }
    }
}

impl State {
    /// The log says who takes part. A wish that has come true is none any more.
    pub fn set_seats(&mut self, seats: Seats) {
        if self.plan.is_some_and(|plan| seats.have_come_to(&plan.wish)) {
            self.plan = None;
        }
        self.seats = seats;
    }

    /// Who takes part.
    #[must_use]
    pub fn seats(&self) -> &Seats {
        &self.seats
    }

    /// The change of voters that is under way.
    #[must_use]
    pub fn voter_plan(&self) -> Option<&VoterPlan> {
        self.plan.as_ref()
    }
}

/// Clauses C-67 and C-68.
pub(super) fn change(
    state: &mut State,
    index: LogIndex,
    administrator: &Administrator,
    request: &SignedRequest,
) -> Result<Applied, Refusal> {
    administrator.check_anywhere(Verb::ChangeVoters, state.clock).map_err(|error| not_permitted(&error))?;
    if request.body.len() > BODY_BYTES_MAX {
        return Err(Refusal::malformed("the body is too long"));
    }
    let request: VoterRequest = serde_json::from_slice(&request.body).map_err(Refusal::malformed)?;
    let wish = match request {
        VoterRequest::Add { id, raft, dist } => {
            check_add(state, id)?;
            VoterWish::In { id, raft, dist }
        }
        VoterRequest::Remove { id } => {
            check_remove(state, id)?;
            VoterWish::Out { id }
        }
        VoterRequest::Transfer { to } => {
            check_transfer(state, to)?;
            return Ok(Applied::HandOver { to });
        }
    };
    state.plan = Some(VoterPlan { index, wish });
    Ok(Applied::VoterPlan { id: wish.id(), votes: matches!(wish, VoterWish::In { .. }) })
}

fn conflict(reason: &'static str, detail: impl std::fmt::Display) -> Refusal {
    Refusal::new(RefusalKind::Conflict, reason, detail)
}

/// One change at a time, and none before it is known who takes part.
fn check_idle(state: &State) -> Result<(), Refusal> {
    let under_way = |what: &dyn std::fmt::Display| {
        let detail =
            format_args!("{what} is under way; wait until `remit voter ls` shows none, or take it back").to_string();
        Err(conflict("change_under_way", detail))
    };
    match &state.plan {
        Some(VoterPlan { wish: VoterWish::In { id, .. }, .. }) => under_way(&format_args!("adding voter {id}")),
        Some(VoterPlan { wish: VoterWish::Out { id }, .. }) => under_way(&format_args!("removing voter {id}")),
        None if state.seats.joint => under_way(&"a change of voters"),
        None if state.seats.voters.is_empty() => {
            Err(Refusal::new(RefusalKind::NotReady, "no_voters", "the log does not say yet who votes"))
        }
        None => Ok(()),
    }
}

fn check_add(state: &State, id: VoterId) -> Result<(), Refusal> {
    check_idle(state)?;
    if state.seats.voters.contains(&id) {
        return Err(conflict("already_a_voter", format_args!("voter {id} votes already")));
    }
    let trust = state.trust()?;
    if !trust.directory.voters().any(|voter| voter.id == id) {
        let detail = format_args!("the directory does not list voter {id}: install one that does first").to_string();
        return Err(Refusal::new(RefusalKind::Unacceptable, "voter_not_listed", detail));
    }
    if state.seats.voters.len() >= VOTERS_MAX {
        return Err(Refusal::new(RefusalKind::Full, "too_many_voters", "a mesh has at most nine voters"));
    }
    Ok(())
}

fn check_remove(state: &State, id: VoterId) -> Result<(), Refusal> {
    let taken_back = state.plan.is_some_and(|plan| matches!(plan.wish, VoterWish::In { id: added, .. } if added == id));
    if !taken_back {
        check_idle(state)?;
        if !state.seats.voters.contains(&id) && !state.seats.learners.contains(&id) {
            return Err(conflict("no_such_voter", format_args!("voter {id} takes no part")));
        }
    }
    if state.seats.voters.len() == 1 && state.seats.voters.contains(&id) {
        return Err(conflict("last_voter", format_args!("voter {id} is the only one")));
    }
    Ok(())
}

fn check_transfer(state: &State, to: Option<VoterId>) -> Result<(), Refusal> {
    match to {
        Some(to) if !state.seats.voters.contains(&to) => {
            Err(conflict("no_such_voter", format_args!("voter {to} does not vote")))
        }
        _ if state.seats.voters.len() < 2 => Err(conflict("last_voter", "there is nobody to hand over to")),
        _ => Ok(()),
    }
}
