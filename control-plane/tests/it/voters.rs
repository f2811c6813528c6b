//! The control plane as administrators and edges see it: whole voters, one process, real sockets. Clauses A-1 to A-11,
//! K-1 to K-13.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use remit_common::crypto::digest::Digest;
use remit_common::crypto::key_file;
use remit_common::envelope::{RawPresentation, TaskRequest};
use remit_common::id::{BootId, DecisionId, LogIndex, RevocationEpoch};
use remit_common::lattice::{Effect, Effects};
use remit_common::net::env::{AppendFile, Clock, Disk, Env, RandomFile, deadline};
use remit_common::net::framed::{FramedRecv, FramedSend};
use remit_common::net::real::real;
use remit_common::record::{Detail, Public, Record, RecordKind};
use remit_common::revocation::{CutKind, Revocations};
use remit_common::text;
use remit_common::time::{BootTime, Now, Timestamp};
use remit_common::trust::tick::Nonce;
use remit_common::wire::batch::RecordBatch;
use remit_common::wire::message::{EdgeMessage, Fetch, NonceMessage, RecordAck, RecordFork, VoterMessage};
use remit_common::wire::proof::{Attestation, Covered};
use remit_control_plane::registry::EnvelopeRequest;
use remit_control_plane::{Args, LogFormat, daemon};
use serde_json::Value;

use crate::fault_disk::FaultDisk;
use crate::mesh::{Mesh, PATIENCE};
use crate::world::{CUTTER, MESH, OPS, bundle, cut, directory_content, edge, key, tenant};

const TASK: &str = r#"
    tenant = "acme"
    delegator = "user:maya"
    session = "s"
    task = "t"
    purpose = "review.renewal_risk"
    lifetime_secs = 600
    [agent]
    id = "spiffe://x/agent"
    class = "renewal-analyst"
    [[grant]]
    tools = ["contracts.read"]
    effects = ["read"]
    classes = ["contract_metadata"]
    ids = { customer = ["c1"], contract = "any" }
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn administrators_write_at_any_voter_and_read_at_any_other() {
    let mesh = Mesh::new();
    let voters = mesh.start_all().await;
    let leader = mesh.leader(&voters).await.id;
    let mut followers = voters.iter().filter(|voter| voter.id != leader);
    let (here, there) = (followers.next().unwrap(), followers.next().unwrap());

    let container = bundle("acme", 1, &[6, 7], mesh.now);
    let (status, published) = mesh.post(here, OPS, "/v1/bundles", container).await;
    assert_eq!(status, 200, "{published}");
    let (_, read) = mesh.get(there, "/v1/bundles?tenant=acme").await;
    assert_eq!(read["bundles"][0]["digest"], published["digest"]);
    assert_eq!(read["bundles"][0]["number"], published["number"]);
    assert_eq!(mesh.get(there, "/v1/bundles?tenant=globex").await.1["bundles"], Value::Array(Vec::new()));

    // Refusals say why, and those of administrators are in the log.
    let (status, problem) = mesh.post(here, OPS, "/v1/bundles", bundle("acme", 2, &[6], mesh.now)).await;
    assert_eq!((status, &problem["reason"]), (422, &"not_enough_signatures".into()), "{problem}");
    assert!(problem["index"].as_u64() > published["index"].as_u64());
    let (status, problem) = mesh.post(here, CUTTER, "/v1/bundles", Vec::new()).await;
    assert_eq!((status, &problem["reason"]), (403, &"verb_not_permitted".into()), "{problem}");
    let (status, problem) = mesh.post(here, 99, "/v1/revocations", cut("acme", CutKind::Session, "s")).await;
    assert_eq!((status, &problem["reason"]), (401, &"unknown_administrator".into()));
    assert_eq!(problem["index"], Value::Null, "strangers do not get into the log");
    let request = mesh.sign(OPS, "/v1/revocations", cut("acme", CutKind::Session, "s"));
    let mut tampered = request.clone();
    tampered.signature.0[0] ^= 1;
    assert_eq!(mesh.send(here, &tampered).await.1["reason"], "bad_signature");
    assert_eq!(mesh.get(here, "/v1/nothing").await.0, 404);
    assert_eq!(mesh.get(here, "/v1/edges?surprise=1").await.0, 400);

    // The same request again, at another voter.
    let (status, revoked) = mesh.send(here, &request).await;
    assert_eq!((status, &revoked["epoch"]), (200, &1.into()));
    let (status, again) = mesh.send(there, &request).await;
    assert_eq!((status, &again["reason"]), (401, &"replayed".into()));

    // A root of a majority of the issuers.
    let task = TaskRequest::parse_toml(TASK).unwrap();
    let body = serde_json::to_vec(&EnvelopeRequest { holder: *key(77).public(), task }).unwrap();
    let (status, issued) = mesh.post(there, OPS, "/v1/envelopes", body).await;
    assert_eq!(status, 200, "{issued}");
    let presentation = text::from_base64url(issued["presentation"].as_str().unwrap()).unwrap();
    let issuers = crate::world::signed_directory(1, mesh.now);
    let root = crate::world::signed_root(true, mesh.now);
    let pin = root.digest();
    let directory = issuers.verify(&root.verify_pinned(&pin, &MESH).unwrap(), mesh.now).unwrap();
    let chain = RawPresentation::parse(&presentation).unwrap().verify(&MESH, directory.issuers()).unwrap();
    assert_eq!(chain.context().evidence.to_string(), issued["evidence"].as_str().unwrap());
    assert_eq!(chain.effective().authority().delegator.as_str(), "user:maya");

    let (_, status) = mesh.get(here, "/v1/status").await;
    assert_eq!(status["voters"].as_array().map(Vec::len), Some(3));
    assert!(status["voters"].as_array().unwrap().iter().all(|voter| voter["reachable"] == true), "{status}");
    assert_eq!((&status["directory"], &status["revocation_epoch"]), (&1.into(), &1.into()));
    assert_eq!(status["bundles"][0]["version"], 1);
    let metrics = mesh.text(here.ops, "/metrics").await;
    assert!(metrics.contains("remit_control_revocation_epoch 1"), "{metrics}");
    // Clause W-41.
    for line in ["remit_control_udp_buffer_bytes{side=\"receive\"} ", "remit_control_udp_dropped_datagrams "] {
        assert!(metrics.contains(line), "`{line}` is missing in {metrics}");
    }
    assert!(mesh.get(here, "/openapi.json").await.1["paths"]["/v1/bundles"]["post"].is_object());
    for voter in voters {
        voter.stop().await.unwrap();
    }
}

pub(crate) fn nonce(byte: u8) -> EdgeMessage {
    EdgeMessage::Nonce(NonceMessage { nonce: Nonce([byte; 32]), epoch: RevocationEpoch(0), head: None })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_is_told_what_holds_and_says_what_it_does() {
    let mesh = Mesh::new();
    let voters = mesh.start_all().await;
    let (status, published) = mesh.post(&voters[0], OPS, "/v1/bundles", bundle("acme", 1, &[6, 7], mesh.now)).await;
    assert_eq!(status, 200, "{published}");

    let mut one = mesh.connect(&voters[1], "eu-west-1", 31).await;
    one.subscribe(BootId([1; 16])).await;
    let (mut directory, mut activation) = (None, None);
    while directory.is_none() || activation.is_none() {
        match one.hear().await {
            VoterMessage::Directory(published) => directory = Some(published),
            VoterMessage::Activation(activated) => activation = Some(activated),
            other => panic!("{other:?}"),
        }
    }
    let (directory, activated) = (directory.unwrap(), activation.unwrap());
    assert_eq!(directory.version, 1);
    assert_eq!(Some(activated.activation.manifest.to_string().as_str()), published["digest"].as_str());
    one.say(EdgeMessage::Fetch(Fetch { digests: vec![directory.object.digest, Digest([9; 32])] })).await;
    let absent = one.hear_until(|message| if let VoterMessage::Absent(digest) = message { Some(digest) } else { None });
    assert_eq!(absent.await, Digest([9; 32]));
    let mut objects = one.next_stream().await;
    let Some(VoterMessage::Object(chunk)) = objects.recv(PATIENCE).await.unwrap() else { panic!("no object") };
    assert_eq!(Digest::of(&[&chunk.bytes]), directory.object.digest);

    // The tick: the answer proves that this voter applied an entry that contains the nonce.
    one.say(nonce(1)).await;
    let pick = |message| if let VoterMessage::TickAnswer(answer) = message { Some(answer) } else { None };
    let answer = one.hear_until(pick).await;
    assert_eq!(answer.nonce, Nonce([1; 32]));
    answer.verify_includes(&edge("eu-west-1"), voters[1].id).unwrap();
    answer.verify_includes(&edge("eu-west-2"), voters[1].id).unwrap_err();
    assert_eq!((answer.epoch, answer.directory, answer.root), (RevocationEpoch(0), 1, 1));

    // A revocation overtakes on its own stream; coverage is a time until every edge has signed.
    let (_, revoked) = mesh.post(&voters[2], OPS, "/v1/revocations", cut("acme", CutKind::Session, "s")).await;
    assert_eq!(revoked["epoch"], 1, "{revoked}");
    let mut stream = one.next_stream().await;
    let Some(VoterMessage::Revocations(part)) = stream.recv(PATIENCE).await.unwrap() else { panic!("no update") };
    assert_eq!((part.to, part.added.len()), (RevocationEpoch(1), 1));
    let (administrators, issuers) = (administrators(mesh.now), remit_common::envelope::Issuers::default());
    let authorities =
        remit_common::revocation::Authorities { mesh: &MESH, administrators: &administrators, issuers: &issuers };
    part.added[0].verify(&authorities).unwrap();
    let coverage = async |at: usize| mesh.get(&voters[at], "/v1/revocations/1/coverage").await.1;
    let before = coverage(0).await;
    assert_eq!((&before["committed"], &before["covered"]), (&true.into(), &false.into()));
    let stops = before["edges"][0]["stops"].as_object().unwrap();
    assert_eq!(stops.len(), 6, "{before}");
    assert!(stops["irreversible"].as_u64() < stops["read"].as_u64());
    assert_eq!(before["everywhere_by"], stops["read"]);

    let mut set = Revocations::new();
    set.cut(part.added[0].clone()).unwrap();
    assert_eq!(set.digest(), part.digest);
    let mut two = mesh.connect(&voters[0], "eu-west-2", 32).await;
    two.subscribe(BootId([2; 16])).await;
    for (edge, seed) in [(&mut one, 31), (&mut two, 32)] {
        let covered = Covered::sign(&MESH, &key(seed), edge.id.clone(), RevocationEpoch(1), set.digest());
        edge.say(EdgeMessage::Covered(covered)).await;
    }
    // Each ack is at one voter only; any voter knows both.
    mesh.until("covered", async || coverage(2).await["covered"] == true).await;
    let after = coverage(1).await;
    let ack: Covered = serde_json::from_value(after["edges"][0]["ack"].clone()).unwrap();
    ack.verify(&MESH, key(31).public()).unwrap();
    assert_eq!(after["edges"][0]["stops"], serde_json::json!({}));

    let attestation = Attestation::sign(
        &MESH,
        &key(31),
        edge("eu-west-1"),
        tenant("acme"),
        activated.activation.number,
        activated.activation.manifest,
    );
    one.say(EdgeMessage::Attest(attestation)).await;
    mesh.until("running", async || {
        let (_, edges) = mesh.get(&voters[2], "/v1/edges").await;
        edges["edges"][0]["running"][0]["current"] == true
    })
    .await;

    // An ack that the edge did not sign ends the connection.
    let forged = Covered::sign(&MESH, &key(32), edge("eu-west-1"), RevocationEpoch(1), set.digest());
    one.say(EdgeMessage::Covered(forged)).await;
    while let Ok(Some(_)) = one.end().await {}
    two.leave().await;
}

fn administrators(now: Timestamp) -> remit_common::identity::Administrators {
    directory_content(1, now).administrators.into_iter().map(|entry| (entry.key.id(), entry)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_alone_opens_nothing() {
    let mesh = Mesh::new();
    let voters = mesh.start_all().await;
    // A good certificate for an edge that nobody lists, and for a listed edge with another key.
    for (name, seed) in [("eu-west-9", 35), ("eu-west-1", 36)] {
        let (_endpoint, connection) = mesh.dial(&voters[0], name, seed).await;
        let closed = deadline(PATIENCE, connection.quic.closed()).await.expect("the voter closes");
        assert!(closed.to_string().contains("not_listed"), "{name}: {closed}");
    }
    let metrics = mesh.text(voters[0].ops, "/metrics").await;
    assert!(metrics.contains("remit_control_edges_refused_total{why=\"not_listed\"} 2"), "{metrics}");
}

fn record(boot: u8, seq: u64, prev: Digest, note: &str) -> Record {
    let public = Public {
        edge: edge("eu-west-1"),
        boot: BootId([boot; 16]),
        seq,
        prev,
        wall: Timestamp::from_millis(1_000 + seq),
        mono: BootTime::from_millis(seq),
        kind: RecordKind::Decision,
        decision: Some(DecisionId::new(Timestamp::from_millis(1_000 + seq), [boot; 10])),
        tenant: Some(tenant("acme")),
        effects: Effects::from(Effect::Read),
        reason: "permit".to_owned(),
        tick: LogIndex(1),
        epoch: RevocationEpoch(0),
        manifest: None,
        age_millis: Some(5),
        gap: None,
    };
    Record::new(public, Detail { note: Some(note.to_owned()), ..Detail::default() }).unwrap()
}

/// A chain of records of one boot, continuing `prev`.
fn chain(boot: u8, count: u64, mut prev: Digest) -> Vec<Record> {
    let mut records = Vec::new();
    for seq in 1..=count {
        let record = record(boot, seq, prev, "as decided");
        prev = record.hash(&MESH);
        records.push(record);
    }
    records
}

fn batch(records: &[Record]) -> RecordBatch {
    let public = records[0].public();
    RecordBatch::pack(public.boot, public.seq, records.iter().map(Record::to_bytes)).unwrap()
}

async fn report(streams: &mut (FramedSend, FramedRecv), batch: RecordBatch) -> Option<VoterMessage> {
    streams.0.send(&EdgeMessage::RecordBatch(batch), PATIENCE).await.ok()?;
    deadline(PATIENCE, streams.1.recv(PATIENCE)).await.expect("the voter answers").ok().flatten()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_are_acknowledged_once_and_forks_never() {
    let mesh = Mesh::new();
    let voters = mesh.start_all().await;
    let boot = |byte| BootId([byte; 16]);
    let mut edge = mesh.connect(&voters[0], "eu-west-1", 31).await;
    // For its records alone an edge greets, and does not subscribe.
    edge.greet(boot(1)).await;
    let mut records = edge.open_records().await;
    let first = chain(1, 5, Digest::default());
    let ack = |byte, seq| Some(VoterMessage::RecordAck(RecordAck { boot: boot(byte), seq }));
    assert_eq!(report(&mut records, batch(&first[..3])).await, ack(1, 3));
    assert_eq!(report(&mut records, batch(&first[1..])).await, ack(1, 5), "a repeat is harmless");
    let head = first[4].hash(&MESH);
    let second = chain(2, 2, head);
    let id = second[1].public().decision.unwrap().to_string();
    // Whoever follows the stream, at whichever voter, sees it arrive.
    mesh.follow(&voters[1], &id, async {
        assert_eq!(report(&mut records, batch(&second)).await, ack(2, 2));
    })
    .await;

    // Another boot that continues the same head, and another record in a place that is taken.
    let restored = chain(3, 1, head);
    let fork = |byte, seq, stored| Some(VoterMessage::RecordFork(RecordFork { boot: boot(byte), seq, stored }));
    assert_eq!(report(&mut records, batch(&restored)).await, fork(3, 1, head));
    let other = record(2, 2, second[0].hash(&MESH), "told differently");
    assert_eq!(report(&mut records, batch(&[other])).await, fork(2, 2, second[1].hash(&MESH)));
    let next = record(2, 3, second[1].hash(&MESH), "as decided");
    let forked = report(&mut records, batch(&[next])).await;
    assert_eq!(forked, fork(2, 2, second[1].hash(&MESH)), "nothing of a forked boot counts any more");
    let metrics = mesh.text(voters[0].ops, "/metrics").await;
    assert!(metrics.contains("remit_control_records_total 7"), "{metrics}");
    assert!(metrics.contains("remit_control_records_refused_total{why=\"fork\"} 3"), "{metrics}");

    // Only one voter has them; every voter finds them, for their tenant.
    let (_, found) = mesh.get(&voters[2], "/v1/decisions?tenant=acme&limit=3").await;
    assert_eq!(found["unreachable"], Value::Array(Vec::new()));
    let seqs: Vec<_> = found["decisions"].as_array().unwrap().iter().map(|d| d["remit"]["seq"].as_u64()).collect();
    assert_eq!(seqs, [Some(3), Some(4), Some(5)], "the newest, oldest first: {found}");
    let id = first[1].public().decision.unwrap();
    let (_, found) = mesh.get(&voters[1], &format!("/v1/decisions?tenant=acme&id={id}")).await;
    assert_eq!(found["decisions"][0]["decision_id"], id.to_string());
    assert_eq!(found["decisions"][0]["remit"]["hash"], first[1].hash(&MESH).to_string());
    let (_, found) = mesh.get(&voters[1], &format!("/v1/decisions?tenant=globex&id={id}")).await;
    assert_eq!(found["decisions"], Value::Array(Vec::new()));
    let (_, found) = mesh.get(&voters[1], &format!("/v1/decisions?tenant=acme&after={id}&limit=1")).await;
    assert_eq!(found["decisions"].as_array().map(Vec::len), Some(1));

    // Records of somebody else end the stream with the reason.
    let mut foreign = chain(5, 1, Digest::default());
    foreign[0] = {
        let mut public = foreign[0].public().clone();
        public.edge = crate::world::edge("eu-west-2");
        Record::new(public, Detail::default()).unwrap()
    };
    let refused = report(&mut records, batch(&foreign)).await;
    assert!(matches!(&refused, Some(VoterMessage::Refused(refused)) if refused.code == "malformed"), "{refused:?}");
    edge.leave().await;

    // They are on the disk: a restarted voter still has them, and still knows the fork.
    let mut voters = voters;
    voters.remove(0).stop().await.unwrap();
    voters.insert(0, mesh.restart(1).await);
    let (_, found) = mesh.get(&voters[0], &format!("/v1/decisions?tenant=acme&id={id}")).await;
    assert_eq!(found["decisions"].as_array().map(Vec::len), Some(1));
    let mut edge = mesh.connect(&voters[0], "eu-west-1", 31).await;
    edge.greet(boot(2)).await;
    let mut records = edge.open_records().await;
    assert_eq!(report(&mut records, batch(&second)).await, fork(2, 2, second[1].hash(&MESH)));
    assert_eq!(report(&mut records, batch(&first)).await, ack(1, 5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_succeeds_after_the_leader_is_killed() {
    let mesh = Mesh::new();
    let mut voters = mesh.start_all().await;
    let (status, published) = mesh.post(&voters[0], OPS, "/v1/bundles", bundle("acme", 1, &[6, 7], mesh.now)).await;
    assert_eq!(status, 200, "{published}");
    let leader = mesh.leader(&voters).await.id;
    let place = voters.iter().position(|voter| voter.id == leader).unwrap();
    voters.remove(place).kill();

    // Sent while nobody leads; whatever the first attempt met, the request counts once.
    let request = mesh.sign(OPS, "/v1/revocations", cut("acme", CutKind::Session, "s"));
    let (status, revoked) = mesh.send(&voters[0], &request).await;
    assert_eq!((status, &revoked["epoch"]), (200, &1.into()), "{revoked}");
    assert_eq!(mesh.send(&voters[1], &request).await.1["reason"], "replayed");
    let (_, list) = mesh.get(&voters[1], "/v1/revocations").await;
    assert_eq!((&list["epoch"], list["revocations"].as_array().map(Vec::len)), (&1.into(), Some(1)));
    let (_, now) = mesh.get(&voters[0], "/v1/status").await;
    let dead = now["voters"].as_array().unwrap().iter().find(|voter| voter["id"] == leader.0).unwrap();
    assert_eq!(dead["reachable"], false, "{now}");
    // Two of three issuers are a majority.
    let task = TaskRequest::parse_toml(TASK).unwrap();
    let body = serde_json::to_vec(&EnvelopeRequest { holder: *key(77).public(), task }).unwrap();
    assert_eq!(mesh.post(&voters[0], OPS, "/v1/envelopes", body).await.0, 200);

    // It comes back and catches up by itself.
    let back = mesh.restart(u8::try_from(leader.0).unwrap()).await;
    let (_, list) = mesh.get(&back, "/v1/revocations").await;
    assert_eq!(list["epoch"], 1);
    let (_, bundles) = mesh.get(&back, "/v1/bundles").await;
    assert_eq!(bundles["bundles"][0]["digest"], published["digest"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_voter_without_its_files_says_which() {
    let mesh = Mesh::new();
    let mut config = mesh.config(1);
    config.issuer_key = config.issuer_key.with_file_name("missing.key");
    let refused = remit_control_plane::Voter::start(config, real(), Default::default()).await.unwrap_err();
    let text = format!("{:#}", anyhow::Error::from(refused));
    assert!(text.contains("missing.key") && text.contains("no such file"), "{text}");
    let mut config = mesh.config(1);
    // The key of another voter does not belong to this certificate.
    let other = config.tls.key.with_file_name("2.key");
    assert!(key_file::parse_signing(&real().disk.read(&other, 200).unwrap().unwrap()).is_ok());
    config.tls.key = other;
    assert!(remit_control_plane::Voter::start(config, real(), Default::default()).await.is_err());
}

/// A clock that is set wrong by years.
struct Set {
    by: fn(Timestamp, Duration) -> Timestamp,
}

impl Clock for Set {
    fn now(&self) -> Now {
        let Now { wall, boot } = real().clock.now();
        Now { wall: (self.by)(wall, Duration::from_secs(2 * 365 * 86_400)), boot }
    }
}

/// C-73: the file was good when the voter began; what holds now is in its log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_voter_starts_again_when_its_directory_file_has_expired_or_its_clock_is_wrong() {
    let mesh = Mesh::new();
    let clocks = [Timestamp::plus, Timestamp::minus];
    let env = |by| Env { clock: Arc::new(Set { by }), ..real() };
    for by in clocks {
        let refused = mesh.try_start(1, env(by)).await.err().expect("a mesh does not begin with it");
        let text = format!("{:#}", anyhow::Error::from(refused));
        assert!(text.contains("directory.json"), "{text}");
    }
    mesh.start_all().await.remove(0).stop().await.unwrap();
    for by in clocks {
        mesh.start_again(mesh.config(1), env(by)).await.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configuration_is_checked_without_a_socket_being_bound() {
    let mesh = Mesh::new();
    let file = mesh.write_config(1);
    let args = |set: &[&str]| Args {
        config: file.clone(),
        set: set.iter().map(|flag| (*flag).to_owned()).collect(),
        log_format: LogFormat::Text,
        check_config: true,
        print_config: false,
    };
    let check = async |set: &[&str], mut environment: BTreeMap<String, String>| {
        environment.insert("RUST_LOG".to_owned(), "off".to_owned());
        daemon(args(set), environment, real()).await.map_err(|error| format!("{error:#}"))
    };
    assert_eq!(check(&[], BTreeMap::new()).await, Ok(()));
    let elsewhere = BTreeMap::from([("REMIT_ROOT".to_owned(), "nowhere.json".to_owned())]);
    let refused = check(&[], elsewhere.clone()).await.unwrap_err();
    assert!(refused.contains("nowhere.json"), "{refused}");
    assert_eq!(check(&["root=root.json"], elsewhere).await, Ok(()), "a flag beats the environment");
    let refused = check(&["mesh_id=22222222222222222222222222222222"], BTreeMap::new()).await.unwrap_err();
    assert!(refused.contains("root.json"), "the root is another mesh's: {refused}");
}

/// The real disk, but for the records.
struct RecordsApart {
    real: std::sync::Arc<dyn Disk>,
    apart: FaultDisk,
}

impl RecordsApart {
    fn of(&self, path: &Path) -> &dyn Disk {
        if path.ends_with("records.redb") { &self.apart } else { &*self.real }
    }
}

impl Disk for RecordsApart {
    fn read(&self, path: &Path, bytes_max: usize) -> io::Result<Option<Vec<u8>>> {
        self.of(path).read(path, bytes_max)
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.of(path).replace(path, bytes)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.of(path).remove(path)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        self.real.list(folder)
    }

    fn create_dir(&self, folder: &Path) -> io::Result<()> {
        self.apart.create_dir(folder)?;
        self.real.create_dir(folder)
    }

    fn open_append(&self, path: &Path) -> io::Result<Box<dyn AppendFile>> {
        self.of(path).open_append(path)
    }

    fn open_random(&self, path: &Path) -> io::Result<Box<dyn RandomFile>> {
        self.of(path).open_random(path)
    }
}

/// A failed write of records stops the voter with the reason (K-14): what it cannot keep it must not take.
async fn stops_when(break_disk: fn(&FaultDisk)) {
    let mesh = Mesh::new();
    let mut config = mesh.config(1);
    config.peers.truncate(1);
    let apart = FaultDisk::default();
    let disk = RecordsApart { real: real().disk, apart: apart.clone() };
    let env = Env { disk: std::sync::Arc::new(disk), ..real() };
    let voter = mesh.start_with(config, env).await.unwrap();
    mesh.ready(&voter).await;
    let mut edge = mesh.connect(&voter, "eu-west-1", 31).await;
    edge.greet(BootId([1; 16])).await;
    let mut records = edge.open_records().await;
    let first = chain(1, 2, Digest::default());
    let acked = VoterMessage::RecordAck(RecordAck { boot: BootId([1; 16]), seq: 1 });
    assert_eq!(report(&mut records, batch(&first[..1])).await, Some(acked));
    break_disk(&apart);
    assert_eq!(report(&mut records, batch(&first[1..])).await, None, "nothing is acknowledged any more");
    let stopped = voter.end().await.unwrap_err().to_string();
    assert!(stopped.contains("decision records cannot be written"), "{stopped}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_stops_the_voter() {
    stops_when(|disk| disk.leave_room(0)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_fsync_stops_the_voter() {
    stops_when(FaultDisk::fail_syncs).await;
}
