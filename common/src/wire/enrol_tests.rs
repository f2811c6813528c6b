use std::sync::LazyLock;

use proptest::prelude::*;
use zeroize::Zeroizing;

use super::super::frame::{Decoded, decode};
use super::*;
use crate::crypto::digest::Digest;
use crate::crypto::hpke::SealingKey;
use crate::identity::{Admission, TokenSecret};
use crate::text::hex;

const BINDING: Binding = Binding([9; 32]);

/// Deriving one takes a while.
static SEALING: LazyLock<SealingPublicKey> =
    LazyLock::new(|| SealingKey::from_seed(Zeroizing::new([2; 32])).public().clone());

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(Zeroizing::new([seed; 32])).unwrap()
}

fn claim(purpose: Purpose) -> Claim {
    let sealing = SEALING.clone();
    let name = (MeshId([0x11; 16]), "eu-west".parse().unwrap(), "e17".parse().unwrap());
    Claim::sign(name, &key(1), sealing, purpose, &BINDING)
}

fn join() -> Join {
    let token = TokenSecret::new(Zeroizing::new([7; 32])).unwrap();
    let claim = claim(Purpose::Join);
    let Claim { mesh, region, edge, identity, sealing, .. } = &claim;
    let admission = token.admit(&Admission { mesh: *mesh, region, edge, identity, sealing });
    Join { claim, token: *token.public(), admission }
}

fn questions() -> Vec<EnrolQuestion> {
    vec![
        EnrolQuestion::Join(join()),
        EnrolQuestion::Renew(Renew { claim: claim(Purpose::Renew), certificate: vec![1, 2, 3] }),
        EnrolQuestion::Look(claim(Purpose::Look)),
    ]
}

fn answers() -> Vec<EnrolAnswer> {
    let issued = || Issued { certificate: vec![4, 5], index: LogIndex(300) };
    vec![
        EnrolAnswer::Joined(issued()),
        EnrolAnswer::Renewed(issued()),
        EnrolAnswer::Standing(Standing { listed: true, directory: 7 }),
        EnrolAnswer::Refused(EnrolRefused { code: "token_used".to_owned(), detail: "d".to_owned() }),
    ]
}

fn read<M: WireMessage>(bytes: &[u8]) -> M {
    let Ok(Decoded::Frame(frame, taken)) = decode(bytes) else { panic!("no frame") };
    assert_eq!(taken, bytes.len());
    M::from_frame(frame).unwrap()
}

/// J-4: sealing keys have golden bytes of their own, so the questions are held by their digests.
#[test]
fn golden_questions() {
    let expected = QUESTIONS;
    let mut found = Vec::new();
    for question in questions() {
        let bytes = question.to_frame().unwrap();
        assert!(bytes.len() <= QUESTION_BYTES_MAX, "{}", bytes.len());
        assert_eq!(read::<EnrolQuestion>(&bytes), question);
        found.push(format!("{} {} {}", question.name(), bytes.len(), Digest::of(&[&bytes])));
    }
    assert_eq!(found, expected);
    assert_eq!(EnrolQuestion::NUMBERS.len(), expected.len());
}

/// J-4.
#[test]
fn golden_answers() {
    let mut found = Vec::new();
    for answer in answers() {
        let bytes = answer.to_frame().unwrap();
        assert_eq!(read::<EnrolAnswer>(&bytes), answer);
        found.push(hex(&bytes));
    }
    assert_eq!(found, ANSWERS);
    assert_eq!(EnrolAnswer::NUMBERS.len(), ANSWERS.len());
}

/// J-5: the bytes that are signed.
#[test]
fn golden_claim() {
    let claim = claim(Purpose::Join);
    assert_eq!(
        hex(&claim.signed_bytes(Purpose::Join, &BINDING)),
        format!(
            "88{}{}50{}{}{}5820{}5820{}5820{}",
            "6e72656d69742f656e726f6c2f7631",
            "646a6f696e",
            "11".repeat(16),
            "6765752d77657374",
            "63653137",
            hex(key(1).public().as_bytes()),
            claim.sealing.id(),
            "09".repeat(32)
        )
    );
}

/// J-5.
#[test]
fn a_claim_counts_for_one_purpose_on_one_connection() {
    let good = claim(Purpose::Join);
    assert!(good.verify(Purpose::Join, &BINDING).is_ok());
    assert!(good.verify(Purpose::Renew, &BINDING).is_err());
    assert!(good.verify(Purpose::Look, &BINDING).is_err());
    assert!(good.verify(Purpose::Join, &Binding([8; 32])).is_err());
    let other_sealing = SealingKey::from_seed(Zeroizing::new([3; 32])).public().clone();
    let changed = [
        Claim { mesh: MeshId([0; 16]), ..good.clone() },
        Claim { region: "us-east".parse().unwrap(), ..good.clone() },
        Claim { edge: "e18".parse().unwrap(), ..good.clone() },
        Claim { identity: *key(4).public(), ..good.clone() },
        Claim { sealing: other_sealing, ..good.clone() },
    ];
    for claim in changed {
        assert!(claim.verify(Purpose::Join, &BINDING).is_err(), "{claim:?}");
    }
}

/// J-4: what is asked by a token does not show its secret.
#[test]
fn a_secret_does_not_travel() {
    let bytes = EnrolQuestion::Join(join()).to_frame().unwrap();
    assert!(!bytes.windows(32).any(|run| run == [7; 32]));
}

proptest! {
    #[test]
    fn hostile_bytes_never_panic(noise in proptest::collection::vec(any::<u8>(), 0..300), at in 0usize..1_500, byte: u8) {
        for kind in [201, 202, 203, 204, 211, 212, 213, 214] {
            let frame = Frame { kind, body: &noise };
            let _ = (EnrolQuestion::from_frame(frame), EnrolAnswer::from_frame(frame));
        }
        for question in questions() {
            let mut bytes = question.to_frame().unwrap();
            let at = at % bytes.len();
            bytes[at] = byte;
            if let Ok(Decoded::Frame(frame, _)) = decode(&bytes)
                && let Ok(EnrolQuestion::Join(join)) = EnrolQuestion::from_frame(frame)
                && EnrolQuestion::Join(join.clone()) != question
            {
                let Claim { mesh, region, edge, identity, sealing, .. } = &join.claim;
                let admission = Admission { mesh: *mesh, region, edge, identity, sealing };
                let is_refused = join.claim.verify(Purpose::Join, &BINDING).is_err()
                    || admission.verify(&join.token, &join.admission).is_err();
                prop_assert!(is_refused);
            }
        }
    }
}

const QUESTIONS: &[&str] = &[
    "Join 1470 97397de42c5492482aecc8a19ec2b3bf16f15e1430dd9c78bf1605d3b9dcd32e",
    "Renew 1377 9dbdac4b1ec78f41f26b618ede48209926f85555c48584db2d1bfb4c78064bd3",
    "Look 1373 143d77a49a1eb75c9cfbf6cf19f4da3ee79347179a6166a2607adfa9e1f27273",
];

const ANSWERS: &[&str] = &[
    "524d5431000100d300000006020405fb2c01",
    "524d5431000100d400000006020405fb2c01",
    "524d5431000100d5000000020107",
    "524d5431000100d60000000d0a746f6b656e5f757365640164",
];
