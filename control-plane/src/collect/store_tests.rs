//! The store against its own rules, on a disk in memory.

use proptest::prelude::*;
use remit_common::time::Timestamp;

use super::super::generation::{self, Opened, Others};
use super::*;
use crate::raft::FaultDisk;

impl Store {
    fn in_memory() -> Self {
        let database = Database::builder().create_with_backend(ImageBackend::default()).unwrap();
        let transaction = database.begin_write().unwrap();
        transaction.open_table(RECORDS).unwrap();
        transaction.open_table(DECISIONS).unwrap();
        transaction.open_table(ARRIVALS).unwrap();
        transaction.open_table(CONTINUED).unwrap();
        transaction.open_table(FORKS).unwrap();
        transaction.commit().unwrap();
        Self { database }
    }

    fn put(&self, edge: &EdgeId, batch: &[Arriving]) -> Collected {
        self.append(std::iter::once((edge, batch))).unwrap().outcomes[0]
    }
}

fn edge(name: &str) -> EdgeId {
    EdgeId::new(name).unwrap()
}

/// A chain of one boot; hashes are made up, because the store only compares them.
fn chain(name: &str, boot: u8, count: u64, head: Digest) -> Vec<Arriving> {
    let mut previous = head;
    (1..=count)
        .map(|seq| {
            let hash = Digest::of(&[name.as_bytes(), &[boot], &seq.to_be_bytes()]);
            let record = Arriving {
                boot: BootId([boot; 16]),
                seq,
                previous,
                hash,
                starts_boot: seq == 1,
                tenant: TenantId::new(if seq % 2 == 0 { "acme" } else { "globex" }).ok(),
                decision: Some(DecisionId::new(Timestamp::from_millis(seq), [boot; 10])),
                bytes: vec![boot],
            };
            previous = hash;
            record
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Edges send again whatever was not acknowledged, in batches cut anew: every record is stored once, and has one
    /// arrival.
    #[test]
    fn repeats_are_stored_once(cuts in proptest::collection::vec((0usize..12, 1usize..6), 1..20)) {
        let store = Store::in_memory();
        let records = chain("e1", 1, 12, Digest::default());
        let mut sent = std::collections::BTreeSet::new();
        for (from, len) in cuts {
            let batch = &records[from..(from + len).min(records.len())];
            let last = batch.last().unwrap().seq;
            prop_assert_eq!(store.put(&edge("e1"), batch), Collected::Stored { seq: last });
            sent.extend(batch.iter().map(|record| record.seq));
        }
        let arrivals = store.since(Some(0), 100).unwrap();
        prop_assert_eq!(arrivals.records.len(), sent.len());
        prop_assert_eq!(arrivals.last, u64::try_from(sent.len()).unwrap());
        let of = |tenant: &str| {
            let query = RecordQuery {
                tenant: TenantId::new(tenant).unwrap(), id: None, after: None, limit: 100, newest: false,
            };
            store.query(&query).unwrap()
        };
        prop_assert_eq!(of("acme").len() + of("globex").len(), sent.len());
        prop_assert!(of("acme").iter().all(|record| record.tenant.as_ref().is_some_and(|of| of.as_str() == "acme")));
    }
}

/// C-11: a failed fsync takes changes away that every reader sees. The store opens after a power cut all the same, and
/// has what it acknowledged before and afterwards.
#[test]
fn a_failed_fsync_and_a_power_cut_lose_no_acknowledged_record() {
    let path = Path::new("/records.redb");
    let records = chain("e1", 1, 9, Digest::default());
    for kept in 0..40 {
        let disk = FaultDisk::default();
        let store = Store::open(&disk, path, Fresh::Whole).unwrap();
        assert_eq!(store.put(&edge("e1"), &records[..3]), Collected::Stored { seq: 3 });
        disk.forget_at_next_sync(kept);
        let one = edge("e1");
        assert!(store.append(std::iter::once((&one, &records[3..6]))).is_err());
        drop(store);

        let store = Store::open(&disk, path, Fresh::Whole).unwrap();
        let shown = store.last_arrival().unwrap();
        let after = Store::open(&disk.after_power_cut(0, 0), path, Fresh::Whole).unwrap();
        assert_eq!(after.last_arrival().unwrap(), shown, "{kept}");
        assert_eq!(store.put(&edge("e1"), &records[3..]), Collected::Stored { seq: 9 });
        let store = Store::open(&disk.after_power_cut(0, 0), path, Fresh::Whole).unwrap();
        assert_eq!(store.since(Some(0), 100).unwrap().records.len(), 9, "{kept}");
    }
}

/// K-18: a damaged file stays where it is, and what the other voters have is copied into a new one, once.
#[test]
fn a_damaged_file_is_set_aside_and_its_records_are_copied() {
    let (folder, voter) = (Path::new("/data"), VoterId(2));
    let records = chain("e1", 1, 9, Digest::default());
    let (disk, other) = (FaultDisk::default(), Store::in_memory());
    let store = generation::open(&disk, folder, Others::Equal).unwrap().store;
    assert_eq!(store.copied().unwrap(), None, "nobody has had a record before it");
    for store in [&store, &other] {
        assert_eq!(store.put(&edge("e1"), &records[..6]), Collected::Stored { seq: 6 });
    }
    drop(store);
    disk.damage(&folder.join("records.redb"), |bytes| bytes.iter_mut().skip(64).for_each(|byte| *byte ^= 0x5a));
    assert!(generation::open(&disk, folder, Others::None).is_err(), "nobody else has them");

    for _start in 0..2 {
        let Opened { store, set_aside } = generation::open(&disk, folder, Others::Equal).unwrap();
        assert_eq!((set_aside, store.last_arrival().unwrap()), (1, 0));
        assert_eq!(store.copied().unwrap(), Some(BTreeMap::new()));
    }
    let store = generation::open(&disk, folder, Others::Equal).unwrap().store;
    // An edge does not wait until everything is copied.
    assert_eq!(store.put(&edge("e1"), &records[4..]), Collected::Stored { seq: 9 });
    let copies: Vec<_> = records[..6].iter().map(|record| (edge("e1"), record.clone())).collect();
    for _twice in 0..2 {
        store.copy(voter, 6, &copies).unwrap();
        assert_eq!(store.last_arrival().unwrap(), 9);
    }
    assert_eq!(store.copied().unwrap(), Some(BTreeMap::from([(voter, 6)])));
    store.complete().unwrap();
    drop(store);
    let store = generation::open(&disk.after_power_cut(0, 0), folder, Others::Older).unwrap().store;
    assert_eq!(store.copied().unwrap(), None);
    assert_eq!(store.since(Some(0), 100).unwrap().records.len(), 9);
    // The whole chain is there, so what contradicts it is found.
    assert_eq!(store.put(&edge("e1"), &records[..9]), Collected::Stored { seq: 9 });
    let elsewhere = chain("e1", 7, 1, records[2].hash);
    assert_eq!(store.put(&edge("e1"), &elsewhere), Collected::Fork { seq: 1, stored: records[2].hash });
}

#[test]
fn edges_with_names_alike_do_not_meet() {
    let store = Store::in_memory();
    // The same boot, numbers and head under names of which one begins the other.
    for name in ["e", "e1", "e1-"] {
        let records = chain(name, 1, 2, Digest::default());
        assert_eq!(store.put(&edge(name), &records), Collected::Stored { seq: 2 }, "{name}");
    }
    assert_eq!(store.last_arrival().unwrap(), 6);
}

#[test]
fn a_restored_image_is_a_fork() {
    let store = Store::in_memory();
    let first = chain("e1", 1, 3, Digest::default());
    assert_eq!(store.put(&edge("e1"), &first), Collected::Stored { seq: 3 });
    let head = first[1].hash;
    assert_eq!(store.put(&edge("e1"), &chain("e1", 2, 1, first[2].hash)), Collected::Stored { seq: 1 });
    // The image of before record 3 continues record 2, as record 3 does.
    assert_eq!(store.put(&edge("e1"), &chain("e1", 3, 1, head)), Collected::Fork { seq: 1, stored: head });
    // The same seen from the other side: the image reported first, and then the edge that it was made of.
    let (image, original) = (chain("e2", 3, 1, head), chain("e2", 1, 3, Digest::default()));
    let image = Arriving { previous: original[1].hash, ..image[0].clone() };
    assert_eq!(store.put(&edge("e2"), &original[..2]), Collected::Stored { seq: 2 });
    assert_eq!(store.put(&edge("e2"), &[image]), Collected::Stored { seq: 1 });
    let stored = original[1].hash;
    assert_eq!(store.put(&edge("e2"), &original[2..]), Collected::Fork { seq: 3, stored });
    // Two edges that begin with nothing are two edges; one edge that begins twice is a fork.
    let nothing = Digest::default();
    assert_eq!(store.put(&edge("e1"), &chain("e1", 5, 1, nothing)), Collected::Fork { seq: 1, stored: nothing });
    assert_eq!(store.put(&edge("e3"), &chain("e3", 5, 1, nothing)), Collected::Stored { seq: 1 });
}
