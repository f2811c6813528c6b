//! A batch as it arrives: every record read, its place and its link to the one before it checked.

use remit_common::crypto::digest::Digest;
use remit_common::crypto::sign::PublicKey;
use remit_common::id::{BootId, DecisionId, EdgeId, MeshId, TenantId};
use remit_common::record::{Record, RecordKind};
use remit_common::wire::batch::RecordBatch;

use super::NotCollected;
use super::query::StoredRecord;

/// A record on its way to the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Arriving {
    pub(super) boot: BootId,
    pub(super) seq: u64,
    pub(super) previous: Digest,
    pub(super) hash: Digest,
    /// The first of its boot: what it continues is another boot's head, or nothing.
    pub(super) starts_boot: bool,
    pub(super) tenant: Option<TenantId>,
    pub(super) decision: Option<DecisionId>,
    pub(super) bytes: Vec<u8>,
}

/// Clause K-12: the records are this edge's, of the batch's boot, numbered without gaps, each naming the one before it;
/// a gap is signed by the edge.
pub(super) fn read(
    mesh: &MeshId,
    edge: &EdgeId,
    key: &PublicKey,
    batch: &RecordBatch,
    records: Vec<Vec<u8>>,
) -> Result<Vec<Arriving>, NotCollected> {
    let unusable =
        |reason, detail: &dyn std::fmt::Display| NotCollected::Unusable { reason, detail: detail.to_string() };
    if records.is_empty() {
        return Err(unusable("malformed", &"a batch without records"));
    }
    let mut read: Vec<Arriving> = Vec::with_capacity(records.len());
    for (seq, bytes) in (batch.first..).zip(records) {
        let record = Record::parse(&bytes).map_err(|error| unusable("malformed", &error))?;
        let public = record.public();
        if public.edge != *edge || public.boot != batch.boot || public.seq != seq {
            return Err(unusable("malformed", &format_args!("record {seq} says that it is another one")));
        }
        if public.kind == RecordKind::Gap && record.verify_gap(mesh, key).is_err() {
            return Err(unusable("chain", &format_args!("gap {seq} is not signed by the edge")));
        }
        if read.last().is_some_and(|before| before.hash != public.prev) {
            return Err(unusable("chain", &format_args!("record {seq} does not name the one before it")));
        }
        read.push(Arriving {
            boot: public.boot,
            seq,
            previous: public.prev,
            hash: record.hash(mesh),
            starts_boot: seq == FIRST_SEQ,
            tenant: public.tenant.clone(),
            decision: public.decision,
            bytes,
        });
    }
    Ok(read)
}

/// A record as another voter has it, which has checked it when it came from its edge.
pub(super) fn copied(mesh: &MeshId, stored: StoredRecord) -> Result<(EdgeId, Arriving), String> {
    let record = Record::parse(&stored.bytes).map_err(|error| error.to_string())?;
    let (public, hash) = (record.public(), record.hash(mesh));
    if hash != stored.hash {
        return Err(format!("record {} of {} is damaged there", public.seq, public.edge));
    }
    let arriving = Arriving {
        boot: public.boot,
        seq: public.seq,
        previous: public.prev,
        hash,
        starts_boot: public.seq == FIRST_SEQ,
        tenant: public.tenant.clone(),
        decision: public.decision,
        bytes: stored.bytes,
    };
    Ok((public.edge.clone(), arriving))
}

/// Records of a process are counted from one.
const FIRST_SEQ: u64 = 1;

#[cfg(test)]
mod tests {
    use remit_common::crypto::sign::SigningKey;
    use remit_common::id::{LogIndex, RevocationEpoch};
    use remit_common::lattice::{Effect, Effects};
    use remit_common::record::{Detail, Gap, GapCause, Public};
    use remit_common::time::{BootTime, Timestamp};
    use zeroize::Zeroizing;

    use super::*;

    const MESH: MeshId = MeshId([1; 16]);
    const BOOT: BootId = BootId([2; 16]);

    fn edge() -> EdgeId {
        EdgeId::new("e1").unwrap()
    }

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(Zeroizing::new([seed; 32])).unwrap()
    }

    fn public(seq: u64, prev: Digest) -> Public {
        Public {
            edge: edge(),
            boot: BOOT,
            seq,
            prev,
            wall: Timestamp::from_millis(seq),
            mono: BootTime::from_millis(seq),
            kind: RecordKind::Decision,
            decision: Some(DecisionId::new(Timestamp::from_millis(seq), [3; 10])),
            tenant: Some(TenantId::new("acme").unwrap()),
            effects: Effects::from(Effect::Read),
            reason: "permit".to_owned(),
            tick: LogIndex(1),
            epoch: RevocationEpoch(0),
            manifest: None,
            age_millis: None,
            gap: None,
        }
    }

    fn records(first: u64, count: u64) -> Vec<Record> {
        let mut made: Vec<Record> = Vec::new();
        for seq in first..first + count {
            let prev = made.last().map_or(Digest::of(&[b"head"]), |record| record.hash(&MESH));
            made.push(Record::new(public(seq, prev), Detail::default()).unwrap());
        }
        made
    }

    fn read_all(first: u64, records: &[Record]) -> Result<Vec<Arriving>, NotCollected> {
        let bytes: Vec<Vec<u8>> = records.iter().map(Record::to_bytes).collect();
        let batch = RecordBatch::pack(BOOT, first, bytes.iter()).unwrap();
        read(&MESH, &edge(), key(1).public(), &batch, bytes)
    }

    #[track_caller]
    fn refused(first: u64, records: &[Record], expected: &str) {
        match read_all(first, records) {
            Err(NotCollected::Unusable { reason, .. }) => assert_eq!(reason, expected),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_chain_arrives_whole() {
        let arrived = read_all(1, &records(1, 3)).unwrap();
        assert_eq!(arrived.iter().map(|record| record.seq).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(arrived.iter().filter(|record| record.starts_boot).count(), 1);
        assert_eq!(arrived[1].previous, arrived[0].hash);
        assert!(!read_all(7, &records(7, 1)).unwrap()[0].starts_boot);
    }

    #[test]
    fn what_is_no_chain_is_refused() {
        let good = records(1, 3);
        refused(1, &[], "malformed");
        refused(2, &good, "malformed");
        refused(1, &[good[0].clone(), good[2].clone()], "malformed");
        let unlinked = Record::new(public(2, Digest::of(&[b"elsewhere"])), Detail::default()).unwrap();
        refused(1, &[good[0].clone(), unlinked], "chain");
        let foreign = Public { edge: EdgeId::new("e2").unwrap(), ..public(1, Digest::default()) };
        refused(1, &[Record::new(foreign, Detail::default()).unwrap()], "malformed");
        let earlier = Public { boot: BootId([9; 16]), ..public(1, Digest::default()) };
        refused(1, &[Record::new(earlier, Detail::default()).unwrap()], "malformed");
    }

    #[test]
    fn a_gap_is_its_edges_word() {
        let gap = Public {
            kind: RecordKind::Gap,
            decision: None,
            tenant: None,
            effects: Effects::default(),
            reason: "torn-tail".to_owned(),
            gap: Some(Gap { cause: GapCause::TornTail, boot: BOOT, after: 4, records: None }),
            ..public(1, Digest::default())
        };
        let signed = |seed| Record::new_gap(gap.clone(), Detail::default(), &MESH, &key(seed)).unwrap();
        assert!(read_all(1, &[signed(1)]).is_ok());
        refused(1, &[signed(2)], "chain");
    }
}
