//! Test cases of a bundle: what its authors expect of it, beyond the few requests that travel with it.
//!
//! A suite is a YAML file in `tests/`. It names fixtures (who, under which envelope, on what) and cases, each of which
//! is a matrix: every principal does every action to every resource, and for each of these cells the case says what
//! must come of it and, if that matters, why. A cell is judged by [`CompiledBundle::decide`](super::CompiledBundle),
//! which is what edges use, so that a test shows what an edge would do. Clauses B-22 to B-28, docs/PROTOCOL.md.

mod coverage;
mod expand;
mod judge;
mod mutation;
mod read;
mod report;
mod run;

pub use coverage::{Coverage, RuleCoverage};
pub use judge::check;
pub use mutation::{Fate, MutantsRun, mutate};
pub use read::{canaries, read};
pub use report::junit;
pub use run::{CellResult, Verdict, run};

use crate::id::PolicyId;
use crate::time::Timestamp;

use super::canary::Canary;

/// Cells of all suites of a bundle. A matrix of 20 principals, 20 resources and 20 tools fits; a folder that takes
/// minutes to judge would not be run.
pub const CELLS_MAX: usize = 10_000;

/// One request, and what must come of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// The suite's file.
    pub file: String,
    /// Line of the case, from 1.
    pub line: u32,
    /// Column of the case, from 1.
    pub column: u32,
    /// Name of the case.
    pub case: String,
    /// Which cell of the case: principal, action and resource.
    pub cell: String,
    /// The request, and the answer that it should have.
    pub request: Canary,
    /// When it is asked; the bundle's `created` where this says nothing.
    pub as_of: Option<Timestamp>,
    /// Rules that must be among those that decide.
    pub because: Vec<PolicyId>,
    /// Rules that must not be.
    pub not_because: Vec<PolicyId>,
}

impl Cell {
    /// Whether a text occurs in its name.
    #[must_use]
    pub fn is_named(&self, text: &str) -> bool {
        self.case.contains(text) || self.cell.contains(text) || self.file.contains(text)
    }
}
