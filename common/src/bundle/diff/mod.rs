//! What one bundle permits that another does not.
//!
//! Requests are decided under both bundles, side by side and without effect, and where the answers differ that is a
//! finding, with the request in words. The requests are the bundles' own canaries, recorded ones, and ones made up
//! around every rule that changed. What is found is true; what is not found is not proven absent,
//! which is why the answer says how many were asked and what was left out, and why a change is wider by itself where not
//! everything near it could be asked. Clauses B-35 to B-40, B-47 and B-49 to B-52, docs/PROTOCOL.md.

mod finding;
mod generate;
mod place;
mod plan;
mod question;
mod replay;
mod scene;
mod structure;
mod witness;

use std::collections::BTreeMap;

use serde::Serialize;

pub use finding::{Exemplar, Finding, Kind, Role, Verdict};
pub use place::Place;
pub use question::{Expects, Origin, Question, Request};
pub use replay::{Replay, replay};
pub use structure::{Change, How, Subject};

use super::CompiledBundle;
use crate::crypto::digest::Digest;
use crate::time::Timestamp;
use finding::Findings;

/// Example requests that a finding carries, whatever a caller asks for.
const EXEMPLARS_MAX: usize = 16;
/// Lines of what was not covered.
const UNCOVERED_MAX: usize = 64;
/// Lines of a summary that stands in a log entry.
const SUMMARY_BYTES_MAX: usize = 1_024;

/// How much is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Requests that are made up, at most.
    pub generated: usize,
    /// Example requests per finding.
    pub exemplars: usize,
    /// Steps for making them up and asking them: conditions read, values tried, policies evaluated. Counted, so that
    /// every machine finds the same.
    pub work: u64,
}

impl Budget {
    /// At an administrator's desk: seconds.
    pub const DESK: Self = Self { generated: 20_000, exemplars: 2, work: 400_000_000 };
    /// At the voter that a bundle is pushed to: seconds for a thousand policies that all changed (benches/BUDGETS.md).
    pub const VOTER: Self = Self { generated: 1_000, exemplars: 1, work: 8_000_000 };
}

/// How many requests were decided under both bundles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Asked {
    /// Canaries of both bundles.
    pub canaries: u64,
    /// Test cases.
    pub tests: u64,
    /// Recorded decisions.
    pub recorded: u64,
    /// Made up around what changed.
    pub generated: u64,
}

impl Asked {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        let Self { canaries, tests, recorded, generated } = self;
        [canaries, tests, recorded, generated].into_iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    fn count(&mut self, origin: &Origin) {
        let count = match origin {
            Origin::Canary { .. } => &mut self.canaries,
            Origin::Test { .. } => &mut self.tests,
            Origin::Recorded { .. } => &mut self.recorded,
            Origin::Generated { .. } => &mut self.generated,
        };
        *count = count.saturating_add(1);
    }
}

/// What differs between two bundles.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// The manifest of the earlier one.
    pub old: Digest,
    /// The manifest of the later one.
    pub new: Digest,
    /// What the sources say differently.
    pub changes: Vec<Change>,
    /// What requests are answered differently, by kind, action and role.
    pub findings: Vec<Finding>,
    /// How many requests were asked.
    pub asked: Asked,
    /// Ways, values, entities and requests that could have been made up and were not.
    pub left_out: u64,
    /// What was left out, in words.
    pub uncovered: Vec<String>,
}

/// Compares. Pure and deterministic: the same bundles, requests, time and budget give the same answer.
#[must_use]
pub fn compare(
    old: &CompiledBundle,
    new: &CompiledBundle,
    more: &[Question],
    now: Timestamp,
    budget: Budget,
) -> Comparison {
    let mut changes = structure::changes(old, new);
    let mut questions: Vec<Question> = Question::canaries(old, new, now);
    questions.extend(more.iter().cloned());
    let made = generate::questions(old, new, &changes, now, budget);
    questions.extend(made.questions);
    let mut asked = Asked::default();
    let mut findings = Findings::new(budget.exemplars.min(EXEMPLARS_MAX));
    for question in &questions {
        asked.count(&question.origin);
        findings.ask(question, old, new);
    }
    let (findings, seen) = findings.finish();
    witness::judge(&mut changes, old, new, &made.unasked, &made.about, &seen);
    let mut uncovered = structure::not_asked(&changes);
    if uncovered.len() > UNCOVERED_MAX {
        let more = uncovered.len() - UNCOVERED_MAX;
        uncovered.truncate(UNCOVERED_MAX);
        uncovered.push(format!("and {more} more changes that are read, not asked"));
    }
    if made.left_out > 0 {
        uncovered.push(format!(
            "{} more ways, values and requests could have been made up; the budget is {} requests and {} steps",
            made.left_out, budget.generated, budget.work
        ));
    }
    let (old, new) = (*old.digest(), *new.digest());
    Comparison { old, new, changes, findings, asked, left_out: made.left_out, uncovered }
}

impl Comparison {
    /// Whether the later bundle permits, or releases, something that the earlier one does not.
    #[must_use]
    pub fn widens(&self) -> bool {
        self.findings.iter().any(|finding| finding.kind.widens()) || self.loosened().next().is_some()
    }

    /// What the sources alone show to be wider: a longer bound, a lower grade of proof.
    pub fn loosened(&self) -> impl Iterator<Item = &Change> {
        self.changes.iter().filter(|change| change.loosens.is_some())
    }

    /// Requests with a finding of this kind.
    #[must_use]
    pub fn count(&self, kind: Kind) -> u64 {
        self.findings
            .iter()
            .filter(|finding| finding.kind == kind)
            .fold(0, |sum, found| sum.saturating_add(found.count))
    }

    /// Names what was found: whoever approves it approves exactly this.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&[&serde_json::to_vec(self).unwrap_or_default()])
    }

    /// What is wider, in a few lines: for a refusal, and for the entry that records an approval.
    #[must_use]
    pub fn summary(&self) -> String {
        let mut lines: Vec<String> = Vec::new();
        let mut by_action: BTreeMap<(Kind, String, String), u64> = BTreeMap::new();
        for finding in self.findings.iter().filter(|finding| finding.kind.widens()) {
            let key = (finding.kind, finding.action.to_string(), finding.role.to_string());
            let count = by_action.entry(key).or_default();
            *count = count.saturating_add(finding.count);
        }
        for ((kind, action, role), count) in by_action {
            lines.push(format!("{}: `{action}` for `{role}` ({count} of the requests asked)", kind.words()));
        }
        lines.extend(self.loosened().filter_map(|change| change.loosens.clone()));
        let mut text = lines.join("; ");
        if text.len() > SUMMARY_BYTES_MAX {
            let end = (0..=SUMMARY_BYTES_MAX - 3).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
            text.truncate(end);
            text.push('…');
        }
        text
    }
}
