//! The agents' listener over TLS: who is believed, a certificate that changes, and a connection that is a key's.

use bytes::Bytes;
use http::Request;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use remit_common::id::EnforcementPoint;
use remit_common::net::env::Env;
use remit_common::net::http::HttpFailed;
use remit_common::net::https::ClientTls;
use remit_common::proof::Grade;
use remit_edge_node::config::{EnforcementPointEntry, ListenTls};
use serde_json::{Value, json};

use crate::support::agent::{Agent, Answered};
use crate::support::bundle::Variant;
use crate::support::keys::{self, CHILD, HOLDER};
use crate::support::scene::{Scene, TASK};
use crate::support::{eventually, logs};

const NAME: &str = "edge.example";

/// A certificate for [`NAME`], and the authority that issued it; all ECDSA, as public authorities do it.
struct Issued {
    authority: String,
    chain: String,
    key: String,
}

fn issue() -> Issued {
    let authority_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&authority_key).unwrap().pem();
    let issuer = Issuer::new(params, authority_key);
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
    Issued { authority, chain: leaf.signed_by(&key, &issuer).unwrap().pem(), key: key.serialize_pem() }
}

fn files(scene: &Scene) -> ListenTls {
    ListenTls { certificate: scene.folder.path().join("agents.pem"), key: scene.folder.path().join("agents.key") }
}

fn write(scene: &Scene, chain: Option<&str>, key: Option<&str>) {
    let ListenTls { certificate, key: key_path } = files(scene);
    for (path, text) in [(certificate, chain), (key_path, key)] {
        if let Some(text) = text {
            scene.world.env.disk.replace(&path, text.as_bytes()).unwrap();
        }
    }
}

async fn scene(issued: &Issued, floor: Grade) -> Scene {
    let mut scene = Scene::before_the_edge();
    write(&scene, Some(&issued.chain), Some(&issued.key));
    scene.config.listen.tls = Some(files(&scene));
    scene.config.proof.floor = floor;
    scene.publish(&Variant { plain_min_pop: Some("P0"), ..Variant::new(1, &scene.upstream.url()) });
    scene.start_edge().await;
    scene.until_fresh(1).await;
    scene
}

fn tls(env: &Env, issued: &Issued, key: Option<u8>) -> ClientTls {
    ClientTls::from_pem(env, issued.authority.as_bytes(), NAME, key.map(keys::key).as_ref()).unwrap()
}

fn is_unreachable(answered: &Result<Answered, HttpFailed>) -> bool {
    matches!(answered, Err(HttpFailed::Unreachable { .. }))
}

fn customer() -> Value {
    json!({"customer_id": "cust_1042"})
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_call_over_tls_and_only_who_is_believed_is_called() {
    let issued = issue();
    let scene = scene(&issued, Grade::P1).await;
    let env = &scene.world.env;
    let maya = || scene.maya();
    assert_eq!(maya().over(env, tls(env, &issued, None)).call("plain.read", customer()).await.reason(), "permit");
    assert!(maya().try_list().await.is_err(), "no plain HTTP beside it");
    assert!(is_unreachable(&maya().over(env, tls(env, &issue(), None)).try_list().await), "another authority");
    let other_name = ClientTls::from_pem(env, issued.authority.as_bytes(), "other.example", None).unwrap();
    assert!(is_unreachable(&maya().over(env, other_name).try_list().await), "another name");
    scene.stop_edge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_shown_without_a_restart_and_an_unusable_one_never() {
    let (old, new) = (issue(), issue());
    let scene = scene(&old, Grade::P1).await;
    let env = &scene.world.env;
    let before = scene.maya().over(env, tls(env, &old, None));
    assert_eq!(before.call("plain.read", customer()).await.reason(), "permit");
    // Half of the pair: its key is another one's. The complaint shows that the edge has looked.
    write(&scene, Some(&new.chain), None);
    eventually("the edge complains", || async {
        String::from_utf8_lossy(&logs::kept()).contains("listener keeps its certificate").then_some(())
    })
    .await;
    let answered = scene.maya().over(env, tls(env, &old, None)).list().await;
    assert_eq!(answered.reason(), "permit", "the old pair is shown as long as the new one is not whole");
    write(&scene, None, Some(&new.key));
    eventually("the new certificate is shown", || async {
        scene.maya().over(env, tls(env, &new, None)).try_list().await.ok()
    })
    .await;
    assert_eq!(before.call("plain.read", customer()).await.reason(), "permit", "what is open goes on");
    let after = scene.maya().over(env, tls(env, &old, None)).try_list().await;
    assert!(is_unreachable(&after), "{after:?}");
    scene.stop_edge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_of_the_holder_is_grade_p0_and_no_more() {
    let issued = issue();
    let scene = scene(&issued, Grade::P0).await;
    let env = &scene.world.env;
    let envelope = scene.envelope(TASK);
    let addr = scene.maya().addr;
    let of = |key| Agent::thief(env, addr, &envelope).over(env, tls(env, &issued, key));
    let check = |answered: &Answered, proof: Option<&str>| {
        let found = answered.json["error"]["data"]["proof"].as_str();
        assert_eq!((answered.reason() == "permit", found), (proof.is_none(), proof), "{answered:?}");
    };
    let holder = of(Some(HOLDER));
    check(&holder.call("plain.read", customer()).await, None);
    check(&holder.list().await, None);
    // A tool that takes a credential, and one that writes, want a proof over the call itself.
    check(&holder.call("notes.write", customer()).await, Some("grade"));
    for nobody in [None, Some(CHILD)] {
        check(&of(nobody).call("plain.read", customer()).await, Some("missing"));
    }
    // A header says nothing about a connection.
    let mut forwarded = of(None).request("tools/list", json!({}));
    let holder_key = remit_common::text::base64(keys::key(HOLDER).public().as_bytes());
    forwarded.headers.push(("client-cert", format!(":{holder_key}:")));
    check(&of(None).send(forwarded).await, Some("missing"));
    scene.stop_edge().await;
}

/// Clause G-91: an enforcement point is known by the key of its certificate, and by no other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_enforcement_point_is_known_by_its_certificate() {
    let issued = issue();
    let mut scene = Scene::before_the_edge();
    write(&scene, Some(&issued.chain), Some(&issued.key));
    scene.config.listen.tls = Some(files(&scene));
    scene.config.enforcement_points = vec![EnforcementPointEntry {
        name: EnforcementPoint::new("gateway").unwrap(),
        tenant: keys::acme(),
        token_sha256: None,
        key: Some(*keys::key(HOLDER).public()),
        vouches: Grade::None,
        forward_auth: None,
    }];
    scene.publish(&Variant::new(1, &scene.upstream.url()));
    scene.start_edge().await;
    scene.until_fresh(1).await;
    let ask = async |key: Option<u8>| {
        let body = json!({"subject": {"type": "user", "id": "a"}, "action": {"name": "x"}, "resource": {"type": "y", "id": "z"}});
        let request = Request::builder()
            .method("POST")
            .uri("/access/v1/evaluation")
            .header("host", NAME)
            .header("content-type", "application/json")
            .body(Bytes::from(serde_json::to_vec(&body).unwrap()));
        let env = &scene.world.env;
        scene.agent(None).over(env, tls(env, &issued, key)).exchange(request.unwrap()).await
    };
    assert_eq!(ask(None).await.status, 401);
    assert_eq!(ask(Some(CHILD)).await.status, 401);
    let known = ask(Some(HOLDER)).await;
    assert_eq!((known.status.as_u16(), &known.json["context"]["reason"]), (200, &json!("no_envelope")));
    scene.stop_edge().await;
}
