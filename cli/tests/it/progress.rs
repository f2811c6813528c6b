//! Progress of a tool, through a real edge and the sidecar, to an agent that asks for it. Clause G-81.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use remit_common::net::http::HttpClient;
use remit_common::net::real::real;
use remit_common::net::sse;
use serde_json::{Value, json};

use crate::agent::{Listening, Scene, rows, stateless};
use crate::mesh::read_7781;

fn call(id: i64, params: Value) -> String {
    json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params }).to_string()
}

fn params(token: &Value) -> Value {
    json!({ "name": "contracts.read", "arguments": read_7781(), "_meta": { "progressToken": token } })
}

/// Notes under this token, each further than the one before, and the answer last.
fn check(messages: &[Value], id: i64, token: &Value) {
    let (answer, notes) = messages.split_last().unwrap();
    assert_eq!((&answer["id"], rows(answer)), (&json!(id), 25), "{answer}");
    assert!(!notes.is_empty(), "nothing was told");
    let mut before = 0.0;
    for note in notes {
        let told = &note["params"];
        assert_eq!((&note["method"], &told["progressToken"]), (&json!("notifications/progress"), token), "{note}");
        let (done, all) = (told["progress"].as_f64().unwrap(), told["total"].as_f64().unwrap());
        assert!(before < done && done <= all && told.get("message").is_none() && note.get("id").is_none(), "{note}");
        before = done;
    }
}

#[tokio::test]
async fn who_asks_for_progress_is_told_and_who_does_not_gets_one_document() {
    let scene = Scene::new();
    on_standard_output(&scene);
    over_http(&scene).await;
}

fn on_standard_output(scene: &Scene) {
    let mut talk = scene.talk(&[&scene.edges[0]]);
    let mut modern = stateless(params(&json!(9)));
    modern["_meta"]["progressToken"] = json!(9);
    for (id, token, params) in [(100, json!("mine"), params(&json!("mine"))), (101, json!(9), modern)] {
        talk.say(&call(id, params));
        let mut heard = vec![talk.hear()];
        while heard.last().unwrap().get("id").is_none() {
            heard.push(talk.hear());
        }
        check(&heard, id, &token);
    }
    // Who does not ask hears the answer first, and nothing else.
    let answer = talk.call("contracts.read", read_7781());
    assert_eq!(rows(&answer), 25);
    assert_eq!(talk.end(), "");
}

async fn over_http(scene: &Scene) {
    let sidecar = Listening::start(scene, &["--listen", "127.0.0.1:0"]);
    let url = sidecar.first["url"].as_str().unwrap();
    let addr: SocketAddr = url.trim_start_matches("http://").trim_end_matches("/mcp").parse().unwrap();
    let bearer = format!("Bearer {}", sidecar.first["secret"].as_str().unwrap());
    let client = HttpClient::new(&real(), 1 << 24);
    let send = async |accept: &str, body: String| {
        let request = Request::post("/mcp")
            .header("host", addr.to_string())
            .header("content-type", "application/json")
            .header("authorization", &bearer)
            .header("accept", accept);
        let request = request.body(Bytes::from(body)).unwrap();
        let response = client.send(addr, request, Duration::from_secs(60)).await.unwrap();
        (response.headers()["content-type"].to_str().unwrap().to_owned(), response.into_body())
    };
    let both = "application/json, text/event-stream";
    let token = json!("über http");
    let (kind, body) = send(both, call(1, params(&token))).await;
    assert_eq!(kind, "text/event-stream");
    let messages = sse::messages(&body);
    let messages: Vec<Value> = messages.iter().map(|event| serde_json::from_slice(event).unwrap()).collect();
    check(&messages, 1, &token);
    // A client that reads no events, one that does not ask, and a refusal: one document.
    let mut unasked = params(&token);
    unasked["_meta"] = json!({});
    let mut refused = params(&token);
    refused["name"] = json!("billing.update");
    for (accept, params, reads) in [("application/json", params(&token), 25), (both, unasked, 25), (both, refused, 0)] {
        let (kind, body) = send(accept, call(2, params)).await;
        let answer: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((kind.as_str(), rows(&answer)), ("application/json", reads), "{answer}");
    }
    sidecar.end();
}
