//! Answers that take long: progress goes on to whoever asks for it, and a cut ends them at once. Clauses G-43 to G-45.

use std::time::Duration;

use http::{Request, Response};
use remit_common::net::http::{HttpClient, Pieces};
use remit_common::proof::Grade;
use remit_common::record::RecordKind;
use remit_common::revocation::CutKind;
use serde_json::{Value, json};

use crate::support::agent::{Agent, Bent};
use crate::support::scene::Scene;
use crate::support::upstream::{API_KEY, Answer};

fn contract() -> Value {
    json!({"customer_id": "cust_1042", "contract_id": "contract_7781"})
}

/// A call whose progress the agent wants to hear of.
async fn asked(maya: &Agent, tool: &str, arguments: Value) -> Bent {
    let mut bent = maya.request("tools/call", json!({"name": tool, "arguments": arguments}));
    let mut body: Value = serde_json::from_slice(&bent.body).unwrap();
    body["params"]["_meta"]["progressToken"] = json!("mine");
    bent.body = body.to_string().into_bytes();
    maya.proven(bent, Grade::P1).await
}

/// Sends it, and gives the answer's head and what of its body comes when.
async fn open(scene: &Scene, maya: &Agent, bent: &Bent) -> Response<Pieces> {
    let mut request = Request::post("/mcp").header("host", maya.addr.to_string());
    for (name, value) in &bent.headers {
        request = request.header(*name, value);
    }
    let client = HttpClient::new(&scene.world.env, 16 << 20);
    let connected = client.connect(maya.addr, Duration::from_secs(60)).await.unwrap();
    connected.open(request.body(bent.body.clone().into()).unwrap()).await.unwrap()
}

/// The next event of a stream; `None` at its end.
async fn next(pieces: &mut Pieces) -> Option<Value> {
    let mut event = pieces.piece().await.unwrap()?.to_vec();
    while !event.ends_with(b"\n\n") {
        event.extend_from_slice(&pieces.piece().await.unwrap().expect("the rest of the event"));
    }
    let text = String::from_utf8(event).unwrap();
    let data = text.strip_prefix("data: ").unwrap().strip_suffix("\n\n").unwrap();
    Some(serde_json::from_str(data).unwrap())
}

async fn outcomes(scene: &Scene) -> Vec<String> {
    scene.until("every record is with a majority", |status| status["spool"]["records"] == 0).await;
    let mut all = std::collections::BTreeMap::new();
    for voter in &scene.voters {
        voter.heard(|heard| all.extend(heard.records.clone()));
    }
    let of_kind = all.into_values().filter(|record| record.public().kind == RecordKind::Outcome);
    of_kind.map(|record| record.public().reason.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_goes_on_in_numbers_and_the_filtered_result_comes_last() {
    let scene = Scene::new().await;
    scene.upstream.answers(Answer::Progress);
    let maya = scene.maya();
    let response = open(&scene, &maya, &asked(&maya, "contracts.read", contract()).await).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut pieces = response.into_body();
    let note = |done: u32| {
        json!({"jsonrpc": "2.0", "method": "notifications/progress",
            "params": {"progressToken": "mine", "progress": done, "total": 3}})
    };
    assert_eq!(next(&mut pieces).await, Some(note(1)), "while the tool works; its words stay behind");
    scene.upstream.release();
    assert_eq!(next(&mut pieces).await, Some(note(2)));
    scene.upstream.release();
    let last = next(&mut pieces).await.unwrap();
    assert_eq!(last["id"], 7);
    let shown = last["result"]["structuredContent"]["contracts"].as_array().unwrap();
    assert!(shown.len() == 25 && !last.to_string().contains("billing"), "{last}");
    assert!(pieces.piece().await.unwrap().is_none());
    assert_eq!(outcomes(&scene).await, ["released"]);
    scene.stop_edge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_does_not_ask_for_progress_gets_one_document() {
    let scene = Scene::new().await;
    scene.upstream.answers(Answer::Stream);
    let maya = scene.maya();
    let answered = maya.call("contracts.read", contract()).await;
    assert_eq!(answered.reason(), "permit");
    assert_eq!(answered.headers["content-type"], "application/json");
    let (_, body) = scene.upstream.seen().pop().unwrap();
    assert_eq!(body["params"]["_meta"].get("progressToken"), None);
    // Who asks and gets no word of it has one document, too; and a refusal is one.
    scene.upstream.answers(Answer::Json);
    let response = open(&scene, &maya, &asked(&maya, "contracts.read", contract()).await).await;
    assert_eq!(response.headers()["content-type"], "application/json");
    let other = json!({"customer_id": "cust_1042", "contract_id": "contract_1"});
    let response = open(&scene, &maya, &asked(&maya, "contracts.read", other).await).await;
    assert_eq!(response.headers()["content-type"], "application/json");
    scene.stop_edge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_during_a_streaming_response_cuts_it() {
    let scene = Scene::new().await;
    scene.upstream.answers(Answer::Progress);
    let maya = scene.maya();
    let mut pieces = open(&scene, &maya, &asked(&maya, "contracts.read", contract()).await).await.into_body();
    assert_eq!(next(&mut pieces).await.unwrap()["params"]["progress"], 1);
    scene.revoke(CutKind::Session, "session-1");
    // The tool is not done, and nobody lets it go on.
    let last = next(&mut pieces).await.unwrap();
    assert_eq!((last["id"].as_i64(), last["error"]["code"].as_i64()), (Some(7), Some(-32_001)), "{last}");
    assert_eq!(last["error"]["data"]["reason"], "revoked", "{last}");
    assert!(pieces.piece().await.unwrap().is_none(), "the stream ends");
    scene.upstream.hung_up().await;
    assert_eq!(outcomes(&scene).await, ["cut-meanwhile"]);
    scene.stop_edge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_ends_a_call_that_says_nothing_yet() {
    let scene = Scene::new().await;
    scene.upstream.answers(Answer::Held);
    let maya = scene.maya();
    let (answered, ()) = tokio::join!(maya.call("contracts.read", contract()), async {
        scene.upstream.arrived().await;
        scene.revoke(CutKind::Task, "task-1");
    });
    assert_eq!(answered.reason(), "revoked");
    scene.upstream.hung_up().await;
    assert_eq!(outcomes(&scene).await, ["cut-meanwhile"]);
    scene.stop_edge().await;
}

/// An answer that is longer than what a connection holds by itself waits for the agent to read; a cut finds it there.
#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_ends_a_long_answer_that_is_on_its_way() {
    ends_a_long_answer(CutKind::Session, "session-1").await;
}

/// Clause G-45: not only a cut of the envelope.
#[tokio::test(flavor = "multi_thread")]
async fn a_cut_of_the_tool_ends_a_long_answer_that_is_on_its_way() {
    ends_a_long_answer(CutKind::Tool, "plain.read").await;
}

async fn ends_a_long_answer(kind: CutKind, id: &str) {
    let scene = Scene::new().await;
    let long = "n".repeat(7 << 20);
    let result = json!({"content": [], "structuredContent": {"note": {"note_id": long}}});
    let body = json!({"jsonrpc": "2.0", "id": 1, "result": result}).to_string();
    scene.upstream.answers(Answer::Raw(200, "application/json", body));
    let maya = scene.maya();
    let bent = maya.request("tools/call", json!({"name": "plain.read", "arguments": {"customer_id": "cust_1042"}}));
    let proven = maya.proven(bent, Grade::P1).await;
    let mut whole = open(&scene, &maya, &proven).await.into_body();
    let mut length = 0;
    while let Some(piece) = whole.piece().await.unwrap() {
        length += piece.len();
    }
    assert!(length > 7 << 20, "{length}");
    let bent = maya.request("tools/call", json!({"name": "plain.read", "arguments": {"customer_id": "cust_1042"}}));
    let proven = maya.proven(bent, Grade::P1).await;
    let mut cut = open(&scene, &maya, &proven).await.into_body();
    assert!(cut.piece().await.unwrap().is_some());
    scene.revoke(kind, id);
    scene.until("the cut is enforced", |status| status["revocation_epoch"] == 1).await;
    let mut seen = 0;
    let ended = loop {
        match cut.piece().await {
            Ok(Some(piece)) => seen += piece.len(),
            other => break other,
        }
    };
    assert!(ended.is_err() && seen < length, "{ended:?} after {seen} of {length} bytes");
    scene.stop_edge().await;
}

/// A tool that gives its key away in a number is not passed on, not even in part.
#[tokio::test(flavor = "multi_thread")]
async fn progress_that_carries_the_key_ends_the_call() {
    let scene = Scene::new().await;
    let note = json!({"jsonrpc": "2.0", "method": "notifications/progress",
        "params": {"progressToken": 1, "progress": 1, "message": API_KEY}});
    scene.upstream.answers(Answer::Raw(200, "text/event-stream", format!("data: {note}\n\n")));
    let maya = scene.maya();
    let response = open(&scene, &maya, &asked(&maya, "contracts.read", contract()).await).await;
    assert_eq!(response.headers()["content-type"], "application/json");
    let body = response.into_body().piece().await.unwrap().unwrap();
    assert!(String::from_utf8(body.to_vec()).unwrap().contains("obligation_unmet"));
    assert_eq!(outcomes(&scene).await, ["credential-in-answer"]);
    scene.stop_edge().await;
}
