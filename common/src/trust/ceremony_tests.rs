use super::super::directory::SignedDirectory;
use super::super::fixture::{MESH, NOW, at, directory_content, key, role, root, root_content};
use super::super::root::SignedRoot;
use super::*;

fn rotated() -> Draft {
    let mut content = root_content();
    (content.version, content.root) = (2, role(&[1, 61, 62], 2));
    Draft::root(&content).unwrap()
}

/// How many signatures are there, and how many are missing, of each quorum.
fn standing(draft: &Draft) -> Vec<(usize, usize)> {
    draft.quorums(Some(&root())).iter().map(|quorum| (quorum.signed.len(), quorum.missing())).collect()
}

fn code(draft: &Draft, seed: u8) -> Result<(), &'static str> {
    draft.clone().sign(&key(seed), Some(&root()), NOW).map_err(|refused| refused.reason_code())
}

#[test]
fn a_draft_is_verified_exactly_when_no_signature_is_missing() {
    // Clause T-15.
    let mut draft = rotated();
    let under = root();
    assert_eq!(standing(&draft), [(0, 2), (0, 2)]);
    let mut seen = 0;
    for seed in [62, 2, 61, 1, 3] {
        draft.sign(&key(seed), Some(&under), NOW).unwrap();
        let complete = draft.quorums(Some(&under)).iter().all(|quorum| quorum.missing() == 0);
        let verified = SignedRoot::parse(&draft.to_bytes()).unwrap().verify_next(&under);
        assert_eq!(verified.is_ok(), complete, "after {seed}: {verified:?}");
        seen += usize::from(complete);
    }
    // A key of both sets counts in both.
    assert_eq!((standing(&draft), seen), (vec![(3, 0), (3, 0)], 2));

    let mut draft = Draft::directory(&directory_content()).unwrap();
    for (seed, complete) in [(5, false), (4, true)] {
        draft.sign(&key(seed), Some(&under), NOW).unwrap();
        let verified = SignedDirectory::parse(&draft.to_bytes()).unwrap().verify(&under, NOW);
        assert_eq!(verified.is_ok(), complete);
    }
    assert_eq!(Draft::parse(&draft.to_bytes()), Ok(draft));
}

#[test]
fn who_has_no_part_or_has_signed_adds_nothing() {
    // Clause T-16.
    let mut draft = rotated();
    for seed in [4, 6, 99] {
        assert_eq!(code(&draft, seed), Err("no_part"), "{seed}");
    }
    draft.sign(&key(2), Some(&root()), NOW).unwrap();
    let before = draft.clone();
    assert_eq!(draft.sign(&key(2), Some(&root()), NOW), Err(NotSigned::Already { key: key(2).public().id() }));
    assert_eq!(draft, before);
    // Whose the key was in the root before, nobody knows without that root.
    assert_eq!(code(&draft, 3), Ok(()));
    assert!(matches!(draft.clone().sign(&key(3), None, NOW), Err(NotSigned::NoPart { .. })));
    assert!(matches!(
        Draft::directory(&directory_content()).unwrap().sign(&key(4), None, NOW),
        Err(NotSigned::NoPart { .. })
    ));
    // What stands under a key's id and is not its signature counts for nothing, and is in nobody's way.
    let mut forged = rotated();
    forged.sign(&key(3), Some(&root()), NOW).unwrap();
    forged.envelope.signatures[0].keyid = key(2).public().id();
    assert_eq!(standing(&forged), [(0, 2), (0, 2)]);
    forged.sign(&key(2), Some(&root()), NOW).unwrap();
    assert_eq!(standing(&forged), [(1, 1), (0, 2)]);
}

#[test]
fn nobody_signs_what_would_be_refused() {
    // Clause T-16.
    let of_root = |change: fn(&mut RootContent)| {
        let mut content = root_content();
        content.version = 2;
        change(&mut content);
        code(&Draft::root(&content).unwrap(), 1)
    };
    assert_eq!(of_root(|_| {}), Ok(()));
    assert_eq!(of_root(|c| c.mesh_id = MeshId([9; 16])), Err("wrong_mesh"));
    assert_eq!(of_root(|c| c.version = 3), Err("not_the_next_root"));
    assert_eq!(of_root(|c| c.version = 1), Err("not_the_next_root"));
    assert_eq!(of_root(|c| c.expires = NOW), Err("expired"));
    assert_eq!(of_root(|c| c.expires = at(367 * 86_400)), Err("life_too_long"));
    let of_directory = |change: fn(&mut DirectoryContent)| {
        let mut content = directory_content();
        change(&mut content);
        code(&Draft::directory(&content).unwrap(), 4)
    };
    assert_eq!(of_directory(|_| {}), Ok(()));
    assert_eq!(of_directory(|c| c.mesh_id = MeshId([9; 16])), Err("wrong_mesh"));
    assert_eq!(of_directory(|c| c.created = at(301)), Err("from_the_future"));
    assert_eq!(of_directory(|c| (c.created, c.expires) = (at(-86_400), NOW)), Err("expired"));
    assert_eq!(of_directory(|c| c.sealers[0].key = *key(1).public()), Err("key_reused"));
    assert_eq!(Draft::directory(&directory_content()).unwrap().content().mesh_id(), &MESH);
}

#[test]
fn signatures_of_copies_come_together_and_of_nothing_else() {
    // Clause T-17.
    let by = |seed: u8| {
        let mut draft = rotated();
        draft.sign(&key(seed), Some(&root()), NOW).unwrap();
        draft
    };
    let mut together = by(1);
    assert_eq!(together.merge(&by(2)), Ok(1));
    assert_eq!(together.merge(&by(2)), Ok(0));
    assert_eq!(together.merge(&by(61)), Ok(1));
    assert_eq!(standing(&together), [(2, 0), (2, 0)]);
    assert!(SignedRoot::parse(&together.to_bytes()).unwrap().verify_next(&root()).is_ok());
    let mut content = root_content();
    content.version = 2;
    let refused = together.merge(&Draft::root(&content).unwrap());
    assert_eq!(refused.map_err(|refused| refused.reason_code()), Err("other_document"));
    assert_eq!(
        Draft::parse(&Envelope::new("x/y", b"{}".to_vec()).to_bytes()).map(|_| ()).unwrap_err().reason_code(),
        "wrong_type"
    );
}
