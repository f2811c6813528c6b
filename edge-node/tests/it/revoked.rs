//! That every kind of cut reaches what it names, above and below in the chain, and nothing beside it; and what holders
//! may have cut through their edge. Clauses G-11, G-40 to G-42 and T-41.

use std::time::Duration;

use remit_common::envelope::RawPresentation;
use remit_common::id::LinkId;
use remit_common::identity::SignedRequest;
use remit_common::revocation::{Asked, Cut, CutKind};
use remit_common::time::Timestamp;
use serde_json::{Value, json};

use crate::support::agent::Answered;
use crate::support::bundle::Variant;
use crate::support::keys::{self, CHILD, GRANDCHILD, HOLDER, ISSUERS, MESH, SIBLING, STRANGER};
use crate::support::scene::{Scene, TASK};

/// The digest that `plain.read` pins.
const DEFINITION: &str = "5ca1ab1e5ca1ab1e5ca1ab1e5ca1ab1e5ca1ab1e5ca1ab1e5ca1ab1e5ca1ab1e";

fn customer() -> Value {
    json!({"customer_id": "cust_1042"})
}

fn hop(of: u8, agent: &str, class: &str) -> String {
    format!(
        "lifetime_secs = 600\nagent = {{ id = \"agent:{agent}\", class = \"{class}\" }}\n[delegation]\ndepth = 1\n\
         [[grant]]\nof = {of}\ntools = [\"plain.read\"]\n"
    )
}

/// Maya's envelope, its child and grandchild, a sibling of the child, and an envelope of somebody else.
struct Family {
    scene: Scene,
    chains: [Vec<u8>; 5],
}

const MAYA: usize = 0;
const CHILD_OF: usize = 1;
const GRANDCHILD_OF: usize = 2;
const SIBLING_OF: usize = 3;
const NOOR: usize = 4;

impl Family {
    async fn new() -> Self {
        let scene = Scene::before_the_edge();
        let pinned = Variant { plain_definition: Some(DEFINITION), ..Variant::new(1, &scene.upstream.url()) };
        scene.publish(&pinned);
        scene.start_edge().await;
        scene.until_fresh(1).await;
        let now = scene.world.env.now().wall;
        let hand_on = async |parent: &[u8], from: u8, to: u8, restriction: &str| {
            let child = keys::hand_on_to(parent, (from, to), restriction, (&scene.taxonomy, now), 9);
            scene.agent(Some(parent)).register(&child).await.unwrap().presentation
        };
        let maya = scene.envelope(TASK);
        let child = hand_on(&maya, HOLDER, CHILD, &hop(1, "helper", "helper")).await;
        let grandchild = hand_on(&child, CHILD, GRANDCHILD, &hop(0, "reader", "reader")).await;
        let sibling = hand_on(&maya, HOLDER, SIBLING, &hop(1, "other", "other")).await;
        let noor = TASK.replace("user:maya", "user:noor").replace("session-1", "session-2");
        let noor = noor.replace("task-1", "task-2").replace("agent:analyst", "agent:assistant");
        let noor = scene.envelope(&noor);
        Self { scene, chains: [maya, child, grandchild, sibling, noor] }
    }

    fn links(&self, of: usize) -> Vec<LinkId> {
        RawPresentation::parse(&self.chains[of]).unwrap().link_ids(&MESH).collect()
    }

    fn leaf(&self, of: usize) -> String {
        self.links(of).last().unwrap().to_string()
    }

    /// Cuts, one after the other; then exactly these are refused as revoked, and all others are permitted as before.
    async fn check(self, cuts: &[(CutKind, String)], dead: &[usize]) {
        for (of, chain) in self.chains.iter().enumerate() {
            let answered = self.scene.agent(Some(chain)).call("plain.read", customer()).await;
            assert_eq!(answered.reason(), "permit", "{of} before the cut: {answered:?}");
        }
        let mut epoch = 0;
        for (kind, id) in cuts {
            epoch = self.scene.revoke(*kind, id);
        }
        self.scene.until("the cut is enforced", |status| status["revocation_epoch"] == epoch).await;
        for (of, chain) in self.chains.iter().enumerate() {
            let answered = self.scene.agent(Some(chain)).call("plain.read", customer()).await;
            let expected = if dead.contains(&of) { "revoked" } else { "permit" };
            assert_eq!(answered.reason(), expected, "{of} after the cut: {answered:?}");
        }
        self.scene.stop_edge().await;
    }
}

fn holder(seed: u8) -> String {
    keys::key(seed).public().id().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_of_a_link_reaches_what_is_below_and_leaves_its_siblings() {
    let family = Family::new().await;
    let link = family.leaf(CHILD_OF);
    family.check(&[(CutKind::Link, link)], &[CHILD_OF, GRANDCHILD_OF]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_of_a_root_reaches_its_whole_tree_and_no_other() {
    let family = Family::new().await;
    let link = family.leaf(MAYA);
    family.check(&[(CutKind::Link, link)], &[MAYA, CHILD_OF, GRANDCHILD_OF, SIBLING_OF]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_of_a_leaf_reaches_nobody_above() {
    let family = Family::new().await;
    let link = family.leaf(GRANDCHILD_OF);
    family.check(&[(CutKind::Link, link)], &[GRANDCHILD_OF]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_of_a_holders_key_reaches_what_it_handed_on() {
    let family = Family::new().await;
    family.check(&[(CutKind::Holder, holder(CHILD))], &[CHILD_OF, GRANDCHILD_OF]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_of_an_agent_reaches_what_it_handed_on() {
    let family = Family::new().await;
    family.check(&[(CutKind::Agent, "agent:helper".to_owned())], &[CHILD_OF, GRANDCHILD_OF]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_of_a_class_of_agents_reaches_every_chain_with_one_of_them() {
    let family = Family::new().await;
    family.check(&[(CutKind::Class, "helper".to_owned())], &[CHILD_OF, GRANDCHILD_OF]).await;
    let family = Family::new().await;
    let all = [MAYA, CHILD_OF, GRANDCHILD_OF, SIBLING_OF, NOOR];
    family.check(&[(CutKind::Class, "analyst".to_owned())], &all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_of_a_delegator_a_session_or_a_task_reaches_all_of_it() {
    let tree = [MAYA, CHILD_OF, GRANDCHILD_OF, SIBLING_OF];
    for (kind, id) in [(CutKind::Delegator, "user:maya"), (CutKind::Session, "session-1"), (CutKind::Task, "task-1")] {
        Family::new().await.check(&[(kind, id.to_owned())], &tree).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_of_issuers_reaches_the_roots_that_too_few_others_signed() {
    let family = Family::new().await;
    let before = family.scene.world.env.now().wall.as_secs() + 1;
    let cut = |seed: u8, before: u64| (CutKind::Issuer, format!("{}@{before}", holder(seed)));
    // Three signed, two are needed.
    family.check(&[cut(ISSUERS[0], before)], &[]).await;
    let family = Family::new().await;
    let early = family.scene.world.env.now().wall.as_secs() - 60;
    family.check(&[cut(ISSUERS[0], before), cut(ISSUERS[1], early)], &[]).await;
    let family = Family::new().await;
    let before = family.scene.world.env.now().wall.as_secs() + 1;
    let all = [MAYA, CHILD_OF, GRANDCHILD_OF, SIBLING_OF, NOOR];
    family.check(&[cut(ISSUERS[0], before), cut(ISSUERS[1], before)], &all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_of_a_tool_by_name_or_by_definition_reaches_its_calls() {
    let all = [MAYA, CHILD_OF, GRANDCHILD_OF, SIBLING_OF, NOOR];
    Family::new().await.check(&[(CutKind::Tool, "plain.read".to_owned())], &all).await;
    Family::new().await.check(&[(CutKind::Definition, DEFINITION.to_owned())], &all).await;
    let other = DEFINITION.replace("5ca1ab1e", "0ddba115");
    Family::new().await.check(&[(CutKind::Definition, other)], &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_of_the_tenant_reaches_everybody() {
    let all = [MAYA, CHILD_OF, GRANDCHILD_OF, SIBLING_OF, NOOR];
    Family::new().await.check(&[(CutKind::Tenant, "acme".to_owned())], &all).await;
}

/// Clauses T-58, T-61 and G-11.
#[tokio::test(flavor = "multi_thread")]
async fn a_rule_forbids_the_calls_that_fit_it_until_a_bundle_lifts_it() {
    let family = Family::new().await;
    let scene = &family.scene;
    let reasons = async || {
        let mut reasons = Vec::new();
        for chain in &family.chains {
            reasons.push(scene.agent(Some(chain)).call("plain.read", customer()).await.reason().to_owned());
        }
        reasons
    };
    assert_eq!(reasons().await, ["permit"; 5]);
    let (now, index) = (scene.world.env.now().wall, scene.log.next_index());
    let rule = "class=helper effect=read tool=plain.*";
    let entry = keys::cut(now, index, CutKind::Forbid, rule, &scene.tenants);
    let name = entry.name();
    let epoch = scene.log.revoke(entry).0;
    scene.until("the rule is enforced", |status| status["revocation_epoch"] == epoch).await;
    // The helper is the child's agent, and stands in the chain of what the child handed on.
    assert_eq!(reasons().await, ["permit", "forbidden", "forbidden", "permit", "permit"]);
    let pinned = Variant { plain_definition: Some(DEFINITION), ..Variant::new(2, &scene.upstream.url()) };
    scene.publish(&Variant { lifts: Some(name), ..pinned.clone() });
    scene.until("the bundle is active", |status| status["bundle_version"] == 2).await;
    assert_eq!(reasons().await, ["permit"; 5]);
    // With a bundle that does not say so it is in force again.
    scene.publish(&Variant { version: 3, ..pinned });
    scene.until("the next bundle is active", |status| status["bundle_version"] == 3).await;
    assert_eq!(reasons().await, ["permit", "forbidden", "forbidden", "permit", "permit"]);
    scene.stop_edge().await;
}

/// A holder's request to the edge, over HTTP.
async fn post(family: &Family, request: &SignedRequest) -> Answered {
    let mut post = http::Request::post("/v1/revocations").header("content-type", "application/json");
    for (name, value) in request.headers(&MESH) {
        post = post.header(name, value);
    }
    let agent = family.scene.agent(None);
    let post = post.header("host", agent.addr.to_string()).body(request.body.clone().into()).unwrap();
    agent.exchange(post).await
}

fn problem(answered: &Answered) -> (u16, String) {
    let reason = answered.json["error"]["data"]["reason"].as_str().unwrap_or_default().to_owned();
    (answered.status.as_u16(), reason)
}

impl Family {
    /// What the holder of a key signs to have the last link of a chain cut.
    fn ask(&self, of: usize, by: u8, nonce: u8) -> SignedRequest {
        let link = *self.links(of).last().unwrap();
        let asked = Asked::link(&self.chains[of], &MESH, &link).unwrap();
        asked.sign(&MESH, &keys::key(by), self.scene.world.env.now().wall, [nonce; 16])
    }

    async fn check_alive(&self, alive: &[usize]) {
        for (of, chain) in self.chains.iter().enumerate() {
            let answered = self.scene.agent(Some(chain)).call("plain.read", customer()).await;
            assert_eq!(answered.reason(), if alive.contains(&of) { "permit" } else { "revoked" }, "{of}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn holders_cut_what_is_theirs_at_their_edge() {
    let family = Family::new().await;
    // An ancestor cuts a child: its own subtree.
    let cut = post(&family, &family.ask(CHILD_OF, HOLDER, 1)).await;
    assert_eq!((cut.status.as_u16(), cut.json["epoch"].as_u64()), (200, Some(1)), "{cut:?}");
    family.scene.until("the cut is enforced", |status| status["revocation_epoch"] == 1).await;
    family.check_alive(&[MAYA, SIBLING_OF, NOOR]).await;
    // Once more, and what is below: nothing new, and no voter is asked.
    let asked = family.scene.asked_of_voters();
    let again = post(&family, &family.ask(CHILD_OF, CHILD, 2)).await;
    assert_eq!((again.status.as_u16(), again.json["epoch"].as_u64()), (200, Some(1)), "{again:?}");
    assert_eq!((asked, family.scene.asked_of_voters()), (1, 1));
    // A holder gives up its own key.
    let own = Asked::own_key(&family.chains[SIBLING_OF], &MESH, &keys::key(SIBLING).public().id()).unwrap();
    let own = own.sign(&MESH, &keys::key(SIBLING), family.scene.world.env.now().wall, [3; 16]);
    assert_eq!(post(&family, &own).await.json["epoch"], 2);
    family.scene.until("the second cut is enforced", |status| status["revocation_epoch"] == 2).await;
    family.check_alive(&[MAYA, NOOR]).await;
    family.scene.stop_edge().await;
}

/// A cut as an administrator asks for it, signed by this key.
fn brought(key: u8, kind: CutKind, id: &str, now: Timestamp) -> SignedRequest {
    let body = Cut { tenant: keys::acme().into(), kind, id: id.to_owned() }.to_body();
    let (key, secs) = (keys::key(key), now.as_secs());
    SignedRequest::sign(&MESH, &key, "POST", "/v1/revocations", body, secs, secs + 60, [1; 16])
}

/// Clause G-90: with every voter gone a cut that an administrator brings is in force, over a restart too, and stays so when
/// the voters come back and know nothing of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_cut_that_is_brought_to_the_edge_itself_needs_no_voter() {
    let mut family = Family::new().await;
    family.check_alive(&[MAYA, CHILD_OF, GRANDCHILD_OF, SIBLING_OF, NOOR]).await;
    family.scene.kill_voters();
    let now = family.scene.world.env.now().wall;
    let cut = brought(keys::ADMINISTRATOR, CutKind::Session, "session-1", now);
    let answer = post(&family, &cut).await;
    assert_eq!((answer.status.as_u16(), &answer.json["held"]), (202, &true.into()), "{:?}", answer.json);
    assert_eq!(answer.json.get("epoch"), None, "no voter has it");
    assert_eq!(family.scene.agent(Some(&family.chains[MAYA])).call("plain.read", customer()).await.reason(), "revoked");
    family.check_alive(&[NOOR]).await;
    assert_eq!(post(&family, &cut).await.status.as_u16(), 202, "once more is the same");
    family.scene.stop_edge().await;
    family.scene.start_edge().await;
    assert_eq!(family.scene.agent(Some(&family.chains[MAYA])).call("plain.read", customer()).await.reason(), "revoked");
    family.scene.restart_voters().await;
    family.scene.until_fresh(1).await;
    assert_eq!(family.scene.status().await["revocation_epoch"], 0, "the log has nothing");
    assert_eq!(family.scene.agent(Some(&family.chains[MAYA])).call("plain.read", customer()).await.reason(), "revoked");
    // What the log says beside it changes nothing about it.
    family.scene.revoke(CutKind::Session, "session-77");
    family.scene.until("the log's cut is enforced", |status| status["revocation_epoch"] == 1).await;
    assert_eq!(family.scene.agent(Some(&family.chains[MAYA])).call("plain.read", customer()).await.reason(), "revoked");
    family.check_alive(&[NOOR]).await;
    // With voters it is passed on as well, and has an epoch.
    let answer = post(&family, &brought(keys::ADMINISTRATOR, CutKind::Session, "session-2", now)).await;
    assert_eq!((answer.status.as_u16(), &answer.json["epoch"]), (200, &2.into()), "{:?}", answer.json);
    family.scene.stop_edge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_passes_nothing_on_that_is_not_a_holders_own() {
    let family = Family::new().await;
    let refused = async |request: &SignedRequest| problem(&post(&family, request).await);
    let not_theirs = (403, "not_theirs_to_cut".to_owned());
    assert_eq!(refused(&family.ask(MAYA, CHILD, 1)).await, not_theirs, "what is above");
    assert_eq!(refused(&family.ask(CHILD_OF, SIBLING, 1)).await, not_theirs, "what is beside");
    assert_eq!(refused(&family.ask(CHILD_OF, STRANGER, 1)).await, not_theirs);
    let now = family.scene.world.env.now().wall;
    let mut tampered = family.ask(CHILD_OF, HOLDER, 1);
    tampered.nonce = "00".repeat(16);
    assert_eq!(refused(&tampered).await, (401, "bad_signature".to_owned()));
    // Under an administrator's name, by a stranger; and by a holder that shows no chain.
    for key in [STRANGER, HOLDER] {
        let unknown = (403, "unknown_administrator".to_owned());
        assert_eq!(refused(&brought(key, CutKind::Tenant, "acme", now)).await, unknown);
    }
    // A chain that nobody issued.
    let stranger = keys::issue(TASK, &family.scene.taxonomy, now, &[STRANGER]);
    let link = RawPresentation::parse(&stranger).unwrap().leaf_id(&MESH).unwrap();
    let forged = Asked::link(&stranger, &MESH, &link).unwrap().sign(&MESH, &keys::key(HOLDER), now, [1; 16]);
    assert_eq!(refused(&forged).await, (401, "bad_chain".to_owned()));
    let asked = Asked::link(&family.chains[CHILD_OF], &MESH, family.links(CHILD_OF).last().unwrap()).unwrap();
    let late = asked.sign(&MESH, &keys::key(HOLDER), now.minus(Duration::from_secs(200)), [1; 16]);
    assert_eq!(refused(&late).await, (401, "expired".to_owned()));
    assert_eq!(family.scene.agent(None).get("/v1/revocations").await.status.as_u16(), 405);
    assert_eq!(family.scene.asked_of_voters(), 0);
    // What a voter refuses comes back as it said it, and without voters nothing is promised.
    for voter in &family.scene.voters {
        *voter.behaviour.refuses_cuts.lock().unwrap() = Some((429, "root_full"));
    }
    assert_eq!(refused(&family.ask(CHILD_OF, HOLDER, 1)).await, (429, "root_full".to_owned()));
    family.scene.kill_voters();
    family.scene.until("no voter is connected", |status| status["mode"] != "fresh").await;
    assert_eq!(refused(&family.ask(CHILD_OF, HOLDER, 2)).await, (503, "no_voter".to_owned()));
    family.check_alive(&[MAYA, CHILD_OF, GRANDCHILD_OF, SIBLING_OF, NOOR]).await;
    family.scene.stop_edge().await;
}
