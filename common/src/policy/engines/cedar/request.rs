//! Requests, built from parts whose types were parsed when the bundle was loaded. No JSON on the way of a call.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use cedar_policy_core::ast::{self, Eid, Entity, EntityType, EntityUID, Literal, PartialValue, Value, ValueKind};

/// An entity type, parsed once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kind(pub(super) EntityType);

/// A text is not the name of an entity type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not the name of an entity type")]
pub struct InvalidKind(pub String);

/// Somebody or something a question is about, with what is known of it.
#[derive(Debug, Clone)]
pub struct Subject {
    pub(super) uid: Arc<EntityUID>,
    /// `None`: the entity has no attributes and no parents.
    pub(super) entity: Option<Arc<Entity>>,
    /// What its attributes lead to.
    pub(super) related: Arc<[Arc<Entity>]>,
}

/// A value of an attribute or of the context.
#[derive(Debug, Clone)]
pub struct Attribute(pub(super) Value);

/// The circumstances of a call. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Context(ast::Context);

impl Kind {
    /// Parses the name of an entity type, `Contract` or `Crm::Note`.
    ///
    /// # Errors
    /// [`InvalidKind`] when Cedar could not spell it.
    pub fn new(name: &str) -> Result<Self, InvalidKind> {
        name.parse().map(Self).map_err(|_| InvalidKind(name.chars().take(64).collect()))
    }

    /// The name, as Cedar writes it.
    #[must_use]
    pub fn name(&self) -> String {
        self.0.to_string()
    }

    pub(super) fn uid(&self, id: &str) -> EntityUID {
        EntityUID::from_components(self.0.clone(), Eid::new(id), None)
    }
}

impl Subject {
    /// An entity of which nothing is known but its name.
    #[must_use]
    pub fn named(kind: &Kind, id: &str) -> Self {
        Self { uid: kind.uid(id).into(), entity: None, related: [].into() }
    }

    /// An entity that no store knows, with attributes and parents of its own.
    #[must_use]
    pub fn new<'a>(
        kind: &Kind,
        id: &str,
        attributes: impl IntoIterator<Item = (&'a str, Attribute)>,
        parents: impl IntoIterator<Item = Self>,
    ) -> Self {
        let uid = kind.uid(id);
        let (mut direct, mut above) = (HashSet::new(), HashSet::new());
        for parent in parents {
            above.extend(parent.entity.iter().flat_map(|entity| entity.ancestors().cloned()));
            direct.insert((*parent.uid).clone());
        }
        above.retain(|ancestor| !direct.contains(ancestor));
        let attributes =
            attributes.into_iter().map(|(name, attribute)| (name.into(), PartialValue::Value(attribute.0)));
        let entity = Entity::new_with_attr_partial_value(uid.clone(), attributes, above, direct, []);
        Self { uid: uid.into(), entity: Some(entity.into()), related: [].into() }
    }

    /// The same, below one more parent.
    #[must_use]
    pub fn with_parent(self, parent: &Self) -> Self {
        let known = self.entity.as_deref();
        if known.is_some_and(|entity| entity.is_descendant_of(&parent.uid)) {
            return self;
        }
        let mut direct: HashSet<EntityUID> = known.into_iter().flat_map(Entity::parents).cloned().collect();
        direct.insert((*parent.uid).clone());
        let mut above: HashSet<EntityUID> = known.into_iter().flat_map(Entity::ancestors).cloned().collect();
        above.extend(parent.entity.iter().flat_map(|entity| entity.ancestors().cloned()));
        above.retain(|ancestor| !direct.contains(ancestor));
        let copied = |(name, value): (_, &PartialValue)| (Clone::clone(name), value.clone());
        let attributes = known.into_iter().flat_map(Entity::attrs).map(copied);
        let tags = known.into_iter().flat_map(Entity::tags).map(copied);
        let entity = Entity::new_with_attr_partial_value((*self.uid).clone(), attributes, above, direct, tags);
        Self { entity: Some(entity.into()), ..self }
    }

    /// Whether it is known to have this attribute.
    pub(crate) fn has(&self, attribute: &str) -> bool {
        self.entity.as_ref().is_some_and(|entity| entity.get(attribute).is_some())
    }

    /// The same, with these attributes besides; what is known already stays as it is.
    #[must_use]
    pub(crate) fn with_attributes<'a>(self, attributes: impl IntoIterator<Item = (&'a str, Attribute)>) -> Self {
        let known = self.entity.as_deref();
        let copied = |(name, value): (_, &PartialValue)| (Clone::clone(name), value.clone());
        let mut all: HashMap<_, PartialValue> =
            attributes.into_iter().map(|(name, value)| (name.into(), PartialValue::Value(value.0))).collect();
        all.extend(known.into_iter().flat_map(Entity::attrs).map(copied));
        if all.is_empty() {
            return self;
        }
        let direct = known.into_iter().flat_map(Entity::parents).cloned().collect();
        let above: HashSet<EntityUID> = known.into_iter().flat_map(Entity::ancestors).cloned().collect();
        let above = above.difference(&direct).cloned().collect();
        let tags = known.into_iter().flat_map(Entity::tags).map(copied);
        let entity = Entity::new_with_attr_partial_value((*self.uid).clone(), all, above, direct, tags);
        Self { entity: Some(entity.into()), ..self }
    }

    /// The id.
    #[must_use]
    pub fn id(&self) -> &str {
        self.uid.eid().as_ref()
    }

    /// Whether it is of this type.
    #[must_use]
    pub fn is_of(&self, kind: &Kind) -> bool {
        *self.uid.entity_type() == kind.0
    }

    /// Type and id, as Cedar writes them: `Contract::"7781"`.
    #[must_use]
    pub fn name(&self) -> String {
        self.uid.to_string()
    }
}

impl Attribute {
    /// A string.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self(Value::new(text, None))
    }

    /// An integer.
    #[must_use]
    pub fn long(number: i64) -> Self {
        Self(Value::new(number, None))
    }

    /// A boolean.
    #[must_use]
    pub fn bool(value: bool) -> Self {
        Self(Value::new(value, None))
    }

    /// A set of strings.
    #[must_use]
    pub fn texts<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        Self(Value::set_of_lits(texts.into_iter().map(Literal::from), None))
    }

    /// A set.
    #[must_use]
    pub fn set(elements: impl IntoIterator<Item = Self>) -> Self {
        Self(Value::set(elements.into_iter().map(|element| element.0), None))
    }

    /// A record.
    #[must_use]
    pub fn record<'a>(members: impl IntoIterator<Item = (&'a str, Self)>) -> Self {
        Self(Value::record(members.into_iter().map(|(name, value)| (name, value.0)), None))
    }
}

impl Context {
    /// The circumstances with these names and values.
    #[must_use]
    pub fn new<'a>(members: impl IntoIterator<Item = (&'a str, Attribute)>) -> Self {
        match Attribute::record(members).0.value {
            ValueKind::Record(members) => Self(ast::Context::Value(members)),
            // INVARIANT: a record is what `record` makes.
            _ => Self(ast::Context::empty()),
        }
    }

    /// A context that Cedar read itself.
    pub(super) fn from_cedar(context: ast::Context) -> Self {
        Self(context)
    }

    pub(super) fn to_cedar(&self) -> ast::Context {
        self.0.clone()
    }
}
