//! What has been cut.
//!
//! A revocation names who or what loses authority and carries the request that asked for it, so that anyone may
//! deliver it. The set has one number, the epoch, that only rises, and one digest that voters and edges compare.
//! Clauses T-40 to T-46, docs/PROTOCOL.md.

mod entry;
mod set;

pub use entry::{Cut, CutKind, REVOCATIONS_PATH, Revocation, RevocationRefused, Revoked, Subject};
pub use set::{REVOCATIONS_TOTAL_MAX, RevocationUpdate, Revocations};
