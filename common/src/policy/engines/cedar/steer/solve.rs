//! What would make a condition hold, and what would make it not.
//!
//! Both are found in one pass over the condition, so that nesting costs its length and not a power of it.

use std::cell::Cell;
use std::collections::BTreeSet;

use cedar_policy_core::ast::{
    BinaryOp, Effect, Entity, EntityUID, Expr, ExprKind, Literal, PartialValue, Pattern, UnaryOp, ValueKind, Var,
};

use super::super::CedarEngine;
use super::super::named::id_of;
use super::super::parse::Rule;
use super::values::{beside, entities, instances, literal, path_of, texts};
use super::{ABOVE, ABOVE_AGENT, AGENT, About, CLASS, DELEGATOR, Edit, Named, OTHER, Pairing, Path, RESOURCE, Value};

/// Ways that are followed for one condition.
const WAYS_MAX: usize = 64;
/// Entities that one condition on an attribute or a group leads to, besides those that changed.
const NAMED_MAX: usize = 6;

pub(super) type Ways = Vec<Vec<Edit>>;

pub(super) struct Reader<'e> {
    engine: &'e CedarEngine,
    resource: String,
    pub(super) about: &'e About<'e>,
    forbids: bool,
    /// Whether everything was understood so far, and nothing left out.
    pub(super) whole: Cell<bool>,
}

/// Nothing has to be done.
fn anyway() -> Ways {
    vec![Vec::new()]
}

fn never() -> Ways {
    Vec::new()
}

fn one(edit: Edit) -> Ways {
    vec![vec![edit]]
}

impl<'e> Reader<'e> {
    pub(super) fn new(engine: &'e CedarEngine, rule: &Rule, about: &'e About<'e>) -> Self {
        let resource = about.resource.0.to_string();
        Self { engine, resource, about, forbids: rule.effect == Effect::Forbid, whole: Cell::new(true) }
    }

    /// Nobody knows what to do about it: whatever there is may do.
    fn unclear(&self) -> Ways {
        self.whole.set(false);
        anyway()
    }

    fn kept(&self, mut ways: Ways) -> Ways {
        if !self.about.work.keep(&mut ways, WAYS_MAX) {
            self.whole.set(false);
        }
        ways
    }

    fn either(&self, first: Ways, second: Ways) -> Ways {
        self.kept(first.into_iter().chain(second).collect())
    }

    fn both(&self, first: &Ways, second: &Ways) -> Ways {
        let mut ways = Ways::new();
        for (number, (one, two)) in first.iter().flat_map(|one| second.iter().map(move |two| (one, two))).enumerate() {
            if number >= WAYS_MAX || !self.about.work.spend(one.len().saturating_add(two.len())) {
                self.about.work.leave(first.len().saturating_mul(second.len()).saturating_sub(number));
                self.whole.set(false);
                break;
            }
            ways.push([one.as_slice(), two.as_slice()].concat());
        }
        ways
    }

    /// What makes it hold, and what makes it not hold.
    pub(super) fn solve(&self, expr: &Expr) -> (Ways, Ways) {
        if !self.about.work.spend(1) {
            self.whole.set(false);
            return (never(), never());
        }
        match expr.expr_kind() {
            ExprKind::Lit(Literal::Bool(true)) => (anyway(), never()),
            ExprKind::Lit(Literal::Bool(false)) => (never(), anyway()),
            ExprKind::And { left, right } => {
                let ((left, not_left), (right, not_right)) = (self.solve(left), self.solve(right));
                let not = self.either(not_left, self.both(&left, &not_right));
                (self.both(&left, &right), not)
            }
            ExprKind::Or { left, right } => {
                let ((left, not_left), (right, not_right)) = (self.solve(left), self.solve(right));
                let holds = self.both(&not_left, &right);
                (self.either(left, holds), self.both(&not_left, &not_right))
            }
            ExprKind::If { test_expr, then_expr, else_expr } => {
                let (test, not_test) = self.solve(test_expr);
                let ((then, not_then), (other, not_other)) = (self.solve(then_expr), self.solve(else_expr));
                let holds = self.either(self.both(&test, &then), self.both(&not_test, &other));
                (holds, self.either(self.both(&test, &not_then), self.both(&not_test, &not_other)))
            }
            ExprKind::UnaryApp { op: UnaryOp::Not, arg } => {
                let (holds, fails) = self.solve(arg);
                (fails, holds)
            }
            _ => (self.alone(expr, true), self.alone(expr, false)),
        }
    }

    /// What makes an expression without parts of its own hold, or not.
    fn alone(&self, expr: &Expr, holds: bool) -> Ways {
        match expr.expr_kind() {
            ExprKind::UnaryApp { op: UnaryOp::IsEmpty, arg } => match path_of(arg) {
                Some(path) if holds => one(Edit::Set(path, Value::Texts(BTreeSet::new()))),
                Some(path) => one(Edit::Include(path, OTHER.to_owned())),
                None => self.unclear(),
            },
            ExprKind::BinaryApp { op, arg1, arg2 } => self.compare(*op, arg1, arg2, holds),
            ExprKind::Like { expr, pattern } => match path_of(expr) {
                Some(path) => self.set_any(&path, self.instances(&path, pattern, holds)),
                None => self.unclear(),
            },
            ExprKind::HasAttr { expr, attr } => match path_of(expr) {
                Some(mut path) => {
                    path.push(attr.to_string());
                    one(if holds { Edit::Keep(path) } else { Edit::Drop(path) })
                }
                None => self.having(expr, attr, holds),
            },
            // `context.args has a.b.c`
            ExprKind::ExtHasAttr { expr, attrs } => match path_of(expr) {
                Some(mut path) => {
                    path.extend(attrs.iter().map(ToString::to_string));
                    one(if holds { Edit::Keep(path) } else { Edit::Drop(path) })
                }
                None => self.unclear(),
            },
            ExprKind::GetAttr { expr: of, attr } => match path_of(expr) {
                Some(path) => one(Edit::Set(path, Value::Bool(holds))),
                None => self.entities_with(
                    of,
                    holds,
                    |entity, holds| matches!(literal_of(entity, attr), Some(Literal::Bool(value)) if *value == holds),
                ),
            },
            // What is asked is of one type; a policy that could never match was refused.
            ExprKind::Is { expr, .. } => match expr.expr_kind() {
                ExprKind::Var(Var::Principal | Var::Resource) => anyway(),
                _ => self.unclear(),
            },
            _ => self.unclear(),
        }
    }

    fn compare(&self, op: BinaryOp, left: &Expr, right: &Expr, holds: bool) -> Ways {
        match (op, path_of(left), path_of(right)) {
            (BinaryOp::Eq | BinaryOp::Less | BinaryOp::LessEq, Some(path), None) => match literal(right) {
                Some(Literal::Long(bound)) => one(Edit::Set(path, Value::Long(beside(op, *bound, holds)))),
                Some(Literal::String(text)) if holds => one(Edit::Set(path, Value::Text(text.to_string()))),
                Some(Literal::String(text)) => self.set_any(&path, self.others(&path, text)),
                Some(Literal::Bool(value)) => one(Edit::Set(path, Value::Bool(*value == holds))),
                Some(Literal::EntityUID(_)) => self.unclear(),
                None => match texts(right) {
                    Some(texts) if holds => one(Edit::Set(path, Value::Texts(texts.into_iter().collect()))),
                    Some(_) => one(Edit::Include(path, OTHER.to_owned())),
                    None => self.unclear(),
                },
            },
            // `5 < x` is `!(x <= 5)`.
            (BinaryOp::Less, None, Some(_)) => self.compare(BinaryOp::LessEq, right, left, !holds),
            (BinaryOp::LessEq, None, Some(_)) => self.compare(BinaryOp::Less, right, left, !holds),
            (BinaryOp::Eq, None, Some(_)) => self.compare(op, right, left, holds),
            (BinaryOp::Eq | BinaryOp::Less | BinaryOp::LessEq, Some(one), Some(two)) => {
                let pairings: &[Pairing] = match (op, holds) {
                    (BinaryOp::Eq, true) => &[Pairing::Equal],
                    (BinaryOp::Eq, false) => &[Pairing::Different],
                    (BinaryOp::Less, true) => &[Pairing::Less],
                    (BinaryOp::Less, false) => &[Pairing::Equal, Pairing::Greater],
                    (_, true) => &[Pairing::Equal, Pairing::Less],
                    (_, false) => &[Pairing::Greater],
                };
                pairings.iter().map(|pairing| vec![Edit::Pair(one.clone(), two.clone(), *pairing)]).collect()
            }
            (BinaryOp::Contains, Some(path), None) => match literal(right) {
                Some(Literal::String(text)) if holds => one(Edit::Include(path, text.to_string())),
                Some(Literal::String(text)) => one(Edit::Exclude(path, text.to_string())),
                _ => self.unclear(),
            },
            // `["a", "b"].contains(x)`
            (BinaryOp::Contains, None, Some(path)) => match texts(left) {
                Some(texts) if holds => {
                    self.kept(texts.into_iter().map(|text| vec![Edit::Set(path.clone(), Value::Text(text))]).collect())
                }
                Some(_) => one(Edit::Set(path, Value::Text(OTHER.to_owned()))),
                None => self.unclear(),
            },
            (BinaryOp::ContainsAll, Some(path), None) => match texts(right) {
                Some(texts) if holds => vec![texts.into_iter().map(|text| Edit::Include(path.clone(), text)).collect()],
                Some(texts) => texts.into_iter().map(|text| vec![Edit::Exclude(path.clone(), text)]).collect(),
                None => self.unclear(),
            },
            (BinaryOp::ContainsAny, Some(path), None) => match texts(right) {
                Some(texts) if holds => {
                    self.kept(texts.into_iter().map(|text| vec![Edit::Include(path.clone(), text)]).collect())
                }
                Some(texts) => vec![texts.into_iter().map(|text| Edit::Exclude(path.clone(), text)).collect()],
                None => self.unclear(),
            },
            (BinaryOp::ContainsAll, None, Some(path)) => match texts(left) {
                Some(texts) if holds => one(Edit::Set(path, Value::Texts(texts.into_iter().collect()))),
                Some(_) => one(Edit::Include(path, OTHER.to_owned())),
                None => self.unclear(),
            },
            (BinaryOp::In | BinaryOp::Eq, None, None) => self.entity(op, left, right, holds),
            (BinaryOp::Less | BinaryOp::LessEq, None, None) => self.attribute(op, left, right, holds),
            _ => self.unclear(),
        }
    }

    fn set_any(&self, path: &Path, texts: Vec<String>) -> Ways {
        self.kept(texts.into_iter().map(|text| vec![Edit::Set(path.clone(), Value::Text(text))]).collect())
    }

    /// The purposes, where the path is the purpose's.
    fn known(&self, path: &Path) -> Option<&[String]> {
        matches!(path.as_slice(), [name] if name == "purpose").then_some(self.about.purposes)
    }

    /// Texts that are not this one.
    fn others(&self, path: &Path, text: &str) -> Vec<String> {
        match self.known(path) {
            Some(known) => {
                let mut others: Vec<String> = known.iter().filter(|known| *known != text).cloned().collect();
                self.about.work.keep(&mut others, NAMED_MAX);
                others
            }
            None => vec![OTHER.to_owned()],
        }
    }

    /// Texts that a pattern matches, or that it does not.
    pub(super) fn instances(&self, path: &Path, pattern: &Pattern, holds: bool) -> Vec<String> {
        match self.known(path) {
            Some(known) => {
                let mut fits: Vec<String> =
                    known.iter().filter(|known| pattern.wildcard_match(known) == holds).cloned().collect();
                self.about.work.keep(&mut fits, NAMED_MAX);
                fits
            }
            None => instances(pattern, holds),
        }
    }

    /// `principal in Team::"finance"`, `resource == Contract::"7781"`, `resource.segment == "enterprise"`.
    fn entity(&self, op: BinaryOp, left: &Expr, right: &Expr, holds: bool) -> Ways {
        let ExprKind::Var(var) = left.expr_kind() else { return self.attribute(op, left, right, holds) };
        let targets = entities(right);
        match var {
            // Only policies about the action are read.
            Var::Action if holds => anyway(),
            Var::Action => never(),
            Var::Context => self.unclear(),
            Var::Principal | Var::Resource if targets.is_empty() => self.unclear(),
            Var::Principal | Var::Resource => {
                let filled = |uid: &&EntityUID| self.about.filled.contains(&uid.entity_type().to_string());
                if op == BinaryOp::In && targets.iter().any(filled) {
                    // Requests are made up of what entities.json says, and tuples say more.
                    self.whole.set(false);
                }
                let named: Vec<(Path, String)> =
                    targets.iter().flat_map(|uid| self.named(*var, uid, op == BinaryOp::In)).collect();
                if holds {
                    let set = |(path, id)| vec![Edit::Set(path, Value::Text(id))];
                    return self.kept(named.into_iter().map(set).collect());
                }
                let paths: BTreeSet<Path> = named.into_iter().map(|(path, _)| path).collect();
                let other = |path: Path| match path.as_slice() {
                    // Nobody else above is what there is without it.
                    [name] if [ABOVE, ABOVE_AGENT].contains(&name.as_str()) => Edit::Drop(path),
                    _ => Edit::Set(path, Value::Text(OTHER.to_owned())),
                };
                vec![paths.into_iter().map(other).collect()]
            }
        }
    }

    /// Where a request names an entity of a type.
    fn paths_of(&self, var: Var, kind: &str) -> Vec<Path> {
        let names: &[&str] = match (var, kind) {
            (Var::Resource, kind) if kind == self.resource => &[RESOURCE],
            (Var::Resource, _) => &[],
            // What forbids is asked of everybody in the chain.
            (_, "AgentClass") if self.forbids => &[CLASS, ABOVE],
            (_, "AgentClass") => &[CLASS],
            (_, "Agent") if self.forbids => &[AGENT, ABOVE_AGENT],
            (_, "Agent") => &[AGENT],
            (_, "User") => &[DELEGATOR],
            _ => &[],
        };
        names.iter().map(|name| vec![(*name).to_owned()]).collect()
    }

    /// Entities of the bundle that a request can name, those that changed first.
    fn fitting(&self, var: Var, fits: impl Fn(&Entity) -> bool) -> Vec<(Path, String)> {
        let mut found: Vec<(bool, Path, String)> = Vec::new();
        for entity in self.engine.store.all() {
            if !self.about.work.spend(1) {
                self.whole.set(false);
                break;
            }
            if !fits(entity) {
                continue;
            }
            let named: Named = (entity.uid().entity_type().to_string(), id_of(entity.uid()));
            let changed = self.about.changed.contains(&named);
            let (kind, id) = named;
            found.extend(self.paths_of(var, &kind).into_iter().map(|path| (!changed, path, id.clone())));
        }
        found.sort();
        let changed = found.iter().filter(|(unchanged, ..)| !unchanged).count();
        self.about.work.keep(&mut found, NAMED_MAX.saturating_add(changed));
        found.into_iter().map(|(_, path, id)| (path, id)).collect()
    }

    /// The names of a request that are this entity, or below it.
    pub(super) fn named(&self, var: Var, uid: &EntityUID, below: bool) -> Vec<(Path, String)> {
        let own = self.paths_of(var, &uid.entity_type().to_string()).into_iter().map(|path| (path, id_of(uid)));
        let mut named: Vec<(Path, String)> = own.collect();
        if below {
            named.extend(self.fitting(var, |entity| entity.is_descendant_of(uid)));
        }
        named
    }

    /// `resource.risk < 50`: entities that the bundle knows and that satisfy it.
    fn attribute(&self, op: BinaryOp, left: &Expr, right: &Expr, holds: bool) -> Ways {
        let (ExprKind::GetAttr { expr, attr }, Some(wanted)) = (left.expr_kind(), literal(right)) else {
            return self.unclear();
        };
        if op == BinaryOp::In {
            return self.unclear();
        }
        self.entities_with(expr, holds, |entity, holds| {
            let Some(found) = literal_of(entity, attr) else { return false };
            holds
                == match (op, found, wanted) {
                    (BinaryOp::Less, Literal::Long(a), Literal::Long(b)) => a < b,
                    (BinaryOp::LessEq, Literal::Long(a), Literal::Long(b)) => a <= b,
                    _ => found == wanted,
                }
        })
    }

    /// `resource has owner`
    fn having(&self, expr: &Expr, attr: &str, holds: bool) -> Ways {
        self.entities_with(expr, holds, |entity, holds| entity.get(attr).is_some() == holds)
    }

    /// Names of entities that satisfy something; what no entity of the bundle satisfies is not known.
    fn entities_with(&self, expr: &Expr, holds: bool, satisfies: impl Fn(&Entity, bool) -> bool) -> Ways {
        let ExprKind::Var(var @ (Var::Principal | Var::Resource)) = expr.expr_kind() else { return self.unclear() };
        let named = self.fitting(*var, |entity| satisfies(entity, holds));
        if named.is_empty() {
            return if holds { self.unclear() } else { anyway() };
        }
        self.kept(named.into_iter().map(|(path, id)| vec![Edit::Set(path, Value::Text(id))]).collect())
    }
}

/// The attribute of an entity, where it is a plain value.
fn literal_of<'v>(entity: &'v Entity, attr: &str) -> Option<&'v Literal> {
    let PartialValue::Value(value) = entity.get(attr)? else { return None };
    match &value.value {
        ValueKind::Lit(literal) => Some(literal),
        _ => None,
    }
}
