//! A bundle in waves at a real edge: it decides where it is meant to, and is only compared elsewhere. Clauses N-20, N-21,
//! O-1, O-2 and O-9.

use remit_common::bundle::SignedBundle;
use remit_common::trust::scope::{PER_MILLE_ALL, Scope};
use remit_common::wire::message::RolloutReport;
use serde_json::json;

use crate::support::bundle::{self, Variant};
use crate::support::eventually;
use crate::support::keys::{acme, edge_id};
use crate::support::scene::Scene;

const FORBID: &str = "@id(\"stop\") forbid (principal, action == Action::\"plain.read\", resource);";

impl Scene {
    /// Version 2, which forbids what version 1 permits, and can be taken back to it.
    fn harmful(&self, first: &SignedBundle) -> SignedBundle {
        let fallback = Some(first.digest());
        let variant = Variant { policy: FORBID, fallback, ..Variant::new(2, &self.upstream.url()) };
        bundle::signed(&acme(), &variant, self.now, &[0, 2])
    }

    fn first(&self) -> SignedBundle {
        bundle::signed(&acme(), &Variant::new(1, &self.upstream.url()), self.now, &[0, 2])
    }

    async fn reads(&self) -> String {
        self.maya().call("plain.read", json!({"customer_id": "cust_1042"})).await.reason()
    }

    async fn until_version(&self, version: u64) {
        self.until("a bundle is active", |status| status["bundle_version"] == version).await;
    }

    /// The newest report of any voter that satisfies this.
    async fn reported(&self, what: &str, is_wanted: impl Fn(&RolloutReport) -> bool) -> RolloutReport {
        eventually(what, || async {
            let newest = |voter: &crate::support::voter::Voter| voter.heard(|heard| heard.rollouts.last().cloned());
            self.voters.iter().filter_map(newest).find(|report| is_wanted(report))
        })
        .await
    }
}

fn nobody(salt: u64) -> Scope {
    Scope { salt, edges: ["another".parse().unwrap()].into(), ..Scope::default() }
}

fn here(salt: u64) -> Scope {
    Scope { salt, edges: [edge_id()].into(), ..Scope::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn elsewhere_it_is_compared_and_decides_nothing() {
    let scene = Scene::new().await;
    let harmful = scene.harmful(&scene.first());
    scene.log.stage(&acme(), harmful, nobody(9));
    let report = scene.reported("the edge has both bundles", |report| report.rollout.0 == 9).await;
    assert!(!report.runs);
    let before = report.compared;
    for _ in 0..3 {
        assert_eq!(scene.reads().await, "permit");
    }
    let report = scene.reported("the calls are compared", |report| report.compared >= before + 3).await;
    assert_eq!((report.newly_denied, report.newly_permitted, report.failed), (3, 0, 0));
    assert_eq!(report.permitted_before, 3);
    let [example] = report.examples.as_slice() else { panic!("{:?}", report.examples) };
    assert_eq!((example.before.as_str(), example.after.as_str()), ("permit", "forbidden"));
    assert_eq!((example.action.as_str(), example.class.as_str()), ("plain.read", "analyst"));
    assert!(example.rules.iter().any(|rule| rule == "stop"), "{:?}", example.rules);
    assert_eq!(scene.status().await["bundle_version"], 1);
    scene.stop_edge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_it_is_meant_it_decides_and_goes_back_without_a_signature() {
    let scene = Scene::new().await;
    let first = scene.first();
    let harmful = scene.harmful(&first);
    scene.log.stage(&acme(), harmful.clone(), here(9));
    scene.until_version(2).await;
    assert_eq!(scene.reads().await, "forbidden");
    // Of two bundles the new one is always the later.
    let report = scene.reported("the call is compared", |report| report.newly_denied == 1).await;
    assert!(report.runs);
    assert_eq!(report.newly_permitted, 0);

    // A restart in the middle of it changes nothing.
    scene.stop_edge().await;
    scene.start_edge().await;
    scene.until_fresh(2).await;
    assert_eq!(scene.reads().await, "forbidden");

    scene.log.settle(&acme(), first);
    scene.until_version(1).await;
    assert_eq!(scene.reads().await, "permit");
    let numbers = scene.voters.iter().flat_map(|voter| {
        voter.heard(|heard| heard.attested.iter().map(|attested| attested.number.0).collect::<Vec<_>>())
    });
    assert!(numbers.max() > Some(0));
    // Afterwards nothing is compared any more.
    let reports =
        |scene: &Scene| scene.voters.iter().map(|voter| voter.heard(|heard| heard.rollouts.len())).sum::<usize>();
    let (before, nonces) = (reports(&scene), scene.nonces());
    eventually("two more nonces", || async { (scene.nonces() >= nonces + 2).then_some(()) }).await;
    assert_eq!(reports(&scene), before);
    scene.stop_edge().await;
}

/// A wider scope is news though the bundle is the same, and the end of it is quiet.
#[tokio::test(flavor = "multi_thread")]
async fn a_wave_reaches_an_edge_that_only_compared() {
    let scene = Scene::new().await;
    let harmful = scene.harmful(&scene.first());
    scene.log.stage(&acme(), harmful.clone(), nobody(9));
    scene.reported("the edge has both bundles", |report| !report.runs).await;
    assert_eq!(scene.status().await["bundle_version"], 1);
    scene.log.stage(&acme(), harmful.clone(), Scope { per_mille: PER_MILLE_ALL, ..nobody(9) });
    scene.until_version(2).await;
    scene.log.settle(&acme(), harmful);
    scene.until_fresh(2).await;
    assert_eq!(scene.reads().await, "forbidden");
    scene.stop_edge().await;
}

/// Clause O-2: whom it is for lies under the digest that ticks name.
#[tokio::test(flavor = "multi_thread")]
async fn a_voter_that_says_another_scope_than_the_tick_changes_nothing() {
    let scene = Scene::new().await;
    let harmful = scene.harmful(&scene.first());
    for voter in &scene.voters {
        voter.behaviour.widens.store(true, std::sync::atomic::Ordering::SeqCst);
    }
    scene.log.stage(&acme(), harmful, nobody(9));
    scene.reported("the edge has both bundles", |report| !report.runs).await;
    let nonces = scene.nonces();
    eventually("more nonces are answered", || async { (scene.nonces() >= nonces + 2).then_some(()) }).await;
    assert_eq!(scene.status().await["bundle_version"], 1, "no tick names what was told");
    scene.stop_edge().await;
}

impl Scene {
    fn nonces(&self) -> u64 {
        self.voters.iter().map(|voter| voter.heard(|heard| heard.nonces)).sum()
    }
}
