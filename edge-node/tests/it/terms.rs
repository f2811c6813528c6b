//! What an envelope says beside its grants, held at the edge: where it holds, what it demands. Clauses E-28 and E-29.

use serde_json::{Value, json};

use crate::support::keys;
use crate::support::scene::{Scene, TASK};

fn contract() -> Value {
    json!({"customer_id": "cust_1042", "contract_id": "contract_7781"})
}

/// Maya's task with something more said at its end.
fn task(more: &str) -> String {
    TASK.replacen("[[grant]]", &format!("{more}\n[[grant]]"), 1)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_envelope_holds_where_every_link_says_so() {
    let scene = Scene::new().await;
    let call = async |envelope: &[u8]| {
        let answered = scene.agent(Some(envelope)).call("contracts.read", contract()).await;
        let hop = answered.json["error"]["data"]["hop"].as_u64();
        (answered.status.as_u16(), answered.reason(), hop)
    };
    let permitted = (200, "permit".to_owned(), None);
    let refused = |hop| (403, "wrong_audience".to_owned(), Some(hop));
    let at = |audience: &str| scene.envelope(&task(&format!("[audience]\n{audience}")));
    assert_eq!(call(&at("regions = [\"eu-west\", \"us-east\"]")).await, permitted);
    assert_eq!(call(&at("edges = [\"eu-west-1\"]")).await, permitted);
    assert_eq!(call(&at("regions = [\"us-east\"]")).await, refused(0));
    assert_eq!(call(&at("regions = [\"eu-west\"]\nedges = [\"eu-west-2\"]")).await, refused(0));
    assert_eq!(call(&at("regions = []")).await, refused(0));

    let parent = at("regions = [\"eu-west\", \"us-east\"]");
    let child = |audience: &str| {
        let restriction = format!(
            "lifetime_secs = 300\n[agent]\nid = \"agent:helper\"\nclass = \"helper\"\n[audience]\n{audience}\n[[grant]]\nof = 0\ntools = [\"**\"]\n"
        );
        keys::hand_on(&parent, &restriction, &scene.taxonomy, scene.world.env.now().wall)
    };
    assert_eq!(call(&child("edges = [\"eu-west-1\"]")).await, permitted);
    assert_eq!(call(&child("regions = [\"us-east\"]")).await, refused(1));
    // A hop cannot bring it to where its parent does not hold.
    let elsewhere = at("regions = [\"us-east\"]");
    let restriction = "lifetime_secs = 300\n[agent]\nid = \"agent:helper\"\nclass = \"helper\"\n[audience]\nregions = [\"eu-west\"]\n[[grant]]\nof = 0\ntools = [\"**\"]\n";
    let greedy = keys::hand_on(&elsewhere, restriction, &scene.taxonomy, scene.world.env.now().wall);
    assert_eq!(call(&greedy).await, refused(0));
    let listed = scene.agent(Some(&elsewhere)).list().await;
    assert_eq!(listed.json["error"]["data"]["reason"], "wrong_audience", "{listed:?}");
    assert_eq!(scene.upstream.calls(), 3);
    scene.stop_edge().await;
}

/// A read asks for a tag at most; the holder who is told that the envelope demands more signs.
#[tokio::test(flavor = "multi_thread")]
async fn the_proof_that_an_envelope_demands_is_asked_for_and_shown() {
    let scene = Scene::new().await;
    for grade in ["P0", "P1", "P2"] {
        let envelope = scene.envelope(&task(&format!("[obligations]\nmin_pop = \"{grade}\"")));
        let answered = scene.agent(Some(&envelope)).call("contracts.read", contract()).await;
        assert_eq!(answered.reason(), "permit", "{grade}: {answered:?}");
    }
    scene.stop_edge().await;
}

/// Clause G-16: a read is made while its record is on its way to the disk, unless the envelope demands otherwise.
#[tokio::test(flavor = "multi_thread")]
async fn a_read_is_recorded_first_where_the_envelope_demands_it() {
    let scene = Scene::new().await;
    let demanding = scene.envelope(&task("[obligations]\nrecord_first = true"));
    let demanding = scene.agent(Some(&demanding));
    assert_eq!(demanding.call("contracts.read", contract()).await.reason(), "permit");
    scene.world.break_disk(true);
    assert_eq!(scene.maya().call("contracts.read", contract()).await.reason(), "permit");
    assert_eq!(demanding.call("contracts.read", contract()).await.reason(), "obligation_unmet");
    scene.world.break_disk(false);
    assert_eq!(scene.upstream.calls(), 2);
    scene.stop_edge().await;
}
