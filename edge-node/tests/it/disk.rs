//! What a disk that takes nothing more costs, and what it must never cost.

use remit_common::id::RevocationEpoch;
use remit_common::revocation::CutKind;
use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::scene::{Scene, TASK};

fn contract() -> Value {
    json!({"customer_id": "cust_1042", "contract_id": "contract_7781"})
}

async fn read(scene: &Scene) -> String {
    scene.maya().call("contracts.read", contract()).await.reason()
}

/// The highest epoch that the edge has signed to enforce.
fn covered(scene: &Scene) -> RevocationEpoch {
    let signed = scene
        .voters
        .iter()
        .flat_map(|voter| voter.heard(|heard| heard.covered.iter().map(|covered| covered.epoch).collect::<Vec<_>>()));
    signed.max().unwrap_or_default()
}

/// A scene in which a cut of Maya's session has arrived and the disk does not take it.
async fn with_a_cut_that_the_disk_refuses() -> Scene {
    let scene = Scene::new().await;
    scene.world.break_disk(true);
    scene.revoke(CutKind::Session, "session-1");
    scene.maya().until_refused("stale", "contracts.read", contract()).await;
    scene
}

/// Clause N-16: it stops calls at once; but nobody is told that it is enforced, for a restart may take it back.
#[tokio::test(flavor = "multi_thread")]
async fn a_cut_that_the_disk_does_not_take_stops_calls_and_is_not_acknowledged() {
    let scene = with_a_cut_that_the_disk_refuses().await;
    let other = scene.agent(Some(&scene.envelope(&TASK.replace("session-1", "session-2"))));
    assert_eq!(other.call("contracts.read", contract()).await.reason(), "permit", "the others go on");
    let before = scene.status().await;
    assert_eq!(before["revocation_epoch"], 0);
    assert_eq!(covered(&scene), RevocationEpoch(0));
    // It starts anew by what its disk has. Whatever it permits now, it has not gone back on its word.
    scene.stop_edge().await;
    scene.world.break_disk(false);
    scene.start_edge().await;
    let after = scene.status().await;
    for rising in ["revocation_epoch", "tick", "activation"] {
        assert!(after[rising].as_u64() >= before[rising].as_u64(), "{rising} went back: {before} then {after}");
    }
    scene.until("it has the cut again", |status| status["revocation_epoch"] == 1).await;
    assert_eq!(read(&scene).await, "revoked");
    eventually("it is acknowledged", || async { (covered(&scene).0 == 1).then_some(()) }).await;
    scene.stop_edge().await;
}

/// Clause N-16: with and without a voter.
#[tokio::test(flavor = "multi_thread")]
async fn a_cut_that_the_disk_did_not_take_is_stored_when_it_can_be() {
    let scene = with_a_cut_that_the_disk_refuses().await;
    scene.world.break_disk(false);
    scene.until("it is stored", |status| status["revocation_epoch"] == 1).await;
    assert_eq!(read(&scene).await, "revoked");
    eventually("it is acknowledged", || async { (covered(&scene).0 == 1).then_some(()) }).await;
    scene.stop_edge().await;

    let scene = with_a_cut_that_the_disk_refuses().await;
    scene.kill_voters();
    scene.until("nobody is followed", |status| status["voter"].is_null()).await;
    scene.world.break_disk(false);
    scene.until("it is stored", |status| status["revocation_epoch"] == 1).await;
    assert_eq!(read(&scene).await, "revoked");
    scene.stop_edge().await;
    scene.start_edge().await;
    assert_eq!(read(&scene).await, "revoked", "what was called revoked stays so");
    scene.stop_edge().await;
}

/// Clause F-9: what an edge shows of itself, it still knows after a restart. So an answer whose proof the disk does not
/// take makes nothing younger, and reads go on until their bound.
#[tokio::test(flavor = "multi_thread")]
async fn a_proof_that_the_disk_does_not_take_does_not_count() {
    let scene = Scene::new().await;
    scene.world.break_disk(true);
    let heard = |scene: &Scene| scene.voters.iter().map(|voter| voter.heard(|heard| heard.nonces)).sum::<u64>();
    let (before, asked) = (scene.status().await, heard(&scene));
    eventually("more answers have come", || async { (heard(&scene) >= asked + 3).then_some(()) }).await;
    let meanwhile = scene.status().await;
    assert_eq!(meanwhile["tick"], before["tick"]);
    assert_eq!(meanwhile["voter"], before["voter"], "a voter is not left for what this disk does");
    assert_eq!(read(&scene).await, "permit");
    scene.world.break_disk(false);
    scene.until("answers count again", |status| status["tick"].as_u64() > before["tick"].as_u64()).await;
    scene.stop_edge().await;
}
