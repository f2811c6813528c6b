//! Keys of the format that this version cannot enforce: decoded as strictly as the others, then refused by name.
//!
//! Nothing is kept of them. When one becomes enforceable, its decoder moves beside the others and gains an encoder.

use super::cbor::{Keys, Reader, Texts};
use super::error::ShapeFault;
use crate::id::{EdgeId, Region};
use crate::limits::{DIMENSIONS_MAX, LINK_TEXT_BYTES_MAX};

/// Leases that a countersignature may name.
const LEASES_MAX: usize = 16;

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
