//! The same questions to both disks.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use remit_common::net::env::Disk;
use remit_common::net::real::real;

use super::disk;

fn on_both(ask: impl Fn(&dyn Disk, &Path)) {
    let folder = tempfile::tempdir().unwrap();
    let real: Arc<dyn Disk> = real().disk;
    for (name, disk) in [("the machine's", real), ("the simulated", disk(1).process())] {
        println!("asking {name} disk");
        let folder = folder.path().join("one").join("two");
        disk.create_dir(&folder).unwrap();
        ask(&*disk, &folder);
    }
}

fn kind<T>(result: std::io::Result<T>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

#[test]
fn whole_files() {
    on_both(|disk, folder| {
        let file = folder.join("file");
        assert_eq!(disk.read(&file, 10).unwrap(), None);
        disk.replace(&file, b"old").unwrap();
        disk.replace(&file, b"newer").unwrap();
        assert_eq!(disk.read(&file, 5).unwrap().unwrap(), b"newer");
        assert_eq!(kind(disk.read(&file, 4)), Some(ErrorKind::FileTooLarge));
        disk.remove(&file).unwrap();
        disk.remove(&file).unwrap();
        assert_eq!(disk.read(&file, 10).unwrap(), None);
        disk.replace(&file, b"").unwrap();
        assert_eq!(disk.read(&file, 0).unwrap().unwrap(), b"");
    });
}

#[test]
fn folders() {
    on_both(|disk, folder| {
        assert_eq!(disk.list(&folder.join("none")).unwrap(), Vec::<String>::new());
        disk.create_dir(folder).unwrap();
        disk.create_dir(&folder.join("inner")).unwrap();
        for name in ["b", "a", ".hidden", ".half.new"] {
            disk.replace(&folder.join(name), b"x").unwrap();
        }
        drop(disk.open_append(&folder.join("c")).unwrap());
        assert_eq!(disk.list(folder).unwrap(), [".hidden", "a", "b", "c"], "neither folders nor what is half written");
        assert_eq!(disk.list(&folder.join(".")).unwrap().len(), 4);
    });
}

#[test]
fn wrong_names() {
    on_both(|disk, folder| {
        let (file, inner) = (folder.join("file"), folder.join("inner"));
        disk.replace(&file, b"x").unwrap();
        disk.create_dir(&inner).unwrap();
        let (missing, below) = (folder.join("none").join("x"), file.join("x"));
        assert_eq!(kind(disk.replace(&missing, b"")), Some(ErrorKind::NotFound));
        assert_eq!(kind(disk.open_append(&missing)), Some(ErrorKind::NotFound));
        assert_eq!(kind(disk.open_random(&missing)), Some(ErrorKind::NotFound));
        assert_eq!(kind(disk.remove(&missing)), None);
        assert_eq!(disk.read(&missing, 1).unwrap(), None);
        assert_eq!(kind(disk.replace(&below, b"")), Some(ErrorKind::NotADirectory));
        assert_eq!(kind(disk.open_append(&below)), Some(ErrorKind::NotADirectory));
        assert_eq!(kind(disk.remove(&below)), Some(ErrorKind::NotADirectory));
        assert_eq!(kind(disk.read(&below, 1)), Some(ErrorKind::NotADirectory));
        assert_eq!(kind(disk.create_dir(&below)), Some(ErrorKind::NotADirectory));
        assert_eq!(kind(disk.create_dir(&file)), Some(ErrorKind::AlreadyExists));
        assert_eq!(kind(disk.list(&file)), Some(ErrorKind::NotADirectory));
        assert_eq!(kind(disk.replace(&inner, b"")), Some(ErrorKind::IsADirectory));
        assert_eq!(kind(disk.open_random(&inner)), Some(ErrorKind::IsADirectory));
        assert_eq!(kind(disk.remove(&inner)), Some(ErrorKind::IsADirectory));
        assert_eq!(kind(disk.replace(Path::new("/"), b"")), Some(ErrorKind::InvalidInput));
        assert_eq!(kind(disk.open_append(&folder.join(".."))), Some(ErrorKind::InvalidInput));
    });
}

#[test]
fn files_that_grow() {
    on_both(|disk, folder| {
        let file = folder.join("file");
        let mut open = disk.open_append(&file).unwrap();
        assert!(open.is_empty());
        open.append(b"abc").unwrap();
        open.append(b"defgh").unwrap();
        assert_eq!(open.len(), 8);
        let mut out = [0; 4];
        assert_eq!(open.read_at(2, &mut out).unwrap(), 4);
        assert_eq!(&out, b"cdef");
        assert_eq!(open.read_at(6, &mut out).unwrap(), 2);
        assert_eq!(&out[..2], b"gh");
        assert_eq!(open.read_at(8, &mut out).unwrap(), 0);
        assert_eq!(open.read_at(100, &mut out).unwrap(), 0);
        open.sync().unwrap();
        open.truncate(3).unwrap();
        open.append(b"X").unwrap();
        assert_eq!(disk.read(&file, 10).unwrap().unwrap(), b"abcX", "others see what is not synced, too");
        open.truncate(6).unwrap();
        assert_eq!(disk.read(&file, 10).unwrap().unwrap(), b"abcX\0\0");
        drop(open);
        assert_eq!(disk.open_append(&file).unwrap().len(), 6);
    });
}

#[test]
fn files_written_anywhere() {
    on_both(|disk, folder| {
        let file = folder.join("file");
        let open = disk.open_random(&file).unwrap();
        assert_eq!(open.len().unwrap(), 0);
        open.write_all_at(4, b"tail").unwrap();
        assert_eq!(disk.read(&file, 10).unwrap().unwrap(), b"\0\0\0\0tail");
        open.write_all_at(0, b"head").unwrap();
        open.sync().unwrap();
        let mut out = [0; 6];
        open.read_exact_at(2, &mut out).unwrap();
        assert_eq!(&out, b"adtail");
        assert_eq!(kind(open.read_exact_at(3, &mut out)), Some(ErrorKind::UnexpectedEof));
        open.set_len(2).unwrap();
        open.set_len(5).unwrap();
        assert_eq!(disk.read(&file, 10).unwrap().unwrap(), b"he\0\0\0");
        assert_eq!(open.len().unwrap(), 5);
    });
}

#[test]
fn one_opening_at_a_time() {
    on_both(|disk, folder| {
        let file = folder.join("file");
        let open = disk.open_append(&file).unwrap();
        assert_eq!(kind(disk.open_append(&file)), Some(ErrorKind::WouldBlock));
        assert_eq!(kind(disk.open_random(&file)), Some(ErrorKind::WouldBlock));
        drop(open);
        let open = disk.open_random(&file).unwrap();
        assert_eq!(kind(disk.open_append(&file)), Some(ErrorKind::WouldBlock));
        drop(open);
        disk.open_append(&file).unwrap();
    });
}

/// A lock is on the file, not on its name.
#[test]
fn an_open_file_outlives_its_name() {
    on_both(|disk, folder| {
        let file = folder.join("file");
        let old = disk.open_random(&file).unwrap();
        old.write_all_at(0, b"old").unwrap();
        disk.replace(&file, b"new").unwrap();
        let new = disk.open_random(&file).unwrap();
        old.write_all_at(0, b"OLD").unwrap();
        assert_eq!(disk.read(&file, 10).unwrap().unwrap(), b"new");
        drop(old);
        assert_eq!(kind(disk.open_random(&file)), Some(ErrorKind::WouldBlock));
        disk.remove(&file).unwrap();
        assert_eq!(new.len().unwrap(), 3);
        assert_eq!(disk.open_random(&file).unwrap().len().unwrap(), 0);
    });
}
