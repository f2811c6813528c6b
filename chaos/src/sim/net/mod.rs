//! The network of a simulation: hosts with addresses, datagrams and streams between them, and all that can go wrong.
//!
//! Every directed pair of hosts has a link with a quality of its own, and may be cut in one direction only. A host is
//! killed (its kernel goes on and hangs up for it), or loses power (silence), and comes back at its old address. What
//! is stopped (SIGSTOP) needs nothing of the network: its tasks do not run, and what arrives for it waits in buffers
//! of the size a kernel has, until they are full.
//!
//! A seed decides every draw, in the order in which packets are sent; nothing here depends on the addresses of
//! objects or on the machine. [`Net::digest`] tells whether two runs were the same.

mod link;
mod ports;
mod secrets;
mod tcp;
mod trace;
mod udp;
mod wire;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::future::BoxFuture;
use remit_common::crypto::digest::Digest;
use remit_common::net::env::{BoxStream, Listener, Socket};
use remit_common::net::udp::UdpSocket;

pub use self::secrets::{Leak, SecretTooShort};
pub use self::trace::{Counters, Kind, Seen};
use self::wire::{State, Wire};
use super::clock::TrueTime;
use crate::drill::action::LinkQuality;

/// A host of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostId(u32);

/// A process of a host, as far as the network knows one: what is closed together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct ProcessId(u64);

/// The network. Cloning gives the same one.
#[derive(Clone)]
pub struct Net(Arc<Shared>);

struct Shared {
    time: TrueTime,
    state: Mutex<State>,
}

impl fmt::Debug for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Net")
    }
}

impl Net {
    /// A network without hosts, whose links are as `quality` says until they are told otherwise. It lives as long as
    /// the runtime in which this is called.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the network belongs to no host: it runs while all of them are dead")]
    pub fn new(seed: u64, time: TrueTime, quality: LinkQuality) -> Self {
        let net = Self(Arc::new(Shared { time, state: Mutex::new(State::new(seed, quality)) }));
        drop(tokio::spawn(Wire::new(net.clone(), time)));
        net
    }

    /// Adds a host. The name resolves to the address for everybody.
    ///
    /// # Errors
    /// [`io::ErrorKind::AddrInUse`] when another host has the name or the address.
    pub fn add_host(&self, name: &str, ip: IpAddr) -> io::Result<HostId> {
        self.with(|state| state.add_host(name, ip))
    }

    /// A process of the host, with sockets of its own; it dies with [`Self::kill`]. A host without power gets it back.
    #[must_use]
    pub fn process(&self, host: HostId, runtime: Arc<dyn quinn::Runtime>) -> Arc<dyn Socket> {
        self.attach(host, runtime, false)
    }

    /// Somebody who works at the host and survives what happens to it, such as the agents of an edge. When the host
    /// loses power, their streams are reset.
    #[must_use]
    pub fn guest(&self, host: HostId, runtime: Arc<dyn quinn::Runtime>) -> Arc<dyn Socket> {
        self.attach(host, runtime, true)
    }

    fn attach(&self, host: HostId, runtime: Arc<dyn quinn::Runtime>, is_guest: bool) -> Arc<dyn Socket> {
        let process = self.with(|state| state.attach(host, is_guest));
        Arc::new(SimSocket { net: self.clone(), process, runtime })
    }

    /// The processes of the host are gone (SIGKILL): their sockets do nothing any more, their ports are free, and the
    /// kernel hangs up on whoever had a stream to them.
    pub fn kill(&self, host: HostId) {
        self.with(|state| state.kill(host));
    }

    /// The host loses power: the same, in silence. Whoever has a stream to it learns of it when it is back and gets
    /// something that it does not know. It is back with the next [`Self::process`].
    pub fn power_off(&self, host: HostId) {
        self.with(|state| state.power_off(host));
    }

    /// From now on nothing gets from the one to the other, what is on its way included. Streams wait; they break
    /// after 15 seconds with something on its way.
    pub fn cut(&self, from: HostId, to: HostId) {
        self.with(|state| state.link(from, to).cut());
    }

    /// The cut ends.
    pub fn mend(&self, from: HostId, to: HostId) {
        self.with(|state| state.link(from, to).is_cut = false);
    }

    /// What happens from now on to what is sent from the one to the other.
    pub fn set_quality(&self, from: HostId, to: HostId, quality: LinkQuality) {
        self.with(|state| state.link(from, to).set_quality(quality));
    }

    /// Every cut ends, and every link is as in the beginning.
    pub fn heal(&self) {
        self.with(State::heal);
    }

    /// Writes something into the trace: a step of the simulation that must be the same in both runs.
    pub fn note(&self, what: &str) {
        self.with(|state| state.trace.note(state.now, what));
    }

    /// The digest of everything so far: times, ends, kinds and lengths, and what was noted.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.with(|state| state.trace.digest())
    }

    /// Keeps every event from now on: to find the first difference between two runs.
    pub fn keep_events(&self) {
        self.with(|state| state.trace.keep());
    }

    /// What was kept.
    #[must_use]
    pub fn events(&self) -> Vec<Seen> {
        self.with(|state| state.trace.kept())
    }

    /// Totals so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.with(|state| state.trace.counters)
    }

    /// Looks for the secret in everything sent from now on, except from and to these pairs of hosts; a host and itself
    /// are its loopback.
    ///
    /// # Errors
    /// [`SecretTooShort`] below 8 bytes.
    pub fn forbid(&self, secret: Vec<u8>, allowed: BTreeSet<(HostId, HostId)>) -> Result<(), SecretTooShort> {
        self.with(|state| state.watch.forbid(secret, allowed))
    }

    /// Where secrets were found, the first time for each pair of hosts.
    #[must_use]
    pub fn leaks(&self) -> Vec<Leak> {
        self.with(|state| state.leaks())
    }

    /// The name of a host.
    #[must_use]
    pub fn name(&self, host: HostId) -> String {
        self.with(|state| state.name(host))
    }

    /// Works on the state, at the present time; wakes whoever is to be woken once nobody holds the state.
    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        state.now = self.0.time.elapsed();
        let result = work(&mut state);
        let wakes = state.take_wakes();
        drop(state);
        for wake in wakes {
            wake.wake();
        }
        result
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The sockets of one process.
struct SimSocket {
    net: Net,
    process: ProcessId,
    runtime: Arc<dyn quinn::Runtime>,
}

impl Socket for SimSocket {
    fn listen(&self, addr: SocketAddr) -> io::Result<Box<dyn Listener>> {
        Ok(Box::new(tcp::stream::SimListener::open(&self.net, self.process, addr)?))
    }

    fn connect(&self, addr: SocketAddr) -> BoxFuture<'static, io::Result<BoxStream>> {
        tcp::stream::connect(self.net.clone(), self.process, addr)
    }

    fn resolve(&self, host: &str, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        let found = match host.parse() {
            Ok(ip) => Some(ip),
            Err(_) if host == "localhost" => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            Err(_) => self.net.with(|state| state.ip_of(host)),
        };
        let found = found.map(|ip| vec![SocketAddr::new(ip, port)]);
        let found = found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no host has this name"));
        Box::pin(std::future::ready(found))
    }

    fn udp(&self, addr: SocketAddr) -> io::Result<UdpSocket> {
        Ok(UdpSocket { quic: Arc::new(udp::SimUdp::open(&self.net, self.process, addr)?), buffers: None })
    }

    fn quic_runtime(&self) -> Arc<dyn quinn::Runtime> {
        Arc::clone(&self.runtime)
    }
}
