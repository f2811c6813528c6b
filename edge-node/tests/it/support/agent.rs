//! An agent: plain HTTP, one request at a time.

use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Bytes;
use http::{HeaderMap, Request, StatusCode};
use remit_common::net::env::Env;
use remit_common::net::http::HttpClient;
use remit_common::text;
use serde_json::{Value, json};

/// A client of one edge.
pub(crate) struct Agent {
    client: HttpClient,
    pub(crate) addr: SocketAddr,
    envelope: Option<String>,
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
        Self { client: HttpClient::new(env, 16 << 20), addr, envelope: envelope.map(text::base64url) }
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

    pub(crate) async fn send(&self, bent: Bent) -> Answered {
        let mut request = Request::builder().method(bent.method).uri("/mcp").header("host", self.addr.to_string());
        for (name, value) in &bent.headers {
            request = request.header(*name, value);
        }
        let request = request.body(Bytes::from(bent.body)).unwrap();
        self.exchange(request).await
    }

    async fn exchange(&self, request: Request<Bytes>) -> Answered {
        let response = self.client.send(self.addr, request, Duration::from_secs(60)).await.unwrap();
        let (parts, body) = response.into_parts();
        let json = serde_json::from_slice(&body).unwrap_or(Value::Null);
        Answered { status: parts.status, headers: parts.headers, body: body.to_vec(), json }
    }

    pub(crate) async fn call(&self, tool: &str, arguments: Value) -> Answered {
        self.send(self.request("tools/call", json!({"name": tool, "arguments": arguments}))).await
    }

    pub(crate) async fn list(&self) -> Answered {
        self.send(self.request("tools/list", json!({}))).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answered {
        let request = Request::builder().uri(path).header("host", self.addr.to_string()).body(Bytes::new()).unwrap();
        self.exchange(request).await
    }
}
