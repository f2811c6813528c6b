//! Ticks that voters sign together: what an edge believes, and what changes nothing.

use std::time::Duration;

use remit_common::crypto::digest::Digest;
use remit_common::id::{LogIndex, RevocationEpoch};

use crate::support::keys;
use crate::support::scene::Scene;
use crate::support::voter::Signs;

/// Voters and the seeds of their beacon keys.
const BEACONS: [(u64, u8); 3] = [(1, 91), (2, 92), (3, 93)];

fn majority() -> Signs {
    Signs { by: vec![BEACONS[0], BEACONS[1]], ..Signs::default() }
}

impl Scene {
    fn sign(&self, signs: Option<Signs>) {
        for voter in &self.voters {
            voter.behaviour.signs.lock().unwrap().clone_from(&signs);
        }
    }

    fn list(&self, version: u64, voters: &[(u64, u8)]) {
        let directory = keys::directory_with_beacons(self.now, version, &self.tenants, voters);
        self.log.set_directory(version, directory.to_bytes());
    }

    /// What the edge has not believed so far.
    async fn not_believed(&self) -> u64 {
        let metrics = String::from_utf8(self.ops().get("/metrics").await.body).unwrap();
        let line =
            metrics.lines().find_map(|line| line.strip_prefix("remit_edge_not_believed_total{what=\"tick-answer\"} "));
        line.map_or(0, |count| count.parse().unwrap())
    }
}

/// A mesh whose voters sign, and an edge that has believed them.
async fn signed_scene() -> Scene {
    let scene = Scene::new().await;
    scene.sign(Some(majority()));
    scene.list(2, &BEACONS);
    scene.until("it has the directory", |status| status["directory_version"] == 2).await;
    scene.until_fresh(1).await;
    scene
}

/// Clauses F-21 and F-22: whatever one voter shows, and however it came by it.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_signatures_of_a_majority_no_answer_makes_an_edge_younger() {
    let scene = signed_scene().await;
    let by = |by: &[(u64, u8)]| Some(Signs { by: by.to_vec(), ..Signs::default() });
    let otherwise = |change: fn(&mut remit_common::trust::beacon::Statement)| {
        Some(Signs { by: BEACONS.to_vec(), otherwise: Some(change), ..Signs::default() })
    };
    for (attack, signs) in [
        ("no signatures at all", None),
        ("a minority", by(&BEACONS[..1])),
        ("one key for three voters", by(&[(1, 91), (2, 91), (3, 91)])),
        ("identity keys instead of beacon keys", by(&[(1, 11), (2, 12), (3, 13)])),
        ("voters that the directory does not list", by(&[(1, 91), (4, 92), (5, 93)])),
        ("signatures of an earlier tick", otherwise(|statement| statement.n = LogIndex(1))),
        ("signatures of an older state", otherwise(|statement| statement.epoch = RevocationEpoch(9))),
        ("signatures for other nonces", otherwise(|statement| statement.nonce_root = Digest::default())),
        ("signatures for other relations", otherwise(|statement| statement.relations = Digest::default())),
        ("a nonce of another edge", Some(Signs { anothers_nonce: true, ..majority() })),
    ] {
        scene.sign(signs);
        let before = scene.not_believed().await;
        scene.forward(Duration::from_secs(20));
        crate::support::eventually(attack, || async {
            assert_eq!(scene.status().await["mode"], "degraded", "{attack}");
            (scene.not_believed().await >= before + 2).then_some(())
        })
        .await;
        scene.sign(Some(majority()));
        scene.until_fresh(1).await;
    }
    scene.stop_edge().await;
}

/// Clause F-23: a beacon key is rotated and a voter replaced, and nobody tells the edge but the directory itself.
#[tokio::test(flavor = "multi_thread")]
async fn an_edge_that_was_away_comes_back_to_other_voters_and_keys() {
    let scene = signed_scene().await;
    scene.stop_edge().await;
    let changed = [(1, 94), (2, 92), (4, 95)];
    scene.list(3, &changed);
    // Of the old keys only one still signs: no majority under the directory that the edge has on its disk.
    scene.sign(Some(Signs { by: changed.to_vec(), ..Signs::default() }));
    scene.start_edge().await;
    scene.until("it has the directory", |status| status["directory_version"] == 3).await;
    scene.until_fresh(1).await;
    scene.stop_edge().await;
}

/// Clause F-23: what is newer is fetched before anything counts, and a voter that only claims it is left.
#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_nobody_shows_makes_no_answer_count() {
    let scene = signed_scene().await;
    // The voters' word names version 3, which is not to be had: their state has it, and it does not verify.
    let forged = keys::directory_with_beacons(scene.now, 3, &scene.tenants, &[(1, 96), (2, 97), (3, 98)]);
    let mut bytes = forged.to_bytes();
    let text = String::from_utf8(bytes.clone()).unwrap();
    let at = text.find("\"sig\":\"").unwrap() + 8;
    bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
    scene.sign(Some(Signs { by: vec![(1, 96), (2, 97), (3, 98)], ..Signs::default() }));
    scene.log.set_directory(3, bytes);
    scene.forward(Duration::from_secs(20));
    scene.until("the voters' word does not count", |status| status["mode"] == "degraded").await;
    let refused = |heard: &crate::support::voter::Heard| heard.nacks.len();
    crate::support::eventually("the edge says why", || async {
        assert_eq!(scene.status().await["mode"], "degraded");
        (scene.voters.iter().map(|voter| voter.heard(refused)).sum::<usize>() > 0).then_some(())
    })
    .await;
    assert_eq!(scene.status().await["directory_version"], 2);
    scene.stop_edge().await;
}
