//! Where a policy stands.

use serde::Serialize;

use super::super::CompiledBundle;
use crate::id::PolicyId;

/// A policy, and where in its bundle it stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Place {
    /// The policy.
    pub policy: PolicyId,
    /// Path inside the bundle.
    pub file: String,
    /// Its first byte.
    pub start: usize,
    /// The byte after its last.
    pub end: usize,
}

impl Place {
    /// Where the policies of these names stand in a bundle.
    pub(super) fn of(bundle: &CompiledBundle, policies: &[PolicyId]) -> Vec<Self> {
        let rules = bundle.policy().engine().rules().filter(|rule| policies.contains(&rule.id));
        rules.map(|rule| Self { policy: rule.id, file: rule.file, start: rule.start, end: rule.end }).collect()
    }
}
