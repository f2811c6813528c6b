//! Edges that join, and strangers that try to: whole voters, real sockets. Clauses J-1 to J-17.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use remit_common::crypto::digest::Digest;
use remit_common::id::{BootId, MeshId, VoterId};
use remit_common::identity::certificate::{
    BACKDATED, CertificateDer, Validity, issue_ca, issue_node, key_pin, validity_of,
};
use remit_common::identity::{Admission, JoinToken, NodeKind, NodeRole, SpiffeId, identity_of};
use remit_common::net::enrol::{Answered, EnrolFailed, Enroller};
use remit_common::net::env::{Clock, Env, deadline};
use remit_common::net::quic::{MeshConnection, MeshEndpoint, QuicConfig, QuicLimits};
use remit_common::net::real::real;
use remit_common::net::tls::{Alpn, Anchor, Identity, Peers, certificates};
use remit_common::revocation::CutKind;
use remit_common::time::{Now, Timestamp};
use remit_common::trust::directory::{Edge, SignedDirectory};
use remit_common::trust::root::SignedRoot;
use remit_common::wire::enrol::{
    Binding, Claim, EnrolAnswer, EnrolQuestion, Join, Purpose, QUESTION_BYTES_MAX, Renew, Standing,
};
use remit_common::wire::message::WireMessage as _;
use remit_control_plane::config::Enrolment;
use remit_control_plane::registry::TokenRequest;
use remit_control_plane::{Config, RunError};
use serde_json::Value;

use crate::mesh::{EDGES_CA, Mesh, PATIENCE, Running, ca, validity};
use crate::world::{MESH, OPS, cut, directory_content, edge, key, sealing_key, signed_root, token_secret};

/// An edge that asks, with the seeds of its keys.
#[derive(Clone, Copy)]
struct Asker {
    mesh: MeshId,
    region: &'static str,
    name: &'static str,
    identity: u8,
    sealing: u8,
}

const E17: Asker = Asker { mesh: MESH, region: "eu-west", name: "e17", identity: 61, sealing: 62 };
/// One of the directory's.
const LISTED: Asker = Asker { mesh: MESH, region: "eu-west", name: "eu-west-1", identity: 31, sealing: 31 };

impl Asker {
    fn claim(&self, purpose: Purpose, binding: &Binding) -> Claim {
        let name = (self.mesh, self.region.parse().unwrap(), edge(self.name));
        Claim::sign(name, &key(self.identity), sealing_key(self.sealing).public().clone(), purpose, binding)
    }

    fn join(self, secret: u8) -> impl FnOnce(&Binding) -> EnrolQuestion {
        move |binding| self.join_as(Purpose::Join, secret, binding)
    }

    fn join_as(&self, purpose: Purpose, secret: u8, binding: &Binding) -> EnrolQuestion {
        let (claim, token) = (self.claim(purpose, binding), token_secret(secret));
        let Claim { mesh, region, edge, identity, sealing, .. } = &claim;
        let admission = token.admit(&Admission { mesh: *mesh, region, edge, identity, sealing });
        EnrolQuestion::Join(Join { claim, token: *token.public(), admission })
    }

    fn look(self) -> impl FnOnce(&Binding) -> EnrolQuestion {
        move |binding| EnrolQuestion::Look(self.claim(Purpose::Look, binding))
    }

    fn renew(self, certificate: Vec<u8>) -> impl FnOnce(&Binding) -> EnrolQuestion {
        move |binding| EnrolQuestion::Renew(Renew { claim: self.claim(Purpose::Renew, binding), certificate })
    }

    fn spiffe(&self) -> SpiffeId {
        SpiffeId {
            mesh: self.mesh,
            role: NodeRole::Edge { region: self.region.parse().unwrap(), edge: edge(self.name) },
        }
    }

    /// A certificate that the edges' authority has signed, which ended so long ago.
    fn certificate(&self, now: Timestamp, ended: Duration) -> Vec<u8> {
        let authority = issue_ca(&key(EDGES_CA), &MESH, NodeKind::Edge, u64::from(EDGES_CA), validity(now)).unwrap();
        let counts = Validity { not_before: now.minus(ended * 2), not_after: now.minus(ended) };
        issue_node(&authority, &key(EDGES_CA), &self.spiffe(), key(self.identity).public(), 5, counts).unwrap().to_vec()
    }

    fn row(&self) -> Edge {
        Edge {
            id: edge(self.name),
            region: self.region.parse().unwrap(),
            identity: *key(self.identity).public(),
            sealing: sealing_key(self.sealing).public().clone(),
        }
    }
}

/// A clock that is a while ahead.
struct Ahead(Duration);

impl Clock for Ahead {
    fn now(&self) -> Now {
        let Now { wall, boot } = real().clock.now();
        Now { wall: wall.plus(self.0), boot }
    }
}

fn ahead(by: Duration) -> Env {
    Env { clock: Arc::new(Ahead(by)), ..real() }
}

/// Voters 1 and 2 have the edges' authority, voter 3 has not.
async fn start(mesh: &Mesh, secs: u32) -> Vec<Running> {
    let third = mesh.enrolling(3, secs);
    let without = third.enrolment.clone().map(|of| Enrolment { certificate: None, key: None, ..of });
    let mut voters = Vec::new();
    for config in [mesh.enrolling(1, secs), mesh.enrolling(2, secs), Config { enrolment: without, ..third }] {
        voters.push(mesh.start_with(config, real()).await.unwrap());
    }
    for voter in &voters {
        mesh.ready(voter).await;
    }
    voters
}

fn authority_pin(mesh: &Mesh) -> Digest {
    let pem = ca(NodeKind::Voter, mesh.now).1;
    key_pin(&certificates(pem.as_bytes(), "authority").unwrap()[0]).unwrap()
}

async fn ask_with(
    anchor: &Anchor,
    (voter, at): (VoterId, SocketAddr),
    question: impl FnOnce(&Binding) -> EnrolQuestion,
) -> Result<Answered, EnrolFailed> {
    let enroller = Enroller::open(&real(), anchor, at).unwrap();
    let named = SpiffeId { mesh: MESH, role: NodeRole::Voter(voter) };
    let answered = enroller.ask((&named, at), question, PATIENCE).await;
    enroller.close().await;
    answered
}

async fn ask(mesh: &Mesh, voter: &Running, question: impl FnOnce(&Binding) -> EnrolQuestion) -> Answered {
    let anchor = Anchor::Pinned { mesh: MESH, key: authority_pin(mesh) };
    ask_with(&anchor, (voter.id, voter.enrol.unwrap()), question).await.unwrap()
}

#[track_caller]
fn refused(answered: &Answered) -> &str {
    match &answered.answer {
        EnrolAnswer::Refused(why) => &why.code,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn issued(answered: &Answered) -> CertificateDer<'static> {
    match &answered.answer {
        EnrolAnswer::Joined(issued) | EnrolAnswer::Renewed(issued) => CertificateDer::from(issued.certificate.clone()),
        other => panic!("{other:?}"),
    }
}

async fn make_token(mesh: &Mesh, at: &Running, secret: u8, name: &str, secs: u64) {
    let token = token_secret(secret).id();
    let request = TokenRequest::Create {
        token,
        region: "eu-west".parse().unwrap(),
        edge: edge(name),
        lifetime_secs: secs,
        uses: 1,
    };
    let (status, made) = mesh.post(at, OPS, "/v1/join-tokens", serde_json::to_vec(&request).unwrap()).await;
    assert_eq!((status, &made["token"]), (200, &Value::from(token.to_string())), "{made}");
}

async fn install(mesh: &Mesh, at: &Running, version: u64, rows: &[Edge]) {
    let mut content = directory_content(version, mesh.now);
    content.edges.extend_from_slice(rows);
    let signed = SignedDirectory::make(&content, &[&key(4), &key(5)]).unwrap().to_bytes();
    let body = format!("{{\"directory\":{}}}", String::from_utf8(signed).unwrap());
    let (status, installed) = mesh.post(at, OPS, "/v1/trust", body.into_bytes()).await;
    assert_eq!(status, 200, "{installed}");
}

/// Connects to a voter's distribution endpoint with a certificate.
async fn dial(
    mesh: &Mesh,
    at: &Running,
    certificate: CertificateDer<'static>,
    seed: u8,
) -> (MeshEndpoint, MeshConnection) {
    let voters = ca(NodeKind::Voter, mesh.now).1;
    let config = QuicConfig {
        identity: Identity::new(vec![certificate], &key(seed)),
        alpn: Alpn::Dist,
        accepts: None,
        dials: Some(Peers::from_pem(MESH, NodeKind::Voter, voters.as_bytes()).unwrap()),
        limits: QuicLimits::dist_edge(),
    };
    let endpoint = MeshEndpoint::open(&real(), "127.0.0.1:0".parse().unwrap(), config).unwrap();
    let named = SpiffeId { mesh: MESH, role: NodeRole::Voter(at.id) };
    let connection = endpoint.connect(at.dist, &named, PATIENCE).await.unwrap();
    (endpoint, connection)
}

/// How a voter ends a connection.
async fn closed(connection: &MeshConnection) -> String {
    let why = deadline(PATIENCE, connection.quic.closed()).await.expect("the voter ends the connection");
    let quinn::ConnectionError::ApplicationClosed(close) = why else { panic!("{why:?}") };
    String::from_utf8(close.reason.to_vec()).unwrap()
}

/// J-1 to J-16: from the token to an edge that is served.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_joins_by_a_token_and_is_served_when_the_directory_lists_it() {
    let mesh = Mesh::new();
    let voters = Box::pin(start(&mesh, 86_400)).await;
    make_token(&mesh, &voters[2], 1, "e17", 600).await;
    let (_, tokens) = mesh.get(&voters[1], "/v1/join-tokens").await;
    assert_eq!(tokens["enrol"], Value::from(voters[1].enrol.unwrap().to_string()), "{tokens}");
    let listed = &tokens["tokens"][0];
    assert_eq!((&listed["edge"], &listed["used"], &listed["by_name"]), (&"e17".into(), &0.into(), &"ops".into()));
    assert!(!tokens.to_string().contains(&"01".repeat(32)), "the secret");

    // J-8: a voter without the authority says so.
    assert_eq!(refused(&ask(&mesh, &voters[2], E17.join(1)).await), "no_authority");
    // J-16: nobody has let it in yet.
    assert_eq!(refused(&ask(&mesh, &voters[0], E17.look()).await), "edge_unknown");

    let joined = ask(&mesh, &voters[0], E17.join(1)).await;
    let certificate = issued(&joined);
    assert_eq!(identity_of(&certificate), Ok((E17.spiffe(), *key(61).public())));
    let counts = validity_of(&certificate).unwrap();
    assert_eq!(counts.not_after.since(counts.not_before), Duration::from_secs(86_400) + BACKDATED);
    // J-7: with it comes the first root, and the authority whose key was pinned.
    let root = SignedRoot::parse(&joined.rest).unwrap().verify_pinned(&signed_root(true, mesh.now).digest(), &MESH);
    assert_eq!(root.unwrap().version(), 1);
    assert!(joined.chain.iter().any(|shown| key_pin(shown) == Ok(authority_pin(&mesh))));

    // J-12: asked again, at another voter, the same certificate to the byte; with other keys, nothing.
    assert_eq!(issued(&ask(&mesh, &voters[1], E17.join(1)).await), certificate);
    let thief = Asker { identity: 63, ..E17 };
    assert_eq!(refused(&ask(&mesh, &voters[1], thief.join(1)).await), "token_used");

    // It waits: TLS admits it, the directory does not.
    mesh.until("known to every voter", async || {
        let standing = ask(&mesh, &voters[2], E17.look()).await.answer;
        standing == EnrolAnswer::Standing(Standing { listed: false, directory: 1 })
    })
    .await;
    let (_endpoint, connection) = dial(&mesh, &voters[0], certificate.clone(), 61).await;
    assert_eq!(closed(&connection).await, "not_listed");
    assert_eq!(refused(&ask(&mesh, &voters[0], E17.renew(certificate.to_vec())).await), "not_in_directory");
    let (_, edges) = mesh.get(&voters[1], "/v1/edges").await;
    let row: Edge = serde_json::from_value(edges["waiting"][0]["row"].clone()).unwrap();
    assert_eq!(row, E17.row());

    install(&mesh, &voters[1], 2, &[row]).await;
    mesh.until("listed", async || {
        ask(&mesh, &voters[0], E17.look()).await.answer
            == EnrolAnswer::Standing(Standing { listed: true, directory: 2 })
    })
    .await;
    let (_, edges) = mesh.get(&voters[1], "/v1/edges").await;
    assert_eq!(edges["waiting"], Value::Array(vec![]), "{edges}");
    assert!(edges["edges"][0]["certificate_ends"].is_u64(), "{edges}");
    let (endpoint, connection) = dial(&mesh, &voters[0], certificate.clone(), 61).await;
    let (send, recv) = connection.quic.open_bi().await.unwrap();
    let mut send = remit_common::net::framed::FramedSend::new(send);
    let mut recv = remit_common::net::framed::FramedRecv::new(recv);
    let hello =
        remit_common::wire::message::Hello { versions: vec![1], mesh: MESH, edge: edge("e17"), boot: BootId([1; 16]) };
    send.send(&remit_common::wire::message::EdgeMessage::Hello(hello), PATIENCE).await.unwrap();
    let greeted = recv.recv::<remit_common::wire::message::VoterMessage>(PATIENCE).await.unwrap();
    assert!(matches!(greeted, Some(remit_common::wire::message::VoterMessage::HelloAck(_))), "{greeted:?}");

    // J-13: and its certificate is renewed; what stands, stands.
    let renewed = issued(&ask(&mesh, &voters[1], E17.renew(certificate.to_vec())).await);
    assert_eq!(identity_of(&renewed), Ok((E17.spiffe(), *key(61).public())));

    // J-17: until every tenant has cut it. An edge that is connected hears of it before it goes.
    for (of, index) in [("acme", 1), ("globex", 2)] {
        assert!(connection.quic.close_reason().is_none(), "{index}");
        let (status, made) = mesh.post(&voters[2], OPS, "/v1/revocations", cut(of, CutKind::Edge, "e17")).await;
        assert_eq!(status, 200, "{made}");
    }
    assert_eq!(closed(&connection).await, "edge_evicted");
    endpoint.close(PATIENCE).await;
    let (_endpoint, connection) = dial(&mesh, &voters[0], renewed.clone(), 61).await;
    assert_eq!(closed(&connection).await, "edge_evicted");
    for question in [
        refused(&ask(&mesh, &voters[0], E17.renew(renewed.to_vec())).await),
        refused(&ask(&mesh, &voters[0], E17.look()).await),
    ] {
        assert_eq!(question, "edge_evicted");
    }
    let (_, edges) = mesh.get(&voters[0], "/v1/edges").await;
    assert_eq!(edges["edges"][0]["evicted"], true, "{edges}");
    for voter in voters {
        voter.stop().await.unwrap();
    }
}

/// J-12: a leader dies in between, and nobody has a second turn.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fail_over_gives_nobody_a_second_turn() {
    let mesh = Mesh::new();
    let mut voters = Vec::new();
    for n in 1..=3 {
        voters.push(mesh.start_with(mesh.enrolling(n, 600), real()).await.unwrap());
    }
    for voter in &voters {
        mesh.ready(voter).await;
    }
    make_token(&mesh, &voters[0], 1, "e17", 600).await;
    let leader = mesh.leader(&voters).await.id;
    let at = voters.iter().position(|voter| voter.id == leader).unwrap();
    let certificate = issued(&ask(&mesh, &voters[at], E17.join(1)).await);
    voters.remove(at).kill();
    for (question, expected) in [(Asker { sealing: 64, ..E17 }, None), (E17, Some(&certificate))] {
        let mut answered = None;
        mesh.until("led again", async || {
            let said = ask(&mesh, &voters[0], question.join(1)).await;
            let later = matches!(&said.answer, EnrolAnswer::Refused(why) if ["unavailable", "outcome_unknown"].contains(&why.code.as_str()));
            answered = Some(said);
            !later
        })
        .await;
        let answered = answered.unwrap();
        match expected {
            Some(certificate) => assert_eq!(issued(&answered), *certificate),
            None => assert_eq!(refused(&answered), "token_used"),
        }
    }
    for voter in voters {
        voter.stop().await.unwrap();
    }
}

/// J-2, J-4, J-5, J-11: what strangers try.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_are_refused_by_name_and_hold_nobody_up() {
    let mesh = Mesh::new();
    let voters = Box::pin(start(&mesh, 600)).await;
    let voter = &voters[0];
    make_token(&mesh, voter, 1, "e17", 600).await;
    make_token(&mesh, voter, 2, "e18", 1).await;

    assert_eq!(refused(&ask(&mesh, voter, E17.join(9)).await), "token_unknown");
    assert_eq!(refused(&ask(&mesh, voter, Asker { name: "e19", ..E17 }.join(1)).await), "token_for_another");
    assert_eq!(refused(&ask(&mesh, voter, Asker { region: "us-east", ..E17 }.join(1)).await), "token_for_another");
    assert_eq!(refused(&ask(&mesh, voter, Asker { mesh: MeshId([9; 16]), ..E17 }.join(1)).await), "wrong_mesh");
    assert_eq!(refused(&ask(&mesh, voter, Asker { identity: 32, ..E17 }.join(1)).await), "key_taken");
    // Late: whether the voters still remember it or not.
    mesh.until("late", async || {
        let late = ask(&mesh, voter, Asker { name: "e18", identity: 71, sealing: 72, ..E17 }.join(2)).await;
        match &late.answer {
            // A second is short: then it was not late yet, and what came of it stays.
            EnrolAnswer::Joined(_) => false,
            _ => ["token_expired", "token_unknown"].contains(&refused(&late)),
        }
    })
    .await;

    // Heard on one connection, said again on another.
    let heard = std::sync::Mutex::new(None);
    let first = ask(&mesh, voter, |binding| {
        let question = E17.join(1)(binding);
        *heard.lock().unwrap() = Some(question.clone());
        question
    })
    .await;
    assert!(matches!(first.answer, EnrolAnswer::Joined(_)));
    let replayed = heard.into_inner().unwrap().unwrap();
    assert_eq!(refused(&ask(&mesh, voter, move |_| replayed).await), "bad_signature");
    // Signed for something else.
    let other_purpose = |binding: &Binding| E17.join_as(Purpose::Look, 1, binding);
    assert_eq!(refused(&ask(&mesh, voter, other_purpose).await), "bad_signature");

    // J-18: by somebody who has heard what the token's holder signed.
    let EnrolQuestion::Join(Join { token, admission, .. }) = E17.join(1)(&Binding([0; 32])) else { unreachable!() };
    let thief = Asker { identity: 63, sealing: 64, ..E17 };
    let stolen = move |binding: &Binding| {
        EnrolQuestion::Join(Join { claim: thief.claim(Purpose::Join, binding), token, admission })
    };
    assert_eq!(refused(&ask(&mesh, voter, stolen).await), "bad_signature");

    // J-2: an authority or a voter that the token does not name is not even talked to.
    let at = voter.enrol.unwrap();
    let elsewhere = Anchor::Pinned { mesh: MESH, key: Digest([7; 32]) };
    let nowhere = ask_with(&elsewhere, (voter.id, at), E17.join(1)).await;
    assert!(matches!(nowhere, Err(EnrolFailed::Connect(_))), "{nowhere:?}");
    let edges = key_pin(&certificates(ca(NodeKind::Edge, mesh.now).1.as_bytes(), "authority").unwrap()[0]).unwrap();
    let wrong_role = ask_with(&Anchor::Pinned { mesh: MESH, key: edges }, (voter.id, at), E17.join(1)).await;
    assert!(matches!(wrong_role, Err(EnrolFailed::Connect(_))), "{wrong_role:?}");
    let pinned = Anchor::Pinned { mesh: MESH, key: authority_pin(&mesh) };
    let another = ask_with(&pinned, (VoterId(2), at), E17.join(1)).await;
    assert!(matches!(another, Err(EnrolFailed::Connect(_))), "{another:?}");
    let other_mesh = Anchor::Pinned { mesh: MeshId([9; 16]), key: authority_pin(&mesh) };
    assert!(ask_with(&other_mesh, (voter.id, at), E17.join(1)).await.is_err());

    // J-4: garbage, too much, a number that nobody knows, and silence.
    let question = ask(&mesh, voter, |binding| E17.look()(binding)).await;
    assert!(matches!(question.answer, EnrolAnswer::Standing(_)));
    for (bytes, is_answered) in [
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), false),
        (vec![0; QUESTION_BYTES_MAX + 1], false),
        (remit_common::wire::frame::encode(204, b"later").unwrap(), true),
        (remit_common::wire::frame::encode(201, b"short").unwrap(), false),
        ([remit_common::wire::frame::encode(204, b"").unwrap(), vec![1]].concat(), false),
    ] {
        assert_eq!(say(&mesh, voter, &bytes).await, is_answered, "{} bytes", bytes.len());
    }
    let raw = raw(&mesh, voter).await;
    let (mut send, _recv) = raw.open_bi().await.unwrap();
    send.write_all(b"RMT1").await.unwrap();
    let ended = deadline(PATIENCE, raw.closed()).await.expect("a voter does not wait for ever");
    assert!(matches!(ended, quinn::ConnectionError::ApplicationClosed(_)), "{ended:?}");

    // And after all that it still answers, and has counted.
    assert!(matches!(ask(&mesh, voter, E17.join(1)).await.answer, EnrolAnswer::Joined(_)));
    let metrics = mesh.text(voter.ops, "/metrics").await;
    for outcome in ["joined", "refused", "looked", "broken"] {
        let name = format!("remit_control_enrolments_total{{outcome=\"{outcome}\"}}");
        assert!(metrics.lines().any(|line| line.starts_with(&name)), "{name}\n{metrics}");
    }
    for voter in voters {
        voter.stop().await.unwrap();
    }
}

/// A connection on which anything can be said.
async fn raw(mesh: &Mesh, voter: &Running) -> quinn::Connection {
    // The endpoint lives as long as its connection.
    let anchor = Anchor::Pinned { mesh: MESH, key: authority_pin(mesh) };
    let at = voter.enrol.unwrap();
    let enroller = Enroller::open(&real(), &anchor, at).unwrap();
    let named = SpiffeId { mesh: MESH, role: NodeRole::Voter(voter.id) };
    enroller.connect((&named, at), PATIENCE).await.unwrap()
}

/// Says these bytes; whether an answer comes.
async fn say(mesh: &Mesh, voter: &Running, bytes: &[u8]) -> bool {
    let raw = raw(mesh, voter).await;
    let (mut send, mut recv) = raw.open_bi().await.unwrap();
    // A voter that has enough may stop reading before everything is said.
    let _ = send.write_all(bytes).await;
    let _ = send.finish();
    deadline(PATIENCE, recv.read_to_end(1 << 16))
        .await
        .expect("the voter answers or ends")
        .is_ok_and(|answer| !answer.is_empty())
}

/// J-13, J-14: by the key that the directory lists, within seven days, at a voter that hears the log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_has_ended_is_renewed_for_a_while_by_the_listed_key() {
    let mesh = Mesh::new();
    let mut voters = Vec::new();
    for (n, env) in [(1, real()), (2, real()), (3, ahead(Duration::from_secs(30)))] {
        voters.push(mesh.start_with(mesh.enrolling(n, 60), env).await.unwrap());
    }
    for voter in &voters {
        mesh.ready(voter).await;
    }
    let day = Duration::from_secs(86_400);
    let now = real().now().wall;
    let recent = LISTED.certificate(now, day * 6);
    let answered = ask(&mesh, &voters[0], LISTED.renew(recent.clone())).await;
    let renewed = issued(&answered);
    assert_eq!(identity_of(&renewed), Ok((LISTED.spiffe(), *key(31).public())));
    let counts = validity_of(&renewed).unwrap();
    assert_eq!(counts.not_after.since(counts.not_before), Duration::from_secs(60) + BACKDATED);
    assert!(counts.not_after > now);

    let code = async |voter: &Running, asker: Asker, certificate: Vec<u8>| {
        refused(&ask(&mesh, voter, asker.renew(certificate)).await).to_owned()
    };
    assert_eq!(code(&voters[0], LISTED, LISTED.certificate(now, day * 8)).await, "certificate_too_old");
    // J-14: a voter that is out of time with the log asks to be passed over.
    assert_eq!(code(&voters[2], LISTED, recent.clone()).await, "voter_behind");
    // Another key, another edge's certificate, a voter's, garbage.
    let stolen = Asker { identity: 65, ..LISTED };
    assert_eq!(code(&voters[0], stolen, recent.clone()).await, "bad_certificate");
    assert_eq!(code(&voters[0], stolen, stolen.certificate(now, day)).await, "not_in_directory");
    assert_eq!(code(&voters[0], LISTED, E17.certificate(now, day)).await, "bad_certificate");
    assert_eq!(code(&voters[0], LISTED, vec![0; 64]).await, "bad_certificate");
    assert_eq!(code(&voters[0], LISTED, vec![0; 3_000]).await, "bad_certificate");
    assert_eq!(code(&voters[0], E17, E17.certificate(now, day)).await, "not_in_directory");
    for voter in voters {
        voter.stop().await.unwrap();
    }
}

/// J-8: an authority that nobody would believe is no authority.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_voter_does_not_start_with_an_authority_that_is_none() {
    let mesh = Mesh::new();
    let good = mesh.enrolling(1, 60);
    let (voters_ca, issuer) = (good.tls.voters_ca.clone(), good.issuer_key.clone());
    let with = |change: &dyn Fn(&mut Enrolment)| {
        let mut config = good.clone();
        change(config.enrolment.as_mut().unwrap());
        config
    };
    for config in [
        with(&|of| of.certificate = Some(voters_ca.clone())),
        with(&|of| of.key = Some(issuer.clone())),
        with(&|of| of.key = Some("missing.key".into())),
    ] {
        let refused = mesh.start_with(config, real()).await.map(drop);
        assert!(matches!(refused, Err(RunError::File(_))), "{refused:?}");
    }
    let refused = mesh.start_with(with(&|of| of.key = None), real()).await.map(drop);
    assert!(matches!(refused, Err(RunError::Config(_))), "{refused:?}");
}

/// J-1: what an administrator makes is what an edge reads.
#[tokio::test]
async fn a_token_carries_what_an_edge_has_to_know() {
    let mesh = Mesh::new();
    let token = JoinToken {
        mesh: MESH,
        root: signed_root(true, mesh.now).digest(),
        voters_authority: authority_pin(&mesh),
        region: "eu-west".parse().unwrap(),
        edge: edge("e17"),
        voters: BTreeMap::from([(VoterId(1), "127.0.0.1:1".parse().unwrap())]),
        secret: token_secret(1),
    };
    let read = JoinToken::parse(&token.to_text()).unwrap();
    assert_eq!((read.root, read.secret.id()), (token.root, token_secret(1).id()));
    let question = E17.join(1)(&Binding([0; 32]));
    assert!(question.to_frame().unwrap().len() < QUESTION_BYTES_MAX);
}
