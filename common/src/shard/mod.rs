//! Sealed shards: a credential for one edge, closed to everybody else.
//!
//! An administrator's machine seals; voters store and pass on what they cannot open; one edge opens. What a shard may
//! be used for is bound into it twice: the sealer signs it, and the encryption does not open under anything else. So
//! neither a voter nor a publisher can move a credential to another edge, another tenant or another server, and none
//! can bring back an older one. Clauses S-1 to S-7, docs/PROTOCOL.md.

mod aad;
mod sealed;

pub use aad::{AAD_VERSION, ShardAad};
pub use sealed::{
    CannotSeal, DoesNotOpen, NotRising, OpenShard, SHARD_TYPE, SealedShard, ShardRefused, VerifiedShard, seal,
};

#[cfg(test)]
mod tests;
