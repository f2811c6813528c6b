//! What a copied envelope costs an edge, in signatures that it verifies: none, whatever is changed in the copy, and one
//! where a signature was forged. Clauses and G-9.

use remit_common::envelope::{Countersignature, RawPresentation, reference, with_countersignature};
use remit_common::id::LinkId;
use remit_common::proof::{EdgeKey, Grade, Opening};
use remit_common::record::{Record, RecordKind};
use remit_common::text;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::support::agent::{Agent, Answered, Bent};
use crate::support::eventually;
use crate::support::keys::{self, CHILD, EDGE, HOLDER, MESH, SIBLING, STRANGER};
use crate::support::scene::{Scene, TASK};

const HELPER: &str = "lifetime_secs = 300\nagent = { id = \"agent:helper\", class = \"helper\" }\n[[grant]]\nof = 1\n\
                      tools = [\"plain.read\"]\n";

fn customer() -> Value {
    json!({"customer_id": "cust_1042"})
}

fn call(agent: &Agent) -> Bent {
    agent.request("tools/call", json!({"name": "plain.read", "arguments": customer()}))
}

fn fault(answered: &Answered) -> String {
    answered.json["error"]["data"]["proof"].as_str().unwrap_or_default().to_owned()
}

fn leaf(envelope: &[u8]) -> LinkId {
    RawPresentation::parse(envelope).unwrap().leaf_id(&MESH).unwrap()
}

/// A child of Maya's, for this key.
fn child(scene: &Scene, parent: &[u8], holder: u8, nonce: u8) -> Vec<u8> {
    let now = scene.world.env.now().wall;
    keys::hand_on_to(parent, (HOLDER, holder), HELPER, (&scene.taxonomy, now), nonce)
}

/// What an edge said about the first hop.
fn said_of(envelope: &[u8]) -> Countersignature {
    RawPresentation::parse(envelope).unwrap().countersignature(1).unwrap().said().clone()
}

/// The number that stands in the metrics under this name.
async fn metric(scene: &Scene, name: &str) -> u64 {
    let metrics = String::from_utf8(scene.ops().get("/metrics").await.body).unwrap();
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {metrics}")).parse().unwrap()
}

async fn signatures(scene: &Scene) -> u64 {
    metric(scene, "remit_edge_envelope_signatures_total").await
}

/// How many are verified while this is done.
fn costs<T>(scene: &Scene, doing: impl Future<Output = T>) -> impl Future<Output = (u64, T)> {
    let doing = Box::pin(doing);
    async move {
        let before = signatures(scene).await;
        let done = doing.await;
        (signatures(scene).await - before, done)
    }
}

/// Asks for a channel over an envelope, with this key.
async fn asks(scene: &Scene, envelope: &[u8], holder: u8, nonce: u8) -> Answered {
    let edge = EdgeKey { mesh: MESH, edge: keys::edge_id(), key: *keys::key(EDGE).public() };
    let random = (&Zeroizing::new([nonce; 32]), [nonce; 16]);
    let opening = Opening::new(edge, leaf(envelope), &keys::key(holder), scene.world.env.now(), random).unwrap();
    scene.agent(Some(envelope)).ask_channel(opening.body()).await
}

/// The same envelope with the last byte of its last signature changed: of a countersignature, if it carries one.
fn torn(envelope: &[u8], flip: u8) -> Vec<u8> {
    let mut torn = envelope.to_vec();
    *torn.last_mut().unwrap() ^= flip;
    torn
}

/// An envelope with a countersignature of its last link that this edge has not signed, though it says so.
fn with_junk(envelope: &[u8], said: &Countersignature, flip: u8) -> Vec<u8> {
    let said = Countersignature { link: leaf(envelope), ..said.clone() };
    torn(&with_countersignature(envelope, &MESH, &said.sign(&MESH, &keys::key(EDGE))).unwrap(), flip)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_without_its_key_has_no_signature_verified_whatever_is_changed_in_it() {
    let scene = Scene::new().await;
    let parent = scene.envelope(TASK);
    let envelope = child(&scene, &parent, CHILD, 1);
    let helper = scene.agent(Some(&envelope));
    let own = child(&scene, &parent, SIBLING, 2);
    let said = said_of(&scene.agent(Some(&parent)).register(&own).await.unwrap().presentation);
    let (cold, answered) = costs(&scene, helper.call("plain.read", customer())).await;
    assert_eq!((cold, answered.reason()), (1, "permit".to_owned()), "the root was known, the hop was not");
    let kept = metric(&scene, "remit_edge_chains_cached").await;

    let (spent, ()) = costs(&scene, async {
        let copies = (1..=9).map(|flip| with_junk(&envelope, &said, flip)).chain([
            envelope.clone(),
            torn(&envelope, 1),
            torn(&parent, 1),
            child(&scene, &parent, CHILD, 3),
        ]);
        // The thief holds something itself, which this edge has registered.
        let mine = scene.agent(Some(&own));
        for copy in copies {
            let thief = Agent::thief(&scene.world.env, helper.addr, &copy);
            assert_eq!(fault(&thief.call("plain.read", customer()).await), "missing");
            assert_eq!(fault(&thief.list().await), "missing");
            let mut bearer = call(&thief);
            bearer.headers.pop();
            bearer.headers.push(("authorization", format!("Bearer {}", text::base64url(&copy))));
            assert_eq!(fault(&thief.send(bearer).await), "missing");
            // With a proof over a channel of the thief's own, and over one that is nowhere.
            for (grade, expected) in [(Grade::P1, "other_leaf"), (Grade::P2, "other_leaf")] {
                let proven = mine.proven(call(&thief), grade).await;
                assert_eq!(fault(&thief.send_bare(proven).await), expected);
            }
        }
    })
    .await;
    assert_eq!(spent, 0);
    assert_eq!(metric(&scene, "remit_edge_chains_cached").await, kept, "nobody's chain had to go");

    // Asking for a channel over it costs the look at who asks, and no more.
    let (spent, ()) = costs(&scene, async {
        for flip in 1..=9 {
            let copy = with_junk(&envelope, &said, flip);
            assert_eq!(fault(&asks(&scene, &copy, STRANGER, flip).await), "evidence");
        }
        assert_eq!(fault(&asks(&scene, &envelope, STRANGER, 99).await), "evidence");
    })
    .await;
    assert_eq!(spent, 0);
    assert_eq!(helper.call("plain.read", customer()).await.reason(), "permit");
    scene.stop_edge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_signature_costs_one_verification() {
    let scene = Scene::new().await;
    let parent = scene.envelope(TASK);
    assert_eq!(scene.agent(Some(&parent)).call("plain.read", customer()).await.reason(), "permit");
    for flip in 1..=5 {
        // A hop that its parent's holder has not signed, by whoever has a key for it; and a root of which all
        // signatures are copied but one.
        for (forged, holder) in
            [(torn(&child(&scene, &parent, CHILD, flip), flip), CHILD), (torn(&parent, flip), HOLDER)]
        {
            let (spent, answered) = costs(&scene, asks(&scene, &forged, holder, flip)).await;
            assert_eq!((spent, answered.reason().as_str()), (1, "bad_signature"), "{answered:?}");
            let thief = Agent::thief(&scene.world.env, scene.maya().addr, &forged);
            let (spent, answered) = costs(&scene, thief.call("plain.read", customer())).await;
            assert_eq!((spent, fault(&answered).as_str()), (0, "missing"));
        }
    }
    scene.stop_edge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn junk_beside_a_hop_is_looked_at_once_and_takes_no_good_word_away() {
    let scene = Scene::new().await;
    let parent = scene.envelope(&TASK.replace("depth = 2\noffline = true", "depth = 2"));
    let bare = child(&scene, &parent, CHILD, 1);
    let good = scene.agent(Some(&parent)).register(&bare).await.unwrap();
    let (junk, said) = (|flip| with_junk(&bare, &said_of(&good.presentation), flip), good.presentation.clone());
    // As long as the edge knows by itself who is registered, it asks nobody.
    let (spent, answered) = costs(&scene, scene.agent(Some(&junk(1))).call("plain.read", customer())).await;
    assert_eq!((spent, answered.reason().as_str()), (0, "permit"));

    scene.stop_edge().await;
    scene.start_edge().await;
    scene.until_fresh(1).await;
    let call = |envelope: Vec<u8>| {
        let agent = scene.agent(Some(&envelope));
        async move { agent.call("plain.read", customer()).await.reason() }
    };
    assert_eq!(call(said.clone()).await, "permit");
    for flip in 1..=9 {
        assert_eq!(costs(&scene, call(junk(flip))).await, (1, "unregistered".to_owned()), "its holder shows junk");
        assert_eq!(costs(&scene, call(junk(flip))).await, (0, "unregistered".to_owned()), "the same junk again");
        assert_eq!(costs(&scene, call(said.clone())).await, (0, "permit".to_owned()), "what is good stays");
    }
    assert_eq!(costs(&scene, call(bare)).await, (0, "unregistered".to_owned()), "and is nobody else's");
    scene.stop_edge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hop_for_which_there_is_no_room_is_not_looked_at() {
    let scene = Scene::new().await;
    let parent = scene.envelope(&TASK.replace("depth = 2", "depth = 2\nfanout = 2"));
    let maya = scene.agent(Some(&parent));
    let children: Vec<_> = (0..9).map(|nonce| child(&scene, &parent, CHILD, nonce)).collect();
    let register = async |at: usize| maya.exchange(maya.registration(&children[at], Grade::P2).await).await;
    for at in 0..2 {
        assert_eq!(register(at).await.status.as_u16(), 200);
    }
    for at in 2..9 {
        let (spent, answered) = costs(&scene, register(at)).await;
        assert_eq!((spent, answered.reason().as_str()), (0, "fanout_exhausted"), "{answered:?}");
        assert_eq!((answered.status.as_u16(), answered.json["error"]["data"]["hop"].as_u64()), (403, Some(1)));
    }
    assert_eq!(register(0).await.status.as_u16(), 200, "one that counts already needs no room");
    scene.stop_edge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_record_of_a_stolen_envelope_says_whose_it_is_as_far_as_that_is_known() {
    let scene = Scene::new().await;
    let parent = scene.envelope(TASK);
    let maya = scene.agent(Some(&parent));
    assert_eq!(maya.call("plain.read", customer()).await.reason(), "permit");
    let thief = Agent::thief(&scene.world.env, maya.addr, &parent);
    let mut tampered = maya.proven(call(&maya), Grade::P1).await;
    tampered.body.push(b' ');
    let mut short = maya.proven(call(&maya), Grade::P1).await;
    for (name, value) in &mut short.headers {
        if *name == "remit-envelope" {
            *value = text::base64url(&reference(&leaf(&parent)));
        }
    }
    short.body.push(b' ');
    let unseen = child(&scene, &parent, CHILD, 7);
    let stranger = Agent::thief(&scene.world.env, maya.addr, &unseen);
    let known =
        [thief.call("plain.read", customer()).await, maya.send_bare(tampered).await, maya.send_bare(short).await];
    let unknown = stranger.call("plain.read", customer()).await;
    let record = async |answered: &Answered| -> Record {
        eventually("the refusal is on record", || async {
            scene.voters[0].heard(|heard| {
                let of = |record: &&Record| {
                    let public = record.public();
                    let decision = public.decision.map(|decision| decision.to_string());
                    public.kind == RecordKind::Decision && decision == Some(answered.decision())
                };
                heard.records.values().find(of).cloned()
            })
        })
        .await
    };
    for (answered, expected) in known.iter().zip(["missing", "evidence", "evidence"]) {
        assert_eq!(fault(answered), expected);
        let record = record(answered).await;
        assert_eq!((record.public().reason.as_str(), &record.public().tenant), ("bad_proof", &Some(keys::acme())));
        let detail = record.detail().unwrap();
        assert_eq!(detail.delegator.as_ref().map(|delegator| delegator.as_str()), Some("user:maya"));
        assert_eq!(detail.links, [leaf(&parent)]);
    }
    assert_eq!(fault(&unknown), "missing");
    let record = record(&unknown).await;
    assert_eq!((record.public().reason.as_str(), &record.public().tenant), ("bad_proof", &None));
    scene.stop_edge().await;
}
