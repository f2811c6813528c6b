//! Step 9: who may make an offer is a relation, and it changes without a bundle.

use std::time::Duration;

use remit_common::policy::relations::{MalformedTuple, Tuple, TupleKey};
use remit_control_plane::admin::model::RelationsWritten;
use serde_json::{Value, json};

use crate::admin::bounded;
use crate::commands::{envelope, relation};
use crate::demo::Stage;
use crate::demo::agent::{Agent, Outcome};
use crate::demo::stage::{Held, millis};
use crate::example;
use crate::failure::{Exit, Failure};

/// For every edge to have a batch of tuples.
const KNOWN_WITHIN: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(5);
const CONTRACT: &str = "contract:contract_7781#account@account:cust_acme_1042";
/// What makes Maya somebody who offers renewals.
const OWNER: &str = "account:cust_acme_1042#owner@user:maya@customer-success.example";

pub(super) async fn play(stage: &mut Stage) -> Result<(), Failure> {
    stage.story.step("Who may make an offer is a relation: it comes and goes without a bundle");
    let task = envelope::parse_task(std::path::Path::new("propose.toml"), example::PROPOSE)?;
    let key = stage.new_key()?;
    let presentation = envelope::issue(&stage.admin, &task, key.public()).await?;
    let held = Held { key: std::sync::Arc::new(key), presentation };
    let agent = stage.agent(stage.edge(0)?, &held).await?;

    // Which account the contract belongs to, and nothing about Maya.
    write(stage, "relation add, the contract belongs to Acme's account", vec![parsed(CONTRACT)?.into()], Vec::new())
        .await?;
    let from = stage.now();
    let outcome = offer(&agent).await;
    stage.check_denied(from, "an offer, and Maya does not own the account", ("no_matching_policy", None), &outcome);

    let owner = parsed(OWNER)?;
    write(stage, "relation add, Maya owns the account", vec![owner.clone().into()], Vec::new()).await?;
    let from = stage.now();
    let outcome = offer(&agent).await;
    let ok = matches!(&outcome, Outcome::Result(result) if result.pointer("/offer/status") == Some(&json!("sent")));
    let got = if ok { "permitted: sent".to_owned() } else { outcome.brief() };
    stage.check(from, "the same offer", "permitted: sent", got, ok);

    write(stage, "relation rm, she does no longer", Vec::new(), vec![owner]).await?;
    let from = stage.now();
    let outcome = offer(&agent).await;
    stage.check_denied(from, "the same offer again", ("no_matching_policy", None), &outcome);
    agent.leave().await;
    Ok(())
}

fn parsed(tuple: &str) -> Result<TupleKey, Failure> {
    tuple.parse().map_err(|error: MalformedTuple| Failure::caused(Exit::Failed, &error))
}

async fn offer(agent: &Agent) -> Outcome {
    let arguments = json!({ "customer_id": "cust_acme_1042", "contract_id": "contract_7781", "months": 36 });
    agent.call("renewals.propose", arguments).await
}

/// Writes tuples, and waits until every edge has them.
async fn write(stage: &mut Stage, what: &str, add: Vec<Tuple>, remove: Vec<TupleKey>) -> Result<(), Failure> {
    let from = stage.now();
    let written = relation::write_tuples(&stage.context, &stage.file, add, remove).await?;
    let acknowledged = stage.ms(from);
    let RelationsWritten { revision, .. } = written;
    let (mut first, mut known) = (None, 0);
    let all = stage.file.edges.len();
    while known < all && stage.now().since(from) < KNOWN_WITHIN {
        known = 0;
        for edge in &stage.file.edges {
            known += usize::from(has(stage, &edge.ops, revision).await);
        }
        if known > 0 {
            first = first.or(Some(stage.ms(from)));
        }
        tokio::time::sleep(POLL).await;
    }
    let took = millis(stage.now().since(from));
    let first = first.map_or_else(String::new, |ms| format!(", the first after {ms} ms"));
    let got = format!(
        "revision {revision} acknowledged after {acknowledged} ms; {known} of {all} edges have it after {took} ms{first}"
    );
    stage.check(from, what, &format!("{all} of {all} edges have it"), got, known == all);
    Ok(())
}

/// Whether an edge says that it judges by this revision or a later one.
async fn has(stage: &Stage, ops: &str, revision: u64) -> bool {
    let Ok(response) = stage.http.get(format!("{ops}/status")).send().await else { return false };
    let Ok(body) = bounded(response).await else { return false };
    let status: Value = serde_json::from_slice(&body).unwrap_or_default();
    let here = status.pointer("/tenants/0/relations/revision").and_then(Value::as_u64);
    here.is_some_and(|here| here >= revision)
}
