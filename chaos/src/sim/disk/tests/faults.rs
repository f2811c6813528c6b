//! Full disks, failing syncs, rotten bits, and what watchers hear.

use std::io::ErrorKind;
use std::sync::{Arc, Mutex};

use super::{content, disk, path};
use crate::sim::disk::Op;

#[test]
fn a_full_disk_takes_nothing_new() {
    let disk = disk(1);
    let process = disk.process();
    let mut grows = process.open_append(&path("grows")).unwrap();
    grows.append(&[1; 5000]).unwrap();
    let anywhere = process.open_random(&path("anywhere")).unwrap();
    anywhere.write_all_at(0, b"abcdef").unwrap();
    process.replace(&path("whole"), b"old").unwrap();
    disk.set_full(true);
    let full = |result: std::io::Result<()>| assert_eq!(result.unwrap_err().kind(), ErrorKind::StorageFull);
    full(grows.append(&[2; 9000]));
    assert_eq!(grows.len(), 5000, "how much was written is unknown: truncate");
    grows.truncate(4000).unwrap();
    full(process.replace(&path("whole"), b"new"));
    full(process.replace(&path("another"), b"new"));
    full(process.create_dir(&path("folder")));
    full(process.open_append(&path("third")).map(drop));
    full(anywhere.set_len(7));
    anywhere.write_all_at(1, b"XYZ").unwrap();
    anywhere.set_len(5).unwrap();
    anywhere.sync().unwrap();
    process.create_dir(&path("")).unwrap();
    process.remove(&path("none")).unwrap();
    disk.set_full(false);
    grows.append(b"more").unwrap();
    assert_eq!(content(&disk, "whole").unwrap(), b"old");
    assert_eq!(content(&disk, "anywhere").unwrap(), b"aXYZe");
    assert_eq!(content(&disk, "grows").unwrap(), [[1; 4000].as_slice(), b"more"].concat());
    assert_eq!(process.list(&path("")).unwrap(), ["anywhere", "grows", "whole"]);
}

/// As on Linux: after a sync that failed, the next one succeeds and says nothing about what was lost.
#[test]
fn a_failed_sync_loses_what_later_syncs_do_not_bring_back() {
    let (mut lost, mut kept) = (0, 0);
    for seed in 0..100 {
        let disk = disk(seed);
        let mut file = disk.process().open_append(&path("file")).unwrap();
        file.append(b"safe").unwrap();
        file.sync().unwrap();
        file.append(b"risk").unwrap();
        disk.fail_sync_after(1);
        disk.process().replace(&path("other"), b"works").unwrap();
        file.sync().unwrap_err();
        file.sync().unwrap();
        assert_eq!(content(&disk, "file").unwrap(), b"saferisk", "readers do not notice");
        disk.crash();
        let left = content(&disk, "file").unwrap();
        assert!(left.starts_with(b"safe"));
        if left == b"saferisk" { kept += 1 } else { lost += 1 }
    }
    assert!(lost > 20 && kept > 5, "{lost} {kept}");
}

#[test]
fn a_replacement_whose_sync_fails_leaves_the_old_file() {
    let disk = disk(1);
    disk.process().replace(&path("file"), b"old").unwrap();
    disk.fail_next_sync();
    disk.process().replace(&path("file"), b"new").unwrap_err();
    assert_eq!(content(&disk, "file").unwrap(), b"old");
    assert_eq!(disk.process().list(&path("")).unwrap(), ["file"], "what is half written is hidden");
    disk.process().replace(&path("file"), b"new").unwrap();
    assert_eq!(disk.stats().syncs_failed, 1);
}

#[test]
fn a_rotten_bit_stays_rotten() {
    let disk = disk(1);
    disk.process().replace(&path("file"), b"abc").unwrap();
    disk.flip_bit(&path("file"), 1, 0).unwrap();
    disk.crash();
    assert_eq!(content(&disk, "file").unwrap(), b"acc");
    let byte = disk.flip_any_bit(&path("file")).unwrap();
    assert!(byte < 3);
    assert_ne!(content(&disk, "file").unwrap(), b"acc");
    assert_eq!(disk.flip_bit(&path("file"), 3, 0).unwrap_err().kind(), ErrorKind::UnexpectedEof);
    assert_eq!(disk.flip_any_bit(&path("none")).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn the_power_goes_in_the_middle_and_somebody_hears_of_it() {
    let disk = disk(3);
    let heard = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&heard);
    disk.watch(move |event| log.lock().unwrap().push((event.op, event.to_string())));
    let mut file = disk.process().open_append(&path("file")).unwrap();
    disk.crash_after_ops(2);
    file.append(b"ab").unwrap();
    file.sync().unwrap();
    file.append(b"cd").unwrap_err();
    file.append(b"ef").unwrap_err();
    assert!(disk.is_off());
    disk.crash();
    assert!(content(&disk, "file").unwrap().starts_with(b"ab"));
    let heard = heard.lock().unwrap();
    let lines: Vec<&str> = heard.iter().map(|(_, line)| line.as_str()).collect();
    let expected =
        ["create 0 /data/file", "append 2 /data/file", "sync 0 /data/file", "append 2 /data/file", "power-cut 0 "];
    assert_eq!(lines, expected);
    assert_eq!(disk.stats().power_cuts, 1, "giving the power back is not another cut");
}

#[test]
fn secrets_are_found_wherever_they_were_written() {
    let disk = disk(1);
    disk.forbid(b"hunter2");
    let heard = Arc::new(Mutex::new(0));
    let count = Arc::clone(&heard);
    disk.watch(move |event| *count.lock().unwrap() += u32::from(event.op == Op::Forbidden));
    let process = disk.process();
    process.replace(&path("clean"), b"hunter1 hunter3 huhunte2").unwrap();
    assert!(disk.leaks().is_empty() && disk.scan(b"hunter2").is_empty());
    let mut grows = process.open_append(&path("grows")).unwrap();
    grows.append(b"hunhunt").unwrap();
    grows.append(b"er2").unwrap();
    assert_eq!(disk.leaks(), [path("grows")], "across two writes");
    assert_eq!(disk.scan(b"hunter2"), [path("grows")]);
    grows.truncate(0).unwrap();
    assert!(disk.scan(b"hunter2").is_empty());
    assert_eq!(disk.leaks(), [path("grows")], "gone, but it was there");
    let anywhere = process.open_random(&path("anywhere")).unwrap();
    anywhere.write_all_at(3, b"er2").unwrap();
    anywhere.write_all_at(0, b"hunt").unwrap();
    assert_eq!(disk.scan(b"hunter2"), Vec::<std::path::PathBuf>::new());
    anywhere.write_all_at(0, b"hunter2").unwrap();
    anywhere.sync().unwrap();
    anywhere.write_all_at(0, b"xxxxxxx").unwrap();
    assert_eq!(disk.scan(b"hunter2"), [path("anywhere")], "the disk still has it");
    assert_eq!(disk.leaks(), [path("anywhere"), path("grows")]);
    assert_eq!(*heard.lock().unwrap(), 2);
}
