//! Ports that nobody uses, away from those that the kernel hands to clients.
//!
//! A voter that is killed must find its port free when it starts again. A port out of the kernel's ephemeral range
//! could meanwhile serve as the near end of somebody's connection, so the search starts below that range.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Result, bail};
use remit_common::net::env::Env;

/// Where the search for a temporary mesh begins, at the lowest and at the highest.
const TEMPORARY: (u16, u16) = (18_000, 30_000);

/// Ports tried before the search gives up.
const TRIES_MAX: u16 = 2_000;

/// Hands out free ports of the loopback address, upwards from a start.
pub struct Ports {
    env: Env,
    next: u16,
}

impl Ports {
    /// Upwards from `start`.
    #[must_use]
    pub fn from(env: &Env, start: u16) -> Self {
        Self { env: env.clone(), next: start }
    }

    /// Upwards from a random start, for a mesh that must not meet another one.
    #[must_use]
    pub fn temporary(env: &Env) -> Self {
        let offset = u16::from_be_bytes(env.random()) % (TEMPORARY.1 - TEMPORARY.0);
        Self { env: env.clone(), next: TEMPORARY.0 + offset }
    }

    /// Where the search goes on.
    #[must_use]
    pub fn start(&self) -> u16 {
        self.next
    }

    /// The next port that is free for TCP and UDP.
    ///
    /// # Errors
    /// When a long stretch of ports is taken.
    pub fn take(&mut self) -> Result<SocketAddr> {
        for _ in 0..TRIES_MAX {
            let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, self.next));
            self.next = self.next.checked_add(1).unwrap_or(TEMPORARY.0);
            if self.env.socket.listen(addr).is_ok() && self.env.socket.udp(addr).is_ok() {
                return Ok(addr);
            }
        }
        bail!("no free port among {TRIES_MAX} below {}", self.next)
    }
}
