//! Which entities policies could compare somebody with.

use std::collections::{BTreeSet, HashSet};

use cedar_policy_core::ast::{Entity, EntityUID, Expr, ExprKind, Literal};

use super::{CedarEngine, Kind, Subject};

impl CedarEngine {
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
