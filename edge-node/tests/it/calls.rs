//! What a call comes to: permits, filtering, and every reason for which it is refused.

use std::time::Duration;

use http::StatusCode;
use remit_common::revocation::CutKind;
use remit_common::text;
use serde_json::{Value, json};

use crate::support::keys::{self, ISSUERS, STRANGER};
use crate::support::logs;
use crate::support::scene::{Scene, TASK};
use crate::support::upstream::{API_KEY, Answer, Spelling};

fn contract() -> Value {
    json!({"customer_id": "cust_1042", "contract_id": "contract_7781"})
}

fn customer() -> Value {
    json!({"customer_id": "cust_1042"})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permitted_read_is_made_with_the_key_and_cut_to_what_the_grant_allows() {
    let scene = Scene::new().await;
    let maya = scene.maya();
    for answer in [Answer::Json, Answer::Stream] {
        scene.upstream.answers(answer);
        let answered = maya.call("contracts.read", contract()).await;
        assert_eq!((answered.status, answered.reason().as_str()), (StatusCode::OK, "permit"), "{answered:?}");
        let result = &answered.json["result"];
        assert_eq!(answered.json["id"], 7);
        assert_eq!(result["resultType"], "complete");
        let rows = result["structuredContent"]["contracts"].as_array().unwrap();
        assert_eq!(rows.len(), 25);
        assert_eq!(
            rows[0],
            json!({"contract_id": "contract_7781", "document_id": "doc_0", "terms": "two years"}),
            "no billing, no margin"
        );
        let content = result["content"][0]["text"].as_str().unwrap();
        assert!(!content.contains("billing") && !content.contains("margin"), "the text form is filtered, too");
        assert_eq!(result["_meta"]["remit/decision_id"], answered.decision());
    }
    let (headers, body) = scene.upstream.seen().pop().unwrap();
    assert_eq!(headers["mcp-protocol-version"], "2026-07-28");
    assert_eq!(
        (&headers["mcp-method"], &headers["mcp-name"]),
        (&"tools/call".parse().unwrap(), &"contracts.read".parse().unwrap())
    );
    assert!(headers.get("remit-envelope").is_none(), "the agent's envelope ends at the edge");
    assert_eq!(body["params"]["arguments"], contract());
    assert_eq!(body["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"], "2026-07-28");
    scene.stop_edge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_beyond_read_are_made_and_their_outcome_is_recorded() {
    let scene = Scene::new().await;
    let maya = scene.maya();
    for tool in ["notes.write", "tickets.create"] {
        let answered = maya.call(tool, json!({"customer_id": "cust_1042", "text": "hello"})).await;
        assert_eq!(answered.reason(), "permit", "{answered:?}");
    }
    let ticket = maya.call("tickets.create", customer()).await;
    assert_eq!(ticket.json["result"]["structuredContent"], json!({"ticket": {"ticket_id": "tick_1"}}));
    assert_eq!(scene.upstream.calls(), 3);
    scene.stop_edge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_says_why_and_nothing_else() {
    let scene = Scene::new().await;
    let maya = scene.maya();
    let check = |answered: &crate::support::agent::Answered, status: u16, data: Value| {
        let mut expected = data;
        expected["decision_id"] = json!(answered.decision());
        assert_eq!(answered.status.as_u16(), status, "{answered:?}");
        assert_eq!(answered.json["error"]["code"], -32001, "{answered:?}");
        assert_eq!(answered.json["error"]["data"], expected, "{answered:?}");
        let challenged = answered.headers.contains_key("www-authenticate");
        assert_eq!(challenged, status == 401, "{answered:?}");
    };
    let other = json!({"customer_id": "cust_9", "contract_id": "contract_7781"});
    check(
        &maya.call("contracts.read", other).await,
        200,
        json!({"reason": "out_of_scope", "dimension": "customer", "hop": 0}),
    );
    check(&maya.call("contracts.export", customer()).await, 200, json!({"reason": "out_of_scope", "hop": 0}));
    check(&maya.call("no.such", customer()).await, 200, json!({"reason": "out_of_scope", "hop": 0}));
    check(&maya.call("ghost.read", customer()).await, 200, json!({"reason": "tool_unknown"}));
    check(&maya.call("billing.update", customer()).await, 200, json!({"reason": "purpose_mismatch"}));
    check(&maya.call("frozen.read", customer()).await, 200, json!({"reason": "forbidden"}));
    check(&maya.call("fragile.read", customer()).await, 200, json!({"reason": "evaluation_failed"}));
    check(&maya.call("unread.read", customer()).await, 200, json!({"reason": "no_matching_policy"}));
    let mut extra = contract();
    extra["limit"] = json!(500);
    check(&maya.call("contracts.read", extra).await, 200, json!({"reason": "unmapped_argument"}));
    let empty = json!({"customer_id": [], "contract_id": "contract_7781"});
    check(
        &maya.call("contracts.read", empty).await,
        200,
        json!({"reason": "unmapped_dimension", "dimension": "customer"}),
    );
    check(
        &maya.call("notes.write", json!({"customer_id": "cust_1042", "text\u{20}": 1})).await,
        200,
        json!({"reason": "malformed"}),
    );
    assert_eq!(scene.upstream.calls(), 0, "nothing of it reached the tools");

    check(&scene.agent(None).call("contracts.read", contract()).await, 401, json!({"reason": "no_envelope"}));
    check(
        &scene.agent(Some(b"\x82\x01\x80")).call("contracts.read", contract()).await,
        401,
        json!({"reason": "malformed"}),
    );
    let forged = keys::issue(TASK, &scene.taxonomy, scene.now, &[ISSUERS[0], STRANGER]);
    check(
        &scene.agent(Some(&forged)).call("contracts.read", contract()).await,
        401,
        json!({"reason": "bad_signature"}),
    );
    let early = keys::issue(TASK, &scene.taxonomy, scene.now.plus(Duration::from_secs(600)), &ISSUERS);
    check(
        &scene.agent(Some(&early)).call("contracts.read", contract()).await,
        401,
        json!({"reason": "not_yet_valid", "hop": 0}),
    );
    let late = keys::issue(TASK, &scene.taxonomy, scene.now.minus(Duration::from_secs(3_700)), &ISSUERS);
    check(
        &scene.agent(Some(&late)).call("contracts.read", contract()).await,
        401,
        json!({"reason": "expired", "hop": 0}),
    );
    let newer = TASK.replace("session-1", "session-2");
    scene.revoke(CutKind::Session, "session-2");
    scene.until("the cut is enforced", |status| status["revocation_epoch"] == 1).await;
    let cut = scene.agent(Some(&scene.envelope(&newer)));
    check(&cut.call("contracts.read", contract()).await, 401, json!({"reason": "revoked"}));
    scene.stop_edge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_has_what_its_parent_kept_for_it_and_no_more() {
    let scene = Scene::new().await;
    let parent = scene.envelope(TASK);
    let hand_on = |restriction: &str| keys::hand_on(&parent, restriction, &scene.taxonomy, scene.world.env.now().wall);
    let child = hand_on(
        "lifetime_secs = 300\n[agent]\nid = \"agent:helper\"\nclass = \"helper\"\n[[grant]]\nof = 0\ntools = [\"contracts.read\"]\nids = { contract = [\"contract_7781\"] }\n",
    );
    let child = scene.agent(Some(&child));
    assert_eq!(child.call("contracts.read", contract()).await.reason(), "permit");
    let refused = child.call("notes.write", customer()).await;
    assert_eq!(refused.json["error"]["data"]["reason"], "out_of_scope");
    assert_eq!(refused.json["error"]["data"]["hop"], 1);

    let greedy = hand_on(
        "lifetime_secs = 300\n[agent]\nid = \"agent:helper\"\nclass = \"helper\"\n[[grant]]\nof = 0\ntools = [\"**\"]\neffects = [\"read\", \"write\", \"irreversible\"]\nids = { customer = \"any\", contract = \"any\" }\nmaxima = { records = 100000 }\n",
    );
    let greedy = scene.agent(Some(&greedy));
    let answered = greedy.call("contracts.read", contract()).await;
    assert_eq!(answered.json["result"]["structuredContent"]["contracts"].as_array().unwrap().len(), 25);
    let other = json!({"customer_id": "cust_9", "contract_id": "contract_7781"});
    assert_eq!(greedy.call("contracts.read", other).await.reason(), "out_of_scope");
    assert_eq!(greedy.call("tickets.create", customer()).await.reason(), "out_of_scope");
    scene.stop_edge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_that_gives_the_key_back_is_not_heard() {
    let scene = Scene::new().await;
    let maya = scene.maya();
    for spelling in [Spelling::Plain, Spelling::Hex, Spelling::Base64, Spelling::Escaped] {
        scene.upstream.answers(Answer::EchoKey(spelling));
        let answered = maya.call("contracts.read", contract()).await;
        assert_eq!(answered.reason(), "obligation_unmet", "{spelling:?}");
        assert_eq!(search(&answered.body), None, "{spelling:?}");
    }
    let metrics = scene.ops().get("/metrics").await;
    assert!(String::from_utf8_lossy(&metrics.body).contains("remit_edge_leaks_total 4"));
    scene.stop_edge().await;
}

/// I-5: no byte of the credential towards an agent, a log, a record or the disk.
#[tokio::test(flavor = "multi_thread")]
async fn the_key_is_nowhere_but_at_the_tool() {
    let scene = Scene::new().await;
    let maya = scene.maya();
    let mut outward = Vec::new();
    for answer in [Answer::Json, Answer::Stream, Answer::EchoKey(Spelling::Plain), Answer::IsError, Answer::RpcError] {
        scene.upstream.answers(answer);
        outward.push(maya.call("contracts.read", contract()).await.body);
        outward.push(maya.call("tickets.create", customer()).await.body);
    }
    outward.push(maya.list().await.body);
    for path in ["/status", "/metrics"] {
        outward.push(scene.ops().get(path).await.body);
    }
    outward.push(maya.get("/v1/directory").await.body);
    scene.until("every record is with the voters", |status| status["spool"]["records"] == 0).await;
    scene.stop_edge().await;
    let mut searched = 0;
    let mut look = |what: &str, bytes: &[u8]| {
        searched += bytes.len();
        assert_eq!(search(bytes), None, "{what}");
    };
    outward.iter().for_each(|bytes| look("an answer", bytes));
    for (file, bytes) in keys::files_below(scene.folder.path()) {
        look(&file, &bytes);
    }
    for voter in &scene.voters {
        voter.heard(|heard| heard.records.values().for_each(|record| look("a record", &record.to_bytes())));
    }
    let logs = logs::kept();
    assert!(!logs.is_empty());
    look("the log", &logs);
    assert!(searched > 20_000, "only {searched} bytes were searched");
    assert!(scene.upstream.calls() >= 10, "the key was used");
}

/// Where a spelling of the key begins.
fn search(bytes: &[u8]) -> Option<usize> {
    let hex = text::hex(API_KEY.as_bytes());
    let base64 = text::base64(API_KEY.as_bytes());
    let spellings = [API_KEY, &hex, base64.trim_end_matches('=')];
    spellings.iter().find_map(|spelling| bytes.windows(spelling.len()).position(|at| at == spelling.as_bytes()))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_tool_says_beyond_its_descriptor_stays_behind() {
    let scene = Scene::new().await;
    let maya = scene.maya();
    for answer in [Answer::IsError, Answer::RpcError] {
        scene.upstream.answers(answer.clone());
        let answered = maya.call("contracts.read", contract()).await;
        assert_eq!(answered.json["result"]["isError"], true, "{answer:?}");
        assert!(!String::from_utf8_lossy(&answered.body).contains("row 7"), "{answer:?}");
    }
    let json = "application/json";
    let unusable = [
        Answer::Raw(200, "text/html", "<html>".to_owned()),
        Answer::Raw(200, json, "{".to_owned()),
        Answer::Raw(200, json, r#"{"jsonrpc":"2.0","id":1,"result":{"content":[]}}"#.to_owned()),
        Answer::Raw(200, json, r#"{"jsonrpc":"2.0","id":1,"result":{"resultType":"input_required"}}"#.to_owned()),
        Answer::Raw(200, json, r#"{"jsonrpc":"2.0","id":9,"method":"elicitation/create","params":{}}"#.to_owned()),
        Answer::Raw(200, json, "[".repeat(9 << 20)),
        Answer::Raw(302, json, String::new()),
        Answer::Raw(500, "text/plain", "stack trace".to_owned()),
    ];
    for answer in unusable {
        let shown = format!("{answer:?}").chars().take(80).collect::<String>();
        scene.upstream.answers(answer);
        let answered = maya.call("contracts.read", contract()).await;
        assert_eq!(answered.reason(), "upstream_unreachable", "{shown}");
    }
    scene.stop_edge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_that_is_not_there_is_not_reached() {
    let scene = Scene::before_the_edge();
    let mut variant = crate::support::bundle::Variant::new(1, "http://127.0.0.1:9/mcp");
    variant.policy = "";
    scene.publish(&variant);
    scene.start_edge().await;
    scene.until_fresh(1).await;
    let maya = scene.maya();
    assert_eq!(maya.call("plain.read", customer()).await.reason(), "upstream_unreachable");
    let sealed_elsewhere = maya.call("contracts.read", contract()).await;
    assert_eq!(
        sealed_elsewhere.reason(),
        "vault_quorum_lost",
        "the shard is bound to another origin than this bundle's: {sealed_elsewhere:?}"
    );
    scene.stop_edge().await;
}

/// I-2: what was cut while the tool was working is not released.
#[tokio::test(flavor = "multi_thread")]
async fn a_cut_reaches_calls_that_are_under_way() {
    let scene = Scene::new().await;
    scene.upstream.answers(Answer::Held);
    let maya = scene.maya();
    let held = async {
        let answered = maya.call("contracts.read", contract()).await;
        assert_eq!(answered.reason(), "revoked", "{answered:?}");
    };
    let cut = async {
        scene.upstream.arrived().await;
        scene.revoke(CutKind::Session, "session-1");
        scene.until("the cut is enforced", |status| status["revocation_epoch"] == 1).await;
        scene.upstream.release();
    };
    tokio::join!(held, cut);
    scene.stop_edge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_credentials_and_edges_can_be_cut() {
    let scene = Scene::new().await;
    let maya = scene.maya();
    assert_eq!(maya.call("contracts.read", contract()).await.reason(), "permit");
    scene.revoke(CutKind::Tool, "plain.read");
    scene.until("the first cut is enforced", |status| status["revocation_epoch"] == 1).await;
    let tool = maya.call("plain.read", customer()).await;
    assert_eq!((tool.status.as_u16(), tool.reason().as_str()), (200, "revoked"));
    scene.revoke(CutKind::Credential, "acme-contracts-api");
    scene.until("the second cut is enforced", |status| status["revocation_epoch"] == 2).await;
    assert_eq!(maya.call("contracts.read", contract()).await.reason(), "revoked");
    scene.revoke(CutKind::Edge, keys::edge_id().as_str());
    scene.until("the third cut is enforced", |status| status["revocation_epoch"] == 3).await;
    assert_eq!(maya.call("notes.write", customer()).await.reason(), "quarantined");
    scene.stop_edge().await;
}
