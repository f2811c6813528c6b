//! Envelopes from the outside: bytes in, authority or a named refusal out.
//!
//! The fixtures write the format a second time, from its description, so that a mistake would have to be made twice.

mod allocation;
mod arbitrary;
mod attacks;
mod beginnings;
mod countersignatures;
mod fixture;
mod golden;
mod holder_cuts;
mod hostile_bytes;
mod narrowing;
mod reference;
mod requests;
mod shapes;
mod vectors;
