//! Which file the records are in, and what becomes of one that is damaged.
//!
//! A file that does not open for good would end the voter at every start, and with it a vote. What an edge was told is
//! on a majority of the voters, so this one can do without: the damaged file stays where it is, for whoever wants to
//! look into it, a new one takes its place under the next number, and what the others have is copied (Clause K-18).

use std::path::{Path, PathBuf};

use remit_common::net::env::Disk;

use super::query::StoreId;
use super::store::{Fresh, Store, StoreFailed};

/// Files beside each other. Whoever loses so many should replace the disk, and room for more is not for the taking.
const FILES_MAX: u32 = 4;

/// Bytes of a marker, with room.
const MARKER_BYTES_MAX: usize = 64;

/// What opening the records gives.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) store: Store,
    /// Damaged files that lie beside it.
    pub(super) set_aside: u32,
    pub(super) last_arrival: u64,
    /// Other voters may have what is missing in it.
    pub(super) lacks: bool,
}

impl Opened {
    /// What every start reads is read here, so that damage to it is found while the file can still be set aside.
    fn read(store: Store, set_aside: u32) -> Result<Self, StoreFailed> {
        let (last_arrival, lacks) = (store.last_arrival()?, store.copied()?.is_some());
        Ok(Self { store, set_aside, last_arrival, lacks })
    }
}

/// Whether other voters may have what this one lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Others {
    /// There are none, so nothing may be set aside.
    None,
    /// There are some, and this voter begins with the mesh.
    Equal,
    /// There are some, and have been before this voter's records began.
    Older,
}

/// The files are counted from 1; the first has no number in its name.
fn path(folder: &Path, number: u32) -> PathBuf {
    folder.join(if number <= 1 { "records.redb".to_owned() } else { format!("records-{number}.redb") })
}

fn newest(disk: &dyn Disk, folder: &Path) -> Result<u32, StoreFailed> {
    let files = disk.list(folder).map_err(redb::Error::from)?;
    let is_there =
        |number: &u32| path(folder, *number).file_name().is_some_and(|name| files.iter().any(|f| name == f.as_str()));
    Ok((1..=FILES_MAX).rev().find(is_there).unwrap_or(1))
}

/// Beside a file that was found damaged while it was in use: pages that opening does not read. The next start sets it
/// aside.
fn marker(file: &Path) -> PathBuf {
    file.with_extension("damaged")
}

/// Notes that the newest file is damaged. Blocks.
pub(super) fn mark(disk: &dyn Disk, folder: &Path) -> Result<(), StoreFailed> {
    let file = path(folder, newest(disk, folder)?);
    Ok(disk.replace(&marker(&file), b"damaged").map_err(redb::Error::from)?)
}

/// Opens the newest file, or makes the first; sets it aside when it is damaged. A store that is made gets this number.
/// Blocks.
pub(super) fn open(disk: &dyn Disk, folder: &Path, others: Others, id: StoreId) -> Result<Opened, StoreFailed> {
    let number = newest(disk, folder)?;
    let fresh = if others == Others::Older || number > 1 { Fresh::Lacking } else { Fresh::Whole };
    let file = path(folder, number);
    let may_be_set_aside = others != Others::None && number < FILES_MAX;
    let is_marked = disk.read(&marker(&file), MARKER_BYTES_MAX).map_err(redb::Error::from)?.is_some();
    let opened = if is_marked && may_be_set_aside {
        Err(redb::Error::Corrupted("it was found damaged while it was in use".to_owned()).into())
    } else {
        Store::open(disk, &file, fresh, id).and_then(|store| Opened::read(store, number.saturating_sub(1)))
    };
    match opened {
        Err(error) if error.is_damage() && may_be_set_aside => {
            let next = path(folder, number.saturating_add(1));
            tracing::error!(
                file = %file.display(), %error, next = %next.display(),
                "the records of this voter are damaged and set aside: it begins anew and copies what the other voters \
                 have; keep the file until that is done, and lose no other voter meanwhile"
            );
            Opened::read(Store::open(disk, &next, Fresh::Lacking, id)?, number)
        }
        opened => opened,
    }
}
