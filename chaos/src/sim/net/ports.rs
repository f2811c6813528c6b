//! Who has which port of a host.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};

/// Where ports begin that nobody asked for by number.
const EPHEMERAL: u16 = 49_152;

/// The ports of one host and protocol.
#[derive(Debug)]
pub(super) struct Ports {
    bound: BTreeMap<(u16, IpAddr), u64>,
    next: u16,
}

impl Default for Ports {
    fn default() -> Self {
        Self { bound: BTreeMap::new(), next: EPHEMERAL }
    }
}

impl Ports {
    /// Takes a port of a host whose address is `own`; port 0 takes the next free one.
    pub(super) fn bind(&mut self, own: IpAddr, addr: SocketAddr, id: u64) -> io::Result<SocketAddr> {
        let ip = addr.ip();
        if !(ip.is_unspecified() || ip.is_loopback() || ip == own) {
            return Err(io::Error::new(io::ErrorKind::AddrNotAvailable, format!("`{ip}` is not of this host")));
        }
        let addr = if addr.port() == 0 { SocketAddr::new(ip, self.free()?) } else { addr };
        let is_taken = self.bound.keys().any(|(port, other)| {
            *port == addr.port() && (*other == ip || other.is_unspecified() || ip.is_unspecified())
        });
        if is_taken {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, format!("`{addr}` is in use")));
        }
        self.bound.insert((addr.port(), ip), id);
        Ok(addr)
    }

    /// A port that nobody has.
    pub(super) fn free(&mut self) -> io::Result<u16> {
        for _ in EPHEMERAL..=u16::MAX {
            let port = self.next;
            self.next = port.checked_add(1).unwrap_or(EPHEMERAL);
            if !self.bound.keys().any(|(taken, _)| *taken == port) {
                return Ok(port);
            }
        }
        Err(io::Error::new(io::ErrorKind::AddrInUse, "no port is free"))
    }

    /// Who gets what is sent to an address of this host.
    pub(super) fn find(&self, addr: SocketAddr) -> Option<u64> {
        let exact = self.bound.get(&(addr.port(), addr.ip()));
        let any = || {
            self.bound.iter().find_map(|((port, ip), id)| (*port == addr.port() && ip.is_unspecified()).then_some(id))
        };
        exact.or_else(any).copied()
    }

    pub(super) fn release(&mut self, id: u64) {
        self.bound.retain(|_, holder| *holder != id);
    }
}
