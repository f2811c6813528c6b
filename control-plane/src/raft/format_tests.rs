//! The bytes that stay, and what reading anything else gives.

use proptest::prelude::*;
use remit_common::text::{from_hex, hex};

use super::*;

fn id(term: u64, voter: u64, index: u64) -> LogIdV1 {
    LogIdV1 { term, voter, index }
}

fn membership() -> MembershipV1 {
    MembershipV1 { configs: vec![[1, 2, 3].into(), [2, 3, 4].into()], learners: [9].into() }
}

fn members() -> MembersV1 {
    let nowhere = AddressesV1 { raft: None, dist: None };
    let joined =
        AddressesV1 { raft: Some("10.0.0.4:7301".parse().unwrap()), dist: Some("[::1]:7401".parse().unwrap()) };
    let nodes = [(1, nowhere), (2, nowhere), (3, nowhere), (4, joined)];
    MembersV1 { configs: vec![[1, 2, 3].into(), [2, 3, 4].into()], nodes: nodes.into() }
}

#[track_caller]
fn golden<R: Record + PartialEq + std::fmt::Debug>(value: &R, bytes: &str) {
    let encoded = encode_record(value).unwrap();
    assert_eq!(hex(&encoded), bytes, "{value:?}");
    assert_eq!(decode_record::<R>(&from_hex(bytes).unwrap()).as_ref(), Ok(value));
}

/// C-2: the records of version 1, byte for byte.
#[test]
fn records_keep_their_bytes() {
    golden(
        &IdentityV1 { mesh: [0x11; 16], voter: 3, disk: [0x22; 16] },
        "524d544c00010001f38a6bd9111111111111111111111111111111110322222222222222222222222222222222",
    );
    golden(&EntryV1 { log_id: id(1, 2, 300), payload: PayloadV1::Blank }, "524d544c000100023a0a51e60102fb2c0100");
    let command = PayloadV1::Command(EntryBytes(b"remit".as_slice().into()));
    golden(&EntryV1 { log_id: id(1, 2, 300), payload: command }, "524d544c00010002e8e52c440102fb2c01010572656d6974");
    golden(
        &EntryV1 { log_id: id(0, 0, 0), payload: PayloadV1::Membership(membership()) },
        "524d544c00010002fcb6ee39000000020203010203030203040109",
    );
    golden(
        &EntryV1 { log_id: id(0, 0, 0), payload: PayloadV1::Members(members()) },
        "524d544c000100028f951cc100000003020301020303020304040100000200000300000401000a000004fb851c010100000000000000000000000000000001fbe91c",
    );
    golden(&VoteV1 { term: 7, voter: 2, committed: true }, "524d544c0001000394e91c62070201");
    golden(&CommittedV1(id(70_000, 1, u64::MAX)), "524d544c00010004c4b6f13afc7011010001fdffffffffffffffff");
    golden(&PurgedV1(id(1, 1, 5)), "524d544c00010005994fa8d6010105");
    golden(
        &MetPeerV1 { voter: 2, disk: DiskId([0x33; 16]) },
        "524d544c0001000657af677b0233333333333333333333333333333333",
    );
    let meta = SnapshotMetaV1 {
        last: Some(id(2, 1, 40)),
        membership_at: Some(id(0, 0, 0)),
        membership: membership(),
        id: "T2-N1-40".to_owned(),
    };
    golden(&meta, "524d544c0001000730e01f61010201280100000002030102030302030401090854322d4e312d3430");
    let meta = SnapshotMetaV2 {
        last: Some(id(2, 1, 40)),
        membership_at: Some(id(0, 0, 0)),
        members: members(),
        id: "T2-N1-40".to_owned(),
        applied: Some(Digest([0x55; 32])),
    };
    golden(
        &meta,
        "524d544c00010008ef7e90ea0102012801000000020301020303020304040100000200000300000401000a000004fb851c010100000000000000000000000000000001fbe91c0854322d4e312d3430015555555555555555555555555555555555555555555555555555555555555555",
    );
}

#[test]
fn a_record_is_refused_for_the_first_thing_that_is_wrong() {
    let good = encode_record(&VoteV1 { term: 7, voter: 2, committed: true }).unwrap();
    let check = |bytes: &[u8], expected: BadRecord| assert_eq!(decode_record::<VoteV1>(bytes), Err(expected));
    check(b"", BadRecord::NotARecord);
    check(&good[..11], BadRecord::NotARecord);
    check(&[b"XXXX", &good[4..]].concat(), BadRecord::NotARecord);
    check(&[&good[..4], &[0, 2], &good[6..]].concat(), BadRecord::UnknownVersion { found: 2 });
    check(&good[..good.len() - 1], BadRecord::Checksum);
    check(&[&good[..], &[0]].concat(), BadRecord::Checksum);
    let entry = encode_record(&EntryV1 { log_id: id(1, 2, 3), payload: PayloadV1::Blank }).unwrap();
    check(&entry, BadRecord::WrongKind { found: 2, expected: 3 });
    let mut header = good[..8].to_vec();
    header.extend_from_slice(&checksum(VoteV1::KIND, b"").to_be_bytes());
    check(&header, BadRecord::Malformed);
}

fn any_id() -> impl Strategy<Value = LogIdV1> {
    any::<(u64, u64, u64)>().prop_map(|(term, voter, index)| id(term, voter, index))
}

fn any_membership() -> impl Strategy<Value = MembershipV1> {
    let set = || proptest::collection::btree_set(any::<u64>(), 0..5);
    (proptest::collection::vec(set(), 0..3), set()).prop_map(|(configs, learners)| MembershipV1 { configs, learners })
}

fn any_members() -> impl Strategy<Value = MembersV1> {
    let joined = |port| AddressesV1 { raft: Some(([10, 0, 0, 1], port).into()), dist: None };
    (any_membership(), any::<u16>()).prop_map(move |(MembershipV1 { configs, learners }, port)| {
        let ids: BTreeSet<u64> = configs.iter().flatten().chain(&learners).copied().chain([77]).collect();
        MembersV1 { configs, nodes: ids.into_iter().map(|id| (id, joined(port))).collect() }
    })
}

fn any_entry() -> impl Strategy<Value = EntryV1> {
    let payload = prop_oneof![
        Just(PayloadV1::Blank),
        any::<Vec<u8>>().prop_map(|bytes| PayloadV1::Command(EntryBytes(bytes.into()))),
        any_membership().prop_map(PayloadV1::Membership),
        any_members().prop_map(PayloadV1::Members),
    ];
    (any_id(), payload).prop_map(|(log_id, payload)| EntryV1 { log_id, payload })
}

proptest! {
    #[test]
    fn decoding_undoes_encoding(entry in any_entry()) {
        prop_assert_eq!(decode_record::<EntryV1>(&encode_record(&entry).unwrap()), Ok(entry));
    }

    /// Our types and openraft's say the same.
    #[test]
    fn entries_convert_there_and_back(mut entry in any_entry()) {
        if let PayloadV1::Membership(membership) = &mut entry.payload {
            // A voter is no learner.
            let voters: BTreeSet<u64> = membership.configs.iter().flatten().copied().collect();
            membership.learners.retain(|learner| !voters.contains(learner));
        }
        prop_assert_eq!(EntryV1::from(&Entry::from(entry.clone())), entry);
    }

    #[test]
    fn arbitrary_bytes_are_refused_without_panic(bytes: Vec<u8>) {
        prop_assert!(decode_record::<EntryV1>(&bytes).is_err());
    }

    /// Any change of any byte is found.
    #[test]
    fn a_changed_byte_is_found(entry in any_entry(), at: prop::sample::Index, flip in 1u8..) {
        let mut record = encode_record(&entry).unwrap();
        let at = at.index(record.len());
        record[at] ^= flip;
        prop_assert!(decode_record::<EntryV1>(&record).is_err());
    }

    /// Even a body whose checksum is right.
    #[test]
    fn arbitrary_bodies_do_not_panic(body: Vec<u8>) {
        let mut record = [MAGIC.as_slice(), &[0, 1], &EntryV1::KIND.to_be_bytes()].concat();
        record.extend_from_slice(&checksum(EntryV1::KIND, &body).to_be_bytes());
        record.extend_from_slice(&body);
        let _either = decode_record::<EntryV1>(&record);
    }
}
