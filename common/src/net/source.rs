//! Where a peer is, as far as bounds on what one of them may take go.

use std::net::IpAddr;

/// An IPv4 address, or the /64 that an IPv6 site is given: whoever has one address of it has them all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source(u64);

impl From<IpAddr> for Source {
    fn from(addr: IpAddr) -> Self {
        match addr.to_canonical() {
            IpAddr::V4(addr) => Self(u64::from(addr.to_bits())),
            // Never an IPv4 address as a number: those are below 2^32, and ::/32 is reserved.
            IpAddr::V6(addr) => Self(u64::try_from(addr.to_bits() >> 64).unwrap_or(u64::MAX)),
        }
    }
}
