//! The state of the network, and the one task that delivers what is due.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rand_pcg::Pcg64;
use tokio::time::Sleep;

use super::link::Link;
use super::ports::Ports;
use super::secrets::{Leak, Watch};
use super::tcp::{self, Tcp};
use super::trace::Trace;
use super::udp::{Packet, Udp};
use super::{HostId, Net, ProcessId};
use crate::drill::action::LinkQuality;
use crate::sim::clock::TrueTime;
use crate::sim::entropy::generator;

/// What is due at some time.
#[derive(Debug)]
pub(super) enum Event {
    Datagram(Packet),
    Stream(tcp::Due),
}

#[derive(Debug)]
pub(super) struct Host {
    name: String,
    pub(super) ip: IpAddr,
    pub(super) is_on: bool,
    pub(super) udp: Ports,
    pub(super) tcp: Ports,
}

#[derive(Debug)]
pub(super) struct Process {
    pub(super) host: HostId,
    pub(super) is_guest: bool,
}

pub(super) struct State {
    /// True time, set on every entry.
    pub(super) now: Duration,
    pub(super) trace: Trace,
    pub(super) watch: Watch,
    pub(super) udp: Udp,
    pub(super) tcp: Tcp,
    random: Pcg64,
    hosts: Vec<Host>,
    /// Those that live.
    processes: BTreeMap<ProcessId, Process>,
    links: BTreeMap<(HostId, HostId), Link>,
    quality: LinkQuality,
    /// What is due, by time, and what is due at the same time in the order in which it was sent.
    due: BTreeMap<(Duration, u64), Event>,
    ids: u64,
    /// The next time at which the wire wakes by itself.
    armed: Option<Duration>,
    wire: Option<Waker>,
    wakes: Vec<Waker>,
}

impl State {
    pub(super) fn new(seed: u64, quality: LinkQuality) -> Self {
        Self {
            now: Duration::ZERO,
            trace: Trace::default(),
            watch: Watch::default(),
            udp: Udp::default(),
            tcp: Tcp::default(),
            random: generator(seed, "network"),
            hosts: Vec::new(),
            processes: BTreeMap::new(),
            links: BTreeMap::new(),
            quality,
            due: BTreeMap::new(),
            ids: 0,
            armed: None,
            wire: None,
            wakes: Vec::new(),
        }
    }

    pub(super) fn next_id(&mut self) -> u64 {
        self.ids += 1;
        self.ids
    }

    pub(super) fn wake(&mut self, waker: Option<Waker>) {
        self.wakes.extend(waker);
    }

    pub(super) fn take_wakes(&mut self) -> Vec<Waker> {
        std::mem::take(&mut self.wakes)
    }

    // --- hosts and processes

    pub(super) fn add_host(&mut self, name: &str, ip: IpAddr) -> io::Result<HostId> {
        if self.hosts.iter().any(|host| host.name == name || host.ip == ip) {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, format!("another host is `{name}` or `{ip}`")));
        }
        let id = u32::try_from(self.hosts.len()).map_err(io::Error::other)?;
        self.hosts.push(Host { name: name.to_owned(), ip, is_on: true, udp: Ports::default(), tcp: Ports::default() });
        Ok(HostId(id))
    }

    pub(super) fn attach(&mut self, host: HostId, is_guest: bool) -> ProcessId {
        let id = ProcessId(self.next_id());
        self.processes.insert(id, Process { host, is_guest });
        if let Some(host) = self.host_mut(host)
            && !is_guest
        {
            host.is_on = true;
        }
        id
    }

    pub(super) fn kill(&mut self, host: HostId) {
        for process in self.mortals(host) {
            self.processes.remove(&process);
            self.udp_forget(host, process);
            self.tcp_hang_up(host, process);
        }
    }

    pub(super) fn power_off(&mut self, host: HostId) {
        if let Some(host) = self.host_mut(host) {
            host.is_on = false;
        }
        for process in self.mortals(host) {
            self.processes.remove(&process);
            self.udp_forget(host, process);
        }
        self.tcp_power_off(host);
    }

    fn mortals(&self, host: HostId) -> Vec<ProcessId> {
        let of_host = self.processes.iter().filter(|(_, process)| process.host == host && !process.is_guest);
        of_host.map(|(id, _)| *id).collect()
    }

    pub(super) fn process(&self, id: ProcessId) -> Option<&Process> {
        self.processes.get(&id)
    }

    pub(super) fn host(&self, id: HostId) -> Option<&Host> {
        self.hosts.get(usize::try_from(id.0).ok()?)
    }

    pub(super) fn host_mut(&mut self, id: HostId) -> Option<&mut Host> {
        self.hosts.get_mut(usize::try_from(id.0).ok()?)
    }

    pub(super) fn name(&self, id: HostId) -> String {
        self.host(id).map(|host| host.name.clone()).unwrap_or_default()
    }

    pub(super) fn ip_of(&self, name: &str) -> Option<IpAddr> {
        self.hosts.iter().find(|host| host.name == name).map(|host| host.ip)
    }

    pub(super) fn leaks(&self) -> Vec<Leak> {
        let leak = |(&(secret, from, to, is_stream), &at): (&(usize, HostId, HostId, bool), &Duration)| Leak {
            secret,
            from: self.name(from),
            to: self.name(to),
            at,
            is_stream,
        };
        self.watch.found.iter().map(leak).collect()
    }

    // --- ways

    /// Which host has the address, seen from `host`, and from which of our addresses we would reach it.
    pub(super) fn route(&self, host: HostId, bound: IpAddr, to: IpAddr) -> Option<(HostId, IpAddr)> {
        let own = self.host(host)?.ip;
        if to.is_loopback() || to.is_unspecified() {
            let from = if bound.is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { bound };
            return Some((host, from));
        }
        let found = self.hosts.iter().position(|host| host.ip == to)?;
        let found = HostId(u32::try_from(found).ok()?);
        let from = if bound.is_unspecified() { own } else { bound };
        // Nothing leaves a host with the address of its loopback.
        (found == host || !from.is_loopback()).then_some((found, from))
    }

    pub(super) fn link(&mut self, from: HostId, to: HostId) -> &mut Link {
        let quality = self.quality;
        self.links.entry((from, to)).or_insert_with(|| Link::new(quality))
    }

    pub(super) fn link_and_random(&mut self, from: HostId, to: HostId) -> (&mut Link, &mut Pcg64) {
        let quality = self.quality;
        (self.links.entry((from, to)).or_insert_with(|| Link::new(quality)), &mut self.random)
    }

    /// Whether what left `from` at this epoch of the link arrives at `to` now. A host always reaches itself.
    pub(super) fn is_open(&self, from: HostId, to: HostId, epoch: u64) -> bool {
        let is_whole = |link: &Link| !link.is_cut && link.epoch == epoch;
        from == to || (self.links.get(&(from, to)).is_none_or(is_whole) && self.host(to).is_some_and(|host| host.is_on))
    }

    pub(super) fn epoch(&self, from: HostId, to: HostId) -> u64 {
        self.links.get(&(from, to)).map_or(0, |link| link.epoch)
    }

    pub(super) fn heal(&mut self) {
        let quality = self.quality;
        for link in self.links.values_mut() {
            link.is_cut = false;
            link.set_quality(quality);
        }
    }

    // --- time

    pub(super) fn schedule(&mut self, at: Duration, event: Event) {
        let seq = self.next_id();
        self.due.insert((at, seq), event);
        // The wire wakes at the end of a millisecond anyhow: what is due within the same one needs no other timer.
        if self.armed.is_none_or(|armed| at < armed && tick(at) < tick(armed)) {
            self.armed = Some(at);
            let wire = self.wire.take();
            self.wake(wire);
        }
    }

    /// Delivers what is due and gives the time of the next.
    fn run(&mut self, context: &Context<'_>) -> Option<Duration> {
        while let Some(entry) = self.due.first_entry()
            && entry.key().0 <= self.now
        {
            match entry.remove() {
                Event::Datagram(packet) => self.udp_deliver(packet),
                Event::Stream(due) => self.tcp_due(due),
            }
        }
        self.armed = self.due.first_key_value().map(|((at, _), _)| *at);
        if self.wire.as_ref().is_none_or(|wire| !wire.will_wake(context.waker())) {
            self.wire = Some(context.waker().clone());
        }
        self.armed
    }
}

/// The end of the millisecond, at which tokio's timer for `at` fires.
fn tick(at: Duration) -> u128 {
    at.as_nanos().div_ceil(1_000_000)
}

/// The task that delivers.
pub(super) struct Wire {
    net: Net,
    time: TrueTime,
    sleep: Pin<Box<Sleep>>,
}

impl Wire {
    pub(super) fn new(net: Net, time: TrueTime) -> Self {
        Self { net, time, sleep: Box::pin(tokio::time::sleep(Duration::ZERO)) }
    }
}

impl Future for Wire {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        loop {
            let Some(next) = self.net.with(|state| state.run(context)) else { return Poll::Pending };
            let next = self.time.at(next);
            self.sleep.as_mut().reset(next);
            if self.sleep.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
        }
    }
}
