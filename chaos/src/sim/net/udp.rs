//! Datagram sockets, as quinn takes them.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use quinn::udp::{EcnCodepoint, RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};

use super::link::{Fate, LOOPBACK};
use super::trace::Kind;
use super::wire::{Event, State};
use super::{HostId, Net, ProcessId};

/// What waits for a socket whose process does not read: as much as the daemons ask of a kernel.
const RECEIVE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// No long header of ours is longer, its number and the sample that masks it included.
const LONG_HEADER_BYTES_MAX: usize = 96;

/// A datagram on its way.
#[derive(Debug, Clone)]
pub(super) struct Packet {
    from: HostId,
    to: HostId,
    source: SocketAddr,
    destination: SocketAddr,
    ecn: Option<EcnCodepoint>,
    epoch: u64,
    bytes: Bytes,
}

/// Every open socket.
#[derive(Debug, Default)]
pub(super) struct Udp {
    sockets: BTreeMap<u64, Open>,
}

#[derive(Debug)]
struct Open {
    host: HostId,
    process: ProcessId,
    addr: SocketAddr,
    received: VecDeque<Packet>,
    received_bytes: usize,
    reader: Option<Waker>,
}

impl State {
    fn udp_open(&mut self, process: ProcessId, addr: SocketAddr) -> io::Result<(u64, SocketAddr)> {
        let host = self.process(process).ok_or(io::ErrorKind::NetworkDown)?.host;
        let id = self.next_id();
        let at = self.host_mut(host).ok_or(io::ErrorKind::NetworkDown)?;
        let addr = at.udp.bind(at.ip, addr, id)?;
        let open = Open { host, process, addr, received: VecDeque::new(), received_bytes: 0, reader: None };
        self.udp.sockets.insert(id, open);
        Ok((id, addr))
    }

    fn udp_close(&mut self, id: u64) {
        // The waker goes with the others, after the state is let go: dropping it may drop a task.
        if let Some(open) = self.udp.sockets.remove(&id) {
            if let Some(host) = self.host_mut(open.host) {
                host.udp.release(id);
            }
            self.wake(open.reader);
        }
    }

    /// The sockets of a process that is gone.
    pub(super) fn udp_forget(&mut self, host: HostId, process: ProcessId) {
        let of_process = self.udp.sockets.iter().filter(|(_, open)| open.host == host && open.process == process);
        let ids: Vec<_> = of_process.map(|(id, _)| *id).collect();
        ids.into_iter().for_each(|id| self.udp_close(id));
    }

    fn udp_send(&mut self, id: u64, transmit: &Transmit<'_>) {
        // The process is dead and does not know it yet.
        let Some(open) = self.udp.sockets.get(&id) else { return };
        let (from, bound) = (open.host, open.addr);
        let Some((to, own)) = self.route(from, bound.ip(), transmit.destination.ip()) else {
            return self.trace.add(self.now, from, from, Kind::Undeliverable, transmit.contents.len());
        };
        let source = SocketAddr::new(transmit.src_ip.unwrap_or(own), bound.port());
        let epoch = self.epoch(from, to);
        for contents in transmit.contents.chunks(transmit.segment_size.unwrap_or(usize::MAX).max(1)) {
            self.trace.add(self.now, from, to, Kind::Sent, contents.len());
            self.watch.look(self.now, from, to, false, contents);
            let destination = transmit.destination;
            let bytes = Bytes::new();
            let packet = Packet { from, to, source, destination, ecn: transmit.ecn, epoch, bytes };
            self.udp_pass(packet, contents);
        }
    }

    /// What the way does to it.
    fn udp_pass(&mut self, mut packet: Packet, contents: &[u8]) {
        let (now, from, to, len) = (self.now, packet.from, packet.to, contents.len());
        if from == to {
            packet.bytes = Bytes::copy_from_slice(contents);
            return self.schedule(now + LOOPBACK, Event::Datagram(packet));
        }
        if !self.host(from).is_some_and(|host| host.is_on) {
            return self.trace.add(now, from, to, Kind::Undeliverable, len);
        }
        let (link, random) = self.link_and_random(from, to);
        if link.is_cut {
            return self.trace.add(now, from, to, Kind::Cut, len);
        }
        match link.datagram(random, now, len) {
            Fate::Lost => self.trace.add(now, from, to, Kind::Lost, len),
            Fate::Overflowed => self.trace.add(now, from, to, Kind::Overflowed, len),
            Fate::Arrives { at, again, is_held, wrong_bit } => {
                packet.bytes = match wrong_bit {
                    Some(bit) => corrupted(contents, bit),
                    None => Bytes::copy_from_slice(contents),
                };
                for (kind, happened) in [
                    (Kind::Reordered, is_held),
                    (Kind::Corrupted, wrong_bit.is_some()),
                    (Kind::Duplicated, again.is_some()),
                ] {
                    if happened {
                        self.trace.add(now, from, to, kind, len);
                    }
                }
                if let Some(again) = again {
                    self.schedule(again, Event::Datagram(packet.clone()));
                }
                self.schedule(at, Event::Datagram(packet));
            }
        }
    }

    pub(super) fn udp_deliver(&mut self, packet: Packet) {
        let Packet { from, to, epoch, .. } = packet;
        let len = packet.bytes.len();
        let is_up = from == to || self.host(to).is_some_and(|host| host.is_on);
        if is_up && !self.is_open(from, to, epoch) {
            return self.trace.add(self.now, from, to, Kind::Cut, len);
        }
        let id = self.host(to).filter(|_| is_up).and_then(|host| host.udp.find(packet.destination));
        let open = id.and_then(|id| self.udp.sockets.get_mut(&id));
        let Some(open) = open.filter(|open| open.received_bytes + len <= RECEIVE_BYTES_MAX) else {
            return self.trace.add(self.now, from, to, Kind::Undeliverable, len);
        };
        open.received_bytes += len;
        open.received.push_back(packet);
        let reader = open.reader.take();
        self.wake(reader);
        self.trace.add(self.now, from, to, Kind::Delivered, len);
    }

    fn udp_receive(
        &mut self,
        id: u64,
        context: &Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<usize> {
        // The process is dead and does not know it yet.
        let Some(open) = self.udp.sockets.get_mut(&id) else { return Poll::Pending };
        let mut count = 0;
        for (buffer, meta) in buffers.iter_mut().zip(metas) {
            let Some(packet) = open.received.pop_front() else { break };
            open.received_bytes = open.received_bytes.saturating_sub(packet.bytes.len());
            // What does not fit is cut off, as a kernel does.
            let len = packet.bytes.len().min(buffer.len());
            if let (Some(to), Some(from)) = (buffer.get_mut(..len), packet.bytes.get(..len)) {
                to.copy_from_slice(from);
            }
            *meta = RecvMeta::default();
            meta.addr = packet.source;
            meta.len = len;
            meta.stride = len;
            meta.ecn = packet.ecn;
            meta.dst_ip = Some(packet.destination.ip());
            count += 1;
        }
        if count > 0 {
            return Poll::Ready(count);
        }
        if open.reader.as_ref().is_none_or(|reader| !reader.will_wake(context.waker())) {
            let before = open.reader.replace(context.waker().clone());
            self.wake(before);
        }
        Poll::Pending
    }
}

/// With one bit flipped.
///
/// Of a QUIC packet with a long header (RFC 9000, 17.2) only what comes after the header changes. The header is masked
/// with a sample of what is encrypted (RFC 9001, 5.4), and that differs between two runs of one seed, because TLS takes
/// its keys from the machine: whether a server took a damaged header for a new connection would be chance.
fn corrupted(contents: &[u8], bit: u64) -> Bytes {
    let mut bytes = BytesMut::from(contents);
    let is_long = contents.first().is_some_and(|first| first & 0x80 != 0);
    let begin = if is_long { LONG_HEADER_BYTES_MAX.min(bytes.len().saturating_sub(1)) } else { 0 };
    if let Some(open) = bytes.get_mut(begin..) {
        let bits = u64::try_from(open.len()).unwrap_or(u64::MAX).saturating_mul(8).max(1);
        let bit = bit % bits;
        if let Some(byte) = usize::try_from(bit / 8).ok().and_then(|index| open.get_mut(index)) {
            *byte ^= 1 << (bit % 8);
        }
    }
    bytes.freeze()
}

/// A socket of a process.
pub(super) struct SimUdp {
    net: Net,
    id: u64,
    addr: SocketAddr,
}

impl SimUdp {
    pub(super) fn open(net: &Net, process: ProcessId, addr: SocketAddr) -> io::Result<Self> {
        let (id, addr) = net.with(|state| state.udp_open(process, addr))?;
        Ok(Self { net: net.clone(), id, addr })
    }
}

impl fmt::Debug for SimUdp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimUdp({})", self.addr)
    }
}

impl Drop for SimUdp {
    fn drop(&mut self) {
        self.net.with(|state| state.udp_close(self.id));
    }
}

impl AsyncUdpSocket for SimUdp {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(AlwaysWritable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.net.with(|state| state.udp_send(self.id, transmit));
        Ok(())
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.net.with(|state| state.udp_receive(self.id, context, buffers, metas)).map(Ok)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.addr)
    }

    fn max_transmit_segments(&self) -> usize {
        1
    }

    fn max_receive_segments(&self) -> usize {
        1
    }

    fn may_fragment(&self) -> bool {
        false
    }
}

/// A socket whose host queues what it sends: there is always room.
#[derive(Debug)]
struct AlwaysWritable;

impl UdpPoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
