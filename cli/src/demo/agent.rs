//! The story's agent: a real MCP client that knows an edge's address, its envelope and the key to it, and nothing else.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::HeaderName;
use remit_common::envelope::ENVELOPE_HEADER;
use remit_common::net::env::deadline;
use rmcp::model::{CallToolRequestParams, CallToolResult, ClientConfig, ErrorData, ProtocolVersion};
use rmcp::service::{ClientInitializeError, RunningService, ServiceError};
use rmcp::transport::streamable_http_client::{
    AuthRequiredError, StreamableHttpClientTransportConfig, StreamableHttpError,
};
use rmcp::transport::{DynamicTransportError, StreamableHttpClientTransport};
use rmcp::{ClientLifecycleMode, ClientServiceExt as _, RoleClient};
use serde::Serialize;
use serde_json::{Map, Value};

use super::proving::Proving;

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

/// One agent at one edge.
pub(crate) struct Agent {
    client: RunningService<RoleClient, ClientConfig>,
    transcript: Transcript,
}

impl Agent {
    /// Meets the edge: `server/discover` with the envelope in its header.
    pub(crate) async fn connect(proving: Proving, edge: &str, transcript: &Transcript) -> Result<Self, Outcome> {
        let mut config = StreamableHttpClientTransportConfig::with_uri(format!("{edge}/mcp"));
        let envelope = proving.prover.presentation().clone();
        config.custom_headers = HashMap::from([(HeaderName::from_static(ENVELOPE_HEADER), envelope)]);
        let transport = StreamableHttpClientTransport::with_client(proving, config);
        let mode = ClientLifecycleMode::Discover { preferred_versions: vec![ProtocolVersion::V_2026_07_28] };
        let starting = Box::pin(ClientConfig::default().serve_with_lifecycle(transport, mode));
        let started = deadline(ANSWER, starting).await;
        match started {
            Ok(Ok(client)) => {
                transcript.note("met", &client.peer_info());
                Ok(Self { client, transcript: transcript.clone() })
            }
            Ok(Err(error)) => {
                transcript.note("not met", &error);
                Err(challenge_of(&error).unwrap_or_else(|| Outcome::Failed(error.to_string())))
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
            Err(error) => challenge_of(&error).unwrap_or_else(|| Outcome::Failed(error.to_string())),
        }
    }

    /// Says goodbye.
    pub(crate) async fn leave(self) {
        let _ = deadline(ANSWER, self.client.cancel()).await;
    }
}

fn outcome_of(result: CallToolResult) -> Outcome {
    if result.is_error == Some(true) {
        return Outcome::Failed(format!("the tool failed: {:?}", result.content));
    }
    Outcome::Result(result.structured_content.unwrap_or(Value::Null))
}

/// An envelope that does not stand is refused as HTTP 401: the reason is in the challenge, the rest of the answer does
/// not get through the client. The client's own layers wrap it several times, not all of them as a source.
fn challenge_of(error: &(dyn std::error::Error + 'static)) -> Option<Outcome> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(required) = error.downcast_ref::<AuthRequiredError>() {
            return Some(Outcome::Denied(reason_of(&required.www_authenticate_header)));
        }
        if let Some(wrapped) = error.downcast_ref::<DynamicTransportError>() {
            return challenge_of(wrapped.error.as_ref());
        }
        if let Some(ServiceError::TransportSend(wrapped)) = error.downcast_ref() {
            return challenge_of(wrapped.error.as_ref());
        }
        if let Some(ClientInitializeError::TransportError { error, .. }) = error.downcast_ref() {
            return challenge_of(error.error.as_ref());
        }
        if let Some(StreamableHttpError::<reqwest::Error>::AuthRequired(required)) = error.downcast_ref() {
            return Some(Outcome::Denied(reason_of(&required.www_authenticate_header)));
        }
        next = error.source();
    }
    None
}

fn reason_of(challenge: &str) -> Denial {
    let reason = challenge.split_once("error_description=\"").and_then(|(_, rest)| rest.split_once('"'));
    let reason = reason.map_or_else(|| "no_envelope".to_owned(), |(reason, _)| reason.to_owned());
    Denial { reason, dimension: None, hop: None, decision_id: None }
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
    fn the_reason_is_in_the_challenge() {
        let challenge = "Bearer realm=\"remit\", error=\"invalid_token\", error_description=\"revoked\"";
        let required = AuthRequiredError::new(challenge.to_owned());
        let error = StreamableHttpError::<reqwest::Error>::AuthRequired(required);
        let outcome = challenge_of(&error).expect("a challenge");
        assert_eq!(outcome.brief(), "revoked");
        assert_eq!(reason_of("Bearer realm=\"remit\"").reason, "no_envelope");
    }
}
