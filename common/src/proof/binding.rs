//! What a proof is a proof of: one request, byte for byte, at one edge, over one channel, once.
//!
//! Clause X-6.

use super::cbor::prefixed;
use super::channel::ChannelId;
use crate::crypto::digest::Digest;
use crate::id::{EdgeId, LinkId, MeshId};
use crate::time::Timestamp;

/// The label under which requests are proven.
const LABEL: &[u8] = b"remit/pop/v1";

/// What a request asks for, as the protocol that carries it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target<'a> {
    /// MCP over HTTP.
    Mcp {
        /// The JSON-RPC method.
        method: &'a str,
        /// The name of the tool or prompt, or the URI of the resource; empty where the method has none.
        name: &'a str,
        /// The digest of the tool's definition that the caller has seen, if it pins one.
        definition: Option<Digest>,
    },
    /// Plain HTTP.
    Http {
        /// The method.
        method: &'a str,
        /// The path as it travels, not decoded.
        path: &'a str,
        /// The query as it travels, without `?`.
        query: &'a str,
        /// The content type as it travels.
        content_type: &'a str,
    },
}

/// One request, as the caller sends it and the edge receives it.
#[derive(Debug, Clone, Copy)]
pub struct Exchange<'a> {
    /// What it asks for.
    pub target: Target<'a>,
    /// The whole body, as it travels.
    pub body: &'a [u8],
    /// The idempotency key, as it travels; empty for none.
    pub idempotency_key: &'a [u8],
}

/// Everything that a proof covers.
#[derive(Debug, Clone, Copy)]
pub struct Binding<'a> {
    /// The mesh.
    pub mesh: &'a MeshId,
    /// The channel.
    pub channel: &'a ChannelId,
    /// The edge at the other end of it.
    pub edge: &'a EdgeId,
    /// The last link of the envelope.
    pub leaf: &'a LinkId,
    /// Good for one request of this channel.
    pub counter: u64,
    /// When the proof was made.
    pub time: Timestamp,
    /// Random, so that a kept binding says nothing about a body that can be guessed.
    pub salt: &'a [u8; 16],
    /// The request.
    pub exchange: Exchange<'a>,
}

impl Binding<'_> {
    /// The bytes that are tagged or signed.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let Self { mesh, channel, edge, leaf, counter, time, salt, exchange } = self;
        let Exchange { target, body, idempotency_key } = exchange;
        let (protocol, target): (&[u8], Vec<u8>) = match target {
            Target::Mcp { method, name, definition } => {
                let definition: &[u8] = definition.as_ref().map_or(&[], |digest| &digest.0);
                (b"mcp", prefixed(&[method.as_bytes(), name.as_bytes(), definition]))
            }
            Target::Http { method, path, query, content_type } => {
                (b"http", prefixed(&[method.as_bytes(), path.as_bytes(), query.as_bytes(), content_type.as_bytes()]))
            }
        };
        prefixed(&[
            LABEL,
            &mesh.0,
            &channel.0,
            edge.as_str().as_bytes(),
            &leaf.0.0,
            &counter.to_be_bytes(),
            &time.as_millis().to_be_bytes(),
            protocol,
            &target,
            salt.as_slice(),
            &Digest::of(&[salt.as_slice(), body]).0,
            idempotency_key,
        ])
    }
}
