//! The questions and answers of voters, held in place (C-80), and their decoders attacked.

use proptest::prelude::*;
use remit_common::crypto::sign::Signature;
use remit_common::id::{DecisionId, RevocationEpoch};
use remit_common::text;

use super::*;
use crate::collect::StoreId;

fn tenant() -> TenantId {
    TenantId::new("acme").unwrap()
}

fn requests() -> Vec<(PeerRequest, &'static str)> {
    let request = SignedRequest {
        method: "POST".to_owned(),
        path: "/v1/bundles".to_owned(),
        body: vec![0xaa],
        created: 1,
        expires: 2,
        nonce: "00".repeat(16),
        key: remit_common::id::KeyId(Digest([0x11; 32])),
        signature: Signature([0x22; 64]),
    };
    let id = DecisionId::from_bytes([5; 16]);
    vec![
        (
            PeerRequest::Propose { request, again: true },
            "524d5443000400010004504f53540b2f76312f62756e646c657301aa0102203030303030303030303030303030303030\
             303030303030303030303030303030111111111111111111111111111111111111111111111111111111111111111140\
             222222222222222222222222222222222222222222222222222222222222222222222222222222222222222222222222\
             2222222222222222222222222222222201",
        ),
        (PeerRequest::ReadIndex, "524d54430004000101"),
        (
            PeerRequest::NonceRoot(Digest([0x33; 32])),
            "524d544300040001023333333333333333333333333333333333333333333333333333333333333333",
        ),
        (
            PeerRequest::SignRoot { tenant: tenant(), evidence: Digest([0x44; 32]), index: LogIndex(9) },
            "524d544300040001030461636d65444444444444444444444444444444444444444444444444444444444444444409",
        ),
        (PeerRequest::Edges, "524d54430004000104"),
        (PeerRequest::Status, "524d54430004000105"),
        (
            PeerRequest::Records(RecordQuery { tenant: tenant(), id: Some(id), after: None, limit: 50, newest: false }),
            "524d544300040001060461636d65011a3035304d324741313835304d324741313835304d324741313835003200",
        ),
        (PeerRequest::RecordsSince { after: Some(3), limit: 200 }, "524d544300040001070103c8"),
        (PeerRequest::Health, "524d54430004000108"),
        (PeerRequest::Clock, "524d54430004000109"),
        (PeerRequest::RecordStore, "524d5443000400010a"),
        (PeerRequest::Copies { after: 3, limit: 100 }, "524d5443000400010b0364"),
        (PeerRequest::Rollouts, "524d5443000400010c"),
        (
            PeerRequest::CoSign { n: LogIndex(9), signature: Signature([0x99; 64]) },
            "524d5443000400010d094099999999999999999999999999999999999999999999999999999999999999999999999999\
             999999999999999999999999999999999999999999999999999999",
        ),
        (PeerRequest::AttestedSince, "524d5443000400010e"),
        (
            PeerRequest::Enrol { request: renewal(), life_secs: 600 },
            "524d5443000400010f010765752d776573740365313\
             73d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660cfb5802",
        ),
        (PeerRequest::Signed, "524d54430004000110"),
    ]
}

/// The key is that of RFC 8032 section 7.1, test 2.
fn renewal() -> EnrolRequest {
    let key = text::from_hex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c").unwrap();
    EnrolRequest::Renew {
        region: "eu-west".parse().unwrap(),
        edge: EdgeId::new("e17").unwrap(),
        identity: remit_common::crypto::sign::PublicKey::from_bytes(&key).unwrap(),
    }
}

fn replies() -> Vec<(PeerReply, &'static str)> {
    let record = StoredRecord { hash: Digest([0x55; 32]), tenant: Some(tenant()), decision: None, bytes: vec![1] };
    let status = PeerStatus { role: "leader".to_owned(), term: 1, last: LogIndex(2), applied: LogIndex(3) };
    let health = PeerHealth {
        role: "leader".to_owned(),
        term: 1,
        last: LogIndex(70),
        applied: LogIndex(65),
        digest: Some(Digest([0x66; 32])),
        marks: vec![(LogIndex(64), Digest([0x77; 32]))],
    };
    let report = EdgeReport::example(Timestamp::from_millis(7));
    vec![
        (PeerReply::Proposed { index: LogIndex(1), applied: Applied::Tick }, "524d544300050001000106"),
        (
            PeerReply::Proposed {
                index: LogIndex(9),
                applied: Applied::Certificate { edge: EdgeId::new("e17").unwrap(), index: LogIndex(7) },
            },
            "524d54430005000100090d0365313707",
        ),
        (
            PeerReply::Proposed {
                index: LogIndex(9),
                applied: Applied::JoinToken { token: Digest([0x11; 32]), expires: Some(Timestamp::from_millis(7)) },
            },
            "524d54430005000100090c11111111111111111111111111111111111111111111111111111111111111110107",
        ),
        (PeerReply::NotLeader { leader: Some(VoterId(2)) }, "524d544300050001010102"),
        (PeerReply::OutcomeUnknown, "524d54430005000102"),
        (PeerReply::Unavailable, "524d54430005000103"),
        (PeerReply::ReadIndex(LogIndex(4)), "524d5443000500010404"),
        (PeerReply::Noted, "524d54430005000105"),
        (
            PeerReply::Signed { kid: [6; 8], signature: Signature([0x77; 64]) },
            "524d54430005000106060606060606060640777777777777777777777777777777777777777777777777777777777777\
             77777777777777777777777777777777777777777777777777777777777777777777",
        ),
        (PeerReply::NotSigned { why: "no".to_owned() }, "524d54430005000107026e6f"),
        (
            PeerReply::Edges(vec![report]),
            "524d54430005000108010265310120303130313031303130313031303130313031303130313031303130313031303101\
             010704012030313031303130313031303130313031303130313031303130313031303130310511111111111111111111\
             111111111111111111111111111111111111111111110102653104111111111111111111111111111111111111111111\
             111111111111111111111140222222222222222222222222222222222222222222222222222222222222222222222222\
             22222222222222222222222222222222222222222222222222222222010461636d650265310461636d65031111111111\
             111111111111111111111111111111111111111111111111111111402222222222222222222222222222222222222222\
             222222222222222222222222222222222222222222222222222222222222222222222222222222222222222201046163\
             6d650461636d651111111111111111111111111111111111111111111111111111111111111111030111111111111111\
             1111111111111111111111111111111111111111111111111101630164",
        ),
        (PeerReply::Status(status), "524d54430005000109066c6561646572010203"),
        (
            PeerReply::Records(vec![record.clone()]),
            "524d5443000500010a015555555555555555555555555555555555555555555555555555555555555555010461636d65\
 000101",
        ),
        (
            PeerReply::Arrivals(Arrivals { last: 8, records: vec![record] }),
            "524d5443000500010b08015555555555555555555555555555555555555555555555555555555555555555010461636d\
 65000101",
        ),
        (
            PeerReply::Health(health),
            "524d5443000500010c066c656164657201464101666666666666666666666666666666666666666666666666666666\
             666666666601407777777777777777777777777777777777777777777777777777777777777777",
        ),
        (PeerReply::Clock(Timestamp::from_millis(7)), "524d5443000500010d07"),
        (PeerReply::RecordStore { whole: true, last: 9 }, "524d5443000500010e0109"),
        (
            PeerReply::Copies(Copies {
                store: StoreId([0x88; 16]),
                whole: true,
                end: 9,
                arrivals: Arrivals { last: 8, records: Vec::new() },
            }),
            "524d5443000500010f8888888888888888888888888888888801090800",
        ),
        (
            PeerReply::Rollouts(vec![(EdgeId::new("e1").unwrap(), Timestamp::from_millis(7), rollout_report())]),
            "524d5443000500011001026531070461636d650901fb2c0101c80203040500",
        ),
        (PeerReply::CoSigned { newest: None }, "524d5443000500011100"),
        (
            PeerReply::CoSigned { newest: Some((statement(), Signature([0x88; 64]))) },
            "524d54430005000111010901010101010101010101010101010101010101010101010101010101010101010402020202\
             020202020202020202020202020202020202020202020202020202020303030303030303030303030303030303030303\
             030303030303030303030303040404040404040404040404040404040404040404040404040404040404040405064088\
             888888888888888888888888888888888888888888888888888888888888888888888888888888888888888888888888\
             888888888888888888888888888888",
        ),
        (
            PeerReply::AttestedSince(vec![AttestedSince {
                edge: EdgeId::new("e1").unwrap(),
                tenant: tenant(),
                number: LogIndex(9),
                at: Timestamp::from_millis(7),
            }]),
            "524d54430005000112010265310461636d650907",
        ),
    ]
}

fn statement() -> Statement {
    let of = |byte| Digest([byte; 32]);
    Statement {
        n: LogIndex(9),
        nonce_root: of(1),
        epoch: RevocationEpoch(4),
        revocations: of(2),
        activations: of(3),
        relations: of(4),
        directory: 5,
        root: 6,
    }
}

fn rollout_report() -> RolloutReport {
    RolloutReport {
        tenant: tenant(),
        rollout: LogIndex(9),
        runs: true,
        compared: 300,
        dropped: 1,
        permitted_before: 200,
        newly_permitted: 2,
        newly_denied: 3,
        failed: 4,
        p99_ms: 5,
        examples: Vec::new(),
    }
}

#[test]
fn questions_are_these_bytes() {
    for (request, expected) in requests() {
        let bytes = entry::encode(Kind::PeerRequest, &request);
        assert_eq!(text::hex(&bytes), expected, "{request:?}");
        assert_eq!(PeerRequest::from_bytes(&bytes), Ok(request));
    }
}

#[test]
fn answers_are_these_bytes() {
    for (reply, expected) in replies() {
        let bytes = entry::encode(Kind::PeerReply, &reply);
        assert_eq!(text::hex(&bytes), expected, "{reply:?}");
        assert_eq!(PeerReply::from_bytes(&bytes), Ok(reply));
    }
}

proptest! {
    #[test]
    fn nothing_that_a_voter_sends_makes_another_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        which in any::<prop::sample::Index>(),
        place in any::<prop::sample::Index>(),
        flip in 1u8..,
    ) {
        prop_assert!(PeerRequest::from_bytes(&bytes).is_err());
        prop_assert!(PeerReply::from_bytes(&bytes).is_err());
        let requests = requests();
        let mut bytes = entry::encode(Kind::PeerRequest, &which.get(&requests).0);
        let at = place.index(bytes.len());
        bytes[at] ^= flip;
        let _ = PeerRequest::from_bytes(&bytes);
        let replies = replies();
        let mut bytes = entry::encode(Kind::PeerReply, &which.get(&replies).0);
        let at = place.index(bytes.len());
        bytes[at] ^= flip;
        let _ = PeerReply::from_bytes(&bytes);
    }
}
