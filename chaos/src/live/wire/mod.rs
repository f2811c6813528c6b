//! A wire in user space between the namespaces of a mesh.
//!
//! Every node has a TUN device. What its kernel sends comes out here, meets the fate that its link has in store, and
//! is handed to the device that owns the destination when its time has come. Addresses stay as they are, so QUIC and
//! TCP notice nothing but the weather; and no kernel needs netem for it. The wire ends with this process, and the
//! devices with it.

mod capture;
mod link;
mod packet;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::Ipv4Addr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rand_pcg::Pcg64Mcg;
use tokio::sync::watch;

pub(super) use self::capture::Capture;
pub(super) use self::link::Counts;
use self::link::Link;
use super::kernel;
use super::namespace::Namespace;
use crate::drill::action::LinkQuality;

/// The longest packet: the largest a device of ours is ever set to.
const PACKET_BYTES_MAX: usize = 65_535;

/// Packets on their way at the same time. Half a second of a hundred Mbit/s in full packets is 4 000; small ones and
/// bursts have sixteen times as many.
const QUEUE_PACKETS_MAX: usize = 65_536;

/// The device of every node.
const DEVICE: &str = "remit0";

/// Packets that a device holds for us: a burst of a whole bundle. The kernel's own 500 lose the end of it.
const DEVICE_PACKETS: &str = "4096";

/// Packets taken from one device before others get a turn.
const BATCH: usize = 64;

/// The wire. Dropping it ends its threads and takes the devices away.
pub(super) struct Wire {
    shared: Arc<Shared>,
    end: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    began: Instant,
    state: Mutex<State>,
    /// Something is on its way earlier than before, or the wire ends.
    wake: Condvar,
}

struct State {
    taps: BTreeMap<Ipv4Addr, Arc<File>>,
    links: BTreeMap<(Ipv4Addr, Ipv4Addr), Link>,
    queue: BinaryHeap<Reverse<Queued>>,
    /// Packets queued so far: those that arrive at the same time keep their order.
    queued: u64,
    random: Pcg64Mcg,
    capture: Option<Capture>,
    /// Whose packets are not kept: they carry a secret to where it belongs.
    private: BTreeSet<Ipv4Addr>,
    ended: bool,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Queued {
    at: Duration,
    number: u64,
    to: Ipv4Addr,
    packet: Vec<u8>,
}

impl Wire {
    /// A wire without devices. The seed decides which packets are lost.
    ///
    /// # Errors
    /// When no thread can be started.
    #[expect(clippy::disallowed_methods, reason = "packets of real processes travel in real time")]
    pub(super) fn new(seed: u64, capture: Option<Capture>) -> Result<Self> {
        let shared = Arc::new(Shared {
            began: Instant::now(),
            state: Mutex::new(State {
                taps: BTreeMap::new(),
                links: BTreeMap::new(),
                queue: BinaryHeap::new(),
                queued: 0,
                random: Pcg64Mcg::new(u128::from(seed)),
                capture,
                private: BTreeSet::new(),
                ended: false,
            }),
            wake: Condvar::new(),
        });
        let deliverer = Arc::clone(&shared);
        let thread = Builder::new()
            .name("remit-wire".to_owned())
            .spawn(move || deliverer.deliver())
            .context("cannot start the wire's thread")?;
        Ok(Self { shared, end: watch::Sender::new(false), threads: vec![thread] })
    }

    /// Gives a namespace a device on this wire, with an address.
    ///
    /// # Errors
    /// When the machine does not make the device, or no thread can be started.
    pub(super) fn plug(&mut self, addr: Ipv4Addr, namespace: &Namespace) -> Result<()> {
        let tap = namespace.inside(|| kernel::open_tun(DEVICE))?.context("cannot open a TUN device")?;
        let tap = Arc::new(tap);
        namespace.tool("ip", &["addr", "add", &format!("{addr}/16"), "dev", DEVICE])?;
        namespace.tool("ip", &["link", "set", DEVICE, "txqueuelen", DEVICE_PACKETS, "up"])?;
        self.shared.lock().taps.insert(addr, Arc::clone(&tap));
        let (shared, mut end) = (Arc::clone(&self.shared), self.end.subscribe());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .context("cannot wait for packets of a device")?;
        let thread = Builder::new()
            .name("remit-wire".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        biased;
                        _ = end.wait_for(|ended| *ended) => {}
                        ended = shared.forward(addr, tap) => {
                            if let Err(error) = ended {
                                tracing::error!(%addr, %error, "the wire lost a device");
                            }
                        }
                    }
                });
            })
            .context("cannot start a thread of the wire")?;
        self.threads.push(thread);
        Ok(())
    }

    /// Keeps packets from and to this address out of the capture.
    pub(super) fn keep_private(&self, addr: Ipv4Addr) {
        self.shared.lock().private.insert(addr);
    }

    /// Sets what happens to packets of one direction, for so long at most.
    pub(super) fn set_quality(&self, from: Ipv4Addr, to: Ipv4Addr, quality: LinkQuality, within: Duration) {
        let until = self.shared.now().saturating_add(within);
        self.shared.lock().link(from, to).set_quality(quality, until);
    }

    /// Lets the packets of one direction vanish, for so long at most.
    pub(super) fn cut(&self, from: Ipv4Addr, to: Ipv4Addr, within: Duration) {
        let until = self.shared.now().saturating_add(within);
        self.shared.lock().link(from, to).cut_until = Some(until);
    }

    /// Makes every link good and ends every cut.
    pub(super) fn heal(&self) {
        for link in self.shared.lock().links.values_mut() {
            link.set_quality(LinkQuality::GOOD, Duration::MAX);
            link.cut_until = None;
        }
    }

    /// What has happened so far on each direction that was used.
    pub(super) fn counts(&self) -> BTreeMap<(Ipv4Addr, Ipv4Addr), Counts> {
        self.shared.lock().links.iter().map(|(ends, link)| (*ends, link.counts)).collect()
    }

    /// Writes out what the capture holds back.
    pub(super) fn flush_capture(&self) {
        if let Some(capture) = &mut self.shared.lock().capture {
            capture.flush();
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.end.send_replace(true);
        self.shared.lock().ended = true;
        self.shared.wake.notify_all();
        for thread in self.threads.drain(..) {
            // Its panic has been printed, and packets are lost anyway.
            let _ = thread.join();
        }
        self.flush_capture();
    }
}

impl Shared {
    #[expect(clippy::disallowed_methods, reason = "packets of real processes travel in real time")]
    fn now(&self) -> Duration {
        Instant::now().saturating_duration_since(self.began)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes packets from a device and sends them on their way, for ever.
    async fn forward(&self, from: Ipv4Addr, tap: Arc<File>) -> std::io::Result<()> {
        let tap = kernel::watch(tap)?;
        let mut buffer = vec![0; PACKET_BYTES_MAX];
        loop {
            let mut ready = tap.readable().await?;
            for _ in 0..BATCH {
                let Ok(length) = ready.try_io(|tap| tap.get_ref().as_ref().read(&mut buffer)) else { break };
                self.send(from, buffer.get(..length?).unwrap_or_default());
            }
        }
    }

    fn send(&self, from: Ipv4Addr, packet: &[u8]) {
        let Some(to) = packet::destination(packet) else { return };
        let now = self.now();
        let mut guard = self.lock();
        let state = &mut *guard;
        if !state.taps.contains_key(&to) {
            return;
        }
        if let Some(capture) = &mut state.capture
            && !state.private.contains(&from)
            && !state.private.contains(&to)
        {
            capture.keep(now, packet);
        }
        let link = state.links.entry((from, to)).or_insert_with(|| Link::new(LinkQuality::GOOD));
        if state.queue.len() >= QUEUE_PACKETS_MAX {
            link.counts.sent += 1;
            link.counts.overflow += 1;
            return;
        }
        for arrival in link.send(now, packet.len(), &mut state.random).into_iter().flatten() {
            let mut packet = packet.to_vec();
            if let Some(draw) = arrival.corrupt {
                packet::corrupt(&mut packet, draw);
            }
            state.queued += 1;
            state.queue.push(Reverse(Queued { at: arrival.at, number: state.queued, to, packet }));
        }
        drop(guard);
        self.wake.notify_one();
    }

    /// Hands packets to their devices when their time has come, until the wire ends.
    fn deliver(&self) {
        let mut state = self.lock();
        while !state.ended {
            let now = self.now();
            match state.queue.peek() {
                None => state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(Reverse(next)) if next.at > now => {
                    let wait = next.at - now;
                    (state, _) = self.wake.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner);
                }
                Some(_) => {
                    if let Some(Reverse(Queued { to, packet, .. })) = state.queue.pop()
                        && let Some(tap) = state.taps.get(&to).cloned()
                    {
                        drop(state);
                        // A device that is full, or down, drops what comes: so does this one.
                        let _ = tap.as_ref().write(&packet);
                        state = self.lock();
                    }
                }
            }
        }
    }
}

impl State {
    fn link(&mut self, from: Ipv4Addr, to: Ipv4Addr) -> &mut Link {
        self.links.entry((from, to)).or_insert_with(|| Link::new(LinkQuality::GOOD))
    }
}

#[cfg(test)]
mod tests;
