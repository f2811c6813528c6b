//! Keys of the format that this version cannot enforce: decoded as strictly as the others, then refused by name.
//!
//! Nothing is kept of them. When one becomes enforceable, its decoder moves beside the others and gains an encoder.

use super::cbor::{Keys, Reader, Texts};
use super::error::ShapeFault;
use crate::crypto::digest::Digest;
use crate::id::{EdgeId, Region, ToolName};
use crate::limits::{DIMENSIONS_MAX, IDS_MAX, LINK_TEXT_BYTES_MAX, PATTERNS_MAX};

/// Regions or edges of one audience.
const AUDIENCE_MAX: usize = 64;
/// Keys that may have to approve.
const APPROVALS_MAX: usize = 16;
/// Leases that a countersignature may name.
const LEASES_MAX: usize = 16;

/// `aud`: where the link holds.
pub(super) fn audience(reader: &mut Reader<'_>) -> Result<(), ShapeFault> {
    let entries = reader.map("aud", 1, 2)?;
    let mut keys = Keys::of("aud");
    for _ in 0..entries {
        match keys.next(reader)? {
            1 => names::<Region>(reader, "aud.regions")?,
            2 => names::<EdgeId>(reader, "aud.edges")?,
            _ => return Err(ShapeFault::UnknownKey { at: "aud" }),
        }
    }
    Ok(())
}

fn names<T: std::str::FromStr>(reader: &mut Reader<'_>, at: &'static str) -> Result<(), ShapeFault> {
    let count = reader.array(at, 0, AUDIENCE_MAX)?;
    let mut order = Texts::new();
    for _ in 0..count {
        let name = reader.text(at)?;
        order.check(name, ShapeFault::Unsorted { at })?;
        name.parse::<T>().map_err(|_| ShapeFault::Value { at })?;
    }
    Ok(())
}

/// `obligations`: what must be met besides being permitted.
pub(super) fn obligations(reader: &mut Reader<'_>) -> Result<(), ShapeFault> {
    let entries = reader.map("obligations", 1, 4)?;
    let mut keys = Keys::of("obligations");
    for _ in 0..entries {
        match keys.next(reader)? {
            1 => at_most(reader, "obligations.min_pop", 3)?,
            2 => digests(reader, "obligations.approvals", APPROVALS_MAX)?,
            3 => drop(reader.small::<u32>("obligations.redact")?),
            4 => drop(reader.small::<u8>("obligations.log")?),
            _ => return Err(ShapeFault::UnknownKey { at: "obligations" }),
        }
    }
    Ok(())
}

fn at_most(reader: &mut Reader<'_>, at: &'static str, max: u64) -> Result<(), ShapeFault> {
    if reader.uint(at)? > max { Err(ShapeFault::Value { at }) } else { Ok(()) }
}

fn digests(reader: &mut Reader<'_>, at: &'static str, max: usize) -> Result<(), ShapeFault> {
    let count = reader.array(at, 1, max)?;
    let mut last = None;
    for _ in 0..count {
        let digest = Digest(reader.exactly(at)?);
        if last.is_some_and(|last| digest <= last) {
            return Err(ShapeFault::Unsorted { at });
        }
        last = Some(digest);
    }
    Ok(())
}

/// `budgets`: what may be consumed, by unit.
pub(super) fn budgets(reader: &mut Reader<'_>) -> Result<(), ShapeFault> {
    let count = reader.map("budgets", 1, DIMENSIONS_MAX)?;
    let mut order = Texts::new();
    for _ in 0..count {
        order.check(reader.text("budgets")?, ShapeFault::KeyOrder { at: "budgets" })?;
        reader.uint("budgets")?;
    }
    Ok(())
}

/// A grant's `pins`: the definition that a tool must have.
pub(super) fn pins(reader: &mut Reader<'_>) -> Result<(), ShapeFault> {
    let count = reader.map("grant.pins", 1, PATTERNS_MAX)?;
    let mut order = Texts::new();
    for _ in 0..count {
        let tool = reader.text("grant.pins")?;
        order.check(tool, ShapeFault::KeyOrder { at: "grant.pins" })?;
        ToolName::new(tool).map_err(|_| ShapeFault::Value { at: "grant.pins" })?;
        reader.exactly::<32>("grant.pins")?;
    }
    Ok(())
}

/// A grant's `args`: constraints on arguments, by JSON pointer.
pub(super) fn arguments(reader: &mut Reader<'_>) -> Result<(), ShapeFault> {
    const AT: &str = "grant.args";
    let count = reader.map(AT, 1, DIMENSIONS_MAX)?;
    let mut order = Texts::new();
    for _ in 0..count {
        let pointer = reader.text(AT)?;
        order.check(pointer, ShapeFault::KeyOrder { at: AT })?;
        if !pointer.starts_with('/') {
            return Err(ShapeFault::Value { at: AT });
        }
        constraint(reader)?;
    }
    Ok(())
}

fn constraint(reader: &mut Reader<'_>) -> Result<(), ShapeFault> {
    const AT: &str = "grant.args";
    let items = reader.array(AT, 2, 3)?;
    match (reader.uint(AT)?, items) {
        (0, 2) => scalar(reader).map(drop),
        (1, 2) => {
            let count = reader.array(AT, 1, IDS_MAX)?;
            let mut last: Option<&[u8]> = None;
            for _ in 0..count {
                let item = scalar(reader)?;
                if last.is_some_and(|last| item <= last) {
                    return Err(ShapeFault::Unsorted { at: AT });
                }
                last = Some(item);
            }
            Ok(())
        }
        (2, 3) => {
            let (low, high) = (reader.int(AT)?, reader.int(AT)?);
            if low > high { Err(ShapeFault::Value { at: AT }) } else { Ok(()) }
        }
        (3, 2) => reader.text(AT).map(drop),
        (4, 2) => at_most(reader, AT, u64::from(u32::MAX)),
        _ => Err(ShapeFault::Value { at: AT }),
    }
}

/// A constant: a text, an integer or a truth value. Gives back its encoding, by which sets are sorted.
fn scalar<'b>(reader: &mut Reader<'b>) -> Result<&'b [u8], ShapeFault> {
    use minicbor::data::Type::{Bool, String};
    const AT: &str = "grant.args";
    let start = reader.position();
    match reader.next_type() {
        Some(Bool) => reader.bool(AT).map(drop)?,
        Some(String) => reader.text(AT).map(drop)?,
        _ => reader.int(AT).map(drop)?,
    }
    Ok(reader.since(start))
}

/// Countersignatures of a presentation: evidence that hops were registered, by link index.
pub(super) fn countersignatures(reader: &mut Reader<'_>, links: usize) -> Result<(), ShapeFault> {
    const AT: &str = "countersignatures";
    let count = reader.map(AT, 1, links)?;
    let mut keys = Keys::of(AT);
    for _ in 0..count {
        if usize::try_from(keys.next(reader)?).map_or(true, |index| index >= links) {
            return Err(ShapeFault::Value { at: AT });
        }
        reader.array(AT, 4, 4)?;
        reader.bytes(AT, LINK_TEXT_BYTES_MAX)?;
        reader.map(AT, 0, 0)?;
        countersigned(reader.bytes(AT, 1_024)?)?;
        reader.exactly::<64>(AT)?;
    }
    Ok(())
}

fn countersigned(payload: &[u8]) -> Result<(), ShapeFault> {
    const AT: &str = "countersignature";
    let mut reader = Reader::new(payload);
    let entries = reader.map(AT, 7, 8)?;
    let mut keys = Keys::of(AT);
    for expected in 1..=u64::try_from(entries).unwrap_or(0) {
        if keys.next(&mut reader)? != expected {
            return Err(ShapeFault::UnknownKey { at: AT });
        }
        match expected {
            1 | 6 => drop(reader.exactly::<32>(AT)?),
            2 => drop(reader.parsed::<EdgeId>(AT)?),
            3 => drop(reader.parsed::<Region>(AT)?),
            4 | 5 => drop(reader.uint(AT)?),
            7 => drop(reader.exactly::<16>(AT)?),
            _ => {
                let count = reader.array(AT, 1, LEASES_MAX)?;
                for _ in 0..count {
                    reader.exactly::<16>(AT)?;
                }
            }
        }
    }
    reader.end(AT)
}
