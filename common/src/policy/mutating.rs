//! A bundle's rules, for whoever tests them: what they are, what one mistake would make of them, and what Cedar itself
//! would answer. Clauses B-27 to B-30.

use std::collections::BTreeMap;

use super::PolicyFault;
use super::compile::{CompiledPolicy, POLICIES_FOLDER, SCHEMA_FILE, text_of, texts_in};
use super::engines::cedar::{CedarOutcome, CedarSchema, CedarTest, CedarTests, Mutant, RuleInfo};

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
        let policies = texts_in(files, POLICIES_FOLDER, ".cedar", &mut Vec::new());
        Ok(self.with_engine(self.engine().mutated(mutant, self.schema(), &policies)?))
    }

    /// Runs Cedar's own tests on the rules of the files that it was compiled from.
    ///
    /// # Errors
    /// The faults of files that it was not compiled from.
    pub fn run_cedar_tests(
        &self,
        tests: &[CedarTest],
        files: &BTreeMap<String, Vec<u8>>,
    ) -> Result<Vec<CedarOutcome>, Vec<PolicyFault>> {
        let mut faults = Vec::new();
        let Some(written) = text_of(files, SCHEMA_FILE, &mut faults) else { return Err(faults) };
        let written = CedarSchema::parse(SCHEMA_FILE, written)?;
        let policies = texts_in(files, POLICIES_FOLDER, ".cedar", &mut faults);
        let mut runner = CedarTests { policies: &policies, in_force: self.schema(), written: &written, last: None };
        Ok(tests.iter().map(|test| runner.run(test)).collect())
    }
}
