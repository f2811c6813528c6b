use super::super::fixture::{MESH, NOW, directory_content, key, root, signed_directory};
use super::*;
use crate::trust::directory::DirectoryContent;

fn statement() -> Statement {
    Statement {
        n: LogIndex(71_000),
        nonce_root: Digest::of(&[b"nonces"]),
        epoch: RevocationEpoch(4),
        revocations: Digest::of(&[b"revocations"]),
        activations: Digest::of(&[b"activations"]),
        relations: Digest::of(&[b"relations"]),
        directory: 3,
        root: 2,
    }
}

/// Voters 1 to `voters`, with the beacon keys 61 and up.
fn directory(voters: u8) -> Directory {
    let mut content: DirectoryContent = directory_content();
    content.voters = (1..=voters)
        .map(|n| crate::trust::directory::Voter {
            id: VoterId(n.into()),
            identity: *key(10 + n).public(),
            beacon: Some(*key(60 + n).public()),
        })
        .collect();
    signed_directory(&content, &[4, 5]).verify(&root(), NOW).unwrap()
}

/// Signed by these keys, under the names of voters 1 and up.
fn signed(statement: Statement, by: &[(u64, u8)]) -> SignedStatement {
    let signatures = by.iter().map(|(voter, seed)| (VoterId(*voter), statement.sign(&MESH, &key(*seed)))).collect();
    SignedStatement { statement, signatures }
}

#[test]
fn what_is_signed_is_golden() {
    // Clause F-20: deterministic CBOR (RFC 8949 section 4.2.1).
    let bytes = statement().signed_bytes(&MESH);
    assert_eq!(crate::text::hex(&bytes[..18]), "8a6f72656d69742f626561636f6e2f763150");
    assert_eq!(Digest::of(&[&bytes]).to_string(), GOLDEN);
}

const GOLDEN: &str = "6ce47554f9f3a074dca687f7deaf27499afbbfb13a3b9a6abbd5464e1fed8e9a";

#[test]
fn a_majority_of_the_listed_voters_makes_a_beacon() {
    // Clause F-21.
    let directory = directory(3);
    let minority = |signed| Err(BeaconRefused::Minority { signed, voters: 3 });
    for (by, expected) in [
        (vec![], minority(0)),
        (vec![(1, 61)], minority(1)),
        (vec![(1, 61), (2, 62)], Ok(())),
        (vec![(1, 61), (2, 62), (3, 63)], Ok(())),
        // One key under three names, a voter's identity key, a stranger, and a key under another's name.
        (vec![(1, 61), (2, 61), (3, 61)], minority(1)),
        (vec![(1, 61), (2, 12)], minority(1)),
        (vec![(1, 61), (4, 64)], minority(1)),
        (vec![(1, 62), (2, 61)], minority(0)),
    ] {
        assert_eq!(signed(statement(), &by).verify(&directory), expected, "{by:?}");
    }
}

#[test]
fn a_signature_is_good_for_one_statement_in_one_mesh_only() {
    let directory = directory(3);
    let good = signed(statement(), &[(1, 61), (2, 62)]);
    let changes: [fn(&mut Statement); 8] = [
        |s| s.n = LogIndex(71_001),
        |s| s.nonce_root = Digest::default(),
        |s| s.epoch = RevocationEpoch(3),
        |s| s.revocations = Digest::default(),
        |s| s.activations = Digest::default(),
        |s| s.relations = Digest::default(),
        |s| s.directory = 4,
        |s| s.root = 1,
    ];
    for change in changes {
        let mut changed = good.clone();
        change(&mut changed.statement);
        assert_ne!(changed.statement, good.statement);
        assert_eq!(changed.verify(&directory), Err(BeaconRefused::Minority { signed: 0, voters: 3 }));
    }
    let another = MeshId([9; 16]);
    let by = [(1, 61), (2, 62)].map(|(voter, seed)| (VoterId(voter), statement().sign(&another, &key(seed))));
    let elsewhere = SignedStatement { statement: statement(), signatures: by.into() };
    assert_eq!(elsewhere.verify(&directory), Err(BeaconRefused::Minority { signed: 0, voters: 3 }));
}

#[test]
fn endless_signatures_are_not_looked_at() {
    let statement = statement();
    let one = statement.sign(&MESH, &key(61));
    let signatures = (1..=10).map(|n| (VoterId(n), one)).collect();
    let many = SignedStatement { statement, signatures };
    assert_eq!(many.verify(&directory(3)), Err(BeaconRefused::TooMany { count: 10 }));
}

#[test]
fn no_majority_with_one_liar_escapes_those_who_have_sealed() {
    // Clause F-24: for every choice of sealing voters and of a later majority, two are in both, so one who does not lie.
    assert_eq!([1, 2, 3, 4, 5, 7, 9].map(sealing_quorum), [1, 2, 3, 3, 4, 5, 6]);
    for voters in 3..=9usize {
        let of = |count: usize| (0..1u32 << voters).filter(move |set| set.count_ones().try_into() == Ok(count));
        let (sealing, majority) = (sealing_quorum(voters), majority_of(voters));
        let shared = of(sealing).flat_map(|a| of(majority).map(move |b| (a & b).count_ones())).min();
        assert_eq!(shared, Some(2), "{voters} voters");
    }
}
