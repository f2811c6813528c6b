//! HTTP on Env's sockets, both ends bounded.
//!
//! [`serve`] bounds connections (in all, and of one source), headers, bodies and time; [`HttpClient`] bounds bodies and time, follows no redirect
//! and never sends a request twice. Both speak TLS where they are given what it takes ([`super::https`]).

mod callers;
mod client;
mod patient;
mod server;

pub use client::{Connected, Hear, HttpClient, HttpFailed, Pieces};
pub use server::{PeerAddr, PeerKey, ServeCounters, ServeLimits, serve, serve_tls};

/// Bytes of the headers of one message. The longest presentation of an envelope takes a third of it.
const HEADERS_BYTES_MAX: usize = 128 * 1024;
