//! What a schema says a value looks like, and turning JSON into exactly that.
//!
//! The context of a request is built from the schema's side: each name that the schema declares is looked up and
//! converted to its declared type. So it always validates, and a policy never meets a value of a type it was not
//! checked with.

use std::fmt;

use cedar_policy_core::validator::types::Type;

use super::Attribute;
use crate::policy::json::{Json, Mode, check};

/// The type of a value, as far as calls can supply one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Shape {
    Text,
    Long,
    Bool,
    Set(Box<Shape>),
    Record(Vec<Member>),
}

/// As a schema spells it.
impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text => f.write_str("String"),
            Self::Long => f.write_str("Long"),
            Self::Bool => f.write_str("Bool"),
            Self::Set(element) => write!(f, "Set<{element}>"),
            Self::Record(members) => {
                let members = members.iter().map(|member| {
                    format!("{}{}: {}", member.name, if member.required { "" } else { "?" }, member.shape)
                });
                write!(f, "{{ {} }}", members.collect::<Vec<_>>().join(", "))
            }
        }
    }
}

/// A member of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) required: bool,
    pub(crate) shape: Shape,
}

/// A value is not what the schema declares.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is not {expected}, as the schema declares")]
pub(crate) struct Misfit {
    pub(crate) name: String,
    pub(crate) expected: &'static str,
}

impl Shape {
    /// `None` for types that no call can supply: entities and extension values.
    pub(super) fn of(ty: &Type) -> Option<Self> {
        match ty {
            Type::String => Some(Self::Text),
            Type::Long => Some(Self::Long),
            Type::Bool(_) => Some(Self::Bool),
            Type::Set { element_type: Some(element) } => Some(Self::Set(Box::new(Self::of(element)?))),
            Type::Record { attrs, .. } => {
                let member = |(name, ty): (&_, &cedar_policy_core::validator::types::AttributeType)| {
                    let name = ToString::to_string(name);
                    Some(Member { name, required: ty.is_required(), shape: Self::of(&ty.attr_type)? })
                };
                attrs.iter().map(member).collect::<Option<_>>().map(Self::Record)
            }
            Type::Set { element_type: None } | Type::Never | Type::Entity(_) | Type::ExtensionType { .. } => None,
        }
    }

    /// A set of strings.
    pub(crate) fn is_texts(&self) -> bool {
        matches!(self, Self::Set(element) if **element == Self::Text)
    }

    /// What people call it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Text => "a String",
            Self::Long => "a Long",
            Self::Bool => "a Bool",
            Self::Set(_) => "a Set",
            Self::Record(_) => "a record",
        }
    }

    /// The value, if it has this shape. Members that the schema does not declare stay behind.
    pub(crate) fn fit(&self, name: &str, json: &Json) -> Result<Attribute, Misfit> {
        let misfit = || Misfit { name: name.to_owned(), expected: self.name() };
        Ok(match (self, json) {
            (Self::Text, Json::Text(text)) => Attribute::text(text),
            (Self::Long, Json::Int(number)) => Attribute::long(*number),
            (Self::Bool, Json::Bool(value)) => Attribute::bool(*value),
            (Self::Set(element), Json::Array(values)) => {
                let fitted: Result<Vec<_>, _> = values.iter().map(|value| element.fit(name, value)).collect();
                Attribute::set(fitted?)
            }
            // Below a free pointer names may repeat in another case; a policy reads only what has one reading.
            (Self::Record(members), Json::Object(_)) if check(json, Mode::Arguments, &[]).is_ok() => {
                Attribute::record(fit_members(name, members, json)?)
            }
            _ => return Err(misfit()),
        })
    }
}

/// The declared members of an object.
pub(crate) fn fit_members<'s>(
    name: &str,
    members: &'s [Member],
    json: &Json,
) -> Result<Vec<(&'s str, Attribute)>, Misfit> {
    let mut fitted = Vec::with_capacity(members.len());
    for member in members {
        let inner = format!("{name}.{}", member.name);
        match json.get(&member.name) {
            Some(value) => fitted.push((member.name.as_str(), member.shape.fit(&inner, value)?)),
            None if member.required => return Err(Misfit { name: inner, expected: "there" }),
            None => {}
        }
    }
    Ok(fitted)
}
