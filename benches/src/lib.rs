//! Fixtures of the benches, which are tests, too: the decision oracle, a bundle of any size, and chains.

pub mod bundle;
pub mod oracle;
