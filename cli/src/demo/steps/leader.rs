//! Step 7: the leader is killed while agents work.

use std::time::Duration;

use remit_common::id::{LogIndex, VoterId};
use remit_control_plane::admin::model::Status;

use crate::commands::envelope;
use crate::demo::Stage;
use crate::demo::probe::{Probe, Seen, totals};
use crate::example;
use crate::failure::{Exit, Failure};

/// From a voter's restart to having applied what the others have.
const CAUGHT_UP_WITHIN: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);

pub(super) async fn play(stage: &mut Stage) -> Result<(), Failure> {
    stage.story.step("The leader is killed while agents work at every edge");
    let probe = start_probe(stage).await?;
    let status: Status = stage.admin.get("/v1/status").await?;
    let leader = status.leader.ok_or_else(|| Failure::new(Exit::Failed, "there is no leader to kill"))?;
    let before = totals(&probe.seen().await).0;

    let killed = stage.now();
    stage.mesh.kill_voter(leader).await?;
    stage.story.say(format!("voter {leader} led in term {}; killed with SIGKILL", status.term));
    let task = envelope::parse_task(std::path::Path::new("task.toml"), example::TASK)?;
    let key = stage.new_key()?;
    let written = envelope::issue(&stage.admin, &task, key.public()).await;
    let failover = stage.ms(killed);
    stage.story.figures.failover_ms = written.is_ok().then_some(failover);
    let got = match &written {
        Ok(_) => format!("an envelope is issued by the other two, {failover} ms after the kill"),
        Err(failure) => failure.message.clone(),
    };
    stage.check(killed, "a write", "succeeds again", got, written.is_ok());

    let from = stage.now();
    stage.mesh.start_voter(leader)?;
    stage.mesh.wait_voter(leader).await?;
    let (caught_up, got) = catch_up(stage, leader).await?;
    stage.check(from, "the killed voter", "starts again, follows and catches up", got, caught_up);

    let seen = probe.stop().await;
    check_no_failure(stage, killed, &seen, before);
    Ok(())
}

/// One agent at each edge, with Maya's envelope.
pub(super) async fn start_probe(stage: &Stage) -> Result<Probe, Failure> {
    let mut agents = Vec::new();
    for edge in &stage.file.edges {
        agents.push((edge.id.to_string(), stage.agent(edge, stage.maya()?).await?));
    }
    let probe = Probe::start(&stage.context.env, agents);
    // Everybody has had an answer before anything is broken.
    while probe.seen().await.iter().any(|seen| seen.permitted + seen.denied == 0 && seen.odd.is_none()) {
        tokio::time::sleep(POLL).await;
    }
    Ok(probe)
}

/// Notes whether every call of a probe was permitted.
pub(super) fn check_no_failure(stage: &mut Stage, from: remit_common::time::BootTime, seen: &[Seen], before: u64) {
    let (permitted, not) = totals(seen);
    let odd = seen.iter().find_map(|seen| {
        let reason = seen.first_denied.as_ref().map(|(_, reason)| reason).or(seen.odd.as_ref())?;
        Some(format!("; at {}: {reason}", seen.edge))
    });
    let during = permitted.saturating_sub(before);
    let got =
        format!("{during} reads permitted meanwhile at {} edges, {not} failed{}", seen.len(), odd.unwrap_or_default());
    stage.check(from, "decisions at the edges", "go on without one failure", got, not == 0 && during > 0);
}

async fn catch_up(stage: &Stage, voter: VoterId) -> Result<(bool, String), Failure> {
    let entry = stage.file.voters.iter().find(|entry| entry.id == voter);
    let admin = entry.map(|entry| entry.admin.clone()).unwrap_or_default();
    let others = stage.file.voters.iter().find(|entry| entry.id != voter);
    let goal = match others {
        Some(other) => stage.admin.get_from::<Status>(&other.admin, "/v1/status").await?.applied,
        None => LogIndex::default(),
    };
    let from = stage.now();
    loop {
        if let Ok(status) = stage.admin.get_from::<Status>(&admin, "/v1/status").await
            && status.applied >= goal
        {
            let leads = status.leader == Some(voter);
            let role = if leads { "leads" } else { "follows" };
            return Ok((
                true,
                format!("voter {voter} {role}, has applied entry {} ({goal} was the goal)", status.applied),
            ));
        }
        if stage.now().since(from) > CAUGHT_UP_WITHIN {
            return Ok((false, format!("voter {voter} has not applied entry {goal}")));
        }
        tokio::time::sleep(POLL).await;
    }
}
