//! Relations at a real edge: what is added is permitted, what is removed is refused, what is missing is stale. Clauses
//! N-17 to N-19, G-82 and G-83.

use remit_common::policy::relations::{Tuple, TupleKey};
use remit_common::relation_log::BatchContent;
use serde_json::{Value, json};

use crate::support::agent::{Agent, Answered};
use crate::support::bundle::Variant;
use crate::support::keys::{self, MESH, acme};
use crate::support::scene::{Scene, TASK};

/// Signs the tests' batches, and is a writer of their bundle.
const WRITER: u8 = 71;
const OTHER: u8 = 72;

const OWNED_GRANT: &str = r#"[[grant]]
tools = ["owned.read"]
effects = ["read"]
classes = ["contract_metadata"]
ids = { customer = ["cust_1042"], contract = ["contract_7781"] }
"#;

fn with_relations(version: u64, upstream: &str, writers: &[u8]) -> Variant {
    Variant { relations: Some(writers.to_vec()), ..Variant::new(version, upstream) }
}

async fn scene() -> Scene {
    let scene = Scene::before_the_edge();
    scene.publish(&with_relations(1, &scene.upstream.url(), &[WRITER]));
    scene.start_edge().await;
    scene.until_fresh(1).await;
    scene
}

fn maya_owns() -> Tuple {
    "contract:contract_7781#account_owner@user:maya".parse().unwrap()
}

impl Scene {
    fn write(&self, seed: u8, replace: bool, add: Vec<Tuple>, remove: Vec<TupleKey>) -> u64 {
        let head = self.log.relations_head(&acme());
        let next = (head.revision + 1, head.digest);
        let content = if replace {
            BatchContent::statement(MESH, acme(), next, add)
        } else {
            BatchContent::change(MESH, acme(), next, add, remove)
        };
        self.log.write_relations(&acme(), content.sign(&keys::key(seed)).unwrap(), *keys::key(seed).public());
        next.0
    }

    async fn until_relations(&self, revision: u64) {
        self.until("the relations are here and proven", |status| {
            let relations = &status["tenants"][0]["relations"];
            relations["revision"] == revision && relations["staleness_ms"].is_u64()
        })
        .await;
    }

    fn owner(&self) -> Agent {
        self.agent(Some(&self.envelope(&[TASK, OWNED_GRANT].concat())))
    }
}

fn arguments() -> Value {
    json!({"customer_id": "cust_1042", "contract_id": "contract_7781"})
}

async fn owned(agent: &Agent, at_least: Option<&str>) -> Answered {
    let mut bent = agent.request("tools/call", json!({"name": "owned.read", "arguments": arguments()}));
    bent.headers.extend(at_least.map(|least| ("remit-relations-at-least", least.to_owned())));
    agent.send(bent).await
}

fn is_permitted(answered: &Answered) -> bool {
    answered.json["result"]["isError"] != true && answered.json["error"].is_null()
}

#[tokio::test]
async fn what_is_added_is_permitted_what_is_removed_is_refused_and_a_restart_keeps_it() {
    let scene = scene().await;
    scene.until_relations(0).await;
    let agent = scene.owner();
    assert_eq!(owned(&agent, None).await.reason(), "no_matching_policy");

    let revision = scene.write(WRITER, false, vec![maya_owns()], Vec::new());
    scene.until_relations(revision).await;
    let answered = owned(&agent, Some("1")).await;
    assert!(is_permitted(&answered), "{}", answered.json);
    assert_eq!(owned(&agent, Some("2")).await.reason(), "stale", "an older revision than was asked for");
    assert_eq!(owned(&agent, Some("+1")).await.reason(), "malformed");

    scene.stop_edge().await;
    scene.start_edge().await;
    scene.until_relations(1).await;
    let agent = scene.owner();
    let answered = owned(&agent, None).await;
    assert!(is_permitted(&answered), "{}", answered.json);

    let revision = scene.write(WRITER, false, Vec::new(), vec![maya_owns().key]);
    scene.until_relations(revision).await;
    assert_eq!(owned(&agent, None).await.reason(), "no_matching_policy");

    let revision = scene.write(WRITER, true, vec![maya_owns()], Vec::new());
    scene.until_relations(revision).await;
    assert!(is_permitted(&owned(&agent, None).await));
    scene.stop_edge().await;
}

/// Clause Q-38.
#[tokio::test]
async fn a_writer_that_is_dropped_takes_its_tuples_along_until_another_states_them() {
    let scene = scene().await;
    let revision = scene.write(WRITER, false, vec![maya_owns()], Vec::new());
    scene.until_relations(revision).await;
    let agent = scene.owner();
    assert!(is_permitted(&owned(&agent, None).await));

    scene.publish(&with_relations(2, &scene.upstream.url(), &[OTHER]));
    scene.until("the other bundle is active", |status| status["bundle_version"] == 2).await;
    assert_eq!(owned(&agent, None).await.reason(), "stale");
    // What asks for no relation goes on, however old they are (G-83).
    let answered = agent.call("contracts.read", arguments()).await;
    assert!(is_permitted(&answered), "{}", answered.json);

    let revision = scene.write(OTHER, true, vec![maya_owns()], Vec::new());
    scene.until_relations(revision).await;
    assert!(is_permitted(&owned(&agent, None).await));
    scene.stop_edge().await;
}

/// Clause D-14.
#[tokio::test(flavor = "multi_thread")]
async fn batches_that_the_disk_did_not_take_are_asked_for_again() {
    let scene = scene().await;
    scene.until_relations(0).await;
    scene.world.break_disk(true);
    scene.write(WRITER, false, vec![maya_owns()], Vec::new());
    let refused =
        || async { scene.status().await["staleness_ms"].as_u64().is_none_or(|age| age > 3_000).then_some(()) };
    crate::support::eventually("the disk takes nothing", refused).await;
    let agent = scene.owner();
    assert_ne!(owned(&agent, None).await.reason(), "permit");
    scene.world.break_disk(false);
    scene.until_relations(1).await;
    assert!(is_permitted(&owned(&agent, None).await));
    scene.stop_edge().await;
}

/// More than one offer, and then all of it in one statement, while calls go on.
#[tokio::test]
async fn many_batches_arrive_one_offer_after_the_other() {
    let scene = scene().await;
    let other = |n: usize| format!("contract:c{n}#account_owner@user:otto").parse::<Tuple>().unwrap();
    for n in 0..300 {
        scene.write(WRITER, false, vec![other(n)], Vec::new());
    }
    let revision = scene.write(WRITER, false, vec![maya_owns()], Vec::new());
    scene.until_relations(revision).await;
    let agent = scene.owner();
    assert!(is_permitted(&owned(&agent, Some("301")).await));
    let revision = scene.write(WRITER, true, vec![other(1)], Vec::new());
    scene.until_relations(revision).await;
    assert_eq!(owned(&agent, Some("302")).await.reason(), "no_matching_policy");
    scene.stop_edge().await;
}

/// A writer whom the bundle does not name: voters would refuse it, so these lie.
#[tokio::test]
async fn what_a_stranger_signed_is_not_used_and_the_edge_goes_stale() {
    let scene = scene().await;
    let revision = scene.write(WRITER, false, vec![maya_owns()], Vec::new());
    scene.until_relations(revision).await;
    scene.write(OTHER, false, Vec::new(), vec![maya_owns().key]);
    let refused = |voter: &crate::support::voter::Voter| {
        voter.heard(|heard| heard.nacks.iter().any(|nack| nack.code == "not_a_writer"))
    };
    crate::support::eventually("the batch is refused", || async { scene.voters.iter().any(refused).then_some(()) })
        .await;
    let status = scene.status().await;
    assert_eq!(status["tenants"][0]["relations"]["revision"], 1);
    scene.stop_edge().await;
}
