//! What kills and power cuts leave.

use std::collections::BTreeSet;
use std::io::ErrorKind;

use proptest::prelude::*;
use remit_common::net::env::{AppendFile, RandomFile};

use super::{content, disk, path};
use crate::sim::disk::SimDisk;

fn grow(disk: &SimDisk) -> Box<dyn AppendFile> {
    disk.process().open_append(&path("file")).unwrap()
}

fn random(disk: &SimDisk) -> Box<dyn RandomFile> {
    disk.process().open_random(&path("file")).unwrap()
}

/// Where the steps write: on both sides of a page's border.
const NEAR: usize = 4000;

#[derive(Debug, Clone)]
enum Step {
    Write(usize, Vec<u8>),
    SetLen(usize),
    Sync,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let bytes = proptest::collection::vec(1u8..=255, 1..40);
    let step = prop_oneof![
        4 => (NEAR..NEAR + 200, bytes).prop_map(|(at, bytes)| Step::Write(at, bytes)),
        1 => (NEAR..NEAR + 240).prop_map(Step::SetLen),
        2 => Just(Step::Sync),
    ];
    proptest::collection::vec(step, 0..40)
}

fn put(image: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    image.resize(image.len().max(at + bytes.len()), 0);
    image[at..at + bytes.len()].copy_from_slice(bytes);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// A file that grows keeps what was synced, and a beginning of the rest; after that at most zeros.
    #[test]
    fn what_grows_keeps_a_beginning(
        seed: u64, synced in proptest::collection::vec(1u8..=255, 0..300),
        rest in proptest::collection::vec(proptest::collection::vec(1u8..=255, 1..60), 0..8),
    ) {
        let disk = disk(seed);
        let mut file = grow(&disk);
        file.append(&synced).unwrap();
        file.sync().unwrap();
        for bytes in &rest {
            file.append(bytes).unwrap();
        }
        disk.crash();
        let all = [synced.clone(), rest.concat()].concat();
        let left = content(&disk, "file").unwrap();
        let kept = left.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        prop_assert!(kept >= synced.len());
        prop_assert_eq!(&left[..kept], &all[..kept]);
        prop_assert!(left.len() == kept || left.len() == all.len());
    }

    /// In a file that is written anywhere, each byte after a power cut is one that stood there since the last sync.
    #[test]
    fn what_is_written_anywhere_keeps_what_was_synced(seed: u64, steps in steps()) {
        let disk = disk(seed);
        let file = random(&disk);
        let mut image = Vec::new();
        // Per byte: what may be there. Beyond an image's end there is a zero, or no byte.
        let mut possible = vec![BTreeSet::from([0u8]); 240];
        let mut lens = (0, 0);
        for step in steps {
            match step {
                Step::Write(at, bytes) => {
                    file.write_all_at(u64::try_from(at).unwrap(), &bytes).unwrap();
                    put(&mut image, at, &bytes);
                }
                Step::SetLen(len) => {
                    file.set_len(u64::try_from(len).unwrap()).unwrap();
                    image.resize(len, 0);
                    possible[len - NEAR..].iter_mut().for_each(|bytes| { bytes.insert(0); });
                }
                Step::Sync => {
                    file.sync().unwrap();
                    possible.iter_mut().for_each(BTreeSet::clear);
                    lens = (image.len(), image.len());
                }
            }
            lens = (lens.0.min(image.len()), lens.1.max(image.len()));
            for (at, bytes) in possible.iter_mut().enumerate() {
                bytes.insert(image.get(NEAR + at).copied().unwrap_or(0));
            }
        }
        prop_assert_eq!(content(&disk, "file").unwrap(), image);
        disk.crash();
        let left = content(&disk, "file").unwrap();
        prop_assert!((lens.0..=lens.1).contains(&left.len()), "{} not in {lens:?}", left.len());
        prop_assert!(left.iter().take(NEAR).all(|byte| *byte == 0));
        for (at, byte) in left.iter().skip(NEAR).enumerate() {
            prop_assert!(possible[at].contains(byte), "byte {at}");
        }
    }

    /// The power may go in the middle of anything: a replaced file is old or new, and nothing else is in sight.
    #[test]
    fn a_replacement_is_whole_or_not_there(seed: u64, after in 0u64..3, new in proptest::collection::vec(any::<u8>(), 0..50)) {
        let disk = disk(seed);
        let process = disk.process();
        process.replace(&path("file"), b"old").unwrap();
        disk.crash_after_ops(after);
        let done: Vec<bool> = (0..3).map(|_| process.replace(&path("file"), &new).is_ok()).collect();
        prop_assert_eq!(done.iter().filter(|done| **done).count(), usize::try_from(after).unwrap());
        prop_assert!(disk.is_off());
        prop_assert!(disk.process().read(&path("file"), 100).is_err());
        disk.crash();
        let left = content(&disk, "file").unwrap();
        prop_assert!(left == new || (after == 0 && left == b"old"));
        prop_assert_eq!(disk.process().list(&path("")).unwrap(), ["file"]);
    }
}

/// The draws are worth something: each of these happens.
#[test]
fn every_kind_of_loss_occurs() {
    let mut grown = BTreeSet::new();
    let mut written = BTreeSet::new();
    let (mut torn, mut old, mut new, mut zeros) = (0, 0, 0, 0);
    for seed in 0..400 {
        let disk = disk(seed);
        let mut file = grow(&disk);
        file.append(b"abcd").unwrap();
        file.append(b"efgh").unwrap();
        disk.crash();
        let left = content(&disk, "file").unwrap();
        zeros += u32::from(left.ends_with(&[0]));
        grown.insert(left.iter().filter(|byte| **byte != 0).count());

        let disk = super::disk(seed);
        let file = random(&disk);
        file.set_len(4 * 4096).unwrap();
        file.sync().unwrap();
        file.write_all_at(0, &[7; 4 * 4096]).unwrap();
        disk.crash();
        let left = content(&disk, "file").unwrap();
        let pages: Vec<usize> = left.chunks(4096).map(|page| page.iter().filter(|byte| **byte == 7).count()).collect();
        torn += u32::from(pages.iter().any(|kept| !matches!(kept, 0 | 4096)));
        written.insert(pages.iter().map(|kept| u8::from(*kept == 4096)).collect::<Vec<_>>());

        let disk = super::disk(seed);
        disk.process().replace(&path("x"), b"old").unwrap();
        disk.crash_after_ops(0);
        disk.process().replace(&path("x"), b"new").unwrap_err();
        disk.crash();
        match content(&disk, "x").unwrap().as_slice() {
            b"old" => old += 1,
            _ => new += 1,
        }
    }
    assert_eq!(grown.into_iter().collect::<Vec<_>>(), (0..=8).collect::<Vec<_>>(), "cut at every byte");
    assert_eq!(written.len(), 16, "every subset of four pages");
    assert!(torn > 50 && old > 50 && new > 50 && zeros > 10, "{torn} {old} {new} {zeros}");
}

#[test]
fn a_kill_loses_nothing_but_a_power_cut_after_it_does() {
    let (mut lost, mut kept) = (0, 0);
    for seed in 0..100 {
        let disk = disk(seed);
        grow(&disk).append(b"not synced").unwrap();
        disk.kill();
        assert_eq!(content(&disk, "file").unwrap(), b"not synced");
        disk.crash();
        if content(&disk, "file").unwrap() == b"not synced" { kept += 1 } else { lost += 1 }
    }
    assert!(lost > 10 && kept > 5, "{lost} {kept}");
}

/// A database that is dropped long after its host was killed must not touch what the next process does.
#[test]
fn the_files_of_the_dead_are_closed() {
    for end in [SimDisk::kill, SimDisk::crash] {
        let disk = disk(1);
        let process = disk.process();
        let mut old = process.open_append(&path("file")).unwrap();
        let anywhere = process.open_random(&path("other")).unwrap();
        old.append(b"a").unwrap();
        old.sync().unwrap();
        end(&disk);
        let (mut new, other) = (grow(&disk), disk.process().open_random(&path("other")).unwrap());
        new.append(b"b").unwrap();
        assert!(old.append(b"x").is_err());
        assert!(old.truncate(0).is_err() && old.sync().is_err() && old.read_at(0, &mut [0]).is_err());
        assert!(anywhere.len().is_err() && anywhere.write_all_at(0, b"x").is_err() && anywhere.set_len(9).is_err());
        assert!(process.replace(&path("file"), b"x").is_err() && process.remove(&path("file")).is_err());
        assert!(process.read(&path("file"), 9).is_err() && process.list(&path("")).is_err());
        drop((old, anywhere, process));
        let again = disk.process().open_append(&path("file")).unwrap_err();
        assert_eq!(again.kind(), ErrorKind::WouldBlock, "the lock of the living holds");
        assert_eq!(content(&disk, "file").unwrap(), b"ab");
        drop(other);
    }
}

#[test]
fn the_same_seed_loses_the_same() {
    let run = |seed| {
        let disk = disk(seed);
        let file = random(&disk);
        for page in 0..64 {
            file.write_all_at(page * 4096, &[9; 4096]).unwrap();
        }
        disk.crash();
        content(&disk, "file").unwrap()
    };
    assert_eq!(run(5), run(5));
    assert_ne!(run(5), run(6));
}
