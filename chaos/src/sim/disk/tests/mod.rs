//! What a disk promises, asked of the simulated one and, where a machine can be asked, of the real one.

mod contract;
mod database;
mod faults;
mod power;

use std::path::{Path, PathBuf};

use super::SimDisk;
use crate::sim::entropy::generator;

const FOLDER: &str = "/data";

fn disk(seed: u64) -> SimDisk {
    let disk = SimDisk::new(generator(seed, "disk"));
    disk.process().create_dir(Path::new(FOLDER)).unwrap();
    disk
}

fn path(name: &str) -> PathBuf {
    Path::new(FOLDER).join(name)
}

/// The whole of a file, for a process that starts now.
fn content(disk: &SimDisk, name: &str) -> Option<Vec<u8>> {
    disk.process().read(&path(name), 1 << 24).unwrap()
}
