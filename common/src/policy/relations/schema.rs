//! The model: which types there are, in which relations their objects stand, and what follows from what. Clause Q-3.

use std::collections::BTreeMap;

use super::tuple::{Subject, TupleKey};
use crate::policy::fault::nearest;

/// Types of one model.
pub(super) const TYPES_MAX: usize = 256;
/// Relations of one model, all types together.
pub(super) const RELATIONS_MAX: usize = 2_048;

/// Number of a type.
pub(super) type TypeId = u16;
/// Number of a relation of a type.
pub(super) type RelationId = u16;

/// A relation model, checked. Made by [`RelationSchema::parse`].
#[derive(Debug, PartialEq, Eq)]
pub struct RelationSchema {
    pub(super) types: Vec<TypeDef>,
    pub(super) relations: Vec<RelationDef>,
    pub(super) by_name: BTreeMap<String, TypeId>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct TypeDef {
    pub(super) name: String,
    pub(super) relations: BTreeMap<String, RelationId>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct RelationDef {
    pub(super) name: String,
    pub(super) kind: TypeId,
    /// Who may stand in it by a tuple.
    pub(super) direct: Vec<Direct>,
    pub(super) expr: Expr,
    /// Whether nothing that it follows from takes away or asks for two things at once: a search decides it.
    pub(super) pure: bool,
}

impl RelationDef {
    /// Whether one stands in it by a tuple that names an object, and in no other way: an arrow may lead through it.
    pub(super) fn is_plain(&self) -> bool {
        self.expr == Expr::This && self.direct.iter().all(|direct| matches!(direct, Direct::Object(_)))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Direct {
    Object(TypeId),
    Userset(RelationId),
    Everyone(TypeId),
}

/// What a relation follows from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Expr {
    /// A tuple.
    This,
    /// Another relation to the same object.
    Computed(RelationId),
    /// A relation to an object that stands in `via` to this one; which one depends on the type of that object.
    Arrow {
        via: RelationId,
        to: Vec<(TypeId, RelationId)>,
    },
    Union(Vec<Expr>),
    Intersection(Vec<Expr>),
    Exclusion(Box<Expr>, Box<Expr>),
}

/// A tuple, or a question, that the model has no place for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// There is no such type.
    #[error("the relation model has no type `{name}`{}", hint(.near.as_deref()))]
    Type {
        /// What was named.
        name: String,
        /// What may have been meant.
        near: Option<String>,
    },
    /// The type has no such relation.
    #[error("type `{kind}` has no relation `{name}`{}", hint(.near.as_deref()))]
    Relation {
        /// The type.
        kind: String,
        /// What was named.
        name: String,
        /// What may have been meant.
        near: Option<String>,
    },
    /// The relation does not take such a subject.
    #[error("`{relation}` of `{kind}` takes {takes}, and not `{subject}`")]
    Subject {
        /// The type.
        kind: String,
        /// The relation.
        relation: String,
        /// What it takes.
        takes: String,
        /// What was named.
        subject: String,
    },
}

fn hint(near: Option<&str>) -> String {
    near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default()
}

impl RelationSchema {
    /// The names of the types.
    pub fn types(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }

    /// The names of the relations of a type; none where there is no such type.
    pub fn relations(&self, kind: &str) -> impl Iterator<Item = &str> {
        let of = self.by_name.get(kind).and_then(|id| self.types.get(usize::from(*id)));
        of.into_iter().flat_map(|of| of.relations.keys().map(String::as_str))
    }

    /// Whether the model has a place for a tuple.
    ///
    /// # Errors
    /// [`Unfit`].
    pub fn check(&self, key: &TupleKey) -> Result<(), Unfit> {
        let id = self.relation(&key.object.kind, &key.relation)?;
        let direct = self.direct_of(&key.subject)?;
        let Some(relation) = self.def(id) else { return Ok(()) };
        if relation.direct.contains(&direct) {
            return Ok(());
        }
        Err(Unfit::Subject {
            kind: key.object.kind.clone(),
            relation: key.relation.clone(),
            takes: self.takes(relation),
            subject: key.subject.to_string(),
        })
    }

    fn takes(&self, relation: &RelationDef) -> String {
        let name = |direct: &Direct| match direct {
            Direct::Object(kind) => self.type_name(*kind).to_owned(),
            Direct::Everyone(kind) => format!("{}:*", self.type_name(*kind)),
            Direct::Userset(id) => self.relation_name(*id),
        };
        let names: Vec<String> = relation.direct.iter().map(name).collect();
        if names.is_empty() { "no tuples, for it follows from others".to_owned() } else { names.join(", ") }
    }

    pub(super) fn direct_of(&self, subject: &Subject) -> Result<Direct, Unfit> {
        Ok(match subject {
            Subject::Object(object) => Direct::Object(self.kind(&object.kind)?),
            Subject::Everyone(kind) => Direct::Everyone(self.kind(kind)?),
            Subject::Userset(object, relation) => Direct::Userset(self.relation(&object.kind, relation)?),
        })
    }

    pub(super) fn kind(&self, name: &str) -> Result<TypeId, Unfit> {
        let unknown = || Unfit::Type { name: name.to_owned(), near: nearest(name, self.types()).map(str::to_owned) };
        self.by_name.get(name).copied().ok_or_else(unknown)
    }

    pub(super) fn relation(&self, kind: &str, name: &str) -> Result<RelationId, Unfit> {
        let of = self.kind(kind)?;
        let found = self.types.get(usize::from(of)).and_then(|of| of.relations.get(name)).copied();
        found.ok_or_else(|| Unfit::Relation {
            kind: kind.to_owned(),
            name: name.to_owned(),
            near: nearest(name, self.relations(kind)).map(str::to_owned),
        })
    }

    pub(super) fn def(&self, id: RelationId) -> Option<&RelationDef> {
        self.relations.get(usize::from(id))
    }

    pub(super) fn is_pure(&self, id: RelationId) -> bool {
        self.def(id).is_some_and(|relation| relation.pure)
    }

    pub(super) fn type_name(&self, id: TypeId) -> &str {
        self.types.get(usize::from(id)).map_or("", |of| &of.name)
    }

    /// `group#member`.
    pub(super) fn relation_name(&self, id: RelationId) -> String {
        self.def(id).map(|def| format!("{}#{}", self.type_name(def.kind), def.name)).unwrap_or_default()
    }

    /// Relations with their numbers.
    pub(super) fn numbered(&self) -> impl Iterator<Item = (RelationId, &RelationDef)> {
        (0..).zip(&self.relations)
    }
}

impl Expr {
    /// This one and everything below it.
    pub(super) fn walk<'e>(&'e self, see: &mut dyn FnMut(&'e Self)) {
        see(self);
        match self {
            Self::This | Self::Computed(_) | Self::Arrow { .. } => {}
            Self::Union(parts) | Self::Intersection(parts) => parts.iter().for_each(|part| part.walk(see)),
            Self::Exclusion(base, without) => {
                base.walk(see);
                without.walk(see);
            }
        }
    }
}
