//! Golden bytes, and what a hostile voter, edge or writer can do with batches: nothing.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::crypto::digest::Digest;
use crate::crypto::sign::{PublicKey, SigningKey};
use crate::id::{MeshId, TenantId};
use crate::limits::{RELATION_BATCHES_MAX, RELATION_BATCHES_RESERVED, RELATION_SIGNED_BYTES_MAX, RELATION_TUPLES_MAX};
use crate::policy::relations::{RelationSchema, Relations, Tuple, TupleKey};
use crate::time::Timestamp;
use crate::trust::dsse::Envelope;
use crate::trust::fixture::{MESH, acme, key};

fn writers(seeds: &[u8]) -> Writers {
    Writers::new(&seeds.iter().map(|seed| *key(*seed).public()).collect::<Vec<PublicKey>>()).unwrap()
}

fn stated(tuple: &str) -> Tuple {
    tuple.parse().unwrap()
}

fn owner(n: usize) -> Tuple {
    stated(&format!("contract:{n}#account_owner@user:maya"))
}

fn next(log: &RelationLog) -> (u64, Digest) {
    let head = log.head();
    (head.revision + 1, head.digest)
}

fn adds(log: &RelationLog, tuples: &[Tuple]) -> BatchContent {
    BatchContent::change(MESH, acme(), next(log), tuples.to_vec(), Vec::new())
}

fn signed(content: &BatchContent, seed: u8) -> SignedBatch {
    content.sign(&key(seed)).unwrap()
}

fn write(log: &mut RelationLog, content: &BatchContent) -> Change {
    let batch = signed(content, 20).verify(&MESH, &acme(), &writers(&[20])).unwrap();
    log.append(batch).unwrap()
}

/// Three batches: two that add, one that removes and adds.
fn three() -> RelationLog {
    let mut log = RelationLog::new(MESH, acme());
    let content = adds(&log, &[owner(1), owner(2)]);
    write(&mut log, &content);
    let content = adds(&log, &[Tuple { expires: Some(1_800_000_000), ..owner(3) }]);
    write(&mut log, &content);
    let content = BatchContent::change(MESH, acme(), next(&log), vec![owner(4)], vec![owner(1).key]);
    write(&mut log, &content);
    log
}

fn bytes_of(log: &RelationLog) -> Vec<Vec<u8>> {
    log.kept().iter().map(|kept| kept.bytes.to_vec()).collect()
}

fn verify(batches: &[Vec<u8>], seeds: &[u8]) -> Result<RelationLog, BatchRefused> {
    RelationLog::verify(MESH, acme(), batches.iter().map(Vec::as_slice), &writers(seeds))
}

fn live(log: &RelationLog) -> Vec<String> {
    let mut live: Vec<String> = log.live().iter().map(|(tuple, _)| tuple.to_string()).collect();
    live.sort();
    live
}

/// Clauses Q-30, Q-31 and Q-36.
#[test]
fn golden_bytes_of_a_batch_and_the_chain() {
    let log = three();
    let payload = Envelope::parse(&log.kept()[1].bytes).unwrap().payload;
    let expected = format!(
        r#"{{"v":1,"mesh":"{MESH}","tenant":"acme","revision":2,"prev":"{}","replace":false,"#,
        log.kept()[0].head.digest
    ) + r#""add":["contract:3#account_owner@user:maya until 1800000000"],"remove":[]}"#;
    assert_eq!(String::from_utf8(payload).unwrap(), expected);
    let digests: Vec<String> = log.kept().iter().map(|kept| kept.head.digest.to_string()).collect();
    assert_eq!(digests, GOLDEN_DIGESTS);
    assert_eq!(Digest::of(&[&log.kept()[2].bytes]).to_string(), GOLDEN_SIGNED);
    assert_eq!(
        live(&log),
        [
            "contract:2#account_owner@user:maya",
            "contract:3#account_owner@user:maya",
            "contract:4#account_owner@user:maya"
        ]
    );
    assert_eq!(log.head().revision, 3);
}

const GOLDEN_DIGESTS: [&str; 3] = [
    "9b16b7b524afe3bd05a596d49bc19180ed4cab927c19caa1c5f66eb52918ac0c",
    "14e2f382d9b1d73314bed96e28db1fa3613c451db57f28399edc59106e39d4e5",
    "428e5d1cd3ac219c73f59103820f705a1d48cac2beb09c4ce74312ef89ef5a42",
];
const GOLDEN_SIGNED: &str = "3f253ca94f6fc28e5a5c234ab755dea2bcb78a6c246ab589551626b7d81a496e";

/// Clause Q-40.
#[test]
fn a_kept_log_is_read_again_and_is_the_same() {
    let log = three();
    assert_eq!(verify(&bytes_of(&log), &[20, 21]).unwrap(), log);
    assert_eq!(log.digest_at(2), Some(&log.kept()[1].head.digest));
    assert_eq!((log.digest_at(0), log.digest_at(4)), (None, None));
}

/// Clause Q-36.
#[test]
fn replayed_batch() {
    let mut log = three();
    let again = SignedBatch::parse(&bytes_of(&log)[2]).unwrap().verify(&MESH, &acme(), &writers(&[20])).unwrap();
    let before = log.clone();
    assert_eq!(log.append(again.clone()), Err(BatchRefused::NotNext { have: 3, found: 3 }));
    assert_eq!(log.catch_up(again), Err(BatchRefused::NotNext { have: 3, found: 3 }));
    assert_eq!(log, before);
}

#[test]
fn reordered_batches() {
    let mut batches = bytes_of(&three());
    batches.swap(1, 2);
    assert_eq!(verify(&batches, &[20]), Err(BatchRefused::NotNext { have: 1, found: 3 }));
}

#[test]
fn a_dropped_batch() {
    for drop in 0..2 {
        let mut batches = bytes_of(&three());
        batches.remove(drop);
        assert!(verify(&batches, &[20]).is_err(), "{drop}");
    }
    let refused = verify(&bytes_of(&three())[1..], &[20]);
    assert_eq!(refused, Err(BatchRefused::NoBeginning { found: 2 }));
}

/// The same revision twice, signed by the same writer: a voter cannot show one to some edges and one to others, because
/// what follows on one does not follow on the other.
#[test]
fn a_batch_of_another_past() {
    let mut one = three();
    let mut other = three();
    let content = adds(&other, &[owner(5)]);
    write(&mut other, &content);
    let content = adds(&other, &[owner(6)]);
    let after_other = signed(&content, 20).verify(&MESH, &acme(), &writers(&[20])).unwrap();
    let content = adds(&one, &[owner(7)]);
    write(&mut one, &content);
    assert!(matches!(one.append(after_other), Err(BatchRefused::OtherPast { have: 4, .. })));
}

#[test]
fn a_batch_of_another_tenant() {
    let other = TenantId::new("other").unwrap();
    let content = BatchContent::change(MESH, other.clone(), (1, Digest::default()), vec![owner(1)], Vec::new());
    let refused = signed(&content, 20).verify(&MESH, &acme(), &writers(&[20]));
    assert_eq!(refused, Err(BatchRefused::WrongTenant { found: other }));
}

#[test]
fn a_batch_of_another_mesh() {
    let content = BatchContent::change(MeshId([9; 16]), acme(), (1, Digest::default()), vec![owner(1)], Vec::new());
    assert_eq!(signed(&content, 20).verify(&MESH, &acme(), &writers(&[20])), Err(BatchRefused::WrongMesh));
}

#[test]
fn a_writer_whom_the_bundle_does_not_name() {
    let content = adds(&RelationLog::new(MESH, acme()), &[owner(1)]);
    for allowed in [&[][..], &[21, 22]] {
        let refused = signed(&content, 20).verify(&MESH, &acme(), &writers(allowed));
        assert!(matches!(refused, Err(BatchRefused::NotAWriter { .. })), "{refused:?}");
    }
}

/// The signature is another key's, whatever the id beside it says.
#[test]
fn a_borrowed_key_id() {
    let content = adds(&RelationLog::new(MESH, acme()), &[owner(1)]);
    let mut envelope = Envelope::parse(signed(&content, 21).bytes()).unwrap();
    envelope.signatures[0].keyid = key(20).public().id();
    let batch = SignedBatch::parse(&envelope.to_bytes()).unwrap();
    assert!(matches!(batch.verify(&MESH, &acme(), &writers(&[20])), Err(BatchRefused::NotVerified(_))));
}

/// A document of another kind, signed by the same key.
#[test]
fn a_document_of_another_kind() {
    let content = adds(&RelationLog::new(MESH, acme()), &[owner(1)]);
    let mut envelope = Envelope::new("application/vnd.remit.bundle.v1+json", serde_json::to_vec(&content).unwrap());
    envelope.sign(&key(20));
    let batch = SignedBatch::parse(&envelope.to_bytes()).unwrap();
    assert!(matches!(batch.verify(&MESH, &acme(), &writers(&[20])), Err(BatchRefused::NotVerified(_))));
}

/// Clause Q-38.
#[test]
fn the_key_of_a_removed_writer() {
    let mut log = three();
    assert_eq!(log.check_writers(&writers(&[20])), Ok(()));
    let refused = log.check_writers(&writers(&[21]));
    assert!(matches!(refused, Err(BatchRefused::WriterRetired { revision: 1, .. })), "{refused:?}");
    assert!(matches!(verify(&bytes_of(&log), &[21]), Err(BatchRefused::NotAWriter { .. })));
    // Until one who is listed states the set anew.
    let statement = BatchContent::statement(MESH, acme(), next(&log), vec![owner(2)]);
    let batch = signed(&statement, 21).verify(&MESH, &acme(), &writers(&[21])).unwrap();
    assert!(log.append(batch).unwrap().replace);
    assert_eq!(log.check_writers(&writers(&[21])), Ok(()));
    assert_eq!(live(&log), [owner(2).key.to_string()]);
}

/// Clause Q-37.
#[test]
fn a_statement_lets_the_log_before_it_go() {
    let mut log = three();
    let behind = log.clone();
    let content = adds(&log, &[owner(9)]);
    write(&mut log, &content);
    let statement = BatchContent::statement(MESH, acme(), next(&log), vec![owner(2), owner(3)]);
    write(&mut log, &statement);
    assert_eq!((log.kept().len(), log.head().revision, live(&log).len()), (1, 5, 2));
    let content = adds(&log, &[owner(8)]);
    write(&mut log, &content);
    // Who was behind comes to the same, and so does who has nothing.
    let mut late = behind;
    for bytes in bytes_of(&log) {
        late.catch_up(SignedBatch::parse(&bytes).unwrap().verify(&MESH, &acme(), &writers(&[20])).unwrap()).unwrap();
    }
    assert_eq!(late, log);
    assert_eq!(verify(&bytes_of(&log), &[20]).unwrap(), log);
}

/// A statement of the past, played again to who is ahead of it.
#[test]
fn rollback_by_an_old_statement() {
    let mut log = three();
    let old = BatchContent::statement(MESH, acme(), (2, Digest([1; 32])), vec![owner(1)]);
    let old = signed(&old, 20).verify(&MESH, &acme(), &writers(&[20])).unwrap();
    assert_eq!(log.catch_up(old), Err(BatchRefused::NotNext { have: 3, found: 2 }));
}

/// Clause Q-33.
#[test]
fn batches_that_break_a_rule_of_their_own() {
    let empty = RelationLog::new(MESH, acme());
    let twice = adds(&empty, &[owner(1), owner(1)]);
    let both = BatchContent { remove: vec![owner(1).key], ..adds(&empty, &[owner(1)]) };
    let nothing = adds(&empty, &[]);
    let from_zero = BatchContent { revision: 0, ..adds(&empty, &[owner(1)]) };
    let with_past = BatchContent { prev: Digest([1; 32]), ..adds(&empty, &[owner(1)]) };
    let later = BatchContent { v: 2, ..adds(&empty, &[owner(1)]) };
    let statement = BatchContent { replace: true, ..both.clone() };
    for content in [twice, both, nothing, from_zero, with_past, later, statement] {
        assert!(matches!(content.sign(&key(20)), Err(BatchRefused::Content { .. })), "{content:?}");
        // Signed all the same, by who does not keep to it.
        let mut envelope = Envelope::new(BATCH_TYPE, serde_json::to_vec(&content).unwrap());
        envelope.sign(&key(20));
        let batch = SignedBatch::parse(&envelope.to_bytes()).unwrap();
        assert!(matches!(batch.verify(&MESH, &acme(), &writers(&[20])), Err(BatchRefused::Content { .. })));
    }
}

#[test]
fn texts_that_are_no_tuples() {
    let content = serde_json::to_string(&adds(&RelationLog::new(MESH, acme()), &[owner(1)])).unwrap();
    for text in ["", "contract:1", "contract:1#owner", "a b:c#d@e:f", "contract:1#account_owner@user:maya until x"] {
        let bad = content.replace(&owner(1).to_string(), text);
        assert_ne!(bad, content);
        let mut envelope = Envelope::new(BATCH_TYPE, bad.into_bytes());
        envelope.sign(&key(20));
        let batch = SignedBatch::parse(&envelope.to_bytes()).unwrap();
        let refused = batch.verify(&MESH, &acme(), &writers(&[20]));
        assert!(matches!(refused, Err(BatchRefused::Content { .. })), "{text}: {refused:?}");
    }
}

#[test]
fn endless_data() {
    let long = vec![b' '; RELATION_SIGNED_BYTES_MAX + 1];
    assert!(matches!(SignedBatch::parse(&long), Err(BatchRefused::TooLong { .. })));
    // A statement that unpacks to more than any, signed by a writer.
    let bomb = zstd::bulk::compress(&vec![b' '; 64 * 1024 * 1024], 1).unwrap();
    let mut envelope = Envelope::new(BATCH_TYPE, bomb);
    envelope.sign(&key(20));
    let batch = SignedBatch::parse(&envelope.to_bytes()).unwrap();
    assert_eq!(batch.verify(&MESH, &acme(), &writers(&[20])), Err(BatchRefused::StatementTooLong));
}

/// Only a statement is packed: what is one JSON text for one reader is one for every reader.
#[test]
fn a_packed_change() {
    let content = adds(&RelationLog::new(MESH, acme()), &[owner(1)]);
    let packed = zstd::bulk::compress(&serde_json::to_vec(&content).unwrap(), 1).unwrap();
    let mut envelope = Envelope::new(BATCH_TYPE, packed);
    envelope.sign(&key(20));
    let batch = SignedBatch::parse(&envelope.to_bytes()).unwrap();
    assert!(matches!(batch.verify(&MESH, &acme(), &writers(&[20])), Err(BatchRefused::Content { .. })));
}

/// Clause Q-34: a full set can be stated anew in one batch, and nothing more than a full set is taken.
#[test]
fn beyond_the_limits_of_a_tenant() {
    let mut log = RelationLog::new(MESH, acme());
    let full: Vec<Tuple> = (0..RELATION_TUPLES_MAX).map(owner).collect();
    let statement = BatchContent::statement(MESH, acme(), next(&log), full);
    write(&mut log, &statement);
    assert_eq!(log.live().len(), RELATION_TUPLES_MAX);
    let one_more = signed(&adds(&log, &[owner(RELATION_TUPLES_MAX)]), 20);
    let one_more = one_more.verify(&MESH, &acme(), &writers(&[20])).unwrap();
    let before = log.clone();
    assert_eq!(log.append(one_more), Err(BatchRefused::TooManyTuples { count: RELATION_TUPLES_MAX + 1 }));
    assert_eq!(log, before);
    // What is here already, and what makes room, is taken.
    let again = adds(&log, &[owner(0)]);
    write(&mut log, &again);
    let swap = BatchContent::change(MESH, acme(), next(&log), vec![stated("a:b#c@d:e")], vec![owner(0).key]);
    assert_eq!(write(&mut log, &swap).removed.len(), 1);
}

/// Clause Q-34: whoever fills a log keeps nobody from removing, nor from stating the whole set.
#[test]
fn beyond_the_batches_that_are_kept_only_removals_fit_and_a_statement() {
    let mut log = RelationLog::new(MESH, acme());
    for n in 0..RELATION_BATCHES_MAX - RELATION_BATCHES_RESERVED {
        let content = adds(&log, &[owner(n)]);
        write(&mut log, &content);
    }
    let batch = |log: &RelationLog, content: &BatchContent| {
        signed(content, 20).verify(&MESH, &acme(), &writers(&[20])).map(|batch| log.clone().append(batch)).unwrap()
    };
    assert!(matches!(batch(&log, &adds(&log, &[owner(1)])), Err(BatchRefused::LogFull { .. })));
    // What is not there cannot be taken away: such a change has no claim to the room that is reserved.
    let nothing = BatchContent::change(MESH, acme(), next(&log), Vec::new(), vec![owner(0).key, owner(99_999).key]);
    assert!(matches!(batch(&log, &nothing), Err(BatchRefused::LogFull { .. })));
    for n in 0..RELATION_BATCHES_RESERVED {
        let content = BatchContent::change(MESH, acme(), next(&log), Vec::new(), vec![owner(n).key]);
        assert_eq!(write(&mut log, &content).removed.len(), 1);
    }
    let removal = BatchContent::change(MESH, acme(), next(&log), Vec::new(), vec![owner(600).key]);
    assert!(matches!(batch(&log, &removal), Err(BatchRefused::LogFull { .. })));
    let statement = BatchContent::statement(MESH, acme(), next(&log), vec![owner(1)]);
    write(&mut log, &statement);
    assert_eq!(log.kept().len(), 1);
}

#[test]
fn a_yes_names_tuples_without_which_it_would_be_a_no() {
    let model = b"model\n  schema 1.1\ntype user\ntype team\n  relations\n    define member: [user, team#member]\n\
        type doc\n  relations\n    define blocked: [user]\n    define viewer: [user, team#member] but not blocked\n";
    let schema = std::sync::Arc::new(RelationSchema::parse("m", model).unwrap());
    let told = [
        "doc:1#viewer@team:a#member",
        "doc:1#viewer@team:b#member",
        "team:a#member@team:c#member",
        "team:c#member@user:maya",
        "team:b#member@user:otto",
        "doc:1#blocked@user:otto",
        "doc:2#viewer@user:maya",
    ];
    let relations = Relations::new(schema, 7, told.map(stated));
    let now = Timestamp::from_secs(1);
    let by = |question: &str| -> Vec<String> {
        let found = because(&relations, &question.parse().unwrap(), now).unwrap();
        found.iter().map(ToString::to_string).collect()
    };
    let way = ["doc:1#viewer@team:a#member", "team:a#member@team:c#member", "team:c#member@user:maya"];
    assert_eq!(by("doc:1#viewer@user:maya"), way);
    assert_eq!(by("doc:2#viewer@user:maya"), ["doc:2#viewer@user:maya"]);
    assert_eq!(by("doc:1#viewer@user:otto"), [""; 0], "blocked");
    assert!(because(&Relations::none(), &"doc:1#viewer@user:maya".parse().unwrap(), now).is_err());
}

/// What an edge keeps says the same as what a voter keeps.
#[test]
fn an_edges_log_takes_and_refuses_what_a_voters_does() {
    let whole = three();
    let mut followed = FollowedLog::default();
    let batch = |n: usize| SignedBatch::parse(&bytes_of(&whole)[n]).unwrap();
    let batch = |n: usize| batch(n).verify(&MESH, &acme(), &writers(&[20])).unwrap();
    assert_eq!(followed.catch_up(batch(1)), Err(BatchRefused::NoBeginning { found: 2 }));
    for n in 0..3 {
        assert_eq!(followed.catch_up(batch(n)).unwrap().revision, whole.kept()[n].head.revision);
    }
    assert_eq!((followed.head(), &followed), (whole.head(), &FollowedLog::from(&whole)));
    assert_eq!(followed.catch_up(batch(0)), Err(BatchRefused::NotNext { have: 3, found: 1 }));
    assert!(followed.has(&whole.kept()[0].head) && followed.has(&whole.head()));
    assert!(!followed.has(&Head { digest: Digest([9; 32]), ..whole.kept()[1].head }), "another past");
    assert!(!followed.has(&Head { revision: 4, ..whole.head() }), "not here yet");
    let later = BatchContent::statement(MESH, acme(), (9, Digest([7; 32])), vec![owner(1)]);
    let later = signed(&later, 20).verify(&MESH, &acme(), &writers(&[20])).unwrap();
    assert!(followed.catch_up(later).unwrap().replace);
    assert!(!followed.has(&whole.kept()[1].head), "replaced, and not comparable any more");
    assert!(followed.has(&followed.head()) && !followed.has(&Head::default()));
    assert!(FollowedLog::default().has(&Head::default()));
}

/// Clause D-11: whoever has taken a statement that nobody else has is not proven right by what everybody names.
#[test]
fn a_statement_of_a_far_revision_is_no_proof_of_what_honest_voters_name() {
    let whole = three();
    let mut followed = FollowedLog::from(&whole);
    let far = BatchContent::statement(MESH, acme(), (1 << 40, Digest([7; 32])), vec![owner(1)]);
    let far = signed(&far, 20).verify(&MESH, &acme(), &writers(&[20])).unwrap();
    assert!(followed.catch_up(far).unwrap().replace);
    let mut honest = whole;
    for n in 4..8 {
        assert!(!followed.has(&honest.head()), "revision {n}");
        let content = adds(&honest, &[owner(n)]);
        write(&mut honest, &content);
    }
}

/// Clause Q-34: what says more than fits a change, however well it is packed.
#[test]
fn a_statement_may_be_longer_than_a_change() {
    let mut seed = 7u64;
    let mut random = || {
        let step = |seed: &mut u64| {
            *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *seed >> 8
        };
        (0..9).map(|_| format!("{:014x}", step(&mut seed))).collect::<String>()
    };
    let tuples: Vec<Tuple> =
        (0..30_000).map(|_| stated(&format!("doc:{}#viewer@user:{}", random(), random()))).collect();
    let mut log = RelationLog::new(MESH, acme());
    let change = adds(&log, &tuples);
    assert!(matches!(change.sign(&key(20)), Err(BatchRefused::TooLong { .. })));
    let statement = BatchContent::statement(MESH, acme(), next(&log), tuples);
    write(&mut log, &statement);
    assert!(log.bytes() > crate::limits::RELATION_BATCH_BYTES_MAX, "{}", log.bytes());
}

/// A copy shares the parts that a change does not touch, and is not changed by it.
#[test]
fn a_copy_of_the_tuples_is_not_changed_by_what_comes_later() {
    let mut log = three();
    let copy = log.clone();
    let content = BatchContent::change(MESH, acme(), next(&log), vec![owner(50)], vec![owner(2).key]);
    write(&mut log, &content);
    assert!(copy.live().contains(&owner(2).key) && !copy.live().contains(&owner(50).key));
    assert!(!log.live().contains(&owner(2).key) && log.live().contains(&owner(50).key));
    assert_eq!((copy.live().len(), log.live().len()), (3, 3));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// What the log says to hold is what a map says that was told the same.
    #[test]
    fn the_live_tuples_are_those_of_a_plain_map(steps in proptest::collection::vec((0u8..4, proptest::collection::btree_set(0usize..12, 1..5), any::<bool>()), 1..20)) {
        let mut log = RelationLog::new(MESH, acme());
        let mut model: BTreeMap<TupleKey, Option<u32>> = BTreeMap::new();
        let keys: Vec<SigningKey> = vec![key(20)];
        for (kind, names, ends) in steps {
            let add: Vec<Tuple> = names.iter().map(|n| Tuple { expires: ends.then_some(7), ..owner(*n) }).collect();
            let content = match kind {
                0 => BatchContent::statement(MESH, acme(), next(&log), add.clone()),
                1 => BatchContent::change(MESH, acme(), next(&log), Vec::new(), add.iter().map(|s| s.key.clone()).collect()),
                _ => adds(&log, &add),
            };
            log.append(content.sign(&keys[0]).unwrap().verify(&MESH, &acme(), &writers(&[20])).unwrap()).unwrap();
            if kind == 0 { model.clear(); }
            for stated in add {
                if kind == 1 { model.remove(&stated.key); } else { model.insert(stated.key, stated.expires); }
            }
            prop_assert_eq!(log.live().len(), model.len());
            for (tuple, expires) in &model {
                prop_assert_eq!(log.live().get(tuple), Some(*expires));
            }
        }
        prop_assert_eq!(verify(&bytes_of(&log), &[20]).unwrap(), log);
    }

    /// No bytes make a reader panic, and none verify.
    #[test]
    fn hostile_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..300), flip in 0usize..1_000, bit in 0u8..8) {
        prop_assert!(SignedBatch::parse(&bytes).is_err());
        let mut batch = bytes_of(&three())[2].clone();
        let at = flip % batch.len();
        batch[at] ^= 1 << bit;
        if let Ok(parsed) = SignedBatch::parse(&batch) {
            let original = SignedBatch::parse(&bytes_of(&three())[2]).unwrap();
            prop_assert!(parsed.clone().verify(&MESH, &acme(), &writers(&[20])).is_err() || parsed.digest() == original.digest());
        }
    }
}
