//! Named after the attacks of TUF's list, on the real verifier.

use super::super::fixture::{MESH, NOW, acme, at, key, root, root_content, signed_root};
use super::*;
use crate::text;

fn content() -> OfflineContent {
    OfflineContent {
        mesh_id: MESH,
        tenant: acme(),
        tick: LogIndex(70),
        epoch: RevocationEpoch(4),
        bounds: BTreeMap::from([(Effect::Read, 86_400), (Effect::Write, 3_600)]),
        created: NOW,
        expires: at(86_400),
    }
}

fn signed(content: OfflineContent, seeds: &[u8]) -> SignedOffline {
    let mut signed = SignedOffline::unsigned(&content).unwrap();
    seeds.iter().for_each(|seed| signed.sign(&key(*seed)));
    signed
}

fn verified(signed: &SignedOffline, now: Timestamp) -> Result<OfflineAuthorization, TrustRefused> {
    SignedOffline::parse(&signed.to_bytes())?.verify(&root(), &acme(), now)
}

fn authorization() -> OfflineAuthorization {
    verified(&signed(content(), &[6, 7]), NOW).unwrap()
}

/// Clause T-63. Another member, or another order, is another version of the type.
#[test]
fn the_payload_is_golden() {
    let payload = dsse::encode(&content()).unwrap();
    let expected = [
        r#"{"mesh_id":"11111111111111111111111111111111","tenant":"acme","tick":70,"epoch":4,"#,
        r#""bounds":{"read":86400,"write":3600},"created":1793491200000,"expires":1793577600000}"#,
    ]
    .concat();
    assert_eq!(String::from_utf8(payload).unwrap(), expected);
}

/// Clause T-64.
#[test]
fn arbitrary_installation_and_wrong_threshold() {
    let too_few = |found| TrustRefused::from(NotVerified::NotEnoughSignatures { found, needed: 2 });
    for (seeds, found) in [(&[][..], 0), (&[6], 1), (&[6, 6], 1), (&[1, 2], 0), (&[4, 5], 0), (&[6, 41], 1)] {
        assert_eq!(verified(&signed(content(), seeds), NOW), Err(too_few(found)), "{seeds:?}");
    }
    assert!(verified(&signed(content(), &[6, 7]), NOW).is_ok());
    assert!(verified(&signed(content(), &[6, 7, 8]), NOW).is_ok());
}

/// Clause T-64.
#[test]
fn a_signature_counts_once_and_for_what_it_was_made() {
    let signers = |signed: &SignedOffline| signed.signers(root().policy_role(&acme()).unwrap()).len();
    assert_eq!(signers(&signed(content(), &[6, 6, 7, 1])), 2);
    // What two administrators signed for another life is not what this says.
    let longer = OfflineContent { expires: at(2 * 86_400), ..content() };
    let (short, long) = (signed(content(), &[6, 7]), signed(longer, &[]));
    let payload = |signed: &SignedOffline| text::base64(&signed.envelope.payload);
    let moved = String::from_utf8(short.to_bytes()).unwrap().replace(&payload(&short), &payload(&long));
    let moved = SignedOffline::parse(moved.as_bytes()).unwrap();
    assert!(matches!(verified(&moved, NOW), Err(TrustRefused::NotVerified(_))));
    assert_eq!(signers(&moved), 0);
}

#[test]
fn mix_and_match_of_meshes_tenants_and_kinds() {
    // Clause T-64.
    let other = OfflineContent { mesh_id: MeshId([0x22; 16]), ..content() };
    assert_eq!(verified(&signed(other, &[6, 7]), NOW), Err(TrustRefused::WrongMesh));
    let other = OfflineContent { tenant: "globex".parse().unwrap(), ..content() };
    assert!(matches!(verified(&signed(other, &[6, 7]), NOW), Err(TrustRefused::BadEntry { .. })));
    let globex = "globex".parse().unwrap();
    assert!(matches!(signed(content(), &[6, 7]).verify(&root(), &globex, NOW), Err(TrustRefused::BadRole { .. })));
    let mut manifest = Envelope::new("application/vnd.remit.manifest.v1+json", dsse::encode(&content()).unwrap());
    [6, 7].iter().for_each(|seed| manifest.sign(&key(*seed)));
    assert_eq!(SignedOffline::parse(&manifest.to_bytes()), Err(NotVerified::WrongType.into()));
}

#[test]
fn expired_metadata_and_metadata_from_the_future() {
    // Clause T-64.
    let signed = signed(content(), &[6, 7]);
    assert!(verified(&signed, at(86_399)).is_ok());
    assert!(matches!(verified(&signed, at(86_400)), Err(TrustRefused::Expired { .. })));
    assert!(verified(&signed, at(-300)).is_ok(), "clocks differ");
    assert!(matches!(verified(&signed, at(-301)), Err(TrustRefused::FromTheFuture { .. })));
    assert!(matches!(verified(&signed, at(301 * 86_400)), Err(TrustRefused::Expired { what: "root", .. })));
}

#[test]
fn key_compromise_ends_with_the_next_root() {
    // Clause T-64.
    let signed = signed(content(), &[6, 7]);
    let mut next = root_content();
    next.version = 2;
    next.policy.insert(acme(), super::super::fixture::role(&[8, 9], 2));
    let next = signed_root(&next, &[1, 2]).verify_next(&root()).unwrap();
    assert!(signed.verify(&root(), &acme(), NOW).is_ok());
    assert!(matches!(signed.verify(&next, &acme(), NOW), Err(TrustRefused::NotVerified(_))));
}

#[test]
fn endless_data_and_what_breaks_a_rule() {
    // Clause T-63.
    let refused = |content| SignedOffline::unsigned(&content).unwrap_err().reason_code();
    assert_eq!(refused(OfflineContent { expires: NOW, ..content() }), "life_too_long");
    assert_eq!(refused(OfflineContent { expires: at(7 * 86_400 + 1), ..content() }), "life_too_long");
    assert!(SignedOffline::unsigned(&OfflineContent { expires: at(7 * 86_400), ..content() }).is_ok());
    let never = [Effect::Irreversible, Effect::Spend, Effect::ExternalSend];
    let never = never.map(|effect| vec![(Effect::Read, 60), (effect, 60)]);
    for bounds in [vec![], vec![(Effect::Read, 0)], vec![(Effect::Read, 86_401)]].into_iter().chain(never) {
        assert_eq!(refused(OfflineContent { bounds: bounds.into_iter().collect(), ..content() }), "bad_entry");
    }
    let bytes = signed(content(), &[6, 7]).to_bytes();
    let long = [&bytes[..], &vec![b' '; OFFLINE_AUTHORIZATION_BYTES_MAX]].concat();
    assert!(matches!(SignedOffline::parse(&long), Err(TrustRefused::Malformed(_))));
    for payload in [
        r#"{"mesh_id":"11111111111111111111111111111111"}"#.to_owned(),
        String::from_utf8(dsse::encode(&content()).unwrap()).unwrap().replace(r#""tick":70"#, r#""tick":70,"tick":70"#),
        String::from_utf8(dsse::encode(&content()).unwrap()).unwrap().replace(r#""tick":70"#, r#""tick":70,"more":1"#),
        String::from_utf8(dsse::encode(&content()).unwrap()).unwrap().replace("write", "everything"),
    ] {
        let envelope = Envelope::new(OFFLINE_TYPE, payload.clone().into_bytes());
        assert!(SignedOffline::parse(&envelope.to_bytes()).unwrap().read().is_err(), "{payload}");
        let mut signed = envelope.clone();
        [6, 7].iter().for_each(|seed| signed.sign(&key(*seed)));
        let verified = verified(&SignedOffline::parse(&signed.to_bytes()).unwrap(), NOW);
        assert!(!matches!(verified, Ok(_) | Err(TrustRefused::NotVerified(_))), "{payload}");
    }
}

#[test]
fn each_effect_goes_on_for_as_long_as_its_bound_says() {
    // Clause T-65.
    let offline = authorization();
    let allows = |effects: &[Effect], now| offline.allows(effects.iter().copied().collect(), now);
    assert_eq!(
        allows(&[Effect::Read], at(60)),
        Some(Fresh { age: Duration::from_secs(60), left: Duration::from_secs(86_340) })
    );
    assert!(allows(&[Effect::Write], at(3_599)).is_some());
    assert_eq!(allows(&[Effect::Write], at(3_600)), None);
    assert_eq!(allows(&[Effect::Read, Effect::Write], at(3_600)), None, "the strictest effect binds");
    assert_eq!(allows(&[Effect::Spend], at(1)), None, "what is not named does not go on");
    assert_eq!(allows(&[Effect::Read, Effect::Spend], at(1)), None);
    assert_eq!(allows(&[], at(1)), None, "a call without effects has no bound");
    assert_eq!(allows(&[Effect::Read], at(86_400)), None, "expired");
    assert_eq!(allows(&[Effect::Read], at(-301)), None, "a clock that was set back");
}
