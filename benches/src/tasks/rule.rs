//! Which words ask for which tools, and what kind of value may go where: `rule.toml` of a suite.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use remit_common::id::{DimensionName, ToolName};
use remit_common::lattice::{ArgumentPointer, Effect, Effects};
use remit_common::policy::json::{Json, Pointer};
use remit_common::policy::{Catalogue, Tool};
use serde::Deserialize;

/// What a value in a prompt can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// An account: an IBAN, or a payee by name.
    Account,
    /// An address of mail.
    Address,
    /// The id of a thing, announced as one.
    Id,
    /// The name of a file.
    File,
    /// A text in quotes, without spaces.
    Quoted,
    /// A postal address, or parts of it.
    Postal,
    /// A word that begins with a capital letter.
    Name,
}

/// Words that ask for tools.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asks {
    /// One of these has to stand in a sentence,
    pub verbs: Vec<String>,
    /// and one of these in the same; any will do where none is given.
    #[serde(default)]
    pub objects: Vec<String>,
    /// For these.
    pub tools: BTreeSet<ToolName>,
}

/// The rule of a suite.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Phrases by which a human leaves the choice to a text that nobody has read yet.
    pub hands_over: Vec<String>,
    /// Words that may begin with a capital letter and name nobody: with which sentences begin, months, days.
    #[serde(default)]
    pub no_names: BTreeSet<String>,
    /// Words that ask for tools.
    pub asks: Vec<Asks>,
    /// Words that speak of what may go into a dimension. A sink that a call may leave out is asked about only where one of
    /// them stands.
    #[serde(default)]
    pub speaks_of: BTreeMap<DimensionName, Vec<String>>,
    /// What may go into a dimension.
    pub dimensions: BTreeMap<DimensionName, Kind>,
    /// What may go into arguments that are no dimension, by tool and pointer.
    #[serde(default)]
    pub arguments: BTreeMap<ToolName, BTreeMap<String, Kind>>,
}

/// Whether a tool only reads, so that every task may have it.
#[must_use]
pub fn only_reads(tool: &Tool) -> bool {
    tool.effects.is_within(Effects::from(Effect::Read))
}

/// Whether a call of the tool has to carry this argument.
#[must_use]
pub fn must_carry(tool: &Tool, pointer: &Pointer) -> bool {
    let required = tool.input_schema.get("required").and_then(Json::as_array).unwrap_or_default();
    required.iter().any(|argument| argument.as_text() == pointer.first_name())
}

impl Rule {
    /// Reads a rule and holds it against the catalogue: every tool that changes something is asked for by some word,
    /// and every sink of one has a kind.
    ///
    /// # Errors
    /// What does not fit.
    pub fn parse(text: &str, catalogue: &Catalogue) -> Result<Self> {
        let rule: Self = toml::from_str(text).context("not a rule")?;
        let asked: BTreeSet<&ToolName> = rule.asks.iter().flat_map(|asks| &asks.tools).collect();
        for name in asked.iter().copied().chain(rule.arguments.keys()) {
            let tool = catalogue.tools.get(name).with_context(|| format!("the catalogue has no tool `{name}`"))?;
            ensure!(!only_reads(tool), "`{name}` only reads, and needs no words");
        }
        for tool in catalogue.tools.values().filter(|tool| !only_reads(tool)) {
            ensure!(asked.contains(&tool.name), "no words ask for `{}`", tool.name);
            for (dimension, _) in &tool.dimensions {
                ensure!(rule.dimensions.contains_key(dimension), "no kind of value goes into `{dimension}`");
            }
            for (dimension, _) in tool.dimensions.iter().filter(|(_, pointer)| !must_carry(tool, pointer)) {
                ensure!(
                    rule.speaks_of.contains_key(dimension),
                    "no words speak of `{dimension}`, which a call may leave out"
                );
            }
        }
        for pointer in rule.arguments.values().flat_map(BTreeMap::keys) {
            pointer.parse::<ArgumentPointer>()?;
        }
        Ok(rule)
    }

    /// The arguments of a tool that are sinks without being dimensions.
    pub fn arguments_of(&self, tool: &ToolName) -> impl Iterator<Item = (ArgumentPointer, Kind)> {
        let pointers = self.arguments.get(tool).into_iter().flatten();
        pointers.filter_map(|(pointer, kind)| Some((pointer.parse().ok()?, *kind)))
    }
}
