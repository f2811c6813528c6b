//! Golden bytes of every message, and what a hostile peer can do to the decoders: nothing.

use proptest::prelude::*;
use zeroize::Zeroizing;

use super::batch::RecordBatch;
use super::frame::{self, Decoded, FORMAT_VERSION, Frame, HEADER_BYTES, MAGIC, PeerMisbehaved};
use super::message::*;
use super::proof::{Attestation, Covered};
use crate::crypto::digest::Digest;
use crate::crypto::sign::{Signature, SigningKey};
use crate::id::{BootId, CredentialId, EdgeId, KeyId, LogIndex, MeshId, RevocationEpoch, TenantId, VoterId};
use crate::identity::signed_request::SignedRequest;
use crate::limits::{FRAME_BYTES_MAX, RECORD_BATCH_BYTES_MAX, RECORD_BYTES_MAX};
use crate::record::RecordHead;
use crate::revocation::{Cut, CutKind, Revocation};
use crate::text::{from_hex, hex};
use crate::time::Timestamp;
use crate::trust::activation::Activation;
use crate::trust::merkle::InclusionPath;
use crate::trust::scope::Scope;
use crate::trust::tick::{Nonce, TickAnswer, TickPath};

type Fallible = Result<(), Box<dyn std::error::Error>>;

fn digest(byte: u8) -> Digest {
    Digest([byte; 32])
}

fn tenant() -> TenantId {
    TenantId::new("acme").unwrap()
}

fn edge() -> EdgeId {
    EdgeId::new("eu-1").unwrap()
}

fn credential() -> CredentialId {
    CredentialId::new("acme-api").unwrap()
}

const MESH: MeshId = MeshId([0x11; 16]);
const BOOT: BootId = BootId([0x22; 16]);

fn cut() -> Cut {
    Cut { tenant: tenant().into(), kind: CutKind::Session, id: "s-1".to_owned() }
}

fn revocation() -> Revocation {
    let request = SignedRequest {
        method: "POST".to_owned(),
        path: "/v1/revocations".to_owned(),
        body: b"{}".to_vec(),
        created: 1_800_000_000,
        expires: 1_800_000_300,
        nonce: "00".repeat(16),
        key: KeyId(digest(9)),
        signature: Signature([7; 64]),
    };
    Revocation { cut: cut(), until: Timestamp::from_secs(1_800_003_600), index: LogIndex(300), request }
}

fn edge_messages() -> Vec<EdgeMessage> {
    vec![
        EdgeMessage::Hello(Hello { versions: vec![1], mesh: MESH, edge: edge(), boot: BOOT }),
        EdgeMessage::Subscribe(Have {
            root: 1,
            directory: 2,
            activations: vec![HaveActivation { tenant: tenant(), ring: 0, number: LogIndex(7) }],
            epoch: RevocationEpoch(3),
            revocations: digest(1),
            shards: vec![HaveShard { tenant: tenant(), credential: credential(), version: 4 }],
        }),
        EdgeMessage::Fetch(Fetch { digests: vec![digest(2)] }),
        EdgeMessage::Ack(Ack { tenant: tenant(), manifest: digest(3), stage: Stage::Active }),
        EdgeMessage::Nack(Nack { digest: digest(4), code: "rollback".to_owned(), detail: "version 1".to_owned() }),
        EdgeMessage::Attest(Attestation {
            edge: edge(),
            tenant: tenant(),
            number: LogIndex(7),
            manifest: digest(3),
            signature: Signature([5; 64]),
        }),
        EdgeMessage::Covered(Covered {
            edge: edge(),
            epoch: RevocationEpoch(3),
            digest: digest(1),
            signature: Signature([6; 64]),
        }),
        EdgeMessage::Nonce(NonceMessage {
            nonce: Nonce([8; 32]),
            epoch: RevocationEpoch(3),
            head: Some(RecordHead { boot: BOOT, seq: 9, hash: digest(5) }),
        }),
        EdgeMessage::RecordBatch(RecordBatch { boot: BOOT, first: 1, count: 2, raw_len: 30, packed: vec![1, 2, 3] }),
        EdgeMessage::Revoke(RevokeAsked { request: revocation().request }),
        EdgeMessage::HaveRelations(HaveRelations { again: true, heads: vec![relations_head()] }),
        EdgeMessage::Rollout(RolloutReport {
            tenant: tenant(),
            rollout: LogIndex(70_000),
            runs: true,
            compared: 300,
            dropped: 1,
            permitted_before: 200,
            newly_permitted: 2,
            newly_denied: 3,
            failed: 4,
            p99_ms: 5,
            examples: vec![RolloutExample {
                action: "crm.read".parse().unwrap(),
                class: "analyst".to_owned(),
                before: "permit".to_owned(),
                after: "forbidden".to_owned(),
                rules: vec!["stop".to_owned()],
            }],
        }),
    ]
}

fn relations_head() -> RelationsHead {
    RelationsHead { tenant: tenant(), revision: 300, digest: digest(10) }
}

fn voter_messages() -> Vec<VoterMessage> {
    let object = ObjectRef { digest: digest(2), len: 4_000 };
    let path = |siblings| InclusionPath { index: 1, size: 2, siblings };
    vec![
        VoterMessage::HelloAck(HelloAck { version: 1, voter: VoterId(3) }),
        VoterMessage::Root(Published { version: 2, object }),
        VoterMessage::Directory(Published { version: 3, object }),
        VoterMessage::Activation(Activated {
            activation: Activation { number: LogIndex(70_000), tenant: tenant(), ring: 0, manifest: digest(3) },
            envelope: object,
        }),
        VoterMessage::Object(Chunk { digest: digest(2), offset: 1, total: 4, bytes: vec![1, 2, 3] }),
        VoterMessage::Absent(digest(2)),
        VoterMessage::Shard(ShardOffer { tenant: tenant(), credential: credential(), version: 4, bytes: vec![9; 3] }),
        VoterMessage::Revocations(RevocationsPart {
            from: RevocationEpoch(2),
            to: RevocationEpoch(4),
            digest: digest(1),
            entries: 2,
            part: 0,
            added: vec![revocation()],
            removed: vec![cut()],
        }),
        VoterMessage::TickAnswer(TickAnswer {
            n: LogIndex(71_000),
            nonce: Nonce([8; 32]),
            nonce_root: digest(6),
            path: TickPath { nonce: path(vec![digest(7)]), voter: path(Vec::new()) },
            epoch: RevocationEpoch(4),
            revocations: digest(1),
            activations: digest(8),
            directory: 3,
            root: 2,
        }),
        VoterMessage::RecordAck(RecordAck { boot: BOOT, seq: 9 }),
        VoterMessage::RecordFork(RecordFork { boot: BOOT, seq: 9, stored: digest(5) }),
        VoterMessage::Refused(Refused { code: "version".to_owned(), detail: "none in common".to_owned() }),
        VoterMessage::Voters(VoterAddresses {
            voters: vec![(VoterId(4), "10.0.0.4:7401".parse().unwrap()), (VoterId(5), "[::1]:7402".parse().unwrap())],
        }),
        VoterMessage::Revoked(RevokeAnswer::Refused {
            status: 429,
            reason: "root_full".to_owned(),
            detail: "64 cuts".to_owned(),
        }),
        VoterMessage::TickRelations(TickRelations { n: LogIndex(71_000), heads: vec![relations_head()] }),
        VoterMessage::Relations(RelationsOffer { tenant: tenant(), first: 299, batches: vec![object, object] }),
        VoterMessage::Staged(StagedOffer {
            tenant: tenant(),
            staged: Some((
                Activated {
                    activation: Activation { number: LogIndex(70_000), tenant: tenant(), ring: 1, manifest: digest(3) },
                    envelope: object,
                },
                Scope {
                    salt: 300,
                    edges: [edge()].into(),
                    regions: ["eu-west".parse().unwrap()].into(),
                    per_mille: 250,
                },
            )),
        }),
        VoterMessage::Beacon(BeaconOffer {
            n: LogIndex(71_000),
            relations: digest(9),
            paths: vec![path(vec![digest(7)])],
            signatures: [(VoterId(1), Signature([5; 64])), (VoterId(3), Signature([6; 64]))].into(),
        }),
    ]
}

fn frames() -> Vec<(&'static str, Vec<u8>)> {
    let edge = edge_messages().into_iter().map(|message| (message.name(), message.to_frame().unwrap()));
    let voter = voter_messages().into_iter().map(|message| (message.name(), message.to_frame().unwrap()));
    edge.chain(voter).collect()
}

fn only_frame(bytes: &[u8]) -> Frame<'_> {
    match frame::decode(bytes) {
        Ok(Decoded::Frame(frame, taken)) if taken == bytes.len() => frame,
        other => panic!("{other:?}"),
    }
}

#[test]
fn w_1_w_5_every_message_has_its_golden_bytes() {
    // One line for each: the name, then the frame in hex. A line that has to change needs a new number instead.
    let golden: Vec<(&str, &str)> =
        include_str!("golden.txt").lines().filter_map(|line| line.split_once(' ')).collect();
    let found: Vec<(&str, String)> = frames().into_iter().map(|(name, frame)| (name, hex(&frame))).collect();
    if golden.len() != found.len() {
        for (name, frame) in &found {
            println!("{name} {frame}");
        }
    }
    assert_eq!(golden.len(), found.len(), "a message without golden bytes");
    for ((golden_name, golden), (name, frame)) in golden.into_iter().zip(found) {
        assert_eq!((golden_name, golden), (name, frame.as_str()));
    }
}

#[test]
fn w_5_every_number_is_used_once_and_has_an_example() {
    let edge: Vec<_> = edge_messages().iter().map(WireMessage::name).collect();
    let voter: Vec<_> = voter_messages().iter().map(WireMessage::name).collect();
    assert_eq!(EdgeMessage::NUMBERS.iter().map(|(_, name)| *name).collect::<Vec<_>>(), edge);
    assert_eq!(VoterMessage::NUMBERS.iter().map(|(_, name)| *name).collect::<Vec<_>>(), voter);
    let mut numbers: Vec<_> =
        EdgeMessage::NUMBERS.iter().chain(VoterMessage::NUMBERS).map(|(number, _)| number).collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), edge.len() + voter.len());
}

#[test]
fn decoding_undoes_encoding() {
    for message in edge_messages() {
        let bytes = message.to_frame().unwrap();
        assert_eq!(EdgeMessage::from_frame(only_frame(&bytes)), Ok(message));
    }
    for message in voter_messages() {
        let bytes = message.to_frame().unwrap();
        assert_eq!(VoterMessage::from_frame(only_frame(&bytes)), Ok(message));
    }
}

#[test]
fn w_6_an_unknown_number_is_a_value() {
    let bytes = frame::encode(40_000, b"from the future").unwrap();
    assert_eq!(EdgeMessage::from_frame(only_frame(&bytes)), Ok(EdgeMessage::Unknown { kind: 40_000 }));
    assert_eq!(VoterMessage::from_frame(only_frame(&bytes)), Ok(VoterMessage::Unknown { kind: 40_000 }));
    // What one side says has no meaning from the other.
    let ack = VoterMessage::RecordAck(RecordAck { boot: BOOT, seq: 1 }).to_frame().unwrap();
    assert_eq!(EdgeMessage::from_frame(only_frame(&ack)), Ok(EdgeMessage::Unknown { kind: 110 }));
    assert!(EdgeMessage::Unknown { kind: 1 }.to_frame().is_err());
}

#[test]
fn w_2_a_length_beyond_the_bound_is_refused_by_its_header_alone() {
    let mut header = frame::encode(1, b"").unwrap();
    header.splice(8..12, u32::MAX.to_be_bytes());
    assert_eq!(frame::decode(&header), Err(PeerMisbehaved::TooLong { len: u32::MAX.into(), max: FRAME_BYTES_MAX }));
    assert!(frame::encode(1, &vec![0; FRAME_BYTES_MAX]).is_ok());
    assert!(frame::encode(1, &vec![0; FRAME_BYTES_MAX + 1]).is_err());
}

#[test]
fn w_1_what_is_no_frame_is_refused_at_its_first_wrong_byte() {
    let check = |bytes: &[u8], expected| assert_eq!(frame::decode(bytes), expected, "{bytes:?}");
    check(b"", Ok(Decoded::NeedMore(HEADER_BYTES)));
    check(b"RM", Ok(Decoded::NeedMore(HEADER_BYTES - 2)));
    check(b"RX", Err(PeerMisbehaved::NotAFrame));
    check(b"GET / HTTP/1.1\r\n", Err(PeerMisbehaved::NotAFrame));
    let mut other = frame::encode(1, b"x").unwrap();
    other[5] = 2;
    check(&other, Err(PeerMisbehaved::UnknownFormat { found: 2 }));
    let whole = frame::encode(7, b"body").unwrap();
    check(&whole[..whole.len() - 1], Ok(Decoded::NeedMore(1)));
    check(&whole, Ok(Decoded::Frame(Frame { kind: 7, body: b"body" }, whole.len())));
    assert_eq!((&whole[..4], &whole[4..6]), (MAGIC.as_slice(), FORMAT_VERSION.to_be_bytes().as_slice()));
}

#[test]
fn a_body_with_bytes_behind_the_message_is_refused() {
    let fetch = EdgeMessage::Fetch(Fetch { digests: vec![digest(2)] }).to_frame().unwrap();
    let mut body = only_frame(&fetch).body.to_vec();
    body.push(0);
    let longer = frame::encode(3, &body).unwrap();
    assert_eq!(EdgeMessage::from_frame(only_frame(&longer)), Err(PeerMisbehaved::Malformed { kind: "Fetch" }));
}

#[test]
fn a_list_that_claims_more_than_a_frame_costs_no_memory() {
    // A Fetch whose list says that 2^63 digests follow.
    let body = [&[253u8][..], &(1u64 << 63).to_le_bytes()].concat();
    let bytes = frame::encode(3, &body).unwrap();
    assert_eq!(EdgeMessage::from_frame(only_frame(&bytes)), Err(PeerMisbehaved::Malformed { kind: "Fetch" }));
}

#[test]
fn an_id_outside_its_alphabet_does_not_decode() {
    let frame =
        EdgeMessage::Ack(Ack { tenant: tenant(), manifest: digest(3), stage: Stage::Active }).to_frame().unwrap();
    let bytes = from_hex(&hex(&frame).replace(&hex(b"acme"), &hex(b"a/me"))).unwrap();
    assert_eq!(EdgeMessage::from_frame(only_frame(&bytes)), Err(PeerMisbehaved::Malformed { kind: "Ack" }));
}

#[test]
fn w_10_an_attestation_holds_for_its_mesh_key_and_words_only() -> Fallible {
    let key = SigningKey::from_seed(Zeroizing::new([1; 32]))?;
    let other = SigningKey::from_seed(Zeroizing::new([2; 32]))?;
    let attested = Attestation::sign(&MESH, &key, edge(), tenant(), LogIndex(7), digest(3));
    attested.verify(&MESH, key.public())?;
    assert!(attested.verify(&MeshId([0x12; 16]), key.public()).is_err());
    assert!(attested.verify(&MESH, other.public()).is_err());
    for changed in [
        Attestation { edge: EdgeId::new("eu-2")?, ..attested.clone() },
        Attestation { tenant: TenantId::new("other")?, ..attested.clone() },
        Attestation { number: LogIndex(8), ..attested.clone() },
        Attestation { manifest: digest(4), ..attested.clone() },
    ] {
        assert!(changed.verify(&MESH, key.public()).is_err(), "{changed:?}");
    }
    let covered = Covered::sign(&MESH, &key, edge(), RevocationEpoch(3), digest(1));
    covered.verify(&MESH, key.public())?;
    for changed in [
        Covered { edge: EdgeId::new("eu-2")?, ..covered.clone() },
        Covered { epoch: RevocationEpoch(4), ..covered.clone() },
        Covered { digest: digest(2), ..covered.clone() },
        Covered { signature: attested.signature, ..covered.clone() },
    ] {
        assert!(changed.verify(&MESH, key.public()).is_err(), "{changed:?}");
    }
    assert!(covered.verify(&MeshId([0x12; 16]), key.public()).is_err());
    Ok(())
}

#[test]
fn w_10_the_signed_bytes_of_an_attestation_are_fixed() -> Fallible {
    let key = SigningKey::from_seed(Zeroizing::new([1; 32]))?;
    let zeros = "00".repeat(32);
    let attested = format!(
        "866f{}50{}6465752d3164{}07{}{}",
        hex(b"remit/attest/v1"),
        "11".repeat(16),
        hex(b"acme"),
        "5820",
        zeros
    );
    let expected = key.sign(&from_hex(&attested).unwrap());
    assert_eq!(Attestation::sign(&MESH, &key, edge(), tenant(), LogIndex(7), digest(0)).signature, expected);
    let covered = format!("8570{}50{}6465752d31035820{}", hex(b"remit/covered/v1"), "11".repeat(16), zeros);
    let expected = key.sign(&from_hex(&covered).unwrap());
    assert_eq!(Covered::sign(&MESH, &key, edge(), RevocationEpoch(3), digest(0)).signature, expected);
    Ok(())
}

#[test]
fn r_8_a_batch_takes_what_fits_and_says_so() -> Fallible {
    let records = vec![vec![7u8; RECORD_BYTES_MAX]; 20];
    let batch = RecordBatch::pack(BOOT, 5, &records)?;
    let count = usize::try_from(batch.count)?;
    assert!((1..records.len()).contains(&count));
    assert_eq!(batch.unpack()?, records[..count]);
    assert_eq!(RecordBatch::pack(BOOT, 5, Vec::<Vec<u8>>::new())?.unpack()?, Vec::<Vec<u8>>::new());
    assert!(RecordBatch::pack(BOOT, 5, [vec![0; RECORD_BYTES_MAX + 1]]).is_err());
    Ok(())
}

#[test]
fn r_8_incompressible_records_still_fit_a_frame() -> Fallible {
    // A linear congruential generator: bytes that zstd cannot shorten, the same each time.
    let mut state = 1u64;
    let mut byte = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    let records: Vec<Vec<u8>> = (0..20).map(|_| (0..RECORD_BYTES_MAX).map(|_| byte()).collect()).collect();
    let batch = RecordBatch::pack(BOOT, 1, &records)?;
    assert!(usize::try_from(batch.raw_len)? > RECORD_BATCH_BYTES_MAX - RECORD_BYTES_MAX - 8);
    EdgeMessage::RecordBatch(batch).to_frame()?;
    Ok(())
}

#[test]
fn a_decompression_bomb_is_refused_by_its_stated_size() -> Fallible {
    let bomb = zstd::bulk::compress(&vec![0; 64 * 1024 * 1024], 1)?;
    let batch = |raw_len| RecordBatch { boot: BOOT, first: 1, count: 1, raw_len, packed: bomb.clone() };
    let stated = u32::try_from(RECORD_BATCH_BYTES_MAX)?;
    assert!(matches!(batch(64 * 1024 * 1024).unpack(), Err(PeerMisbehaved::TooLong { .. })));
    assert!(matches!(batch(stated).unpack(), Err(PeerMisbehaved::Malformed { .. })));
    assert!(matches!(batch(0).unpack(), Err(PeerMisbehaved::Malformed { .. })));
    Ok(())
}

#[test]
fn a_batch_that_miscounts_is_refused() -> Fallible {
    let batch = RecordBatch::pack(BOOT, 1, [b"one".as_slice(), b"two"])?;
    for changed in [
        RecordBatch { count: 1, ..batch.clone() },
        RecordBatch { count: 3, ..batch.clone() },
        RecordBatch { raw_len: batch.raw_len - 1, ..batch.clone() },
        RecordBatch { raw_len: batch.raw_len + 1, ..batch.clone() },
        RecordBatch { first: u64::MAX - 1, ..batch.clone() },
    ] {
        assert!(changed.unpack().is_err(), "{changed:?}");
    }
    Ok(())
}

/// Both directions' decoders on one frame; what decodes must encode to something that decodes to the same.
fn decode_both(frame: Frame<'_>) {
    if let Ok(message) = EdgeMessage::from_frame(frame)
        && let Ok(bytes) = message.to_frame()
    {
        assert_eq!(EdgeMessage::from_frame(only_frame(&bytes)), Ok(message));
    }
    if let Ok(message) = VoterMessage::from_frame(frame)
        && let Ok(bytes) = message.to_frame()
    {
        assert_eq!(VoterMessage::from_frame(only_frame(&bytes)), Ok(message));
    }
}

proptest! {
    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..512), kind in 0u16..120) {
        let _ = frame::decode(&bytes);
        decode_both(Frame { kind, body: &bytes });
    }

    #[test]
    fn no_mutation_makes_a_decoder_panic(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let frames = frames();
        let mut bytes = which.get(&frames).1.clone();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        for bytes in [bytes.as_slice(), &bytes[..cut.index(bytes.len())]] {
            if let Ok(Decoded::Frame(frame, _)) = frame::decode(bytes) {
                decode_both(frame);
                if let Ok(EdgeMessage::RecordBatch(batch)) = EdgeMessage::from_frame(frame) {
                    let _ = batch.unpack();
                }
            }
        }
    }

    #[test]
    fn batches_unpack_to_what_was_packed(
        records in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..40),
        first in 0..u64::MAX / 2,
    ) {
        let batch = RecordBatch::pack(BOOT, first, &records)?;
        prop_assert_eq!(usize::try_from(batch.count)?, records.len());
        prop_assert_eq!(batch.unpack()?, records);
    }
}
