use std::sync::LazyLock;

use proptest::prelude::*;

use super::super::fixture::{
    MESH, NOW, acme, at, directory_content, key, root, root_content, signed_directory, signed_root,
};
use super::*;

fn verified(change: impl FnOnce(&mut DirectoryContent)) -> Result<Directory, TrustRefused> {
    let mut content = directory_content();
    change(&mut content);
    signed_directory(&content, &[4, 5]).verify(&root(), NOW)
}

#[test]
fn a_verified_directory_answers_by_key_and_name() {
    let signed = signed_directory(&directory_content(), &[4, 5]);
    let parsed = SignedDirectory::parse(&signed.to_bytes()).unwrap();
    assert_eq!(parsed, signed);
    let directory = parsed.verify(&root(), NOW).unwrap();
    assert_eq!(directory.voter(VoterId(2)).map(|voter| voter.identity), Some(*key(12).public()));
    assert_eq!(directory.voter(VoterId(4)), None);
    assert_eq!(directory.edges().count(), 2);
    assert_eq!(directory.issuers().majority(&acme(), NOW), Some(2));
    assert!(directory.administrator(&key(41).public().id()).is_some());
    assert!(directory.administrator(&key(51).public().id()).is_none());
    let sealer = directory.sealer(&key(51).public().id()).unwrap();
    assert!(sealer.is_for(&acme(), &"acme-crm".parse().unwrap()));
    assert!(!sealer.is_for(&acme(), &"crm".parse().unwrap()));
    assert!(!sealer.is_for(&"other".parse().unwrap(), &"acme-crm".parse().unwrap()));
}

#[test]
fn wrong_threshold_and_keys_of_another_role_do_not_install_a_directory() {
    for (seeds, found) in [(&[4u8][..], 1), (&[4, 4], 1), (&[1, 2, 3], 0), (&[4, 6], 1), (&[], 0)] {
        let refused = signed_directory(&directory_content(), seeds).verify(&root(), NOW);
        let needed = 2;
        let expected = dsse::NotVerified::NotEnoughSignatures { found, needed };
        assert_eq!(refused, Err(TrustRefused::NotVerified(expected)), "{seeds:?}");
    }
}

#[test]
fn a_directory_has_room_for_thousands_of_edges_and_an_end() {
    // Clause T-26.
    let bytes = |content: &DirectoryContent| signed_directory(content, &[4, 5]).to_bytes();
    let mut content = directory_content();
    let edge = &mut content.edges[1];
    (edge.id, edge.region) = ("e".repeat(40).parse().unwrap(), "r".repeat(40).parse().unwrap());
    let with = bytes(&content).len();
    content.edges.pop();
    let without = bytes(&content).len();
    let of_an_edge = with - without;
    assert!((2_300..2_600).contains(&of_an_edge), "an edge, whose sealing key is long, takes {of_an_edge} bytes");
    assert!(without + 2_800 * of_an_edge < DIRECTORY_BYTES_MAX);
    // Behind a document may be spaces, so that one is as long as it has to be.
    let mut at_the_border = bytes(&directory_content());
    at_the_border.resize(DIRECTORY_BYTES_MAX, b' ');
    assert!(SignedDirectory::parse(&at_the_border).is_ok());
    at_the_border.push(b' ');
    assert!(matches!(SignedDirectory::parse(&at_the_border), Err(TrustRefused::Malformed(_))));
    // Nobody makes one that nobody reads.
    let mut long = directory_content();
    let sealer = long.sealers[0].clone();
    long.sealers = (0..200_000).map(|_| sealer.clone()).collect();
    assert!(SignedDirectory::make(&long, &[&key(4)]).is_err());
}

#[test]
fn rollback_of_the_directory_is_refused() {
    // Clause T-12.
    let version = |version| verified(|content| content.version = version).unwrap();
    let (one, two) = (version(1), version(2));
    assert_eq!(two.check_succeeds(&one), Ok(()));
    assert_eq!(two.check_succeeds(&two), Ok(()));
    assert_eq!(one.check_succeeds(&two), Err(TrustRefused::Rollback { have: 2, offered: 1 }));
    let other = verified(|content| {
        content.version = 2;
        content.edges.pop();
    })
    .unwrap();
    assert_eq!(other.check_succeeds(&two), Err(TrustRefused::SameVersion { version: 2 }));
}

#[test]
fn fast_forward_of_the_directory_leaves_room_for_the_next() {
    // Clause T-18.
    let version = |version| verified(|content| content.version = version).unwrap();
    let (one, far) = (version(1), version(1 + DIRECTORY_STEP_MAX));
    assert_eq!(far.check_succeeds(&one), Ok(()));
    // The recovery is the next version: there always is one.
    assert_eq!(version(far.version() + 1).check_succeeds(&far), Ok(()));
    for offered in [far.version() + 1, (1 << 53) - 1] {
        let expected = TrustRefused::FastForward { have: 1, offered, most: DIRECTORY_STEP_MAX };
        assert_eq!(version(offered).check_succeeds(&one), Err(expected));
    }
}

#[test]
fn a_directory_out_of_its_time_or_mesh_is_refused() {
    // Clause T-11.
    let code = |result: Result<Directory, TrustRefused>| result.map(|_| ()).map_err(|refused| refused.reason_code());
    assert_eq!(code(verified(|content| content.mesh_id = MeshId([9; 16]))), Err("wrong_mesh"));
    assert_eq!(code(verified(|content| content.created = at(301))), Err("from_the_future"));
    assert_eq!(code(verified(|content| content.created = at(300))), Ok(()));
    let directory = signed_directory(&directory_content(), &[4, 5]);
    assert_eq!(code(directory.clone().verify(&root(), at(30 * 86_400 - 1))), Ok(()));
    assert_eq!(code(directory.clone().verify(&root(), at(30 * 86_400))), Err("expired"));
    let mut content = root_content();
    content.expires = at(5);
    let signed = signed_root(&content, &[1, 2]);
    let pin = signed.digest();
    let expired = signed.verify_pinned(&pin, &MESH).unwrap();
    assert_eq!(code(directory.verify(&expired, at(5))), Err("expired"));
}

#[test]
fn a_directory_that_breaks_a_rule_is_not_made() {
    // Clauses T-10 and T-13.
    let refused = |change: fn(&mut DirectoryContent), code| {
        let mut content = directory_content();
        change(&mut content);
        let refused = SignedDirectory::make(&content, &[&key(4)]).map_err(|refused| refused.reason_code());
        assert_eq!(refused.map(|_| ()), Err(code), "{content:?}");
    };
    refused(|c| c.expires = at(30 * 86_400 + 1), "life_too_long");
    refused(|c| c.expires = c.created, "life_too_long");
    refused(|c| c.voters[1].id = VoterId(1), "repeated_entry");
    refused(|c| c.voters[1].identity = c.voters[0].identity, "key_reused");
    refused(|c| c.edges[1].id = c.edges[0].id.clone(), "repeated_entry");
    refused(|c| c.edges[1].sealing = c.edges[0].sealing.clone(), "bad_entry");
    refused(|c| c.edges[0].identity = c.voters[0].identity, "key_reused");
    refused(|c| c.issuers[0].key = c.voters[0].identity, "key_reused");
    refused(|c| c.issuers[0].alg = -8, "bad_entry");
    refused(|c| c.issuers[0].until = c.issuers[0].from, "bad_entry");
    refused(|c| c.issuers.push(c.issuers[0].clone()), "key_reused");
    refused(|c| c.administrators[0].key = c.sealers[0].key, "key_reused");
    refused(|c| c.administrators[0].name = "a\nb".to_owned(), "bad_entry");
    refused(|c| c.sealers[0].prefix = "Not A Name".to_owned(), "bad_entry");
    refused(|c| c.voters = (1..=10).map(|n| Voter { id: VoterId(n), ..c.voters[0].clone() }).collect(), "bad_entry");
}

#[test]
fn a_key_of_the_root_stands_nowhere_else() {
    // Clause T-13.
    let refused = verified(|content| content.administrators[0].key = *key(6).public());
    assert_eq!(refused.map_err(|refused| refused.reason_code()).map(|_| ()), Err("key_reused"));
}

#[test]
fn the_directory_is_golden() {
    // Clause T-10.
    let payload = String::from_utf8(dsse::encode(&directory_content()).unwrap()).unwrap();
    assert_eq!(payload, include_str!("golden/directory.json").trim_end());
    assert_eq!(directory_content().mesh_id, MESH);
}

proptest! {
    #[test]
    fn mutated_documents_never_panic_and_never_verify(at in any::<proptest::sample::Index>(), byte: u8) {
        static GOOD: LazyLock<Vec<u8>> = LazyLock::new(|| signed_directory(&directory_content(), &[4, 5]).to_bytes());
        let mut bytes = GOOD.clone();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(signed) = SignedDirectory::parse(&bytes) {
            let same = signed == SignedDirectory::parse(&GOOD).unwrap();
            prop_assert_eq!(signed.verify(&root(), NOW).is_ok(), same);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(SignedDirectory::parse(&bytes).is_err());
        prop_assert!(Directory::read(&bytes, KeyUse::default()).is_err());
    }
}
