//! An edge that joins and renews, against voters that a test drives. Clauses N-22 to N-25.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use remit_common::crypto::digest::Digest;
use remit_common::id::{LogIndex, VoterId};
use remit_common::identity::certificate::{BACKDATED, GRACE, key_pin, to_pem};
use remit_common::identity::{
    Admission, JoinToken, NodeKind, NodeRole, SpiffeId, TokenSecret, Validity, issue_ca, issue_node,
};
use remit_common::net::enrol::{Asked, binding_of, listen};
use remit_common::net::env::Env;
use remit_common::net::tasks::Shutdown;
use remit_common::net::tls::Identity;
use remit_common::time::Timestamp;
use remit_common::wire::enrol::{
    Claim, EnrolAnswer, EnrolQuestion, EnrolRefused, Issued, Join, Purpose, Renew, Standing,
};
use remit_edge_node::config::{EnrolAddr, Enrolment};
use remit_edge_node::{Config, NotJoined, RunError, run, run_with};
use zeroize::Zeroizing;

use crate::support::agent::Agent;
use crate::support::bundle::Variant;
use crate::support::keys::{self, EDGES_CA, MESH, VOTERS_CA, acme, key, voter_key};
use crate::support::scene::Scene;
use crate::support::voter::validity;
use crate::support::{eventually, logs};

const SECRET: u8 = 5;
const LIFE: Duration = Duration::from_secs(86_400);

/// The desk of a voter.
#[derive(Clone)]
struct Desk {
    at: SocketAddr,
    listed: Arc<AtomicBool>,
    issued: Arc<AtomicU64>,
    /// Refuses with this word.
    refuses: Arc<Mutex<Option<&'static str>>>,
    claims: Arc<Mutex<Vec<Claim>>>,
    joins: Arc<AtomicU64>,
    /// When the certificates end that it gives, if not a day from now.
    until: Arc<Mutex<Option<Timestamp>>>,
}

impl Desk {
    /// Voter 1's.
    fn start(env: &Env, root: Vec<u8>) -> Self {
        Self::start_as(VoterId(1), env, root)
    }

    fn start_as(voter: VoterId, env: &Env, root: Vec<u8>) -> Self {
        let valid = validity(env.now().wall);
        let ca = issue_ca(&key(VOTERS_CA), &MESH, NodeKind::Voter, 1, valid).unwrap();
        let name = SpiffeId { mesh: MESH, role: NodeRole::Voter(voter) };
        let own = voter_key(voter);
        let certificate = issue_node(&ca, &key(VOTERS_CA), &name, own.public(), 2, valid).unwrap();
        let identity = Identity::new(vec![certificate], &own).with_authority(to_pem(&ca).as_bytes()).unwrap();
        let endpoint = listen(env, ([127, 0, 0, 1], 0).into(), &identity).unwrap();
        let desk = Self {
            at: endpoint.local_addr().unwrap(),
            listed: Arc::default(),
            issued: Arc::default(),
            refuses: Arc::default(),
            claims: Arc::default(),
            joins: Arc::default(),
            until: Arc::default(),
        };
        let (serving, env_of) = (desk.clone(), env.clone());
        drop(env.spawn_named("desk", async move {
            while let Some(arriving) = endpoint.accept().await {
                let connection = arriving.establish_nameless(Duration::from_secs(20)).await.unwrap();
                serving.answer(&env_of, &connection, &root).await;
            }
        }));
        desk
    }

    async fn answer(&self, env: &Env, connection: &quinn::Connection, root: &[u8]) {
        let binding = binding_of(connection).unwrap();
        let asked = Asked::receive(connection, Duration::from_secs(20)).await.unwrap();
        let (answer, rest) = match &asked.question {
            _ if self.refuses.lock().unwrap().is_some() => {
                let code = self.refuses.lock().unwrap().unwrap().to_owned();
                (EnrolAnswer::Refused(EnrolRefused { code, detail: "because".to_owned() }), Vec::new())
            }
            EnrolQuestion::Join(Join { claim, token, admission }) => {
                claim.verify(Purpose::Join, &binding).unwrap();
                let Claim { mesh, region, edge, identity, sealing, .. } = claim;
                let admitted = Admission { mesh: *mesh, region, edge, identity, sealing };
                admitted.verify(secret().public(), admission).unwrap();
                assert_eq!(token, secret().public());
                self.joins.fetch_add(1, Ordering::SeqCst);
                (EnrolAnswer::Joined(self.issue(env, claim)), root.to_vec())
            }
            EnrolQuestion::Renew(Renew { claim, certificate }) => {
                claim.verify(Purpose::Renew, &binding).unwrap();
                assert!(!certificate.is_empty());
                (EnrolAnswer::Renewed(self.issue(env, claim)), Vec::new())
            }
            EnrolQuestion::Look(claim) => {
                claim.verify(Purpose::Look, &binding).unwrap();
                let listed = self.listed.load(Ordering::SeqCst);
                (EnrolAnswer::Standing(Standing { listed, directory: 4 }), Vec::new())
            }
            EnrolQuestion::Unknown { .. } => panic!("an edge asks what nobody knows"),
        };
        // An edge that was stopped meanwhile does not take it.
        let _ = asked.answer(&answer, &rest).await;
    }

    fn issue(&self, env: &Env, claim: &Claim) -> Issued {
        self.claims.lock().unwrap().push(claim.clone());
        let index = LogIndex(100 + self.issued.fetch_add(1, Ordering::SeqCst));
        let now = env.now().wall;
        let ca = issue_ca(&key(EDGES_CA), &MESH, NodeKind::Edge, 1, validity(now)).unwrap();
        let role = NodeRole::Edge { region: claim.region.clone(), edge: claim.edge.clone() };
        let counts = Validity {
            not_before: now.minus(BACKDATED),
            not_after: self.until.lock().unwrap().unwrap_or(now.plus(LIFE)),
        };
        let name = SpiffeId { mesh: MESH, role };
        let certificate = issue_node(&ca, &key(EDGES_CA), &name, &claim.identity, index.0, counts).unwrap();
        Issued { certificate: certificate.to_vec(), index }
    }

    fn issued(&self) -> u64 {
        self.issued.load(Ordering::SeqCst)
    }

    fn joins(&self) -> u64 {
        self.joins.load(Ordering::SeqCst)
    }
}

fn secret() -> TokenSecret {
    TokenSecret::new(Zeroizing::new([SECRET; 32])).unwrap()
}

fn token(scene: &Scene, desk: &Desk) -> JoinToken {
    let ca = issue_ca(&key(VOTERS_CA), &MESH, NodeKind::Voter, 1, validity(scene.now)).unwrap();
    JoinToken {
        mesh: MESH,
        root: keys::root(scene.now, &[acme()]).digest(),
        voters_authority: key_pin(&ca).unwrap(),
        region: keys::region(),
        edge: keys::edge_id(),
        voters: [(VoterId(1), desk.at)].into(),
        secret: secret(),
    }
}

/// An edge that has nothing but a token, and whose listener for operators is where a test finds it.
fn bare(scene: &Scene, token: &JoinToken) -> Config {
    let path = |name: &str| scene.folder.path().join("bare").join(name);
    scene.world.env.disk.create_dir(&path("")).unwrap();
    scene.world.env.disk.replace(&path("join.token"), token.to_text().as_bytes()).unwrap();
    let mut config = scene.config.clone();
    (config.data_dir, config.root, config.sealing_key) = (path("data"), path("root.json"), path("sealing.key"));
    (config.tls.certificate, config.tls.key, config.tls.voters_ca) = (path("edge.pem"), path("id.key"), path("v.pem"));
    config.enrolment = Some(Enrolment { token: Some(path("join.token")), voters: Vec::new() });
    let free = scene.world.env.socket.listen(([127, 0, 0, 1], 0).into()).unwrap();
    config.listen.ops = free.local_addr();
    config
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// N-22 to N-24.
#[tokio::test]
async fn an_edge_makes_its_keys_joins_waits_and_then_starts_without_asking() {
    let scene = Scene::before_the_edge();
    let desk = Desk::start(&scene.world.env, scene.root.clone());
    let config = bare(&scene, &token(&scene, &desk));
    let (shutdown, env) = (Shutdown::new(), scene.world.env.clone());
    let ready = Arc::new(AtomicU64::new(0));
    let running = {
        let (config, env, shutdown, tell) = (config.clone(), env.clone(), shutdown.clone(), Arc::clone(&ready));
        #[expect(clippy::disallowed_methods, reason = "the test's own task")]
        tokio::spawn(run_with(config, env, shutdown, move || {
            tell.fetch_add(1, Ordering::SeqCst);
        }))
    };
    let ops = Agent::new(&env, config.listen.ops, None);
    let look = async |path: &str| ops.try_get(path).await.ok();
    let waits = eventually("it waits for the directory", || async {
        let answered = look("/readyz").await?;
        let text = String::from_utf8(answered.body).unwrap();
        (answered.status == 503 && text.starts_with("not_in_directory: directory 4 ")).then_some(text)
    })
    .await;
    assert_eq!(desk.issued(), 1);
    assert_eq!(ready.load(Ordering::SeqCst), 1, "a service manager does not wait with it");
    let claim = desk.claims.lock().unwrap()[0].clone();
    assert!(waits.contains(&claim.identity.id().to_string()) && waits.contains(&claim.sealing.id().to_string()));
    assert_eq!(look("/status").await.unwrap().json["mode"], "joining");
    assert_eq!(look("/livez").await.unwrap().status, 200);
    for path in [&config.tls.key, &config.sealing_key, &config.tls.certificate] {
        assert_eq!(mode(path), 0o600, "{}", path.display());
    }
    let progress = config.data_dir.join("enrolment.json");
    let stored = String::from_utf8(env.disk.read(&progress, 4_096).unwrap().unwrap()).unwrap();
    assert_eq!(stored, format!(r#"{{"v":1,"listed":false,"voters":{{"1":"{}"}}}}"#, desk.at));
    let logged = String::from_utf8_lossy(&logs::kept()).into_owned();
    assert!(!logged.contains(token(&scene, &desk).to_text().as_str()), "the token is in the log");

    desk.listed.store(true, Ordering::SeqCst);
    // The directory of these voters lists other keys, so that no voter serves it; but it runs, and says what it lacks.
    eventually("it runs", || async {
        let answered = look("/status").await?;
        (answered.json["mode"] == "isolated").then_some(())
    })
    .await;
    shutdown.trigger();
    running.await.unwrap().unwrap();
    assert_eq!(ready.load(Ordering::SeqCst), 1, "once");
    assert!(String::from_utf8(env.disk.read(&progress, 4_096).unwrap().unwrap()).unwrap().contains("\"listed\":true"));

    // From now on it starts, whoever answers or does not; a certificate of a day is still good.
    *desk.refuses.lock().unwrap() = Some("token_used");
    let shutdown = Shutdown::new();
    let running = {
        let (env, shutdown) = (env.clone(), shutdown.clone());
        #[expect(clippy::disallowed_methods, reason = "the test's own task")]
        tokio::spawn(run(config, env, shutdown))
    };
    eventually("it runs again", || async {
        let answered = look("/status").await?;
        (answered.json["mode"] == "isolated").then_some(())
    })
    .await;
    shutdown.trigger();
    running.await.unwrap().unwrap();
    assert_eq!(desk.issued(), 1, "and has asked for nothing");
}

/// N-22: one voter alone, which may lie, ends no edge that joins.
#[tokio::test]
async fn an_edge_gives_up_when_every_voter_refuses_it_for_good() {
    let scene = Scene::before_the_edge();
    let [lies, behind] = [1, 2].map(|voter| Desk::start_as(VoterId(voter), &scene.world.env, scene.root.clone()));
    let token = JoinToken { voters: [(VoterId(1), lies.at), (VoterId(2), behind.at)].into(), ..token(&scene, &lies) };
    *lies.refuses.lock().unwrap() = Some("token_unknown");
    *behind.refuses.lock().unwrap() = Some("unavailable");
    let config = bare(&scene, &token);
    let (shutdown, env) = (Shutdown::new(), scene.world.env.clone());
    let ops = Agent::new(&env, config.listen.ops, None);
    let running = {
        let (config, env, shutdown) = (config.clone(), env.clone(), shutdown.clone());
        #[expect(clippy::disallowed_methods, reason = "the test's own task")]
        tokio::spawn(run(config, env, shutdown))
    };
    let look = async |path: &str| String::from_utf8(ops.try_get(path).await.ok()?.body).ok();
    eventually("it says what both answer", || async {
        let text = look("/readyz").await?;
        (text.contains("voter 1: token_unknown") && text.contains("voter 2: unavailable")).then_some(())
    })
    .await;
    *behind.refuses.lock().unwrap() = None;
    eventually("the other voter has taken it in", || async {
        look("/readyz").await?.starts_with("not_in_directory: ").then_some(())
    })
    .await;
    assert_eq!((lies.issued(), behind.issued()), (0, 1));
    shutdown.trigger();
    running.await.unwrap().unwrap();

    // When both say so, it ends.
    env.disk.remove(&config.tls.certificate).unwrap();
    *behind.refuses.lock().unwrap() = Some("token_expired");
    let ended = run(config, env, Shutdown::new()).await;
    assert!(matches!(ended, Err(RunError::NotJoined(NotJoined::Refused { .. }))), "{ended:?}");
}

/// N-22, J-14: by a new token, with the keys that the directory lists.
#[tokio::test]
async fn an_edge_whose_certificate_is_past_renewing_joins_again() {
    let scene = Scene::before_the_edge();
    let desk = Desk::start(&scene.world.env, scene.root.clone());
    let (config, env) = (bare(&scene, &token(&scene, &desk)), scene.world.env.clone());
    desk.listed.store(true, Ordering::SeqCst);
    let ops = Agent::new(&env, config.listen.ops, None);
    let start_and_stop = async || {
        let shutdown = Shutdown::new();
        let running = {
            let (config, env, shutdown) = (config.clone(), env.clone(), shutdown.clone());
            #[expect(clippy::disallowed_methods, reason = "the test's own task")]
            tokio::spawn(run(config, env, shutdown))
        };
        eventually("it runs", || async {
            (ops.try_get("/status").await.ok()?.json["mode"] == "isolated").then_some(())
        })
        .await;
        shutdown.trigger();
        running.await.unwrap().unwrap();
    };
    start_and_stop().await;
    let first = desk.claims.lock().unwrap()[0].clone();
    env.disk.remove(&config.tls.certificate).unwrap();
    start_and_stop().await;
    assert_eq!(desk.joins(), 2, "the certificate is gone");

    // One that has ended is renewed for as long as voters do that, and no token is spent on it.
    let now = env.now().wall;
    let ca = issue_ca(&key(EDGES_CA), &MESH, NodeKind::Edge, 1, validity(now)).unwrap();
    let name = SpiffeId { mesh: MESH, role: NodeRole::Edge { region: keys::region(), edge: keys::edge_id() } };
    let minute = Duration::from_secs(60);
    for (ended, joins) in [(GRACE - minute, 0), (GRACE + minute, 1)] {
        let counts = Validity { not_before: now.minus(GRACE * 2), not_after: now.minus(ended) };
        let old = issue_node(&ca, &key(EDGES_CA), &name, &first.identity, 7, counts).unwrap();
        env.disk.replace(&config.tls.certificate, to_pem(&old).as_bytes()).unwrap();
        let before = desk.joins();
        start_and_stop().await;
        assert_eq!(desk.joins() - before, joins);
    }
    for claim in desk.claims.lock().unwrap().iter() {
        assert_eq!((claim.identity, &claim.sealing), (first.identity, &first.sealing));
    }
}

/// N-22, J-7.
#[tokio::test]
async fn an_edge_that_is_not_taken_in_says_why_and_ends() {
    let scene = Scene::before_the_edge();
    let desk = Desk::start(&scene.world.env, scene.root.clone());
    let good = token(&scene, &desk);
    let attempt = async |config: Config| run(config, scene.world.env.clone(), Shutdown::new()).await;
    let not_joined = |ended: Result<(), RunError>| match ended {
        Err(RunError::NotJoined(why)) => why,
        other => panic!("{other:?}"),
    };
    *desk.refuses.lock().unwrap() = Some("token_used");
    let refused = not_joined(attempt(bare(&scene, &good)).await);
    assert!(matches!(&refused, NotJoined::Refused { code, .. } if code == "token_used"), "{refused:?}");
    // It keeps its keys: whoever makes a second token for it gets the same edge.
    let key_file = scene.folder.path().join("bare/id.key");
    let made = scene.world.env.disk.read(&key_file, 200).unwrap().unwrap();
    let refused = not_joined(attempt(bare(&scene, &good)).await);
    assert!(matches!(refused, NotJoined::Refused { .. }));
    assert_eq!(scene.world.env.disk.read(&key_file, 200).unwrap().unwrap(), made);

    for (change, expected) in [
        (JoinToken { mesh: remit_common::id::MeshId([9; 16]), ..token(&scene, &desk) }, "mesh"),
        (JoinToken { region: "us-east".parse().unwrap(), ..token(&scene, &desk) }, "region"),
        (JoinToken { edge: "eu-west-9".parse().unwrap(), ..token(&scene, &desk) }, "edge"),
    ] {
        let refused = not_joined(attempt(bare(&scene, &change)).await);
        assert!(matches!(&refused, NotJoined::OtherEdge { what, .. } if *what == expected), "{refused:?}");
    }
    let config = bare(&scene, &good);
    let file = config.enrolment.clone().unwrap().token.unwrap();
    scene.world.env.disk.replace(&file, b"remit-join-1.none").unwrap();
    assert!(matches!(not_joined(attempt(config.clone()).await), NotJoined::Token { .. }));
    scene.world.env.disk.remove(&file).unwrap();
    assert!(matches!(not_joined(attempt(config).await), NotJoined::NoToken { .. }));
    assert_eq!(desk.issued(), 0);
}

/// J-2, J-7: a desk that is not the mesh's gets nothing, and gives nothing.
#[tokio::test]
async fn an_edge_believes_the_authority_and_the_root_that_its_token_names() {
    let scene = Scene::before_the_edge();
    let desk = Desk::start(&scene.world.env, scene.root.clone());
    for wrong in [
        JoinToken { voters_authority: Digest([1; 32]), ..token(&scene, &desk) },
        JoinToken { root: Digest([1; 32]), ..token(&scene, &desk) },
    ] {
        let config = bare(&scene, &wrong);
        let (shutdown, env) = (Shutdown::new(), scene.world.env.clone());
        let ops = Agent::new(&env, config.listen.ops, None);
        let running = {
            let (config, shutdown) = (config.clone(), shutdown.clone());
            #[expect(clippy::disallowed_methods, reason = "the test's own task")]
            tokio::spawn(run(config, env.clone(), shutdown))
        };
        eventually("it goes on asking", || async {
            let text = String::from_utf8(ops.try_get("/readyz").await.ok()?.body).unwrap();
            text.starts_with("not_joined: ").then_some(())
        })
        .await;
        shutdown.trigger();
        running.await.unwrap().unwrap();
        assert!(env.disk.read(&config.tls.certificate, 10_000).unwrap().is_none());
    }
}

/// N-25.
#[tokio::test]
async fn a_running_edge_renews_at_half_life_and_drops_nothing() {
    let mut scene = Scene::before_the_edge();
    let desk = Desk::start(&scene.world.env, scene.root.clone());
    scene.config.enrolment = Some(Enrolment { token: None, voters: vec![EnrolAddr { id: VoterId(1), at: desk.at }] });
    // What it was installed with began an hour ago and lasts a day.
    let now = scene.world.env.now().wall;
    let ca = issue_ca(&key(EDGES_CA), &MESH, NodeKind::Edge, 1, validity(now)).unwrap();
    let name = SpiffeId { mesh: MESH, role: NodeRole::Edge { region: keys::region(), edge: keys::edge_id() } };
    let counts = Validity { not_before: now.minus(BACKDATED), not_after: now.plus(LIFE) };
    let first = issue_node(&ca, &key(EDGES_CA), &name, key(keys::EDGE).public(), 7, counts).unwrap();
    scene.world.env.disk.replace(&scene.config.tls.certificate, to_pem(&first).as_bytes()).unwrap();
    scene.publish(&Variant::new(1, &scene.upstream.url()));
    scene.start_edge().await;
    scene.until_fresh(1).await;
    let ends = |status: &serde_json::Value| status["certificate_ends"].as_u64().unwrap();
    let before = scene.status().await;
    assert_eq!(ends(&before), now.plus(LIFE).as_millis() / 1_000 * 1_000);
    assert_eq!(desk.issued(), 0);

    // Not before half of its life is over; and a desk that refuses for now is asked again.
    *desk.refuses.lock().unwrap() = Some("voter_behind");
    scene.forward(LIFE / 2 + LIFE / 10);
    eventually("it asks", || async {
        let logged = String::from_utf8_lossy(&logs::kept()).into_owned();
        logged.contains("the certificate is not renewed yet").then_some(())
    })
    .await;
    // One that ends no later than the first is not taken, or the next would be due at once.
    *desk.until.lock().unwrap() = Some(now.plus(LIFE));
    *desk.refuses.lock().unwrap() = None;
    eventually("it does not take what ends no later", || async {
        String::from_utf8_lossy(&logs::kept()).contains("ends no later than").then_some(())
    })
    .await;
    assert_eq!(ends(&scene.status().await), ends(&before));
    *desk.until.lock().unwrap() = None;
    let renewed = scene.until("the certificate is another", |status| ends(status) > ends(&before)).await;
    assert!(desk.issued() >= 2);
    let file = scene.world.env.disk.read(&scene.config.tls.certificate, 10_000).unwrap().unwrap();
    assert_ne!(file, to_pem(&first).into_bytes());
    assert_eq!(renewed["voters_connected"].as_array().unwrap().len(), 3, "what stood, stands: {renewed}");

    // Long after the first has ended, the edge comes back with the new one.
    scene.forward(LIFE / 2);
    assert!(scene.world.env.now().wall > now.plus(LIFE));
    scene.restart_voters().await;
    scene.until_fresh(1).await;
    scene.stop_edge().await;
}
