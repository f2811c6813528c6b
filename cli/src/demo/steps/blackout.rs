//! Step 8: the whole control plane is killed, and comes back.

use std::time::Duration;

use serde_json::{Value, json};

use super::leader::{check_no_failure, start_probe};
use crate::commands::status::edge_status;
use crate::demo::Stage;
use crate::demo::agent::{Agent, Outcome};
use crate::demo::probe::totals;
use crate::demo::records;
use crate::failure::{Exit, Failure};

/// The bundle's bound for what cannot be taken back, and some room.
const PAST_BOUND_MS: u64 = 10_500;
/// The longest wait for an edge to grow that old.
const AGED_WITHIN: Duration = Duration::from_secs(20);
/// From the return of the voters to the moment at which every edge knows again that its truth is young.
const FRESH_WITHIN: Duration = Duration::from_secs(20);
/// From the return of the voters to the last record of the outage.
const DRAINED_WITHIN: Duration = Duration::from_secs(40);
const POLL: Duration = Duration::from_millis(100);

pub(super) async fn play(stage: &mut Stage) -> Result<(), Failure> {
    stage.story.step("The whole control plane is killed, and comes back");
    let probe = start_probe(stage).await?;
    let before = totals(&probe.seen().await).0;
    let dark = stage.now();
    let voters: Vec<_> = stage.file.voters.iter().map(|voter| voter.id).collect();
    for voter in &voters {
        stage.mesh.kill_voter(*voter).await?;
    }
    stage.story.say(format!("{} voters killed with SIGKILL", voters.len()));

    let edge = stage.edge(2)?.clone();
    let agent = stage.agent(&edge, stage.maya()?).await?;
    let age = wait_age(stage, &edge.ops).await?;
    let from = stage.now();
    let outcome = ticket(&agent, "Too late").await;
    stage.check_denied(from, "tickets.create past its bound of 10 s", ("stale", None), &outcome);
    let from = stage.now();
    let outcome = agent.call("contracts.read", crate::demo::probe::read_7781()).await;
    let ok = matches!(outcome, Outcome::Result(_));
    let got = format!("{}, decided by a view {age} ms old", outcome.brief());
    stage.check(from, "contracts.read at the same edge", "permitted", got, ok);

    let from = stage.now();
    let spooled = spooled(stage).await;
    let waiting: u64 = spooled.iter().map(|(_, waiting)| waiting).sum();
    let got = format!("{waiting} records wait at {} edges", spooled.iter().filter(|(_, waiting)| *waiting > 0).count());
    stage.check(from, "records", "are spooled at the edges", got, waiting > 0);

    let back = stage.now();
    for voter in &voters {
        stage.mesh.start_voter(*voter)?;
    }
    for voter in &voters {
        stage.mesh.wait_voter(*voter).await?;
    }
    let seen = probe.stop().await;
    check_no_failure(stage, dark, &seen, before);
    let stale = wait_fresh(stage).await;
    let got = if stale.is_empty() {
        format!("every edge is fresh {} ms after the restart", stage.ms(back))
    } else {
        format!("not fresh: {}", stale.join(", "))
    };
    stage.check(back, "the edges", "know again that their truth is young", got, stale.is_empty());
    let from = stage.now();
    let outcome = ticket(&agent, "In time").await;
    let ok = matches!(outcome, Outcome::Result(_));
    stage.check(from, "tickets.create again", "permitted", outcome.brief(), ok);
    agent.leave().await;
    let drained = wait_drained(stage).await;
    let got =
        drained.clone().unwrap_or_else(|| format!("every spool is empty {} ms after the restart", stage.ms(back)));
    stage.check(back, "the control plane comes back", "every record arrives", got, drained.is_none());
    records::audit(stage).await
}

/// Asks for what only a young view permits.
async fn ticket(agent: &Agent, title: &str) -> Outcome {
    let wanted = json!({ "customer_id": "cust_acme_1042", "title": title, "body": "…" });
    agent.call("tickets.create", wanted).await
}

/// Waits until every effect is within its bound at every edge; otherwise says where it is not.
async fn wait_fresh(stage: &Stage) -> Vec<String> {
    let from = stage.now();
    loop {
        let mut stale = Vec::new();
        for edge in &stage.file.edges {
            let status = edge_status(&stage.http, &edge.ops).await.unwrap_or_default();
            if status.get("mode").and_then(Value::as_str) != Some("fresh") {
                stale.push(edge.id.to_string());
            }
        }
        if stale.is_empty() || stage.now().since(from) > FRESH_WITHIN {
            return stale;
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Waits until an edge has not heard of a tick for longer than the bound.
async fn wait_age(stage: &Stage, ops: &str) -> Result<u64, Failure> {
    let from = stage.now();
    loop {
        if let Ok(status) = edge_status(&stage.http, ops).await {
            let age = status.get("staleness_ms").and_then(Value::as_u64).unwrap_or(0);
            if age > PAST_BOUND_MS {
                return Ok(age);
            }
        }
        if stage.now().since(from) > AGED_WITHIN {
            return Err(Failure::new(Exit::Failed, "the edge does not notice that the control plane is gone"));
        }
        tokio::time::sleep(POLL).await;
    }
}

async fn spooled(stage: &Stage) -> Vec<(String, u64)> {
    let mut all = Vec::new();
    for edge in &stage.file.edges {
        let status = edge_status(&stage.http, &edge.ops).await.unwrap_or_default();
        all.push((edge.id.to_string(), status.pointer("/spool/records").and_then(Value::as_u64).unwrap_or(u64::MAX)));
    }
    all
}

/// Waits until no edge holds a record that a majority lacks; otherwise says which does.
async fn wait_drained(stage: &Stage) -> Option<String> {
    let from = stage.now();
    loop {
        let full: Vec<_> = spooled(stage).await.into_iter().filter(|(_, waiting)| *waiting > 0).collect();
        if full.is_empty() {
            return None;
        }
        if stage.now().since(from) > DRAINED_WITHIN {
            return Some(
                full.iter().map(|(edge, waiting)| format!("{edge} holds {waiting}")).collect::<Vec<_>>().join(", "),
            );
        }
        tokio::time::sleep(POLL).await;
    }
}
