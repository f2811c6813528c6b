//! A small disk for each node, that can be full and lose power.
//!
//! An ext4 filesystem in a file, behind a loop device. Shutting the filesystem down is the nearest thing to a power cut
//! that a running kernel offers: what nobody synced never reaches the file, and every later write is an error, until
//! it is unmounted, checked and mounted again.

use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::fs::{FallocateFlags, fallocate};

use super::undo::{Journal, Undo, loop_devices};
use super::{kernel, tool};

/// Bytes of a node's disk. A drill writes a few megabytes; the image takes only what is written.
const DISK_BYTES: u64 = 256 * 1024 * 1024;

/// The file that takes the room from everybody else.
const FILLER: &str = ".filler";

/// What the filler takes at once, until not even the last of these fits: whole groups of blocks, then single ones.
const BITES: [u64; 4] = [16 * 1024 * 1024, 1024 * 1024, 64 * 1024, 4 * 1024];

/// Exit codes of `fsck` up to which the filesystem is in order: nothing wrong, or repaired.
const FSCK_REPAIRED: i32 = 1;

/// One node's disk.
#[derive(Debug)]
pub(super) struct Disk {
    journal: Arc<Journal>,
    image: PathBuf,
    at: PathBuf,
    mounted: Option<Mounted>,
    filler: Option<u64>,
    /// Writes fail until it is mounted anew.
    broken: bool,
}

/// What is to be undone, in the journal's numbers.
#[derive(Debug)]
struct Mounted {
    device: u64,
    mount: u64,
}

impl Disk {
    /// Makes a disk and mounts it on a folder.
    ///
    /// # Errors
    /// What the machine says.
    pub(super) fn create(journal: Arc<Journal>, image: PathBuf, at: PathBuf) -> Result<Self> {
        let shown = || format!("cannot make `{}`", image.display());
        let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&image);
        file.and_then(|file| file.set_len(DISK_BYTES)).with_context(shown)?;
        // No room is set aside for root, or a full disk would not be full for us. Blocks are as large as the pages
        // that databases write.
        let arguments = ["-q", "-F", "-m", "0", "-b", "4096", "-E", "nodiscard"].map(AsRef::as_ref);
        tool::run("mkfs.ext4", arguments.into_iter().chain([image.as_os_str()]))?;
        let mut disk = Self { journal, image, at, mounted: None, filler: None, broken: false };
        disk.mount()?;
        Ok(disk)
    }

    /// Mounts it, if it is not mounted, or if it lost power; then it is checked first, as a machine that boots does.
    ///
    /// # Errors
    /// What the machine says.
    pub(super) fn mount(&mut self) -> Result<()> {
        if self.broken {
            self.unmount()?;
        }
        if self.mounted.is_some() {
            return Ok(());
        }
        if self.broken {
            self.check()?;
        }
        let device = self.journal.note(Undo::Loop { image: self.image.clone() }, None)?;
        tool::run("losetup", ["--find".as_ref(), self.image.as_os_str()])?;
        let devices = loop_devices(&self.image)?;
        let [name] = devices.as_slice() else {
            bail!("`{}` is behind {} loop devices", self.image.display(), devices.len())
        };
        let mount = self.journal.note(Undo::Mount { path: self.at.clone() }, None)?;
        let arguments = ["-t", "ext4", "-o", "nodev,nosuid,noexec", name].map(AsRef::as_ref);
        tool::run("mount", arguments.into_iter().chain([self.at.as_os_str()]))?;
        self.mounted = Some(Mounted { device, mount });
        self.broken = false;
        Ok(())
    }

    /// Where the node sees it.
    #[cfg(test)]
    fn at(&self) -> &std::path::Path {
        &self.at
    }

    /// Whether every write fails until it is mounted anew.
    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Unmounts it; nothing may be open on it.
    ///
    /// # Errors
    /// What the machine says.
    pub(super) fn unmount(&mut self) -> Result<()> {
        if let Some(Mounted { device, mount }) = self.mounted.take() {
            self.journal.undo(mount)?;
            self.journal.undo(device)?;
        }
        Ok(())
    }

    /// From now on every write and every sync fails, and what was not synced is lost.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn cut_power(&mut self) -> Result<()> {
        kernel::shut_down_ext4(&self.at)
            .with_context(|| format!("cannot shut down the filesystem at `{}`", self.at.display()))?;
        self.broken = true;
        Ok(())
    }

    /// Takes all the room that is left, for so long at most.
    ///
    /// # Errors
    /// What the machine says.
    pub(super) fn fill(&mut self, ttl: Duration) -> Result<()> {
        if self.filler.is_some() {
            return Ok(());
        }
        let path = self.at.join(FILLER);
        self.filler = Some(self.journal.note(Undo::File { path: path.clone() }, Some(ttl))?);
        let shown = || format!("cannot fill `{}`", self.at.display());
        let file =
            std::fs::OpenOptions::new().write(true).create(true).truncate(true).open(&path).with_context(shown)?;
        let mut length = 0;
        for bite in BITES {
            loop {
                match fallocate(&file, FallocateFlags::empty(), length, bite) {
                    Ok(()) => length += bite,
                    Err(rustix::io::Errno::NOSPC) => break,
                    Err(error) => return Err(error).with_context(shown),
                }
            }
        }
        Ok(())
    }

    /// Gives the room back.
    ///
    /// # Errors
    /// What the machine says.
    pub(super) fn free(&mut self) -> Result<()> {
        if let Some(filler) = self.filler.take() {
            self.journal.undo(filler)?;
        }
        Ok(())
    }

    fn check(&self) -> Result<()> {
        let mut command = tool::command("fsck.ext4", ["-p".as_ref(), self.image.as_os_str()])?;
        let output = command.output().context("cannot run `fsck.ext4`")?;
        if output.status.code().is_none_or(|code| code > FSCK_REPAIRED) {
            let said = String::from_utf8_lossy(&output.stdout);
            bail!("`{}` does not survive the power cut: {}", self.image.display(), said.trim());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::{ErrorKind, Write as _};
    use std::path::Path;

    use super::*;
    use crate::live::fixture::{Skipped, need, turn};

    /// A disk in a folder, with its journal.
    fn disk(folder: &Path) -> (Arc<Journal>, Disk) {
        let journal = Arc::new(Journal::create(folder, "remit-run").unwrap());
        let at = folder.join("data");
        std::fs::create_dir(&at).unwrap();
        let disk = Disk::create(Arc::clone(&journal), folder.join("disk.img"), at).unwrap();
        (journal, disk)
    }

    fn no_ext4() -> Option<Skipped> {
        need(|probe| probe.ext4.as_ref().err().cloned()).err()
    }

    #[test]
    fn a_power_cut_loses_what_was_not_synced_and_nothing_else() {
        let _turn = turn();
        if let Some(skipped) = no_ext4() {
            return skipped.print();
        }
        let folder = tempfile::tempdir().unwrap();
        let (journal, mut disk) = disk(folder.path());
        let create = |name: &str| OpenOptions::new().write(true).create_new(true).open(disk.at().join(name)).unwrap();
        let (mut synced, mut hoped) = (create("synced"), create("hoped"));
        synced.write_all(&[7; 8_192]).unwrap();
        synced.sync_all().unwrap();
        // The file's name was synced with the other's; what it says was not.
        hoped.write_all(&[7; 8_192]).unwrap();
        disk.cut_power().unwrap();
        assert!(synced.write_all(&[8]).and_then(|()| synced.sync_all()).is_err(), "a disk without power took a write");
        drop((synced, hoped));
        disk.mount().unwrap();
        assert!(!disk.is_broken());
        let length = |name: &str| disk.at().join(name).metadata().map_or(0, |metadata| metadata.len());
        assert_eq!((length("synced"), length("hoped")), (8_192, 0));
        assert_eq!(journal.undo_all(), [""; 0]);
    }

    #[test]
    fn a_full_disk_takes_nothing_until_there_is_room_again() {
        let _turn = turn();
        if let Some(skipped) = no_ext4() {
            return skipped.print();
        }
        let folder = tempfile::tempdir().unwrap();
        let (journal, mut disk) = disk(folder.path());
        disk.fill(Duration::from_secs(600)).unwrap();
        let mut file = OpenOptions::new().append(true).create(true).open(disk.at().join("file")).unwrap();
        assert_eq!(file.write_all(&[7; 8_192]).unwrap_err().kind(), ErrorKind::StorageFull);
        disk.free().unwrap();
        file.write_all(&[7; 8_192]).unwrap();
        file.sync_all().unwrap();
        drop(file);
        assert_eq!(journal.undo_all(), [""; 0]);
        assert_eq!(loop_devices(&folder.path().join("disk.img")).unwrap(), [""; 0]);
    }
}
