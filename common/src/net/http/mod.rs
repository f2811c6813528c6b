//! HTTP on Env's sockets, both ends bounded.
//!
//! [`serve`] bounds connections, headers, bodies and time; [`HttpClient`] bounds bodies and time, follows no redirect
//! and never sends a request twice. No TLS here: what listens is on loopback, and what is called is, too, until
//! upstreams with TLS come.

mod client;
mod server;

pub use client::{Connected, HttpClient, HttpFailed};
pub use server::{PeerAddr, ServeCounters, ServeLimits, serve};

/// Bytes of the headers of one message. The longest presentation of an envelope takes a third of it.
const HEADERS_BYTES_MAX: usize = 128 * 1024;
