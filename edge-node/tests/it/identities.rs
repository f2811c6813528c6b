//! Who an agent is: what a hop says of it is a claim until the agent shows an identity that the bundle knows. Clauses
//! E-19, E-36, E-37 and X-22.

use std::time::Duration;

use remit_common::identity::certificate::Validity;
use remit_common::identity::issue_agent_svid;
use remit_common::text;
use remit_common::time::Timestamp;
use serde_json::{Value, json};

use crate::support::agent::{Agent, Answered};
use crate::support::bundle::Variant;
use crate::support::keys::{self, AGENTS, CHILD, HOLDER, STRANGER};
use crate::support::scene::{Scene, TASK};

const HELPER: &str = "spiffe://acme.example/agent/helper";

fn customer() -> Value {
    json!({"customer_id": "cust_1042"})
}

/// A trust domain of this authority, in which these paths are clerks.
fn trust_domains(authority: u8, clerks: &str) -> String {
    let authority = text::hex(keys::key(authority).public().as_bytes());
    format!(
        "[[trust_domain]]\nname = \"acme.example\"\nauthorities = [\"{authority}\"]\n\
         [trust_domain.classes]\nclerk = [\"{clerks}\"]\n"
    )
}

fn variant(scene: &Scene, version: u64, trust_domains: String) -> Variant {
    Variant { trust_domains, ..Variant::new(version, &scene.upstream.url()) }
}

fn svid(authority: u8, id: &str, key: u8, from: Timestamp, life: Duration) -> Vec<u8> {
    let validity = Validity { not_before: from, not_after: from.plus(life) };
    let id = id.parse().unwrap();
    issue_agent_svid(&keys::key(authority), &id, keys::key(key).public(), 7, validity).unwrap().as_ref().to_vec()
}

/// What Maya's agent hands to a helper that it calls a clerk.
fn child(scene: &Scene, agent: &str) -> Vec<u8> {
    let restriction = format!(
        "lifetime_secs = 300\n[agent]\nid = \"{agent}\"\nclass = \"clerk\"\n[[grant]]\nof = 1\n\
         tools = [\"plain.read\", \"unread.read\", \"frozen.read\"]\n"
    );
    keys::hand_on(&scene.envelope(TASK), &restriction, &scene.taxonomy, scene.world.env.now().wall)
}

async fn scene_with(trust_domains: String) -> Scene {
    let scene = Scene::before_the_edge();
    scene.publish(&variant(&scene, 1, trust_domains));
    scene.start_edge().await;
    scene.until_fresh(1).await;
    scene
}

async fn reasons(agent: &Agent) -> (String, String) {
    let analysts = agent.call("plain.read", customer()).await.reason();
    (analysts, agent.call("unread.read", customer()).await.reason())
}

fn as_itself() -> (String, String) {
    ("no_matching_policy".to_owned(), "permit".to_owned())
}

fn as_its_parent() -> (String, String) {
    ("permit".to_owned(), "no_matching_policy".to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_acts_as_itself_when_it_shows_who_it_is_and_as_its_parent_otherwise() {
    let scene = scene_with(trust_domains(AGENTS, "/agent/*")).await;
    let envelope = child(&scene, HELPER);
    let now = scene.world.env.now().wall;
    let shown = || svid(AGENTS, HELPER, CHILD, now.minus(Duration::from_secs(60)), Duration::from_secs(3_600));
    assert_eq!(reasons(&scene.agent(Some(&envelope))).await, as_its_parent(), "a claim permits nothing");
    let helper = scene.agent(Some(&envelope)).showing(shown());
    assert_eq!(reasons(&helper).await, as_itself());
    // Another bundle: what it does not know counts no longer, over the same channel.
    scene.publish(&variant(&scene, 2, String::new()));
    scene.until_fresh(2).await;
    assert_eq!(reasons(&helper).await, as_its_parent());
    scene.publish(&variant(&scene, 3, trust_domains(AGENTS, "/agent/helper")));
    scene.until_fresh(3).await;
    assert_eq!(reasons(&helper).await, as_itself());
    // A forbid for whoever stands above holds all the same, and for what is only claimed.
    for (version, policy) in [
        (
            4,
            "@id(\"no.analyst\") forbid (principal == Agent::\"agent:analyst\", action == Action::\"unread.read\", resource);",
        ),
        (5, "@id(\"no.clerk\") forbid (principal in AgentClass::\"clerk\", action, resource);"),
    ] {
        let domains = trust_domains(AGENTS, "/agent/helper");
        scene.publish(&Variant { policy, ..variant(&scene, version, domains) });
        scene.until_fresh(version).await;
        assert_eq!(helper.call("unread.read", customer()).await.reason(), "forbidden", "{policy}");
    }
    let claimed = scene.agent(Some(&envelope));
    assert_eq!(claimed.call("plain.read", customer()).await.reason(), "forbidden", "the claim of being a clerk");
    scene.stop_edge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_that_does_not_count_opens_no_channel() {
    let scene = scene_with(trust_domains(AGENTS, "/agent/helper")).await;
    let envelope = child(&scene, HELPER);
    let now = scene.world.env.now().wall;
    let (minute, hour) = (Duration::from_secs(60), Duration::from_secs(3_600));
    let good = svid(AGENTS, HELPER, CHILD, now.minus(minute), hour);
    let mut bent = good.clone();
    *bent.last_mut().unwrap() ^= 1;
    let refused = |answered: &Answered| {
        let data = &answered.json["error"]["data"];
        (
            answered.status.as_u16(),
            data["reason"].as_str().unwrap().to_owned(),
            data["proof"].as_str().map(str::to_owned),
        )
    };
    let expected = (401, "bad_proof".to_owned(), Some("identity".to_owned()));
    for (what, shown) in [
        ("another agent's", svid(AGENTS, "spiffe://acme.example/agent/other", CHILD, now.minus(minute), hour)),
        ("another key's", svid(AGENTS, HELPER, HOLDER, now.minus(minute), hour)),
        ("a stranger's", svid(STRANGER, HELPER, CHILD, now.minus(minute), hour)),
        ("ended", svid(AGENTS, HELPER, CHILD, now.minus(hour), hour - minute)),
        ("early", svid(AGENTS, HELPER, CHILD, now.plus(minute), hour)),
        ("changed", bent),
        ("no certificate", b"?".to_vec()),
        ("nothing", Vec::new()),
    ] {
        let agent = scene.agent(Some(&envelope)).showing(shown);
        assert_eq!(refused(&agent.call("plain.read", customer()).await), expected, "{what}");
    }
    // The class is the parent's claim; which agent may be what, the bundle says.
    let other = "spiffe://acme.example/agent/other";
    let other_child = child(&scene, other);
    let shown = svid(AGENTS, other, CHILD, now.minus(minute), hour);
    let agent = scene.agent(Some(&other_child)).showing(shown);
    assert_eq!(refused(&agent.call("plain.read", customer()).await), expected, "no clerk by this bundle");
    let foreign = "spiffe://elsewhere.example/agent/helper";
    let foreign_child = child(&scene, foreign);
    let shown = svid(AGENTS, foreign, CHILD, now.minus(minute), hour);
    let agent = scene.agent(Some(&foreign_child)).showing(shown);
    assert_eq!(refused(&agent.call("plain.read", customer()).await), expected, "a domain that nobody names");
    assert_eq!(scene.upstream.calls(), 0);
    assert_eq!(reasons(&scene.agent(Some(&envelope)).showing(good)).await, as_itself());
    // The identity ends while the channel lives on: the channel ends with it, and is not opened again.
    let short = svid(AGENTS, HELPER, CHILD, now.minus(minute), minute + Duration::from_secs(120));
    let agent = scene.agent(Some(&envelope)).showing(short);
    assert_eq!(reasons(&agent).await, as_itself());
    scene.forward(Duration::from_secs(125));
    scene.until_fresh(1).await;
    assert_eq!(refused(&agent.call("unread.read", customer()).await), expected);
    scene.stop_edge().await;
}
