//! Distribution without I/O: what a voter tells an edge, and what the edge makes of it.
//!
//! What is published is a set of immutable objects, fetched by digest, and small facts that only rise: versions,
//! activations, the revocation epoch. An edge says what it has; everything above that, and nothing else, comes back.
//! Neither side keeps a history of the other. [`publisher`] runs at the voter, once per edge; [`subscriber`] at the
//! edge, once per connection. Both take messages and time and give messages; whoever owns the connection moves them.
//! What a voter says can also be put into a folder, where no voter is at hand: [`bootstrap`].
//! The subscriber trusts nothing of what it is told: it hands out bytes, and the edge verifies them. Clauses D-1 to
//! D-8, docs/PROTOCOL.md.

pub mod bootstrap;
mod fetching;
pub mod published;
pub mod publisher;
pub mod revocations;
pub mod subscriber;
mod transfer;

/// Which of a connection's streams a message takes. Bytes of a higher priority overtake those of a lower one (D-2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// The stream that the edge opens, in both directions: greeting, facts, nonces and their answers, acks.
    Control,
    /// Revocations overtake everything.
    Revocations,
    /// Objects and shards.
    Objects,
    /// Records, from the edge; they must never delay an ack.
    Records,
}

impl Lane {
    /// The lanes on which a voter sends.
    pub const OF_VOTER: [Self; 3] = [Self::Control, Self::Revocations, Self::Objects];

    /// The priority of the lane's stream.
    #[must_use]
    pub fn priority(self) -> i32 {
        match self {
            Self::Revocations => 100,
            Self::Control => 10,
            Self::Objects => 0,
            Self::Records => -10,
        }
    }
}

#[cfg(test)]
mod tests;
