//! The pure core of Remit.
//!
//! Everything an edge, a voter and the command line must agree on, byte for byte: what an envelope says, how a
//! chain narrows, what a bundle is, who may sign what, how a credential is sealed, what a record proves and what
//! travels on the wire. Nothing here reads a clock, a file, a socket or a generator; time and random bytes are
//! arguments. The one exception is [`net`], behind the feature of that name.
//!
//! Modules in reading order; each imports only from those before it:
//! `text time limits planted <- id <- crypto <- identity <- lattice <- envelope <- revocation <- proof <- policy <- trust
//! <- bundle, shard, record, relation_log <- wire <- sync <- net`. `.ci/check-imports.sh` holds it.

pub mod id;
pub mod limits;
pub mod planted;
pub mod text;
pub mod time;

pub mod crypto;
pub mod identity;

pub mod lattice;

pub mod envelope;

pub mod revocation;

pub mod proof;

pub mod policy;

pub mod bundle;
pub mod trust;

pub mod record;
pub mod relation_log;
pub mod shard;

pub mod wire;

pub mod sync;

#[cfg(feature = "net")]
pub mod net;
