//! Names of purposes and classes, for requests that people write. Links carry numbers.

use super::{ClassSet, PurposePath};

/// Turns names into the numbers that links carry.
pub trait Names {
    /// The purpose with this dotted name, `review.renewal_risk`.
    fn purpose(&self, dotted: &str) -> Option<PurposePath>;
    /// The class with this name, together with every class below it: holding a class means holding those.
    fn class(&self, name: &str) -> Option<ClassSet>;
}

/// Knows no name: for who has no bundle at hand and writes numbers, or names nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoNames;

impl Names for NoNames {
    fn purpose(&self, _: &str) -> Option<PurposePath> {
        None
    }

    fn class(&self, _: &str) -> Option<ClassSet> {
        None
    }
}
