//! The bytes of one file: what a reader sees, what is durable, and what lies between the two.
//!
//! A redo log of writes since the last sync stands between the two images. A sync applies it to the durable one; a
//! power cut applies what it draws from it. So a sync costs what was written, however long the file is.

use std::path::PathBuf;

use rand::RngExt as _;
use rand_pcg::Pcg64;

/// Writes reach a disk in pieces of this size, each when the kernel pleases.
const PAGE_BYTES: usize = 4096;

/// Whether unsynced writes reach the disk in the order in which they were made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Files that only grow.
    Kept,
    /// Files that are written anywhere.
    Any,
}

/// One change that is not durable.
#[derive(Debug, Clone)]
enum Pending {
    Write { offset: usize, bytes: Vec<u8> },
    SetLen(usize),
}

#[derive(Debug)]
pub(super) struct File {
    /// The name it had when it was made.
    pub(super) path: PathBuf,
    /// Whether a folder names it. One that is open lives on without.
    pub(super) is_named: bool,
    /// Whether a process has it open, and so locked.
    pub(super) is_open: bool,
    pub(super) order: Order,
    current: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Pending>,
}

impl File {
    /// A file whose content is durable.
    pub(super) fn new(path: PathBuf, bytes: Vec<u8>) -> Self {
        Self {
            path,
            is_named: true,
            is_open: false,
            order: Order::Any,
            durable: bytes.clone(),
            current: bytes,
            pending: Vec::new(),
        }
    }

    /// What a reader sees.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.current
    }

    /// What is on the disk.
    pub(super) fn durable(&self) -> &[u8] {
        &self.durable
    }

    pub(super) fn write(&mut self, offset: usize, bytes: &[u8]) {
        put(&mut self.current, offset, bytes);
        self.pending.push(Pending::Write { offset, bytes: bytes.to_vec() });
    }

    pub(super) fn set_len(&mut self, len: usize) {
        self.current.resize(len, 0);
        self.pending.push(Pending::SetLen(len));
    }

    /// Everything written is durable.
    pub(super) fn sync(&mut self) {
        for change in self.pending.drain(..) {
            change.apply(&mut self.durable);
        }
    }

    /// Some of what was not synced reaches the disk, the rest never will, although readers still see it: what a
    /// failed sync does. Gives the bytes that were taken away.
    pub(super) fn lose(&mut self, draws: &mut Pcg64) -> u64 {
        let pending = std::mem::take(&mut self.pending);
        if pending.is_empty() {
            return 0;
        }
        let written: usize = pending.iter().map(Pending::weight).sum();
        let kept = match self.order {
            Order::Kept => self.keep_beginning(&pending, written, draws),
            Order::Any => self.keep_some(&pending, draws),
        };
        u64::try_from(written.saturating_sub(kept)).unwrap_or(u64::MAX)
    }

    /// As [`Self::lose`], and nobody sees the rest any more: what a power cut does.
    pub(super) fn crash(&mut self, draws: &mut Pcg64) -> u64 {
        let lost = self.lose(draws);
        self.current.clone_from(&self.durable);
        lost
    }

    /// Any beginning of the unsynced changes, cut at any byte. Where a file system grew the file before it wrote,
    /// zeros follow.
    fn keep_beginning(&mut self, pending: &[Pending], written: usize, draws: &mut Pcg64) -> usize {
        let kept = match draws.random_range(0..8) {
            0 => 0,
            1 => written,
            _ => draws.random_range(0..=written),
        };
        let mut left = kept;
        for change in pending {
            match change {
                Pending::Write { offset, bytes } => {
                    let (bytes, _) = bytes.split_at(left.min(bytes.len()));
                    if !bytes.is_empty() {
                        put(&mut self.durable, *offset, bytes);
                    }
                }
                Pending::SetLen(_) if left == 0 => {}
                Pending::SetLen(len) => self.durable.resize(*len, 0),
            }
            left = left.saturating_sub(change.weight());
        }
        if self.durable.len() < self.current.len() && draws.random_ratio(1, 8) {
            self.durable.resize(self.current.len(), 0);
        }
        kept
    }

    /// Any of the unsynced changes, page by page, and at most one page in part.
    fn keep_some(&mut self, pending: &[Pending], draws: &mut Pcg64) -> usize {
        let share = match draws.random_range(0..8) {
            0 => 0,
            1 => 16,
            _ => draws.random_range(1..16),
        };
        let pages: usize = pending.iter().map(|change| change.pages().count()).sum();
        let torn = draws.random_range(0..pages.saturating_mul(2).max(1));
        let (mut page, mut kept) = (0usize, 0usize);
        for change in pending {
            for piece in change.pages() {
                if page == torn
                    && let Pending::Write { offset, bytes } = &piece
                {
                    let cut = draws.random_range(0..=bytes.len());
                    put(&mut self.durable, *offset, bytes.split_at(cut).0);
                    kept += cut;
                } else if draws.random_ratio(share, 16) {
                    piece.apply(&mut self.durable);
                    kept += piece.weight();
                }
                page += 1;
            }
        }
        kept
    }

    /// Turns one bit over, on the disk and for every reader. Gives whether there is such a byte.
    #[must_use]
    pub(super) fn flip(&mut self, byte: usize, bit: u8) -> bool {
        let mask = 1u8.rotate_left(u32::from(bit));
        let mut is_there = false;
        for image in [&mut self.current, &mut self.durable] {
            if let Some(byte) = image.get_mut(byte) {
                *byte ^= mask;
                is_there = true;
            }
        }
        is_there
    }
}

impl Pending {
    fn apply(&self, image: &mut Vec<u8>) {
        match self {
            Self::Write { offset, bytes } => put(image, *offset, bytes),
            Self::SetLen(len) => image.resize(*len, 0),
        }
    }

    /// Bytes that it takes to the disk.
    fn weight(&self) -> usize {
        match self {
            Self::Write { bytes, .. } => bytes.len(),
            Self::SetLen(_) => 1,
        }
    }

    /// The same change in pieces of which none crosses a page.
    fn pages(&self) -> impl Iterator<Item = Self> {
        let (mut at, mut rest, len) = match self {
            Self::Write { offset, bytes } => (*offset, bytes.as_slice(), None),
            Self::SetLen(len) => (0, [].as_slice(), Some(Self::SetLen(*len))),
        };
        let pieces = std::iter::from_fn(move || {
            let (piece, after) = rest.split_at(rest.len().min(PAGE_BYTES - at % PAGE_BYTES));
            let offset = at;
            (at, rest) = (at + piece.len(), after);
            (!piece.is_empty()).then(|| Self::Write { offset, bytes: piece.to_vec() })
        });
        pieces.chain(len)
    }
}

/// Writes `bytes` into an image, which grows when it must.
fn put(image: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset.saturating_add(bytes.len());
    if image.len() < end {
        image.resize(end, 0);
    }
    if let Some(place) = image.get_mut(offset..end) {
        place.copy_from_slice(bytes);
    }
}
