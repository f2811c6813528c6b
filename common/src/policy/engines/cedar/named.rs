//! Which entities policies could compare somebody with.

use std::collections::{BTreeSet, HashSet};

use cedar_policy_core::ast::{BinaryOp, Entity, EntityUID, Expr, ExprKind, Literal, Var};
use cedar_policy_core::parser::Loc;

use super::{CedarEngine, Kind, Subject};

/// Who is asked to be in something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Within {
    /// The principal of the request.
    Principal,
    /// Its resource.
    Resource,
    /// An entity of this type, by name.
    Named(Kind),
    /// An entity that an attribute of another leads to.
    ByAttribute,
    /// Something else.
    Other,
}

/// One `in` of a policy: who, in one of which, and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Membership {
    pub(crate) who: Within,
    pub(crate) what: Vec<Within>,
    pub(crate) file: String,
    pub(crate) start: usize,
}

impl CedarEngine {
    /// Every `in` of the policies about an action, but for those that ask about the action itself.
    pub(crate) fn memberships(&self, action: &Subject) -> Vec<Membership> {
        let mut found = Vec::new();
        for rule in self.rules.iter().filter(|rule| rule.is_about(action)) {
            for expr in rule.condition.subexpressions() {
                let ExprKind::BinaryApp { op: BinaryOp::In, arg1, arg2 } = expr.expr_kind() else { continue };
                if matches!(arg1.expr_kind(), ExprKind::Var(Var::Action)) {
                    continue;
                }
                let (mut who, mut what) = (Vec::new(), Vec::new());
                within(arg1, &mut who);
                within(arg2, &mut what);
                let start = expr.source_loc().map_or(rule.start, Loc::start);
                let place = |who| Membership { who, what: what.clone(), file: rule.file.clone(), start };
                found.extend(who.into_iter().map(place));
            }
        }
        found
    }

    /// The ids of the entities of a type that policies about an action could compare somebody with: those that they
    /// name, that attributes of the bundle's entities name, and the known ones below either.
    pub(crate) fn named(&self, action: &Subject, kind: &Kind) -> Vec<String> {
        let rules = self.rules.iter().filter(|rule| rule.is_about(action));
        let mut targets: HashSet<EntityUID> = rules.flat_map(|rule| literals(&rule.condition)).collect();
        targets.extend(self.store.references());
        let below = |entity: &Entity| entity.ancestors().any(|above| targets.contains(above));
        let known = self.store.of_kind(kind).filter(|entity| below(entity)).map(|entity| entity.uid().clone());
        let named = known.chain(targets.iter().filter(|uid| *uid.entity_type() == kind.0).cloned());
        let ids: BTreeSet<String> = named.map(|uid| id_of(&uid)).collect();
        ids.into_iter().collect()
    }
}

/// The id, without the type.
pub(super) fn id_of(uid: &EntityUID) -> String {
    AsRef::<str>::as_ref(uid.eid()).to_owned()
}

fn literals(condition: &Expr) -> impl Iterator<Item = EntityUID> {
    condition.subexpressions().filter_map(|expr| match expr.expr_kind() {
        ExprKind::Lit(Literal::EntityUID(uid)) => Some((**uid).clone()),
        _ => None,
    })
}

fn within(expr: &Expr, found: &mut Vec<Within>) {
    let one = match expr.expr_kind() {
        ExprKind::Var(Var::Principal) => Within::Principal,
        ExprKind::Var(Var::Resource) => Within::Resource,
        ExprKind::Lit(Literal::EntityUID(uid)) => Within::Named(Kind(uid.entity_type().clone())),
        ExprKind::Set(parts) => return parts.iter().for_each(|part| within(part, found)),
        ExprKind::If { then_expr, else_expr, .. } => {
            within(then_expr, found);
            return within(else_expr, found);
        }
        ExprKind::GetAttr { .. } | ExprKind::BinaryApp { op: BinaryOp::GetTag, .. } => Within::ByAttribute,
        _ => Within::Other,
    };
    found.push(one);
}
