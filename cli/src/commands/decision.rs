//! `remit decision`: what was decided, by which rules, for operators.

mod explain;

use clap::Subcommand;
use remit_common::id::{DecisionId, TenantId};
use remit_control_plane::admin::model::Decisions;
use serde_json::{Value, json};

use crate::admin::{Admin, cause};
use crate::context::Context;
use crate::failure::{Exit, Failure};

/// Records of one page; the most that a voter gives.
const PAGE: usize = 200;
/// Bytes of one event of the stream: a record and its frame.
const EVENT_BYTES_MAX: usize = 256 * 1024;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  remit decision tail --follow
  remit decision show 01K8Z3V7M5J0Q4R9T2W6X8Y1AB
  remit decision explain 01K8Z3V7M5J0Q4R9T2W6X8Y1AB")]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// The newest decisions
    Tail {
        /// How many
        #[arg(short = 'n', default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=200))]
        lines: u16,
        /// Go on with what arrives; with --json, one document per line
        #[arg(short, long)]
        follow: bool,
    },
    /// One decision: who, what, why, by which rules
    Show {
        /// Its id, as the agent was told
        id: DecisionId,
    },
    /// Why, in words: the stage, the rules with their text, and what would have been needed
    Explain {
        /// Its id, as the agent was told
        id: DecisionId,
    },
}

pub(super) async fn run(args: &Args, context: &Context) -> Result<Exit, Failure> {
    match &args.verb {
        Verb::Tail { lines, follow } => tail(context, *lines, *follow).await,
        Verb::Show { id } => show(context, *id).await,
        Verb::Explain { id } => explain::run(context, *id).await,
    }
}

/// The records of one decision: the decision, and what came of it.
pub(crate) async fn fetch(admin: &Admin, tenant: &TenantId, id: &str) -> Result<Vec<Value>, Failure> {
    let found: Decisions = admin.get(&format!("/v1/decisions?tenant={tenant}&id={id}")).await?;
    Ok(found.decisions)
}

/// Every record of a tenant, in the order of decision ids.
pub(crate) async fn fetch_all(admin: &Admin, tenant: &TenantId) -> Result<Vec<Value>, Failure> {
    let mut all: Vec<Value> = Vec::new();
    let mut after = DecisionId::from_bytes([0; 16]).to_string();
    loop {
        let path = format!("/v1/decisions?tenant={tenant}&after={after}&limit={PAGE}");
        let mut page = admin.get::<Decisions>(&path).await?.decisions;
        let id_of = |record: &Value| record.get("decision_id").and_then(Value::as_str).unwrap_or_default().to_owned();
        let full = page.len() >= PAGE;
        let Some(last) = page.last().map(id_of) else { return Ok(all) };
        if full {
            // Decisions and their outcomes share an id, and a page may end between them: the last id comes again.
            let whole = page.iter().take_while(|record| id_of(record) != last).count();
            page.truncate(whole);
        }
        match page.last().map(id_of) {
            Some(last) => after = last,
            None => return Err(Failure::new(Exit::Failed, "one decision has more records than a page")),
        }
        all.append(&mut page);
        if !full {
            return Ok(all);
        }
    }
}

async fn tail(context: &Context, lines: u16, follow: bool) -> Result<Exit, Failure> {
    let mesh = context.mesh()?;
    let admin = Admin::new(context, &mesh)?;
    let found: Decisions = admin.get(&format!("/v1/decisions?tenant={}&limit={lines}", mesh.tenant)).await?;
    if !follow {
        context.output.document(&found);
        context.output.table(HEADER, found.decisions.iter().map(row));
        return Ok(Exit::Done);
    }
    let show = |record: &Value| {
        context.output.document(record);
        context.output.line(row(record).join("  "));
    };
    found.decisions.iter().for_each(show);
    let mut response = admin.stream(&format!("/v1/decisions/stream?tenant={}", mesh.tenant)).await?;
    let mut buffer = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) => buffer.extend_from_slice(&chunk),
            Ok(None) => return Ok(Exit::Done),
            Err(error) => {
                return Err(Failure::new(Exit::Unreachable, format!("the stream broke off: {}", cause(&error))));
            }
        }
        for data in take_events(&mut buffer) {
            if let Ok(record) = serde_json::from_str(&data) {
                show(&record);
            }
        }
        if buffer.len() > EVENT_BYTES_MAX {
            return Err(Failure::new(Exit::Failed, "an event of the stream is too long"));
        }
    }
}

/// Takes the data of every whole server-sent event off the buffer.
fn take_events(buffer: &mut Vec<u8>) -> Vec<String> {
    let mut events = Vec::new();
    while let Some(end) = buffer.windows(2).position(|two| two == b"\n\n") {
        let event: Vec<u8> = buffer.drain(..end + 2).collect();
        let text = String::from_utf8_lossy(&event);
        let data: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("data:")).map(str::trim_start).collect();
        if !data.is_empty() {
            events.push(data.join("\n"));
        }
    }
    events
}

const HEADER: [&str; 6] = ["time", "edge", "agent", "tool", "answer", "decision"];

fn text(record: &Value, path: &str) -> String {
    match record.pointer(path) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

fn row(record: &Value) -> [String; 6] {
    let agent = record.pointer("/input/agents").and_then(Value::as_array).and_then(|agents| agents.last());
    let agent = agent.and_then(Value::as_str).and_then(|id| id.rsplit('/').next()).map(str::to_owned);
    // Whoever has no envelope is no agent; an enforcement point said who it is.
    let kind = text(record, "/remit/kind");
    let reason = text(record, "/remit/reason");
    let answer = if kind == "decision" { reason } else { format!("{kind} {reason}") };
    [
        text(record, "/timestamp"),
        text(record, "/labels/edge"),
        agent.unwrap_or_else(|| text(record, "/input/subject")),
        text(record, "/input/tool"),
        answer,
        text(record, "/decision_id"),
    ]
}

async fn show(context: &Context, id: DecisionId) -> Result<Exit, Failure> {
    let mesh = context.mesh()?;
    let records = fetch(&Admin::new(context, &mesh)?, &mesh.tenant, &id.to_string()).await?;
    if records.is_empty() {
        return Err(Failure::new(Exit::Failed, format!("no voter has a record of decision {id}"))
            .hint("records arrive within a second while the control plane is up; later ones wait at their edge"));
    }
    context.output.document(&json!({ "records": records }));
    for record in &records {
        describe(context, record);
    }
    Ok(Exit::Done)
}

fn describe(context: &Context, record: &Value) {
    let output = &context.output;
    let kind = text(record, "/remit/kind");
    let reason = text(record, "/remit/reason");
    let colour = if reason == "permit" { output.good(&reason) } else { output.bad(&reason) };
    output.line(format!("{} {colour}", output.strong(&kind)));
    let list = |path: &str| {
        let items = record.pointer(path).and_then(Value::as_array);
        items.map(|items| items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")).unwrap_or_default()
    };
    let lines = [
        ("when", format!("{} at {}", text(record, "/timestamp"), text(record, "/labels/edge"))),
        ("asked by", text(record, "/remit/asked_by")),
        ("subject", text(record, "/input/subject")),
        ("on behalf", text(record, "/input/delegator")),
        ("session", text(record, "/input/session")),
        ("task", text(record, "/input/task")),
        ("purpose", text(record, "/input/purpose")),
        ("agents", list("/input/agents")),
        ("tool", text(record, "/input/tool")),
        ("resources", list("/input/resources")),
        ("ids", text(record, "/input/ids")),
        ("rules", list("/remit/policies")),
        ("stage", text(record, "/remit/stage")),
        ("dimension", text(record, "/remit/dimension")),
        ("at link", text(record, "/remit/hop")),
        ("note", text(record, "/remit/note")),
        ("grant", text(record, "/remit/grant")),
        ("released", text(record, "/remit/released")),
        ("credential", text(record, "/remit/credential")),
        ("bundle", text(record, "/remit/manifest")),
        ("epoch", text(record, "/remit/epoch")),
        ("view's age", text(record, "/remit/age_millis")),
        ("record", format!("{} of boot {}", text(record, "/remit/seq"), text(record, "/remit/boot"))),
        ("hash", text(record, "/remit/hash")),
    ];
    for (name, value) in lines.into_iter().filter(|(_, value)| !value.is_empty()) {
        output.line(format!("  {name:<11} {value}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_taken_off_whole() {
        let mut buffer = b"event: decision\ndata: {\"a\":1}\n\n:keep-alive\n\ndata: {\"b\"".to_vec();
        assert_eq!(take_events(&mut buffer), ["{\"a\":1}"]);
        assert_eq!(buffer, b"data: {\"b\"");
        buffer.extend_from_slice(b":2}\n\n");
        assert_eq!(take_events(&mut buffer), ["{\"b\":2}"]);
        assert!(buffer.is_empty());
    }

    #[test]
    fn a_row_names_the_agent_that_acts() {
        let record = json!({
            "timestamp": "t", "labels": { "edge": "eu-west-1" }, "decision_id": "01",
            "input": { "agents": ["spiffe://a/agent/one", "spiffe://a/agent/two"], "tool": "contracts.read" },
            "remit": { "kind": "decision", "reason": "permit" },
        });
        assert_eq!(row(&record), ["t", "eu-west-1", "two", "contracts.read", "permit", "01"]);
    }
}
