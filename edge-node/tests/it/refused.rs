//! Every bundle of the table is refused by an edge, though it is signed as it should be: the edge says where it is wrong,
//! and goes on deciding by what was active.

use remit_common::bundle::{BuildOverrides, SignedBundle};
use serde_json::json;

use crate::bad_bundles::{Bad, TABLE, container, files};
use crate::support::bundle::Variant;
use crate::support::keys::{self, MESH, acme, key};
use crate::support::scene::Scene;

fn signed(scene: &Scene, bad: &Bad, version: u64) -> SignedBundle {
    let overrides =
        BuildOverrides { created: Some(scene.now), mesh_id: Some(MESH), version: Some(version), fallback: None };
    let mut bundle = container(&files(bad), &overrides);
    let administrators = keys::policy_keys(&acme());
    [0, 1].iter().for_each(|signer| bundle.add_signature(&key(administrators[*signer])));
    bundle
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_refuses_what_is_wrong_says_where_and_goes_on() {
    let scene = Scene::new().await;
    let mut refused = 0;
    for bad in TABLE {
        let Bad { name, says: Some(says), .. } = bad else { continue };
        // The floor of these bundles is 5: what is above it is judged by what it says.
        let bundle = signed(&scene, bad, 20 + refused);
        let digest = bundle.digest();
        scene.log.activate(&acme(), bundle);
        let detail = crate::support::eventually(name, || async {
            scene.voters.iter().find_map(|voter| {
                voter.heard(|heard| {
                    heard.nacks.iter().find(|nack| nack.digest == digest).map(|nack| nack.detail.clone())
                })
            })
        })
        .await;
        assert!(detail.contains(says), "{name}: `{says}`: {detail}");
        refused += 1;
    }
    assert!(refused >= 25, "only {refused} bundles were published");
    let contract = json!({"customer_id": "cust_1042", "contract_id": "contract_7781"});
    assert_eq!(scene.status().await["bundle_version"], 1);
    assert_eq!(scene.maya().call("contracts.read", contract).await.reason(), "permit");
    scene.publish(&Variant::new(90, &scene.upstream.url()));
    scene.until("the next good one is taken", |status| status["bundle_version"] == 90).await;
    scene.stop_edge().await;
}
