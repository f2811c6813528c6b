//! `remit agent`: the sidecar between one agent and the edges.
//!
//! The agent speaks plain MCP, as its framework does; the edge wants an envelope and a proof on every request. The
//! sidecar holds the key, so that nothing the agent prints, logs or is talked into can give the envelope away.
//!
//! [`eras`] reads what the agent says and turns the handshake era into the stateless one and back; [`edges`] keeps the
//! way ([`reach`]) to one edge of several open; [`sidecar`] is both together; [`stdio`] and [`listener`] are how the agent reaches
//! it, and [`gate`] whom the listener lets in; [`hearing`] is what an edge says
//! while a tool works; [`children`] hands parts of the envelope on, and [`identity`] says who
//! holds it. Clauses G-60 to G-69, G-80 and G-81.

mod children;
mod edges;
mod eras;
mod gate;
mod hearing;
mod identity;
mod listener;
mod place;
mod post;
mod reach;
mod sidecar;
mod stdio;

pub(crate) use children::Nursery;
pub(crate) use edges::Edges;
pub(crate) use gate::Gate;
pub(crate) use identity::read_identity;
pub(crate) use listener::{At, listen};
pub(crate) use place::{Held, NotHere};
pub(crate) use post::post_signed;
pub(crate) use reach::{EdgeCa, EdgeUrl};
pub(crate) use sidecar::Sidecar;
pub(crate) use stdio::talk;
