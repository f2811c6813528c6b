//! A publisher that holds a valid voter's certificate and lies: it cannot make an edge do anything.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use remit_common::bundle::SignedBundle;
use remit_common::id::{EdgeId, VoterId};
use remit_common::revocation::CutKind;
use remit_common::trust::directory::SignedDirectory;
use serde_json::{Value, json};

use crate::support::agent::Agent;
use crate::support::bundle::{self, Variant};
use crate::support::keys::{self, SEALER, STRANGER, acme, edge_id, key};
use crate::support::scene::Scene;
use crate::support::upstream::API_KEY;
use crate::support::voter::Voter;

fn contract() -> Value {
    json!({"customer_id": "cust_1042", "contract_id": "contract_7781"})
}

/// Lets the edge hear a lie and waits until it has said what it thinks of it.
async fn refused(scene: &Scene, code: &str) -> Value {
    crate::support::eventually(code, || async {
        let codes: Vec<String> = scene
            .voters
            .iter()
            .flat_map(|voter| voter.heard(|heard| heard.nacks.iter().map(|nack| nack.code.clone()).collect::<Vec<_>>()))
            .collect();
        codes.iter().any(|found| found == code).then_some(())
    })
    .await;
    scene.status().await
}

async fn still_runs(scene: &Scene, version: u64) {
    let status = scene.status().await;
    assert_eq!(status["bundle_version"], version, "{status}");
    assert_eq!(scene.maya().call("contracts.read", contract()).await.reason(), "permit");
}

/// I-4, for every way in which a bundle can be wrong.
#[tokio::test(flavor = "multi_thread")]
async fn no_bundle_without_k_signatures_is_activated() {
    type Attack = (&'static str, fn(&Scene) -> SignedBundle);
    let attacks: [Attack; 5] = [
        ("signed by one administrator", |scene| {
            bundle::signed(&acme(), &Variant::new(2, &scene.upstream.url()), scene.now, &[1])
        }),
        ("signed by nobody", |scene| bundle::signed(&acme(), &Variant::new(2, &scene.upstream.url()), scene.now, &[])),
        ("signed by strangers", |scene| {
            let mut bundle = bundle::signed(&acme(), &Variant::new(2, &scene.upstream.url()), scene.now, &[]);
            bundle.add_signature(&key(STRANGER));
            bundle.add_signature(&key(98));
            bundle
        }),
        ("a file exchanged after signing", |scene| {
            // A new file: one that the edge has from the last bundle needs nobody to send it.
            let policy =
                "@id(\"new\") permit (principal in AgentClass::\"clerk\", action == Action::\"plain.read\", resource);";
            let variant = Variant { policy, ..Variant::new(2, &scene.upstream.url()) };
            let bundle = bundle::signed(&acme(), &variant, scene.now, &[0, 1]);
            let mut bytes = bundle.to_bytes();
            let at = bytes.windows(6).position(|window| window == b"permit").unwrap();
            bytes[at..at + 6].copy_from_slice(b"forbid");
            SignedBundle::parse(&bytes).unwrap()
        }),
        ("of another tenant", |scene| {
            let globex = remit_common::id::TenantId::new("globex").unwrap();
            let mut bundle = bundle::signed(&globex, &Variant::new(2, &scene.upstream.url()), scene.now, &[]);
            for seed in keys::POLICY {
                bundle.add_signature(&key(seed));
            }
            bundle
        }),
    ];
    for (attack, make) in attacks {
        let scene = Scene::new().await;
        let nonces = |scene: &Scene| scene.voters.iter().map(|voter| voter.heard(|heard| heard.nonces)).sum::<u64>();
        let before = nonces(&scene);
        scene.log.activate(&acme(), make(&scene));
        crate::support::eventually(attack, || async {
            let refused = scene.voters.iter().any(|voter| voter.heard(|heard| !heard.nacks.is_empty()));
            // A file that is not what the manifest says is never whole, so there is nothing to refuse.
            let ignored = attack.starts_with("a file") && nonces(&scene) >= before + 3;
            (refused || ignored).then_some(())
        })
        .await;
        still_runs(&scene, 1).await;
        scene.stop_edge().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lower_version_is_refused_even_with_all_signatures() {
    let scene = Scene::before_the_edge();
    scene.publish(&Variant::new(5, &scene.upstream.url()));
    scene.start_edge().await;
    scene.until_fresh(5).await;
    scene
        .log
        .activate(&acme(), bundle::signed(&acme(), &Variant::new(4, &scene.upstream.url()), scene.now, &[0, 1, 2]));
    crate::support::eventually("the rollback is refused", || async {
        scene.voters.iter().any(|voter| voter.heard(|heard| !heard.nacks.is_empty())).then_some(())
    })
    .await;
    still_runs(&scene, 5).await;
    scene.stop_edge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_shards_are_not_taken() {
    let scene = Scene::new().await;
    assert_eq!(scene.maya().call("contracts.read", contract()).await.reason(), "permit");
    let other = EdgeId::new("us-east-1").unwrap();
    let forgeries = [
        ("by a stranger", keys::shard_by(STRANGER, &edge_id(), "sk-forged-00000001", 2, scene.profile)),
        ("for another edge", keys::shard_by(SEALER, &other, "sk-forged-00000002", 3, scene.profile)),
    ];
    for (at, (attack, bytes)) in forgeries.into_iter().enumerate() {
        scene.log.seal(edge_id(), 2 + u64::try_from(at).unwrap(), bytes);
        crate::support::eventually(attack, || async {
            let nacks = scene.voters.iter().map(|voter| voter.heard(|heard| heard.nacks.len())).sum::<usize>();
            (nacks > at).then_some(())
        })
        .await;
    }
    // An old version under a new number: what counts is what was signed.
    scene.log.seal(edge_id(), 9, keys::shard("sk-older-000000001", 1, scene.profile));
    refused(&scene, "shard-not-rising").await;
    assert_eq!(scene.maya().call("contracts.read", contract()).await.reason(), "permit");
    let used = scene.upstream.seen().pop().unwrap().0;
    assert_eq!(used["authorization"], format!("Bearer {API_KEY}"));
    scene.stop_edge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_credential_is_used_from_the_next_call_on() {
    let scene = Scene::new().await;
    assert_eq!(scene.maya().call("contracts.read", contract()).await.reason(), "permit");
    scene.log.seal(edge_id(), 2, keys::shard("sk-rotated-00000001", 2, scene.profile));
    crate::support::eventually("the new version is used", || async {
        // The tool knows the old one only, and says 401.
        (scene.maya().call("contracts.read", contract()).await.reason() == "upstream_unreachable").then_some(())
    })
    .await;
    let used = scene.upstream.seen().pop().unwrap().0;
    assert_eq!(used["authorization"], "Bearer sk-rotated-00000001");
    scene.stop_edge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_that_their_roles_did_not_sign_change_nothing() {
    let scene = Scene::new().await;
    let content = keys::directory_content(scene.now, 2, &scene.tenants);
    let forged = SignedDirectory::make(&content, &[&key(STRANGER)]).unwrap();
    scene.log.set_directory(2, forged.to_bytes());
    let status = refused(&scene, "trust").await;
    assert_eq!(status["directory_version"], 1);
    scene.log.set_directory(3, keys::directory(scene.now, 3, &scene.tenants).to_bytes());
    scene.until("a good one is taken", |status| status["directory_version"] == 3).await;
    scene.log.add_root(2, b"{}".to_vec());
    crate::support::eventually("the root is refused", || async {
        let nacks = scene.voters.iter().map(|voter| voter.heard(|heard| heard.nacks.len())).sum::<usize>();
        (nacks >= 2).then_some(())
    })
    .await;
    assert_eq!(scene.status().await["root_version"], 1);
    still_runs(&scene, 1).await;
    scene.stop_edge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_but_an_administrator_cuts() {
    let scene = Scene::new().await;
    let mut forged = keys::cut(scene.now, 50, CutKind::Session, "session-1", &scene.tenants);
    forged.request.signature = key(STRANGER).sign(b"anything");
    scene.log.revoke(forged);
    refused(&scene, "revocation").await;
    assert_eq!(scene.status().await["revocation_epoch"], 0);
    still_runs(&scene, 1).await;
    scene.stop_edge().await;
}

/// A certificate of another authority opens no connection, whatever it says.
#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_with_a_voters_name_is_not_heard() {
    let scene = Scene::before_the_edge();
    scene.publish(&Variant::new(1, &scene.upstream.url()));
    let any: SocketAddr = ([127, 0, 0, 1], 0).into();
    let env = &scene.world.env;
    let stranger = Voter::start_with_ca(env, VoterId(1), &scene.log, any, &key(STRANGER)).unwrap();
    let mut config = scene.config.clone();
    config.voters.truncate(1);
    config.voters[0].dist = stranger.addr;
    let edge = crate::support::edge::Running::start(env, &config).await;
    crate::support::eventually("the edge has tried", || async {
        let logs = crate::support::logs::kept();
        logs.windows(13).any(|window| window == b"no connection").then_some(())
    })
    .await;
    let status = edge.status().await;
    assert_eq!((&status["directory_version"], &status["voter"]), (&Value::Null, &Value::Null));
    assert_eq!(stranger.heard(|heard| heard.subscriptions), 0);
    let agent = Agent::new(env, edge.agent_addr, Some(&scene.envelope(crate::support::scene::TASK)));
    assert_eq!(agent.call("contracts.read", contract()).await.reason(), "stale");
    edge.stop().await;
}

/// An edge that knows nothing yet takes nothing from a liar either, and everything from an honest voter afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_edge_at_a_hostile_publisher_stays_empty() {
    let scene = Scene::before_the_edge();
    scene.log.activate(&acme(), bundle::signed(&acme(), &Variant::new(9, &scene.upstream.url()), scene.now, &[0]));
    scene.log.seal(edge_id(), 7, keys::shard_by(STRANGER, &edge_id(), "sk-forged-00000001", 7, scene.profile));
    scene.start_edge().await;
    crate::support::eventually("it has refused what it was offered", || async {
        let nacks = scene.voters.iter().map(|voter| voter.heard(|heard| heard.nacks.len())).sum::<usize>();
        (nacks >= 2).then_some(())
    })
    .await;
    let status = scene.status().await;
    assert_eq!((&status["bundle_version"], &status["mode"]), (&Value::Null, &json!("isolated")));
    assert_eq!(scene.ops().get("/readyz").await.status.as_u16(), 503);
    for voter in &scene.voters {
        assert!(!voter.behaviour.silent.load(Ordering::SeqCst), "the ticks were good, and did not help");
    }
    scene.publish(&Variant::new(1, &scene.upstream.url()));
    scene.until_fresh(1).await;
    scene.stop_edge().await;
}
