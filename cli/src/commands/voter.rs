//! `remit voter`: who votes, and who leads.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Subcommand;
use remit_chaos::launcher::MeshFile;
use remit_common::id::VoterId;
use remit_control_plane::admin::model::{HandingOver, VoterChange, VoterSeat, Voters, VotersChanging};
use remit_control_plane::registry::VoterRequest;
use serde::Serialize;
use serde_json::json;

use crate::admin::Admin;
use crate::context::Context;
use crate::failure::{Exit, Failure};

/// Where changes are asked for and read.
const VOTERS: &str = "/v1/voters";
/// Between two looks at how far a change is.
const POLL: Duration = Duration::from_millis(250);
/// A change that stands still for so long is waited for no more.
const STALLED_MS: u64 = 60_000;
/// A hand-over takes a lease and an election.
const HAND_OVER_WITHIN: Duration = Duration::from_secs(20);

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: put voter 4 in the place of voter 2, whose disk is gone\n  \
    (install a directory that lists voter 4, and start it with `join = true`)\n  \
    remit voter add 4 --raft 10.0.0.4:7301 --dist 10.0.0.4:7401\n  remit voter remove 2\n  \
    (install a directory that lists voter 2 no longer: until then edges wait for it, too)")]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List everybody who votes, learns, or stands in the directory
    Ls,
    /// Take a voter in: it learns, catches up, and then votes
    Add {
        /// Its id, which the directory lists; a voter that lost its disk gets a new one
        id: u64,
        /// Where the other voters reach it
        #[arg(long, value_name = "ADDR")]
        raft: SocketAddr,
        /// Where edges reach it
        #[arg(long, value_name = "ADDR")]
        dist: SocketAddr,
        /// Return as soon as the change is written down
        #[arg(long)]
        no_wait: bool,
    },
    /// Let a voter go, or take back that it is added; a leader hands over first
    Remove {
        /// Its id
        id: u64,
        /// Return as soon as the change is written down
        #[arg(long)]
        no_wait: bool,
    },
    /// Have the leader hand over
    Transfer {
        /// To this voter, instead of the first that is connected and has the whole log
        #[arg(long, value_name = "ID")]
        to: Option<u64>,
    },
}

pub(super) async fn run(args: &Args, context: &Context) -> Result<Exit, Failure> {
    match args.verb {
        Verb::Ls => ls(context).await,
        Verb::Add { id, raft, dist, no_wait } => {
            let id = VoterId(id);
            change(context, &VoterRequest::Add { id, raft, dist }, id, no_wait).await
        }
        Verb::Remove { id, no_wait } => {
            let id = VoterId(id);
            change(context, &VoterRequest::Remove { id }, id, no_wait).await
        }
        Verb::Transfer { to } => transfer(context, to.map(VoterId)).await,
    }
}

async fn ls(context: &Context) -> Result<Exit, Failure> {
    let mesh = context.mesh()?;
    let voters: Voters = Admin::new(context, &mesh)?.get(VOTERS).await?;
    context.output.document(&voters);
    print(context, &voters);
    Ok(Exit::Done)
}

fn print(context: &Context, voters: &Voters) {
    let row = |seat: &VoterSeat| {
        let address = |addr: Option<SocketAddr>| addr.map_or_else(String::new, |addr| addr.to_string());
        let applied = seat.status.applied.map_or_else(String::new, |at| at.to_string());
        let listed = if seat.listed { "listed" } else { "not listed" };
        let state = seat.status.state.clone();
        [format!("voter {}", seat.id), seat.seat.clone(), state, applied, listed.to_owned(), address(seat.raft)]
    };
    context.output.table(["", "seat", "state", "applied", "directory", "raft"], voters.voters.iter().map(row));
    if let Some(change) = &voters.change {
        context.output.line(format!("\n{}", progress(change)));
    }
}

/// How far a change is, for people.
fn progress(change: &VoterChange) -> String {
    let what = if change.votes { "adding" } else { "removing" };
    let step = match (change.step.as_str(), change.behind) {
        ("catching-up", Some(behind)) => format!("it is catching up, {behind} entries to go"),
        ("catching-up", None) => "it takes the log, and has not answered yet".to_owned(),
        ("joint", _) => "the voters are changing over".to_owned(),
        _ => "waiting for the leader".to_owned(),
    };
    format!("{what} voter {}: {step}", change.id)
}

fn body(request: &impl Serialize) -> Result<Vec<u8>, Failure> {
    serde_json::to_vec(request).map_err(|error| Failure::new(Exit::Failed, error.to_string()))
}

async fn change(context: &Context, request: &VoterRequest, id: VoterId, no_wait: bool) -> Result<Exit, Failure> {
    let mesh = context.mesh()?;
    let admin = Admin::new(context, &mesh)?;
    let written: VotersChanging = admin.post(VOTERS, body(request)?).await.map_err(advise)?;
    let index = written.index;
    if no_wait {
        context.output.document(&written);
        context.output.line(format!("written down as entry {index}; `remit voter ls` shows how far it is"));
        return Ok(Exit::Done);
    }
    let bar = context.output.progress("waiting for the leader");
    let (mut last, mut moved) = (None, context.env.now().boot);
    let voters = loop {
        // Whoever goes does not hear that it has gone, so it is not asked.
        let seen = look(&admin, &mesh, id, |voters| voters.applied >= index).await;
        // A later change is not ours.
        let ours = seen.as_ref().and_then(|voters| voters.change.clone()).filter(|change| change.index == index);
        if let Some(voters) = seen
            && ours.is_none()
        {
            break voters;
        }
        let now = context.env.now().boot;
        if ours.is_some() && ours != last {
            bar.set_message(ours.as_ref().map(progress).unwrap_or_default());
            (last, moved) = (ours, now);
        } else if now.as_millis().saturating_sub(moved.as_millis()) > STALLED_MS {
            bar.finish_and_clear();
            let how_far = last.as_ref().map_or_else(|| "no voter tells how far it is".to_owned(), progress);
            return Err(Failure::new(Exit::Failed, format!("nothing has moved for a minute: {how_far}")).hint(format!(
                "entry {index} stands; `remit voter ls` shows how far it is, `remit voter remove {id}` takes it back"
            )));
        }
        tokio::time::sleep(POLL).await;
    };
    bar.finish_and_clear();
    came_to_pass(&voters, id, written.votes)?;
    context.output.document(&voters);
    print(context, &voters);
    if !written.votes {
        context
            .output
            .line(format!("\nvoter {id} takes no part any more: stop its process, and install a directory without it"));
    }
    Ok(Exit::Done)
}

/// Nothing is under way any more; whether the change was made, or taken back by somebody else, the seats tell.
fn came_to_pass(voters: &Voters, id: VoterId, votes: bool) -> Result<(), Failure> {
    let is_voter = voters.voters.iter().any(|seat| seat.id == id && seat.seat == "voter");
    if is_voter == votes {
        return Ok(());
    }
    let message = if votes {
        format!("voter {id} does not vote: its addition was taken back")
    } else {
        format!("voter {id} votes on")
    };
    Err(Failure::new(Exit::Failed, message).reason("change_taken_back").hint("`remit voter ls` shows who votes now"))
}

fn advise(failure: Failure) -> Failure {
    match failure.reason.as_deref() {
        Some("voter_not_listed") => failure.hint("make a directory that lists it (`remit trust directory --from OLD --voter ROW`), sign it, and `remit trust push` it"),
        Some("change_under_way") => {
            failure.hint("`remit voter ls` shows what is under way; `remit voter remove` takes an addition back")
        }
        _ => failure,
    }
}

/// The seats, by the word of the first voter but `except` that answers and has seen enough.
async fn look(admin: &Admin, mesh: &MeshFile, except: VoterId, enough: impl Fn(&Voters) -> bool) -> Option<Voters> {
    for voter in mesh.voters.iter().filter(|voter| voter.id != except) {
        if let Ok(voters) = admin.get_from::<Voters>(&voter.admin, VOTERS).await
            && enough(&voters)
        {
            return Some(voters);
        }
    }
    None
}

async fn transfer(context: &Context, to: Option<VoterId>) -> Result<Exit, Failure> {
    let mesh = context.mesh()?;
    let admin = Admin::new(context, &mesh)?;
    let before: Voters = admin.get(VOTERS).await?;
    let asked: HandingOver = admin.post(VOTERS, body(&VoterRequest::Transfer { to })?).await?;
    let bar = context.output.progress("handing over");
    let waiting = async {
        loop {
            let led = |voters: &Voters| match to {
                Some(to) => voters.leader == Some(to),
                None => voters.leader.is_some() && voters.leader != before.leader,
            };
            let nobody = VoterId(u64::MAX);
            if let Some(voters) =
                look(&admin, &mesh, nobody, |voters| voters.applied >= asked.index && led(voters)).await
            {
                return voters.leader;
            }
            tokio::time::sleep(POLL).await;
        }
    };
    let leader = tokio::time::timeout(HAND_OVER_WITHIN, waiting).await;
    bar.finish_and_clear();
    let Ok(Some(leader)) = leader else {
        return Err(Failure::new(Exit::Failed, "nobody else was elected")
            .hint("`remit voter ls` shows who is reachable and how far behind they are"));
    };
    context.output.document(&json!({ "index": asked.index, "leader": leader }));
    context.output.line(format!("voter {leader} leads"));
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As voters answer.
    fn voters(seat: Option<&str>) -> Voters {
        let seats = seat.map(|seat| {
            json!({
                "id": 4, "seat": seat, "listed": true, "raft": null, "dist": null,
                "status": { "id": 4, "reachable": true, "state": "follower" },
            })
        });
        let shown =
            json!({ "applied": 9, "leader": 1, "voters": seats.into_iter().collect::<Vec<_>>(), "change": null });
        serde_json::from_value(shown).unwrap()
    }

    #[test]
    fn a_change_that_somebody_took_back_is_no_success() {
        for seat in [None, Some("none"), Some("learner")] {
            let refused = came_to_pass(&voters(seat), VoterId(4), true).unwrap_err();
            assert_eq!(refused.reason.as_deref(), Some("change_taken_back"), "{seat:?}");
            assert!(came_to_pass(&voters(seat), VoterId(4), false).is_ok(), "{seat:?}");
        }
        assert!(came_to_pass(&voters(Some("voter")), VoterId(4), true).is_ok());
        assert!(came_to_pass(&voters(Some("voter")), VoterId(4), false).is_err());
    }
}
