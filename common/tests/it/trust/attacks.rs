//! What does not become a verified or a compiled bundle, and why.

use std::sync::LazyLock;

use proptest::prelude::*;
use remit_common::bundle::{BuildOverrides, BundleRejected, FileEntry, SignedBundle, VerifiedBundle, verify_manifest};
use remit_common::envelope::{AgentIdentity, Authority, GrantRequest};
use remit_common::id::{BundleVersion, MeshId};
use remit_common::lattice::{Audience, Demands, Scope};
use remit_common::policy::json::Json;
use remit_common::policy::{Decision, Reason, Relations, ToolCall};
use remit_common::trust::dsse::NotVerified;

use super::mesh::*;

fn verified(bundle: SignedBundle) -> Result<VerifiedBundle, BundleRejected> {
    bundle.verify(&root(), &MESH, &acme(), NOW)
}

fn refused(bundle: SignedBundle, code: &str) {
    let refused = verified(bundle).map(|_| ()).map_err(|rejected| rejected.reason_code());
    assert_eq!(refused, Err(code));
}

fn not_compiled(bundle: SignedBundle) -> BundleRejected {
    verified(bundle).unwrap().compile().map(|_| ()).unwrap_err()
}

fn not_enough(found: usize) -> BundleRejected {
    BundleRejected::NotVerified(NotVerified::NotEnoughSignatures { found, needed: 2 })
}

#[test]
fn what_two_of_three_administrators_signed_is_verified_compiled_and_decides() {
    let signed = signed();
    let digest = signed.digest();
    let parsed = SignedBundle::parse(&signed.to_bytes()).unwrap();
    assert_eq!(parsed, signed);
    let verified = verified(parsed).unwrap();
    assert_eq!((verified.digest(), verified.manifest().version), (&digest, BundleVersion(7)));
    let compiled = verified.compile().unwrap();
    assert_eq!(compiled.manifest().canaries.len(), 3);
    assert_eq!(compiled.bounds().external_send, 5);
    assert_eq!(compiled.policy().policies(), 3);
}

#[test]
fn arbitrary_installation() {
    // Clause B-5.
    for seeds in [&[91u8, 92, 93][..], &[1, 2, 3], &[4, 5], &[16, 17, 18]] {
        let bundle = signed_by(built(&sources()), seeds);
        assert_eq!(verified(bundle).map(|_| ()), Err(not_enough(0)), "{seeds:?}");
    }
    assert_eq!(verified(built(&sources())).map(|_| ()), Err(not_enough(0)));
}

#[test]
fn wrong_threshold() {
    // Clause B-5.
    for seeds in [&[6u8][..], &[7], &[8], &[6, 16], &[6, 91, 92]] {
        let bundle = signed_by(built(&sources()), seeds);
        assert_eq!(verified(bundle).map(|_| ()), Err(not_enough(1)), "{seeds:?}");
    }
}

#[test]
fn one_key_twice_and_duplicate_key_ids() {
    let once = signed_by(built(&sources()), &[6, 6]);
    assert_eq!(verified(once.clone()).map(|_| ()), Err(not_enough(1)));
    // Under the id of another administrator, and, in memory only, under its own id again.
    let (envelope, files) = once.parts();
    for id in [key(7).public().id(), key(6).public().id()] {
        let mut envelope = envelope.clone();
        let mut again = envelope.signatures[0];
        again.keyid = id;
        envelope.signatures.push(again);
        let twice = SignedBundle::from_parts(envelope, files.to_vec());
        assert_eq!(verified(twice.clone()).map(|_| ()), Err(not_enough(1)));
        assert_eq!(SignedBundle::parse(&twice.to_bytes()).is_err(), id == key(6).public().id());
    }
}

#[test]
fn wrong_mesh_and_wrong_tenant() {
    // Clause B-5.
    refused(with_manifest(|manifest| manifest.mesh_id = MeshId([0x12; 16])), "wrong_mesh");
    refused(with_manifest(|manifest| manifest.tenant = "other".parse().unwrap()), "wrong_tenant");
    let other = "other".parse().unwrap();
    assert_eq!(signed().verify(&root(), &MESH, &other, NOW).map(|_| ()), Err(not_enough(0)));
    let nobody = "nobody".parse().unwrap();
    let refused = signed().verify(&root(), &MESH, &nobody, NOW).map(|_| ());
    assert_eq!(refused, Err(BundleRejected::NoPolicyRole { tenant: nobody }));
    let elsewhere = signed().verify(&root(), &MeshId([0x12; 16]), &acme(), NOW).map(|_| ());
    assert_eq!(elsewhere, Err(BundleRejected::WrongMesh));
}

#[test]
fn expired_and_from_the_future() {
    // Clause B-6.
    let code = |now| signed().verify(&root(), &MESH, &acme(), now).map(|_| ()).map_err(|r| r.reason_code());
    assert_eq!(code(at(90 * 86_400 - 1)), Ok(()));
    assert_eq!(code(at(90 * 86_400)), Err("expired"));
    assert_eq!(code(at(300 * 86_400)), Err("expired"));
    refused(with_manifest(|manifest| manifest.created = at(301)), "from_the_future");
    refused(with_manifest(|manifest| manifest.expires = at(90 * 86_400 + 1)), "manifest_malformed");
    refused(with_manifest(|manifest| manifest.expires = manifest.created), "manifest_malformed");
}

#[test]
fn key_compromise_and_rotation() {
    let mut content = root_content();
    content.version = 2;
    content.policy.insert(acme(), role(&[7, 8, 9], 2));
    let next = remit_common::trust::root::SignedRoot::make(&content, &[&key(1), &key(2)]).unwrap();
    let next = next.verify_next(&root()).unwrap();
    let by = |seeds: &[u8]| signed_by(built(&sources()), seeds).verify(&next, &MESH, &acme(), NOW).map(|_| ());
    assert_eq!(by(&[6, 7]), Err(not_enough(1)));
    assert_eq!(by(&[7, 9]), Ok(()));
}

#[test]
fn tampered_file() {
    // Clause B-5.
    let bundle = signed();
    let (envelope, files) = bundle.parts();
    for at in 0..files.len() {
        let mut files = files.to_vec();
        files[at][0] ^= 1;
        refused(SignedBundle::from_parts(envelope.clone(), files.clone()), "file_mismatch");
        files[at].push(b' ');
        refused(SignedBundle::from_parts(envelope.clone(), files), "file_mismatch");
    }
    let mut manifest = envelope.clone();
    manifest.payload[10] ^= 1;
    assert_eq!(verified(SignedBundle::from_parts(manifest, files.to_vec())).map(|_| ()), Err(not_enough(0)));
}

#[test]
fn mix_and_match() {
    // Clause B-5.
    let change =
        |text: String| text.replace("forbid (principal == User::\"mallory\"", "forbid (principal == User::\"x\"");
    let other = signed_by(built(&sources_with("policies/notes.cedar", change)), &[6, 7]);
    let bundle = signed();
    refused(SignedBundle::from_parts(bundle.parts().0.clone(), other.parts().1.to_vec()), "file_mismatch");
    let mut swapped = bundle.parts().1.to_vec();
    swapped.swap(0, 1);
    refused(SignedBundle::from_parts(bundle.parts().0.clone(), swapped), "file_mismatch");
    let mut fewer = bundle.parts().1.to_vec();
    fewer.pop();
    refused(SignedBundle::from_parts(bundle.parts().0.clone(), fewer), "manifest_malformed");
}

#[test]
fn extraneous_files_and_paths_that_leave() {
    // Clause B-4.
    for path in
        ["relations.toml", "policies/a.rego", "../x.cedar", "/etc/x", "policies/../x.cedar", "policies//x.cedar"]
    {
        let bundle = with_manifest(|manifest| manifest.files[0].path = path.to_owned());
        refused(bundle, "file_mismatch");
    }
    refused(with_manifest(|manifest| manifest.files.swap(0, 1)), "file_mismatch");
    let twice = |manifest: &mut remit_common::bundle::Manifest| manifest.files[1] = manifest.files[0].clone();
    refused(with_manifest(twice), "file_mismatch");
}

#[test]
fn endless_data() {
    // Clause B-2.
    let good = signed().to_bytes();
    assert!(SignedBundle::parse(&vec![b'R'; 8 * 1024 * 1024 + 1]).is_err());
    let mut trailing = good.clone();
    trailing.push(0);
    assert!(SignedBundle::parse(&trailing).is_err());
    for end in 0..good.len() {
        assert!(SignedBundle::parse(&good[..end]).is_err(), "{end}");
    }
    // Lengths that promise more than there is, or than there may be.
    let mut envelope = good.clone();
    envelope[10..14].copy_from_slice(&u32::MAX.to_be_bytes());
    assert!(SignedBundle::parse(&envelope).is_err());
    let len = usize::try_from(u32::from_be_bytes(good[10..14].try_into().unwrap())).unwrap();
    for count in [513, u32::MAX] {
        let mut files = good.clone();
        files[14 + len..18 + len].copy_from_slice(&count.to_be_bytes());
        assert!(SignedBundle::parse(&files).is_err());
    }
    let large = FileEntry { path: "policies/x.cedar".to_owned(), len: 4 * 1024 * 1024 + 1, sha256: Default::default() };
    refused(with_manifest(|manifest| manifest.files.push(large)), "file_mismatch");
}

#[test]
fn a_manifest_says_each_thing_once_and_nothing_else() {
    // Clause B-3.
    let bundle = built(&sources());
    let payload = String::from_utf8(bundle.parts().0.payload.clone()).unwrap();
    let files = bundle.parts().1.to_vec();
    for bad in [
        payload.replace("\"version\":7", "\"version\":7,\"version\":8"),
        payload.replace("\"version\":7", "\"version\":7,\"extra\":8"),
        payload.replace("\"version\":7", "\"version\":\"7\""),
        payload.replace("\"version\":7", "\"version\":18446744073709551615"),
        payload.replace("\"version\":7", "\"version\":0"),
        payload.replace("\"floor\":5", "\"floor\":8"),
        payload.replace("\"read\":120", "\"read\":120,\"Read\":120"),
        payload.replace("\"chain_links\":4", "\"chain_links\":9"),
        format!("{payload}{payload}"),
    ] {
        assert_ne!(bad, payload);
        refused(with_payload(bad.into_bytes(), files.clone()), "manifest_malformed");
    }
}

#[test]
fn bounds_beyond_those_of_the_root() {
    // Clause B-7.
    refused(with_manifest(|manifest| manifest.bounds.irreversible = 31), "bounds_beyond_root");
    refused(with_manifest(|manifest| manifest.bounds.read = 0), "bounds_beyond_root");
    let mut content = root_content();
    content.bounds_max.read = 60;
    let strict = signed().verify(&root_of(&content), &MESH, &acme(), NOW).map(|_| ()).map_err(|r| r.reason_code());
    assert_eq!(strict, Err("bounds_beyond_root"));
}

#[test]
fn what_this_version_cannot_evaluate() {
    // Clause B-8.
    let unsupported = |change: fn(&mut remit_common::bundle::Manifest)| refused(with_manifest(change), "unsupported");
    unsupported(|manifest| manifest.format = 2);
    unsupported(|manifest| {
        manifest.engines.insert("rego".to_owned(), "1".to_owned());
    });
    unsupported(|manifest| {
        manifest.engines.insert("cedar".to_owned(), "5".to_owned());
    });
    unsupported(|manifest| {
        manifest.combination.insert("default".to_owned(), "all-of".to_owned());
    });
    unsupported(|manifest| {
        manifest.combination.insert("tickets".to_owned(), "any-permit".to_owned());
    });
    refused(with_manifest(|manifest| manifest.engines.clear()), "manifest_malformed");
    refused(with_manifest(|manifest| manifest.combination.clear()), "manifest_malformed");
}

#[test]
fn a_grade_of_proof_too_low_for_what_the_tool_does() {
    // Clause B-15: what can be called with a copy of an envelope only reads.
    let with = |grade: &str| {
        let line = format!("open = true\nmin_pop = \"{grade}\"");
        signed_by(
            built(&sources_with("catalogue/notes.toml", |text| text.replace("open         = true", &line))),
            &[6, 7],
        )
    };
    for grade in ["none", "P0"] {
        let rejected = not_compiled(with(grade));
        assert!(rejected.to_string().contains(&format!("`{grade}` is too little proof")), "{rejected}");
    }
    for grade in ["P1", "P2"] {
        assert!(verified(with(grade)).unwrap().compile().is_ok(), "{grade}");
    }
}

#[test]
fn a_canary_that_is_answered_otherwise() {
    // Clause B-14.
    let wrong = |from: &str, to: &str| {
        let sources = sources_with("canaries.yaml", |text| text.replacen(from, to, 1));
        not_compiled(signed_by(built(&sources), &[6, 7]))
    };
    let rejected = wrong("expect: permit", "expect: forbidden");
    let (expected, found) = (Reason::Forbidden, Reason::Permit);
    assert!(matches!(rejected, BundleRejected::Canary { expected: e, found: f, .. } if (e, f) == (expected, found)));
    assert_eq!(wrong("policies: [notes.read]", "policies: [notes.send]").reason_code(), "canary_failed");
    assert_eq!(wrong("dimension: customer", "dimension: contract").reason_code(), "canary_failed");
    assert_eq!(wrong("purpose: review", "purpose: nothing").reason_code(), "bad_canary");
    // The policy changed, the canaries did not.
    let sources = sources_with("policies/notes.cedar", |text| text.replace("\"mallory\"", "\"maya\""));
    let sources = remit_common::bundle::BundleSource {
        files: {
            let mut files = sources.files;
            let entities = String::from_utf8(files["entities.json"].clone()).unwrap().replace("mallory", "maya");
            files.insert("entities.json".to_owned(), entities.into_bytes());
            files
        },
    };
    assert_eq!(not_compiled(signed_by(built(&sources), &[6, 7])).reason_code(), "canary_failed");
}

#[test]
fn sources_that_do_not_compile() {
    let sources =
        sources_with("policies/notes.cedar", |text| text.replace("Action::\"notes.send\"", "Action::\"nots\""));
    let rejected = not_compiled(signed_by(built(&sources), &[6, 7]));
    let BundleRejected::Policy { faults } = rejected else { panic!("{rejected}") };
    assert_eq!(faults[0].file, "policies/notes.cedar");
}

#[test]
fn the_bundles_own_limits_come_before_its_policy() {
    // Clause B-9.
    let compiled = verified(signed()).unwrap().compile().unwrap();
    let grant: GrantRequest = serde_json::from_value(serde_json::json!({
        "tools": ["notes.read"], "effects": ["read"], "classes": ["note"], "ids": { "customer": ["c1"] }
    }))
    .unwrap();
    let agent: AgentIdentity =
        AgentIdentity { id: "agent-1".parse().unwrap(), class: "analyst".parse().unwrap(), attestation: None };
    let good = Authority {
        tenant: acme(),
        delegator: "maya".parse().unwrap(),
        session: "s".parse().unwrap(),
        task: "t".parse().unwrap(),
        agent: agent.id.clone(),
        class: agent.class.clone(),
        chain_agents: vec![agent],
        purpose: compiled.policy().taxonomy().purpose("review").unwrap(),
        not_before: NOW,
        expires: at(60),
        depth_left: 0,
        fanout_max: 8,
        offline: false,
        audience: Audience::EVERYWHERE,
        demands: Demands::NONE,
        chain_depth: 4,
        scope: Scope::root(vec![grant.resolve(0, compiled.policy().taxonomy()).unwrap()]).unwrap(),
        min_bundle_version: BundleVersion(7),
        taxonomy_version: 1,
        catalogue_version: 7,
    };
    let arguments = Json::object([("customer", Json::text("c1"))]);
    let call = ToolCall { tool: "notes.read".parse().unwrap(), arguments };
    let check = |change: fn(&mut Authority), expected| {
        let mut authority = good.clone();
        change(&mut authority);
        let found = match compiled.decide(&authority, &call, &Relations::none(), NOW) {
            Decision::Permit(_) => (Reason::Permit, None),
            Decision::Deny(denied) => (denied.reason, denied.hop),
        };
        assert_eq!(found, expected);
    };
    check(|_| {}, (Reason::Permit, None));
    check(|authority| authority.chain_depth = 5, (Reason::OutOfScope, Some(4)));
    check(|authority| authority.min_bundle_version = BundleVersion(8), (Reason::Stale, None));
    check(|authority| authority.tenant = "other".parse().unwrap(), (Reason::NoMatchingPolicy, None));
}

#[test]
fn a_number_of_a_purpose_keeps_its_meaning() {
    // Clause B-16.
    let compiled = |number: u64, purposes: &str| {
        let mut sources = sources();
        sources.files.insert("purposes.toml".to_owned(), purposes.as_bytes().to_vec());
        let overrides = BuildOverrides { version: Some(number), ..BuildOverrides::default() };
        let bundle = sources.build(&overrides).unwrap().into_container();
        verified(signed_by(bundle, &[6, 7])).unwrap().compile().unwrap()
    };
    let review = "[[purpose]]\nnumber = 1\nname = \"review\"\n";
    let seven = compiled(7, &format!("version = 1\n{review}"));
    let moved = "version = 1\n[[purpose]]\nnumber = 2\nname = \"review\"\n";
    let eight = compiled(8, moved);
    assert_eq!(eight.check_taxonomy(&seven).map_err(|rejected| rejected.reason_code()), Err("taxonomy_broken"));
    assert_eq!(compiled(8, &format!("version = 1\n{review}")).check_taxonomy(&seven), Ok(()));
    // Going back to a fallback asks nothing: its successor was asked.
    assert_eq!(seven.check_taxonomy(&eight), Ok(()));
}

static GOOD: LazyLock<Vec<u8>> = LazyLock::new(|| signed().to_bytes());

proptest! {
    #[test]
    fn a_mutated_container_never_verifies_as_something_else(at in any::<prop::sample::Index>(), byte: u8) {
        let mut bytes = GOOD.clone();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(bundle) = SignedBundle::parse(&bytes) {
            let good = SignedBundle::parse(&GOOD).unwrap();
            let same = bundle == good;
            let manifest = verify_manifest(bundle.parts().0, &root(), &MESH, &acme(), NOW);
            prop_assert_eq!(manifest.is_ok(), bundle.parts().0 == good.parts().0);
            prop_assert_eq!(verified(bundle).is_ok(), same);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), like: bool) {
        let bytes = if like { [b"REMITBDL\0\x01".as_slice(), &bytes].concat() } else { bytes };
        prop_assert!(SignedBundle::parse(&bytes).is_err());
    }

    #[test]
    fn reads_back_what_it_wrote(files in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..8), seeds in prop::collection::vec(0u8..20, 0..5)) {
        let bundle = signed_by(SignedBundle::from_parts(SignedBundle::parse(&GOOD).unwrap().parts().0.clone(), files), &seeds);
        prop_assert_eq!(SignedBundle::parse(&bundle.to_bytes()), Ok(bundle));
    }
}
