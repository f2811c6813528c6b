//! The bundle's entities, and the few of them that one request needs.
//!
//! Cedar's own store is one value that costs its whole size to change. So ours is a map, and Cedar gets the slice
//! that a request can reach: its principal, action and resource, what the policies in question name, and whatever
//! the attributes of those lead to.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use cedar_policy_core::ast::{Entity, EntityUID, PartialValue};
use cedar_policy_core::entities::{Entities, EntityJsonParser, NoEntitiesSchema, TCComputation};
use cedar_policy_core::extensions::Extensions;
use cedar_policy_core::validator::CoreSchema;

use super::faults::{quoted_place, whole};
use super::parse::CedarSchema;
use super::{Kind, Query};
use crate::policy::fault::{PolicyFault, Source};
use crate::policy::json::{Mode, Place, parse};

/// Entities that the attributes of one entity may lead to. An organisation's tree stays far below; a list that
/// somebody linked through attributes would cost its length squared.
const RELATED_MAX: usize = 256;

#[derive(Debug, Default)]
pub(super) struct Store(HashMap<EntityUID, Held>);

/// An entity and everything that its attributes lead to.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) entity: Arc<Entity>,
    pub(super) related: Arc<[Arc<Entity>]>,
}

impl Store {
    /// # Errors
    /// Every fault of the entities.
    pub(super) fn load(entities: Option<(&str, &str)>, schema: Option<&CedarSchema>) -> Result<Self, Vec<PolicyFault>> {
        let (file, text) = entities.unwrap_or(("entities.json", "[]"));
        let source = Source { file, text };
        parse(text.as_bytes(), Mode::Protocol).map_err(|error| {
            let offset = match &error.place {
                Place::Byte(offset) => *offset,
                Place::Pointer(_) => 0,
            };
            vec![source.fault(offset, error.to_string())]
        })?;
        let extensions = Extensions::all_available();
        let parsed = match schema {
            Some(schema) => {
                let schema = CoreSchema::new(&schema.0);
                EntityJsonParser::new(Some(&schema), extensions, TCComputation::ComputeNow).from_json_str(text)
            }
            None => EntityJsonParser::new(None::<&NoEntitiesSchema>, extensions, TCComputation::ComputeNow)
                .from_json_str(text),
        };
        let entities = parsed.map_err(|error| vec![quoted_place(&source, &error)])?;
        let plain: HashMap<EntityUID, Arc<Entity>> =
            entities.iter().map(|entity| (entity.uid().clone(), Arc::new(entity.clone()))).collect();
        let mut held = HashMap::with_capacity(plain.len());
        for (uid, entity) in &plain {
            let related = related(entity, &plain).ok_or_else(|| {
                let message = format!("the attributes of `{uid}` lead to more than {RELATED_MAX} entities");
                vec![whole(&source, message)]
            })?;
            held.insert(uid.clone(), Held { entity: entity.clone(), related: related.into() });
        }
        Ok(Self(held))
    }

    pub(super) fn get(&self, uid: &EntityUID) -> Option<&Held> {
        self.0.get(uid)
    }

    /// Every entity, in no order.
    pub(super) fn all(&self) -> impl Iterator<Item = &Entity> {
        self.0.values().map(|held| &*held.entity)
    }

    /// Every entity of a type.
    pub(super) fn of_kind(&self, kind: &Kind) -> impl Iterator<Item = &Entity> {
        self.0.values().map(|held| &*held.entity).filter(|entity| *entity.uid().entity_type() == kind.0)
    }

    /// Every entity that the attributes of one lead to.
    pub(super) fn references(&self) -> impl Iterator<Item = EntityUID> {
        self.0.values().flat_map(|held| references(&held.entity))
    }

    /// The entities that a request can reach.
    ///
    /// # Errors
    /// Cedar's words, should it find two different entities of one name.
    pub(super) fn slice<'a>(
        &self,
        query: &Query<'_>,
        mentions: impl Iterator<Item = &'a EntityUID>,
    ) -> Result<Entities, String> {
        let subjects = [query.principal, query.action, query.resource];
        let mut entities: Vec<Arc<Entity>> = subjects.iter().filter_map(|subject| subject.entity.clone()).collect();
        // What a request says about its own subjects holds, also where another entity leads to one of them.
        let is_subject = |entity: &Entity| subjects.iter().any(|subject| subject.uid.as_ref() == entity.uid());
        let related = subjects.iter().flat_map(|subject| subject.related.iter());
        let mentioned = mentions.filter_map(|uid| self.get(uid));
        let mentioned = mentioned.flat_map(|held| std::iter::once(&held.entity).chain(held.related.iter()));
        entities.extend(related.chain(mentioned).filter(|entity| !is_subject(entity)).cloned());
        let computed = TCComputation::AssumeAlreadyComputed;
        Entities::new()
            .add_entities(entities, None::<&NoEntitiesSchema>, computed, Extensions::all_available())
            .map_err(|error| error.to_string())
    }
}

/// Everything that the attributes and tags of an entity lead to; `None` beyond the bound.
fn related(entity: &Entity, all: &HashMap<EntityUID, Arc<Entity>>) -> Option<Vec<Arc<Entity>>> {
    let (mut found, mut seen) = (Vec::new(), HashSet::from([entity.uid().clone()]));
    let mut todo = references(entity);
    while let Some(uid) = todo.pop() {
        let Some(next) = all.get(&uid) else { continue };
        if seen.insert(uid) {
            if found.len() >= RELATED_MAX {
                return None;
            }
            todo.extend(references(next));
            found.push(next.clone());
        }
    }
    Some(found)
}

fn references(entity: &Entity) -> Vec<EntityUID> {
    let values = entity.attrs().chain(entity.tags()).map(|(_, value)| value);
    let uids = values.filter_map(|value| match value {
        PartialValue::Value(value) => Some(value.all_literal_uids()),
        PartialValue::Residual(_) => None,
    });
    uids.flatten().collect()
}
