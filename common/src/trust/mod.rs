//! Who may sign what, and how fresh an edge is.
//!
//! [`dsse`] wraps exact bytes with their signatures; [`root`] says which keys count for what; [`directory`] lists
//! the machines and people of the mesh, and [`published`] leads from a pinned first root to the newest one; [`ceremony`] is how
//! people sign both. [`tick`] and [`merkle`] prove that a voter's word is younger than an edge's nonce, [`beacon`] that most
//! voters say the same, and [`freshness`] turns that into the age that every decision is made with. What may go on without any
//! voter, people say in an [`offline`] authorization.

pub mod activation;
pub mod beacon;
pub mod ceremony;
pub mod directory;
pub mod dsse;
#[cfg(test)]
pub(crate) mod fixture;
pub mod freshness;
pub mod merkle;
pub mod offline;
pub mod published;
pub mod refused;
pub mod role;
pub mod root;
pub mod scope;
pub mod tick;

pub use refused::TrustRefused;
