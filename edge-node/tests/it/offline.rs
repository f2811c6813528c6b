//! With the control plane silent, gone or restarted: what goes on, what stops when, and what never goes back.

use std::time::Duration;

use remit_common::revocation::CutKind;
use serde_json::{Value, json};

use crate::support::bundle::Variant;
use crate::support::scene::Scene;

fn contract() -> Value {
    json!({"customer_id": "cust_1042", "contract_id": "contract_7781"})
}

fn customer() -> Value {
    json!({"customer_id": "cust_1042"})
}

async fn reasons(scene: &Scene) -> [String; 3] {
    let maya = scene.maya();
    [
        maya.call("contracts.read", contract()).await.reason(),
        maya.call("notes.write", customer()).await.reason(),
        maya.call("tickets.create", customer()).await.reason(),
    ]
}

/// Bundles 4: one bound per effect, counted from this edge's own nonces.
#[tokio::test(flavor = "multi_thread")]
async fn each_effect_stops_at_its_own_bound() {
    let scene = Scene::new().await;
    assert_eq!(reasons(&scene).await, ["permit", "permit", "permit"]);
    scene.silence(true);
    scene.forward(Duration::from_secs(20));
    assert_eq!(reasons(&scene).await, ["permit", "permit", "stale"]);
    scene.until("the mode says so", |status| status["mode"] == "degraded").await;
    scene.forward(Duration::from_secs(50));
    assert_eq!(reasons(&scene).await, ["permit", "stale", "stale"]);
    scene.forward(Duration::from_secs(250));
    assert_eq!(reasons(&scene).await, ["stale", "stale", "stale"]);
    assert_eq!(scene.maya().list().await.reason(), "stale");
    scene.until("the mode says so", |status| status["mode"] == "isolated").await;
    crate::support::eventually("open credentials are wiped", || async {
        let metrics = String::from_utf8(scene.ops().get("/metrics").await.body).unwrap();
        metrics.contains("remit_edge_credentials_warm 0").then_some(())
    })
    .await;
    scene.silence(false);
    scene.until("it is fresh again", |status| status["mode"] == "fresh").await;
    assert_eq!(reasons(&scene).await, ["permit", "permit", "permit"]);
    scene.stop_edge().await;
}

/// A restart decides by the disk alone: reads go on by the last stored proof, what is beyond them waits for a new one.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_with_the_control_plane_gone_goes_on_reading() {
    let mut scene = Scene::new().await;
    scene.revoke(CutKind::Session, "session-9");
    scene.until("the cut is enforced", |status| status["revocation_epoch"] == 1).await;
    scene.kill_voters();
    scene.stop_edge().await;
    scene.start_edge().await;
    let status = scene.status().await;
    assert_eq!(status["bundle_version"], 1);
    assert_eq!(status["revocation_epoch"], 1, "what was cut stays cut");
    assert_eq!(status["staleness_ms"], Value::Null);
    assert_eq!(scene.ops().get("/readyz").await.status.as_u16(), 200);
    assert_eq!(reasons(&scene).await, ["permit", "stale", "stale"]);
    let cut = crate::support::scene::TASK.replace("session-1", "session-9");
    let cut = scene.agent(Some(&scene.envelope(&cut)));
    assert_eq!(cut.call("contracts.read", contract()).await.reason(), "revoked");
    scene.forward(Duration::from_secs(301));
    assert_eq!(reasons(&scene).await, ["stale", "stale", "stale"]);
    scene.restart_voters().await;
    scene.until("it is fresh again", |status| status["mode"] == "fresh").await;
    assert_eq!(reasons(&scene).await, ["permit", "permit", "permit"]);
    scene.stop_edge().await;
}

/// I-3: over a restart, too.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_rises_falls_over_a_restart() {
    let scene = Scene::new().await;
    scene.publish(&Variant::new(2, &scene.upstream.url()));
    scene.until_fresh(2).await;
    scene.revoke(CutKind::Task, "task-9");
    let before = scene.until("the cut is enforced", |status| status["revocation_epoch"] == 1).await;
    scene.stop_edge().await;
    // The voters forget everything and offer version 1 again, with a number of their own.
    let log = crate::support::voter::Log::new(
        scene.root.clone(),
        (1, crate::support::keys::directory(scene.now, 1, &scene.tenants).to_bytes()),
    );
    log.activate(
        &crate::support::keys::acme(),
        crate::support::bundle::signed(
            &crate::support::keys::acme(),
            &Variant::new(1, &scene.upstream.url()),
            scene.now,
            &[0, 1],
        ),
    );
    let addrs: Vec<_> = scene.voters.iter().map(|voter| (voter.id, voter.addr)).collect();
    let Scene { world, folder: _folder, voters, config, .. } = scene;
    for voter in voters {
        voter.stop().await;
    }
    let mut liars = Vec::new();
    for (id, addr) in addrs {
        liars.push(crate::support::voter::Voter::restart(&world.env, id, &log, addr).await);
    }
    let edge = crate::support::edge::Running::start(&world.env, &config).await;
    crate::support::eventually("the edge has looked at what they offer", || async {
        liars.iter().any(|liar| liar.heard(|heard| heard.nonces > 0)).then_some(())
    })
    .await;
    let after = edge.status().await;
    for rising in ["bundle_version", "bundle_digest", "activation", "revocation_epoch"] {
        assert_eq!(after[rising], before[rising], "{rising}");
    }
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_voter_that_falls_silent_is_left_for_another() {
    let scene = Scene::new().await;
    let status = scene.until("a voter is followed", |status| !status["voter"].is_null()).await;
    let first = status["voter"].as_u64().unwrap();
    let silent = scene.voters.iter().find(|voter| voter.id.0 == first).unwrap();
    silent.behaviour.silent.store(true, std::sync::atomic::Ordering::SeqCst);
    scene
        .until("another voter is followed, and the edge is fresh", |status| {
            status["voter"].as_u64().is_some_and(|voter| voter != first) && status["mode"] == "fresh"
        })
        .await;
    let second = scene.status().await["voter"].as_u64().unwrap();
    scene.voters.iter().find(|voter| voter.id.0 == second).unwrap().kill();
    scene
        .until("the next voter is followed", |status| {
            status["voter"].as_u64().is_some_and(|voter| voter != second) && status["mode"] == "fresh"
        })
        .await;
    scene.stop_edge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_bundle_takes_effect_while_calls_go_on() {
    let scene = Scene::new().await;
    let maya = scene.maya();
    assert_eq!(maya.call("plain.read", customer()).await.reason(), "permit");
    let forbid = "@id(\"stop\") forbid (principal, action == Action::\"plain.read\", resource);";
    scene.publish(&Variant { policy: forbid, ..Variant::new(2, &scene.upstream.url()) });
    scene.until_fresh(2).await;
    assert_eq!(maya.call("plain.read", customer()).await.reason(), "forbidden");
    crate::support::eventually("the edge says what it runs", || async {
        let attested = scene.voters.iter().map(|voter| voter.heard(|heard| heard.attested.len())).sum::<usize>();
        (attested >= 2).then_some(())
    })
    .await;
    scene.stop_edge().await;
}
