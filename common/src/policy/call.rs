//! What a call is: its arguments, read by the descriptor of its tool.
//!
//! Arguments are closed. Every path that a call carries is named by the descriptor, as something that has a meaning
//! or as free; what the descriptor does not know could mean anything to the tool, so it is refused. A pointer yields
//! the *set* of all values it reaches, and all of them have to be admitted. Clauses P-17 to P-19.

use std::collections::{BTreeMap, BTreeSet};

use super::catalogue::Tool;
use super::decision::{Denied, Reason};
use super::json::{Json, MalformedJson, Mode, Pointer, Step, check, path_text};
use crate::id::{DimensionName, ResourceId, ToolName};
use crate::lattice::{ArgumentPointer, ArgumentValue, CallFacts, Scalar, SortedMap};

/// The entity type of a tool that acts on no resource of its own.
pub const TOOL_KIND: &str = "Tool";

/// A call, before anything is known about its tool.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolCall {
    /// The tool's name, as the agent gave it.
    pub tool: ToolName,
    /// The arguments, as [`super::json::parse`] read them; an object.
    pub arguments: Json,
}

/// What a call acts on, for policies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resources {
    /// The entity type.
    pub kind: String,
    /// The ids; never empty.
    pub ids: BTreeSet<ResourceId>,
}

/// Arguments that the descriptor does not admit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArgumentFault {
    /// Not strict JSON.
    #[error("malformed arguments")]
    Malformed(#[source] MalformedJson),
    /// Not an object.
    #[error("arguments are an object")]
    NotAnObject,
    /// A path that the descriptor does not name.
    #[error("the descriptor does not name `{pointer}`")]
    UnmappedArgument {
        /// The path.
        pointer: String,
    },
    /// A value that stands for nothing: an empty list, an object, null, or an id outside its alphabet.
    #[error("`{pointer}` yields no value that could be judged")]
    UnmappedDimension {
        /// The dimension; `None` for a resource that is no dimension.
        dimension: Option<DimensionName>,
        /// Where the value should stand.
        pointer: String,
    },
}

impl ArgumentFault {
    /// The reason that stands in answers, records and metrics.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::Malformed(_) | Self::NotAnObject => Reason::Malformed,
            Self::UnmappedArgument { .. } => Reason::UnmappedArgument,
            Self::UnmappedDimension { .. } => Reason::UnmappedDimension,
        }
    }
}

impl From<ArgumentFault> for Denied {
    fn from(fault: ArgumentFault) -> Self {
        let detail = match &fault {
            ArgumentFault::Malformed(cause) => format!("{fault}: {cause}"),
            other => other.to_string(),
        };
        let mut denied = Denied::new(fault.reason(), detail);
        if let ArgumentFault::UnmappedDimension { dimension, .. } = fault {
            denied.dimension = dimension;
        }
        denied
    }
}

/// Reads a call by its tool's descriptor.
///
/// A dimension whose pointer reaches nothing at all is absent from the facts; whether that is enough is for the
/// scope to say. One that reaches only what has no value is a fault.
///
/// # Errors
/// [`ArgumentFault`] for arguments that are malformed, not closed or without the values they should have.
pub fn facts(tool: &Tool, call: &ToolCall) -> Result<(CallFacts, Resources), ArgumentFault> {
    let arguments = &call.arguments;
    if arguments.as_object().is_none() {
        return Err(ArgumentFault::NotAnObject);
    }
    check(arguments, Mode::Arguments, &tool.free).map_err(ArgumentFault::Malformed)?;
    let mut ids = BTreeMap::new();
    for (name, pointer) in &tool.dimensions {
        if let Some(values) = ids_at(pointer, arguments, Some(name))? {
            ids.insert(name.clone(), values);
        }
    }
    let mut amounts = BTreeMap::new();
    for (name, pointer) in &tool.amounts {
        if let Some(amount) = amount_at(pointer, arguments, name)? {
            amounts.insert(name.clone(), amount);
        }
    }
    let resources = resources_of(tool, arguments)?;
    check_closed(arguments, tool, &mut Vec::new())?;
    let result_maxima = tool.result_maxima();
    let definition = tool.definition;
    let facts =
        CallFacts { ids, amounts, result_maxima, definition, ..CallFacts::of_tool(tool.name.clone(), tool.effects) };
    Ok((facts, resources))
}

/// What the arguments are at these pointers, arrays at their end taken apart; a pointer that reaches nothing is absent.
/// Clause P-32.
pub(super) fn arguments_at<'p>(
    pointers: impl Iterator<Item = &'p ArgumentPointer>,
    arguments: &Json,
) -> SortedMap<ArgumentPointer, Vec<ArgumentValue>> {
    let mut found = SortedMap::new();
    for pointer in pointers {
        if found.contains_key(pointer) {
            continue;
        }
        // Every text that is one of theirs is one of ours; one that were not would reach nothing, which is refused.
        let Ok(path) = pointer.as_str().parse::<Pointer>() else { continue };
        if let Some(values) = path.values(arguments) {
            found.insert(pointer.clone(), values.into_iter().map(value_of).collect());
        }
    }
    found
}

fn value_of(json: &Json) -> ArgumentValue {
    match json {
        Json::Bool(value) => ArgumentValue::Scalar(Scalar::Bool(*value)),
        Json::Int(number) => ArgumentValue::Scalar(Scalar::Int(*number)),
        Json::Text(text) => ArgumentValue::Scalar(Scalar::from(text.as_str())),
        Json::Null | Json::Float(_) | Json::Number(_) | Json::Array(_) | Json::Object(_) => ArgumentValue::Other,
    }
}

fn resources_of(tool: &Tool, arguments: &Json) -> Result<Resources, ArgumentFault> {
    let Some(rule) = &tool.resource else {
        let own = ResourceId::new(tool.name.as_str());
        return Ok(Resources { kind: TOOL_KIND.to_owned(), ids: own.into_iter().collect() });
    };
    let dimension = tool.dimensions.iter().find(|(_, pointer)| *pointer == rule.id).map(|(name, _)| name);
    match ids_at(&rule.id, arguments, dimension)? {
        Some(ids) => Ok(Resources { kind: rule.kind.clone(), ids }),
        None => Err(unmapped(&rule.id, dimension)),
    }
}

fn unmapped(pointer: &Pointer, dimension: Option<&DimensionName>) -> ArgumentFault {
    ArgumentFault::UnmappedDimension { dimension: dimension.cloned(), pointer: pointer.to_string() }
}

/// The ids that a pointer reaches; `None` when it reaches nothing at all.
fn ids_at(
    pointer: &Pointer,
    arguments: &Json,
    dimension: Option<&DimensionName>,
) -> Result<Option<BTreeSet<ResourceId>>, ArgumentFault> {
    let Some(values) = pointer.values(arguments) else { return Ok(None) };
    let id = |value: &&Json| match value {
        Json::Text(text) => ResourceId::new(text).ok(),
        Json::Int(number) => ResourceId::new(&number.to_string()).ok(),
        _ => None,
    };
    let ids: Option<BTreeSet<ResourceId>> = values.iter().map(id).collect();
    match ids {
        Some(ids) if !ids.is_empty() => Ok(Some(ids)),
        _ => Err(unmapped(pointer, dimension)),
    }
}

/// The sum of the quantities that a pointer reaches; `None` when it reaches nothing at all.
fn amount_at(pointer: &Pointer, arguments: &Json, name: &DimensionName) -> Result<Option<u64>, ArgumentFault> {
    let Some(values) = pointer.values(arguments) else { return Ok(None) };
    let add = |sum: u64, value: &&Json| sum.checked_add(u64::try_from(value.as_int()?).ok()?);
    let sum = values.iter().try_fold(0, add).filter(|_| !values.is_empty());
    sum.map(Some).ok_or_else(|| unmapped(pointer, Some(name)))
}

/// Every leaf is reached by a pointer that has a meaning, or lies at or below a free one. An empty list or object is
/// a leaf, too: a tool may well give it a meaning.
fn check_closed<'a>(value: &'a Json, tool: &Tool, path: &mut Vec<Step<'a>>) -> Result<(), ArgumentFault> {
    match value {
        Json::Object(members) if !members.is_empty() => {
            for (key, member) in members {
                path.push(Step::Key(key));
                check_closed(member, tool, path)?;
                path.pop();
            }
        }
        Json::Array(elements) if !elements.is_empty() => {
            for (index, element) in elements.iter().enumerate() {
                path.push(Step::Index(index));
                check_closed(element, tool, path)?;
                path.pop();
            }
        }
        _ => {
            let named = tool.mapped().any(|pointer| pointer.yields(path));
            let free = || tool.free.iter().any(|pointer| pointer.is_above(path));
            if !path.is_empty() && !named && !free() {
                return Err(ArgumentFault::UnmappedArgument { pointer: path_text(path) });
            }
        }
    }
    Ok(())
}
