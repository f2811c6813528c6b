//! That an edge which drains lets calls end, takes no others, and says so. Clauses G-84 to G-86.

use remit_common::id::EdgeId;
use remit_common::identity::{DRAIN_PATH, DrainRequest, SignedRequest};
use remit_common::revocation::CutKind;
use serde_json::json;

use crate::support::agent::Answered;
use crate::support::keys::{self, ADMINISTRATOR, MESH, STRANGER};
use crate::support::scene::Scene;
use crate::support::upstream::Answer;

/// What whoever has a key asks for, `later` seconds from now.
fn asked(scene: &Scene, by: u8, (edge, draining): (EdgeId, bool), later: u64) -> SignedRequest {
    let body = serde_json::to_vec(&DrainRequest { edge, draining }).unwrap();
    let created = scene.world.env.now().wall.as_secs() + later;
    SignedRequest::sign(&MESH, &keys::key(by), "POST", DRAIN_PATH, body, created, created + 60, [1; 16])
}

async fn post(scene: &Scene, request: &SignedRequest) -> Answered {
    let mut post = http::Request::post(&request.path).header("content-type", "application/json");
    for (name, value) in request.headers(&MESH) {
        post = post.header(name, value);
    }
    let agent = scene.agent(None);
    let post = post.header("host", agent.addr.to_string()).body(request.body.clone().into()).unwrap();
    agent.exchange(post).await
}

fn said(answered: &Answered) -> (u16, String) {
    let problem: serde_json::Value = serde_json::from_slice(&answered.body).unwrap_or_default();
    (answered.status.as_u16(), problem["reason"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_under_way_ends_and_nothing_new_begins_until_it_is_undone() {
    let scene = Scene::new().await;
    let contract = || json!({"customer_id": "cust_1042", "contract_id": "contract_7781"});
    let (maya, here) = (scene.maya(), keys::edge_id());
    scene.upstream.answers(Answer::Held);
    let held = async {
        let answered = maya.call("contracts.read", contract()).await;
        assert_eq!(answered.reason(), "permit", "{answered:?}");
    };
    let drain = async {
        scene.upstream.arrived().await;
        let drained = post(&scene, &asked(&scene, ADMINISTRATOR, (here.clone(), true), 0)).await;
        assert_eq!(drained.json, json!({"edge": here, "draining": true, "running": 1}), "{drained:?}");
        let ready = scene.ops().get("/readyz").await;
        assert_eq!((ready.status.as_u16(), ready.body.as_slice()), (503, b"draining\n".as_slice()));
        let calls = scene.upstream.calls();
        let refused = maya.call("contracts.read", contract()).await;
        assert_eq!(said(&refused), (503, "draining".to_owned()), "{refused:?}");
        assert_eq!(refused.headers["retry-after"], "1");
        assert_eq!(said(&maya.ask_channel(b"whatever").await), (503, "draining".to_owned()));
        assert_eq!(scene.upstream.calls(), calls, "nobody was called");
        // It goes on learning, and is cut at like any other.
        let epoch = scene.revoke(CutKind::Session, "session-of-somebody-else");
        scene.until("the cut is enforced", |status| status["revocation_epoch"] == epoch).await;
        scene.upstream.release();
    };
    tokio::join!(held, drain);
    let ended = scene.until("the call has ended", |status| status["running"] == 0).await;
    assert_eq!(ended["draining"], true);
    let undone = post(&scene, &asked(&scene, ADMINISTRATOR, (here, false), 2)).await;
    assert_eq!(undone.json["draining"], false, "{undone:?}");
    assert_eq!(scene.ops().get("/readyz").await.status.as_u16(), 200);
    scene.upstream.answers(Answer::Json);
    assert_eq!(maya.call("contracts.read", contract()).await.reason(), "permit");
    scene.stop_edge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_is_drained_by_an_administrator_of_the_mesh_and_not_by_a_copy() {
    let scene = Scene::new().await;
    let here = keys::edge_id();
    let refused = async |request: &SignedRequest| said(&post(&scene, request).await);
    let refused_as = |status: u16, reason: &str| (status, reason.to_owned());
    let strange = asked(&scene, STRANGER, (here.clone(), true), 0);
    assert_eq!(refused(&strange).await, refused_as(403, "unknown_administrator"));
    let mut forged = asked(&scene, ADMINISTRATOR, (here.clone(), true), 0);
    forged.signature.0[0] ^= 1;
    assert_eq!(refused(&forged).await, refused_as(401, "bad_signature"));
    let elsewhere = asked(&scene, ADMINISTRATOR, (EdgeId::new("us-east-9").unwrap(), true), 0);
    assert_eq!(refused(&elsewhere).await, refused_as(409, "another_edge"));
    assert_eq!(scene.status().await["draining"], false);
    let drain = asked(&scene, ADMINISTRATOR, (here.clone(), true), 0);
    assert_eq!(post(&scene, &drain).await.json["draining"], true);
    assert_eq!(post(&scene, &asked(&scene, ADMINISTRATOR, (here, false), 1)).await.json["draining"], false);
    // Somebody shows the first request again.
    assert_eq!(refused(&drain).await, refused_as(409, "overtaken"));
    assert_eq!(scene.status().await["draining"], false);
    scene.stop_edge().await;
}
