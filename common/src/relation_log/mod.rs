//! Relation tuples on their way: who signed which change of them, in which order.
//!
//! Whoever may write a tenant's relations is named by the tenant's bundle. A change is a [`batch`], signed as exact
//! bytes; batches count from one and each names the one before, so that nobody can repeat, drop or reorder one. The
//! [`log`] is what is left of them: the batches since the last that stated the whole set anew, and the tuples that hold
//! now. Voters and edges keep the same log and check it by the same rules. Clauses, docs/PROTOCOL.md.

pub mod batch;
mod because;
mod followed;
mod heads;
mod live;
pub mod log;
mod model;
pub mod refused;

pub use batch::{BATCH_TYPE, BatchContent, SignedBatch, VerifiedBatch, Writers};
pub use because::because;
pub use followed::FollowedLog;
pub use heads::{RelationHeads, names_head};
pub use live::LiveTuples;
pub use log::{Change, Head, KeptBatch, RelationLog};
pub use model::{check_tuples, has_model, is_untidy, relations_of};
pub use refused::BatchRefused;

/// The header by which a caller says below which revision it does not want to be judged (clause G-82).
pub const RELATIONS_HEADER: &str = "remit-relations-at-least";

#[cfg(test)]
mod tests;
