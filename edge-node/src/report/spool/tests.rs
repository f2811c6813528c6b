use std::io;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use remit_common::net::env::RandomFile;
use remit_common::net::real;

use super::*;

const BOOT: BootId = BootId([1; 16]);
const NEXT_BOOT: BootId = BootId([2; 16]);

fn link(seq: u64) -> Link {
    let hash = |seq: u64| Digest::of(&[b"hash", &seq.to_be_bytes()]);
    Link { seq, before: hash(seq - 1), hash: hash(seq), bytes: format!("record {seq}").into_bytes().into() }
}

fn links(seqs: std::ops::RangeInclusive<u64>) -> Vec<Link> {
    seqs.map(link).collect()
}

fn texts(spool: &Spool, disk: &dyn Disk, folder: &Path, at: usize, from_seq: u64) -> Vec<String> {
    read_from(disk, folder, &spool.segments()[at], from_seq, usize::MAX)
        .unwrap()
        .iter()
        .map(|record| String::from_utf8(record.to_vec()).unwrap())
        .collect()
}

#[test]
fn the_chain_goes_on_where_the_disk_ends() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let disk = real::real().disk;
    let (mut spool, tail) = Spool::open(Arc::clone(&disk), folder.path(), BOOT)?;
    assert_eq!(tail, Tail { head_before: Digest::default(), last: None, holes: vec![] });
    spool.commit(&links(1..=3))?;
    spool.commit(&links(4..=4))?;
    drop(spool);
    let (spool, tail) = Spool::open(Arc::clone(&disk), folder.path(), NEXT_BOOT)?;
    assert_eq!(tail.last.as_deref(), Some(b"record 4".as_slice()));
    assert_eq!(tail.holes, []);
    assert_eq!(texts(&spool, &*disk, folder.path(), 0, 3), ["record 3", "record 4"]);
    assert_eq!(spool.segments()[0].last_seq(), 4);
    Ok(())
}

#[test]
fn a_torn_end_is_cut_and_told() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let disk = real::real().disk;
    let (mut spool, _) = Spool::open(Arc::clone(&disk), folder.path(), BOOT)?;
    spool.commit(&links(1..=3))?;
    drop(spool);
    let file = folder.path().join(name(0));
    let mut segment = disk.open_append(&file)?;
    segment.truncate(segment.len() - 2)?;
    drop(segment);
    let (spool, tail) = Spool::open(Arc::clone(&disk), folder.path(), NEXT_BOOT)?;
    assert_eq!(tail.last.as_deref(), Some(b"record 2".as_slice()));
    assert_eq!(tail.holes, [Hole { cause: GapCause::TornTail, boot: BOOT, after_seq: 2 }]);
    drop(spool);
    let (_, tail) = Spool::open(disk, folder.path(), NEXT_BOOT)?;
    assert_eq!(tail.holes, [], "what was cut is not found again");
    Ok(())
}

/// Clause N-8: it has no records, and the chain goes on after the last one in the file before it, not from nothing.
#[test]
fn a_segment_that_was_never_begun_is_removed_and_the_chain_goes_on_before_it() -> anyhow::Result<()> {
    for torn in [segment::MAGIC.as_slice(), &[0; HEADER_BYTES], &[]] {
        let folder = tempfile::tempdir()?;
        let disk = real::real().disk;
        let (mut spool, _) = Spool::open(Arc::clone(&disk), folder.path(), BOOT)?;
        spool.commit(&links(1..=1))?;
        drop(spool);
        for number in [1, 2] {
            disk.open_append(&folder.path().join(name(number)))?.append(torn)?;
        }
        let (mut spool, tail) = Spool::open(Arc::clone(&disk), folder.path(), NEXT_BOOT)?;
        assert_eq!(tail, Tail { head_before: link(1).before, last: Some(b"record 1".to_vec()), holes: vec![] });
        assert_eq!(spool.segments().len(), 1);
        spool.commit(&[Link { seq: 1, ..link(2) }])?;
        assert_eq!(disk.list(folder.path())?, [name(0), name(3)]);
        let (spool, _) = Spool::open(Arc::clone(&disk), folder.path(), BOOT)?;
        assert_eq!(spool.segments().len(), 2);
    }
    Ok(())
}

#[test]
fn only_what_a_majority_has_is_removed_and_the_newest_never() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let disk = real::real().disk;
    let (mut spool, _) = Spool::open(Arc::clone(&disk), folder.path(), BOOT)?;
    spool.commit(&links(1..=3))?;
    drop(spool);
    let (mut spool, _) = Spool::open(Arc::clone(&disk), folder.path(), NEXT_BOOT)?;
    spool.commit(&links(1..=2))?;
    spool.trim(&BTreeMap::from([(BOOT, 2), (NEXT_BOOT, 2)]))?;
    assert_eq!(spool.segments().len(), 2, "record 3 is not acknowledged");
    spool.trim(&BTreeMap::from([(BOOT, 3), (NEXT_BOOT, 2)]))?;
    assert_eq!(disk.list(folder.path())?, [name(1)]);
    Ok(())
}

#[test]
fn files_of_others_are_not_touched() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let disk = real::real().disk;
    disk.replace(&folder.path().join("notes.txt"), b"mine")?;
    let error = Spool::open(disk, folder.path(), BOOT).unwrap_err();
    assert!(matches!(error, SpoolUnusable::Foreign { .. }), "{error}");
    Ok(())
}

/// A disk whose files fail to sync on demand, after the bytes are written.
struct Failing {
    real: Arc<dyn Disk>,
    broken: Arc<AtomicBool>,
    /// Names of files that were written once more, whole.
    replaced: Arc<Mutex<Vec<String>>>,
}

#[derive(Debug)]
struct FailingFile {
    real: Box<dyn AppendFile>,
    broken: Arc<AtomicBool>,
}

impl AppendFile for FailingFile {
    fn len(&self) -> u64 {
        self.real.len()
    }
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.real.append(bytes)
    }
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        self.real.read_at(offset, out)
    }
    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.real.truncate(len)
    }
    fn sync(&mut self) -> io::Result<()> {
        if self.broken.load(Ordering::Relaxed) { Err(io::ErrorKind::StorageFull.into()) } else { self.real.sync() }
    }
}

impl Disk for Failing {
    fn read(&self, path: &Path, bytes_max: usize) -> io::Result<Option<Vec<u8>>> {
        self.real.read(path, bytes_max)
    }
    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.real.replace(path, bytes)?;
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        self.replaced.lock().unwrap().push(file);
        Ok(())
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.real.remove(path)
    }
    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        self.real.list(folder)
    }
    fn create_dir(&self, folder: &Path) -> io::Result<()> {
        self.real.create_dir(folder)
    }
    fn open_append(&self, path: &Path) -> io::Result<Box<dyn AppendFile>> {
        Ok(Box::new(FailingFile { real: self.real.open_append(path)?, broken: Arc::clone(&self.broken) }))
    }
    fn open_random(&self, path: &Path) -> io::Result<Box<dyn RandomFile>> {
        self.real.open_random(path)
    }
}

/// The bytes of a failed commit may be on the disk all the same: the same records then stand in two files, and count
/// once.
#[test]
fn after_a_failed_sync_records_are_repeated_never_replaced() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let broken = Arc::new(AtomicBool::new(false));
    let disk: Arc<dyn Disk> =
        Arc::new(Failing { real: real::real().disk, broken: Arc::clone(&broken), replaced: Arc::default() });
    let (mut spool, _) = Spool::open(Arc::clone(&disk), folder.path(), BOOT)?;
    spool.commit(&links(1..=2))?;
    broken.store(true, Ordering::Relaxed);
    assert!(spool.commit(&links(3..=4)).is_err());
    assert!(spool.commit(&links(3..=5)).is_err());
    broken.store(false, Ordering::Relaxed);
    spool.commit(&links(3..=5))?;
    let check = |spool: &Spool| {
        let all: Vec<String> =
            (0..spool.segments().len()).flat_map(|at| texts(spool, &*disk, folder.path(), at, 0)).collect();
        assert_eq!(all, ["record 1", "record 2", "record 3", "record 4", "record 5"]);
    };
    check(&spool);
    drop(spool);
    let (spool, tail) = Spool::open(Arc::clone(&disk), folder.path(), NEXT_BOOT)?;
    assert_eq!(tail.holes, []);
    check(&spool);
    Ok(())
}

/// Clause N-8: what every reader sees may not be on the disk, if the process before was killed or its fsync failed.
/// Nothing is built on it before it is; another fsync of the same file would find nothing to do.
#[test]
fn the_end_of_an_earlier_chain_is_written_again_before_anything_follows_it() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let (broken, replaced) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
    let disk: Arc<dyn Disk> =
        Arc::new(Failing { real: real::real().disk, broken: Arc::clone(&broken), replaced: Arc::clone(&replaced) });
    let (mut spool, _) = Spool::open(Arc::clone(&disk), folder.path(), BOOT)?;
    spool.commit(&links(1..=2))?;
    broken.store(true, Ordering::Relaxed);
    assert!(spool.commit(&links(3..=3)).is_err());
    drop(spool);
    broken.store(false, Ordering::Relaxed);
    assert_eq!(*replaced.lock().unwrap(), [""; 0]);
    let (spool, tail) = Spool::open(Arc::clone(&disk), folder.path(), NEXT_BOOT)?;
    assert_eq!(tail.last.as_deref(), Some(b"record 3".as_slice()));
    assert_eq!(*replaced.lock().unwrap(), [name(0)]);
    assert_eq!(texts(&spool, &*disk, folder.path(), 0, 3), ["record 3"]);
    Ok(())
}
