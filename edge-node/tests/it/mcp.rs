//! The wire towards agents: MCP 2026-07-28, to the letter.

use serde_json::{Value, json};

use crate::support::agent::{Agent, Bent};
use crate::support::bundle::{Variant, more_tool};
use crate::support::scene::{Scene, TASK};

fn with(mut bent: Bent, name: &'static str, value: Option<&str>) -> Bent {
    bent.headers.retain(|(known, _)| *known != name);
    bent.headers.extend(value.map(|value| (name, value.to_owned())));
    bent
}

fn with_body(mut bent: Bent, body: &str) -> Bent {
    bent.body = body.as_bytes().to_vec();
    bent
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_request_of_this_revision_is_told_so() {
    let scene = Scene::new().await;
    let maya = scene.maya();
    let call = || {
        let arguments = json!({"customer_id": "cust_1042", "contract_id": "contract_7781"});
        maya.request("tools/call", json!({"name": "contracts.read", "arguments": arguments}))
    };
    let discover = || maya.request("server/discover", json!({}));
    let cases: Vec<(&str, Bent, u16, Value)> = vec![
        ("a GET", Bent { method: "GET", ..call() }, 405, Value::Null),
        ("a DELETE", Bent { method: "DELETE", ..call() }, 405, Value::Null),
        ("another origin", with(call(), "origin", Some("https://evil.example")), 403, Value::Null),
        ("text", with(call(), "content-type", Some("text/plain")), 415, Value::Null),
        ("no JSON", with_body(call(), "{"), 400, json!(-32700)),
        ("a duplicate key", with_body(call(), r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"x"}"#), 400, json!(-32700)),
        ("a batch", with_body(call(), "[]"), 400, json!(-32600)),
        ("a response", with_body(call(), r#"{"jsonrpc":"2.0","id":1,"result":{}}"#), 400, json!(-32600)),
        ("no version", with(call(), "mcp-protocol-version", None), 400, json!(-32020)),
        (
            "another version than the body's",
            with(call(), "mcp-protocol-version", Some("2025-11-25")),
            400,
            json!(-32020),
        ),
        ("no method header", with(call(), "mcp-method", None), 400, json!(-32020)),
        ("another method", with(call(), "mcp-method", Some("tools/list")), 400, json!(-32020)),
        ("no name header", with(call(), "mcp-name", None), 400, json!(-32020)),
        ("another name", with(call(), "mcp-name", Some("notes.write")), 400, json!(-32020)),
        ("another parameter", with(call(), "mcp-param-customer", Some("cust_9")), 400, json!(-32020)),
        (
            "an unknown method",
            with(
                with_body(
                    discover(),
                    &String::from_utf8(discover().body).unwrap().replace("server/discover", "resources/list"),
                ),
                "mcp-method",
                Some("resources/list"),
            ),
            404,
            json!(-32601),
        ),
        (
            "two envelopes",
            {
                let mut bent = call();
                let envelope = bent.headers.last().unwrap().1.clone();
                bent.headers.push(("authorization", format!("Bearer {envelope}")));
                bent
            },
            401,
            json!(-32001),
        ),
        ("a huge body", with_body(call(), &format!("{{\"a\":\"{}\"}}", "x".repeat(1 << 20))), 413, Value::Null),
    ];
    for (what, bent, status, code) in cases {
        let answered = maya.send(bent).await;
        assert_eq!(answered.status.as_u16(), status, "{what}: {answered:?}");
        assert_eq!(answered.json["error"]["code"], code, "{what}: {answered:?}");
    }
    assert_eq!(scene.upstream.calls(), 0);
    let unsupported = discover();
    let body = String::from_utf8(unsupported.body.clone()).unwrap().replace("2026-07-28", "2031-01-01");
    let answered = maya.send(with(with_body(unsupported, &body), "mcp-protocol-version", Some("2031-01-01"))).await;
    assert_eq!(answered.status.as_u16(), 400);
    assert_eq!(answered.json["error"]["code"], -32022);
    assert_eq!(answered.json["error"]["data"]["supported"], json!(["2026-07-28"]));
    scene.stop_edge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_good_is_served_in_every_form() {
    let scene = Scene::new().await;
    let maya = scene.maya();
    let discovered = maya.send(maya.request("server/discover", json!({}))).await;
    assert_eq!(discovered.json["result"]["supportedVersions"], json!(["2026-07-28"]));
    assert_eq!(discovered.json["result"]["cacheScope"], "private");
    let allowed = with(maya.request("server/discover", json!({})), "origin", Some("https://console.example"));
    assert_eq!(maya.send(allowed).await.status.as_u16(), 200);
    let note = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":3}}"#;
    let note = with(
        with_body(maya.request("notifications/cancelled", json!({})), note),
        "mcp-method",
        Some("notifications/cancelled"),
    );
    let accepted = maya.send(note).await;
    assert_eq!((accepted.status.as_u16(), accepted.body.len()), (202, 0));
    let arguments = json!({"customer_id": "cust_1042", "contract_id": "contract_7781"});
    let encoded = maya.request("tools/call", json!({"name": "contracts.read", "arguments": arguments}));
    let encoded = with(encoded, "mcp-name", Some("=?base64?Y29udHJhY3RzLnJlYWQ=?="));
    let encoded = with(encoded, "mcp-param-customer", Some("cust_1042"));
    assert_eq!(maya.send(encoded).await.reason(), "permit");
    scene.stop_edge().await;
}

fn names(answered: &crate::support::agent::Answered) -> Vec<String> {
    let tools = answered.json["result"]["tools"].as_array().unwrap();
    tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_shows_what_the_envelope_reaches_and_nothing_else() {
    let scene = Scene::new().await;
    let maya = scene.maya();
    let listed = maya.list().await;
    let expected =
        ["contracts.read", "fragile.read", "frozen.read", "notes.write", "plain.read", "tickets.create", "unread.read"];
    assert_eq!(names(&listed), expected, "sorted; billing.update serves another purpose, ghost.read does not exist");
    assert_eq!(listed.json["result"]["cacheScope"], "private");
    assert!(listed.json["result"]["ttlMs"].as_u64().is_some());
    assert_eq!(listed.json["result"], maya.list().await.json["result"], "the same every time");
    let ticket = &listed.json["result"]["tools"][5];
    assert_eq!(ticket["annotations"], json!({"readOnlyHint": false, "destructiveHint": true}));
    let narrow = TASK.replace(", \"tickets.create\", \"billing.update\"", "");
    let narrow = scene.agent(Some(&scene.envelope(&narrow)));
    assert!(!names(&narrow.list().await).contains(&"tickets.create".to_owned()));
    assert_eq!(scene.agent(None).list().await.status.as_u16(), 401);
    scene.stop_edge().await;
}

async fn page(agent: &Agent, cursor: Option<&str>) -> crate::support::agent::Answered {
    let params = cursor.map_or(json!({}), |cursor| json!({"cursor": cursor}));
    agent.send(agent.request("tools/list", params)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_follow_each_other_and_a_cursor_belongs_to_one_envelope() {
    let scene = Scene::before_the_edge();
    let more_tools = 60;
    scene.publish(&Variant { more_tools, ..Variant::new(1, &scene.upstream.url()) });
    scene.start_edge().await;
    scene.until_fresh(1).await;
    let all: Vec<String> = (0..more_tools).map(|number| format!("\"{}\"", more_tool(number))).collect();
    let grant = "effects = [\"read\"]\nclasses = [\"contract_metadata\"]\nids = { customer = [\"cust_1042\"] }";
    let task = format!("{TASK}\n[[grant]]\ntools = [{}]\n{grant}\n", all.join(", "));
    let agent = scene.agent(Some(&scene.envelope(&task)));
    let first = page(&agent, None).await;
    let cursor = first.json["result"]["nextCursor"].as_str().unwrap().to_owned();
    let second = page(&agent, Some(&cursor)).await;
    assert_eq!(second.json["result"].get("nextCursor"), None);
    assert_eq!(second.json["result"]["cacheScope"], "private");
    let listed = [names(&first), names(&second)].concat();
    assert_eq!(listed.len(), 67);
    assert!(listed.is_sorted() && listed.windows(2).all(|pair| pair[0] != pair[1]));
    let stolen = page(&scene.maya(), Some(&cursor)).await;
    assert_eq!(stolen.json["error"]["code"], -32602);
    for bad in ["", "AAAA", &cursor[1..], &"A".repeat(5_000)] {
        assert_eq!(page(&agent, Some(bad)).await.json["error"]["code"], -32602, "{bad}");
    }
    scene.stop_edge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trusted_documents_are_there_for_whoever_wants_to_check_them() {
    let scene = Scene::new().await;
    let documents = scene.agent(None).get("/v1/directory").await.json;
    assert_eq!(documents["mesh_id"], crate::support::keys::MESH.to_string());
    let root: Value = serde_json::from_slice(&scene.root).unwrap();
    assert_eq!(documents["roots"], json!([root]));
    assert_eq!(documents["directory"]["payloadType"], "application/vnd.remit.directory.v1+json");
    scene.stop_edge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_see_what_holds() {
    let scene = Scene::before_the_edge();
    scene.start_edge().await;
    let ops = scene.ops();
    assert_eq!(ops.get("/livez").await.status.as_u16(), 200);
    scene.until("the directory is here", |status| status["directory_version"] == 1).await;
    assert_eq!(ops.get("/readyz").await.status.as_u16(), 503, "no bundle yet");
    let refused = scene.maya().call("plain.read", json!({"customer_id": "cust_1042"})).await;
    assert_eq!(refused.reason(), "stale", "without a bundle there is nothing to judge by");
    scene.publish(&Variant::new(1, &scene.upstream.url()));
    scene.until_fresh(1).await;
    assert_eq!(ops.get("/readyz").await.status.as_u16(), 200);
    let status = scene.until("a voter is followed", |status| !status["voter"].is_null()).await;
    assert_eq!(status["edge"], "eu-west-1");
    assert!(status["staleness_ms"].as_u64().unwrap() < 60_000);
    scene.until("all voters are connected", |status| status["voters_connected"] == json!([1, 2, 3])).await;
    let metrics = String::from_utf8(ops.get("/metrics").await.body).unwrap();
    for line in [
        "remit_edge_bundle_version{tenant=\"acme\"} 1",
        "remit_edge_mode{mode=\"fresh\"} 1",
        "remit_edge_decisions_total{decision=\"deny\",reason=\"stale\"} 1",
        "remit_edge_voters_connected 3",
    ] {
        assert!(metrics.contains(line), "{line} is missing in\n{metrics}");
    }
    scene.stop_edge().await;
}
