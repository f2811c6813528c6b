//! Ticks that voters sign together: real voters over QUIC, and an edge that verifies what it is shown.

use remit_common::id::{BootId, LogIndex, RevocationEpoch, VoterId};
use remit_common::revocation::CutKind;
use remit_common::trust::beacon::{BeaconRefused, SignedStatement, Statement};
use remit_common::trust::directory::{Directory, SignedDirectory};
use remit_common::trust::tick::TickAnswer;
use remit_common::wire::message::{BeaconOffer, EdgeMessage, VoterMessage};
use remit_common::wire::seal;
use remit_control_plane::admin::model::Coverage;

use crate::mesh::{Edge, Mesh};
use crate::voters::nonce;
use crate::world::{MESH, OPS, cut, directory_with_beacons, signed_root};

const SEEDS: [u8; 3] = [61, 62, 63];

fn verified(mesh: &Mesh, directory: SignedDirectory) -> Directory {
    let root = signed_root(true, mesh.now);
    let pin = root.digest();
    directory.verify(&root.verify_pinned(&pin, &MESH).unwrap(), mesh.now).unwrap()
}

/// Sends nonces until one is answered, and gives the answer with what came right before it.
async fn answered(edge: &mut Edge, since: LogIndex) -> (TickAnswer, Option<BeaconOffer>) {
    let mut beacon = None;
    for salt in 1..=u8::MAX {
        edge.say(nonce(salt)).await;
        loop {
            match edge.hear().await {
                VoterMessage::Beacon(offer) => beacon = Some(offer),
                VoterMessage::TickAnswer(answer) if answer.n > since => return (answer, beacon),
                VoterMessage::TickAnswer(_) => break,
                _ => {}
            }
        }
    }
    panic!("no answer");
}

fn signed(answer: &TickAnswer, beacon: BeaconOffer) -> SignedStatement {
    assert_eq!(beacon.n, answer.n, "the beacon goes right before its answer");
    SignedStatement { statement: Statement::of_answer(answer, beacon.relations), signatures: beacon.signatures }
}

/// The directory that an answer names is `version`: earlier ones were on their way.
async fn answered_under(edge: &mut Edge, version: u64) -> (TickAnswer, Option<BeaconOffer>) {
    let mut since = LogIndex(0);
    loop {
        let (answer, beacon) = answered(edge, since).await;
        if answer.directory == version {
            return (answer, beacon);
        }
        since = answer.n;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_majority_signs_each_tick_and_a_key_is_replaced() {
    // Clauses F-20, F-21, F-23, K-30.
    let mesh = Mesh::new();
    let voters = mesh.start_all().await;
    let mut edge = mesh.connect(&voters[1], "eu-west-1", 31).await;
    edge.subscribe(BootId([1; 16])).await;
    let (_, none) = answered_under(&mut edge, 1).await;
    assert_eq!(none, None, "the directory lists no beacon keys, and nobody signs");

    let listed = directory_with_beacons(2, mesh.now, &SEEDS);
    mesh.install(&voters[0], &listed).await;
    let directory = verified(&mesh, listed);
    let (answer, beacon) = answered_under(&mut edge, 2).await;
    let first = signed(&answer, beacon.expect("every voter has its key"));
    first.verify(&directory).unwrap();
    let mut lie = first.clone();
    lie.statement.epoch = RevocationEpoch(7);
    assert_eq!(lie.verify(&directory), Err(BeaconRefused::Minority { signed: 0, voters: 3 }));

    // Voter 1 has the next key already: from the directory that lists it on, it signs with that one.
    let replaced = directory_with_beacons(3, mesh.now, &[71, 62, 63]);
    mesh.install(&voters[0], &replaced).await;
    let directory = verified(&mesh, replaced);
    mesh.until("all three have signed under the new key", async || {
        let coverage = coverage(&mesh, &voters[2], 0).await;
        let under_new = |tick: &&SignedStatement| tick.statement.directory == 3;
        let mut signers = coverage.ticks.iter().filter(under_new).map(|tick| tick.signers(&directory));
        signers.any(|signers| signers == (1..=3).map(VoterId).collect())
    })
    .await;
    edge.leave().await;
}

async fn coverage(mesh: &Mesh, at: &crate::mesh::Running, epoch: u64) -> Coverage {
    serde_json::from_value(mesh.get(at, &format!("/v1/revocations/{epoch}/coverage")).await.1).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_is_sealed_by_the_signatures_of_all_three() {
    // Clause F-24.
    let mesh = Mesh::new();
    let voters = mesh.start_all().await;
    let listed = directory_with_beacons(2, mesh.now, &SEEDS);
    mesh.install(&voters[0], &listed).await;
    let directory = verified(&mesh, listed);
    let (_, revoked) = mesh.post(&voters[2], OPS, "/v1/revocations", cut("acme", CutKind::Session, "s")).await;
    assert_eq!(revoked["epoch"], 1, "{revoked}");
    let (_, list) = mesh.get(&voters[1], "/v1/revocations").await;
    let digest = serde_json::from_value(list["digest"].clone()).unwrap();
    mesh.until("sealed", async || {
        let ticks = coverage(&mesh, &voters[1], 1).await.ticks;
        seal::seal_of(RevocationEpoch(1), &digest, &ticks, &directory).is_closed()
    })
    .await;
    let ticks = coverage(&mesh, &voters[1], 1).await.ticks;
    assert!(!seal::seal_of(RevocationEpoch(2), &digest, &ticks, &directory).is_closed());
    // Somebody cuts so often that whatever is the set is so for less than a tick: a set that was signed can be had.
    let mut number = 0;
    let mut sealed = None;
    mesh.until("a set is sealed while more is cut", async || {
        for _ in 0..5 {
            number += 1;
            let body = cut("acme", CutKind::Session, &format!("s-{number}"));
            assert_eq!(mesh.post(&voters[2], OPS, "/v1/revocations", body).await.0, 200);
        }
        let (_, list) = mesh.get(&voters[1], "/v1/revocations?signed=true").await;
        let epoch = list["epoch"].as_u64().unwrap();
        let digest = serde_json::from_value(list["digest"].clone()).unwrap();
        let ticks = coverage(&mesh, &voters[1], 1).await.ticks;
        let is_closed = seal::seal_of(RevocationEpoch(epoch), &digest, &ticks, &directory).is_closed();
        sealed = (epoch > 1 && is_closed).then_some((epoch, list));
        sealed.is_some()
    })
    .await;
    let (epoch, list) = sealed.unwrap();
    let entries = list["revocations"].as_array().unwrap().len();
    assert_eq!(entries, usize::try_from(epoch).unwrap(), "each epoch of these brought one cut");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_majority_of_signatures_no_nonce_is_answered() {
    // Clause K-30: two of the three voters do not have the keys that the directory lists for them.
    let mesh = Mesh::new();
    let voters = mesh.start_all().await;
    let mut edge = mesh.connect(&voters[0], "eu-west-1", 31).await;
    edge.subscribe(BootId([1; 16])).await;
    answered_under(&mut edge, 1).await;
    mesh.install(&voters[0], &directory_with_beacons(2, mesh.now, &[61, 98, 99])).await;
    mesh.until("the others sign nothing", async || {
        let metrics = mesh.text(voters[1].ops, "/metrics").await;
        metrics.contains("remit_control_ticks_unsigned_total{reason=\"another_key\"}")
    })
    .await;
    let ticks = async || coverage(&mesh, &voters[0], 0).await.ticks;
    mesh.until("voter 1 has signed some", async || ticks().await.iter().any(|tick| tick.signatures.len() == 1)).await;
    assert!(ticks().await.iter().all(|tick| tick.signatures.len() < 2));
    edge.say(EdgeMessage::Fetch(remit_common::wire::message::Fetch { digests: vec![Default::default()] })).await;
    // Everything that is said until the object that is not there is named: no answer under the new directory.
    loop {
        match edge.hear().await {
            VoterMessage::Absent(_) => break,
            VoterMessage::TickAnswer(answer) => assert_eq!(answer.directory, 1),
            VoterMessage::Beacon(beacon) => panic!("{beacon:?}"),
            _ => {}
        }
    }
    edge.leave().await;
}
