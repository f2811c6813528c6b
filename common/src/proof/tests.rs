//! Golden bytes, and what an attacker may try.

use std::fmt::Write as _;
use std::time::Duration;

use proptest::prelude::*;
use zeroize::Zeroizing;

use super::*;
use crate::crypto::digest::Digest;
use crate::crypto::sign::{Signature, SigningKey};
use crate::envelope::{RawPresentation, read_reference, reference};
use crate::id::{EdgeId, LinkId, MeshId};
use crate::limits::CREDENTIAL_SHOWN_BYTES_MAX;
use crate::text;
use crate::time::{BootTime, Now, Timestamp};

const MESH: MeshId = MeshId([0x5e; 16]);
const BASE: u64 = 70;
const LIFE: Duration = Duration::from_secs(600);

fn now(millis: u64) -> Now {
    Now { wall: Timestamp::from_millis(1_795_219_200_000 + millis), boot: BootTime::from_millis(4_000 + millis) }
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(Zeroizing::new([seed; 32])).unwrap()
}

fn holder() -> SigningKey {
    key(61)
}

fn edge_key(edge: &str, seed: u8) -> EdgeKey {
    EdgeKey { mesh: MESH, edge: EdgeId::new(edge).unwrap(), key: *key(seed).public() }
}

fn leaf() -> LinkId {
    LinkId(Digest([0x11; 32]))
}

fn opening_at(edge: &str) -> Opening {
    Opening::new(edge_key(edge, 31), leaf(), &holder(), now(0), (&Zeroizing::new([1; 32]), [2; 16])).unwrap()
}

fn opening() -> Opening {
    opening_at("eu-west-1")
}

fn answer(body: &[u8], seed: u8, channel: u8) -> Result<(Acceptor, Vec<u8>), ProofRefused> {
    let raw = RawRequest::parse(body)?;
    let edge = raw.request().edge.clone();
    raw.check_place_and_time(&MESH, &edge, now(0).wall)?;
    let with = Answering {
        key: &key(seed),
        channel: ChannelId([channel; 16]),
        ephemeral: &Zeroizing::new([3; 32]),
        nonce: [4; 16],
        base: BASE,
        life: LIFE,
    };
    raw.verify(&leaf(), holder().public())?.answer(&with, now(0))
}

fn open() -> (HeldChannel, Acceptor) {
    let opening = opening();
    let (acceptor, answer) = answer(opening.body(), 31, 5).unwrap();
    (opening.finish(&answer).unwrap(), acceptor)
}

const BODY: &[u8] = br#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#;

fn call<'a>(name: &'a str, body: &'a [u8]) -> Exchange<'a> {
    Exchange { target: Target::Mcp { method: "tools/call", name, definition: None }, body, idempotency_key: b"" }
}

fn prove(held: &mut HeldChannel, grade: Grade, exchange: &Exchange<'_>) -> Proof {
    let header = held.prove(grade, &holder(), exchange, now(100).boot, [6; 16]);
    Proof::parse(header.as_bytes()).unwrap()
}

#[test]
fn bytes_stay_as_they_are() {
    let opening = opening();
    let (mut acceptor, answered) = answer(opening.body(), 31, 5).unwrap();
    let mut golden = String::new();
    let mut line = |name: &str, bytes: &[u8]| writeln!(golden, "{name} {}", text::hex(bytes)).unwrap();
    line("request", opening.body());
    line("answer", &answered);
    let mut held = opening.finish(&answered).unwrap();
    let exchange = call("crm.read", BODY);
    let binding = Binding {
        mesh: &MESH,
        channel: &ChannelId([5; 16]),
        edge: &EdgeId::new("eu-west-1").unwrap(),
        leaf: &leaf(),
        counter: BASE + 1,
        time: now(100).wall,
        salt: &[6; 16],
        exchange,
    };
    line("binding", &binding.to_bytes());
    let http = Target::Http { method: "POST", path: "/t/acme/x", query: "a=b", content_type: "text/plain" };
    let http = Exchange { target: http, body: b"", idempotency_key: b"key-1" };
    line("binding-http", &Binding { exchange: http, ..binding }.to_bytes());
    for (name, grade) in [("header-p1", Grade::P1), ("header-p2", Grade::P2)] {
        let header = held.prove(grade, &holder(), &exchange, now(100).boot, [6; 16]);
        assert_eq!(acceptor.accept(&Proof::parse(header.as_bytes()).unwrap(), &exchange, now(120).boot), Ok(grade));
        writeln!(golden, "{name} {header}").unwrap();
    }
    writeln!(golden, "reference {}", text::hex(&reference(&leaf()))).unwrap();
    assert_eq!(golden, include_str!("golden.txt"), "\n{golden}");
}

/// Clause X-22: the version of the request that shows who the holder is, beside the one that does not.
#[test]
fn a_request_that_shows_an_identity_has_these_bytes_and_both_versions_are_read() {
    let random = || (Zeroizing::new([1; 32]), [2; 16]);
    let svid = vec![0x30; 40];
    let (key, nonce) = random();
    let showing =
        Opening::showing(edge_key("eu-west-1", 31), leaf(), &holder(), now(0), (&key, nonce), Some(svid.clone()))
            .unwrap();
    let golden = include_str!("golden-showing.txt");
    assert_eq!(format!("request-2 {}\n", text::hex(showing.body())), golden);
    let read = RawRequest::parse(showing.body()).unwrap();
    assert_eq!(read.request().svid.as_ref(), Some(&svid));
    let plain = opening();
    assert_eq!(RawRequest::parse(plain.body()).unwrap().request().svid, None);
    // The identity is signed for, too, and every byte counts.
    for at in 0..showing.body().len() {
        let mut bent = showing.body().to_vec();
        bent[at] ^= 1;
        let counts = RawRequest::parse(&bent).is_ok_and(|request| request.verify(&leaf(), holder().public()).is_ok());
        assert!(!counts, "byte {at}");
    }
    // No room for more than an identity, and none for more of anything else.
    let long = |bytes: usize| {
        let opening =
            Opening::showing(edge_key("eu-west-1", 31), leaf(), &holder(), now(0), (&key, nonce), Some(vec![0; bytes]));
        RawRequest::parse(opening.unwrap().body()).is_ok()
    };
    assert!(long(CREDENTIAL_SHOWN_BYTES_MAX) && !long(CREDENTIAL_SHOWN_BYTES_MAX + 1));
}

/// The binding, written a second time from clause X-6.
#[test]
fn the_binding_is_what_the_clause_says() {
    let salt = [6; 16];
    let mut expected = Vec::new();
    let target: Vec<u8> = [&b"\0\0\0\x0atools/call"[..], b"\0\0\0\x08crm.read", b"\0\0\0\0"].concat();
    for part in [
        &b"remit/pop/v1"[..],
        &[0x5e; 16],
        &[5; 16],
        b"eu-west-1",
        &[0x11; 32],
        &[0, 0, 0, 0, 0, 0, 1, 2],
        &[0, 0, 0, 0, 0, 0, 3, 4],
        b"mcp",
        &target,
        &salt,
        &Digest::of(&[&salt, BODY]).0,
        b"idem",
    ] {
        expected.extend_from_slice(&u32::try_from(part.len()).unwrap().to_be_bytes());
        expected.extend_from_slice(part);
    }
    let binding = Binding {
        mesh: &MESH,
        channel: &ChannelId([5; 16]),
        edge: &EdgeId::new("eu-west-1").unwrap(),
        leaf: &leaf(),
        counter: 258,
        time: Timestamp::from_millis(772),
        salt: &salt,
        exchange: Exchange { idempotency_key: b"idem", ..call("crm.read", BODY) },
    };
    assert_eq!(binding.to_bytes(), expected);
}

#[test]
fn a_proof_counts_once_and_only_for_its_request() {
    let (mut held, mut acceptor) = open();
    let exchange = call("crm.read", BODY);
    for grade in [Grade::P1, Grade::P2] {
        let proof = prove(&mut held, grade, &exchange);
        let changed = [
            call("crm.write", BODY),
            call("crm.read", b"{}"),
            Exchange { idempotency_key: b"k", ..exchange },
            Exchange { target: Target::Mcp { method: "tools/list", name: "crm.read", definition: None }, ..exchange },
            Exchange {
                target: Target::Mcp { method: "tools/call", name: "crm.read", definition: Some(Digest::default()) },
                ..exchange
            },
            // The same texts, cut elsewhere.
            Exchange { target: Target::Mcp { method: "tools/callc", name: "rm.read", definition: None }, ..exchange },
            Exchange {
                target: Target::Http { method: "tools/call", path: "crm.read", query: "", content_type: "" },
                ..exchange
            },
        ];
        for changed in changed {
            let refused = acceptor.accept(&proof, &changed, now(110).boot);
            assert_eq!(refused, Err(ProofRefused::Evidence), "{changed:?}");
        }
        // What did not match has used nothing up.
        assert_eq!(acceptor.accept(&proof, &exchange, now(110).boot), Ok(grade));
        assert_eq!(acceptor.accept(&proof, &exchange, now(110).boot), Err(ProofRefused::Replayed));
    }
}

#[test]
fn a_proof_is_void_at_another_edge_after_a_restart_and_for_another_leaf() {
    let (mut held, _) = open();
    let exchange = call("crm.read", BODY);
    let tag = prove(&mut held, Grade::P1, &exchange);
    let signature = prove(&mut held, Grade::P2, &exchange);

    // Another edge; even one that gives its channel the same name and uses the same ephemeral key.
    let elsewhere = opening_at("eu-west-2");
    let (mut other, _) = answer(elsewhere.body(), 32, 5).unwrap();
    for proof in [&tag, &signature] {
        assert_eq!(other.accept(proof, &exchange, now(110).boot), Err(ProofRefused::Evidence));
    }
    // The same edge after a restart: another channel, and the same name would not help either.
    let random = (&Zeroizing::new([9; 32]), [8; 16]);
    let again = Opening::new(edge_key("eu-west-1", 31), leaf(), &holder(), now(0), random).unwrap();
    let (mut restarted, _) = answer(again.body(), 31, 7).unwrap();
    assert_eq!(restarted.accept(&tag, &exchange, now(110).boot), Err(ProofRefused::UnknownChannel));
    let (mut restarted, _) = answer(again.body(), 31, 5).unwrap();
    assert_eq!(restarted.accept(&tag, &exchange, now(110).boot), Err(ProofRefused::Evidence));
    // Another envelope of the same holder.
    let other_leaf = LinkId(Digest([0x12; 32]));
    let random = (&Zeroizing::new([1; 32]), [2; 16]);
    let other = Opening::new(edge_key("eu-west-1", 31), other_leaf, &holder(), now(0), random).unwrap();
    let raw = RawRequest::parse(other.body()).unwrap();
    assert_eq!(raw.clone().verify(&leaf(), holder().public()).map(|_| ()), Err(ProofRefused::OtherLeaf));
    let with = Answering {
        key: &key(31),
        channel: ChannelId([5; 16]),
        ephemeral: &Zeroizing::new([3; 32]),
        nonce: [4; 16],
        base: BASE,
        life: LIFE,
    };
    let (mut other, _) = raw.verify(&other_leaf, holder().public()).unwrap().answer(&with, now(0)).unwrap();
    for proof in [&tag, &signature] {
        assert_eq!(other.accept(proof, &exchange, now(110).boot), Err(ProofRefused::Evidence));
    }
}

#[test]
fn a_channel_ends_and_its_proofs_do_not_keep() {
    let (mut held, mut acceptor) = open();
    let exchange = call("crm.read", BODY);
    let proof = prove(&mut held, Grade::P1, &exchange);
    let at = |secs: u64, millis: u64| BootTime::from_millis(4_100 + secs * 1_000 + millis);
    let mut check = |when, expected: Result<Grade, ProofRefused>| {
        assert_eq!(acceptor.accept(&proof, &exchange, when), expected, "{when:?}");
    };
    check(at(30, 1), Err(ProofRefused::Time { apart_secs: 30 }));
    check(at(300, 0), Err(ProofRefused::Time { apart_secs: 300 }));
    check(BootTime::from_millis(604_000), Err(ProofRefused::UnknownChannel));
    check(at(30, 0), Ok(Grade::P1));
    assert!(held.is_open(BootTime::from_millis(603_999)) && !held.is_open(BootTime::from_millis(604_000)));
}

#[test]
fn clocks_that_are_apart_open_no_channel() {
    let opening = opening();
    let raw = RawRequest::parse(opening.body()).unwrap();
    let edge = EdgeId::new("eu-west-1").unwrap();
    let wall = now(0).wall;
    let check = |now, expected| assert_eq!(raw.check_place_and_time(&MESH, &edge, now), expected);
    check(wall.plus(Duration::from_secs(30)), Ok(()));
    check(wall.minus(Duration::from_secs(30)), Ok(()));
    check(wall.plus(Duration::from_millis(30_001)), Err(ProofRefused::Time { apart_secs: 30 }));
    check(wall.minus(Duration::from_secs(60)), Err(ProofRefused::Time { apart_secs: 60 }));
    let other = EdgeId::new("eu-west-2").unwrap();
    assert_eq!(raw.check_place_and_time(&MESH, &other, wall), Err(ProofRefused::OtherEdge));
    assert_eq!(raw.check_place_and_time(&MeshId([1; 16]), &edge, wall), Err(ProofRefused::OtherEdge));
}

#[test]
fn only_the_edge_that_was_asked_answers() {
    // Another edge's key, and an answer to another request.
    let opening = opening();
    let (_, answered) = answer(opening.body(), 32, 5).unwrap();
    let refused = opening.finish(&answered).map(|_| ()).unwrap_err();
    assert!(matches!(refused, CannotOpen::Answer(ProofRefused::Signature(_))), "{refused:?}");
    let (_, answered) = answer(self::opening().body(), 31, 5).unwrap();
    let random = (&Zeroizing::new([1; 32]), [3; 16]);
    let later = Opening::new(edge_key("eu-west-1", 31), leaf(), &holder(), now(0), random).unwrap();
    assert!(later.finish(&answered).is_err());
}

#[test]
fn a_signature_of_one_kind_is_none_of_another() {
    let (mut held, mut acceptor) = open();
    let exchange = call("crm.read", BODY);
    let proof = prove(&mut held, Grade::P2, &exchange);
    let opening = opening();
    let raw = RawRequest::parse(opening.body()).unwrap();
    // The signature of the request, shown as a proof; and the bytes of the request signed without its label.
    let request = super::channel::ChannelRequest::to_bytes(raw.request());
    for signature in [holder().sign(&request), Signature([7; 64])] {
        let forged = Proof { evidence: Evidence::Signature(signature), ..proof.clone() };
        assert_eq!(acceptor.accept(&forged, &exchange, now(110).boot), Err(ProofRefused::Evidence));
    }
    let Evidence::Signature(shown) = proof.evidence else { panic!("a signature") };
    let mut body = opening.body().to_vec();
    let at = body.len() - 64;
    body.splice(at.., shown.0);
    let refused = RawRequest::parse(&body).unwrap().verify(&leaf(), holder().public()).map(|_| ());
    assert!(matches!(refused, Err(ProofRefused::Signature(_))), "{refused:?}");
}

#[test]
fn an_ephemeral_key_of_small_order_opens_nothing() {
    let opening = opening();
    let raw = RawRequest::parse(opening.body()).unwrap();
    let mut one = [0; 32];
    one[0] = 1;
    for ephemeral in [[0; 32], one] {
        let request = ChannelRequest { ephemeral, ..raw.request().clone() };
        assert_eq!(answer(&request.sign(&holder()), 31, 5).map(|_| ()), Err(ProofRefused::Agreement));
    }
}

#[test]
fn references_are_read_in_their_one_form() {
    let bytes = reference(&leaf());
    assert_eq!((bytes.len(), read_reference(&bytes)), (36, Some(leaf())));
    assert_eq!(text::base64url(&bytes).len(), 48);
    for at in 0..4 {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        assert_eq!(read_reference(&changed), None, "{at}");
    }
    assert_eq!(read_reference(&bytes[..35]), None);
    assert_eq!(read_reference(&[&bytes[..], &[0]].concat()), None);
}

#[test]
fn second_encodings_are_refused() {
    let (mut held, _) = open();
    let header = held.prove(Grade::P1, &holder(), &call("x", b""), now(0).boot, [0; 16]);
    let bytes = text::from_base64url(&header).unwrap();
    let check = |bytes: &[u8], expected: MalformedProof| {
        assert_eq!(Proof::parse(text::base64url(bytes).as_bytes()), Err(expected), "{}", text::hex(bytes));
    };
    // Array head, version, grade, channel head.
    assert_eq!(&bytes[..4], &[0x88, 1, 1, 0x50]);
    check(&[&[0x98, 8][..], &bytes[1..]].concat(), MalformedProof::NotDeterministic);
    check(&[&[0x88, 0x18, 1][..], &bytes[2..]].concat(), MalformedProof::NotDeterministic);
    check(&[&[0x9f][..], &bytes[1..], &[0xff]].concat(), MalformedProof::Shape { at: "array" });
    check(&[&bytes[..], &[0]].concat(), MalformedProof::Shape { at: "end" });
    check(&[&[0x88, 2][..], &bytes[2..]].concat(), MalformedProof::Shape { at: "version" });
    check(&[&[0x88, 1, 3][..], &bytes[3..]].concat(), MalformedProof::Shape { at: "grade" });
    check(&[&[0x88, 1, 2][..], &bytes[3..]].concat(), MalformedProof::Shape { at: "evidence" });
    check(&[&[0x88, 1, 0][..], &bytes[3..]].concat(), MalformedProof::Shape { at: "grade" });
    check(&bytes[..bytes.len() - 1], MalformedProof::Shape { at: "evidence" });
    assert_eq!(Proof::parse(b"AAA="), Err(MalformedProof::Encoding));
    assert_eq!(Proof::parse(&[b'A'; 400]), Err(MalformedProof::TooLong { bytes_max: 256 }));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever single byte of a header is changed, the proof does not count; unchanged, it does.
    #[test]
    fn a_changed_header_does_not_count(at in 0usize..150, flip in 1u8..=255, is_signed in any::<bool>()) {
        let (mut held, mut acceptor) = open();
        let exchange = call("crm.read", BODY);
        let grade = if is_signed { Grade::P2 } else { Grade::P1 };
        let header = held.prove(grade, &holder(), &exchange, now(100).boot, [6; 16]);
        let mut bytes = text::from_base64url(&header).unwrap();
        let at = at % bytes.len();
        bytes[at] ^= flip;
        if let Ok(changed) = Proof::parse(text::base64url(&bytes).as_bytes()) {
            let exchange = Exchange {
                target: Target::Mcp { method: "tools/call", name: "crm.read", definition: changed.definition },
                ..exchange
            };
            prop_assert!(acceptor.accept(&changed, &exchange, now(110).boot).is_err(), "byte {at}");
        }
        let proof = Proof::parse(header.as_bytes()).unwrap();
        prop_assert_eq!(acceptor.accept(&proof, &exchange, now(110).boot), Ok(grade));
    }

    /// Whatever byte of the body is changed, added or left out.
    #[test]
    fn a_changed_body_does_not_count(at in 0usize..BODY.len(), flip in 1u8..=255, kind in 0u8..3) {
        let (mut held, mut acceptor) = open();
        let proof = prove(&mut held, Grade::P1, &call("crm.read", BODY));
        let mut body = BODY.to_vec();
        match kind {
            0 => body[at] ^= flip,
            1 => body.insert(at, flip),
            _ => _ = body.remove(at),
        }
        prop_assert_eq!(acceptor.accept(&proof, &call("crm.read", &body), now(110).boot), Err(ProofRefused::Evidence));
    }

    /// Whatever byte of a request or an answer is changed: no channel, on either side.
    #[test]
    fn a_changed_handshake_opens_nothing(at in 0usize..400, flip in 1u8..=255) {
        let opening = opening();
        let (_, mut answered) = answer(opening.body(), 31, 5).unwrap();
        let mut body = opening.body().to_vec();
        let place = at % body.len();
        body[place] ^= flip;
        prop_assert!(answer(&body, 31, 5).is_err(), "byte {place} of the request");
        let place = at % answered.len();
        answered[place] ^= flip;
        prop_assert!(opening.finish(&answered).is_err(), "byte {place} of the answer");
    }

    /// In any order, each proof counts at most once, and all within the window count.
    #[test]
    fn proofs_in_any_order_count_once(order in prop::collection::vec(0usize..40, 1..120)) {
        let (mut held, mut acceptor) = open();
        let exchange = call("crm.read", BODY);
        let proofs: Vec<Proof> = (0..40).map(|_| prove(&mut held, Grade::P1, &exchange)).collect();
        let mut seen = std::collections::BTreeSet::new();
        for at in order {
            let expected = if seen.insert(at) { Ok(Grade::P1) } else { Err(ProofRefused::Replayed) };
            prop_assert_eq!(acceptor.accept(&proofs[at], &exchange, now(110).boot), expected);
        }
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Proof::parse(&bytes);
        let _ = Proof::parse(text::base64url(&bytes).as_bytes());
        let _ = RawRequest::parse(&bytes);
        let _ = read_reference(&bytes);
        let _ = RawPresentation::parse(&bytes).map(|presentation| presentation.leaf_id(&MESH));
        let _ = opening().finish(&bytes);
    }
}
