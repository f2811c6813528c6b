//! A bundle that the process dies with, and dies with again. Clauses B-31 to B-33 and N-26.

use std::time::Duration;

use remit_common::bundle::SignedBundle;
use remit_common::crypto::digest::Digest;
use remit_common::id::LogIndex;
use remit_edge_node::config::Listen;
use serde_json::{Value, json};

use crate::support::bundle::{self, Variant};
use crate::support::edge::Running;
use crate::support::eventually;
use crate::support::keys::acme;
use crate::support::scene::Scene;

const FORBID: &str = "@id(\"stop\") forbid (principal, action == Action::\"plain.read\", resource);";

impl Scene {
    fn version(&self, version: u64, policy: &'static str, fallback: Option<&SignedBundle>) -> SignedBundle {
        let fallback = fallback.map(SignedBundle::digest);
        let variant = Variant { policy, fallback, ..Variant::new(version, &self.upstream.url()) };
        bundle::signed(&acme(), &variant, self.now, &[0, 2])
    }

    /// Version 1 decides, then 2 with 1 as its fallback; gives both and the activation of 2.
    async fn with_a_way_back() -> (Self, SignedBundle, SignedBundle, u64) {
        let scene = Self::new().await;
        let first = scene.version(1, "", None);
        let second = scene.version(2, FORBID, Some(&first));
        let number = scene.log.activate(&acme(), second.clone()).number.0;
        scene.until_fresh(2).await;
        (scene, first, second, number)
    }

    /// The process dies, and is started again.
    async fn dies(&self) {
        self.kill_edge().await;
        self.start_edge().await;
    }

    async fn reads_plain(&self) -> String {
        self.maya().call("plain.read", json!({"customer_id": "cust_1042"})).await.reason()
    }

    async fn until_asked_again(&self) {
        let heard = || self.voters.iter().map(|voter| voter.heard(|heard| heard.nonces)).sum::<u64>();
        let before = heard();
        eventually("three more nonces are answered", || async { (heard() >= before + 3).then_some(()) }).await;
    }

    fn crash_nacks(&self, manifest: &Digest) -> Vec<String> {
        let of = |voter: &crate::support::voter::Voter| {
            let is_it =
                |nack: &&remit_common::wire::message::Nack| nack.code == "crash_loop" && nack.digest == *manifest;
            voter.heard(|heard| heard.nacks.iter().filter(is_it).map(|nack| nack.detail.clone()).collect::<Vec<_>>())
        };
        self.voters.iter().flat_map(of).collect()
    }

    fn trials(&self) -> Value {
        let path = self.config.data_dir.join("state/trial.json");
        let bytes = self.world.env.disk.read(&path, 1 << 20).unwrap().unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }

    fn write_trials(&self, trials: &Value) {
        let path = self.config.data_dir.join("state/trial.json");
        self.world.env.disk.replace(&path, trials.to_string().as_bytes()).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_deaths_go_back_to_the_fallback_and_stay_there_until_a_newer_activation() {
    let (mut scene, first, second, number) = Scene::with_a_way_back().await;
    assert_eq!(scene.reads_plain().await, "forbidden");
    scene.dies().await;
    scene.until_fresh(2).await;
    assert_eq!(scene.trials()["trials"][0]["deaths"], 1);
    scene.dies().await;
    let status = scene.status().await;
    assert_eq!(status["bundle_version"], 1, "it is back before it hears of anybody: {status}");
    assert_eq!(status["activation"], number, "the number does not fall");
    let turned_away = json!([{"activation": number, "bundle_digest": second.digest()}]);
    assert_eq!(status["tenants"][0]["crash_loop"], turned_away);
    scene.until_fresh(1).await;
    assert_eq!(scene.reads_plain().await, "permit");

    // The rollout's gate, `bundle watch` and `status` hear of it, and of what decides instead.
    let said = eventually("it says so", || async { scene.crash_nacks(&second.digest()).pop() }).await;
    assert!(said.contains("version 1 decides instead"), "{said}");
    eventually("it attests what it runs", || async {
        let attested = |voter: &crate::support::voter::Voter| {
            voter.heard(|heard| {
                heard.attested.iter().any(|of| (of.number, of.manifest) == (LogIndex(number), first.digest()))
            })
        };
        scene.voters.iter().any(attested).then_some(())
    })
    .await;

    // The voters go on naming what ended it: over ticks, restarts and connections.
    scene.until_asked_again().await;
    assert_eq!(scene.status().await["bundle_version"], 1);
    scene.stop_edge().await;
    scene.start_edge().await;
    scene.until_fresh(1).await;
    scene.restart_voters().await;
    scene.until_asked_again().await;
    let status = scene.status().await;
    assert_eq!((&status["bundle_version"], &status["tenants"][0]["crash_loop"]), (&json!(1), &turned_away));

    // A newer activation of the same bundle is another trial.
    let again = scene.log.activate(&acme(), second).number.0;
    scene.until("it is tried again", |status| status["activation"] == again && status["bundle_version"] == 2).await;
    assert_eq!(scene.status().await["tenants"][0]["crash_loop"], Value::Null);
    scene.dies().await;
    scene.dies().await;
    assert_eq!(scene.status().await["bundle_version"], 1);
    let third = scene.version(3, "", None);
    scene.log.activate(&acme(), third);
    scene.until_fresh(3).await;
    assert_eq!(scene.status().await["tenants"][0]["crash_loop"], Value::Null);
    scene.stop_edge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_was_asked_for_or_a_start_that_failed_is_no_death() {
    let (scene, ..) = Scene::with_a_way_back().await;
    for _ in 0..3 {
        scene.stop_edge().await;
        assert_eq!(scene.trials()["open"], false);
        scene.start_edge().await;
        assert_eq!(scene.trials()["open"], true);
    }
    scene.stop_edge().await;
    let taken = scene.world.env.socket.listen(([127, 0, 0, 1], 0).into()).unwrap();
    let listen = Listen { ops: taken.local_addr(), ..scene.config.listen.clone() };
    let config = remit_edge_node::Config { listen, ..scene.config.clone() };
    for _ in 0..3 {
        let shutdown = remit_common::net::tasks::Shutdown::new();
        let started = remit_edge_node::Edge::start(config.clone(), scene.world.env.clone(), shutdown).await;
        assert!(matches!(started, Err(remit_edge_node::RunError::Listen { .. })));
    }
    scene.start_edge().await;
    scene.until_fresh(2).await;
    assert_eq!(scene.trials()["trials"][0]["deaths"], 0);
    scene.stop_edge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_minute_of_life_a_death_is_not_the_bundles() {
    let (scene, ..) = Scene::with_a_way_back().await;
    scene.dies().await;
    scene.until_fresh(2).await;
    scene.forward(Duration::from_secs(61));
    eventually("the trial is over", || async { (scene.trials()["trials"] == json!([])).then_some(()) }).await;
    for _ in 0..3 {
        scene.dies().await;
        scene.until_fresh(2).await;
    }
    scene.stop_edge().await;

    // It begins anew with each process, and without anybody to follow.
    let (scene, ..) = Scene::with_a_way_back().await;
    scene.kill_voters();
    scene.forward(Duration::from_secs(59));
    scene.dies().await;
    scene.forward(Duration::from_secs(59));
    scene.dies().await;
    assert_eq!(scene.status().await["bundle_version"], 1);
    scene.stop_edge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_is_named_everything_is_refused_by_that_name() {
    let scene = Scene::new().await;
    let second = scene.version(2, "", None);
    let number = scene.log.activate(&acme(), second.clone()).number.0;
    scene.until_fresh(2).await;
    scene.dies().await;
    scene.dies().await;
    let status = scene.status().await;
    assert_eq!((&status["bundle_version"], &status["mode"]), (&Value::Null, &json!("isolated")));
    assert_eq!(status["tenants"][0]["crash_loop"][0]["activation"], number);
    assert_eq!(scene.reads_plain().await, "stale");
    let ready = scene.ops().get("/readyz").await;
    assert_eq!(ready.status.as_u16(), 503);
    let why = String::from_utf8(ready.body).unwrap();
    assert!(why.contains(&format!("activation {number} ended this process twice")), "{why}");
    let said = eventually("it says so", || async { scene.crash_nacks(&second.digest()).pop() }).await;
    assert!(said.contains("there is nothing to go back to"), "{said}");
    scene.until_asked_again().await;
    assert_eq!(scene.status().await["bundle_version"], Value::Null);
    scene.log.activate(&acme(), scene.version(3, "", None));
    scene.until_fresh(3).await;
    assert_eq!(scene.reads_plain().await, "permit");
    scene.stop_edge().await;
}

/// Clauses B-11 and B-32: of 3, which names 2, the way back from 2 leads neither to 1, which only 2 names, nor up to 3.
#[tokio::test(flavor = "multi_thread")]
async fn fallbacks_do_not_chain_and_what_was_taken_back_does_not_return() {
    let (scene, _, second, _) = Scene::with_a_way_back().await;
    let third = scene.version(3, "", Some(&second));
    scene.log.activate(&acme(), third);
    scene.until_fresh(3).await;
    scene.log.activate(&acme(), second.clone());
    scene.until_fresh(2).await;
    scene.dies().await;
    assert_eq!(scene.status().await["bundle_version"], 2);
    scene.dies().await;
    assert_eq!(scene.status().await["bundle_version"], Value::Null);
    scene.until_asked_again().await;
    assert_eq!(scene.status().await["bundle_version"], Value::Null);
    scene.stop_edge().await;
}

/// What dies before a bundle ever decides dies while it is compiled: two processes did.
#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_that_kills_while_it_arrives_is_not_opened_again() {
    let scene = Scene::new().await;
    let second = scene.version(2, "", None);
    scene.stop_edge().await;
    let number = scene.log.activate(&acme(), second.clone()).number.0;
    let content = Digest::of(&[&second.to_bytes()]);
    let trial = json!({
        "tenant": "acme", "number": number, "manifest": second.digest(), "content": content, "deaths": 1, "arriving": true
    });
    scene.write_trials(&json!({"v": 1, "open": true, "trials": [trial]}));
    scene.start_edge().await;
    eventually("it is refused", || async { scene.crash_nacks(&second.digest()).pop() }).await;
    scene.until_asked_again().await;
    let status = scene.status().await;
    assert_eq!(status["bundle_version"], 1, "what decided goes on: {status}");
    assert_eq!(scene.reads_plain().await, "permit");
    scene.log.activate(&acme(), second);
    scene.stop_edge().await;
    scene.start_edge().await;
    scene.until_fresh(2).await;
    scene.stop_edge().await;
}

/// A disk as it was after any one step of an activation, a death and the way back: whatever the process finds, the number
/// has not fallen, nothing decides that was not named, and at the end the bundle that kills is turned away.
#[tokio::test(flavor = "multi_thread")]
async fn the_power_may_go_between_any_two_steps() {
    let scene = Scene::new().await;
    let first = scene.version(1, "", None);
    let second = scene.version(2, FORBID, Some(&first));
    scene.forward(Duration::from_secs(61));
    eventually("version 1 has proven itself", || async { (scene.trials()["trials"] == json!([])).then_some(()) }).await;
    scene.world.keep_copies_of(Some(scene.config.data_dir.join("state")));
    let number = scene.log.activate(&acme(), second.clone()).number.0;
    scene.until_fresh(2).await;
    scene.dies().await;
    scene.dies().await;
    assert_eq!(scene.status().await["bundle_version"], 1);
    scene.stop_edge().await;
    scene.kill_voters();
    let copies = scene.world.copies();
    assert!(copies.len() >= 8, "an activation, two starts and a way back are {} steps", copies.len());
    let (mut seen, mut highest) = (Vec::new(), 0);
    for (step, copy) in copies.iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        copy.write_to(&folder.path().join("state"));
        let config = remit_edge_node::Config { data_dir: folder.path().to_owned(), ..scene.config.clone() };
        let mut versions = Vec::new();
        // The power goes and comes back, three times.
        for _ in 0..3 {
            let edge = Running::start(&scene.world.env, &config).await;
            let status = edge.status().await;
            versions.push(status["bundle_version"].as_u64());
            // Where nothing is left to go back to, there is none.
            let reached = status["activation"].as_u64().unwrap_or(highest);
            assert!(reached >= highest, "step {step}: {status}");
            highest = reached;
            edge.kill().await;
        }
        assert!(matches!(versions[0], Some(1 | 2)), "step {step}: {versions:?}");
        // It never comes back by itself, two deaths are always enough, and nothing is decided only where version 1, too, has
        // ended the process twice.
        assert!(versions.windows(2).all(|pair| pair[0] >= pair[1]), "step {step}: {versions:?}");
        assert!(!versions.windows(2).any(|pair| pair == [Some(2), None]), "step {step}: {versions:?}");
        assert!(highest < number || versions[2] != Some(2), "step {step}: {versions:?}");
        seen.push(versions);
    }
    assert!(seen.iter().any(|versions| versions[0] == Some(2)), "{seen:?}");
    assert_eq!(highest, number);
}
