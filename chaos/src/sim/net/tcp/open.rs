//! How a stream is opened: asked for, taken, refused, or not answered at all.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::end::{End, Phase, Side};
use super::{Conn, Due, HEADER_BYTES, Listening, What};
use crate::sim::net::trace::Kind;
use crate::sim::net::wire::{Event, State};
use crate::sim::net::{HostId, ProcessId};

/// Streams that wait to be accepted; a further one waits in front of the door.
const BACKLOG: usize = 1024;
/// Between two tries to open a stream to a host that does not answer; twice as long after each.
const OPEN_AGAIN: Duration = Duration::from_secs(1);
/// Tries to open a stream.
const OPEN_TRIES: u32 = 7;

impl State {
    pub(super) fn tcp_listen(&mut self, process: ProcessId, addr: SocketAddr) -> io::Result<(u64, SocketAddr)> {
        let host = self.process(process).ok_or(io::ErrorKind::NetworkDown)?.host;
        let id = self.next_id();
        let at = self.host_mut(host).ok_or(io::ErrorKind::NetworkDown)?;
        let addr = at.tcp.bind(at.ip, addr, id)?;
        self.tcp.listeners.insert(id, Listening { host, process, arrived: VecDeque::new(), acceptor: None });
        Ok((id, addr))
    }

    pub(super) fn tcp_connect(&mut self, process: ProcessId, addr: SocketAddr) -> io::Result<u64> {
        let host = self.process(process).ok_or(io::ErrorKind::NetworkDown)?.host;
        let at = self.host_mut(host).ok_or(io::ErrorKind::NetworkDown)?;
        let (own, port) = (at.ip, at.tcp.free()?);
        let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let (to, own) = self.route(host, any, addr.ip()).map_or((None, own), |(to, own)| (Some(to), own));
        let to = to.ok_or(io::ErrorKind::HostUnreachable)?;
        let id = self.next_id();
        let own = SocketAddr::new(own, port);
        let conn = Conn { client: Side::new(host, Some(process), own), server: Side::new(to, None, addr) };
        self.tcp.streams.insert(id, conn);
        self.trace.add(self.now, host, to, Kind::Connect, HEADER_BYTES);
        self.tcp_send_syn(id, host, to, 0);
        Ok(id)
    }

    fn tcp_send_syn(&mut self, id: u64, from: HostId, to: HostId, tries: u32) {
        let (at, epoch) = self.tcp_pass(from, to, HEADER_BYTES);
        self.schedule(at, Event::Stream(Due { id, what: What::Syn { epoch, tries } }));
    }

    pub(super) fn tcp_syn(&mut self, id: u64, epoch: u64, tries: u32) {
        let Some(conn) = self.tcp.streams.get_mut(&id) else { return };
        let (from, to) = conn.hosts(End::Client);
        if !conn.client.is_opening() {
            return;
        }
        if tries >= OPEN_TRIES {
            let wakes = conn.client.fail(io::ErrorKind::TimedOut);
            self.trace.add(self.now, from, to, Kind::TimedOut, 0);
            return wakes.into_iter().for_each(|waker| self.wake(waker));
        }
        let again = self.now + OPEN_AGAIN * (1 << tries);
        if !self.is_open(from, to, epoch) {
            self.trace.add(self.now, from, to, Kind::Cut, HEADER_BYTES);
            let epoch = self.epoch(from, to);
            return self.schedule(again, Event::Stream(Due { id, what: What::Syn { epoch, tries: tries + 1 } }));
        }
        let (at, back_epoch) = self.tcp_pass(to, from, HEADER_BYTES);
        match self.tcp_arrive(id) {
            Arrival::Taken => {
                let what = What::SynAck { epoch: back_epoch, tries: 0 };
                self.schedule(at, Event::Stream(Due { id, what }));
            }
            Arrival::Full => {
                let epoch = self.epoch(from, to);
                self.schedule(again, Event::Stream(Due { id, what: What::Syn { epoch, tries: tries + 1 } }));
            }
            Arrival::Nobody => {
                self.schedule(at, Event::Stream(Due { id, what: What::Refusal { epoch: back_epoch } }));
                // Should the refusal not get through, the question is asked again.
                let epoch = self.epoch(from, to);
                self.schedule(again, Event::Stream(Due { id, what: What::Syn { epoch, tries: tries + 1 } }));
            }
        }
    }

    /// Puts a stream into the queue of whoever listens.
    fn tcp_arrive(&mut self, id: u64) -> Arrival {
        let Some(conn) = self.tcp.streams.get(&id) else { return Arrival::Nobody };
        let (host, addr) = (conn.server.host, conn.server.addr);
        let listener = self.host(host).and_then(|host| host.tcp.find(addr));
        let Some(listening) = listener.and_then(|id| self.tcp.listeners.get_mut(&id)) else { return Arrival::Nobody };
        if listening.arrived.len() >= BACKLOG {
            return Arrival::Full;
        }
        listening.arrived.push_back(id);
        let (process, acceptor) = (listening.process, listening.acceptor.take());
        self.wake(acceptor);
        if let Some(conn) = self.tcp.streams.get_mut(&id) {
            conn.server.open(process);
        }
        Arrival::Taken
    }

    pub(super) fn tcp_syn_ack(&mut self, id: u64, epoch: u64, tries: u32) {
        let Some(conn) = self.tcp.streams.get_mut(&id) else { return };
        let (from, to) = conn.hosts(End::Server);
        if !self.is_open(from, to, epoch) {
            self.trace.add(self.now, from, to, Kind::Cut, HEADER_BYTES);
            if tries < OPEN_TRIES {
                let what = What::SynAck { epoch: self.epoch(from, to), tries: tries + 1 };
                return self.schedule(self.now + OPEN_AGAIN * (1 << tries), Event::Stream(Due { id, what }));
            }
            self.tcp_fail(id, End::Server, io::ErrorKind::TimedOut);
            return self.tcp_fail(id, End::Client, io::ErrorKind::TimedOut);
        }
        let Some(conn) = self.tcp.streams.get_mut(&id) else { return };
        match conn.client.phase {
            Phase::Opening => {
                let wake = conn.client.establish();
                self.wake(wake);
                self.trace.add(self.now, to, from, Kind::Connected, HEADER_BYTES);
            }
            // Nobody waits for it any more.
            Phase::Closed | Phase::Gone => self.tcp_send_reset(id, End::Server),
            Phase::Open => {}
        }
    }

    pub(super) fn tcp_refused(&mut self, id: u64, epoch: u64) {
        let Some(conn) = self.tcp.streams.get(&id) else { return };
        let (from, to) = conn.hosts(End::Server);
        if conn.client.is_opening() && self.is_open(from, to, epoch) {
            self.trace.add(self.now, from, to, Kind::Refused, HEADER_BYTES);
            self.tcp_fail(id, End::Client, io::ErrorKind::ConnectionRefused);
        }
    }
}

/// What becomes of a stream at the host to which it is opened.
enum Arrival {
    Taken,
    Full,
    Nobody,
}
