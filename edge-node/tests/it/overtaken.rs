//! Calls that another bundle overtakes between their decision and their first byte.

use remit_common::crypto::digest::Digest;
use remit_common::record::RecordKind;
use remit_common::trust::directory::SignedDirectory;
use serde_json::{Value, json};
use std::time::Duration;

use crate::support::agent::Answered;
use crate::support::bundle::Variant;
use crate::support::eventually;
use crate::support::keys;
use crate::support::scene::Scene;

fn customer() -> Value {
    json!({"customer_id": "cust_1042"})
}

/// Publishes bundles one after the other, each while the call that was decided under the one before waits for its
/// record; gives what the agent was told in the end.
async fn overtaken_by(scene: &Scene, variants: &[Variant]) -> Answered {
    // A permit lives for seconds, and this must not be about them.
    scene.world.stop_clock();
    hold_decisions(scene).await;
    let overtaking = async {
        for variant in variants {
            eventually("the decision waits", || async { scene.world.waits().then_some(()) }).await;
            scene.publish(variant);
            // A nonce of the same moment would prove nothing new.
            scene.forward(Duration::from_millis(10));
            scene.until("the next bundle is active", |status| status["bundle_version"] == variant.version).await;
            hold_decisions(scene).await;
        }
        if variants.len() < 3 {
            scene.world.hold(None);
        }
    };
    let maya = scene.maya();
    let (answered, ()) = tokio::join!(maya.call("tickets.create", customer()), overtaking);
    scene.world.hold(None);
    answered
}

/// What the active bundle decides waits from now on, and what waited goes on.
async fn hold_decisions(scene: &Scene) {
    let active = scene.status().await["bundle_digest"].as_str().unwrap().parse::<Digest>().unwrap();
    scene.world.hold(Some(active.0.to_vec()));
}

/// How the decisions of all voters' records ended, by kind and word.
async fn recorded(scene: &Scene, kind: RecordKind) -> Vec<String> {
    scene.until("every record is with a majority", |status| status["spool"]["records"] == 0).await;
    let mut all = std::collections::BTreeMap::new();
    for voter in &scene.voters {
        voter.heard(|heard| all.extend(heard.records.clone()));
    }
    let of_kind = all.into_values().filter(|record| record.public().kind == kind);
    of_kind.map(|record| record.public().reason.to_string()).collect()
}

/// Clause G-17: the tool has not heard of it, so it is decided again, by the bundle that is in force now.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_a_bundle_overtakes_is_decided_again() {
    let scene = Scene::new().await;
    let answered = overtaken_by(&scene, &[Variant::new(2, &scene.upstream.url())]).await;
    assert_eq!(answered.reason(), "permit");
    assert_eq!(scene.upstream.calls(), 1, "it is made once");
    assert_eq!(recorded(&scene, RecordKind::Decision).await, ["permit", "permit"]);
    assert_eq!(recorded(&scene, RecordKind::Outcome).await, ["called-off", "released"]);
    scene.stop_edge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bundle_that_overtakes_a_call_can_forbid_it() {
    let scene = Scene::new().await;
    let forbid = "@id(\"stop\") forbid (principal, action == Action::\"tickets.create\", resource);";
    let variant = Variant { policy: forbid, ..Variant::new(2, &scene.upstream.url()) };
    let answered = overtaken_by(&scene, &[variant]).await;
    assert_eq!(answered.reason(), "forbidden");
    assert_eq!(scene.upstream.calls(), 0);
    assert_eq!(recorded(&scene, RecordKind::Decision).await, ["permit", "forbidden"]);
    scene.stop_edge().await;
}

/// G-17: the directory that came with the bundle does not list those who issued the envelope any more.
#[tokio::test(flavor = "multi_thread")]
async fn an_envelope_of_issuers_that_are_gone_permits_nothing_after_a_bundle_has_overtaken_its_call() {
    let scene = Scene::new().await;
    scene.world.stop_clock();
    hold_decisions(&scene).await;
    let overtaking = async {
        eventually("the decision waits", || async { scene.world.waits().then_some(()) }).await;
        let mut content = keys::directory_content(scene.now, 2, &scene.tenants);
        for (issuer, seed) in content.issuers.iter_mut().zip(24..) {
            issuer.key = *keys::key(seed).public();
        }
        let directory = SignedDirectory::make(&content, &[&keys::key(keys::DIRECTORY)]).unwrap();
        scene.log.set_directory(2, directory.to_bytes());
        scene.until("the directory is here", |status| status["directory_version"] == 2).await;
        scene.publish(&Variant::new(2, &scene.upstream.url()));
        scene.forward(Duration::from_millis(10));
        scene.until("the next bundle is active", |status| status["bundle_version"] == 2).await;
        scene.world.hold(None);
    };
    let maya = scene.maya();
    let (answered, ()) = tokio::join!(maya.call("tickets.create", customer()), overtaking);
    assert_eq!((answered.status.as_u16(), answered.reason().as_str()), (401, "bad_signature"));
    assert_eq!(scene.upstream.calls(), 0);
    assert_eq!(recorded(&scene, RecordKind::Decision).await, ["permit", "bad_signature"]);
    scene.stop_edge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_overtaken_again_and_again_is_refused_in_the_end() {
    let scene = Scene::new().await;
    let variants = [2, 3, 4].map(|version| Variant::new(version, &scene.upstream.url()));
    let answered = overtaken_by(&scene, &variants).await;
    assert_eq!(answered.reason(), "stale");
    assert_eq!(scene.upstream.calls(), 0);
    assert_eq!(recorded(&scene, RecordKind::Outcome).await, ["called-off", "called-off", "called-off"]);
    scene.stop_edge().await;
}
