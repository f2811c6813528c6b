//! Addresses for voters that do not listen yet, or not all the time.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};

use remit_common::net::env::Env;

/// Below what the system gives to whoever asks for any port: a voter's port must still be free when it starts again, and no
/// other test's socket may have got it meanwhile.
const FIRST: u32 = 12_000;
const COUNT: u32 = 18_000;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// So many addresses that nobody uses and no other test of this process is given.
pub(crate) fn addresses(env: &Env, count: usize) -> Vec<SocketAddr> {
    // Tests of several processes at the same time begin at different places.
    let start = std::process::id().wrapping_mul(641);
    let mut candidates = std::iter::repeat_with(|| {
        let next = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        SocketAddr::from((Ipv4Addr::LOCALHOST, u16::try_from(FIRST + next % COUNT).unwrap()))
    });
    let is_free = |addr: &SocketAddr| env.socket.udp(*addr).is_ok();
    candidates.by_ref().take(COUNT.try_into().unwrap()).filter(is_free).take(count).collect()
}
