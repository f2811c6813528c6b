use super::super::fixture::{MESH, NOW, acme, at, key, role, root, root_content, signed_root};
use super::*;

fn next(change: impl FnOnce(&mut RootContent), seeds: &[u8]) -> Result<Root, TrustRefused> {
    let mut content = root_content();
    content.version = 2;
    change(&mut content);
    signed_root(&content, seeds).verify_next(&root())
}

fn not_enough(found: usize) -> TrustRefused {
    TrustRefused::NotVerified(NotVerified::NotEnoughSignatures { found, needed: 2 })
}

#[test]
fn the_first_root_is_the_pinned_one() {
    // Clause T-6.
    let signed = signed_root(&root_content(), &[1, 3]);
    let pin = signed.digest();
    let parsed = SignedRoot::parse(&signed.to_bytes()).unwrap();
    assert_eq!(parsed, signed);
    assert_eq!(parsed.verify_pinned(&pin, &MESH).map(|root| root.version()), Ok(1));
    let other = Digest::of(&[b"other"]);
    assert_eq!(signed.clone().verify_pinned(&other, &MESH), Err(TrustRefused::Pin { pinned: other, found: pin }));
    assert_eq!(signed.verify_pinned(&pin, &MeshId([9; 16])), Err(TrustRefused::WrongMesh));
    let alone = signed_root(&root_content(), &[1]);
    assert_eq!(alone.verify_pinned(&pin, &MESH), Err(not_enough(1)));
}

#[test]
fn key_rotation_needs_the_old_keys_and_the_new() {
    // Clause T-7.
    let rotated = |content: &mut RootContent| content.root = role(&[61, 62], 2);
    assert_eq!(next(rotated, &[1, 2, 61, 62]).map(|root| root.version()), Ok(2));
    assert_eq!(next(rotated, &[1, 2, 61]), Err(not_enough(1)));
    assert_eq!(next(rotated, &[1, 61, 62]), Err(not_enough(1)));
    assert_eq!(next(rotated, &[61, 62]), Err(not_enough(0)));
}

#[test]
fn rollback_and_fast_forward_of_the_root_break_the_chain() {
    // Clause T-7.
    for found in [1, 3, (1 << 53) - 1] {
        let refused = next(|content| content.version = found, &[1, 2]);
        assert_eq!(refused, Err(TrustRefused::NotNext { have: 1, found }));
    }
}

#[test]
fn arbitrary_installation_of_a_root_is_refused() {
    assert_eq!(next(|content| content.root = role(&[91, 92], 2), &[91, 92]), Err(not_enough(0)));
    assert_eq!(next(|content| content.mesh_id = MeshId([9; 16]), &[1, 2]), Err(TrustRefused::WrongMesh));
}

#[test]
fn an_expired_root_introduces_its_successor_and_nothing_else() {
    // Clause T-9.
    let mut content = root_content();
    content.expires = at(10);
    let signed = signed_root(&content, &[1, 2]);
    let pin = signed.digest();
    let old = signed.verify_pinned(&pin, &MESH).unwrap();
    assert_eq!(old.check_time(at(9)), Ok(()));
    assert_eq!(old.check_time(at(10)), Err(TrustRefused::Expired { what: "root", expires: at(10) }));
    let mut content = root_content();
    content.version = 2;
    let new = signed_root(&content, &[1, 2]).verify_next(&old).unwrap();
    assert_eq!(new.check_time(at(10)), Ok(()));
    let early = at(-70 * 86_400);
    assert_eq!(new.check_time(early), Err(TrustRefused::Life { days: 366 }));
}

#[test]
fn a_root_that_breaks_a_rule_is_not_made() {
    // Clauses T-5, T-8 and T-13.
    let refused = |change: fn(&mut RootContent), code| {
        let mut content = root_content();
        change(&mut content);
        let refused = SignedRoot::make(&content, &[&key(1)]).map_err(|refused| refused.reason_code());
        assert_eq!(refused.map(|_| ()), Err(code), "{content:?}");
    };
    refused(|c| c.root.threshold = 0, "bad_role");
    refused(|c| c.root.threshold = 4, "bad_role");
    refused(|c| c.root.threshold = 1, "bad_role");
    refused(|c| c.directory.threshold = 1, "bad_role");
    refused(|c| c.root = role(&[1, 1, 2], 2), "bad_role");
    refused(|c| c.root.keys.clear(), "bad_role");
    refused(|c| c.root = role(&(1..=17).collect::<Vec<_>>(), 2), "bad_role");
    refused(|c| c.directory = role(&[3, 4], 2), "key_reused");
    refused(
        |c| {
            c.policy.insert("other".parse().unwrap(), role(&[8], 1));
        },
        "key_reused",
    );
    refused(|c| c.version = 0, "bad_entry");
    let mut dev = root_content();
    (dev.dev, dev.root, dev.directory) = (true, role(&[1], 1), role(&[4], 1));
    assert!(SignedRoot::make(&dev, &[&key(1)]).is_ok());
}

#[test]
fn content_with_other_or_repeated_members_is_refused() {
    // Clause T-4.
    let good = dsse::encode(&root_content()).unwrap();
    let good = String::from_utf8(good).unwrap();
    assert!(Root::read(good.as_bytes()).is_ok());
    for bad in [
        good.replace("\"dev\":false", "\"dev\":false,\"dev\":true"),
        good.replace("\"dev\":false", "\"dev\":false,\"extra\":1"),
        good.replace("\"version\":1", "\"version\":1.5"),
        good.replace("\"version\":1", "\"version\":-1"),
        good.replace("\"dev\":false,", ""),
        good.replace("\"acme\":", "\"ac me\":"),
        good.replace("\"policy\":{\"acme\":", "\"policy\":{\"acme\":{\"keys\":[],\"threshold\":1},\"acme\":"),
        format!("{good} 1"),
        String::new(),
    ] {
        let refused = Root::read(bad.as_bytes()).map_err(|refused| refused.reason_code());
        assert_eq!(refused.map(|_| ()), Err("content_malformed"), "{bad}");
    }
}

#[test]
fn the_root_is_golden() {
    // Clause T-5.
    let root = root();
    assert_eq!(root.policy_role(&acme()).map(Role::threshold), Some(2));
    assert_eq!(root.check_time(NOW), Ok(()));
    let payload = String::from_utf8(dsse::encode(root.content()).unwrap()).unwrap();
    assert_eq!(payload, include_str!("golden/root.json").trim_end());
    assert_eq!(root.digest(), &Digest::of(&[payload.as_bytes()]));
}
