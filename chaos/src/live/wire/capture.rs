//! The packets of a run as a file that any analyser opens (pcap), and that secrets are searched in.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// Bytes of the file at most; what comes later is not kept. Minutes of a small mesh.
const FILE_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Microseconds, this machine's byte order, version 2.4, packets of any length, without a link layer.
const MAGIC: u32 = 0xa1b2_c3d4;
const VERSION: [u16; 2] = [2, 4];
const SNAP_LENGTH: u32 = 65_535;
const LINKTYPE_RAW: u32 = 101;

/// A file that packets are appended to.
#[derive(Debug)]
pub(in crate::live) struct Capture {
    file: BufWriter<File>,
    bytes: usize,
}

impl Capture {
    /// Begins a new file.
    ///
    /// # Errors
    /// What the disk says.
    pub(in crate::live) fn create(path: &Path) -> Result<Self> {
        let shown = || format!("cannot write `{}`", path.display());
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).with_context(shown)?;
        let mut file = BufWriter::new(file);
        let header = [MAGIC.to_ne_bytes(), version(), [0; 4], [0; 4], SNAP_LENGTH.to_ne_bytes()];
        file.write_all(header.as_flattened()).with_context(shown)?;
        file.write_all(&LINKTYPE_RAW.to_ne_bytes()).with_context(shown)?;
        Ok(Self { file, bytes: 0 })
    }

    /// Keeps a packet, sent so long after the wire began. A full disk only ends the capture.
    pub(super) fn keep(&mut self, at: Duration, packet: &[u8]) {
        if self.bytes > FILE_BYTES_MAX {
            return;
        }
        let length = u32::try_from(packet.len()).unwrap_or(u32::MAX).to_ne_bytes();
        let secs = u32::try_from(at.as_secs()).unwrap_or(u32::MAX).to_ne_bytes();
        let header = [secs, at.subsec_micros().to_ne_bytes(), length, length];
        let written = self.file.write_all(header.as_flattened()).and_then(|()| self.file.write_all(packet));
        self.bytes = if written.is_ok() { self.bytes.saturating_add(packet.len() + 16) } else { usize::MAX };
    }

    /// Hands what is buffered to the kernel, so that others can read it.
    pub(super) fn flush(&mut self) {
        // As in `keep`: a capture that cannot be written ends.
        let _ = self.file.flush();
    }
}

fn version() -> [u8; 4] {
    let [[a, b], [c, d]] = VERSION.map(u16::to_ne_bytes);
    [a, b, c, d]
}
