//! What is recorded: every exit, first what must be, and all of it at a majority in the end.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use remit_common::id::VoterId;
use remit_common::record::{GapCause, Record, RecordKind, verify_chain};
use remit_common::trust::directory::SignedDirectory;
use serde_json::{Value, json};

use crate::support::keys::{self, EDGE, MESH};
use crate::support::scene::Scene;
use crate::support::upstream::Answer;
use crate::support::voter::Voter;

fn contract() -> Value {
    json!({"customer_id": "cust_1042", "contract_id": "contract_7781"})
}

fn customer() -> Value {
    json!({"customer_id": "cust_1042"})
}

/// Waits until every record is with a majority, as long as fewer and fewer are not: there may be many.
async fn drained(scene: &Scene) {
    let mut waiting = u64::MAX;
    while waiting > 0 {
        let fewer = |status: &Value| status["spool"]["records"].as_u64().filter(|records| *records < waiting);
        let status = scene.until("fewer records wait", |status| fewer(status).is_some()).await;
        waiting = fewer(&status).unwrap();
    }
}

/// The union over the voters, in the order of the chain.
fn chain(voters: &[Voter]) -> Vec<Record> {
    let mut all = BTreeMap::new();
    for voter in voters {
        voter.heard(|heard| {
            assert_eq!(heard.forks, 0);
            for (place, record) in &heard.records {
                all.insert(*place, record.clone());
            }
        });
    }
    let mut by_prev: BTreeMap<_, Record> = all.into_values().map(|record| (record.public().prev, record)).collect();
    let mut chain = Vec::new();
    let mut head = remit_common::crypto::digest::Digest::default();
    while let Some(record) = by_prev.remove(&head) {
        head = record.hash(&MESH);
        chain.push(record);
    }
    assert!(by_prev.is_empty(), "records beside the chain: {by_prev:?}");
    verify_chain(&MESH, &keys::edge_id(), keys::key(EDGE).public(), None, &chain).unwrap();
    chain
}

#[tokio::test(flavor = "multi_thread")]
async fn every_exit_is_a_record_that_says_what_was_known() {
    let scene = Scene::new().await;
    let maya = scene.maya();
    let permitted = maya.call("contracts.read", contract()).await;
    let written = maya.call("tickets.create", customer()).await;
    let forbidden = maya.call("frozen.read", customer()).await;
    let nobody = scene.agent(None).call("contracts.read", contract()).await;
    let listed = maya.list().await;
    let mut torn = maya.request("tools/list", json!({}));
    torn.body = b"{".to_vec();
    let torn = maya.send(torn).await;
    drained(&scene).await;
    scene.stop_edge().await;
    let chain = chain(&scene.voters);
    let of = |answered: &crate::support::agent::Answered, kind: RecordKind| -> Record {
        let id = answered.decision();
        let found = chain.iter().find(|record| {
            record.public().kind == kind && record.public().decision.is_some_and(|decision| decision.to_string() == id)
        });
        found.unwrap_or_else(|| panic!("no {kind:?} of {id}")).clone()
    };
    let check = |answered: &crate::support::agent::Answered, reason: &str| {
        assert_eq!(of(answered, RecordKind::Decision).public().reason, reason);
    };
    check(&permitted, "permit");
    check(&written, "permit");
    check(&forbidden, "forbidden");
    check(&nobody, "no_envelope");
    check(&listed, "permit");
    check(&torn, "malformed");

    let decision = of(&permitted, RecordKind::Decision);
    let public = decision.public();
    assert_eq!(public.tenant, Some(keys::acme()));
    assert!(public.manifest.is_some() && public.age_millis.is_some() && public.tick.0 > 0);
    let detail = decision.detail().unwrap();
    assert_eq!(detail.delegator.as_ref().unwrap().as_str(), "user:maya");
    assert_eq!(detail.purpose.as_deref(), Some("review.renewal_risk"));
    assert_eq!(detail.policies.iter().map(|id| id.as_str()).collect::<Vec<_>>(), ["renewal.read"]);
    assert_eq!((detail.grant, detail.max_records), (Some(0), Some(25)));
    assert_eq!((detail.credential.as_ref().unwrap(), detail.credential_version), (&keys::credential(), Some(1)));
    assert!(detail.arguments.is_some());
    let outcome = of(&permitted, RecordKind::Outcome);
    let figures = outcome.detail().unwrap().result.unwrap();
    assert_eq!((figures.records_before, figures.records_released), (40, 25));
    assert_eq!(of(&written, RecordKind::Outcome).public().reason, "released");
    let forbidden = of(&forbidden, RecordKind::Decision);
    let policies: Vec<_> = forbidden.detail().unwrap().policies.iter().map(|id| id.as_str().to_owned()).collect();
    assert_eq!(policies, ["frozen.forbid"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_must_be_recorded_first_is_refused_when_the_disk_is_full_and_reads_go_on() {
    let scene = Scene::new().await;
    let maya = scene.maya();
    assert_eq!(maya.call("tickets.create", customer()).await.reason(), "permit");
    assert_eq!(scene.upstream.calls(), 1);
    scene.world.break_disk(true);
    for tool in ["tickets.create", "notes.write"] {
        assert_eq!(maya.call(tool, customer()).await.reason(), "obligation_unmet", "{tool}");
    }
    assert_eq!(scene.upstream.calls(), 1, "what was not recorded was not done");
    for _ in 0..5 {
        assert_eq!(maya.call("contracts.read", contract()).await.reason(), "permit");
    }
    scene.until("operators see it", |status| status["spool"]["disk"] == "fails").await;
    scene.until("it stays fresh", |status| status["mode"] == "fresh").await;
    scene.world.break_disk(false);
    crate::support::eventually("the disk is used again", || async {
        (maya.call("tickets.create", customer()).await.reason() == "permit").then_some(())
    })
    .await;
    drained(&scene).await;
    scene.stop_edge().await;
    let chain = chain(&scene.voters);
    let count = |reason: &str| chain.iter().filter(|record| record.public().reason == reason).count();
    assert_eq!(count("released"), 7, "two tickets and five reads");
    assert!(count("obligation_unmet") >= 2);
    assert!(!chain.iter().any(|record| record.public().kind == RecordKind::Gap), "nothing was lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn records_wait_for_the_control_plane_and_arrive_once() {
    let mut scene = Scene::new().await;
    let maya = scene.maya();
    scene.kill_voters();
    for _ in 0..30 {
        assert_eq!(maya.call("contracts.read", contract()).await.reason(), "permit");
    }
    scene.until("records wait", |status| status["spool"]["records"].as_u64().unwrap() >= 60).await;
    scene.stop_edge().await;
    scene.start_edge().await;
    scene.until("they still wait", |status| status["spool"]["records"].as_u64().unwrap() >= 60).await;
    scene.restart_voters().await;
    drained(&scene).await;
    scene.stop_edge().await;
    let chain = chain(&scene.voters);
    let permits = chain
        .iter()
        .filter(|record| record.public().kind == RecordKind::Decision && record.public().reason == "permit");
    assert_eq!(permits.count(), 30, "every record, and none twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_voters_word_neither_trims_nor_quarantines() {
    let scene = Scene::new().await;
    for voter in &scene.voters[1..] {
        voter.behaviour.takes_no_records.store(true, Ordering::SeqCst);
    }
    scene.voters[2].behaviour.takes_no_records.store(false, Ordering::SeqCst);
    scene.voters[2].behaviour.cries_fork.store(true, Ordering::SeqCst);
    let maya = scene.maya();
    assert_eq!(maya.call("contracts.read", contract()).await.reason(), "permit");
    crate::support::eventually("one voter has the record", || async {
        scene.voters[0].heard(|heard| (heard.records.len() >= 2).then_some(()))
    })
    .await;
    scene.until("it waits for a majority", |status| status["spool"]["records"].as_u64().unwrap() >= 2).await;
    assert_eq!(maya.call("contracts.read", contract()).await.reason(), "permit");
    scene.voters[1].behaviour.takes_no_records.store(false, Ordering::SeqCst);
    scene.voters[1].behaviour.cries_fork.store(true, Ordering::SeqCst);
    scene.voters[1].kill();
    scene.stop_edge().await;
}

/// Records 1: two that say so are a majority of three.
#[tokio::test(flavor = "multi_thread")]
async fn a_fork_that_a_majority_sees_stops_the_edge() {
    let scene = Scene::new().await;
    for voter in &scene.voters[..2] {
        voter.behaviour.cries_fork.store(true, Ordering::SeqCst);
    }
    let maya = scene.maya();
    assert_eq!(maya.call("contracts.read", contract()).await.reason(), "permit");
    scene.until("it refuses everything", |status| status["mode"] == "quarantined").await;
    assert_eq!(maya.call("contracts.read", contract()).await.reason(), "quarantined");
    assert_eq!(scene.ops().get("/readyz").await.status.as_u16(), 503);
    scene.stop_edge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_tail_stands_in_the_chain() {
    let scene = Scene::new().await;
    let maya = scene.maya();
    scene.kill_voters();
    for _ in 0..3 {
        maya.call("tickets.create", customer()).await;
    }
    scene.stop_edge().await;
    let spool = scene.config.data_dir.join("spool");
    let disk = &scene.world.env.disk;
    let newest = disk.list(&spool).unwrap().pop().unwrap();
    let mut segment = disk.open_append(&spool.join(newest)).unwrap();
    segment.truncate(segment.len() - 3).unwrap();
    drop(segment);
    let mut scene = scene;
    scene.start_edge().await;
    scene.restart_voters().await;
    drained(&scene).await;
    scene.stop_edge().await;
    let chain = chain(&scene.voters);
    let gaps: Vec<_> = chain.iter().filter_map(|record| record.public().gap).collect();
    assert_eq!(gaps.len(), 1);
    assert_eq!((gaps[0].cause, gaps[0].records), (GapCause::TornTail, None));
}

/// Whoever reaches the listener can be refused; the disk is not theirs to fill.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_strangers_is_counted() {
    let scene = Scene::new().await;
    let stranger = scene.agent(None);
    let gaps = || {
        scene.voters[0].heard(|heard| {
            heard.records.values().filter_map(|record| record.public().gap).filter_map(|gap| gap.records).sum::<u64>()
        })
    };
    // So many a second are recorded one by one: on a slow machine it takes more of them to get beyond.
    let mut sent = 0;
    while gaps() == 0 {
        assert!(sent < 100_000, "the rest never stands as a gap");
        let answers = futures::future::join_all((0..16).map(|_| stranger.list())).await;
        assert!(answers.iter().all(|answer| answer.status.as_u16() == 401));
        sent += 16;
    }
    drained(&scene).await;
    scene.stop_edge().await;
    let chain = chain(&scene.voters);
    let refused = chain.iter().filter(|record| record.public().reason == "no_envelope").count();
    let counted: u64 = chain
        .iter()
        .filter_map(|record| record.public().gap)
        .filter(|gap| gap.cause == GapCause::RefusalsShed)
        .filter_map(|gap| gap.records)
        .sum();
    assert_eq!(u64::try_from(refused).unwrap() + counted, sent);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_hangs_up_leaves_its_outcome_behind() {
    let scene = Scene::new().await;
    scene.upstream.answers(Answer::Held);
    let maya = scene.maya();
    let request = maya.request("tools/call", json!({"name": "tickets.create", "arguments": customer()}));
    let hangs_up = async {
        tokio::select! {
            answered = maya.send(request) => panic!("answered although the tool holds the call: {answered:?}"),
            () = scene.upstream.arrived() => {}
        }
    };
    hangs_up.await;
    drop(maya);
    scene.upstream.release();
    crate::support::eventually("the outcome is recorded", || async {
        let recorded = scene.voters[0]
            .heard(|heard| heard.records.values().any(|record| record.public().kind == RecordKind::Outcome));
        recorded.then_some(())
    })
    .await;
    scene.stop_edge().await;
    let chain = chain(&scene.voters);
    assert!(chain.iter().any(|record| record.public().reason == "released"));
}

/// N-14: who is a voter is what the directory says; where a new one is, the others tell.
#[tokio::test(flavor = "multi_thread")]
async fn an_edge_finds_voters_that_join_and_lets_go_of_those_that_leave() {
    let scene = Scene::new().await;
    let connected = |status: &Value, expected: Value| status["voters_connected"] == expected;
    scene.until("three", |status| connected(status, json!([1, 2, 3]))).await;
    let any = ([127, 0, 0, 1], 0).into();
    let fourth = Voter::start(&scene.world.env, VoterId(4), &scene.log, any);
    // One that lies about another's place changes nothing: that one is connected.
    let lie = (VoterId(2), fourth.addr);
    for voter in &scene.voters {
        *voter.behaviour.tells.lock().unwrap() = vec![(fourth.id, fourth.addr), lie];
    }
    scene.maya().call("contracts.read", contract()).await;
    let install = |version, voters: &[u64]| {
        let mut content = keys::directory_content(scene.now, version, &scene.tenants);
        content.voters = voters
            .iter()
            .copied()
            .map(VoterId)
            .map(|id| remit_common::trust::directory::Voter {
                id,
                identity: *keys::voter_key(id).public(),
                beacon: None,
            })
            .collect();
        let signed = SignedDirectory::make(&content, &[&keys::key(keys::DIRECTORY)]).unwrap();
        scene.log.set_directory(version, signed.to_bytes());
    };
    install(2, &[1, 2, 3, 4]);
    scene.until("four", |status| connected(status, json!([1, 2, 3, 4]))).await;
    install(3, &[2, 3, 4]);
    scene.until("another three", |status| connected(status, json!([2, 3, 4]))).await;
    // The newcomer counts for the majority, and is still found after a restart.
    scene.maya().call("contracts.read", contract()).await;
    drained(&scene).await;
    scene.stop_edge().await;
    scene.start_edge().await;
    scene.until("the same three", |status| connected(status, json!([2, 3, 4]))).await;
    assert!(fourth.heard(|heard| !heard.records.is_empty()), "records go to the newcomer, too");
    scene.stop_edge().await;
}

/// N-15: an edge that is asked to stop has handed its records to a majority when it is gone.
#[tokio::test(flavor = "multi_thread")]
async fn an_edge_that_stops_leaves_no_record_behind() {
    let scene = Scene::new().await;
    for _ in 0..20 {
        scene.maya().call("contracts.read", contract()).await;
    }
    scene.stop_edge().await;
    let decisions = |voter: &Voter| {
        voter.heard(|heard| heard.records.values().filter(|r| r.public().kind == RecordKind::Decision).count())
    };
    let whole = scene.voters.iter().filter(|voter| decisions(voter) >= 20).count();
    assert!(whole >= 2, "{:?}", scene.voters.iter().map(decisions).collect::<Vec<_>>());
}
