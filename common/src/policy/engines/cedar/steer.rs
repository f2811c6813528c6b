//! Conditions read backwards: what a request would have to be for a policy to hold, or not to hold.
//!
//! For requests that are made up around a rule that changed (clause B-37). What is found is a guess that the evaluator
//! judges afterwards. A form of expression that is not understood here is said to be, and what changed around it is not
//! taken for covered (clause B-50).

mod solve;
mod values;
mod work;

use std::collections::BTreeSet;

use cedar_policy_core::ast::{Effect, Expr, ExprKind};

pub(crate) use work::Work;

use super::named::id_of;
use super::{CedarEngine, Kind, Subject};
use crate::id::PolicyId;
use solve::Reader;

/// Where a value of a request stands: the path inside the context, or one of the names below.
pub(crate) type Path = Vec<String>;

/// The class of the agent that acts.
pub(crate) const CLASS: &str = "@class";
/// The agent that acts.
pub(crate) const AGENT: &str = "@agent";
/// The class of the agents above it in the chain; that of the agent that acts where it says nothing.
pub(crate) const ABOVE: &str = "@above";
/// The agent right above it.
pub(crate) const ABOVE_AGENT: &str = "@above-agent";
/// The id of the resource.
pub(crate) const RESOURCE: &str = "@resource";
/// The human; the context knows the same by this name.
pub(crate) const DELEGATOR: &str = "delegator";

/// A text that no policy means.
const OTHER: &str = "something-else";

/// A value of a request.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Value {
    Bool(bool),
    Long(i64),
    Text(String),
    Texts(BTreeSet<String>),
}

/// One step towards a request.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Edit {
    Set(Path, Value),
    Include(Path, String),
    Exclude(Path, String),
    /// Some value stands here.
    Keep(Path),
    Drop(Path),
    /// The first value stands so to the second.
    Pair(Path, Path, Pairing),
}

/// How two values of a request stand to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Pairing {
    Equal,
    Different,
    Less,
    Greater,
}

/// Edits after which a policy would hold, or would not; each a way of its own.
#[derive(Debug, Clone, Default)]
pub(crate) struct Steered {
    pub(crate) holds: Vec<Vec<Edit>>,
    pub(crate) fails: Vec<Vec<Edit>>,
    /// Whether every part of the condition was understood, and no way left out.
    pub(crate) whole: bool,
}

/// Type and id of an entity.
pub(crate) type Named = (String, String);

/// What requests about one tool are made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct About<'a> {
    /// The type of its resource.
    pub(crate) resource: &'a Kind,
    /// The purposes there are: a text that is none cannot be one of a request.
    pub(crate) purposes: &'a [String],
    /// Entities that are not what they were: these are tried first.
    pub(crate) changed: &'a BTreeSet<Named>,
    /// Types of entities that tuples may put somebody into.
    pub(crate) filled: &'a BTreeSet<String>,
    /// What may be spent.
    pub(crate) work: &'a Work,
}

/// A policy as people find it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RuleView {
    pub(crate) number: usize,
    pub(crate) id: PolicyId,
    pub(crate) permits: bool,
    pub(crate) file: String,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl CedarEngine {
    /// Every policy, in the order of the sources.
    pub(crate) fn rules(&self) -> impl Iterator<Item = RuleView> {
        self.rules.iter().enumerate().map(|(number, rule)| RuleView {
            number,
            id: rule.id.clone(),
            permits: rule.effect == Effect::Permit,
            file: rule.file.clone(),
            start: rule.start,
            end: rule.end,
        })
    }

    /// Whether a policy says the same as one of another engine: effect, scope and conditions.
    pub(crate) fn says_the_same(&self, number: usize, other: &Self, others: usize) -> bool {
        let both = self.rules.get(number).zip(other.rules.get(others));
        both.is_some_and(|(a, b)| a.effect == b.effect && a.condition == b.condition)
    }

    /// Whether a policy's scope takes in this action.
    pub(crate) fn speaks_of(&self, number: usize, action: &Subject) -> bool {
        self.rules.get(number).is_some_and(|rule| rule.is_about(action))
    }

    /// Whether a policy's conditions look at an attribute of this name, of whatever.
    pub(crate) fn reads(&self, number: usize, name: &str) -> bool {
        let reads = |expr: &Expr| match expr.expr_kind() {
            ExprKind::GetAttr { attr, .. } | ExprKind::HasAttr { attr, .. } => attr.as_str() == name,
            ExprKind::ExtHasAttr { attrs, .. } => attrs.iter().any(|attr| attr.as_str() == name),
            _ => false,
        };
        self.rules.get(number).is_some_and(|rule| rule.condition.subexpressions().any(reads))
    }

    /// The ids of the entities of a type, sorted.
    pub(crate) fn entities_of(&self, kind: &str) -> Vec<String> {
        let Ok(kind) = Kind::new(kind) else { return Vec::new() };
        let mut ids: Vec<String> = self.store.of_kind(&kind).map(|entity| id_of(entity.uid())).collect();
        ids.sort();
        ids
    }

    /// How a policy is made to hold, or not to.
    pub(crate) fn steered(&self, number: usize, about: &About<'_>) -> Steered {
        let Some(rule) = self.rules.get(number) else { return Steered::default() };
        let reader = Reader::new(self, rule, about);
        let (holds, fails) = reader.solve(&rule.condition);
        Steered { holds, fails, whole: reader.whole.get() }
    }

    /// The values around the constants of a policy: below, at and above each bound.
    pub(crate) fn boundaries(&self, number: usize, about: &About<'_>) -> BTreeSet<(Path, Value)> {
        let rule = self.rules.get(number);
        rule.map(|rule| Reader::new(self, rule, about).boundaries(rule)).unwrap_or_default()
    }

    /// How many expressions a policy consists of: what it costs to evaluate it.
    pub(crate) fn size(&self, number: usize) -> usize {
        self.rules.get(number).map_or(0, |rule| rule.condition.subexpressions().count())
    }
}
