//! Step 4: what the envelope opens, and what it does not.

use remit_common::envelope::ENVELOPE_HEADER;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::admin::bounded;
use crate::demo::Stage;
use crate::demo::agent::{Agent, Outcome};
use crate::demo::probe::read_7781;
use crate::demo::records;
use crate::demo::stage::Held;
use crate::failure::{Exit, Failure};

const MAYAS: [&str; 3] = ["contracts.read", "crm.read", "tickets.create"];

pub(super) async fn play(stage: &mut Stage) -> Result<(), Failure> {
    stage.story.step("The agent works; what is outside its envelope is refused");
    let agent = stage.agent(stage.edge(0)?, stage.maya()?).await?;

    let from = stage.now();
    let tools = agent.tools().await.map_err(|why| Failure::new(Exit::Failed, why))?;
    stage.check(from, "tools/list", &MAYAS.join(", "), tools.join(", "), tools == MAYAS);

    permitted(stage, &agent).await;
    refused(stage, &agent).await?;
    without_envelope(stage).await?;
    agent.leave().await;
    Ok(())
}

async fn permitted(stage: &mut Stage, agent: &Agent) {
    let from = stage.now();
    let outcome = agent.call("contracts.read", read_7781()).await;
    let (got, ok) = match &outcome {
        Outcome::Result(result) => released(result),
        other => (other.brief(), false),
    };
    let expected = "25 of the tool's 40 rows, with terms, without billing and margin";
    stage.check(from, "contracts.read on contract_7781", expected, got, ok);

    let from = stage.now();
    let outcome = agent.call("crm.read", json!({ "customer_id": "cust_acme_1042" })).await;
    let (got, ok) = match &outcome {
        Outcome::Result(result) => {
            let rows = result.get("notes").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            let clean = rows.iter().all(|row| row.get("summary").is_some() && row.get("author_email").is_none());
            (
                format!("{} notes, {}", rows.len(), if clean { "no names of staff" } else { "names of staff" }),
                rows.len() == 25 && clean,
            )
        }
        other => (other.brief(), false),
    };
    stage.check(from, "crm.read", "25 notes, no names of staff", got, ok);

    let from = stage.now();
    let wanted = json!({ "customer_id": "cust_acme_1042", "title": "Renewal of 7781 at risk", "body": "Usage fell by a third." });
    let outcome = agent.call("tickets.create", wanted).await;
    let (got, ok) = match &outcome {
        Outcome::Result(result) => {
            let id = result.pointer("/ticket/ticket_id").and_then(Value::as_str);
            (format!("permitted: {}", id.unwrap_or("no ticket")), id.is_some())
        }
        other => (other.brief(), false),
    };
    stage.check(from, "tickets.create, which cannot be taken back", "permitted: a ticket", got, ok);
}

/// What of a contract reached the agent.
fn released(result: &Value) -> (String, bool) {
    let rows = result.get("contracts").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let has = |field: &str| rows.iter().filter(|row| row.get(field).is_some()).count();
    let (terms, billing, margin) = (has("terms"), has("billing"), has("internal_margin_percent"));
    let got = format!("{} rows, {terms} with terms, {billing} with billing, {margin} with margin", rows.len());
    (got, rows.len() == 25 && terms == 25 && billing == 0 && margin == 0)
}

async fn refused(stage: &mut Stage, agent: &Agent) -> Result<(), Failure> {
    let other = json!({ "customer_id": "cust_globex_2001", "contract_id": "contract_9001" });
    let plan = json!({ "customer_id": "cust_acme_1042", "plan": "free" });
    let mut more = read_7781();
    if let Some(members) = more.as_object_mut() {
        members.insert("limit".to_owned(), json!(1_000));
    }
    let urgent = json!({ "customer_id": "cust_acme_1042", "title": "Now!", "body": "…", "priority": "urgent" });
    let calls = [
        (
            "another customer's contract",
            "contracts.read",
            other,
            ("out_of_scope", Some("contract")),
            "dimension contract",
        ),
        ("billing.update", "billing.update", plan, ("out_of_scope", None), ""),
        ("a tool that does not exist", "contracts.delete", read_7781(), ("out_of_scope", None), ""),
        ("a bulk export", "contracts.export", json!({}), ("out_of_scope", None), ""),
        ("an argument that the catalogue does not name", "contracts.read", more, ("unmapped_argument", None), ""),
        (
            "an urgent ticket, which a rule forbids",
            "tickets.create",
            urgent,
            ("forbidden", None),
            "limits.urgent-needs-a-human",
        ),
    ];
    let mut ids = Vec::new();
    for (name, tool, arguments, expected, why) in calls {
        let from = stage.now();
        let outcome = agent.call(tool, arguments).await;
        stage.check_denied(from, name, expected, &outcome);
        ids.extend(outcome.decision_id().map(|id| (name, id, why)));
    }

    let from = stage.now();
    let mut explained = Vec::new();
    let mut ok = true;
    for (name, id, why) in &ids {
        let record = records::wait(stage, id).await?;
        let rule = records::why(&record);
        ok &= !rule.is_empty() && rule.contains(why);
        stage.story.say(format!("{name}: {rule}"));
        explained.push(rule);
    }
    let got =
        format!("{} of {} refusals explained", explained.iter().filter(|rule| !rule.is_empty()).count(), ids.len());
    stage.check(from, "decision show, for operators", "every refusal with its rule or what was outside", got, ok);

    let from = stage.now();
    let books = stage.file.upstreams.first().map(|upstream| upstream.dir.join("tools.json"));
    let books = books.and_then(|path| stage.context.env.disk.read(&path, 1 << 24).ok().flatten()).unwrap_or_default();
    let books: Value = serde_json::from_slice(&books).unwrap_or_default();
    let tickets = books.get("tickets").and_then(Value::as_array).map_or(0, Vec::len);
    let plan = books.pointer("/billing/0/plan").and_then(Value::as_str).unwrap_or_default().to_owned();
    let got = format!("{tickets} ticket, plan {plan}");
    stage.check(
        from,
        "the tool server's own books",
        "1 ticket, plan enterprise",
        got,
        tickets == 1 && plan == "enterprise",
    );
    Ok(())
}

/// Who holds nothing gets nothing, and neither does who has copied Maya's envelope out of a log: not at the edge, and
/// not at the tool server behind its back.
async fn without_envelope(stage: &mut Stage) -> Result<(), Failure> {
    let body = json!({
        "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {
            "name": "contracts.read", "arguments": read_7781(),
            "_meta": {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientInfo": { "name": "nobody", "version": "0" },
                "io.modelcontextprotocol/clientCapabilities": {},
            },
        },
    });
    let tools = stage.file.upstreams.first().map(|upstream| upstream.url.clone()).unwrap_or_default();
    let edge = format!("{}/mcp", stage.edge(0)?.agent);
    let stolen = stage.maya()?.header();
    for (name, url, stolen) in [
        ("the edge, without an envelope", &edge, None),
        ("the edge, with Maya's envelope and without her agent's key", &edge, Some(&stolen)),
        ("the tool server, without the key", &tools, None),
    ] {
        let from = stage.now();
        let mut request = stage.http.post(url);
        if let Some(stolen) = stolen {
            request = request.header(ENVELOPE_HEADER, stolen);
        }
        let sent = request
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", "2026-07-28")
            .header("mcp-method", "tools/call")
            .header("mcp-name", "contracts.read")
            .body(body.to_string())
            .send()
            .await;
        let (got, ok) = match sent {
            Ok(response) => {
                let status = response.status();
                let challenge = response.headers().get("www-authenticate").and_then(|value| value.to_str().ok());
                let challenged = challenge.is_some_and(|it| stolen.is_none() || it.contains("proof=\"missing\""));
                bounded(response).await?;
                (
                    format!("{} {}", status.as_u16(), if challenged { "with a challenge" } else { "" }),
                    status == 401 && challenged,
                )
            }
            Err(error) => (error.to_string(), false),
        };
        stage.check(from, name, "401 with a challenge", got, ok);
    }
    with_a_stolen_envelope(stage).await
}

/// A thief has every byte of Maya's envelope, and a key of its own.
async fn with_a_stolen_envelope(stage: &mut Stage) -> Result<(), Failure> {
    let maya = stage.maya()?;
    let loot = Held { key: Arc::new(stage.new_key()?), presentation: maya.presentation.clone() };
    let from = stage.now();
    let ended = stage.papers(&loot)?.start(&stage.edge(0)?.agent)?.wait_with_output().await;
    let code = ended.ok().and_then(|ended| ended.status.code());
    let got = code.map_or_else(|| "it runs".to_owned(), |code| format!("it ends at once, exit code {code}"));
    let name = "a sidecar with Maya's stolen envelope and a key of the thief's";
    stage.check(from, name, "it ends at once, exit code 1", got, code == Some(1));

    // A sidecar need not be ours: the thief writes its own, and asks for a channel over that envelope with its key.
    let from = stage.now();
    let edge = stage.edge(0)?.clone();
    let got = stage.knock(&edge, &loot).await?.unwrap_or_else(|| "a channel".to_owned());
    let ok = got == "bad_proof";
    stage.check(from, "a channel for that envelope, asked for with the thief's key", "bad_proof", got, ok);
    Ok(())
}
