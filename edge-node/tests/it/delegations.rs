//! Hops at an edge: registered and countersigned, or made without registration within its limits, and never against
//! policy. Clauses E-30 to E-35, P-34, P-35 and.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::Bytes;
use http::Request;
use remit_common::crypto::digest::Digest;
use remit_common::envelope::{Countersignature, RawPresentation, with_countersignature};
use remit_common::id::{DecisionId, LinkId, MeshId};
use remit_common::proof::Grade;
use remit_common::record::{GapCause, Record};
use remit_common::revocation::CutKind;
use remit_common::text;
use remit_common::time::Timestamp;
use serde_json::{Value, json};

use crate::support::agent::{Agent, Answered};
use crate::support::bundle::Variant;
use crate::support::edge::{self, Running};
use crate::support::eventually;
use crate::support::keys::{self, CHILD, EDGE, GRANDCHILD, HOLDER, MESH, OTHER_EDGE, STRANGER};
use crate::support::scene::{Scene, TASK};

fn customer() -> Value {
    json!({"customer_id": "cust_1042"})
}

/// Maya's envelope, which says this about handing on.
fn root(scene: &Scene, delegation: &str) -> Vec<u8> {
    scene.envelope(&TASK.replace("depth = 2\noffline = true", delegation))
}

/// A child of the second grant.
fn restriction(life: u64, more: &str) -> String {
    format!(
        "lifetime_secs = {life}\n{more}\n[agent]\nid = \"agent:helper\"\nclass = \"helper\"\n[[grant]]\nof = 1\n\
         tools = [\"plain.read\", \"tickets.create\"]\n"
    )
}

fn child_of(scene: &Scene, parent: &[u8], life: u64, nonce: u8) -> Vec<u8> {
    hand_on(scene, parent, (HOLDER, CHILD), &restriction(life, ""), nonce)
}

fn hand_on(scene: &Scene, parent: &[u8], keys: (u8, u8), restriction: &str, nonce: u8) -> Vec<u8> {
    let now = scene.world.env.now().wall;
    keys::hand_on_to(parent, keys, restriction, (&scene.taxonomy, now), nonce)
}

fn leaf(envelope: &[u8]) -> LinkId {
    RawPresentation::parse(envelope).unwrap().leaf_id(&MESH).unwrap()
}

/// Status, reason, and the link that is to blame.
fn refusal(answered: &Answered) -> (u16, String, Option<u64>) {
    let json = &answered.json["error"]["data"];
    (answered.status.as_u16(), json["reason"].as_str().unwrap_or("none").to_owned(), json["hop"].as_u64())
}

fn unregistered(hop: u64) -> (u16, String, Option<u64>) {
    (403, "unregistered".to_owned(), Some(hop))
}

async fn other_edge(scene: &Scene, folder: &std::path::Path) -> Running {
    let addrs: Vec<_> = scene.voters.iter().map(|voter| (voter.id, voter.addr)).collect();
    let who = (keys::other_edge_id(), OTHER_EDGE, keys::OTHER_SEALING);
    let config = edge::install_as(&scene.world.env, folder, &scene.root, &addrs, &scene.tenants, who);
    let other = Running::start(&scene.world.env, &config).await;
    eventually("the other edge is fresh", || async { (other.status().await["mode"] == "fresh").then_some(()) }).await;
    other
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registered_hop_counts_at_every_edge_and_an_unregistered_one_at_none() {
    let scene = Scene::before_the_edge();
    let directory = keys::directory_of_two_edges(scene.now, 2, &scene.tenants);
    scene.log.set_directory(2, directory.to_bytes());
    scene.publish(&Variant::new(1, &scene.upstream.url()));
    scene.start_edge().await;
    scene.until_fresh(1).await;
    let folder = tempfile::tempdir().unwrap();
    let other = other_edge(&scene, folder.path()).await;
    let env = &scene.world.env;
    let elsewhere =
        |envelope: &[u8]| Agent::at(env, other.agent_addr, Some(envelope), (keys::other_edge_id(), OTHER_EDGE));

    let parent = root(&scene, "depth = 2");
    let maya = scene.agent(Some(&parent));
    let bare = child_of(&scene, &parent, 600, 1);
    assert_eq!(refusal(&scene.agent(Some(&bare)).call("plain.read", customer()).await), unregistered(1));
    let registered = maya.register(&bare).await.unwrap();
    assert_eq!(registered.not_held, []);
    // Here it is known; elsewhere the countersignature says so.
    assert_eq!(scene.agent(Some(&bare)).call("plain.read", customer()).await.reason(), "permit");
    assert_eq!(refusal(&elsewhere(&bare).call("plain.read", customer()).await), unregistered(1));
    let child = registered.presentation.clone();
    for agent in [scene.agent(Some(&child)), elsewhere(&child)] {
        assert_eq!(agent.call("plain.read", customer()).await.reason(), "permit");
    }
    assert_eq!(scene.agent(Some(&child)).call("tickets.create", customer()).await.reason(), "permit");
    // What is not this edge's word about this link on this mesh is no evidence.
    let raw = RawPresentation::parse(&child).unwrap();
    let said = raw.countersignature(1).unwrap().said().clone();
    assert_eq!((said.edge.clone(), said.link), (keys::edge_id(), leaf(&bare)));
    let forged = |said: &Countersignature, mesh: &MeshId, seed: u8| {
        with_countersignature(&bare, &MESH, &said.sign(mesh, &keys::key(seed))).unwrap()
    };
    let ended = Countersignature { expires: Timestamp::from_secs(scene.now.as_secs()), ..said.clone() };
    let other_name = Countersignature { edge: keys::other_edge_id(), ..said.clone() };
    let nobody = Countersignature { edge: "eu-west-9".parse().unwrap(), ..said.clone() };
    let misplaced = Countersignature { region: "us-east".parse().unwrap(), ..said.clone() };
    for (what, forgery) in [
        ("a stranger's", forged(&said, &MESH, STRANGER)),
        ("the parent's", forged(&said, &MESH, HOLDER)),
        ("another mesh's", forged(&said, &MeshId([1; 16]), EDGE)),
        ("another edge's name", forged(&other_name, &MESH, EDGE)),
        ("an unknown edge's", forged(&nobody, &MESH, EDGE)),
        ("of another region", forged(&misplaced, &MESH, EDGE)),
        ("ended", forged(&ended, &MESH, EDGE)),
    ] {
        assert_eq!(refusal(&elsewhere(&forgery).call("plain.read", customer()).await), unregistered(1), "{what}");
    }
    // A sibling cannot use it.
    let sibling = child_of(&scene, &parent, 600, 2);
    let links = RawPresentation::parse(&sibling).unwrap();
    assert_ne!(links.leaf_id(&MESH), Some(said.link));
    assert!(with_countersignature(&sibling, &MESH, &said.sign(&MESH, &keys::key(EDGE))).is_err());
    assert_eq!(refusal(&elsewhere(&sibling).call("plain.read", customer()).await), unregistered(1));
    // An edge that was cut vouches for nothing any more.
    assert_eq!(elsewhere(&child).call("plain.read", customer()).await.reason(), "permit");
    scene.revoke(CutKind::Edge, keys::edge_id().as_str());
    elsewhere(&child).until_refused("unregistered", "plain.read", customer()).await;
    other.stop().await;
    scene.stop_edge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn registering_again_gives_the_same_answer_and_a_proof_registers_once() {
    let scene = Scene::new().await;
    let parent = root(&scene, "depth = 2");
    let maya = scene.agent(Some(&parent));
    let child = child_of(&scene, &parent, 600, 1);
    let request = maya.registration(&child, Grade::P2).await;
    let first = maya.exchange(request.clone()).await;
    assert_eq!(first.status.as_u16(), 200, "{first:?}");
    let replayed = maya.exchange(request).await;
    assert_eq!(refusal(&replayed), (401, "replayed".to_owned(), None));
    let again = maya.exchange(maya.registration(&child, Grade::P2).await).await;
    assert_eq!(again.body, first.body);
    assert_eq!(first.json["decision_id"], first.decision());
    assert_eq!(first.json["link"], leaf(&child).to_string());
    assert_eq!(first.json["edge"], "eu-west-1");
    let countersignature = text::from_base64url(first.json["countersignature"].as_str().unwrap()).unwrap();
    let carried = with_countersignature(&child, &MESH, &countersignature).unwrap();
    // With the countersignature in it, it is the same link.
    let carried = maya.exchange(maya.registration(&carried, Grade::P2).await).await;
    assert_eq!(carried.body, first.body);
    // After a restart the edge has forgotten; the countersignature has not.
    scene.stop_edge().await;
    scene.start_edge().await;
    scene.until_fresh(1).await;
    assert_eq!(refusal(&scene.agent(Some(&child)).call("plain.read", customer()).await), unregistered(1));
    let carried = with_countersignature(&child, &MESH, &countersignature).unwrap();
    assert_eq!(scene.agent(Some(&carried)).call("plain.read", customer()).await.reason(), "permit");
    scene.stop_edge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_registers_one_hop_again_and_again_does_not_fill_the_disk_and_gets_its_answer() {
    const AGAIN: usize = 60;
    /// As many as are recorded when no time passes.
    const RECORDED: usize = 50;
    let scene = Scene::new().await;
    let parent = root(&scene, "depth = 2");
    let maya = scene.agent(Some(&parent));
    let child = child_of(&scene, &parent, 600, 1);
    scene.world.stop_clock();
    let first = maya.exchange(maya.registration(&child, Grade::P2).await).await;
    assert_eq!(first.status.as_u16(), 200, "{first:?}");
    for _ in 0..AGAIN {
        let again = maya.exchange(maya.registration(&child, Grade::P2).await).await;
        assert_eq!((again.status.as_u16(), &again.body), (200, &first.body));
    }
    // Not even a disk that takes nothing stands in the way of an answer that is known.
    scene.world.break_disk(true);
    let again = maya.exchange(maya.registration(&child, Grade::P2).await).await;
    assert_eq!((again.status.as_u16(), &again.body), (200, &first.body));
    let other = maya.exchange(maya.registration(&child_of(&scene, &parent, 600, 2), Grade::P2).await).await;
    assert_eq!(refusal(&other).1, "obligation_unmet");
    scene.world.break_disk(false);
    let recorded = || {
        let chain: BTreeMap<_, _> =
            scene.voters.iter().flat_map(|voter| voter.heard(|heard| heard.records.clone())).collect();
        let note = |word: &str| {
            let says = |record: &&Record| {
                let of_child = record.detail().filter(|detail| detail.links.last() == Some(&leaf(&child)));
                of_child.and_then(|detail| detail.note.as_ref()).is_some_and(|note| note.starts_with(word))
            };
            chain.values().filter(says).count()
        };
        let shed =
            chain.values().filter_map(|record| record.public().gap).filter(|gap| gap.cause == GapCause::ReadsShed);
        (note("registered: "), note("registered before: "), shed.filter_map(|gap| gap.records).sum::<u64>())
    };
    eventually("all of it is on record, or counted", || async {
        scene.forward(Duration::from_secs(1));
        (recorded() == (1, RECORDED, u64::try_from(AGAIN + 1 - RECORDED).unwrap())).then_some(())
    })
    .await;
    scene.stop_edge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_reason_not_to_register_is_named() {
    let scene = Scene::new().await;
    let parent = root(&scene, "depth = 1");
    let maya = scene.agent(Some(&parent));
    let child = child_of(&scene, &parent, 600, 1);
    let said = |answered: &Answered| {
        (
            answered.status.as_u16(),
            answered.json["error"]["data"]["reason"].as_str().unwrap_or_default().to_owned(),
            answered.json["error"]["data"]["proof"].as_str().unwrap_or_default().to_owned(),
        )
    };
    let is = |status: u16, reason: &str, proof: &str| (status, reason.to_owned(), proof.to_owned());
    let post = |body: &[u8]| {
        Request::post("/v1/delegations")
            .header("host", maya.addr.to_string())
            .header("content-type", "application/cbor")
            .body(Bytes::copy_from_slice(body))
            .unwrap()
    };
    assert_eq!(maya.get("/v1/delegations").await.status.as_u16(), 405);
    assert_eq!(said(&maya.exchange(post(&child)).await), is(401, "bad_proof", "missing"));
    assert_eq!(said(&maya.exchange(post(b"?")).await), is(401, "malformed", ""));
    assert_eq!(said(&maya.exchange(post(&vec![0; 40_000])).await), is(401, "malformed", ""));
    let mut typed = post(&child);
    typed.headers_mut().insert("content-type", "application/json".parse().unwrap());
    assert_eq!(maya.exchange(typed).await.status.as_u16(), 415);
    let mut browser = post(&child);
    browser.headers_mut().insert("origin", "https://evil.example".parse().unwrap());
    assert_eq!(maya.exchange(browser).await.status.as_u16(), 403);
    let mut twice = maya.registration(&child, Grade::P2).await;
    twice.headers_mut().insert("remit-envelope", text::base64url(&parent).parse().unwrap());
    assert_eq!(said(&maya.exchange(twice).await), is(401, "malformed", ""));
    let mut bad = maya.registration(&child, Grade::P2).await;
    bad.headers_mut().insert("remit-proof", "AAAA".parse().unwrap());
    assert_eq!(said(&maya.exchange(bad).await), is(401, "bad_proof", "malformed"));
    let tagged = maya.exchange(maya.registration(&child, Grade::P1).await).await;
    assert_eq!(said(&tagged), is(401, "bad_proof", "grade"));
    // The proof is of these bytes, for this path.
    let mut bent = maya.registration(&child, Grade::P2).await;
    *bent.body_mut() = Bytes::from(child_of(&scene, &parent, 600, 2));
    assert_eq!(said(&maya.exchange(bent).await), is(401, "bad_proof", "evidence"));
    let mut bent = maya.registration(&child, Grade::P2).await;
    *bent.uri_mut() = "/v1/delegations?x=1".parse().unwrap();
    assert_eq!(said(&maya.exchange(bent).await), is(401, "bad_proof", "evidence"));
    assert_eq!(said(&maya.exchange(maya.registration(&parent, Grade::P2).await).await), is(403, "malformed", ""));
    // Whoever holds something else registers nothing of this parent.
    maya.register(&child).await.unwrap();
    let helper = scene.agent(Some(&child));
    let sibling = child_of(&scene, &parent, 600, 3);
    let foreign = helper.exchange(helper.registration(&sibling, Grade::P2).await).await;
    assert_eq!(said(&foreign), is(401, "bad_proof", "other_leaf"));
    // A hop that somebody else signed, below the parent's own channel.
    let mut forged = child_of(&scene, &parent, 600, 4);
    *forged.last_mut().unwrap() ^= 1;
    let forged = maya.exchange(maya.registration(&forged, Grade::P2).await).await;
    assert_eq!(said(&forged), is(401, "bad_signature", ""));
    // Depth 1 is used up by the child.
    let below = {
        let deep = root(&scene, "depth = 2");
        let mid = hand_on(&scene, &deep, (HOLDER, CHILD), &restriction(600, "delegation = { depth = 2 }"), 5);
        hand_on(&scene, &mid, (CHILD, GRANDCHILD), &restriction(600, "").replace("of = 1", "of = 0"), 6)
    };
    let orphan = scene.agent(Some(&root(&scene, "depth = 2")));
    let orphan = orphan.exchange(orphan.registration(&below, Grade::P2).await).await;
    assert_eq!(said(&orphan), is(401, "bad_proof", "other_leaf"));
    scene.revoke(CutKind::Session, "session-1");
    // The cut closes the channel, too; what is asked before that hears of the cut itself.
    maya.until_refused("revoked", "plain.read", customer()).await;
    let late = maya.register(&child).await;
    assert!(late.is_err(), "{late:?}");
    scene.stop_edge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parent_is_registered_before_its_children() {
    let scene = Scene::new().await;
    let parent = root(&scene, "depth = 2\noffline = true");
    let handing = "delegation = { depth = 1, offline = true }";
    let mid = hand_on(&scene, &parent, (HOLDER, CHILD), &restriction(300, handing), 1);
    let below = |mid: &[u8]| {
        let restriction = restriction(300, "").replace("of = 1", "of = 0");
        hand_on(&scene, mid, (CHILD, GRANDCHILD), &restriction, 2)
    };
    // The child may act for itself; what it hands on counts when it is registered, and no sooner.
    let helper = scene.agent(Some(&mid));
    assert_eq!(helper.call("plain.read", customer()).await.reason(), "permit");
    let grandchild = scene.agent(Some(&below(&mid)));
    assert_eq!(refusal(&grandchild.call("plain.read", customer()).await), unregistered(1));
    let early = helper.exchange(helper.registration(&below(&mid), Grade::P2).await).await;
    assert_eq!(refusal(&early), unregistered(1));
    let registered = scene.agent(Some(&parent)).register(&mid).await.unwrap().presentation;
    // Offline below a registered link: the limits count from there.
    let grandchild = scene.agent(Some(&below(&registered)));
    assert_eq!(grandchild.call("plain.read", customer()).await.reason(), "permit");
    assert_eq!(refusal(&grandchild.call("tickets.create", customer()).await).1, "unregistered");
    let helper = scene.agent(Some(&registered));
    let whole = helper.register(&below(&registered)).await.unwrap().presentation;
    assert_eq!(RawPresentation::parse(&whole).unwrap().countersignatures().count(), 2);
    assert_eq!(scene.agent(Some(&whole)).call("tickets.create", customer()).await.reason(), "permit");
    scene.stop_edge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_registration_a_hop_is_short_lived_and_does_nothing_that_cannot_be_undone() {
    let scene = Scene::new().await;
    let parent = root(&scene, "depth = 2\noffline = true");
    let long = scene.agent(Some(&child_of(&scene, &parent, 301, 1)));
    assert_eq!(refusal(&long.call("plain.read", customer()).await), unregistered(1));
    let bare = child_of(&scene, &parent, 300, 2);
    let child = scene.agent(Some(&bare));
    assert_eq!(child.call("plain.read", customer()).await.reason(), "permit");
    let refused = child.call("tickets.create", customer()).await;
    assert_eq!(refused.json["error"]["data"]["reason"], "unregistered", "{refused:?}");
    assert_eq!(refused.json["error"]["data"]["hop"], 1);
    let names = |answered: &Answered| {
        let tools = answered.json["result"]["tools"].as_array().unwrap().clone();
        tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&child.list().await), ["plain.read"]);
    scene.agent(Some(&parent)).register(&bare).await.unwrap();
    assert_eq!(names(&child.list().await), ["plain.read", "tickets.create"]);
    assert_eq!(child.call("tickets.create", customer()).await.reason(), "permit");
    assert_eq!(scene.upstream.calls(), 2);
    scene.stop_edge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spawn_bomb_meets_the_bound_registered_or_not() {
    let scene = Scene::new().await;
    let parent = root(&scene, "depth = 2\nfanout = 3\noffline = true");
    let maya = scene.agent(Some(&parent));
    let (mut taken, mut refused) = (0, 0);
    let first = child_of(&scene, &parent, 300, 0);
    for nonce in 0..12 {
        let child = if nonce == 0 { first.clone() } else { child_of(&scene, &parent, 300, nonce) };
        let ok = if nonce % 2 == 0 {
            let answered = maya.exchange(maya.registration(&child, Grade::P2).await).await;
            let ok = answered.status.as_u16() == 200;
            assert!(ok || refusal(&answered) == (403, "fanout_exhausted".to_owned(), Some(1)), "{answered:?}");
            ok
        } else {
            let answered = scene.agent(Some(&child)).call("plain.read", customer()).await;
            let ok = answered.reason() == "permit";
            assert!(ok || refusal(&answered) == (403, "fanout_exhausted".to_owned(), Some(1)), "{answered:?}");
            ok
        };
        taken += u32::from(ok);
        refused += u32::from(!ok);
    }
    assert_eq!((taken, refused), (3, 9));
    let metrics = String::from_utf8(scene.ops().get("/metrics").await.body).unwrap();
    assert!(metrics.contains("remit_edge_hops_counted 3"), "{metrics}");
    // Those that were taken go on, and when they have ended there is room again.
    assert_eq!(scene.agent(Some(&first)).call("plain.read", customer()).await.reason(), "permit");
    scene.forward(Duration::from_secs(301));
    scene.until_fresh(1).await;
    let later = child_of(&scene, &parent, 300, 99);
    assert_eq!(scene.agent(Some(&later)).call("plain.read", customer()).await.reason(), "permit");
    scene.stop_edge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn policy_says_who_may_hand_on_to_whom_at_registration_and_at_every_edge_that_decides() {
    let scene = Scene::new().await;
    let parent = root(&scene, "depth = 2\noffline = true");
    let maya = scene.agent(Some(&parent));
    let registered = maya.register(&child_of(&scene, &parent, 600, 1)).await.unwrap().presentation;
    let child = scene.agent(Some(&registered));
    let offline = scene.agent(Some(&child_of(&scene, &parent, 300, 2)));
    for agent in [&child, &offline] {
        assert_eq!(agent.call("plain.read", customer()).await.reason(), "permit", "the bundle has no opinion");
    }
    // A bundle that declares the action has to permit; and what was registered before is asked about anew.
    let check = async |version: u64, delegation: &'static str, registering: &str, deciding: [&str; 2]| {
        scene.publish(&Variant { delegation, ..Variant::new(version, &scene.upstream.url()) });
        scene.until_fresh(version).await;
        let another = child_of(&scene, &parent, 600, 10 + u8::try_from(version).unwrap());
        let answered = maya.exchange(maya.registration(&another, Grade::P2).await).await;
        let reason = answered.json.get("link").map_or_else(|| refusal(&answered).1, |_| "permit".to_owned());
        assert_eq!(reason, registering, "{delegation}: {answered:?}");
        for (agent, expected) in [&child, &offline].into_iter().zip(deciding) {
            let answered = agent.call("plain.read", customer()).await;
            assert_eq!(answered.reason(), expected, "{delegation}");
            if expected != "permit" {
                assert_eq!(answered.json["error"]["data"]["hop"], 1);
            }
        }
    };
    let permit = "@id(\"hand.on\") permit (principal in AgentClass::\"analyst\", action == Action::\"remit:delegate\", \
                  resource in AgentClass::\"helper\");";
    check(2, permit, "permit", ["permit", "permit"]).await;
    check(
        3,
        "@id(\"hand.on\") permit (principal, action == Action::\"remit:delegate\", resource in AgentClass::\"clerk\");",
        "no_matching_policy",
        ["no_matching_policy", "no_matching_policy"],
    )
    .await;
    check(
        4,
        "@id(\"hand.on\") permit (principal, action == Action::\"remit:delegate\", resource);
         @id(\"hand.user\") forbid (principal == User::\"user:maya\", action == Action::\"remit:delegate\", resource);",
        "forbidden",
        ["forbidden", "forbidden"],
    )
    .await;
    check(
        5,
        "@id(\"hand.on\") permit (principal, action == Action::\"remit:delegate\", resource);
         @id(\"hand.seen\") forbid (principal, action == Action::\"remit:delegate\", resource)
         unless { context.registered };",
        "permit",
        ["permit", "forbidden"],
    )
    .await;
    check(
        6,
        "@id(\"hand.on\") permit (principal, action == Action::\"remit:delegate\", resource);
         @id(\"hand.broken\") forbid (principal, action == Action::\"remit:delegate\", resource)
         when { context.expires_at + 9223372036854775807 > 0 };",
        "evaluation_failed",
        ["evaluation_failed", "evaluation_failed"],
    )
    .await;
    scene.stop_edge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_holds_is_said_and_not_given_and_the_registration_is_on_record() {
    let scene = Scene::new().await;
    let parent = root(&scene, "depth = 2");
    let maya = scene.agent(Some(&parent));
    let greedy = "lifetime_secs = 600\ndelegation = { depth = 8, fanout = 60, offline = true }\n[agent]\n\
                  id = \"agent:greedy\"\nclass = \"clerk\"\n[[grant]]\nof = 1\ntools = [\"**\"]\n\
                  effects = [\"read\", \"spend\"]\nids = { customer = \"any\" }\nmaxima = { records = 9 }\n";
    let child = hand_on(&scene, &parent, (HOLDER, CHILD), greedy, 1);
    let registered = maya.register(&child).await.unwrap();
    let dimensions: Vec<_> = registered.not_held.iter().map(|wish| wish.dimension.as_str()).collect();
    assert_eq!(
        dimensions,
        [
            "tools",
            "effects",
            "ids.customer",
            "maxima.records",
            "delegation.depth",
            "delegation.fanout",
            "delegation.offline"
        ]
    );
    let customers = registered.not_held.iter().find(|wish| wish.dimension == "ids.customer").unwrap();
    assert_eq!((customers.asked.as_str(), customers.held.as_str()), ("any", "cust_1042"));
    let agent = scene.agent(Some(&registered.presentation));
    let other = json!({"customer_id": "cust_9"});
    assert_eq!(agent.call("plain.read", other).await.reason(), "out_of_scope");
    // The decision stands in the records, and in the countersignature.
    let raw = RawPresentation::parse(&registered.presentation).unwrap();
    assert_eq!(raw.countersignature(1).unwrap().said().decision.to_string(), registered.decision);
    scene.until("every record is with a majority", |status| status["spool"]["records"] == 0).await;
    let decision: DecisionId = registered.decision.parse().unwrap();
    let record = scene.voters[0]
        .heard(|heard| heard.records.values().find(|record| record.public().decision == Some(decision)).cloned());
    let other = |voter: usize| {
        scene.voters[voter]
            .heard(|heard| heard.records.values().find(|record| record.public().decision == Some(decision)).cloned())
    };
    let record = record.or_else(|| other(1)).or_else(|| other(2)).unwrap();
    assert_eq!(record.public().reason, "permit");
    let detail = record.detail().unwrap();
    assert_eq!(detail.links.last(), Some(&leaf(&child)));
    assert_eq!(detail.agents.last().unwrap().as_str(), "agent:greedy");
    assert!(detail.note.as_ref().unwrap().contains("registered: hop 1 to agent:greedy (clerk)"), "{detail:?}");
    assert_ne!(record.hash(&MESH), Digest::default());
    scene.stop_edge().await;
}
