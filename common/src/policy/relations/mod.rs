//! Who stands in which relation to what: relation tuples, and the model that says what follows from them.
//!
//! A bundle brings the model; tuples travel on their own, by the minute. Everything here is pure. Section Q of
//! docs/PROTOCOL.md.

mod tuple;

pub use tuple::{MalformedTuple, Object, Subject, Tuple, TupleKey};

/// What an edge knows of relations at one moment. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Relations {
    revision: u64,
}

impl Relations {
    /// No relations are known: what needs some is refused as stale.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// The number of the last batch of tuples that went into it; 0 before the first.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }
}
