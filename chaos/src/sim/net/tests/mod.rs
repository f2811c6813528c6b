//! What the daemons may rely on, and what must go wrong on demand.

mod datagrams;
mod quic;
mod streams;

use std::future::poll_fn;
use std::io::IoSliceMut;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use quinn::AsyncUdpSocket;
use quinn::udp::{RecvMeta, Transmit};
use remit_common::net::env::Socket;

use super::{HostId, Net};
use crate::drill::action::LinkQuality;
use crate::sim::clock::TrueTime;
use crate::sim::runtime;
use crate::sim::spawn::Group;

const ANY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
const PORT: u16 = 7_000;

/// Two hosts, `a` and `b`.
struct Pair {
    net: Net,
    a: HostId,
    b: HostId,
    at_a: Arc<dyn Socket>,
    at_b: Arc<dyn Socket>,
}

impl Pair {
    fn new(seed: u64, quality: LinkQuality) -> Self {
        let net = Net::new(seed, TrueTime::begin(), quality);
        let a = net.add_host("a", ip(1)).unwrap();
        let b = net.add_host("b", ip(2)).unwrap();
        let (at_a, at_b) = (net.process(a, group()), net.process(b, group()));
        Self { net, a, b, at_a, at_b }
    }

    fn both(&self, from: Arc<dyn AsyncUdpSocket>) -> (Arc<dyn AsyncUdpSocket>, Arc<dyn AsyncUdpSocket>) {
        (from, self.at_b.udp(addr(2)).unwrap().quic)
    }
}

fn group() -> Arc<Group> {
    Arc::new(Group::default())
}

fn ip(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, last))
}

fn addr(last: u8) -> SocketAddr {
    SocketAddr::new(ip(last), PORT)
}

async fn wait(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

fn send(socket: &Arc<dyn AsyncUdpSocket>, destination: SocketAddr, contents: &[u8]) {
    socket.try_send(&Transmit { destination, ecn: None, contents, segment_size: None, src_ip: None }).unwrap();
}

/// The next datagram and who sent it, within a simulated minute.
async fn receive(socket: &Arc<dyn AsyncUdpSocket>) -> Option<(Vec<u8>, SocketAddr)> {
    let mut buffer = vec![0; 2_000];
    let mut meta = [RecvMeta::default()];
    let arrived = poll_fn(|context| {
        let mut buffers = [IoSliceMut::new(&mut buffer)];
        socket.poll_recv(context, &mut buffers, &mut meta)
    });
    let count = tokio::time::timeout(Duration::from_secs(60), arrived).await.ok()?.unwrap();
    assert_eq!(count, 1);
    Some((buffer[..meta[0].len].to_vec(), meta[0].addr))
}

/// Every datagram until none came for a simulated minute, by the number that it begins with.
async fn drain(socket: &Arc<dyn AsyncUdpSocket>) -> Vec<u32> {
    let mut got = Vec::new();
    while let Some((bytes, _)) = receive(socket).await {
        got.push(u32::from_be_bytes(bytes[..4].try_into().unwrap()));
    }
    got
}
