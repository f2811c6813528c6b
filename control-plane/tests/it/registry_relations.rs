//! Relations in the registry: who may write them, in which order, and what a bundle may do to them. Clauses C-81 to
//! C-86.

use remit_common::crypto::digest::Digest;
use remit_common::identity::SignedRequest;
use remit_common::policy::relations::{Tuple, TupleKey};
use remit_common::relation_log::BatchContent;
use remit_common::text;
use remit_common::trust::tick::TickRoots;
use remit_control_plane::registry::{Applied, Command, State, check_relations};

use crate::world::{MESH, NOW, OPS, Replica, bundle_of, bundle_source, genesis, key, reason, request, tenant};

/// Writes acme's relations; `OTHER` globex's, and `BOTH` those of both tenants.
const WRITER: u8 = 61;
const OTHER: u8 = 62;
const BOTH: u8 = 63;

const MODEL: &str = include_str!("../../../examples/contract-renewal/bundle/relations.fga");

fn bundle(of: &str, version: u64, writers: &[u8], model: &str) -> Vec<u8> {
    let mut source = bundle_source(of, version, 1);
    let writer = |seed: &u8| {
        format!("[[writer]]\nname = \"w{seed}\"\nkey = \"{}\"\n", text::hex(key(*seed).public().as_bytes()))
    };
    let named: String = writers.iter().map(writer).collect();
    source.files.get_mut("relations.toml").expect("the example has relations").extend(named.into_bytes());
    source.files.insert("relations.fga".to_owned(), model.as_bytes().to_vec());
    bundle_of(&source, if of == "acme" { &[6, 7] } else { &[16, 17] }, NOW)
}

fn publish(replica: &mut Replica, of: &str, version: u64, writers: &[u8], model: &str, nonce: u64) -> Applied {
    replica.admin(request(OPS, "/v1/bundles", bundle(of, version, writers, model), NOW, nonce), NOW)
}

/// Both tenants have a bundle with relations.
fn replica() -> Replica {
    let mut replica = Replica::new();
    assert_eq!(reason(&publish(&mut replica, "acme", 1, &[WRITER, BOTH], MODEL, 9_001)), "bundle");
    assert_eq!(reason(&publish(&mut replica, "globex", 1, &[OTHER, BOTH], MODEL, 9_002)), "bundle");
    replica
}

fn tuple(n: u64) -> Tuple {
    format!("contract:{n}#account_owner@user:maya").parse().unwrap()
}

fn next(state: &State, of: &str) -> (u64, Digest) {
    let head = state.relations().get(&tenant(of)).map(|log| log.head()).unwrap_or_default();
    (head.revision + 1, head.digest)
}

fn add(state: &State, of: &str, tuples: &[Tuple]) -> BatchContent {
    BatchContent::change(MESH, tenant(of), next(state, of), tuples.to_vec(), Vec::new())
}

fn remove(state: &State, of: &str, keys: &[TupleKey]) -> BatchContent {
    BatchContent::change(MESH, tenant(of), next(state, of), Vec::new(), keys.to_vec())
}

fn post(content: &BatchContent, seed: u8, nonce: u64) -> SignedRequest {
    let signed = content.sign(&key(seed)).unwrap();
    request(seed, "/v1/relations", signed.bytes().to_vec(), NOW, nonce)
}

fn write(replica: &mut Replica, content: &BatchContent, seed: u8, nonce: u64) -> Applied {
    replica.admin(post(content, seed, nonce), NOW)
}

#[test]
fn a_write_counts_on_every_replica_and_over_a_snapshot() {
    let mut replica = replica();
    let content = add(&replica.state, "acme", &[tuple(1), tuple(2)]);
    let applied = write(&mut replica, &content, WRITER, 1);
    let Applied::Relations { revision: 1, added: 2, removed: 0, tuples: 2, .. } = applied else {
        panic!("{applied:?}")
    };
    let content = remove(&replica.state, "acme", &[tuple(1).key]);
    let applied = write(&mut replica, &content, BOTH, 2);
    let Applied::Relations { revision: 2, added: 0, removed: 1, tuples: 1, .. } = applied else {
        panic!("{applied:?}")
    };
    assert_eq!(reason(&replica.apply(Command::Tick { roots: TickRoots { roots: Vec::new() }, at: NOW })), "tick");
    let named = replica.state.tick_relations().get(&tenant("acme")).map(|head| head.revision);
    assert_eq!((named, replica.state.tick_relations().len()), (Some(2), 1));
    let snapshot = replica.state.to_snapshot();
    let restored = State::from_snapshot(&genesis(true, NOW), &snapshot).unwrap();
    assert_eq!(restored.to_snapshot(), snapshot);
    assert_eq!(restored.relations(), replica.state.relations());
    assert_eq!(restored.tick_relations(), replica.state.tick_relations());
}

#[test]
fn only_a_writer_of_the_active_bundle_writes_and_only_relations() {
    let mut replica = replica();
    let content = add(&replica.state, "acme", &[tuple(1)]);
    for (seed, expected) in [(OPS, "not_a_writer"), (99, "not_a_writer"), (OTHER, "wrong_tenant")] {
        assert_eq!(reason(&write(&mut replica, &content, seed, u64::from(seed))), expected, "{seed}");
    }
    // Another writer's batch in one's own request.
    let signed = content.sign(&key(WRITER)).unwrap();
    let request = request(BOTH, "/v1/relations", signed.bytes().to_vec(), NOW, 3);
    assert_eq!(reason(&replica.admin(request, NOW)), "other_signer");
    // A writer asks for what administrators ask for.
    let body = crate::world::cut("acme", remit_common::revocation::CutKind::Session, "s");
    let revoke = crate::world::request(WRITER, "/v1/revocations", body, NOW, 4);
    assert!(matches!(replica.admin(revoke, NOW), Applied::Refused(_)));
    assert!(replica.state.relations().is_empty());
    assert_eq!(replica.state.revocations().epoch().0, 0);
}

#[test]
fn the_second_of_two_writers_is_told_to_read_again() {
    let mut replica = replica();
    let (one, other) = (add(&replica.state, "acme", &[tuple(1)]), add(&replica.state, "acme", &[tuple(2)]));
    assert_eq!(reason(&write(&mut replica, &one, WRITER, 1)), "relations");
    assert_eq!(reason(&write(&mut replica, &other, BOTH, 2)), "revision_conflict");
    let other = add(&replica.state, "acme", &[tuple(2)]);
    assert_eq!(reason(&write(&mut replica, &other, BOTH, 3)), "relations");
    // The same batch in a request of its own.
    assert_eq!(reason(&write(&mut replica, &other, BOTH, 4)), "revision_conflict");
}

#[test]
fn two_tenants_never_meet() {
    let mut replica = replica();
    let content = add(&replica.state, "acme", &[tuple(1)]);
    assert_eq!(reason(&write(&mut replica, &content, BOTH, 1)), "relations");
    let before = replica.state.relations().get(&tenant("acme")).cloned();
    let content = add(&replica.state, "globex", &[tuple(1), tuple(2)]);
    assert_eq!(reason(&write(&mut replica, &content, BOTH, 2)), "relations");
    let content = remove(&replica.state, "globex", &[tuple(1).key]);
    assert_eq!(reason(&write(&mut replica, &content, OTHER, 3)), "relations");
    assert_eq!(replica.state.relations().get(&tenant("acme")).cloned(), before);
    let live = |of: &str| replica.state.relations().get(&tenant(of)).map(|log| log.live().len());
    assert_eq!((live("acme"), live("globex")), (Some(1), Some(1)));
}

#[test]
fn a_tuple_that_the_model_does_not_know_is_refused_with_its_name() {
    let mut replica = replica();
    let content = add(&replica.state, "acme", &["contract:1#acount_owner@user:maya".parse().unwrap()]);
    let applied = write(&mut replica, &content, WRITER, 1);
    assert_eq!(reason(&applied), "unknown_tuple");
    let Applied::Refused(refusal) = applied else { panic!("{applied:?}") };
    assert!(refusal.detail.contains("contract:1#acount_owner@user:maya"), "{refusal}");
}

#[test]
fn a_bundle_may_drop_a_writer_and_then_only_a_statement_counts() {
    let mut replica = replica();
    let content = add(&replica.state, "acme", &[tuple(1)]);
    assert_eq!(reason(&write(&mut replica, &content, WRITER, 1)), "relations");
    assert_eq!(reason(&publish(&mut replica, "acme", 2, &[BOTH], MODEL, 2)), "bundle");
    let content = add(&replica.state, "acme", &[tuple(2)]);
    assert_eq!(reason(&write(&mut replica, &content, WRITER, 3)), "not_a_writer");
    assert_eq!(reason(&write(&mut replica, &content, BOTH, 4)), "writer_retired");
    // Kept for its numbers, also over a snapshot.
    let restored = State::from_snapshot(&genesis(true, NOW), &replica.state.to_snapshot()).unwrap();
    assert_eq!(restored.relations(), replica.state.relations());
    let statement =
        BatchContent::statement(MESH, tenant("acme"), next(&replica.state, "acme"), vec![tuple(1), tuple(2)]);
    assert_eq!(reason(&write(&mut replica, &statement, BOTH, 5)), "relations");
    let content = add(&replica.state, "acme", &[tuple(3)]);
    assert_eq!(reason(&write(&mut replica, &content, BOTH, 6)), "relations");
}

#[test]
fn a_bundle_whose_model_has_no_place_for_what_holds_is_refused() {
    let mut replica = replica();
    let content = add(&replica.state, "acme", &[tuple(1)]);
    assert_eq!(reason(&write(&mut replica, &content, WRITER, 1)), "relations");
    let other = MODEL.replace("define account_owner: [user] or ", "define account_owner: ");
    let applied = publish(&mut replica, "acme", 2, &[WRITER], &other, 2);
    assert_eq!(reason(&applied), "relations_unfit", "{applied:?}");
    let content = remove(&replica.state, "acme", &[tuple(1).key]);
    assert_eq!(reason(&write(&mut replica, &content, WRITER, 3)), "relations");
    assert_eq!(reason(&publish(&mut replica, "acme", 3, &[WRITER], &other, 4)), "bundle");
}

#[test]
fn a_write_beyond_the_limits_is_refused_with_the_numbers() {
    let mut replica = replica();
    let full = (0..100_000).map(tuple).collect();
    let statement = BatchContent::statement(MESH, tenant("acme"), next(&replica.state, "acme"), full);
    assert_eq!(reason(&write(&mut replica, &statement, WRITER, 1)), "relations");
    let content = add(&replica.state, "acme", &[tuple(100_000)]);
    let applied = write(&mut replica, &content, WRITER, 2);
    assert_eq!(reason(&applied), "too_many_tuples");
    let Applied::Refused(refusal) = applied else { panic!("{applied:?}") };
    assert!(refusal.detail.contains("100001") && refusal.detail.contains("100000"), "{refusal}");
}

/// Clause C-87.
#[test]
fn what_the_log_would_refuse_is_known_before_it_is_proposed() {
    let mut replica = replica();
    let (first, conflicting) = (add(&replica.state, "acme", &[tuple(1)]), add(&replica.state, "acme", &[tuple(2)]));
    let before = replica.state.to_snapshot();
    check_relations(&replica.state, &post(&first, WRITER, 1)).unwrap();
    assert_eq!(replica.state.to_snapshot(), before, "asking changes nothing");
    assert_eq!(reason(&write(&mut replica, &first, WRITER, 1)), "relations");
    let long = add(&replica.state, "acme", &["contract:1#acount_owner@user:maya".parse().unwrap()]);
    for (content, seed) in [(&conflicting, BOTH), (&long, WRITER), (&first, OTHER)] {
        let foretold = check_relations(&replica.state, &post(content, seed, 7)).unwrap_err();
        let Applied::Refused(refusal) = write(&mut replica, content, seed, 7) else { panic!("{foretold}") };
        assert_eq!((foretold.reason, foretold.detail), (refusal.reason, refusal.detail));
    }
}

/// Clause C-88.
#[test]
fn a_writer_that_asks_without_end_takes_nobody_elses_room() {
    let mut replica = replica();
    let content = add(&replica.state, "acme", &[tuple(1)]);
    assert_eq!(reason(&write(&mut replica, &content, WRITER, 0)), "relations");
    let mut taken = 1u64;
    while reason(&write(&mut replica, &content, WRITER, taken)) == "revision_conflict" && taken < 5_000 {
        taken += 1;
    }
    assert_eq!(taken, 1_024);
    assert_eq!(reason(&write(&mut replica, &content, WRITER, 9_000)), "too_many_requests");
    let content = add(&replica.state, "acme", &[tuple(2)]);
    assert_eq!(reason(&write(&mut replica, &content, BOTH, 1)), "relations");
    assert_eq!(reason(&publish(&mut replica, "acme", 2, &[BOTH], MODEL, 9_003)), "bundle");
}
