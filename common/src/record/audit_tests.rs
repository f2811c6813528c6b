//! Every way in which a heap of records is not whole, and that order and repeats do not matter.

use proptest::prelude::*;
use zeroize::Zeroizing;

use super::*;

const MESH: MeshId = MeshId([0x11; 16]);
const BOOTS: [BootId; 3] = [BootId([1; 16]), BootId([2; 16]), BootId([3; 16])];

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(Zeroizing::new([seed; 32])).unwrap()
}

fn public(boot: BootId, seq: u64, prev: Digest, gap: Option<Gap>) -> Public {
    Public {
        edge: EdgeId::new("eu-1").unwrap(),
        boot,
        seq,
        prev,
        wall: Timestamp::from_millis(1),
        mono: BootTime::from_millis(1),
        kind: if gap.is_some() { RecordKind::Gap } else { RecordKind::Decision },
        decision: gap.is_none().then_some(DecisionId::from_bytes([1; 16])),
        tenant: None,
        effects: Effects::default(),
        reason: "permit".to_owned(),
        tick: LogIndex(1),
        epoch: RevocationEpoch(1),
        manifest: None,
        age_millis: None,
        gap,
    }
}

/// Three starts of one edge, four records each; the second begins with a gap.
fn story() -> Vec<Record> {
    let mut prev = Digest([0; 32]);
    let mut records = Vec::new();
    for boot in BOOTS {
        for seq in 1..=4 {
            let lost = Gap { cause: GapCause::TornTail, boot: BOOTS[0], after: 4, records: Some(2) };
            let record = if boot == BOOTS[1] && seq == 1 {
                Record::new_gap(public(boot, seq, prev, Some(lost)), Detail::default(), &MESH, &key(3)).unwrap()
            } else {
                Record::new(public(boot, seq, prev, None), Detail::default()).unwrap()
            };
            prev = record.hash(&MESH);
            records.push(record);
        }
    }
    records
}

fn audit<'a>(records: impl IntoIterator<Item = &'a Record>) -> EdgeAudit {
    let mut audit = Audit::new(MESH);
    records.into_iter().for_each(|record| audit.take(record, Some(key(3).public())));
    audit.finish().into_values().next().unwrap_or_default()
}

fn faults(records: &[Record]) -> Vec<AuditFault> {
    audit(records).faults.into_iter().collect()
}

#[test]
fn a_whole_story_has_no_fault_and_names_its_signed_losses() {
    let found = audit(&story());
    assert!(found.faults.is_empty(), "{found:?}");
    assert_eq!((found.records, found.repeats, found.boots), (12, 0, 3));
    let gap = SignedGap { boot: BOOTS[1], seq: 1, cause: "torn-tail", records: Some(2) };
    assert_eq!(found.gaps, [gap]);
}

#[test]
fn what_is_missing_is_named() {
    let without = |gone: &[usize]| {
        let kept: Vec<Record> =
            story().into_iter().enumerate().filter(|(at, _)| !gone.contains(at)).map(|(_, record)| record).collect();
        faults(&kept)
    };
    assert_eq!(without(&[1, 2]), [AuditFault::Missing { boot: BOOTS[0], from: 2, to: 3 }]);
    assert_eq!(without(&[8]), [AuditFault::Missing { boot: BOOTS[2], from: 1, to: 1 }]);
    // The end of a process that another one continues.
    let prev = story()[7].hash(&MESH);
    assert_eq!(without(&[7]), [AuditFault::MissingBefore { boot: BOOTS[2], prev }]);
    // A whole process in the middle.
    assert_eq!(without(&[4, 5, 6, 7]), [AuditFault::MissingBefore { boot: BOOTS[2], prev }]);
    assert_eq!(without(&[11]), [], "what is missing at the end does not show");
}

#[test]
fn a_second_story_is_found() {
    let mut records = story();
    let other =
        Record::new(Public { reason: "forbidden".to_owned(), ..records[2].public().clone() }, Detail::default());
    records.push(other.unwrap());
    assert_eq!(faults(&records), [AuditFault::TwoStories { boot: BOOTS[0], seq: 3 }]);
    // A changed record breaks the link to it.
    let mut records = story();
    records[2] = Record::new(Public { tick: LogIndex(9), ..records[2].public().clone() }, Detail::default()).unwrap();
    assert_eq!(faults(&records), [AuditFault::BrokenLink { boot: BOOTS[0], seq: 4 }]);
    // Two starts that continue the same end, and one that continues what has gone on.
    for (at, expected) in [(3, BOOTS[1]), (1, BootId([9; 16]))] {
        let mut records = story();
        let prev = records[at].hash(&MESH);
        records.push(Record::new(public(BootId([9; 16]), 1, prev, None), Detail::default()).unwrap());
        let found = faults(&records);
        let is_branch = |fault: &AuditFault| matches!(fault, AuditFault::Branch { prev: of, .. } if *of == prev);
        assert!(found.len() == 1 && is_branch(&found[0]), "{expected}: {found:?}");
    }
    // Two beginnings of everything.
    let mut records = story();
    records.push(Record::new(public(BootId([9; 16]), 1, Digest([0; 32]), None), Detail::default()).unwrap());
    assert_eq!(faults(&records), [AuditFault::Branch { boot: BootId([9; 16]), prev: Digest([0; 32]) }]);
}

#[test]
fn losses_count_only_if_the_edge_signed_them() {
    let records = story();
    let mut audit = Audit::new(MESH);
    records.iter().for_each(|record| audit.take(record, Some(key(4).public())));
    let found = audit.finish().into_values().next().unwrap();
    assert_eq!(found.faults, [AuditFault::UnsignedGap { boot: BOOTS[1], seq: 1 }].into());
    assert!(found.gaps.is_empty());
    let mut audit = Audit::new(MESH);
    records.iter().for_each(|record| audit.take(record, None));
    assert_eq!(audit.finish().into_values().next().unwrap().faults, [AuditFault::UnknownEdge].into());
}

proptest! {
    #[test]
    fn order_and_repeats_change_nothing(order in Just((0..12usize).collect::<Vec<_>>()).prop_shuffle(), again in 0..12usize) {
        let records = story();
        let shuffled = order.iter().chain([&again]).map(|at| &records[*at]);
        let found = audit(shuffled);
        prop_assert_eq!(found.repeats, 1);
        prop_assert_eq!(EdgeAudit { repeats: 0, ..found }, audit(&records));
    }
}
