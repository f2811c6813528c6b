//! An MCP client's HTTP, with a proof on every request that the envelope in it is the caller's own.

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::BoxStream;
use http::header::{HeaderName, HeaderValue, WWW_AUTHENTICATE};
use remit_common::net::http::HttpClient;
use remit_common::net::prover::{NotProven, Prover};
use remit_common::proof::{Exchange, Grade, PROOF_HEADER, Target};
use rmcp::model::ClientJsonRpcMessage;
use rmcp::transport::streamable_http_client::{
    AuthRequiredError, SseError, StreamableHttpClient, StreamableHttpError, StreamableHttpPostResponse,
};
use serde_json::Value;
use sse_stream::Sse;

/// For the answer to a request for a channel.
const OPENS_WITHIN: Duration = Duration::from_secs(10);
/// As it is, over a new channel, and with more proof.
const TRIES_MAX: u32 = 3;

type Failed = StreamableHttpError<reqwest::Error>;

/// A client of one edge with one envelope.
#[derive(Clone)]
pub(crate) struct Proving {
    pub(crate) http: reqwest::Client,
    pub(crate) channels: HttpClient,
    pub(crate) to: SocketAddr,
    pub(crate) prover: Arc<Prover>,
}

impl Proving {
    async fn prove(&self, message: &ClientJsonRpcMessage, body: &[u8]) -> Result<(String, HeaderValue), Failed> {
        let message: Value = serde_json::to_value(message)?;
        let text = |pointer: &str| message.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let method = text("/method");
        let name = Some(text("/params/name")).filter(|name| !name.is_empty()).unwrap_or_else(|| text("/params/uri"));
        let target = Target::Mcp { method: &method, name: &name, definition: None };
        let exchange = Exchange { target, body, idempotency_key: b"" };
        let grade = self.prover.grade_of(&name, Grade::P1);
        let proven = self.prover.prove(&self.channels, self.to, &exchange, grade, OPENS_WITHIN).await;
        proven.map(|proof| (name, proof)).map_err(refused)
    }
}

/// A channel that is refused is refused for what is wrong with the envelope, and read like any such refusal.
fn refused(not: NotProven) -> Failed {
    let challenge = match &not {
        NotProven::Refused(response) => response.headers().get(WWW_AUTHENTICATE).and_then(|value| value.to_str().ok()),
        NotProven::CannotOpen(_) | NotProven::Http(_) => None,
    };
    match challenge {
        Some(challenge) => Failed::AuthRequired(AuthRequiredError::new(challenge.to_owned())),
        None => Failed::UnexpectedServerResponse(Cow::from(not.to_string())),
    }
}

impl StreamableHttpClient for Proving {
    type Error = reqwest::Error;

    async fn post_message(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session_id: Option<Arc<str>>,
        auth_header: Option<String>,
        custom_headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<StreamableHttpPostResponse, Failed> {
        // What the client below makes of the message, byte for byte: the same function of the same value.
        let body = serde_json::to_vec(&message)?;
        let mut tries = 1;
        loop {
            let (name, proof) = self.prove(&message, &body).await?;
            let mut headers = custom_headers.clone();
            headers.insert(HeaderName::from_static(PROOF_HEADER), proof);
            let (uri, message) = (Arc::clone(&uri), message.clone());
            let posted = self.http.post_message(uri, message, session_id.clone(), auth_header.clone(), headers).await;
            match posted {
                Err(Failed::AuthRequired(required))
                    if tries < TRIES_MAX && self.prover.heed(&name, &required.www_authenticate_header) =>
                {
                    tries += 1;
                }
                other => return other,
            }
        }
    }

    async fn delete_session(
        &self,
        uri: Arc<str>,
        session_id: Arc<str>,
        auth_header: Option<String>,
        custom_headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<(), Failed> {
        self.http.delete_session(uri, session_id, auth_header, custom_headers).await
    }

    async fn get_stream(
        &self,
        uri: Arc<str>,
        session_id: Option<Arc<str>>,
        last_event_id: Option<String>,
        auth_header: Option<String>,
        custom_headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<BoxStream<'static, Result<Sse, SseError>>, Failed> {
        self.http.get_stream(uri, session_id, last_event_id, auth_header, custom_headers).await
    }
}
