//! The schema in force: the one that administrators wrote, and for each tool the arguments that its catalogue entry
//! describes. Clause P-51.

use std::collections::{BTreeMap, BTreeSet};

use cedar_policy_core::validator::RawName;
use cedar_policy_core::validator::json_schema::{
    Fragment, NamespaceDefinition, RecordType, Type, TypeOfAttribute, TypeVariant,
};
use serde_json::{Value, json};

use super::{Member, Shape};

/// The member of the context that arguments are in.
const ARGS: &str = "args";
/// Common types that lead to one another; Cedar refuses a circle before.
const ALIASES_MAX: usize = 16;

/// Adds `args` to the context of each action that does not declare it; says for which it did.
pub(super) fn add(
    fragment: &mut Fragment<RawName>,
    arguments: &BTreeMap<&str, Vec<Member>>,
) -> Result<BTreeSet<String>, serde_json::Error> {
    let mut added = BTreeSet::new();
    let Some(definition) = fragment.0.get_mut(&None) else { return Ok(added) };
    for (tool, members) in arguments {
        let Some(context) = definition
            .actions
            .get(*tool)
            .and_then(|action| action.applies_to.as_ref())
            .and_then(|applies| written_out(definition, &applies.context.0))
        else {
            continue;
        };
        if context.attributes.contains_key(ARGS) {
            continue;
        }
        let mut context = context.clone();
        let args: TypeOfAttribute<RawName> = serde_json::from_value(record(members))?;
        context.attributes.insert(ARGS.into(), args);
        if let Some(applies) = definition.actions.get_mut(*tool).and_then(|action| action.applies_to.as_mut()) {
            let loc = applies.context.loc().cloned();
            applies.context.0 = Type::Type { ty: TypeVariant::Record(context), loc };
            added.insert((*tool).to_owned());
        }
    }
    Ok(added)
}

/// The record that a context is, through names of common types of its namespace.
fn written_out<'d>(
    definition: &'d NamespaceDefinition<RawName>,
    context: &'d Type<RawName>,
) -> Option<&'d RecordType<RawName>> {
    let mut found = context;
    for _ in 0..ALIASES_MAX {
        let name = match found {
            Type::Type { ty: TypeVariant::Record(record), .. } => return Some(record),
            Type::Type { ty: TypeVariant::EntityOrCommon { type_name }, .. }
            | Type::CommonTypeRef { type_name, .. } => type_name.to_string(),
            Type::Type { .. } => return None,
        };
        found = definition.common_types.iter().find(|(id, _)| id.to_string() == name).map(|(_, common)| &common.ty)?;
    }
    None
}

fn record(members: &[Member]) -> Value {
    let members = members.iter().map(|member| {
        let mut ty = ty(&member.shape);
        if let Value::Object(fields) = &mut ty {
            fields.insert("required".to_owned(), Value::Bool(member.required));
        }
        (member.name.clone(), ty)
    });
    json!({ "type": "Record", "attributes": Value::Object(members.collect()) })
}

fn ty(shape: &Shape) -> Value {
    match shape {
        Shape::Text => json!({ "type": "String" }),
        Shape::Long => json!({ "type": "Long" }),
        Shape::Bool => json!({ "type": "Boolean" }),
        Shape::Set(element) => json!({ "type": "Set", "element": ty(element) }),
        Shape::Record(members) => record(members),
    }
}
