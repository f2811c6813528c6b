//! The control plane of a Remit mesh: three or five voters that agree on what edges are told.
//!
//! A voter is this library: [`Voter::start`] with a [`Config`] and the world it runs in. It stores and hands on what
//! administrators, sealers and edges have signed, and it signs nothing of that kind itself: what a voter can do alone
//! is delay.
//!
//! The way of a write: [`admin`] takes a signed request, `cluster` brings it to the leader, [`raft`] has a majority
//! write it down, [`registry`] applies it on every voter, `publish` tells the edges. The way back: edges' acks and
//! records come in through `publish`, and `collect` keeps the records.

pub mod admin;
pub mod config;
pub mod raft;
pub mod registry;
pub mod telemetry;

mod beacons;
mod cluster;
mod collect;
mod daemon;
mod duties;
mod edges;
mod electorate;
mod enrolment;
mod entry;
mod issuer;
mod machine;
mod materials;
mod nonces;
mod ops;
mod publish;
mod refill;
mod rollouts;
mod voter;

pub use config::{Config, ConfigError};
pub use daemon::{Args, daemon};
pub use entry::Malformed;
pub use materials::Unusable;
pub use telemetry::LogFormat;
pub use voter::{RunError, Voter, run};
