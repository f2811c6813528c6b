//! Who votes: elections that nobody can win, and a change of members that its leader does not outlive.

use std::collections::BTreeMap;
use std::time::Duration;

use remit_common::id::VoterId;
use remit_common::net::env::deadline;
use remit_common::net::real::real;
use remit_control_plane::raft::{Addresses, MemberChange, RaftRole, RaftTimings};

use super::scene::{Mesh, PATIENCE, Voter, leader, timings, write};

/// A voter that is cut off would raise its term with each election that it cannot win, and depose the leader when it
/// is back (C-26).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_voter_that_reaches_no_majority_does_not_stand_for_election() {
    let election = (Duration::from_millis(300), Duration::from_millis(400));
    let timings = RaftTimings { election_min: election.0, election_max: election.1, ..timings() };
    let mesh = Mesh::new(3, timings);
    let voters = mesh.start_all().await;
    write(&voters, b"there is a mesh").await;
    voters.into_iter().for_each(Voter::kill);
    let mut voters = vec![mesh.restart(VoterId(1)).await];
    let mut status = voters[0].node.status_watch();
    let before = voters[0].node.status().term;
    let standing = status.wait_for(|status| status.term > before || status.role == RaftRole::Candidate);
    assert!(deadline(election.1 * 6, standing).await.is_err(), "it stands, and nobody is there");
    voters.push(mesh.restart(VoterId(2)).await);
    write(&voters, b"as soon as a majority is there").await;
}

/// Halfway through a change of who votes the leader dies: the next one finds the joint membership and ends it (C-27).
/// Meanwhile one voter was away; it learns whom to let in from those that it knows (C-26).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_joint_membership_is_finished_by_the_next_leader() {
    let mesh = Mesh::new(4, timings());
    let three: BTreeMap<_, _> = mesh.addrs.iter().take(3).map(|(id, addr)| (*id, *addr)).collect();
    let start = async |id: u64, joins: bool| {
        let mut config = mesh.config(VoterId(id));
        config.joins = joins;
        if !joins {
            config.voters = three.clone();
        }
        mesh.start_with(config, real()).await.unwrap()
    };
    let mut voters = Vec::new();
    for id in 1..=3 {
        voters.push(start(id, false).await);
    }
    let leading = leader(&voters).await;
    let addresses = Addresses { raft: Some(mesh.addrs[&VoterId(4)]), dist: None };
    let learner = MemberChange::Learner(VoterId(4), addresses);
    leading.node.change(learner, PATIENCE).await.unwrap();
    let newcomer = start(4, true).await;
    let index = write(&voters, b"before").await;
    newcomer.until_applied(index).await;
    newcomer.until("learns", |status| status.role == RaftRole::Learner).await;

    // The step is cut off as soon as its first entry is anywhere else.
    let four: std::collections::BTreeSet<_> = (1..=4).map(VoterId).collect();
    let leading_id = leading.id;
    let node = leading.node.clone();
    let changing = Box::pin(async move { node.change(MemberChange::Voters(four), PATIENCE).await });
    let seen = newcomer.until("joint", |status| status.members.configs.len() > 1 || status.voters.len() == 4);
    let cut_off = futures::future::select(changing, Box::pin(seen)).await;
    let position = voters.iter().position(|voter| voter.id == leading_id).unwrap();
    voters.remove(position).kill();
    drop(cut_off);
    voters.push(newcomer);
    let finishing = async {
        loop {
            let leading = leader(&voters).await;
            let members = leading.node.status().members;
            if !members.is_joint() {
                return members.voters();
            }
            // It is the newest leader's to do; one that is not, or not yet, is asked again.
            let _ = leading.node.change(MemberChange::Voters(members.target()), PATIENCE).await;
        }
    };
    let finished = deadline(PATIENCE, Box::pin(finishing)).await.expect("the change is finished");
    assert!([3, 4].contains(&finished.len()), "{finished:?}");
    let index = write(&voters, b"after").await;
    for voter in &voters {
        voter.until_applied(index).await;
    }
}
