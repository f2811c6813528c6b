//! The bytes of each message, and what reading anything else gives.

use proptest::prelude::*;
use remit_common::id::{MeshId, VoterId};
use remit_common::text::{from_hex, hex};

use super::*;

const OWN: Own = Own { mesh: MeshId([0x11; 16]), voter: VoterId(2), disk: DiskId([0x22; 16]), boot: Boot([0x44; 16]) };

fn vote() -> Vote {
    Vote::new_committed(7, 2)
}

fn id(index: u64) -> LogId {
    LogId::new(openraft::CommittedLeaderId::new(6, 1), index)
}

#[track_caller]
fn golden<B: Body + PartialEq + std::fmt::Debug>(value: &B, bytes: &str) {
    assert_eq!(hex(&value.to_bytes().unwrap()), bytes, "{value:?}");
    assert_eq!(B::from_bytes(&from_hex(bytes).unwrap()).as_ref(), Ok(value));
}

/// C-21: the messages of version 1, byte for byte.
#[test]
fn messages_keep_their_bytes() {
    golden(
        &HelloV1::of(OWN),
        "010111111111111111111111111111111111022222222222222222222222222222222244444444444444444444444444444444",
    );
    golden(
        &WelcomeV1::of(OWN, VERSION),
        "0111111111111111111111111111111111022222222222222222222222222222222244444444444444444444444444444444",
    );
    let entry = Entry {
        log_id: id(301),
        payload: openraft::EntryPayload::Normal(crate::raft::types::EntryBytes(b"remit".as_slice().into())),
    };
    let request = AppendEntriesRequest {
        vote: vote(),
        prev_log_id: Some(id(300)),
        entries: vec![entry],
        leader_commit: Some(id(299)),
    };
    golden(&AppendV1::from(&request), "070201010601fb2c01010601fb2b01010601fb2d01010572656d6974");
    golden(&AppendedV1::Success, "00");
    golden(&AppendedV1::Partial(Some((&id(300)).into())), "01010601fb2c01");
    golden(&AppendedV1::Conflict, "02");
    golden(&AppendedV1::HigherVote((&vote()).into()), "03070201");
    golden(&AskVoteV1::from(&VoteRequest::new(Vote::new(8, 3), Some(id(300)))), "080300010601fb2c01");
    golden(&VotedV1::from(VoteResponse::new(Vote::new(8, 3), None, true)), "0803000100");
    golden(&InstalledV1::of(&vote()), "070201");
    golden(&RefusedV1::new("no"), "026e6f");
    let joined = crate::raft::types::Addresses { raft: Some("10.0.0.4:7301".parse().unwrap()), dist: None };
    let nodes = std::collections::BTreeMap::from([(4, joined)]);
    let membership = crate::raft::types::Membership::new(vec![[1, 2, 3].into()], nodes);
    golden(
        &ProbedV1::from(&StoredMembership::new(Some(id(300)), membership)),
        "010601fb2c010103010203040100000200000300000401000a000004fb851c00",
    );
    let front = snapshot_front(&vote(), &SnapshotMeta::default(), Some(Digest([0x55; 32]))).unwrap();
    assert_eq!(
        hex(&front),
        "000000290702010000000000015555555555555555555555555555555555555555555555555555555555555555"
    );
}

/// C-21: what versions before this one sent is still read.
#[test]
fn a_snapshot_without_a_digest_is_still_read() {
    let front = split_snapshot(Kind::SnapshotV1, &from_hex("000000080702010000000000").unwrap()).unwrap();
    let expected = SnapshotFront { vote: vote(), meta: SnapshotMeta::default(), applied: None, payload_start: 12 };
    assert_eq!(front, expected);
}

#[test]
fn kinds_keep_their_numbers_and_have_bounds() {
    let numbers = [
        (Kind::Hello, 0x0200),
        (Kind::Append, 0x0201),
        (Kind::Vote, 0x0202),
        (Kind::SnapshotV1, 0x0203),
        (Kind::Call, 0x0204),
        (Kind::Snapshot, 0x0205),
        (Kind::Probe, 0x0206),
        (Kind::TakeOver, 0x0207),
        (Kind::Welcome, 0x0280),
        (Kind::Appended, 0x0281),
        (Kind::Voted, 0x0282),
        (Kind::Installed, 0x0283),
        (Kind::Answer, 0x0284),
        (Kind::Probed, 0x0286),
        (Kind::TakingOver, 0x0287),
        (Kind::Refused, 0x02fe),
    ];
    for (kind, number) in numbers {
        assert_eq!((kind.number(), Kind::of(number)), (number, Some(kind)));
    }
    assert_eq!((0..=u16::MAX).filter(|number| Kind::of(*number).is_some()).count(), numbers.len());
}

#[test]
fn only_a_common_version_is_spoken() {
    let hello = |versions: Vec<u16>| HelloV1 { versions, ..HelloV1::of(OWN) }.common_version();
    assert_eq!(hello(vec![1]), Some(1));
    assert_eq!(hello(vec![3, 2, 1]), Some(1));
    assert_eq!(hello(vec![2, 3]), None);
    assert_eq!(hello(vec![]), None);
    assert_eq!(hello(vec![1; VERSIONS_MAX + 1]), None);
}

#[test]
fn messages_mean_what_openraft_means() {
    let request = AppendEntriesRequest::<Types> {
        vote: vote(),
        prev_log_id: None,
        entries: vec![Entry { log_id: id(1), payload: openraft::EntryPayload::Blank }],
        leader_commit: Some(id(0)),
    };
    let wire = AppendV1::from_bytes(&AppendV1::from(&request).to_bytes().unwrap()).unwrap();
    assert_eq!(format!("{:?}", AppendEntriesRequest::from(wire)), format!("{request:?}"));
    for response in [
        AppendEntriesResponse::Success,
        AppendEntriesResponse::PartialSuccess(Some(id(4))),
        AppendEntriesResponse::Conflict,
        AppendEntriesResponse::HigherVote(vote()),
    ] {
        let text = format!("{response:?}");
        assert_eq!(format!("{:?}", AppendEntriesResponse::from(AppendedV1::from(response))), text);
    }
}

#[test]
fn a_snapshot_message_splits_where_it_was_joined() {
    let applied = Some(Digest([0x55; 32]));
    let front = snapshot_front(&vote(), &SnapshotMeta::default(), applied).unwrap();
    let read = split_snapshot(Kind::Snapshot, &[front.as_slice(), b"payload"].concat()).unwrap();
    let meta = SnapshotMeta::default();
    assert_eq!(read, SnapshotFront { vote: vote(), meta, applied, payload_start: front.len() });
    for cut in 0..front.len() {
        assert!(split_snapshot(Kind::Snapshot, &front[..cut]).is_err(), "{cut}");
    }
    let beyond = [&[0xff; 4], front.as_slice()].concat();
    assert!(split_snapshot(Kind::Snapshot, &beyond).is_err(), "a header beyond its bound");
}

proptest! {
    #[test]
    fn arbitrary_bytes_do_not_panic(bytes: Vec<u8>) {
        let _ = HelloV1::from_bytes(&bytes);
        let _ = WelcomeV1::from_bytes(&bytes);
        let _ = AppendV1::from_bytes(&bytes).map(AppendEntriesRequest::from);
        let _ = AppendedV1::from_bytes(&bytes).map(AppendEntriesResponse::from);
        let _ = AskVoteV1::from_bytes(&bytes).map(VoteRequest::from);
        let _ = VotedV1::from_bytes(&bytes).map(VoteResponse::from);
        let _ = InstalledV1::from_bytes(&bytes);
        let _ = RefusedV1::from_bytes(&bytes);
        let _ = ProbedV1::from_bytes(&bytes).map(StoredMembership::from);
        let _ = split_snapshot(Kind::SnapshotV1, &bytes);
        let _ = split_snapshot(Kind::Snapshot, &bytes);
    }

    /// A message that decodes is the one that is encoded: no two spellings.
    #[test]
    fn a_changed_append_is_another_message_or_none(at: prop::sample::Index, flip in 1u8..) {
        let entry = Entry { log_id: id(301), payload: openraft::EntryPayload::Blank };
        let request = AppendEntriesRequest {
            vote: vote(),
            prev_log_id: Some(id(300)),
            entries: vec![entry],
            leader_commit: None,
        };
        let message = AppendV1::from(&request);
        let mut bytes = message.to_bytes().unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        prop_assert_ne!(AppendV1::from_bytes(&bytes), Ok(message));
    }
}
