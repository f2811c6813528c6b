//! Streams: what TCP promises its users over the same links, and how it breaks.
//!
//! Not TCP itself. Bytes arrive in order and unharmed; what a link does to a segment is seen as the time it takes to
//! send it again. A cut stalls a stream, which goes on after the cut or is given up by its sender; a host that does
//! not know a stream (any more) answers with a reset. Windows are one bound on what lies between writer and reader,
//! opened at once when the reader takes something.

mod end;
mod open;
pub(super) mod stream;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::task::Waker;
use std::time::Duration;

use self::end::{End, Phase, Side};
use super::link::{LOOPBACK, RETRANSMIT};
use super::trace::Kind;
use super::wire::{Event, State};
use super::{HostId, ProcessId};

/// A sender gives up after this long without an answer.
const STALL_MAX: Duration = Duration::from_secs(15);
/// Bytes of a segment without contents, for the links' rates.
const HEADER_BYTES: usize = 60;

/// Every stream and listener.
#[derive(Debug, Default)]
pub(super) struct Tcp {
    streams: BTreeMap<u64, Conn>,
    listeners: BTreeMap<u64, Listening>,
}

#[cfg(test)]
impl Tcp {
    pub(super) fn len(&self) -> usize {
        self.streams.len() + self.listeners.len()
    }
}

#[derive(Debug)]
struct Listening {
    host: HostId,
    process: ProcessId,
    arrived: VecDeque<u64>,
    acceptor: Option<Waker>,
}

#[derive(Debug)]
struct Conn {
    client: Side,
    server: Side,
}

/// Something of a stream is due.
#[derive(Debug)]
pub(super) struct Due {
    id: u64,
    what: What,
}

#[derive(Debug)]
enum What {
    /// The request to open arrives, sent at this epoch of the link.
    Syn { epoch: u64, tries: u32 },
    /// The answer arrives.
    SynAck { epoch: u64, tries: u32 },
    /// The answer that nobody listens.
    Refusal { epoch: u64 },
    /// What this end has sent arrives, or is sent again.
    Data { from: End },
    /// This end learns that the other does not know the stream.
    Reset { to: End, epoch: u64 },
}

impl Conn {
    fn side(&self, end: End) -> &Side {
        match end {
            End::Client => &self.client,
            End::Server => &self.server,
        }
    }

    fn side_mut(&mut self, end: End) -> &mut Side {
        match end {
            End::Client => &mut self.client,
            End::Server => &mut self.server,
        }
    }

    fn hosts(&self, from: End) -> (HostId, HostId) {
        (self.side(from).host, self.side(from.other()).host)
    }
}

impl State {
    // --- moving bytes

    /// When a piece that leaves now arrives, and the epoch of the link it leaves at.
    fn tcp_pass(&mut self, from: HostId, to: HostId, len: usize) -> (Duration, u64) {
        if from == to {
            return (self.now + LOOPBACK, 0);
        }
        let now = self.now;
        let (link, random) = self.link_and_random(from, to);
        let epoch = link.epoch;
        let passage = link.stream(random, now, len);
        let kinds = [
            (Kind::Lost, passage.lost),
            (Kind::Corrupted, passage.corrupted),
            (Kind::Reordered, u32::from(passage.is_held)),
            (Kind::Duplicated, u32::from(passage.is_doubled)),
        ];
        for (kind, times) in kinds {
            for _ in 0..times {
                self.trace.add(now, from, to, kind, len);
            }
        }
        (passage.at, epoch)
    }

    /// Puts a piece on its way; none is the end of this direction.
    fn tcp_send(&mut self, id: u64, from: End, bytes: Option<bytes::Bytes>) {
        let Some(conn) = self.tcp.streams.get_mut(&id) else { return };
        let (host, to) = conn.hosts(from);
        let len = bytes.as_ref().map_or(0, bytes::Bytes::len);
        if let Some(bytes) = &bytes {
            let scanned = conn.side_mut(from).tail.extended(bytes, self.watch.overlap());
            if let Some(scanned) = scanned {
                self.watch.look(self.now, host, to, true, &scanned);
            }
        }
        let (at, epoch) = self.tcp_pass(host, to, len + HEADER_BYTES);
        self.trace.add(self.now, host, to, Kind::StreamSent, len);
        let Some(conn) = self.tcp.streams.get_mut(&id) else { return };
        let side = conn.side_mut(from);
        let at = side.queue(at, epoch, bytes);
        if !std::mem::replace(&mut side.is_due, true) {
            self.schedule(at, Event::Stream(Due { id, what: What::Data { from } }));
        }
    }

    /// Delivers what has arrived by now, in order; sends again what did not get through.
    fn tcp_data(&mut self, id: u64, from: End) {
        let Some(conn) = self.tcp.streams.get_mut(&id) else { return };
        conn.side_mut(from).is_due = false;
        let (host, to) = conn.hosts(from);
        loop {
            let Some(conn) = self.tcp.streams.get(&id) else { return };
            let side = conn.side(from);
            let Some((at, epoch)) = side.head() else { break };
            if at > self.now {
                return self.tcp_again(id, from, at);
            }
            if !self.is_open(host, to, epoch) {
                self.trace.add(self.now, host, to, Kind::Cut, HEADER_BYTES);
                return self.tcp_stall(id, from);
            }
            if !self.tcp_take(id, from) {
                return self.tcp_stall(id, from);
            }
            self.tcp_answer(id, from);
        }
        if self.tcp_answer(id, from) { self.tcp_tidy(id) } else { self.tcp_stall(id, from) }
    }

    /// The answer takes the other direction; without it, the sender does not know that all went well. Whether it got
    /// through.
    fn tcp_answer(&mut self, id: u64, from: End) -> bool {
        let now = self.now;
        let Some(conn) = self.tcp.streams.get(&id) else { return true };
        let (host, to) = conn.hosts(from);
        let is_answered = self.is_open(to, host, self.epoch(to, host));
        let Some(conn) = self.tcp.streams.get_mut(&id) else { return true };
        let side = conn.side_mut(from);
        let waits = !is_answered && side.phase != Phase::Gone && side.error.is_none();
        if waits {
            side.stalled.get_or_insert((now, 0));
        } else {
            side.stalled = None;
        }
        !waits
    }

    /// Hands the first piece of what `from` has sent to the other end; false when the other end does not know it.
    fn tcp_take(&mut self, id: u64, from: End) -> bool {
        let Some(conn) = self.tcp.streams.get_mut(&id) else { return true };
        let (host, to) = conn.hosts(from);
        let takes = match conn.side(from.other()).phase {
            Phase::Opening | Phase::Open => conn.side(from.other()).error.is_none(),
            // Whoever closed takes note of the other's end, and of nothing else.
            Phase::Closed => conn.side(from).next_is_end(),
            Phase::Gone => false,
        };
        if !takes {
            self.tcp_send_reset(id, from);
            return false;
        }
        let piece = conn.side_mut(from).take_head();
        let reader = conn.side_mut(from.other());
        match piece {
            Some(Some(bytes)) => {
                let len = bytes.len();
                let wake = reader.receive(bytes);
                self.wake(wake);
                self.trace.add(self.now, host, to, Kind::StreamDelivered, len);
            }
            Some(None) => {
                let wake = reader.receive_end();
                self.wake(wake);
                self.trace.add(self.now, host, to, Kind::StreamEnded, 0);
            }
            None => {}
        }
        true
    }

    fn tcp_again(&mut self, id: u64, from: End, at: Duration) {
        if let Some(conn) = self.tcp.streams.get_mut(&id)
            && !std::mem::replace(&mut conn.side_mut(from).is_due, true)
        {
            self.schedule(at, Event::Stream(Due { id, what: What::Data { from } }));
        }
    }

    /// The first piece did not get through, or the answer did not.
    fn tcp_stall(&mut self, id: u64, from: End) {
        let now = self.now;
        let Some(conn) = self.tcp.streams.get_mut(&id) else { return };
        let (host, to) = conn.hosts(from);
        let epoch = self.epoch(host, to);
        let Some(conn) = self.tcp.streams.get_mut(&id) else { return };
        let side = conn.side_mut(from);
        let (since, tries) = side.stalled.unwrap_or((now, 0));
        if now.saturating_sub(since) >= STALL_MAX {
            self.trace.add(now, host, to, Kind::TimedOut, 0);
            return self.tcp_fail(id, from, io::ErrorKind::TimedOut);
        }
        side.stalled = Some((since, tries + 1));
        side.send_again(epoch);
        let wait = RETRANSMIT * (1 << tries.min(16));
        // Never so late that giving up would be late.
        let at = (now + wait).min(since + STALL_MAX).max(now + RETRANSMIT);
        self.tcp_again(id, from, at);
    }

    // --- breaking and closing

    /// Tells `to` that the other end knows nothing of the stream.
    fn tcp_send_reset(&mut self, id: u64, to: End) {
        let Some(conn) = self.tcp.streams.get(&id) else { return };
        let (from_host, to_host) = conn.hosts(to.other());
        let (at, epoch) = self.tcp_pass(from_host, to_host, HEADER_BYTES);
        self.schedule(at, Event::Stream(Due { id, what: What::Reset { to, epoch } }));
    }

    fn tcp_reset(&mut self, id: u64, to: End, epoch: u64) {
        let Some(conn) = self.tcp.streams.get(&id) else { return };
        let (from_host, to_host) = conn.hosts(to.other());
        if self.is_open(from_host, to_host, epoch) {
            if conn.side(to).error.is_none() {
                self.trace.add(self.now, from_host, to_host, Kind::Reset, HEADER_BYTES);
            }
            self.tcp_fail(id, to, io::ErrorKind::ConnectionReset);
        }
    }

    /// This end is broken; the other does not hear of it.
    fn tcp_fail(&mut self, id: u64, end: End, why: io::ErrorKind) {
        let Some(conn) = self.tcp.streams.get_mut(&id) else { return };
        let wakes = conn.side_mut(end).fail(why);
        wakes.into_iter().for_each(|waker| self.wake(waker));
        self.tcp_tidy(id);
    }

    /// The owner of this end is through with it.
    fn tcp_close(&mut self, id: u64, end: End) {
        let Some(conn) = self.tcp.streams.get_mut(&id) else { return };
        let side = conn.side_mut(end);
        let before = side.phase;
        if matches!(before, Phase::Closed | Phase::Gone) {
            return;
        }
        let (is_unread, is_ended) = (side.has_unread(), side.is_ended);
        let is_whole = before == Phase::Open && side.error.is_none();
        // The owner has not read what the other end believes to have sent: that is no orderly end.
        let wakes = if is_whole && is_unread { side.vanish() } else { side.close() };
        wakes.into_iter().for_each(|waker| self.wake(waker));
        if is_whole && is_unread {
            self.tcp_send_reset(id, end.other());
        } else if is_whole && !is_ended {
            self.tcp_send(id, end, None);
        }
        self.tcp_tidy(id);
    }

    fn tcp_close_listener(&mut self, id: u64) {
        let Some(listening) = self.tcp.listeners.remove(&id) else { return };
        if let Some(host) = self.host_mut(listening.host) {
            host.tcp.release(id);
        }
        self.wake(listening.acceptor);
        for id in listening.arrived {
            self.tcp_send_reset(id, End::Client);
            self.tcp_vanish(id, End::Server);
        }
    }

    /// The host of this end forgets it.
    fn tcp_vanish(&mut self, id: u64, end: End) {
        let Some(conn) = self.tcp.streams.get_mut(&id) else { return };
        let wakes = conn.side_mut(end).vanish();
        wakes.into_iter().for_each(|waker| self.wake(waker));
        self.tcp_tidy(id);
    }

    /// The kernel closes what a killed process had open.
    pub(super) fn tcp_hang_up(&mut self, host: HostId, process: ProcessId) {
        let of_process = |listening: &Listening| listening.host == host && listening.process == process;
        for id in self.tcp_listeners(of_process) {
            self.tcp_close_listener(id);
        }
        for (id, end) in self.tcp_ends(|side| side.host == host && side.process == Some(process)) {
            self.tcp_close(id, end);
        }
    }

    /// The host forgets everything, and says nothing. Guests learn of it at once.
    pub(super) fn tcp_power_off(&mut self, host: HostId) {
        for (id, end) in self.tcp_ends(|side| side.host == host) {
            let Some(conn) = self.tcp.streams.get(&id) else { continue };
            let process = conn.side(end).process.and_then(|process| self.process(process));
            if process.is_some_and(|process| process.is_guest) {
                self.tcp_fail(id, end, io::ErrorKind::ConnectionReset);
            } else {
                self.tcp_vanish(id, end);
            }
        }
        for id in self.tcp_listeners(|listening| listening.host == host) {
            if let Some(listening) = self.tcp.listeners.get_mut(&id) {
                // They vanished above, in silence.
                listening.arrived.clear();
            }
            self.tcp_close_listener(id);
        }
    }

    fn tcp_listeners(&self, is_meant: impl Fn(&Listening) -> bool) -> Vec<u64> {
        self.tcp.listeners.iter().filter(|(_, listening)| is_meant(listening)).map(|(id, _)| *id).collect()
    }

    fn tcp_ends(&self, is_meant: impl Fn(&Side) -> bool) -> Vec<(u64, End)> {
        let both = |(id, conn): (&u64, &Conn)| {
            [(End::Client, &conn.client), (End::Server, &conn.server)]
                .into_iter()
                .filter(|(_, side)| is_meant(side))
                .map(|(end, _)| (*id, end))
                .collect::<Vec<_>>()
        };
        self.tcp.streams.iter().flat_map(both).collect()
    }

    /// Forgets a stream that neither end needs any more.
    fn tcp_tidy(&mut self, id: u64) {
        if self.tcp.streams.get(&id).is_some_and(|conn| conn.client.is_over() && conn.server.is_over()) {
            self.tcp.streams.remove(&id);
        }
    }

    pub(super) fn tcp_due(&mut self, due: Due) {
        let Due { id, what } = due;
        match what {
            What::Syn { epoch, tries } => self.tcp_syn(id, epoch, tries),
            What::SynAck { epoch, tries } => self.tcp_syn_ack(id, epoch, tries),
            What::Refusal { epoch } => self.tcp_refused(id, epoch),
            What::Data { from } => self.tcp_data(id, from),
            What::Reset { to, epoch } => self.tcp_reset(id, to, epoch),
        }
    }
}
