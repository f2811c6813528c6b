//! Files of a real disk.

use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use remit_common::net::real::real;

fn mode(path: &Path) -> Result<u32> {
    Ok(std::fs::metadata(path)?.permissions().mode() & 0o777)
}

#[test]
fn what_is_made_can_be_read_by_its_owner_only() -> Result<()> {
    let (folder, disk) = (tempfile::tempdir()?, real().disk);
    let inner = folder.path().join("a/b");
    disk.create_dir(&inner)?;
    disk.create_dir(&inner).context("once more")?;
    disk.replace(&inner.join("document"), b"x")?;
    drop(disk.open_append(&inner.join("log"))?);
    drop(disk.open_random(&inner.join("database"))?);
    for made in [folder.path().join("a"), inner.clone()] {
        assert_eq!(mode(&made)?, 0o700, "{}", made.display());
    }
    for made in ["document", "log", "database"] {
        assert_eq!(mode(&inner.join(made))?, 0o600, "{made}");
    }
    Ok(())
}

#[test]
fn a_file_is_replaced_whole_and_leaves_nothing_beside_it() -> Result<()> {
    let (folder, disk) = (tempfile::tempdir()?, real().disk);
    let path = folder.path().join("state");
    assert_eq!(disk.read(&path, 10)?, None);
    disk.replace(&path, b"a longer first version")?;
    // Half a replacement that a crash has left is nobody's file.
    disk.open_append(&folder.path().join(".state.new"))?.append(b"hal")?;
    assert_eq!(disk.list(folder.path())?, ["state"]);
    disk.replace(&path, b"second")?;
    assert_eq!(disk.read(&path, 10)?.as_deref(), Some(b"second".as_slice()));
    assert_eq!(disk.list(folder.path())?, ["state"]);
    disk.remove(&path)?;
    disk.remove(&path).context("once more")?;
    assert_eq!(disk.list(folder.path())?, Vec::<String>::new());
    assert_eq!(disk.list(&folder.path().join("nowhere"))?, Vec::<String>::new());
    Ok(())
}

#[test]
fn a_file_longer_than_its_bound_is_not_read() -> Result<()> {
    let (folder, disk) = (tempfile::tempdir()?, real().disk);
    let path = folder.path().join("mesh.json");
    disk.replace(&path, b"12345")?;
    assert_eq!(disk.read(&path, 5)?.map(|bytes| bytes.len()), Some(5));
    assert_eq!(disk.read(&path, 4).map_err(|error| error.kind()), Err(ErrorKind::FileTooLarge));
    // A file without a length of its own is found out, too.
    assert_eq!(disk.read(Path::new("/dev/zero"), 100).map_err(|error| error.kind()), Err(ErrorKind::FileTooLarge));
    Ok(())
}

#[test]
fn an_open_file_cannot_be_opened_again() -> Result<()> {
    let (folder, disk) = (tempfile::tempdir()?, real().disk);
    let path = folder.path().join("log");
    let first = disk.open_append(&path)?;
    for second in [disk.open_append(&path).map(drop), disk.open_random(&path).map(drop)] {
        assert_eq!(second.map_err(|error| error.kind()), Err(ErrorKind::WouldBlock));
    }
    drop(first);
    disk.open_random(&path)?;
    Ok(())
}

#[test]
fn an_append_file_grows_is_read_anywhere_and_is_cut() -> Result<()> {
    let (folder, disk) = (tempfile::tempdir()?, real().disk);
    let path = folder.path().join("segment");
    let mut file = disk.open_append(&path)?;
    assert!(file.is_empty());
    file.append(b"hello ")?;
    file.append(b"world")?;
    file.sync()?;
    let mut out = [0; 8];
    assert_eq!(file.read_at(6, &mut out)?, 5);
    assert_eq!(&out[..5], b"world");
    assert_eq!(file.read_at(11, &mut out)?, 0);
    file.truncate(5)?;
    file.append(b"!")?;
    drop(file);
    let file = disk.open_append(&path)?;
    assert_eq!(file.len(), 6);
    assert_eq!(disk.read(&path, 100)?.as_deref(), Some(b"hello!".as_slice()));
    Ok(())
}

#[test]
fn a_random_file_is_written_anywhere_and_new_bytes_are_zero() -> Result<()> {
    let (folder, disk) = (tempfile::tempdir()?, real().disk);
    let file = disk.open_random(&folder.path().join("database"))?;
    file.set_len(8)?;
    file.write_all_at(6, b"xyz")?;
    file.sync()?;
    assert_eq!(file.len()?, 9);
    let mut out = [1; 9];
    file.read_exact_at(0, &mut out)?;
    assert_eq!(&out, b"\0\0\0\0\0\0xyz");
    assert_eq!(file.read_exact_at(1, &mut out).map_err(|error| error.kind()), Err(ErrorKind::UnexpectedEof));
    Ok(())
}
