//! Which permits came nearest to a question that none of them permits, and what each of them missed.
//!
//! For people who ask; never on the way of a call. A permit's scope and conditions are taken apart into conjuncts, and
//! Cedar's own evaluator says of each whether it holds. What a caller does not know (a record tells less than a call)
//! is named, and whatever depends on it is neither true nor false. Clause P-43.

use std::collections::BTreeSet;

use cedar_policy_core::ast::{BinaryOp, Effect, EntityUIDEntry, Expr, ExprKind, Literal, Request, SlotEnv, Value};
use cedar_policy_core::ast::{ValueKind, Var};
use cedar_policy_core::evaluator::{EvaluationError, Evaluator};
use cedar_policy_core::extensions::Extensions;

use super::parse::Rule;
use super::{CedarEngine, Query, Subject};
use crate::policy::explain::{Cited, Fact, Near, Nearest, State};

/// Permits that are told of.
const NEAREST_MAX: usize = 3;
/// Conjuncts that are told of each.
const FACTS_MAX: usize = 16;
/// Characters of a conjunct's text, and of a value.
const TEXT_CHARS_MAX: usize = 160;

/// What is not known of a question.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Unknown {
    /// The groups that the principal is in, beyond those that the question names.
    pub(crate) groups: bool,
    /// What is asked about.
    pub(crate) resource: bool,
    /// Attributes of the context.
    pub(crate) context: BTreeSet<String>,
}

impl CedarEngine {
    /// Where the policies of these names stand, and what they are.
    pub(crate) fn cite<'i>(&self, ids: impl IntoIterator<Item = &'i str>) -> Vec<Cited> {
        let rules = ids.into_iter().filter_map(|id| self.rules.iter().find(|rule| rule.id.as_str() == id));
        rules.map(Rule::cited).collect()
    }

    /// The permits of the action that came nearest.
    pub(crate) fn nearest(&self, query: &Query<'_>, unknown: &Unknown) -> Nearest {
        let slots = SlotEnv::new();
        let permits: Vec<&Rule> = self.rules.iter().filter(|rule| rule.effect == Effect::Permit).collect();
        let Ok(entities) = self.store.slice(query, permits.iter().flat_map(|rule| &rule.mentions)) else {
            return Nearest::default();
        };
        let known = |subject: &Subject| EntityUIDEntry::Known { euid: subject.uid.clone(), loc: None };
        let context = Some(query.context.to_cedar());
        let request =
            Request::new_unchecked(known(query.principal), known(query.action), known(query.resource), context);
        let evaluator = Evaluator::new(request, &entities, Extensions::all_available());
        let holds = |expr: &Expr| matches!(evaluator.interpret(expr, &slots), Ok(value) if is(&value, true));
        let of_action = permits.into_iter().filter(|rule| holds(&rule.policy.action_constraint().as_expr()));
        let mut near: Vec<(usize, usize, &Rule, Vec<Fact>)> = of_action
            .map(|rule| {
                let judge = |expr: &Expr| judge(&evaluator, expr, unknown);
                let (principal, resource) =
                    (rule.policy.principal_constraint().as_expr(), rule.policy.resource_constraint().as_expr());
                let scope = [(principal, "principal"), (resource, "resource")];
                let scope = scope.iter().filter(|(expr, _)| !is_true(expr));
                let mut facts: Vec<Fact> = scope
                    .map(|(expr, part)| Fact { text: shortened(&expr.to_string()), part, ..judge(expr) })
                    .collect();
                facts.extend(conjuncts(rule.policy.non_scope_constraints()).into_iter().map(judge));
                let count = |wanted: fn(&State) -> bool| facts.iter().filter(|fact| wanted(&fact.state)).count();
                let missed = count(|state| !matches!(state, State::Holds | State::Unknown { .. }));
                (missed, count(|state| matches!(state, State::Unknown { .. })), rule, facts)
            })
            .collect();
        let total = near.len();
        // Stable: of permits that are equally near, the one that stands first.
        near.sort_by_key(|(missed, unsure, ..)| (*missed, *unsure));
        let rules = near.into_iter().take(NEAREST_MAX).map(|(_, _, rule, mut facts)| {
            facts.sort_by_key(|fact| fact.state == State::Holds);
            facts.truncate(FACTS_MAX);
            Near { rule: rule.cited(), facts }
        });
        Nearest { rules: rules.collect(), total }
    }
}

impl Rule {
    fn cited(&self) -> Cited {
        let text = self.policy.loc().and_then(|loc| loc.snippet()).unwrap_or_default();
        let before = self.policy.loc().and_then(|loc| loc.src.get(..loc.start())).unwrap_or_default();
        Cited {
            id: self.id.clone(),
            forbids: self.effect == Effect::Forbid,
            file: self.file.clone(),
            line: before.matches('\n').count() + 1,
            text: text.to_owned(),
        }
    }
}

/// A conjunction, taken apart. `true`, which stands where a policy has no conditions, says nothing.
fn conjuncts(conditions: Option<&Expr>) -> Vec<&Expr> {
    let (mut found, mut todo) = (Vec::new(), Vec::from_iter(conditions));
    while let Some(expr) = todo.pop() {
        match expr.expr_kind() {
            ExprKind::And { left, right } => todo.extend([&**right, &**left]),
            _ if is_true(expr) => {}
            _ => found.push(expr),
        }
    }
    found
}

fn judge(evaluator: &Evaluator<'_>, expr: &Expr, unknown: &Unknown) -> Fact {
    let text = expr.source_loc().and_then(|loc| loc.snippet()).map_or_else(|| expr.to_string(), str::to_owned);
    let fact = |state, found| Fact { part: "condition", text: shortened(&text), state, found };
    let unsure = unknown.of(expr);
    match evaluator.interpret(expr, &SlotEnv::new()) {
        // Being in a group that is known of cannot become untrue by being in others.
        Ok(value) if is(&value, true) && unsure.iter().all(|what| what == GROUPS) && is_membership(expr) => {
            fact(State::Holds, Vec::new())
        }
        _ if !unsure.is_empty() => fact(State::Unknown { of: unsure }, Vec::new()),
        Ok(value) if is(&value, true) => fact(State::Holds, Vec::new()),
        Ok(value) if is(&value, false) => {
            let absent = absences(evaluator, expr);
            let state = if absent.is_empty() { State::Fails } else { State::Absent { what: absent } };
            fact(state, found(evaluator, expr))
        }
        Ok(_) => fact(State::Failed { why: "it is not a boolean".to_owned() }, Vec::new()),
        Err(
            error @ (EvaluationError::EntityAttrDoesNotExist(_)
            | EvaluationError::RecordAttrDoesNotExist(_)
            | EvaluationError::EntityDoesNotExist(_)),
        ) => fact(State::Absent { what: vec![shortened(&error.to_string())] }, Vec::new()),
        Err(error) => fact(State::Failed { why: shortened(&error.to_string()) }, Vec::new()),
    }
}

/// How [`Unknown::groups`] is called.
const GROUPS: &str = "the groups that the agent is in";

impl Unknown {
    /// What of this an expression depends on.
    fn of(&self, expr: &Expr) -> Vec<String> {
        let mut found = BTreeSet::new();
        for part in expr.subexpressions() {
            match part.expr_kind() {
                ExprKind::Var(Var::Principal) if self.groups => _ = found.insert(GROUPS.to_owned()),
                ExprKind::Var(Var::Resource) if self.resource => _ = found.insert("the resource".to_owned()),
                ExprKind::GetAttr { expr, attr } | ExprKind::HasAttr { expr, attr }
                    if matches!(expr.expr_kind(), ExprKind::Var(Var::Context))
                        && self.context.contains(attr.as_str()) =>
                {
                    found.insert(format!("context.{attr}"));
                }
                _ => {}
            }
        }
        found.into_iter().collect()
    }
}

fn is_membership(expr: &Expr) -> bool {
    match expr.expr_kind() {
        ExprKind::BinaryApp { op: BinaryOp::In | BinaryOp::Eq, .. } | ExprKind::Is { .. } => true,
        ExprKind::And { left, right } => is_membership(left) && is_membership(right),
        _ => false,
    }
}

/// The attributes for which an expression asks with `has`, and which are not there.
fn absences(evaluator: &Evaluator<'_>, expr: &Expr) -> Vec<String> {
    let parts = expr.subexpressions().filter(|part| matches!(part.expr_kind(), ExprKind::HasAttr { .. }));
    let absent =
        parts.filter(|part| matches!(evaluator.interpret(part, &SlotEnv::new()), Ok(value) if is(&value, false)));
    let names: BTreeSet<String> = absent
        .filter_map(|part| match part.expr_kind() {
            ExprKind::HasAttr { expr, attr } => Some(shortened(&format!("{expr}.{attr}"))),
            _ => None,
        })
        .collect();
    names.into_iter().take(FACTS_MAX).collect()
}

/// What the parts of a comparison came to, where they are not written down in it.
fn found(evaluator: &Evaluator<'_>, expr: &Expr) -> Vec<(String, String)> {
    let inner = match expr.expr_kind() {
        ExprKind::UnaryApp { arg, .. } => arg,
        _ => expr,
    };
    let mut sides = Vec::new();
    for part in inner.subexpressions().filter(|part| matches!(part.expr_kind(), ExprKind::GetAttr { .. })) {
        let text = part.source_loc().and_then(|loc| loc.snippet()).map_or_else(|| part.to_string(), str::to_owned);
        if let Ok(value) = evaluator.interpret(part, &SlotEnv::new()) {
            sides.push((shortened(&text), shortened(&value.to_string())));
        }
    }
    // `a.b.c` contains `a.b` and `a`: the whole says it.
    let whole = |text: &str| !sides.iter().any(|(other, _)| other.len() > text.len() && other.starts_with(text));
    let mut told: Vec<(String, String)> = sides.iter().filter(|(text, _)| whole(text)).cloned().collect();
    told.dedup();
    told.truncate(4);
    told
}

fn is(value: &Value, wanted: bool) -> bool {
    matches!(value.value, ValueKind::Lit(Literal::Bool(found)) if found == wanted)
}

fn is_true(expr: &Expr) -> bool {
    matches!(expr.expr_kind(), ExprKind::Lit(Literal::Bool(true)))
}

/// On one line, and no longer than people read.
fn shortened(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut short: String = words.chars().take(TEXT_CHARS_MAX).collect();
    if short.len() < words.len() {
        short.push('…');
    }
    short
}
