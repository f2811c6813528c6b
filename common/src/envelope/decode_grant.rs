//! The grants of a link (clause E-5), decoded as strictly as the rest of it.

use std::cmp::Ordering;

use super::cbor::{Keys, Reader, Texts};
use super::error::ShapeFault;
use crate::crypto::digest::Digest;
use crate::id::{DimensionName, ResourceId, ToolName};
use crate::lattice::{
    ArgumentPointer, ClassSet, Constraint, Effects, Grant, IdSet, PathPrefix, Pin, Scalar, SortedMap, ToolPattern,
};
use crate::limits::{DIMENSIONS_MAX, GRANTS_MAX, IDS_MAX, LINK_PATTERNS_MAX, PATTERNS_MAX};

/// All grants of a link, and the first thing in them that could not be enforced.
pub(super) fn grants(reader: &mut Reader<'_>) -> Result<(Vec<Grant>, Option<&'static str>), ShapeFault> {
    let mut unenforceable = None;
    let count = reader.array("grants", 1, GRANTS_MAX)?;
    let mut grants = Vec::with_capacity(count);
    let mut patterns = 0usize;
    for _ in 0..count {
        let grant = grant(reader)?;
        // "All but these" holds only where each resource has one spelling, which no tool can promise yet.
        if grant.ids.iter().any(|(_, set)| matches!(set, IdSet::NotIn(ids) if !ids.is_empty())) {
            unenforceable.get_or_insert("grant.ids all-but");
        }
        patterns = patterns.saturating_add(grant.tools.len());
        if patterns > LINK_PATTERNS_MAX {
            return Err(ShapeFault::Count { at: "grant.tools" });
        }
        grants.push(grant);
    }
    Ok((grants, unenforceable))
}

fn grant(reader: &mut Reader<'_>) -> Result<Grant, ShapeFault> {
    let entries = reader.map("grant", 2, 9)?;
    let mut keys = Keys::of("grant");
    let (mut of, mut tools, mut rest) = (None, None, Grant::default());
    for _ in 0..entries {
        match keys.next(reader)? {
            1 => of = Some(reader.small("grant.of")?),
            2 => tools = Some(patterns(reader)?),
            3 => rest.pins = pins(reader)?,
            4 => rest.ids = dimensions(reader, "grant.ids", id_set)?,
            5 => rest.maxima = dimensions(reader, "grant.maxima", |reader| reader.uint("grant.maxima"))?,
            6 => rest.classes = Some(class_set(reader)?),
            7 => {
                let bits = reader.uint("grant.effects")?;
                rest.effects = Some(Effects::from_bits(bits).ok_or(ShapeFault::Value { at: "grant.effects" })?);
            }
            8 => rest.args = arguments(reader)?,
            // Absent is false, so that false has one encoding.
            9 if reader.bool("grant.future")? => rest.future = true,
            9 => return Err(ShapeFault::Value { at: "grant.future" }),
            _ => return Err(ShapeFault::UnknownKey { at: "grant" }),
        }
    }
    Ok(Grant {
        of: of.ok_or(ShapeFault::Missing { at: "grant.of" })?,
        tools: tools.ok_or(ShapeFault::Missing { at: "grant.tools" })?,
        ..rest
    })
}

fn patterns(reader: &mut Reader<'_>) -> Result<Vec<ToolPattern>, ShapeFault> {
    let count = reader.array("grant.tools", 1, PATTERNS_MAX)?;
    let mut order = Texts::new();
    let mut patterns = Vec::with_capacity(count);
    for _ in 0..count {
        let text = reader.text("grant.tools")?;
        order.check(text, ShapeFault::Unsorted { at: "grant.tools" })?;
        patterns.push(ToolPattern::new(text).map_err(|_| ShapeFault::Value { at: "grant.tools" })?);
    }
    Ok(patterns)
}

fn class_set(reader: &mut Reader<'_>) -> Result<ClassSet, ShapeFault> {
    let bytes = reader.bytes("grant.classes", 32)?;
    ClassSet::from_bytes(bytes).map_err(|_| ShapeFault::Value { at: "grant.classes" })
}

/// A map from dimensions to something.
fn dimensions<'b, T>(
    reader: &mut Reader<'b>,
    at: &'static str,
    value: impl Fn(&mut Reader<'b>) -> Result<T, ShapeFault>,
) -> Result<SortedMap<DimensionName, T>, ShapeFault> {
    let count = reader.map(at, 1, DIMENSIONS_MAX)?;
    let mut order = Texts::new();
    let mut map = SortedMap::new();
    for _ in 0..count {
        let name = reader.text(at)?;
        order.check(name, ShapeFault::KeyOrder { at })?;
        let name = DimensionName::new(name).map_err(|_| ShapeFault::Value { at })?;
        map.insert(name, value(reader)?);
    }
    Ok(map)
}

fn id_set(reader: &mut Reader<'_>) -> Result<IdSet, ShapeFault> {
    reader.array("grant.ids", 2, 2)?;
    let kind = reader.uint("grant.ids")?;
    let count = reader.array("grant.ids", 0, IDS_MAX)?;
    let mut order = Texts::new();
    let mut ids: Vec<ResourceId> = Vec::with_capacity(count);
    for _ in 0..count {
        let id = reader.text("grant.ids")?;
        order.check(id, ShapeFault::Unsorted { at: "grant.ids" })?;
        ids.push(id.parse().map_err(|_| ShapeFault::Value { at: "grant.ids" })?);
    }
    let ids = ids.into_iter().collect();
    match kind {
        0 => Ok(IdSet::In(ids)),
        1 => Ok(IdSet::NotIn(ids)),
        _ => Err(ShapeFault::Value { at: "grant.ids" }),
    }
}

/// The definition that a tool must have, by the tool's name.
fn pins(reader: &mut Reader<'_>) -> Result<SortedMap<ToolName, Pin>, ShapeFault> {
    const AT: &str = "grant.pins";
    let count = reader.map(AT, 1, PATTERNS_MAX)?;
    let mut order = Texts::new();
    let mut pins = SortedMap::new();
    for _ in 0..count {
        let tool = reader.text(AT)?;
        order.check(tool, ShapeFault::KeyOrder { at: AT })?;
        let tool = ToolName::new(tool).map_err(|_| ShapeFault::Value { at: AT })?;
        pins.insert(tool, Pin::Is(Digest(reader.exactly(AT)?)));
    }
    Ok(pins)
}

/// What arguments have to be, by JSON pointer.
fn arguments(reader: &mut Reader<'_>) -> Result<SortedMap<ArgumentPointer, Constraint>, ShapeFault> {
    let count = reader.map(ARGS, 1, DIMENSIONS_MAX)?;
    let mut order = Texts::new();
    let mut args = SortedMap::new();
    for _ in 0..count {
        let pointer = reader.text(ARGS)?;
        order.check(pointer, ShapeFault::KeyOrder { at: ARGS })?;
        let pointer = pointer.parse().map_err(|_| ShapeFault::Value { at: ARGS })?;
        args.insert(pointer, constraint(reader)?);
    }
    Ok(args)
}

const ARGS: &str = "grant.args";

fn constraint(reader: &mut Reader<'_>) -> Result<Constraint, ShapeFault> {
    let items = reader.array(ARGS, 2, 3)?;
    match (reader.uint(ARGS)?, items) {
        (0, 2) => Ok(Constraint::one_of([scalar(reader)?])),
        // A single value has an encoding of its own.
        (1, 2) => {
            let count = reader.array(ARGS, 2, IDS_MAX)?;
            let mut values: Vec<Scalar> = Vec::with_capacity(count);
            for _ in 0..count {
                let value = scalar(reader)?;
                if values.last().is_some_and(|last| last.encoded_order(&value) != Ordering::Less) {
                    return Err(ShapeFault::Unsorted { at: ARGS });
                }
                values.push(value);
            }
            Ok(Constraint::one_of(values))
        }
        (2, 3) => {
            let (low, high) = (reader.int(ARGS)?, reader.int(ARGS)?);
            if low > high { Err(ShapeFault::Value { at: ARGS }) } else { Ok(Constraint::within(low, high)) }
        }
        (3, 2) => {
            let prefix = PathPrefix::new(reader.text(ARGS)?).map_err(|_| ShapeFault::Value { at: ARGS })?;
            Ok(Constraint::below(prefix))
        }
        (4, 2) => Ok(Constraint::length_max(reader.small(ARGS)?)),
        _ => Err(ShapeFault::Value { at: ARGS }),
    }
}

/// A text, an integer or a truth value.
fn scalar(reader: &mut Reader<'_>) -> Result<Scalar, ShapeFault> {
    use minicbor::data::Type::{Bool, String};
    match reader.next_type() {
        Some(Bool) => reader.bool(ARGS).map(Scalar::Bool),
        Some(String) => reader.text(ARGS).map(Scalar::from),
        _ => reader.int(ARGS).map(Scalar::Int),
    }
}
