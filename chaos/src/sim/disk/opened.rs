//! What a process does with a file that it has open.

use std::io;

use rand::RngExt as _;

use super::event::Op;
use super::file::File;
use super::state::{FileId, State, full, gone, to_u64};

/// No file here is longer: what asks for more has miscounted.
const FILE_BYTES_MAX: usize = 1 << 30;
/// The end of a file has a block of its own, so that a little more fits even when the disk is full.
const BLOCK_BYTES: usize = 4096;

fn too_long() -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, "no file of a simulated disk is that long")
}

fn checked_len(len: u64) -> io::Result<usize> {
    usize::try_from(len).ok().filter(|len| *len <= FILE_BYTES_MAX).ok_or_else(too_long)
}

impl State {
    pub(super) fn close(&mut self, id: FileId) {
        if let Some(file) = self.files.get_mut(&id) {
            file.is_open = false;
            if !file.is_named {
                self.files.remove(&id);
            }
        }
    }

    /// The bytes of an open file.
    pub(super) fn bytes(&mut self, id: FileId) -> io::Result<&[u8]> {
        if self.is_off {
            return Err(gone());
        }
        self.stats.reads += 1;
        self.files.get(&id).map(File::bytes).ok_or_else(gone)
    }

    pub(super) fn write(&mut self, id: FileId, op: Op, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).map_err(|_| too_long())?;
        let end = offset.checked_add(bytes.len()).filter(|end| *end <= FILE_BYTES_MAX).ok_or_else(too_long)?;
        self.change(|state, _| {
            let Some(file) = state.files.get_mut(&id) else { return Err(gone()) };
            let fits = if state.is_full && end > file.bytes().len() {
                let room = file.bytes().len().next_multiple_of(BLOCK_BYTES).saturating_sub(offset);
                state.draws.random_range(0..=room.min(bytes.len().saturating_sub(1)))
            } else {
                bytes.len()
            };
            let (written, rest) = bytes.split_at(fits);
            if !written.is_empty() {
                file.write(offset, written);
            }
            let path = file.path.clone();
            let count = match op {
                Op::Append => &mut state.stats.bytes_appended,
                _ => &mut state.stats.bytes_written,
            };
            *count += to_u64(fits);
            state.look_at(id, offset..offset + fits);
            state.note(op, &path, to_u64(fits));
            if rest.is_empty() { Ok(()) } else { Err(full()) }
        })
    }

    pub(super) fn set_len(&mut self, id: FileId, len: u64) -> io::Result<()> {
        let bytes = checked_len(len)?;
        self.change(|state, _| {
            let Some(file) = state.files.get_mut(&id) else { return Err(gone()) };
            if state.is_full && bytes > file.bytes().len() {
                return Err(full());
            }
            file.set_len(bytes);
            let path = file.path.clone();
            state.note(Op::SetLen, &path, len);
            Ok(())
        })
    }

    pub(super) fn truncate(&mut self, id: FileId, len: u64) -> io::Result<()> {
        let bytes = checked_len(len)?;
        self.change(|state, is_cut| {
            let Some(file) = state.files.get_mut(&id) else { return Err(gone()) };
            if state.is_full && bytes > file.bytes().len() {
                return Err(full());
            }
            file.set_len(bytes);
            let path = file.path.clone();
            state.note(Op::Truncate, &path, len);
            state.sync_file(id, &path, is_cut)
        })
    }

    pub(super) fn sync(&mut self, id: FileId) -> io::Result<()> {
        self.change(|state, is_cut| {
            let path = state.files.get(&id).ok_or_else(gone)?.path.clone();
            state.sync_file(id, &path, is_cut)
        })
    }
}
