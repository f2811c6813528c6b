//! The tool server of the story: a real MCP server that the demo's edges call.
//!
//! It plays the part of the company's own systems: contracts, notes of the support team, tickets, billing. Two
//! habits make it worth calling. It keeps only the hash of its API key and answers nobody without the key, so an
//! answer proves that an edge injected the credential. And it answers generously, more rows and more fields than
//! any envelope of the story allows, so a filtered answer proves that an edge filtered.

mod book;
mod http;
mod key;
mod tools;

pub(crate) use book::Book;
pub(crate) use http::router;
pub(crate) use key::KeyHash;
