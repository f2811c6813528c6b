//! Entities of two bundles, one by one.

use std::collections::{BTreeSet, HashMap, HashSet};

use cedar_policy_core::ast::{Entity, EntityUID};

use super::named::id_of;
use super::steer::Named;
use super::store::Held;
use super::{CedarEngine, Kind};

impl CedarEngine {
    /// Type and id of every entity of which policies can see something else in another bundle: attributes, what it is
    /// in, or what its attributes lead to. One of which nothing is known is like one that is not there.
    pub(crate) fn entities_that_differ(&self, other: &Self) -> BTreeSet<Named> {
        let both = [&self.store, &other.store];
        let uids: HashSet<&EntityUID> = both.iter().flat_map(|store| store.all()).map(Entity::uid).collect();
        let differs = uids.into_iter().filter(|uid| !same(self.store.get(uid), other.store.get(uid)));
        differs.map(|uid| (uid.entity_type().to_string(), id_of(uid))).collect()
    }

    /// Whether the bundle says something of an entity.
    pub(crate) fn knows(&self, kind: &str, id: &str) -> bool {
        Kind::new(kind).is_ok_and(|kind| self.store.get(&kind.uid(id)).is_some())
    }
}

fn same(one: Option<&Held>, two: Option<&Held>) -> bool {
    match (one, two) {
        (None, None) => true,
        (Some(only), None) | (None, Some(only)) => says_nothing(&only.entity),
        (Some(one), Some(two)) => {
            let related: HashMap<&EntityUID, &Entity> = two.related.iter().map(|of| (of.uid(), &**of)).collect();
            one.entity.deep_eq(&two.entity)
                && one.related.len() == two.related.len()
                && one.related.iter().all(|of| related.get(of.uid()).is_some_and(|other| of.deep_eq(other)))
        }
    }
}

fn says_nothing(entity: &Entity) -> bool {
    entity.attrs_len() == 0 && entity.tags_len() == 0 && entity.ancestors().next().is_none()
}
