//! Conditions read backwards: what a request would have to be for a policy to hold, or not to hold.
//!
//! For requests that are made up around a rule that changed (clause B-37). What is found is a guess that the evaluator
//! judges afterwards, so a form of expression that is not understood here costs a request and never an answer.

use std::collections::BTreeSet;

use cedar_policy_core::ast::{
    BinaryOp, Effect, Entity, EntityUID, Expr, ExprKind, Literal, PartialValue, Pattern, PatternElem, UnaryOp,
    ValueKind, Var,
};

use super::named::id_of;
use super::parse::Rule;
use super::{CedarEngine, Kind, Subject};
use crate::id::PolicyId;

/// Where a value of a request stands: the path inside the context, or one of the names below.
pub(crate) type Path = Vec<String>;

/// The class of the agent that acts.
pub(crate) const CLASS: &str = "@class";
/// The agent that acts.
pub(crate) const AGENT: &str = "@agent";
/// The id of the resource.
pub(crate) const RESOURCE: &str = "@resource";
/// The human; the context knows the same by this name.
pub(crate) const DELEGATOR: &str = "delegator";

/// Ways that are followed for one condition.
const WAYS_MAX: usize = 24;
/// Entities that one condition on an attribute or a group leads to.
const NAMED_MAX: usize = 6;
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
}

/// What requests about one tool are made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct About<'a> {
    /// The type of its resource.
    pub(crate) resource: &'a Kind,
    /// The purposes there are: a text that is none cannot be one of a request.
    pub(crate) purposes: &'a [String],
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
            _ => false,
        };
        self.rules.get(number).is_some_and(|rule| rule.condition.subexpressions().any(reads))
    }

    /// The ids of the entities of a type, sorted, at most `max`.
    pub(crate) fn entities_of(&self, kind: &str, max: usize) -> Vec<String> {
        let Ok(kind) = Kind::new(kind) else { return Vec::new() };
        let mut ids: Vec<String> = self.store.of_kind(&kind).map(|entity| id_of(entity.uid())).collect();
        ids.sort();
        ids.truncate(max);
        ids
    }

    /// Edits after which a policy would hold, or would not; each a way of its own.
    pub(crate) fn ways(&self, number: usize, holds: bool, about: &About<'_>) -> Vec<Vec<Edit>> {
        let reader = Reader { engine: self, resource: about.resource.0.to_string(), purposes: about.purposes };
        self.rules.get(number).map(|rule| reader.solve(&rule.condition, holds)).unwrap_or_default()
    }

    /// The values around the constants of a policy: below, at and above each bound.
    pub(crate) fn boundaries(&self, number: usize, about: &About<'_>) -> BTreeSet<(Path, Value)> {
        let reader = Reader { engine: self, resource: about.resource.0.to_string(), purposes: about.purposes };
        self.rules.get(number).map(|rule| reader.boundaries(rule)).unwrap_or_default()
    }
}

/// The names by which a principal of a type is one of a request.
fn principal_path(kind: &str) -> Option<Path> {
    let name = match kind {
        "AgentClass" => CLASS,
        "Agent" => AGENT,
        "User" => DELEGATOR,
        _ => return None,
    };
    Some(vec![name.to_owned()])
}

struct Reader<'e> {
    engine: &'e CedarEngine,
    resource: String,
    purposes: &'e [String],
}

type Ways = Vec<Vec<Edit>>;

/// Nothing has to be done, or nobody knows what.
fn anyway() -> Ways {
    vec![Vec::new()]
}

fn either(mut first: Ways, second: Ways) -> Ways {
    first.extend(second);
    first.truncate(WAYS_MAX);
    first
}

fn both(first: &Ways, second: &Ways) -> Ways {
    let pairs = first.iter().flat_map(|one| second.iter().map(move |two| [one.as_slice(), two.as_slice()].concat()));
    pairs.take(WAYS_MAX).collect()
}

impl Reader<'_> {
    fn solve(&self, expr: &Expr, holds: bool) -> Ways {
        match expr.expr_kind() {
            ExprKind::Lit(Literal::Bool(value)) => {
                if *value == holds {
                    anyway()
                } else {
                    Vec::new()
                }
            }
            ExprKind::And { left, right } if holds => both(&self.solve(left, true), &self.solve(right, true)),
            ExprKind::And { left, right } => {
                either(self.solve(left, false), both(&self.solve(left, true), &self.solve(right, false)))
            }
            ExprKind::Or { left, right } if holds => {
                either(self.solve(left, true), both(&self.solve(left, false), &self.solve(right, true)))
            }
            ExprKind::Or { left, right } => both(&self.solve(left, false), &self.solve(right, false)),
            ExprKind::If { test_expr, then_expr, else_expr } => either(
                both(&self.solve(test_expr, true), &self.solve(then_expr, holds)),
                both(&self.solve(test_expr, false), &self.solve(else_expr, holds)),
            ),
            ExprKind::UnaryApp { op: UnaryOp::Not, arg } => self.solve(arg, !holds),
            ExprKind::UnaryApp { op: UnaryOp::IsEmpty, arg } => match path_of(arg) {
                Some(path) if holds => vec![vec![Edit::Set(path, Value::Texts(BTreeSet::new()))]],
                Some(path) => vec![vec![Edit::Include(path, OTHER.to_owned())]],
                None => anyway(),
            },
            ExprKind::BinaryApp { op, arg1, arg2 } => self.compare(*op, arg1, arg2, holds),
            ExprKind::Like { expr, pattern } => match path_of(expr) {
                Some(path) => self.set_any(&path, self.instances(&path, pattern, holds)),
                None => anyway(),
            },
            ExprKind::HasAttr { expr, attr } => match path_of(expr) {
                Some(mut path) => {
                    path.push(attr.to_string());
                    vec![vec![if holds { Edit::Keep(path) } else { Edit::Drop(path) }]]
                }
                None => anyway(),
            },
            ExprKind::GetAttr { .. } => match path_of(expr) {
                Some(path) => vec![vec![Edit::Set(path, Value::Bool(holds))]],
                None => anyway(),
            },
            ExprKind::Is { .. } => anyway(),
            _ => anyway(),
        }
    }

    fn compare(&self, op: BinaryOp, left: &Expr, right: &Expr, holds: bool) -> Ways {
        let one = |edit| vec![vec![edit]];
        match (op, path_of(left), path_of(right)) {
            (BinaryOp::Eq | BinaryOp::Less | BinaryOp::LessEq, Some(path), None) => match literal(right) {
                Some(Literal::Long(bound)) => one(Edit::Set(path, Value::Long(beside(op, *bound, holds)))),
                Some(Literal::String(text)) if holds => one(Edit::Set(path, Value::Text(text.to_string()))),
                Some(Literal::String(text)) => self.set_any(&path, self.others(&path, text)),
                Some(Literal::Bool(value)) => one(Edit::Set(path, Value::Bool(*value == holds))),
                Some(Literal::EntityUID(_)) | None => anyway(),
            },
            // `5 < x` is `!(x <= 5)`.
            (BinaryOp::Less, None, Some(_)) => self.compare(BinaryOp::LessEq, right, left, !holds),
            (BinaryOp::LessEq, None, Some(_)) => self.compare(BinaryOp::Less, right, left, !holds),
            (BinaryOp::Eq, None, Some(_)) => self.compare(op, right, left, holds),
            (BinaryOp::Contains, Some(path), None) => match literal(right) {
                Some(Literal::String(text)) if holds => one(Edit::Include(path, text.to_string())),
                Some(Literal::String(text)) => one(Edit::Exclude(path, text.to_string())),
                _ => anyway(),
            },
            // `["a", "b"].contains(x)`
            (BinaryOp::Contains, None, Some(path)) => match texts(left) {
                Some(texts) if holds => {
                    texts.into_iter().map(|text| vec![Edit::Set(path.clone(), Value::Text(text))]).collect()
                }
                Some(_) => one(Edit::Set(path, Value::Text(OTHER.to_owned()))),
                None => anyway(),
            },
            (BinaryOp::ContainsAll | BinaryOp::ContainsAny, Some(path), None) => match texts(right) {
                Some(texts) if holds => vec![texts.into_iter().map(|text| Edit::Include(path.clone(), text)).collect()],
                Some(texts) => vec![texts.into_iter().map(|text| Edit::Exclude(path.clone(), text)).collect()],
                None => anyway(),
            },
            (BinaryOp::ContainsAll, None, Some(path)) => match texts(left) {
                Some(texts) if holds => one(Edit::Set(path, Value::Texts(texts.into_iter().collect()))),
                Some(_) => one(Edit::Include(path, OTHER.to_owned())),
                None => anyway(),
            },
            (BinaryOp::In | BinaryOp::Eq, None, None) => self.entity(op, left, right, holds),
            (BinaryOp::Less | BinaryOp::LessEq, None, None) => self.attribute(op, left, right, holds),
            _ => anyway(),
        }
    }

    fn set_any(&self, path: &Path, texts: Vec<String>) -> Ways {
        texts.into_iter().take(WAYS_MAX).map(|text| vec![Edit::Set(path.clone(), Value::Text(text))]).collect()
    }

    /// The purposes, where the path is the purpose's.
    fn known(&self, path: &Path) -> Option<&[String]> {
        matches!(path.as_slice(), [name] if name == "purpose").then_some(self.purposes)
    }

    /// Texts that are not this one.
    fn others(&self, path: &Path, text: &str) -> Vec<String> {
        match self.known(path) {
            Some(known) => known.iter().filter(|known| *known != text).take(NAMED_MAX).cloned().collect(),
            None => vec![OTHER.to_owned()],
        }
    }

    /// Texts that a pattern matches, or that it does not.
    fn instances(&self, path: &Path, pattern: &Pattern, holds: bool) -> Vec<String> {
        match self.known(path) {
            Some(known) => {
                let fits = known.iter().filter(|known| pattern.wildcard_match(known) == holds);
                fits.take(NAMED_MAX).cloned().collect()
            }
            None => vec![instance(pattern, holds)],
        }
    }

    /// `principal in Team::"finance"`, `resource == Contract::"7781"`, `resource.segment == "enterprise"`.
    fn entity(&self, op: BinaryOp, left: &Expr, right: &Expr, holds: bool) -> Ways {
        let ExprKind::Var(var) = left.expr_kind() else { return self.attribute(op, left, right, holds) };
        let targets = entities(right);
        match var {
            // Only policies about the action are read.
            Var::Action => {
                if holds {
                    anyway()
                } else {
                    Vec::new()
                }
            }
            Var::Context => anyway(),
            Var::Principal | Var::Resource if targets.is_empty() => anyway(),
            Var::Principal | Var::Resource => {
                let named: Vec<(Path, String)> =
                    targets.iter().flat_map(|uid| self.named(*var, uid, op == BinaryOp::In)).collect();
                if holds {
                    return named
                        .into_iter()
                        .take(WAYS_MAX)
                        .map(|(path, id)| vec![Edit::Set(path, Value::Text(id))])
                        .collect();
                }
                let paths: BTreeSet<Path> = named.into_iter().map(|(path, _)| path).collect();
                vec![paths.into_iter().map(|path| Edit::Set(path, Value::Text(OTHER.to_owned()))).collect()]
            }
        }
    }

    /// The names of a request that are this entity, or below it.
    fn named(&self, var: Var, uid: &EntityUID, below: bool) -> Vec<(Path, String)> {
        let path_for = |kind: &str| match var {
            Var::Resource => (kind == self.resource).then(|| vec![RESOURCE.to_owned()]),
            _ => principal_path(kind),
        };
        let mut named: Vec<(Path, String)> =
            path_for(&uid.entity_type().to_string()).map(|path| (path, id_of(uid))).into_iter().collect();
        if below {
            let entities = self.engine.store.all().filter(|entity| entity.is_descendant_of(uid));
            let mut found: Vec<(Path, String)> = entities
                .filter_map(|entity| Some((path_for(&entity.uid().entity_type().to_string())?, id_of(entity.uid()))))
                .collect();
            found.sort();
            named.extend(found.into_iter().take(NAMED_MAX));
        }
        named
    }

    /// `resource.risk < 50`: entities that the bundle knows and that satisfy it.
    fn attribute(&self, op: BinaryOp, left: &Expr, right: &Expr, holds: bool) -> Ways {
        let (ExprKind::GetAttr { expr, attr }, Some(wanted)) = (left.expr_kind(), literal(right)) else {
            return anyway();
        };
        let ExprKind::Var(var @ (Var::Principal | Var::Resource)) = expr.expr_kind() else { return anyway() };
        let satisfies = |entity: &Entity| {
            let Some(PartialValue::Value(value)) = entity.get(attr) else { return false };
            let ValueKind::Lit(found) = &value.value else { return false };
            holds
                == match (op, found, wanted) {
                    (BinaryOp::Less, Literal::Long(a), Literal::Long(b)) => a < b,
                    (BinaryOp::LessEq, Literal::Long(a), Literal::Long(b)) => a <= b,
                    _ => found == wanted,
                }
        };
        let mut named: Vec<(Path, String)> = self
            .engine
            .store
            .all()
            .filter(|entity| satisfies(entity))
            .filter_map(|entity| {
                let kind = entity.uid().entity_type().to_string();
                let path = match var {
                    Var::Resource => (kind == self.resource).then(|| vec![RESOURCE.to_owned()]),
                    _ => principal_path(&kind),
                };
                Some((path?, id_of(entity.uid())))
            })
            .collect();
        named.sort();
        if named.is_empty() {
            return anyway();
        }
        named.into_iter().take(NAMED_MAX).map(|(path, id)| vec![Edit::Set(path, Value::Text(id))]).collect()
    }

    fn boundaries(&self, rule: &Rule) -> BTreeSet<(Path, Value)> {
        let mut found = BTreeSet::new();
        for expr in rule.condition.subexpressions() {
            match expr.expr_kind() {
                ExprKind::BinaryApp { op, arg1, arg2 } => {
                    for (left, right) in [(arg1, arg2), (arg2, arg1)] {
                        if let Some(path) = path_of(left) {
                            let values = beside_all(*op, right).into_iter();
                            found.extend(values.map(|value| (path.clone(), value)));
                        }
                    }
                    if let ExprKind::Var(var @ (Var::Principal | Var::Resource)) = arg1.expr_kind() {
                        let named = entities(arg2).into_iter().flat_map(|uid| self.named(*var, uid, true));
                        found.extend(named.map(|(path, id)| (path, Value::Text(id))));
                    }
                }
                ExprKind::Like { expr, pattern } => {
                    if let Some(path) = path_of(expr) {
                        let texts = [true, false].into_iter().flat_map(|holds| self.instances(&path, pattern, holds));
                        found.extend(texts.map(|text| (path.clone(), Value::Text(text))).collect::<Vec<_>>());
                    }
                }
                ExprKind::GetAttr { .. } => {
                    // A path that is no boolean takes no boolean: the schema decides, where the request is put together.
                    if let Some(path) = path_of(expr) {
                        found.extend([true, false].map(|value| (path.clone(), Value::Bool(value))));
                    }
                }
                _ => {}
            }
        }
        found
    }
}

/// The values around what something is compared with.
fn beside_all(op: BinaryOp, other: &Expr) -> Vec<Value> {
    let is_set = matches!(op, BinaryOp::Contains | BinaryOp::ContainsAll | BinaryOp::ContainsAny);
    match literal(other) {
        Some(Literal::Long(bound)) => {
            [bound.saturating_sub(1), *bound, bound.saturating_add(1)].map(Value::Long).to_vec()
        }
        Some(Literal::String(text)) if is_set => {
            vec![Value::Texts(BTreeSet::from([text.to_string()])), Value::Texts(BTreeSet::new())]
        }
        Some(Literal::String(text)) => vec![Value::Text(text.to_string()), Value::Text(OTHER.to_owned())],
        Some(Literal::Bool(_)) => vec![Value::Bool(true), Value::Bool(false)],
        Some(Literal::EntityUID(_)) => Vec::new(),
        None => {
            let texts = texts(other).unwrap_or_default();
            let each = texts.iter().map(|text| match op {
                BinaryOp::ContainsAll | BinaryOp::ContainsAny => Value::Texts(BTreeSet::from([text.clone()])),
                _ => Value::Text(text.clone()),
            });
            each.chain([Value::Texts(texts.iter().cloned().collect())]).collect()
        }
    }
}

/// The entities that an expression spells out: one, or a set of them.
fn entities(expr: &Expr) -> Vec<&EntityUID> {
    match expr.expr_kind() {
        ExprKind::Set(elements) => elements.iter().filter_map(entity_literal).collect(),
        _ => entity_literal(expr).into_iter().collect(),
    }
}

/// The value next to a bound for which a comparison holds, or does not.
fn beside(op: BinaryOp, bound: i64, holds: bool) -> i64 {
    match (op, holds) {
        (BinaryOp::Less, true) => bound.saturating_sub(1),
        (BinaryOp::Less, false) => bound,
        (BinaryOp::LessEq, true) | (BinaryOp::Eq, true) => bound,
        _ => bound.saturating_add(1),
    }
}

/// A text that a pattern matches, or one that it does not.
fn instance(pattern: &Pattern, holds: bool) -> String {
    if !holds {
        return if pattern.wildcard_match(OTHER) { String::new() } else { OTHER.to_owned() };
    }
    let text = |element: &PatternElem| match element {
        PatternElem::Char(char) => char.to_string(),
        PatternElem::Wildcard => "x".to_owned(),
    };
    pattern.iter().map(text).collect()
}

fn literal(expr: &Expr) -> Option<&Literal> {
    match expr.expr_kind() {
        ExprKind::Lit(literal) => Some(literal),
        _ => None,
    }
}

fn entity_literal(expr: &Expr) -> Option<&EntityUID> {
    match literal(expr) {
        Some(Literal::EntityUID(uid)) => Some(uid),
        _ => None,
    }
}

/// The elements of a set of texts.
fn texts(expr: &Expr) -> Option<Vec<String>> {
    let ExprKind::Set(elements) = expr.expr_kind() else { return None };
    let text = |element| match literal(element) {
        Some(Literal::String(text)) => Some(text.to_string()),
        _ => None,
    };
    elements.iter().map(text).collect()
}

/// The path inside the context that an expression reads.
fn path_of(expr: &Expr) -> Option<Path> {
    match expr.expr_kind() {
        ExprKind::Var(Var::Context) => Some(Path::new()),
        ExprKind::GetAttr { expr, attr } => {
            let mut path = path_of(expr)?;
            path.push(attr.to_string());
            Some(path)
        }
        _ => None,
    }
}
