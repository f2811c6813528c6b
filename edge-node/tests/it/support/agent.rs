//! An agent: plain HTTP, one request at a time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use http::{HeaderMap, Request, StatusCode};
use remit_common::crypto::sign::SigningKey;
use remit_common::envelope::{RawPresentation, leaf_holder};
use remit_common::id::EdgeId;
use remit_common::net::env::Env;
use remit_common::net::http::{HttpClient, HttpFailed};
use remit_common::net::https::ClientTls;
use remit_common::net::prover::{NotProven, Outgoing, Prover};
use remit_common::net::registrar::{CannotRegister, Registration};
use remit_common::proof::{EdgeKey, Exchange, Grade, Target};
use remit_common::text;
use serde_json::{Value, json};

use super::keys::{self, MESH};

/// A client of one edge.
pub(crate) struct Agent {
    client: HttpClient,
    pub(crate) addr: SocketAddr,
    envelope: Option<String>,
    /// Proves what is sent, when the envelope is one of a holder that the tests know.
    prover: Option<Prover>,
}

/// What came back.
#[derive(Debug, Clone)]
pub(crate) struct Answered {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    pub(crate) json: Value,
}

impl Answered {
    /// The reason of a denial; `permit` when there is a result.
    pub(crate) fn reason(&self) -> String {
        if self.json.get("result").is_some() {
            return "permit".to_owned();
        }
        self.json["error"]["data"]["reason"].as_str().unwrap_or("none").to_owned()
    }

    pub(crate) fn decision(&self) -> String {
        self.headers["remit-decision"].to_str().unwrap().to_owned()
    }
}

/// A request to `/mcp` as a test can bend it.
pub(crate) struct Bent {
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) method: &'static str,
}

impl Agent {
    pub(crate) fn new(env: &Env, addr: SocketAddr, envelope: Option<&[u8]>) -> Self {
        Self::at(env, addr, envelope, (keys::edge_id(), keys::EDGE))
    }

    /// A client of this edge.
    pub(crate) fn at(env: &Env, addr: SocketAddr, envelope: Option<&[u8]>, (edge, seed): (EdgeId, u8)) -> Self {
        let prover = envelope.and_then(|envelope| {
            let edge = EdgeKey { mesh: MESH, edge, key: *keys::key(seed).public() };
            Prover::new(env, edge, Arc::new(holder_of(envelope)?), envelope)
        });
        Self { client: HttpClient::new(env, 16 << 20), addr, envelope: envelope.map(text::base64url), prover }
    }

    /// The same, showing this identity when it opens a channel.
    pub(crate) fn showing(self, svid: Vec<u8>) -> Self {
        Self { prover: self.prover.map(|prover| prover.showing(svid)), ..self }
    }

    /// Who has copied the envelope, and not its key.
    pub(crate) fn thief(env: &Env, addr: SocketAddr, envelope: &[u8]) -> Self {
        Self { prover: None, ..Self::new(env, addr, Some(envelope)) }
    }

    /// The same agent, over TLS.
    pub(crate) fn over(self, env: &Env, tls: ClientTls) -> Self {
        Self { client: HttpClient::with_tls(env, 16 << 20, tls), ..self }
    }

    /// A well-formed request.
    pub(crate) fn request(&self, method: &str, params: Value) -> Bent {
        let mut params = params;
        params["_meta"] = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
            "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "0"},
        });
        let mut headers = vec![
            ("content-type", "application/json".to_owned()),
            ("accept", "application/json, text/event-stream".to_owned()),
            ("mcp-protocol-version", "2026-07-28".to_owned()),
            ("mcp-method", method.to_owned()),
        ];
        if let Some(name) = params.get("name").and_then(Value::as_str) {
            headers.push(("mcp-name", name.to_owned()));
        }
        if let Some(envelope) = &self.envelope {
            headers.push(("remit-envelope", envelope.clone()));
        }
        let body = json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params});
        Bent { headers, body: body.to_string().into_bytes(), method: "POST" }
    }

    /// Sends it, with a proof when there is a key and nothing about the carrier is bent.
    pub(crate) async fn send(&self, bent: Bent) -> Answered {
        let is_ticket = bent.headers.iter().any(|(name, value)| *name == "mcp-name" && value == "tickets.create");
        self.send_from(if is_ticket { Grade::P2 } else { Grade::P1 }, bent).await
    }

    /// The same, beginning with this grade.
    async fn send_from(&self, grade: Grade, bent: Bent) -> Answered {
        self.try_send_from(grade, bent).await.unwrap_or_else(|failed| panic!("{failed:?}"))
    }

    /// The same where a cut may break the answer off on its way (clause G-45).
    async fn try_send_from(&self, grade: Grade, bent: Bent) -> Result<Answered, NotProven> {
        let carriers =
            |(name, _): &&(&'static str, String)| ["remit-envelope", "authorization", "remit-proof"].contains(name);
        let carried: Vec<_> = bent.headers.iter().filter(carriers).collect();
        let is_plain = matches!(carried.as_slice(), [("remit-envelope", own)] if Some(own) == self.envelope.as_ref());
        let Some(prover) = self.prover.as_ref().filter(|_| is_plain) else { return Ok(self.send_bare(bent).await) };
        let body: Value = serde_json::from_slice(&bent.body).unwrap_or_default();
        let name = body["params"]["name"].as_str().unwrap_or_default().to_owned();
        let outgoing = Outgoing {
            to: self.addr,
            method: body["method"].as_str().unwrap_or_default().to_owned(),
            grade,
            name,
            request: self.bare(&bent),
        };
        match prover.send(&self.client, &outgoing, Duration::from_secs(60)).await {
            Ok(response) => Ok(answered(response)),
            Err(NotProven::Refused(response)) => Ok(answered(*response)),
            Err(other) => Err(other),
        }
    }

    /// With a proof of this grade, and whatever is sent of it can be bent afterwards.
    pub(crate) async fn proven(&self, mut bent: Bent, grade: Grade) -> Bent {
        let body: Value = serde_json::from_slice(&bent.body).unwrap();
        let method = body["method"].as_str().unwrap();
        let name = body["params"]["name"].as_str().unwrap_or_default();
        let exchange =
            Exchange { target: Target::Mcp { method, name, definition: None }, body: &bent.body, idempotency_key: b"" };
        let prover = self.prover.as_ref().unwrap();
        let proof = prover.prove(&self.client, self.addr, &exchange, grade, Duration::from_secs(60)).await.unwrap();
        bent.headers.push(("remit-proof", proof.to_str().unwrap().to_owned()));
        bent
    }

    /// A request that is no MCP, with a proof of this grade; a body is JSON.
    pub(crate) async fn plain(&self, grade: Grade, method: &str, path: &str, body: Option<Vec<u8>>) -> Answered {
        self.exchange(self.plain_request(grade, method, path, body).await).await
    }

    /// The same, not sent.
    pub(crate) async fn plain_request(
        &self,
        grade: Grade,
        method: &str,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Request<Bytes> {
        let content_type = if body.is_some() { "application/json" } else { "" };
        let body = body.unwrap_or_default();
        let (way, query) = path.split_once('?').unwrap_or((path, ""));
        let exchange = Exchange {
            target: Target::Http { method, path: way, query, content_type },
            body: &body,
            idempotency_key: b"",
        };
        let prover = self.prover.as_ref().unwrap();
        let proof = prover.prove(&self.client, self.addr, &exchange, grade, Duration::from_secs(60)).await.unwrap();
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", self.addr.to_string())
            .header("remit-envelope", self.envelope.as_deref().unwrap())
            .header("remit-proof", proof);
        if !content_type.is_empty() {
            request = request.header("content-type", content_type);
        }
        request.body(Bytes::from(body)).unwrap()
    }

    /// Asks for a channel with this body.
    pub(crate) async fn ask_channel(&self, body: &[u8]) -> Answered {
        let request = Request::post("/v1/channels")
            .header("host", self.addr.to_string())
            .header("content-type", "application/cbor")
            .header("remit-envelope", self.envelope.as_deref().unwrap())
            .body(Bytes::copy_from_slice(body))
            .unwrap();
        self.exchange(request).await
    }

    /// A request to register this child, with a proof of this grade.
    pub(crate) async fn registration(&self, child: &[u8], grade: Grade) -> Request<Bytes> {
        let content_type = "application/cbor";
        let target = Target::Http { method: "POST", path: "/v1/delegations", query: "", content_type };
        let exchange = Exchange { target, body: child, idempotency_key: b"" };
        let prover = self.prover.as_ref().unwrap();
        let proof = prover.prove(&self.client, self.addr, &exchange, grade, Duration::from_secs(60)).await.unwrap();
        Request::post("/v1/delegations")
            .header("host", self.addr.to_string())
            .header("content-type", content_type)
            .header("remit-proof", proof)
            .body(Bytes::copy_from_slice(child))
            .unwrap()
    }

    /// Registers a child, as the parent's holder.
    pub(crate) async fn register(&self, child: &[u8]) -> Result<Registration, CannotRegister> {
        self.prover.as_ref().unwrap().register(&self.client, self.addr, child, Duration::from_secs(60)).await
    }

    /// Sends it as it is.
    pub(crate) async fn send_bare(&self, bent: Bent) -> Answered {
        self.exchange(self.bare(&bent)).await
    }

    fn bare(&self, bent: &Bent) -> Request<Bytes> {
        let mut request = Request::builder().method(bent.method).uri("/mcp").header("host", self.addr.to_string());
        for (name, value) in &bent.headers {
            request = request.header(*name, value);
        }
        request.body(Bytes::from(bent.body.clone())).unwrap()
    }

    pub(crate) async fn exchange(&self, request: Request<Bytes>) -> Answered {
        answered(self.client.send(self.addr, request, Duration::from_secs(60)).await.unwrap())
    }

    /// Whether any answer comes at all.
    pub(crate) async fn try_list(&self) -> Result<Answered, HttpFailed> {
        let request = self.bare(&self.request("tools/list", json!({})));
        self.client.send(self.addr, request, Duration::from_secs(60)).await.map(answered)
    }

    pub(crate) async fn call(&self, tool: &str, arguments: Value) -> Answered {
        self.send(self.request("tools/call", json!({"name": tool, "arguments": arguments}))).await
    }

    /// Calls until the reason of the denial is `reason`. A cut that arrives meanwhile may break an answer off on its way
    /// (clause G-45); then it is asked again.
    pub(crate) async fn until_refused(&self, reason: &str, tool: &str, arguments: Value) {
        super::eventually(reason, || async {
            let call = self.request("tools/call", json!({"name": tool, "arguments": arguments}));
            let answered = match self.try_send_from(Grade::P1, call).await {
                Err(NotProven::Http(HttpFailed::Broken(_))) => return None,
                other => other.unwrap(),
            };
            (answered.reason() == reason).then_some(())
        })
        .await;
    }

    pub(crate) async fn call_from(&self, grade: Grade, tool: &str, arguments: Value) -> Answered {
        self.send_from(grade, self.request("tools/call", json!({"name": tool, "arguments": arguments}))).await
    }

    pub(crate) async fn list(&self) -> Answered {
        self.send(self.request("tools/list", json!({}))).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answered {
        self.try_get(path).await.unwrap()
    }

    /// The same where nobody may listen.
    pub(crate) async fn try_get(&self, path: &str) -> Result<Answered, HttpFailed> {
        let request = Request::builder().uri(path).header("host", self.addr.to_string()).body(Bytes::new()).unwrap();
        self.client.send(self.addr, request, Duration::from_secs(60)).await.map(answered)
    }
}

/// The holder among the keys of the tests.
fn holder_of(envelope: &[u8]) -> Option<SigningKey> {
    let holder = leaf_holder(&RawPresentation::parse(envelope).ok()?)?;
    [keys::HOLDER, keys::CHILD, keys::SIBLING, keys::GRANDCHILD]
        .into_iter()
        .map(keys::key)
        .find(|key| *key.public() == holder)
}

fn answered(response: http::Response<Bytes>) -> Answered {
    let (parts, body) = response.into_parts();
    let json: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    // A refusal of a channel reads like one of a call.
    let json = if json.get("reason").is_some() { json!({"error": {"code": -32001, "data": json}}) } else { json };
    Answered { status: parts.status, headers: parts.headers, body: body.to_vec(), json }
}
