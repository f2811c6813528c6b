//! Step 5: the agent hands on less than it has, a child that writes itself more gains nothing, and one that shows who it
//! is acts as itself.

use remit_chaos::launcher::EdgeEntry;
use remit_common::envelope::{self, Restriction};
use remit_common::lattice::NoNames;
use remit_common::net::registrar::Registration;
use serde_json::json;

use crate::demo::Stage;
use crate::demo::agent::Outcome;
use crate::demo::probe::read_7781;
use crate::demo::stage::Held;
use crate::example;
use crate::failure::{Exit, Failure};

/// Everything a link can say, and more than the parent has.
const GREEDY: &str = r#"
lifetime_secs = 900
delegation = { depth = 8, fanout = 64, offline = true }

[agent]
id = "spiffe://customer-success.example/agent/greedy"
class = "billing-clerk"

[[grant]]
of = 0
tools = ["**"]
effects = ["read", "write", "irreversible", "external-send", "spend", "delegate"]
classes = [1, 2, 3, 4, 5, 6]
ids = { customer = ["cust_acme_1042", "cust_globex_2001"], contract = ["contract_7781", "contract_9001"] }
maxima = { records = 1000000 }
"#;

/// Two tools, of which the rules for this class of agents have one.
const HELPER: &str = r#"
lifetime_secs = 600

[agent]
id = "spiffe://customer-success.example/agent/clause-classifier"
class = "clause-classifier"

[[grant]]
of = 0
tools = ["contracts.read"]

[[grant]]
of = 1
tools = ["crm.read"]
"#;

pub(super) async fn play(stage: &mut Stage) -> Result<(), Failure> {
    stage.story.step("The agent delegates less to a helper; one that writes itself more gains nothing; one with an identity acts as itself");
    let from = stage.now();
    let child = delegate(stage, example::CHILD)?;
    let got = format!("{} bytes, signed by the agent's key alone", child.presentation.len());
    stage.check(from, "delegate", "a child for contracts.read on contract_7781, ten minutes", got, true);

    let edge = stage.edge(1)?.clone();
    let from = stage.now();
    let refused = stage.knock(&edge, &child).await?;
    let ok = refused.as_deref() == Some("unregistered (link 1)");
    stage.check(from, "a child that nobody registered", "unregistered", refused.unwrap_or_default(), ok);
    let from = stage.now();
    let (child, wishes) = register(stage, &edge, child).await?;
    let got = format!("countersigned by {}; not held: {}", edge.id, wishes.len());
    stage.check(
        from,
        "register it",
        "countersigned by an edge, and everything asked for is held",
        got,
        wishes.is_empty(),
    );
    let agent = stage.agent(&edge, &child).await?;
    let from = stage.now();
    let tools = agent.tools().await.map_err(|why| Failure::new(Exit::Failed, why))?;
    stage.check(from, "the child's tools/list", "contracts.read", tools.join(", "), tools == ["contracts.read"]);
    let from = stage.now();
    let outcome = agent.call("contracts.read", read_7781()).await;
    let ok = matches!(outcome, Outcome::Result(_));
    stage.check(from, "the child reads contract_7781", "permitted", outcome.brief(), ok);
    for (name, tool, arguments) in [
        ("the child's crm.read", "crm.read", json!({ "customer_id": "cust_acme_1042" })),
        (
            "the child's tickets.create",
            "tickets.create",
            json!({ "customer_id": "cust_acme_1042", "title": "x", "body": "y" }),
        ),
    ] {
        let from = stage.now();
        let outcome = agent.call(tool, arguments).await;
        stage.check_denied(from, name, ("out_of_scope", None), &outcome);
    }
    agent.leave().await;

    let from = stage.now();
    let greedy = delegate(stage, GREEDY)?;
    let (greedy, wishes) = register(stage, &edge, greedy).await?;
    let ok = ["tools", "effects", "classes", "maxima.records", "delegation.depth"]
        .iter()
        .all(|dimension| wishes.iter().any(|wish| wish == dimension));
    let got = format!("not held: {}", wishes.join(", "));
    stage.check(from, "register a greedy child", "told what it asks for and nobody holds", got, ok);
    let agent = stage.agent(&edge, &greedy).await?;
    let from = stage.now();
    let outcome = agent.call("contracts.read", read_7781()).await;
    let rows = match &outcome {
        Outcome::Result(result) => result.get("contracts").and_then(serde_json::Value::as_array).cloned(),
        Outcome::Denied(_) | Outcome::Failed(_) => None,
    };
    let rows = rows.unwrap_or_default();
    let billing = rows.iter().filter(|row| row.get("billing").is_some()).count();
    let got = format!("{}, {} rows, {billing} with billing", outcome.brief(), rows.len());
    let ok = rows.len() == 25 && billing == 0;
    stage.check(from, "a greedy child reads what its parent could", "permitted, 25 rows, 0 with billing", got, ok);
    for (name, tool, arguments) in [
        (
            "the greedy child's billing.update",
            "billing.update",
            json!({ "customer_id": "cust_acme_1042", "plan": "free" }),
        ),
        (
            "the greedy child's other customer",
            "contracts.read",
            json!({ "customer_id": "cust_globex_2001", "contract_id": "contract_9001" }),
        ),
    ] {
        let from = stage.now();
        let outcome = agent.call(tool, arguments).await;
        stage.check_denied(from, name, ("out_of_scope", None), &outcome);
    }
    agent.leave().await;
    stage.child = Some(child);
    identities(stage, &edge).await
}

/// What a link says of its agent is its parent's claim. The same helper acts as Maya's agent until it shows who it is.
async fn identities(stage: &mut Stage, edge: &EdgeEntry) -> Result<(), Failure> {
    let helper = delegate(stage, HELPER)?;
    let (helper, _) = register(stage, edge, helper).await?;
    let notes = || json!({ "customer_id": "cust_acme_1042" });
    let agent = stage.agent(edge, &helper).await?;
    let from = stage.now();
    let outcome = agent.call("crm.read", notes()).await;
    let ok = matches!(outcome, Outcome::Result(_));
    stage.check(from, "a helper without an identity acts as Maya's agent: crm.read", "permitted", outcome.brief(), ok);
    agent.leave().await;
    let id = "spiffe://customer-success.example/agent/clause-classifier".parse();
    let id = id.map_err(|error| Failure::caused(Exit::Failed, &error))?;
    let agent = stage.agent_showing(edge, &helper, &id).await?;
    let from = stage.now();
    let outcome = agent.call("contracts.read", read_7781()).await;
    let ok = matches!(outcome, Outcome::Result(_));
    stage.check(from, "it shows its identity and acts as itself: contracts.read", "permitted", outcome.brief(), ok);
    let from = stage.now();
    let outcome = agent.call("crm.read", notes()).await;
    stage.check_denied(
        from,
        "it acts as itself, and no rule gives that crm.read",
        ("no_matching_policy", None),
        &outcome,
    );
    agent.leave().await;
    Ok(())
}

/// What the child holds after registration, and which dimensions it asked too much of.
async fn register(stage: &Stage, edge: &EdgeEntry, child: Held) -> Result<(Held, Vec<String>), Failure> {
    let Registration { presentation, not_held, .. } = stage.register(edge, stage.maya()?, &child.presentation).await?;
    let wishes = not_held.into_iter().map(|wish| wish.dimension).collect();
    Ok((Held { presentation, ..child }, wishes))
}

fn delegate(stage: &Stage, restriction: &str) -> Result<Held, Failure> {
    let caused = |error: &dyn std::error::Error| Failure::caused(Exit::Failed, error);
    let restriction = Restriction::parse_toml(restriction, &NoNames).map_err(|error| caused(&error))?;
    let (parent, key) = (stage.maya()?, stage.new_key()?);
    let nonce = stage.context.env.random();
    let (mesh, now) = (&stage.file.mesh_id, stage.context.now());
    let presentation =
        envelope::delegate(&parent.presentation, &parent.key, mesh, &restriction, key.public(), now, nonce)
            .map_err(|error| caused(&error))?;
    Ok(Held { key: std::sync::Arc::new(key), presentation })
}
