//! One end of a stream.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;

use crate::sim::net::{HostId, ProcessId};

/// Which end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Client,
    Server,
}

impl End {
    pub(super) fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The other end has not answered yet; of a server, it has not been asked.
    Opening,
    Open,
    /// Its owner has closed it; the kernel still sends what is left.
    Closed,
    /// Its host has lost it.
    Gone,
}

#[derive(Debug)]
pub(super) struct Side {
    pub(super) host: HostId,
    pub(super) process: Option<ProcessId>,
    pub(super) addr: SocketAddr,
    pub(super) phase: Phase,
    /// It broke, and how.
    pub(super) error: Option<io::ErrorKind>,
    /// The owner has ended this direction.
    pub(super) is_ended: bool,
    /// Something of what it has sent has a time at which it arrives or is sent again.
    pub(super) is_due: bool,
    /// Since when nothing gets through, and how often it was tried.
    pub(super) stalled: Option<(Duration, u32)>,
    /// The end of what was sent, to find what is split across two writes.
    pub(super) tail: Tail,
    /// Sent, and not at the other end yet.
    sent: VecDeque<Piece>,
    sent_bytes: usize,
    last_at: Duration,
    received: VecDeque<Bytes>,
    received_bytes: usize,
    other_is_ended: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

#[derive(Debug)]
struct Piece {
    at: Duration,
    epoch: u64,
    /// None is the end.
    bytes: Option<Bytes>,
}

/// What the owner of an end gets when it reads.
pub(super) enum Read {
    Bytes(Bytes),
    End,
    Broken(io::ErrorKind),
    Nothing,
}

impl Side {
    pub(super) fn new(host: HostId, process: Option<ProcessId>, addr: SocketAddr) -> Self {
        Self {
            host,
            process,
            addr,
            phase: Phase::Opening,
            error: None,
            is_ended: false,
            is_due: false,
            stalled: None,
            tail: Tail::default(),
            sent: VecDeque::new(),
            sent_bytes: 0,
            last_at: Duration::ZERO,
            received: VecDeque::new(),
            received_bytes: 0,
            other_is_ended: false,
            reader: None,
            writer: None,
        }
    }

    pub(super) fn is_opening(&self) -> bool {
        self.phase == Phase::Opening && self.error.is_none()
    }

    /// Whether its owner is a process that still lives and has not closed it.
    pub(super) fn is_owned(&self) -> bool {
        matches!(self.phase, Phase::Opening | Phase::Open)
    }

    pub(super) fn open(&mut self, process: ProcessId) {
        self.process = Some(process);
        self.phase = Phase::Open;
    }

    pub(super) fn establish(&mut self) -> Option<Waker> {
        self.phase = Phase::Open;
        self.reader.take()
    }

    // --- sending

    /// Puts a piece behind the others, and gives the time at which it arrives: not before them.
    pub(super) fn queue(&mut self, at: Duration, epoch: u64, bytes: Option<Bytes>) -> Duration {
        self.last_at = self.last_at.max(at);
        self.is_ended |= bytes.is_none();
        self.sent_bytes += bytes.as_ref().map_or(0, Bytes::len);
        self.sent.push_back(Piece { at: self.last_at, epoch, bytes });
        self.last_at
    }

    pub(super) fn head(&self) -> Option<(Duration, u64)> {
        self.sent.front().map(|piece| (piece.at, piece.epoch))
    }

    pub(super) fn next_is_end(&self) -> bool {
        self.sent.front().is_some_and(|piece| piece.bytes.is_none())
    }

    pub(super) fn take_head(&mut self) -> Option<Option<Bytes>> {
        let piece = self.sent.pop_front()?;
        self.sent_bytes -= piece.bytes.as_ref().map_or(0, Bytes::len);
        Some(piece.bytes)
    }

    /// Everything that is under way leaves again.
    pub(super) fn send_again(&mut self, epoch: u64) {
        for piece in &mut self.sent {
            piece.epoch = epoch;
        }
    }

    pub(super) fn unsent_bytes(&self) -> usize {
        self.sent_bytes
    }

    // --- receiving

    pub(super) fn receive(&mut self, bytes: Bytes) -> Option<Waker> {
        self.received_bytes += bytes.len();
        self.received.push_back(bytes);
        self.reader.take()
    }

    pub(super) fn receive_end(&mut self) -> Option<Waker> {
        self.other_is_ended = true;
        self.reader.take()
    }

    pub(super) fn has_unread(&self) -> bool {
        self.received_bytes > 0
    }

    pub(super) fn unread_bytes(&self) -> usize {
        self.received_bytes
    }

    /// Up to `room` bytes of what has arrived. What arrived before it broke can still be read.
    pub(super) fn read(&mut self, room: usize) -> Read {
        if let Some(first) = self.received.front_mut() {
            let bytes = first.split_to(room.min(first.len()));
            if first.is_empty() {
                self.received.pop_front();
            }
            self.received_bytes -= bytes.len();
            return Read::Bytes(bytes);
        }
        match self.error {
            Some(why) => Read::Broken(why),
            None if self.other_is_ended => Read::End,
            None => Read::Nothing,
        }
    }

    // --- ending

    /// It is broken: whoever waits hears of it.
    pub(super) fn fail(&mut self, why: io::ErrorKind) -> [Option<Waker>; 2] {
        self.error.get_or_insert(why);
        self.forget_sent();
        [self.reader.take(), self.writer.take()]
    }

    pub(super) fn close(&mut self) -> [Option<Waker>; 2] {
        self.phase = Phase::Closed;
        self.received.clear();
        self.received_bytes = 0;
        [self.reader.take(), self.writer.take()]
    }

    pub(super) fn vanish(&mut self) -> [Option<Waker>; 2] {
        let wakes = self.close();
        self.forget_sent();
        self.phase = Phase::Gone;
        wakes
    }

    fn forget_sent(&mut self) {
        self.sent.clear();
        self.sent_bytes = 0;
        self.stalled = None;
    }

    /// Whether nobody owns this end and nothing of it is under way.
    pub(super) fn is_over(&self) -> bool {
        match self.phase {
            Phase::Gone => true,
            Phase::Closed => self.sent.is_empty() && self.stalled.is_none(),
            // A server that was never asked.
            Phase::Opening => self.process.is_none(),
            Phase::Open => false,
        }
    }

    // --- waiting

    /// Whoever waits for room to write.
    pub(super) fn take_writer(&mut self) -> Option<Waker> {
        self.writer.take()
    }

    /// Keeps a waker and gives back the one before, which the caller drops once the state is let go.
    pub(super) fn wait_to_read(&mut self, waker: &Waker) -> Option<Waker> {
        keep(&mut self.reader, waker)
    }

    /// The same for room to write.
    pub(super) fn wait_to_write(&mut self, waker: &Waker) -> Option<Waker> {
        keep(&mut self.writer, waker)
    }
}

fn keep(place: &mut Option<Waker>, waker: &Waker) -> Option<Waker> {
    match place {
        Some(kept) if kept.will_wake(waker) => None,
        _ => place.replace(waker.clone()),
    }
}

/// The last bytes of what was sent in a stream.
#[derive(Debug, Default)]
pub(super) struct Tail(Vec<u8>);

impl Tail {
    /// What to look at: the last bytes of before, and these. Nothing when nobody looks for anything.
    pub(super) fn extended(&mut self, bytes: &[u8], overlap: usize) -> Option<Vec<u8>> {
        if overlap == 0 {
            return None;
        }
        let mut all = std::mem::take(&mut self.0);
        all.extend_from_slice(bytes);
        self.0 = all.get(all.len().saturating_sub(overlap)..).unwrap_or_default().to_vec();
        Some(all)
    }
}
