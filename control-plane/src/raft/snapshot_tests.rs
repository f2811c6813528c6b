//! The snapshot file's bytes, and what a damaged one gives.

use openraft::CommittedLeaderId;
use proptest::prelude::*;
use remit_common::text::hex;

use super::*;
use crate::raft::types::{LogId, Membership, StoredMembership};

fn meta() -> SnapshotMeta {
    let at = |index| LogId::new(CommittedLeaderId::new(2, 1), index);
    let membership = Membership::new(vec![[1, 2, 3].into()], ());
    SnapshotMeta {
        last_log_id: Some(at(40)),
        last_membership: StoredMembership::new(Some(at(1)), membership),
        snapshot_id: "T2-N1-40".to_owned(),
    }
}

fn body(payload: &[u8]) -> SnapshotBody {
    SnapshotBody { applied: Some(Digest([0x55; 32])), payload: Bytes::copy_from_slice(payload) }
}

/// C-7: version 2 of the snapshot file, byte for byte.
#[test]
fn the_file_keeps_its_bytes() {
    let file = encode(&meta(), &body(b"state")).unwrap();
    assert_eq!(
        hex(&file),
        "524d545300020000004d524d544c00010008dd58108101020128010201010103010203030100000200000300000854322d4e312d343001555555555555555555555555555555555555555555555555555555555555555573746174653db9979a5e1833858fcb3501f7e74a71ff563a08d8ce2ce113f53097f025605d"
    );
    let Snapshot { meta: read, snapshot } = decode(file).unwrap();
    assert_eq!((read, *snapshot), (meta(), body(b"state")));
}

/// C-7: a file of version 1 is read, and says nothing of what was applied.
#[test]
fn a_file_of_the_first_version_is_still_read() {
    let file = remit_common::text::from_hex(
        "524d5453000100000023524d544c000100070f6ce31901020128010201010103010203000854322d4e312d343073746174654d9d7d2bb82aa084c1e87e104da802c2ede2da37b36221939caa3c6774a2f0ae",
    );
    let Snapshot { meta: read, snapshot } = decode(file.unwrap()).unwrap();
    assert_eq!((read, *snapshot), (meta(), SnapshotBody { applied: None, payload: Bytes::from_static(b"state") }));
}

#[test]
fn a_newer_version_is_told_apart_from_damage() {
    let mut file = encode(&meta(), &body(b"state")).unwrap();
    file[5] = 3;
    assert!(matches!(decode(file), Err(SnapshotFault::UnknownVersion { found: 3 })));
    let good = encode(&meta(), &body(b"state")).unwrap();
    for cut in 0..good.len() {
        assert!(decode(good[..cut].to_vec()).is_err(), "{cut}");
    }
}

proptest! {
    #[test]
    fn a_changed_byte_is_found(payload: Vec<u8>, at: prop::sample::Index, flip in 1u8..) {
        let mut file = encode(&meta(), &body(&payload)).unwrap();
        let at = at.index(file.len());
        file[at] ^= flip;
        prop_assert!(decode(file).is_err());
    }

    #[test]
    fn arbitrary_bytes_do_not_panic(mut bytes: Vec<u8>, honest_digest: bool, version in 0u8..4) {
        if honest_digest {
            let mut file = [MAGIC.as_slice(), &[0, version]].concat();
            file.extend_from_slice(&bytes);
            let digest = Digest::of(&[&file]);
            file.extend_from_slice(&digest.0);
            bytes = file;
        }
        prop_assert!(decode(bytes).is_err());
    }
}
