//! The values around the constants of a condition, and what expressions spell out.

use std::collections::BTreeSet;

use cedar_policy_core::ast::{BinaryOp, EntityUID, Expr, ExprKind, Literal, Pattern, PatternElem, Var};

use super::super::parse::Rule;
use super::solve::Reader;
use super::{OTHER, Path, Value};

impl Reader<'_> {
    pub(super) fn boundaries(&self, rule: &Rule) -> BTreeSet<(Path, Value)> {
        let mut found = BTreeSet::new();
        for expr in rule.condition.subexpressions() {
            if !self.about.work.spend(1) {
                self.whole.set(false);
                break;
            }
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
pub(super) fn entities(expr: &Expr) -> Vec<&EntityUID> {
    match expr.expr_kind() {
        ExprKind::Set(elements) => elements.iter().filter_map(entity_literal).collect(),
        _ => entity_literal(expr).into_iter().collect(),
    }
}

/// The value next to a bound for which a comparison holds, or does not.
pub(super) fn beside(op: BinaryOp, bound: i64, holds: bool) -> i64 {
    match (op, holds) {
        (BinaryOp::Less, true) => bound.saturating_sub(1),
        (BinaryOp::Less, false) => bound,
        (BinaryOp::LessEq, true) | (BinaryOp::Eq, true) => bound,
        _ => bound.saturating_add(1),
    }
}

/// Texts that a pattern matches, or one that it does not. The first has, in the place of each wildcard, what no pattern
/// spells: whatever else matches it matches everything that the pattern does.
pub(super) fn instances(pattern: &Pattern, holds: bool) -> Vec<String> {
    if !holds {
        return vec![if pattern.wildcard_match(OTHER) { String::new() } else { OTHER.to_owned() }];
    }
    let filled = |wild: &str| -> String {
        let text = |element: &PatternElem| match element {
            PatternElem::Char(char) => char.to_string(),
            PatternElem::Wildcard => wild.to_owned(),
        };
        pattern.iter().map(text).collect()
    };
    let (generic, short) = (filled(OTHER), filled(""));
    if generic == short { vec![generic] } else { vec![generic, short] }
}

pub(super) fn literal(expr: &Expr) -> Option<&Literal> {
    match expr.expr_kind() {
        ExprKind::Lit(literal) => Some(literal),
        _ => None,
    }
}

pub(super) fn entity_literal(expr: &Expr) -> Option<&EntityUID> {
    match literal(expr) {
        Some(Literal::EntityUID(uid)) => Some(uid),
        _ => None,
    }
}

/// The elements of a set of texts.
pub(super) fn texts(expr: &Expr) -> Option<Vec<String>> {
    let ExprKind::Set(elements) = expr.expr_kind() else { return None };
    let text = |element| match literal(element) {
        Some(Literal::String(text)) => Some(text.to_string()),
        _ => None,
    };
    elements.iter().map(text).collect()
}

/// The path inside the context that an expression reads.
pub(super) fn path_of(expr: &Expr) -> Option<Path> {
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
