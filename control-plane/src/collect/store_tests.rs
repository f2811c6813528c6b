//! The store against its own rules, on a disk in memory.

use proptest::prelude::*;
use remit_common::time::Timestamp;

use super::super::generation::{self, Opened, Others};
use super::*;
use crate::raft::FaultDisk;

const ID: StoreId = StoreId([1; 16]);

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
        Self::of(database, ID).unwrap()
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
        let store = Store::open(&disk, path, Fresh::Whole, ID).unwrap();
        assert_eq!(store.put(&edge("e1"), &records[..3]), Collected::Stored { seq: 3 });
        disk.forget_at_next_sync(kept);
        let one = edge("e1");
        assert!(store.append(std::iter::once((&one, &records[3..6]))).is_err());
        drop(store);

        let store = Store::open(&disk, path, Fresh::Whole, ID).unwrap();
        let shown = store.last_arrival().unwrap();
        let after = Store::open(&disk.after_power_cut(0, 0), path, Fresh::Whole, ID).unwrap();
        assert_eq!(after.last_arrival().unwrap(), shown, "{kept}");
        assert_eq!(store.put(&edge("e1"), &records[3..]), Collected::Stored { seq: 9 });
        let store = Store::open(&disk.after_power_cut(0, 0), path, Fresh::Whole, ID).unwrap();
        assert_eq!(store.since(Some(0), 100).unwrap().records.len(), 9, "{kept}");
    }
}

/// K-18: a damaged file stays where it is, and what the other voters have is copied into a new one, once.
#[test]
fn a_damaged_file_is_set_aside_and_its_records_are_copied() {
    let (folder, voter) = (Path::new("/data"), VoterId(2));
    let records = chain("e1", 1, 9, Digest::default());
    let (disk, other) = (FaultDisk::default(), Store::in_memory());
    let store = generation::open(&disk, folder, Others::Equal, ID).unwrap().store;
    assert_eq!(store.copied().unwrap(), None, "nobody has had a record before it");
    for store in [&store, &other] {
        assert_eq!(store.put(&edge("e1"), &records[..6]), Collected::Stored { seq: 6 });
    }
    drop(store);
    disk.damage(&folder.join("records.redb"), |bytes| bytes.iter_mut().skip(64).for_each(|byte| *byte ^= 0x5a));
    assert!(generation::open(&disk, folder, Others::None, ID).is_err(), "nobody else has them");

    for _start in 0..2 {
        let Opened { store, set_aside, .. } = generation::open(&disk, folder, Others::Equal, ID).unwrap();
        assert_eq!((set_aside, store.last_arrival().unwrap()), (1, 0));
        assert_eq!(store.copied().unwrap(), Some(BTreeMap::new()));
    }
    let store = generation::open(&disk, folder, Others::Equal, ID).unwrap().store;
    // An edge does not wait until everything is copied.
    assert_eq!(store.put(&edge("e1"), &records[4..]), Collected::Stored { seq: 9 });
    let copies: Vec<_> = records[..6].iter().map(|record| (edge("e1"), record.clone())).collect();
    for _twice in 0..2 {
        store.copy(voter, (ID, 6), &copies).unwrap();
        assert_eq!(store.last_arrival().unwrap(), 9);
    }
    assert_eq!(store.copied().unwrap(), Some(BTreeMap::from([(voter, (ID, 6))])));
    store.complete().unwrap();
    drop(store);
    let store = generation::open(&disk.after_power_cut(0, 0), folder, Others::Older, ID).unwrap().store;
    assert_eq!(store.copied().unwrap(), None);
    assert_eq!(store.since(Some(0), 100).unwrap().records.len(), 9);
    // The whole chain is there, so what contradicts it is found.
    assert_eq!(store.put(&edge("e1"), &records[..9]), Collected::Stored { seq: 9 });
    let elsewhere = chain("e1", 7, 1, records[2].hash);
    assert_eq!(store.put(&edge("e1"), &elsewhere), Collected::Fork { seq: 1, stored: records[2].hash });
}

fn hearsay(records: &[Arriving]) -> Vec<(EdgeId, Arriving)> {
    records.iter().map(|record| (edge("e1"), record.clone())).collect()
}

fn hashes(store: &Store) -> Vec<Digest> {
    store.since(Some(0), 100).unwrap().records.into_iter().map(|record| record.hash).collect()
}

fn shown(store: &Store) -> Vec<Digest> {
    let query = |tenant: &str| {
        let tenant = TenantId::new(tenant).unwrap();
        store.query(&RecordQuery { tenant, id: None, after: None, limit: 100, newest: false }).unwrap()
    };
    ["acme", "globex"].into_iter().flat_map(query).map(|record| record.hash).collect()
}

/// Another chain of the same edge and boot, as a voter can invent it: only the hashes differ.
fn invented(records: &[Arriving]) -> Vec<Arriving> {
    let invent = |record: &Arriving| Arriving {
        hash: Digest::of(&[b"invented", &record.hash.0]),
        decision: Some(DecisionId::new(Timestamp::from_millis(record.seq), [0xee; 10])),
        ..record.clone()
    };
    records.iter().map(invent).collect()
}

/// K-18: a lying voter invents what an edge is about to send. The edge's own batch is no fork, and takes its place.
#[test]
fn records_that_a_voter_invents_make_no_fork_of_what_the_edge_sends() {
    let store = Store::in_memory();
    let records = chain("e1", 1, 6, Digest::default());
    assert_eq!(store.put(&edge("e1"), &records[..3]), Collected::Stored { seq: 3 });
    // In the next places, in a place that is taken, and as a second boot that continues the same head.
    let mut lies = invented(&records[2..]);
    lies.extend(chain("e1", 9, 1, records[2].hash));
    store.copy(VoterId(3), (ID, 5), &hearsay(&lies)).unwrap();
    assert_eq!(store.put(&edge("e1"), &records[3..]), Collected::Stored { seq: 6 });
    assert_eq!(store.put(&edge("e1"), &chain("e1", 2, 1, records[5].hash)), Collected::Stored { seq: 1 });
    // What was invented for places that the edge has filled is gone, and the count of arrivals has no hole.
    let last = usize::try_from(store.last_arrival().unwrap()).unwrap();
    assert_eq!(hashes(&store).len(), last);
    for record in &records {
        assert!(hashes(&store).contains(&record.hash) && shown(&store).contains(&record.hash), "{}", record.seq);
    }
    for lie in &lies[..4] {
        assert!(!hashes(&store).contains(&lie.hash) && !shown(&store).contains(&lie.hash), "{}", lie.seq);
    }
    // A fork of what edges themselves sent is found as ever.
    let elsewhere = invented(&records[4..5]);
    assert_eq!(store.put(&edge("e1"), &elsewhere), Collected::Fork { seq: 5, stored: records[4].hash },);
}

/// K-18: a forgery that is read first hides no acknowledged record.
#[test]
fn a_forgery_that_is_copied_first_does_not_keep_the_true_record_out() {
    let (store, next) = (Store::in_memory(), Store::in_memory());
    let records = chain("e1", 1, 4, Digest::default());
    for _twice in 0..2 {
        store.copy(VoterId(3), (ID, 4), &hearsay(&invented(&records))).unwrap();
        store.copy(VoterId(2), (ID, 4), &hearsay(&records)).unwrap();
        assert_eq!(store.last_arrival().unwrap(), 8, "each of them once");
    }
    for record in &records {
        assert!(hashes(&store).contains(&record.hash) && shown(&store).contains(&record.hash), "{}", record.seq);
    }
    // Whoever copies from here gets both, and the edge's word settles it.
    let both: Vec<_> = invented(&records).into_iter().chain(records.clone()).collect();
    next.copy(VoterId(1), (ID, 8), &hearsay(&both)).unwrap();
    assert_eq!(hashes(&next).len(), 8);
    assert_eq!(next.put(&edge("e1"), &records), Collected::Stored { seq: 4 });
    assert_eq!(next.last_arrival().unwrap(), 8, "they had arrived");
    assert_eq!(shown(&next).len(), 4);
    assert!(hashes(&next).iter().all(|hash| records.iter().any(|record| record.hash == *hash)));
}

/// K-18: damage that opening does not read is found before the file is in use, or noted for the next start.
#[test]
fn a_file_that_is_damaged_anywhere_does_not_end_every_start() {
    let folder = Path::new("/data");
    let file = folder.join("records.redb");
    let filled = || {
        let disk = FaultDisk::default();
        let Opened { store, .. } = generation::open(&disk, folder, Others::Equal, ID).unwrap();
        assert_eq!(store.put(&edge("e1"), &chain("e1", 1, 30, Digest::default())), Collected::Stored { seq: 30 });
        drop(store);
        disk
    };
    let mut len = 0;
    filled().damage(&file, |bytes| len = bytes.len());
    let mut set_aside = 0;
    for page in (0..len).step_by(4096) {
        let disk = filled();
        disk.damage(&file, |bytes| bytes.iter_mut().skip(page).take(4096).for_each(|byte| *byte ^= 0x5a));
        // On some pages redb panics; whatever error it gives, the file is set aside.
        let open = std::panic::AssertUnwindSafe(|| generation::open(&disk, folder, Others::Equal, ID));
        if let Ok(opened) = std::panic::catch_unwind(open) {
            set_aside += opened.unwrap().set_aside;
        }
    }
    assert!(set_aside > 0);

    let disk = filled();
    generation::mark(&disk, folder).unwrap();
    let Opened { store, set_aside, .. } = generation::open(&disk, folder, Others::None, ID).unwrap();
    assert_eq!((set_aside, store.last_arrival().unwrap()), (0, 30), "nobody else has them");
    drop(store);
    for _start in 0..2 {
        let Opened { set_aside, last_arrival, lacks, .. } = generation::open(&disk, folder, Others::Equal, ID).unwrap();
        assert_eq!((set_aside, last_arrival, lacks), (1, 0, true));
    }
}

/// K-18: arrivals are counted in one store, which keeps its number; the next one has another.
#[test]
fn a_store_keeps_its_number() {
    let (folder, disk, other) = (Path::new("/data"), FaultDisk::default(), StoreId([2; 16]));
    assert_eq!(generation::open(&disk, folder, Others::Equal, ID).unwrap().store.id(), ID);
    assert_eq!(generation::open(&disk, folder, Others::Equal, other).unwrap().store.id(), ID);
    generation::mark(&disk, folder).unwrap();
    assert_eq!(generation::open(&disk, folder, Others::Equal, other).unwrap().store.id(), other);
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
