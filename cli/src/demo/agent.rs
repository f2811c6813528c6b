//! The story's agent: a real MCP client that talks to its sidecar, and knows nothing of envelopes, keys and edges.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use remit_common::net::env::deadline;
use rmcp::model::{CallToolRequestParams, CallToolResult, ClientConfig, ErrorData, ProtocolVersion};
use rmcp::service::{ClientInitializeError, RunningService, ServiceError};
use rmcp::{ClientLifecycleMode, ClientServiceExt as _, RoleClient};
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::process::Child;

/// For one answer; an edge itself gives a tool half a minute.
const ANSWER: Duration = Duration::from_secs(20);

/// What an agent sees of one call.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Outcome {
    /// The tool's result, as the edge passed it on.
    Result(Value),
    /// The edge said no.
    Denied(Denial),
    /// Anything else: no edge, no answer, another error.
    Failed(String),
}

/// What an agent is told about a refusal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Denial {
    pub(crate) reason: String,
    pub(crate) dimension: Option<String>,
    pub(crate) hop: Option<u64>,
    pub(crate) decision_id: Option<String>,
}

/// JSON-RPC's code for a refusal by policy.
const DENIED: i32 = -32_001;

/// Everything that agents were ever told. The demo searches it for the key that none of them may see.
#[derive(Debug, Clone, Default)]
pub(crate) struct Transcript(Arc<Mutex<Vec<u8>>>);

impl Transcript {
    fn note(&self, what: &str, seen: &impl std::fmt::Debug) {
        if let Ok(mut bytes) = self.0.lock() {
            bytes.extend_from_slice(format!("{what} {seen:?}\n").as_bytes());
        }
    }

    /// All of it.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.0.lock().map(|bytes| bytes.clone()).unwrap_or_default()
    }
}

/// One agent, with a sidecar at one edge.
pub(crate) struct Agent {
    client: RunningService<RoleClient, ClientConfig>,
    /// Ends with its input, and at the latest with this.
    sidecar: Child,
    transcript: Transcript,
}

impl Agent {
    /// Meets the edge: `server/discover`, through the sidecar.
    pub(crate) async fn connect(mut sidecar: Child, transcript: &Transcript) -> Result<Self, Outcome> {
        let (Some(from), Some(to)) = (sidecar.stdout.take(), sidecar.stdin.take()) else {
            return Err(Outcome::Failed("the sidecar cannot be talked to".to_owned()));
        };
        let mode = ClientLifecycleMode::Discover { preferred_versions: vec![ProtocolVersion::V_2026_07_28] };
        let starting = Box::pin(ClientConfig::default().serve_with_lifecycle((from, to), mode));
        let started = deadline(ANSWER, starting).await;
        match started {
            Ok(Ok(client)) => {
                transcript.note("met", &client.peer_info());
                Ok(Self { client, sidecar, transcript: transcript.clone() })
            }
            Ok(Err(error)) => {
                transcript.note("not met", &error);
                Err(match error {
                    ClientInitializeError::JsonRpcError(error) if error.code.0 == DENIED => denial_of(&error),
                    other => Outcome::Failed(other.to_string()),
                })
            }
            Err(passed) => Err(Outcome::Failed(passed.to_string())),
        }
    }

    /// The names of the tools that the edge lists.
    pub(crate) async fn tools(&self) -> Result<Vec<String>, String> {
        let listed = deadline(ANSWER, self.client.list_tools(None)).await.map_err(|passed| passed.to_string())?;
        self.transcript.note("tools", &listed);
        let tools = listed.map_err(|error| error.to_string())?.tools;
        let mut names: Vec<_> = tools.into_iter().map(|tool| tool.name.into_owned()).collect();
        names.sort();
        Ok(names)
    }

    /// Calls a tool.
    pub(crate) async fn call(&self, tool: &str, arguments: Value) -> Outcome {
        let arguments: Map<String, Value> = match arguments {
            Value::Object(members) => members,
            _ => Map::new(),
        };
        let params = CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments);
        let answer = match deadline(ANSWER, self.client.call_tool(params)).await {
            Ok(answer) => answer,
            Err(passed) => return Outcome::Failed(passed.to_string()),
        };
        self.transcript.note(tool, &answer);
        match answer {
            Ok(result) => outcome_of(result),
            Err(ServiceError::McpError(error)) if error.code.0 == DENIED => denial_of(&error),
            Err(error) => Outcome::Failed(error.to_string()),
        }
    }

    /// Says goodbye.
    pub(crate) async fn leave(mut self) {
        let _ = deadline(ANSWER, self.client.cancel()).await;
        let _ = deadline(ANSWER, self.sidecar.wait()).await;
    }
}

fn outcome_of(result: CallToolResult) -> Outcome {
    if result.is_error == Some(true) {
        return Outcome::Failed(format!("the tool failed: {:?}", result.content));
    }
    Outcome::Result(result.structured_content.unwrap_or(Value::Null))
}

fn denial_of(error: &ErrorData) -> Outcome {
    let text =
        |name: &str| error.data.as_ref().and_then(|data| data.get(name)).and_then(Value::as_str).map(str::to_owned);
    Outcome::Denied(Denial {
        reason: text("reason").unwrap_or_else(|| error.message.to_string()),
        dimension: text("dimension"),
        hop: error.data.as_ref().and_then(|data| data.get("hop")).and_then(Value::as_u64),
        decision_id: text("decision_id"),
    })
}

impl Outcome {
    /// For people, in a few words.
    pub(crate) fn brief(&self) -> String {
        match self {
            Self::Result(_) => "permitted".to_owned(),
            Self::Denied(denial) => match &denial.dimension {
                Some(dimension) => format!("{} ({dimension})", denial.reason),
                None => denial.reason.clone(),
            },
            Self::Failed(why) => format!("failed: {why}"),
        }
    }

    /// The decision's id, where the agent was told one.
    pub(crate) fn decision_id(&self) -> Option<String> {
        match self {
            Self::Denied(denial) => denial.decision_id.clone(),
            Self::Result(_) | Self::Failed(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denial_says_why_and_under_which_id() {
        let data =
            serde_json::json!({ "reason": "out_of_scope", "dimension": "contract", "hop": 0, "decision_id": "01" });
        let outcome = denial_of(&ErrorData::new(rmcp::model::ErrorCode(DENIED), "denied", Some(data)));
        assert_eq!(
            (outcome.brief().as_str(), outcome.decision_id().as_deref()),
            ("out_of_scope (contract)", Some("01"))
        );
    }
}
