//! A bundle's rules, and the policy that it would be with one mistake in one of them. Clause B-28.

use std::collections::BTreeMap;

use super::PolicyFault;
use super::compile::{CompiledPolicy, POLICIES_FOLDER, SCHEMA_FILE, text_of, texts_in};
use super::engines::cedar::{CedarSchema, Mutant, RuleInfo};

impl CompiledPolicy {
    /// The rules, in the order of the sources: the files that it was compiled from.
    #[must_use]
    pub fn rules(&self, files: &BTreeMap<String, Vec<u8>>) -> Vec<RuleInfo> {
        self.engine().rule_infos(&texts_in(files, POLICIES_FOLDER, ".cedar", &mut Vec::new()))
    }

    /// Every mistake that a test suite should notice.
    #[must_use]
    pub fn mutants(&self, files: &BTreeMap<String, Vec<u8>>) -> Vec<Mutant> {
        self.engine().mutants(&texts_in(files, POLICIES_FOLDER, ".cedar", &mut Vec::new()))
    }

    /// This policy with one of its mutants in it.
    ///
    /// # Errors
    /// What `check` would say to the changed rule: such a mistake could not be shipped.
    pub fn mutated(&self, mutant: &Mutant, files: &BTreeMap<String, Vec<u8>>) -> Result<Self, Vec<PolicyFault>> {
        let mut faults = Vec::new();
        let schema = text_of(files, SCHEMA_FILE, &mut faults).ok_or(faults)?;
        let schema = CedarSchema::parse(SCHEMA_FILE, schema)?;
        let policies = texts_in(files, POLICIES_FOLDER, ".cedar", &mut Vec::new());
        Ok(self.with_engine(self.engine().mutated(mutant, &schema, &policies)?))
    }
}
