//! Attacks on root and directory where an edge differs from a voter: it is told one document after the other by somebody
//! whom it does not believe, and has to stand on what it holds meanwhile. The others are in `hostile.rs`; the table of
//! all of them is in docs/PROTOCOL.md, "Attacks by name".

use remit_common::limits::DIRECTORY_STEP_MAX;
use remit_common::trust::directory::SignedDirectory;
use remit_common::trust::role::RoleContent;
use remit_common::trust::root::{RootContent, SignedRoot};
use serde_json::{Value, json};

use crate::support::keys::{self, DIRECTORY, ROOT, key};
use crate::support::scene::Scene;

/// The directory's key after the rotation.
const NEW_DIRECTORY: u8 = 44;

fn contract() -> Value {
    json!({"customer_id": "cust_1042", "contract_id": "contract_7781"})
}

/// A directory of this version, signed by this key.
fn directory(scene: &Scene, version: u64, by: u8) -> Vec<u8> {
    let content = keys::directory_content(scene.now, version, &scene.tenants);
    SignedDirectory::make(&content, &[&key(by)]).unwrap().to_bytes()
}

/// The root after the first one, in which directories are signed by another key.
fn rotated(scene: &Scene, signed_by: u8) -> Vec<u8> {
    let first = SignedRoot::parse(&scene.root).unwrap();
    let pin = first.digest();
    let first = first.verify_pinned(&pin, &keys::MESH).unwrap();
    let directory = RoleContent { keys: vec![*key(NEW_DIRECTORY).public()], threshold: 1 };
    let content = RootContent { version: 2, directory, ..first.content().clone() };
    SignedRoot::make(&content, &[&key(signed_by)]).unwrap().to_bytes()
}

/// Waits until the voters have heard so many refusals, and says what the edge has then.
async fn after_refusals(scene: &Scene, least: usize) -> Value {
    crate::support::eventually("it is refused", || async {
        let nacks = scene.voters.iter().map(|voter| voter.heard(|heard| heard.nacks.len())).sum::<usize>();
        (nacks >= least).then_some(())
    })
    .await;
    scene.status().await
}

async fn still_decides(scene: &Scene) {
    assert_eq!(scene.maya().call("contracts.read", contract()).await.reason(), "permit");
}

#[tokio::test(flavor = "multi_thread")]
async fn fast_forward_and_its_recovery() {
    let scene = Scene::new().await;
    let far = 1 + DIRECTORY_STEP_MAX;
    scene.log.set_directory((1 << 53) - 1, directory(&scene, (1 << 53) - 1, DIRECTORY));
    let status = after_refusals(&scene, 1).await;
    assert_eq!(status["directory_version"], 1, "{status}");
    still_decides(&scene).await;
    scene.stop_edge().await;

    // As far as one step goes, and then the next version: there is one.
    let scene = Scene::new().await;
    for version in [far, far + 1] {
        scene.log.set_directory(version, directory(&scene, version, DIRECTORY));
        scene.until("it is taken", |status| status["directory_version"] == version).await;
    }
    still_decides(&scene).await;
    scene.stop_edge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn key_compromise_and_rotation() {
    let scene = Scene::new().await;
    scene.log.add_root(2, rotated(&scene, DIRECTORY));
    let status = after_refusals(&scene, 1).await;
    assert_eq!(status["root_version"], 1, "{status}");
    scene.stop_edge().await;

    let scene = Scene::new().await;
    scene.log.set_directory(2, directory(&scene, 2, NEW_DIRECTORY));
    let status = after_refusals(&scene, 1).await;
    assert_eq!(status["directory_version"], 1, "a key that no root names yet: {status}");
    scene.log.add_root(2, rotated(&scene, ROOT));
    scene.log.set_directory(3, directory(&scene, 3, NEW_DIRECTORY));
    scene.until("both are taken", |status| status["root_version"] == 2 && status["directory_version"] == 3).await;
    scene.until_fresh(1).await;
    still_decides(&scene).await;
    let before = scene.voters.iter().map(|voter| voter.heard(|heard| heard.nacks.len())).sum::<usize>();
    scene.log.set_directory(4, directory(&scene, 4, DIRECTORY));
    let status = after_refusals(&scene, before + 1).await;
    assert_eq!(status["directory_version"], 3, "the key that left signs nothing: {status}");
    still_decides(&scene).await;
    scene.stop_edge().await;
}
