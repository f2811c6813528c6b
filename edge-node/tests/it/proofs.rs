//! That an envelope is worth nothing without its key: stolen, replayed, changed, at another edge, after a restart.

use std::time::Duration;

use remit_common::envelope::{ENVELOPE_HEADER, RawPresentation, reference};
use remit_common::id::LinkId;
use remit_common::proof::{EdgeKey, Grade, Opening};
use remit_common::revocation::CutKind;
use remit_common::text;
use remit_common::time::Now;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::support::agent::{Agent, Answered, Bent};
use crate::support::bundle::Variant;
use crate::support::edge::{self, Running};
use crate::support::keys::{self, CHILD, EDGE, HOLDER, MESH, STRANGER};
use crate::support::scene::{Scene, TASK};

fn customer() -> Value {
    json!({"customer_id": "cust_1042"})
}

fn call(agent: &Agent, tool: &str) -> Bent {
    agent.request("tools/call", json!({"name": tool, "arguments": customer()}))
}

/// Reason and fault, of a refusal that asks for another proof.
fn check_refused(answered: &Answered, reason: &str, proof: &str) {
    assert_eq!(answered.status.as_u16(), 401, "{answered:?}");
    let data = &answered.json["error"]["data"];
    assert_eq!((data["reason"].as_str(), data["proof"].as_str()), (Some(reason), Some(proof)), "{answered:?}");
    let challenge = answered.headers["www-authenticate"].to_str().unwrap();
    assert!(challenge.contains(&format!("error_description=\"{reason}\", proof=\"{proof}\"")), "{challenge}");
}

fn with_envelope(mut bent: Bent, envelope: &[u8]) -> Bent {
    for (name, value) in &mut bent.headers {
        if *name == ENVELOPE_HEADER {
            *value = text::base64url(envelope);
        }
    }
    bent
}

fn leaf_id(envelope: &[u8]) -> LinkId {
    RawPresentation::parse(envelope).unwrap().leaf_id(&MESH).unwrap()
}

/// A request for a channel, by the holder of some envelope.
fn request(envelope: &[u8], edge: EdgeKey, holder: u8, now: Now, nonce: u8) -> Vec<u8> {
    let leaf = leaf_id(envelope);
    let random = (&Zeroizing::new([nonce; 32]), [nonce; 16]);
    Opening::new(edge, leaf, &keys::key(holder), now, random).unwrap().body().to_vec()
}

fn this_edge() -> EdgeKey {
    EdgeKey { mesh: MESH, edge: keys::edge_id(), key: *keys::key(EDGE).public() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_envelope_is_refused_at_once() {
    let scene = Scene::new().await;
    let envelope = scene.envelope(TASK);
    let maya = scene.agent(Some(&envelope));
    let thief = Agent::thief(&scene.world.env, maya.addr, &envelope);
    check_refused(&thief.call("plain.read", customer()).await, "bad_proof", "missing");
    check_refused(&thief.list().await, "bad_proof", "missing");
    check_refused(&thief.send(thief.request("server/discover", json!({}))).await, "bad_proof", "missing");
    // As a token, as a reference, and with somebody else's channel.
    let mut bearer = call(&thief, "plain.read");
    bearer.headers.pop();
    bearer.headers.push(("authorization", format!("Bearer {}", text::base64url(&envelope))));
    check_refused(&thief.send(bearer).await, "bad_proof", "missing");
    let short = reference(&leaf_id(&envelope));
    let by_reference = || with_envelope(call(&thief, "plain.read"), &short);
    check_refused(&thief.send(by_reference()).await, "bad_proof", "missing");
    let restriction = "lifetime_secs = 300\nagent = { id = \"agent:thief\", class = \"analyst\" }\n[[grant]]\nof = 1\n\
                       tools = [\"plain.read\"]\n";
    let child = keys::hand_on(&envelope, restriction, &scene.taxonomy, scene.world.env.now().wall);
    let helper = scene.agent(Some(&child));
    assert_eq!(helper.call("plain.read", customer()).await.reason(), "permit", "the helper has a key of its own");
    let proven = helper.proven(call(&helper, "plain.read"), Grade::P2).await;
    check_refused(&helper.send_bare(with_envelope(proven, &envelope)).await, "bad_proof", "other_leaf");
    let proven = helper.proven(call(&helper, "plain.read"), Grade::P1).await;
    check_refused(&helper.send_bare(with_envelope(proven, &short)).await, "bad_proof", "other_leaf");
    // A channel is not to be had without the key, either.
    let now = scene.world.env.now();
    for holder in [CHILD, STRANGER] {
        check_refused(
            &thief.ask_channel(&request(&envelope, this_edge(), holder, now, holder)).await,
            "bad_proof",
            "evidence",
        );
    }
    assert_eq!(scene.upstream.calls(), 1);
    assert_eq!(maya.call("plain.read", customer()).await.reason(), "permit");
    scene.stop_edge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_is_good_once_for_its_bytes_at_its_edge_in_its_process() {
    let mut scene = Scene::before_the_edge();
    let directory = keys::directory_of_two_edges(scene.now, 2, &scene.tenants);
    scene.log.set_directory(2, directory.to_bytes());
    scene.publish(&Variant::new(1, &scene.upstream.url()));
    // The restart finds the agents' listener where it was.
    scene.start_edge().await;
    scene.config.listen.agent = scene.maya().addr;
    scene.until_fresh(1).await;
    let maya = scene.maya();
    let captured = |bent: &Bent| Bent { headers: bent.headers.clone(), body: bent.body.clone(), method: bent.method };
    for grade in [Grade::P1, Grade::P2] {
        let proven = maya.proven(call(&maya, "plain.read"), grade).await;
        // Changed on the way: a byte more, another customer, another tool in header and body.
        let mut changed = captured(&proven);
        changed.body.push(b' ');
        check_refused(&maya.send_bare(changed).await, "bad_proof", "evidence");
        let mut changed = captured(&proven);
        changed.body = String::from_utf8(changed.body).unwrap().replace("cust_1042", "cust_1043").into_bytes();
        check_refused(&maya.send_bare(changed).await, "bad_proof", "evidence");
        let mut changed = captured(&proven);
        changed.body = String::from_utf8(changed.body).unwrap().replace("plain.read", "notes.write").into_bytes();
        for (name, value) in &mut changed.headers {
            *value = if *name == "mcp-name" { "notes.write".to_owned() } else { value.clone() };
        }
        check_refused(&maya.send_bare(changed).await, "bad_proof", "evidence");
        let mut changed = captured(&proven);
        changed.headers.push(("idempotency-key", "again".to_owned()));
        check_refused(&maya.send_bare(changed).await, "bad_proof", "evidence");
        // As it was made it counts, once.
        assert_eq!(maya.send_bare(captured(&proven)).await.reason(), "permit");
        check_refused(&maya.send_bare(captured(&proven)).await, "replayed", "replayed");
    }
    assert_eq!(scene.upstream.calls(), 2);

    let unused = [
        maya.proven(call(&maya, "plain.read"), Grade::P1).await,
        maya.proven(call(&maya, "plain.read"), Grade::P2).await,
    ];
    let addrs: Vec<_> = scene.voters.iter().map(|voter| (voter.id, voter.addr)).collect();
    let who = (keys::other_edge_id(), keys::OTHER_EDGE, keys::OTHER_SEALING);
    let folder = tempfile::tempdir().unwrap();
    let config = edge::install_as(&scene.world.env, folder.path(), &scene.root, &addrs, &scene.tenants, who);
    let other = Running::start(&scene.world.env, &config).await;
    crate::support::eventually("the other edge is fresh", || async {
        (other.status().await["mode"] == "fresh").then_some(())
    })
    .await;
    let elsewhere = Agent::thief(&scene.world.env, other.agent_addr, &scene.envelope(TASK));
    for proven in &unused {
        check_refused(&elsewhere.send_bare(captured(proven)).await, "bad_proof", "unknown_channel");
    }
    let now = scene.world.env.now();
    let opening = request(&scene.envelope(TASK), this_edge(), HOLDER, now, 9);
    check_refused(&elsewhere.ask_channel(&opening).await, "bad_proof", "other_edge");
    other.stop().await;

    scene.stop_edge().await;
    scene.start_edge().await;
    scene.until_fresh(1).await;
    for proven in unused {
        check_refused(&maya.send_bare(proven).await, "bad_proof", "unknown_channel");
    }
    assert_eq!(maya.call("plain.read", customer()).await.reason(), "permit", "a new channel is opened");
    scene.stop_edge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_taken_back_is_signed_for() {
    let scene = Scene::new().await;
    let maya = scene.maya();
    let tagged = maya.proven(call(&maya, "tickets.create"), Grade::P1).await;
    let refused = maya.send_bare(tagged).await;
    check_refused(&refused, "bad_proof", "grade");
    assert_eq!(refused.json["error"]["data"]["required"], "P2");
    assert!(refused.headers["www-authenticate"].to_str().unwrap().ends_with(", required=\"P2\""));
    assert_eq!(scene.upstream.calls(), 0);
    let signed = maya.proven(call(&maya, "tickets.create"), Grade::P2).await;
    assert_eq!(maya.send_bare(signed).await.reason(), "permit");
    assert_eq!(
        maya.call_from(Grade::P1, "tickets.create", customer()).await.reason(),
        "permit",
        "it learns what is asked"
    );
    scene.stop_edge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reference_stands_for_the_envelope_of_its_channel() {
    let scene = Scene::new().await;
    let envelope = scene.envelope(TASK);
    let maya = scene.agent(Some(&envelope));
    let short = reference(&leaf_id(&envelope));
    let proven = maya.proven(call(&maya, "plain.read"), Grade::P1).await;
    assert_eq!(maya.send_bare(with_envelope(proven, &short)).await.reason(), "permit");
    let unknown = reference(&LinkId(remit_common::crypto::digest::Digest([1; 32])));
    let proven = maya.proven(call(&maya, "plain.read"), Grade::P1).await;
    check_refused(&maya.send_bare(with_envelope(proven, &unknown)).await, "bad_proof", "other_leaf");
    scene.stop_edge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_opens_one_channel_and_a_fifth_channel_closes_the_first() {
    let scene = Scene::new().await;
    let envelope = scene.envelope(TASK);
    let maya = scene.agent(Some(&envelope));
    let now = scene.world.env.now();
    let first = maya.proven(call(&maya, "plain.read"), Grade::P1).await;
    for nonce in 1..=3 {
        let asked = request(&envelope, this_edge(), HOLDER, now, nonce);
        assert_eq!(maya.ask_channel(&asked).await.status.as_u16(), 200);
        check_refused(&maya.ask_channel(&asked).await, "replayed", "replayed");
    }
    assert_eq!(maya.send_bare(first).await.reason(), "permit", "four are open");
    let first = maya.proven(call(&maya, "plain.read"), Grade::P1).await;
    let asked = request(&envelope, this_edge(), HOLDER, now, 4);
    assert_eq!(maya.ask_channel(&asked).await.status.as_u16(), 200);
    check_refused(&maya.send_bare(first).await, "bad_proof", "unknown_channel");
    let early = Now { wall: now.wall.minus(Duration::from_secs(60)), ..now };
    check_refused(&maya.ask_channel(&request(&envelope, this_edge(), HOLDER, early, 5)).await, "bad_proof", "time");
    for bad in [&b""[..], b"\x83\x01", &[0; 600]] {
        check_refused(&maya.ask_channel(bad).await, "bad_proof", "malformed");
    }
    assert_eq!(scene.agent(None).get("/v1/channels").await.status.as_u16(), 405);
    scene.stop_edge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_closes_the_channels_of_what_it_cuts() {
    let scene = Scene::new().await;
    let maya = scene.maya();
    assert_eq!(maya.call("plain.read", customer()).await.reason(), "permit");
    let open = |count: u32| {
        let (ops, line) = (scene.ops(), format!("remit_edge_channels_open {count}"));
        async move {
            let metrics = String::from_utf8(ops.get("/metrics").await.body).unwrap();
            metrics.contains(&line).then_some(())
        }
    };
    crate::support::eventually("a channel is open", || open(1)).await;
    scene.revoke(CutKind::Session, "session-1");
    crate::support::eventually("the channel is closed", || open(0)).await;
    assert_eq!(maya.call("plain.read", customer()).await.reason(), "revoked");
    scene.stop_edge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_floor_only_what_reads_and_spends_nothing_goes_unproven_and_only_if_the_bundle_says_so() {
    let mut scene = Scene::before_the_edge();
    scene.config.proof.floor = Grade::None;
    scene.publish(&Variant::new(1, &scene.upstream.url()));
    scene.start_edge().await;
    scene.until_fresh(1).await;
    let envelope = scene.envelope(TASK);
    let thief = Agent::thief(&scene.world.env, scene.maya().addr, &envelope);
    assert_eq!(thief.list().await.reason(), "permit");
    check_refused(&thief.call("plain.read", customer()).await, "bad_proof", "missing");
    scene.publish(&Variant { plain_min_pop: Some("none"), ..Variant::new(2, &scene.upstream.url()) });
    scene.until_fresh(2).await;
    assert_eq!(thief.call("plain.read", customer()).await.reason(), "permit");
    let mut bearer = call(&thief, "plain.read");
    bearer.headers.pop();
    bearer.headers.push(("authorization", format!("Bearer {}", text::base64url(&envelope))));
    assert_eq!(thief.send(bearer).await.reason(), "permit");
    check_refused(&thief.call("notes.write", customer()).await, "bad_proof", "missing");
    let short = reference(&leaf_id(&envelope));
    let by_reference = with_envelope(call(&thief, "plain.read"), &short);
    check_refused(&thief.send(by_reference).await, "bad_proof", "missing");
    scene.stop_edge().await;
}
