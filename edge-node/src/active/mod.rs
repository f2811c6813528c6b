//! What this edge holds to be true, and decides by.
//!
//! Everything arrives as bytes from a voter that may lie. [`State`] verifies them, puts them on the disk, and only then
//! shows them to the deciding side as a new [`View`]; nothing else changes what an edge decides by. A view is whole:
//! a request takes one and uses no other. What ends the process is turned away ([`trial`]). Clauses N-1 to N-5, docs/PROTOCOL.md.

mod state;
mod store;
mod trial;
mod view;

pub(crate) use state::{Accepted, CRASH_LOOP, NotBootstrapped, Refused, State, StateConfig, TakenRelations};
pub(crate) use store::end_trials_well;
pub(crate) use view::{ActiveBundle, Lost, TenantRelations, View, ViewCell};
