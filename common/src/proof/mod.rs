//! Proof of possession: that whoever shows an envelope has the key that its last link names.
//!
//! A holder opens a *channel* to one edge: it signs a request with the holder key, the edge signs its answer, and both
//! derive a key that nobody else has and that no other edge has. Each call then carries a proof in one header, over
//! the exact bytes of the call: a tag with the channel's key ([`Grade::P1`]), which only that edge can check, or a
//! signature with the holder's key ([`Grade::P2`]), which anybody can. Counters make each proof good for one call; the
//! channel dies with the edge's process, so there is no store of what was seen, and nothing to share between edges.
//!
//! Everything that is signed or tagged begins with a label of its own, and every field carries its length, so that
//! bytes of one kind are never bytes of another. Clauses, docs/PROTOCOL.md.

mod accept;
mod binding;
mod cbor;
mod channel;
mod header;
mod hold;
mod refused;
#[cfg(test)]
mod tests;
mod window;

pub use crate::lattice::{Grade, UnknownGrade};
pub use accept::Acceptor;
pub use binding::{Binding, Exchange, Target};
pub use channel::{Answering, ChannelId, ChannelRequest, RawRequest, VerifiedRequest};
pub use header::{Evidence, PROOF_HEADER, Proof};
pub use hold::{CannotOpen, EdgeKey, HeldChannel, Opening};
pub use refused::{Full, MalformedProof, ProofFault, ProofRefused};
pub use window::{Replayed, Window};
