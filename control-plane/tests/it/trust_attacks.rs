//! The attacks on trust documents that The Update Framework names, against the registry that every voter applies.
//!
//! Each test bears its attack's name. What is refused changes nothing: the registry is the same afterwards, and takes
//! the honest document that comes next. Clause C-56; the table of all of them is in docs/PROTOCOL.md, "Attacks by name".

use remit_common::crypto::digest::Digest;
use remit_common::id::MeshId;
use remit_common::limits::{DIRECTORY_BYTES_MAX, DIRECTORY_STEP_MAX, DOCUMENT_BYTES_MAX};
use remit_common::time::Timestamp;
use remit_common::trust::directory::{DirectoryContent, SignedDirectory};
use remit_common::trust::dsse::Envelope;
use remit_common::trust::role::RoleContent;
use remit_common::trust::root::{ROOT_TYPE, RootContent, SignedRoot};
use remit_control_plane::registry::{Applied, Command, State, TrustDocuments};

use crate::world::{NOW, Replica, at, directory_content, genesis, key, reason, root_content, signed_directory};

const DAYS_30: i64 = 30 * 86_400;

/// A root that follows on the first one, signed by these keys.
fn root_by(seeds: &[u8], change: impl FnOnce(&mut RootContent)) -> Vec<u8> {
    let mut content = RootContent { version: 2, ..root_content(true, NOW) };
    change(&mut content);
    let keys: Vec<_> = seeds.iter().map(|seed| key(*seed)).collect();
    SignedRoot::make(&content, &keys.iter().collect::<Vec<_>>()).unwrap().to_bytes()
}

/// A directory of version 2, signed by these keys.
fn directory_by(seeds: &[u8], change: impl FnOnce(&mut DirectoryContent)) -> Vec<u8> {
    let mut content = directory_content(2, NOW);
    change(&mut content);
    let keys: Vec<_> = seeds.iter().map(|seed| key(*seed)).collect();
    SignedDirectory::make(&content, &keys.iter().collect::<Vec<_>>()).unwrap().to_bytes()
}

fn role(seeds: &[u8], threshold: usize) -> RoleContent {
    RoleContent { keys: seeds.iter().map(|seed| *key(*seed).public()).collect(), threshold }
}

fn install(replica: &mut Replica, roots: Vec<Vec<u8>>, directory: Option<Vec<u8>>, now: Timestamp) -> Applied {
    replica.apply(Command::InstallTrust { documents: TrustDocuments { roots, directory }, at: now })
}

/// What is installed, as root and directory versions and digests.
fn installed(replica: &Replica) -> (u64, Digest, u64, Digest) {
    let trust = replica.state.trust().unwrap();
    (trust.root.version(), *trust.root.digest(), trust.directory.version(), *trust.directory.digest())
}

/// Refused for this reason, and nothing has changed.
fn refused(replica: &mut Replica, roots: Vec<Vec<u8>>, directory: Option<Vec<u8>>, code: &str) {
    refused_at(replica, roots, directory, NOW, code);
}

fn refused_at(replica: &mut Replica, roots: Vec<Vec<u8>>, directory: Option<Vec<u8>>, now: Timestamp, code: &str) {
    let before = installed(replica);
    let applied = install(replica, roots, directory, now);
    assert_eq!(reason(&applied), code, "{applied:?}");
    assert_eq!(installed(replica), before);
}

/// The honest documents that come next are taken.
fn goes_on(mut replica: Replica) {
    let (root, directory) = (root_by(&[1, 3], |_| {}), directory_by(&[4, 5], |_| {}));
    let applied = install(&mut replica, vec![root], Some(directory), NOW);
    assert_eq!(applied, Applied::Trust { root: 2, directory: 2 });
}

#[test]
fn arbitrary_installation() {
    let mut replica = Replica::new();
    refused(&mut replica, vec![root_by(&[91, 92], |_| {})], None, "not_enough_signatures");
    refused(&mut replica, vec![root_by(&[91, 92], |c| c.root = role(&[91, 92], 2))], None, "not_enough_signatures");
    for seeds in [&[91u8, 92][..], &[1, 2, 3], &[6, 7], &[]] {
        refused(&mut replica, vec![], Some(directory_by(seeds, |_| {})), "not_enough_signatures");
    }
    goes_on(replica);
}

#[test]
fn wrong_threshold_and_one_key_twice() {
    let mut replica = Replica::new();
    refused(&mut replica, vec![root_by(&[1], |_| {})], None, "not_enough_signatures");
    refused(&mut replica, vec![root_by(&[1, 1], |_| {})], None, "not_enough_signatures");
    refused(&mut replica, vec![], Some(directory_by(&[4, 4], |_| {})), "not_enough_signatures");
    // Its signature once more under the id of another signer, and, as no document may be, under its own.
    let twice = |of: u8| {
        let mut envelope = Envelope::parse(&directory_by(&[4], |_| {})).unwrap();
        let mut again = envelope.signatures[0];
        again.keyid = key(of).public().id();
        envelope.signatures.push(again);
        envelope.to_bytes()
    };
    refused(&mut replica, vec![], Some(twice(5)), "not_enough_signatures");
    refused(&mut replica, vec![], Some(twice(4)), "malformed");
    // And with its id in another spelling.
    let id = key(4).public().id().to_string();
    let text = String::from_utf8(twice(5)).unwrap().replace(&key(5).public().id().to_string(), &id.to_uppercase());
    refused(&mut replica, vec![], Some(text.into_bytes()), "malformed");
    goes_on(replica);
}

#[test]
fn rollback() {
    let mut replica = Replica::new();
    let two = directory_by(&[4, 5], |_| {});
    assert_eq!(reason(&install(&mut replica, vec![root_by(&[1, 2], |_| {})], Some(two), NOW)), "trust");
    refused(&mut replica, vec![], Some(signed_directory(1, NOW).to_bytes()), "rollback");
    refused(&mut replica, vec![], Some(directory_by(&[4, 5], |c| c.voters.truncate(2))), "same_version");
    for version in [1, 2] {
        let other = |c: &mut RootContent| (c.version, c.expires) = (version, at(DAYS_30));
        refused(&mut replica, vec![root_by(&[1, 2], other)], None, "not_the_next_root");
    }
    // The very same documents again are nothing new.
    let before = installed(&replica);
    let same = install(&mut replica, vec![root_by(&[1, 2], |_| {})], Some(directory_by(&[4, 5], |_| {})), NOW);
    assert_eq!((same, installed(&replica)), (Applied::Trust { root: 2, directory: 2 }, before));
}

#[test]
fn fast_forward_and_its_recovery() {
    let mut replica = Replica::new();
    for version in [3, 1 << 40, (1 << 53) - 1] {
        refused(&mut replica, vec![root_by(&[1, 2], |c| c.version = version)], None, "not_the_next_root");
    }
    let far = 1 + DIRECTORY_STEP_MAX;
    for version in [far + 1, (1 << 53) - 1] {
        refused(&mut replica, vec![], Some(directory_by(&[4, 5], |c| c.version = version)), "fast_forward");
    }
    // Stolen directory keys went as far as they could. The root takes the role from them, and the next version counts.
    let stolen = directory_by(&[4, 5], |c| c.version = far);
    assert_eq!(install(&mut replica, vec![], Some(stolen), NOW), Applied::Trust { root: 1, directory: far });
    let root = root_by(&[1, 2], |c| c.directory = role(&[44, 45], 2));
    let next = directory_by(&[44, 45], |c| c.version = far + 1);
    assert_eq!(install(&mut replica, vec![root], Some(next), NOW), Applied::Trust { root: 2, directory: far + 1 });
    refused(&mut replica, vec![], Some(directory_by(&[4, 5], |c| c.version = far + 2)), "not_enough_signatures");
}

#[test]
fn mix_and_match() {
    let mut replica = Replica::new();
    // A root that no longer vouches for the directory does not come without one that it does vouch for.
    let root = || root_by(&[1, 2], |c| c.directory = role(&[44, 45], 2));
    refused(&mut replica, vec![root()], None, "not_enough_signatures");
    refused(&mut replica, vec![root()], Some(directory_by(&[4, 5], |_| {})), "not_enough_signatures");
    // Nor does one take a key into a role of its own that the directory has elsewhere.
    let administrator = |c: &mut RootContent| {
        c.root = RoleContent {
            keys: [c.root.keys.clone(), vec![directory_content(1, NOW).administrators[0].key]].concat(),
            threshold: 2,
        }
    };
    refused(&mut replica, vec![root_by(&[1, 2], administrator)], None, "key_reused");
    // A directory in a root's place, and the other way round.
    refused(&mut replica, vec![directory_by(&[4, 5], |_| {})], None, "wrong_type");
    refused(&mut replica, vec![], Some(root_by(&[1, 2], |_| {})), "wrong_type");
    let applied = install(&mut replica, vec![root()], Some(directory_by(&[44, 45], |_| {})), NOW);
    assert_eq!(applied, Applied::Trust { root: 2, directory: 2 });
}

#[test]
fn key_compromise_and_rotation() {
    let mut replica = Replica::new();
    let rotated = |c: &mut RootContent| c.root = role(&[1, 61, 62], 2);
    for seeds in [&[1u8, 2][..], &[61, 62], &[1, 61]] {
        refused(&mut replica, vec![root_by(seeds, rotated)], None, "not_enough_signatures");
    }
    assert_eq!(
        install(&mut replica, vec![root_by(&[1, 2, 61], rotated)], None, NOW),
        Applied::Trust { root: 2, directory: 1 }
    );
    // The keys that left sign nothing more, also together with one that stayed.
    let third = |c: &mut RootContent| (c.version, c.root) = (3, role(&[1, 61, 62], 2));
    refused(&mut replica, vec![root_by(&[2, 3], third)], None, "not_enough_signatures");
    refused(&mut replica, vec![root_by(&[1, 2], third)], None, "not_enough_signatures");
    assert_eq!(
        install(&mut replica, vec![root_by(&[61, 62], third)], None, NOW),
        Applied::Trust { root: 3, directory: 1 }
    );
}

#[test]
fn expired_metadata_and_indefinite_freeze() {
    let mut replica = Replica::new();
    let short = |c: &mut RootContent| c.expires = at(60);
    refused_at(&mut replica, vec![root_by(&[1, 2], short)], None, at(60), "expired");
    let ended = |c: &mut DirectoryContent| (c.created, c.expires) = (at(-86_400), at(60));
    refused_at(&mut replica, vec![], Some(directory_by(&[4, 5], ended)), at(60), "expired");
    refused_at(
        &mut replica,
        vec![],
        Some(directory_by(&[4, 5], |c| (c.created, c.expires) = (at(500), at(900)))),
        at(61),
        "from_the_future",
    );
    let long = |c: &mut RootContent| c.expires = at(400 * 86_400);
    refused_at(&mut replica, vec![root_by(&[1, 2], long)], None, at(61), "life_too_long");
    // Whoever withholds the next directory does not keep the old one alive.
    let trust = replica.state.trust().unwrap().clone();
    assert!(trust.check_time(at(61)).is_ok());
    let late = at(DAYS_30);
    let expired = trust.check_time(late).map_err(|refusal| refusal.reason);
    assert_eq!(expired, Err("trust_expired".into()));
    // It is replaced all the same, by one that counts.
    let fresh = directory_by(&[4, 5], |c| (c.created, c.expires) = (late, at(2 * DAYS_30)));
    assert_eq!(install(&mut replica, vec![], Some(fresh), late), Applied::Trust { root: 1, directory: 2 });
}

#[test]
fn wrong_mesh() {
    let mut replica = Replica::new();
    let other = MeshId([0x77; 16]);
    refused(&mut replica, vec![root_by(&[1, 2], |c| c.mesh_id = other)], None, "wrong_mesh");
    refused(&mut replica, vec![], Some(directory_by(&[4, 5], |c| c.mesh_id = other)), "wrong_mesh");
    goes_on(replica);
}

#[test]
fn wrong_digest_of_the_first_root() {
    let mut state = State::new(genesis(true, NOW));
    // Signed by the same keys and of the same mesh, but not the one that the voters were installed with.
    let content = RootContent { expires: at(DAYS_30), ..root_content(true, NOW) };
    let other = SignedRoot::make(&content, &[&key(1), &key(2)]).unwrap().to_bytes();
    let documents = TrustDocuments { roots: vec![other], directory: Some(signed_directory(1, NOW).to_bytes()) };
    let entry = Command::InstallTrust { documents, at: NOW };
    let applied = remit_control_plane::registry::apply(&mut state, remit_common::id::LogIndex(1), entry);
    assert_eq!(reason(&applied), "not_the_pinned_root");
    assert!(state.trust().is_err());
}

#[test]
fn unknown_critical_field() {
    let mut replica = Replica::new();
    let good = Envelope::parse(&root_by(&[1, 2], |_| {})).unwrap().payload;
    let good = String::from_utf8(good).unwrap();
    for (from, to) in [
        ("\"dev\":true", "\"dev\":true,\"critical\":1"),
        ("\"dev\":true", "\"dev\":true,\"dev\":false"),
        ("\"threshold\":2", "\"threshold\":2,\"weight\":3"),
    ] {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good);
        let mut envelope = Envelope::new(ROOT_TYPE, bad.into_bytes());
        envelope.sign(&key(1));
        envelope.sign(&key(2));
        refused(&mut replica, vec![envelope.to_bytes()], None, "content_malformed");
    }
    goes_on(replica);
}

#[test]
fn endless_data() {
    let mut replica = Replica::new();
    let mut long = directory_by(&[4, 5], |_| {});
    long.resize(DIRECTORY_BYTES_MAX + 1, b' ');
    refused(&mut replica, vec![], Some(long.clone()), "malformed");
    refused(&mut replica, vec![long], None, "malformed");
    let mut long = root_by(&[1, 2], |c| c.version = 2);
    long.resize(DOCUMENT_BYTES_MAX + 1, b' ');
    refused(&mut replica, vec![long], None, "malformed");
    // Many roots in one command, each of which would be a step.
    let mut chain = Vec::new();
    for version in 2..300 {
        chain.push(root_by(&[1, 2], |c| c.version = version));
    }
    refused(&mut replica, chain.clone(), None, "malformed");
    chain.truncate(200);
    assert_eq!(install(&mut replica, chain, None, NOW), Applied::Trust { root: 201, directory: 1 });
}
