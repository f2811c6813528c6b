//! What happened on the network: a digest that two runs of one seed share, and totals.
//!
//! Only times, ends, kinds and lengths count, never bytes: TLS takes its ephemeral keys from the machine, so that what
//! is encrypted differs between runs although every packet is the same.

use std::fmt;
use std::time::Duration;

use remit_common::crypto::digest::Digest;
use serde::{Deserialize, Serialize};

use super::HostId;

/// Events are hashed in blocks of this size: a hash per event would cost as much as the network itself.
const BLOCK_BYTES: usize = 4096;

/// What happened to a datagram or to a piece of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A datagram left.
    Sent,
    /// A datagram arrived.
    Delivered,
    /// Lost on the way.
    Lost,
    /// The queue in front of a slow link was full.
    Overflowed,
    /// It will arrive twice.
    Duplicated,
    /// It is held back.
    Reordered,
    /// One bit of it is wrong.
    Corrupted,
    /// A cut ate it.
    Cut,
    /// Nobody is there, or nobody reads.
    Undeliverable,
    /// A stream is being opened.
    Connect,
    /// A stream is open.
    Connected,
    /// Nobody listens.
    Refused,
    /// A piece of a stream left.
    StreamSent,
    /// A piece of a stream arrived.
    StreamDelivered,
    /// One direction of a stream ended.
    StreamEnded,
    /// A stream broke.
    Reset,
    /// The sender of a stream gave up.
    TimedOut,
    /// A word of the simulation itself.
    Note,
}

/// One event, for somebody who looks for the first difference between two runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// When.
    pub at: Duration,
    /// From which host.
    pub from: HostId,
    /// To which.
    pub to: HostId,
    /// What.
    pub kind: Kind,
    /// Bytes.
    pub len: usize,
    /// Only of [`Kind::Note`].
    pub note: String,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, from, to, kind, len, note } = self;
        write!(f, "{:.6} {}>{} {kind:?} {len} {note}", at.as_secs_f64(), from.0, to.0)
    }
}

/// Totals of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Datagrams that left.
    pub packets: u64,
    /// Bytes that left, in datagrams and streams.
    pub bytes: u64,
    /// Datagrams that arrived.
    pub delivered: u64,
    /// Lost on the way; of a stream, segments that had to be sent again.
    pub lost: u64,
    /// Dropped because the queue in front of a slow link was full.
    pub overflowed: u64,
    /// Arrived twice.
    pub duplicated: u64,
    /// Held back.
    pub reordered: u64,
    /// With a wrong bit; of a stream, segments that had to be sent again.
    pub corrupted: u64,
    /// Eaten by a cut.
    pub cut: u64,
    /// For a host that was down, a port without a socket, or a buffer that was full.
    pub undeliverable: u64,
    /// Streams that were opened.
    pub connected: u64,
    /// Streams that were refused.
    pub refused: u64,
    /// Streams that broke: reset by the other end, or given up by the sender.
    pub broken: u64,
}

/// Digest and totals of what happened.
#[derive(Debug, Default)]
pub(super) struct Trace {
    chain: Digest,
    block: Vec<u8>,
    pub(super) counters: Counters,
    /// Every event, if somebody wants them.
    kept: Option<Vec<Seen>>,
}

impl Trace {
    pub(super) fn add(&mut self, at: Duration, from: HostId, to: HostId, kind: Kind, len: usize) {
        self.count(kind, len);
        self.write(at, from, to, kind, len);
        if let Some(kept) = &mut self.kept {
            kept.push(Seen { at, from, to, kind, len, note: String::new() });
        }
    }

    pub(super) fn note(&mut self, at: Duration, note: &str) {
        let nobody = HostId(u32::MAX);
        self.write(at, nobody, nobody, Kind::Note, note.len());
        self.block.extend_from_slice(note.as_bytes());
        if let Some(kept) = &mut self.kept {
            kept.push(Seen { at, from: nobody, to: nobody, kind: Kind::Note, len: note.len(), note: note.to_owned() });
        }
    }

    fn write(&mut self, at: Duration, from: HostId, to: HostId, kind: Kind, len: usize) {
        if self.block.len() >= BLOCK_BYTES {
            self.chain = Digest::of(&[&self.chain.0, &self.block]);
            self.block.clear();
        }
        self.block.extend_from_slice(&at.as_nanos().to_be_bytes());
        self.block.extend_from_slice(&from.0.to_be_bytes());
        self.block.extend_from_slice(&to.0.to_be_bytes());
        self.block.push(kind.code());
        self.block.extend_from_slice(&len.to_be_bytes());
    }

    fn count(&mut self, kind: Kind, len: usize) {
        let counters = &mut self.counters;
        let len = u64::try_from(len).unwrap_or(u64::MAX);
        match kind {
            Kind::Sent => {
                counters.packets += 1;
                counters.bytes += len;
            }
            Kind::StreamSent => counters.bytes += len,
            Kind::Delivered => counters.delivered += 1,
            Kind::Lost => counters.lost += 1,
            Kind::Overflowed => counters.overflowed += 1,
            Kind::Duplicated => counters.duplicated += 1,
            Kind::Reordered => counters.reordered += 1,
            Kind::Corrupted => counters.corrupted += 1,
            Kind::Cut => counters.cut += 1,
            Kind::Undeliverable => counters.undeliverable += 1,
            Kind::Connected => counters.connected += 1,
            Kind::Refused => counters.refused += 1,
            Kind::Reset | Kind::TimedOut => counters.broken += 1,
            Kind::Connect | Kind::StreamDelivered | Kind::StreamEnded | Kind::Note => {}
        }
    }

    pub(super) fn digest(&self) -> Digest {
        Digest::of(&[&self.chain.0, &self.block])
    }

    pub(super) fn keep(&mut self) {
        self.kept.get_or_insert_default();
    }

    pub(super) fn kept(&self) -> Vec<Seen> {
        self.kept.clone().unwrap_or_default()
    }
}

impl Kind {
    fn code(self) -> u8 {
        match self {
            Self::Sent => 1,
            Self::Delivered => 2,
            Self::Lost => 3,
            Self::Overflowed => 4,
            Self::Duplicated => 5,
            Self::Reordered => 6,
            Self::Corrupted => 7,
            Self::Cut => 8,
            Self::Undeliverable => 9,
            Self::Connect => 10,
            Self::Connected => 11,
            Self::Refused => 12,
            Self::StreamSent => 13,
            Self::StreamDelivered => 14,
            Self::StreamEnded => 15,
            Self::Reset => 16,
            Self::TimedOut => 17,
            Self::Note => 18,
        }
    }
}
