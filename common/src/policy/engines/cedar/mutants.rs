//! What a rule would be if somebody had made one mistake in it.
//!
//! A test suite that still passes when a forbid is gone, or a comparison is turned round, would not have noticed the
//! mistake either. A mutant is such a change: of the text between two positions, so that an author can be shown where
//! it stands. Strict validation looks at mutants as it does at policies: one that it refuses could not have been
//! shipped. Clause B-28.

use std::ops::Range;

use cedar_policy_core::ast::{Effect, PolicyID, PolicySet};
use cedar_policy_core::parser::parse_policyset;
use cedar_policy_core::validator::{ValidationMode, Validator};

use super::faults::labelled;
use super::parse::Rule;
use super::{CedarEngine, CedarSchema, Index};
use crate::id::PolicyId;
use crate::policy::fault::{PolicyFault, Source};

/// A rule of a bundle, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleInfo {
    /// What decisions and records call it.
    pub id: PolicyId,
    /// Whether it forbids; otherwise it permits.
    pub forbids: bool,
    /// Path inside the bundle.
    pub file: String,
    /// Line at which it begins, from 1.
    pub line: u32,
    /// Why no test needs to notice it, as its author says with `@untested("…")`.
    pub untested: Option<String>,
}

/// One mistake in one rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mutant {
    /// The rule.
    pub policy: PolicyId,
    /// Path inside the bundle.
    pub file: String,
    /// Line of the change, from 1.
    pub line: u32,
    /// Column of the change in characters, from 1.
    pub column: u32,
    /// What was changed, in words.
    pub change: String,
    /// What stands there instead; `None` takes the whole rule away.
    edit: Option<(Range<usize>, &'static str)>,
}

/// A piece of a policy's text.
#[derive(Debug, PartialEq, Eq)]
enum Token<'t> {
    Word(&'t str),
    Sign(&'t str),
}

/// Words and signs, strings and comments left out. Signs of two characters are one token.
fn tokens(text: &str) -> Vec<(Range<usize>, Token<'_>)> {
    let bytes = text.as_bytes();
    let byte = |at: usize| bytes.get(at).copied().unwrap_or_default();
    let run = |from: usize, is: fn(u8) -> bool| from + bytes.iter().skip(from).take_while(|byte| is(**byte)).count();
    let (mut found, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let end = match (byte(at), byte(at + 1)) {
            (b'/', b'/') => run(at, |byte| byte != b'\n'),
            (b'"', _) => {
                let mut end = at + 1;
                while end < bytes.len() && byte(end) != b'"' {
                    end += if byte(end) == b'\\' { 2 } else { 1 };
                }
                end + 1
            }
            (first, _) if first.is_ascii_alphabetic() || first == b'_' => {
                let end = run(at, |byte| byte.is_ascii_alphanumeric() || byte == b'_');
                found.extend(text.get(at..end).map(|word| (at..end, Token::Word(word))));
                end
            }
            (b'=', b'=') | (b'!', b'=') | (b'<', b'=') | (b'>', b'=') | (b'&', b'&') | (b'|', b'|') => {
                found.extend(text.get(at..at + 2).map(|sign| (at..at + 2, Token::Sign(sign))));
                at + 2
            }
            (first, _) if first.is_ascii_punctuation() => {
                found.extend(text.get(at..=at).map(|sign| (at..at + 1, Token::Sign(sign))));
                at + 1
            }
            _ => at + 1,
        };
        at = end;
    }
    found
}

/// What each sign could have been by mistake.
fn instead_of(sign: &str) -> &'static [&'static str] {
    match sign {
        "==" => &["!="],
        "!=" => &["=="],
        "<" => &["<=", ">="],
        "<=" => &["<", ">"],
        ">" => &[">=", "<="],
        ">=" => &[">", "<"],
        "&&" => &["||"],
        "||" => &["&&"],
        _ => &[],
    }
}

/// The edits of one policy's text: each sign of its conditions, and each condition as a whole.
fn edits(text: &str) -> Vec<(Range<usize>, &'static str, String)> {
    let mut edits = Vec::new();
    let mut clause: Option<(usize, &str)> = None;
    let mut depth = 0usize;
    for (range, token) in tokens(text) {
        match token {
            Token::Word(word @ ("when" | "unless")) if depth == 0 => clause = Some((range.start, word)),
            Token::Sign("(" | "[" | "{") => depth += 1,
            Token::Sign(sign @ (")" | "]" | "}")) => {
                depth = depth.saturating_sub(1);
                if let Some((start, word)) = clause.filter(|_| depth == 0 && sign == "}") {
                    edits.push((start..range.end, "", format!("the `{word}` condition is dropped")));
                    clause = None;
                }
            }
            Token::Sign(sign) if clause.is_some() && depth > 0 => {
                let made = |new: &&'static str| (range.clone(), *new, format!("`{sign}` becomes `{new}`"));
                edits.extend(instead_of(sign).iter().map(made));
            }
            _ => {}
        }
    }
    edits
}

impl CedarEngine {
    /// The rules, in the order of the sources, which are pairs of file name and text.
    pub(crate) fn rule_infos(&self, sources: &[(&str, &str)]) -> Vec<RuleInfo> {
        let info = |rule: &Rule| RuleInfo {
            id: rule.id.clone(),
            forbids: rule.effect == Effect::Forbid,
            file: rule.file.clone(),
            line: source_of(rule, sources).fault(rule.start, "").line,
            untested: rule.annotation("untested"),
        };
        self.rules.iter().map(info).collect()
    }

    /// Every mutant of every rule.
    pub(crate) fn mutants(&self, sources: &[(&str, &str)]) -> Vec<Mutant> {
        let mut mutants = Vec::new();
        for rule in &self.rules {
            let source = source_of(rule, sources);
            let mutant = |at: usize, change: String, edit| {
                let PolicyFault { file, line, column, .. } = source.fault(at, "");
                Mutant { policy: rule.id.clone(), file, line, column, change, edit }
            };
            let kind = if rule.effect == Effect::Forbid { "forbid" } else { "permit" };
            mutants.push(mutant(rule.start, format!("the {kind} is dropped"), None));
            let text = source.text.get(rule.start..rule.end).unwrap_or_default();
            for (range, new, change) in edits(text) {
                let at = rule.start + range.start;
                mutants.push(mutant(at, change, Some((range, new))));
            }
        }
        mutants
    }

    /// The engine with one rule changed.
    ///
    /// # Errors
    /// What the validator says to the changed rule.
    pub(crate) fn mutated(
        &self,
        mutant: &Mutant,
        schema: &CedarSchema,
        sources: &[(&str, &str)],
    ) -> Result<Self, Vec<PolicyFault>> {
        let mut rules = Vec::with_capacity(self.rules.len());
        for rule in &self.rules {
            if rule.id != mutant.policy {
                rules.push(rule.clone());
            } else if let Some((range, new)) = &mutant.edit {
                let text = source_of(rule, sources).text.get(rule.start..rule.end).unwrap_or_default();
                let (before, after) = (text.get(..range.start), text.get(range.end..));
                let text = [before.unwrap_or_default(), new, after.unwrap_or_default()].concat();
                rules.push(self.revalidated(rule, &text, schema)?);
            }
        }
        Ok(Self { index: Index::build(&rules), rules, store: self.store.clone() })
    }

    fn revalidated(&self, rule: &Rule, text: &str, schema: &CedarSchema) -> Result<Rule, Vec<PolicyFault>> {
        let source = Source { file: &rule.file, text };
        let refused = |message: String| vec![source.fault(0, message)];
        let set = parse_policyset(text).map_err(|errors| refused(errors.to_string()))?;
        let policy = set.policies().next().ok_or_else(|| refused("no policy is left".to_owned()))?;
        let policy = policy.new_id(PolicyID::from_string(rule.id.as_str()));
        let mut alone = PolicySet::new();
        alone.add(policy.clone()).map_err(|error| refused(error.to_string()))?;
        let result = Validator::new((*schema.0).clone()).validate(&alone, ValidationMode::Strict);
        let errors = result.validation_errors().map(|error| labelled(&source, error));
        let faults: Vec<_> =
            errors.chain(result.validation_warnings().map(|warning| labelled(&source, warning))).collect();
        if !faults.is_empty() {
            return Err(faults);
        }
        Ok(Rule { start: rule.start, end: rule.end, ..Rule::new(rule.id.clone(), &rule.file, &policy, &self.store) })
    }
}

fn source_of<'a>(rule: &'a Rule, sources: &[(&'a str, &'a str)]) -> Source<'a> {
    let text = sources.iter().find(|(file, _)| *file == rule.file).map_or("", |(_, text)| text);
    Source { file: &rule.file, text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_of_conditions_change_and_nothing_else() {
        let text = "@id(\"a == b\") forbid (principal == User::\"x\", action, resource) // a < b\n\
                    when { context.a == \"<=\" && context.n < 3 } unless { context.n != 2 };";
        let changed: Vec<String> =
            edits(text).into_iter().map(|(range, new, _)| format!("{} -> {new}", &text[range])).collect();
        let expected = [
            "== -> !=",
            "&& -> ||",
            "< -> <=",
            "< -> >=",
            "when { context.a == \"<=\" && context.n < 3 } -> ",
            "!= -> ==",
            "unless { context.n != 2 } -> ",
        ];
        assert_eq!(changed, expected);
    }

    #[test]
    fn any_text_has_tokens() {
        for text in ["\"", "\"\\", "// ", "when {", "}", "é == ü", "when { \"\\\"\" == \"", "unless } when {"] {
            let _ = edits(text);
        }
    }
}
