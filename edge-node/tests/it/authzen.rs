//! Enforcement points ask a real edge: the AuthZEN certification scenario, and questions about envelopes.
//!
//! The fixture of the scenario is a bundle of the repository, `examples/authzen`. Clauses G-91 to G-93 and P-54 to P-57.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use http::{Method, Request};
use remit_common::bundle::{BuildOverrides, BundleSource};
use remit_common::crypto::digest::Digest;
use remit_common::id::{EnforcementPoint, TenantId};
use remit_common::proof::Grade;
use remit_common::revocation::CutKind;
use remit_edge_node::config::EnforcementPointEntry;
use serde_json::{Value, json};

use crate::support::agent::Answered;
use crate::support::bundle::Variant;
use crate::support::keys::{self, MESH, acme};
use crate::support::scene::{Scene, TASK};

const TOKEN: &str = "enforcement-token-of-the-tests-0123456789";
const EVALUATION: &str = "/access/v1/evaluation";
const EVALUATIONS: &str = "/access/v1/evaluations";

fn point(vouches: Grade) -> EnforcementPointEntry {
    EnforcementPointEntry {
        name: EnforcementPoint::new("records-gateway").unwrap(),
        tenant: acme(),
        token_sha256: Some(Digest::of(&[TOKEN.as_bytes()])),
        key: None,
        vouches,
        forward_auth: None,
    }
}

fn fixture() -> BundleSource {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/authzen/bundle");
    let below = |path: String| path.strip_prefix(&format!("{}/", folder.display())).unwrap().to_owned();
    let files = keys::files_below(&folder).into_iter().map(|(path, bytes)| (below(path), bytes)).collect();
    BundleSource { files }
}

/// The edge with the fixture's bundle.
async fn certified() -> Scene {
    let mut scene = Scene::before_the_edge();
    scene.config.enforcement_points = vec![point(Grade::None)];
    scene.config.public_url = Some("https://edge.example:7443".to_owned());
    let overrides =
        BuildOverrides { created: Some(scene.now.minus(keys::DAY)), mesh_id: Some(MESH), ..BuildOverrides::default() };
    let mut bundle = fixture().build(&overrides).unwrap_or_else(|faults| panic!("{faults:#?}")).into_container();
    for administrator in keys::policy_keys(&acme()).iter().take(2) {
        bundle.add_signature(&keys::key(*administrator));
    }
    scene.log.activate(&acme(), bundle);
    scene.start_edge().await;
    scene.until_fresh(1).await;
    scene
}

/// The edge with the usual tools.
async fn with_tools(vouches: Grade) -> Scene {
    let mut scene = Scene::before_the_edge();
    scene.config.enforcement_points = vec![point(vouches)];
    scene.publish(&Variant::new(1, &scene.upstream.url()));
    scene.start_edge().await;
    scene.until_fresh(1).await;
    scene
}

type Headers<'a> = BTreeMap<&'a str, &'a str>;

async fn send(scene: &Scene, method: Method, path: &str, headers: &Headers<'_>, body: Vec<u8>) -> Answered {
    let mut request = Request::builder().method(method).uri(path).header("host", "edge.example");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    scene.agent(None).exchange(request.body(Bytes::from(body)).unwrap()).await
}

fn usual<'a>() -> Headers<'a> {
    BTreeMap::from([
        ("content-type", "application/json"),
        ("authorization", "Bearer enforcement-token-of-the-tests-0123456789"),
    ])
}

async fn ask(scene: &Scene, path: &str, body: &Value) -> Answered {
    send(scene, Method::POST, path, &usual(), serde_json::to_vec(body).unwrap()).await
}

fn question(subject: Value, action: Value, resource: Value) -> Value {
    json!({"subject": subject, "action": action, "resource": resource})
}

fn user(id: &str) -> Value {
    json!({"type": "user", "id": id})
}

fn record(id: &str) -> Value {
    json!({"type": "record", "id": id})
}

fn archived() -> Value {
    json!({"type": "record", "id": "record-2", "properties": {"status": "archived"}})
}

fn admin() -> Value {
    json!({"type": "user", "id": "bob", "properties": {"role": "admin"}})
}

fn action(name: &str) -> Value {
    json!({"name": name})
}

fn delete(soft: bool) -> Value {
    json!({"name": "delete", "properties": {"soft": soft}})
}

/// The decisions that the scenario's harness looks at, and requests that it only wants to be answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_certification_scenario_basic() {
    let scene = certified().await;
    let check = async |body: Value, expected: bool| {
        let answered = ask(&scene, EVALUATION, &body).await;
        assert_eq!(answered.status, 200, "{body}");
        assert_eq!(answered.headers["content-type"], "application/json");
        assert_eq!(answered.json["decision"], expected, "{body}: {}", answered.json);
        assert!(answered.json["context"].is_object());
    };
    check(question(user("alice"), action("read"), record("record-1")), true).await;
    check(question(user("alice"), action("write"), record("record-1")), true).await;
    check(question(user("bob"), action("read"), record("record-1")), true).await;
    check(question(user("bob"), action("write"), record("record-1")), false).await;
    check(question(user("alice"), action("write"), archived()), false).await;
    check(question(admin(), action("write"), archived()), true).await;
    check(question(user("alice"), delete(true), record("record-1")), true).await;
    check(question(user("alice"), delete(false), record("record-1")), false).await;
    // With a context, with more properties than anybody asked for, with members that the specification does not have.
    let mut with_context = question(user("alice"), action("read"), record("record-1"));
    with_context["context"] = json!({"time": "2025-06-27T18:03-07:00", "ip": "192.168.1.1"});
    check(with_context, true).await;
    let subject = json!({"type": "user", "id": "alice", "properties": {"department": "Sales", "role": "manager"}});
    let read = json!({"name": "read", "properties": {"method": "GET"}});
    let resource = json!({"type": "record", "id": "record-1", "properties": {"status": "active", "owner": "bob"}});
    check(question(subject, read, resource), true).await;
    let mut unknown = question(user("alice"), action("read"), record("record-1"));
    unknown["foo"] = json!("bar");
    unknown["futureField"] = json!({"nested": true});
    check(unknown, true).await;
    // The same thing again and again is the same answer.
    for _ in 0..3 {
        check(question(user("alice"), action("read"), record("record-1")), true).await;
    }
    // What nobody knows is no.
    check(question(user("alice"), action("burn"), record("record-1")), false).await;
    check(question(json!({"type": "spaceship", "id": "x"}), action("read"), record("record-1")), false).await;
    check(question(user("alice"), action("delete"), record("record-1")), false).await;
    let number = json!({"name": "delete", "properties": {"soft": 1}});
    check(question(user("alice"), number, record("record-1")), false).await;
    scene.stop_edge().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_certification_scenario_batch() {
    let scene = certified().await;
    let check = async |body: Value, expected: &[bool]| {
        let answered = ask(&scene, EVALUATIONS, &body).await;
        assert_eq!(answered.status, 200, "{body}");
        let decisions: Vec<bool> = answered.json["evaluations"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["decision"].as_bool().unwrap())
            .collect();
        assert_eq!(decisions, expected, "{body}: {}", answered.json);
        assert!(answered.json.get("decision").is_none());
    };
    let two = json!([{"resource": record("record-1")}, {"resource": record("record-2")}]);
    check(json!({"subject": user("alice"), "action": action("read"), "evaluations": two}), &[true, true]).await;
    let both = json!([{"action": action("read")}, {"action": action("write")}]);
    check(json!({"subject": user("bob"), "resource": record("record-1"), "evaluations": both}), &[true, false]).await;
    let active = json!({"type": "record", "id": "record-1", "properties": {"status": "active"}});
    let each = json!([{"resource": active}, {"resource": archived()}]);
    check(json!({"subject": user("alice"), "action": action("write"), "evaluations": each}), &[true, false]).await;
    let each = json!([{"subject": user("alice")}, {"subject": admin()}]);
    check(json!({"action": action("write"), "resource": archived(), "evaluations": each}), &[false, true]).await;
    let whole = json!([
        question(user("alice"), action("read"), record("record-1")),
        question(user("bob"), action("write"), record("record-1")),
    ]);
    check(json!({"evaluations": whole}), &[true, false]).await;
    let contexts =
        json!([{"resource": record("record-1")}, {"resource": record("record-2"), "context": {"source": "override"}}]);
    let with_context =
        json!({"subject": user("alice"), "action": action("read"), "context": {"time": "t"}, "evaluations": contexts});
    check(with_context, &[true, true]).await;
    let merged =
        json!([{"resource": {"id": "record-1", "properties": {"status": "active"}}}, {"resource": archived()}]);
    let merging = json!({"subject": user("alice"), "action": action("write"), "resource": {"type": "record"}, "evaluations": merged});
    check(merging, &[true, false]).await;
    // One that is nothing is no, and the others are answered.
    let broken = json!([{"resource": record("record-1")}, {}, 7]);
    check(json!({"subject": user("alice"), "action": action("read"), "evaluations": broken}), &[true, false, false])
        .await;
    // Without evaluations it is the other endpoint.
    for evaluations in [None, Some(json!([]))] {
        let mut body = question(user("alice"), action("read"), record("record-1"));
        if let Some(evaluations) = evaluations {
            body["evaluations"] = evaluations;
        }
        let answered = ask(&scene, EVALUATIONS, &body).await;
        assert_eq!((answered.status.as_u16(), &answered.json["decision"]), (200, &json!(true)));
    }
    let actions = json!([{"action": action("read")}, {"action": action("write")}, {"action": action("read")}]);
    let until = |word: &str| json!({"subject": user("bob"), "resource": record("record-1"), "evaluations": actions, "options": {"evaluations_semantic": word}});
    check(until("execute_all"), &[true, false, true]).await;
    check(until("deny_on_first_deny"), &[true, false]).await;
    check(until("permit_on_first_permit"), &[true]).await;
    assert_eq!(ask(&scene, EVALUATIONS, &until("permit_all")).await.status, 400);
    let many = json!({"subject": user("alice"), "action": action("read"), "evaluations": vec![json!({}); 101]});
    assert_eq!(ask(&scene, EVALUATIONS, &many).await.status, 400);
    scene.stop_edge().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_certification_scenario_errors_headers_and_discovery() {
    let scene = certified().await;
    let good = question(user("alice"), action("read"), record("record-1"));
    let without = |member: &str| {
        let mut body = good.clone();
        body.as_object_mut().unwrap().remove(member);
        body
    };
    let bad = [
        without("subject"),
        without("action"),
        without("resource"),
        question(json!({"id": "alice"}), action("read"), record("record-1")),
        question(json!({"type": "user"}), action("read"), record("record-1")),
        question(user("alice"), json!({}), record("record-1")),
        question(user("alice"), action("read"), json!({"id": "record-1"})),
        question(user("alice"), action("read"), json!({"type": "record"})),
        question(json!("alice"), action("read"), record("record-1")),
        question(user("alice"), json!({"name": 123}), record("record-1")),
        question(user("alice"), action("read"), json!(["record"])),
        question(json!({"type": "user", "id": "a", "properties": []}), action("read"), record("record-1")),
        json!([]),
        json!("x"),
    ];
    for body in bad {
        let answered = ask(&scene, EVALUATION, &body).await;
        assert_eq!(answered.status, 400, "{body}");
        assert_eq!(answered.headers["content-type"], "application/json");
    }
    let duplicate = br#"{"subject":{"type":"user","id":"bob"},"subject":{"type":"user","id":"alice"},"action":{"name":"read"},"resource":{"type":"record","id":"record-1"}}"#;
    let deep = format!(r#"{{"context":{}{}}}"#, "[".repeat(40), "]".repeat(40)).into_bytes();
    for body in [&b""[..], b"{", b"\xff\xfe", duplicate, &deep] {
        let answered = send(&scene, Method::POST, EVALUATION, &usual(), body.to_vec()).await;
        assert_eq!((answered.status.as_u16(), &answered.json["error"]["data"]["reason"]), (400, &json!("malformed")));
    }
    let options = json!({"evaluations": [good.clone()], "options": 5});
    assert_eq!(ask(&scene, EVALUATIONS, &options).await.status, 400);
    // A hundred times what all of them share.
    let shared = json!({"subject": user("alice"), "action": action("read"), "context": {"x": "y".repeat(200_000)}, "evaluations": vec![json!({"resource": record("record-1")}); 100]});
    assert_eq!(ask(&scene, EVALUATIONS, &shared).await.status, 413);
    let bytes = serde_json::to_vec(&good).unwrap();
    let text = BTreeMap::from([("content-type", "text/plain"), ("authorization", usual()["authorization"])]);
    assert_eq!(send(&scene, Method::POST, EVALUATION, &text, bytes.clone()).await.status, 400);
    let long = vec![b' '; 2 * 1024 * 1024];
    assert_eq!(send(&scene, Method::POST, EVALUATION, &usual(), long).await.status, 413);
    assert_eq!(send(&scene, Method::GET, EVALUATION, &usual(), Vec::new()).await.status, 405);
    // What the request calls itself comes back, on errors, too.
    for (body, status) in [(bytes.clone(), 200), (b"{".to_vec(), 400)] {
        let mut headers = usual();
        headers.insert("x-request-id", "bfe9eb29-ab87-4ca3-be83-a1d5d8305716");
        let answered = send(&scene, Method::POST, EVALUATION, &headers, body).await;
        assert_eq!(answered.status, status);
        assert_eq!(answered.headers["x-request-id"], "bfe9eb29-ab87-4ca3-be83-a1d5d8305716");
    }
    let metadata = send(&scene, Method::GET, "/.well-known/authzen-configuration", &Headers::new(), Vec::new()).await;
    assert_eq!(metadata.status, 200);
    assert_eq!(metadata.headers["content-type"], "application/json");
    assert_eq!(metadata.json["policy_decision_point"], "https://edge.example:7443");
    assert_eq!(metadata.json["access_evaluation_endpoint"], "https://edge.example:7443/access/v1/evaluation");
    assert_eq!(metadata.json["access_evaluations_endpoint"], "https://edge.example:7443/access/v1/evaluations");
    scene.stop_edge().await;
}

/// Nobody asks without a name, from a browser's page, or twice over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_is_known() {
    let scene = certified().await;
    let body = serde_json::to_vec(&question(user("alice"), action("read"), record("record-1"))).unwrap();
    let status =
        async |headers: Headers<'_>| send(&scene, Method::POST, EVALUATION, &headers, body.clone()).await.status;
    let with = |name, value| {
        let mut headers = usual();
        headers.insert(name, value);
        headers
    };
    assert_eq!(status(usual()).await, 200);
    assert_eq!(status(BTreeMap::from([("content-type", "application/json")])).await, 401);
    assert_eq!(status(with("authorization", "Bearer another")).await, 401);
    assert_eq!(status(with("authorization", "Basic enforcement-token-of-the-tests-0123456789")).await, 401);
    // With a name of its own, what else it passes on is not its business.
    let own = || with("remit-enforcement-token", TOKEN);
    assert_eq!(status(own()).await, 200);
    let mut passed_on = own();
    passed_on.insert("authorization", "Bearer of-somebody-else");
    assert_eq!(status(passed_on).await, 200);
    assert_eq!(status(with("remit-enforcement-token", "another")).await, 401);
    assert_eq!(status(with("remit-enforcement-token", "")).await, 401);
    assert_eq!(status(with("authorization", "Bearer ")).await, 401);
    assert_eq!(status(with("origin", "https://evil.example")).await, 403);
    let refused =
        send(&scene, Method::POST, EVALUATION, &BTreeMap::from([("content-type", "application/json")]), body.clone())
            .await;
    assert!(refused.headers.contains_key("www-authenticate"));
    scene.stop_edge().await;
}

/// What was told is on record, as advice and under the name of who asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_recorded_as_advice() {
    let scene = certified().await;
    let permitted = ask(&scene, EVALUATION, &question(user("alice"), action("read"), record("record-1"))).await;
    let denied = ask(&scene, EVALUATION, &question(user("bob"), action("write"), record("record-1"))).await;
    assert_eq!(permitted.json["context"]["policies"], json!(["records.read"]));
    assert_eq!(denied.json["context"]["reason"], "no_matching_policy");
    for (answered, reason) in [(permitted, "permit"), (denied, "no_matching_policy")] {
        let id = answered.json["context"]["decision_id"].as_str().unwrap().to_owned();
        let found = crate::support::eventually("the advice is at a voter", || async {
            scene.voters.iter().find_map(|voter| {
                voter.heard(|heard| {
                    heard
                        .records
                        .values()
                        .find(|record| {
                            record.public().decision.as_ref().is_some_and(|decision| decision.to_string() == id)
                        })
                        .map(|record| record.to_json(&MESH))
                })
            })
        })
        .await;
        assert_eq!((&found["remit"]["kind"], &found["remit"]["reason"]), (&json!("advice"), &json!(reason)));
        assert_eq!(found["remit"]["asked_by"], "records-gateway");
        assert_eq!(found["labels"]["tenant"], "acme");
        assert_eq!(found["input"]["resources"], json!(["record::\"record-1\""]), "{found}");
        assert!(found["input"]["arguments_digest"].is_string());
        assert!(found["input"]["subject"].as_str().is_some_and(|subject| subject.starts_with("user::")));
    }
    scene.stop_edge().await;
}

fn about(envelope: &[u8], tool: &str, arguments: Value, resource: Value) -> Value {
    let envelope = remit_common::text::base64url(envelope);
    let subject = json!({"type": "agent", "id": "agent:analyst", "properties": {"remit_envelope": envelope}});
    question(subject, json!({"name": tool, "properties": {"arguments": arguments}}), resource)
}

/// With an envelope it is judged as a call would be, and nothing is called.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_about_an_envelope_is_judged_like_the_call() {
    let scene = with_tools(Grade::P2).await;
    let envelope = scene.envelope(TASK);
    let contract = json!({"customer_id": "cust_1042", "contract_id": "contract_7781"});
    let resource = json!({"type": "Contract", "id": "contract_7781"});
    let reason = async |body: Value| {
        let answered = ask(&scene, EVALUATION, &body).await;
        assert_eq!(answered.status, 200, "{}", answered.json);
        let permits = answered.json["decision"].as_bool().unwrap();
        let reason = answered.json["context"]["reason"].as_str().unwrap().to_owned();
        assert_eq!(permits, reason == "permit");
        reason
    };
    let tool = "contracts.read";
    assert_eq!(reason(about(&envelope, tool, contract.clone(), resource.clone())).await, "permit");
    let other = json!({"customer_id": "cust_1", "contract_id": "contract_7781"});
    assert_eq!(reason(about(&envelope, tool, other, resource.clone())).await, "out_of_scope");
    let another = json!({"type": "Contract", "id": "contract_1"});
    assert_eq!(reason(about(&envelope, tool, contract.clone(), another)).await, "malformed");
    let mut stranger = about(&envelope, tool, contract.clone(), resource.clone());
    stranger["subject"]["id"] = json!("somebody-else");
    assert_eq!(reason(stranger).await, "malformed");
    // Without an envelope a tool is nothing that anybody may ask about.
    let plain = question(user("maya"), action(tool), resource.clone());
    assert_eq!(reason(plain).await, "no_envelope");
    // Shown in the header it is the same; in both it is two.
    let header = remit_common::text::base64url(&envelope);
    let mut headers = usual();
    headers.insert("remit-envelope", &header);
    let mut bare = about(&envelope, tool, contract.clone(), resource.clone());
    let both = send(&scene, Method::POST, EVALUATION, &headers, serde_json::to_vec(&bare).unwrap()).await;
    assert_eq!((both.status.as_u16(), &both.json["context"]["reason"]), (200, &json!("malformed")));
    bare["subject"].as_object_mut().unwrap().remove("properties");
    let once = send(&scene, Method::POST, EVALUATION, &headers, serde_json::to_vec(&bare).unwrap()).await;
    assert_eq!(once.json["context"]["reason"], "permit", "{}", once.json);
    scene.revoke(CutKind::Session, "session-1");
    crate::support::eventually("the cut is known", || async {
        let answered = ask(&scene, EVALUATION, &about(&envelope, tool, contract.clone(), resource.clone())).await;
        (answered.json["context"]["reason"] == "revoked").then_some(())
    })
    .await;
    assert_eq!(scene.upstream.calls(), 0, "nothing is called");
    scene.stop_edge().await;
}

/// An envelope of another tenant is nothing that an enforcement point may ask about.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_enforcement_point_asks_about_its_own_tenant() {
    let mut scene = Scene::before_the_edge();
    let globex = TenantId::new("globex").unwrap();
    scene.config.tenants.insert(globex.clone());
    scene.config.enforcement_points = vec![EnforcementPointEntry { tenant: globex, ..point(Grade::P2) }];
    scene.publish(&Variant::new(1, &scene.upstream.url()));
    scene.start_edge().await;
    let contract = json!({"customer_id": "cust_1042", "contract_id": "contract_7781"});
    let body =
        about(&scene.envelope(TASK), "contracts.read", contract, json!({"type": "Contract", "id": "contract_7781"}));
    let told = crate::support::eventually("the edge knows issuers", || async {
        let told = ask(&scene, EVALUATION, &body).await.json["context"].clone();
        (told["reason"] != "stale").then_some(told)
    })
    .await;
    assert_eq!(told["reason"], "wrong_audience", "{told}");
    scene.stop_edge().await;
}

/// What is cut, and what the edge knows too little about, is no for those without an envelope, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cuts_and_age_hold_without_an_envelope() {
    let scene = certified().await;
    let reason = async |subject: Value, name: &str| {
        let answered = ask(&scene, EVALUATION, &question(subject, action(name), record("record-1"))).await;
        answered.json["context"]["reason"].as_str().unwrap().to_owned()
    };
    let until = async |subject: Value, name: &str, expected: &str| {
        crate::support::eventually(expected, || async {
            (reason(subject.clone(), name).await == expected).then_some(())
        })
        .await;
    };
    assert_eq!(reason(user("bob"), "read").await, "permit");
    scene.revoke(CutKind::Delegator, "bob");
    until(user("bob"), "read", "revoked").await;
    assert_eq!(reason(user("alice"), "read").await, "permit");
    scene.revoke(CutKind::Tool, "write");
    until(user("alice"), "write", "revoked").await;
    // A rule about an effect holds for what could be anything.
    scene.revoke(CutKind::Forbid, "effect=irreversible");
    until(user("alice"), "read", "forbidden").await;
    scene.stop_edge().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_that_hears_nobody_gives_no_yes_for_long() {
    let scene = certified().await;
    let body = question(user("alice"), action("read"), record("record-1"));
    assert_eq!(ask(&scene, EVALUATION, &body).await.json["decision"], true);
    scene.silence(true);
    // The least bound of the bundle is ten seconds.
    scene.forward(std::time::Duration::from_secs(15));
    crate::support::eventually("a no", || async {
        (ask(&scene, EVALUATION, &body).await.json["context"]["reason"] == "stale").then_some(())
    })
    .await;
    scene.stop_edge().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_without_an_address_of_its_own_announces_nothing() {
    let mut scene = Scene::before_the_edge();
    scene.config.enforcement_points = vec![point(Grade::None)];
    scene.start_edge().await;
    let metadata = send(&scene, Method::GET, "/.well-known/authzen-configuration", &Headers::new(), Vec::new()).await;
    assert_eq!(metadata.status, 404);
    scene.stop_edge().await;
}

/// Who vouches for nothing is told what a caller without a proof would be told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_enforcement_point_vouches_as_far_as_it_may() {
    let scene = with_tools(Grade::None).await;
    let envelope = scene.envelope(TASK);
    let contract = json!({"customer_id": "cust_1042", "contract_id": "contract_7781"});
    let resource = json!({"type": "Contract", "id": "contract_7781"});
    let answered = ask(&scene, EVALUATION, &about(&envelope, "contracts.read", contract, resource)).await;
    assert_eq!(answered.json["context"]["reason"], "bad_proof");
    // Not even what lies outside of the envelope.
    let other = json!({"customer_id": "cust_1", "contract_id": "contract_7781"});
    let answered = ask(
        &scene,
        EVALUATION,
        &about(&envelope, "contracts.read", other, json!({"type": "Contract", "id": "contract_7781"})),
    )
    .await;
    assert_eq!(answered.json["context"]["reason"], "bad_proof");
    scene.stop_edge().await;
}
