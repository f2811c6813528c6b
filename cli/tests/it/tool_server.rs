//! The tool server of the story answers who has the key, and nobody else.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use remit_common::crypto::digest::Digest;
use remit_common::net::env::Env;
use remit_common::net::http::HttpClient;
use remit_common::net::real::real;
use serde_json::{Value, json};

use crate::process::Running;

const KEY: &str = "ak_live_test";
const WITHIN: Duration = Duration::from_secs(20);

struct Server {
    addr: SocketAddr,
    client: HttpClient,
    _folder: tempfile::TempDir,
    _running: Running,
}

async fn start(env: &Env) -> Server {
    let folder = tempfile::tempdir().unwrap();
    let tools = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/contract-renewal/tools.json");
    let data = env.disk.read(&tools, 1 << 20).unwrap().unwrap();
    env.disk.replace(&folder.path().join("tools.json"), &data).unwrap();
    let hash = Digest::of(&[KEY.as_bytes()]).to_string();
    env.disk.replace(&folder.path().join("key.sha256"), hash.as_bytes()).unwrap();
    // A port that was free a moment ago.
    let addr = env.socket.listen("127.0.0.1:0".parse().unwrap()).unwrap().local_addr();
    let args = ["tool-server", "--listen", &addr.to_string(), "--data", "tools.json", "--key-sha256", "key.sha256"];
    let running = Running::start(folder.path(), &args);
    let client = HttpClient::new(env, 1 << 20);
    loop {
        let request = Request::get("/livez").header("host", addr.to_string()).body(Bytes::new()).unwrap();
        if client.send(addr, request, WITHIN).await.is_ok() {
            return Server { addr, client, _folder: folder, _running: running };
        }
        tokio::task::yield_now().await;
    }
}

impl Server {
    async fn post(&self, authorization: &[&str], method: &str, params: Value) -> (StatusCode, Value) {
        let mut params = params;
        params["_meta"] = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "0" },
            "io.modelcontextprotocol/clientCapabilities": {},
        });
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let mut request = Request::post("/mcp")
            .header("host", self.addr.to_string())
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", "2026-07-28")
            .header("mcp-method", method);
        if let Some(name) = params["name"].as_str() {
            request = request.header("mcp-name", name);
        }
        for value in authorization {
            request = request.header("authorization", *value);
        }
        let request = request.body(Bytes::from(body.to_string())).unwrap();
        let response = self.client.send(self.addr, request, WITHIN).await.unwrap();
        (response.status(), serde_json::from_slice(response.body()).unwrap_or_default())
    }
}

fn call(tool: &str, arguments: Value) -> Value {
    json!({ "name": tool, "arguments": arguments })
}

#[tokio::test]
async fn nobody_gets_in_without_the_key() {
    let server = start(&real()).await;
    let read = || call("contracts.read", json!({ "customer_id": "cust_acme_1042", "contract_id": "contract_7781" }));
    let right = format!("Bearer {KEY}");
    for wrong in [&[][..], &["Bearer ak_live_tesx"], &["Bearer "], &["Basic ak_live_test"], &[&right, &right]] {
        let (status, _) = server.post(wrong, "tools/call", read()).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{wrong:?}");
    }
    let (status, answer) = server.post(&[&right], "tools/call", read()).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let rows = answer["result"]["structuredContent"]["contracts"].as_array().unwrap();
    assert_eq!(rows.len(), 40, "more rows than the story's envelope allows");
    assert!(rows.iter().all(|row| row["billing"].is_object()), "more fields than the story's envelope allows");
}

#[tokio::test]
async fn it_is_a_stateless_mcp_server_with_six_tools() {
    let server = start(&real()).await;
    let right = format!("Bearer {KEY}");
    let (status, answer) = server.post(&[&right], "server/discover", json!({})).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert!(answer["result"]["supportedVersions"].to_string().contains("2026-07-28"), "{answer}");
    let (_, answer) = server.post(&[&right], "tools/list", json!({})).await;
    let mut names: Vec<_> =
        answer["result"]["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        ["billing.update", "contracts.export", "contracts.read", "crm.read", "renewals.propose", "tickets.create"]
    );
}

#[tokio::test]
async fn a_ticket_is_in_the_books_when_it_is_answered() {
    let server = start(&real()).await;
    let right = format!("Bearer {KEY}");
    let wanted = json!({ "customer_id": "cust_acme_1042", "title": "t", "body": "b" });
    let (_, answer) = server.post(&[&right], "tools/call", call("tickets.create", wanted)).await;
    assert_eq!(answer["result"]["structuredContent"]["ticket"]["ticket_id"], "tick_0001", "{answer}");
    let books = real().disk.read(&server._folder.path().join("tools.json"), 1 << 20).unwrap().unwrap();
    let books: Value = serde_json::from_slice(&books).unwrap();
    assert_eq!(books["tickets"][0]["title"], "t");
}
