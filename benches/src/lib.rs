//! Fixtures of the benches, which are tests, too: the decision oracle, a bundle of any size, and chains; and
//! agents' tasks, of which nothing is measured but what is admitted; and a mesh with as many edges as one wants.
//!
//! Nothing else in the project reads a clock to measure itself; tests never do. What the figures have to be stands
//! in `BUDGETS.md`, and `cargo bench -p remit-benches --bench budgets` holds them to it.

pub mod biscuit;
pub mod bundle;
pub mod cerbos;
pub mod chain;
pub mod fanout;
pub mod generated;
pub mod measure;
pub mod oracle;
pub mod relations;
pub mod swap;
pub mod tasks;
pub mod warm;
